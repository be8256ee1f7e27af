"""Several loops under one address: a page that lists the loop folders of a directory, and each one's dashboard below.

A folder is a loop if it has a `loop.toml`. Folders are looked through at every request, so that a loop that is made
later is there at once; its dashboard is made when somebody asks for it, and kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Flask, render_template
from werkzeug.utils import redirect

from active_loop.errors import ActiveLoopError
from active_loop.report import Status

from .access import Access
from .app import BOUND, READING, bare_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@dataclass(frozen=True, slots=True)
class Entry:
    """One loop of the list: its folder's name, and its status or, where it cannot be read, what is wrong."""

    folder: str
    status: Status | None
    wrong: str = ""


class _Loops:
    """The dashboards of a directory's loops. They are made by `make`, for many threads."""

    def __init__(self, directory: Path, make: Callable[[Path], Flask]) -> None:
        self._directory = directory
        self._make = make
        self._made: dict[str, Flask] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The folders with a loop in them, by name."""
        try:
            return sorted(path.parent.name for path in self._directory.glob("*/loop.toml"))
        except OSError:
            return []

    def app(self, name: str) -> Flask:
        """The dashboard of this folder. Raises what its `loop.toml` is refused with."""
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(self._directory / name)
            return self._made[name]

    def entry(self, name: str) -> Entry:
        try:
            return Entry(name, self.app(name).config[READING].status())
        except ActiveLoopError as error:
            return Entry(name, None, str(error))

    def close(self) -> None:
        for app in self._made.values():
            app.config[READING].close()


def create_front(directory: Path, make: Callable[[Path], Flask], access: Access, language: str = "en") -> Flask:
    """The front page of a directory, as a WSGI application. `make` gives the dashboard of one loop folder in it.

    Who may see the page is said by `access`; each dashboard below says so for itself.
    """
    loops = _Loops(directory, make)
    app = bare_app(access, language)
    app.config[READING] = loops

    def index() -> str:
        entries = [loops.entry(name) for name in loops.names()]
        return render_template("front.html", name=directory.resolve().name or "active-loop", entries=entries)

    app.add_url_rule("/", view_func=index)
    own = app.wsgi_app

    def dispatch(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sent, slash, rest = environ["PATH_INFO"].lstrip("/").partition("/")
        name = sent.encode("latin-1").decode("utf-8", "replace")  # WSGI hands bytes over as Latin-1
        if name not in loops.names():
            return own(environ, start_response)
        if not slash:
            return redirect(f"{quote(environ.get('SCRIPT_NAME', ''))}/{quote(name)}/")(environ, start_response)
        try:
            below = loops.app(name)
        except ActiveLoopError:
            return own({**environ, "PATH_INFO": "/"}, start_response)
        below.config[BOUND] = app.config[BOUND]
        place = f"{environ.get('SCRIPT_NAME', '')}/{sent}"
        return below({**environ, "SCRIPT_NAME": place, "PATH_INFO": f"/{rest}"}, start_response)

    app.wsgi_app = dispatch  # type: ignore[method-assign]
    return app
