"""Annotations → one label per item.

The latest version of each annotation counts; each person has one vote per item, the newest. An answer to a repeated
question is no vote of somebody who has one: it only shows how constant that person is. What the valid votes come to is
settled by a rule of the task's: see `Task.consensus`. Votes that settle nothing, and an item that everybody skipped,
have no label. Where an adjudicator was asked, what adjudicators say settles the item alone.

Where some people are right more often than others, items with several votes can be settled together instead, by what
all votes say of each person (see `consensus`). That is for items that are learned from. Test items are always settled
each by itself: what people said is the truth that a look takes, and no model of people may come in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from . import consensus
from .domain import Annotation, Answer, AnswerKind, AskKind, Consensus, Merged, Outcome
from .settings import Settings
from .tasks import majority

if TYPE_CHECKING:
    from .quality import Chances

Parse = Callable[[Annotation], Answer]
Rule = Callable[[Sequence[str]], Consensus]
"""At least one vote, one label per person → what they come to, whatever their order."""


@dataclass(frozen=True, slots=True)
class Together:
    """Items that are settled together: those that `learned` says are no test items, if they have two votes or more.

    `settle` takes all their votes, item → person → label, and says what each item's come to, whatever their order.
    """

    settle: Callable[[Mapping[int, Mapping[str, str]]], Mapping[int, Consensus]]
    learned: Callable[[int], bool]

    @classmethod
    def of(cls, settings: Settings, learned: Callable[[int], bool], held_out: Chances | None = None) -> Together | None:
        """What `people.merge` says; None where each item is settled by itself.

        `held_out` (item → (C,)) is what a model predicts that has not learned from the item's own label.
        """
        classes = settings.task.classes
        match settings.people.merge:
            case "dawid_skene":
                return cls(partial(consensus.settle, classes=classes), learned)
            case "crowdlab":
                from . import quality  # it imports scikit-learn

                return cls(partial(quality.settle, proba=held_out or {}, classes=classes), learned)
        return None


class Merging:
    """What was said about each item, as answers come in: only what they bear on is settled again.

    `add` takes annotations in the store's order; where two versions of one annotation, or two answers of one person,
    carry the same time, the later in that order counts. `merged` (position → `Merged`), `votes` (position → person →
    label, of items with a vote) and `repeated` (position → person → vote and label at the repetition) are up to date
    after each call, and the same however the annotations came in. `adjudicators` are people's names.
    """

    def __init__(
        self,
        parse: Parse,
        rule: Rule = majority,
        together: Together | None = None,
        adjudicators: Collection[str] = (),
    ) -> None:
        self.merged: dict[int, Merged] = {}
        self.votes: dict[int, dict[str, str]] = {}
        self.repeated: dict[int, dict[str, tuple[str, str]]] = {}
        self._parse = parse
        self._rule = rule
        self._together = together
        self._adjudicators = frozenset(adjudicators)
        self._adjudicated: set[int] = set()
        self._versions: dict[int, dict[tuple[str, str], Annotation]] = {}

    def add(self, annotations: Iterable[Annotation]) -> None:
        """Take more annotations in, at most once each."""
        touched = set()
        for annotation in annotations:
            if annotation.item is None:
                continue
            versions, key = self._versions.setdefault(annotation.item, {}), (annotation.source, annotation.id)
            if key not in versions or annotation.updated_at >= versions[key].updated_at:
                versions[key] = annotation
                touched.add(annotation.item)
        several = {item for item in touched if len(self.votes.get(item, ())) > 1}
        for item in sorted(touched):
            self._merge(item)
        several |= {item for item in touched if len(self.votes.get(item, ())) > 1}
        if self._together and any(map(self._together.learned, several)):
            self._settle(self._together)

    def trust(self, together: Together | None) -> None:
        """Settle by this rule what is settled together, also what came before."""
        self._together = together
        if together:
            self._settle(together)

    def _merge(self, item: int) -> None:
        """Settle one item by itself."""
        versions = sorted(self._versions[item].values(), key=lambda a: (a.updated_at, a.position or 0))
        there = [a for a in versions if a.kind != AnswerKind.RETRACTED]
        first = {a.person: self._parse(a) for a in there if a.asked != AskKind.REPEAT}
        again = {a.person: self._parse(a) for a in there if a.asked == AskKind.REPEAT}
        answers = {**again, **first}
        votes = _labels(answers)
        settling = _labels({a.person: self._parse(a) for a in there if self._settles(a)})
        found = self._rule([*(settling or votes).values()]) if votes else Consensus()
        _put(self.votes, item, votes)
        repeats = {who: (votes[who], label) for who, label in _labels(again).items() if who in first and who in votes}
        _put(self.repeated, item, repeats)
        self._adjudicated.discard(item)
        if settling:
            self._adjudicated.add(item)
        self.merged[item] = Merged(
            item=item,
            label=found.label,
            outcome=_outcome(answers, bool(votes)),
            votes=dict(sorted(Counter(votes.values()).items())),
            people=tuple(sorted(answers)),
            agreement=found.agreement,
            disputed=bool(votes) and found.label is None,
            annotation=max(a.position or 0 for a in versions),
        )

    def _settles(self, annotation: Annotation) -> bool:
        return annotation.asked == AskKind.ADJUDICATION and annotation.person in self._adjudicators

    def _settle(self, together: Together) -> None:
        """Settle all items that are settled together."""
        several = {
            item: votes
            for item, votes in self.votes.items()
            if len(votes) > 1 and together.learned(item) and item not in self._adjudicated
        }
        for item, found in (together.settle(several) if several else {}).items():
            label, disputed = found.label, found.label is None
            self.merged[item] = replace(self.merged[item], label=label, agreement=found.agreement, disputed=disputed)


def merge(
    annotations: Iterable[Annotation], parse: Parse, rule: Rule = majority, together: Together | None = None
) -> dict[int, Merged]:
    """What was said about each item: position → `Merged`; `rule` is the task's own. See `Merging`."""
    merging = Merging(parse, rule, together)
    merging.add(annotations)
    return merging.merged


def _put(of_items: dict[int, Any], item: int, found: Mapping[str, Any]) -> None:
    """What was found of an item, where anything was."""
    of_items.pop(item, None)
    if found:
        of_items[item] = found


def _labels(answers: Mapping[str, Answer]) -> dict[str, str]:
    """The valid ones: person → label."""
    return {person: answer.label for person, answer in answers.items() if answer.label is not None}


def _outcome(answers: Mapping[str, Answer], has_votes: bool) -> Outcome:
    """A label if anybody gave one; else the newest answer's outcome; retracted if nothing is left."""
    if has_votes:
        return Outcome.LABEL
    return list(answers.values())[-1].outcome if answers else Outcome.RETRACTED
