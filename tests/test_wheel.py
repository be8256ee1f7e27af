"""What people install: a wheel that is whole, claims no name but ours, and works beside a `server.py` of theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parent.parent

# Folder in the repository → its place in the wheel.
PACKAGES = {
    "active_loop": "active_loop",
    "server": "active_loop/server",
    "demo_data": "active_loop/demo_data",
    "query_strategies": "query_strategies",
}


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints; it sees no import path of ours. Fails with its whole output."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that no build folder of an earlier one can lend it files."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    run(sys.executable, "-W", "error", "-c", build, cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel, which finds everything else in the running one.

    Its `.pth` file names the running environment's folder only: `.pth` files in there, an editable install of this
    tree among them, are not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=folder)
    (packages,) = folder.rglob("site-packages")
    others = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (packages / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    return python


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder in which somebody keeps a `server.py`, as people do, which must not be run."""
    (tmp_path / "server.py").write_text("raise SystemExit('somebody else\\'s server.py was imported')\n")
    return tmp_path


def test_the_wheel_holds_every_file_of_its_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert (sorted(expected - held), sorted(held - expected)) == ([], [])


def test_the_wheel_claims_no_name_at_the_top_but_ours(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert tops == {"active_loop", "query_strategies"}


def test_the_installed_packages_are_found_beside_a_server_py_of_somebody_else(python: Path, elsewhere: Path) -> None:
    names = ["active_loop", "active_loop.server", "active_loop.demo_data", "query_strategies"]
    program = "import sys, importlib\nfor name in sys.argv[1:]: print(*importlib.import_module(name).__path__)"
    folders = run(python, "-W", "error", "-c", program, *names, cwd=elsewhere).splitlines()
    environment = python.parent.parent.resolve()
    assert len(folders) == len(names)
    assert all(Path(folder).resolve().is_relative_to(environment) for folder in folders), folders


def test_the_demo_data_is_read_from_the_installed_package(python: Path, elsewhere: Path) -> None:
    program = (
        "from importlib.resources import files\n"
        "data = files('active_loop.demo_data')\n"
        "print((data / 'answers.csv').read_text(encoding='utf-8'), end='')"
    )
    assert run(python, "-c", program, cwd=elsewhere) == (ROOT / "demo_data" / "answers.csv").read_text(encoding="utf-8")


def test_the_command_is_installed_and_explains_itself(python: Path, elsewhere: Path) -> None:
    assert "demo" in run(python.parent / "active-loop", "--help", cwd=elsewhere)
