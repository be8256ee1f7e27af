"""A real loop, a real Label Studio, and what goes wrong between them: nothing is lost, nothing is asked twice."""

from __future__ import annotations

import importlib
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from studios import Host, Proxy, texts

from active_loop.config import write_settings
from active_loop.domain import StepResult
from active_loop.driver import Driver, Unreachable
from active_loop.errors import LabelingError
from active_loop.label_studio import LabelStudio, choice_result
from active_loop.labeling import Oracle
from active_loop.local_studio import LocalStudio
from active_loop.loop import Loop
from active_loop.runner import InlineRunner
from active_loop.session import Notice, session
from active_loop.settings import (
    BudgetSettings,
    DataSettings,
    LabelingSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    TaskSettings,
)
from active_loop.sources import open_source
from active_loop.store import Store

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
TOLD = Settings(
    name="mails",
    data=DataSettings(path="texts.csv", kind="text", show=("text",)),
    task=TaskSettings(classes=("mail", "order", "complaint", "praise")),
    budget=BudgetSettings(answers=60),
    model=ModelSettings(use="logistic"),
)

pytestmark = [
    pytest.mark.studio,
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*"),
]


@pytest.fixture(scope="module")
def soaks() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("soak")
    sys.path.remove(str(FOLDER))


@pytest.fixture
def mortal(studio: LocalStudio) -> Iterator[LocalStudio]:
    """The server of all tests, which may be stopped and written to: it is there again for the next one."""
    yield studio
    studio.revive()


def test_killed_cut_off_and_corrected_a_real_loop_loses_nothing(
    soaks: ModuleType, tmp_path: Path, label_studio_installed: None
) -> None:
    """One kill of each kind, some calls failed and webhooks lost; fifty-five answers, some edited or withdrawn."""
    plan = soaks.Plan(answers=55, people=3, kills=3, seed=3, delay_s=0.0, limit_s=400.0)
    facts = soaks.soak(plan, tmp_path)
    assert facts.wrong == []
    assert facts.figures["kills"] == {"loop": 1, "server": 1, "training": 1}
    assert facts.figures["annotations in Label Studio"] >= plan.answers


def test_the_comparison_of_a_soak_sees_what_is_wrong(soaks: ModuleType) -> None:
    facts = soaks.Facts()
    facts.expect("answers that were lost", [])
    assert facts.wrong == []
    facts.expect("answers that were lost", [7, 8])
    assert facts.wrong == ["answers that were lost: 2, the first is 7"]


def test_label_studio_is_away_for_an_hour_and_the_loop_waits_says_so_and_goes_on(
    soaks: ModuleType, mortal: LocalStudio, tmp_path: Path
) -> None:
    soaks.write_texts(tmp_path, 200, 0)
    write_settings(TOLD, tmp_path / "loop.toml")
    place = LabelStudio(mortal.url, token=mortal.token, sleep=lambda seconds: None)
    place.create_project(TOLD, marker=tmp_path.name)
    store, clock, notices = Store(tmp_path / "loop.db"), [0.0], []

    def rest(seconds: float) -> None:
        clock[0] += seconds
        notices.append(driver.notice)
        if clock[0] >= 3600 and mortal.pid is None:
            mortal.revive()

    def hear(news: StepResult | Unreachable) -> None:
        if store.unanswered() and not store.sending_batch():
            driver.pause()

    loop = Loop(TOLD, store, open_source(TOLD.data, tmp_path), place, InlineRunner(), folder=tmp_path)
    driver = Driver(loop, rest=rest)
    mortal.stop()
    assert driver.run(hear) is None
    assert 3600 <= clock[0] < 3600 + 61
    assert all("connection refused" in notice and "The next try is in" in notice for notice in notices)
    assert driver.notice == ""
    assert len(Host(mortal).tasks(place.project)) == len(store.unanswered()) > 0
    store.close()


def test_a_call_ends_the_pause_before_the_next_try(tmp_path: Path, soaks: ModuleType) -> None:
    """Whoever calls is back: the loop does not wait for the end of a pause that has grown to a minute."""

    class Away(Oracle):
        def collect(self) -> list[object]:  # type: ignore[override]
            raise LabelingError("away.")

    tries = []

    def hear(news: StepResult | Unreachable) -> None:
        if isinstance(news, Unreachable):
            tries.append(news.pause_s)
            driver.wake() if len(tries) < 12 else driver.pause()

    soaks.write_texts(tmp_path, 200, 0)
    store = Store(tmp_path / "loop.db")
    source = open_source(TOLD.data, tmp_path)
    driver = Driver(Loop(TOLD, store, source, Away([]), InlineRunner(), folder=tmp_path))
    assert driver.run(hear) is None
    assert tries == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    store.close()


def test_an_answer_kept_in_a_servers_last_moment_is_found_once_the_server_is_back(mortal: LocalStudio) -> None:
    """Label Studio stores an answer before the time of its task: killed between the two, the time stands."""
    proxy = Proxy(mortal.url)
    backend = LabelStudio(proxy.url, token=mortal.token, sleep=lambda seconds: None)
    backend.create_project(TOLD, marker="the last moment")
    backend.publish(texts(1, 2))
    assert list(backend.collect()) == []
    task = backend.tasks()[0].task_id
    Host(mortal)("POST", f"/api/tasks/{task}/annotations/", {"result": choice_result("mail", "text")})
    database = sqlite3.connect(mortal.log.parent / "data" / "label_studio.sqlite3")
    with database:
        database.execute("UPDATE task SET updated_at = datetime(created_at, '-1 minute') WHERE id = ?", (task,))
    database.close()
    assert list(backend.collect()) == []
    proxy.fault = lambda method, path: "lose the request"
    with pytest.raises(LabelingError):
        backend.collect()
    proxy.fault = lambda method, path: None
    assert [answer.ask for answer in backend.collect()] == ["ask-1"]
    proxy.close()


def test_a_webhook_that_cannot_be_registered_does_not_keep_a_loop_from_starting(
    mortal: LocalStudio, soaks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soaks.write_texts(tmp_path, 200, 0)
    proxy, heard = Proxy(mortal.url), []
    monkeypatch.setenv(TOLD.labeling.token_env, mortal.token)
    told = replace(TOLD, labeling=LabelingSettings(url=proxy.url), server=ServerSettings(port=0))
    proxy.fault = lambda method, path: (502, "<html>") if method == "POST" and "webhooks" in path else None
    with session(tmp_path, told, heard.append, inline=True) as made:
        assert made.webhook is not None
        assert not made.webhook.ok
    assert [news.text for news in heard if isinstance(news, Notice)] == [made.webhook.text]
    assert "cannot register the webhook" in made.webhook.text
    proxy.close()
