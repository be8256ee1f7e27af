"""Records → items: which of them test, decided once, and the answers that came with them.

The first intake draws the test order, from all items or from those that were brought to test; a later one sets the
same share aside (none where they were brought) and leaves the order alone, so the claim stays about the first. Pure
functions: `loop` stores what they return, in one transaction.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from .chances import too_small
from .domain import IMPORTED, Annotation, AnswerKind, Item, Outcome, Split
from .errors import DataError
from .records import Given, Record, Source
from .reserve import brought, draw
from .settings import LookPlan, Settings
from .tasks import Task


@dataclass(frozen=True, slots=True)
class Intake:
    """What an import adds: items, the answers they came with, and the facts to remember it by."""

    items: list[Item]
    answers: list[Annotation]
    facts: dict[str, Any]


def first(source: Source, settings: Settings, task: Task, at: datetime) -> Intake:
    """Everything that the source holds; the facts fix the looks' sizes and the number of first answers for ever.

    Raises `DataError` for what `refuse_unusable` refuses, and if nothing is left on one side of the test split.
    """
    records = source.records()
    refuse_unusable(records, settings, task)
    tests = [position for position, record in enumerate(records) if record.test]
    plan, ranks = _tests(records, tests, settings)
    answers = _answers(records, at)
    facts = {
        "source": source.name,
        "items": len(records),
        "duplicates": source.n_duplicates,
        "answers": len(answers),
        "n0": settings.n0,
        "budget": plan.budget,
        "m0": plan.m0,
        "reserved": plan.reserved,
        "brought": len(tests),
        "people": plan.people,
    }
    return Intake(_items(records, 0, source.name, ranks), answers, facts)


def _tests(records: Sequence[Record], tests: Sequence[int], settings: Settings) -> tuple[LookPlan, dict[int, int]]:
    """The plan of the looks, and the test order; a search draws what it tests when it has run dry."""
    budget, seed = settings.budget.answers, settings.seed
    if settings.is_search:
        return LookPlan(budget, 0, 0), {}
    if tests:
        return brought(tests, budget, seed)
    groups, people = [record.group for record in records], settings.people.test_overlap
    return draw(len(records), budget, seed, groups, people)


def later(source: Source, known: Sequence[Item], facts: Mapping[str, Any], seed: int) -> Intake:
    """What the source holds and `known` does not: the share of the first intake is set aside, the rest joins the pool.

    Where test items were brought all of it joins the pool. Answers that came with later rows are not used. `facts` are
    those of the first intake. Raises `DataError` for a test file that has other items than it had.
    """
    ids = {item.id for item in known}
    found = source.records()
    tests = {record.id for record in found if record.test}
    if facts.get("brought") and tests != {item.id for item in known if item.split == Split.TEST}:
        raise DataError(
            f"cannot add items: the test file had {facts['brought']} items at the import and has {len(tests)} now, or "
            "other ones; put it back as it was, and add new rows to the data alone."
        )
    records = [record for record in found if record.id not in ids]
    order = np.random.default_rng([seed, 3, len(known)]).permutation(len(records))
    share = 0.0 if facts.get("brought") else facts["reserved"] / facts["items"]
    aside = order[: int(share * len(records))]
    rank = sum(item.split == Split.TEST for item in known)
    ranks = {len(known) + int(index): rank + number for number, index in enumerate(aside)}
    items = _items(records, len(known), source.name, ranks)
    return Intake(items, [], {**facts, "added": len(items), "set_aside": len(ranks)})


def _items(records: Sequence[Record], start: int, source: str, ranks: Mapping[int, int]) -> list[Item]:
    return [
        Item(
            position=position,
            id=record.id,
            split=Split.TEST if position in ranks else Split.POOL,
            source=source,
            row=record.row,
            test_rank=ranks.get(position),
            group=record.group,
        )
        for position, record in enumerate(records, start)
    ]


def refuse_unusable(records: Sequence[Record], settings: Settings, task: Task) -> None:
    """`DataError` for an answer that is no class, and for a test file that could not even make the target likely."""
    texts = {r.answer for r in records if r.answer and not r.given and not task.read(r.answer).label}
    given = {answer.said for record in records for answer in record.given if answer.said}
    unknown = sorted(texts | {", ".join(said) for said in given if task.read(list(said)).outcome == Outcome.INVALID})
    if unknown and task.kind != "choice":
        problem = task.read(unknown[0]).problem or unknown[0]
        raise DataError(
            f'cannot use the answers in column "{settings.data.answer}": {problem}; correct the file '
            f"({len(unknown)} different answers are no label)."
        )
    if unknown:
        raise DataError(
            f'cannot use the answers in column "{settings.data.answer}": {_listed(unknown)} '
            f"{'is' if len(unknown) == 1 else 'are'} not among the classes {', '.join(task.classes)}; "
            "add them to task.classes or correct the file."
        )
    n_test = sum(record.test for record in records)
    if n_test and (why := too_small(settings, n_test)):
        raise DataError(f"{settings.data.test} has too few items for this target: {why}; bring more of them.")


def _answers(records: Sequence[Record], at: datetime) -> list[Annotation]:
    """The answers that came with the records: each person's where that is known, else one of the person "import".

    No two have one name, whatever the data call them: a name that comes back is given a number.
    """
    found: dict[str, Annotation] = {}
    times: Counter[str] = Counter()
    for position, record in enumerate(records):
        plain = Given(record.id, IMPORTED, AnswerKind.SUBMITTED, ()) if record.answer and not record.given else None
        for given in (plain,) if plain else record.given:
            name = given.id
            while name in found:
                times[given.id] += 1
                name = f"{given.id} ({times[given.id] + 1})"
            raw = json.dumps(record.answer if plain else list(given.said), ensure_ascii=False)
            found[name] = Annotation(
                source=IMPORTED,
                id=name,
                updated_at=given.updated_at or at,
                kind=given.kind,
                raw=raw,
                person=given.person,
                item=position,
                created_at=given.created_at,
                lead_time_s=given.lead_time_s,
            )
    return [*found.values()]


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(f'"{" ".join(name.split())}"' for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
