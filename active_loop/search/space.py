"""Which models a search may choose from: more of them, and larger ones, the more labels there are.

A space gives candidates of all sizes; the search itself leaves out those that have too few labels, or that cannot learn
this kind of label from these features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from scipy.sparse import issparse
from sklearn.base import clone
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
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from .. import components
from ..errors import ConfigError, unknown_name
from ..learner import Bounded, RBFMachines, RBFRegression, estimator_of
from .ranges import Between, OneOf, Range, called, read, short

Estimator = Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be chosen from `fewest` labels on: an unfitted scikit-learn estimator and a name for it.

    Candidates of one family are named alike up to a bracket: "logistic(C=1)" and "logistic(C=10)". `ranges` say between
    which values a search may vary its parameters, by their paths as `set_params` has them; the first of a family that
    has some stands for the others. A `tamer` one is tried only where the best of the others memorises. What one that
    `turns` predicts follows from products of rows alone (Gaussian kernels, distances, linear models that are shrunk by
    squares): sparse rows are tried as coordinates in their own span, which are few.
    """

    name: str
    estimator: Estimator
    fewest: int = 0
    ranges: Mapping[str, Range] = field(default_factory=dict)
    tamer: bool = False
    turns: bool = False

    @property
    def family(self) -> str:
        return self.name.partition("(")[0]

    @property
    def parameters(self) -> str:
        """The estimator with its parameters, in one line."""
        return " ".join(repr(self.estimator).split())

    def varied(self, values: Mapping[str, Any]) -> Candidate:
        """This candidate with these values of its parameters, by path, and called by them."""
        varied = clone(self.estimator).set_params(**values)
        return replace(self, name=called(self.family, values), estimator=varied)


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
    they are, and there are neither networks nor trees: a weight for each word and unit is more than can be fitted in
    the time, and a walk through a forest takes ten times as long there as all else, for nothing (texts lose no accuracy
    without it).
    """

    name = "growing"

    def candidates(self, kind: str, n_labels: int, sparse: bool) -> Sequence[Candidate]:
        """See `Space.candidates`."""
        listed = _OF_KIND[kind](n_labels, sparse)
        kept = [each for each in listed if not (sparse and each.family in _DENSE)]
        return [replace(each, turns=sparse and each.family in _TURNING) for each in kept]


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
            made = [each if isinstance(each, Candidate) else Candidate(*each) for each in listed]
            for each in made:
                _check_ranges(each)
            return made
        except TypeError as error:
            raise ConfigError(
                f'model.space: "{self.name}" gives no candidates ({error}): give a list of names with their estimators '
                "or an object whose candidates(kind, n_labels, sparse) is one."
            ) from error


def _check_ranges(candidate: Candidate) -> None:
    """Raises `ConfigError` for ranges of parameters that the estimator has not."""
    for path in candidate.ranges:
        if path not in candidate.estimator.get_params():
            known = unknown_name("parameter", path, candidate.estimator.get_params())
            raise ConfigError(f"model.space: the ranges of {candidate.name} name what it has not: {known}")


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
    """Candidates of these names or families, in their own order, then variations of these names; without names all.

    One that is named itself is tried like any other, though it is a tamer one. Raises `ConfigError` for a name that
    none has.
    """
    wanted = list(names)
    known = {name for each in candidates for name in (each.name, each.family)}
    varied = {name: variation(candidates, name) for name in wanted if name not in known}
    for name, found in varied.items():
        if found is None:
            raise ConfigError(f"model.candidates: {unknown_name('candidate', name, sorted(known))}")
    listed = [each for each in candidates if not wanted or each.name in wanted or each.family in wanted]
    listed += [each for each in varied.values() if each]
    return [replace(each, tamer=each.tamer and each.name not in wanted) for each in listed]


def variation(candidates: Sequence[Candidate], name: str) -> Candidate | None:
    """The candidate of this name, or the variation of one that the name describes; None if it is neither."""
    for each in candidates:
        if each.name == name:
            return each
    values = read(name)
    for each in candidates:
        paths = {short(path): path for path in each.ranges}
        if values and each.family == name.partition("(")[0] and values.keys() <= paths.keys():
            return each.varied({paths[key]: value for key, value in values.items()})
    return None


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


def _below(estimator: Estimator, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of an estimator's own parameters, by their paths below the steps that it is wrapped in."""
    paths = sorted(estimator.get_params(), key=len, reverse=True)
    return {next(path for path in paths if short(path) == name): range_ for name, range_ in ranges.items()}


def _family(
    name: str, estimator: Estimator, fewest: int, ranges: Mapping[str, Range], tamer: Mapping[str, Any]
) -> list[Candidate]:
    """A candidate with its ranges, and its tamer variation."""
    first = Candidate(name, estimator, fewest, _below(estimator, ranges))
    paths = {short(path): path for path in first.ranges}
    tame = first.varied({paths[key]: value for key, value in tamer.items()})
    return [first, replace(tame, ranges={}, tamer=True)]


def _logistic(sparse: bool) -> list[Candidate]:
    """Logistic regressions: rows of unit length, which sparse ones are, take less shrinkage than scaled columns."""
    strengths = (10, 100, 1000) if sparse else (10, 1, 0.1, 100)
    made = [Candidate(f"logistic(C={C})", _scaled(LogisticRegression(C=C, max_iter=1000), sparse)) for C in strengths]
    ranges = _below(made[0].estimator, {"C": Between(0.001, 1000)})
    first = replace(made[0], ranges=ranges)
    tame = first.varied(dict.fromkeys(ranges, 1.0 if sparse else 0.01))
    return [first, *made[1:], replace(tame, ranges={}, tamer=True)]


def _directions(sparse: bool) -> list[Candidate]:
    """Logistic regressions on rows of unit length, as embeddings are compared; sparse rows have it anyway."""
    if sparse:
        return []
    made = [
        Candidate(f"directions(C={C})", make_pipeline(Normalizer(), LogisticRegression(C=C, max_iter=1000)))
        for C in (5, 50)
    ]
    first = replace(made[0], ranges=_below(made[0].estimator, {"C": Between(0.01, 1000)}))
    tame = first.varied(dict.fromkeys(first.ranges, 0.5))
    return [first, *made[1:], replace(tame, ranges={}, tamer=True)]


def _leaf(n_labels: int) -> int:
    """Fewest labels in a leaf: scikit-learn's 20 leaves nothing to split below some hundred labels."""
    return max(1, min(20, n_labels // 20))


def _choices(n_labels: int, sparse: bool) -> list[Candidate]:
    # Where it does not settle in some hundred steps, thousands change nothing but the time.
    linear = CalibratedClassifierCV(_scaled(LinearSVC(dual=True, max_iter=200), sparse), cv=3, ensemble=False)
    boosting = HistGradientBoostingClassifier(min_samples_leaf=_leaf(n_labels), early_stopping=True)
    return [
        *_family("svm", RBFMachines(C=10.0), 0, _MACHINES, {"C": 1.0}),
        *_logistic(sparse),
        *_directions(sparse),
        *_family(
            "nearest", KNeighborsClassifier(1), 0, {"n_neighbors": Between(1, 30, whole=True)}, {"n_neighbors": 5}
        ),
        Candidate("lda", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
        *_family("forest", ExtraTreesClassifier(), 100, _TREES, {"min_samples_leaf": 5}),
        *_family("linear", linear, 0 if sparse else 100, {"C": Between(0.001, 100)}, {"C": 0.01}),
        *_networks(MLPClassifier, sparse),
        *_family("boosting", boosting, 500, _BOOSTING, {"max_leaf_nodes": 4, "l2_regularization": 10.0}),
    ]


def _label_sets(n_labels: int, sparse: bool) -> list[Candidate]:
    return [
        *_family("svm", RBFMachines(C=10.0), 0, _MACHINES, {"C": 1.0}),
        *_logistic(sparse),
        *_directions(sparse),
        *_family("forest", ExtraTreesClassifier(), 100, _TREES, {"min_samples_leaf": 5}),
    ]


def _numbers(n_labels: int, sparse: bool) -> list[Candidate]:
    alphas = [10.0**power for power in range(-2, 5)]
    nearest = KNeighborsRegressor(max(1, min(5, n_labels // 4)), weights="distance")
    boosting = HistGradientBoostingRegressor(min_samples_leaf=_leaf(n_labels), early_stopping=True)
    return [
        *_family("svm", RBFRegression(), 0, {"alpha": Between(0.001, 10)}, {"alpha": 1.0}),
        Candidate("svm(alpha=0.01)", RBFRegression(alpha=0.01)),
        Candidate("ridge", Bounded(_scaled(RidgeCV(alphas), sparse))),
        *_family("nearest", nearest, 0, {"n_neighbors": Between(1, 30, whole=True)}, {"n_neighbors": 10}),
        *_family("forest", ExtraTreesRegressor(), 100, _TREES, {"min_samples_leaf": 5}),
        *_networks(MLPRegressor, sparse),
        *_family("boosting", boosting, 500, _BOOSTING, {"max_leaf_nodes": 4, "l2_regularization": 10.0}),
    ]


def _networks(make: Callable[..., Estimator], sparse: bool) -> list[Candidate]:
    """Small networks: their depth, width and shrinkage are what a search varies, besides these three."""
    wrapped = {
        name: _scaled(make(hidden_layer_sizes=sizes, alpha=alpha, **_LEARNING), sparse)
        for name, sizes, alpha in _NETWORKS
    }
    if make is MLPRegressor:
        wrapped = {
            name: Bounded(TransformedTargetRegressor(each, transformer=StandardScaler()))
            for name, each in wrapped.items()
        }
    (name, first), *others = wrapped.items()
    ranges: dict[str, Range] = {"hidden_layer_sizes": OneOf(_SHAPES), "alpha": Between(0.0001, 30)}
    return [
        *_family(name, first, 200, ranges, {"hidden_layer_sizes": (16,), "alpha": 10.0}),
        *(Candidate(name, each, 200) for name, each in others),
    ]


_OF_KIND: Final[Mapping[str, Callable[[int, bool], list[Candidate]]]] = {
    "choice": _choices,
    "multi_label": _label_sets,
    "number": _numbers,
}
_MACHINES: Final = {"C": Between(0.1, 1000), "sharpness": Between(0.5, 10)}
_TREES: Final = {"min_samples_leaf": Between(1, 20, whole=True), "max_features": Between(0.05, 1, log=False)}
_BOOSTING: Final = {
    "learning_rate": Between(0.02, 0.3),
    "max_leaf_nodes": Between(3, 63, whole=True),
    "min_samples_leaf": Between(1, 50, whole=True),
    "l2_regularization": Between(0.001, 10),
}
_NETWORKS: Final = (
    ("network(64)", (64,), 1.0),
    ("network(64, alpha=0.01)", (64,), 0.01),
    ("network(64-32)", (64, 32), 1.0),
)
_DENSE: Final = ("network", "forest")
_TURNING: Final = ("svm", "logistic", "nearest", "linear", "ridge")
_SHAPES: Final = ((16,), (32,), (64,), (128,), (256,), (32, 32), (64, 32), (128, 64), (64, 64, 64))
# Few labels: none is held back to stop early by, weight decay and a fixed number of full steps do that.
_LEARNING: Final[Mapping[str, Any]] = {"solver": "lbfgs", "max_iter": 100}
