"""How likely the looks of a loop prove its target, if the model really has a quality.

Exact sums over what a look can count, with the looks, levels and bounds that the loop itself uses: no simulation, no
normal curve. They rest on one assumption: the model has its quality at the first look and keeps it, on the same items.
So a later look finds right what an earlier one found right, and draws only its new items. Pure functions.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .domain import Verdict
from .evaluate import fewest_right, lower_bound, posterior
from .settings import LookPlan, Settings
from .stopping import LIKELY

SURE: Final = 0.8
"""The chance that is asked for where one has to be named."""

_SHARES: Final = ("accuracy", "subset_accuracy", "precision", "recall", "f1")
"""Metrics that are shares of the test items, or of some of them."""

_LONGEST: Final = 20_000
"""Test answers beyond which nobody asks what a proof would take."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The looks that a budget pays for: the k-th judges the first `sizes[k - 1]` items of the test order.

    Sizes grow strictly: a further look at the same items, at a smaller level, finds nothing new. Of these items the
    share `counted` bears on the metric. Items that were `brought` came with their answers, and cost none. `f1` says
    that the metric is F1: with J the share of true positives among the items that are positive or predicted so, it is
    2J / (1 + J), and J is what is counted.
    """

    sizes: tuple[int, ...]
    target: float
    alpha: float
    certifiable: bool
    stop_on: Verdict
    counted: float = 1.0
    f1: bool = False
    brought: bool = False

    def share(self, value: float) -> float:
        """What is counted as right, of the items that count, where the metric has this value."""
        return value / (2 - value) if self.f1 else value

    def value(self, share: float) -> float:
        """The metric where this share counts as right."""
        return 2 * share / (1 + share) if self.f1 else share

    def n(self, look: int) -> int:
        """Items that the look counts."""
        return int(self.sizes[look - 1] * self.counted)

    def level(self, look: int) -> float:
        """The error that the look may make."""
        return self.alpha * 0.5**look

    def right(self, look: int) -> int | None:
        """How many of `n` must be right to certify the target; None if even all are too few."""
        return fewest_right(self.n(look), self.level(look), self.share(self.target)) if self.certifiable else None

    def right_to_be_likely(self, look: int) -> int | None:
        """How many of `n` must be right for the target to be likely; None if even all are too few."""
        n, share = self.n(look), self.share(self.target)
        found = bisect_left(range(n + 1), LIKELY, key=lambda right: posterior(right, n, share))
        return found if found <= n else None

    @property
    def earliest(self) -> int | None:
        """The first look that can certify; None if none can, even if all are right."""
        return next((look for look in self.looks if self.right(look) is not None), None)

    @property
    def looks(self) -> range:
        """Their numbers, from 1."""
        return range(1, len(self.sizes) + 1)

    @property
    def first(self) -> Proof:
        """The first look alone: all that there is if predictions settle only when the budget ends."""
        return replace(self, sizes=self.sizes[:1])


def proof_of(settings: Settings, n_items: int, counted: float = 1.0, n_test: int = 0) -> Proof:
    """The looks that a loop with these settings plans for so many items; no sizes if none is left for testing.

    `n_test` is the number of items in the test file, if there is one; they are not among the `n_items`.
    """
    plan = LookPlan.at_import(n_items, settings.budget.answers, n_test, settings.people.test_overlap)
    sizes = dict.fromkeys(m for look in range(1, 5) if (m := plan.m(look)) > 0)  # the fourth has all that is reserved
    target = settings.target
    return Proof(
        tuple(sizes),
        target.value,
        target.alpha,
        not settings.obstacle,
        settings.stop_on,
        counted,
        target.metric == "f1",
        plan.brought,
    )


def impossible(proof: Proof) -> str:
    """Why no look (of one or more) can come to the wanted verdict, however good the model is; empty if one can.

    >>> impossible(Proof((30,), 0.9, 0.05, True, Verdict.CERTIFIED))
    'even 30 of 30 right would prove only 0.884'
    """
    if proof.stop_on == Verdict.CERTIFIED:
        if proof.earliest is not None:
            return ""
        bound, n = max(
            (lower_bound(proof.n(look), proof.n(look), proof.level(look)), proof.n(look)) for look in proof.looks
        )
        return f"even {n} of {n} right would prove only {proof.value(bound):.3f}"
    if any(proof.right_to_be_likely(look) is not None for look in proof.looks):
        return ""
    n = proof.n(proof.looks[-1])
    chance_of_it = posterior(n, n, proof.share(proof.target))
    return f"even {n} of {n} right would show it with a probability of only {chance_of_it:.2f}"


def too_small(settings: Settings, n_test: int) -> str:
    """Why a test file of so many items cannot even show the target as likely; empty if it can, and for no share."""
    if settings.target.metric not in _SHARES:
        return ""
    return impossible(replace(proof_of(settings, 0, n_test=n_test), stop_on=Verdict.LIKELY))


@dataclass(frozen=True, slots=True)
class Chance:
    """How a loop ends: chances of "certified", and of "likely" or more; and the test answers it takes on average."""

    certified: float
    likely: float
    test_answers: float


def chance(proof: Proof, quality: float) -> Chance:
    """How a loop ends whose model is right on a share `quality` of all items, if every look of `proof` takes place.

    A programme over the number of right answers: each look adds a binomial number of them for its new items, then
    what ends the loop is taken out. So the looks share their items as they do in the loop, and their verdicts are not
    treated as independent. A loop that goes on after a "likely" is likely in the end only by its last look.
    """
    weights: NDArray[np.float64] = np.ones(1)
    before = 0
    certified = likely = answers = 0.0
    for look, size in enumerate(proof.sizes, 1):
        answers += (size - before) * float(weights.sum())
        added = _binomial(proof.n(look) - len(weights) + 1, proof.share(quality))
        weights = np.convolve(weights, added).astype(np.float64)
        certified += _taken(weights, proof.right(look))
        if proof.stop_on == Verdict.LIKELY or look == len(proof.sizes):
            likely += _taken(weights, proof.right_to_be_likely(look))
        before = size
    return Chance(certified, certified + likely, answers)


def _binomial(n: int, quality: float) -> NDArray[np.float64]:
    """Probabilities of 0, 1, … n right answers, (n + 1,)."""
    right = np.arange(n + 1)
    ways = special.gammaln(n + 1) - special.gammaln(right + 1) - special.gammaln(n - right + 1)
    return np.asarray(np.exp(ways + special.xlogy(right, quality) + special.xlog1py(n - right, -quality)))


def _taken(weights: NDArray[np.float64], least: int | None) -> float:
    """The weight of `least` right answers or more, which is taken out of `weights` in place."""
    if least is None:
        return 0.0
    total = float(weights[least:].sum())
    weights[least:] = 0.0
    return total


def quality_needed(proof: Proof, sure: float = SURE) -> float | None:
    """The quality from which on the wanted verdict comes with a chance of `sure`, to a thousandth, upwards.

    None if even a model without a fault does not get there: the test is too small.
    """

    def wanted(thousandths: int) -> float:
        found = chance(proof, thousandths / 1000)
        return found.certified if proof.stop_on == Verdict.CERTIFIED else found.likely

    found = bisect_left(range(1001), sure, key=wanted)
    return found / 1000 if found <= 1000 else None


def labels_for_a_proof(
    target: float, level: float, qualities: Iterable[float], sure: float = SURE
) -> dict[float, int | None]:
    """Fewest test answers with which a first look certifies the target with a chance of `sure`, by true quality.

    Exact. Only sizes at which one more answer may be wrong are candidates: between them the chance falls. None where
    20,000 are too few, as always at a quality that is not above the target.

    >>> labels_for_a_proof(0.9, 0.05, [0.94, 0.95])
    {0.94: 286, 0.95: 179}
    """
    found: dict[float, int | None] = dict.fromkeys(qualities)
    waiting = sorted(quality for quality in found if quality > target)
    wrong = 0
    for n in range(1, _LONGEST + 1):
        if not waiting:
            break
        if lower_bound(n - wrong, n, level) >= target:
            while waiting and special.bdtr(wrong, n, 1 - waiting[-1]) >= sure:
                found[waiting.pop()] = n
            wrong += 1
    return found


def ceiling(agreement: float, n_classes: int) -> float:
    """The highest share of right answers that any model can show, if two people agree on a share `agreement`.

    Whatever an item's answers are drawn from, two of them agree with Σp², and no prediction meets one of them more
    often than max p ≤ (1 + √((C - 1)(C·Σp² - 1))) / C. The right side is concave, so it holds for the means too
    (Jensen). Reached where people differ equally much on every item.

    >>> round(ceiling(0.92, 2), 3), round(ceiling(0.92, 10), 3)
    (0.958, 0.959)
    """
    return (1 + math.sqrt((n_classes - 1) * (n_classes * agreement - 1))) / n_classes
