"""How well a candidate would do on items that it has not learned from: cross-validation, with a proper loss per item.

Only what is labelled to learn from is seen here; what comes of it chooses a model and is never reported as its quality.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

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
_CLUSTERS: Final = 10
_HEAVIEST: Final = 10.0
_DIRECTIONS: Final = 32
_ALL_BUT_ONE: Final = 40
"""Labels below which each one is predicted from all the others, once."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Labelled rows X (n, d), their codes (n, …) as the task encodes them, and the group (n,) that each belongs to.

    Rows of one group are never on both sides of a fold. Without groups every row is its own. `pool` (m, d) are rows
    that chance drew from all that may be chosen: by them it is told how far the labelled ones are from a random sample.
    """

    X: Any
    codes: Codes
    kind: str
    classes: tuple[str, ...]
    seed: int
    groups: NDArray[np.int64]
    pool: Any = None
    even: bool = False

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
    as 0.001 at least, so that one item that a model is wrong and sure about does not decide alone. Where classes are to
    count alike it is Brier's score, each class with the same weight in all: −log p is lowest there for models that are
    never sure of a rare class, and so never say it.

    Labels that a strategy chose are not a random sample of what the model will meet. Where the lessons have a `pool`,
    each loss is multiplied by the share of its row's cluster in the pool over that among the labelled rows, 10 at most
    (importance weighting under covariate shift: Sugiyama et al. 2007, section 3), so that the mean weight is 1.
    """

    name = "folds"

    def __init__(self) -> None:
        self._weighed: tuple[Lessons, Reals] | None = None

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
        if self._weighed is None or self._weighed[0] is not lessons:
            self._weighed = lessons, weights(lessons)
        return _losses(lessons, held, predicted) * self._weighed[1][held]


def _losses(lessons: Lessons, held: Places, predicted: Reals) -> Reals:
    truth = lessons.codes[held]
    if lessons.kind == "number":
        return np.asarray((predicted - truth) ** 2, dtype=np.float64)
    if lessons.kind == "choice" and lessons.even:
        count = np.bincount(lessons.codes, minlength=predicted.shape[1])
        share = len(lessons) / (np.count_nonzero(count) * count[truth])
        return np.asarray(((predicted - np.eye(predicted.shape[1])[truth]) ** 2).sum(axis=1) * share, dtype=np.float64)
    if lessons.kind == "multi_label":
        return np.asarray(_surprise(np.where(truth == 1, predicted, 1 - predicted)).mean(axis=1), dtype=np.float64)
    return _surprise(predicted[np.arange(len(held)), truth])


def weights(lessons: Lessons) -> Reals:
    """(n,) how much each labelled row stands for, 1 on average; all 1 without a pool.

    Clusters are found by k-means among the rows of the pool, of sparse ones in their 32 strongest directions.
    """
    if lessons.pool is None or not lessons.pool.shape[0]:
        return np.ones(len(lessons))
    pool, labelled = _clusters(lessons.pool, lessons.X, lessons.seed)
    shares = [np.bincount(each, minlength=_CLUSTERS) / len(each) for each in (pool, labelled)]
    found: Reals = np.minimum(shares[0][labelled] / shares[1][labelled], _HEAVIEST)
    return found / found.mean() if found.any() else np.ones(len(lessons))


def _clusters(pool: Any, X: Any, seed: int) -> tuple[Places, Places]:
    """The cluster of each row of the pool and of X."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with warnings.catch_warnings(), threadpool_limits(1):  # sums over threads differ in their last bits
        warnings.simplefilter("ignore", UserWarning)  # fewer different rows than clusters are fewer clusters
        if issparse(pool):
            if pool.shape[1] > _DIRECTIONS:
                svd = TruncatedSVD(_DIRECTIONS, random_state=seed).fit(pool)
                pool, X = svd.transform(pool), svd.transform(X)
            else:
                pool, X = pool.toarray(), X.toarray()
        means = KMeans(min(_CLUSTERS, len(pool)), n_init=1, random_state=seed).fit(pool)
        return means.predict(pool), means.predict(X)


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
