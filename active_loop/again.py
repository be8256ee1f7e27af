"""Which items are asked about again, and why: people differ, a label is doubtful, or somebody's constancy is tested.

Pure functions of asks and of what was said. Differences come first: they are what people themselves have found, and
on test items they count as wrong until somebody settles them. A test item is asked about again for no other reason:
to doubt the answers that a model misses, and those alone, would make the model look better than it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from .domain import Ask, AskKind, Merged, Purpose

MOST: Final = 2
"""How often an item is asked about again for one reason."""

LATER: Final = 30
"""Answers that lie between a question and its repetition, so that few remember it."""

FEWEST_REPEATS: Final = 20
INCONSTANT: Final = 0.05
"""Share of repeated questions answered differently from which on the labels of one person alone are doubted."""

Doubtful = Sequence[int]
"""Items to learn from whose label is doubtful, the most doubtful first."""


def differing(asks: Iterable[Ask], incomplete: Collection[str], merged: Mapping[int, Merged]) -> list[int]:
    """Items on which people differ who have all answered, longest first; not those that were put to them `MOST` times.

    `incomplete` are the ids of asks that still wait for somebody.
    """
    disputed = [m for m in merged.values() if m.disputed]
    if not disputed:
        return []
    waiting, times = set(), Counter[int]()
    for ask in asks:
        times[ask.item] += ask.kind == AskKind.ADJUDICATION
        if ask.id in incomplete:
            waiting.add(ask.item)
    found = [m for m in disputed if m.item not in waiting and times[m.item] < MOST]
    return [m.item for m in sorted(found, key=lambda m: (m.annotation, m.item))]


def doubted(asks: Iterable[Ask], doubtful: Doubtful, incomplete: Collection[str], ask_position: int) -> list[int]:
    """Those of the doubtful items that nobody was asked about again since `ask_position`, nor `MOST` times in all."""
    times, passed = Counter[int](), set()
    for ask in asks:
        times[ask.item] += ask.kind == AskKind.RELABEL
        if ask.id in incomplete or (ask.kind != AskKind.FIRST and (ask.position or 0) > ask_position):
            passed.add(ask.item)
    return [item for item in doubtful if item not in passed and times[item] < MOST]


def may_doubt(people: int, repeated: Sequence[bool]) -> bool:
    """Whether to ask again can tell anything: of several people, or of one who does not always say the same.

    `repeated` says of each repeated question whether the answer was the same.
    """
    if people > 1:
        return True
    return len(repeated) >= FEWEST_REPEATS and repeated.count(False) >= INCONSTANT * len(repeated)


def repeatable(
    asks: Iterable[Ask],
    first_answered: Mapping[str, int],
    merged: Mapping[int, Merged],
    share: float,
    rng: np.random.Generator,
) -> list[int]:
    """Items whose question is to be repeated now, in random order: as many as bring the repeats up to their share.

    `first_answered` is the place of each ask's first answer among all answers. Only items to learn from that have a
    label, were asked about once, and at least `LATER` answers ago.
    """
    known = [ask for ask in asks if ask.purpose == Purpose.POOL]
    n_repeats = sum(ask.kind == AskKind.REPEAT for ask in known)
    answered = [ask for ask in known if ask.id in first_answered and ask.kind == AskKind.FIRST]
    n = int(share * len(answered)) - n_repeats
    if n < 1:
        return []
    times, newest = Counter(ask.item for ask in known), max(first_answered.values(), default=0)
    once = [
        ask.item
        for ask in answered
        if times[ask.item] == 1
        and first_answered[ask.id] <= newest - LATER
        and (said := merged.get(ask.item)) is not None
        and said.label is not None
    ]
    return [once[place] for place in rng.permutation(len(once))[:n]]


def firsts(asks: Iterable[Ask]) -> dict[int, Ask]:
    """How each item came to be asked about: its first ask."""
    found: dict[int, Ask] = {}
    for ask in asks:
        found.setdefault(ask.item, ask)
    return found
