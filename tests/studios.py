"""People and programs around a real Label Studio, and what goes wrong on the way to it."""

from __future__ import annotations

import csv
import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from loops import open_loop, settings

from active_loop import report
from active_loop.domain import Annotation, AnswerKind, Ask, AskState, Merged, Outcome, Progressed, Purpose, StepResult
from active_loop.label_studio import Annotator, LabelStudio, OpenTask, choice_result
from active_loop.labeling import Publication
from active_loop.local_studio import LocalStudio
from active_loop.settings import DataSettings, TaskSettings


class Host:
    """Calls of people and programs around us, straight to the server."""

    def __init__(self, studio: LocalStudio) -> None:
        headers = {"Authorization": f"Token {studio.token}"}
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=studio.url, headers=headers, timeout=30, trust_env=False, limits=limits)

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        reply = self.client.request(method, path, json=body)
        assert reply.is_success, reply.text[:500]
        return reply.json() if reply.content else None

    def tasks(self, project: int) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self("GET", f"/api/tasks?project={project}&fields=all&page_size=500")["tasks"]
        return listed


def texts(*numbers: int, wanted: int = 1) -> list[Publication]:
    asks = [Ask(f"ask-{number}", number, Purpose.POOL, AskState.SENDING, wanted=wanted) for number in numbers]
    return [Publication(ask, {"text": f"text {ask.item}"}) for ask in asks]


def again(backend: LabelStudio, studio: LocalStudio, **more: Any) -> LabelStudio:
    """The backend as a new process has it."""
    return LabelStudio(studio.url, token=studio.token, project=backend.project, **more)


def seat(backend: LabelStudio, token: str) -> Annotator:
    return Annotator(backend.url, token=token, project=backend.project)


def task_of(backend: LabelStudio, ask: str) -> OpenTask:
    return OpenTask(next(ref.task_id for ref in backend.tasks() if ref.ask == ask), {})


def kinds(annotations: Sequence[Annotation]) -> dict[str | None, AnswerKind]:
    return {annotation.ask: annotation.kind for annotation in annotations}


class Proxy:
    """A real proxy before the server; `fault(method, path)` says what to do to a request.

    "lose the reply": the work is done and the connection cut; "lose the request": cut before the work; a status and
    body: answered with these; None: passed on.
    """

    def __init__(self, target: str) -> None:
        self.fault: Callable[[str, str], str | tuple[int, str] | None] = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        proxy, host = self, urlsplit(target).netloc

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.seen.append((self.command, self.path))
                fault = proxy.fault(self.command, self.path)
                if fault == "lose the request":
                    return
                if isinstance(fault, tuple):
                    status, content = fault[0], fault[1].encode()
                else:
                    connection = http.client.HTTPConnection(host, timeout=30)
                    connection.request(self.command, self.path, body, dict(self.headers))
                    reply = connection.getresponse()
                    status, content = reply.status, reply.read()
                    connection.close()
                if fault == "lose the reply":
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        for method in ("GET", "POST", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.pass_on)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def once(self, method: str, part: str, what: str | tuple[int, str]) -> None:
        """Do `what` to the next such request."""
        left = [what]
        self.fault = lambda m, path: left.pop() if left and m == method and part in path else None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


TOLD = settings(
    name="mails",
    data=DataSettings(path="mails.csv", kind="text", show=("text",)),
    task=TaskSettings(classes=("ham", "spam")),
    budget={"answers": 60},
    query={"queue_low": 2, "queue_high": 6},
)


class Scene:
    """A loop whose first asks are open in a project of its own, with two people before it."""

    def __init__(
        self, folder: Path, studio: LocalStudio, host: Host, second: str, *, token: str = "", url: str = ""
    ) -> None:
        with (folder / "mails.csv").open("w", newline="") as file:
            rows = [(f"mail {n} {'cheap offer' if n % 2 else 'minutes of meeting'}",) for n in range(90)]
            csv.writer(file).writerows([("text",), *rows])
        self.told, self.token, self.url = TOLD, token or studio.token, url or studio.url
        self.folder, self.studio, self.host, self.second = folder, studio, host, second
        self.seats: dict[tuple[str, int], Annotator] = {}
        self.marker = f"{folder} {time.time_ns()}"
        self.start()
        self.settle()

    def start(self) -> None:
        """As a new process begins."""
        self.backend = LabelStudio(self.url, token=self.token)
        self.loop = open_loop(self.folder, self.backend, self.told)
        self.backend.create_project(self.told, marker=self.marker)
        self.backend.resume(self.loop.store.annotations(), self.loop.store.tasks())

    def restart(self) -> None:
        self.close()
        self.start()
        self.settle()

    def close(self) -> None:
        self.loop.store.close()

    def settle(self) -> StepResult:
        """Step until nothing can be done without people."""
        while isinstance(result := self.loop.step(), Progressed):
            pass
        return result

    def asks(self, purpose: Purpose = Purpose.POOL) -> list[Ask]:
        return [ask for ask in self.loop.store.asks() if ask.purpose == purpose]

    def person(self, token: str = "") -> Annotator:
        """The seat that this person has kept since the first answer in this project."""
        key = (token or self.studio.token, self.backend.project)
        if key not in self.seats:
            self.seats[key] = seat(self.backend, key[0])
        return self.seats[key]

    def task(self, ask: Ask) -> OpenTask:
        """The first task that stands for an ask now."""
        tasks = self.host.tasks(self.backend.project)
        return OpenTask(min(task["id"] for task in tasks if task["data"].get("ask") == ask.id), {})

    def answer(self, ask: Ask, label: str = "ham", *, by: str = "") -> None:
        self.person(by).answer(self.task(ask), label, lead_time_s=1.0)

    def submit(self, ask: Ask, result: object) -> None:
        """As a program does, past the labelling page."""
        self.host("POST", f"/api/tasks/{self.task(ask).id}/annotations/", {"result": result, "lead_time": 1.0})

    def annotation(self, ask: Ask) -> str:
        """Address of the only annotation of an ask's task."""
        (found,) = self.host("GET", f"/api/tasks/{self.task(ask).id}/annotations/")
        return f"/api/annotations/{found['id']}/"

    def edit(self, ask: Ask, *, by: str = "", **changes: object) -> None:
        headers = {"Authorization": f"Token {by or self.studio.token}"}
        reply = self.host.client.patch(self.annotation(ask), json=changes, headers=headers)
        assert reply.is_success, reply.text

    def merged(self, ask: Ask) -> Merged | None:
        """What was said about the item of an ask, after the loop has seen what there is to see."""
        self.settle()
        return self.loop.standing.merged().get(ask.item)

    def said(self, ask: Ask) -> tuple[str | None, Outcome, tuple[str, ...]]:
        found = self.merged(ask)
        assert found is not None
        return found.label, found.outcome, found.people

    def status(self) -> report.Status:
        return report.status(self.loop.store)

    def stop(self) -> None:
        """End the loop by hand, as its settings say, in a process of its own."""
        self.told = replace(self.told, stop=replace(self.told.stop, by_hand="enough"))
        self.restart()
        assert self.status().stopped

    def there(self) -> list[str]:
        """The asks of the tasks in the project, with repeats."""
        return sorted(task["data"].get("ask", "") for task in self.host.tasks(self.backend.project))

    def edited_config(self, old: str, new: str) -> list[str]:
        """Change the label config there; returns what doctor says of it."""
        project = f"/api/projects/{self.backend.project}/"
        config = self.host("GET", project)["label_config"]
        assert old in config
        self.host("PATCH", project, {"label_config": config.replace(old, new)})
        return self.config_findings()

    def config_findings(self) -> list[str]:
        head, tail = 'label config of project "mails": ', ". Start the loop again to put it back."
        texts = [found.text for found in self.backend.check(self.told) if not found.ok]
        assert all(text.startswith(head) and text.endswith(tail) for text in texts)
        return [text.removeprefix(head).removesuffix(tail) for text in texts]

    @property
    def spent(self) -> int:
        """Answers that were asked for."""
        return sum(self.loop.store.n_sent(purpose) for purpose in Purpose)

    @property
    def versions(self) -> list[str]:
        return [annotation.kind.value for annotation in self.loop.store.annotations()]

    def times_asked(self, ask: Ask) -> int:
        return sum(other.item == ask.item for other in self.loop.store.asks())


def chosen(*labels: str) -> list[dict[str, Any]]:
    return [{**choice_result("", "text")[0], "value": {"choices": list(labels)}}]
