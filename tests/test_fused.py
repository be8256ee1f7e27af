"""Compiled scores: the same numbers as on strips, and no row that is no probabilities slips through."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from pools import ids_of, rng

from query_strategies import LeastConfidence, Margin, PoolView, PredictionError, VoteEntropy, fused, pool
from query_strategies.strips import by_strips, votes


def probabilities(members: int, n: int, n_classes: int) -> Any:
    """Some rows are certain, some have ties."""
    return rng(1).multinomial(20, rng(2).dirichlet(np.full(n_classes, 0.5), size=(members, n))) / 20


def test_numba_is_there_to_be_tested() -> None:
    assert importlib.util.find_spec("numba") is not None


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10])
@pytest.mark.parametrize("score", [LeastConfidence(), Margin()])
def test_a_compiled_score_is_the_score_on_strips(score: Any, n_classes: int) -> None:
    table = probabilities(1, 500, n_classes)
    np.testing.assert_array_equal(score.fused(table), score.utilities(table))


@pytest.mark.parametrize("n_classes", [1, 2, 10])
def test_compiled_votes_are_the_votes_on_strips(n_classes: int) -> None:
    table = probabilities(4, 300, n_classes)
    np.testing.assert_array_equal(fused.votes(table), by_strips(votes, table))


@pytest.mark.parametrize("form", [LeastConfidence().fused, Margin().fused, fused.votes])
@pytest.mark.parametrize("row", [[np.nan, 0.5], [np.inf, 0.5], [0.6, 0.6], [-0.1, 1.1], [0.0, 0.0]])
def test_rows_that_are_no_probabilities_are_left_to_the_check(form: Any, row: list[float]) -> None:
    table = np.full((1, 9, 2), 0.5)
    assert form(table) is not None
    table[0, 7] = row
    assert form(table) is None


def test_what_does_not_fit_is_left_to_strips() -> None:
    assert fused.margin(np.full((2, 3, 2), 0.5)) is None
    assert fused.margin(np.full((1, 3, 2), 0.5, dtype=np.float32)) is None
    assert fused.votes(np.full((1, 3, 257), 1 / 257)) is None


@pytest.mark.parametrize("strategy", [LeastConfidence(), Margin(), VoteEntropy()])
def test_a_large_pool_gets_the_same_choice_and_the_same_refusals(
    strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = probabilities(3 if isinstance(strategy, VoteEntropy) else 1, 400, 4)

    def chosen(part: Any, block_size: int) -> Any:
        return strategy.query(PoolView.from_predictions(ids_of(400), part, block_size=block_size), 30, rng())

    small = chosen(table, 400)
    monkeypatch.setattr(pool, "NUMBERS", 0)
    for block_size in (400, 7):
        large = chosen(table, block_size)
        np.testing.assert_array_equal(large.rows, small.rows)
        np.testing.assert_array_equal(large.utilities, small.utilities)
        assert large.why == small.why
    table[0, 17] *= 1.1
    with pytest.raises(PredictionError, match="row 17"):
        chosen(table, 7)
