"""The page of the record: the trail of a loop, newest first, and its rounds, looks and events as tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flask import Blueprint, Response, abort, render_template, request

from active_loop.changes import current_settings
from active_loop.domain import Look
from active_loop.history import KINDS, History, RoundLine, history, tables
from active_loop.language import say, spoken

from . import local_time
from .reading import Reading

PAGE: Final = 100
"""Entries on a page."""

_COLUMNS: Final = {
    "rounds": tuple(RoundLine.__slots__),
    "looks": tuple(Look.__slots__),
    "events": ("at", "kind", "what", "note", "facts", "items"),
}
"""The tables there are, and the header of each."""


def pages(reading: Reading) -> Blueprint:
    """The timeline, and a file for each table."""
    record = Blueprint("record", __name__, url_prefix="/record")

    def found() -> History:
        return reading.of(history, ("history", spoken()))

    def index() -> str:
        kind, page, trail = request.args.get("kind", ""), request.args.get("page", 1, int), found()
        entries = [entry for entry in trail.entries if kind in ("", entry.kind)]
        last = max(1, -(-len(entries) // PAGE))
        if kind not in ("", *KINDS) or not 1 <= page <= last:
            abort(404)
        return render_template(
            "record.html",
            entries=entries[(page - 1) * PAGE : page * PAGE],
            total=len(trail.entries),
            kind=kind,
            kinds=_kinds(trail),
            page=page,
            pages=last,
            rounds=trail.rounds[::-1],
            **local_time.naming(reading.of(current_settings)),
        )

    def table(name: str) -> Response:
        if name not in _COLUMNS:
            abort(404)
        response = Response(as_csv(_COLUMNS[name], tables(found())[name]), mimetype="text/csv")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return response

    record.add_url_rule("", endpoint="index", view_func=index)
    record.add_url_rule("/<name>.csv", endpoint="table", view_func=table)
    return record


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header, times in UTC; no text in it can be taken for a formula.

    >>> as_csv(["n", "said"], [{"n": -1, "said": "=1+1"}, {"n": None, "said": "yes"}])
    "n,said\\r\\n-1,'=1+1\\r\\n,yes\\r\\n"
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return file.getvalue()


def _cell(value: object) -> object:
    """A value as a cell: a spreadsheet runs what begins like a formula, so such a text begins with an apostrophe."""
    if isinstance(value, datetime):
        return local_time.exact(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _kinds(trail: History) -> list[tuple[str, str, int]]:
    """Every kind of entry with its name and how many there are, all of them first."""
    names = {
        "": say("Everything"),
        "rounds": say("Rounds"),
        "looks": say("Looks"),
        "settings": say("Settings"),
        "data": say("Data"),
        "events": say("Events"),
    }
    return [(kind, name, sum(kind in ("", entry.kind) for entry in trail.entries)) for kind, name in names.items()]
