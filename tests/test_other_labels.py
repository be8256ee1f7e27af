"""Whole loops that ask for several labels, or for a number: the same rounds, looks and ends as for a choice."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from loops import open_loop, oracle, run_to_end, settings, trail

from active_loop.cli import main
from active_loop.config import read_settings
from active_loop.domain import Stopped
from active_loop.errors import DataError
from active_loop.export import export_rows, write_export
from active_loop.report import counted, sentence, status
from active_loop.screen import curve
from active_loop.settings import Settings, TargetSettings, TaskSettings
from active_loop.sources import open_source

KINDS = ("multi_label", "number")
TOPICS = ("left", "low", "far")
N = 260


def write_rows(folder: Path, kind: str) -> list[str]:
    """260 points, and the label of each: on which sides it lies, or a number that grows with both coordinates."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(N, 2))
    labels = []
    for x, y in points:
        held = [name for name, there in zip(TOPICS, (x < 0, y < 0, x * x + y * y > 2), strict=True) if there]
        labels.append(json.dumps(held) if kind == "multi_label" else f"{2 * x + y + rng.normal(scale=0.05):.3f}")
    with (folder / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "answer"])
        writer.writerows((f"{x:.6f}", f"{y:.6f}", label) for (x, y), label in zip(points, labels, strict=True))
    return labels


def told(kind: str, target: Mapping[str, Any] | None = None, **changes: Any) -> Settings:
    several = kind == "multi_label"
    task = TaskSettings(kind=kind, classes=TOPICS if several else (), bounds=() if several else (-8.0, 8.0))
    aim = TargetSettings("label_accuracy", 0.7) if several else TargetSettings("mae", 2.0)
    made: dict[str, Any] = {"task": task, "budget": {"answers": 200}, "model": {"use": "svm"}, **changes}
    return settings(target=replace(aim, **(target or {})), **made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_learns_and_proves_its_target(tmp_path: Path, kind: str) -> None:
    labels = write_rows(tmp_path, kind)
    loop = open_loop(tmp_path, oracle(labels), told(kind, target={"stop_on": "certified"}))
    result = run_to_end(loop)
    assert isinstance(result, Stopped)
    assert result.decision.verdict == "certified"
    now = status(loop.store)
    look = now.looks[-1]
    assert (look.bound <= 2.0) if kind == "number" else (look.bound >= 0.7)
    first, last = now.curve[0], now.score
    assert last is not None
    assert first.value is not None
    assert last.value is not None
    assert last.value <= first.value if now.is_error else last.value >= first.value
    assert now.wanted in sentence(now) or f"target {now.target:g}" in sentence(now)
    assert loop.store.rounds()[-1].record["labels"], "what was learned from is in the record"


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_is_stopped_anywhere_goes_on_as_if_nothing_had_happened(tmp_path: Path, kind: str) -> None:
    labels, backend = write_rows(tmp_path, kind), None
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for folder in (whole, pieces):
        folder.mkdir()
        (folder / "points.csv").write_bytes((tmp_path / "points.csv").read_bytes())
    small = told(kind, budget={"answers": 90})
    through = open_loop(whole, oracle(labels), small)
    run_to_end(through)
    backend = oracle(labels)
    for _ in range(1000):
        loop = open_loop(pieces, backend, small)
        done = any(isinstance(loop.step(), Stopped) for _ in range(3))
        found = trail(loop.store)
        loop.store.close()
        if done:
            break
    first = trail(through.store)
    assert {key: first[key] for key in ("asks", "looks", "look items", "scores")} == {
        key: found[key] for key in ("asks", "looks", "look items", "scores")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_exported_as_they_were_given(tmp_path: Path, kind: str) -> None:
    labels = write_rows(tmp_path, kind)
    loop = open_loop(tmp_path, oracle(labels), told(kind, budget={"answers": 90}))
    run_to_end(loop)
    rows = export_rows(loop.store)
    task = loop.standing.task
    assert {row.label for row in rows} == {task.read(labels[int(row.row)]).label for row in rows}
    write_export(rows, tmp_path / "labels.json", open_source(loop.settings.data, tmp_path), kind)
    first = json.loads((tmp_path / "labels.json").read_text())[0]
    (result,) = first["annotations"][0]["result"]
    assert result["type"] == ("number" if kind == "number" else "choices")


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_share_is_compared_for_every_kind(tmp_path: Path, kind: str) -> None:
    labels = write_rows(tmp_path, kind)
    told_to = told(kind, query={"random_share": 0.5}, target={"value": 0.99 if kind == "multi_label" else 0.01})
    loop = open_loop(tmp_path, oracle(labels), told_to)
    run_to_end(loop)
    assert status(loop.store).control is not None


@pytest.mark.parametrize(
    ("kind", "flags", "metric"),
    [
        ("multi_label", ["--classes", "left,low,far"], "micro_f1"),
        ("number", ["--bounds", "-8,8", "--unit", "kg", "--metric", "mae", "--target", "2"], "mae"),
    ],
)
def test_init_writes_a_loop_that_simulates(tmp_path: Path, kind: str, flags: list[str], metric: str) -> None:
    write_rows(tmp_path, kind)
    loop, data = str(tmp_path / "loop"), str(tmp_path / "points.csv")
    common = ["--data", data, "--kind", "table", "--show", "x", "--show", "y", "--budget", "90", "--answer", "answer"]
    made = CliRunner().invoke(main, ["init", loop, *common, "--label", kind, *flags, "--yes"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    written = read_settings(tmp_path / "loop" / "loop.toml")
    assert (written.task.kind, written.target.metric, written.data.answer) == (kind, metric, "")
    assert "has an answer in every row" in made.output
    done = CliRunner().invoke(main, ["simulate", loop, "--answers", "answer", "--json"], catch_exceptions=False)
    assert done.exit_code in (0, 3), done.output
    assert json.loads(done.stdout)["answers"] >= 60


def test_an_answer_that_is_no_label_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_rows(tmp_path, "number")
    text = (tmp_path / "points.csv").read_text().splitlines()
    text[3] = text[3].rpartition(",")[0] + ",heavy"
    (tmp_path / "points.csv").write_text("\n".join(text) + "\n")
    loop = open_loop(tmp_path, oracle([]), told("number", data={"answer": "answer"}))
    with pytest.raises(DataError, match='"answer": "heavy" is no number; write it with a point'):
        loop.import_items()


def test_an_error_has_its_own_scale_in_the_terminal(tmp_path: Path) -> None:
    labels = write_rows(tmp_path, "number")
    loop = open_loop(tmp_path, oracle(labels), told("number", {"value": 0.01}))
    run_to_end(loop)
    now = status(loop.store)
    lines = [line.plain for line in curve(now)]
    values = [point.value for point in now.curve if point.value is not None]
    assert f"{max(values):.3g} ┤" in lines[0]
    assert "0.00 ┤" in lines[5]
    assert lines[0].count("━") < 48, "the largest error is at the top, and not all of them"
    assert counted(now.looks[-1]) == f"{now.looks[-1].value:.3f} on {now.looks[-1].n} items"
