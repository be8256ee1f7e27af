"""Strategies for numbers: the formulas by hand, and the fast forms against the plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from modAL.disagreement import max_std_sampling
from modAL.models import ActiveLearner, CommitteeRegressor
from numpy.typing import NDArray
from pools import Reals, asked, features, predict_number, rng
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from query_strategies import PoolStrategy, PoolView, Selection, StrategyError
from query_strategies.numbers import GreedyX, GreedyXY, GreedyY, ModelChange, Spread


def number_view(X: Any, values: Any, **more: Any) -> PoolView:
    """A pool of numbers whose model predicts the first column of `values` rows."""
    return PoolView.from_predictions(np.arange(len(X)), np.atleast_2d(values), X=X, task="number", **more)


def utility_of(selection: Selection) -> dict[int, float]:
    return dict(zip(selection.rows.tolist(), selection.utilities.tolist(), strict=True))


# Spread.


def test_spread_is_the_standard_deviation_of_the_members() -> None:
    view = number_view(np.zeros((3, 1)), [[1.0, 5.0, -1.0], [3.0, 5.0, 1.0], [5.0, 5.0, 0.0]])
    selection = asked(Spread(), view, 3)
    assert selection.rows.tolist() == [0, 2, 1]
    assert selection.utilities == pytest.approx([np.sqrt(8 / 3), np.sqrt(2 / 3), 0])
    assert selection.why[0] == {"predicted": 3.0, "spread": pytest.approx(np.sqrt(8 / 3))}


def test_spread_of_a_gaussian_process_is_its_standard_deviation() -> None:
    X, known = rng(0).uniform(-3, 3, size=(40, 1)), np.array([[-2.0], [0.0], [0.5]])
    learner = ActiveLearner(
        GaussianProcessRegressor(RBF(1.0, "fixed"), alpha=1e-3),
        Spread(),
        X_training=known,
        y_training=np.sin(known[:, 0]),
    )
    chosen, rows, utilities = learner.query(X, n_instances=40, return_metrics=True)
    _, deviation = learner.predict(rows, return_std=True)
    np.testing.assert_allclose(utilities, deviation, rtol=1e-6)
    assert np.all(np.diff(deviation) <= 1e-12)
    assert len(set(chosen.tolist())) == 40


def test_spread_agrees_with_modals_own() -> None:
    X = rng(1).normal(size=(200, 3))
    known = rng(2).normal(size=(20, 3))
    members = [
        ActiveLearner(DecisionTreeRegressor(random_state=i), X_training=known[i::3], y_training=known[i::3].sum(axis=1))
        for i in range(3)
    ]
    committee = CommitteeRegressor(members)
    theirs, _ = max_std_sampling(committee, X, n_instances=1)
    _, deviation = committee.predict(X, return_std=True)
    ours, utilities = Spread()(committee, X, 15)
    np.testing.assert_allclose(utilities, np.sort(deviation)[::-1][:15])
    np.testing.assert_allclose(deviation[ours], utilities)
    assert deviation[theirs[0]] == pytest.approx(utilities[0])


# Expected model change.


@pytest.mark.parametrize("intercept", [True, False])
def test_model_change_is_the_step_that_gradient_descent_would_take(intercept: bool) -> None:
    X, known = rng(3).normal(size=(30, 4)), rng(4).normal(size=(25, 4))
    y = known @ [1.0, 2.0, 0.0, -1.0] + rng(5).normal(size=25)
    members = [LinearRegression(fit_intercept=intercept).fit(known[i::3], y[i::3]) for i in range(3)]
    weights = np.array([np.append(member.coef_, member.intercept_) for member in members])
    inputs = np.column_stack([X, np.ones(30) if intercept else np.zeros(30)])
    steps = np.zeros(30)
    for weight in weights:
        errors = inputs @ weights.mean(axis=0) - inputs @ weight
        steps += np.linalg.norm(errors[:, None] * inputs, axis=1) / 3
    view = number_view(X, [member.predict(X) for member in members])
    found = utility_of(asked(ModelChange(intercept=intercept), view, 30))
    np.testing.assert_allclose([found[row] for row in range(30)], steps)


def test_model_change_weighs_disagreement_with_the_length_of_the_row() -> None:
    X = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])
    view = number_view(X, [[0.0, 0.0, 1.0], [2.0, 8.0, 1.0]])
    with_one = asked(ModelChange(), view, 3)
    assert utility_of(with_one) == pytest.approx({0: np.sqrt(26), 1: 4.0, 2: 0.0})
    assert with_one.why[0] == {
        "predicted": 1.0,
        "differing": pytest.approx(1.0),
        "model_change": pytest.approx(np.sqrt(26)),
    }
    assert utility_of(asked(ModelChange(intercept=False), view, 3)) == pytest.approx({0: 5.0, 1: 0.0, 2: 0.0})


# Greedy sampling.


def plain_greedy(
    X: Reals, values: Reals, known_X: Reals, known_y: Reals, n: int, how: str
) -> tuple[list[int], list[float]]:
    """The definition: at every pick, every row against every known one."""
    points, numbers = list(known_X), list(known_y)
    rows: list[int] = []
    gains: list[float] = []
    for _ in range(n):
        best, gain = -1, -1.0
        for row in set(range(len(X))) - set(rows):
            in_x = np.array([np.linalg.norm(X[row] - point) for point in points])
            in_y = np.array([abs(values[row] - number) for number in numbers])
            smallest = float({"x": in_x, "y": in_y, "xy": in_x * in_y}[how].min())
            if smallest > gain:
                best, gain = row, smallest
        rows.append(best)
        gains.append(gain)
        points.append(X[best])
        numbers.append(values[best])
    return rows, gains


GREEDY = [(GreedyX(), "x"), (GreedyY(), "y"), (GreedyXY(), "xy")]
EVERY_GREEDY = pytest.mark.parametrize(("strategy", "how"), GREEDY, ids=[how for _, how in GREEDY])


@EVERY_GREEDY
@pytest.mark.parametrize("seed", range(5))
def test_greedy_picks_are_those_of_the_definition(strategy: PoolStrategy, how: str, seed: int) -> None:
    X, known = rng(seed).normal(size=(50, 6)), rng(seed + 100).normal(size=(4, 6))
    values, y = predict_number(X)[0], predict_number(known)[0] + 0.3
    selection = asked(strategy, number_view(X, values, labelled_X=known, labelled_y=y), 20)
    rows, gains = plain_greedy(X, values, known, y, 20, how)
    assert selection.rows.tolist() == rows
    np.testing.assert_allclose(selection.utilities, gains, rtol=1e-6)
    assert selection.why[3]["distance"] == selection.utilities[3]


@pytest.mark.parametrize(("strategy", "how"), GREEDY[1:], ids=["y", "xy"])
def test_waiting_with_comparisons_changes_nothing(
    strategy: PoolStrategy, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, known = features(300, seed=3), features(2, seed=4)
    values, y = predict_number(X)[0], predict_number(known)[0] + 0.3
    view = number_view(X, values, labelled_X=known, labelled_y=y)
    whole = asked(strategy, view, 40)
    monkeypatch.setattr("query_strategies.numbers.CHUNK", 7)
    waiting = asked(strategy, view, 40)
    np.testing.assert_array_equal(waiting.rows, whole.rows)
    assert whole.rows.tolist() == plain_greedy(X, values, known, y, 40, how)[0]


def test_the_smallest_product_is_not_the_product_of_the_smallest() -> None:
    """Row 0 is near to one known row in X and to the other in y; row 1 is at medium distances from both."""
    known, y = np.array([[0.0], [10.0]]), np.array([0.0, 10.0])
    X, values = np.array([[1.0], [4.0]]), np.array([9.0, 4.5])
    selection = asked(GreedyXY(), number_view(X, values, labelled_X=known, labelled_y=y), 2)
    assert utility_of(selection)[0] == pytest.approx(min(1 * 9, 9 * 1))
    assert selection.rows[0] == 1
    assert selection.utilities[0] == pytest.approx(min(4 * 4.5, 6 * 5.5))
    crossed = asked(GreedyXY(), number_view(np.array([[1.0], [2.0]]), [9.0, 2.0], labelled_X=known, labelled_y=y), 1)
    assert crossed.rows[0] == 0
    assert crossed.utilities[0] == pytest.approx(9)


@pytest.mark.parametrize("strategy", [GreedyY(), GreedyXY()], ids=["y", "xy"])
def test_pending_rows_count_with_what_is_predicted_for_them(strategy: PoolStrategy) -> None:
    X = np.array([[0.0], [1.0], [9.0], [5.5]])
    known = {"labelled_X": X[:1], "labelled_y": [0.0], "pending_X": np.array([[9.5]])}
    asks_model = PoolView(np.arange(4), X, predict=lambda rows: rows.T, task="number", **known)
    assert asked(strategy, asks_model, 1).rows.tolist() == [3]
    table_only = PoolView.from_predictions(np.arange(4), X.T, X=X, task="number", **known)
    assert asked(strategy, table_only, 1).rows.tolist() == [2]


@EVERY_GREEDY
def test_where_nothing_is_known_the_middle_of_the_pool_is_first(strategy: PoolStrategy, how: str) -> None:
    X = np.array([[0.0], [10.0], [4.0], [6.5], [4.4]])
    none = {"labelled_X": X[:0], "labelled_y": []}
    selection = asked(strategy, number_view(X, X[:, 0], **none), 3)
    assert selection.rows.tolist()[:2] == [4, 1]
    assert selection.utilities[0] == selection.utilities[1] == pytest.approx(5.6 if how != "xy" else 5.6**2)
    alone = asked(strategy, number_view(X, X[:, 0], **none), 1)
    assert alone.utilities[0] == pytest.approx(selection.utilities[0])


def test_where_all_predictions_are_the_same_the_rest_is_the_farthest_in_x() -> None:
    X = np.array([[0.0], [1.0], [7.0], [7.0], [3.0], [0.0]])
    view = number_view(X, np.full(6, 2.0), labelled_X=X[:1], labelled_y=[0.0])
    selection = asked(GreedyXY(), view, 6)
    assert X[selection.rows[:3], 0].tolist() == [7, 3, 1]
    assert selection.utilities.tolist() == [14.0, 0, 0, 0, 0, 0]
    assert sorted(X[selection.rows[3:], 0].tolist()) == [0, 0, 7]
    assert selection.why[1] == {"distance": 0.0, "drawn": "farthest in X: all products are 0", "predicted": 2.0}
    assert selection.why[5] == {"distance": 0.0, "drawn": "at random: nothing is far from what is known"}


@EVERY_GREEDY
def test_copies_of_what_is_known_come_last(strategy: PoolStrategy, how: str) -> None:
    different = rng(2).normal(size=(8, 3)) + 1e5
    X = np.repeat(different, 3, axis=0)
    view = number_view(X, X[:, 0], labelled_X=different[:6], labelled_y=different[:6, 0])
    selection = asked(strategy, view, 5)
    assert set((selection.rows[:2] // 3).tolist()) == {6, 7}
    assert np.all(selection.utilities[2:] == 0)


@pytest.mark.parametrize("strategy", [GreedyY(), GreedyXY()], ids=["y", "xy"])
def test_rows_that_are_equally_far_are_drawn(strategy: PoolStrategy) -> None:
    X = np.array([[np.cos(angle), np.sin(angle)] for angle in np.arange(12) * np.pi / 6])
    view = number_view(X, np.ones(12), labelled_X=np.zeros((1, 2)), labelled_y=[0.0])
    counts = np.bincount([asked(strategy, view, 1, seed).rows[0] for seed in range(360)], minlength=12)
    assert counts.min() > 10
    assert counts.max() < 60


def test_the_scale_of_y_does_not_change_a_choice_by_products() -> None:
    X, known = features(50), features(4, seed=9)
    values, y = predict_number(X)[0], predict_number(known)[0] + 0.3
    small, large = (
        asked(GreedyXY(), number_view(X, scale * values, labelled_X=known, labelled_y=scale * y), 10)
        for scale in (1.0, 1e6)
    )
    np.testing.assert_array_equal(small.rows, large.rows)


@pytest.mark.parametrize("labels", [["a", "b"], [1.0], [1.0, np.nan]])
def test_labels_that_are_no_numbers_are_refused(labels: list[Any]) -> None:
    X: NDArray[np.float64] = features(10)
    with pytest.raises(StrategyError, match="give one finite number for each of the 2 labelled rows"):
        asked(GreedyY(), number_view(X, X[:, 0], labelled_X=X[:2], labelled_y=labels), 2)
