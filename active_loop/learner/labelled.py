"""Rows with their labels, as a model is taught them, and what it then predicts, per kind of label.

Everything in which the kinds differ for a learner: what labels are checked for, when there is anything to learn, how
a bootstrap sample is drawn, and how an estimator's answer becomes the predictions that the rest of the house knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import TrainingError
from .estimators import Estimator
from .machines import Matrix, Reals

Codes = NDArray[np.int64]


class Labelled(Protocol):
    """Rows and labels that fit together; `weight` (n,) says how much each row counts, None: all alike."""

    @classmethod
    def checked(cls, X: Matrix, y: ArrayLike, weight: Reals | None, n_classes: int) -> Self:
        """Raises `TrainingError` where y does not fit X or the classes."""
        ...

    @classmethod
    def nothing(cls, n_classes: int) -> Self:
        """No rows."""
        ...

    @property
    def weight(self) -> Reals | None: ...

    @property
    def teaches(self) -> bool:
        """Whether the labels differ enough for an estimator to be fitted."""
        ...

    def resampled(self, rng: np.random.Generator) -> Self:
        """A bootstrap sample of the rows."""
        ...

    def lesson(self, weighted: bool) -> tuple[Matrix, NDArray[Any], Reals | None]:
        """X, y and weights for an estimator's `fit`, which takes weights or does not."""
        ...

    def untaught(self, n: int) -> Reals:
        """(n, …) what is predicted of n rows without an estimator."""
        ...

    def predictions(self, estimator: Estimator, X: Matrix) -> Reals:
        """(n, …) what an estimator that was taught this predicts of the rows of X."""
        ...


@dataclass(frozen=True, slots=True)
class Choices:
    """One class per row; `shares` (n, C) are distributions, None where every label is certain.

    Predictions are (n, C), and 0 for a class that nobody has named yet. There is nothing to learn from one class
    alone: then all are equally likely.
    """

    X: Matrix
    codes: Codes
    n_classes: int
    shares: Reals | None = None
    weight: Reals | None = None

    @classmethod
    def checked(cls, X: Matrix, y: ArrayLike, weight: Reals | None, n_classes: int) -> Self:
        labels = np.asarray(y)
        if labels.shape[:1] != (X.shape[0],) or labels.ndim > 2:
            raise TrainingError(f"cannot train: {X.shape[0]} rows of features and labels of shape {labels.shape}.")
        if labels.ndim == 1:
            return cls(X, _codes(labels, n_classes), n_classes, None, weight)
        shares = _shares(labels, n_classes)
        certain = bool(np.all(np.count_nonzero(shares, axis=1) == 1))
        return cls(X, shares.argmax(axis=1), n_classes, None if certain else shares, weight)

    @classmethod
    def nothing(cls, n_classes: int) -> Self:
        return cls(np.empty((0, 0)), np.empty(0, dtype=np.int64), n_classes)

    @property
    def teaches(self) -> bool:
        return np.unique(self.codes).size > 1

    def resampled(self, rng: np.random.Generator) -> Self:
        """As many rows of every class, drawn within it, so that none is lost."""
        drawn = [
            rng.choice(rows, size=rows.size)
            for code in np.unique(self.codes)
            for rows in [np.flatnonzero(self.codes == code)]
        ]
        rows = np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64)
        shares = None if self.shares is None else self.shares[rows]
        return type(self)(self.X[rows], self.codes[rows], self.n_classes, shares, _at(self.weight, rows))

    def lesson(self, weighted: bool) -> tuple[Matrix, NDArray[Any], Reals | None]:
        """With weights every row once for each class it may have, weighted by that class's share; without, every row
        with its likeliest class (the first of equals)."""
        if self.shares is None or not weighted:
            return self.X, self.codes, self.weight
        rows, codes = np.nonzero(self.shares)
        amounts = self.shares[rows, codes] * (1 if self.weight is None else self.weight[rows])
        return self.X[rows], codes, amounts

    def untaught(self, n: int) -> Reals:
        return np.full((n, self.n_classes), 1 / self.n_classes)

    def predictions(self, estimator: Estimator, X: Matrix) -> Reals:
        table = np.zeros((X.shape[0], self.n_classes))
        table[:, estimator.classes_] = estimator.predict_proba(X)
        return table


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Any number of the classes per row: `present` (n, L) of 0 and 1.

    Predictions are (n, L), each class's own probability. A class with k of n rows is not learned where k is 0 or n: its
    probability is (k + 1) / (n + 2) everywhere (Laplace's rule of succession), ½ before the first label.
    """

    X: Matrix
    present: Codes
    weight: Reals | None = None

    @classmethod
    def checked(cls, X: Matrix, y: ArrayLike, weight: Reals | None, n_classes: int) -> Self:
        labels = np.asarray(y)
        if labels.shape != (X.shape[0], n_classes):
            raise TrainingError(
                f"cannot train: {X.shape[0]} rows of features and labels of shape {labels.shape}; "
                f"give a row of 0 and 1 for each, one for each of the {n_classes} classes."
            )
        odd = labels[(labels != 0) & (labels != 1)]
        if odd.size:
            raise TrainingError(f"cannot train: labels hold {odd[0]}; give 0 or 1 for each class of a row.")
        return cls(X, labels.astype(np.int64), weight)

    @classmethod
    def nothing(cls, n_classes: int) -> Self:
        return cls(np.empty((0, 0)), np.empty((0, n_classes), dtype=np.int64))

    @property
    def teaches(self) -> bool:
        return bool(self._varying.any())

    @property
    def _varying(self) -> NDArray[np.bool_]:
        """(L,) the classes that some rows have and others have not."""
        totals = self.present.sum(axis=0)
        varying: NDArray[np.bool_] = (totals > 0) & (totals < len(self.present))
        return varying

    def resampled(self, rng: np.random.Generator) -> Self:
        rows = _drawn(len(self.present), rng)
        return type(self)(self.X[rows], self.present[rows], _at(self.weight, rows))

    def lesson(self, weighted: bool) -> tuple[Matrix, NDArray[Any], Reals | None]:
        """The classes that vary. One alone is given twice: scikit-learn takes a single column for a choice."""
        columns = np.flatnonzero(self._varying)
        return self.X, self.present[:, np.resize(columns, max(2, columns.size))], self.weight

    def untaught(self, n: int) -> Reals:
        return np.tile((self.present.sum(axis=0) + 1) / (len(self.present) + 2), (n, 1))

    def predictions(self, estimator: Estimator, X: Matrix) -> Reals:
        columns = np.flatnonzero(self._varying)
        found = estimator.predict_proba(X)
        if isinstance(found, list) or found.ndim == 3:  # a table of two columns for each class
            found = np.column_stack([np.asarray(table)[:, 1] for table in found])
        table = self.untaught(X.shape[0])
        table[:, columns] = found[:, : columns.size]
        return table


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number per row. Predictions are (n,); with fewer than two labels the one there is, or 0."""

    X: Matrix
    values: Reals
    weight: Reals | None = None

    @classmethod
    def checked(cls, X: Matrix, y: ArrayLike, weight: Reals | None, n_classes: int) -> Self:
        labels = np.asarray(y)
        if labels.shape != (X.shape[0],) or (labels.size and labels.dtype.kind not in "iuf"):
            raise TrainingError(
                f"cannot train: {X.shape[0]} rows of features and labels of shape {labels.shape}, {labels.dtype}; "
                "give one number for each."
            )
        odd = np.flatnonzero(~np.isfinite(labels.astype(np.float64)))
        if odd.size:
            raise TrainingError(f"cannot train: the label of row {odd[0]} is {labels[odd[0]]}; give finite numbers.")
        return cls(X, labels.astype(np.float64), weight)

    @classmethod
    def nothing(cls, n_classes: int) -> Self:
        return cls(np.empty((0, 0)), np.empty(0))

    @property
    def teaches(self) -> bool:
        return len(self.values) > 1

    def resampled(self, rng: np.random.Generator) -> Self:
        rows = _drawn(len(self.values), rng)
        return type(self)(self.X[rows], self.values[rows], _at(self.weight, rows))

    def lesson(self, weighted: bool) -> tuple[Matrix, NDArray[Any], Reals | None]:
        return self.X, self.values, self.weight

    def untaught(self, n: int) -> Reals:
        return np.full(n, self.values.mean() if len(self.values) else 0.0)

    def predictions(self, estimator: Estimator, X: Matrix) -> Reals:
        return np.asarray(estimator.predict(X), dtype=np.float64).reshape(X.shape[0])


KINDS: Final[Mapping[str, type[Labelled]]] = {"choice": Choices, "multi_label": LabelSets, "number": Numbers}
"""By the name of the task's kind."""


def _at(weight: Reals | None, rows: Codes) -> Reals | None:
    return None if weight is None else weight[rows]


def _drawn(n: int, rng: np.random.Generator) -> Codes:
    """n of n rows, with replacement."""
    return rng.integers(n, size=n) if n else np.empty(0, dtype=np.int64)


def _codes(labels: NDArray[Any], n_classes: int) -> Codes:
    if labels.size and labels.dtype.kind not in "iu":
        raise TrainingError(f"cannot train: labels are {labels.dtype}; give class codes from 0 to {n_classes - 1}.")
    codes = labels.astype(np.int64)
    if codes.size and not 0 <= codes.min() <= codes.max() < n_classes:
        raise TrainingError(
            f"cannot train: class codes run from {codes.min()} to {codes.max()}, and there are {n_classes} classes."
        )
    return codes


def _shares(labels: NDArray[Any], n_classes: int) -> Reals:
    shares = labels.astype(np.float64)
    if shares.shape[1] != n_classes:
        raise TrainingError(f"cannot train: labels have {shares.shape[1]} columns, and there are {n_classes} classes.")
    totals = shares.sum(axis=1, keepdims=True)
    if not np.all(np.isfinite(shares) & (shares >= 0)) or not np.all(totals > 0):
        raise TrainingError("cannot train: a row of labels is no distribution; give shares of at least 0, not all 0.")
    shares /= totals
    return shares
