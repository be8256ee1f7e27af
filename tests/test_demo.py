"""The main job as its user runs it: a real Label Studio, an expert who answers there, killed and taken up again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from active_loop.domain import AskState, Purpose
from active_loop.local_studio import LocalStudio
from active_loop.store import Store

pytestmark = pytest.mark.studio


def start(folder: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "active_loop.cli", "demo", "--folder", str(folder), "--json", *flags]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ACTIVE_LOOP_TEST": str(folder)},
    )


def left_running(folder: Path) -> list[str]:
    """Processes that carry this test's mark: everything that a run started, wherever it went."""
    mark = f"ACTIVE_LOOP_TEST={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marked or (str(folder) in command and int(process.name) != os.getpid()):
            found.append(command)
    return found


def answered(folder: Path) -> int:
    if not (folder / "loop.db").is_file():
        return 0
    store = Store(folder / "loop.db", readonly=True)
    try:
        return store.annotation_position()
    finally:
        store.close()


def wait_for(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.2)  # there is nothing to be notified by: the run is another process


@pytest.fixture
def folder(tmp_path: Path, label_studio_installed: None) -> Path:
    return tmp_path / "demo"


def test_the_demo_certifies_its_target_though_it_is_killed_and_interrupted_on_the_way(folder: Path) -> None:
    first = start(folder)
    wait_for(lambda: first.poll() is not None or answered(folder) >= 30, 240)
    first.send_signal(signal.SIGKILL)
    _, told = first.communicate(timeout=30)
    assert first.returncode == -signal.SIGKILL, told
    wait_for(lambda: not left_running(folder), 30)

    second = start(folder)
    before = answered(folder)
    wait_for(lambda: second.poll() is not None or answered(folder) >= before + 30, 120)
    second.send_signal(signal.SIGTERM)
    _, told = second.communicate(timeout=60)
    assert second.returncode == 130, told
    assert "the same command continues" in told
    wait_for(lambda: not left_running(folder), 10)

    third = start(folder)
    before = answered(folder)
    wait_for(lambda: third.poll() is not None or answered(folder) >= before + 30, 120)
    server = LocalStudio.running(folder)
    assert server is not None
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)  # the run starts it again
    said, told = third.communicate(timeout=300)
    assert third.returncode == 0, told
    wait_for(lambda: not left_running(folder), 10)

    summary = json.loads(said)
    assert summary["verdict"] == "certified"
    assert summary["answers"] <= 500
    assert summary["random"]["labels"] > summary["n_labels"]
    check_store(folder, n_test=200)
    check_export(folder, summary)

    cleaning = start(folder, "--clean")
    cleaning.communicate(timeout=60)
    assert cleaning.returncode == 0
    assert not folder.exists()


def check_store(folder: Path, n_test: int) -> None:
    """Every ask once, every task once, every answer once: whatever happened on the way."""
    store = Store(folder / "loop.db", readonly=True)
    asks = store.asks()
    assert len({ask.item for ask in asks}) == len(asks)
    assert all(ask.state in (AskState.OPEN, AskState.RETIRED) for ask in asks)
    live = [task.ask for task in store.tasks()]
    assert sorted(live) == sorted(ask.id for ask in asks), "one task for every ask"
    annotations = store.annotations()
    answered_asks = [a.ask for a in annotations]
    assert len(set(answered_asks)) == len(answered_asks)
    assert {a.person for a in annotations} == {"expert@loop.local"}
    (look,) = store.looks()
    assert (look.n, look.level) == (n_test, 0.025)
    splits = {item.position: item.split for item in store.items()}
    assert all((splits[ask.item] == "test") == (ask.purpose == Purpose.TEST) for ask in asks)
    store.close()


def check_export(folder: Path, summary: dict[str, Any]) -> None:
    with Path(summary["labels_file"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "data" / "answers.csv").open(newline="") as file:
        truth = [row["digit"] for row in csv.DictReader(file)]
    assert len(rows) == summary["answers"]
    assert all(row["label"] == truth[int(row["row"])] for row in rows)
    assert {row["chosen_by"] for row in rows} == {"kmeans", "auto", "random"}


def test_a_folder_that_holds_other_things_is_refused_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "something.txt").write_text("of mine")
    other = start(folder)
    _, told = other.communicate(timeout=60)
    assert other.returncode == 8
    assert "is not empty and is no demo folder" in told
    assert [path.name for path in folder.iterdir()] == ["something.txt"]
