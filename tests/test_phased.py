"""Which strategy's turn it is, and that it is written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pools import CLASSES, N, asked, features, labels_of, rng, view_of

from query_strategies import Auto, Phased, PoolView, StrategyError, make
from query_strategies.phased import PER_CLASS, PER_CLASS_OF_TWO


def known(n: int, n_classes: int = 3) -> dict[str, Any]:
    return {"labelled_X": features(n, seed=1), "labelled_y": np.arange(n) % n_classes}


OF_TWO = {"classes": CLASSES[:2], "predict": lambda X: np.full((1, X.shape[0], 2), 0.5)}


@pytest.mark.parametrize(
    ("more", "strategy", "reason"),
    [
        (known(0), "kmeans", "nothing is labelled yet"),
        (known(6), "uncertainty_herding", f"6 labels, fewer than {3 * PER_CLASS}"),
        (known(3 * PER_CLASS), "margin", f"{3 * PER_CLASS} labels, at least {3 * PER_CLASS}"),
        (known(2 * PER_CLASS_OF_TWO - 1, 2) | OF_TWO, "uncertainty_herding", f"({PER_CLASS_OF_TWO} for each class)"),
        (known(2 * PER_CLASS_OF_TWO, 2) | OF_TWO, "margin", f"at least {2 * PER_CLASS_OF_TWO}"),
    ],
)
def test_auto_picks_by_labels_and_classes(more: dict[str, Any], strategy: str, reason: str) -> None:
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
