"""The owner's controls: forms that change what a loop was told, and a page before it where a claim is at stake.

Each form is one order. An order becomes other settings, by a pure function of what `loop.toml` says and of what was
typed; what they do to the certificate is shown before it happens, in the words of the change itself. A request writes
nothing but that file, and a GET writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flask import Blueprint, render_template, request, url_for
from flask import redirect as to
from werkzeug.wrappers import Response

from active_loop.config import strategies_for
from active_loop.errors import ActiveLoopError, ConfigError
from active_loop.language import say
from active_loop.orders import Board, Orders, Proposal, board, differing, propose
from active_loop.settings import METRICS, Settings, in_words, measure, metrics_of
from active_loop.standing import FEWEST_ANSWERS

from .reading import Reading
from .visit import owner_only, refuse_foreign_forms
from .words import capital

_LONGEST: Final = 200
"""Letters of a reason."""

_MOST: Final = 10_000_000
"""Answers of a budget: more is a slip of the hand."""

_CONFIRMED: Final = ("target", "strategy", "look")
"""Orders that are always shown once more before they are taken: they may change what the claim is about."""

Typed = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Order:
    """What one form does: other settings, from those of `loop.toml`, the board, and what was typed."""

    edit: Callable[[Settings, Board, Typed], Settings]
    done: Callable[[], str]


def pages(reading: Reading, orders: Orders) -> Blueprint:
    """The page of the controls, and the address that its forms are sent to."""
    controls = Blueprint("controls", __name__, url_prefix="/controls")

    @owner_only
    def index() -> str | tuple[str, int]:
        return _page(reading, orders)

    @owner_only
    def order() -> Response | str | tuple[str, int]:
        refuse_foreign_forms()
        name = request.form.get("order", "")
        try:
            wanted = _wanted(name, orders.told(), reading.of(board), request.form)
            found = propose(orders, wanted)
            if _is_to_be_shown(name, orders, found) and request.form.get("seen") != found.mark:
                return _confirm(found)
            orders.change(wanted)
        except ActiveLoopError as error:
            return _page(reading, orders, str(error))
        return to(url_for("controls.index", done=name), 303)

    controls.add_url_rule("", endpoint="index", view_func=index)
    controls.add_url_rule("", endpoint="order", view_func=order, methods=["POST"])
    return controls


def _page(reading: Reading, orders: Orders, problem: str = "") -> tuple[str, int]:
    """The page; with a `problem` the order was refused, and what was typed stays in its form."""
    now = reading.of(board)
    try:
        told = orders.told()
    except ConfigError as error:  # a file that cannot be read is said once, and nothing can be ordered
        told, problem = None, problem or str(error)
    choices = _choices(told) if told else {}
    typed = request.form if problem and request.method == "POST" else {}
    page = render_template(
        "controls.html",
        name=now.settings.name,
        now=now,
        told=told,
        heading=_heading(now, told),
        problem=problem,
        done=_done(orders) if request.method == "GET" else "",
        pending=() if told is None or orders.is_running else differing(now.settings, told),
        why_not=_why_not,
        typed=typed,
        **choices,
    )
    return page, 422 if problem and request.method == "POST" else 200


def _choices(told: Settings) -> dict[str, Any]:
    """What the forms let people choose from."""
    learned, strategies = told.task.learned, strategies_for(told)
    metrics = {
        name: in_words(METRICS[name].words) for name in metrics_of(learned) if METRICS[name].of_search == told.is_search
    }
    return {
        "metrics": metrics,
        "strategies": strategies if told.query.strategy in strategies else [told.query.strategy, *strategies],
        "classes": told.task.classes if any(METRICS[name].of_one_class for name in metrics) else (),
    }


def _confirm(found: Proposal) -> str:
    """The page that says in words what an order does, with a form that orders it."""
    typed = {name: value for name, value in request.form.items() if name not in ("form", "seen")}
    effect = found.change.sentence if found.change else ""
    if effect.startswith("a look"):  # others begin with the name of a key
        effect = capital(effect)
    return render_template("controls_confirm.html", name=found.settings.name, found=found, effect=effect, typed=typed)


def _is_to_be_shown(name: str, orders: Orders, found: Proposal) -> bool:
    """Whether people have to see it first: it touches the claim, or more than the form says would change."""
    own = {each.key for each in differing(orders.told(), found.settings)}
    more = {each.key for each in found.differences} - own
    return name in _CONFIRMED or found.change is not None or bool(more)


def _wanted(name: str, told: Settings, now: Board, typed: Typed) -> Settings:
    """The settings that an order asks for. `ConfigError` for what was typed, and for an order that changes nothing."""
    if name not in _ORDERS:
        raise ConfigError(say("There is no such order."))
    wanted = _ORDERS[name].edit(told, now, typed)
    if wanted == told and not differing(now.settings, told):
        raise ConfigError(say("Nothing would change: the loop was told so already."))
    return wanted


# the orders


def _pause(told: Settings, now: Board, typed: Typed) -> Settings:
    why = _reason(typed) or say("the owner paused it on the dashboard")
    return replace(told, stop=replace(told.stop, paused=why))


def _resume(told: Settings, now: Board, typed: Typed) -> Settings:
    return replace(told, stop=replace(told.stop, paused=""))


def _stop(told: Settings, now: Board, typed: Typed) -> Settings:
    why = _reason(typed)
    if not why:
        raise ConfigError(say("Say why the loop is to stop: the reason is part of its record."))
    return replace(told, stop=replace(told.stop, by_hand=why, paused=""))


def _go_on(told: Settings, now: Board, typed: Typed) -> Settings:
    return replace(told, stop=replace(told.stop, by_hand=""))


def _budget(told: Settings, now: Board, typed: Typed) -> Settings:
    answers = _number(typed, "answers", told.budget.answers)
    if answers != int(answers):
        raise ConfigError(say("The budget of answers is a whole number, not {value}.", value=f"{answers:g}"))
    if answers > _MOST:
        raise ConfigError(say("A budget has at most {most} answers.", most=_MOST))
    budget = replace(
        told.budget,
        answers=int(answers),
        hours=_number(typed, "hours", told.budget.hours),
        money=_number(typed, "money", told.budget.money),
        price_per_hour=_number(typed, "price_per_hour", told.budget.price_per_hour),
    )
    return replace(told, budget=budget)


def _target(told: Settings, now: Board, typed: Typed) -> Settings:
    metric, value = typed.get("metric", told.target.metric), _number(typed, "value", told.target.value)
    of_one_class = measure(told.task.learned, metric).of_one_class
    positive = typed.get("positive", told.target.positive) if of_one_class else told.target.positive
    return replace(told, target=replace(told.target, metric=metric, value=value, positive=positive))


def _strategy(told: Settings, now: Board, typed: Typed) -> Settings:
    return replace(told, query=replace(told.query, strategy=typed.get("strategy", "").strip()))


def _look(told: Settings, now: Board, typed: Typed) -> Settings:
    _refuse(now.no_look)
    # One that was asked for, and is not made, is not asked for again.
    return replace(told, target=replace(told.target, looks_by_hand=now.settings.target.looks_by_hand + 1))


def _more(told: Settings, now: Board, typed: Typed) -> Settings:
    _refuse(now.no_batch)
    return replace(told, query=replace(told.query, batches_by_hand=now.n_batches + 1))


def _learn(told: Settings, now: Board, typed: Typed) -> Settings:
    _refuse(now.no_round)
    return replace(told, query=replace(told.query, rounds_by_hand=now.n_rounds + 1))


_ORDERS: Final[Mapping[str, Order]] = {
    "pause": Order(_pause, lambda: say("The loop is paused: it asks nothing, and answers still come in.")),
    "resume": Order(_resume, lambda: say("The loop goes on.")),
    "stop": Order(_stop, lambda: say("The loop stops.")),
    "go-on": Order(_go_on, lambda: say("The stop was taken back, and the loop goes on.")),
    "budget": Order(_budget, lambda: say("The budget was changed.")),
    "target": Order(_target, lambda: say("The target was changed.")),
    "strategy": Order(_strategy, lambda: say("The strategy was changed.")),
    "look": Order(_look, lambda: say("A look was asked for: it is made as soon as its test items are answered.")),
    "more": Order(_more, lambda: say("More is being asked.")),
    "learn": Order(_learn, lambda: say("The model learns from all that was answered.")),
}


def _reason(typed: Typed) -> str:
    """A reason on one line."""
    text = " ".join(typed.get("reason", "").split())
    if len(text) > _LONGEST:
        raise ConfigError(say("The reason has {n} letters: say it in at most {most}.", n=len(text), most=_LONGEST))
    if not text.isprintable():
        raise ConfigError(say("The reason holds characters that cannot be printed: leave them out."))
    return text


def _number(typed: Typed, key: str, otherwise: float) -> float:
    """A number that was typed; what the loop was told where the form has no such field."""
    if key not in typed:
        return otherwise
    try:
        value = float(typed[key].strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(say("“{text}” is not a number: write it with digits, as in 0.9.", text=typed[key][:_LONGEST]))
    return value


def _refuse(why: str) -> None:
    if why:
        raise ConfigError(_why_not(why))


# what is said


def _heading(now: Board, told: Settings | None) -> str:
    """Where the loop stands, as far as a person decides it."""
    if told and told.stop.by_hand:
        return say("A person stopped this loop: {why}.", why=told.stop.by_hand.rstrip("."))
    if now.stopped:
        return say("This loop has stopped.")
    if told and told.stop.paused:
        return say("This loop is paused: {why}.", why=told.stop.paused.rstrip("."))
    return say("What you can change while the loop goes on.")


def _done(orders: Orders) -> str:
    """What came of the order before, in one sentence; empty if there was none."""
    name = request.args.get("done", "")
    if name not in _ORDERS:
        return ""
    if orders.is_running:
        return _ORDERS[name].done()
    return say("This is written in loop.toml, and is taken up when the loop runs again: “active-loop run”.")


def _why_not(why: str) -> str:
    """Why there is no such button now."""
    match why:
        case "start":
            return say("The loop has hardly begun: nothing was chosen yet.")
        case "stopped":
            return say("The loop has stopped.")
        case "paused":
            return say("The loop is paused: let it go on first.")
        case "asked":
            return say("This was ordered already, and is not done yet.")
        case "first":
            return say("The model has not learned for the first time yet.")
        case "learning":
            return say("The model is learning just now.")
        case "few":
            return say("Fewer than {n} answers came since the model learned last.", n=FEWEST_ANSWERS)
        case "soon":
            return say("The model learns anyway after a few more answers.")
    return say("There is nothing left to ask: the budget is spent, or everything was asked.")
