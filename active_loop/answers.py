"""Raw answers → labels, as the settings say, whichever place wrote them.

An annotation keeps the answer as its source wrote it; here is the one place that knows which source writes how.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from . import label_studio
from .domain import IMPORTED, Annotation, Answer, AnswerKind, Outcome, Round
from .language import say
from .merge import Merging, Parse, Together
from .settings import Settings
from .tasks import Task, make_task

if TYPE_CHECKING:
    from .quality import Chances


def merging(settings: Settings, learned: Callable[[int], bool], held_out: Chances | None = None) -> Merging:
    """Answers that are read, and merged, as the settings say; `learned` tells whether an item is one to learn from.

    `held_out` is what a model predicts of items without their own labels, for a merge that heeds it.
    """
    together, adjudicators = Together.of(settings, learned, held_out), settings.people.adjudicators
    return Merging(reading(settings), make_task(settings.task).consensus, together, adjudicators)


def reading(settings: Settings) -> Parse:
    """What an annotation means for these settings; see `reader`."""
    people = settings.people
    counted = {*people.annotators, *people.adjudicators} if people.annotators else ()
    return reader(make_task(settings.task), counted)


def heard(rounds: Iterable[Round], upto: int) -> Round | None:
    """The newest round before this place of the answers that predicted items without their own labels; none by hand."""
    known = [r for r in rounds if r.record.get("held_out") and r.annotation_position < upto and not r.by_hand]
    return known[-1] if known else None


def held_out(heard: Round | None) -> Chances:
    """What a round predicted of items without their own labels; nothing where there is no round."""
    return {item: np.array(chances) for item, chances in heard.record["held_out"]} if heard else {}


def reader(task: Task, people: Collection[str] = ()) -> Parse:
    """A function that says what an annotation means for this task. It never raises.

    Where `people` are named, nobody else's answers are valid; those that came with the data always are.
    """

    def read(annotation: Annotation) -> Answer:
        if people and annotation.person not in people and annotation.source != IMPORTED:
            return Answer(Outcome.INVALID, problem=say("{name} is not among people.annotators", name=annotation.person))
        if annotation.kind == AnswerKind.SKIPPED:
            return Answer(Outcome.SKIP)
        if annotation.source.startswith(label_studio.SOURCE):
            return task.read(label_studio.read_result(annotation.raw))
        return task.read(json.loads(annotation.raw))

    return read
