"""What several tests stand on: one real Label Studio and one real browser per process that runs tests.

A test that needs one of them is skipped where it is not installed, and fails where the variable CI is set: there
nothing may be left out. Heavy imports stay inside the fixtures, so that tests without them start at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from studios import Host, Proxy

    from active_loop.local_studio import LocalStudio

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)


_SLOW = ("studio", "browser", "process")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the files, those that start servers come first: so all end at about the same time."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if any(item.get_closest_marker(name) for name in _SLOW)}
        items.sort(key=lambda item: item.path not in slow)


def _without(what: str) -> None:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and in CI no test may be left out")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images that the studio may serve: 0.png … 9.png, and one with a difficult name."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("documents") / "images"
    (folder / "a b").mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (60, 60), (25 * number, 40, 90)).save(folder / f"{number}.png")
    Image.new("RGB", (60, 60), (200, 0, 0)).save(folder / "a b" / "1+1 & é.png")
    return folder


@pytest.fixture(scope="session")
def label_studio_installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For tests that start a Label Studio themselves: it is there, and its empty database is built.

    Building takes most of a minute, so of the processes that run tests one does it and the others wait.
    """
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    executable = shutil.which("label-studio", path=places)
    if executable is None:
        _without("label-studio")
    from active_loop import local_studio

    kept = local_studio._template(Path(executable or ""))
    with (tmp_path_factory.getbasetemp().parent / "label-studio.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if kept is not None and not kept.exists():
            local_studio.LocalStudio.start(tmp_path_factory.mktemp("first")).stop()


@pytest.fixture(scope="session")
def studio(
    tmp_path_factory: pytest.TempPathFactory, image_root: Path, label_studio_installed: None
) -> Iterator[LocalStudio]:
    """A real Label Studio, started once per process that runs tests; every test makes its own project there."""
    from active_loop.local_studio import LocalStudio

    with LocalStudio.start(tmp_path_factory.mktemp("studio"), image_root) as started:
        yield started


@pytest.fixture(scope="session")
def host(studio: LocalStudio) -> Host:
    """Calls of programs around us, straight to the server."""
    from studios import Host

    return Host(studio)


@pytest.fixture(scope="session")
def second(studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Token of a second person, who came by the invitation link."""
    from active_loop.expert import account
    from active_loop.label_studio import LabelStudio

    link = LabelStudio(studio.url, token=studio.token).invite_link()
    return account(tmp_path_factory.mktemp("expert") / "expert.json", link, url=studio.url)


@pytest.fixture
def proxy(studio: LocalStudio) -> Iterator[Proxy]:
    """A real proxy before the server."""
    from studios import Proxy

    opened = Proxy(studio.url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Chromium without a window, driven by selenium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        _without("chromium or chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium or ""
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()
