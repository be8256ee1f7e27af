"""What people read, in Korean: every sentence is there, and no page, nor the report, says any of it in English."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from jinja2 import Environment, nodes
from loops import Crowd, open_loop, right, settings, write_points

from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.domain import Stopped
from active_loop.language import LANGUAGES, say, say_n, speak, speaking, spoken
from active_loop.loop import Loop
from active_loop.orders import Resting
from active_loop.server import create_app
from active_loop.sources import open_source
from active_loop.store import Store

ROOT = Path(__file__).resolve().parent.parent
OWNER = "owner-of-the-loop"
SAYING = {"say", "say_n"}
OWN_SAY = {ROOT / "active_loop" / name for name in ("init.py", "attach.py")}
"""Files with a `say` of their own, which echoes a command's lines."""


def the_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("language_files", ROOT / "scripts" / "language_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES: Any = the_script()


def sentences() -> list[tuple[tuple[str, ...], str]]:
    """Each sentence, in all its forms, with its translation."""
    found = []
    for message in FILES.written("ko"):
        if message.id:
            forms = (message.id,) if isinstance(message.id, str) else tuple(message.id)
            found.append((forms, message.string if isinstance(message.string, str) else message.string[0]))
    return found


def places(sentence: str) -> set[str]:
    return set(re.findall(r"\{\w+\}|TIME", sentence))


# the catalogue


def test_every_sentence_has_a_translation_and_gettext_finds_it() -> None:
    assert FILES.problems("ko") == []
    assert set(LANGUAGES) == {"en", *FILES.LANGUAGES}


def test_a_sentence_without_a_translation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ko" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    text = (FILES.LOCALE / "ko" / "LC_MESSAGES" / "active_loop.po").read_text(encoding="utf-8")
    (folder / "active_loop.po").write_text(text.replace('msgstr "정확도"', 'msgstr ""'), encoding="utf-8")
    monkeypatch.setattr(FILES, "LOCALE", tmp_path)
    assert FILES.problems("ko") == ["ko: “accuracy” has no translation"]
    (folder / "active_loop.po").write_text(text, encoding="utf-8")
    assert FILES.problems("ko") == ["ko: the compiled file is out of date"]


def test_a_translation_fills_in_what_its_sentence_does() -> None:
    for forms, translated in sentences():
        assert places(translated) == places(forms[-1]), (forms, translated)
        assert places(forms[0]) <= places(forms[-1]), forms


def test_no_translation_is_the_english_sentence() -> None:
    same = [forms[0] for forms, translated in sentences() if translated in forms and len(forms[0].split()) > 2]
    assert same == []


def test_what_is_between_quotes_is_a_command_that_stays_as_it_is() -> None:
    for forms, translated in sentences():
        assert sorted(re.findall("“active-loop.*?”", translated)) == sorted(re.findall("“active-loop.*?”", forms[0]))


def test_only_literal_sentences_are_said() -> None:
    """What is put together, or stands in a variable, would never be found and stay English."""
    loose = []
    for path in [*(ROOT / "active_loop").rglob("*.py"), *(ROOT / "server").rglob("*.py")]:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        said = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id in SAYING]
        if path not in OWN_SAY:
            loose += [ast.unparse(each) for each in said if not isinstance(each.args[0], ast.Constant)]
    for path in (ROOT / "server" / "templates").rglob("*.*"):
        parsed = Environment().parse(path.read_text(encoding="utf-8"))
        named = [each for each in parsed.find_all(nodes.Call) if isinstance(each.node, nodes.Name)]
        loose += [str(each) for each in named if each.node.name in SAYING and not isinstance(each.args[0], nodes.Const)]
    assert loose == ["say(metric)"] * 2, "the words of a metric are found where its `Measure` is made"


def test_every_literal_of_the_code_is_found() -> None:
    known = FILES.extracted()
    for path in {*(ROOT / "active_loop").rglob("*.py"), *(ROOT / "server").rglob("*.py")} - OWN_SAY:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAYING:
                first = node.args[0]
                assert not isinstance(first, ast.Constant) or known.get(first.value), (path, first.value)


# speaking


def test_a_language_is_spoken_inside_and_no_longer() -> None:
    with speaking("ko"):
        assert say("{n} of {budget} answers", n=3, budget=400) == "답 400개 중 3개"
        assert [say_n("{n} answer", "{n} answers", n) for n in (1, 2)] == ["답 1개", "답 2개"]
    assert say("{n} of {budget} answers", n=3, budget=400) == "3 of 400 answers"


def test_a_language_that_there_is_not_is_english() -> None:
    with speaking("ko"):
        speak("xx")
        assert spoken() == "en"


# the pages


class Words(HTMLParser):
    """What people see, hear or point at on a page; neither code, nor what the page is made with."""

    _SHOWN = ("alt", "aria-label", "title", "placeholder", "data-lost", "data-about", "data-label")
    _NOT_SHOWN = ("script", "style", "code")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside += [tag] if tag in self._NOT_SHOWN else []
        self.texts += [value for name, value in attrs if name in self._SHOWN and value]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._NOT_SHOWN:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.texts.append(data)


def english(page: str) -> list[str]:
    """Runs of four words or more in Latin letters, besides commands between quotes."""
    texts = (re.sub("“.*?”", "“”", text) for text in Words(page).texts)
    return [run for text in texts for run in re.findall(r"[A-Za-z][\w'’-]*(?:[ ,;:]+[A-Za-z][\w'’-]*){3,}", text)]


def test_an_english_sentence_would_be_found() -> None:
    assert english('<p>답 “active-loop run now please”</p><p title="Nobody has answered yet.">a b</p>') == [
        "Nobody has answered yet"
    ]


def app_of(folder: Path) -> Flask:
    return create_app(
        partial(Store, folder / "loop.db", readonly=True),
        wake=lambda: None,
        secret="open sesame",
        token=OWNER,
        source=lambda: open_source(settings().data, folder),
        orders=Resting(folder, "loop.db"),
        labeling_url="http://127.0.0.1:8080",
    )


@pytest.fixture(scope="module", params=["begun", "running", "ended"])
def loop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop of three people with a random share, as it is before its first answer, at work, and after its end."""
    folder = tmp_path_factory.mktemp(request.param)
    labels = write_points(folder, 300, spread=1.6)
    told = settings(
        target={"value": 0.8},
        budget={"answers": 160, "price_per_hour": 30.0, "hours": 3.0},
        query={"random_share": 0.2},
        people={"overlap": 2, "overlap_share": 0.4, "repeat_share": 0.1},
    )
    write_settings(told, folder / "loop.toml")
    made = open_loop(folder, Crowd(("minji", "arthur", "linh"), right(labels)), told, portraits=True)
    ends = {"begun": lambda: made.store.n_items() > 0, "running": lambda: len(made.store.scores()) > 5}
    enough = ends.get(request.param, lambda: False)
    while not enough() and not isinstance(made.step(), Stopped):
        pass
    for _ in range(20):  # the portrait of the newest round
        made.step(collect=False)
    yield made
    made.store.close()


def folder_of(loop: Loop) -> Path:
    return Path(loop.store.path).parent


def addresses(loop: Loop) -> list[str]:
    answered = loop.store.answered_items()
    told = [f"/items/{position}" for position in answered[:8]]
    points = [f"/map/item/{position}" for position in answered[:8]]
    pages = ["/", "/items", "/map", "/model", "/people", "/record", "/controls", "/enter", "/no-such-page"]
    return [*pages, "/record?kind=settings", "/record?kind=looks", *told, *points]


def test_no_page_in_korean_says_a_sentence_in_english(loop: Loop) -> None:
    client = app_of(folder_of(loop)).test_client()
    headers = {"Authorization": f"Bearer {OWNER}"}
    client.get("/?language=ko", headers=headers)
    for address in addresses(loop):
        page = client.get(address, headers=headers, buffered=True)
        assert page.status_code in (200, 404), (address, page.text)
        assert english(page.text) == [], address
        assert page.status_code == 404 or re.search("[가-힣]{2}", page.text), address


def test_what_an_order_costs_is_said_in_korean(loop: Loop) -> None:
    client = app_of(folder_of(loop)).test_client()
    client.get(f"/?token={OWNER}&language=ko")
    form = re.search(r'name="form" value="(.*?)"', client.get("/controls").text)
    assert form
    for order in ({"order": "target", "value": "0.7"}, {"order": "look"}, {"order": "stop", "reason": ""}):
        page = client.post("/controls", data={"form": form[1], **order}, buffered=True)
        assert english(page.text) == [], order


def test_a_language_that_was_chosen_is_kept_until_another_one_is(loop: Loop) -> None:
    client = app_of(folder_of(loop)).test_client()
    client.get(f"/?token={OWNER}")
    english_page = client.get("/people").text
    assert "People" in english_page
    assert "사람별" in client.get("/people?language=ko").text
    assert '<html lang="ko">' in client.get("/record").text
    client.get("/people?language=en")
    assert client.get("/people").text == english_page


def test_one_who_reads_korean_leaves_others_their_english(loop: Loop) -> None:
    app = app_of(folder_of(loop))
    headers = {"Authorization": f"Bearer {OWNER}"}
    before = app.test_client().get("/", headers=headers).text
    assert '<html lang="ko">' in app.test_client().get("/?language=ko", headers=headers).text
    assert app.test_client().get("/", headers=headers).text == before
    assert spoken() == "en"


def test_the_report_is_in_korean_where_that_was_asked_for_and_the_command_line_never(loop: Loop) -> None:
    def ran(*command: str) -> str:
        result = CliRunner().invoke(main, [command[0], str(folder_of(loop)), *command[1:]])
        assert result.exit_code == 0, result.output
        return result.output

    before = ran("status")
    for options in ([], ["--no-items"]):
        said = ran("report", "--language", "ko", *options)
        assert not re.search("[가-힣]", said)
        text = (folder_of(loop) / "report.html").read_text(encoding="utf-8")
        assert english(text) == []
        assert '<html lang="ko">' in text
    assert ran("status") == before
    assert not re.search("[가-힣]", before)
