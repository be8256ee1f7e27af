"""Merging: latest version, one vote per person, majority or all together; ties and skips have no label."""

from __future__ import annotations

import json
import random
import re
import statistics
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_loop.answers import reader
from active_loop.consensus import Votes, settle
from active_loop.domain import Annotation, AnswerKind, Consensus, Item, Outcome, Split
from active_loop.errors import ConfigError
from active_loop.merge import Merging, Together, merge
from active_loop.report import status
from active_loop.settings import PeopleSettings, Settings, TargetSettings, TaskSettings, check, to_json
from active_loop.standing import Standing
from active_loop.store import Store
from active_loop.tasks import BROKEN, UNSURE, MultiLabel, Number, SingleChoice

PARSE = reader(SingleChoice(("cat", "dog", "cow")))
START = datetime(2026, 1, 1, tzinfo=UTC)


def said(
    value: object,
    person: str = "ann",
    *,
    item: int = 0,
    id: str = "1",
    at: int = 0,
    kind: AnswerKind = AnswerKind.SUBMITTED,
) -> Annotation:
    return Annotation(
        "oracle", id, START + timedelta(seconds=at), kind, json.dumps(value), person, item=item, position=at + 1
    )


def test_the_latest_version_of_an_annotation_counts() -> None:
    merged = merge([said("cat", at=0), said("dog", at=1)], PARSE)
    assert merged[0].label == "dog"
    assert merged[0].votes == {"dog": 1}
    assert merged[0].annotation == 2


def test_an_older_version_that_arrives_late_does_not_count() -> None:
    assert merge([said("dog", at=5), said("cat", at=1)], PARSE)[0].label == "dog"


def test_a_person_has_one_vote_however_often_they_answer() -> None:
    answers = [said("cat", "ann", id="1"), said("cat", "ann", id="2", at=1), said("dog", "bob", id="3", at=2)]
    merged = merge(answers, PARSE)[0]
    assert merged.disputed
    assert merged.label is None
    assert merged.votes == {"cat": 1, "dog": 1}
    assert merged.people == ("ann", "bob")


def test_the_majority_of_three_people_is_the_label_and_its_share_the_agreement() -> None:
    answers = [said("cat", "ann"), said("dog", "bob", id="2"), said("cat", "eve", id="3")]
    merged = merge(answers, PARSE)[0]
    assert (merged.label, merged.disputed) == ("cat", False)
    assert merged.agreement == 2 / 3


def test_a_retraction_takes_the_vote_away_and_nothing_else() -> None:
    answers = [said("cat", "ann"), said("dog", "bob", id="2"), said(None, "ann", at=9, kind=AnswerKind.RETRACTED)]
    assert merge(answers, PARSE)[0].label == "dog"
    alone = merge([said("cat"), said(None, at=1, kind=AnswerKind.RETRACTED)], PARSE)[0]
    assert (alone.label, alone.outcome) == (None, Outcome.RETRACTED)


def test_skips_unsure_broken_and_invalid_answers_are_no_votes() -> None:
    for value, kind, outcome in [
        (None, AnswerKind.SKIPPED, Outcome.SKIP),
        (UNSURE, AnswerKind.SUBMITTED, Outcome.UNSURE),
        (BROKEN, AnswerKind.SUBMITTED, Outcome.BROKEN),
        ("horse", AnswerKind.SUBMITTED, Outcome.INVALID),
        (["cat", "dog"], AnswerKind.SUBMITTED, Outcome.INVALID),
        ([], AnswerKind.SUBMITTED, Outcome.INVALID),
    ]:
        merged = merge([said(value, kind=kind)], PARSE)[0]
        assert (merged.label, merged.outcome, merged.votes) == (None, outcome, {}), value
        with_vote = merge([said(value, kind=kind), said("cow", "bob", id="2")], PARSE)[0]
        assert (with_vote.label, with_vote.outcome) == ("cow", Outcome.LABEL)


answers = st.lists(
    st.builds(
        said,
        st.sampled_from(["cat", "dog", "cow", UNSURE, "horse"]),
        st.sampled_from(["ann", "bob", "eve"]),
        item=st.integers(0, 2),
        id=st.sampled_from("12345"),
        at=st.integers(0, 50),
        kind=st.sampled_from(list(AnswerKind)),
    ),
    max_size=30,
    unique_by=lambda a: a.updated_at,
)


@given(answers, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_when_times_differ(given_: list[Annotation], rnd: random.Random) -> None:
    shuffled = list(given_)
    rnd.shuffle(shuffled)
    assert merge(given_, PARSE) == merge(shuffled, PARSE)


@given(answers)
def test_repeating_every_annotation_changes_nothing(given_: list[Annotation]) -> None:
    assert merge(given_, PARSE) == merge([*given_, *given_], PARSE)


@given(answers)
def test_a_label_has_more_votes_than_any_other_and_nobody_votes_twice(given_: list[Annotation]) -> None:
    for merged in merge(given_, PARSE).values():
        assert sum(merged.votes.values()) <= len(merged.people)
        if merged.label is not None:
            others = [n for label, n in merged.votes.items() if label != merged.label]
            assert all(merged.votes[merged.label] > n for n in others)
        assert merged.disputed == (bool(merged.votes) and merged.label is None)


# Several classes, and numbers.


PETS = MultiLabel(("cat", "dog", "owl"))


def settled(task: MultiLabel | Number, *votes: object) -> tuple[str | None, float | None]:
    """The label and the agreement of votes, one per person."""
    annotations = [said(vote, f"p{n}", id=str(n)) for n, vote in enumerate(votes)]
    merged = merge(annotations, reader(task), task.consensus)[0]
    assert merged.disputed == (merged.label is None)
    assert sum(merged.votes.values()) == len(votes)
    return merged.label, merged.agreement


def test_each_class_that_most_people_named_is_in_the_label_even_if_nobody_named_just_these() -> None:
    assert settled(PETS, ["cat", "dog"], ["dog", "owl"], ["cat", "owl"]) == ('["cat", "dog", "owl"]', 2 / 3)
    label, agreement = settled(PETS, ["cat"], ["cat", "dog"], ["cat", "dog", "owl"])
    assert label == '["cat", "dog"]'
    assert agreement == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    assert settled(PETS, ["cat"], ["dog"], ["owl"]) == ("[]", 0)
    assert settled(PETS, [], [], ["cat"]) == ("[]", 2 / 3)
    assert settled(PETS, "owl|cat") == ('["cat", "owl"]', 1)


def test_a_tie_on_any_class_leaves_several_classes_disputed() -> None:
    assert settled(PETS, ["cat", "dog"], ["cat"]) == (None, None)
    assert settled(PETS, [], ["owl"]) == (None, None)
    assert settled(PETS, ["cat", "dog"], ["dog", "cat"]) == ('["cat", "dog"]', 1)


def test_the_votes_keep_the_label_that_each_person_gave() -> None:
    answers = [said("dog|cat", "ann"), said(["cat", "dog"], "bob", id="2"), said([], "eve", id="3")]
    merged = merge(answers, reader(PETS), PETS.consensus)[0]
    assert merged.votes == {"[]": 1, '["cat", "dog"]': 2}
    assert (merged.label, merged.outcome) == ('["cat", "dog"]', Outcome.LABEL)


@pytest.mark.parametrize(
    ("tolerance", "votes", "label", "agreement"),
    [
        (0, [4], "4", 1),
        (0, [4, "4.0"], "4", 1),
        (0, [4, 4.1], None, None),
        (0, [4, 4, 9], "4", 2 / 3),
        (0, [4, 4, 9, 9], None, None),
        (0, [3, 4, 4, 5], None, None),
        (0, [1, 2, 3], None, None),
        (1, [1, 2, 3], "2", 1),
        (0.5, [4, 5], "4.5", 1),
        (0.49, [4, 5], None, None),
        (1, [2, 3, 50], "3", 2 / 3),
        (0.05, [3.1, 3.0], "3.05", 1),
        (0, [1.5e308, 1.5e308], "1.5e+308", 1),
    ],
)
def test_the_median_is_the_label_if_most_votes_are_near_it(
    tolerance: float, votes: list[object], label: str | None, agreement: float | None
) -> None:
    found = settled(Number(tolerance=tolerance), *votes)
    assert found == (label, pytest.approx(agreement) if agreement else None)


numbers = st.integers(-5, 5) | st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=7), st.floats(0, 3), st.randoms(use_true_random=False))
def test_a_merged_number_is_the_median_whoever_comes_first(
    votes: list[float], tolerance: float, rnd: random.Random
) -> None:
    task = Number(tolerance=tolerance)
    label, agreement = settled(task, *votes)
    if label is not None:
        assert float(label) == pytest.approx(statistics.median(votes))
        assert agreement is not None
        assert 0.5 < agreement <= 1
        assert min(votes) <= float(label) <= max(votes)
    rnd.shuffle(votes)
    assert settled(task, *votes) == (label, agreement)


@given(st.lists(st.sets(st.sampled_from(PETS.classes)), min_size=1, max_size=5))
def test_with_an_odd_number_of_people_several_classes_are_never_disputed(votes: list[set[str]]) -> None:
    label, agreement = settled(PETS, *map(sorted, votes))
    if label is None:
        assert len(votes) % 2 == 0
    else:
        wanted = [name for name in PETS.classes if 2 * sum(name in vote for vote in votes) > len(votes)]
        assert json.loads(label) == wanted
        assert agreement is not None
        assert 0 <= agreement <= 1
        assert (agreement == 1) == all(vote == set(wanted) for vote in votes)


def test_answers_that_come_in_piece_by_piece_merge_to_what_all_of_them_merge_to() -> None:
    draw = np.random.default_rng(3)
    answers = [
        said(
            str(draw.choice(["cat", "dog", "cow"])),
            str(draw.choice(["ann", "bob"])),
            id=str(draw.integers(4)),
            at=int(draw.integers(5)),
            item=int(draw.integers(3)),
        )
        for _ in range(60)
    ]
    merging = Merging(PARSE)
    for place in range(0, 60, 7):
        merging.add(answers[place : place + 7])
        assert merging.merged == merge(answers[: place + 7], PARSE)


# Items that are settled together.


def answers_of_three_and_a_spammer(n: int = 100, seed: int = 4) -> list[Annotation]:
    """About four answers to each of `n` items, with retractions, corrections and skips; "eve" always says cow."""
    rng, found = np.random.default_rng(seed), []
    for at in range(4 * n):
        person, item = str(rng.choice(["ann", "bob", "cid", "eve"])), int(rng.integers(n))
        kind = AnswerKind(rng.choice([*AnswerKind], p=[0.9, 0.05, 0.05]))
        value = "cow" if person == "eve" else ("cat", "dog", "cow")[item % 3 if rng.random() < 0.9 else 0]
        found.append(said(value, person, item=item, id=f"{person}{item}", at=at, kind=kind))
    return found


def dawid_skene(learned: set[int]) -> Together:
    return Together(lambda votes: settle(votes, ("cat", "dog", "cow")), learned.__contains__)


def test_items_settled_together_are_the_same_piece_by_piece_and_at_once() -> None:
    answers, together = answers_of_three_and_a_spammer(), dawid_skene(set(range(80)))
    merging = Merging(PARSE, together=together)
    for place in range(0, 400, 17):
        merging.add(answers[place : place + 17])
        assert merging.merged == merge(answers[: place + 17], PARSE, together=together)
    assert merging.merged != merge(answers, PARSE)


def test_a_test_item_is_settled_by_itself_and_bears_on_no_other() -> None:
    answers, learned = answers_of_three_and_a_spammer(), set(range(80))
    merged = merge(answers, PARSE, together=dawid_skene(learned))
    alone = merge(answers, PARSE)
    assert all(merged[item] == alone[item] for item in merged if item not in learned)
    others = [said("cow", a.person, item=a.item, id=a.id, at=a.position or 0) for a in answers if a.item not in learned]
    turned = merge([*(a for a in answers if a.item in learned), *others], PARSE, together=dawid_skene(learned))
    assert all(merged[item] == turned[item] for item in learned & set(merged))


def test_an_item_with_one_vote_keeps_it_whoever_gave_it() -> None:
    answers = [*answers_of_three_and_a_spammer(), said("cow", "eve", item=101, id="x", at=900)]
    assert merge(answers, PARSE, together=dawid_skene(set(range(200))))[101].label == "cow"


def test_what_is_settled_together_is_settled_again_only_when_its_votes_may_have_changed() -> None:
    seen: list[Votes] = []

    def count(votes: Votes) -> dict[int, Consensus]:
        seen.append(votes)
        return dict.fromkeys(votes, Consensus("cat", 1.0))

    merging = Merging(PARSE, together=Together(count, {0, 1}.__contains__))
    merging.add([said("cat", "ann", item=0, id="1"), said("dog", "ann", item=1, id="2"), said("dog", "ann", item=2)])
    merging.add([said("cat", "bob", item=2, id="4", at=2)])
    assert seen == []
    merging.add([said("dog", "bob", item=0, id="3", at=3)])
    assert seen == [{0: {"ann": "cat", "bob": "dog"}}]
    assert (merging.merged[0].label, merging.merged[0].disputed) == ("cat", False)
    merging.add([said("dog", "eve", item=2, id="5", at=4)])
    assert len(seen) == 1
    merging.add([said("dog", "bob", item=1, id="6", at=5)])
    merging.add([said(None, "bob", item=0, id="3", at=6, kind=AnswerKind.RETRACTED)])
    assert seen[2:] == [{1: {"ann": "dog", "bob": "dog"}}]
    assert merging.merged[0].votes == {"cat": 1}


WEIGHED = Settings(
    task=TaskSettings(classes=("cat", "dog", "cow")), people=PeopleSettings(merge="dawid_skene"), name="pets"
)


def filled(folder: Path, settings: Settings, answers: list[Annotation]) -> Store:
    """A store of 100 items, the last 20 of them to test with, and these answers."""
    store = Store(folder / "loop.db")
    store.add_setting(to_json(settings))
    split = [Split.TEST if place >= 80 else Split.POOL for place in range(100)]
    rank = [place - 80 if place >= 80 else None for place in range(100)]
    items = [Item(p, f"item-{p}", split[p], "a.csv", str(p), rank[p]) for p in range(100)]
    store.import_items(items, answers, {"items": 100, "reserved": 20, "budget": 400, "m0": 20, "n0": 10, "answers": 0})
    return store


def test_a_loop_that_is_started_again_merges_each_prefix_to_the_same(tmp_path: Path) -> None:
    with closing(filled(tmp_path, WEIGHED, answers_of_three_and_a_spammer())) as store:
        grown = Standing(WEIGHED, store, lambda: START)
        for upto in (50, 200, 120, 350, 400, 340):
            again = Standing(WEIGHED, store, lambda: START)
            assert dict(grown.merge(upto)) == dict(again.merge(upto))
        alone = merge(store.annotations(), PARSE)
        together = grown.merge(400)
        assert {item for item in alone if alone[item] != together[item]}
        assert all(alone[item] == together[item] for item in alone if item >= 80)


def test_status_says_while_people_cannot_be_weighed(tmp_path: Path) -> None:
    with closing(filled(tmp_path, WEIGHED, answers_of_three_and_a_spammer()[:40])) as store:
        assert status(store).unweighed.startswith("0 people have answered 30 items or more")


PAIRS = TaskSettings(kind="multi_label", classes=("a", "b"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": PeopleSettings(merge="dawid_skeen")}, 'did you mean "dawid_skene"'),
        ({"task": PAIRS, "target": TargetSettings(metric="subset_accuracy")}, "task.kind is multi_label"),
        ({"target": TargetSettings(metric="found", value=0.95, positive="cow")}, "target.metric is found"),
    ],
)
def test_people_are_weighed_only_where_that_can_be_done(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("active_loop.settings.NOT_ASKED_YET", (), raising=False)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(replace(WEIGHED, **changes))
    check(WEIGHED)
