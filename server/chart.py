"""The learning curve as a drawing: places of lines, bands and marks, for a template to write as SVG.

The metric stands over the answers given, with its interval as a band; each look is a diamond on its reading, with a
whisker down to the bound it proved. Drawn on the server, the picture needs no script and can be tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from active_loop.domain import Look
from active_loop.forecast import Band
from active_loop.language import say
from active_loop.report import CurvePoint, Status, called

from .words import bound, metric, number, side, target

_LEFT, _RIGHT, _BOTTOM, _ROW = 44.0, 14.0, 40.0, 17.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    """One round's reading, with its whole text for whoever points at it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One look: its diamond, the end of its whisker, and its words at the top (`anchor`: start or end)."""

    x: float
    y: float
    y_bound: float
    y_text: float
    x_text: float
    anchor: str
    label: str
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing of `width` × `height` units; `band` and `line` are the data of SVG paths.

    `ahead` and `ahead_line` are the same for what is foretold, empty where nothing is. `random` is what as many labels
    were worth that chance drew, where that was compared.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    target: Tick
    band: str
    line: str
    ahead: str
    ahead_line: str
    random: Point | None
    points: tuple[Point, ...]
    marks: tuple[Mark, ...]
    title: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places: `low` … `high` lie at `start` … `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def draw(status: Status, width: float, height: float) -> Chart | None:
    """The curve in a frame of this size; None while there is no reading to draw."""
    points = [point for point in status.curve if point.value is not None]
    if not points:
        return None
    reached = {point.round: point.answers for point in status.curve}
    looks = [look for look in status.looks if look.round in reached]
    top = 12 + _ROW * min(len(looks), 3)
    x = _Scale(0, _last_answer(status), _LEFT, width - _RIGHT)
    ahead = _ahead(status, x.high)
    y = _Scale(_lowest(status, points, looks), _highest(status, points, looks), height - _BOTTOM, top)
    return Chart(
        width=width,
        height=height,
        left=_LEFT,
        right=width - _RIGHT,
        top=top,
        bottom=height - _BOTTOM,
        x_ticks=tuple(Tick(x(v), f"{v:g}") for v in ticks(0, x.high, 4 if width < 500 else 8)),
        y_ticks=tuple(Tick(y(v), text) for v, text in _written(ticks(y.low, y.high, 5))),
        target=Tick(y(status.target), say("target {value}", value=target(status))),
        band=_band(points, x, y),
        line=_path([(x(p.answers), y(p.value or 0)) for p in points]),
        ahead=_area([(x(n), y(max(band.low, y.low)), y(min(band.high, y.high))) for n, band in ahead]),
        ahead_line=_path([(x(n), y(min(max(band.middle, y.low), y.high))) for n, band in ahead]),
        random=_random(status, x, y),
        points=tuple(Point(x(p.answers), y(p.value or 0), _reading(p)) for p in points),
        marks=tuple(_mark(look, status, row, x(reached[look.round]), y, width) for row, look in enumerate(looks)),
        title=_title(status, points),
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round values from `low` to `high`, in steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 500, 5), ticks(0.5, 1, 5)
    ([0, 100, 200, 300, 400, 500], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    """
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


def _written(values: list[float]) -> list[tuple[float, str]]:
    """Each value with as many decimals as any of them needs, at least one.

    >>> _written([0.85, 0.9]), _written([0, 10])
    ([(0.85, '0.85'), (0.9, '0.90')], [(0, '0.0'), (10, '10.0')])
    """
    digits = max([1, *(len(f"{value:g}".partition(".")[2]) for value in values)])
    return [(value, f"{value:.{digits}f}") for value in values]


def _last_answer(status: Status) -> float:
    """Where the axis ends: at the budget, but early on nearer, so that the first rounds are not a dot; and no later
    than the loop did."""
    latest = max((point.answers for point in status.curve), default=0)
    if status.stopped:
        return max(1, latest)
    near = math.ceil(max(1.5 * latest, 20) / 20) * 20
    return max(1, latest, min(status.budget, near))


def _lowest(status: Status, points: list[CurvePoint], looks: list[Look]) -> float:
    lows = [point.low for point in points if point.low is not None]
    least = min([*lows, *(look.bound for look in looks), status.target - 0.1])
    return max(0.0, math.floor(least * 10 + 1e-9) / 10)


def _highest(status: Status, points: list[CurvePoint], looks: list[Look]) -> float:
    """1, or more where errors are counted and can be more."""
    highs = [point.high for point in points if point.high is not None]
    most = max([*highs, *(look.bound for look in looks), status.target])
    return max(1.0, math.ceil(most * 10 - 1e-9) / 10)


def _ahead(status: Status, last: float) -> list[tuple[float, Band]]:
    """What is foretold, over the answers it would take, up to the end of the axis.

    Answers to come are taken to be shared between learning and testing as they were so far.
    """
    point = status.curve[-1]
    if status.forecast is None or not point.n_labels:
        return []
    told = [(n * point.answers / point.n_labels, band) for n, band in status.forecast.ahead]
    inside = [(answers, band) for answers, band in told if answers <= last]
    return inside if len(inside) > 1 else []


def _random(status: Status, x: _Scale, y: _Scale) -> Point | None:
    """What random labels were worth, where the curve had as many labels."""
    found = status.control
    if found is None or found.compared is None or not y.low <= found.compared.random <= y.high:
        return None
    n_labels = found.k + found.shared
    reached = next((point for point in status.curve if point.n_labels >= n_labels), status.curve[-1])
    text = say("{n} labels drawn at random: {value}", n=n_labels, value=number(found.compared.random))
    return Point(x(reached.answers), y(found.compared.random), text)


def _band(points: list[CurvePoint], x: _Scale, y: _Scale) -> str:
    """The intervals of the readings; for a single reading its interval alone."""
    return _area([(x(p.answers), y(p.low or 0), y(p.high or 0)) for p in points])


def _area(places: list[tuple[float, float, float]]) -> str:
    """Along the upper ends and back along the lower ones, of (x, low, high) each."""
    high = [f"{x} {top}" for x, _, top in places]
    low = [f"{x} {bottom}" for x, bottom, _ in places]
    return "M" + " L".join([*high, *reversed(low)]) + " Z" if places else ""


def _path(places: list[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x} {y}" for x, y in places) if places else ""


def _mark(look: Look, status: Status, row: int, x: float, y: _Scale, width: float) -> Mark:
    left = x < width * 0.6
    return Mark(
        x=x,
        y=y(look.value),
        y_bound=y(look.bound),
        y_text=12 + _ROW * (row % 3),
        x_text=round(x + (5 if left else -5), 1),
        anchor="start" if left else "end",
        label=say("look {n}: {verdict}", n=look.number, verdict=called(look.verdict)),
        verdict=look.verdict.replace(" ", "-"),
        text=say(
            "look {n}: {value}, {side} {bound}, {verdict}",
            n=look.number,
            value=number(look.value),
            side=side(status),
            bound=bound(look, status),
            verdict=called(look.verdict),
        ),
    )


def _reading(point: CurvePoint) -> str:
    reading = f"{number(point.value)} [{number(point.low)}–{number(point.high)}]"
    return say("round {n}, {answers} answers: {reading}", n=point.round, answers=point.answers, reading=reading)


def _title(status: Status, points: list[CurvePoint]) -> str:
    first, last = points[0], points[-1]
    return say(
        "Learning curve: {metric} {first} after {few} answers, {last} after {many}; the target is {target}.",
        metric=metric(status),
        first=number(first.value),
        few=first.answers,
        last=number(last.value),
        many=last.answers,
        target=target(status),
    )
