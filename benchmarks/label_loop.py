"""The common loop of the label-efficiency benchmark: one curve, whoever chooses the batches.

A chooser is a function of where a curve stands: a strategy of ours by its name, or a peer's. Everything else (the
split, the first random batch, the model, the committee, what is measured) is the same for all of them.
"""

from __future__ import annotations

import hashlib
import inspect
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import label_sets
import numpy as np
from label_models import Predict, fitted, measured
from label_peers import STRATEGIES as PEERS
from label_peers import Peer
from label_report import OURS
from label_sets import DataSet, Reals, Rows, Split

from active_loop.learner import RBFMachines
from active_loop.search import Found, Lessons, search
from active_loop.search import fitted as searched
from active_loop.settings import METRICS, ModelSettings
from query_strategies import PoolStrategy, PoolView, make

ROOT = Path(__file__).resolve().parents[1]

MEMBERS = 5
"""Members of a committee, for the strategies that compare members; the model that is scored stays a single one."""


@dataclass(slots=True)
class State:
    """Where a curve stands: the split, the labelled rows of the pool in their order, and the model's predictions.

    With the model "auto" it is the one that a search of the loop's `found`, again whenever there are a quarter more
    labels.
    """

    data_set: DataSet
    split: Split
    seed: int
    labelled: Rows
    predict: Predict | None = None
    found: Found | None = None

    @property
    def unlabelled(self) -> Rows:
        """The rows of the pool that have no label yet, ascending."""
        return np.setdiff1d(np.arange(len(self.split.X)), self.labelled)

    def committee(self) -> Predict:
        """The predictions of bootstrap members, trained on what the single model was trained on."""
        X, y = self.split.X[self.labelled], self.split.y[self.labelled]
        return fitted(self.data_set, X, y, self.split.n_outputs, self.seed, MEMBERS)


AUTO = ModelSettings(use="auto")

NO_ROWS: Rows = np.empty(0, dtype=np.int64)

Choose = Callable[[State, int, int], Rows]
"""(state, number of the batch, its size) → rows of the pool. The first batch has number 0."""


def of_ours(name: str) -> Choose:
    """A strategy of the registry as a chooser: `name`, or `start+name` for another start than its own or k-means."""
    start, _, main = name.rpartition("+")
    strategy = make(main)
    first = make(start or ("kmeans" if starts_with_kmeans(strategy) else main))

    def choose(state: State, number: int, n: int) -> Rows:
        if number:
            return _queried(strategy, state, number, n)
        if first.name not in state.split.starts:
            state.split.starts[first.name] = _queried(first, state, 0, n)
        return state.split.starts[first.name]

    return choose


def _queried(strategy: PoolStrategy, state: State, number: int, n: int) -> Rows:
    rows = state.unlabelled
    rng = np.random.default_rng([state.seed, number])
    return rows[strategy.query(_view(state, rows, strategy), n, rng).rows]


def starts_with_kmeans(strategy: PoolStrategy) -> bool:
    """Whether the strategy can choose only when there is a model, or labels."""
    return bool(strategy.needs - {"X", "cost"})


@lru_cache
def _peer(peer: str, folder: Path) -> Peer:
    return Peer(peer, folder)


def of_peer(peer: str, name: str, folder: Path) -> Choose:
    """A strategy of another library as a chooser; it starts as its author means it to, or from our random start."""
    at_random, process, own_start = of_ours("random"), _peer(peer, folder), PEERS[peer][name].start

    def choose(state: State, number: int, n: int) -> Rows:
        if number == 0:
            process.start(state.split.X)
        if number == 0 and own_start == "random":
            return at_random(state, number, n)
        asked = name if number else own_start
        rows: Rows = process.choose(
            asked,
            labelled=state.labelled,
            y=state.split.y[state.labelled],
            predictions=_predictions(state, PEERS[peer][asked].predictions),
            n_outputs=state.split.n_outputs,
            n=n,
            seed=int(np.random.default_rng([state.seed, number]).integers(2**31)),
        )
        return rows

    return choose


def _predictions(state: State, wanted: str) -> Reals | None:
    """The predictions of the whole pool, of the "single" model or of "members"; None where "none" are wanted."""
    if wanted == "none":
        return None
    predict: Any = state.committee() if wanted == "members" else state.predict
    predicted: Reals = predict(state.split.X)
    return predicted


def _view(state: State, rows: Rows, strategy: PoolStrategy) -> PoolView:
    X, y = state.split.X, state.split.y
    labelled = state.labelled
    members = getattr(strategy, "needs_members", 1) > 1 and len(labelled) > 0
    choice = state.data_set.task == "choice"

    def fit_predict(more: Rows, answers: Any) -> Predict:
        taught = np.concatenate([labelled, rows[more]])
        return fitted(
            state.data_set, X[taught], np.concatenate([y[labelled], answers]), state.split.n_outputs, state.seed
        )

    return PoolView(
        rows,
        X,
        rows=rows,
        predict=state.committee() if members else state.predict,
        labelled_X=X[labelled],
        labelled_y=y[labelled],
        classes=[str(code) for code in range(state.split.n_outputs)] if choice else (),
        task=state.data_set.task,
        fit_predict=fit_predict,
    )


def curve(data_set: DataSet, split: Split, seed: int, choose: Choose) -> dict[str, list[float]]:
    """What the model reaches: the number of labels, and each measure after so many of them."""
    state = State(data_set, split, seed, np.flatnonzero(split.y == 1)[: data_set.known] if data_set.known else NO_ROWS)
    end = min(data_set.budget or len(split.X), len(split.X))
    n = label_sets.n_start(data_set, split.n_outputs) - len(state.labelled)
    steps: dict[str, list[float]] = {}
    number = 0
    while n > 0:
        state.labelled = np.concatenate([state.labelled, _checked(choose(state, number, n), state, n)])
        state.predict = _trained(state)
        labels = split.y[state.labelled]
        predicted = state.predict(split.X_test).mean(axis=0)
        for name, value in {"labels": len(labels), **measured(data_set, split, predicted, labels)}.items():
            steps.setdefault(name, []).append(value)
        number, n = number + 1, min(data_set.batch, end - len(labels))
    return steps


def _trained(state: State) -> Predict:
    X, y = state.split.X[state.labelled], state.split.y[state.labelled]
    if state.data_set.model == AUTO.use:
        classes = [str(code) for code in range(state.split.n_outputs)] if state.data_set.task != "number" else []
        task, pool = state.data_set.task, state.split.X
        even = METRICS[state.data_set.measure].even
        lessons = Lessons(X, y, task, tuple(classes), state.seed, np.arange(len(y)), pool, even)
        state.found = search(lessons, AUTO, state.found)
        return searched(lessons, state.found, AUTO).member_predictions
    return fitted(state.data_set, X, y, state.split.n_outputs, state.seed)


def _checked(chosen: Rows, state: State, n: int) -> Rows:
    rows = np.asarray(chosen)
    if rows.size != n or np.unique(rows).size != n or np.isin(rows, state.labelled).any():
        raise ValueError(f"{n} different unlabelled rows were wanted, and {rows.tolist()} were chosen.")
    return rows


@lru_cache(maxsize=2)
def _table(data_set: DataSet, folder: Path) -> label_sets.Table:
    return label_sets.load(data_set, folder)


@dataclass(frozen=True, slots=True)
class Job:
    """Curves of one set and seed: they share the split and the start. Contenders are (library, strategy)."""

    data_set: DataSet
    folder: Path
    seed: int
    contenders: tuple[tuple[str, str], ...]
    peers: Path = Path()

    def run(self) -> list[dict[str, Any]]:
        """One record per contender, in their order."""
        warnings.simplefilter("ignore")
        split = label_sets.split(self.data_set, _table(self.data_set, self.folder), self.seed)
        return [self._record(by, name, split) for by, name in self.contenders]

    def _record(self, by: str, name: str, split: Split) -> dict[str, Any]:
        started = time.perf_counter()
        found: dict[str, Any] = {}
        try:
            choose = of_ours(name) if by == OURS else of_peer(by, name, self.peers)
            found["steps"] = curve(self.data_set, split, self.seed, choose)
        except Exception as problem:  # noqa: BLE001 - one strategy that fails must not end the run: it is reported
            found["error"] = f"{type(problem).__name__}: {problem}"
        data_set = self.data_set
        key = {"set": data_set.name, "protocol": data_set.protocol, "by": by, "strategy": name, "seed": self.seed}
        return {
            **key,
            **found,
            "seconds": round(time.perf_counter() - started, 3),
            "code": code() if by == OURS else "",
        }


@lru_cache
def code() -> str:
    """Changes with the strategies and the learner: which state of them a curve was made with."""
    files = [*sorted((ROOT / "query_strategies").glob("*.py")), Path(inspect.getfile(RBFMachines))]
    return hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=4).hexdigest()
