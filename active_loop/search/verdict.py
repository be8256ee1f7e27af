"""Which candidates are to be the model, by the losses of all on the same items.

The model changes only where another one is better by more than one standard error in two searches in a row (the
one-standard-error rule of Breiman et al. 1984, with hysteresis): a change costs agreement between rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .evaluation import Evaluation, Lessons, Reals
from .mixture import Mixture, Told, best_mixture, calibrated
from .race import Tally
from .trials import LEFT_OUT, Trial

_MEMBERS: Final = 5
"""Most members of a committee."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The name of the chosen candidate or mixture, those next to it, what was clearly better than the model before, and
    what came of each candidate."""

    chosen: str
    near: tuple[str, ...]
    challenger: str
    trials: tuple[Trial, ...]


def verdict(
    tallies: Sequence[Tally], lessons: Lessons, evaluation: Evaluation, incumbent: str, beaten: bool, most: int
) -> Verdict:
    """What is to be the model: a mixture of at most so many candidates, or the model before.

    `tallies` are in the order in which they were tried, at least one without a problem. The incumbent is kept if all of
    it completed a repeat, unless the best mixture is better by more than one standard error and it was `beaten` before;
    then, and without an incumbent, that mixture is chosen. Where nothing could be compared it is the first candidate.
    """
    usable = [tally for tally in tallies if not tally.problem]
    complete = {tally.candidate.name: tally for tally in usable if tally.repeats}
    if not complete:
        names = [tally.candidate.name for tally in usable]
        chosen = incumbent if Mixture.of(incumbent).is_of(names) else names[0]
        return Verdict(chosen, (), "", tuple(_trial(tally, {}, chosen, incumbent) for tally in tallies))
    told = Told(lessons, evaluation)
    mixture = calibrated(best_mixture(complete, told, most), complete, told)
    chosen, challenger = mixture.name, ""
    winner, old = mixture.tally(complete, told), Mixture.of(incumbent)
    if old.is_of(complete):
        before = old.tally(complete, told)
        mean, error = _behind(winner, before, lessons)
        clear = mean < -error and chosen != incumbent
        if not (clear and beaten):
            chosen, challenger, winner = incumbent, chosen if clear else "", before
    behind = {name: _behind(tally, winner, lessons) for name, tally in complete.items()}
    trials = tuple(_trial(tally, behind, chosen, incumbent) for tally in tallies)
    return Verdict(chosen, _near(behind, chosen), challenger, trials)


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
    """The parts of the chosen one, then candidates within one standard error of it, the best first; if these are none
    but itself, the next best one."""
    parts = list(Mixture.of(chosen).parts)
    others = sorted((name for name in behind if name not in parts), key=lambda name: behind[name][0])
    close = [name for name in others if behind[name][0] <= behind[name][1]]
    listed = [*parts, *close] if len(parts) > 1 or close else [*parts, *others[:1]]
    return tuple(listed[:_MEMBERS])


def _trial(tally: Tally, behind: Mapping[str, tuple[float, float]], chosen: str, incumbent: str) -> Trial:
    name = tally.candidate.name
    if tally.problem:
        outcome = LEFT_OUT + tally.problem
    elif name in Mixture.of(chosen).parts:
        outcome = "kept" if chosen == incumbent else "won"
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
