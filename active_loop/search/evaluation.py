"""How well a candidate would do on items that it has not learned from: cross-validation, with a proper loss per item.

Only what is labelled to learn from is seen here; what comes of it chooses a model and is never reported as its quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import components
from ..errors import ConfigError, unknown_name

Reals = NDArray[np.float64]
Codes = NDArray[Any]
Places = NDArray[np.int64]
Fold = tuple[Places, Places]
"""Places that a model is taught, and places that it then predicts."""

_FOLDS: Final = 5
_REPEATS: Final = 3
_LEAST: Final = 0.001
_ALL_BUT_ONE: Final = 40
"""Labels below which each one is predicted from all the others, once."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Labelled rows X (n, d), their codes (n, …) as the task encodes them, and the group (n,) that each belongs to.

    Rows of one group are never on both sides of a fold. Without groups every row is its own.
    """

    X: Any
    codes: Codes
    kind: str
    classes: tuple[str, ...]
    seed: int
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)


class Evaluation(Protocol):
    """How candidates are compared: a `name` for the record, folds, and a loss for each item that is held out."""

    name: str

    def repeats(self, lessons: Lessons) -> Sequence[Sequence[Fold]]:
        """Folds, repeat by repeat; in each repeat the same places are held out, each once. Empty: none can be.

        A function of the lessons alone: candidates are compared on the same folds.
        """
        ...

    def losses(self, lessons: Lessons, held: Places, predicted: Reals) -> Reals:
        """(n_held,) how wrong each prediction (n_held, …) is; lower is better, and its mean is what counts."""
        ...


class Folds:
    """Five folds three times over, with the same share of each class where that goes; below 40 labels all but one.

    A class that only one group has stays among what is taught: held out, it could not be predicted by anybody. The
    loss is −log p of what people said (of several labels the mean over them), for numbers the squared error. p counts
    as 0.001 at least, so that one item that a model is wrong and sure about does not decide alone.
    """

    name = "folds"

    def repeats(self, lessons: Lessons) -> Sequence[Sequence[Fold]]:
        """See `Evaluation.repeats`."""
        free = _free(lessons)
        groups = np.unique(lessons.groups[free])
        if len(groups) < 2:
            return []
        alone = len(lessons) < _ALL_BUT_ONE
        k = len(groups) if alone else min(_FOLDS, len(groups))
        drawn = [np.random.default_rng([lessons.seed, 11, repeat]) for repeat in range(1 if alone else _REPEATS)]
        return [_split(lessons, free, k, rng) for rng in drawn]

    def losses(self, lessons: Lessons, held: Places, predicted: Reals) -> Reals:
        """See `Evaluation.losses`."""
        truth = lessons.codes[held]
        if lessons.kind == "number":
            return np.asarray((predicted - truth) ** 2, dtype=np.float64)
        if lessons.kind == "multi_label":
            return np.asarray(_surprise(np.where(truth == 1, predicted, 1 - predicted)).mean(axis=1), dtype=np.float64)
        return _surprise(predicted[np.arange(len(held)), truth])


def _surprise(p: Reals) -> Reals:
    surprise: Reals = -np.log(np.clip(p, _LEAST, 1))
    return surprise


def quality(lessons: Lessons, predicted: Reals) -> float:
    """How much of the labels predictions (n, …) get right, where there are any: the share of items that are wholly so;
    of numbers R². 0 where nothing was predicted."""
    there = np.isfinite(predicted.reshape(len(predicted), -1)).all(axis=1)
    codes, predicted = lessons.codes[there], predicted[there]
    if not len(codes):
        return 0.0
    if lessons.kind == "number":
        spread = float(((codes - codes.mean()) ** 2).sum())
        return 1 - float(((codes - predicted) ** 2).sum()) / spread if spread else 0.0
    decided = predicted.argmax(axis=1) if lessons.kind == "choice" else predicted > 0.5
    return float((decided == codes).reshape(len(codes), -1).all(axis=1).mean())


def make_evaluation(name: str) -> Evaluation:
    """The evaluation of this name, or the one that `module:Class` names, made without arguments.

    Raises `ConfigError` for a name that is none.
    """
    if ":" in name:
        made: Evaluation = components.make(name)
        return made
    if name != Folds.name:
        raise ConfigError(f'model.evaluation: {unknown_name("evaluation", name, [Folds.name])} Or give "module:Class".')
    return Folds()


def _free(lessons: Lessons) -> Places:
    """Places that may be held out: of a choice not those of groups that are the only ones with some class."""
    if lessons.kind != "choice":
        return np.arange(len(lessons))
    pairs = np.unique(np.column_stack([lessons.codes, lessons.groups]), axis=0)
    classes, count = np.unique(pairs[:, 0], return_counts=True)
    lonely = pairs[np.isin(pairs[:, 0], classes[count == 1]), 1]
    return np.flatnonzero(~np.isin(lessons.groups, lonely))


def _split(lessons: Lessons, free: Places, k: int, rng: np.random.Generator) -> list[Fold]:
    """k folds of whole groups: dealt out in turn, of a choice sorted by their first item's class."""
    groups, first, member = np.unique(lessons.groups[free], return_index=True, return_inverse=True)
    order = rng.permutation(len(groups))
    if lessons.kind == "choice":
        order = order[np.argsort(lessons.codes[free][first][order], kind="stable")]
    fold = np.full(len(lessons), -1)
    dealt = np.empty(len(groups), dtype=np.int64)
    dealt[order] = np.arange(len(groups)) % k
    fold[free] = dealt[member]
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(k)]
