"""A Label Studio of our own: it never outlives us, keeps its place and its secrets, and its keys pick what they say."""

from __future__ import annotations

import json
import os
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from active_loop import guard, local_studio
from active_loop.domain import Ask, AskState, Purpose
from active_loop.errors import LabelingError
from active_loop.label_studio import LabelStudio, hotkeys, read_result
from active_loop.labeling import Publication
from active_loop.local_studio import LocalStudio
from active_loop.settings import DataSettings, Settings, TaskSettings
from active_loop.tasks import BROKEN, NONE, UNSURE, make_task

T = TypeVar("T")

STARTER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from active_loop.local_studio import LocalStudio
studio = LocalStudio.start(Path(sys.argv[1]))
print(studio.pid, studio.url, studio.token, flush=True)
time.sleep(600)
"""


def gone_within(pid: int, started: str | None, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while guard.process_started(pid) == started and time.monotonic() < end:
        time.sleep(0.05)
    return guard.process_started(pid) != started


def guarded(folder: Path, command: str, grace_s: float, **more: Any) -> subprocess.Popen[bytes]:
    """A guard over a small Python program, once its pid file is there."""
    arguments = [str(folder / "child.json"), str(grace_s), "1", sys.executable, "-c", command]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {SLEEPER}"


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
@pytest.mark.parametrize(("command", "grace_s"), [(SLEEPER, 30.0), (STUBBORN, 0.2)])
def test_the_guard_ends_its_child_when_its_input_ends(tmp_path: Path, command: str, grace_s: float) -> None:
    """Also where the guard was started by a background job of a shell, which ignores SIGINT."""
    with guarded(
        tmp_path, command, grace_s, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    ) as process:
        note = json.loads((tmp_path / "child.json").read_text())
        assert guard.process_started(note["pid"]) == note["started"]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 1
    assert gone_within(note["pid"], note["started"], 5)
    assert not (tmp_path / "child.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_the_guard_takes_its_child_with_it_when_it_is_asked_to_end(tmp_path: Path) -> None:
    with guarded(tmp_path, SLEEPER, 30.0) as process:
        note = json.loads((tmp_path / "child.json").read_text())
        process.terminate()
        assert process.wait(10) == 1
    assert gone_within(note["pid"], note["started"], 5)


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_the_guard_leaves_the_note_of_its_successor_alone(tmp_path: Path) -> None:
    with guarded(tmp_path, SLEEPER, 30.0) as process:
        (tmp_path / "child.json").write_text("the next one")
        process.terminate()
        process.wait(10)
    assert (tmp_path / "child.json").read_text() == "the next one"


def test_without_label_studio_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabelingError, match=r'pip install "active-loop\[label-studio\]"'):
        LocalStudio.start(tmp_path)


def test_a_server_that_dies_is_reported_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "label-studio"
    fake.write_text("#!/bin/sh\necho the disk is full\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr("active_loop.local_studio._executable", lambda: fake)
    with pytest.raises(LabelingError, match=r"(?s)ended while it was starting.*the disk is full"):
        LocalStudio.start(tmp_path / "loop")


def test_a_port_that_somebody_else_took_is_not_fought_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_studio, "_PORT_S", 0.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert local_studio._free_port(taken) != taken
    assert local_studio._free_port(taken) == taken


def test_broken_credentials_are_reported_and_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "label-studio" / "credentials.json"
    file.parent.mkdir()
    file.write_text("{")
    with pytest.raises(LabelingError, match=r"cannot read .*credentials.json"):
        LocalStudio.start(tmp_path)
    assert file.read_text() == "{"


@pytest.mark.studio
@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_the_server_is_gone_soon_after_its_starter_was_killed_and_comes_back_as_it_was(
    studio: LocalStudio, tmp_path: Path
) -> None:
    """The fixture has built the database before: here it is only copied."""
    with subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid_text, url, token = starter.stdout.readline().split()
        pid, started = int(pid_text), guard.process_started(int(pid_text))
        backend = LabelStudio(url, token=token)
        project = backend.create_project(DIGITS, marker="killed")
        starter.kill()
    assert started is not None
    assert gone_within(pid, started, 30)
    with LocalStudio.start(tmp_path) as again:
        assert (again.url, again.token) == (url, token)
        assert list(backend.collect()) == []
        assert LabelStudio(again.url, token=again.token).create_project(DIGITS, marker="killed") == project
        seen = LocalStudio.running(tmp_path)
        assert seen is not None
        assert (seen.url, seen.token, seen.pid) == (again.url, again.token, again.pid)
        assert again.pid is not None
        ours, since = again.pid, guard.process_started(again.pid)
        leave_behind(again)
        with LocalStudio.start(tmp_path) as third:
            assert guard.process_started(ours) != since
            assert third.url == url
        assert third.pid is None
        assert LocalStudio.running(tmp_path) is None
    home = tmp_path / "label-studio"
    assert home.stat().st_mode & 0o077 == 0
    assert (home / "credentials.json").stat().st_mode & 0o077 == 0
    assert not (home / "server.json").exists()


def leave_behind(studio: LocalStudio) -> None:
    """Kill the guard alone: the server now belongs to nobody."""
    assert studio._guard is not None
    studio._guard.kill()
    studio._guard.wait()


@pytest.mark.studio
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one loopback address from the start")
def test_the_server_listens_on_loopback_only_and_shows_no_secret_to_others(studio: LocalStudio) -> None:
    assert studio.url.startswith("http://127.0.0.1:")
    port = int(studio.url.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))
    for secret in (studio.password, studio.token):
        assert secret not in studio.log.read_text(errors="replace")
        command_line = Path(f"/proc/{studio.pid}/cmdline")
        assert not command_line.exists() or secret not in command_line.read_text()


# In a real browser.


DIGITS = Settings(
    name="digits",
    data=DataSettings(kind="image"),
    task=TaskSettings(classes=tuple(string.digits), question="Which digit is it?", instructions="Press its key."),
)
WORDS = Settings(
    name="words",
    data=DataSettings(kind="text", show=("text",)),
    task=TaskSettings(classes=("ham & <eggs>", "spam", "b"), question='Is it "ham"?'),
)


def log_in(browser: Any, studio: LocalStudio) -> None:
    """Be logged in as the owner, whose session an earlier test may have begun."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{studio.url}/user/login/")
    if "/user/login" not in browser.current_url:  # whoever is logged in is sent on
        return
    WebDriverWait(browser, 30).until(expected.element_to_be_clickable((By.CSS_SELECTOR, "input[name=email]")))
    browser.find_element(By.CSS_SELECTOR, "input[name=email]").send_keys(studio.user)
    browser.find_element(By.CSS_SELECTOR, "input[name=password]").send_keys(studio.password)
    browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    WebDriverWait(browser, 30).until(expected.url_changes(f"{studio.url}/user/login/"))


@pytest.mark.studio
@pytest.mark.browser
def test_the_key_3_labels_a_3_and_every_other_key_what_stands_beside_it(
    studio: LocalStudio, browser: Any, image_root: Path
) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.ui import WebDriverWait

    def see(selector: str, by: str = By.CSS_SELECTOR) -> Any:
        return WebDriverWait(browser, 30).until(expected.element_to_be_clickable((by, selector)))

    def wait_for(found: Callable[[], T]) -> T:
        return WebDriverWait(browser, 30, 0.05).until(lambda _: found())

    def chosen() -> list[str]:
        script = "return [...document.querySelectorAll('.lsf-choice')].filter(c => c.querySelector('input').checked)"
        return [text.rpartition("[")[0].strip() for text in browser.execute_script(f"{script}.map(c => c.innerText)")]

    log_in(browser, studio)
    for settings, shown in ((DIGITS, {"image": image_root / "3.png"}), (WORDS, {"text": "hello"})):
        choices = [*settings.task.classes, UNSURE, BROKEN]
        backend = LabelStudio(studio.url, token=studio.token, image_root=image_root)
        backend.create_project(settings, marker=f"browser {settings.name} {time.time_ns()}")
        ask = Ask(f"ask-{settings.name}", 0, Purpose.POOL, AskState.SENDING)
        backend.publish([Publication(ask, shown)])
        browser.get(f"{backend.project_url}/data")
        see("//button[contains(., 'Label All Tasks')]", By.XPATH).click()
        if settings.task.instructions:
            assert "Press its key." in see(".lsf-modal-ls").text
            see(".lsf-modal-ls button").click()
            WebDriverWait(browser, 30).until(
                expected.invisibility_of_element_located((By.CSS_SELECTOR, ".lsf-modal-ls"))
            )
        see(".lsf-choice")
        assert settings.task.question in browser.find_element(By.TAG_NAME, "body").text
        for choice, key in hotkeys(choices).items():
            ActionChains(browser).send_keys(key).perform()
            wait_for(lambda: chosen() == [choice])  # noqa: B023 - it is waited for here
        wanted = "3" if settings is DIGITS else "ham & <eggs>"
        ActionChains(browser).send_keys(hotkeys(choices)[wanted]).perform()
        see("button[data-testid=bottombar-submit-button]").click()
        answers = wait_for(lambda: list(backend.collect()))  # noqa: B023 - it is waited for here
        assert [(answer.ask, answer.person, read_result(answer.raw)) for answer in answers] == [
            (ask.id, studio.user, [wanted])
        ]
        assert (answers[0].lead_time_s or 0) > 0


SEVERAL = TaskSettings(kind="multi_label", classes=("politics", "sports", "arts"), question="Which topics are there?")
HEIGHT = TaskSettings(kind="number", bounds=(0.0, 10.0), step=0.5, unit="m", question="How high is it?")


@pytest.mark.studio
@pytest.mark.browser
def test_people_give_several_labels_or_a_number_in_the_labelling_page(studio: LocalStudio, browser: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.ui import WebDriverWait

    def see(selector: str, by: str = By.CSS_SELECTOR) -> Any:
        return WebDriverWait(browser, 30).until(expected.element_to_be_clickable((by, selector)))

    log_in(browser, studio)
    for task, label in ((SEVERAL, '["politics", "arts"]'), (HEIGHT, "3.5")):
        settings = replace(WORDS, name=task.kind, task=task)
        backend = LabelStudio(studio.url, token=studio.token)
        backend.create_project(settings, marker=f"browser {task.kind} {time.time_ns()}")
        backend.publish([Publication(Ask(f"ask-{task.kind}", 0, Purpose.POOL, AskState.SENDING), {"text": "hello"})])
        browser.get(f"{backend.project_url}/data")
        see("//button[contains(., 'Label All Tasks')]", By.XPATH).click()
        see(".lsf-choice")
        assert task.question in browser.find_element(By.TAG_NAME, "body").text
        if task.kind == "number":
            see("input[type=number]").send_keys("3.5")
        else:
            keys = hotkeys([*task.classes, NONE, UNSURE, BROKEN])
            ActionChains(browser).send_keys(keys["politics"]).send_keys(keys["arts"]).perform()
        see("button[data-testid=bottombar-submit-button]").click()
        (answer,) = WebDriverWait(browser, 30, 0.05).until(lambda _: list(backend.collect()))  # noqa: B023
        assert make_task(task).read(read_result(answer.raw)).label == label
