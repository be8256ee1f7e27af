"""Files and folders → items; ids by content.

A source reads the user's data in place: nothing is copied, nothing is written, no pickle is ever loaded. What it
finds becomes items only once, by `records`; later it is asked for the same rows again, to show them to people or
to make features of them. An item is named by what it contains (or by a column of the user's), never by its place
in the file, so that the same data gives the same items whatever the order of its rows; exact duplicates are one item.

A source does not decide what is a class, which items are for testing, or what a model sees of them.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol

from .errors import ConfigError, DataError, unknown_name
from .settings import DataSettings
from .tasks import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS: Final = ("image", "table", "text")
IMAGE_SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_DELIMITERS: Final = (",", ";", "\t")
_CHUNK: Final = 65_536  # rows turned into Python objects at a time


@dataclass(frozen=True, slots=True)
class Record:
    """One thing found in the data, before it becomes an item.

    `row` is its place in the source: the number of the data row, counted from 0 without the header, or the file's
    name relative to the folder. `group` is None for what stands alone. `answer` is what the answer column holds,
    in normal form, be it a configured class or not; None where it is empty.
    """

    id: str
    row: str
    group: str | None
    answer: str | None


class Source(Protocol):
    """A file or folder of the user's, as rows that can be asked for again.

    Every method raises `DataError` with one sentence when the data cannot be read, or holds no such row.
    """

    name: str
    """The path as it was given in the settings."""
    kind: str
    """What a row is: one of `KINDS`."""
    embeddings: Path | None
    """The user's own features, one row per row of the data, or None."""

    @property
    def n_rows(self) -> int:
        """Rows in the data, duplicates included."""

    @property
    def n_duplicates(self) -> int:
        """Rows that repeat an earlier one, and so make no record of their own."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know about how the data was read, in sentences."""

    def records(self) -> list[Record]:
        """One record per item, in file order; of exact duplicates the first row counts, and the first answer."""

    def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        """What people see of each row, in the order of `rows`.

        Text: column → string or number. Table: `{"row": {column: value}}`. Image: `{"image": Path}`. Missing is "".
        """

    def content(self, rows: Sequence[str]) -> Any:
        """What features are made of, in the order of `rows`: texts (list of str), a pandas frame, or image paths."""

    def numbers(self, rows: Sequence[str]) -> NDArray[np.int64]:
        """Places (n,) of rows in the data, counted from 0."""

    def digests(self, rows: Sequence[str]) -> list[bytes]:
        """What each row contains, as 16 bytes that change with the content and with nothing else."""

    def ids(self, rows: Sequence[str]) -> list[str]:
        """The item id of each row."""


def open_source(data: DataSettings, folder: Path) -> Source:
    """The source that `data` describes; relative paths start at `folder` (the loop folder).

    Raises `ConfigError` for settings that cannot work, and `DataError` for a file or column that is not there. A big
    file is read when its rows are first asked for.
    """
    if data.kind not in KINDS:
        raise ConfigError(unknown_name("data.kind", data.kind, KINDS))
    if not data.path:
        raise ConfigError("data.path is empty: name a CSV, Parquet or JSONL file, or a folder of images.")
    path = folder / data.path
    if not path.exists():
        raise DataError(f"cannot find {data.path}: there is nothing at {path}; correct data.path.")
    embeddings = folder / data.embeddings if data.embeddings else None
    if data.kind == "image":
        return ImageSource(data, path, embeddings)
    return TableSource(data, path, embeddings)


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
        self._file = _survey(path, data.path)
        special = {data.id, data.group, data.answer}
        rest = () if data.kind == "text" else tuple(c for c in self._file.columns if c not in special)
        self._show = data.show or data.use or rest
        self._use = data.use or self._show
        if not self._show:
            known = ", ".join(self._file.columns)
            raise ConfigError(f"data.show names no column to show; {data.path} has: {known}.")
        _refuse_leak(data, self._use + self._show)
        _require(self._file, data, show=self._show, use=self._use)

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
        fields = self._taken(rows, self._show).to_pylist()
        plain = [{column: _showable(value) for column, value in row.items()} for row in fields]
        return [{"row": row} for row in plain] if self.kind == "table" else plain

    def content(self, rows: Sequence[str]) -> Any:
        table = self._taken(rows, self._use)
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
        wanted = [*self._show, *self._use, *_special(self._data).values()]
        table = self._file.read(list(dict.fromkeys(wanted)))
        if not table.num_rows:
            raise DataError(f"{self.name} has no rows: there is nothing to label in it.")
        _check_embeddings(self.embeddings, table.num_rows, self.name)
        return table

    @cached_property
    def _digests(self) -> list[bytes]:
        return list(_row_digests(self._table, sorted({*self._show, *self._use})))

    @cached_property
    def _ids(self) -> list[str]:
        return _ids(self._data, self._table, self._digests)

    @cached_property
    def _merged(self) -> _Merged:
        rows = [str(number) for number in range(self.n_rows)]
        return _merge(self._data, rows, self._ids, self._digests, self._table)

    def _taken(self, rows: Sequence[str], columns: Sequence[str]) -> Any:
        return self._table.select(list(dict.fromkeys(columns))).take(self.numbers(rows))


class ImageSource:
    """Image files: all of a folder, or those that a column of a file names, relative to that file's folder."""

    def __init__(self, data: DataSettings, path: Path, embeddings: Path | None) -> None:
        self.name, self.kind, self.embeddings = data.path, data.kind, embeddings
        self._data, self._path = data, path
        self._file = None if path.is_dir() else _survey(path, data.path)
        if len(data.show) > 1 or data.use:
            raise ConfigError(
                "for images data.show names one column, that of the file names, and data.use stays empty."
            )
        self._column = (data.show or ("image",))[0]
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
        names = self._named() if self._file else _image_names(self._path)
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
        return _merge(self._data, rows, self._ids, self._digests, self._table)

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


def open_image(path: Path, at_least: int = 0) -> Any:
    """The decoded picture (a PIL image) in the file; `DataError` names the file if it cannot be opened.

    With `at_least`, a large JPEG may come back smaller, never with a side below that many pixels: it is much faster.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            return image.copy()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as problem:
        raise DataError(f"cannot open the image {path}: {_one_line(problem)}; replace it or take it out.") from problem


def open_embeddings(path: Path, n_rows: int, name: str) -> NDArray[Any]:
    """The user's own features (n_rows, d), memory-mapped and read-only.

    Raises `DataError` if the file cannot be read without pickle, is no table of numbers, or has another number of
    rows than the data called `name`.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":  # np.load opens zip archives too
                raise ValueError("it is no .npy file")
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"cannot read the embeddings {path}: {_one_line(problem)}.") from problem
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise DataError(
            f"the embeddings {path} have the shape {array.shape} and type {array.dtype}; (rows, numbers) is needed."
        )
    if len(array) != n_rows:
        raise DataError(f"the embeddings {path} have {len(array)} rows and {name} has {n_rows}: there must be as many.")
    return array


def plain_text(value: Any) -> str:
    """The text of a value, the same whichever format it was stored in: NFC; missing is ""; 3.0 is "3".

    >>> [plain_text(value) for value in (None, 3.0, 3, 2.5, float("nan"), True)]
    ['', '3', '3', '2.5', '', 'True']
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)


# Rows → records


@dataclass(frozen=True, slots=True)
class _Merged:
    records: list[Record]
    n_duplicates: int
    notices: tuple[str, ...]


def _merge(data: DataSettings, rows: Sequence[str], ids: list[str], digests: list[bytes], table: Any) -> _Merged:
    """One record per id, in file order; of duplicates the first row stays, with the first answer given to any."""
    groups = [plain_text(v).strip() or None for v in _values(table, data.group)] or [None] * len(rows)
    answers = _answers(_values(table, data.answer)) or [None] * len(rows)
    first: dict[str, tuple[int, int]] = {}  # id → its record, its first row
    records: list[Record] = []
    n_conflicts = 0
    for place, (row, id_, group, answer) in enumerate(zip(rows, ids, groups, answers, strict=True)):
        if id_ not in first:
            first[id_] = len(records), place
            records.append(Record(id_, row, group, answer))
            continue
        at, first_place = first[id_]
        known = records[at]
        if digests[place] != digests[first_place]:
            raise DataError(
                f'{data.path}: rows {known.row} and {row} are both called "{id_}" in column "{data.id}" and differ; '
                "an id must name one item only."
            )
        if answer is not None and known.answer is None:
            records[at] = replace(known, answer=answer)
        n_conflicts += answer is not None and known.answer is not None and answer != known.answer
    conflict = (
        f"{data.path}: {n_conflicts} duplicate rows carry another answer than their first row; the first one is taken."
    )
    return _Merged(records, len(rows) - len(records), (conflict,) if n_conflicts else ())


def _values(table: Any, column: str) -> list[Any]:
    return list(table.column(column).to_pylist()) if column else []


def _answers(values: list[Any]) -> list[str | None]:
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
        raise DataError(f"cannot read the image {name}: {_one_line(problem)}.") from problem


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


def _image_names(folder: Path) -> list[str]:
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


def _require(file: _File, data: DataSettings, **columns: Sequence[str]) -> None:
    wanted = [(f"data.{key}", column) for key, some in columns.items() for column in some]
    for key, column in [*wanted, *_special(data).items()]:
        if file.columns.count(column) != 1:
            raise DataError(_wrong_column(key, column, file))


def _wrong_column(key: str, column: str, file: _File) -> str:
    if column in file.columns:
        return f'{file.name} has {file.columns.count(column)} columns called "{column}" ({key}): rename one of them.'
    close = difflib.get_close_matches(column, file.columns, n=1)
    hint = f'did you mean "{close[0]}"? It' if close else "it"
    return f'{file.name} has no column "{column}" ({key}); {hint} has: {", ".join(file.columns)}.'


def _refuse_leak(data: DataSettings, columns: Sequence[str]) -> None:
    if data.answer and data.answer in columns:
        raise ConfigError(
            f'data.answer is "{data.answer}", which data.show or data.use names too: '
            "people or the model would be given the answer; take it out there."
        )


def _check_embeddings(path: Path | None, n_rows: int, name: str) -> None:
    if path is not None:
        open_embeddings(path, n_rows, name)


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


# Files → tables


@dataclass(frozen=True, slots=True)
class _File:
    """A file whose header is known; `read` gives the named columns as an Arrow table."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[list[str]], Any]
    encoding: str
    notices: tuple[str, ...] = ()


def _survey(path: Path, name: str) -> _File:
    """What a file is and which columns it has; `DataError` if it is none of the formats, empty or unreadable."""
    survey = _FORMATS.get(path.suffix.lower())
    if survey is None or not path.is_file():
        raise DataError(f"cannot read {name}: it is none of {', '.join(_FORMATS)}, nor a folder of images.")
    try:
        if not path.stat().st_size:
            raise DataError(f"{name} is empty.")
        file = survey(path, name)
    except OSError as problem:
        raise DataError(f"cannot read {name}: {_one_line(problem)}.") from problem
    if not file.columns:
        raise DataError(f"{name} has no columns.")
    return file


def _survey_csv(path: Path, name: str) -> _File:
    encoding, notices = _encoding(path, name)
    with path.open(encoding=encoding, newline="") as file:
        lines = [line for line in islice(file, 200) if line.strip()]
    if not lines:
        raise DataError(f"{name} is empty.")
    delimiter = _delimiter(lines)
    columns = tuple(next(csv.reader(lines, delimiter=delimiter)))

    def read(wanted: list[str]) -> Any:
        return _read_csv(path, name, encoding, delimiter, columns, wanted)

    return _File(name, columns, read, encoding, notices)


def _read_csv(path: Path, name: str, encoding: str, delimiter: str, columns: tuple[str, ...], wanted: list[str]) -> Any:
    """Every cell as the text that stands in the file: what a row says must not depend on the other rows."""
    import pyarrow as pa

    arrow_csv: Any = import_module("pyarrow.csv")
    try:
        return arrow_csv.read_csv(
            path,
            # One thread: only then do the messages know the number of the row.
            read_options=arrow_csv.ReadOptions(
                encoding="utf8" if encoding == "utf-8-sig" else encoding, use_threads=False, block_size=1 << 24
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError) as problem:
        raise DataError(f"cannot read {name}: {_one_line(problem)}.") from problem


def _encoding(path: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """The first encoding that reads the whole file; Latin-1 reads anything, so a notice says what was guessed."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16", ()
    for encoding in ("utf-8-sig", "cp949", "latin-1"):
        if _decodes(path, encoding):
            notice = f"{name} is not UTF-8; it was read as {encoding}: check that letters look right."
            return encoding, () if encoding == "utf-8-sig" else (notice,)
    raise DataError(f"cannot read {name}: its text is in no known encoding; save it as UTF-8.")


def _decodes(path: Path, encoding: str) -> bool:
    try:
        with path.open(encoding=encoding, newline="") as file:
            while file.read(1 << 20):
                pass
    except UnicodeError:
        return False
    return True


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that cuts most of the first rows into as many fields as the header; then the one with most."""

    def fit(delimiter: str) -> tuple[float, int]:
        rows = list(csv.reader(lines, delimiter=delimiter))
        width = len(rows[0])
        if width == 1:
            return 0.0, 1
        return sum(len(row) == width for row in rows) / len(rows), width

    return max(_DELIMITERS, key=fit)


def _survey_parquet(path: Path, name: str) -> _File:
    import pyarrow as pa

    parquet: Any = import_module("pyarrow.parquet")
    try:
        columns = tuple(parquet.read_schema(path).names)
    except pa.ArrowException as problem:
        raise DataError(f"cannot read {name} as Parquet: {_one_line(problem)}.") from problem

    def read(wanted: list[str]) -> Any:
        try:
            return parquet.read_table(path, columns=wanted)
        except (pa.ArrowException, OSError) as problem:
            raise DataError(f"cannot read {name} as Parquet: {_one_line(problem)}.") from problem

    return _File(name, columns, read, "utf-8")


def _survey_jsonl(path: Path, name: str) -> _File:
    rows = list(_json_rows(path, name))
    columns = tuple(dict.fromkeys(column for row in rows for column in row))

    def read(wanted: list[str]) -> Any:
        import pyarrow as pa

        return pa.table({column: _json_column(rows, column, name) for column in wanted})

    return _File(name, columns, read, "utf-8")


def _json_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except ValueError as problem:  # covers bad UTF-8 too
                raise DataError(f"{name}, line {number} is not JSON: {_one_line(problem)}.") from problem
            if not isinstance(row, dict):
                raise DataError(f"{name}, line {number} is not a JSON object with named fields.")
            yield row


def _json_column(rows: Sequence[dict[str, Any]], column: str, name: str) -> Any:
    import pyarrow as pa

    values = [row.get(column) for row in rows]
    nested = (dict, list)
    flat = [plain_text(value) if isinstance(value, nested) else value for value in values]
    try:
        return pa.array(flat)
    except UnicodeEncodeError as problem:
        raise DataError(f'{name}: column "{column}" holds half a character: {_one_line(problem)}.') from problem
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # mixed types: everything as text
        return pa.array([None if value is None else plain_text(value) for value in flat], type=pa.string())


_FORMATS: Final[Mapping[str, Callable[[Path, str], _File]]] = {
    ".csv": _survey_csv,
    ".tsv": _survey_csv,
    ".txt": _survey_csv,
    ".parquet": _survey_parquet,
    ".pq": _survey_parquet,
    ".jsonl": _survey_jsonl,
    ".ndjson": _survey_jsonl,
}


# What `init` wants to know


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

    `show` are the columns to show; `answers` those that could hold answers already, likeliest first.
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


_ANSWER_WORDS: Final = ("label", "class", "answer", "target", "sentiment", "category", "digit", "diagnosis")
_MANY: Final = 50  # more different values than this are no list of classes


def inspect(path: Path) -> Inspection:
    """What `path` holds; reads all of it. `DataError` as for `open_source`."""
    if not path.exists():
        raise DataError(f"cannot find {path}.")
    if path.is_dir():
        return _inspected(path, "image", None, (), ("image",))
    file = _survey(path, path.name)
    table = file.read(list(dict.fromkeys(file.columns)))
    if not table.num_rows:
        raise DataError(f"{path.name} has no rows: there is nothing to label in it.")
    columns = tuple(_column(name, table.column(name).to_pylist()) for name in dict.fromkeys(file.columns))
    kind, show = _guess(path, columns)
    return _inspected(path, kind, file, columns, show)


def _inspected(
    path: Path, kind: str, file: _File | None, columns: tuple[Column, ...], show: tuple[str, ...]
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
    texts = [text if text is not None else "" for text in _answers(list(values))]
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
