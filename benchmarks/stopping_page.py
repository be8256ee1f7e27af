"""The page on stopping, from the records of its loops."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from active_loop.evaluate import upper_bound

Record = Mapping[str, Any]

HEAD = """# How often "reached" is wrong

What active-loop's verdicts are worth, on loops whose truth is known. Made by `python benchmarks/stopping.py run` and
`report --write docs/stopping.md`.

{loops} loops on {sets};
{budget} answers, {model}, the default strategy. Every loop is the real one, answered by an oracle: import,
asks, rounds, gate, looks, end. Its test items are drawn from a population of rows that it never sees, with
replacement, so that the quality of every round's model is known and the draws are as independent as the claim says.
"False" is a claim about a model that is in truth below the target. Intervals are 95 %, by the spread
between loops. {minutes:.0f} minutes of one core. Python {python}, {libraries}.
"""

ABOVE = """
## A target just out of reach

0.002 above the best model that a loop ever has: whoever stops is wrong. {draws} draws of the test items for each loop.

"""

BELOW = """
## A target within reach

About 0.04 below the last model of a loop; {draws} draws for each. Labels are the median over the runs that stopped, for
learning and testing.

"""

NO_BUDGET = """
### What the budget's plan costs

For {loops} of these loops: our looks at 40, then 60 % of a budget of {budget}, beside the same gate and levels with
looks at 200, 300, 450, … items and no budget ({draws} draws each).

| | certified | labels where both are | labels where it is |
| --- | --- | --- | --- |
"""

WORST = """
## The worst case

A model that always says the same and is right for {target} of the population, which is the target exactly; looked at
after every round, up to {looks} times. Of {n:,} loops {found} were certified: {share} (at most {bound} with 95 %
confidence; promised: 5 %).
"""


def page(records: Sequence[Record], worst: str) -> str:
    """The page; sets in their order of appearance."""
    loops = [record for record in records if record["set"] != worst]
    names = sorted({record["set"] for record in loops})
    libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "numpy"))
    parts = [
        HEAD.format(
            loops=len(loops), sets=", ".join(names), budget=400, model=_called(loops[0]),
            minutes=sum(record["seconds"] for record in records) / 60,
            python=platform.python_version(), libraries=libraries,
        ),
        ABOVE.format(draws=len(loops[0]["above"])),
        _table("above", loops, names),
        BELOW.format(draws=len(loops[0]["below"])),
        _table("below", loops, names),
        _no_budget([record for record in loops if "no budget" in record]),
        _worst([record for record in records if record["set"] == worst]),
    ]  # fmt: skip
    return "".join(parts)


def _table(kind: str, loops: Sequence[Record], names: Sequence[str]) -> str:
    """A row for each rule: how often it is false, how often it stops, its labels; all sets together, then each."""
    head = ["rule", "false, all sets", "stops", "labels", *(f"false, {name}" for name in names)]
    rows = [["ours: certified", *_cells(kind, loops, names, _ours("certified"))]]
    rows.append(["ours: likely or more, at a look", *_cells(kind, loops, names, _ours("likely"))])
    rows.extend([name, *_cells(kind, loops, names, _theirs(name))] for name in loops[0][f"{kind} by other rules"])
    lines = [" | ".join(cells) for cells in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {line} |\n" for line in lines)


Read = Callable[[Record, str], list[tuple[bool, bool, float]]]
"""(record, kind of target) → for each draw: did it stop, was that false, labels."""


def _ours(claim: str) -> Read:
    def read(record: Record, kind: str) -> list[tuple[bool, bool, float]]:
        return [(run[claim], run[f"false {claim}"], run["labels"]) for run in record[kind]]

    return read


def _theirs(name: str) -> Read:
    def read(record: Record, kind: str) -> list[tuple[bool, bool, float]]:
        runs = record[f"{kind} by other rules"][name]
        return [(run is not None, bool(run and run[1]), run[0] if run else 0.0) for run in runs]

    return read


def _cells(kind: str, loops: Sequence[Record], names: Sequence[str], read: Read) -> list[str]:
    runs = [read(record, kind) for record in loops]
    false = np.array([np.mean([run[1] for run in each]) for each in runs])
    stops = np.mean([np.mean([run[0] for run in each]) for each in runs])
    labels = [run[2] for each in runs for run in each if run[0]]
    by_set = [np.mean([share for share, record in zip(false, loops, strict=True) if record["set"] == n]) for n in names]
    spent = f"{np.median(labels):.0f}" if labels else "–"
    return [_share(false), f"{stops:.0%}", spent, *(f"{share:.1%}" for share in by_set)]


def _share(of_loops: Any) -> str:
    """A share with what it may be off by: draws of one loop are not independent, so loops are what is counted."""
    off = 1.96 * np.std(of_loops, ddof=1) / np.sqrt(len(of_loops)) if len(of_loops) > 1 else np.nan
    return f"{np.mean(of_loops):.2%} ± {off:.2%}"


def _called(loop: Record) -> str:
    """What learned in a loop, in words; the first loops did not say it."""
    name = loop.get("model", "logistic")
    return {"logistic": "logistic regression", "auto": "a model that is searched for"}.get(name, name)


def _no_budget(loops: Sequence[Record]) -> str:
    """What a budget's plan costs or saves: labels of the runs that both ways certify, and of all that each does."""
    if not loops:
        return ""
    runs = [pair for record in loops for pair in zip(record["below"], record["no budget"]["runs"], strict=True)]
    both = [(ours["labels"], other[0]) for ours, other in runs if ours["certified"] and other]
    rows = []
    for name, place, labels in (
        ("ours", 0, [ours["labels"] for ours, _ in runs if ours["certified"]]),
        ("no budget", 1, [other[0] for _, other in runs if other]),
    ):
        shared, own = ([pair[place] for pair in both], labels)
        medians = " | ".join(f"{np.median(each):.0f}" if each else "–" for each in (shared, own))
        rows.append(f"| {name} | {len(own) / len(runs):.0%} | {medians} |\n")
    return NO_BUDGET.format(loops=len(loops), budget=400, draws=len(loops[0]["below"])) + "".join(rows)


def _worst(records: Sequence[Record]) -> str:
    certified = [each for record in records for each in record["certified"]]
    if not certified:
        return ""
    found, n = sum(certified), len(certified)
    looks = max(each for record in records for each in record["looks"])
    return WORST.format(
        target=0.9, looks=looks, n=n, found=found, share=f"{found / n:.2%}", bound=f"{upper_bound(found, n, 0.05):.2%}"
    )
