"""The gate and the stopping rules: pure functions of what was recorded.

The gate decides *when* the claim is tested, and must not be moved by a single test answer: it sees only
`Progress`, in which there is none. `decide` sees looks, and may stop only on what a look proved or when nothing
is left to ask. The same in a simulation, in production and after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .domain import Decision, History, Progress, Verdict
from .evaluate import Claim

STABLE = 0.985
"""Agreement of two rounds from which on their predictions count as settled."""

FEWEST_LABELS = 40
GROWTH = 1.25
LIKELY = 0.9

_ORDER = (Verdict.NOT_REACHED, Verdict.REACHED, Verdict.LIKELY, Verdict.CERTIFIED)


def gate(progress: Sequence[Progress]) -> bool:
    """Whether a look is due: predictions have settled since the last look, or the end has come.

    Settled: two rounds in a row agree to at least 0.985 with an earlier one, the newer of them with at least 40
    labels and 25 % more than the last look's round. Once open it stays open until its look.
    """
    looked = [number for number, p in enumerate(progress) if p.looked]
    first = looked[-1] + 1 if looked else 0
    fewest = max(FEWEST_LABELS, GROWTH * progress[looked[-1]].n_labels if looked else 0)
    for number in range(first, len(progress)):
        if progress[number].ended:
            return True
        pair = progress[max(0, number - 1) : number + 1]
        if len(pair) == 2 and progress[number].n_labels >= fewest and all(_settled(p) for p in pair):
            return True
    return False


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
    if certifiable and claim.bound >= target:
        return Verdict.CERTIFIED
    if claim.posterior >= LIKELY:
        return Verdict.LIKELY
    return Verdict.REACHED if claim.value >= target else Verdict.NOT_REACHED


def decide(history: History) -> Decision:
    """Stop on a look that proved enough, or when nothing is left to ask; else go on."""
    last = history.looks[-1].verdict if history.looks else Verdict.NOT_REACHED
    if history.looks and at_least(last, history.stop_on):
        return Decision(True, "target", last)
    if history.over and not history.look_is_due:
        return Decision(True, history.over, last)
    return Decision(False, "", last)


def in_force(stop: Mapping[str, Any], stop_on: Verdict, budget: int) -> Decision | None:
    """The recorded stop as a decision; None if it came from a budget that has been raised since.

    `stop` holds the `reason`, the `verdict` and the `budget` of that moment.
    """
    decision = Decision(True, stop["reason"], Verdict(stop["verdict"]))
    raised = decision.reason == "budget" and budget > stop["budget"] and not at_least(decision.verdict, stop_on)
    return None if raised else decision


def at_least(verdict: Verdict, wanted: Verdict) -> bool:
    """Whether a verdict proves as much as the wanted one.

    >>> at_least(Verdict.CERTIFIED, Verdict.LIKELY), at_least(Verdict.REACHED, Verdict.LIKELY)
    (True, False)
    """
    return _ORDER.index(verdict) >= _ORDER.index(wanted)
