"""Raw answers → what they say, whichever place wrote them.

An annotation keeps the answer as its source wrote it; here is the one place that knows which source writes how.
"""

from __future__ import annotations

import json

from . import label_studio
from .domain import Annotation, Answer, AnswerKind, Outcome
from .merge import Parse
from .tasks import Task


def reader(task: Task) -> Parse:
    """A function that says what an annotation means for this task. It never raises."""

    def read(annotation: Annotation) -> Answer:
        if annotation.kind == AnswerKind.SKIPPED:
            return Answer(Outcome.SKIP)
        if annotation.source.startswith(label_studio.SOURCE):
            return task.read(label_studio.read_result(annotation.raw))
        return task.read(json.loads(annotation.raw))

    return read
