"""Where a fit runs: inline, or in one long-lived, niced child process.

A job is a picklable value with a `run()` method. The child never opens the store: jobs and results go over a
pipe, and only the loop commits. It ends itself the moment its parent is gone, however that happened, and is
started again if it dies; a job is a pure function of its fields, so it is simply run again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any, Protocol, cast, runtime_checkable

from .errors import ActiveLoopError, TrainingError

_LENGTH = 8
_EVERY_S = 0.5
_MAX_DEATHS = 3
_SAID = "said"


class Job(Protocol):
    """Something to be computed: a function of its fields alone."""

    def run(self) -> Any: ...


@runtime_checkable
class Spare(Protocol):
    """A job that nobody waits for: it makes way for every other one, and its failure is a result.

    `run` asks `wanted` now and then whether another job waits, and returns early if so. `lost` is its result where the
    process that ran it died.
    """

    def run(self, wanted: Callable[[], bool] = ...) -> Any: ...

    def lost(self, why: str) -> Any: ...


class Runner(Protocol):
    """Runs one job at a time. `poll` returns the result once, None while there is none, or raises its error.

    It is `busy` while a job is under way that is not spare. Another job takes the place of a spare one, whose result is
    then never seen.
    """

    @property
    def busy(self) -> bool: ...

    def submit(self, job: Job) -> None: ...

    def poll(self) -> Any: ...

    def close(self) -> None: ...


class InlineRunner:
    """Runs a job where it is submitted: simulations and tests."""

    def __init__(self) -> None:
        self._result: Any = None
        self._spare = False

    @property
    def busy(self) -> bool:
        return self._result is not None and not self._spare

    def submit(self, job: Job) -> None:
        self._result, self._spare = job.run(), isinstance(job, Spare)

    def poll(self) -> Any:
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        self._result = None


class ProcessRunner:
    """Runs jobs in a child process, started at once so that its imports are done when the first job comes.

    `on_done` is called, in another thread, when a result (or the child's death) can be polled; `on_said` with what a
    long job says of how far it is (its log of level INFO), twice a second at most.
    """

    def __init__(
        self,
        on_done: Callable[[], None] = lambda: None,
        on_said: Callable[[str], None] = lambda text: None,
        *,
        threads: int = 1,
    ) -> None:
        self._on_done = on_done
        self._on_said = on_said
        self._threads = threads
        self._results: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Any]] = queue.SimpleQueue()
        self._job: Job | None = None
        self._passed_over = 0  # spare jobs that another one took the place of, and whose results are still to come
        self._deaths = 0
        self._child = self._start()

    @property
    def busy(self) -> bool:
        return self._job is not None and not isinstance(self._job, Spare)

    @property
    def pid(self) -> int:
        """Process number of the child that is alive now."""
        return self._child.pid

    def submit(self, job: Job) -> None:
        if self.busy:
            raise RuntimeError("a job is under way already: poll it first")
        self._passed_over += self._job is not None
        self._job = job
        if self._child.poll() is not None:
            self._bury()
            self._child, self._passed_over = self._start(), 0
        self._send(job)

    def poll(self) -> Any:
        try:
            child, message = self._results.get_nowait()
        except queue.Empty:
            return None
        if child is not self._child:
            return None
        if message is None:
            return self._restart()
        if self._passed_over:
            self._passed_over -= 1
            return self.poll()
        self._job, self._deaths = None, 0
        kind, value = message
        if kind == "error":
            raise value
        return value

    def close(self) -> None:
        child = self._child
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()  # the child takes the end of its input as the end of its life
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._bury()

    def _bury(self) -> None:
        """Close what is left of a child that is dead."""
        self._child.wait()
        self._reader.join(timeout=5)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be sent to it
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        threads = str(self._threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        program = f"import sys; sys.path[:] = {sys.path!r}; from active_loop.runner import serve; serve()"
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is the parent's business
        )
        self._reader = threading.Thread(target=self._read, args=(child,), daemon=True, name="runner-results")
        self._reader.start()
        return child

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        """Bring the child's results to `poll`; None is the news that it died."""
        results = cast("IO[bytes]", child.stdout)
        while True:
            message = _receive(results)
            if message is not None and message[0] == _SAID:
                self._on_said(message[1])
                continue
            self._results.put((child, message))
            self._on_done()
            if message is None:
                return

    def _send(self, job: Job) -> None:
        if self._child.stdin is not None:
            with contextlib.suppress(OSError):  # the child died: its reader reports it, and poll restarts it
                _transmit(self._child.stdin, job)

    def _restart(self) -> Any:
        """Send the job again to a new child; the result of a spare one that its child died of."""
        self._bury()
        self._passed_over = 0
        if self._job is None:
            return None
        if isinstance(self._job, Spare):
            lost, self._job = self._job.lost(f"the process ended with status {self._child.returncode}"), None
            return lost
        self._deaths += 1
        if self._deaths >= _MAX_DEATHS:
            raise TrainingError(
                f"cannot train: the training process died {self._deaths} times in a row "
                f"(last exit status {self._child.returncode}); is there enough memory?"
            )
        self._child = self._start()
        self._send(self._job)
        return None


def serve() -> None:
    """The child's main: run what comes in, until the parent is gone."""
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the results
    if hasattr(os, "nice"):
        os.nice(10)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stdin, jobs), daemon=True).start()
    _warm_up()
    log = logging.getLogger(__package__)
    log.setLevel(logging.INFO)
    log.addHandler(_Saying(stdout))
    while True:
        job = jobs.get()
        try:
            message = ("result", job.run(lambda: not jobs.empty()) if isinstance(job, Spare) else job.run())
        except ActiveLoopError as error:
            message = ("error", error)
        except Exception as error:  # noqa: BLE001 - whatever an estimator raises is reported to the parent
            message = ("error", TrainingError(f"cannot train: {type(error).__name__}: {error}"))
        _transmit(stdout, message)


class _Saying(logging.Handler):
    """Sends what is logged to the parent. Only what a job says itself may come here, between two results."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(logging.INFO)
        self._pipe = pipe
        self._at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._at >= _EVERY_S:
            self._at = time.monotonic()
            _transmit(self._pipe, (_SAID, record.getMessage()))


def _listen(stdin: IO[bytes], jobs: queue.SimpleQueue[Job]) -> None:
    while True:
        job = _receive(stdin)
        if job is None:
            os._exit(0)  # the parent is gone; a fit under way is worth nothing now
        jobs.put(job)


def _warm_up() -> None:
    """Import what every job needs while the parent is busy elsewhere: it takes seconds."""
    from . import scoring

    scoring.warm_up()


def _transmit(pipe: IO[bytes], value: Any) -> None:
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(len(body).to_bytes(_LENGTH, "big") + body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next value, or None at the end of the pipe. Only our own parent or child writes into it.

    Whoever is killed while it writes leaves a value that breaks off: that is the end of the pipe, too.
    """
    head = pipe.read(_LENGTH)
    size = int.from_bytes(head, "big")
    body = pipe.read(size) if len(head) == _LENGTH else b""
    return pickle.loads(body) if body and len(body) == size else None
