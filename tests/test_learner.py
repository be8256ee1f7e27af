"""The learner as the loop uses it: named and given estimators, committees, columns, seeds, and what it refuses."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from active_loop.errors import ConfigError, TrainingError
from active_loop.learner import Learner, RBFMachines, make_learner
from query_strategies import KMeans, Margin, PoolView, make

CLASSES = ("ant", "bee", "cow", "doe")
NAMED = pytest.mark.parametrize("use", ["svm", "logistic", "forest"])

Reals = NDArray[np.float64]


def blobs(n: int = 60, n_classes: int = 3, seed: int = 0, scale: float = 1.0) -> tuple[Reals, NDArray[np.int64]]:
    """Clusters that overlap a little, 5 features."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = draw.normal(size=(n, 5))
    X[np.arange(n), y] += 3
    return X * scale, y


def learner(use: Any = "svm", **options: Any) -> Learner:
    return make_learner(use, **{"classes": CLASSES, "seed": 7, **options})


def fitted(use: Any = "svm", **options: Any) -> Learner:
    made = learner(use, **options)
    made.fit(*blobs())
    return made


# Named models.


@NAMED
def test_a_named_model_learns_and_its_rows_add_up_to_one(use: str) -> None:
    X, y = blobs(seed=1)
    proba = fitted(use).member_predictions(X)
    assert proba.shape == (1, 60, 4)
    np.testing.assert_allclose(proba.sum(axis=2), 1)
    assert (proba[0].argmax(axis=1) == y).mean() > 0.85


@NAMED
def test_columns_follow_the_configured_classes_and_unseen_ones_get_zero(use: str) -> None:
    X, y = blobs(n_classes=2)
    made = learner(use)
    made.fit(X, np.array([3, 1])[y])
    proba = made.member_predictions(X)[0]
    assert np.all(proba[:, [0, 2]] == 0)
    assert (np.array([3, 1])[y] == proba.argmax(axis=1)).mean() > 0.9


@NAMED
@pytest.mark.parametrize("labels", [[], [2], [2, 2, 2]])
def test_before_two_classes_are_known_all_are_equally_likely(use: str, labels: list[int]) -> None:
    made = learner(use, committee=3)
    made.fit(np.zeros((len(labels), 5)), np.array(labels, dtype=int))
    np.testing.assert_array_equal(made.member_predictions(np.ones((6, 5))), np.full((3, 6, 4), 0.25))


def test_a_learner_that_was_never_fitted_finds_all_classes_equally_likely() -> None:
    np.testing.assert_array_equal(learner().member_predictions(np.ones((2, 5))), np.full((1, 2, 4), 0.25))


@NAMED
def test_a_fit_to_one_class_forgets_the_fit_before(use: str) -> None:
    made = fitted(use)
    made.fit(np.zeros((2, 5)), np.array([1, 1]))
    assert np.all(made.member_predictions(np.ones((1, 5))) == 0.25)


@NAMED
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_give_the_same_model_as_dense_ones(use: str, form: Any) -> None:
    X, y = blobs()
    X[X < 0] = 0
    dense, thin = learner(use), learner(use)
    dense.fit(X, y)
    thin.fit(form(X), y)
    np.testing.assert_allclose(thin.member_predictions(form(X)), dense.member_predictions(X), atol=1e-3)


@NAMED
def test_one_label_per_class_is_enough(use: str) -> None:
    made = learner(use)
    X, y = blobs(n=3, scale=4)
    made.fit(X, y)
    assert made.member_predictions(X)[0].argmax(axis=1).tolist() == [0, 1, 2]


@NAMED
def test_equal_rows_with_different_labels_are_no_reason_to_fail(use: str) -> None:
    made = learner(use)
    made.fit(np.ones((6, 5)), np.array([0, 1, 2, 0, 1, 2]))
    np.testing.assert_allclose(made.member_predictions(np.ones((1, 5)))[0, 0, :3], 1 / 3, atol=0.02)


@NAMED
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_features_of_any_scale_are_fitted_without_a_warning(use: str, scale: float) -> None:
    X, y = blobs(scale=scale)
    made = learner(use)
    made.fit(X, y)
    assert np.isfinite(made.member_predictions(X)).all()


@NAMED
def test_rows_that_may_not_be_written_to_are_enough(use: str) -> None:
    X, y = blobs()
    for array in (X, y):
        array.flags.writeable = False
    made = learner(use, committee=2)
    made.fit(X, y)
    assert made.member_predictions(X).shape == (2, 60, 4)


@NAMED
def test_an_empty_block_has_empty_predictions(use: str) -> None:
    assert fitted(use).member_predictions(np.empty((0, 5))).shape == (1, 0, 4)


# Probabilities of the machines.


def test_machines_decide_as_scikit_learns_own_do() -> None:
    X, y = blobs(n=90)
    ours = RBFMachines(C=10).fit(X, y)
    for column in range(3):
        theirs = SVC(C=10, gamma="scale").fit(X, y == column).decision_function(X)
        np.testing.assert_allclose(ours.decision_function(X)[:, column], theirs, atol=1e-6)
    two = y < 2
    pair = RBFMachines(C=10).fit(X[two], y[two])
    theirs = SVC(C=10, gamma="scale").fit(X[two], y[two]).decision_function(X)
    np.testing.assert_allclose(pair.decision_function(X), theirs, atol=1e-6)
    np.testing.assert_allclose(pair.predict_proba(X)[:, 1], 1 / (1 + np.exp(-3 * theirs)), atol=1e-6)


def test_machines_predict_the_same_in_pieces_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = blobs()
    machines = RBFMachines().fit(X, y)
    whole = machines.predict_proba(X)
    monkeypatch.setattr("active_loop.learner.machines.KERNEL_NUMBERS", 100)
    np.testing.assert_allclose(machines.predict_proba(X), whole, atol=1e-12)


def test_machines_are_a_scikit_learn_classifier_with_classes_of_any_kind() -> None:
    X, y = blobs()
    names = np.array(["ant", "bee", "cow"])[y]
    machines = make_pipeline(StandardScaler(), RBFMachines()).fit(X, names)
    assert machines.predict(X[:3]).tolist() == ["ant", "bee", "cow"]
    assert machines.score(X, names) > 0.95
    with pytest.raises(ValueError, match="all of one class, 'ant'"):
        RBFMachines().fit(X, np.full(60, "ant"))


def test_weights_count_like_repeated_rows() -> None:
    X, y = blobs(n=12)
    weighted, repeated = (learner(LogisticRegression(C=10, max_iter=10_000, tol=1e-10)) for _ in range(2))
    weighted.fit(X, y, weight=np.r_[np.full(4, 2.0), np.ones(8)])
    repeated.fit(np.vstack([X, X[:4]]), np.concatenate([y, y[:4]]))
    np.testing.assert_allclose(weighted.member_predictions(X), repeated.member_predictions(X), atol=1e-5)


@NAMED
def test_of_two_labels_for_equal_rows_the_heavier_one_wins(use: str) -> None:
    X = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    made = learner(use)
    for weight, winner in (([9, 1, 1, 1], 0), ([1, 9, 1, 1], 1)):
        made.fit(X, np.array([0, 1, 2, 3]), weight)
        assert made.member_predictions(X[:1])[0, 0].argmax() == winner


# Committees and seeds.


@NAMED
def test_a_committee_has_different_members_and_each_knows_every_class(use: str) -> None:
    X, _ = blobs(seed=1)
    proba = fitted(use, committee=4).member_predictions(X)
    assert proba.shape == (4, 60, 4)
    assert np.all(proba[:, :, :3].max(axis=1) > 0.1)
    assert all(not np.array_equal(proba[0], proba[member]) for member in (1, 2, 3))


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=st.integers(0, 1000))
def test_no_bootstrap_sample_loses_a_class(counts: list[int], seed: int) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(seed).normal(size=(y.size, 5))
    made = learner(GaussianNB(var_smoothing=1.0), committee=3, seed=seed)
    made.fit(X, y)
    assert np.all(made.member_predictions(X)[:, :, : len(counts)].max(axis=1) > 0)


@pytest.mark.parametrize("use", ["svm", "logistic", RandomForestClassifier(n_estimators=5)])
def test_the_same_seed_gives_the_same_model_bit_for_bit_and_another_seed_another(use: Any) -> None:
    X, y = blobs()
    made = [learner(use, committee=2, seed=seed) for seed in (1, 1, 2)]
    for each in made:
        each.fit(X, y)
    first, again, other = (each.member_predictions(X) for each in made)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    made[0].fit(X, y)
    np.testing.assert_array_equal(made[0].member_predictions(X), first)


def test_a_random_state_that_was_given_is_kept() -> None:
    X, y = blobs()
    forests = [learner(RandomForestClassifier(5, random_state=3), seed=seed) for seed in (1, 2)]
    for forest in forests:
        forest.fit(X, y)
    first, second = (forest.member_predictions(X) for forest in forests)
    np.testing.assert_array_equal(first, second)


def test_estimators_of_different_kinds_make_a_committee() -> None:
    X, y = blobs()
    mixed = learner(["svm", "logistic", KNeighborsClassifier(3)])
    mixed.fit(X, y)
    proba = mixed.member_predictions(X)
    np.testing.assert_array_equal(proba[0], fitted("svm").member_predictions(X)[0])
    np.testing.assert_array_equal(proba[2, :, :3], KNeighborsClassifier(3).fit(X, y).predict_proba(X))


class Counting(GaussianNB):  # type: ignore[misc]
    """Notes how many threads the numeric libraries may use while it is fitted and asked."""

    seen: ClassVar[list[int]] = []

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Counting:
        self.seen.append(max(library["num_threads"] for library in threadpool_info()))
        super().fit(X, y, sample_weight)
        return self

    def predict_proba(self, X: Any) -> Reals:
        self.seen.append(max(library["num_threads"] for library in threadpool_info()))
        proba: Reals = super().predict_proba(X)
        return proba


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_limited_while_fitting_and_predicting_and_not_after(threads: int) -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    Counting.seen.clear()
    fitted(Counting(), threads=threads).member_predictions(np.zeros((1, 5)))
    assert Counting.seen == [threads, threads]
    assert [library["num_threads"] for library in threadpool_info()] == before


def test_the_estimator_that_was_given_is_not_touched() -> None:
    given = LogisticRegression()
    fitted(given)
    assert not hasattr(given, "coef_")


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    fitted("svm", committee=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]


def test_the_fingerprint_says_what_it_is() -> None:
    text = learner("svm", committee=3, seed=5).fingerprint
    for part in ("RBFMachines()", "3 members, bagged", "seed 5", "scikit-learn ", "numpy ", "modAL-python "):
        assert part in text
    assert "\n" not in text
    assert learner("svm").fingerprint == learner("svm").fingerprint != learner("logistic").fingerprint


# Labels that are distributions.


@NAMED
def test_certain_distributions_are_labels(use: str) -> None:
    X, y = blobs()
    soft = learner(use)
    soft.fit(X, np.eye(4)[y])
    np.testing.assert_array_equal(soft.member_predictions(X), fitted(use).member_predictions(X))


def test_doubtful_labels_make_a_doubtful_model() -> None:
    X, y = blobs()
    soft = learner("logistic")
    soft.fit(X, 0.6 * np.eye(4)[y] + 0.4 * np.eye(4)[(y + 1) % 3])
    assert soft.member_predictions(X).max(axis=2).mean() < 0.75 < fitted("logistic").member_predictions(X).max(2).mean()


def test_an_estimator_without_weights_learns_the_likeliest_class() -> None:
    X, y = blobs()
    soft, hard = learner(KNeighborsClassifier(1)), learner(KNeighborsClassifier(1))
    soft.fit(X, 0.6 * np.eye(4)[y] + 0.4 * np.eye(4)[(y + 1) % 3])
    hard.fit(X, y)
    np.testing.assert_array_equal(soft.member_predictions(X), hard.member_predictions(X))


def test_weights_reach_the_last_step_of_a_pipeline() -> None:
    X, y = blobs(n=30)
    weight = np.where(y == 0, 50.0, 1.0)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    plain, weighted = learner(pipeline), learner(pipeline)
    plain.fit(X, y)
    weighted.fit(X, y, weight)
    assert weighted.member_predictions(X)[0, :, 0].sum() > plain.member_predictions(X)[0, :, 0].sum() + 1


# What is refused.


class Sure(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier without probabilities."""

    def fit(self, X: Any, y: Any) -> Sure:
        return self


class Lost(Sure):
    """A classifier that gives nonsense, or fails."""

    def fit(self, X: Any, y: Any) -> Lost:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Reals:
        if X[0, 0] > 100:
            raise ValueError("no idea")
        return np.full((len(X), self.classes_.size), np.nan)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("svn", r'unknown model "svn"; did you mean "svm"\? Known: forest, logistic, svm\. Or give "module:Class"'),
        ("no.such.module:Model", "no.such.module"),
        ("sklearn.svm:Nothing", "Nothing"),
        ("sklearn.ensemble:StackingClassifier", "cannot be made: .*estimators"),
        ("sklearn.linear_model:Ridge", "no scikit-learn classifier"),
        ("sklearn.svm:LinearSVC", "LinearSVC has no predict_proba"),
        (Ridge(), "no scikit-learn classifier"),
        (LogisticRegression, "no scikit-learn classifier"),
        (LinearSVC(), "LinearSVC has no predict_proba"),
        (Sure(), "Sure has no predict_proba"),
        ([], "at least 1 estimator"),
    ],
)
def test_what_is_no_classifier_with_probabilities_is_refused(use: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        learner(use)


def test_a_class_is_found_by_module_and_name() -> None:
    X, y = blobs()
    made = fitted("sklearn.naive_bayes:GaussianNB")
    np.testing.assert_array_equal(made.member_predictions(X)[0, :, :3], GaussianNB().fit(X, y).predict_proba(X))


@pytest.mark.parametrize("committee", [0, -1])
def test_a_committee_without_members_is_refused(committee: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 member"):
        learner("svm", committee=committee)


def test_a_size_that_contradicts_the_estimators_is_refused() -> None:
    with pytest.raises(ConfigError, match="committee of 3 was asked for, and 2 estimators"):
        learner(["svm", "logistic"], committee=3)


@pytest.mark.parametrize(
    ("X", "y", "weight", "message"),
    [
        (np.zeros((3, 5)), [0, 1], None, r"3 rows of features and labels of shape \(2,\)"),
        (np.zeros((2, 4)), [0, 1], None, "4 features, and 5 were expected"),
        (np.zeros((2, 5)), [0, 4], None, "codes run from 0 to 4, and there are 4 classes"),
        (np.zeros((2, 5)), [-1, 1], None, "from -1 to 1"),
        (np.zeros((2, 5)), ["ant", "bee"], None, "give class codes from 0 to 3"),
        (np.zeros((2, 5)), [0, 1], [1], "2 finite numbers"),
        (np.zeros((2, 5)), [0, 1], [1, -1], "2 finite numbers"),
        (np.zeros((2, 5)), [[1, 0], [0, 1]], None, "2 columns, and there are 4 classes"),
        (np.zeros((2, 5)), [[1, 0, 0, 0], [0, 0, 0, 0]], None, "no distribution"),
        (np.array([[0, 0, 0, 0, np.nan], [1, 1, 1, 1, 1]]), [0, 1], None, "RBFMachines cannot be fitted to 2 rows x 5"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(X: Reals, y: Any, weight: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        learner(n_features=5).fit(X, y, weight)


def test_weights_for_an_estimator_that_takes_none_are_refused() -> None:
    X, y = blobs()
    with pytest.raises(TrainingError, match="KNeighborsClassifier takes no weights"):
        learner(KNeighborsClassifier()).fit(X, y, np.ones(60))


def test_predictions_that_fail_or_are_not_finite_are_training_errors() -> None:
    made = fitted(Lost())
    with pytest.raises(TrainingError, match="Lost gave predictions that are not finite for 2 rows"):
        made.member_predictions(np.zeros((2, 5)))
    with pytest.raises(TrainingError, match="Lost cannot predict 2 rows: no idea"):
        made.member_predictions(np.full((2, 5), 1e3))
    with pytest.raises(TrainingError, match="features"):
        fitted().member_predictions(np.zeros((2, 4)))


# Learner and strategies together.


@pytest.mark.parametrize("name", ["margin", "vote_entropy", "kl_mean"])
def test_strategies_take_a_learners_predictions_as_they_are(name: str) -> None:
    X, _ = blobs(n=200, seed=3)
    made = fitted("svm", committee=3)
    view = PoolView(np.arange(200), X, predict=made.member_predictions, classes=CLASSES, block_size=64)
    assert len(make(name).query(view, 10, np.random.default_rng(0))) == 10


def test_digits_are_learned_from_120_well_chosen_labels() -> None:
    """k-means start, margin, batches of 10: 0.96 of the held-out digits by the machines."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    rng = np.random.default_rng(0)
    held_out, pool = np.split(rng.permutation(len(X)), [600])
    labelled = pool[KMeans().query(PoolView(None, X[pool]), 20, rng).rows]
    made = make_learner("svm", classes=[str(digit) for digit in range(10)], seed=0)
    while True:
        made.fit(X[labelled], y[labelled])
        if labelled.size == 120:
            break
        rest = np.setdiff1d(pool, labelled)
        view = PoolView(rest, X[rest], predict=made.member_predictions)
        labelled = np.concatenate([labelled, rest[Margin().query(view, 10, rng).rows]])
    assert (made.member_predictions(X[held_out])[0].argmax(axis=1) == y[held_out]).mean() >= 0.96
