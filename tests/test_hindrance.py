"""What stands between a loop and its certificate is said in words that name both numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from active_loop.domain import Score
from active_loop.evaluate import lower_bound
from active_loop.hindrance import hindrance, more_test_labels
from active_loop.settings import BudgetSettings, DataSettings, LookPlan, Settings, TargetSettings

PLAN = LookPlan.at_import(2000, 400)
SETTINGS = Settings(budget=BudgetSettings(answers=400))


def reading(value: float, n: int, metric: str = "accuracy") -> Score:
    return Score(3, metric, value, value - 0.1, min(1.0, value + 0.1), n)


def test_nothing_stands_in_the_way_of_a_good_model() -> None:
    assert hindrance(SETTINGS, PLAN, 0, reading(0.97, 100), 1.0) == ""
    assert hindrance(SETTINGS, PLAN, 0, None, 1.0) == ""


def test_a_model_below_its_target_may_still_learn() -> None:
    assert hindrance(SETTINGS, PLAN, 0, reading(0.85, 100), 1.0) == ""


def test_a_model_a_little_above_its_target_needs_more_test_items_than_there_are() -> None:
    said = hindrance(SETTINGS, PLAN, 0, reading(0.92, 100), 1.0)
    more = more_test_labels(SETTINGS, 0, reading(0.92, 100))
    assert more is not None
    assert said.startswith("with this test set if the model stays at 0.920")
    assert f"about {100 + more} test labels, and there are 240" in said
    assert lower_bound(int(0.92 * (100 + more)), 100 + more, 0.025) >= 0.9


@pytest.mark.parametrize("looked", [0, 1, 2, 3])
def test_a_test_set_is_too_small_where_not_even_a_perfect_model_passes_any_look_that_is_left(looked: int) -> None:
    small = LookPlan(400, 35, 35)
    said = hindrance(SETTINGS, small, looked, None, 1.0)
    most = lower_bound(35, 35, 0.05 / 2 ** (looked + 1))
    assert said == f"with this test set: even 35 of 35 right would prove only {most:.3f}"
    enough = LookPlan(400, 36, 36)
    assert (hindrance(SETTINGS, enough, looked, None, 1.0) == "") == (looked == 0)


def test_nobody_can_be_measured_above_what_people_agree_on() -> None:
    assert "agreement: where they differ so much, no model can show more than 0.880" in hindrance(
        SETTINGS, PLAN, 0, reading(0.85, 100), 0.88
    )
    assert hindrance(SETTINGS, PLAN, 0, reading(0.85, 100), 0.95) == ""


def test_groups_and_metrics_without_a_bound_are_named() -> None:
    grouped = replace(SETTINGS, data=DataSettings(group="patient"))
    assert hindrance(grouped, PLAN, 0, None, 1.0) == "at all: data.group is set"
    macro = replace(SETTINGS, target=TargetSettings(metric="macro_f1"))
    assert hindrance(macro, PLAN, 0, reading(0.99, 200, "macro_f1"), 1.0) == "at all: target.metric is macro_f1"
    assert more_test_labels(macro, 0, reading(0.99, 200, "macro_f1")) is None
    recall = replace(SETTINGS, target=TargetSettings(metric="recall"))
    assert hindrance(recall, PLAN, 0, reading(0.91, 200, "recall"), 1.0) == "", "size and value do not tell its bound"
