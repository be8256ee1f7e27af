"""Choices where the answer is a number: where members differ, and rows far from what is known, in X, in y or in both.

A prediction is one number per member; the members' mean stands for the model. A model that knows its own standard
deviation, such as a Gaussian process, is two members, mean - s and mean + s: their deviation is s again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import Floor, PoolStrategy, ScoreStrategy, Selection, tie_keys
from query_strategies.diversity import KCenter
from query_strategies.geometry import (
    CACHE_NUMBERS,
    SPARSE_WIDTH,
    Reals,
    Space,
    as_numbers,
    landmarks,
    nearest_of,
    row_steps,
    sampled,
    squared_distances,
    squared_lengths,
)
from query_strategies.pool import Floats, PoolView, Rows, StrategyError
from query_strategies.rows import Matrix, is_sparse
from query_strategies.uncertainty import added

CHUNK = 1_024
"""Rows that are compared with the newest picks at a time."""

CENTRE_SAMPLE = 20_000
"""Rows whose mean is the origin in which distances are taken."""


def mean_of(predictions: Floats) -> Reals:
    """(rows,) the mean of the members of predictions (members, rows)."""
    return added(predictions.astype(np.float64)) / len(predictions)


class Spread(ScoreStrategy):
    """Utility: the standard deviation of the members' predictions (divided by their number, not by one less).

    Query by committee for numbers: Krogh and Vedelsby (1995), "Neural network ensembles, cross validation, and active
    learning"; Burbidge, Rowland and King (2007). For a Gaussian process it is the predictive standard deviation. Where
    all members agree, or nothing was fitted, all rows tie.
    """

    name = "spread"
    tasks = frozenset({"number"})
    needs_members = 2

    def utilities(self, predictions: Floats) -> Floats:
        mean = mean_of(predictions)
        return np.sqrt(mean_of((predictions - mean) ** 2))

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {"predicted": float(predictions.mean()), "spread": utility}


class ModelChange(ScoreStrategy):
    """Utility: mean |f(x) - fₖ(x)| over the members fₖ, times the length of x.

    Expected model change: Cai, Zhang and Zhou (2013), "Maximizing expected model change for active learning in
    regression", §3: the length of the step that stochastic gradient descent on the squared error would take for the
    row if the answer was what a member predicts. This is so for models that are linear in x; for others it is a rule of
    thumb. f is the members' mean; in the paper, a model fitted on all labels. x is the row of X as it is, not what a
    pipeline makes of it: scale it first. With `intercept` it is the row with a 1 added, since a linear model with an
    intercept is one with a feature that is always 1; without, a row of zeros has utility 0. Rows are rated one by one.
    Where all members agree, or nothing was fitted, all rows tie. One pass, O(members + d) for a row.
    """

    name = "model_change"
    needs = frozenset({"proba", "X"})
    tasks = frozenset({"number"})
    needs_members = 2

    def __init__(self, *, intercept: bool = True, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.intercept = intercept

    def utilities(self, predictions: Floats) -> Floats:
        """(rows,) the mean |f(x) - fₖ(x)|, which is the utility of rows of length 1."""
        return mean_of(np.abs(predictions - mean_of(predictions)))

    def scored(self, view: PoolView, floor: Floor | None = None) -> Iterator[tuple[Rows, Floats, Floats]]:
        for rows, utilities, predictions in super().scored(view):
            yield rows, utilities * self._lengths(view, rows), predictions

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        differing = float(self.utilities(predictions[:, None])[0])
        return {"predicted": float(predictions.mean()), "differing": differing, "model_change": utility}

    def _lengths(self, view: PoolView, rows: Rows) -> Reals:
        squares = np.empty(rows.size)
        for part in row_steps(rows.size, _width(view)):
            squares[part] = squared_lengths(as_numbers(view.X(rows[part])))
        return np.sqrt(squares + self.intercept)


class GreedyX(KCenter):
    """The choice of `k_center`, by the name that it has for numbers: it looks at X alone.

    GSx: Wu, Lin and Huang (2019), "Active learning for regression using greedy sampling", §2. Utility, options, ties
    and cost are those of `KCenter`.
    """

    name = "greedy_x"
    tasks = frozenset({"number"})


class _Greedy(PoolStrategy):
    """The row that is farthest from all that is known, again and again; what was picked is known by its prediction.

    Distances are compared as float32, so that rounding does not choose between rows that are equally far.
    """

    tasks = frozenset({"number"})

    @abstractmethod
    def extend(self, batch: _Batch) -> None:
        """Picks rows, as long as there is one that is preferred to others."""

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, the farthest first; those that are not far from anything known come last, in a random order."""
        batch = _Batch(view, n, rng, "X" in self.needs)
        self.extend(batch)
        return batch.selection()


class GreedyY(_Greedy):
    """Utility: the distance of the predicted value to the nearest known one: labels, and predictions for picked rows.

    GSy: Wu, Lin and Huang (2019), "Active learning for regression using greedy sampling", §3: spreads the answers over
    the range of y. Pending rows count with what is predicted for them, where there is a model that can be asked (behind
    modAL's door there is none). Where nothing is known, the row nearest to the mean prediction is first, with the
    utility of the second. Rows whose prediction is known already come last, in a random order, with utility 0.
    O(n log L) for L known values and at most O(n) for each pick; memory O(n).
    """

    name = "greedy_y"
    needs = frozenset({"proba", "labels"})

    def extend(self, batch: _Batch) -> None:
        batch.start(_in_y)
        batch.go_on(_in_y)


class GreedyXY(_Greedy):
    """Utility: the smallest product, over all known rows, of the distance in X and the distance in y.

    iGS: Wu, Lin and Huang (2019), "Active learning for regression using greedy sampling", §4: min over the known rows
    of d_x · d_y, which is not the product of the two smallest. Known are the labelled rows, and pending and picked ones
    with what is predicted for them, as for `greedy_y`. Where nothing is known, the row nearest to the mean row is
    first, as for `greedy_x`, with the utility of the second. Where all products are 0, as with a model that predicts
    the same for all rows, the rest is the farthest in X, with utility 0, and copies of known rows last. Scale X first;
    the scale of y does not matter. O(n d) for each known row and at most that for each pick; memory O(n).
    """

    name = "greedy_xy"
    needs = frozenset({"proba", "X"})

    def extend(self, batch: _Batch) -> None:
        batch.start(_in_x)
        batch.go_on(_in_both)
        batch.go_on(_in_x, drawn="farthest in X: all products are 0")


@dataclass(frozen=True, slots=True)
class _Places:
    """Where rows are: `points` (n, d) in X, None for `greedy_y`, and `values` (n,) in y."""

    points: Matrix
    values: Reals


Reach = Callable[[_Places, _Places], Reals]
"""(rows,) how far every row is from the nearest of others."""


def _in_x(places: _Places, others: _Places) -> Reals:
    distance: Reals = np.sqrt(nearest_of(places.points, others.points)[1])
    return distance


def _in_y(places: _Places, others: _Places) -> Reals:
    known = np.sort(others.values)
    above = np.searchsorted(known, places.values)
    lower, higher = known[np.maximum(above - 1, 0)], known[np.minimum(above, known.size - 1)]
    distance: Reals = np.minimum(np.abs(places.values - lower), np.abs(places.values - higher))
    return distance


def _in_both(places: _Places, others: _Places) -> Reals:
    squares, marks = np.empty(places.values.size), landmarks(others.points)
    for part in row_steps(squares.size, others.values.size, numbers=CACHE_NUMBERS):
        products = squared_distances(places.points[part], marks)
        products *= (places.values[part, None] - others.values) ** 2
        squares[part] = products.min(axis=1)
    return np.sqrt(squares)


class _Batch:
    """The picks of one query, and how to go on. The pool is seen as places, by position in the order of ids."""

    def __init__(self, view: PoolView, n: int, rng: Generator, in_x: bool) -> None:
        self.view = view
        self.n = n
        self.keys = tie_keys(view, rng)
        self.values = _predicted(view)
        self.space: Space | None = None
        self.centre = _Places(None, np.array([self.values.mean()]))
        if in_x:
            sample = view.X(sampled(view, CENTRE_SAMPLE, rng))
            self.space = Space.around(sample)
            mean = np.asarray(self.space.points(sample).mean(axis=0)).reshape(1, -1)
            self.centre = _Places(mean, self.centre.values)
        points = self.space.points if self.space else lambda X: None
        self.known = [_Places(points(X), values) for X, values in _known(view)]
        self.picks: list[int] = []
        self.utilities: list[float] = []
        self.why: list[Mapping[str, Any]] = []

    def start(self, reach: Reach) -> None:
        """Picks the position nearest to the centre of the pool, unless something is known."""
        if not self.known:
            distance = self._reached(reach, [self.centre])
            self._pick(np.flatnonzero(distance == distance.min()), start="nearest to the mean of the pool")

    def go_on(self, reach: Reach, **why: str) -> None:
        """Picks the farthest position, which is known then, and so on, down to distance 0.

        Distances never grow: a chunk of positions is compared with new picks only where it seems to hold the farthest
        position, and all others wait. What is picked for another reason (`why`) has utility 0.
        """
        if len(self.utilities) == self.n:
            return
        distance = self._reached(reach, [*self.known, *([self._at(self.picks)] if self.picks else [])])
        distance[self.picks] = -1
        self.utilities += [max(float(distance.max()), 0.0)] * (len(self.picks) - len(self.utilities))
        chunks = [slice(start, start + CHUNK) for start in range(0, self.view.n, CHUNK)]
        farthest = np.array([distance[part].max() for part in chunks])
        compared = np.full(len(chunks), len(self.picks))
        while len(self.picks) < self.n and farthest.max() > 0:
            leading = np.flatnonzero(farthest == farthest.max())
            behind = leading[compared[leading] < len(self.picks)]
            if behind.size:
                chunk = int(behind[0])
                news = reach(self._at(chunks[chunk]), self._at(self.picks[compared[chunk] :]))
                distance[chunks[chunk]] = np.minimum(distance[chunks[chunk]], news)
                compared[chunk] = len(self.picks)
            else:
                tied = [c * CHUNK + np.flatnonzero(distance[chunks[c]] == farthest[c]) for c in leading]
                self.utilities.append(0.0 if why else float(farthest[leading[0]]))
                pick = self._pick(np.concatenate(tied), **{"distance": self.utilities[-1], **why})
                chunk, distance[pick] = pick // CHUNK, -1
            farthest[chunk] = distance[chunks[chunk]].max()

    def selection(self) -> Selection:
        """The picks, filled up with other rows in a random order."""
        rows = self.view.order[self.picks]
        rest = self.n - rows.size
        if rest:
            others = np.setdiff1d(np.arange(self.view.n), rows)
            rows = np.concatenate([rows, others[np.argsort(self.keys(others), kind="stable")[:rest]]])
        drawn: Mapping[str, Any] = {"distance": 0.0, "drawn": "at random: nothing is far from what is known"}
        return Selection(rows, np.array(self.utilities + [0.0] * rest), (*self.why, *(drawn,) * rest))

    def _pick(self, tied: Rows, **why: Any) -> int:
        pick = int(tied[self.keys(self.view.order[tied]).argmin()])
        self.picks.append(pick)
        self.why.append({**why, "predicted": float(self.values[pick])})
        return pick

    def _at(self, where: slice | list[int]) -> _Places:
        points = None if self.space is None else self.space.points(self.view.X(self.view.order[where]))
        return _Places(points, self.values[where])

    def _reached(self, reach: Reach, others: list[_Places]) -> NDArray[np.float32]:
        """(n,) how far every position is from the nearest of all others."""
        distance = np.full(self.view.n, np.inf, dtype=np.float32)
        width = 1 if self.space is None else _width(self.view)
        for part in row_steps(self.view.n, width, numbers=CACHE_NUMBERS):
            places = self._at(part)
            for known in others:
                distance[part] = np.minimum(distance[part], reach(places, known))
        return distance


def _width(view: PoolView) -> int:
    """How many numbers a row of X counts as."""
    row = view.X(view.order[:1])
    return SPARSE_WIDTH if is_sparse(row) else int(row[0].size)


def _predicted(view: PoolView) -> Reals:
    """(n,) the mean predictions in the order of ids."""
    values = np.empty(view.n)
    for rows, predictions in view.blocks():
        values[rows] = mean_of(predictions)
    return values[view.order]


def _known(view: PoolView) -> list[tuple[Matrix, Reals]]:
    """The labelled rows with their labels, and the pending ones with what is predicted for them."""
    known = []
    if view.labelled_X is not None and view.labelled_X.shape[0]:
        known.append((view.labelled_X, _labels(view)))
    expected = view.predictions_elsewhere(view.pending_X)
    if expected is not None:
        known.append((view.pending_X, mean_of(expected)))
    return known


def _labels(view: PoolView) -> Reals:
    """(n_labelled,) the numbers that were given as labels."""
    labels, n = np.asarray(view.labelled_y), view.labelled_X.shape[0]
    if labels.dtype.kind not in "biuf" or labels.size != n or not np.isfinite(labels).all():
        raise StrategyError(
            f"labelled_y is {labels.dtype} of shape {labels.shape}: give one finite number for each of the {n} "
            "labelled rows."
        )
    return labels.reshape(-1).astype(np.float64)
