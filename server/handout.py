"""The report: one HTML file that needs nothing else, and beside it its tables as CSV and its picture as SVG.

It says what the overview says, at one moment, and describes the labelled data so that whoever gets them later knows
what they are. Nothing in it runs, and nothing is fetched.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from active_loop.datasheet import Labeller, data_sheet
from active_loop.domain import Look
from active_loop.errors import ActiveLoopError, FolderError
from active_loop.export import ExportRow
from active_loop.language import say, say_n, speaking, spoken
from active_loop.model import MODEL, About
from active_loop.records import Source
from active_loop.report import CurvePoint, Status
from active_loop.report import status as read_status
from active_loop.store import Store

from . import chart, words
from .card import as_markdown, card_of
from .items import Content, content_of

_SIZE: Final = (760.0, 320.0)

_THUMBNAIL: Final = (160, 112)
"""Pixels of a picture in the table, at most."""


def write_report(
    store: Store,
    path: Path,
    *,
    source: Callable[[], Source] | None = None,
    items: bool = True,
    language: str = "en",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Path]:
    """Write the report at `path`, and a folder of its name beside it; returns the files, the page first.

    Without `items` nothing is written that an item holds or is called, and nobody's name. Each file is there whole or
    not at all. Raises `FolderError` where one cannot be written.
    """
    with speaking(language):
        at = now()
        status, sheet = read_status(store, at), data_sheet(store)
        if not items:
            sheet = sheet.without_persons()
        shown = _shown(source, sheet.rows) if items else []
        picture = _picture(status)
        page = (
            _templates()
            .get_template("report.html")
            .render(
                status=status,
                sheet=sheet,
                shown=shown,
                now=at,
                picture=picture,
                card=card_of(status, sheet, Path(store.path).parent / MODEL),
                style=_style(),
                spoken=spoken(),
            )
        )
    beside = path.with_suffix("")
    tables = {
        "labels": _table(sheet.rows, ExportRow),
        "rounds": _table(status.curve, CurvePoint),
        "looks": _table(status.looks, Look),
        "people": _table(sheet.labellers, Labeller),
    }
    texts = {path: page, **{beside / f"{name}.csv": text for name, text in tables.items()}}
    if picture:
        texts[beside / "learning-curve.svg"] = picture
    for file, text in texts.items():
        _write(file, text)
    return list(texts)


def write_card(store: Store, about: About, model: Path, language: str = "en") -> Path:
    """Write the card of a model beside its file, as Markdown; returns where. `FolderError` where it cannot be."""
    with speaking(language):
        text = as_markdown(read_status(store), data_sheet(store), about, model)
    path = model.with_name(f"{model.stem}-card.md")
    _write(path, text)
    return path


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("active_loop.server"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(say=say, say_n=say_n, words=words)
    found.filters["thumbnail"] = thumbnail
    return found


@cache
def _style() -> str:
    return (files("active_loop.server") / "static" / "style.css").read_text(encoding="utf-8")


def _picture(status: Status) -> str:
    """The learning curve as a file of its own; empty while there is none."""
    drawn = chart.draw(status, *_SIZE)
    if drawn is None:
        return ""
    return _templates().get_template("curve.svg").render(c=drawn, style=_style())


def _shown(source: Callable[[], Source] | None, rows: Sequence[ExportRow]) -> list[Content]:
    """What the items hold, in their order; nothing of any where the data cannot be read any more."""
    with suppress(ActiveLoopError):
        if source is not None and rows:
            return [content_of(values) for values in source().shown([row.row for row in rows])]
    return []


def thumbnail(picture: Path) -> str:
    """The picture, small, as an address that holds it; empty if it cannot be read."""
    try:
        with Image.open(picture) as opened:
            opened.thumbnail(_THUMBNAIL)
            small = io.BytesIO()
            opened.convert("RGB").save(small, "JPEG", quality=80)
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"


def _table(rows: Iterable[Any], kind: type[Any]) -> str:
    names = [field.name for field in fields(kind)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: harmless(value) for name, value in asdict(row).items()} for row in rows)
    return text.getvalue()


def harmless(value: object) -> object:
    """A cell that no spreadsheet takes for a formula.

    >>> harmless("=1+1"), harmless("-3 degrees"), harmless(-3)
    ("'=1+1", "'-3 degrees", -3)
    """
    if isinstance(value, datetime):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise FolderError(f"cannot write {path}: {error.strerror or error}.") from error
