"""Scores with their intervals, and the bounds that a claim is tested by.

Only test items belong here. Accuracy, also of several classes at once, has exact (Clopper-Pearson) bounds, and the
mean absolute error of numbers between finite bounds has guaranteed ones: they can be certified. All others have a
Bayesian bootstrap, and can at most be called likely. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from ..errors import ConfigError, unknown_name
from ..tasks import MultiLabel, Number, Task
from .bounds import (
    fewest_right,
    lower_bound,
    mean_lower_bound,
    mean_upper_bound,
    more_to_certify,
    posterior,
    upper_bound,
)
from .classes import Accuracy, MacroF1, SetF1, macro, micro
from .numbers import number_metric
from .reading import WRONG, Claim, Codes, Metric, Reading

__all__ = [
    "METRICS",
    "WRONG",
    "Accuracy",
    "Claim",
    "Codes",
    "MacroF1",
    "Metric",
    "Reading",
    "fewest_right",
    "lower_bound",
    "mean_lower_bound",
    "mean_upper_bound",
    "metric_for",
    "more_to_certify",
    "posterior",
    "truth_codes",
    "upper_bound",
]

METRICS: Final[Mapping[str, Metric]] = {"accuracy": Accuracy(), "macro_f1": MacroF1()}
"""Metrics of one class per item, by name; `metric_for` knows those of every kind of label."""

_OF_SETS: Final[Mapping[str, Metric]] = {
    "subset_accuracy": Accuracy(),
    "micro_f1": SetF1(micro),
    "macro_f1": SetF1(macro),
}


def metric_for(task: Task, name: str) -> Metric:
    """The metric of this name for this task's labels; `ConfigError` lists those that the task allows."""
    if name not in task.metrics:
        raise ConfigError(unknown_name("target.metric", name, task.metrics))
    if isinstance(task, Number):
        return number_metric(name, task)
    return _OF_SETS[name] if isinstance(task, MultiLabel) else METRICS[name]


def truth_codes(task: Task, labels: Sequence[str | None]) -> Codes:
    """Codes of test items' labels; where there is none, `WRONG` for each class, or NaN for a number."""
    codes = task.encode([label for label in labels if label is not None])
    empty = np.nan if codes.dtype.kind == "f" else WRONG
    truth = np.full((len(labels), *codes.shape[1:]), empty, dtype=codes.dtype)
    truth[[label is not None for label in labels]] = codes
    return truth
