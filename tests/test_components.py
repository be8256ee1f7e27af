"""Somebody's own class is found by its name, and what is wrong with it is said in the same words everywhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_loop import components
from active_loop.domain import COLD_START
from active_loop.errors import ConfigError, DataError
from active_loop.extractors import make_extractor
from active_loop.learner import estimator_of
from active_loop.runner import ProcessRunner
from active_loop.scoring import EncodeJob, RoundJob
from active_loop.settings import DataSettings, FeatureSettings, ModelSettings, TaskSettings

MODULE = """
from active_loop.errors import DataError

class Mine: ...

class Needy:
    def __init__(self, what): ...

class Failing:
    def __init__(self):
        raise RuntimeError("no memory left")

class Picky:
    def __init__(self):
        raise DataError("there is no word list.")

_hidden = Mine
NOT_A_CLASS = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of somebody's own that can be imported; afterwards it is as if it had never been."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def refusal(name: str) -> str:
    with pytest.raises(ConfigError) as refused:
        components.make(name)
    return str(refused.value)


def test_a_class_is_found_by_its_module_and_name(module: str) -> None:
    assert components.load(f"{module}:Mine").__name__ == "Mine"
    assert type(components.make(f"{module}:Mine")).__name__ == "Mine"


@pytest.mark.parametrize("name", ["no_such_module.part:Mine", "no_such_module.part:", ":Mine", ".part:Mine", ":"])
def test_a_module_that_is_not_there_is_named_with_what_to_do(name: str) -> None:
    said = refusal(name)
    assert said.startswith(f'cannot import "{name.partition(":")[0]}" for "{name}": ')
    assert said.endswith(".py into a folder that Python imports from.")


def test_a_name_that_the_module_lacks_is_refused_with_the_closest_it_has(module: str) -> None:
    known = "DataError, Failing, Mine, Needy, Picky."
    assert refusal(f"{module}:Mein") == f'in "{module}:Mein": unknown class "Mein"; did you mean "Mine"? Known: {known}'
    for other in ("NOT_A_CLASS", ""):
        assert refusal(f"{module}:{other}") == f'in "{module}:{other}": unknown class "{other}"; known: {known}'


def test_a_class_that_cannot_be_made_is_refused_with_the_reason(module: str) -> None:
    assert f'"{module}:Needy" cannot be made: TypeError: ' in refusal(f"{module}:Needy")
    assert refusal(f"{module}:Failing") == f'"{module}:Failing" cannot be made: RuntimeError: no memory left.'
    with pytest.raises(DataError, match=r"^there is no word list\.$"):
        components.make(f"{module}:Picky")


def test_a_round_an_extractor_and_a_model_are_refused_in_the_same_words(module: str, tmp_path: Path) -> None:
    """In the process where rounds are computed too: there an error has to survive the way back."""
    done = threading.Event()
    runner = ProcessRunner(done.set)

    def outcome(job: Any) -> Any:
        done.clear()
        runner.submit(job)
        assert done.wait(60)
        return runner.poll()

    try:
        encoded = outcome(encoding(tmp_path, "tfidf"))
        for name in (f"{module}:Mein", f"{module}:Failing", "no_such_module:Mine"):
            said = refusal(name)
            for job in (encoding(tmp_path, name), cold_start(encoded, name)):
                with pytest.raises(ConfigError) as refused:
                    outcome(job)
                assert str(refused.value) == said
            for make in (estimator_of, lambda name: make_extractor(name, "text")):
                with pytest.raises(ConfigError) as refused:
                    make(name)
                assert str(refused.value) == said
    finally:
        runner.close()


def encoding(folder: Path, use: str) -> EncodeJob:
    (folder / "d.csv").write_text("text\none\ntwo\n")
    data = DataSettings(path="d.csv", kind="text", show=("text",))
    return EncodeJob(data, FeatureSettings(use), folder, folder / "cache", ("0", "1"), np.ones(2, dtype=bool))


def cold_start(features: Any, strategy: str) -> RoundJob:
    none = np.empty(0, dtype=np.int64)
    return RoundJob(
        number=COLD_START,
        features=features,
        labelled=none,
        codes=none,
        candidates=np.arange(2),
        ids=np.arange(2, dtype=np.uint64),
        pending=none,
        sample=none,
        test=none,
        task=TaskSettings(classes=("a", "b")),
        model=ModelSettings(),
        strategy=strategy,
        n=1,
        seed=0,
    )
