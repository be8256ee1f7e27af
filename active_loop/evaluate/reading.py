"""What a metric says of truth and predictions: a reading with its interval, and the test of a claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
    """A metric over truth and predicted codes, one for each of n test items, at least 1; truth may hold `WRONG`.

    `n_classes` is how many classes the task has, 0 for a number.
    """

    @property
    def certifiable(self) -> bool:
        """Whether the bound of a claim holds with the promised chance, whatever the data."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """Whether it counts errors, so that a target is the most that will do."""
        ...

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float: ...

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading: ...

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim: ...


def bootstrap(statistic: Callable[[Reals], Reals], amounts: Reals, rng: np.random.Generator) -> Reals:
    """4000 draws of a statistic from its posterior, by the Bayesian bootstrap (Rubin 1981).

    `statistic` turns weights (m, n) of the n items, which add up to 1, into m values; `amounts` (n,) says how many
    items each counts for. So many draws are made at a time as memory allows, whatever n.
    """
    step = max(1, _NUMBERS // len(amounts))
    sizes = [min(step, DRAWS - start) for start in range(0, DRAWS, step)]
    return np.concatenate([statistic(rng.dirichlet(amounts, size=size)) for size in sizes])


def reading_of(value: float, draws: Reals, n: int) -> Reading:
    """The reading whose interval holds the middle 95 % of the draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Reading(value, float(low), float(high), n)


def claim_of(
    value: float, draws: Reals, correct: int, n: int, target: float, level: float, lower_is_better: bool = False
) -> Claim:
    """The claim whose bound leaves a share `level` of the draws beyond, and whose posterior is the share that reaches
    the target."""
    bound = float(np.quantile(draws, 1 - level if lower_is_better else level))
    reaching = draws <= target if lower_is_better else draws >= target
    return Claim(value, correct, n, bound, float(np.mean(reaching)), lower_is_better)
