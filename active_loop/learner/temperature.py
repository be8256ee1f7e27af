"""Chances that are made more or less sure, all alike: what is likeliest stays so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .machines import Matrix, Reals

_LEAST = 0.001
"""What a chance counts as at least: no temperature makes anything of 0."""


def tempered(chances: NDArray[np.floating[Any]], temperature: float) -> Reals:
    """Chances (…, C) to the power of 1 / temperature, adding up to 1: surer below a temperature of 1.

    The softmax of the logarithms over the temperature (Guo et al. 2017, section 4.2). Rows that are not numbers stay.
    """
    powers: Reals = np.clip(chances, _LEAST, 1) ** (1 / temperature)
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


class Tempered(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose chances have this temperature: see `tempered`."""

    def __init__(self, estimator: Any, temperature: float = 1.0) -> None:
        self.estimator = estimator
        self.temperature = temperature

    def fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Tempered:
        """Fits the estimator. Weights raise `ValueError` if it takes none."""
        options = {} if sample_weight is None else {"sample_weight": sample_weight}
        if options and not has_fit_parameter(self.estimator, "sample_weight"):
            raise ValueError(f"{type(self.estimator).__name__} takes no weights.")
        self.estimator_ = clone(self.estimator).fit(X, y, **options)
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X: Matrix) -> Reals:
        """(n, C)"""
        check_is_fitted(self)
        return tempered(self.estimator_.predict_proba(X), self.temperature)

    def predict(self, X: Matrix) -> NDArray[Any]:
        """(n,) the likeliest class."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags
