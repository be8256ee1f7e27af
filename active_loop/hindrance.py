"""What stands between a loop and its certificate: more test labels, or something that no number of them mends.

Pure functions of the settings, the plan of the looks and the newest reading.
"""

from __future__ import annotations

from typing import Final

from .domain import Score
from .evaluate import lower_bound, more_to_certify
from .language import say
from .settings import LookPlan, Settings

_OF_ALL_ITEMS: Final = ("accuracy", "subset_accuracy")
"""Shares of all test items: of no other metric do size and value alone tell the bound."""

_LOOKS: Final = 6
"""Looks ahead that are asked about: by then all reserved items are used, and levels only get smaller."""


def more_test_labels(settings: Settings, looked: int, reading: Score | None) -> int | None:
    """Test labels that would still certify the newest reading; None where that cannot be said, or none would.

    `looked` is the number of looks so far.
    """
    if reading is None or settings.obstacle or settings.target.metric not in _OF_ALL_ITEMS:
        return None
    level = settings.target.alpha / 2 ** (looked + 1)
    return more_to_certify(reading.value, reading.n, level, settings.target.value)


def hindrance(settings: Settings, plan: LookPlan, looked: int, reading: Score | None, best: float) -> str:
    """Why the target cannot be certified, as the end of a sentence; empty if nothing known stands in the way.

    `best` is the highest value that people's agreement lets any model show (1 if nothing is known of it).

    >>> from active_loop.settings import BudgetSettings
    >>> settings, plan = Settings(budget=BudgetSettings(answers=100)), LookPlan.at_import(1000, 100)
    >>> hindrance(settings, plan, 0, Score(1, "accuracy", 0.93, 0.8, 0.95, 40), 1.0)
    'with this test set if the model stays at 0.930: that takes about 400 test labels, and there are 60'
    """
    if settings.obstacle:
        return say("at all: {why}", why=settings.obstacle)
    if settings.target.metric not in _OF_ALL_ITEMS:
        return ""  # of a search, the sample that it takes is told with the plan
    if best <= settings.target.value:
        return say(
            "with these annotators' agreement: where they differ so much, no model can show more than {best}",
            best=f"{best:.3f}",
        )
    return _by_size(settings, plan, looked) or _by_quality(settings, plan, looked, reading)


def _by_size(settings: Settings, plan: LookPlan, looked: int) -> str:
    """Even without a fault no look that is left is large enough."""
    bounds: dict[int, float] = {}
    for look in range(looked + 1, looked + 1 + _LOOKS):
        n = plan.m(look)
        bounds.setdefault(n, lower_bound(n, n, settings.target.alpha / 2**look) if n else 0.0)
    n, most = max(bounds.items(), key=lambda pair: pair[1])
    if most >= settings.target.value:
        return ""
    return say("with this test set: even {n} of {n} right would prove only {most}", n=n, most=f"{most:.3f}")


def _by_quality(settings: Settings, plan: LookPlan, looked: int, reading: Score | None) -> str:
    """At the quality that was read, the proof needs more test items than there are."""
    more, most = more_test_labels(settings, looked, reading), plan.m(looked + _LOOKS)
    if more is None or reading is None or reading.n + more <= most:
        return ""
    return say(
        "with this test set if the model stays at {value}: that takes about {needed} test labels, and there are {most}",
        value=f"{reading.value:.3f}",
        needed=reading.n + more,
        most=most,
    )
