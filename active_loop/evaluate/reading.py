"""What a metric says of truth and predictions: a reading with its interval, and the test of a claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..tasks import Number, Task

Codes = NDArray[Any]
"""Labels as a task encodes them: (n,) classes, (n, L) rows of 0 and 1, or (n,) numbers."""
Reals = NDArray[np.float64]

WRONG = -1
"""Truth of a test item that counts as wrong whatever was predicted: overdue, or disputed. Of a number it is NaN."""

DRAWS = 4000
"""Draws from a posterior."""
_NUMBERS = 2**19
"""Weights that are held at a time: 4 MB."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric on `n` test items with its two-sided interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A one-sided test of "the metric reaches the target": the bound at a level, and a posterior.

    Reaching is "at least", and `bound` is a lower one; where less is better it is "at most", and an upper one.
    `correct` of the `n` items were predicted as they are, as a whole.
    """

    value: float
    correct: int
    n: int
    bound: float
    posterior: float
    lower_is_better: bool = False

    def reached(self, target: float) -> bool:
        """Whether the value itself reaches the target."""
        return self.value <= target if self.lower_is_better else self.value >= target

    def proven(self, target: float) -> bool:
        """Whether the bound reaches the target."""
        return self.bound <= target if self.lower_is_better else self.bound >= target


class Metric(Protocol):
    """A metric of n test items, at least 1, from their truth and what was predicted of them.

    `truth` holds codes as `truth_codes` makes them, `predicted` the mean of the members' predictions: (n, C)
    probabilities of a choice, (n, L) of sets, (n,) numbers. An item that is `WRONG` counts as if its truth were what is
    worst for the metric, so that no answer that fails to come can help a claim.
    """

    @property
    def certifiable(self) -> bool:
        """Whether the bound of a claim holds with the promised chance, whatever the data."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """Whether it counts errors, so that a target is the most that will do."""
        ...

    def value(self, truth: Codes, predicted: Reals) -> float: ...

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        """The value with a two-sided interval of 95 %."""
        ...

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        """The test of the target with a one-sided error of `level`."""
        ...


def n_right(task: Task, truth: Codes, predicted: Reals) -> int:
    """How many items are predicted as they are: all their codes, or a number within the task's tolerance."""
    if isinstance(task, Number):
        return int(np.sum(np.abs(truth - predicted) <= task.tolerance))
    return int(np.sum((truth == task.decide(predicted)).reshape(len(truth), -1).all(axis=1)))


def settled(
    value: Callable[[Codes, NDArray[Any]], float], truth: Codes, predicted: NDArray[Any], among: Codes
) -> Codes:
    """Truth in which each `WRONG` item has that class of `among` which makes the value least.

    One item after the other, each time on the items that are settled so far. `value` is one where more is better.
    """
    truth, known = truth.copy(), truth != WRONG
    for row in np.flatnonzero(~known):
        known[row] = True
        values = []
        for code in among:
            truth[row] = code
            values.append(value(truth[known], predicted[known]))
        truth[row] = among[int(np.argmin(values))]
    return truth


def bootstrap(statistic: Callable[[Reals], Reals], amounts: Reals, rng: np.random.Generator) -> Reals:
    """4000 draws of a statistic from its posterior, by the Bayesian bootstrap (Rubin 1981).

    `statistic` turns weights (m, n) of the n items, which add up to 1, into m values; `amounts` (n,) says how many
    items each counts for. So many draws are made at a time as memory allows, whatever n.
    """
    step = max(1, _NUMBERS // len(amounts))
    sizes = [min(step, DRAWS - start) for start in range(0, DRAWS, step)]
    return np.concatenate([statistic(rng.dirichlet(amounts, size=size)) for size in sizes])


def reading_of(value: float, draws: Reals, n: int) -> Reading:
    """The reading whose interval holds the middle 95 % of the draws, and the value in any case."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Reading(value, min(float(low), value), max(float(high), value), n)


def claim_of(
    value: float, draws: Reals, correct: int, n: int, target: float, level: float, lower_is_better: bool = False
) -> Claim:
    """The claim whose bound leaves a share `level` of the draws beyond, and whose posterior is the share that reaches
    the target."""
    bound = float(np.quantile(draws, 1 - level if lower_is_better else level))
    reaching = draws <= target if lower_is_better else draws >= target
    return Claim(value, correct, n, bound, float(np.mean(reaching)), lower_is_better)
