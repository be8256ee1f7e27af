"""The control arm: whether choosing was worth it, by items that chance drew, and that nothing else knows of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import open_loop, oracle, run_to_end, settings, trail, write_points
from rich.console import Console
from test_crash import Fate, Killed, MortalStore

from active_loop.control import (
    DEALS,
    Arms,
    Comparison,
    Control,
    Drawn,
    arms,
    chances,
    compare,
    drawn,
    is_random,
    obstacle,
    paired_interval,
    sentence,
    sentence_of_drawn,
)
from active_loop.domain import Ask, AskState, Purpose, Round, RoundState, Stopped
from active_loop.errors import ConfigError
from active_loop.evaluate import truth_codes
from active_loop.export import export_rows, write_export
from active_loop.loop import Loop
from active_loop.report import status
from active_loop.screen import status_page
from active_loop.settings import QuerySettings, Settings, TargetSettings, TaskSettings
from active_loop.store import Store
from active_loop.tasks import make_task
from query_strategies import PoolView, make
from server import words

TOLD = settings(target={"value": 0.99}, budget={"answers": 160}, query={"random_share": 0.4})
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ask(item: int, round_: int | None = 0, reason: str = "at random", **more: Any) -> Ask:
    """An ask of a mixture; without a reason a chosen one."""
    told = {"strategy": "mixture(margin, share=0.4)", "position": item + 1, **more}
    why = {"drawn": reason, "predicted": "ham"} if reason else {}
    return Ask(f"{item}", item, Purpose.POOL, AskState.OPEN, round_, why=why, **told)


def test_a_strategy_of_ones_own_can_have_a_random_share_too(ended: Loop) -> None:
    folder = ended.jobs.folder / "own"
    folder.mkdir()
    query = replace(TOLD.query, strategy="query_strategies:Entropy")
    loop = open_loop(folder, oracle(write_points(folder)), replace(TOLD, query=query))
    run_to_end(loop)
    assert {ask.strategy for ask in loop.store.asks() if is_random(ask)} == {
        "mixture(query_strategies:Entropy, share=0.4)"
    }


# What is compared.


def test_both_sides_have_as_many_labels_of_their_own_and_share_what_came_before_there_was_a_model() -> None:
    asks = [ask(1, -1), ask(2, 0, ""), ask(3), ask(4, 0, ""), ask(5, 1, ""), ask(6, 1), ask(7, 1, "")]
    labels = dict.fromkeys([0, 1, 2, 3, 5, 6, 7], "ham")  # 0 came with the data, 4 has no label
    found = arms(asks, labels)
    assert found == Arms(shared=(0, 1), chosen=(2, 5, 7), random=(3, 6))
    assert found.k == 2
    first, *dealt = found.sides(np.random.default_rng(0))
    assert first == ((0, 1, 2, 5), (0, 1, 3, 6))
    assert len(dealt) == DEALS
    assert all(one[:2] == other[:2] == (0, 1) for one, other in dealt)
    assert all(sorted(one[2:] + other[2:]) == [2, 3, 5, 6] for one, other in dealt)
    assert len({frozenset(one) for one, _ in dealt}) == 6, "every half comes about"


def test_random_is_what_a_mixture_drew_from_all_and_nothing_else() -> None:
    assert is_random(ask(1))
    assert not is_random(ask(1, reason="at random, no cluster was left"))
    assert not is_random(ask(1, strategy="margin"))
    assert not is_random(ask(1, -1))
    assert not is_random(replace(ask(1, None), purpose=Purpose.TEST))


def test_what_chance_drew_is_counted_with_what_was_foretold_of_it() -> None:
    found = drawn([ask(1), ask(2), ask(3), ask(4, 0, "")], {1: "ham", 2: "spam", 4: "ham"})
    assert found == Drawn(2, 1, {"ham": 1, "spam": 1})
    said = sentence_of_drawn(found)
    assert said.startswith(
        "Of what nobody had been asked about, chance drew 2 items (ham: 0.50 [0.01 – 0.99], spam: 0.50"
    )
    assert said.endswith("had predicted 1 right before anybody answered: 0.50 [0.01 – 0.99].")
    assert sentence_of_drawn(Drawn()) == ""
    assert "and 2 more classes" in sentence_of_drawn(Drawn(5, 1, dict.fromkeys("abcde", 1)))


def test_the_interval_of_a_difference_holds_it_often_enough() -> None:
    """In at least 95 of 100 samples, less 3 standard errors of 1,000 of them."""
    rng = np.random.default_rng(0)
    for n, won, lost in [(30, 0.1, 0.1), (60, 0.2, 0.02), (160, 0.1, 0.02), (400, 0.05, 0.04)]:
        samples = rng.multinomial(n, [won, lost, 1 - won - lost], size=1000)
        ends = np.array([paired_interval(int(first), int(second), n) for first, second, _ in samples])
        held = np.mean((ends[:, 0] <= won - lost) & (won - lost <= ends[:, 1]))
        assert held >= 0.95 - 3 * (0.95 * 0.05 / 1000) ** 0.5


def test_no_difference_between_equal_models_is_claimed_more_often_than_allowed() -> None:
    """In at most 5 of 100 samples, and 3 standard errors of 2,000 of them."""
    samples = np.random.default_rng(1).multinomial(160, [0.06, 0.06, 0.88], size=2000)
    ends = [paired_interval(int(first), int(second), 160) for first, second, _ in samples]
    claimed = np.mean([low > 0 or high < 0 for low, high in ends])
    assert 0 < claimed <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "recall", "brier"])
def test_the_better_side_gains_whichever_way_the_metric_counts(metric: str) -> None:
    task, target = make_task(TaskSettings(classes=("ham", "spam"))), TargetSettings(metric=metric)
    truth = truth_codes(task, ["ham", "spam"] * 60)
    good, bad = (np.abs(np.eye(2)[truth] - wrong[:, None]) for wrong in (tile(10, 0.9), tile(3, 0.9)))
    for first, second, sign in ((good, bad, 1), (bad, good, -1), (good, good, 0)):
        equal = [bad] * DEALS
        both = np.array([first, *equal]), np.array([second, *equal])
        found = compare(task, target, truth, *both, np.random.default_rng(0))
        assert (found.as_far, found.is_luck) == ((0, False) if sign else (DEALS, True))
        assert found.low <= found.gain <= found.high
        assert np.sign([found.low, found.high]).tolist() == [sign, sign] if sign else found.low <= 0 <= found.high


def tile(every: int, amount: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(120,) an amount for every so manieth item, nothing for the others."""
    return np.where(np.arange(120) % every == 0, amount, 0.05)


def test_where_choosing_does_nothing_it_is_seldom_said_to_be_worth_it() -> None:
    """Two models that are right on a share that the luck of their draw moves: in at most 1 of 40 cases each way, and 3
    standard errors of 400 of them; the interval, which knows only the luck of the test answers, would say it oftener.
    """
    task, target = make_task(TaskSettings(classes=("ham", "spam"))), TargetSettings()
    rng, said, wider = np.random.default_rng(2), [], []
    truth = np.zeros(160, dtype=np.int64)
    for _ in range(400):
        hard = rng.random(160)  # which items are hard is the same for all models
        shares = np.clip(rng.normal(0.85, 0.05, size=(2, 1 + DEALS, 1)), 0, 1)
        right = hard + rng.normal(scale=0.1, size=(2, 1 + DEALS, 160)) < shares
        proba = np.stack([right, ~right], axis=-1).astype(float)
        found = compare(task, target, truth, *proba, rng)
        differs = found.low > 0 or found.high < 0
        said.append(differs and not found.is_luck)
        wider.append(differs)
    assert np.mean(said) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert np.mean(wider) > 0.1


# What is said.


def control(low: float, high: float, obstacle: str = "", as_far: int = 0) -> Control:
    compared = None if obstacle else Comparison(0.91, 0.87, 0.04, low, high, as_far, 39)
    return Control("accuracy", 24, 10, 160, Drawn(), compared, obstacle)


def test_each_case_has_its_sentence_and_none_claims_what_was_not_measured() -> None:
    measured = (
        "With 24 labels a side beside 10 that both share, chosen items gave accuracy 0.910 and random ones 0.870 on "
        "160 test answers (difference 0.040, 95 % interval "
    )
    dealt = "more than in 39 random halves of the same labels"
    assert sentence(control(0.0049, 0.0801)) == f"{measured}0.004 to 0.081), {dealt}: choosing was worth it here."
    assert (
        sentence(control(-0.0801, -0.0049)) == f"{measured}-0.081 to -0.004), {dealt}: random items were better here."
    )
    assert sentence(control(-0.01, 0.08)) == (
        f"{measured}-0.010 to 0.080): no difference can be shown with 24 labels a side; nothing is claimed."
    )
    assert sentence(control(0.0049, 0.0801, as_far=1)) == (
        f"{measured}0.004 to 0.081); but 1 of 39 random halves of the same labels differ as much: that can be luck, "
        "and nothing is claimed."
    )


def test_too_small_an_arm_is_said_with_both_numbers() -> None:
    assert obstacle(20, 30, grouped=False) == ""
    few = replace(control(0, 0, obstacle(19, 29, grouped=False)), k=19, n=29)
    assert sentence(few) == (
        "Whether choosing was worth it cannot be said: there are 19 labels a side, and 20 are the fewest; "
        "there are 29 test answers, and 30 are the fewest."
    )
    assert "items of one group are not independent" in obstacle(99, 99, grouped=True)


def test_a_comparison_is_read_as_it_was_written() -> None:
    for made in (control(0.01, 0.08), control(0, 0, "there are none")):
        assert Control.of(made.as_dict()) == made


# A whole loop.


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    folder = tmp_path_factory.mktemp("ended")
    loop = open_loop(folder, oracle(write_points(folder, n=400, spread=1.4)), TOLD)
    assert isinstance(run_to_end(loop), Stopped)
    return loop


def test_at_the_end_chosen_and_random_items_are_compared_once(ended: Loop) -> None:
    (event,) = ended.store.events("control")
    found = Control.of(event.body)
    asks = ended.store.asks()
    assert found.compared
    assert found.k == sum(map(is_random, asks)) >= 20
    assert found.shared == ended.settings.n0
    assert found.n == sum(each.purpose == Purpose.TEST for each in asks)
    assert found.drawn.n == found.k
    assert sum(found.drawn.classes.values()) == found.drawn.n
    assert found.drawn.right > found.drawn.n / 2, "three clouds are no riddle"
    run_to_end(ended)
    assert len(ended.store.events("control")) == 1


def test_the_share_is_kept_and_every_ask_says_by_what_it_was_chosen(ended: Loop) -> None:
    asks = [each for each in ended.store.asks() if each.purpose == Purpose.POOL and each.round != -1]
    assert {each.strategy for each in asks} == {"mixture(auto, share=0.4)"}
    assert abs(sum(map(is_random, asks)) - 0.4 * len(asks)) <= 2 + len({each.round for each in asks})
    assert all(each.why["predicted"] in ended.settings.task.classes for each in asks if is_random(each))
    assert not any("predicted" in each.why and "drawn" in each.why for each in asks if not is_random(each))


def test_both_models_are_fitted_on_the_same_number_of_pool_items(ended: Loop) -> None:
    labels = {item: merged.label for item, merged in ended.standing.merged().items() if merged.label}
    pool = {item: label for item, label in labels.items() if item not in ended.standing.test_order}
    found = arms(ended.store.asks(), pool)
    pairs = ended.afterwards._sides(found, pool).pairs
    assert set(pairs[0][0].labelled) == {*found.shared, *found.chosen[: found.k]}
    assert set(pairs[0][1].labelled) == {*found.shared, *found.random}
    for one, other in pairs:
        assert len(one.labelled) == len(other.labelled) == found.k + ended.settings.n0
        assert set(one.labelled) & set(other.labelled) == set(found.shared)
        assert one.seed == other.seed
        assert one.test.tolist() == ended.standing.test_order, "the guard in front of a fit knows every reserved item"


def test_the_end_is_told_in_the_terminal_and_on_the_page_and_nothing_before(ended: Loop) -> None:
    now = status(ended.store)
    assert now.control
    said = [sentence(now.control), sentence_of_drawn(now.control.drawn)]
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(status_page(now))
    shown = console.export_text()
    assert all(each in shown for each in said)
    assert words.control(now) == words.public(now, "", NOW)["control"] == said
    assert words.control(replace(now, stopped="", control=None)) == []


def test_before_the_end_nothing_is_compared(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path, n=400)), TOLD)
    while not loop.store.events("stopped"):
        loop.step()
        assert not loop.store.events("control")
    assert status(loop.store).control is None


def test_a_comparison_moves_nothing_of_what_the_loop_did(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path, n=400)), TOLD)
    while not loop.store.events("stopped"):
        loop.step()
    while loop._retire():
        pass
    before = trail(loop.store)
    run_to_end(loop)
    assert loop.store.events("control")
    assert trail(loop.store) == before


def test_a_share_is_the_mixture_that_can_be_written_out_too(tmp_path: Path) -> None:
    written = replace(TOLD, query=QuerySettings(strategy="mixture(auto, share=0.4)"))
    trails = []
    for name, told in (("share", TOLD), ("written", written)):
        folder = tmp_path / name
        folder.mkdir()
        loop = open_loop(folder, oracle(write_points(folder)), told)
        run_to_end(loop)
        trails.append({**trail(loop.store), "control": loop.store.events("control")[0].body})
    assert trails[0] == trails[1]


def test_without_a_share_nothing_is_said(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), settings())
    run_to_end(loop)
    assert not loop.store.events("control")
    assert status(loop.store).control is None


def test_a_loop_that_is_too_small_says_so_at_its_end(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), settings(query={"random_share": 0.3}))
    run_to_end(loop)
    found = status(loop.store).control
    assert found
    assert f"there are {found.k} labels a side, and 20 are the fewest" in sentence(found)


def test_killed_around_every_commit_the_comparison_is_written_once_and_is_the_same(tmp_path: Path, ended: Loop) -> None:
    place = oracle(write_points(tmp_path, n=400, spread=1.4))
    fate = Fate("after", repeats=False)

    def mortal(*args: Any, **options: Any) -> Store:
        store = MortalStore(*args, **options)
        store.fate = fate
        return store

    for _ in range(500):
        loop = None
        try:
            loop = open_loop(tmp_path, place, TOLD, store=mortal)
            if isinstance(run_to_end(loop), Stopped):
                break
        except Killed:
            pass
        finally:
            if loop:
                loop.store.close()
    else:
        pytest.fail("it never ended")
    again = Store(tmp_path / "loop.db", readonly=True)
    assert [event.body for event in again.events("control")] == [event.body for event in ended.store.events("control")]
    assert trail(again) == trail(ended.store)


def test_a_stop_that_is_taken_back_is_compared_again_at_the_next_end(tmp_path: Path) -> None:
    place = oracle(write_points(tmp_path, n=400, spread=1.4))
    run_to_end(open_loop(tmp_path, place, TOLD))
    longer = replace(TOLD, budget=replace(TOLD.budget, answers=200))
    loop = open_loop(tmp_path, place, longer)
    while len(loop.store.events("stopped")) < 2:
        loop.step()
    assert status(loop.store).control is None, "the first comparison is of an end that was taken back"
    run_to_end(loop)
    first, second = (Control.of(event.body) for event in loop.store.events("control"))
    assert first.k < second.k
    assert status(loop.store).control == second


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"random_share": 0.51}, "query.random_share is 0.51: give a share of each batch from 0 (none) to 0.5"),
        ({"random_share": -0.1}, "query.random_share is -0.1"),
        ({"random_share": 0.2, "strategy": "mixture(margin)"}, "draws a share at random already"),
    ],
)
def test_a_share_that_cannot_be_is_refused(tmp_path: Path, query: Mapping[str, Any], said: str) -> None:
    labels = write_points(tmp_path)
    with pytest.raises(ConfigError, match="random_share") as refused:
        open_loop(tmp_path, oracle(labels), settings(query=query))
    assert said in str(refused.value)


def test_the_share_may_not_change_once_a_score_was_shown(tmp_path: Path) -> None:
    place = oracle(write_points(tmp_path))
    run_to_end(open_loop(tmp_path, place, settings()))
    with pytest.raises(ConfigError, match=r"cannot change query\.random_share now"):
        open_loop(tmp_path, place, settings(query={"random_share": 0.2}))


# A sample for later use.


def test_the_export_says_what_chance_drew_and_how_likely_that_was(ended: Loop, tmp_path: Path) -> None:
    rows = {row.row: row for row in export_rows(ended.store)}
    answered = set(ended.standing.merged())
    wanted = chances(ended.store.asks(), ended.store.rounds(), answered)
    for each in ended.store.asks():
        row = rows[ended.standing.items[each.item].row]
        if is_random(each):
            assert (row.chosen_by, row.probability) == ("random", wanted[each.id])
        elif each.purpose == Purpose.POOL:
            assert row.chosen_by == each.strategy
            assert row.probability is None or each.round == -1
    write_export(list(rows.values()), tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        written = [row for row in csv.DictReader(file) if row["chosen_by"] == "random" and row["split"] == "pool"]
    assert len(written) == len(wanted)


def test_the_chance_is_that_of_the_answered_ones_among_all_that_nobody_had_been_asked_about() -> None:
    """20 candidates, 2 of which an earlier ranking asked about while the round trained; 3 of 4 random ones answered."""
    asks = [ask(1, 0, ""), ask(2, 0, ""), ask(3, 0), *(ask(item, 1) for item in (4, 5, 6, 7)), ask(8, 1, "")]
    rounds = [
        Round(number, RoundState.RANKED, 0, asked, 1, 0, record={"n_candidates": candidates})
        for number, asked, candidates in ((0, 0, 25), (1, 2, 20))
    ]
    found = chances(asks, rounds, {1, 2, 3, 4, 5, 6, 8})
    assert found == {"3": 1 / 25, **dict.fromkeys("456", 3 / 18)}


def test_weighted_by_their_chance_random_items_give_unbiased_totals(tmp_path: Path) -> None:
    """Three rankings of which only the beginning is asked, over 400 seeds; the mean lies within 4 standard errors.

    What is chosen is nearly all of the rare class, so that neither all answers nor the unweighted random ones of what
    is left would do; some items are asked while a round trains.
    """
    told = Settings(query=QuerySettings(strategy="margin", random_share=0.4)).query
    rare = np.arange(80) % 4 == 0
    totals = np.array([estimates(told.asks_by, rare, seed) for seed in range(400)])
    error = totals.std(axis=0, ddof=1) / 400**0.5
    assert np.all(np.abs(totals.mean(axis=0) - rare.sum()) < 4 * error)


def estimates(strategy: str, rare: np.ndarray[Any, np.dtype[np.bool_]], seed: int) -> list[float]:
    """By ranking: how many of the items are rare, by what is known and the weighted random items of the ranking."""
    rng = np.random.default_rng(seed)
    asks: list[Ask] = []
    rounds: list[Round] = []
    waiting: list[Ask] = []
    for number in range(3):
        free = np.setdiff1d(np.arange(rare.size), [each.item for each in asks])
        opened = Round(number, RoundState.RANKED, 0, len(asks), 1, seed, record={"n_candidates": len(free)})
        asks += placed(waiting[:2], len(asks))  # asked while the round trains
        ranking = ranked(strategy, rare, free, number, rng)
        asked = {each.item for each in asks}
        ranking = [each for each in ranking if each.item not in asked]
        asks += placed(ranking[:10], len(asks))
        waiting = ranking[10:]
        rounds.append(opened)
    weights = chances(asks, rounds, {each.item for each in asks})
    totals = []
    for number in range(3):
        before = [each.item for each in asks if each.round is not None and each.round < number]
        sample = [each for each in asks if each.round == number and is_random(each)]
        totals.append(float(rare[before].sum() + sum(rare[each.item] / weights[each.id] for each in sample)))
    return totals


def ranked(
    strategy: str, rare: np.ndarray[Any, np.dtype[np.bool_]], free: np.ndarray[Any, Any], number: int, rng: Any
) -> list[Ask]:
    """Sixteen asks: margin wants the rare items most."""
    proba = np.where(rare[free], 0.5, 0.9)
    view = PoolView.from_predictions(free.astype(np.uint64), np.column_stack([proba, 1 - proba]))
    selection = make(strategy).query(view, 16, rng)
    return [
        Ask(f"{number}:{free[row]}", int(free[row]), Purpose.POOL, AskState.OPEN, number, why=why, strategy=strategy)
        for row, why in zip(selection.rows, selection.why, strict=True)
    ]


def placed(asks: Sequence[Ask], after: int) -> list[Ask]:
    return [replace(each, position=after + place) for place, each in enumerate(asks, start=1)]
