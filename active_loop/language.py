"""What people read, in their language: English in the code, other languages in catalogues beside it.

A sentence is looked up as it stands in the code, with its named places still open, and filled in afterwards: a
translation may order them as its grammar wants. What a catalogue lacks is said in English.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Final

LANGUAGES: Final = {"en": "English", "ko": "한국어"}
"""The languages there are, each by its own name."""

_FOLDER: Final = Path(__file__).parent / "locale"

_SPOKEN: ContextVar[str] = ContextVar("language", default="en")


def say(sentence: str, /, **values: object) -> str:
    """The sentence in the language spoken now, with `{name}` filled in from `values`.

    >>> say("{n} of {budget} answers", n=3, budget=400)
    '3 of 400 answers'
    """
    return _catalogue(_SPOKEN.get()).gettext(sentence).format(**values)


def say_n(one: str, many: str, n: int, /, **values: object) -> str:
    """`one` or `many`, as the language spoken now wants it for `n` things; `{n}` is filled in too.

    >>> [say_n("{n} task waits", "{n} tasks wait", n) for n in (1, 2)]
    ['1 task waits', '2 tasks wait']
    """
    return _catalogue(_SPOKEN.get()).ngettext(one, many, n).format(n=n, **values)


def spoken() -> str:
    """The language spoken now, here: "en" unless somebody said otherwise."""
    return _SPOKEN.get()


def speak(language: str) -> None:
    """Speak a language of `LANGUAGES` from now on, in this thread; English for one that there is not."""
    _SPOKEN.set(language if language in LANGUAGES else "en")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language of `LANGUAGES` inside; English for one that there is not."""
    before = _SPOKEN.set(language if language in LANGUAGES else "en")
    try:
        yield
    finally:
        _SPOKEN.reset(before)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("active_loop", _FOLDER, [language], fallback=True)
