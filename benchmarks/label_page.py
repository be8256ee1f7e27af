"""The page of the label-efficiency benchmark, written from its curves."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from label_peers import REQUIREMENTS
from label_plot import svg
from label_report import LEVEL, OURS, Compared, Curves, Difference, best_of_peers, holm, labels_to
from label_sets import LU

HEAD = """# Label efficiency

How good a model is after so many labels, for every query strategy, beside a random choice and beside other libraries.
This page is written by `python benchmarks/label_efficiency.py report --write docs/label-efficiency.md`, from the curves
that `python benchmarks/label_efficiency.py run` makes.

Everything but the choice of the next batch is common to all: the sets, the splits, the model that is pinned to each
set, the batches and the seeds, by which everything is paired: {n} from {start} on, by
which nothing in this library was chosen. A pool has at most {pool} items. An area is the
area under the curve of the set's measure over the number of labels, divided by their range, in percent; differences are
in points, with 95 % intervals of Student's t over the seeds; p values are of paired t tests, corrected by Holm over
the sets.

`random` and `random+margin` start from random items, as do the peers that have no cold start of their own;
`kmeans+random` and all strategies of ours that need a model start from our cold start, k-means; the others choose their
first batch themselves. Committees have 5 bootstrap members, and the model that is scored is the single one all the
same; there are none of RBF machines, where they would take most of the time. A peer's best strategy for a set is chosen
on seeds {first} to {last}, and compared with `{default}` on those {n}.

modAL's expected error reduction is not among them: modAL 0.4.2.1 cannot load it with current numpy.
Python {python}, {libraries}; {peers}.{mixed}"""

RANDOM_TEXT = """Areas in percent. "Labels for random's end": the labels after which the default's mean curve is first
where random's is with all labels; `inf` if it never is."""

PEERS_TEXT = """Every peer with the strategy that did best for it on other seeds, set by set; several were tried each
time, which favours the peers."""

LU_TEXT = """breast_cancer, standardised; an RBF SVM as scikit-learn has it; 40 % for testing; 20 labels to start with,
then one at a time until the pool is exhausted. Published, from a random start: random 0.9539, margin 0.9652
(arXiv 2306.08954)."""

BY_SET_TEXT = """Strategies by area, on seeds {first} to {last}, by which the rule of the default was last revised. The
last column is wall time on a machine that did other things: a hint at most."""


STARTS = ("random", "kmeans+random", "random+margin", "margin")
"""What the default is shown beside: how much of it is the cold start, how much the choice."""

PICTURED = "scikit-activeml"
"""The peer whose best strategy is in the picture."""


@dataclass(frozen=True, slots=True)
class Page:
    """The report of a run: `default` is the strategy of ours that is held against the others.

    `seeds` are those of the comparison, `choosing` those on which a peer's best is found, `survey` those on which every
    strategy of ours was run; `left_out` are strategies of
    ours that were not run, and why.
    """

    curves: Curves
    default: str
    seeds: range
    choosing: range
    survey: range
    left_out: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The whole page, as Markdown."""
        parts = [self.head(), self.figures(), self.against_random(), self.against_peers(), self.losses()]
        parts += [self.lu(), replace(self, seeds=self.survey).by_set(), self.failures()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def picture(self) -> str:
        """Mean curves on the digits, as SVG; "" where they were not run."""
        best = best_of_peers(self.curves, self.choosing)
        panels = {}
        for name in (name for name in self.sets if name.startswith("digits")):
            wanted = [(OURS, strategy) for strategy in dict.fromkeys((*STARTS, self.default))]
            wanted += [
                (peer, best[name, peer]) for peer in self.curves.peers() if peer == PICTURED and (name, peer) in best
            ]
            there = [(by, strategy) for by, strategy in wanted if self.areas(name, strategy, by)]
            panels[name] = {
                strategy if by == OURS else f"{by} (its best)": self.curves.mean_curve(name, by, strategy, self.seeds)
                for by, strategy in there
            }
        return svg(panels) if panels else ""

    @property
    def sets(self) -> list[str]:
        """The sets on which the default and random have curves, the protocol of Lu et al. apart."""
        return [
            name for name in self.curves.sets if name != LU.name and self.areas(name, self.default) and self.areas(name)
        ]

    def areas(self, data_set: str, name: str = "random", by: str = OURS, measure: str = "") -> dict[int, float]:
        """The areas of a strategy on the seeds of the comparison."""
        return self.curves.areas(data_set, by, name, self.seeds, measure)

    def corrected(self, sets: Sequence[str], others: Mapping[str, Mapping[int, float]], ours: str = "") -> Compared:
        """The default (or another strategy of ours) minus the others' areas on these sets, with Holm's p values."""
        found = [Difference.of(self.areas(name, ours or self.default), others[name]) for name in sets]
        return dict(zip(sets, zip(found, holm([each.p for each in found]), strict=True), strict=True))

    def over_random(self, ours: str = "") -> Compared:
        """A strategy of ours against random, on every set on which it has curves."""
        sets = [name for name in self.sets if self.areas(name, ours or self.default)]
        return self.corrected(sets, {name: self.areas(name) for name in sets}, ours)

    def over_peers(self) -> dict[str, Compared]:
        """The default against each peer's best strategy, corrected over the sets of that peer."""
        best = best_of_peers(self.curves, self.choosing)
        found = {}
        for peer in self.curves.peers():
            theirs = {n: self.areas(n, best[n, peer], peer) for n in self.sets if (n, peer) in best}
            theirs = {name: areas for name, areas in theirs.items() if areas}
            found[peer] = self.corrected(list(theirs), theirs)
        return found

    def head(self) -> str:
        """What was measured, and how."""
        states = self.curves.states()
        mixed = (
            f" The curves of ours come from {len(states)} states of the code: make them again." if states[1:] else ""
        )
        libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "numpy", "modAL-python"))
        peers = ", ".join(needed.replace("==", " ") for needed in REQUIREMENTS.values() if needed)
        pools = sorted({data_set.pool for data_set in self.curves.sets.values()})
        return HEAD.format(
            n=len(self.seeds), pool=" or ".join(map(str, pools)), python=platform.python_version(),
            libraries=libraries, peers=peers, start=self.seeds.start, first=self.choosing.start,
            last=self.choosing.stop - 1, default=self.default, mixed=mixed,
        )  # fmt: skip

    def figures(self) -> str:
        """The figures that were to be reached, with what was found."""
        rows = []
        random = self.over_random()
        below = [name for name, (difference, p) in random.items() if p < LEVEL and difference.mean < 0]
        rows.append((f"`{self.default}` significantly below random", "on no set", _listed(below, "no set"), not below))
        for name, target, most in (("digits-lr", 0.9, 45), ("digits-lr", 0.93, 85), ("digits-svm", 0.98, 200)):
            if name in self.sets:
                found = labels_to(*self.curves.mean_curve(name, OURS, self.default, self.seeds), target)
                rows.append((f"labels to {100 * target:g} % on {name}", f"≤ {most}", f"{found:.0f}", found <= most))
        lu = self.areas(LU.name, self.default) if LU.name in self.curves.sets else {}
        if lu:
            mean = float(np.mean(list(lu.values())))
            rows.append(("area under the protocol of Lu et al.", "> 0.966", f"{mean:.4f}", mean > 0.966))
        for peer, compared in self.over_peers().items():
            ahead, behind = _counts(compared)
            rows.append((
                f"against the best of {peer}: sets ahead, behind", "at least half, none",
                f"{len(ahead)} of {len(compared)}, {len(behind)}", 2 * len(ahead) >= len(compared) and not behind,
            ))  # fmt: skip
        table = _table(
            ("figure", "to reach", "found", "reached"), [(*row[:3], "yes" if row[3] else "**no**") for row in rows]
        )
        return f"## Figures to reach\n\n{table}"

    def against_random(self) -> str:
        """The default beside random, and what of it is the cold start."""
        rows = []
        for name, (difference, p) in self.over_random().items():
            data_set = self.curves.sets[name]
            labels, random = self.curves.mean_curve(name, OURS, "random", self.seeds)
            needed = labels_to(*self.curves.mean_curve(name, OURS, self.default, self.seeds), random[-1])
            means = [_mean(self.areas(name, other)) for other in (*STARTS, self.default)]
            rows.append(
                (name, f"{data_set.measure}, {labels[0]}–{labels[-1]}", *means, difference, _p(p), f"{needed:.0f}")
            )
        names = [f"`{name}`" for name in (*STARTS, self.default)]
        head = ("set", "measure, labels", *names, "default − random", "p (Holm)", "labels for random's end")
        picture = "\n\n![Mean accuracy on the digits against the number of labels](label-efficiency.svg)"
        shown = picture if any(name.startswith("digits") for name in self.sets) else ""
        return f"## Against random\n\n{RANDOM_TEXT}\n\n{_table(head, rows)}{shown}"

    def against_peers(self) -> str:
        """The default beside each peer's best strategy."""
        best = best_of_peers(self.curves, self.choosing)
        parts = []
        for peer, compared in self.over_peers().items():
            rows = []
            for name, (difference, p) in compared.items():
                theirs = best[name, peer]
                means = _mean(self.areas(name, theirs, peer)), _mean(self.areas(name, self.default))
                rows.append((name, f"`{theirs}`", *means, difference, _p(p)))
            head = ("set", "its best strategy", "its area", "our area", "ours − its", "p (Holm)")
            parts.append(f"### {peer}\n\n{_table(head, rows)}")
        return f"## Against other libraries\n\n{PEERS_TEXT}\n\n" + "\n\n".join(parts) if parts else ""

    def losses(self) -> str:
        """Where the default is behind in the mean, significant or not, and where another strategy of ours beats it."""
        behind = [
            f"* {name}, {other}: {difference}, p {_p(p)}"
            for other, compared in {"random": self.over_random(), **self.over_peers()}.items()
            for name, (difference, p) in compared.items()
            if difference.mean < 0
        ]
        surveyed = replace(self, seeds=self.survey)
        for name in self.sets:
            others = {o: surveyed.areas(name, o) for o in self.curves.strategies(name, OURS) if o != self.default}
            better = [o for o, areas in others.items() if _ahead(areas, surveyed.areas(name, self.default))]
            if better:
                listed = _listed([f"`{o}`" for o in better])
                behind.append(f"* {name}: {listed} of our own (seeds of the survey; p < 0.05, not corrected)")
        text = "\n".join(behind) or "Nowhere in this run."
        return f"## Where the default is behind\n\n{text}"

    def lu(self) -> str:
        """The published protocol."""
        names = self.curves.strategies(LU.name, OURS) if LU.name in self.curves.sets else []
        if not names:
            return ""
        rows = []
        for name in names:
            areas = self.areas(LU.name, name)
            difference = Difference.of(areas, self.areas(LU.name))
            spread = float(np.std(list(areas.values()), ddof=1)) if len(areas) > 1 else 0.0
            rows.append((f"`{name}`", f"{np.mean(list(areas.values())):.4f} ± {spread:.4f}", difference, len(areas)))
        table = _table(("strategy", "area ± standard deviation", "against random, points", "seeds"), rows)
        return f"## The protocol of Lu et al. (2023)\n\n{LU_TEXT}\n\n{table}"

    def by_set(self) -> str:
        """Every strategy on every set."""
        corrected = {
            name: self.over_random(name) for name in {s for d in self.sets for s in self.curves.strategies(d, OURS)}
        }
        absent = "; ".join(f"`{name}` ({why})" for name, why in self.left_out.items())
        parts = [
            "## All strategies, set by set",
            BY_SET_TEXT.format(first=self.seeds.start, last=self.seeds.stop - 1)
            + (f" Not run: {absent}." if absent else ""),
        ]
        for name in self.sets:
            parts.append(f"### {name}\n\n{self._ours(name, corrected)}")
            peers = self._peers(name)
            if peers:
                parts.append(peers)
        return "\n\n".join(parts)

    def _ours(self, name: str, corrected: Mapping[str, Compared]) -> str:
        data_set = self.curves.sets[name]
        end = self.curves.mean_curve(name, OURS, "random", self.seeds)[1][-1]
        targets = [*data_set.targets, end]
        rows = []
        for strategy in self.curves.strategies(name, OURS):
            runs = self.curves.runs(name, OURS, strategy, self.seeds)
            if not runs:
                continue
            labels, values = self.curves.mean_curve(name, OURS, strategy, self.seeds)
            others = [m for m in runs[0].steps if m not in ("labels", data_set.measure)]
            means = [_mean(self.areas(name, strategy, measure=m)) for m in (data_set.measure, *others)]
            difference, p = corrected[strategy][name]
            to = [f"{labels_to(labels, values, target):.0f}" for target in targets]
            seconds = f"{np.median([record.seconds for record in runs]):.2f}"
            rows.append((f"`{strategy}`", *means, difference, _p(p), *to, f"{100 * values[-1]:.1f}", seconds))
        rows.sort(key=lambda row: -float(row[1]))
        to_names = [f"labels to {100 * target:g} %" for target in data_set.targets]
        head = ("strategy", f"area: {data_set.measure}", *(f"area: {m}" for m in others), "against random", "p (Holm)",
                *to_names, "to random's end", "end", "s a curve")  # fmt: skip
        return _table(head, rows)

    def _peers(self, name: str) -> str:
        found = [
            (f"{peer} `{strategy}`", _mean(areas))
            for peer in self.curves.peers()
            for strategy in self.curves.strategies(name, peer)
            if (areas := self.curves.areas(name, peer, strategy, self.choosing))
        ]
        found.sort(key=lambda row: -float(row[1]))
        listed = ", ".join(f"{label} {mean}" for label, mean in found)
        return f"Peers, area on seeds {self.choosing.start} to {self.choosing.stop - 1}: {listed}." if found else ""

    def failures(self) -> str:
        """What could not be run."""
        lines = sorted({f"* {e.data_set}, {e.by} `{e.strategy}`: {e.error}" for e in self.curves.errors})
        return "## What failed\n\n" + "\n".join(lines) if lines else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _mean(areas: Mapping[int, float]) -> str:
    return f"{100 * float(np.mean(list(areas.values()))):.2f}" if areas else "–"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _listed(names: Sequence[str], none: str = "") -> str:
    return ", ".join(names) or none


def _counts(compared: Compared) -> tuple[list[str], list[str]]:
    """The sets on which a comparison is significantly ahead, and those on which it is behind."""
    certain = {name: difference.mean for name, (difference, p) in compared.items() if p < LEVEL}
    return [name for name, mean in certain.items() if mean > 0], [name for name, mean in certain.items() if mean < 0]


def _ahead(theirs: Mapping[int, float], ours: Mapping[int, float]) -> bool:
    difference = Difference.of(theirs, ours)
    return difference.mean > 0 and difference.p < LEVEL
