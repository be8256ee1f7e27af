"""What a data file looks like, for whoever has to decide what to do with it.

A guess at the kind of data, at the columns that are worth showing and at those that hold answers already, made from
names and cells alone. It is a default for a person to confirm: nothing that runs later depends on it, it decides
nothing and writes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from .errors import DataError
from .files import TableFile, Tasks, survey
from .settings import DataSettings
from .sources import IMAGE_SUFFIXES, answer_texts, open_source
from .tasks import NONE


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how many different values, how many cells filled and empty, an example, and the values if few.

    `values` maps each value to its number of rows, most frequent first; empty where there are more than 50 of them.
    `n_letters` is the mean number of letters in the first filled cells: prose has many, codes and numbers few.
    """

    name: str
    n_distinct: int
    n_missing: int
    example: str
    values: Mapping[str, int]
    n_filled: int
    n_letters: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file or folder looks like: a guess at its kind and columns, for a person to confirm.

    `show` are the columns to show; `answers` those that could hold answers already, likeliest first. `controls` are
    those of them that hold what people said in Label Studio, with the kind of their label.
    """

    path: Path
    kind: str
    n_rows: int
    n_duplicates: int
    encoding: str
    columns: tuple[Column, ...]
    show: tuple[str, ...]
    answers: tuple[Column, ...]
    notices: tuple[str, ...]
    controls: Mapping[str, str] = field(default_factory=dict)


_ANSWER_WORDS: Final = ("label", "class", "answer", "target", "sentiment", "category", "digit", "diagnosis")
_MANY: Final = 50  # more different values than this are no list of classes


def inspect(path: Path) -> Inspection:
    """What `path` holds; reads all of it. `DataError` as for `open_source`."""
    if not path.exists():
        raise DataError(f"cannot find {path}.")
    if path.is_dir():
        return _inspected(path, "image", None, (), ("image",))
    file = survey(path, path.name)
    table = file.read(list(dict.fromkeys(file.columns)))
    if not table.num_rows:
        raise DataError(f"{path.name} has no rows: there is nothing to label in it.")
    columns = tuple(_column(name, table.column(name).to_pylist()) for name in dict.fromkeys(file.columns))
    kind, show = _guess(path, columns)
    seen = _inspected(path, kind, file, columns, show)
    return _with_controls(seen, file.tasks) if file.tasks and file.named else seen


def _with_controls(seen: Inspection, tasks: Tasks) -> Inspection:
    """What is seen of tasks, with what people said of them; every label that somebody gave is a value."""
    found = []
    for name in (control for control in tasks.controls if control not in {column.name for column in seen.columns}):
        column = _column(name, tasks.cells(name))
        labels = [text for text in tasks.votes(name) if text != NONE]
        if len(labels) <= _MANY:
            column = replace(column, values={text: column.values.get(text, 0) for text in labels})
        found.append(column)
    kinds = {column.name: tasks.controls[column.name] for column in found}
    return replace(seen, columns=(*seen.columns, *found), answers=(*found, *seen.answers), controls=kinds)


def _inspected(
    path: Path, kind: str, file: TableFile | None, columns: tuple[Column, ...], show: tuple[str, ...]
) -> Inspection:
    answers = _answer_columns([column for column in columns if kind == "table" or column.name not in show])
    best = {column.name for column in answers[:1] if _sounds_like_an_answer(column)}
    show = tuple(name for name in show if name not in best) or show
    data = DataSettings(path=path.name, kind=kind, show=show if file else ())
    source = open_source(data, path.parent)
    source.records()
    encoding = file.encoding if file else ""
    return Inspection(path, kind, source.n_rows, source.n_duplicates, encoding, columns, show, answers, source.notices)


def _column(name: str, values: Iterable[Any]) -> Column:
    texts = [text if text is not None else "" for text in answer_texts(list(values))]
    counts = Counter(texts)
    n_missing = counts.pop("", 0)
    n_filled = len(texts) - n_missing
    few = dict(counts.most_common()) if len(counts) <= _MANY else {}
    start = list(islice((text for text in texts if text), 500))
    letters = sum(sum(map(str.isalpha, text)) for text in start) / max(1, len(start))
    return Column(name, len(counts), n_missing, start[0] if start else "", few, n_filled, letters)


def _guess(path: Path, columns: Sequence[Column]) -> tuple[str, tuple[str, ...]]:
    """Image if a column names files that are there; text if a column reads like prose; else a table of all columns."""
    for column in columns:
        if column.example.lower().endswith(IMAGE_SUFFIXES) and (path.parent / column.example).is_file():
            return "image", (column.name,)
    prose = [c for c in columns if c.n_distinct > max(2, c.n_filled // 10) and c.n_letters >= 12]
    if prose and (len(columns) <= 3 or max(c.n_letters for c in prose) >= 25):
        return "text", (max(prose, key=lambda c: c.n_letters).name,)
    if len(columns) == 1:
        return "text", (columns[0].name,)
    return "table", tuple(column.name for column in columns)


def _answer_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns of 2 to 50 short values that come back: named like an answer first, then part-filled, then few values."""
    likely = [
        column
        for column in columns
        if 2 <= column.n_distinct <= _MANY and column.n_distinct <= max(2, column.n_filled // 2)
        if max(map(len, column.values)) <= 60
    ]

    def rank(column: Column) -> tuple[bool, bool, int]:
        return not _sounds_like_an_answer(column), column.n_missing == 0, column.n_distinct

    return tuple(sorted(likely, key=rank))


def _sounds_like_an_answer(column: Column) -> bool:
    name = column.name.lower()
    return name == "y" or any(word in _ANSWER_WORDS for word in re.split(r"[^a-z]+", name))
