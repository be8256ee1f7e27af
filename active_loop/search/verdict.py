"""Which candidate is to be the model, by the losses of all on the same items.

The model changes only where another one is better by more than one standard error in two searches in a row (the
one-standard-error rule of Breiman et al. 1984, with hysteresis): a change costs agreement between rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from .evaluation import Lessons, Reals
from .race import Tally
from .trials import LEFT_OUT, Trial

_MEMBERS: Final = 5
"""Most members of a committee."""

Verdict = tuple[str, tuple[str, ...], str, tuple[Trial, ...]]


def verdict(tallies: Sequence[Tally], lessons: Lessons, incumbent: str, beaten: bool) -> Verdict:
    """The chosen candidate, those next to it, who was clearly better than the incumbent, and what came of each.

    `tallies` are in the order in which they were tried, at least one without a problem. The incumbent is kept if it
    completed a repeat, unless another one is better by more than one standard error and it was `beaten` before; then,
    and without an incumbent, the lowest loss wins, the first of equals. Where nothing could be compared it is the
    first candidate.
    """
    usable = [tally for tally in tallies if not tally.problem]
    complete = {tally.candidate.name: tally for tally in usable if tally.repeats}
    challenger = ""
    if not complete:
        chosen = next((t.candidate.name for t in usable if t.candidate.name == incumbent), usable[0].candidate.name)
    elif incumbent in complete:
        behind = {name: _behind(tally, complete[incumbent], lessons) for name, tally in complete.items()}
        better = [name for name, (mean, error) in behind.items() if mean < -error and name != incumbent]
        challenger = min(better, key=lambda name: behind[name][0], default="")
        chosen = challenger if challenger and beaten else incumbent
        challenger = "" if chosen == challenger else challenger
    else:
        chosen = next(iter(complete))
        for name, tally in complete.items():
            chosen = name if _behind(tally, complete[chosen], lessons)[0] < 0 else chosen
    behind = {name: _behind(tally, complete[chosen], lessons) for name, tally in complete.items()}
    trials = tuple(_trial(tally, behind, chosen, incumbent) for tally in tallies)
    return chosen, _near(behind, chosen), challenger, trials


def _behind(one: Tally, other: Tally, lessons: Lessons) -> tuple[float, float]:
    """How much higher the loss of one is than that of the other, and the standard error of that.

    Both on the repeats that both completed; the error is that of a mean over groups of items that go together.
    """
    n = min(len(one.repeats), len(other.repeats))
    apart: Reals = np.mean(one.repeats[:n], axis=0) - np.mean(other.repeats[:n], axis=0)
    there = np.isfinite(apart)
    apart, groups = apart[there], np.unique(lessons.groups[there], return_inverse=True)[1]
    mean = float(apart.mean())
    sums = np.bincount(groups, weights=apart - mean)
    m = len(sums)
    return mean, float(np.sqrt((sums**2).sum() * m / max(1, m - 1))) / len(apart)


def _near(behind: Mapping[str, tuple[float, float]], chosen: str) -> tuple[str, ...]:
    """Candidates within one standard error of the chosen one, the best first; the next best one if there is none."""
    others = sorted((name for name in behind if name != chosen), key=lambda name: behind[name][0])
    close = [name for name in others if behind[name][0] <= behind[name][1]]
    return tuple((close or others[:1])[: _MEMBERS - 1])


def _trial(tally: Tally, behind: Mapping[str, tuple[float, float]], chosen: str, incumbent: str) -> Trial:
    name = tally.candidate.name
    if tally.problem:
        outcome = LEFT_OUT + tally.problem
    elif name == chosen:
        outcome = "kept" if name == incumbent else "won"
    else:
        outcome = "lost" if tally.repeats else "cut off"
    return Trial(
        candidate=name,
        parameters=tally.candidate.parameters,
        loss=round(tally.loss, 6) if tally.repeats else None,
        se=round(behind[name][1], 6) if name in behind else None,
        folds=tally.folds,
        seconds=round(tally.seconds, 4),
        outcome=outcome,
    )
