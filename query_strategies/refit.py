"""Choices by trying: what would the model be, if this row had that label?

Every candidate costs one fit per class, so only a sample of the pool is tried. What was not tried has no utility, and
comes after everything that has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator

from query_strategies.base import PoolStrategy, Selection, TieKeys, tie_keys, top_n
from query_strategies.geometry import Reals, sampled
from query_strategies.pool import Floats, MissingNeedError, PoolView, Rows, StrategyError
from query_strategies.uncertainty import entropy

LOSSES = ("log", "0/1")


class ExpectedErrorReduction(PoolStrategy):
    """Utility: how far the expected loss after this answer is below that of a model that knows nothing.

    Experimental. Roy and McCallum (2001), "Toward optimal active learning through sampling estimation of error
    reduction", §3. The model is fitted again with the row and each class it could have; the loss of that model is
    estimated on the pool by its own probabilities q, and weighted by the present model's probability of the class.
    `loss="log"`: the mean of -Σ q ln q, against ln C. `loss="0/1"`: the mean of 1 - max q, against 1 - 1/C. The order
    is that of the expected loss, lowest first. Rows of a batch are rated one by one: two copies have the same utility.

    `candidates` rows of the pool are rated, each by the other ones of `reference` rows of the pool; both are random
    samples where the pool is larger. Rows that were not rated come last, in a random order, with utility 0 and
    a `why` that says so. Cost: candidates x C fits, and as many predictions for the reference rows; classes of
    probability 0 are left out. With one class nothing can be expected: no fit, and a random order. Raises
    `StrategyError` for another loss, for candidates below 1 and for reference below 2.
    """

    name = "expected_error_reduction"
    needs = frozenset({"proba", "refit"})

    def __init__(self, *, loss: str = "log", candidates: int = 100, reference: int = 500, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if loss not in LOSSES:
            raise StrategyError(f'unknown loss "{loss}" of {self.name}. Known: {", ".join(LOSSES)}.')
        for option, size, least in (("candidates", candidates, 1), ("reference", reference, 2)):
            if size < least:
                raise StrategyError(f"{option} of {self.name} is {size}: give at least {least}.")
        self.loss = loss
        self.candidates = candidates
        self.reference = reference

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n rated rows of lowest expected loss, then rows that were not rated."""
        keys = tie_keys(view, rng)
        candidates, reference = sampled(view, self.candidates, rng), sampled(view, self.reference, rng)
        proba = view.predictions(candidates).mean(axis=0)
        if proba.shape[1] == 1:
            candidates, proba = candidates[:0], proba[:0]
        nothing_known = np.log(proba.shape[1]) if self.loss == "log" else 1 - 1 / proba.shape[1]
        losses = self._expected_losses(view, candidates, proba, reference)
        utilities = np.maximum(nothing_known - losses, 0)
        best = top_n(utilities, n, candidates, keys)
        now = float(self._losses(view.predictions(reference)).mean())
        why: list[Mapping[str, Any]] = [{"expected_loss": float(losses[i]), "loss_now": now} for i in best]
        rows, rest = candidates[best], n - best.size
        if rest:
            rows = np.concatenate([rows, _others(view, candidates, keys)[:rest]])
            why += [{"rated": False, "drawn": "at random: it was not among the rows that were rated"}] * rest
        return Selection(rows, np.concatenate([utilities[best], np.zeros(rest)]), tuple(why))

    def _expected_losses(self, view: PoolView, candidates: Rows, proba: Floats, reference: Rows) -> Reals:
        """(candidates,) Σ p(class) · mean loss on the other rows, once the model was fitted with that class."""
        fit_predict = view.fit_predict
        if fit_predict is None:
            raise MissingNeedError(f"{self.name} needs a way to train on more labels (fit_predict=...).")
        rows, places = view.X(reference), np.arange(reference.size)
        losses = np.zeros(candidates.size)
        for i, code in np.argwhere(proba > 0):
            predict = fit_predict(candidates[i : i + 1], np.array([code]))
            fitted = PoolView(places, rows, predict=predict, classes=view.classes)
            others = self._losses(fitted.predictions(places))[reference != candidates[i]]
            losses[i] += proba[i, code] * others.sum() / max(1, others.size)
        return losses

    def _losses(self, predictions: Floats) -> Reals:
        """(rows,) the loss of predictions (members, rows, C) by their own mean."""
        proba = predictions.mean(axis=0, dtype=np.float64)
        return entropy(proba.T).astype(np.float64) if self.loss == "log" else 1 - proba.max(axis=1)


def _others(view: PoolView, candidates: Rows, keys: TieKeys) -> Rows:
    """All rows that are no candidates, in a seeded order."""
    others = np.setdiff1d(np.arange(view.n), candidates)
    in_order: Rows = others[np.argsort(keys(others), kind="stable")]
    return in_order
