"""Real loops whose truth is known: the loop's own code, an oracle, a store in memory, and a population to test from.

A loop is trained once. Its test items are then drawn again and again, with replacement, from rows that it never saw,
and the same code is run for every draw: import, asks, answers, rounds, gate, looks, end. Since nothing about test
answers moves what is trained, every draw calls for the same fits, which are kept; the quality of each round's model on
all rows of the population is the truth that its verdicts are held against.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from active_loop.domain import Look, Progress, Stopped
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.records import Record
from active_loop.reserve import draw
from active_loop.scoring import EncodeJob, RoundJob, RoundResult, Suspects, SuspectsJob
from active_loop.settings import (
    BudgetSettings,
    DataSettings,
    LabelingSettings,
    ModelSettings,
    QuerySettings,
    Settings,
    TargetSettings,
    TaskSettings,
)
from active_loop.store import Store

Reals = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Data:
    """Rows to learn from and a population to test from: X (n, d) and codes (n,) of each."""

    X: Reals
    y: Rows
    X_test: Reals
    y_test: Rows

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"class {code}" for code in range(int(max(self.y.max(), self.y_test.max())) + 1))


@dataclass(frozen=True, slots=True)
class Setup:
    """What is pinned for a set: model, strategy, budget and seed of its loops."""

    model: str
    budget: int
    seed: int
    strategy: str = "auto"

    def settings(self, classes: tuple[str, ...], target: float) -> Settings:
        return Settings(
            name="stopping",
            seed=self.seed,
            data=DataSettings(path="rows", kind="table", show=("x",)),
            task=TaskSettings(classes=classes),
            target=TargetSettings(value=target, stop_on="certified"),
            budget=BudgetSettings(answers=self.budget),
            query=QuerySettings(strategy=self.strategy),
            model=ModelSettings(use=self.model),
            labeling=LabelingSettings(backend="oracle"),
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Which kind of row stands at each position of a loop's items: one to learn from, or one of the population."""

    reserved: Rows
    """Positions of the test items, in the order in which they are asked."""
    pool: Rows

    @classmethod
    def of(cls, n_pool: int, setup: Setup) -> Places:
        """The places that the loop's own drawing gives to test items, when `n_pool` are left to learn from."""
        n = n_pool
        while n - draw(n, setup.budget, setup.seed)[0].reserved < n_pool:
            n += 1
        _, ranks = draw(n, setup.budget, setup.seed)
        reserved = np.array(sorted(ranks, key=lambda position: ranks[position]), dtype=np.int64)
        pool = np.setdiff1d(np.arange(n), reserved)[:n_pool]
        return cls(reserved, pool)

    @property
    def n(self) -> int:
        return len(self.reserved) + len(self.pool)


@dataclass(frozen=True, slots=True)
class Held:
    """Features that are there already."""

    X: Reals
    fingerprint: str = "held"

    def open(self) -> Reals:
        return self.X


@dataclass(slots=True)
class RowsSource:
    """A source that knows its rows by number and holds nothing else."""

    n_rows: int
    name: str = "rows"
    kind: str = "table"
    embeddings: Path | None = None
    n_duplicates: int = 0
    notices: tuple[str, ...] = ()

    def records(self) -> list[Record]:
        return [Record(self._id(row), str(row), None, None) for row in range(self.n_rows)]

    def ids(self, rows: Sequence[str]) -> list[str]:
        return [self._id(int(row)) for row in rows]

    def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        return [{"row": {"x": row}} for row in rows]

    def content(self, rows: Sequence[str]) -> list[str]:
        return [*rows]

    def numbers(self, rows: Sequence[str]) -> Rows:
        return np.array([int(row) for row in rows], dtype=np.int64)

    def digests(self, rows: Sequence[str]) -> list[bytes]:
        return [self._id(int(row)).encode()[:16] for row in rows]

    @staticmethod
    def _id(row: int) -> str:
        return hashlib.blake2b(str(row).encode(), digest_size=16).hexdigest()


class Remembered:
    """A runner that fits each round once: again asked for the same round, it answers from memory.

    `rounds` holds, by number, the labels of each round and its predictions for the whole population.
    """

    def __init__(self, data: Data, places: Places) -> None:
        self._all = Held(np.vstack([self._pool_rows(data, places), data.X_test]))
        self._population = np.arange(places.n, places.n + len(data.X_test))
        self._known: dict[str, RoundResult] = {}
        self._result: Any = None
        self.drawn: Rows = np.empty(0, dtype=np.int64)
        self.rounds: dict[int, RoundResult] = {}

    @staticmethod
    def _pool_rows(data: Data, places: Places) -> Reals:
        X = np.zeros((places.n, data.X.shape[1]))
        X[places.pool] = data.X[: len(places.pool)]
        return X

    @property
    def busy(self) -> bool:
        return self._result is not None

    def submit(self, job: Any) -> None:
        if isinstance(job, EncodeJob):
            self._result = self._all
        elif isinstance(job, SuspectsJob):
            self._result = Suspects((), len(job.fit.codes))  # nothing here asks which labels look wrong
        else:
            self._result = self._round(job)

    def poll(self) -> Any:
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        self._result = None

    def _round(self, job: RoundJob) -> RoundResult:
        key = _name(job)
        if key not in self._known:
            self._known[key] = replace(job, features=self._all, test=self._population).run()  # type: ignore[arg-type]
        whole = self.rounds[job.number] = self._known[key]
        if job.number < 0:
            return whole
        return replace(whole, test_mean=whole.test_mean[self.drawn[: len(job.test)]])


def _name(job: RoundJob) -> str:
    digest = hashlib.blake2b(repr((job.number, job.strategy, job.n, job.seed)).encode(), digest_size=16)
    for part in (job.labelled, job.codes, job.candidates, job.pending, job.sample):
        digest.update(np.ascontiguousarray(part).tobytes() + b"|")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Replay:
    """What one draw of test items led to: the looks, and the labels that were spent on learning and testing."""

    verdict: str
    reason: str
    pool: int
    test: int
    looks: tuple[Look, ...]
    progress: tuple[Progress, ...]


@dataclass(slots=True)
class Trained:
    """One loop, which can be run with any draw of its test items."""

    data: Data
    setup: Setup
    n_pool: int
    places: Places = field(init=False)
    runner: Remembered = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places.of(self.n_pool, self.setup)
        self.runner = Remembered(self.data, self.places)

    def replay(self, target: float, seed: int) -> Replay:
        """Run the loop to its end, its test items drawn by this seed."""
        self.runner.drawn = self.drawn(seed, len(self.places.reserved))
        settings = self.setup.settings(self.data.classes, target)
        with tempfile.TemporaryDirectory(prefix="active-loop-stopping-") as folder:
            store = Store(":memory:")
            try:
                source = RowsSource(self.places.n)
                oracle = Oracle(self._labels())
                return _to_end(Loop(settings, store, source, oracle, self.runner, folder=Path(folder), uid="00" * 16))
            finally:
                store.close()

    def drawn(self, seed: int, n: int) -> Rows:
        """The first n rows of the population that are drawn by this seed, with replacement."""
        rng = np.random.default_rng([self.setup.seed, seed, 17])
        return rng.integers(0, len(self.data.y_test), size=n)

    def right(self, round_: int) -> NDArray[np.bool_]:
        """(n_population,) where a round's model is right."""
        hits: NDArray[np.bool_] = self.runner.rounds[round_].test_mean.argmax(axis=1) == self.data.y_test
        return hits

    def qualities(self) -> dict[int, float]:
        """The accuracy of each round's model on the whole population, by the number of the round."""
        return {number: float(np.mean(self.right(number))) for number in self.runner.rounds if number >= 0}

    def _labels(self) -> list[str]:
        codes = np.empty(self.places.n, dtype=np.int64)
        codes[self.places.pool] = self.data.y[: len(self.places.pool)]
        codes[self.places.reserved] = self.data.y_test[self.runner.drawn]
        names = self.data.classes
        return [names[code] for code in codes]


def _to_end(loop: Loop) -> Replay:
    while not isinstance(result := loop.step(), Stopped):
        pass
    looks = tuple(loop.store.looks())
    tested = {item for look in looks for item in (seen.item for seen in loop.store.look_items(look.number))}
    sent = loop.store.asks()
    pool = sum(ask.purpose == "pool" and ask.position is not None for ask in sent)
    test = sum(ask.purpose == "test" and ask.position is not None for ask in sent)
    if len(tested) > test:
        raise RuntimeError(f"{len(tested)} items were tested, and {test} were asked about")
    return Replay(
        result.decision.verdict.value, result.decision.reason, pool, test, looks, tuple(loop.standing.progress())
    )
