"""Views of a pool, selections from it, and the n best of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import N, Reals, asked, features, ids_of, predict, rng, view_of
from scipy import sparse

from query_strategies import (
    Margin,
    PoolView,
    PredictionError,
    Selection,
    StrategyError,
    tie_keys,
    top_n,
)

# Views.


def test_blocks_come_by_ascending_id_whatever_the_order_of_the_rows() -> None:
    ids = np.array([30, 10, 20, 2**64 - 1, 0], dtype=np.uint64)
    view = view_of(features(5), ids, block_size=2)
    assert [rows.tolist() for rows, _ in view.blocks()] == [[4, 1], [2, 0], [3]]
    assert view.order.tolist() == [4, 1, 2, 0, 3]


def test_a_block_cannot_be_written_to() -> None:
    for view in (view_of(features()), PoolView.from_predictions(ids_of(), predict(features()))):
        _, proba = next(view.blocks())
        with pytest.raises(ValueError, match="read-only"):
            proba[0, 0, 0] = 1


def test_a_pool_is_predicted_block_by_block() -> None:
    sizes: list[int] = []

    def watched(X: Any) -> Reals:
        sizes.append(len(X))
        return predict(X)

    asked(Margin(), view_of(features(50), predict=watched, block_size=20), 5)
    assert sizes == [20, 20, 10]


def test_predictions_of_one_model_may_leave_out_the_members() -> None:
    X = features()
    one = asked(Margin(), view_of(X, predict=lambda block: predict(block)[0]), 5)
    np.testing.assert_array_equal(one.rows, asked(Margin(), view_of(X, predict=lambda b: predict(b)[:1]), 5).rows)


@pytest.mark.parametrize(
    ("make_view", "message"),
    [
        (lambda: PoolView(None, None), "needs ids or X"),
        (lambda: PoolView([1, 2], np.zeros((3, 1))), "2 ids and 3 rows"),
        (lambda: PoolView([1.5, 2], None), "non-negative integer"),
        (lambda: PoolView([-1, 2], None), "non-negative"),
        (lambda: PoolView([1], None, predict=predict), "without X"),
        (lambda: PoolView([1], None, block_size=0), "block_size is 0"),
        (lambda: PoolView.from_predictions([1, 2, 3], np.full((2, 2), 0.5)), "2 rows, and the pool has 3"),
        (lambda: PoolView.from_predictions([1], np.array([1.0])), r"shape \(1,\)"),
    ],
)
def test_a_view_that_does_not_fit_together_is_refused(make_view: Any, message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        make_view()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda X: np.full((1, len(X) - 1, 3), 1 / 3), "was expected"),
        (lambda X: np.full(len(X), 0.5), "was expected"),
        (lambda X: np.full((1, len(X), 2), 0.5), "2 columns, and there are 3 classes"),
    ],
)
def test_predictions_of_a_wrong_shape_are_refused(answer: Any, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        asked(Margin(), view_of(features(), predict=answer), 3)


def test_ids_from_content_are_the_same_for_dense_and_sparse_rows_and_equal_for_copies_only() -> None:
    X = features().astype(np.float32)
    dense = PoolView(None, X).ids
    for other in (X.astype(np.float64), sparse.csr_array(X), sparse.csr_matrix(X), np.asfortranarray(X)):
        np.testing.assert_array_equal(PoolView(None, other).ids, dense)
    assert np.unique(dense).size == N
    assert np.unique(PoolView(None, np.vstack([X, X[:5]])).ids).size == N
    assert np.unique(PoolView(None, np.eye(4)).ids).size == 4
    assert np.unique(PoolView(None, np.array([["a"], ["b"], ["a"]], dtype=object)).ids).size == 2


# Selections and top n.


def test_a_selection_that_breaks_the_contract_is_refused() -> None:
    two = np.array([1, 2])
    with pytest.raises(StrategyError, match="1 different"):
        Selection(np.array([1, 1]), np.ones(2), ({}, {}))
    with pytest.raises(StrategyError, match="increase"):
        Selection(two, np.array([0.1, 0.2]), ({}, {}))
    with pytest.raises(StrategyError, match="1 reasons"):
        Selection(two, np.ones(2), ({},))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_top_n_agrees_with_a_full_sort(values: list[int], data: st.DataObject) -> None:
    utilities, rows = np.array(values, dtype=float), np.arange(len(values))
    n = data.draw(st.integers(1, len(values)))
    keys = tie_keys(PoolView(ids_of(len(values)), None), rng(1))
    full = np.lexsort((keys(rows), -utilities))
    np.testing.assert_array_equal(top_n(utilities, n, rows, keys), full[:n])


def test_places_in_a_tie_are_computed_for_tied_rows_only() -> None:
    seen: list[int] = []

    def keys(rows: Any) -> Any:
        seen.extend(rows.tolist())
        return rows.astype(np.uint64)

    utilities = np.array([5.0, 1, 1, 1, 0, 0, 0, 0, 0])
    assert top_n(utilities, 2, np.arange(9), keys).tolist() == [0, 1]
    assert set(seen) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("task", "table"),
    [("choice", [[0.5, 0.9]]), ("choice", [[-0.1, 1.1]]), ("multi_label", [[0.5, 1.2]]), ("number", [np.nan])],
)
def test_a_subset_names_rows_as_the_whole_pool_counts_them(task: str, table: Any) -> None:
    X = np.arange(20.0)[:, None]

    def predict(rows: Any) -> Any:
        wrong = rows[:, 0] == 17
        sound = np.full((len(rows), *np.shape(table)[1:]), 0.5)
        return np.where(wrong.reshape(-1, *[1] * (sound.ndim - 1)), table, sound)[None]

    view = PoolView(np.arange(20), X, predict=predict, task=task)
    within = view.subset(np.arange(10, 20)).subset(np.array([3, 7, 9]))
    with pytest.raises(PredictionError, match="row 17"):
        list(within.blocks())
