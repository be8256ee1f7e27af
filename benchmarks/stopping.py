"""How often "the target is reached" is wrong, and what it costs: our loops, beside rules that others use.

    python benchmarks/stopping.py run
    python benchmarks/stopping.py report --write docs/stopping.md
    python benchmarks/stopping.py quick
    python benchmarks/stopping.py run --model auto --loops 4 --worst 0 --results searched.jsonl

Each loop is the real one (import, asks, answers by an oracle, rounds, gate, looks, end), with a store in memory; its
test items are drawn 20 times from a population on which the quality of every round's model is known. Two targets are
set for each loop: one a little above the best model that it ever has, so that every certificate is false, and one that
it passes. The worst case has a model whose quality is the target exactly, and is looked at after every round.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import label_sets
import numpy as np
from stopping_loops import Data, Replay, Setup, Trained
from stopping_page import page
from stopping_rules import MOST, RULES, Rounds, Rule, unlimited

from active_loop.domain import Progress

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SETS = ("digits-lr", "sms_spam", "trec6", "adult", "clouds")
BUDGET = 400
POOL = 600
ABOVE, BELOW = 0.002, 0.04
"""How far the targets are above the best model of a loop, and below its last one."""

FEWER = 4
"""How many times fewer draws there are below, where labels are counted, than above, where rare errors are."""

EVERY = 4
"""Every how many loops one is also run without a budget."""

WORST = "worst case"
WORST_TARGET = 0.9


@dataclass(frozen=True, slots=True)
class Job:
    """One loop of a set with all draws of its test items; of the worst case, `draws` loops. Seconds are of a core."""

    name: str
    seed: int
    draws: int
    data: Path
    model: str = "logistic"

    def run(self) -> dict[str, Any]:
        started = time.process_time()
        found = _worst(self) if self.name == WORST else _loop(self)
        seconds = round(time.process_time() - started, 1)
        return {"set": self.name, "seed": self.seed, "model": self.model, "seconds": seconds, **found}


def _loop(job: Job) -> dict[str, Any]:
    loop = Trained(_data(job), Setup(job.model, BUDGET, job.seed), POOL)
    loop.replay(1 - 1e-9, 0)  # never reached, so that every round is there
    qualities = loop.qualities()
    targets = {
        "above": max(qualities.values()) + ABOVE,
        "below": math.floor(100 * (qualities[max(qualities)] - BELOW)) / 100,
    }
    found: dict[str, Any] = {"qualities": qualities, "targets": targets}
    for kind, target in targets.items():
        draws = job.draws if kind == "above" else math.ceil(job.draws / FEWER)
        replays = [loop.replay(target, draw) for draw in range(draws)]
        found[kind] = [_told(replay, qualities, target) for replay in replays]
        found[f"{kind} by other rules"] = _others(loop, target, draws, RULES)
    if job.seed % EVERY == 0:
        found["no budget"] = _no_budget(job, targets["below"])
    return found


def _no_budget(job: Job, target: float) -> dict[str, Any]:
    """Our own looks at 200, 300, 450, … items with labels that never end, for the target within reach.

    The loop is one of the same seed with a larger budget, so that there are more rounds than ours ever needed.
    """
    loop = Trained(_data(job), Setup(job.model, 2 * BUDGET, job.seed), POOL)
    loop.replay(1 - 1e-9, 0)
    draws = math.ceil(job.draws / FEWER)
    return _others(loop, target, draws, {"runs": unlimited})


def _told(replay: Replay, qualities: Mapping[int, float], target: float) -> dict[str, Any]:
    """A replay in numbers; a claim is false if the model that it is about is below the target."""
    claims = {
        kind: [look.round for look in replay.looks if look.verdict in verdicts]
        for kind, verdicts in {"certified": ("certified",), "likely": ("likely", "certified")}.items()
    }
    return {
        **{kind: bool(rounds) for kind, rounds in claims.items()},
        **{f"false {kind}": any(qualities[each] < target for each in rounds) for kind, rounds in claims.items()},
        "labels": replay.pool + replay.test,
        "looks": len(replay.looks),
    }


def _others(loop: Trained, target: float, draws: int, rules: Mapping[str, Rule]) -> dict[str, list[list[float] | None]]:
    """By rule, for each draw: (labels, 1 if it was false) where it stopped; None where it did not."""
    everything = loop.replay(1 - 1e-9, 0).progress
    qualities = loop.qualities()
    right = {number: loop.right(number) for number in qualities}
    found: dict[str, list[list[float] | None]] = {name: [] for name in rules}
    for draw in range(draws):
        drawn = loop.drawn(draw, MOST)
        rounds = Rounds(everything, {number: hits[drawn] for number, hits in right.items()})
        for name, rule in rules.items():
            stop = rule(rounds, target)
            found[name].append([stop.labels, float(qualities[stop.round] < target)] if stop else None)
    return found


def _every_round(progress: Sequence[Progress]) -> bool:
    """The worst gate there can be: open after every round."""
    return bool(progress) and not progress[-1].looked


def _worst(job: Job) -> dict[str, Any]:
    """Loops whose model always says the same, which is right for exactly the target's share of the population."""
    n = 1000
    y_test = np.arange(n) >= round(WORST_TARGET * n)
    y = np.arange(POOL) % 50 == 0
    data = Data(np.zeros((POOL, 1)), y.astype(np.int64), np.zeros((n, 1)), y_test.astype(np.int64))
    loop = Trained(data, Setup("sklearn.dummy:DummyClassifier", BUDGET, job.seed, "random"), POOL)
    with patch("active_loop.standing.gate", _every_round):
        replays = [loop.replay(WORST_TARGET, 1000 * job.seed + draw) for draw in range(job.draws)]
    return {
        "looks": [len(replay.looks) for replay in replays],
        "certified": [any(look.verdict == "certified" for look in replay.looks) for replay in replays],
    }


def _data(job: Job) -> Data:
    """The rows of a set for this seed: `POOL` to learn from, the rest is the population."""
    if job.name == "clouds":
        return _clouds(job.seed)
    data_set = label_sets.DATA_SETS[job.name]
    table = label_sets.load(data_set, job.data)
    order = np.random.default_rng([job.seed, 23]).permutation(len(table.X))
    y = table.y.astype(np.int64)
    return Data(table.X[order[:POOL]], y[order[:POOL]], table.X[order[POOL:]], y[order[POOL:]])


def _clouds(seed: int, n: int = 6_000) -> Data:
    """Four clouds of points that overlap: no model is right everywhere, however many labels there are."""
    rng = np.random.default_rng([seed, 29])
    y = rng.integers(0, 4, size=n)
    X = 3.0 * np.eye(4)[y] @ rng.normal(size=(4, 6)) / 2 + rng.normal(size=(n, 6))
    return Data(X[:POOL], y[:POOL], X[POOL:], y[POOL:])


def _results() -> Path:
    return label_sets.cache().parent / "stopping" / "results.jsonl"


def read(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What was found already, by set and seed; a torn line is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[record["set"], record["seed"]] = record
    return found


def _jobs(arguments: argparse.Namespace) -> list[Job]:
    done = read(arguments.results)
    names = [*arguments.sets] * arguments.loops
    seeds = [number // len(arguments.sets) for number in range(len(names))]
    jobs = [
        Job(name, seed, arguments.draws, arguments.data, arguments.model)
        for name, seed in zip(names, seeds, strict=True)
    ]
    worst = [Job(WORST, seed, 100, arguments.data) for seed in range(arguments.worst)]
    return [job for job in (*worst, *jobs) if (job.name, job.seed) not in done]


def _run(arguments: argparse.Namespace) -> None:
    jobs, started = _jobs(arguments), time.monotonic()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    with arguments.results.open("a", encoding="utf-8") as file:
        for number, record in enumerate(_worked(jobs, arguments.processes), 1):
            file.write(json.dumps(record) + "\n")
            file.flush()
            minutes = (time.monotonic() - started) / 60
            rest = minutes / number * (len(jobs) - number)
            print(
                f"{record['set']} {record['seed']}: {record['seconds']} s; {minutes:.1f} min, {rest:.0f} to go",
                flush=True,
            )


def _worked(jobs: Sequence[Job], processes: int) -> Iterator[dict[str, Any]]:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read by the new processes when they load the numeric libraries
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(job.run) for job in jobs]):
            yield done.result()


def _report(arguments: argparse.Namespace) -> None:
    text = page(list(read(arguments.results).values()), WORST)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    else:
        print(text)


def _quick(arguments: argparse.Namespace) -> None:
    """A few loops of two sets that need no files, and the page of them."""
    jobs = [Job(name, 0, 3, arguments.data) for name in ("digits-lr", "clouds")] + [Job(WORST, 0, 10, arguments.data)]
    print(page([job.run() for job in jobs], WORST))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    full = commands.add_parser("run", help="all loops that are not among the results yet")
    report = commands.add_parser("report", help="the page, from the results")
    quick = commands.add_parser("quick", help="a few loops, printed")
    full.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    full.add_argument("--loops", type=int, default=80, help="loops of each set")
    full.add_argument("--draws", type=int, default=20, help="draws of the test items of each loop")
    full.add_argument("--worst", type=int, default=6, help="hundreds of loops of the worst case")
    full.add_argument("--model", default="logistic", help="what learns; auto: searched for (with results of its own)")
    full.add_argument("--processes", type=int, default=2)
    report.add_argument("--write", type=Path, help="the file to write")
    for command, work in ((full, _run), (report, _report), (quick, _quick)):
        command.set_defaults(command=work)
        command.add_argument("--data", type=Path, default=DATA, help="the folder of the sets that are files")
        command.add_argument("--results", type=Path, default=_results())
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
