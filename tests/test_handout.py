"""The report as people get it: one file that needs nothing else, over real loops."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from loops import open_loop, oracle, run_to_end, settings, write_points

from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.domain import Split
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.server import write_report
from active_loop.sources import open_source
from active_loop.store import Store

VOID = {"meta", "link", "input", "img", "br", "hr"}


class Page(HTMLParser):
    """Reads a page: every element is closed, ids are there once, and nothing is fetched from anywhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [str(known["id"])] if "id" in known else []
        self.fetched += [str(known[name]) for name in ("src", "href", "action") if name in known]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    labels = write_points(tmp_path, 400)
    told = settings(name="berries & <b>", budget={"answers": 120}, target={"value": 0.85}, query={"random_share": 0.2})
    write_settings(told, tmp_path / "loop.toml")
    return open_loop(tmp_path, oracle(labels), told)


def report(loop: Loop, folder: Path, *options: str) -> str:
    result = CliRunner().invoke(main, ["report", str(folder), *options])
    assert result.exit_code == 0, result.output
    return (folder / "report.html").read_text(encoding="utf-8")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_is_one_whole_page_that_fetches_nothing(loop: Loop, tmp_path: Path) -> None:
    run_to_end(loop)
    text = report(loop, tmp_path)
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert [address for address in page.fetched if not address.startswith("data:")] == []
    assert "<script" not in text
    assert "berries &amp; &lt;b&gt;" in text
    assert "The budget is spent." in text or "Target reached" in text
    assert "120 labelled items" in text


def test_tables_and_picture_lie_beside_it(loop: Loop, tmp_path: Path) -> None:
    run_to_end(loop)
    report(loop, tmp_path)
    labels, rounds = table(tmp_path / "report" / "labels.csv"), table(tmp_path / "report" / "rounds.csv")
    assert len(labels) == 120
    assert {row["chosen_by"] for row in labels} >= {"random", "kmeans"}
    assert all(float(row["probability"]) > 0 for row in labels if row["chosen_by"] == "random")
    assert [int(row["round"]) for row in rounds] == list(range(len(rounds)))
    assert len(table(tmp_path / "report" / "looks.csv")) == len(loop.store.looks())
    drawn = ElementTree.parse(tmp_path / "report" / "learning-curve.svg").getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawn.get("width")


def test_while_the_loop_runs_no_test_item_is_in_it(loop: Loop, tmp_path: Path) -> None:
    while len(loop.store.scores()) < 2:
        loop.step()
    tested = {item.id for item in loop.store.items() if item.split == Split.TEST}
    text = report(loop, tmp_path)
    labels = table(tmp_path / "report" / "labels.csv")
    assert labels
    assert not {row["item"] for row in labels} & tested
    assert "answers to test items are left out" in text
    assert not any(item in text for item in tested)


def test_without_items_it_holds_nothing_of_an_item_and_nobodys_name(loop: Loop, tmp_path: Path) -> None:
    run_to_end(loop)
    told = report(loop, tmp_path)
    assert "oracle" in told
    held = [f"{value}" for value in (tmp_path / "points.csv").read_text().split("\n")[1].split(",")]
    written = report(loop, tmp_path, "--no-items")
    tables = "".join(path.read_text() for path in (tmp_path / "report").glob("*.csv"))
    ids = [item.id for item in loop.store.items()]
    for text in (written, tables):
        assert "oracle" not in text
        assert not any(value in text for value in [*held, *ids])
    assert "person 1" in written


def test_it_comes_in_the_language_that_is_asked_for(loop: Loop, tmp_path: Path) -> None:
    run_to_end(loop)
    assert '<html lang="ko">' in report(loop, tmp_path, "--language", "ko")
    assert '<html lang="en">' in report(loop, tmp_path)


def test_a_loop_that_has_just_begun_has_a_report_too(loop: Loop, tmp_path: Path) -> None:
    loop.import_items()
    text = report(loop, tmp_path)
    assert "Nobody has answered yet." in text
    assert "400 items" in text
    assert Page(text).wrong == []


def test_where_it_cannot_be_written_one_sentence_says_so(loop: Loop, tmp_path: Path) -> None:
    loop.import_items()
    (tmp_path / "in the way").write_text("a file")
    result = CliRunner().invoke(main, ["report", str(tmp_path), "--out", str(tmp_path / "in the way" / "x.html")])
    assert result.exit_code == 8
    assert re.fullmatch(r"active-loop: cannot write .*x\.html: .*\.\n", result.stderr)


def test_a_folder_without_a_loop_is_said_in_words(tmp_path: Path) -> None:
    write_settings(settings(), tmp_path / "loop.toml")
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 8
    assert "no loop was started in" in result.stderr


def test_the_files_are_named_for_programs(loop: Loop, tmp_path: Path) -> None:
    run_to_end(loop)
    result = CliRunner().invoke(main, ["report", str(tmp_path), "--json", "--out", str(tmp_path / "a" / "b.html")])
    told = json.loads(result.stdout)
    assert Path(told["report"]) == tmp_path / "a" / "b.html"
    assert all(Path(path).is_file() for path in told["tables"])


def test_pictures_are_in_the_page_itself(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pictures" / "red").mkdir(parents=True)
    for shade in range(60):
        colour = (200, shade * 4, 0) if shade % 2 else (0, shade * 4, 200)
        Image.new("RGB", (200, 100), colour).save(tmp_path / "pictures" / "red" / f"{shade}.png")
    told = settings(
        name="shades", data={"path": "pictures", "kind": "image", "show": ()}, budget={"answers": 50}, query={"n0": 5}
    )
    write_settings(told, tmp_path / "loop.toml")
    people = Oracle({f"red/{shade}.png": ("red", "blue")[shade % 2] for shade in range(60)})
    loop = open_loop(tmp_path, people, told)
    run_to_end(loop)
    files = write_report(loop.store, tmp_path / "report.html", source=lambda: open_source(told.data, tmp_path))
    assert files[0].read_text(encoding="utf-8").count('src="data:image/jpeg;base64,') == 50


def test_a_cell_that_looks_like_a_formula_is_made_harmless(tmp_path: Path) -> None:
    rows = ["id,text,label", *(f'=HYPERLINK({n}),"text {n}",{"a" if n % 2 else "b"}' for n in range(120))]
    (tmp_path / "points.csv").write_text("\n".join(rows))
    told = settings(
        data={"kind": "text", "show": ("text",), "id": "id"}, task={"classes": ("a", "b")}, budget={"answers": 60}
    )
    write_settings(told, tmp_path / "loop.toml")
    loop = open_loop(tmp_path, oracle(["b", "a"] * 60), told)
    run_to_end(loop)
    report(loop, tmp_path)
    labels = table(tmp_path / "report" / "labels.csv")
    assert labels
    assert all(row["item"].startswith("'=HYPERLINK") for row in labels)
    with Store(tmp_path / "loop.db", readonly=True).snapshot() as store:
        assert store.n_items() == 120
