"""Label Studio as a backend, both directions of its JSON; the only place with its field names.

Polling is the truth here: a webhook of Label Studio is sent once, within a second, and never again, so it only
says "look now". Its task ids are used again after a deletion, so everything is found by the opaque `ask` in a
task's data. Its interface checks nothing of an answer, so an answer is passed on as it was written, and read by
`read_result` and `tasks`. A task carries the shown fields and its ask, never a prediction, a split or a reason.

One `LabelStudio` belongs to one thread. Nothing here keeps state beyond the process: what was recorded before a
restart is told to it by `resume`. The SDK takes more than a second to import, so it is imported on first use, and
so is the HTTP client: reading answers needs neither.

Inside, imports point down only: backend > project > listing > connection, elsewhere > listing, seat > connection, and
all know page, borrowed too. An export file is read below, by `exported`.
"""

from __future__ import annotations

from .backend import SOURCE, LabelStudio
from .borrowed import Control, control_of, copied, fields, left_out
from .elsewhere import Elsewhere
from .page import choice_result, export_tasks, hotkeys, label_config, label_result, read_result
from .project import EVENTS, SECRET_HEADER, Finding
from .seat import Annotator, OpenTask, sign_up

__all__ = [
    "EVENTS",
    "SECRET_HEADER",
    "SOURCE",
    "Annotator",
    "Control",
    "Elsewhere",
    "Finding",
    "LabelStudio",
    "OpenTask",
    "choice_result",
    "control_of",
    "copied",
    "export_tasks",
    "fields",
    "hotkeys",
    "label_config",
    "label_result",
    "left_out",
    "read_result",
    "sign_up",
]
