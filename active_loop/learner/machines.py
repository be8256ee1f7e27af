"""Kernel machines that work from a handful of labels on: for classes, with probabilities, and for numbers."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, special
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted, validate_data

Matrix: TypeAlias = Any
"""(n, d): a dense array (a memory map, too), or a scipy csr matrix or array."""
Reals: TypeAlias = NDArray[np.float64]

KERNEL_NUMBERS = 2**22
"""Kernel values held at a time while predicting: 32 MB."""


class RBFMachines(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Support vector machines with a Gaussian kernel, one against the rest, whose probabilities work from one label on.

    scikit-learn's `SVC(probability=True)` fits its probabilities by an inner cross-validation: impossible with one
    label per class, noisy with ten, and at odds with its own decisions. Here the decision values f of the C machines
    become probabilities by a softmax of `sharpness`·f; with two classes there is one machine, and
    p = 1 / (1 + exp(-sharpness·f)). So the likeliest class and its lead are those of f itself. The scale is fixed, not
    fitted: about right where classes can be told apart, too sure where labels are noisy.

    With y (n, L) of 0 and 1 there is one machine, and one p of that form, for each of L classes that do not exclude
    each other; each needs rows with and without it.

    All machines share one kernel matrix, so a prediction costs one product with the support rows, whatever C;
    fitting holds n² numbers. `gamma` is 1 / (d·var(X)), as in `SVC(gamma="scale")`: about 1 for text of unit length.
    Dense and csr.
    """

    def __init__(self, C: float = 10.0, sharpness: float = 3.0) -> None:
        self.C = C
        self.sharpness = sharpness

    def fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RBFMachines:
        """Fits one machine per class, or a single one for two classes that exclude each other."""
        X, labels = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, multi_output=True)
        targets = self._targets(labels)
        self.gamma_ = _inverse_scale(X)
        kernel = rbf_kernel(X, gamma=self.gamma_)
        # Nothing in this fit is random, but left to itself SVC draws from numpy's global state all the same.
        machine = SVC(C=self.C, kernel="precomputed", random_state=0)
        machines = [clone(machine).fit(kernel, target, sample_weight) for target in targets]
        support = np.unique(np.concatenate([machine.support_ for machine in machines]))
        self.support_rows_ = X[support]
        self.weights_ = np.zeros((support.size, len(machines)))
        for column, each in enumerate(machines):
            self.weights_[np.searchsorted(support, each.support_), column] = each.dual_coef_[0]
        self.offsets_ = np.array([machine.intercept_[0] for machine in machines])
        return self

    def decision_function(self, X: Matrix) -> Reals:
        """(n, C) decision values, or (n,) with two classes, where positive means the second; (n, L) for y (n, L)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        values: Reals = _kernel_sums(X, self.support_rows_, self.weights_, self.gamma_) + self.offsets_
        return values[:, 0] if self.classes_.size == 2 and not self.multilabel_ else values

    def predict_proba(self, X: Matrix) -> Reals:
        """(n, C) the softmax of the scaled decision values; for y (n, L) each one's own probability (n, L)."""
        values = self.sharpness * self.decision_function(X)
        if self.multilabel_:
            alone: Reals = special.expit(values)
            return alone
        logits = np.column_stack([np.zeros_like(values), values]) if values.ndim == 1 else values
        terms: Reals = np.exp(logits - logits.max(axis=1, keepdims=True))
        terms /= terms.sum(axis=1, keepdims=True)
        return terms

    def predict(self, X: Matrix) -> NDArray[Any]:
        """(n,) the class with the highest decision value; for y (n, L) 1 where it is positive, else 0."""
        proba = self.predict_proba(X)
        predicted: NDArray[Any] = (proba > 0.5).astype(int) if self.multilabel_ else self.classes_[proba.argmax(axis=1)]
        return predicted

    def _targets(self, labels: NDArray[Any]) -> list[NDArray[np.bool_]]:
        """What each machine has to tell apart; sets `classes_` and `multilabel_`."""
        self.multilabel_ = labels.ndim == 2
        if self.multilabel_:
            self.classes_ = np.arange(labels.shape[1])
            same = np.flatnonzero((labels == labels[0]).all(axis=0))
            if same.size:
                raise ValueError(f"label {same[0]} is {labels[0, same[0]]} in all rows: both 0 and 1 are needed.")
            return list(labels.T == 1)
        self.classes_ = np.unique(labels)
        if self.classes_.size < 2:
            raise ValueError(f"the labels are all of one class, {self.classes_.tolist()[0]!r}: two are needed.")
        positive = self.classes_[1:] if self.classes_.size == 2 else self.classes_
        return [labels == each for each in positive]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags


class RBFRegression(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Kernel ridge regression with a Gaussian kernel around the mean of the labels, which it predicts far from them.

    `alpha` is how large the noise is for the size of what is to be learned (variances); the unit of the labels does
    not matter, and two labels are enough. `gamma` as in `RBFMachines`. Fitting holds n² numbers. Dense and csr.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RBFRegression:
        """Solves for one weight per row; a row of weight 2 counts like two rows."""
        X, numbers = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, y_numeric=True)
        amounts = np.ones(len(numbers)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        roots = np.sqrt(amounts)
        self.gamma_ = _inverse_scale(X)
        self.mean_ = np.average(numbers, weights=amounts)
        kernel = rbf_kernel(X, gamma=self.gamma_) * np.outer(roots, roots)
        kernel[np.diag_indices_from(kernel)] += self.alpha
        self.rows_ = X
        self.weights_ = roots * linalg.solve(kernel, roots * (numbers - self.mean_), assume_a="pos")
        return self

    def predict(self, X: Matrix) -> Reals:
        """(n,) the number for each row."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        numbers: Reals = self.mean_ + _kernel_sums(X, self.rows_, self.weights_[:, None], self.gamma_)[:, 0]
        return numbers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _kernel_sums(X: Matrix, rows: Matrix, weights: Reals, gamma: float) -> Reals:
    """(n, k): the kernel of each row of X with `rows` (m, d), times the weights (m, k); so many rows at a time."""
    sums = np.empty((X.shape[0], weights.shape[1]))
    step = max(1, KERNEL_NUMBERS // weights.shape[0])
    for start in range(0, X.shape[0], step):
        sums[start : start + step] = rbf_kernel(X[start : start + step], rows, gamma=gamma) @ weights
    return sums


def _inverse_scale(X: Matrix) -> float:
    """1 / (d·var(X)), or 1 where all values are equal."""
    mean = X.mean()
    square = X.multiply(X).mean() if hasattr(X, "multiply") else np.mean(X * X)
    spread = float(square - mean**2)
    return 1 / (X.shape[1] * spread) if spread > 0 else 1.0
