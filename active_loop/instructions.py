"""What people are told before they start: as a page shows it, and which version of it an answer was given under.

A new text is a new version. Every version of the settings is in the store with its time, so nothing else has to be
kept: who answered before a text was changed answered under the one before.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_LISTED: Final = r"\s*(?:[-*•]|(\d+[.)]))\s+"
"""What begins a line of a list."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """One version of what people are told, numbered from 1, and when it came into force; "" tells nothing."""

    number: int
    text: str
    since: datetime

    @property
    def are_told(self) -> bool:
        """Whether people are, or were, told anything."""
        return bool(self.text) or self.number > 1


def versions(settings: Iterable[tuple[datetime, str]]) -> list[Instructions]:
    """The versions that all settings of a loop hold: (recorded at, JSON text), the oldest first.

    Settings that leave the text as it was make no version, and one that comes back is a new version.
    """
    found: list[Instructions] = []
    for at, body in settings:
        text = str(json.loads(body)["task"].get("instructions", ""))
        if not found or found[-1].text != text:
            found.append(Instructions(len(found) + 1, text, at))
    return found


def in_force(known: Sequence[Instructions], at: datetime | None) -> Instructions | None:
    """The newest version that was there at this time; None for a time before the first, or none."""
    return next((each for each in reversed(known) if at is not None and each.since <= at), None)


def as_html(text: str) -> str:
    """The text as HTML: its lines, headings, lists and **bold** look as they were meant, all else as it was written.

    A text that begins with a tag is HTML already. There are no lists and paragraphs in what is made, only lines and
    marks: Label Studio shows the former without their marks and margins.

    >>> as_html("# Cats\\n- of any\\n  colour\\n\\n1 < 2")
    '<b>Cats</b><br>• of any colour<br><br>1 &lt; 2'
    """
    if text.lstrip().startswith("<"):
        return text
    unwrapped = re.sub(rf"(?<=\S)\n[ \t]+(?!{_LISTED})(?=\S)", " ", text.strip())
    return "<br>".join(map(_line, unwrapped.splitlines()))


def _line(line: str) -> str:
    shown = html.escape(re.sub(rf"^{_LISTED}", lambda mark: f"{mark[1] or '•'} ", line, count=1), quote=False).strip()
    shown = re.sub(r"^#{1,6}\s+(.*)", r"<b>\1</b>", shown)
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", shown)
