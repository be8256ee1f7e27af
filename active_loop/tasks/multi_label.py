"""Any number of classes per item, also none."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

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

NONE: Final = "(none)"
"""The choice that no class is there; offered beside the classes, never one of them."""

SEPARATORS: Final = "|;,"
"""What may stand between several classes in one text, unless a class holds it itself; the first that occurs does."""


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """Any number of the classes, also none. Codes are rows (L,) of 0 and 1, one for each class in turn.

    Classes are compared as those of `SingleChoice`, and refused as they are; `NONE` cannot be one either.

    >>> task = MultiLabel(("cat", "dog", "owl"))
    >>> task.read(["owl", "cat"]).label
    '["cat", "owl"]'
    >>> task.read("cat|owl") == task.read('["owl", "cat"]') == task.read(["owl", "cat"])
    True
    >>> task.read("(none)").label
    '[]'
    """

    classes: tuple[str, ...]
    _code: Mapping[str, int] = field(init=False, repr=False, compare=False)

    kind: ClassVar[str] = "multi_label"
    metrics: ClassVar[tuple[str, ...]] = metrics_of("multi_label")

    def __post_init__(self) -> None:
        object.__setattr__(self, "_code", places_of(self.classes, (UNSURE, BROKEN, NONE)))

    @classmethod
    def of(cls, settings: TaskSettings) -> Self:
        """The task that these settings describe."""
        return cls(settings.classes)

    def read(self, given: object) -> Answer:
        """What an answer says; never raises.

        A list of classes, in any order, is `LABEL`, and so is one text: a JSON list, one class, or classes with one
        of `SEPARATORS` between them that no class holds. None of the classes is the empty list or `NONE`, never an
        empty text: a blank cell is no answer. `UNSURE` or `BROKEN` alone is that outcome. `INVALID`, with the problem:
        nothing given, a class twice, an unknown one, `UNSURE`, `BROKEN` or `NONE` beside others, what is no string.
        """
        names = self._listed(normalise(given)) if isinstance(given, str) else given
        texts = chosen_texts(names)
        if texts is None:
            return not_text(names)
        if not texts and names not in ([], ()):
            return empty()
        alone = next((text for text in texts if text in OUTCOMES or text == NONE), None)
        if alone is None:
            return self._meaning(texts)
        if len(texts) > 1:
            return invalid(
                say('"{choice}" cannot stand beside other choices: {choices}', choice=alone, choices=", ".join(texts))
            )
        return Answer(OUTCOMES[alone]) if alone in OUTCOMES else self._meaning([])

    def encode(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Codes (n, L) of labels, in their order; `DataError` names the first that is no label."""
        import numpy as np

        codes = np.zeros((len(labels), len(self.classes)), dtype=np.int64)
        for row, label in enumerate(labels):
            codes[row, self._held(label)] = 1
        return codes

    def decode(self, codes: Iterable[Any]) -> list[str]:
        """Labels of rows of codes, in their order; `DataError` for a row that is not L times 0 or 1."""
        return [self._label(self._present(row)) for row in codes]

    def decide(self, mean: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Codes (n, L): each class is there whose probability in `mean` (n, L), the members' mean, is above ½.

        Raises `TrainingError` as `SingleChoice.decide` does.
        """
        import numpy as np

        check_columns(mean, len(self.classes))
        return (mean > 0.5).astype(np.int64)

    def alike(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
        """Share of the items all of whose codes are equal."""
        return float((one == other).all(axis=1).mean()) if len(one) else 1.0

    def consensus(self, votes: Sequence[str]) -> Consensus:
        """Each class that more than half of the votes hold; a tie on any class is disputed.

        So the label may be one that nobody gave as a whole. The agreement is the mean overlap of votes and label:
        the share of classes in either that are in both (Jaccard), 1 where neither holds any.
        """
        held = [set(self._held(vote)) for vote in votes]
        counts = Counter(place for places in held for place in places)
        if any(2 * count == len(votes) for count in counts.values()):
            return Consensus()
        label = {place for place, count in counts.items() if 2 * count > len(votes)}
        overlaps = [len(label & places) / len(label | places) if label | places else 1.0 for places in held]
        return Consensus(self._label(label), math.fsum(overlaps) / len(votes))

    def summarise(self, labels: Iterable[str]) -> dict[str, int]:
        """How many labels hold each class, in the order of the classes, and how many none; `DataError` as `encode`."""
        held = [self._held(label) for label in labels]
        counts = Counter(place for places in held for place in places)
        return {name: counts[place] for place, name in enumerate(self.classes)} | {NONE: held.count([])}

    def _listed(self, text: str) -> object:
        """The parts of a text, which is in normal form."""
        if text.startswith("["):
            try:
                parts = json.loads(text)
            except (ValueError, RecursionError):
                parts = None
            if isinstance(parts, list):
                return parts
        usable = [sign for sign in SEPARATORS if not any(sign in name for name in self.classes)]
        sign = next((sign for sign in usable if sign in text), None)
        return text.split(sign) if sign else [text]

    def _meaning(self, texts: list[str]) -> Answer:
        places = [self._code.get(text) for text in texts]
        for text, place in zip(texts, places, strict=True):
            if place is None:
                return invalid(unknown_name("label", text, self.classes))
        twice = [text for text, count in Counter(texts).items() if count > 1]
        if twice:
            return invalid(say('"{choice}" is given {n} times', choice=twice[0], n=texts.count(twice[0])))
        return Answer(Outcome.LABEL, label=self._label(place for place in places if place is not None))

    def _label(self, places: Iterable[int]) -> str:
        return json.dumps([self.classes[place] for place in sorted(places)], ensure_ascii=False)

    def _held(self, label: str) -> list[int]:
        answer = self.read(label)
        if answer.label is None:
            raise DataError(f"{label!r} is no label: {answer.problem or answer.outcome}")
        return [self._code[normalise(name)] for name in json.loads(answer.label)]

    def _present(self, row: Any) -> list[int]:
        values = list(row)
        if len(values) != len(self.classes) or any(value not in (0, 1) for value in values):
            raise DataError(f"{values} is no row of codes: {len(self.classes)} classes need as many, each 0 or 1.")
        return [place for place, value in enumerate(values) if value]
