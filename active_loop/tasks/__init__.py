"""What a label is, per kind of task: validate, encode, decode, settle votes, summarise, the metrics it allows.

Everything that depends on the kind of label stands behind one protocol, `Task`, so that the loop, the store and
the merge treat a label as a plain string and never ask which kind it is. `TASKS` names the kinds; a further kind
(spans, for instance) is a further value of it. What people send back is checked here and nowhere else: a labelling
place is free to return anything. Nothing here reads files or knows a backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

from ..domain import Answer, Consensus
from ..errors import ConfigError, unknown_name
from ..settings import TaskSettings
from .choice import SingleChoice, majority
from .multi_label import NONE, MultiLabel
from .number import Number
from .reading import BROKEN, UNSURE, normalise
from .taxonomy import BELOW, Taxonomy, path_of

if TYPE_CHECKING:  # numpy costs a tenth of a second, which `--help` does not have to pay
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BELOW",
    "BROKEN",
    "NONE",
    "TASKS",
    "UNSURE",
    "MultiLabel",
    "Number",
    "SingleChoice",
    "Task",
    "Taxonomy",
    "majority",
    "make_task",
    "normalise",
    "path_of",
]


class Task(Protocol):
    """One kind of label. Labels are strings everywhere outside; codes are their form in a learner.

    Each label has one form as a string, whoever wrote it and however: the class as it is configured; several classes
    as a JSON list in their configured order; a number by the fewest digits that stand for it.

    `read` never raises: an answer that cannot be used is `INVALID` with the reason. The others are for labels and
    codes that already passed: they raise on what they do not know.
    """

    kind: ClassVar[str]
    """What a model learns of it, as metrics and strategies name it: see `TaskSettings.learned`."""

    metrics: ClassVar[tuple[str, ...]]
    """The metrics that make sense for this kind of label."""

    @classmethod
    def of(cls, settings: TaskSettings) -> Self: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    def read(self, given: object) -> Answer: ...

    def encode(self, labels: Sequence[str]) -> NDArray[Any]: ...

    def decode(self, codes: Iterable[Any]) -> list[str]: ...

    def decide(self, mean: NDArray[np.floating[Any]]) -> NDArray[Any]: ...

    def alike(self, one: NDArray[Any], other: NDArray[Any]) -> float:
        """How far two rounds predict the same of the same items, at most 1; of no items 1."""
        ...

    def consensus(self, votes: Sequence[str]) -> Consensus: ...

    def summarise(self, labels: Iterable[str]) -> Mapping[str, float]: ...


TASKS: Final[Mapping[str, type[Task]]] = {
    "choice": SingleChoice,
    "taxonomy": Taxonomy,
    "multi_label": MultiLabel,
    "number": Number,
}
"""Kinds of task by the name that `task.kind` gives them."""


def make_task(settings: TaskSettings) -> Task:
    """The task that `settings` describe; an unknown kind is a `ConfigError` that lists the known ones."""
    if settings.kind not in TASKS:
        raise ConfigError(unknown_name("task.kind", settings.kind, TASKS))
    return TASKS[settings.kind].of(settings)
