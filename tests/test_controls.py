"""The owner's controls, over real loops, asked by a real client through `serve`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from loops import open_loop, oracle, settings, write_points

from active_loop.config import read_settings, write_settings
from active_loop.domain import Progressed
from active_loop.loop import Loop
from active_loop.session import DATABASE, dashboard, secret_in, session
from active_loop.settings import Settings
from active_loop.store import FolderLock, Store

TOLD = settings(target={"value": 0.97}, budget={"answers": 160}, server={"port": 0})


def words(response: httpx.Response) -> str:
    text = re.sub(r"<(title|head)\b.*?</\1>", " ", response.text, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


@dataclass
class Desk:
    """A loop at rest, its dashboard, and the owner's browser without JavaScript."""

    folder: Path
    loop: Loop
    client: httpx.Client

    def page(self) -> httpx.Response:
        return self.client.get("/controls")

    def send(self, order: str, /, **typed: Any) -> httpx.Response:
        """Fill in the form on the page and send it."""
        fields = hidden(self.page(), order)
        return self.client.post("/controls", data={**fields, **typed})

    def confirmed(self, order: str, /, **typed: Any) -> tuple[str, httpx.Response]:
        """Send the form, read what it would do, and send that page's form."""
        shown = self.send(order, **typed)
        assert shown.status_code == 200, words(shown)
        effect = re.search(r'id="effect">(.*?)</p>', shown.text, re.S)
        assert effect
        return html.unescape(effect[1]), self.client.post("/controls", data=hidden(shown, order))

    @property
    def told(self) -> Settings:
        return read_settings(self.folder / "loop.toml")


def hidden(page: httpx.Response, order: str) -> dict[str, str]:
    """The hidden fields of the form of this order."""
    for form in re.findall(r"<form.*?</form>", page.text, re.S):
        found = re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)">', form)
        if ("order", order) in found:
            return {name: html.unescape(value) for name, value in found}
    raise AssertionError(f"there is no form for {order}: {words(page)}")


@contextmanager
def owner(url: str, folder: Path) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        entered = client.post("/enter", data={"token": secret_in(folder / "dashboard.key"), "then": "/controls"})
        assert entered.status_code == 303
        yield client


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A loop with two scores that may learn on a person's word."""
    loop = open_loop(tmp_path, oracle(write_points(tmp_path, 400), per_collect=1), TOLD)
    write_settings(TOLD, tmp_path / "loop.toml")
    while len(loop.store.scores()) < 2 or loop.standing.not_by_hand():
        loop.step()
    with dashboard(tmp_path, TOLD) as server, owner(server.url, tmp_path) as client:
        yield Desk(tmp_path, loop, client)
    loop.store.close()


DIRECT: dict[str, tuple[dict[str, str], str, Any]] = {
    "pause": ({"reason": " lunch \n now "}, "stop.paused", "lunch now"),
    "stop": ({"reason": "no more money"}, "stop.by_hand", "no more money"),
    "budget": ({"answers": "200", "hours": "2,5"}, "budget.answers", 200),
    "more": ({}, "query.batches_by_hand", 1),
    "learn": ({}, "query.rounds_by_hand", 1),
}


def value(told: Settings, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(told, section), name)


@pytest.mark.parametrize("order", DIRECT)
def test_an_order_that_leaves_the_claim_alone_is_taken_at_once_and_said_on_the_page(desk: Desk, order: str) -> None:
    typed, key, wanted = DIRECT[order]
    sent = desk.send(order, **typed)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/controls?done={order}")
    assert value(desk.told, key) == wanted
    page = desk.client.get(sent.headers["location"])
    assert "is taken up when the loop runs again" in words(page)
    assert key in words(page), "what the next run takes up is listed"


CLAIMED: dict[str, tuple[dict[str, str], str, Any]] = {
    "target": ({"metric": "balanced_accuracy", "value": "0.8"}, "target.metric", "balanced_accuracy"),
    "strategy": ({"strategy": "entropy"}, "query.strategy", "entropy"),
    "look": ({}, "target.looks_by_hand", 1),
}


@pytest.mark.parametrize("order", CLAIMED)
def test_an_order_that_touches_the_claim_is_shown_with_what_it_costs_before_it_is_taken(desk: Desk, order: str) -> None:
    typed, key, wanted = CLAIMED[order]
    before = (desk.folder / "loop.toml").read_bytes()
    shown = desk.send(order, **typed)
    assert shown.status_code == 200
    assert "the next look uses test items whose answers nobody has seen, of which" in words(shown)
    assert key in words(shown)
    assert (desk.folder / "loop.toml").read_bytes() == before
    sent = desk.client.post("/controls", data=hidden(shown, order))
    assert sent.status_code == 303
    assert value(desk.told, key) == wanted


def test_what_is_shown_of_the_cost_does_not_move_with_single_answers(desk: Desk) -> None:
    """A count of test items that are left would tell whoever has just answered which side their item is on."""
    loop, test, sides = desk.loop, set(desk.loop.standing.test_order), set()
    said: dict[int, set[str]] = {}
    for _ in range(60):
        ranked = sum(1 for round_ in loop.store.rounds() if round_.ranked_at)
        said.setdefault(ranked, set()).add(words(desk.send("target", value="0.9")))
        n = loop.store.annotation_position()
        loop.step()
        sides |= {a.item in test for a in loop.store.annotations(after=n)}
    assert sides == {True, False}
    assert [len(each) for each in said.values()] == [1] * len(said)


def test_what_was_edited_by_hand_meanwhile_is_shown_before_it_is_taken_along(desk: Desk) -> None:
    path = desk.folder / "loop.toml"
    path.write_text(path.read_text().replace("queue_high = 20", "queue_high = 12"))
    effect, sent = desk.confirmed("budget", answers="200")
    assert effect == "This leaves the certificate as it is."
    assert sent.status_code == 303
    assert (desk.told.query.queue_high, desk.told.budget.answers) == (12, 200)


def test_a_page_that_is_confirmed_too_late_is_shown_again_as_it_would_be_now(desk: Desk) -> None:
    shown = desk.send("target", value="0.9")
    path = desk.folder / "loop.toml"
    path.write_text(path.read_text().replace("queue_high = 20", "queue_high = 12"))
    again = desk.client.post("/controls", data=hidden(shown, "target"))
    assert again.status_code == 200
    assert "query.queue_high" in words(again)
    assert desk.told.target.value == 0.97


def test_a_pause_and_a_stop_are_taken_back(desk: Desk) -> None:
    desk.send("pause")
    assert "This loop is paused: the owner paused it on the dashboard." in words(desk.page())
    assert desk.send("resume").status_code == 303
    assert desk.told.stop.paused == ""
    desk.send("stop", reason="enough")
    page = words(desk.page())
    assert "A person stopped this loop: enough." in page
    assert desk.send("go-on").status_code == 303
    assert desk.told == TOLD


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "no number": ("budget", {"answers": "many"}, "“many” is not a number"),
    "not finite": ("budget", {"hours": "inf"}, "“inf” is not a number"),
    "half an answer": ("budget", {"answers": "99.5"}, "is a whole number, not 99.5"),
    "huge": ("budget", {"answers": "1e300"}, "at most 10000000 answers"),
    "too small": ("budget", {"answers": "20"}, "raise the budget"),
    "money without a price": ("budget", {"money": "100"}, "set price_per_hour"),
    "beyond 1": ("target", {"value": "1.5"}, "give a number between 0 and 1"),
    "no metric": ("target", {"metric": "beauty"}, 'unknown target.metric "beauty"'),
    "another kind": ("target", {"metric": "mae"}, "labels of the kind"),
    "which class": ("target", {"metric": "recall"}, "set target.positive"),
    "no strategy": ("strategy", {"strategy": "magic"}, 'unknown name "magic"'),
    "code": ("strategy", {"strategy": "os:system("}, "query.strategy"),
    "no reason": ("stop", {"reason": "  "}, "Say why the loop is to stop"),
    "long reason": ("stop", {"reason": "x" * 201}, "at most 200"),
    "unprintable": ("pause", {"reason": "a\x00b"}, "cannot be printed"),
    "nothing": ("budget", {}, "Nothing would change"),
    "no order": ("pause", {"order": "dance"}, "There is no such order"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_is_said_in_one_sentence_and_nothing_is_done(desk: Desk, wrong: str) -> None:
    order, typed, said = WRONG[wrong]
    before = (desk.folder / "loop.toml").read_bytes()
    refused = desk.send(order, **typed)
    assert refused.status_code == 422, words(refused)
    (sentence,) = re.findall(r'role="alert">(.*?)</p>', refused.text, re.S)
    assert said in html.unescape(sentence)
    assert "Traceback" not in refused.text
    assert (desk.folder / "loop.toml").read_bytes() == before


def test_a_loop_that_runs_elsewhere_is_not_changed_here(desk: Desk) -> None:
    with FolderLock(desk.folder):
        refused = desk.send("pause")
    assert refused.status_code == 422
    assert "change it on the dashboard of that one" in words(refused)
    assert desk.told == TOLD


def test_a_file_that_cannot_be_read_is_said_and_can_be_put_right(desk: Desk) -> None:
    path = desk.folder / "loop.toml"
    text = path.read_text()
    path.write_text("[targt]\n")
    page = desk.page()
    assert page.status_code == 200
    assert "unknown section [targt]; did you mean [target]?" in words(page)
    assert "<form" not in page.text.split("<main")[1]
    path.write_text(text)
    assert desk.send("pause").status_code == 303


def test_only_a_form_of_this_dashboard_sent_by_the_owner_changes_anything(desk: Desk) -> None:
    before, fields = (desk.folder / "loop.toml").read_bytes(), hidden(desk.page(), "pause")
    bare = {name: value for name, value in fields.items() if name != "form"}
    codes = [
        desk.client.post("/controls", data=bare).status_code,
        desk.client.post("/controls", data={**fields, "form": "0" * 64}).status_code,
        desk.client.post("/controls", data=fields, headers={"Origin": "http://evil.example"}).status_code,
    ]
    with httpx.Client(base_url=desk.client.base_url, trust_env=False) as viewer:
        codes.append(viewer.post("/controls", data=fields).status_code)
        asked = viewer.get("/controls")
        assert (asked.status_code, asked.headers["location"]) == (302, "/enter?then=/controls")
    assert codes == [403] * 4
    assert (desk.folder / "loop.toml").read_bytes() == before


def test_looking_changes_nothing(desk: Desk) -> None:
    store = Store(desk.folder / DATABASE, readonly=True)
    before = (desk.folder / "loop.toml").read_bytes(), store.data_version(), sorted(desk.folder.iterdir())
    for order in (*DIRECT, *CLAIMED, "resume", "go-on", "dance"):
        query = f"/controls?done={order}&order={order}&reason=x&answers=200"
        assert desk.client.get(query).status_code == 200
        assert desk.client.head(query).status_code == 200
    assert ((desk.folder / "loop.toml").read_bytes(), store.data_version(), sorted(desk.folder.iterdir())) == before
    store.close()


def test_a_button_that_makes_no_sense_now_says_why_instead(desk: Desk) -> None:
    fields = hidden(desk.page(), "learn")
    while not desk.loop.standing.not_by_hand():
        desk.loop.step()
    page = desk.page()
    assert 'value="learn"' not in page.text
    assert "The model learns anyway after a few more answers." in words(page)
    refused = desk.client.post("/controls", data=fields)
    assert (refused.status_code, desk.told.query.rounds_by_hand) == (422, 0)


def test_the_running_loop_takes_an_order_from_its_own_dashboard(tmp_path: Path) -> None:
    place = oracle(write_points(tmp_path, spread=3.0))
    told = settings(target={"value": 0.99}, server={"port": 0})
    write_settings(told, tmp_path / "loop.toml")
    said: list[Any] = []
    outcome: list[httpx.Response] = []

    def order() -> None:
        with owner(said[0].dashboard, tmp_path) as client:
            desk = Desk(tmp_path, None, client)  # type: ignore[arg-type]
            sent = desk.send("stop", reason="seen enough")
            outcome.append(client.get(sent.headers["location"]))

    with session(tmp_path, told, said.append, backend=place, inline=True) as made:

        def hear(news: object) -> None:
            if isinstance(news, Progressed) and news.what == "round 1 ranked" and not outcome:
                order()

        stopped = made.run(hear)
    assert stopped
    assert (stopped.decision.reason, stopped.decision.because) == ("by hand", "seen enough")
    assert "The loop stops." in words(outcome[0])
    with closing(Store(tmp_path / DATABASE, readonly=True)) as store:
        assert len(store.settings_history()) == 2
        assert store.scores()[-1].round == 1
