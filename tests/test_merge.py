"""Merging: latest version, one vote per person, majority; ties and skips have no label."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from active_loop.answers import reader
from active_loop.domain import Annotation, AnswerKind, Outcome
from active_loop.merge import merge
from active_loop.tasks import BROKEN, UNSURE, SingleChoice

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
