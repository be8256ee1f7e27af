"""How long people wait for new tasks when they have answered all, with a real Label Studio.

    python benchmarks/turnaround.py --items 100000 10000 --batches 12 --profile

Two loops per size, over a CSV file of texts, with one person who answers without a pause. In the first a batch comes
from the ranking that is there: the time from the last answer's reply to the first new task that Label Studio hands
out, and in it the time until the loop looked (notice), its look (collect), what it did between (steps), and the
publishing until the task was seen. In the second the fit is held until nothing is left to answer: the time from the
end of the fit to the first new task, and in it the choice (choose), the predictions and the way back from the training
process (predict), the storing (commit), the next batch (steps) and the publishing. Memory is that of this process.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import os
import platform
import pstats
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from active_loop.domain import WaitingForTraining
from active_loop.errors import LabelingError
from active_loop.expert import account
from active_loop.label_studio import Annotator, LabelStudio
from active_loop.runner import Job, Runner
from active_loop.scoring import RoundResult
from active_loop.session import Session, session
from active_loop.settings import (
    BudgetSettings,
    DataSettings,
    QuerySettings,
    ServerSettings,
    Settings,
    TargetSettings,
    TaskSettings,
)

CLASSES = ("mail", "order", "complaint", "praise")
BATCH = 10
TESTS = 600
_LOOK_S = 0.05


def make_texts(n: int, rng: np.random.Generator) -> dict[str, str]:
    """n different texts of nine words, with their classes: two words in five are of the class's own vocabulary."""
    codes = rng.integers(0, len(CLASSES), size=n)
    own = rng.random((n, 8)) < 0.4
    words = np.where(own, codes[:, None] * 400, 1600) + rng.integers(0, 400, size=(n, 8))
    return {
        f"number{number} " + " ".join(f"word{word}" for word in row): CLASSES[code]
        for number, (row, code) in enumerate(zip(words.tolist(), codes.tolist(), strict=True))
    }


def write_texts(file: Path, rows: Iterable[tuple[str, str]]) -> None:
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text", "answer"])
        writer.writerows(rows)


def told(*, fresh: bool) -> Settings:
    """A loop whose queue runs empty before more is sent; where rankings are waited for, no test item is asked."""
    tests = {"test": "tests.csv", "answer": "answer"} if fresh else {}
    return Settings(
        data=DataSettings(path="texts.csv", kind="text", show=("text",), **tests),
        task=TaskSettings(classes=CLASSES),
        target=TargetSettings(value=0.99),
        budget=BudgetSettings(answers=1000),
        query=QuerySettings(queue_low=1, queue_high=BATCH, retrain_every=BATCH, n0=BATCH),
        server=ServerSettings(port=0),
    )


@dataclass(slots=True)
class Trace:
    """What happened when, by one clock: (name, began, ended)."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its time recorded."""

        def run(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.spans.append((name, began, time.perf_counter()))

        return run

    def last(self, name: str, before: float) -> tuple[float, float]:
        """The last call of this name that had ended by a time: when it began and ended; zeros if there is none."""
        found = [(began, ended) for what, began, ended in self.spans if what == name and ended <= before]
        return found[-1] if found else (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Fit:
    """A job's times: when it was submitted and when its result was polled; seconds of its fit, and of its choice."""

    submitted: float
    polled: float
    fit_s: float
    query_s: float


class Held:
    """A runner that keeps each job until `release`."""

    def __init__(self, runner: Runner) -> None:
        self.fits: list[Fit] = []
        self._runner = runner
        self._job: Job | None = None
        self._submitted = 0.0

    @property
    def busy(self) -> bool:
        return self._job is not None or self._runner.busy

    def submit(self, job: Job) -> None:
        self._job = job

    def release(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            self._submitted = time.perf_counter()
            self._runner.submit(job)

    def poll(self) -> Any:
        result = self._runner.poll()
        if isinstance(result, RoundResult):
            seconds = result.record["fit_s"], result.record["query_s"]
            self.fits.append(Fit(self._submitted, time.perf_counter(), *seconds))
        return result

    def close(self) -> None:
        self._runner.close()


class Person:
    """Answers whatever is handed out, at once, in a thread."""

    def __init__(self, seat: Annotator, answers: Mapping[str, str]) -> None:
        self.answered: list[float] = []
        self.seen: list[float] = []
        self._seat, self._answers = seat, answers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="person")

    def __enter__(self) -> Person:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            task = self._seat.next()
            if task is None:
                self._stopping.wait(_LOOK_S)
                continue
            self.seen.append(time.perf_counter())
            self._seat.answer(task, self._answers[str(task.shown["text"])], lead_time_s=1.0)
            self.answered.append(time.perf_counter())


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds from what began the wait to the first new task, and its parts by name."""

    seconds: float
    parts: Mapping[str, float]


def measure(folder: Path, answers: Mapping[str, str], *, fresh: bool, batches: int, profile: bool) -> list[Wait]:
    """Run one loop until enough batches were published; the waits for the last `batches` of them."""
    trace, profiler = Trace(), cProfile.Profile()
    with session(folder, told(fresh=fresh), lambda news: None) as made:
        place, held = _labeling(made), _instrument(made, trace, fresh=fresh)
        token = account(folder / "person.json", place.invite_link(), url=place.url)

        def hear(news: object) -> None:
            if isinstance(news, WaitingForTraining):
                held.release()
            # The wait for the newest batch is not over yet.
            if len(_waits(trace, held, person, fresh=fresh)) > batches:
                made.driver.pause()

        with Person(Annotator(place.url, token=token, project=place.project), answers) as person:
            if profile:
                profiler.enable()
            made.run(hear)
            profiler.disable()
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
    return _waits(trace, held, person, fresh=fresh)[:batches]


def _labeling(made: Session) -> LabelStudio:
    if made.labeling is None:
        raise LabelingError("this benchmark needs a loop that is labelled in Label Studio.")
    return made.labeling


def _instrument(made: Session, trace: Trace, *, fresh: bool) -> Held:
    """Record the times of what the loop calls; its fits are held only where fresh rankings are measured."""
    owners: tuple[tuple[Any, str], ...] = (
        *((made.labeling, name) for name in ("publish", "collect")),
        (made.loop.store, "rank_round"),
    )
    for owner, name in owners:
        setattr(owner, name, trace.timed(name, getattr(owner, name)))
    held = Held(made.loop.jobs.runner)
    if fresh:
        made.loop.jobs.runner = held
    return held


def _waits(trace: Trace, held: Held, person: Person, *, fresh: bool) -> list[Wait]:
    """The wait for every batch but the first three: those come while the loop still starts."""
    published = [began for name, began, _ in trace.spans if name == "publish"][3:]
    found = [(_fresh(trace, held, person, at) if fresh else _saved(trace, person, at)) for at in published]
    return [wait for wait in found if wait]


def _saved(trace: Trace, person: Person, published: float) -> Wait | None:
    """The wait for a batch from a ranking that was there, by when its publishing began; None while it goes on."""
    answered = max((at for at in person.answered if at < published), default=0.0)
    seen = min((at for at in person.seen if at > published), default=0.0)
    looked, found = trace.last("collect", published)
    if not seen or not answered or trace.last("rank_round", published)[0] > answered:
        return None
    parts = {
        "notice": max(0.0, looked - answered),
        "collect": found - max(looked, answered),
        "steps": published - found,
        "publish": seen - published,
    }
    return Wait(seen - answered, parts)


def _fresh(trace: Trace, held: Held, person: Person, published: float) -> Wait | None:
    """The wait for a batch from a ranking that came after everything was answered; None for another batch."""
    answered = max((at for at in person.answered if at < published), default=0.0)
    seen = min((at for at in person.seen if at > published), default=0.0)
    fit = max((fit for fit in held.fits if fit.polled < published), key=lambda fit: fit.polled, default=None)
    if not seen or fit is None or fit.submitted < answered:
        return None
    fitted, (_, stored) = fit.submitted + fit.fit_s, trace.last("rank_round", published)
    parts = {
        "choose": fit.query_s,
        "predict": fit.polled - fitted - fit.query_s,
        "commit": stored - fit.polled,
        "steps": published - stored,
        "publish": seen - published,
    }
    return Wait(seen - fitted, parts)


def _show(name: str, waits: Sequence[Wait]) -> None:
    """One line per wait and part: median and worst."""
    seconds = {"in all": [wait.seconds for wait in waits]}
    seconds |= {part: [wait.parts[part] for wait in waits] for part in waits[0].parts}
    for part, values in seconds.items():
        print(f"{name:<24}{part:<10}{statistics.median(values):>8.2f}{max(values):>8.2f}{len(values):>6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000], help="sizes of the pool")
    parser.add_argument("--batches", type=int, default=12, help="waits to measure of each kind (12)")
    parser.add_argument("--only", choices=("saved", "fresh"), help="measure only one kind")
    parser.add_argument("--profile", action="store_true", help="also show where the loop's own thread spends its time")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; load {load:.1f} before")
    print(f"{'loop':<24}{'part':<10}{'median':>8}{'worst':>8}{'n':>6}   (seconds)")
    for n in arguments.items:
        for kind in ("saved", "fresh"):
            if arguments.only in (None, kind):
                with tempfile.TemporaryDirectory() as temporary:
                    answers = make_texts(n + TESTS, np.random.default_rng(1))
                    rows = list(answers.items())
                    write_texts(Path(temporary) / "texts.csv", ((text, "") for text, _ in rows[TESTS:]))
                    write_texts(Path(temporary) / "tests.csv", rows[:TESTS])
                    waits = measure(
                        Path(temporary),
                        answers,
                        fresh=kind == "fresh",
                        batches=arguments.batches,
                        profile=arguments.profile,
                    )
                _show(f"{n:,} {kind}", waits)
    print(f"load {os.getloadavg()[0]:.1f} after, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
