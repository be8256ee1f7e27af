"""The first page, and the same for programs: where the loop stands.

Both are made once for everybody who looks, until something was committed, a minute has passed, or the loop has
something else to say.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from flask import Flask, Response, render_template, request

from active_loop.language import spoken
from active_loop.report import Status

from . import chart, visit, words
from .reading import Reading

_WIDE: Final = (760, 320)
_NARROW: Final = (350, 270)


@dataclass(frozen=True, slots=True)
class _View:
    """The status at one time in one language, what people may know of it as JSON, and that text's mark of version.

    `pages` are the pages made of it, by who is shown them.
    """

    status: Status
    notice: str
    at: datetime
    body: bytes
    etag: str
    pages: dict[bool, str] = field(default_factory=dict)

    def shows(self, status: Status, notice: str, now: datetime) -> bool:
        """Whether nothing has changed since."""
        same_minute = self.at.replace(second=0, microsecond=0) == now.replace(second=0, microsecond=0)
        return self.status is status and self.notice == notice and same_minute


class Overview:
    """The overview of one loop. `live` says what the store cannot know; `labeling_url` is where people answer."""

    def __init__(self, reading: Reading, live: Callable[[], str], labeling_url: str) -> None:
        self._reading = reading
        self._live = live
        self._labeling_url = labeling_url
        self._views: dict[str, _View] = {}
        self._lock = threading.Lock()

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/", endpoint="index", view_func=self.page)
        app.add_url_rule("/status.json", endpoint="status_json", view_func=self.values)

    def page(self) -> str:
        view, owner = self._view(), visit.is_owner()
        with self._lock:
            if owner not in view.pages:
                view.pages[owner] = self._render(view)
            return view.pages[owner]

    def values(self) -> Response:
        view = self._view()
        response = Response(view.body, mimetype="application/json")
        response.set_etag(view.etag)
        response.make_conditional(request)
        return response

    def _view(self) -> _View:
        status, notice, now, language = self._reading.status(), self._live(), self._reading.now(), spoken()
        with self._lock:
            known = self._views.get(language)
            if known is None or not known.shows(status, notice, now):
                body = text(words.public(status, notice, now))
                etag = hashlib.blake2b(body, digest_size=12).hexdigest()
                known = self._views[language] = _View(status, notice, now, body, etag)
            return known

    def _render(self, view: _View) -> str:
        status = view.status
        return render_template(
            "status.html",
            status=status,
            view=view,
            name=status.name,
            now=view.at,
            labeling_url="" if status.stopped else self._labeling_url,
            charts=[("wide", chart.draw(status, *_WIDE)), ("narrow", chart.draw(status, *_NARROW))],
            rounds=status.curve[::-1],
        )


def text(values: Mapping[str, Any]) -> bytes:
    """JSON, with times as ISO 8601."""
    return json.dumps(values, ensure_ascii=False, default=datetime.isoformat).encode()
