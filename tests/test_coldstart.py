"""Choices before there is a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pools import asked, bare_view, features, rng

from query_strategies import (
    KMeans,
)

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


def test_a_pool_above_the_sample_is_searched_as_a_whole() -> None:
    X = rng(7).normal(size=(45_000, 2)) + 30 * rng(8).integers(0, 4, size=(45_000, 1))
    selection = asked(KMeans(), bare_view(X, predict=None), 4)
    assert sorted(np.rint(X[selection.rows, 0] / 30).tolist()) == [0, 1, 2, 3]
    assert sum(why["cluster_size"] for why in selection.why) == 45_000
    assert max(why["distance"] for why in selection.why) < 0.1
