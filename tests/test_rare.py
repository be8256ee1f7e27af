"""Choices where some class is rare: by its probability, a floor for each class, and near what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pools import CLASSES, N, Reals, asked, bare_view, features, ids_of, predict, rng, view_of
from scipy import sparse
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from query_strategies import (
    Entropy,
    KMeans,
    Margin,
    MostLikelyPositive,
    PoolStrategy,
    PoolView,
    PredictionError,
    Random,
    RareFloor,
    Seals,
    StrategyError,
)
from query_strategies.geometry import Space
from query_strategies.rare import neighbours


def imbalanced(weights: list[float], n: int, seed: int) -> tuple[Reals, NDArray[np.int64]]:
    X, y = make_classification(
        n, 16, n_informative=8, n_redundant=2, n_classes=len(weights), weights=weights, n_clusters_per_class=1,
        class_sep=1.5, flip_y=0, random_state=seed,
    )  # fmt: skip
    return X / X.std(axis=0), y


def labelled_by(
    strategy: PoolStrategy, X: Reals, y: NDArray[np.int64], start: list[int], total: int, seed: int
) -> tuple[NDArray[np.int64], list[float]]:
    """The rows that are labelled after a loop in batches of 10, and which share of the pool each batch predicted."""
    n_classes, known, shares = int(y.max()) + 1, list(start), []
    while len(known) < total:
        model = LogisticRegression(C=5, max_iter=2000).fit(X[known], y[known])
        rest, predicted = np.setdiff1d(np.arange(len(y)), known), [0]

        def aligned(block: Any, model: Any = model, predicted: list[int] = predicted) -> Reals:
            predicted[0] += len(block)
            proba = np.zeros((len(block), n_classes))
            proba[:, model.classes_] = model.predict_proba(block)
            return proba

        view = PoolView(
            rest, X[rest], predict=aligned, labelled_X=X[known], labelled_y=y[known], classes=range(n_classes)
        )
        selection = asked(strategy, view, 10, seed=1000 * seed + len(known))
        shares.append(predicted[0] / view.n)
        known += rest[selection.rows].tolist()
    return np.array(known), shares


# The most likely positive.


def test_the_rows_most_likely_of_the_class_come_first() -> None:
    proba = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.9, 0.1, 0.0]])
    view = PoolView.from_predictions(None, np.stack([proba, proba]), classes=CLASSES)
    for positive, rows, best in (("spam", [0, 2], 0.5), ("ham", [3, 2], 0.9), (None, [1, 2], 0.8)):
        selection = asked(MostLikelyPositive(positive=positive), view, 2)
        assert selection.rows.tolist() == rows
        assert selection.why[0] == {"class": positive or "other", "confidence": pytest.approx(best)}
        assert selection.utilities[0] == pytest.approx(best)


def test_the_positive_class_is_by_default_the_one_with_the_fewest_labels_among_those_that_have_any() -> None:
    proba = np.full((4, 4), 0.2) + 0.2 * np.eye(4)
    for labels, column in (([0, 0, 1, 2, 2], 1), ([2, 2, 0, 0], 2), ([], 3), ([0, 0, 0], 0)):
        view = PoolView.from_predictions(
            None, proba, X=np.eye(4), labelled_X=np.zeros((len(labels), 4)), labelled_y=np.array(labels, dtype=int)
        )
        selection = asked(MostLikelyPositive(), view, 1)
        assert selection.rows.tolist() == [column]
        assert selection.why[0]["class"] == column


def test_a_class_is_taken_by_name_before_it_is_taken_for_a_column() -> None:
    proba = np.array([[0.9, 0.1], [0.1, 0.9]])
    named = PoolView.from_predictions(None, proba, classes=(1, 0))
    assert asked(MostLikelyPositive(positive=1), named, 1).rows.tolist() == [0]
    assert asked(MostLikelyPositive(positive=1), PoolView.from_predictions(None, proba), 1).rows.tolist() == [1]


def test_a_class_that_there_is_not_is_refused() -> None:
    proba = np.array([[0.9, 0.1]])
    with pytest.raises(StrategyError, match=r'there is no class "relevant"\. Known: ham, spam'):
        asked(
            MostLikelyPositive(positive="relevant"), PoolView.from_predictions(None, proba, classes=("ham", "spam")), 1
        )
    with pytest.raises(StrategyError, match=r'no class "relevant"\. Known: none, they are numbered'):
        asked(MostLikelyPositive(positive="relevant"), PoolView.from_predictions(None, proba), 1)
    with pytest.raises(PredictionError, match="class 2 is asked for, and predictions have 2 columns"):
        asked(MostLikelyPositive(positive=2), PoolView.from_predictions(None, proba), 1)


def test_screening_finds_more_positives_than_margin_and_margin_more_than_random() -> None:
    found = np.zeros((3, 4))
    for seed in range(4):
        X, y = imbalanced([0.95, 0.05], 1500, seed)
        start = [*np.flatnonzero(y == 1)[:2].tolist(), *np.flatnonzero(y == 0)[:8].tolist()]
        for i, strategy in enumerate((MostLikelyPositive(positive=1), Margin(), Random())):
            found[i, seed] = y[labelled_by(strategy, X, y, start, 80, seed)[0]].sum()
    assert np.all(found[0] > found[1])
    assert np.all(found[1] > found[2])


# A floor for rare classes.


def rare_view(labels: list[int], proba: Any, **more: Any) -> PoolView:
    known = {"labelled_X": np.zeros((len(labels), 1)), "labelled_y": np.array(labels, dtype=int)}
    return PoolView.from_predictions(None, proba, X=np.arange(len(proba))[:, None], **{**known, **more})


def for_rare(selection: Any) -> list[tuple[int, Any]]:
    pairs = zip(selection.rows.tolist(), selection.why, strict=True)
    return [(row, why["class"]) for row, why in pairs if "drawn" in why]


def test_rare_classes_take_turns_and_the_rest_is_for_the_inner_strategy() -> None:
    """Rows 0 to 3 are close calls of the frequent classes; the others lean towards a rare one."""
    close = [[0.49, 0.51, 0, 0], [0.48, 0.52, 0, 0], [0.53, 0.47, 0, 0], [0.54, 0.46, 0, 0]]
    leaning = [[0.9, 0, 0.1, 0], [0.8, 0, 0.2, 0], [0.7, 0, 0, 0.3], [0.6, 0, 0, 0.4], [0.75, 0, 0.05, 0.2]]
    view = rare_view([0] * 5 + [1] * 5 + [2] * 2 + [3], np.array(close + leaning), classes=("a", "b", "c", "d"))
    selection = asked(RareFloor(share=0.5), view, 8)
    assert for_rare(selection) == [(7, "d"), (5, "c"), (6, "d"), (4, "c")]
    assert [row for row in selection.rows.tolist() if row < 4] == [0, 1, 2, 3]
    own = asked(Margin(), view, 4)
    assert [why for why in selection.why if "drawn" not in why] == list(own.why)
    assert selection.why[selection.rows.tolist().index(7)] == {
        "class": "d",
        "confidence": pytest.approx(0.4),
        "labels": 1,
        "drawn": "for a class with few labels",
    }
    assert set(selection.utilities.tolist()) == set(own.utilities.tolist())


def test_with_enough_labels_of_every_class_the_inner_strategy_chooses_alone() -> None:
    labels = np.repeat([0, 1, 2], 5)
    view = view_of(features(), labelled_X=features(15, seed=1), labelled_y=labels)
    assert asked(RareFloor(), view, 20).why == asked(Margin(), view, 20).why
    assert len(for_rare(asked(RareFloor(floor=6), view, 20))) == 4
    assert len(for_rare(asked(RareFloor(floor=6, share=0.5), view, 20))) == 10


def test_a_share_of_a_small_batch_is_kept_on_average_and_a_class_without_labels_comes_first() -> None:
    view = view_of(features(), labelled_y=np.array([0, 0, 0, 1, 1]))
    found = [for_rare(asked(RareFloor(share=0.25), view, 2, seed)) for seed in range(200)]
    assert np.mean([len(each) for each in found]) == pytest.approx(0.5, abs=0.12)
    assert {each[0][1] for each in found if each} == {"other"}
    even = rare_view([0, 0, 1, 1, 2, 2], np.full((6, 3), 1 / 3), classes=CLASSES)
    assert {for_rare(asked(RareFloor(share=1.0), even, 1, seed))[0][1] for seed in range(20)} == set(CLASSES)


def test_rows_for_a_class_that_the_model_never_saw_are_drawn_at_random() -> None:
    proba = np.column_stack([np.linspace(0.2, 0.8, 30), np.linspace(0.8, 0.2, 30), np.zeros(30)])
    view = rare_view([0, 1] * 5, proba)
    chosen = {for_rare(asked(RareFloor(share=1.0), view, 1, seed))[0] for seed in range(40)}
    assert {name for _, name in chosen} == {2}
    assert len(chosen) > 15


def test_the_same_row_is_not_taken_for_two_classes_nor_twice() -> None:
    proba = np.tile([[0.5, 0.3, 0.2]], (6, 1))
    proba[0] = [0.2, 0.4, 0.4]
    view = rare_view([0] * 9, proba)
    for n in range(1, 7):
        assert len(set(asked(RareFloor(share=1.0), view, n).rows.tolist())) == n


def test_a_floor_goes_with_strategies_that_choose_classes() -> None:
    view = view_of(features())
    assert len(set(asked(RareFloor("kmeans", share=0.5), view, 20).rows.tolist())) == 20
    assert RareFloor("kmeans").tasks == {"choice"}
    with pytest.raises(StrategyError, match="floor is 0"):
        RareFloor(floor=0)

    class Numbers(KMeans):
        tasks = frozenset({"number"})

    with pytest.raises(StrategyError, match="rare_floor counts the labels of classes, and kmeans chooses for none"):
        RareFloor(Numbers())


def test_with_100_labels_more_of_the_rarest_class_are_found_than_by_random() -> None:
    found = np.zeros((2, 4))
    for seed in range(4):
        X, y = imbalanced([0.70, 0.15, 0.08, 0.04, 0.03], 2000, seed)
        start = rng(seed).choice(len(y), 20, replace=False).tolist()
        for i, strategy in enumerate((RareFloor(), Random())):
            known, _ = labelled_by(strategy, X, y, start, 100, seed)
            found[i, seed] = np.count_nonzero(y[known] == 4)
    assert np.all(found[0] >= found[1])
    assert found[0].mean() > 2 * found[1].mean()


# Near what is known.


def brute(X: Reals, known: Reals, k: int, order: NDArray[np.int64]) -> set[int]:
    near: set[int] = set()
    for point in known:
        distance = ((X[order] - point) ** 2).sum(axis=1)
        near |= set(order[np.argsort(distance, kind="stable")[:k]].tolist())
    return near


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 20), st.integers(1, 40), st.integers(0, 10_000))
def test_neighbours_are_those_of_a_full_sort(n: int, m: int, k: int, numbers: int, seed: int) -> None:
    """Small whole numbers, so that many are equally near; steps of a few rows, so that they are sifted often."""
    draw = rng(seed)
    X, known = draw.integers(0, 4, size=(n, 2)).astype(float), draw.integers(0, 4, size=(m, 2)).astype(float)
    view = PoolView(draw.permutation(n), X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("query_strategies.geometry.STEP_NUMBERS", numbers)
        space = Space(np.zeros(2))
        found = neighbours(view, space, space.points(known), k)
    assert found.tolist() == [row for row in view.order.tolist() if row in brute(X, known, k, view.order)]


def test_neighbours_of_real_numbers_are_exact_dense_and_sparse() -> None:
    X, known = rng(3).normal(size=(700, 5)), rng(4).normal(size=(30, 5))
    for pool, points in ((X, known), (sparse.csr_array(X), sparse.csr_array(known))):
        view = PoolView(np.arange(700), pool, labelled_X=points)
        space = Space.around(pool)
        covered = space.covered(view)
        assert covered is not None
        assert set(neighbours(view, space, covered, 7).tolist()) == brute(X, known, 7, view.order)


def seen_by(strategy: PoolStrategy, view_options: dict[str, Any], n: int) -> tuple[Any, set[tuple[float, ...]]]:
    seen: set[tuple[float, ...]] = set()

    def watched(block: Any) -> Reals:
        seen.update(map(tuple, block.tolist()))
        return predict(block)

    return asked(strategy, PoolView(ids_of(), features(), predict=watched, **view_options), n), seen


def test_only_the_neighbours_of_labelled_and_pending_rows_are_predicted() -> None:
    X = features()
    known = features(2, seed=1)
    near = {tuple(X[row].tolist()) for row in brute(X, known, 6, np.argsort(ids_of()))}
    for options in ({"labelled_X": known}, {"pending_X": known}, {"labelled_X": known[:1], "pending_X": known[1:]}):
        selection, seen = seen_by(Seals(k=6), options, 4)
        assert seen == near
        assert all((why["candidates"], why["pool"]) == (len(near), N) for why in selection.why)
        assert {tuple(X[row].tolist()) for row in selection.rows} <= near
    _, seen = seen_by(Seals(k=6, extra=10), {"labelled_X": known}, 4)
    assert near < seen
    assert len(seen) == len(near) + 10
    _, seen = seen_by(Seals(k=6, extra=1000), {"labelled_X": known}, 4)
    assert len(seen) == N


def test_the_inner_strategy_chooses_among_the_candidates_as_it_would_in_a_pool_of_them() -> None:
    X, known = features(), features(2, seed=1)
    near = np.array(sorted(brute(X, known, 8, np.argsort(ids_of()))))
    selection = asked(Seals("entropy", k=8), bare_view(X, labelled_X=known), 5)
    alone = asked(Entropy(), bare_view(X[near], ids_of()[near]), 5)
    np.testing.assert_array_equal(selection.rows, near[alone.rows])


def test_where_there_are_fewer_candidates_than_n_the_rest_is_drawn_at_random() -> None:
    view = bare_view(features(), labelled_X=features(1, seed=1))
    answers = [asked(Seals(k=4), view, 10, seed) for seed in range(3)]
    for selection in answers:
        assert np.all(selection.utilities[4:] == 0)
        assert ["drawn" in why for why in selection.why] == [False] * 4 + [True] * 6
        np.testing.assert_array_equal(np.sort(selection.rows[:4]), np.sort(answers[0].rows[:4]))
    assert len({tuple(selection.rows[4:].tolist()) for selection in answers}) == 3


def test_where_nothing_is_known_the_candidates_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_strategies.rare.START", 12)
    selection = asked(Seals(), bare_view(features()), 5)
    assert selection.why[0]["candidates"] == 12
    assert asked(Seals(), bare_view(features()), 30).why[0]["candidates"] == 30


def test_a_number_of_neighbours_below_one_is_refused() -> None:
    with pytest.raises(StrategyError, match="k is 0 and extra is 0"):
        Seals(k=0)
    with pytest.raises(StrategyError, match="k is 5 and extra is -1"):
        Seals(k=5, extra=-1)


def test_with_one_positive_in_a_hundred_few_rows_are_looked_at_and_far_more_positives_found_than_by_random() -> None:
    X, y = imbalanced([0.99, 0.01], 6000, 0)
    start = [*np.flatnonzero(y == 1)[:3].tolist(), *np.flatnonzero(y == 0)[:7].tolist()]
    near, shares = labelled_by(Seals(k=20), X, y, start, 100, 0)
    drawn, _ = labelled_by(Random(), X, y, start, 100, 0)
    assert shares[0] < 0.05
    assert shares[-1] < 0.25
    assert y[near].sum() > 3 * y[drawn].sum()
