"""What a loop was told may change on the way, and what that does to the claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loops import CLASSES, open_loop, run_to_end, settings, write_points

from active_loop.changes import Change, change_of, changes
from active_loop.domain import Split, Stopped, Verdict
from active_loop.errors import ConfigError
from active_loop.export import export_rows
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.report import status
from active_loop.settings import Settings

BUDGET = {"answers": 120}


def told(**more: Any) -> Settings:
    return settings(**{"budget": BUDGET, **more})


def reopened(folder: Path, loop: Loop, labels: list[str], now: Settings) -> Loop:
    loop.store.close()
    return open_loop(folder, Oracle(labels), now)


def answered_tests(loop: Loop) -> set[int]:
    return {a.item for a in loop.store.annotations() if a.item is not None} & set(loop.standing.test_order)


def scored(folder: Path, labels: list[str], said: Settings, rounds: int = 1) -> Loop:
    loop = open_loop(folder, Oracle(labels, per_collect=5), said)
    while len(loop.store.scores()) < rounds:
        loop.step()
    return loop


CLAIMS: dict[str, dict[str, dict[str, Any]]] = {
    "target.value": {"target": {"value": 0.7}},
    "target.metric": {"target": {"value": 0.7, "metric": "balanced_accuracy"}},
    "model.use": {"model": {"use": "svm"}},
    "query.strategy": {"query": {"strategy": "entropy"}},
    "people.merge": {"people": {"merge": "dawid_skene"}},
    "task.classes": {"task": {"classes": (*CLASSES, "black")}},
    "target.looks_by_hand": {"target": {"looks_by_hand": 1}},
}


@pytest.mark.parametrize("key", CLAIMS)
def test_a_claim_that_is_chosen_after_a_score_is_tested_on_items_that_nobody_had_seen(tmp_path: Path, key: str) -> None:
    labels = write_points(tmp_path, 400)
    loop = scored(tmp_path, labels, told(target={"value": 0.97}), rounds=3)
    seen, n_looks = answered_tests(loop), len(loop.store.looks())
    loop = reopened(tmp_path, loop, labels, told(**{"target": {"value": 0.97}, **CLAIMS[key]}))
    loop.step()
    [(version, change)] = changes(loop.store)
    assert (version, change.looks) == (2, n_looks)
    assert key in change.keys
    assert f"{change.left} are left" in change.sentence
    run_to_end(loop)
    after = loop.store.looks()[n_looks:]
    assert after
    for number, look in enumerate(after, start=n_looks + 1):
        used = {item.item for item in loop.store.look_items(look.number)}
        assert used
        assert not used & seen
        assert look.first == change.first == 1 + max(loop.standing.test_order.index(item) for item in seen)
        assert (look.number, look.level) == (number, 0.05 / 2**number)


def test_before_a_score_everything_but_the_data_is_free(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    loop = open_loop(tmp_path, Oracle(labels), told())
    while not loop.store.rounds():
        loop.step()
    loop = reopened(tmp_path, loop, labels, told(target={"value": 0.7}, model={"use": "svm"}))
    loop.step()
    assert not changes(loop.store)
    with pytest.raises(ConfigError, match=r"cannot change task\.kind: the items, their test order and their labels"):
        change_of(loop.store, told(task={"kind": "multi_label"}, target={"metric": "subset_accuracy"}))


def test_a_certified_loop_goes_on_for_a_higher_target_and_forgets_the_old_verdict(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 600, spread=0.5)
    low = told(target={"value": 0.8, "stop_on": "certified"}, budget={"answers": 300})
    loop = open_loop(tmp_path, Oracle(labels), low)
    assert isinstance(run_to_end(loop), Stopped)
    assert status(loop.store).verdict == Verdict.CERTIFIED
    assert any(row.split == "test" for row in export_rows(loop.store))
    higher = told(target={"value": 0.93, "stop_on": "certified"}, budget={"answers": 300})
    loop = reopened(tmp_path, loop, labels, higher)
    loop.step()
    now = status(loop.store)
    assert (now.stopped, now.verdict) == ("", Verdict.NOT_REACHED)
    assert not any(row.split == "test" for row in export_rows(loop.store))
    assert isinstance(run_to_end(loop), Stopped)
    assert len(loop.store.looks()) > 1
    assert loop.store.looks()[-1].target == 0.93
    assert len(loop.store.events("stopped")) == 2


def test_an_easier_target_follows_from_a_certificate(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 600, spread=0.5)
    said = told(target={"value": 0.8, "stop_on": "certified"}, budget={"answers": 300})
    loop = open_loop(tmp_path, Oracle(labels), said)
    run_to_end(loop)
    n_answers = loop.store.annotation_position()
    loop = reopened(
        tmp_path, loop, labels, told(target={"value": 0.7, "stop_on": "certified"}, budget={"answers": 300})
    )
    assert isinstance(run_to_end(loop), Stopped)
    assert not changes(loop.store)
    assert loop.store.annotation_position() == n_answers
    assert (status(loop.store).verdict, status(loop.store).target) == (Verdict.CERTIFIED, 0.7)


def test_a_changed_model_has_to_settle_again(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 600, spread=0.5)
    loop = scored(tmp_path, labels, told(target={"value": 0.99}, budget={"answers": 300}), rounds=5)
    loop = reopened(tmp_path, loop, labels, told(target={"value": 0.99}, budget={"answers": 300}, model={"use": "svm"}))
    loop.step()
    assert not loop.standing.scored_rounds()
    assert not loop.standing.gate_open()
    n_looks = len(loop.store.looks())
    while len(loop.store.looks()) == n_looks:
        assert not isinstance(loop.step(), Stopped)
    judged = next(r for r in loop.store.rounds() if r.number == loop.store.looks()[-1].round)
    assert judged.setting == 2
    assert len(loop.standing.progress()) >= 2


def test_a_look_by_hand_comes_as_soon_as_its_items_are_answered(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 600)
    loop = scored(tmp_path, labels, told(target={"value": 0.99}), rounds=1)
    assert not loop.standing.gate_open()
    loop = reopened(tmp_path, loop, labels, told(target={"value": 0.99, "looks_by_hand": 1}))
    loop.step()
    assert loop.standing.gate_open()
    while not loop.store.looks():
        loop.step()
    assert not loop.standing.gate_open()
    assert loop.store.looks()[0].n == loop.standing.plan.m(1)


def test_to_take_back_the_wish_for_a_look_spends_no_test_item(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 600)
    loop = scored(tmp_path, labels, told(target={"value": 0.99, "looks_by_hand": 1}), rounds=2)
    n_changes = len(changes(loop.store))
    assert change_of(loop.store, told(target={"value": 0.99})) is None
    loop = reopened(tmp_path, loop, labels, told(target={"value": 0.99}))
    loop.step()
    assert len(changes(loop.store)) == n_changes


def test_answers_from_before_there_was_a_class_are_read_no_more(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 600)
    loop = scored(tmp_path, labels, told(target={"value": 0.99}), rounds=3)
    more = told(target={"value": 0.99}, task={"classes": (*CLASSES, "black")})
    loop = reopened(tmp_path, loop, labels, more)
    loop.step()
    while not loop.standing.scored_rounds():
        loop.step()
    change, newest = changes(loop.store)[0][1], loop.standing.scored_rounds()[-1]
    known = {a.item for a in loop.store.annotations(newest.annotation_position)}
    order = loop.standing.test_order
    n_before, n_since = (sum(item in known for item in part) for part in (order[: change.stale], order[change.stale :]))
    read = [score.n for score in loop.store.scores() if score.round == newest.number]
    assert n_before > 0
    assert read == ([n_since] if n_since else [])
    assert newest.record["n_labels"] > 30, "what people said to learn from stays"


def test_a_change_for_which_no_test_item_is_left_is_refused(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 60)
    loop = open_loop(tmp_path, Oracle(labels), told(target={"value": 0.99}, budget={"answers": 60}))
    run_to_end(loop)
    loop.store.close()
    with pytest.raises(
        ConfigError, match=r"cannot change target\.value now: scores were shown, so a new claim needs test"
    ):
        open_loop(tmp_path, Oracle(labels), told(target={"value": 0.7}, budget={"answers": 60}))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"query": {"random_share": 0.2}}, "query.random_share"),
        ({"people": {"test_overlap": 2}}, "people.test_overlap"),
    ],
)
def test_what_a_comparison_rests_on_stays(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    labels = write_points(tmp_path, 300)
    scored(tmp_path, labels, told()).store.close()
    with pytest.raises(ConfigError, match=f"cannot change {named} now"):
        open_loop(tmp_path, Oracle(labels), told(**changed))
    open_loop(tmp_path, Oracle(labels), told(query={"queue_high": 30}, budget={"answers": 140}))


def test_a_change_and_its_record_are_one_effect(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    loop = scored(tmp_path, labels, told(), rounds=2)
    loop = reopened(tmp_path, loop, labels, told(target={"value": 0.7}))
    before = loop.store.setting()
    result = loop.step()
    assert before is not None
    assert loop.store.setting() != before
    assert len(loop.store.events("changed")) == 1
    assert "target.value changed after scores were shown" in result.what  # type: ignore[union-attr]
    change = changes(loop.store)[0][1]
    assert changes(loop.store) == [(2, change)]
    assert Change.of(json.loads(json.dumps(change.as_dict()))) == change
    loop = reopened(tmp_path, loop, labels, told(target={"value": 0.7}))
    loop.step()
    assert len(loop.store.events("changed")) == 1


@hypothesis_settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(sorted(CLAIMS))), min_size=1, max_size=3), st.data())
def test_no_look_ever_uses_an_answer_that_was_there_when_its_claim_was_chosen(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, str]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("loop")
    labels = write_points(folder, 300)
    now: dict[str, Any] = {"target": {"value": 0.95}}
    loop = open_loop(folder, Oracle(labels, per_collect=7), told(**now))
    before: list[tuple[int, set[int]]] = []
    for steps, key in turns:
        for _ in range(steps):
            loop.step()
        for section, values in CLAIMS[key].items():
            now[section] = {**now.get(section, {}), **values}
        try:
            loop = reopened(folder, loop, labels, told(**now))
        except ConfigError:
            return  # no test items are left for another claim
        known = answered_tests(loop) if loop.store.n_items() and loop.store.scores() else set()
        n_changes = len(loop.store.events("changed"))
        loop.step()
        if len(loop.store.events("changed")) > n_changes:
            before.append((len(loop.store.looks()), known))
    run_to_end(loop)
    for n_looks, known in before:
        used = {item.item for look in loop.store.looks()[n_looks:] for item in loop.store.look_items(look.number)}
        assert not used & known
    splits = {item.position: item.split for item in loop.standing.items}
    assert all(splits[i.item] == Split.TEST for look in loop.store.looks() for i in loop.store.look_items(look.number))
