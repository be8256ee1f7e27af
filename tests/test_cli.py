"""The commands as people type them: one clear sentence for what is wrong, a code of its own, and nothing lost."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from loops import settings, write_points

from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.local_studio import LocalStudio
from active_loop.settings import Settings
from active_loop.store import FolderLock

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "active_loop.cli"]


def call(*arguments: str | Path, code: int = 0) -> Result:
    """Run a command in this process, and see that it ended as expected and without a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refusal(*arguments: str | Path, code: int) -> str:
    """The one line that a refused command leaves on standard error; standard output stays empty."""
    result = call(*arguments, code=code)
    assert result.stdout == ""
    assert result.stderr.startswith("active-loop: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def a_loop(folder: Path, told: Settings | None = None, *, labels: bool = False) -> Path:
    """A loop folder over points.csv, which has a column of labels if wanted; answered at the terminal."""
    folder.mkdir(exist_ok=True)
    answers = write_points(folder)
    if labels:
        lines = (folder / "points.csv").read_text().splitlines()
        rows = [f"{line},{answer}" for line, answer in zip(lines, ["label", *answers], strict=True)]
        (folder / "points.csv").write_text("\n".join(rows) + "\n")
    told = told or settings(labeling={"backend": "terminal"}, server={"port": 0})
    write_settings(told, folder / "loop.toml")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_loop(tmp_path / "loop")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop that was simulated to its end, and kept."""
    place = a_loop(tmp_path_factory.mktemp("finished") / "loop", labels=True)
    call("simulate", place, "--answers", "label", "--keep", place.parent / "kept")
    return place.parent / "kept"


# what is said about the commands


def test_help_imports_nothing_heavy() -> None:
    """What makes it come in less than half a second."""
    program = (
        "import sys; from active_loop.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"numpy", "scipy", "sklearn", "pandas", "pyarrow", "rich", "flask", "label_studio_sdk", "httpx", "sqlite3"}
    assert "simulate" in done.stdout
    assert not heavy & set(done.stdout.split())


def test_the_page_of_commands_is_up_to_date() -> None:
    script = ROOT / "scripts" / "commands_page.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_option_and_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name, command in main.commands.items():
        assert f"## {name}\n" in page
        assert command.help
        for option in command.params:
            if option.param_type_name == "option":
                assert getattr(option, "help", None), f"{name} {option.opts[0]} says nothing"
                assert option.opts[0] in page
    codes = {error.exit_code for error in _errors()} | {0, 3, 130}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


def _errors() -> Iterator[Any]:
    from active_loop.errors import ActiveLoopError

    waiting: list[type[ActiveLoopError]] = [ActiveLoopError]
    while waiting:
        yield waiting[-1]
        waiting.extend(waiting.pop().__subclasses__())


def test_every_key_of_loop_toml_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for section in dataclasses.fields(Settings):
        part = getattr(Settings(), section.name)
        keys = [key.name for key in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else [section.name]
        assert all(f"| `{key}` |" in page for key in keys)


# bad input


def test_a_folder_without_settings_names_the_command_that_writes_them(tmp_path: Path) -> None:
    for command in ("import", "run", "simulate"):
        assert "`active-loop init` writes one" in refusal(command, tmp_path / "none", code=2)
    for command in ("status", "export", "serve"):
        assert "no loop was started" in refusal(command, tmp_path / "none", code=8)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        (lambda place: (place / "points.csv").unlink(), 5, "cannot find points.csv"),
        (lambda place: (place / "points.csv").write_bytes(b""), 5, "points.csv is empty"),
        (lambda place: (place / "points.csv").rename(place / "points.pdf"), 5, "cannot find points.csv"),
        (lambda place: edit(place, 'show = ["x", "y"]', 'show = ["x", "yy"]'), 5, 'did you mean "y"?'),
        (lambda place: edit(place, 'answer = ""', 'answer = "labl"'), 5, 'no column "labl"'),
        (lambda place: edit(place, '"red", "green", "blue"', '"red"'), 2, "at least two different classes"),
        (lambda place: edit(place, "strategy =", "stratgy ="), 2, 'did you mean "strategy"?'),
        (lambda place: edit(place, "[budget]", "[budget"), 2, "loop.toml, line"),
        (lambda place: edit(place, "answers = 90", "answers = 20"), 2, "raise the budget"),
    ],
)
@pytest.mark.parametrize("command", ["import", "run"])
def test_bad_input_is_one_sentence_with_its_code_and_changes_nothing(
    folder: Path, changed: Callable[[Path], object], code: int, message: str, command: str
) -> None:
    changed(folder)
    before = contents(folder)
    assert message in refusal(command, folder, code=code)
    assert contents(folder) == before


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "loop.toml").read_text()
    assert old in text
    (folder / "loop.toml").write_text(text.replace(old, new))


def test_a_file_with_a_header_only_or_with_a_broken_row_is_refused(folder: Path) -> None:
    (folder / "points.csv").write_text("x,y\n")
    assert "has no rows" in refusal("import", folder, code=5)
    (folder / "points.csv").write_text("x,y\n1,2\n1,2,3\n")
    assert "cannot read points.csv" in refusal("import", folder, code=5)
    assert json.loads(call("status", folder, "--json").stdout)["n_items"] == 0


def test_duplicates_are_merged_and_said(folder: Path) -> None:
    with (folder / "points.csv").open("a") as file:
        file.write((folder / "points.csv").read_text().partition("\n")[2])
    assert "150 items added" in call("import", folder).stdout
    assert "150 exact duplicates merged" in call("doctor", folder).stdout


def test_known_answers_outside_of_the_classes_are_refused(tmp_path: Path) -> None:
    place = a_loop(tmp_path / "loop", labels=True)
    edit(place, 'answer = ""', 'answer = "label"')
    edit(place, '"red", "green", "blue"', '"red", "green", "bleu"')
    assert '"blue"' in refusal("import", place, code=5)
    assert json.loads(call("status", place, "--json").stdout)["n_items"] == 0


def test_a_folder_of_a_newer_version_is_left_alone(folder: Path) -> None:
    call("import", folder)
    database = sqlite3.connect(folder / "loop.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    for command in ("import", "status", "export", "run"):
        assert "newer version" in refusal(command, folder, code=10)


def test_a_database_that_is_none_is_one_sentence(folder: Path) -> None:
    (folder / "loop.db").write_bytes(b"no database at all" * 100)
    for command in ("status", "import", "export"):
        assert "Restore it from a copy" in refusal(command, folder, code=8)


def test_a_second_writer_is_refused_while_readers_go_on(folder: Path) -> None:
    call("import", folder)
    with FolderLock(folder):
        for command in ("import", "run"):
            assert "another process" in refusal(command, folder, code=9)
        assert call("status", folder).stdout
        assert call("export", folder).stdout


@pytest.fixture
def closed_port() -> int:
    """A loopback port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def with_a_server(tmp_path: Path, port: int) -> Path:
    labeling = {"backend": "label-studio", "url": f"http://127.0.0.1:{port}"}
    return a_loop(tmp_path / "loop", settings(labeling=labeling, server={"port": 0}))


def test_without_a_token_nothing_is_started(tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    place = with_a_server(tmp_path, closed_port)
    before = contents(place)
    assert "LABEL_STUDIO_API_KEY is empty" in refusal("run", place, code=2)
    assert "LABEL_STUDIO_API_KEY is empty" in refusal("invite", place, code=2)
    assert contents(place) == before


def test_a_server_that_is_down_has_its_own_code(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    place = with_a_server(tmp_path, closed_port)
    result = call("run", place, code=4)
    assert result.stderr.count("\n") == 1
    assert f"cannot reach Label Studio at http://127.0.0.1:{closed_port}" in result.stderr
    assert "cannot reach" in refusal("invite", place, code=4)
    assert "✗ cannot reach" in call("doctor", place, code=1).stdout


def test_invite_and_run_say_what_they_need(folder: Path, tmp_path: Path, finished: Path) -> None:
    assert 'uses "terminal", not Label Studio' in refusal("invite", folder, code=2)
    local = a_loop(tmp_path / "local", settings(labeling={"backend": "label-studio"}))
    assert "active-loop run" in refusal("invite", local, code=4)
    oracle = a_loop(tmp_path / "oracle")
    edit(oracle, 'backend = "terminal"', 'backend = "oracle"')
    assert "active-loop simulate" in refusal("run", oracle, code=2)


def test_a_port_in_use_is_named(folder: Path) -> None:
    call("import", folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use" in refusal("serve", folder, "--port", port, code=2)


# what the commands give


def test_init_import_and_doctor_follow_each_other(tmp_path: Path) -> None:
    write_points(tmp_path)
    said = call("init", tmp_path / "loop", "--data", tmp_path / "points.csv", "--classes", "red,green,blue").stdout
    assert "Next: active-loop run" in said
    assert json.loads(call("import", tmp_path / "loop", "--json").stdout) == {"added": 150, "items": 150}
    assert json.loads(call("import", tmp_path / "loop", "--json").stdout) == {"added": 0, "items": 150}
    found = json.loads(call("doctor", tmp_path / "loop", "--json").stdout)
    assert found["ok"]
    assert all(finding["ok"] for finding in found["findings"])
    assert "never overwritten" in refusal("init", tmp_path / "loop", "--data", tmp_path / "points.csv", code=2)


def test_the_digits_are_certified_without_anybody_asked() -> None:
    told = json.loads(call("simulate", "--json").stdout)
    assert told["verdict"] == "certified"
    assert told["stopped"] == "target"
    assert told["looks"][-1]["bound"] >= 0.9
    assert told["answers"] <= 500


def test_flags_of_simulate_are_checked_like_settings(finished: Path, tmp_path: Path) -> None:
    place = finished.parent / "loop"
    answers = ("simulate", place, "--answers", "label")
    assert 'did you mean "margin"' in refusal(*answers, "--strategy", "margn", code=2)
    assert 'did you mean "logistic"' in refusal(*answers, "--model", "logistc", code=2)
    assert "raise the budget" in refusal(*answers, "--budget", "0", "--keep", tmp_path / "kept", code=2)
    assert not (tmp_path / "kept").exists()
    assert "is not empty" in refusal(*answers, "--keep", place, code=2)
    assert "--answers" in refusal("simulate", place, code=2)
    assert 'did you mean "label"' in refusal("simulate", place, "--answers", "labl", code=5)


def test_a_target_out_of_reach_ends_with_its_own_code(tmp_path: Path) -> None:
    place = a_loop(tmp_path / "loop", settings(target={"value": 0.99}), labels=True)
    result = call("simulate", place, "--answers", "label", "--budget", "60", code=3)
    assert "99" in result.stdout


def test_the_status_of_a_kept_simulation_is_read_like_any_other(finished: Path) -> None:
    assert "stopped (target)" in call("status", finished).stdout
    told = json.loads(call("status", finished, "--json").stdout)
    assert told["stopped"] == "target"
    assert told["answers"] == told["pool_answers"] + told["test_answers"]


def test_a_stopped_loop_says_so_again_without_starting_anything(tmp_path: Path, finished: Path) -> None:
    import shutil

    place = shutil.copytree(finished, tmp_path / "kept")
    edit(place, 'backend = "oracle"', 'backend = "label-studio"')
    result = call("run", place)
    assert "has stopped already" in result.stderr
    assert "Target" in result.stdout
    assert (place / "export" / "labels.csv").is_file()
    assert json.loads(call("run", place, "--json").stdout)["stopped"] == "target"


def test_export_names_who_said_what_and_how_it_was_chosen(finished: Path, tmp_path: Path) -> None:
    import pandas as pd

    told = json.loads(call("export", finished, "--out", tmp_path / "labels.csv", "--json").stdout)
    frame = pd.read_csv(tmp_path / "labels.csv")
    columns = "item row label outcome split people instructions agreement chosen_by round utility probability why"
    assert list(frame.columns) == columns.split()
    assert told == {"labels": len(frame), "file": str(tmp_path / "labels.csv"), "test_answers_held_back": False}
    assert set(frame.chosen_by) == {"kmeans", "auto", "random"}
    assert set(frame.people) == {"oracle"}
    assert frame.probability[frame.chosen_by == "random"].between(0, 1).all()
    call("export", finished, "--format", "parquet", "--out", tmp_path / "labels.parquet")
    assert len(pd.read_parquet(tmp_path / "labels.parquet")) == len(frame)
    call("export", finished, "--out", tmp_path / "labels.json")
    tasks = json.loads((tmp_path / "labels.json").read_text())
    assert len(tasks) == len(frame)
    assert {task["meta"]["label"] for task in tasks} == {"red", "green", "blue"}


def test_export_writes_no_other_format_than_the_name_says(finished: Path, tmp_path: Path) -> None:
    assert "must end in .parquet" in refusal(
        "export", finished, "--format", "parquet", "--out", tmp_path / "a.csv", code=2
    )
    assert "must end in" in refusal("export", finished, "--out", tmp_path / "a.txt", code=2)
    (tmp_path / "file").touch()
    assert "cannot write" in refusal("export", finished, "--out", tmp_path / "file" / "a.csv", code=8)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# real processes


@contextmanager
def running(*arguments: str | Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, whose end is nobody's business any more at the end of the block."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def questions(process: subprocess.Popen[str], *answers: str, within_s: float = 60.0) -> str:
    """Answer what the terminal asks, one after another, and wait for the next question; returns all that was said."""
    assert process.stderr is not None
    assert process.stdin is not None
    said, waiting = "", list(answers)
    end = time.monotonic() + within_s
    while True:
        assert select.select([process.stderr], [], [], max(0.0, end - time.monotonic()))[0], said
        part = os.read(process.stderr.fileno(), 65536).decode()
        assert part, said
        said += part
        if said.endswith("q leaves) > "):
            if not waiting:
                return said
            process.stdin.write(waiting.pop(0) + "\n")
            process.stdin.flush()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end_pauses_and_the_same_command_goes_on(folder: Path, number: signal.Signals) -> None:
    with running("run", folder) as first:
        questions(first, "red", "2", "purple")
        assert "another process" in refusal("run", folder, code=9)
        first.send_signal(number)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 130
    assert said == "paused; the same command continues.\n"
    assert json.loads(call("status", folder, "--json").stdout)["answers"] == 2
    with running("run", folder, "--json") as second:
        questions(second, "b")
        out, said = second.communicate("q\n", timeout=60)
    assert (second.returncode, out) == (130, "")
    assert json.loads(call("status", folder, "--json").stdout)["answers"] == 3


def test_a_run_that_is_interrupted_while_it_starts_pauses_too(folder: Path) -> None:
    with running("run", folder) as process:
        while not (folder / "loop.lock").exists() and process.poll() is None:
            select.select([], [], [], 0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("paused; the same command continues.\n")
    assert "Traceback" not in said


def test_an_interrupt_while_a_class_is_made_pauses_with_the_same_code(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text(
        "from active_loop.cli import main\n"
        "@main.command()\n"
        "def early():\n"
        "    exec('raise KeyboardInterrupt')\n"
        "main(['early'])\n"
    )
    ended = subprocess.run([sys.executable, "-m", "early"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "paused; the same command continues.\n")


@pytest.mark.studio
def test_a_folder_named_from_here_starts_its_own_label_studio_which_ends_with_the_run(
    tmp_path: Path, studio: LocalStudio
) -> None:
    a_loop(tmp_path / "loop", settings(labeling={"backend": "label-studio"}, server={"port": 0}))
    note = tmp_path / "loop" / "label-studio" / "server.json"
    with running("run", "loop", cwd=tmp_path) as process:
        while not note.exists() and process.poll() is None:
            select.select([], [], [], 0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert LocalStudio.running(tmp_path / "loop") is None


def test_a_run_fed_from_a_pipe_ends_with_one_json_object(tmp_path: Path) -> None:
    place = a_loop(
        tmp_path / "loop", settings(labeling={"backend": "terminal"}, server={"port": 0}, budget={"answers": 50})
    )
    call("import", place)
    with running("run", place, "--json") as process:
        out, said = process.communicate("1\n2\n" * 40, timeout=100)
    assert process.returncode == 3, said
    told = json.loads(out)
    assert (told["stopped"], told["answers"]) == ("budget", 50)
    assert "Traceback" not in said
    assert (place / "export" / "labels.csv").is_file()
