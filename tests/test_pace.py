"""How long an answer takes, and what hours and money pay for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from active_loop.domain import Annotation, AnswerKind
from active_loop.pace import affordable, answers_per_day, measured, seconds_per_answer
from active_loop.settings import BudgetSettings

AT = datetime(2026, 1, 1, tzinfo=UTC)


def answer(ask: str, seconds: float | None, *, id_: str = "1") -> Annotation:
    return Annotation("here", id_, AT, AnswerKind.SUBMITTED, '"ham"', "ann", ask=ask, lead_time_s=seconds)


def test_the_newest_version_of_an_answer_counts_once_and_other_asks_do_not() -> None:
    first = answer("a", 4.0)
    again = replace(first, lead_time_s=9.0)
    assert measured([first, again, answer("test", 99.0, id_="2"), answer("b", None, id_="3")], {"a", "b"}) == [9.0]


def test_somebody_who_went_away_for_lunch_does_not_make_the_hours_run_out() -> None:
    working = [5.0] * 20
    assert seconds_per_answer([*working, 3600.0], 10.0) == pytest.approx((100 + 50) / 21)
    assert seconds_per_answer([0.0] * 5, 10.0) == 1.0
    assert seconds_per_answer([5.0] * 4, 10.0) == 10.0


def test_the_tightest_limit_counts() -> None:
    budget = BudgetSettings(answers=400, hours=1.0, money=10.0, price_per_hour=20.0)
    assert affordable(budget, 10.0) == (180, "money")
    assert affordable(replace(budget, money=0.0), 10.0) == (360, "hours")
    assert affordable(replace(budget, answers=100), 10.0) == (100, "budget")
    assert affordable(BudgetSettings(answers=400, hours=0.1), 0.1) == (400, "budget")


def test_a_first_afternoon_says_nothing_of_the_answers_a_day() -> None:
    assert answers_per_day([]) == 0
    assert answers_per_day([AT + timedelta(minutes=minute) for minute in range(600)]) == 0
    assert answers_per_day([AT + timedelta(days=day) for day in (0, 0, 0, 1, 4, 4)]) == 1.5
