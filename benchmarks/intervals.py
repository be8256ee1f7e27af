"""How often the 95 % intervals of the metrics hold the truth: simulated models whose true values are known.

    python benchmarks/intervals.py --write docs/honest-target.md

Each cell draws samples of n test items from one population and counts the intervals that hold the metric of the whole
population, which is read off 400,000 items. Choices have two classes, and scores that differ by a shift of normal
noise, so that probabilities are calibrated; `quality` is the accuracy that even classes would have. Sets have three
classes, each as frequent as the second class, flipped with a chance of 1 - quality. Numbers lie between 0 and 10 and
correlate with their predictions by about the quality; "90/10" there means that one error in ten is four times as large.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from active_loop.evaluate import Metric, metric_for
from active_loop.settings import METRICS, TargetSettings
from active_loop.tasks import MultiLabel, Number, SingleChoice, Task

SIZES = (50, 100, 200, 400)
BALANCES = {"50/50": 0.5, "90/10": 0.1}
QUALITIES = (0.8, 0.95)
TASKS: tuple[Task, ...] = (SingleChoice(("common", "rare")), MultiLabel(("a", "b", "c")), Number(0, 10))
SLOW = ("brier", "label_accuracy", "micro_f1", "mae", "r2", "spearman")
"""Metrics, besides macro-F1 of sets, whose intervals take so long that fewer samples must do."""

Sample = tuple[NDArray[np.int64] | NDArray[np.float64], NDArray[np.float64]]
MARKS = "<!-- coverage: made by `python benchmarks/intervals.py --write {page}` -->", "<!-- coverage: end -->"


@dataclass(frozen=True, slots=True)
class Cell:
    """How many of `n_samples` intervals held the truth."""

    kind: str
    metric: str
    balance: str
    quality: float
    n: int
    n_held: int
    n_samples: int

    @property
    def share(self) -> float:
        return self.n_held / self.n_samples


def sample(task: Task, n: int, share: float, quality: float, rng: np.random.Generator) -> Sample:
    """Truth and mean predictions of n items of the population."""
    if isinstance(task, SingleChoice):
        shift = float(special.ndtri(quality))
        truth = (rng.random(n) < share).astype(np.int64)
        scores = rng.normal(size=n) + shift * (2 * truth - 1)
        p = special.expit(2 * shift * scores + special.logit(share))
        return truth, np.column_stack([1 - p, p])
    if isinstance(task, MultiLabel):
        sets = (rng.random((n, len(task.classes))) < share).astype(np.int64)
        return sets, np.where(rng.random(sets.shape) < quality, sets, 1 - sets).astype(np.float64)
    numbers = np.clip(5 + 1.5 * rng.normal(size=n), 0, 10)
    errors = 1.5 * np.sqrt(1 / quality**2 - 1) * rng.normal(size=n)
    large = rng.random(n) < (0.1 if share < 0.5 else 0.0)
    return numbers, np.clip(numbers + np.where(large, 4.0, 1.0) * errors, 0, 10)


def cells(n_samples: int, n_slow: int, names: tuple[str, ...], seed: int) -> Iterator[Cell]:
    """Every metric in every population, at each size."""
    for task, (balance, share), quality in itertools.product(TASKS, BALANCES.items(), QUALITIES):
        found = {
            name: metric_for(task, TargetSettings(metric=name))
            for name in task.metrics
            if not METRICS[name].of_search and (not names or name in names)
        }
        rng = np.random.default_rng([seed, int(100 * share), int(100 * quality)])
        whole = sample(task, 400_000, share, quality, rng)
        for (name, metric), n in itertools.product(found.items(), SIZES):
            slow = name in SLOW or (task.kind, name) == ("multi_label", "macro_f1")
            times = n_slow if slow else n_samples
            value = metric.value(*whole)
            held = sum(_holds(metric, value, sample(task, n, share, quality, rng), rng) for _ in range(times))
            yield Cell(task.kind, name, balance, quality, n, held, times)


def _holds(metric: Metric, value: float, drawn: Sample, rng: np.random.Generator) -> bool:
    reading = metric.read(*drawn, rng)
    return reading.low <= value <= reading.high


def full_table(found: list[Cell]) -> str:
    """Each population in a row of its own."""
    rows = ["| metric | classes | quality | " + " | ".join(f"n = {n}" for n in SIZES) + " |", "| --- " * 7 + "|"]
    for (kind, name, balance, quality), group in itertools.groupby(
        found, key=lambda cell: (cell.kind, cell.metric, cell.balance, cell.quality)
    ):
        shares = " | ".join(f"{100 * cell.share:.1f}" for cell in group)
        rows.append(f"| {name} ({kind}) | {balance} | {quality:g} | {shares} |")
    return "\n".join(rows)


def short_table(found: list[Cell]) -> str:
    """The lowest and the highest of the four populations, for each metric and size."""
    rows = ["| metric | of | " + " | ".join(f"n = {n}" for n in SIZES) + " | samples |", "| --- " * 7 + "|"]
    for kind, name in dict.fromkeys((cell.kind, cell.metric) for cell in found):
        mine = [cell for cell in found if (cell.kind, cell.metric) == (kind, name)]
        ranges = [[100 * cell.share for cell in mine if cell.n == n] for n in SIZES]
        told = " | ".join(f"{min(shares):.1f} – {max(shares):.1f}" for shares in ranges)
        rows.append(f"| {METRICS[name].words} | {kind.replace('_', '-')} | {told} | {mine[0].n_samples} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000, help="samples a cell")
    parser.add_argument("--slow", type=int, default=300, help="samples a cell of metrics with slow intervals")
    parser.add_argument("--metrics", nargs="*", default=(), help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="a page to put the short table into, between its marks")
    told = parser.parse_args()
    found = list(cells(told.samples, told.slow, tuple(told.metrics), told.seed))
    print(full_table(found), short_table(found), sep="\n\n")
    if told.write:
        begin, end = MARKS[0].format(page=told.write), MARKS[1]
        page = told.write.read_text(encoding="utf-8")
        if begin not in page or end not in page:
            raise SystemExit(f"{told.write} has no lines {begin} and {end}: put them where the table belongs.")
        body = f"{begin}\n\n{short_table(found)}\n\n{end}"
        inside = re.escape(begin) + ".*" + re.escape(end)
        told.write.write_text(re.sub(inside, lambda _: body, page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
