"""The application: its routes, who may call them, and what they say when something is wrong.

Each request opens the store anew, read-only, and closes it: no state lives between two requests, and a page is as
new as the last commit of the loop. Whatever goes wrong is told in one sentence; a traceback goes to the log alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, render_template, request
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException

from active_loop.changes import current_settings
from active_loop.errors import FolderError
from active_loop.label_studio import SECRET_HEADER
from active_loop.records import Source
from active_loop.report import Status
from active_loop.report import status as read_status
from active_loop.store import Store

from . import backend, chart, items, words
from .access import Access

BOUND: Final = "ACTIVE_LOOP_BOUND"
"""Key of the app's config: the host it is bound to, which `serve` sets. Loopback, the strictest, until then."""

ACCESS: Final = "ACTIVE_LOOP_ACCESS"

TICKET: Final = "active-loop"
"""Name of the cookie by which a browser that has brought the token is known on the next page."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

PAGES: Final = frozenset({"index", "items.listing", "items.item"})
"""Endpoints from which a browser goes on to others, and keeps a ticket for them."""

_AGAIN: Final = "Look again in a moment."

_SENTENCES: Final = {
    404: "There is no such page here.",
    405: "This address does not take that kind of request.",
}


@dataclass(frozen=True, slots=True)
class _View:
    """What one request read: the status, what people may know of it as JSON, and that text's mark of version."""

    status: Status
    notice: str
    body: bytes
    etag: str


def create_app(
    open_store: Callable[[], Store],
    *,
    wake: Callable[[], None],
    secret: str,
    token: str | None = None,
    live: Callable[[], str] = str,
    public_url: str = "",
    labeling_url: str = "",
    source: Callable[[], Source] | None = None,
    ml_key: str = "",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """The dashboard of one loop, as a WSGI application.

    `open_store` gives a store of its own to each request, opened read-only (`Store(path, readonly=True)`); a
    `FolderError` that it raises is shown as it reads. `wake` is called by the webhook, from any thread, and must
    return at once. `secret` is what Label Studio sends in `X-Active-Loop-Secret`. With a `token`, pages are shown only
    to those who bring it, as `Authorization: Bearer …` or once as `?token=…`. `live` says what the store cannot know,
    such as that Label Studio is out of reach; empty for nothing. Under the host of `public_url` Label Studio may call
    a server that is bound to loopback. `labeling_url` is where people answer, linked from the page. `source` opens the
    data, for pages that show items. Label Studio may attach the server as an ML backend at /ml/ and this `ml_key`.

    Raises `ConfigError` for an empty secret or token.
    """
    app = Flask(__name__)
    app.config[BOUND] = "127.0.0.1"
    access = app.config[ACCESS] = Access(secret, token, public_url, ml_key)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    link = labeling_url if urlsplit(labeling_url).scheme in ("http", "https") else ""

    def read() -> _View:
        with closing(open_store()) as store:
            status = read_status(store, now())
        notice = live()
        values = words.public(status, notice, now())
        body = _text(values)
        return _View(status, notice, body, hashlib.blake2b(body, digest_size=12).hexdigest())

    def index() -> str:
        view = read()
        return _page(view, now(), link)

    def status_json() -> Response:
        view = read()
        response = Response(view.body, mimetype="application/json")
        response.set_etag(view.etag)
        response.make_conditional(request)
        return response

    def health() -> Response:
        return _json({"status": "UP", "loop": _name(open_store)})

    def webhook() -> Response:
        if not current_access().knows(request.headers.get(SECRET_HEADER)):
            return _plain(f"The header {SECRET_HEADER} must hold the secret of this loop.", 403)
        wake()
        return Response(status=204)

    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/status.json", view_func=status_json)
    app.add_url_rule("/health", view_func=health)
    app.add_url_rule("/webhook", view_func=webhook, methods=["POST"])
    app.register_blueprint(backend.routes(access, wake, lambda: _name(open_store)))
    app.register_blueprint(items.pages(open_store, source))
    app.before_request(_refuse)
    app.after_request(_harden)
    app.register_error_handler(FolderError, _folder_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def current_access() -> Access:
    """What the app in charge of this request asks of it."""
    access: Access = current_app.config[ACCESS]
    return access


def _page(view: _View, now: datetime, labeling_url: str) -> str:
    status = view.status
    return render_template(
        "status.html",
        status=status,
        view=view,
        words=words,
        now=now,
        labeling_url="" if status.stopped else labeling_url,
        charts=[("wide", chart.draw(status, 760, 320)), ("narrow", chart.draw(status, 350, 270))],
        looks=status.looks[::-1],
        rounds=status.curve[::-1],
        people=sorted(status.people.items(), key=lambda person: (-person[1], person[0])),
        meanings=[(v, words.MEANING[v]) for v in words.MEANING if any(look.verdict == v for look in status.looks)],
    )


def _name(open_store: Callable[[], Store]) -> str | None:
    """Name of the loop; None while there is none to be read."""
    try:
        with closing(open_store()) as store:
            return current_settings(store).name
    except FolderError:
        return None


# who may call


def _refuse() -> Response | None:
    access, endpoint = current_access(), request.endpoint
    if not access.answers_to(request.headers.get("Host", ""), bound=current_app.config[BOUND], endpoint=endpoint):
        return _say(403, "This dashboard answers only under this machine's own name.", "Open it as http://127.0.0.1.")
    if not access.lets_in(_token_given(), request.cookies.get(TICKET), endpoint=endpoint):
        response = _say(
            401,
            "This dashboard needs a token.",
            "Open the link that was printed when the loop was started, or ask its owner for it.",
        )
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    return None


def _token_given() -> str | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else request.args.get("token")


def _harden(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    if request.endpoint != "static":
        is_page = response.mimetype == "text/html"
        response.headers["Cache-Control"] = "no-store" if is_page else "no-cache, private"
    if request.endpoint in PAGES and "token" in request.args and response.status_code == 200:
        response.set_cookie(TICKET, current_access().ticket, httponly=True, samesite="Strict")
    return response


# what is said when something is wrong


def _folder_error(error: FolderError) -> Response:
    return _say(503, str(error), _AGAIN)


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    response = _say(code, _SENTENCES.get(code, "This request cannot be answered."), "The dashboard is at /.")
    for name, value in error.get_headers(request.environ):
        if name == "Allow":
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    current_app.logger.error("cannot answer %s", request.path, exc_info=error)
    return _say(500, "The loop cannot be read just now.", f"{_AGAIN} The log says more.")


def _say(code: int, sentence: str, then: str) -> Response:
    """One sentence and what to do, in the form that the caller reads."""
    if request.path == "/status.json":
        return _json({"headline": sentence, "next": then}, code)
    if request.path in ("/health", "/webhook") or request.path.startswith("/ml/"):
        return _plain(f"{sentence} {then}", code)
    live = request.path == "/"  # the one page that looks again by itself
    return Response(
        render_template("message.html", sentence=sentence, then=then, live=live), code, mimetype="text/html"
    )


def _text(values: Mapping[str, Any]) -> bytes:
    """JSON, with times as ISO 8601."""
    return json.dumps(values, ensure_ascii=False, default=datetime.isoformat).encode()


def _json(values: Mapping[str, Any], code: int = 200) -> Response:
    return Response(_text(values), code, mimetype="application/json")


def _plain(text: str, code: int) -> Response:
    return Response(text + "\n", code, mimetype="text/plain")
