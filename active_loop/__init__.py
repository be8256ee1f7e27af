"""active-loop: a model to a target metric with as few human labels as possible, and an honest stop.

The names below are loaded when they are first used, so that `import active_loop` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import ActiveLoopError as ActiveLoopError
    from .labeling import Oracle as Oracle
    from .labeling import Terminal as Terminal
    from .learner import ActiveLearner as ActiveLearner
    from .learner import Committee as Committee
    from .model import load_model as load_model
    from .script import Loop as Loop
    from .script import Result as Result
    from .script import Target as Target
    from .settings import Settings as Settings

_HOME = {
    "ActiveLearner": "learner",
    "ActiveLoopError": "errors",
    "Committee": "learner",
    "Loop": "script",
    "Oracle": "labeling",
    "Result": "script",
    "Settings": "settings",
    "Target": "script",
    "Terminal": "labeling",
    "load_model": "model",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
