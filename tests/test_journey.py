"""Every page of the dashboard in a real browser, in both languages, as it is while a loop runs and after its end.

A page has to be valid HTML, has to fit on a telephone and on a desk, has to be usable by keyboard and screen reader as
far as axe can tell, and must make the browser complain about nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import axe_core_python
import html5lib
import httpx
import pytest
from loops import Crowd, open_loop, right, settings, write_points

from active_loop.config import read_settings, write_settings
from active_loop.domain import Stopped
from active_loop.loop import Loop
from active_loop.server import Server
from active_loop.session import dashboard, dashboards
from active_loop.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.process]

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
STATES = ("begun", "running", "ended")
PAGES = ("", "items", "items/{item}", "map", "model", "people", "record", "controls", "enter")


@dataclass(frozen=True)
class Place:
    """A loop's dashboard, the token of its owner, and an item that has a page (None: none has)."""

    server: Server
    token: str
    item: int | None

    def address(self, page: str) -> str:
        return f"{self.server.url}/{page.format(item=self.item)}"

    @property
    def pages(self) -> list[str]:
        return [page for page in PAGES if self.item is not None or "{item}" not in page]


def a_loop(folder: Path, until: Callable[[Loop], bool], model: str = "logistic") -> int | None:
    """A loop with a long name, several people, a random share and a portrait of its newest round; an answered item."""
    folder.mkdir(parents=True)
    labels = write_points(folder, 300, spread=1.6)
    told = settings(
        name="Waldbeeren und andere Früchte aus dem Norden, gesammelt im Sommer",
        target={"value": 0.8},
        budget={"answers": 160, "price_per_hour": 30.0, "hours": 3.0},
        query={"random_share": 0.2},
        people={"overlap": 2, "overlap_share": 0.4, "repeat_share": 0.1},
        model={"use": model},
    )
    write_settings(told, folder / "loop.toml")
    loop = open_loop(folder, Crowd(("minji", "arthur", "한별"), right(labels)), told, portraits=True)
    while not until(loop) and not isinstance(loop.step(), Stopped):
        pass
    for _ in range(20):  # the portrait of the newest round
        loop.step(collect=False)
    answered = loop.store.answered_items()
    loop.store.close()
    return answered[0] if answered else None


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """Loops that have not asked anything yet, that go on, and that have ended; each with its dashboard."""
    root = tmp_path_factory.mktemp("journey")
    items = {
        "begun": a_loop(root / "begun", lambda loop: loop.store.n_items() > 0),
        "running": a_loop(root / "running", lambda loop: len(loop.store.scores()) > 5),
        "ended": a_loop(root / "ended", lambda loop: False, "sklearn.ensemble:HistGradientBoostingClassifier"),
    }
    with dashboards(root, "127.0.0.1", 0) as front:
        tokens = {}
        for state in STATES:
            httpx.get(f"{front.url}/{state}/")
            tokens[state] = (root / state / "dashboard.key").read_text(encoding="utf-8").strip()
        yield {
            state: Place(_Below(front, state), tokens[state], items[state])  # type: ignore[arg-type]
            for state in STATES
        }


class _Below:
    """The dashboard of one loop below the front page."""

    def __init__(self, front: Server, name: str) -> None:
        self.url = f"{front.url}/{name}"


def signed_in(browser: Any, place: Place) -> None:
    """Say in the browser who the owner is, as people do."""
    browser.get(place.address("enter"))
    browser.find_element("id", "token").send_keys(place.token)
    browser.find_element("css selector", "form.enter button").click()


def drawn(browser: Any, address: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)


def beyond(browser: Any) -> list[str]:
    """What stands out to the right of the page, except inside of what can be scrolled by itself."""
    return list(
        browser.execute_script(
            """
            const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return [];
            return [...document.body.querySelectorAll("*")]
              .filter(e => e.getBoundingClientRect().right > wide + 1 && !e.closest(".wide-table, .unseen, .skip"))
              .map(e => e.outerHTML.slice(0, 120));
            """
        )
    )


def complaints(browser: Any) -> list[str]:
    """What axe finds wrong by WCAG 2.1, A and AA."""
    browser.execute_script(AXE)
    found = browser.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
          .then(result => done(result.violations), error => done([{id: String(error), nodes: []}]));
        """
    )
    return [
        f"{one['id']}: {node['html'][:150]} {node.get('failureSummary', '')}" for one in found for node in one["nodes"]
    ]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_page_is_valid_html(places: dict[str, Place], state: str, language: str) -> None:
    place = places[state]
    headers = {"Authorization": f"Bearer {place.token}"}
    for page in place.pages:
        reply = httpx.get(place.address(page), params={"language": language}, headers=headers, timeout=60)
        assert reply.status_code == 200, (page, reply.text)
        parser = html5lib.HTMLParser()
        parser.parse(reply.text)
        lines = reply.text.splitlines()
        assert [(error, lines[at[0] - 1]) for at, error, _ in parser.errors] == [], page
        assert f'<html lang="{language}">' in reply.text


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_page_fits_is_accessible_and_lets_the_browser_complain_of_nothing(
    browser: Any, places: dict[str, Place], state: str, language: str
) -> None:
    place = places[state]
    signed_in(browser, place)
    browser.get_log("browser")
    for page in place.pages:
        for width in (360, 1440):
            drawn(browser, f"{place.address(page)}?language={language}", width)
            assert beyond(browser) == [], (page, width)
        assert complaints(browser) == [], page
        assert browser.find_elements("css selector", "main h1"), page
        said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert said == [], page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_enough_contrast_in_light_and_in_dark(browser: Any, places: dict[str, Place], scheme: str) -> None:
    place = places["ended"]
    signed_in(browser, place)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    try:
        for page in place.pages:
            drawn(browser, place.address(page), 1440)
            assert [one for one in complaints(browser) if one.startswith("color-contrast")] == [], page
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_front_page_leads_to_every_loop_and_back(browser: Any, places: dict[str, Place]) -> None:
    front = places["ended"].server.url.removesuffix("/ended")
    drawn(browser, f"{front}/", 360)
    assert beyond(browser) == []
    assert complaints(browser) == []
    links = browser.find_elements("css selector", ".loops a")
    assert len(links) == len(STATES)
    links[0].click()
    assert browser.find_element("css selector", "nav.top")


def test_a_page_keeps_itself_new_without_being_loaded_again(browser: Any, tmp_path: Path) -> None:
    a_loop(tmp_path / "one", lambda loop: len(loop.store.scores()) > 0)
    told = read_settings(tmp_path / "one" / "loop.toml")
    with dashboard(tmp_path / "one", replace(told, server=replace(told.server, port=0))) as server:
        browser.get(server.url)
        browser.execute_script("window.stays = true")
        store = Store(tmp_path / "one" / "loop.db")
        stop = {"reason": "by hand", "because": "enough", "verdict": "not reached", "limits": {}}
        store.add_event("stopped", stop)
        store.close()
        found = browser.execute_async_script(
            """
            const done = arguments[arguments.length - 1], heading = () => document.querySelector("h1").textContent;
            const before = heading(), end = Date.now() + 20000;
            (function look() {
              if (heading() !== before || Date.now() > end) done([heading(), window.stays === true]);
              else setTimeout(look, 100);
            })();
            """
        )
    assert "Stopped" in found[0]
    assert found[1], "the page was not loaded again"


def test_without_scripts_every_page_still_says_what_matters(browser: Any, places: dict[str, Place]) -> None:
    place = places["ended"]
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for page in place.pages:
            drawn(browser, place.address(page), 1440)
            assert browser.find_element("css selector", "main h1").text, page
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    drawn(browser, place.address(""), 1440)
    assert json.loads(httpx.get(f"{place.server.url}/status.json").text)["name"].startswith("Waldbeeren")
