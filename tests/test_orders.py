"""What a person orders while a loop is there, from the settings to what the loop then does, and does not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loops import open_loop, run_to_end, settings, write_points

from active_loop.config import read_settings, rewrite_settings, write_settings
from active_loop.domain import AskState, Paused, Progressed, Purpose, RoundState, Stopped, WaitingForPeople
from active_loop.errors import ConfigError, FolderBusyError
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.orders import Resting, board, propose
from active_loop.report import status
from active_loop.session import DATABASE, session
from active_loop.settings import Settings, to_json
from active_loop.simulate import run as simulate
from active_loop.standing import FEWEST_ANSWERS
from active_loop.stopping import decide
from active_loop.store import FolderLock, Store

OUT_OF_REACH = {"value": 0.99}
NOISY = 3.0
"""Clouds that overlap: predictions do not settle, and nothing but the end opens the gate."""


def stepped(loop: Loop, until: Callable[[], object], limit: int = 2000) -> Loop:
    for _ in range(limit):
        if until():
            return loop
        loop.step()
    raise RuntimeError(f"it did not come within {limit} steps")


def answering(folder: Path, labels: list[str], told: Settings, per_collect: int = 3) -> Loop:
    return open_loop(folder, Oracle(labels, per_collect=per_collect), told)


def retold(loop: Loop, told: Settings) -> Loop:
    """The same loop, at the same labelling place, with other settings, as a driver swaps it."""
    return Loop(told, loop.store, loop.source, loop.backend, loop.jobs.runner, folder=loop.jobs.folder, now=loop._now)


# a round by hand


def ready(folder: Path, told: Settings, labels: list[str], rounds: int = 2) -> Loop:
    """A loop with so many scored rounds that may learn on a person's word."""
    loop = answering(folder, labels, told, per_collect=1)
    stepped(loop, lambda: len(loop.store.scores()) >= rounds)
    return stepped(loop, lambda: not loop.standing.not_by_hand())


def what_decides(loop: Loop) -> dict[str, Any]:
    """Everything that the gate, a look, and the opening of the next rounds read."""
    here = loop.standing
    return {
        "progress": here.progress(),
        "gate": here.gate_open(),
        "scored": here.scored_rounds(),
        "judged": here.judged(),
        "spending": here.spending(),
        "prefix": here.test_prefix(),
        "next": here.next_round_at(),
        "entitled": here.entitled(),
        "decision": decide(here.history()),
        "history": here.history(),
    }


def test_a_round_by_hand_ranks_and_is_read_and_nothing_that_decides_knows_it(tmp_path: Path) -> None:
    told = settings(target=OUT_OF_REACH)
    loop = ready(tmp_path, told, write_points(tmp_path, spread=NOISY))
    before, answered = what_decides(loop), loop.store.annotation_position()
    loop = retold(loop, replace(told, query=replace(told.query, rounds_by_hand=1)))
    stepped(loop, lambda: loop.store.rounds()[-1].by_hand and loop.store.rounds()[-1].state == RoundState.RANKED)
    made = loop.store.rounds()[-1]
    assert loop.store.annotation_position() == answered == made.annotation_position
    assert made.record["n_labels"] > before["scored"][-1].record["n_labels"]
    assert loop.store.scores()[-1].round == made.number
    assert {ask.round for ask in loop.store.ranked_asks(99)} == {made.number}
    assert what_decides(loop) == before
    assert status(loop.store).curve[-1].round == made.number


@hypothesis_settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.sets(st.integers(min_value=40, max_value=200), min_size=1, max_size=4), per_collect=st.integers(1, 7))
def test_rounds_by_hand_anywhere_leave_the_other_rounds_and_the_looks_where_they_were(
    tmp_path: Path, at: set[int], per_collect: int
) -> None:
    trails = []
    for ordered in (set(), at):
        folder = tmp_path / "loop"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        told = settings(target=OUT_OF_REACH, query={"strategy": "random"})
        loop = answering(folder, write_points(folder, spread=NOISY), told, per_collect)
        for number in range(3000):
            if number in ordered:
                told = replace(told, query=replace(told.query, rounds_by_hand=told.query.rounds_by_hand + 1))
                loop = retold(loop, told)
            if isinstance(loop.step(), Stopped):
                break
        rounds, looks = loop.standing.rounds(), loop.store.looks()
        numbers = [round_.number for round_ in rounds]
        positions = [(round_.annotation_position, round_.final, round_.entitled) for round_ in rounds]
        seen = [{item.item for item in loop.store.look_items(look.number)} for look in looks]
        judged = [(look.number, look.level, look.first, look.m, look.n, numbers.index(look.round)) for look in looks]
        trails.append((positions, judged, seen))
        loop.store.close()
    assert trails[0] == trails[1]


def test_rounds_that_a_person_asked_for_keep_their_distance(tmp_path: Path) -> None:
    """Figures of two rounds with one answer between them would tell on which side its item is."""
    told = settings(target=OUT_OF_REACH, budget={"answers": 120}, query={"rounds_by_hand": 50, "retrain_every": 20})
    loop = answering(tmp_path, write_points(tmp_path, spread=NOISY), told, per_collect=1)
    run_to_end(loop)
    rounds = loop.store.rounds()[1:]
    by_hand = [number for number, round_ in enumerate(rounds) if round_.by_hand]
    assert by_hand
    for number in by_hand:
        near = [r.annotation_position for r in rounds[number - 1 : number + 2]]
        assert near[1] - near[0] >= FEWEST_ANSWERS
        assert len(near) < 3 or rounds[number + 1].final or near[2] - near[1] >= FEWEST_ANSWERS


def test_where_the_model_learns_often_anyway_nobody_can_have_it_learn_between(tmp_path: Path) -> None:
    told = settings(target=OUT_OF_REACH, query={"rounds_by_hand": 50, "retrain_every": 4})
    loop = answering(tmp_path, write_points(tmp_path, spread=NOISY), told, per_collect=1)
    run_to_end(loop)
    assert not any(round_.by_hand for round_ in loop.store.rounds())


# a batch by hand


def test_a_batch_by_hand_is_asked_beside_what_is_open_and_only_once(tmp_path: Path) -> None:
    told = settings(budget={"answers": 150})
    loop = open_loop(tmp_path, Oracle(write_points(tmp_path, 400), per_collect=0), told)
    stepped(loop, lambda: isinstance(loop.step(collect=False), WaitingForPeople))
    before = len(loop.store.unanswered())
    loop = retold(loop, replace(told, query=replace(told.query, batches_by_hand=1)))
    stepped(loop, lambda: isinstance(loop.step(collect=False), WaitingForPeople))
    assert loop.store.n_batches_by_hand() == 1
    assert before < len(loop.store.unanswered()) <= before + told.query.queue_high
    n_batches = loop.store.n_batches()
    for _ in range(5):
        loop.step(collect=False)
    assert loop.store.n_batches() == n_batches


def test_batches_by_hand_spend_no_more_than_the_budget_and_the_loop_still_ends(tmp_path: Path) -> None:
    told = settings(target=OUT_OF_REACH, query={"batches_by_hand": 40})
    loop = answering(tmp_path, write_points(tmp_path, spread=NOISY), told)
    assert isinstance(run_to_end(loop), Stopped)
    assert loop.store.n_sent(Purpose.POOL) + loop.store.n_sent(Purpose.TEST) <= told.budget.answers
    assert 0 < loop.store.n_batches_by_hand() < 40
    assert board(loop.store).no_batch == "stopped"


# a pause


def test_a_paused_loop_collects_and_asks_learns_and_tests_nothing_through_a_restart(tmp_path: Path) -> None:
    labels, told = write_points(tmp_path, spread=NOISY), settings(target=OUT_OF_REACH)
    loop = answering(tmp_path, labels, told)
    stepped(loop, lambda: len(loop.store.scores()) >= 1)
    paused = replace(told, stop=replace(told.stop, paused="lunch"))
    loop = retold(loop, paused)
    asked, rounds, n = loop.store.asks(), loop.store.rounds(), loop.store.annotation_position()
    stepped(loop, lambda: isinstance(loop.step(), Paused))
    assert loop.store.annotation_position() > n
    assert not loop.store.unanswered()
    assert [ask.id for ask in loop.store.asks()] == [ask.id for ask in asked]
    assert len(loop.store.rounds()) == len(rounds)
    assert status(loop.store).doing == "paused: lunch"
    assert board(loop.store).no_batch == board(loop.store).no_round == "paused"
    loop.store.close()
    loop = answering(tmp_path, labels, paused)
    assert loop.prepare() is None
    assert [loop.step() for _ in range(3)] == [Paused("lunch")] * 3
    assert len(loop.store.rounds()) == len(rounds)
    assert isinstance(run_to_end(retold(loop, told)), Stopped)


def test_what_was_being_sent_when_the_pause_came_is_published(tmp_path: Path) -> None:
    labels, told = write_points(tmp_path), settings()
    loop = answering(tmp_path, labels, told, per_collect=0)
    stepped(loop, lambda: loop.store.sending_batch())
    loop = retold(loop, replace(told, stop=replace(told.stop, paused="lunch")))
    stepped(loop, lambda: isinstance(loop.step(collect=False), Paused))
    assert loop.store.sending_batch() is None
    assert {ask.state for ask in loop.store.asks()} == {AskState.OPEN}


def test_a_stop_by_hand_comes_before_a_pause(tmp_path: Path) -> None:
    labels, told = write_points(tmp_path), settings(stop={"paused": "lunch"})
    loop = answering(tmp_path, labels, told)
    stepped(loop, lambda: isinstance(loop.step(), Paused))
    loop = retold(loop, replace(told, stop=replace(told.stop, by_hand="enough")))
    ended = run_to_end(loop)
    assert isinstance(ended, Stopped)
    assert (ended.decision.reason, ended.decision.because) == ("by hand", "enough")


def test_a_simulation_of_a_paused_loop_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'stop\.paused is "lunch"'):
        simulate(settings(stop={"paused": "lunch"}), tmp_path, Oracle([]))


# orders to a loop that runs


def running(folder: Path, told: Settings, order: Callable[[Any], None], after: str) -> Settings:
    """Run a session to its end; once it has said `after`, another thread gives the order. What is then in force."""
    write_settings(told, folder / "loop.toml")
    place, ordered = Oracle(write_points(folder, spread=NOISY)), []
    with session(folder, told, lambda news: None, backend=place, dashboard=False, inline=True) as made:

        def hear(news: object) -> None:
            if isinstance(news, Progressed) and news.what == after and not ordered:
                ordered.append(news)
                thread = threading.Thread(target=order, args=(made,))
                thread.start()
                thread.join()

        assert made.run(hear)
        assert ordered
        return made.loop.settings


def test_a_running_loop_takes_a_change_at_its_next_step_and_its_file_says_the_same(tmp_path: Path) -> None:
    told = settings(target=OUT_OF_REACH)

    def order(made: Any) -> None:
        made.change(replace(told, budget=replace(told.budget, answers=110)))

    after = running(tmp_path, told, order, "round 1 ranked")
    assert after.budget.answers == 110
    assert read_settings(tmp_path / "loop.toml").budget.answers == 110
    store = Store(tmp_path / DATABASE, readonly=True)
    assert [version[0] for version in (store.setting(1), store.setting(2)) if version] == [1, 2]
    assert store.setting(2) == (2, to_json(after))
    assert 90 < store.n_sent(Purpose.POOL) + store.n_sent(Purpose.TEST) <= 110
    store.close()


REFUSED: dict[str, dict[str, Any]] = {
    "labeling.url": {"labeling": {"url": "http://127.0.0.1:1"}},
    "server.port": {"server": {"port": 1}},
    "task.question": {"task": {"question": "Which?"}},
    "data.group": {"data": {"group": "x"}},
    "target.value": {"target": {"value": 3.0}},
    "query.n0": {"query": {"n0": 12}},
}


def test_what_a_running_loop_cannot_take_is_refused_in_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    told, said = settings(target=OUT_OF_REACH), {}

    def order(made: Any) -> None:
        before = (tmp_path / "loop.toml").read_bytes()
        for key, change in REFUSED.items():
            with pytest.raises(ConfigError, match=key) as refused:
                made.change(settings(**{"target": OUT_OF_REACH, **change}))
            said[key] = str(refused.value)
        assert (tmp_path / "loop.toml").read_bytes() == before

    assert running(tmp_path, told, order, "round 0 ranked") == told
    assert len(said) == len(REFUSED)
    assert all("edit loop.toml" in said[key] for key in list(REFUSED)[:4])


def test_before_the_loop_is_there_an_order_is_put_off(tmp_path: Path) -> None:
    from active_loop.orders import Running

    write_settings(settings(), tmp_path / "loop.toml")
    with pytest.raises(ConfigError, match="still starting"):
        Running(tmp_path, DATABASE, settings()).change(settings(budget={"answers": 120}))


# orders to a loop that does not run here


def test_a_resting_loop_is_changed_in_its_file_alone_and_the_next_start_takes_it(tmp_path: Path) -> None:
    labels, told = write_points(tmp_path), settings()
    write_settings(told, tmp_path / "loop.toml")
    loop = answering(tmp_path, labels, told)
    stepped(loop, lambda: len(loop.store.scores()) >= 1)
    orders = Resting(tmp_path, DATABASE)
    wanted = replace(told, target=replace(told.target, value=0.85))
    found = propose(orders, wanted)
    assert [each.key for each in found.differences] == ["target.value"]
    assert found.change
    orders.change(wanted)
    assert (orders.told(), orders.in_force()) == (wanted, told)
    loop = retold(loop, orders.told())
    loop.step()
    assert loop.store.events("changed")
    loop.store.close()


def test_a_loop_that_another_process_runs_is_changed_there(tmp_path: Path) -> None:
    write_settings(settings(), tmp_path / "loop.toml")
    before = (tmp_path / "loop.toml").read_bytes()
    with FolderLock(tmp_path), pytest.raises(FolderBusyError, match="on the dashboard of that one"):
        Resting(tmp_path, DATABASE).change(settings(budget={"answers": 120}))
    assert (tmp_path / "loop.toml").read_bytes() == before


def test_instructions_in_a_file_of_their_own_stay_there(tmp_path: Path) -> None:
    path = tmp_path / "loop.toml"
    (tmp_path / "told.md").write_text("Look twice.", encoding="utf-8")
    write_settings(settings(task={"instructions_file": "told.md"}), path)
    told = read_settings(path)
    assert told.task.instructions == "Look twice."
    rewrite_settings(replace(told, budget=replace(told.budget, answers=120)), path)
    (tmp_path / "told.md").write_text("Look thrice.", encoding="utf-8")
    assert (read_settings(path).task.instructions, read_settings(path).budget.answers) == ("Look thrice.", 120)
