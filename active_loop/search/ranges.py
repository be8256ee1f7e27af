"""Parameters that a search may vary: between which values, and how a variation is called.

A variation's name holds its values, so that a model is made again from its name alone: "logistic(C=3.2)".
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from ..errors import ConfigError

_DIGITS: Final = 3
"""Digits of a drawn number: more of them tell no two models apart."""


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers from `low` to `high`, both included; with `log` every power of ten is as likely as any other.

    Raises `ConfigError` for ends that are no such range.
    """

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high or (self.log and self.low <= 0):
            above = "; with log=True both are above 0" if self.log else ""
            raise ConfigError(f"Between({self.low:g}, {self.high:g}) is no range: the first is the lower end{above}.")

    def drawn(self, rng: np.random.Generator) -> float | int:
        """One of them at random."""
        if self.log:
            return self.kept(float(np.exp(rng.uniform(np.log(self.low), np.log(self.high)))))
        return self.kept(float(rng.uniform(self.low, self.high)))

    def kept(self, value: float) -> float | int:
        """The value as it is used and named: a few digits of it, and never beyond the ends."""
        near = min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)
        return round(near) if self.whole else near


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these values, all as likely. Raises `ConfigError` if there is none."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("OneOf(()) is no range: give at least one value.")

    def drawn(self, rng: np.random.Generator) -> Any:
        """One of them at random."""
        return self.values[int(rng.integers(len(self.values)))]


Range: TypeAlias = Between | OneOf


def short(path: str) -> str:
    """A parameter as it is called in a name: without the steps of the pipeline that it lies in.

    >>> short("logisticregression__C")
    'C'
    """
    return path.rpartition("__")[2]


def called(family: str, values: Mapping[str, Any]) -> str:
    """The name of a variation.

    >>> called("network", {"mlpclassifier__hidden_layer_sizes": (64, 32), "mlpclassifier__alpha": 0.1})
    'network(hidden_layer_sizes=(64, 32), alpha=0.1)'
    """
    return f"{family}({', '.join(f'{short(path)}={value!r}' for path, value in values.items())})"


def read(name: str) -> Mapping[str, Any]:
    """The values in a variation's name, by their short names; empty for a name that is none of a variation.

    >>> read("network(hidden_layer_sizes=(64, 32), alpha=0.1)")
    {'hidden_layer_sizes': (64, 32), 'alpha': 0.1}
    >>> read("svm"), read("network(64-32)")
    ({}, {})
    """
    _, bracket, inside = name.partition("(")
    try:
        call = ast.parse(f"f({inside}", mode="eval").body
        if bracket and isinstance(call, ast.Call) and not call.args:
            return {part.arg: ast.literal_eval(part.value) for part in call.keywords if part.arg}
    except (SyntaxError, ValueError):
        pass
    return {}
