"""Scores with their intervals, and the bounds that a claim is tested by.

Only test items belong here. A metric can be certified if it has a bound that holds whatever the data: exact ones of
shares (Clopper-Pearson), guaranteed ones of means of bounded numbers and of ratios of such means. All others have a
posterior, and can at most be called likely. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from ..settings import TargetSettings, measure, positive_class
from ..tasks import MultiLabel, Number, SingleChoice, Task
from .bounds import (
    anytime_bound,
    evidence,
    fewest_right,
    lower_bound,
    mean_lower_bound,
    mean_upper_bound,
    more_to_certify,
    posterior,
    proven_after,
    ratio_lower_bound,
    upper_bound,
)
from .classes import BalancedAccuracy, FBeta, MacroF1, MicroF1, SetF1, macro, micro
from .found import Search, draws_needed
from .idle import ENOUGH, doubt, shares_of
from .means import brier, label_accuracy, log_loss
from .numbers import number_metric
from .ranking import AUC, AveragePrecision, WorkSaved
from .reading import WRONG, Claim, Codes, Metric, Reading
from .shares import accuracy, f1, precision, recall

__all__ = [
    "ENOUGH",
    "WRONG",
    "Claim",
    "Codes",
    "Metric",
    "Reading",
    "Search",
    "anytime_bound",
    "doubt",
    "draws_needed",
    "evidence",
    "fewest_right",
    "lower_bound",
    "mean_lower_bound",
    "mean_upper_bound",
    "metric_for",
    "more_to_certify",
    "posterior",
    "proven_after",
    "ratio_lower_bound",
    "shares_of",
    "truth_codes",
    "upper_bound",
]

_OF_CHOICES: Final[Mapping[str, Callable[[SingleChoice], Metric]]] = {
    "accuracy": accuracy,
    "balanced_accuracy": BalancedAccuracy,
    "macro_f1": MacroF1,
    "log_loss": log_loss,
    "brier": brier,
}

_OF_ONE_CLASS: Final[Mapping[str, Callable[[SingleChoice, int], Metric]]] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "f2": lambda task, positive: FBeta(task, positive, 2.0),
    "f0.5": lambda task, positive: FBeta(task, positive, 0.5),
    "auc": AUC,
    "average_precision": AveragePrecision,
    "wss95": WorkSaved,
}

_OF_SETS: Final[Mapping[str, Callable[[MultiLabel], Metric]]] = {
    "subset_accuracy": accuracy,
    "label_accuracy": label_accuracy,
    "micro_f1": lambda task: MicroF1(task, micro),
    "macro_f1": lambda task: SetF1(task, macro),
}


def metric_for(task: Task, target: TargetSettings) -> Metric:
    """The metric of a target for this task's labels.

    Raises `ConfigError` for one that such labels do not have, and for a class that there is not; `TypeError` for the
    metric of a search, which is about people and not about predictions.
    """
    name = target.metric
    known = measure(task.kind, name)
    if known.of_search:
        raise TypeError(f"{name} is not read off predictions")
    of_one_class = known.of_one_class
    if isinstance(task, Number):
        return number_metric(name, task)
    if isinstance(task, MultiLabel):
        return _OF_SETS[name](task)
    if not isinstance(task, SingleChoice):
        raise TypeError(f"no metrics are known for a task of the kind {task.kind}")
    if of_one_class:
        return _OF_ONE_CLASS[name](task, task.classes.index(positive_class(target, task.classes)))
    return _OF_CHOICES[name](task)


def truth_codes(task: Task, labels: Sequence[str | None]) -> Codes:
    """Codes of test items' labels; where there is none, `WRONG` for each class, or NaN for a number."""
    codes = task.encode([label for label in labels if label is not None])
    empty = np.nan if codes.dtype.kind == "f" else WRONG
    truth = np.full((len(labels), *codes.shape[1:]), empty, dtype=codes.dtype)
    truth[[label is not None for label in labels]] = codes
    return truth
