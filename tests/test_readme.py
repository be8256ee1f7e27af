"""What the pages say is true: their code runs, what they name exists, and their numbers are the ones of the code."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import loops
import pytest
from click.testing import CliRunner

from active_loop.cli import main
from active_loop.config import read_settings
from active_loop.demo import demo_settings
from active_loop.errors import ActiveLoopError
from active_loop.evaluate import fewest_right
from active_loop.settings import LookPlan, Settings
from active_loop.simulate import known_answers, simulate
from active_loop.store import Store

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("active_loop", "query_strategies", "server", "demo_data", "docs", "tests", "scripts", "benchmarks", ".ci")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language ("" for those without one)."""
    fences = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for name, body in fences if name.strip() == language]


def unfenced(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """What stands between single backticks, line breaks as blanks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", unfenced(text))]


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the table rows below a heading, up to the next one; without the header."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not all(set(cell) <= {"-", " "} for cell in row)]


def ids(pages: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in pages]


each_page = pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))


# code


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the pages talk about: reviews.csv, and the README's mine.py."""
    lines = [
        f"{'good' if number % 3 else 'bad'} film {number} {'liked' if number % 3 else 'hated'} it,"
        f"{'positive' if number % 3 else 'negative'}"
        for number in range(180)
    ]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,sentiment", *lines]) + "\n")
    mine = [block for block in blocks(page("README.md"), "python") if block.startswith("# mine.py\n")]
    (tmp_path / "mine.py").write_text(mine[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.usefixtures("reviews")
def test_the_readme_reaches_its_target_in_ten_lines_of_python() -> None:
    names: dict[str, Any] = {}
    for block in blocks(page("README.md"), "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["result"].verdict == "certified"
    assert names["result"].labels_used <= 300
    assert len(names["result"].learning_curve) > 2


def test_what_python_leaves_is_read_by_the_commands_and_goes_on(reviews: Path) -> None:
    first = blocks(page("README.md"), "python")[0]
    results = []
    for _ in range(2):
        names: dict[str, Any] = {}
        exec(compile(first, "README.md", "exec"), names)
        results.append(names["result"].status)
    assert results[0] == results[1]
    assert "certified" in CliRunner().invoke(main, ["status", "tumours"]).output
    assert CliRunner().invoke(main, ["export", "tumours"]).exit_code == 0
    assert (reviews / "tumours" / "export" / "labels.csv").read_text().count("\n") > results[0].n_labels


def test_the_examples_of_the_strategies_page_run_and_give_what_they_say() -> None:
    names: dict[str, Any] = {}
    for block in blocks(page("docs/strategies.md"), "python"):
        exec(compile(block, "docs/strategies.md", "exec"), names)
        for code, said in re.findall(r"^([\w.\[\]]+(?:\(.*\)\.\w+)?) +# (\[.*?\])", block, re.MULTILINE):
            assert [round(float(value), 9) for value in eval(code, names)] == eval(said), code
    assert len(names["chosen"]) == 5


TOMLS = [(path, block) for path in PAGES for block in blocks(path.read_text(encoding="utf-8"), "toml")]


@pytest.mark.parametrize(("path", "block"), TOMLS, ids=ids([path for path, _ in TOMLS]))
def test_every_settings_file_on_a_page_is_read(path: Path, block: str, reviews: Path) -> None:
    (reviews / "loop.toml").write_text(block, encoding="utf-8")
    assert read_settings(reviews / "loop.toml").data.path == "reviews.csv"


def test_the_strategy_of_the_readme_chooses_in_a_loop(reviews: Path, tmp_path: Path) -> None:
    (reviews / "loop.toml").write_text(blocks(page("README.md"), "toml")[0], encoding="utf-8")
    settings = read_settings(reviews / "loop.toml")
    kept = tmp_path / "kept"
    kept.mkdir()
    simulate(settings, reviews, known_answers(settings, reviews, "sentiment"), keep=kept)
    with closing(Store(kept / "loop.db", readonly=True)) as store:
        assert "mine:Gini" in {ask.strategy for ask in store.asks()}


def test_every_query_by_hand_runs_and_the_tables_are_the_ones_that_are_there(tmp_path: Path) -> None:
    loop = loops.open_loop(tmp_path, loops.oracle(loops.write_points(tmp_path)))
    loops.run_to_end(loop)
    loop.store.close()
    text = page("docs/architecture.md")
    with closing(sqlite3.connect(f"{(tmp_path / 'loop.db').as_uri()}?mode=ro", uri=True)) as db:
        queries = blocks(text, "sql")
        assert queries
        assert all(db.execute(query).fetchall() for query in queries)
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {row[0].strip("`") for row in rows(text, "The tables")[1:]} == there


def test_ci_finds_the_test_commands_in_the_readme() -> None:
    script = re.search(r"^commands=\$\(.*?\)\n", page(".ci/run"), re.DOTALL | re.MULTILINE)
    assert script
    shell = ["bash", "-euo", "pipefail", "-c", f'{script[0]}printf %s "$commands"']
    found = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split(" && ") == ['pip install -e ".[test]"', "python -m pytest"]


# names


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every `active-loop X …` in code: X and its flags."""
    code = [*spans(text), *(line for block in blocks(text, "") for line in block.splitlines())]
    for line in code:
        for name, rest in re.findall(r"(?<![\w-])active-loop ([a-z][\w-]*)([^#`]*)", line):
            yield name, re.findall(r"(?<!\S)--[\w-]+", rest)


@each_page
def test_every_command_and_flag_on_a_page_exists(path: Path) -> None:
    for name, flags in commands(path.read_text(encoding="utf-8")):
        assert name in main.commands, name
        known = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert set(flags) <= known, name


def test_the_readme_names_every_command() -> None:
    assert {name for name, _ in commands(page("README.md"))} == set(main.commands)


def test_the_readme_has_every_exit_code() -> None:
    cells = [cell for row in rows(page("README.md"), "Exit codes")[1:] for cell in row]
    listed = {int(cell) for cell in cells if cell.isdigit()}
    assert listed == {0, 1, 3, 130} | {error.exit_code for error in errors(ActiveLoopError)}


def errors(kind: type[ActiveLoopError]) -> Iterator[type[ActiveLoopError]]:
    for below in kind.__subclasses__():
        if below.__module__ == "active_loop.errors":
            yield below
            yield from errors(below)


@each_page
def test_every_setting_that_a_page_names_exists(path: Path) -> None:
    known = {name: value for name, value in asdict(Settings()).items() if isinstance(value, dict)}
    named = re.compile(rf"({'|'.join(known)})\.(\w+)")
    found = [match for span in spans(path.read_text(encoding="utf-8")) if (match := named.fullmatch(span))]
    assert [match[0] for match in found if match[2] not in known[match[1]]] == []


@each_page
def test_every_path_that_a_page_names_exists(path: Path) -> None:
    named = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*")
    found = [span for span in spans(path.read_text(encoding="utf-8")) if named.fullmatch(span)]
    assert [name for name in found if not (ROOT / name).exists()] == []


def links(path: Path) -> list[tuple[str, str]]:
    """Relative links of a page: (path, anchor), either may be empty."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", unfenced(path.read_text(encoding="utf-8")))
    return [(target, anchor) for target, anchor in found]


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", unfenced(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    for target, anchor in links(path):
        goal = path.parent / target if target else path
        assert goal.exists(), target
        assert not anchor or anchor in anchors(goal), f"{target}#{anchor}"


def test_every_page_is_linked_from_the_readme_or_the_architecture() -> None:
    homes = (ROOT / "README.md", ROOT / "docs" / "architecture.md")
    linked = {(home.parent / target).resolve() for home in homes for target, _ in links(home)}
    assert [path for path in PAGES if path not in linked and path.name != "README.md"] == []


def test_every_module_has_one_sentence_and_every_sentence_a_module() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(page("docs/architecture.md"), "Modules") if "/" in row[0]}
    folders = ("active_loop", "query_strategies", "server", "demo_data")
    there = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert set(table) == there
    assert [name for name, said in table.items() if not re.fullmatch(r"\S.*[^.]\.", said)] == []


# numbers


def test_what_a_certificate_needs_is_what_the_code_asks_for() -> None:
    for budget, *looks in rows(page("docs/honest-target.md"), "What a certificate needs")[1:]:
        plan = LookPlan.at_import(n_items=100_000, budget=int(budget))
        for number, said in enumerate(looks, start=1):
            n = plan.m(number)
            assert said == f"{fewest_right(n, 0.05 / 2**number, 0.9)} of {n}", budget


def test_the_share_of_the_demo_is_what_the_code_plans() -> None:
    text = page("docs/honest-target.md")
    budget = demo_settings().budget.answers
    plan = LookPlan.at_import(n_items=1797, budget=budget)
    shares = [[int(cell) for cell in row[1:]] for row in rows(text, "How a budget is shared")[1:]]
    assert shares == [[plan.m(look), budget - plan.m(look)] for look in (1, 2, 3)]
    assert f"(1797 items, budget {budget}) reserves {plan.reserved} items" in text
