"""Annotations → one label per item.

The latest version of each annotation counts; each person has one vote per item, the newest; the majority of
the valid votes is the label. A tie, and an item that everybody skipped, has no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from .domain import Annotation, Answer, AnswerKind, Merged, Outcome

Parse = Callable[[Annotation], Answer]


def merge(annotations: Iterable[Annotation], parse: Parse) -> dict[int, Merged]:
    """What was said about each item: position → `Merged`.

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
    return {item: _merge_item(item, versions, parse) for item, versions in by_item.items()}


def _merge_item(item: int, versions: list[Annotation], parse: Parse) -> Merged:
    versions = sorted(versions, key=lambda a: (a.updated_at, a.position or 0))
    answers = {a.person: parse(a) for a in versions if a.kind != AnswerKind.RETRACTED}
    votes = Counter(answer.label for answer in answers.values() if answer.label is not None)
    top = votes.most_common(2)
    disputed = len(top) == 2 and top[0][1] == top[1][1]
    label = top[0][0] if top and not disputed else None
    return Merged(
        item=item,
        label=label,
        outcome=_outcome(answers, bool(votes)),
        votes=dict(sorted(votes.items())),
        people=tuple(sorted(answers)),
        agreement=top[0][1] / votes.total() if label is not None else None,
        disputed=disputed,
        annotation=max(a.position or 0 for a in versions),
    )


def _outcome(answers: dict[str, Answer], has_votes: bool) -> Outcome:
    """A label if anybody gave one; else the newest answer's outcome; retracted if nothing is left."""
    if has_votes:
        return Outcome.LABEL
    return list(answers.values())[-1].outcome if answers else Outcome.RETRACTED
