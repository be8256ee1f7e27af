"""What is made of the same things for everybody who asks: made once, and again when the things have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

_Made = TypeVar("_Made")


class Kept:
    """Keeps what was made last. Whoever asks while it is being made waits for it instead of making it too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[object, Any] | None = None

    def of(self, things: object, make: Callable[[], _Made]) -> _Made:
        """What `make` makes of these things; they are compared with those of the last call."""
        with self._lock:
            if self._known is None or self._known[0] != things:
                self._known = (things, make())
            made: _Made = self._known[1]
            return made
