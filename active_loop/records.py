"""What is found in the user's data: records, and the rows that can be asked for again.

The contract between those who read files and those who need what is in them. Nothing is read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .domain import AnswerKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Given:
    """One person's answer that came with the data: what was `said`, as texts; nothing where it was skipped.

    `id` names it in the data. Times and seconds are None where the data does not say them.
    """

    id: str
    person: str
    kind: AnswerKind
    said: tuple[str, ...]
    created_at: datetime | None = None
    updated_at: datetime | None = None
    lead_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One thing found in the data, before it becomes an item.

    `row` is its place in the source: the number of the data row, counted from 0 without the header, or the file's
    name relative to the folder. `group` is None for what stands alone. `answer` is what the answer column holds,
    in normal form, be it a configured class or not; None where it is empty. `test` says that it came to test. Where the
    data says who answered, `given` holds every answer, and `answer` is what most people said.
    """

    id: str
    row: str
    group: str | None
    answer: str | None
    test: bool = False
    given: tuple[Given, ...] = ()


class Source(Protocol):
    """A file or folder of the user's, as rows that can be asked for again.

    Every method raises `DataError` with one sentence when the data cannot be read, or holds no such row.
    """

    name: str
    """The path as it was given in the settings."""
    kind: str
    """What a row is: "image", "table" or "text"."""
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

        Text: column → string or number, of the tasks of another project also lists and objects. Table: `{"row":
        {column: value}}`. Image: `{"image": Path}`. Missing is "".
        """

    def content(self, rows: Sequence[str]) -> Any:
        """What features are made of, in the order of `rows`: texts (list of str), a pandas frame, or image paths."""

    def numbers(self, rows: Sequence[str]) -> NDArray[np.int64]:
        """Places (n,) of rows in the data, counted from 0."""

    def digests(self, rows: Sequence[str]) -> list[bytes]:
        """What each row contains, as 16 bytes that change with the content and with nothing else."""

    def ids(self, rows: Sequence[str]) -> list[str]:
        """The item id of each row."""
