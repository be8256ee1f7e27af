"""Whoever calls `step()` again and again: waits, is woken, and goes on when the world is back.

The loop knows what to do next; this knows only when to ask it. A labelling place that cannot be reached is
waited for with growing pauses, which end when it calls; every other error ends the run, with nothing lost.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .domain import Progressed, StepResult, Stopped, WaitingForTraining
from .errors import ConfigError, LabelingError, TokenError
from .loop import Loop

_LONGEST_PAUSE_S = 60.0
_SHORTEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The labelling place does not answer; the next try is in `pause_s` seconds."""

    error: LabelingError
    pause_s: float


Report = Callable[[StepResult | Unreachable], None]


class Driver:
    """Runs one loop until it has stopped or is told to pause.

    `wake()` (from any thread: a webhook, a finished fit) makes it look for answers at once; without it looks every
    `poll_s` seconds. Between two looks at least `calm_s` seconds pass, so that a hundred answers in a second are a
    few looks; what the answers call for is done at once all the same. While the place cannot be reached, `rest` waits
    the seconds until the next try, or until `wake()`. `change()` gives it another loop to go on with.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        poll_s: float = 5.0,
        calm_s: float = 0.0,
        rest: Callable[[float], object] | None = None,
    ) -> None:
        self.loop = loop
        self.has_ended = False
        """Whether `run` has returned: a change would not be heard any more."""
        self._changes: queue.SimpleQueue[Callable[[], Loop]] = queue.SimpleQueue()
        self._refused = ""
        self._poll_s = poll_s
        self._calm_s = calm_s
        self._calm_until = 0.0
        self._wake = threading.Event()
        self._pause = threading.Event()
        self._rest_for = rest or self._wake.wait
        self.notice = ""
        """What keeps the loop from going on, in words; empty while all is well. For other threads to read."""

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def pause(self) -> None:
        """Return from `run` after the step under way."""
        self._pause.set()
        self._wake.set()

    def change(self, make: Callable[[], Loop]) -> None:
        """From the next step on, run what `make` gives, which the running thread calls; from any thread.

        Where that raises `ConfigError` the old loop goes on, and `notice` says why.
        """
        self._changes.put(make)
        self.wake()

    def _changed(self) -> None:
        while not self._changes.empty():
            make = self._changes.get()
            try:
                self.loop, self._refused = make(), ""
            except ConfigError as error:
                self._refused = f"A change of loop.toml could not be taken. {error}"

    def run(self, report: Report = lambda result: None) -> Stopped | None:
        """Step until the loop has stopped (returned), or until `pause` (None). `report` hears of every step."""
        try:
            return self._run(report)
        finally:
            self.has_ended = True

    def _run(self, report: Report) -> Stopped | None:
        pause_s = _SHORTEST_PAUSE_S
        while not self._pause.is_set():
            collect = time.monotonic() >= self._calm_until
            if collect:
                self._wake.clear()
            self._changed()
            try:
                result = self.loop.step(collect=collect)
            except TokenError:
                raise
            except LabelingError as error:
                self.notice = f"{error} The next try is in {pause_s:.0f} s."
                self._wake.clear()
                report(Unreachable(error, pause_s))
                if not self._pause.is_set():
                    self._rest_for(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s, self.notice = _SHORTEST_PAUSE_S, self._refused
            report(result)
            if isinstance(result, Stopped):
                return result
            self._rest(result, collect)
        return None

    def _rest(self, result: StepResult, collected: bool) -> None:
        """After a look for answers, calm; when there is nothing to do, wait for the end of it, or for what comes."""
        if collected and (not isinstance(result, Progressed) or result.collected):
            self._calm_until = time.monotonic() + self._calm_s
        if isinstance(result, Progressed):
            return
        if not collected:
            self._pause.wait(max(0.0, self._calm_until - time.monotonic()))
        else:
            self._wake.wait(min(self._poll_s, 1.0) if isinstance(result, WaitingForTraining) else self._poll_s)
