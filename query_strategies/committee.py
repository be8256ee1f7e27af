"""Utilities of disagreement: do the members of a committee answer differently for this row?

All of them need at least two members, and say so otherwise: a committee of one never disagrees, and a silent random
choice would look like a strategy. Scores of votes look at what each member answers, scores of divergence at how sure it
is of it. A class that a member has never seen has probability 0 there; members that were trained on bootstrap samples
should each have seen every known class.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from query_strategies.base import ScoreStrategy, top_classes
from query_strategies.pool import Floats, PoolView
from query_strategies.uncertainty import (
    StripScore,
    added,
    collisions,
    consensus,
    entropy,
    logs,
    most_collisions,
    weighed_logs,
)

ROUNDING = 64
"""A divergence of fewer units in the last place of 1 is none."""

Votes = NDArray[np.integer[Any]]
Counts = NDArray[np.unsignedinteger[Any]]


def tallies(votes: Votes) -> tuple[bool, Iterator[Counts]]:
    """How many of the members vote alike, by votes (members, rows): whether that is told by class, and (rows,) counts.

    By class where there are fewer classes than members; otherwise for each member, how many vote as it does.
    """
    members, n_classes = len(votes), int(votes.max()) + 1
    codes = votes.astype(np.min_scalar_type(n_classes), order="C", copy=False)
    by_class = n_classes < members
    counted = np.min_scalar_type(members)
    alike = (codes == each for each in (range(n_classes) if by_class else codes))
    return by_class, (np.add.reduce(same.view(np.uint8), axis=0, dtype=counted) for same in alike)


def by_name(votes: Votes, classes: Sequence[Any]) -> dict[str, int]:
    """How many votes (members,) each class got, by its name, or by its code where classes have no names."""
    codes, counts = np.unique(votes, return_counts=True)
    return {str(classes[code] if classes else code): int(count) for code, count in zip(codes, counts, strict=True)}


class _VoteScore(ScoreStrategy):
    """A score of the votes of at least two members, whether or not they give probabilities; `why` shows the votes."""

    needs = frozenset({"votes"})
    needs_members = 2

    @abstractmethod
    def utilities(self, predictions: Votes) -> Floats:
        """(rows,) the utilities of votes (members, rows)."""

    def explain(self, predictions: Votes, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {self.name: utility, "votes": by_name(predictions, view.classes)}


class VoteEntropy(_VoteScore):
    """Utility -Σ v ln v, v being the share of members that vote for a class.

    Dagan and Engelson (1995), "Committee-based sampling for training probabilistic classifiers". The terms are rounded
    to multiples of 2⁻⁴⁰, so that their sum is exact and the same votes tie, whatever the classes. With few members most
    rows tie; ties are broken by a seeded hash.
    """

    name = "vote_entropy"

    def utilities(self, predictions: Votes) -> Floats:
        members = len(predictions)
        by_class, counts = tallies(predictions)
        votes = np.arange(members + 1)
        # What each of so many votes for one class adds.
        terms = np.rint(np.log(members / np.maximum(votes, 1)) / members * 2.0**40) * 2.0**-40
        table = terms * votes if by_class else terms
        return added(np.take(table, count.astype(np.intp), mode="clip") for count in counts)


class VariationRatio(_VoteScore):
    """Utility 1 - v, v being the share of members that vote for the class with the most votes.

    Freeman (1965), "Elementary applied statistics". It counts the members that are outvoted, and is the same for one
    opponent as for several who agree.
    """

    name = "variation_ratio"

    def utilities(self, predictions: Votes) -> Floats:
        _, counts = tallies(predictions)
        return 1 - functools.reduce(np.maximum, counts) / len(predictions)


class ConsensusEntropy(StripScore):
    """Utility: the entropy of the members' mean probabilities: high where they disagree, and where all are unsure."""

    name = "consensus_entropy"
    of_mean = True
    needs_members = 2

    def kernel(self, strips: Floats) -> Floats:
        return entropy(consensus(strips))

    def hopeful(self, strips: Floats, least: float) -> NDArray[np.bool_]:
        return collisions(consensus(strips)) <= most_collisions(least, strips.shape[1])

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {"consensus_entropy": utility, "classes": top_classes(consensus(predictions), view.classes)}


class _Divergence(StripScore):
    """How far the probabilities of at least two members are from their mean; `why` shows how they voted."""

    needs_members = 2

    def kernel(self, strips: Floats) -> Floats:
        utilities = self.divergence(strips)
        # Where all members agree only rounding is left, which would decide a tie.
        utilities[utilities < ROUNDING * np.finfo(strips.dtype).eps] = 0
        return utilities

    @staticmethod
    @abstractmethod
    def divergence(strips: Floats) -> Floats:
        """(rows,) utilities, up to rounding."""

    def explain(self, predictions: Floats, utility: float, view: PoolView) -> Mapping[str, Any]:
        return {self.name: utility, "votes": by_name(predictions.argmax(axis=1), view.classes)}


class KLMax(_Divergence):
    """Utility: the largest Kullback-Leibler divergence of a member from the members' mean, max KL(p_m ‖ p̄).

    The maximum in place of the mean of McCallum and Nigam (1998): one dissenting member is enough.
    """

    name = "kl_max"

    @staticmethod
    def divergence(strips: Floats) -> Floats:
        apart = logs(strips)
        apart -= logs(consensus(strips))
        apart *= strips
        utilities: Floats = np.maximum.reduce(np.add.reduce(apart, axis=1), axis=0)
        return utilities


class KLMean(_Divergence):
    """Utility: the mean Kullback-Leibler divergence of the members from their mean, which is H(p̄) - mean H(p_m).

    McCallum and Nigam (1998), "Employing EM and pool-based active learning for text classification". The same number
    is the mutual information of BALD (Houlsby et al. 2011) with the members as draws of the model, so BALD is not
    there by another name. Members that are too sure of themselves, such as linear models on few bootstrapped rows,
    decide it; votes are the safer choice with them.
    """

    name = "kl_mean"

    @staticmethod
    def divergence(strips: Floats) -> Floats:
        members, _, rows = strips.shape
        apart = added(weighed_logs(strips).reshape(-1, rows)) / members
        utilities: Floats = apart - added(weighed_logs(consensus(strips)))
        return utilities
