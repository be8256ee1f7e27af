"""Scores in one pass over the rows, compiled by numba where it is installed.

numpy needs a pass over a strip for every class and every step; compiled, a row is read once and its utility written
once. That is three to five times as fast for least confidence, margin and votes, which are here whole. For the others
only the strips are filled here, or their mean, and checked in the same pass: numpy's logarithms are the fastest there
are. All do the same operations on the same numbers as the strips do, so the answer is the same with and without numba.
Compiling takes a second, once per machine: small pools never ask for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from query_strategies.strips import SUM_TOLERANCE

Floats: TypeAlias = NDArray[np.floating[Any]]
Fused: TypeAlias = Callable[[Floats], NDArray[Any] | None]
"""Predictions (members, rows, C) → what a kernel makes of them (..., rows); None if a row is no probabilities, or if
this form does not fit them."""

NUMBERS = 2**22
"""Numbers that a pool's predictions must hold at least for a fused form to be worth its start."""

LOW, HIGH = 1 - SUM_TOLERANCE, 1 + SUM_TOLERANCE


def least_confidence(predictions: Floats) -> NDArray[Any] | None:
    """(rows,) 1 - p₁ of the probabilities of one model."""
    return _of_one(_least_confidence, predictions)


def margin(predictions: Floats) -> NDArray[Any] | None:
    """(rows,) 1 - (p₁ - p₂) of the probabilities of one model."""
    return _of_one(_margin, predictions)


def votes(predictions: Floats) -> NDArray[Any] | None:
    """(members, rows) the code of each member's likeliest class, the first of equal ones."""
    if not _fits(predictions) or predictions.shape[2] > 256:
        return None
    codes = np.empty(predictions.shape[:2], dtype=np.uint8)
    return codes if _compiled(_votes)(predictions, codes) else None


def filled(strips: Floats, predictions: Floats) -> bool:
    """What `strips.filled` does, reading every number once; False, too, for a single row."""
    return predictions.shape[1] == strips.shape[2] and bool(_compiled(_filled)(strips, predictions))


def averaged(strips: Floats, predictions: Floats) -> bool:
    """As `filled`, with the mean of the members in strips (1, C, rows)."""
    if predictions.shape[1] != strips.shape[2]:
        return False
    sound = bool(_compiled(_added)(strips[0], predictions))
    strips /= len(predictions)
    return sound


def _of_one(function: Callable[..., bool], predictions: Floats) -> NDArray[Any] | None:
    if len(predictions) != 1 or not _fits(predictions):
        return None
    utilities = np.empty(predictions.shape[1])
    return utilities if _compiled(function)(predictions[0], utilities) else None


def _fits(predictions: Floats) -> bool:
    return predictions.dtype == np.float64 and is_there()


@cache
def is_there() -> bool:
    """Whether numba is installed and can be loaded; a broken one is none."""
    try:
        importlib.import_module("numba")
    except Exception:  # noqa: BLE001 - it loads much that is not its own, even files of the user
        return False
    return True


@cache
def _compiled(function: Callable[..., bool]) -> Callable[..., bool]:
    import numba

    try:
        compiled: Callable[..., bool] = numba.njit(cache=True)(function)
    except RuntimeError:  # there is no place where compiled code could be kept
        compiled = numba.njit(function)
    return compiled


def _least_confidence(proba: Any, utilities: Any) -> bool:
    sound = True
    for row in range(proba.shape[0]):
        first = total = lowest = proba[row, 0]
        for column in range(1, proba.shape[1]):
            value = proba[row, column]
            total += value
            lowest = value if value < lowest else lowest
            first = value if value > first else first
        utility = 1.0 - first
        utilities[row] = utility if utility > 0 else 0.0
        sound &= (total >= LOW) & (total <= HIGH) & (lowest >= 0)
    return sound


def _margin(proba: Any, utilities: Any) -> bool:
    sound = True
    for row in range(proba.shape[0]):
        first = total = lowest = proba[row, 0]
        second = 0.0
        for column in range(1, proba.shape[1]):
            value = proba[row, column]
            total += value
            lowest = value if value < lowest else lowest
            loser = value if value < first else first
            second = loser if loser > second else second
            first = value if value > first else first
        utility = 1.0 - (first - second)
        utilities[row] = utility if utility > 0 else 0.0
        sound &= (total >= LOW) & (total <= HIGH) & (lowest >= 0)
    return sound


def _votes(predictions: Any, codes: Any) -> bool:
    sound = True
    for member in range(predictions.shape[0]):
        for row in range(predictions.shape[1]):
            first = total = lowest = predictions[member, row, 0]
            code = 0
            for column in range(1, predictions.shape[2]):
                value = predictions[member, row, column]
                total += value
                lowest = value if value < lowest else lowest
                code = column if value > first else code
                first = value if value > first else first
            codes[member, row] = code
            sound &= (total >= LOW) & (total <= HIGH) & (lowest >= 0)
    return sound


def _filled(strips: Any, predictions: Any) -> bool:
    sound = True
    for row in range(predictions.shape[1]):
        for member in range(predictions.shape[0]):
            total = lowest = 0.0
            for column in range(predictions.shape[2]):
                value = predictions[member, row, column]
                total += value
                lowest = value if value < lowest else lowest
                strips[member, column, row] = value
            sound &= (total >= LOW) & (total <= HIGH) & (lowest >= 0)
    return sound


def _added(strip: Any, predictions: Any) -> bool:
    sound = True
    for row in range(predictions.shape[1]):
        for member in range(predictions.shape[0]):
            total = lowest = 0.0
            for column in range(predictions.shape[2]):
                value = predictions[member, row, column]
                total += value
                lowest = value if value < lowest else lowest
                strip[column, row] = strip[column, row] + value if member else value
            sound &= (total >= LOW) & (total <= HIGH) & (lowest >= 0)
    return sound
