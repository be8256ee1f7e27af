"""The gate and the stopping rules: pure functions of what was recorded.

The gate decides *when* the claim is tested, and must not be moved by a single test answer: it sees only
`Progress`, in which there is none. `decide` sees looks, and may stop only on what a look proved or when nothing
is left to ask or to hope for. The same in a simulation, in production and after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .domain import Decision, History, Progress, Verdict
from .evaluate import Claim
from .settings import Settings, deadline

STABLE = 0.985
"""Agreement of two rounds from which on their predictions count as settled."""

FEWEST_LABELS = 40
GROWTH = 1.25
LIKELY = 0.9
LIKELY_WRONG = 0.11
"""Share of loops with a target 0.002 above their best model of which a look said "likely" (docs/stopping.md)."""

_ORDER = (Verdict.NOT_REACHED, Verdict.REACHED, Verdict.LIKELY, Verdict.CERTIFIED)


def gate(progress: Sequence[Progress]) -> bool:
    """Whether a look is due: predictions have settled since the last look, or the end has come.

    Settled: two rounds in a row agree to at least 0.985 with an earlier one, the newer of them with at least 40
    labels and 25 % more than the last look's round. Once open it stays open until its look.
    """
    return opened(progress) is not None


def opened(progress: Sequence[Progress]) -> int | None:
    """Index of the round at which the gate opened; None while it is closed."""
    looked = [number for number, p in enumerate(progress) if p.looked]
    first = looked[-1] + 1 if looked else 0
    fewest = max(FEWEST_LABELS, GROWTH * progress[looked[-1]].n_labels if looked else 0)
    for number in range(first, len(progress)):
        if progress[number].ended:
            return number
        pair = progress[max(0, number - 1) : number + 1]
        if len(pair) == 2 and progress[number].n_labels >= fewest and all(_settled(p) for p in pair):
            return number
    return None


def _settled(progress: Progress) -> bool:
    return progress.agreement is not None and progress.agreement >= STABLE


def earlier_round(n_labels: Sequence[int]) -> int | None:
    """Index of the round to compare the last one with: the latest that had max(10, 10 %) fewer labels.

    >>> earlier_round([20, 30, 40]), earlier_round([150, 160]), earlier_round([20])
    (1, None, None)
    """
    wanted = n_labels[-1] - max(10.0, 0.1 * n_labels[-1])
    fewer = [index for index, n in enumerate(n_labels[:-1]) if n <= wanted]
    return fewer[-1] if fewer else None


def verdict(claim: Claim, target: float, certifiable: bool) -> Verdict:
    """How far a claim proves the target; what cannot be certified is at most likely."""
    if certifiable and claim.proven(target):
        return Verdict.CERTIFIED
    if claim.posterior >= LIKELY:
        return Verdict.LIKELY
    return Verdict.REACHED if claim.reached(target) else Verdict.NOT_REACHED


def decide(history: History) -> Decision:
    """Stop on a look that proved enough, on a person's word, or when there is nothing left to ask or to hope for.

    Hope ends when nothing improves, or when the target is out of reach. A look that is due comes before all but the
    first two.
    """
    last = history.looks[-1].verdict if history.looks else Verdict.NOT_REACHED
    if history.looks and at_least(last, history.stop_on):
        return Decision(True, "target", last)
    if history.by_hand:
        return Decision(True, "by hand", last, history.by_hand)
    reason = "" if history.look_is_due else history.over or _no_longer_improving(history) or _out_of_reach(history)
    return Decision(bool(reason), reason, last)


def _no_longer_improving(history: History) -> str:
    newest = history.progress[-history.stable_rounds :] if history.stable_rounds else ()
    return "stable" if newest and len(newest) == history.stable_rounds and all(map(_settled, newest)) else ""


def _out_of_reach(history: History) -> str:
    return "unreachable" if 0 < history.unreachable < history.out_of_reach else ""


def limits(settings: Settings) -> dict[str, Any]:
    """What may end a loop, by the reason that a stop gives: kept with the stop, so that it can be taken back."""
    until = deadline(settings)
    return {
        "budget": settings.budget.answers,
        "hours": settings.budget.hours,
        "money": settings.budget.money,
        "deadline": until.isoformat() if until else "",
        "by hand": settings.stop.by_hand,
        "stable": settings.stop.stable_rounds,
        "unreachable": settings.stop.unreachable,
    }


def in_force(stop: Mapping[str, Any], settings: Settings) -> Decision | None:
    """The recorded stop as a decision; None if what ended the loop has been loosened or taken back since.

    `stop` holds the `reason`, the `verdict`, `because` and the `limits` of that moment. A loop that reached what it
    was to reach stays where it is.
    """
    decision = Decision(True, stop["reason"], Verdict(stop["verdict"]), stop["because"])
    if decision.reason not in stop["limits"] or at_least(decision.verdict, settings.stop_on):
        return decision
    before, now = stop["limits"][decision.reason], limits(settings)[decision.reason]
    return None if _looser(decision.reason, before, now) else decision


def _looser(reason: str, before: Any, now: Any) -> bool:
    if reason == "deadline":
        return not now or datetime.fromisoformat(now) > datetime.fromisoformat(before)
    return not now if reason == "by hand" else not now or bool(now > before)


def at_least(verdict: Verdict, wanted: Verdict) -> bool:
    """Whether a verdict proves as much as the wanted one.

    >>> at_least(Verdict.CERTIFIED, Verdict.LIKELY), at_least(Verdict.REACHED, Verdict.LIKELY)
    (True, False)
    """
    return _ORDER.index(verdict) >= _ORDER.index(wanted)
