"""What a random share of the batches shows: whether choosing was worth it, and what was left.

A loop may draw a share of each batch at random, from all that nobody had been asked about. Once it has stopped, two
models are fitted that differ in nothing but this: one learned from items that were chosen, the other from as many that
chance drew. Both are read on the same test answers. How far two models differ by luck alone is seen by dealing the same
labels out to two sides at random, again and again. Nothing here trains, asks or decides, and none of it is known before
the end; what was not measured is not claimed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .domain import COLD_START, Ask, Purpose, Round
from .evaluate import Codes, lower_bound, metric_for, upper_bound
from .language import say
from .settings import METRICS, TargetSettings, in_words, is_mixture, positive_class
from .tasks import Task

Reals = NDArray[np.float64]
Items = tuple[int, ...]

AT_RANDOM = "at random"
"""What a mixture says of a row that nothing but chance chose."""

FEWEST_LABELS = 20
"""Labels of either side, below which the two are not compared."""

FEWEST_TESTED = 30
"""Test answers below which they are not."""

DEALS = 39
"""Times the labels of both sides are dealt out at random: that none does as well has a chance of 1 in 40 by luck."""

_RESAMPLES = 2000

_CLASSES_NAMED = 3


@dataclass(frozen=True, slots=True)
class Arms:
    """Labelled pool items (positions) by what chose them, each in the order in which they were asked.

    `shared` came before there was a model: the cold start, and labels that came with the data.
    """

    shared: tuple[int, ...]
    chosen: tuple[int, ...]
    random: tuple[int, ...]

    @property
    def k(self) -> int:
        """How many items each side can be given, the same number for both."""
        return min(len(self.chosen), len(self.random))

    def sides(self, rng: np.random.Generator) -> list[tuple[Items, Items]]:
        """What pairs of models learn from, the shared items included.

        First the first k chosen items, and the first k random ones; then, `DEALS` times, two random halves of these 2k.
        """
        own = np.array([*self.chosen[: self.k], *self.random[: self.k]], dtype=np.int64)
        dealt = [own, *(rng.permutation(own) for _ in range(DEALS))]
        pairs = [(each[: self.k].tolist(), each[self.k :].tolist()) for each in dealt]
        return [((*self.shared, *first), (*self.shared, *second)) for first, second in pairs]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What people said of `n` items that chance drew from all that nobody had been asked about at that time.

    `right` of them were predicted right by the model of their round, before anybody answered; `classes` counts labels.
    """

    n: int = 0
    right: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metric where items were `chosen` and where chance drew them (`random`), on the same test answers.

    `gain` is what choosing won (below 0: lost), between `low` and `high` with 95 % confidence for these two models.
    `as_far` of `deals` random halves of the same labels differ as much, in the same direction.
    """

    chosen: float
    random: float
    gain: float
    low: float
    high: float
    as_far: int
    deals: int

    @property
    def is_luck(self) -> bool:
        """Whether two random sides differ so far more often than in 1 of 40 cases."""
        return 40 * (1 + self.as_far) > 1 + self.deals


@dataclass(frozen=True, slots=True)
class Control:
    """Two models with `k` labels of their own and `shared` common ones, read on `n` test answers.

    `metric` is in words. Where there is an `obstacle` nothing is `compared`.
    """

    metric: str
    k: int
    shared: int
    n: int
    drawn: Drawn
    compared: Comparison | None = None
    obstacle: str = ""

    @classmethod
    def made(cls, metric: str, found: Arms, n: int, drawn: Drawn, compared: Comparison | str) -> Control:
        """From a comparison, or from what stands against one."""
        known = {"obstacle": compared} if isinstance(compared, str) else {"compared": compared}
        return cls(metric, found.k, len(found.shared), n, drawn, **known)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Control:
        """What `as_dict` wrote."""
        compared = Comparison(**body["compared"]) if body["compared"] else None
        return cls(**{**body, "drawn": Drawn(**body["drawn"]), "compared": compared})


def is_random(ask: Ask) -> bool:
    """Whether nothing but chance chose the item, among all that nobody had been asked about."""
    from_model = ask.purpose == Purpose.POOL and ask.round != COLD_START
    return from_model and is_mixture(ask.strategy) and ask.why.get("drawn") == AT_RANDOM


def arms(asks: Sequence[Ask], labels: Mapping[int, str]) -> Arms:
    """The two sides, from all asks in their order and the labels of pool items; the first ask of an item counts."""
    first: dict[int, Ask] = {}
    for ask in asks:
        if ask.item in labels:
            first.setdefault(ask.item, ask)
    imported = [item for item in sorted(labels) if item not in first]
    started = [item for item, ask in first.items() if ask.round == COLD_START]
    asked = [(item, is_random(ask)) for item, ask in first.items() if ask.round != COLD_START]
    return Arms(
        shared=(*imported, *started),
        chosen=tuple(item for item, random in asked if not random),
        random=tuple(item for item, random in asked if random),
    )


def drawn(asks: Sequence[Ask], labels: Mapping[int, str]) -> Drawn:
    """What the labels say of the items that chance drew."""
    known = {ask.item: ask.why.get("predicted") for ask in asks if is_random(ask) and ask.item in labels}
    counts = Counter(labels[item] for item in known)
    right = sum(predicted == labels[item] for item, predicted in known.items())
    return Drawn(len(known), right, dict(sorted(counts.items())))


def obstacle(k: int, n: int, grouped: bool) -> str:
    """Why the two sides cannot be compared; empty if they can be."""
    return _too_few(k, n) or (_grouped() if grouped else "")


def _too_few(k: int, n: int) -> str:
    short = []
    if k < FEWEST_LABELS:
        short.append(say("there are {n} labels a side, and {fewest} are the fewest", n=k, fewest=FEWEST_LABELS))
    if n < FEWEST_TESTED:
        short.append(say("there are {n} test answers, and {fewest} are the fewest", n=n, fewest=FEWEST_TESTED))
    return "; ".join(short)


def _grouped() -> str:
    return say("items of one group are not independent, and an interval would be too narrow")


def compare(
    task: Task,
    target: TargetSettings,
    truth: Codes,
    chosen: Reals,
    random: Reals,
    rng: np.random.Generator,
) -> Comparison:
    """The two models on the same test answers, among the pairs that `Arms.sides` names.

    `truth` (n,) are the codes of the test answers, `chosen` and `random` (pairs, n, …) what the models of each pair
    predict, the measured pair first. The interval of accuracy is exact; of another metric it is that of 2,000 paired
    resamples. If chosen items are no other than random ones, all pairs are alike, and the first is the best of 40 with
    a chance of 1 in 40, or less where they tie (a permutation test: Fisher 1935).
    """
    metric, sign = metric_for(task, target), -1 if METRICS[target.metric].error else 1
    values = [(metric.value(truth, one), metric.value(truth, other)) for one, other in zip(chosen, random, strict=True)]
    gain, *dealt = (sign * (one - other) for one, other in values)
    as_far = sum(each >= gain if gain > 0 else each <= gain for each in dealt)
    low, high = _interval(task, target, truth, chosen[0], random[0], rng)
    return Comparison(*values[0], gain, low, high, as_far, len(dealt))


def _interval(
    task: Task, target: TargetSettings, truth: Codes, chosen: Reals, random: Reals, rng: np.random.Generator
) -> tuple[float, float]:
    """What choosing won, with 95 % confidence, for these two models."""
    metric, sign = metric_for(task, target), -1 if METRICS[target.metric].error else 1
    if target.metric in ("accuracy", "subset_accuracy"):
        first, second = _right(task, truth, chosen), _right(task, truth, random)
        return paired_interval(int(np.sum(first & ~second)), int(np.sum(second & ~first)), len(truth))
    picks = rng.integers(0, len(truth), size=(_RESAMPLES, len(truth)))
    gains = [metric.value(truth[pick], chosen[pick]) - metric.value(truth[pick], random[pick]) for pick in picks]
    low, high = np.quantile(sign * np.array(gains), [0.025, 0.975])
    return float(low), float(high)


def paired_interval(won: int, lost: int, n: int) -> tuple[float, float]:
    """The difference of two shares of the same n items, with an error of at most 0.05: exact, whatever n.

    `won` items are right on the first side alone, `lost` on the second alone. The difference is ψ·(2θ - 1): ψ is the
    share of items on which the sides differ, and θ the share of those that the first side wins, which is binomial given
    their number (McNemar 1947). Both have exact bounds (Clopper & Pearson 1934): θ with 0.02 on either side, ψ with
    0.0025, which add up to 0.025 for each end.

    >>> [round(end, 3) for end in paired_interval(16, 2, 160)], [round(end, 3) for end in paired_interval(0, 0, 160)]
    ([0.015, 0.195], [-0.037, 0.037])
    """
    differing = won + lost
    share = lower_bound(differing, n, 0.0025), upper_bound(differing, n, 0.0025)
    ahead = lower_bound(won, differing, 0.02), upper_bound(won, differing, 0.02)
    low, high = 2 * ahead[0] - 1, 2 * ahead[1] - 1
    return low * share[low < 0], high * share[high > 0]


def named(target: TargetSettings, classes: Sequence[str]) -> str:
    """The metric, as people call it: "accuracy", "recall of sick"."""
    metric = METRICS[target.metric]
    return in_words(metric.words, positive_class(target, classes) if metric.of_one_class else "")


def sentence(control: Control) -> str:
    """Whether choosing was worth it, and for what that was measured; the interval is never rounded in our favour."""
    found = control.compared
    if found is None:
        why = _too_few(control.k, control.n) or _grouped()  # it is recorded in English
        return say("Whether choosing was worth it cannot be said: {why}.", why=why)
    measured = _measured(control, found)
    if (found.low > 0 or found.high < 0) and found.is_luck:
        return say(
            "{measured}; but {as_far} of {deals} random halves of the same labels differ as much: that can be luck, "
            "and nothing is claimed.",
            measured=measured,
            as_far=found.as_far,
            deals=found.deals,
        )
    if found.low > 0:
        return say(
            "{measured}, more than in {deals} random halves of the same labels: choosing was worth it here.",
            measured=measured,
            deals=found.deals,
        )
    if found.high < 0:
        return say(
            "{measured}, more than in {deals} random halves of the same labels: random items were better here.",
            measured=measured,
            deals=found.deals,
        )
    return say(
        "{measured}: no difference can be shown with {k} labels a side; nothing is claimed.",
        measured=measured,
        k=control.k,
    )


def _measured(control: Control, found: Comparison) -> str:
    low, high = math.floor(round(found.low * 1000, 6)) / 1000, math.ceil(round(found.high * 1000, 6)) / 1000
    words, _, positive = control.metric.partition(" of ")  # as `named` wrote it, in English
    return say(
        "With {k} labels a side{shared}, chosen items gave {metric} {chosen} and random ones {random} on {n} test "
        "answers (difference {gain}, 95 % interval {low} to {high})",
        k=control.k,
        shared=say(" beside {n} that both share", n=control.shared) if control.shared else "",
        metric=in_words(words, positive),
        chosen=f"{found.chosen:.3f}",
        random=f"{found.random:.3f}",
        n=control.n,
        gain=f"{found.gain:.3f}",
        low=f"{low:.3f}",
        high=f"{high:.3f}",
    )


def sentence_of_drawn(found: Drawn) -> str:
    """What the items that chance drew were, and how well they were foretold; empty where there are none."""
    if not found.n:
        return ""
    most = Counter(found.classes).most_common(_CLASSES_NAMED)
    classes = ", ".join(f"{name}: {_share(count, found.n)}" for name, count in most)
    left = len(found.classes) - len(most)
    return say(
        "Of what nobody had been asked about, chance drew {n} items ({classes}{more}). The model of their round had "
        "predicted {right} right before anybody answered: {share}.",
        n=found.n,
        classes=classes,
        more=say(" and {n} more classes", n=left) if left else "",
        right=found.right,
        share=_share(found.right, found.n),
    )


def chances(asks: Sequence[Ask], rounds: Sequence[Round], answered: Collection[int]) -> dict[str, float]:
    """By the id of each answered ask that chance drew: how likely its round was to ask about any one item.

    Drawn from were all items of the pool that nobody had been asked about, those excepted that were asked while the
    round trained: `n_candidates` of its record less these. The answered ones among the random asks of the round are a
    random sample of them, if nobody's pace depends on the item. Weighting each by one over its chance estimates totals
    of what had not been asked about then.
    """
    found = {}
    for round_ in rounds:
        sample = [ask.id for ask in asks if is_random(ask) and ask.round == round_.number and ask.item in answered]
        if sample:
            meanwhile = {ask.item for ask in asks if _asked_meanwhile(ask, round_)}
            chance = len(sample) / (round_.record["n_candidates"] - len(meanwhile))
            found.update(dict.fromkeys(sample, chance))
    return found


def _asked_meanwhile(ask: Ask, round_: Round) -> bool:
    """Whether an earlier ranking's item was asked about after the round had opened."""
    earlier = ask.purpose == Purpose.POOL and ask.round is not None and ask.round < round_.number
    return earlier and (ask.position or 0) > round_.ask_position


def _right(task: Task, truth: Codes, predicted: Reals) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (truth == task.decide(predicted)).reshape(len(truth), -1).all(axis=1)
    return same


def _share(count: int, n: int) -> str:
    """A share with its exact interval of 95 %."""
    return f"{count / n:.2f} [{lower_bound(count, n, 0.025):.2f} – {upper_bound(count, n, 0.025):.2f}]"
