"""What must hold after a soak: Label Studio's own database against what the loop recorded."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from soak_world import Log

from active_loop.answers import reader
from active_loop.domain import Annotation, AnswerKind, Ask, AskKind, AskState, Merged, Purpose
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.merge import merge
from active_loop.runner import InlineRunner
from active_loop.settings import (
    Settings,
)
from active_loop.sources import open_source
from active_loop.store import Store
from active_loop.tasks import make_task


@dataclass(slots=True)
class Facts:
    """What came of it: figures, and what was wrong (empty if nothing was)."""

    figures: dict[str, object] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def expect(self, what: str, found: Iterable[object]) -> None:
        """Nothing may have been found."""
        some = list(found)
        if some:
            self.wrong.append(f"{what}: {len(some)}, the first is {some[0]!r}")


@dataclass(frozen=True, slots=True)
class Held:
    """What Label Studio holds: its annotations by number, and the tasks of every ask."""

    annotations: Mapping[str, Annotation]
    tasks: Mapping[str, Sequence[int]]


def held_by(database: Path, project: int) -> Held:
    """Read from the database file of a server that has ended."""
    db = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    try:
        asks = {
            task: json.loads(data)["ask"]
            for task, data in db.execute("SELECT id, data FROM task WHERE project_id = ?", (project,))
        }
        people = dict(db.execute("SELECT id, email FROM htx_user"))
        rows = db.execute(
            "SELECT id, task_id, updated_at, was_cancelled, result, completed_by_id FROM task_completion"
        ).fetchall()
    finally:
        db.close()
    annotations = {
        str(number): Annotation(
            source=f"label-studio:{project}",
            id=str(number),
            updated_at=datetime.fromisoformat(at).replace(tzinfo=UTC),
            kind=AnswerKind.SKIPPED if cancelled else AnswerKind.SUBMITTED,
            raw=json.dumps(json.loads(result), ensure_ascii=False),
            person=people[person],
            ask=asks[task],
        )
        for number, task, at, cancelled, result, person in rows
        if task in asks
    }
    tasks: dict[str, list[int]] = {}
    for task, ask in asks.items():
        tasks.setdefault(ask, []).append(task)
    return Held(annotations, tasks)


def compare(folder: Path, told: Settings, held: Held, log: Log, facts: Facts) -> None:
    """Everything that must hold after the storm, from both databases."""
    store = Store(folder / "loop.db")
    try:
        loop = Loop(told, store, open_source(told.data, folder), Oracle([]), InlineRunner(), folder=folder)
        asks, recorded = store.asks(), store.annotations()
        item_of = {ask.id: ask.item for ask in asks}
        nothing_is_lost(held, recorded, log, facts)
        each_ask_has_one_task(held, asks, told, facts)
        labels_are_those_of_the_answers(held, recorded, item_of, told, facts)
        rounds_are_those_of_the_sequence(loop, asks, recorded, facts)
        facts.figures |= {
            "annotations in Label Studio": len(held.annotations),
            "versions recorded": len(recorded),
            "rounds": len(store.rounds()),
            "looks": len(store.looks()),
            "batches": store.n_batches(),
        }
    finally:
        store.close()


def nothing_is_lost(held: Held, recorded: Sequence[Annotation], log: Log, facts: Facts) -> None:
    """Each annotation is there once at its newest version, and one that is gone was seen to go."""
    newest: dict[str, Annotation] = {}
    versions = Counter((a.id, a.updated_at) for a in recorded)
    for annotation in recorded:
        if annotation.id not in newest or newest[annotation.id].updated_at <= annotation.updated_at:
            newest[annotation.id] = annotation
    facts.expect("versions that are there twice", [key for key, n in versions.items() if n > 1])
    facts.expect("answers that were lost", sorted(held.annotations.keys() - newest.keys(), key=int))
    facts.expect(
        "answers whose newest version is not recorded",
        [
            (number, there.updated_at, newest[number].updated_at)
            for number, there in held.annotations.items()
            if number in newest and _key(newest[number]) != _key(there)
        ],
    )
    facts.expect(
        "withdrawn answers that still count",
        [
            number
            for number, known in newest.items()
            if number not in held.annotations and known.kind != AnswerKind.RETRACTED
        ],
    )
    facts.expect("withdrawn answers that are still there", [n for n in log.deleted if str(n) in held.annotations])
    seen = {(a.id, a.updated_at) for a in recorded}
    edits = {(str(number), datetime.fromisoformat(at)) for number, at in log.edited.items()}
    facts.figures["edits seen as they were made"] = f"{len(edits & seen)} of {len(edits)}"
    facts.figures["withdrawn, and recorded as withdrawn"] = (
        len(log.deleted),
        sum(known.kind == AnswerKind.RETRACTED for known in newest.values()),
    )


def _key(a: Annotation) -> tuple[object, ...]:
    return a.updated_at, a.kind, json.loads(a.raw), a.person, a.ask


def each_ask_has_one_task(held: Held, asks: Sequence[Ask], told: Settings, facts: Facts) -> None:
    """Every ask that stands has exactly one task, every task an ask, and the budget was spent to its end."""
    known = {ask.id: ask for ask in asks}
    facts.expect("asks with two live tasks", [ask for ask, tasks in held.tasks.items() if len(tasks) > 1])
    facts.expect("tasks that nobody asked for", held.tasks.keys() - known.keys())
    open_asks = {ask.id for ask in asks if ask.state == AskState.OPEN}
    facts.expect("open asks without a task", open_asks - held.tasks.keys())
    facts.expect("asks still being sent", [ask.id for ask in asks if ask.state == AskState.SENDING])
    first = Counter(ask.item for ask in asks if ask.kind == AskKind.FIRST)
    facts.expect("items asked twice without a reason", [item for item, n in first.items() if n > 1])
    if len(open_asks) != told.budget.answers:
        facts.wrong.append(f"{len(open_asks)} answers were asked for, and the budget is {told.budget.answers}")


def labels_are_those_of_the_answers(
    held: Held, recorded: Sequence[Annotation], item_of: Mapping[str, int], told: Settings, facts: Facts
) -> None:
    """The merged labels are what the answers in Label Studio, read in one go, give."""
    task = make_task(told.task)
    ordered = sorted(held.annotations.values(), key=lambda a: (a.updated_at, a.id))
    placed = [replace(a, item=item_of[a.ask or ""], position=n) for n, a in enumerate(ordered, 1)]
    undisturbed = merge(placed, reader(task), task.consensus)
    disturbed = merge(recorded, reader(task), task.consensus)
    facts.expect(
        "items whose label is another one",
        [item for item, m in disturbed.items() if _said(m) != _said(undisturbed.get(item))],
    )
    facts.figures["labels"] = sum(m.label is not None for m in disturbed.values())


def _said(merged: Merged | None) -> tuple[object, ...]:
    return (None, {}, ()) if merged is None else (merged.label, merged.votes, merged.people)


def rounds_are_those_of_the_sequence(
    loop: Loop, asks: Sequence[Ask], recorded: Sequence[Annotation], facts: Facts
) -> None:
    """Each round trained on the shortest prefix that holds its answers, and chooses the same when fitted again."""
    pool = {ask.id for ask in asks if ask.purpose == Purpose.POOL}
    first: dict[str, int] = {}
    for place, annotation in enumerate(recorded, start=1):
        if annotation.position != place:
            facts.wrong.append(f"annotation {place} of the sequence has position {annotation.position}")
        if annotation.ask in pool:
            first.setdefault(annotation.ask or "", place)
    answered, query = sorted(first.values()), loop.settings.query
    rounds = [round_ for round_ in loop.store.rounds() if round_.number >= 0]
    expected = [answered[n - 1] for n in range(query.n0, len(answered) + 1, query.retrain_every)]
    found = [round_.annotation_position for round_ in rounds if not round_.final]
    if found != expected:
        facts.wrong.append(f"rounds trained on {found}, and the sequence says {expected}")
    for round_ in rounds[:: max(1, len(rounds) // 5)]:
        again = loop.jobs.of(round_).run()
        ranking = sqlite3.connect(loop.store.path).execute(
            "SELECT item FROM ask WHERE round = ? ORDER BY rank", (round_.number,)
        )
        if [row[0] for row in ranking] != again.chosen.tolist():
            facts.wrong.append(f"round {round_.number} chooses other items when it is fitted again")
