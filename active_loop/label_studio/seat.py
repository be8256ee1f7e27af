"""One person's seat: signs up, takes the task that is handed out, answers or skips it, as the labelling page does.

It uses the person's own token and plain HTTP, never the SDK, and sees no more of a task than its person does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from ..errors import LabelingError
from .connection import MissingError, http_client, refusal, unreachable
from .page import ASK, CONTROL, label_result


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that Label Studio hands to a person: its id, and the fields that the person is shown."""

    id: int
    shown: Mapping[str, Any]


def sign_up(invite_link: str, email: str, password: str, *, url: str, timeout_s: float = 30.0) -> str:
    """The token of a person who signs up by an invitation, or logs in where the address is known already.

    The link's host may be one that only browsers know; the server is reached at `url`. Raises `LabelingError` with
    the form's own complaint when both are refused.
    """
    import httpx

    url = url.rstrip("/")
    parts = urlsplit(invite_link)
    try:
        with http_client(url, timeout_s) as client:
            forms = (f"{url}{parts.path}?{parts.query}", f"{url}/user/login/")
            if not any(_submit(client, form, email, password) for form in forms):
                raise LabelingError(
                    f"cannot sign up {email} at {url}: neither the invitation nor the password is taken."
                )
            reply = client.get(f"{url}/api/current-user/token")
            return str(_body(reply, url, f"fetch the token of {email}")["token"])
    except httpx.HTTPError as error:
        raise unreachable(url, error, timeout_s) from error


def _submit(client: Any, form: str, email: str, password: str) -> bool:
    """Whether a sign-up or login form was accepted: it then sends the browser elsewhere."""
    page = client.get(form)
    fields = {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies.get("csrftoken", "")}
    headers = {"Referer": form}
    if page.status_code != 200:
        return False
    return bool(client.post(form, data=fields, headers=headers, follow_redirects=False).is_redirect)


def _body(reply: Any, url: str, doing: str) -> Any:
    """The JSON of a reply, or the error that it stands for."""
    try:
        body = reply.json()
    except ValueError:
        body = reply.text
    if reply.is_success and not isinstance(body, str):
        return body
    raise refusal(url, doing, reply.status_code, body)


class Annotator:
    """A person's seat at a project: takes the next task and answers it, by the same calls as the labelling page.

    Nothing is repeated by itself. Raises `LabelingError` as the backend does.
    """

    def __init__(self, url: str, *, token: str, project: int, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Token {token}"}
        self._project = project
        self._timeout_s = timeout_s
        self._client = http_client(url, timeout_s)

    def next(self) -> OpenTask | None:
        """The task that Label Studio hands out next, or None when there is none now."""
        try:
            task = self._call("GET", f"/api/projects/{self._project}/next", "take the next task")
        except MissingError as error:
            if "no tasks" in str(error).lower():
                return None
            raise
        return OpenTask(int(task["id"]), {name: value for name, value in task["data"].items() if name != ASK})

    def answer(self, task: OpenTask, label: str, *, lead_time_s: float, kind: str = "choice") -> None:
        """Submit a label of this kind for a task."""
        self._submit(task, {"result": label_result(label, self._shown, kind), "lead_time": lead_time_s})

    def skip(self, task: OpenTask, *, lead_time_s: float) -> None:
        """Skip a task."""
        self._submit(task, {"result": [], "was_cancelled": True, "lead_time": lead_time_s})

    def _submit(self, task: OpenTask, annotation: Mapping[str, Any]) -> None:
        self._call("POST", f"/api/tasks/{task.id}/annotations/", f"answer task {task.id}", annotation)

    @cached_property
    def _shown(self) -> str:
        """Name of what the choices are about, as the project's label config has it."""
        project = self._call("GET", f"/api/projects/{self._project}/", f"open project {self._project}")
        return str(project["parsed_label_config"][CONTROL]["to_name"][0])

    def _call(self, method: str, path: str, doing: str, json: Mapping[str, Any] | None = None) -> Any:
        import httpx

        try:
            reply = self._client.request(method, self.url + path, json=json, headers=self._headers)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error, self._timeout_s) from error
        return _body(reply, self.url, doing)
