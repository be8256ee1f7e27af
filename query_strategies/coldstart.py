"""Choices before there is a model: rows that stand for the whole pool.

A cold start decides whether the first model knows all classes, and a random choice is poor at it. What is here looks at
features only. Rows that were labelled, or asked about and not answered yet, count as centres that do not move: what
lies nearest to one of them is covered, and pulls no new centre its way.

Distances are taken in float64 after subtracting the sample's mean (dense rows): squares of large numbers that cancel
would make copies of one row look different. Everything is computed in the order of ids, in steps whose size
depends on the shapes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from query_strategies.base import PoolStrategy, Selection, TieKeys, tie_keys
from query_strategies.pool import Matrix, PoolView, Rows, StrategyError, is_sparse

SAMPLE = 20_000
"""Rows on which centres are found; of more, a random sample of this size is drawn. All rows are candidates."""

MAX_CENTRES = 2_000
"""Centres that are looked for at most; the rest of a larger batch is drawn at random."""

MAX_STEPS = 50
"""Steps of Lloyd's iteration; it mostly settles in fewer than 20."""

STEP_NUMBERS = 2**22
"""Numbers worked on at a time: 32 MB."""

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Squared distances below this share of the squared lengths are differences of rounding: the rows are copies."""

Reals = NDArray[np.float64]


class KMeans(PoolStrategy):
    """The row nearest to the centre of each of n clusters, largest cluster first.

    k-means (Lloyd 1982) from a greedy k-means++ start (Arthur and Vassilvitskii 2007), around the fixed centres that
    labelled and pending rows are. Utility: the cluster's share of the pool. Dense and csr rows. Above 20,000 rows the
    centres are found on a sample, and each one's nearest row is looked for in the whole pool. Where there are fewer
    different rows than n, or n is above 2,000, the rest is drawn at random (utility 0), copies of chosen rows last.
    """

    name = "kmeans"
    needs = frozenset({"X"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows: one per cluster, then a random rest. Raises `StrategyError` where features are no finite numbers."""
        keys = tie_keys(view, rng)
        sample = np.sort(rng.choice(view.n, size=SAMPLE, replace=False)) if view.n > SAMPLE else np.arange(view.n)
        space = _Space.around(view.X(view.order[sample]))
        points, fixed = space.points(view.X(view.order[sample])), space.covered(view)
        centres = _settled(points, _seeded(points, fixed, min(n, MAX_CENTRES), rng), fixed)
        found = _representatives(view, space, centres, fixed)
        rest = n - found.rows.size
        if rest == 0:
            return Selection(found.rows, found.sizes / view.n, found.why())
        filling = _at_random(view, space, found.rows, fixed, keys)[:rest]
        utilities = np.concatenate([found.sizes / view.n, np.zeros(rest)])
        drawn: Mapping[str, Any] = {"cluster_size": 0, "drawn": "at random, no cluster was left"}
        return Selection(np.concatenate([found.rows, filling]), utilities, found.why() + (drawn,) * rest)


@dataclass(frozen=True, slots=True)
class _Found:
    """One row per cluster that has any, largest cluster first."""

    rows: Rows
    sizes: NDArray[np.int64]
    distances: Reals

    def why(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(
            {"cluster_size": int(size), "distance": float(distance)}
            for size, distance in zip(self.sizes, self.distances, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Space:
    """Where distances are taken: rows as float64, dense ones moved by `shift` (None for csr)."""

    shift: Reals | None

    @classmethod
    def around(cls, X: Matrix) -> _Space:
        return cls(None) if is_sparse(X) else cls(_numbers(X).mean(axis=0))

    def points(self, X: Matrix) -> Matrix:
        """The rows of X, dense or csr, in this space."""
        if self.shift is None:
            return sparse.csr_matrix(_numbers(X), dtype=np.float64)
        dense = X.toarray() if is_sparse(X) else X
        return _numbers(dense) - self.shift

    def covered(self, view: PoolView) -> Matrix | None:
        """The labelled and the pending rows, or None where there are none."""
        known = [X for X in (view.labelled_X, view.pending_X) if X is not None and X.shape[0]]
        if not known:
            return None
        points = [self.points(X) for X in known]
        return np.vstack(points) if self.shift is not None else sparse.vstack(points, format="csr")


def _numbers(X: Matrix) -> Matrix:
    """X as float64; a `StrategyError` if it holds anything but finite numbers."""
    if X.dtype.kind not in "biuf":
        raise StrategyError(f"distances need features that are numbers, and these are {X.dtype}: encode them first.")
    flat = X if is_sparse(X) else X.reshape(len(X), -1)
    numbers = flat.astype(np.float64)
    if not np.isfinite(numbers.sum()):
        raise StrategyError("the features hold NaN or an infinity: fill or drop these values first.")
    return numbers


def _steps(n: int, *widths: int) -> Iterator[slice]:
    """Slices of n rows that keep every (rows, width) array within STEP_NUMBERS."""
    step = max(1, STEP_NUMBERS // max(1, *widths))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _squares(points: Matrix) -> Reals:
    if is_sparse(points):
        return np.asarray(points.multiply(points).sum(axis=1)).ravel()
    squares: Reals = np.einsum("ij,ij->i", points, points)
    return squares


def _distances(points: Matrix, others: Matrix) -> Reals:
    """(rows, others) squared distances; exactly 0 between copies."""
    products = points @ others.T
    lengths = _squares(points)[:, None] + _squares(others)
    result: Reals = lengths - 2 * (products.toarray() if is_sparse(products) else products)
    result[result <= ROUNDING * lengths] = 0
    return result


def _nearest(points: Matrix, others: Matrix | None) -> tuple[NDArray[np.int64], Reals]:
    """The nearest of others for every row, and its squared distance; infinity where there are no others."""
    n = points.shape[0]
    index, distance = np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    if others is None or not others.shape[0]:
        return index, distance
    for part in _steps(n, others.shape[0]):
        between = _distances(points[part], others)
        index[part] = between.argmin(axis=1)
        distance[part] = between.min(axis=1)
    return index, distance


def _seeded(points: Matrix, fixed: Matrix | None, n: int, rng: Generator) -> Matrix:
    """At most n different rows as first centres: each drawn with probability ~ squared distance to those before it.

    Of a few draws, the one that leaves the smallest sum of squared distances is kept (greedy k-means++).
    """
    _, distance = _nearest(points, fixed)
    if fixed is None:
        distance = np.ones(points.shape[0])
    chosen: list[int] = []
    trials = 2 + int(np.log(n))
    while len(chosen) < n and distance.any():
        drawn = np.searchsorted(np.cumsum(distance), rng.random(trials) * distance.sum(), side="right")
        candidates = np.minimum(drawn, np.flatnonzero(distance)[-1])
        left = _distances(points, points[candidates])
        if chosen or fixed is not None:
            left = np.minimum(left, distance[:, None])
        best = int(left.sum(axis=0).argmin())
        chosen.append(int(candidates[best]))
        distance = left[:, best]
    return points[chosen]


def _settled(points: Matrix, centres: Matrix, fixed: Matrix | None) -> Matrix:
    """The centres after Lloyd's iteration: each is the mean of the rows nearest to it; the fixed ones do not move."""
    _, covered = _nearest(points, fixed)
    before: NDArray[np.int64] | None = None
    for _ in range(MAX_STEPS if centres.shape[0] else 0):
        nearest, distance = _nearest(points, centres)
        own = np.where(distance < covered, nearest, -1)
        if before is not None and np.array_equal(own, before):
            break
        centres, before = _means(points, own, centres), own
    return centres


def _means(points: Matrix, own: NDArray[np.int64], centres: Matrix) -> Matrix:
    """The mean row of every cluster; a cluster without rows keeps its centre."""
    k = centres.shape[0]
    sizes = np.bincount(own[own >= 0], minlength=k)
    members = np.flatnonzero(own >= 0)
    shares = 1 / sizes[own[members]]
    rows, columns = own[members], members
    empty = np.flatnonzero(sizes == 0)
    averaging = sparse.csr_matrix((shares, (rows, columns)), shape=(k, points.shape[0]))
    keeping = sparse.csr_matrix((np.ones(empty.size), (empty, empty)), shape=(k, k))
    return averaging @ points + keeping @ centres


def _representatives(view: PoolView, space: _Space, centres: Matrix, fixed: Matrix | None) -> _Found:
    """For every centre the size of its cluster in the whole pool, and the row of the cluster nearest to it."""
    k = centres.shape[0]
    rows, sizes, best = np.full(k, -1), np.zeros(k, dtype=np.int64), np.full(k, np.inf)
    for part in _steps(view.n, k, centres.shape[1]) if k else ():
        here = view.order[part]
        points = space.points(view.X(here))
        nearest, distance = _nearest(points, centres)
        free = np.flatnonzero(distance < _nearest(points, fixed)[1])
        sizes += np.bincount(nearest[free], minlength=k)
        # In a cluster of two both rows are equally near: float32 drops the digits in which rounding would decide.
        near = distance.astype(np.float32)
        ranked = free[np.lexsort((near[free], nearest[free]))]
        owners, first = np.unique(nearest[ranked], return_index=True)
        closest = ranked[first]
        better = near[closest] < best[owners]
        rows[owners[better]], best[owners[better]] = here[closest[better]], near[closest[better]]
    by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    return _Found(rows[by_size], sizes[by_size], np.sqrt(best[by_size]))


def _at_random(view: PoolView, space: _Space, chosen: Rows, fixed: Matrix | None, keys: TieKeys) -> Rows:
    """All rows but the chosen ones in a seeded order: those that differ from what is chosen or covered come first."""
    picked = space.points(view.X(chosen)) if chosen.size else None
    copies = np.zeros(view.n, dtype=bool)
    for part in _steps(view.n, space.points(view.X(view.order[:1])).shape[1]):
        here = view.order[part]
        points = space.points(view.X(here))
        copies[here] = (_nearest(points, picked)[1] == 0) | (_nearest(points, fixed)[1] == 0)
    free = np.setdiff1d(np.arange(view.n), chosen)
    in_order: Rows = free[np.lexsort((keys(free), copies[free]))]
    return in_order
