"""What a label is, per kind of task: validate, encode, decode, summarise, the metrics it allows.

Everything that depends on the kind of label stands behind one protocol, `Task`, so that the loop, the store and
the merge treat a label as a plain string and never ask which kind it is. `TASKS` names the kinds; a further kind
(several labels at once, a number, spans) is a further value of it. What people send back is checked here and
nowhere else: a labelling place is free to return anything. Nothing here reads files or knows a backend.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

from .domain import Answer, Outcome
from .errors import ConfigError, DataError, TrainingError, unknown_name
from .settings import TaskSettings

if TYPE_CHECKING:  # numpy costs a tenth of a second, which `--help` does not have to pay
    import numpy as np
    from numpy.typing import NDArray

UNSURE: Final = "(unsure)"
"""The choice of somebody who cannot tell; offered beside the classes, never one of them."""

BROKEN: Final = "(broken item)"
"""The choice for an item that cannot be judged at all; offered beside the classes, never one of them."""


class Task(Protocol):
    """One kind of label. Labels are strings everywhere outside; codes are their form in a learner.

    `read` never raises: an answer that cannot be used is `INVALID` with the reason. `encode`, `decode` and
    `decide` are for labels and codes that already passed: they raise on what they do not know.
    """

    metrics: ClassVar[tuple[str, ...]]
    """The metrics that make sense for this kind of label."""

    @classmethod
    def of(cls, settings: TaskSettings) -> Self: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    def read(self, given: object) -> Answer: ...

    def encode(self, labels: Sequence[str]) -> NDArray[Any]: ...

    def decode(self, codes: Iterable[Any]) -> list[str]: ...

    def decide(self, mean_proba: NDArray[np.floating[Any]]) -> NDArray[Any]: ...

    def summarise(self, labels: Iterable[str]) -> dict[str, int]: ...


def normalise(text: str) -> str:
    """The form in which labels are compared: Unicode NFC, without white space around it.

    >>> normalise(" cafe\\u0301 ") == "caf\\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text).strip()


@dataclass(frozen=True, slots=True)
class SingleChoice:
    """Exactly one of the classes. Codes are places in `classes`, from 0.

    Classes are kept as given and compared in normal form (see `normalise`). Raises `ConfigError` if two of them
    are equal in that form, if one is blank, or if one is `UNSURE` or `BROKEN`.

    >>> task = SingleChoice(("ham", "spam"))
    >>> task.read(["spam"]).label
    'spam'
    >>> task.read("eggs").problem
    'unknown label "eggs"; known: ham, spam.'
    """

    classes: tuple[str, ...]
    _code: Mapping[str, int] = field(init=False, repr=False, compare=False)

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    UNSURE: ClassVar[str] = UNSURE
    BROKEN: ClassVar[str] = BROKEN

    def __post_init__(self) -> None:
        code: dict[str, int] = {}
        for place, name in enumerate(self.classes):
            plain = normalise(name)
            if not plain or plain in (UNSURE, BROKEN):
                raise ConfigError(
                    f'task.classes: "{name}" cannot be a class; blank names, {UNSURE} and {BROKEN} are not.'
                )
            if plain in code:
                raise ConfigError(
                    f'task.classes: entries {code[plain] + 1} and {place + 1} are both "{plain}"; drop one.'
                )
            code[plain] = place
        object.__setattr__(self, "_code", code)

    @classmethod
    def of(cls, settings: TaskSettings) -> Self:
        """The task that these settings describe."""
        return cls(settings.classes)

    def read(self, given: object) -> Answer:
        """What a plain answer (a string, a list of chosen strings, or None) says; never raises.

        One class is `LABEL`, `UNSURE` or `BROKEN` alone is that outcome; the same choice twice counts once. `INVALID`,
        with the problem: nothing chosen, two different choices, an unknown label, anything that is no string.
        """
        chosen = _chosen(given)
        if chosen is None:
            return Answer(Outcome.INVALID, problem=f"a label must be text, and this is {_named_type(given)}")
        if not chosen:
            return Answer(Outcome.INVALID, problem="empty answer")
        if len(chosen) > 1:
            return Answer(Outcome.INVALID, problem=f"{len(chosen)} choices where one is allowed: {', '.join(chosen)}")
        return self._meaning(chosen[0])

    def encode(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Codes (n,) of labels, in their order; `DataError` names the first label that is no class."""
        import numpy as np

        try:
            return np.array([self._code[normalise(label)] for label in labels], dtype=np.int64)
        except KeyError as unknown:
            raise DataError(unknown_name("label", str(unknown.args[0]), self.classes)) from unknown

    def decode(self, codes: Iterable[Any]) -> list[str]:
        """Labels of codes, in their order; `DataError` if a code is not one of 0 … C - 1."""
        places = [int(code) for code in codes]
        for place in places:
            if not 0 <= place < len(self.classes):
                raise DataError(f"no class has the code {place}: there are {len(self.classes)}, coded from 0.")
        return [self.classes[place] for place in places]

    def decide(self, mean_proba: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Codes (n,) of the most probable class in each row of `mean_proba` (n, C); a tie goes to the first class.

        Raises `TrainingError` for another number of columns than classes, and for predictions that are not numbers.
        """
        import numpy as np

        if mean_proba.ndim != 2 or mean_proba.shape[1] != len(self.classes):
            n_classes = len(self.classes)
            raise TrainingError(
                f"predictions have the shape {mean_proba.shape}; {n_classes} classes need (n, {n_classes})."
            )
        if np.isnan(mean_proba).any():
            row = int(np.isnan(mean_proba).any(axis=1).argmax())
            raise TrainingError(f"the prediction for row {row} is not a number: the model has no usable probabilities.")
        codes: NDArray[np.int64] = np.argmax(mean_proba, axis=1).astype(np.int64)
        return codes

    def summarise(self, labels: Iterable[str]) -> dict[str, int]:
        """How often each class occurs, in the order of the classes, 0 included; `DataError` for an unknown label."""
        counts = [0] * len(self.classes)
        for label in labels:
            place = self._code.get(normalise(label))
            if place is None:
                raise DataError(unknown_name("label", label, self.classes))
            counts[place] += 1
        return dict(zip(self.classes, counts, strict=True))

    def _meaning(self, choice: str) -> Answer:
        if choice == UNSURE:
            return Answer(Outcome.UNSURE)
        if choice == BROKEN:
            return Answer(Outcome.BROKEN)
        place = self._code.get(choice)
        if place is None:
            return Answer(Outcome.INVALID, problem=unknown_name("label", choice, self.classes))
        return Answer(Outcome.LABEL, label=self.classes[place])


def _chosen(given: object) -> list[str] | None:
    """The different choices in normal form, blanks left out; None if something given is no string."""
    choices = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    texts = [choice for choice in choices if isinstance(choice, str)]
    if len(texts) < len(choices):
        return None
    return list(dict.fromkeys(plain for plain in map(normalise, texts) if plain))


def _named_type(given: object) -> str:
    odd = (
        next((part for part in given if not isinstance(part, str)), None) if isinstance(given, list | tuple) else given
    )
    return type(odd).__name__


TASKS: Final[Mapping[str, type[Task]]] = {"choice": SingleChoice}
"""Kinds of task by the name that `task.kind` gives them."""


def make_task(settings: TaskSettings) -> Task:
    """The task that `settings` describe; an unknown kind is a `ConfigError` that lists the known ones."""
    if settings.kind not in TASKS:
        raise ConfigError(unknown_name("task.kind", settings.kind, TASKS))
    return TASKS[settings.kind].of(settings)
