"""The contract that every registered strategy keeps: a new one is tested by being registered."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pools import CLASSES, PREDICT, N, asked, features, ids_of, labels_of, predict, rng, view_of
from scipy import sparse

import query_strategies
from query_strategies import (
    STRATEGIES,
    Auto,
    Margin,
    MissingNeedError,
    PoolStrategy,
    PoolTooSmallError,
    PoolView,
    PredictionError,
    Random,
    ScoreStrategy,
    Strategy,
    StrategyError,
    make,
)

MADE = [make(name) for name in STRATEGIES]
CASES = [(strategy, task) for strategy in MADE for task in sorted(strategy.tasks)]
EVERY = pytest.mark.parametrize("strategy", MADE, ids=list(STRATEGIES))
EVERY_TASK = pytest.mark.parametrize(("strategy", "task"), CASES, ids=[f"{s.name}-{task}" for s, task in CASES])
# What `auto` looks at depends on what it picks.
PREDICTED = [(s, task) for s, task in CASES if s.needs & {"proba", "votes"} and not isinstance(s, Auto)]
EVERY_PREDICTED = pytest.mark.parametrize(("strategy", "task"), PREDICTED, ids=[f"{s.name}-{t}" for s, t in PREDICTED])
SCORES = [s for s in MADE if isinstance(s, ScoreStrategy) and s.needs == {"proba"} and "choice" in s.tasks]
EVERY_SCORE = pytest.mark.parametrize("strategy", SCORES, ids=[s.name for s in SCORES])
COMMITTEE = [(s, task) for s, task in CASES if s.needs_members > 1]
COVERAGE = [(s, task) for s, task in CASES if s.needs <= {"X", "labels"} and "X" in s.needs]
GEOMETRIC = [(s, task) for s, task in CASES if "X" in s.needs and not isinstance(s, Auto)]


def ids(cases: list[tuple[PoolStrategy, str]]) -> list[str]:
    return [f"{strategy.name}-{task}" for strategy, task in cases]


@EVERY_TASK
@pytest.mark.parametrize("n", [1, 2, 10, N])
def test_a_selection_has_n_different_rows_best_first_and_a_reason_for_each(
    strategy: PoolStrategy, task: str, n: int
) -> None:
    selection = asked(strategy, view_of(features(), task=task), n)
    assert len(selection) == n
    assert len(set(selection.rows.tolist())) == n
    assert selection.rows.min() >= 0
    assert selection.rows.max() < N
    assert selection.utilities.dtype == np.float64
    assert np.all(np.diff(selection.utilities) <= 0)
    assert np.all(selection.utilities >= 0)
    assert len(selection.why) == n
    assert all(selection.why)
    assert json.loads(json.dumps(selection.why, allow_nan=False)) == list(selection.why)


@EVERY_TASK
def test_the_same_question_gets_the_same_answer(strategy: PoolStrategy, task: str) -> None:
    first, second = (asked(strategy, view_of(features(), task=task), 10, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.utilities, second.utilities)
    assert first.why == second.why


@EVERY_TASK
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_answer_depends_on_neither_row_order_nor_block_size(
    strategy: PoolStrategy, task: str, data: st.DataObject
) -> None:
    n = data.draw(st.integers(2, 40))
    X = np.array(data.draw(st.lists(st.integers(0, 2), min_size=6 * n, max_size=6 * n)), dtype=float).reshape(n, 6)
    shuffled = np.array(data.draw(st.permutations(range(n))))
    wanted = data.draw(st.integers(1, n))
    block_size = data.draw(st.integers(1, n))
    whole = asked(strategy, view_of(X, task=task), wanted)
    cut = asked(strategy, view_of(X[shuffled], ids_of(n)[shuffled], task, block_size=block_size), wanted)
    np.testing.assert_array_equal(shuffled[cut.rows], whole.rows)
    np.testing.assert_array_equal(cut.utilities, whole.utilities)
    assert cut.why == whole.why


@EVERY_TASK
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_give_the_same_answer_as_dense_ones(strategy: PoolStrategy, task: str, form: Any) -> None:
    dense = asked(strategy, view_of(features(), task=task), 12)
    thin = asked(strategy, view_of(form(features()), task=task), 12)
    np.testing.assert_array_equal(thin.rows, dense.rows)
    np.testing.assert_allclose(thin.utilities, dense.utilities)


@EVERY_TASK
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_features_of_either_precision_can_be_chosen_from(strategy: PoolStrategy, task: str, kind: Any) -> None:
    X = features().astype(kind)
    selection = asked(strategy, view_of(X, task=task, labelled_X=X[:5]), 8)
    assert len(set(selection.rows.tolist())) == 8


@EVERY_TASK
def test_nothing_that_was_given_is_written_to(strategy: PoolStrategy, task: str) -> None:
    X, ids, labelled, pending = features(), ids_of(), features(5, seed=1), features(4, seed=2)
    proba, labels = PREDICT[task](X), labels_of(task, 5)
    given_arrays: tuple[NDArray[Any], ...] = (X, ids, labelled, pending, proba, labels)
    before = [array.copy() for array in given_arrays]
    view = view_of(X, ids, task, labelled_X=labelled, labelled_y=labels, pending_X=pending)
    for array in given_arrays:
        array.flags.writeable = False
    asked(strategy, view, 10)
    more = {"cost": view.cost, "fit_predict": view.fit_predict, "classes": view.classes, "task": task}
    more |= {"labelled_X": labelled, "labelled_y": labels, "pending_X": pending}
    asked(strategy, PoolView.from_predictions(ids, proba, X=X, **more), 10)
    for array, was in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, was)


@EVERY_TASK
def test_sparse_rows_are_not_written_to(strategy: PoolStrategy, task: str) -> None:
    tidy = sparse.csr_array(features())
    backwards = (tidy.data[::-1].copy(), tidy.indices[::-1].copy(), tidy.nnz - tidy.indptr[::-1])
    X = sparse.csr_array(backwards, shape=tidy.shape)
    before = (X.data.copy(), X.indices.copy(), X.indptr.copy())
    asked(strategy, view_of(X, task=task, labelled_X=X[:5]), 10)
    for now, was in zip((X.data, X.indices, X.indptr), before, strict=True):
        np.testing.assert_array_equal(now, was)


@EVERY_TASK
def test_a_pool_of_one_item_has_one_choice(strategy: PoolStrategy, task: str) -> None:
    assert asked(strategy, view_of(features(1), task=task), 1).rows.tolist() == [0]


@EVERY_TASK
def test_where_nothing_is_labelled_yet_there_is_a_choice_all_the_same(strategy: PoolStrategy, task: str) -> None:
    none = {"labelled_X": features(0), "labelled_y": labels_of(task, 0)}
    if strategy.needs & {"refit"}:
        return
    selection = asked(strategy, view_of(features(), task=task, **none), 6)
    assert len(set(selection.rows.tolist())) == 6


@EVERY
def test_where_one_class_is_known_there_is_a_choice_all_the_same(strategy: PoolStrategy) -> None:
    """One column is a model that has seen one class; equal columns are one that has not been fitted."""
    if "choice" not in strategy.tasks or "refit" in strategy.needs:
        return
    for proba, classes in ((np.ones((3, N, 1)), ("ham",)), (np.full((3, N, 3), 1 / 3), CLASSES)):
        known = {"labelled_y": np.zeros(5, dtype=int), "predict": lambda X, proba=proba: proba[:, : len(dense(X))]}
        selection = asked(strategy, view_of(features(), classes=classes, **known), 6)
        assert len(set(selection.rows.tolist())) == 6


def dense(X: Any) -> Any:
    return X.toarray() if hasattr(X, "toarray") else X


@EVERY
@pytest.mark.parametrize("n", [0, -3])
def test_less_than_one_item_is_refused(strategy: PoolStrategy, n: int) -> None:
    with pytest.raises(StrategyError, match=f"{n} items were asked for"):
        asked(strategy, view_of(features(), task=min(strategy.tasks)), n)


@EVERY
def test_more_items_than_the_pool_has_are_refused_with_both_numbers(strategy: PoolStrategy) -> None:
    with pytest.raises(PoolTooSmallError, match=f"{N + 1} items were asked for, and the pool has {N}"):
        asked(strategy, view_of(features(), task=min(strategy.tasks)), N + 1)


@EVERY
def test_a_missing_need_is_named(strategy: PoolStrategy) -> None:
    named = {
        "proba": "predictions of a model",
        "votes": "the votes of a committee",
        "X": "the feature matrix",
        "labels": "the labelled rows",
        "refit": "a way to train on more labels",
        "cost": "expected seconds per item",
    }
    bare = PoolView(ids_of(), None, task=min(strategy.tasks))
    if not strategy.needs:
        assert len(asked(strategy, bare, 3)) == 3
        return
    with pytest.raises(MissingNeedError) as caught:
        asked(strategy, bare, 3)
    for need in strategy.needs:
        assert named[need] in str(caught.value)


@EVERY
def test_a_task_of_another_kind_is_refused(strategy: PoolStrategy) -> None:
    for task in PREDICT.keys() - strategy.tasks:
        with pytest.raises(StrategyError, match=f"{strategy.name} chooses for .*, and this one is {task}"):
            asked(strategy, view_of(features(), task=task), 3)


@EVERY_TASK
def test_every_row_can_be_a_copy_of_one_item(strategy: PoolStrategy, task: str) -> None:
    X = np.tile(features(1), (20, 1))
    for n in (1, 7, 20):
        selection = asked(strategy, view_of(X, np.full(20, 7, dtype=np.uint64), task), n)
        assert len(set(selection.rows.tolist())) == n


@EVERY
def test_options_and_seed_show_in_its_representation(strategy: PoolStrategy) -> None:
    shown = repr(type(strategy)(seed=3))
    assert "seed=3" in shown
    assert repr(eval(shown, vars(query_strategies))) == shown


@EVERY_PREDICTED
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_refused(strategy: PoolStrategy, task: str, bad: float) -> None:
    def broken(X: Any) -> Any:
        answer = PREDICT[task](X)
        answer[:, (dense(X) == features()[17]).all(axis=1)] = bad
        return answer

    with pytest.raises(PredictionError, match="row 17"):
        asked(strategy, view_of(features(), task=task, predict=broken), 5)


@EVERY_PREDICTED
def test_predictions_that_are_no_probabilities_are_refused(strategy: PoolStrategy, task: str) -> None:
    if task == "number":
        return
    with pytest.raises(PredictionError, match=r"not to 1|no probability"):
        asked(strategy, view_of(features(), task=task, predict=lambda X: PREDICT[task](X) * 1.5 + 0.6), 5)


@EVERY_SCORE
@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_equal_predictions_make_the_choice_random_and_seeded(strategy: PoolStrategy, n_classes: int) -> None:
    """The state before two classes are known; one column is a model that has seen one class."""
    view = PoolView.from_predictions(ids_of(), np.full((3, N, n_classes), 1 / n_classes))
    answers = [tuple(asked(strategy, view, 5, seed).rows.tolist()) for seed in (0, 0, 1, 2)]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


@EVERY_SCORE
def test_ties_are_broken_without_favour_for_a_place_in_the_file(strategy: PoolStrategy) -> None:
    view = PoolView.from_predictions(ids_of(20), np.full((2, 20, 4), 0.25))
    counts = np.zeros(20)
    for seed in range(400):
        counts[asked(strategy, view, 5, seed).rows] += 1
    assert counts.min() > 50
    assert counts.max() < 150


@EVERY_SCORE
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_smaller_floats_rank_like_larger_ones(strategy: PoolStrategy, kind: Any) -> None:
    proba = predict(features())
    exact = asked(strategy, PoolView.from_predictions(ids_of(), proba), 1)
    small = asked(strategy, PoolView.from_predictions(ids_of(), proba.astype(kind)), 1)
    assert small.utilities[0] == pytest.approx(exact.utilities[0], abs=0.01)


@EVERY_SCORE
def test_predictions_given_at_once_and_block_by_block_are_the_same(strategy: PoolStrategy) -> None:
    X = features()
    once = asked(strategy, PoolView.from_predictions(ids_of(), predict(X), classes=CLASSES), 9)
    blocks = asked(strategy, view_of(X, block_size=8), 9)
    np.testing.assert_array_equal(once.rows, blocks.rows)
    assert once.why == blocks.why


@pytest.mark.parametrize(("strategy", "task"), COMMITTEE, ids=ids(COMMITTEE))
def test_a_committee_of_one_is_refused(strategy: PoolStrategy, task: str) -> None:
    view = view_of(features(), task=task, predict=lambda X: PREDICT[task](X)[:1])
    with pytest.raises(StrategyError, match=f"{strategy.name}.*at least 2.*there is 1"):
        asked(strategy, view, 5)


@EVERY_SCORE
def test_a_score_picks_what_a_full_sort_picks(strategy: ScoreStrategy) -> None:
    X = features(500, seed=8)
    selection = asked(strategy, view_of(X, block_size=64), 50)
    utilities = strategy.utilities(predict(X))
    np.testing.assert_array_equal(selection.utilities, np.sort(utilities)[::-1][:50])


@pytest.mark.parametrize(("strategy", "task"), COVERAGE, ids=ids(COVERAGE))
def test_no_choice_falls_next_to_a_row_that_is_labelled_or_pending(strategy: PoolStrategy, task: str) -> None:
    X = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], [50, 10, 7], axis=0) + rng(4).normal(scale=0.1, size=(67, 2))
    none = {"labelled_X": None, "labelled_y": None}
    for known in ({"labelled_X": X[:1], "labelled_y": labels_of(task, 1)}, {"pending_X": X[:1]}):
        view = PoolView(ids_of(67), X, task=task, **{**none, **known})
        if strategy.needs <= view.provides:
            chosen = X[asked(strategy, view, 2).rows]
            assert sorted(chosen.round(-1).tolist()) == [[0, 10], [10, 0]]


@pytest.mark.parametrize(("strategy", "task"), GEOMETRIC, ids=ids(GEOMETRIC))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(strategy: PoolStrategy, task: str, bad: float) -> None:
    X = features()
    X[3, 2] = bad
    proba = PREDICT[task](features())
    view = view_of(X, task=task)
    more = {"X": X, "task": task, "labelled_X": view.labelled_X, "labelled_y": view.labelled_y, "cost": view.cost}
    with pytest.raises(StrategyError, match="NaN or an infinity"):
        asked(strategy, PoolView.from_predictions(ids_of(), proba, fit_predict=view.fit_predict, **more), 5)


@pytest.mark.parametrize(("strategy", "task"), COVERAGE, ids=ids(COVERAGE))
def test_features_that_are_no_numbers_are_refused(strategy: PoolStrategy, task: str) -> None:
    X = np.array([["a"], ["b"]], dtype=object)
    with pytest.raises(StrategyError, match="encode them first"):
        asked(strategy, PoolView(None, X, task=task, labelled_X=X[:0], labelled_y=labels_of(task, 0)), 1)


# The registry.


def test_the_registry_makes_strategies_by_name() -> None:
    made: Strategy = make("margin", seed=4)
    assert isinstance(made, Margin)
    assert [make(name).name for name in STRATEGIES] == list(STRATEGIES)


def test_every_strategy_has_a_row_in_the_strategies_page_and_its_code_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "strategies.md").read_text(encoding="utf-8")
    for name, strategy in STRATEGIES.items():
        assert f"| `{name}` | `{strategy.__name__}` |" in page
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["selection"].rows.tolist() == [1, 2]
    assert len(names["chosen"]) == 5


def test_a_wrong_name_is_refused_with_the_closest_and_all_right_ones() -> None:
    with pytest.raises(
        StrategyError, match=r'unknown strategy "margn"\. Did you mean "margin"\? Known: random, .*kmeans'
    ):
        make("margn")


def test_options_can_stand_behind_the_name() -> None:
    made = make("mixture(power(kl_mean, beta=2), share=0.2)", seed=3)
    assert repr(made) == "Mixture(inner='power(kl_mean, beta=2)', share=0.2, seed=3)"
    assert repr(make("margin(seed=4)")) == "Margin(seed=4)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixture(margin", "cannot read the strategy"),
        ("mixture(margin, 3)", "cannot read the strategy"),
        ("a.b(c)", "cannot read the strategy"),
        ("margin(3)", "margin wraps no other strategy"),
        ("margin(seed=x)", "the seed of margin is 'x': give a whole number"),
        ("mixture(margn)", 'Did you mean "margin"'),
        ("mixture(margin, sare=1)", 'unknown option of mixture "sare". Did you mean "share"'),
        ("power(beta='much')", "power cannot be made with"),
    ],
)
def test_a_name_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(StrategyError, match=re.escape(message)):
        make(text)


def test_a_wrong_option_is_refused_with_the_right_ones() -> None:
    with pytest.raises(StrategyError, match=r'unknown option of margin "sed"\. Did you mean "seed"\? Known: seed'):
        make("margin", sed=1)


# Random.


def test_random_takes_every_row_equally_often_and_says_with_which_probability() -> None:
    view = PoolView(ids_of(20), None)
    counts = np.zeros(20)
    for seed in range(600):
        selection = asked(Random(), view, 5, seed)
        counts[selection.rows] += 1
        assert selection.why[0] == {"probability": 0.25}
    assert np.all(np.abs(counts - 150) < 50)
