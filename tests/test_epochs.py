"""What a model predicts after so many of its iterations: what so many give, whichever model counts them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from active_loop.learner import (
    Bounded,
    CommitteeLearner,
    RBFMachines,
    Tempered,
    by_iteration,
    is_iterative,
    make_learner,
)

CLASSES = ("a", "b", "c")
X = np.random.default_rng(0).normal(size=(80, 3))
LABELS: dict[str, Any] = {
    "choice": (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.3),
    "multi_label": np.column_stack([X[:, 0] > 0, X[:, 1] > 0.5, X[:, 2] > -0.5]).astype(int),
    "number": X[:, 0] * 2 + X[:, 1] ** 2,
}
TREES = {"max_iter": 7, "min_samples_leaf": 5}
PASSES = {"hidden_layer_sizes": (4,), "solver": "lbfgs", "max_iter": 20}

ITERATIVE = [
    ("choice", HistGradientBoostingClassifier(**TREES)),
    ("choice", make_pipeline(StandardScaler(), HistGradientBoostingClassifier(**TREES, early_stopping=True))),
    ("choice", GradientBoostingClassifier(n_estimators=7)),
    ("choice", Tempered(HistGradientBoostingClassifier(**TREES), 1.5)),
    ("choice", Tempered(make_pipeline(StandardScaler(), MLPClassifier(**PASSES)), 0.7)),
    ("choice", make_pipeline(StandardScaler(), MLPClassifier(**PASSES))),
    ("choice", SGDClassifier(loss="log_loss", max_iter=30)),
    ("choice", MLPClassifier((4,), max_iter=12)),
    ("multi_label", HistGradientBoostingClassifier(**TREES)),
    ("multi_label", MLPClassifier(**PASSES)),
    ("number", HistGradientBoostingRegressor(**TREES)),
    ("number", GradientBoostingRegressor(n_estimators=7)),
    ("number", Bounded(HistGradientBoostingRegressor(**TREES))),
    ("number", make_pipeline(StandardScaler(), SGDRegressor(max_iter=30))),
    ("number", TransformedTargetRegressor(HistGradientBoostingRegressor(**TREES), transformer=StandardScaler())),
    (
        "number",
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), MLPRegressor(**PASSES)), transformer=StandardScaler()
        ),
    ),
]


def learner_of(estimator: Any, kind: str = "choice", **options: Any) -> CommitteeLearner:
    return make_learner(estimator, classes=CLASSES, seed=3, kind=kind, **options)


def fitted(learner: CommitteeLearner, X: Any, y: Any) -> CommitteeLearner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        learner.fit(X, y)
    return learner


@pytest.mark.parametrize(("kind", "estimator"), ITERATIVE)
def test_after_its_last_iteration_it_is_the_model_itself(kind: str, estimator: Any) -> None:
    learner, y = learner_of(estimator, kind), LABELS[kind]
    assert is_iterative(learner)
    read = list(by_iteration(learner, X[:60], y[:60], [X[:60], X[60:]]))
    whole = fitted(learner, X[:60], y[:60])
    iterations = [n for n, _ in read]
    assert iterations == sorted(set(iterations))
    assert iterations[0] == 1
    for rows, found in zip((X[:60], X[60:]), read[-1][1], strict=True):
        assert np.allclose(found, whole.member_predictions(rows)[0], rtol=0, atol=1e-12)
    assert not np.allclose(read[0][1][0], read[-1][1][0])


def test_boosting_is_read_tree_by_tree_from_one_fit() -> None:
    learner, y = learner_of(HistGradientBoostingClassifier(**TREES)), LABELS["choice"]
    by_hand = HistGradientBoostingClassifier(**TREES).fit(X[:60], y[:60])
    staged = list(by_hand.staged_predict_proba(X[60:]))
    read = list(by_iteration(learner, X[:60], y[:60], [X[60:]]))
    assert [n for n, _ in read] == list(range(1, 8))
    assert all(np.array_equal(found, stage) for (_, [found]), stage in zip(read, staged, strict=True))


def test_many_trees_are_read_at_a_hundred_places() -> None:
    read = [
        n
        for n, _ in by_iteration(
            learner_of(GradientBoostingRegressor(n_estimators=250, max_depth=1), "number"), X, LABELS["number"], [X]
        )
    ]
    assert (len(read), read[0], read[-1]) == (100, 1, 250)


def test_a_network_is_fitted_anew_with_so_many_steps() -> None:
    network, y = MLPClassifier(**PASSES, random_state=0), LABELS["choice"]
    read = dict(by_iteration(learner_of(network), X, y, [X]))
    assert list(read) == [1, 2, 5, 10, 20]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        by_hand = clone(network).set_params(max_iter=5).fit(X, y)
    assert np.array_equal(read[5][0], by_hand.predict_proba(X))


def test_what_has_converged_is_not_fitted_with_more_steps() -> None:
    easy = MLPClassifier((2,), solver="lbfgs", max_iter=5000, alpha=1.0, random_state=0)
    read = [n for n, _ in by_iteration(learner_of(easy), X, LABELS["choice"], [X])]
    assert read[-1] < 5000


def test_of_a_committee_the_first_is_read_taught_all_rows() -> None:
    bagged = learner_of(HistGradientBoostingClassifier(**TREES), committee=3)
    alone = learner_of(HistGradientBoostingClassifier(**TREES))
    (_, found), (_, expected) = (list(by_iteration(each, X, LABELS["choice"], [X]))[-1] for each in (bagged, alone))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("temperature", [None, 1.5])
def test_of_a_mixture_the_first_part_with_iterations_is_read_by_itself(temperature: float | None) -> None:
    boosting = HistGradientBoostingClassifier(**TREES)
    mixture: Any = VotingClassifier([("svm", RBFMachines()), ("boosting", boosting)], voting="soft")
    mixed, alone = learner_of(Tempered(mixture, temperature) if temperature else mixture), learner_of(boosting)
    (_, found), (_, expected) = (list(by_iteration(each, X, LABELS["choice"], [X]))[-1] for each in (mixed, alone))
    assert is_iterative(mixed)
    assert np.array_equal(found, expected)
    assert not is_iterative(learner_of(VotingClassifier([("svm", RBFMachines())], voting="soft")))


def test_a_class_that_nobody_named_has_no_chance_at_any_iteration() -> None:
    y = np.where(X[:, 0] > 0, 2, 0)
    for _, [found] in by_iteration(learner_of(HistGradientBoostingClassifier(**TREES)), X, y, [X[:9]]):
        assert found.shape == (9, 3)
        assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("use", ["svm", "forest", "logistic", LogisticRegression()])
def test_what_has_no_iterations_that_add_up_is_not_read(use: Any) -> None:
    learner = learner_of(use)
    assert not is_iterative(learner)
    assert list(by_iteration(learner, X, LABELS["choice"], [X])) == []


def test_labels_of_one_class_teach_boosting_nothing() -> None:
    learner = learner_of(HistGradientBoostingClassifier(**TREES))
    assert list(by_iteration(learner, X, np.zeros(80, dtype=int), [X])) == []
