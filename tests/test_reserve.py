"""The reserved test order, the prefix that a look uses, and the share of the budget."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_loop.errors import DataError
from active_loop.reserve import Spending, TestState, draw, prefix
from active_loop.settings import LookPlan

V, X, L, W, F = TestState.VALID, TestState.EXCLUDED, TestState.OVERDUE, TestState.OUTSTANDING, TestState.FRESH


def walk(states: list[TestState], m: int) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    found = prefix(range(len(states)), states.__getitem__, m)
    return found.judged, found.fresh, found.outstanding, found.excluded


def test_a_skipped_test_item_is_replaced_by_the_next_in_the_order() -> None:
    assert walk([V, X, V, V, F], 3) == ((0, 2, 3), (), 0, 1)
    assert walk([V, X, V, F, F], 3) == ((0, 2), (3,), 0, 1)


def test_an_open_test_item_holds_the_look_and_an_overdue_one_counts() -> None:
    assert walk([V, W, V, F], 3) == ((0, 2), (), 1, 0)
    assert walk([V, L, V, F], 3) == ((0, 1, 2), (), 0, 0)


def test_answers_behind_an_item_that_was_never_asked_do_not_count() -> None:
    judged, fresh, _, _ = walk([V, F, V, V], 3)
    assert (judged, fresh) == ((0,), (1,))


@given(st.lists(st.sampled_from([V, X, L, W, F]), max_size=40), st.integers(0, 30))
def test_a_prefix_never_holds_more_than_m_items(states: list[TestState], m: int) -> None:
    judged, fresh, outstanding, _ = walk(states, m)
    assert len(judged) + len(fresh) + outstanding <= m
    assert all(states[i] in (V, L) for i in judged)
    assert all(states[i] is F for i in fresh)


def test_the_draw_is_uniform_and_reserves_what_the_plan_says() -> None:
    hits = Counter[int]()
    for seed in range(2000):
        plan, ranks = draw(20, 50, seed)
        assert sorted(ranks.values()) == list(range(plan.reserved))
        hits.update(ranks.keys())
    assert plan.reserved == 8
    expected = 2000 * 8 / 20
    assert all(abs(hits[i] - expected) < 5 * np.sqrt(expected * 0.6) for i in range(20))


def test_a_group_stands_on_one_side() -> None:
    groups = [f"patient {n // 5}" for n in range(100)]
    for seed in range(20):
        plan, ranks = draw(100, 60, seed, groups)
        sides = {(groups[i], i in ranks) for i in range(100)}
        assert len(sides) == 20
        assert 0 < plan.reserved == len(ranks) <= 40


def test_one_single_group_leaves_nothing_to_test_and_says_so() -> None:
    with pytest.raises(DataError, match=r"100 items leave 0 for testing and 100 to learn from"):
        draw(100, 60, 0, ["the only one"] * 100)


def spending(**changes: object) -> Spending:
    fields = {"plan": LookPlan.at_import(1797, 500), "budget": 500, "look": 1, "pool": 0, "test": 0, "gate_open": False}
    return Spending(**(fields | changes))  # type: ignore[arg-type]


def test_test_asks_are_mixed_in_by_their_share_of_the_budget() -> None:
    assert spending().batch(20, [1] * 100, 200) == (12, 8)
    assert spending(pool=12, test=8).batch(20, [1] * 100, 192) == (12, 8)


def test_test_items_keep_people_busy_while_there_is_no_ranking() -> None:
    assert spending().batch(20, [1] * 0, 200) == (0, 20)
    assert spending(pool=0, test=200).batch(20, [1] * 0, 0) == (0, 0)


def test_while_a_look_is_due_only_test_items_are_asked() -> None:
    assert spending(pool=120, test=80, gate_open=True).batch(20, [1] * 100, 120) == (0, 20)


def test_the_training_share_ends_where_the_test_share_begins() -> None:
    assert spending(pool=300, test=190).batch(20, [1] * 100, 10) == (0, 10)
    assert spending(pool=299, test=200).batch(20, [1] * 100, 0) == (1, 0)
    assert spending(pool=300, test=200).left == 0


def test_replacements_borrow_from_the_next_look_and_never_from_training() -> None:
    assert spending(pool=120, test=200, gate_open=True).batch(20, [1] * 100, 5) == (0, 5)
    assert spending(pool=300, test=200, gate_open=True).batch(20, [1] * 100, 5) == (0, 0)
    for look in (1, 2, 3):
        for test in range(300):
            assert spending(look=look, test=test).pool_left == spending(
                look=look
            ).pool_left or test > spending().plan.m(look)


@given(st.integers(50, 1000), st.integers(20, 5000), st.integers(1, 3), st.data())
def test_the_budget_is_never_overspent(budget: int, n_items: int, people: int, data: st.DataObject) -> None:
    plan, costs = (
        LookPlan.at_import(n_items, budget, people=people),
        data.draw(st.lists(st.integers(1, 3), max_size=30)),
    )
    pool = test = 0
    for _ in range(60):
        gate_open = data.draw(st.booleans())
        s = Spending(plan, budget, data.draw(st.integers(1, 4)), pool, test, gate_open)
        n_pool, n_test = s.batch(20, costs, data.draw(st.integers(0, 30)))
        assert n_pool >= 0
        assert n_test >= 0
        assert n_pool + n_test <= 20
        assert sum(costs[: max(0, n_pool - 1)]) < max(1, s.pool_left)  # only the last ask may want more than there is
        pool, test = pool + min(sum(costs[:n_pool]), s.pool_left), test + people * n_test
    assert pool + test <= budget


def test_two_people_for_each_test_item_cost_as_much_as_twice_the_items() -> None:
    one, two = LookPlan.at_import(3000, 400), LookPlan.at_import(3000, 400, people=2)
    assert [(plan.m(1), plan.asked(1)) for plan in (one, two)] == [(160, 160), (80, 160)]
    assert spending(plan=two, budget=400).batch(20, [1] * 30, 200) == (12, 8)
    assert spending(plan=two, budget=400, pool=240, test=158).batch(20, [1] * 30, 200) == (0, 1)
