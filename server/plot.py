"""Small drawings of figures: places of lines, bars and dots in a frame, for a template to write as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from active_loop.figures import Bin, Fit, Numbers
from active_loop.language import say

from .chart import Tick, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 12.0, 42.0

_NAMED = 7
"""Points at the end of a line that its name keeps clear of."""


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
    """A line by the data of an SVG path, with the class of its look and, at (x, y), its name."""

    path: str
    look: str
    name: str = ""
    x: float = 0.0
    y: float = 0.0


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
    """From values to places: x from `x_low` to `x_high`, y likewise, with round values on both axes."""

    def __init__(self, width: float, height: float, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.width, self.height = width, height
        self.right, self.bottom = width - _RIGHT, height - _BOTTOM
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return round(_LEFT + (value - low) / (high - low) * (self.right - _LEFT), 1)

    def y(self, value: float) -> float:
        low, high = self._y
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


def fits(rounds: Sequence[Fit], width: float = 700, height: float = 260) -> Plot:
    """What each round knew of its own labels and of others."""
    last = max(each.n_labels for each in rounds)
    low = min(0.0, *(each.outside for each in rounds), *(each.inside for each in rounds))
    first = min(each.n_labels for each in rounds)
    frame = _Frame(width, height, (min(first, last - 1), last), (max(low, -1.0), 1))
    inside = [(each.n_labels, max(each.inside, -1.0)) for each in rounds]
    outside = [(each.n_labels, max(each.outside, -1.0)) for each in rounds]
    lines = [
        Line(frame.path(inside), "line other", say("on its own labels"), frame.x(last) - 4, _above(frame, inside)),
        Line(frame.path(outside), "line", say("on labels it had not seen"), frame.x(last) - 4, _below(frame, outside)),
    ]
    both = [(x, y, "other") for x, y in inside] + [(x, y, "") for x, y in outside]
    dots = [
        Dot(frame.x(x), frame.y(y), 3, say("{n} labels: {score}", n=x, score=f"{y:.2f}"), look) for x, y, look in both
    ]
    title = say("How well each round knew its own labels, and labels that it had not seen.")
    return frame.plot((say("labels"), say("score")), lines, dots, title)


def _above(frame: _Frame, points: Sequence[tuple[float, float]]) -> float:
    """Above the last few points, where a line has its name."""
    return max(_TOP + 10, min(frame.y(y) for _, y in points[-_NAMED:]) - 10)


def _below(frame: _Frame, points: Sequence[tuple[float, float]]) -> float:
    return min(frame.bottom - 6, max(frame.y(y) for _, y in points[-_NAMED:]) + 20)


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
