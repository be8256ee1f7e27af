"""Why an item was asked, in words: every strategy in both languages, and nothing that tells which items test."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loops import open_loop, oracle, run_to_end, settings, write_points
from pools import N, asked, bare_view, features, view_of

from active_loop.answered import case, listing
from active_loop.domain import Ask, AskState, Purpose, Stopped
from active_loop.errors import ConfigError
from active_loop.export import export_rows
from active_loop.loop import Loop
from active_loop.reasons import _WORDS, Reason, Reasons, at_random, readable, sentence
from active_loop.settings import LANGUAGES, check
from query_strategies import STRATEGIES, make

CASES = [(name, task) for name in STRATEGIES for task in sorted(make(name).tasks)]
RAW = re.compile(r"\bnan\b|\binf\b|[a-z]+_[a-z]+|[{}\[\]]|None|\d\.\d{5}")
"""What must not stand in a sentence: no number, a key of a record, a form that was not filled in."""


def ask_of(why: Any, strategy: str = "margin", rank: int = 0, purpose: Purpose = Purpose.POOL) -> Ask:
    return Ask("an-ask", 1, purpose, AskState.OPEN, round=1, rank=rank, why=why, strategy=strategy, batch=3)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "task"), CASES, ids=[f"{name}-{task}" for name, task in CASES])
@pytest.mark.parametrize("n", [3, N])
def test_every_strategy_says_why_in_words(name: str, task: str, n: int, language: str) -> None:
    for rank, why in enumerate(asked(make(name), view_of(features(), task=task), n).why):
        said = sentence(ask_of(why, name, rank), language)
        assert said.endswith(".")
        assert not RAW.search(said), said
        assert "number" not in said or "different numbers" in said, f"no sentence of its own: {said}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [name for name in STRATEGIES if make(name).needs <= {"X", "proba"}])
def test_before_anything_is_known_there_is_a_reason_too(name: str, language: str) -> None:
    if "choice" not in make(name).tasks:
        return
    for why in asked(make(name), bare_view(features()), 12).why:
        assert not RAW.search(sentence(ask_of(why, name), language))


def test_both_languages_have_the_same_sentences_with_the_same_places() -> None:
    places = {
        language: {name: set(re.findall(r"{(\w+)}", text)) for name, text in said.items()}
        for language, said in _WORDS.items()
    }
    assert places["en"] == places["ko"]
    assert set(places) == set(LANGUAGES)


@pytest.mark.parametrize(
    ("strategy", "why", "said"),
    [
        ("margin", {"margin": 0.03, "classes": ["3", "8"]}, "wavered between 3 and 8: their chances differ by 3 %."),
        ("margin", {"margin": 0.0, "classes": ["3", "8"]}, "held 3 and 8 for equally likely."),
        ("margin", {"margin": 0.9, "classes": ["3", "8"]}, "nothing less clear was left; most likely were 3 and 8."),
        ("least_confidence", {"class": "3", "confidence": 0.41}, "its best guess, 3, had a chance of 41 %."),
        ("most_likely_positive()", {"class": "sick", "confidence": 0.93}, "It is likely to be sick (chance 93 %)."),
        ("kl_mean", {"kl_mean": 0.2, "votes": {"3": 1, "8": 4}}, "The models disagreed: 4 for 8, 1 for 3."),
        ("kl_mean", {"kl_mean": 0.2, "votes": {"8": 5}}, "all said 8, but some of them were much less sure."),
        ("vote_entropy", {"vote_entropy": 0.0, "votes": {"8": 5}}, "nothing was left on which they differed."),
        ("kmeans", {"cluster_size": 1, "distance": 0.0}, "No other item is like it"),
        ("kmeans", {"cluster_size": 0, "drawn": "at random, no cluster was left"}, "Chosen at random."),
        ("greedy_xy", {"distance": 0.0, "drawn": "farthest in X: ...", "predicted": 3.0}, "far from everything"),
        ("spread", {"predicted": 3.14159, "spread": 0.5}, "about 3.14, give or take 0.5."),
        ("mine:Own", {"whatever": 1}, "It was number 1 on the list"),
        ("random", {"probability": 0.01}, "Chosen at random."),
        ("binary_minimum", {"label": "cat", "probability": 0.48}, "whether cat applies (chance 48 %)."),
        ("cvirs", {"labels": []}, "unsure whether any label applies."),
    ],
)
def test_a_record_is_read_as_what_it_says(strategy: str, why: Any, said: str) -> None:
    assert said in sentence(ask_of(why, strategy))


def test_an_item_that_tests_reads_like_one_that_chance_drew() -> None:
    for language in LANGUAGES:
        test = sentence(ask_of({"margin": 0.1, "classes": ["a", "b"]}, purpose=Purpose.TEST), language)
        drawn = ask_of({"drawn": "at random", "probability": 0.1, "predicted": "a"}, "mixture(margin, share=0.1)")
        assert test == sentence(drawn, language) == _WORDS[language]["random"]


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    told = settings()
    with pytest.raises(ConfigError, match=r'server\.language "kr".*en, ko'):
        check(replace(told, server=replace(told.server, language="kr")))


# in loops


HELD = Reason("Chosen at random, or for a reason that is told once the loop has stopped.")


def loop_of(folder: Path, answers: int | None = None, **query: Any) -> Loop:
    """A loop that runs and has so many answers at least, or one that has ended."""
    labels = write_points(folder)
    loop = open_loop(folder, oracle(labels), settings(query=query, target={"value": 0.999}))
    if answers is None:
        assert isinstance(run_to_end(loop), Stopped)
    while answers and loop.store.annotation_position() < answers:
        loop.step()
    return loop


def sides(loop: Loop) -> tuple[set[int], set[int], set[int]]:
    """Answered items: that test, that chance drew, that somebody chose."""
    answered = {a.item for a in loop.store.annotations()}
    asks = [ask for ask in loop.store.asks() if ask.item in answered]
    test = {ask.item for ask in asks if ask.purpose == Purpose.TEST}
    drawn = {ask.item for ask in asks if ask.purpose == Purpose.POOL and at_random(ask)}
    return test, drawn, {ask.item for ask in asks} - test - drawn


@pytest.mark.parametrize("random_share", [0.0, 0.3])
def test_while_the_loop_runs_test_items_read_like_random_ones_and_like_some_that_were_chosen(
    tmp_path: Path, random_share: float
) -> None:
    loop = loop_of(tmp_path, 80, random_share=random_share)
    test, drawn, chosen = sides(loop)
    reasons = Reasons.of(loop.store)
    assert len(test) > 5
    assert bool(drawn) == bool(random_share)
    assert {reasons.why(item) for item in test | drawn} == {HELD}
    waiting = {item for item in chosen if reasons.why(item) == HELD}
    assert len(waiting) == pytest.approx(len(chosen) / 3, abs=4 * (len(chosen) * 2 / 9) ** 0.5)
    told = {item for each in chosen - waiting for item, _ in reasons.why(each).near}
    assert told
    assert told <= chosen - waiting, "a neighbour is one whose own page says that somebody chose it"


def test_which_reasons_wait_does_not_change_while_the_loop_runs(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, 40)
    before = {item: Reasons.of(loop.store).why(item).text for item in sides(loop)[2]}
    while loop.store.annotation_position() < 80:
        loop.step()
    after = Reasons.of(loop.store)
    assert before == {item: after.why(item).text for item in before}


def test_after_the_end_everything_is_said(tmp_path: Path) -> None:
    loop = loop_of(tmp_path)
    test, _, chosen = sides(loop)
    reasons = Reasons.of(loop.store)
    assert {reasons.why(item).text for item in test} == {"Chosen at random."}
    assert any("stands for" in reasons.why(item).text for item in chosen)
    assert any("The nearest items that were labelled before say: " in reasons.why(item).text for item in chosen)
    found = case(loop.store, min(test))
    assert found is not None
    assert (found.item.split, found.item.predicted in loop.settings.task.classes) == ("a test item", True)
    assert {case(loop.store, item).item.split for item in chosen} == {"an item to learn from"}  # type: ignore[union-attr]


def test_the_export_has_the_reason_in_words_under_the_same_rule(tmp_path: Path) -> None:
    running = loop_of(tmp_path, 60)
    found = {row.why for row in export_rows(running.store)}
    assert HELD.text in found
    assert len(found) > 3
    run_to_end(running)
    rows = export_rows(running.store)
    assert all(row.why == "Chosen at random." for row in rows if row.split == "test")
    assert any(row.why.startswith(("The model", "It stands")) for row in rows if row.split == "pool")


def test_the_newest_answers_come_first_fifty_a_page_and_every_one_once(tmp_path: Path) -> None:
    loop = loop_of(tmp_path)
    pages = [listing(loop.store, page) for page in (1, 2)]
    assert listing(loop.store, 3) is listing(loop.store, 0) is None
    items = [item for page in pages if page for item in page.items]
    assert [len(page.items) for page in pages if page] == [50, len(items) - 50]
    assert {item.position for item in items} == {a.item for a in loop.store.annotations()}
    assert [item.at for item in items] == sorted((item.at for item in items), reverse=True)


def test_labels_of_every_kind_are_readable() -> None:
    assert [readable(label) for label in ('["a", "b"]', "[]", "2.5", "[x")] == ["a + b", "(none)", "2.5", "[x"]
