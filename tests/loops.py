"""Small real loops for tests: three clouds of points in a CSV file, a real store, the oracle."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from active_loop.domain import Annotation, AnswerKind, Ask, Stopped, TaskRef, WaitingForPeople
from active_loop.labeling import LabelingBackend, Oracle, Publication
from active_loop.loop import Loop
from active_loop.runner import InlineRunner
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
from active_loop.sources import open_source
from active_loop.store import Store

CLASSES = ("red", "green", "blue")


def write_points(folder: Path, n: int = 150, *, seed: int = 0, spread: float = 1.0) -> list[str]:
    """Write `points.csv` with n points around three centres; returns the label of each row."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, size=n)
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    points = centres[codes] + rng.normal(scale=spread, size=(n, 2))
    with (folder / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y"])
        writer.writerows((f"{x:.6f}", f"{y:.6f}") for x, y in points)
    return [CLASSES[code] for code in codes]


def settings(**changes: Any) -> Settings:
    """Settings of a small loop; `changes` by section, for instance `budget={"answers": 80}`."""
    made = Settings(
        name="points",
        data=DataSettings(path="points.csv", kind="table", show=("x", "y")),
        task=TaskSettings(classes=CLASSES),
        target=TargetSettings(value=0.8),
        budget=BudgetSettings(answers=90),
        query=QuerySettings(),
        model=ModelSettings(use="logistic"),
        labeling=LabelingSettings(backend="oracle"),
    )
    for section, values in changes.items():
        old = getattr(made, section)
        made = replace(made, **{section: replace(old, **values) if isinstance(values, dict) else values})
    return made


class Clock:
    """A time that moves only when it is told to, or a second at each reading."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def open_loop(
    folder: Path,
    backend: LabelingBackend,
    told: Settings | None = None,
    *,
    store: Callable[..., Store] = Store,
    now: Callable[[], datetime] | None = None,
    runner: Any = None,
    portraits: bool = False,
) -> Loop:
    """The loop of a folder that holds `points.csv`, with the inline runner unless there is another."""
    told = told or settings()
    clock = now or Clock()
    return Loop(
        told,
        store(folder / "loop.db", now=clock),
        open_source(told.data, folder),
        backend,
        runner or InlineRunner(),
        folder=folder,
        now=clock,
        uid="00" * 16,
        portraits=portraits,
    )


def run_to_end(loop: Loop, limit: int = 3000) -> Stopped | WaitingForPeople:
    """Step until the loop has stopped, or until nobody answers any more."""
    for _ in range(limit):
        result = loop.step()
        if isinstance(result, Stopped | WaitingForPeople):
            return result
    raise RuntimeError(f"the loop did not end within {limit} steps")


def trail(store: Store) -> dict[str, Any]:
    """Everything that must be the same when a run is repeated: asks, answers, rounds, looks, scores, the end."""
    rounds = [
        (
            *(r.number, r.annotation_position, r.ask_position, r.setting, r.final, r.entitled, r.state),
            {k: v for k, v in r.record.items() if not k.endswith("_s")},
        )
        for r in store.rounds()
    ]
    return {
        "asks": store.asks(),
        "annotations": store.annotations(),
        "rounds": rounds,
        "looks": [replace(look, at=None) for look in store.looks()],
        "look items": [store.look_items(look.number) for look in store.looks()],
        "scores": store.scores(),
        "stops": [event.body for event in store.events("stopped")],
    }


def oracle(labels: list[str], **options: Any) -> Oracle:
    return Oracle(labels, **options)


START = datetime(2026, 1, 1, tzinfo=UTC)
Say = Callable[[str, Ask, str], str | None]
"""What a person says of an ask, given the row's name; None: a skip."""


class Crowd:
    """People in this process who answer what is open, in turns; each ask as many different ones as it wants."""

    def __init__(self, people: Sequence[str], say: Say, per_collect: int = 7) -> None:
        self.people = people
        self.say = say
        self.per_collect = per_collect
        self.open: dict[str, Publication] = {}
        self.given: list[Annotation] = []
        self._turn = 0

    def publish(self, publications: Sequence[Publication]) -> None:
        for one in publications:
            self.open.setdefault(one.ask.id, one)

    def retire(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            self.open.pop(ask.id, None)

    def tasks(self) -> Iterable[TaskRef]:
        return ()

    def collect(self) -> Iterable[Annotation]:
        answered, upto = defaultdict(set), len(self.given) + self.per_collect
        for annotation in self.given:
            answered[annotation.ask].add(annotation.person)
        for one in list(self.open.values()):
            left = [person for person in self.people if person not in answered[one.ask.id]]
            if left and len(answered[one.ask.id]) < one.ask.wanted and len(self.given) < upto:
                self._turn += 1
                self._answer(left[self._turn % len(left)], one)
        return list(self.given)

    def _answer(self, person: str, one: Publication) -> None:
        at, said = START + timedelta(seconds=len(self.given)), self.say(person, one.ask, one.row)
        kind = AnswerKind.SKIPPED if said is None else AnswerKind.SUBMITTED
        self.given.append(
            Annotation("crowd", f"{len(self.given):06d}", at, kind, json.dumps(said), person, one.ask.id, created_at=at)
        )


def right(labels: Sequence[str]) -> Say:
    return lambda person, ask, row: labels[int(row)]
