"""The tasks of a project as they are now, page by page, with nothing hidden by what changes meanwhile.

Label Studio counts pages anew at every call, so a deletion or an answer between two pages moves tasks across their
border. Each listing here goes on from the last task seen instead of from a page's number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .connection import Connection, MissingError
from .page import ASK

TICK: Final = timedelta(microseconds=1)
"""The smallest step between two times of Label Studio's."""

START: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""A time before anything happened."""

_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Listing:
    """What can be asked about the tasks of one project; tasks come as the SDK has them, with their annotations."""

    server: Connection
    project: int

    def everything(self) -> Iterator[Any]:
        """All tasks, by id."""
        return self._by_id([])

    def standing_for(self, asks: Sequence[str]) -> Iterator[Any]:
        """The tasks of some asks, by id; a hundred asks at most, because they stand in the address."""
        among = {"filter": f"filter:tasks:data.{ASK}", "operator": "in_list", "type": "List", "value": list(asks)}
        return self._by_id([among])

    def _by_id(self, filters: list[dict[str, Any]]) -> Iterator[Any]:
        """Tasks by id; the next page starts after the last id, so that a deletion meanwhile hides nothing."""
        after = 0
        while True:
            beyond = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            tasks = self._page([*filters, beyond], "tasks:id", 1, _PAGE)
            yield from tasks
            if len(tasks) < _PAGE:
                return
            after = int(tasks[-1].id)

    def changed_after(self, since: datetime) -> Iterator[Any]:
        """Tasks changed after `since`, oldest change first.

        A task that changes meanwhile moves to the end, so the next page starts at the last change seen; only
        where a whole page shares one time are pages counted.
        """
        page = 1
        while True:
            tasks = self._page([_changed_after(since)], "tasks:updated_at", page, _PAGE)
            yield from tasks
            if len(tasks) < _PAGE:
                return
            last = moment(tasks[-1].updated_at) - TICK
            since, page = (last, 1) if last > since else (since, page + 1)

    def newest_change(self) -> datetime:
        """When a task changed last; `START` where there is none."""
        newest = self._page([], "-tasks:updated_at", 1, 1)
        return moment(newest[0].updated_at) if newest else START

    def _page(self, filters: list[dict[str, Any]], order: str, page: int, size: int) -> list[Any]:
        """One page of tasks with their annotations; a page past the end (404) is empty."""
        query = json.dumps({"filters": {"conjunction": "and", "items": filters}, "ordering": [order]})
        doing = f"list the tasks of project {self.project}"
        try:
            reply = self.server.read(
                doing,
                lambda sdk: sdk.tasks.list(project=self.project, page=page, page_size=size, query=query),
            )
        except MissingError as error:
            if page > 1 and "Invalid page" in str(error):
                return []
            raise
        return list(reply.items or [])


def _changed_after(since: datetime) -> dict[str, Any]:
    # Label Studio fails (500) on any other form of a time than this one.
    value = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": value}


def moment(value: object) -> datetime:
    """A point in time of Label Studio's as an aware one in UTC."""
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
