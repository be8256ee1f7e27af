"""The page of the model: what it takes for what, how sure it is, and whether it learns or memorises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from flask import Blueprint, render_template

from active_loop.figures import Course, Figures, Fit, Share, before, figures, is_better
from active_loop.language import say, say_n
from active_loop.points import Sight, sight
from active_loop.portrait import FEWEST, MOST_LABELS
from active_loop.records import Source
from active_loop.report import CurvePoint, Status

from . import plot
from .items import contents_of
from .kept import Kept
from .reading import Reading

WIDEST = 16
"""Classes above which the table of what is taken for what is left out: the pairs mistaken most often are listed."""

_SAME: Final = {"choice": "accuracy", "multi_label": "subset_accuracy", "number": "r2"}
"""The metric that is, on the items that test, what the score of a round is on its labels: by kind of label."""


def pages(reading: Reading, source: Callable[[], Source] | None) -> Blueprint:
    """The one page. Without a `source` items are listed by their names alone."""
    made, model = Kept(), Blueprint("model", __name__, url_prefix="/model")

    def read(seen: Sight, stamp: tuple[int, object] | None) -> Figures | None:
        if stamp is None:
            return None
        place = stamp[0]
        portrait = seen.portraits.find(seen.rounds[place])
        if portrait is None:
            return None
        with closing(reading.open_store()) as store:
            groups = {item.position: item.group for item in store.items_at(portrait.labelled.tolist())}
        return figures(seen, place, portrait, groups)

    def page() -> str:
        seen = reading.of(sight)
        stamp = seen.stamp
        found = made.of((seen, stamp), lambda: read(seen, stamp))
        with closing(reading.open_store()) as store:
            listed = store.items_at([each.item for each in found.mistakes] if found else [])
        contents, status = contents_of(source, listed), reading.status()
        return render_template(
            "model.html",
            name=seen.name,
            seen=seen,
            found=found,
            headline=headline(seen, found),
            items={item.position: item for item in listed},
            contents=contents,
            fewest=FEWEST,
            few_classes=found is not None and len(found.classes) <= WIDEST,
            pairs=_pairs(found) if found else [],
            heat=heat,
            memory=memory(found) if found else [],
            tested=tested(found, status) if found else [],
            metric="" if found is None or is_read_alike(found, status) else status.named,
            course=course(found.course) if found and found.course else "",
            most=MOST_LABELS,
            interval=interval,
            plot=plot,
        )

    model.add_url_rule("", endpoint="index", view_func=page)
    return model


def headline(seen: Sight, found: Figures | None) -> str:
    """The page in one sentence."""
    if not seen.rounds:
        return say("There is no model yet.")
    if found is None:
        return say("The model of round {n} is not looked at yet.", n=seen.rounds[0].number)
    if found.numbers:
        return say(
            "On {n} labels that it had not seen, the model is off by {error} on average.",
            n=len(found.numbers.truth),
            error=f"{found.numbers.mean_error:.3g}",
        )
    if found.overall is None:
        return say_n(
            "The model has learned from {n} label, too few to say how it does.",
            "The model has learned from {n} labels, too few to say how it does.",
            found.n_labels,
        )
    return say(
        "Of {n} labels that it had not seen, the model foretells {right}.",
        n=found.overall.n,
        right=found.overall.right,
    )


def heat(count: int, row: tuple[int, ...]) -> int:
    """How dark a count is among those of its row: 0 for nothing, up to 9 for all.

    >>> heat(0, (0, 5)), heat(5, (0, 5)), heat(1, (1, 99))
    (0, 9, 1)
    """
    return -(-9 * count // sum(row)) if count else 0


def interval(share: Share) -> str:
    return f"{share.low:.2f}–{share.high:.2f}"


def _pairs(found: Figures) -> list[tuple[str, str, int]]:
    """What is taken for what most often: (label, prediction, how often)."""
    wrong = [
        (found.classes[i], found.classes[j], count)
        for i, row in enumerate(found.counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(wrong, key=lambda pair: -pair[2])[:5]


def is_read_alike(found: Figures, status: Status) -> bool:
    """Whether the overview's metric is, on the items that test, what the score of a round is on its labels."""
    return status.metric == _SAME[found.kind]


def tested(found: Figures, status: Status) -> list[CurvePoint]:
    """The readings of the overview's curve up to the round of the figures, where its metric is the same quantity."""
    if not is_read_alike(found, status):
        return []
    return [point for point in status.curve if point.value is not None and point.round <= found.round]


def memory(found: Figures) -> list[str]:
    """Whether the newest round learned or memorised, and what was done about it, a sentence each; none while that
    cannot be said."""
    if not found.fits:
        return []
    last = found.fits[-1]
    done = taming(found.tamed) if found.tamed and found.searches else ""
    if last.is_wide and not found.searches:
        done = say('What can be done: more labels, or model.use = "auto", which searches among tamer models as well.')
    return [learned(found.fits, found.guess), *([done] if done else [])]


def learned(fits: Sequence[Fit], guess: float) -> str:
    """Whether the last of these rounds, which are in order and at least one, learned or memorised.

    A gap alone does not say so, since many a model knows its labels by heart whatever it learns: what it makes of
    others has to stay where it was, too, or where a `guess` is.
    """
    last, then = fits[-1], before(fits)
    values = {"inside": f"{last.inside:.2f}", "outside": f"{last.outside:.2f}"}
    if not last.is_wide:
        return say(
            "It does about as well on labels that it had not seen ({outside}) as on its own ({inside}): it does not "
            "memorise.",
            **values,
        )
    if then is None:
        return say(
            "It knows its own labels much better ({inside}) than those it had not seen ({outside}): whether it learns "
            "as well shows when there are more labels.",
            **values,
        )
    values |= {"then": f"{then.outside:.2f}", "few": str(then.n_labels), "many": str(last.n_labels)}
    if not is_better(last, guess):
        return say(
            "It knows its own labels ({inside}), and foretells those it had not seen ({outside}) no better than always "
            "saying the same would ({guess}): it memorises, and does not learn.",
            guess=f"{guess:.2f}",
            **values,
        )
    if is_better(last, then.outside):
        return say(
            "It knows its own labels much better ({inside}) than those it had not seen, but it gets better on these as "
            "well: {then} with {few} labels, {outside} with {many}. More labels still help.",
            **values,
        )
    return say(
        "It knows its own labels much better ({inside}) than those it had not seen, and does not get better on these: "
        "{then} with {few} labels, {outside} with {many}. By now it memorises more than it learns.",
        **values,
    )


def taming(tamed: Mapping[str, Any]) -> str:
    """What a search did about a model that memorised, by what the record of its round holds as `tamed`."""
    values = {"inside": f"{tamed['inside']:.2f}", "outside": f"{tamed['outside']:.2f}"}
    if tamed["took"]:
        return say_n(
            "Because the model before knew its own labels ({inside}) much better than others ({outside}), {n} tamer "
            "model was tried as well; {took} took over.",
            "Because the model before knew its own labels ({inside}) much better than others ({outside}), {n} tamer "
            "models were tried as well; {took} took over.",
            len(tamed["tried"]),
            took=tamed["took"],
            **values,
        )
    return say_n(
        "Because the model before knew its own labels ({inside}) much better than others ({outside}), {n} tamer model "
        "was tried as well; it did no better on labels that it had not seen. What helps is more labels, or other "
        "features.",
        "Because the model before knew its own labels ({inside}) much better than others ({outside}), {n} tamer models "
        "were tried as well; none of them did better on labels that it had not seen. What helps is more labels, or "
        "other features.",
        len(tamed["tried"]),
        **values,
    )


def course(found: Course) -> str:
    """Whether more iterations help, in a sentence."""
    if found.gets_worse:
        return say(
            "It is best after {n} of {all} iterations, and gets worse from there: it memorises.",
            n=found.best.iteration,
            all=found.steps[-1].iteration,
        )
    return say("More iterations do not make it worse.")
