"""The section "Speed and memory" of docs/benchmarks.md, from what was measured."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from speed_rows import Figure, Group, Measured, Row, ratio_of
from turns import Result, pair_ratio

BEGIN = "<!-- speed: made by `python benchmarks/strategies.py --write docs/benchmarks.md`; change the text there -->"
END = "<!-- speed: end -->"

TITLE = (
    "# Benchmarks\n\nWhat the query strategies cost, measured beside other libraries, and how to measure it again.\n"
)

METHOD = """\
### How it is measured

* **The same job for both.** Every row gives ours and the other library the same arrays (their checksums are compared)
  and asks both for the same number of items: 100, unless it says otherwise. Only the layout differs, where a library's
  own committee has another one. Models are objects that hand out arrays made beforehand, so a time is the strategy's
  own work, from the arrays to the chosen rows; ours includes making the view and checking the predictions.
* **In turn.** Each library has a process and an environment of its own. One pair is one call of ours and one call of
  the other; a time is the median of {pairs} calls, a ratio the median of the {pairs} pairs' ratios, with the lowest and
  the highest. A small call of the same kind and one at full size go before.
* **One thread** each (OMP, OpenBLAS, MKL and Numba are told so).
* **Memory** is how far the resident peak of a call (VmHWM) lies above what the process held before, measured in a call
  of its own after freed memory was given back.
* **Limits**: {limit:g} s a call, and {memory:g} GB of address space a process. What runs into one is shown as such.
* **Data**: probabilities are squares of exponential draws divided by their sum, float64; features are 50 Gaussian
  clusters, float32; 100 rows are labelled, and the rows of a pool are stored in the order of their ids.
* **Same rows** counts the rows that both chose. They need not be the same where utilities tie (vote entropy), where a
  strategy draws at random (BADGE, k-means starts), and where libraries differ in details (the width of a kernel, the
  number of clusters). For density the utilities of the rows that both chose are compared as well: modAL's are exact,
  ours rest on a sample of the pool.
"""

HEAD = """\
| strategy | pool | beside | ours | theirs | ratio (range) | same rows | to reach | reached |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run has found, and under which conditions."""

    machine: str
    versions: dict[str, dict[str, str] | str]
    tables: tuple[tuple[Group, tuple[Measured, ...]], ...]
    pairs: int
    limit_s: float
    memory_gb: float
    quick: bool


def machine() -> str:
    """The machine in one line, and how busy it is now."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    named = f"{cpu[1]}, " if cpu else ""
    load = os.getloadavg()[0]
    return f"{named}{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}; load {load:.1f}"


def digits(value: float) -> str:
    """Two significant digits below 10, whole numbers above."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def duration(seconds: float) -> str:
    return f"{digits(seconds)} s" if seconds >= 1 else f"{digits(seconds * 1000)} ms"


def size(mb: float) -> str:
    return f"{mb:,.0f} MB" if mb >= 1 else "< 1 MB"


def pool(row: Row) -> str:
    """The shape of what is given, and how many are asked for where it is not 100."""
    job = row.job
    table = f"{job.n:,} × {job.classes}"
    shape = {
        "start": "–",
        "proba": table,
        "map": f"{table}, mapped",
        "members": f"5 × {table}",
        "votes": f"{job.n:,} × 5 votes",
        "X": f"{job.n:,} × {job.d}",
        "X proba": f"{job.n:,} × {job.d}, {job.classes} classes",
    }[job.given]
    return shape if job.k == 100 or job.given == "start" else f"{shape}, {job.k} asked for"


def name(row: Row) -> str:
    return {"help": "`active-loop --help`", "import": "`import`"}.get(row.job.strategy, f"`{row.job.strategy}`")


def to_reach(figures: tuple[Figure, ...]) -> str:
    return "; ".join(figure.text for figure in figures)


def describe(row: Row) -> str:
    """A row before it is measured."""
    return f"{name(row).strip('`')} | {pool(row)} | {row.other or 'alone'} | {to_reach(row.figures) or '-'}"


def taken(result: Result | None, row: Row) -> str:
    """Time and memory of one library, or how it failed."""
    if result is None:
        return "–"
    if result.failed:
        return result.failed.replace("|", "/")
    memory = {"start": size(result.extra_mb), "map": f"{size(result.anonymous_mb)} anonymous"}
    return f"{duration(result.median_s)}, {memory.get(row.job.given, f'{size(result.extra_mb)} more')}"


def ratio_text(measured: Measured) -> str:
    """How many times faster or slower ours is; beside numpy, how many times its time."""
    ours, theirs, kind = measured.ours, measured.theirs, measured.row.kind
    if theirs is None or ours.failed:
        return "–"
    if theirs.failed:
        return f"> {digits(theirs.over_s / ours.median_s)} × faster" if theirs.over_s else "–"
    ratio, word = ratio_of(kind, ours, theirs), "its time" if kind == "within" else "faster"
    if kind == "faster" and ratio.median < 1:
        ratio, word = pair_ratio(ours.seconds, theirs.seconds), "slower"
    return f"{digits(ratio.median)} × {word} ({digits(ratio.low)}–{digits(ratio.high)})"


def same_rows(measured: Measured) -> str:
    """How many rows both chose; where their utilities mean the same, how far these are apart for such rows."""
    ours, theirs = measured.ours, measured.theirs
    if theirs is None or not ours.rows or not theirs.rows:
        return "–"
    both = set(ours.rows) & set(theirs.rows)
    said = f"{len(both)} of {len(ours.rows)}"
    if not both or not theirs.utilities:
        return said
    first, second = (dict(zip(side.rows, side.utilities, strict=True)) for side in (ours, theirs))
    apart = max(abs(first[row] / second[row] - 1) for row in both)
    return f"{said}, utilities within {apart:.1%}"


def verdicts(measured: Measured) -> list[tuple[Figure, str]]:
    """Every figure of a row with "yes", "no", or why it cannot be told."""
    words = {True: "yes", False: "no", None: "nothing to compare with"}
    return [(figure, words[figure.reached(measured.ours, measured.theirs)]) for figure in measured.row.figures]


def line(measured: Measured, judged: bool) -> str:
    """One row of a table."""
    row = measured.row
    reached = "; ".join(word for _, word in verdicts(measured)) if judged else "not judged"
    cells = [name(row), pool(row), row.other or "–", taken(measured.ours, row), taken(measured.theirs, row)]
    cells += [ratio_text(measured), same_rows(measured), to_reach(row.figures) or "–", reached if row.figures else "–"]
    return f"| {' | '.join(cells)} |"


def summary(run: Run) -> str:
    """How many figures were reached, which were not, and where ours was the slower one."""
    if run.quick:
        return "This was a quick run on small pools: it shows that every row works, and judges nothing.\n"
    measured = [each for _, rows in run.tables for each in rows]
    judged = [(each.row, *verdict) for each in measured for verdict in verdicts(each)]
    missed = [f"{name(row)}, {pool(row)}, {figure.text}: {word}" for row, figure, word in judged if word != "yes"]
    lost = [f"{name(each.row)}, {pool(each.row)}, beside {each.row.other}: {ratio_text(each)}" for each in measured]
    lost = [said for said in lost if "slower" in said]
    text = f"{len(judged) - len(missed)} of {len(judged)} figures were reached.\n"
    return text + bullets("Not reached:", missed) + bullets("Ours was the slower one:", lost)


def bullets(heading: str, lines: list[str]) -> str:
    return "\n".join(["", heading, "", *(f"* {line}" for line in lines), ""]) if lines else ""


def libraries(run: Run) -> str:
    """A table of versions."""
    shown = ("Python", "numpy", "scipy", "scikit-learn", "torch")
    lines = ["| library | version | " + " | ".join(shown) + " |", "| --- " * (2 + len(shown)) + "|"]
    for library, found in run.versions.items():
        if isinstance(found, str):
            lines.append(f"| {library} | {found} |" + " – |" * len(shown))
            continue
        own = next((version for package, version in found.items() if package not in shown), "–")
        lines.append(f"| {library} | {own} | " + " | ".join(found.get(package, "–") for package in shown) + " |")
    return "\n".join(lines) + "\n"


def section(run: Run) -> str:
    """The whole section, between its two markers."""
    day = datetime.now(UTC).date().isoformat()
    method = METHOD.format(
        k_text="100 unless it says otherwise", pairs=run.pairs, limit=run.limit_s, memory=run.memory_gb
    )
    parts = [f"{BEGIN}\n", "## Speed and memory\n"]
    parts += [f"Measured on {day}: {run.machine} before the run.\n", summary(run), libraries(run), method]
    for group, rows in run.tables:
        table = HEAD + "".join(f"{line(each, judged=not run.quick)}\n" for each in rows)
        parts += [f"### {group.heading}\n", *([f"{group.text}\n"] if group.text else []), table]
    return "\n".join(parts) + f"\n{END}\n"


def page_with(text: str, made: str) -> str:
    """The page with the section in place of the one between the markers; at its end where there is none."""
    if BEGIN in text and END in text:
        before, _, rest = text.partition(BEGIN)
        return before + made + rest.partition(END)[2].removeprefix("\n")
    return f"{(text or TITLE).rstrip()}\n\n{made}"
