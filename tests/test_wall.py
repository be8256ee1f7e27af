"""The wall between test items and everything that learns or chooses, in loops of any seed, strategy and answers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from loops import CLASSES, open_loop, run_to_end, settings, write_points

from active_loop.domain import Purpose, Split
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.runner import InlineRunner
from active_loop.scoring import EncodeJob, RoundJob
from active_loop.sources import open_source
from active_loop.store import Store

ways = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "strategy": st.sampled_from(["auto", "margin", "k_center", "random", "phased"]),
        "random_share": st.sampled_from([0.0, 0.3]),
        "use": st.sampled_from(["logistic", "svm"]),
    }
)


class Watched(InlineRunner):
    """Keeps every job that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Any] = []

    def submit(self, job: Any) -> None:
        self.jobs.append(job)
        super().submit(job)


def ended(folders: pytest.TempPathFactory, way: dict[str, Any], tested: list[str | None]) -> tuple[Loop, list[Any]]:
    """A loop that ran to its end, with its jobs; the k-th test item, in order, is answered by `tested[k % len]`."""
    folder = folders.mktemp("wall")
    labels: list[str | None] = list(write_points(folder, n=130))
    told = settings(
        seed=way["seed"],
        target={"value": 0.999},
        budget={"answers": 80},
        query={"strategy": way["strategy"], "random_share": way["random_share"]},
        model={"use": way["use"]},
    )
    told_to = {str(row): label for row, label in enumerate(labels)}
    loop = open_loop(folder, Oracle(told_to), told)
    loop.jobs.runner = Watched()
    loop.import_items()
    for rank, item in enumerate(loop.standing.test_order):
        told_to[loop.standing.items[item].row] = tested[rank % len(tested)]
    run_to_end(loop)
    return loop, loop.jobs.runner.jobs


def pool_side(loop: Loop) -> Any:
    """All that must not depend on a test answer: what was asked to learn, and what every round learned and found."""
    asks = [(ask.id, ask.why, ask.utility) for ask in loop.store.asks() if ask.purpose == Purpose.POOL]
    rounds = [
        (r.number, r.record["n_labels"], r.record["agreement"], r.record["data_version"]) for r in loop.store.rounds()
    ]
    return asks, rounds


@limits(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ways, st.lists(st.sampled_from([*CLASSES, None]), min_size=1, max_size=7))
def test_no_test_item_reaches_a_fit_a_choice_a_comparison_or_the_features(
    tmp_path_factory: pytest.TempPathFactory, way: dict[str, Any], tested: list[str | None]
) -> None:
    loop, jobs = ended(tmp_path_factory, way, tested)
    test = np.array([item.position for item in loop.standing.items if item.split == Split.TEST])
    assert len(test) > 20
    assert any(isinstance(job, RoundJob) for job in jobs)
    for job in jobs:
        if isinstance(job, EncodeJob):
            assert not job.pool[test].any(), "no feature is fitted on a test item"
        elif isinstance(job, RoundJob) and job.number <= loop.store.rounds()[-1].number:
            used = np.concatenate([job.labelled, job.candidates, job.pending, job.sample])
            assert not np.intersect1d(used, test).size
    assert all((ask.item in test) == (ask.purpose == Purpose.TEST) for ask in loop.store.asks())


@limits(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ways, st.lists(st.sampled_from([*CLASSES, None]), min_size=1, max_size=7))
def test_test_answers_move_nothing_that_is_learned_or_asked_to_learn(
    tmp_path_factory: pytest.TempPathFactory, way: dict[str, Any], tested: list[str | None]
) -> None:
    one, other = (ended(tmp_path_factory, way, each)[0] for each in (tested, [CLASSES[0]]))
    assert pool_side(one) == pool_side(other)


def test_what_a_published_task_carries_cannot_be_worked_out_from_what_is_published(tmp_path: Path) -> None:
    """The name of a loop stands in the description of its project: no ask id may follow from it."""
    write_points(tmp_path)
    stores = []
    for name in ("one", "two"):
        store = Store(tmp_path / f"{name}.db")
        told = settings()
        loop = Loop(told, store, open_source(told.data, tmp_path), Oracle([]), InlineRunner(), folder=tmp_path / name)
        loop.import_items()
        stores.append((store, loop._ask_id("test", 1, 7)))
    (one, first), (two, second) = stores
    assert first != second
    for store, ask in stores:
        named = bytes.fromhex(store.uid())
        assert hashlib.blake2b(b"test:1:7", key=named, digest_size=12).hexdigest() != ask
        assert store.key() != named
    assert one.key() != two.key()
