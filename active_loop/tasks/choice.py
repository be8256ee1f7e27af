"""One class per item: exactly one of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..domain import Answer, Consensus, Outcome
from ..errors import DataError, unknown_name
from ..language import say
from ..settings import TaskSettings, metrics_of
from .reading import (
    BROKEN,
    OUTCOMES,
    UNSURE,
    check_columns,
    chosen_texts,
    empty,
    invalid,
    normalise,
    not_text,
    places_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    kind: ClassVar[str] = "choice"
    metrics: ClassVar[tuple[str, ...]] = metrics_of("choice")
    UNSURE: ClassVar[str] = UNSURE
    BROKEN: ClassVar[str] = BROKEN

    def __post_init__(self) -> None:
        object.__setattr__(self, "_code", places_of(self.classes, (UNSURE, BROKEN)))

    @classmethod
    def of(cls, settings: TaskSettings) -> Self:
        """The task that these settings describe."""
        return cls(settings.classes)

    def read(self, given: object) -> Answer:
        """What a plain answer (a string, a list of chosen strings, or None) says; never raises.

        One class is `LABEL`, `UNSURE` or `BROKEN` alone is that outcome; the same choice twice counts once. `INVALID`,
        with the problem: nothing chosen, two different choices, an unknown label, anything that is no string.
        """
        texts = chosen_texts(given)
        if texts is None:
            return not_text(given)
        chosen = list(dict.fromkeys(texts))
        if not chosen:
            return empty()
        if len(chosen) > 1:
            return invalid(say("{n} choices where one is allowed: {choices}", n=len(chosen), choices=", ".join(chosen)))
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

    def decide(self, mean: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Codes (n,) of the most probable class in each row of `mean` (n, C), the members' mean; a tie goes to the
        first class.

        Raises `TrainingError` for another number of columns than classes, and for predictions that are not numbers.
        """
        import numpy as np

        check_columns(mean, len(self.classes))
        codes: NDArray[np.int64] = np.argmax(mean, axis=1).astype(np.int64)
        return codes

    def alike(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
        """Share of the items whose codes are equal."""
        return float((one == other).mean()) if len(one) else 1.0

    def consensus(self, votes: Sequence[str]) -> Consensus:
        """The majority: see `majority`."""
        return majority(votes)

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
        if choice in OUTCOMES:
            return Answer(OUTCOMES[choice])
        place = self._code.get(choice)
        if place is None:
            return invalid(unknown_name("label", choice, self.classes))
        return Answer(Outcome.LABEL, label=self.classes[place])


def majority(votes: Sequence[str]) -> Consensus:
    """The label with the most votes, and its share of them; a tie for the most is disputed.

    >>> majority(["ham", "spam", "ham"])
    Consensus(label='ham', agreement=0.6666666666666666)
    """
    top = Counter(votes).most_common(2)
    if len(top) == 2 and top[0][1] == top[1][1]:
        return Consensus()
    return Consensus(top[0][0], top[0][1] / len(votes))
