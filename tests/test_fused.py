"""Compiled scores: the same numbers as on strips, and no row that is no probabilities slips through."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from pools import ids_of, rng

from query_strategies import (
    ConsensusEntropy,
    Entropy,
    KLMax,
    LeastConfidence,
    Margin,
    PoolView,
    PredictionError,
    Ratio,
    VoteEntropy,
    fused,
    pool,
)
from query_strategies.strips import by_strips, filled, votes
from query_strategies.uncertainty import consensus


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("members", [1, 3])
def test_compiled_strips_are_the_strips_and_their_mean(members: int, dtype: Any) -> None:
    table = probabilities(members, 50, 4).astype(dtype)
    strips, same = np.empty((2, members, 4, 50), dtype=dtype)
    assert filled(strips, table)
    assert fused.filled(same, table)
    np.testing.assert_array_equal(same, strips)
    mean = np.empty((1, 4, 50), dtype=dtype)
    assert fused.averaged(mean, table)
    np.testing.assert_array_equal(mean[0], consensus(strips))


@pytest.mark.parametrize("form", [fused.filled, fused.averaged])
def test_compiled_strips_refuse_what_is_no_probability_and_a_single_row(form: Any) -> None:
    for row in ([np.nan, 0.5], [np.inf, 0.5], [0.6, 0.6], [-0.1, 1.1], [0.0, 0.0]):
        table = np.full((1, 9, 2), 0.5)
        assert form(np.empty((1, 2, 9)), table)
        table[0, 7] = row
        assert not form(np.empty((1, 2, 9)), table)
    assert not form(np.empty((1, 2, 2)), table[:, :1])


@pytest.mark.parametrize(
    "strategy", [LeastConfidence(), Margin(), VoteEntropy(), Entropy(), Ratio(), ConsensusEntropy(), KLMax()]
)
def test_a_large_pool_gets_the_same_choice_and_the_same_refusals(
    strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = probabilities(strategy.needs_members + 1 if strategy.needs_members > 1 else 1, 400, 4)

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


def test_a_numba_that_cannot_be_loaded_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise AttributeError(f"{name} found somebody else's file")

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(pool, "NUMBERS", 0)
    fused.is_there.cache_clear()
    try:
        table = probabilities(1, 50, 4)
        assert fused.margin(table) is None
        assert len(Margin().query(PoolView.from_predictions(ids_of(50), table), 5, rng())) == 5
    finally:
        fused.is_there.cache_clear()
