"""Other rules for "the target is reached", on the rounds of a loop that was trained already: who else would stop, when?

Each rule sees the same rounds and the same draws of test items as the loop did, and nothing of the population.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from active_loop.domain import Progress
from active_loop.evaluate import lower_bound
from active_loop.stopping import gate

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Rounds:
    """What a rule may see of a loop: its progress, and which of the drawn test items each round's model has right."""

    progress: Sequence[Progress]
    right: Mapping[int, NDArray[np.bool_]]
    """By round: (m,) right or wrong, in the order of the draw; as many as any rule may ask for."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a rule says that the target is reached: the round it says so of, and all labels spent by then."""

    round: int
    labels: int


Rule = Callable[[Rounds, float], Stop | None]
"""(rounds, target) → where it stops; None if it never does."""


def reading(m: int, rounds: Rounds, target: float) -> Stop | None:
    """The first round that reads the target on the first m test items."""
    return _first(rounds, m, lambda right: float(np.mean(right)) >= target)


def uncorrected(m: int, rounds: Rounds, target: float) -> Stop | None:
    """The first round whose exact 95 % bound on m test items is at the target, as if it were the only one tested."""
    return _first(rounds, m, lambda right: lower_bound(int(right.sum()), m, ALPHA) >= target)


def unlimited(rounds: Rounds, target: float) -> Stop | None:
    """Our own gate and levels with looks at 200, 300, 450, … items, and a budget that never ends."""
    progress = [replace(each, looked=False, ended=False) for each in rounds.progress]
    look = 1
    for number, each in enumerate(progress):
        if not gate(progress[: number + 1]):
            continue
        m = int(np.ceil(200 * 1.5 ** (look - 1)))
        right = rounds.right[each.round][:m]
        if lower_bound(int(right.sum()), m, ALPHA / 2**look) >= target:
            return Stop(each.round, each.n_labels + m)
        progress[number] = replace(each, looked=True)
        look += 1
    return None


RULES: dict[str, Rule] = {
    **{f"reading on {m}": partial(reading, m) for m in (100, 200, 400)},
    "exact bound at 95 % on 200, every round": partial(uncorrected, 200),
}
"""By the name that the page gives them."""

MOST = 200 * 2**5
"""Test items that a rule may ask for, at most."""


def _first(rounds: Rounds, m: int, enough: Callable[[NDArray[np.bool_]], bool]) -> Stop | None:
    for each in rounds.progress:
        if enough(rounds.right[each.round][:m]):
            return Stop(each.round, each.n_labels + m)
    return None
