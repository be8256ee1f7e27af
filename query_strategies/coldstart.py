"""Choices before there is a model: rows that stand for the whole pool.

A cold start decides whether the first model knows all classes, and a random choice is poor at it. What is here looks at
features only. Rows that were labelled, or asked about and not answered yet, count as centres that do not move: what
lies nearest to one of them is covered, and pulls no new centre its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import PoolStrategy, Selection, tie_keys
from query_strategies.geometry import Reals, Space, nearest_of, row_steps, sampled, seed_centres, settle, unlike_first
from query_strategies.pool import Matrix, PoolView, Rows

SAMPLE = 20_000
"""Rows on which centres are found; of more, a random sample of this size is drawn. All rows are candidates."""

MAX_CENTRES = 2_000
"""Centres that are looked for at most; the rest of a larger batch is drawn at random."""


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


def _representatives(view: PoolView, space: Space, centres: Matrix, fixed: Matrix | None) -> _Found:
    """For every centre the size of its cluster in the whole pool, and the row of the cluster nearest to it."""
    k = centres.shape[0]
    rows, sizes, best = np.full(k, -1), np.zeros(k, dtype=np.int64), np.full(k, np.inf)
    for part in row_steps(view.n, k, centres.shape[1]) if k else ():
        here = view.order[part]
        points = space.points(view.X(here))
        nearest, distance = nearest_of(points, centres)
        free = np.flatnonzero(distance < nearest_of(points, fixed)[1])
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
