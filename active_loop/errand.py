"""MLflow told of a loop while it runs: by a process of its own, which the loop waits for at its end alone, and briefly.

The process is `active-loop mlflow FOLDER`. It starts when there is something new, one at a time, and may fail, hang or
be killed: what it left undone the next one does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .changes import current_settings, ended
from .errors import FolderBusyError
from .settings import Settings
from .store import Store

LOG: Final = "tracking.log"
"""File of the loop folder in which the newest process says what it did."""

AT_THE_END_S: Final = 10.0
"""Seconds that the end of a session waits for it at most."""

_LIMIT_S: Final = 120.0
"""Seconds that one process may take."""

_NOTHING: Final = (0, 0, False)
"""The mark of a loop of which there is nothing to tell."""

_OURS: Final = "active-loop: "
"""What a line begins with that says what went wrong."""


class Errand:
    """Hears each step of a session, and has MLflow told of what is new.

    `tell` is called with what went wrong, once until it goes well again, from the thread that calls `hear`.
    """

    def __init__(self, folder: Path, store: Store, tell: Callable[[str], None], *, hidden: frozenset[str]) -> None:
        self._folder, self._store, self._tell, self._hidden = folder, store, tell, hidden
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._seen: tuple[object, ...] = _NOTHING
        self._due = False
        self._told = ""

    def hear(self) -> None:
        """A step was made, or could not be."""
        seen = self._mark()
        self._due, self._seen = self._due or seen != self._seen, seen
        if self._process and self._has_ended(self._process):
            self._process = None
        if self._due and not self._process:
            self._start()

    def close(self) -> None:
        """Have MLflow told of the rest, for `AT_THE_END_S` seconds; what is left then is not told now."""
        until = time.monotonic() + AT_THE_END_S
        try:
            self.hear()
            while self._process:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, until - time.monotonic()))
                if self._process.poll() is None:
                    self._say(f"MLflow was not told of everything within {AT_THE_END_S:.0f} s.")
                    return
                self.hear()
        finally:
            self._end()

    def _mark(self) -> tuple[object, ...]:
        """What there is to tell: another mark says that there is more."""
        ranked = [round_.number for round_ in self._store.rounds() if round_.ranked_at]
        over = ended(self._store, current_settings(self._store)) is not None if ranked else False
        return len(ranked), len(self._store.looks()), over

    def _start(self) -> None:
        self._due, self._since = False, time.monotonic()
        kept = {key: value for key, value in os.environ.items() if key not in self._hidden}
        program = f"import sys; sys.path[:] = {sys.path!r}; from active_loop.cli import main; main()"
        command = [sys.executable, "-P", "-c", program, "mlflow", str(self._folder)]
        try:
            with (self._folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=kept, start_new_session=True
                )
        except OSError as error:
            self._say(f"MLflow could not be told: {error.strerror or error}.")

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it has, or was ended because its time was over; says what came of it."""
        code = process.poll()
        if code is None and time.monotonic() - self._since < _LIMIT_S:
            return False
        if code is None:
            self._end()
            self._say(f"MLflow had not been told after {_LIMIT_S:.0f} s.")
        elif code == FolderBusyError.exit_code:
            self._due = True
        elif code:
            self._say(self._problem())
        else:
            self._told = ""
        return True

    def _problem(self) -> str:
        """What the process said last; where it said nothing of its own, where to read the rest."""
        lines = (self._folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.removeprefix(_OURS) for line in lines if line.startswith(_OURS)]
        return said[-1] if said else f"MLflow could not be told; {LOG} says why."

    def _say(self, problem: str) -> None:
        if not self._told:
            self._tell(f"{problem} The loop goes on, and MLflow is told later.")
        self._told = problem

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def errand(
    settings: Settings, folder: Path, store: Store, tell: Callable[[str], None], hidden: frozenset[str]
) -> Iterator[Errand | None]:
    """What hears the steps of a session; None where no server is named."""
    if not settings.mlflow.uri:
        yield None
        return
    made = Errand(folder, store, tell, hidden=hidden)
    try:
        yield made
    finally:
        made.close()
