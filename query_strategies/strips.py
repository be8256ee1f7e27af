"""Tables of probabilities as strips: one contiguous strip of rows per class, as many rows at a time as a cache holds.

numpy reduces short rows slowly, and long strips at the speed of memory. What is computed class by class is therefore
computed on strips, and so is the check that rows are probabilities: each number is read from memory once. Strips are
added from first to last, so that what comes out for a row is the same wherever the row stands. Nothing here knows of
pools or errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Kernel: TypeAlias = Callable[[Floats], NDArray[Any]]
"""(members, C, rows) strips, which it may write to → (..., rows)."""
Fill: TypeAlias = Callable[[Floats, Floats], bool]
"""(strips, predictions (members, rows, C)) → whether it filled them, with probabilities only; see `filled`."""

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from 1: float16 passes, logits do not."""

STRIP_NUMBERS = 60_000
"""Numbers worked on at a time: half a megabyte in float64, so that a second-level cache also holds their source."""

STRIP_ROWS = 256
"""Rows worked on at a time at least, however many classes and members there are."""


def filled(strips: Floats, predictions: Floats) -> bool:
    """Copy predictions (members, rows, C) into strips (members, C, rows); whether their rows are probabilities.

    A single row may fill several columns.
    """
    np.copyto(strips, predictions.transpose(0, 2, 1))
    return _add_up(strips)


def by_strips(
    kernel: Kernel,
    predictions: Floats,
    suspect: Callable[[slice], None] | None = None,
    fill: Fill = filled,
    depth: int | None = None,
) -> NDArray[Any]:
    """(..., n): what the kernel makes of predictions (members, n, C).

    With `suspect`, rows are looked at first: it is called with some rows where `fill` finds one that is no
    probabilities; if it does not raise, negative numbers become 0. `fill` writes strips for `depth` members, by default
    for all. A kernel always gets at least two rows (a single one twice), since numpy adds the classes of a single row
    in another order.
    """
    members, n, n_classes = predictions.shape
    step = _step(members * n_classes)
    strips = np.empty((depth or members, n_classes, 0), dtype=predictions.dtype)
    result = np.empty(0)
    # NaN and infinities show in the sums of their rows.
    with np.errstate(invalid="ignore"):
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            size = part.stop - start
            if strips.shape[2] != max(2, size):
                strips = np.empty((len(strips), n_classes, max(2, size)), dtype=predictions.dtype)
            if fill(strips, predictions[:, part]) or suspect is None:
                values = kernel(strips)
            else:
                suspect(part)
                values = kernel(_not_negative(predictions[:, part], strips.shape[2]))
            if start == 0:
                result = np.empty((*values.shape[:-1], n), dtype=values.dtype)
            result[..., part] = values[..., :size]
    return result


def _not_negative(predictions: Floats, columns: int) -> Floats:
    members, _, n_classes = predictions.shape
    strips = np.empty((members, n_classes, columns), dtype=predictions.dtype)
    np.maximum(predictions.transpose(0, 2, 1), 0, out=strips)
    return strips


def _step(numbers: int) -> int:
    """How many rows of so many numbers are worked on at a time.

    An odd number of cache lines: strips a power of two apart would share the few places of a first-level cache.
    """
    lines = max(STRIP_ROWS, STRIP_NUMBERS // numbers) // 8
    return 8 * (lines - 1 + lines % 2)


def _add_up(strips: Floats) -> bool:
    sums = np.add.reduce(strips, axis=1)
    low, high = np.minimum.reduce(sums, axis=None), np.maximum.reduce(sums, axis=None)
    return bool(low >= 1 - SUM_TOLERANCE and high <= 1 + SUM_TOLERANCE and np.minimum.reduce(strips, axis=None) >= 0)


def votes(strips: Floats) -> NDArray[np.unsignedinteger[Any]]:
    """(members, rows): the code of the likeliest class, the first of equal ones, in as few bytes as it needs."""
    n_classes = strips.shape[1]
    likeliest = strips == np.maximum.reduce(strips, axis=1)[:, None]
    # The first class has the highest rank.
    ranks = np.arange(n_classes, 0, -1, dtype=np.min_scalar_type(n_classes))
    codes: NDArray[np.unsignedinteger[Any]] = n_classes - np.maximum.reduce(
        likeliest.view(np.uint8) * ranks[:, None], axis=1
    )
    return codes
