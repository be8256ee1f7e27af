"""The user's data and a file of labelled test items, as one source.

Two sources side by side: the rows to learn from, and after them those that only test. A test row carries its file's
number behind a mark, so that the two cannot be mixed up however much is added to the first later. What would make the
test worthless is refused when the rows are read: an item on both sides, or one without an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .errors import DataError
from .files import open_embeddings
from .records import Record, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARK: Final = "test:"
"""In front of the row numbers of the test file: no row of the data begins with it and ends in digits."""

_T = TypeVar("_T")


class Brought:
    """The rows of `pool`, then those of `test`, whose answers stand in the column `answer`.

    `embeddings` holds the rows of both, in that order. Without `known` the answers of the pool are kept back.
    """

    def __init__(self, pool: Source, test: Source, answer: str, embeddings: Path | None, known: bool = True) -> None:
        self.name, self.kind, self.embeddings = f"{pool.name} with {test.name}", pool.kind, embeddings
        self._pool, self._test, self._answer, self._known = pool, test, answer, known

    @property
    def n_rows(self) -> int:
        return self._pool.n_rows + self._test.n_rows

    @property
    def n_duplicates(self) -> int:
        return self._pool.n_duplicates + self._test.n_duplicates

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._pool.notices + self._test.notices))

    def records(self) -> list[Record]:
        """Those of the data, then those of the test file; refuses items that are on both sides or have no answer."""
        self._check_embeddings()
        pool, test = self._pool.records(), self._test.records()
        self._refuse_common(pool, test)
        self._refuse_shared_groups(pool, test)
        unanswered = [record.row for record in test if record.answer is None]
        if unanswered:
            raise DataError(
                f"{len(unanswered)} of the {len(test)} items of {self._test.name} have no answer in column "
                f'"{self._answer}", the first in row {unanswered[0]}: fill it in, or remove these rows.'
            )
        if not self._known:
            pool = [replace(record, answer=None) for record in pool]
        return pool + [replace(record, row=MARK + record.row, test=True) for record in test]

    def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        return self._each(rows, lambda side, some: side.shown(some))

    def content(self, rows: Sequence[str]) -> Any:
        if self.kind != "table":
            return self._each(rows, lambda side, some: side.content(some))
        places, frames = [], []
        for side, at, some in self._sides(rows):
            places += at
            frames.append(side.content(some))
        return _stacked(frames, places) if len(frames) > 1 else frames[0]

    def numbers(self, rows: Sequence[str]) -> NDArray[np.int64]:
        import numpy as np

        first = {id(self._pool): 0, id(self._test): self._pool.n_rows}
        return np.array(self._each(rows, lambda side, some: side.numbers(some) + first[id(side)]), dtype=np.int64)

    def digests(self, rows: Sequence[str]) -> list[bytes]:
        return self._each(rows, lambda side, some: side.digests(some))

    def ids(self, rows: Sequence[str]) -> list[str]:
        return self._each(rows, lambda side, some: side.ids(some))

    def _check_embeddings(self) -> None:
        if self.embeddings is not None:
            pool, test = self._pool, self._test
            both = f"{pool.name}, then {test.name} ({pool.n_rows} + {test.n_rows} rows),"
            open_embeddings(self.embeddings, self.n_rows, both)

    def _sides(self, rows: Sequence[str]) -> Iterator[tuple[Source, list[int], list[str]]]:
        """Each side that some of the rows lie on, with their places among `rows`, and their names there."""
        tests = [row.startswith(MARK) and row[len(MARK) :].isdigit() for row in rows]
        pool, test = ([place for place, each in enumerate(tests) if each == side] for side in (False, True))
        if pool or not test:
            yield self._pool, pool, [rows[place] for place in pool]
        if test:
            yield self._test, test, [rows[place].removeprefix(MARK) for place in test]

    def _each(self, rows: Sequence[str], take: Callable[[Source, list[str]], Iterable[_T]]) -> list[_T]:
        """What `take` gives for each row, in the order of `rows`."""
        found: dict[int, _T] = {}
        for side, places, some in self._sides(rows):
            found.update(zip(places, take(side, some), strict=True))
        return [found[place] for place in range(len(rows))]

    def _refuse_common(self, pool: Sequence[Record], test: Sequence[Record]) -> None:
        """An item that is learned from may not test; two items may not have one id."""
        rows = [record.row for record in pool]
        place = dict(zip(self._pool.digests(rows), rows, strict=True))
        digests = zip(test, self._test.digests([record.row for record in test]), strict=True)
        same = [(record.row, place[digest]) for record, digest in digests if digest in place]
        if same:
            raise DataError(
                f"{len(same)} of the {len(test)} items of {self._test.name} are also in {self._pool.name} (row "
                f"{same[0][0]} is its row {same[0][1]}): remove them from one of the two."
            )
        ids = {record.id for record in pool}
        shared = [record.id for record in test if record.id in ids]
        if shared:
            raise DataError(
                f"{len(shared)} of the {len(test)} items of {self._test.name} have the id of another item in "
                f'{self._pool.name}, the first "{shared[0]}": an id must name one item only.'
            )

    def _refuse_shared_groups(self, pool: Sequence[Record], test: Sequence[Record]) -> None:
        learned = {record.group for record in pool if record.group}
        groups = dict.fromkeys(record.group for record in test if record.group)
        shared = [group for group in groups if group in learned]
        if shared:
            raise DataError(
                f"{len(shared)} of the {len(groups)} groups of {self._test.name} are also in {self._pool.name}, the "
                f'first "{shared[0]}": the rows of a group must all be in one of the two.'
            )


def _stacked(frames: Sequence[Any], places: Sequence[int]) -> Any:
    """One frame of several with the same columns, its rows in the order of `places`; cells stay what they are."""
    import numpy as np
    import pandas as pd

    first = frames[0]
    mixed = {name: object for name in first.columns if any(f[name].dtype != first[name].dtype for f in frames)}
    whole = pd.concat([frame.astype(mixed) for frame in frames], ignore_index=True)
    return whole.iloc[np.argsort(places)].reset_index(drop=True)
