"""scikit-learn estimators: by name, and what they must be able to do for a kind of label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from .. import components
from ..errors import ConfigError, unknown_name
from .machines import Matrix, RBFMachines, RBFRegression

Estimator: TypeAlias = Any
"""A scikit-learn classifier or regressor."""

_CLASSIFIERS: Final[Mapping[str, Callable[[], Estimator]]] = {
    "svm": RBFMachines,
    "logistic": lambda: LogisticRegression(C=10, max_iter=10_000),
    "forest": ExtraTreesClassifier,
}
_REGRESSORS: Final[Mapping[str, Callable[[], Estimator]]] = {
    "svm": RBFRegression,
    "logistic": lambda: make_pipeline(StandardScaler(with_mean=False), Ridge(alpha=10)),
    "forest": ExtraTreesRegressor,
}
_FORESTS: Final = (ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor)


def estimator_of(use: str | Estimator, kind: str = "choice") -> Estimator:
    """An unfitted scikit-learn estimator for a kind of label: by name, by `module:Class`, or the one that is given.

    For several labels it learns all of them at once; a classifier that cannot is fitted to each. Raises `ConfigError`
    for a name that is none, and for what is no regressor for a number, or no classifier with probabilities else.
    """
    estimator = _named(use, _REGRESSORS if kind == "number" else _CLASSIFIERS) if isinstance(use, str) else use
    wanted, is_one = ("regressor", is_regressor) if kind == "number" else ("classifier", is_classifier)
    if isinstance(estimator, type) or not hasattr(estimator, "get_params") or not is_one(estimator):
        raise ConfigError(f"{estimator!r} is no scikit-learn {wanted}: give an instance of one.")
    if kind == "number":
        return estimator
    if not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f"{type(estimator).__name__} has no predict_proba, and choosing items needs probabilities: "
            "wrap it in sklearn.calibration.CalibratedClassifierCV, or use another one."
        )
    tags = get_tags(estimator)
    several = tags.classifier_tags.multi_label or tags.target_tags.multi_output
    return estimator if kind == "choice" or several else MultiOutputClassifier(estimator)


def _named(use: str, known: Mapping[str, Callable[[], Estimator]]) -> Estimator:
    if use in known:
        return known[use]()
    if ":" not in use:
        raise ConfigError(unknown_name("model", use, known) + ' Or give "module:Class".')
    return components.make(use)


def seeded(estimator: Estimator, rng: np.random.Generator) -> Estimator:
    """The estimator with every `random_state` that was left open set from rng."""
    open_states = sorted(
        name
        for name, value in estimator.get_params().items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    )
    return estimator.set_params(**{name: int(rng.integers(2**31)) for name in open_states})


def weight_name(estimator: Estimator) -> str | None:
    """How `fit` of this estimator calls the weights of rows; None if it takes none."""
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        return f"{name}__sample_weight" if has_fit_parameter(last, "sample_weight") else None
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def is_forest(estimator: Estimator) -> bool:
    """Whether this is a random forest or extremely randomised trees, whose trees can be members of a committee."""
    return isinstance(estimator, _FORESTS)


@dataclass(frozen=True, slots=True)
class Trees:
    """Some trees of a fitted forest, as an estimator: the mean of what they predict."""

    forest: Estimator
    trees: Sequence[Estimator]

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes of the columns, as the forest has them."""
        classes: NDArray[Any] = self.forest.classes_
        return classes

    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """(n, C), or one such table for each of several labels (L, n, 2)."""
        return self._mean("predict_proba", X)

    def predict(self, X: Matrix) -> NDArray[np.float64]:
        """(n,) the mean of the trees' numbers."""
        return self._mean("predict", X)

    def _mean(self, what: str, X: Matrix) -> NDArray[np.float64]:
        X = X.astype(np.float32, copy=False)  # which is what trees work on; each would make its own copy
        total: NDArray[np.float64] = np.zeros(1)
        for tree in self.trees:
            total = total + np.asarray(getattr(tree, what)(X))
        return total / len(self.trees)


def deal(forest: Estimator, hands: int) -> list[Trees]:
    """The trees of a fitted forest, dealt out in order to so many hands, as evenly as can be."""
    places = np.array_split(np.arange(len(forest.estimators_)), hands)
    return [Trees(forest, [forest.estimators_[place] for place in part]) for part in places]
