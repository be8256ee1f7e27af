"""A proof that may come at any time: its evidence is not fooled by looking after every item, and the loop uses it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from loops import open_loop, run_to_end, settings, write_points
from scipy import integrate, stats

from active_loop.domain import Stopped, Verdict
from active_loop.errors import ConfigError
from active_loop.evaluate import anytime_bound, evidence, lower_bound, proven_after
from active_loop.labeling import Oracle
from active_loop.settings import check
from active_loop.stopping import opened


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_evidence_is_the_mean_likelihood_of_higher_shares_over_that_of_the_target(target: float) -> None:
    right = np.random.default_rng(1).random(12) < 0.85
    for n, found in enumerate(evidence(right, target), 1):
        hits = int(right[:n].sum())
        mean, _ = integrate.quad(lambda p, h=hits, n=n: p**h * (1 - p) ** (n - h) / (1 - target), target, 1)
        assert found == pytest.approx(math.log(mean / (target**hits * (1 - target) ** (n - hits))), abs=1e-6)


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_at_the_target_evidence_comes_to_one_over_the_level_no_more_often_than_the_level(target: float) -> None:
    rng, level, runs = np.random.default_rng(2), 0.05, 2000
    fooled = sum(proven_after(rng.random(500) < target, level, target) is not None for _ in range(runs))
    assert fooled / runs <= level + 3 * math.sqrt(level * (1 - level) / runs)
    below = sum(proven_after(rng.random(500) < target - 0.02, level, target) is not None for _ in range(runs))
    assert below < fooled


def test_the_bound_holds_and_meets_the_target_just_when_it_is_proven() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        right = rng.random(int(rng.integers(1, 200))) < 0.93
        bound = anytime_bound(right, 0.025)
        assert bound <= lower_bound(int(right.sum()), len(right), 0.025), "looking at any time costs something"
        if bound > 0.01:
            aim = math.log(1 / 0.025)
            assert evidence(right, bound - 1e-5)[-1] >= aim > evidence(right, bound + 1e-5)[-1]
    assert anytime_bound(np.zeros(5, bool), 0.025) == 0.0


def test_a_good_model_is_certified_with_fewer_test_answers_than_a_fixed_look_takes(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=900, spread=0.4)
    spent = {}
    for proof in ("looks", "anytime"):
        folder = tmp_path / proof
        folder.mkdir()
        (folder / "points.csv").write_bytes((tmp_path / "points.csv").read_bytes())
        told = settings(target={"value": 0.85, "proof": proof}, budget={"answers": 300})
        loop = open_loop(folder, Oracle(labels), told)
        stopped = run_to_end(loop)
        assert isinstance(stopped, Stopped)
        assert stopped.decision.verdict == Verdict.CERTIFIED
        (look,) = loop.store.looks()
        spent[proof] = look.n
        assert look.bound >= 0.85
        if proof == "anytime":
            progress = [p for p in loop.standing.progress() if p.round <= look.round]
            assert opened([p.__class__(p.round, p.n_labels, p.agreement) for p in progress]) == len(progress) - 1
            seen = {item.item for item in loop.store.look_items(1)}
            assert seen == set(loop.standing.test_order[: look.n]), "a beginning of the order, and nothing else"
    assert spent["anytime"] < spent["looks"] == 120


def test_a_frozen_model_that_is_not_good_enough_uses_the_look_up(tmp_path: Path) -> None:
    labels = write_points(tmp_path, n=900, spread=1.5)
    loop = open_loop(
        tmp_path, Oracle(labels), settings(target={"value": 0.97, "proof": "anytime"}, budget={"answers": 150})
    )
    run_to_end(loop)
    looks = loop.store.looks()
    assert looks
    assert all(look.n == look.m and look.verdict != Verdict.CERTIFIED for look in looks)


def test_only_accuracy_can_be_tested_at_any_time() -> None:
    with pytest.raises(ConfigError, match="only accuracy can be tested at any time"):
        check(settings(target={"metric": "macro_f1", "proof": "anytime"}))


def test_the_normal_curve_is_not_needed() -> None:
    """The evidence of 40 right of 40 is that of the exact integral, far from where a normal curve would do."""
    right = np.ones(40, bool)
    exact = stats.beta(41, 1).sf(0.9) / (41 * 0.1 * 0.9**40)
    assert evidence(right, 0.9)[-1] == pytest.approx(math.log(exact))
