"""Candidates on folds, against the clock: what came of each, and what is turned to where the best of them memorises."""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from scipy.sparse import issparse

from ..errors import TrainingError
from ..learner import Learner, make_learner
from .course import Course
from .evaluation import Codes, Evaluation, Fold, Lessons, Reals, quality
from .space import Candidate, misfit
from .trials import Tamed

_LOG: Final = logging.getLogger(__name__)

_LATEST: Final = 0.8
"""Part of the time after which nothing is begun of which it is not known how long it takes."""

_SLACK: Final = 1.2
"""How many times as long as its shortest fold another one may take."""

_NARROW: Final = 1e-9
"""Directions of so much less spread than the widest one are rounding."""

_SOON_S: Final = 0.001

_BY_HEART: Final = 0.99
_WIDE: Final = 0.15
"""A model memorises where it knows so much of its own labels, and so much less of others."""


@dataclass(slots=True)
class Tally:
    """What came of one candidate: of each repeat that it completed the losses (n,) and what it predicted (n, …), not a
    number where nothing was held out; with the folds and seconds spent, and those of the shortest fold (the first one
    is often much longer than the others). `problem` is why it cannot be used."""

    candidate: Candidate
    repeats: list[Reals] = field(default_factory=list)
    predicted: list[Reals] = field(default_factory=list)
    folds: int = 0
    seconds: float = 0.0
    shortest: float = float("inf")
    problem: str = ""

    @property
    def loss(self) -> float:
        """The mean over items and repeats; infinite before the first repeat is complete."""
        return self.loss_of(len(self.repeats))

    def loss_of(self, repeats: int) -> float:
        """The mean over items and the first repeats."""
        return float(np.nanmean(self.repeats[:repeats])) if self.repeats else float("inf")


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
    incumbents: Collection[str] = (),
) -> tuple[list[Tally], Tamed | None]:
    """What came of each candidate, in the order in which they were tried; those that can learn nothing here name their
    problem. Then what was turned to because the best of them memorised, if it did.

    First all that are not tamer, as the course has it; then, where the best of these memorises, the tamer ones; then
    the variations of the course. A fold is begun only if it and the rest of its repeat, by the shortest fold of the
    candidate so far, end before the limit; one that takes longer is broken off there. The first candidate that can be
    used completes a repeat, whatever it takes.
    """
    race = _Race(lessons, evaluation, limit)
    plain = [each for each in candidates if not each.tamer]
    race.run(course, course.order(plain, incumbents), incumbents)
    tamed = race.tame(course, [each for each in candidates if each.tamer])
    if hasattr(course, "variations"):
        losses = {tally.candidate.name: tally.loss for tally in race.tallies}
        steps = course.variations(candidates, losses, len(lessons), lessons.seed)
        proposal = next(steps, None)
        while proposal is not None and race.may_begin(proposal.name):
            proposal = steps.send(race.loss_of(proposal))
    return race.tallies, tamed


def teach(learner: Learner, X: Any, codes: Codes) -> None:
    """Fit a learner, without warnings of steps that ended and of classes with few items: it is a model all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        learner.fit(X, codes)


class _TimeIsUp(BaseException):
    """The time of a search ended in the middle of a fold. No estimator may take it for a fault of its own."""


class _Race:
    """Candidates on folds, for as long as the limit allows."""

    def __init__(self, lessons: Lessons, evaluation: Evaluation, limit: Limit) -> None:
        self.tallies: list[Tally] = []
        self._lessons = lessons
        self._evaluation = evaluation
        self._limit = limit
        self._started = limit.clock()
        self._repeats = evaluation.repeats(lessons)

    def run(self, course: Course, candidates: Iterable[Candidate], incumbents: Collection[str] = ()) -> list[Tally]:
        """Try candidates repeat by repeat, those that the course lets go on."""
        entered = [self._entered(each) for each in candidates]
        open_ = [tally for tally in entered if not tally.problem]
        for number, folds in enumerate(self._repeats, start=1):
            for tally in open_:
                self._repeat(tally, folds)
            done = {tally.candidate.name: tally.loss for tally in open_ if len(tally.repeats) == number}
            going_on = course.remaining(done, incumbents, len(self._lessons))
            open_ = [tally for tally in open_ if tally.candidate.name in going_on]
        return entered

    def tame(self, course: Course, candidates: Sequence[Candidate]) -> Tamed | None:
        """Try the tamer candidates, if the best one so far memorises."""
        leader = self._leader
        if leader is None or not candidates or not self.may_begin(candidates[0].name):
            return None
        outside = quality(self._lessons, np.mean(leader.predicted, axis=0))
        inside = quality(self._lessons, self._taught(leader.candidate, np.arange(len(self._lessons))))
        if inside < _BY_HEART or inside - outside < _WIDE:
            return None
        names = [tally.candidate.name for tally in self.run(course, candidates) if tally.repeats]
        return Tamed(round(inside, 6), round(outside, 6), tuple(names))

    def loss_of(self, candidate: Candidate) -> float:
        """Try one more candidate, on further repeats only if it is better than the best one so far."""
        tally, leader = self._entered(candidate), self._leader
        for number, folds in enumerate(self._repeats if not tally.problem else (), start=1):
            self._repeat(tally, folds)
            if len(tally.repeats) < number or (leader and tally.loss >= leader.loss_of(number)):
                break
        return tally.loss

    def may_begin(self, name: str) -> bool:
        """Whether there is time for one more candidate."""
        if self._limit.folds is not None:
            return name in self._limit.folds
        return self._spent < _LATEST * self._limit.seconds

    @property
    def _spent(self) -> float:
        return self._limit.clock() - self._started

    @property
    def _leader(self) -> Tally | None:
        complete = [tally for tally in self.tallies if tally.repeats]
        return min(complete, key=lambda tally: tally.loss, default=None)

    def _entered(self, candidate: Candidate) -> Tally:
        tally = Tally(candidate, problem=misfit(candidate, self._lessons.kind, self._lessons.X))
        self.tallies.append(tally)
        return tally

    def _repeat(self, tally: Tally, folds: Sequence[Fold]) -> None:
        """One more repeat of a candidate, with its losses if it was completed."""
        losses, predicted = np.full(len(self._lessons), np.nan), None
        for place, (taught, held) in enumerate(folds):
            if not self._may_go_on(tally, len(folds) - place):
                return
            at = self._limit.clock()
            try:
                with self._alarm():
                    told = self._taught(tally.candidate, held, taught)
            except TrainingError as error:
                tally.problem, tally.repeats, tally.predicted = str(error).rstrip("."), [], []
                return
            except _TimeIsUp:
                return
            finally:
                took = self._limit.clock() - at
                tally.seconds, tally.shortest = tally.seconds + took, min(tally.shortest, took)
            predicted = np.full((len(self._lessons), *told.shape[1:]), np.nan) if predicted is None else predicted
            losses[held], predicted[held] = self._evaluation.losses(self._lessons, held, told), told
            tally.folds += 1
        if predicted is not None:
            tally.repeats.append(losses)
            tally.predicted.append(predicted)
            self._say()

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Raise `_TimeIsUp` inside the block at the end of the time, as soon as Python's own code runs again.

        Only where there is something to choose already, and in the main thread: nothing else can be interrupted.
        """
        stoppable = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
        if self._limit.folds is not None or self._limit.clock is not time.perf_counter or self._leader is None:
            stoppable = False
        if not stoppable:
            yield
            return
        armed = True

        def ring(number: int, frame: object) -> None:
            if armed:
                raise _TimeIsUp

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(_SOON_S, self._limit.seconds - self._spent))
            yield
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _say(self) -> None:
        """How far the search is, for whoever waits for it."""
        done, leader = sum(bool(tally.repeats) for tally in self.tallies), self._leader
        if leader:
            _LOG.info(
                "%d of %d models tried, the best so far is %s (%.0f of %.0f s)",
                *(done, len(self.tallies), leader.candidate.name, self._spent, self._limit.seconds),
            )

    def _may_go_on(self, tally: Tally, left: int) -> bool:
        """Whether a fold may begin, of which so many are left in the repeat."""
        if self._limit.folds is not None:
            return tally.folds < self._limit.folds.get(tally.candidate.name, 0)
        if self._leader is None:
            return True
        if not tally.folds:
            return self.may_begin(tally.candidate.name)
        return self._spent + _SLACK * left * tally.shortest < self._limit.seconds

    def _taught(self, candidate: Candidate, held: Any, taught: Any = slice(None)) -> Reals:
        """What the candidate predicts of the places `held`, having learned from those `taught`."""
        told = self._lessons
        X = self._turned if candidate.turns else told.X
        learner = make_learner(candidate.estimator, classes=told.classes, seed=told.seed, kind=told.kind)
        teach(learner, X[taught], told.codes[taught])
        predicted: Reals = learner.member_predictions(X[held])[0]
        return predicted

    @cached_property
    def _turned(self) -> Any:
        """Rows (n, at most n) with the same products as X; X itself where it is dense.

        Labels are fewer than words: a linear model of 200 texts is fitted in a hundredth of the time.
        """
        if not issparse(self._lessons.X):
            return self._lessons.X
        X = self._lessons.X.astype(np.float64)
        values, directions = np.linalg.eigh((X @ X.T).toarray())
        wide = values > _NARROW * values.max()
        return directions[:, wide] * np.sqrt(values[wide])
