"""The page of people, over real stores: what everybody sees, what the owner alone sees, and what moves when."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from loops import settings

from active_loop.crew import crew, persons
from active_loop.domain import Annotation, AnswerKind, Ask, AskState, Item, Purpose, Round, RoundState, Split
from active_loop.server import create_app
from active_loop.settings import Settings, to_json
from active_loop.store import Store

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


class Team:
    """A store whose every third item tests, with answers of several people to one item after the other."""

    def __init__(self, folder: Path, told: Settings) -> None:
        self.path = folder / "loop.db"
        self.store = Store(self.path, now=lambda: NOW)
        self.store.add_setting(to_json(told))
        splits = [Split.POOL if p % 3 else Split.TEST for p in range(200)]
        ranks = [None if p % 3 else p // 3 for p in range(200)]
        items = [Item(p, f"i{p}", splits[p], "points.csv", str(p), ranks[p]) for p in range(200)]
        self.store.import_items(items, [], {"items": 200, "reserved": 67, "budget": 90, "m0": 40, "people": 2})
        asks = [
            Ask(f"a{p}", p, Purpose.POOL if p % 3 else Purpose.TEST, AskState.SENDING, wanted=2) for p in range(200)
        ]
        self.store.mark_open(self.store.create_batch([], asks, [ask.id for ask in asks]))
        self.given = 0

    def says(self, person: str, item: int, label: str | None, seconds: float = 6.0, hours: float = 0.0) -> None:
        kind = AnswerKind.SUBMITTED if label else AnswerKind.SKIPPED
        at = START + timedelta(hours=hours, seconds=self.given)
        self.given += 1
        answer = Annotation("people", f"{self.given}", at, kind, f'"{label}"', person, ask=f"a{item}")
        self.store.append([replace(answer, lead_time_s=seconds)])

    def ranked(self, number: int) -> None:
        position = self.store.annotation_position()
        self.store.open_round(Round(number, RoundState.OPENED, position, self.store.ask_position(), 1, 0))
        self.store.rank_round(number, [], {"n_labels": 10, "agreement": None}, [])

    def stop(self, suspects: tuple[int, ...] = ()) -> None:
        self.store.add_event("stopped", {"reason": "budget", "verdict": "not reached", "because": "", "limits": {}})
        found = [{"item": p, "given": "red", "suggested": "blue", "margin": -0.9, "neighbours": 9} for p in suspects]
        self.store.add_event("suspects", {"n_labels": 90, "found": found})

    def get(self, path: str = "/people", owner: bool = False) -> Any:
        app = create_app(
            partial(Store, self.path, readonly=True), wake=lambda: None, secret="s", key="owner's", now=lambda: NOW
        )
        headers = {"Authorization": "Bearer owner's"} if owner else {}
        return app.test_client().get(path, headers=headers, buffered=True)

    def page(self, owner: bool = False) -> str:
        return plain(self.get(owner=owner).text)


def plain(markup: str) -> str:
    markup = re.sub(r"<(title|head|script|svg)\b.*?</\1>", " ", markup, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    made = Team(tmp_path, settings(budget={"time_zone": "Asia/Seoul"}))
    yield made
    made.store.close()


def two_on(team: Team, n: int, differ: int = 0) -> None:
    """Zoe and ann on the same n items, where they differ on the last ones; classes go round."""
    for item in range(n):
        label = ("red", "green", "blue")[item % 3]
        team.says("zoe", item, label, seconds=4)
        team.says("ann", item, label if item < n - differ else "red" if label != "red" else "green", seconds=9)


def test_before_the_first_round_nothing_is_said_of_people(team: Team) -> None:
    assert "Figures of people stand here once the first round is complete." in team.page()
    two_on(team, 5)
    assert not crew(team.store).is_known
    assert persons(team.store) == ()
    assert "ann" not in team.page(owner=True).split("Single people")[1]


@pytest.mark.parametrize("item", [60, 61])
def test_no_figure_moves_with_an_answer_whichever_side_its_item_is_on(team: Team, item: int) -> None:
    two_on(team, 20, differ=3)
    team.ranked(0)
    before, people = crew(team.store), persons(team.store)
    team.says("zoe", item, "red", seconds=300)
    team.says("new", item, "blue")
    assert (crew(team.store), persons(team.store)) == (before, people)
    team.ranked(1)
    assert crew(team.store).answers == before.answers + 2


def test_days_are_those_of_the_budgets_time_zone(team: Team) -> None:
    for item, hours in enumerate((0, 5.9, 6.1, 24 * 40)):  # 15:00 UTC is midnight in Seoul
        team.says("ann", item, "red", hours=hours)
    team.ranked(0)
    assert crew(team.store).days == ((date(2026, 3, 2), 2), (date(2026, 3, 3), 1), (date(2026, 4, 11), 1))


def test_seconds_are_told_with_their_quartiles_and_counted_in_steps(team: Team) -> None:
    for item, seconds in enumerate((1, 2, 4, 8, 400)):
        team.says("ann", item, "red", seconds=seconds)
    team.ranked(0)
    found = crew(team.store).seconds
    assert found is not None
    assert (found.n, found.low, found.middle, found.high) == (5, 2, 4, 8)
    assert found.counts == (2, 1, 1, 0, 0, 0, 0, 0, 1)
    assert "Time of an answer 4 s half of them took 2 s to 8 s" in team.page()


def test_what_people_differ_on_is_listed_with_how_often(team: Team) -> None:
    two_on(team, 30, differ=6)
    team.ranked(0)
    assert crew(team.store).differences == ((("red", "green"), 4), (("red", "blue"), 2))
    assert "red / green 4 items red / blue 2 items" in team.page()


def test_single_people_are_for_the_owner_alone(team: Team) -> None:
    two_on(team, 12)
    team.ranked(0)
    viewed = team.get().text
    assert "ann" not in plain(viewed)
    assert "zoe" not in plain(viewed)
    assert 'href="/enter?then=/people"' in viewed
    said = team.page(owner=True)
    assert said.index("ann 12 0 % 9 s") < said.index("zoe 12 0 % 4 s")


def test_rows_are_in_the_order_of_names_whatever_was_found(team: Team) -> None:
    for person in ("zoe", "Ben", "ann"):
        team.says(person, 1, "red")
    team.ranked(0)
    assert [each.name for each in persons(team.store)] == ["ann", "Ben", "zoe"]
    assert not re.search(r"\b(best|worst|rank)", team.page(owner=True), re.I)


@pytest.mark.parametrize(("shared", "said"), [(9, False), (10, True)])
def test_agreement_of_a_person_is_told_from_ten_shared_items_on(team: Team, shared: int, said: bool) -> None:
    two_on(team, shared, differ=2)
    for item in range(100, 105):
        team.says("zoe", item, None)
    team.ranked(0)
    ann, zoe = persons(team.store)
    assert (zoe.answers, zoe.shared, ann.shared) == (shared + 5, shared, shared)
    assert zoe.undecided == 5 / (shared + 5)
    assert (zoe.alike is not None) == said
    assert ("too few to say" in team.page(owner=True)) == (not said)
    if zoe.alike:
        assert zoe.alike.low < zoe.alike.value < zoe.alike.high


def test_people_who_always_say_one_thing_have_no_figure(team: Team) -> None:
    for item in range(12):
        team.says("ann", item, "red")
        team.says("zoe", item, "red")
    team.ranked(0)
    assert "nothing to say: all answers are the same" in team.page(owner=True)


def test_after_the_stop_every_answer_counts_and_labels_that_look_wrong_lead_to_their_items(team: Team) -> None:
    two_on(team, 12)
    team.ranked(0)
    team.says("zoe", 50, "red")
    assert "Labels that look wrong" not in team.get().text
    team.stop(suspects=(4, 50))
    assert crew(team.store).answers == 25
    markup = team.get().text
    assert "2 people gave 25 answers." in markup
    for item in (4, 50):
        assert f'href="/items/{item}"' in markup
        assert team.get(f"/items/{item}").status_code == 200


def test_differences_that_wait_are_counted(team: Team) -> None:
    two_on(team, 12, differ=2)
    team.ranked(0)
    assert "Differences to settle 2 of 2 disputed items" in team.page()


def test_the_page_needs_nothing_that_its_policy_forbids(team: Team) -> None:
    two_on(team, 40, differ=4)
    team.ranked(0)
    for owner in (False, True):
        markup = team.get(owner=owner).text
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script", markup)
        assert len(re.findall(r"<h1>", markup)) == 1
        assert all(float(height) >= 0 for height in re.findall(r'<rect[^>]* height="([^"]+)"', markup))
