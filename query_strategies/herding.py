"""Choices that cover the pool: every row should be like some row that has a label.

All of them maximise one sum: over reference rows x, weight of x times how like x is to the most similar row that has a
label. They add the row that adds most, again and again, and differ in what is like and in what a row weighs. What a row
adds never grows while others are chosen, so earlier figures are upper bounds, and few rows have to be looked at again
(lazy greedy; Minoux 1978). The sum that is reached is at least 1 - 1/e of the highest one (Nemhauser, Wolsey and Fisher
1978).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import PoolStrategy, Selection, TieKeys, tie_keys
from query_strategies.geometry import (
    CACHE_NUMBERS,
    Reals,
    Space,
    landmarks,
    nearest_of,
    row_steps,
    sampled,
    seed_centres,
    settle,
    squared_distances,
    squared_lengths,
    unlike_first,
)
from query_strategies.pool import PoolView, Rows, StrategyError
from query_strategies.rows import Matrix
from query_strategies.uncertainty import Margin

CANDIDATES = 5_000
"""Rows that can be chosen; of more, a random sample of this size is drawn, or of ten rows for each choice."""

MAX_CANDIDATES = 20_000
"""Rows of this sample at most."""

REFERENCES = 2_000
"""Rows that are to be covered; of more candidates, a random sample of this size stands for them."""

MAX_PICKS = 2_000
"""Rows that are chosen by what they add at most; the rest of a larger batch is drawn at random."""

FIRST_LOOK = 64
"""Rows whose gain is worked out again at first, when the next row is looked for; twice as many at each further look."""

TIED = 1e-5
"""Gains that differ by a smaller share are equal: they are sums of float32 numbers."""

NOTHING = 1e-9
"""Gains below this share of the mean weight are rounding."""

HALF = 0.5
"""The width of a similarity as a share of the mean distance between two rows. Below 0.4 a row covers little but itself;
between 0.4 and 1 the best share differs from pool to pool, and none is far behind."""

Singles = NDArray[np.float32]
Similarity: TypeAlias = Callable[[Reals], NDArray[Any]]
"""Squared distances → how like the rows are: 1 for copies, less the further apart, never below 0."""


def n_candidates(n: int) -> int:
    """Rows of which n can be chosen, at most."""
    return min(max(CANDIDATES, 10 * n), MAX_CANDIDATES)


class Herding(PoolStrategy):
    """Adds the row that raises the covered weight of the reference rows most, until there are n.

    A subclass says what is like (`similarity`) and, unless all rows weigh the same, what a row weighs (`weights`).
    Labelled and pending rows cover what is like them from the start. Utility: what the row added, as a mean over the
    reference rows. Above 5,000 rows a random sample of them can be chosen: 5,000, or 10 · n where that is more, and
    20,000 at most. Above 2,000, a random sample of these is what is covered. Time and memory therefore do not grow with
    the pool: a table of 5,000 x 2,000 float32 numbers (40 MB), four times that for large batches. Equal gains are
    ordered by tie keys. Where no row adds anything, and above 2,000 choices, the rest is drawn at random (utility 0),
    copies of chosen or covered rows last.
    """

    needs = frozenset({"X"})
    tasks = frozenset({"choice", "multi_label", "number"})

    @abstractmethod
    def similarity(
        self, view: PoolView, references: Matrix, known: Matrix | None, rng: Generator
    ) -> tuple[Similarity, Mapping[str, float]]:
        """What is like, and the lengths it goes by, for the record."""

    def weights(self, view: PoolView, rows: Rows) -> Reals:
        """(rows,) what it is worth to cover each of these rows."""
        return np.ones(rows.size)

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows: those that add most, then a random rest. Raises `StrategyError` where features are no numbers."""
        keys = tie_keys(view, rng)
        rows = sampled(view, n_candidates(n), rng)
        X = view.X(rows)
        space = Space.around(X)
        points, known = space.points(X), space.covered(view)
        standing = _some(rows.size, REFERENCES, rng)
        references = points[standing]
        like, lengths = self.similarity(view, references, known, rng)
        ground = Ground(
            similarities(points, references, like),
            self.weights(view, rows[standing]).astype(np.float32),
            like(nearest_of(references, known)[1]).astype(np.float32),
        )
        picks, gains, covered = ground.covered_by(min(n, MAX_PICKS), lambda positions: keys(rows[positions]))
        why: list[Mapping[str, Any]] = [
            {"gain": float(gain), "coverage": float(share), **lengths}
            for gain, share in zip(gains, covered, strict=True)
        ]
        chosen, rest = rows[picks], n - picks.size
        if rest:
            chosen = np.concatenate([chosen, unlike_first(view, space, chosen, known, keys)[:rest]])
            gains = np.concatenate([gains, np.zeros(rest)])
            why += [{"gain": 0.0, "drawn": "at random, no row added anything"}] * rest
        return Selection(chosen, gains, tuple(why))


@dataclass(frozen=True, slots=True)
class Ground:
    """What can be covered: (candidates, references) similarities, and of each reference its weight and its cover.

    The cover, `reached`, is the similarity to the most similar row that is labelled or pending; 0 where there is none.
    """

    similar: Singles
    weights: Singles
    reached: Singles

    def covered_by(self, n: int, keys: TieKeys) -> tuple[Rows, Reals, Reals]:
        """At most n candidates by what they add, most first; what each one added, and the coverage after it.

        Both are means over the references. It ends where no candidate adds anything. `keys` orders equal gains.
        """
        reached = self.reached.copy()
        bounds = self._gains(np.arange(len(self.similar)), reached)
        nothing = NOTHING * float(self.weights.mean())
        picks: list[int] = []
        gains: list[float] = []
        coverage: list[float] = []
        while len(picks) < n:
            best = self._next(bounds, reached, keys)
            if bounds[best] <= nothing:
                break
            picks.append(best)
            gains.append(float(bounds[best]))
            np.maximum(reached, self.similar[best], out=reached)
            bounds[best] = -1
            coverage.append(float(self.weights @ reached) / len(reached))
        return np.array(picks, dtype=np.int64), np.minimum.accumulate(gains), np.array(coverage)

    def _next(self, bounds: Reals, reached: Singles, keys: TieKeys) -> int:
        """The candidate that adds most now. `bounds` are what each one added at some earlier time, and are renewed for
        every candidate that could be the best."""
        fresh = np.zeros(bounds.size, dtype=bool)
        look, best = FIRST_LOOK, 0.0
        while True:
            hopeful = np.flatnonzero(~fresh & (bounds > 0) & (bounds >= best * (1 - TIED)))
            if not hopeful.size:
                break
            if hopeful.size > look:
                hopeful = hopeful[np.argpartition(-bounds[hopeful], look)[:look]]
            bounds[hopeful] = self._gains(hopeful, reached)
            fresh[hopeful] = True
            best = max(best, float(bounds[hopeful].max()))
            look *= 2
        tied = np.flatnonzero(bounds >= best * (1 - TIED))
        return int(tied[keys(tied).argmin()])

    def _gains(self, candidates: Rows, reached: Singles) -> Reals:
        """(candidates,) what each one would add to the mean."""
        gains = np.empty(candidates.size)
        for part in row_steps(candidates.size, reached.size, numbers=CACHE_NUMBERS):
            more = self.similar[candidates[part]] - reached
            gains[part] = np.maximum(more, 0, out=more) @ self.weights
        return gains / reached.size


def similarities(points: Matrix, references: Matrix, like: Similarity) -> Singles:
    """(points, references) how like they are."""
    result: Singles = np.empty((points.shape[0], references.shape[0]), dtype=np.float32)
    lengths, marks = squared_lengths(points), landmarks(references)
    for part in marks.steps(points.shape[0]):
        result[part] = like(squared_distances(points[part], marks, lengths[part]))
    return result


def _some(n: int, size: int, rng: Generator) -> Rows:
    """All of n positions, or a random `size` of them, ascending."""
    return np.sort(rng.choice(n, size=size, replace=False)) if n > size else np.arange(n)


def mean_distance(points: Matrix) -> float:
    """The mean distance between two different rows of points; 0 where all are copies of one."""
    n, marks = points.shape[0], landmarks(points)
    total: float = sum(float(np.sqrt(squared_distances(points[part], marks)).sum()) for part in row_steps(n, n))
    return float(total / max(1, n * (n - 1)))


def distance_to_nearest(points: Matrix) -> float:
    """The median distance from a row to the nearest one that is no copy of it; 0 where all are copies of one."""
    n, marks = points.shape[0], landmarks(points)
    nearest = np.full(n, np.inf)
    for part in marks.steps(n):
        between = squared_distances(points[part], marks)
        nearest[part] = between.min(axis=1, initial=np.inf, where=between > 0)
    return float(np.median(np.sqrt(nearest))) if np.isfinite(nearest).all() else 0.0


def bell(width: float) -> Similarity:
    """exp(-(distance / width)²); where the width is 0 all rows are copies, and any width will do."""
    scale = -1 / (width**2 or 1.0)
    return lambda squared: np.asarray(np.exp(squared * scale))


class MaxHerding(Herding):
    """Covers all rows alike: raises the mean over the pool of exp(-(distance to the nearest label / h)²).

    MaxHerding: Bae, Noh and Sutherland (2024), "Generalized coverage for more robust low-budget active learning", §4.
    h is `bandwidth` times the mean distance between two rows, so that the choice does not depend on the features' unit;
    distances are taken in the features as they are: scale them first.
    """

    name = "max_herding"

    def __init__(self, bandwidth: float = HALF, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if not 0 < bandwidth < np.inf:
            raise StrategyError(f"{self.name}: bandwidth is {bandwidth}; give a share of the mean distance above 0.")
        self.bandwidth = bandwidth

    def similarity(
        self, view: PoolView, references: Matrix, known: Matrix | None, rng: Generator
    ) -> tuple[Similarity, Mapping[str, float]]:
        width = self.bandwidth * mean_distance(references)
        return bell(width), {"bandwidth": width}


class UncertaintyHerding(Herding):
    """Experimental. Covers the rows of which the model is unsure: a row weighs 1 - (p₁ - p₂).

    UncertaintyHerding: Bae, Noh and Sutherland (2025), "Uncertainty herding: one active learning method for all label
    budgets", §3. Rows are like by exp(-(distance / h)²). h is wide while little is known, so that the pool is covered,
    and gets narrower until the row of the smallest margin is asked about: it is the median distance from a labelled or
    pending row to the nearest other one that is no copy. (The paper takes the smallest of these distances. It does as
    well, until two rows that are nearly the same have a label: then h is so narrow that nothing is covered.) With
    fewer than two such rows, h is half the mean distance between two rows of the pool. Where the model is sure of
    every row (it knows one class), all weigh the same.
    """

    name = "uncertainty_herding"
    needs = frozenset({"proba", "X"})
    tasks = frozenset({"choice"})

    def similarity(
        self, view: PoolView, references: Matrix, known: Matrix | None, rng: Generator
    ) -> tuple[Similarity, Mapping[str, float]]:
        width = 0.0 if known is None else distance_to_nearest(known[_some(known.shape[0], REFERENCES, rng)])
        width = width or HALF * mean_distance(references)
        return bell(width), {"bandwidth": width}

    def weights(self, view: PoolView, rows: Rows) -> Reals:
        unsure = Margin().utilities(view.predictions(rows))
        return np.asarray(unsure, dtype=np.float64) if unsure.any() else np.ones(rows.size)


class ProbCover(Herding):
    """Experimental. Covers as many rows as it can with balls of one radius around the chosen ones.

    ProbCover: Yehuda, Dekel, Hacohen and Weinshall (2022), "Active learning through a covering lens", §3. The radius
    is the largest one at which a share `purity` of the balls hold rows of one pseudo-label only; pseudo-labels are the
    clusters that k-means finds among the reference rows, `clusters` of them (None: as many as there are classes, and 2
    where these are not known). The choice depends on this radius more than on anything else: the paper's purity of
    0.95, found for features that a network had learned from the pool, gives balls that hold next to nothing where
    clusters touch, as in pixels; hence 0.6.
    """

    name = "prob_cover"

    def __init__(self, clusters: int | None = None, purity: float = 0.6, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if clusters is not None and clusters < 2:
            raise StrategyError(f"{self.name}: clusters is {clusters}; give at least 2, or None.")
        if not 0 < purity <= 1:
            raise StrategyError(f"{self.name}: purity is {purity}; give a share above 0, and at most 1.")
        self.clusters = clusters
        self.purity = purity

    def similarity(
        self, view: PoolView, references: Matrix, known: Matrix | None, rng: Generator
    ) -> tuple[Similarity, Mapping[str, float]]:
        classes = len(view.classes) if view.task == "choice" else 0
        squared_radius = pure_radius(references, self.clusters or max(2, classes), self.purity, rng)
        return lambda squared: (squared < squared_radius) | (squared == 0), {"radius": float(np.sqrt(squared_radius))}


def pure_radius(points: Matrix, n_clusters: int, purity: float, rng: Generator) -> float:
    """The squared radius at which a share `purity` of the open balls around points hold rows of one cluster only; no
    larger radius does. 0 where there is one cluster."""
    centres = settle(points, seed_centres(points, None, n_clusters, rng), None)
    owner, _ = nearest_of(points, centres)
    n, marks = points.shape[0], landmarks(points)
    nearest_other = np.empty(n)
    for part in row_steps(n, n):
        between = squared_distances(points[part], marks)
        between[owner[part, None] == owner] = np.inf
        nearest_other[part] = between.min(axis=1)
    impure = int((1 - purity) * n * (1 + 1e-12))
    squared_radius = float(np.sort(nearest_other)[impure])
    return squared_radius if np.isfinite(squared_radius) else 0.0
