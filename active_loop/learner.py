"""The model: fitted on labels, asked for the predictions of each of its members.

A single model is a committee of one, so that nothing after this module has two cases. Columns follow the configured
classes, whichever of them have been seen; before two are known there is nothing to fit and every class is equally
likely. The same labels and seed give the same model, bit for bit, on one machine and set of libraries. A fit starts
from nothing every time: a warm start would favour the early labels and make rounds look more stable than they are.

This is the only importer of modAL. Version 0.4.2.1 passes `force_all_finite` to scikit-learn, which no longer knows
it (removed in 1.8), so that `fit` and `teach` fail; `ActiveLearner` and `Committee` here are its classes, made to
work. Nothing here knows items, files, rounds, or what the classes are called by people.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, TypeAlias

import modAL.models
import numpy as np
import pandas as pd
from modAL.utils.data import data_vstack, retrieve_rows
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from sklearn.utils import check_X_y
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from active_loop import components
from active_loop.errors import ConfigError, TrainingError, unknown_name

Matrix: TypeAlias = Any
"""(n, d): a dense array (a memory map, too), or a scipy csr matrix or array."""
Reals: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Estimator: TypeAlias = Any
"""A scikit-learn classifier."""

KERNEL_NUMBERS = 2**22
"""Kernel values held at a time while predicting: 32 MB."""

ESTIMATOR_FAULTS = (ValueError, TypeError, ArithmeticError, AttributeError, RuntimeError)
"""What scikit-learn's estimators raise when they cannot work with what they were given."""


class Learner(Protocol):
    """What the loop asks of a model; classes, seed and threads are given when it is made."""

    @property
    def fingerprint(self) -> str:
        """What it is: estimators with their parameters, seed, and the versions of the libraries."""
        ...

    def fit(self, X: Matrix, y: ArrayLike, weight: ArrayLike | None = None) -> None:
        """Forgets everything and learns from rows X (n, d) with labels y.

        y holds class codes (n,), or one distribution over the classes per row (n, C). `weight` (n,) says how much
        each row counts. Raises `TrainingError`. Fewer than two classes are no error: see `member_predictions`.
        """
        ...

    def member_predictions(self, X: Matrix) -> Reals:
        """(members, n, C): the probability of every configured class by every member; rows add up to 1.

        A class that was not among the labels has probability 0. Before two classes are known all are equally
        likely. Raises `TrainingError`.
        """
        ...


def make_learner(
    use: str | Estimator | Sequence[str | Estimator],
    *,
    classes: Sequence[str],
    seed: int,
    committee: int = 1,
    threads: int = 1,
    n_features: int | None = None,
) -> CommitteeLearner:
    """A learner by name, by `module:Class`, or around scikit-learn classifiers.

    "svm" is `RBFMachines` (few labels; pixels, embeddings, scaled columns); "logistic" is a logistic regression with
    C = 10 (text, many features, large pools). A committee of more than one is fitted on bootstrap samples, drawn
    within each class so that no member misses one. A sequence makes a committee of different estimators, each
    fitted on all labels. `threads` limits the threads of the numeric libraries; `n_features`, if given, is the width
    that X must have. Raises `ConfigError` for a name or an object that is no classifier with probabilities.
    """
    if isinstance(use, Sequence) and not isinstance(use, str):
        if committee not in (1, len(use)):
            raise ConfigError(f"a committee of {committee} was asked for, and {len(use)} estimators were given.")
        members, bagged = [estimator_of(each) for each in use], False
    else:
        if committee < 1:
            raise ConfigError(f"model.committee is {committee}: a committee needs at least 1 member.")
        members, bagged = [estimator_of(use)] * committee, committee > 1
    return CommitteeLearner(members, classes=classes, seed=seed, bagged=bagged, threads=threads, n_features=n_features)


def estimator_of(use: str | Estimator) -> Estimator:
    """An unfitted scikit-learn classifier: by name, by `module:Class`, or the one that is given."""
    estimator = _named(use) if isinstance(use, str) else use
    if isinstance(estimator, type) or not hasattr(estimator, "get_params") or not is_classifier(estimator):
        raise ConfigError(f"{estimator!r} is no scikit-learn classifier: give an instance of one.")
    if not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f"{type(estimator).__name__} has no predict_proba, and choosing items needs probabilities: "
            "wrap it in sklearn.calibration.CalibratedClassifierCV, or use another one."
        )
    return estimator


def _named(use: str) -> Estimator:
    if use == "svm":
        return RBFMachines()
    if use == "logistic":
        return LogisticRegression(C=10, max_iter=10_000)
    if ":" not in use:
        raise ConfigError(unknown_name("model", use, ["logistic", "svm"]) + ' Or give "module:Class".')
    return components.make(use)


class CommitteeLearner:
    """One or several scikit-learn classifiers behind modAL's `Committee`, as a `Learner`.

    Every random choice follows from `seed` and the member's number: bootstrap samples, and each `random_state` that
    an estimator leaves open.
    """

    def __init__(
        self,
        estimators: Sequence[Estimator],
        *,
        classes: Sequence[str],
        seed: int,
        bagged: bool = False,
        threads: int = 1,
        n_features: int | None = None,
    ) -> None:
        if not estimators:
            raise ConfigError("a learner needs at least 1 estimator.")
        self.classes = tuple(classes)
        self.n_features = n_features
        self._estimators = list(estimators)
        self._seed = seed
        self._bagged = bagged
        self._threads = threads
        self._committee: Committee | None = None

    @property
    def fingerprint(self) -> str:
        """Estimators, members, seed and library versions, in one line."""
        different = list(dict.fromkeys(" ".join(repr(estimator).split()) for estimator in self._estimators))
        members = f"{len(self._estimators)} member{'s' * (len(self._estimators) > 1)}{', bagged' * self._bagged}"
        libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "numpy", "modAL-python"))
        return f"{' + '.join(different)}; {members}; seed {self._seed}; {libraries}"

    def fit(self, X: Matrix, y: ArrayLike, weight: ArrayLike | None = None) -> None:
        """See `Learner.fit`. A distribution becomes one weighted row per class; where an estimator takes no weights,
        its likeliest class (the first of equals)."""
        labelled = _Labelled.checked(X, y, weight, len(self.classes), self.n_features)
        self._committee = None
        if np.unique(labelled.codes).size < 2:
            return
        with threadpool_limits(self._threads):
            members = [self._member(number, labelled) for number in range(len(self._estimators))]
            self._committee = Committee(members)

    def member_predictions(self, X: Matrix) -> Reals:
        """See `Learner.member_predictions`."""
        n, n_classes = int(X.shape[0]), len(self.classes)
        if self._committee is None:
            return np.full((len(self._estimators), n, n_classes), 1 / n_classes)
        result = np.zeros((len(self._estimators), n, n_classes))
        if n == 0:
            return result
        with threadpool_limits(self._threads):
            try:
                votes = self._committee.vote_proba(X)
            except ESTIMATOR_FAULTS as error:
                raise TrainingError(f"{self._names} cannot predict {n} rows: {error}") from error
        if not np.isfinite(votes).all():
            raise TrainingError(f"{self._names} gave probabilities that are not finite for {n} rows.")
        result[:, :, self._committee.classes_] = votes.swapaxes(0, 1)
        return result

    @property
    def _names(self) -> str:
        return " + ".join(dict.fromkeys(type(estimator).__name__ for estimator in self._estimators))

    def _member(self, number: int, labelled: _Labelled) -> ActiveLearner:
        rng = np.random.default_rng([self._seed, number])
        estimator = _seeded(clone(self._estimators[number]), rng)
        rows = labelled.resampled(rng) if self._bagged else labelled
        weights = _weight_name(estimator)
        if weights is None and rows.weight is not None:
            raise TrainingError(f"{type(estimator).__name__} takes no weights: use another model, or drop them.")
        X, codes, weight = rows.hard() if weights is None else rows.spread()
        fit_options = {} if weights is None or weight is None else {weights: weight}
        try:
            return ActiveLearner(estimator, X_training=X, y_training=codes, **fit_options)
        except ESTIMATOR_FAULTS as error:
            raise TrainingError(
                f"{type(estimator).__name__} cannot be fitted to {X.shape[0]} rows x {X.shape[1]} features: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Rows and labels that fit together; `shares` (n, C) are distributions, None where every label is certain."""

    X: Matrix
    codes: Codes
    shares: Reals | None
    weight: Reals | None

    @classmethod
    def checked(
        cls, X: Matrix, y: ArrayLike, weight: ArrayLike | None, n_classes: int, n_features: int | None
    ) -> _Labelled:
        """Raises `TrainingError` where X, y and weight do not fit each other, the classes or the width."""
        labels = np.asarray(y)
        n = int(X.shape[0])
        if labels.shape[:1] != (n,) or labels.ndim > 2:
            raise TrainingError(f"cannot train: {n} rows of features and labels of shape {labels.shape}.")
        if n_features is not None and X.shape[1] != n_features:
            raise TrainingError(f"cannot train: rows have {X.shape[1]} features, and {n_features} were expected.")
        amounts = None if weight is None else np.asarray(weight, dtype=np.float64)
        if amounts is not None and (amounts.shape != (n,) or not np.all(np.isfinite(amounts) & (amounts >= 0))):
            raise TrainingError(f"cannot train: weights must be {n} finite numbers of at least 0.")
        if labels.ndim == 1:
            return cls(X, _codes(labels, n_classes), None, amounts)
        shares = _shares(labels, n_classes)
        certain = bool(np.all(np.count_nonzero(shares, axis=1) == 1))
        return cls(X, shares.argmax(axis=1), None if certain else shares, amounts)

    def resampled(self, rng: np.random.Generator) -> _Labelled:
        """A bootstrap sample within each class: as many rows of every class, so that none is lost."""
        drawn = [
            rng.choice(rows, size=rows.size)
            for code in np.unique(self.codes)
            for rows in [np.flatnonzero(self.codes == code)]
        ]
        rows = np.concatenate(drawn)
        return _Labelled(
            self.X[rows],
            self.codes[rows],
            None if self.shares is None else self.shares[rows],
            None if self.weight is None else self.weight[rows],
        )

    def hard(self) -> tuple[Matrix, Codes, Reals | None]:
        """Every row with its likeliest class."""
        return self.X, self.codes, self.weight

    def spread(self) -> tuple[Matrix, Codes, Reals | None]:
        """Every row once for each class it may have, weighted by that class's share."""
        if self.shares is None:
            return self.hard()
        rows, codes = np.nonzero(self.shares)
        amounts = self.shares[rows, codes] * (1 if self.weight is None else self.weight[rows])
        return self.X[rows], codes, amounts


def _codes(labels: NDArray[Any], n_classes: int) -> Codes:
    if labels.size and labels.dtype.kind not in "iu":
        raise TrainingError(f"cannot train: labels are {labels.dtype}; give class codes from 0 to {n_classes - 1}.")
    codes = labels.astype(np.int64)
    if codes.size and not 0 <= codes.min() <= codes.max() < n_classes:
        raise TrainingError(
            f"cannot train: class codes run from {codes.min()} to {codes.max()}, and there are {n_classes} classes."
        )
    return codes


def _shares(labels: NDArray[Any], n_classes: int) -> Reals:
    shares = labels.astype(np.float64)
    if shares.shape[1] != n_classes:
        raise TrainingError(f"cannot train: labels have {shares.shape[1]} columns, and there are {n_classes} classes.")
    totals = shares.sum(axis=1, keepdims=True)
    if not np.all(np.isfinite(shares) & (shares >= 0)) or not np.all(totals > 0):
        raise TrainingError("cannot train: a row of labels is no distribution; give shares of at least 0, not all 0.")
    shares /= totals
    return shares


def _seeded(estimator: Estimator, rng: np.random.Generator) -> Estimator:
    """The estimator with every `random_state` that was left open set from rng."""
    open_states = sorted(
        name
        for name, value in estimator.get_params().items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    )
    return estimator.set_params(**{name: int(rng.integers(2**31)) for name in open_states})


def _weight_name(estimator: Estimator) -> str | None:
    """How `fit` of this estimator calls the weights of rows; None if it takes none."""
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        return f"{name}__sample_weight" if has_fit_parameter(last, "sample_weight") else None
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


class RBFMachines(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Support vector machines with a Gaussian kernel, one against the rest, whose probabilities work from one label on.

    scikit-learn's `SVC(probability=True)` fits its probabilities by an inner cross-validation: impossible with one
    label per class, noisy with ten, and at odds with its own decisions. Here the decision values f of the C machines
    become probabilities by a softmax of `sharpness`·f; with two classes there is one machine, and
    p = 1 / (1 + exp(-sharpness·f)). So the likeliest class and its lead are those of f itself. The scale is fixed, not
    fitted: about right where classes can be told apart, too sure where labels are noisy.

    All machines share one kernel matrix, so a prediction costs one product with the support rows, whatever C;
    fitting holds n² numbers. `gamma` is 1 / (d·var(X)), as in `SVC(gamma="scale")`: about 1 for text of unit length.
    Dense and csr.
    """

    def __init__(self, C: float = 10.0, sharpness: float = 3.0) -> None:
        self.C = C
        self.sharpness = sharpness

    def fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RBFMachines:
        """Fits one machine per class, or a single one for two classes."""
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64)
        self.classes_ = np.unique(y)
        if self.classes_.size < 2:
            raise ValueError(f"the labels are all of one class, {self.classes_.tolist()[0]!r}: two are needed.")
        self.gamma_ = _inverse_scale(X)
        kernel = rbf_kernel(X, gamma=self.gamma_)
        positive = self.classes_[1:] if self.classes_.size == 2 else self.classes_
        # Nothing in this fit is random, but left to itself SVC draws from numpy's global state all the same.
        machine = SVC(C=self.C, kernel="precomputed", random_state=0)
        machines = [clone(machine).fit(kernel, y == each, sample_weight) for each in positive]
        support = np.unique(np.concatenate([machine.support_ for machine in machines]))
        self.support_rows_ = X[support]
        self.weights_ = np.zeros((support.size, len(machines)))
        for column, each in enumerate(machines):
            self.weights_[np.searchsorted(support, each.support_), column] = each.dual_coef_[0]
        self.offsets_ = np.array([machine.intercept_[0] for machine in machines])
        return self

    def decision_function(self, X: Matrix) -> Reals:
        """(n, C) decision values, or (n,) with two classes, where positive means the second."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        values = np.empty((X.shape[0], self.offsets_.size))
        step = max(1, KERNEL_NUMBERS // self.weights_.shape[0])
        for start in range(0, X.shape[0], step):
            kernel = rbf_kernel(X[start : start + step], self.support_rows_, gamma=self.gamma_)
            values[start : start + step] = kernel @ self.weights_ + self.offsets_
        return values[:, 0] if self.classes_.size == 2 else values

    def predict_proba(self, X: Matrix) -> Reals:
        """(n, C) the softmax of the scaled decision values."""
        values = self.sharpness * self.decision_function(X)
        logits = np.column_stack([np.zeros_like(values), values]) if values.ndim == 1 else values
        terms: Reals = np.exp(logits - logits.max(axis=1, keepdims=True))
        terms /= terms.sum(axis=1, keepdims=True)
        return terms

    def predict(self, X: Matrix) -> NDArray[Any]:
        """(n,) the class with the highest decision value."""
        predicted: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _inverse_scale(X: Matrix) -> float:
    """1 / (d·var(X)), or 1 where all values are equal."""
    mean = X.mean()
    square = X.multiply(X).mean() if hasattr(X, "multiply") else np.mean(X * X)
    spread = float(square - mean**2)
    return 1 / (X.shape[1] * spread) if spread > 0 else 1.0


FINITE_OPTION = (
    "ensure_all_finite" if "ensure_all_finite" in inspect.signature(check_X_y).parameters else "force_all_finite"
)
"""What this scikit-learn calls the option that modAL 0.4.2.1 knows as `force_all_finite`."""


class _Working:
    """`query` without modAL's traps: a failing strategy is run once and its own error raised, two chosen indices
    are two indices, and the rows of a data frame are found by position."""

    query_strategy: Any

    def query(self, X_pool: Any, *query_args: Any, return_metrics: bool = False, **query_options: Any) -> Any:
        """(indices, rows), or (indices, rows, metrics) with `return_metrics=True`, as in modAL."""
        answer = self.query_strategy(self, X_pool, *query_args, **query_options)
        chosen, metrics = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        rows = X_pool.iloc[chosen] if isinstance(X_pool, pd.DataFrame) else retrieve_rows(X_pool, chosen)
        if not return_metrics:
            return chosen, rows
        if metrics is None:
            warnings.warn("the query strategy returned no metrics", stacklevel=2)
        return chosen, rows, metrics


class ActiveLearner(_Working, modAL.models.ActiveLearner):  # type: ignore[misc]
    """modAL's `ActiveLearner`, whose `fit`, `teach` and `query` work on current scikit-learn and pandas.

    Same arguments and attributes. `bootstrap=True` draws from numpy's global state, as it does in modAL.
    """

    def fit(self, X: Any, y: Any, bootstrap: bool = False, **fit_options: Any) -> ActiveLearner:
        """Forgets all training data and fits the estimator to X, y."""
        self._check(X, y)
        self.X_training, self.y_training = X, y
        self._fit_to_known(bootstrap=bootstrap, **fit_options)
        return self

    def teach(self, X: Any, y: Any, bootstrap: bool = False, only_new: bool = False, **fit_options: Any) -> None:
        """Adds X, y to the training data and fits again; with `only_new`, fits to X, y and keeps nothing."""
        if only_new:
            self._check(X, y)
            self._fit_on_new(X, y, bootstrap=bootstrap, **fit_options)
        else:
            self._add_training_data(X, y)
            self._fit_to_known(bootstrap=bootstrap, **fit_options)

    def _add_training_data(self, X: Any, y: Any) -> None:
        self._check(X, y)
        if self.X_training is None:
            self.X_training, self.y_training = X, y
        else:
            self.X_training, self.y_training = _stacked(self.X_training, X), _stacked(self.y_training, y)

    def _check(self, X: Any, y: Any) -> None:
        finite: Mapping[str, Any] = {FINITE_OPTION: self.force_all_finite}
        check_X_y(X, y, accept_sparse=True, ensure_2d=False, allow_nd=True, multi_output=True, dtype=None, **finite)


class Committee(_Working, modAL.models.Committee):  # type: ignore[misc]
    """modAL's `Committee` of working `ActiveLearner`s; it votes with classes of any kind, not numbers only."""

    def vote(self, X: Any, **predict_options: Any) -> NDArray[Any]:
        """(n, members): the class that each member predicts."""
        return np.stack([learner.predict(X, **predict_options) for learner in self.learner_list], axis=1)


def _stacked(known: Any, new: Any) -> Any:
    if isinstance(known, pd.DataFrame | pd.Series):
        return pd.concat([known, new])
    return data_vstack((known, new))
