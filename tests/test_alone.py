"""What is proven of the items that a model answers alone: an exact count, read once, recorded, and seldom wrong."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import loops
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.stats import beta

from active_loop import load_model
from active_loop.alone import Alone, Tried, judge, told, why_not
from active_loop.changes import change_of, current_settings
from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.domain import Look, LookItem, Purpose, Stopped, Verdict, WaitingForPeople
from active_loop.evaluate import fewest_right
from active_loop.features import content_of
from active_loop.history import history
from active_loop.labeling import Oracle, Publication
from active_loop.language import speaking
from active_loop.model import MODEL, About, about_model
from active_loop.server import write_report
from active_loop.settings import Settings, to_json
from active_loop.store import FolderLock, Store
from active_loop.takeaway import opened, ranked, take_away

TRIED = Tried("logistic", "table", "d", 0.8)

UNREAD = ("running", "all", "groups", "unlooked", "none", "busy")


def a_look(number: int = 1, n: int = 150) -> Look:
    level, at = 0.05 / 2**number, datetime(2026, 1, 1, tzinfo=UTC)
    return Look(
        number, 7, 0, n, n, level, 0.9, "accuracy", 0.9, 0.8, 0.95, n, 0.85, 0.5, Verdict.LIKELY, at
    )  # fmt: skip


def judged(
    right: NDArray[np.bool_], number: int = 1, look: int = 1, goal: float = 0.95, anytime: bool = False
) -> Alone:
    """A test in which every item reaches the threshold."""
    reach = np.ones_like(right)
    return judge(number, a_look(look, len(right)), TRIED, goal, right, reach, is_target=True, anytime=anytime)


def so_many(k: int, n: int) -> NDArray[np.bool_]:
    return np.arange(n) < k


# the bound


def test_the_bound_is_the_exact_one_of_the_items_that_reach_the_threshold() -> None:
    right, reach = so_many(80, 100), so_many(70, 100)
    right[:3] = False
    found = judge(2, a_look(3, 100), TRIED, 0.9, right, reach, is_target=False, anytime=False)
    assert (found.total, found.n, found.right, found.look, found.number) == (100, 70, 67, 3, 2)
    assert found.level == 0.05 / 2 ** (3 + 2)
    assert found.alpha == 0.05
    assert found.bound == pytest.approx(beta.ppf(found.level, 67, 70 - 67 + 1), abs=1e-12)
    assert Alone.of(json.loads(json.dumps(found.as_dict()))) == found


def test_a_model_at_the_goal_is_claimed_to_reach_it_in_no_more_cases_than_its_level() -> None:
    """Of 20,000 draws, four standard errors: 0.0032 at a level of 0.0125, and half of alpha is far above both."""
    rng, goal, n, draws = np.random.default_rng(11), 0.95, 150, 20_000
    proves = np.array([judged(so_many(k, n)).bound >= goal for k in range(n + 1)])
    wrong = float(proves[rng.binomial(n, goal, size=draws)].mean())
    level = 0.05 / 4
    assert 0 < wrong <= level + 4 * (level * (1 - level) / draws) ** 0.5
    assert wrong <= 0.05 / 2


def test_whichever_look_a_loop_ends_with_it_claims_wrongly_in_no_more_than_half_of_alpha() -> None:
    """Four looks, each on more of the same items; the worst loop ends with the one whose reading pleases.

    Of 4,000 loops, four standard errors are 0.0099; the levels of the four readings add up to less than 0.025.
    """
    rng, goal, sizes, runs, wrong = np.random.default_rng(12), 0.9, (100, 150, 225, 338), 4000, 0
    for _ in range(runs):
        right = rng.random(sizes[-1]) < goal
        wrong += any(judged(right[:m], look=number).bound >= goal for number, m in enumerate(sizes, start=1))
    assert 0 < wrong / runs <= 0.025 + 4 * (0.025 * 0.975 / runs) ** 0.5


def test_any_of_many_thresholds_claims_wrongly_in_no_more_than_half_of_alpha_at_a_look() -> None:
    """Six goals one after the other, each of the most confident items of those before; 4,000 draws, as above."""
    rng, goal, draws = np.random.default_rng(13), 0.95, 4000
    wrong = 0
    for _ in range(draws):
        right = rng.random(200) < goal
        wrong += any(judged(right[: 200 - 25 * (k - 1)], number=k).bound >= goal for k in range(1, 7))
    assert 0 < wrong / draws <= 0.025 + 4 * (0.025 * 0.975 / draws) ** 0.5


def test_where_a_look_ends_with_any_answer_the_bound_holds_at_all_times() -> None:
    """It ends with the first answer that pleases; of 400 draws, four standard errors at 0.0125 are 0.022."""
    rng, goal, draws, level, most = np.random.default_rng(14), 0.9, 400, 0.05 / 4, 200
    needs = np.array([fewest_right(n, level, goal) or most for n in range(1, most + 1)])
    wrong = {True: 0, False: 0}
    for _ in range(draws):
        right = rng.random(most) < goal
        pleasing = np.flatnonzero(np.cumsum(right) >= needs)
        end = int(pleasing[0]) + 1 if len(pleasing) else most
        for anytime in wrong:
            wrong[anytime] += judged(right[:end], anytime=anytime).bound >= goal
    aim = level + 4 * (level * (1 - level) / draws) ** 0.5
    assert wrong[True] / draws <= aim < wrong[False] / draws, "or such an end needs no other bound"


# what is said


def test_it_is_said_what_was_counted_and_whether_the_goal_is_proven() -> None:
    right, reach = so_many(80, 100), so_many(82, 100)
    found = judge(1, a_look(1, 100), TRIED, 0.9, right, reach, is_target=True, anytime=False)
    assert told(found, "") == (
        "Of 100 test items it answers 82 alone (82.0 %), and 80 of these were right: at least 90.4 % with 95 % "
        "confidence (recorded look 1 at the threshold).",
        "The goal 90 % is proven.",
    )
    assert told(replace(found, goal=0.95), "")[1] == "The goal 95 % is not proven."
    assert "named after the end" in told(replace(found, is_target=False), "")[2]


def test_a_bound_is_never_rounded_up() -> None:
    found = replace(judged(so_many(90, 100)), bound=0.94999, goal=0.95)
    assert "at least 94.9 %" in told(found, "")[0]
    assert "not proven" in told(found, "")[1]


def test_each_reason_why_nothing_is_read_has_a_sentence_in_both_languages() -> None:
    said = {why_not(unread) for unread in (*UNREAD, "")}
    with speaking("ko"):
        korean = {why_not(unread) for unread in (*UNREAD, "")}
    assert len(said | korean) == 2 * (len(UNREAD) + 1)


# of a real loop


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loop that has stopped with a look at the model that is taken away."""
    folder = tmp_path_factory.mktemp("ended")
    labels = loops.write_points(folder, 300, spread=1.2)
    settings = loops.settings(target={"value": 0.75}, budget={"answers": 160})
    write_settings(settings, folder / "loop.toml")
    run(folder, Oracle(labels), settings)
    return folder


@pytest.fixture
def folder(ended: Path, tmp_path: Path) -> Path:
    """A copy of that folder, of which nothing was read yet."""
    return Path(shutil.copytree(ended, tmp_path / "loop"))


def run(folder: Path, backend: Oracle, settings: Settings | None = None) -> None:
    loop = loops.open_loop(folder, backend, settings)
    assert isinstance(loops.run_to_end(loop), Stopped)
    loop.store.close()


def change(store: Store, **sections: dict[str, Any]) -> None:
    """Other settings, with what they do to the claim."""
    told = current_settings(store)
    for section, values in sections.items():
        told = replace(told, **{section: replace(getattr(told, section), **values)})
    effect = change_of(store, told)
    assert effect is not None
    store.add_setting(to_json(told), effect.as_dict())


def taken(folder: Path, goal: float | None = None) -> About:
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        return take_away(store, folder, folder / MODEL, goal).about


def recorded(folder: Path) -> list[Alone]:
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        return [Alone.of(event.body) for event in store.events("alone")]


def by_hand(folder: Path, about: About) -> tuple[int, int, int, list[LookItem]]:
    """Test items of the look, those that the model in the file is sure of, and those of them that it has right."""
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        items = store.look_items(store.looks()[-1].number)
        jobs = opened(store, folder, ranked(store)[-1])
        content = content_of(jobs.source, about.extractor)([jobs.standing.items[each.item].row for each in items])
    said = load_model(folder / MODEL).said(content)
    assert said.ask is not None
    alone = [(each, label) for each, label, ask in zip(items, said.labels, said.ask.tolist(), strict=True) if not ask]
    return len(items), len(alone), sum(each.label == label for each, label in alone), items


def test_the_reading_is_what_one_counts_by_hand(folder: Path) -> None:
    about = taken(folder)
    found = about.alone
    assert found is not None
    total, n, right, _ = by_hand(folder, about)
    assert (found.total, found.n, found.right) == (total, n, right)
    assert 0 < found.n < found.total
    assert found.level == 0.05 / 2 ** (found.look + 1)
    assert found.bound == pytest.approx(beta.ppf(found.level, right, n - right + 1), abs=1e-12)
    assert found.is_target
    assert found.goal == 0.75
    kept = about_model(folder / MODEL)
    assert kept is not None
    assert (kept.alone, kept.unread) == (found, "")


def test_asked_again_it_is_the_same_reading_and_costs_nothing(folder: Path) -> None:
    first, again = taken(folder), taken(folder)
    assert first.alone is not None
    assert first.alone == again.alone
    assert recorded(folder) == [first.alone]
    same = taken(folder, 0.8)
    assert same.threshold.least == first.threshold.least
    assert same.alone == replace(first.alone, goal=0.8), "another goal, and the same claim"
    assert len(recorded(folder)) == 1


def test_another_goal_is_another_reading_at_half_the_level(folder: Path) -> None:
    first, other = taken(folder), taken(folder, 0.85)
    assert first.alone is not None
    assert other.alone is not None
    assert other.threshold.least != first.threshold.least, "or it is the same claim"
    assert (first.alone.number, other.alone.number) == (1, 2)
    assert other.alone.level == first.alone.level / 2
    assert not other.alone.is_target
    assert recorded(folder) == [first.alone, other.alone]
    assert taken(folder).alone == first.alone


def test_another_model_is_another_reading(folder: Path, tmp_path: Path) -> None:
    other = taken(Path(shutil.copytree(folder, tmp_path / "copy"))).alone
    assert other is not None
    with closing(Store(folder / "loop.db")) as store:
        store.add_event("alone", replace(other, tried=replace(other.tried, model="another one")).as_dict())
    found = taken(folder).alone
    assert found is not None
    assert (found.number, found.n, found.right, found.level) == (2, other.n, other.right, other.level / 2)
    assert [each.number for each in recorded(folder)] == [1, 2]


def test_while_the_loop_runs_nothing_is_read(tmp_path: Path) -> None:
    loop = loops.open_loop(tmp_path, loops.oracle(loops.write_points(tmp_path)))
    while len(ranked(loop.store)) < 3:
        loop.step()
    about = take_away(loop.store, tmp_path, tmp_path / MODEL, 0.5, source=loop.source).about
    loop.store.close()
    assert about.threshold.least is not None
    assert (about.alone, about.unread) == (None, "running")
    assert not recorded(tmp_path)


def test_once_the_loop_goes_on_nothing_more_is_read_and_the_record_says_no_figure(folder: Path) -> None:
    found = taken(folder).alone
    assert found is not None
    with closing(Store(folder / "loop.db")) as store:
        told_before = next(entry for entry in history(store).entries if "answers alone" in entry.what)
        assert told_before.note == " ".join(told(found, ""))
        assert ("Counted", f"{found.right} of {found.n}") in told_before.facts
        change(store, target={"value": 0.9})
        hidden = next(entry for entry in history(store).entries if "answers alone" in entry.what)
        assert (hidden.note, hidden.facts) == ("", ())
    assert taken(folder, 0.5).unread == "running"
    assert recorded(folder) == [found]


def test_what_counts_is_what_is_recorded_once_the_lock_is_held(folder: Path) -> None:
    """Two commands at once make one reading, and none once the loop goes on."""
    with closing(Store(folder / "loop.db", readonly=True)) as early, early.snapshot():
        assert not early.events("alone")
        first = taken(folder).alone
        assert not early.events("alone"), "it reads what was there before"
        assert take_away(early, folder, folder / MODEL).about.alone == first
        assert recorded(folder) == [first]
        with closing(Store(folder / "loop.db")) as store:
            change(store, target={"value": 0.9})
        assert take_away(early, folder, folder / MODEL, 0.85).about.unread == "running"
    assert recorded(folder) == [first]


def test_while_another_process_holds_the_folder_the_model_is_written_without_a_reading(folder: Path) -> None:
    with FolderLock(folder):
        done = CliRunner().invoke(main, ["model", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "another process is at work in the folder" in done.output
    about = about_model(folder / MODEL)
    assert about is not None
    assert (about.alone, about.unread) == (None, "busy")
    assert not recorded(folder)
    assert taken(folder).alone is not None, "later it is read"


def test_nothing_is_read_for_a_model_that_learned_from_the_test_items(tmp_path: Path) -> None:
    labels = loops.write_points(tmp_path, 600, spread=0.3)
    run(tmp_path, Oracle(labels), loops.settings(target={"value": 0.7}, budget={"answers": 100}))
    about = taken(tmp_path)
    assert about.what == "all"
    assert about.threshold.least is not None
    assert (about.alone, about.unread) == (None, "all")
    assert not recorded(tmp_path)


def test_nothing_is_read_where_items_come_in_groups(tmp_path: Path) -> None:
    labels = loops.write_points(tmp_path)
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    with (tmp_path / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*row, "of" if not n else f"g{n // 2}"] for n, row in enumerate(rows)])
    run(tmp_path, Oracle(labels), loops.settings(data={"group": "of"}))
    assert taken(tmp_path).unread == "groups"
    assert not recorded(tmp_path)


def test_nothing_is_read_of_a_model_that_no_look_was_at(tmp_path: Path) -> None:
    """Who has seen its scores may have stopped the loop for them."""
    labels = loops.write_points(tmp_path)
    loop = loops.open_loop(tmp_path, Oracle(labels, per_collect=1), loops.settings(target={"value": 0.999}))
    while len(ranked(loop.store)) < 3:
        loop.step()
    loop.store.close()
    run(tmp_path, Oracle(labels), loops.settings(target={"value": 0.999}, stop={"by_hand": "it looks well"}))
    about = taken(tmp_path, 0.5)
    assert about.threshold.least is not None
    assert (about.alone, about.unread) == (None, "unlooked")
    assert not recorded(tmp_path)


def test_nothing_is_read_of_a_newer_model_than_the_look_was_at(tmp_path: Path) -> None:
    labels, told = (
        loops.write_points(tmp_path, 400, spread=0.5),
        {"target": {"value": 0.9999}, "budget": {"answers": 250}},
    )
    loop = loops.open_loop(tmp_path, Oracle(labels, per_collect=1), loops.settings(**told))
    while not loop.store.looks() or ranked(loop.store)[-1].number == loop.store.looks()[-1].round:
        loop.step()
    loop.store.close()
    run(tmp_path, Oracle(labels), loops.settings(**told, stop={"by_hand": "it looks well"}))
    assert taken(tmp_path, 0.5).unread == "unlooked"
    assert not recorded(tmp_path)


def test_nothing_is_read_of_a_look_at_an_earlier_claim(folder: Path) -> None:
    with closing(Store(folder / "loop.db")) as store:
        change(store, target={"value": 0.9}, stop={"by_hand": "enough"})
        store.add_event("stopped", {"reason": "by hand", "because": "enough", "verdict": "not reached", "limits": {}})
    assert taken(folder, 0.5).unread == "unlooked"
    assert not recorded(folder)


def test_a_test_item_that_was_overdue_counts_as_wrong(tmp_path: Path) -> None:
    labels, clock, forgotten = loops.write_points(tmp_path, spread=0.5), loops.Clock(), set()

    class Forgetful(Oracle):
        """Never answers the first eight test items."""

        def publish(self, publications: Sequence[Publication]) -> None:
            tests = [each.ask.id for each in publications if each.ask.purpose == Purpose.TEST]
            forgotten.update(tests[: 8 - len(forgotten)])
            super().publish([each for each in publications if each.ask.id not in forgotten])

    loop = loops.open_loop(tmp_path, Forgetful(labels), now=clock)
    assert isinstance(loops.run_to_end(loop), WaitingForPeople)
    clock.time += timedelta(days=4)
    assert isinstance(loops.run_to_end(loop), Stopped)
    loop.store.close()
    about = taken(tmp_path)
    found, (total, n, right, items) = about.alone, by_hand(tmp_path, about)
    assert found is not None
    assert sum(each.label is None for each in items) > 0
    assert (found.total, found.n, found.right) == (total, n, right)
    assert found.right < found.n


# where it is to be seen


def test_the_command_the_card_the_history_and_the_report_say_it(folder: Path) -> None:
    done = CliRunner().invoke(main, ["model", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (found,) = recorded(folder)
    sentence = told(found, "")[0]
    assert sentence in done.output
    assert sentence in (folder / "model-card.md").read_text(encoding="utf-8")
    assert f"* Right: {found.right} of {found.n}" in (folder / "model-card.md").read_text(encoding="utf-8")
    as_json = CliRunner().invoke(main, ["model", str(folder), "--json"], catch_exceptions=False)
    assert json.loads(as_json.output)["alone"]["right"] == found.right
    assert sentence in CliRunner().invoke(main, ["history", str(folder)], catch_exceptions=False).output
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        write_report(store, folder / "report.html")
    assert sentence in (folder / "report.html").read_text(encoding="utf-8")
