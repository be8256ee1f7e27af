"""What people type at the questions of `init`: put, read, and put again where it cannot be used.

How a question reaches a person is the caller's business.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .errors import ConfigError, DataError
from .tasks import normalise

Ask = Callable[[str, str], str]
"""Puts a question to a person: the question and its default ("" for none) → what was typed, or the default."""

Say = Callable[[str], None]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Questions:
    """Asks what was not given, until the answer can be used; without anybody to ask, the default is the answer."""

    ask: Ask | None
    say: Say

    def answered(self, question: str, default: str, read: Callable[[str], _T], flag: str) -> _T:
        """What `read` makes of the answer; a `ConfigError` with `flag` if there is neither a person nor a default."""
        if self.ask is None:
            if not default:
                raise ConfigError(f"{question}: nothing to go by; {flag}")
            return read(default)
        while True:
            try:
                return read(self.ask(question, default))
            except (ConfigError, DataError) as problem:
                self.say(f"   {problem}")


def split(text: str) -> list[str]:
    """Names with commas between them; one that holds a comma stands in double quotes.

    >>> split('yes, no,"yes, but"')
    ['yes', 'no', 'yes, but']
    """
    found = next(csv.reader([text], skipinitialspace=True), [])
    return [normalise(name) for name in found if name.strip()]


def listed(names: Sequence[str]) -> str:
    """The text that `split` takes apart."""
    return ", ".join(f'"{name}"' if "," in name else name for name in names)


def shortened(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def yes(text: str) -> bool:
    """Whether yes was said; `ConfigError` for what is neither yes nor no."""
    said = text.strip().lower()
    if said not in ("y", "yes", "n", "no"):
        raise ConfigError(f'"{text}" is neither yes nor no.')
    return said in ("y", "yes")


def text_of(text: str) -> str:
    """What was typed, without spaces around it."""
    return text.strip()


def whole(text: str) -> int:
    """A whole number, with or without commas between its thousands; `ConfigError` for what is none."""
    return number(text.replace(",", ""), int)


def number(text: str, kind: Callable[[str], _T]) -> _T:
    """A number of this kind; `ConfigError` for what is none."""
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f'"{text}" is no number.') from error
