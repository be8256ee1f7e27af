"""The learner for several labels at once, for numbers, and with the trees of a forest as its members."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC

from active_loop.errors import ConfigError, TrainingError
from active_loop.learner import Learner, RBFMachines, RBFRegression, make_learner
from query_strategies import PoolView, make

SIGNS = ("a", "b", "c")
NAMED = pytest.mark.parametrize("use", ["svm", "logistic", "forest"])

Reals = NDArray[np.float64]


def signs(n: int = 80, seed: int = 0) -> tuple[Reals, NDArray[np.int64]]:
    """Five features; class c is there where feature c is positive, up to some noise."""
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(n, 5))
    return X, (X[:, :3] + 0.2 * draw.normal(size=(n, 3)) > 0).astype(int)


def slope(n: int = 80, seed: int = 0) -> tuple[Reals, Reals]:
    """Five features and a number that grows with the first."""
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(n, 5))
    return X, 20 + 3 * X[:, 0] + 0.1 * draw.normal(size=n)


def sets(use: Any = "svm", **options: Any) -> Learner:
    return make_learner(use, **{"classes": SIGNS, "seed": 7, "kind": "multi_label", **options})


def numbers(use: Any = "svm", **options: Any) -> Learner:
    return make_learner(use, **{"classes": (), "seed": 7, "kind": "number", **options})


# Several labels.


@NAMED
@pytest.mark.parametrize("committee", [1, 3])
def test_each_class_has_its_own_probability(use: str, committee: int) -> None:
    made = sets(use, committee=committee)
    made.fit(*signs())
    X, Y = signs(200, seed=1)
    proba = made.member_predictions(X)
    assert proba.shape == (committee, 200, 3)
    assert np.all((proba >= 0) & (proba <= 1))
    assert ((proba.mean(axis=0) > 0.5) == Y).mean() > 0.85
    assert np.ptp(proba.mean(axis=0).sum(axis=1)) > 1  # they do not exclude each other


OWN = [
    LogisticRegression(),
    GaussianNB(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    KNeighborsClassifier(),
    RandomForestClassifier(20),
    MultiOutputClassifier(LogisticRegression()),
    OneVsRestClassifier(LogisticRegression()),
    ClassifierChain(LogisticRegression()),
    make_pipeline(StandardScaler(), ExtraTreesClassifier(20)),
    "sklearn.naive_bayes:GaussianNB",
]


@pytest.mark.parametrize("use", OWN)
@pytest.mark.parametrize("shown", [[0, 1, 2], [1]])
def test_any_classifier_learns_the_classes_that_vary(use: Any, shown: list[int]) -> None:
    X, Y = signs()
    taught = np.zeros_like(Y)
    taught[:, shown] = Y[:, shown]
    made = sets(use)
    made.fit(X, taught)
    proba = made.member_predictions(X)[0]
    assert ((proba > 0.5) == taught)[:, shown].mean() > 0.85
    rest = [c for c in range(3) if c not in shown]
    assert np.all(proba[:, rest] == 1 / 82)


def test_what_learns_one_class_at_a_time_is_fitted_to_each_as_if_alone() -> None:
    X, Y = signs()
    made = sets(GaussianNB())
    made.fit(X, Y)
    for column in range(3):
        alone = GaussianNB().fit(X, Y[:, column]).predict_proba(X)[:, 1]
        np.testing.assert_allclose(made.member_predictions(X)[0, :, column], alone)


@NAMED
def test_a_class_that_was_always_or_never_there_has_its_smoothed_share(use: str) -> None:
    X, Y = signs(10)
    Y[:, 1], Y[:, 2] = 1, 0
    made = sets(use)
    made.fit(X, Y)
    proba = made.member_predictions(X)[0]
    assert np.all(proba[:, 1] == 11 / 12)
    assert np.all(proba[:, 2] == 1 / 12)
    assert np.ptp(proba[:, 0]) > 0


@NAMED
@pytest.mark.parametrize(("n", "share"), [(0, 1 / 2), (1, 2 / 3), (3, 4 / 5)])
def test_before_any_class_varies_there_is_nothing_to_learn(use: str, n: int, share: float) -> None:
    made = sets(use, committee=2)
    if n:
        made.fit(np.zeros((n, 5)), np.ones((n, 3), dtype=int))
    np.testing.assert_array_equal(made.member_predictions(np.ones((4, 5))), np.full((2, 4, 3), share))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_a_bootstrap_sample_may_lose_a_class_and_still_predicts_it(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    X, Y = draw.normal(size=(n, 5)), (draw.random((n, 3)) < 0.2).astype(int)
    made = sets(GaussianNB(var_smoothing=1.0), committee=3, seed=seed)
    made.fit(X, Y)
    proba = made.member_predictions(X)
    assert proba.shape == (3, n, 3)
    assert np.all((proba >= 0) & (proba <= 1))


def test_weights_of_rows_count_for_every_class() -> None:
    X, Y = signs(20)
    exact = LogisticRegression(C=10, max_iter=10_000, tol=1e-10)
    weighted, repeated = sets(exact), sets(exact)
    weighted.fit(X, Y, np.r_[np.full(5, 2.0), np.ones(15)])
    repeated.fit(np.vstack([X, X[:5]]), np.vstack([Y, Y[:5]]))
    np.testing.assert_allclose(weighted.member_predictions(X), repeated.member_predictions(X), atol=1e-5)
    for use in (KNeighborsClassifier(), KNeighborsRegressor()):
        kind = {"kind": "number", "classes": ()} if isinstance(use, KNeighborsRegressor) else {}
        with pytest.raises(TrainingError, match="takes no weights: use another model, or drop them"):
            sets(use, **kind).fit(X, X[:, 0] if kind else Y, np.ones(20))


def test_machines_for_several_labels_are_one_machine_for_each() -> None:
    X, Y = signs()
    together = RBFMachines().fit(X, Y)
    for column in range(3):
        theirs = SVC(C=10, gamma="scale").fit(X, Y[:, column]).decision_function(X)
        np.testing.assert_allclose(together.decision_function(X)[:, column], theirs, atol=1e-6)
        np.testing.assert_allclose(together.predict_proba(X)[:, column], 1 / (1 + np.exp(-3 * theirs)), atol=1e-6)
    np.testing.assert_array_equal(together.predict(X), together.decision_function(X) > 0)
    with pytest.raises(ValueError, match="label 1 is 0 in all rows: both 0 and 1 are needed"):
        RBFMachines().fit(X, np.column_stack([Y[:, 0], np.zeros(80, dtype=int)]))


# Numbers.


@NAMED
@pytest.mark.parametrize("committee", [1, 3])
def test_a_named_model_learns_a_number(use: str, committee: int) -> None:
    made = numbers(use, committee=committee)
    made.fit(*slope())
    X, y = slope(200, seed=1)
    found = made.member_predictions(X)
    assert found.shape == (committee, 200)
    assert np.sqrt(np.mean((found.mean(axis=0) - y) ** 2)) < 0.6 * y.std()


@pytest.mark.parametrize(
    "use",
    [
        KNeighborsRegressor(),
        HistGradientBoostingRegressor(),
        SVR(),
        TransformedTargetRegressor(Ridge()),
        make_pipeline(StandardScaler(), Ridge()),
        "sklearn.linear_model:Ridge",
    ],
)
def test_any_regressor_learns_a_number(use: Any) -> None:
    made = numbers(use)
    made.fit(*slope())
    X, y = slope(200, seed=1)
    assert np.corrcoef(made.member_predictions(X)[0], y)[0, 1] > 0.7


@NAMED
@pytest.mark.parametrize(("labels", "expected"), [([], 0.0), ([7.5], 7.5)])
def test_with_one_number_or_none_that_one_or_zero_is_predicted(use: str, labels: list[float], expected: float) -> None:
    made = numbers(use, committee=2)
    made.fit(np.zeros((len(labels), 5)), np.array(labels))
    np.testing.assert_array_equal(made.member_predictions(np.ones((3, 5))), np.full((2, 3), expected))
    np.testing.assert_array_equal(numbers(use).member_predictions(np.ones((3, 5))), np.zeros((1, 3)))


def test_one_number_is_enough_for_an_estimator_that_needs_more() -> None:
    made = numbers(KNeighborsRegressor(n_neighbors=5))
    made.fit(np.zeros((1, 5)), np.array([7.5]))
    assert made.member_predictions(np.ones((1, 5))).tolist() == [[7.5]]


@NAMED
def test_two_numbers_are_enough_and_equal_ones_are_no_reason_to_fail(use: str) -> None:
    X, y = slope(2)
    made = numbers(use, committee=3)
    made.fit(X, y)
    assert np.all((made.member_predictions(X) >= y.min() - 1) & (made.member_predictions(X) <= y.max() + 1))
    made.fit(np.ones((4, 5)), np.full(4, 2.0))
    np.testing.assert_allclose(made.member_predictions(np.ones((1, 5))), 2)


@NAMED
@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_the_unit_of_a_number_does_not_matter(use: str, factor: float) -> None:
    X, y = slope()
    plain, scaled = numbers(use), numbers(use)
    plain.fit(X, y)
    scaled.fit(X, factor * y)
    np.testing.assert_allclose(scaled.member_predictions(X), factor * plain.member_predictions(X), rtol=1e-6)


def test_kernel_regression_is_scikit_learns_around_the_mean() -> None:
    X, y = slope()
    ours = RBFRegression(alpha=0.1).fit(X, y)
    theirs = KernelRidge(alpha=0.1, kernel="rbf", gamma=1 / (5 * X.var())).fit(X, y - y.mean())
    np.testing.assert_allclose(ours.predict(X), y.mean() + theirs.predict(X))
    np.testing.assert_allclose(ours.predict(X + 1e3), y.mean())


def test_a_row_of_weight_two_counts_like_two_rows() -> None:
    X, y = slope(30)
    weighted = RBFRegression().fit(X, y, np.r_[np.full(10, 2.0), np.zeros(2), np.ones(18)])
    kept = np.r_[0:10, 0:10, 12:30]
    repeated = KernelRidge(alpha=0.1, kernel="rbf", gamma=weighted.gamma_).fit(X[kept], y[kept] - y[kept].mean())
    np.testing.assert_allclose(weighted.predict(X), y[kept].mean() + repeated.predict(X))


def test_kernel_regression_predicts_the_same_in_pieces_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = slope()
    fitted = RBFRegression().fit(X, y)
    whole = fitted.predict(X)
    monkeypatch.setattr("active_loop.learner.machines.KERNEL_NUMBERS", 100)
    np.testing.assert_allclose(fitted.predict(X), whole)


# Both.


@NAMED
@pytest.mark.parametrize("kind", ["multi_label", "number"])
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_give_the_same_model_as_dense_ones(use: str, kind: str, form: Any) -> None:
    X, y = signs() if kind == "multi_label" else slope()
    X[X < 0] = 0
    dense, thin = ((sets if kind == "multi_label" else numbers)(use, committee=2) for _ in range(2))
    dense.fit(X, y)
    thin.fit(form(X), y)
    np.testing.assert_allclose(thin.member_predictions(form(X)), dense.member_predictions(X), atol=2e-3)


@NAMED
@pytest.mark.parametrize("kind", ["multi_label", "number"])
def test_the_same_seed_gives_the_same_members_bit_for_bit_and_another_seed_others(use: str, kind: str) -> None:
    X, y = signs() if kind == "multi_label" else slope()
    other_rows = signs(seed=1)[0]
    found = []
    for seed in (1, 1, 2):
        made = (sets if kind == "multi_label" else numbers)(use, committee=3, seed=seed)
        made.fit(X, y)
        found.append(made.member_predictions(other_rows))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0][0], found[0][1])


def test_estimators_of_different_kinds_make_a_committee_for_every_kind_of_label() -> None:
    X, Y = signs()
    mixed = sets(["svm", "logistic", KNeighborsClassifier(3)])
    mixed.fit(X, Y)
    alone = sets("svm")
    alone.fit(X, Y)
    np.testing.assert_array_equal(mixed.member_predictions(X)[0], alone.member_predictions(X)[0])
    several = numbers(["svm", "logistic", "forest"])
    several.fit(X, X[:, 0])
    assert several.member_predictions(X).shape == (3, 80)


def test_an_empty_block_has_empty_predictions_of_every_kind() -> None:
    made, found = sets("forest", committee=2), numbers("logistic")
    made.fit(*signs())
    found.fit(*slope())
    assert made.member_predictions(np.empty((0, 5))).shape == (2, 0, 3)
    assert found.member_predictions(np.empty((0, 5))).shape == (1, 0)


# The trees of a forest.


def test_a_forest_is_one_fit_and_its_trees_are_the_members() -> None:
    X, Y = signs()
    y = Y[:, 0] + 2 * Y[:, 1]
    forest = RandomForestClassifier(6, random_state=3)
    whole = make_learner(forest, classes="abcde", seed=0)
    trees = make_learner(forest, classes="abcde", seed=0, committee=6)
    for made in (whole, trees):
        made.fit(X, np.array([4, 0, 3, 1])[y])  # columns follow the configured classes; nobody named the third
    fitted = RandomForestClassifier(6, random_state=3).fit(X, np.array([4, 0, 3, 1])[y])
    members = trees.member_predictions(X)
    assert members.shape == (6, 80, 5)
    for member, tree in zip(members, fitted.estimators_, strict=True):
        np.testing.assert_array_equal(member[:, [0, 1, 3, 4]], tree.predict_proba(X))
    assert np.all(members[:, :, 2] == 0)
    np.testing.assert_allclose(members.mean(axis=0), whole.member_predictions(X)[0])
    assert "6 members, of its trees" in trees.fingerprint


@pytest.mark.parametrize("forest", [ExtraTreesRegressor(12), RandomForestRegressor(12)])
def test_trees_are_dealt_out_evenly_and_a_member_is_the_mean_of_its_own(forest: Any) -> None:
    X, y = slope()
    given = forest.set_params(random_state=1)
    trees, groups, whole = (numbers(given, committee=committee) for committee in (12, 4, 1))
    for made in (trees, groups, whole):
        made.fit(X, y)
    other_rows = slope(seed=1)[0]
    each = trees.member_predictions(other_rows)
    np.testing.assert_allclose(groups.member_predictions(other_rows), each.reshape(4, 3, 80).mean(axis=1))
    np.testing.assert_allclose(whole.member_predictions(other_rows)[0], each.mean(axis=0))
    assert each.std(axis=0).mean() > 0


@pytest.mark.parametrize("forest", ["forest", RandomForestClassifier(20)])
@pytest.mark.parametrize("shown", [[0, 1, 2], [1]])
def test_trees_are_members_for_several_labels_too(forest: Any, shown: list[int]) -> None:
    X, Y = signs()
    taught = np.ones_like(Y)
    taught[:, shown] = Y[:, shown]
    whole, trees = sets(forest), sets(forest, committee=10)
    for made in (whole, trees):
        made.fit(X, taught)
    other_rows = signs(seed=1)[0]
    members = trees.member_predictions(other_rows)
    assert members.shape == (10, 80, 3)
    np.testing.assert_allclose(members.mean(axis=0), whole.member_predictions(other_rows)[0])
    assert np.all(np.ptp(members, axis=0)[:, [c for c in range(3) if c not in shown]] == 0)


def test_a_forest_gets_as_many_trees_as_members() -> None:
    X, y = slope()
    forest = ExtraTreesRegressor(3, max_depth=2)
    made = numbers(forest, committee=8)
    made.fit(X, y)
    assert made.member_predictions(X).shape == (8, 80)
    assert "max_depth=2, n_estimators=8" in made.fingerprint
    assert forest.n_estimators == 3


def test_trees_of_a_forest_that_had_nothing_to_learn_say_so_together() -> None:
    made = make_learner("forest", classes=SIGNS, seed=0, committee=4)
    made.fit(np.zeros((2, 5)), np.array([1, 1]))
    np.testing.assert_array_equal(made.member_predictions(np.ones((2, 5))), np.full((4, 2, 3), 1 / 3))


@pytest.mark.parametrize("name", ["vote_entropy", "kl_mean", "kl_max", "consensus_entropy"])
def test_a_committee_strategy_asks_the_trees(name: str) -> None:
    X, Y = signs(200)
    made = make_learner("forest", classes=("no", "yes"), seed=0, committee=20)
    made.fit(X[:40], Y[:40, 0])
    view = PoolView(np.arange(160), X[40:], predict=made.member_predictions, classes=("no", "yes"), block_size=64)
    chosen = make(name).query(view, 10, np.random.default_rng(0)).rows
    apart = made.member_predictions(X[40:])[:, :, 1].std(axis=0)
    assert apart[chosen].mean() > 1.2 * apart.mean()


# What is refused.


class Lost(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor that knows nothing."""

    def fit(self, X: Any, y: Any) -> Lost:
        return self

    def predict(self, X: Any) -> Reals:
        if X[0, 0] > 100:
            raise ValueError("no idea")
        return np.full(len(X), np.inf)


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (LogisticRegression(), "number", r"LogisticRegression\(\) is no scikit-learn regressor: give an instance"),
        (Ridge, "number", "is no scikit-learn regressor: give an instance of one"),
        ("ridge", "number", 'unknown model "ridge"; known: forest, logistic, svm'),
        (Ridge(), "multi_label", "is no scikit-learn classifier"),
        (LinearSVC(), "multi_label", "LinearSVC has no predict_proba"),
        ("svm", "spans", 'unknown kind of label "spans"; known: choice, multi_label, number'),
    ],
)
def test_what_cannot_learn_this_kind_of_label_is_refused(use: Any, kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_learner(use, classes=SIGNS, seed=0, kind=kind)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.zeros(2),
            r"2 rows of features and labels of shape \(2,\); give a row of 0 and 1 for each, one for each of",
        ),
        (np.zeros((2, 2)), r"labels of shape \(2, 2\)"),
        (np.zeros((3, 3)), r"labels of shape \(3, 3\)"),
        (np.full((2, 3), 0.5), "labels hold 0.5; give 0 or 1 for each class of a row"),
        (np.full((2, 3), -1), "labels hold -1"),
    ],
)
def test_several_labels_that_cannot_be_learned_are_refused(y: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        sets().fit(np.zeros((2, 5)), y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(3), r"2 rows of features and labels of shape \(3,\), float64; give one number for each"),
        (np.zeros((2, 1)), r"labels of shape \(2, 1\)"),
        (["1", "2"], r"labels of shape \(2,\), <U1; give one number for each"),
        ([True, False], r"bool; give one number for each"),
        ([1.0, np.nan], "the label of row 1 is nan; give finite numbers"),
        ([np.inf, 1.0], "the label of row 0 is inf"),
    ],
)
def test_numbers_that_cannot_be_learned_are_refused(y: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        numbers().fit(np.zeros((2, 5)), y)


def test_the_width_and_the_weights_are_checked_for_every_kind() -> None:
    with pytest.raises(TrainingError, match="rows have 5 features, and 4 were expected"):
        numbers(n_features=4).fit(*slope())
    with pytest.raises(TrainingError, match="weights must be 80 finite numbers of at least 0"):
        sets().fit(*signs(), weight=np.full(80, -1.0))


def test_numbers_that_are_not_finite_or_fail_are_training_errors() -> None:
    made = numbers(Lost())
    made.fit(*slope())
    with pytest.raises(TrainingError, match="Lost gave predictions that are not finite for 2 rows"):
        made.member_predictions(np.zeros((2, 5)))
    with pytest.raises(TrainingError, match="Lost cannot predict 2 rows: no idea"):
        made.member_predictions(np.full((2, 5), 1e3))
    few = numbers(KNeighborsRegressor())
    few.fit(*slope(3))
    with pytest.raises(TrainingError, match="KNeighborsRegressor cannot predict 1 rows"):
        few.member_predictions(np.zeros((1, 5)))
