"""The benchmark of stopping: it runs the real loop, knows the truth, and counts what is false."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from active_loop.domain import Progress
from active_loop.runner import InlineRunner
from active_loop.scoring import RoundJob, SuspectsJob

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The benchmark's modules."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = {"loops": "stopping_loops", "rules": "stopping_rules", "page": "stopping_page", "run": "stopping"}
    return SimpleNamespace(**{name: importlib.import_module(module) for name, module in names.items()})


@pytest.fixture
def loop(bench: SimpleNamespace) -> Any:
    """A loop over four clouds, with a small budget."""
    return bench.loops.Trained(bench.run._clouds(3, n=900), bench.loops.Setup("logistic", 100, 3), 300)


def test_draws_of_the_test_items_change_looks_and_nothing_that_is_learned(loop: Any) -> None:
    replays = [loop.replay(0.999, draw) for draw in range(3)]
    assert len({replay.looks for replay in replays}) == 3
    assert len({tuple((p.round, p.n_labels, p.agreement) for p in replay.progress) for replay in replays}) == 1
    assert len(loop.runner._known) == len(loop.runner.rounds), "each round was fitted once"


def test_what_is_remembered_is_what_the_loop_finds_itself(bench: SimpleNamespace, loop: Any) -> None:
    remembered = loop.replay(0.999, 1)
    rows = np.zeros((loop.places.n, loop.data.X.shape[1]))
    rows[loop.places.pool] = loop.data.X[: len(loop.places.pool)]
    rows[loop.places.reserved] = loop.data.X_test[loop.runner.drawn]

    class Fitting(InlineRunner):
        drawn = loop.runner.drawn

        def submit(self, job: Any) -> None:
            held = bench.loops.Held(rows)
            if isinstance(job, SuspectsJob):
                self._result = replace(job, fit=replace(job.fit, features=held)).run()
            else:
                self._result = replace(job, features=held).run() if isinstance(job, RoundJob) else held

    fitted = bench.loops.Trained(loop.data, loop.setup, loop.n_pool)
    fitted.runner = Fitting()
    again = fitted.replay(0.999, 1)
    assert [replace(look, at=None) for look in again.looks] == [replace(look, at=None) for look in remembered.looks]
    assert again.progress == remembered.progress


def test_the_truth_is_the_share_of_the_whole_population(loop: Any) -> None:
    loop.replay(0.999, 0)
    quality = loop.qualities()
    drawn = loop.drawn(0, 20_000)
    for number, truth in quality.items():
        assert np.mean(loop.right(number)[drawn]) == pytest.approx(truth, abs=4 * 0.5 / np.sqrt(20_000))


def test_a_claim_above_the_best_model_is_false_and_one_below_it_is_not(bench: SimpleNamespace, loop: Any) -> None:
    qualities = {0: 0.8, 1: 0.9}
    look = SimpleNamespace(round=1, verdict="certified")
    replay = SimpleNamespace(looks=(look,), pool=10, test=20)
    assert bench.run._told(replay, qualities, 0.91)["false certified"]
    assert not bench.run._told(replay, qualities, 0.90)["false certified"]
    assert bench.run._told(replay, qualities, 0.91)["false likely"]
    look.verdict = "likely"
    told = bench.run._told(replay, qualities, 0.91)
    assert (told["certified"], told["false certified"], told["likely"], told["labels"]) == (False, False, True, 30)


def test_other_rules_stop_where_they_say(bench: SimpleNamespace) -> None:
    progress = [Progress(number, 40 + 10 * number, 0.99) for number in range(6)]
    right = {number: np.arange(6400) % 100 < 85 + 3 * number for number in range(6)}
    rounds = bench.rules.Rounds(progress, right)
    assert bench.rules.reading(100, rounds, 0.9) == bench.rules.Stop(2, 160)
    assert bench.rules.uncorrected(200, rounds, 0.9) == bench.rules.Stop(3, 270)
    assert bench.rules.unlimited(rounds, 0.9) == bench.rules.Stop(3, 370), "after one at 50 labels, one at 63 or more"
    assert bench.rules.unlimited(rounds, 0.8) == bench.rules.Stop(1, 250)
    assert bench.rules.reading(100, rounds, 1.01) is None


def test_the_page_counts_loops_and_not_draws(bench: SimpleNamespace) -> None:
    def record(name: str, seed: int, false: bool) -> dict[str, Any]:
        run = {"certified": false, "false certified": false, "likely": False, "false likely": False, "labels": 200}
        kinds = {kind: [run] * 4 for kind in ("above", "below")}
        others = {f"{kind} by other rules": {"reading on 100": [[140, 1.0], None]} for kind in ("above", "below")}
        return {"set": name, "seed": seed, "seconds": 60, **kinds, **others}

    worst = {"set": "worst case", "seed": 0, "seconds": 60, "looks": [3, 9], "certified": [True, False]}
    free = {"no budget": {"runs": [[300, 0.0], None, [500, 0.0], [380, 0.0]]}}
    text = bench.page.page([record("one", 0, True) | free, record("one", 1, False), worst], "worst case")
    assert "| ours | 100% | 200 | 200 |\n| no budget | 75% | 380 | 380 |" in text
    assert "between loops. 3 minutes of one core." in text
    assert "| ours: certified | 50.00% ± 98.00% | 50% | 200 | 50.0% |" in text
    assert "| reading on 100 | 50.00% ± 0.00% | 50% | 140 | 50.0% |" in text
    assert "Of 2 loops 1 were certified: 50.00%" in text
