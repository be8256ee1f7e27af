"""Writes docs/settings.md from the settings' own documentation; with --check only says whether it is up to date."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from active_loop.config import to_toml_value
from active_loop.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

HEAD = """\
# Settings

Every key of `loop.toml`, with its default. A key that the file leaves out has its default; an unknown key, a wrong
type or an unknown name is refused, with its line, before anything is done. `active-loop init` writes a file with
every key in it.

This page is made by `python scripts/settings_page.py` from `active_loop/settings.py`: change the text there.
"""


def page() -> str:
    """The whole page, as Markdown."""
    settings = Settings()
    sections = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    parts = [HEAD, "## Above the first section\n", _table(settings)]
    for name, section in sections.items():
        if dataclasses.is_dataclass(section):
            parts += [f"## [{name}]\n", f"{type(section).__doc__}\n", _table(section)]
    return "\n".join(parts)


def _table(section: Any) -> str:
    """One row for each key of `section`; sections below it are left out."""
    rows = ["| key | default | what it is |", "| --- | --- | --- |"]
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if not dataclasses.is_dataclass(value):
            rows.append(f"| `{field.name}` | `{to_toml_value(value)}` | {field.metadata['doc']} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/settings.md is out of date: run `python scripts/settings_page.py` and commit the page.")


if __name__ == "__main__":
    main()
