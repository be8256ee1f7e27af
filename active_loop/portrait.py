"""A round as people can look at it: where its pool lies in two dimensions, what is predicted there, and how well.

Made by the training process after a round is ranked, where somebody can look: no page computes on features. It is kept
in a file that may be deleted at any time, the newest alone. Nothing in it is of a reserved item.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .domain import Round
from .errors import TrainingError
from .scoring import Codes, RoundJob, Rows, fit_model, folds, guard, mean_of
from .tasks import Task, make_task

if TYPE_CHECKING:
    from .learner import CommitteeLearner, Learner

Reals = NDArray[np.floating[Any]]
_Losses = dict[int, tuple[Reals, Reals]]
"""By iteration the loss of each item that was taught, and of each that was not."""

FEWEST: Final = 10
"""Labels below which nothing is predicted out of fold: a fifth of them would be a single item."""

_FIT: Final = 10_000
"""Pool items that the axes are fitted on."""

_BLOCK: Final = 8_192
"""Items that are placed or predicted before it is asked whether something else waits."""

MOST_LABELS: Final = 2_000
"""Labels up to which a model that learns in iterations is read by iteration: five fits, or fifty where each number of
iterations takes its own."""

_LEAST: Final = 0.001
"""The least chance that counts, so that one label of which a model is sure and wrong does not decide alone."""

_FORM: Final = 2
"""Another number as soon as a portrait holds something else: files of another form are made again."""

_UNREADABLE: Final = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Portrait:
    """What was found of pool items after a round.

    Of `items` (positions): their `place` (n, 2) on axes that stay as long as the features do, `predicted` codes (n,),
    and the probability of what is predicted, `chance` (n,). Of numbers the prediction is a value and has no chance; of
    several labels it is the likeliest one, and the number of labels where none is likely.

    Of `labelled` items, in the same order: `codes` as the task encodes them and `held_out` (m, …), what was predicted
    by models that had not learned from them; it is empty below `FEWEST` labels. `history` has a row for each round
    that was portrayed: its number, labels, score on what it learned from, score out of fold (accuracy, for several
    labels of whole items, for numbers R²).

    Of a model that `learns_in_steps`, `course` has a row for each iteration that was read: its number, the mean loss
    on what was taught, that out of fold, and the standard error of how far the latter is from its last value. The loss
    is −log of the chance of what people said (of several labels the mean over them), for numbers the squared error; of
    several models together it is that of one, by itself. It is empty for other models, and above `MOST_LABELS`.
    """

    round: int
    items: Rows
    place: NDArray[np.float32]
    predicted: Codes
    chance: NDArray[np.float32]
    labelled: Rows
    codes: Codes
    held_out: Reals
    history: NDArray[np.float64]
    learns_in_steps: bool
    course: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Portrayed:
    """A round was portrayed; or not, for this reason, or because something else was wanted of the process."""

    round: int
    problem: str = ""
    gave_way: bool = False


class Portraits:
    """The portrait of a loop, below its `cache`."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "portraits"

    def path(self, round_: Round) -> Path:
        """The file of a round's portrait: another one if the round is that of another loop, or of other labels."""
        return self.folder / f"{round_.number:05d}-{round_.record.get('data_version', '')}-{_FORM}.npz"

    def stamp(self, round_: Round) -> tuple[str, int] | None:
        """What is another value when the round's portrait is another one; None as long as there is none."""
        path = self.path(round_)
        with suppress(OSError):
            return path.name, path.stat().st_mtime_ns
        return None

    def find(self, round_: Round) -> Portrait | None:
        """A round's portrait; None if it is not there, or cannot be read."""
        return _read(self.path(round_))


@dataclass(frozen=True, slots=True)
class PortraitJob:
    """Portray the round of `fit` on these pool `items`, and keep it at `path`. It makes way for every other job.

    It never raises: that a round has no portrait is no reason to end a loop.
    """

    fit: RoundJob
    items: Rows
    path: Path
    cache: Path = field(repr=False)

    def run(self, wanted: Callable[[], bool] = lambda: False) -> Portrayed:
        """The same model as the round's, fitted again; `wanted` is asked between two steps."""
        try:
            steps = _steps(self)
            for _ in steps:
                if wanted():
                    return Portrayed(self.fit.number, gave_way=True)
        except Exception as error:  # noqa: BLE001 - whatever an estimator raises is said, and the loop goes on
            return self.lost(str(error) or type(error).__name__)
        return Portrayed(self.fit.number)

    def lost(self, why: str) -> Portrayed:
        return Portrayed(self.fit.number, why)


def score(task: Task, codes: Codes, mean: Reals) -> float:
    """How well predictions (m, …) fit these labels: accuracy, of several labels of whole items; of numbers R²."""
    decided = task.decide(mean)
    if task.kind != "number":
        return float((decided == codes).reshape(len(codes), -1).all(axis=1).mean())
    spread = float(((codes - codes.mean()) ** 2).sum())
    return 1 - float(((codes - decided) ** 2).sum()) / spread if spread else 0.0


def losses(task: Task, codes: Codes, mean: Reals) -> Reals:
    """(m,) how wrong each prediction (m, …) is: see `Portrait`."""
    if task.kind == "number":
        return (mean - codes) ** 2
    if task.kind == "choice":
        return _surprise(mean[np.arange(len(codes)), codes])
    return np.asarray(_surprise(np.where(codes == 1, mean, 1 - mean)).mean(axis=1))


def _surprise(p: Reals) -> Reals:
    return np.asarray(-np.log(np.clip(p, _LEAST, 1)))


def _steps(job: PortraitJob) -> Iterator[None]:
    """Make the portrait and write it, step by step."""
    guard(replace(job.fit, candidates=job.items))
    X, task = job.fit.features.open(), make_task(job.fit.task)
    learner = fit_model(job.fit, X)
    yield
    axes = _axes(job, X)
    yield
    place, means = [], []
    for rows in (job.items[start : start + _BLOCK] for start in range(0, len(job.items), _BLOCK)):
        place.append(_placed(X, rows, axes))
        means.append(mean_of(learner, X, rows, task))
        yield
    predicted, chance = _predicted(task, np.concatenate(means))
    labelled, codes = job.fit.labelled, job.fit.codes
    held, fifths = yield from _out_of_fold(job.fit, X, np.empty((0, *np.shape(means[0])[1:])))
    history = {number: row for number, row in _history(job.path.parent).items() if number < job.fit.number}
    if len(held):
        inside = score(task, codes, mean_of(learner, X, labelled, task))
        history[job.fit.number] = (len(codes), inside, score(task, codes, held))
    in_steps, course = yield from _course(job.fit, X, learner, fifths)
    rounds = np.array([(number, *row) for number, row in sorted(history.items())], dtype=np.float64).reshape(-1, 4)
    found = (job.items, np.concatenate(place), predicted, chance, labelled, codes, held, rounds, in_steps, course)
    _write(job.path, Portrait(job.fit.number, *found))


def _out_of_fold(fit: RoundJob, X: Any, nothing: Reals) -> Generator[None, None, tuple[Reals, list[Rows]]]:
    """What is predicted of the labelled items, in their order, out of fold, and the fifths; of too few labels `nothing`
    and none."""
    if len(fit.labelled) < FEWEST:
        return nothing, []
    found: dict[int, Reals] = {}
    fifths = []
    for rows, mean in folds(fit, X):
        found.update(zip(rows.tolist(), mean, strict=True))
        fifths.append(rows)
        yield
    return np.stack([found[item] for item in fit.labelled.tolist()]), fifths


def _course(
    fit: RoundJob, X: Any, learner: Learner | None, fifths: Sequence[Rows]
) -> Generator[None, None, tuple[bool, NDArray[np.float64]]]:
    """Whether the model learns in iterations, and how its losses go with them: see `Portrait.course`."""
    from .learner import CommitteeLearner, is_iterative

    nothing = np.empty((0, 4))
    if not isinstance(learner, CommitteeLearner) or not is_iterative(learner):
        return False, nothing
    read: list[_Losses] = []
    for rows in fifths if len(fit.labelled) <= MOST_LABELS else []:
        try:
            read.append((yield from _losses_of(fit, X, learner, np.isin(fit.labelled, rows))))
        except TrainingError:  # four fifths need not be enough for what all labels are
            return True, nothing
    return True, together(read) if read and all(read) else nothing


def _losses_of(
    fit: RoundJob, X: Any, learner: CommitteeLearner, held: NDArray[np.bool_]
) -> Generator[None, None, _Losses]:
    """What the model makes of what it was taught, and of what is held out, by iteration."""
    from .learner import by_iteration

    task, sides = make_task(fit.task), (~held, held)
    asked, codes = [X[fit.labelled[side]] for side in sides], [fit.codes[side] for side in sides]
    found: _Losses = {}
    for iteration, means in by_iteration(learner, asked[0], codes[0], asked):
        inside, outside = (losses(task, truth, mean) for truth, mean in zip(codes, means, strict=True))
        found[iteration] = inside, outside
        yield
    return found


def together(read: Sequence[_Losses]) -> NDArray[np.float64]:
    """The rows of `Portrait.course` from what was read of each fifth; what stopped earlier than others stays so."""
    iterations = sorted({iteration for found in read for iteration in found})
    rows = [[found[max(n for n in found if n <= max(at, min(found)))] for found in read] for at in iterations]
    inside = [np.concatenate([each[0] for each in row]).mean() for row in rows]
    outside = np.array([np.concatenate([each[1] for each in row]) for row in rows])
    error = (outside - outside[-1]).std(axis=1, ddof=1) / np.sqrt(outside.shape[1])
    return np.column_stack([iterations, inside, outside.mean(axis=1), error])


def _predicted(task: Task, mean: Reals) -> tuple[Codes, NDArray[np.float32]]:
    """One code for each row of `mean` (n, …), and its probability; of numbers the values, and no probability."""
    if task.kind == "number":
        return task.decide(mean), np.empty(0, np.float32)
    best = mean.argmax(axis=1)
    top = mean.max(axis=1)
    if task.kind == "multi_label":
        none = top <= 0.5
        best, top = np.where(none, mean.shape[1], best), np.where(none, 1 - top, top)
    return best.astype(np.int32), top.astype(np.float32)


# the axes


def _axes(job: PortraitJob, X: Any) -> tuple[Reals, Reals]:
    """The centre (d,) and two directions (2, d) of widest spread, kept as long as the features are the same."""
    path = job.cache / f"axes-{job.fit.features.fingerprint}.npz"
    with suppress(*_UNREADABLE), np.load(path, allow_pickle=False) as kept:
        return kept["centre"], kept["directions"]
    rng = np.random.default_rng([job.fit.seed, 10])
    some = np.sort(rng.choice(job.items, size=min(_FIT, len(job.items)), replace=False))
    centre, directions = _principal(X[some])
    _save(path, {"centre": centre, "directions": directions})
    return centre, directions


def _principal(X: Any) -> tuple[Reals, Reals]:
    """Centre and principal directions of these rows, each with its largest entry positive; 0 where there is none."""
    from scipy.sparse import issparse
    from sklearn.decomposition import PCA

    n_rows, width = X.shape
    small = min(n_rows, width) <= 2
    dense = X.toarray() if issparse(X) and small else X
    directions = np.zeros((2, width))
    if n_rows < 2:
        return np.asarray(dense, dtype=float).mean(axis=0), directions
    n = min(2, n_rows, width)
    found = PCA(n, svd_solver="arpack" if issparse(dense) else "auto", random_state=0).fit(dense)
    signs = np.sign(found.components_[np.arange(n), np.abs(found.components_).argmax(axis=1)])
    directions[:n] = found.components_ * np.where(signs == 0, 1, signs)[:, None]
    return found.mean_, directions


def _placed(X: Any, rows: Rows, axes: tuple[Reals, Reals]) -> NDArray[np.float32]:
    centre, directions = axes
    return np.asarray(X[rows] @ directions.T - centre @ directions.T, dtype=np.float32)


# the file


def _history(folder: Path) -> dict[int, tuple[float, float, float]]:
    """What the portraits in this folder know of the rounds up to theirs."""
    kept = [portrait for path in sorted(folder.glob("*.npz")) if (portrait := _read(path))]
    return {int(row[0]): (row[1], row[2], row[3]) for portrait in kept for row in portrait.history}


def _read(path: Path) -> Portrait | None:
    with suppress(*_UNREADABLE), np.load(path, allow_pickle=False) as kept:
        arrays: Mapping[str, Any] = {name: kept[name] for name in (f.name for f in fields(Portrait))}
        plain = {"round": int(arrays["round"]), "learns_in_steps": bool(arrays["learns_in_steps"])}
        return Portrait(**{**arrays, **plain})
    return None


def _write(path: Path, portrait: Portrait) -> None:
    """Write a portrait, whole or not at all, and remove the others."""
    _save(path, {f.name: getattr(portrait, f.name) for f in fields(portrait)})
    for other in path.parent.glob("*.npz"):
        if other != path:
            other.unlink(missing_ok=True)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        np.savez(file, **arrays)
    draft.replace(path)
