"""The world of a soak: people in their seats, what is lost on the way, and the processes that can be killed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from active_loop.errors import ActiveLoopError, LabelingError
from active_loop.label_studio import Annotator, LabelStudio, OpenTask, label_result
from active_loop.local_studio import LocalStudio
from active_loop.settings import (
    BudgetSettings,
    DataSettings,
    LabelingSettings,
    ModelSettings,
    QuerySettings,
    ServerSettings,
    Settings,
    TargetSettings,
    TaskSettings,
)
from active_loop.store import Store
from active_loop.tasks import UNSURE

CLASSES = ("mail", "order", "complaint", "praise")
TOKEN = "SOAK_TOKEN"


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard it is made: answers, people, kills, seed, seconds until it counts as hung, shares of failures."""

    answers: int = 2000
    people: int = 4
    kills: int = 50
    seed: int = 0
    limit_s: float = 1500.0
    faults: float = 0.04
    lost_webhooks: float = 0.3
    delay_s: float = 0.3
    own: bool = False

    @property
    def last_correction(self) -> int:
        """Answers after which nobody corrects anything any more: the loop must still be there to see it."""
        return self.answers - min(60, self.answers // 4)

    def settings(self, url: str, public_url: str, port: int) -> Settings:
        """A loop that goes on until its budget is spent: its target is out of reach."""
        every = 50 if self.answers > 500 else 10
        return Settings(
            seed=self.seed,
            data=DataSettings(path="texts.csv", kind="text", show=("text",)),
            task=TaskSettings(classes=CLASSES),
            target=TargetSettings(value=0.999),
            budget=BudgetSettings(answers=self.answers),
            query=QuerySettings(strategy="margin", n0=10, retrain_every=every, queue_low=10, queue_high=30),
            model=ModelSettings(use="logistic"),
            labeling=LabelingSettings(url=url, token_env=TOKEN, poll_every_s=2.0),
            server=ServerSettings(port=port, public_url=public_url),
        )


def write_texts(folder: Path, n: int, seed: int) -> dict[str, str]:
    """Texts that are hard to tell apart, in `texts.csv`; the true class of each."""
    rng = random.Random(seed)
    truth = {}
    for number in range(n):
        label = rng.choice(CLASSES)
        words = [f"{label if rng.random() < 0.3 else 'word'}{rng.randrange(300)}" for _ in range(8)]
        truth[f"number{number} {' '.join(words)}"] = label
    with (folder / "texts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text"])
        rows.writerows([text] for text in truth)
    return truth


# between the two


class Wire:
    """A proxy before a server on this machine. `fault(method, path)` says what becomes of a request: see `FAULTS`."""

    def __init__(self, target: Callable[[], str], fault: Callable[[str, str], str]) -> None:
        self.faults: Counter[str] = Counter()
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                what = fault(self.command, self.path)
                wire.faults[what] += 1
                if what in ("lost before", "lost webhook"):
                    return
                if what in FAULTS:
                    reply: tuple[int, bytes] | None = FAULTS[what]
                else:
                    reply = _forwarded(target(), self.command, self.path, body, dict(self.headers))
                if what == "lost after" or reply is None:
                    return
                self.send_response(reply[0])
                self.send_header("Content-Type", "application/json" if reply[1][:1] != b"<" else "text/html")
                self.send_header("Content-Length", str(len(reply[1])))
                self.end_headers()
                self.wfile.write(reply[1])

            def log_message(self, format: str, *args: object) -> None:
                pass

        for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.pass_on)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


FAULTS: dict[str, tuple[int, bytes]] = {
    "500": (500, b'{"detail": "database is locked"}'),
    "429": (429, b'{"detail": "too many requests"}'),
    "html": (502, b"<html><body>Bad gateway</body></html>"),
}
LOST = ("lost before", "lost after")


def _forwarded(
    target: str, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, bytes] | None:
    """The reply of the real server; None if it gives none."""
    connection = http.client.HTTPConnection(urlsplit(target).netloc, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def chance_of(share: float, names: Sequence[str], seed: int) -> Callable[[str, str], str]:
    """One of the faults for a share of all calls, "" for the others."""
    rng, lock = random.Random(seed), threading.Lock()

    def fault(method: str, path: str) -> str:
        with lock:
            return rng.choice(names) if rng.random() < share else ""

    return fault


# people


@dataclass(slots=True)
class Log:
    """What people did, for all of them together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    n: int = 0
    due: int = 0
    """Corrections that are still to be made."""
    done: Counter[str] = field(default_factory=Counter)
    edited: dict[int, str] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    seen: list[float] = field(default_factory=list)

    def count(self, what: str) -> int:
        with self.lock:
            self.done[what] += 1
            self.n += what in ("answer", "skip", "unsure")
            return self.n

    def put_off(self, more: int) -> None:
        with self.lock:
            self.due += more


class Person:
    """One seat: answers what is handed out, by item and person alike every time; corrects some answers later."""

    def __init__(self, plan: Plan, number: int, place: Place, token: str, truth: Mapping[str, str], log: Log) -> None:
        self.name = f"p{number}@loop.local"
        self._plan, self._place, self._token, self._truth, self._log = plan, place, token, truth, log
        self._rng = random.Random(f"{plan.seed} {number}")
        self._later: list[tuple[int, OpenTask, str]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self.name)

    def __enter__(self) -> Person:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @cached_property
    def _seat(self) -> Annotator:
        return Annotator(self._place.url, token=self._token, project=self._place.project())

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._correct()
                if not self._answer():
                    self._stopping.wait(0.2)
            except (ActiveLoopError, OSError):
                self._log.count("refused")
                self._stopping.wait(0.5)

    def _answer(self) -> bool:
        if self._log.due and self._log.n >= self._plan.last_correction:
            return False
        task = self._seat.next()
        if task is None:
            return False
        self._log.seen.append(time.monotonic())
        delay_s = self._plan.delay_s * float(np.exp(self._rng.gauss(0, 0.5)))
        self._stopping.wait(delay_s)
        text = str(task.shown["text"])
        what, label = self._opinion(text)
        if what == "skip":
            self._seat.skip(task, lead_time_s=delay_s)
        else:
            self._seat.answer(task, label, lead_time_s=delay_s)
        n = self._log.count(what)
        if self._part(text, "later") < 0.12 and n < self._plan.last_correction:
            kind = "delete" if self._part(text, "which") < 0.25 else "edit"
            self._later.append((n + self._rng.randrange(2, 25), task, kind))
            self._log.put_off(1)
        return True

    def _opinion(self, text: str) -> tuple[str, str]:
        """What this person says of this text: mostly the truth."""
        part = self._part(text, "opinion")
        if part < 0.04:
            return "skip", ""
        if part < 0.07:
            return "unsure", UNSURE
        wrong = part < 0.17
        return "answer", CLASSES[(CLASSES.index(self._truth[text]) + wrong) % len(CLASSES)]

    def _part(self, text: str, of: str) -> float:
        digest = hashlib.blake2b(f"{self._plan.seed} {self.name} {of} {text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def _correct(self) -> None:
        """Edit or withdraw what is due; near the end all that is left."""
        ending = self._log.n >= self._plan.last_correction
        for due in [one for one in self._later if ending or one[0] <= self._log.n]:
            mine = self._mine(due[1].id)
            if mine is not None:
                self._change(mine, due[2])
            self._later.remove(due)
            self._log.put_off(-1)

    def _mine(self, task: int) -> int | None:
        """The number of this person's annotation of a task."""
        found = _call(self._place.url, self._token, "GET", f"/api/tasks/{task}/annotations/")
        own = [each["id"] for each in found if each["completed_by"] == self._number]
        return own[-1] if own else None

    @cached_property
    def _number(self) -> int:
        return int(_call(self._place.url, self._token, "GET", "/api/current-user/whoami")["id"])

    def _change(self, annotation: int, kind: str) -> None:
        path = f"/api/annotations/{annotation}/"
        if kind == "delete":
            _call(self._place.url, self._token, "DELETE", path)
            self._log.deleted.add(annotation)
        else:
            body = {"result": label_result(CLASSES[annotation % 4], "text", "choice"), "was_cancelled": False}
            self._log.edited[annotation] = str(_call(self._place.url, self._token, "PATCH", path, body)["updated_at"])
        self._log.count(kind)


def _call(url: str, token: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON of one call without repeats; `LabelingError` for anything but success."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        reply = connection.getresponse()
        text = reply.read()
    except http.client.HTTPException as error:
        raise LabelingError(f"no reply to {method} {path}: {error}") from error
    finally:
        connection.close()
    if reply.status >= 300:
        raise LabelingError(f"{method} {path} was answered {reply.status}.")
    if not text and method != "DELETE":
        raise LabelingError(f"the reply to {method} {path} broke off.")  # as a server that is killed leaves it
    return json.loads(text) if text else None


# what is killed


class Place:
    """The Label Studio: one that the soak keeps (`own` False), or the one that the loop starts itself."""

    def __init__(self, folder: Path, own: bool) -> None:
        self.folder, self.own = folder, own
        self._home = folder if own else folder / "studio"
        self._studio = None if own else LocalStudio.start(self._home)
        self.project_number = 0

    @property
    def _running(self) -> LocalStudio:
        studio = LocalStudio.running(self._home)
        if studio is None:
            raise LabelingError("Label Studio is not running.")
        return studio

    @property
    def url(self) -> str:
        return self._studio.url if self._studio else self._running.url

    @property
    def token(self) -> str:
        return self._studio.token if self._studio else self._running.token

    @property
    def database(self) -> Path:
        return self._home / "label-studio" / "data" / "label_studio.sqlite3"

    def project(self) -> int:
        """The number of the loop's project, once it made one."""
        if not self.project_number:
            store = Store(self.folder / "loop.db", readonly=True)
            created = store.events("created")
            store.close()
            if created:
                found = LabelStudio(self.url, token=self.token)
                self.project_number = found.find_project(marker=f"active-loop {created[0].body['uid']}")
        if not self.project_number:
            raise LabelingError("there is no project yet.")
        return self.project_number

    def kill(self) -> bool:
        """Kill the server; False if none runs."""
        studio = self._studio or LocalStudio.running(self._home)
        pid = studio.pid if studio else None
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def mend(self) -> None:
        """Start a dead server again; where the loop has its own, that is the loop's business."""
        if self._studio:
            self._studio.revive()

    def close(self) -> None:
        if self._studio:
            self._studio.stop()


class Run:
    """`active-loop run` in a process, started again by the same command whenever it is gone."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.starts = self.failed_starts = 0
        self.orphans: list[int] = []
        self._environment = {**os.environ, TOKEN: token, "OMP_NUM_THREADS": "1"}
        self._log = (folder / "run.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "active_loop.cli", "run", str(self.folder), "--json"]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=self._environment)
        self.starts += 1

    @property
    def code(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def has_ended(self) -> bool:
        """Whether it is gone because the loop is over; its exit status says how far the target was reached."""
        if self.code is None or self.code < 0:
            return False
        store = Store(self.folder / "loop.db", readonly=True)
        stops = store.events("stopped")
        store.close()
        return bool(stops)

    @property
    def said(self) -> str:
        return (self.folder / "run.log").read_text(errors="replace")

    def kill(self) -> bool:
        """Kill the loop itself; what it leaves behind is remembered."""
        if self._process is None or self._process.poll() is not None:
            return False
        self.orphans += _children(self._process.pid)
        self._process.kill()
        self._process.wait()
        return True

    @property
    def outlived(self) -> list[int]:
        """Processes of killed loops that run on."""
        return [pid for pid in self.orphans if b"active_loop" in _command(pid)]

    def kill_training(self) -> bool:
        """Kill its training process; False if there is none now."""
        if self._process is None:
            return False
        for child in _children(self._process.pid):
            if b"active_loop.runner" in _command(child):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                return True
        return False

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            self._process.kill()
            self._process.wait()
        self._log.close()


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
