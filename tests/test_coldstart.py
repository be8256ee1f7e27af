"""Choices before there is a model."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from pools import asked, bare_view, features, ids_of, rng
from scipy import sparse

from query_strategies import KMeans, PoolStrategy, TypiClust
from query_strategies.coldstart import neighbour_distances

# K-means.


def test_representatives_come_one_per_cluster_the_largest_first() -> None:
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    sizes = [40, 10, 30, 20]
    X = np.repeat(centres, sizes, axis=0) + rng(1).normal(size=(100, 2))
    selection = asked(KMeans(), bare_view(X, predict=None), 4)
    np.testing.assert_allclose(X[selection.rows], centres[[0, 2, 3, 1]], atol=2)
    assert [why["cluster_size"] for why in selection.why] == [40, 30, 20, 10]
    assert selection.utilities.tolist() == [0.4, 0.3, 0.2, 0.1]
    nearest = np.linalg.norm(X[:40] - X[:40].mean(axis=0), axis=1)
    assert selection.rows[0] == nearest.argmin()
    assert selection.why[0]["distance"] == pytest.approx(nearest.min())


@pytest.mark.parametrize(
    ("offset", "kind"), [(0.0, np.float32), (1e5, np.float32), (0.0, np.float64), (1e9, np.float64)]
)
def test_copies_are_taken_last(offset: float, kind: Any) -> None:
    different = (rng(2).normal(size=(8, 3)) + offset).astype(kind)
    X = np.repeat(different, 10, axis=0)
    selection = asked(KMeans(), bare_view(X, predict=None), 12)
    assert len(set(map(tuple, X[selection.rows[:8]].tolist()))) == len(set(map(tuple, different.tolist())))
    assert [why["cluster_size"] for why in selection.why] == [10] * 8 + [0] * 4


def test_what_is_covered_neither_pulls_a_centre_nor_counts_in_its_cluster() -> None:
    draw = rng(9)
    X = np.concatenate([draw.normal(size=(50, 1)), 20 + draw.normal(size=(15, 1))])
    selection = asked(KMeans(), bare_view(X, predict=None, labelled_X=np.zeros((1, 1))), 1)
    assert selection.rows[0] == 50 + np.abs(X[50:] - X[50:].mean()).argmin()
    assert selection.why[0]["cluster_size"] == 15


def test_above_the_highest_number_of_centres_the_rest_is_drawn_from_rows_that_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("query_strategies.coldstart.MAX_CENTRES", 2)
    X = np.repeat(rng(3).normal(size=(20, 2)), 3, axis=0)
    selection = asked(KMeans(), bare_view(X, predict=None, labelled_X=X[:1]), 12)
    chosen = selection.rows // 3
    assert not set(chosen[2:].tolist()) & {0, *chosen[:2].tolist()}
    assert [why["cluster_size"] > 0 for why in selection.why] == [True] * 2 + [False] * 10


def test_copies_of_labelled_rows_are_taken_last() -> None:
    different = rng(2).normal(size=(8, 3))
    view = bare_view(np.repeat(different, 3, axis=0), predict=None, labelled_X=different[:6])
    chosen = asked(KMeans(), view, 5).rows
    assert set((chosen[:2] // 3).tolist()) == {6, 7}


def test_where_everything_is_covered_the_choice_is_random() -> None:
    X = features()
    view = bare_view(X, predict=None, pending_X=X)
    answers = {tuple(asked(KMeans(), view, 5, seed).rows.tolist()) for seed in range(3)}
    assert len(answers) == 3


def test_memory_does_not_grow_with_the_words_of_a_large_pool_of_texts() -> None:
    columns = (150_000 * rng(5).random(30_000 * 12) ** 4).astype(np.int64)
    X = sparse.csr_matrix((np.ones(columns.size), (np.repeat(np.arange(30_000), 12), columns)), shape=(30_000, 150_000))
    tracemalloc.start()
    try:
        asked(KMeans(), bare_view(X, predict=None), 5)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def test_a_pool_above_the_sample_is_searched_as_a_whole() -> None:
    X = rng(7).normal(size=(45_000, 2)) + 30 * rng(8).integers(0, 4, size=(45_000, 1))
    selection = asked(KMeans(), bare_view(X, predict=None), 4)
    assert sorted(np.rint(X[selection.rows, 0] / 30).tolist()) == [0, 1, 2, 3]
    assert sum(why["cluster_size"] for why in selection.why) == 45_000
    assert max(why["distance"] for why in selection.why) < 0.1


BOTH = pytest.mark.parametrize("strategy", [KMeans(), TypiClust()], ids=lambda strategy: strategy.name)


@BOTH
def test_up_to_the_size_of_the_sample_centres_are_found_on_every_row(
    strategy: PoolStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = bare_view(features(300), predict=None)
    chosen = []
    for size in (20_000, 300, 100):
        monkeypatch.setattr("query_strategies.coldstart.SAMPLE", size)
        chosen.append(asked(strategy, view, 6).rows.tolist())
    assert chosen[0] == chosen[1] != chosen[2]


@BOTH
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_centres_of_a_sample_do_not_depend_on_the_order_of_the_rows(
    strategy: PoolStrategy, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query_strategies.coldstart.SAMPLE", 150)
    X, ids, turned = features(900), ids_of(900), rng(4).permutation(900)
    first = asked(strategy, bare_view(form(X), ids, predict=None), 7)
    other = asked(strategy, bare_view(form(X[turned]), ids[turned], predict=None, block_size=77), 7)
    np.testing.assert_array_equal(ids[turned][other.rows], ids[first.rows])


# TypiClust.


def blobs(sizes: list[int], seed: int = 1) -> tuple[Any, Any]:
    """Rows around the corners of a wide square, and which corner each row belongs to."""
    corners = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])[: len(sizes)]
    corner = np.repeat(np.arange(len(sizes)), sizes)
    return corners[corner] + rng(seed).normal(size=(len(corner), 2)), corner


def to_neighbours(points: Any) -> Any:
    """The mean distance to the 20 nearest other rows, from the definition."""
    between = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)
    return between[:, 1:21].mean(axis=1)


def test_the_most_typical_row_of_each_cluster_is_chosen_the_largest_cluster_first() -> None:
    X, corner = blobs([40, 10, 30, 20])
    selection = asked(TypiClust(), bare_view(X, predict=None), 4)
    assert corner[selection.rows].tolist() == [0, 2, 3, 1]
    for row, why in zip(selection.rows, selection.why, strict=True):
        there = np.flatnonzero(corner == corner[row])
        far = to_neighbours(X[there])
        assert row == there[far.argmin()]
        assert why["neighbour_distance"] == pytest.approx(far.min())
        assert why["cluster_size"] == there.size
    np.testing.assert_allclose(selection.utilities, 1 / 2 + np.array([40, 30, 20, 10]) / 200)


@pytest.mark.parametrize("known", ["labelled_X", "pending_X"])
def test_clusters_that_know_least_come_first(known: str) -> None:
    X, corner = blobs([40, 10, 30, 20])
    near = np.array([[0.0, 1.0], [1.0, 50.0]])
    view = bare_view(X, predict=None, **{known: near})
    selection = asked(TypiClust(), view, 2)
    assert corner[selection.rows].tolist() == [3, 1]
    assert [why["known_in_cluster"] for why in selection.why] == [0, 0]


def test_with_a_label_in_every_cluster_those_with_fewest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_strategies.coldstart.MAX_CLUSTERS", 4)
    X, corner = blobs([40, 10, 30, 20])
    known = np.array([[0.0, 1.0], [1.0, 0.0], [50.0, 1.0], [0.0, 51.0], [50.0, 51.0], [51.0, 50.0]])
    selection = asked(TypiClust(), bare_view(X, predict=None, labelled_X=known), 7)
    assert corner[selection.rows].tolist() == [2, 1, 0, 2, 3, 1, 0]
    assert [why["known_in_cluster"] for why in selection.why] == [1, 1, 2, 2, 2, 2, 3]
    np.testing.assert_allclose(selection.utilities[0], 1 / 3 + (1 / 2 - 1 / 3) * 0.3)
    assert np.unique(selection.rows).size == 7


def test_tiny_clusters_are_left_out_while_there_are_others() -> None:
    X, corner = blobs([20, 4, 30, 25])
    view = bare_view(X, predict=None, labelled_X=np.array([[0.0, 51.0]]))
    assert corner[asked(TypiClust(), view, 3).rows].tolist() == [3, 0, 2]
    few = bare_view(np.vstack([X[:3], X[20:23], X[24:27]]), predict=None)
    assert sorted(asked(TypiClust(), few, 3).rows // 3) == [0, 1, 2]


def test_no_row_is_chosen_twice_on_discrete_data_and_copies_are_taken_last() -> None:
    for seed in range(5):
        X = rng(seed).integers(0, 3, size=(200, 3)).astype(float)
        chosen = asked(TypiClust(), bare_view(X, predict=None), 40, seed).rows
        assert np.unique(chosen).size == 40
        n_different = len(set(map(tuple, X.tolist())))
        assert len(set(map(tuple, X[chosen].tolist()))) == min(40, n_different)


def test_of_few_different_points_each_is_chosen_once_before_a_copy() -> None:
    X = np.repeat(rng(2).normal(size=(8, 3)), 10, axis=0)
    for n_known in (0, 3):
        selection = asked(TypiClust(), bare_view(X, predict=None, labelled_X=X[: 10 * n_known : 10]), 12)
        first = (selection.rows[: 8 - n_known] // 10).tolist()
        assert sorted(first) == list(range(n_known, 8))
        assert selection.utilities[8 - n_known :].tolist() == [0.0] * (4 + n_known)


def test_where_every_row_is_a_copy_of_a_known_one_the_choice_is_random() -> None:
    X = features()
    view = bare_view(X, predict=None, pending_X=X)
    answers = {tuple(asked(TypiClust(), view, 5, seed).rows.tolist()) for seed in range(3)}
    assert len(answers) == 3


def test_a_small_part_of_the_pool_can_be_chosen_from() -> None:
    view = bare_view(features(300), predict=None)
    part = np.array([3, 50, 51, 120, 121, 122, 299])
    for n in (5, 7):
        assert np.unique(asked(TypiClust(), view.subset(part), n).rows).size == n


def test_a_sample_of_a_large_cluster_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_strategies.coldstart.MEMBERS", 50)
    X, corner = blobs([3000, 2000])
    selection = asked(TypiClust(), bare_view(X, predict=None), 2)
    assert corner[selection.rows].tolist() == [0, 1]
    assert np.linalg.norm(X[selection.rows] - [[0, 0], [50, 0]], axis=1).max() < 1.5


@pytest.mark.parametrize("n", [1, 2, 20, 21, 60])
def test_neighbours_are_the_nearest_other_rows(n: int) -> None:
    points = rng(3).normal(size=(n, 2))
    distance, copy_of = neighbour_distances(points)
    np.testing.assert_allclose(distance, to_neighbours(points) if n > 1 else [0])
    np.testing.assert_array_equal(copy_of, np.arange(n))


def test_the_first_of_several_copies_is_known() -> None:
    points = np.array([[1.0], [2.0], [1.0], [2.0], [5.0]])
    assert neighbour_distances(points)[1].tolist() == [0, 1, 0, 1, 4]
