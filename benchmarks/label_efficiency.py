"""How good a model is after so many labels, for every query strategy, beside random and beside other libraries.

    python benchmarks/label_efficiency.py curve --set digits-lr --strategies margin kmeans --seeds 10
    python benchmarks/label_efficiency.py run
    python benchmarks/label_efficiency.py report --write docs/label-efficiency.md

The loop, the split, the model and the seeds are common to all; only the choice of the next batch differs. A strategy
is named as in the registry and starts from our cold start (k-means), unless it needs no predictions and so chooses
its first batch itself; `random+margin` is margin from a random start.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import label_sets
import numpy as np
from label_sets import DATA_SETS, DataSet, Reals, Rows, Split
from scipy import stats
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, r2_score
from sklearn.svm import SVC

from active_loop.learner import RBFMachines, make_learner
from query_strategies import PoolStrategy, PoolView, make

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
MEMBERS = 5
"""Members of a committee, for the strategies that compare members; the model that is scored stays a single one."""

Predict = Callable[[Any], Reals]
"""Rows (n, d) → predictions of all members: (members, n, C), (members, n, L), or (members, n) for a number."""


class DefaultSVC(SVC):  # type: ignore[misc]
    """scikit-learn's SVC as it is, for two classes, with the logistic of its decision values as probabilities."""

    def predict_proba(self, X: Any) -> Reals:
        second = expit(self.decision_function(X))
        return np.column_stack([1 - second, second])


class KernelRegression(KernelRidge):  # type: ignore[misc]
    """RBF kernel ridge with gamma 1/d, on targets at mean 0 and standard deviation 1."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KernelRegression:
        self.mean_, self.spread_ = float(np.mean(y)), float(np.std(y)) or 1.0
        super().fit(X, (y - self.mean_) / self.spread_, sample_weight)
        return self

    def predict(self, X: Any) -> Reals:
        values: Reals = super().predict(X) * self.spread_ + self.mean_
        return values


MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(C=5, max_iter=1000, solver="newton-cg"),
    "balanced": lambda: LogisticRegression(C=5, max_iter=1000, solver="newton-cg", class_weight="balanced"),
    "svm": RBFMachines,
    "svc": DefaultSVC,
    "kernel_ridge": lambda: KernelRegression(alpha=0.1, kernel="rbf"),
    "one_vs_rest": lambda: LogisticRegression(C=5, max_iter=1000, solver="newton-cg"),
}
"""The models by name. "one_vs_rest" is fitted once per label; a label with one value so far has that value."""


def fitted(data_set: DataSet, X: Reals, y: Any, n_outputs: int, seed: int, members: int = 1) -> Predict:
    """The model of this set, trained on the labelled rows: what it predicts, member by member."""
    if data_set.task == "choice":
        return _choice(data_set, X, y, n_outputs, seed, members)
    one = _several if data_set.task == "multi_label" else _number
    rng = np.random.default_rng([seed, len(y)])
    samples = [np.arange(len(y))] if members == 1 else [rng.integers(len(y), size=len(y)) for _ in range(members)]
    models = [one(data_set, X[rows], y[rows]) for rows in samples]
    return lambda rows: np.stack([model(rows) for model in models])


def _choice(data_set: DataSet, X: Reals, y: Any, n_classes: int, seed: int, members: int) -> Predict:
    if members > 1:
        learner = make_learner(
            MODELS[data_set.model](), classes=[str(code) for code in range(n_classes)], seed=seed, committee=members
        )
        learner.fit(X, y)
        return learner.member_predictions
    known = np.unique(y)
    if known.size < 2:
        return lambda rows: np.full((1, len(rows), n_classes), 1 / n_classes)
    model = MODELS[data_set.model]().fit(X, y)

    def predict(rows: Any) -> Reals:
        proba = np.zeros((1, len(rows), n_classes))
        proba[0][:, known] = model.predict_proba(rows)
        return proba

    return predict


def _several(data_set: DataSet, X: Reals, y: Any) -> Callable[[Any], Reals]:
    models = [MODELS[data_set.model]().fit(X, column) if np.ptp(column) else None for column in y.T]

    def predict(rows: Any) -> Reals:
        columns = [
            np.full(len(rows), float(y[0, label])) if model is None else model.predict_proba(rows)[:, 1]
            for label, model in enumerate(models)
        ]
        return np.column_stack(columns)

    return predict


def _number(data_set: DataSet, X: Reals, y: Any) -> Callable[[Any], Reals]:
    predict: Callable[[Any], Reals] = MODELS[data_set.model]().fit(X, y).predict
    return predict


def measured(data_set: DataSet, split: Split, predicted: Reals, labelled: Any) -> dict[str, float]:
    """Every measure of this kind of set for the mean prediction of the test rows, after these labels.

    Before two classes are known the model is taken to predict the one that is. Where average precision is asked for,
    `recall` is the share of the pool's relevant rows that were found by labelling.
    """
    truth = split.y_test
    if data_set.task == "number":
        return {"r2": float(r2_score(truth, predicted))}
    if data_set.task == "multi_label":
        said = predicted >= 0.5
        return {
            f"{kind}_f1": float(f1_score(truth, said, average=kind, zero_division=0)) for kind in ("micro", "macro")
        }
    if data_set.measure == "ap":
        return {
            "ap": float(average_precision_score(truth, predicted[:, 1])),
            "recall": float(labelled.sum() / split.y.sum()),
        }
    codes = predicted.argmax(axis=1) if np.unique(labelled).size > 1 else np.full(len(truth), labelled[0])
    return {"accuracy": float(np.mean(codes == truth)), "macro_f1": _macro_f1(codes, truth, predicted.shape[1])}


def _macro_f1(codes: Any, truth: Any, n_classes: int) -> float:
    """The mean F1 of the classes that occur among the test rows."""
    table = np.bincount(truth * n_classes + codes, minlength=n_classes**2).reshape(n_classes, n_classes)
    there, both = table.sum(axis=1), table.sum(axis=1) + table.sum(axis=0)
    return float(np.mean(2 * table.diagonal()[there > 0] / both[there > 0]))


@dataclass(slots=True)
class State:
    """Where a curve stands: the split, the labelled rows of the pool in their order, and the model's predictions."""

    data_set: DataSet
    split: Split
    seed: int
    labelled: Rows
    predict: Predict | None = None

    @property
    def unlabelled(self) -> Rows:
        """The rows of the pool that have no label yet, ascending."""
        return np.setdiff1d(np.arange(len(self.split.X)), self.labelled)

    def committee(self) -> Predict:
        """The predictions of bootstrap members, trained on what the single model was trained on."""
        X, y = self.split.X[self.labelled], self.split.y[self.labelled]
        return fitted(self.data_set, X, y, self.split.n_outputs, self.seed, MEMBERS)


NO_ROWS: Rows = np.empty(0, dtype=np.int64)

Choose = Callable[[State, int, int], Rows]
"""(state, number of the batch, its size) → rows of the pool. The first batch has number 0."""


def of_ours(name: str) -> Choose:
    """A strategy of the registry as a chooser: `name`, or `start+name` for another start than its own or k-means."""
    start, _, main = name.rpartition("+")
    strategy = make(main)
    first = make(start or ("kmeans" if starts_with_kmeans(strategy) else main))

    def choose(state: State, number: int, n: int) -> Rows:
        chooser = strategy if number else first
        rows = state.unlabelled
        rng = np.random.default_rng([state.seed, number])
        return rows[chooser.query(_view(state, rows, chooser), n, rng).rows]

    return choose


def starts_with_kmeans(strategy: PoolStrategy) -> bool:
    """Whether the strategy can only choose when there is a model, or labels."""
    return bool(strategy.needs & {"proba", "labels", "refit"})


def _view(state: State, rows: Rows, strategy: PoolStrategy) -> PoolView:
    X, y = state.split.X, state.split.y
    labelled = state.labelled
    members = getattr(strategy, "needs_members", 1) > 1 and len(labelled) > 0
    choice = state.data_set.task == "choice"

    def fit_predict(more: Rows, answers: Any) -> Predict:
        taught = np.concatenate([labelled, rows[more]])
        return fitted(
            state.data_set, X[taught], np.concatenate([y[labelled], answers]), state.split.n_outputs, state.seed
        )

    return PoolView(
        rows,
        X,
        rows=rows,
        predict=state.committee() if members else state.predict,
        labelled_X=X[labelled],
        labelled_y=y[labelled],
        classes=[str(code) for code in range(state.split.n_outputs)] if choice else (),
        task=state.data_set.task,
        fit_predict=fit_predict,
    )


def curve(data_set: DataSet, split: Split, seed: int, choose: Choose) -> dict[str, list[float]]:
    """What the model reaches: the number of labels, and each measure after so many of them."""
    state = State(data_set, split, seed, np.flatnonzero(split.y == 1)[: data_set.known] if data_set.known else NO_ROWS)
    end = min(data_set.budget or len(split.X), len(split.X))
    n = label_sets.n_start(data_set, split.n_outputs) - len(state.labelled)
    steps: dict[str, list[float]] = {}
    number = 0
    state.predict = _trained(state)
    while n > 0:
        state.labelled = np.concatenate([state.labelled, _checked(choose(state, number, n), state, n)])
        state.predict = _trained(state)
        labels = split.y[state.labelled]
        predicted = state.predict(split.X_test).mean(axis=0)
        for name, value in {"labels": len(labels), **measured(data_set, split, predicted, labels)}.items():
            steps.setdefault(name, []).append(value)
        number, n = number + 1, min(data_set.batch, end - len(labels))
    return steps


def _trained(state: State) -> Predict | None:
    X, y = state.split.X[state.labelled], state.split.y[state.labelled]
    if not len(y) and state.data_set.task != "choice":
        return None
    return fitted(state.data_set, X, y, state.split.n_outputs, state.seed)


def _checked(chosen: Rows, state: State, n: int) -> Rows:
    rows = np.asarray(chosen)
    if rows.size != n or np.unique(rows).size != n or np.isin(rows, state.labelled).any():
        raise ValueError(f"{n} different unlabelled rows were wanted, and {rows.tolist()} were chosen.")
    return rows


@lru_cache(maxsize=2)
def _table(data_set: DataSet, folder: Path) -> label_sets.Table:
    return label_sets.load(data_set, folder)


@dataclass(frozen=True, slots=True)
class Job:
    """Curves of one set and seed: they share the split."""

    data_set: DataSet
    folder: Path
    seed: int
    contenders: tuple[tuple[str, str], ...]

    def run(self) -> list[dict[str, Any]]:
        """One record per contender."""
        warnings.simplefilter("ignore", ConvergenceWarning)
        split = label_sets.split(self.data_set, _table(self.data_set, self.folder), self.seed)
        return [self._record(by, name, split) for by, name in self.contenders]

    def _record(self, by: str, name: str, split: Split) -> dict[str, Any]:
        started = time.process_time()
        steps = curve(self.data_set, split, self.seed, of_ours(name))
        spent = round(time.process_time() - started, 3)
        return {
            "set": self.data_set.name,
            "protocol": self.data_set.protocol,
            "by": by,
            "strategy": name,
            "seed": self.seed,
            "cpu_s": spent,
            "steps": steps,
        }


def area(steps: dict[str, list[float]], measure: str) -> float:
    """The area under the curve of a measure over the labels, divided by their range: a mean of the measure."""
    labels = np.asarray(steps["labels"], dtype=float)
    return float(np.trapezoid(steps[measure], labels) / (labels[-1] - labels[0]))


def labels_to(labels: Any, values: Any, target: float) -> float:
    """The labels at which a curve first reaches the target, by a straight line between points; inf if never."""
    reached = np.flatnonzero(np.asarray(values) >= target)
    if not reached.size:
        return float("inf")
    last = int(reached[0])
    if last == 0:
        return float(labels[0])
    rise = (target - values[last - 1]) / (values[last] - values[last - 1])
    return float(labels[last - 1] + rise * (labels[last] - labels[last - 1]))


def show_curves(data_set: DataSet, records: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Mean curves, areas and paired differences to random, as plain text."""
    measure = data_set.measure
    by_name = {name: [r["steps"] for r in records if r["strategy"] == name] for name in names}
    labels = by_name[names[0]][0]["labels"]
    shown = np.unique(np.linspace(0, len(labels) - 1, min(10, len(labels))).round().astype(int))
    print(f"{data_set.name}, {data_set.model}, {measure}, {len(by_name[names[0]])} seeds")
    head = "".join(f"{labels[i]:>7.0f}" for i in shown) + "".join(f"{f'to {t:g}':>9}" for t in data_set.targets)
    print(f"{'':<26}{head}{'area':>9}  difference to random (95 %)   CPU s")
    reference = np.array([area(steps, measure) for steps in by_name["random"]])
    for name, runs in by_name.items():
        mean = np.mean([steps[measure] for steps in runs], axis=0)
        areas = np.array([area(steps, measure) for steps in runs])
        low, high = interval(areas - reference)
        to = "".join(f"{labels_to(labels, mean, target):>9.0f}" for target in data_set.targets)
        cpu = np.mean([r["cpu_s"] for r in records if r["strategy"] == name])
        points = "".join(f"{100 * mean[i]:>7.1f}" for i in shown)
        difference = f"{100 * (areas - reference).mean():+7.2f}  {100 * low:+6.2f} .. {100 * high:+6.2f}"
        print(f"{name:<26}{points}{to}{100 * areas.mean():>9.2f}  {difference}  {cpu:>9.2f}")


def interval(differences: Reals, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean; without width where there is one number, or all are equal."""
    n = len(differences)
    if n < 2:
        return float(differences.mean()), float(differences.mean())
    half = stats.t.ppf((1 + level) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return float(differences.mean() - half), float(differences.mean() + half)


def worked(jobs: Sequence[Job], processes: int) -> Iterator[list[dict[str, Any]]]:
    """The records of each job, as they are finished; each process has one thread."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read by the new processes when they load the numeric libraries
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(job.run) for job in jobs]):
            yield done.result()


def _curve_command(arguments: argparse.Namespace) -> None:
    data_set = (DATA_SETS | {label_sets.LU.name: label_sets.LU})[arguments.set]
    names = list(dict.fromkeys(["random", *arguments.strategies]))
    for name in names:
        of_ours(name)
    jobs = [
        Job(data_set, arguments.data, seed, tuple(("active-loop", name) for name in names))
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    ]
    records = [record for done in worked(jobs, arguments.processes) for record in done]
    show_curves(data_set, sorted(records, key=lambda record: record["seed"]), names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("curve", help="mean curves of a few strategies on one set")
    one.set_defaults(command=_curve_command)
    one.add_argument("--set", required=True, choices=[*DATA_SETS, label_sets.LU.name])
    one.add_argument("--strategies", nargs="+", default=["margin"], help="names, or start+name")
    one.add_argument("--first-seed", type=int, default=0)
    for command in (one,):
        command.add_argument("--seeds", type=int, default=20)
        command.add_argument("--data", type=Path, default=DATA, help="the folder of the sets that are files")
        command.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
