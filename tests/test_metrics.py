"""Metrics of one class per item: their values, their bounds, and what is worst for each."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from active_loop.evaluate import (
    WRONG,
    Metric,
    doubt,
    lower_bound,
    metric_for,
    posterior,
    ratio_lower_bound,
    upper_bound,
)
from active_loop.evaluate.classes import FBeta
from active_loop.settings import TargetSettings
from active_loop.tasks import MultiLabel, SingleChoice

Codes = NDArray[np.int64]
Reals = NDArray[np.float64]

TWO, THREE = SingleChoice(("ham", "spam")), SingleChoice(("a", "b", "c"))


OF_MODELS = [name for name in SingleChoice.metrics if name != "found"]
"""What a search finds is not read off predictions."""


def metric(name: str, task: SingleChoice | MultiLabel = TWO) -> Metric:
    return metric_for(task, TargetSettings(metric=name, positive=task.classes[1]))


def told(codes: Codes, n_classes: int = 2) -> Reals:
    """Predictions that are sure of these codes."""
    return np.eye(n_classes)[codes]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Values: those of scikit-learn.

tables = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(1, 9), min_size=3, max_size=3)), min_size=1, max_size=40
)


def of_scikit_learn(truth: Codes, predicted: Reals) -> Mapping[str, float]:
    """Of three classes, the second of them positive."""
    codes, true, n = predicted.argmax(axis=1), truth == 1, predicted.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without items
        return {
            "accuracy": sk.accuracy_score(truth, codes),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, codes),
            "precision": sk.precision_score(true, codes == 1, zero_division=0),
            "recall": sk.recall_score(true, codes == 1, zero_division=0),
            "f1": sk.f1_score(true, codes == 1, zero_division=0),
            "f2": sk.fbeta_score(true, codes == 1, beta=2, zero_division=0),
            "f0.5": sk.fbeta_score(true, codes == 1, beta=0.5, zero_division=0),
            "macro_f1": sk.f1_score(truth, codes, average="macro", zero_division=0),
            "auc": sk.roc_auc_score(true, predicted[:, 1]) if 0 < true.sum() < len(true) else 0.0,
            "average_precision": sk.average_precision_score(true, predicted[:, 1]) if true.any() else 0.0,
            "wss95": work_saved(true, predicted[:, 1]),
            "log_loss": sk.log_loss(truth, predicted, labels=range(n)),
            "brier": float(np.mean(np.sum((predicted - np.eye(n)[truth]) ** 2, axis=1))),
        }


def work_saved(true: Codes, p: Reals) -> float:
    """By reading on, one group of equal scores after the other; scikit-learn has no such metric."""
    if not true.any():
        return 0.0
    for threshold in sorted(set(p), reverse=True):
        if 100 * (p >= threshold)[true].sum() >= 95 * true.sum():
            return float(np.mean(p < threshold)) - 0.05
    raise AssertionError("all items hold all of the class")


@settings(deadline=None)
@given(tables)
def test_every_value_is_that_of_scikit_learn(rows: list[tuple[int, list[int]]]) -> None:
    truth = np.array([code for code, _ in rows])
    predicted = np.array([[part / sum(parts) for part in parts] for _, parts in rows])
    wanted = of_scikit_learn(truth, predicted)
    assert set(wanted) == set(OF_MODELS)
    for name, value in wanted.items():
        assert metric(name, THREE).value(truth, predicted) == pytest.approx(value), name


def test_the_brier_score_of_two_classes_is_that_of_one_of_them() -> None:
    truth, p = np.array([0, 1, 1, 0]), np.array([0.2, 0.7, 0.4, 0.9])
    found = metric("brier").value(truth, np.column_stack([1 - p, p]))
    assert found == pytest.approx(sk.brier_score_loss(truth, p))


def test_a_loss_of_what_was_held_for_impossible_is_large_and_finite() -> None:
    assert metric("log_loss").value(np.array([0]), told(np.array([1]))) == pytest.approx(-math.log(2.2e-16), rel=1e-2)


def test_label_accuracy_is_one_minus_the_hamming_loss() -> None:
    truth, predicted = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[0.9, 0.1, 0.2], [0.6, 0.1, 0.1]])
    found = metric("label_accuracy", MultiLabel(("a", "b", "c")))
    assert found.value(truth, predicted) == pytest.approx(1 - sk.hamming_loss(truth, predicted > 0.5)) == 4 / 6
    assert found.value(np.full((1, 3), WRONG), predicted[:1]) == 0


# The identities that bounds rest on, exactly.


@given(st.tuples(*[st.integers(0, 30)] * 3).filter(any), st.sampled_from([0.5, 1.0, 2.0]), st.integers(1, 99))
def test_f_beta_is_at_least_a_target_just_when_a_mean_is_at_least_0(
    counts: tuple[int, int, int], beta: float, percent: int
) -> None:
    found, missed, invented = counts
    four = round(4 * beta**2)  # all in whole numbers: 400 times the mean
    mean = (4 + four) * (100 - percent) * found - percent * (four * missed + 4 * invented)
    f_beta_is_less = (4 + four) * found * 100 < percent * ((4 + four) * found + four * missed + 4 * invented)
    assert (mean < 0) == f_beta_is_less
    assert FBeta(TWO, 1, beta).value(*_items(found, missed, invented, 3)) == pytest.approx(
        (4 + four) * found / ((4 + four) * found + four * missed + 4 * invented)
    )


@given(st.tuples(*[st.integers(0, 30)] * 3).filter(any))
def test_f1_grows_with_the_share_of_right_ones_where_the_class_is_true_or_predicted(
    counts: tuple[int, int, int],
) -> None:
    truth, predicted = _items(*counts, 7)
    share = counts[0] / sum(counts)
    assert metric("f1").value(truth, predicted) == pytest.approx(2 * share / (1 + share))
    claim = metric("f1").claim(truth, predicted, 0.8, 0.025, rng())
    low = lower_bound(counts[0], sum(counts), 0.025)
    assert claim.bound == pytest.approx(2 * low / (1 + low))
    assert claim.posterior == pytest.approx(posterior(counts[0], sum(counts), 2 / 3))


def _items(found: int, missed: int, invented: int, neither: int) -> tuple[Codes, Reals]:
    truth = np.repeat([1, 1, 0, 0], [found, missed, invented, neither])
    return truth, told(np.repeat([1, 0, 1, 0], [found, missed, invented, neither]))


def test_precision_and_recall_are_proven_on_the_items_that_they_are_about() -> None:
    truth, predicted = _items(40, 5, 2, 200)
    for name, right, n in (("precision", 40, 42), ("recall", 40, 45)):
        claim = metric(name).claim(truth, predicted, 0.8, 0.025, rng())
        assert (claim.bound, claim.value) == (lower_bound(right, n, 0.025), right / n)
        assert (claim.correct, claim.n) == (240, 247)


# Bounds that hold: how often they are above the truth, where the target is just missed.

RATES = {"found": 0.10, "missed": 0.02, "invented": 0.03, "neither": 0.85}


def true_value(name: str) -> float:
    found, missed, invented, neither = RATES.values()
    beta = {"f1": 1.0, "f2": 2.0, "f0.5": 0.5}.get(name, 0.0) ** 2
    ratio = (1 + beta) * found / ((1 + beta) * found + beta * missed + invented)
    recall, other = found / (found + missed), neither / (neither + invented)
    wanted = {"accuracy": found + neither, "recall": recall, "balanced_accuracy": (recall + other) / 2}
    return wanted.get(name, ratio)


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1", "f2", "f0.5", "balanced_accuracy"])
def test_a_certificate_is_false_no_more_often_than_its_level_says(name: str) -> None:
    """500 samples of 200 items; the count of bounds above the truth stays below 3.1 standard errors over level·500."""
    random, level, runs, value = np.random.default_rng(7), 0.1, 500, true_value(name)
    found, above = metric(name), 0
    for counts in random.multinomial(200, list(RATES.values()), size=runs):
        claim = found.claim(*_items(*counts.tolist()), 0.5, level, random)
        above += claim.bound > value
    assert above <= stats.binom.ppf(0.999, runs, level)


def test_the_bound_of_a_ratio_holds_for_any_gains_and_losses() -> None:
    random, level, runs, above = np.random.default_rng(8), 0.1, 200, 0
    for _ in range(runs):
        gains, losses = random.exponential(size=100) * (random.random(100) < 0.4), 3 * random.beta(0.3, 2, size=100)
        above += ratio_lower_bound(gains, losses, 3.0, level) > 0.4 / (0.4 + 3 * 0.3 / 2.3)
    assert above <= stats.binom.ppf(0.999, runs, level)


def test_the_bound_of_a_ratio_knows_no_units_and_needs_something_gained() -> None:
    gains, losses = np.array([1.0, 0.0, 2.0] * 30), np.array([0.0, 1.0, 0.0] * 30)
    bound = ratio_lower_bound(gains, losses, 1.0, 0.05)
    assert 0 < bound < 0.75
    assert ratio_lower_bound(7 * gains, 7 * losses, 7.0, 0.05) == pytest.approx(bound, abs=1e-5)
    assert ratio_lower_bound(0 * gains, losses, 1.0, 0.05) == 0
    assert ratio_lower_bound(gains, losses, 1.0, 0.01) < bound


def test_balanced_accuracy_is_proven_class_by_class() -> None:
    truth = np.repeat([0, 1], [80, 20])
    predicted = told(np.concatenate([np.zeros(80, int), np.ones(18, int), np.zeros(2, int)]), 3)
    claim = metric("balanced_accuracy", THREE).claim(truth, predicted, 0.8, 0.03, rng())
    assert claim.bound == pytest.approx((lower_bound(80, 80, 0.01) + lower_bound(18, 20, 0.01) + 0) / 3)
    assert claim.value == pytest.approx(0.95)  # the third class does not occur


# What did not come, or is disputed, is as bad as it can be.


def some(n: int, seed: int, n_classes: int) -> tuple[Codes, Reals]:
    """Truth and probabilities, often right."""
    random = np.random.default_rng(seed)
    truth = random.integers(n_classes, size=n)
    scores = random.exponential(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[truth]
    return truth, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", OF_MODELS)
@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_an_item_that_counts_as_wrong_is_worse_than_with_any_answer(name: str, task: SingleChoice) -> None:
    found, sign = metric(name, task), -1 if metric(name, task).lower_is_better else 1
    for seed in range(12):
        truth, predicted = some(25, seed, len(task.classes))
        answers = [np.concatenate([[code], truth[1:]]) for code in range(len(task.classes))]
        values = [sign * found.value(each, predicted) for each in answers]
        wrong = np.concatenate([[WRONG], truth[1:]])
        value = sign * found.value(wrong, predicted)
        assert value <= min(values) + 1e-9
        if name != "balanced_accuracy":  # which asks less: a class may have lost an item that was predicted as it
            assert value == pytest.approx(min(values))
        claim = found.claim(wrong, predicted, 0.5, 0.025, rng())
        if found.certifiable:
            assert sign * claim.bound <= min(sign * found.claim(t, predicted, 0.5, 0.025, rng()).bound for t in answers)


@pytest.mark.parametrize("name", OF_MODELS)
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 8))
def test_several_items_that_count_as_wrong_never_help(name: str, seed: int, n_wrong: int) -> None:
    truth, predicted = some(30, seed, 3)
    wrong = truth.copy()
    wrong[:n_wrong] = WRONG
    found = metric(name, THREE)
    worse, known = found.value(wrong, predicted), found.value(truth, predicted)
    assert worse >= known - 1e-9 if found.lower_is_better else worse <= known + 1e-9
    if found.certifiable:
        bounds = [found.claim(each, predicted, 0.5, 0.025, rng()).bound for each in (wrong, truth)]
        assert bounds[0] >= bounds[1] - 1e-9 if found.lower_is_better else bounds[0] <= bounds[1] + 1e-9


def test_where_wrong_items_may_be_in_several_classes_the_worst_ones_are_found() -> None:
    truth, predicted = some(14, 3, 3)
    wrong = truth.copy()
    wrong[:3] = WRONG
    for name in ("macro_f1", "brier", "log_loss"):
        found = metric(name, THREE)
        answers = [np.concatenate([codes, truth[3:]]) for codes in itertools.product(range(3), repeat=3)]
        values = [found.value(each, predicted) for each in answers]
        worst = max(values) if found.lower_is_better else min(values)
        assert found.value(wrong, predicted) == pytest.approx(worst), name


@pytest.mark.parametrize("name", OF_MODELS)
def test_a_prediction_that_is_mended_never_makes_a_metric_worse(name: str) -> None:
    truth, predicted = some(40, 5, 3)
    found, sign = metric(name, THREE), -1 if metric(name, THREE).lower_is_better else 1
    value = sign * found.value(truth, predicted)
    bound = sign * found.claim(truth, predicted, 0.5, 0.025, rng()).bound
    for row in range(len(truth)):
        predicted[row] = np.eye(3)[truth[row]]
        better = sign * found.value(truth, predicted)
        assert better >= value - 1e-9
        value = better
    assert sign * found.claim(truth, predicted, 0.5, 0.025, rng()).bound >= bound
    best = 0.95 - np.mean(truth == 1) if name == "wss95" else 1.0
    assert value == pytest.approx(0.0 if found.lower_is_better else best)


# The edges.


@pytest.mark.parametrize("name", OF_MODELS)
@pytest.mark.parametrize("truth", [[0], [1], [WRONG], [0] * 20, [1] * 20, [WRONG] * 20], ids=str)
def test_one_item_or_one_class_alone_proves_nothing_that_was_not_seen(name: str, truth: list[int]) -> None:
    found, codes = metric(name), np.array(truth)
    predicted = told(np.where(codes == WRONG, 1, codes))
    reading = found.read(codes, predicted, rng())
    claim = found.claim(codes, predicted, 0.99 if not found.lower_is_better else 0.001, 0.025, rng())
    assert reading.low <= reading.value <= reading.high
    assert math.isfinite(reading.low)
    assert not (found.certifiable and claim.proven(0.99 if not found.lower_is_better else 0.001))
    assert 0 <= claim.posterior <= 1
    if name in ("precision", "recall", "f1", "f2", "f0.5", "average_precision") and 1 not in truth:
        assert (reading.value, claim.bound) == (0, pytest.approx(0, abs=0.01))
    if name == "auc":
        assert (reading.value, reading.low, reading.high, claim.posterior, claim.bound) == (0, 0, 1, 0, 0)
    if name == "wss95":
        assert (claim.bound, reading.low) == (pytest.approx(-0.05), pytest.approx(-0.05))


@pytest.mark.parametrize("name", OF_MODELS)
def test_a_hundred_right_items_are_not_certainty(name: str) -> None:
    truth = np.arange(100) % 2
    claim = metric(name).claim(truth, told(truth), 0.5, 0.025, rng())
    if name == "wss95":  # 50 of 50 bound a recall by 0.93 only
        assert claim.bound == pytest.approx(-0.05)
    elif name != "log_loss":  # which has no end that it could be away from
        assert 0.01 < abs(claim.bound - claim.value) < 0.2


def test_the_intervals_of_the_order_keep_their_promise_where_it_is_nearly_perfect() -> None:
    """300 samples; the share of hits may fall below 95 % by 3 standard errors at most."""
    random, runs, mu = np.random.default_rng(9), 300, 1.6
    wanted = {"auc": float(stats.norm.cdf(2 * mu / math.sqrt(2))), "average_precision": 0.987}
    hits = dict.fromkeys(wanted, 0)

    def draw(n: int) -> tuple[Codes, Reals]:
        truth = (random.random(n) < 0.5).astype(np.int64)
        p = 1 / (1 + np.exp(-2 * mu * (random.normal(size=n) + mu * (2 * truth - 1))))
        return truth, np.column_stack([1 - p, p])

    assert metric("average_precision").value(*draw(400_000)) == pytest.approx(wanted["average_precision"], abs=0.002)
    for _ in range(runs):
        sample = draw(100)
        for name, value in wanted.items():
            reading = metric(name).read(*sample, random)
            hits[name] += reading.low <= value <= reading.high
    assert min(hits.values()) / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_the_bound_of_saved_work_is_two_exact_bounds() -> None:
    """One of the share of the class that is found, one of the share of the items that are read, at half the level."""
    random = np.random.default_rng(3)
    truth = (np.arange(800) % 4 == 0).astype(np.int64)
    p = random.random(800) / 3 + np.where(truth == 1, 0.6, 0.0)
    p[np.flatnonzero(truth)[:2]] = 0.01  # two of two hundred come last
    found, predicted = metric("wss95"), np.column_stack([1 - p, p])
    first = int(np.sum(p >= np.sort(p[truth == 1])[10]))  # as many as hold 190 of the 200
    assert found.value(truth, predicted) == pytest.approx(0.95 - first / 800)
    claim = found.claim(truth, predicted, 0.5, 0.2, rng())
    inside = np.cumsum(truth[np.argsort(-p)])
    read = next(k for k in range(1, 801) if lower_bound(int(inside[k - 1]), 200, 0.1) >= 0.95)
    assert claim.bound == pytest.approx(0.95 - upper_bound(read, 800, 0.1))
    assert claim.posterior > 0.9 > found.claim(truth, predicted, claim.value + 0.01, 0.2, rng()).posterior
    assert found.claim(truth, predicted, 0.949, 0.025, rng()).posterior < 1e-9


def test_the_interval_of_a_skewed_loss_keeps_its_promise() -> None:
    """300 samples of 100 items; a bootstrap holds the truth in 87 % of them."""
    random, runs, mu, hits = np.random.default_rng(11), 300, 1.6, 0

    def draw(n: int) -> tuple[Codes, Reals]:
        truth = (random.random(n) < 0.1).astype(np.int64)
        odds = np.log(1 / 9) + 2 * mu * (random.normal(size=n) + mu * (2 * truth - 1))
        p = 1 / (1 + np.exp(-odds))
        return truth, np.column_stack([1 - p, p])

    found = metric("log_loss")
    value = found.value(*draw(400_000))
    for _ in range(runs):
        reading = found.read(*draw(100), random)
        hits += reading.low <= value <= reading.high
    assert hits / runs >= 0.92 - 3 * math.sqrt(0.92 * 0.08 / runs)


def test_the_chance_of_a_loss_is_that_of_the_end_of_its_interval() -> None:
    truth, predicted = some(80, 1, 3)
    found = metric("log_loss", THREE)
    for level in (0.2, 0.025, 0.01):
        bound = found.claim(truth, predicted, 1.0, level, rng()).bound
        assert found.claim(truth, predicted, bound, 0.5, rng()).posterior == pytest.approx(1 - level)
    sure = found.claim(np.array([0, 1]), np.eye(3)[[0, 1]], 0.5, 0.025, rng())
    assert (sure.value, sure.posterior) == (0, 0)


# Targets that say nothing.


@pytest.mark.parametrize(
    ("name", "positive", "value", "shares", "says"),
    [
        ("accuracy", "", 0.95, {"ham": 0.95, "spam": 0.05}, 'Always answering "ham" would reach accuracy 0.95 already'),
        ("accuracy", "", 0.95, {"ham": 0.94, "spam": 0.06}, ""),
        ("accuracy", "", 0.95, {}, ""),
        ("recall", "", 0.99, {}, 'Always answering "spam" would reach recall 1.00 already: choose balanced_accuracy'),
        ("precision", "ham", 0.9, {"ham": 0.95, "spam": 0.05}, 'Always answering "ham" would reach precision 0.95'),
        (
            "f1",
            "ham",
            0.9,
            {"ham": 0.95, "spam": 0.05},
            'reach F1 0.97 already: choose balanced_accuracy, or f1 of "spam"',
        ),
        ("f1", "spam", 0.8, {"ham": 0.95, "spam": 0.05}, ""),
        ("balanced_accuracy", "", 0.5, {}, "would reach balanced accuracy 0.50 already"),
        ("balanced_accuracy", "", 0.8, {"ham": 0.95, "spam": 0.05}, ""),
        ("macro_f1", "", 0.45, {"ham": 0.95, "spam": 0.05}, "would reach macro-F1 0.49 already"),
        ("auc", "", 0.5, {}, "An order by chance would reach AUC 0.50 already"),
        (
            "average_precision",
            "ham",
            0.9,
            {"ham": 0.95, "spam": 0.05},
            "An order by chance would reach average precision",
        ),
        ("brier", "", 0.05, {"ham": 0.95, "spam": 0.05}, "Answering with the shares of the classes would reach Brier"),
        ("brier", "", 0.04, {"ham": 0.95, "spam": 0.05}, ""),
        ("log_loss", "", 0.2, {"ham": 0.95, "spam": 0.05}, "would reach log loss 0.20 already"),
        ("log_loss", "", 0.1, {"ham": 0.95, "spam": 0.05}, ""),
    ],
)
def test_a_target_that_is_reached_without_learning_is_doubted(
    name: str, positive: str, value: float, shares: dict[str, float], says: str
) -> None:
    said = doubt(TWO, TargetSettings(metric=name, positive=positive, value=value), shares)
    assert says in said
    assert bool(said) == bool(says)


def test_what_learns_nothing_reaches_what_the_doubt_says() -> None:
    truth = np.repeat([0, 1, 2], [70, 20, 10])
    shares = {"a": 0.7, "b": 0.2, "c": 0.1}
    always = {0: told(np.zeros(100, int), 3), 1: told(np.ones(100, int), 3)}
    for name in OF_MODELS:
        found, one = metric(name, THREE), name in ("precision", "recall", "f1", "f2", "f0.5")
        predicted = always[1 if one else 0]
        if name == "wss95":
            continue  # what is right of an order by chance, not of one without an order: 5 % less
        if name in ("auc", "average_precision", "log_loss", "brier"):
            predicted = np.tile([0.7, 0.2, 0.1], (100, 1))
        value = found.value(truth, predicted)
        step = 0.001 if found.lower_is_better else -0.001
        easy, hard = (TargetSettings(metric=name, positive="b", value=value + s) for s in (step, -step))
        assert doubt(THREE, easy, shares), name
        assert not doubt(THREE, hard, shares), name
