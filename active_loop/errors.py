"""Everything that can go wrong, as one tree.

Each message says what could not be done, which thing (with names and both numbers), and what to do.
Each leaf has an exit code of its own for the command line::

    ActiveLoopError
    ├── ConfigError          2   loop.toml, a flag or a name is wrong
    ├── DataError            5   a file, a column, an item or an answer cannot be used
    ├── TrainingError        6   a model cannot be fitted or asked
    ├── LabelingError        4   the place where people label cannot be reached or refuses
    │   └── TokenError       7   it answers, and refuses our token
    ├── TrackingError       11   the MLflow server cannot be reached or refuses
    └── FolderError          8   the loop folder cannot be used
        ├── FolderBusyError       9   another process is writing it
        └── NewerFolderError    10   a newer version of active-loop wrote it

Exit code 3 is not an error: the loop stopped without the wanted verdict. 130 means paused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ActiveLoopError(Exception):
    """Anything that active-loop itself reports: one clear sentence and an exit code."""

    exit_code = 1


class ConfigError(ActiveLoopError):
    """A setting, a flag or a component's name is wrong."""

    exit_code = 2


class LabelingError(ActiveLoopError):
    """The labelling place cannot be reached, or refuses what was asked of it."""

    exit_code = 4


class TokenError(LabelingError):
    """The labelling place answers, and refuses our token."""

    exit_code = 7


class TrackingError(ActiveLoopError):
    """The MLflow server cannot be reached, or refuses what was asked of it."""

    exit_code = 11


class DataError(ActiveLoopError):
    """A file, a column, an item or an answer cannot be used."""

    exit_code = 5


class TrainingError(ActiveLoopError):
    """A model cannot be fitted, or cannot be asked for predictions."""

    exit_code = 6


class FolderError(ActiveLoopError):
    """The loop folder cannot be used."""

    exit_code = 8


class FolderBusyError(FolderError):
    """Another process is writing this loop folder."""

    exit_code = 9


class NewerFolderError(FolderError):
    """A newer version of active-loop wrote this loop folder."""

    exit_code = 10


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence for a wrong name: the closest right one, then all of them.

    >>> unknown_name("strategy", "margn", ["margin", "random"])
    'unknown strategy "margn"; did you mean "margin"? Known: margin, random.'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f'; did you mean "{close[0]}"? Known' if close else "; known"
    return f'unknown {kind} "{name}"{hint}: {", ".join(names)}.'
