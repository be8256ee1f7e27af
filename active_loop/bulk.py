"""Predictions of a whole file or folder, block by block, so that it may be of any size.

What is read, predicted and written is one block at a time. A file is read as one that labels were asked about: the same
encodings, delimiters and cells, and so the same predictions. What cannot be read is refused in one sentence with its
line, and then nothing is written.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from .errors import ConfigError, DataError, FolderError
from .files import CsvFile, json_column, json_rows, one_line, open_embeddings, plain_text, survey_csv
from .model import Model, Predicted, missing_columns
from .sources import image_names

if TYPE_CHECKING:
    import pandas as pd

BLOCK: Final = 8192
"""Rows that are read, predicted and written at a time."""

_CSV: Final = (".csv", ".tsv", ".txt")
_JSONL: Final = (".jsonl", ".ndjson")
_PARQUET: Final = (".parquet", ".pq")
_READ: Final = (*_CSV, *_JSONL, *_PARQUET)
WRITTEN: Final = (".csv", ".jsonl", ".parquet")
"""Endings of the files that predictions are written to."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows as a model takes them, what each is called in the output, and their numbers in the file."""

    rows: Any
    ids: Sequence[object]
    numbers: Sequence[object]


def predict_file(
    model: Model,
    path: Path,
    out: Path,
    *,
    probabilities: bool = False,
    heard: Callable[[int], None] = lambda n: None,
) -> tuple[int, int]:
    """Predict every row of `path`, a row for each to `out`; returns how many, and for how many to ask a person.

    `path` is a CSV, JSONL or Parquet file, of images also a folder, and a .npy file where the model predicts from the
    user's own features. `out` ends in one of `WRITTEN`; it is there whole or not at all. `heard` is told after each
    block how many rows are done. Raises `DataError` for what cannot be read, `ConfigError` for names that cannot be.
    """
    if out.suffix not in WRITTEN:
        raise ConfigError(f'--out: the name "{out.name}" must end in {", ".join(WRITTEN)}.')
    if out.exists() and path.exists() and out.samefile(path):
        raise ConfigError(f"--out names {path} itself: give another name for the predictions.")
    name, blocks = blocks_of(model, path)
    n = n_asked = 0
    with _writing(out) as write:
        for block in blocks:
            said = model.said(block.rows, block.numbers)
            write(_columns(model, name, block, said, probabilities))
            n += len(said.labels)
            n_asked += 0 if said.ask is None else int(said.ask.sum())
            heard(n)
        if not n:
            raise DataError(f"{path} has no rows: there is nothing to predict.")
    return n, n_asked


def _columns(
    model: Model, name: str, block: Block, said: Predicted, probabilities: bool
) -> dict[str, Sequence[object]]:
    """The columns of the output; those that a model has nothing to say in are left out."""
    found: dict[str, Sequence[object]] = {name: block.ids, "prediction": said.labels}
    if said.confidence is not None:
        found["confidence"] = said.confidence.tolist()
    if model.about.threshold.least is not None:
        found["ask"] = ["yes" if ask else "no" for ask in ([] if said.ask is None else said.ask.tolist())]
    if probabilities:
        found |= {f"p({each})": said.table[:, place].tolist() for place, each in enumerate(model.classes)}
    return found


# reading


def blocks_of(model: Model, path: Path) -> tuple[str, Iterator[Block]]:
    """How the column that names the rows is called, and the blocks of a file or folder. `DataError` if it is none."""
    if not path.exists():
        raise DataError(f"cannot find {path}: there is nothing there; correct the name.")
    suffix = path.suffix.lower()
    if model.about.extractor == "embeddings":
        return "row", _own_features(path)
    if path.is_dir():
        if model.about.kind != "image":
            raise DataError(f"{path} is a folder, and the model predicts from {model.about.kind}: give a file of rows.")
        return "image", _images(path)
    if not path.stat().st_size:
        raise DataError(f"{path} is empty: there is nothing to predict.")
    readers = {**dict.fromkeys(_CSV, _csv), **dict.fromkeys(_JSONL, _jsonl), **dict.fromkeys(_PARQUET, _parquet)}
    if suffix not in readers:
        raise DataError(f"cannot read {path}: it is none of {', '.join(_READ)}.")
    named, frames = readers[suffix](model, path)
    return named or "row", _numbered(model, path, frames, named)


def _numbered(model: Model, path: Path, frames: Iterator[pd.DataFrame], named: str) -> Iterator[Block]:
    """Blocks of frames; rows are named by the column `named`, or numbered from 0 without the header."""
    start = 0
    for frame in frames:
        numbers = range(start, start + len(frame))
        start += len(frame)
        ids = [plain_text(each).strip() for each in frame[named].tolist()] if named else numbers
        if model.about.kind == "image":
            column = model.about.columns[0]
            rows: Any = [path.parent / plain_text(each).strip() for each in frame[column].tolist()]
        else:
            rows = frame
        yield Block(rows, ids, numbers)


def _wanted(model: Model, path: Path, there: Sequence[str]) -> tuple[str, list[str]]:
    """The column that names the rows ("" if there is none), and all columns to read."""
    missing = [name for name in model.about.columns if name not in there]
    if missing:
        raise DataError(f"cannot predict from {path}: {missing_columns(missing, there)}")
    twice = [name for name in model.about.columns if list(there).count(name) > 1]
    if twice:
        raise DataError(f'{path} has several columns called "{twice[0]}": rename all but one.')
    named = model.about.id if model.about.id in there else ""
    return named, list(dict.fromkeys([*model.about.columns, *([named] if named else [])]))


def _csv(model: Model, path: Path) -> tuple[str, Iterator[pd.DataFrame]]:
    file = survey_csv(path, str(path))
    named, wanted = _wanted(model, path, file.columns)
    return named, _csv_frames(file, wanted)


def _csv_frames(file: CsvFile, wanted: list[str]) -> Iterator[pd.DataFrame]:
    for table in file.batches(wanted):
        for start in range(0, table.num_rows, BLOCK):
            yield table.slice(start, BLOCK).to_pandas()


def _jsonl(model: Model, path: Path) -> tuple[str, Iterator[pd.DataFrame]]:
    rows = json_rows(path, str(path))
    first = list(islice(rows, BLOCK))  # a column that none of these has is missing, one that some have is not
    named, wanted = _wanted(model, path, list(dict.fromkeys(name for row in first for name in row)))
    return named, _jsonl_frames(chain(first, rows), wanted, str(path))


def _jsonl_frames(rows: Iterator[dict[str, Any]], wanted: list[str], name: str) -> Iterator[pd.DataFrame]:
    import pyarrow as pa

    while some := list(islice(rows, BLOCK)):
        yield pa.table({column: json_column(some, column, name) for column in wanted}).to_pandas()


def _parquet(model: Model, path: Path) -> tuple[str, Iterator[pd.DataFrame]]:
    import pyarrow as pa

    parquet: Any = import_module("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as problem:
        raise DataError(f"cannot read {path} as Parquet: {one_line(problem)}.") from problem
    named, wanted = _wanted(model, path, file.schema_arrow.names)
    return named, _parquet_frames(file, wanted, path)


def _parquet_frames(file: Any, wanted: list[str], path: Path) -> Iterator[pd.DataFrame]:
    import pyarrow as pa

    try:
        with file:
            for batch in file.iter_batches(batch_size=BLOCK, columns=wanted):
                yield batch.to_pandas()
    except (pa.ArrowException, OSError) as problem:
        raise DataError(f"cannot read {path} as Parquet: {one_line(problem)}.") from problem


def _images(folder: Path) -> Iterator[Block]:
    names = image_names(folder)
    for start in range(0, len(names), BLOCK):
        some = names[start : start + BLOCK]
        yield Block([folder / name for name in some], some, some)


def _own_features(path: Path) -> Iterator[Block]:
    if path.suffix.lower() != ".npy":
        raise DataError(f"the model predicts from your own features: give them as a .npy file, not {path.name}.")
    array = open_embeddings(path)
    for start in range(0, len(array), BLOCK):
        numbers = range(start, min(start + BLOCK, len(array)))
        yield Block(array[start : start + BLOCK], numbers, numbers)


# writing


class _Write(Protocol):
    def __call__(self, columns: dict[str, Sequence[object]], /) -> None: ...


@contextmanager
def _writing(out: Path) -> Iterator[_Write]:
    """Something to write blocks of columns with, to a file that takes the place of `out` when all went well."""
    draft = out.with_name(f".{out.name}.{os.getpid()}.new")
    writers = {".csv": _as_csv, ".jsonl": _as_jsonl, ".parquet": _as_parquet}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with writers[out.suffix](draft) as write:
            yield write
        draft.replace(out)
    except OSError as error:
        raise FolderError(f"cannot write {out}: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _as_csv(path: Path) -> Iterator[_Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)

        def write(columns: dict[str, Sequence[object]]) -> None:
            if not file.tell():
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

        yield write


@contextmanager
def _as_jsonl(path: Path) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(columns: dict[str, Sequence[object]]) -> None:
            for row in zip(*columns.values(), strict=True):
                file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _as_parquet(path: Path) -> Iterator[_Write]:
    import pyarrow as pa

    parquet: Any = import_module("pyarrow.parquet")
    opened: list[Any] = []

    def write(columns: dict[str, Sequence[object]]) -> None:
        table = pa.table({name: list(values) for name, values in columns.items()})
        if not opened:
            opened.append(parquet.ParquetWriter(path, table.schema))
        opened[0].write_table(table)

    try:
        yield write
    finally:
        for writer in opened:
            writer.close()
