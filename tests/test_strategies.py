"""The contract that every registered strategy keeps, the formulas by hand, and what only one of them promises."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from query_strategies import (
    STRATEGIES,
    ConsensusEntropy,
    Entropy,
    KLMax,
    KLMean,
    KMeans,
    LeastConfidence,
    Margin,
    MissingNeedError,
    PoolStrategy,
    PoolTooSmallError,
    PoolView,
    PredictionError,
    Random,
    Selection,
    Strategy,
    StrategyError,
    VoteEntropy,
    make,
    tie_keys,
    top_n,
)

Reals = NDArray[np.float64]

EVERY = pytest.mark.parametrize("strategy", [make(name) for name in STRATEGIES], ids=list(STRATEGIES))
SCORES = [name for name, strategy in STRATEGIES.items() if "proba" in strategy.needs]
COMMITTEE = [name for name, strategy in STRATEGIES.items() if strategy.needs_members > 1]
GEOMETRIC = [name for name, strategy in STRATEGIES.items() if "X" in strategy.needs]

N, MEMBERS, CLASSES = 61, 3, ("ham", "spam", "other")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def features(n: int = N, seed: int = 0) -> Reals:
    """Three clusters; about a third of the numbers are 0, so that csr rows have gaps."""
    draw = rng(seed)
    X = draw.normal(size=(n, 6)) + 4 * draw.integers(0, 3, size=(n, 1))
    X[draw.random(X.shape) < 0.3] = 0
    return X


def ids_of(n: int = N) -> NDArray[np.uint64]:
    return rng(99).integers(2**64, size=n, dtype=np.uint64)


def predict(X: Any) -> Reals:
    """Member predictions that depend on nothing but the row: (MEMBERS, rows, 3)."""
    dense = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    return np.stack([_softmax(dense[:, member : member + 3] / (1 + member)) for member in range(MEMBERS)])


def _softmax(logits: Reals) -> Reals:
    terms = [np.exp(logits[:, column]) for column in range(logits.shape[1])]
    total = terms[0] + terms[1] + terms[2]
    return np.stack([term / total for term in terms], axis=1)


def view_of(X: Any, ids: NDArray[np.uint64] | None = None, **more: Any) -> PoolView:
    options = {"predict": predict, "classes": CLASSES, **more}
    return PoolView(ids_of(X.shape[0]) if ids is None else ids, X, **options)


def asked(strategy: PoolStrategy, view: PoolView, n: int, seed: int = 0) -> Selection:
    return strategy.query(view, n, rng(seed))


# The battery: a new strategy is tested by being registered.


@EVERY
@pytest.mark.parametrize("n", [1, 2, 10, N])
def test_a_selection_has_n_different_rows_best_first_and_a_reason_for_each(strategy: PoolStrategy, n: int) -> None:
    selection = asked(strategy, view_of(features()), n)
    assert len(selection) == n
    assert len(set(selection.rows.tolist())) == n
    assert selection.rows.min() >= 0
    assert selection.rows.max() < N
    assert selection.utilities.dtype == np.float64
    assert np.all(np.diff(selection.utilities) <= 0)
    assert np.all(selection.utilities >= 0)
    assert len(selection.why) == n
    assert json.loads(json.dumps(selection.why)) == list(selection.why)


@EVERY
def test_the_same_question_gets_the_same_answer(strategy: PoolStrategy) -> None:
    first, second = (asked(strategy, view_of(features()), 10, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.utilities, second.utilities)
    assert first.why == second.why


@EVERY
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_answer_depends_on_neither_row_order_nor_block_size(strategy: PoolStrategy, data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 40))
    X = np.array(data.draw(st.lists(st.integers(0, 2), min_size=6 * n, max_size=6 * n)), dtype=float).reshape(n, 6)
    shuffled = np.array(data.draw(st.permutations(range(n))))
    wanted = data.draw(st.integers(1, n))
    whole = asked(strategy, view_of(X), wanted)
    cut = asked(strategy, view_of(X[shuffled], ids_of(n)[shuffled], block_size=data.draw(st.integers(1, n))), wanted)
    np.testing.assert_array_equal(shuffled[cut.rows], whole.rows)
    np.testing.assert_array_equal(cut.utilities, whole.utilities)
    assert cut.why == whole.why


@EVERY
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_give_the_same_answer_as_dense_ones(strategy: PoolStrategy, form: Any) -> None:
    dense = asked(strategy, view_of(features()), 12)
    thin = asked(strategy, view_of(form(features())), 12)
    np.testing.assert_array_equal(thin.rows, dense.rows)
    np.testing.assert_allclose(thin.utilities, dense.utilities)


@EVERY
def test_nothing_that_was_given_is_written_to(strategy: PoolStrategy) -> None:
    X, ids, labelled, pending = features(), ids_of(), features(5, seed=1), features(4, seed=2)
    proba = predict(X)
    given_arrays: tuple[NDArray[Any], ...] = (X, ids, labelled, pending, proba)
    before = [array.copy() for array in given_arrays]
    for array in given_arrays:
        array.flags.writeable = False
    more = {"labelled_X": labelled, "labelled_y": np.zeros(5, dtype=int), "pending_X": pending}
    asked(strategy, view_of(X, ids, **more), 10)
    asked(strategy, PoolView.from_predictions(ids, proba, X=X, **more), 10)
    for array, was in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, was)


@EVERY
def test_sparse_rows_are_not_written_to(strategy: PoolStrategy) -> None:
    tidy = sparse.csr_array(features())
    backwards = (tidy.data[::-1].copy(), tidy.indices[::-1].copy(), tidy.nnz - tidy.indptr[::-1])
    X = sparse.csr_array(backwards, shape=tidy.shape)
    before = (X.data.copy(), X.indices.copy(), X.indptr.copy())
    asked(strategy, view_of(X, labelled_X=X[:3], labelled_y=[0, 1, 2]), 10)
    for now, was in zip((X.data, X.indices, X.indptr), before, strict=True):
        np.testing.assert_array_equal(now, was)


@EVERY
@pytest.mark.parametrize("n", [0, -3])
def test_less_than_one_item_is_refused(strategy: PoolStrategy, n: int) -> None:
    with pytest.raises(StrategyError, match=f"{n} items were asked for"):
        asked(strategy, view_of(features()), n)


@EVERY
def test_more_items_than_the_pool_has_are_refused_with_both_numbers(strategy: PoolStrategy) -> None:
    with pytest.raises(PoolTooSmallError, match=f"{N + 1} items were asked for, and the pool has {N}"):
        asked(strategy, view_of(features()), N + 1)


@EVERY
def test_a_missing_need_is_named(strategy: PoolStrategy) -> None:
    named = {"proba": "predictions of a model", "X": "the feature matrix"}
    bare = PoolView(ids_of(), None)
    if not strategy.needs:
        assert len(asked(strategy, bare, 3)) == 3
        return
    with pytest.raises(MissingNeedError) as caught:
        asked(strategy, bare, 3)
    for need in strategy.needs:
        assert named[need] in str(caught.value)


@EVERY
def test_every_row_can_be_a_copy_of_one_item(strategy: PoolStrategy) -> None:
    X = np.tile(features(1), (20, 1))
    for n in (1, 7, 20):
        selection = asked(strategy, view_of(X, np.full(20, 7, dtype=np.uint64)), n)
        assert len(set(selection.rows.tolist())) == n


@EVERY
def test_options_and_seed_show_in_its_representation(strategy: PoolStrategy) -> None:
    assert repr(type(strategy)(seed=3)) == f"{type(strategy).__name__}(seed=3)"


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    proba = predict(features())
    proba[1, 17, 2] = bad
    with pytest.raises(PredictionError, match="row 17"):
        asked(make(name), PoolView.from_predictions(ids_of(), proba), 5)


@pytest.mark.parametrize("name", SCORES)
def test_predictions_that_are_no_probabilities_are_refused(name: str) -> None:
    proba = predict(features())
    proba[0, 3] *= 1.01
    with pytest.raises(PredictionError, match="not to 1"):
        asked(make(name), PoolView.from_predictions(ids_of(), proba), 5)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_equal_predictions_make_the_choice_random_and_seeded(name: str, n_classes: int) -> None:
    """The state before two classes are known; one column is a model that has seen one class."""
    view = PoolView.from_predictions(ids_of(), np.full((3, N, n_classes), 1 / n_classes))
    answers = [tuple(asked(make(name), view, 5, seed).rows.tolist()) for seed in (0, 0, 1, 2)]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


@pytest.mark.parametrize("name", SCORES)
def test_ties_are_broken_without_favour_for_a_place_in_the_file(name: str) -> None:
    view = PoolView.from_predictions(ids_of(20), np.full((2, 20, 4), 0.25))
    counts = np.zeros(20)
    for seed in range(400):
        counts[asked(make(name), view, 5, seed).rows] += 1
    assert counts.min() > 50
    assert counts.max() < 150


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_smaller_floats_rank_like_larger_ones(name: str, kind: Any) -> None:
    proba = predict(features())
    exact = asked(make(name), PoolView.from_predictions(ids_of(), proba), 1)
    small = asked(make(name), PoolView.from_predictions(ids_of(), proba.astype(kind)), 1)
    assert small.utilities[0] == pytest.approx(exact.utilities[0], abs=0.01)


@pytest.mark.parametrize("name", SCORES)
def test_predictions_given_at_once_and_block_by_block_are_the_same(name: str) -> None:
    X = features()
    once = asked(make(name), PoolView.from_predictions(ids_of(), predict(X), classes=CLASSES), 9)
    blocks = asked(make(name), view_of(X, block_size=8), 9)
    np.testing.assert_array_equal(once.rows, blocks.rows)
    assert once.why == blocks.why


@pytest.mark.parametrize("name", COMMITTEE)
def test_a_committee_of_one_is_refused(name: str) -> None:
    view = PoolView.from_predictions(ids_of(), predict(features())[:1])
    with pytest.raises(StrategyError, match=f"{name}.*at least 2.*there is 1"):
        asked(make(name), view, 5)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_picks_what_a_full_sort_picks(name: str) -> None:
    strategy = make(name)
    X = features(500, seed=8)
    selection = asked(strategy, view_of(X, block_size=64), 50)
    utilities = strategy.utilities(predict(X))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(selection.utilities, np.sort(utilities)[::-1][:50])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_no_choice_falls_next_to_a_row_that_is_labelled_or_pending(name: str) -> None:
    X = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], [50, 10, 5], axis=0) + rng(4).normal(scale=0.1, size=(65, 2))
    for known in ({"labelled_X": X[:1]}, {"pending_X": X[:1]}, {"pending_X": sparse.csr_array(X[:1])}):
        chosen = X[asked(make(name), view_of(X, predict=None, **known), 2).rows]
        assert sorted(chosen.round(-1).tolist()) == [[0, 10], [10, 0]]


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    X = features()
    X[3, 2] = bad
    with pytest.raises(StrategyError, match="NaN or an infinity"):
        asked(make(name), PoolView(ids_of(), X), 5)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_features_that_are_no_numbers_are_refused(name: str) -> None:
    with pytest.raises(StrategyError, match="encode them first"):
        asked(make(name), PoolView(None, np.array([["a"], ["b"]], dtype=object)), 1)


# The registry.


def test_the_registry_names_every_strategy() -> None:
    assert list(STRATEGIES) == [
        *("random", "least_confidence", "margin", "entropy"),
        *("vote_entropy", "consensus_entropy", "kl_max", "kl_mean", "kmeans"),
    ]
    made: Strategy = make("margin", seed=4)
    assert isinstance(made, Margin)


def test_every_strategy_has_a_row_in_the_strategies_page_and_its_code_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "strategies.md").read_text(encoding="utf-8")
    for name, strategy in STRATEGIES.items():
        assert f"| `{name}` | `{strategy.__name__}` |" in page
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["selection"].rows.tolist() == [1, 2]
    assert len(names["chosen"]) == 5


def test_a_wrong_name_is_refused_with_the_closest_and_all_right_ones() -> None:
    with pytest.raises(
        StrategyError, match=r'unknown strategy "margn"\. Did you mean "margin"\? Known: random, .*kmeans'
    ):
        make("margn")


def test_a_wrong_option_is_refused_with_the_right_ones() -> None:
    with pytest.raises(StrategyError, match=r'unknown option of margin "sed"\. Did you mean "seed"\? Known: seed'):
        make("margin", sed=1)


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
    votes = np.array([np.eye(7)[draw.permutation(np.array([0, 0, 1, 1, 1, 2, 3, 4, 5]))] for _ in range(200)])
    relabelled = np.stack([row[:, draw.permutation(7)] for row in votes]).transpose(1, 0, 2)
    assert np.unique(VoteEntropy().utilities(relabelled)).size == 1


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


# Random.


def test_random_takes_every_row_equally_often_and_says_with_which_probability() -> None:
    view = PoolView(ids_of(20), None)
    counts = np.zeros(20)
    for seed in range(600):
        selection = asked(Random(), view, 5, seed)
        counts[selection.rows] += 1
        assert selection.why[0] == {"probability": 0.25}
    assert np.all(np.abs(counts - 150) < 50)


# K-means.


def test_representatives_come_one_per_cluster_the_largest_first() -> None:
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    sizes = [40, 10, 30, 20]
    X = np.repeat(centres, sizes, axis=0) + rng(1).normal(size=(100, 2))
    selection = asked(KMeans(), view_of(X, predict=None), 4)
    np.testing.assert_allclose(X[selection.rows], centres[[0, 2, 3, 1]], atol=2)
    assert [why["cluster_size"] for why in selection.why] == [40, 30, 20, 10]
    assert selection.utilities.tolist() == [0.4, 0.3, 0.2, 0.1]
    nearest = np.linalg.norm(X[:40] - X[:40].mean(axis=0), axis=1)
    assert selection.rows[0] == nearest.argmin()
    assert selection.why[0]["distance"] == pytest.approx(nearest.min())


@pytest.mark.parametrize(
    ("offset", "kind"), [(0.0, np.float32), (1e5, np.float32), (0.0, np.float64), (1e9, np.float64)]
)
def test_copies_are_taken_last(offset: float, kind: Any) -> None:
    different = (rng(2).normal(size=(8, 3)) + offset).astype(kind)
    X = np.repeat(different, 10, axis=0)
    selection = asked(KMeans(), view_of(X, predict=None), 12)
    assert len(set(map(tuple, X[selection.rows[:8]].tolist()))) == len(set(map(tuple, different.tolist())))
    assert [why["cluster_size"] for why in selection.why] == [10] * 8 + [0] * 4


def test_what_is_covered_neither_pulls_a_centre_nor_counts_in_its_cluster() -> None:
    draw = rng(9)
    X = np.concatenate([draw.normal(size=(50, 1)), 20 + draw.normal(size=(15, 1))])
    selection = asked(KMeans(), view_of(X, predict=None, labelled_X=np.zeros((1, 1))), 1)
    assert selection.rows[0] == 50 + np.abs(X[50:] - X[50:].mean()).argmin()
    assert selection.why[0]["cluster_size"] == 15


def test_above_the_highest_number_of_centres_the_rest_is_drawn_from_rows_that_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("query_strategies.coldstart.MAX_CENTRES", 2)
    X = np.repeat(rng(3).normal(size=(20, 2)), 3, axis=0)
    selection = asked(KMeans(), view_of(X, predict=None, labelled_X=X[:1]), 12)
    chosen = selection.rows // 3
    assert not set(chosen[2:].tolist()) & {0, *chosen[:2].tolist()}
    assert [why["cluster_size"] > 0 for why in selection.why] == [True] * 2 + [False] * 10


def test_copies_of_labelled_rows_are_taken_last() -> None:
    different = rng(2).normal(size=(8, 3))
    view = view_of(np.repeat(different, 3, axis=0), predict=None, labelled_X=different[:6])
    chosen = asked(KMeans(), view, 5).rows
    assert set((chosen[:2] // 3).tolist()) == {6, 7}


def test_where_everything_is_covered_the_choice_is_random() -> None:
    X = features()
    view = view_of(X, predict=None, pending_X=X)
    answers = {tuple(asked(KMeans(), view, 5, seed).rows.tolist()) for seed in range(3)}
    assert len(answers) == 3


def test_a_pool_above_the_sample_is_searched_as_a_whole() -> None:
    X = rng(7).normal(size=(45_000, 2)) + 30 * rng(8).integers(0, 4, size=(45_000, 1))
    selection = asked(KMeans(), view_of(X, predict=None), 4)
    assert sorted(np.rint(X[selection.rows, 0] / 30).tolist()) == [0, 1, 2, 3]
    assert sum(why["cluster_size"] for why in selection.why) == 45_000
    assert max(why["distance"] for why in selection.why) < 0.1


# Views.


def test_blocks_come_by_ascending_id_whatever_the_order_of_the_rows() -> None:
    ids = np.array([30, 10, 20, 2**64 - 1, 0], dtype=np.uint64)
    view = view_of(features(5), ids, block_size=2)
    assert [rows.tolist() for rows, _ in view.blocks()] == [[4, 1], [2, 0], [3]]
    assert view.order.tolist() == [4, 1, 2, 0, 3]


def test_a_block_cannot_be_written_to() -> None:
    for view in (view_of(features()), PoolView.from_predictions(ids_of(), predict(features()))):
        _, proba = next(view.blocks())
        with pytest.raises(ValueError, match="read-only"):
            proba[0, 0, 0] = 1


def test_a_pool_is_predicted_block_by_block() -> None:
    sizes: list[int] = []

    def watched(X: Any) -> Reals:
        sizes.append(len(X))
        return predict(X)

    asked(Margin(), view_of(features(50), predict=watched, block_size=20), 5)
    assert sizes == [20, 20, 10]


def test_predictions_of_one_model_may_leave_out_the_members() -> None:
    X = features()
    one = asked(Margin(), view_of(X, predict=lambda block: predict(block)[0]), 5)
    np.testing.assert_array_equal(one.rows, asked(Margin(), view_of(X, predict=lambda b: predict(b)[:1]), 5).rows)


@pytest.mark.parametrize(
    ("make_view", "message"),
    [
        (lambda: PoolView(None, None), "needs ids or X"),
        (lambda: PoolView([1, 2], np.zeros((3, 1))), "2 ids and 3 rows"),
        (lambda: PoolView([1.5, 2], None), "non-negative integer"),
        (lambda: PoolView([-1, 2], None), "non-negative"),
        (lambda: PoolView([1], None, predict=predict), "without X"),
        (lambda: PoolView([1], None, block_size=0), "block_size is 0"),
        (lambda: PoolView.from_predictions([1, 2, 3], np.full((2, 2), 0.5)), "2 rows, and the pool has 3"),
        (lambda: PoolView.from_predictions([1], np.array([1.0])), r"shape \(1,\)"),
    ],
)
def test_a_view_that_does_not_fit_together_is_refused(make_view: Any, message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        make_view()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda X: np.full((1, len(X) - 1, 3), 1 / 3), "was expected"),
        (lambda X: np.full(len(X), 0.5), "was expected"),
        (lambda X: np.full((1, len(X), 2), 0.5), "2 columns, and there are 3 classes"),
    ],
)
def test_predictions_of_a_wrong_shape_are_refused(answer: Any, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        asked(Margin(), view_of(features(), predict=answer), 3)


def test_ids_from_content_are_the_same_for_dense_and_sparse_rows_and_equal_for_copies_only() -> None:
    X = features().astype(np.float32)
    dense = PoolView(None, X).ids
    for other in (X.astype(np.float64), sparse.csr_array(X), sparse.csr_matrix(X), np.asfortranarray(X)):
        np.testing.assert_array_equal(PoolView(None, other).ids, dense)
    assert np.unique(dense).size == N
    assert np.unique(PoolView(None, np.vstack([X, X[:5]])).ids).size == N
    assert np.unique(PoolView(None, np.eye(4)).ids).size == 4
    assert np.unique(PoolView(None, np.array([["a"], ["b"], ["a"]], dtype=object)).ids).size == 2


# Selections and top n.


def test_a_selection_that_breaks_the_contract_is_refused() -> None:
    two = np.array([1, 2])
    with pytest.raises(StrategyError, match="1 different"):
        Selection(np.array([1, 1]), np.ones(2), ({}, {}))
    with pytest.raises(StrategyError, match="increase"):
        Selection(two, np.array([0.1, 0.2]), ({}, {}))
    with pytest.raises(StrategyError, match="1 reasons"):
        Selection(two, np.ones(2), ({},))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_top_n_agrees_with_a_full_sort(values: list[int], data: st.DataObject) -> None:
    utilities, rows = np.array(values, dtype=float), np.arange(len(values))
    n = data.draw(st.integers(1, len(values)))
    keys = tie_keys(PoolView(ids_of(len(values)), None), rng(1))
    full = np.lexsort((keys(rows), -utilities))
    np.testing.assert_array_equal(top_n(utilities, n, rows, keys), full[:n])


def test_places_in_a_tie_are_computed_for_tied_rows_only() -> None:
    seen: list[int] = []

    def keys(rows: Any) -> Any:
        seen.extend(rows.tolist())
        return rows.astype(np.uint64)

    utilities = np.array([5.0, 1, 1, 1, 0, 0, 0, 0, 0])
    assert top_n(utilities, 2, np.arange(9), keys).tolist() == [0, 1]
    assert set(seen) == {0, 1, 2, 3}
