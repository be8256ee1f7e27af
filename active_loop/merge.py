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


def merge(annotations: Iterable[Annotation], parse: Parse, consensus: Rule = majority) -> dict[int, Merged]:
    """What was said about each item: position → `Merged`; `consensus` is the task's own rule.

    `annotations` are in the store's order; where two versions of one annotation, or two answers of one person,
    carry the same time, the later in that order counts.
    """
    latest: dict[tuple[str, str], Annotation] = {}
    for annotation in annotations:
        key = (annotation.source, annotation.id)
        if key not in latest or annotation.updated_at >= latest[key].updated_at:
            latest[key] = annotation
    by_item: dict[int, list[Annotation]] = {}
    for annotation in latest.values():
        if annotation.item is not None:
            by_item.setdefault(annotation.item, []).append(annotation)
    return {item: _merge_item(item, versions, parse, consensus) for item, versions in by_item.items()}


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
