"""Batches that would move a model in different directions.

If its likeliest class were a row's label, the gradient of the loss by the weights of a linear last layer would be
(p - e) ⊗ x: the probabilities less 1 at the likeliest class, times the features. It is long where the model is unsure,
and its direction says what the model would learn. With C classes and d features it has C · d numbers; but the product
of two gradients is (a · a')(x · x'), a product of two short products, so that none is ever written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import PoolStrategy, Selection, tie_keys
from query_strategies.farthest import TIED, lowest
from query_strategies.geometry import CACHE_NUMBERS, ROUNDING, Reals, as_numbers, row_steps, row_width, squared_lengths
from query_strategies.pool import PoolView, Rows
from query_strategies.rows import Matrix, is_sparse
from query_strategies.uncertainty import consensus

REFUSALS = 1 / 1000
"""Draws that may come to nothing before all distances are worked out again, as a share of the pool."""


class Badge(PoolStrategy):
    """Gradients that are long and differ: k-means++ draws among gradients for the labels that the model would give.

    Ash et al. (2020), "Deep batch active learning by diverse, uncertain gradient lower bounds": the longest gradient
    first, then each row with a probability ~ squared distance of its gradient to the nearest one drawn before. A
    gradient is (p - e) ⊗ x with the features x as they are, as in the paper; give X a column of ones to count the
    intercept of a linear model as well. With a committee, p is the mean of its members. Rows whose gradient is that of
    a row drawn before are only taken when nothing else is left, in the order of tie keys; among them are copies, and
    all rows about which the model has no doubt at all. What is labelled or pending plays no part. Utility: the length
    of the first gradient, then the distance, but no more than the utility before: a draw can hit a farther row later.

    Draws are made from distances that do not know of the latest rows, and refused in proportion to what these take
    away, so few passes over the pool are needed and the probabilities are exact. Memory: C float32 numbers per row.
    """

    name = "badge"
    needs = frozenset({"proba", "X"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows in the order of draws. Raises `StrategyError` where features are no finite numbers."""
        keys = tie_keys(view, rng)
        gradients = _Gradients(view)
        squares = gradients.squares
        first = lowest(np.flatnonzero(squares >= squares.max() * (1 - TIED)), view.order, keys)
        places, distances = _draws(gradients, first, n, rng)
        if places.size < n:
            left = np.setdiff1d(np.arange(view.n), places)
            left = left[np.argsort(keys(view.order[left]), kind="stable")[: n - places.size]]
            places, distances = np.concatenate([places, left]), np.concatenate([distances, np.zeros(left.size)])
        why = tuple(
            {"gradient": float(length), "distance": float(distance)}
            for length, distance in zip(np.sqrt(squares[places]), distances, strict=True)
        )
        return Selection(view.order[places], np.minimum.accumulate(distances), why)


def _draws(gradients: _Gradients, first: int, n: int, rng: Generator) -> tuple[Rows, Reals]:
    """At most n different places, `first` and then as drawn; the length of the first, and the distances of the others
    to the nearest place before them. Fewer than n where all others are at distance 0."""
    places, squares = [first], [float(gradients.squares[first])]
    known, distance = 0, np.inf + gradients.squares
    while len(places) < n:
        distance = gradients.nearest(distance, places[known:])
        known = len(places)
        if not distance.any():
            break
        for place, square in _some_draws(gradients, distance, n - known, rng):
            places.append(place)
            squares.append(square)
    return np.array(places), np.sqrt(squares)


def _some_draws(gradients: _Gradients, distance: Reals, n: int, rng: Generator) -> list[tuple[int, float]]:
    """Places and their squared distances, drawn one after the other until there are n or too many were refused.

    `distance` is what squared distances were before the first of them. A place is drawn with a probability ~ this, and
    kept with the probability (distance now) / (distance then): as if drawn with a probability ~ distance now.
    """
    sums, last = np.cumsum(distance), int(np.flatnonzero(distance)[-1])
    drawn: dict[int, float] = {}
    refused = 0
    while len(drawn) < n and refused <= REFUSALS * distance.size:
        place = min(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")), last)
        now = 0.0 if place in drawn else gradients.nearest_to(place, distance[place], list(drawn))
        if rng.random() * distance[place] < now:
            drawn[place] = now
        else:
            refused += 1
    return list(drawn.items())


@dataclass(frozen=True, slots=True)
class _Some:
    """The gradients of some rows: (rows, C) residuals p - e, (rows, d) features, their squared lengths (rows,)."""

    residuals: Reals
    features: Matrix
    squares: Reals

    def distances(self, others: _Some) -> Reals:
        """(others, rows) squared distances; exactly 0 between copies."""
        products = others.features @ self.features.T
        result: Reals = products.toarray() if is_sparse(products) else products
        result *= others.residuals @ self.residuals.T
        result *= -2
        lengths = others.squares[:, None] + self.squares
        result += lengths
        result[result <= ROUNDING * lengths] = 0
        return result


class _Gradients:
    """The gradients of all rows of a pool; places count in the order of ids."""

    def __init__(self, view: PoolView) -> None:
        self.view = view
        self.residuals = _residuals(view)
        self.width = row_width(as_numbers(view.X(view.order[:1])))
        self.squares = np.zeros(view.n)
        for part in self._steps(1):
            some = self._at(part)
            self.squares[part] = squared_lengths(some.residuals) * squared_lengths(some.features)

    def nearest(self, distance: Reals, places: list[int]) -> Reals:
        """(n,) squared distances of all rows to the nearest of some places, or `distance` where that is less."""
        others, nearer = self._at(np.array(places)), distance.copy()
        for part in self._steps(len(places)):
            nearer[part] = np.minimum(distance[part], self._at(part).distances(others).min(axis=0))
        return nearer

    def nearest_to(self, place: int, distance: float, places: list[int]) -> float:
        """The squared distance of one row to the nearest of some places, or `distance` if that is less."""
        if not places:
            return distance
        return min(distance, float(self._at(np.array(places)).distances(self._at(np.array([place]))).min()))

    def _steps(self, others: int) -> Iterator[slice]:
        return row_steps(self.view.n, self.width, self.residuals.shape[1], others, numbers=CACHE_NUMBERS)

    def _at(self, places: Rows | slice) -> _Some:
        rows = self.view.order[places]
        features = as_numbers(self.view.X(rows))
        return _Some(self.residuals[rows].astype(np.float64), features, self.squares[places])


def _residuals(view: PoolView) -> NDArray[np.float32]:
    """(n, C) the mean probabilities of the members, less 1 at the likeliest class (the first of equal ones)."""
    held = np.empty((view.n, 0), dtype=np.float32)
    for rows, predictions in view.blocks():
        proba = consensus(predictions)
        part = proba.astype(np.float32)
        part[np.arange(rows.size), proba.argmax(axis=1)] -= 1
        if not held.shape[1]:
            held = np.empty((view.n, part.shape[1]), dtype=np.float32)
        held[rows] = part
    return held
