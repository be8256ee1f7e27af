"""How good a model is after so many labels, for every query strategy, beside random and beside other libraries.

    python benchmarks/label_efficiency.py curve --set digits-lr --strategies margin kmeans --seeds 10
    python benchmarks/label_efficiency.py run
    python benchmarks/label_efficiency.py report --write docs/label-efficiency.md

The loop, the split, the model and the seeds are common to all; only the choice of the next batch differs. A strategy
is named as in the registry and starts from our cold start (k-means), unless it needs no predictions and so chooses
its first batch itself; `random+margin` is margin from a random start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import label_peers
import label_report
import label_sets
from label_loop import ROOT, Job, of_ours
from label_page import Page
from label_peers import STRATEGIES as PEERS
from label_report import OURS, Best, Curves, Record
from label_sets import DATA_SETS, DataSet

from query_strategies import STRATEGIES, make

DATA = ROOT.parent / "shared" / "data"
DEFAULT = "auto"
"""The strategy of ours that is held against the others."""

LEFT_OUT = {
    "cost_aware": "all items cost the same here",
    "sub_sample": "pools are smaller than its sample",
    "expected_error_reduction": "hundreds of fits for each batch, minutes for each curve",
}
"""Strategies of ours that are not compared, and why."""

WITHOUT_COMMITTEES = {"svm"}
"""Models of which no committees are made: they would take most of the time."""

CHOOSING_SEED = 100
"""From this seed on, a peer's best strategy for a set is chosen."""

SURVEY_SEED = 1000
"""From this seed on, every strategy of ours has its curves; the rule of the default was last revised by them."""

COMPARED_SEED = 2000
"""From this seed on, the default is compared; nothing in this library was chosen while looking at these seeds."""

COMPARED = ("random", "kmeans+random", "random+margin", "margin", DEFAULT)
"""What the default is compared with, beside the peers."""


def worked(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, list[dict[str, Any]]]]:
    """Each job with its records, as they are finished; a process has one thread."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read by the new processes when they load the numeric libraries
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        job_of = {pool.submit(job.run): job for job in jobs}
        for done in as_completed(job_of):
            yield job_of[done], done.result()


def contenders(data_set: DataSet, wanted: Sequence[str] | None = None) -> list[str]:
    """The strategies of ours that are compared on a set: the registered ones for its task, and some other starts."""
    if wanted is not None:
        return [name for name in wanted if data_set.task in make(name.rpartition("+")[2]).tasks]
    if data_set.name == label_sets.LU.name:
        return [
            name for name in ("random", "random+margin", "margin", DEFAULT) if name.rpartition("+")[2] in STRATEGIES
        ]
    made = {name: make(name) for name in STRATEGIES if name not in LEFT_OUT}
    fitting = [name for name, strategy in made.items() if data_set.task in strategy.tasks]
    if data_set.model in WITHOUT_COMMITTEES:
        fitting = [name for name in fitting if made[name].needs_members == 1]
    starts = ["kmeans+random", *(["random+margin"] if data_set.task == "choice" else [])]
    return [*fitting, *starts]


def planned(
    arguments: argparse.Namespace, sets: Sequence[DataSet], records: Sequence[Record], best: Best | None = None
) -> list[Job]:
    """What is not done yet: our curves and the peers' choosing ones; with `best`, the curves of the peers' best."""
    done = {record.key for record in records if not record.error}
    jobs = []
    for data_set in sets:
        wanted = _first(arguments, data_set) if best is None else _second(arguments, data_set, best)
        for seed, names in wanted.items():
            missing = tuple(name for name in names if (data_set.name, data_set.protocol, *name, seed) not in done)
            if missing:
                jobs.append(Job(data_set, arguments.data, seed, missing, arguments.environments))
    return jobs


Wanted = dict[int, list[tuple[str, str]]]


def _first(arguments: argparse.Namespace, data_set: DataSet) -> Wanted:
    wanted: Wanted = {}
    ours = [(OURS, name) for name in contenders(data_set, arguments.strategies)]
    if data_set.name != label_sets.LU.name:
        wanted.update(dict.fromkeys(_seeds(arguments, SURVEY_SEED), ours))
    compared = [(by, name) for by, name in ours if name in COMPARED]
    wanted.update(dict.fromkeys(_seeds(arguments, COMPARED_SEED), compared))
    for seed in range(CHOOSING_SEED, CHOOSING_SEED + arguments.choosing_seeds):
        wanted[seed] = [(peer, name) for peer in arguments.peers for name in peer_strategies(peer, data_set)]
    return wanted


def _second(arguments: argparse.Namespace, data_set: DataSet, best: Best) -> Wanted:
    names = [(peer, best[data_set.name, peer]) for peer in arguments.peers if (data_set.name, peer) in best]
    return dict.fromkeys(_seeds(arguments, COMPARED_SEED), names)


def _seeds(arguments: argparse.Namespace, first: int) -> range:
    return range(first, first + arguments.seeds)


def peer_strategies(peer: str, data_set: DataSet) -> list[str]:
    """The strategies of a peer that choose for this set; none under the protocol of Lu et al., which has its own."""
    if data_set.name == label_sets.LU.name:
        return []
    fitting = {name: strategy for name, strategy in PEERS[peer].items() if strategy.task == data_set.task}
    if data_set.model in WITHOUT_COMMITTEES:
        return [name for name, strategy in fitting.items() if strategy.predictions != "members"]
    return list(fitting)


def _run_command(arguments: argparse.Namespace) -> None:
    sets = list(_sets(arguments).values())
    for peer in arguments.peers:
        label_peers.interpreter(peer, arguments.environments)
    for data_set in sets:
        label_sets.load(data_set, arguments.data)
    kept = [record for record in label_report.read(arguments.results) if record.strategy not in arguments.again]
    _work(planned(arguments, sets, kept), arguments)
    records = label_report.read(arguments.results)
    curves = Curves(records, {data_set.name: data_set for data_set in sets})
    choosing = range(CHOOSING_SEED, CHOOSING_SEED + arguments.choosing_seeds)
    _work(planned(arguments, sets, records, label_report.best_of_peers(curves, choosing)), arguments)


def _work(jobs: Sequence[Job], arguments: argparse.Namespace) -> None:
    """Run the jobs; every record is a line of the results as soon as its job is finished."""
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with arguments.results.open("a", encoding="utf-8") as file:
        for number, (job, records) in enumerate(worked(jobs, arguments.processes), 1):
            file.writelines(json.dumps(record) + "\n" for record in records)
            file.flush()
            minutes = (time.monotonic() - started) / 60
            rest = minutes / number * (len(jobs) - number)
            print(
                f"{job.data_set.name} {job.seed}: {len(records)} curves; {minutes:.1f} min, {rest:.0f} to go",
                flush=True,
            )
            for record in records:
                if "error" in record:
                    print(f"  {record['by']} {record['strategy']}: {record['error']}", flush=True)


def _curve_command(arguments: argparse.Namespace) -> None:
    (data_set,) = _sets(arguments).values()
    if arguments.searched:
        data_set = replace(data_set, model="auto")
    names = list(dict.fromkeys(["random", *arguments.strategies]))
    for name in names:
        of_ours(name)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    ours = tuple((OURS, name) for name in names)
    jobs = [Job(data_set, arguments.data, seed, ours) for seed in seeds]
    records = [Record.of(record) for _, done in worked(jobs, arguments.processes) for record in done]
    for record in records:
        if record.error:
            raise SystemExit(f"{record.strategy}, seed {record.seed}: {record.error}")
    print(label_report.curves_text(Curves(records, {data_set.name: data_set}), names, seeds))


def _report_command(arguments: argparse.Namespace) -> None:
    curves = Curves(label_report.read(arguments.results), _sets(arguments))
    ends = (CHOOSING_SEED, SURVEY_SEED, COMPARED_SEED, max(COMPARED_SEED, *curves.seeds()) + 1)
    choosing, survey, compared = (_found(curves, first, end) for first, end in pairwise(ends))
    page = Page(curves, arguments.default, compared, choosing, survey, LEFT_OUT)
    if arguments.write is None:
        print(page.text())
        return
    arguments.write.write_text(page.text(), encoding="utf-8")
    if picture := page.picture():
        arguments.write.with_suffix(".svg").write_text(picture, encoding="utf-8")


def _found(curves: Curves, first: int, end: int) -> range:
    """The seeds of a kind, from the first one to the last that has curves."""
    return range(first, 1 + max((seed for seed in curves.seeds() if first <= seed < end), default=first))


def _sets(arguments: argparse.Namespace) -> dict[str, DataSet]:
    """The sets that were asked for and can be read, by name; a file of one's own instead of all others."""
    if arguments.csv:
        own = label_sets.table_set(arguments.csv, arguments.label)
        arguments.data = arguments.csv.parent
        return {own.name: own}
    known = DATA_SETS | {label_sets.LU.name: label_sets.LU}
    sets = {name: known[name] for name in arguments.sets or known}
    absent = [
        name for name, data_set in sets.items() if data_set.file and not (arguments.data / data_set.file).exists()
    ]
    if absent:
        print(f"left out, not found in {arguments.data}: {', '.join(absent)}", file=sys.stderr)
    return {name: data_set for name, data_set in sets.items() if name not in absent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("curve", help="mean curves of a few strategies on one set")
    full = commands.add_parser("run", help="all curves that are not among the results yet")
    report = commands.add_parser("report", help="the page, from the results")
    names = [*DATA_SETS, label_sets.LU.name]
    one.add_argument("--set", dest="sets", nargs=1, choices=names, default=[names[0]])
    one.add_argument("--strategies", nargs="+", default=[DEFAULT], help="names, or start+name")
    one.add_argument("--first-seed", type=int, default=0)
    one.add_argument("--searched", action="store_true", help="a model that is searched for, instead of the pinned one")
    full.add_argument("--strategies", nargs="*", help="only these of ours")
    full.add_argument("--again", nargs="+", default=[], help="strategies whose curves are made again")
    full.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    full.add_argument("--choosing-seeds", type=int, default=5, help="seeds on which a peer's best strategy is found")
    full.add_argument("--environments", type=Path, default=label_sets.cache().parent / "peers-efficiency")
    report.add_argument("--write", type=Path, help="the file to write, with a picture beside it")
    report.add_argument("--default", default=DEFAULT, help="the strategy that is held against the others")
    for command, work in ((one, _curve_command), (full, _run_command), (report, _report_command)):
        command.set_defaults(command=work)
        command.add_argument("--data", type=Path, default=DATA, help="the folder of the sets that are files")
        command.add_argument("--csv", type=Path, help="a table of one's own, instead of the sets")
        command.add_argument("--label", default="label", help="its column of labels")
    for command in (full, report):
        command.add_argument("--sets", nargs="+", choices=names)
        command.add_argument("--results", type=Path, default=label_sets.cache() / "results.jsonl")
    for command in (one, full):
        command.add_argument("--seeds", type=int, default=20)
        command.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
