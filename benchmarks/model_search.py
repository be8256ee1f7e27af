"""What the model search is worth: the model that it finds, beside every fixed one, on rows that nobody labelled.

    python benchmarks/model_search.py --seeds 10 --rows rows.jsonl --write docs/model-search.md

For each data set, number of random labels and seed, a first search (nobody was the model before) chooses by its own
cross-validation within its own time; then each candidate is fitted to the same labels and read on the same held-out
rows: accuracy, of numbers R². The gap is to the best of them in hindsight, which nobody can know beforehand. With
--rows each search is kept in that file as soon as it is done, and none that is in it is made again. Features
are those that a loop has: tf-idf of texts, scaled columns of tables, pixels. With --flaml, FLAML searches as long.

    python benchmarks/model_search.py --csv one.csv other.parquet --label label --seeds 3

does so on files of one's own: a column of prose makes one a set of texts, many different numbers one of numbers.

    python benchmarks/model_search.py --weights digits-svm adult sms_spam trec6 letter sick --seeds 4

asks what it is worth that labels which a strategy chose are weighted when candidates are compared, along the loops of
the label-efficiency benchmark.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import label_sets
import numpy as np
import pandas as pd
from label_loop import AUTO, State, curve, of_ours
from label_models import measured
from label_sets import DATA_SETS, are_numbers, own_rows
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from active_loop.extractors import make_extractor
from active_loop.search import Found, Lessons, candidates, fitted, search
from active_loop.search.course import Halving
from active_loop.search.evaluation import Folds
from active_loop.search.mixture import Mixture, Told, best_mixture
from active_loop.search.race import Limit, Tally, tried
from active_loop.search.space import admitted

ROOT = Path(__file__).resolve().parents[1]
DATA: Final = ROOT.parent / "shared" / "data"
START, END = "<!-- measured -->\n", "<!-- /measured -->\n"
PLAIN: Final = {"choice": "logistic(C=10)", "number": "ridge"}
"""The model that a plain loop would have, by kind of label."""

CHOSEN: Final = (50, 100, 150)
"""Numbers of chosen labels after which weights are tried."""

HELD: Final = 2_000
POOL: Final = 3_000
Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Feature rows X (n, d) with class codes or numbers y (n,)."""

    name: str
    X: Any
    y: NDArray[Any]
    kind: str = "choice"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one search came to: the quality of the chosen model and of every candidate, and the seconds it took."""

    name: str
    n: int
    seed: int
    kind: str
    chosen: str
    auto: float
    fixed: dict[str, float]
    seconds: float
    rival: float = float("nan")

    @property
    def gap(self) -> float:
        """How far below the best fixed candidate the chosen one is, in points."""
        return 100 * (max(self.fixed.values()) - self.auto)

    @property
    def gain(self) -> float:
        """How far above the plain model the chosen one is, in points."""
        return 100 * (self.auto - self.fixed[PLAIN[self.kind]])


def _known(load: Callable[..., Any], scale: float | None = None) -> Callable[[], tuple[Any, Any, str]]:
    def made() -> tuple[Any, Any, str]:
        X, y = load(return_X_y=True)
        if scale:
            return X / scale, y, "choice"
        return _columns(pd.DataFrame(X, columns=[f"c{place}" for place in range(X.shape[1])])), y, "choice"

    return made


def _file(file: str, kind: str, label: str = "label") -> Callable[[], tuple[Any, Any, str]]:
    def made() -> tuple[Any, Any, str]:
        frame = pd.read_parquet(DATA / file)
        frame = frame.sample(min(len(frame), POOL), random_state=0).reset_index(drop=True)
        y = frame[label].to_numpy(float) if kind == "number" else pd.factorize(frame[label], sort=True)[0]
        if "text" in frame:
            texts = frame["text"].tolist()
            return make_extractor("tfidf", "text").fit(texts).transform(texts), y, kind
        return _columns(frame.drop(columns=[label, "split"], errors="ignore")), y, kind

    return made


def _abstracts() -> tuple[Any, Any, str]:
    frame = pd.read_parquet(DATA / "screening_ace.parquet").fillna("")
    texts = (frame["title"] + ". " + frame["abstract"]).tolist()
    return (
        make_extractor("tfidf", "text").fit(texts).transform(texts),
        (frame["label"] == "include").to_numpy(int),
        "choice",
    )


def _own(path: Path, label: str) -> tuple[Any, Any, str]:
    shown, labels = own_rows(path, label)
    kept = np.random.default_rng(0).permutation(len(labels))[:POOL]
    shown, labels = shown.iloc[kept].reset_index(drop=True), labels.iloc[kept]
    number = are_numbers(labels)
    y = labels.to_numpy(float) if number else pd.factorize(labels, sort=True)[0]
    X = make_extractor("tfidf", "text").fit(shown).transform(shown) if shown.ndim == 1 else _columns(shown)
    return X, y, "number" if number else "choice"


def _images() -> tuple[Any, Any, str]:
    kept = np.load(DATA / "image_mnist10k.npz")
    rows = np.random.default_rng(0).permutation(len(kept["labels"]))[:POOL]
    return (
        kept["images"][rows].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(rows), -1) / 255,
        kept["labels"][rows].astype(int),
        "choice",
    )


def _numbers() -> tuple[Any, Any, str]:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return _columns(X), y.to_numpy(float), "number"


def _columns(frame: pd.DataFrame) -> Any:
    return make_extractor("columns", "table").fit(frame).transform(frame)


SETS: Final[dict[str, Callable[[], tuple[Any, Any, str]]]] = {
    "digits": _known(load_digits, 16.0),
    "breast_cancer": _known(load_breast_cancer),
    "wine": _known(load_wine),
    "sms_spam": _file("text_sms_spam.parquet", "choice"),
    "trec6": _file("text_trec6.parquet", "choice"),
    "ko_nsmc": _file("text_ko_nsmc20k.parquet", "choice"),
    "screening_ace": _abstracts,
    "adult": _file("tab_adult.parquet", "choice"),
    "letter": _file("tab_letter.parquet", "choice"),
    "sick": _file("tab_sick.parquet", "choice"),
    "mnist": _images,
    "concrete": _file("reg_concrete.parquet", "number", "target"),
    "diabetes": _numbers,
}


def read(data: DataSet, n: int, seed: int, *, flaml: bool) -> Reading:
    """One search on n random labels, and all candidates read on rows that are left."""
    rows = np.random.default_rng([seed, 1]).permutation(len(data.y))
    taught, held = np.sort(rows[:n]), rows[n : n + HELD]
    classes = tuple(map(str, np.unique(data.y))) if data.kind == "choice" else ()
    lessons = Lessons(data.X[taught], data.y[taught], data.kind, classes, seed, np.arange(n))
    started = time.perf_counter()
    found = search(lessons, AUTO)
    spent = time.perf_counter() - started
    able = [trial.candidate for trial in found.trials if not trial.outcome.startswith("left out")]
    fixed = {name: _quality(data, lessons, replace(found, chosen=name), held) for name in able}
    rival = _flaml(data, taught, held, spent, seed) if flaml else float("nan")
    auto = _quality(data, lessons, found, held)
    return Reading(data.name, n, seed, data.kind, found.chosen, auto, fixed, spent, rival)


def _quality(data: DataSet, lessons: Lessons, found: Found, held: NDArray[np.int64]) -> float:
    """Accuracy of the model that was found on the held-out rows; of numbers R²."""
    learner = fitted(lessons, replace(found, near=()), AUTO)
    return _read(data, learner.member_predictions(data.X[held])[0], held)


def _read(data: DataSet, predicted: Reals, held: NDArray[np.int64]) -> float:
    truth = data.y[held]
    if data.kind == "number":
        return 1 - float(((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    return float((predicted.argmax(axis=1) == truth).mean())


def _flaml(data: DataSet, taught: NDArray[np.int64], held: NDArray[np.int64], seconds: float, seed: int) -> float:
    """What FLAML's model reaches with the same seconds and one thread."""
    from flaml import AutoML  # type: ignore[import-not-found]

    searched = AutoML()
    task = "regression" if data.kind == "number" else "classification"
    searched.fit(
        data.X[taught], data.y[taught], task=task, time_budget=seconds, n_jobs=1, seed=seed, verbose=0, log_file_name=""
    )
    predicted = searched.predict(data.X[held])
    if data.kind == "number":
        return _read(data, predicted, held)
    return float((predicted == data.y[held]).mean())


def readings(
    sets: Sequence[DataSet], labels: Sequence[int], seeds: int, rows: Path | None, *, flaml: bool
) -> Iterator[Reading]:
    """All searches, seed by seed; sizes that leave fewer than 50 rows to read on are passed over."""
    kept = [Reading(**json.loads(line)) for line in rows.read_text().splitlines()] if rows and rows.exists() else []
    known = {(each.name, each.n, each.seed): each for each in kept}
    for seed, n, data in product(range(seeds), labels, sets):
        if (data.name, n, seed) in known:
            yield known[data.name, n, seed]
        elif n <= len(data.y) - 50:
            yield read(data, n, seed, flaml=flaml)


def weighed(name: str, seed: int) -> Iterator[tuple[int, float, float]]:
    """(number of labels, points of the mixture with the lowest mean loss, those with weights), along one loop."""
    data_set = DATA_SETS[name]
    split = label_sets.split(data_set, label_sets.load(data_set, DATA), seed)
    chosen: list[NDArray[np.int64]] = []
    by_strategy = of_ours("auto")

    def choose(state: State, number: int, n: int) -> NDArray[np.int64]:
        chosen.append(state.labelled)
        return by_strategy(state, number, n)

    curve(data_set, split, seed, choose)
    classes = tuple(str(code) for code in range(split.n_outputs))
    for n in CHOSEN:
        taught = next(rows for rows in chosen if len(rows) >= n)
        X, y = split.X[taught], split.y[taught]
        plain = Lessons(X, y, "choice", classes, seed, np.arange(len(y)))
        points = []
        complete = _compared(plain)
        for lessons in (plain, replace(plain, pool=split.X)):
            mixture = best_mixture(complete, Told(lessons, Folds()), AUTO.mixed)
            predicted = fitted(lessons, Found(mixture.name), AUTO).member_predictions(split.X_test)[0]
            points.append(100 * measured(data_set, split, predicted, y)[data_set.measure])
        yield n, points[0], points[1]


def _compared(lessons: Lessons) -> dict[str, Tally]:
    """All candidates for so many labels, on all folds, without a limit."""
    every = [each for each in admitted(candidates(lessons, AUTO), len(lessons)) if not each.tamer]
    tallies, _ = tried(every, lessons, Folds(), Halving(), Limit(600.0, time.perf_counter))
    return {tally.candidate.name: tally for tally in tallies if tally.repeats}


def weights_report(names: Sequence[str], seeds: int) -> str:
    """What weights change at each number of labels, in points of each set's own measure."""
    told = []
    found = [(name, *each) for name in names for seed in range(seeds) for each in weighed(name, seed)]
    for n in CHOSEN:
        apart = {
            name: [weighted - plain for at, size, plain, weighted in found if (at, size) == (name, n)] for name in names
        }
        every = np.concatenate(list(apart.values()))
        error = every.std(ddof=1) / np.sqrt(len(every))
        each = ", ".join(f"{name} {np.mean(some):+.2f}" for name, some in apart.items())
        told.append(f"* {n} labels: {every.mean():+.2f} points with weights (standard error {error:.2f}; {each})")
    return "\n".join(told)


def keep(each: Reading, rows: Path) -> None:
    """Add a reading to the file, if it is not there."""
    line = json.dumps(asdict(each), sort_keys=True)
    if not rows.exists() or line not in rows.read_text().splitlines():
        with rows.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@dataclass(frozen=True, slots=True)
class Means:
    """What the searches of one data set and number of labels came to, on average over seeds and in points.

    `best` is the fixed candidate with the highest mean. The standard error is that of auto less the best.
    """

    name: str
    n: int
    seeds: int
    auto: float
    error: float
    plain: float
    svm: float
    best: tuple[float, str]
    worst: float
    parts: float
    seconds: float
    rival: float

    @classmethod
    def of(cls, some: Sequence[Reading]) -> Means:
        common = set.intersection(*(set(each.fixed) for each in some))
        means = {name: 100 * float(np.mean([each.fixed[name] for each in some])) for name in common}
        best = max(means, key=lambda name: means[name])
        apart = [100 * (each.auto - each.fixed[best]) for each in some]
        return cls(
            name=some[0].name,
            n=some[0].n,
            seeds=len(some),
            auto=100 * float(np.mean([each.auto for each in some])),
            error=float(np.std(apart, ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else float("nan"),
            plain=means[PLAIN[some[0].kind]],
            svm=means["svm"],
            best=(means[best], best),
            worst=max(each.gap for each in some),
            parts=float(np.mean([len(Mixture.of(each.chosen).parts) for each in some])),
            seconds=float(np.mean([each.seconds for each in some])),
            rival=100 * float(np.mean([each.rival for each in some])),
        )


def report(found: Sequence[Reading]) -> str:
    """The tables, as Markdown."""
    flaml = any(np.isfinite(each.rival) for each in found)
    cells = sorted({(each.n, each.name) for each in found})
    means = [Means.of([each for each in found if (each.n, each.name) == cell]) for cell in cells]
    head = ["labels", "data", "seeds", "auto", "plain", "svm", "best in hindsight", "auto less best", "worst gap"]
    head += ["parts", "s", *(["FLAML"] if flaml else [])]
    lines = [_row(head), _row(["---"] * len(head))]
    for each in means:
        row = [f"{each.n}", each.name, f"{each.seeds}", f"{each.auto:.1f}", f"{each.plain:.1f}", f"{each.svm:.1f}"]
        row += [f"{each.best[0]:.1f} ({each.best[1]})", f"{each.auto - each.best[0]:+.1f} ± {each.error:.1f}"]
        row += [f"{each.worst:.1f}", f"{each.parts:.1f}", f"{each.seconds:.1f}"]
        lines.append(_row([*row, *([f"{each.rival:.1f}"] if flaml else [])]))
    return "\n".join([*lines, "", *_summary(found, means)]) + "\n"


def _summary(found: Sequence[Reading], means: Sequence[Means]) -> Iterator[str]:
    """What is claimed, at each number of labels."""
    for n in sorted({each.n for each in means}):
        some, spent = [each for each in means if each.n == n], [each.seconds for each in found if each.n == n]
        apart = {each.name: each.auto - each.best[0] for each in some}
        gains = {each.name: each.auto - each.plain for each in some}
        low, least = min(apart, key=lambda name: apart[name]), min(gains, key=lambda name: gains[name])
        rivals = [each.auto - each.rival for each in some if np.isfinite(each.rival)]
        told = [
            f"{np.mean(list(apart.values())):+.2f} points from the best in hindsight on average, {apart[low]:+.1f} at "
            f"worst ({low})",
            f"{np.mean(list(gains.values())):+.2f} against the plain model, {gains[least]:+.1f} at worst ({least})",
            *([f"{np.mean(rivals):+.2f} against FLAML, {min(rivals):+.1f} at worst"] if rivals else []),
            f"{np.median(spent):.1f} s, {max(spent):.1f} s at most.",
        ]
        yield f"* {n} labels, {len(some)} data sets: {'; '.join(told)}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(args: Sequence[str] | None = None) -> None:
    """Run, print, and write the figures into a page if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--csv", nargs="+", type=Path, help="files of one's own, instead of the sets")
    parser.add_argument("--label", default="label", help="their column of labels")
    parser.add_argument("--labels", nargs="+", type=int, default=[50, 100, 200, 500])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--flaml", action="store_true")
    parser.add_argument("--weights", nargs="+", choices=DATA_SETS, metavar="SET")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--write", type=Path)
    told = parser.parse_args(args)
    warnings.simplefilter("ignore")
    if told.weights:
        print(weights_report(told.weights, told.seeds))
        return
    found = []
    if told.csv:
        sets = [DataSet(path.stem, *_own(path, told.label)) for path in told.csv]
    else:
        sets = [DataSet(name, *SETS[name]()) for name in told.sets]
    for each in readings(sets, told.labels, told.seeds, told.rows, flaml=told.flaml):
        found.append(each)
        if told.rows:
            keep(each, told.rows)
        print(f"{each.name} {each.n} {each.seed}: {each.chosen}, gap {each.gap:.1f}, {each.seconds:.1f} s", flush=True)
    text = report(found)
    print(text)
    if told.write:
        before, _, rest = told.write.read_text(encoding="utf-8").partition(START)
        told.write.write_text(before + START + text + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
