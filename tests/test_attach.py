"""A loop begins where people have labelled before: from an export of Label Studio, or from a project there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from active_loop import answers
from active_loop.config import read_settings
from active_loop.domain import AnswerKind, Outcome
from active_loop.errors import ActiveLoopError, ConfigError, DataError
from active_loop.exported import joined
from active_loop.init import Given, write_loop
from active_loop.label_studio import export_tasks, label_result
from active_loop.merge import merge
from active_loop.records import Source
from active_loop.report import ExportRow
from active_loop.session import import_items
from active_loop.settings import DataSettings, Settings, TaskSettings
from active_loop.sources import open_source
from active_loop.store import Store
from active_loop.tasks import make_task

in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def result(*labels: str, control: str = "sentiment", kind: str = "choices") -> list[dict[str, Any]]:
    return [{"from_name": control, "to_name": "text", "type": kind, "value": {kind: list(labels)}}]


def answer(number: int, *labels: str, by: object = 1, control: str = "sentiment", **more: Any) -> dict[str, Any]:
    at = f"2026-03-01T10:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    times = {"created_at": at, "updated_at": at, "lead_time": 2.5}
    return {"id": number, "completed_by": by, "result": result(*labels, control=control), **times, **more}


def task(number: int, *annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": number, "data": {"text": f"mail {number}", **data}, "annotations": list(annotations)}


def export(folder: Path, tasks: object) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def source(path: Path, control: str = "sentiment", **more: Any) -> Source:
    data = DataSettings(path=path.name, kind="text", show=("text",), answer=control, **more)
    return open_source(data, path.parent)


ADA, BOB = {"id": 3, "email": "ada@example.org"}, 7

OLD = [
    task(1, answer(11, "pos", by=ADA), answer(12, "pos", by=BOB)),
    task(2, answer(13, "pos", by=ADA), answer(14, "neg", by=BOB)),
    task(3, answer(15, by=ADA, was_cancelled=True, result=[])),
    task(4, answer(16, "neg", by=ADA, ground_truth=True)) | {"predictions": [{"result": result("pos")}]},
    task(5) | {"drafts": [{"result": result("pos")}]},
]
MORE = [task(number) for number in range(6, 90)]


def test_each_person_has_a_vote_and_a_skip_is_a_skip(tmp_path: Path) -> None:
    records = source(export(tmp_path, OLD)).records()
    said = [[(each.person, each.kind.value, each.said) for each in record.given] for record in records]
    ada = "ada@example.org"
    assert said == [
        [(ada, "submitted", ("pos",)), ("user 7", "submitted", ("pos",))],
        [(ada, "submitted", ("pos",)), ("user 7", "submitted", ("neg",))],
        [(ada, "skipped", ())],
        [(ada, "submitted", ("neg",))],
        [],
    ]
    first = records[0].given[0]
    assert (first.id, first.lead_time_s, first.created_at) == ("11", 2.5, first.updated_at)
    assert [record.answer for record in records] == ["pos", "pos", None, "neg", None]


def loop_of(folder: Path, tasks: object, **given: Any) -> tuple[Settings, list[str]]:
    heard: list[str] = []
    write_loop(folder / "loop", export(folder, tasks), Given(**given), None, heard.append)
    return read_settings(folder / "loop" / "loop.toml"), heard


def imported(folder: Path, told: Settings) -> Store:
    import_items(folder / "loop", told)
    return Store(folder / "loop" / "loop.db", readonly=True)


def test_an_export_becomes_a_loop_whose_old_answers_cost_nothing(tmp_path: Path) -> None:
    told, heard = loop_of(tmp_path, OLD + MORE)
    assert told.data == DataSettings(path="../export.json", kind="text", show=("text",), answer="sentiment")
    assert told.task.classes == ("pos", "neg")
    assert heard[0].startswith("export.json: 89 rows")
    store = imported(tmp_path, told)
    merged = merge(store.annotations(), answers.reader(make_task(told.task)))
    said = {store.items()[item].row: (m.label, m.outcome, m.people, m.disputed) for item, m in merged.items()}
    both = ("ada@example.org", "user 7")
    assert said == {
        "0": ("pos", Outcome.LABEL, both, False),
        "1": (None, Outcome.LABEL, both, True),
        "2": (None, Outcome.SKIP, both[:1], False),
        "3": ("neg", Outcome.LABEL, both[:1], False),
    }
    assert (len(store.asks()), len(store.rounds()), store.n_items()) == (0, 0, 89)
    assert [a.kind for a in store.annotations()].count(AnswerKind.SKIPPED) == 1
    store.close()


def test_a_label_that_one_person_gave_once_is_a_class_too(tmp_path: Path) -> None:
    told, _ = loop_of(
        tmp_path, [task(0, answer(1, "pos"), answer(2, "pos", by=2), answer(3, "odd", by=3)), *OLD, *MORE]
    )
    assert set(told.task.classes) == {"pos", "neg", "odd"}


def test_labels_that_are_no_class_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'"neg".*add what is missing to --classes'):
        loop_of(tmp_path, OLD + MORE, classes="pos,other")
    told, _ = loop_of(tmp_path, OLD + MORE)
    export(tmp_path, [*OLD, *MORE, task(99, answer(90, "meh", by=2))])
    with pytest.raises(DataError, match=r'"meh" is not among the classes pos, neg; add them to task.classes'):
        import_items(tmp_path / "loop", told)


def test_several_controls_are_named_and_one_must_be_chosen(tmp_path: Path) -> None:
    two = [task(1, answer(1, "pos"), answer(2, "rude", control="tone")), task(2, answer(3, "kind", control="tone"))]
    with pytest.raises(ConfigError, match="several controls, sentiment, tone: name the one to go on with by --answer"):
        loop_of(tmp_path, two + MORE)
    told, _ = loop_of(tmp_path, two + MORE, answer="tone")
    assert (told.data.answer, set(told.task.classes)) == ("tone", {"rude", "kind"})
    given = source(tmp_path / "export.json", "tone").records()[0].given
    assert [each.said for each in given] == [(), ("rude",)], "what other controls say is passed over"


def test_json_min_brings_a_row_per_answer_and_one_item_per_text(tmp_path: Path) -> None:
    facts = {"created_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-01T10:00:00Z", "lead_time": 1.0}
    rows = [
        {"id": 1, "text": "a", "sentiment": "pos", "annotator": 3, "annotation_id": 11, **facts},
        {"id": 1, "text": "a", "sentiment": "neg", "annotator": 4, "annotation_id": 12, **facts},
        {"id": 2, "text": "b", "sentiment": {"choices": ["pos"]}, "annotator": 3, "annotation_id": 13, **facts},
    ]
    records = source(export(tmp_path, rows)).records()
    assert [[(g.id, g.person, g.said) for g in record.given] for record in records] == [
        [("11", "user 3", ("pos",)), ("12", "user 4", ("neg",))],
        [("13", "user 3", ("pos",))],
    ]


@pytest.mark.parametrize(
    ("kind", "values", "label", "said"),
    [
        ("rating", {"rating": 4}, "number", ("4",)),
        ("number", {"number": 2.5}, "number", ("2.5",)),
        ("taxonomy", {"taxonomy": [["animal", "dog"]]}, "choice", ("animal > dog",)),
        ("choices", {"choices": ["a", "b"]}, "multi_label", ("a", "b")),
    ],
)
def test_other_controls_are_read_as_what_they_are(
    tmp_path: Path, kind: str, values: dict[str, Any], label: str, said: tuple[str, ...]
) -> None:
    regions = [{"from_name": "it", "to_name": "text", "type": kind, "value": values}]
    path = export(tmp_path, [task(1, answer(1, result=regions)), *MORE])
    assert source(path, "it").records()[0].given[0].said == said
    more = {} if label == "number" else {"classes": ",".join((*said, "other"))}
    told, _ = loop_of(tmp_path, [task(1, answer(1, result=regions)), *MORE], **more)
    assert (told.task.kind, told.data.answer) == (label, "it")


def test_items_are_named_by_content_or_by_the_task(tmp_path: Path) -> None:
    path = export(tmp_path, OLD)
    assert [record.id for record in source(path, id="id").records()] == ["1", "2", "3", "4", "5"]
    turned = export(tmp_path, OLD[::-1])
    assert {r.id for r in source(turned).records()} == {r.id for r in source(export(tmp_path, OLD)).records()}


def test_a_task_that_is_there_twice_is_one_item_with_all_its_answers(tmp_path: Path) -> None:
    again = {**OLD[1], "id": 77}
    (record, *_) = source(export(tmp_path, [OLD[1], again])).records()
    assert len(record.given) == 4
    told, _ = loop_of(tmp_path, [*OLD, again, *MORE])
    store = imported(tmp_path, told)
    assert store.annotation_position() == store.events("imported")[0].body["answers"] == 8
    store.close()


@pytest.mark.parametrize("kind", ["choice", "multi_label", "number"])
def test_our_own_export_comes_back_with_the_same_labels(tmp_path: Path, kind: str) -> None:
    labels = {"choice": ["pos", "neg"], "multi_label": ['["pos", "neg"]', "[]"], "number": ["1.5", "2"]}[kind]
    rows = [
        ExportRow(str(n), str(n), labels[n % 2] if n < 20 else None, "label", "pool", "ada", 1, "margin", 0, 0, 0, "")
        for n in range(80)
    ]
    tasks = export_tasks(rows, [{"my text": f"mail {n}"} for n in range(80)], kind=kind)
    more = {} if kind == "number" else {"classes": "pos,neg"}
    told, _ = loop_of(tmp_path, tasks, **more)
    assert (told.task.kind, told.data.show) == (kind, ("my_text",))
    store = imported(tmp_path, told)
    merged = merge(store.annotations(), answers.reader(make_task(told.task)))
    assert {int(store.items()[item].row): m.label for item, m in merged.items()} == {
        n: labels[n % 2] for n in range(20)
    }
    store.close()


def test_rows_of_a_table_come_back_as_columns(tmp_path: Path) -> None:
    row = ExportRow("0", "0", "pos", "label", "pool", "ada", 1, "margin", 0, 0, 0, "")
    tasks = export_tasks([row] * 80, [{"row": {"x": n, "y": n * n}} for n in range(80)])
    told, _ = loop_of(tmp_path, tasks, answer="", classes="pos,neg")
    assert (told.data.kind, told.data.show) == ("table", ("x", "y"))
    opened = open_source(told.data, tmp_path / "loop")
    assert opened.shown(["3"]) == [{"row": {"x": 3, "y": 9}}]


def test_tasks_that_are_read_again_stay_where_they_were() -> None:
    old = [{"id": 1, "created_at": "a", "data": {"text": "x"}}, {"id": 2, "created_at": "b", "data": {}}]
    new = [{"id": 1, "created_at": "a", "data": {"text": "edited"}}, {"id": 2, "created_at": "c", "data": {}}]
    assert joined(old, new) == [*old, new[1]], "a number that is used again names another task"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is not JSON"),
        ("{}", "is no list of tasks"),
        ("[]", "holds no task"),
        ("[1]", "task 1 is no object"),
        ('[{"data": {"text": "a"}}, {"text": "b"}]', 'task 2 has no "data"'),
        ('[{"data": {"text": "a"}, "annotations": 3}]', "no list of annotations"),
        ('[{"data": {"text": "a"}, "annotations": [{"result": "x"}]}]', "no list of results"),
        ('[{"data": {"text": "\\ud800"}}]', "is not JSON"),
    ],
)
def test_what_is_no_export_is_refused_in_one_sentence(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "export.json").write_text(content)
    with pytest.raises(DataError, match=what):
        source(tmp_path / "export.json", "")


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
choices = st.lists(st.sampled_from(["pos", "neg", ""]), max_size=2)
regions = st.fixed_dictionaries(
    {},
    optional={
        "from_name": st.sampled_from(["sentiment", "tone", None, ""]) | anything,
        "type": st.sampled_from(["choices", "number", "rating", "taxonomy", "textarea"]) | anything,
        "value": st.fixed_dictionaries({}, optional={"choices": choices, "number": anything, "taxonomy": anything})
        | anything,
    },
)
annotations = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(1, 5) | anything,
        "result": st.lists(regions, max_size=2) | anything,
        "completed_by": st.integers(1, 3) | st.fixed_dictionaries({"email": anything}) | anything,
        "was_cancelled": anything,
        "created_at": st.just("2026-01-01T00:00:00Z") | anything,
        "updated_at": st.just("2026-01-01T00:00:00") | anything,
        "lead_time": anything,
    },
)
tasks = st.fixed_dictionaries(
    {"data": st.dictionaries(st.sampled_from(["text", "row", "id", "ask", ""]), anything, min_size=1) | anything},
    optional={"id": anything, "annotations": st.lists(annotations, max_size=3) | anything, "drafts": anything},
)


@in_tmp
@given(
    entries=st.lists(tasks | st.dictionaries(st.text(max_size=5), anything, max_size=3) | anything, max_size=4)
    | st.lists(tasks, min_size=1, max_size=4),
    many=st.booleans(),
)
def test_any_list_of_tasks_is_imported_or_refused_in_one_sentence(
    tmp_path: Path, entries: list[Any], many: bool
) -> None:
    (tmp_path / "loop" / "loop.toml").unlink(missing_ok=True)
    for file in (tmp_path / "loop").glob("loop.db*"):
        file.unlink()
    try:
        told, _ = loop_of(tmp_path, [*entries, *(MORE if many else [])], show=("text",), kind="text", classes="pos,neg")
        imported(tmp_path, told).close()
    except ActiveLoopError as error:
        sentence = str(error)
    else:
        return
    assert "\n" not in sentence


def test_a_result_of_ours_is_read_where_the_control_is_named_as_ours(tmp_path: Path) -> None:
    regions = label_result("pos", "text", "choice")
    records = source(export(tmp_path, [task(1, answer(1, result=regions))]), "label").records()
    assert records[0].given[0].said == ("pos",)
    assert make_task(TaskSettings(classes=("pos", "neg"))).read([*records[0].given[0].said]).label == "pos"
