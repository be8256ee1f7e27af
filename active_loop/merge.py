"""Annotations → one label per item.

The latest version of each annotation counts; each person has one vote per item, the newest. What the valid votes come
to is settled by a rule of the task's: see `Task.consensus`. Votes that settle nothing, and an item that everybody
skipped, have no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from .domain import Annotation, Answer, AnswerKind, Consensus, Merged, Outcome
from .tasks import majority

Parse = Callable[[Annotation], Answer]
Rule = Callable[[Sequence[str]], Consensus]
"""At least one vote, one label per person → what they come to, whatever their order."""


class Merging:
    """What was said about each item, as answers come in: only the items that they are about are settled again.

    `add` takes annotations in the store's order; where two versions of one annotation, or two answers of one person,
    carry the same time, the later in that order counts. `merged` (position → `Merged`) is up to date after each call.
    """

    def __init__(self, parse: Parse, consensus: Rule = majority) -> None:
        self.merged: dict[int, Merged] = {}
        self._parse = parse
        self._consensus = consensus
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
        for item in sorted(touched):
            self.merged[item] = _merge_item(item, [*self._versions[item].values()], self._parse, self._consensus)


def merge(annotations: Iterable[Annotation], parse: Parse, consensus: Rule = majority) -> dict[int, Merged]:
    """What was said about each item: position → `Merged`; `consensus` is the task's own rule. See `Merging`."""
    merging = Merging(parse, consensus)
    merging.add(annotations)
    return merging.merged


def _merge_item(item: int, versions: list[Annotation], parse: Parse, consensus: Rule) -> Merged:
    versions = sorted(versions, key=lambda a: (a.updated_at, a.position or 0))
    answers = {a.person: parse(a) for a in versions if a.kind != AnswerKind.RETRACTED}
    votes = [answer.label for answer in answers.values() if answer.label is not None]
    found = consensus(votes) if votes else Consensus()
    return Merged(
        item=item,
        label=found.label,
        outcome=_outcome(answers, bool(votes)),
        votes=dict(sorted(Counter(votes).items())),
        people=tuple(sorted(answers)),
        agreement=found.agreement,
        disputed=bool(votes) and found.label is None,
        annotation=max(a.position or 0 for a in versions),
    )


def _outcome(answers: dict[str, Answer], has_votes: bool) -> Outcome:
    """A label if anybody gave one; else the newest answer's outcome; retracted if nothing is left."""
    if has_votes:
        return Outcome.LABEL
    return list(answers.values())[-1].outcome if answers else Outcome.RETRACTED
