"""The page of the model: what it takes for what, how sure it is, and whether it learns or memorises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from flask import Blueprint, render_template

from active_loop.figures import WIDE_GAP, Figures, Share, figures
from active_loop.language import say, say_n
from active_loop.points import Sight, sight
from active_loop.portrait import FEWEST
from active_loop.records import Source

from . import plot
from .items import contents_of
from .kept import Kept
from .reading import Reading

WIDEST = 16
"""Classes above which the table of what is taken for what is left out: the pairs mistaken most often are listed."""


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
        contents = contents_of(source, listed)
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
            gap=_gap(found) if found else "",
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


def _gap(found: Figures) -> str:
    """Whether the newest round learned or memorised, in a sentence; empty while that cannot be said."""
    if not found.fits:
        return ""
    last = found.fits[-1]
    values = {"inside": f"{last.inside:.2f}", "outside": f"{last.outside:.2f}"}
    if last.gap > WIDE_GAP:
        return say(
            "It knows its own labels much better ({inside}) than those it had not seen ({outside}): it memorises more "
            "than it learns. More labels, a simpler model or other features would help.",
            **values,
        )
    return say(
        "It does about as well on labels that it had not seen ({outside}) as on its own ({inside}): it does not "
        "memorise.",
        **values,
    )
