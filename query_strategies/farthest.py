"""Rows picked one by one, each far from all that is labelled, pending or picked before it.

The plain way looks at every row for every pick, and the time goes into reading the pool over and over. But a distance
to what is picked can only fall, so one that does not know of the latest picks is an upper bound. A front of rows, those
that came out highest when it was gathered, is kept up to date; as long as its best row reaches what any other row could
have at most, that row is the best of all. When it does not, a new front is gathered, and its rows are told of all picks
that they missed in one product. The picks are those of the plain way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import sparse

from query_strategies.base import TieKeys, top_n
from query_strategies.geometry import Reals, Space, nearest_of, reach, sampled, squared_distances, squared_lengths
from query_strategies.pool import PoolView, Rows
from query_strategies.rows import Matrix

CENTRE_SAMPLE = 20_000
"""Rows whose mean is the centre of a pool; of more, a random sample of this size is drawn."""

FRONT_SHARE, FRONT_ROWS = 1 / 50, 1024
"""Rows that are kept up to date: this share of the pool, and no fewer than this many."""

TIED = 1e-9
"""Numbers that differ by less than this share are equal: the difference is rounding."""

Gain = Callable[[Reals, Rows, int], Reals]
"""(squared distances to what is covered, their rows, picks so far) → how much each row is wanted now: 0 or more, and
no more for a smaller distance."""


@dataclass(frozen=True, slots=True)
class Cover:
    """Rows in the order in which they were picked, with their `gains` and `distances` (not squared) at that moment.

    A first row that had nothing to be far from has the distance infinity. `radius` is the largest distance of any row
    to what was covered at first, or to that first row where nothing was.
    """

    rows: Rows
    gains: Reals
    distances: Reals
    radius: float


def by_distance(distance: Reals, rows: Rows, picks: int) -> Reals:
    """The gain of plain farthest-first: the squared distance itself."""
    return distance


def farthest_first(
    view: PoolView, n: int, rng: Generator, keys: TieKeys, gain: Gain = by_distance, growth: float = 0.0
) -> Cover:
    """n different rows, each the one of highest gain when its turn comes; by default the one farthest from all that is
    labelled, pending or picked (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance").

    Where nothing is labelled or pending, the row nearest to the mean of the pool comes first (above 20,000 rows, to the
    mean of a sample). `growth` is by how much a gain can rise from one pick to the next while its distance stays.
    Among equal gains the lowest key comes first; copies of what is covered are at distance 0, and come when nothing
    else is left. Euclidean distances in the features as they are. Raises `StrategyError` where these are no finite
    numbers.
    """
    sample = view.X(sampled(view, CENTRE_SAMPLE, rng))
    space = Space.around(sample)
    known = space.covered(view)
    first = None if known is not None else _central(view, space, space.points(sample).mean(axis=0), keys)
    if first is not None:
        known = space.points(view.X(view.order[[first]]))
    search = _Search(view, space, keys, gain, growth, known, first)
    radius = float(np.sqrt(search.distance.max()))
    while len(search.picks) < n:
        search.pick()
    return Cover(view.order[search.picks], np.array(search.gains), np.sqrt(search.distances), radius)


def _central(view: PoolView, space: Space, mean: Reals, keys: TieKeys) -> int:
    """The place, in the order of ids, of the row nearest to a mean."""
    centre = np.asarray(mean).reshape(1, -1)
    distance = reach(view, space, sparse.csr_matrix(centre) if space.shift is None else centre)
    return lowest(np.flatnonzero(distance <= distance.min() * (1 + TIED)), view.order, keys)


def lowest(tied: Rows, rows: Rows, keys: TieKeys) -> int:
    """Of some places that tie, the one whose row has the lowest key; `rows` are those of all places."""
    return int(tied[0] if tied.size == 1 else tied[keys(rows[tied]).argmin()])


class _Search:
    """What is known of every row between two picks; places count in the order of ids.

    `distance` of a row knows of the first `informed` picks; that of the rows of the `front`, `near`, of all of them. A
    row outside of the front could gain `limit` at most when there were `gathered_at` picks.
    """

    def __init__(
        self,
        view: PoolView,
        space: Space,
        keys: TieKeys,
        gain: Gain,
        growth: float,
        covered: Matrix,
        first: int | None,
    ) -> None:
        self.view, self.space, self.keys, self.gain, self.growth = view, space, keys, gain, growth
        self.distance = reach(view, space, covered)
        self.taken = np.zeros(view.n, dtype=bool)
        self.picks: list[int] = []
        self.gains: list[float] = []
        self.distances: list[float] = []
        if first is not None:
            nothing_near = gain(np.array([np.inf]), view.order[[first]], 0)
            self._take(first, float(nothing_near[0]), np.inf)
        self.informed = np.full(view.n, len(self.picks))
        self.front: Rows = np.empty(0, dtype=np.int64)
        self.near: Reals = np.empty(0)
        self._gather()

    def pick(self) -> None:
        """Take the row of highest gain."""
        gains = self._front_gains()
        while gains.max() < self.limit + self.growth * (len(self.picks) - self.gathered_at):
            self._gather()
            gains = self._front_gains()
        tied = np.flatnonzero(gains >= gains.max() * (1 - TIED))
        place = lowest(tied, self.view.order[self.front], self.keys)
        self._take(int(self.front[place]), float(gains[place]), float(self.near[place]))
        self.near = np.minimum(self.near, squared_distances(self.points, self.points[[place]], self.lengths)[:, 0])

    def _take(self, place: int, gain: float, distance: float) -> None:
        self.taken[place] = True
        self.picks.append(place)
        self.gains.append(gain)
        self.distances.append(distance)

    def _front_gains(self) -> Reals:
        gains = self.gain(self.near, self.view.order[self.front], len(self.picks))
        return np.where(self.taken[self.front], -1, gains)

    def _gather(self) -> None:
        """A new front: the rows of highest gain by what is known, brought up to date."""
        self.distance[self.front], self.informed[self.front] = self.near, len(self.picks)
        gains = np.where(self.taken, -1, self.gain(self.distance, self.view.order, len(self.picks)))
        size = max(FRONT_ROWS, int(FRONT_SHARE * self.view.n))
        self.front = np.sort(top_n(gains, size, self.view.order, self.keys))
        gains[self.front] = -np.inf
        self.limit, self.gathered_at = float(gains.max()), len(self.picks)
        self.points = self.space.points(self.view.X(self.view.order[self.front]))
        self.lengths, self.near = squared_lengths(self.points), self.distance[self.front]
        informed = self.informed[self.front]
        for since in np.unique(informed[informed < len(self.picks)]):
            late = np.flatnonzero(informed == since)
            missed = self.space.points(self.view.X(self.view.order[self.picks[since:]]))
            nearest = nearest_of(self.points[late], missed, self.lengths[late])[1]
            self.near[late] = np.minimum(self.near[late], nearest)
