"""Strategies around a strategy: noise against look-alikes, answers per second, sub-samples, a share of random rows.

A wrapper knows nothing of how its inner strategy chooses. It asks it about a part of the pool or for fewer rows, or
weighs the utility that it gives to every row. What the inner strategy needs, and the labels that it can choose for,
hold for the wrapper too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.base import PoolStrategy, ScoreStrategy, Selection, TieKeys, make, tie_keys, top_n
from query_strategies.geometry import Reals, sampled
from query_strategies.pool import Floats, PoolView, PredictionError, Rows, StrategyError

MAX_EXPONENT = 700.0
"""e to this power is still a float64."""


class Wrapper(PoolStrategy):
    """A strategy around another one, given as an object or by its name.

    `strategy` is the inner strategy, and `adds` what the wrapper needs beside the needs of the inner one.
    """

    adds: frozenset[str] = frozenset()
    needs = frozenset({"proba"})
    """Before one is made: with the default inner strategy."""

    def __init__(self, inner: str | PoolStrategy = "margin", *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.inner = inner
        self.strategy = make(inner) if isinstance(inner, str) else inner
        if not isinstance(self.strategy, PoolStrategy):
            raise StrategyError(f"{self.name} wraps a strategy or the name of one, and {inner!r} is neither.")
        self.needs = self.strategy.needs | self.adds
        self.tasks = self.strategy.tasks
        self.needs_members = self.strategy.needs_members


class Power(Wrapper):
    """Any score with noise: the n highest of ln u + G / beta, where u is the inner utility and G Gumbel noise.

    Kirsch et al. (2023), "Stochastic batch acquisition", the power distribution: rows are drawn one after the other
    without replacement, each with probability ~ u^beta, so a batch is not made of look-alikes of the best row. A large
    `beta` (above 0, default 1) means little noise. The noise is a hash of the row's id and of a salt drawn once per
    query; rows that share an id get the same. Utility: u · exp(G / beta), at most e⁷⁰⁰. Rows of utility 0 come last.
    One pass over the inner strategy's utilities; it must be a score.
    """

    name = "power"

    def __init__(self, inner: str | PoolStrategy = "margin", *, beta: float = 1.0, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self.score = _score(self.strategy, self.name)
        self.beta = beta
        if not 0 < beta < np.inf:
            raise StrategyError(f"beta is {beta}: give a number above 0; larger means less noise.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, drawn with probability ~ utility^beta. Raises `PredictionError` for a utility below 0."""
        noise_keys, keys = tie_keys(view, rng), tie_keys(view, rng)

        def noise(rows: Rows) -> Reals:
            return gumbel(noise_keys(rows)) / self.beta

        def weigh(rows: Rows, utilities: Reals) -> Reals:
            with np.errstate(divide="ignore"):
                weighed: Reals = np.log(utilities) + noise(rows)
            return weighed

        best = _best(self.score, view, weigh, n, keys)
        added = [{"noise": float(each)} for each in noise(best.rows)]
        return Selection(best.rows, np.exp(np.minimum(best.weighed, MAX_EXPONENT)), best.why(self.score, view, added))


class CostAware(Wrapper):
    """The inner utility per expected second, with the ratio of two costs capped.

    Costs are `view.cost` in seconds, clipped to [median / √cap, median · √cap], so that no row is favoured more than
    `cap` times (default 4; 1 leaves costs out) for being quick: expected times are estimates, and the quickest items
    are seldom the ones to learn from. Utility: u / clipped seconds. The inner strategy must be a score.
    """

    name = "cost_aware"
    adds = frozenset({"cost"})
    needs = frozenset({"proba", "cost"})

    def __init__(self, inner: str | PoolStrategy = "margin", *, cap: float = 4.0, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self.score = _score(self.strategy, self.name)
        self.cap = cap
        if not 1 <= cap < np.inf:
            raise StrategyError(f"cap is {cap}: give how many times a quick row may be favoured, 1 or more.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n rows of highest utility per second. A `StrategyError` for costs that are no finite times above 0."""
        given = _checked_cost(view)
        middle, reach = np.median(given), np.sqrt(self.cap)
        seconds = np.clip(given, middle / reach, middle * reach)
        best = _best(self.score, view, lambda rows, utilities: utilities / seconds[rows], n, tie_keys(view, rng))
        added = [{"expected_s": float(given[row]), "counted_s": float(seconds[row])} for row in best.rows]
        return Selection(best.rows, best.weighed, best.why(self.score, view, added))


class SubSample(Wrapper):
    """The inner strategy on a random part of the pool, for strategies that are slow on all of it.

    At most `size` rows (default 100,000; n where n is larger) are drawn with the same probability each. A pool of
    at most that many rows is left to the inner strategy as it is.
    """

    name = "sub_sample"

    def __init__(self, inner: str | PoolStrategy = "margin", *, size: int = 100_000, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self.size = size
        if size < 1:
            raise StrategyError(f"size is {size}: a sub-sample needs at least 1 row.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The inner strategy's choice among the sample; `why` says so where there is one."""
        if view.n <= max(n, self.size):
            return self.strategy.query(view, n, rng)
        sample = sampled(view, max(n, self.size), rng)
        return among(self.strategy, view, sample, n, rng)


class Mixture(Wrapper):
    """The inner strategy's choice with a share of random rows, against its blind spots.

    Every place of the batch is random with probability `share` (0 to 1, default 0.1), and the places are spread evenly:
    the first k rows hold k · share random ones, rounded up or down, on average exactly that many. Random rows are drawn
    first, from the whole pool, each with the probability that their `why` names: whatever the inner strategy wants,
    they are a random sample of it. They have the utility of the row of the inner strategy before them (of the first
    one where there is none; 1 in a batch without any).
    """

    name = "mixture"

    def __init__(self, inner: str | PoolStrategy = "margin", *, share: float = 0.1, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self.share = share
        check_share(share)

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, about share · n of them at random."""
        places = spread(n, self.share, float(rng.random()))
        wanted = int(places.sum())
        random = drawn(view, np.empty(0, dtype=np.int64), wanted, rng)
        rest: Rows = np.setdiff1d(np.arange(view.n), random)
        own = choice(self.strategy, view.subset(rest) if wanted else view, n - wanted, rng).of(rest)
        reason = {"drawn": "at random", "probability": wanted / view.n}
        return woven(own, random, (reason,) * wanted, places)


def among(strategy: PoolStrategy, view: PoolView, candidates: Rows, n: int, rng: Generator) -> Selection:
    """The strategy's choice of n among these rows of the pool; `why` says among how many of how many."""
    every = candidates.size == view.n
    chosen = strategy.query(view, n, rng) if every else strategy.query(view.subset(candidates), n, rng).of(candidates)
    among_them = {"candidates": int(candidates.size), "pool": view.n}
    return Selection(chosen.rows, chosen.utilities, tuple({**own, **among_them} for own in chosen.why))


def choice(strategy: PoolStrategy, view: PoolView, n: int, rng: Generator) -> Selection:
    """The strategy's choice of n rows, where n may be 0."""
    return strategy.query(view, n, rng) if n else Selection(np.empty(0, dtype=np.int64), np.empty(0), ())


def drawn(view: PoolView, besides: Rows, n: int, rng: Generator) -> Rows:
    """n rows other than those of `besides`, each with the same probability; all of them if they are fewer."""
    free = np.ones(view.n, dtype=bool)
    free[besides] = False
    rest = view.order[free[view.order]]
    chosen: Rows = rest[rng.choice(rest.size, size=min(n, rest.size), replace=False)]
    return chosen


def spread(n: int, share: float, phase: float) -> NDArray[np.bool_]:
    """(n,) places of which the first k hold floor(k · share + phase), for every k."""
    return np.diff(np.floor(share * np.arange(n + 1) + phase)) > 0


def woven(own: Selection, rows: Rows, why: Sequence[Mapping[str, Any]], places: NDArray[np.bool_]) -> Selection:
    """A choice with other rows at these places, each with the utility of the row of the choice before it."""
    both = np.empty(places.size, dtype=np.int64)
    both[places], both[~places] = rows, own.rows
    before = np.maximum(np.cumsum(~places) - 1, 0)
    utilities = own.utilities[before] if len(own) else np.ones(places.size)
    others, chosen = iter(why), iter(own.why)
    return Selection(both, utilities, tuple(next(others if placed else chosen) for placed in places))


def check_share(share: float) -> None:
    """A `StrategyError` for a share that is not from 0 to 1."""
    if not 0 <= share <= 1:
        raise StrategyError(f"share is {share}: give a share of the batch, from 0 to 1.")


def gumbel(keys: NDArray[np.uint64]) -> Reals:
    """Standard Gumbel noise -ln(-ln U) from 64 random bits each; always finite."""
    uniform = ((keys >> np.uint64(12)) + 0.5) * 2.0**-52
    noise: Reals = -np.log(-np.log(uniform))
    return noise


def _score(strategy: PoolStrategy, name: str) -> ScoreStrategy:
    if not isinstance(strategy, ScoreStrategy):
        raise StrategyError(
            f"{name} weighs the utility of every row, and {strategy.name} works out a batch as a whole: "
            "wrap a score, such as margin, entropy or kl_mean."
        )
    return strategy


def _checked_cost(view: PoolView) -> Reals:
    cost = np.asarray(view.cost)
    if cost.shape != (view.n,):
        raise StrategyError(f"costs have shape {cost.shape}, and the pool has {view.n} rows: give one cost per row.")
    wrong = np.flatnonzero(~((cost > 0) & (cost < np.inf)))
    if wrong.size:
        raise StrategyError(f"the cost of row {wrong[0]} is {cost[wrong[0]]} seconds: give a finite time above 0.")
    return cost


@dataclass(frozen=True, slots=True)
class _Weighed:
    """Rows with their weighed utility, their inner utility, and the predictions (members, rows, ...) behind it."""

    rows: Rows
    weighed: Reals
    utilities: Reals
    predictions: Floats

    def at(self, positions: Rows) -> _Weighed:
        return _Weighed(
            self.rows[positions], self.weighed[positions], self.utilities[positions], self.predictions[:, positions]
        )

    def top(self, n: int, keys: TieKeys) -> _Weighed:
        return self.at(top_n(self.weighed, n, self.rows, keys))

    def joined(self, other: _Weighed) -> _Weighed:
        return _Weighed(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.weighed, other.weighed]),
            np.concatenate([self.utilities, other.utilities]),
            np.concatenate([self.predictions, other.predictions], axis=1),
        )

    def why(
        self, score: ScoreStrategy, view: PoolView, added: Sequence[Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], ...]:
        """What the inner score says of every row, its utility, and what the wrapper adds."""
        return tuple(
            {**score.explain(self.predictions[:, i], float(utility), view), "utility": float(utility), **more}
            for i, (utility, more) in enumerate(zip(self.utilities, added, strict=True))
        )


Weigh = Callable[[Rows, Reals], Reals]


def _best(score: ScoreStrategy, view: PoolView, weigh: Weigh, n: int, keys: TieKeys) -> _Weighed:
    """The n rows of highest weighed utility, best first, in one pass over the blocks."""
    blocks = _weighed_blocks(score, view, weigh)
    best = next(blocks).top(n, keys)
    for block in blocks:
        if best.rows.size == n:
            block = block.at(np.flatnonzero(block.weighed >= best.weighed[-1]))
        if block.rows.size:
            best = best.joined(block.top(n, keys)).top(n, keys)
    return best


def _weighed_blocks(score: ScoreStrategy, view: PoolView, weigh: Weigh) -> Iterator[_Weighed]:
    for rows, given, predictions in score.scored(view):
        utilities = given.astype(np.float64)
        wrong = np.flatnonzero(~(utilities >= 0))
        if wrong.size:
            raise PredictionError(
                f"{score.name} gives row {rows[wrong[0]]} the utility {utilities[wrong[0]]}: it must be 0 or more."
            )
        yield _Weighed(rows, weigh(rows, utilities), utilities, predictions)
