"""Utilities of one table of probabilities: how unsure is the model of this row?

With a committee, the table is the mean of its members. Utilities are worked out on strips, see `strips`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from query_strategies import fused
from query_strategies.base import Floor, ScoreStrategy, top_classes
from query_strategies.pool import Floats, PoolView, Rows
from query_strategies.strips import SUM_TOLERANCE, by_strips

_SMALLEST = {np.dtype(kind): np.finfo(kind).tiny for kind in (np.float32, np.float64)}

SLACK = 20 * SUM_TOLERANCE
"""A row is passed over if its utility cannot come within this of the n-th best: rows may add up to a little above 1."""


def consensus(strips: Floats) -> Floats:
    """(C, rows): the mean of the members of strips (members, C, rows)."""
    return strips[0] if len(strips) == 1 else added(strips) / len(strips)


def added(strips: Iterable[Floats]) -> Floats:
    """The sum of strips of the same shape, always from first to last.

    numpy's own sum is faster, and adds in this order as long as a strip holds more than one number.
    """
    if isinstance(strips, np.ndarray) and strips.flags.c_contiguous and strips[0].size > 1:
        total: Floats = np.add.reduce(strips, axis=0)
        return total
    rest = iter(strips)
    total = next(rest).copy()
    for strip in rest:
        total += strip
    return total


def top_two(proba: Floats) -> tuple[Floats, Floats]:
    """The highest and the second highest of each column of (C, rows), which is written to; 0 if there is one class."""
    second = np.zeros_like(proba[0])
    while len(proba) > 1:
        half = len(proba) // 2
        winners, others = proba[:half], proba[-half:]
        losers = np.minimum(winners, others)
        np.maximum(winners, others, out=winners)
        np.maximum(second, np.maximum.reduce(losers, axis=0), out=second)
        proba = proba[: len(proba) - half]
    return proba[0], second


def collisions(proba: Floats) -> Floats:
    """(..., rows): Σ p² of each column of (..., C, rows): how likely two draws are to be of the same class."""
    likely: Floats = np.einsum("...cr,...cr->...r", proba, proba)
    return likely


@lru_cache
def most_collisions(least: float, n_classes: int) -> float:
    """The highest Σ p² of so many classes with an entropy of `least`; any higher one has a lower entropy.

    It is that of one likely class and equal ones for the rest (Harremoës and Topsøe 2001, "Inequalities between entropy
    and index of coincidence derived from information diagrams").
    """
    others = max(1, n_classes - 1)
    low, high = 1 / n_classes, 1.0
    while high - low > 1e-9:
        share = (low + high) / 2
        rest = 1 - share
        spread = -share * math.log(share) - rest * math.log(rest / others)
        low, high = (share, high) if spread >= least else (low, share)
    return high**2 + (1 - high) ** 2 / others


def logs(proba: Floats) -> Floats:
    """ln p (natural logarithm) of every number; where p is 0, that of the smallest number there is."""
    # Adding the smallest number changes nothing but a 0, and is many times faster than a maximum.
    result: Floats = np.add(proba, _SMALLEST[proba.dtype])
    np.log(result, out=result)
    return result


def weighed_logs(proba: Floats) -> Floats:
    """p ln p (natural logarithm) of every number, 0 where p is 0."""
    result = logs(proba)
    result *= proba
    return result


def entropy(proba: Floats) -> Floats:
    """(rows,) the entropy -Σ p ln p (natural logarithm, 0 ln 0 = 0) of each column of (C, rows)."""
    return np.maximum(0 - added(weighed_logs(proba)), 0)


class StripScore(ScoreStrategy):
    """A score of the probabilities of a choice that is worked out on strips; `of_mean`: of the members' mean alone."""

    of_mean: ClassVar[bool] = False

    @abstractmethod
    def kernel(self, strips: Floats) -> Floats:
        """(rows,) the utilities of strips (members, C, rows), which it may write to."""

    def fused(self, predictions: Floats) -> NDArray[Any] | None:
        """The same in one compiled pass over the rows, where there is such a form; see `fused`."""
        return None

    def utilities(self, predictions: Floats) -> Floats:
        """(rows,) the utilities of predictions (members, rows, C), whose values are not checked."""
        return by_strips(self.kernel, predictions)

    def hopeful(self, strips: Floats, least: float) -> NDArray[np.bool_] | None:
        """(rows,) where a utility of `least` is possible; None where that takes as long as the utilities themselves."""
        return None

    def scored(self, view: PoolView, floor: Floor | None = None) -> Iterator[tuple[Rows, Floats, Floats]]:
        """(rows, utilities, predictions), block by block, checked in the same pass.

        Above a `floor`, utilities are as ever; a row that cannot reach it gets 0.
        """
        kernel = self.kernel if floor is None else partial(self._above, floor)
        for rows, utilities, predictions in view.by_strips(kernel, self.fused, self.of_mean):
            self._check_members(len(predictions))
            yield rows, utilities, predictions

    def _above(self, floor: Floor, strips: Floats) -> Floats:
        least = floor() - SLACK
        hopeful = self.hopeful(strips, least) if least > 0 else None
        if hopeful is None or 2 * np.count_nonzero(hopeful) > hopeful.size:
            return self.kernel(strips)
        utilities = np.zeros(hopeful.size, dtype=strips.dtype)
        if hopeful.any():
            # A kernel gets two rows at least.
            columns = np.flatnonzero(hopeful)
            columns = np.resize(columns, max(2, columns.size))
            utilities[columns] = self.kernel(np.take(strips, columns, axis=2))
        return utilities


class _Uncertainty(StripScore):
    """A utility of the consensus of the members."""

    of_mean = True

    @staticmethod
    @abstractmethod
    def of(proba: Floats) -> Floats:
        """(rows,) utilities of the probabilities (C, rows), which it may write to."""

    def kernel(self, strips: Floats) -> Floats:
        return self.of(consensus(strips))


class LeastConfidence(_Uncertainty):
    """Utility 1 - p₁, p₁ being the highest probability: how little the model trusts its own answer.

    Lewis and Gale (1994), "A sequential algorithm for training text classifiers". With one class, all rows tie at 0.
    """

    name = "least_confidence"

    def fused(self, predictions: Floats) -> NDArray[Any] | None:
        return fused.least_confidence(predictions)

    @staticmethod
    def of(proba: Floats) -> Floats:
        utilities: Floats = np.maximum(1 - np.maximum.reduce(proba, axis=0), 0)
        return utilities

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        proba = consensus(predictions)
        return {"confidence": float(proba.max()), "class": top_classes(proba, view.classes, 1)[0]}


class Margin(_Uncertainty):
    """Utility 1 - (p₁ - p₂), from the two highest probabilities: the choice between two classes is a close one.

    Scheffer, Decomain and Wrobel (2001), "Active hidden Markov models for information extraction"; matched or beat
    every other strategy on 69 tables in Bahri et al. (2022), "Is margin all you need?". With one class, p₂ is 0 and
    all rows tie at 0.
    """

    name = "margin"

    def fused(self, predictions: Floats) -> NDArray[Any] | None:
        return fused.margin(predictions)

    @staticmethod
    def of(proba: Floats) -> Floats:
        first, second = top_two(proba)
        return np.maximum(1 - (first - second), 0)

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        proba = consensus(predictions)
        first, second = np.sort(np.append(proba, 0))[:-3:-1]
        return {"margin": float(first - second), "classes": top_classes(proba, view.classes)}


class Ratio(_Uncertainty):
    """Utility p₂ / p₁, the second highest probability against the highest: 1 where two classes are equally likely.

    Ratio of confidence in Monarch (2021), "Human-in-the-loop machine learning", chapter 3. Unlike margin it does not
    depend on how much the other classes take. With two classes it ranks as margin does; with one, all rows tie at 0.
    """

    name = "ratio"

    @staticmethod
    def of(proba: Floats) -> Floats:
        first, second = top_two(proba)
        return second / first

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {"ratio": utility, "classes": top_classes(consensus(predictions), view.classes)}


class Entropy(_Uncertainty):
    """Utility -Σ p ln p: how spread the probabilities are over all classes.

    Shannon (1948); Settles (2009), "Active learning literature survey", §3.1. With many classes and few labels it is
    the weakest of the three: it counts the long tail of unlikely classes as well. With one class, all rows tie at 0.
    """

    name = "entropy"

    def hopeful(self, strips: Floats, least: float) -> NDArray[np.bool_]:
        return collisions(consensus(strips)) <= most_collisions(least, strips.shape[1])

    @staticmethod
    def of(proba: Floats) -> Floats:
        return entropy(proba)

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {"entropy": utility, "classes": top_classes(consensus(predictions), view.classes)}
