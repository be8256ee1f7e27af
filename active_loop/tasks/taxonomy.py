"""One class per item, out of a tree: people open branches and choose a leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..domain import Answer
from ..errors import ConfigError
from ..language import say
from .choice import SingleChoice
from .reading import invalid, normalise

BELOW: Final = " > "
"""What stands in a class between a branch and what is below it."""


def path_of(name: str) -> list[str]:
    """The branches above a leaf, from the root, and the leaf itself.

    >>> path_of("animal > cat")
    ['animal', 'cat']
    """
    return name.split(BELOW)


@dataclass(frozen=True, slots=True)
class Taxonomy(SingleChoice):
    """Exactly one leaf of a tree. Each class is the path to a leaf, and is learned as the class of a choice is.

    Raises `ConfigError` as `SingleChoice` does, for a part of a path that is blank or has white space around it, for a
    leaf that is a branch as well, and where no path has a branch.

    >>> task = Taxonomy(("animal > cat", "animal > dog", "plant > oak"))
    >>> task.read("animal > cat").label
    'animal > cat'
    >>> task.read("animal").problem
    '"animal" is a branch and no leaf: choose one of cat, dog below it'
    """

    _branches: Mapping[str, Sequence[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        SingleChoice.__post_init__(self)
        below: dict[str, dict[str, None]] = {}
        for name in self.classes:
            path = path_of(name)
            odd = next((part for part in path if not part or part != part.strip()), None)
            if odd is not None:
                raise ConfigError(f'task.classes: "{name}" has a part "{odd}"; write a path as "animal > cat".')
            for depth in range(1, len(path)):
                below.setdefault(normalise(BELOW.join(path[:depth])), {})[path[depth]] = None
        both = next((name for name in self.classes if normalise(name) in below), None)
        if both is not None:
            raise ConfigError(
                f'task.classes: "{both}" is a leaf and a branch; people choose leaves only: write "{both} > other".'
            )
        if not below and self.classes:
            raise ConfigError(
                'task.kind is taxonomy, and none of task.classes is below another; write paths as "animal > cat", or '
                'set task.kind to "choice".'
            )
        object.__setattr__(self, "_branches", {branch: tuple(parts) for branch, parts in below.items()})

    def _meaning(self, choice: str) -> Answer:
        if choice in self._branches:
            parts = ", ".join(self._branches[choice])
            return invalid(
                say('"{choice}" is a branch and no leaf: choose one of {parts} below it', choice=choice, parts=parts)
            )
        return SingleChoice._meaning(self, choice)
