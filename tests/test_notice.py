"""A command of the user's is told what happens, once, and never stands in the loop's way."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from loops import oracle, settings, write_points

from active_loop import notice
from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.domain import Annotation, Ask, TaskRef
from active_loop.errors import ConfigError, LabelingError, TokenError
from active_loop.labeling import LabelingBackend, Publication
from active_loop.notice import AWAY_S, LOG, Moment, Watch, deliver, events, message, program
from active_loop.session import Notice, examine, session
from active_loop.settings import Settings, check

HOUR = 3600.0


def told(*moments: Moment, after_s: float = HOUR) -> list[list[str]]:
    """The events of each moment after the first."""
    watch, found = Watch.begin(moments[0]), []
    for now in moments[1:]:
        watch, happened = events(watch, now, after_s)
        found.append(happened)
    return found


def test_that_people_are_waited_for_is_told_once_until_somebody_answers() -> None:
    quiet = [Moment(at, n_open=3, answers=5) for at in (0, 10, HOUR + 9, 2 * HOUR, 9 * HOUR)]
    assert told(Moment(0, answers=5), *quiet) == [[], [], ["waiting"], [], []]
    again = [Moment(9 * HOUR + 1, n_open=2, answers=6), Moment(10 * HOUR + 1, n_open=2, answers=6)]
    assert told(Moment(0, answers=5), *quiet, *again)[-2:] == [[], ["waiting"]]


def test_nobody_is_waited_for_where_nothing_is_open_or_the_place_is_away_or_the_loop_has_ended() -> None:
    long = [at * HOUR for at in range(1, 6)]
    assert told(Moment(0), *[Moment(at) for at in long]) == [[]] * 5
    assert told(Moment(0), *[Moment(at, n_open=2, ended=True) for at in long])[1:] == [[]] * 4
    away = [Moment(at, n_open=2, away=True) for at in long]
    assert told(Moment(0, n_open=2), *away) == [[], ["away"], [], [], []]
    assert told(Moment(0, n_open=2), *away, Moment(5 * HOUR + 9, n_open=2))[-1] == ["back"]


def test_a_place_that_is_away_for_ten_minutes_is_told_of_and_so_is_its_return() -> None:
    short = [Moment(1, away=True), Moment(AWAY_S, away=True), Moment(AWAY_S + 0.5)]
    assert told(Moment(0), *short) == [[], [], []]
    long = [Moment(1, away=True), Moment(AWAY_S + 1, away=True), Moment(2 * AWAY_S, away=True), Moment(2 * AWAY_S + 1)]
    assert told(Moment(0), *long) == [[], ["away"], [], ["back"]]
    assert told(Moment(0), *long, *[replace(each, at=each.at + HOUR) for each in long])[4:] == told(Moment(0), *long)


def test_looks_and_the_end_are_told_when_they_come_and_not_after_a_restart() -> None:
    assert told(Moment(0), Moment(1, looks=1), Moment(2, looks=1), Moment(3, looks=2, ended=True)) == [
        ["verdict"],
        [],
        ["verdict", "stopped"],
    ]
    assert told(Moment(0, looks=2, ended=True), Moment(1, looks=2, ended=True)) == [[]]


moments = st.builds(
    Moment,
    at=st.just(0.0),
    n_open=st.integers(0, 2),
    answers=st.integers(0, 2),
    looks=st.integers(0, 3),
    ended=st.booleans(),
    away=st.booleans(),
)


@given(st.lists(st.tuples(moments, st.floats(0, 2 * HOUR)), min_size=2, max_size=30))
def test_between_two_waits_somebody_answers_and_away_and_back_take_turns(steps: list[tuple[Moment, float]]) -> None:
    at, seen = 0.0, []
    for moment, passed in steps:
        at += passed
        seen.append(replace(moment, at=at))
    waited: int | None = None
    turns: list[str] = []
    for now, happened in zip(seen[1:], told(*seen), strict=True):
        turns += [event for event in happened if event in ("away", "back")]
        if "waiting" in happened:
            assert waited is None
            assert now.n_open
            waited = now.answers
        elif waited is not None and now.answers != waited:
            waited = None
    assert turns == (["away", "back"] * len(turns))[: len(turns)]


# The command itself.

KEEPER = """
import json, os, sys
said = json.load(sys.stdin)
said["variables"] = {name: value for name, value in os.environ.items() if name.startswith("ACTIVE_LOOP")}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(said) + "\\n")
print("kept", said["event"])
"""


def keeper(folder: Path) -> tuple[str, Callable[[], list[dict[str, Any]]]]:
    """A command that keeps what it is told, and what it has kept."""
    script, kept = folder / "keeper program.py", folder / "kept.jsonl"
    script.write_text(KEEPER)

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    return shlex.join([sys.executable, str(script), str(kept)]), read


def test_the_command_gets_the_event_as_json_and_as_variables_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, kept = keeper(tmp_path)
    monkeypatch.setenv("ACTIVE_LOOP_TOKEN", "secret")
    said = message("verdict", "Größe: look 1.", "sizes", tmp_path)
    assert deliver(command, tmp_path, said, frozenset({"ACTIVE_LOOP_TOKEN"})) == ""
    (heard,) = kept()
    variables = heard.pop("variables")
    assert heard == said
    assert set(said) == {"event", "text", "name", "folder", "at"}
    assert {f"ACTIVE_LOOP_{key.upper()}": value for key, value in said.items()}.items() <= variables.items()
    assert "ACTIVE_LOOP_TOKEN" not in variables
    assert "kept verdict" in (tmp_path / LOG).read_text()


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    command, kept = keeper(tmp_path)
    assert deliver(f"{command} ; touch {tmp_path}/made", tmp_path, message("test", "", "a", tmp_path)) == ""
    assert not (tmp_path / "made").exists()
    assert len(kept()) == 1


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-program --now", 'no program "no-such-program"'),
        ("./tell.sh", 'no program "./tell.sh"'),
        ("'open", "no closing quotation"),
        ("", "is empty"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_in_one_sentence(tmp_path: Path, command: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\.command") as refused:
        program(command, tmp_path)
    assert problem in str(refused.value)
    assert problem in deliver(command, tmp_path, message("test", "", "a", tmp_path))


def test_a_program_may_lie_in_the_loop_folder(tmp_path: Path) -> None:
    script = tmp_path / "tell.sh"
    script.write_text("#!/bin/sh\ncat > heard\n")
    script.chmod(0o755)
    assert deliver("./tell.sh", tmp_path, message("test", "Hello.", "a", tmp_path)) == ""
    assert json.loads((tmp_path / "heard").read_text())["text"] == "Hello."


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes")
def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice, "_LIMIT_S", 0.3)
    command = shlex.join(["sh", "-c", "sleep 600 & echo $! > pid; wait"])
    assert "had not ended after 0 s" in deliver(command, tmp_path, message("test", "", "a", tmp_path))
    child = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while _runs(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def asked(command: str, **more: Any) -> Settings:
    return settings(notify={"command": command, **more})


def run(folder: Path, told_: Settings, backend: LabelingBackend, *, hear: Callable[[Any], None] = print) -> None:
    with session(folder, told_, hear, backend=backend, dashboard=False, inline=True) as made:
        made.run(hear)


def quiet(news: object) -> None:
    """Nobody listens."""


def test_a_session_tells_its_looks_and_its_end_and_another_one_nothing(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    command, kept = keeper(tmp_path)
    run(tmp_path, asked(command), oracle(labels), hear=quiet)
    found = kept()
    assert [each["event"] for each in found][-1] == "stopped"
    assert {each["event"] for each in found} == {"verdict", "stopped"}
    assert len({each["text"] for each in found}) == len(found)
    assert all(each["name"] == "points" and each["folder"] == str(tmp_path) for each in found)
    assert found[0]["text"].startswith("points: look 1, ")
    run(tmp_path, asked(command), oracle(labels), hear=quiet)
    assert kept() == found


def test_a_command_that_fails_is_a_notice_and_the_loop_goes_on(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    heard: list[Any] = []
    command = shlex.join([sys.executable, "-c", "raise SystemExit(3)"])
    run(tmp_path, asked(command), oracle(labels), hear=heard.append)
    said = [news.text for news in heard if isinstance(news, Notice)]
    assert len(said) <= 2
    assert all(
        text == "notify.command ended with code 3; what it said is in notify.log. The loop goes on." for text in said
    )
    assert type(heard[-1]).__name__ == "Stopped" or said


class Faulty:
    """An oracle that first is away, or refuses the token."""

    def __init__(self, errors: Iterable[LabelingError]) -> None:
        self._errors = iter(errors)

    def publish(self, publications: Sequence[Publication]) -> None: ...

    def retire(self, asks: Sequence[Ask]) -> None: ...

    def tasks(self) -> Iterable[TaskRef]:
        return ()

    def collect(self) -> Iterable[Annotation]:
        error = next(self._errors, None)
        if error:
            raise error
        return ()


def test_a_refused_token_is_told_and_ends_the_run_all_the_same(tmp_path: Path) -> None:
    write_points(tmp_path)
    command, kept = keeper(tmp_path)
    with pytest.raises(TokenError):
        run(tmp_path, asked(command), Faulty([TokenError("the token is refused.")]), hear=quiet)
    assert [(each["event"], each["text"]) for each in kept()] == [("refused", "points: the token is refused.")]


def test_a_queue_that_waits_is_told_of_while_the_session_runs(tmp_path: Path) -> None:
    write_points(tmp_path)
    command, kept = keeper(tmp_path)
    told_ = replace(asked(command, after_minutes=0.0005), labeling=replace(settings().labeling, poll_every_s=0.05))
    with session(tmp_path, told_, quiet, backend=Faulty([]), dashboard=False, inline=True) as made:

        def hear(news: object) -> None:
            if kept():
                made.driver.pause()

        made.run(hear)
    (first,) = kept()
    assert first["event"] == "waiting"
    assert "tasks wait, and nobody has answered for" in first["text"]


def test_doctor_and_the_command_line_say_whether_it_can_be_run(tmp_path: Path) -> None:
    write_points(tmp_path)
    command, kept = keeper(tmp_path)
    for text, ok in ((command, True), ("no-such-program", False)):
        told_ = settings(labeling={"backend": "terminal"}, notify={"command": text})
        write_settings(told_, tmp_path / "loop.toml")
        (finding,) = [each for each in examine(tmp_path, lambda: told_) if "notify.command" in each.text]  # noqa: B023
        assert finding.ok == ok
        done = CliRunner().invoke(main, ["notify", str(tmp_path)])
        assert (done.exit_code == 0) == ok
    assert [each["event"] for each in kept()] == ["test"]
    with pytest.raises(ConfigError, match=r"after_minutes is 0: give more than 0"):
        check(asked(command, after_minutes=0.0))
