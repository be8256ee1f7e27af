"""Numbers that are never foretold beyond those that people gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .machines import Matrix, Reals


class Bounded(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor whose predictions stay between the least and the greatest label that it learned from.

    Fitted to few labels, a linear model follows a slope far beyond all of them where a column is wider than it was
    there: a handful of such rows then outweighs all others in the squared error.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Bounded:
        """Fits the estimator. Weights raise `ValueError` if it takes none."""
        options = {} if sample_weight is None else {"sample_weight": sample_weight}
        if options and not has_fit_parameter(self.estimator, "sample_weight"):
            raise ValueError(f"{type(self.estimator).__name__} takes no weights.")
        self.estimator_ = clone(self.estimator).fit(X, y, **options)
        self.low_, self.high_ = float(np.min(y)), float(np.max(y))
        return self

    def predict(self, X: Matrix) -> Reals:
        """(n,)"""
        check_is_fitted(self)
        return self.bounded(self.estimator_.predict(X))

    def bounded(self, numbers: ArrayLike) -> Reals:
        """Numbers as near to these as the bounds let them be."""
        return np.clip(np.asarray(numbers, dtype=np.float64), self.low_, self.high_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags
