"""People and programs around a real Label Studio, and what goes wrong on the way to it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx

from active_loop.domain import Annotation, AnswerKind, Ask, AskState, Purpose
from active_loop.label_studio import Annotator, LabelStudio, OpenTask
from active_loop.labeling import Publication
from active_loop.local_studio import LocalStudio


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
