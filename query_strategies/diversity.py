"""Batches whose rows differ: from each other, and from what is labelled.

A score puts the n best rows into a batch, and where rows are alike, the batch asks the same question n times. What is
here weighs how unsure the model is against how like rows are: far from all that is known (k-center), far and unsure
(ranked batch), unsure in different places (cluster-margin), unsure where there are many rows (density). Nothing is ever
computed for all pairs of rows of a pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import PoolStrategy, ScoreStrategy, Selection, tie_keys, top_n
from query_strategies.farthest import farthest_first
from query_strategies.geometry import (
    CACHE_NUMBERS,
    Reals,
    Space,
    landmarks,
    nearest_of,
    row_steps,
    row_width,
    sampled,
    seed_centres,
    settle,
    squared_distances,
)
from query_strategies.pool import PoolView, Rows, StrategyError
from query_strategies.uncertainty import Margin
from query_strategies.wrappers import Wrapper

MAX_CLUSTERS = 1_000
"""Clusters that are looked for at most; in a larger batch, some give more than one row."""

REFERENCES = 2_000
"""Rows that stand for the pool where similarities to all of it are meant; of more, a random sample of this size."""


class KCenter(PoolStrategy):
    """The row farthest from all that is labelled, pending or chosen, again and again: the core-set approach.

    Sener and Savarese (2018), "Active learning for convolutional neural networks: a core-set approach", the greedy
    form of Gonzalez (1985): no row of the pool is then farther from a known one than twice what n rows could reach.
    Utility: that distance. Where nothing is labelled or pending, the row nearest to the mean of the pool comes first
    (of a sample of 20,000 rows, where there are more), since an outlier would be a poor start; it has the utility of
    the row after it, which is how far the pool reaches from it. Outliers come early. Copies of labelled, pending or
    chosen rows come when nothing else is left, in the order of tie keys, with utility 0. Euclidean distances in the
    features as they are: scale them first, and for cosine distances divide each row by its length.

    The same choice as with a pass over all rows for each pick, mostly in far less time; memory for two numbers per
    row and a fiftieth of the rows.
    """

    name = "k_center"
    needs = frozenset({"X"})
    tasks = frozenset({"choice", "multi_label", "number"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, the farthest first. Raises `StrategyError` where features are no finite numbers."""
        cover = farthest_first(view, n, rng, tie_keys(view, rng))
        utilities = np.minimum.accumulate(np.minimum(cover.distances, cover.radius))
        why = tuple(
            {"distance": float(distance)} if np.isfinite(distance) else {"start": "nearest to the mean of the pool"}
            for distance in cover.distances
        )
        return Selection(cover.rows, utilities, why)


class ClusterMargin(PoolStrategy):
    """The closest margin of each of n clusters among the `factor` · n rows of closest margins (default 10 · n).

    Citovsky et al. (2021), "Batch active learning at scale", with k-means in place of average-link clusters. Clusters
    take turns, the smallest first, each giving its closest margin; where there are fewer clusters than n (rows are
    copies, or n is above 1,000), there is a second turn, and so on. The selection holds the rows of the first turn
    before those of the second, and within a turn the closest margin first. Utility: 1 - (p₁ - p₂), as of `Margin`; in
    a later turn no more than that of the row before it, since its cluster has been asked about. Equal margins, as
    before two classes are known, are ordered by tie keys, and the choice is that of k-means on a random part of the
    pool. What is labelled plays no part. One pass over the predictions; the clusters cost no more in a larger pool.
    """

    name = "cluster_margin"
    needs = frozenset({"proba", "X"})

    def __init__(self, *, factor: float = 10, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.factor = factor
        if not 1 <= factor < np.inf:
            raise StrategyError(f"factor is {factor}: give how many candidates there are per row asked for, 1 or more.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows from different clusters. Raises `StrategyError` where features are no finite numbers."""
        candidates = Margin().query(view, min(view.n, int(self.factor * n)), rng)
        X = view.X(candidates.rows)
        points = Space.around(X).points(X)
        centres = settle(points, seed_centres(points, None, min(n, MAX_CLUSTERS), rng), None)
        clusters = nearest_of(points, centres)[0]
        sizes = np.bincount(clusters)[clusters]
        turns = _turns(clusters)
        chosen = np.sort(np.lexsort((clusters, sizes, turns))[:n])
        chosen = chosen[np.argsort(turns[chosen], kind="stable")]
        why = tuple({**candidates.why[place], "cluster_size": int(sizes[place])} for place in chosen)
        return Selection(candidates.rows[chosen], np.minimum.accumulate(candidates.utilities[chosen]), why)


def _turns(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every row, how many rows of its cluster stand before it."""
    by_cluster = np.argsort(clusters, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(clusters))])
    turns = np.empty(clusters.size, dtype=np.int64)
    turns[by_cluster] = np.arange(clusters.size) - starts[clusters[by_cluster]]
    return turns


class _WithFeatures(Wrapper):
    """A score, weighed by where rows lie."""

    adds = frozenset({"X"})
    needs = frozenset({"proba", "X"})

    def __init__(self, inner: str | PoolStrategy, *, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        if not isinstance(self.strategy, ScoreStrategy):
            raise StrategyError(
                f"{self.name} weighs the utility of every row, and {self.strategy.name} works out a batch as a whole: "
                "give a score, such as margin, entropy or kl_mean."
            )
        self.score = self.strategy

    def scores(self, view: PoolView) -> Reals:
        """(n,) the utility of every row by the inner score."""
        utilities = np.empty(view.n)
        for rows, given, _ in self.score.scored(view):
            utilities[rows] = given
        return utilities

    def reasons(self, view: PoolView, rows: Rows, utilities: Reals, more: Mapping[str, Reals]) -> list[dict[str, Any]]:
        """What the inner score says of some rows, its utility, and what else was computed for them."""
        predictions = view.predictions(rows)
        return [
            {
                **self.score.explain(predictions[:, i], float(utility), view),
                "utility": float(utility),
                **{name: float(values[i]) for name, values in more.items()},
            }
            for i, utility in enumerate(utilities)
        ]


class RankedBatch(_WithFeatures):
    """alpha · (1 - similarity to the most similar row that is known) + (1 - alpha) · utility of the inner score.

    Cardoso et al. (2017), "Ranked batch-mode active learning". Known are rows that are labelled, pending, or chosen
    before; the similarity is 1 / (1 + Euclidean distance) in the features as they are. alpha is the share of rows that
    are not known yet: far rows while little is known, unsure ones later. `inner` (default least confidence) should
    range over 0 to 1, as probabilities do. The choices of modAL's `uncertainty_batch_sampling`, which looks at every
    pair of a known row and a row of the pool again for each pick. Where nothing is known, the row nearest to the mean
    of the pool comes first. alpha falls from pick to pick, so the sum can rise a little; as a utility it counts no more
    than that of the row before. Equal sums are ordered by tie keys.
    """

    name = "ranked_batch"

    def __init__(self, inner: str | PoolStrategy = "least_confidence", *, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, best first. Raises `StrategyError` where features are no finite numbers."""
        scores = self.scores(view)
        known = [X.shape[0] for X in (view.labelled_X, view.pending_X) if X is not None]
        total = view.n + sum(known)

        def gain(distance: Reals, rows: Rows, picks: int) -> Reals:
            alpha = (view.n - picks) / total
            sums: Reals = alpha * (1 - _similarity(distance)) + (1 - alpha) * scores[rows]
            return sums

        cover = farthest_first(view, n, rng, tie_keys(view, rng), gain, growth=scores.max() / total)
        more = {"similarity": 1 / (1 + cover.distances), "alpha": (view.n - np.arange(n)) / total}
        why = self.reasons(view, cover.rows, scores[cover.rows], more)
        return Selection(cover.rows, np.minimum.accumulate(cover.gains), tuple(why))


class Density(_WithFeatures):
    """Utility of the inner score · (mean similarity to the rows of the pool) ^ beta: unsure, and not alone with it.

    The information density of Settles and Craven (2008), "An analysis of active learning strategies for sequence
    labeling tasks", §3.3; the similarity is 1 / (1 + Euclidean distance) in the features as they are, as in modAL's
    `information_density`. For cosines divide each row by its length first. `inner` is any score (default margin),
    `beta` (0 or more, default 1) how much density counts; at 0 it does not. Among rows that are equally unsure an
    outlier comes last. Copies have equal utilities; ties are broken by tie keys. Before two classes are known, this is
    the densest part of the pool.

    Exact up to 2,000 rows; of more, a random sample of 2,000 stands for the pool. Time: 2,000 distances per row.
    """

    name = "density"

    def __init__(self, inner: str | PoolStrategy = "margin", *, beta: float = 1.0, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self.beta = beta
        if not 0 <= beta < np.inf:
            raise StrategyError(f"beta is {beta}: give how much density counts, 0 or more.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n rows of highest utility. Raises `StrategyError` where features are no finite numbers."""
        keys = tie_keys(view, rng)
        scores, density = self.scores(view), mean_similarity(view, rng)
        utilities = scores * density**self.beta
        rows = top_n(utilities, n, np.arange(view.n), keys)
        why = self.reasons(view, rows, scores[rows], {"density": density[rows]})
        return Selection(rows, utilities[rows], tuple(why))


def mean_similarity(view: PoolView, rng: Generator) -> Reals:
    """(n,) the mean over the pool of 1 / (1 + distance to a row); a row is as similar to itself as can be, 1.

    Above 2,000 rows the mean over the others is estimated from a random sample of 2,000. What is left of rounding is
    dropped, so that copies have the same.
    """
    references = sampled(view, REFERENCES, rng)
    X = view.X(references)
    space = Space.around(X)
    points = space.points(X)
    sums, others, marks = np.empty(view.n), np.full(view.n, references.size), landmarks(points)
    for part in row_steps(view.n, references.size, row_width(points), numbers=4 * CACHE_NUMBERS):
        here = view.order[part]
        sums[here] = _similarity(squared_distances(space.points(view.X(here)), marks)).sum(axis=1)
    sums[references] -= 1
    others[references] -= 1
    mean = (1 + (view.n - 1) * sums / np.maximum(others, 1)) / view.n
    result: Reals = mean.astype(np.float32).astype(np.float64)
    return result


def _similarity(distance: Reals) -> Reals:
    """1 / (1 + distance) of squared distances."""
    similar: Reals = np.sqrt(distance)
    similar += 1
    return np.divide(1, similar, out=similar)
