"""Where labels come from: the one protocol, and the two places that need no server.

`Oracle` answers from known labels (simulations, tests); `Terminal` asks the person at the keyboard. Label
Studio, a third place, has a module of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Protocol, TypeVar

from .domain import Annotation, Answer, AnswerKind, Ask, AskKind, TaskRef
from .tasks import NONE, SingleChoice, Task, Taxonomy, path_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Publication:
    """An ask with what people are shown: its item's fields (str, number, dict of a row, or a `Path` of an image).

    `row` says which row or file of the data the item is; people never see it.
    """

    ask: Ask
    shown: Mapping[str, Any]
    row: str = ""


class LabelingBackend(Protocol):
    """A place where people label.

    `publish` may be called again with the same asks at any time: what is already there stays as it is, what is
    missing is added, and afterwards every ask has exactly one live task (or an error was raised). `collect` may
    repeat itself and never invents; it is the only way in for answers. `retire` withdraws what too few people have
    answered, once the loop has stopped. `tasks` says which of the place's own tasks stand for which asks, as far as
    it knows; nothing where it has none. The others raise `LabelingError` (or `TokenError`) when the place cannot be
    reached or refuses; nothing is lost then, and the same call is made again later.
    """

    def publish(self, publications: Sequence[Publication]) -> None: ...

    def collect(self) -> Iterable[Annotation]: ...

    def retire(self, asks: Sequence[Ask]) -> None: ...

    def tasks(self) -> Iterable[TaskRef]: ...


class Queues:
    """Two places as one: what people differ on goes to a queue of the adjudicators' own, all else to everybody's."""

    def __init__(self, everybody: LabelingBackend, adjudicators: LabelingBackend) -> None:
        self._everybody = everybody
        self._adjudicators = adjudicators

    def publish(self, publications: Sequence[Publication]) -> None:
        for place, mine in self._split(publications, [publication.ask for publication in publications]):
            if mine:
                place.publish(mine)

    def collect(self) -> Iterable[Annotation]:
        return [*self._everybody.collect(), *self._adjudicators.collect()]

    def retire(self, asks: Sequence[Ask]) -> None:
        for place, mine in self._split(asks, asks):
            place.retire(mine)

    def tasks(self) -> Iterable[TaskRef]:
        return [*self._everybody.tasks(), *self._adjudicators.tasks()]

    def _split(self, things: Sequence[T], asks: Sequence[Ask]) -> list[tuple[LabelingBackend, list[T]]]:
        pairs = list(zip(things, asks, strict=True))
        differing = [thing for thing, ask in pairs if ask.kind == AskKind.ADJUDICATION]
        others = [thing for thing, ask in pairs if ask.kind != AskKind.ADJUDICATION]
        return [(self._everybody, others), (self._adjudicators, differing)]


_QUESTIONS = {"choice": "Which is it?", "multi_label": "Which are there?", "number": "How much is it?"}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class _Here:
    """A place inside this process: what is open there, and what was answered. It has no tasks of its own."""

    def __init__(self) -> None:
        self._open: dict[str, Publication] = {}
        self._answered: dict[str, Annotation] = {}

    def publish(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            if publication.ask.id not in self._answered:
                self._open.setdefault(publication.ask.id, publication)

    def retire(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            self._open.pop(ask.id, None)

    def tasks(self) -> Iterable[TaskRef]:
        return ()


class Oracle(_Here):
    """Answers every published ask at once from known labels: the same protocol as people, and no waiting.

    `labels` holds the label of each row of the data (None: skipped): a sequence by row number, or a mapping from
    the row's name as the source gives it. `per_collect` limits how many answers one `collect` adds (None: all that
    are open). An answer is a function of its ask, so a second oracle, after a restart, gives the same ones.
    """

    def __init__(
        self,
        labels: Mapping[str, str | None] | Iterable[str | None],
        *,
        per_collect: int | None = None,
        person: str = "oracle",
    ) -> None:
        if not isinstance(labels, Mapping):
            labels = {str(row): label for row, label in enumerate(labels)}
        self._labels = labels
        self._per_collect = per_collect
        self._person = person
        super().__init__()

    def collect(self) -> Iterable[Annotation]:
        for ask in list(self._open)[: self._per_collect]:
            self._answered[ask] = self._answer(self._open.pop(ask))
        return list(self._answered.values())

    def _answer(self, publication: Publication) -> Annotation:
        ask, label = publication.ask, self._labels[publication.row]
        at = _EPOCH + timedelta(seconds=ask.position or 0)
        return Annotation(
            source="oracle",
            id=f"{ask.position:08d}",
            updated_at=at,
            created_at=at,
            kind=AnswerKind.SKIPPED if label is None else AnswerKind.SUBMITTED,
            raw=json.dumps(label),
            person=self._person,
            ask=ask.id,
        )


class Terminal(_Here):
    """Asks the person at the keyboard, one item at a time; answers are numbers or the beginning of a class.

    With a `task` of several labels any number of them with commas between, 0 for none; with one of a number, that. Of
    a tree the leaves are numbered, and found by the beginning of their own name too. An empty line skips the item, `q`
    (or the end of input) leaves: what was answered so far is kept, the rest stays open.
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        *,
        task: Task | None = None,
        question: str = "",
        read: Callable[[str], str] = input,
        write: Callable[[str], None] = print,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        person: str = "terminal",
    ) -> None:
        self._task: Task = task or SingleChoice(tuple(classes))
        self._question = question
        self._read = read
        self._write = write
        self._now = now
        self._person = person
        super().__init__()

    def collect(self) -> Iterable[Annotation]:
        """Ask about one open item, if there is one. Raises `KeyboardInterrupt` when the person leaves."""
        for ask, publication in list(self._open.items())[:1]:
            started = self._now()
            label = self._ask(publication)
            self._answered[ask] = self._annotation(ask, label, started)
            del self._open[ask]
        return list(self._answered.values())

    def _ask(self, publication: Publication) -> str | None:
        self._write("")
        for name, value in publication.shown.items():
            self._write(f"  {name}: {value}")
        said_before = self._question or _QUESTIONS[self._task.kind]
        choices = "".join(f"  {number} {name}" for number, name in self._choices())
        if isinstance(self._task, Taxonomy):
            choices = ""
            for line in _tree(self._task.classes):
                self._write(f"  {line}")
        while True:
            try:
                said = self._read(f"{said_before}{choices}  (Enter skips, q leaves) > ").strip()
            except EOFError:
                raise KeyboardInterrupt from None
            if said == "q":
                raise KeyboardInterrupt
            if not said:
                return None
            answer = self._meant(said)
            if answer.label is not None:
                return answer.label
            self._write(f"  {self._problem(said, answer)}")

    def _choices(self) -> Iterable[tuple[int, str]]:
        """What is numbered: the classes, before those of several labels none of them."""
        first = [(0, NONE)] if self._task.kind == "multi_label" else []
        return [*first, *enumerate(self._task.classes, start=1)]

    def _meant(self, said: str) -> Answer:
        """What was typed, numbers and beginnings of classes put into full."""
        if not self._task.classes:
            return self._task.read(said)
        parts = said.split(",") if self._task.kind == "multi_label" else [said]
        return self._task.read([self._class(part.strip()) for part in parts])

    def _class(self, said: str) -> str:
        numbered = {str(number): name for number, name in self._choices()}
        if said in self._task.classes:
            return said
        if said in numbered:
            return numbered[said]
        beginning = [name for name in self._task.classes if self._begins(name, said.casefold())]
        return beginning[0] if len(beginning) == 1 else said

    def _begins(self, name: str, said: str) -> bool:
        leaf = path_of(name)[-1] if isinstance(self._task, Taxonomy) else name
        return any(each.casefold().startswith(said) for each in (name, leaf))

    def _problem(self, said: str, answer: Answer) -> str:
        if self._task.kind == "choice":
            return f'"{said}" is not one of the answers: type a number from 1 to {len(self._task.classes)}.'
        return f"{answer.problem or said}: try again."

    def _annotation(self, ask: str, label: str | None, started: datetime) -> Annotation:
        ended = self._now()
        return Annotation(
            source="terminal",
            id=ask,
            updated_at=ended,
            created_at=started,
            kind=AnswerKind.SKIPPED if label is None else AnswerKind.SUBMITTED,
            raw=json.dumps(label),
            person=self._person,
            ask=ask,
            lead_time_s=(ended - started).total_seconds(),
        )


def _tree(classes: Sequence[str]) -> Iterable[str]:
    """The classes as lines, each branch once above what is below it, each leaf behind the number of its class.

    >>> print(*_tree(["animal > cat", "animal > dog"]), sep="\\n")
    animal
      1 cat
      2 dog
    """
    above: list[str] = []
    for number, name in enumerate(classes, start=1):
        *branches, leaf = path_of(name)
        shared = len([*takewhile(lambda pair: pair[0] == pair[1], zip(above, branches, strict=False))])
        yield from (f"{'  ' * depth}{branches[depth]}" for depth in range(shared, len(branches)))
        yield f"{'  ' * len(branches)}{number} {leaf}"
        above = branches
