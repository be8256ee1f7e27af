"""Bounds against independent computations, and metrics by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, r2_score

from active_loop.errors import ConfigError
from active_loop.evaluate import (
    WRONG,
    Claim,
    Metric,
    fewest_right,
    lower_bound,
    mean_lower_bound,
    mean_upper_bound,
    metric_for,
    more_to_certify,
    posterior,
    truth_codes,
    upper_bound,
)
from active_loop.settings import METRICS, Settings, TargetSettings, TaskSettings, learned_as
from active_loop.tasks import TASKS, MultiLabel, Number, SingleChoice, Task, make_task


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


# Means of bounded values.


@pytest.mark.parametrize(
    ("name", "mean"), [("rare and large", 0.02), ("small", 0.1), ("one or the other", 0.5), ("large", 0.9)]
)
def test_the_bound_of_a_mean_misses_no_more_often_than_it_says(name: str, mean: float) -> None:
    rng = np.random.default_rng(5)
    draw = {
        "rare and large": lambda n: (rng.random(n) < 0.02).astype(float),
        "small": lambda n: rng.beta(1, 9, n),
        "one or the other": lambda n: (rng.random(n) < 0.5).astype(float),
        "large": lambda n: rng.beta(9, 1, n),
    }[name]
    level, runs = 0.1, 60
    for n in (20, 150):
        samples = [draw(n) for _ in range(runs)]
        too_low = sum(mean_upper_bound(x, level) < mean for x in samples)
        too_high = sum(mean_lower_bound(x, level) > mean for x in samples)
        assert max(too_low, too_high) <= stats.binom.ppf(0.999, runs, level)


def test_the_bound_of_a_mean_is_where_the_capital_of_all_stakes_refutes_it() -> None:
    x = np.array([0.0, 0.1, 0.3] * 20)
    bound = mean_upper_bound(x, 0.05)
    capital = [math.prod(1 + stake / 40 * (bound - value) for value in x) for stake in range(1, 41)]
    assert np.mean(capital) == pytest.approx(20, rel=1e-3)
    assert mean_lower_bound(1 - x, 0.05) == pytest.approx(1 - bound)


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0.001, 0.3), st.randoms(use_true_random=False))
def test_the_bound_of_a_mean_is_above_it_and_knows_no_order(values: list[float], level: float, rnd: object) -> None:
    bound = mean_upper_bound(np.array(values), level)
    assert (np.mean(values) if values else 0) <= bound <= 1
    assert mean_upper_bound(np.array(values[::-1]), level) == pytest.approx(bound, abs=1e-5)
    assert mean_upper_bound(np.array(values), level / 2) >= bound - 1e-5


# Every kind of label has its metrics.

TASK: dict[str, Task] = {
    "choice": SingleChoice(("a", "b", "c")),
    "multi_label": MultiLabel(("a", "b", "c")),
    "number": Number(0, 10),
}
EVERY = [(kind, name) for kind, task in TASK.items() for name in task.metrics if name != "found"]


def test_every_kind_of_label_is_read_as_one_of_these() -> None:
    assert {learned_as(kind) for kind in TASKS} == TASK.keys()


def metric(kind: str, name: str) -> Metric:
    return metric_for(TASK[kind], TargetSettings(metric=name, positive="b" if METRICS[name].of_one_class else ""))


def answers(kind: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Truth and mean predictions, right in about nine of ten."""
    right = rng.random(n) < 0.9
    if kind == "choice":
        truth = rng.integers(3, size=n)
        return truth, 0.1 + 0.7 * np.eye(3)[np.where(right, truth, (truth + 1) % 3)]
    if kind == "multi_label":
        sets = rng.integers(2, size=(n, 3))
        return sets, np.where(right[:, None], sets, 1 - sets).astype(float)
    numbers = rng.uniform(1, 9, size=n)
    return numbers, numbers + np.where(right, 0.1, 1.0)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_value_lies_in_its_interval_and_the_bound_on_the_safe_side(kind: str, name: str) -> None:
    rng = np.random.default_rng(2)
    truth, predicted = answers(kind, 80, rng)
    found = metric(kind, name)
    value = found.value(truth, predicted)
    reading = found.read(truth, predicted, rng)
    claim = found.claim(truth, predicted, 0.5, 0.025, rng)
    assert reading.value == claim.value == value
    assert reading.low <= value <= reading.high
    assert reading.n == claim.n == 80
    assert claim.lower_is_better == found.lower_is_better
    assert (claim.bound >= value) if found.lower_is_better else (claim.bound <= value)
    end = reading.high if found.lower_is_better else reading.low
    assert (claim.bound >= end - 0.02) if found.lower_is_better else (claim.bound <= end + 0.02)
    assert 0 <= claim.posterior <= 1


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_an_item_that_counts_as_wrong_makes_every_metric_worse(kind: str, name: str) -> None:
    truth, predicted = answers(kind, 40, np.random.default_rng(3))
    missing = truth.copy()
    missing[:4] = np.nan if kind == "number" else WRONG
    found = metric(kind, name)
    known, less = found.value(truth, predicted), found.value(missing, predicted)
    if name == "wss95":  # a step function: it may stand on the same step
        assert less <= known
    else:
        assert (less > known) if found.lower_is_better else (less < known)
    assert found.claim(missing, predicted, 0.5, 0.025, np.random.default_rng(0)).correct <= 40 - 4


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_settings_and_metrics_agree_on_what_can_be_certified_and_what_counts_errors(kind: str, name: str) -> None:
    for bounds in [(), (0.0, 10.0), (0.0, math.inf)] if kind == "number" else [()]:
        told = TaskSettings(kind=kind, classes=() if kind == "number" else ("a", "b"), bounds=bounds)
        found = metric_for(make_task(told), TargetSettings(metric=name))
        settings = Settings(task=told, target=TargetSettings(metric=name))
        assert found.certifiable == (settings.obstacle == "")
        assert found.lower_is_better == METRICS[name].error


def test_a_metric_that_a_kind_of_label_does_not_have_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r'metric is "mae", which labels of the kind "choice" do not have; known: acc'
    ):
        metric_for(TASK["choice"], TargetSettings(metric="mae"))
    with pytest.raises(ConfigError, match=r"known: mae, rmse, r2, spearman"):
        metric_for(TASK["number"], TargetSettings())
    with pytest.raises(ConfigError, match=r"of one class per item it would be the accuracy"):
        metric_for(TASK["choice"], TargetSettings(metric="micro_f1"))
    with pytest.raises(ConfigError, match=r'unknown target.metric "acuracy"; did you mean "accuracy"\?'):
        metric_for(TASK["choice"], TargetSettings(metric="acuracy"))


def test_a_metric_of_one_class_needs_to_know_which() -> None:
    three, recall = TASK["choice"], TargetSettings(metric="recall")
    with pytest.raises(ConfigError, match=r"about one class, and there are 3: set target.positive to one of a, b, c"):
        metric_for(three, recall)
    with pytest.raises(ConfigError, match=r'unknown target.positive "d"'):
        metric_for(three, TargetSettings(metric="recall", positive="d"))
    truth, predicted = np.array([0, 1, 1]), np.eye(2)[[0, 0, 1]]
    two = SingleChoice(("ham", "spam"))
    assert metric_for(two, recall).value(truth, predicted) == 0.5
    assert metric_for(two, TargetSettings(metric="recall", positive="ham")).value(truth, predicted) == 1


def test_at_most_the_target_is_reached_and_proven_from_above() -> None:
    claim = Claim(value=1.0, correct=0, n=9, bound=1.5, posterior=0.9, lower_is_better=True)
    assert [claim.reached(target) for target in (0.9, 1.0, 1.1)] == [False, True, True]
    assert [claim.proven(target) for target in (1.4, 1.5)] == [False, True]
    share = Claim(value=0.9, correct=9, n=10, bound=0.8, posterior=0.9)
    assert [share.reached(target) for target in (0.9, 0.91)] == [True, False]
    assert [share.proven(target) for target in (0.8, 0.81)] == [True, False]


def test_test_labels_are_encoded_and_what_has_none_counts_as_wrong() -> None:
    assert truth_codes(TASK["choice"], ["b", None]).tolist() == [1, WRONG]
    assert truth_codes(TASK["multi_label"], [None, '["a", "c"]']).tolist() == [[WRONG] * 3, [1, 0, 1]]
    assert truth_codes(TASK["multi_label"], [None]).tolist() == [[WRONG] * 3]
    numbers = truth_codes(TASK["number"], ["2.5", None])
    assert numbers[0] == 2.5
    assert math.isnan(numbers[1])


# Any number of classes.


def test_subset_accuracy_asks_for_the_whole_set() -> None:
    truth = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [WRONG] * 3])
    predicted = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]])
    found = metric("multi_label", "subset_accuracy")
    assert found.value(truth, predicted) == 0.5
    claim = found.claim(truth, predicted, 0.4, 0.05, np.random.default_rng(0))
    assert (claim.correct, claim.n, claim.bound) == (2, 4, lower_bound(2, 4, 0.05))
    assert claim.posterior == posterior(2, 4, 0.4)


def test_f1_of_sets_by_hand() -> None:
    """a: 2 found, 1 missed; b: 1 found, 1 invented; c: nowhere."""
    truth = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]])
    predicted = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert metric("multi_label", "macro_f1").value(truth, predicted) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metric("multi_label", "micro_f1").value(truth, predicted) == pytest.approx(6 / 8)
    nothing = np.zeros((2, 3), dtype=int)
    assert metric("multi_label", "macro_f1").value(nothing, nothing) == 0
    wrong = np.full((1, 3), WRONG)
    missed = np.vstack([truth, wrong])
    both_ways = np.vstack([predicted, [[1, 0, 0]]])  # a: 1 more invented; b, c: 1 more missed
    assert metric("multi_label", "micro_f1").value(missed, both_ways) == pytest.approx(6 / (8 + 3))


sets = st.lists(st.tuples(*[st.tuples(st.integers(0, 1), st.integers(0, 1))] * 3), min_size=1, max_size=30)


@given(sets)
def test_f1_of_sets_is_that_of_scikit_learn(rows: list[tuple[tuple[int, int], ...]]) -> None:
    truth, predicted = (np.array([[pair[side] for pair in row] for row in rows]) for side in (0, 1))
    seen = [c for c in range(3) if truth[:, c].any() or predicted[:, c].any()]
    macro = metric("multi_label", "macro_f1").value(truth, predicted)
    micro = metric("multi_label", "micro_f1").value(truth, predicted)
    if not seen:
        assert macro == micro == 0
    else:
        assert macro == pytest.approx(f1_score(truth, predicted, average="macro", labels=seen, zero_division=0))
        assert micro == pytest.approx(f1_score(truth, predicted, average="micro", zero_division=0))


def test_f1_of_sets_stays_unsure_when_everything_was_right() -> None:
    truth = np.eye(3, dtype=int)[np.arange(60) % 3]
    for name in ("micro_f1", "macro_f1"):
        claim = metric("multi_label", name).claim(truth, truth, 0.9, 0.025, np.random.default_rng(0))
        assert claim.value == 1
        assert 0.8 < claim.bound < 0.99


def test_the_interval_of_macro_f1_of_sets_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    found, hits, runs = metric("multi_label", "macro_f1"), 0, 60

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        truth = (rng.random((n, 3)) < [0.5, 0.3, 0.2]).astype(int)
        return truth, np.where(rng.random((n, 3)) < 0.08, 1 - truth, truth)

    true_value = found.value(*draw(200_000))
    for _ in range(runs):
        reading = found.read(*draw(100), rng)
        hits += reading.low <= true_value <= reading.high
    assert hits / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


# Numbers.


def test_metrics_of_numbers_by_hand() -> None:
    truth, predicted = np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.0, 2.0, 1.0, 7.0])
    values = {name: metric("number", name).value(truth, predicted) for name in Number.metrics}
    assert values["mae"] == pytest.approx(1.0)
    assert values["rmse"] == pytest.approx(math.sqrt(6 / 4))
    assert values["r2"] == pytest.approx(1 - 6 / 14)
    # ranks 1 2 3 4 against 2½ 2½ 1 4
    assert values["spearman"] == pytest.approx(stats.spearmanr(truth, predicted).statistic)


number_pairs = st.lists(
    st.tuples(st.integers(0, 10) | st.floats(0, 10), st.integers(0, 10) | st.floats(0, 10)), min_size=2, max_size=30
)


@given(number_pairs)
def test_metrics_of_numbers_are_those_of_scikit_learn_and_scipy(pairs: list[tuple[float, float]]) -> None:
    truth, predicted = np.array(pairs, dtype=float).T
    if np.ptp(truth) > 1e-3:
        assert metric("number", "r2").value(truth, predicted) == pytest.approx(r2_score(truth, predicted), rel=1e-6)
    found = metric("number", "spearman").value(truth, predicted)
    if np.ptp(truth) and np.ptp(predicted):
        assert found == pytest.approx(stats.spearmanr(truth, predicted).statistic)
    else:
        assert found == 0


def test_where_nothing_varies_nothing_is_explained() -> None:
    same, other = np.full(5, 3.0), np.arange(5.0)
    assert metric("number", "r2").value(same, same) == 0
    assert metric("number", "spearman").value(same, other) == metric("number", "spearman").value(other, same) == 0


def test_a_prediction_beyond_the_bounds_counts_as_the_bound() -> None:
    truth, predicted = np.array([0.0, 10.0]), np.array([-5.0, 12.0])
    assert metric("number", "mae").value(truth, predicted) == 0
    assert metric_for(Number(), TargetSettings(metric="mae")).value(truth, predicted) == 3.5


def test_a_number_without_an_answer_is_as_wrong_as_it_can_be() -> None:
    truth, predicted = np.array([2.0, math.nan, math.nan]), np.array([2.0, 3.0, 6.0])
    assert metric("number", "mae").value(truth, predicted) == pytest.approx((0 + 7 + 6) / 3)
    half_open = metric_for(Number(low=0), TargetSettings(metric="mae"))  # the last answer on the open side is 2
    assert half_open.value(truth, predicted) == pytest.approx((0 + 3 + 6) / 3)
    nobody = np.full(2, math.nan)
    for name, found in (("mae", 1e70), ("rmse", 1e70)):
        assert metric_for(Number(low=0), TargetSettings(metric=name)).value(nobody, np.zeros(2)) > found
    claim = metric_for(Number(), TargetSettings(metric="r2")).claim(
        nobody, np.arange(2.0), 0.5, 0.05, np.random.default_rng(0)
    )
    assert (claim.reached(0.5), claim.proven(0.5), claim.correct) == (False, False, 0)


def test_the_mean_absolute_error_between_bounds_has_a_bound_that_holds() -> None:
    truth = np.linspace(2, 8, 100)
    claim = metric("number", "mae").claim(truth, truth + 0.5, 1.2, 0.025, np.random.default_rng(0))
    assert claim.value == pytest.approx(0.5)
    assert claim.bound == pytest.approx(10 * mean_upper_bound(np.full(100, 0.05), 0.025))
    assert claim.proven(1.2)
    assert not claim.proven(1.0)
    assert claim.posterior > 0.99


def test_a_number_is_right_within_the_tolerance_of_its_task() -> None:
    truth, predicted = np.array([1.0, 2.0, 3.0, math.nan]), np.array([1.0, 2.5, 4.0, 1.0])
    for tolerance, correct in ((0.0, 1), (0.5, 2), (1.0, 3)):
        found = metric_for(Number(0, 10, tolerance=tolerance), TargetSettings(metric="mae"))
        assert found.claim(truth, predicted, 1.0, 0.05, np.random.default_rng(0)).correct == correct
