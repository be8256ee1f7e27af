"""The door for modAL: a learner and a pool in, a `PoolView` out.

modAL calls a query strategy with its learner (or committee) and a pool matrix. What it knows is read here by the names
of its attributes, so that nothing has to be imported: any object with `predict_proba` will do. Its labelled rows are
`X_training` and `y_training`; a committee keeps none itself, so they are read from its first member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from query_strategies.pool import Floats, PoolView, Predict, PredictionError, Rows
from query_strategies.rows import Matrix, as_rows, is_sparse


def labelled_count(learner: Any) -> int:
    """How many labelled rows the learner holds; 0 when it holds none, or does not say."""
    known = getattr(_training(learner), "X_training", None)
    return 0 if known is None else _n_rows(known)


def learner_view(learner: Any, X: Matrix, needs: frozenset[str], tasks: frozenset[str]) -> PoolView:
    """The pool as this learner sees it: what a strategy with these needs looks at, and nothing else.

    With features, distances are taken in X, or, for a learner made with `on_transformed=True`, in what its pipeline
    makes of X. The learner predicts all of X in one call, as modAL would have it. Of several tasks that the strategy
    could choose for, it is a choice.
    """
    task = "choice" if "choice" in tasks else min(tasks)
    seen = needs & {"X", "labels", "refit"}
    changed = seen and getattr(learner, "on_transformed", False)
    space = learner.transform_without_estimating if changed else _unchanged
    known = getattr(_training(learner), "X_training", None) if seen else None
    rows, classes = _table(space(X)), _classes(learner)
    more: dict[str, Any] = {"classes": classes, "task": task}
    if known is None and "labels" in needs:
        more["labelled_X"], more["labelled_y"] = rows[:0], np.empty(0, dtype=np.int64)
    if known is not None:
        more["labelled_X"] = _table(space(known))
        more["labelled_y"] = _labels(_training(learner).y_training, classes, task)
    if "refit" in needs and known is not None:
        more["fit_predict"] = _refit(learner, known, X, classes)
    if "votes" in needs and task == "choice" and _votes_by_number(learner):
        votes = _votes(learner, X, classes)
        if votes is not None:
            return PoolView.from_votes(None, votes, X=rows, **more)
    if not needs & {"proba", "votes"}:
        return PoolView(None, rows, **more)
    return PoolView.from_predictions(None, _PREDICTIONS[task](learner, X), X=rows, **more)


def _training(learner: Any) -> Any:
    members = getattr(learner, "learner_list", None)
    return members[0] if members else learner


def _members(learner: Any) -> list[Any]:
    return list(getattr(learner, "learner_list", [learner]))


def _unchanged(X: Matrix) -> Matrix:
    return X


def _table(X: Matrix) -> Matrix:
    """X with two dimensions, so that its rows can be picked and told apart whatever they are."""
    rows = as_rows(X)
    return rows if is_sparse(rows) else rows.reshape(len(rows), -1)


def _n_rows(X: Matrix) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _labels(y: Any, classes: tuple[Any, ...], task: str) -> NDArray[Any]:
    """Labels as a strategy sees them: class codes of a choice, anything else as it is."""
    labels = np.asarray(y)
    return np.searchsorted(np.asarray(classes), labels) if task == "choice" and classes else labels


def _choice(learner: Any, X: Matrix) -> Floats:
    """(members, n, C) probabilities; uniform over two classes as long as nothing was fitted."""
    ask = getattr(learner, "vote_proba", None) or _proba_of(learner)
    answer = _asked(learner, ask, X)
    if answer is None:
        return np.full((_n_members(learner), _n_rows(X), 2), 0.5)
    table = np.asarray(answer)
    return table.swapaxes(0, 1) if hasattr(learner, "vote_proba") else table[None]


def _multi_label(learner: Any, X: Matrix) -> Floats:
    """(members, n, L) probabilities that each label is there; 0.5 for one label as long as nothing was fitted."""
    tables = [_asked(learner, _proba_of(member), X) for member in _members(learner)]
    if tables[0] is None:
        return np.full((len(tables), _n_rows(X), 1), 0.5)
    # An estimator of several outputs gives a list with a table (n, 2) for each, one that decides label by label (n, L).
    return np.stack(
        [np.stack([each[:, -1] for each in table], axis=1) if isinstance(table, list) else table for table in tables]
    )


def _number(learner: Any, X: Matrix) -> Floats:
    """(members, n) predicted numbers; all 0 as long as nothing was fitted.

    A model that knows its standard deviation s, such as a Gaussian process, stands for two members: mean - s, mean + s.
    """
    members = _members(learner)
    if len(members) == 1 and hasattr(getattr(learner, "estimator", learner), "predict"):
        certain = _asked(learner, lambda rows: _with_deviation(learner, rows), X)
        return np.zeros((2, _n_rows(X))) if certain is None else certain
    tables = [_asked(learner, member.predict, X) for member in members]
    return np.stack([np.zeros(_n_rows(X)) if table is None else np.asarray(table).reshape(-1) for table in tables])


def _with_deviation(learner: Any, X: Matrix) -> Floats:
    try:
        mean, deviation = learner.predict(X, return_std=True)
    except TypeError:
        return np.asarray(learner.predict(X), dtype=np.float64).reshape(1, -1)
    return np.stack([mean - deviation, mean + deviation])


_PREDICTIONS: dict[str, Callable[[Any, Matrix], Floats]] = {
    "choice": _choice,
    "multi_label": _multi_label,
    "number": _number,
}


def _asked(learner: Any, ask: Callable[[Matrix], Any], X: Matrix) -> Any:
    """What the model answers; None as long as nothing was fitted."""
    try:
        return ask(X)
    except NotFittedError as error:
        if any(getattr(member, "X_training", None) is not None for member in _members(learner)):
            raise PredictionError("some members of the committee were fitted and some not: fit all of them.") from error
        return None


def _votes_by_number(learner: Any) -> bool:
    """Whether it is a committee whose votes can be read; modAL's own can vote for numbers only."""
    known = getattr(learner, "classes_", None)
    return hasattr(learner, "vote") and known is not None and np.asarray(known).dtype.kind in "biuf"


def _votes(learner: Any, X: Matrix, classes: tuple[Any, ...]) -> NDArray[np.int64] | None:
    """(members, n) the class code that each member votes for, or None as long as nothing was fitted."""
    votes = _asked(learner, learner.vote, X)
    if votes is None:
        return None
    known = np.asarray(classes)
    cast: NDArray[np.int64] = np.asarray(votes).T
    counted = bool(np.array_equal(known, np.arange(known.size)))
    return cast.astype(np.int64, copy=False) if counted else np.searchsorted(known, cast)


def _refit(learner: Any, known: Matrix, X: Matrix, classes: tuple[Any, ...]) -> Callable[..., Predict]:
    """Clones of the members, fitted on the known rows and some of the pool's."""
    y, estimators = _training(learner).y_training, [getattr(m, "estimator", m) for m in _members(learner)]
    labelled, pool = as_rows(known), as_rows(X)

    def fit_predict(rows: Rows, codes: NDArray[Any]) -> Predict:
        stack = sparse.vstack if is_sparse(pool) else np.concatenate
        more = stack([labelled, pool[rows]])
        labels = np.concatenate([np.asarray(y), np.asarray(classes)[codes]])
        fitted = [clone(estimator).fit(as_rows(more), labels) for estimator in estimators]
        return lambda block: np.stack([_aligned(each, block, classes) for each in fitted])

    return fit_predict


def _aligned(estimator: Any, X: Matrix, classes: tuple[Any, ...]) -> Floats:
    proba = np.zeros((_n_rows(X), len(classes)))
    proba[:, np.searchsorted(np.asarray(classes), estimator.classes_)] = estimator.predict_proba(X)
    return proba


def _proba_of(learner: Any) -> Any:
    estimator = getattr(learner, "estimator", learner)
    if not hasattr(estimator, "predict_proba") and not hasattr(type(learner), "vote_proba"):
        raise PredictionError(
            f"{type(estimator).__name__} has no predict_proba: use an estimator that gives probabilities, "
            "for instance SVC inside CalibratedClassifierCV."
        )
    return learner.predict_proba


def _n_members(learner: Any) -> int:
    return len(_members(learner))


def _classes(learner: Any) -> tuple[Any, ...]:
    """The classes that the learner, or the committee, knows."""
    estimator = getattr(learner, "estimator", learner)
    known = getattr(estimator, "classes_", None)
    return () if known is None else tuple(np.asarray(known).tolist())
