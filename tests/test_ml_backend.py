"""The server as an ML backend of a real Label Studio: it wakes, it predicts nothing, and the order stays ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask, request

from active_loop.domain import Ask, AskState, Purpose
from active_loop.label_studio import LabelStudio
from active_loop.labeling import Publication
from active_loop.local_studio import LocalStudio
from active_loop.server import Server, create_app, serve
from active_loop.session import ML_KEY, secret_in
from active_loop.settings import DataSettings, Settings, TaskSettings
from active_loop.store import Store

KEY = "the-key-in-the-address"
TASK = TaskSettings(classes=("ham", "spam"), question="Ham or spam?")
TEXT = Settings(name="mails", data=DataSettings(kind="text", show=("text",)), task=TASK)

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*")]


class Called:
    """An app whose calls are noted: what Label Studio asked for, and how often the loop was woken."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.paths: list[str] = []
        self.woken = 0
        self.app: Flask = create_app(
            partial(Store, folder / "loop.db", readonly=True),
            wake=self._wake,
            secret="s",
            **{"ml_key": KEY, **options},
        )
        self.app.before_request(lambda: self.paths.append(request.path))

    def _wake(self) -> None:
        self.woken += 1

    def times(self, last: str) -> int:
        return sum(path.endswith(last) for path in self.paths)


@pytest.fixture
def called(tmp_path: Path) -> Called:
    return Called(tmp_path)


# without a server


ROUTES = [("GET", "health"), ("POST", "setup"), ("POST", "predict"), ("POST", "webhook"), ("GET", "versions")]


@pytest.mark.parametrize(("method", "route"), ROUTES)
@pytest.mark.parametrize("key", ["another-key", "x", "%00", "the-key-in-the-addres"])
def test_a_wrong_key_is_an_unknown_address_and_does_nothing(called: Called, method: str, route: str, key: str) -> None:
    response = called.app.test_client().open(f"/ml/{key}/{route}", method=method, json={"action": "START_TRAINING"})
    assert (response.status_code, called.woken) == (404, 0)
    assert "There is no such page here." in response.text


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_without_a_key_there_is_no_backend(tmp_path: Path, method: str, route: str) -> None:
    called = Called(tmp_path, ml_key="")
    for key in ("", "-", "None"):
        assert called.app.test_client().open(f"/ml/{key}/{route}", method=method, json={}).status_code == 404
    assert called.woken == 0


def test_each_task_gets_no_prediction_in_its_place(called: Called) -> None:
    client = called.app.test_client()
    tasks = [{"id": number, "data": {}} for number in range(3)]
    assert client.post(f"/ml/{KEY}/predict", json={"tasks": tasks}).json == {"results": [[], [], []]}
    for body in (b"", b"[1]", b'{"tasks": 3}', b"\xff"):
        given = client.post(f"/ml/{KEY}/predict", data=body, content_type="application/json")
        assert (given.status_code, given.json) == (200, {"results": []})


def test_set_up_names_no_version_and_keeps_nothing_of_what_it_is_told(
    called: Called, caplog: pytest.LogCaptureFixture
) -> None:
    sent = {"project": "1.17", "schema": "<View/>", "access_token": "the-token-of-the-owner"}
    response = called.app.test_client().post(f"/ml/{KEY}/setup", json=sent)
    assert response.json == {"model_version": ""}
    assert "the-token-of-the-owner" not in caplog.text + str(response.headers)


@pytest.mark.parametrize("body", [b"", b"{", b'{"action": "START_TRAINING"}', b'{"action": "PROJECT_UPDATED"}'])
def test_every_event_wakes_and_nothing_else(called: Called, body: bytes) -> None:
    response = called.app.test_client().post(f"/ml/{KEY}/webhook", data=body)
    assert (response.status_code, response.json, called.woken) == (200, {}, 1)


def test_the_key_is_enough_where_pages_need_a_token_and_opens_no_page(tmp_path: Path) -> None:
    client = Called(tmp_path, token="t0ken").app.test_client()
    assert client.get(f"/ml/{KEY}/health").json == {"status": "UP", "loop": None}
    assert client.get(f"/?token={KEY}").status_code == 401


def test_a_foreign_name_is_refused_here_too(called: Called) -> None:
    client = called.app.test_client()
    assert client.post(f"/ml/{KEY}/webhook", headers={"Host": "evil.example"}).status_code == 403
    assert called.woken == 0


def test_a_folder_keeps_its_key_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    key = secret_in(tmp_path / ML_KEY)
    assert secret_in(tmp_path / ML_KEY) == key
    assert len(key) >= 32
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o077 == 0


# with the real server


@pytest.fixture
def place(studio: LocalStudio, request: pytest.FixtureRequest) -> LabelStudio:
    """A project of its own with ten published tasks."""
    made = LabelStudio(studio.url, token=studio.token)
    made.create_project(TEXT, marker=f"{request.node.name} {time.time_ns()}")
    asks = [Ask(f"ask-{n}", n, Purpose.POOL, AskState.SENDING) for n in range(10)]
    made.publish([Publication(ask, {"text": f"letter {ask.item}"}, str(ask.item)) for ask in asks])
    return made


@pytest.fixture
def server(called: Called) -> Iterator[Server]:
    with serve(called.app, port=0) as running:
        yield running


@pytest.fixture
def sdk(studio: LocalStudio) -> Iterator[Any]:
    from label_studio_sdk import LabelStudio as Sdk

    with httpx.Client(timeout=60) as client:
        yield Sdk(base_url=studio.url, api_key=studio.token, httpx_client=client)


def attach(sdk: Any, place: LabelStudio, server: Server, key: str = KEY) -> Any:
    return sdk.ml.create(url=f"{server.url}/ml/{key}", project=place.project, title="active-loop")


def request_as(studio: LocalStudio, method: str, path: str, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Token {studio.token}"}
    return httpx.request(method, studio.url + path, headers=headers, timeout=60, **body)


def work_off(studio: LocalStudio, place: LabelStudio) -> list[str]:
    """Answers what is handed out, ten times; the asks in the order in which they came, each without a prediction."""
    order = []
    for _ in range(10):
        task = request_as(studio, "GET", f"/api/projects/{place.project}/next").json()
        opened = request_as(studio, "GET", f"/api/tasks/{task['id']}?project={place.project}").json()
        assert opened["predictions"] == []
        order.append(task["data"]["ask"])
        answer = {
            "result": [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["ham"]}}]
        }
        assert request_as(studio, "POST", f"/api/tasks/{task['id']}/annotations/", json=answer).status_code == 201
    return order


@pytest.mark.studio
def test_attached_tasks_still_come_in_the_order_in_which_they_were_asked(
    studio: LocalStudio, place: LabelStudio, server: Server, called: Called, sdk: Any
) -> None:
    attach(sdk, place, server)
    project = sdk.projects.get(place.project)
    assert (project.model_version or "", project.sampling) == ("", "Sequential sampling")
    assert work_off(studio, place) == [f"ask-{n}" for n in range(10)]
    assert called.times("/predict") == 0, "no task was pre-filled"
    assert called.times("/health") >= 1
    assert called.times("/setup") >= 1
    assert called.woken >= 10, "every answer is announced"


@pytest.mark.studio
def test_a_project_that_shows_predictions_gets_none_and_keeps_its_order(
    studio: LocalStudio, place: LabelStudio, server: Server, called: Called, sdk: Any
) -> None:
    request_as(studio, "PATCH", f"/api/projects/{place.project}/", json={"show_collab_predictions": True})
    attach(sdk, place, server)
    assert sdk.projects.get(place.project).model_version == "active-loop", "the server itself writes its title there"
    assert work_off(studio, place) == [f"ask-{n}" for n in range(10)]
    assert called.times("/predict") >= 10
    assert all(task.total_predictions == 0 for task in sdk.tasks.list(project=place.project))


@pytest.mark.studio
def test_start_training_wakes(place: LabelStudio, server: Server, called: Called, sdk: Any) -> None:
    backend = attach(sdk, place, server)
    before = called.woken
    sdk.ml.train(id=backend.id)
    assert called.woken == before + 1
    found = sdk.ml.get(id=backend.id)
    assert (found.state, found.error_message) == ("CO", None)


@pytest.mark.studio
def test_retrieving_predictions_stores_none(place: LabelStudio, server: Server, called: Called, sdk: Any) -> None:
    attach(sdk, place, server)
    sdk.actions.create(
        id="retrieve_tasks_predictions", project=place.project, selected_items={"all": True, "excluded": []}
    )
    assert called.times("/predict") >= 1
    tasks = list(sdk.tasks.list(project=place.project, fields="all"))
    assert len(tasks) == 10
    assert not any(task.predictions for task in tasks)
    assert all(task.total_predictions == 0 for task in tasks)
    assert (sdk.projects.get(place.project).model_version or "") == ""


@pytest.mark.studio
def test_a_wrong_key_cannot_be_attached(place: LabelStudio, server: Server, called: Called, sdk: Any) -> None:
    from label_studio_sdk.core.api_error import ApiError

    with pytest.raises(ApiError) as refused:
        attach(sdk, place, server, key="another")
    assert refused.value.status_code == 400
    assert called.woken == 0
    assert list(sdk.ml.list(project=place.project)) == []


@pytest.mark.studio
def test_our_own_webhook_and_that_of_the_backend_are_told_apart(place: LabelStudio, server: Server, sdk: Any) -> None:
    attach(sdk, place, server)
    place.webhook(f"{server.url}/webhook", "s")
    place.forget_webhooks()
    left = sdk.webhooks.list(project=str(place.project))
    assert [hook.url for hook in left] == [f"{server.url}/ml/{KEY}/webhook"]


@pytest.mark.studio
def test_detached_the_project_is_as_it_was(place: LabelStudio, server: Server, sdk: Any) -> None:
    backend = attach(sdk, place, server)
    sdk.ml.delete(id=backend.id)
    project = sdk.projects.get(place.project)
    assert (project.model_version or "", project.sampling) == ("", "Sequential sampling")
