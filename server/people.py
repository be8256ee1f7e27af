"""The page of people: how many answer, when, how fast and how alike; single people for the loop's owner alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from flask import Blueprint, render_template

from active_loop.agreement import FEWEST, Figure
from active_loop.answered import Waiting, waiting
from active_loop.changes import current_settings
from active_loop.crew import FEWEST_SHARED, STEPS, Crew, Person, Seconds, crew, persons
from active_loop.language import say, say_n
from active_loop.report import Status

from . import bars, local_time, visit
from .bars import Bars
from .reading import Reading
from .words import Fact, span


def pages(reading: Reading) -> Blueprint:
    """The page, for viewers and for the owner."""
    people = Blueprint("people", __name__, url_prefix="/people")

    def index() -> str:
        status, found, settings = reading.status(), reading.of(crew), reading.of(current_settings)
        return render_template(
            "people.html",
            found=found,
            status=status,
            headline=_headline(found),
            facts=_facts(found, status, reading.of(waiting)),
            days=_days(found.days) if found.days else None,
            seconds=_seconds(found.seconds) if found.seconds else None,
            persons=[(each, _alike(each)) for each in reading.of(persons)] if visit.is_owner() else None,
            **local_time.naming(settings),
        )

    people.add_url_rule("", endpoint="index", view_func=index)
    return people


def _headline(found: Crew) -> str:
    """Who answered, in one sentence."""
    if not found.is_known:
        return say("Figures of people stand here once the first round is complete.")
    if not found.people:
        return say("Nobody has answered yet.")
    who = say_n("{n} person", "{n} people", found.people)
    said = say_n("{n} answer", "{n} answers", found.answers)
    if found.round is None:
        return say("{people} gave {answers}.", people=who, answers=said)
    return say(
        "{people} had given {answers} when round {round} was trained.", people=who, answers=said, round=found.round
    )


def _facts(found: Crew, status: Status, waits: Waiting) -> list[Fact]:
    """How fast and how alike, as figures."""
    facts = [
        Fact(say("Time of an answer"), span(max(1.0, each.middle)), _half(each)) for each in [found.seconds] if each
    ]
    facts += [*_agreement(status), *_constancy(status)]
    if waits.disputed:
        whom = say("Wait for an adjudicator") if waits.adjudicators else say("Differences to settle")
        disputed = say_n("of {n} disputed item", "of {n} disputed items", waits.disputed)
        facts.append(Fact(whom, str(waits.unsettled), disputed))
    return facts


def _half(found: Seconds) -> str:
    return say("half of them took {low} to {high}", low=span(max(1.0, found.low)), high=span(max(1.0, found.high)))


def _agreement(status: Status) -> list[Fact]:
    found = status.agreement
    if not found.n_items:
        return []
    items = say_n("{n} item with two answers or more", "{n} items with two answers or more", found.n_items)
    read, name = (found.alpha, "α ") if found.alpha else (found.observed, "")
    if read is None:
        return [Fact(say("People agree"), "–", say("{items}; it takes {n}", items=items, n=FEWEST))]
    share = (
        say("equal answers: {interval}; ", interval=_interval(found.observed)) if found.alpha and found.observed else ""
    )
    between = say("{low} to {high}", low=f"{read.low:.2f}", high=f"{read.high:.2f}")
    return [Fact(say("People agree"), f"{name}{read.value:.2f}", f"{between}; {share}{items}")]


def _constancy(status: Status) -> list[Fact]:
    found = status.constancy
    if not found.n:
        return []
    said = say("{same} of {n}", same=found.same, n=found.n)
    between = say("{low} to {high}", low=f"{found.low:.2f}", high=f"{found.high:.2f}")
    return [Fact(say("Say the same again"), said, between)]


def _interval(figure: Figure) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f} – {figure.high:.2f}]"


def _alike(person: Person) -> str:
    """How far a person agrees with the others, in words."""
    if person.shared < FEWEST_SHARED:
        return say("too few to say")
    return f"κ {_interval(person.alike)}" if person.alike else say("nothing to say: all answers are the same")


def _days(days: Sequence[tuple[date, int]]) -> Bars:
    """Answers a day, with the first and the last day below."""
    texts = [say_n("{day}: {n} answer", "{day}: {n} answers", n, day=day) for day, n in days]
    ticks = [(0.0, f"{days[0][0]}")] + [(float(len(days)), f"{days[-1][0]}")] * (len(days) > 4)
    title = say("Answers on each of {n} days; most on one day: {most}.", n=len(days), most=max(n for _, n in days))
    return bars.draw([n for _, n in days], texts, ticks, title, fewest=12)


def _seconds(found: Seconds) -> Bars:
    """Answers by the time they took, up to the slowest."""
    last = max(place for place, n in enumerate(found.counts) if n)
    edges = [0, *STEPS][: last + 2]
    names = [span(edge) for edge in edges]
    upto = [f"{low} – {high}" for low, high in pairwise(names)]
    texts = upto if last < len(STEPS) else [*upto, say("more than {time}", time=names[-1])]
    counts = found.counts[: last + 1]
    said = [
        say_n("{time}: {n} answer", "{time}: {n} answers", n, time=text) for n, text in zip(counts, texts, strict=True)
    ]
    ticks = [(float(place), f"{edge}" if place <= last else say("{n} s", n=edge)) for place, edge in enumerate(edges)]
    return bars.draw(counts, said, ticks, say("Answers by the time they took. {half}.", half=_half(found)))
