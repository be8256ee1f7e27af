"""Uncertainty and disagreement: the formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pools import CLASSES, Reals, asked, rng

from query_strategies import (
    ConsensusEntropy,
    Entropy,
    KLMax,
    KLMean,
    LeastConfidence,
    Margin,
    PoolStrategy,
    PoolView,
    VoteEntropy,
    make,
)

# Formulas, by hand.

TABLE = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
H = {
    "a": -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)),
    "b": -(0.4 * math.log(0.4) + 0.35 * math.log(0.35) + 0.25 * math.log(0.25)),
}


def ranked(strategy: PoolStrategy, predictions: Reals) -> list[tuple[int, float]]:
    n = predictions.shape[-2]
    view = PoolView.from_predictions(range(n), predictions, classes=CLASSES)
    selection = asked(strategy, view, n)
    return list(zip(selection.rows.tolist(), selection.utilities.tolist(), strict=True))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (LeastConfidence(), [(1, 0.6), (2, 0.5), (0, 0.3), (3, 0.0)]),
        (Margin(), [(2, 1.0), (1, 0.95), (0, 0.5), (3, 0.0)]),
        (Entropy(), [(1, H["b"]), (0, H["a"]), (2, math.log(2)), (3, 0.0)]),
    ],
)
def test_uncertainties_by_hand(strategy: PoolStrategy, expected: list[tuple[int, float]]) -> None:
    found = ranked(strategy, TABLE)
    assert [row for row, _ in found] == [row for row, _ in expected]
    assert [utility for _, utility in found] == pytest.approx([utility for _, utility in expected], abs=1e-12)


OPINIONS = np.array(
    [
        [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]],
        [[0.1, 0.9, 0.0], [0.6, 0.4, 0.0], [0.0, 1.0, 0.0]],
        [[0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]],
    ]
)
"""Three members, three rows: two to one; all alike and unsure; each certain of another class."""


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (VoteEntropy(), {0: -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)), 1: 0.0, 2: math.log(3)}),
        (ConsensusEntropy(), {0: -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)), 2: math.log(3)}),
        (KLMax(), {0: kl([0.1, 0.9], [0.6, 0.4]), 1: 0.0, 2: math.log(3)}),
        (KLMean(), {0: sum(kl(p, [0.6, 0.4]) for p in ([0.9, 0.1], [0.1, 0.9], [0.8, 0.2])) / 3, 2: math.log(3)}),
    ],
)
def test_disagreements_by_hand(strategy: PoolStrategy, expected: dict[int, float]) -> None:
    found = dict(ranked(strategy, OPINIONS))
    for row, utility in expected.items():
        assert found[row] == pytest.approx(utility, abs=1e-9)


def test_consensus_entropy_cannot_tell_disagreement_from_doubt_and_kl_can() -> None:
    consensus, divergence = dict(ranked(ConsensusEntropy(), OPINIONS)), dict(ranked(KLMean(), OPINIONS))
    assert consensus[0] == pytest.approx(consensus[1])
    assert divergence[0] > 0.2 > 1e-12 > divergence[1]


def test_mean_divergence_is_the_mutual_information_of_bald() -> None:
    draw = rng(3)
    proba = draw.dirichlet(np.ones(4), size=(5, 30))

    def entropy(p: Reals) -> Reals:
        result: Reals = -(p * np.log(p)).sum(axis=-1)
        return result

    bald = entropy(proba.mean(axis=0)) - entropy(proba).mean(axis=0)
    np.testing.assert_allclose(KLMean().utilities(proba), bald, atol=1e-12)


def test_the_same_votes_tie_whatever_the_classes() -> None:
    draw = rng(6)
    votes = [draw.permutation(7)[draw.permutation([0, 0, 1, 1, 1, 2, 3, 4, 5])] for _ in range(200)]
    assert np.unique(VoteEntropy().utilities(np.array(votes).T)).size == 1


def test_a_member_that_cannot_decide_has_one_vote() -> None:
    opinions = np.array([[[0.25, 0.25, 0.25, 0.25]], [[0.0, 0.0, 0.0, 1.0]]])
    selection = asked(VoteEntropy(), PoolView.from_predictions([1], opinions), 1)
    assert selection.utilities[0] == pytest.approx(math.log(2))
    assert selection.why[0]["votes"] == {"0": 1, "3": 1}


def test_certain_rows_and_zero_probabilities_are_never_the_most_wanted() -> None:
    proba = np.array([[0.5, 0.5], [1.0, 0.0], [0.6, 0.4]])
    for name in ("entropy", "margin", "least_confidence"):
        assert asked(make(name), PoolView.from_predictions([1, 2, 3], proba), 3).rows.tolist() == [0, 2, 1]


def test_reasons_name_classes_as_configured() -> None:
    view = PoolView.from_predictions([1, 2, 3, 4], TABLE, classes=CLASSES)
    assert asked(Margin(), view, 2).why[1] == {"margin": pytest.approx(0.05), "classes": ["ham", "spam"]}
    assert asked(LeastConfidence(), view, 1).why[0] == {"confidence": 0.4, "class": "ham"}
    several = PoolView.from_predictions([1, 2, 3], OPINIONS, classes=CLASSES)
    assert asked(VoteEntropy(), several, 2).why[1]["votes"] == {"ham": 2, "spam": 1}
