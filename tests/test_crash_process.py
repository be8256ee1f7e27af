"""A real run whose processes are killed at random moments ends with nothing lost and nothing asked twice."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import CLASSES, open_loop, settings, write_points

from active_loop.config import write_settings
from active_loop.domain import COLD_START, AskState, Purpose, RoundState
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.settings import Settings

pytestmark = pytest.mark.process

TOLD: Settings = settings(target={"value": 0.99}, labeling={"backend": "oracle", "poll_every_s": 0.05})
KILLS = ["parent", "child"] * 4

DRIVER = """
import json, sys
from pathlib import Path

from active_loop.config import read_settings
from active_loop.labeling import Oracle
from active_loop.session import session

folder = Path(sys.argv[1])
place = Oracle(json.loads((folder / "answers.json").read_text()), per_collect=2)
with session(folder, read_settings(folder / "loop.toml"), lambda news: None, backend=place, dashboard=False) as made:
    stopped = made.run(lambda result: print(made.loop.jobs.runner.pid, type(result).__name__, flush=True))
print("ended", stopped.decision.reason, flush=True)
"""


def prepare(folder: Path) -> list[str]:
    answers = write_points(folder, n=200, spread=2.0)
    (folder / "answers.json").write_text(json.dumps(answers))
    (folder / "driver.py").write_text(DRIVER)
    write_settings(TOLD, folder / "loop.toml")
    return answers


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The driver. Its training process shares its standard error, which ends when the last of them is gone."""
    process = subprocess.Popen(
        [sys.executable, str(folder / "driver.py"), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def steps(process: subprocess.Popen[str], n: int) -> int | None:
    """Wait for n steps; the number of the training process, or None if the run ended before."""
    assert process.stdout is not None
    child = None
    for _ in range(n):
        line = process.stdout.readline()
        if not line or line.startswith("ended"):
            return None
        child = int(line.split()[0])
    return child


def storm(folder: Path, rng: np.random.Generator) -> list[str]:
    """Run the loop to its end while killing what runs it; returns who was killed, in order."""
    killed: list[str] = []
    while True:
        with started(folder) as process:
            while len(killed) < len(KILLS):
                child = steps(process, int(rng.integers(4, 12)))
                if child is None:
                    break
                select.select([], [], [], rng.uniform(0, 0.03))  # not always just after an effect
                who = KILLS[len(killed)]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid if who == "parent" else child, signal.SIGKILL)
                killed.append(who)
                if who == "parent":
                    break
            # Whoever is left behind would keep the pipe open, and this would not return.
            out, said = process.communicate(timeout=100)
            assert said == ""
            if process.returncode != -signal.SIGKILL:
                assert out.splitlines()[-1] == "ended budget"
                return killed


def rows(loop: Loop, query: str, *values: object) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(loop.store.path)
    try:
        return database.execute(query, values).fetchall()
    finally:
        database.close()


def test_killed_at_random_a_real_run_loses_nothing_and_asks_nothing_twice(tmp_path: Path) -> None:
    answers = prepare(tmp_path)
    assert storm(tmp_path, np.random.default_rng(7)) == KILLS
    loop = open_loop(tmp_path, Oracle(answers), TOLD)
    assert rows(loop, "PRAGMA integrity_check") == [("ok",)]
    nothing_was_lost(loop, answers)
    rounds_can_be_repeated(loop)
    looks_follow_the_test_order(loop, answers)
    loop.store.close()


def nothing_was_lost(loop: Loop, answers: list[str]) -> None:
    """Every ask of every batch is there once, was answered once and rightly, and the budget was spent to the end."""
    asks, annotations = loop.store.asks(), loop.store.annotations()
    assert len(asks) == TOLD.budget.answers
    assert len({ask.item for ask in asks}) == len(asks)
    assert all(ask.state == AskState.OPEN for ask in asks)
    assert loop.store.sending_batch() is None
    assert sorted(a.ask or "" for a in annotations) == sorted(ask.id for ask in asks)
    assert {a.item: json.loads(a.raw) for a in annotations} == {
        ask.item: answers[int(loop.standing.items[ask.item].row)] for ask in asks
    }
    assert len(loop.store.events("stopped")) == len(loop.store.events("imported")) == 1


def rounds_can_be_repeated(loop: Loop) -> None:
    """Fitted again from its row alone, each round trains on the same data and chooses the same items."""
    rounds = loop.store.rounds()
    assert [r.number for r in rounds] == list(range(COLD_START, COLD_START + len(rounds)))
    assert len(rounds) > 4
    for round_ in rounds:
        again = loop.jobs.of(round_).run()
        ranking = "SELECT item, utility FROM ask WHERE round = ? ORDER BY rank"
        assert round_.state == RoundState.RANKED
        assert round_.record["data_version"] == again.record["data_version"]
        assert rows(loop, ranking, round_.number) == list(
            zip(again.chosen.tolist(), again.utilities.tolist(), strict=True)
        )


def looks_follow_the_test_order(loop: Loop, answers: list[str]) -> None:
    """Each look judged the first items of the test order, with the predictions of its round."""
    looks = loop.store.looks()
    assert looks
    tested = {ask.item for ask in loop.store.asks() if ask.purpose == Purpose.TEST}
    assert tested == set(loop.standing.test_order[: len(tested)])
    for number, look in enumerate(looks, start=1):
        round_ = next(r for r in loop.store.rounds() if r.number == look.round)
        predicted = [CLASSES[code] for code in loop.jobs.of(round_, rank=False).run().test_mean.argmax(axis=1)]
        judged = loop.standing.test_order[: loop.standing.plan.m(number)]
        truth = [answers[int(loop.standing.items[item].row)] for item in judged]
        assert look.number == number
        assert {i.item: i.predicted for i in loop.store.look_items(number)} == dict(
            zip(judged, predicted, strict=False)
        )
        assert look.correct == sum(a == b for a, b in zip(truth, predicted, strict=False))
