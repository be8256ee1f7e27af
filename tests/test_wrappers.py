"""Strategies around a strategy: noise, costs, sub-samples, and a share of random rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pools import N, asked, bare_view, features, ids_of, rng, view_of
from scipy import stats

import query_strategies
from query_strategies import (
    STRATEGIES,
    CostAware,
    Entropy,
    KLMean,
    KMeans,
    Margin,
    Mixture,
    PoolStrategy,
    PoolView,
    Power,
    PredictionError,
    Random,
    RareFloor,
    ScoreStrategy,
    Seals,
    StrategyError,
    SubSample,
    make,
)
from query_strategies.wrappers import Wrapper, spread

AROUND_ANY: list[type[Wrapper]] = [SubSample, Mixture, Seals]
AROUND_SCORES: list[type[Wrapper]] = [Power, CostAware]
EVERY_WRAPPER = pytest.mark.parametrize("kind", [*AROUND_ANY, *AROUND_SCORES, RareFloor])
EVERY_INNER = pytest.mark.parametrize("inner", list(STRATEGIES))


def of_margins(margins: Any, ids: Any = None, **more: Any) -> PoolView:
    """A pool of two classes whose rows have these utilities by margin."""
    first = 1 - np.asarray(margins, dtype=float) / 2
    return PoolView.from_predictions(ids, np.column_stack([first, 1 - first]), **more)


# Around anything.


@EVERY_WRAPPER
def test_what_the_inner_strategy_needs_and_chooses_for_holds_for_the_wrapper(kind: type[Wrapper]) -> None:
    assert kind().needs == kind("margin").needs == kind(Margin()).needs == kind.needs == {"proba"} | kind.adds
    committee = kind(KLMean())
    assert committee.needs_members == 2
    assert committee.needs == KLMean.needs | kind.adds
    if kind in AROUND_ANY:
        assert kind("kmeans").needs == {"X"} | kind.adds
        assert kind("kmeans").tasks == KMeans.tasks
        assert kind("random").needs == kind.adds


@EVERY_WRAPPER
def test_the_representation_shows_the_inner_strategy_as_it_was_given(kind: type[Wrapper]) -> None:
    for inner, shown in (("entropy", "inner='entropy'"), (Power("entropy", beta=2.0), "beta=2.0, seed=0)")):
        if kind in AROUND_SCORES and isinstance(inner, Power):
            inner, shown = Entropy(seed=7), "inner=Entropy(seed=7)"
        made = kind(inner)  # type: ignore[arg-type]
        assert shown in repr(made)
        assert repr(eval(repr(made), vars(query_strategies))) == repr(made)


@EVERY_WRAPPER
def test_what_is_no_strategy_is_refused(kind: type[Wrapper]) -> None:
    with pytest.raises(StrategyError, match=f"{kind.name} wraps a strategy or the name of one, and 3 is neither"):
        kind(3)  # type: ignore[arg-type]
    with pytest.raises(StrategyError, match='unknown strategy "margn"'):
        kind("margn")


@pytest.mark.parametrize("kind", AROUND_SCORES)
@pytest.mark.parametrize("inner", ["kmeans", "random", "mixture"])
def test_what_gives_no_utility_to_every_row_cannot_be_weighed(kind: type[Wrapper], inner: str) -> None:
    with pytest.raises(StrategyError, match=f"{kind.name} weighs the utility of every row, and {inner} works out"):
        kind(inner)


@EVERY_INNER
@pytest.mark.parametrize("kind", AROUND_ANY)
def test_every_strategy_can_be_wrapped_for_every_kind_of_label_it_chooses_for(kind: type[Wrapper], inner: str) -> None:
    wrapped = SubSample(inner, size=20) if kind is SubSample else kind(inner)
    for task in sorted(wrapped.tasks):
        selection = asked(wrapped, view_of(features(), task=task), 9)
        assert len(set(selection.rows.tolist())) == 9
        again = asked(wrapped, view_of(features()[::-1], ids_of()[::-1], task, block_size=7), 9)
        np.testing.assert_array_equal(N - 1 - again.rows, selection.rows)


@EVERY_INNER
@pytest.mark.parametrize("kind", AROUND_SCORES)
def test_every_score_can_be_weighed(kind: type[Wrapper], inner: str) -> None:
    if not isinstance(make(inner), ScoreStrategy):
        return
    for task in sorted(kind(inner).tasks):
        selection = asked(kind(inner), view_of(features(), task=task, block_size=8), 9)
        assert len(set(selection.rows.tolist())) == 9
        assert all(why["utility"] >= 0 for why in selection.why)


# Power.


def test_the_first_row_is_drawn_with_probability_of_its_utility_to_the_power_of_beta() -> None:
    utilities = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    view, counts = of_margins(utilities), np.zeros(5)
    for seed in range(600):
        counts[asked(Power(beta=2.0), view, 1, seed).rows] += 1
    np.testing.assert_allclose(counts / 600, utilities**2 / (utilities**2).sum(), atol=0.07)
    assert counts[4] == 0


def test_noise_has_the_gumbel_distribution_and_is_another_one_at_the_next_query() -> None:
    view = of_margins(np.ones(3000))
    first, second = (asked(Power(), view, 3000, seed) for seed in range(2))
    for selection in (first, second):
        assert stats.kstest([why["noise"] for why in selection.why], "gumbel_r").pvalue > 0.001
    assert len(set(first.rows[:100].tolist()) & set(second.rows[:100].tolist())) < 20


def test_a_perturbed_utility_is_the_inner_one_times_e_to_the_noise_that_why_tells() -> None:
    X = features(300, seed=3)
    selection = asked(Power("entropy", beta=2.0), view_of(X, block_size=64), 300)
    inner = Entropy().utilities(next(iter(view_of(X, np.arange(300, dtype=np.uint64)).blocks()))[1])
    np.testing.assert_array_equal([why["utility"] for why in selection.why], inner[selection.rows])
    noise = np.array([why["noise"] for why in selection.why])
    np.testing.assert_allclose(selection.utilities, inner[selection.rows] * np.exp(noise))
    assert selection.why[0]["entropy"] == inner[selection.rows[0]]


def test_the_best_of_a_part_are_the_best_of_all() -> None:
    view = view_of(features(300, seed=3), block_size=32)
    whole = asked(Power(), view, 300)
    np.testing.assert_array_equal(asked(Power(), view, 20).rows, whole.rows[:20])


def test_with_large_beta_the_choice_is_the_inner_one_and_with_tiny_beta_utilities_stay_finite() -> None:
    view = of_margins(np.linspace(0.01, 1, 40))
    np.testing.assert_array_equal(asked(Power(beta=1e6), view, 10).rows, asked(Margin(), view, 10).rows)
    for seed in range(20):
        assert np.isfinite(asked(Power(beta=1e-3), view, 40, seed).utilities).all()


def test_rows_without_utility_come_last_and_rows_of_one_id_are_taken_once_each() -> None:
    view = of_margins([0.0, 0.5, 0.0, 0.01, 0.0], [7, 7, 7, 7, 7])
    selection = asked(Power(), view, 5)
    assert sorted(selection.rows.tolist()) == [0, 1, 2, 3, 4]
    assert set(selection.rows[:2].tolist()) == {1, 3}
    assert selection.utilities[2:].tolist() == [0, 0, 0]


def test_noise_takes_a_batch_from_more_places_than_the_best_one() -> None:
    place = np.repeat(np.arange(10), 50)
    view = of_margins(0.9 - 0.01 * place + 1e-4 * rng(1).random(500))
    assert set(place[asked(Margin(), view, 30).rows].tolist()) == {0}
    assert len(set(place[asked(Power(), view, 30).rows].tolist())) >= 8


def test_a_utility_below_zero_is_refused_by_row() -> None:
    class Below(ScoreStrategy):
        name = "below"

        def utilities(self, predictions: Any) -> Any:
            return 0.7 - predictions[0, :, 0]

    with pytest.raises(PredictionError, match=r"below gives row 1 the utility -0\.2.*: it must be 0 or more"):
        asked(Power(Below()), of_margins([0.9, 0.2]), 1)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.inf, np.nan])
def test_a_beta_that_is_not_above_zero_is_refused(beta: float) -> None:
    with pytest.raises(StrategyError, match="beta is"):
        Power(beta=beta)


# Cost.


def test_utility_counts_per_second_and_no_row_is_favoured_more_than_the_cap() -> None:
    view = of_margins([0.8, 0.8, 0.8, 0.4, 0.3], cost=[1.0, 10.0, 900.0, 6.0, 10.0])
    selection = asked(CostAware(), view, 5)
    assert selection.rows.tolist() == [0, 1, 3, 2, 4]
    np.testing.assert_allclose(selection.utilities, [0.8 / 5, 0.8 / 10, 0.4 / 6, 0.8 / 20, 0.3 / 10])
    assert selection.why[0] == {
        **asked(Margin(), view, 1).why[0],
        "utility": pytest.approx(0.8),
        "expected_s": 1.0,
        "counted_s": 5.0,
    }
    np.testing.assert_allclose(asked(CostAware(cap=100), view, 1).utilities, [0.8])


def test_with_a_cap_of_one_costs_are_left_out() -> None:
    view = view_of(features())
    np.testing.assert_array_equal(asked(CostAware(cap=1), view, 20).rows, asked(Margin(), view, 20).rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000), st.floats(1, 50))
def test_a_weighed_choice_is_that_of_a_full_sort(n: int, seed: int, cap: float) -> None:
    draw = rng(seed)
    utilities, cost = draw.random(n), draw.lognormal(3, 2, n)
    selection = asked(CostAware(cap=cap), of_margins(utilities, cost=cost, block_size=7), max(1, n // 2))
    middle = np.median(cost)
    weighed = utilities / np.clip(cost, middle / np.sqrt(cap), middle * np.sqrt(cap))
    np.testing.assert_allclose(selection.utilities, np.sort(weighed)[::-1][: len(selection)], rtol=1e-9)


@pytest.mark.parametrize("bad", [0.0, -3.0, np.nan, np.inf])
def test_a_cost_that_is_no_time_is_refused_by_row(bad: float) -> None:
    with pytest.raises(StrategyError, match=f"the cost of row 1 is {bad} seconds: give a finite time above 0"):
        asked(CostAware(), of_margins([0.1, 0.2, 0.3], cost=[1.0, bad, 2.0]), 1)


def test_costs_of_another_pool_are_refused_with_both_numbers() -> None:
    with pytest.raises(StrategyError, match=r"costs have shape \(2,\), and the pool has 3 rows"):
        asked(CostAware(), of_margins([0.1, 0.2, 0.3], cost=[1.0, 2.0]), 1)


def test_a_cap_below_one_is_refused() -> None:
    with pytest.raises(StrategyError, match=r"cap is 0\.5"):
        CostAware(cap=0.5)


# Sub-samples.


def test_a_pool_that_is_small_enough_is_left_to_the_inner_strategy() -> None:
    for inner in ("margin", "kmeans", "random"):
        own, wrapped = (asked(each, view_of(features()), 9) for each in (make(inner), SubSample(inner, size=N)))
        np.testing.assert_array_equal(wrapped.rows, own.rows)
        assert wrapped.why == own.why


def test_the_inner_strategy_sees_the_sample_only_and_every_row_is_drawn_equally_often() -> None:
    predicted: list[int] = []

    def watched(X: Any) -> Any:
        predicted.append(len(X))
        return np.full((len(X), 3), 1 / 3)

    view, counts = view_of(features(), predict=watched), np.zeros(N)
    for seed in range(200):
        selection = asked(SubSample(size=20), view, 10, seed)
        counts[selection.rows] += 1
    assert set(predicted) == {20}
    assert selection.why[0]["candidates"] == 20
    assert selection.why[0]["pool"] == N
    assert np.all(np.abs(counts - 200 * 10 / N) < 25)


def test_a_sample_grows_to_the_size_of_the_batch() -> None:
    assert len(asked(SubSample(size=5), view_of(features()), 30)) == 30
    with pytest.raises(StrategyError, match="size is 0"):
        SubSample(size=0)


# Mixtures.


def random_places(selection: Any) -> NDArray[np.bool_]:
    return np.array(["drawn" in why for why in selection.why])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, N), st.floats(0, 1), st.integers(0, 100))
def test_every_beginning_of_a_mixture_keeps_the_share(n: int, share: float, seed: int) -> None:
    selection = asked(Mixture(share=share), view_of(features()), n, seed)
    kept = np.cumsum(random_places(selection))
    assert np.all(np.abs(kept - share * np.arange(1, n + 1)) < 1 + 1e-9)


def test_a_share_is_kept_on_average_also_where_rows_are_asked_for_one_by_one() -> None:
    """A mixture that draws with a generator made anew from its seed is either always or never random."""
    view = view_of(features())
    drawn = [random_places(asked(Mixture(share=0.3), view, 1, seed))[0] for seed in range(300)]
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.1)


def test_random_rows_come_from_the_whole_pool_equally_often_and_the_others_are_the_best_of_the_rest() -> None:
    view = of_margins(np.linspace(0, 1, 20))
    counts = np.zeros(20)
    for seed in range(300):
        selection = asked(Mixture(share=0.4), view, 5, seed)
        placed = random_places(selection)
        rest = [row for row in range(19, -1, -1) if row not in selection.rows[placed]]
        assert selection.rows[~placed].tolist() == rest[:3]
        assert [selection.why[i] for i in np.flatnonzero(placed)] == [{"drawn": "at random", "probability": 0.1}] * 2
        counts[selection.rows[placed]] += 1
    assert np.all(np.abs(counts - 300 * 0.1) < 4 * (300 * 0.1 * 0.9) ** 0.5)


def test_random_rows_have_the_utility_of_the_row_before_them() -> None:
    view = of_margins(np.linspace(0, 1, 21))
    for seed in range(20):
        selection = asked(Mixture(share=0.5), view, 10, seed)
        placed = random_places(selection)
        own = selection.utilities[~placed]
        np.testing.assert_allclose(own, selection.rows[~placed] / 20)
        before = np.maximum(np.cumsum(~placed) - 1, 0)
        np.testing.assert_allclose(selection.utilities, own[before])


def test_without_a_share_a_mixture_is_the_inner_strategy_and_with_all_of_it_a_random_choice() -> None:
    view = view_of(features())
    inner = asked(Margin(), view, 12)
    assert asked(Mixture(share=0.0), view, 12).why == inner.why
    chosen = asked(Mixture(share=1.0), view, 12)
    assert chosen.utilities.tolist() == [1.0] * 12
    assert chosen.why[0]["probability"] == asked(Random(), view, 12).why[0]["probability"]


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_outside_zero_to_one_is_refused(share: float) -> None:
    for kind in (Mixture, RareFloor):
        with pytest.raises(StrategyError, match="share is"):
            kind(share=share)


def test_places_are_spread_by_the_share_from_a_phase() -> None:
    assert np.flatnonzero(spread(10, 0.25, 0.0)).tolist() == [3, 7]
    assert np.flatnonzero(spread(10, 0.25, 0.5)).tolist() == [1, 5, 9]
    assert spread(3, 1.0, 0.9).all()


def test_wrappers_go_around_wrappers() -> None:
    strategy: PoolStrategy = Mixture(SubSample(CostAware("entropy"), size=30), share=0.2)
    selection = asked(strategy, view_of(features()), 10)
    reasons: list[Mapping[str, Any]] = [why for why in selection.why if "drawn" not in why]
    assert len(reasons) == 8
    assert {"entropy", "utility", "expected_s", "candidates"} <= set(reasons[0])
    assert strategy.needs == {"proba", "cost"}


def test_a_wrapper_around_a_strategy_without_a_model_needs_no_model() -> None:
    for kind in AROUND_ANY:
        assert len(asked(kind("kmeans"), bare_view(features(), predict=None), 5)) == 5
