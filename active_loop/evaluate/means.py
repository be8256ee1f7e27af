"""Metrics that are the mean of one number per item."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import special

from ..tasks import SingleChoice, Task
from .bounds import mean_lower_bound, mean_upper_bound
from .reading import WRONG, Claim, Codes, Reading, Reals, bootstrap, claim_of, n_right


@dataclass(frozen=True)
class Mean:
    """The mean of what `items` says of each item, a number from 0 to `most`.

    Its bounds hold for any distribution of these numbers, and the interval is made of them. The posterior is a Bayesian
    bootstrap, with half an item at each end: nothing is sure because it was seen in every item.
    """

    task: Task
    items: Callable[[Codes, Reals], Reals]
    most: float
    lower_is_better: bool

    certifiable: ClassVar[bool] = True

    def value(self, truth: Codes, predicted: Reals) -> float:
        return float(np.mean(self.items(truth, predicted)))

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        items = self.items(truth, predicted)
        low, high = mean_lower_bound(items / self.most, 0.025), mean_upper_bound(items / self.most, 0.025)
        return Reading(float(np.mean(items)), self.most * low, self.most * high, len(items))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        items = self.items(truth, predicted)
        numbers = np.concatenate([items, [0.0, self.most]])
        amounts = np.concatenate([np.ones(len(items)), [0.5, 0.5]])
        draws = bootstrap(lambda weights: np.asarray(weights @ numbers, dtype=np.float64), amounts, rng)
        correct, bound = n_right(self.task, truth, predicted), mean_lower_bound
        if self.lower_is_better:
            bound = mean_upper_bound
        drawn = claim_of(float(np.mean(items)), draws, correct, len(items), target, level, self.lower_is_better)
        return replace(drawn, bound=self.most * bound(items / self.most, level))


@dataclass(frozen=True)
class OpenMean:
    """The mean of errors that have no end, or what grows with it: `shown` turns it into the metric, `mean` turns back.

    Errors are skewed: most are small, and the few large ones make the mean. Interval and posterior are those of the
    t-statistic with its skewness transformed away (P. Hall 1992, "On the removal of skewness by transformation"). Where
    errors do not differ their spread is unknown: then nothing is likely.
    """

    task: Task
    items: Callable[[Codes, Reals], Reals]
    shown: Callable[[float], float] = float
    mean: Callable[[float], float] = float

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = True

    def value(self, truth: Codes, predicted: Reals) -> float:
        return self.shown(float(np.mean(self.items(truth, predicted))))

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        items = self.items(truth, predicted)
        low, high = self.shown(_end(items, 0.025)), self.shown(_end(items, 0.975))
        return Reading(self.value(truth, predicted), low, high, len(items))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        items, correct = self.items(truth, predicted), n_right(self.task, truth, predicted)
        bound = self.shown(_end(items, 1 - level))
        chance = _chance_below(items, self.mean(target))
        return Claim(self.value(truth, predicted), correct, len(items), bound, chance, lower_is_better=True)


def _end(items: Reals, share: float) -> float:
    """Below which the mean lies with a confidence of `share`. Where the items do not differ: their mean, or 0 for ends
    below it."""
    n, mean, spread, skewness = _moments(items)
    if not spread:
        return mean if share > 0.5 else 0.0
    a, z = skewness / 3, -float(special.ndtri(share)) / math.sqrt(n)
    cube = 1 + 3 * a * (z - skewness / (6 * n))
    t = (float(np.cbrt(cube)) - 1) / a if abs(a) > 1e-9 else z
    end = mean - spread * t
    return max(end, mean) if share > 0.5 else min(max(end, 0.0), mean)


def _chance_below(items: Reals, target: float) -> float:
    """Confidence that the mean is at most `target`: what `_end` turns round."""
    n, mean, spread, skewness = _moments(items)
    if not spread:
        return 0.0
    t, a = (mean - target) / spread, skewness / 3
    z = math.sqrt(n) * (t + a * t**2 + a**2 * t**3 / 3 + skewness / (6 * n))
    return float(special.ndtr(-z))


def _moments(items: Reals) -> tuple[int, float, float, float]:
    """How many, mean, standard deviation (0 for one alone) and skewness, also where a cube would be too large."""
    n, mean, scale = len(items), float(np.mean(items)), float(np.max(items)) or 1.0
    parts = items / scale - mean / scale
    spread = math.sqrt(float(np.sum(parts**2)) / max(n - 1, 1))
    if spread < 1e-12:
        return n, mean, 0.0, 0.0
    return n, mean, scale * spread, float(np.mean(parts**3)) / spread**3


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


def log_loss(task: SingleChoice) -> OpenMean:
    """Mean of -ln p of the true class, p at least 2e-16. A `WRONG` item is of its least probable class."""

    def items(truth: Codes, predicted: Reals) -> Reals:
        p = predicted[np.arange(len(truth)), _least_probable(truth, predicted)]
        losses: Reals = -np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))
        return losses + 0.0

    return OpenMean(task, items)


def _least_probable(truth: Codes, predicted: Reals) -> Codes:
    return np.where(truth == WRONG, predicted.argmin(axis=1), truth)
