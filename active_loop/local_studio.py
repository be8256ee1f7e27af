"""A real Label Studio on loopback that never outlives us.

It keeps everything in `label-studio/` below the loop folder: its own data, a credentials file that only the owner
can read, the log of the server, and a pid file. The server runs under `guard`, a tiny parent that ends it when
this process is gone, however it went. Whoever starts one holds the loop folder's lock: two servers on one
database answer as if nothing were wrong.

Building its database takes some forty seconds of computing, always with the same result for one version, so the
empty database is kept in the user's cache folder and copied for the next loop. This module starts and stops a
server; it does not talk to it beyond asking whether it is up, and ours.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from . import guard
from .errors import LabelingError

Progress = Callable[[str, float], None]
"""Told what is being done, and for how many seconds already."""

USER: Final = "owner@loop.local"
"""Login of the owner of a local Label Studio."""

_GRACE_S: Final = 10.0
_POLL_S: Final = 0.1
_PORT_S: Final = 3.0
_DATABASE: Final = "label_studio.sqlite3"
_HOST: Final = "127.0.0.1"

# Label Studio reads its settings from variables with and without a prefix (HOST, DEBUG, DJANGO_DB, ...): it gets
# none of ours but these.
_PASSED_ON: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TMP", "TEMP", "VIRTUAL_ENV"),
    *("PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA"),
)


_SETTINGS_NAME: Final = "active_loop_studio_settings"
_SETTINGS: Final = f'''\
"""Label Studio's own settings, but for how its SQLite file is locked. Written anew at every start."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "label_studio.core.settings.label_studio"  # it reads itself while it loads
from label_studio.core.settings.label_studio import *

os.environ["DJANGO_SETTINGS_MODULE"] = "{_SETTINGS_NAME}"
DATABASES["default"]["OPTIONS"] = {{
    "timeout": 30,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode = WAL",
}}
'''
"""With Django's defaults an import that meets an annotation finds the database locked, and Label Studio 1.23 then
sleeps for three seconds: with write locks taken at the beginning, the two wait for each other for milliseconds."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a local Label Studio; `port` is where it was last, so that bookmarks go on working."""

    user: str
    password: str
    token: str
    port: int


@dataclass(frozen=True, slots=True)
class _Note:
    """What the pid file says: a process id, and when that process started."""

    pid: int
    started: str

    @property
    def is_running(self) -> bool:
        return guard.process_started(self.pid) == self.started


class LocalStudio:
    """One Label Studio of our own: `start` it, or `begin` and later `wait`; then `url`, `token`, `user`, `password`.

    A context manager: `stop` at its end. The caller holds the lock of the loop folder.
    """

    def __init__(self, folder: Path, image_root: Path | None, executable: Path, credentials: Credentials) -> None:
        # In full: the server runs in a folder of its own, from where a relative path would lead elsewhere.
        self._home = folder.resolve() / "label-studio"
        self._image_root = image_root
        self._executable = executable
        self._credentials = credentials
        self._guard: subprocess.Popen[bytes] | None = None
        self._building = False
        self._from_template = False

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://{_HOST}:{self._credentials.port}"

    @property
    def user(self) -> str:
        """Login of its owner."""
        return self._credentials.user

    @property
    def password(self) -> str:
        """Password of its owner."""
        return self._credentials.password

    @property
    def token(self) -> str:
        """A legacy token of its owner."""
        return self._credentials.token

    @property
    def log(self) -> Path:
        """What the server printed since this start."""
        return self._home / "server.log"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        note = _read_note(self._pid_file)
        return note.pid if note is not None and note.is_running else None

    @classmethod
    def start(
        cls,
        folder: Path,
        image_root: Path | None = None,
        on_progress: Progress | None = None,
        *,
        deadline_s: float = 300.0,
    ) -> LocalStudio:
        """Start a server for this loop folder and wait until it answers.

        `image_root` is the folder whose images it may serve. Raises `LabelingError` with the end of the server's log
        if it dies, or does not answer by the deadline.
        """
        studio = cls.begin(folder, image_root)
        return studio.wait(on_progress, deadline_s=deadline_s)

    @classmethod
    def begin(cls, folder: Path, image_root: Path | None = None) -> LocalStudio:
        """Start without waiting: the caller has a few seconds for other work before `wait`.

        A server that an earlier process of this folder left behind is ended first.
        """
        home = folder / "label-studio"
        executable = _executable()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "data").mkdir(exist_ok=True)
        _end_leftover(home / "server.json")
        studio = cls(folder, image_root, executable, _credentials(home / "credentials.json"))
        database = home / "data" / _DATABASE
        template = _template(executable)
        if not database.exists() and template is not None and template.exists():
            _copy(template, database)
            studio._from_template = True
        studio._building = not database.exists()
        studio._spawn(["version"] if studio._building else studio._start_command)
        return studio

    @classmethod
    def running(cls, folder: Path) -> LocalStudio | None:
        """The server of this loop folder that a process runs now: its address and its token; None if none runs."""
        home = folder / "label-studio"
        note, credentials = _read_note(home / "server.json"), _kept(home / "credentials.json")
        if note is None or credentials is None or not note.is_running:
            return None
        return cls(folder, None, Path(), credentials)

    def wait(self, on_progress: Progress | None = None, *, deadline_s: float = 300.0) -> LocalStudio:
        """Return once the server answers and knows our token; on any failure nothing is left running."""
        tell = on_progress or (lambda what, seconds: None)
        began = time.monotonic()
        try:
            while not self._is_up():
                seconds = time.monotonic() - began
                tell("building its database (once)" if self._building else "starting", seconds)
                self._go_on()
                if seconds > deadline_s:
                    raise LabelingError(f"Label Studio did not answer within {deadline_s:g} s.{self._log_tail()}")
                time.sleep(_POLL_S)
        except BaseException:
            self.stop()
            raise
        return self

    def revive(self) -> bool:
        """Start the server again, at the same address, if it has died; False if it is running."""
        if self.pid is not None:
            return False
        self.stop()
        self._spawn(self._start_command)
        self.wait()
        return True

    def stop(self) -> None:
        """End the server: SIGINT, and SIGKILL if it is still there after ten seconds. May be called again."""
        process, self._guard = self._guard, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_GRACE_S + 5)
        except subprocess.TimeoutExpired:
            _end_leftover(self._pid_file)
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _pid_file(self) -> Path:
        return self._home / "server.json"

    @property
    def _start_command(self) -> list[str]:
        return ["start", "--no-browser", "--internal-host", _HOST, "--port", str(self._credentials.port)]

    def _spawn(self, arguments: list[str]) -> None:
        modules = self._home / "settings"
        modules.mkdir(exist_ok=True)
        (modules / f"{_SETTINGS_NAME}.py").write_text(_SETTINGS, encoding="utf-8")
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".old.log"))
        guarded = [sys.executable, "-I", "-S", guard.__file__, self._pid_file, _GRACE_S, self._credentials.port]
        with self.log.open("wb") as log:
            self._guard = subprocess.Popen(
                [*map(str, guarded), str(self._executable), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd=self._home,
                start_new_session=True,
            )

    def _go_on(self) -> None:
        """After the database is built, keep a copy of it and start the server; a death in between is an error."""
        code = self._guard.poll() if self._guard else 1
        if code is None:
            return
        if not self._building or code != 0:
            self._forget_template()
            raise LabelingError(f"Label Studio ended while it was starting.{self._log_tail()}")
        self.stop()
        template = _template(self._executable)
        if template is not None:
            with contextlib.suppress(OSError):
                template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _copy(self._home / "data" / _DATABASE, template)
        self._building = False
        self._spawn(self._start_command)

    def _forget_template(self) -> None:
        template = _template(self._executable) if self._from_template else None
        if template is not None:
            template.unlink(missing_ok=True)

    def _is_up(self) -> bool:
        """Whether the server answers on our port; `LabelingError` if what answers there is not ours."""
        if self._building or _status(self._credentials.port, "/health") != 200:
            return False
        status = _status(self._credentials.port, "/api/current-user/whoami", token=self._credentials.token)
        if status == 401:
            raise LabelingError(
                f"something else than the Label Studio of {self._home} answers at {self.url}, or its credentials.json "
                "is not the one it was made with; end the other server, or restore the file."
            )
        return status == 200

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()[-15:]
            return "\n".join([f" The end of {self.log}:", *lines])
        return ""

    def _environment(self) -> dict[str, str]:
        """All that the server is told: its data, its owner, no calls to the outside, loopback allowed for webhooks."""
        told = {
            "LABEL_STUDIO_BASE_DATA_DIR": str((self._home / "data").resolve()),
            "LABEL_STUDIO_USERNAME": self.user,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
            "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": _SETTINGS_NAME,
            "PYTHONPATH": os.pathsep.join(
                [str((self._home / "settings").resolve()), *filter(None, [os.environ.get("PYTHONPATH", "")])]
            ),
        }
        if self._image_root is not None:
            told["LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"] = "true"
            # Label Studio serves folders strictly below this one, and only those that a project names.
            told["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(self._image_root.resolve().parent)
        return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | told


def _executable() -> Path:
    """The `label-studio` of this environment, else the one on the PATH."""
    beside = Path(sys.executable).parent / ("label-studio.exe" if os.name == "nt" else "label-studio")
    if beside.is_file():
        return beside
    found = shutil.which("label-studio")
    if found is None:
        raise LabelingError(
            'cannot start a Label Studio: it is not installed here. Run `pip install "active-loop[label-studio]"`, or '
            "set labeling.url to the address of one that runs elsewhere."
        )
    return Path(found)


def _credentials(file: Path) -> Credentials:
    """The credentials in `file` (made on the first start, readable by its owner only), with a port that is free."""
    kept = _kept(file) or Credentials(USER, secrets.token_urlsafe(12), secrets.token_hex(20), 0)
    credentials = replace(kept, port=_free_port(kept.port))
    if credentials != kept:
        draft = file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(asdict(credentials), out)
        draft.replace(file)
    return credentials


def _kept(file: Path) -> Credentials | None:
    """The credentials as they were written down, None before the first start."""
    try:
        return Credentials(**json.loads(file.read_text())) if file.exists() else None
    except (OSError, ValueError, TypeError) as error:
        raise LabelingError(f"cannot read {file}: {error}. Restore it, or remove the folder around it.") from error


def _free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else any free port: Label Studio would silently move to the next one.

    A server that has just ended may hold its port for a moment longer, so a taken one is tried for a few seconds.
    """
    end = time.monotonic() + _PORT_S
    while not _is_free(wanted) and time.monotonic() < end:
        time.sleep(_POLL_S)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_HOST, wanted if _is_free(wanted) else 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_HOST, port))
        return True
    return False


def _status(port: int, path: str, token: str = "") -> int | None:
    """The status with which a server on this machine answers, None if none does."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Token {token}"} if token else {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _end_leftover(pid_file: Path) -> None:
    """End the server that the pid file names, if it is still that process."""
    note = _read_note(pid_file)
    if note is not None and note.is_running:
        guard.signal_end(note.pid)
        if not _is_gone(note, _GRACE_S):
            with contextlib.suppress(ProcessLookupError):
                os.kill(note.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            if not _is_gone(note, _GRACE_S):
                raise LabelingError(f"cannot end the Label Studio that an earlier run left: process {note.pid}.")
    pid_file.unlink(missing_ok=True)


def _is_gone(note: _Note, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while note.is_running and time.monotonic() < end:
        time.sleep(_POLL_S)
    return not note.is_running


def _read_note(pid_file: Path) -> _Note | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(pid_file.read_text())
        return _Note(int(note["pid"]), note["started"]) if note["started"] else None
    return None


def _template(executable: Path) -> Path | None:
    """Where the empty database of this version is kept; None where the version or the user's cache is not known."""
    if executable.parent != Path(sys.executable).parent:
        return None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, RuntimeError):
        version = importlib.metadata.version("label-studio")
        default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or default)
        return cache / "active-loop" / f"label-studio-{version}.sqlite3"
    return None


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that the target is there whole or not at all."""
    draft = target.with_name(f"{target.name}.{os.getpid()}.new")
    shutil.copyfile(source, draft)
    draft.replace(target)
