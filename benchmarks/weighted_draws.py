"""Would drawing test items by what the model thinks of them make the proof of a rare-class metric cheaper?

    python benchmarks/weighted_draws.py

Test items come in random order, and each is asked about with a probability that depends on its prediction alone: surely
if it is predicted as the class, else four times its probability of the class, and never below a floor. What is asked
weighs as much more as it was less probable, so that means stay unbiased, and a bound by betting stays valid. Beside it:
as many items without a choice, bounded by betting, and by the exact bound that looks use. Populations are simulated
(calibrated models of two classes) or real (logistic regression on 200 labels, all other rows of the set).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import intervals
import label_sets
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from active_loop.evaluate import metric_for, ratio_lower_bound
from active_loop.settings import TargetSettings
from active_loop.tasks import SingleChoice

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
TASK = SingleChoice(("common", "rare"))
LEVEL = 0.025
SIZES = (160, 240, 400)
FLOORS = (0.1, 0.25, 0.5)
BELOW = 0.1
"""How far the target is below the truth."""

METRICS = ("f1", "recall")
Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Population:
    """Truth (n,) and probabilities of the rare class (n,) under one model."""

    name: str
    truth: NDArray[np.int64]
    p: Reals

    @property
    def predicted(self) -> NDArray[np.bool_]:
        return self.p >= 0.5

    def asked(self, floor: float) -> Reals:
        """(n,) the probability with which each item is asked about."""
        return np.clip(np.where(self.predicted, 1.0, 4 * self.p), floor, 1.0)

    def counted(self, metric: str) -> tuple[Reals, Reals]:
        """(n,) gains and losses whose means make the metric: gain / (gain + loss)."""
        right, missed = self.predicted & (self.truth == 1), ~self.predicted & (self.truth == 1)
        if metric == "recall":
            return right.astype(np.float64), missed.astype(np.float64)
        return 2.0 * right, (missed | (self.predicted & (self.truth == 0))).astype(np.float64)


def populations(folder: Path) -> Iterator[Population]:
    for share, quality in ((0.1, 0.95), (0.1, 0.98), (0.05, 0.98)):
        truth, p = intervals.sample(TASK, 200_000, share, quality, np.random.default_rng(0))
        yield Population(f"simulated, {100 * share:g} %", truth.astype(np.int64), p[:, 1])
    for name in ("sms_spam", "sick"):
        table = label_sets.load(label_sets.DATA_SETS[name], folder)
        order = np.random.default_rng(0).permutation(len(table.X))
        rare = int(np.argmin(np.bincount(table.y.astype(np.int64))))
        truth, known, rest = (table.y == rare).astype(np.int64), order[:200], order[200:]
        model = LogisticRegression(C=10, max_iter=2000).fit(table.X[known], truth[known])
        yield Population(name, truth[rest], model.predict_proba(table.X[rest])[:, 1])


def bounds(population: Population, metric: str, m: int, rng: np.random.Generator) -> list[float]:
    """Of one sample of m asked items: the exact bound, that by betting, and those by betting at each floor."""
    gains, losses = population.counted(metric)
    at = rng.integers(0, len(gains), size=m)
    predictions = np.column_stack([1 - population.p, population.p])[at]
    exact = metric_for(TASK, TargetSettings(metric=metric)).claim(population.truth[at], predictions, 0.5, LEVEL, rng)
    found = [exact.bound, ratio_lower_bound(gains[at], losses[at], 1.0, LEVEL)]
    for floor in FLOORS:
        order, chance = rng.integers(0, len(gains), size=int(m / floor)), population.asked(floor)
        kept = order[rng.random(len(order)) < chance[order]][:m]
        weight = 1 / chance[kept]
        found.append(ratio_lower_bound(gains[kept] * weight, losses[kept] * weight, 1 / floor, LEVEL))
    return found


def rows(samples: int, folder: Path) -> Iterator[str]:
    for population in populations(folder):
        for metric in METRICS:
            gains, losses = (float(part.mean()) for part in population.counted(metric))
            truth = gains / (gains + losses)
            for m in SIZES:
                rng = np.random.default_rng([m, 7])
                found = np.array([bounds(population, metric, m, rng) for _ in range(samples)])
                proven = np.mean(found >= truth - BELOW, axis=0)
                yield (
                    f"| {population.name} | {metric} {truth:.3f} | {m} | "
                    + " | ".join(f"{100 * share:.0f}" for share in proven)
                    + f" | {100 * np.mean(found > truth, axis=0).max():.1f} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    drawn = " | ".join(f"asked by the model, floor {floor:g}" for floor in FLOORS)
    print(f"| items | truth | m | exact bound | betting | {drawn} | false, % |")
    print("| --- " * (6 + len(FLOORS)) + "|")
    for row in rows(arguments.samples, arguments.data):
        print(row, flush=True)


if __name__ == "__main__":
    main()
