"""How loops end without having reached anything: limits, deadlines, a person's word; and how they go on again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loops import Clock, open_loop, run_to_end, settings, write_points

from active_loop.changes import moved_end
from active_loop.domain import Decision, Purpose, Stopped, Verdict
from active_loop.errors import ConfigError
from active_loop.labeling import Oracle, Publication
from active_loop.loop import Loop
from active_loop.report import sentence, status
from active_loop.settings import check

HOPELESS = {"value": 0.999}


class TimedOracle(Oracle):
    """An oracle whose answers to asks of one purpose take some seconds, and those to others ten times as long."""

    def __init__(self, labels: list[str], seconds: float) -> None:
        super().__init__(labels)
        self._seconds = seconds

    def _answer(self, publication: Publication) -> Any:
        slow = publication.ask.purpose == Purpose.TEST
        return replace(super()._answer(publication), lead_time_s=self._seconds * (10 if slow else 1))


def stopped(loop: Loop) -> Decision:
    result = run_to_end(loop)
    assert isinstance(result, Stopped)
    return result.decision


def sent(loop: Loop) -> tuple[int, int]:
    return loop.store.n_sent(Purpose.POOL), loop.store.n_sent(Purpose.TEST)


def again(loop: Loop, folder: Path, labels: list[str], **changes: Any) -> Loop:
    loop.store.close()
    return open_loop(folder, Oracle(labels), settings(**changes))


def test_hours_end_a_loop_by_the_pace_of_answers_to_learn_from(tmp_path: Path) -> None:
    labels = write_points(tmp_path, spread=3.0)
    told = settings(target=HOPELESS, budget={"answers": 90, "hours": 0.2})
    loop = open_loop(tmp_path, TimedOracle(labels, 12.0), told)
    assert stopped(loop) == Decision(True, "hours", Verdict.NOT_REACHED)
    assert sum(sent(loop)) == 60, "0.2 hours are 60 answers of 12 seconds, however long the test items took"
    assert "the hours are spent" in sentence(status(loop.store))
    assert len(loop.store.looks()) == 1, "the end opens the gate, as that of a budget does"

    more = again(loop, tmp_path, labels, target=HOPELESS, budget={"answers": 90, "hours": 0.25})
    assert stopped(more).reason == "hours"
    assert sum(sent(more)) == 75


def test_money_ends_a_loop_and_the_answers_may_end_it_first(tmp_path: Path) -> None:
    labels = write_points(tmp_path, spread=3.0)
    paid = {"answers": 90, "money": 5.0, "price_per_hour": 25.0, "seconds_per_label": 10.0}
    loop = open_loop(tmp_path, Oracle(labels), settings(target=HOPELESS, budget=paid))
    assert stopped(loop).reason == "money"
    assert sum(sent(loop)) == 72, "5 at 25 an hour are 720 seconds, 10 each as long as nobody's time is known"
    rich = again(loop, tmp_path, labels, target=HOPELESS, budget=paid | {"money": 500.0})
    assert stopped(rich).reason == "budget"
    assert sum(sent(rich)) == 90


def test_after_a_deadline_nothing_is_asked_and_what_is_open_counts_as_wrong(tmp_path: Path) -> None:
    labels = write_points(tmp_path, spread=0.5)
    clock = Clock()
    told = settings(target={"value": 0.6}, budget={"answers": 300}, stop={"deadline": "2026-01-02"})
    loop = open_loop(tmp_path, Oracle(labels, per_collect=1), told, now=clock)
    while loop.store.n_sent(Purpose.TEST) < 12 or not loop.store.scores():
        loop.step()
    before = sent(loop)
    clock.time = datetime(2026, 1, 3, tzinfo=UTC)
    n_answered = len({a.ask for a in loop.store.annotations()})
    loop.backend = Oracle([], per_collect=0)
    loop.backend.collect = lambda: ()  # type: ignore[method-assign]
    decision = stopped(loop)
    assert decision.reason in ("deadline", "target")
    assert sent(loop)[0] <= before[0]
    assert len({a.ask for a in loop.store.annotations()}) == n_answered
    (look,) = loop.store.looks()
    unanswered = [item for item in loop.store.look_items(1) if item.annotation is None]
    assert look.n == before[1], "every test item that was asked"
    assert look.n - look.correct >= len(unanswered) > 0
    assert loop.store.rounds()[-1].final


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_deadline_before_the_first_answer_ends_at_once(tmp_path: Path, asked_before: bool) -> None:
    labels, clock = write_points(tmp_path), Clock()
    loop = open_loop(tmp_path, Oracle(labels, per_collect=0), settings(stop={"deadline": "2026-01-02"}), now=clock)
    if asked_before:
        run_to_end(loop)
        assert sum(sent(loop)) > 0
    clock.time = datetime(2026, 1, 3, tzinfo=UTC)
    assert stopped(loop) == Decision(True, "deadline", Verdict.NOT_REACHED)
    assert not loop.store.looks()


def test_a_deadline_that_is_put_off_after_a_score_gets_no_free_look(tmp_path: Path) -> None:
    labels, clock = write_points(tmp_path, spread=3.0), Clock()
    told = {"target": HOPELESS, "budget": {"answers": 120}}
    loop = open_loop(
        tmp_path, Oracle(labels, per_collect=1), settings(**told, stop={"deadline": "2026-01-02"}), now=clock
    )
    while not loop.store.scores():
        loop.step()
    clock.time += timedelta(days=2)
    assert stopped(loop).reason == "deadline"
    assert len(loop.store.looks()) == 1

    later = again(loop, tmp_path, labels, **told, stop={"deadline": "2026-02-02"})
    assert stopped(later).reason == "budget"
    assert not later.store.rounds()[-1].entitled
    assert len(later.store.looks()) == 1


def test_a_person_ends_a_loop_with_a_reason_and_takes_it_up_again(tmp_path: Path) -> None:
    labels = write_points(tmp_path, spread=3.0)
    loop = open_loop(tmp_path, Oracle(labels, per_collect=1), settings(target=HOPELESS))
    while not loop.store.scores():
        loop.step()
    ended = again(loop, tmp_path, labels, target=HOPELESS, stop={"by_hand": "the study was cancelled"})
    assert stopped(ended) == Decision(True, "by hand", Verdict.NOT_REACHED, "the study was cancelled")
    assert status(ended.store).stopped == "by hand: the study was cancelled"
    assert not ended.store.looks(), "nobody looks because somebody wants to"

    resumed = again(ended, tmp_path, labels, target=HOPELESS)
    assert stopped(resumed).reason == "budget"
    assert [event.body["reason"] for event in resumed.store.events("stopped")] == ["by hand", "budget"]


def test_a_loop_that_no_longer_improves_says_so_and_claims_nothing(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=900, spread=0.7)
    told = settings(target={"value": 0.9999}, budget={"answers": 400}, stop={"stable_rounds": 3})
    loop = open_loop(tmp_path, Oracle(labels), told)
    decision = stopped(loop)
    assert decision.reason == "stable"
    assert decision.verdict == loop.store.looks()[-1].verdict
    assert sum(sent(loop)) < 400
    assert "its predictions no longer change" in sentence(status(loop.store))


def test_a_target_out_of_reach_ends_a_loop_that_was_told_so(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=900, spread=3.0)
    out_of_reach = {"target": {"value": 0.97}, "budget": {"answers": 300}}
    loop = open_loop(tmp_path, Oracle(labels), settings(**out_of_reach, stop={"unreachable": 0.9}))
    assert stopped(loop).reason == "unreachable"
    assert sum(sent(loop)) < 300
    assert "the target is probably out of reach" in sentence(status(loop.store))
    assert not [look for look in loop.store.looks() if look.verdict == Verdict.CERTIFIED]

    resumed = again(loop, tmp_path, labels, **out_of_reach)
    assert stopped(resumed).reason == "budget"
    assert sum(sent(resumed)) == 300


@pytest.mark.parametrize(
    ("section", "values", "says"),
    [
        ("budget", {"hours": -1.0}, "budget.hours is -1.0"),
        ("budget", {"money": 10.0}, "budget.money is 10, and what an hour costs is not known"),
        ("budget", {"seconds_per_label": 0.0}, "budget.seconds_per_label is 0.0"),
        ("budget", {"time_zone": "Mars/Olympus"}, 'budget.time_zone is "Mars/Olympus"'),
        ("budget", {"time_zone": "../etc/passwd"}, 'budget.time_zone is "../etc/passwd"'),
        ("stop", {"deadline": "Christmas"}, 'stop.deadline is "Christmas"'),
        ("stop", {"stable_rounds": 1}, "stop.stable_rounds is 1"),
        ("stop", {"unreachable": 1.0}, "stop.unreachable is 1.0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(section: str, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(settings(**{section: values}))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("budget", {"answers": 91}),
        ("budget", {"hours": 1.0}),
        ("budget", {"money": 9.0, "price_per_hour": 20.0}),
        ("budget", {"seconds_per_label": 20.0}),
        ("budget", {"time_zone": "Asia/Seoul"}),
        ("stop", {"deadline": "2027-01-01"}),
    ],
)
def test_whatever_an_end_rests_on_moves_it(section: str, values: dict[str, Any]) -> None:
    assert moved_end(settings(), settings(**{section: values}))
    assert not moved_end(settings(), settings(name="another", query={"queue_high": 30}))
