"""The models of the label-efficiency benchmark, fitted to labels of any kind, and the measures of their quality.

One model is pinned to each set. It is single; a committee for strategies that compare members is made of the same
model, fitted to bootstrap samples. Nothing here knows strategies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from label_sets import DataSet, Reals, Split
from scipy.special import expit
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, r2_score
from sklearn.svm import SVC

from active_loop.learner import RBFMachines

Predict = Callable[[Any], Reals]
"""Rows (n, d) → predictions of all members: (members, n, C), (members, n, L), or (members, n) for a number."""


class DefaultSVC(SVC):  # type: ignore[misc]
    """scikit-learn's SVC as it is, for two classes, with the logistic of its decision values as probabilities."""

    def predict_proba(self, X: Any) -> Reals:
        second = expit(self.decision_function(X))
        return np.column_stack([1 - second, second])


class KernelRegression(KernelRidge):  # type: ignore[misc]
    """RBF kernel ridge with gamma 1/d, on targets at mean 0 and standard deviation 1."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KernelRegression:
        self.mean_, self.spread_ = float(np.mean(y)), float(np.std(y)) or 1.0
        super().fit(X, (y - self.mean_) / self.spread_, sample_weight)
        return self

    def predict(self, X: Any) -> Reals:
        values: Reals = super().predict(X) * self.spread_ + self.mean_
        return values


MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(C=5, max_iter=1000, solver="newton-cg"),
    "balanced": lambda: LogisticRegression(C=5, max_iter=1000, solver="newton-cg", class_weight="balanced"),
    "svm": RBFMachines,
    "svc": DefaultSVC,
    "kernel_ridge": lambda: KernelRegression(alpha=0.1, kernel="rbf"),
    "one_vs_rest": lambda: LogisticRegression(C=5, max_iter=1000, solver="newton-cg"),
}
"""The models by name. "one_vs_rest" is fitted once per label; a label with one value so far has that value."""


def fitted(data_set: DataSet, X: Reals, y: Any, n_outputs: int, seed: int, members: int = 1) -> Predict:
    """The model of this set, trained on the labelled rows: what it predicts, member by member.

    Several members are trained on bootstrap samples; of a choice they are drawn within each class, as in the learner
    of the loop. A choice of which fewer than two classes are known is predicted as open: all classes equally likely.
    """
    one = {"choice": _choice, "multi_label": _several, "number": _number}[data_set.task]
    samples = [np.arange(len(y))]
    if members > 1:
        rng = np.random.default_rng([seed, len(y)])
        kinds = [np.flatnonzero(y == code) for code in np.unique(y)] if data_set.task == "choice" else samples
        samples = [np.concatenate([rng.choice(rows, rows.size) for rows in kinds]) for _ in range(members)]
    models = [one(data_set, X[rows], y[rows], n_outputs) for rows in samples]
    return lambda rows: np.stack([model(rows) for model in models])


def _choice(data_set: DataSet, X: Reals, y: Any, n_classes: int) -> Callable[[Any], Reals]:
    known = np.unique(y)
    if known.size < 2:
        return lambda rows: np.full((len(rows), n_classes), 1 / n_classes)
    model = MODELS[data_set.model]().fit(X, y)

    def predict(rows: Any) -> Reals:
        proba = np.zeros((len(rows), n_classes))
        proba[:, known] = model.predict_proba(rows)
        return proba

    return predict


def _several(data_set: DataSet, X: Reals, y: Any, n_labels: int) -> Callable[[Any], Reals]:
    models = [MODELS[data_set.model]().fit(X, column) if np.ptp(column) else None for column in y.T]

    def predict(rows: Any) -> Reals:
        columns = [
            np.full(len(rows), float(y[0, label])) if model is None else model.predict_proba(rows)[:, 1]
            for label, model in enumerate(models)
        ]
        return np.column_stack(columns)

    return predict


def _number(data_set: DataSet, X: Reals, y: Any, n_outputs: int) -> Callable[[Any], Reals]:
    predict: Callable[[Any], Reals] = MODELS[data_set.model]().fit(X, y).predict
    return predict


def measured(data_set: DataSet, split: Split, predicted: Reals, labelled: Any) -> dict[str, float]:
    """Every measure of this kind of set for the mean prediction of the test rows, after these labels.

    Before two classes are known the model is taken to predict the one that is. `recall` is the share of the pool's
    relevant rows that were found by labelling, `ap` the average precision of the ranked test rows.
    """
    truth = split.y_test
    if data_set.task == "number":
        return {"r2": float(r2_score(truth, predicted))}
    if data_set.task == "multi_label":
        said = predicted >= 0.5
        return {
            f"{kind}_f1": float(f1_score(truth, said, average=kind, zero_division=0)) for kind in ("micro", "macro")
        }
    if data_set.measure == "recall":
        found = float(labelled.sum() / split.y.sum())
        return {"recall": found, "ap": float(average_precision_score(truth, predicted[:, 1]))}
    codes = predicted.argmax(axis=1) if np.unique(labelled).size > 1 else np.full(len(truth), labelled[0])
    return {"accuracy": float(np.mean(codes == truth)), "macro_f1": _macro_f1(codes, truth, predicted.shape[1])}


def _macro_f1(codes: Any, truth: Any, n_classes: int) -> float:
    """The mean F1 of the classes that occur among the test rows."""
    table = np.bincount(truth * n_classes + codes, minlength=n_classes**2).reshape(n_classes, n_classes)
    there, both = table.sum(axis=1), table.sum(axis=1) + table.sum(axis=0)
    return float(np.mean(2 * table.diagonal()[there > 0] / both[there > 0]))
