"""Strategies for several labels at once: the formulas by hand, and the fast forms against the plain ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from modAL.models import ActiveLearner
from modAL.multilabel import SVM_binary_minimum, max_loss
from pools import CLASSES, Reals, asked, features, ids_of, labels_of, predict_labels, rng
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from query_strategies import PoolStrategy, PoolView, Selection, StrategyError
from query_strategies.multilabel import (
    CVIRS,
    BinaryMinimum,
    LabelEntropyMax,
    LabelEntropyMean,
    MaxLossReduction,
    set_distances,
)

EVERY = [BinaryMinimum(), LabelEntropyMean(), LabelEntropyMax(), MaxLossReduction(), CVIRS()]
TABLE = np.array([[0.5, 0.9, 0.1], [0.7, 0.6, 0.3], [1.0, 0.0, 0.0], [0.95, 0.9, 0.98]])


def table_view(proba: Reals, **more: Any) -> PoolView:
    """A pool of which only the predictions are known, and no labels."""
    none = {"labelled_X": np.empty((0, 1)), "labelled_y": np.empty((0, proba.shape[-1]))}
    members = proba if proba.ndim == 3 else proba[None]
    return PoolView.from_predictions(np.arange(members.shape[1]), members, task="multi_label", **{**none, **more})


def utilities_of(selection: Selection) -> list[float]:
    """The utility of every row, in the order of the pool."""
    return [float(utility) for _, utility in sorted(zip(selection.rows, selection.utilities, strict=True))]


def h(p: float) -> float:
    return 0.0 if p in (0, 1) else -p * math.log(p) - (1 - p) * math.log(1 - p)


# The probabilities alone.


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (BinaryMinimum(), [1.0, 0.8, 0.0, 0.2]),
        (LabelEntropyMean(), [sum(map(h, row)) / 3 for row in TABLE.tolist()]),
        (LabelEntropyMax(), [h(0.5), h(0.6), 0.0, h(0.9)]),
        # 1.5, 1.6, 1 and 2.83 expected labels: 2, 2, 1 and 3.
        (MaxLossReduction(), [0.5 + 0.1 + 0.1, 0.3 + 0.4 + 0.3, 0.0, 0.05 + 0.1 + 0.02]),
    ],
)
def test_utilities_by_hand(strategy: PoolStrategy, expected: list[float]) -> None:
    assert utilities_of(asked(strategy, table_view(TABLE), 4)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("strategy", EVERY, ids=[s.name for s in EVERY])
def test_rows_whose_labels_are_all_certain_are_never_the_most_wanted(strategy: PoolStrategy) -> None:
    """Neither many nor few certain labels make a row interesting."""
    proba = np.array([[0.99, 0.98, 0.97], [0.02, 0.01, 0.03], [0.5, 0.45, 0.55], [0.95, 0.02, 0.03]])
    known = {"labelled_X": np.zeros((4, 1)), "labelled_y": [[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]]}
    assert asked(strategy, table_view(proba, **known), 1).rows.tolist() == [2]


def test_a_committee_counts_by_its_mean() -> None:
    opposed = np.array([[[1.0, 0.9]], [[0.0, 0.7]]])
    assert asked(BinaryMinimum(), table_view(opposed), 1).utilities[0] == pytest.approx(1)
    assert asked(LabelEntropyMean(), table_view(opposed), 1).utilities[0] == pytest.approx((h(0.5) + h(0.8)) / 2)
    assert asked(MaxLossReduction(), table_view(opposed), 1).utilities[0] == pytest.approx(0.7)


def test_the_highest_entropy_ranks_as_the_smallest_distance() -> None:
    view = table_view(rng(1).random((200, 5)))
    np.testing.assert_array_equal(asked(LabelEntropyMax(), view, 50).rows, asked(BinaryMinimum(), view, 50).rows)


def test_reasons_name_labels_as_configured() -> None:
    view = table_view(TABLE, classes=CLASSES)
    assert asked(BinaryMinimum(), view, 2).why[1] == {"label": "spam", "probability": pytest.approx(0.6)}
    unsure = asked(LabelEntropyMean(), view, 1)
    assert unsure.why[0] == {"label_entropy_mean": unsure.utilities[0], "labels": ["spam", "ham"]}
    assert asked(MaxLossReduction(), view, 1).why[0] == {
        "expected_wrong": pytest.approx(1.0),
        "n_labels": 2,
        "labels": ["ham", "spam"],
    }
    nameless = table_view(TABLE)
    assert asked(BinaryMinimum(), nameless, 1).why[0] == {"label": 0, "probability": 0.5}


def svm_learner(X: Reals, y: Any, **more: Any) -> ActiveLearner:
    return ActiveLearner(OneVsRestClassifier(LinearSVC()), X_training=X, y_training=y, **more)


def by_logistic(distance: Reals) -> Reals:
    return 1 / (1 + np.exp(-distance))


def test_the_smallest_distance_agrees_with_modals_own() -> None:
    X, known = features(60), features(30, seed=1)
    learner = svm_learner(known, (predict_labels(known)[0] > 0.5).astype(int))
    theirs = SVM_binary_minimum(learner, X)
    ours = asked(BinaryMinimum(), table_view(by_logistic(learner.estimator.decision_function(X))), 1)
    assert ours.rows[0] == theirs


# Maximum loss reduction.


def test_the_loss_is_the_expected_number_of_wrong_labels() -> None:
    """Every outcome of three labels, weighed by its probability, against the answer that `why` names."""
    proba = rng(2).random((20, 3))
    selection = asked(MaxLossReduction(), table_view(proba), 20)
    for row, utility, why in zip(selection.rows, selection.utilities, selection.why, strict=True):
        answer = np.isin(np.arange(3), why["labels"])
        expected = 0.0
        for outcome in itertools.product([False, True], repeat=3):
            weight = np.prod(np.where(outcome, proba[row], 1 - proba[row]))
            expected += weight * np.count_nonzero(answer != np.array(outcome))
        assert utility == pytest.approx(expected)


def test_with_one_label_a_row_the_loss_is_modals_own() -> None:
    """Decisions instead of probabilities: there, a wrong label costs 2."""

    class Decided:
        classes_ = (0, 1, 2)

        def __init__(self, decisions: Reals) -> None:
            self.decisions = decisions

        def predict(self, X: Any) -> Reals:
            return self.decisions

        predict_proba = predict

    decisions = (rng(3).random((40, 3)) < 0.5).astype(float)
    rows, theirs = max_loss(Decided(decisions), decisions, n_instances=40)
    known = {"labelled_X": np.eye(3), "labelled_y": np.eye(3)}
    view = PoolView(np.arange(40), decisions, predict=lambda X: X[None], task="multi_label", **known)
    ours = np.array(utilities_of(asked(MaxLossReduction(), view, 40)))
    np.testing.assert_allclose(2 * ours[rows], theirs)


def test_the_number_of_labels_is_learned_from_the_labelled_rows() -> None:
    """The model finds all labels half as likely as they are: rows with the sum 1.5 have three labels."""
    labels = np.repeat([[1, 1, 1, 0], [1, 0, 0, 0]], 20, axis=0)
    X = labels * (0.5 + 0.01 * rng(4).normal(size=labels.shape))
    rows = np.array([[0.5, 0.49, 0.5, 0.02], [0.01, 0.49, 0.0, 0.01]])
    more = {"predict": lambda X: np.clip(X, 0, 1)[None], "task": "multi_label", "classes": "abcd"}
    learned = asked(MaxLossReduction(), PoolView([0, 1], rows, labelled_X=X, labelled_y=labels, **more), 2)
    assert [why["n_labels"] for why in learned.why] == [3, 1]
    assert learned.why[0]["labels"] == ["a", "c", "b"]
    assert learned.utilities == pytest.approx([0.5 + 0.51 + 0.5 + 0.02, 0.01 + 0.51 + 0 + 0.01])
    guessed = asked(MaxLossReduction(), table_view(rows, labelled_X=X, labelled_y=labels), 2)
    assert sorted(why["n_labels"] for why in guessed.why) == [1, 2]


@pytest.mark.parametrize("counts", [[1, 2, 3], [0, 1, 3], [2, 3, 3]])
def test_any_numbers_of_labels_can_be_told_apart(counts: list[int]) -> None:
    sets = np.array([np.arange(4) < count for count in counts] * 15, dtype=float)
    X = np.clip(sets + 0.05 * rng(5).normal(size=sets.shape), 0, 1)
    more = {"predict": lambda X: X[None], "task": "multi_label", "labelled_X": X, "labelled_y": sets}
    selection = asked(MaxLossReduction(), PoolView([0, 1, 2], sets[:3], **more), 3)
    assert [dict(zip(selection.rows, selection.why, strict=True))[row]["n_labels"] for row in range(3)] == counts


@pytest.mark.parametrize("strategy", [MaxLossReduction(), CVIRS()])
def test_label_sets_of_another_width_are_refused_with_both_shapes(strategy: PoolStrategy) -> None:
    X = features()
    known = {"labelled_X": X[:5], "labelled_y": labels_of("multi_label", 5)[:, :2]}
    view = PoolView(ids_of(), X, predict=predict_labels, task="multi_label", **known)
    with pytest.raises(StrategyError, match=r"labelled_y has shape \(5, 2\): \(5, 3\) was expected"):
        asked(strategy, view, 3)


# Category vector inconsistency and ranking of scores.


def entropy_of(*counts: int) -> float:
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def plain_distance(a: list[bool], b: list[bool]) -> float:
    pairs = [(x, y) for x, y in zip(a, b, strict=True)]
    if all(x != y for x, y in pairs):
        return 1.0
    joint = entropy_of(*[pairs.count(pair) for pair in itertools.product([False, True], repeat=2)])
    alone = entropy_of(a.count(True), a.count(False)) + entropy_of(b.count(True), b.count(False))
    return (2 * joint - alone) / joint if joint else 0.0


def label_sets(n_labels: int) -> Iterator[list[bool]]:
    yield from (list(answer) for answer in itertools.product([False, True], repeat=n_labels))


@pytest.mark.parametrize("n_labels", [1, 2, 4])
def test_distances_of_label_sets_are_those_of_their_entropies(n_labels: int) -> None:
    sets = list(label_sets(n_labels))
    expected = [[plain_distance(a, b) for b in sets] for a in sets]
    np.testing.assert_allclose(set_distances(np.array(sets), np.array(sets)), expected, atol=1e-12)


def test_label_sets_are_alike_by_what_they_tell_of_each_other() -> None:
    sets = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    distances = set_distances(sets, sets)
    assert distances.diagonal().tolist() == [0, 0, 0, 0, 0]
    assert distances[0, 1] == 1  # all labels differ
    assert distances[0, 2] == pytest.approx(1)  # they say nothing of each other
    assert distances[3, 4] == 1


@pytest.mark.parametrize("seed", range(4))
def test_inconsistent_rankings_are_those_of_the_definition(seed: int) -> None:
    draw = rng(seed)
    proba, known = draw.random((25, 4)), draw.random((8, 4)) < 0.4
    margins = np.abs(2 * proba - 1)
    wider = (margins[:, None] < margins[None]).sum(axis=1)
    ranking = wider.sum(axis=1) / (4 * 24)
    answers = (proba > 0.5).tolist()
    unlike = [np.mean([plain_distance(answer, other) for other in known.tolist()]) for answer in answers]
    selection = asked(CVIRS(), table_view(proba, labelled_X=np.zeros((8, 1)), labelled_y=known.astype(int)), 25)
    np.testing.assert_allclose(utilities_of(selection), ranking * unlike, atol=1e-12)
    row = selection.rows[0]
    assert selection.why[0] == {
        "ranking": pytest.approx(ranking[row]),
        "inconsistency": pytest.approx(unlike[row]),
        "labels": np.flatnonzero(proba[row] > 0.5).tolist(),
    }


def test_without_labels_the_ranking_alone_decides() -> None:
    selection = asked(CVIRS(), table_view(TABLE), 4)
    assert selection.why[0]["inconsistency"] == 1
    assert selection.rows[0] == 1


def test_above_the_sample_rows_are_ranked_among_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    proba = rng(7).random((3_000, 3))
    view = table_view(proba)
    sampled = asked(CVIRS(), view, 3_000)
    monkeypatch.setattr("query_strategies.multilabel.REFERENCE", 3_000)
    exact = asked(CVIRS(), view, 3_000)
    assert np.abs(np.array(utilities_of(sampled)) - utilities_of(exact)).max() < 0.04
    assert sampled.utilities.max() <= 1
