"""Pools for tests of strategies: every need met, for every kind of label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from query_strategies import PoolStrategy, PoolView, Selection

Reals = NDArray[np.float64]

N, MEMBERS, CLASSES = 61, 3, ("ham", "spam", "other")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def features(n: int = N, seed: int = 0) -> Reals:
    """Three clusters; about a third of the numbers are 0, so that csr rows have gaps."""
    draw = rng(seed)
    X = draw.normal(size=(n, 6)) + 4 * draw.integers(0, 3, size=(n, 1))
    X[draw.random(X.shape) < 0.3] = 0
    return X


def ids_of(n: int = N) -> NDArray[np.uint64]:
    return rng(99).integers(2**64, size=n, dtype=np.uint64)


def dense(X: Any) -> Reals:
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)


def predict(X: Any) -> Reals:
    """Member predictions that depend on nothing but the row: (MEMBERS, rows, 3)."""
    numbers = dense(X)
    return np.stack([softmax(numbers[:, member : member + 3] / (1 + member)) for member in range(MEMBERS)])


def predict_labels(X: Any) -> Reals:
    """(MEMBERS, rows, 3) probabilities of three labels that may stand together."""
    numbers = dense(X)
    return np.stack([1 / (1 + np.exp(2 - numbers[:, member : member + 3] / (1 + member))) for member in range(MEMBERS)])


def predict_number(X: Any) -> Reals:
    """(MEMBERS, rows) numbers."""
    numbers = dense(X)
    return np.stack([numbers[:, member] - numbers[:, member + 3] / (1 + member) for member in range(MEMBERS)])


def softmax(logits: Reals) -> Reals:
    terms = [np.exp(logits[:, column]) for column in range(logits.shape[1])]
    total = terms[0] + terms[1] + terms[2]
    return np.stack([term / total for term in terms], axis=1)


PREDICT = {"choice": predict, "multi_label": predict_labels, "number": predict_number}


def labels_of(task: str, n: int) -> NDArray[Any]:
    """n labels of this kind, the same every time."""
    if task == "choice":
        return np.arange(n) % 3
    if task == "multi_label":
        return (np.arange(n)[:, None] + np.arange(3)) % 2
    return np.arange(n) / 2.0


def bare_view(X: Any, ids: NDArray[np.uint64] | None = None, **more: Any) -> PoolView:
    """A pool without anything labelled."""
    return PoolView(ids_of(X.shape[0]) if ids is None else ids, X, **{"predict": predict, "classes": CLASSES, **more})


def view_of(X: Any, ids: NDArray[np.uint64] | None = None, task: str = "choice", **more: Any) -> PoolView:
    """A pool that offers all that a strategy can need: five labelled rows, costs, and a model that can be refitted."""
    named = ids_of(X.shape[0]) if ids is None else ids
    labelled = features(5, seed=1)
    options = {
        "predict": PREDICT[task],
        "classes": () if task == "number" else CLASSES,
        "labelled_X": labelled,
        "labelled_y": labels_of(task, 5),
        "cost": 5.0 + np.asarray(named % np.uint64(17), dtype=np.float64),
        "fit_predict": refit(X, labelled),
    }
    return PoolView(named, X, task=task, **{**options, **more})


def refit(X: Any, labelled: Reals) -> Any:
    """A model of class means, whose numbers do not depend on how rows are cut into blocks."""
    numbers = dense(X)

    def fit_predict(rows: NDArray[np.int64], codes: NDArray[Any]) -> Any:
        known, y = np.vstack([labelled, numbers[rows]]), np.concatenate([labels_of("choice", 5), codes])
        centres = [known[y == code].mean(axis=0) for code in range(3)]
        return lambda block: softmax(
            np.stack([-((dense(block) - centre) ** 2).sum(axis=1) / 20 for centre in centres], axis=1)
        )[None]

    return fit_predict


def asked(strategy: PoolStrategy, view: PoolView, n: int, seed: int = 0) -> Selection:
    return strategy.query(view, n, rng(seed))
