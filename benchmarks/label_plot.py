"""Mean learning curves as a picture: plain SVG, one panel per set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 260, 46, 30, 56
COLOURS = ("#777777", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart by people who see colours differently (Okabe and Ito 2008), grey first."""

Lines = Mapping[str, tuple[Sequence[float], Any]]
"""A name → the labels, and the values in [0, 1] after so many of them."""


def svg(panels: Mapping[str, Lines]) -> str:
    """A panel for each set, side by side; a name has the same colour in all of them."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colour = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    parts = [
        _panel(title, lines, colour, LEFT + place * (WIDTH + GAP))
        for place, (title, lines) in enumerate(panels.items())
    ]
    width, height = len(panels) * (WIDTH + GAP) + LEFT, TOP + HEIGHT + 50
    style = 'font-family="sans-serif" font-size="12" fill="#333333"'
    frame = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{frame}{"".join(parts)}</svg>\n'


def _panel(title: str, lines: Lines, colour: Mapping[str, str], left: float) -> str:
    most = max(labels[-1] for labels, _ in lines.values())
    bottom = float(np.floor(10 * min(min(values) for _, values in lines.values())) / 10)

    def x(labels: float) -> float:
        return round(left + WIDTH * labels / most, 1)

    def y(value: float) -> float:
        return round(TOP + HEIGHT * (1 - value) / (1 - bottom), 1)

    parts = [f'<text x="{left + WIDTH / 2}" y="18" text-anchor="middle" font-weight="bold">{escape(title)}</text>']
    for value in np.arange(bottom, 1.001, 0.1):
        parts.append(f'<path d="M{left} {y(value)}h{WIDTH}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4}" text-anchor="end">{100 * value:.0f}</text>')
    for labels in np.linspace(0, most, 5):
        parts.append(f'<text x="{x(labels)}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{labels:.0f}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">labels</text>')
    for place, (name, (all_labels, values)) in enumerate(lines.items()):
        points = " ".join(f"{x(labels)},{y(value)}" for labels, value in zip(all_labels, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour[name]}" stroke-width="2"/>')
        height = TOP + HEIGHT - 12 - 16 * (len(lines) - 1 - place)
        parts.append(f'<text x="{left + WIDTH - 6}" y="{height}" text-anchor="end" fill="{colour[name]}">')
        parts.append(f"{escape(name)}</text>")
    return "".join(parts)
