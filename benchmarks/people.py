"""What several people's labels are worth, on real data whose truth is known and with people who are simulated.

    python benchmarks/people.py merged     # labels right after merging, by rule and answers per item
    python benchmarks/people.py again      # a budget of answers: new items only, or some items a second time
    python benchmarks/people.py suspects   # labels that look wrong: how many are, how many of the wrong are found

Five people: two are wrong half as often as the noise says, two as often, and the fifth names any class. Who is wrong
names one class more often than another, by a habit of one's own. Without noise all five are right. With `--alike`, and
always for suspects, all are wrong as often as the noise says. What a person would say of an item is drawn once per
seed, so that rules and ways are compared on the same answers, in pairs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import label_sets
import numpy as np
from label_models import fitted
from label_sets import DATA_SETS, DataSet, Reals, Rows, Split
from scipy import stats

from active_loop import consensus, quality
from active_loop.consensus import Votes
from active_loop.domain import Consensus
from active_loop.tasks import majority

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

SETS = ("trec6", "adult", "mnist10k")
NOISE = (0.0, 0.1, 0.2, 0.3)
SLIGHT = (0.0, 0.02, 0.05, 0.1, 0.2)
"""The noise where labels are suspected: few lists are looked through where a fifth of all labels is wrong."""

PEOPLE = 5
FOLDS = 5

ITEMS = 400
"""Items with labels, where labels are merged or suspected."""

ANSWERS = (1.2, 2.0, 3.0)
"""Answers per item, where labels are merged."""

BUDGET, START, BATCH = 300, 50, 25
"""Answers in all, to the first items, and of a round, where items are asked about again."""

SHARE = 0.2
"""Of a batch that may ask again."""

MOST = 3
"""Answers to one item."""


@dataclass(frozen=True, slots=True)
class World:
    """A split of a set, and what each person would say (people, n_pool) about each item of its pool."""

    data_set: DataSet
    split: Split
    said: Rows
    order: Rows
    """(n_pool, people) in which order people come to an item."""
    seed: int

    @classmethod
    def of(cls, name: str, folder: Path, noise: float, seed: int, alike: bool = False) -> World:
        """People are wrong as the module says, or all equally often."""
        data_set = DATA_SETS[name]
        split = label_sets.split(data_set, label_sets.load(data_set, folder), seed)
        rng = np.random.default_rng([seed, round(100 * noise)])
        wrong = [noise] * PEOPLE if alike else _wrong(noise, split.n_outputs)
        said = np.array([_said(split.y, each, split.n_outputs, rng) for each in wrong])
        order = rng.permuted(np.tile(np.arange(PEOPLE), (len(split.y), 1)), axis=1)
        return cls(data_set, split, said, order, seed)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"{code:02d}" for code in range(self.split.n_outputs))

    def votes(self, times: Mapping[int, int]) -> dict[int, dict[str, str]]:
        """item → person → label, of items that were answered so many times."""
        return {
            item: {str(who): self.classes[self.said[who, item]] for who in self.order[item, :n]}
            for item, n in times.items()
        }

    def predictions(self, labels: Mapping[int, str], rows: Rows) -> Reals:
        """What the model says of these rows of the pool, or of the test rows, after these labels."""
        return self.model(labels)(self.split.X[rows])

    def model(self, labels: Mapping[int, str]) -> Callable[[Reals], Reals]:
        known = np.array([*labels], dtype=np.int64)
        codes = np.array([int(label) for label in labels.values()], dtype=np.int64)
        predict = fitted(self.data_set, self.split.X[known], codes, self.split.n_outputs, self.seed)
        return lambda X: predict(X).mean(axis=0)

    def held_out(self, labels: Mapping[int, str], items: Sequence[int]) -> dict[int, Reals]:
        """What models say of each item that did not learn from its label, by cross-validation."""
        place = np.random.default_rng([self.seed, len(items)]).permutation(len(items)) % FOLDS
        found: dict[int, Reals] = {}
        for fold in range(FOLDS):
            out = [item for item, at in zip(items, place, strict=True) if at == fold]
            rest = {item: label for item, label in labels.items() if item not in set(out)}
            found.update(zip(out, self.predictions(rest, np.array(out)), strict=True))
        return found

    def accuracy(self, labels: Mapping[int, str]) -> float:
        return float(np.mean(self.model(labels)(self.split.X_test).argmax(axis=1) == self.split.y_test))


def _wrong(noise: float, n_classes: int) -> list[float]:
    if not noise:
        return [0.0] * PEOPLE
    return [noise / 2, noise / 2, noise, noise, 1 - 1 / n_classes]


def _said(y: Rows, wrong: float, n_classes: int, rng: np.random.Generator) -> Rows:
    """What somebody says of items of these classes, who is wrong so often."""
    habit = rng.dirichlet(np.ones(n_classes - 1), size=n_classes)
    answers = y.copy()
    for item in np.flatnonzero(rng.random(len(y)) < wrong):
        answers[item] = np.delete(np.arange(n_classes), y[item])[rng.choice(n_classes - 1, p=habit[y[item]])]
    return answers


def labels_of(found: Mapping[int, Consensus]) -> dict[int, str]:
    return {item: each.label for item, each in sorted(found.items()) if each.label is not None}


def by_majority(votes: Votes) -> dict[int, Consensus]:
    return {item: majority([*given.values()]) for item, given in votes.items()}


Chances = Callable[[], dict[int, Reals]]
"""Held-out predictions of the items with votes, worked out when they are called for."""


def chances(world: World, votes: Votes) -> Chances:
    return cache(lambda: world.held_out(labels_of(by_majority(votes)), [*votes]))


Rule = Callable[[World, Votes, Chances], Mapping[int, Consensus]]
"""What the items come to that have two votes or more."""


def by_dawid_skene(world: World, votes: Votes, held_out: Chances) -> dict[int, Consensus]:
    return consensus.settle(votes, world.classes)


def by_crowdlab(world: World, votes: Votes, held_out: Chances) -> dict[int, Consensus]:
    return quality.settle(votes, {item: held_out()[item] for item in votes}, world.classes)


RULES: dict[str, Rule] = {
    "majority": lambda world, votes, held_out: by_majority(votes),
    "dawid_skene": by_dawid_skene,
    "crowdlab": by_crowdlab,
}


def settled(world: World, votes: Votes, rule: str, held_out: Chances) -> dict[int, Consensus]:
    several = {item: given for item, given in votes.items() if len(given) > 1}
    return by_majority(votes) | (dict(RULES[rule](world, several, held_out)) if several else {})


def merged(arguments: argparse.Namespace) -> Iterator[str]:
    """Shares of the items with two answers or more whose label is right, and that have none."""
    yield "| set | noise | answers per item | " + " | ".join(f"{rule}: right, disputed" for rule in RULES) + " |"
    yield "| --- " * (3 + len(RULES)) + "|"
    for name in arguments.sets:
        for noise in arguments.noise or NOISE:
            for answers in ANSWERS:
                worlds = [
                    World.of(name, arguments.data, noise, seed, arguments.alike) for seed in range(arguments.seeds)
                ]
                found = np.array([[_judged(world, answers, rule) for rule in RULES] for world in worlds])
                cells = []
                for place in range(len(RULES)):
                    right, none = 100 * found[:, place].mean(axis=0)
                    gain = _interval(100 * (found[:, place, 0] - found[:, 0, 0])) if place else ""
                    cells.append(f"{right:.1f}, {none:.1f} {gain}".strip())
                yield f"| {name} | {100 * noise:.0f} % | {answers:g} | " + " | ".join(cells) + " |"


def _judged(world: World, answers: float, rule: str) -> tuple[float, float]:
    rng = np.random.default_rng([world.seed, 3])
    items = rng.permutation(len(world.split.y))[:ITEMS]
    times = {int(item): int(answers) + int(rng.random() < answers % 1) for item in items}
    votes = world.votes(times)
    found = settled(world, votes, rule, chances(world, votes))
    several = [item for item, n in times.items() if n > 1]
    right = [found[item].label == world.classes[world.split.y[item]] for item in several]
    return float(np.mean(right)), float(np.mean([found[item].label is None for item in several]))


def _margin(proba: Reals) -> Reals:
    two = np.sort(proba, axis=1)[:, -2:]
    margin: Reals = two[:, 1] - two[:, 0]
    return margin


Again = Callable[[World, Votes, Chances, Reals, np.random.Generator], list[int]]
"""Which items to ask about again, the most wanted first, of those that have votes."""


def nothing(world: World, votes: Votes, held_out: Chances, chosen: Reals, rng: np.random.Generator) -> list[int]:
    return []


def anything(world: World, votes: Votes, held_out: Chances, chosen: Reals, rng: np.random.Generator) -> list[int]:
    return [int(item) for item in rng.permutation([*votes])]


def doubtful(world: World, votes: Votes, held_out: Chances, chosen: Reals, rng: np.random.Generator) -> list[int]:
    return quality.doubtful(votes, held_out(), chosen, BATCH, world.classes)


WAYS: dict[str, Again] = {"new only": nothing, "any again": anything, "doubtful again": doubtful}


def spent(world: World, again: Again) -> tuple[float, float]:
    """Test accuracy once the budget is spent, by margin, and the share of the answers that were not first ones.

    Labels are those of the majority.
    """
    rng = np.random.default_rng([world.seed, 4])
    times = dict.fromkeys((int(item) for item in rng.permutation(len(world.split.y))[:START]), 1)
    while True:
        votes = world.votes(times)
        held_out = chances(world, votes)
        labels = labels_of(by_majority(votes))
        if sum(times.values()) >= BUDGET:
            return world.accuracy(labels), 1 - len(times) / sum(times.values())
        rest = np.setdiff1d(np.arange(len(world.split.y)), [*times])
        proba = world.predictions(labels, rest)
        new = np.argsort(_margin(proba), kind="stable")[:BATCH]
        asked = [item for item in again(world, votes, held_out, proba[new], rng) if times[item] < MOST][
            : round(SHARE * BATCH)
        ]
        for item in asked:
            times[item] += 1
        times |= dict.fromkeys((int(item) for item in rest[new[: BATCH - len(asked)]]), 1)


def again(arguments: argparse.Namespace) -> Iterator[str]:
    """Test accuracy after `BUDGET` answers, in %, and what each way changes of it, paired."""
    yield "| set | noise | new only | " + " | ".join(name for name in WAYS if name != "new only") + " |"
    yield "| --- " * (2 + len(WAYS)) + "|"
    for name in arguments.sets:
        for noise in arguments.noise or NOISE:
            worlds = [World.of(name, arguments.data, noise, seed, arguments.alike) for seed in range(arguments.seeds)]
            found = np.array([[spent(world, way) for way in WAYS.values()] for world in worlds])
            gains = [
                f"{_interval(100 * (found[:, place, 0] - found[:, 0, 0]))} ({100 * found[:, place, 1].mean():.0f} %)"
                for place in range(1, len(WAYS))
            ]
            yield f"| {name} | {100 * noise:.0f} % | {100 * found[:, 0, 0].mean():.1f} | " + " | ".join(gains) + " |"


def suspects(arguments: argparse.Namespace) -> Iterator[str]:
    """Of items with one label each, chosen at random or by margin: how many are listed, and how rightly."""
    yield "| set | noise | chosen | wrong labels | listed | of these wrong | of the wrong, listed |"
    yield "| --- " * 7 + "|"
    for name in arguments.sets:
        for noise in arguments.noise or SLIGHT:
            for chosen in ("random", "margin"):
                worlds = [World.of(name, arguments.data, noise, seed, alike=True) for seed in range(arguments.seeds)]
                wrong, listed, both = np.sum([_suspected(world, chosen) for world in worlds], axis=0)
                yield (
                    f"| {name} | {100 * noise:.0f} % | {chosen} | {100 * wrong / ITEMS / len(worlds):.1f} % | "
                    f"{100 * listed / ITEMS / len(worlds):.1f} % | {_percent(both, listed)} | {_percent(both, wrong)} |"
                )


def _suspected(world: World, chosen: str) -> tuple[int, int, int]:
    """Labels that are wrong, that are listed, and that are both."""
    rng = np.random.default_rng([world.seed, 5])
    order = rng.permutation(len(world.split.y))
    labels = _labels(world, order[: ITEMS if chosen == "random" else START])
    while len(labels) < ITEMS:
        rest = np.setdiff1d(order, [*labels])
        new = rest[np.argsort(_margin(world.predictions(labels, rest)), kind="stable")[:BATCH]]
        labels |= _labels(world, new)
    wrong = {item for item, label in labels.items() if label != world.classes[world.split.y[item]]}
    proba = world.held_out(labels, [*labels])
    listed = {suspect.item for suspect in quality.suspects(labels, proba, world.split.X, world.classes)}
    return len(wrong), len(listed), len(wrong & listed)


def _labels(world: World, items: Rows) -> dict[int, str]:
    return {
        item: label for item, given in world.votes(dict.fromkeys(items.tolist(), 1)).items() for label in given.values()
    }


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _interval(values: Reals) -> str:
    """The mean with its 95 % interval by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.1f} ± {half:.1f}"


PARTS = {"merged": merged, "again": again, "suspects": suspects}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--alike", action="store_true")
    parser.add_argument("--noise", nargs="+", type=float, default=())
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for row in PARTS[arguments.part](arguments):
        print(row, flush=True)


if __name__ == "__main__":
    main()
