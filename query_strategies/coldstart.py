"""Choices before there is a model: rows that stand for the whole pool.

A cold start decides whether the first model knows all classes, and a random choice is poor at it. What is here looks at
the clusters of the features only. Rows that were labelled, or asked about and not answered yet, are known: `KMeans`
takes them for centres that do not move, so that what lies nearest to one of them pulls no new centre its way;
`TypiClust` asks in the clusters that have fewest of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import PoolStrategy, Selection, TieKeys, tie_keys
from query_strategies.geometry import (
    Reals,
    Space,
    landmarks,
    nearest_of,
    sampled,
    seed_centres,
    settle,
    squared_distances,
    unlike_first,
)
from query_strategies.pool import PoolView, Rows
from query_strategies.rows import Matrix

SAMPLE = 20_000
"""Rows on which centres are found; of more, a random sample of this size is drawn. All rows are candidates."""

MAX_CENTRES = 2_000
"""Centres that are looked for at most; the rest of a larger batch is drawn at random."""

MAX_CLUSTERS = 500
"""Clusters that TypiClust makes at most."""

MEMBERS = 2_000
"""Rows of a cluster whose neighbours TypiClust looks at; of more, a random sample of this size is drawn."""

NEIGHBOURS = 20
"""Nearest rows that tell how typical a row is."""

TINY = 5
"""Clusters of so few rows TypiClust leaves out, as long as there are enough others."""


DRAWN: Mapping[str, Any] = {"cluster_size": 0, "drawn": "at random, no cluster was left"}


class KMeans(PoolStrategy):
    """The row nearest to the centre of each of n clusters, largest cluster first.

    k-means (Lloyd 1982) from a greedy k-means++ start (Arthur and Vassilvitskii 2007), around the fixed centres that
    labelled and pending rows are. Utility: the cluster's share of the pool. Dense and csr rows. Above 20,000 rows the
    centres are found on a sample, and each one's nearest row is looked for in the whole pool. Where there are fewer
    different rows than n, or n is above 2,000, the rest is drawn at random (utility 0), copies of chosen rows last.
    """

    name = "kmeans"
    needs = frozenset({"X"})
    tasks = frozenset({"choice", "multi_label", "number"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows: one per cluster, then a random rest. Raises `StrategyError` where features are no finite numbers."""
        keys = tie_keys(view, rng)
        sample = view.X(sampled(view, SAMPLE, rng))
        space = Space.around(sample)
        points, fixed = space.points(sample), space.covered(view)
        centres = settle(points, seed_centres(points, fixed, min(n, MAX_CENTRES), rng), fixed)
        found = _representatives(view, space, centres, fixed)
        rest = n - found.rows.size
        if rest == 0:
            return Selection(found.rows, found.sizes / view.n, found.why())
        filling = unlike_first(view, space, found.rows, fixed, keys)[:rest]
        utilities = np.concatenate([found.sizes / view.n, np.zeros(rest)])
        return Selection(np.concatenate([found.rows, filling]), utilities, found.why() + (DRAWN,) * rest)


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


def _representatives(view: PoolView, space: Space, centres: Matrix, fixed: Matrix | None) -> _Found:
    """For every centre the size of its cluster in the whole pool, and the row of the cluster nearest to it."""
    k = centres.shape[0]
    rows, sizes, best = np.full(k, -1), np.zeros(k, dtype=np.int64), np.full(k, np.inf)
    marks, known = landmarks(centres), None if fixed is None else landmarks(fixed)
    for part in marks.pool_steps(view.n) if k else ():
        here = view.order[part]
        points = space.points(view.X(here))
        nearest, distance = nearest_of(points, marks)
        free = np.flatnonzero(distance < nearest_of(points, known)[1])
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


class TypiClust(PoolStrategy):
    """The most typical row of each cluster, from the clusters that know least: fewest known rows, then largest.

    TypiClust: Hacohen, Dekel and Weinshall (2022), "Active learning on a budget: opposite strategies suit high and low
    budgets", §3. k-means (as in `KMeans`, but nothing is fixed) makes as many clusters as there are known rows and
    rows to choose, and 500 at most. A row is the more typical, the smaller its mean distance to its 20 nearest
    neighbours in its cluster (all others, where there are fewer). Labelled, pending and chosen rows are known.
    Clusters of 5 rows or fewer are left out where at least n larger ones exist. A copy of a known row is not taken.

    Utility: between 1 / (2 + l) and 1 / (1 + l) in a cluster with l known rows, by the cluster's share of the pool.
    Above 20,000 rows centres are found on a sample; in a cluster above 2,000 rows a sample of that size stands for it.
    Where no cluster has a row left, the rest is drawn at random (utility 0), copies of known rows last.
    """

    name = "typiclust"
    needs = frozenset({"X"})
    tasks = frozenset({"choice", "multi_label", "number"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, cluster by cluster. Raises `StrategyError` where features are no finite numbers."""
        keys = tie_keys(view, rng)
        sample = view.X(sampled(view, SAMPLE, rng))
        space = Space.around(sample)
        points, known = space.points(sample), space.covered(view)
        wanted = min(MAX_CLUSTERS, n + (0 if known is None else known.shape[0]))
        centres = settle(points, seed_centres(points, None, wanted, rng), None)
        clusters = _Clusters.of(view, space, centres, known)
        rows: list[int] = []
        utilities: list[float] = []
        why: list[Mapping[str, Any]] = []
        for cluster, known_there, row, distance in clusters.turns(n, keys, rng):
            size = int(clusters.sizes[cluster])
            low, high = 1 / (2 + known_there), 1 / (1 + known_there)
            rows.append(row)
            utilities.append(low + (high - low) * size / view.n)
            why.append({"cluster_size": size, "known_in_cluster": known_there, "neighbour_distance": distance})
        chosen, rest = np.array(rows, dtype=np.int64), n - len(rows)
        if rest:
            chosen = np.concatenate([chosen, unlike_first(view, space, chosen, known, keys)[:rest]])
        return Selection(chosen, np.array(utilities + [0.0] * rest), tuple(why) + (DRAWN,) * rest)


@dataclass(frozen=True, slots=True)
class _Clusters:
    """The clusters of a pool: the pool's rows cluster by cluster, and how many rows and known rows each one has."""

    view: PoolView
    space: Space
    rows: Rows
    sizes: NDArray[np.int64]
    known: Matrix | None
    known_owners: NDArray[np.int64]

    @classmethod
    def of(cls, view: PoolView, space: Space, centres: Matrix, known: Matrix | None) -> _Clusters:
        owners, marks = np.empty(view.n, dtype=np.int64), landmarks(centres)
        for part in marks.pool_steps(view.n):
            owners[part], _ = nearest_of(space.points(view.X(view.order[part])), marks)
        known_owners = np.empty(0, dtype=np.int64) if known is None else nearest_of(known, centres)[0]
        rows = view.order[np.argsort(owners, kind="stable")]
        return cls(view, space, rows, np.bincount(owners, minlength=centres.shape[0]), known, known_owners)

    def turns(self, n: int, keys: TieKeys, rng: Generator) -> Iterator[tuple[int, int, int, float]]:
        """(cluster, known rows in it, its most typical row, that row's mean distance to its neighbours), at most n."""
        least = TINY if np.count_nonzero(self.sizes > TINY) >= n else 0
        known = np.bincount(self.known_owners, minlength=self.sizes.size)
        queue = [(int(known[c]), -int(self.sizes[c]), int(c)) for c in np.flatnonzero(self.sizes > least)]
        heapq.heapify(queue)
        typical: dict[int, Iterator[tuple[int, float]]] = {}
        while queue and n:
            known_there, negative_size, cluster = heapq.heappop(queue)
            if cluster not in typical:
                typical[cluster] = self._most_typical(cluster, keys, rng)
            for row, distance in typical[cluster]:
                yield cluster, known_there, row, distance
                heapq.heappush(queue, (known_there + 1, negative_size, cluster))
                n -= 1
                break

    def _most_typical(self, cluster: int, keys: TieKeys, rng: Generator) -> Iterator[tuple[int, float]]:
        """The rows of a cluster that are copies of neither a known row nor each other, most typical first."""
        end = int(self.sizes[: cluster + 1].sum())
        rows = self.rows[end - self.sizes[cluster] : end]
        if rows.size > MEMBERS:
            rows = rows[np.sort(rng.choice(rows.size, size=MEMBERS, replace=False))]
        points = self.space.points(self.view.X(rows))
        distance, copy_of = neighbour_distances(points)
        order = np.lexsort((keys(rows), distance.astype(np.float32)))
        order = order[np.sort(np.unique(copy_of[order], return_index=True)[1])]
        if self.known is not None:
            order = order[nearest_of(points[order], self.known[self.known_owners == cluster])[1] > 0]
        return zip(rows[order].tolist(), distance[order].tolist(), strict=True)


def neighbour_distances(points: Matrix) -> tuple[Reals, NDArray[np.int64]]:
    """For every row the mean distance to its nearest other rows (at most 20; 0 for a row alone), and the first row
    that it is a copy of, which may be itself."""
    n = points.shape[0]
    k = min(NEIGHBOURS, n - 1)
    distance, copy_of, marks = np.zeros(n), np.zeros(n, dtype=np.int64), landmarks(points)
    for part in marks.steps(n) if k else ():
        squared = squared_distances(points[part], marks)
        copy_of[part] = (squared == 0).argmax(axis=1)
        squared.partition(k, axis=1)
        distance[part] = np.sqrt(squared[:, : k + 1]).sum(axis=1) / k
    return distance, copy_of
