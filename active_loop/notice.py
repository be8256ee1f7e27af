"""A command of the user's, run when something happens that people should know of, such as that a loop waits for them.

What happened is decided by a pure function of what a session sees from moment to moment. The command runs beside the
session, one event after the other, each for at most half a minute, and whatever comes of it, the loop goes on. An event
is told by the session in which it happens, once: a restart tells no verdict and no end again.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .changes import current_settings, ended
from .domain import Paused, StepResult, WaitingForPeople
from .driver import Unreachable
from .errors import ConfigError, TokenError
from .report import counted, sentence, status
from .settings import Settings
from .store import Store

LOG: Final = "notify.log"
"""File of the loop folder in which the output of the command is."""

AWAY_S: Final = 600.0
"""Seconds after which a labelling place that is out of reach is told of."""

_LIMIT_S: Final = 30.0
"""Seconds that the command may take for one event."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a session sees: the time in seconds of a clock that only goes forward, the open tasks, all recorded
    answers, the looks that were made, whether the loop has ended, and whether the labelling place is out of reach."""

    at: float
    n_open: int = 0
    answers: int = 0
    looks: int = 0
    ended: bool = False
    away: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """The newest moment, since when nobody has answered what is open, since when the place is away, and what was told
    of both."""

    seen: Moment
    quiet_since: float
    away_since: float
    told_waiting: bool = False
    told_away: bool = False

    @classmethod
    def begin(cls, now: Moment) -> Watch:
        """What there is at the beginning is nothing new."""
        return cls(now, now.at, now.at)


def events(before: Watch, now: Moment, after_s: float) -> tuple[Watch, list[str]]:
    """What has happened since `before`, by name, and the watch that goes on.

    "waiting": tasks have been open, and nobody has answered, for `after_s` seconds; again only after an answer.
    "away" after `AWAY_S` seconds out of reach, then "back". "verdict" for looks, "stopped" for the end.
    """
    seen, happened = before.seen, []
    if now.away and not seen.away:
        before = replace(before, away_since=now.at)
    if now.away or now.ended or not now.n_open or now.answers != seen.answers:
        before = replace(before, quiet_since=now.at, told_waiting=before.told_waiting and now.answers == seen.answers)
    elif now.at - before.quiet_since >= after_s and not before.told_waiting:
        happened.append("waiting")
        before = replace(before, told_waiting=True)
    if now.looks > seen.looks:
        happened.append("verdict")
    if now.ended and not seen.ended:
        happened.append("stopped")
    if now.away and not before.told_away and now.at - before.away_since >= AWAY_S:
        happened.append("away")
        before = replace(before, told_away=True)
    elif before.told_away and not now.away:
        happened.append("back")
        before = replace(before, told_away=False)
    return replace(before, seen=now), happened


def program(command: str, folder: Path) -> list[str]:
    """The command as a program and its arguments; no shell reads it.

    A path that is relative begins in the loop folder. Raises `ConfigError` for a command that cannot be taken apart,
    and for a program that is not there.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"notify.command cannot be read: {str(error).lower()}; close what is open.") from error
    if not words:
        raise ConfigError("notify.command is empty: nothing can be run.")
    name = Path(words[0]).expanduser()
    found = shutil.which(str(folder.resolve() / name) if "/" in words[0] else words[0])
    if found is None:
        raise ConfigError(
            f'notify.command: there is no program "{words[0]}" that can be run; install it, or give its whole path.'
        )
    return [found, *words[1:]]


def deliver(command: str, folder: Path, said: Mapping[str, str], hidden: frozenset[str] = frozenset()) -> str:
    """Run the command for one event; what went wrong in one sentence, "" if nothing did.

    It gets `said` as JSON on its standard input, and as variables ACTIVE_LOOP_EVENT and so on; variables in `hidden`,
    which hold secrets, are kept from it. Its output goes to `LOG`.
    """
    told = {f"ACTIVE_LOOP_{key.upper()}": value for key, value in said.items()}
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    try:
        with (folder / LOG).open("ab") as log:
            log.write(f"{said['at']} {said['event']}\n".encode())
            log.flush()
            with subprocess.Popen(
                program(command, folder),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=kept | told,
                start_new_session=True,
            ) as process:
                return _outcome(process, json.dumps(said, ensure_ascii=False).encode() + b"\n")
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"notify.command could not be run: {error.strerror or error}."


def _outcome(process: subprocess.Popen[bytes], said: bytes) -> str:
    try:
        process.communicate(said, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"notify.command had not ended after {_LIMIT_S:.0f} s, and was ended."
    code = process.returncode
    return f"notify.command ended with code {code}; what it said is in {LOG}." if code else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, with all that it started where the system knows groups of processes."""
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


class Notices:
    """Hears each step of a session, and has the command run, in a thread of its own, for what has happened.

    `tell` is called with what went wrong, from the thread that calls `hear`.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        store: Store,
        tell: Callable[[str], None],
        *,
        hidden: frozenset[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._folder, self._store, self._tell = settings, folder, store, tell
        self._hidden, self._clock = hidden, clock
        self._problem = ""
        self._waiting: queue.SimpleQueue[Mapping[str, str] | None] = queue.SimpleQueue()
        self._watch = Watch.begin(self._moment(None))
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        self._thread.start()

    def hear(self, news: StepResult | Unreachable) -> None:
        """A step was made, or could not be."""
        self._watch, happened = events(self._watch, self._moment(news), self._settings.notify.after_minutes * 60)
        for event in happened:
            self.send(event, self._text(event, news))
        problem, self._problem = self._problem, ""
        if problem:
            self._tell(f"{problem} The loop goes on.")

    def send(self, event: str, text: str) -> None:
        """Have the command run for this event, after those that were sent before."""
        self._waiting.put(message(event, text, self._settings.name, self._folder))

    def close(self) -> None:
        """Wait until the command has run for all that was sent, each for at most its time."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        for said in iter(self._waiting.get, None):
            self._problem = deliver(self._settings.notify.command, self._folder, said, self._hidden) or self._problem

    def _moment(self, news: StepResult | Unreachable | None) -> Moment:
        match news:
            case WaitingForPeople():
                n_open = news.n_open
            case None | Paused():  # nobody is waited for
                n_open = 0
            case _:
                n_open = self._watch.seen.n_open
        return Moment(
            at=self._clock(),
            n_open=n_open,
            answers=self._store.annotation_position(),
            looks=len(self._store.looks()),
            ended=ended(self._store, current_settings(self._store)) is not None,
            away=isinstance(news, Unreachable),
        )

    def _text(self, event: str, news: StepResult | Unreachable) -> str:
        """The event in one sentence."""
        name, watch = self._settings.name, self._watch
        if event == "waiting":
            waited = (watch.seen.at - watch.quiet_since) / 60
            return f"{name}: {watch.seen.n_open} tasks wait, and nobody has answered for {waited:.0f} minutes."
        if event == "verdict":
            look = self._store.looks()[-1]
            return f"{name}: look {look.number}, {counted(look)}: {look.verdict}."
        if event == "away" and isinstance(news, Unreachable):
            return f"{name}: Label Studio has been out of reach for {AWAY_S / 60:.0f} minutes. {news.error}"
        if event == "back":
            return f"{name}: Label Studio is back after {(watch.seen.at - watch.away_since) / 60:.0f} minutes."
        return sentence(status(self._store))


def message(event: str, text: str, name: str, folder: Path) -> dict[str, str]:
    """What the command is told of an event."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"event": event, "text": text, "name": name, "folder": str(folder.resolve()), "at": at}


@contextmanager
def notices(
    settings: Settings, folder: Path, store: Store, tell: Callable[[str], None], hidden: frozenset[str]
) -> Iterator[Notices | None]:
    """What hears the steps of a session, and of a refused token; None where no command is named."""
    if not settings.notify.command:
        yield None
        return
    made = Notices(settings, folder, store, tell, hidden=hidden)
    try:
        yield made
    except TokenError as error:
        made.send("refused", f"{settings.name}: {error}")
        raise
    finally:
        made.close()
