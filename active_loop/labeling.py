"""Where labels come from: the one protocol, and the two places that need no server.

`Oracle` answers from known labels (simulations, tests); `Terminal` asks the person at the keyboard. Label
Studio, a third place, has a module of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from .domain import Annotation, AnswerKind, Ask


@dataclass(frozen=True, slots=True)
class Publication:
    """An ask with what people are shown: its item's fields (str, number, dict of a row, or a `Path` of an image)."""

    ask: Ask
    shown: Mapping[str, Any]


class LabelingBackend(Protocol):
    """A place where people label.

    `publish` may be called again with the same asks at any time: what is already there stays as it is, what is
    missing is added, and afterwards every ask has exactly one live task (or an error was raised). `collect` may
    repeat itself and never invents; it is the only way in for answers. `retire` withdraws what nobody answered,
    once the loop has stopped. All three raise `LabelingError` (or `TokenError`) when the place cannot be
    reached or refuses; nothing is lost then, and the same call is made again later.
    """

    def publish(self, publications: Sequence[Publication]) -> None: ...

    def collect(self) -> Iterable[Annotation]: ...

    def retire(self, asks: Sequence[Ask]) -> None: ...


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Oracle:
    """Answers every published ask at once from known labels: the same protocol as people, and no waiting.

    `labels` maps an item's position to its label (None: skipped). `per_collect` limits how many answers one
    `collect` adds (None: all that are open). Times are a counter of seconds, so that replays are equal.
    """

    def __init__(
        self,
        labels: Mapping[int, str | None] | Callable[[int], str | None],
        *,
        per_collect: int | None = None,
        person: str = "oracle",
    ) -> None:
        self._label = labels if callable(labels) else labels.__getitem__
        self._per_collect = per_collect
        self._person = person
        self._open: dict[str, Ask] = {}
        self._answers: list[Annotation] = []
        self._reported = 0

    def publish(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            self._open.setdefault(publication.ask.id, publication.ask)

    def collect(self) -> Iterable[Annotation]:
        waiting = list(self._open.values())[len(self._answers) :]
        for ask in waiting[: self._per_collect]:
            self._answers.append(self._answer(ask))
        news = self._answers[self._reported :]
        self._reported = len(self._answers)
        return news

    def retire(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            if not any(answer.ask == ask.id for answer in self._answers):
                self._open.pop(ask.id, None)

    def replay(self) -> None:
        """Report every answer again at the next `collect`, as a place does after a restart."""
        self._reported = 0

    def _answer(self, ask: Ask) -> Annotation:
        label = self._label(ask.item)
        number = len(self._answers) + 1
        at = _EPOCH + timedelta(seconds=number)
        return Annotation(
            source="oracle",
            id=str(number),
            updated_at=at,
            created_at=at,
            kind=AnswerKind.SKIPPED if label is None else AnswerKind.SUBMITTED,
            raw=json.dumps(label),
            person=self._person,
            ask=ask.id,
        )
