"""The dashboard over real stores on disk, asked through a real server where the wire matters."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from flask import Flask
from loops import open_loop, oracle, write_points
from loops import settings as loop_settings

from active_loop.control import Comparison, Control, Drawn, sentence, sentence_of_drawn
from active_loop.domain import (
    Annotation,
    AnswerKind,
    Ask,
    AskKind,
    AskState,
    Item,
    Look,
    LookItem,
    Purpose,
    Round,
    RoundState,
    Score,
    Split,
    Verdict,
)
from active_loop.errors import ConfigError, DataError
from active_loop.evaluate import lower_bound, upper_bound
from active_loop.label_studio import SECRET_HEADER
from active_loop.server import create_app, serve
from active_loop.session import ML_KEY, dashboard, secret_in
from active_loop.settings import BudgetSettings, Settings, TargetSettings, TaskSettings, to_json
from active_loop.store import Store

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECRET = "open sesame"
SETTINGS = Settings(
    name="leaves <b>",
    task=TaskSettings(classes=("oak", "elm")),
    budget=BudgetSettings(answers=400),
    target=TargetSettings("accuracy", 0.9),
)


class Scene:
    """A loop folder that is filled by the store's own verbs, as a loop fills it, one minute a call."""

    def __init__(self, folder: Path, settings: Settings = SETTINGS) -> None:
        self.path = folder / "loop.db"
        self.settings = settings
        self._time = NOW - timedelta(days=1)
        self.store = Store(self.path, now=self._tick)
        self.asked = 0
        self.answered = 0

    def _tick(self) -> datetime:
        self._time += timedelta(seconds=1)
        return self._time

    def told(self) -> Scene:
        self.store.add_setting(to_json(self.settings))
        return self

    def imported(self, n: int = 600) -> Scene:
        self.told()
        items = [
            Item(
                p, f"item-{p}", Split.TEST if p % 3 == 0 else Split.POOL, "data.csv", str(p), p if p % 3 == 0 else None
            )
            for p in range(n)
        ]
        self.store.import_items(items, [], {"items": n, "reserved": n // 3, "budget": 400, "m0": 160, "people": 1})
        return self

    def asks(self, n: int) -> Scene:
        """Publish asks for the next `n` items, one in three of them a test item."""
        fresh = [
            Ask(f"ask-{p}", p, Purpose.TEST if p % 3 == 0 else Purpose.POOL, AskState.SENDING)
            for p in range(self.asked, self.asked + n)
        ]
        self.asked += n
        self.store.mark_open(self.store.create_batch([], fresh, [ask.id for ask in fresh]))
        return self

    def answers(self, n: int, person: str = "minji", kind: AnswerKind = AnswerKind.SUBMITTED) -> Scene:
        """Answer the next `n` of the open asks."""
        self.store.append(
            Annotation(
                source="people",
                id=str(p),
                updated_at=self._tick(),
                kind=kind,
                raw='"oak"',
                person=person,
                ask=f"ask-{p}",
                lead_time_s=8.0,
            )
            for p in range(self.answered, self.answered + n)
        )
        self.answered += n
        return self

    def round(self, number: int, value: float | None = None, low: float = 0.0, high: float = 1.0) -> Scene:
        position = self.store.annotation_position()
        self.store.open_round(Round(number, RoundState.OPENED, position, self.store.ask_position(), 1, 0))
        n_test = (self.answered + 2) // 3
        record = {"n_labels": self.answered - n_test, "agreement": None}
        scores = [] if value is None else [Score(number, self.settings.target.metric, value, low, high, n_test)]
        self.store.rank_round(number, [], record, scores)
        return self

    def look(self, number: int, round_: int, correct: int, n: int, bound: float, verdict: Verdict) -> Scene:
        """A look at the first `n` test items, of which the first `correct` were predicted rightly."""
        level, low, high = 0.05 / 2**number, lower_bound(correct, n, 0.025), upper_bound(correct, n, 0.025)
        seen = (correct / n, low, high, correct, bound, 0.93, verdict)
        look = Look(number, round_, 0, n, n, level, 0.9, "accuracy", *seen)
        predicted = ["oak"] * correct + ["elm"] * (n - correct)
        self.store.add_look(look, [LookItem(number, 3 * k, None, "oak", name) for k, name in enumerate(predicted)])
        return self

    def stopped(self, reason: str, verdict: Verdict) -> Scene:
        self.store.add_event("stopped", {"reason": reason, "verdict": verdict, "because": "", "limits": {}})
        return self

    def learning(self) -> Scene:
        """Six rounds on 40 answers each, the last read at 0.86 on 80 test items."""
        self.imported().asks(300)
        for number, value in enumerate((0.6, 0.7, 0.77, 0.81, 0.84, 0.86)):
            self.answers(40).round(number, value, value - 0.3 / (number + 2), value + 0.2 / (number + 2))
        return self

    def running(self) -> Scene:
        """Three rounds, a look that failed, fourteen open tasks."""
        self.imported().asks(240).answers(60, "minji").round(0, 0.75, 0.51, 0.91)
        self.answers(60, "arthur <i>").round(1, 0.85, 0.70, 0.94)
        self.answers(3, "minji", AnswerKind.SKIPPED)
        self.answers(97, "minji").round(2, 66 / 73, 0.8124, 0.9606)
        return self.look(1, 2, 66, 73, 0.8099, Verdict.REACHED).answers(6)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.store.close()


class Woken:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def app_of(path: Path, **options: Any) -> Flask:
    known = {"wake": lambda: None, "secret": SECRET, "now": lambda: NOW}
    app: Flask = create_app(partial(Store, path, readonly=True), **{**known, **options})
    return app


def client_of(app: Flask) -> Any:
    return app.test_client()


def get(app: Flask, path: str) -> Any:
    """The whole response of the application, with nothing left open."""
    return client_of(app).get(path, buffered=True)


def page(path: Path, **options: Any) -> str:
    """The words of the page, without its markup."""
    return plain(get(app_of(path, **options), "/").text)


def plain(markup: str) -> str:
    markup = re.sub(r"<(title|head|script|svg)\b.*?</\1>", " ", markup, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


# what the page says


def test_a_folder_without_a_loop_is_said_in_words(tmp_path: Path) -> None:
    client = client_of(app_of(tmp_path / "loop.db"))
    response = client.get("/")
    assert response.status_code == 503
    assert f"no loop was started in {tmp_path}" in plain(response.text)
    assert client.get("/status.json").json["headline"].startswith("no loop was started")
    assert client.get("/health").json == {"status": "UP", "loop": None}


def test_a_loop_folder_of_a_newer_version_is_said_in_words(scene: Scene) -> None:
    with scene.store.atomic() as db:
        db.execute("PRAGMA user_version = 999")
    assert "upgrade active-loop" in page(scene.path)


def test_a_file_that_is_no_database_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "loop.db").write_bytes(b"not a database at all" * 100)
    said = page(tmp_path / "loop.db")
    assert "cannot read" in said
    assert "Traceback" not in said


def test_a_loop_without_items_has_not_started(scene: Scene) -> None:
    assert "This loop has not started yet. " in page(scene.told().path)


def test_a_loop_that_knows_nothing_at_all_has_not_started(scene: Scene) -> None:
    assert "This loop has not started yet. " in page(scene.path)


def test_before_the_first_answer_the_page_says_who_is_waited_for(scene: Scene) -> None:
    said = page(scene.imported().asks(12).path)
    assert "Nobody has answered yet." in said
    assert "12 tasks wait for an answer, the oldest for 23 h 59 min." in said
    assert "The learning curve begins here" in said


def test_answers_without_a_score_are_counted(scene: Scene) -> None:
    said = page(scene.imported().asks(12).answers(5).round(0).path)
    assert "5 of 400 answers: too early to say how good the model is." in said
    assert "The learning curve begins here" in said


def test_a_running_loop_gives_its_score_with_the_interval_and_the_proof(scene: Scene) -> None:
    said = page(scene.running().path)
    assert (
        "Accuracy is about 0.904 (0.812 to 0.961). "
        "The target of 0.90 was reached at the last look, but luck is not ruled out." in said
    )
    assert "14 tasks wait for an answer" in said
    assert "skipped 3" in said
    assert "66 of 73" in said
    assert "97.5 %" in said


def test_a_learning_loop_says_what_is_left(scene: Scene) -> None:
    priced = replace(SETTINGS, budget=BudgetSettings(answers=400, price_per_hour=30.0, per_day=60))
    scene.settings = replace(priced, target=TargetSettings("accuracy", 0.82, stop_on="likely"))
    values = get(app_of(scene.learning().path), "/status.json").json
    assert re.fullmatch(
        r"(About|Probably) .* more answers to learn and \d+ to test, .* hours, .* in money, "
        r"2026-03-\d\d( .*)? at your pace; .* % chance that the target is "
        r"out of reach with these features, .* % that the budget is enough\.",
        values["left"],
    )
    assert values["left"] in page(scene.path)
    assert values["forecast"]["hours"]["middle"] == pytest.approx(
        (values["forecast"]["learn"]["middle"] + values["forecast"]["test"]) * 8 / 3600
    )


def test_a_loop_that_ended_says_nothing_of_what_is_left(scene: Scene) -> None:
    values = get(app_of(scene.learning().stopped("budget", Verdict.NOT_REACHED).path), "/status.json").json
    assert values["forecast"] is None
    assert values["left"] == ""


@pytest.mark.parametrize(
    ("reason", "verdict", "bound", "expected"),
    [
        ("target", Verdict.CERTIFIED, 0.92999, "accuracy ≥ 0.90 is certified (95 % sure); it is 0.929 or better"),
        (
            "target",
            Verdict.LIKELY,
            0.88,
            "Stopped. The target, accuracy ≥ 0.90, is likely reached, with a chance of 93 %",
        ),
        (
            "budget",
            Verdict.REACHED,
            0.85,
            "The budget is spent. The target, accuracy ≥ 0.90, was reached, but luck is not",
        ),
        (
            "pool",
            Verdict.NOT_REACHED,
            0.7,
            "Every item was asked about. The target, accuracy ≥ 0.90, was not reached (",
        ),
    ],
)
def test_a_stopped_loop_says_why_and_how_far_it_came(
    scene: Scene, reason: str, verdict: Verdict, bound: float, expected: str
) -> None:
    scene.imported().asks(90).answers(90).round(0, 0.95, 0.9, 0.98).look(1, 0, 190, 200, bound, verdict)
    said = page(scene.stopped(reason, verdict).path)
    assert expected in said
    assert "active-loop export" in said


def test_a_stopped_loop_says_whether_choosing_was_worth_it_and_a_running_one_does_not(scene: Scene) -> None:
    found = Control("accuracy", 24, 10, 160, Drawn(30, 27, {"oak": 30}), Comparison(0.9, 0.8, 0.1, 0.01, 0.2, 0, 39))
    scene.imported().asks(90).answers(90).round(0, 0.95, 0.9, 0.98).stopped("budget", Verdict.NOT_REACHED)
    assert get(app_of(scene.path), "/status.json").json["control"] == []
    scene.store.add_event("control", found.as_dict())
    said = [sentence(found), sentence_of_drawn(found.drawn)]
    assert get(app_of(scene.path), "/status.json").json["control"] == said
    assert " ".join(said) in page(scene.path)
    scene.stopped("budget", Verdict.NOT_REACHED)
    assert "choosing" not in page(scene.path), "it was about an end that was taken back"


def test_an_error_is_at_most_its_target_and_fits_on_the_paper(scene: Scene) -> None:
    scene.settings = replace(SETTINGS, target=TargetSettings("log_loss", 0.3))
    scene.imported().asks(90).answers(90).round(0, 1.4, 1.1, 1.7).look(1, 0, 190, 200, 0.2591, Verdict.CERTIFIED)
    said = page(scene.stopped("target", Verdict.CERTIFIED).path)
    assert "log loss ≤ 0.30 is certified (95 % sure); it is 0.260 or better" in said
    assert "A look tests whether log loss ≤ 0.30; the looks so far have used 2.5 % of the 5 %" in said
    assert all(float(place) >= 0 for place in re.findall(r'c?y\d?="(-?[\d.]+)"', said)), "the curve is on the paper"


def test_a_metric_of_one_class_names_the_class(scene: Scene) -> None:
    scene.settings = replace(SETTINGS, target=TargetSettings("recall", 0.9, positive="oak"))
    assert "Recall of oak is about 0.904" in page(scene.running().path)


def test_a_loop_that_ended_before_any_look_says_so(scene: Scene) -> None:
    said = page(scene.imported().asks(3).answers(3).stopped("pool", Verdict.NOT_REACHED).path)
    assert "Every item was asked about. The target, accuracy ≥ 0.90, was never tested." in said


def test_what_the_worker_reports_is_a_notice(scene: Scene) -> None:
    news = "cannot reach Label Studio at http://localhost:8080; trying again in 8 s"
    app = app_of(scene.running().path, live=lambda: news)
    assert f'<p class="notice">{news}</p>' in get(app, "/").text
    assert get(app, "/status.json").json["notice"] == news


def test_names_that_look_like_markup_are_shown_as_they_are(scene: Scene) -> None:
    markup = get(app_of(scene.running().path), "/").text
    assert "leaves &lt;b&gt;" in markup


def test_the_place_to_answer_is_linked_and_nothing_else_can_be(scene: Scene) -> None:
    scene.imported().asks(2)
    assert 'href="http://127.0.0.1:8080/projects/1"' in (
        get(app_of(scene.path, labeling_url="http://127.0.0.1:8080/projects/1"), "/").text
    )
    assert "javascript:" not in get(app_of(scene.path, labeling_url="javascript:alert(1)"), "/").text


# what nobody may see


@pytest.mark.parametrize("rounds", ["one", "many"])
def test_no_counter_tells_on_which_side_of_the_split_an_answer_fell(tmp_path: Path, rounds: str) -> None:
    shown = []
    for purpose in Purpose:
        folder = tmp_path / purpose
        folder.mkdir()
        scene = Scene(folder)
        if rounds == "many":
            scene.learning()
        else:
            scene.imported().asks(60).answers(60).round(0, 0.75, 0.51, 0.91)
        item = 300 if purpose == Purpose.TEST else 301
        ask = Ask("the-ask", item, purpose, AskState.SENDING)
        scene.store.mark_open(scene.store.create_batch([], [ask], [ask.id]))
        answer = Annotation("people", "x", NOW, AnswerKind.SUBMITTED, '"oak"', "minji", ask=ask.id, lead_time_s=300.0)
        scene.store.append([answer])
        client = client_of(app_of(scene.path))
        shown.append((client.get("/").text, client.get("/status.json").text))
        assert bool(client.get("/status.json").json["forecast"]) == (rounds == "many")
        scene.store.close()
    assert shown[0] == shown[1]


def test_how_far_people_agree_is_said_by_the_answers_that_the_last_round_knew(scene: Scene) -> None:
    def again(first: int, last: int, label: str) -> None:
        scene.store.append(
            Annotation("people", f"again-{p}", NOW, AnswerKind.SUBMITTED, f'"{label}"', "arthur", ask=f"ask-{p}")
            for p in range(first, last)
        )

    scene.imported().asks(60).answers(60)
    again(0, 10, "elm")
    again(10, 40, "oak")
    scene.round(0, 0.75, 0.51, 0.91)
    client = client_of(app_of(scene.path))
    before, page = client.get("/status.json").json["agreement"], client.get("/").text
    assert before["n_items"] == 40
    assert before["observed"]["value"] == 0.75
    assert before["hardest"] == ["oak", "elm"]
    assert "arthur" not in str(before)
    assert "People agree" in page
    again(40, 60, "elm")
    assert client.get("/status.json").json["agreement"] == before
    scene.stopped("budget", Verdict.NOT_REACHED)
    assert client.get("/status.json").json["agreement"]["n_items"] == 60


def test_the_json_holds_what_is_listed_and_no_more(scene: Scene) -> None:
    values = get(app_of(scene.running().path), "/status.json").json
    assert set(values) == {
        *(
            "headline",
            "next",
            "left",
            "hindrance",
            "control",
            "notice",
            "name",
            "metric",
            "target",
            "stop_on",
            "budget",
            "answers",
            "open_asks",
        ),
        *("oldest_open_at", "outcomes", "disputed", "lead_time_s", "n_items", "round", "n_labels", "curve"),
        *("looks", "verdict", "more_to_certify", "forecast", "stopped", "doing", "agreement", "unweighed"),
        *("constancy", "suspects"),
    }
    assert datetime.fromisoformat(values["oldest_open_at"]) == NOW - timedelta(days=1) + timedelta(seconds=5)
    assert values["looks"][0]["verdict"] == "reached"


# the picture


def drawings(markup: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", markup, flags=re.S)]


def test_the_curve_is_drawn_wide_and_narrow_with_every_round_and_look(scene: Scene) -> None:
    wide, narrow = drawings(get(app_of(scene.running().path), "/").text)
    for svg in (wide, narrow):
        assert [title.text for title in svg.findall("circle/title")][-1] == (
            "round 2, 220 answers: 0.904 [0.812–0.961]"
        )
        assert [text.text for text in svg.findall("g/text")] == ["look 1: reached"]
        assert svg.findall("path[@class='band']")
    assert float(wide.get("viewBox", "").split()[2]) > 2 * float(narrow.get("viewBox", "").split()[2])


def test_what_is_foretold_and_what_chance_was_worth_are_drawn(scene: Scene) -> None:
    for svg in drawings(get(app_of(scene.learning().path), "/").text):
        assert svg.findall("path[@class='ahead']")
        assert not svg.findall("rect[@class='random']")
    found = Control("accuracy", 24, 10, 160, Drawn(30, 27, {"oak": 30}), Comparison(0.9, 0.8, 0.1, 0.01, 0.2, 0, 39))
    scene.stopped("budget", Verdict.NOT_REACHED).store.add_event("control", found.as_dict())
    for svg in drawings(get(app_of(scene.path), "/").text):
        assert not svg.findall("path[@class='ahead']")
        assert [title.text for title in svg.findall("rect/title")] == ["34 labels drawn at random: 0.800"]


def test_money_and_hours_are_told_with_what_is_allowed(scene: Scene) -> None:
    budget = BudgetSettings(answers=400, hours=2, money=50, price_per_hour=30)
    scene.settings = replace(SETTINGS, budget=budget)
    said = page(scene.learning().path)
    assert "Time of people 32 min of 2 h · 8 s an answer" in said
    assert "Money 16.00 of 50.00" in said


def test_everything_drawn_lies_inside_the_frame_and_higher_means_better(scene: Scene) -> None:
    for svg in drawings(get(app_of(scene.running().path), "/").text):
        width, height = (float(size) for size in svg.get("viewBox", "").split()[2:])
        places = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in svg.findall("circle")]
        assert all(0 < x < width and 0 < y < height for x, y in places)
        assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
        assert [x for x, _ in places] == sorted(x for x, _ in places)


def test_a_single_reading_of_everything_right_is_drawn(scene: Scene) -> None:
    scene.imported().asks(9).answers(9).round(0, 1.0, 0.29, 1.0)
    assert len(drawings(get(app_of(scene.path), "/").text)) == 2


# the wire


def test_the_page_can_neither_run_foreign_code_nor_be_framed(scene: Scene) -> None:
    app = app_of(scene.running().path)
    for path in ("/", "/status.json", "/health", "/static/live.js", "/nowhere"):
        headers = get(app, path).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Set-Cookie" not in headers


def test_the_page_needs_nothing_that_its_policy_forbids(scene: Scene) -> None:
    markup = get(app_of(scene.running().path), "/").text
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)", markup)
    linked = re.findall(r'(?:src|href)="([^"#]+)"', markup)
    assert linked
    assert all(get(app_of(scene.path), path).status_code == 200 for path in linked)


def test_an_unknown_address_and_a_wrong_method_are_said_in_words(scene: Scene) -> None:
    client = client_of(app_of(scene.path))
    assert (client.get("/nowhere").status_code, client.get("/webhook").status_code) == (404, 405)
    assert "There is no such page here." in plain(client.get("/nowhere").text)
    assert "POST" in client.get("/webhook").headers["Allow"]


def test_a_failure_inside_is_one_sentence_and_no_traceback(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise RuntimeError("the innermost thing")

    response = get(app_of(scene.running().path, live=broken), "/")
    assert response.status_code == 500
    assert "The loop cannot be read just now." in response.text
    assert "innermost" not in response.text
    assert "innermost" in caplog.text


def test_a_request_writes_nothing(scene: Scene) -> None:
    scene.running()
    scene.store.close()
    before = scene.path.read_bytes()
    client = client_of(app_of(scene.path))
    for path in ("/", "/status.json", "/health"):
        assert client.get(path).status_code == 200
    client.post("/webhook", headers={SECRET_HEADER: SECRET})
    assert scene.path.read_bytes() == before


def test_status_json_is_sent_again_only_when_something_changed(scene: Scene) -> None:
    with serve(app_of(scene.running().path), port=0) as server:
        url = f"{server.url}/status.json"
        first = httpx.get(url)
        known = {"If-None-Match": first.headers["ETag"]}
        assert json.loads(first.content)["answers"] == 226
        assert f"data-version={first.headers['ETag']}" in httpx.get(server.url).text
        again = httpx.get(url, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        scene.answers(1)
        changed = httpx.get(url, headers=known)
        assert (changed.status_code, changed.json()["answers"]) == (200, 227)


# the webhook


@pytest.mark.parametrize("headers", [{}, {SECRET_HEADER: ""}, {SECRET_HEADER: "open sesam"}, {SECRET_HEADER: "ü"}])
def test_the_webhook_refuses_whoever_does_not_know_the_secret(tmp_path: Path, headers: dict[str, str]) -> None:
    woken = Woken()
    response = client_of(app_of(tmp_path / "loop.db", wake=woken)).post("/webhook", headers=headers, data="{}")
    assert (response.status_code, woken.times) == (403, 0)
    assert response.text == "The header X-Active-Loop-Secret must hold the secret of this loop.\n"


@pytest.mark.parametrize("body", [b"", b'{"action": "ANNOTATION_CREATED"', b"\xff\xfe", b"x" * (5 << 20)])
def test_the_webhook_wakes_whatever_it_is_sent(tmp_path: Path, body: bytes) -> None:
    woken = Woken()
    app = app_of(tmp_path / "loop.db", wake=woken, token="t0ken")
    with serve(app, port=0) as server:
        headers = {SECRET_HEADER: SECRET, "Content-Type": "application/json"}
        response = httpx.post(f"{server.url}/webhook", headers=headers, content=body)
    assert (response.status_code, response.content, woken.times) == (204, b"", 1)


def test_an_empty_secret_or_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="secret is empty"):
        app_of(tmp_path / "loop.db", secret="")
    with pytest.raises(ConfigError, match="token is empty"):
        app_of(tmp_path / "loop.db", token="")


# answered items, one by one


LETTERS = [f"letter {n}: <i>dear</i> sir" for n in range(600)]


class Letters:
    """A source of texts, or of pictures where a folder is given; rows are numbers."""

    def __init__(self, pictures: Path | None = None) -> None:
        self.pictures = pictures

    def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        if self.pictures:
            return [{"image": self.pictures / f"{row}.png"} for row in rows]
        return [{"text": LETTERS[int(row)]} for row in rows]


def letters(scene: Scene, pictures: Path | None = None, **options: Any) -> Flask:
    return app_of(scene.path, source=lambda: Letters(pictures), **options)


def shares(scene: Scene) -> Settings:
    """Settings of the scene, with a random share."""
    return replace(scene.settings, query=replace(scene.settings.query, random_share=0.2))


def put(scene: Scene, item: int, purpose: Purpose, round_: int | None, why: Any, strategy: str = "random") -> None:
    """Ask about an item in a batch of its own, and have it answered."""
    ask = Ask(f"the-{item}", item, purpose, AskState.SENDING, round_, 0, 0.5, why, strategy=strategy)
    scene.store.mark_open(scene.store.create_batch([], [ask], [ask.id]))
    answer = Annotation("people", ask.id, NOW, AnswerKind.SUBMITTED, '"oak"', "minji", ask=ask.id, lead_time_s=9.0)
    scene.store.append([answer])


MODEL = {"margin": 0.04, "classes": ["oak", "elm"], "neighbours": [{"item": 1, "label": "elm", "distance": 0.5}]}
CHANCE = {"drawn": "at random", "probability": 0.1, "predicted": "elm", "neighbours": MODEL["neighbours"]}
BY_CHANCE = "mixture(margin, share=0.2)"


def told(scene: Scene) -> Scene:
    """A running loop with a random share: item 300 tests, chance drew 301, a model chose 302 and 304."""
    scene.settings = shares(scene)
    scene.imported().asks(40).answers(30).round(0, 0.75, 0.51, 0.91)
    put(scene, 304, Purpose.POOL, 0, {**MODEL, "neighbours": []}, BY_CHANCE)
    near = [{"item": 304, "label": "oak", "distance": 0.1}, {"item": 301, "label": "elm", "distance": 0.2}]
    put(scene, 301, Purpose.POOL, 0, CHANCE, BY_CHANCE)
    put(scene, 300, Purpose.TEST, None, {})
    put(scene, 302, Purpose.POOL, 0, {**MODEL, "neighbours": near}, BY_CHANCE)
    return scene


def test_an_item_says_what_it_holds_who_said_what_and_why_it_was_asked(scene: Scene) -> None:
    markup = get(letters(told(scene)), "/items/302").text
    said = plain(markup)
    assert "letter 302: <i>dear</i> sir" in said
    assert "letter 302: &lt;i&gt;dear&lt;/i&gt; sir" in markup
    assert "The model wavered between oak and elm: their chances differ by 4 %." in said
    assert "minji oak 2026-03-02 12:00 UTC 9 s" in said
    assert 'href="/items/304"' in markup
    assert "letter 304" in said
    assert "<script" not in markup


def test_reasons_come_in_the_language_of_whoever_reads(scene: Scene) -> None:
    app = letters(told(scene), language="ko")
    assert "<p>모델이 다음 답 사이에서 망설였습니다: oak, elm" in get(app, "/items/302").text
    assert "<p>The model wavered between oak and elm" in get(app, "/items/302?language=en").text
    assert "모델이 다음 답 사이에서" in get(app, "/items").text


def test_how_an_item_was_chosen_is_shown_where_its_reason_is(scene: Scene) -> None:
    app = letters(told(scene))
    chosen = "Strategy mixture(margin, share=0.2) Round 0 Place on the list 1 Utility 0.5"
    assert chosen in plain(get(app, "/items/302").text)
    assert "The model's likeliest answers oak · elm" in plain(get(app, "/items/302").text)
    assert not any("Strategy" in get(app, f"/items/{item}").text for item in (300, 301))
    scene.stopped("budget", Verdict.NOT_REACHED)
    assert "Strategy random" in plain(get(app, "/items/300").text)
    assert chosen in plain(get(app, "/items/301").text)


def test_above_the_list_stands_what_waits_and_what_has_no_label(scene: Scene) -> None:
    people = replace(scene.settings.people, adjudicators=("kim",))
    scene.settings = replace(scene.settings, people=people)
    app = letters(scene.imported().asks(12).answers(6).answers(2, kind=AnswerKind.SKIPPED))
    assert "Open tasks 4 the oldest for" in plain(get(app, "/items").text)
    assert "Skipped 2" in plain(get(app, "/items").text)
    assert not re.search("Unsure|Broken|Disputed", get(app, "/items").text)
    other = [Annotation("people", f"o{n}", NOW, AnswerKind.SUBMITTED, '"elm"', "nora", ask=f"ask-{n}") for n in (0, 1)]
    scene.store.append([*other, Annotation("people", "u", NOW, AnswerKind.SUBMITTED, '"(unsure)"', "bo", ask="ask-8")])
    said = plain(get(app, "/items").text)
    assert "Unsure 1 Disputed 2 2 wait for an adjudicator" in said
    ask = Ask("settle", 1, Purpose.POOL, AskState.SENDING, kind=AskKind.ADJUDICATION)
    scene.store.mark_open(scene.store.create_batch([], [ask], [ask.id]))
    assert "Disputed 2 2 wait for an adjudicator" in plain(get(app, "/items").text)
    scene.store.append([Annotation("people", "s", NOW, AnswerKind.SUBMITTED, '"elm"', "kim", ask="settle")])
    assert "Disputed 1 1 waits for an adjudicator" in plain(get(app, "/items").text)


def test_the_pages_of_a_test_item_and_of_one_that_chance_drew_differ_by_the_item_alone(scene: Scene) -> None:
    app = letters(told(scene))
    pages = [get(app, f"/items/{item}").text.replace(str(item), "N").replace(str(item + 1), "M") for item in (300, 301)]
    assert pages[0] == pages[1]
    assert "Chosen at random, or for a reason that is told once the loop has stopped." in pages[0]
    assert "elm" not in pages[0]
    rows = re.findall(r"<li>.*?</li>", get(app, "/items").text, flags=re.S)
    by_item = {item: row.replace(item, "N") for item in ("300", "301", "302") for row in rows if f"/{item}" in row}
    assert by_item["300"] == by_item["301"]
    assert '<p class="quiet">The model wavered between oak and elm' in by_item["302"]
    assert '<p class="quiet">The' not in by_item["300"]


def test_an_item_that_chance_drew_is_nobodys_neighbour_while_the_loop_runs(scene: Scene) -> None:
    app = letters(told(scene))
    assert "/items/301" not in get(app, "/items/302").text
    assert "/items/1" not in get(app, "/items/301").text
    scene.stopped("budget", Verdict.NOT_REACHED)
    assert 'href="/items/301"' in get(app, "/items/302").text


def test_after_the_stop_a_page_says_the_side_and_the_prediction(scene: Scene) -> None:
    app = letters(told(scene).look(1, 0, 66, 102, 0.6, Verdict.NOT_REACHED))
    assert not re.search(
        "test item|predicted|to learn from", plain(get(app, "/items/300").text + get(app, "/items").text)
    )
    scene.stopped("budget", Verdict.NOT_REACHED)
    assert "It was a test item. The model predicted elm." in plain(get(app, "/items/300").text)
    assert "It was an item to learn from." in plain(get(app, "/items/302").text)
    assert "predicted elm" in plain(get(app, "/items").text)


def test_only_what_somebody_answered_has_a_page(scene: Scene) -> None:
    app = letters(told(scene))
    answered = set(range(30)) | {300, 301, 302, 304}
    for item in (30, 33, 39, 303, 306, 599, 600, 10**12):
        for path in (f"/items/{item}", f"/items/{item}/picture"):
            response = get(app, path)
            assert response.status_code == 404
            assert "There is no such page here." in response.text
    assert all(get(app, f"/items/{item}").status_code == 200 for item in answered)
    assert get(app, "/items/-1").status_code == get(app, "/items/1/../2x").status_code == 404


def test_the_list_has_fifty_items_a_page_the_newest_first(scene: Scene) -> None:
    app = letters(scene.imported().asks(200).answers(60))
    first, second = get(app, "/items").text, get(app, "/items?page=2").text
    assert re.findall(r'href="/items/(\d+)"', first) == [str(n) for n in range(59, 9, -1)]
    assert re.findall(r'href="/items/(\d+)"', second) == [str(n) for n in range(9, -1, -1)]
    assert 'rel="next" href="/items?page=2"' in first
    assert 'rel="prev" href="/items?page=1"' in second
    assert get(app, "/items?page=3").status_code == get(app, "/items?page=0").status_code == 404
    assert get(app, "/items?page=x").text == first


def test_before_the_first_answer_the_list_is_empty(scene: Scene) -> None:
    assert "Items stand here as soon as somebody has answered." in plain(get(letters(scene.imported()), "/items").text)
    assert "one by one" not in get(letters(scene), "/").text
    assert 'href="/items"' in get(letters(scene.asks(3).answers(1)), "/").text


def test_every_version_is_shown_with_the_reason_why_it_does_not_count(scene: Scene) -> None:
    scene.imported().asks(3).answers(3)
    later = [NOW + timedelta(minutes=minute) for minute in range(8)]

    def says(number: str, minute: int, kind: AnswerKind, raw: str, person: str) -> Annotation:
        return Annotation("people", number, later[minute], kind, raw, person, ask="ask-1")

    scene.store.append(
        [
            says("1", 0, AnswerKind.SUBMITTED, '"elm"', "minji"),
            says("a", 1, AnswerKind.SKIPPED, '""', "arthur"),
            says("b", 2, AnswerKind.SUBMITTED, '"beech"', "nora"),
            says("c", 3, AnswerKind.SUBMITTED, '"oak"', "kim"),
            says("c", 4, AnswerKind.RETRACTED, '""', "kim"),
            says("d", 5, AnswerKind.SUBMITTED, '"oak"', "lee"),
            says("e", 6, AnswerKind.SUBMITTED, '"elm"', "lee"),
        ]
    )
    said = plain(get(letters(scene), "/items/1").text)
    assert "minji oak does not count: it was changed later" in said
    assert "minji elm 2026" in said
    assert "arthur skipped does not count: it gives no label" in said
    assert 'nora not usable does not count: unknown label "beech"' in said
    assert "kim oak does not count: it was withdrawn" in said
    assert "kim withdrawn does not count: it gives no label" in said
    assert "lee oak does not count: a newer answer of the same person counts" in said
    assert "lee elm 2026" in said


def test_questions_that_are_put_again_to_learn_from_alone_are_shown_after_the_stop(scene: Scene) -> None:
    scene.imported().asks(9).answers(9)
    plain_page = get(letters(scene), "/items/1").text
    for number, (kind, person) in enumerate([(AskKind.REPEAT, "minji"), (AskKind.RELABEL, "nora")]):
        ask = Ask(f"again-{number}", 1, Purpose.POOL, AskState.SENDING, kind=kind)
        scene.store.mark_open(scene.store.create_batch([], [ask], [ask.id]))
        again = Annotation("people", ask.id, NOW, AnswerKind.SUBMITTED, '"elm"', person, ask=ask.id)
        scene.store.append([again])
    assert get(letters(scene), "/items/1").text == plain_page
    scene.stopped("budget", Verdict.NOT_REACHED)
    said = plain(get(letters(scene), "/items/1").text)
    assert "minji elm does not count: the question was repeated to see whether the answer is the same" in said
    assert "nora elm 2026" in said
    assert "No label: disputed" in said


def test_what_an_adjudicator_settles_is_no_more_a_matter_of_votes(scene: Scene) -> None:
    people = replace(scene.settings.people, annotators=("minji",), adjudicators=("kim",))
    scene.settings = replace(scene.settings, people=people)
    scene.imported().asks(3).answers(3)
    ask = Ask("settle", 1, Purpose.POOL, AskState.SENDING, kind=AskKind.ADJUDICATION)
    scene.store.mark_open(scene.store.create_batch([], [ask], [ask.id]))
    scene.store.append(
        [
            Annotation("people", "s", NOW, AnswerKind.SUBMITTED, '"elm"', "kim", ask="settle"),
            Annotation("people", "x", NOW, AnswerKind.SUBMITTED, '"elm"', "stranger", ask="ask-1"),
        ]
    )
    said = plain(get(letters(scene), "/items/1").text)
    assert "minji oak does not count: an adjudicator has settled it" in said
    assert "kim elm 2026" in said
    assert "stranger not usable does not count: stranger is not among people.annotators" in said


def test_pictures_come_from_the_items_own_row_and_are_nothing_but_pictures(scene: Scene, tmp_path: Path) -> None:
    scene.imported().asks(3).answers(3)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(b"\x89PNG a picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    app = letters(scene, tmp_path / "pictures")
    response = get(app, "/items/1/picture")
    assert (response.status_code, response.mimetype, response.data) == (200, "image/png", b"\x89PNG a picture")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert 'src="/items/1/picture"' in get(app, "/items/1").text
    for path in ("/items/2/picture", "/items/1/picture/../../../secret.png", "/items/..%2fsecret.png/picture"):
        assert get(app, path).status_code == 404
    assert get(app, "/items/1/picture?path=../secret.png").data == response.data
    assert get(letters(scene), "/items/1/picture").status_code == 404
    guarded = letters(scene, tmp_path / "pictures", token="t0ken")
    assert get(guarded, "/items/1/picture").status_code == 401


def test_a_file_that_is_no_picture_is_not_sent(scene: Scene, tmp_path: Path) -> None:
    class Odd(Letters):
        def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
            return [{"image": tmp_path / "page.svg"} for _ in rows]

    (tmp_path / "page.svg").write_text("<svg/>")
    app = app_of(scene.imported().asks(3).answers(3).path, source=Odd)
    assert get(app, "/items/1/picture").status_code == 404
    assert "page.svg is no picture that can be shown" in plain(get(app, "/items/1").text)


def test_rows_are_shown_with_the_names_of_their_columns(scene: Scene) -> None:
    class Rows(Letters):
        def shown(self, rows: Sequence[str]) -> list[dict[str, Any]]:
            return [{"row": {"age": int(row), "note": "well"}} for row in rows]

    app = app_of(scene.imported().asks(3).answers(3).path, source=Rows)
    assert "age 1 note well" in plain(get(app, "/items/1").text)
    assert "age 2 · note well" in plain(get(app, "/items").text)


def test_data_that_cannot_be_read_any_more_is_said_in_its_place(scene: Scene) -> None:
    def gone() -> Any:
        raise DataError("cannot find letters.csv: put it back.")

    app = app_of(scene.imported().asks(3).answers(3).path, source=gone)
    assert "cannot find letters.csv: put it back." in plain(get(app, "/items/1").text)
    assert get(app, "/items").status_code == 200


def test_the_pages_of_items_need_nothing_that_their_policy_forbids(scene: Scene) -> None:
    app = letters(told(scene))
    for path in ("/items", "/items/302", "/items/300"):
        markup = get(app, path).text
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script", markup)
        linked = re.findall(r'(?:src|href)="([^"#]+)"', markup)
        assert linked
        assert all(get(app, link).status_code == 200 for link in linked)


_WIDER = """
const wider = e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != "inline";
return [...document.querySelectorAll("main, main *")].filter(wider).map(e => e.tagName);
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1400])
def test_the_pages_of_items_fit_on_a_telephone_and_on_a_desk(scene: Scene, browser: Any, width: int) -> None:
    told(scene)
    address = "a.very.long.address.of.somebody@department.hospital.example.org"
    scene.store.append([Annotation("people", "z", NOW, AnswerKind.SUBMITTED, '"beech"', address, ask="the-302")])
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        with serve(letters(scene), port=0) as server:
            for path in ("/items", "/items/302", "/items/300"):
                browser.get(server.url + path)
                wide = browser.execute_script(_WIDER)
                assert wide == [], f"{path} at {width}: something is wider than its place"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# who may read


def test_with_a_token_the_pages_are_for_those_who_bring_it(scene: Scene) -> None:
    app = app_of(scene.running().path, token="t0ken")
    for path in ("/", "/status.json"):
        client = client_of(app)
        refused = client.get(path)
        assert refused.status_code == 401
        assert "This dashboard needs a token." in (refused.text if path == "/" else refused.json["headline"])
        assert "leaves" not in refused.text
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer t0ken"}).status_code == 200
        assert client.get(f"{path}?token=t0ken").status_code == 200
        assert client.get(f"{path}?token=t0ke").status_code == 401
    for path in ("/health", "/static/style.css"):
        assert client.get(path, buffered=True).status_code == 200


def test_a_browser_that_brought_the_token_once_goes_from_page_to_page(scene: Scene) -> None:
    app = app_of(scene.running().path, token="t0ken")
    client = client_of(app)
    assert client.get("/items").status_code == client.get("/items/1").status_code == 401
    (cookie,) = client.get("/?token=t0ken").headers.getlist("Set-Cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "t0ken" not in cookie
    assert client.get("/items").status_code == client.get("/items/1").status_code == 200
    assert client.get("/?token=t0ke").status_code == 401, "who brings a wrong one is not let in by the ticket"
    assert client.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    other = client_of(app_of(scene.path, token="another"))
    other.set_cookie("active-loop", cookie.partition("=")[2].partition(";")[0])
    assert other.get("/items").status_code == 401
    assert "Set-Cookie" not in client_of(app).get("/?token=wrong").headers


def test_a_server_for_everybody_needs_a_token(scene: Scene) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 0\.0\.0\.0 without a token"):
        serve(app_of(scene.path), "0.0.0.0", 0)
    with serve(app_of(scene.told().path, token="t0ken"), "0.0.0.0", 0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        headers = {"Host": "loops.example.org", "Authorization": "Bearer t0ken"}
        assert httpx.get(server.url, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("127.0.0.1:8765", True),
        ("127.0.0.9", True),
        ("LocalHost:8765", True),
        ("[::1]:8765", True),
        ("evil.example:8765", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.4:8765", False),
        ("evil.example@127.0.0.1x", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_on_loopback_only_the_names_of_this_machine_are_answered(scene: Scene, host: str, admitted: bool) -> None:
    woken = Woken()
    client = client_of(app_of(scene.told().path, wake=woken))
    headers = {"Host": host, SECRET_HEADER: SECRET}
    codes = [client.get(path, headers=headers).status_code for path in ("/", "/status.json")]
    codes.append(client.post("/webhook", headers=headers).status_code)
    assert codes == ([200, 200, 204] if admitted else [403, 403, 403])
    assert woken.times == admitted


def test_a_foreign_name_is_refused_on_the_wire_too(scene: Scene) -> None:
    with serve(app_of(scene.told().path), port=0) as server:
        refused = httpx.get(server.url, headers={"Host": "evil.example"})
    assert refused.status_code == 403
    assert "answers only under this machine's own name" in plain(refused.text)


def test_under_its_public_name_a_loopback_server_is_woken_and_shows_pages_only_for_a_token(scene: Scene) -> None:
    headers = {"Host": "host.docker.internal:8765", SECRET_HEADER: SECRET}
    options = {"public_url": "http://host.docker.internal:8765"}
    bare = client_of(app_of(scene.told().path, **options))
    assert (bare.post("/webhook", headers=headers).status_code, bare.get("/", headers=headers).status_code) == (
        204,
        403,
    )
    guarded = client_of(app_of(scene.path, token="t0ken", **options))
    assert guarded.get("/", headers=headers).status_code == 401
    assert guarded.get("/", headers={**headers, "Authorization": "Bearer t0ken"}).status_code == 200


# starting and ending


def test_a_port_in_use_is_named_with_what_to_do(scene: Scene) -> None:
    app = app_of(scene.told().path)
    with serve(app, port=0) as server, pytest.raises(ConfigError) as refused:
        serve(app, port=server.port)
    assert str(refused.value) == f"port {server.port} is in use: give another by --port or [server] port."


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [("127.0.0.1", 70000, "port 70000 does not exist"), ("198.51.100.7", 0, "cannot listen on 198.51.100.7")],
)
def test_an_address_that_cannot_be_is_said_in_words(scene: Scene, host: str, port: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        serve(app_of(scene.path, token="t0ken"), host, port)


def test_closing_leaves_no_thread_and_frees_the_port(scene: Scene) -> None:
    before = set(threading.enumerate())
    server = serve(app_of(scene.told().path), port=0)
    with httpx.Client(base_url=server.url) as client:  # its connection stays open while the server goes
        assert client.get("/health").json() == {"status": "UP", "loop": "leaves <b>"}
        server.close()
        server.close()
    assert set(threading.enumerate()) == before
    serve(app_of(scene.path), port=server.port).close()


def test_many_readers_at_once_all_get_the_page_while_the_loop_writes(scene: Scene) -> None:
    scene.running()
    codes: list[int] = []

    def read(url: str) -> None:
        codes.append(httpx.get(url, timeout=60).status_code)

    with serve(app_of(scene.path), port=0) as server:
        readers = [threading.Thread(target=read, args=(server.url,)) for _ in range(8)]
        for reader in readers:
            reader.start()
        for _ in range(5):
            scene.answers(1)
        for reader in readers:
            reader.join()
    assert codes == [200] * 8


def test_a_served_folder_shows_its_own_items_and_can_be_attached(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), loop_settings(server={"port": 0}))
    while loop.store.annotation_position() < 5:
        loop.step()
    item = loop.store.annotations()[0].item
    with dashboard(tmp_path, loop.settings) as server:
        said = plain(httpx.get(f"{server.url}/items/{item}").text)
        (shown,) = loop.source.shown([loop.standing.items[item or 0].row])
        assert f"x {shown['row']['x']} y {shown['row']['y']}" in said
        assert httpx.get(f"{server.url}/ml/{secret_in(tmp_path / ML_KEY)}/health").json() == {
            "status": "UP",
            "loop": "points",
        }
        assert httpx.get(f"{server.url}/ml/another/health").status_code == 404
