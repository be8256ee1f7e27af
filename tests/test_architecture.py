"""Imports point down only, and each outside library has one place that knows it.

What a file imports is read from its syntax tree, so that imports inside functions count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the top down; a module may import what stands in a lower row. `__init__` holds the public names of active_loop.
ROWS: list[set[str]] = [
    {"cli", "__main__"},
    {"screen"},
    {"demo", "attach"},
    {"init"},
    {"session"},
    {"notice", "errand", "tracking"},
    {"server"},
    {"registered"},
    {"__init__"},
    {"script"},
    {"orders"},
    {"config"},
    {"simulate"},
    {"driver"},
    {"loop"},
    {"reproduction"},
    {"tracked"},
    {"takeaway"},
    {"afterwards"},
    {"jobs"},
    {"standing"},
    {"datasheet"},
    {"export"},
    {"history"},
    {"report", "answered", "crew"},
    {"figures"},
    {"points"},
    {"answers", "reasons"},
    {"changes"},
    {"portrait"},
    {"bulk"},
    {"model"},
    {"store", "label_studio", "local_studio", "expert", "scoring", "runner"},
    {"outlook", "questions"},
    {"planning", "forecast", "hindrance", "screening"},
    {"looks", "intake", "refit", "control", "chances", "alone"},
    {"search"},
    {
        *("merge", "agreement", "evaluate", "stopping", "reserve", "pace", "predictions"),
        *("again", "features", "inspection", "learner", "labeling", "guard"),
    },
    {"quality"},
    {"consensus"},
    {"sources", "extractors"},
    {"brought", "cells"},
    {"components", "files", "instructions"},
    {"exported"},
    {"records"},
    {"tasks"},
    {"settings"},
    {"domain"},
    {"errors", "language"},
]
ROW = {module: row for row, modules in enumerate(ROWS) for module in modules}

# Imports within a row, each one wanted: (who, whom). They may not form a circle.
SIBLINGS = {
    ("agreement", "evaluate"),
    ("expert", "label_studio"),
    ("expert", "local_studio"),
    ("intake", "chances"),
    ("runner", "scoring"),
    ("stopping", "evaluate"),
}

# The parts of a module that is a wing, a folder with one door, from the top down. Others import the door only.
WINGS: dict[str, list[set[str]]] = {
    "label_studio": [
        {"__init__"},
        {"backend"},
        {"project", "elsewhere"},
        {"listing", "seat"},
        {"connection", "borrowed"},
        {"page"},
    ],
    "evaluate": [
        {"__init__"},
        {"classes", "numbers"},
        {"shares", "means", "ranking", "found"},
        {"bounds", "reading", "idle"},
    ],
    "learner": [
        {"__init__"},
        {"parts", "epochs"},
        {"committee"},
        {"labelled", "modal"},
        {"estimators", "temperature", "bounded"},
        {"machines"},
    ],
    "search": [
        {"__init__"},
        {"verdict"},
        {"mixture"},
        {"race"},
        {"course"},
        {"space"},
        {"ranges", "evaluation", "trials"},
    ],
    "tasks": [{"__init__"}, {"taxonomy"}, {"choice", "multi_label", "number"}, {"reading"}],
}

# Who alone may import what; everything else in the tree may not.
ONLY = {
    "sqlite3": {"store"},
    "modAL": {"learner"},
    "optuna": {"search"},
    "label_studio_sdk": {"label_studio"},
    "query_strategies": {"loop", "scoring", "learner", "config"},
    "flask": {"server"},
    "waitress": {"server"},
    "click": {"cli", "init"},
    "rich": {"cli", "screen"},
    "mlflow": {"tracking"},
}


def files() -> dict[Path, tuple[str, str]]:
    """Every source file of active_loop and the dashboard: its module of `ROWS`, and the package it belongs to."""
    found = {path: (path.stem, "active_loop") for path in (ROOT / "active_loop").glob("*.py")}
    for wing in WINGS:
        found |= dict.fromkeys((ROOT / "active_loop" / wing).glob("*.py"), (wing, f"active_loop.{wing}"))
    found |= dict.fromkeys((ROOT / "server").rglob("*.py"), ("server", "active_loop.server"))
    return found


def imports(source: str, package: str) -> Iterator[tuple[str, bool]]:
    """Absolute names of the modules that the source imports, with whether the import waits inside a function."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{stem}.{alias.name}", id(node) in lazy) for alias in node.names)


def ours(name: str) -> str | None:
    """The module of `ROWS` that an absolute name such as `active_loop.store.Store` belongs to."""
    parts = name.split(".")
    if parts[0] == "server":
        return "server"
    if parts[0] != "active_loop" or parts[1:2] == ["demo_data"]:
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROW else "__init__"


def our_imports() -> Iterator[tuple[str, str, Path]]:
    for path, (module, package) in files().items():
        for name, _ in imports(path.read_text(encoding="utf-8"), package):
            imported = ours(name)
            if imported is not None and imported != module:
                yield module, imported, path


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import sqlite3, os.path", "active_loop", [("sqlite3", False), ("os.path", False)]),
        ("from .store import Store", "active_loop", [("active_loop.store.Store", False)]),
        ("from . import store as s", "active_loop", [("active_loop.store", False)]),
        ("from ..loop import Loop", "active_loop.server", [("active_loop.loop.Loop", False)]),
        ("from .pages import page", "active_loop.server", [("active_loop.server.pages.page", False)]),
        ("def f():\n    if 1:\n        import modAL.models", "active_loop", [("modAL.models", True)]),
        ("class A:\n    import modAL", "active_loop", [("modAL", False)]),
    ],
)
def test_imports_are_seen_wherever_they_stand(source: str, package: str, expected: list[tuple[str, bool]]) -> None:
    assert list(imports(source, package)) == expected


def test_every_module_has_its_row() -> None:
    assert {module for module, _ in files().values()} <= set(ROW), "give the new module its row in ROWS"
    assert set(files()) >= set((ROOT / "active_loop").rglob("*.py")), "give the new folder its parts in WINGS"


def test_imports_point_down_only() -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {imported}"
        for module, imported, path in our_imports()
        if ROW[module] >= ROW[imported] and (module, imported) not in SIBLINGS
    }
    assert wrong == set()


def test_siblings_stand_in_one_row_and_import_each_other_one_way() -> None:
    assert all(ROW[who] == ROW[whom] for who, whom in SIBLINGS)
    assert not {(whom, who) for who, whom in SIBLINGS} & SIBLINGS
    assert not {who for who, _ in SIBLINGS} & {whom for _, whom in SIBLINGS}, "a chain could close to a circle"


@pytest.mark.parametrize("wing", sorted(WINGS))
def test_imports_inside_a_wing_point_down_too(wing: str) -> None:
    row = {part: row for row, parts in enumerate(WINGS[wing]) for part in parts}
    assert set(row) == {path.stem for path, (module, _) in files().items() if module == wing}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, (module, package) in files().items()
        if module == wing
        for name, _ in imports(path.read_text(encoding="utf-8"), package)
        if name.startswith(f"{package}.") and row[path.stem] >= row.get(name.split(".")[2], 0)
    }
    assert wrong == set()


@pytest.mark.parametrize("wing", sorted(WINGS))
def test_a_wing_is_entered_by_its_door(wing: str) -> None:
    parts = {f"active_loop.{wing}.{part}" for parts in WINGS[wing] for part in parts}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, (module, package) in files().items()
        if module != wing
        for name, _ in imports(path.read_text(encoding="utf-8"), package)
        if ".".join(name.split(".")[:3]) in parts
    }
    assert wrong == set()


@pytest.mark.parametrize("library", sorted(ONLY))
def test_only_its_own_place_knows_a_library(library: str) -> None:
    importers = {
        module
        for path, (module, package) in files().items()
        for name, _ in imports(path.read_text(encoding="utf-8"), package)
        if name.split(".")[0] == library
    }
    assert importers <= ONLY[library]


def test_config_asks_for_the_strategies_only_when_a_name_is_looked_up() -> None:
    source = (ROOT / "active_loop" / "config.py").read_text(encoding="utf-8")
    lazily = [lazy for name, lazy in imports(source, "active_loop") if name.startswith("query_strategies")]
    assert lazily
    assert all(lazily)


@pytest.mark.parametrize("folder", ["query_strategies", "demo_data"])
def test_strategies_and_demo_data_know_nothing_of_the_loop(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name, _ in imports(path.read_text(encoding="utf-8"), folder)
        if name.split(".")[0] in {"active_loop", "server"}
    ]
    assert wrong == []


def test_the_module_table_names_every_module() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = [path for folder in ("active_loop", "query_strategies") for path in (ROOT / folder).rglob("*.py")]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    missing = [name for name in names if f"`{name}`" not in table]
    assert missing == []
