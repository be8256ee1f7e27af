"""Several people in one loop: overlap, differences and who settles them, repetitions, doubtful labels."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loops import START, Crowd, Say, open_loop, right, run_to_end, settings, trail, write_points

from active_loop import again
from active_loop.answers import heard, merging
from active_loop.domain import (
    IMPORTED,
    Annotation,
    AnswerKind,
    Ask,
    AskKind,
    AskState,
    Merged,
    Outcome,
    Purpose,
    Stopped,
    WaitingForPeople,
)
from active_loop.errors import ConfigError, DataError
from active_loop.export import export_rows
from active_loop.label_studio import Annotator, LabelStudio, sign_up
from active_loop.local_studio import LocalStudio
from active_loop.report import Reader, status
from active_loop.session import session, suspects
from active_loop.settings import DataSettings, LabelingSettings, StopSettings, TaskSettings, check


def told(**people: Any) -> Any:
    return settings(people=people, budget={"answers": 120}, target={"value": 0.99})


def test_as_many_different_people_answer_as_are_wanted(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    crowd = Crowd(("ann", "bob", "cia"), right(labels))
    loop = open_loop(tmp_path, crowd, told(overlap=2, test_overlap=3))
    assert isinstance(run_to_end(loop), Stopped)
    asks = {ask.id: ask for ask in loop.store.asks()}
    answered = Counter((a.ask, a.person) for a in loop.store.annotations())
    assert set(answered.values()) == {1}
    of_ask = Counter(ask for ask, _ in answered)
    complete = [ask for ask in asks.values() if ask.state == AskState.OPEN]
    assert all(of_ask[ask.id] == ask.wanted for ask in complete)
    assert {ask.wanted for ask in complete if ask.purpose == Purpose.TEST} == {3}
    assert Counter(ask.wanted for ask in complete if ask.purpose == Purpose.POOL).most_common(1)[0][0] == 2
    found = status(loop.store)
    assert found.answers == sum(answered.values()) <= 120
    assert found.agreement.n_items == len(complete)


def test_only_a_share_of_the_items_goes_to_several_people(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    loop = open_loop(tmp_path, Crowd(("ann", "bob"), right(labels)), told(overlap=2, overlap_share=0.3))
    run_to_end(loop)
    wanted = Counter(ask.wanted for ask in loop.store.asks() if ask.purpose == Purpose.POOL)
    assert wanted[2] == pytest.approx(0.3 * wanted.total(), abs=4 * (0.21 * wanted.total()) ** 0.5)


def test_a_test_item_waits_for_all_who_are_to_answer_it(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    crowd = Crowd(("ann",), right(labels))
    loop = open_loop(tmp_path, crowd, told(test_overlap=2))
    assert isinstance(run_to_end(loop), WaitingForPeople)
    assert not loop.store.looks()
    assert not loop.standing.test_prefix().judged
    crowd.people = ("ann", "bob")
    assert isinstance(run_to_end(loop), Stopped)
    assert loop.store.looks()


def differ(labels: Sequence[str], where: Callable[[int], bool]) -> Say:
    """Everybody is right, but bob on some rows."""
    wrong = {"red": "green", "green": "blue", "blue": "red"}
    return lambda person, ask, row: wrong[labels[int(row)]] if person == "bob" and where(int(row)) else labels[int(row)]


def test_what_people_differ_on_is_asked_once_more_and_first(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    crowd = Crowd(("ann", "bob", "cia"), differ(labels, lambda row: row % 3 == 0))
    loop = open_loop(tmp_path, crowd, told(overlap=2, test_overlap=2))
    run_to_end(loop)
    asks, merged = loop.store.asks(), loop.standing.merged()
    again_ = [ask for ask in asks if ask.kind == AskKind.ADJUDICATION]
    assert {ask.purpose for ask in again_} == {Purpose.POOL, Purpose.TEST}
    firsts = {ask.item for ask in asks if ask.kind == AskKind.FIRST}
    assert {ask.item for ask in again_} <= firsts
    times = Counter(ask.item for ask in again_)
    assert max(times.values()) <= again.MOST
    settled = [item for item in times if merged[item].label]
    assert settled
    assert all(merged[item].label == labels[item] for item in settled)
    spent = Counter(ask.purpose for ask in asks for _ in range(ask.wanted))
    assert spent.total() <= 120
    assert spent[Purpose.POOL] <= 120 - loop.standing.plan.asked(1)


def test_differences_that_came_with_the_data_do_not_take_the_whole_budget(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    loop = open_loop(tmp_path, Crowd(("ann",), right(labels)), told())
    loop.import_items()
    old = [
        Annotation(IMPORTED, f"{person}-{n}", START, AnswerKind.SUBMITTED, json.dumps(said), person, item=n)
        for n in range(200)
        for person, said in (("old one", "red"), ("old two", "blue"))
    ]
    loop.store.append(old)
    run_to_end(loop)
    asks = loop.store.asks()
    batches = Counter(ask.batch for ask in asks)
    kinds = Counter((ask.batch, ask.kind) for ask in asks if ask.purpose == Purpose.POOL)
    assert any(kind == AskKind.ADJUDICATION for _, kind in kinds)
    assert all(
        kinds[batch, AskKind.ADJUDICATION] <= (batches[batch] + 1) // 2 for batch in batches if batches[batch] > 9
    )
    assert sum(n for (_, kind), n in kinds.items() if kind == AskKind.FIRST) > 20
    tests = {ask.item for ask in asks if ask.purpose == Purpose.TEST and ask.kind == AskKind.ADJUDICATION}
    order = loop.standing.test_order
    assert all(order.index(item) < 2 * loop.standing.plan.m(2) for item in tests)


def test_an_adjudicator_settles_an_item_alone(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)

    def say(person: str, ask: Ask, row: str) -> str | None:
        if ask.kind == AskKind.ADJUDICATION:
            return "blue" if person == "dr" else "red"
        return {"ann": "red", "bob": "green", "dr": "red"}[person] if int(row) % 4 == 0 else labels[int(row)]

    crowd = Crowd(("ann", "bob", "dr"), say)
    loop = open_loop(tmp_path, crowd, told(overlap=2, adjudicators=("dr",)))
    run_to_end(loop)
    by_dr = {a.item for a in loop.store.annotations() if a.person == "dr" and a.asked == AskKind.ADJUDICATION}
    by_others = {a.item for a in loop.store.annotations() if a.person != "dr" and a.asked == AskKind.ADJUDICATION}
    merged = loop.standing.merged()
    assert by_dr
    assert all(merged[item].label == "blue" for item in by_dr if item is not None)
    assert any(merged[item].label != "blue" for item in by_others - by_dr if item is not None)


def test_answers_of_others_than_the_named_people_are_recorded_and_do_not_count(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    crowd = Crowd(("ann", "eve"), right(labels))
    loop = open_loop(tmp_path, crowd, told(annotators=("ann", "bob")))
    run_to_end(loop)
    people = Counter(a.person for a in loop.store.annotations())
    assert people["eve"] > 5
    merged = loop.standing.merged()
    assert {m.outcome for m in merged.values() if m.people == ("eve",)} == {Outcome.INVALID}
    assert all(m.label is None for m in merged.values() if m.people == ("eve",))


def test_a_repeated_question_is_no_second_vote_of_the_same_person(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)

    def say(person: str, ask: Ask, row: str) -> str | None:
        return "red" if ask.kind == AskKind.REPEAT else labels[int(row)]

    loop = open_loop(tmp_path, Crowd(("ann",), say), told(repeat_share=0.2))
    run_to_end(loop)
    repeats = [ask for ask in loop.store.asks() if ask.kind == AskKind.REPEAT]
    firsts = [ask for ask in loop.store.asks() if ask.kind == AskKind.FIRST and ask.purpose == Purpose.POOL]
    assert 0 < len(repeats) <= 0.2 * len(firsts)
    assert len({ask.item for ask in repeats}) == len(repeats)
    first = {ask.item: ask.position or 0 for ask in firsts}
    assert all((ask.position or 0) - first[ask.item] >= again.LATER / 2 for ask in repeats)
    merged = loop.standing.merged()
    assert all(merged[ask.item].label == labels[ask.item] for ask in firsts if ask.item in merged)
    constancy = status(loop.store).constancy
    differing = sum(labels[ask.item] != "red" for ask in repeats)
    assert (constancy.n, constancy.same) == (len(repeats), len(repeats) - differing)


def test_the_same_run_asks_the_same_again_after_a_restart(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    said = told(overlap=2, repeat_share=0.1, test_overlap=2)
    say = differ(labels, lambda row: row % 5 == 0)
    trails = []
    for restart_every in (10**6, 3):
        folder = tmp_path / str(restart_every)
        folder.mkdir()
        (folder / "points.csv").write_bytes((tmp_path / "points.csv").read_bytes())
        crowd, loop, steps = Crowd(("ann", "bob", "cia"), say), None, 0
        while True:
            if loop is None or steps % restart_every == 0:
                if loop:
                    loop.store.close()
                loop = open_loop(folder, crowd, said, now=lambda: START)
            steps += 1
            if isinstance(loop.step(), Stopped):
                break
        trails.append(trail(loop.store))
        loop.store.close()
    assert trails[0] == trails[1]


def test_an_export_says_how_an_item_was_chosen_first(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    loop = open_loop(tmp_path, Crowd(("ann", "bob", "cia"), differ(labels, lambda row: row % 3 == 0)), told(overlap=2))
    run_to_end(loop)
    disputed = {loop.standing.items[ask.item].id for ask in loop.store.asks() if ask.kind == AskKind.ADJUDICATION}
    rows = [row for row in export_rows(loop.store) if row.item in disputed and row.split == "pool"]
    assert rows
    assert all(row.round is not None and row.chosen_by != "random" for row in rows)


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ({"overlap": 0}, "people.overlap is 0"),
        ({"test_overlap": 3, "annotators": ("ann", "bob")}, "people.test_overlap is 3, and"),
        ({"repeat_share": 0.6}, "people.repeat_share is 0.6: give a share from 0 to 0.5"),
        ({"overlap_share": 1.2}, "people.overlap_share is 1.2"),
    ],
)
def test_what_cannot_work_is_refused(people: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(told(**people))
    with pytest.raises(ConfigError, match="a search asks one person"):
        check(settings(people={"overlap": 2}, target={"metric": "found", "value": 0.9, "positive": "red"}))


# the choice, by itself


def ask(number: int, item: int, kind: AskKind = AskKind.FIRST, purpose: Purpose = Purpose.POOL) -> Ask:
    return Ask(f"a{number}", item, purpose, AskState.OPEN, kind=kind, position=number)


def said(item: int, label: str | None, *, disputed: bool = False, annotation: int = 1) -> Merged:
    return Merged(item, label, Outcome.LABEL, {"x": 1}, ("ann",), 1.0, disputed, annotation)


def test_a_difference_waits_until_everybody_has_answered_and_is_put_twice_at_most() -> None:
    merged = {item: said(item, None, disputed=True, annotation=9 - item) for item in range(3)}
    asks = [ask(1, 0), ask(2, 1), ask(3, 2)]
    assert again.differing(asks, set(), merged) == [2, 1, 0]
    assert again.differing(asks, {"a2"}, merged) == [2, 0]
    more = [ask(4, 2, AskKind.ADJUDICATION), ask(5, 2, AskKind.ADJUDICATION), ask(6, 1, AskKind.ADJUDICATION)]
    assert again.differing([*asks, *more], {"a6"}, merged) == [0]
    assert again.differing([*asks, *more], set(), {1: said(1, "x")}) == []


def test_a_doubtful_label_is_asked_again_once_a_round_and_twice_at_most() -> None:
    asks = [ask(1, 0), ask(2, 1), ask(3, 2), ask(4, 1, AskKind.RELABEL)]
    assert again.doubted(asks, [2, 1, 0], set(), ask_position=3) == [2, 0]
    assert again.doubted(asks, [2, 1, 0], {"a3"}, ask_position=4) == [1, 0]
    assert again.doubted([*asks, ask(5, 1, AskKind.RELABEL)], [2, 1, 0], set(), ask_position=9) == [2, 0]


def test_doubting_takes_several_people_or_one_who_does_not_always_say_the_same() -> None:
    assert again.may_doubt(2, [])
    assert not again.may_doubt(1, [True] * 40)
    assert not again.may_doubt(1, [False] * 19)
    assert again.may_doubt(1, [True] * 19 + [False])


@hypothesis_settings(deadline=None)
@given(st.integers(0, 120), st.floats(0, 0.5), st.integers(0, 2**32))
def test_repeats_keep_to_their_share_and_their_distance(n: int, share: float, seed: int) -> None:
    import numpy as np

    asks = [ask(number, number) for number in range(n)]
    first = {f"a{number}": number + 1 for number in range(n)}
    merged = {number: said(number, "x") for number in range(n) if number % 7}
    found = again.repeatable(asks, first, merged, share, np.random.default_rng(seed))
    assert len(found) <= share * n
    assert len(set(found)) == len(found)
    assert all(item % 7 and item + 1 <= n - again.LATER for item in found)
    asked = [*asks, *(ask(1000 + item, item, AskKind.REPEAT) for item in found)]
    rest = again.repeatable(asked, first, merged, share, np.random.default_rng(seed))
    assert not set(rest) & set(found)
    assert len(rest) + len(found) <= share * n


# what the model makes of labels


def careless(labels: Sequence[str], share: float) -> Say:
    """Everybody is wrong on a share of the rows, each on others; always the same on the same row."""
    wrong = {"red": "green", "green": "blue", "blue": "red"}

    def say(person: str, ask: Ask, row: str) -> str:
        key = hashlib.blake2b(f"{person} {row} {ask.kind}".encode(), digest_size=4).digest()
        return wrong[labels[int(row)]] if int.from_bytes(key, "big") / 2**32 < share else labels[int(row)]

    return say


def test_doubtful_labels_are_asked_about_again_within_their_share(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300, spread=0.6)
    crowd = Crowd(("ann", "bob", "cia"), careless(labels, 0.15))
    loop = open_loop(tmp_path, crowd, settings(people={"relabel_share": 0.2}, budget={"answers": 200}))
    run_to_end(loop)
    again_ = [ask for ask in loop.store.asks() if ask.kind == AskKind.RELABEL]
    assert again_
    pool = {ask.item: ask for ask in loop.store.asks() if ask.kind == AskKind.FIRST}
    assert all(pool[each.item].purpose == Purpose.POOL for each in again_)
    of_batch = Counter(ask.batch for ask in again_)
    sizes = Counter(ask.batch for ask in loop.store.asks())
    assert all(n <= round(0.2 * 20) for n in of_batch.values()), sizes
    first = {a.item or 0: json.loads(a.raw) for a in reversed(loop.store.annotations()) if a.asked == AskKind.FIRST}
    wrong = [ask.item for ask in again_ if first[ask.item] != labels[ask.item]]
    share = sum(first[item] != labels[item] for item in first) / len(first)
    assert len(wrong) / len(again_) > 1.5 * share, "what is doubted is wrong more often than labels are"


def test_one_person_alone_is_not_doubted(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300, spread=0.6)
    loop = open_loop(tmp_path, Crowd(("ann",), careless(labels, 0.15)), told(relabel_share=0.2))
    run_to_end(loop)
    assert {ask.kind for ask in loop.store.asks()} == {AskKind.FIRST}


def test_a_merge_by_crowdlab_heeds_the_round_before_and_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 400, spread=0.6)
    said_ = settings(people={"merge": "crowdlab", "overlap": 2}, budget={"answers": 240}, target={"value": 0.99})
    loop = open_loop(tmp_path, Crowd(("ann", "bob", "cia"), careless(labels, 0.2)), said_)
    run_to_end(loop)
    grown = [dict(loop.standing.merge(r.annotation_position)) for r in loop.standing.scored_rounds()]
    fresh = open_loop(tmp_path, loop.backend, said_)
    assert grown == [dict(fresh.standing.merge(r.annotation_position)) for r in fresh.standing.scored_rounds()]
    last = loop.standing.scored_rounds()[-1]
    assert heard(loop.store.rounds(), last.annotation_position).number == last.number - 1  # type: ignore[union-attr]
    majority_ = replace(said_, people=replace(said_.people, merge="majority"))
    votes = merging(majority_, loop.standing.is_learned)
    votes.add(loop.store.annotations())
    merged = loop.standing.merged()
    assert any(merged[item].label != each.label for item, each in votes.merged.items())
    tests = set(loop.standing.test_order)
    assert all(merged[item].label == votes.merged[item].label for item in tests & merged.keys())
    assert status(loop.store).unweighed == ""


def test_once_the_loop_has_stopped_it_lists_labels_that_look_wrong_and_changes_none(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 400, spread=0.5)
    said_ = settings(budget={"answers": 240}, target={"value": 0.99})
    loop = open_loop(tmp_path, Crowd(("ann",), careless(labels, 0.08)), said_)
    run_to_end(loop)
    [event] = loop.store.events("suspects")
    found = event.body["found"]
    assert 0 < len(found) <= 0.05 * event.body["n_labels"]
    assert all(loop.standing.is_learned(each["item"]) for each in found)
    assert sum(labels[each["item"]] != each["given"] for each in found) > len(found) / 2
    assert all(loop.standing.merged()[each["item"]].label == each["given"] for each in found)
    assert len(status(loop.store).suspects) == len(found)
    by_hand = suspects(tmp_path, said_)
    assert [each.given for each in by_hand] == [each["given"] for each in found]
    assert by_hand[0].row == loop.standing.items[found[0]["item"]].row
    assert by_hand[0].shown


def test_labels_that_look_wrong_can_be_listed_while_the_loop_runs_once_there_is_a_model(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 400, spread=0.5)
    said_ = settings(budget={"answers": 240}, target={"value": 0.99})
    loop = open_loop(tmp_path, Crowd(("ann",), careless(labels, 0.1)), said_)
    loop.import_items()
    with pytest.raises(DataError, match="no model was trained; come back after the first round"):
        suspects(tmp_path, said_)
    while not loop.standing.scored_rounds():
        loop.step()
    with pytest.raises(DataError, match="labels are there to learn from, and 40 are the fewest"):
        suspects(tmp_path, said_)
    while loop.standing.scored_rounds()[-1].record["n_labels"] < 60:
        loop.step()
    listed = suspects(tmp_path, said_)
    tests = {loop.standing.items[item].row for item in loop.standing.test_order}
    assert listed
    assert not {each.row for each in listed} & tests
    assert not loop.store.events("suspects")


def test_what_some_have_answered_is_withdrawn_at_the_end_and_costs_what_was_given(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 300)
    loop = open_loop(tmp_path, Crowd(("ann",), right(labels)), told(overlap=2))
    run_to_end(loop)
    half = [ask for ask in loop.store.incomplete() if ask.purpose == Purpose.POOL]
    assert len(half) > 10
    loop.store.close()
    loop = open_loop(
        tmp_path, Crowd(("ann",), right(labels)), replace(told(overlap=2), stop=StopSettings(by_hand="so"))
    )
    assert isinstance(run_to_end(loop), Stopped)
    asks = [ask for ask in loop.store.asks() if ask.purpose == Purpose.POOL]
    assert {ask.state for ask in asks} == {AskState.RETIRED}
    assert loop.store.n_sent(Purpose.POOL) == len({a.ask for a in loop.store.annotations()} & {ask.id for ask in asks})


# in Label Studio


def answer_all(person: Annotator, say: Callable[[str], str]) -> int:
    """Answer everything that is handed out; returns how many tasks that were."""
    n = 0
    while task := person.next():
        person.answer(task, say(str(task.shown["text"])), lead_time_s=1.0)
        n += 1
    return n


def step_until_waiting(loop: Any) -> None:
    while not isinstance(loop.step(), WaitingForPeople | Stopped):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*")
def test_what_two_people_differ_on_goes_to_the_adjudicators_own_project(
    studio: LocalStudio, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
    rows = [f"{word} number {number}" for number in range(60) for word in ("fine", "awful", "odd")]
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(rows) + "\n")
    link = LabelStudio(studio.url, token=studio.token).invite_link()
    doctor = sign_up(link, "dr@loop.local", "a-long-pass-word", url=studio.url)
    said_ = settings(
        name="letters",
        data=DataSettings(path="texts.csv", kind="text", show=("text",)),
        task=TaskSettings(classes=("good", "bad")),
        labeling=LabelingSettings(url=studio.url),
        people={"overlap": 2, "adjudicators": ("dr@loop.local",)},
    )
    with session(tmp_path, said_, lambda news: None, dashboard=False, inline=True) as made:
        loop, place, queue = made.loop, made.labeling, made.adjudication
        assert place is not None
        assert queue is not None
        assert place.project != queue.project
        first, other = (Annotator(studio.url, token=token, project=place.project) for token in (studio.token, second))
        settler = Annotator(studio.url, token=doctor, project=queue.project)
        step_until_waiting(loop)
        assert settler.next() is None
        answer_all(first, lambda text: "bad" if text.startswith("awful") else "good")
        answer_all(other, lambda text: "good" if text.startswith("fine") else "bad")
        for _ in range(3):
            step_until_waiting(loop)
        differing = {ask.item for ask in loop.store.asks() if ask.kind == AskKind.ADJUDICATION}
        merged, shown = loop.standing.merged(), {item.position: rows[int(item.row)] for item in loop.standing.items}
        assert differing
        assert all(merged[item].disputed and shown[item].startswith("odd") for item in differing)
        assert answer_all(settler, lambda text: "bad") == len(differing)
        step_until_waiting(loop)
        merged = loop.standing.merged()
        assert all(merged[item].label == "bad" and not merged[item].disputed for item in differing)
        by_source = Counter(a.source for a in loop.store.annotations())
        assert set(by_source) == {place.source, queue.source}
        found = settler.next(), place.project, queue.project
    with session(tmp_path, said_, lambda news: None, dashboard=False, inline=True) as made:
        assert made.labeling is not None
        assert made.adjudication is not None
        assert (None, made.labeling.project, made.adjudication.project) == found


def test_where_a_loop_stands_reads_the_same_again_and_again_as_in_one_go(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    crowd = Crowd(("ann", "bob", "eve"), differ(labels, lambda row: row % 4 == 0))
    loop, reader = open_loop(tmp_path, crowd, told(overlap=2, merge="dawid_skene", repeat_share=0.1)), Reader()
    now = START + timedelta(days=1)
    for _ in range(400):
        if isinstance(loop.step(), Stopped):
            break
        assert reader.status(loop.store, now) == status(loop.store, now)
    assert reader.status(loop.store, now).stopped


def test_while_a_loop_runs_no_count_is_settled_by_what_only_items_to_learn_from_are(tmp_path: Path) -> None:
    labels = write_points(tmp_path, 400)
    crowd = Crowd(("ann", "bob", "eve"), differ(labels, lambda row: row % 2 == 0))
    loop = open_loop(
        tmp_path,
        crowd,
        settings(people={"overlap": 2, "merge": "dawid_skene"}, budget={"answers": 400}, target={"value": 0.99}),
    )
    alone, together = merging(loop.settings, lambda item: False), merging(loop.settings, loop.standing.is_learned)
    read, differed = 0, 0
    while not isinstance(loop.step(), Stopped) and differed < 3:
        new = loop.store.annotations(after=read)
        read += len(new)
        for found in (alone, together):
            found.add(new)
        disputed = [sum(each.disputed for each in found.merged.values()) for found in (alone, together)]
        assert status(loop.store).disputed == disputed[0]
        differed += disputed[0] != disputed[1]
    assert differed == 3, "otherwise nothing is shown"
