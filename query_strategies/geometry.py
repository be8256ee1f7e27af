"""Distances between rows, and the centres of clusters: what every strategy that covers a pool stands on.

Distances are taken in float64 after subtracting the mean of a sample (dense rows): squares of large numbers that cancel
would make copies of one row look different. Whoever calls with rows in the order of ids gets the same numbers whatever
the order of the pool: everything is computed in steps whose size depends on the shapes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from query_strategies.base import TieKeys
from query_strategies.pool import PoolView, Rows, StrategyError
from query_strategies.rows import Matrix, is_sparse

MAX_STEPS = 50
"""Steps of Lloyd's iteration; it mostly settles in fewer than 20."""

STEP_NUMBERS = 2**22
"""Numbers worked on at a time: 32 MB."""

CACHE_NUMBERS = 2**17
"""Numbers worked on at a time in passes over a whole pool: 1 MB, which a second-level cache holds."""

SPARSE_WIDTH = 64
"""What a csr row counts as, in numbers."""

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Squared distances below this share of the squared lengths are differences of rounding: the rows are copies."""

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Space:
    """Where distances are taken: rows as float64, dense ones moved by `shift` (None for csr)."""

    shift: Reals | None

    @classmethod
    def around(cls, X: Matrix) -> Space:
        return cls(None) if is_sparse(X) else cls(as_numbers(X).mean(axis=0))

    def points(self, X: Matrix) -> Matrix:
        """The rows of X, dense or csr, in this space."""
        if self.shift is None:
            return sparse.csr_matrix(as_numbers(X), dtype=np.float64)
        numbers = as_numbers(X.toarray() if is_sparse(X) else X)
        numbers -= self.shift
        return numbers

    def covered(self, view: PoolView) -> Matrix | None:
        """The labelled and the pending rows, or None where there are none."""
        known = [X for X in (view.labelled_X, view.pending_X) if X is not None and X.shape[0]]
        if not known:
            return None
        points = [self.points(X) for X in known]
        return np.vstack(points) if self.shift is not None else sparse.vstack(points, format="csr")


def sampled(view: PoolView, size: int, rng: Generator) -> Rows:
    """All rows, or a random `size` of them where there are more; in the order of ids."""
    if view.n <= size:
        return view.order
    return view.order[np.sort(rng.choice(view.n, size=size, replace=False))]


def as_numbers(X: Matrix) -> Matrix:
    """X as float64; a `StrategyError` if it holds anything but finite numbers."""
    if X.dtype.kind not in "biuf":
        raise StrategyError(f"distances need features that are numbers, and these are {X.dtype}: encode them first.")
    flat = X if is_sparse(X) else X.reshape(len(X), -1)
    numbers = flat.astype(np.float64)
    if not np.isfinite(numbers.sum()):
        raise StrategyError("the features hold NaN or an infinity: fill or drop these values first.")
    return numbers


def row_steps(n: int, *widths: int, numbers: int = STEP_NUMBERS) -> Iterator[slice]:
    """Slices of n rows that keep every (rows, width) array within so many numbers."""
    step = max(1, numbers // max(1, *widths))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def row_width(points: Matrix) -> int:
    """What a row counts as in `row_steps`: its columns, or where most of them are empty, some of them."""
    return SPARSE_WIDTH if is_sparse(points) else int(points.shape[1])


def squared_lengths(points: Matrix) -> Reals:
    if is_sparse(points):
        return np.asarray(points.multiply(points).sum(axis=1)).ravel()
    squares: Reals = np.einsum("ij,ij->i", points, points)
    return squares


def squared_distances(points: Matrix, others: Matrix, lengths: Reals | None = None) -> Reals:
    """(rows, others) squared distances; exactly 0 between copies. `lengths` are the rows' squared lengths, if known."""
    lengths, more = squared_lengths(points) if lengths is None else lengths, squared_lengths(others)
    result = _products(points, -2 * others)
    result += lengths[:, None]
    result += more
    near = np.flatnonzero(result <= ROUNDING * (lengths.max(initial=0) + more.max(initial=0)))
    row, other = np.divmod(near, others.shape[0])
    result.flat[near[result.flat[near] <= ROUNDING * (lengths[row] + more[other])]] = 0
    return result


def nearest_of(points: Matrix, others: Matrix | None, lengths: Reals | None = None) -> tuple[NDArray[np.int64], Reals]:
    """The nearest of others for every row, and its squared distance: infinity where there are no others, exactly 0 for
    copies. `lengths` are the rows' squared lengths, if known."""
    n = points.shape[0]
    index, distance = np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    if others is None or not others.shape[0]:
        return index, distance
    lengths, more, doubled = (
        squared_lengths(points) if lengths is None else lengths,
        squared_lengths(others),
        -2 * others,
    )
    for part in row_steps(n, others.shape[0], numbers=CACHE_NUMBERS):
        between = _products(points[part], doubled)
        between += more
        index[part] = between.argmin(axis=1)
        distance[part] = between[np.arange(len(between)), index[part]]
    distance += lengths
    distance[distance <= ROUNDING * (lengths + more[index])] = 0
    return index, distance


def _products(points: Matrix, others: Matrix) -> Reals:
    products = points @ others.T
    result: Reals = products.toarray() if is_sparse(products) else products
    return result


def reach(view: PoolView, space: Space, others: Matrix) -> Reals:
    """(n,) the squared distance of every row of a pool, in the order of ids, to the nearest of others."""
    distance = np.empty(view.n)
    for part in row_steps(view.n, row_width(others), numbers=CACHE_NUMBERS):
        points = space.points(view.X(view.order[part]))
        distance[part] = nearest_of(points, others)[1]
    return distance


def unlike_first(view: PoolView, space: Space, chosen: Rows, covered: Matrix | None, keys: TieKeys) -> Rows:
    """All rows but the chosen ones in the order of tie keys; copies of chosen or covered rows come after the others."""
    picked = space.points(view.X(chosen)) if chosen.size else None
    copies = np.zeros(view.n, dtype=bool)
    for part in row_steps(view.n, space.points(view.X(view.order[:1])).shape[1]):
        here = view.order[part]
        points = space.points(view.X(here))
        copies[here] = (nearest_of(points, picked)[1] == 0) | (nearest_of(points, covered)[1] == 0)
    free = np.setdiff1d(np.arange(view.n), chosen)
    in_order: Rows = free[np.lexsort((keys(free), copies[free]))]
    return in_order


def seed_centres(points: Matrix, fixed: Matrix | None, n: int, rng: Generator) -> Matrix:
    """At most n different rows as first centres: each drawn with probability ~ squared distance to those before it.

    Of a few draws, the one that leaves the smallest sum of squared distances is kept (greedy k-means++).
    """
    lengths = squared_lengths(points)
    _, distance = nearest_of(points, fixed, lengths)
    if fixed is None:
        distance = np.ones(points.shape[0])
    chosen: list[int] = []
    trials = 2 + int(np.log(n))
    while len(chosen) < n and distance.any():
        drawn = np.searchsorted(np.cumsum(distance), rng.random(trials) * distance.sum(), side="right")
        candidates = np.minimum(drawn, np.flatnonzero(distance)[-1])
        left = squared_distances(points, points[candidates], lengths)
        if chosen or fixed is not None:
            left = np.minimum(left, distance[:, None])
        best = int(left.sum(axis=0).argmin())
        chosen.append(int(candidates[best]))
        distance = left[:, best]
    return points[chosen]


def settle(points: Matrix, centres: Matrix, fixed: Matrix | None) -> Matrix:
    """The centres after Lloyd's iteration: each is the mean of the rows nearest to it; the fixed ones do not move."""
    lengths = squared_lengths(points)
    _, covered = nearest_of(points, fixed, lengths)
    before: NDArray[np.int64] | None = None
    for _ in range(MAX_STEPS if centres.shape[0] else 0):
        nearest, distance = nearest_of(points, centres, lengths)
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
