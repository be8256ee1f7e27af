"""One or several estimators, fitted on labels and asked for the predictions of each: the learner of the loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from ..errors import ConfigError, TrainingError, unknown_name
from .estimators import Estimator, deal, estimator_of, is_forest, seeded, weight_name
from .labelled import KINDS, Labelled
from .machines import Matrix, Reals
from .modal import ActiveLearner

ESTIMATOR_FAULTS = (ValueError, TypeError, ArithmeticError, AttributeError, RuntimeError, LookupError)
"""What scikit-learn's estimators raise when they cannot work with what they were given."""


@lru_cache(maxsize=1)
def _pools(n_modules: int) -> ThreadpoolController:
    """The thread pools of the numeric libraries, looked for anew when modules were imported: it takes longer than a
    small fit."""
    return ThreadpoolController()


class Learner(Protocol):
    """What the loop asks of a model; the kind of label, classes, seed and threads are given when it is made."""

    @property
    def fingerprint(self) -> str:
        """What it is: estimators with their parameters, seed, and the versions of the libraries."""
        ...

    def fit(self, X: Matrix, y: ArrayLike, weight: ArrayLike | None = None) -> None:
        """Forgets everything and learns from rows X (n, d) with labels y.

        y holds, for a choice, class codes (n,), or one distribution over the classes per row (n, C); for several
        labels, rows of 0 and 1 (n, L); for a number, numbers (n,). `weight` (n,) says how much each row counts. Raises
        `TrainingError`. Too few different labels to learn from are no error: see `member_predictions`.
        """
        ...

    def member_predictions(self, X: Matrix) -> Reals:
        """What every member predicts of rows X (n, d). Raises `TrainingError`.

        For a choice (members, n, C): the probability of every configured class; rows add up to 1, and a class that was
        not among the labels has 0. Before two classes are known all are equally likely. For several labels
        (members, n, L): the probability that each of them is there; one that was there in all of n rows or in none has
        the same everywhere, (n + 1) / (n + 2) or 1 / (n + 2). For a number (members, n): the number.
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
    kind: str = "choice",
) -> CommitteeLearner:
    """A learner by name, by `module:Class`, or around scikit-learn estimators, for a kind of label (`task.kind`).

    "svm" are kernel machines, `RBFMachines` or `RBFRegression` (few labels; pixels, embeddings, scaled columns);
    "logistic" is a logistic regression with C = 10, for numbers a ridge regression on columns of unit variance (text,
    many features, large pools); "forest" are 100 extremely randomised trees (tables). For several labels, what learns
    one at a time is fitted to each.

    A `committee` of more than one is fitted on bootstrap samples: for a choice drawn within each class, so that no
    member misses one. The members of a forest are its own trees instead, dealt out evenly and fitted once; it gets as
    many trees as members if it has fewer, and alone it is the mean of all. A sequence makes a committee of different
    estimators, each fitted on all labels.

    `threads` limits the threads of the numeric libraries; `n_features`, if given, is the width that X must have.
    Raises `ConfigError` for a name or an object that cannot learn this kind of label: see `estimator_of`.
    """
    if kind not in KINDS:
        raise ConfigError(unknown_name("kind of label", kind, KINDS))
    if isinstance(use, Sequence) and not isinstance(use, str):
        if committee not in (1, len(use)):
            raise ConfigError(f"a committee of {committee} was asked for, and {len(use)} estimators were given.")
        estimators, drawn = [estimator_of(each, kind) for each in use], 1
    else:
        if committee < 1:
            raise ConfigError(f"model.committee is {committee}: a committee needs at least 1 member.")
        estimators, drawn = [estimator_of(use, kind)], committee
    return CommitteeLearner(
        estimators, classes=classes, seed=seed, drawn=drawn, threads=threads, n_features=n_features, kind=kind
    )


@dataclass(frozen=True, slots=True)
class _Member:
    """A fitted estimator and what it was taught; without an estimator there was nothing to learn."""

    rows: Labelled
    estimator: Estimator | None = None


class CommitteeLearner:
    """One or several scikit-learn estimators as a `Learner`; `drawn` members are made of each: see `make_learner`.

    Every random choice follows from `seed` and the member's number: bootstrap samples, and each `random_state` that
    an estimator leaves open. modAL's `ActiveLearner` fits them.
    """

    def __init__(
        self,
        estimators: Sequence[Estimator],
        *,
        classes: Sequence[str],
        seed: int,
        drawn: int = 1,
        threads: int = 1,
        n_features: int | None = None,
        kind: str = "choice",
    ) -> None:
        if not estimators:
            raise ConfigError("a learner needs at least 1 estimator.")
        self.classes = tuple(classes)
        self.n_features = n_features
        self._kind = KINDS[kind]
        self._dealt = drawn if drawn > 1 and is_forest(estimators[0]) else 0
        self._bagged = drawn > 1 and not self._dealt
        self._estimators = [_grown(estimators[0], drawn)] if self._dealt else list(estimators) * drawn
        self._seed = seed
        self._threads = threads
        self._members = [_Member(self._kind.nothing(len(self.classes)))] * (self._dealt or len(self._estimators))

    @property
    def fingerprint(self) -> str:
        """Estimators, members, seed and library versions, in one line."""
        different = list(dict.fromkeys(" ".join(repr(estimator).split()) for estimator in self._estimators))
        members = f"{len(self._members)} member{'s' * (len(self._members) > 1)}"
        drawn = ", bagged" if self._bagged else ", of its trees" if self._dealt else ""
        libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "numpy", "modAL-python"))
        return f"{' + '.join(different)}; {members}{drawn}; seed {self._seed}; {libraries}"

    def fit(self, X: Matrix, y: ArrayLike, weight: ArrayLike | None = None) -> None:
        """See `Learner.fit`. A distribution becomes one weighted row per class; where an estimator takes no weights,
        its likeliest class (the first of equals)."""
        rows = self._kind.checked(X, y, self._amounts(X, weight), len(self.classes))
        self._members = [_Member(rows)] * len(self._members)
        with _pools(len(sys.modules)).limit(limits=self._threads):
            members = [self._member(number, rows) for number in range(len(self._estimators))]
        whole = members[0].estimator
        if not self._dealt:
            self._members = members
        elif whole is not None:
            self._members = [_Member(rows, hand) for hand in deal(whole, self._dealt)]

    def member_predictions(self, X: Matrix) -> Reals:
        """See `Learner.member_predictions`."""
        n = int(X.shape[0])
        result = np.stack([member.rows.untaught(n) for member in self._members])
        with _pools(len(sys.modules)).limit(limits=self._threads):
            for place, member in enumerate(self._members):
                if n and member.estimator is not None:
                    result[place] = self._asked(member, member.estimator, X)
        return result

    @property
    def _names(self) -> str:
        return " + ".join(dict.fromkeys(type(estimator).__name__ for estimator in self._estimators))

    def _amounts(self, X: Matrix, weight: ArrayLike | None) -> Reals | None:
        """The weights of rows of the expected width; `TrainingError` where either is not as it must be."""
        n, width = X.shape
        if self.n_features is not None and width != self.n_features:
            raise TrainingError(f"cannot train: rows have {width} features, and {self.n_features} were expected.")
        amounts = None if weight is None else np.asarray(weight, dtype=np.float64)
        if amounts is not None and (amounts.shape != (n,) or not np.all(np.isfinite(amounts) & (amounts >= 0))):
            raise TrainingError(f"cannot train: weights must be {n} finite numbers of at least 0.")
        return amounts

    def _member(self, number: int, rows: Labelled) -> _Member:
        rng = np.random.default_rng([self._seed, number])
        estimator = seeded(clone(self._estimators[number]), rng)
        rows = rows.resampled(rng) if self._bagged else rows
        if not rows.teaches:
            return _Member(rows)
        weights = weight_name(estimator)
        if weights is None and rows.weight is not None:
            raise TrainingError(f"{type(estimator).__name__} takes no weights: use another model, or drop them.")
        X, labels, weight = rows.lesson(weights is not None)
        fit_options = {} if weights is None or weight is None else {weights: weight}
        try:
            return _Member(rows, ActiveLearner(estimator, X_training=X, y_training=labels, **fit_options).estimator)
        except ESTIMATOR_FAULTS as error:
            raise TrainingError(
                f"{type(estimator).__name__} cannot be fitted to {X.shape[0]} rows x {X.shape[1]} features: {error}"
            ) from error

    def _asked(self, member: _Member, estimator: Estimator, X: Matrix) -> Reals:
        try:
            found = member.rows.predictions(estimator, X)
        except ESTIMATOR_FAULTS as error:
            raise TrainingError(f"{self._names} cannot predict {X.shape[0]} rows: {error}") from error
        if not np.isfinite(found).all():
            raise TrainingError(f"{self._names} gave predictions that are not finite for {X.shape[0]} rows.")
        return found


def _grown(forest: Estimator, members: int) -> Estimator:
    """The forest, with at least one tree for each member."""
    return clone(forest).set_params(n_estimators=max(forest.n_estimators, members))
