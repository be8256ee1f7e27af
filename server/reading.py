"""What pages read of a loop: made once for everybody who asks, and again only after something was committed.

One connection is kept open, because only the same connection is told by SQLite whether another one has committed since.
Whoever asks while something is being made waits for it instead of making it too, so fifty viewers cost what one does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, TypeVar

from active_loop.language import spoken
from active_loop.report import Reader, Status
from active_loop.store import Store

_Read = TypeVar("_Read")


_SHARE: Final = 0.03
"""Share of a core that reading anew may take while answers come in: a large loop is read every few seconds only."""

_SHORT_S: Final = 0.05
"""Processor seconds up to which something is read anew whenever it has changed."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was made of a version of the store; until `good_until` (monotonic seconds) it will do for newer ones."""

    version: object
    made: Any
    good_until: float


class Reading:
    """Reads one loop folder, for many threads. `open_store` gives a store that is opened read-only.

    Every call raises the `FolderError` of `open_store` for as long as there is no loop to be read.
    """

    def __init__(
        self, open_store: Callable[[], Store], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.open_store = open_store
        self.now = now
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._reader = Reader()
        self._identity: object = None
        self._kept: dict[object, _Kept] = {}

    def of(self, read: Callable[[Store], _Read], key: object = None) -> _Read:
        """What `read` makes of the store as it is now. It is known by its `key`, or by itself where that is None.

        What takes long to make is not made again at once: see `_SHARE`.
        """
        with self._lock:
            store = self._current()
            version = (self._identity, store.data_version())
            known = self._kept.get(key or read)
            if known is None or (known.version != version and time.monotonic() >= known.good_until):
                # Read after the version was: what is committed in between is only read once more.
                began = time.thread_time()
                made = read(store)
                took_s = time.thread_time() - began
                calm_s = took_s / _SHARE if took_s > _SHORT_S else 0.0
                known = self._kept[key or read] = _Kept(version, made, time.monotonic() + calm_s)
            found: _Read = known.made
            return found

    def status(self) -> Status:
        """Where the loop stands, in the language that is spoken now."""
        now = self.now()
        day: date = now.date()
        return self.of(lambda store: self._reader.status(store, now), ("status", day, spoken()))

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._drop()

    def _current(self) -> Store:
        """The open store, opened again if the file is another one by now."""
        if self._store is not None and self._store.identity() != self._identity:
            self._drop()
        if self._store is None:
            self._store = self.open_store()
            self._identity = self._store.identity()
        return self._store

    def _drop(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store, self._identity, self._reader = None, None, Reader()
        self._kept.clear()
