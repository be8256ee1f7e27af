"""What learning curves say: areas, labels to a target, paired differences with intervals, and the page.

A comparison is made seed by seed on the same splits. The number compared is the area under the curve of a set's measure
over the number of labels, divided by their range: the mean of the measure while people label. p values are of paired
t tests, corrected by Holm over the sets of one comparison.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from label_sets import DataSet, Reals
from scipy import stats

OURS = "active-loop"
"""By whom a strategy of ours is, among the records."""

LEVEL = 0.05
"""A difference is called significant below this corrected p value."""

Best = dict[tuple[str, str], str]
"""(set, peer) → the peer's best strategy on it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One curve: which, and its steps (`labels` and each measure), or the error that ended it."""

    data_set: str
    protocol: str
    by: str
    strategy: str
    seed: int
    steps: Mapping[str, list[float]]
    seconds: float
    code: str
    error: str = ""

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Record:
        """A record from a line of the results."""
        rest = {name: line[name] for name in ("protocol", "by", "strategy", "seed", "seconds", "code")}
        return cls(data_set=line["set"], steps=line.get("steps", {}), error=line.get("error", ""), **rest)

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What it is a curve of; of two records with one key the later one counts."""
        return self.data_set, self.protocol, self.by, self.strategy, self.seed


def read(path: Path) -> list[Record]:
    """The records of the results, the last one of each curve; none without a file. A torn line is left out."""
    if not path.exists():
        return []
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = Record.of(json.loads(line))
        except json.JSONDecodeError:
            continue
        found[record.key] = record
    return list(found.values())


def area(steps: Mapping[str, list[float]], measure: str) -> float:
    """The area under a measure over the labels, by trapezoids, divided by the range of the labels.

    >>> area({"labels": [10, 20, 40], "accuracy": [0.0, 1.0, 1.0]}, "accuracy")
    0.8333333333333334
    """
    labels = np.asarray(steps["labels"], dtype=float)
    return float(np.trapezoid(steps[measure], labels) / (labels[-1] - labels[0]))


def labels_to(labels: Sequence[float], values: Sequence[float] | Reals, target: float) -> float:
    """The labels at which a curve first reaches the target, by a straight line between points; inf if it never does.

    >>> labels_to([10, 20, 30], [0.5, 0.8, 0.9], 0.85)
    25.0
    """
    reached = np.flatnonzero(np.asarray(values) >= target)
    if not reached.size:
        return float("inf")
    last = int(reached[0])
    if last == 0:
        return float(labels[0])
    rise = (target - values[last - 1]) / (values[last] - values[last - 1])
    return round(float(labels[last - 1] + rise * (labels[last] - labels[last - 1])), 6)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values after Holm's (1979) step-down correction, in their order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = running
    return corrected


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference: its mean, 95 % Student interval, p value of the t test, and the number of seeds."""

    mean: float
    low: float
    high: float
    p: float
    n: int

    @classmethod
    def of(cls, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
        """Ours minus theirs on the seeds that both have; p is 1 where all differences are 0."""
        differences = np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])
        n = len(differences)
        mean = float(differences.mean()) if n else float("nan")
        error = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
        if error == 0:
            return cls(mean, mean, mean, 0.0 if n > 1 and mean else 1.0, n)
        half = float(stats.t.ppf(0.975, n - 1)) * error
        return cls(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1)), n)

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} ({100 * self.low:+.2f} to {100 * self.high:+.2f})"


Compared = dict[str, tuple[Difference, float]]
"""Set → a paired difference, and its p value after Holm's correction over the sets."""


class Curves:
    """The records without errors of some sets, found by set, library and strategy; only those of today's protocol."""

    def __init__(self, records: Iterable[Record], sets: Mapping[str, DataSet]) -> None:
        self.sets = sets
        self._by_key: dict[tuple[str, str, str], dict[int, Record]] = defaultdict(dict)
        self.errors = []
        for record in records:
            if record.data_set not in sets or record.protocol != sets[record.data_set].protocol:
                continue
            if record.error:
                self.errors.append(record)
            else:
                self._by_key[record.data_set, record.by, record.strategy][record.seed] = record

    def strategies(self, data_set: str, by: str) -> list[str]:
        """The strategies of a library that have curves on a set, by name."""
        return sorted(name for its_set, its_by, name in self._by_key if (its_set, its_by) == (data_set, by))

    def seeds(self) -> set[int]:
        """The seeds of all curves."""
        return {seed for runs in self._by_key.values() for seed in runs}

    def states(self) -> list[str]:
        """The states of our code that the curves of ours were made with."""
        return sorted({r.code for (_, by, _), runs in self._by_key.items() if by == OURS for r in runs.values()})

    def peers(self) -> list[str]:
        """The other libraries that have curves."""
        return sorted({by for _, by, _ in self._by_key if by != OURS}, key=str.lower)

    def runs(self, data_set: str, by: str, name: str, seeds: range) -> list[Record]:
        """The records of a strategy on these seeds, by seed."""
        found = self._by_key.get((data_set, by, name), {})
        return [found[seed] for seed in sorted(found) if seed in seeds]

    def areas(self, data_set: str, by: str, name: str, seeds: range, measure: str = "") -> dict[int, float]:
        """The area of each seed, of the set's own measure or of another one."""
        measure = measure or self.sets[data_set].measure
        return {record.seed: area(record.steps, measure) for record in self.runs(data_set, by, name, seeds)}

    def mean_curve(self, data_set: str, by: str, name: str, seeds: range) -> tuple[list[float], Reals]:
        """The labels, and the mean of the set's measure over these seeds after so many of them."""
        runs = self.runs(data_set, by, name, seeds)
        values = np.mean([record.steps[self.sets[data_set].measure] for record in runs], axis=0)
        return runs[0].steps["labels"], values


def best_of_peers(curves: Curves, seeds: range) -> Best:
    """Each peer's strategy with the highest mean area on each set, over these seeds; the first by name of equals."""
    best: Best = {}
    for data_set in curves.sets:
        for peer in curves.peers():
            means = {
                name: float(np.mean(list(areas.values())))
                for name in curves.strategies(data_set, peer)
                if (areas := curves.areas(data_set, peer, name, seeds))
            }
            if means:
                best[data_set, peer] = max(means, key=lambda name: means[name])
    return best


def curves_text(curves: Curves, names: Sequence[str], seeds: range) -> str:
    """Mean curves, areas and paired differences to random on the only set, a line per strategy of ours, in percent."""
    (data_set,) = curves.sets.values()
    labels, _ = curves.mean_curve(data_set.name, OURS, "random", seeds)
    shown = np.unique(np.linspace(0, len(labels) - 1, min(10, len(labels))).round().astype(int))
    head = "".join(f"{labels[i]:>7}" for i in shown) + "".join(f"{f'to {100 * t:g}':>9}" for t in data_set.targets)
    reference = curves.areas(data_set.name, OURS, "random", seeds)
    lines = [
        f"{data_set.name}: {data_set.measure} of {data_set.model}, mean of {len(reference)} seeds",
        f"{'labels':<26}{head}{'area':>9}   against random (95 %)   s a curve",
    ]
    for name in names:
        _, values = curves.mean_curve(data_set.name, OURS, name, seeds)
        areas = curves.areas(data_set.name, OURS, name, seeds)
        points = "".join(f"{100 * values[i]:>7.1f}" for i in shown)
        points += "".join(f"{labels_to(labels, values, target):>9.0f}" for target in data_set.targets)
        seconds = np.mean([record.seconds for record in curves.runs(data_set.name, OURS, name, seeds)])
        difference = str(Difference.of(areas, reference))
        lines.append(f"{name:<26}{points}{100 * np.mean(list(areas.values())):>9.2f}  {difference:>24}{seconds:>9.2f}")
    return "\n".join(lines)
