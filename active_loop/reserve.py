"""The reserved test order, and its share of the budget.

One random permutation at import decides for ever which items test; nothing may train on them, choose among
them or fit features to them. The order in which they are asked is part of that permutation, so a prefix of it is a
random sample, whatever the answers were. Pure functions: who is reserved, what is resolved, what a batch holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .settings import LookPlan


def draw(
    n_items: int, budget: int, seed: int, groups: Sequence[str | None] | None = None, people: int = 1
) -> tuple[LookPlan, dict[int, int]]:
    """Choose the test items: the plan of the looks, and position → rank in the test order.

    Without groups: the first R items of one random permutation. With groups: whole groups in random order, as
    long as they fit into R; the order within is a random permutation. Raises `DataError` if nothing is left on
    one of the two sides.
    """
    plan = LookPlan.at_import(n_items, budget, people=people)
    order: NDArray[np.int64] = np.random.default_rng([seed, 0]).permutation(n_items)
    if groups is not None and any(group is not None for group in groups):
        order = _whole_groups(order.tolist(), groups, plan.reserved)
        plan = replace(plan, reserved=len(order))
    if plan.reserved < 1 or plan.reserved >= n_items:
        raise DataError(
            f"cannot reserve test items: {n_items} items leave {plan.reserved} for testing and "
            f"{n_items - plan.reserved} to learn from; add items or make the groups smaller."
        )
    return plan, {int(position): rank for rank, position in enumerate(order[: plan.reserved])}


def brought(ranked: Sequence[int], budget: int, seed: int) -> tuple[LookPlan, dict[int, int]]:
    """The plan and the test order where the test items, at these positions, came with their answers."""
    order = np.random.default_rng([seed, 0]).permutation(np.asarray(ranked, dtype=np.int64))
    return LookPlan.at_import(0, budget, len(ranked)), {int(position): rank for rank, position in enumerate(order)}


def _whole_groups(order: Sequence[int], groups: Sequence[str | None], room: int) -> NDArray[np.int64]:
    """Items of the groups that come first in `order` and fit into `room` together, in that order."""
    members: dict[str, list[int]] = {}
    for position in order:
        members.setdefault(groups[position] or f"\0{position}", []).append(position)
    taken: set[int] = set()
    for positions in members.values():
        if len(taken) + len(positions) <= room:
            taken.update(positions)
    return np.array([position for position in order if position in taken], dtype=np.int64)


class TestState(StrEnum):
    """What is known of a test item."""

    __test__ = False  # not a test case, whatever its name begins with

    VALID = "valid"
    EXCLUDED = "excluded"
    OVERDUE = "overdue"
    OUTSTANDING = "outstanding"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class Prefix:
    """How far the test order is resolved, up to m items that count.

    `judged` are the items (in order) that a look would use now: all that count before the first one that was
    never asked. `settled` of them, from the first on, come before any that waits. `fresh` still have to be asked for m
    to be reached; `outstanding` were asked and wait; `excluded` could not be labelled by people.
    """

    judged: tuple[int, ...]
    settled: int
    fresh: tuple[int, ...]
    outstanding: int
    excluded: int


def prefix(order: Sequence[int], state: Callable[[int], TestState], m: int) -> Prefix:
    """Walk the order until m items are valid, overdue, asked or chosen to be asked; excluded ones are replaced."""
    judged: list[int] = []
    fresh: list[int] = []
    settled = outstanding = excluded = beyond = 0
    for item in order:
        if len(judged) + len(fresh) + outstanding + beyond >= m:
            break
        match state(item):
            case TestState.VALID | TestState.OVERDUE if fresh:
                beyond += 1  # answers that came with the data may lie behind items that were never asked
            case TestState.VALID | TestState.OVERDUE:
                judged.append(item)
                settled += not outstanding
            case TestState.EXCLUDED:
                excluded += 1
            case TestState.OUTSTANDING:
                outstanding += 1
            case TestState.FRESH:
                fresh.append(item)
    return Prefix(tuple(judged), settled, tuple(fresh), outstanding, excluded)


@dataclass(frozen=True, slots=True)
class Spending:
    """What was sent so far, and what may be: answers asked for, to learn and to test.

    A `search` plans no share for its samples: all that is left may go into the one that is being drawn.
    """

    plan: LookPlan
    budget: int
    look: int
    pool: int
    test: int
    gate_open: bool
    search: bool = False

    @property
    def left(self) -> int:
        """Answers that may still be asked for."""
        return max(0, self.budget - self.pool - self.test)

    @property
    def pool_left(self) -> int:
        """Of these, to learn: the budget less the coming look's test items is the plan for training."""
        return max(0, min(self.left, self.budget - self.plan.asked(self.look) - self.pool))

    @property
    def test_left(self) -> int:
        """Of these, to test. While a look is due, replacements may borrow from the next look's share.

        So nothing about test answers moves the number of training answers or their end.
        """
        if self.search:
            return self.left if self.gate_open else 0
        share = self.plan.asked(self.look + self.gate_open)
        return max(0, min(self.left, share - self.test))

    @property
    def tests_left(self) -> int:
        """Test items that may still be asked about."""
        return self.test_left // self.plan.people

    def batch(self, room: int, costs: Sequence[int], n_fresh: int) -> tuple[int, int]:
        """Pool and test asks of the next batch of at most `room`; `costs` are the answers that the ranked asks want.

        Test asks are mixed in the proportion m / budget, fill up where the ranking has too few, and are all there is
        while a look is due. Of the last pool ask more answers may be wanted than are left.
        """
        room, fresh, per_test = min(room, self.left), min(n_fresh, self.tests_left), self.plan.people
        if self.gate_open:
            return 0, min(room, fresh)
        share = round((self.pool + self.test + per_test * room) * self.plan.asked(self.look) / self.budget) - self.test
        n_test = min(max(share, 0) // per_test, fresh, room)
        n_pool = _affordable(costs[: room - n_test], self.pool_left)
        return n_pool, min(room - n_pool, fresh)


def _affordable(costs: Sequence[int], answers: int) -> int:
    """How many asks so many answers begin."""
    before = (sum(costs[:n]) for n in range(len(costs)))
    return sum(spent < answers for spent in before)


def states(resolved: Mapping[int, TestState], asked: Mapping[int, bool]) -> Callable[[int], TestState]:
    """State of each test item: what its answers say, else whether it was asked (True: too long ago)."""

    def state(item: int) -> TestState:
        if item in resolved:
            return resolved[item]
        if item not in asked:
            return TestState.FRESH
        return TestState.OVERDUE if asked[item] else TestState.OUTSTANDING

    return state
