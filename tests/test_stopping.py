"""The gate and the decision, from hand-made histories."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest

from active_loop.domain import Decision, History, Look, Progress, Verdict
from active_loop.evaluate import Claim
from active_loop.settings import BudgetSettings, Settings, StopSettings
from active_loop.stopping import decide, gate, in_force, limits, verdict


def rounds(*pairs: tuple[int, float | None], looked: int | None = None, ended: int | None = None) -> list[Progress]:
    return [
        Progress(number, n, agreement, looked=number == looked, ended=number == ended)
        for number, (n, agreement) in enumerate(pairs)
    ]


def test_the_gate_opens_when_two_rounds_in_a_row_agree_and_labels_are_enough() -> None:
    assert gate(rounds((40, 0.99), (50, 0.985)))
    assert not gate(rounds((40, 0.99), (50, 0.984)))
    assert not gate(rounds((20, 0.99), (30, 0.99)))
    assert not gate(rounds((50, 0.99)))
    assert not gate(rounds((40, None), (50, 0.99)))


def test_an_open_gate_stays_open_until_its_look() -> None:
    assert gate(rounds((40, 0.99), (50, 0.99), (60, 0.5), (70, 0.5)))
    assert not gate(rounds((40, 0.99), (50, 0.99), (60, 0.5), (70, 0.5), looked=2))


def test_after_a_look_a_quarter_more_labels_are_needed() -> None:
    assert not gate(rounds((90, 0.99), (100, 0.99), (110, 0.99), (120, 0.99), looked=1))
    assert gate(rounds((90, 0.99), (100, 0.99), (110, 0.99), (120, 0.99), (130, 0.99), looked=1))


def test_the_end_opens_the_gate_once_more() -> None:
    assert gate(rounds((20, 0.5), (30, 0.5), ended=1))
    assert not gate(rounds((20, 0.5), (30, 0.5), looked=1, ended=1))


def test_no_test_figure_can_reach_the_gate() -> None:
    assert set(Progress.__slots__) == {"round", "n_labels", "agreement", "looked", "ended"}
    assert list(inspect.signature(gate).parameters) == ["progress"]


@pytest.mark.parametrize(
    ("claim", "certifiable", "wanted"),
    [
        (Claim(0.96, 192, 200, 0.92, 0.99), True, Verdict.CERTIFIED),
        (Claim(0.96, 192, 200, 0.92, 0.99), False, Verdict.LIKELY),
        (Claim(0.93, 186, 200, 0.89, 0.93), True, Verdict.LIKELY),
        (Claim(0.91, 182, 200, 0.86, 0.7), True, Verdict.REACHED),
        (Claim(0.89, 178, 200, 0.84, 0.3), True, Verdict.NOT_REACHED),
        (Claim(0.8, 178, 200, 0.89, 1.0, lower_is_better=True), True, Verdict.CERTIFIED),
        (Claim(0.8, 178, 200, 0.91, 0.5, lower_is_better=True), True, Verdict.REACHED),
        (Claim(0.91, 178, 200, 0.95, 0.1, lower_is_better=True), True, Verdict.NOT_REACHED),
    ],
)
def test_verdicts_are_kept_apart(claim: Claim, certifiable: bool, wanted: Verdict) -> None:
    assert verdict(claim, 0.9, certifiable) == wanted


def look(verdict_: Verdict) -> Look:
    return Look(1, 3, 0, 200, 200, 0.025, 0.9, "accuracy", 0.95, 0.91, 0.98, 190, 0.91, 0.99, verdict_)


def history(*looks: Verdict, stop_on: Verdict = Verdict.CERTIFIED, due: bool = False, over: str = "") -> History:
    return History((), (), tuple(look(v) for v in looks), stop_on, due, over)


def test_the_loop_stops_on_what_a_look_proved_and_on_nothing_less() -> None:
    assert decide(history(Verdict.CERTIFIED)) == Decision(True, "target", Verdict.CERTIFIED)
    assert not decide(history(Verdict.LIKELY)).stop
    assert decide(history(Verdict.LIKELY, stop_on=Verdict.LIKELY)) == Decision(True, "target", Verdict.LIKELY)
    assert decide(history(Verdict.CERTIFIED, stop_on=Verdict.LIKELY)).stop
    assert not decide(history()).stop


def test_at_the_end_the_due_look_comes_first() -> None:
    assert not decide(history(over="budget", due=True)).stop
    assert decide(history(Verdict.REACHED, over="budget")) == Decision(True, "budget", Verdict.REACHED)
    assert decide(history(over="pool")) == Decision(True, "pool", Verdict.NOT_REACHED)


def test_a_person_ends_the_loop_at_once_and_with_a_reason() -> None:
    assert decide(replace(history(due=True), by_hand="no more funds")) == Decision(
        True, "by hand", Verdict.NOT_REACHED, "no more funds"
    )
    assert decide(replace(history(Verdict.CERTIFIED), by_hand="no more funds")).reason == "target"


def test_predictions_that_no_longer_change_end_the_loop_and_prove_nothing() -> None:
    settled = rounds((40, 0.9), (50, 0.99), (60, 0.985), (70, 0.99))
    for needed, stops in ((2, True), (3, True), (4, False), (5, False), (0, False)):
        told = replace(history(Verdict.REACHED), progress=tuple(settled), stable_rounds=needed)
        assert decide(told) == Decision(stops, "stable" if stops else "", Verdict.REACHED)
    assert not decide(replace(history(due=True), progress=tuple(settled), stable_rounds=3)).stop


def test_a_target_out_of_reach_ends_the_loop_only_where_that_was_said() -> None:
    for bound, chance, stops in ((0.9, 0.95, True), (0.9, 0.9, False), (0.0, 1.0, False)):
        told = replace(history(Verdict.REACHED), out_of_reach=chance, unreachable=bound)
        assert decide(told) == Decision(stops, "unreachable" if stops else "", Verdict.REACHED)
    assert not decide(replace(history(due=True), out_of_reach=0.95, unreachable=0.9)).stop


LIMITED = Settings(
    budget=BudgetSettings(answers=100, hours=2.0, money=50.0, price_per_hour=20.0),
    stop=StopSettings(deadline="2026-12-24", by_hand="no more funds", stable_rounds=3, unreachable=0.9),
)


@pytest.mark.parametrize(
    ("reason", "section", "looser", "tighter"),
    [
        ("budget", "budget", {"answers": 150}, {"answers": 90}),
        ("hours", "budget", {"hours": 3.0}, {"hours": 1.0}),
        ("hours", "budget", {"hours": 0.0}, {"answers": 400}),
        ("money", "budget", {"money": 60.0}, {"money": 40.0}),
        ("deadline", "stop", {"deadline": "2026-12-25"}, {"deadline": "2026-12-23"}),
        ("deadline", "stop", {"deadline": ""}, {"deadline": "2026-12-24T23:59:59+00:00"}),
        ("by hand", "stop", {"by_hand": ""}, {"by_hand": "another reason"}),
        ("stable", "stop", {"stable_rounds": 5}, {"stable_rounds": 2}),
        ("stable", "stop", {"stable_rounds": 0}, {"deadline": ""}),
        ("unreachable", "stop", {"unreachable": 0.95}, {"unreachable": 0.8}),
        ("unreachable", "stop", {"unreachable": 0.0}, {"stable_rounds": 9}),
    ],
)
def test_what_is_loosened_takes_back_a_stop_that_it_caused_and_no_other(
    reason: str, section: str, looser: dict[str, Any], tighter: dict[str, Any]
) -> None:
    stop = {"reason": reason, "because": "", "verdict": "reached", "limits": limits(LIMITED)}

    def told(changes: dict[str, Any]) -> Settings:
        return replace(LIMITED, **{section: replace(getattr(LIMITED, section), **changes)})

    assert in_force(stop, LIMITED) == Decision(True, reason, Verdict.REACHED)
    assert in_force(stop, told(looser)) is None
    assert in_force(stop, told(tighter)) is not None
    assert in_force(stop | {"reason": "pool"}, told(looser)) is not None
    assert in_force(stop | {"verdict": "certified"}, told(looser)) is not None
