"""The map: the pool in two dimensions, as far as people may see it, and what each point is.

The picture is drawn in the browser, from places and groups alone; what an item holds is fetched for the one that
somebody points at. Without a script there is a picture of where how many items lie.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from flask import Blueprint, Response, abort, render_template, request, send_file
from PIL import Image

from active_loop.points import COLOURS, Points, Sight, points, sight
from active_loop.records import Source

from .items import PICTURES, contents_of
from .kept import Kept
from .reading import Reading

_WIDTH, _HEIGHT, _CELL = 880, 560, 5

_LISTED: Final = 12
"""Labelled points that are listed by name."""

_SHADES: Final = (
    *((0x3B, 0x82, 0xD6), (0xE0, 0x6C, 0x1B), (0x1F, 0x9E, 0x77), (0xCC, 0x5C, 0xA4)),
    *((0xB5, 0x8A, 0x00), (0x4F, 0xB3, 0xD9), (0x8E, 0x63, 0xC7), (0xA8, 0x55, 0x3A)),
    (0x88, 0x8E, 0x99),
)
"""A colour for each group that reads on light and on dark; the last is for all that have none of their own."""


def pages(reading: Reading, source: Callable[[], Source] | None) -> Blueprint:
    """The page, its points, its picture, and what is said of one point. Without a `source` items have names alone."""
    made, map_ = Kept(), Blueprint("map", __name__, url_prefix="/map")

    def now() -> tuple[Sight, Points | None]:
        seen = reading.of(sight)
        stamp = seen.stamp
        return seen, made.of((seen, stamp), lambda: _points(seen, stamp))

    def there() -> Points:
        found = now()[1]
        if found is None:
            abort(404)
        return found

    def page() -> str:
        seen, found = now()
        newest = [] if found is None else found.items[found.labelled][::-1][:_LISTED].tolist()
        with closing(reading.open_store()) as store:
            listed = store.items_at(newest)
        what = contents_of(source, listed)
        return render_template(
            "map.html", name=seen.name, seen=seen, found=found, listed=listed, contents=what, count="{:,}".format
        )

    def data() -> Response:
        return _sent(packed(there()), "application/octet-stream")

    def density() -> Response:
        return _sent(drawn(there()), "image/png")

    def item(position: int) -> str:
        found = there()
        predicted = found.predicted(position)
        if predicted is None:
            abort(404)
        one = _item(reading, position)
        what = contents_of(source, [one])[position]
        said, chance = found.label(position), f"{100 * (predicted[1] or 0):.0f} %"
        return render_template("point.html", item=one, content=what, label=said, predicted=predicted, chance=chance)

    def picture(position: int) -> Response:
        if there().predicted(position) is None:
            abort(404)
        path: Path | None = contents_of(source, [_item(reading, position)])[position].picture
        if path is None or not path.is_file():
            abort(404)
        return send_file(path.resolve(), mimetype=PICTURES[path.suffix.lower()], conditional=True)

    map_.add_url_rule("", endpoint="index", view_func=page)
    map_.add_url_rule("/points.bin", endpoint="data", view_func=data)
    map_.add_url_rule("/density.png", endpoint="density", view_func=density)
    map_.add_url_rule("/item/<int:position>", endpoint="item", view_func=item)
    map_.add_url_rule("/item/<int:position>/picture", endpoint="picture", view_func=picture)
    return map_


def _points(seen: Sight, stamp: tuple[int, object] | None) -> Points | None:
    if stamp is None:
        return None
    place = stamp[0]
    portrait = seen.portraits.find(seen.rounds[place])
    return None if portrait is None else points(seen, portrait, seen.settings[place])


def _item(reading: Reading, position: int) -> Any:
    with closing(reading.open_store()) as store:
        return store.items_at([position])[0]


def packed(found: Points) -> bytes:
    """The points as bytes, little endian: how many (uint32); items (int32 each); places (int16, x y, from -32000 to
    32000 along the wider side); groups (uint8); whether each was labelled (uint8)."""
    parts = (np.array([len(found.items)]).astype("<u4"), found.items.astype("<i4"), _quantised(found), found.group)
    return b"".join(part.tobytes() for part in (*parts, found.labelled.astype(np.uint8)))


def _quantised(found: Points) -> Any:
    """Places (n, 2) as int16, both axes on one scale, so that distances stay what they are."""
    if not len(found.items):
        return np.empty((0, 2), "<i2")
    low, high = found.place.min(axis=0), found.place.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    return np.round((found.place - (low + high) / 2) / half * 32_000).astype("<i2")


def drawn(found: Points) -> bytes:
    """How many points lie where, as a PNG: the colour of the commonest group, denser where more lie."""
    columns, rows = _WIDTH // _CELL, _HEIGHT // _CELL
    counts = np.zeros((COLOURS + 1, rows, columns))
    if len(found.items):
        spread = np.maximum(np.ptp(found.place, axis=0), 1e-12)
        share = (found.place - found.place.min(axis=0)) / spread
        x = np.minimum((share[:, 0] * columns).astype(int), columns - 1)
        y = np.minimum(((1 - share[:, 1]) * rows).astype(int), rows - 1)
        np.add.at(counts, (found.group, y, x), 1)
    total = counts.sum(axis=0)
    opacity = np.where(total > 0, 70 + 185 * np.log1p(total) / np.log1p(max(total.max(), 1)), 0)
    image = np.dstack([np.array(_SHADES, dtype=np.uint8)[counts.argmax(axis=0)], opacity.astype(np.uint8)])
    file = io.BytesIO()
    Image.fromarray(image, "RGBA").resize((columns * _CELL, rows * _CELL), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def _sent(body: bytes, kind: str) -> Response:
    response = Response(body, mimetype=kind)
    response.set_etag(hashlib.blake2b(body, digest_size=12).hexdigest())
    response.make_conditional(request)
    return response
