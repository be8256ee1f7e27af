"""The items that people have answered, one by one: what was said of each, by whom, and why it was asked.

Read in one snapshot, for people; of the items only those that are shown. As long as a loop runs, nothing here tells an
item that tests from one that is learned from: not what is said of it, not what is left out, and not how its votes are
settled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from . import again
from .answers import heard, held_out, reading
from .answers import merging as new_merging
from .changes import current_settings, ended
from .domain import Annotation, AnswerKind, Ask, AskKind, Item, Merged, Outcome, Purpose, Split
from .language import say, say_n
from .reasons import Reason, Reasons, readable
from .settings import Settings
from .store import Store

PAGE: Final = 50
"""Items on a page of the list."""

_TELLING: Final = (AskKind.RELABEL, AskKind.REPEAT)
"""What items are asked about again for that never test: such answers are shown once the loop has stopped."""


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

    `why` says in one sentence why it was asked about, where that may be told; empty elsewhere. `split` and `predicted`
    (what a model said before anybody had answered, or in the last look) are known once the loop has stopped, and empty
    until then.
    """

    position: int
    id: str
    row: str
    label: str | None
    outcome: str
    people: tuple[str, ...]
    at: datetime
    why: str
    split: str
    predicted: str


@dataclass(frozen=True, slots=True)
class Choice:
    """How an item came to be asked about: by which strategy, in which round, where on its list, counted from 1.

    `utility` is how much it was wanted, in the strategy's own unit. `likely` are the answers that its model held for
    likely, the likeliest first, each with its chance or its votes where these were recorded, else with nothing.
    """

    strategy: str
    round: int | None
    rank: int | None
    utility: float | None
    likely: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is open, and what came back without a label, in numbers of asks and items.

    `since` is when the oldest open ask was put to people. `unsettled` of the `disputed` items wait for somebody to
    settle them: all have answered who were asked, or somebody was asked again and has not answered yet.
    """

    open_asks: int
    since: datetime | None
    skipped: int
    unsure: int
    broken: int
    disputed: int
    unsettled: int
    adjudicators: int


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

    `choice` is there where the reason may be told, and `near` are the items that were nearest when it was chosen, with
    their labels then.
    """

    item: Answered
    versions: tuple[Version, ...]
    reason: Reason
    choice: Choice | None
    near: tuple[tuple[Answered, str], ...]


def listing(store: Store, page: int = 1, language: str = "") -> Listing | None:
    """A page of the answered items; None for one that there is not. The first is there even if it is empty.

    Reasons are told in `language`, or in that of the settings.
    """
    with store.snapshot():
        newest = store.answered_items(_TELLING if _runs(store) else ())
        pages = max(1, -(-len(newest) // PAGE))
        if not 1 <= page <= pages:
            return None
        shown = newest[(page - 1) * PAGE : page * PAGE]
        book = _Book(store, Reasons.of(store, language, shown), shown)
        return Listing(tuple(book.answered(position) for position in shown), page, pages, len(newest))


def case(store: Store, position: int, language: str = "") -> Case | None:
    """The answered item at this position; None if nobody has answered it, whatever it is."""
    if position >= 1 << 63:
        return None
    with store.snapshot():
        reasons = Reasons.of(store, language, [position])
        reason = reasons.why(position)
        book = _Book(store, reasons, [position, *(item for item, _ in reason.near)])
        if position not in book.said:
            return None
        near = tuple((book.answered(item), readable(label)) for item, label in reason.near if item in book.said)
        ask = reasons.asks.get(position)
        choice = _choice(ask) if ask and reasons.is_told(position) else None
        return Case(book.answered(position), book.versions(position), reason, choice, near)


def waiting(store: Store) -> Waiting:
    """What is open, and what came back without a label; each item by itself, on whichever side it is."""
    with store.snapshot():
        settings, sent_at, incomplete = current_settings(store), store.sent_at(), store.incomplete()
        merged = _merged(store, settings, _shown(store.annotations(), _runs(store)))
        outcomes = [m.outcome for m in merged.values()]
        disputed = {item: m for item, m in merged.items() if m.disputed}
        settling = {ask.item for ask in incomplete if ask.kind == AskKind.ADJUDICATION}
        to_settle = again.differing(store.asks_about(disputed), {ask.id for ask in incomplete}, disputed)
        return Waiting(
            open_asks=len(incomplete),
            since=min((sent_at[ask.item] for ask in incomplete), default=None),
            skipped=outcomes.count(Outcome.SKIP),
            unsure=outcomes.count(Outcome.UNSURE),
            broken=outcomes.count(Outcome.BROKEN),
            disputed=len(disputed),
            unsettled=len(settling.intersection(disputed).union(to_settle)),
            adjudicators=len(settings.people.adjudicators),
        )


class _Book:
    """What a store holds of the answers about these items."""

    def __init__(self, store: Store, reasons: Reasons, positions: Collection[int]) -> None:
        settings = current_settings(store)
        self.reasons = reasons
        self._items = {item.position: item for item in store.items_at(positions)}
        self._parse = reading(settings)
        self._adjudicators = frozenset(settings.people.adjudicators)
        shown = _shown(store.annotations_about(positions), reasons.runs)
        self.said: dict[int, list[Annotation]] = {}
        for annotation in shown:
            if annotation.item is not None:
                self.said.setdefault(annotation.item, []).append(annotation)
        self._merged = _merged(store, settings, shown)
        self._predicted = {} if reasons.runs else _predicted(store, reasons)

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
            why=self.reasons.short(position),
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
            said, ignored = _unsaid(outcome), answer.problem
        else:
            said, ignored = _unsaid(outcome), say("it gives no label")
        person = annotation.person if annotation.ask else ""
        return Version(person, annotation.updated_at, annotation.lead_time_s, said, ignored)

    def _passed_over(self, annotation: Annotation, newest: Sequence[Annotation]) -> str:
        """Why a label does not count, by what else was said; empty if it does: each person has one vote."""
        current = next(a for a in newest if (a.source, a.id) == (annotation.source, annotation.id))
        if current.kind == AnswerKind.RETRACTED:
            return say("it was withdrawn")
        if current is not annotation:
            return say("it was changed later")
        there = [a for a in newest if a.kind != AnswerKind.RETRACTED]
        own = [a for a in there if a.person == annotation.person]
        votes = [a for a in own if a.asked != AskKind.REPEAT] or own
        if annotation not in votes:
            return say("the question was repeated to see whether the answer is the same")
        if votes[-1] is not annotation:
            return say("a newer answer of the same person counts")
        settling = [a for a in there if self._settles(a)]
        return say("an adjudicator has settled it") if settling and annotation not in settling else ""

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
        return say("disputed")
    if merged.label is not None:
        return ""
    return _unsaid(merged.outcome)


def _unsaid(outcome: Outcome) -> str:
    """What somebody said who gave no label, in words."""
    match outcome:
        case Outcome.SKIP:
            return say("skipped")
        case Outcome.UNSURE:
            return say("unsure")
        case Outcome.BROKEN:
            return say("the item is broken")
        case Outcome.RETRACTED:
            return say("withdrawn")
    return say("not usable")


def _side(item: Item) -> str:
    return say("a test item") if item.split == Split.TEST else say("an item to learn from")


def _choice(ask: Ask) -> Choice:
    """How the item of this ask was chosen; a test item was on no list."""
    why, rank = ask.why, None if ask.rank is None else ask.rank + 1
    return Choice(str(why.get("strategy") or ask.strategy), ask.round, rank, ask.utility, _likely(why))


def _likely(why: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The likeliest answers, as far as a strategy recorded them."""
    if "votes" in why:
        by_votes = sorted(why["votes"].items(), key=lambda vote: (-vote[1], vote[0]))
        return tuple((readable(str(name)), say_n("{n} vote", "{n} votes", count)) for name, count in by_votes)
    for name, chance in (("class", "confidence"), ("label", "probability")):
        if name in why and chance in why:
            return ((str(why[name]), f"{100 * why[chance]:.0f} %"),)
    return tuple((str(name), "") for name in why.get("classes", why.get("labels", ())) if isinstance(name, str))


def _runs(store: Store) -> bool:
    return ended(store, current_settings(store)) is None


def _shown(annotations: Iterable[Annotation], runs: bool) -> list[Annotation]:
    """What may be shown now: of a running loop nothing that only items to learn from are asked."""
    return [a for a in annotations if not (runs and a.asked in _TELLING)]


def _merged(store: Store, settings: Settings, shown: Sequence[Annotation]) -> Mapping[int, Merged]:
    """What these answers come to; once the loop has stopped as all answers together say, where they are weighed.

    While it runs each item is settled by itself, as every item that tests is.
    """
    if settings.people.merge == "majority" or _runs(store):
        merging = new_merging(settings, lambda item: False)
        merging.add(shown)
        return merging.merged
    pool = {item.position for item in store.items_at(store.answered_items()) if item.split == Split.POOL}
    believed = held_out(heard(store.rounds(), store.annotation_position()))
    merging = new_merging(settings, lambda item: item in pool, believed)
    merging.add(store.annotations())
    return merging.merged


def _predicted(store: Store, reasons: Reasons) -> dict[int, str]:
    """What was predicted of items that chance drew: in the newest look, or by the model of their round."""
    looks = store.looks()
    found = {seen.item: seen.predicted for seen in (store.look_items(looks[-1].number) if looks else ())}
    drawn = (ask for ask in reasons.asks.values() if ask.purpose == Purpose.POOL and "predicted" in ask.why)
    return {**{ask.item: str(ask.why["predicted"]) for ask in drawn if ask.why.get("drawn")}, **found}
