"""Which strategy when: coverage as long as the model knows little, then the items that it cannot decide.

With few labels, the rows that a model is unsure of are many and alike, and a choice among them has to cover the pool as
well; with many labels they are few, and asking there is best (Hacohen, Dekel and Weinshall 2022, "Active learning on
a budget: opposite strategies suit high and low budgets"). Nothing here scores a row itself: it picks the strategy that
does, from what the view shows, and writes into every `why` which one it was and for what reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from query_strategies.base import PoolStrategy, Selection, make
from query_strategies.pool import PoolView, StrategyError

PER_CLASS = 32
"""Labels for each of three classes or more from which on coverage gains nothing over asking what is unsure."""

PER_CLASS_OF_TWO = 8
"""The same for each of two classes, one of which may be rare: there coverage soon costs what it gained."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A strategy by name, and the reason for it in words."""

    strategy: str
    reason: str

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        selection = make(self.strategy).query(view, n, rng)
        own = {"strategy": self.strategy, "because": self.reason}
        return Selection(selection.rows, selection.utilities, tuple({**own, **why} for why in selection.why))


class Phased(PoolStrategy):
    """One strategy until there are `per_class` labels for each class, then another; k-means before the first label.

    `early` should cover the pool (`uncertainty_herding`, `kmeans`, `typiclust`), `late` should ask where the model is
    unsure (`margin`, `cluster_margin`, `badge`). Every `why` says which of them chose, and why it was its turn.
    """

    name = "phased"
    needs = frozenset({"proba", "X", "labels"})

    def __init__(
        self, *, early: str = "uncertainty_herding", late: str = "margin", per_class: int = 8, seed: int = 0
    ) -> None:
        super().__init__(seed=seed)
        self.early = early
        self.late = late
        self.per_class = per_class
        if not isinstance(per_class, int) or per_class < 1:
            raise StrategyError(f"per_class is {per_class!r}: give a whole number of labels, 1 or more.")
        # Made here too, so that what will not work says so before the first label.
        phases = (make(early), make(late))
        self.needs = self.needs.union(*(phase.needs for phase in phases))
        self.needs_members = max(phase.needs_members for phase in phases)
        self.tasks = self.tasks.intersection(*(phase.tasks for phase in phases))
        if not self.tasks:
            raise StrategyError(f"{self.name} follows the classes of a choice, and {early} or {late} chooses for none.")

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, chosen by the strategy whose turn it is."""
        labels, wanted = np.asarray(view.labelled_y).shape[0], self.per_class * _n_classes(view)
        if labels == 0:
            plan = _Plan("kmeans", "nothing is labelled yet")
        elif labels < wanted:
            plan = _Plan(self.early, f"{labels} labels, fewer than {wanted} ({self.per_class} for each class)")
        else:
            plan = _Plan(self.late, f"{labels} labels, at least {wanted} ({self.per_class} for each class)")
        return plan.choose(view, n, rng)


class Auto(PoolStrategy):
    """The default: what measured best for this kind of label and so many labels.

    A choice: k-means as long as nothing is labelled; `uncertainty_herding` while there are fewer than 32 labels for
    each class, or 8 for each of two; `margin` from then on. Several labels at once: `label_entropy_mean`; a number:
    `k_center` and a random choice by turns; both after k-means. Every `why` says which strategy chose, and why it was
    its turn.
    """

    name = "auto"
    needs = frozenset({"proba", "X", "labels"})
    tasks = frozenset({"choice", "multi_label", "number"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """n rows, chosen by the strategy that fits."""
        return _plan(view).choose(view, n, rng)


def _plan(view: PoolView) -> _Plan:
    labels = len(np.asarray(view.labelled_y))
    if labels == 0:
        return _Plan("kmeans", "nothing is labelled yet")
    if view.task != "choice":
        return _LATER[view.task]
    n_classes = _n_classes(view)
    per_class = PER_CLASS if n_classes > 2 else PER_CLASS_OF_TWO
    wanted = per_class * n_classes
    if labels < wanted:
        return _Plan("uncertainty_herding", f"{labels} labels, fewer than {wanted} ({per_class} for each class)")
    return _Plan("margin", f"{labels} labels, at least {wanted} ({per_class} for each class)")


_LATER = {
    "multi_label": _Plan("label_entropy_mean", "several labels at once"),
    "number": _Plan("mixture(k_center, share=0.5)", "a number"),
}


def _n_classes(view: PoolView) -> int:
    return max(2, len(view.classes) or len(np.unique(np.asarray(view.labelled_y))))
