"""A search asks about the likeliest items of a class, and proves by a random sample of the rest what it found."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import open_loop, oracle, run_to_end, settings, trail

from active_loop.domain import Item, Merged, Outcome, Purpose, Split, Stopped
from active_loop.errors import ConfigError
from active_loop.evaluate import Search
from active_loop.export import export_rows
from active_loop.report import counted, sentence, status
from active_loop.reserve import Prefix, TestState
from active_loop.screening import dryness, judge, outlook, prices, sample_order, searched, told
from active_loop.server.words import facts, headline
from active_loop.settings import DataSettings, Settings, TargetSettings, TaskSettings, check
from active_loop.store import Store

N, WANTED = 400, 60


def write_search(folder: Path, seed: int = 0) -> list[str]:
    """400 points, of which 60 in a corner are wanted; a few of them lie among the others."""
    rng = np.random.default_rng(seed)
    wanted = rng.permutation(np.arange(N) < WANTED)
    points = rng.normal(size=(N, 2)) + np.where(wanted[:, None], 4.0, 0.0)
    points[np.flatnonzero(wanted)[:2]] = [[0.5, 0.5], [-0.3, 0.2]]
    with (folder / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y"])
        writer.writerows((f"{x:.6f}", f"{y:.6f}") for x, y in points)
    return ["in" if each else "out" for each in wanted]


def search_settings(**changes: Any) -> Settings:
    told: dict[str, Any] = {
        "task": TaskSettings(classes=("out", "in")),
        "target": TargetSettings(metric="found", value=0.9, positive="in"),
        "budget": {"answers": 400},
        **changes,
    }
    return settings(**told)


@pytest.fixture
def labels(tmp_path: Path) -> list[str]:
    return write_search(tmp_path)


# the whole loop


def test_a_search_ends_with_a_proof_that_is_true(tmp_path: Path, labels: list[str]) -> None:
    loop = open_loop(tmp_path, oracle(labels), search_settings())
    result = run_to_end(loop)
    assert isinstance(result, Stopped)
    assert (result.decision.reason, result.decision.verdict) == ("target", "certified")
    look = loop.store.looks()[-1]
    found = sum(labels[item] == "in" for item in loop.store.asked_items())
    assert look.bound >= 0.9
    assert found / WANTED >= 0.9, "what was proven is so"
    assert look.correct == found
    assert loop.store.n_sent(Purpose.POOL) + loop.store.n_sent(Purpose.TEST) < N, "not everything had to be read"
    asks = [ask for ask in loop.store.asks() if ask.purpose == Purpose.TEST]
    assert {ask.strategy for ask in asks} == {"random"}
    assert not loop.store.scores(), "there is no model whose quality would be read"


def test_likely_items_come_first(tmp_path: Path, labels: list[str]) -> None:
    loop = open_loop(tmp_path, oracle(labels), search_settings())
    run_to_end(loop)
    chosen = [labels[ask.item] for ask in loop.store.asks() if ask.purpose == Purpose.POOL]
    assert Counter(chosen[:80])["in"] >= 50


def test_a_sample_is_drawn_evenly_from_all_that_nobody_chose(tmp_path: Path, labels: list[str]) -> None:
    """The sample of the first look, over many seeds: each item of the rest as often; 4 standard errors."""
    items = [Item(position, f"{position:032x}", Split.POOL, "rows", str(position)) for position in range(50)]
    drawn = np.zeros(50)
    for seed in range(2000):
        drawn[[item for item in sample_order(items, seed).tolist() if item % 5][:10]] += 1
    expected = 2000 * 10 / 40
    assert not drawn[::5].any()
    assert np.abs(drawn[np.arange(50) % 5 > 0] - expected).max() <= 4 * np.sqrt(2000 * 0.25 * 0.75)


def test_the_order_of_a_sample_stays_when_items_are_added() -> None:
    items = [Item(position, f"{position:032x}", Split.POOL, "rows", str(position)) for position in range(60)]
    few = sample_order(items[:40], 3).tolist()
    assert [item for item in sample_order(items, 3).tolist() if item < 40] == few
    assert sample_order(items[:40], 4).tolist() != few


def test_a_search_goes_on_after_any_step_as_if_nothing_had_happened(tmp_path: Path, labels: list[str]) -> None:
    """Every effect in a process of its own, against one that runs through."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for folder in (whole, pieces):
        folder.mkdir()
        (folder / "points.csv").write_bytes((tmp_path / "points.csv").read_bytes())
    through = open_loop(whole, oracle(labels), search_settings())
    run_to_end(through)
    backend = oracle(labels)
    for number in range(2000):
        loop = open_loop(pieces, backend, search_settings())
        result = loop.step()
        if number % 7 == 0:  # an answer is not lost with the process that fetched it
            loop.step()
        loop.store.close()
        if isinstance(result, Stopped):
            break
    again = Store(pieces / "loop.db")
    first, second = trail(through.store), trail(again)
    times = ("asks", "rounds", "looks", "look items", "scores")
    assert {key: first[key] for key in times} == {key: second[key] for key in times}


def test_what_a_sample_finds_is_learned_from_when_the_search_goes_on(tmp_path: Path) -> None:
    labels = write_search(tmp_path, seed=5)
    for row in [row for row, label in enumerate(labels) if label == "out"][:6]:
        labels[row] = "in"  # wanted, and nothing shows it
    strict = TargetSettings(metric="found", value=0.97, positive="in")
    loop = open_loop(tmp_path, oracle(labels), search_settings(target=strict))
    run_to_end(loop)
    looks = loop.store.looks()
    sampled = {seen.item for seen in loop.store.look_items(1)}
    assert looks[0].verdict != "certified"
    assert sum(labels[item] == "in" for item in sampled) > 1
    later = [round_ for round_ in loop.store.rounds() if round_.number > looks[0].round]
    assert later[0].record["n_labels"] > len(sampled)
    assert not sampled & set(loop.standing.rest())
    found = sum(labels[item] == "in" for item in loop.store.asked_items())
    assert looks[-1].verdict != "certified" or found / labels.count("in") >= 0.97


def test_a_budget_that_pays_for_no_sample_is_spent_on_finding(tmp_path: Path, labels: list[str]) -> None:
    loop = open_loop(tmp_path, oracle(labels), search_settings(budget={"answers": 150}))
    result = run_to_end(loop)
    assert isinstance(result, Stopped)
    assert (result.decision.reason, result.decision.verdict) == ("budget", "not reached")
    assert not loop.store.looks()
    assert loop.store.n_sent(Purpose.POOL) == 150


def test_a_search_that_read_everything_has_found_everything(tmp_path: Path, labels: list[str]) -> None:
    """Wanted items that nothing shows keep coming, so that the search never runs dry."""
    rng = np.random.default_rng(1)
    mixed = ["in" if each else "out" for each in rng.random(N) < 0.3]
    loop = open_loop(tmp_path, oracle(mixed), search_settings(budget={"answers": 900}))
    result = run_to_end(loop)
    assert isinstance(result, Stopped)
    assert result.decision.verdict == "certified"
    look = loop.store.looks()[-1]
    assert (look.value, look.bound, look.low) == (1.0, 1.0, 1.0)
    assert look.correct == mixed.count("in")


def said(label: str | None, outcome: Outcome = Outcome.LABEL) -> Merged:
    votes = {label: 1} if label else {}
    return Merged(0, label, outcome, votes, ("ann",), 1.0 if label else None, disputed=False, annotation=1)


def test_what_was_chosen_and_has_no_label_counts_as_missed() -> None:
    merged = {
        0: said("in"),
        1: said("out"),
        2: said(None, Outcome.SKIP),
        3: said(None, Outcome.RETRACTED),
        7: said("in"),
    }
    rest, asked = {5, 6, 7, 8}, [0, 1, 2, 3, 4]
    search = searched("in", merged, rest, asked, {7: TestState.VALID, 8: TestState.EXCLUDED})
    assert search == Search(found=1, rest=3, waiting=2), "3 and 4 may still be of the class; 2 is not for people to say"
    search = searched("in", merged, rest, [0], {})
    assert search == Search(found=1, rest=4)


def test_a_sampled_item_without_an_answer_counts_as_missed() -> None:
    told_to, drawn = search_settings(), Prefix((5, 6, 7), 3, (), 0, 0)
    merged = {5: said("in"), 6: said("out")}
    look, seen = judge(1, 4, told_to, Search(found=30, rest=10), drawn, merged)
    assert (look.n, look.correct, look.round) == (3, 31, 4)
    assert look.bound == Search(30, 10, 3, hits=1, lost=1).bound(0.025)
    assert [each.label for each in seen] == ["in", "out", None]


# what is said


def test_status_and_export_tell_of_a_search(tmp_path: Path, labels: list[str]) -> None:
    loop = open_loop(tmp_path, oracle(labels), search_settings())
    run_to_end(loop)
    now = status(loop.store)
    look = now.looks[-1]
    assert now.found == look.correct
    assert f"{now.found} of in found with {now.answers} of 400 answers" in sentence(now)
    assert "share found of in ≥ 0.9: certified" in sentence(now)
    assert counted(look) == f"{look.correct} found, {look.n} of the rest drawn at random"
    assert now.refit is not None
    assert now.refit.obstacle == "what people found is no model's work"
    rows = export_rows(loop.store)
    drawn = [row for row in rows if row.chosen_by == "random"]
    assert len(rows) == now.answers
    assert drawn
    assert all(0 < (row.probability or 0) <= 1 for row in drawn)


def test_the_page_of_a_search_counts_what_was_found(tmp_path: Path, labels: list[str]) -> None:
    loop = open_loop(tmp_path, oracle(labels), search_settings())
    loop.import_items()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert [fact.value for fact in facts(status(loop.store), now) if fact.name == "Found"] == ["0"]
    run_to_end(loop)
    ended = status(loop.store)
    names = {fact.name: (fact.value, fact.detail) for fact in facts(ended, now)}
    assert names["Found"] == (str(ended.found), "of “in”")
    assert "Tested on" not in names
    assert "share found of in ≥ 0.90 is certified" in headline(ended)


def test_a_search_has_run_dry_when_fifty_chosen_items_brought_nothing() -> None:
    assert dryness(["out"] * 49, "in") is None
    assert dryness(["in"] * 10 + ["out"] * 50, "in") == 1.0
    assert dryness(["in"] + ["out"] * 49, "in") == 0.98


def test_the_price_is_that_of_the_bound() -> None:
    told_to = search_settings(target=TargetSettings(metric="found", value=0.95, positive="in"))
    for price in prices(told_to, 2235, [0.018, 0.1]):
        assert price.drawn is not None
        search = Search(price.of_class, 2235 - price.chosen, price.drawn)
        assert search.bound(0.025) >= 0.95 > replace(search, drawn=price.drawn - 1).bound(0.025)
        assert f"{price.chosen + price.drawn} answers" in told(price, told_to, 2235)
    assert "too few to save anything" in outlook(told_to, 40)
    assert "is too small for that" in outlook(told_to, 2235)
    with pytest.raises(ConfigError, match=r"--positive-share is 1\.5: give a share above 0 and below 1"):
        prices(told_to, 2235, [1.5])


# what is refused


def test_a_search_brings_no_test_file_and_keeps_its_nature(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"data\.test test\.csv: a search tests its own items"):
        check(search_settings(data=DataSettings(path="points.csv", kind="table", show=("x", "y"), test="test.csv")))
    with pytest.raises(ConfigError, match=r'"anytime", and target\.metric found'):
        check(search_settings(target=TargetSettings(metric="found", positive="in", proof="anytime")))
    loop = open_loop(tmp_path, oracle(labels), search_settings())
    loop.import_items()
    loop.store.close()
    other = search_settings(target=TargetSettings(metric="recall", positive="in"))
    with pytest.raises(ConfigError, match=r"cannot change target\.metric: the items, their test order"):
        open_loop(tmp_path, oracle(labels), other)


def test_groups_do_not_weaken_a_statement_about_these_very_items() -> None:
    grouped = search_settings(data=DataSettings(path="points.csv", kind="table", show=("x", "y"), group="patient"))
    assert grouped.obstacle == ""
    assert grouped.strategy == 'most_likely_positive(positive="in")'
    assert replace(grouped, query=replace(grouped.query, strategy="margin")).strategy == "margin"
