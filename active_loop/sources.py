"""Files and folders → items; ids by content.

A source reads the user's data in place: nothing is copied, nothing is written, no pickle is ever loaded. What it
finds becomes items only once, by `records`; later it is asked for the same rows again, to show them to people or
to make features of them. An item is named by what it contains (or by a column of the user's), never by its place
in the file, so that the same data gives the same items whatever the order of its rows; exact duplicates are one item.

A source does not decide what is a class, which items are for testing, or what a model sees of them.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from .brought import Brought
from .errors import ConfigError, DataError, unknown_name
from .files import TableFile, one_line, open_embeddings, plain_text, survey
from .records import Given, Record, Source
from .settings import DataSettings
from .tasks import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS: Final = ("image", "table", "text")
IMAGE_SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_CHUNK: Final = 65_536  # rows turned into Python objects at a time


def open_source(data: DataSettings, folder: Path, *, known: bool = True) -> Source:
    """The source that `data` describes; relative paths start at `folder` (the loop folder).

    Raises `ConfigError` for settings that cannot work, and `DataError` for a file or column that is not there. A big
    file is read when its rows are first asked for. With a test file, and without `known`, the rows to learn from have
    no answers, whatever the file says; those of the test file always have theirs.
    """
    if not data.kind:
        raise ConfigError('data.kind is empty: say what an item is: "image", "table" or "text".')
    if data.kind not in KINDS:
        raise ConfigError(unknown_name("data.kind", data.kind, KINDS))
    if not data.path:
        raise ConfigError("data.path is empty: name a CSV, Parquet, JSONL or JSON file, or a folder of images.")
    if not data.test:
        return _source(data, folder)
    return _with_test(data, folder, known)


def _source(data: DataSettings, folder: Path) -> TableSource | ImageSource:
    """The rows of `data.path` alone."""
    path = folder / data.path
    if not path.exists():
        raise DataError(f"cannot find {data.path}: there is nothing at {path}; correct data.path.")
    embeddings = folder / data.embeddings if data.embeddings else None
    if data.kind == "image":
        return ImageSource(data, path, embeddings)
    return TableSource(data, path, embeddings)


def _with_test(data: DataSettings, folder: Path, known: bool) -> Brought:
    """The rows of `data.path`, and after them those of `data.test`, which must have the same columns and the answers.

    The first file may do without a column of answers.
    """
    path, test = folder / data.path, folder / data.test
    if not data.answer:
        raise ConfigError(
            f'data.test is "{data.test}", and data.answer names no column: say in which column its answers are.'
        )
    if not test.exists():
        raise DataError(f"cannot find {data.test}: there is nothing at {test}; correct data.test.")
    if test.is_dir():
        raise DataError(
            f"data.test is {data.test}, a folder, which has no answers: give a CSV that names the images, with their "
            f'answers in column "{data.answer}".'
        )
    if path.exists() and path.samefile(test):
        raise ConfigError(
            f'data.path and data.test are both "{data.test}": what tests must be other rows than those to learn from.'
        )
    alone = replace(data, test="", embeddings="")
    answered = path.is_file() and data.answer in survey(path, data.path).columns
    pool = _source(alone if answered else replace(alone, answer=""), folder)
    if isinstance(pool, TableSource):  # where nothing is named, all columns but the answer are shown
        alone = replace(alone, show=pool.show, use=pool.use)
    brought = _source(replace(alone, path=data.test), folder)
    return Brought(pool, brought, data.answer, folder / data.embeddings if data.embeddings else None, known)


def check_unchanged(source: Source, rows: Sequence[str], ids: Sequence[str]) -> None:
    """Refuse data that was changed after its import: `DataError` names the first row that is another item now."""
    for row, then, now in zip(rows, ids, source.ids(rows), strict=True):
        if then != now:
            raise DataError(
                f"{source.name} was changed after its import: row {row} was item {then} and is {now} now; "
                "put the file back as it was, and add new rows at its end."
            )


class TableSource:
    """Rows of one CSV, Parquet or JSONL file, as texts or as table rows.

    Texts are the columns in `use` (else `show`), one below the other. For a table an empty `show` means all
    columns but those of id, group and answer.
    """

    def __init__(self, data: DataSettings, path: Path, embeddings: Path | None) -> None:
        self.name, self.kind, self.embeddings = data.path, data.kind, embeddings
        self._data = data
        self._file = survey(path, data.path)
        special = {data.id, data.group, data.answer}
        rest = () if data.kind == "text" else tuple(c for c in self._file.columns if c not in special)
        self.show = data.show or data.use or rest
        self.use = data.use or self.show
        self._given = _given(self._file, data)
        if not self.show:
            known = ", ".join(self._file.columns)
            raise ConfigError(f"data.show names no column to show; {data.path} has: {known}.")
        _refuse_leak(data, self.use + self.show)
        _require(self._file, data, show=self.show, use=self.use)

    @property
    def n_rows(self) -> int:
        return int(self._table.num_rows)

    @property
    def n_duplicates(self) -> int:
        return self._merged.n_duplicates

    @property
    def notices(self) -> tuple[str, ...]:
        return self._file.notices + self._merged.notices

    def records(self) -> list[Record]:
        return list(self._merged.records)

    def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        fields = self._taken(rows, self.show).to_pylist()
        plain = [{column: _showable(value) for column, value in row.items()} for row in fields]
        if self.kind == "table":
            return [{"row": row} for row in plain]
        numbers = self.numbers(rows).tolist()
        return [
            row | {name: cells[n] for name, cells in self._nested.items()}
            for row, n in zip(plain, numbers, strict=True)
        ]

    def content(self, rows: Sequence[str]) -> Any:
        table = self._taken(rows, self.use)
        if self.kind == "table":
            return table.to_pandas()
        columns = [[plain_text(value) for value in column.to_pylist()] for column in table.columns]
        return ["\n".join(parts) for parts in zip(*columns, strict=True)]

    def numbers(self, rows: Sequence[str]) -> NDArray[np.int64]:
        return _row_numbers(rows, self.n_rows, self.name)

    def digests(self, rows: Sequence[str]) -> list[bytes]:
        return [self._digests[number] for number in self.numbers(rows).tolist()]

    def ids(self, rows: Sequence[str]) -> list[str]:
        return [self._ids[number] for number in self.numbers(rows).tolist()]

    @cached_property
    def _table(self) -> Any:
        wanted = [*self.show, *self.use, *_special(self._data).values()]
        table = self._file.read(list(dict.fromkeys(wanted)))
        if not table.num_rows:
            raise DataError(f"{self.name} has no rows: there is nothing to label in it.")
        _check_embeddings(self.embeddings, table.num_rows, self.name)
        return table

    @cached_property
    def _digests(self) -> list[bytes]:
        return list(_row_digests(self._table, sorted({*self.show, *self.use})))

    @cached_property
    def _ids(self) -> list[str]:
        return _ids(self._data, self._table, self._digests)

    @cached_property
    def _merged(self) -> _Merged:
        rows = [str(number) for number in range(self.n_rows)]
        return _merge(self._data, rows, self._ids, self._digests, self._table, self._given)

    @cached_property
    def _nested(self) -> dict[str, list[Any]]:
        """Columns that hold lists or objects, as they stand in the tasks of a project whose page shows them."""
        tasks = self._file.tasks if self._data.project else None
        found = {column: tasks.cells(column) for column in self.show} if tasks else {}
        return {column: values for column, values in found.items() if any(isinstance(v, dict | list) for v in values)}

    def _taken(self, rows: Sequence[str], columns: Sequence[str]) -> Any:
        return self._table.select(list(dict.fromkeys(columns))).take(self.numbers(rows))


class ImageSource:
    """Image files: all of a folder, or those that a column of a file names, relative to that file's folder."""

    def __init__(self, data: DataSettings, path: Path, embeddings: Path | None) -> None:
        self.name, self.kind, self.embeddings = data.path, data.kind, embeddings
        self._data, self._path = data, path
        self._file = None if path.is_dir() else survey(path, data.path)
        if len(data.show) > 1 or data.use:
            raise ConfigError(
                "for images data.show names one column, that of the file names, and data.use stays empty."
            )
        self._column = (data.show or ("image",))[0]
        self._given = _given(self._file, data) if self._file else None
        if self._file:
            _refuse_leak(data, (self._column,))
            _require(self._file, data, show=(self._column,))
        elif _special(data):
            key, column = next(iter(_special(data).items()))
            raise ConfigError(
                f'{key} is "{column}", but {data.path} is a folder of images, without columns; '
                "give a CSV that names the files instead."
            )

    @property
    def n_rows(self) -> int:
        return len(self._names)

    @property
    def n_duplicates(self) -> int:
        return self._merged.n_duplicates

    @property
    def notices(self) -> tuple[str, ...]:
        return (self._file.notices if self._file else ()) + self._merged.notices

    def records(self) -> list[Record]:
        return list(self._merged.records)

    def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        return [{"image": path} for path in self.content(rows)]

    def content(self, rows: Sequence[str]) -> list[Path]:
        return [self._folder / self._names[number] for number in self.numbers(rows).tolist()]

    def numbers(self, rows: Sequence[str]) -> NDArray[np.int64]:
        if self._file:
            return _row_numbers(rows, self.n_rows, self.name)
        import numpy as np

        try:
            return np.array([self._place[row] for row in rows], dtype=np.int64)
        except KeyError as gone:
            raise DataError(f"{self.name} has no image {gone.args[0]} any more; put it back.") from gone

    def digests(self, rows: Sequence[str]) -> list[bytes]:
        return [self._digests[number] for number in self.numbers(rows).tolist()]

    def ids(self, rows: Sequence[str]) -> list[str]:
        return [self._ids[number] for number in self.numbers(rows).tolist()]

    @property
    def _folder(self) -> Path:
        return self._path.parent if self._file else self._path

    @cached_property
    def _table(self) -> Any:
        if not self._file:
            return None
        return self._file.read(list(dict.fromkeys([self._column, *_special(self._data).values()])))

    @cached_property
    def _names(self) -> list[str]:
        names = self._named() if self._file else image_names(self._path)
        if not names:
            what = "has no rows" if self._file else f"holds no image ({', '.join(IMAGE_SUFFIXES)})"
            raise DataError(f"{self.name} {what}: there is nothing to label in it.")
        _check_embeddings(self.embeddings, len(names), self.name)
        return names

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self._names)}

    @cached_property
    def _digests(self) -> list[bytes]:
        return [_file_digest(self._folder / name, name) for name in self._names]

    @cached_property
    def _ids(self) -> list[str]:
        return _ids(self._data, self._table, self._digests)

    @cached_property
    def _merged(self) -> _Merged:
        rows = [str(number) for number in range(self.n_rows)] if self._file else self._names
        return _merge(self._data, rows, self._ids, self._digests, self._table, self._given)

    def _named(self) -> list[str]:
        names = [plain_text(value).strip() for value in self._table.column(self._column).to_pylist()]
        for row, name in enumerate(names):
            path = PurePosixPath(name.replace("\\", "/"))
            if not name or path.is_absolute() or ".." in path.parts:
                raise DataError(
                    f'{self.name}, row {row}: "{name}" in column "{self._column}" is no file name; '
                    "names must be relative and stay inside the file's own folder."
                )
        missing = [row for row, name in enumerate(names) if not (self._folder / name).is_file()]
        if missing:
            raise DataError(
                f"cannot find {len(missing)} of the {len(names)} images that {self.name} names, "
                f"first {names[missing[0]]} in row {missing[0]}."
            )
        return names


# Rows → records


@dataclass(frozen=True, slots=True)
class _Merged:
    records: list[Record]
    n_duplicates: int
    notices: tuple[str, ...]


def _merge(
    data: DataSettings,
    rows: Sequence[str],
    ids: list[str],
    digests: list[bytes],
    table: Any,
    given: Sequence[tuple[Given, ...]] | None,
) -> _Merged:
    """One record per id, in file order; of duplicates the first row stays, with the first answer given to any.

    Where it is known who answered, nothing is lost: the answers `given` to any of them are the item's.
    """
    groups = [plain_text(v).strip() or None for v in _values(table, data.group)] or [None] * len(rows)
    answers = answer_texts(_values(table, data.answer)) or [None] * len(rows)
    first: dict[str, tuple[int, int]] = {}  # id → its record, its first row
    records: list[Record] = []
    n_conflicts = 0
    for place, (row, id_, group, answer) in enumerate(zip(rows, ids, groups, answers, strict=True)):
        if id_ not in first:
            first[id_] = len(records), place
            records.append(Record(id_, row, group, answer, given=given[place] if given else ()))
            continue
        at, first_place = first[id_]
        known = records[at]
        if digests[place] != digests[first_place]:
            raise DataError(
                f'{data.path}: rows {known.row} and {row} are both called "{id_}" in column "{data.id}" and differ; '
                "an id must name one item only."
            )
        if given:
            records[at] = replace(known, answer=known.answer or answer, given=known.given + given[place])
            continue
        if answer is not None and known.answer is None:
            records[at] = replace(known, answer=answer)
        n_conflicts += answer is not None and known.answer is not None and answer != known.answer
    conflict = (
        f"{data.path}: {n_conflicts} duplicate rows carry another answer than their first row; the first one is taken."
    )
    return _Merged(records, len(rows) - len(records), (conflict,) if n_conflicts else ())


def _given(file: TableFile, data: DataSettings) -> list[tuple[Given, ...]] | None:
    """Who said what of each row, with the control that `data.answer` names; None where the file cannot say it."""
    if not data.answer or not file.tasks:
        return None
    found = file.tasks.given(data.answer)
    return found if any(found) else None


def _values(table: Any, column: str) -> list[Any]:
    return list(table.column(column).to_pylist()) if column else []


def answer_texts(values: list[Any]) -> list[str | None]:
    """Answers in normal form; whole numbers that a data frame with gaps wrote as 3.0 are "3" again."""
    texts = [normalise(plain_text(value)) for value in values]
    given = [None if text.lower() in ("", "nan") else text for text in texts]
    if all(re.fullmatch(r"[+-]?\d+(\.0+)?", text) for text in given if text is not None):
        return [None if text is None else text.partition(".")[0] for text in given]
    return given


def _ids(data: DataSettings, table: Any, digests: list[bytes]) -> list[str]:
    if not data.id:
        return [digest.hex() for digest in digests]
    names = [plain_text(value).strip() for value in _values(table, data.id)]
    if "" in names:
        raise DataError(f'{data.path}, row {names.index("")}: column "{data.id}" is empty; every item needs an id.')
    return names


def _row_digests(table: Any, columns: Sequence[str]) -> Iterator[bytes]:
    """A hash per row of its cells by name: no two different rows can run into the same bytes."""
    names = [name.encode() for name in columns]
    for batch in table.select(columns).to_batches(max_chunksize=_CHUNK):
        for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = hashlib.blake2b(digest_size=16)
            for name, cell in zip(names, cells, strict=True):
                text = plain_text(cell).encode()
                row.update(b"%d:%b=%d:%b" % (len(name), name, len(text), text))
            yield row.digest()


def _file_digest(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as problem:
        raise DataError(f"cannot read the image {name}: {one_line(problem)}.") from problem


def _row_numbers(rows: Sequence[str], n_rows: int, name: str) -> NDArray[np.int64]:
    import numpy as np

    numbers = [int(row) if row.isascii() and row.isdigit() else -1 for row in rows]
    array = np.array(numbers, dtype=np.int64)
    if array.size and not 0 <= array.min() <= array.max() < n_rows:
        odd = next(row for row, number in zip(rows, numbers, strict=True) if not 0 <= number < n_rows)
        raise DataError(f"{name} has no row {odd}: it holds {n_rows} rows; was it cut after the import?")
    return array


def _showable(value: Any) -> str | int | float:
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return plain_text(value)


def image_names(folder: Path) -> list[str]:
    """Images below `folder`, hidden ones left out, as relative names with "/", sorted."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder)
        images = (name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
        found += [(below / name).as_posix() for name in images]
    return sorted(found)


# Settings against the file


def _special(data: DataSettings) -> dict[str, str]:
    """Key → column, of those columns that are neither shown nor learned from."""
    named = {"data.id": data.id, "data.group": data.group, "data.answer": data.answer}
    return {key: column for key, column in named.items() if column}


def _require(file: TableFile, data: DataSettings, **columns: Sequence[str]) -> None:
    wanted = [(f"data.{key}", column) for key, some in columns.items() for column in some]
    for key, column in [*wanted, *_special(data).items()]:
        special = key in ("data.id", "data.answer", "data.group")
        if file.columns.count(column) != 1 and not (special and column in file.named):
            raise DataError(_wrong_column(key, column, file))


def _wrong_column(key: str, column: str, file: TableFile) -> str:
    if column in file.columns:
        return f'{file.name} has {file.columns.count(column)} columns called "{column}" ({key}): rename one of them.'
    close = difflib.get_close_matches(column, file.columns, n=1)
    hint = f'did you mean "{close[0]}"? It' if close else "it"
    known = (*file.columns, *(file.named if key in ("data.id", "data.answer") else ()))
    return f'{file.name} has no column "{column}" ({key}); {hint} has: {", ".join(known)}.'


def _refuse_leak(data: DataSettings, columns: Sequence[str]) -> None:
    if data.answer and data.answer in columns:
        raise ConfigError(
            f'data.answer is "{data.answer}", which data.show or data.use names too: '
            "people or the model would be given the answer; take it out there."
        )


def _check_embeddings(path: Path | None, n_rows: int, name: str) -> None:
    if path is not None:
        open_embeddings(path, n_rows, name)
