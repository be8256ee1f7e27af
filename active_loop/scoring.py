"""A round's work, as a job: fit, predict, choose. Arrays and file names in, arrays out.

This is where features, learner and strategies meet. A job is a function of its fields: run twice, inline or in
another process, it gives the same answer. It streams the pool in blocks, so memory does not grow with the pool.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import components
from .consensus import Votes
from .control import AT_RANDOM
from .domain import COLD_START
from .errors import DataError
from .search import Found, Lessons, fitted, search
from .settings import DataSettings, FeatureSettings, ModelSettings, TaskSettings
from .tasks import Task, make_task

if TYPE_CHECKING:
    from query_strategies import Strategy

    from .features import FeatureFile
    from .learner import Learner
    from .quality import Suspect

Rows = NDArray[np.int64]
Codes = NDArray[Any]
"""Labels as the task encodes them."""

_BLOCK = 65_536

_SEEN = 2_000
"""Rows of the pool at most by which a search tells how far chosen labels are from a random sample."""

_NEIGHBOURS = 3
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """Turn items into feature rows, or find them done. `rows[i]` is the source row of item i; fits on `pool` only."""

    data: DataSettings
    features: FeatureSettings
    folder: Path
    cache: Path
    rows: tuple[str, ...]
    pool: NDArray[np.bool_]

    def run(self) -> FeatureFile:
        from .features import encode
        from .sources import open_source

        source = open_source(self.data, self.folder)
        return encode(source, self.rows, self.pool, self.features, self.data, self.cache)


@dataclass(frozen=True, slots=True)
class RoundJob:
    """All that a round's model and ranking are made of.

    Rows are positions of items, which are rows of the feature file. `codes` are the labels of `labelled`.
    `candidates` may be chosen (with `ids`, their 64-bit names); `pending` were asked and are not answered;
    `sample` is where rounds are compared; `test` are the reserved items (predicted, never learned from).
    `random_share` of the choice is drawn at random. With `votes` (item → person → label) it is also found out which of
    these items' labels are doubtful, by models that have not learned from them.

    Where the model is searched for: `groups` (n_labelled,) are kept together in the search, `searched` is what earlier
    rounds found, and `trials` says how many folds of each candidate are tried instead of what the clock allows; given
    empty, nothing is searched. With `even` the classes of a choice count alike in it, however many labels each has.
    """

    number: int
    features: FeatureFile
    labelled: Rows
    codes: Codes
    candidates: Rows
    ids: NDArray[np.uint64]
    pending: Rows
    sample: Rows
    test: Rows
    task: TaskSettings
    model: ModelSettings
    strategy: str
    n: int
    seed: int
    random_share: float = 0.0
    votes: Votes = field(default_factory=dict)
    groups: Rows | None = None
    searched: Found | None = None
    trials: Mapping[str, int] | None = None
    even: bool = False

    def run(self) -> RoundResult:
        return _run(self)


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a round found: the chosen rows, best first, and predictions to score and compare with.

    `test_mean` (n_test, …) is the mean of the members' predictions, `sample_codes` (n_sample, …) what is predicted of
    the sample; both are empty at the cold start.
    """

    number: int
    chosen: Rows
    utilities: NDArray[np.float64]
    why: tuple[Mapping[str, Any], ...]
    test_mean: NDArray[np.float64]
    sample_codes: Codes
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SuspectsJob:
    """Look for labels that look wrong, among those that a fit is to learn from."""

    fit: RoundJob

    def run(self) -> Suspects:
        from .quality import suspects

        guard(self.fit)
        job, X = self.fit, self.fit.features.open()
        labels = dict(zip(job.labelled.tolist(), make_task(job.task).decode(job.codes), strict=True))
        return Suspects(suspects(labels, held_out(job, X), X, job.task.classes), len(labels))


@dataclass(frozen=True, slots=True)
class Suspects:
    """Labels that look wrong, of so many, the worst first."""

    found: tuple[Suspect, ...]
    n_labels: int


@dataclass(frozen=True, slots=True)
class Sides:
    """What pairs of models predict of the same items, (pairs, n, …) each: see `control.Arms.sides`."""

    chosen: NDArray[np.float64]
    random: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SidesJob:
    """Fit pairs of models that differ in their labels alone, and predict the reserved items with all of them."""

    pairs: tuple[tuple[RoundJob, RoundJob], ...]

    def run(self) -> Sides:
        chosen, random = zip(*((one.run().test_mean, other.run().test_mean) for one, other in self.pairs), strict=True)
        return Sides(np.stack(chosen), np.stack(random))


def warm_up() -> None:
    """Import all that a job may need."""
    import query_strategies

    from . import features, learner, search, sources

    search.warm_up()
    del query_strategies, features, learner, sources


def _run(job: RoundJob) -> RoundResult:
    guard(job)
    X = job.features.open()
    started = time.perf_counter()
    job = _settled(job, X)
    searched = time.perf_counter()
    learner, task = fit_model(job, X), make_task(job.task)
    taught = time.perf_counter()
    chosen, utilities, why = _choose(job, X, learner)
    queried = time.perf_counter()
    return RoundResult(
        number=job.number,
        chosen=chosen,
        utilities=utilities,
        why=why,
        test_mean=mean_of(learner, X, job.test, task),
        sample_codes=task.decide(mean_of(learner, X, job.sample, task)),
        record={
            "n_labels": len(job.codes),
            "n_candidates": len(job.candidates),
            "labels": dict(task.summarise(task.decode(job.codes))),
            "model": job.model.use if learner is None else learner.fingerprint,
            **(job.searched.as_record() if job.searched else {}),
            "features": job.features.fingerprint,
            "data_version": _data_version(job),
            "libraries": _libraries(),
            **_doubts(job, X, learner, chosen),
            "search_s": round(searched - started, 4),
            "fit_s": round(taught - started, 4),
            "query_s": round(queried - taught, 4),
        },
    )


def guard(job: RoundJob) -> None:
    """Refuse to learn from, choose among or compare on a reserved item, whoever made the job."""
    for name in ("labelled", "candidates", "pending", "sample"):
        leaked = np.intersect1d(getattr(job, name), job.test)
        if len(leaked):
            raise DataError(
                f"cannot run round {job.number}: {len(leaked)} of its {name} items are reserved for testing "
                f"(the first is item {leaked[0]}); nothing was trained."
            )


def fit_model(job: RoundJob, X: Any) -> Learner | None:
    """The round's model; none at the cold start."""
    if job.number == COLD_START:
        return None
    return _fitted(job, X[job.labelled], job.codes)


def _settled(job: RoundJob, X: Any) -> RoundJob:
    """The job with its model found, if that is to be searched for; no reserved item is seen by the search."""
    if job.number == COLD_START or not job.model.searches:
        return replace(job, searched=None)
    lessons = _lessons(job, X[job.labelled], job.codes, job.groups)
    lessons = replace(lessons, pool=X[job.sample[:: -(-len(job.sample) // _SEEN) or 1]], even=job.even)
    return replace(job, searched=search(lessons, job.model, job.searched, job.trials))


def _lessons(job: RoundJob, X: Any, codes: Codes, groups: Rows | None = None) -> Lessons:
    groups = np.arange(len(codes)) if groups is None else groups
    return Lessons(X, codes, job.task.learned, job.task.classes, job.seed, groups)


def _refitted(job: RoundJob, X: Any, rows: Rows, codes: Codes) -> Callable[[Any], NDArray[np.floating[Any]]]:
    """What the model would predict, had these rows these labels as well."""
    rows, codes = np.concatenate([job.labelled, rows]), np.concatenate([job.codes, codes])
    return _fitted(job, X[rows], codes).member_predictions


def _fitted(job: RoundJob, X: Any, codes: Codes) -> Learner:
    """The model of the round, or the one that its search found, fitted to these labels."""
    from .learner import make_learner

    if job.searched:
        members = getattr(_strategy(job.strategy, job.random_share), "needs_members", 1)
        return fitted(_lessons(job, X, codes), job.searched, job.model, members)
    names = job.model.names
    use = names[0] if len(names) == 1 else list(names)
    told, members = job.task, job.model.members
    learner = make_learner(use, classes=told.classes, seed=job.seed, committee=members, kind=told.learned)
    learner.fit(X, codes)
    return learner


def _choose(
    job: RoundJob, X: Any, learner: Learner | None
) -> tuple[Rows, NDArray[np.float64], tuple[Mapping[str, Any], ...]]:
    """Positions of the wanted items, best first, their utilities, and why each was wanted."""
    from query_strategies import PoolView

    n = min(job.n, len(job.candidates))
    if n == 0:
        return np.empty(0, np.int64), np.empty(0), ()
    view = PoolView(
        job.ids,
        X,
        rows=job.candidates,
        predict=learner.member_predictions if learner else None,
        labelled_X=X[job.labelled],
        labelled_y=job.codes,
        pending_X=X[job.pending],
        classes=job.task.classes,
        task=job.task.learned,
        fit_predict=lambda rows, codes: _refitted(job, X, job.candidates[rows], codes),
    )
    strategy = _strategy(job.strategy, job.random_share)
    selection = strategy.query(view, n, np.random.default_rng([job.seed, job.number + 1]))
    chosen = job.candidates[selection.rows]
    reasons = _foretold(job, X, learner, chosen, selection.why)
    near = _neighbours(job, X, chosen)
    why = tuple({**own, "neighbours": found} for own, found in zip(reasons, near, strict=True))
    return chosen, np.asarray(selection.utilities), why


def _foretold(
    job: RoundJob, X: Any, learner: Learner | None, chosen: Rows, why: tuple[Mapping[str, Any], ...]
) -> list[Mapping[str, Any]]:
    """The reasons, with what the model predicts of rows that chance chose: recorded before anybody has answered."""
    reasons = list(why)
    random = [place for place, reason in enumerate(why) if reason.get("drawn") == AT_RANDOM]
    task = make_task(job.task)
    predicted = task.decode(task.decide(mean_of(learner, X, chosen[random], task)))
    for place, label in zip(random, predicted, strict=False):
        reasons[place] = {**reasons[place], "predicted": label}
    return reasons


def _neighbours(job: RoundJob, X: Any, chosen: Rows) -> list[list[dict[str, Any]]]:
    """The labelled items nearest to each chosen one, nearest first: what the model had to go by there."""
    from sklearn.metrics.pairwise import euclidean_distances

    if not len(job.labelled):
        return [[] for _ in chosen]
    distances = euclidean_distances(X[chosen], X[job.labelled])
    labels = make_task(job.task).decode(job.codes)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :_NEIGHBOURS]
    return [
        [
            {
                "item": int(job.labelled[column]),
                "label": labels[column],
                "distance": round(float(distances[row, column]), 6),
            }
            for column in columns
        ]
        for row, columns in enumerate(nearest)
    ]


def _doubts(job: RoundJob, X: Any, learner: Learner | None, chosen: Rows) -> dict[str, Any]:
    """Items whose label is doubtful, and what is predicted of those with several votes without their own labels."""
    if learner is None or not job.votes:
        return {"doubtful": [], "held_out": []}
    from .quality import doubtful

    held, task = held_out(job, X), make_task(job.task)
    disputed = np.array(sorted(job.votes.keys() - held.keys()), dtype=np.int64)
    held.update(zip(disputed.tolist(), mean_of(learner, X, disputed, task), strict=True))
    n = max(1, len(chosen))
    several = sorted(item for item, votes in job.votes.items() if len(votes) > 1)
    return {
        "doubtful": doubtful(job.votes, held, mean_of(learner, X, chosen, task), n, job.task.classes),
        "held_out": [[item, np.round(held[item], 6).tolist()] for item in several],
    }


def held_out(job: RoundJob, X: Any) -> dict[int, NDArray[np.float64]]:
    """What is predicted of each labelled item (C,) by a model that learned from four fifths, not from its label."""
    return {item: mean for rows, means in folds(job, X) for item, mean in zip(rows.tolist(), means, strict=True)}


def folds(job: RoundJob, X: Any) -> Iterator[tuple[Rows, NDArray[np.float64]]]:
    """Fifths of the labelled items, one model a fifth: their rows, and what is predicted of them (n, …).

    The fifths have the same share of each class, as far as that goes; of other kinds they are drawn.
    """
    task, order = make_task(job.task), np.random.default_rng([job.seed, 9]).permutation(len(job.codes))
    by_class = order[np.argsort(job.codes[order], kind="stable")] if task.kind == "choice" else order
    fold = np.empty(len(job.codes), dtype=np.int64)
    fold[by_class] = np.arange(len(by_class)) % _FOLDS
    for held in (fold == number for number in range(_FOLDS)):
        learner = _fitted(job, X[job.labelled[~held]], job.codes[~held])
        yield job.labelled[held], mean_of(learner, X, job.labelled[held], task)


def _strategy(name: str, random_share: float) -> Strategy:
    """The strategy of this name, or the one that `module:Class` names, made without arguments; with a random share."""
    from query_strategies import make

    made: Strategy = components.make(name) if ":" in name else make(name)
    return make("mixture", inner=made, share=random_share) if random_share else made


def mean_of(learner: Learner | None, X: Any, rows: Rows, task: Task) -> NDArray[np.float64]:
    """(n, …) mean of the members' predictions of `rows`, in blocks; empty without a model."""
    if learner is None or not len(rows):
        return np.empty((0, len(task.classes)) if task.classes else 0)
    blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    return np.concatenate([learner.member_predictions(X[block]).mean(axis=0) for block in blocks])


def _data_version(job: RoundJob) -> str:
    """One name for what the round trained on: rows, their labels and their features."""
    digest = hashlib.blake2b(job.features.fingerprint.encode(), digest_size=8)
    order = np.argsort(job.labelled)
    digest.update(np.ascontiguousarray(job.labelled[order]).tobytes())
    digest.update(np.ascontiguousarray(job.codes[order]).tobytes())
    return digest.hexdigest()


def _libraries() -> dict[str, str]:
    names = ("numpy", "scipy", "scikit-learn", "modAL-python")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
