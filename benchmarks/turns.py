"""Two libraries at the same job, in turn: ours, the other, ours, the other, …

Every library works in a process of its own (`peers.py`) with the Python of its own environment, which is made by pip
where it is not there yet. A process is told over its standard input what to do; what falls over, or takes too long,
is ended and becomes a result that says so. Linux only, because memory is read from /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peers import Job, status_mb

OURS = "active-loop"
HERE = (OURS, "numpy")
"""What runs in the environment of this very interpreter."""

NUMPY = "numpy>=2.2,<2.3"
PINNED = {
    "modAL": "modAL-python==0.4.2.1",
    "scikit-activeml": "scikit-activeml==1.0.1",
    "small-text": "small-text==1.4.1",
    "ALiPy": "alipy==1.2.5",
    "Baal": "baal==2.1.0",
}
IMPORTS = {
    OURS: "query_strategies",
    "modAL": "modAL.uncertainty",
    "scikit-activeml": "skactiveml.pool",
    "small-text": "small_text.query_strategies",
    "ALiPy": "alipy.query_strategy",
    "Baal": "baal.active.heuristics",
}
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
PREPARE_S = 600.0


class WorkError(Exception):
    """A library that did not do its job: why, in one line. `over_s` is the time that it was given, where it ran out."""

    def __init__(self, why: str, over_s: float = 0.0) -> None:
        super().__init__(why)
        self.over_s = over_s


@dataclass(slots=True)
class Result:
    """What one library did: seconds of every call, MB that one call added, its peak of anonymous MB, and its choice."""

    seconds: list[float] = field(default_factory=list)
    extra_mb: float = 0.0
    anonymous_mb: float = 0.0
    input_mb: float = 0.0
    rows: list[int] = field(default_factory=list)
    utilities: list[float] = field(default_factory=list)
    failed: str = ""
    over_s: float = 0.0

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the pairs' ratios, the lowest and the highest."""

    median: float
    low: float
    high: float


def pair_ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The ratio above / below of each pair of calls: median and range. Both have the same length, at least 1."""
    ratios = [first / second for first, second in zip(above, below, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def make_environment(library: str, folder: Path) -> Path:
    """The Python of the library's environment, which is made first where it is not complete.

    Raises `WorkError` with what pip said, where it cannot be made.
    """
    place, python = folder / library, folder / library / "bin" / "python"
    complete = place / "complete"
    if complete.exists() and complete.read_text() == PINNED[library]:
        return python
    print(f"making the environment of {library} in {place} …", file=sys.stderr, flush=True)
    venv.create(place, clear=True, with_pip=True)
    for wanted in ([PINNED[library], NUMPY], [PINNED[library]]):
        done = subprocess.run([python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True)
        if done.returncode == 0:
            complete.write_text(PINNED[library])
            return python
    last = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
    raise WorkError(f"could not be installed: {last[-1]}")


class Worker:
    """The process of one library, told what to do over pipes."""

    def __init__(self, library: str, python: Path, cap_mb: int) -> None:
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        command = [str(python), str(Path(__file__).with_name("peers.py")), library, str(cap_mb)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self.commands: Any = self.process.stdin
        self.answers: Any = self.process.stdout

    def ask(self, command: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer; with `anonymous_mb`, the most anonymous memory that was seen meanwhile, once a millisecond.

        Raises `WorkError` when the library failed, when time is up, and when the process is gone; it is ended then.
        """
        watched = command.get("choose") == "settled"
        ends, most = time.monotonic() + limit_s, 0.0
        try:
            print(json.dumps(command), file=self.commands, flush=True)
        except OSError as error:
            raise WorkError(self.last_words()) from error
        while not select.select([self.answers], [], [], 0.001 if watched else limit_s)[0]:
            if watched:
                most = max(most, status_mb("RssAnon", self.process.pid))
            if time.monotonic() >= ends:
                self.end()
                raise WorkError(f"more than {limit_s:g} s", over_s=limit_s)
        line = self.answers.readline()
        if not line:
            raise WorkError(self.last_words())
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise WorkError(answer["failed"])
        return answer | {"anonymous_mb": most}

    def last_words(self) -> str:
        self.process.wait()
        self.complaints.seek(0)
        said = self.complaints.read().strip().splitlines() or ["without a word"]
        return f"the process ended with code {self.process.returncode}: {said[-1][:200]}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.commands, self.answers, self.complaints):
            with contextlib.suppress(OSError):
                stream.close()


class Workers:
    """The processes of all libraries: started when first wanted, and anew where one was ended; all ended at the end."""

    def __init__(self, folder: Path, cap_mb: int, limit_s: float) -> None:
        self.folder = folder
        self.cap_mb = cap_mb
        self.limit_s = limit_s
        self.running: dict[str, Worker] = {}
        self.held: dict[str, tuple[Job, dict[str, Any]]] = {}
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for library in list(self.running):
            self.drop(library)

    def python(self, library: str) -> Path:
        """The interpreter of a library's environment. Raises `WorkError` where there can be none."""
        if library in HERE:
            return Path(sys.executable)
        if library in self.missing:
            raise WorkError(self.missing[library])
        try:
            return make_environment(library, self.folder)
        except WorkError as error:
            self.missing[library] = str(error)
            raise

    def ask(self, library: str, command: dict[str, Any], limit_s: float) -> dict[str, Any]:
        if library not in self.running:
            self.running[library] = Worker(library, self.python(library), self.cap_mb)
        try:
            return self.running[library].ask(command, limit_s)
        except WorkError:
            if self.running[library].process.poll() is not None:
                self.drop(library)
            raise

    def drop(self, library: str) -> None:
        self.held.pop(library, None)
        if library in self.running:
            self.running.pop(library).end()

    def prepare(self, library: str, job: Job) -> tuple[dict[str, Any], Callable[[str], dict[str, Any]]]:
        """(what the library was given, a function that lets it choose once: "settled" for memory, "timed" for time)."""
        if job.given == "start":
            command = starts(library, job, self.python(library))
            return {"input": [], "input_mb": 0.0}, lambda how: one_start(command)
        if library not in self.held or self.held[library][0] != job:
            self.held.pop(library, None)
            self.held[library] = (job, self.ask(library, {"prepare": asdict(job)}, PREPARE_S))
        return self.held[library][1], lambda how: self.ask(library, {"choose": how}, self.limit_s)


def starts(library: str, job: Job, python: Path) -> list[str]:
    """The command that is timed for a job that only starts something."""
    if job.strategy == "help":
        return [str(python.with_name("active-loop")), "--help"]
    return [str(python), "-c", f"import {IMPORTS[library]}"]


def one_start(command: list[str]) -> dict[str, Any]:
    """Seconds of a new process from its start to its end, and its peak of resident MB."""
    began, peak_mb = time.perf_counter(), 0.0
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=os.environ | ONE_THREAD, **quiet) as process:
        while process.poll() is None:
            peak_mb = max(peak_mb, status_mb("VmHWM", process.pid))
            time.sleep(0.001)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise WorkError(f"ended with code {process.returncode}")
    return {"seconds": seconds, "extra_mb": peak_mb, "anonymous_mb": 0.0, "rows": [], "utilities": []}


class Side:
    """One library at one job: the first call tells its memory, all further ones its time. What fails stays failed."""

    def __init__(self, workers: Workers, library: str, job: Job) -> None:
        self.workers, self.library, self.job = workers, library, job
        self.result = Result()
        self.input: list[int] = []

    def attempt(self, step: Callable[[], None]) -> None:
        if self.result.failed:
            return
        try:
            step()
        except WorkError as error:
            self.result.failed, self.result.over_s = str(error), error.over_s

    def first(self) -> None:
        given, self.choose = self.workers.prepare(self.library, self.job)
        self.input, self.result.input_mb = given["input"], given["input_mb"]
        answer = self.choose("settled")
        self.result.extra_mb, self.result.anonymous_mb = answer["extra_mb"], answer["anonymous_mb"]
        self.result.rows, self.result.utilities = answer["rows"], answer["utilities"]

    def turn(self) -> None:
        self.result.seconds.append(self.choose("timed")["seconds"])


def in_turn(workers: Workers, job: Job, other: str, pairs: int) -> tuple[Result, Result | None]:
    """What ours and the other library ("" for none) did at the same job, in `pairs` pairs of calls.

    After a failure the one that works goes on alone; but nobody is asked what ours cannot do.
    """
    sides = [Side(workers, library, job) for library in (OURS, other) if library]
    for side in sides:
        side.attempt(side.first)
        if sides[0].result.failed:
            return sides[0].result, None
    if not any(side.result.failed for side in sides) and sides[0].input != sides[-1].input:
        sides[-1].result.failed = "was given another input: its numpy draws other numbers"
    for _ in range(pairs):
        for side in sides:
            side.attempt(side.turn)
    return sides[0].result, sides[1].result if other else None
