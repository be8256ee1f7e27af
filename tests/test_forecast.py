"""The forecast: curves that are known are found again, bands are as wide as they must be, units add up."""

from __future__ import annotations

import importlib
from dataclasses import astuple, replace
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import open_loop, settings, write_points
from rich.console import Console

from active_loop.domain import Score, Stopped
from active_loop.evaluate import lower_bound, upper_bound
from active_loop.forecast import Band, Curves, Forecast, Pace, Readings, curves, forecast, sentence
from active_loop.labeling import Oracle
from active_loop.report import status
from active_loop.screen import status_page
from active_loop.settings import BudgetSettings, LookPlan, Settings, TargetSettings, TaskSettings

ROUNDS = tuple(range(20, 130, 10))
SETTINGS = Settings(task=TaskSettings(classes=("yes", "no")), budget=BudgetSettings(answers=400))
PLAN = LookPlan.at_import(3000, 400)
PACE = Pace(seconds=36.0, price_per_hour=20.0, per_day=50, today=date(2026, 12, 20))


def exact(
    limit: float, lost: float, exponent: float, half: float = 0.001, rounds: tuple[int, ...] = ROUNDS
) -> Readings:
    """Readings that lie on a power law, with intervals of this half width."""
    values = [limit - lost * n**-exponent for n in rounds]
    return tuple(
        (n, Score(k, "accuracy", value, value - half, value + half, max(50, n)))
        for k, (n, value) in enumerate(zip(rounds, values, strict=True))
    )


def read(readings: Readings, most: int = 2000, best: float = 1.0, lower_is_better: bool = False) -> Curves:
    found = curves(readings, most, best, lower_is_better)
    assert found is not None
    return found


@pytest.mark.parametrize(("limit", "lost", "exponent"), [(0.97, 1.2, 0.6), (0.92, 3.0, 1.0), (0.99, 0.8, 0.4)])
def test_an_exact_curve_is_found_again(limit: float, lost: float, exponent: float) -> None:
    found = read(exact(limit, lost, exponent))
    for ahead in (150, 200):
        band = found.band(limit - lost * ahead**-exponent)
        assert band is not None
        assert band.low <= ahead - ROUNDS[-1] <= band.high
        assert ROUNDS[-1] + band.middle == pytest.approx(ahead, rel=0.2)


def test_what_is_there_already_needs_no_more_labels() -> None:
    assert read(exact(0.97, 1.2, 0.6)).band(0.8) == Band(0, 0, 0)


def test_a_flat_curve_below_the_target_is_out_of_reach() -> None:
    found = read(exact(0.85, 0.8, 1.5, half=0.02))
    assert found.chance(0.95) < 0.05
    told = forecast(found, SETTINGS, PLAN, 0, (110, 110), PACE)
    assert told.out_of_reach > 0.8
    assert sentence(told, 0.9).startswith("This target is probably out of reach with these features (chance ")


@pytest.mark.parametrize("half", [0.002, 0.03, 0.08])
def test_more_is_needed_for_a_higher_target(half: float) -> None:
    found = read(exact(0.96, 1.5, 0.7, half))
    targets = np.linspace(0.6, 0.99, 40)
    assert (np.diff([found.chance(target) for target in targets]) <= 1e-12).all()
    needed = np.array([found.labels(target) for target in targets])
    assert (needed[1:] >= needed[:-1]).all(), "for every single curve"


def test_a_common_error_does_not_shrink_with_the_rounds() -> None:
    few = tuple(range(100, 150, 10))
    many = tuple(range(100, 141))

    def spread(rounds: tuple[int, ...]) -> float:
        readings = tuple((n, Score(n, "accuracy", 0.85, 0.78, 0.91, 100)) for n in rounds)
        found = read(readings)
        mean = found.weights @ found.now
        return float(np.sqrt(found.weights @ (found.now - mean) ** 2))

    assert spread(few) == pytest.approx(0.13 / 2 / 1.96, rel=0.25)
    assert spread(many) > 0.85 * spread(few), "independent readings would have made it a third"


def test_bands_hold_the_truth_as_often_as_they_say() -> None:
    """Power laws read on nested draws of items: 40 loops, 94 % of the curves; less 4 standard errors is 0.79."""
    rng, held, truth = np.random.default_rng(5), [], 0.9 - 0.9 * 300**-0.5
    for _ in range(40):
        items = rng.random(120)  # an item is right from the quality on that it asks for
        scores = []
        for k, n in enumerate(ROUNDS):
            right = int((items[:n] < 0.9 - 0.9 * n**-0.5).sum())
            bounds = lower_bound(right, n, 0.025), upper_bound(right, n, 0.025)
            scores.append((n, Score(k, "accuracy", right / n, *bounds, n)))
        band = read(tuple(scores), 10_000).band(truth)
        held.append(band is not None and band.low <= 300 - ROUNDS[-1] <= band.high)
    assert np.mean(held) >= 0.79


@pytest.mark.parametrize(
    "values", [[0.8] * 11, [1.0] * 11, [0.0] * 11, np.linspace(0.9, 0.6, 11), [0.5, 1.0] * 5 + [0.7]]
)
@pytest.mark.parametrize("half", [0.0, 0.05])
def test_no_curve_is_too_odd(values: list[float], half: float) -> None:
    readings = tuple(
        (n, Score(n, "accuracy", float(v), max(0.0, v - half), min(1.0, v + half), 60))
        for n, v in zip(ROUNDS, values, strict=True)
    )
    found = read(readings)
    assert found.weights.sum() == pytest.approx(1)
    told = forecast(found, SETTINGS, PLAN, 0, (60, 60), PACE)
    assert 0 <= told.out_of_reach <= told.unproven <= 1
    assert sentence(told, 0.9)


def test_of_errors_less_is_better() -> None:
    shares = exact(0.97, 1.2, 0.6, half=0.01)
    errors = tuple((n, Score(s.round, "brier", 1 - s.value, 1 - s.high, 1 - s.low, s.n)) for n, s in shares)
    up, down = read(shares), read(errors, best=0.0, lower_is_better=True)
    assert down.chance(0.06) == pytest.approx(up.chance(0.94))
    for less, more in zip(astuple(down.band(0.06)), astuple(up.band(0.94)), strict=True):  # type: ignore[arg-type]
        assert less == pytest.approx(more)
    target = TargetSettings(metric="brier", value=0.06)
    told = forecast(down, replace(SETTINGS, target=target), PLAN, 0, (110, 110), PACE)
    assert told.needed == 0.06
    assert told.best == pytest.approx(0)


def test_too_few_rounds_or_test_answers_say_nothing() -> None:
    assert curves(exact(0.95, 1, 0.5)[:4], 1000) is None
    few = tuple((n, replace(score, n=49)) for n, score in exact(0.95, 1, 0.5))
    assert curves(few, 1000) is None


def test_disagreement_of_people_is_a_ceiling() -> None:
    found = read(exact(0.9, 1.0, 0.7, half=0.03), best=0.88)
    assert found.chance(0.9) == 0
    told = forecast(found, SETTINGS, PLAN, 0, (110, 110), PACE)
    assert sentence(told, 0.9) == (
        "This target is probably out of reach with this much disagreement: no model can be measured above 0.88 "
        "(chance above 99 %)."
    )


def test_answers_become_hours_money_and_dates() -> None:
    told = forecast(read(exact(0.99, 1.2, 0.6, half=0.02)), SETTINGS, PLAN, 0, (110, 110), PACE)
    assert told.test in (PLAN.m(1) - 110, PLAN.m(2) - 110)
    assert told.learn is not None
    assert told.hours == told.learn.plus(told.test).times(0.01)
    assert told.money == told.hours.times(20)
    assert told.dates is not None
    days = [(date.fromisoformat(each) - PACE.today).days for each in told.dates]
    answers = told.learn.plus(told.test)
    assert days == [int(np.ceil(each / 50)) for each in (answers.low, answers.middle, answers.high)]


def test_a_larger_budget_is_more_likely_to_be_enough() -> None:
    found = read(exact(0.96, 1.2, 0.6, half=0.02))
    chances = []
    for answers in (220, 400, 700, 10_000):
        told = forecast(
            found, replace(SETTINGS, budget=BudgetSettings(answers=answers, per_day=9)), PLAN, 0, (110, 110), PACE
        )
        chances.append(told.enough)
        assert told.enough <= 1 - told.unproven
    assert chances == sorted(chances)
    assert chances[0] == 0
    assert chances[-1] == pytest.approx(1 - told.unproven)


def test_without_price_or_pace_nothing_is_said_of_them() -> None:
    found = read(exact(0.99, 1.2, 0.6, half=0.02))
    told = forecast(found, SETTINGS, PLAN, 0, (110, 110), replace(PACE, price_per_hour=0, per_day=0))
    assert told.money is None
    assert told.dates is None
    assert "money" not in sentence(told, 0.9)
    assert forecast(found, SETTINGS, PLAN, 0, (110, 110), replace(PACE, per_day=1e-9)).dates is None, (
        "after all calendars"
    )


def test_what_is_needed_proves_the_target_in_four_cases_of_five() -> None:
    told = forecast(read(exact(0.99, 1.2, 0.6, half=0.02)), SETTINGS, PLAN, 0, (110, 110), PACE)
    size = told.test + 110
    rng = np.random.default_rng(0)
    level = 0.05 / 2 ** (1 if size == PLAN.m(1) else 2)
    proven = [lower_bound(int(right), size, level) >= 0.9 for right in rng.binomial(size, told.needed, size=2000)]
    assert np.mean(proven) == pytest.approx(0.8, abs=0.036), "4 standard errors"


def test_the_sentence_is_rounded_as_people_speak() -> None:
    learn = Band(78.2, 138.0, 349.0)
    told = Forecast(
        120,
        0.95,
        learn,
        158,
        Band(0.684, 1.24, 3.04),
        None,
        ("2026-11-28", "2026-12-03", "2026-12-20"),
        0.22,
        0.3,
        0.351,
        1.0,
    )
    assert sentence(told, 0.9) == (
        "About 140 (80 to 350) more answers to learn and 160 to test, 1.2 (0.68 to 3.0) hours, "
        "2026-12-03 (11-28 to 12-20) at your pace; 22 % chance that the target is out of reach with these features, "
        "35 % that the budget is enough."
    )
    across = replace(told, dates=("2026-12-28", "2026-12-30", "2027-01-03"), learn=Band(0, 0, 0))
    assert "About no more answers" not in sentence(across, 0.9)
    assert "2026-12-30 (2026-12-28 to 2027-01-03)" in sentence(across, 0.9)


def test_a_proof_that_is_out_of_reach_is_said_to_be() -> None:
    told = Forecast(120, 0.96, Band(80, 138, 349), 158, None, None, None, 0.3, 0.7, 0.1, 1.0)
    assert sentence(told, 0.9) == (
        "This target can probably not be proven by the looks that are left: that takes a model at 0.960, "
        "which is out of reach with a chance of 70 %."
    )


# in a loop


def test_a_real_loop_tells_what_is_left_from_its_fifth_reading_until_its_end(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=900, spread=1.5)
    told = settings(target={"value": 0.75}, budget={"answers": 300, "price_per_hour": 18.0})
    loop = open_loop(tmp_path, Oracle(labels), told)
    seen = []
    while not isinstance(loop.step(), Stopped):
        now = status(loop.store)
        readings = [point for point in now.curve if point.value is not None]
        assert (now.forecast is not None) <= (len(readings) >= 5)
        if now.forecast:
            seen.append((now, readings[-1]))
    assert 3 < len({now.forecast for now, _ in seen}) <= len({point for _, point in seen}), "it moves with rounds alone"
    assert status(loop.store).forecast is None
    now, point = seen[-1]
    assert now.forecast is not None
    assert now.forecast.n_labels == point.n_labels
    console = Console(width=300, record=True, file=StringIO())
    console.print(status_page(now))
    assert sentence(now.forecast, 0.75) in console.export_text()


# the benchmark


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "benchmarks"))
    return importlib.import_module("forecast")


def test_the_benchmark_knows_when_a_target_is_reached(bench: Any) -> None:
    labels = np.arange(15, 501, 10)
    known = bench.Known("clouds", 0, labels, np.linspace(0, 1, 2000) < (0.95 - labels**-0.6)[:, None])
    cases = list(bench.cases(known, 0))
    reached = [case for case in cases if case.reached]
    assert {case.more % 10 for case in reached} == {0.0}
    assert len(cases) > len(reached) > 0
    for case in reached:
        bands = [case.ours[tail] for tail in bench.TAILS]
        assert [band.high - band.low for band in bands] == sorted((b.high - b.low for b in bands), reverse=True)
    assert "| clouds |" in bench.page(cases, 1)


def test_the_usual_forecast_finds_a_power_law(bench: Any) -> None:
    labels = np.arange(20, 130, 10)
    hits = np.linspace(0, 1, 5000)[np.random.default_rng(0).permutation(5000)] < (0.95 - labels**-0.6)[:, None]
    usual = bench.Usual.of(labels, np.full(11, 5000), hits, 10_000, np.random.default_rng(1))
    chance, band = usual.told(0.95 - 300**-0.6)
    assert chance < 0.1
    assert band.low <= 300 - 120 <= band.high


def test_the_measured_tail_is_the_largest_that_holds_on_every_set(bench: Any) -> None:
    def case(name: str, high: float, wide: float) -> Any:
        bands = {tail: Band(0, 1, wide if tail <= 0.05 else high) for tail in bench.TAILS}
        return bench.Case(name, 100.0, 0.1, 0.1, None, bands)

    easy, hard = case("clouds", 150, 150), case("adult", 50, 150)
    assert bench.measured_tail([easy]) == 0.2
    assert bench.measured_tail([easy, hard]) == 0.05
    assert bench.measured_tail([easy, case("adult", 50, 50)]) == 0.01


def test_what_is_to_come_starts_at_the_value_now_and_rises_with_the_labels() -> None:
    told = forecast(read(exact(0.95, 1.2, 0.6, half=0.02)), SETTINGS, PLAN, 0, (110, 110), PACE)
    numbers, bands = zip(*told.ahead, strict=True)
    assert numbers[0] == told.n_labels
    assert list(numbers) == sorted(set(numbers))
    assert all(band.low <= band.middle <= band.high for band in bands)
    assert [band.middle for band in bands] == sorted(band.middle for band in bands)
