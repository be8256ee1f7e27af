"""What people see of a running loop in a terminal: one table that grows, one line that says what happens now.

On a terminal the table is redrawn in place; elsewhere (a log, a pipe) every round is one line. Nothing here decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .agreement import sentence as agreed
from .agreement import sentence_of_constancy
from .control import sentence as worth
from .control import sentence_of_drawn
from .domain import Look, Paused, Progressed, StepResult, Stopped, Verdict, WaitingForPeople, WaitingForTraining
from .driver import Unreachable
from .forecast import sentence as left
from .instructions import Instructions
from .refit import Refit
from .report import CurvePoint, Status, counted, ending, sentence
from .session import Addresses, Notice, Starting, Working
from .stopping import LIKELY_WRONG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .demo import Comparison

_ROUNDS = 12
"""Rounds shown at once: the newest ones."""


class Screen:
    """Shows one run. `read` gives the status whenever something may have changed.

    `redraw` may be turned off where somebody types on the same terminal: what they type would be drawn over.
    """

    def __init__(self, console: Console, read: Callable[[], Status], *, folder: str, redraw: bool = True) -> None:
        self._console = console
        self._redraw = redraw and console.is_terminal
        self._read = read
        self._folder = folder
        self._began = time.monotonic()
        self._doing = "starting"
        self._working = ""
        self._shown = -1
        self._read_at = 0.0
        self._status: Status | None = None
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        if self._redraw:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._picture, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None
            if self._status and self._status.curve:
                self._console.print(self._table(self._status))

    def hear(self, news: Addresses | Starting | Notice | Working | StepResult | Unreachable) -> None:
        """Take one piece of news."""
        match news:
            case Addresses():
                self._addresses(news)
                return
            case Notice():
                self._console.print(Text(f" {news.text}"), soft_wrap=True)
                return
            case Working():
                self._working = f" · {news.text}"
                return
            case Starting():
                self._doing = f"{news.what}, {news.seconds:.0f} s"
                return
            case Unreachable():
                self._doing = f"{news.error} Trying again in {news.pause_s:.0f} s."
                if not self._live:
                    self._console.print(Text(f" {self._doing}"))
                return
            case Progressed():
                self._doing = news.what
            case WaitingForPeople():
                self._doing = f"waiting for answers: {news.n_open} open"
            case WaitingForTraining():
                self._doing = f"training round {news.round}"
            case Paused():
                self._doing = f"paused: {news.why}"
            case Stopped():
                self._doing = "stopped"
        self._refresh(news)

    def _addresses(self, news: Addresses) -> None:
        lines: list[tuple[str, str]] = []
        if news.label_studio:
            login = f"    ({news.user} / {news.password})" if news.user else ""
            lines.append(("Label Studio", f"{news.label_studio}{login}"))
        if news.dashboard:
            lines.append(("Dashboard", news.dashboard))
        lines.append(("Loop", f"{self._folder}    Ctrl-C pauses; the same command continues"))
        for name, value in lines:
            self._console.print(Text(f" {name:<14} {value}"), soft_wrap=True)
        self._console.print()

    def _refresh(self, news: StepResult) -> None:
        """Read the status again when a round, a look or the end may have come; otherwise once a second."""
        important = isinstance(news, Progressed) and (
            "ranked" in news.what or news.what.startswith(("look", "stopped"))
        )
        if important:
            self._working = ""
        if not important and time.monotonic() - self._read_at < 1.0:
            return
        self._read_at = time.monotonic()
        self._status = self._read()
        if not self._live:
            for point in self._status.curve[self._shown + 1 :]:
                self._console.print(Text(f" {_line(point, self._status)}"), soft_wrap=True)
            self._shown = len(self._status.curve) - 1

    def _picture(self) -> Group:
        return Group(*self._parts())

    def _parts(self) -> Iterator[Table | Text]:
        if self._status and self._status.curve:
            yield self._table(self._status)
        spent = f"{self._status.answers} of {self._status.budget} answers, " if self._status else ""
        yield Text(f" {spent}{_span(time.monotonic() - self._began)} · {self._doing}{self._working}", style="dim")

    def _table(self, status: Status) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 1), header_style="bold")
        for name in ("round", "to learn", "to test", status.metric, "", "verdict"):
            table.add_column(name, justify="left" if name in ("", "verdict") else "right")
        for point in status.curve[-_ROUNDS:]:
            table.add_row(*_cells(point, status))
        return table


def _cells(point: CurvePoint, status: Status) -> list[str]:
    looks = [look for look in status.looks if look.round == point.round]
    verdict = f"{looks[-1].verdict}" if looks else "–"
    if looks and looks[-1].verdict != Verdict.NOT_REACHED:
        verdict += f" ({_bound(looks[-1], status)})" if looks[-1].verdict == Verdict.CERTIFIED else ""
    reading = f"{point.value:.3f}" if point.value is not None else "–"
    interval = f"[{point.low:.3f} – {point.high:.3f}]" if point.low is not None else ""
    return [str(point.round), str(point.n_labels), str(point.n_test), reading, interval, verdict]


def _line(point: CurvePoint, status: Status) -> str:
    """One round in words, for a log or a pipe."""
    number, n_labels, n_test, reading, interval, verdict = _cells(point, status)
    score = f"{status.metric} {reading} {interval} on {n_test} test items" if interval else "no score yet"
    return f"round {number}: {n_labels} labels, {score}" + ("" if verdict == "–" else f", {verdict}")


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def summary(status: Status, random: Comparison | None, folder: Path | None, labels: Path | None) -> Group:
    """The end of a run: what was reached, what it cost, what a random choice would have cost, where everything lies."""
    lines = [Text(f" {_verdict_sentence(status)}", style="bold")]
    cost = f"{status.answers} answers ({status.pool_answers} to learn, {status.test_answers} to prove it)"
    time_spent = f", {_span(status.lead_time_s)} of labelling" if status.lead_time_s >= 1 else ""
    lines.append(Text(f"   {cost}{time_spent}."))
    if status.refit:
        lines.append(Text(f"   {_refit_sentence(status.refit)}"))
    lines += _control_lines(status)
    if random:
        lines.append(Text(f"   {_random_sentence(status, random)}"))
    if folder and labels:
        lines.append(Text(f"   labels    {labels}"))
        lines.append(Text(f"   settings  {folder / 'loop.toml'}"))
        lines.append(Text(f"   record    {folder / 'loop.db'}    `active-loop status {folder}` reads it"))
    return Group(*lines)


def _verdict_sentence(status: Status) -> str:
    score = status.score
    if score is None or score.value is None:
        return f"Stopped ({_why(status)}) before there was a score."
    reading = f"{status.named} {score.value:.3f} [{score.low:.3f} – {score.high:.3f}] on {score.n_test} test items"
    wanted = status.wanted
    match status.verdict:
        case Verdict.CERTIFIED:
            look = status.looks[-1]
            return f"Target reached: {wanted} is certified: {_bound(look, status)} on items like these. {reading}."
        case Verdict.LIKELY:
            sure = f"with probability {status.looks[-1].posterior:.2f}"
            told_so = f"{100 * LIKELY_WRONG:.0f} of 100 loops that just miss their target are told so"
            return f"Target likely reached: {wanted} {sure} ({told_so}). {reading}."
        case Verdict.REACHED:
            return f"Not proven ({_why(status)}): {wanted} was read, and may be luck. {reading}."
    return f"Target not reached ({_why(status)}): {wanted} was wanted. {reading}."


def _bound(look: Look, status: Status) -> str:
    """What a look proved, never rounded in its favour."""
    if status.is_error:
        return f"at most {math.ceil(round(look.bound * 1000, 6)) / 1000:.3f}"
    return f"at least {math.floor(round(look.bound * 1000, 6)) / 1000:.3f}"


def _why(status: Status) -> str:
    return ending(status.stopped)


def _refit_sentence(refit: Refit) -> str:
    if refit.obstacle:
        return f"A model that learned from all answers would not be certified: {refit.obstacle}."
    seen = (
        f"A model that learned from all {refit.n_labels} labels, those of test items too, predicts otherwise on "
        f"{refit.differing} of {refit.n} items that nobody answered"
    )
    if refit.certified:
        return f"{seen}: it is certified as well, at least {refit.bound:.3f}."
    return f"{seen}: it is not certified (at least {refit.bound:.3f} is)."


def _control_lines(status: Status) -> list[Text]:
    """Whether choosing was worth it, and what chance drew: known once the loop has stopped."""
    if not status.control:
        return []
    said = (worth(status.control), sentence_of_drawn(status.control.drawn))
    return [Text(f"   {line}") for line in said if line]


def _random_sentence(status: Status, random: Comparison) -> str:
    if not random.reached:
        return f"Random choice, same start, by the oracle: not proven with {random.answers} answers."
    return (
        f"Random choice, same start, by the oracle: {random.answers} answers ({random.n_labels} to learn, "
        f"{random.n_test} to prove it), against {status.answers} here."
    )


def status_page(status: Status) -> Group:
    """Where a loop stands: a sentence, a small curve, the totals."""
    lines = [Text(f" {sentence(status)}", style="bold"), *curve(status)]
    spent = f"   answers {status.answers} of {status.budget}, {status.open_asks} open"
    if status.stopped:  # before that, a moving count would tell on which side the last answer fell
        spent += f"; {status.pool_answers} to learn, {status.test_answers} to test"
    lines.append(Text(spent))
    if status.people:
        lines.append(Text("   " + ", ".join(f"{person} {n}" for person, n in sorted(status.people.items()))))
    said = (agreed(status.agreement), sentence_of_constancy(status.constancy))
    lines += [Text(f"   {line}") for line in said if line]
    if status.instructions and status.instructions.are_told:
        lines.append(Text(f"   {_instructions(status.instructions)}"))
    if status.suspects:
        lines.append(Text(f"   labels that look wrong: {len(status.suspects)}; `active-loop suspects` lists them"))
    if status.unweighed:
        lines.append(Text(f"   people are not weighed yet, the majority counts: {status.unweighed}"))
    for look in status.looks:
        lines.append(Text(f"   look {look.number}: {counted(look)}, {_bound(look, status)}: {look.verdict}"))
    if status.looks:
        of_all = f"   error spent by looks: {status.spent:g} of {status.alpha:g}"
        lines.append(Text(of_all))
    if status.forecast:
        lines.append(Text(f"   {left(status.forecast, status.target)}"))
    elif status.more_to_certify and not status.stopped:
        lines.append(Text(f"   about {status.more_to_certify} more test labels would prove this quality"))
    if status.hindrance:
        lines.append(Text(f"   the target cannot be certified {status.hindrance}"))
    return Group(*lines, *_control_lines(status))


def _instructions(now: Instructions) -> str:
    """Which version of the instructions is in force, and since when."""
    told = "" if now.text else ", which tells nothing any more"
    return f"instructions: version {now.number}, in force since {now.since:%Y-%m-%d %H:%M} UTC{told}"


def curve(status: Status, width: int = 48, height: int = 6) -> list[Text]:
    """The learning curve in characters: answers to the right, the metric upwards, the target as a dotted line."""
    points = [(point.answers, point.value) for point in status.curve if point.value is not None]
    if len(points) < 2:
        return []
    low = min(status.target, *(value for _, value in points))
    bottom, top = max(0.0, low - 0.05), 1.0
    if status.is_error:
        bottom, top = 0.0, max(status.target, *(value for _, value in points))
    columns: list[float | None] = [None] * width
    for answers, reading in points:
        columns[min(width - 1, int(answers / points[-1][0] * (width - 1)))] = reading
    aim = _row(status.target, bottom, top, height)
    rows = [["·" if row == aim else " " for _ in columns] for row in range(height)]
    previous: float | None = None
    for column, value in enumerate(columns):
        previous = previous if value is None else value
        if previous is not None:
            rows[_row(previous, bottom, top, height)][column] = "━"
    ends = {0: f"{top:.3g}" if status.is_error else "1.00", height - 1: f"{bottom:.2f}"}
    lines = [Text(f"   {ends.get(row, ''):>4} ┤{''.join(cells)}") for row, cells in enumerate(rows)]
    return [*lines, Text(f"        └{'─' * width} {points[-1][0]} answers")]


def _row(value: float, bottom: float, top: float, height: int) -> int:
    """The line, from the top, on which a value between these lies."""
    share = (value - bottom) / (top - bottom) if bottom < top else 1.0
    return min(height - 1, max(0, round((1 - share) * (height - 1))))
