"""Batches whose rows differ: k-center, cluster-margin, BADGE, ranked batches, density."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pools import CLASSES, N, asked, bare_view, dense, features, ids_of, predict, rng, view_of
from scipy import sparse

from query_strategies import (
    Badge,
    ClusterMargin,
    Density,
    Entropy,
    KCenter,
    KLMean,
    LeastConfidence,
    Margin,
    PoolStrategy,
    PoolView,
    RankedBatch,
    StrategyError,
)
from query_strategies.diversity import mean_similarity
from query_strategies.farthest import farthest_first

Reals = NDArray[np.float64]

WITH_COPIES: list[PoolStrategy] = [KCenter(), ClusterMargin(), Badge(), RankedBatch(), Density()]
EVERY = pytest.mark.parametrize("strategy", WITH_COPIES, ids=[strategy.name for strategy in WITH_COPIES])


@pytest.fixture
def small_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fronts of few rows, so that a small pool needs many of them."""
    monkeypatch.setattr("query_strategies.farthest.FRONT_ROWS", 5)


def distances(X: Any, others: Any) -> Reals:
    lengths: Reals = np.linalg.norm(dense(X)[:, None] - dense(others)[None], axis=2)
    return lengths


def doubtful(n: int, n_classes: int = 3, seed: int = 0) -> Reals:
    return rng(seed).dirichlet(np.full(n_classes, 0.7), size=n)


def table_view(X: Any, proba: Any, ids: Any = None, **more: Any) -> PoolView:
    return PoolView.from_predictions(ids_of(len(proba)) if ids is None else ids, proba, X=X, **more)


# What other libraries get wrong.


@EVERY
@pytest.mark.parametrize(("offset", "kind"), [(0.0, np.float64), (1e5, np.float32), (1e9, np.float64)])
def test_where_rows_are_copies_no_row_comes_twice_and_all_different_ones_come_first(
    strategy: PoolStrategy, offset: float, kind: Any
) -> None:
    different = (rng(2).normal(size=(8, 3)) + offset).astype(kind)
    X = np.repeat(different, 10, axis=0)
    for seed in range(5):
        view = table_view(X, np.repeat(doubtful(8, seed=seed), 10, axis=0))
        selection = asked(strategy, view, 20, seed)
        assert len(set(selection.rows.tolist())) == 20
        if strategy.name in ("k_center", "badge"):
            assert len({tuple(row) for row in X[selection.rows[:8]].tolist()}) == len(np.unique(different, axis=0))
            assert selection.utilities[7] > 0
            assert not selection.utilities[8:].any()


@EVERY
def test_asking_twice_leaves_no_trace(strategy: PoolStrategy) -> None:
    view = view_of(features())
    first = asked(strategy, view, 9)
    assert len(asked(strategy, view_of(features(30, seed=5)), 9)) == 9
    second = asked(strategy, view, 9)
    np.testing.assert_array_equal(first.rows, second.rows)


@EVERY
def test_the_rows_of_a_part_of_a_matrix_are_counted_from_its_start(strategy: PoolStrategy) -> None:
    X, part = features(), np.arange(40, 52)
    whole = view_of(X[part], ids_of(12))
    cut = PoolView(ids_of(12), X, rows=part, predict=predict, classes=CLASSES, labelled_X=whole.labelled_X)
    np.testing.assert_array_equal(asked(strategy, cut, 6).rows, asked(strategy, whole, 6).rows)


@EVERY
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_empty_rows_can_be_chosen_from(strategy: PoolStrategy, form: Any) -> None:
    X = np.where(np.arange(N)[:, None] % 3 == 0, 0.0, features())
    for labelled in (X[:3], X[:0]):
        selection = asked(strategy, view_of(form(X), labelled_X=form(labelled)), N)
        assert sorted(selection.rows.tolist()) == list(range(N))
        assert np.isfinite(selection.utilities).all()


@pytest.mark.parametrize("strategy", [KCenter(), RankedBatch()], ids=["k_center", "ranked_batch"])
def test_copies_of_labelled_rows_are_not_wanted(strategy: PoolStrategy) -> None:
    X = np.concatenate([rng(0).normal(size=(30, 4)), rng(1).normal(size=(30, 4))])
    selection = asked(strategy, table_view(X, np.full((60, 2), 0.5), labelled_X=X[:30]), 20)
    assert selection.rows.min() >= 30


# Farthest-first.


def farthest_by_hand(X: Any, known: Any, n: int) -> tuple[list[int], Reals]:
    """One pass over all rows for every pick."""
    rows, numbers = [], dense(X)
    gap = distances(X, known).min(axis=1) if len(dense(known)) else np.full(len(numbers), np.inf)
    if np.isinf(gap).all():
        rows.append(int(np.linalg.norm(numbers - numbers.mean(axis=0), axis=1).argmin()))
        gap = distances(X, numbers[rows])[:, 0]
    found = [gap.max()] * len(rows)
    while len(rows) < n:
        rows.append(int(gap.argmax()))
        found.append(gap.max())
        gap = np.minimum(gap, distances(X, numbers[rows[-1:]])[:, 0])
    return rows, np.array(found)


def test_k_center_takes_the_farthest_row_again_and_again() -> None:
    X = np.array([[0.0], [1.0], [4.0], [9.0], [20.0]])
    view = bare_view(X, predict=None, labelled_X=np.array([[0.0]]), pending_X=np.array([[19.0]]))
    selection = asked(KCenter(), view, 5)
    assert selection.rows.tolist()[:2] == [3, 2]
    np.testing.assert_allclose(selection.utilities, [9, 4, 1, 1, 0], rtol=1e-12)
    assert selection.rows[4] == 0
    assert selection.why[0] == {"distance": pytest.approx(9)}


def test_k_center_starts_at_the_centre_where_nothing_is_known() -> None:
    X = np.array([[0.0], [1.0], [4.0], [6.0], [13.0]])
    selection = asked(KCenter(), bare_view(X, predict=None), 3)
    assert selection.rows.tolist() == [2, 4, 0]
    np.testing.assert_allclose(selection.utilities, [9, 9, 4], rtol=1e-12)
    assert selection.why[0] == {"start": "nearest to the mean of the pool"}


@pytest.mark.usefixtures("small_front")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("labelled", [0, 7])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 80), width=st.integers(1, 6))
def test_k_center_chooses_what_a_pass_over_all_rows_for_each_pick_chooses(
    form: Any, labelled: int, seed: int, n: int, width: int
) -> None:
    X = rng(seed).normal(size=(80, width)) * rng(seed + 1).choice([0.1, 1, 5], size=(80, 1))
    known = rng(seed + 2).normal(size=(labelled, width))
    view = bare_view(form(X), predict=None, labelled_X=form(known))
    rows, utilities = farthest_by_hand(X, known, n)
    selection = asked(KCenter(), view, n)
    assert selection.rows.tolist() == rows
    np.testing.assert_allclose(selection.utilities, utilities, rtol=1e-6)


@pytest.mark.parametrize("kind", ["clusters", "ball"])
def test_k_center_is_exact_in_a_pool_that_is_larger_than_its_front(kind: str) -> None:
    draw = rng(3)
    centres = 6 * draw.normal(size=(20, 5)) if kind == "clusters" else np.zeros((1, 5))
    X = centres[draw.integers(0, len(centres), 30_000)] + draw.normal(size=(30_000, 5))
    selection = asked(KCenter(), bare_view(X, predict=None, labelled_X=X[:1]), 60)
    assert selection.rows.tolist() == farthest_by_hand(X, X[:1], 60)[0]


def test_no_row_is_farther_than_twice_what_the_batch_could_reach() -> None:
    """Eight tight groups: with one row of each, no row is farther than a group is wide."""
    groups = np.repeat(100 * rng(1).normal(size=(8, 3)), 30, axis=0)
    X = groups + rng(2).uniform(-1, 1, size=groups.shape)
    chosen = X[asked(KCenter(), bare_view(X, predict=None), 8).rows]
    assert distances(X, chosen).min(axis=1).max() < 2 * np.sqrt(3)


@pytest.mark.usefixtures("small_front")
@pytest.mark.parametrize("seed", range(10))
def test_a_gain_that_grows_while_nothing_comes_nearer_is_not_missed(seed: int) -> None:
    """With every pick the distance counts less, and what rows are worth by themselves 1 / 50 more."""
    X, worth = rng(seed).normal(size=(50, 3)), rng(seed + 1).random(50)

    def gain(distance: Any, rows: Any, picks: int) -> Any:
        return (1 - picks / 50) * np.minimum(np.sqrt(distance), 1) + picks / 50 * worth[rows]

    view = PoolView(np.arange(50), X, labelled_X=X[:1] + 9)
    cover = farthest_first(view, 50, rng(), lambda rows: rows.astype(np.uint64), gain, growth=worth.max() / 50)
    gap, left = distances(X, X[:1] + 9)[:, 0], set(range(50))
    for picks, row in enumerate(cover.rows.tolist()):
        wanted = gain(gap**2, np.arange(50), picks)
        assert wanted[row] == pytest.approx(max(wanted[each] for each in left), rel=1e-8)
        left.remove(row)
        gap = np.minimum(gap, distances(X, X[[row]])[:, 0])


# Cluster-margin.


def test_cluster_margin_takes_the_closest_margin_of_each_cluster() -> None:
    X = np.repeat([[0.0], [100.0], [200.0]], [20, 6, 4], axis=0) + rng(0).normal(size=(30, 1))
    margins = rng(1).permutation(30) / 60
    view = table_view(X, np.column_stack([0.5 + margins / 2, 0.5 - margins / 2]))
    selection = asked(ClusterMargin(factor=100), view, 3)
    expected = [part[margins[part].argmin()] for part in np.split(np.arange(30), [20, 26])]
    assert selection.rows.tolist() == sorted(expected, key=lambda row: margins[row])
    np.testing.assert_allclose(selection.utilities, 1 - np.sort(margins[expected]))
    assert sorted(why["cluster_size"] for why in selection.why) == [4, 6, 20]
    assert selection.why[0]["margin"] == pytest.approx(margins[expected].min())


def test_cluster_margin_looks_at_the_closest_margins_only() -> None:
    view = view_of(features())
    closest = asked(Margin(), view, 10).rows
    assert set(asked(ClusterMargin(factor=2.5), view, 4).rows.tolist()) <= set(closest.tolist())
    np.testing.assert_array_equal(asked(ClusterMargin(factor=1), view, 10).rows, closest)


def test_where_clusters_run_out_the_smallest_has_its_second_turn_first() -> None:
    """Three different rows: copies of one make a cluster, and margins are ordered by the row's number."""
    X = np.repeat([[0.0], [9.0], [40.0]], [6, 3, 2], axis=0)
    margins = np.arange(11) / 20
    view = table_view(X, np.column_stack([0.5 + margins / 2, 0.5 - margins / 2]))
    chosen = [asked(ClusterMargin(factor=20), view, n).rows.tolist() for n in (3, 4, 5, 6, 8, 11)]
    assert chosen[:4] == [[0, 6, 9], [0, 6, 9, 10], [0, 6, 9, 7, 10], [0, 6, 9, 1, 7, 10]]
    assert chosen[4] == [0, 6, 9, 1, 7, 10, 2, 8]
    assert chosen[5] == [0, 6, 9, 1, 7, 10, 2, 8, 3, 4, 5]


def test_more_clusters_than_are_looked_for_give_more_than_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_strategies.diversity.MAX_CLUSTERS", 4)
    selection = asked(ClusterMargin(), view_of(features()), 10)
    assert len(set(selection.rows.tolist())) == 10


# BADGE.


def gradients_by_hand(X: Any, proba: Reals) -> Reals:
    """(n, C · d), written down."""
    residuals = proba - np.eye(proba.shape[1])[proba.argmax(axis=1)]
    gradients: Reals = (residuals[:, :, None] * dense(X)[:, None]).reshape(len(proba), -1)
    return gradients


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_badge_measures_gradients_without_writing_them_down(form: Any) -> None:
    X, proba = features(), predict(features())
    gradients = gradients_by_hand(X, proba.mean(axis=0))
    for seed in range(5):
        selection = asked(Badge(), table_view(form(X), proba, ids_of()), 25, seed)
        rows = selection.rows
        assert rows[0] == np.linalg.norm(gradients, axis=1).argmax()
        np.testing.assert_allclose(
            [why["gradient"] for why in selection.why], np.linalg.norm(gradients[rows], axis=1), rtol=1e-5
        )
        gaps = [distances(gradients[rows[[i]]], gradients[rows[:i]]).min() for i in range(1, 25)]
        np.testing.assert_allclose([why["distance"] for why in selection.why[1:]], gaps, rtol=1e-4)
        np.testing.assert_allclose(
            selection.utilities, np.minimum.accumulate([why["distance"] for why in selection.why])
        )


@pytest.mark.parametrize("refusals", [0.0, 100.0])
def test_badge_draws_with_a_probability_proportional_to_the_squared_distance(
    monkeypatch: pytest.MonkeyPatch, refusals: float
) -> None:
    """Whether distances are worked out again after each refusal or never, the third row has the same chances."""
    monkeypatch.setattr("query_strategies.gradients.REFUSALS", refusals)
    X, proba = rng(1).normal(size=(6, 2)), doubtful(6, seed=2)
    gradients = gradients_by_hand(X, proba)
    square = distances(gradients, gradients) ** 2
    first = int(np.linalg.norm(gradients, axis=1).argmax())
    expected, counts = np.zeros((6, 6)), np.zeros((6, 6))
    for second in set(range(6)) - {first}:
        left = np.minimum(square[first], square[second])
        expected[second] = square[first, second] / square[first].sum() * left / left.sum()
    view, draws = table_view(X, proba), 1500
    for seed in range(draws):
        rows = asked(Badge(), view, 3, seed).rows
        assert rows[0] == first
        counts[rows[1], rows[2]] += 1
    assert np.all(np.abs(counts - draws * expected) < 5 * np.sqrt(draws * expected * (1 - expected)) + 1e-9)


def test_badge_leaves_rows_without_doubt_to_the_end() -> None:
    proba = doubtful(N, seed=3)
    proba[::2] = [1, 0, 0]
    rows = asked(Badge(), table_view(features() + 1, proba), N).rows
    assert np.count_nonzero(rows[: N // 2] % 2 == 0) <= 1
    assert len(set(rows.tolist())) == N


def test_badge_agrees_across_rows_in_any_order_in_a_large_pool() -> None:
    X, proba = rng(0).normal(size=(5_000, 4)), doubtful(5_000)
    ids, shuffled = ids_of(5_000), rng(1).permutation(5_000)
    whole = asked(Badge(), table_view(X, proba, ids), 200)
    mixed = asked(Badge(), table_view(X[shuffled], proba[shuffled], ids[shuffled]), 200)
    np.testing.assert_array_equal(shuffled[mixed.rows], whole.rows)
    assert len(set(whole.rows.tolist())) == 200


# Ranked batches.


def test_ranked_batches_are_those_of_modal() -> None:
    from modAL.batch import ranked_batch

    for seed in range(5):
        X, proba = rng(seed).normal(size=(200, 4)), doubtful(200, seed=seed)
        known = rng(seed + 50).normal(size=(30 * seed + 1, 4))
        learner = SimpleNamespace(X_training=known, on_transformed=False)
        theirs, scores = ranked_batch(learner, X, 1 - proba.max(axis=1), 40, "euclidean", None)
        selection = asked(RankedBatch(), table_view(X, proba, labelled_X=known), 40)
        assert selection.rows.tolist() == theirs.tolist()
        np.testing.assert_allclose([why["utility"] for why in selection.why], scores)


@pytest.mark.usefixtures("small_front")
@pytest.mark.parametrize("inner", [LeastConfidence(), Entropy()])
def test_a_ranked_batch_weighs_distance_against_doubt_by_the_share_of_rows_not_known(inner: Any) -> None:
    X, proba = rng(7).normal(size=(80, 3)), doubtful(80, seed=8)
    known, pending = rng(9).normal(size=(50, 3)), rng(10).normal(size=(20, 3))
    scores = inner.utilities(proba[None])
    selection = asked(RankedBatch(inner), table_view(X, proba, labelled_X=known, pending_X=pending), 60)
    gap, taken = distances(X, np.vstack([known, pending])).min(axis=1), np.zeros(80, dtype=bool)
    for picks, (row, why) in enumerate(zip(selection.rows, selection.why, strict=True)):
        alpha = (80 - picks) / 150
        sums = np.where(taken, -1, alpha * (1 - 1 / (1 + gap)) + (1 - alpha) * scores)
        assert row == sums.argmax()
        assert why["alpha"] == pytest.approx(alpha)
        assert why["similarity"] == pytest.approx(1 / (1 + gap[row]))
        assert selection.utilities[picks] <= sums[row] + 1e-12
        taken[row] = True
        gap = np.minimum(gap, distances(X, X[[row]])[:, 0])


def test_a_ranked_batch_without_labels_starts_at_the_centre_and_repeats_no_row() -> None:
    X = np.repeat(features(20), 2, axis=0)
    selection = asked(RankedBatch(), table_view(X, doubtful(40)), 40)
    assert sorted(selection.rows.tolist()) == list(range(40))
    centre = np.linalg.norm(X - X.mean(axis=0), axis=1)
    assert centre[selection.rows[0]] == centre.min()
    assert selection.utilities[0] == 1
    assert selection.why[0]["similarity"] == 0


def test_a_ranked_batch_of_a_committee_keeps_away_from_its_labelled_rows() -> None:
    from modAL.models import ActiveLearner, Committee
    from sklearn.naive_bayes import GaussianNB

    X = np.concatenate([rng(0).normal(size=(40, 2)), 30 + rng(1).normal(size=(5, 2))])
    known, y = rng(2).normal(size=(12, 2)), np.arange(12) % 2
    members = [ActiveLearner(GaussianNB(), X_training=known, y_training=y) for _ in range(2)]
    chosen, _ = Committee(members, RankedBatch()).query(X, n_instances=1)
    assert chosen[0] >= 40


# Density.


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_density_is_the_score_times_the_information_density_of_modal(beta: float) -> None:
    from modAL.density import information_density

    X, proba = features(), doubtful(N)
    selection = asked(Density(beta=beta), table_view(X, proba), N)
    expected = Margin().utilities(proba[None]) * information_density(X) ** beta
    np.testing.assert_allclose(selection.utilities, np.sort(expected)[::-1], rtol=1e-6)
    np.testing.assert_allclose(selection.utilities, expected[selection.rows], rtol=1e-6)


def test_among_rows_that_are_equally_unsure_an_outlier_comes_last() -> None:
    X = np.concatenate([rng(0).normal(size=(99, 3)), np.full((1, 3), 40.0)])
    for inner in ("margin", "entropy", "least_confidence"):
        selection = asked(Density(inner), table_view(X, np.full((100, 2), 0.5)), 100)
        assert selection.rows[-1] == 99


def test_a_sample_stands_for_a_larger_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    X = rng(0).normal(size=(5_000, 8)) * rng(1).choice([0.3, 1, 3], size=(5_000, 1))
    view = bare_view(X, predict=None)
    sampled = mean_similarity(view, rng(2))
    monkeypatch.setattr("query_strategies.diversity.REFERENCES", 5_000)
    exact = mean_similarity(view, rng(2))
    by_hand = np.mean(1 / (1 + distances(X[:50], X)), axis=1)
    np.testing.assert_allclose(exact[:50], by_hand, rtol=1e-6)
    assert np.abs(sampled / exact - 1).max() < 0.03
    assert np.abs(sampled / exact - 1).mean() < 0.01


def test_a_row_of_the_sample_is_not_favoured_for_being_like_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are all far from each other: what counts is the others, wherever the sample falls."""
    X = 100 * np.eye(60)
    monkeypatch.setattr("query_strategies.diversity.REFERENCES", 10)
    similar = mean_similarity(bare_view(X, predict=None), rng())
    np.testing.assert_allclose(similar, similar[0])
    np.testing.assert_allclose(similar[0], (1 + 59 / (1 + 100 * np.sqrt(2))) / 60, rtol=1e-6)


# Options.


def test_options_that_mean_nothing_are_refused() -> None:
    for factor in (0.5, np.inf, np.nan):
        with pytest.raises(StrategyError, match=f"factor is {factor}"):
            ClusterMargin(factor=factor)
    for beta in (-1.0, np.inf, np.nan):
        with pytest.raises(StrategyError, match=f"beta is {beta}"):
            Density(beta=beta)
    for kind in (RankedBatch, Density):
        with pytest.raises(StrategyError, match=f"{kind.name} weighs the utility of every row, and kmeans works out"):
            kind("kmeans")


@pytest.mark.parametrize("kind", [RankedBatch, Density])
def test_the_inner_score_brings_its_needs_with_it(kind: Any) -> None:
    assert kind(KLMean()).needs_members == 2
    assert kind().needs == kind.needs == {"proba", "X"}
    selection = asked(kind("kl_mean"), view_of(features()), 5)
    assert "votes" in selection.why[0]
