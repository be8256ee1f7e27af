"""A fitted learner in parts that can be written to a file, and put together again without what fitted it.

What is kept is what predicts: the estimators, and of the labels so much as says what is predicted where there was
nothing to learn. No row that was learned from is among it, unless an estimator keeps some itself; nor is modAL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ..errors import TrainingError
from .committee import ESTIMATOR_FAULTS, CommitteeLearner
from .estimators import Estimator, Trees, deal
from .labelled import Choices, Labelled, LabelSets, Numbers
from .machines import Matrix, Reals


def taken_apart(learner: CommitteeLearner) -> dict[str, Any]:
    """The parts of a fitted learner: dicts, lists, arrays, and scikit-learn estimators. `put_together` takes them."""
    members = learner._members
    forests = [member.estimator.forest for member in members if isinstance(member.estimator, Trees)]
    return {
        "n_classes": len(learner.classes),
        "labels": [_labels(member.rows) for member in members],
        "estimators": [] if forests else [member.estimator for member in members],
        "forest": forests[0] if forests else None,
    }


def put_together(kept: Mapping[str, Any]) -> Carried:
    """The learner that was `taken_apart`: it predicts the same, bit for bit, of the same rows."""
    labels, forest = kept["labels"], kept["forest"]
    estimators = deal(forest, len(labels)) if forest is not None else kept["estimators"]
    rows = [_rows(each, kept["n_classes"]) for each in labels]
    return Carried(tuple(zip(rows, estimators, strict=True)))


@dataclass(frozen=True, slots=True)
class Carried:
    """Members that were fitted elsewhere: the labels of each without their rows, and its estimator, if it has one."""

    members: Sequence[tuple[Labelled, Estimator | None]]

    def member_predictions(self, X: Matrix) -> Reals:
        """See `Learner.member_predictions`."""
        with threadpool_limits(1):
            try:
                return np.stack([_predicted(rows, estimator, X) for rows, estimator in self.members])
            except ESTIMATOR_FAULTS as error:
                raise TrainingError(f"the model cannot predict {X.shape[0]} rows: {error}") from error


def _predicted(rows: Labelled, estimator: Estimator | None, X: Matrix) -> Reals:
    return rows.untaught(int(X.shape[0])) if estimator is None else rows.predictions(estimator, X)


def _labels(rows: Labelled) -> dict[str, Any]:
    match rows:
        case LabelSets():
            return {"kind": "multi_label", "values": np.asarray(rows.present)}
        case Numbers():
            return {"kind": "number", "values": np.asarray(rows.values)}
    return {"kind": "choice", "values": None}


def _rows(labels: Mapping[str, Any], n_classes: int) -> Labelled:
    nowhere = np.empty((0, 0))
    match labels["kind"]:
        case "multi_label":
            return LabelSets(nowhere, labels["values"])
        case "number":
            return Numbers(nowhere, labels["values"])
    return Choices.nothing(n_classes)
