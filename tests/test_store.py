"""The store: facts stay, transactions are whole, one writer, readers see one state."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from active_loop.domain import Annotation, AnswerKind, Ask, AskKind, AskState, Item, Purpose, Round, RoundState, Split
from active_loop.errors import FolderBusyError, FolderError, NewerFolderError
from active_loop.store import FolderLock, Store

START = datetime(2026, 1, 1, tzinfo=UTC)


def filled(path: Path | str = ":memory:", n: int = 6) -> Store:
    """A store with n pool items, all of them ranked by the cold start."""
    store = Store(path)
    store.add_setting("{}")
    store.import_items([Item(p, f"item {p}", Split.POOL, "data.csv", str(p)) for p in range(n)], [], {"items": n})
    store.open_round(Round(-1, RoundState.OPENED, 0, 0, 1, 0))
    store.rank_round(-1, [ranked(p) for p in range(n)], {"n_labels": 0}, [])
    return store


def ranked(item: int, round_: int = -1) -> Ask:
    return Ask(f"ask {round_}:{item}", item, Purpose.POOL, AskState.RANKED, round_, item, 1.0, {"margin": 0.1})


def answer(ask: str | None, id: str, at: int = 0, **changes: object) -> Annotation:
    fields = {"source": "oracle", "kind": AnswerKind.SUBMITTED, "raw": '"cat"', "person": "ann", "lead_time_s": 1.5}
    return Annotation(id=id, updated_at=START + timedelta(seconds=at), ask=ask, **(fields | changes))  # type: ignore[arg-type]


def send(store: Store, n: int) -> list[Ask]:
    asks = store.ranked_asks(n)
    batch = store.create_batch(asks, [], [ask.id for ask in asks])
    store.mark_open(batch)
    return asks


def test_what_was_stored_comes_back_equal() -> None:
    store = filled()
    asks = send(store, 2)
    sent = [(ask.id, ask.state, ask.position, ask.batch) for ask in store.asks()]
    assert sent == [(asks[0].id, AskState.OPEN, 1, 1), (asks[1].id, AskState.OPEN, 2, 1)]
    given_ = answer(asks[0].id, "7", at=3, created_at=START)
    assert store.append([given_]) == 1
    (kept,) = store.annotations()
    assert (kept.raw, kept.person, kept.updated_at, kept.created_at) == ('"cat"', "ann", given_.updated_at, START)
    assert (kept.item, kept.position, kept.lead_time_s) == (0, 1, 1.5)
    assert store.asks()[0].why == {"margin": 0.1}


def test_a_repeated_annotation_costs_nothing_and_a_new_version_is_added() -> None:
    store = filled()
    ask = send(store, 1)[0].id
    assert store.append([answer(ask, "1"), answer(ask, "1")]) == 1
    assert store.new_among([answer(ask, "1"), answer(ask, "1", at=1)]) == [answer(ask, "1", at=1)]
    assert store.append([answer(ask, "1", at=1)]) == 1
    assert [a.position for a in store.annotations()] == [1, 2]


def test_within_one_collect_annotations_are_appended_by_time_and_id() -> None:
    store = filled()
    asks = [ask.id for ask in send(store, 3)]
    store.append([answer(asks[0], "9", at=2), answer(asks[1], "5", at=1), answer(asks[2], "4", at=2)])
    assert [a.id for a in store.annotations()] == ["5", "4", "9"]


def test_answers_to_asks_that_are_not_ours_are_passed_over() -> None:
    store = filled()
    assert store.append([answer("somebody else's", "1")]) == 0
    assert store.append([answer("ask -1:0", "1")]) == 0, "it was ranked and never asked"


def test_an_answer_to_a_sending_ask_is_accepted() -> None:
    store = filled()
    asks = store.ranked_asks(1)
    store.create_batch(asks, [], [asks[0].id])
    assert store.append([answer(asks[0].id, "1")]) == 1
    assert store.unanswered() == []


def test_a_new_ranking_supersedes_what_was_not_sent_and_passes_over_what_was() -> None:
    store = filled()
    send(store, 2)
    store.open_round(Round(0, RoundState.OPENED, 0, 2, 1, 0))
    store.rank_round(0, [ranked(1, 0), ranked(3, 0)], {"n_labels": 0}, [])
    assert [ask.item for ask in store.ranked_asks(10)] == [3]
    assert [ask.item for ask in store.asks()] == [0, 1]


def test_answered_positions_count_each_ask_once_and_survive_a_retraction() -> None:
    store = filled()
    a, b = (ask.id for ask in send(store, 2))
    store.append([answer(a, "1"), answer(b, "2", at=1), answer(a, "3", at=2)])
    store.append([answer(a, "1", at=9, kind=AnswerKind.RETRACTED)])
    assert store.answered_positions(Purpose.POOL) == [1, 2]


def test_only_one_round_can_be_open() -> None:
    store = filled()
    store.open_round(Round(0, RoundState.OPENED, 0, 0, 1, 0))
    with pytest.raises(sqlite3.IntegrityError):
        store.open_round(Round(1, RoundState.OPENED, 0, 0, 1, 0))


def test_a_failed_write_leaves_nothing_behind() -> None:
    store = filled()
    before = store.asks(), store.annotations(), store.n_batches()
    with pytest.raises(KeyError):
        store.create_batch(store.ranked_asks(2), [], ["only one of them"])
    assert (store.asks(), store.annotations(), store.n_batches()) == before
    assert len(store.ranked_asks(10)) == 6


def test_a_reader_sees_one_state_while_a_writer_writes(tmp_path: Path) -> None:
    writer = filled(tmp_path / "loop.db")
    reader = Store(tmp_path / "loop.db", readonly=True)
    with reader.snapshot():
        assert reader.asks() == []
        send(writer, 3)
        assert reader.asks() == []
    assert len(reader.asks()) == 3
    with pytest.raises(sqlite3.OperationalError):
        reader.add_setting("{}")
    reader.close()
    writer.close()


def test_a_folder_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path / "loop.db").close()
    db = sqlite3.connect(tmp_path / "loop.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(NewerFolderError, match=r"schema 99, and this active-loop knows \d+"):
        Store(tmp_path / "loop.db")


def test_a_broken_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "loop.db").write_text("this is no database, but long enough to be taken for one" * 20)
    with pytest.raises(FolderError, match="cannot read"):
        Store(tmp_path / "loop.db")
    with pytest.raises(FolderError, match="no loop was started"):
        Store(tmp_path / "empty" / "loop.db", readonly=True)


def test_a_second_writer_is_refused_and_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from active_loop.store import FolderLock\n"
        "with FolderLock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FolderBusyError, match=f"number {holder.pid}"), FolderLock(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with FolderLock(tmp_path):
        pass


operations = st.lists(
    st.tuples(st.sampled_from(["send", "answer", "edit", "skip", "retract", "repeat"]), st.integers(0, 5)), max_size=25
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(operations)
def test_whatever_happens_annotations_are_only_ever_added(steps: list[tuple[str, int]]) -> None:
    store = filled()
    seen: list[Annotation] = []
    for clock, (what, number) in enumerate(steps):
        if what == "send":
            if store.ranked_asks(1):
                send(store, 1)
        elif asks := store.asks():
            ask = asks[number % len(asks)].id
            kind = {"skip": AnswerKind.SKIPPED, "retract": AnswerKind.RETRACTED}.get(what, AnswerKind.SUBMITTED)
            store.append(seen if what == "repeat" else [answer(ask, ask, at=clock, kind=kind, raw=json.dumps(clock))])
        now = store.annotations()
        assert now[: len(seen)] == seen
        assert [a.position for a in now] == list(range(1, len(now) + 1))
        seen = now
    answered = {a.ask for a in seen}
    assert {ask.id for ask in store.unanswered()} == {ask.id for ask in store.asks()} - answered
    assert store.n_sent(Purpose.POOL) == len(store.asks())


def test_what_is_read_of_some_items_is_the_same_as_of_all() -> None:
    store = filled(n=9)
    asks = send(store, 6)
    store.append([answer(ask.id, str(place), at=place) for place, ask in enumerate(asks)])
    again = Ask("again", 2, Purpose.POOL, AskState.SENDING, kind=AskKind.REPEAT)
    store.mark_open(store.create_batch([], [again], ["again"]))
    store.append([answer("again", "later", at=99)])
    some = [4, 2, 8, 500]
    assert store.items_at(some) == [item for item in store.items() if item.position in some]
    assert store.asks_about(some) == [ask for ask in store.asks() if ask.item in some]
    assert store.annotations_about(some) == [a for a in store.annotations() if a.item in some]
    assert store.answered_items() == [2, 5, 4, 3, 1, 0]
    assert store.answered_items([AskKind.REPEAT]) == [5, 4, 3, 2, 1, 0]
