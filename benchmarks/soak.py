"""A real loop under fire: its processes are killed, its calls fail, its webhooks are lost, and nothing may be.

    python benchmarks/soak.py --items 2000 --kills 50

A real Label Studio, `active-loop run` as people start it, and people who answer in seats of their own, skip, correct
themselves and withdraw answers. Between the loop and Label Studio stands a proxy that fails a share of the calls, also
after the work was done; between Label Studio and the loop's webhook one that drops a share. The loop, its training
process and Label Studio are killed after so many answers as the seed says, and started again. At the end what Label
Studio holds is read from its own database and compared with what the loop recorded. Exit status 1 if anything is
wrong. With `--own` the loop starts its Label Studio itself, and no call between the two is failed. Linux only, because
it reads /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from soak_compare import Facts, compare, held_by
from soak_world import FAULTS, LOST, Log, Person, Place, Plan, Run, Wire, chance_of, write_texts

from active_loop.config import write_settings
from active_loop.errors import ActiveLoopError, LabelingError
from active_loop.expert import account
from active_loop.label_studio import LabelStudio


def soak(plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None) -> Facts:
    """Run it to the end, and compare."""
    truth = write_texts(folder, int(1.8 * plan.answers), plan.seed)
    facts, log, began = Facts(), Log(), time.monotonic()
    with ExitStack() as stack:
        place = Place(folder, plan.own)
        stack.callback(place.close)
        names = (*FAULTS, *LOST)
        calls = Wire(lambda: place.url, chance_of(plan.faults, names, plan.seed))
        stack.callback(calls.close)
        port = _free_port()
        hooks = Wire(
            lambda: f"http://127.0.0.1:{port}", chance_of(plan.lost_webhooks, ("lost webhook",), plan.seed + 1)
        )
        stack.callback(hooks.close)
        told = plan.settings("" if plan.own else calls.url, hooks.url, port)
        write_settings(told, folder / "loop.toml")
        run = Run(folder, "" if plan.own else place.token)
        stack.callback(run.close)
        run.start()
        _until(lambda: place.project() > 0, 120, run)
        link = LabelStudio(place.url, token=place.token).invite_link()
        people = [
            Person(plan, number, place, _token(folder, link, place, number), truth, log)
            for number in range(plan.people)
        ]
        killed = Counter[str]()
        with _all(people):
            answering = time.monotonic()
            _storm(plan, place, run, log, killed, facts, say)
        spent = time.monotonic() - answering
        facts.expect("processes that outlived the loop that was killed", run.outlived)
        facts.figures |= {
            "answers given": log.n,
            "what people did": dict(log.done),
            "kills": dict(killed),
            "starts of the loop": run.starts,
            "starts that failed": run.failed_starts,
            "seconds in all": round(time.monotonic() - began),
            "seconds of answering": round(spent),
            "answers a second": round(log.n / max(spent, 1e-9), 2),
            "longest seconds without a new task": round(_longest(log.seen), 1),
            "median of the times between tasks": round(statistics.median(np.diff(sorted(log.seen))), 3),
            "calls that were failed": {name: n for name, n in calls.faults.items() if name},
            "calls passed on": calls.faults[""],
            "webhooks lost, and passed on": (hooks.faults["lost webhook"], hooks.faults[""]),
            "retries that the loop reported": run.said.count("Trying again"),
        }
    compare(folder, told, held_by(place.database, place.project_number), log, facts)
    return facts


def _token(folder: Path, link: str, place: Place, number: int) -> str:
    return account(folder / f"person{number}.json", link, url=place.url, email=f"p{number}@loop.local")


@contextmanager
def _all(people: Sequence[Person]) -> Iterator[None]:
    with ExitStack() as stack:
        for person in people:
            stack.enter_context(person)
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(ready: Callable[[], bool], seconds: float, run: Run) -> None:
    """Wait for what the loop does at first, starting it again if it gives up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(ActiveLoopError):
            if ready():
                return
        if run.code is not None:
            run.failed_starts += 1
            run.start()
        time.sleep(0.1)
    raise LabelingError(f"the loop was not there within {seconds:g} s; it said: {run.said[-500:]}")


def schedule(plan: Plan) -> list[tuple[int, str]]:
    """Who is killed after how many answers."""
    rng = random.Random(plan.seed + 2)
    most = max(6, plan.answers - 12)
    at = sorted(rng.sample(range(5, most), min(plan.kills, most - 5)))
    kinds = [("loop", "server", "training")[number % 3] for number in range(len(at))]
    rng.shuffle(kinds)
    return list(zip(at, kinds, strict=True))


def _storm(
    plan: Plan, place: Place, run: Run, log: Log, killed: Counter[str], facts: Facts, say: Callable[[str], None]
) -> None:
    """Kill by plan, start again what is gone, until the loop has ended by itself."""
    left, end = schedule(plan), time.monotonic() + plan.limit_s
    kills = {"loop": run.kill, "server": place.kill, "training": run.kill_training}
    while time.monotonic() < end:
        if left and log.n >= left[0][0]:
            who = left[0][1]
            if kills[who]():
                killed[who] += 1
                left.pop(0)
                say(f"{log.n} answers: {who} killed")
        if run.has_ended:
            if left:
                facts.wrong.append(f"the loop ended with {len(left)} kills to go, after {log.n} answers")
            return
        if run.code is not None:
            run.failed_starts += run.code != -signal.SIGKILL
            run.start()
        place.mend()
        time.sleep(0.02)
    facts.wrong.append(f"not at its end within {plan.limit_s:g} s: {log.n} answers; it said: {run.said[-600:]}")


def _longest(times: Sequence[float]) -> float:
    ordered = sorted(times)
    return max(np.diff(ordered), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2000, help="answers that are asked for (2000)")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=25.0, help="when it counts as hung (25)")
    parser.add_argument("--own", action="store_true", help="the loop starts its Label Studio itself")
    parser.add_argument("--keep", type=Path, help="folder to work in, which is kept")
    given = parser.parse_args()
    plan = Plan(given.items, given.people, given.kills, given.seed, 60 * given.minutes, own=given.own, delay_s=0.3)
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        facts = soak(plan, folder, lambda line: print(f"  {line}", flush=True))
    for name, value in facts.figures.items():
        print(f"{name:<40}{value}")
    print(f"load {os.getloadavg()[0]:.1f} after")
    for problem in facts.wrong:
        print(f"WRONG: {problem}")
    sys.exit(1 if facts.wrong else 0)


if __name__ == "__main__":
    main()
