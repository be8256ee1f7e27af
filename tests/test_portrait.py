"""The portrait of a round: of pool items alone, the same again, and never in anybody's way."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import open_loop, oracle, run_to_end, settings, trail, write_points
from scipy.sparse import csr_matrix
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neural_network import MLPClassifier

from active_loop import portrait
from active_loop.domain import COLD_START, RoundState, Split, Stopped, WaitingForTraining
from active_loop.loop import Loop
from active_loop.portrait import FEWEST, Portrait, PortraitJob, Portraits, Portrayed, losses, score, together
from active_loop.runner import InlineRunner, ProcessRunner
from active_loop.scoring import RoundJob, folds
from active_loop.settings import Settings
from active_loop.tasks import MultiLabel, Number, SingleChoice


def portrayed_loop(folder: Path, told: Settings | None = None, *, labels: Any = None, **options: Any) -> Loop:
    true = write_points(folder)
    return open_loop(folder, oracle(labels or true), told, **{"portraits": True, **options})


def newest(loop: Loop) -> Portrait:
    found = Portraits(loop.jobs.cache).find(loop.store.rounds()[-1])
    assert found is not None
    return found


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Loop]:
    loop = portrayed_loop(tmp_path)
    assert isinstance(run_to_end(loop), Stopped)
    with closing(loop.store):
        yield loop


def job_of(loop: Loop, **changes: Any) -> PortraitJob:
    """The job that would portray the newest round."""
    last = loop.store.rounds()[-1]
    path = loop.jobs.cache / "again" / "1.npz"
    return replace(PortraitJob(loop.jobs.of(last, rank=False), loop.standing.pool, path, loop.jobs.cache), **changes)


def test_a_portrait_holds_every_pool_item_and_no_reserved_one(ended: Loop) -> None:
    found = newest(ended)
    assert found.items.tolist() == ended.standing.pool.tolist()
    assert all(ended.standing.items[item].split == Split.POOL for item in found.labelled.tolist())
    assert found.place.shape == (len(found.items), 2)
    assert found.place.dtype == np.float32
    assert found.predicted.shape == found.chance.shape == (len(found.items),)


def test_a_job_that_names_a_reserved_item_makes_nothing(ended: Loop) -> None:
    reserved = ended.standing.test_order[0]
    job = job_of(ended, items=np.array([*ended.standing.pool[:5], reserved]))
    made = job.run()
    assert f"the first is item {reserved}" in made.problem
    assert not job.path.exists()


def test_the_axes_are_fitted_on_pool_items_alone(ended: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    fit = portrait._principal
    monkeypatch.setattr(portrait, "_principal", lambda X: seen.append(np.asarray(X)) or fit(X))
    for path in ended.jobs.cache.glob("axes-*"):
        path.unlink()
    job = job_of(ended)
    assert not job.run().problem
    X = np.asarray(job.fit.features.open())
    assert np.array_equal(seen[0], X[ended.standing.pool])


def test_the_axes_stay_as_long_as_the_features_do(tmp_path: Path) -> None:
    loop = portrayed_loop(tmp_path)
    places = {}
    while not isinstance(loop.step(), Stopped):
        rounds = loop.store.rounds()
        if rounds and rounds[-1].number != COLD_START and rounds[-1].state == RoundState.RANKED:
            found = Portraits(loop.jobs.cache).find(rounds[-1])
            if found:
                places[found.round] = found.place
    loop.store.close()
    assert len(places) > 2
    assert all(np.array_equal(place, places[0]) for place in places.values())


def test_the_same_round_gives_the_same_portrait_after_the_cache_was_deleted(ended: Loop) -> None:
    before = newest(ended)
    for path in (*ended.jobs.cache.glob("axes-*"), *Portraits(ended.jobs.cache).folder.glob("*")):
        path.unlink()
    assert isinstance(ended.step(), Stopped)
    after = newest(ended)
    for name in ("items", "place", "predicted", "chance", "labelled", "codes", "held_out"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert after.history.tolist() == before.history.tolist()[-1:], "what was forgotten is not made up"


def test_directions_of_sparse_and_dense_features_are_the_same() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12)) * np.linspace(4, 1, 12) * (rng.random((300, 12)) < 0.6)
    (centre, directions), (other_centre, others) = (portrait._principal(each) for each in (X, csr_matrix(X)))
    assert np.allclose(centre, other_centre)
    assert np.allclose(directions, others, atol=1e-6)
    assert (directions[np.arange(2), np.abs(directions).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 1), (5, 2), (2, 1)])
def test_a_pool_that_is_too_small_or_flat_still_has_a_place(shape: tuple[int, int]) -> None:
    X = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for features in (X, csr_matrix(X)):
        axes = portrait._principal(features)
        place = portrait._placed(features, np.arange(shape[0]), axes)
        assert place.shape == (shape[0], 2)
        assert np.isfinite(place).all()


def test_what_is_predicted_out_of_fold_is_not_what_was_learned_by_heart(tmp_path: Path) -> None:
    senseless = np.random.default_rng(3).choice(["red", "green", "blue"], 150).tolist()
    loop = portrayed_loop(tmp_path, settings(model={"use": "forest"}), labels=senseless)
    run_to_end(loop)
    number, n_labels, inside, outside = newest(loop).history[-1]
    last = loop.store.rounds()[-1]
    loop.store.close()
    assert (number, n_labels) == (last.number, last.record["n_labels"])
    assert inside > 0.9, "a forest knows its labels by heart"
    assert outside < 0.6, "and labels without sense cannot be foretold"


def test_below_ten_labels_nothing_is_said_out_of_fold(ended: Loop) -> None:
    job = job_of(ended)
    few = replace(job.fit, labelled=job.fit.labelled[: FEWEST - 1], codes=job.fit.codes[: FEWEST - 1])
    assert not replace(job, fit=few).run().problem
    with np.load(job.path, allow_pickle=False) as made:
        assert made["labelled"].shape == (FEWEST - 1,)
        assert made["held_out"].shape == (0, 3)
        assert len(made["place"]) == len(job.items)


def test_only_the_newest_portrait_is_kept_and_it_remembers_the_rounds_before(ended: Loop) -> None:
    folder = Portraits(ended.jobs.cache).folder
    assert len(list(folder.iterdir())) == 1
    rounds = [r.number for r in ended.store.rounds() if r.number != COLD_START]
    assert newest(ended).history[:, 0].tolist() == rounds


def test_with_portraits_nothing_else_is_another(tmp_path: Path) -> None:
    trails = []
    for portraits in (False, True):
        folder = tmp_path / str(portraits)
        folder.mkdir()
        loop = portrayed_loop(folder, portraits=portraits)
        run_to_end(loop)
        trails.append(trail(loop.store))
        assert (folder / "cache" / "portraits").exists() == portraits
        loop.store.close()
    assert trails[0] == trails[1]


def test_a_portrait_that_fails_is_said_once_and_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(X: Any) -> Any:
        raise ValueError("no directions today")

    monkeypatch.setattr(portrait, "_principal", broken)
    loop = portrayed_loop(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert isinstance(run_to_end(loop), Stopped)
    said = [record.getMessage() for record in caplog.records if "no directions today" in record.getMessage()]
    assert len(said) == sum(r.number != COLD_START for r in loop.store.rounds())
    loop.store.close()


def test_data_that_are_gone_after_the_end_are_no_reason_not_to_have_ended(
    ended: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ended.jobs.folder
    (folder / "points.csv").write_text("x,y\n1,2\n")
    for path in Portraits(ended.jobs.cache).folder.iterdir():
        path.unlink()
    again = open_loop(folder, ended.backend, portraits=True)
    with caplog.at_level(logging.WARNING):
        assert isinstance(run_to_end(again), Stopped)
    again.store.close()
    assert "cannot draw round" in caplog.text


class Slow(InlineRunner):
    """A runner whose spare jobs take a number of polls; it remembers what it was given."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self._polls, self._left = polls, 0
        self.given: list[Any] = []
        self.passed_over: list[int] = []

    def submit(self, job: Any) -> None:
        if self._spare and self._result is not None:
            self.passed_over.append(self._result.round)
        self.given.append(job)
        super().submit(job)
        self._left = self._polls if self._spare else 0

    def poll(self) -> Any:
        if self._left:
            self._left -= 1
            return None
        return super().poll()


def test_a_round_that_is_due_takes_the_place_of_a_portrait_that_is_being_made(tmp_path: Path) -> None:
    runner = Slow(polls=10_000)
    loop = portrayed_loop(tmp_path, runner=runner)
    for _ in range(3000):
        if loop.decision():
            break
        assert not isinstance(loop.step(), WaitingForTraining)
    loop.store.close()
    fitted = [job.number for job in runner.given if isinstance(job, RoundJob)]
    assert fitted == sorted(fitted)
    assert len(fitted) > 3
    assert runner.passed_over == fitted[1:-1]


def test_at_the_end_the_last_portrait_is_waited_for(tmp_path: Path) -> None:
    loop = portrayed_loop(tmp_path, runner=Slow(polls=3))
    results = []
    while not results or not isinstance(results[-1], Stopped):
        results.append(loop.step())
    waits = [result for result in results if isinstance(result, WaitingForTraining)]
    assert 0 < len(waits) <= 3
    assert newest(loop).round == loop.store.rounds()[-1].number
    loop.store.close()


def test_a_job_that_is_wanted_elsewhere_gives_way_and_leaves_nothing(ended: Loop) -> None:
    job = job_of(ended)
    assert job.run(lambda: True) == Portrayed(job.fit.number, gave_way=True)
    assert not job.path.exists()


@pytest.mark.process
def test_a_training_process_answers_the_job_that_took_the_place_of_another_one(ended: Loop) -> None:
    job = job_of(ended)
    runner = ProcessRunner()
    try:
        for spare in (job, job):
            runner.submit(spare)
            assert not runner.busy
        runner.submit(job.fit)
        assert runner.busy
        assert wait(runner.poll, lambda: runner.busy).number == job.fit.number
        assert runner.poll() is None
    finally:
        runner.close()


@pytest.mark.process
def test_a_training_process_that_dies_of_a_portrait_is_not_made_to_try_again(ended: Loop) -> None:
    job = job_of(ended)
    runner = ProcessRunner()
    try:
        runner._child.kill()
        runner._child.wait()
        runner._job = job
        found = wait(runner.poll, lambda: True)
        assert "the process ended with status -9" in found.problem
        runner.submit(job.fit)
        assert wait(runner.poll, lambda: runner.busy).number == job.fit.number
    finally:
        runner.close()


def wait(poll: Callable[[], Any], goes_on: Callable[[], bool]) -> Any:
    while goes_on():
        if (found := poll()) is not None:
            return found
    raise AssertionError("nothing came")


def test_a_file_that_cannot_be_read_is_no_portrait(ended: Loop) -> None:
    last = ended.store.rounds()[-1]
    Portraits(ended.jobs.cache).path(last).write_bytes(b"PK nothing")
    assert Portraits(ended.jobs.cache).find(last) is None


def test_scores_by_hand() -> None:
    choice = SingleChoice(("a", "b"))
    assert score(choice, np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])) == pytest.approx(2 / 3)
    number = Number()
    assert score(number, np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == 1.0
    assert score(number, np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])) == 0.0


# by iteration


def boosting() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=4)


class Picky(MLPClassifier):  # type: ignore[misc]
    """A network that has to learn for a while."""

    def __init__(self, max_iter: int = 300) -> None:
        super().__init__((2,), solver="lbfgs", alpha=10.0, max_iter=max_iter)

    def fit(self, X: Any, y: Any) -> Any:
        if self.max_iter < 5:
            raise ValueError("so few steps lead nowhere")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on some processors lbfgs breaks off just before its end
            return super().fit(X, y)


def read_by_iteration(folder: Path, use: str) -> tuple[PortraitJob, Portrait]:
    """The portrait of the newest round of a loop with this model, and the job that made it."""
    loop = portrayed_loop(folder, settings(model={"use": use}, budget={"answers": 60}), portraits=False)
    run_to_end(loop)
    loop.jobs.result(loop.jobs.encode)
    job = job_of(loop)
    loop.store.close()
    made = job.run()
    assert not made.problem
    found = portrait._read(job.path)
    assert found is not None
    return job, found


def test_losses_by_iteration_are_those_of_models_that_learned_from_four_fifths(tmp_path: Path) -> None:
    job, found = read_by_iteration(tmp_path, "test_portrait:boosting")
    X, labelled, codes = np.asarray(job.fit.features.open()), job.fit.labelled, job.fit.codes
    inside, outside = [], []
    for rows, _ in folds(job.fit, X):
        held = np.isin(labelled, rows)
        by_hand = boosting().fit(X[labelled[~held]], codes[~held])
        for losses_of, side in ((inside, ~held), (outside, held)):
            chances = [
                each[np.arange(side.sum()), codes[side]] for each in by_hand.staged_predict_proba(X[labelled[side]])
            ]
            losses_of.append(-np.log(np.clip(chances, 0.001, 1)))
    inside, outside = (np.concatenate(each, axis=1) for each in (inside, outside))
    assert found.learns_in_steps
    assert found.course[:, 0].tolist() == list(range(1, 10))
    assert np.allclose(found.course[:, 1], inside.mean(axis=1))
    assert np.allclose(found.course[:, 2], outside.mean(axis=1))
    apart = outside - outside[-1]
    assert np.allclose(found.course[:, 3], apart.std(axis=1, ddof=1) / np.sqrt(len(codes)))
    assert found.course[-1, 1] < found.course[0, 1], "more trees know better what they were taught"


def test_a_model_without_iterations_has_no_course(ended: Loop) -> None:
    found = newest(ended)
    assert not found.learns_in_steps
    assert found.course.shape == (0, 4)


@pytest.mark.parametrize("use", ["boosting", "Picky"])
def test_a_course_that_takes_too_much_or_cannot_be_learned_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    if use == "boosting":
        monkeypatch.setattr(portrait, "MOST_LABELS", 15)
    _, found = read_by_iteration(tmp_path, f"test_portrait:{use}")
    assert found.learns_in_steps
    assert found.course.shape == (0, 4)
    assert len(found.held_out) == len(found.labelled), "the rest of the portrait is there"


def test_reading_by_iteration_gives_way_too(tmp_path: Path) -> None:
    job, _ = read_by_iteration(tmp_path, "test_portrait:boosting")
    job.path.unlink()
    asked: list[None] = []

    def wanted(after: float) -> bool:
        asked.append(None)
        return len(asked) > after

    job.run(lambda: wanted(np.inf))
    n, asked[:] = len(asked), []
    job.path.unlink()
    assert job.run(lambda: wanted(n - 1)) == Portrayed(job.fit.number, gave_way=True)
    assert not job.path.exists()
    assert n > 5 + 5 * 9, "asked between two fits, and between two readings"


def test_a_fifth_that_stopped_earlier_stays_as_it_was() -> None:
    early = {1: (np.array([4.0]), np.array([3.0])), 2: (np.array([2.0]), np.array([2.0]))}
    late = {1: (np.array([2.0]), np.array([5.0])), 4: (np.array([1.0]), np.array([6.0]))}
    assert together([early, late]).tolist() == [
        [1, 3.0, 4.0, pytest.approx(1.0)],
        [2, 2.0, 3.5, pytest.approx(0.5)],
        [4, 1.5, 4.0, 0.0],
    ]


def test_losses_by_hand() -> None:
    choice = losses(SingleChoice(("a", "b")), np.array([0, 1, 1]), np.array([[0.5, 0.5], [0.2, 0.8], [1.0, 0.0]]))
    assert choice == pytest.approx(-np.log([0.5, 0.8, 0.001]))
    several = losses(MultiLabel(("a", "b")), np.array([[1, 0]]), np.array([[0.5, 0.75]]))
    assert several == pytest.approx([-np.log([0.5, 0.25]).mean()])
    assert losses(Number(), np.array([1.0, 2.0]), np.array([1.0, 4.0])).tolist() == [0.0, 4.0]


def test_a_portrait_of_another_form_is_made_again(ended: Loop) -> None:
    last, kept = ended.store.rounds()[-1], Portraits(ended.jobs.cache)
    path = kept.path(last)
    old = path.with_name(path.name.rpartition("-")[0] + ".npz")
    with np.load(path) as arrays:
        np.savez(old, **{name: arrays[name] for name in arrays if name not in ("course", "learns_in_steps")})
    path.unlink()
    assert kept.stamp(last) is None
    assert isinstance(ended.step(), Stopped)
    assert newest(ended).round == last.number
    assert not old.exists()
