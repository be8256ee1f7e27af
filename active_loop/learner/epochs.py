"""What a model that learns step by step predicts after so many steps.

An iteration is what an estimator counts itself: a tree that is added, a pass over the rows, a step of a solver. What
boosting adds up is read tree by tree from one fit. Everything else is fitted anew with at most so many iterations, so
that what is read is what that many give, and not a state in which nothing was to stay.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .bounded import Bounded
from .committee import CommitteeLearner
from .estimators import Estimator
from .labelled import KINDS
from .machines import Matrix, Reals
from .temperature import Tempered, tempered

MOST_FITS: Final = 10
"""Most fits of what cannot be read from one."""

_MOST_READ: Final = 100
"""Most iterations that are read from one fit."""

_COUNTED: Final[Mapping[type, str]] = {
    GradientBoostingClassifier: "n_estimators",
    GradientBoostingRegressor: "n_estimators",
    HistGradientBoostingClassifier: "max_iter",
    HistGradientBoostingRegressor: "max_iter",
    MLPClassifier: "max_iter",
    MLPRegressor: "max_iter",
    SGDClassifier: "max_iter",
    SGDRegressor: "max_iter",
}
"""Which parameter says how many iterations there are at most."""


def is_iterative(learner: CommitteeLearner) -> bool:
    """Whether an estimator of it is, or holds at its end, boosting, a network or a linear model that learns in passes:
    as the last step of a pipeline, for a transformed target, once for each of several labels, or as part of a mixture.
    """
    return _first(learner) is not None


def by_iteration(
    learner: CommitteeLearner, X: Matrix, y: ArrayLike, asked: Sequence[Matrix]
) -> Iterator[tuple[int, list[Reals]]]:
    """After how many iterations, and what is predicted then of each of `asked`, (n, …) each: see `Learner`.

    The first estimator that learns in iterations, of a mixture the first such part, is taught rows X (n, d) with labels
    y, by itself and without a bootstrap sample; the learner stays as it is. Iterations rise; what stopped by itself
    before its last one is read no further. Nothing comes of a learner without one, and of labels that teach nothing.
    There is a fit before each value, or one before the first. Raises `TrainingError`.
    """
    first = _first(learner)
    if first is None:
        return
    before, core = _core(first)
    name = _counted(core) or ""
    most = int(core.get_params()[name])
    if hasattr(core, "staged_predict") and learner._kind is not KINDS["multi_label"]:  # which has one for each label
        yield from _read(_taught(learner, first, X, y), most, asked)
        return
    for n in steps(most):
        alone = _taught(learner, clone(first).set_params(**{before + name: n}), X, y)
        yield n, [alone.member_predictions(rows)[0] for rows in asked]
        fitted = alone._members[0].estimator
        if fitted is None or _iterations(fitted) < n:
            return


def steps(most: int) -> list[int]:
    """Up to ten round numbers of iterations, up to `most`.

    >>> steps(100), steps(3)
    ([1, 2, 5, 10, 20, 50, 100], [1, 2, 3])
    """
    rounded = (factor * 10**power for power in range(len(str(most))) for factor in (1, 2, 5))
    return [*(n for n in rounded if n < most), most][-MOST_FITS:]


def _taught(learner: CommitteeLearner, estimator: Estimator, X: Matrix, y: ArrayLike) -> CommitteeLearner:
    """The estimator as the only member of a learner, otherwise like this one."""
    kind = next(name for name, each in KINDS.items() if each is learner._kind)
    alone = CommitteeLearner([estimator], classes=learner.classes, seed=learner._seed, kind=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that so few iterations are not enough is what is asked here
        alone.fit(X, y)
    return alone


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a fitted estimator predicted of some rows after a number of iterations, as an estimator."""

    classes_: NDArray[Any] | None
    found: Reals

    def predict_proba(self, X: Matrix) -> Reals:
        return self.found

    def predict(self, X: Matrix) -> Reals:
        return self.found


def _read(taught: CommitteeLearner, most: int, asked: Sequence[Matrix]) -> Iterator[tuple[int, list[Reals]]]:
    member = taught._members[0]
    if member.estimator is None:
        return
    wanted = {*np.linspace(1, most, min(most, _MOST_READ)).round().astype(int).tolist(), _iterations(member.estimator)}
    classes = getattr(member.estimator, "classes_", None)
    with threadpool_limits(1):
        all_of = [enumerate(_stages(member.estimator, rows), start=1) for rows in asked]
        stages = [[(n, found) for n, found in each if n in wanted] for each in all_of]
    for found in zip(*stages, strict=True):
        pairs = zip(found, asked, strict=True)
        yield found[0][0], [member.rows.predictions(_Stage(classes, each), rows) for (_, each), rows in pairs]


def _first(learner: CommitteeLearner) -> Estimator | None:
    """What is read of a learner; None if nothing in it learns in iterations."""
    every = (part for estimator in learner._estimators for part in _parts(estimator))
    return next((each for each in every if _counted(_core(each)[1])), None)


def _parts(estimator: Estimator) -> list[Estimator]:
    """The estimator, or those that it mixes, as they are by themselves."""
    mixture = estimator.estimator if isinstance(estimator, Tempered) else estimator
    if isinstance(mixture, VotingClassifier | VotingRegressor):
        return [each for _, each in mixture.estimators]
    return [estimator]


def _counted(core: Estimator) -> str | None:
    return next((name for kind, name in _COUNTED.items() if isinstance(core, kind)), None)


def _core(estimator: Estimator, before: str = "") -> tuple[str, Estimator]:
    """What learns inside of pipelines and around targets, and what stands before the names of its parameters."""
    match estimator:
        case Pipeline():
            name, last = estimator.steps[-1]
            return _core(last, f"{before}{name}__")
        case TransformedTargetRegressor():
            return _core(estimator.regressor, f"{before}regressor__")
        case MultiOutputClassifier() | Tempered() | Bounded():
            return _core(estimator.estimator, f"{before}estimator__")
    return before, estimator


def _iterations(fitted: Estimator) -> int:
    """How many iterations there were, the most of any label's."""
    match fitted:
        case Pipeline():
            return _iterations(fitted.steps[-1][1])
        case TransformedTargetRegressor():
            return _iterations(fitted.regressor_)
        case Tempered() | Bounded():
            return _iterations(fitted.estimator_)
        case MultiOutputClassifier():
            return max(map(_iterations, fitted.estimators_))
    return int(fitted.n_estimators_ if hasattr(fitted, "n_estimators_") else fitted.n_iter_)


def _stages(fitted: Estimator, X: Matrix) -> Iterator[Reals]:
    """What boosting predicts of the rows of X after each of its iterations, through what stands around it."""
    match fitted:
        case Pipeline():
            yield from _stages(fitted.steps[-1][1], fitted[:-1].transform(X) if len(fitted) > 1 else X)
        case TransformedTargetRegressor():
            for found in _stages(fitted.regressor_, X):
                yield fitted.transformer_.inverse_transform(found.reshape(-1, 1))[:, 0]
        case Bounded():
            for found in _stages(fitted.estimator_, X):
                yield fitted.bounded(found)
        case Tempered():
            for found in _stages(fitted.estimator_, X):
                yield tempered(found, fitted.temperature)
        case GradientBoostingClassifier() | HistGradientBoostingClassifier():
            yield from fitted.staged_predict_proba(X)
        case _:
            yield from fitted.staged_predict(X)
