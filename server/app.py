"""The application: its routes, who may call them, and what they say when something is wrong.

Each request opens the store anew, read-only, and closes it: no state lives between two requests, and a page is as
new as the last commit of the loop. Whatever goes wrong is told in one sentence; a traceback goes to the log alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, redirect, render_template, request, url_for
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from active_loop.changes import current_settings
from active_loop.errors import FolderError
from active_loop.label_studio import SECRET_HEADER
from active_loop.language import LANGUAGES, say, say_n, speak, spoken
from active_loop.orders import Orders
from active_loop.records import Source
from active_loop.store import Store

from . import backend, controls, items, people, predicting, record, visit, words
from .access import Access, Role
from .map import pages as map_pages
from .model import pages as model_pages
from .overview import Overview, text
from .reading import Reading
from .visit import ACCESS, TICKET, TONGUE

BOUND: Final = "ACTIVE_LOOP_BOUND"
"""Key of the app's config: the host it is bound to, which `serve` sets. Loopback, the strictest, until then."""

READING: Final = "ACTIVE_LOOP_READING"
"""Key of the app's config: what its pages read, to be closed with the server."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

_PAGES: Final = "index items.listing map.index model.index people.index record.index controls.index"
NAVIGATION: Final = tuple(_PAGES.split())
"""The pages that each page leads to."""


def create_app(
    open_store: Callable[[], Store],
    *,
    wake: Callable[[], None],
    secret: str,
    token: str | None = None,
    viewer: str | None = None,
    key: str = "",
    live: Callable[[], str] = str,
    public_url: str = "",
    labeling_url: str = "",
    source: Callable[[], Source] | None = None,
    ml_key: str = "",
    language: str = "en",
    orders: Orders | None = None,
    model: Path | None = None,
    trust: Callable[[], tuple[str, ...]] = tuple,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """The dashboard of one loop, as a WSGI application.

    `open_store` gives a store of its own to each request, opened read-only (`Store(path, readonly=True)`); a
    `FolderError` that it raises is shown as it reads. `wake` is called by the webhook, from any thread, and must
    return at once. `secret` is what Label Studio sends in `X-Active-Loop-Secret`. With a `token` (the owner's) or a
    `viewer` token, pages are shown only to those who bring one, as `Authorization: Bearer …` or once as `?token=…`; the
    `key` lets the owner in, too. `live` says what the store cannot know, such as that Label Studio is out of reach;
    empty for nothing. Under the host of `public_url` Label Studio may call a server that is bound to loopback.
    `labeling_url` is where people answer, linked from the page. `source` opens the data, for pages that show items.
    Label Studio may attach the server as an ML backend at /ml/ and this `ml_key`. `language` is that of who has not
    chosen one. `orders` take what the owner changes; without them nothing can be changed here. `model` is the file
    that /predict predicts with, be it there or not yet; `trust` names the user's own classes that it may hold.

    Raises `ConfigError` for an empty secret or token.
    """
    access = Access(secret, token, public_url, ml_key, viewer, key)
    app = bare_app(access, language)
    link = labeling_url if urlsplit(labeling_url).scheme in ("http", "https") else ""
    reading = app.config[READING] = Reading(open_store, now)

    def health() -> Response:
        return _json({"status": "UP", "loop": _name(open_store)})

    def webhook() -> Response:
        if not access.knows(request.headers.get(SECRET_HEADER)):
            return _plain(f"The header {SECRET_HEADER} must hold the secret of this loop.", 403)
        wake()
        return Response(status=204)

    Overview(reading, live, link).add_to(app)
    app.add_url_rule("/health", view_func=health)
    app.add_url_rule("/webhook", view_func=webhook, methods=["POST"])
    app.register_blueprint(backend.routes(access, wake, lambda: _name(open_store)))
    app.register_blueprint(items.pages(reading, source))
    app.register_blueprint(map_pages(reading, source))
    app.register_blueprint(model_pages(reading, source))
    app.register_blueprint(people.pages(reading))
    app.register_blueprint(record.pages(reading))
    if model is not None:
        app.register_blueprint(predicting.routes(model, trust))
    if orders is not None:
        app.register_blueprint(controls.pages(reading, orders))
    return app


def bare_app(access: Access, language: str) -> Flask:
    """An application without a page: who is let in, in which language, and what is said when something is wrong."""
    app = Flask(__name__)
    app.config.update({BOUND: "127.0.0.1", ACCESS: access, visit.LANGUAGE: language})
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(say=say, say_n=say_n, words=words)
    app.context_processor(_everywhere)
    app.add_url_rule("/enter", view_func=_enter, endpoint="enter", methods=["GET", "POST"])
    app.before_request(lambda: speak(visit.language()))
    app.before_request(_refuse)
    app.after_request(_harden)
    app.teardown_request(lambda error: speak("en"))  # threads are used again
    app.register_error_handler(FolderError, _folder_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _everywhere() -> dict[str, Any]:
    """What every page can show: where it leads, in which languages it can be read, and what its forms carry."""
    names = (say("Overview"), say("Items"), say("Map"), say("Model"), say("People"), say("Record"), say("Controls"))
    return {
        "navigation": [each for each in zip(NAVIGATION, names, strict=True) if each[0] in current_app.view_functions],
        "languages": LANGUAGES,
        "spoken": spoken(),
        "is_owner": visit.is_owner(),
        "form": visit.access().form if visit.is_owner() else "",
    }


def _enter() -> str | AnyResponse:
    """Where somebody says who they are: the browser then keeps a ticket."""
    then = request.values.get("then", "")
    # A path of this server: anything else could lead people, and what they bring, elsewhere.
    path = then if then.startswith("/") and not then.startswith(("//", "/\\")) else url_for("index")
    given = request.form.get("token", "").strip()
    if request.method == "GET":
        return render_template("enter.html", then=path, wrong=False)
    if visit.access().role(given) != Role.OWNER:
        return Response(render_template("enter.html", then=path, wrong=True), 401, mimetype="text/html")
    response = redirect(request.script_root + path if not path.startswith(request.script_root) else path, 303)
    visit.keep(response, TICKET, visit.access().ticket(given))
    return response


def _name(open_store: Callable[[], Store]) -> str | None:
    """Name of the loop; None while there is none to be read."""
    try:
        with closing(open_store()) as store:
            return current_settings(store).name
    except FolderError:
        return None


# who may call


def _refuse() -> Response | None:
    access, endpoint = visit.access(), request.endpoint
    if not access.answers_to(request.headers.get("Host", ""), bound=current_app.config[BOUND], endpoint=endpoint):
        return _say(
            403, say("This dashboard answers only under this machine's own name."), say("Open it as http://127.0.0.1.")
        )
    if not access.lets_in(visit.token_given(), request.cookies.get(TICKET), endpoint=endpoint):
        response = _say(
            401,
            say("This dashboard needs a token."),
            say("Open the link that was printed when the loop was started, or ask its owner for it."),
        )
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    return None


def _harden(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    is_page = response.mimetype == "text/html"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store" if is_page else "no-cache, private"
    if is_page and response.status_code == 200:
        if "token" in request.args:
            visit.keep(response, TICKET, visit.access().ticket(request.args["token"]))
        if request.args.get("language") in LANGUAGES:
            visit.keep(response, TONGUE, request.args["language"])
    return response


# what is said when something is wrong


def _folder_error(error: FolderError) -> Response:
    return _say(503, str(error), say("Look again in a moment."))


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    known = {
        403: say("This is for the loop's owner, on a page of this dashboard."),
        404: say("There is no such page here."),
        405: say("This address does not take that kind of request."),
    }
    sentence = known.get(code) or say("This request cannot be answered.")
    response = _say(code, sentence, say("The dashboard is at {place}.", place=url_for("index")))
    for name, value in error.get_headers(request.environ):
        if name == "Allow":
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    current_app.logger.error("cannot answer %s", request.path, exc_info=error)
    return _say(500, say("The loop cannot be read just now."), say("Look again in a moment. The log says more."))


def _say(code: int, sentence: str, then: str) -> Response:
    """One sentence and what to do, in the form that the caller reads."""
    if request.path == "/status.json":
        return _json({"headline": sentence, "next": then}, code)
    if request.path in ("/health", "/webhook", "/predict") or request.path.startswith("/ml/"):
        return _plain(f"{sentence} {then}", code)
    live = request.endpoint in NAVIGATION  # pages that look again by themselves
    return Response(
        render_template("message.html", sentence=sentence, then=then, live=live), code, mimetype="text/html"
    )


def _json(values: Mapping[str, Any], code: int = 200) -> Response:
    return Response(text(values), code, mimetype="application/json")


def _plain(text: str, code: int) -> Response:
    return Response(text + "\n", code, mimetype="text/plain")
