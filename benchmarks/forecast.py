"""What a forecast is worth: bands of labels to the target on real loops, against what the loops then needed.

    python benchmarks/forecast.py run
    python benchmarks/forecast.py report --write docs/forecast.md
    python benchmarks/forecast.py quick

Each loop is the real one (stopping_loops.py), trained to 500 labels without a look, so that the quality of every
round's model on a population is known. Test items are drawn from the population, and forecasts are made from readings
on the first of them, as a loop gets them. The truth is the first number of labels at which the true curve, made
monotone, is at the target. Beside our band stands the usual one: the best power law of each of 200 resamplings of the
test items.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final
from unittest.mock import patch

import label_sets
import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from stopping import DATA, POOL, Job, _data
from stopping_loops import Setup, Trained

from active_loop.domain import Score
from active_loop.evaluate import lower_bound, upper_bound
from active_loop.forecast import TAIL, Band, curves

Reals = NDArray[np.float64]
Hits = NDArray[np.bool_]

SETS: Final = ("digits-lr", "sms_spam", "trec6", "adult", "clouds", "ko_nsmc")
BUDGET: Final = 700
MOMENTS: Final = (60, 100, 150, 200)
"""Labels at which a forecast is made, with as many test answers."""

TESTED: Final = 200
DRAWS: Final = 5
SLACK: Final = 10
"""Labels between two rounds: no truth is known more exactly."""

TARGETS: Final = (*np.arange(0.5, 0.9, 0.05).round(2).tolist(), 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99)
NEAR: Final = 0.6
"""Targets lie above the newest reading, by this share of the way to 1 at most."""

TAILS: Final = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
"""Tails that are tried, the widest band first."""

WANTED: Final = 0.8
START, END = "<!-- measured -->\n", "<!-- /measured -->\n"


@dataclass(frozen=True, slots=True)
class Known:
    """A loop whose truth is known: labels of each round (T,), and where its model is right (T, n_population)."""

    name: str
    seed: int
    labels: NDArray[np.int64]
    right: Hits

    def truth(self) -> Reals:
        """The quality of each round, made monotone (T,)."""
        found: Reals = IsotonicRegression().fit_transform(np.log(self.labels), self.right.mean(axis=1))
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """One forecast, of labels to one target, and what became of it: `more` labels really, inf for never.

    For ours and the usual forecast: the chance that the target is out of reach, and the band. `ours` has a band for
    each of `TAILS`.
    """

    name: str
    more: float
    chance: float
    usual_chance: float
    usual: Band | None
    ours: dict[float, Band | None] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        return bool(np.isfinite(self.more))

    @property
    def later(self) -> bool:
        """Whether the target was reached, and not yet when the forecast was made."""
        return self.reached and self.more > 0

    def holds(self, band: Band | None) -> bool:
        return band is not None and band.low - SLACK <= self.more <= band.high + SLACK


def trained(name: str, seed: int, data: Path) -> Known:
    """The loop of this set and seed; trained once, then kept in the cache."""
    kept = label_sets.cache().parent / "forecast" / f"{name}-{seed}.npz"
    if not kept.exists():
        loop = Trained(_data(Job(name, seed, 1, data)), Setup("logistic", BUDGET, seed), POOL)
        with patch("active_loop.standing.gate", lambda progress: False):
            progress = loop.replay(1 - 1e-9, 0).progress
        right = np.array([loop.right(each.round) for each in progress])
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(
            draft,
            labels=[each.n_labels for each in progress],
            right=np.packbits(right, axis=1),
            n=right.shape[1],
        )
        draft.replace(kept)
    with np.load(kept) as arrays:
        right = np.unpackbits(arrays["right"], axis=1)[:, : int(arrays["n"])].astype(bool)
        return Known(name, seed, arrays["labels"].astype(np.int64), right)


def cases(known: Known, draw: int) -> Iterator[Case]:
    """Every forecast that is made of one loop with one draw of its test items."""
    rng = np.random.default_rng([known.seed, draw, 31])
    tested = known.right[:, rng.integers(0, known.right.shape[1], size=TESTED)]
    truth, most = known.truth(), int(known.labels[-1])
    for moment in MOMENTS:
        upto = int(np.searchsorted(known.labels, moment, "right"))
        labels = known.labels[:upto]
        sizes = np.minimum(labels, TESTED)
        readings = tuple(_reading(n, hits[:n], at) for n, hits, at in zip(sizes, tested, labels, strict=False))
        found = curves(readings, most)
        if found is None:
            raise RuntimeError(f"{known.name} {known.seed}: {upto} rounds are too few for a forecast")
        value = readings[-1][1].value
        usual = Usual.of(labels, sizes, tested[:upto, : sizes[-1]], most, rng)
        for target in TARGETS:
            if value < target < value + NEAR * (1 - value):
                passed = np.flatnonzero(truth >= target)
                more = max(0.0, float(known.labels[passed[0]] - labels[-1])) if len(passed) else np.inf
                bands = {tail: found.band(target, tail) for tail in TAILS}
                yield Case(known.name, more, 1 - found.chance(target), *usual.told(target), bands)


def _reading(n: int, hits: Hits, labels: int) -> tuple[int, Score]:
    right, n = int(hits.sum()), int(n)
    bounds = lower_bound(right, n, 0.025), upper_bound(right, n, 0.025)
    return int(labels), Score(0, "accuracy", right / n, *bounds, n)


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual forecast: a - b·n^-c fitted to each resampling of the test items, (B,) of each, by least squares."""

    a: Reals
    b: Reals
    c: Reals
    n: int
    most: int

    @classmethod
    def of(
        cls, labels: NDArray[np.int64], sizes: NDArray[np.int64], hits: Hits, most: int, rng: np.random.Generator
    ) -> Usual:
        n_items = hits.shape[1]
        counts = rng.multinomial(n_items, np.full(n_items, 1 / n_items), size=200)
        values = np.stack(
            [
                (counts[:, :n] @ row[:n]) / np.maximum(counts[:, :n].sum(axis=1), 1)
                for n, row in zip(sizes, hits, strict=True)
            ],
            axis=1,
        )
        mean = values.mean(axis=0)
        weights = sizes / np.maximum(mean * (1 - mean), 0.01)
        exponents = np.geomspace(0.05, 3, 40)
        fits = [_line(values, labels**-exponent, weights) for exponent in exponents]
        best = np.argmin([fit[2] for fit in fits], axis=0)
        a, b = (np.stack([fit[place] for fit in fits])[best, np.arange(len(best))] for place in (0, 1))
        return cls(a, b, exponents[best], int(labels[-1]), most)

    def told(self, target: float) -> tuple[float, Band | None]:
        """The chance that the target is out of reach, and the band of labels to it if it is not."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            needed = np.where(self.a > target, (self.b / (self.a - target)) ** (1 / self.c), np.inf)
        more = np.maximum(needed[needed <= self.most] - self.n, 0)
        return 1 - len(more) / len(needed), Band(*np.quantile(more, [0.1, 0.5, 0.9])) if len(more) else None


def _line(values: Reals, x: Reals, weights: Reals) -> tuple[Reals, Reals, Reals]:
    """a, b and the loss (B,) of values (B, T) ~ a - b·x with b ≥ 0 and a ≤ 1."""
    centre, middle = weights @ x / weights.sum(), values @ weights / weights.sum()
    b = -((values - middle[:, None]) @ (weights * (x - centre))) / (weights @ (x - centre) ** 2)
    b = np.maximum(b, 0)
    a = middle + b * centre
    over = a > 1
    b = np.where(over, (1 - values) @ (weights * x) / (weights @ x**2), b)
    a = np.where(over, 1.0, a)
    return a, b, (values - a[:, None] + b[:, None] * x) ** 2 @ weights


# what came of it


def measured_tail(cases_: Sequence[Case]) -> float:
    """The largest tail with which the bands hold for `WANTED` of the cases of every set; the smallest if none does."""
    names = sorted({case.name for case in cases_ if case.later})
    for tail in reversed(TAILS):
        if all(_share([case for case in cases_ if case.name == name], _ours(tail)) >= WANTED for name in names):
            return tail
    return TAILS[0]


def _ours(tail: float) -> Callable[[Case], bool]:
    return lambda case: case.holds(case.ours[tail])


def _usual(case: Case) -> bool:
    return case.holds(case.usual)


def _share(of: Sequence[Case], holds: Callable[[Case], bool]) -> float:
    """The share of cases, of those whose target was reached later, for which the band holds."""
    found = [holds(case) for case in of if case.later]
    return float(np.mean(found)) if found else 1.0


def page(found: Sequence[Case], n_loops: int) -> str:
    """The measured part of docs/forecast.md."""
    names = [name for name in SETS if any(case.name == name for case in found)]
    reached = [case for case in found if case.later]
    lines = [
        f"{len(found):,} forecasts of {n_loops} loops over {len(names)} sets, {DRAWS} draws of the test items each, at "
        f"{', '.join(map(str, MOMENTS))} labels with as many test answers. {len(reached)} of the targets were reached "
        f"later, {sum(case.reached for case in found) - len(reached)} were reached already (though the reading said "
        "no), the others never within the loop's 500 labels.\n",
        "How often the band holds, where the target was reached later:\n",
        "| set | targets reached later | usual 80 % band | 10 – 90 % of our curves | our band "
        "| tail by the other sets | with that tail |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        own, others = [case for case in found if case.name == name], [case for case in found if case.name != name]
        tail = measured_tail(others)
        cells = [_share(own, _usual), *(_share(own, _ours(each)) for each in (0.1, TAIL))]
        told = " | ".join(f"{cell:.0%}" for cell in cells)
        n = sum(case.later for case in own)
        lines.append(f"| {name} | {n} | {told} | {tail:g} | {_share(own, _ours(tail)):.0%} |")
    cells = [_share(found, _usual), *(_share(found, _ours(each)) for each in (0.1, TAIL))]
    lines.append(
        f"| all | {len(reached)} | {' | '.join(f'{cell:.0%}' for cell in cells)} | {measured_tail(found):g} | |"
    )
    widths = [np.median([band.high - band.low for band in bands if band]) for bands in _bands(reached)]
    lines.append(f"\nHalf of the usual bands are narrower than {widths[0]:.0f} labels, of ours than {widths[1]:.0f}.\n")
    return "\n".join([*lines, *_chances(found)]) + "\n"


def _bands(of: Sequence[Case]) -> tuple[list[Band | None], list[Band | None]]:
    return [case.usual for case in of], [case.ours[TAIL] for case in of]


def _chances(found: Sequence[Case]) -> Iterator[str]:
    """How often a target was never reached, by the chance that was told."""
    yield "How often a target was out of reach, by the chance that was told:\n"
    yield "| told | usual: forecasts | out of reach | ours: forecasts | out of reach |"
    yield "| --- | --- | --- | --- | --- |"
    edges = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0 + 1e-9)
    never = np.array([not case.reached for case in found])
    told = [np.array([case.usual_chance for case in found]), np.array([case.chance for case in found])]
    for low, high in pairwise(edges):
        cells = []
        for chances in told:
            inside = (chances >= low) & (chances < high)
            cells += [f"{inside.sum()}", f"{never[inside].mean():.0%}" if inside.any() else "–"]
        yield f"| {low:.0%} – {min(high, 1.0):.0%} | {' | '.join(cells)} |"
    scores = [np.mean((chances - never) ** 2) for chances in told]
    yield f"\nBrier score of these chances: {scores[0]:.3f} the usual, {scores[1]:.3f} ours (smaller is better)."


def _jobs(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    return [(name, seed) for seed in range(arguments.loops) for name in arguments.sets]


def _run(arguments: argparse.Namespace) -> None:
    started, jobs = time.monotonic(), _jobs(arguments)
    for number, (name, seed) in enumerate(jobs, 1):
        trained(name, seed, arguments.data)
        print(f"{name} {seed}: {number} of {len(jobs)}, {(time.monotonic() - started) / 60:.1f} min", flush=True)


def _report(arguments: argparse.Namespace) -> None:
    jobs = _jobs(arguments)
    loops = [trained(name, seed, arguments.data) for name, seed in jobs]
    text = page([case for known in loops for draw in range(DRAWS) for case in cases(known, draw)], len(loops))
    if not arguments.write:
        print(text)
        return
    before, _, rest = arguments.write.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    arguments.write.write_text(before + START + text + END + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train the loops that are not kept yet")
    report = commands.add_parser("report", help="the tables, from the loops")
    quick = commands.add_parser("quick", help="the tables of two loops that need no files")
    report.add_argument("--write", type=Path, help="the page whose measured part is written")
    for command, work, sets, loops in ((run, _run, SETS, 10), (report, _report, SETS, 10), (quick, _report, None, 1)):
        command.set_defaults(command=work)
        command.add_argument("--data", type=Path, default=DATA, help="the folder of the sets that are files")
        command.add_argument("--sets", nargs="+", choices=SETS, default=list(sets or ("digits-lr", "clouds")))
        command.add_argument("--loops", type=int, default=loops, help="loops of each set")
    quick.set_defaults(write=None)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
