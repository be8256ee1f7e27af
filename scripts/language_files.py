"""Gathers the sentences that people read into the catalogue of each language, and compiles it for gettext.

Sentences that are new stand in the .po file without a translation afterwards: write them there, and run this again.
With --check nothing is written; it says which sentences lack a translation, and whether a compiled file is out of date.
"""

from __future__ import annotations

import ast
import gettext
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT: Final = Path(__file__).resolve().parent.parent
LOCALE: Final = ROOT / "active_loop" / "locale"

LANGUAGES: Final = ("ko",)
"""The languages besides English, which stands in the code."""

_KEYWORDS: Final = {"say": (1,), "say_n": (1, 2), "Measure": (1,)}
"""Calls that hold sentences, and at which places: the words of a `Measure` are said where a metric is shown."""


def _said_in(file: BinaryIO, *_: object, **__: object) -> Iterator[tuple[int, str, tuple[Any, ...], list[str]]]:
    """The calls of `_KEYWORDS` in a Python file, for Babel, whose own reader sees none inside an f-string."""
    calls = [node for node in ast.walk(ast.parse(file.read())) if isinstance(node, ast.Call)]
    for node in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        if isinstance(node.func, ast.Name) and node.func.id in _KEYWORDS:
            literals = tuple(each.value if isinstance(each, ast.Constant) else None for each in node.args)
            yield node.lineno, node.func.id, literals, []


_METHODS: Final[list[tuple[str, Any]]] = [
    ("init.py", "ignore"),  # whose `say` is a command's own
    ("attach.py", "ignore"),
    ("**.py", _said_in),
    ("templates/**.html", "jinja2"),
    ("templates/**.svg", "jinja2"),
]


def extracted(**about: Any) -> Catalog:
    """All sentences of the code and the templates, each with the files it stands in."""
    found = Catalog(**about)
    for folder in ("active_loop", "server"):
        messages = extract_from_dir(ROOT / folder, _METHODS, {"**.html": {"silent": "false"}}, _KEYWORDS)
        for file, _, sentence, _, _ in messages:
            found.add(sentence, locations=[(f"{folder}/{Path(file).as_posix()}", 0)])
    return found


def written(language: str) -> Catalog:
    """The catalogue of a language as its .po file has it; empty where there is none."""
    file = _file(language, "po")
    if not file.is_file():
        return Catalog(language, project="active-loop")
    with file.open("rb") as opened:
        return read_po(opened, language)


def update(language: str) -> None:
    """Bring the .po file up to date, and compile it."""
    known = written(language)
    known.update(extracted(creation_date=known.creation_date), no_fuzzy_matching=True)
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, known, width=120, ignore_obsolete=True, sort_by_file=True, include_lineno=False)
    write_mo(mo, known)
    _file(language, "po").parent.mkdir(parents=True, exist_ok=True)
    _file(language, "po").write_bytes(po.getvalue())
    _file(language, "mo").write_bytes(mo.getvalue())


def problems(language: str) -> list[str]:
    """What is wrong with the catalogue of a language, a line each."""
    known, wanted = written(language), extracted()
    missing = [message for message in wanted if message.id and not _is_said(known.get(message.id))]
    idle = [message for message in known if message.id and wanted.get(message.id) is None]
    found = [f"{language}: “{_first(message)}” has no translation" for message in missing]
    found += [f"{language}: “{_first(message)}” is said nowhere any more" for message in idle]
    return found or ([] if _is_compiled(language, known) else [f"{language}: the compiled file is out of date"])


def _is_said(message: Message | None) -> bool:
    """Whether there is a translation that counts."""
    if message is None or message.fuzzy:
        return False
    return all(message.string) if isinstance(message.string, tuple) else bool(message.string)


def _first(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _is_compiled(language: str, known: Catalog) -> bool:
    """Whether gettext finds every translation of the catalogue in the compiled file."""
    try:
        compiled = gettext.translation("active_loop", LOCALE, [language])
    except FileNotFoundError:
        return False
    for message in known:
        if isinstance(message.id, str):
            same = not message.id or compiled.gettext(message.id) == message.string
        else:
            same = (compiled.ngettext(message.id[0], message.id[1], 1),) == message.string
        if not same:
            return False
    return True


def _file(language: str, kind: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / f"active_loop.{kind}"


def main() -> None:
    if "--check" in sys.argv[1:]:
        found = [problem for language in LANGUAGES for problem in problems(language)]
        if found:
            sys.exit("\n".join([*found, "Run `python scripts/language_files.py`, and write what is missing."]))
        return
    for language in LANGUAGES:
        update(language)


if __name__ == "__main__":
    main()
