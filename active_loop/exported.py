"""Tasks as Label Studio exports them → rows, and what people said of them.

Two forms are read: JSON, a list of tasks with their annotations, and JSON_MIN, a flat object per annotation; a list of
flat objects without answers is read as rows too. What stands there may have been made by any project of any version,
or by hand, so nothing is taken for granted: what cannot be used is refused in one sentence, with its place.

An answer is read from one control alone, under whatever name it has there; what other controls say is passed over, and
so are drafts and predictions. An annotation that is marked as ground truth is an answer like any other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from .domain import IMPORTED, AnswerKind
from .errors import DataError
from .records import Given
from .tasks import BELOW, BROKEN, UNSURE

READ: Final[Mapping[str, str]] = {"choices": "choice", "taxonomy": "choice", "number": "number", "rating": "number"}
"""Types of results that are read, with the kind of label that each usually is."""

OUTCOMES: Final = frozenset((UNSURE, BROKEN))
"""What people say instead of a label."""

TASK: Final = "id"
"""Name by which the number of a task can be asked for, where no field of the data is called so."""

_OF_THE_ANSWER: Final = ("annotation_id", "annotator", "created_at", "updated_at", "lead_time", "agreement")
_ROW: Final = "row"


def said(kind: str, value: object) -> list[str] | None:
    """What the value of a result of this type says, as texts; None for what such a control cannot have written.

    >>> said("choices", {"choices": ["a", "b"]}), said("rating", {"rating": 4})
    (['a', 'b'], ['4'])
    >>> said("taxonomy", {"taxonomy": [["animal", "dog"]]})
    ['animal > dog']
    """
    given = value.get(kind) if isinstance(value, Mapping) else None
    if kind in ("number", "rating"):
        return [repr(given)] if isinstance(given, int | float) and not isinstance(given, bool) else None
    if kind == "taxonomy" and isinstance(given, list) and all(map(_is_texts, given)):
        given = [BELOW.join(path) for path in given]
    return given if _is_texts(given) else None


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


class Exported:
    """The tasks of one file: their fields, and the controls that somebody answered with.

    `rows` are the fields of each task, in file order. Raises `DataError` for what is no export of tasks.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.name = name
        self._entries = tasks_of(content, name)
        self._nested = _have_data(self._entries, name)
        self._given: dict[str, list[tuple[Given, ...]]] = {}
        self.is_flat = not self._nested and any("annotation_id" in entry for entry in self._entries)
        hidden = (TASK, *_OF_THE_ANSWER) if self.is_flat else ()
        fields = [_fields(entry["data"]) if self._nested else entry for entry in self._entries]
        odd = next((key for row in fields for key in row if len(f"{key}.".splitlines()) > 1), None)
        if odd is not None:
            raise DataError(f"{name} has a field {odd!r}, with a line break in its name: call it otherwise.")
        self.rows = [{key: value for key, value in row.items() if key not in hidden} for row in fields]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The fields, in the order in which they first occur; of a flat file also what people said is one."""
        return tuple(dict.fromkeys(column for row in self.rows for column in row))

    @cached_property
    def controls(self) -> Mapping[str, str]:
        """Controls that can be read → the kind of their label; of a flat file none is known."""
        found: dict[str, str] = {}
        for place in range(len(self._entries)):
            for result in self._results(place):
                name, kind = result.get("from_name"), result.get("type")
                if not isinstance(name, str) or not name.isprintable() or not isinstance(kind, str) or kind not in READ:
                    continue
                several = len(said(kind, result.get("value")) or ()) > 1
                found[name] = "multi_label" if several or found.get(name) == "multi_label" else READ[kind]
        return found

    @property
    def named(self) -> tuple[str, ...]:
        """What can be asked for beside the fields: the number of the task, and each control's most frequent answer."""
        numbered = (TASK,) if self._nested or self.is_flat else ()
        return tuple(name for name in (*numbered, *self.controls) if name not in self.columns)

    def cells(self, name: str) -> list[Any]:
        """The value of each row: a field; a task's number; or what most people said with a control (None: nothing)."""
        if name in self.columns:
            return [row.get(name) for row in self.rows]
        if name == TASK:
            return [entry.get(TASK) for entry in self._entries]
        return [_most(answers) for answers in self.given(name)]

    def given(self, control: str) -> list[tuple[Given, ...]]:
        """What people answered with a control about each row; nothing where the file does not say who answered."""
        if control not in self._given:
            self._given[control] = [tuple(self._of_entry(place, control)) for place in range(len(self._entries))]
        return self._given[control]

    def _of_entry(self, place: int, control: str) -> Iterator[Given]:
        if self._nested:
            yield from self._of_task(place, control)
        elif self.is_flat:
            yield self._of_row(place, control)

    def votes(self, control: str) -> Counter[str]:
        """How many answers hold each text, most frequent first; those that say why there is no label left out."""
        texts = Counter(text for answers in self.given(control) for answer in answers for text in answer.said)
        return Counter({text: n for text, n in texts.most_common() if text not in OUTCOMES})

    def _annotations(self, place: int) -> list[dict[str, Any]]:
        found = self._entries[place].get("annotations") if self._nested else None
        if not isinstance(found, list | None) or not all(isinstance(each, dict) for each in found or ()):
            raise DataError(f'{self.name}, task {place + 1}: its "annotations" are no list of annotations.')
        return found or []

    def _results(self, place: int) -> Iterator[dict[str, Any]]:
        for annotation in self._annotations(place):
            yield from self._regions(annotation, place)

    def _regions(self, annotation: Mapping[str, Any], place: int) -> list[dict[str, Any]]:
        found = annotation.get("result")
        if not isinstance(found, list | None) or not all(isinstance(each, dict) for each in found or ()):
            raise DataError(f'{self.name}, task {place + 1}: an annotation has a "result" that is no list of results.')
        return found or []

    def _of_task(self, place: int, control: str) -> Iterator[Given]:
        for n, annotation in enumerate(self._annotations(place)):
            regions = [each for each in self._regions(annotation, place) if each.get("from_name") == control]
            texts: list[str] = []
            for each in regions:
                kind = str(each.get("type"))
                texts += (said(kind, each.get("value")) if kind in READ else None) or [f"[no {kind} of {control}]"]
            number = annotation.get("id")
            yield self._answer(annotation, texts, f"{place}.{n}" if number is None else str(number), place)

    def _of_row(self, place: int, control: str) -> Given:
        entry = self._entries[place]
        number = entry.get("annotation_id")
        texts = _flat_texts(entry.get(control))
        return self._answer(entry, texts, str(place) if number is None else str(number), place)

    def _answer(self, facts: Mapping[str, Any], texts: Sequence[str], number: str, place: int) -> Given:
        skipped = bool(facts.get("was_cancelled"))
        seconds = facts.get("lead_time")
        measured = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e9
        return Given(
            id=number,
            person=_person(facts.get("completed_by", facts.get("annotator"))),
            kind=AnswerKind.SKIPPED if skipped else AnswerKind.SUBMITTED,
            said=() if skipped else tuple(texts),
            created_at=self._moment(facts.get("created_at"), place),
            updated_at=self._moment(facts.get("updated_at"), place),
            lead_time_s=float(seconds) if measured and seconds is not None else None,
        )

    def _moment(self, text: object, place: int) -> datetime | None:
        if text is None:
            return None
        try:
            at = datetime.fromisoformat(str(text))
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError) as problem:
            raise DataError(f'{self.name}, task {place + 1}: "{str(text)[:40]}" is no time of an answer.') from problem


def joined(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The old tasks as they were, and behind them those of the new ones that are not among them.

    Label Studio gives the number of a deleted task again: only with its time it names a task.
    """
    known = {(task.get("id"), task.get("created_at")) for task in old}
    return [*old, *(task for task in new if (task.get("id"), task.get("created_at")) not in known)]


def tasks_of(content: bytes, name: str) -> list[dict[str, Any]]:
    """The tasks of a file as they stand there; `DataError` if they are none."""
    try:
        found = json.loads(content.decode("utf-8-sig"))
        if b"\\ud" in content or b"\\uD" in content:  # half a character can be in no text that is stored or shown
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{name} is not JSON: {' '.join(str(problem).split())[:200]}.") from problem
    if not isinstance(found, list):
        raise DataError(f"{name} is no list of tasks: give what Label Studio's export calls JSON or JSON-MIN.")
    if not found:
        raise DataError(f"{name} holds no task: there is nothing to label in it.")
    odd = next((place for place, entry in enumerate(found) if not isinstance(entry, dict)), None)
    if odd is not None:
        raise DataError(f"{name}, task {odd + 1} is no object with named fields.")
    return found


def _have_data(entries: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether the fields of each entry stand below "data"; `DataError` if they do in some alone."""
    below = [isinstance(entry.get("data"), dict) for entry in entries]
    if any(below) and not all(below):
        raise DataError(
            f'{name}, task {below.index(False) + 1} has no "data", and others have: it is no export of tasks.'
        )
    return all(below)


def _fields(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a task; of one that shows a row of a table, its columns. What stands for an ask is no field."""
    fields = {key: value for key, value in data.items() if key != "ask"}
    row = fields.get(_ROW)
    return row if len(fields) == 1 and isinstance(row, dict) else fields


def _flat_texts(value: object) -> list[str]:
    """What a cell of JSON_MIN says: one text, or the value of a result, or several."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for part in value for text in _flat_texts(part)]
    if isinstance(value, Mapping):
        return next((texts for kind in READ if (texts := said(kind, value)) is not None), ["[no answer]"])
    return [] if value is None else [repr(value)]


def _person(who: object) -> str:
    """The e-mail address of whoever answered where the export has it, else the number of the user."""
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
    if isinstance(who, int) and not isinstance(who, bool):
        return f"user {who}"
    return who.strip() if isinstance(who, str) and who.strip() else IMPORTED


def _most(answers: Sequence[Given]) -> str | None:
    """What most people said, the first of equals; a JSON list where they chose several at once."""
    counts = Counter(answer.said for answer in answers if answer.said and not OUTCOMES & {*answer.said})
    if not counts:
        return None
    texts = counts.most_common(1)[0][0]
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)
