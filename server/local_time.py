"""Times as people read them: in the time zone in which the loop counts its days of labelling."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

from active_loop.settings import Settings, time_zone


def moment(at: datetime, zone: tzinfo) -> str:
    """A time to the minute, with the name of its zone.

    >>> moment(datetime(2026, 3, 1, 9, 30, tzinfo=UTC), UTC)
    '2026-03-01 09:30 UTC'
    """
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def exact(at: datetime) -> str:
    """The same for machines: UTC to the second, as `<time datetime>` wants it.

    >>> exact(datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
    '2026-03-01T09:30:00Z'
    """
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def naming(settings: Settings) -> dict[str, Any]:
    """What the template of a page needs to say which loop it is about, and when something was."""
    return {"name": settings.name, "zone": time_zone(settings.budget), "moment": moment, "exact": exact}
