"""Label Studio as a backend, against the real server; what goes wrong on the way is made by a real proxy."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from studios import Host, Proxy, again, kinds, seat, task_of, texts

from active_loop.domain import AnswerKind, Ask, AskState, Outcome, Purpose
from active_loop.errors import ConfigError, LabelingError, TokenError
from active_loop.expert import Expert, account, name_of, read_answers
from active_loop.label_studio import (
    EVENTS,
    SECRET_HEADER,
    Annotator,
    LabelStudio,
    OpenTask,
    choice_result,
    export_tasks,
    hotkeys,
    label_config,
    label_result,
    read_result,
)
from active_loop.label_studio.page import differences
from active_loop.labeling import Publication
from active_loop.local_studio import LocalStudio
from active_loop.settings import DataSettings, Settings, TaskSettings
from active_loop.tasks import BROKEN, NONE, UNSURE, MultiLabel, Number, SingleChoice, Task, make_task

PAYLOADS = Path(__file__).parent / "payloads"
TASK = TaskSettings(classes=("ham", "spam"), question="Ham or spam?")
TEXT = Settings(name="mails", data=DataSettings(kind="text", show=("text",)), task=TASK)


# Without a server.


@given(st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=60))
def test_every_key_is_given_once_and_a_digit_picks_itself(classes: list[str]) -> None:
    keys = hotkeys([*classes, UNSURE, BROKEN])
    given_out = [key for key in keys.values() if key]
    assert len(set(given_out)) == len(given_out)
    assert all(keys[digit] == digit for digit in "0123456789" if digit in classes)
    assert list(keys) == [*classes, UNSURE, BROKEN]


def test_unsure_and_broken_take_other_keys_where_classes_have_theirs() -> None:
    keys = hotkeys(["u", "b", UNSURE, BROKEN])
    assert keys == {"u": "u", "b": "b", UNSURE: "1", BROKEN: "2"}


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1),
        unique=True,
        min_size=2,
    )
)
def test_the_label_config_holds_every_class_as_it_is(classes: list[str]) -> None:
    task = TaskSettings(classes=tuple(classes), question='Which <one> & "why"?', unsure=False, broken=True)
    settings = dataclasses.replace(TEXT, task=task)
    assume(not any("$" in name or name == BROKEN for name in classes))
    page = ElementTree.fromstring(label_config(settings))
    assert [choice.get("value") for choice in page.iter("Choice")] == [*classes, BROKEN]
    assert page.find("Header").get("value") == task.question  # type: ignore[union-attr]


def test_a_class_that_label_studio_takes_for_a_field_is_refused() -> None:
    settings = dataclasses.replace(TEXT, task=TaskSettings(classes=("$5", "US$")))
    with pytest.raises(ConfigError, match=r'"\$5"'):
        label_config(settings)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('value="spam"', 'value="junk"', ['"spam" was renamed to "junk"']),
        ('value="spam"', 'value="spam" alias="junk"', ['"spam" was renamed to "junk"']),
        ('<Choice value="ham" hotkey="1" />', "", ['"ham" was removed']),
        ("</Choices>", '<Choice value="eggs" /><Choice value="oil" /></Choices>', ['"eggs" was', '"oil" was added']),
        ('<Choice value="ham" hotkey="1" />', '<Choice value="a" /><Choice value="b" />', ['"ham" was', '"a"', '"b"']),
        ('name="label"', 'name="kind"', ['no control named "label"']),
        ("Ham or spam?", "Really?", ["the labels are the same"]),
        ("<View>", "<View", ["no control"]),
        ('hotkey="1" />', 'hotkey="1"></Choice>', []),
    ],
)
def test_each_edit_of_a_label_config_is_said_in_a_sentence_of_its_own(old: str, new: str, said: list[str]) -> None:
    config = label_config(TEXT)
    assert old in config
    found = differences(config.replace(old, new), config)
    assert [part in sentence for part, sentence in zip(said, found, strict=True)] == [True] * len(said)


TOPICS = TaskSettings(kind="multi_label", classes=("politics", "sports", "arts"))
SAID_UNSURE = {"from_name": "outcome", "type": "choices", "value": {"choices": [UNSURE]}}
WEIGHT = TaskSettings(kind="number", bounds=(0.0, 10.0), step=0.5, unit="kg")


def test_several_labels_are_chosen_beside_each_other_or_none_of_them() -> None:
    page = ElementTree.fromstring(label_config(dataclasses.replace(TEXT, task=TOPICS)))
    (choices,) = page.iter("Choices")
    assert choices.get("choice") == "multiple"
    assert [choice.get("value") for choice in choices] == [*TOPICS.classes, NONE, UNSURE, BROKEN]


def test_a_number_has_its_field_and_its_bounds() -> None:
    page = ElementTree.fromstring(label_config(dataclasses.replace(TEXT, task=WEIGHT)))
    (field,) = page.iter("Number")
    assert {name: field.get(name) for name in ("name", "min", "max", "step", "required")} == {
        "name": "label", "min": "0", "max": "10", "step": "0.5", "required": None,
    }  # fmt: skip
    assert [choice.get("value") for choice in page.iter("Choice")] == [UNSURE, BROKEN]
    assert "(kg)" in str(page.find("Header").get("value"))  # type: ignore[union-attr]
    half_open = dataclasses.replace(WEIGHT, bounds=(0.0, math.inf), unsure=False, broken=False)
    page = ElementTree.fromstring(label_config(dataclasses.replace(TEXT, task=half_open)))
    (field,) = page.iter("Number")
    assert (field.get("max"), field.get("required")) == (None, "true")
    assert not list(page.iter("Choices"))


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (SingleChoice(("ham", "spam")), "spam"),
        (MultiLabel(("a", "b, c")), '["a", "b, c"]'),
        (MultiLabel(("a", "b, c")), "[]"),
        (Number(-5, 10), "-3.25"),
        (Number(), "1e+300"),
        (Number(), "7"),
    ],
)
def test_a_label_that_is_written_as_a_result_is_read_as_the_same_label(task: Task, label: str) -> None:
    assert task.read(read_result(json.dumps(label_result(label, "text", task.kind)))).label == label


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ([SAID_UNSURE], Outcome.UNSURE),
        ([*label_result("3", "text", "number"), SAID_UNSURE], Outcome.INVALID),
        ([{"from_name": "label", "type": "number", "value": {"number": True}}], Outcome.INVALID),
        ([{"from_name": "label", "type": "number", "value": {"number": "3"}}], Outcome.INVALID),
        ([{"from_name": "label", "type": "number", "value": {}}], Outcome.INVALID),
        (label_result("11", "text", "number"), Outcome.INVALID),
        ([], Outcome.INVALID),
    ],
)  # fmt: skip
def test_what_stands_instead_of_a_number_means_what_it_says(result: object, outcome: Outcome) -> None:
    assert Number(0, 10).read(read_result(json.dumps(result))).outcome is outcome


def test_columns_with_any_name_get_names_that_label_studio_accepts() -> None:
    columns = ("the text", "the_text", "ask", "2nd", "größe")
    page = ElementTree.fromstring(label_config(dataclasses.replace(TEXT, data=DataSettings("", "text", columns))))
    values = [str(text.get("value")) for text in page.iter("Text")]
    assert len(set(values)) == 5
    assert all(value[1:].isidentifier() and value.isascii() and value != "$ask" for value in values)


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_whatever_was_stored_reads_as_something(raw: str) -> None:
    assert SingleChoice(("ham", "spam")).read(read_result(raw)).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ([{"from_name": "note", "type": "textarea", "value": {"text": ["ham"]}}], 'a textarea of "note"'),
        ([{"from_name": "label", "type": "rating", "value": {"rating": 4}}], 'unknown label "4"'),
        ([{"from_name": "label", "type": "labels", "value": {"labels": ["ham"]}}], "a labels"),
        ([{"from_name": "label", "type": "choices", "value": {"choices": "ham"}}], "no list of choices"),
        ([{"from_name": "label", "type": "choices", "value": {"choices": ["eggs"]}}], "eggs"),
        (choice_result("ham", "text") + choice_result("spam", "text"), "2 choices"),
        ([], "empty"),
        ({"choices": ["ham"]}, "no list of regions"),
    ],
)
def test_an_answer_that_our_control_did_not_write_is_invalid_and_says_why(result: object, problem: str) -> None:
    answer = SingleChoice(("ham", "spam")).read(read_result(json.dumps(result)))
    assert answer.outcome is Outcome.INVALID
    assert problem in answer.problem


def test_exported_tasks_hold_field_label_and_the_rest_as_meta(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Row:
        item: str
        label: str | None

    rows = [Row("a", "ham"), Row("b", None)]
    first, second = export_tasks(rows, [{"text": "x"}, {"image": tmp_path / "images" / "1 2.png"}], tmp_path / "images")
    assert first["data"] == {"text": "x"}
    assert read_result(json.dumps(first["annotations"][0]["result"])) == ["ham"]
    assert second == {
        "data": {"image": "/data/local-files/?d=images/1%202.png"},
        "meta": {"item": "b", "label": None},
        "annotations": [],
    }


# With the real server.


@pytest.fixture
def backend(studio: LocalStudio, request: pytest.FixtureRequest) -> LabelStudio:
    """A backend with a text project of its own."""
    made = LabelStudio(studio.url, token=studio.token)
    made.create_project(TEXT, marker=f"{request.node.name} {time.time_ns()}")
    return made


@pytest.fixture
def behind(backend: LabelStudio, proxy: Proxy, studio: LocalStudio) -> LabelStudio:
    """A backend of the same project that reaches the server through the proxy."""
    return LabelStudio(proxy.url, token=studio.token, project=backend.project, sleep=lambda seconds: None)


pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*")]


@pytest.mark.studio
def test_publishing_twice_makes_no_duplicates(backend: LabelStudio, studio: LocalStudio, host: Host) -> None:
    backend.publish(texts(1, 2))
    backend.publish(texts(1, 2, 3))
    again(backend, studio).publish(texts(2, 3))
    assert [task["data"]["ask"] for task in host.tasks(backend.project)] == ["ask-1", "ask-2", "ask-3"]
    assert [ref.ask for ref in backend.tasks()] == ["ask-1", "ask-2", "ask-3"]


@pytest.mark.studio
def test_a_lost_reply_makes_no_duplicates_and_no_error(behind: LabelStudio, proxy: Proxy, host: Host) -> None:
    proxy.once("POST", "/import", "lose the reply")
    behind.publish(texts(1, 2, 3))
    assert len(host.tasks(behind.project)) == 3
    assert sum(method == "POST" and "/import" in path for method, path in proxy.seen) == 1


@pytest.mark.studio
def test_a_lost_request_is_an_error_and_the_next_call_makes_up_for_it(
    behind: LabelStudio, proxy: Proxy, host: Host
) -> None:
    proxy.once("POST", "/import", "lose the request")
    with pytest.raises(LabelingError, match="cannot reach Label Studio"):
        behind.publish(texts(1, 2))
    assert host.tasks(behind.project) == []
    behind.publish(texts(1, 2))
    assert len(host.tasks(behind.project)) == 2


@pytest.mark.studio
def test_a_read_is_repeated_while_the_server_is_passingly_away(behind: LabelStudio, proxy: Proxy) -> None:
    proxy.once("GET", "/api/tasks", (502, "<html>Bad gateway</html>"))
    assert list(behind.collect()) == []


@pytest.mark.studio
def test_a_task_carries_what_is_shown_and_its_ask_and_nothing_else(backend: LabelStudio, host: Host) -> None:
    ask = Ask("ask-1", 1, Purpose.TEST, AskState.SENDING, utility=0.7, why={"margin": 0.1}, strategy="margin")
    backend.publish([Publication(ask, {"text": "hello"})])
    (task,) = host.tasks(backend.project)
    assert task["data"] == {"text": "hello", "ask": "ask-1"}
    assert (task["predictions"], task["meta"]) == ([], {})


@pytest.mark.studio
def test_images_are_served_from_their_folder_and_travel_inline_from_elsewhere(
    studio: LocalStudio, host: Host, image_root: Path, tmp_path: Path
) -> None:
    backend = LabelStudio(studio.url, token=studio.token, image_root=image_root)
    settings = Settings(name="images", data=DataSettings(kind="image"), task=TASK)
    backend.create_project(settings, marker=f"images {time.time_ns()}")
    elsewhere = tmp_path / "other.png"
    elsewhere.write_bytes((image_root / "1.png").read_bytes())
    asks = [publication.ask for publication in texts(1, 2)]
    paths = [image_root / "a b" / "1+1 & é.png", elsewhere]
    backend.publish([Publication(ask, {"image": path}) for ask, path in zip(asks, paths, strict=True)])
    served, inline = (task["data"]["image"] for task in host.tasks(backend.project))
    reply = httpx.get(studio.url + served, headers={"Authorization": f"Token {studio.token}"}, trust_env=False)
    assert reply.content == paths[0].read_bytes()
    assert httpx.get(studio.url + served, trust_env=False).status_code == 401
    assert inline.startswith("data:image/png;base64,")
    assert name_of({"image": served}) == "1+1 & é.png"
    assert all(finding.ok for finding in backend.check(settings))


@pytest.mark.studio
def test_rows_are_shown_as_a_table(studio: LocalStudio, host: Host) -> None:
    backend = LabelStudio(studio.url, token=studio.token)
    settings = Settings(name="rows", data=DataSettings(kind="table"), task=TASK)
    backend.create_project(settings, marker=f"rows {time.time_ns()}")
    (publication,) = texts(1)
    backend.publish([dataclasses.replace(publication, shown={"row": {"age": 3, "weight": float("nan")}})])
    assert host.tasks(backend.project)[0]["data"] == {"row": {"age": 3, "weight": ""}, "ask": "ask-1"}


@pytest.mark.studio
@pytest.mark.parametrize(
    ("told", "labels"), [(TOPICS, ['["politics", "arts"]', "[]"]), (WEIGHT, ["3.5", "10"])], ids=["several", "number"]
)
def test_several_labels_and_numbers_come_back_as_they_were_given(
    studio: LocalStudio, told: TaskSettings, labels: list[str]
) -> None:
    backend = LabelStudio(studio.url, token=studio.token)
    backend.create_project(dataclasses.replace(TEXT, task=told), marker=f"{told.kind} {time.time_ns()}")
    backend.publish(texts(1, 2))
    seat(backend, studio.token).answer(task_of(backend, "ask-1"), labels[0], lead_time_s=1.0, kind=told.kind)
    seat(backend, studio.token).answer(task_of(backend, "ask-2"), labels[1], lead_time_s=1.0, kind=told.kind)
    task = make_task(told)
    found = {annotation.ask: task.read(read_result(annotation.raw)).label for annotation in backend.collect()}
    assert found == {"ask-1": labels[0], "ask-2": labels[1]}


@pytest.mark.studio
def test_an_answer_comes_with_who_when_and_how_long(backend: LabelStudio, second: str, studio: LocalStudio) -> None:
    backend.publish(texts(1, 2))
    seat(backend, studio.token).answer(task_of(backend, "ask-1"), "ham", lead_time_s=2.5)
    seat(backend, second).answer(task_of(backend, "ask-2"), "spam", lead_time_s=1.0)
    ours, theirs = backend.collect()
    assert (ours.ask, ours.person, ours.lead_time_s) == ("ask-1", studio.user, 2.5)
    assert (theirs.ask, theirs.person, read_result(theirs.raw)) == ("ask-2", "expert@loop.local", ["spam"])
    assert ours.source == f"label-studio:{backend.project}"
    assert ours.kind is AnswerKind.SUBMITTED
    offset = ours.updated_at.utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 0
    assert ours.created_at is not None
    assert ours.created_at <= ours.updated_at


@pytest.mark.studio
def test_skip_edit_and_deletion_come_as_versions(backend: LabelStudio, host: Host, studio: LocalStudio) -> None:
    backend.publish(texts(1, 2))
    assert list(backend.collect()) == []
    annotator = seat(backend, studio.token)
    annotator.skip(task_of(backend, "ask-1"), lead_time_s=1.0)
    annotator.answer(task_of(backend, "ask-2"), "ham", lead_time_s=1.0)
    skipped, first = backend.collect()
    assert skipped.kind is AnswerKind.SKIPPED
    host("PATCH", f"/api/annotations/{first.id}/", {"result": choice_result("spam", "text")})
    edited = next(annotation for annotation in backend.collect() if annotation.id == first.id)
    assert edited.updated_at > first.updated_at
    assert read_result(edited.raw) == ["spam"]
    host("DELETE", f"/api/annotations/{first.id}/")
    gone = next(annotation for annotation in backend.collect() if annotation.id == first.id)
    assert gone.kind is AnswerKind.RETRACTED
    assert gone.updated_at > edited.updated_at
    assert (gone.ask, gone.person) == (first.ask, first.person)


@pytest.mark.studio
def test_a_deletion_while_nobody_looked_is_noticed_after_a_restart(
    backend: LabelStudio, host: Host, studio: LocalStudio
) -> None:
    backend.publish(texts(1, 2))
    for ask in ("ask-1", "ask-2"):
        seat(backend, studio.token).answer(task_of(backend, ask), "ham", lead_time_s=1.0)
    known = list(backend.collect())
    host("DELETE", f"/api/annotations/{known[0].id}/")
    restarted = again(backend, studio)
    restarted.resume(known, backend.tasks())
    first = list(restarted.collect())
    assert kinds(first) == {"ask-1": AnswerKind.RETRACTED, "ask-2": AnswerKind.SUBMITTED}
    third = again(backend, studio)
    third.resume([*known, *first], backend.tasks())
    assert kinds(list(third.collect())) == {"ask-2": AnswerKind.SUBMITTED}
    assert kinds(list(again(backend, studio).collect())) == {"ask-2": AnswerKind.SUBMITTED}


@pytest.mark.studio
def test_a_vanished_task_retracts_nothing_even_where_its_ask_is_published_anew(
    backend: LabelStudio, host: Host, studio: LocalStudio
) -> None:
    backend.publish(texts(1))
    seat(backend, studio.token).answer(task_of(backend, "ask-1"), "ham", lead_time_s=1.0)
    known = list(backend.collect())
    host("DELETE", f"/api/tasks/{task_of(backend, 'ask-1').id}/")
    assert list(backend.collect()) == []
    backend.publish(texts(1))
    assert list(backend.collect()) == []
    restarted = again(backend, studio)
    restarted.resume(known, backend.tasks())
    assert list(restarted.collect()) == []


@pytest.mark.studio
def test_drafts_predictions_and_foreign_tasks_are_no_answers(
    backend: LabelStudio, host: Host, studio: LocalStudio
) -> None:
    backend.publish(texts(1))
    task = task_of(backend, "ask-1").id
    host("POST", f"/api/tasks/{task}/drafts", {"result": choice_result("ham", "text"), "lead_time": 1})
    host("POST", "/api/predictions/", {"task": task, "result": choice_result("ham", "text"), "score": 0.9})
    foreign: list[dict[str, Any]] = [
        {"data": {"text": "theirs"}},
        {"data": {"text": "odd", "ask": 7}},
        {"data": {"text": "no", "ask": ""}},
    ]
    answers = [{"result": choice_result("ham", "text")}]
    host("POST", f"/api/projects/{backend.project}/import", [{**one, "annotations": answers} for one in foreign])
    assert list(again(backend, studio).collect()) == []
    assert len(backend.tasks()) == 1


@pytest.mark.studio
def test_many_tasks_and_answers_are_all_seen_page_by_page(
    backend: LabelStudio, host: Host, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("active_loop.label_studio.listing._PAGE", 3)
    backend.publish(texts(*range(7)))
    assert list(backend.collect()) == []
    for number in range(7):
        seat(backend, studio.token).answer(task_of(backend, f"ask-{number}"), "ham", lead_time_s=1.0)
    wanted = [f"ask-{number}" for number in range(7)]
    assert [annotation.ask for annotation in backend.collect()] == wanted
    assert [annotation.ask for annotation in again(backend, studio).collect()] == wanted


@pytest.mark.studio
def test_a_change_between_two_pages_hides_no_other_answer(
    behind: LabelStudio, proxy: Proxy, host: Host, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("active_loop.label_studio.listing._PAGE", 3)
    behind.publish(texts(*range(6)))
    assert list(behind.collect()) == []
    for number in range(6):
        seat(behind, studio.token).answer(task_of(behind, f"ask-{number}"), "ham", lead_time_s=1.0)
    first = next(task for task in host.tasks(behind.project) if task["data"]["ask"] == "ask-0")["annotations"][0]["id"]
    pages = []

    def edit_before_the_second_page(method: str, path: str) -> None:
        pages.append(path)
        if len(pages) == 2:
            host("PATCH", f"/api/annotations/{first}/", {"result": choice_result("spam", "text")})

    proxy.fault = edit_before_the_second_page
    versions = list(behind.collect())
    assert {version.ask for version in versions} == {f"ask-{number}" for number in range(6)}
    assert [version.ask for version in versions].count("ask-0") == 2


@pytest.mark.studio
def test_the_full_look_comes_at_first_and_then_every_few_minutes(
    backend: LabelStudio, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    looking = again(backend, studio, reconcile_every_s=300.0, clock=lambda: now[0])
    looking.publish(texts(1))
    seat(backend, studio.token).answer(task_of(looking, "ask-1"), "ham", lead_time_s=1.0)
    assert len(list(looking.collect())) == 1
    monkeypatch.setattr("active_loop.label_studio.backend._OVERLAP", -timedelta(days=1))
    assert list(looking.collect()) == []
    now[0] = 301.0
    assert len(list(looking.collect())) == 1


@pytest.mark.studio
def test_an_answer_to_either_of_two_tasks_counts_and_the_spare_one_goes_at_the_end(
    backend: LabelStudio, host: Host, studio: LocalStudio
) -> None:
    backend.publish(texts(1, 2, 3))
    host("POST", f"/api/projects/{backend.project}/import", [{"data": {"text": "text 1", "ask": "ask-1"}}])
    spare = max(task["id"] for task in host.tasks(backend.project))
    annotator = seat(backend, studio.token)
    annotator.answer(OpenTask(spare, {}), "ham", lead_time_s=1.0)
    assert kinds(list(backend.collect())) == {"ask-1": AnswerKind.SUBMITTED}
    draft = task_of(backend, "ask-2").id
    host("POST", f"/api/tasks/{draft}/drafts", {"result": choice_result("ham", "text"), "lead_time": 1})
    backend.retire([publication.ask for publication in texts(2, 3)])
    assert {task["id"] for task in host.tasks(backend.project)} == {spare, draft}
    assert [version.kind for version in backend.collect() if version.kind is AnswerKind.RETRACTED] == []


@pytest.mark.studio
def test_a_project_is_made_once_and_another_hands_project_is_left_alone(studio: LocalStudio, host: Host) -> None:
    marker = f"loop {time.time_ns()}"
    backend = LabelStudio(studio.url, token=studio.token)
    number = backend.create_project(TEXT, marker=marker)
    assert LabelStudio(studio.url, token=studio.token).create_project(TEXT, marker=marker) == number
    other = dataclasses.replace(TEXT, task=dataclasses.replace(TASK, question="Really?", instructions="Look well."))
    assert LabelStudio(studio.url, token=studio.token, project=number).create_project(other, marker=marker) == number
    made = host("GET", f"/api/projects/{number}/")
    assert "Really?" in made["label_config"]
    assert (made["expert_instruction"], made["show_instruction"]) == ("Look well.", True)
    assert (made["show_collab_predictions"], made["skip_queue"]) == (False, "IGNORE_SKIPPED")
    assert (made["maximum_annotations"], made["sampling"]) == (1, "Sequential sampling")
    theirs = host("POST", "/api/projects/", {"title": "theirs", "label_config": label_config(TEXT)})
    LabelStudio(studio.url, token=studio.token, project=theirs["id"]).create_project(other, marker=marker)
    assert "Really?" not in host("GET", f"/api/projects/{theirs['id']}/")["label_config"]


@pytest.mark.studio
def test_doctor_says_what_is_well_and_what_is_not(backend: LabelStudio, host: Host, studio: LocalStudio) -> None:
    findings = backend.check(TEXT)
    assert all(finding.ok for finding in findings), findings
    assert "Label Studio 1." in findings[0].text
    other = dataclasses.replace(TEXT, task=TaskSettings(classes=("ham", "eggs")))
    backend.publish(texts(1))
    guess = {"task": task_of(backend, "ask-1").id, "result": choice_result("ham", "text"), "model_version": "m1"}
    host("POST", "/api/predictions/", guess)
    host("PATCH", f"/api/projects/{backend.project}/", {"sampling": "Uniform sampling", "model_version": "m1"})
    bad = [finding.text for finding in backend.check(other) if not finding.ok]
    assert len(bad) == 2
    assert "label config" in bad[0]
    assert "Uniform sampling" in bad[1]
    assert "m1" in bad[1]
    (last,) = LabelStudio(studio.url, token="0" * 40, project=backend.project).check(TEXT)[1:]
    assert not last.ok
    assert "refuses our token" in last.text


@pytest.mark.studio
def test_a_refused_token_is_an_error_of_its_own_and_is_never_shown(studio: LocalStudio) -> None:
    secret = "5ecre7" + "0" * 34
    with pytest.raises(TokenError) as caught:
        LabelStudio(studio.url, token=secret, project=1).publish(texts(1))
    shown, cause = str(caught.value), caught.value.__cause__
    assert secret not in f"{shown} {cause!r} {cause} {LabelStudio(studio.url, token=secret)!r}"
    with pytest.raises(TokenError, match="no token"):
        LabelStudio(studio.url, token="", project=1).publish(texts(1))


@pytest.mark.studio
def test_a_personal_access_token_works_too(backend: LabelStudio, host: Host) -> None:
    made = host("POST", "/api/token/")
    personal = LabelStudio(backend.url, token=made["token"], project=backend.project)
    personal.publish(texts(1))
    assert list(personal.collect()) == []


@pytest.mark.studio
def test_a_missing_project_and_a_server_that_is_down_are_plain_sentences(studio: LocalStudio) -> None:
    with pytest.raises(LabelingError, match="project 987654"):
        LabelStudio(studio.url, token=studio.token, project=987654).publish(texts(1))
    closed = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    closed.server_close()
    url = f"http://127.0.0.1:{closed.server_port}"
    with pytest.raises(LabelingError, match=f"cannot reach Label Studio at {url}: connection refused"):
        LabelStudio(url, token="x", project=1, sleep=lambda seconds: None).publish(texts(1))
    with pytest.raises(LabelingError, match="no address"):
        LabelStudio("localhost", token="x", project=1).publish(texts(1))
    with pytest.raises(LabelingError, match="create one first"):
        LabelStudio(studio.url, token=studio.token).publish(texts(1))


@pytest.mark.studio
@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_page_of_html_is_named_and_not_shown(behind: LabelStudio, proxy: Proxy, status: int) -> None:
    proxy.fault = lambda method, path: (status, "<!doctype html><html>" + "x" * 5000)
    with pytest.raises(LabelingError, match="HTML page") as caught:
        behind.publish(texts(1))
    assert len(str(caught.value)) < 400


@pytest.mark.studio
def test_data_that_the_page_cannot_show_is_refused_with_the_servers_reason(backend: LabelStudio) -> None:
    (publication,) = texts(1)
    with pytest.raises(LabelingError, match='"text\\\\" key is expected'):
        backend.publish([dataclasses.replace(publication, shown={"other": "x"})])


# How many people are asked about a task.


def overlaps(host: Host, backend: LabelStudio) -> dict[str, tuple[int, bool]]:
    """By ask: how many people its task is handed to, and whether that many answered it."""
    return {task["data"]["ask"]: (task["overlap"], task["is_labeled"]) for task in host.tasks(backend.project)}


def work_off(seats: dict[str, Annotator]) -> list[tuple[str, str]]:
    """All who sit there answer in turn until nobody is handed anything: (text, person) in that order."""
    done: list[tuple[str, str]] = []
    while True:
        handed = [(person, sits, task) for person, sits in seats.items() if (task := sits.next())]
        for person, sits, task in handed:
            sits.answer(task, "ham", lead_time_s=1.0)
            done.append((task.shown["text"], person))
        if not handed:
            return done


@pytest.mark.studio
def test_a_task_that_wants_two_goes_to_two_people_and_every_other_to_one(
    backend: LabelStudio, host: Host, studio: LocalStudio, second: str, tmp_path: Path
) -> None:
    link = backend.invite_link()
    third = account(tmp_path / "third.json", link, url=studio.url, email="one-more@loop.local")
    backend.publish([*texts(1, 2), *texts(3, 4, wanted=2), *texts(5)])
    assert overlaps(host, backend) == {f"ask-{n}": (2 if n in (3, 4) else 1, False) for n in range(1, 6)}
    tokens = {"owner": studio.token, "second": second, "third": third}
    done = work_off({person: seat(backend, token) for person, token in tokens.items()})
    assert len(set(done)) == len(done)
    assert Counter(text for text, _ in done) == {"text 1": 1, "text 2": 1, "text 3": 2, "text 4": 2, "text 5": 1}
    assert len(list(backend.collect())) == 7
    assert all(is_labeled for _, is_labeled in overlaps(host, backend).values())


@pytest.mark.studio
def test_a_skip_is_the_answer_of_whoever_skipped(backend: LabelStudio, studio: LocalStudio, second: str) -> None:
    backend.publish(texts(1, wanted=2))
    owner, other = seat(backend, studio.token), seat(backend, second)
    owner.skip(task_of(backend, "ask-1"), lead_time_s=1.0)
    assert owner.next() is None
    assert other.next() is not None
    other.skip(task_of(backend, "ask-1"), lead_time_s=1.0)
    assert other.next() is None
    assert [annotation.kind for annotation in backend.collect()] == [AnswerKind.SKIPPED] * 2


@pytest.mark.studio
def test_asks_that_want_one_answer_cost_no_further_call(behind: LabelStudio, proxy: Proxy) -> None:
    behind.publish(texts(1, 2, 3))
    assert not [path for method, path in proxy.seen if method == "PATCH"]
    proxy.seen.clear()
    behind.publish([*texts(1, 2, 3), *texts(4, 5, wanted=2)])
    assert len([path for method, path in proxy.seen if method == "PATCH"]) == 2
    proxy.seen.clear()
    behind.publish([*texts(1, 2, 3), *texts(4, 5, wanted=2)])
    assert {method for method, _ in proxy.seen} == {"GET"}


@pytest.mark.studio
@pytest.mark.parametrize("answered", [[], [0], [0, 0], [0, 1]])
def test_what_was_cut_off_between_import_and_overlap_is_made_up_for(
    behind: LabelStudio, proxy: Proxy, host: Host, studio: LocalStudio, second: str, answered: list[int]
) -> None:
    """Meanwhile somebody may have answered the task, which Label Studio then takes for finished."""
    proxy.once("PATCH", "/api/tasks", "lose the request")
    with pytest.raises(LabelingError, match="cannot reach"):
        behind.publish(texts(1, wanted=2))
    assert overlaps(host, behind) == {"ask-1": (1, False)}
    people = [seat(behind, token) for token in (studio.token, second)]
    for person in answered:
        people[person].answer(task_of(behind, "ask-1"), "ham", lead_time_s=1.0)
    restarted = LabelStudio(proxy.url, token=studio.token, project=behind.project)
    restarted.publish(texts(1, wanted=2))
    assert overlaps(host, behind) == {"ask-1": (3 if answered == [0, 0] else 2, set(answered) == {0, 1})}
    assert [person.next() is not None for person in people] == [not answered, 1 not in answered]


@pytest.mark.studio
def test_a_lost_reply_to_the_overlap_changes_nothing(behind: LabelStudio, proxy: Proxy, host: Host) -> None:
    proxy.once("PATCH", "/api/tasks", "lose the reply")
    with pytest.raises(LabelingError, match="cannot reach"):
        behind.publish(texts(1, 2, wanted=2))
    behind.publish(texts(1, 2, wanted=2))
    assert overlaps(host, behind) == {"ask-1": (2, False), "ask-2": (2, False)}


@pytest.mark.studio
def test_what_the_project_says_of_all_tasks_gives_way_to_each_ask(
    backend: LabelStudio, host: Host, studio: LocalStudio
) -> None:
    """Who sets the project to two people, or back to one, changes every task; the next publication mends it."""
    mixed = [*texts(1), *texts(2, wanted=2)]
    for of_the_project in (2, 1):
        host("PATCH", f"/api/projects/{backend.project}/", {"maximum_annotations": of_the_project})
        backend.publish(mixed)
        assert overlaps(host, backend) == {"ask-1": (1, False), "ask-2": (2, False)}
        assert [f.text for f in backend.check(TEXT) if not f.ok] == (
            ["order: maximum_annotations is 2, not 1. Tasks may come in another order, or not bare."]
            if of_the_project == 2
            else []
        )
    host("PATCH", f"/api/projects/{backend.project}/", {"title": "another", "skip_queue": "REQUEUE_FOR_ME"})
    backend.publish(texts(3))
    host("DELETE", f"/api/tasks/{task_of(backend, 'ask-1').id}/")
    assert overlaps(host, backend) == {"ask-2": (2, False), "ask-3": (1, False)}


@pytest.mark.studio
def test_a_task_that_is_half_answered_at_the_stop_is_handed_to_nobody_more(
    backend: LabelStudio, host: Host, studio: LocalStudio, second: str
) -> None:
    backend.publish(texts(1, 2, wanted=2))
    seat(backend, studio.token).answer(task_of(backend, "ask-1"), "ham", lead_time_s=1.0)
    backend.retire([publication.ask for publication in texts(1, 2, wanted=2)])
    assert overlaps(host, backend) == {"ask-1": (1, True)}
    assert seat(backend, second).next() is None
    assert kinds(list(backend.collect())) == {"ask-1": AnswerKind.SUBMITTED}


# Webhooks.


class Receiver:
    """Collects what Label Studio posts."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.posts.append((self.headers.get(SECRET_HEADER, ""), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.mark.studio
def test_our_webhook_tells_of_answers_with_our_secret_and_replaces_its_forerunner(
    backend: LabelStudio, host: Host, studio: LocalStudio, receiver: Receiver
) -> None:
    theirs = host("POST", "/api/webhooks/", {"url": "http://127.0.0.1:1/theirs", "project": backend.project})
    assert backend.webhook("http://127.0.0.1:9/stale", "old").ok
    assert backend.webhook(receiver.url, "secret").ok
    hooks = host("GET", f"/api/webhooks/?project={backend.project}")
    assert sorted(hook["url"] for hook in hooks) == sorted(["http://127.0.0.1:1/theirs", receiver.url])
    host("DELETE", f"/api/webhooks/{theirs['id']}/")
    backend.publish(texts(1))
    seat(backend, studio.token).answer(task_of(backend, "ask-1"), "ham", lead_time_s=1.0)
    assert [(secret, body["action"]) for secret, body in receiver.posts] == [("secret", "ANNOTATION_CREATED")]
    backend.forget_webhooks()
    assert host("GET", f"/api/webhooks/?project={backend.project}") == []


@pytest.mark.studio
def test_a_webhook_that_the_server_refuses_is_a_finding_and_not_an_error(behind: LabelStudio, proxy: Proxy) -> None:
    reason = json.dumps({"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"})
    proxy.once("POST", "/api/webhooks", (403, reason))
    finding = behind.webhook("http://127.0.0.1:9/webhook", "secret")
    assert not finding.ok
    assert "reserved network address" in finding.text
    assert "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false" in finding.text


def shape(value: object) -> object:
    """The keys of a payload and of what it holds, without the values."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items() if key not in {"data", "value", "control_weights"}}
    return [shape(value[0])] if isinstance(value, list) and value else None


@pytest.mark.studio
def test_the_recorded_payloads_are_what_the_server_sends(
    backend: LabelStudio, host: Host, studio: LocalStudio, receiver: Receiver
) -> None:
    """With RECORD_PAYLOADS set, writes them anew."""
    hook = {"url": receiver.url, "project": backend.project, "send_for_all_actions": True, "send_payload": True}
    host("POST", "/api/webhooks/", hook)
    backend.publish(texts(1, 2))
    seat(backend, studio.token).answer(task_of(backend, "ask-1"), "ham", lead_time_s=1.0)
    (annotation,) = backend.collect()
    host("PATCH", f"/api/annotations/{annotation.id}/", {"result": choice_result("spam", "text")})
    host("DELETE", f"/api/annotations/{annotation.id}/")
    other = task_of(backend, "ask-2").id
    host("POST", "/api/predictions/", {"task": other, "result": choice_result("ham", "text"), "model_version": "m"})
    chosen = {"selectedItems": {"all": False, "included": [other]}, "model_version": "m"}
    host("POST", f"/api/dm/actions?id=predictions_to_annotations&project={backend.project}", chosen)
    host("PATCH", f"/api/projects/{backend.project}/", {"title": "another title"})
    host("DELETE", f"/api/tasks/{other}/")
    sent = {body["action"]: body for _, body in receiver.posts}
    if os.environ.get("RECORD_PAYLOADS"):
        for action, body in sent.items():
            text = json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False)
            (PAYLOADS / f"{action.lower()}.json").write_text(text + "\n", encoding="utf-8")
    recorded = {path.stem.upper(): json.loads(path.read_text(encoding="utf-8")) for path in PAYLOADS.glob("*.json")}
    assert set(EVENTS) <= recorded.keys()
    assert shape(sent) == shape(recorded)


# People.


@pytest.mark.studio
def test_the_expert_answers_everything_it_sees_and_skips_what_it_does_not_know(
    backend: LabelStudio, second: str, tmp_path: Path
) -> None:
    table = tmp_path / "answers.csv"
    table.write_text("words,kind\ntext 1,ham\ntext 2,spam\n", encoding="utf-8")
    backend.publish(texts(1, 2, 3))
    answers = read_answers(table, "words", "kind")
    expert = Expert(backend.url, token=second, project=backend.project, answers=answers)
    while expert.answer_next():
        pass
    assert expert.answered == 3
    given_answers = {annotation.ask: annotation for annotation in backend.collect()}
    assert read_result(given_answers["ask-1"].raw) == ["ham"]
    assert read_result(given_answers["ask-2"].raw) == ["spam"]
    assert given_answers["ask-3"].kind is AnswerKind.SKIPPED


@pytest.mark.studio
def test_the_expert_goes_on_when_the_server_is_back(
    behind: LabelStudio, proxy: Proxy, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("active_loop.expert._AWAY_S", (0.01,))
    monkeypatch.setattr("active_loop.expert._IDLE_S", 0.01)
    behind.publish(texts(1))
    failed, answered = threading.Event(), threading.Event()

    def down(method: str, path: str) -> tuple[int, str] | None:
        failed.set()
        return (502, "")

    def up(method: str, path: str) -> None:
        if "/next" in path and expert.answered:
            answered.set()

    proxy.fault = down
    with Expert(proxy.url, token=second, project=behind.project, answers={"text 1": "ham"}) as expert:
        assert failed.wait(20)
        proxy.fault = up
        assert answered.wait(20)
    assert kinds(list(behind.collect())) == {"ask-1": AnswerKind.SUBMITTED}
    assert expert.error is None


@pytest.mark.studio
def test_signing_up_again_opens_the_same_account(studio: LocalStudio, second: str, tmp_path: Path) -> None:
    link = LabelStudio(studio.url, token=studio.token).invite_link()
    file = tmp_path / "person.json"
    token = account(file, link, url=studio.url, email="third@loop.local")
    assert account(file, "not used", url=studio.url) == token
    kept = json.loads(file.read_text())
    del kept["token"]
    file.write_text(json.dumps(kept))
    assert account(file, link, url=studio.url) == token
    assert file.stat().st_mode & 0o077 == 0
