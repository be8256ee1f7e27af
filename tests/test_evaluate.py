"""Bounds against independent computations, and metrics by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from active_loop.evaluate import METRICS, WRONG, fewest_right, lower_bound, more_to_certify, posterior, upper_bound


@given(st.integers(1, 400), st.data(), st.floats(0.001, 0.2))
def test_the_lower_bound_is_exact(n: int, data: st.DataObject, level: float) -> None:
    correct = data.draw(st.integers(0, n))
    bound = lower_bound(correct, n, level)
    if correct == 0:
        assert bound == 0
    else:  # at the bound, seeing as many right ones or more has probability `level`
        assert stats.binom.sf(correct - 1, n, bound) == pytest.approx(level, rel=1e-6)
    assert upper_bound(n - correct, n, level) == pytest.approx(1 - bound)


def test_the_posterior_is_the_share_of_a_beta_above_the_target() -> None:
    assert posterior(180, 200, 0.9) == pytest.approx(stats.beta(180.5, 20.5).sf(0.9))


def test_a_false_certificate_is_as_rare_as_promised_at_the_edge() -> None:
    n, level, target = 80, 0.025, 0.9
    fewest = fewest_right(n, level, target)
    assert fewest == 78
    assert stats.binom.sf(fewest - 1, n, target) <= level < stats.binom.sf(fewest - 2, n, target)


def test_thirty_five_test_labels_can_never_certify_ninety_percent() -> None:
    assert fewest_right(35, 0.025, 0.9) is None


def test_how_many_more_labels_would_prove_it() -> None:
    more = more_to_certify(0.95, 100, 0.05, 0.9)
    assert more is not None
    n = 100 + more
    assert lower_bound(math.floor(0.95 * n), n, 0.05) >= 0.9
    assert more_to_certify(0.9, 100, 0.05, 0.9) is None
    assert more_to_certify(0.99, 400, 0.05, 0.9) == 0


def test_accuracy_counts_disputed_and_overdue_items_as_wrong() -> None:
    truth, predicted = np.array([0, 1, WRONG, WRONG]), np.array([0, 1, 1, 0])
    claim = METRICS["accuracy"].claim(truth, predicted, 2, 0.9, 0.05, np.random.default_rng(0))
    assert (claim.correct, claim.n, claim.value) == (2, 4, 0.5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = map(np.array, zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without items
        wanted = f1_score(truth, predicted, average="macro", zero_division=0)
    assert METRICS["macro_f1"].value(truth, predicted, 4) == pytest.approx(wanted)


def test_a_wrong_item_lowers_macro_f1() -> None:
    metric = METRICS["macro_f1"]
    clean = metric.value(np.array([0, 1]), np.array([0, 1]), 2)
    assert metric.value(np.array([0, 1, WRONG]), np.array([0, 1, 1]), 2) < clean == 1


def test_macro_f1_stays_unsure_when_everything_was_right() -> None:
    truth = np.arange(100) % 10
    claim = METRICS["macro_f1"].claim(truth, truth, 10, 0.9, 0.025, np.random.default_rng(0))
    assert claim.value == 1
    assert 0.8 < claim.bound < 0.99


def test_the_interval_of_macro_f1_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    metric, hits, runs = METRICS["macro_f1"], 0, 300
    prior, right = np.array([0.6, 0.3, 0.1]), np.array([0.95, 0.9, 0.8])

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.choice(3, size=n, p=prior)
        wrong = (truth + rng.integers(1, 3, size=n)) % 3
        return truth, np.where(rng.random(n) < right[truth], truth, wrong)

    true_value = metric.value(*draw(400_000), 3)
    for _ in range(runs):
        reading = metric.read(*draw(200), 3, rng)
        hits += reading.low <= true_value <= reading.high
    assert hits / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)
