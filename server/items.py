"""The pages of answered items: a list of them, one of them with all that was said of it, and its picture.

What an item holds is read from the data it came from, by its own row: no address names a file. Only what somebody has
answered is there at all, so that nobody learns what is asked, or tested, next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, abort, render_template, request, send_file

from active_loop.answered import Answered, Case, case, listing
from active_loop.changes import current_settings
from active_loop.errors import ActiveLoopError
from active_loop.records import Source
from active_loop.store import Store

_GLANCE: Final = 140
"""Letters of an item in a list."""

_PICTURES: Final = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""Files that are shown, and what they are sent as: nothing that a browser could run."""


@dataclass(frozen=True, slots=True)
class Content:
    """What people saw of an item: fields with their values, or a picture; `missing` says why there is neither."""

    fields: tuple[tuple[str, str], ...] = ()
    picture: Path | None = None
    missing: str = ""

    @property
    def glance(self) -> str:
        """The fields on one line, cut off where it gets long."""
        several = len(self.fields) > 1
        text = " · ".join(f"{name} {value}" if several else value for name, value in self.fields)
        line = " ".join(text.split())
        return f"{line[:_GLANCE].rstrip()} …" if len(line) > _GLANCE else line


def pages(open_store: Callable[[], Store], source: Callable[[], Source] | None) -> Blueprint:
    """The three kinds of page. Without a `source` items are listed by their names alone."""
    items = Blueprint("items", __name__, url_prefix="/items")

    def contents(shown: Sequence[Answered]) -> dict[int, Content]:
        return _contents(source, shown)

    def list_page() -> str:
        with closing(open_store()) as store:
            found = listing(store, request.args.get("page", 1, int))
            settings = current_settings(store)
        if found is None:
            abort(404)
        what = contents(found.items)
        return render_template("items.html", found=found, contents=what, name=settings.name)

    def item(position: int) -> str:
        found, settings = _case(open_store, position)
        what = contents([found.item, *(near for near, _ in found.near)])
        language = settings.server.language
        return render_template("item.html", case=found, contents=what, name=settings.name, language=language)

    def picture(position: int) -> Response:
        found, _ = _case(open_store, position)
        path = contents([found.item])[position].picture
        if path is None or not path.is_file():
            abort(404)
        return send_file(path.resolve(), mimetype=_PICTURES[path.suffix.lower()], conditional=True)

    items.add_url_rule("", endpoint="listing", view_func=list_page)
    items.add_url_rule("/<int:position>", endpoint="item", view_func=item)
    items.add_url_rule("/<int:position>/picture", endpoint="picture", view_func=picture)
    return items


def _case(open_store: Callable[[], Store], position: int) -> tuple[Case, Any]:
    """The answered item and the settings; an item that nobody answered is no address here, whatever it is."""
    with closing(open_store()) as store:
        found, settings = case(store, position), current_settings(store)
    if found is None:
        abort(404)
    return found, settings


def _contents(source: Callable[[], Source] | None, shown: Sequence[Answered]) -> dict[int, Content]:
    """What each of these items holds, by position; the reason in its place if the data cannot be read."""
    if source is None or not shown:
        return {each.position: Content(missing=each.id) for each in shown}
    try:
        fields = source().shown([each.row for each in shown])
    except ActiveLoopError as error:
        return {each.position: Content(missing=str(error)) for each in shown}
    return {each.position: _content(values) for each, values in zip(shown, fields, strict=True)}


def _content(values: Mapping[str, Any]) -> Content:
    picture = values.get("image")
    if isinstance(picture, Path):
        if picture.suffix.lower() in _PICTURES:
            return Content(picture=picture)
        return Content(missing=f"{picture.name} is no picture that can be shown")
    row = values.get("row")
    fields = row if isinstance(row, Mapping) else values
    return Content(tuple((name, str(value)) for name, value in fields.items()))
