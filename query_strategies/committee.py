"""Utilities of disagreement: do the members of a committee answer differently for this row?

All of them need at least two members, and say so otherwise: a committee of one never disagrees, and a silent random
choice would look like a strategy. A class that a member has never seen has probability 0 there; members that were
trained on bootstrap samples should each have seen every known class.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from query_strategies.base import ScoreStrategy, top_classes
from query_strategies.pool import Floats, PoolView
from query_strategies.uncertainty import added, by_strips, consensus, entropy


def vote_counts(strips: Floats) -> NDArray[np.int64]:
    """(C, rows): how many members of strips (members, C, rows) vote for each class; the first of equal ones gets it."""
    top = strips.max(axis=1)
    free = np.ones(top.shape, dtype=bool)
    counts = np.empty(strips.shape[1:], dtype=np.int64)
    for column in range(strips.shape[1]):
        voted = strips[:, column] == top
        voted &= free
        free ^= voted
        counts[column] = np.add.reduce(voted.view(np.uint8), axis=0, dtype=np.uint16)
    return counts


def vote_entropy(counts: NDArray[np.int64], members: int) -> Floats:
    """(rows,) the entropy -Σ v ln v of the shares v = count / members.

    The terms are rounded to multiples of 2⁻⁴⁰, so that their sum is exact and the same votes tie, whatever the classes.
    """
    shares = np.arange(1, members + 1) / members
    terms = np.concatenate([[0.0], np.rint(-shares * np.log(shares) * 2.0**40) * 2.0**-40])
    return added(terms[count] for count in counts)


def divergences(strips: Floats) -> Floats:
    """(members, rows): KL(member ‖ consensus) = Σ p ln(p / mean p), natural logarithm, never below 0."""
    tiny = np.finfo(strips.dtype).tiny
    common = np.log(np.maximum(consensus(strips), tiny))
    logs = np.log(np.maximum(strips, tiny))
    logs -= common
    logs *= strips
    return np.maximum(added(logs.swapaxes(0, 1)), 0)


class _Disagreement(ScoreStrategy):
    """A utility of at least two members; `why` shows how they voted."""

    needs_members = 2

    @staticmethod
    @abstractmethod
    def kernel(strips: Floats) -> Floats:
        """(rows,) utilities of the members' probabilities (members, C, rows)."""

    def utilities(self, predictions: Floats) -> Floats:
        return by_strips(self.kernel, predictions)

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        columns, counts = np.unique(predictions.argmax(axis=1), return_counts=True)
        names = view.classes or range(predictions.shape[1])
        votes = {str(names[column]): int(count) for column, count in zip(columns, counts, strict=True)}
        return {self.name: utility, "votes": votes}


class VoteEntropy(_Disagreement):
    """Utility -Σ v ln v, v being the share of members that vote for a class.

    Dagan and Engelson (1995), "Committee-based sampling for training probabilistic classifiers". With few members
    most rows tie; ties are broken by a seeded hash.
    """

    name = "vote_entropy"

    @staticmethod
    def kernel(strips: Floats) -> Floats:
        return vote_entropy(vote_counts(strips), len(strips))


class ConsensusEntropy(_Disagreement):
    """Utility: the entropy of the members' mean probabilities: high where they disagree, and where all are unsure."""

    name = "consensus_entropy"

    @staticmethod
    def kernel(strips: Floats) -> Floats:
        return entropy(consensus(strips))

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {"consensus_entropy": utility, "classes": top_classes(predictions.mean(axis=0), view.classes)}


class KLMax(_Disagreement):
    """Utility: the largest Kullback-Leibler divergence of a member from the members' mean, max KL(p_m ‖ p̄).

    The maximum in place of the mean of McCallum and Nigam (1998): one dissenting member is enough.
    """

    name = "kl_max"

    @staticmethod
    def kernel(strips: Floats) -> Floats:
        utilities: Floats = divergences(strips).max(axis=0)
        return utilities


class KLMean(_Disagreement):
    """Utility: the mean Kullback-Leibler divergence of the members from their mean, which is H(p̄) - mean H(p_m).

    McCallum and Nigam (1998), "Employing EM and pool-based active learning for text classification". The same number
    is the mutual information of BALD (Houlsby et al. 2011) with the members as draws of the model.
    """

    name = "kl_mean"

    @staticmethod
    def kernel(strips: Floats) -> Floats:
        return added(divergences(strips)) / len(strips)
