"""Metrics of numbers. A prediction beyond the bounds counts as the bound.

An item without an answer (its truth is NaN) counts as wrong as it can be: as if its truth were the end that is
farther from the prediction. The ends are the bounds; where one is open, the last answer on that side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..tasks import Number
from .means import Mean, OpenMean
from .reading import Claim, Codes, Metric, Reading, Reals, bootstrap, claim_of, n_right, reading_of

Statistic = Callable[[Reals, Reals, Reals], Reals]
"""Weights (m, n) that add up to 1, truth (n,) and predictions (n,) → m values."""

_HOPELESS = 1e75
"""The end where there is neither a bound nor an answer: so far away that no target is reached."""


@dataclass(frozen=True)
class NumberMetric:
    """A statistic of truth and predicted numbers of this task, with a Bayesian bootstrap over the items.

    An item is predicted correctly if the prediction is within the task's tolerance.
    """

    task: Number
    statistic: Statistic

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        truth, predicted = _settled(self.task, truth, predicted)
        return float(self.statistic(np.full((1, len(truth)), 1 / len(truth)), truth, predicted)[0])

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        return reading_of(self.value(truth, predicted), self._draws(truth, predicted, rng), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        value, draws = self.value(truth, predicted), self._draws(truth, predicted, rng)
        correct = n_right(self.task, truth, predicted)
        return claim_of(value, draws, correct, len(truth), target, level)

    def _draws(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reals:
        truth, predicted = _settled(self.task, truth, predicted)
        return bootstrap(lambda weights: self.statistic(weights, truth, predicted), np.ones(len(truth)), rng)


def number_metric(name: str, task: Number) -> Metric:
    """The metric of this name, which must be one of `Number.metrics`, for these numbers.

    Between finite bounds the mean absolute error is one of bounded numbers.
    """
    if name in _STATISTICS:
        return NumberMetric(task, _STATISTICS[name])

    def errors(truth: Codes, predicted: Reals) -> Reals:
        truth, predicted = _settled(task, truth, predicted)
        distances: Reals = np.abs(truth - predicted)
        return distances

    if name == "rmse":
        return OpenMean(task, lambda truth, predicted: errors(truth, predicted) ** 2, math.sqrt, lambda error: error**2)
    if math.isfinite(task.high - task.low):
        return Mean(task, errors, task.high - task.low, lower_is_better=True)
    return OpenMean(task, errors)


def _settled(task: Number, truth: Codes, predicted: Reals) -> tuple[Reals, Reals]:
    """Truth without NaN, and predictions within the bounds."""
    known = truth[~np.isnan(truth)]
    ends = known if known.size else np.array([-_HOPELESS, _HOPELESS])
    low = task.low if math.isfinite(task.low) else ends.min()
    high = task.high if math.isfinite(task.high) else ends.max()
    predicted = np.clip(predicted, task.low, task.high)
    farther = np.where(predicted - low > high - predicted, low, high)
    return np.where(np.isnan(truth), farther, truth), predicted


def r2(weights: Reals, truth: Reals, predicted: Reals) -> Reals:
    """(m,) 1 - Σ w·(t - p)² / Σ w·(t - t̄)²: 0 is what the mean t̄ explains, and what is said where t does not vary."""
    spread = ((truth - (weights @ truth)[:, None]) ** 2 * weights).sum(axis=1)
    varies = spread > 1e-20 * (weights @ truth**2)  # what is less is the last digit of a sum
    return np.where(varies, 1 - weights @ (truth - predicted) ** 2 / np.where(varies, spread, 1), 0.0)


def spearman(weights: Reals, truth: Reals, predicted: Reals) -> Reals:
    """(m,) the correlation of ranks, equal numbers sharing theirs; 0 where truth or predictions do not vary."""
    return _correlation(weights, _ranks(weights, truth), _ranks(weights, predicted))


_STATISTICS: dict[str, Statistic] = {"r2": r2, "spearman": spearman}


def _ranks(weights: Reals, values: Reals) -> Reals:
    """(m, n) the rank of each value: the weight of the smaller ones and half of that of the equal ones."""
    order = np.argsort(values, kind="stable")
    _, starts, places = np.unique(values[order], return_index=True, return_inverse=True)
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.empty_like(weights)
    ranks[:, order] = (np.cumsum(mass, axis=1) - mass / 2)[:, places]
    return ranks


def _correlation(weights: Reals, x: Reals, y: Reals) -> Reals:
    """(m,) the weighted correlation of the rows of x and y (m, n); 0 where one of them does not vary."""
    x = x - (weights * x).sum(axis=1, keepdims=True)
    y = y - (weights * y).sum(axis=1, keepdims=True)
    spread = np.sqrt((weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1))
    return np.where(spread > 1e-12, (weights * x * y).sum(axis=1) / np.where(spread > 1e-12, spread, 1), 0.0)
