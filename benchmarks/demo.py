"""How long the demo takes, and how much memory: from the command to the summary, with a real Label Studio.

    python benchmarks/demo.py --runs 3

The first run builds Label Studio's database in an empty cache; the others find it there. Memory is the largest sum,
over the run, of the resident sizes of the loop's own processes (the command and its training child); Label Studio
is shown apart. Linux only, because it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One demo: wall seconds, MB of the loop's processes and of Label Studio, answers, and the exit code."""

    seconds: float
    own_mb: float
    studio_mb: float
    answers: int
    code: int


def children(pid: int) -> dict[int, str]:
    """All descendants of a process: process id → command line."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found, queue = {}, [pid]
    while queue:
        parent = queue.pop()
        for child in [child for child, of in parents.items() if of == parent]:
            queue.append(child)
            try:
                found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    return found


def resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def run(folder: Path, cache: Path) -> Run:
    """One demo in a new folder, watched ten times a second."""
    command = [sys.executable, "-m", "active_loop.cli", "demo", "--folder", str(folder), "--json"]
    began = time.monotonic()
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        own = studio = 0.0
        while process.poll() is None:
            family = children(process.pid)
            ours = [child for child, line in family.items() if "active_loop.runner" in line]
            theirs = [child for child, line in family.items() if "label-studio" in line and "guard.py" not in line]
            own = max(own, resident_mb(process.pid) + sum(map(resident_mb, ours)))
            studio = max(studio, sum(map(resident_mb, theirs)))
            time.sleep(0.1)
        said = json.loads(process.stdout.read() if process.stdout else b"{}")
    return Run(time.monotonic() - began, own, studio, said.get("answers", 0), process.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs after the first (3)")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'run':<8}{'seconds':>9}{'own MB':>9}{'Label Studio MB':>17}{'answers':>9}{'exit':>6}")
    later = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.runs + 1):
            done = run(Path(temporary) / f"demo{number}", Path(temporary) / "cache")
            name = "first" if number == 0 else f"later {number}"
            print(
                f"{name:<8}{done.seconds:>9.1f}{done.own_mb:>9.0f}{done.studio_mb:>17.0f}{done.answers:>9}{done.code:>6}"
            )
            if number:
                later.append(done.seconds)
    if later:
        print(f"later: median {statistics.median(later):.1f} s of {len(later)} ({min(later):.1f} – {max(later):.1f})")


if __name__ == "__main__":
    main()
