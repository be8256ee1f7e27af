"""The items that people have answered, one by one: what was said of each, by whom, and why it was asked.

Read in one snapshot, for people. As long as a loop runs, nothing here tells an item that tests from one that is learned
from: not what is said of it, not what is left out, and not how its votes are settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .answers import merging as new_merging
from .answers import reading
from .changes import current_settings
from .domain import Annotation, AnswerKind, AskKind, Item, Merged, Outcome, Purpose, Split
from .reasons import Reason, Reasons, readable
from .store import Store

PAGE: Final = 50
"""Items on a page of the list."""

_TELLING: Final = (AskKind.RELABEL, AskKind.REPEAT)
"""What items are asked about again for that never test: such answers are shown once the loop has stopped."""

_UNSAID: Final = {
    Outcome.SKIP: "skipped",
    Outcome.UNSURE: "unsure",
    Outcome.BROKEN: "the item is broken",
    Outcome.RETRACTED: "withdrawn",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one person's answer. `person` is empty for what came with the data.

    `said` is the label, or what was said instead; `ignored` is why it does not count, empty if it does.
    """

    person: str
    at: datetime
    seconds: float | None
    said: str
    ignored: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered item. `label` is what its votes come to, None where they come to none; `at` is the newest answer.

    `split` and `predicted` (what a model said before anybody had answered, or in the last look) are known once the loop
    has stopped; empty until then.
    """

    position: int
    id: str
    row: str
    label: str | None
    outcome: str
    people: tuple[str, ...]
    at: datetime
    split: str
    predicted: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the answered items, the newest answer first; pages count from 1."""

    items: tuple[Answered, ...]
    page: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Case:
    """One answered item with all that was said of it, in the order in which it was recorded, and why it was asked.

    `near` are the items that were nearest when it was chosen, with their labels then.
    """

    item: Answered
    versions: tuple[Version, ...]
    reason: Reason
    near: tuple[tuple[Answered, str], ...]


def listing(store: Store, page: int = 1) -> Listing | None:
    """A page of the answered items; None for one that there is not. The first is there even if it is empty."""
    with store.snapshot():
        book = _Book(store)
        pages = max(1, -(-len(book.said) // PAGE))
        if not 1 <= page <= pages:
            return None
        newest = sorted(book.said, key=lambda position: -(book.said[position][-1].position or 0))
        shown = newest[(page - 1) * PAGE : page * PAGE]
        return Listing(tuple(book.answered(position) for position in shown), page, pages, len(newest))


def case(store: Store, position: int) -> Case | None:
    """The answered item at this position; None if nobody has answered it, whatever it is."""
    with store.snapshot():
        book = _Book(store)
        if position not in book.said:
            return None
        reason = book.reasons.why(position)
        near = tuple((book.answered(item), readable(label)) for item, label in reason.near if item in book.said)
        return Case(book.answered(position), book.versions(position), reason, near)


class _Book:
    """What a store holds of answers, item by item."""

    def __init__(self, store: Store) -> None:
        settings = current_settings(store)
        self.reasons = Reasons.of(store)
        self._items = store.items()
        self._parse = reading(settings)
        self._adjudicators = frozenset(settings.people.adjudicators)
        shown = [a for a in store.annotations() if not (self.reasons.runs and a.asked in _TELLING)]
        self.said: dict[int, list[Annotation]] = {}
        for annotation in shown:
            if annotation.item is not None:
                self.said.setdefault(annotation.item, []).append(annotation)
        merging = new_merging(settings, self._may_weigh)
        merging.add(shown)
        self._merged = merging.merged
        self._predicted = {} if self.reasons.runs else _predicted(store, self.reasons)

    def _may_weigh(self, position: int) -> bool:
        """Whether an item may be settled together with others: while the loop runs none is, as none that tests is."""
        return not self.reasons.runs and self._items[position].split == Split.POOL

    def answered(self, position: int) -> Answered:
        item, merged = self._items[position], self._merged[position]
        return Answered(
            position=position,
            id=item.id,
            row=item.row,
            label=None if merged.label is None else readable(merged.label),
            outcome=_outcome(merged),
            people=tuple(dict.fromkeys(a.person for a in self.said[position] if a.ask)),
            at=self.said[position][-1].updated_at,
            split="" if self.reasons.runs else _side(item),
            predicted=readable(self._predicted.get(position, "")),
        )

    def versions(self, position: int) -> tuple[Version, ...]:
        said = self.said[position]
        newest = _newest(said)
        return tuple(self._version(annotation, newest) for annotation in said)

    def _version(self, annotation: Annotation, newest: Sequence[Annotation]) -> Version:
        answer = self._parse(annotation)
        outcome = Outcome.RETRACTED if annotation.kind == AnswerKind.RETRACTED else answer.outcome
        if outcome == Outcome.LABEL:
            said, ignored = readable(answer.label or ""), self._passed_over(annotation, newest)
        elif outcome == Outcome.INVALID:
            said, ignored = "not usable", answer.problem
        else:
            said, ignored = _UNSAID[outcome], "it gives no label"
        person = annotation.person if annotation.ask else ""
        return Version(person, annotation.updated_at, annotation.lead_time_s, said, ignored)

    def _passed_over(self, annotation: Annotation, newest: Sequence[Annotation]) -> str:
        """Why a label does not count, by what else was said; empty if it does: each person has one vote."""
        current = next(a for a in newest if (a.source, a.id) == (annotation.source, annotation.id))
        if current.kind == AnswerKind.RETRACTED:
            return "it was withdrawn"
        if current is not annotation:
            return "it was changed later"
        there = [a for a in newest if a.kind != AnswerKind.RETRACTED]
        own = [a for a in there if a.person == annotation.person]
        votes = [a for a in own if a.asked != AskKind.REPEAT] or own
        if annotation not in votes:
            return "the question was repeated to see whether the answer is the same"
        if votes[-1] is not annotation:
            return "a newer answer of the same person counts"
        settling = [a for a in there if self._settles(a)]
        return "an adjudicator has settled it" if settling and annotation not in settling else ""

    def _settles(self, annotation: Annotation) -> bool:
        has_label = self._parse(annotation).label is not None
        return annotation.asked == AskKind.ADJUDICATION and annotation.person in self._adjudicators and has_label


def _newest(said: Sequence[Annotation]) -> list[Annotation]:
    """The newest version of each annotation, in the order of time."""
    in_order = sorted(said, key=lambda a: (a.updated_at, a.position or 0))
    newest = {(a.source, a.id): a for a in in_order}
    return [a for a in in_order if newest[a.source, a.id] is a]


def _outcome(merged: Merged) -> str:
    """What stands in place of a label, in words; empty where there is one."""
    if merged.disputed:
        return "disputed"
    if merged.label is not None:
        return ""
    return _UNSAID.get(merged.outcome, "not usable")


def _side(item: Item) -> str:
    return "a test item" if item.split == Split.TEST else "an item to learn from"


def _predicted(store: Store, reasons: Reasons) -> dict[int, str]:
    """What was predicted of items that chance drew: in the newest look, or by the model of their round."""
    looks = store.looks()
    found = {seen.item: seen.predicted for seen in (store.look_items(looks[-1].number) if looks else ())}
    drawn = (ask for ask in reasons.asks.values() if ask.purpose == Purpose.POOL and "predicted" in ask.why)
    return {**{ask.item: str(ask.why["predicted"]) for ask in drawn if ask.why.get("drawn")}, **found}
