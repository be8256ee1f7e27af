"""The page of the record: a timeline with filters and pages, and tables that a spreadsheet can open without harm."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from loops import open_loop, oracle, run_to_end, settings, write_points

from active_loop.history import history
from active_loop.server import create_app
from active_loop.settings import to_json
from active_loop.store import Store

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


class Desk:
    """A store that gets older by a minute at each row, and its dashboard."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "loop.db"
        self._at = START
        self.store = Store(self.path, now=self._tick)
        self.store.add_setting(to_json(settings(budget={"time_zone": "Asia/Seoul"})))

    def _tick(self) -> datetime:
        self._at += timedelta(minutes=1)
        return self._at

    def get(self, path: str = "/record") -> Any:
        return get(self.path, path)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def get(database: Path, path: str) -> Any:
    app = create_app(partial(Store, database, readonly=True), wake=lambda: None, secret="s")
    return app.test_client().get(path, buffered=True)


def plain(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_times_are_in_the_zone_of_the_budget_with_utc_for_machines(desk: Desk) -> None:
    markup = desk.get().text
    stamps = re.findall(r'<time datetime="([^"]+)">([^<]+)</time>', markup)
    assert stamps
    at = datetime.fromisoformat(stamps[-1][0])
    assert at.utcoffset() == timedelta(0)
    assert stamps[-1][1] == f"{at + timedelta(hours=9):%Y-%m-%d %H:%M} KST"


def test_a_filter_shows_one_kind_and_a_hundred_entries_a_page(desk: Desk) -> None:
    for answers in range(91, 241):
        desk.store.add_setting(to_json(settings(budget={"answers": answers, "time_zone": "Asia/Seoul"})))
    desk.store.add_event("elsewhere", {})
    first, second = desk.get("/record?kind=settings").text, desk.get("/record?kind=settings&page=2").text
    assert [len(re.findall(r'<li class="settings">', page)) for page in (first, second)] == [100, 51]
    assert "elsewhere" not in first
    assert 'rel="next" href="/record?kind=settings&amp;page=2"' in first
    assert 'rel="prev" href="/record?kind=settings&amp;page=1"' in second
    assert "elsewhere" in desk.get("/record").text
    assert 'href="/record?page=2"' in desk.get("/record").text
    assert "budget.answers 239 → 240" in plain(first)
    wrong = ("/record?kind=settings&page=3", "/record?page=0", "/record?kind=odd", "/record/odd.csv", "/record/.csv")
    assert {desk.get(path).status_code for path in wrong} == {404}


def test_a_kind_that_has_not_happened_is_empty_and_no_error(desk: Desk) -> None:
    assert "Nothing of this kind has happened yet." in plain(desk.get("/record?kind=looks").text)
    assert desk.get("/record/looks.csv").text.startswith("number,round,first,m,n,level,target,metric")


def test_cells_that_a_spreadsheet_would_run_are_made_harmless(desk: Desk) -> None:
    for kind in ("=HYPERLINK(1)", "+1", "-1", "@sum", "plain"):
        desk.store.add_event(kind, {})
    response = desk.get("/record/events.csv")
    assert response.mimetype == "text/csv"
    assert [row["what"] for row in rows(response.text)][1:] == ["'=HYPERLINK(1)", "'+1", "'-1", "'@sum", "plain"]


def test_a_loop_that_ended_is_shown_whole_and_its_tables_agree_with_it(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), settings(target={"value": 0.999}))
    run_to_end(loop)
    database = tmp_path / "loop.db"
    found, markup = history(loop.store), get(database, "/record").text
    assert all(html.escape(entry.what, quote=False) in html.unescape(markup) for entry in found.entries[:100])
    assert f"The record holds {len(found.entries)} entries" in plain(markup)
    lines = rows(get(database, "/record/rounds.csv").text)
    assert [int(line["round"]) for line in lines] == [line.round for line in found.rounds]
    assert float(lines[-1]["value"]) == found.rounds[-1].value
    assert len(rows(get(database, "/record/looks.csv").text)) == len(found.looks)
    named = re.findall(r'href="(/items/\d+)"', markup)
    assert all(get(database, path).status_code == 200 for path in named)


def test_the_page_needs_nothing_that_its_policy_forbids(desk: Desk) -> None:
    desk.store.add_event("<b>bold</b>", {})
    markup = desk.get().text
    assert "<b>" not in markup
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script", markup)
    linked = re.findall(r'(?:src|href)="([^"#]+)"', markup)
    assert all(desk.get(html.unescape(link)).status_code == 200 for link in linked)
