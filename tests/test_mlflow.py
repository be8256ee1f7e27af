"""MLflow sees what the dashboard shows, once, and the loop never notices: against a real tracking server."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from loops import open_loop, oracle, run_to_end, settings, write_points

import active_loop
from active_loop import errand
from active_loop.cli import main
from active_loop.config import read_settings, write_settings
from active_loop.domain import Split, Stopped
from active_loop.errors import ConfigError, FolderBusyError, TrackingError
from active_loop.loop import Loop
from active_loop.report import status
from active_loop.session import Notice, session
from active_loop.settings import Settings
from active_loop.store import FolderLock, Store
from active_loop.takeaway import take_away
from active_loop.tracked import certificate
from active_loop.tracking import bring_up_to_date, register

pytestmark = pytest.mark.process

PERSON = "anna.schmidt@example.org"


@dataclass(frozen=True)
class Place:
    """A tracking server of the tests' own, and the folder in which it keeps everything."""

    uri: str
    folder: Path

    def kept(self) -> bytes:
        """All that it was ever sent and kept."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A real server, of the smaller of MLflow's packages: its application, over HTTP, on SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'kept.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    }
    command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "mlflow.server:app"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **told}, stdout=log, stderr=log, cwd=folder)
    try:
        uri = f"http://127.0.0.1:{port}"
        _await(uri, server, folder / "log")
        yield Place(uri, folder)
    finally:
        server.kill()
        server.wait()


def _await(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            assert answer.status == 200
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for MLflow stays in its test."""
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def asked(place: Place | str, folder: Path, **more: Any) -> Settings:
    """A loop with an experiment of its own on the server, written to its folder."""
    uri = place if isinstance(place, str) else place.uri
    tracking = {"uri": uri, "experiment": folder.name, "register": f"model of {folder.name}"}
    told = settings(mlflow=tracking, query={"retrain_every": 20}, **more)
    write_settings(told, folder / "loop.toml")
    return told


def started(folder: Path, told: Settings, labels: list[str], n_rounds: int) -> Loop:
    """A loop that has ranked so many rounds, and whose answers are one person's."""
    loop = open_loop(folder, oracle(labels, person=PERSON, per_collect=5), told)
    while sum(round_.ranked_at is not None for round_ in loop.store.rounds()) < n_rounds:
        assert not isinstance(loop.step(), Stopped)
    return loop


def runs(told: Settings) -> dict[int, Any]:
    """The runs of the experiment by round; there may be one of each only."""
    import mlflow

    client = mlflow.MlflowClient(told.mlflow.uri)
    experiment = client.get_experiment_by_name(told.mlflow.experiment)
    found = client.search_runs([experiment.experiment_id])
    numbers = [int(run.data.tags["active_loop.round"]) for run in found]
    assert len(numbers) == len(set(numbers))
    return dict(zip(numbers, found, strict=True))


def test_every_round_is_one_run_with_its_figures_and_doing_it_again_adds_nothing(place: Place, tmp_path: Path) -> None:
    told, labels = asked(place, tmp_path), write_points(tmp_path)
    loop = started(tmp_path, told, labels, 4)
    first = bring_up_to_date(loop.store, told, tmp_path)
    assert (first.made, first.completed, first.n_rounds, first.problem) == ((-1, 0, 1, 2), (), 4, "")
    before = runs(told)
    assert set(before) == {-1, 0, 1, 2}
    assert isinstance(run_to_end(loop), Stopped)
    assert bring_up_to_date(loop.store, told, tmp_path).made == tuple(range(3, len(loop.store.rounds()) - 1))
    again = bring_up_to_date(loop.store, told, tmp_path)
    assert (again.made, again.completed) == ((), ())
    after = runs(told)
    assert set(after) == {round_.number for round_ in loop.store.rounds()}
    assert all(after[number].info.run_id == run.info.run_id for number, run in before.items())
    for round_ in loop.store.rounds():
        run = after[round_.number]
        assert run.info.status == "FINISHED"
        assert run.info.start_time == int(1000 * round_.opened_at.timestamp())  # type: ignore[union-attr]
        assert run.info.end_time == int(1000 * round_.ranked_at.timestamp())  # type: ignore[union-attr]
        assert run.data.params["data_version"] == round_.record["data_version"]
        assert run.data.params["features"] == round_.record["features"]
        assert run.data.params["library.numpy"] == round_.record["libraries"]["numpy"]
        assert run.data.metrics["n_labels"] == round_.record["n_labels"]


def test_the_scores_and_looks_are_those_of_the_dashboard(place: Place, tmp_path: Path) -> None:
    told, labels = asked(place, tmp_path), write_points(tmp_path)
    loop = open_loop(tmp_path, oracle(labels, per_collect=5), told)
    seen = 0
    while not isinstance(loop.step(), Stopped):
        if len(loop.store.scores()) > seen:
            seen = len(loop.store.scores())
            bring_up_to_date(loop.store, told, tmp_path)
    assert seen
    bring_up_to_date(loop.store, told, tmp_path)
    found, now = runs(told), status(loop.store)
    scored = [point for point in now.curve if point.value is not None]
    assert scored
    for point in now.curve:
        shown = found[point.round].data.metrics
        told_of = (shown.get("accuracy"), shown.get("accuracy.low"), shown.get("accuracy.high"))
        assert told_of == (point.value, point.low, point.high)
        assert shown.get("n_test", 0) == point.n_test
        assert shown["answers"] == point.answers
    assert now.looks
    for look in {look.round: look for look in now.looks}.values():
        run = found[look.round].data
        assert run.tags["active_loop.verdict"] == look.verdict
        assert (run.metrics["look.bound"], run.metrics["look.n"]) == (look.bound, look.n)
    last = found[max(found)].data
    assert last.tags["active_loop.stopped"] == loop.store.events("stopped")[-1].body["reason"]


def test_no_item_no_person_and_no_seed_is_sent_while_the_loop_runs(place: Place, tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    with (tmp_path / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["x", "y", "note"])
        writer.writeheader()
        writer.writerows({**row, "note": f"zebra{number:04d}"} for number, row in enumerate(rows))
    columns = {"show": ("x", "y", "note"), "use": ("x", "y", "note")}
    seed = 918273645
    told = asked(place, tmp_path, data=columns, people={"annotators": (PERSON,)}, seed=seed)
    loop = started(tmp_path, told, labels, 4)
    bring_up_to_date(loop.store, told, tmp_path)
    sent = place.kept()
    assert loop.store.rounds()[-1].record["features"].encode() in sent  # it is what was sent that is searched
    items = loop.store.items()
    assert any(item.split == Split.TEST for item in items)
    secret = [PERSON, str(seed), *(item.id for item in items), "zebra"]
    secret += [ask.id for ask in loop.store.asks()]
    assert [text for text in secret if text.encode() in sent] == []
    run_to_end(loop)
    bring_up_to_date(loop.store, told, tmp_path)
    sent = place.kept()
    assert [text for text in secret if text.encode() in sent] == [str(seed)]
    assert {run.data.params["seed"] for run in runs(told).values()} == {str(seed)}


def test_the_trials_of_a_search_are_there_with_their_losses(place: Place, tmp_path: Path) -> None:
    told = asked(place, tmp_path, model={"use": "auto", "seconds": 0.3, "candidates": ("logistic",)})
    loop = started(tmp_path, told, write_points(tmp_path), 2)
    bring_up_to_date(loop.store, told, tmp_path)
    (round_,) = (round_ for round_ in loop.store.rounds() if round_.number == 0)
    run = runs(told)[0].data
    assert run.params["chosen"] == round_.record["chosen"]
    losses = [trial["loss"] for trial in round_.record["trials"] if trial["loss"] is not None]
    assert losses
    assert sorted(value for name, value in run.metrics.items() if name.startswith("loss ")) == sorted(losses)


def test_a_kill_between_any_two_calls_leaves_nothing_that_the_next_attempt_does_not_make_good(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    told = asked(place, tmp_path)
    loop = started(tmp_path, told, write_points(tmp_path), 3)
    calls = ("create_experiment", "create_run", "log_text", "log_batch", "set_terminated")
    for name in calls * 2:
        with monkeypatch.context() as patched:
            patched.setattr(mlflow.MlflowClient, name, _killed(getattr(mlflow.MlflowClient, name)))
            with suppress(KeyboardInterrupt):
                bring_up_to_date(loop.store, told, tmp_path)
    bring_up_to_date(loop.store, told, tmp_path)
    found = runs(told)
    assert set(found) == {-1, 0, 1}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert all(run.data.metrics["n_labels"] >= 0 and "active_loop.record" in run.data.tags for run in found.values())


def _killed(call: Any) -> Any:
    """The call, right after which the process dies."""

    def dies(*given: Any, **named: Any) -> Any:
        call(*given, **named)
        raise KeyboardInterrupt

    return dies


def test_a_run_that_was_deleted_stays_deleted_and_two_do_not_do_it_at_once(place: Place, tmp_path: Path) -> None:
    import mlflow

    told = asked(place, tmp_path)
    loop = started(tmp_path, told, write_points(tmp_path), 3)
    bring_up_to_date(loop.store, told, tmp_path)
    client = mlflow.MlflowClient(place.uri)
    client.delete_run(runs(told)[0].info.run_id)
    assert bring_up_to_date(loop.store, told, tmp_path).made == ()
    assert set(runs(told)) == {-1, 1}
    with FolderLock(tmp_path, "mlflow.lock"), pytest.raises(FolderBusyError, match="is telling MLflow of the loop"):
        bring_up_to_date(loop.store, told, tmp_path)
    client.delete_experiment(client.get_experiment_by_name(tmp_path.name).experiment_id)
    with pytest.raises(TrackingError, match="was deleted in MLflow: restore it there"):
        bring_up_to_date(loop.store, told, tmp_path)


# the settings and the command


@pytest.mark.parametrize(
    "uri", ["http://anna:pw@host", "https://token@host:5000", "postgresql://a:pw@h/db", "http://h?token=pw"]
)
def test_an_address_with_a_secret_in_it_is_refused_and_not_repeated(tmp_path: Path, uri: str) -> None:
    asked("http://h", tmp_path)
    _rewritten(tmp_path / "loop.toml", '"http://h"', f'"{uri}"')
    with pytest.raises(
        ConfigError, match=r"line \d+: mlflow\.uri holds .* set MLFLOW_TRACKING_USERNAME and"
    ) as refused:
        read_settings(tmp_path / "loop.toml")
    assert "pw" not in str(refused.value)
    assert "token@" not in str(refused.value)


def _rewritten(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_what_cannot_be_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = asked("http://127.0.0.1:9", tmp_path)
    loop = started(tmp_path, told, write_points(tmp_path), 2)
    done = CliRunner().invoke(main, ["mlflow", str(tmp_path)])
    assert done.exit_code == 11
    assert done.output.startswith("active-loop: MLflow at http://127.0.0.1:9 cannot be told: ")
    assert done.output.count("\n") == 1
    with pytest.raises(ConfigError, match=r"mlflow\.uri is empty: set it to"):
        bring_up_to_date(loop.store, replace(told, mlflow=replace(told.mlflow, uri="")), tmp_path)
    with pytest.raises(ConfigError, match=r"mlflow\.register is empty: set it to"):
        register(loop.store, replace(told, mlflow=replace(told.mlflow, register="")), tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r'run `pip install "active-loop\[mlflow\]"`'):
        bring_up_to_date(loop.store, told, tmp_path)
    _rewritten(tmp_path / "loop.toml", f'"{told.mlflow.register}"', '"a/b"')
    with pytest.raises(ConfigError, match=r'register is "a/b": a registered model has no / in its name'):
        read_settings(tmp_path / "loop.toml")


# while a loop runs


def run(folder: Path, told: Settings, labels: list[str]) -> list[Any]:
    """All that was said of a whole session."""
    heard: list[Any] = []
    with session(folder, told, heard.append, backend=oracle(labels), dashboard=False, inline=True) as made:
        made.run(heard.append)
    return heard


def notices(heard: list[Any]) -> list[str]:
    return [news.text for news in heard if isinstance(news, Notice)]


def test_a_server_that_is_down_is_said_once_and_a_later_session_tells_all(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errand, "AT_THE_END_S", 300.0)
    labels = write_points(tmp_path)
    with closing(socket.socket()) as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        heard = run(tmp_path, asked(f"http://127.0.0.1:{nobody.getsockname()[1]}", tmp_path), labels)
    (said,) = notices(heard)
    assert said.startswith("MLflow at http://127.0.0.1:")
    assert said.endswith("The loop goes on, and MLflow is told later.")
    assert any(isinstance(news, Stopped) for news in heard)
    told = asked(place, tmp_path)
    assert notices(run(tmp_path, told, labels)) == []
    found = runs(told)
    with closing(Store(tmp_path / "loop.db", readonly=True)) as store:
        assert set(found) == {round_.number for round_ in store.rounds()}
        assert found[max(found)].data.tags["active_loop.stopped"] == store.events("stopped")[-1].body["reason"]


def test_a_server_that_hangs_is_left_after_a_moment_and_its_process_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errand, "AT_THE_END_S", 0.5)
    labels = write_points(tmp_path)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        heard = run(tmp_path, asked(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path), labels)
    assert notices(heard) == [
        "MLflow was not told of everything within 0 s. The loop goes on, and MLflow is told later."
    ]
    with FolderLock(tmp_path, "mlflow.lock"), FolderLock(tmp_path):  # neither is held by what was left behind
        assert any(isinstance(news, Stopped) for news in heard)


# the model


CALLS = """
import socket, sys
from active_loop.cli import main
connect, called = socket.socket.connect, set()
def heard(own, address):
    called.add(address)
    connect(own, address)
socket.socket.connect = heard
try:
    main(["mlflow", sys.argv[1], "--model", "--json"])
finally:
    print(*sorted("%s:%d" % address for address in called))
"""


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # of MLflow's own, 3.17
def test_the_registered_model_predicts_as_the_file_is_registered_once_and_nobody_else_is_called(
    place: Place, tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    told, labels = asked(place, tmp_path), write_points(tmp_path)
    loop = started(tmp_path, told, labels, 3)
    # Without what tells MLflow that this is a test, for which it would not report how it is used.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CI", "GITHUB"))}
    done = subprocess.run([sys.executable, "-c", CALLS, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, called = done.stdout.rsplit("}", 1)
    assert json.loads(said + "}")["made"] == [-1, 0, 1]
    assert called.split() == [place.uri.removeprefix("http://")]
    client, name = mlflow.MlflowClient(place.uri, place.uri), told.mlflow.register
    version = client.get_model_version(name, "1")
    taken = take_away(loop.store, tmp_path, tmp_path / "model.skops")
    assert version.tags == certificate(loop.store, taken.about)
    assert version.tags["active_loop.verdict"] == "not tested"
    # A column of whole numbers, one of decimals, and one that the model does not know.
    rows = pd.read_csv(tmp_path / "points.csv").assign(x=lambda frame: frame.x.round().astype(int), more="a")
    expected = active_loop.load_model(tmp_path / "model.skops").predict(rows)
    mlflow.set_tracking_uri(place.uri)
    try:
        opened = mlflow.pyfunc.load_model(f"models:/{name}/1")
    finally:
        mlflow.set_tracking_uri(None)
    pd.testing.assert_frame_equal(opened.predict(rows), expected)
    assert [column.name for column in opened.metadata.signature.inputs] == ["x", "y"]
    assert [column.name for column in opened.metadata.signature.outputs] == [*expected.columns]
    assert not register(loop.store, told, tmp_path).new
    run_to_end(loop)
    bring_up_to_date(loop.store, told, tmp_path)
    assert [register(loop.store, told, tmp_path).new for _ in range(2)] == [True, False]
    last, look = client.get_model_version(name, "2"), loop.store.looks()[-1]
    assert last.tags["active_loop.verdict"] == look.verdict == "certified"
    assert float(last.tags["active_loop.target"]) == look.target
    assert len(client.search_model_versions(f"name='{name}'")) == 2
