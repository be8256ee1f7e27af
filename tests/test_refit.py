"""Expected error reduction: against its definition, and what it does not try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pools import CLASSES, N, Reals, asked, features, ids_of, predict, refit, rng, view_of
from sklearn.linear_model import LogisticRegression

from query_strategies import PoolView, PredictionError, StrategyError
from query_strategies.refit import ExpectedErrorReduction

BOTH = pytest.mark.parametrize("loss", ["log", "0/1"])


def loss_of(proba: Reals, loss: str) -> float:
    losses = -(proba * np.log(proba)).sum(axis=1) if loss == "log" else 1 - proba.max(axis=1)
    return float(losses.mean())


@BOTH
def test_the_order_is_that_of_the_expected_loss(loss: str) -> None:
    X = features(30)
    fit_predict, now = refit(X, features(5, seed=1)), predict(X).mean(axis=0)
    expected = np.zeros(30)
    for row in range(30):
        for code in range(3):
            after = fit_predict(np.array([row]), np.array([code]))(np.delete(X, row, axis=0))[0]
            expected[row] += now[row, code] * loss_of(after, loss)
    selection = asked(ExpectedErrorReduction(loss=loss), view_of(X), 30)
    assert selection.rows.tolist() == np.argsort(expected).tolist()
    np.testing.assert_allclose([why["expected_loss"] for why in selection.why], np.sort(expected))
    highest = np.log(3) if loss == "log" else 2 / 3
    np.testing.assert_allclose(selection.utilities, highest - np.sort(expected))
    assert selection.why[0]["loss_now"] == pytest.approx(loss_of(now, loss))


def counted(X: Any, fits: list[tuple[int, int]]) -> Callable[..., Any]:
    """A refit that notes what it was asked to fit."""
    honest = refit(X, features(5, seed=1))

    def fit_predict(rows: NDArray[np.int64], codes: NDArray[Any]) -> Any:
        fits.append((int(rows[0]), int(codes[0])))
        return honest(rows, codes)

    return fit_predict


@pytest.mark.parametrize("wanted", [3, 10, 25, N])
def test_what_was_not_rated_comes_after_all_that_was(wanted: int) -> None:
    X, fits = features(), list[tuple[int, int]]()
    selection = asked(ExpectedErrorReduction(candidates=10), view_of(X, fit_predict=counted(X, fits)), wanted)
    rated = {row for row, _ in fits}
    assert len(rated) == 10
    assert set(selection.rows[:10].tolist()) <= rated
    assert not set(selection.rows[10:].tolist()) & rated
    assert np.all(selection.utilities[:10] > 0)
    assert np.all(selection.utilities[10:] == 0)
    assert all("not among the rows that were rated" in why["drawn"] for why in selection.why[10:])


def test_every_candidate_costs_one_fit_for_every_class_that_it_can_have() -> None:
    X, fits = features(), list[tuple[int, int]]()
    proba = predict(X)
    proba[:, :, 2] += proba[:, :, 1]
    proba[:, :, 1] = 0
    view = PoolView.from_predictions(ids_of(), proba, X=X, classes=CLASSES, fit_predict=counted(X, fits))
    asked(ExpectedErrorReduction(candidates=10), view, 3)
    assert len(fits) == 20
    assert {code for _, code in fits} == {0, 2}


def test_samples_are_drawn_anew_for_every_seed_and_do_not_depend_on_the_order() -> None:
    X, shuffled, rated = features(), rng(8).permutation(N), set[frozenset[int]]()
    strategy, answers, losses = ExpectedErrorReduction(candidates=10, reference=15), [], set()
    for seed in (0, 0, 1, 2):
        fits = list[tuple[int, int]]()
        selection = asked(strategy, view_of(X, fit_predict=counted(X, fits)), 20, seed)
        answers.append(tuple(selection.rows.tolist()))
        rated.add(frozenset(row for row, _ in fits))
        losses.add(selection.why[0]["loss_now"])
    assert answers[0] == answers[1]
    assert len(rated) == len(losses) == 3
    other_order = asked(strategy, view_of(X[shuffled], ids_of()[shuffled]), 20, seed=1)
    assert tuple(shuffled[other_order.rows].tolist()) == answers[2]


def test_what_was_not_rated_is_drawn_and_not_the_first_rows() -> None:
    X = features()
    view = PoolView.from_predictions(np.arange(N), predict(X), X=X, fit_predict=refit(X, features(5, seed=1)))
    drawn = asked(ExpectedErrorReduction(candidates=1), view, 8).rows[1:].tolist()
    assert drawn != sorted(drawn)


def test_with_one_class_nothing_is_fitted_and_the_choice_is_random() -> None:
    X, fits = features(), list[tuple[int, int]]()
    more = {"X": X, "classes": ("ham",), "fit_predict": counted(X, fits)}
    view = PoolView.from_predictions(ids_of(), np.ones((1, N, 1)), **more)
    answers = {tuple(asked(ExpectedErrorReduction(), view, 5, seed).rows.tolist()) for seed in range(3)}
    assert len(answers) == 3
    assert fits == []


def test_the_row_that_tells_most_about_the_others_is_first() -> None:
    """Two clouds with a label in one of them only; a lone row tells nothing about any other."""
    draw = rng(0)
    X = np.vstack([draw.normal([0, 0], 0.3, (20, 2)), draw.normal([4, 0], 0.3, (20, 2)), [[0.0, 40.0]]])
    known, y = np.array([[0.0, 0.0], [-2.0, 0.0]]), np.array([0, 1])

    def fit_predict(rows: NDArray[np.int64], codes: NDArray[Any]) -> Any:
        model = LogisticRegression().fit(np.vstack([known, X[rows]]), np.concatenate([y, codes]))
        return lambda block: model.predict_proba(block)

    present = LogisticRegression().fit(known, y)
    view = PoolView(np.arange(41), X, predict=present.predict_proba, classes=(0, 1), fit_predict=fit_predict)
    for loss in ("log", "0/1"):
        order = asked(ExpectedErrorReduction(loss=loss), view, 41).rows.tolist()
        assert order.index(40) > 20


def test_a_refitted_model_without_probabilities_is_refused() -> None:
    X = features()

    def broken(rows: NDArray[np.int64], codes: NDArray[Any]) -> Any:
        return lambda block: np.full((1, len(block), 3), np.nan)

    with pytest.raises(PredictionError, match="not to 1"):
        asked(ExpectedErrorReduction(), view_of(X, fit_predict=broken), 3)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(StrategyError, match=r'unknown loss "binary".*Known: log, 0/1'):
        ExpectedErrorReduction(loss="binary")
    with pytest.raises(StrategyError, match="candidates of expected_error_reduction is 0: give at least 1"):
        ExpectedErrorReduction(candidates=0)
    with pytest.raises(StrategyError, match="reference of expected_error_reduction is 1: give at least 2"):
        ExpectedErrorReduction(reference=1)
