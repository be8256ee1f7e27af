"""Which strategy's turn it is, and that it is written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pools import CLASSES, N, asked, features, labels_of, rng, view_of

from query_strategies import Auto, Phased, PoolView, StrategyError, make
from query_strategies.phased import EVEN, PER_CLASS


def known(n: int, n_classes: int = 3) -> dict[str, Any]:
    return {"labelled_X": features(n, seed=1), "labelled_y": np.arange(n) % n_classes}


def skewed(X: Any) -> Any:
    return np.tile([0.9, 0.05, 0.05], (1, X.shape[0], 1))


@pytest.mark.parametrize(
    ("more", "strategy", "reason"),
    [
        (known(0), "kmeans", "nothing is labelled yet"),
        (known(6), "uncertainty_herding", f"6 labels, fewer than {3 * PER_CLASS}"),
        (known(3 * PER_CLASS), "margin", f"{3 * PER_CLASS} labels, at least {3 * PER_CLASS}"),
        (known(6) | {"predict": skewed}, "margin", f"spread over 0.49 of the classes, less than {EVEN}"),
        (
            known(6, 2) | {"classes": CLASSES[:2], "predict": lambda X: np.full((1, X.shape[0], 2), 0.5)},
            "margin",
            "2 classes",
        ),
    ],
)
def test_auto_picks_by_labels_classes_and_balance(more: dict[str, Any], strategy: str, reason: str) -> None:
    view = view_of(features(), **more)
    selection = asked(Auto(), view, 7, seed=2)
    for why in selection.why:
        assert why["strategy"] == strategy
        assert reason in why["because"]
    alone = make(strategy).query(view, 7, rng(2))
    np.testing.assert_array_equal(selection.rows, alone.rows)
    np.testing.assert_array_equal(selection.utilities, alone.utilities)


@pytest.mark.parametrize(
    ("task", "strategy"), [("multi_label", "label_entropy_mean"), ("number", "mixture(k_center, share=0.5)")]
)
def test_auto_knows_other_kinds_of_labels(task: str, strategy: str) -> None:
    for n, expected in ((0, "kmeans"), (5, strategy)):
        labelled = {"labelled_X": features(n, seed=1), "labelled_y": labels_of(task, n)}
        assert {why["strategy"] for why in asked(Auto(), view_of(features(), task=task, **labelled), 4).why} == {
            expected
        }


def test_phases_follow_the_number_of_labels_for_each_class() -> None:
    strategy = Phased(early="typiclust", late="entropy", per_class=4)
    for n, expected in ((0, "kmeans"), (11, "typiclust"), (12, "entropy")):
        assert {why["strategy"] for why in asked(strategy, view_of(features(), **known(n)), 4).why} == {expected}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early": "nope"}, 'unknown strategy "nope"'),
        ({"late": "spread"}, "uncertainty_herding or spread chooses for none"),
        ({"per_class": "a"}, "per_class is 'a': give a whole number"),
        ({"per_class": 0}, "per_class is 0"),
    ],
)
def test_phases_that_cannot_work_are_refused_when_they_are_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        Phased(**options)


def test_phases_need_what_either_of_them_needs() -> None:
    strategy = Phased(late="kl_mean")
    assert strategy.needs_members == 2
    assert Phased(late="expected_error_reduction").needs >= {"refit", "X", "labels", "proba"}


def test_classes_without_names_are_counted_by_their_labels() -> None:
    proba = np.full((1, N, 3), 1 / 3)
    view = PoolView.from_predictions(None, proba, X=features(), **known(12))
    assert asked(Phased(per_class=4), view, 1).why[0]["strategy"] == "margin"
    assert asked(Phased(per_class=5), view, 1).why[0]["strategy"] == "uncertainty_herding"


def test_a_large_pool_is_not_predicted_twice_to_see_whether_its_classes_are_even() -> None:
    X = rng().normal(size=(60_000, 3))
    asked_about: list[int] = []

    def predict(rows: Any) -> Any:
        asked_about.append(len(rows))
        return np.tile([0.9, 0.05, 0.05], (1, len(rows), 1))

    labelled = {"labelled_X": X[:6], "labelled_y": np.arange(6) % 3}
    view = PoolView(np.arange(60_000), X, predict=predict, classes=CLASSES, **labelled)
    assert asked(Auto(), view, 5).why[0]["strategy"] == "margin"
    assert asked_about == [10_000, 60_000]
