"""In which order candidates are tried, which of them go on, and when it ends: the search strategy and its clock."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from .. import components
from ..errors import ConfigError, TrainingError, unknown_name
from ..learner import Learner, make_learner
from .evaluation import Codes, Evaluation, Fold, Lessons, Reals
from .space import Candidate, misfit

_HALVED_FROM: Final = 500
"""Labels from which on the worse half of the candidates is dropped after each repeat."""


class Course(Protocol):
    """A search strategy: a `name` for the record, the order of the candidates, and which of them are tried further."""

    name: str

    def order(self, candidates: Sequence[Candidate], incumbent: str) -> Sequence[Candidate]:
        """The order in which candidates are tried."""
        ...

    def remaining(self, losses: Mapping[str, float], incumbent: str, n_labels: int) -> Collection[str]:
        """Which of these candidates are tried on one more repeat, by their mean losses so far."""
        ...


class Halving:
    """The incumbent first, then the cheap ones; all of them on all folds, and from 500 labels on the better half only
    after each repeat (successive halving, Jamieson & Talwalkar 2016, with folds as the resource)."""

    name = "halving"

    def order(self, candidates: Sequence[Candidate], incumbent: str) -> Sequence[Candidate]:
        """See `Course.order`."""
        return sorted(candidates, key=lambda each: each.name != incumbent)

    def remaining(self, losses: Mapping[str, float], incumbent: str, n_labels: int) -> Collection[str]:
        """See `Course.remaining`."""
        if n_labels < _HALVED_FROM:
            return losses
        best = sorted(losses, key=lambda name: losses[name])[: -(-len(losses) // 2)]
        return {*best, incumbent} & losses.keys()


def make_course(name: str) -> Course:
    """The search strategy of this name, or the one that `module:Class` names, made without arguments.

    Raises `ConfigError` for a name that is none.
    """
    if ":" in name:
        made: Course = components.make(name)
        return made
    if name != Halving.name:
        raise ConfigError(f'model.search: {unknown_name("strategy", name, [Halving.name])} Or give "module:Class".')
    return Halving()


@dataclass(slots=True)
class Tally:
    """What came of one candidate: the losses (n,) of each repeat that it completed, not a number where nothing was
    held out, with the folds and seconds spent. `problem` is why it cannot be used."""

    candidate: Candidate
    repeats: list[Reals] = field(default_factory=list)
    folds: int = 0
    seconds: float = 0.0
    problem: str = ""

    @property
    def loss(self) -> float:
        """The mean over items and repeats; infinite before the first repeat is complete."""
        return float(np.nanmean(self.repeats)) if self.repeats else float("inf")


@dataclass(frozen=True, slots=True)
class Limit:
    """When a search ends: after so many `seconds` by this clock; or with `folds`, after these of each candidate."""

    seconds: float
    clock: Callable[[], float]
    folds: Mapping[str, int] | None = None


def tried(
    candidates: Sequence[Candidate],
    lessons: Lessons,
    evaluation: Evaluation,
    course: Course,
    limit: Limit,
    incumbent: str = "",
) -> list[Tally]:
    """What came of each candidate, in the order of the course; those that can learn nothing here name their problem.

    A fold of a candidate is begun only if it and the rest of its repeat, each as long as its folds took so far, end
    before the limit. The first candidate that can be used completes a repeat, whatever it takes.
    """
    trying = _Trying(lessons, evaluation, limit)
    tallies = [
        Tally(each, problem=misfit(each, lessons.kind, lessons.X)) for each in course.order(candidates, incumbent)
    ]
    open_ = [tally for tally in tallies if not tally.problem]
    for number, folds in enumerate(evaluation.repeats(lessons), start=1):
        for tally in open_:
            trying.repeat(tally, folds)
        done = {tally.candidate.name: tally.loss for tally in open_ if len(tally.repeats) == number}
        going_on = course.remaining(done, incumbent, len(lessons))
        open_ = [tally for tally in open_ if tally.candidate.name in going_on]
    return tallies


def teach(learner: Learner, X: Any, codes: Codes) -> None:
    """Fit a learner, without warnings of steps that ended and of classes with few items: it is a model all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        learner.fit(X, codes)


class _Trying:
    """Candidates on folds, for as long as the limit allows."""

    def __init__(self, lessons: Lessons, evaluation: Evaluation, limit: Limit) -> None:
        self.lessons = lessons
        self.evaluation = evaluation
        self.limit = limit
        self._started = limit.clock()
        self._any = False

    def repeat(self, tally: Tally, folds: Iterable[Fold]) -> None:
        """One more repeat of a candidate, with its losses if it was completed."""
        losses, folds = np.full(len(self.lessons), np.nan), list(folds)
        for place, fold in enumerate(folds):
            if not self._may_go_on(tally, len(folds) - place):
                return
            at = self.limit.clock()
            try:
                losses[fold[1]] = self._losses(tally.candidate, fold)
            except TrainingError as error:
                tally.problem, tally.repeats = str(error).rstrip("."), []
                return
            finally:
                tally.seconds += self.limit.clock() - at
            tally.folds += 1
        tally.repeats.append(losses)
        self._any = True

    def _may_go_on(self, tally: Tally, left: int) -> bool:
        """Whether a fold may begin, of which so many are left in the repeat."""
        if self.limit.folds is not None:
            return tally.folds < self.limit.folds.get(tally.candidate.name, tally.folds + 1)
        spent = self.limit.clock() - self._started
        expected = left * tally.seconds / tally.folds if tally.folds else 0.0
        return not self._any or spent + expected < self.limit.seconds

    def _losses(self, candidate: Candidate, fold: Fold) -> Reals:
        lessons, (taught, held) = self.lessons, fold
        learner = make_learner(candidate.estimator, classes=lessons.classes, seed=lessons.seed, kind=lessons.kind)
        teach(learner, lessons.X[taught], lessons.codes[taught])
        predicted = learner.member_predictions(lessons.X[held])[0]
        return self.evaluation.losses(lessons, held, predicted)
