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

SPARSE_NUMBERS = 2**19
"""The same where rows are csr: with fewer, the start of every product would cost more than the product."""

SPARSE_WIDTH = 64
"""What a csr row counts as, in numbers."""

FEW = 64
"""Csr rows that distances are taken to as dense ones, as long as they are so few, and hold few enough numbers."""

FEW_NUMBERS = 2**24
"""Numbers that csr rows may hold as dense ones: 128 MB."""

CROWDED = 1 / 16
"""Share of csr rows with an entry in a column from which on a dense product is the faster one there."""

MAX_CROWDED = 1024
"""Columns that are taken for crowded at most."""

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


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Rows that distances are taken to: what every step of rows would work out again, worked out once.

    `turned` (d, n) are the rows times -2, as columns. They are dense where rows are, and where there are few rows. Of
    many csr rows, only the columns of X that hold entries of a good part of them (`crowded`) are dense, in a matrix of
    their own (crowded, n): common words make most of the work.
    """

    sparse: bool
    lengths: Reals
    turned: Matrix
    crowded: NDArray[np.int64]
    dense: Reals

    @classmethod
    def of(cls, others: Matrix) -> Landmarks:
        lengths, turned, is_csr = squared_lengths(others), (-2 * others).T, is_sparse(others)
        n, d = others.shape
        if is_csr and n <= FEW and n * d <= FEW_NUMBERS:
            turned = turned.toarray(order="C")
        if not is_sparse(turned):
            return cls(is_csr, lengths, turned, np.empty(0, dtype=np.int64), np.empty((0, n)))
        turned = turned.tocsr()
        crowded = _crowded(turned)
        dense = turned[crowded].toarray()
        turned.data[np.isin(np.repeat(np.arange(d), np.diff(turned.indptr)), crowded)] = 0
        turned.eliminate_zeros()
        return cls(is_csr, lengths, turned, crowded, dense)

    def steps(self, n: int) -> Iterator[slice]:
        """Slices of n rows for which the distances are few enough numbers to be worked on at a time."""
        numbers = SPARSE_NUMBERS if self.sparse else CACHE_NUMBERS
        return row_steps(n, self.lengths.size, self.crowded.size, numbers=numbers)

    def pool_steps(self, n: int) -> Iterator[slice]:
        """Slices of a pool of n rows for which these rows themselves, too, are few enough numbers."""
        if self.sparse:
            return row_steps(n, self.lengths.size, SPARSE_WIDTH, numbers=SPARSE_NUMBERS)
        return row_steps(n, self.lengths.size, self.turned.shape[0])

    def products(self, points: Matrix) -> Reals:
        """(rows, n) -2 times the products of points and landmarks."""
        products = points @ self.turned
        result: Reals = products.toarray() if is_sparse(products) else products
        if self.crowded.size:
            result += points[:, self.crowded].toarray() @ self.dense
        return result


def _crowded(columns: Matrix) -> NDArray[np.int64]:
    """Which rows of csr columns (d, n), ascending, have many entries: the fullest ones, where there are too many."""
    counts = np.diff(columns.indptr)
    crowded = np.flatnonzero(counts > CROWDED * columns.shape[1])
    return np.sort(crowded[np.argsort(-counts[crowded], kind="stable")[:MAX_CROWDED]])


def landmarks(others: Matrix | Landmarks) -> Landmarks:
    """Others, made ready if they are not."""
    return others if isinstance(others, Landmarks) else Landmarks.of(others)


def squared_distances(points: Matrix, others: Matrix | Landmarks, lengths: Reals | None = None) -> Reals:
    """(rows, others) squared distances; exactly 0 between copies. `lengths` are the rows' squared lengths, if known."""
    lengths, marks = squared_lengths(points) if lengths is None else lengths, landmarks(others)
    more = marks.lengths
    result = marks.products(points)
    result += lengths[:, None]
    result += more
    near = np.flatnonzero(result <= ROUNDING * (lengths.max(initial=0) + more.max(initial=0)))
    row, other = np.divmod(near, more.size)
    result.flat[near[result.flat[near] <= ROUNDING * (lengths[row] + more[other])]] = 0
    return result


def nearest_of(
    points: Matrix, others: Matrix | Landmarks | None, lengths: Reals | None = None
) -> tuple[NDArray[np.int64], Reals]:
    """The nearest of others for every row, and its squared distance: infinity where there are no others, exactly 0 for
    copies. `lengths` are the rows' squared lengths, if known."""
    n = points.shape[0]
    index, distance = np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    if others is None:
        return index, distance
    marks = landmarks(others)
    if not marks.lengths.size:
        return index, distance
    for part in marks.steps(n):
        between = marks.products(points[part])
        between += marks.lengths
        index[part] = between.argmin(axis=1)
        distance[part] = between[np.arange(len(between)), index[part]]
    lengths = squared_lengths(points) if lengths is None else lengths
    distance += lengths
    distance[distance <= ROUNDING * (lengths + marks.lengths[index])] = 0
    return index, distance


def reach(view: PoolView, space: Space, others: Matrix) -> Reals:
    """(n,) the squared distance of every row of a pool, in the order of ids, to the nearest of others."""
    distance, marks = np.empty(view.n), landmarks(others)
    for part in row_steps(view.n, row_width(others), numbers=CACHE_NUMBERS):
        points = space.points(view.X(view.order[part]))
        distance[part] = nearest_of(points, marks)[1]
    return distance


def unlike_first(view: PoolView, space: Space, chosen: Rows, covered: Matrix | None, keys: TieKeys) -> Rows:
    """All rows but the chosen ones in the order of tie keys; copies of chosen or covered rows come after the others."""
    known = [landmarks(space.points(view.X(chosen)))] if chosen.size else []
    known += [] if covered is None else [landmarks(covered)]
    copies = np.zeros(view.n, dtype=bool)
    for marks in known:
        for part in marks.pool_steps(view.n):
            here = view.order[part]
            copies[here] |= nearest_of(space.points(view.X(here)), marks)[1] == 0
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
