"""What test answers say about a round's predictions: a score for information, a look that tests the claim.

Pure functions of merged answers and predictions. When a look is due is `stopping`'s business, which items it uses
`reserve`'s; nothing here may reach back into what is trained or asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .domain import Look, LookItem, Merged, Outcome, Score
from .evaluate import anytime_bound, metric_for, proven_after, truth_codes
from .reserve import TestState
from .settings import TargetSettings
from .stopping import verdict
from .tasks import Task

Reals = NDArray[np.float64]


def counts(merged: Merged) -> bool:
    """Whether a test item's answers count: somebody gave a valid one (a tie counts as wrong)."""
    return bool(merged.votes)


def resolved(merged: Mapping[int, Merged]) -> dict[int, TestState]:
    """Items that people have settled: with a valid answer, or as one that cannot be labelled."""
    out_of_it = (Outcome.SKIP, Outcome.UNSURE, Outcome.BROKEN)
    return {
        item: TestState.VALID if counts(m) else TestState.EXCLUDED
        for item, m in merged.items()
        if counts(m) or m.outcome in out_of_it
    }


def read(
    round_: int,
    target: TargetSettings,
    task: Task,
    order: Sequence[int],
    predicted: Reals,
    merged: Mapping[int, Merged],
    rng: np.random.Generator,
) -> list[Score]:
    """A reading on the test items that have an answer; none before there are any.

    `predicted` (len(order), …) is the mean of the members' predictions.
    """
    known = [place for place, item in enumerate(order) if item in merged and counts(merged[item])]
    if not known:
        return []
    truth = truth_codes(task, [merged[order[place]].label for place in known])
    reading = metric_for(task, target).read(truth, predicted[known], rng)
    return [Score(round_, target.metric, reading.value, reading.low, reading.high, reading.n)]


def enough(
    number: int,
    target: TargetSettings,
    task: Task,
    items: Sequence[int],
    predicted: Reals,
    merged: Mapping[int, Merged],
) -> int | None:
    """How many of these items, in their order, prove the claim at the level of a look that may end at any time."""
    labels = [merged[item].label if item in merged and counts(merged[item]) else None for item in items]
    right = truth_codes(task, labels) == task.decide(predicted)
    return proven_after(right, target.alpha / 2**number, target.value)


def judge(
    number: int,
    round_: int,
    first: int,
    m: int,
    target: TargetSettings,
    certifiable: bool,
    task: Task,
    items: Sequence[int],
    predicted: Reals,
    merged: Mapping[int, Merged],
    rng: np.random.Generator,
) -> tuple[Look, list[LookItem]]:
    """Test the claim at level alpha / 2**number on these items, which begin at the place `first` of the test order.

    `predicted` (len(items), …) is the mean of the predictions of the round's members. An item without a valid answer is
    overdue, and counts as wrong. With `target.proof` "anytime" the items are all up to the one that proved it, or all
    that there are.
    """
    answers = [merged[item] if item in merged and counts(merged[item]) else None for item in items]
    truth = truth_codes(task, [answer.label if answer else None for answer in answers])
    level, metric = target.alpha / 2**number, metric_for(task, target)
    reading, claim = metric.read(truth, predicted, rng), metric.claim(truth, predicted, target.value, level, rng)
    if target.proof == "anytime":
        right = truth == task.decide(predicted)
        proven = proven_after(right, level, target.value) is not None
        claim = replace(claim, bound=max(anytime_bound(right, level), target.value if proven else 0.0))
    look = Look(
        number=number,
        round=round_,
        first=first,
        m=m,
        n=claim.n,
        level=level,
        target=target.value,
        metric=target.metric,
        value=claim.value,
        low=reading.low,
        high=reading.high,
        correct=claim.correct,
        bound=claim.bound,
        posterior=claim.posterior,
        verdict=verdict(claim, target.value, certifiable and metric.certifiable),
    )
    seen = [
        LookItem(number, item, answer.annotation if answer else None, answer.label if answer else None, name)
        for item, answer, name in zip(items, answers, task.decode(task.decide(predicted)), strict=True)
    ]
    return look, seen
