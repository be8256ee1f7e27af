"""Scores with their intervals, and the bounds that a claim is tested by.

Only test items belong here. Accuracy has exact (Clopper-Pearson) bounds and can be certified; macro-F1 has a
Bayesian bootstrap of the confusion matrix and can at most be called likely. Nothing here decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

Codes = NDArray[np.int64]

WRONG = -1
"""Truth of a test item that counts as wrong whatever was predicted: overdue, or disputed."""

_DRAWS = 4000


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric on `n` test items with its two-sided interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A one-sided test of "the metric is at least the target": the lower bound at a level, and a posterior."""

    value: float
    correct: int
    n: int
    bound: float
    posterior: float


class Metric(Protocol):
    """A metric over truth and prediction codes (n,); truth may hold `WRONG`."""

    certifiable: bool

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float: ...

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading: ...

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim: ...


def lower_bound(correct: int, n: int, level: float) -> float:
    """Exact one-sided lower confidence bound of a share: `correct` of `n`, error `level`.

    Clopper & Pearson 1934. With one-sided error 0.025, 36 of 36 bound 0.90 from above, and 35 of 35 do not:

    >>> lower_bound(36, 36, 0.025) >= 0.90, lower_bound(35, 35, 0.025) >= 0.90
    (True, False)
    """
    return 0.0 if correct == 0 else float(special.betaincinv(correct, n - correct + 1, level))


def upper_bound(correct: int, n: int, level: float) -> float:
    """Exact one-sided upper confidence bound of a share, as `lower_bound`."""
    return 1.0 if correct == n else float(special.betaincinv(correct + 1, n - correct, 1 - level))


def posterior(correct: int, n: int, target: float) -> float:
    """Probability that a share is at least `target`, by the Beta(½, ½) prior (Jeffreys)."""
    return float(special.betaincc(correct + 0.5, n - correct + 0.5, target))


def fewest_right(n: int, level: float, target: float) -> int | None:
    """How many of `n` must be right so that the lower bound reaches `target`; None if even all are too few.

    >>> [fewest_right(n, 0.025, 0.9) for n in (35, 36, 50, 80, 160, 200)]
    [None, 36, 50, 78, 152, 189]
    """
    if lower_bound(n, n, level) < target:
        return None
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if lower_bound(middle, n, level) >= target else (middle + 1, high)
    return low


def more_to_certify(value: float, n: int, level: float, target: float, limit: int = 100_000) -> int | None:
    """How many more test labels would prove the target if the share of right ones stays `value`.

    None if `value` does not exceed the target, or if more than `limit` would be needed.
    """
    if value <= target:
        return None

    def proves(size: int) -> bool:
        return lower_bound(math.floor(value * size), size, level) >= target

    size = max(n, 1)
    while not proves(size):
        if size > limit:
            return None
        size += max(1, size // 50)
    return size - n


class Accuracy:
    """Share of test items whose label was predicted."""

    certifiable = True

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float:
        return float(np.mean(truth == predicted)) if len(truth) else math.nan

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading:
        correct, n = int(np.sum(truth == predicted)), len(truth)
        return Reading(correct / n, lower_bound(correct, n, 0.025), upper_bound(correct, n, 0.025), n)

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim:
        correct, n = int(np.sum(truth == predicted)), len(truth)
        return Claim(correct / n, correct, n, lower_bound(correct, n, level), posterior(correct, n, target))


class MacroF1:
    """Mean over the classes of F1 = 2·TP / (2·TP + FP + FN); a class that is neither true nor predicted is left out."""

    certifiable = False

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float:
        return float(_macro_f1(_confusion(truth, predicted, n_classes)[None])[0])

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading:
        draws = self._draws(truth, predicted, n_classes, rng)
        low, high = np.quantile(draws, [0.025, 0.975])
        return Reading(self.value(truth, predicted, n_classes), float(low), float(high), len(truth))

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim:
        draws = self._draws(truth, predicted, n_classes, rng)
        return Claim(
            value=self.value(truth, predicted, n_classes),
            correct=int(np.sum(truth == predicted)),
            n=len(truth),
            bound=float(np.quantile(draws, level)),
            posterior=float(np.mean(draws >= target)),
        )

    def _draws(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Macro-F1 under draws of the confusion matrix from its Dirichlet posterior (Bayesian bootstrap, Rubin 1981).

        Each class that occurs brings one pseudo-item, half of it right: Jeffreys' prior for its recall. So the
        interval does not shrink to a point when everything was right.
        """
        table = _confusion(truth, predicted, n_classes)
        prior = np.zeros_like(table)
        seen = np.flatnonzero(table.sum(axis=1)[:n_classes])
        prior[seen] = 0.5 / max(n_classes - 1, 1)
        prior[seen, seen] = 0.5
        cells = rng.dirichlet((table + prior).ravel() + 1e-12, size=_DRAWS)
        return _macro_f1(cells.reshape(_DRAWS, *table.shape))


def _confusion(truth: Codes, predicted: Codes, n_classes: int) -> NDArray[np.float64]:
    """Counts (n_classes + 1, n_classes): true class by predicted one; the last row is `WRONG`."""
    table = np.zeros((n_classes + 1, n_classes))
    np.add.at(table, (truth, predicted), 1.0)
    return table


def _macro_f1(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Macro-F1 of each confusion table (m, n_classes + 1, n_classes)."""
    n_classes = tables.shape[2]
    right = tables[:, range(n_classes), range(n_classes)]
    either = tables[:, :n_classes].sum(axis=2) + tables.sum(axis=1)
    present = either > 1e-9
    f1 = np.divide(2 * right, either, out=np.zeros_like(right), where=present)
    return np.asarray(f1.sum(axis=1) / np.maximum(present.sum(axis=1), 1), dtype=np.float64)


METRICS: Mapping[str, Metric] = {"accuracy": Accuracy(), "macro_f1": MacroF1()}
