"""What people are told: readable in the labelling page, and kept by version."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from loops import CLASSES, Clock, open_loop, oracle, run_to_end, settings, write_points
from studios import Host, again, texts

from active_loop.config import read_settings, write_settings
from active_loop.errors import ConfigError
from active_loop.export import export_rows
from active_loop.instructions import Instructions, as_html, in_force, versions
from active_loop.label_studio import LabelStudio, label_config
from active_loop.labeling import Terminal
from active_loop.local_studio import LocalStudio
from active_loop.report import status
from active_loop.screen import status_page
from active_loop.server.words import Fact, facts
from active_loop.settings import DataSettings, Settings, TaskSettings, to_json

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GUIDE = """# Cats & dogs

Look at the **animal**.
A drawing counts: 1 < 2.

Then choose
- cat, also a kitten
  of any colour
- dog

1. Look.
2. Choose.
"""


def told(text: str) -> Settings:
    return settings(task={"instructions": text})


def test_text_stays_readable_as_html_and_nothing_in_it_is_markup() -> None:
    shown = as_html(GUIDE)
    assert shown.split("<br>") == [
        "<b>Cats &amp; dogs</b>",
        "",
        "Look at the <b>animal</b>.",
        "A drawing counts: 1 &lt; 2.",
        "",
        "Then choose",
        "• cat, also a kitten of any colour",
        "• dog",
        "",
        "1. Look.",
        "2. Choose.",
    ]
    assert as_html("") == ""
    assert as_html("<p>Look <i>twice</i>.</p>") == "<p>Look <i>twice</i>.</p>"
    assert as_html("a <script>") == "a &lt;script&gt;"


def test_a_new_text_is_a_new_version_and_other_settings_are_none() -> None:
    texts_ = ["", "", "Look.", "Look.", "Look twice.", "Look."]
    history = [(NOON + timedelta(hours=hour), to_json(told(text))) for hour, text in enumerate(texts_)]
    known = versions(history)
    assert [(each.number, each.text, (each.since - NOON).seconds // 3600) for each in known] == [
        (1, "", 0),
        (2, "Look.", 2),
        (3, "Look twice.", 4),
        (4, "Look.", 5),
    ]
    assert versions([(NOON, '{"task": {}}')]) == [Instructions(1, "", NOON)]
    assert in_force(known, NOON + timedelta(hours=2)) == known[1]
    assert in_force(known, NOON + timedelta(hours=3, minutes=59)) == known[1]
    assert in_force(known, NOON + timedelta(days=9)) == known[-1]
    assert in_force(known, NOON - timedelta(seconds=1)) is None
    assert in_force(known, None) is None


def test_instructions_may_stand_in_a_file_and_are_settings_all_the_same(tmp_path: Path) -> None:
    path, guide = tmp_path / "loop.toml", tmp_path / "guide.md"
    write_settings(settings(task={"instructions_file": "guide.md"}), path)
    with pytest.raises(
        ConfigError, match=r"loop.toml, line \d+: task.instructions_file: cannot read .*guide.md: No such"
    ):
        read_settings(path)
    guide.write_text(GUIDE, encoding="utf-8")
    read = read_settings(path)
    assert read == settings(task={"instructions": GUIDE})
    write_settings(read, tmp_path / "again.toml")
    assert read_settings(tmp_path / "again.toml") == read
    guide.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        read_settings(path)
    write_settings(settings(task={"instructions_file": "guide.md", "instructions": "Look."}), path)
    with pytest.raises(ConfigError, match="keep one of them"):
        read_settings(path)


def test_each_answer_is_exported_with_the_version_that_it_was_given_under(tmp_path: Path) -> None:
    write_points(tmp_path)
    clock, typed = Clock(), cycle("123")
    backend = Terminal(CLASSES, read=lambda prompt: next(typed), write=lambda line: None, now=clock)
    first = open_loop(tmp_path, backend, told("Look."), now=clock)
    while len(first.store.annotations()) < 12:
        first.step()
    first.store.close()
    changed = clock.time
    loop = open_loop(tmp_path, backend, told("Look twice."), now=clock)
    run_to_end(loop)
    now = status(loop.store)
    assert now.instructions is not None
    assert (now.instructions.number, now.instructions.text) == (2, "Look twice.")
    assert now.instructions.since >= changed
    words = " ".join(str(line) for line in status_page(now).renderables)
    assert f"instructions: version 2, in force since {now.instructions.since:%Y-%m-%d %H:%M} UTC" in words
    assert Fact("Instructions", "version 2", f"since {now.instructions.since:%Y-%m-%d %H:%M} UTC") in facts(now, NOON)
    rows = export_rows(loop.store)
    assert Counter(row.instructions for row in rows)["1"] == 12
    assert {row.instructions for row in rows} == {"1", "2"}
    assert {row.people for row in rows} == {"terminal"}


def test_where_nothing_was_ever_told_nothing_is_said_of_it(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    loop = open_loop(tmp_path, oracle(labels))
    run_to_end(loop)
    assert "instructions" not in " ".join(str(line) for line in status_page(status(loop.store)).renderables)


OURS = Settings(
    name="guided",
    data=DataSettings(kind="text", show=("text",)),
    task=TaskSettings(classes=("ham", "spam"), instructions=GUIDE),
)


@pytest.mark.studio
@pytest.mark.browser
def test_people_read_the_newest_instructions_before_the_first_task(
    studio: LocalStudio, host: Host, browser: Any
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.ui import WebDriverWait
    from test_local_studio import log_in

    def see(selector: str, by: str = By.CSS_SELECTOR) -> Any:
        return WebDriverWait(browser, 30).until(expected.element_to_be_clickable((by, selector)))

    log_in(browser, studio)
    marker = f"guided {time.time_ns()}"
    backend = LabelStudio(studio.url, token=studio.token)
    number = backend.create_project(OURS, marker=marker)
    backend.publish(texts(1))
    for guide in (GUIDE, GUIDE.replace("Look.", "Look twice.")):
        task = dataclasses.replace(OURS.task, instructions=guide)
        made = again(backend, studio).create_project(dataclasses.replace(OURS, task=task), marker=marker)
        assert made == number
        browser.get(f"{backend.project_url}/data")
        see("//button[contains(., 'Label All Tasks')]", By.XPATH).click()
        shown = see(".lsf-modal-ls").text
        assert "A drawing counts: 1 < 2." in shown
        assert "• cat, also a kitten of any colour" in shown
        assert ("Look twice." in shown) == ("Look twice." in guide)
        assert "<" not in shown.replace("1 < 2", "")
        kept = host("GET", f"/api/projects/{number}/")["expert_instruction"]
        assert kept == as_html(guide), "a project that is as it should be would be changed again at every start"


@pytest.mark.studio
def test_the_instructions_of_a_project_of_somebody_else_are_left_alone(studio: LocalStudio, host: Host) -> None:
    theirs = {
        "title": "theirs",
        "label_config": label_config(OURS),
        "expert_instruction": "Ours.",
        "show_instruction": True,
    }
    project = host("POST", "/api/projects/", theirs)
    LabelStudio(studio.url, token=studio.token, project=project["id"]).create_project(OURS, marker="guided theirs")
    assert host("GET", f"/api/projects/{project['id']}/")["expert_instruction"] == "Ours."
