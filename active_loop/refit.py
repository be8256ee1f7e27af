"""What a certificate is worth for another model: one that learned from all answers, those to test items too.

A look proves something of one model. Another one that predicts the same on all but a share d of the items has at least
the accuracy of the first less d, whatever the labels are. How large d can be is seen on reserved items that nobody
answered, so that neither model has learned from them; no label is needed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .domain import Look
from .evaluate import upper_bound
from .language import say

METRICS = ("accuracy", "subset_accuracy")
"""Metrics that lose at most d when predictions change on a share d of the items."""


@dataclass(frozen=True, slots=True)
class Refit:
    """A model trained on `n_labels` labels after the end, beside the certified one.

    It predicts something else on `differing` of `n` items that neither learned from; with an error of `level`, on at
    most a share `apart` of all, and so it has at least `bound`. `obstacle` says why nothing can be said ("" if it can).
    """

    look: int
    n_labels: int
    n: int
    differing: int
    level: float
    apart: float
    bound: float
    target: float
    obstacle: str = ""

    @property
    def certified(self) -> bool:
        """Whether the target is proven for this model as well."""
        return not self.obstacle and self.bound >= self.target

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Refit:
        """What `as_dict` wrote."""
        return cls(**body)


def refit(look: Look, n_labels: int, differing: int, n: int) -> Refit:
    """The certificate of a look carried over; its level is that of a next look, which will not come."""
    level = look.level / 2
    apart = upper_bound(differing, n, level)
    return Refit(look.number, n_labels, n, differing, level, apart, look.bound - apart, look.target)


def obstacle(look: Look, n: int) -> str:
    """Why the certificate cannot be carried over to any other model; empty if it may be."""
    if look.metric == "found":
        return say("what people found is no model's work")
    if look.metric not in METRICS:
        return say("what {metric} loses when predictions change is not bounded by their share", metric=look.metric)
    return "" if n else say("every reserved item has an answer")
