"""Which models a search may choose from: more of them, and larger ones, the more labels there are.

A space gives candidates of all sizes; the search itself leaves out those that have too few labels, or that cannot learn
this kind of label from these features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from scipy.sparse import issparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from .. import components
from ..errors import ConfigError, unknown_name
from ..learner import RBFMachines, RBFRegression, estimator_of

Estimator = Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be chosen from `fewest` labels on: an unfitted scikit-learn estimator and a name for it.

    Candidates of one family are named alike up to a bracket: "logistic(C=1)" and "logistic(C=10)".
    """

    name: str
    estimator: Estimator
    fewest: int = 0

    @property
    def family(self) -> str:
        return self.name.partition("(")[0]

    @property
    def parameters(self) -> str:
        """The estimator with its parameters, in one line."""
        return " ".join(repr(self.estimator).split())


class Space(Protocol):
    """What may be chosen: a `name` for the record, and candidates, the cheap ones first."""

    name: str

    def candidates(self, kind: str, n_labels: int, sparse: bool) -> Sequence[Candidate]:
        """Candidates for a kind of label ("choice", "multi_label", "number"), sized to so many labels.

        Those with another `fewest` than the labels reach are given too: a model that was chosen is made again by name.
        """
        ...


class Growing:
    """The space of this project: six models from the first label on, trees from 100, networks from 200, boosting from
    500 labels on.

    Linear models and networks see columns of unit variance. Where the features are sparse, linear models see them as
    they are, and there are no networks: a weight for each word and unit is more than can be fitted in the time.
    """

    name = "growing"

    def candidates(self, kind: str, n_labels: int, sparse: bool) -> Sequence[Candidate]:
        """See `Space.candidates`."""
        listed = _OF_KIND[kind](n_labels, sparse)
        return [each for each in listed if not (sparse and each.family == "network")]


class _Own:
    """A space of the user's: an object with `candidates` as `Space` has it, or a list of candidates or of pairs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._made = components.make(name)

    def candidates(self, kind: str, n_labels: int, sparse: bool) -> Sequence[Candidate]:
        listed = self._made
        if hasattr(listed, "candidates"):
            listed = listed.candidates(kind, n_labels, sparse)
        try:
            return [each if isinstance(each, Candidate) else Candidate(*each) for each in listed]
        except TypeError as error:
            raise ConfigError(
                f'model.space: "{self.name}" gives no candidates ({error}): give a list of names with their estimators '
                "or an object whose candidates(kind, n_labels, sparse) is one."
            ) from error


def make_space(name: str) -> Space:
    """The space of this name, or the one that `module:Class` names, made without arguments.

    Raises `ConfigError` for a name that is none.
    """
    if ":" in name:
        return _Own(name)
    if name != Growing.name:
        raise ConfigError(f'model.space: {unknown_name("space", name, [Growing.name])} Or give "module:Class".')
    return Growing()


def families(kind: str) -> tuple[str, ...]:
    """The families of the space of this project for a kind of label, the cheap ones first."""
    return tuple(dict.fromkeys(each.family for each in Growing().candidates(kind, 1, sparse=False)))


def named(candidates: Sequence[Candidate], names: Iterable[str]) -> list[Candidate]:
    """Candidates of these names or families, in their own order; all of them without names.

    Raises `ConfigError` for a name that none has.
    """
    wanted = list(names)
    known = {name for each in candidates for name in (each.name, each.family)}
    for name in wanted:
        if name not in known:
            raise ConfigError(f"model.candidates: {unknown_name('candidate', name, sorted(known))}")
    return [each for each in candidates if not wanted or each.name in wanted or each.family in wanted]


def admitted(candidates: Sequence[Candidate], n_labels: int) -> list[Candidate]:
    """Candidates that so many labels are enough for; if they are for none, those that need the fewest."""
    lowest = min((each.fewest for each in candidates), default=0)
    return [each for each in candidates if each.fewest <= max(lowest, n_labels)]


def misfit(candidate: Candidate, kind: str, X: Any) -> str:
    """Why a candidate cannot learn this kind of label from these features; empty if it may."""
    try:
        estimator = estimator_of(candidate.estimator, kind)
    except ConfigError as error:
        return str(error).rstrip(".")
    if issparse(X) and not get_tags(estimator).input_tags.sparse:
        return f"{type(candidate.estimator).__name__} works on dense features only, and these are sparse"
    return ""


# The candidates of this project


def _scaled(estimator: Estimator, sparse: bool) -> Estimator:
    return estimator if sparse else make_pipeline(StandardScaler(), estimator)


def _logistic(sparse: bool) -> list[Candidate]:
    """Logistic regressions: rows of unit length, which sparse ones are, take less shrinkage than scaled columns."""
    strengths = (10, 100, 1000) if sparse else (10, 1, 0.1, 100)
    return [Candidate(f"logistic(C={C})", _scaled(LogisticRegression(C=C, max_iter=1000), sparse)) for C in strengths]


def _leaf(n_labels: int) -> int:
    """Fewest labels in a leaf: scikit-learn's 20 leaves nothing to split below some hundred labels."""
    return max(1, min(20, n_labels // 20))


def _choices(n_labels: int, sparse: bool) -> list[Candidate]:
    return [
        Candidate("svm", RBFMachines(C=10.0)),
        *_logistic(sparse),
        Candidate("nearest", KNeighborsClassifier(1)),
        Candidate("lda", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
        Candidate("forest", ExtraTreesClassifier(), 100),
        Candidate(
            "linear", CalibratedClassifierCV(_scaled(LinearSVC(), sparse), cv=3, ensemble=False), 0 if sparse else 100
        ),
        *(
            Candidate(
                f"network({shape})",
                _scaled(MLPClassifier(hidden_layer_sizes=sizes, alpha=alpha, **_LEARNING), sparse),
                200,
            )
            for shape, sizes, alpha in _NETWORKS
        ),
        Candidate(
            "boosting",
            HistGradientBoostingClassifier(min_samples_leaf=_leaf(n_labels), early_stopping=True),
            500,
        ),
    ]


def _label_sets(n_labels: int, sparse: bool) -> list[Candidate]:
    return [
        Candidate("svm", RBFMachines(C=10.0)),
        *_logistic(sparse),
        Candidate("forest", ExtraTreesClassifier(), 100),
    ]


def _numbers(n_labels: int, sparse: bool) -> list[Candidate]:
    alphas = [10.0**power for power in range(-2, 5)]
    return [
        Candidate("svm", RBFRegression()),
        Candidate("svm(alpha=0.01)", RBFRegression(alpha=0.01)),
        Candidate("ridge", _scaled(RidgeCV(alphas), sparse)),
        Candidate("nearest", KNeighborsRegressor(max(1, min(5, n_labels // 4)), weights="distance")),
        Candidate("forest", ExtraTreesRegressor(), 100),
        *(
            Candidate(
                f"network({shape})",
                TransformedTargetRegressor(
                    _scaled(MLPRegressor(hidden_layer_sizes=sizes, alpha=alpha, **_LEARNING), sparse),
                    transformer=StandardScaler(),
                ),
                200,
            )
            for shape, sizes, alpha in _NETWORKS
        ),
        Candidate(
            "boosting",
            HistGradientBoostingRegressor(min_samples_leaf=_leaf(n_labels), early_stopping=True),
            500,
        ),
    ]


_OF_KIND: Final[Mapping[str, Callable[[int, bool], list[Candidate]]]] = {
    "choice": _choices,
    "multi_label": _label_sets,
    "number": _numbers,
}
_NETWORKS: Final = (("64", (64,), 1.0), ("64, alpha=0.01", (64,), 0.01), ("64-32", (64, 32), 1.0))
# Few labels: none is held back to stop early by, weight decay and a fixed number of full steps do that.
_LEARNING: Final[Mapping[str, Any]] = {"solver": "lbfgs", "max_iter": 100}
