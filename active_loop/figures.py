"""How good the model of the newest round looks on the labels that it can be read on: to understand it, not to prove it.

Everything here is read out of fold, on labelled items to learn from: chosen items, which are no random sample. Nothing
is said of a single item before its page says why it was asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .evaluate import lower_bound, upper_bound
from .points import Sight
from .portrait import Portrait, score
from .reasons import readable
from .settings import Settings
from .tasks import Task, make_task

Codes = NDArray[Any]
Reals = NDArray[np.floating[Any]]

GROUPS: Final = 20
"""Groups of items that are listed, the largest ones."""

MISTAKES: Final = 12
"""Mistakes that are listed, the most confident ones."""

WIDE_GAP: Final = 0.15
"""By how much a model knows its own labels better than others where that is worth a word."""

_BEFORE: Final = 2 / 3
"""What the newest round is compared with: the newest one that had at most this share of its labels."""

_BINS: Final = 10
_SIDE = 0.025


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `n`, with an exact interval of 95 %; of nothing there is no value."""

    right: int
    n: int

    @property
    def value(self) -> float | None:
        return self.right / self.n if self.n else None

    @property
    def low(self) -> float:
        return lower_bound(self.right, self.n, _SIDE) if self.n else 0.0

    @property
    def high(self) -> float:
        return upper_bound(self.right, self.n, _SIDE) if self.n else 1.0


@dataclass(frozen=True, slots=True)
class OfClass:
    """How a class fares: of what was said to be of it how much was, of what is of it how much was found, and both."""

    name: str
    precision: Share
    recall: Share

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where nothing is of the class and nothing was said to be."""
        both = self.precision.n + self.recall.n
        return 2 * self.recall.right / both if both else None


@dataclass(frozen=True, slots=True)
class Bin:
    """Items whose chance of being right was about `chance`: how many of them were."""

    chance: float
    share: Share


@dataclass(frozen=True, slots=True)
class Mistake:
    """A labelled item of which the model is sure that it is something else. Of numbers `chance` is None."""

    item: int
    label: str
    predicted: str
    chance: float | None


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a round knew what it had learned from, and what it had not: see `Portrait.history`."""

    round: int
    n_labels: int
    inside: float
    outside: float

    @property
    def gap(self) -> float:
        return self.inside - self.outside

    @property
    def is_wide(self) -> bool:
        return self.gap >= WIDE_GAP


@dataclass(frozen=True, slots=True)
class Step:
    """The mean losses after so many iterations, on what was taught and on what was not; `error` is the standard error
    of how far the latter is from its last value."""

    iteration: int
    inside: float
    outside: float
    error: float


@dataclass(frozen=True, slots=True)
class Course:
    """How losses go with the iterations of a model, at least one: see `Portrait.course`."""

    steps: tuple[Step, ...]

    @property
    def best(self) -> Step:
        """Where the loss on what was not taught is lowest, the first of equals."""
        return min(self.steps, key=lambda step: step.outside)

    @property
    def gets_worse(self) -> bool:
        """Whether it ends more than one standard error above its lowest."""
        return self.steps[-1].outside - self.best.outside > self.best.error


@dataclass(frozen=True, slots=True)
class Numbers:
    """Predicted numbers beside the true ones (each n): the mean error and its direction, the widest ones, and R²."""

    truth: tuple[float, ...]
    predicted: tuple[float, ...]
    mean_error: float
    root_error: float
    bias: float
    r2: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page of a model shows. `counts` (C, C) are items by their label (row) and what was predicted (column).

    `overall` counts items that were predicted rightly, of several labels wholly; of numbers there is none, and
    `numbers` instead. `calibration`, and the two errors of the chances, are there for one class per item. `tried` are
    the models that were tried in the newest search, which was in round `searched` (None: in none); `searches` says
    whether the settings leave the model to a search, and `tamed` what that did about a model that memorised, as the
    round's record has it (None: there was nothing to be done).

    `guess` is the score of always saying the same. `course` is there for a model that `learns_in_steps`, as far as it
    was read by iteration.
    """

    round: int
    n_labels: int
    kind: str
    model: str
    overall: Share | None
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    of_classes: tuple[OfClass, ...]
    of_groups: tuple[tuple[str, Share], ...]
    calibration: tuple[Bin, ...]
    calibration_error: float | None
    brier: float | None
    numbers: Numbers | None
    mistakes: tuple[Mistake, ...]
    fits: tuple[Fit, ...]
    guess: float
    learns_in_steps: bool
    course: Course | None
    tried: tuple[Mapping[str, Any], ...]
    searched: int | None
    searches: bool
    tamed: Mapping[str, Any] | None


def figures(seen: Sight, place: int, portrait: Portrait, groups: Mapping[int, str | None]) -> Figures:
    """The figures of a round of `seen`, by its portrait; `groups` name the group of each labelled item, if it has one.

    Without predictions out of fold all of them are empty but the round, and what was learned from.
    """
    round_, settings = seen.rounds[place], seen.settings[place]
    task = make_task(settings.task)
    there = bool(len(portrait.held_out))
    codes, mean = (portrait.codes, portrait.held_out) if there else (portrait.codes[:0], portrait.held_out)
    items = portrait.labelled if there else portrait.labelled[:0]
    decided = task.decide(mean) if there else codes
    right = (decided == codes).reshape(len(codes), -1).all(axis=1) if there else np.empty(0, dtype=bool)
    chosen, is_number = task.kind == "choice", task.kind == "number"
    bins = calibration(mean.max(axis=1), right) if chosen and there else ()
    return Figures(
        round=round_.number,
        n_labels=len(portrait.codes),
        kind=task.kind,
        model=str(round_.record.get("chosen") or " + ".join(settings.model.names)),
        overall=None if is_number or not there else Share(int(right.sum()), len(right)),
        classes=task.classes,
        counts=_counts(codes, decided, len(task.classes)) if chosen else (),
        of_classes=of_classes(task, codes, decided) if there and not is_number else (),
        of_groups=() if is_number else _of_groups(items, right, groups),
        calibration=bins,
        calibration_error=calibration_error(bins) if bins else None,
        brier=brier(codes, mean) if bins else None,
        numbers=_numbers(task, codes, decided, mean) if is_number and there else None,
        mistakes=_mistakes(seen, task, settings, items, codes, decided, mean) if there else (),
        fits=tuple(Fit(int(row[0]), int(row[1]), float(row[2]), float(row[3])) for row in portrait.history),
        guess=guess(task, portrait.codes),
        learns_in_steps=portrait.learns_in_steps,
        course=Course(tuple(Step(int(row[0]), *row[1:]) for row in portrait.course.tolist()))
        if len(portrait.course)
        else None,
        tried=tuple(seen.searched.record["trials"]) if seen.searched else (),
        searched=seen.searched.number if seen.searched else None,
        searches=settings.model.searches,
        tamed=seen.searched.record["search"].get("tamed") if seen.searched else None,
    )


def before(fits: Sequence[Fit]) -> Fit | None:
    """The newest round with at most two thirds of the labels of the last one of `fits`, which are in order; None: none
    had so few."""
    return next((each for each in reversed(fits) if each.n_labels <= _BEFORE * fits[-1].n_labels), None)


def is_better(now: Fit, other: float) -> bool:
    """Whether labels that were not seen are foretold better than with this score: by more than one standard error of a
    share of as many labels, at its widest."""
    return now.outside - other > 0.5 / math.sqrt(now.n_labels)


def guess(task: Task, codes: Codes) -> float:
    """The score of always saying the same: the commonest label, of several labels the commonest set; of numbers 0."""
    if task.kind == "number" or not len(codes):
        return 0.0
    return float(np.unique(codes, axis=0, return_counts=True)[1].max()) / len(codes)


def _counts(codes: Codes, decided: Codes, n: int) -> tuple[tuple[int, ...], ...]:
    table = np.zeros((n, n), dtype=int)
    np.add.at(table, (codes, decided), 1)
    return tuple(tuple(row) for row in table.tolist())


def of_classes(task: Task, codes: Codes, decided: Codes) -> tuple[OfClass, ...]:
    """How each class fares, of labels and predictions as the task codes them."""
    if task.kind == "choice":
        classes = np.arange(len(task.classes))
        codes, decided = codes[:, None] == classes, decided[:, None] == classes
    both, said, there = (np.asarray(each, dtype=int).sum(axis=0) for each in (codes * decided, decided, codes))
    return tuple(
        OfClass(name, Share(int(b), int(s)), Share(int(b), int(t)))
        for name, b, s, t in zip(task.classes, both, said, there, strict=True)
    )


def _of_groups(
    items: NDArray[np.int64], right: NDArray[np.bool_], groups: Mapping[int, str | None]
) -> tuple[tuple[str, Share], ...]:
    """The share that is right in each of the largest groups, the largest first."""
    found: dict[str, list[bool]] = {}
    for item, is_right in zip(items.tolist(), right.tolist(), strict=True):
        if group := groups.get(item):
            found.setdefault(group, []).append(is_right)
    largest = sorted(found.items(), key=lambda each: (-len(each[1]), each[0]))[:GROUPS]
    return tuple((name, Share(sum(each), len(each))) for name, each in largest)


def calibration(chance: Reals, right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Items in bins of a tenth by the chance of what is predicted; empty bins are left out."""
    bins = np.minimum((chance * _BINS).astype(int), _BINS - 1)
    found = ((float(chance[bins == b].mean()), right[bins == b]) for b in np.unique(bins))
    return tuple(Bin(mean, Share(int(each.sum()), len(each))) for mean, each in found)


def calibration_error(bins: Sequence[Bin]) -> float:
    """How far chances and shares lie apart, on average over items (Guo et al. 2017, section 2)."""
    n = sum(each.share.n for each in bins)
    return sum(abs(each.share.right - each.chance * each.share.n) for each in bins) / n


def brier(codes: Codes, mean: Reals) -> float:
    """Mean squared distance of the chances from what is so, halved for two classes, as the metric of that name is."""
    distances = ((mean - np.eye(mean.shape[1])[codes]) ** 2).sum(axis=1)
    return float(distances.mean()) / (2 if mean.shape[1] == 2 else 1)


def _numbers(task: Task, truth: Reals, decided: Reals, mean: Reals) -> Numbers:
    error = decided - truth
    return Numbers(
        truth=tuple(truth.tolist()),
        predicted=tuple(decided.tolist()),
        mean_error=float(np.abs(error).mean()),
        root_error=float(np.sqrt((error**2).mean())),
        bias=float(error.mean()),
        r2=score(task, truth, mean),
    )


def _mistakes(
    seen: Sight, task: Task, settings: Settings, items: NDArray[np.int64], codes: Codes, decided: Codes, mean: Reals
) -> tuple[Mistake, ...]:
    """The most confident mistakes among items whose page says why they were asked; of numbers the widest errors."""
    if task.kind == "number":
        weight = np.abs(decided - codes)
        wrong = weight > 0
    else:
        wrong = ~(decided == codes).reshape(len(codes), -1).all(axis=1)
        # Of several labels: how sure the model is of the one that it is surest of and that is wrong.
        sure = np.abs(mean - 0.5) * (decided != codes) if task.kind == "multi_label" else mean
        weight = sure.max(axis=1) + (0.5 if task.kind == "multi_label" else 0.0)
    rows = np.flatnonzero(wrong & seen.may_be_labelled(items))
    worst = rows[np.argsort(-weight[rows], kind="stable")][:MISTAKES]
    said, predicted = task.decode(codes[worst]), task.decode(decided[worst])
    if task.kind == "number":
        predicted = [f"{value:.4g}" for value in decided[worst].tolist()]
    chances = [None if task.kind == "number" else float(weight[row]) for row in worst]
    return tuple(
        Mistake(int(items[row]), readable(label), readable(guess), chance)
        for row, label, guess, chance in zip(worst, said, predicted, chances, strict=True)
    )
