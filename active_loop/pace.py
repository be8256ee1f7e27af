"""How long an answer takes, how many hours and money pay for, and how many a day come in.

Only answers to items to learn from count. An answer to a test item takes as long as it does because of what it
shows, and nothing about test answers may move the end of the training; so they are taken to last as long as the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import fmean, median

from .domain import Annotation
from .settings import BudgetSettings

FEWEST = 5
"""Measured answers from which on their pace counts, and not the assumed one."""

FEWEST_DAYS = 2
"""Days from which on answers a day say something of the days to come: a first afternoon does not."""

_SHORTEST_S = 1.0
_IDLE = 10
"""So many times the median is a person who went away: it counts as that."""


def measured(annotations: Iterable[Annotation], asks: set[str]) -> list[float]:
    """Seconds of the newest version of each answer to one of these asks, where its place measures them."""
    newest = {(a.source, a.id): a for a in annotations if a.ask in asks}
    return [a.lead_time_s for a in newest.values() if a.lead_time_s is not None]


def seconds_per_answer(seconds: Sequence[float], assumed: float) -> float:
    """Mean seconds of an answer, without what cannot have been work; `assumed` before there are `FEWEST`.

    >>> seconds_per_answer([4, 5, 6, 5, 7200], 10.0), seconds_per_answer([4, 5], 10.0)
    (14.0, 10.0)
    """
    if len(seconds) < FEWEST:
        return assumed
    longest = _IDLE * max(_SHORTEST_S, median(seconds))
    return fmean(min(max(each, _SHORTEST_S), longest) for each in seconds)


def affordable(budget: BudgetSettings, seconds: float) -> tuple[int, str]:
    """Answers that may be asked for at so many seconds each, and which limit that is: budget, hours or money.

    >>> affordable(BudgetSettings(answers=400, hours=1.0), 10.0), affordable(BudgetSettings(answers=400), 10.0)
    ((360, 'hours'), (400, 'budget'))
    """
    hours = {"hours": budget.hours, "money": budget.money / budget.price_per_hour if budget.money else 0.0}
    limits = {name: math.floor(limit * 3600 / seconds + 1e-9) for name, limit in hours.items() if limit}
    name = min(limits, key=lambda each: limits[each], default="budget")
    return (limits[name], name) if limits and limits[name] < budget.answers else (budget.answers, "budget")


def answers_per_day(at: Sequence[datetime]) -> float:
    """Answers a day from the first to the last of these times, days without one included; 0 if that is too short.

    >>> answers_per_day([datetime(2026, 3, day) for day in (1, 1, 1, 5)]), answers_per_day([datetime(2026, 3, 1)] * 9)
    (1.0, 0.0)
    """
    days = (max(at) - min(at)).total_seconds() / 86400 if at else 0.0
    return len(at) / days if days >= FEWEST_DAYS else 0.0
