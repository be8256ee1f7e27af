"""A labelled test file that the user brings: it alone tests, costs nothing, and teaches nothing."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from loops import CLASSES, open_loop, run_to_end, settings, trail, write_points
from PIL import Image

from active_loop import script
from active_loop.domain import Purpose, Split, Stopped, Verdict
from active_loop.errors import ActiveLoopError, ConfigError, DataError
from active_loop.export import export_rows
from active_loop.init import Given, write_loop
from active_loop.labeling import Oracle
from active_loop.loop import Loop
from active_loop.outlook import outlook
from active_loop.planning import Premises, make_plan, sentences
from active_loop.report import status
from active_loop.runner import InlineRunner
from active_loop.scoring import RoundJob
from active_loop.script import Target
from active_loop.session import examine, image_root
from active_loop.settings import DataSettings, LookPlan, Settings
from active_loop.simulate import known_answers, simulate, simulated
from active_loop.sources import check_unchanged, open_source

BESIDE = {"test": "test.csv", "answer": "colour"}


def write_rows(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def write_both(folder: Path, n: int = 150, n_test: int = 60, *, spread: float = 1.0) -> list[str]:
    """Write `points.csv` without answers and `test.csv` with them; returns the label of each row of the first."""
    apart = folder / "apart"
    apart.mkdir(parents=True, exist_ok=True)
    truth = write_points(apart, n_test, seed=9, spread=spread)
    rows = [[*row, label] for row, label in zip(read_rows(apart / "points.csv"), truth, strict=True)]
    write_rows(folder / "test.csv", ["x", "y", "colour"], rows)
    return write_points(folder, n, spread=spread)


def told(**changes: Any) -> Settings:
    return settings(**{"data": BESIDE, **changes})


def opened(folder: Path, **data: Any) -> list[Any]:
    return open_source(replace(told().data, **data), folder).records()


class Watching(InlineRunner):
    """Runs jobs, and keeps what each of them was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[RoundJob] = []

    def submit(self, job: Any) -> None:
        if isinstance(job, RoundJob):
            self.rounds.append(job)
        super().submit(job)


def watched(folder: Path, labels: list[str], to: Settings) -> tuple[Loop, list[RoundJob]]:
    loop = open_loop(folder, Oracle(labels), to)
    loop.jobs.runner = runner = Watching()
    return loop, runner.rounds


# the loop


def test_a_loop_certifies_on_the_brought_items_and_asks_about_none_of_them(tmp_path: Path) -> None:
    loop, rounds = watched(tmp_path, write_both(tmp_path), told())
    ended = run_to_end(loop)
    assert isinstance(ended, Stopped)
    assert ended.decision.verdict == Verdict.CERTIFIED
    test = {item.position for item in loop.standing.items if item.split == Split.TEST}
    assert test == set(range(150, 210))
    assert [look.n for look in loop.store.looks()] == [60]
    assert {seen.item for seen in loop.store.look_items(1)} == test
    assert not test & {ask.item for ask in loop.store.asks()}
    assert {ask.purpose for ask in loop.store.asks()} == {Purpose.POOL}
    assert all(not test & set(job.labelled.tolist()) for job in rounds)
    assert status(loop.store).test_answers == 0


def test_every_row_of_the_data_can_be_asked_and_all_of_the_budget_is_for_learning(tmp_path: Path) -> None:
    loop, _ = watched(tmp_path, write_both(tmp_path, 80, spread=3.0), told(target={"value": 0.97, "stop_on": "likely"}))
    ended = run_to_end(loop)
    assert isinstance(ended, Stopped)
    assert ended.decision.reason == "pool"
    assert {ask.item for ask in loop.store.asks() if ask.position} == set(range(80))
    other = tmp_path / "other"
    loop, _ = watched(other, write_both(other, spread=3.0), told(target={"value": 0.97, "stop_on": "likely"}))
    ended = run_to_end(loop)
    assert isinstance(ended, Stopped)
    assert ended.decision.reason == "budget"
    assert loop.store.n_sent(Purpose.POOL) == 90
    assert loop.store.n_sent(Purpose.TEST) == 0
    assert {look.n for look in loop.store.looks()} == {60}
    assert [look.level for look in loop.store.looks()] == [0.05 / 2**k for k in range(1, len(loop.store.looks()) + 1)]


@limits(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_whatever_the_seed_no_test_row_is_learned_from_chosen_or_compared_on(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("loop")
    loop, rounds = watched(folder, write_both(folder, spread=2.0), told(seed=seed, budget={"answers": 60}))
    run_to_end(loop)
    assert len(rounds) > 2
    for job in rounds:
        used = np.concatenate([job.labelled, job.candidates, job.pending, job.sample])
        assert used.max() < 150
        assert sorted(job.test.tolist()) == list(range(150, 210))
    assert not {ask.item for ask in loop.store.asks()} & set(range(150, 210))


def test_the_answers_of_the_test_file_move_nothing_but_the_looks(tmp_path: Path) -> None:
    trails = []
    for name in ("true", "false"):
        folder = tmp_path / name
        labels = write_both(folder)
        rows = read_rows(folder / "test.csv")
        if name == "false":  # every answer another one
            rows = [[x, y, CLASSES[CLASSES.index(label) - 1]] for x, y, label in rows]
            write_rows(folder / "test.csv", ["x", "y", "colour"], rows)
        loop = open_loop(folder, Oracle(labels), told(target={"value": 0.7}))
        run_to_end(loop)
        trails.append(trail(loop.store))
    true, false = trails
    n = len(true["rounds"])
    assert true["looks"][-1].verdict == Verdict.CERTIFIED
    assert {look.verdict for look in false["looks"]} == {Verdict.NOT_REACHED}
    assert n < len(false["rounds"])
    assert [row[1] for row in true["rounds"]] == [row[1] for row in false["rounds"]][:n]
    asked = [[ask.item for ask in each["asks"] if ask.position] for each in trails]
    assert asked[0] == asked[1][: len(asked[0])]


def test_features_are_fitted_on_no_test_row(tmp_path: Path) -> None:
    write_both(tmp_path)
    loop = open_loop(tmp_path, Oracle([]), told())
    loop.import_items()
    assert loop.jobs.encode().pool.tolist() == [True] * 150 + [False] * 60


def test_the_test_order_is_one_random_permutation_of_the_file(tmp_path: Path) -> None:
    write_both(tmp_path)
    orders: list[list[int]] = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"loop{len(orders)}"
        folder.mkdir()
        for name in ("points.csv", "test.csv"):
            (folder / name).write_bytes((tmp_path / name).read_bytes())
        loop = open_loop(folder, Oracle([]), told(seed=seed))
        loop.import_items()
        orders.append(loop.standing.test_order)
    assert orders[0] == orders[1] != orders[2]
    assert all(sorted(order) == list(range(150, 210)) for order in orders)


def test_a_restart_in_the_middle_gives_the_same(tmp_path: Path) -> None:
    trails = []
    for name in ("through", "restarted"):
        folder = tmp_path / name
        folder.mkdir()
        labels = write_both(folder, spread=2.0)
        loop = open_loop(folder, Oracle(labels), told())
        if name == "restarted":
            for _ in range(25):
                loop.step()
            loop.store.close()
            loop = open_loop(folder, Oracle(labels), told())
        run_to_end(loop)
        trails.append(trail(loop.store))
    assert trails[0]["looks"]
    assert [ask.item for ask in trails[0]["asks"]] == [ask.item for ask in trails[1]["asks"]]
    assert trails[0]["rounds"] == trails[1]["rounds"]
    assert trails[0]["looks"] == trails[1]["looks"]


def test_answers_in_the_data_itself_are_labels_to_learn_from(tmp_path: Path) -> None:
    labels = write_both(tmp_path)
    rows = [
        [*row, label if n < 30 else ""]
        for n, (row, label) in enumerate(zip(read_rows(tmp_path / "points.csv"), labels, strict=True))
    ]
    write_rows(tmp_path / "points.csv", ["x", "y", "colour"], rows)
    loop, rounds = watched(tmp_path, labels, told())
    run_to_end(loop)
    assert loop.standing.first_round_at == 0
    assert set(range(30)) <= set(rounds[1].labelled.tolist())
    assert not set(range(30)) & {ask.item for ask in loop.store.asks()}


def test_rows_added_later_join_the_pool_and_nothing_is_set_aside(tmp_path: Path) -> None:
    labels = write_both(tmp_path)
    loop = open_loop(tmp_path, Oracle(labels * 2), told())
    while not loop.store.scores():
        loop.step()
    order = list(loop.standing.test_order)
    with (tmp_path / "points.csv").open("a") as file:
        file.writelines(f"{n}.5,{n}.25\n" for n in range(50))
    loop.store.close()
    again = open_loop(tmp_path, Oracle(labels * 2), told())
    assert again.add_items() == 50
    assert again.standing.test_order == order
    assert all(item.split == Split.POOL for item in again.standing.items[210:])
    assert isinstance(run_to_end(again), Stopped)


def test_a_test_file_that_changed_after_the_import_is_refused(tmp_path: Path) -> None:
    labels = write_both(tmp_path)
    loop = open_loop(tmp_path, Oracle(labels), told())
    loop.import_items()
    loop.store.close()
    before = (tmp_path / "test.csv").read_text()
    (tmp_path / "test.csv").write_text(before + "7.5,7.5,red\n")
    with pytest.raises(DataError, match="60 items at the import and has 61 now"):
        open_loop(tmp_path, Oracle(labels), told()).add_items()
    (tmp_path / "test.csv").write_text("x,y,colour\n9,9,red\n" + before.split("\n", 2)[2])
    with pytest.raises(DataError, match="row test:0 was item"):
        run_to_end(open_loop(tmp_path, Oracle(labels), told()))
    (tmp_path / "other.csv").write_text(before)
    with pytest.raises(ConfigError, match=r"cannot change data.test: the items"):
        open_loop(tmp_path, Oracle(labels), told(data={**BESIDE, "test": "other.csv"}))


def test_the_export_after_the_end_names_the_test_rows(tmp_path: Path) -> None:
    loop, _ = watched(tmp_path, write_both(tmp_path), told())
    loop.import_items()
    assert not [row for row in export_rows(loop.store) if row.split == "test"]
    run_to_end(loop)
    rows = [row for row in export_rows(loop.store) if row.split == "test"]
    assert {row.row for row in rows} == {f"test:{n}" for n in range(60)}
    assert {row.chosen_by for row in rows} == {"imported"}


def test_a_simulation_hides_the_answers_of_the_data_and_keeps_those_of_the_test(tmp_path: Path) -> None:
    labels = write_both(tmp_path)
    rows = [[*row, label] for row, label in zip(read_rows(tmp_path / "points.csv"), labels, strict=True)]
    write_rows(tmp_path / "points.csv", ["x", "y", "colour"], rows)
    answers = known_answers(told(), tmp_path, "colour")
    assert len(answers) == 150
    ended = simulate(told(), tmp_path, answers)
    assert ended.status.verdict == Verdict.CERTIFIED
    assert ended.status.pool_answers >= 40
    assert ended.status.test_answers == 0


@pytest.mark.parametrize("data", [BESIDE, {"answer": ""}])
def test_a_simulation_neither_shows_the_answers_nor_learns_from_them(tmp_path: Path, data: dict[str, str]) -> None:
    labels = write_both(tmp_path)
    rows = [[*row, label] for row, label in zip(read_rows(tmp_path / "points.csv"), labels, strict=True)]
    write_rows(tmp_path / "points.csv", ["x", "y", "colour"], rows)
    to = simulated(told(data={**data, "show": ()}), tmp_path, "colour")
    source = open_source(to.data, tmp_path, known=False)
    assert source.shown(["0"]) == [{"row": {"x": rows[0][0], "y": rows[0][1]}}]
    assert list(source.content(["0"]).columns) == ["x", "y"]


def test_nothing_is_said_of_a_model_that_would_learn_from_the_test_answers(tmp_path: Path) -> None:
    loop, rounds = watched(tmp_path, write_both(tmp_path), told())
    run_to_end(loop)
    assert status(loop.store).refit is None
    assert rounds[-1].number == loop.store.rounds()[-1].number


def test_a_script_hands_its_test_rows_over_as_a_frame(tmp_path: Path) -> None:
    import pandas as pd

    labels = write_both(tmp_path)
    frame = pd.read_csv(tmp_path / "points.csv")
    test = pd.read_csv(tmp_path / "test.csv")
    target = Target("accuracy", 0.8)
    loop = script.Loop.from_frame(
        frame, columns=["x", "y"], test=test, answer="colour", classes=CLASSES, target=target, budget=90
    )
    found = loop.run(Oracle(labels))
    assert found.verdict == Verdict.CERTIFIED
    assert found.status.looks[0].n == 60
    assert found.labels_used == found.status.pool_answers
    with pytest.raises(ConfigError, match="go together"):
        script.Loop.from_frame(frame, columns=["x", "y"], test=test, classes=CLASSES)


# what is refused


def refused(folder: Path, match: str, kind: type[ActiveLoopError] = DataError, **changes: Any) -> None:
    """At import, by doctor, and before anything was created."""
    to = told(**changes)
    with pytest.raises(kind, match=match):
        open_loop(folder, Oracle([]), to).import_items()
    (folder / "loop.db").unlink(missing_ok=True)
    findings = examine(folder, lambda: to)
    assert any(not finding.ok and "loop.db" not in finding.text for finding in findings)


def test_an_item_that_is_in_both_files_is_refused(tmp_path: Path) -> None:
    write_both(tmp_path)
    rows = read_rows(tmp_path / "points.csv")
    tests = read_rows(tmp_path / "test.csv")
    tests[5] = [*rows[17], "red"]
    tests[8] = [*rows[3], "red"]
    write_rows(tmp_path / "test.csv", ["x", "y", "colour"], tests)
    refused(tmp_path, r"2 of the 60 items of test.csv are also in points.csv \(row 5 is its row 17\)")


def test_two_items_of_one_id_are_refused(tmp_path: Path) -> None:
    write_both(tmp_path)
    for name, head in (("points.csv", ["x", "y", "no"]), ("test.csv", ["x", "y", "colour", "no"])):
        rows = [[*row, str(n)] for n, row in enumerate(read_rows(tmp_path / name))]
        write_rows(tmp_path / name, head, rows)
    refused(
        tmp_path,
        '60 of the 60 items of test.csv have the id of another item in points.csv, the first "0"',
        data={**BESIDE, "id": "no"},
    )


def test_test_rows_without_an_answer_are_refused(tmp_path: Path) -> None:
    write_both(tmp_path)
    tests = [[*row[:2], "" if n in (7, 30) else row[2]] for n, row in enumerate(read_rows(tmp_path / "test.csv"))]
    write_rows(tmp_path / "test.csv", ["x", "y", "colour"], tests)
    refused(tmp_path, '2 of the 60 items of test.csv have no answer in column "colour", the first in row 7')


def test_an_answer_that_is_no_class_is_refused(tmp_path: Path) -> None:
    write_both(tmp_path)
    tests = read_rows(tmp_path / "test.csv")
    tests[3][2] = "mauve"
    write_rows(tmp_path / "test.csv", ["x", "y", "colour"], tests)
    refused(tmp_path, '"mauve" is not among the classes red, green, blue')


def test_a_group_on_both_sides_is_refused(tmp_path: Path) -> None:
    write_both(tmp_path)
    rows = [[*row, f"p{n // 10}"] for n, row in enumerate(read_rows(tmp_path / "points.csv"))]
    tests = [[*row, f"p{n // 10 + 13}"] for n, row in enumerate(read_rows(tmp_path / "test.csv"))]
    write_rows(tmp_path / "points.csv", ["x", "y", "who"], rows)
    write_rows(tmp_path / "test.csv", ["x", "y", "colour", "who"], tests)
    data = {**BESIDE, "group": "who"}
    refused(tmp_path, '2 of the 6 groups of test.csv are also in points.csv, the first "p13"', data=data)


def test_a_test_too_small_to_show_anything_is_refused(tmp_path: Path) -> None:
    write_both(tmp_path, n_test=5)
    refused(tmp_path, "test.csv has too few items for this target: even 5 of 5 right would show it with a probability")


@pytest.mark.parametrize(
    ("data", "kind", "match"),
    [
        ({"test": "test.csv", "answer": ""}, ConfigError, 'data.test is "test.csv", and data.answer names no column'),
        ({"test": "gone.csv"}, DataError, "cannot find gone.csv"),
        ({"test": "./points.csv"}, ConfigError, 'data.path and data.test are both "./points.csv"'),
        ({"test": "apart"}, DataError, "data.test is apart, a folder, which has no answers"),
        ({"answer": "color"}, DataError, 'test.csv has no column "color" .data.answer.; did you mean "colour"'),
        ({"show": ("x", "z")}, DataError, 'no column "z"'),
    ],
)
def test_a_test_file_that_cannot_be_used_is_refused(
    tmp_path: Path, data: dict[str, Any], kind: type[ActiveLoopError], match: str
) -> None:
    write_both(tmp_path)
    with pytest.raises(kind, match=match):
        opened(tmp_path, **data)


def test_a_test_file_must_have_the_columns_that_are_shown(tmp_path: Path) -> None:
    write_both(tmp_path)
    write_rows(tmp_path / "test.csv", ["x", "colour"], [["1", "red"]])
    with pytest.raises(DataError, match=r'test.csv has no column "y"'):
        opened(tmp_path, show=())


# the source


def test_rows_of_both_files_come_back_in_the_order_in_which_they_are_asked_for(tmp_path: Path) -> None:
    write_both(tmp_path)
    source = open_source(replace(told().data, show=()), tmp_path)
    records = source.records()
    assert source.n_rows == len(records) == 210
    assert [record.row for record in records[149:151]] == ["149", "test:0"]
    rows = ["test:3", "7", "test:0", "2"]
    first, second = read_rows(tmp_path / "points.csv"), read_rows(tmp_path / "test.csv")
    expected = [second[3][:2], first[7], second[0][:2], first[2]]
    assert [list(each["row"].values()) for each in source.shown(rows)] == expected
    assert source.content(rows).to_numpy().tolist() == expected
    assert source.content(rows[:1]).to_numpy().tolist() == expected[:1]
    assert source.numbers(rows).tolist() == [153, 7, 150, 2]
    ids = {record.row: record.id for record in records}
    assert source.ids(rows) == [ids[row] for row in rows]
    assert [digest.hex() for digest in source.digests(rows)] == source.ids(rows)
    assert source.shown([]) == []
    assert len(source.content([])) == 0
    check_unchanged(source, rows, source.ids(rows))
    with pytest.raises(DataError, match=r"test.csv has no row 60: it holds 60 rows"):
        source.ids(["test:60"])


def test_cells_of_two_kinds_stay_what_they_are(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1, 2], "b": ["u", "v"]}).to_parquet(tmp_path / "d.parquet")
    pd.DataFrame({"a": [None, 4.5], "b": [None, None], "y": ["red", "blue"]}).to_parquet(tmp_path / "t.parquet")
    data = DataSettings(path="d.parquet", kind="table", show=("a", "b"), test="t.parquet", answer="y")
    frame = open_source(data, tmp_path).content(["test:1", "0", "test:0"])
    assert frame["a"].tolist()[:2] == [4.5, 1]
    assert frame["a"].isna().tolist() == [False, False, True]
    assert frame["b"].isna().tolist() == [True, False, True]


def test_embeddings_hold_the_rows_of_the_data_and_then_those_of_the_test(tmp_path: Path) -> None:
    write_both(tmp_path)
    np.save(tmp_path / "e.npy", np.zeros((150, 2)))
    with pytest.raises(DataError, match=r"have 150 rows and points.csv, then test.csv \(150 \+ 60 rows\), has 210"):
        opened(tmp_path, embeddings="e.npy")
    points = [row[:2] for name in ("points.csv", "test.csv") for row in read_rows(tmp_path / name)]
    np.save(tmp_path / "e.npy", np.array(points, dtype=float))
    labels = write_both(tmp_path)
    to = told(data={**BESIDE, "embeddings": "e.npy"}, features={"use": "embeddings"})
    ended = run_to_end(open_loop(tmp_path, Oracle(labels), to))
    assert isinstance(ended, Stopped)
    assert ended.decision.verdict == Verdict.CERTIFIED


def test_images_of_a_folder_are_tested_on_those_that_a_file_names(tmp_path: Path) -> None:
    for folder, n, shade in (("pool", 4, 10), ("held", 3, 200)):
        (tmp_path / folder).mkdir()
        for number in range(n):
            Image.new("L", (4, 4), shade + number).save(tmp_path / folder / f"{number}.png")
    write_rows(tmp_path / "held" / "test.csv", ["image", "colour"], [[f"{n}.png", "red"] for n in range(3)])
    data = DataSettings(path="pool", kind="image", test="held/test.csv", answer="colour")
    source = open_source(data, tmp_path)
    assert [record.row for record in source.records()] == [
        *(f"{n}.png" for n in range(4)),
        *(f"test:{n}" for n in range(3)),
    ]
    assert source.content(["test:1", "2.png"]) == [tmp_path / "held" / "1.png", tmp_path / "pool" / "2.png"]
    assert image_root(source, tmp_path / "loop") == tmp_path / "pool", "people see no test image"


# what is said beforehand


def test_the_plan_counts_test_answers_as_free(tmp_path: Path) -> None:
    plan = LookPlan.at_import(1000, 300, 250)
    assert [plan.m(look) for look in (1, 2, 9)] == [250] * 3
    assert [plan.asked(look) for look in (1, 2, 9)] == [0] * 3
    found = make_plan(
        Premises(
            told(target={"value": 0.9}, budget={"answers": 300, "per_day": 50}), date(2026, 1, 1), 1000, n_test=250
        )
    )
    assert (found.own.learn, found.own.test) == (300, (250,))
    assert found.as_dict()["brought"] == 250
    assert "300 answers are to learn from, none to test: each look uses the 250 items" in " ".join(sentences(found))
    assert found.own.right == 235
    few = make_plan(Premises(told(budget={"answers": 300}), date(2026, 1, 1), 120, n_test=250))
    assert few.own.learn == 120
    assert any("at most 120 answers" in note for note in few.notes)
    small = make_plan(Premises(told(target={"value": 0.9}), date(2026, 1, 1), 1000, n_test=30))
    assert any("with this test file of 30 items: even 30 of 30 right would prove only 0.884" in n for n in small.notes)


def test_with_a_test_file_a_small_budget_is_certified_too() -> None:
    assert told(budget={"answers": 90}).stop_on == Verdict.CERTIFIED
    assert settings(budget={"answers": 90}).stop_on == Verdict.LIKELY


def test_the_outlook_leaves_the_whole_budget_to_learn() -> None:
    to = told(target={"value": 0.9}, budget={"answers": 300})
    assert "300 are left to learn" in outlook(to, 1000, 250)
    assert "this test file of 30 items: even 30 of 30" in outlook(to, 1000, 30)


def test_doctor_names_both_files_and_a_test_that_is_too_small(tmp_path: Path) -> None:
    write_both(tmp_path)
    found = [finding.text for finding in examine(tmp_path, lambda: told(target={"value": 0.97}))]
    assert any("points.csv: 150 items and 60 of test.csv that test" in text for text in found)
    assert any("can never be certified with this test file of 60 items" in text for text in found)


def test_init_writes_a_loop_with_the_test_file_that_is_named(tmp_path: Path) -> None:
    labels = write_both(tmp_path)
    heard: list[str] = []
    to = write_loop(
        tmp_path / "loop",
        tmp_path / "points.csv",
        Given(test=tmp_path / "test.csv", budget=90, target=0.8),
        None,
        heard.append,
    )
    assert (to.data.test, to.data.answer, to.data.show) == ("../test.csv", "colour", ("x", "y"))
    assert sorted(to.task.classes) == sorted(CLASSES)
    assert any("90 are left to learn" in line for line in heard)
    to = replace(to, labeling=replace(to.labeling, backend="oracle"))
    ended = run_to_end(open_loop(tmp_path / "loop", Oracle(labels), to))
    assert isinstance(ended, Stopped)
    assert ended.decision.verdict == Verdict.CERTIFIED


def test_init_counts_the_answers_of_both_files_once(tmp_path: Path) -> None:
    labels = write_both(tmp_path)
    rows = [[*row, label] for row, label in zip(read_rows(tmp_path / "points.csv"), labels, strict=True)]
    write_rows(tmp_path / "points.csv", ["x", "y", "colour"], rows)
    heard: list[str] = []
    told_file = Given(test=tmp_path / "test.csv", answer="colour", budget=90)
    to = write_loop(tmp_path / "loop", tmp_path / "points.csv", told_file, None, heard.append)
    assert to.target.metric == "accuracy", "no class has a majority"
    assert any("it would leave nothing to ask" in line for line in heard)


def test_init_writes_nothing_for_a_test_file_that_cannot_be_used(tmp_path: Path) -> None:
    write_both(tmp_path)
    data, place = tmp_path / "points.csv", tmp_path / "loop"
    for test, match in (("points.csv", "looks like answers"), ("apart", "a folder"), ("gone.csv", "cannot find")):
        with pytest.raises(ActiveLoopError, match=match):
            write_loop(place, data, Given(test=tmp_path / test, classes="red,green,blue"), None, lambda line: None)
    tests = read_rows(tmp_path / "test.csv")
    write_rows(tmp_path / "test.csv", ["x", "y", "colour"], [*tests, [*read_rows(data)[4], "red"]])
    with pytest.raises(DataError, match=r"1 of the 61 items of test.csv are also in points.csv"):
        write_loop(place, data, Given(test=tmp_path / "test.csv"), None, lambda line: None)
    assert not place.exists()
