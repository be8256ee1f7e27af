"""Metrics that are the mean of one number per item."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..tasks import SingleChoice, Task
from .bounds import mean_lower_bound, mean_upper_bound
from .reading import WRONG, Claim, Codes, Reading, Reals, bootstrap, claim_of, n_right, reading_of


@dataclass(frozen=True)
class Mean:
    """The mean of what `items` says of each item, a number from 0 to `most`.

    Where `most` is finite, its bounds hold for any distribution of these numbers, and the interval is made of them. The
    posterior is a Bayesian bootstrap, with half an item at each end: nothing is sure because it was seen in every item.
    Where there is no end, half an item is at the largest number that was seen.
    """

    task: Task
    items: Callable[[Codes, Reals], Reals]
    most: float
    lower_is_better: bool

    @property
    def certifiable(self) -> bool:
        return math.isfinite(self.most)

    def value(self, truth: Codes, predicted: Reals) -> float:
        return float(np.mean(self.items(truth, predicted)))

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        items = self.items(truth, predicted)
        if not self.certifiable:
            return reading_of(float(np.mean(items)), self._draws(items, rng), len(items))
        low, high = mean_lower_bound(items / self.most, 0.025), mean_upper_bound(items / self.most, 0.025)
        return Reading(float(np.mean(items)), self.most * low, self.most * high, len(items))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        items = self.items(truth, predicted)
        correct, draws = n_right(self.task, truth, predicted), self._draws(items, rng)
        drawn = claim_of(float(np.mean(items)), draws, correct, len(items), target, level, self.lower_is_better)
        if not self.certifiable:
            return drawn
        bound = mean_upper_bound if self.lower_is_better else mean_lower_bound
        return replace(drawn, bound=self.most * bound(items / self.most, level))

    def _draws(self, items: Reals, rng: np.random.Generator) -> Reals:
        ends = [0.0, self.most] if self.certifiable else [float(items.max())]
        numbers = np.concatenate([items, ends])
        amounts = np.concatenate([np.ones(len(items)), np.full(len(ends), 0.5)])
        return bootstrap(lambda weights: np.asarray(weights @ numbers, dtype=np.float64), amounts, rng)


def label_accuracy(task: Task) -> Mean:
    """Mean share of the classes that are rightly there or not there: one minus the Hamming loss.

    Of a `WRONG` item every class is wrong.
    """
    return Mean(task, lambda truth, predicted: (truth == task.decide(predicted)).mean(axis=1), 1.0, False)


def brier(task: SingleChoice) -> Mean:
    """Mean squared distance of the probabilities from the truth (Brier 1950): of two classes (1 - p)², else the sum
    Σ (p - 1[true])² over the classes, at most 2. A `WRONG` item is of its least probable class."""
    most = 1.0 if len(task.classes) == 2 else 2.0

    def items(truth: Codes, predicted: Reals) -> Reals:
        hit = np.eye(predicted.shape[1])[_least_probable(truth, predicted)]
        distances: Reals = ((predicted - hit) ** 2).sum(axis=1) * (most / 2)
        return np.clip(distances, 0.0, most)

    return Mean(task, items, most, lower_is_better=True)


def log_loss(task: SingleChoice) -> Mean:
    """Mean of -ln p of the true class, p at least 2e-16. A `WRONG` item is of its least probable class."""

    def items(truth: Codes, predicted: Reals) -> Reals:
        p = predicted[np.arange(len(truth)), _least_probable(truth, predicted)]
        losses: Reals = -np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))
        return losses + 0.0

    return Mean(task, items, math.inf, lower_is_better=True)


def _least_probable(truth: Codes, predicted: Reals) -> Codes:
    return np.where(truth == WRONG, predicted.argmin(axis=1), truth)
