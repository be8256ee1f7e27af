"""Metrics of labels that are classes: one per item, or any number of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .bounds import lower_bound, posterior, upper_bound
from .reading import DRAWS, Claim, Codes, Reading, Reals, bootstrap, claim_of, reading_of


class Accuracy:
    """Share of test items whose label was predicted: of several classes exactly these (subset accuracy)."""

    certifiable = True
    lower_is_better = False

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float:
        return _n_right(truth, predicted) / len(truth) if len(truth) else math.nan

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading:
        correct, n = _n_right(truth, predicted), len(truth)
        return Reading(correct / n, lower_bound(correct, n, 0.025), upper_bound(correct, n, 0.025), n)

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim:
        correct, n = _n_right(truth, predicted), len(truth)
        return Claim(correct / n, correct, n, lower_bound(correct, n, level), posterior(correct, n, target))


class MacroF1:
    """Mean over the classes of F1 = 2·TP / (2·TP + FP + FN); a class that is neither true nor predicted is left out."""

    certifiable = False
    lower_is_better = False

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float:
        return float(_macro_f1(_confusion(truth, predicted, n_classes)[None])[0])

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading:
        draws = self._draws(truth, predicted, n_classes, rng)
        return reading_of(self.value(truth, predicted, n_classes), draws, len(truth))

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim:
        draws = self._draws(truth, predicted, n_classes, rng)
        value, correct = self.value(truth, predicted, n_classes), _n_right(truth, predicted)
        return claim_of(value, draws, correct, len(truth), target, level)

    def _draws(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reals:
        """Macro-F1 under draws of the confusion matrix from its Dirichlet posterior (Bayesian bootstrap, Rubin 1981).

        Each class that occurs brings one pseudo-item, half of it right: Jeffreys' prior for its recall. So the
        interval does not shrink to a point when everything was right.
        """
        table = _confusion(truth, predicted, n_classes)
        prior = np.zeros_like(table)
        seen = np.flatnonzero(table.sum(axis=1)[:n_classes])
        prior[seen] = 0.5 / max(n_classes - 1, 1)
        prior[seen, seen] = 0.5
        cells = rng.dirichlet((table + prior).ravel() + 1e-12, size=DRAWS)
        return _macro_f1(cells.reshape(DRAWS, *table.shape))


class SetF1:
    """F1 of any number of classes per item: the average over the classes of 2·TP / (2·TP + FP + FN).

    `average` is `macro`, where each class counts alike and one that is neither true nor predicted is left out, or
    `micro`, where each class of each item does. 0 where no class is true or predicted anywhere: nothing was shown.
    An item that is `WRONG` counts as if each class had been predicted the wrong way round.
    """

    certifiable = False
    lower_is_better = False

    def __init__(self, average: Callable[[Reals, Reals], Reals]) -> None:
        self._average = average

    def value(self, truth: Codes, predicted: Codes, n_classes: int) -> float:
        both, either = _counts(truth, predicted)
        return float(self._average(both.sum(axis=0)[None], either.sum(axis=0)[None])[0])

    def read(self, truth: Codes, predicted: Codes, n_classes: int, rng: np.random.Generator) -> Reading:
        draws = self._draws(truth, predicted, rng)
        return reading_of(self.value(truth, predicted, n_classes), draws, len(truth))

    def claim(
        self, truth: Codes, predicted: Codes, n_classes: int, target: float, level: float, rng: np.random.Generator
    ) -> Claim:
        draws = self._draws(truth, predicted, rng)
        value, correct = self.value(truth, predicted, n_classes), _n_right(truth, predicted)
        return claim_of(value, draws, correct, len(truth), target, level)

    def _draws(self, truth: Codes, predicted: Codes, rng: np.random.Generator) -> Reals:
        """F1 under draws of how much each item counts; each class that occurs brings half an item where it was found,
        and half a one where it was missed, as in `MacroF1`."""
        both, either = _counts(truth, predicted)
        found = np.eye(both.shape[1])[(truth == 1).any(axis=0)]
        both = np.vstack([both, 2 * found, 0 * found])
        either = np.vstack([either, 2 * found, found])
        amounts = np.concatenate([np.ones(len(truth)), np.full(2 * len(found), 0.5)])
        return bootstrap(lambda weights: self._average(weights @ both, weights @ either), amounts, rng)


def macro(both: Reals, either: Reals) -> Reals:
    """(m,) the mean of both / either (m, C) over the classes where either is more than 0."""
    present = either > 1e-9
    f1 = np.divide(both, either, out=np.zeros_like(both), where=present)
    return np.asarray(f1.sum(axis=1) / np.maximum(present.sum(axis=1), 1), dtype=np.float64)


def micro(both: Reals, either: Reals) -> Reals:
    """(m,) the sum of both over the sum of either, (m, C) each; 0 where that is 0."""
    return macro(both.sum(axis=1, keepdims=True), either.sum(axis=1, keepdims=True))


def _n_right(truth: Codes, predicted: Codes) -> int:
    """How many items have all their codes as predicted."""
    return int(np.sum((truth == predicted).reshape(len(truth), -1).all(axis=1)))


def _counts(truth: Codes, predicted: Codes) -> tuple[Reals, Reals]:
    """2·TP and 2·TP + FP + FN of each class of each item (n, L)."""
    true, wrong = truth == 1, truth < 0
    both = 2.0 * (true & (predicted == 1))
    return both, np.where(wrong, 1.0, true * 1.0 + (predicted == 1))


def _confusion(truth: Codes, predicted: Codes, n_classes: int) -> Reals:
    """Counts (n_classes + 1, n_classes): true class by predicted one; the last row is `WRONG`."""
    table = np.zeros((n_classes + 1, n_classes))
    np.add.at(table, (truth, predicted), 1.0)
    return table


def _macro_f1(tables: Reals) -> Reals:
    """Macro-F1 of each confusion table (m, n_classes + 1, n_classes)."""
    n_classes = tables.shape[2]
    right = tables[:, range(n_classes), range(n_classes)]
    return macro(2 * right, tables[:, :n_classes].sum(axis=2) + tables.sum(axis=1))
