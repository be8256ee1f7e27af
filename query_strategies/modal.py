"""The door for modAL: a learner and a pool in, a `PoolView` out.

modAL calls a query strategy with its learner (or committee) and a pool matrix. What it knows is read here by the names
of its attributes, so that nothing has to be imported: any object with `predict_proba` will do. Its labelled rows are
`X_training` and `y_training`; a committee keeps none itself, so they are read from its first member.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from query_strategies.pool import Floats, Matrix, PoolView, PredictionError, as_rows, is_sparse


def labelled_count(learner: Any) -> int:
    """How many labelled rows the learner holds; 0 when it holds none, or does not say."""
    known = _training(learner).X_training if hasattr(_training(learner), "X_training") else None
    return 0 if known is None else _n_rows(known)


def learner_view(learner: Any, X: Matrix, *, features: bool, proba: bool) -> PoolView:
    """The pool as this learner sees it: its predictions for X if wanted, its labelled rows if it has any.

    With `features`, distances are taken in X, or, for a learner made with `on_transformed=True`, in what its pipeline
    makes of X. The learner predicts all of X in one call, as modAL would have it.
    """
    changed = features and getattr(learner, "on_transformed", False)
    space = learner.transform_without_estimating if changed else _unchanged
    known = getattr(_training(learner), "X_training", None) if features else None
    labelled = None if known is None else _table(space(known))
    rows = _table(space(X))
    if not proba:
        return PoolView(None, rows, labelled_X=labelled)
    predictions = _predictions(learner, X)
    return PoolView.from_predictions(None, predictions, X=rows, classes=_classes(learner), labelled_X=labelled)


def _training(learner: Any) -> Any:
    members = getattr(learner, "learner_list", None)
    return members[0] if members else learner


def _unchanged(X: Matrix) -> Matrix:
    return X


def _table(X: Matrix) -> Matrix:
    """X with two dimensions, so that its rows can be picked and told apart whatever they are."""
    rows = as_rows(X)
    return rows if is_sparse(rows) else rows.reshape(len(rows), -1)


def _n_rows(X: Matrix) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _predictions(learner: Any, X: Matrix) -> Floats:
    """(members, n, C) probabilities; uniform over two classes as long as nothing was fitted."""
    ask = getattr(learner, "vote_proba", None) or _proba_of(learner)
    try:
        answer = np.asarray(ask(X))
    except NotFittedError as error:
        members = getattr(learner, "learner_list", [learner])
        if any(getattr(member, "X_training", None) is not None for member in members):
            raise PredictionError("some members of the committee were fitted and some not: fit all of them.") from error
        return np.full((_n_members(learner), _n_rows(X), 2), 0.5)
    return answer.swapaxes(0, 1) if hasattr(learner, "vote_proba") else answer[None]


def _proba_of(learner: Any) -> Any:
    estimator = getattr(learner, "estimator", learner)
    if not hasattr(estimator, "predict_proba") and not hasattr(type(learner), "vote_proba"):
        raise PredictionError(
            f"{type(estimator).__name__} has no predict_proba: use an estimator that gives probabilities, "
            "for instance SVC inside CalibratedClassifierCV."
        )
    return learner.predict_proba


def _n_members(learner: Any) -> int:
    return len(getattr(learner, "learner_list", "1"))


def _classes(learner: Any) -> tuple[Any, ...]:
    estimator = getattr(learner, "estimator", learner)
    known = getattr(estimator, "classes_", None)
    return () if known is None else tuple(np.asarray(known).tolist())
