"""What the page says: the state of a loop in sentences that need no Python and no statistics.

Everything follows from a `Status` and the time, so a sentence is the same on the page and in `status.json`. Of test
items only totals may appear, and while the loop runs only as they were at the last round: a counter that moved with
every answer would tell its giver on which side of the split that item is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from active_loop.agreement import FEWEST
from active_loop.answered import Answered
from active_loop.control import sentence as worth
from active_loop.control import sentence_of_drawn
from active_loop.domain import Look, Outcome, Verdict
from active_loop.forecast import rounded
from active_loop.forecast import sentence as left
from active_loop.language import say
from active_loop.report import WHY, CurvePoint, Status
from active_loop.stopping import LIKELY_WRONG

MEANING: Final = {
    Verdict.NOT_REACHED: "the reading missed the target.",
    Verdict.REACHED: "the reading was at the target, which luck alone could explain.",
    Verdict.LIKELY: "the target holds with a chance of at least 90 %; of loops that had just missed it, "
    f"{100 * LIKELY_WRONG:.0f} in 100 were told so.",
    Verdict.CERTIFIED: "the bound is at the target or better, so the target is proven at this level.",
}

_PUBLIC: Final = (
    *("name", "metric", "target", "stop_on", "budget", "answers", "open_asks", "oldest_open_at", "outcomes"),
    *("disputed", "lead_time_s", "n_items", "round", "n_labels", "curve", "looks", "verdict"),
    *("more_to_certify", "forecast", "stopped", "doing", "agreement", "unweighed", "constancy", "suspects"),
)
"""What `status.json` holds of a `Status`. Answers by split are left out: see above."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure with its name, and what puts it into proportion."""

    name: str
    value: str
    detail: str = ""


def public(status: Status, notice: str, now: datetime) -> dict[str, Any]:
    """Everything that people may know, for `status.json`."""
    values = status.as_dict()
    words = {
        "headline": headline(status),
        "next": next_step(status, now),
        "left": forecast(status),
        "hindrance": hindrance(status),
        "control": control(status),
        "notice": notice,
    }
    return {**words, **{key: values[key] for key in _PUBLIC}}


def headline(status: Status) -> str:
    """Where the loop stands, in one sentence."""
    if not status.n_items:
        return "This loop has not started yet."
    if status.stopped:
        return _end(status)
    point = status.score
    if status.found is not None and status.answers:
        return f"{_found(status)}; the target {_so_far(status)}."
    if point is None:
        if not status.answers:
            return "Nobody has answered yet."
        return f"{status.answers} of {status.budget} answers: too early to say how good the model is."
    return (
        f"{capital(metric(status))} is about {number(point.value)} ({number(point.low)} to {number(point.high)}); "
        f"the target of {target(status)} {_so_far(status)}."
    )


def _found(status: Status) -> str:
    items = "1 item" if status.found == 1 else f"{status.found} items"
    return f"{items} of “{status.positive}” found with {status.answers} of {status.budget} answers"


def next_step(status: Status, now: datetime) -> str:
    """What happens next, and who has to do something for it."""
    if not status.n_items:
        return "It begins with “active-loop run”."
    if status.stopped:
        return "“active-loop export” writes the labels; the whole record lies in the loop's folder."
    parts = [_waiting(status, now)]
    if status.forecast:
        return parts[0]
    if status.more_to_certify == 0:
        parts.append("If the model stays as good as this, the next look can prove the target.")
    elif status.more_to_certify:
        parts.append(
            f"If the model stays as good as this, about {rounded(status.more_to_certify)} more answers on test items "
            "prove the target."
        )
    return " ".join(parts)


def forecast(status: Status) -> str:
    """What is left until the target, in one sentence; empty where nothing is said of it."""
    return left(status.forecast, status.target) if status.forecast else ""


def hindrance(status: Status) -> str:
    """Why the target cannot be certified, in one sentence; empty where nothing known stands in the way."""
    return f"The target cannot be certified {status.hindrance}." if status.hindrance else ""


def control(status: Status) -> list[str]:
    """Whether choosing was worth it, and what chance drew, a sentence each; none while the loop goes on."""
    if not status.control:
        return []
    return [said for said in (worth(status.control), sentence_of_drawn(status.control.drawn)) if said]


def state(status: Status) -> str:
    """What the loop is doing, in a few words."""
    doing = status.doing.partition(" (")[0]
    if doing == "training" and status.fit_s:
        return say("training, which took {span} the last time", span=span(max(1.0, status.fit_s)))
    return say(doing)


def facts(status: Status, now: datetime) -> list[Fact]:
    """The figures below the picture."""
    return [
        Fact("Open tasks", str(status.open_asks), _oldest(status, now)),
        *_by_split(status),
        Fact("Without a label", str(sum(n for _, n in _unlabelled(status))), _listed(_unlabelled(status))),
        *_spent(status),
        *_agreement(status),
        *_constancy(status),
        *_suspects(status),
        *_instructions(status),
    ]


def metric(status: Status) -> str:
    return status.named


def target(status: Status) -> str:
    """The target with two decimals at least."""
    return f"{status.target:.2f}" if round(status.target, 2) == status.target else f"{status.target:g}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def side(status: Status) -> str:
    """On which side of the target it is reached."""
    return "at most" if status.is_error else "at least"


def bound(look: Look, status: Status) -> str:
    """What a look proved with three decimals, never rounded in its favour: it is a promise."""
    thousands = round(look.bound * 1000, 6)
    return f"{(math.ceil(thousands) if status.is_error else math.floor(thousands)) / 1000:.3f}"


def percent(share: float) -> str:
    """
    >>> percent(0.975), percent(0.95)
    ('97.5 %', '95 %')
    """
    return f"{round(100 * share, 2):g} %"


def span(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [span(s) for s in (0, 8, 252, 6600, 200000)]
    ['0 s', '8 s', '4 min 12 s', '1 h 50 min', '2 d 7 h']
    """
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def age(since: datetime, now: datetime) -> str:
    """How long ago, to the minute: a page that counted seconds would never be the same twice."""
    seconds = (now - since).total_seconds()
    return span(seconds // 60 * 60) if seconds >= 60 else "less than a minute"


def _end(status: Status) -> str:
    look = status.looks[-1] if status.looks else None
    if look and look.verdict == Verdict.CERTIFIED:
        sure = percent(1 - look.level * 2**look.number)
        return (
            f"Target reached: {metric(status)} of {side(status)} {target(status)} is certified ({sure} sure); "
            f"it is {bound(look, status)} or better."
        )
    why = {"target": "stopped", **WHY}
    reason = capital(why[status.stopped]) if status.stopped in why else f"Stopped ({status.stopped})"
    return f"{reason}: the target of {target(status)} {_judged(status, look)}."


def _judged(status: Status, look: Look | None) -> str:
    if look is None:
        return "was never tested"
    reading = f"{metric(status)} {number(look.value)}"
    match look.verdict:
        case Verdict.LIKELY:
            return f"is likely reached, with a chance of {percent(math.floor(look.posterior * 100) / 100)} ({reading})"
        case Verdict.REACHED:
            return f"was reached, but luck is not ruled out ({reading})"
        case _:
            return f"was not reached ({reading})"


def _so_far(status: Status) -> str:
    if not status.looks:
        return "has not been tested yet"
    return {
        Verdict.NOT_REACHED: "was not reached at the last look",
        Verdict.REACHED: "was reached at the last look, but luck is not ruled out",
        Verdict.LIKELY: "is likely reached, by the last look",
        Verdict.CERTIFIED: "is certified",
    }[status.verdict]


def _waiting(status: Status, now: datetime) -> str:
    if not status.open_asks:
        return {"training": "The model learns from the newest answers."}.get(
            status.doing, "The next tasks are being chosen."
        )
    tasks = "1 task waits" if status.open_asks == 1 else f"{status.open_asks} tasks wait"
    return f"{tasks} for an answer, {_oldest(status, now)}."


def _oldest(status: Status, now: datetime) -> str:
    return f"the oldest for {age(status.oldest_open_at, now)}" if status.oldest_open_at else ""


def _by_split(status: Status) -> Iterator[Fact]:
    """Labels to learn from and to test with, as the last round saw them."""
    point: CurvePoint | None = status.curve[-1] if status.curve else None
    when = f"at round {point.round}" if point else "no round yet"
    yield Fact("Learned from", _labels(point.n_labels if point else 0), when)
    if status.found is not None:
        yield Fact("Found", str(status.found), f"of “{status.positive}”")
        return
    yield Fact("Tested on", _labels(point.n_test if point else 0), when)


def _agreement(status: Status) -> Iterator[Fact]:
    """How far people agree, once two of them have answered the same item."""
    found = status.agreement
    read, name = (found.alpha, "α ") if found.alpha else (found.observed, "")
    if not found.n_items:
        return
    items = "1 item" if found.n_items == 1 else f"{found.n_items} items"
    if read is None:
        yield Fact("People agree", "–", f"{items} with two answers, {FEWEST} needed")
        return
    hardest = f" · hardest {'/'.join(found.hardest)}" if found.hardest else ""
    yield Fact("People agree", f"{name}{read.value:.2f}", f"{read.low:.2f} to {read.high:.2f}, {items}{hardest}")


def _constancy(status: Status) -> Iterator[Fact]:
    """How often people say the same again, once somebody was asked twice."""
    found = status.constancy
    if found.n:
        yield Fact("Say the same again", f"{found.same} of {found.n}", f"{found.low:.2f} to {found.high:.2f}")


def _suspects(status: Status) -> Iterator[Fact]:
    """How many labels look wrong, where some do."""
    if status.suspects:
        yield Fact("Labels that look wrong", str(len(status.suspects)), "listed by “active-loop suspects”")


def _instructions(status: Status) -> Iterator[Fact]:
    """Which version of the instructions people are shown, where there ever were any."""
    now = status.instructions
    if now and now.are_told:
        yield Fact("Instructions", f"version {now.number}" if now.text else "none", f"since {moment(now.since)}")


def _labels(count: int) -> str:
    return "1 label" if count == 1 else f"{count} labels"


def _unlabelled(status: Status) -> list[tuple[str, int]]:
    names = {
        Outcome.SKIP: "skipped",
        Outcome.UNSURE: "unsure",
        Outcome.BROKEN: "broken",
        Outcome.INVALID: "not usable",
        Outcome.RETRACTED: "withdrawn",
    }
    counts = [(name, status.outcomes.get(outcome.value, 0)) for outcome, name in names.items()]
    return [(name, n) for name, n in [*counts, ("disputed", status.disputed)] if n]


def _listed(counts: list[tuple[str, int]]) -> str:
    return " · ".join(f"{name} {count}" for name, count in counts)


def _spent(status: Status) -> Iterator[Fact]:
    """Time and money, each with what is allowed, where something is said of it."""
    allowed = status.allowed
    hours = say("of {span}", span=span(3600 * allowed.hours)) if allowed.hours else ""
    yield Fact("Time of people", span(status.lead_time_s), " · ".join(filter(None, (hours, _pace(status)))))
    if allowed.price_per_hour:
        spent = f"{status.lead_time_s / 3600 * allowed.price_per_hour:,.2f}"
        limit = say("of {money}", money=f"{allowed.money:,.2f}") if allowed.money else ""
        yield Fact("Money", spent, limit or say("at {price} an hour", price=f"{allowed.price_per_hour:g}"))


def _pace(status: Status) -> str:
    if not status.lead_time_s or not status.answers:
        return ""
    return f"{span(max(1.0, status.lead_time_s / status.answers))} an answer"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def label(item: Answered) -> str:
    """What an item was answered with, or why it has no label."""
    return item.label if item.label is not None else f"No label: {item.outcome}"


def people(item: Answered) -> str:
    """Who answered."""
    return ", ".join(item.people) or "came with the data"


def moment(at: datetime) -> str:
    """A time to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
