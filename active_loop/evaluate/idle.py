"""Whether a target says anything: what a model that has learned nothing would reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ..settings import METRICS, TargetSettings, positive_class
from ..tasks import SingleChoice, Task

ENOUGH: Final = 20
"""Known answers from which on their shares are worth a word."""

_BETA: Final = {"f1": 1.0, "f2": 2.0, "f0.5": 0.5}


def doubt(task: Task, target: TargetSettings, shares: Mapping[str, float]) -> str:
    """A sentence if the target of a choice can be reached without learning anything, else empty.

    `shares` says how much of the data each class makes up; it is empty where that is not known.

    >>> doubt(SingleChoice(("ham", "spam")), TargetSettings(value=0.9), {"ham": 0.96, "spam": 0.04})
    'Always answering "ham" would reach accuracy 0.96 already: choose balanced_accuracy, or f1 of "spam".'
    >>> doubt(SingleChoice(("ham", "spam")), TargetSettings(value=0.9), {"ham": 0.6, "spam": 0.4})
    ''
    """
    if not isinstance(task, SingleChoice) or METRICS[target.metric].of_search:
        return ""
    metric, known = METRICS[target.metric], [shares.get(name, 0.0) for name in task.classes]
    positive = task.classes.index(positive_class(target, task.classes)) if metric.of_one_class else None
    how, value = _idle(task.classes, target.metric, positive, known)
    if math.isnan(value) or (value > target.value if metric.error else value < target.value):
        return ""
    rarest = positive if positive is not None and not any(known) else known.index(min(known))
    better = [f'f1 of "{task.classes[rarest]}"'] if (target.metric, positive) != ("f1", rarest) else []
    better = ["balanced_accuracy"] * (target.metric != "balanced_accuracy") + better
    return f"{how} would reach {metric.words} {value:.2f} already: choose {', or '.join(better)}."


def shares_of(known: Mapping[str, int]) -> dict[str, float]:
    """How much of the known answers each class makes up; empty if they are too few to say so."""
    n = sum(known.values())
    return {name: count / n for name, count in known.items()} if n >= ENOUGH else {}


def _idle(classes: Sequence[str], name: str, positive: int | None, shares: Sequence[float]) -> tuple[str, float]:
    """An answer that needs no learning, and the metric that it reaches; NaN where that rests on unknown shares."""
    unknown = not any(shares)
    always = 'Always answering "{}"'
    if positive is not None:
        share = math.nan if unknown else shares[positive]
        if name in ("auc", "wss95"):
            return "An order by chance", 0.5 if name == "auc" else 0.0
        if name == "average_precision":
            return "An order by chance", share
        good = (1 + _BETA.get(name, 1.0) ** 2) * share
        value = {"recall": 1.0, "precision": share}.get(name, good / (good + 1 - share))
        return always.format(classes[positive]), value
    most = math.nan if unknown else max(shares)
    likeliest = always.format(classes[shares.index(max(shares))])
    if name == "balanced_accuracy":
        return likeliest, 1 / len(classes)
    if name in ("log_loss", "brier"):
        surprise = -sum(share * math.log(share) for share in shares if share)
        spread = sum(share * (1 - share) for share in shares) / (2 if len(classes) == 2 else 1)
        value = math.nan if unknown else surprise if name == "log_loss" else spread
        return "Answering with the shares of the classes", value
    return likeliest, most if name == "accuracy" else 2 * most / (1 + most) / len(classes)
