"""Writes docs/commands.md from the commands' own documentation; with --check only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from active_loop.cli import main as commands

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

HEAD = """\
# Commands

`FOLDER` is the loop's folder, the one with `loop.toml` in it; without it the current folder is meant. With `--json`
standard output is exactly one JSON object, and everything else goes to standard error. An error is one sentence on
standard error.

This page is made by `python scripts/commands_page.py` from `active_loop/cli.py`: change the text there.
"""


def page() -> str:
    """The whole page, as Markdown."""
    context = click.Context(commands, info_name="active-loop")
    parts = [HEAD, *(_command(name, command, context) for name, command in commands.commands.items())]
    return "\n".join([*parts, _exit_codes()])


def _command(name: str, command: click.Command, parent: click.Context) -> str:
    """Usage, help and options of one command."""
    context = click.Context(command, info_name=name, parent=parent)
    lines = [f"## {name}\n", f"`{command.get_usage(context).removeprefix('Usage: ')}`\n", f"{command.help}\n"]
    options = [option for option in command.params if isinstance(option, click.Option)]
    rows = [record for option in options if (record := option.get_help_record(context))]
    if rows:
        lines += ["| option | what it does |", "| --- | --- |"]
        lines += [f"| `{option.replace('|', chr(92) + '|')}` | {' '.join(text.split())} |" for option, text in rows]
    return "\n".join(lines) + "\n"


def _exit_codes() -> str:
    """The codes as the command line itself lists them, one a row."""
    codes = str(commands.epilog).removeprefix("Exit codes: ").removesuffix(".").split(", ")
    rows = [f"| {code.partition(' ')[0]} | {code.partition(' ')[2]} |" for code in codes]
    return "\n".join(["## Exit codes\n", "| code | what it says |", "| --- | --- |", *rows]) + "\n"


def main() -> None:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/commands.md is out of date: run `python scripts/commands_page.py` and commit the page.")


if __name__ == "__main__":
    main()
