"""modAL's own classes, made to work: the only place that imports it.

Version 0.4.2.1 passes `force_all_finite` to scikit-learn, which no longer knows it (removed in 1.8), so that `fit`
and `teach` fail; `ActiveLearner` and `Committee` here are its classes with that mended.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import modAL.models
import numpy as np
import pandas as pd
from modAL.utils.data import data_vstack, retrieve_rows
from numpy.typing import NDArray
from sklearn.utils import check_X_y

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
