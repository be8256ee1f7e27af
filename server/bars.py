"""Counts as bars: places of rectangles and of the words below them, for a template to write as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .chart import Tick

_WIDTH, _HEIGHT, _TOP, _BOTTOM, _SIDE = 360.0, 130.0, 18.0, 22.0, 4.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One count: where it stands, how high, and what it says to whoever points at it."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A drawing of `width` × `height` units on a line at `bottom`; `most` stands above the highest bar."""

    width: float
    height: float
    bottom: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    most: Tick
    title: str


def draw(
    counts: Sequence[int], texts: Sequence[str], ticks: Sequence[tuple[float, str]], title: str, fewest: int = 1
) -> Bars:
    """Bars of these counts, at least one, side by side; each says its text.

    `ticks` are words below the line, at places that count bars from the left: 0 is where the first begins. Room is left
    for `fewest` bars, so that few of them do not look like walls.
    """
    step = (_WIDTH - 2 * _SIDE) / max(len(counts), fewest)
    gap, bottom, most = min(3.0, step / 5), _HEIGHT - _BOTTOM, max(1, *counts, 1)
    high = [round((bottom - _TOP) * count / most, 1) for count in counts]
    bars = tuple(
        Bar(round(_SIDE + place * step + gap / 2, 1), round(bottom - tall, 1), round(step - gap, 1), tall, text)
        for place, (tall, text) in enumerate(zip(high, texts, strict=True))
    )
    top = bars[max(range(len(counts)), key=counts.__getitem__)]
    return Bars(
        width=_WIDTH,
        height=_HEIGHT,
        bottom=bottom,
        bars=bars,
        ticks=tuple(Tick(round(_SIDE + place * step, 1), text) for place, text in ticks),
        most=Tick(min(max(round(top.x + top.width / 2, 1), 14.0), _WIDTH - 14.0), f"{max(counts)}"),
        title=title,
    )
