"""How fast the query strategies are, and how much memory they take, beside other libraries at the same job.

    python benchmarks/strategies.py --quick                       (minutes; small pools, nothing is judged)
    python benchmarks/strategies.py --write docs/benchmarks.md    (everything; a quiet machine, please)
    python benchmarks/strategies.py --only margin,entropy --pairs 9

Every row (`speed_rows.py`) is one job: ours and another library in turn (`turns.py`), on the same arrays, with
the model replaced by arrays made beforehand. A row with a figure to reach says whether it was reached. The first run
makes an environment for every other library by pip, gigabytes of them, since Baal needs torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from peers import write_map
from speed_page import Run, describe, line, machine, page_with, section
from speed_rows import GROUPS, ROWS, Group, Measured, Row
from turns import OURS, WorkError, Workers, in_turn


def quick(row: Row) -> Row:
    """The same row on a pool of a tenth."""
    return replace(row, job=replace(row.job, n=max(row.job.n // 10, min(row.job.n, 1000))))


def wanted(names: str) -> tuple[Group, ...]:
    """The groups with the rows of these strategies, by name; all for none. Raises `SystemExit` for an unknown one."""
    asked, known = {name for name in names.split(",") if name}, {row.job.strategy for row in ROWS}
    if asked - known:
        sys.exit(f"no row measures {', '.join(sorted(asked - known))}; known: {', '.join(sorted(known))}.")
    kept = [
        replace(group, rows=tuple(row for row in group.rows if not asked or row.job.strategy in asked))
        for group in GROUPS
    ]
    return tuple(group for group in kept if group.rows)


def run(row: Row, workers: Workers, pairs: int, folder: Path) -> Measured:
    """One row measured; the file of a mapped pool is made when first wanted."""
    if row.job.given == "map":
        file = folder / f"{row.job.n}.f64"
        if not file.exists():
            write_map(file, row.job.n, row.job.classes)
        row = replace(row, job=replace(row.job, file=str(file)))
    return Measured(row, *in_turn(workers, row.job, row.other, pairs))


def versions(workers: Workers, groups: tuple[Group, ...]) -> dict[str, dict[str, str] | str]:
    """library → package → version, or why it is not there."""
    libraries = [OURS, *dict.fromkeys(row.other for group in groups for row in group.rows)]
    found: dict[str, dict[str, str] | str] = {}
    for library in libraries:
        if library in ("", "numpy"):
            continue
        try:
            found[library] = workers.ask(library, {"versions": True}, 60)["versions"]
        except WorkError as error:
            found[library] = str(error)
    return found


def parser() -> argparse.ArgumentParser:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    asks = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asks.add_argument("--list", action="store_true", help="only name the rows")
    asks.add_argument("--only", default="", help="strategies, with commas between them (all)")
    asks.add_argument("--pairs", type=int, default=5, help="pairs of timed calls (5)")
    asks.add_argument("--quick", action="store_true", help="2 pairs, pools of a tenth, 30 s a call; judges nothing")
    asks.add_argument("--write", type=Path, help="the page to write the section into")
    asks.add_argument("--envs", type=Path, default=cache / "active-loop" / "peers", help="environments of the others")
    asks.add_argument("--limit", type=float, default=120, help="seconds that one call may take (120)")
    asks.add_argument("--memory", type=float, default=12, help="GB that one process may map (12)")
    return asks


def main() -> None:
    options = parser().parse_args()
    groups = wanted(options.only)
    if options.write and options.only:
        sys.exit("--write needs every row, and --only leaves some out: drop one of them.")
    if options.quick:
        options.pairs, options.limit = 2, min(options.limit, 30)
        groups = tuple(replace(group, rows=tuple(map(quick, group.rows))) for group in groups)
    if options.list:
        for row in (row for group in groups for row in group.rows):
            print(describe(row))
        return
    done = measure(groups, options)
    if options.write:
        text = options.write.read_text(encoding="utf-8") if options.write.exists() else ""
        options.write.write_text(page_with(text, section(done)), encoding="utf-8")


def measure(groups: tuple[Group, ...], options: argparse.Namespace) -> Run:
    """Measures all rows, one after the other, and prints each when it is known."""
    where = machine()
    with (
        tempfile.TemporaryDirectory() as temporary,
        Workers(options.envs, options.memory * 1000, options.limit) as them,
    ):
        found = versions(them, groups)
        tables = []
        for group in groups:
            print(f"\n{group.heading}", flush=True)
            measured = []
            for row in group.rows:
                measured.append(run(row, them, options.pairs, Path(temporary)))
                print(line(measured[-1], judged=not options.quick), flush=True)
            tables.append((group, tuple(measured)))
    return Run(where, found, tuple(tables), options.pairs, options.limit, options.memory, options.quick)


if __name__ == "__main__":
    main()
