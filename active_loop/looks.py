"""What test answers say about a round's predictions: a score for information, a look that tests the claim.

Pure functions of merged answers and predictions. When a look is due is `stopping`'s business, which items it uses
`reserve`'s; nothing here may reach back into what is trained or asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .domain import Look, LookItem, Merged, Outcome, Score
from .evaluate import METRICS, WRONG
from .reserve import TestState
from .settings import TargetSettings
from .stopping import verdict
from .tasks import Task

Codes = NDArray[np.int64]


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
    predicted: Codes,
    merged: Mapping[int, Merged],
    rng: np.random.Generator,
) -> list[Score]:
    """A reading on the test items that have an answer; none before there are any. `predicted` follows `order`."""
    known = [place for place, item in enumerate(order) if item in merged and counts(merged[item])]
    if not known:
        return []
    truth = _truth(task, [merged[order[place]] for place in known])
    reading = METRICS[target.metric].read(truth, predicted[known], len(task.classes), rng)
    return [Score(round_, target.metric, reading.value, reading.low, reading.high, reading.n)]


def judge(
    number: int,
    round_: int,
    m: int,
    target: TargetSettings,
    certifiable: bool,
    task: Task,
    items: Sequence[int],
    predicted: Codes,
    merged: Mapping[int, Merged],
    rng: np.random.Generator,
) -> tuple[Look, list[LookItem]]:
    """Test the claim at level alpha / 2**number on these items; `predicted` (len(items),) are the round's classes.

    An item without a valid answer is overdue, and counts as wrong.
    """
    answers = [merged[item] if item in merged and counts(merged[item]) else None for item in items]
    truth, level, metric = _truth(task, answers), target.alpha / 2**number, METRICS[target.metric]
    claim = metric.claim(truth, predicted, len(task.classes), target.value, level, rng)
    look = Look(
        number=number,
        round=round_,
        first=0,
        m=m,
        n=claim.n,
        level=level,
        target=target.value,
        metric=target.metric,
        value=claim.value,
        correct=claim.correct,
        bound=claim.bound,
        posterior=claim.posterior,
        verdict=verdict(claim, target.value, certifiable and metric.certifiable),
    )
    seen = [
        LookItem(number, item, answer.annotation if answer else None, answer.label if answer else None, name)
        for item, answer, name in zip(items, answers, task.decode(predicted), strict=True)
    ]
    return look, seen


def reading(look: Look, seen: Sequence[LookItem], task: Task) -> Score:
    """What a look saw, as a reading of its round: with a two-sided interval, on more items than its score."""
    truth = np.array([task.encode([item.label])[0] if item.label else WRONG for item in seen], dtype=np.int64)
    predicted = np.asarray(task.encode([item.predicted for item in seen]), dtype=np.int64)
    found = METRICS[look.metric].read(truth, predicted, len(task.classes), np.random.default_rng([look.number]))
    return Score(look.round, look.metric, look.value, found.low, found.high, look.n)


def _truth(task: Task, answers: Sequence[Merged | None]) -> Codes:
    """Class codes of test labels; an item that is disputed, or has no answer, counts as wrong."""
    return np.array([task.encode([a.label])[0] if a and a.label else WRONG for a in answers], dtype=np.int64)
