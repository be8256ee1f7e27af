"""The request at hand: who is calling, as what, and in which language they read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, TypeVar

from flask import Response, abort, current_app, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from active_loop.language import LANGUAGES

from .access import Access, Role, host_of

ACCESS: Final = "ACTIVE_LOOP_ACCESS"
"""Key of the app's config: what is asked of a request."""

LANGUAGE: Final = "ACTIVE_LOOP_LANGUAGE"
"""Key of the app's config: the language of who has not chosen one."""

TICKET: Final = "active-loop"
"""Name of the cookie by which a browser that has brought a token is known on the next page."""

TONGUE: Final = "active-loop-language"
"""Name of the cookie with the language that somebody has chosen."""

_View = TypeVar("_View", bound=Callable[..., object])


def access() -> Access:
    """What the app in charge of this request asks of it."""
    found: Access = current_app.config[ACCESS]
    return found


def token_given() -> str | None:
    """The token that the request brings; None if it brings none."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else request.args.get("token")


def role() -> Role | None:
    """As what the request is let in; None if it is not."""
    return access().role(token_given(), request.cookies.get(TICKET))


def is_owner() -> bool:
    return role() == Role.OWNER


def owner_only(view: _View) -> _View:
    """A view that sends everybody but the owner to where they can say who they are."""

    @wraps(view)
    def guarded(*args: object, **values: object) -> object:
        if is_owner():
            return view(*args, **values)
        if request.method != "GET":
            abort(403)
        return redirect(url_for("enter", then=request.path))

    return guarded  # type: ignore[return-value]


def refuse_foreign_forms() -> None:
    """403 for a form that was not on a page of ours, or was sent from a page of somebody else."""
    origin = request.headers.get("Origin", "")
    foreign = bool(origin) and host_of(origin.partition("//")[2]) != host_of(request.headers.get("Host", ""))
    if foreign or not access().is_form(request.form.get("form")):
        abort(403)


def language() -> str:
    """The language of this request: the one chosen, or the loop's own."""
    chosen = request.args.get("language") or request.cookies.get(TONGUE, "")
    return chosen if chosen in LANGUAGES else str(current_app.config[LANGUAGE])


def keep(response: AnyResponse | Response, name: str, value: str) -> None:
    """Have the browser keep this until it is closed; no script can read it, and no other site can have it sent."""
    response.set_cookie(name, value, httponly=True, samesite="Strict", path=request.script_root or "/")
