"""After a certificate: a model that learned from all answers, and what the certificate is worth for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loops import open_loop, run_to_end, settings, write_points

from active_loop.domain import Look, Split, Stopped, Verdict
from active_loop.evaluate import lower_bound, upper_bound
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.refit import Refit, obstacle, refit
from active_loop.report import status
from active_loop.runner import InlineRunner

LOOK = Look(2, 7, 0, 300, 300, 0.0125, 0.9, "accuracy", 0.96, 0.93, 0.98, 288, lower_bound(288, 300, 0.0125), 0.99,
            Verdict.CERTIFIED)  # fmt: skip


def test_the_bound_loses_what_predictions_may_differ_by() -> None:
    found = refit(LOOK, 400, 2, 380)
    assert found.apart == upper_bound(2, 380, 0.00625)
    assert found.bound == pytest.approx(LOOK.bound - found.apart)
    assert found.certified == (found.bound >= 0.9)
    assert refit(replace(LOOK, bound=0.93), 400, 0, 380).certified
    assert not refit(LOOK, 400, 30, 380).certified
    assert not refit(LOOK, 400, 0, 3).certified, "three items say nothing"
    assert Refit.of(found.as_dict()) == found


def test_a_metric_that_may_lose_more_than_the_share_is_not_carried_over() -> None:
    assert "macro_f1" in obstacle(replace(LOOK, metric="macro_f1"), 300)
    assert obstacle(LOOK, 0) == "every reserved item has an answer"
    assert obstacle(LOOK, 300) == ""


def test_the_bound_holds_for_random_pairs_of_models() -> None:
    """Both bounds may fail with 0.05 together; at the worst they hold in all but about that share of draws."""
    rng, fails = np.random.default_rng(5), 0
    n, m, unseen = 2000, 160, 300
    for _ in range(400):
        first = rng.random(n) < rng.uniform(0.85, 0.97)  # where the first model is right
        changed = rng.random(n) < rng.uniform(0.0, 0.05)
        second = np.where(changed, ~first, first)
        order = rng.permutation(n)
        correct = int(first[order[:m]].sum())
        look = replace(LOOK, level=0.025, bound=lower_bound(correct, m, 0.025))
        differing = int(changed[order[m : m + unseen]].sum())
        fails += float(second.mean()) < refit(look, 0, differing, unseen).bound
    assert fails / 400 <= 0.0375 + 3 * (0.0375 * 0.9625 / 400) ** 0.5


def certified(folder: Path) -> Loop:
    labels = write_points(folder, n=900, spread=0.4)
    loop = open_loop(folder, Oracle(labels), settings(target={"value": 0.85}, budget={"answers": 300}))
    stopped = run_to_end(loop)
    assert isinstance(stopped, Stopped)
    assert stopped.decision.verdict == Verdict.CERTIFIED
    return loop


def test_after_a_certificate_every_answer_is_learned_from_and_no_unseen_item_is(tmp_path: Path) -> None:
    loop = certified(tmp_path)
    (event,) = loop.store.events("refitted")
    found = Refit.of(event.body)
    merged = loop.standing.merged()
    assert found.n_labels == sum(bool(m.label) for m in merged.values())
    assert any(loop.standing.items[item].split == Split.TEST for item in merged)
    assert found.n == sum(item not in merged for item in loop.standing.test_order)
    assert status(loop.store).refit == found
    assert found.certified, "three clouds that are far apart"
    assert len(loop.store.events("refitted")) == 1
    run_to_end(loop)
    assert len(loop.store.events("refitted")) == 1, "once is enough"


def test_the_refit_comes_after_a_crash_and_is_the_same(tmp_path: Path) -> None:
    loop = certified(tmp_path)
    found = loop.store.events("refitted")[0].body
    with loop.store.atomic() as db:
        db.execute("DELETE FROM event WHERE kind = 'refitted'")
    again = Loop(loop.settings, loop.store, loop.source, loop.backend, InlineRunner(), folder=tmp_path, uid="00" * 16)
    run_to_end(again)
    assert loop.store.events("refitted")[0].body == found


def test_a_loop_that_proved_nothing_carries_nothing_over(tmp_path: Path) -> None:
    labels = write_points(tmp_path, spread=3.0)
    loop = open_loop(tmp_path, Oracle(labels), settings(target={"value": 0.99}))
    run_to_end(loop)
    assert not loop.store.events("refitted")
    assert status(loop.store).refit is None
