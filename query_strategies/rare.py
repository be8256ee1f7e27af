"""Choices where some class is rare: to find its items, and to have enough of them to learn from.

Where one row in a hundred is of the wanted class, a random batch holds none of it, and a model that knows few of them
is sure of the wrong answer. What is here asks where the rare class is likely, or near what is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import Floor, PoolStrategy, ScoreStrategy, Selection, TieKeys, tie_keys, top_n
from query_strategies.geometry import Reals, Space, landmarks, sampled, squared_distances
from query_strategies.pool import Floats, PoolView, PredictionError, Rows, StrategyError
from query_strategies.rows import Matrix
from query_strategies.uncertainty import consensus
from query_strategies.wrappers import Wrapper, among, check_share, choice, drawn, spread, woven

START = 2_000
"""Rows that SEALS draws its first candidates from, as long as nothing is known."""


class MostLikelyPositive(ScoreStrategy):
    """Utility: the probability of the positive class, the mean of the members.

    What screening asks: find the few relevant items early, and let the model learn the rest from them (certainty
    sampling: Lewis and Gale 1994, §3; "max" in tools for reviews). `positive` names the class, or is the number of its
    column where classes have no names. By default it is the class with the fewest labels among those that have any (the
    last one of equal ones), and the last class where no label is known, as behind modAL's door. With one class, or
    without a model, all rows tie.
    """

    name = "most_likely_positive"

    def __init__(self, *, positive: str | int | None = None, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.positive = positive

    def utilities(self, predictions: Floats) -> Floats:
        """(rows,) the probability of the last class; `scored` knows which one is the positive."""
        return _likelihood(predictions, -1)

    def scored(self, view: PoolView, floor: Floor | None = None) -> Iterator[tuple[Rows, Floats, Floats]]:
        """(rows, probabilities of the positive class, predictions), block by block."""
        column = self._column(view)
        for rows, predictions in view.blocks():
            yield rows, _likelihood(predictions, column), predictions

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {"class": _class_name(view, self._column(view), predictions.shape[1]), "confidence": utility}

    def _column(self, view: PoolView) -> int:
        if self.positive is None:
            return _rarest_known(view)
        if not view.classes and not isinstance(self.positive, str):
            return self.positive
        if self.positive not in view.classes:
            known = ", ".join(map(str, view.classes)) or "none, they are numbered"
            raise StrategyError(f'{self.name}: there is no class "{self.positive}". Known: {known}.')
        return view.classes.index(self.positive)


class RareFloor(Wrapper):
    """A share of the batch for classes with few labels, the rest for the inner strategy.

    While some class has fewer than `floor` labels (default 5), a `share` of the places (0 to 1, default 0.2) goes to
    the rows most likely of these classes by the mean of the members. The classes take turns, the one with the fewest
    labels first (a seeded order of equal ones). They are `view.classes`, or the columns of the predictions. For a class
    that the model has never seen all rows tie at 0, and are drawn at random. The places are spread as in a mixture:
    about share · n, rounded up or down, with the utility of the row of the inner strategy before them; `why` says for
    which class. Two passes over the predictions. It guards against a forgotten class, and does not make margin better.
    """

    name = "rare_floor"
    adds = frozenset({"proba", "labels"})
    needs = frozenset({"proba", "labels"})

    def __init__(
        self, inner: str | PoolStrategy = "margin", *, share: float = 0.2, floor: int = 5, seed: int = 0
    ) -> None:
        super().__init__(inner, seed=seed)
        self.share = share
        self.floor = floor
        check_share(share)
        if floor < 1:
            raise StrategyError(f"floor is {floor}: give how many labels a class should have, 1 or more.")
        if "choice" not in self.tasks:
            raise StrategyError(f"{self.name} counts the labels of classes, and {self.strategy.name} chooses for none.")
        self.tasks = frozenset({"choice"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, some of them for classes with few labels as long as there are any."""
        counts = _label_counts(view)
        shuffled = rng.permutation(counts.size)
        rare = shuffled[np.argsort(counts[shuffled], kind="stable")][: np.count_nonzero(counts < self.floor)]
        places = spread(n, self.share if rare.size else 0.0, float(rng.random()))
        wanted, keys = int(places.sum()), tie_keys(view, rng)
        own = choice(self.strategy, view, n - wanted, rng)
        turns = rare[:wanted]
        found = _by_turns(_most_likely(view, turns, wanted, own.rows, keys), wanted)
        why = [
            {
                "class": _class_name(view, int(turns[turn]), counts.size),
                "confidence": confidence,
                "labels": int(counts[turns[turn]]),
                "drawn": "for a class with few labels",
            }
            for turn, _, confidence in found
        ]
        return woven(own, np.array([row for _, row, _ in found], dtype=np.int64), why, places)


class Seals(Wrapper):
    """The inner strategy among the neighbours of what is known, for rare classes in large pools.

    Coleman et al. (2022), "Similarity search for efficient active learning and search of rare concepts" (SEALS).
    Candidates are the `k` (default 100) nearest rows of every labelled and every pending row, exact and by the features
    as they are (scale them first), and `extra` (default 0) random ones. They grow with the labels, and the inner
    strategy predicts nothing else. Distances count in float32; of equally near rows those of lower id are taken. Where
    there are fewer candidates than n, the rest is drawn at random (utility 0); where nothing is known, the inner
    strategy chooses among 2,000 random rows, or n. Time n · known · d for the search, memory k · known.
    """

    name = "seals"
    adds = frozenset({"X"})
    needs = frozenset({"proba", "X"})

    def __init__(self, inner: str | PoolStrategy = "margin", *, k: int = 100, extra: int = 0, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self.k = k
        self.extra = extra
        if k < 1 or extra < 0:
            raise StrategyError(f"k is {k} and extra is {extra}: give at least 1 neighbour and 0 random rows.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows among the candidates, then a random rest. A `StrategyError` where features are no finite numbers."""
        candidates = self._candidates(view, n, rng)
        own = among(self.strategy, view, candidates, min(n, candidates.size), rng)
        rest = drawn(view, candidates, n - len(own), rng)
        reason = {"drawn": "at random, no candidate was left", "candidates": int(candidates.size), "pool": view.n}
        return Selection(
            np.concatenate([own.rows, rest]),
            np.concatenate([own.utilities, np.zeros(rest.size)]),
            own.why + (reason,) * rest.size,
        )

    def _candidates(self, view: PoolView, n: int, rng: Generator) -> Rows:
        space = Space.around(view.X(sampled(view, START, rng)))
        known = space.covered(view)
        if known is None:
            return sampled(view, max(n, START), rng)
        near = neighbours(view, space, known, self.k)
        inside = np.zeros(view.n, dtype=bool)
        inside[near] = True
        inside[drawn(view, near, self.extra, rng)] = True
        candidates: Rows = view.order[inside[view.order]]
        return candidates


def neighbours(view: PoolView, space: Space, known: Matrix, k: int) -> Rows:
    """The rows that are among the k nearest of any of the known points; of equally near ones those of lower id."""
    nearest, marks = _Nearest(known.shape[0], min(k, view.n)), landmarks(known)
    for part in marks.pool_steps(view.n):
        points = space.points(view.X(view.order[part]))
        nearest.add(part.start, squared_distances(points, marks).astype(np.float32))
    return view.order[np.unique(nearest.found())]


class _Nearest:
    """The places of the k nearest rows of each of m points, of all rows that were added so far, in order."""

    def __init__(self, m: int, k: int) -> None:
        self.k = k
        self.cut = np.full(m, np.inf, dtype=np.float32)
        """The k-th smallest distances when the rows were sifted last: what is not below them cannot enter."""
        self.owner = np.empty(0, dtype=np.int64)
        self.place = np.empty(0, dtype=np.int64)
        self.distance = np.empty(0, dtype=np.float32)
        self.waiting: list[tuple[Rows, Rows, NDArray[np.float32]]] = []

    def add(self, start: int, between: NDArray[np.float32]) -> None:
        """Distances (rows, m) of the rows at the places from `start` on."""
        near = between < self.cut
        if np.isinf(self.cut[0]) and len(between) > self.k:
            near &= between <= np.partition(between, self.k - 1, axis=0)[self.k - 1]
        entries = np.flatnonzero(near)
        place, owner = np.divmod(entries, self.cut.size)
        self.waiting.append((owner, place + start, between.ravel()[entries]))
        if sum(each[0].size for each in self.waiting) >= self.cut.size * self.k:
            self._sift()

    def found(self) -> Rows:
        self._sift()
        return self.place

    def _sift(self) -> None:
        parts = [(self.owner, self.place, self.distance), *self.waiting]
        owner, place, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
        in_order = np.lexsort((distance, owner))  # stable: of equally near rows the earlier one
        counts = np.bincount(owner, minlength=self.cut.size)
        first = np.cumsum(counts) - counts
        rank = np.arange(owner.size) - np.repeat(first, counts)
        kept = in_order[rank < self.k]
        self.owner, self.place, self.distance = owner[kept], place[kept], distance[kept]
        full = counts >= self.k
        self.cut[full] = distance[in_order[first[full] + self.k - 1]]
        self.waiting = []


def _likelihood(predictions: Floats, column: int) -> Floats:
    """(rows,) the mean probability of one class, from predictions (members, rows, C)."""
    if not -1 <= column < predictions.shape[2]:
        raise PredictionError(f"class {column} is asked for, and predictions have {predictions.shape[2]} columns.")
    return np.maximum(consensus(predictions[:, :, column]), 0)


def _class_name(view: PoolView, column: int, n_classes: int) -> Any:
    return (view.classes or range(n_classes))[column]


def _rarest_known(view: PoolView) -> int:
    """The class with the fewest labels among those that have any, the last of equal ones; -1 where there are none."""
    if view.labelled_y is None or not view.labelled_y.size:
        return -1
    counts = np.bincount(view.labelled_y)
    known = np.flatnonzero(counts)[::-1]
    return int(known[counts[known].argmin()])


def _label_counts(view: PoolView) -> NDArray[np.int64]:
    """(C,) how many labels each class has."""
    n_classes = len(view.classes) or view.predictions(view.order[:1]).shape[2]
    return np.bincount(np.asarray(view.labelled_y), minlength=n_classes)[:n_classes]


Ranked = list[tuple[Rows, Reals]]


def _most_likely(view: PoolView, columns: Rows, n: int, taken: Rows, keys: TieKeys) -> Ranked:
    """For each of these classes the n likeliest rows but the taken ones, likeliest first, with their probability."""
    best: Ranked = [(np.empty(0, dtype=np.int64), np.empty(0))] * columns.size
    for rows, predictions in view.blocks() if columns.size else ():
        free = np.flatnonzero(~np.isin(rows, taken))
        for turn, column in enumerate(columns):
            likely = _likelihood(predictions, int(column))[free].astype(np.float64)
            first = top_n(likely, n, rows[free], keys)
            all_rows = np.concatenate([best[turn][0], rows[free][first]])
            all_likely = np.concatenate([best[turn][1], likely[first]])
            kept = top_n(all_likely, n, all_rows, keys)
            best[turn] = all_rows[kept], all_likely[kept]
    return best


def _by_turns(ranked: Ranked, n: int) -> list[tuple[int, int, float]]:
    """n different rows: each list in turn gives its best one that is not taken yet: (list, row, probability)."""
    waiting = [iter(zip(rows.tolist(), likely.tolist(), strict=True)) for rows, likely in ranked]
    taken: set[int] = set()
    found: list[tuple[int, int, float]] = []
    while len(found) < n:
        turn = len(found) % len(waiting)
        row, likely = next(pair for pair in waiting[turn] if pair[0] not in taken)
        taken.add(row)
        found.append((turn, row, likely))
    return found
