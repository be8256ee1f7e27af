"""Metrics of several classes at once, of one class per item or any number of them; Fβ of one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from ..tasks import MultiLabel, SingleChoice
from .bounds import lower_bound, ratio_lower_bound
from .reading import DRAWS, WRONG, Claim, Codes, Reading, Reals, bootstrap, claim_of, n_right, reading_of, settled
from .shares import sides


@dataclass(frozen=True)
class FBeta:
    """(1 + β²)·TP / ((1 + β²)·TP + β²·FN + FP) of one class: F1 with the recall β times as important.

    The bound is one of a ratio of means; posterior and interval are of the shares of TP, FN and FP, with half an item
    that was right before the first one, and a quarter of each way to be wrong. 0 where the class is nowhere.
    """

    task: SingleChoice
    positive: int
    beta: float

    certifiable: ClassVar[bool] = True
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        counts = np.array([part.sum() for part in self._parts(truth, predicted)], dtype=np.float64)
        return float(self._statistic(counts)) if counts.any() else 0.0

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        return reading_of(self.value(truth, predicted), self._draws(truth, predicted, rng), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        value, correct = self.value(truth, predicted), n_right(self.task, truth, predicted)
        drawn = claim_of(value, self._draws(truth, predicted, rng), correct, len(truth), target, level)
        found, missed, invented = self._parts(truth, predicted)
        gains, losses = (1 + self.beta**2) * found, self.beta**2 * missed + invented
        return replace(drawn, bound=ratio_lower_bound(gains, losses, max(1.0, self.beta**2), level))

    def _parts(self, truth: Codes, predicted: Reals) -> tuple[Reals, Reals, Reals]:
        """1 or 0 of each item (n,): rightly found, missed, invented."""
        true, told = sides(truth, self.task.decide(predicted), self.positive)
        found, missed, invented = (part.astype(np.float64) for part in (true & told, true & ~told, told & ~true))
        return found, missed, invented

    def _statistic(self, parts: Reals) -> Reals:
        """Of found, missed and invented ones (…, 3)."""
        good = (1 + self.beta**2) * parts[..., 0]
        return np.asarray(good / (good + self.beta**2 * parts[..., 1] + parts[..., 2]), dtype=np.float64)

    def _draws(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reals:
        counts = [part.sum() for part in self._parts(truth, predicted)]
        return self._statistic(rng.dirichlet(np.add(counts, [0.5, 0.25, 0.25]), size=DRAWS))


@dataclass(frozen=True)
class BalancedAccuracy:
    """Mean over the classes of the share of their items that were predicted as them.

    The value is over the classes that occur. The bound is over all of them, each with an exact bound at a level / C: a
    class without items adds 0 to it. The posterior is that of independent shares, by Jeffreys' prior. `WRONG` items are
    missed ones of that class where one more costs most.
    """

    task: SingleChoice

    certifiable: ClassVar[bool] = True
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        right, n = self._counts(truth, predicted)
        return float(np.mean(right[n > 0] / n[n > 0]))

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        return reading_of(self.value(truth, predicted), self._draws(truth, predicted, rng), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        value, correct = self.value(truth, predicted), n_right(self.task, truth, predicted)
        drawn = claim_of(value, self._draws(truth, predicted, rng), correct, len(truth), target, level)
        bound = partial(lower_bound, level=level / len(self.task.classes))
        right, n = self._counts(truth, predicted, bound)
        return replace(drawn, bound=float(np.mean([bound(int(k), int(m)) for k, m in zip(right, n, strict=True)])))

    def _counts(
        self, truth: Codes, predicted: Reals, worth: Callable[[int, int], float] = lambda right, n: right / max(n, 1)
    ) -> tuple[Codes, Codes]:
        """Right items of each class (C,), and all of it, the `WRONG` ones where they take most from what is `worth`."""
        n_classes = len(self.task.classes)
        right = np.bincount(truth[truth == self.task.decide(predicted)], minlength=n_classes)
        n = np.bincount(truth[truth != WRONG], minlength=n_classes)
        for _ in range(int(np.sum(truth == WRONG))):
            lost = [worth(k, m) - worth(k, m + 1) for k, m in zip(right.tolist(), n.tolist(), strict=True)]
            n[int(np.argmax(lost))] += 1
        return right, n

    def _draws(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reals:
        right, n = self._counts(truth, predicted)
        draws: Reals = rng.beta(right + 0.5, n - right + 0.5, size=(DRAWS, len(n))).mean(axis=1)
        return draws


@dataclass(frozen=True)
class MacroF1:
    """Mean over the classes of F1 = 2·TP / (2·TP + FP + FN); a class that is neither true nor predicted is left out.

    A `WRONG` item is of the class, among those that occur, where that is worst.
    """

    task: SingleChoice

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        return float(_macro_f1(self._table(truth, predicted)[None])[0])

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        return reading_of(self.value(truth, predicted), self._draws(truth, predicted, rng), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        draws, correct = self._draws(truth, predicted, rng), n_right(self.task, truth, predicted)
        return claim_of(self.value(truth, predicted), draws, correct, len(truth), target, level)

    def _table(self, truth: Codes, predicted: Reals) -> Reals:
        """Counts (C, C): true class by predicted one."""
        codes, n_classes = self.task.decide(predicted), len(self.task.classes)

        def value(truth: Codes, codes: Codes) -> float:
            return float(_macro_f1(_confusion(truth, codes, n_classes)[None])[0])

        seen = np.union1d(codes, truth[truth != WRONG])
        among = seen if len(seen) > 1 else np.arange(n_classes)
        return _confusion(settled(value, truth, codes, among), codes, n_classes)

    def _draws(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reals:
        """Macro-F1 under draws of the confusion matrix from its Dirichlet posterior (Bayesian bootstrap, Rubin 1981).

        Each class that occurs brings one pseudo-item, half of it right: Jeffreys' prior for its recall. So the
        interval does not shrink to a point when everything was right.
        """
        table = self._table(truth, predicted)
        prior = np.zeros_like(table)
        seen = np.flatnonzero(table.sum(axis=1))
        prior[seen] = 0.5 / max(len(table) - 1, 1)
        prior[seen, seen] = 0.5
        cells = rng.dirichlet((table + prior).ravel() + 1e-12, size=DRAWS)
        return _macro_f1(cells.reshape(DRAWS, *table.shape))


@dataclass(frozen=True)
class SetF1:
    """F1 of any number of classes per item: the average over the classes of 2·TP / (2·TP + FP + FN).

    `average` is `macro`, where each class counts alike and one that is neither true nor predicted is left out, or
    `micro`, where each class of each item does. 0 where no class is true or predicted anywhere: nothing was shown.
    An item that is `WRONG` counts as if each class had been predicted the wrong way round.
    """

    task: MultiLabel
    average: Callable[[Reals, Reals], Reals]

    certifiable: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False

    def value(self, truth: Codes, predicted: Reals) -> float:
        both, either = self._counts(truth, predicted)
        return float(self.average(both.sum(axis=0)[None], either.sum(axis=0)[None])[0])

    def read(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reading:
        return reading_of(self.value(truth, predicted), self._draws(truth, predicted, rng), len(truth))

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        draws, correct = self._draws(truth, predicted, rng), n_right(self.task, truth, predicted)
        return claim_of(self.value(truth, predicted), draws, correct, len(truth), target, level)

    def _counts(self, truth: Codes, predicted: Reals) -> tuple[Reals, Reals]:
        """2·TP and 2·TP + FP + FN of each class of each item (n, L)."""
        true, told = truth == 1, self.task.decide(predicted) == 1
        return 2.0 * (true & told), np.where(truth == WRONG, 1.0, 1.0 * true + told)

    def _draws(self, truth: Codes, predicted: Reals, rng: np.random.Generator) -> Reals:
        """F1 under draws of how much each item counts; each class that occurs brings half an item where it was found,
        and half a one where it was missed, as in `MacroF1`."""
        both, either = self._counts(truth, predicted)
        found = np.eye(both.shape[1])[(truth == 1).any(axis=0)]
        both = np.vstack([both, 2 * found, 0 * found])
        either = np.vstack([either, 2 * found, found])
        amounts = np.concatenate([np.ones(len(truth)), np.full(2 * len(found), 0.5)])
        return bootstrap(lambda weights: self.average(weights @ both, weights @ either), amounts, rng)


class MicroF1(SetF1):
    """F1 over all classes of all items: a ratio of two means, so that it has a bound that holds."""

    certifiable: ClassVar[bool] = True

    def claim(self, truth: Codes, predicted: Reals, target: float, level: float, rng: np.random.Generator) -> Claim:
        both, either = self._counts(truth, predicted)
        gains, losses = both.sum(axis=1), (either - both).sum(axis=1)
        drawn = super().claim(truth, predicted, target, level, rng)
        return replace(drawn, bound=ratio_lower_bound(gains, losses, truth.shape[1], level))


def macro(both: Reals, either: Reals) -> Reals:
    """(m,) the mean of both / either (m, C) over the classes where either is more than 0."""
    present = either > 1e-9
    f1 = np.divide(both, either, out=np.zeros_like(both), where=present)
    return np.asarray(f1.sum(axis=1) / np.maximum(present.sum(axis=1), 1), dtype=np.float64)


def micro(both: Reals, either: Reals) -> Reals:
    """(m,) the sum of both over the sum of either, (m, C) each; 0 where that is 0."""
    return macro(both.sum(axis=1, keepdims=True), either.sum(axis=1, keepdims=True))


def _confusion(truth: Codes, codes: Codes, n_classes: int) -> Reals:
    """Counts (C, C): true class by predicted one."""
    table = np.zeros((n_classes, n_classes))
    np.add.at(table, (truth, codes), 1.0)
    return table


def _macro_f1(tables: Reals) -> Reals:
    """Macro-F1 of each confusion table (m, C, C)."""
    return macro(2 * tables.diagonal(axis1=1, axis2=2), tables.sum(axis=2) + tables.sum(axis=1))
