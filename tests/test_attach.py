"""A loop begins where people have labelled before: from an export of Label Studio, or from a project there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studios import Host

from active_loop import answers
from active_loop.cli import main
from active_loop.config import read_settings
from active_loop.domain import AnswerKind, Outcome, Purpose, Stopped, WaitingForPeople
from active_loop.errors import ActiveLoopError, ConfigError, DataError
from active_loop.export import export_rows
from active_loop.exported import joined
from active_loop.init import Given, write_loop
from active_loop.label_studio import (
    Annotator,
    LabelStudio,
    control_of,
    copied,
    export_tasks,
    fields,
    label_result,
    left_out,
)
from active_loop.local_studio import LocalStudio
from active_loop.merge import merge
from active_loop.records import Source
from active_loop.session import import_items, session
from active_loop.settings import DataSettings, LabelingSettings, Settings, TaskSettings
from active_loop.sources import open_source
from active_loop.store import Store
from active_loop.tasks import make_task


@dataclass(frozen=True)
class Labelled:
    """As much of a row of our export as says which item has which label."""

    item: str
    label: str | None


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


@pytest.mark.parametrize("kind", ["choice", "multi_label", "number", "taxonomy"])
def test_our_own_export_comes_back_with_the_same_labels(tmp_path: Path, kind: str) -> None:
    paths = ["mail > pos", "mail > neg"]
    labels = {"multi_label": ['["pos", "neg"]', "[]"], "number": ["1.5", "2"], "taxonomy": paths}.get(
        kind, ["pos", "neg"]
    )
    rows = [Labelled(str(n), labels[n % 2] if n < 20 else None) for n in range(80)]
    tasks = export_tasks(rows, [{"my text": f"mail {n}"} for n in range(80)], kind=kind)
    classes = ",".join(paths) if kind == "taxonomy" else "pos,neg"
    more = {} if kind == "number" else {"classes": classes}
    told, _ = loop_of(tmp_path, tasks, **more, **({"label": kind} if kind == "taxonomy" else {}))
    assert (told.task.kind, told.data.show) == (kind, ("my_text",))
    store = imported(tmp_path, told)
    merged = merge(store.annotations(), answers.reader(make_task(told.task)))
    assert {int(store.items()[item].row): m.label for item, m in merged.items()} == {
        n: labels[n % 2] for n in range(20)
    }
    store.close()


def test_rows_of_a_table_come_back_as_columns(tmp_path: Path) -> None:
    row = Labelled("0", "pos")
    tasks = export_tasks([row] * 80, [{"row": {"x": n, "y": n * n}} for n in range(80)])
    for task in tasks:
        task["data"]["ask"] = "what a task of ours carries beside"
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


# The page of somebody else's


@pytest.mark.parametrize(
    ("control", "found"),
    [
        ('<Choices name="c" toName="t"><Choice value="a"/><Choice value="b" alias="B"/></Choices>', ("a", "B")),
        (
            '<Choices name="c" toName="t" choice="multiple"><Choice value="a"/><Choice value="(none)"/></Choices>',
            ("multi_label", ("a",)),
        ),
        ('<Rating name="c" toName="t" maxRating="4"/>', ("number", (1.0, 4.0), 1.0)),
        ('<Number name="c" toName="t" min="0"/>', ("number", (0.0, float("inf")), 0.0)),
        (
            '<Taxonomy name="c" toName="t" maxUsages="1" leafsOnly="true"><Choice value="a"><Choice value="b"/>'
            '<Choice value="c"/></Choice></Taxonomy>',
            ("a > b", "a > c"),
        ),
        (
            '<Taxonomy name="c" toName="t"><Choice value="a"><Choice value="b"/></Choice></Taxonomy>',
            ("multi_label", ("a", "a > b")),
        ),
    ],
)
def test_a_control_is_what_its_tag_says(control: str, found: tuple[Any, ...]) -> None:
    seen = control_of(f'<View><Text name="t" value="$x"/>{control}</View>', None, "theirs")
    if seen.kind == "choice":
        assert seen.classes == found
    elif seen.kind == "multi_label":
        assert ("multi_label", seen.classes) == found
    else:
        assert ("number", seen.bounds, seen.step) == found


@pytest.mark.parametrize(
    "control",
    [
        '<Choices name="c" toName="t" value="$options"/>',
        '<Choices name="c" toName="t" perRegion="true"><Choice value="a"/><Choice value="b"/></Choices>',
        '<View visibleWhen="choice-selected" whenTagName="d"><Number name="c" toName="t"/></View>',
        '<Labels name="c" toName="t"><Label value="a"/></Labels>',
    ],
)
def test_what_not_everybody_answers_about_each_task_is_no_control_to_ask_with(control: str) -> None:
    with pytest.raises(ConfigError, match=r'has no control that a loop can ask with: there is [A-Z][a-z]* "c"'):
        control_of(f'<View><Text name="t" value="$x"/>{control}</View>', None, "theirs")


def test_the_copy_has_one_control_under_our_name_and_shows_the_same_fields() -> None:
    config = (
        '<View><Image name="outcome" value="$picture"/><Text name="label" value="$text"/><Header value="$title"/>'
        '<Choices name="c" toName="label"><Choice value="a"/><Choice value="b"/></Choices>'
        '<View visibleWhen="choice-selected" whenTagName="c"><TextArea name="note" toName="label"/></View>'
        '<Choices name="d" toName="outcome"><Choice value="e"/></Choices></View>'
    )
    copy = ElementTree.fromstring(copied(config, "c"))
    named = [(each.tag, each.get("name"), each.get("toName")) for each in copy.iter() if each.get("name")]
    assert named == [("Image", "outcome_2", None), ("Text", "label_2", None), ("Choices", "label", "label_2")]
    assert fields(config) == (("picture", "text", "title"), ("text", "title"))
    assert left_out(config, "c") == ("note", "d")


def test_a_page_whose_control_has_another_name_is_refused() -> None:
    page = '<View><Text name="t" value="$text"/><Number name="stars" toName="t"/></View>'
    told = Settings(labeling=LabelingSettings(page=page))
    with pytest.raises(ConfigError, match='no control with name="label"'):
        LabelStudio("http://localhost:1", token="x").create_project(told, marker="m")


# A project at a real Label Studio


CONFIG = """<View>
  <Header value="How is this mail?"/>
  <Text name="label" value="$mail"/>
  <Choices name="mood" toName="label" choice="single" required="true">
    <Choice value="A good mail" alias="pos" hotkey="g"/>
    <Choice value="A bad mail" alias="neg" hotkey="b"/>
  </Choices>
  <TextArea name="note" toName="label"/>
</View>"""


def mail(number: int) -> str:
    return f"mail {number} {'cheap offer today' if number % 2 else 'minutes of the meeting'}"


def mood(text: str) -> str:
    return "neg" if "cheap" in text else "pos"


class Theirs:
    """A project of somebody else's: two people's answers, a skip, a draft, a prediction."""

    def __init__(self, host: Host, second: str, config: str = CONFIG, n: int = 130) -> None:
        self.host, self.second = host, {"Authorization": f"Token {second}"}
        self.number = int(host("POST", "/api/projects/", {"title": "Moods of mails", "label_config": config})["id"])
        self.add(range(n))

    def add(self, numbers: range) -> None:
        rows = [{"data": {"mail": mail(number), "from": f"someone {number}"}} for number in numbers]
        if rows:
            self.host("POST", f"/api/projects/{self.number}/import", rows)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return self.host.tasks(self.number)

    def annotated(self) -> None:
        ids = [task["id"] for task in self.tasks]

        def say(task: int, label: str, **more: Any) -> None:
            regions = [{**result(label, control="mood")[0], "to_name": "label"}]
            note = {"from_name": "note", "to_name": "label", "type": "textarea", "value": {"text": ["so so"]}}
            body = {"result": [*regions, note], "lead_time": 4.0, **more}
            self.host("POST", f"/api/tasks/{task}/annotations/", body)

        def second(task: int, label: str) -> None:
            body = {"result": [{**result(label, control="mood")[0], "to_name": "label"}], "lead_time": 3.0}
            reply = self.host.client.post(f"/api/tasks/{task}/annotations/", json=body, headers=self.second)
            assert reply.is_success, reply.text

        for place in range(8):
            say(ids[place], mood(mail(place)))
        second(ids[0], "pos")
        second(ids[1], "pos")
        say(ids[8], "pos", result=[], was_cancelled=True)
        self.host("POST", f"/api/tasks/{ids[9]}/drafts", {"result": result("pos", control="mood"), "lead_time": 1.0})
        self.host("POST", "/api/predictions/", {"task": ids[10], "result": result("pos", control="mood"), "score": 0.5})

    def everything(self) -> str:
        """All that Label Studio says of the project, to the letter."""
        project = self.host("GET", f"/api/projects/{self.number}/")
        hooks = self.host("GET", f"/api/webhooks/?project={self.number}")
        return json.dumps([project, self.tasks, hooks], sort_keys=True)


def initialised(folder: Path, studio: LocalStudio, number: int, *more: str) -> Result:
    told = ["init", str(folder), "--attach", studio.url, "--project", str(number), "--yes", *more]
    return CliRunner().invoke(main, told, env={"LABEL_STUDIO_API_KEY": studio.token})


studio_test = pytest.mark.studio
no_warning = pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*")


@studio_test
@no_warning
def test_a_loop_goes_on_where_people_have_labelled_and_leaves_their_project_as_it_was(
    tmp_path: Path, studio: LocalStudio, host: Host, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
    theirs, folder = Theirs(host, second), tmp_path / "loop"
    theirs.annotated()
    before = theirs.everything()

    made = initialised(folder, studio, theirs.number, "--budget", "50")
    assert made.exit_code == 0, made.output
    told = read_settings(folder / "loop.toml")
    assert told.data == DataSettings(
        path="data/tasks.json", kind="text", show=("mail",), answer="mood", project=theirs.number
    )
    assert (told.task.classes, told.task.unsure, told.task.broken) == (("pos", "neg"), False, False)
    assert "note will not be on their page" in made.output

    with session(folder, told, lambda news: None, dashboard=False, inline=True) as run:
        assert run.labeling is not None
        assert run.labeling.project != theirs.number
        seat_of = Annotator(studio.url, token=studio.token, project=run.labeling.project)
        while not isinstance(done := run.loop.step(), Stopped):
            if isinstance(done, WaitingForPeople):
                while (open_task := seat_of.next()) is not None:
                    assert list(open_task.shown) == ["mail"]
                    seat_of.answer(open_task, mood(open_task.shown["mail"]), lead_time_s=1.0)
        ours = host("GET", f"/api/projects/{run.labeling.project}/")
        assert all(found.ok for found in run.labeling.check(told)), "doctor finds the page as it should be"
    assert "A good mail" in ours["label_config"]
    assert 'hotkey="g"' in ours["label_config"]
    assert theirs.everything() == before, "the project that was there is as it was"

    store = Store(folder / "loop.db", readonly=True)
    items, merged = store.items(), merge(store.annotations(), answers.reader(make_task(told.task)))
    of_row = {items[item].row: m for item, m in merged.items()}
    other = host("GET", "/api/users/")
    people = {studio.user, *(user["email"] for user in other)}
    assert of_row["0"].votes == {"pos": 2}
    assert set(of_row["0"].people) <= people
    assert len(of_row["0"].people) == 2
    assert of_row["1"].votes["neg"] >= 1
    assert of_row["1"].votes["pos"] >= 1
    old = [a for a in store.annotations() if a.source == "import"]
    assert len(old) == 11, "eight answers, two of a second person, a skip; no draft, no prediction"
    assert sum(a.kind == AnswerKind.SKIPPED for a in old) == 1
    assert sum(store.n_sent(purpose) for purpose in Purpose) <= 50, "the old answers cost nothing"
    rows = {row.row: row for row in export_rows(store)}
    assert {str(n) for n in (0, 2, 3, 4, 5, 6, 7)} <= set(rows)
    assert all(row.label == mood(mail(int(place))) for place, row in rows.items() if row.label)
    store.close()

    theirs.add(range(130, 133))
    found = CliRunner().invoke(main, ["doctor", str(folder)])
    assert "133 tasks" not in found.output
    assert "(3 more than were read)" in found.output, found.output
    again = CliRunner().invoke(main, ["import", str(folder), "--json"])
    assert json.loads(again.output) == {"added": 3, "items": 133}


@studio_test
@no_warning
def test_what_cannot_be_attached_to_is_said_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, studio: LocalStudio, host: Host, second: str
) -> None:
    labels = '<RectangleLabels name="box" toName="i"><Label value="a"/></RectangleLabels>'
    boxes = f'<View><Image name="i" value="$mail"/>{labels}</View>'
    two = CONFIG.replace("</Choices>", '</Choices><Number name="stars" toName="label" min="1" max="5"/>')
    image = CONFIG.replace('<Text name="label"', '<Image name="label"')

    def said(number: int, *more: str, code: int) -> str:
        found = initialised(tmp_path / "loop", studio, number, *more)
        assert found.exit_code == code, found.output
        assert not (tmp_path / "loop").exists()
        return found.output

    assert "cannot open project 99999" in said(99999, code=4)
    assert "has no tasks: nothing to start from" in said(Theirs(host, second, n=0).number, code=5)
    assert 'there is RectangleLabels "box"' in said(Theirs(host, second, boxes, n=1).number, code=2)
    mixed = Theirs(host, second, two, n=100).number
    assert "several controls to ask with, mood, stars" in said(mixed, code=2)
    assert 'no control "odd" to use; it has mood, stars' in said(mixed, "--answer", "odd", code=2)
    assert "nothing there can be learned from" in said(Theirs(host, second, image, n=1).number, code=2)
    told = ["init", str(tmp_path / "loop"), "--attach", studio.url, "--project", str(mixed), "--yes"]
    wrong = CliRunner().invoke(main, told, env={"LABEL_STUDIO_API_KEY": "0" * 40})
    assert (wrong.exit_code, "refuses our token" in wrong.output) == (7, True)
    assert "name the data" in CliRunner().invoke(main, told[:2]).output


TALK = """<View>
  <Paragraphs name="talk" value="$talk" nameKey="who" textKey="text"/>
  <Rating name="stars" toName="talk" maxRating="5"/>
</View>"""


@studio_test
@no_warning
def test_what_a_page_shows_arrives_as_it_was_and_its_own_control_is_read(
    tmp_path: Path, studio: LocalStudio, host: Host, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
    theirs = Theirs(host, second, TALK, n=0)
    talks = [[{"who": "Ada", "text": mail(n)}, {"who": "Bob", "text": "thanks"}] for n in range(80)]
    host("POST", f"/api/projects/{theirs.number}/import", [{"data": {"talk": talk}} for talk in talks])
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(studio.token)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "")
    more = ("--target", "1.5", "--metric", "mae", "--budget", "50", "--token-file", str(token))
    made = CliRunner().invoke(
        main,
        ["init", str(tmp_path / "loop"), "--attach", studio.url, "--project", str(theirs.number), "--yes", *more],
    )
    assert made.exit_code == 0, made.output
    told = read_settings(tmp_path / "loop" / "loop.toml")
    assert told.labeling.token_file == str(token)
    assert (told.task.kind, told.task.bounds, told.task.step) == ("number", (1.0, 5.0), 1.0)
    with session(tmp_path / "loop", told, lambda news: None, dashboard=False, inline=True) as run:
        while not isinstance(run.loop.step(), WaitingForPeople):
            pass
        assert run.labeling is not None
        task, *_ = host.tasks(run.labeling.project)
        assert task["data"]["talk"] in talks
        stars = [{"from_name": "label", "to_name": "talk", "type": "rating", "value": {"rating": 4}}]
        host("POST", f"/api/tasks/{task['id']}/annotations/", {"result": stars, "lead_time": 1.0})
        while not isinstance(run.loop.step(), WaitingForPeople):
            pass
        (said,) = run.loop.standing.merged().values()
        assert said.label == "4"
