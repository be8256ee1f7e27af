"""A round fitted again from its row is the same, or it is said what differs; and the history as a command."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import carried
import loops
import numpy as np
import pytest
from click.testing import CliRunner

from active_loop.cli import main
from active_loop.errors import ConfigError
from active_loop.labeling import Oracle, Publication
from active_loop.predictions import Predictions
from active_loop.reproduction import reproduce
from active_loop.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    carried.run(folder, "committee")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A loop that has stopped; each test may break its own."""
    shutil.copytree(made, tmp_path / "loop")
    return tmp_path / "loop"


def test_every_round_is_the_same_when_it_is_fitted_again(folder: Path) -> None:
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        before = store.data_version()
        found = [reproduce(store, folder, round_.number) for round_ in store.rounds()]
        assert store.data_version() == before
    assert len(found) > 3
    assert [each.differences for each in found] == [()] * len(found)
    assert all("what it predicted" in each.compared for each in found[1:])


class Forgetful(Oracle):
    """Never answers about some items to learn from: these asks are withdrawn when the loop has stopped."""

    def publish(self, publications: Sequence[Publication]) -> None:
        super().publish([each for each in publications if (each.ask.round or 0) < 1 or int(each.row) % 9])


def test_what_was_withdrawn_at_the_end_could_not_be_chosen_before(tmp_path: Path) -> None:
    loop = loops.open_loop(tmp_path, Forgetful(loops.write_points(tmp_path)))
    loops.run_to_end(loop)
    last = loop.store.rounds()[-1]
    assert loop.store.withdrawn(last.ask_position), "some asks should have been open when the last round began"
    assert [reproduce(loop.store, tmp_path, each.number).differences for each in loop.store.rounds()[-3:]] == [()] * 3
    loop.store.close()


def test_without_the_cache_the_recorded_ranking_is_compared(folder: Path) -> None:
    shutil.rmtree(folder / "cache")
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        found = reproduce(store, folder, 1)
    assert found.same
    assert found.compared == ("what it chose",)


def test_a_prediction_that_differs_in_its_last_bit_is_told(folder: Path) -> None:
    kept = Predictions(folder / "cache" / "rounds")
    found = kept.find(1)
    assert found is not None
    test, sample = found
    test[3, 0] = np.nextafter(test[3, 0], 2)
    kept.keep(1, test, sample)
    done = CliRunner().invoke(main, ["reproduce", str(folder), "1"])
    assert done.exit_code == 3
    assert "differ in 1 of" in done.output


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE ask SET utility = utility + 1e-9 WHERE round = 1 AND rank = 0", "utilities that differ by 1e-09"),
        ("UPDATE round SET annotation_position = annotation_position - 9 WHERE number = 1", "the data it learned from"),
    ],
)
def test_a_record_that_was_tampered_with_is_told(folder: Path, sql: str, said: str) -> None:
    with closing(sqlite3.connect(folder / "loop.db")) as db:
        db.execute(sql)
        db.commit()
    done = CliRunner().invoke(main, ["reproduce", str(folder), "1"])
    assert done.exit_code == 3
    assert said in done.output


def test_other_libraries_than_those_recorded_are_named(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "loop.db")) as db:
        db.execute("UPDATE round SET record = json_set(record, '$.libraries.scipy', '0.9')")
        db.commit()
    done = CliRunner().invoke(main, ["reproduce", str(folder), "1", "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [name for name, _, _ in told["libraries"]] == ["scipy"]


def test_a_round_that_there_is_not_is_refused_with_those_there_are(folder: Path) -> None:
    with closing(Store(folder / "loop.db", readonly=True)) as store, pytest.raises(ConfigError, match="-1 to "):
        reproduce(store, folder, 99)


# the history


def test_the_history_is_told_newest_last_and_as_json(folder: Path) -> None:
    told = CliRunner().invoke(main, ["history", str(folder)]).output.splitlines()
    found = json.loads(CliRunner().invoke(main, ["history", str(folder), "--json"]).stdout)
    assert "The loop was created" in told[0]
    assert len(told) == len(found["entries"])
    assert [each["at"] for each in found["entries"]] == sorted(each["at"] for each in found["entries"])
    assert found["rounds"]
    assert found["looks"]


@pytest.mark.parametrize("kind", ["rounds", "looks", "settings"])
def test_one_kind_of_entry_can_be_had_alone(folder: Path, kind: str) -> None:
    found = json.loads(CliRunner().invoke(main, ["history", str(folder), f"--{kind}", "--json"]).stdout)
    assert {each["kind"] for each in found["entries"]} == {kind}
    assert CliRunner().invoke(main, ["history", str(folder), f"--{kind}"]).output.strip()
