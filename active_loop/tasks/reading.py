"""What the kinds of task have in common when they read what people send back."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..domain import Answer, Outcome
from ..errors import ConfigError, TrainingError
from ..language import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNSURE: Final = "(unsure)"
"""The choice of somebody who cannot tell; offered beside the classes, never one of them."""

BROKEN: Final = "(broken item)"
"""The choice for an item that cannot be judged at all; offered beside the classes, never one of them."""

OUTCOMES: Final[Mapping[str, Outcome]] = {UNSURE: Outcome.UNSURE, BROKEN: Outcome.BROKEN}
"""What the two say that are no label, whatever the kind of task."""


def normalise(text: str) -> str:
    """The form in which labels are compared: Unicode NFC, without white space around it.

    >>> normalise(" cafe\\u0301 ") == "caf\\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text).strip()


def invalid(problem: str) -> Answer:
    """An answer that cannot be used, with what is wrong with it."""
    return Answer(Outcome.INVALID, problem=problem)


def empty() -> Answer:
    """The refusal of an answer in which nothing was given."""
    return invalid(say("empty answer"))


def places_of(classes: Sequence[str], reserved: Sequence[str]) -> dict[str, int]:
    """Place of each class by its normal form.

    Raises `ConfigError` for a class that is blank or reserved, and for two that are equal in that form.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(classes):
        plain = normalise(name)
        if not plain or plain in reserved:
            names = f"{', '.join(reserved[:-1])} and {reserved[-1]}"
            raise ConfigError(f'task.classes: "{name}" cannot be a class; blank names, {names} are not.')
        if plain in places:
            raise ConfigError(
                f'task.classes: entries {places[plain] + 1} and {place + 1} are both "{plain}"; drop one.'
            )
        places[plain] = place
    return places


def chosen_texts(given: object) -> list[str] | None:
    """What was chosen, in normal form, blanks left out; None if something given is no string."""
    choices = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    texts = [choice for choice in choices if isinstance(choice, str)]
    if len(texts) < len(choices):
        return None
    return [plain for plain in map(normalise, texts) if plain]


def not_text(given: object) -> Answer:
    """The refusal of what `chosen_texts` found to hold something that is no string."""
    odd = (
        next((part for part in given if not isinstance(part, str)), None) if isinstance(given, list | tuple) else given
    )
    return invalid(say("a label must be text, and this is {kind}", kind=type(odd).__name__))


def check_columns(mean: NDArray[np.floating[Any]], n_classes: int) -> None:
    """Raise `TrainingError` unless these are predictions (n, n_classes), all of them numbers."""
    import numpy as np

    if mean.ndim != 2 or mean.shape[1] != n_classes:
        raise TrainingError(f"predictions have the shape {mean.shape}; {n_classes} classes need (n, {n_classes}).")
    if np.isnan(mean).any():
        row = int(np.isnan(mean).any(axis=1).argmax())
        raise TrainingError(f"the prediction for row {row} is not a number: the model has no usable probabilities.")
