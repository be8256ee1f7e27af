"""What a plan promises is what the loop does: the chances against every possible sample and against the loop's code."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from loops import open_loop, run_to_end, settings, write_points

from active_loop import looks, reserve
from active_loop.chances import Proof, ceiling, chance, impossible, labels_for_a_proof, proof_of, quality_needed
from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.domain import History, Merged, Outcome, Verdict
from active_loop.errors import ConfigError
from active_loop.evaluate import lower_bound, posterior
from active_loop.labeling import Oracle
from active_loop.outlook import outlook
from active_loop.planning import Calendar, Plan, Premises, first_day, make_plan, sentences, table, with_options
from active_loop.report import status
from active_loop.reserve import TestState
from active_loop.settings import BudgetSettings, LookPlan, PeopleSettings, Settings
from active_loop.stopping import decide
from active_loop.tasks import make_task

MONDAY = date(2026, 10, 19)


def told(**options: Any) -> Settings:
    return with_options(None, **options)


def planned(said: dict[str, Any] | None = None, **premises: Any) -> Plan:
    """The plan for 0.90 with 400 answers, or for what else is said; of three classes."""
    return make_plan(
        Premises(
            settings(**({"target": {"value": 0.9}, "budget": {"answers": 400}} | (said or {}))), MONDAY, **premises
        )
    )


# the chances


def enumerated(proof: Proof, quality: float) -> tuple[float, float, float]:
    """The same three numbers from every sequence of right and wrong answers, judged one by one."""
    certified = likely = answers = 0.0
    for sample in itertools.product((0, 1), repeat=proof.sizes[-1]):
        weight = math.prod(quality if right else 1 - quality for right in sample)
        ended = ""
        for look, m in enumerate(proof.sizes, 1):
            right = sum(sample[:m])
            if proof.certifiable and lower_bound(right, m, proof.alpha / 2**look) >= proof.target:
                ended = "certified"
                break
            ended = "likely" if posterior(right, m, proof.target) >= 0.9 else ""
            if ended and proof.stop_on == Verdict.LIKELY:
                break
        certified += weight * (ended == "certified")
        likely += weight * (ended != "")
        answers += weight * m
    return certified, likely, answers


@pytest.mark.parametrize("stop_on", [Verdict.CERTIFIED, Verdict.LIKELY])
@pytest.mark.parametrize("certifiable", [True, False])
@pytest.mark.parametrize(("sizes", "quality"), [((4, 7, 11), 0.8), ((4, 7, 11), 0.5), ((3, 4, 9), 0.97), ((10,), 0.9)])
def test_the_chances_are_those_of_every_possible_sample(
    sizes: tuple[int, ...], quality: float, stop_on: Verdict, certifiable: bool
) -> None:
    proof = Proof(sizes, 0.5, 0.4, certifiable, stop_on)
    found = chance(proof, quality)
    assert (found.certified, found.likely, found.test_answers) == pytest.approx(enumerated(proof, quality), abs=1e-12)


def test_the_chances_agree_with_the_code_that_draws_asks_and_judges() -> None:
    """Within 4 standard errors over 1500 loops, of which each has its own draw, answers and predictions."""
    said = settings(target={"value": 0.8, "stop_on": "certified"}, budget={"answers": 100})
    proof, quality, n_items = proof_of(said, 200), 0.91, 200
    assert proof.sizes == (50, 60)
    rng, ends = np.random.default_rng(5), []
    for seed in range(1500):
        plan, ranks = reserve.draw(n_items, 100, seed)
        truth = rng.integers(0, 3, size=n_items)
        predicted = np.where(rng.random(n_items) < quality, truth, (truth + 1) % 3)
        ends.append(one_loop(said, plan, ranks, truth, predicted))
    verdicts, answers = zip(*ends, strict=True)
    for expected, seen in [
        (chance(proof, quality).certified, [verdict == Verdict.CERTIFIED for verdict in verdicts]),
        (chance(proof, quality).likely, [verdict in (Verdict.CERTIFIED, Verdict.LIKELY) for verdict in verdicts]),
        (chance(proof, quality).test_answers, answers),
    ]:
        assert np.std(seen) > 0
        assert abs(np.mean(seen) - expected) < 4 * np.std(seen) / math.sqrt(len(seen))


def one_loop(
    said: Settings, plan: LookPlan, ranks: dict[int, int], truth: np.ndarray, predicted: np.ndarray
) -> tuple[Verdict, int]:
    """The verdict of a loop whose looks all take place, and the test answers it took."""
    task, order = make_task(said.task), sorted(ranks, key=lambda item: ranks[item])
    made = []
    for number in (1, 2):
        items = reserve.prefix(order, lambda item: TestState.VALID, plan.m(number)).judged
        labels = task.decode(truth[list(items)])
        merged = {
            item: Merged(item, label, Outcome.LABEL, {label: 1}, ("ann",), None, False, item)
            for item, label in zip(items, labels, strict=True)
        }
        rng, mean = np.random.default_rng(0), np.eye(len(task.classes))[predicted[list(items)]]
        look, _ = looks.judge(number, number, 0, plan.m(number), said.target, True, task, items, mean, merged, rng)
        made.append(look)
        if decide(History((), (), tuple(made), said.stop_on, False)).reason == "target":
            break
    return made[-1].verdict, made[-1].n


def test_known_sizes_are_the_ones_that_the_documentation_names() -> None:
    def right(n: int) -> int | None:
        return Proof((n,), 0.9, 0.05, True, Verdict.CERTIFIED).right(1)

    assert [right(n) for n in (35, 36, 50, 80, 160, 200)] == [None, 36, 50, 78, 152, 189]
    assert Proof((160, 240), 0.9, 0.05, True, Verdict.CERTIFIED).right(2) == 227


@pytest.mark.parametrize(
    ("target", "quality", "n"),
    [
        *((0.80, 0.82, 2420), (0.80, 0.85, 370), (0.80, 0.88, 136), (0.85, 0.90, 282), (0.90, 0.92, 1360)),
        *(
            (0.90, 0.93, 560),
            (0.90, 0.94, 286),
            (0.90, 0.95, 180),
            (0.90, 0.98, 62),
            (0.95, 0.98, 234),
            (0.95, 0.99, 124),
        ),
    ],
)
def test_the_size_of_a_proof_is_near_what_a_coarser_search_found(target: float, quality: float, n: int) -> None:
    found = labels_for_a_proof(target, 0.05, [quality])[quality]
    assert found is not None
    assert 0.94 * n <= found <= n


@pytest.mark.parametrize(("target", "quality"), [(0.8, 0.88), (0.9, 0.96), (0.95, 1.0)])
def test_the_size_of_a_proof_is_the_first_that_is_large_enough(target: float, quality: float) -> None:
    found = labels_for_a_proof(target, 0.025, [quality, target])
    powers = [chance(Proof((n,), target, 0.05, True, Verdict.CERTIFIED), quality).certified for n in range(1, 200)]
    assert found[quality] == 1 + next(place for place, power in enumerate(powers) if power >= 0.8)
    assert found[target] is None


@given(
    budget=st.integers(60, 1200),
    target=st.floats(0.5, 0.98),
    alpha=st.floats(0.01, 0.2),
    stop_on=st.sampled_from(["certified", "likely"]),
)
def test_a_model_at_its_target_is_certified_with_less_than_alpha(
    budget: int, target: float, alpha: float, stop_on: str
) -> None:
    said = settings(target={"value": target, "alpha": alpha, "stop_on": stop_on}, budget={"answers": budget})
    found = chance(proof_of(said, 5000), target)
    assert found.certified < alpha
    assert found.certified <= found.likely <= 1 + 1e-9


@given(st.integers(60, 1200), st.floats(0.5, 0.98), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_better_model_is_certified_more_often(budget: int, target: float, qualities: list[float]) -> None:
    proof = proof_of(settings(target={"value": target}, budget={"answers": budget}), 5000)
    worse, better = (chance(proof, quality).certified for quality in sorted(qualities))
    assert worse <= better + 1e-12


@pytest.mark.parametrize("quality", [0.92, 0.94, 0.96, 0.98])
def test_a_larger_budget_certifies_more_often(quality: float) -> None:
    chances = [
        chance(proof_of(settings(target={"value": 0.9}, budget={"answers": budget}), 5000), quality).certified
        for budget in (100, 200, 300, 400, 500, 1000)
    ]
    assert chances == sorted(chances)


def test_f1_is_counted_among_the_items_that_it_is_about() -> None:
    proof = replace(proof_of(settings(target={"value": 0.9}, budget={"answers": 400}), 5000, 0.25), f1=True)
    n, level = proof.n(1), proof.level(1)
    bounds = [lower_bound(right, n, level) for right in range(n + 1)]
    assert proof.right(1) == next(right for right, bound in enumerate(bounds) if 2 * bound / (1 + bound) >= 0.9)
    assert chance(proof, 0.95) == chance(replace(proof, f1=False, target=0.9 / 1.1), 0.95 / 1.05)
    assert proof.value(proof.share(0.7)) == pytest.approx(0.7)
    small = replace(proof, sizes=(60,))
    assert impossible(small) == "even 15 of 15 right would prove only 0.878"
    assert impossible(replace(small, f1=False)) == "even 15 of 15 right would prove only 0.782"


def test_the_quality_that_is_needed_is_the_least_that_is_sure() -> None:
    proof = Proof((160, 240), 0.9, 0.05, True, Verdict.CERTIFIED).first
    needed = quality_needed(proof)
    assert needed is not None
    assert chance(proof, needed - 0.001).certified < 0.8 <= chance(proof, needed).certified
    assert quality_needed(Proof((35,), 0.9, 0.05, True, Verdict.CERTIFIED)) is None


def test_the_looks_are_those_of_the_plan_each_size_once() -> None:
    for budget, n_items in itertools.product((60, 100, 400, 1000, 5000), (50, 300, 100_000)):
        plan = LookPlan.at_import(n_items, budget)
        sizes = proof_of(settings(budget={"answers": budget}), n_items).sizes
        assert sizes == tuple(dict.fromkeys(plan.m(look) for look in range(1, 20)))


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.lists(st.lists(st.floats(0.01, 1), min_size=n, max_size=n), min_size=1, max_size=5)
    )
)
def test_no_model_is_measured_above_the_ceiling_however_people_differ(weights: list[list[float]]) -> None:
    drawn = np.array(weights) / np.sum(weights, axis=1, keepdims=True)
    agreement, best = float(np.mean(np.sum(drawn**2, axis=1))), float(np.mean(drawn.max(axis=1)))
    assert best <= ceiling(max(agreement, 1 / drawn.shape[1]), drawn.shape[1]) + 1e-9


def test_the_ceiling_is_met_where_people_differ_equally_on_every_item() -> None:
    assert ceiling(0.9**2 + 0.1**2, 2) == pytest.approx(0.9)
    assert ceiling(0.9**2 + 4 * 0.025**2, 5) == pytest.approx(0.9)


# what cannot work


@pytest.mark.parametrize(
    ("value", "budget", "stop_on", "expected"),
    [
        (0.99, 400, "certified", "even 240 of 240 right would prove only 0.982"),
        (0.98, 400, "certified", ""),
        (0.99, 100, "likely", "even 60 of 60 right would show it with a probability of only 0.73"),
        (0.9, 100, "likely", ""),
    ],
)
def test_a_test_that_is_too_small_to_ever_prove_it_is_told(
    value: float, budget: int, stop_on: str, expected: str
) -> None:
    said = settings(target={"value": value, "stop_on": stop_on}, budget={"answers": budget})
    proof = proof_of(said, 5000)
    assert impossible(proof) == expected
    best = chance(proof, 1.0)
    assert ((best.certified if stop_on == "certified" else best.likely) == 0) == bool(expected)
    assert expected in outlook(said, 5000)
    notes = make_plan(Premises(said, MONDAY)).notes
    assert any("can never be" in note and expected in note for note in notes) == bool(expected)


def test_the_first_look_may_be_too_small_while_a_later_one_is_not() -> None:
    assert planned({"target": {"value": 0.98}, "budget": {"answers": 400}}).notes == (
        "Only look 2 can certify it: at the first even 160 of 160 are too few.",
    )
    small = make_plan(Premises(told(target=0.97, budget=200), MONDAY))
    assert small.notes == ("It can never be certified with 200 answers, only shown as likely.",)


def test_too_few_items_are_told_and_what_they_give() -> None:
    plan = planned(n_items=300)
    assert plan.own.test == (120,)
    assert plan.own.learn == 180
    assert "300 items give at most 300 answers: a budget of 400 cannot be spent." in plan.notes
    assert plan.hours == pytest.approx(300 * 10 / 3600)
    assert planned(n_items=2).notes[0].startswith("With so few items nothing can be proven")
    assert "none to test" in sentences(planned(n_items=2))[1]


def test_a_quality_that_is_not_above_the_target_is_told() -> None:
    plan = planned(qualities=(0.88, 0.9, 0.95))
    assert "A model at 0.88, 0.9 is not above the target of 0.9" in plan.notes[0]
    assert all(last.certified < 0.05 for split in plan.splits for _, last in split.chances[:2])


def test_people_who_disagree_limit_what_can_be_proven() -> None:
    near = planned(agreement=0.92, qualities=(0.94, 0.99))
    assert near.as_dict()["ceiling"] == pytest.approx(0.9587, abs=1e-4)
    assert "If two people agree on 92 %, no model can be measured above about 0.959" in near.notes[0]
    assert [row[-1] for row in table(near)[1]] == ["–"] * len(table(near)[1])
    assert "0.99" not in sentences(near)[0]
    never = planned(agreement=0.8)
    assert (
        "no model can be measured above about 0.891: a target of 0.9 cannot be proven by their answers"
        in never.notes[0]
    )


def test_hours_money_and_deadline_that_end_before_the_budget_are_told() -> None:
    spent = {"answers": 400, "hours": 0.5, "money": 10.0, "price_per_hour": 15.0, "per_day": 20}
    plan = planned({"budget": spent, "stop": {"deadline": "2026-11-01"}})
    assert plan.money == pytest.approx(400 * 10 / 3600 * 15)
    assert "budget.hours pays for 180 answers, fewer than 400" in plan.notes[0]
    assert "The deadline, 2026-11-02 00:00, comes before the budget is spent." in plan.notes[1]
    later = planned({"budget": spent | {"hours": 0.0, "money": 0.0}, "stop": {"deadline": "2026-12-01"}})
    assert later.notes == ()


def test_what_is_no_share_of_all_items_is_approximate_or_refused() -> None:
    macro = planned({"target": {"metric": "macro_f1", "value": 0.8}, "budget": {"answers": 400}})
    assert macro.own.stop_on == Verdict.LIKELY
    assert macro.proofs == {}
    assert "at most be shown as likely" in macro.notes[0]
    assert "Approximate: macro_f1 is planned as if it were accuracy" in macro.notes[1]
    assert {row[3] for row in table(macro)[1]} == {"likely"}
    with pytest.raises(ConfigError, match='cannot plan for recall of "red" without the share of its items'):
        planned({"target": {"metric": "recall", "positive": "red"}})
    with pytest.raises(ConfigError, match="cannot plan for mae"):
        planned({"target": {"metric": "mae"}})


def test_where_only_a_share_of_the_items_counts_the_test_is_smaller() -> None:
    everything, some = planned(), planned(positive_share=0.5)
    assert some.own.test == everything.own.test == (160, 240)
    assert some.own.right == Proof((80,), 0.9, 0.05, True, Verdict.CERTIFIED).right(1) == 78
    assert some.proofs[0.95] == 2 * (everything.proofs[0.95] or 0)
    assert "(78 of 80 right certify it)" in sentences(some)[1]
    assert "Approximate: 0.5 of the test items are taken to count" in some.notes[0]


# the calendar


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("", datetime(2026, 10, 24, 23, 30, tzinfo=UTC), date(2026, 10, 24)),
        ("Asia/Seoul", datetime(2026, 10, 24, 14, 59, tzinfo=UTC), date(2026, 10, 24)),
        ("Asia/Seoul", datetime(2026, 10, 24, 15, 0, tzinfo=UTC), date(2026, 10, 25)),
        ("Europe/Berlin", datetime(2026, 10, 24, 22, 0, tzinfo=UTC), date(2026, 10, 25)),
        ("Europe/Berlin", datetime(2026, 10, 25, 22, 59, tzinfo=UTC), date(2026, 10, 25)),
        ("Europe/Berlin", datetime(2026, 10, 25, 23, 0, tzinfo=UTC), date(2026, 10, 26)),
    ],
)
def test_a_plan_starts_today_where_people_label(zone: str, now: datetime, expected: date) -> None:
    assert first_day("", BudgetSettings(time_zone=zone), now) == expected


@pytest.mark.parametrize("zone", ["", "Asia/Seoul", "Europe/Berlin"])
@pytest.mark.parametrize("start", [date(2026, 10, 20), date(2026, 3, 24)])
def test_a_day_is_a_day_though_clocks_change(zone: str, start: date) -> None:
    """The clocks of Berlin change on 2026-10-25 and 2026-03-29."""
    said = settings(budget={"answers": 400, "per_day": 40, "time_zone": zone})
    expected = Calendar(start, start, start + timedelta(days=4), start + timedelta(days=9))
    assert make_plan(Premises(said, start)).calendar == expected


def test_a_day_that_is_not_full_counts_and_without_a_pace_there_are_no_days() -> None:
    said = settings(budget={"answers": 401, "per_day": 40})
    calendar = make_plan(Premises(said, MONDAY)).calendar
    assert calendar is not None
    assert calendar.budget_spent == date(2026, 10, 29)
    assert planned().calendar is None


def test_the_first_model_comes_when_it_does_in_a_loop(tmp_path: Path) -> None:
    answers = write_points(tmp_path)
    said = settings(budget={"answers": 90, "per_day": 1})
    loop = open_loop(tmp_path, Oracle(answers), said)
    run_to_end(loop)
    calendar = make_plan(Premises(said, MONDAY, n_items=150)).calendar
    first = status(loop.store).curve[0]
    loop.store.close()
    assert calendar is not None
    assert abs((calendar.first_model - MONDAY).days + 1 - first.answers) <= 2


# the command


def call(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["plan", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_alone_make_a_plan_and_nothing_is_written(nowhere: Path) -> None:
    shown = call("--budget", "300", "--quality", "0.95", "--price", "20", "--per-day", "40", "--start", "2026-10-20")
    assert "With 300 answers you can certify accuracy ≥ 0.9 if the model is really at 0.968" in shown.stdout
    assert "at 0.95 44 – 63 %" in shown.stdout
    assert "0.8 hours in all, at 10 s an answer, 16.67 at 20 an hour" in shown.stdout
    assert "the budget spent on 2026-10-27" in shown.stdout
    assert ["300", "180", "120,", "180", "certified", "0.968", "44", "–", "63"] in [
        line.split() for line in shown.stdout.splitlines()
    ]
    assert shown.stderr == ""
    assert list(nowhere.iterdir()) == []


def test_with_json_standard_output_is_one_object_with_the_same_numbers(nowhere: Path) -> None:
    shown = call("missing", "--budget", "300", "--quality", "0.95", "--json")
    found = json.loads(shown.stdout)
    own = next(each for each in found["budgets"] if each["budget"] == 300)
    proof = Proof((120, 180), 0.9, 0.05, True, Verdict.CERTIFIED)
    assert own["chances"][0]["last_look"]["certified"] == pytest.approx(chance(proof, 0.95).certified)
    assert own["chances"][0]["first_look"]["certified"] == pytest.approx(chance(proof.first, 0.95).certified)
    assert {"quality": 0.95, "test_answers": 231} in found["proofs"]
    assert found["calendar"] is None
    assert shown.stderr == "missing has no loop.toml: this plan is from the options alone.\n"


def test_a_folder_brings_its_settings_and_items_and_options_change_them(nowhere: Path) -> None:
    write_points(nowhere)
    write_settings(settings(budget={"answers": 120, "per_day": 30}), nowhere / "loop.toml")
    before = sorted(nowhere.iterdir())
    found = json.loads(call("--json", "--target", "0.85").stdout)
    assert (found["items"], found["target"], found["budget"]) == (150, 0.85, 120)
    assert found["calendar"]["budget_spent"]
    assert json.loads(call("--json", "--items", "5000").stdout)["items"] == 5000
    assert sorted(nowhere.iterdir()) == before


def test_the_example_of_the_documentation_is_what_the_command_says(nowhere: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "plan.md").read_text(encoding="utf-8")
    command, said = page.split("$ active-loop plan ")[1].split("```")[0].replace("\\\n", "").split("\n", 1)
    shown = call(*command.split()).stdout
    assert [line.rstrip() for line in shown.splitlines()] == said.splitlines()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "1"), "a target of 1 cannot be proven"),
        (("--target", "1.2"), "target.value is 1.2"),
        (("--target", "nan"), "target.value is nan"),
        (("--budget", "20"), "budget.answers is 20"),
        (("--alpha", "0.7"), "target.alpha is 0.7"),
        (("--quality", "1.2"), "--quality is 1.2"),
        (("--quality", "0.9", "--quality", "nan"), "--quality is nan"),
        (("--classes", "1"), "task.classes has 1 entries"),
        (("--items", "0"), "--items is 0"),
        (("--seconds", "0"), "budget.seconds_per_label is 0"),
        (("--price", "-1"), "budget.price_per_hour is -1"),
        (("--per-day", "-1"), "budget.per_day is -1"),
        (("--per-day", "1", "--budget", "90000000"), "end after the last date that there is"),
        (("--time-zone", "Mars/Olympus"), 'budget.time_zone is "Mars/Olympus"'),
        (("--start", "soon"), '--start is "soon"'),
        (("--agreement", "0.4"), "--agreement is 0.4"),
        (("--agreement", "1.1"), "--agreement is 1.1"),
        (("--positive-share", "0"), "--positive-share is 0"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(nowhere: Path, options: tuple[str, ...], message: str) -> None:
    refused = call(*options, code=2)
    assert refused.stdout == ""
    assert refused.stderr.startswith("active-loop: ")
    assert refused.stderr.count("\n") == 1
    assert message in refused.stderr


def test_doctor_warns_of_a_target_that_no_model_can_be_proven_to_reach(nowhere: Path) -> None:
    write_points(nowhere)
    said = settings(labeling={"backend": "terminal"})
    write_settings(said, nowhere / "loop.toml")
    assert "can never be" not in CliRunner().invoke(main, ["doctor"]).stdout
    write_settings(replace(said, target=replace(said.target, value=0.99)), nowhere / "loop.toml")
    found = CliRunner().invoke(main, ["doctor"])
    assert found.exit_code == 1
    assert "✗ accuracy ≥ 0.99 can never be likely with 90 answers: even 54 of 54 right" in found.stdout


def test_answers_of_several_people_are_planned_for() -> None:
    alone = told(target=0.9, budget=400)
    pairs = replace(alone, people=PeopleSettings(overlap=2, overlap_share=0.5, test_overlap=2))
    one, two = (make_plan(Premises(said, MONDAY, 3000)) for said in (alone, pairs))
    assert (one.own.learn, one.own.test[0]) == (240, 160)
    assert (two.own.learn, two.own.test[0]) == (160, 80)
    assert one.hours == two.hours
