"""Choices that cover the pool."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pools import Reals, asked, bare_view, features, ids_of, predict, rng
from scipy import sparse

from query_strategies import MaxHerding, PoolStrategy, PoolView, ProbCover, StrategyError, UncertaintyHerding
from query_strategies.geometry import FEW, Landmarks, nearest_of, seed_centres, settle, squared_distances
from query_strategies.herding import Ground, distance_to_nearest, n_candidates, pure_radius

ALL = pytest.mark.parametrize("strategy", [MaxHerding(), UncertaintyHerding(), ProbCover()], ids=lambda s: s.name)


def distances(points: Reals, others: Reals) -> Reals:
    return np.linalg.norm(points[:, None] - others[None], axis=2)


def coverage(similar: Reals, weights: Reals, reached: Reals, picks: list[int]) -> float:
    """The mean over references of their weight times the similarity to the most similar pick, from the definition."""
    return float(np.mean(weights * np.maximum(reached, similar[picks].max(axis=0, initial=0))))


def greedy(similar: Reals, weights: Reals, reached: Reals, n: int) -> tuple[list[int], list[float]]:
    """Every candidate is looked at for every pick; the first of equal ones is taken."""
    picks: list[int] = []
    covered = [coverage(similar, weights, reached, [])]
    for _ in range(n):
        left = [row for row in range(len(similar)) if row not in picks]
        after = [coverage(similar, weights, reached, [*picks, row]) for row in left]
        if max(after) - covered[-1] < 1e-8:
            break
        least = covered[-1] + (max(after) - covered[-1]) * (1 - 1e-5)
        picks.append(next(row for row, value in zip(left, after, strict=True) if value >= least))
        covered.append(coverage(similar, weights, reached, picks))
    return picks, covered


def first_key(rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    return rows.astype(np.uint64)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 90), m=st.integers(1, 30), coarse=st.booleans())
def test_the_lazy_choice_is_the_eager_one(seed: int, n: int, m: int, coarse: bool) -> None:
    draw = rng(seed)
    similar = draw.random((n, m)).astype(np.float32)
    if coarse:
        similar = np.rint(2 * similar) / 2
    weights, reached = draw.random(m).astype(np.float32), (0.5 * draw.random(m)).astype(np.float32)
    ground = Ground(similar, weights, reached)
    picks, gains, covered = ground.covered_by(min(n, 12), first_key)
    expected, after = greedy(*(part.astype(float) for part in (similar, weights, reached)), n=min(n, 12))
    assert picks.tolist() == expected
    np.testing.assert_allclose(gains, np.diff(after), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(covered, after[1:], rtol=1e-5)


def test_a_lazy_look_at_many_candidates_is_the_eager_one() -> None:
    points = rng(1).normal(size=(700, 2))
    similar = np.exp(-(distances(points, points[:150]) ** 2)).astype(np.float32)
    ground = Ground(similar, np.ones(150, dtype=np.float32), np.zeros(150, dtype=np.float32))
    picks, _, _ = ground.covered_by(15, first_key)
    assert picks.tolist() == greedy(similar.astype(float), np.ones(150), np.zeros(150), 15)[0]


# MaxHerding.


def test_herding_raises_the_coverage_of_the_formula() -> None:
    X, labelled, pending = features(40), features(3, seed=1), features(2, seed=2)
    width = 0.5 * distances(X, X).sum() / (40 * 39)
    known = np.exp(-((distances(np.vstack([labelled, pending]), X) / width) ** 2)).max(axis=0)
    expected, after = greedy(np.exp(-((distances(X, X) / width) ** 2)), np.ones(40), known, 6)
    selection = asked(MaxHerding(0.5), bare_view(X, predict=None, labelled_X=labelled, pending_X=pending), 6)
    assert selection.rows.tolist() == expected
    np.testing.assert_allclose(selection.utilities, np.diff(after), rtol=1e-4)
    assert selection.why[0]["bandwidth"] == pytest.approx(width)
    assert [why["coverage"] for why in selection.why] == pytest.approx(after[1:], rel=1e-5)


def test_herding_does_not_depend_on_the_unit_of_the_features() -> None:
    X = features()
    plain = asked(MaxHerding(), bare_view(X, predict=None), 8)
    for unit in (1e-6, 1e6):
        other = asked(MaxHerding(), bare_view(unit * X, predict=None), 8)
        np.testing.assert_array_equal(other.rows, plain.rows)
        np.testing.assert_allclose(other.utilities, plain.utilities, rtol=1e-5)


@pytest.mark.parametrize("strategy", [MaxHerding(), UncertaintyHerding()], ids=lambda s: s.name)
def test_copies_are_taken_last(strategy: PoolStrategy) -> None:
    selection = asked(strategy, bare_view(np.repeat(rng(2).normal(size=(8, 6)), 10, axis=0)), 12)
    assert set((selection.rows[:8] // 10).tolist()) == set(range(8))
    assert selection.utilities[8:].tolist() == [0.0] * 4


@ALL
def test_where_everything_is_covered_the_choice_is_random(strategy: PoolStrategy) -> None:
    X = features()
    view = bare_view(X, pending_X=X)
    selections = [asked(strategy, view, 5, seed) for seed in range(3)]
    assert len({tuple(selection.rows.tolist()) for selection in selections}) == 3
    assert all(not selection.utilities.any() for selection in selections)


@ALL
def test_no_row_is_chosen_twice_on_discrete_data(strategy: PoolStrategy) -> None:
    for seed in range(5):
        X = rng(seed).integers(0, 3, size=(200, 6)).astype(float)
        chosen = asked(strategy, bare_view(X), 40, seed).rows
        assert np.unique(chosen).size == 40


@ALL
def test_a_small_part_of_the_pool_can_be_chosen_from(strategy: PoolStrategy) -> None:
    view = bare_view(features(300))
    part = np.array([3, 50, 51, 120, 121, 122, 299])
    for n in (5, 7):
        assert np.unique(asked(strategy, view.subset(part), n).rows).size == n


@ALL
def test_samples_of_a_large_pool_stand_for_it(strategy: PoolStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_strategies.herding.CANDIDATES", 200)
    monkeypatch.setattr("query_strategies.herding.REFERENCES", 60)
    corners = 40 * rng(3).integers(0, 2, size=(1000, 2))
    X = np.hstack([corners + rng(4).normal(size=(1000, 2)), np.zeros((1000, 4))])
    selection = asked(strategy, bare_view(X, labelled_X=X[:1]), 3)
    chosen = {tuple(corner) for corner in corners[[0, *selection.rows]].tolist()}
    assert len(chosen) == 4


def drawn_and_searched(strategy: PoolStrategy, view: PoolView, n: int, size: int) -> tuple[list[int], list[int]]:
    """What is chosen where samples hold at most `size` rows, and where they are as large as ever."""
    chosen = []
    for candidates in (size, 20_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("query_strategies.herding.CANDIDATES", candidates)
            chosen.append(asked(strategy, view, n).rows.tolist())
    return chosen[0], chosen[1]


@ALL
def test_up_to_the_size_of_the_sample_every_row_can_be_chosen(strategy: PoolStrategy) -> None:
    view = bare_view(features(300), labelled_X=features(4, seed=1))
    same, searched = drawn_and_searched(strategy, view, 8, 300)
    other, _ = drawn_and_searched(strategy, view, 8, 100)
    assert same == searched
    assert other != searched


def test_a_large_batch_has_ten_candidates_for_each_choice_as_long_as_they_are_not_too_many() -> None:
    assert [n_candidates(n) for n in (1, 500, 501, 2_000, 9_000)] == [5_000, 5_000, 5_010, 20_000, 20_000]
    view = bare_view(features(300), predict=None)
    same, searched = drawn_and_searched(MaxHerding(), view, 30, 10)
    assert same == searched


@ALL
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_the_sample_of_a_large_pool_does_not_depend_on_the_order_of_its_rows(
    strategy: PoolStrategy, form: Callable[[Reals], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query_strategies.herding.CANDIDATES", 200)
    monkeypatch.setattr("query_strategies.herding.REFERENCES", 60)
    X, ids, turned = features(1000), ids_of(1000), rng(12).permutation(1000)
    known = form(features(4, seed=1))
    first = asked(strategy, bare_view(form(X), ids, labelled_X=known), 12)
    other = asked(strategy, bare_view(form(X[turned]), ids[turned], labelled_X=known, block_size=77), 12)
    np.testing.assert_array_equal(ids[turned][other.rows], ids[first.rows])
    np.testing.assert_array_equal(other.utilities, first.utilities)


@ALL
def test_above_the_highest_number_of_picks_the_rest_is_drawn(
    strategy: PoolStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query_strategies.herding.MAX_PICKS", 2)
    X = np.repeat(features(20, seed=3), 3, axis=0)
    selection = asked(strategy, bare_view(X, labelled_X=X[:1]), 12)
    chosen = selection.rows // 3
    assert not set(chosen[2:].tolist()) & {0, *chosen[:2].tolist()}
    assert ["drawn" in why for why in selection.why] == [False] * 2 + [True] * 10


def test_memory_does_not_grow_with_the_square_of_the_pool() -> None:
    X = rng(5).normal(size=(30_000, 3))
    tracemalloc.start()
    try:
        asked(ProbCover(clusters=3), bare_view(X, predict=None), 5)
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


def texts(n: int, width: int, words: int = 12) -> sparse.csr_matrix:
    """Rows as of texts: a few columns with an entry in most rows, and many with few."""
    columns = (width * rng(13).random((n, words)) ** 4).astype(np.int64)
    rows = np.repeat(np.arange(n), words)
    values = 1 + rng(14).random(n * words)
    return sparse.csr_matrix((values, (rows, columns.ravel())), shape=(n, width))


def test_memory_does_not_grow_with_the_words_of_a_large_pool_of_texts() -> None:
    X, proba = texts(30_000, 200_000), np.full((30_000, 2), 0.5)
    view = PoolView.from_predictions(ids_of(30_000), proba, X=X, labelled_X=X[:50], labelled_y=np.arange(50) % 2)
    tracemalloc.start()
    try:
        asked(UncertaintyHerding(), view, 5)
        assert tracemalloc.get_traced_memory()[1] < 170e6  # of which 80 are the 50 labelled rows, dense
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n", [1, FEW, FEW + 1, 200])
@pytest.mark.parametrize("width", [30, 3_000])
def test_distances_between_texts_are_those_of_the_definition(n: int, width: int) -> None:
    others = texts(n, width)
    points = sparse.vstack([texts(90, width, words=7), others[:1]], format="csr")
    marks, expected = Landmarks.of(others), distances(points.toarray(), others.toarray()) ** 2
    squared = squared_distances(points, marks)
    np.testing.assert_allclose(squared, expected, atol=1e-12 * expected.max())
    assert squared[-1, 0] == 0
    nearest, distance = nearest_of(points, marks)
    np.testing.assert_allclose(distance, expected.min(axis=1), atol=1e-12 * expected.max())
    np.testing.assert_allclose(expected[np.arange(91), nearest], expected.min(axis=1), atol=1e-12 * expected.max())


# Uncertainty herding.


def test_uncertainty_herding_raises_the_coverage_of_the_formula() -> None:
    X, labelled = features(40), features(6, seed=1)
    proba = predict(X).mean(axis=0)
    ordered = np.sort(proba, axis=1)
    unsure = 1 - (ordered[:, -1] - ordered[:, -2])
    between = distances(labelled, labelled)
    width = np.median(np.where(between > 0, between, np.inf).min(axis=1))
    known = np.exp(-((distances(labelled, X) / width) ** 2)).max(axis=0)
    expected, after = greedy(np.exp(-((distances(X, X) / width) ** 2)), unsure, known, 6)
    view = PoolView.from_predictions(ids_of(40), proba, X=X, labelled_X=labelled)
    selection = asked(UncertaintyHerding(), view, 6)
    assert selection.rows.tolist() == expected
    np.testing.assert_allclose(selection.utilities, np.diff(after), rtol=1e-4)
    assert selection.why[0]["bandwidth"] == pytest.approx(width)


def unsure_view(X: Reals, first: Reals, **more: object) -> PoolView:
    """A pool whose rows have these probabilities of the first of two classes."""
    return PoolView.from_predictions(ids_of(len(X)), np.column_stack([first, 1 - first]), X=X, **more)


def test_of_two_groups_the_one_that_the_model_is_unsure_of_is_covered_first() -> None:
    X = np.repeat([[0.0, 0.0], [9.0, 0.0]], 30, axis=0) + rng(6).normal(size=(60, 2))
    for first, expected in ((0.5, 0), (0.9, 1)):
        view = unsure_view(X, np.repeat([first, 0.7], 30))
        assert asked(UncertaintyHerding(), view, 1).rows[0] // 30 == expected


def test_where_the_model_is_sure_of_every_row_the_pool_is_covered() -> None:
    X = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], [40, 15, 5], axis=0) + rng(6).normal(size=(60, 2))
    selection = asked(UncertaintyHerding(), unsure_view(X, np.ones(60)), 3)
    covers = asked(MaxHerding(0.5), bare_view(X, predict=None), 3)
    np.testing.assert_array_equal(selection.rows, covers.rows)
    np.testing.assert_array_equal(selection.utilities, covers.utilities)


def test_the_bandwidth_shrinks_with_labels_and_near_copies_among_them_do_not_end_it() -> None:
    X, known = features(50, seed=3), rng(7).normal(size=(200, 6))
    few, many, near = (
        asked(UncertaintyHerding(), bare_view(X, labelled_X=labelled), 1).why[0]["bandwidth"]
        for labelled in (known[:10], known, np.vstack([known[:10], known[:2] + 1e-6]))
    )
    assert many < 0.8 * few
    assert near > 0.5 * few


@pytest.mark.parametrize("n_labelled", [0, 1, 4])
def test_without_two_different_known_rows_the_bandwidth_comes_from_the_pool(n_labelled: int) -> None:
    X = features(30)
    view = bare_view(X, labelled_X=np.tile(X[:1], (n_labelled, 1)))
    bandwidth = asked(UncertaintyHerding(), view, 1).why[0]["bandwidth"]
    assert bandwidth == pytest.approx(0.5 * distances(X, X).sum() / (30 * 29))


def test_the_distance_to_the_nearest_is_a_median_and_takes_copies_for_one() -> None:
    assert distance_to_nearest(np.array([[0.0], [1.0], [10.0], [13.0]])) == 2
    assert distance_to_nearest(np.array([[0.0], [0.0], [1.0], [4.0], [20.0]])) == 1
    assert distance_to_nearest(np.array([[0.0], [2.0], [7.0]])) == 2
    assert distance_to_nearest(np.zeros((3, 1))) == 0
    assert distance_to_nearest(np.zeros((1, 1))) == 0


# ProbCover.


@pytest.mark.parametrize("purity", [0.5, 0.9, 1.0])
def test_the_radius_is_the_largest_that_keeps_enough_balls_pure(purity: float) -> None:
    points = rng(8).normal(size=(57, 2)) + 3 * rng(9).integers(0, 3, size=(57, 1))
    radius = np.sqrt(pure_radius(points, 3, purity, rng(1)))
    between = distances(points, points)
    owners = clusters_of(points, 3)

    def share(within: float) -> float:
        return float(np.mean([np.unique(owners[row < within]).size == 1 for row in between]))

    assert share(radius * (1 - 1e-9)) >= purity
    assert share(radius * (1 + 1e-9)) < purity


def clusters_of(points: Reals, k: int) -> NDArray[np.int64]:
    centres = settle(points, seed_centres(points, None, k, rng(1)), None)
    return distances(points, centres).argmin(axis=1)


def test_balls_of_the_radius_cover_as_many_rows_as_they_can() -> None:
    X = rng(10).normal(size=(80, 2)) + 4 * rng(11).integers(0, 3, size=(80, 1))
    view = bare_view(X, predict=None, labelled_X=X[:1])
    selection = asked(ProbCover(clusters=3), view, 6)
    radius = selection.why[0]["radius"]
    inside = distances(X, X) < radius
    covered = inside[0]
    for row, gain in zip(selection.rows, selection.utilities, strict=True):
        gains = (inside & ~covered).sum(axis=1)
        assert gains[row] == gains.max() == round(80 * gain)
        covered = covered | inside[row]


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: MaxHerding(0), "bandwidth is 0"),
        (lambda: MaxHerding(float("inf")), "bandwidth is inf"),
        (lambda: ProbCover(clusters=1), "clusters is 1; give at least 2"),
        (lambda: ProbCover(purity=0), "purity is 0"),
        (lambda: ProbCover(purity=1.5), r"purity is 1\.5"),
    ],
)
def test_options_without_sense_are_refused(make_it: Callable[[], PoolStrategy], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        make_it()
