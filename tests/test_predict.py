"""Predictions of whole files, and over HTTP: what comes out, what is refused, and how much memory it takes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import carried
import httpx
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from active_loop import load_model
from active_loop.bulk import BLOCK, predict_file
from active_loop.cli import main
from active_loop.config import read_settings
from active_loop.errors import ConfigError, DataError
from active_loop.model import MODEL, Model
from active_loop.session import TOKEN_VARIABLE, VIEWER_VARIABLE, dashboard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop over a table, with its model written by the command."""
    made = tmp_path_factory.mktemp("table")
    carried.run(made, "table")
    done = CliRunner().invoke(main, ["model", str(made)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(folder / MODEL)


@pytest.fixture
def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "points.csv", dtype=str, keep_default_na=False)


# files


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_in_and_out_says_the_same(ending: str, model: Model, rows: pd.DataFrame, tmp_path: Path) -> None:
    given, out = tmp_path / f"given.{ending}", tmp_path / f"out.{ending}"
    match ending:
        case "csv":
            rows.to_csv(given, index=False, sep=";", encoding="utf-16")
        case "jsonl":
            rows.to_json(given, orient="records", lines=True, force_ascii=False)
        case "parquet":
            rows.to_parquet(given)
    assert predict_file(model, given, out, probabilities=True)[0] == len(rows)
    read = {"csv": pd.read_csv, "jsonl": lambda path: pd.read_json(path, lines=True), "parquet": pd.read_parquet}
    found = read[ending](out)
    said = model.said(rows)
    assert list(found) == ["name", "prediction", "confidence", "ask", "p(red)", "p(green)", "p(blue)"]
    assert list(found["name"]) == list(rows["name"])
    assert list(found["prediction"]) == list(said.labels)
    assert np.allclose(found[["p(red)", "p(green)", "p(blue)"]].to_numpy(), said.table, rtol=0, atol=1e-9)
    least = model.about.threshold.least
    assert least is not None
    assert [ask == "yes" for ask in found["ask"]] == [bool(sure < least) for sure in found["confidence"]]


def test_a_written_number_is_the_very_number_that_was_predicted(
    model: Model, folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    predict_file(model, folder / "points.csv", tmp_path / "out.csv", probabilities=True)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        written = [[float(row[f"p({name})"]) for name in model.classes] for row in csv.DictReader(file)]
    assert np.array_equal(np.array(written), model.said(rows).table)


def test_rows_without_their_id_column_are_numbered(model: Model, rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.drop(columns="name").to_csv(tmp_path / "given.csv", index=False)
    predict_file(model, tmp_path / "given.csv", tmp_path / "out.csv")
    assert list(pd.read_csv(tmp_path / "out.csv")["row"]) == [*range(len(rows))]


def test_a_file_of_several_blocks_has_its_rows_in_order(model: Model, rows: pd.DataFrame, tmp_path: Path) -> None:
    many = pd.concat([rows] * (2 * BLOCK // len(rows) + 1), ignore_index=True)
    many["name"] = [f"row {n}" for n in range(len(many))]
    many.to_csv(tmp_path / "given.csv", index=False)
    heard: list[int] = []
    n, _ = predict_file(model, tmp_path / "given.csv", tmp_path / "out.csv", heard=heard.append)
    found = pd.read_csv(tmp_path / "out.csv")
    assert n == len(many) == heard[-1]
    assert len(heard) > 2
    assert list(found["name"]) == list(many["name"])
    assert list(found["prediction"]) == list(model.said(rows).labels) * (len(many) // len(rows))


def test_a_folder_of_images_is_predicted_by_name(tmp_path: Path) -> None:
    carried.run(tmp_path, "image")
    CliRunner().invoke(main, ["model", str(tmp_path)], catch_exceptions=False)
    args = ["predict", str(tmp_path), str(tmp_path / "pictures"), "--out", str(tmp_path / "out.csv"), "--json"]
    done = CliRunner().invoke(main, args, catch_exceptions=False)
    assert json.loads(done.stdout)["rows"] == 140
    assert list(pd.read_csv(tmp_path / "out.csv")["image"])[:2] == ["000.png", "001.png"]
    (tmp_path / "pictures" / "002.png").write_bytes(b"no picture")
    (tmp_path / "out.csv").unlink()
    done = CliRunner().invoke(main, args, catch_exceptions=False)
    assert done.exit_code == DataError.exit_code
    assert "002.png" in done.stderr
    assert not (tmp_path / "out.csv").exists()


MEMORY = """
import sys
from pathlib import Path
from active_loop import load_model
from active_loop.bulk import predict_file


def most_kb():
    # The most that this program ever held; getrusage would count what its parent held as well.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


model, out = load_model(sys.argv[1]), Path(sys.argv[2])
predict_file(model, Path(sys.argv[3]), out)
before = most_kb()
n, _ = predict_file(model, Path(sys.argv[4]), out)
print(n, most_kb() - before)
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_memory_does_not_grow_with_the_file(model: Model, folder: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    """Ten times the rows take at most 32 MiB more; the larger file has 12 MB of text, and as a data frame 100 MB."""
    for name, n in (("small.csv", 20_000), ("large.csv", 200_000)):
        times = n // len(rows)
        pd.concat([rows] * times, ignore_index=True).to_csv(tmp_path / name, index=False)
    program = [sys.executable, "-c", MEMORY, folder / MODEL, tmp_path / "out.csv"]
    done = subprocess.run(
        [*program, tmp_path / "small.csv", tmp_path / "large.csv"], capture_output=True, text=True, check=True
    )
    n, more_kb = map(int, done.stdout.split())
    assert n == 200_000 // len(rows) * len(rows)
    assert more_kb < 32 * 1024


# what is wrong with a file


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("empty.csv", "", "is empty"),
        ("only.csv", "name,x,y,day,place,words\n", "has no rows"),
        ("lacks.csv", "name,x,y\n1,2,3\n", '"day", "place", "words", which are missing; there are: name, x, y'),
        ("cut.csv", "x,y,day,place,words\n1,2,2024-01-01,a,b\n1,2\n", "Row #3"),
        ("bad.jsonl", '{"x": 1, "y": 2, "day": "", "place": "", "words": ""}\n{"x": \n', "line 2 is not JSON"),
        ("list.jsonl", "[1, 2]\n", "line 1 is not a JSON object"),
        ("bad.parquet", "PAR1", "as Parquet"),
        ("what.xlsx", "?", "none of"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_nothing_is_written(
    name: str, text: str, said: str, model: Model, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "out.csv").write_text("earlier", encoding="utf-8")
    with pytest.raises(DataError) as error:
        predict_file(model, tmp_path / name, tmp_path / "out.csv")
    assert said in str(error.value)
    assert name in str(error.value)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {name, "out.csv"}


def test_a_row_that_breaks_late_leaves_nothing_half_written(model: Model, rows: pd.DataFrame, tmp_path: Path) -> None:
    many = pd.concat([rows] * (3 * BLOCK // len(rows)), ignore_index=True)
    many.to_json(tmp_path / "given.jsonl", orient="records", lines=True)
    with (tmp_path / "given.jsonl").open("a", encoding="utf-8") as file:
        file.write("not JSON\n")
    with pytest.raises(DataError, match=f"line {len(many) + 1} is not JSON"):
        predict_file(model, tmp_path / "given.jsonl", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["given.jsonl"]


def test_the_predictions_never_take_the_place_of_the_data(model: Model, folder: Path) -> None:
    with pytest.raises(ConfigError, match="itself"):
        predict_file(model, folder / "points.csv", folder / "points.csv")
    with pytest.raises(ConfigError, match="must end in"):
        predict_file(model, folder / "points.csv", folder / "out.txt")


def test_a_folder_without_a_model_file_says_how_to_make_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["predict", str(tmp_path), str(tmp_path)])
    assert "active-loop model" in done.stderr
    assert done.exit_code == 8


# over HTTP


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(TOKEN_VARIABLE, "owner's")
    monkeypatch.setenv(VIEWER_VARIABLE, "viewers'")
    settings = read_settings(folder / "loop.toml")
    with dashboard(folder, settings) as running:
        yield running.url


def ask(url: str, body: Any, token: str = "viewers'") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{url}/predict", content=content, headers={"Authorization": f"Bearer {token}"}, timeout=30)


@pytest.mark.parametrize("token", ["viewers'", "owner's"])
def test_rows_sent_over_http_are_answered_as_by_the_model(
    token: str, server: str, model: Model, rows: pd.DataFrame
) -> None:
    some = rows.head(20)
    answer = ask(server, {"rows": some.to_dict("records")}, token)
    said = model.said(some)
    assert answer.status_code == 200
    assert said.confidence is not None
    assert said.ask is not None
    assert answer.json() == {
        "predictions": [
            {"label": label, "confidence": sure, "ask": asks}
            for label, sure, asks in zip(said.labels, said.confidence.tolist(), said.ask.tolist(), strict=True)
        ]
    }


def test_nothing_is_predicted_for_who_brings_no_token(server: str, rows: pd.DataFrame) -> None:
    body = {"rows": rows.head(1).to_dict("records")}
    assert ask(server, body, "somebody's").status_code == 401
    assert httpx.post(f"{server}/predict", json=body, timeout=30).status_code == 401


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"{", 400, "Send JSON like"),
        ({"rows": []}, 400, "Send JSON like"),
        ({"rows": [1]}, 400, "Send JSON like"),
        ({"rows": [{"x": 1}]}, 400, '"y", "day", "place", "words", which are missing'),
        ({"rows": [{"x": 1}] * 1001}, 400, "1000 rows at most, and this one has 1001"),
        (b" " * ((1 << 20) + 1), 413, "bytes at most"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(server: str, body: Any, code: int, said: str) -> None:
    answer = ask(server, body)
    assert answer.status_code == code
    assert said in answer.json()["error"]


def test_without_a_model_file_the_answer_is_409_and_it_is_taken_up_once_it_is_there(
    folder: Path, server: str, rows: pd.DataFrame
) -> None:
    body = {"rows": rows.head(1).to_dict("records")}
    (folder / MODEL).rename(folder / "away")
    try:
        answer = ask(server, body)
    finally:
        (folder / "away").rename(folder / MODEL)
    assert answer.status_code == 409
    assert "active-loop model" in answer.json()["error"]
    assert ask(server, body).status_code == 200
