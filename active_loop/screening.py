"""A search: people read the likeliest items of a class first, and a random sample of the rest proves what they found.

What a search needs beside the rounds of every other loop: an order for its samples, a sign that it has run dry, and
what all answers come to. Pure functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .domain import Item, Look, LookItem, Merged
from .errors import ConfigError
from .evaluate import Search, draws_needed
from .looks import counts, resolved
from .reserve import Prefix, TestState
from .settings import Settings, TargetSettings, positive_class
from .stopping import verdict

WINDOW: Final = 50
"""Newest answers to chosen items that say whether a search has run dry: where none of them is of the class."""


def sample_order(items: Sequence[Item], seed: int) -> NDArray[np.int64]:
    """(n,) all positions in random order. An item's place among the others never changes, whatever is added later."""
    key = seed.to_bytes(8, "little", signed=True)
    drawn = [hashlib.blake2b(item.id.encode(), key=key, digest_size=8).digest() for item in items]
    return np.array(sorted(range(len(items)), key=drawn.__getitem__), dtype=np.int64)


def dryness(labels: Sequence[str], positive: str) -> float | None:
    """Share of the newest answers to chosen items that are not of the class; None before there are enough.

    It takes the place of the agreement of two rounds: where it is 1 twice in a row, finding has settled.
    """
    newest = labels[-WINDOW:]
    return sum(label != positive for label in newest) / WINDOW if len(newest) == WINDOW else None


def searched(
    positive: str,
    merged: Mapping[int, Merged],
    rest: Collection[int],
    asked: Iterable[int],
    drawn: Mapping[int, TestState],
) -> Search:
    """What is known before the hits of a sample count. `rest` are the positions that nobody chose, sample included.

    `asked` are those that were chosen, `drawn` what is known of those in the sample: one that nobody can label is no
    part of the rest. A chosen item without a label, which people may still find to be of the class, is `waiting`.
    """
    found = sum(each.label == positive for item, each in merged.items() if item not in rest)
    waiting = sum(item not in rest and not _settled(merged.get(item)) for item in asked)
    unusable = sum(state == TestState.EXCLUDED for state in drawn.values())
    return Search(found=found, rest=len(rest) - unusable, waiting=waiting)


def sample_size(search: Search, settings: Settings, look: int) -> int | None:
    """Items to draw for this look: as few as prove the target if none is of the class; None if none would do."""
    return draws_needed(search, settings.target.value, settings.target.alpha / 2**look)


def judge(
    number: int, round_: int, settings: Settings, search: Search, prefix: Prefix, merged: Mapping[int, Merged]
) -> tuple[Look, list[LookItem]]:
    """The look: `search` with the items of the sample, of which those without a label count as missed."""
    target, positive = settings.target, positive_class(settings.target, settings.task.classes)
    labels = {item: merged[item].label if item in merged and counts(merged[item]) else None for item in prefix.judged}
    drawn = Search(
        search.found,
        search.rest,
        len(prefix.judged),
        hits=sum(label == positive for label in labels.values()),
        lost=sum(label is None for label in labels.values()),
        waiting=search.waiting,
    )
    seen = [
        LookItem(number, item, merged[item].annotation if label else None, label, "") for item, label in labels.items()
    ]
    return _look(number, round_, target, drawn), seen


def _look(number: int, round_: int, target: TargetSettings, search: Search) -> Look:
    level = target.alpha / 2**number
    claim = search.claim(target.value, level)
    return Look(
        number=number,
        round=round_,
        first=0,
        m=search.drawn,
        n=claim.n,
        level=level,
        target=target.value,
        metric=target.metric,
        value=claim.value,
        low=search.bound(0.025),
        high=search.upper(0.025),
        correct=claim.correct,
        bound=claim.bound,
        posterior=claim.posterior,
        verdict=verdict(claim, target.value, certifiable=True),
    )


def _settled(merged: Merged | None) -> bool:
    """Whether it is known what an item is, or that people cannot say."""
    return merged is not None and (merged.label is not None or TestState.EXCLUDED in resolved({0: merged}).values())


@dataclass(frozen=True, slots=True)
class Price:
    """What a search costs where its first `chosen` answers hold all `of_class` items: so many `drawn` prove it.

    None where no sample of the rest would.
    """

    of_class: int
    chosen: int
    drawn: int | None

    @property
    def answers(self) -> int | None:
        return None if self.drawn is None else self.chosen + self.drawn


SHARES: Final = (0.01, 0.02, 0.05, 0.1)
"""Shares of a class that searches are for, where nothing is known of them."""


def prices(settings: Settings, n_items: int, shares: Sequence[float]) -> list[Price]:
    """For each share of the class, and for a tenth, a fifth and two fifths of the items chosen: what a proof takes.

    It is that of the first look, all found and none in the sample.
    """
    if any(not 0 < share < 1 for share in shares):
        raise ConfigError(f"--positive-share is {min(shares):g}: give a share above 0 and below 1.")
    found = []
    for share, read in product(shares, (0.1, 0.2, 0.4)):
        of_class = max(1, round(share * n_items))
        chosen = max(of_class + WINDOW, round(read * n_items))
        if chosen < n_items:
            drawn = sample_size(Search(of_class, n_items - chosen), settings, 1)
            found.append(Price(of_class, chosen, drawn))
    return found


def told(price: Price, settings: Settings, n_items: int) -> str:
    """A price in one sentence."""
    if price.answers is None or price.drawn is None:
        return f"that {100 * settings.target.value:g} % of {price.of_class} were found, no sample can prove."
    left = n_items - price.answers
    return (
        f"if {price.of_class} of the {n_items} items are wanted, and the first {price.chosen} answers hold them all, "
        f"{price.drawn} random ones of the rest prove that {100 * settings.target.value:g} % were found: "
        f"{price.answers} answers, and {left} items ({100 * left / n_items:.0f} %) need not be read."
    )


def table(found: Sequence[Price], n_items: int) -> tuple[list[str], list[list[str]]]:
    """Prices as a head and rows of cells."""
    head = ["to be found", "chosen first", "then drawn at random", "answers", "need not be read"]
    rows = [
        [str(price.of_class), str(price.chosen), str(price.drawn), str(price.answers), f"{n_items - price.answers}"]
        for price in found
        if price.answers is not None
    ]
    return head, rows


def outlook(settings: Settings, n_items: int, share: float = 0.05) -> str:
    """What the budget is good for, in a few sentences, before anybody is asked."""
    price = next(iter(prices(settings, n_items, [share])), None)
    if price is None:
        return f"A search through {n_items} items ends when all were read: there are too few to save anything."
    enough = (
        "enough" if price.answers is not None and price.answers <= settings.budget.answers else "too small for that"
    )
    return (
        f"A search reserves nothing, and asks about the likeliest items first: {told(price, settings, n_items)} The "
        f"budget of {settings.budget.answers} is {enough}; `active-loop plan` tells more."
    )
