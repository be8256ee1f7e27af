"""Who answers, when, how fast and how alike: figures of all people together, and of each one for the loop's owner.

Nothing here puts people into an order of quality: items are not the same for everybody. As long as a loop runs, figures
are as of its newest completed round, and count answers to items that test and to items to learn from alike: one that
moved with a single answer would tell its giver on which side that item is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median, quantiles
from typing import Final

from . import pace
from .agreement import Figure, differences, people
from .answers import merging as new_merging
from .answers import reading
from .changes import current_settings, ended
from .domain import COLD_START, Annotation, Outcome
from .merge import Merging
from .settings import Settings, time_zone
from .store import Store
from .tasks import make_task

FEWEST_SHARED: Final = 10
"""Items that a person and somebody else answered, below which nothing is said of how far they agree."""

STEPS: Final = (2, 5, 10, 20, 30, 60, 120, 300)
"""Seconds between which answers are counted together."""

_DAYS: Final = 30
_PAIRS: Final = 5


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long `n` measured answers took: quartiles, and how many took up to each of `STEPS` seconds, or longer."""

    n: int
    low: float
    middle: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Crew:
    """All people together, by the answers up to `round`; None: by all there are, since the loop has stopped.

    `days` are the newest 30 on which somebody answered, oldest first, in the time zone of the budget. `differences`
    names what people differ on, and on how many items each: see `agreement.differences`. `is_known` is False before the
    first round is complete, when nothing may be said yet.
    """

    is_known: bool
    round: int | None
    people: int
    answers: int
    days: tuple[tuple[date, int], ...]
    seconds: Seconds | None
    differences: tuple[tuple[tuple[str, ...], int], ...]


@dataclass(frozen=True, slots=True)
class Person:
    """One person: answers, the share of them that were skips or "unsure", and the median of the seconds they took.

    `shared` items were answered by somebody else as well; `alike` is κ with all others together, None on fewer than
    `FEWEST_SHARED` of them, and where everybody said one and the same. `last` is when the newest answer was given.
    """

    name: str
    answers: int
    undecided: float
    seconds: float | None
    shared: int
    alike: Figure | None
    last: datetime


def crew(store: Store) -> Crew:
    """All people together, without a word about a single one."""
    with store.snapshot():
        settings, (round_, known) = current_settings(store), _known(store)
        first, zone = _first(known), time_zone(settings.budget)
        days = Counter(a.updated_at.astimezone(zone).date() for a in first)
        found = differences(_merging(settings, known).votes, make_task(settings.task))
        return Crew(
            is_known=round_ != COLD_START,
            round=round_,
            people=len({a.person for a in first}),
            answers=len(first),
            days=tuple(sorted(days.items())[-_DAYS:]),
            seconds=_seconds(_measured(known)),
            differences=tuple(found[:_PAIRS]),
        )


def persons(store: Store) -> tuple[Person, ...]:
    """Each person who answered, in the order of their names."""
    with store.snapshot():
        settings, (_, known) = current_settings(store), _known(store)
        votes = _merging(settings, known).votes
        alike = people(votes, make_task(settings.task), FEWEST_SHARED).against_others
        shared = Counter(person for said in votes.values() if len(said) > 1 for person in said)
        by_person: dict[str, list[Annotation]] = {}
        for annotation in known:
            by_person.setdefault(annotation.person, []).append(annotation)
        return tuple(
            _person(name, by_person[name], settings, shared[name], alike.get(name))
            for name in sorted(by_person, key=str.casefold)
            if _first(by_person[name])
        )


def _known(store: Store) -> tuple[int | None, list[Annotation]]:
    """What figures may rest on: everything once the loop has stopped, else the answers up to the newest ranked round.

    Besides the number of that round: the cold start's before there is one, None after the stop.
    """
    if ended(store, current_settings(store)) is not None:
        return None, store.annotations()
    ranked = [r for r in store.rounds() if r.ranked_at and r.number != COLD_START]
    return (ranked[-1].number, store.annotations(ranked[-1].annotation_position)) if ranked else (COLD_START, [])


def _merging(settings: Settings, annotations: Iterable[Annotation]) -> Merging:
    merging = new_merging(settings, lambda item: False)
    merging.add(annotations)
    return merging


def _first(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The first version of each answer that was asked for: one per ask and person."""
    found: dict[tuple[str, str], Annotation] = {}
    for annotation in annotations:
        if annotation.ask:
            found.setdefault((annotation.ask, annotation.person), annotation)
    return list(found.values())


def _measured(annotations: Sequence[Annotation]) -> list[float]:
    return pace.measured(annotations, {a.ask for a in annotations if a.ask})


def _seconds(measured: Sequence[float]) -> Seconds | None:
    if len(measured) < pace.FEWEST:
        return None
    low, middle, high = quantiles(measured, n=4, method="inclusive")
    counts = Counter(next((place for place, step in enumerate(STEPS) if s <= step), len(STEPS)) for s in measured)
    return Seconds(len(measured), low, middle, high, tuple(counts[place] for place in range(len(STEPS) + 1)))


def _person(name: str, said: Sequence[Annotation], settings: Settings, shared: int, alike: Figure | None) -> Person:
    """One person, by what that person said."""
    read, measured = reading(settings), _measured(said)
    asked = [a for a in sorted(said, key=lambda a: (a.updated_at, a.position or 0)) if a.ask]
    newest = {a.ask: a for a in asked}
    undecided = sum(read(a).outcome in (Outcome.SKIP, Outcome.UNSURE) for a in newest.values())
    return Person(
        name=name,
        answers=len(newest),
        undecided=undecided / len(newest),
        seconds=median(measured) if measured else None,
        shared=shared,
        alike=alike,
        last=max(a.updated_at for a in asked),
    )
