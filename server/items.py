"""The pages of answered items: a list of them, one of them with all that was said of it, and its picture.

What an item holds is read from the data it came from, by its own row: no address names a file. Only what somebody has
answered is there at all, so that nobody learns what is asked, or tested, next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, abort, render_template, request, send_file

from active_loop.answered import Answered, Case, Choice, Waiting, case, listing, waiting
from active_loop.changes import current_settings
from active_loop.domain import COLD_START, Item
from active_loop.errors import ActiveLoopError
from active_loop.language import say, say_n
from active_loop.records import Source
from active_loop.store import Store

from . import local_time, visit, words
from .reading import Reading
from .words import Fact

_GLANCE: Final = 140
"""Letters of an item in a list."""

PICTURES: Final = {
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


def pages(reading: Reading, source: Callable[[], Source] | None) -> Blueprint:
    """The three kinds of page. Without a `source` items are listed by their names alone."""
    items = Blueprint("items", __name__, url_prefix="/items")

    def contents(shown: Sequence[Answered]) -> dict[int, Content]:
        return contents_of(source, shown)

    def list_page() -> str:
        with closing(reading.open_store()) as store:
            found = listing(store, request.args.get("page", 1, int), visit.language())
            settings = current_settings(store)
        if found is None:
            abort(404)
        facts = _facts(reading.of(waiting), reading.now())
        return render_template(
            "items.html", found=found, contents=contents(found.items), facts=facts, **local_time.naming(settings)
        )

    def item(position: int) -> str:
        found, settings = _case(reading.open_store, position)
        what = contents([found.item, *(near for near, _ in found.near)])
        facts = _chosen(found.choice) if found.choice else []
        return render_template("item.html", case=found, contents=what, facts=facts, **local_time.naming(settings))

    def picture(position: int) -> Response:
        found, _ = _case(reading.open_store, position)
        path = contents([found.item])[position].picture
        if path is None or not path.is_file():
            abort(404)
        return send_file(path.resolve(), mimetype=PICTURES[path.suffix.lower()], conditional=True)

    items.add_url_rule("", endpoint="listing", view_func=list_page)
    items.add_url_rule("/<int:position>", endpoint="item", view_func=item)
    items.add_url_rule("/<int:position>/picture", endpoint="picture", view_func=picture)
    return items


def _case(open_store: Callable[[], Store], position: int) -> tuple[Case, Any]:
    """The answered item and the settings; an item that nobody answered is no address here, whatever it is."""
    with closing(open_store()) as store:
        found, settings = case(store, position, visit.language()), current_settings(store)
    if found is None:
        abort(404)
    return found, settings


def _facts(found: Waiting, now: datetime) -> list[Fact]:
    """What is open, and what came back without a label, as figures; of what there is none nothing is said."""
    oldest = say("the oldest for {time}", time=words.age(found.since, now)) if found.since else ""
    settle = _unsettled(found.unsettled, adjudicated=bool(found.adjudicators))
    unlabelled = (
        Fact(say("Skipped"), str(found.skipped)),
        Fact(say("Unsure"), str(found.unsure)),
        Fact(say("Broken"), str(found.broken)),
        Fact(say("Disputed"), str(found.disputed), settle),
    )
    return [Fact(say("Open tasks"), str(found.open_asks), oldest), *(fact for fact in unlabelled if fact.value != "0")]


def _unsettled(n: int, *, adjudicated: bool) -> str:
    """How many differences wait, and for whom; empty for none."""
    if not n:
        return ""
    if adjudicated:
        return say_n("{n} waits for an adjudicator", "{n} wait for an adjudicator", n)
    return say_n("{n} waits for somebody else's answer", "{n} wait for somebody else's answer", n)


def _chosen(choice: Choice) -> list[Fact]:
    """How an item was chosen, as figures."""
    facts = [Fact(say("Strategy"), choice.strategy)]
    if choice.round is not None:
        before = say("before the first model") if choice.round == COLD_START else ""
        facts.append(Fact(say("Round"), "–" if before else str(choice.round), before))
    if choice.rank is not None:
        facts.append(Fact(say("Place on the list"), str(choice.rank)))
    if choice.utility is not None:
        facts.append(Fact(say("Utility"), f"{choice.utility:.3g}", say("in the strategy's own unit")))
    if choice.likely:
        said = " · ".join(f"{name} {chance}".strip() for name, chance in choice.likely)
        facts.append(Fact(say("The model's likeliest answers"), said))
    return facts


def contents_of(source: Callable[[], Source] | None, shown: Sequence[Answered | Item]) -> dict[int, Content]:
    """What each of these items holds, by position; the reason in its place if the data cannot be read."""
    if source is None or not shown:
        return {each.position: Content(missing=each.id) for each in shown}
    try:
        fields = source().shown([each.row for each in shown])
    except ActiveLoopError as error:
        return {each.position: Content(missing=str(error)) for each in shown}
    return {each.position: content_of(values) for each, values in zip(shown, fields, strict=True)}


def content_of(values: Mapping[str, Any]) -> Content:
    picture = values.get("image")
    if isinstance(picture, Path):
        if picture.suffix.lower() in PICTURES:
            return Content(picture=picture)
        return Content(missing=say("{name} is no picture that can be shown", name=picture.name))
    row = values.get("row")
    fields = row if isinstance(row, Mapping) else values
    return Content(tuple((name, str(value)) for name, value in fields.items()))
