"""Uncertainty and disagreement: the formulas by hand and by others, votes, and rows that are no probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from modAL import disagreement, uncertainty
from numpy.typing import NDArray
from pools import CLASSES, Reals, asked, ids_of, rng
from scipy import stats

from query_strategies import (
    ConsensusEntropy,
    Entropy,
    KLMax,
    KLMean,
    LeastConfidence,
    Margin,
    PoolStrategy,
    PoolView,
    PredictionError,
    Ratio,
    ScoreStrategy,
    VariationRatio,
    VoteEntropy,
    make,
    tie_keys,
)
from query_strategies.strips import STRIP_ROWS, by_strips
from query_strategies.uncertainty import collisions, entropy, most_collisions

OF_ONE = [LeastConfidence(), Margin(), Ratio(), Entropy()]
OF_MEMBERS = [ConsensusEntropy(), KLMax(), KLMean()]
OF_VOTES: list[ScoreStrategy] = [VoteEntropy(), VariationRatio()]

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
        (Ratio(), [(2, 1.0), (1, 0.875), (0, 2 / 7), (3, 0.0)]),
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
        (VariationRatio(), {0: 1 / 3, 1: 0.0, 2: 2 / 3}),
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


@pytest.mark.parametrize("n_classes", [1, 2, 3, 4, 5, 8, 13])
def test_the_two_highest_are_found_among_any_number_of_classes(n_classes: int) -> None:
    proba = rng(n_classes).dirichlet(np.ones(n_classes), size=40)
    highest = np.sort(np.column_stack([proba, np.zeros(40)]), axis=1)[:, ::-1]
    np.testing.assert_allclose(Margin().utilities(proba[None]), 1 - (highest[:, 0] - highest[:, 1]), atol=1e-15)
    np.testing.assert_array_equal(Ratio().utilities(proba[None]), highest[:, 1] / highest[:, 0])


def test_reasons_name_classes_as_configured() -> None:
    view = PoolView.from_predictions([1, 2, 3, 4], TABLE, classes=CLASSES)
    assert asked(Margin(), view, 2).why[1] == {"margin": pytest.approx(0.05), "classes": ["ham", "spam"]}
    assert asked(Ratio(), view, 2).why[1] == {"ratio": pytest.approx(0.875), "classes": ["ham", "spam"]}
    assert asked(LeastConfidence(), view, 1).why[0] == {"confidence": 0.4, "class": "ham"}
    several = PoolView.from_predictions([1, 2, 3], OPINIONS, classes=CLASSES)
    assert asked(VoteEntropy(), several, 2).why[1]["votes"] == {"ham": 2, "spam": 1}


# The formulas by others: modAL where it is right, and scipy.

PROBA = rng(11).dirichlet(np.full(6, 0.4), size=(5, 200))
PROBA[1, :40, 2] = 0
PROBA[1] /= PROBA[1].sum(axis=1, keepdims=True)
PROBA[:, :3] = np.eye(6)[[[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5], [0, 2, 0]]]
"""Five members; one has not seen a class for some rows, and in three rows all are certain."""


class Members:
    """What modAL asks a fitted model or committee."""

    classes_ = np.arange(6)

    def __len__(self) -> int:
        return len(PROBA)

    def __iter__(self) -> Any:
        return iter(PROBA)

    def predict_proba(self, X: Any) -> Reals:
        return PROBA.mean(axis=0)

    def vote_proba(self, X: Any) -> Reals:
        return PROBA.swapaxes(0, 1)

    def vote(self, X: Any) -> NDArray[np.int64]:
        return PROBA.argmax(axis=2).T


@pytest.mark.parametrize(
    ("strategy", "theirs"),
    [
        (LeastConfidence(), uncertainty.classifier_uncertainty),
        (Margin(), lambda model, X: 1 - uncertainty.classifier_margin(model, X)),
        (Entropy(), uncertainty.classifier_entropy),
        (ConsensusEntropy(), disagreement.consensus_entropy),
        (KLMax(), disagreement.KL_max_disagreement),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_utilities_are_those_of_modal(strategy: ScoreStrategy, theirs: Any) -> None:
    np.testing.assert_allclose(strategy.utilities(PROBA), theirs(Members(), np.zeros((200, 1))), atol=1e-12)


def test_vote_entropy_is_that_of_modal() -> None:
    theirs = disagreement.vote_entropy(Members(), np.zeros((200, 1)))
    np.testing.assert_allclose(VoteEntropy().utilities(PROBA.argmax(axis=2)), theirs, atol=1e-11)


def test_divergences_are_those_of_scipy() -> None:
    each = stats.entropy(PROBA, PROBA.mean(axis=0)[None], axis=2)
    np.testing.assert_allclose(KLMean().utilities(PROBA), each.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(KLMax().utilities(PROBA), each.max(axis=0), atol=1e-12)


# Votes.


def picked(strategy: PoolStrategy, view: PoolView, n: int = 20) -> tuple[list[int], list[float], Any]:
    selection = asked(strategy, view, n)
    return selection.rows.tolist(), selection.utilities.tolist(), selection.why


@pytest.mark.parametrize("strategy", OF_VOTES)
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_votes_alone_give_the_choice_that_probabilities_give(strategy: ScoreStrategy, kind: Any) -> None:
    names = tuple("abcdef")
    votes = PoolView.from_votes(ids_of(200), PROBA.argmax(axis=2).astype(kind), classes=names)
    proba = PoolView.from_predictions(ids_of(200), PROBA, classes=names, block_size=30)
    assert picked(strategy, votes) == picked(strategy, proba)
    assert asked(strategy, votes.subset(np.array([1, 2])), 2).why[0]["votes"] == {
        "a": 1,
        "c": 1,
        "d": 1,
        "e": 1,
        "f": 1,
    }


@pytest.mark.parametrize(("members", "n_classes"), [(2, 2), (3, 7), (7, 3), (9, 9), (300, 4), (4, 300), (300, 300)])
def test_votes_of_many_members_for_many_classes_are_counted(members: int, n_classes: int) -> None:
    votes = rng(members).integers(0, n_classes, size=(members, 50))
    votes[:, 0] = n_classes - 1
    counts = np.stack([np.bincount(row, minlength=n_classes) for row in votes.T])
    np.testing.assert_allclose(VoteEntropy().utilities(votes), stats.entropy(counts, axis=1), atol=1e-9)
    np.testing.assert_array_equal(VariationRatio().utilities(votes), 1 - counts.max(axis=1) / members)


@pytest.mark.parametrize("strategy", OF_VOTES)
def test_members_that_agree_have_no_utility(strategy: ScoreStrategy) -> None:
    for votes in (np.zeros((3, 5), dtype=int), np.full((9, 5), 4)):
        assert strategy.utilities(votes).tolist() == [0.0] * 5


def test_the_first_of_equal_classes_has_the_vote() -> None:
    view = PoolView.from_predictions(range(3), np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.4, 0.2, 0.4]]))
    assert [codes.tolist() for _, codes in view.vote_blocks()] == [[[0, 1, 0]]]


def test_votes_are_read_from_probabilities_of_more_classes_than_a_byte_can_tell() -> None:
    wanted = rng(5).integers(0, 700, size=(2, 90))
    proba = np.full((2, 90, 700), 0.5 / 700)
    proba[np.arange(2)[:, None], np.arange(90), wanted] += 0.5
    view = PoolView.from_predictions(None, proba, block_size=40)
    np.testing.assert_array_equal(np.concatenate([codes for _, codes in view.vote_blocks()], axis=1), wanted)


# Members that agree.


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows_on_which_all_members_agree_tie_at_zero(kind: Any) -> None:
    alike = np.repeat(rng(2).dirichlet(np.full(7, 0.3), size=(1, 300)), 3, axis=0).astype(kind)
    for strategy in (KLMean(), KLMax()):
        assert not strategy.utilities(alike).any()


# What is a probability, and what a bad row does to the others.


@pytest.mark.parametrize("strategy", [*OF_ONE, *OF_MEMBERS, *OF_VOTES])
def test_a_negative_number_is_no_probability(strategy: ScoreStrategy) -> None:
    proba = np.full((2, 4, 3), 1 / 3)
    proba[1, 2] = [0.9, 0.6, -0.5]
    message = r"row 2 \(member 1, class 2\) is -0\.5, which is no probability"
    with pytest.raises(PredictionError, match=message):
        asked(strategy, PoolView.from_predictions(range(4), proba), 1)
    with pytest.raises(PredictionError, match=message):
        next(PoolView.from_predictions(range(4), proba).blocks())


@pytest.mark.parametrize("strategy", OF_ONE + OF_MEMBERS)
def test_a_negative_number_that_is_rounding_counts_as_zero(strategy: ScoreStrategy) -> None:
    exact = np.array([[[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]], [[0.6, 0.4, 0.0], [0.2, 0.8, 0.0]]])
    rounded = exact - np.array([0.0, 0.0, 1e-17])
    assert (rounded < 0).any()
    ours, expected = (PoolView.from_predictions(range(2), proba) for proba in (rounded, exact))
    assert picked(strategy, ours, 2) == picked(strategy, expected, 2)


@pytest.mark.parametrize("strategy", OF_ONE + OF_MEMBERS)
def test_a_row_that_is_slightly_off_leaves_the_utilities_of_the_others_alone(strategy: ScoreStrategy) -> None:
    proba = PROBA.copy()
    before = dict(zip(*picked(strategy, PoolView.from_predictions(range(200), proba), 200)[:2], strict=True))
    proba[:, 7] *= 1.0009
    after = dict(zip(*picked(strategy, PoolView.from_predictions(range(200), proba), 200)[:2], strict=True))
    assert {row for row in before if before[row] != after[row]} <= {7}


def test_the_utility_of_a_row_that_adds_up_to_more_than_one_is_not_negative() -> None:
    proba = np.array([[1.0009, 0.0], [1.0, 0.0]])
    for strategy in OF_ONE:
        assert strategy.utilities(proba[None]).min() >= 0


@pytest.mark.parametrize("strategy", OF_ONE + OF_MEMBERS)
def test_certain_rows_have_no_utility_and_no_sign(strategy: ScoreStrategy) -> None:
    certain = np.repeat(np.eye(4)[None], 3, axis=0)
    for kind in (np.float32, np.float64):
        utilities = strategy.utilities(certain.astype(kind))
        assert utilities.tolist() == [0, 0, 0, 0]
        assert not np.signbit(utilities).any()


# Strips.


@pytest.mark.parametrize("strategy", OF_ONE + OF_MEMBERS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("members", "n_classes"), [(1, 1), (1, 2), (1, 3), (2, 1), (3, 2), (4, 17), (19, 3), (9, 40)])
def test_a_row_has_the_same_utility_alone_and_among_others(
    strategy: ScoreStrategy, kind: Any, members: int, n_classes: int
) -> None:
    proba = rng(1).dirichlet(np.full(n_classes, 0.3), size=(members, 3 * STRIP_ROWS + 1)).astype(kind)
    together = strategy.utilities(proba)
    assert together.dtype == kind
    for rows in (slice(0, 1), slice(5, 7), slice(STRIP_ROWS - 3, STRIP_ROWS + 30), slice(-1, None)):
        np.testing.assert_array_equal(strategy.utilities(proba[:, rows]), together[rows])
    for row in range(0, len(together), 50):
        assert strategy.utilities(proba[:, row : row + 1])[0] == together[row]


def test_a_kernel_may_write_to_its_strips() -> None:
    def spoiling(strips: Any) -> Any:
        strips *= 2
        return strips[0, 0].copy()

    given = rng(3).random((2, 5000, 30))
    before = given.copy()
    given.flags.writeable = False
    np.testing.assert_array_equal(by_strips(spoiling, given), 2 * before[0, :, 0])
    np.testing.assert_array_equal(given, before)


# The n best.


@pytest.mark.parametrize("strategy", OF_VOTES)
@pytest.mark.parametrize("block_size", [1, 7, 64, 500])
def test_many_ties_are_broken_as_by_a_full_sort(strategy: ScoreStrategy, block_size: int) -> None:
    votes = rng(4).integers(0, 3, size=(4, 500))
    view = PoolView.from_votes(ids_of(500), votes, block_size=block_size)
    keys = tie_keys(view, rng(0))(np.arange(500))
    full = np.lexsort((keys, -strategy.utilities(votes)))
    for n in (1, 40, 499):
        np.testing.assert_array_equal(asked(strategy, view, n).rows, full[:n])


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10, 100])
def test_no_distribution_with_more_collisions_has_as_much_entropy(n_classes: int) -> None:
    proba = np.concatenate([rng(5).dirichlet(np.full(n_classes, share), size=500) for share in (0.05, 0.5, 5.0)])
    one_likely = np.full((50, n_classes), 1.0)
    one_likely[:, 0] = np.linspace(1, 9 * n_classes, 50)
    strips = np.concatenate([proba, one_likely / one_likely.sum(axis=1, keepdims=True)]).T
    for least in np.linspace(0.01, 1, 12) * np.log(n_classes + 0.5):
        reaching = entropy(strips) >= least + 1e-9
        most = most_collisions(float(least), n_classes)
        assert (collisions(strips)[reaching] <= most).all()
    if n_classes > 2:  # and there is none lower
        assert collisions(strips).max() > most_collisions(math.log(n_classes) * 0.9, n_classes)


@pytest.mark.parametrize("off", [0.0, 0.0009])
@pytest.mark.parametrize("strategy", [Entropy(), ConsensusEntropy()])
@pytest.mark.parametrize("block_size", [3, 50, 2000])
def test_rows_that_cannot_be_chosen_are_passed_over_and_nothing_else_is(
    strategy: ScoreStrategy, block_size: int, off: float
) -> None:
    peaked = rng(6).dirichlet(np.full(6, 0.2), size=(3, 2000))
    peaked[:, ::100] = rng(7).dirichlet(np.full(6, 20), size=(3, 20))
    peaked *= 1 + rng(8).choice([0, off], size=(3, 2000, 1))
    view = PoolView.from_predictions(ids_of(2000), peaked, block_size=block_size)
    keys = tie_keys(view, rng(0))(np.arange(2000))
    full = strategy.utilities(peaked)
    for n in (1, 20, 300):
        chosen = asked(strategy, view, n)
        np.testing.assert_array_equal(chosen.rows, np.lexsort((keys, -full))[:n])
        np.testing.assert_array_equal(chosen.utilities, full[chosen.rows])


@pytest.mark.parametrize("step", [1, -1])
def test_the_best_are_found_wherever_they_stand(step: int) -> None:
    high = np.linspace(0.5, 1, 300)[::step]
    view = PoolView.from_predictions(range(300), np.column_stack([high, 1 - high]), block_size=11)
    expected = np.arange(300)[::step][:25]
    np.testing.assert_array_equal(asked(Margin(), view, 25).rows, expected)


def test_a_utility_that_is_not_a_number_is_refused() -> None:
    class Broken(ScoreStrategy):
        name = "broken"

        def utilities(self, predictions: Any) -> Any:
            return np.where(np.arange(predictions.shape[1]) == 3, np.nan, 1.0)

    with pytest.raises(PredictionError, match="the utility of row 3 is not a number"):
        asked(Broken(), PoolView.from_predictions(range(9), np.full((9, 2), 0.5)), 2)
