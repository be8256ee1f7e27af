"""Files → Arrow tables: CSV, Parquet, JSONL, tasks of Label Studio; what is wrong with them, by line.

People bring what another program wrote: in some encoding, with some delimiter, now and then cut off or not quite
JSON. It is found out here, once, and what cannot be read is refused in one sentence that names the file, and the
line where there is one. Cells come out as they were stored: a cell of a CSV is text, whatever it looks like, because
what a row says must not depend on the other rows; `plain_text` makes one text of a value, whichever format held it.

Nothing here knows settings, items, or what a column is for; no file is written, and no pickle is ever loaded. Arrow
and numpy are imported when a file is read: this module is loaded at every start.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from .errors import DataError
from .exported import Exported
from .records import Given

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file whose header is known; `read` gives the named columns as an Arrow table.

    `named` are columns that can be read too, and are no content: what a task is called, and what people said of it.
    Of a file of `tasks` these tell who said it.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[list[str]], Any]
    encoding: str
    notices: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    tasks: Tasks | None = None


class Tasks(Protocol):
    """What people said of the rows of a file, by the control that they said it with."""

    @property
    def controls(self) -> Mapping[str, str]:
        """The controls that can be read → the kind of their label."""

    def given(self, control: str) -> list[tuple[Given, ...]]:
        """The answers about each row, in file order."""

    def votes(self, control: str) -> Mapping[str, int]:
        """How many answers hold each text."""

    def cells(self, name: str) -> list[Any]:
        """The values of a column as they stand in the file, lists and objects included."""


def survey(path: Path, name: str) -> TableFile:
    """What a file is and which columns it has; `DataError` if it is none of the formats, empty or unreadable."""
    survey_format = _FORMATS.get(path.suffix.lower())
    if survey_format is None or not path.is_file():
        raise DataError(f"cannot read {name}: it is none of {', '.join(_FORMATS)}, nor a folder of images.")
    try:
        if not path.stat().st_size:
            raise DataError(f"{name} is empty.")
        file = survey_format(path, name)
    except OSError as problem:
        raise DataError(f"cannot read {name}: {one_line(problem)}.") from problem
    if not file.columns:
        raise DataError(f"{name} has no columns.")
    return file


def open_embeddings(path: Path, n_rows: int | None = None, name: str = "") -> NDArray[Any]:
    """The user's own features (n_rows, d), memory-mapped and read-only.

    Raises `DataError` if the file cannot be read without pickle, is no table of numbers, or has another number of
    rows than the data called `name`, where that is given.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":  # np.load opens zip archives too
                raise ValueError("it is no .npy file")
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"cannot read the embeddings {path}: {one_line(problem)}.") from problem
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise DataError(
            f"the embeddings {path} have the shape {array.shape} and type {array.dtype}; (rows, numbers) is needed."
        )
    if n_rows is not None and len(array) != n_rows:
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


def one_line(problem: BaseException) -> str:
    """What a library says is wrong, on one line; the name of the error where it says nothing."""
    return " ".join(str(problem).split()) or type(problem).__name__


# One format each


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file whose columns, encoding and delimiter are known."""

    path: Path
    name: str
    columns: tuple[str, ...]
    encoding: str
    delimiter: str
    notices: tuple[str, ...] = ()

    def read(self, wanted: list[str]) -> Any:
        """Every cell as the text that stands in the file: what a row says must not depend on the other rows."""
        return self._read(import_module("pyarrow.csv").read_csv, wanted, 1 << 24)

    def batches(self, wanted: list[str]) -> Iterator[Any]:
        """The same in Arrow batches of a megabyte or so of text, for a file that is larger than memory."""
        import pyarrow as pa

        reader = self._read(import_module("pyarrow.csv").open_csv, wanted, 1 << 20)
        try:
            yield from reader
        except (pa.ArrowException, UnicodeError) as problem:
            raise DataError(f"cannot read {self.name}: {one_line(problem)}.") from problem

    def _read(self, how: Callable[..., Any], wanted: list[str], block_size: int) -> Any:
        import pyarrow as pa

        arrow_csv: Any = import_module("pyarrow.csv")
        try:
            return how(
                self.path,
                # One thread: only then do the messages know the number of the row.
                read_options=arrow_csv.ReadOptions(
                    encoding="utf8" if self.encoding == "utf-8-sig" else self.encoding,
                    use_threads=False,
                    block_size=block_size,
                ),
                parse_options=arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, pa.string()),
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError) as problem:
            raise DataError(f"cannot read {self.name}: {one_line(problem)}.") from problem


def survey_csv(path: Path, name: str) -> CsvFile:
    """What a CSV file is; `DataError` if it is empty or in no known encoding."""
    encoding, notices = _encoding(path, name)
    with path.open(encoding=encoding, newline="") as file:
        lines = [line for line in islice(file, 200) if line.strip()]
    if not lines:
        raise DataError(f"{name} is empty.")
    delimiter = _delimiter(lines)
    columns = tuple(next(csv.reader(lines, delimiter=delimiter)))
    return CsvFile(path, name, columns, encoding, delimiter, notices)


def _survey_csv(path: Path, name: str) -> TableFile:
    file = survey_csv(path, name)
    return TableFile(name, file.columns, file.read, file.encoding, file.notices)


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


def _survey_parquet(path: Path, name: str) -> TableFile:
    import pyarrow as pa

    parquet: Any = import_module("pyarrow.parquet")
    try:
        columns = tuple(parquet.read_schema(path).names)
    except pa.ArrowException as problem:
        raise DataError(f"cannot read {name} as Parquet: {one_line(problem)}.") from problem

    def read(wanted: list[str]) -> Any:
        try:
            return parquet.read_table(path, columns=wanted)
        except (pa.ArrowException, OSError) as problem:
            raise DataError(f"cannot read {name} as Parquet: {one_line(problem)}.") from problem

    return TableFile(name, columns, read, "utf-8")


def _survey_jsonl(path: Path, name: str) -> TableFile:
    rows = list(json_rows(path, name))
    columns = tuple(dict.fromkeys(column for row in rows for column in row))

    def read(wanted: list[str]) -> Any:
        import pyarrow as pa

        return pa.table({column: json_column(rows, column, name) for column in wanted})

    return TableFile(name, columns, read, "utf-8")


def _survey_tasks(path: Path, name: str) -> TableFile:
    tasks = Exported(path.read_bytes(), name)
    for control in tasks.controls:
        tasks.given(control)  # which refuses what is no answer

    def read(wanted: list[str]) -> Any:
        import pyarrow as pa

        cells = ([{column: value} for value in tasks.cells(column)] for column in wanted)
        return pa.table({column: json_column(rows, column, name) for column, rows in zip(wanted, cells, strict=True)})

    return TableFile(name, tasks.columns, read, "utf-8", (), tasks.named, tasks)


def json_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file, one a line; `DataError` names the line that is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except ValueError as problem:  # covers bad UTF-8 too
                raise DataError(f"{name}, line {number} is not JSON: {one_line(problem)}.") from problem
            if not isinstance(row, dict):
                raise DataError(f"{name}, line {number} is not a JSON object with named fields.")
            yield row


def json_column(rows: Sequence[dict[str, Any]], column: str, name: str) -> Any:
    """One column of these objects as an Arrow array; missing is null, and mixed types are text."""
    import pyarrow as pa

    values = [row.get(column) for row in rows]
    nested = (dict, list)
    flat = [plain_text(value) if isinstance(value, nested) else value for value in values]
    try:
        return pa.array(flat)
    except UnicodeEncodeError as problem:
        raise DataError(f'{name}: column "{column}" holds half a character: {one_line(problem)}.') from problem
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # mixed types: everything as text
        return pa.array([None if value is None else plain_text(value) for value in flat], type=pa.string())


_FORMATS: Final[Mapping[str, Callable[[Path, str], TableFile]]] = {
    ".csv": _survey_csv,
    ".tsv": _survey_csv,
    ".txt": _survey_csv,
    ".parquet": _survey_parquet,
    ".pq": _survey_parquet,
    ".jsonl": _survey_jsonl,
    ".ndjson": _survey_jsonl,
    ".json": _survey_tasks,
}
