"""Somebody's own class, by the name `module:Class`.

Strategies, models and feature extractors of the user's are named in the settings and imported only here, so that a
name that is wrong, or a module that is broken, is refused in the same words wherever it is met: when the settings
are read, in a script, or in the process where a round is computed. What a class must be able to do is the business
of whoever asked for it; where modules are looked for is that of whoever started the program.
"""

from __future__ import annotations

import importlib
from typing import Any

from .errors import ActiveLoopError, ConfigError, unknown_name


def load(name: str, *, place: str = "a folder that Python imports from") -> Any:
    """The class (or function) that `module:Class` names.

    Raises `ConfigError` when the module cannot be imported, whatever goes wrong in it, or has no such class; the
    message says which ones it has, and that a missing module may be put into `place`.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f'cannot import "{module_name}" for "{name}": {type(error).__name__}: {error}; '
            f"mend it, install the package it belongs to, or put {module_name.partition('.')[0]}.py into {place}."
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f'in "{name}": {unknown_name("class", attribute, known)}')
    return found


def make(name: str) -> Any:
    """What `load` finds, made without arguments; raises `ConfigError` as it does, and if that is not possible.

    An error of this project's that the class raises itself is passed on as it is.
    """
    found = load(name)
    try:
        return found()
    except ActiveLoopError:
        raise
    except Exception as error:
        raise ConfigError(f'"{name}" cannot be made: {type(error).__name__}: {error}.') from error
