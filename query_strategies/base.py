"""The contract between a pool and the strategies that choose from it.

A strategy gets a read-only `PoolView`, a number n and a random generator, and returns a `Selection`: n different rows,
best first, with their utilities (higher is always more wanted) and what was computed for each of them. The same view, n
and generator state give the same answer, whatever the order of the rows, the size of the blocks or the sharding.

Two classes carry what all strategies share. `PoolStrategy` checks the query and makes every strategy usable by modAL;
`ScoreStrategy` turns a utility per row into a selection, one block at a time. Nothing here knows of loops, labels by
people, or files; errors are `ValueError`s.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from query_strategies.modal import labelled_count, learner_view
from query_strategies.pool import (
    BLOCK_SIZE,
    Floats,
    MissingNeedError,
    PoolTooSmallError,
    PoolView,
    PredictionError,
    Rows,
    StrategyError,
)
from query_strategies.rows import Ids, Matrix, mix

__all__ = [
    "BLOCK_SIZE",
    "STRATEGIES",
    "MissingNeedError",
    "PoolStrategy",
    "PoolTooSmallError",
    "PoolView",
    "PredictionError",
    "Random",
    "ScoreStrategy",
    "Selection",
    "Strategy",
    "StrategyError",
    "make",
    "tie_keys",
    "top_n",
]

NEEDS: Mapping[str, str] = {
    "proba": "predictions of a model (predict=..., or PoolView.from_predictions)",
    "votes": "the votes of a committee (predict=..., PoolView.from_predictions or PoolView.from_votes)",
    "X": "the feature matrix (X=...)",
    "labels": "the labelled rows and their labels (labelled_X=..., labelled_y=...)",
    "refit": "a way to train on more labels (fit_predict=...)",
    "cost": "expected seconds per item (cost=...)",
}

STRATEGIES: dict[str, type[PoolStrategy]] = {}
"""Every strategy by its name; the package fills it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a strategy chose: `rows` (n,) in the caller's order of the pool, best first, all different;
    `utilities` (n,) float64, never increasing; `why` (n,) one small record per row of what the strategy computed
    for it, made of strings, numbers, lists and dicts."""

    rows: Rows
    utilities: NDArray[np.float64]
    why: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        n = len(self.rows)
        if len(self.utilities) != n or len(self.why) != n:
            raise StrategyError(
                f"a selection of {n} rows has {len(self.utilities)} utilities and {len(self.why)} reasons."
            )
        if np.unique(self.rows).size != n:
            raise StrategyError(f"a selection of {n} rows has {np.unique(self.rows).size} different ones.")
        if np.any(np.diff(self.utilities) > 0):
            raise StrategyError("a selection must be best first: its utilities increase somewhere.")

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, rows: Rows) -> Selection:
        """The same choice from a pool of which this one's was the subset `rows`."""
        return Selection(rows[self.rows], self.utilities, self.why)


class Strategy(Protocol):
    """What the loop asks of a strategy: deterministic in (view, n, rng)."""

    @property
    def needs(self) -> frozenset[str]:
        """What of {"proba", "votes", "X", "labels", "refit", "cost"} it cannot do without."""
        ...

    def query(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n items whose labels are wanted most, best first.

        Raises a `ValueError` for n < 1, n above the size of the pool, a missing need, or predictions that are none.
        """
        ...


class PoolStrategy(ABC):
    """A strategy over a `PoolView` that modAL can call as well.

    A subclass gives `name`, `needs` and `choose`. As a modAL query strategy, `strategy(learner, X, n_instances=k)`
    is seeded by the constructor's `seed` and the number of labelled rows: another answer after every `teach`, the
    same answer to the same question.
    """

    name: ClassVar[str]
    needs: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset({"choice"})
    """The kinds of labels that it can choose for."""
    needs_members: int = 1
    """How many members a committee must have at least."""

    def __init__(self, *, seed: int = 0) -> None:
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise StrategyError(f"the seed of {self.name} is {seed!r}: give a whole number of at least 0.")
        self.seed = seed

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={getattr(self, key)!r}" for key in inspect.signature(type(self)).parameters)
        return f"{type(self).__name__}({options})"

    @abstractmethod
    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n best rows of a view that was found to have what this strategy needs, and at least n rows."""

    def query(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n best rows of the pool, best first. Errors as in `Strategy.query`."""
        if n < 1:
            raise StrategyError(f"{self.name}: {n} items were asked for; ask for at least 1.")
        if n > view.n:
            raise PoolTooSmallError(f"{self.name}: {n} items were asked for, and the pool has {view.n} left.")
        missing = sorted(self.needs - view.provides)
        if view.task not in self.tasks:
            raise StrategyError(
                f"{self.name} chooses for tasks of kind {', '.join(sorted(self.tasks))}, and this one is "
                f"{view.task}: use random, or a strategy for {view.task}."
            )
        if missing:
            raise MissingNeedError(f"{self.name} needs {', and '.join(NEEDS[need] for need in missing)}.")
        return self.choose(view, n, rng)

    def __call__(self, learner: Any, X: Matrix, n_instances: int = 1) -> tuple[Rows, NDArray[np.float64]]:
        """modAL's door: (indices into X, their utilities), best first, for a fitted or an unfitted learner.

        Before the learner is fitted every class is equally likely: strategies that score predictions then choose at
        random, seeded. X may be dense, scipy sparse, a data frame, or whatever the learner itself takes where
        the strategy needs no features.
        """
        rng = np.random.default_rng([self.seed, labelled_count(learner)])
        view = learner_view(learner, X, self.needs, self.tasks)
        selection = self.query(view, n_instances, rng)
        return selection.rows, selection.utilities


def make(name: str, **options: Any) -> PoolStrategy:
    """The strategy of this name, made with these options.

    Options may stand behind the name, and a strategy among them: `"mixture(margin, share=0.2)"`. Raises `StrategyError`
    for an unknown name or option, with the known ones and the closest, and for what cannot be read.

    >>> make("margin", seed=3), make("power(kl_mean, beta=2)").inner
    (Margin(seed=3), 'kl_mean')
    """
    written, arguments, given = _read(name)
    if written not in STRATEGIES:
        raise StrategyError(_unknown("strategy", written, STRATEGIES))
    known = list(inspect.signature(STRATEGIES[written]).parameters)
    if arguments and "inner" not in known:
        raise StrategyError(f'in "{name}": {written} wraps no other strategy; write its options as name=value.')
    named = {**dict.fromkeys(known[: len(arguments)], *arguments), **given, **options}
    for option in named:
        if option not in known:
            raise StrategyError(_unknown(f"option of {written}", option, known))
    try:
        return STRATEGIES[written](**named)
    except TypeError as error:
        raise StrategyError(f"{written} cannot be made with {named}: {error}.") from error


def _read(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """A name with its arguments and options; an argument that is a strategy stays a text."""
    if "(" not in text:
        return text, [], {}
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) > 1:
            raise ValueError("one strategy in parentheses, and options as name=value")
        options = {str(each.arg): _value(each.value) for each in call.keywords}
        return call.func.id, [_value(each) for each in call.args], options
    except (SyntaxError, ValueError) as error:
        raise StrategyError(f'cannot read the strategy "{text}": write it as "mixture(margin, share=0.2)".') from error


def _value(node: ast.expr) -> Any:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Call) else ast.literal_eval(node)


def _unknown(kind: str, name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    return f'unknown {kind} "{name}".{hint} Known: {", ".join(known)}.'


Floor = Callable[[], float]
"""The utility below which a row will not be chosen any more; it rises from block to block."""


class ScoreStrategy(PoolStrategy):
    """A strategy that gives every row a utility from its predictions alone, and takes the n highest.

    A subclass gives `utilities` and `explain`; one that needs "votes" gets votes in place of predictions. One pass over
    the blocks; only the n best rows so far are kept. Ties are broken by a hash of the item's id and a salt drawn once
    per query.
    """

    needs = frozenset({"proba"})

    @abstractmethod
    def utilities(self, predictions: NDArray[Any]) -> Floats:
        """(rows,) the utility of every row of a block of predictions, which are (members, rows, C) probabilities of
        a choice, (members, rows, L) of several labels, (members, rows) numbers, or votes, (members, rows) class codes;
        positive or 0."""

    def explain(self, predictions: NDArray[Any], utility: float, view: PoolView) -> Mapping[str, Any]:
        """What was computed for one chosen row, from its predictions (members, ...)."""
        return {self.name: utility}

    def scored(self, view: PoolView, floor: Floor | None = None) -> Iterator[tuple[Rows, Floats, NDArray[Any]]]:
        """(rows, utilities, predictions or votes), block by block.

        With `floor`, a row whose utility is below what that gives may have any lower one: it will not be chosen.
        """
        for rows, predictions in view.vote_blocks() if "votes" in self.needs else view.blocks():
            self._check_members(len(predictions))
            yield rows, self.utilities(predictions), predictions

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n rows of highest utility."""
        best = _Best(n, tie_keys(view, rng))
        for rows, utilities, predictions in self.scored(view, best.floor):
            best.add(rows, utilities, predictions)
        why = tuple(
            self.explain(best.predictions[:, i], float(utility), view) for i, utility in enumerate(best.utilities)
        )
        return Selection(best.rows, best.utilities, why)

    def _check_members(self, members: int) -> None:
        if members < self.needs_members:
            raise StrategyError(
                f"{self.name} compares the members of a committee: it needs at least {self.needs_members}, "
                f"and there is {members}; fit a committee, or use margin."
            )


class Random(PoolStrategy):
    """Every row with the same probability n / n_pool: the reference that any other strategy has to beat.

    Utilities are all 1; `why` holds the probability with which the row was taken.
    """

    name = "random"
    tasks = frozenset({"choice", "multi_label", "number"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, drawn without replacement in the order of ids."""
        rows = view.order[rng.choice(view.n, size=n, replace=False)]
        return Selection(rows, np.ones(n), ({"probability": n / view.n},) * n)


TieKeys = Callable[[Rows], Ids]


def tie_keys(view: PoolView, rng: Generator) -> TieKeys:
    """A function that gives rows their place in a tie: a hash of (a salt drawn now, the row's id).

    It depends on neither row order nor sharding, and is only computed for the rows that it is asked about.
    """
    salt = rng.integers(2**64, dtype=np.uint64)
    return lambda rows: mix(mix(view.ids_at(rows)) ^ salt)


def top_n(utilities: Floats, n: int, rows: Rows, keys: TieKeys) -> Rows:
    """Positions of the n highest utilities, best first; all positions if there are fewer than n.

    `keys(rows)` decides between equal utilities (lower first), and is computed only where it has to decide.
    """
    if n >= utilities.size:
        chosen: Rows = np.arange(utilities.size)
    else:
        cut = np.partition(utilities, utilities.size - n)[utilities.size - n]
        above, tied = np.flatnonzero(utilities > cut), np.flatnonzero(utilities == cut)
        room = n - above.size
        if tied.size > room:
            tied = tied[np.argpartition(keys(rows[tied]), room - 1)[:room]]
        chosen = np.concatenate([above, tied])
    in_order: Rows = chosen[np.lexsort((keys(rows[chosen]), -utilities[chosen]))]
    return in_order


class _Best:
    """The n best rows of all blocks seen so far, best first."""

    def __init__(self, n: int, keys: TieKeys) -> None:
        self.n = n
        self.keys = keys
        self.rows: Rows = np.empty(0, dtype=np.int64)
        self.utilities: NDArray[np.float64] = np.empty(0)
        self.predictions: NDArray[Any] = np.empty((1, 0, 0))

    def floor(self) -> float:
        """The utility that a row has to have at least to be among the n best so far."""
        return float(self.utilities[-1]) if self.rows.size == self.n else -np.inf

    def add(self, rows: Rows, utilities: Floats, predictions: NDArray[Any]) -> None:
        if np.isnan(utilities.max()):
            raise PredictionError(f"the utility of row {rows[np.isnan(utilities)][0]} is not a number.")
        hopeful = np.flatnonzero(utilities >= self.floor())
        if hopeful.size > self.n:
            hopeful = hopeful[top_n(utilities[hopeful], self.n, rows[hopeful], self.keys)]
        if hopeful.size:
            self._merge(rows[hopeful], utilities[hopeful].astype(np.float64), predictions[:, hopeful])

    def _merge(self, rows: Rows, utilities: NDArray[np.float64], predictions: NDArray[Any]) -> None:
        all_rows = np.concatenate([self.rows, rows])
        all_utilities = np.concatenate([self.utilities, utilities])
        kept = top_n(all_utilities, self.n, all_rows, self.keys)
        held = predictions if not self.rows.size else np.concatenate([self.predictions, predictions], axis=1)
        self.rows, self.utilities, self.predictions = all_rows[kept], all_utilities[kept], held[:, kept]


def top_classes(proba: Floats, classes: Sequence[Any], n: int = 2) -> list[Any]:
    """The n likeliest classes by one row of probabilities (C,), likeliest first: names, or column numbers."""
    columns = np.argsort(-proba, kind="stable")[:n]
    return [classes[column] if classes else int(column) for column in columns]
