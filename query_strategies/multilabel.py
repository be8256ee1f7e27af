"""Utilities of several labels at once: how unsure is the model about the set of labels of this row?

Every label has a probability p of its own that it is there; with a committee, the mean of its members. Two strategies
also look at the label sets that people gave before: what they take from these is worked out once per query.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from query_strategies.base import PoolStrategy, ScoreStrategy, Selection, top_classes
from query_strategies.geometry import Reals, row_steps, sampled
from query_strategies.pool import Floats, PoolView, StrategyError
from query_strategies.rows import mix
from query_strategies.strips import by_strips
from query_strategies.uncertainty import added, consensus, entropy

Counts = NDArray[np.int64]

REFERENCE = 2_000
"""Rows among which `cvirs` ranks; a random sample of this size where there are more."""


class _LabelUncertainty(ScoreStrategy):
    """A utility of the probabilities of the labels; `why` names the labels that are nearest to 0.5."""

    tasks = frozenset({"multi_label"})

    @staticmethod
    @abstractmethod
    def kernel(proba: Floats) -> Floats:
        """(rows,) utilities of the probabilities (L, rows)."""

    def utilities(self, predictions: Floats) -> Floats:
        return by_strips(lambda strips: self.kernel(consensus(strips)), predictions)

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {self.name: utility, "labels": top_classes(-_sureness(predictions.mean(axis=0)), view.classes)}


class BinaryMinimum(_LabelUncertainty):
    """Utility 1 - 2 min |p - 0.5|: the decision about one of the labels is a close one.

    Brinker (2006), "On active learning in multi-label classification", with probabilities in place of distances to a
    hyperplane; the confidence of Esuli and Sebastiani (2009), taken at its minimum over the labels. Labels that are
    certain do not count. Rows with the same smallest distance tie, and so do all rows before the first fit.
    """

    name = "binary_minimum"

    @staticmethod
    def kernel(proba: Floats) -> Floats:
        utilities: Floats = 1 - _sureness(proba).min(axis=0)
        return utilities

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        proba = predictions.mean(axis=0)
        sureness = _sureness(proba)
        label = top_classes(-sureness, view.classes, 1)[0]
        return {"label": label, "probability": float(proba[sureness.argmin()])}


class LabelEntropyMean(_LabelUncertainty):
    """Utility: the mean over the labels of the entropy -p ln p - (1 - p) ln (1 - p).

    What a full answer for the row is worth if labels are independent (Shannon 1948), per label. The many labels that
    are nearly certain pull the mean down, in all rows alike. All rows tie before the first fit.
    """

    name = "label_entropy_mean"

    @staticmethod
    def kernel(proba: Floats) -> Floats:
        return added(_entropies(proba)) / len(proba)


class LabelEntropyMax(_LabelUncertainty):
    """Utility: the highest over the labels of the entropy -p ln p - (1 - p) ln (1 - p).

    It ranks as `binary_minimum` does, on the scale of `label_entropy_mean`. All rows tie before the first fit.
    """

    name = "label_entropy_max"

    @staticmethod
    def kernel(proba: Floats) -> Floats:
        utilities: Floats = _entropies(proba).max(axis=0)
        return utilities


class MaxLossReduction(PoolStrategy):
    """Utility Σ (1 - ŷ f) / 2 over the labels, with f = 2p - 1, and ŷ = 1 for the m likeliest labels, -1 for the rest.

    This is the expected number of wrong labels in the answer "the m likeliest": high where labels are unsure, and where
    the probabilities suggest another number of labels than m. Maximum loss reduction with maximal confidence: Yang,
    Sun, Wang and Chen (2009), "Effective multi-label active learning for text classification", §4, with probabilities
    in place of distances to hyperplanes.

    m is predicted as there, by a logistic regression from a row's probabilities, sorted from high to low, to its number
    of labels. It is trained on the labelled rows, which the model itself has seen as well. Where there are no labelled
    rows, or only a table of predictions and no model that could be asked about them (as behind modAL's door), m is the
    expected number of labels Σ p, rounded. Where all labelled rows have the same number of labels, m is that number.
    Equal rows tie; before the first fit all are equal. One pass in blocks, after one prediction for the labelled rows.
    """

    name = "max_loss_reduction"
    needs = frozenset({"proba", "labels"})
    tasks = frozenset({"multi_label"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n rows of highest utility. Raises `StrategyError` where the label sets have another number of labels."""
        return _ExpectedLoss(_label_counter(view)).choose(view, n, rng)


@dataclass(frozen=True, slots=True)
class _LabelCounter:
    """From sorted probabilities to a number of labels: the likeliest of `counts` (k,), by a linear score for each."""

    counts: Counts
    weights: Reals
    intercepts: Reals

    def count(self, ranked: Reals) -> Counts:
        # einsum adds the products of one row in the same order whatever the number of rows.
        scores = np.einsum("ij,kj->ik", ranked, self.weights) + self.intercepts
        counts: Counts = self.counts[scores.argmax(axis=1)]
        return counts


class _ExpectedLoss(ScoreStrategy):
    """The utility of `max_loss_reduction`, once it is known how to tell the number of labels."""

    name = MaxLossReduction.name
    tasks = MaxLossReduction.tasks

    def __init__(self, counter: _LabelCounter | None) -> None:
        super().__init__()
        self.counter = counter

    def utilities(self, predictions: Floats) -> Floats:
        result = np.empty(predictions.shape[1])
        for part in row_steps(*predictions.shape[1:]):
            ranked = _ranked(consensus(predictions[:, part]))
            m = self._labels(ranked)
            within = np.concatenate([np.zeros((len(ranked), 1)), np.cumsum(ranked, axis=1)], axis=1)
            likeliest = np.take_along_axis(within, m[:, None], axis=1)[:, 0]
            result[part] = np.maximum(m + within[:, -1] - 2 * likeliest, 0)
        return result

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        proba = consensus(predictions)
        m = int(self._labels(_ranked(proba[None]))[0])
        return {"expected_wrong": utility, "n_labels": m, "labels": top_classes(proba, view.classes, m)}

    def _labels(self, ranked: Reals) -> Counts:
        if self.counter is not None:
            return self.counter.count(ranked)
        return np.rint(np.cumsum(ranked, axis=1)[:, -1]).astype(np.int64)


def _ranked(proba: Floats) -> Reals:
    """The probabilities (rows, L) from high to low."""
    return np.sort(proba, axis=1)[:, ::-1].astype(np.float64)


def _label_counter(view: PoolView) -> _LabelCounter | None:
    """What the labelled rows tell of the number of labels; None where they tell nothing."""
    predictions = view.predictions_elsewhere(view.labelled_X)
    if predictions is None:
        return None
    counts = _label_sets(view, predictions.shape[2]).sum(axis=1).astype(np.int64)
    if np.unique(counts).size == 1:
        return _LabelCounter(counts[:1], np.zeros((1, predictions.shape[2])), np.zeros(1))
    fit = LogisticRegression(max_iter=1_000).fit(_ranked(consensus(predictions)), counts)
    if len(fit.classes_) > 2:
        return _LabelCounter(fit.classes_, fit.coef_, fit.intercept_)
    # Two numbers share one score: above 0 it is the larger of them.
    return _LabelCounter(
        fit.classes_, np.vstack([-fit.coef_, fit.coef_]), np.concatenate([-fit.intercept_, fit.intercept_])
    )


class CVIRS(PoolStrategy):
    """Utility s · v: how unsure the labels are among all rows, times how unlike the known label sets the answer is.

    Experimental. Category vector inconsistency and ranking of scores: Reyes, Morell and Ventura (2018), "Effective
    active learning strategy for multi-label learning", §3. s joins one ranking per label by Borda's count: the share of
    the other rows whose margin |2p - 1| is wider, averaged over the labels. v is the mean distance of the row's answer
    (the labels with p > 0.5) to the label sets of all labelled rows: the entropy distance (2H(a, b) - H(a) - H(b)) /
    H(a, b) of two sets as strings of zeros and ones; 0 where both strings are constant and equal, and 1 where they
    differ in every label.

    Equal margins count as not wider. Above 2,000 rows, s is taken among a random 2,000. Without labelled rows v is 1.
    A label set given once more weighs once more. Cost of a row: O(L log 2,000) for s and O(L g) for v, g being the
    number of different label sets; steps of bounded memory.
    """

    name = "cvirs"
    needs = frozenset({"proba", "labels"})
    tasks = frozenset({"multi_label"})

    def choose(self, view: PoolView, n: int, rng: Generator) -> Selection:
        """The n rows of highest utility. Raises `StrategyError` where the label sets have another number of labels."""
        sample = consensus(view.predictions(sampled(view, REFERENCE, rng)))
        margins = np.sort(_sureness(sample), axis=0).T
        others = len(sample) - 1 if len(sample) == view.n else len(sample)
        sets, times = np.unique(_label_sets(view, len(margins)), axis=0, return_counts=True)
        return _RankedInconsistency(margins, max(1, others), sets, times).choose(view, n, rng)


class _RankedInconsistency(ScoreStrategy):
    """The utility of `cvirs`, against the sorted margins (L, sample) and the known label sets (g, L)."""

    name = CVIRS.name
    tasks = CVIRS.tasks

    def __init__(self, margins: Floats, others: int, sets: NDArray[np.bool_], times: Counts) -> None:
        super().__init__()
        self.margins = margins
        self.others = others
        self.sets = sets
        self.times = times

    def utilities(self, predictions: Floats) -> Floats:
        result = np.empty(predictions.shape[1])
        for part in row_steps(predictions.shape[1], predictions.shape[2], len(self.sets)):
            proba = consensus(predictions[:, part])
            result[part] = self._ranking(proba) * self._inconsistency(proba > 0.5)
        return result

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        proba = consensus(predictions)[None]
        answer = np.flatnonzero(proba[0] > 0.5)
        return {
            "ranking": float(self._ranking(proba)[0]),
            "inconsistency": float(self._inconsistency(proba > 0.5)[0]),
            "labels": [view.classes[label] if view.classes else int(label) for label in answer],
        }

    def _ranking(self, proba: Floats) -> Reals:
        """(rows,) s: the share of the other rows that are surer, averaged over the labels."""
        sureness = _sureness(proba)
        wider = added(
            margins.size - np.searchsorted(margins, sureness[:, label], side="right")
            for label, margins in enumerate(self.margins)
        )
        return wider / (len(self.margins) * self.others)

    def _inconsistency(self, answers: NDArray[np.bool_]) -> Reals:
        """(rows,) v: the mean distance of answers (rows, L) to the known label sets."""
        if not len(self.sets):
            return np.ones(len(answers))
        # The answers of many rows are few label sets: each is told by one number, which is a hash of it.
        numbers = answers @ mix(np.arange(answers.shape[1], dtype=np.uint64))
        _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
        weights = self.times / self.times.sum()
        mean: Reals = np.einsum("ij,j->i", set_distances(answers[first], self.sets), weights)
        return mean[which]


def set_distances(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Reals:
    """(rows, g) the entropy distance of every label set of a (rows, L) to every one of b (g, L), as `CVIRS` has it."""
    n_labels = a.shape[1]
    shares = np.arange(1, n_labels + 1) / n_labels
    terms = np.concatenate([[0.0], -shares * np.log(shares)])
    in_a, in_b = a.sum(axis=1)[:, None], b.sum(axis=1)
    both = np.rint(a.astype(np.float64) @ b.T.astype(np.float64)).astype(np.int64)
    neither = n_labels - in_a - in_b + both
    joint = terms[both] + terms[in_a - both] + terms[in_b - both] + terms[neither]
    alone = terms[in_a] + terms[n_labels - in_a] + terms[in_b] + terms[n_labels - in_b]
    distances = np.divide(2 * joint - alone, joint, out=np.zeros_like(joint), where=joint > 0)
    distances[both + neither == 0] = 1
    clipped: Reals = np.clip(distances, 0, 1)
    return clipped


def _label_sets(view: PoolView, n_labels: int) -> NDArray[np.bool_]:
    """(n_labelled, L) the label sets of the labelled rows."""
    sets = np.asarray(view.labelled_y)
    if sets.shape != (view.labelled_X.shape[0], n_labels):
        raise StrategyError(
            f"labelled_y has shape {sets.shape}: ({view.labelled_X.shape[0]}, {n_labels}) was expected, "
            "zeros and ones for every label that the model predicts."
        )
    return sets > 0


def _sureness(proba: Floats) -> Floats:
    """The margin |2p - 1| between a label that is there and one that is not."""
    sureness: Floats = np.abs(2 * proba - 1)
    return sureness


def _entropies(proba: Floats) -> Floats:
    """The entropy of every label of (L, rows): that of its two outcomes."""
    return entropy(np.stack([proba, 1 - proba]))
