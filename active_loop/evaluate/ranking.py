"""Metrics of the order in which the probability of one class puts the items.

They have no bounds that hold for any data. Of the usual intervals those were taken that keep their promise near 1 and
with few items of the class, where a bootstrap is much too sure (see benchmarks/intervals.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special, stats

from ..tasks import SingleChoice
from .bounds import lower_bound, posterior, upper_bound
from .reading import WRONG, Claim, Codes, Reading, Reals, n_right, settled

_EITHER = np.array([0, 1])
_RECALL = 0.95


@dataclass(frozen=True)
class AUC:
    """Chance that an item of the class gets a higher probability of it than one of another class; ties count half.

    Intervals and posterior by the score of Newcombe 2006, "Confidence intervals for an effect size measure based on
    the Mann-Whitney statistic. Part 2", method 5. 0, and nothing known, where all items are of one kind.
    """

    task: SingleChoice
    positive: int

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        return self._seen(truth, predicted)[0]

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        value, n1, n0 = self._seen(truth, predicted)
        low = _auc_bound(value, n1, n0, 0.025)
        return Reading(value, low, 1 - _auc_bound(1 - value, n1, n0, 0.025), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        value, n1, n0 = self._seen(truth, predicted)
        chance = float(special.ndtr((value - target) / _auc_error(target, n1, n0))) if n1 and n0 else 0.0
        correct = n_right(self.task, truth, predicted)
        return Claim(value, correct, len(truth), _auc_bound(value, n1, n0, level), chance)

    def _seen(self, truth: Codes, predicted: Reals) -> tuple[float, int, int]:
        """The value, and how many items are of the class and of another."""
        true, scores = _ranked(truth, predicted, self.positive, auc)
        return auc(true, scores), int(true.sum()), int((1 - true).sum())


@dataclass(frozen=True)
class AveragePrecision:
    """Mean, over the items of the class, of the precision down to each in the order of its probability.

    Interval and posterior as of a share of the n items of the class, by Jeffreys' prior: a variant of the binomial one
    of Boyd, Eng & Page 2013, "Area under the precision-recall curve". 0 where no item is of the class.
    """

    task: SingleChoice
    positive: int

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        return self._seen(truth, predicted)[0]

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        value, n = self._seen(truth, predicted)
        low, high = _share_bound(value * n, n, 0.025), 1 - _share_bound(n - value * n, n, 0.025)
        return Reading(value, low, high, len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        value, n = self._seen(truth, predicted)
        correct, bound = n_right(self.task, truth, predicted), _share_bound(value * n, n, level)
        return Claim(value, correct, len(truth), bound, posterior(value * n, n, target))

    def _seen(self, truth: Codes, predicted: Reals) -> tuple[float, int]:
        true, scores = _ranked(truth, predicted, self.positive, average_precision)
        return average_precision(true, scores), int(true.sum())


@dataclass(frozen=True)
class WorkSaved:
    """Share of the items that need not be read, best first, to find 95 % of the class, less 5 %: WSS@95.

    Cohen et al. 2006, "Reducing workload in systematic review preparation using automated citation classification".
    At least s is saved if the items from some probability on are at most 0.95 - s of all, and hold 95 % of the class:
    two shares, each with an exact bound at half the level (Clopper & Pearson 1934), and each with Jeffreys' posterior,
    of which the chances to fail add up at most. 0, and nothing known, where no item is of the class.
    """

    task: SingleChoice
    positive: int

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        return work_saved(*_ranked(truth, predicted, self.positive, work_saved))

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        found, last, n = self._found(truth, predicted)
        low = _saved(found, last, n, 0.0125, lower_bound, upper_bound)
        high = _saved(found, last, n, 0.0125, upper_bound, lower_bound) if found[-1] else _RECALL
        return Reading(self.value(truth, predicted), low, high, n)

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        found, last, n = self._found(truth, predicted)
        correct, bound = (
            n_right(self.task, truth, predicted),
            _saved(found, last, n, level / 2, lower_bound, upper_bound),
        )
        few = 1 - special.betaincc(last + 1.5, n - last - 0.5, max(0.0, _RECALL - target))
        held = special.betaincc(found + 0.5, found[-1] - found + 0.5, _RECALL)
        return Claim(self.value(truth, predicted), correct, n, bound, max(0.0, float(np.max(held + few - 1))))

    def _found(self, truth: Codes, predicted: Reals) -> tuple[Codes, Codes, int]:
        """How many of the class are found by the last of each group of equal scores, its place, and all items."""
        true, scores = _ranked(truth, predicted, self.positive, work_saved)
        return *_cumulated(true, scores), len(true)


def auc(true: Codes, scores: Reals) -> float:
    """From the ranks of the scores (Mann & Whitney 1947)."""
    n1 = int(true.sum())
    if n1 in (0, len(true)):
        return 0.0
    ranks = stats.rankdata(scores)[true == 1].sum()
    return float((ranks - n1 * (n1 + 1) / 2) / (n1 * (len(true) - n1)))


def average_precision(true: Codes, scores: Reals) -> float:
    """Equal scores are taken together, with the precision behind the last of them."""
    if not true.any():
        return 0.0
    found, last = _cumulated(true, scores)
    return float(np.sum(np.diff(found, prepend=0) * found / (last + 1)) / found[-1])


def work_saved(true: Codes, scores: Reals) -> float:
    """Equal scores are read together; 0 where there is nothing to find."""
    if not true.any():
        return 0.0
    found, last = _cumulated(true, scores)
    return _RECALL - float(last[np.argmax(found >= _RECALL * found[-1] - 1e-9)] + 1) / len(true)


def _cumulated(true: Codes, scores: Reals) -> tuple[Codes, Codes]:
    """Best first: items of the class up to the last of each group of equal scores, and the place of that one."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(true) - 1)
    return np.cumsum(true[order])[last], last


Bound = Callable[[int, int, float], float]


def _saved(found: Codes, last: Codes, n: int, level: float, of_class: Bound, of_items: Bound) -> float:
    """The work that is saved where the class is found up to a bound of its share; none if it never is."""
    enough = [of_class(int(right), int(found[-1]), level) >= _RECALL for right in found]
    return _RECALL - (of_items(int(last[enough.index(True)]) + 1, n, level) if True in enough else 1.0)


def _ranked(
    truth: Codes, predicted: Reals, positive: int, value: Callable[[Codes, Codes], float]
) -> tuple[Codes, Reals]:
    """Whether each item is of the class (1 or 0), and its probability of that; a `WRONG` item is what hurts more."""
    true, scores = np.where(truth == WRONG, WRONG, truth == positive), predicted[:, positive]
    return settled(value, true, scores, _EITHER), scores


def _auc_error(auc: float, n1: int, n0: int) -> float:
    """Standard error of an AUC that is `auc`, by Newcombe's formula."""
    more = ((n1 + n0) / 2 - 1) * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return math.sqrt(max(auc * (1 - auc), 1e-12) * (1 + more) / (n1 * n0))


def _auc_bound(value: float, n1: int, n0: int, level: float) -> float:
    """The least AUC from which the value is not too far away; 0 if it is unknown."""
    if not n1 or not n0:
        return 0.0
    z, low, high = float(special.ndtri(1 - level)), 0.0, value
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if value - middle > z * _auc_error(middle, n1, n0) else (low, middle)
    return low


def _share_bound(right: float, n: int, level: float) -> float:
    """The `level`-quantile of Beta(right + ½, n - right + ½); 0 with none right."""
    return float(special.betaincinv(right + 0.5, n - right + 0.5, level)) if right > 0 else 0.0
