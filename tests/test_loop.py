"""The loop through its one verb, with a real store and the oracle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from loops import Clock, open_loop, run_to_end, settings, trail, write_points

from active_loop.domain import (
    COLD_START,
    AskState,
    Purpose,
    RoundState,
    Split,
    Stopped,
    Verdict,
    WaitingForPeople,
)
from active_loop.errors import ConfigError, DataError
from active_loop.labeling import Oracle, Publication
from active_loop.report import status
from active_loop.stopping import gate
from query_strategies import STRATEGIES, make


def test_a_loop_reaches_a_target_that_is_within_reach(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path)))
    stopped = run_to_end(loop)
    assert isinstance(stopped, Stopped)
    assert stopped.decision.reason == "target"
    assert stopped.decision.verdict in (Verdict.LIKELY, Verdict.CERTIFIED)
    now = status(loop.store)
    assert now.answers <= 90
    assert now.score is not None
    assert now.stopped == "target"


def test_a_target_out_of_reach_ends_with_the_budget_and_no_verdict(tmp_path: Path) -> None:
    labels = write_points(tmp_path, spread=3.0)
    loop = open_loop(tmp_path, Oracle(labels), settings(target={"value": 0.99}))
    stopped = run_to_end(loop)
    assert isinstance(stopped, Stopped)
    assert (stopped.decision.reason, stopped.decision.verdict) == ("budget", Verdict.NOT_REACHED)
    assert loop.store.n_sent(Purpose.POOL) + loop.store.n_sent(Purpose.TEST) <= 90
    assert len(loop.store.looks()) >= 1, "the end opens the gate once more"
    assert loop.store.rounds()[-1].final


def test_a_small_pool_ends_with_the_pool(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=40, spread=3.0)
    loop = open_loop(tmp_path, Oracle(labels), settings(target={"value": 0.99}))
    stopped = run_to_end(loop)
    assert isinstance(stopped, Stopped)
    assert stopped.decision.reason == "pool"
    pool = {item.position for item in loop.standing.items if item.split == Split.POOL}
    assert {ask.item for ask in loop.store.asks() if ask.purpose == Purpose.POOL} == pool


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    trails = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        folder = tmp_path / name
        folder.mkdir()
        loop = open_loop(folder, Oracle(write_points(folder)), settings(seed=seed))
        run_to_end(loop)
        trails.append(trail(loop.store))
    assert trails[0] == trails[1]
    assert trails[0]["asks"] != trails[2]["asks"]


def test_no_test_item_ever_trains_is_ranked_or_fits_features(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path)))
    run_to_end(loop)
    test = {item.position for item in loop.standing.items if item.split == Split.TEST}
    assert len(test) == loop.standing.plan.reserved > 0
    for ask in loop.store.asks():
        assert (ask.item in test) == (ask.purpose == Purpose.TEST)
    for round_ in loop.store.rounds():
        job = loop.jobs.of(round_)
        for rows in (job.labelled, job.candidates, job.pending, job.sample):
            assert not test & set(rows.tolist())
    assert not any(loop.jobs.encode().pool[list(test)])


def test_the_wall_is_guarded_at_run_time(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path)))
    run_to_end(loop)
    job = loop.jobs.of(loop.store.rounds()[-1])
    test = np.array(loop.standing.test_order[:1])
    for field in ("labelled", "candidates", "pending", "sample"):
        bad = {**{k: getattr(job, k) for k in job.__slots__}, field: test}
        with pytest.raises(DataError, match="reserved for testing"):
            type(job)(**bad).run()


def test_rounds_are_prefixes_of_the_answers(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path), per_collect=1))
    run_to_end(loop)
    answered = loop.store.answered_positions(Purpose.POOL)
    for round_ in loop.store.rounds():
        if round_.number >= 0 and not round_.final:
            n = loop.settings.n0 + round_.number * loop.settings.query.retrain_every
            assert round_.annotation_position == answered[n - 1]


def test_answers_one_by_one_or_in_crowds_train_the_same_first_round(tmp_path: Path) -> None:
    versions = []
    for name, per_collect in [("one", 1), ("all", None)]:
        folder = tmp_path / name
        folder.mkdir()
        loop = open_loop(folder, Oracle(write_points(folder), per_collect=per_collect))
        run_to_end(loop)
        versions.append([r.record["data_version"] for r in loop.store.rounds() if r.number == 0])
    assert versions[0] == versions[1]


def test_the_queue_never_runs_dry_while_there_is_something_to_learn(tmp_path: Path) -> None:
    told = settings(target={"value": 0.99}, budget={"answers": 160})
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path, n=400, spread=3.0), per_collect=1), told)
    query, lengths, steps_since_a_look = loop.settings.query, [], 0
    while not isinstance(loop.step(), Stopped):
        if not loop.store.asks() or loop.decision():
            continue
        lengths.append(len(loop.store.unanswered()))
        assert lengths[-1] <= query.queue_high
        steps_since_a_look = 0 if gate(loop.standing.progress()) else steps_since_a_look + 1
        if loop.standing.spending().pool_left >= query.queue_high and steps_since_a_look > 1:
            assert lengths[-1] >= query.queue_low - 1
    assert len(lengths) > 160


def test_people_who_do_not_answer_are_waited_for(tmp_path: Path) -> None:
    class Nobody(Oracle):
        def collect(self) -> list:  # type: ignore[type-arg]
            return []

    loop = open_loop(tmp_path, Nobody(write_points(tmp_path)))
    waiting = run_to_end(loop)
    assert isinstance(waiting, WaitingForPeople)
    assert waiting.n_open == loop.settings.query.queue_high
    before = trail(loop.store)
    assert isinstance(loop.step(), WaitingForPeople)
    assert trail(loop.store) == before


def test_skipped_pool_items_cost_budget_and_are_not_asked_again(tmp_path: Path) -> None:
    labels: list[str | None] = list(write_points(tmp_path))
    labels[::4] = [None] * len(labels[::4])
    loop = open_loop(tmp_path, Oracle(labels), settings(target={"value": 0.99}))
    stopped = run_to_end(loop)
    assert isinstance(stopped, Stopped)
    assert stopped.decision.reason == "budget"
    items = [ask.item for ask in loop.store.asks()]
    assert len(items) == len(set(items)) <= 90


def test_skipped_test_items_are_replaced_and_the_training_share_does_not_move(tmp_path: Path) -> None:
    labels: list[str | None] = list(write_points(tmp_path, n=400, spread=2.0))
    told = settings(target={"value": 0.99}, budget={"answers": 120})
    plain = open_loop(tmp_path, Oracle(labels), told)
    run_to_end(plain)
    first = plain.standing.test_order[:50]
    skipped = tmp_path / "skipped"
    skipped.mkdir()
    labels_skipped = list(write_points(skipped, n=400, spread=2.0))
    for position in first[::5]:
        labels_skipped[position] = None  # type: ignore[call-overload]
    loop = open_loop(skipped, Oracle(labels_skipped), told)
    run_to_end(loop)
    train = [[a.item for a in run.store.asks() if a.purpose == Purpose.POOL] for run in (plain, loop)]
    assert sorted(train[0]) == sorted(train[1])
    judged = {i.item for i in loop.store.look_items(1)}
    assert not judged & set(first[::5])
    assert loop.store.n_sent(Purpose.POOL) + loop.store.n_sent(Purpose.TEST) <= 120


def test_a_look_waits_for_an_open_test_item_until_it_is_overdue_and_then_counts_it_as_wrong(tmp_path: Path) -> None:
    clock = Clock()
    labels = write_points(tmp_path)

    class Forgetful(Oracle):
        """Never answers one test item."""

        forgotten: str | None = None

        def publish(self, publications: Sequence[Publication]) -> None:
            for publication in publications:
                if self.forgotten is None and publication.ask.purpose == Purpose.TEST:
                    self.forgotten = publication.ask.id
            super().publish([p for p in publications if p.ask.id != self.forgotten])

    loop = open_loop(tmp_path, Forgetful(labels), now=clock)
    assert isinstance(run_to_end(loop), WaitingForPeople)
    assert loop.store.looks() == []
    clock.time += timedelta(days=4)
    assert isinstance(run_to_end(loop), Stopped)
    (look,) = loop.store.looks()[:1]
    overdue = [i for i in loop.store.look_items(1) if i.annotation is None]
    assert len(overdue) == 1
    assert look.n - look.correct >= 1


def test_looks_halve_their_level_and_use_the_planned_prefix(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=900, spread=1.6)
    loop = open_loop(tmp_path, Oracle(labels), settings(target={"value": 0.95}, budget={"answers": 400}))
    run_to_end(loop)
    looks = loop.store.looks()
    assert len(looks) >= 2
    for number, look in enumerate(looks, start=1):
        assert (look.number, look.level) == (number, 0.05 / 2**number)
        judged = sorted(i.item for i in loop.store.look_items(number))
        assert judged == sorted(loop.standing.test_order[: look.n])
    assert looks[0].n == loop.standing.plan.m(1)


def test_a_raised_budget_takes_the_loop_up_again_and_gets_no_free_look(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=400, spread=3.0)
    told = settings(target={"value": 0.99})
    loop = open_loop(tmp_path, Oracle(labels), told)
    run_to_end(loop)
    n_looks = len(loop.store.looks())
    loop.store.close()
    more = settings(target={"value": 0.99}, budget={"answers": 140})
    again = open_loop(tmp_path, Oracle(labels), more)
    stopped = run_to_end(again)
    assert isinstance(stopped, Stopped)
    assert stopped.decision.reason == "budget"
    spent = again.store.n_sent(Purpose.POOL) + again.store.n_sent(Purpose.TEST)
    assert 90 < spent <= 140
    last = again.store.rounds()[-1]
    assert (last.final, last.entitled) == (True, False)
    assert all(look.round != last.number for look in again.store.looks()[n_looks:])


def test_before_the_first_score_the_target_may_change_but_not_the_data(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    loop = open_loop(tmp_path, Oracle(labels))
    while not loop.store.n_items():
        loop.step()
    loop.store.close()
    open_loop(tmp_path, Oracle(labels), settings(target={"value": 0.7}))
    with pytest.raises(ConfigError, match="cannot change seed: the items, their test order"):
        open_loop(tmp_path, Oracle(labels), settings(seed=5))


def test_answers_that_came_with_the_data_count_for_nothing_but_their_labels(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    lines = (tmp_path / "points.csv").read_text().splitlines()
    known = range(0, 60, 2)
    filled = [f"{line},{labels[row] if row in known else ''}" for row, line in enumerate(lines[1:])]
    (tmp_path / "points.csv").write_text("\n".join([lines[0] + ",colour", *filled]) + "\n")
    told = settings(data={"answer": "colour"})
    loop = open_loop(tmp_path, Oracle(labels), told)
    run_to_end(loop)
    imported = [a for a in loop.store.annotations() if a.source == "import"]
    assert len(imported) == len(known)
    pool = sum(loop.standing.items[a.item].split == Split.POOL for a in imported if a.item is not None)
    first = next(r for r in loop.store.rounds() if r.number == 0)
    assert first.annotation_position == len(known), "round 0 starts no later than the imported answers"
    assert first.record["n_labels"] == pool > loop.settings.n0
    asked = {ask.item for ask in loop.store.asks()}
    assert not asked & {a.item for a in imported}
    assert status(loop.store).answers == len(loop.store.asks())


def test_an_answer_that_is_no_class_is_named_before_anything_is_stored(tmp_path: Path) -> None:
    write_points(tmp_path, n=60)
    lines = (tmp_path / "points.csv").read_text().splitlines()
    (tmp_path / "points.csv").write_text(
        "\n".join([lines[0] + ",colour", lines[1] + ",purple", *(f"{x}," for x in lines[2:])])
    )
    loop = open_loop(tmp_path, Oracle([]), settings(data={"answer": "colour"}))
    with pytest.raises(DataError, match='"purple" is not among the classes red, green, blue'):
        run_to_end(loop)
    assert loop.store.n_items() == 0


def test_data_that_changed_after_its_import_is_refused(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    loop = open_loop(tmp_path, Oracle(labels))
    while not loop.store.n_items():
        loop.step()
    loop.store.close()
    write_points(tmp_path, seed=7)
    with pytest.raises(DataError, match="was changed after its import"):
        run_to_end(open_loop(tmp_path, Oracle(labels)))


def test_items_added_on_the_way_join_the_pool_and_leave_the_test_order_alone(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    loop = open_loop(tmp_path, Oracle(labels * 2))
    while not loop.store.scores():
        loop.step()
    order = list(loop.standing.test_order)
    with (tmp_path / "points.csv").open("a") as file:
        file.writelines(f"{n}.5,{n}.25\n" for n in range(50))
    loop.store.close()
    again = open_loop(tmp_path, Oracle(labels * 2))
    assert again.add_items() == 50
    assert again.add_items() == 0
    assert again.standing.test_order == order
    assert isinstance(run_to_end(again), Stopped)
    for round_ in again.store.rounds():  # what a round chose from does not change with what was added after it
        job = again.jobs.of(round_)
        assert round_.items in (150, 200)
        assert job.candidates.max() < round_.items
        if round_.state == RoundState.RANKED:
            assert len(job.candidates) == round_.record["n_candidates"]
    assert {r.items for r in again.store.rounds()} == {150, 200}
    aside = [i for i in again.standing.items[150:] if i.split == Split.TEST]
    assert len(aside) == int(50 * again.standing.plan.reserved / 150)
    assert not {i.position for i in aside} & {ask.item for ask in again.store.asks()}


def test_the_cache_can_be_deleted_or_spoiled_at_any_time(tmp_path: Path) -> None:
    trails = []
    for name in ("kept", "deleted", "spoiled"):
        folder = tmp_path / name
        folder.mkdir()
        loop = open_loop(folder, Oracle(write_points(folder)))
        for _ in range(500):
            ranked = bool(loop.store.rounds()) and loop.store.rounds()[-1].state == RoundState.RANKED
            if name == "deleted" and ranked and loop.jobs.cache.exists():
                shutil.rmtree(loop.jobs.cache)
                loop.forget()
            if name == "spoiled":
                for file in (loop.jobs.cache / "rounds").glob("*.npz"):
                    file.write_bytes(b"PK half a file")
            if isinstance(loop.step(), Stopped):
                break
        trails.append(trail(loop.store))
    assert trails[0] == trails[1] == trails[2]


def test_a_batch_mixes_pool_and_test_asks_and_shows_nothing_of_it(tmp_path: Path) -> None:
    seen: list[Publication] = []

    class Watching(Oracle):
        def publish(self, publications: Sequence[Publication]) -> None:
            seen.extend(publications)
            super().publish(publications)

    loop = open_loop(tmp_path, Watching(write_points(tmp_path)))
    run_to_end(loop)
    assert all(set(p.shown) == {"row"} and set(p.shown["row"]) == {"x", "y"} for p in seen)
    first = [p.ask.purpose for p in seen[:20]]
    assert {Purpose.POOL, Purpose.TEST} == set(first)
    assert first != sorted(first), "the two kinds are shuffled"
    assert len({p.ask.id for p in seen}) == len(seen)


def test_rankings_carry_what_the_strategy_computed(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path)))
    run_to_end(loop)
    by_round = {a.round: a for a in loop.store.asks() if a.purpose == Purpose.POOL}
    assert by_round[COLD_START].strategy == "kmeans"
    learned = [a for r, a in by_round.items() if r is not None and r >= 0]
    assert learned
    assert all(a.strategy == "auto" and a.why["because"] and a.utility is not None for a in learned)
    assert all(a.why["neighbours"] == [] for a in by_round.values() if a.round == COLD_START)
    points = np.loadtxt(tmp_path / "points.csv", delimiter=",", skiprows=1)
    merged = loop.standing.merged()
    for ask in learned:
        near = ask.why["neighbours"]
        assert [n["distance"] for n in near] == sorted(n["distance"] for n in near)
        assert all(merged[n["item"]].label == n["label"] for n in near)
        assert len(near) == 3
        # The nearest in standardised columns is at least among the nearest in the plane itself.
        known = [i.position for i in loop.standing.items if i.position in merged and i.split == Split.POOL]
        by_distance = sorted(known, key=lambda p: float(np.hypot(*(points[p] - points[ask.item]))))
        assert near[0]["item"] in by_distance[: len(by_distance) // 2]
    test = [a for a in loop.store.asks() if a.purpose == Purpose.TEST]
    assert all(a.strategy == "random" and a.probability and not a.why for a in test)
    assert all(a.state in (AskState.OPEN, AskState.RETIRED) for a in loop.store.asks())


def test_a_clock_that_stands_still_is_enough(tmp_path: Path) -> None:
    at = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path)), now=lambda: at)
    assert isinstance(run_to_end(loop), Stopped)


CHOOSING = [name for name in sorted(STRATEGIES) if "choice" in make(name).tasks and "cost" not in make(name).needs]
"""What can be named in a loop of this kind; trying labels out is done with fewer of them here."""


@pytest.mark.parametrize(
    "strategy",
    [name + "(candidates=4, reference=20)" * (name == "expected_error_reduction") for name in CHOOSING],
)
def test_every_strategy_carries_a_loop_to_its_end(tmp_path: Path, strategy: str) -> None:
    told = settings(
        query={"strategy": strategy, "cold_start": "random"},
        model={"use": "logistic, svm"},
        target={"value": 0.99},
        budget={"answers": 60},
    )
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path)), told)
    assert isinstance(run_to_end(loop), Stopped)
    learned = [a for a in loop.store.asks() if a.purpose == Purpose.POOL and a.round != COLD_START]
    assert {a.strategy for a in learned} == {strategy}
    cold = [a for a in loop.store.asks() if a.round == COLD_START]
    assert all(a.probability == pytest.approx(10 / (150 - loop.standing.plan.reserved)) for a in cold)
