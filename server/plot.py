"""Small drawings of figures: places of lines, bars and dots in a frame, for a template to write as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_loop.figures import Bin, Course, Fit, Numbers
from active_loop.language import say
from active_loop.report import CurvePoint

from .chart import Tick, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 12.0, 42.0

_LETTER, _BROAD, _RISE, _FALL = 6.6, 12.5, 14.0, 6.0
"""How wide letters are, those of Korean among them, and how far a line of them goes above and below where it stands."""

_APART = 16.0
"""How far apart names stand."""

_HEADROOM = 0.2
"""How much of the range of values stays free above it, for names."""

_DOTTED = 20
"""Points of a line up to which each has a dot."""

_Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Dot:
    """A place, how large its mark is, its words for whoever points at it, and the class of its look."""

    x: float
    y: float
    r: float
    text: str
    look: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line by the data of an SVG path, with the class of its look and, ending or starting at (x, y), its name."""

    path: str
    look: str
    name: str = ""
    x: float = 0.0
    y: float = 0.0
    anchor: str = "end"


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing of `width` × `height` units with two named axes."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    dots: tuple[Dot, ...]
    title: str


class _Frame:
    """From values to places: `x` and `y` go from one value to another, with round values on both axes; above that of y
    a share of its range may stay free."""

    def __init__(
        self, width: float, height: float, x: tuple[float, float], y: tuple[float, float], free: float = 0.0
    ) -> None:
        self.width, self.height = width, height
        self.right, self.bottom = width - _RIGHT, height - _BOTTOM
        self._x, self._y, self._top = x, y, y[1] + free * (y[1] - y[0])

    def x(self, value: float) -> float:
        low, high = self._x
        return round(_LEFT + (value - low) / (high - low) * (self.right - _LEFT), 1)

    def y(self, value: float) -> float:
        low, high = self._y[0], self._top
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - _TOP), 1)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + " L".join(f"{self.x(x)} {self.y(y)}" for x, y in points)

    def plot(self, names: tuple[str, str], lines: Sequence[Line], dots: Sequence[Dot], title: str) -> Plot:
        return Plot(
            *(self.width, self.height, _LEFT, self.right, _TOP, self.bottom),
            x_ticks=tuple(Tick(self.x(value), f"{value:g}") for value in ticks(*self._x, 5)),
            y_ticks=tuple(Tick(self.y(value), f"{value:g}") for value in ticks(*self._y, 5)),
            x_name=names[0],
            y_name=names[1],
            lines=tuple(lines),
            dots=tuple(dots),
            title=title,
        )


def reliability(bins: Sequence[Bin], width: float = 380, height: float = 300) -> Plot:
    """How often the model was right where it gave itself a chance, beside the line on which both are the same."""
    frame = _Frame(width, height, (0, 1), (0, 1))
    most = max(each.share.n for each in bins)
    points = [(each.chance, each.share.value or 0.0) for each in bins]
    whiskers = [
        Line(frame.path([(each.chance, each.share.low), (each.chance, each.share.high)]), "whisker") for each in bins
    ]
    dots = [
        Dot(
            frame.x(each.chance),
            frame.y(each.share.value or 0.0),
            round(3 + 5 * (each.share.n / most) ** 0.5, 1),
            say(
                "chance {chance}: {right} of {n} right",
                chance=f"{each.chance:.2f}",
                right=each.share.right,
                n=each.share.n,
            ),
        )
        for each in bins
    ]
    lines = [Line(frame.path([(0, 0), (1, 1)]), "ideal"), *whiskers, Line(frame.path(points), "line")]
    title = say("How often the model is right, by the chance that it gives itself.")
    return frame.plot((say("chance, as the model has it"), say("share that is right")), lines, dots, title)


def fits(rounds: Sequence[Fit], tested: Sequence[CurvePoint], width: float = 700, height: float = 260) -> Plot:
    """What each round knew of its own labels, of others, and of the items that test, as far as that was read."""
    inside = [(each.n_labels, max(each.inside, -1.0)) for each in rounds]
    outside = [(each.n_labels, max(each.outside, -1.0)) for each in rounds]
    test = [(each.n_labels, max(each.value or 0.0, -1.0)) for each in tested]
    places = [*inside, *outside, *test]
    first, last = min(x for x, _ in places), max(x for x, _ in places)
    low = min(0.0, *(y for _, y in places))
    frame = _Frame(width, height, (min(first, last - 1), last), (low, 1), _HEADROOM)
    band = [(each.n_labels, max(each.low or 0.0, low)) for each in tested]
    band += [(each.n_labels, max(each.high or 0.0, low)) for each in reversed(tested)]
    lines = [
        (inside, "other", say("on its own labels")),
        (outside, "", say("on labels it had not seen")),
        *([(test, "tested", say("on the test items"))] if test else []),
    ]
    dots = [
        Dot(frame.x(x), frame.y(y), 3, say("{n} labels: {score}", n=x, score=f"{y:.2f}"), look)
        for points, look, _ in lines
        for x, y in points
    ]
    title = say("How well each round knew its own labels, and labels that it had not seen.")
    around = [Line(frame.path(band) + " Z", "band tested")] if len(tested) > 1 else []
    return frame.plot((say("labels"), say("score")), [*around, *_named(frame, lines)], dots, title)


def course(found: Course, width: float = 700, height: float = 260) -> Plot:
    """The losses by iteration, with a mark where that on what was not taught is lowest."""
    inside = [(step.iteration, step.inside) for step in found.steps]
    outside = [(step.iteration, step.outside) for step in found.steps]
    first, last, best = found.steps[0].iteration, found.steps[-1].iteration, found.best
    high = max(y for _, y in [*inside, *outside]) or 1.0
    frame = _Frame(width, height, (min(first, last - 1), last), (0, high), _HEADROOM)
    lines = [(inside, "other", say("on what it was taught")), (outside, "", say("on labels it had not seen"))]
    text = say("lowest after {n}", n=best.iteration)
    at, is_left = frame.x(best.iteration), frame.x(best.iteration) < width / 2
    mark = Line(
        f"M{at} {frame.bottom} V{_TOP}",
        *("ideal", text, at + (6 if is_left else -6), _TOP + 10),
        anchor="start" if is_left else "end",
    )
    each = [(points, look) for points, look, _ in lines if len(points) <= _DOTTED]
    dots = [
        Dot(frame.x(x), frame.y(y), 3, say("{n} iterations: loss {loss}", n=x, loss=f"{y:.3g}"), look)
        for points, look in each
        for x, y in points
    ]
    here = say("{n} iterations: loss {loss}", n=best.iteration, loss=f"{best.outside:.3g}")
    dots.append(Dot(at, frame.y(best.outside), 5, here))
    title = say("The loss by iteration, on what the model was taught and on labels that it had not seen.")
    return frame.plot((say("iterations"), say("loss")), [mark, *_named(frame, lines, [mark.y])], dots, title)


def _named(frame: _Frame, lines: Sequence[tuple[_Points, str, str]], taken: Sequence[float] = ()) -> list[Line]:
    """Lines of (points, look, name), the names at the right end: each as near to its line as it touches neither a line
    nor another name, nor what is written at the heights that are `taken`."""
    heights = {look: float(np.mean(_heights(frame, points, name))) for points, look, name in lines}
    placed: dict[str, float] = {}
    for _, look, name in sorted(lines, key=lambda line: heights[line[1]]):
        drawn = np.concatenate([_heights(frame, points, name) for points, _, _ in lines])
        names = [*taken, *placed.values()]
        free = [
            y
            for y in np.arange(_TOP + _RISE, frame.bottom - _FALL, 2.0).tolist()
            if not ((y - _RISE < drawn) & (drawn < y + _FALL)).any() and all(abs(y - each) > _APART for each in names)
        ]
        placed[look] = min(free, key=lambda y: abs(y - 4 - heights[look]), default=heights[look])
    return [
        Line(frame.path(points), f"line {look}".strip(), name, frame.right - 4, round(placed[look], 1))
        for points, look, name in lines
    ]


def _heights(frame: _Frame, points: _Points, name: str) -> Any:
    """Where a line is drawn below or above a name at the right end, at places close together."""
    broad = sum(_BROAD if ord(letter) > 0x1100 else _LETTER for letter in name)
    x, y = [frame.x(each) for each, _ in points], [frame.y(each) for _, each in points]
    there = np.arange(frame.right - 8 - broad, frame.right + 1, 3.0)
    return np.interp(there, x, y)


def numbers(found: Numbers, width: float = 480, height: float = 380) -> Plot:
    """Predicted numbers over the true ones, beside the line on which both are the same."""
    low, high = min(*found.truth, *found.predicted), max(*found.truth, *found.predicted)
    ends = (low, high) if high > low else (low - 1, high + 1)
    frame = _Frame(width, height, ends, ends)
    pairs = zip(found.truth, found.predicted, strict=True)
    dots = [
        Dot(frame.x(x), frame.y(y), 3, say("{truth}, predicted {predicted}", truth=f"{x:.4g}", predicted=f"{y:.4g}"))
        for x, y in pairs
    ]
    line = Line(frame.path([(ends[0], ends[0]), (ends[1], ends[1])]), "ideal")
    title = say("What was predicted of each labelled item, by what people said.")
    return frame.plot((say("people said"), say("the model said")), [line], dots, title)
