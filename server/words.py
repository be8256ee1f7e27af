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

from active_loop.agreement import FEWEST, Constancy, Figure
from active_loop.answered import Answered
from active_loop.control import sentence as worth
from active_loop.control import sentence_of_drawn
from active_loop.domain import Look, Outcome, Verdict
from active_loop.forecast import rounded
from active_loop.forecast import sentence as left
from active_loop.language import say, say_n
from active_loop.report import CurvePoint, Status, called
from active_loop.stopping import LIKELY_WRONG

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
        return say("This loop has not started yet.")
    if status.stopped:
        return _end(status)
    point = status.score
    if status.found is not None and status.answers:
        return f"{_found(status)} {_so_far(status)}"
    if point is None:
        if not status.answers:
            return say("Nobody has answered yet.")
        return say(
            "{n} of {budget} answers: too early to say how good the model is.", n=status.answers, budget=status.budget
        )
    reading = say(
        "{metric} is about {value} ({low} to {high}).",
        metric=capital(metric(status)),
        value=number(point.value),
        low=number(point.low),
        high=number(point.high),
    )
    return f"{reading} {_so_far(status)}"


def besides(status: Status) -> list[str]:
    """What else is known of the way to the target, a sentence each."""
    return [said for said in (hindrance(status), forecast(status), *control(status)) if said]


def _found(status: Status) -> str:
    return say_n(
        "{n} item of “{wanted}” found with {answers} of {budget} answers.",
        "{n} items of “{wanted}” found with {answers} of {budget} answers.",
        status.found or 0,
        wanted=status.positive,
        answers=status.answers,
        budget=status.budget,
    )


def next_step(status: Status, now: datetime) -> str:
    """What happens next, and who has to do something for it."""
    if not status.n_items:
        return say("It begins with “active-loop run”.")
    if status.stopped:
        return say("“active-loop export” writes the labels, “active-loop report” a page with all of this to keep.")
    parts = [_waiting(status, now)]
    if status.forecast:
        return parts[0]
    if status.more_to_certify == 0:
        parts.append(say("If the model stays as good as this, the next look can prove the target."))
    elif status.more_to_certify:
        parts.append(
            say(
                "If the model stays as good as this, about {n} more answers on test items prove the target.",
                n=rounded(status.more_to_certify),
            )
        )
    return " ".join(parts)


def forecast(status: Status) -> str:
    """What is left until the target, in one sentence; empty where nothing is said of it."""
    return left(status.forecast, status.target) if status.forecast else ""


def hindrance(status: Status) -> str:
    """Why the target cannot be certified, in one sentence; empty where nothing known stands in the way."""
    return say("The target cannot be certified {why}.", why=status.hindrance) if status.hindrance else ""


def control(status: Status) -> list[str]:
    """Whether choosing was worth it, and what chance drew, a sentence each; none while the loop goes on."""
    if not status.control:
        return []
    return [said for said in (worth(status.control), sentence_of_drawn(status.control.drawn)) if said]


def state(status: Status) -> str:
    """What the loop is doing, in a few words."""
    doing, _, why = status.doing.partition(" (")[0].partition(": ")
    if doing == "training" and status.fit_s:
        return say("training, which took {span} the last time", span=span(max(1.0, status.fit_s)))
    return {
        "stopped": say("stopped"),
        "not started": say("not started"),
        "paused": say("paused: {why}", why=why),
        "training": say("training"),
        "waiting for people": say("waiting for people"),
        "choosing what to ask": say("choosing what to ask"),
    }[doing]


def facts(status: Status, now: datetime) -> list[Fact]:
    """The figures below the picture."""
    return [
        Fact(say("Open tasks"), str(status.open_asks), _oldest(status, now)),
        *_by_split(status),
        Fact(say("Without a label"), str(sum(n for _, n in _unlabelled(status))), _listed(_unlabelled(status))),
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
    return say("at most") if status.is_error else say("at least")


def claim(status: Status) -> str:
    """What is to be reached: "accuracy ≥ 0.90"."""
    return f"{metric(status)} {'≤' if status.is_error else '≥'} {target(status)}"


def meanings(status: Status) -> list[tuple[str, str]]:
    """The verdicts that the looks gave, each with what it means."""
    means = {
        Verdict.NOT_REACHED: say("the reading missed the target."),
        Verdict.REACHED: say("the reading was at the target, which luck alone could explain."),
        Verdict.LIKELY: say(
            "the target holds with a chance of at least 90 %; of loops that just miss it, {n} in 100 are told so.",
            n=f"{100 * LIKELY_WRONG:.0f}",
        ),
        Verdict.CERTIFIED: say("the bound is at the target or better, so the target is proven at this level."),
    }
    given = {look.verdict for look in status.looks}
    return [(called(found), meaning) for found, meaning in means.items() if found in given]


def kind(name: str) -> str:
    """A word that is kept in files, such as how an item was chosen, as people read it; names stay what they are."""
    known = {
        "text": say("text"),
        "image": say("image"),
        "table": say("table"),
        "majority": say("majority"),
        "random": say("random"),
        "imported": say("imported"),
        "skip": say("skipped"),
        "unsure": say("unsure"),
        "broken": say("broken"),
        "invalid": say("not usable"),
        "retracted": say("withdrawn"),
        "disputed": say("disputed"),
    }
    return known.get(name, name)


def outcome(trial: str) -> str:
    """What came of a model that was tried."""
    known = {
        "won": say("won"),
        "kept": say("kept: it was the model before"),
        "lost": say("lost"),
        "cut off": say("cut off: its time ran out"),
    }
    return known.get(trial) or say("left out: {why}", why=trial.removeprefix("left out: "))


def counted(look: Look) -> str:
    """What a look counted."""
    if look.metric == "accuracy":
        return say("{n} of {total}", n=look.correct, total=look.n)
    if look.metric == "found":
        return say("{n} found, {drawn} drawn", n=look.correct, drawn=look.n)
    return say("{n} of {total}", n=number(look.value), total=look.n)


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


def chance(value: float) -> str:
    """
    >>> chance(0.25), chance(0.00123), chance(1.0)
    ('25 %', '0.12 %', '100 %')
    """
    return f"{100 * value:.2g} %" if value < 1 else "100 %"


def span(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [span(s) for s in (0, 8, 252, 6600, 200000)]
    ['0 s', '8 s', '4 min 12 s', '1 h 50 min', '2 d 7 h']
    """
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = [
        (days, say("{n} d", n=days)),
        (hours, say("{n} h", n=hours)),
        (minutes, say("{n} min", n=minutes)),
        (whole % 60, say("{n} s", n=whole % 60)),
    ]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(text for count, text in parts[first : first + 2] if count) or say("{n} s", n=0)


def age(since: datetime, now: datetime) -> str:
    """How long ago, to the minute: a page that counted seconds would never be the same twice."""
    seconds = (now - since).total_seconds()
    return span(seconds // 60 * 60) if seconds >= 60 else say("less than a minute")


def _end(status: Status) -> str:
    look = status.looks[-1] if status.looks else None
    if look and look.verdict == Verdict.CERTIFIED:
        return say(
            "Target reached: {claim} is certified ({sure} sure); it is {bound} or better.",
            claim=claim(status),
            sure=percent(1 - look.level * 2**look.number),
            bound=bound(look, status),
        )
    return f"{_why(status)} {_judged(status, look)}"


def _why(status: Status) -> str:
    known = {
        "target": say("Stopped."),
        "budget": say("The budget is spent."),
        "hours": say("The hours are spent."),
        "money": say("The money is spent."),
        "deadline": say("The deadline has come."),
        "pool": say("Every item was asked about."),
        "stable": say("Its predictions no longer change."),
        "unreachable": say("The target is probably out of reach."),
    }
    return known.get(status.stopped) or say("Stopped: {reason}.", reason=status.stopped.removeprefix("by hand: "))


def _judged(status: Status, look: Look | None) -> str:
    told = {"claim": claim(status), "reading": number(look.value) if look else ""}
    match look.verdict if look else None:
        case None:
            return say("The target, {claim}, was never tested.", **told)
        case Verdict.LIKELY if look:
            chance = percent(math.floor(look.posterior * 100) / 100)
            return say(
                "The target, {claim}, is likely reached, with a chance of {chance} ({reading}).", chance=chance, **told
            )
        case Verdict.REACHED:
            return say("The target, {claim}, was reached, but luck is not ruled out ({reading}).", **told)
        case _:
            return say("The target, {claim}, was not reached ({reading}).", **told)


def _so_far(status: Status) -> str:
    aim = target(status)
    if not status.looks:
        return say("The target of {target} has not been tested yet.", target=aim)
    return {
        Verdict.NOT_REACHED: say("The target of {target} was not reached at the last look.", target=aim),
        Verdict.REACHED: say(
            "The target of {target} was reached at the last look, but luck is not ruled out.", target=aim
        ),
        Verdict.LIKELY: say("The target of {target} is likely reached, by the last look.", target=aim),
        Verdict.CERTIFIED: say("The target of {target} is certified.", target=aim),
    }[status.verdict]


def _waiting(status: Status, now: datetime) -> str:
    if not status.open_asks:
        if status.doing == "training":
            return say("The model learns from the newest answers.")
        return say("The next tasks are being chosen.")
    return say_n(
        "{n} task waits for an answer, {oldest}.",
        "{n} tasks wait for an answer, {oldest}.",
        status.open_asks,
        oldest=_oldest(status, now),
    )


def _oldest(status: Status, now: datetime) -> str:
    return say("the oldest for {age}", age=age(status.oldest_open_at, now)) if status.oldest_open_at else ""


def _by_split(status: Status) -> Iterator[Fact]:
    """Labels to learn from and to test with, as the last round saw them."""
    point: CurvePoint | None = status.curve[-1] if status.curve else None
    when = say("at round {n}", n=point.round) if point else say("no round yet")
    yield Fact(say("Learned from"), _labels(point.n_labels if point else 0), when)
    if status.found is not None:
        yield Fact(say("Found"), str(status.found), say("of “{wanted}”", wanted=status.positive))
        return
    yield Fact(say("Tested on"), _labels(point.n_test if point else 0), when)


def _agreement(status: Status) -> Iterator[Fact]:
    """How far people agree, once two of them have answered the same item."""
    found = status.agreement
    read, name = (found.alpha, "α ") if found.alpha else (found.observed, "")
    if not found.n_items:
        return
    items = say_n("{n} item", "{n} items", found.n_items)
    if read is None:
        needed = say("{items} with two answers, {n} needed", items=items, n=FEWEST)
        yield Fact(say("People agree"), "–", needed)
        return
    hardest = say(" · hardest {classes}", classes="/".join(found.hardest)) if found.hardest else ""
    yield Fact(say("People agree"), f"{name}{read.value:.2f}", f"{_between(read)}, {items}{hardest}")


def _constancy(status: Status) -> Iterator[Fact]:
    """How often people say the same again, once somebody was asked twice."""
    found = status.constancy
    if found.n:
        yield Fact(say("Say the same again"), say("{n} of {total}", n=found.same, total=found.n), _between(found))


def _suspects(status: Status) -> Iterator[Fact]:
    """How many labels look wrong, where some do."""
    if status.suspects:
        yield Fact(say("Labels that look wrong"), str(len(status.suspects)), say("listed by “active-loop suspects”"))


def _instructions(status: Status) -> Iterator[Fact]:
    """Which version of the instructions people are shown, where there ever were any."""
    now = status.instructions
    if now and now.are_told:
        version = say("version {n}", n=now.number) if now.text else say("none")
        yield Fact(say("Instructions"), version, say("since {time}", time=moment(now.since)))


def _labels(count: int) -> str:
    return say_n("{n} label", "{n} labels", count)


def _between(found: Figure | Constancy) -> str:
    return say("{low} to {high}", low=f"{found.low:.2f}", high=f"{found.high:.2f}")


def _unlabelled(status: Status) -> list[tuple[str, int]]:
    names = {
        Outcome.SKIP: say("skipped"),
        Outcome.UNSURE: say("unsure"),
        Outcome.BROKEN: say("broken"),
        Outcome.INVALID: say("not usable"),
        Outcome.RETRACTED: say("withdrawn"),
    }
    counts = [(name, status.outcomes.get(outcome.value, 0)) for outcome, name in names.items()]
    return [(name, n) for name, n in [*counts, (say("disputed"), status.disputed)] if n]


def _listed(counts: list[tuple[str, int]]) -> str:
    return " · ".join(f"{name} {count}" for name, count in counts)


def _spent(status: Status) -> Iterator[Fact]:
    """Time and money, each with what is allowed, where something is said of it."""
    allowed = status.allowed
    hours = say("of {span}", span=span(3600 * allowed.hours)) if allowed.hours else ""
    yield Fact(say("Time of people"), span(status.lead_time_s), " · ".join(filter(None, (hours, _pace(status)))))
    if allowed.price_per_hour:
        spent = f"{status.lead_time_s / 3600 * allowed.price_per_hour:,.2f}"
        limit = say("of {money}", money=f"{allowed.money:,.2f}") if allowed.money else ""
        yield Fact(say("Money"), spent, limit or say("at {price} an hour", price=f"{allowed.price_per_hour:g}"))


def _pace(status: Status) -> str:
    if not status.lead_time_s or not status.answers:
        return ""
    return say("{span} an answer", span=span(max(1.0, status.lead_time_s / status.answers)))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def label(item: Answered) -> str:
    """What an item was answered with, or why it has no label."""
    return item.label if item.label is not None else say("No label: {why}", why=item.outcome)


def people(item: Answered) -> str:
    """Who answered."""
    return ", ".join(item.people) or say("came with the data")


def moment(at: datetime) -> str:
    """A time to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
