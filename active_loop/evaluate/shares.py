"""Metrics that are a share of some of the items, or that grow with one: their bounds are exact.

How many items a share is about is random too. Given that number the right ones among them have a binomial
distribution, so the bounds hold for each number, and therefore on the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..tasks import Task
from .bounds import lower_bound, posterior, upper_bound
from .reading import WRONG, Claim, Codes, Reading, Reals, n_right

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """`cases` says of truth and codes how many items are right, and of how many; 0 of 0 is 0, with no bound.

    `shown` turns that share into the metric and `share` turns it back; both grow.
    """

    task: Task
    cases: Callable[[Codes, Codes], tuple[int, int]]
    shown: Callable[[float], float] = float
    share: Callable[[float], float] = float

    certifiable: ClassVar[bool] = True
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        right, n = self._cases(truth, predicted)
        return self.shown(right / n) if n else 0.0

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        right, n = self._cases(truth, predicted)
        low, high = lower_bound(right, n, 0.025), upper_bound(right, n, 0.025)
        return Reading(self.value(truth, predicted), self.shown(low), self.shown(high), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        right, n = self._cases(truth, predicted)
        return Claim(
            value=self.value(truth, predicted),
            correct=n_right(self.task, truth, predicted),
            n=len(truth),
            bound=self.shown(lower_bound(right, n, level)),
            posterior=posterior(right, n, self.share(target)),
        )

    def _cases(self, truth: Codes, predicted: Reals) -> tuple[int, int]:
        return self.cases(truth, self.task.decide(predicted))


def accuracy(task: Task) -> Share:
    """Share of the items whose label was predicted: of several classes exactly these (subset accuracy)."""
    return Share(
        task, lambda truth, codes: (int((truth == codes).reshape(len(truth), -1).all(axis=1).sum()), len(truth))
    )


def precision(task: Task, positive: int) -> Share:
    """Share of the items predicted as the class that are of it."""

    def cases(truth: Codes, codes: Codes) -> tuple[int, int]:
        true, predicted = sides(truth, codes, positive)
        return int(np.sum(true & predicted)), int(np.sum(predicted))

    return Share(task, cases)


def recall(task: Task, positive: int) -> Share:
    """Share of the items of the class that were predicted as it."""

    def cases(truth: Codes, codes: Codes) -> tuple[int, int]:
        true, predicted = sides(truth, codes, positive)
        return int(np.sum(true & predicted)), int(np.sum(true))

    return Share(task, cases)


def f1(task: Task, positive: int) -> Share:
    """2·TP / (2·TP + FP + FN) of the class.

    It is 2·J / (1 + J) with the share J = TP / (TP + FP + FN) of right ones among the items where the class is true
    or predicted, so a bound of J is one of F1.
    """

    def cases(truth: Codes, codes: Codes) -> tuple[int, int]:
        true, predicted = sides(truth, codes, positive)
        return int(np.sum(true & predicted)), int(np.sum(true | predicted))

    return Share(task, cases, shown=lambda share: 2 * share / (1 + share), share=lambda f1: f1 / (2 - f1))


def sides(truth: Codes, codes: Codes, positive: int) -> tuple[Bools, Bools]:
    """Whether each item is of the class, and is predicted as it; a `WRONG` item is what it was not predicted as."""
    predicted = codes == positive
    return (truth == positive) | ((truth == WRONG) & ~predicted), predicted
