"""What may be changed while a loop runs, and what a change does to the claim.

What items, splits and the numbering of rounds rest on stays for ever. What the claim is about may change, but a claim
that is chosen after a score was shown is tested on items whose answers nobody had seen then: the looks go on further
down the test order, and the numbers of the looks, and so the error that they spend, go on as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from .domain import COLD_START, Decision, Split, Verdict
from .errors import ConfigError
from .language import say, say_n
from .settings import METRICS, LookPlan, Settings, differences, from_json
from .stopping import in_force
from .store import Store

_FIXED = ("seed", "data", "task.kind", "query.n0", "query.retrain_every")
"""What the items, their order, their labels and the numbering of rounds rest on: never changed once items are there."""

_ENDS = (
    *("budget.answers", "budget.hours", "budget.money", "budget.price_per_hour", "budget.seconds_per_label"),
    *("stop.deadline", "budget.time_zone"),
)
"""What the end rests on: one that was moved after a score was shown is a choice, and opens no gate."""

_HELD = ("query.random_share", "query.cold_start", "people.test_overlap")
"""What a comparison, or the plan of the looks, rests on: not changed once a score was shown."""

_MODEL = ("task.classes", "features", "model", "people")
"""What the model is, and what it learns: after a change its predictions have to settle again."""

_CLAIMED = (*_MODEL, "target", "query.strategy")
"""What the claim is about."""

LOOK = "target.looks_by_hand"


@dataclass(frozen=True, slots=True)
class Change:
    """What a new version of the settings does to the claim, as it is recorded with it.

    `keys` changed. The looks from now on, of which there were `looks` before, use test items from the place `first` of
    the test order on; `left` items are there. Readings use answers from the place `stale` on: others were given before
    there were these classes. `settles` says that the model has to settle again, `look` that a person asks for a look.
    """

    keys: tuple[str, ...]
    looks: int
    first: int
    left: int
    stale: int
    settles: bool
    look: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """What `as_dict` wrote."""
        return cls(**{**body, "keys": tuple(body["keys"])})

    @property
    def sentence(self) -> str:
        """What it does to the certificate, in one sentence."""
        by_hand = self.keys == (LOOK,)
        what = say("a look was asked for by hand") if by_hand else say("{keys} changed", keys=", ".join(self.keys))
        if not self.first:
            return say(
                "{what} before any score was shown: the claim is the new one, and costs nothing.",
                what=what,
            )
        spent = say_n(
            " The error that the look before spent stays spent.",
            " The error that the {n} looks before spent stays spent.",
            self.looks,
        )
        effect = say(
            "{what} after scores were shown: the next look uses test items whose answers nobody has seen, of which "
            "{left} are left{settle}.",
            what=what,
            left=self.left,
            settle=say("; before it, the model has to settle again") if self.settles else "",
        )
        return f"{effect}{spent if self.looks else ''}"


def change_of(store: Store, settings: Settings) -> Change | None:
    """What these settings, if they are new, do to the claim; None where they leave it alone.

    Raises `ConfigError`, which names the keys, for what would take the ground from under what the store holds.
    """
    known = store.setting()
    if not known or not store.n_items():
        return None
    before = from_json(known[1])
    changed = differences(before, settings)
    _refuse_fixed(before, settings, [key for key in changed if _within(key, _FIXED)])
    asked = settings.target.looks_by_hand > before.target.looks_by_hand
    claimed = tuple(key for key in changed if _within(key, _CLAIMED) and (asked or key != LOOK))
    held = [key for key in changed if _within(key, _HELD)]
    if not store.scores():
        return Change(claimed, len(store.looks()), 0, 0, 0, settles=False, look=True) if asked else None
    if held:
        raise ConfigError(
            f"cannot change {', '.join(held)} now: scores on the test items were shown already, and what they are "
            "compared with rests on it; put the old value back, or start a new loop folder."
        )
    return _change(store, claimed, asked) if claimed and not _is_implied(store, before, settings, claimed) else None


def foreseen(store: Store, settings: Settings) -> Change | None:
    """What `change_of` says, for people to read before it happens: with what was left at the newest ranked round.

    It can be asked for after each answer, and a newer number would tell which of them tested.
    """
    change = change_of(store, settings)
    if change is None or not change.first:
        return change
    ranked = [round_.annotation_position for round_ in store.rounds() if round_.ranked_at]
    first, left = _unseen(store, max(ranked, default=0))
    return replace(change, first=max(first, 1), left=left)


def _is_implied(store: Store, before: Settings, settings: Settings, claimed: tuple[str, ...]) -> bool:
    """Whether the new claim follows from what was certified: an easier target, and nothing else."""
    looks, found = store.looks(), changes(store)
    certified = looks[found[-1][1].looks if found else 0 :][-1:]
    if claimed != ("target.value",) or not certified or certified[0].verdict != Verdict.CERTIFIED:
        return False
    easier = settings.target.value - before.target.value
    return easier > 0 if METRICS[settings.target.metric].error else easier < 0


def _change(store: Store, claimed: tuple[str, ...], asked: bool) -> Change:
    """A change after a score: what is left to test it with. `ConfigError` where nothing is."""
    first, left = _unseen(store)
    if left < 1:
        raise ConfigError(
            f"cannot change {', '.join(claimed)} now: scores were shown, so a new claim needs test items whose answers "
            "nobody has seen, and none is left; put the old value back, or start a new loop folder."
        )
    classes = any(_within(key, ("task.classes",)) for key in claimed)
    settles = any(_within(key, _MODEL) for key in claimed)
    return Change(claimed, len(store.looks()), first, left, first if classes else 0, settles, asked)


def _refuse_fixed(before: Settings, settings: Settings, fixed: list[str]) -> None:
    if before.is_search != settings.is_search:
        fixed.append("target.metric")  # a search has reserved nothing, and everything else has
    elif settings.is_search and before.target.positive != settings.target.positive:
        fixed.append("target.positive")  # what was read so far was chosen for another class
    if fixed:
        raise ConfigError(
            f"cannot change {', '.join(fixed)}: the items, their test order and their labels rest on it since the "
            "import; start a new loop folder instead."
        )


def _unseen(store: Store, upto: int | None = None) -> tuple[int, int]:
    """The place of the test order from which on no answer (of those up to a place) is known, and the items there."""
    plan = LookPlan.of(store.events("imported")[0].body)
    ranks = {item.position: item.test_rank for item in store.items() if item.split == Split.TEST}
    seen = [ranks[a.item] for a in store.annotations(upto) if a.item in ranks]
    first = 1 + max((rank for rank in seen if rank is not None and rank < plan.reserved), default=-1)
    return first, plan.reserved - first


def changes(store: Store) -> list[tuple[int, Change]]:
    """All changes of the claim in their order, each with the version of the settings that made it."""
    return [
        (event.body["setting"], Change.of({k: v for k, v in event.body.items() if k != "setting"}))
        for event in store.events("changed")
    ]


def current_settings(store: Store) -> Settings:
    """The newest settings that the store knows; the defaults for a store that knows none."""
    found = store.setting()
    return from_json(found[1]) if found else Settings()


def ended(store: Store, settings: Settings) -> Decision | None:
    """The decision that ended the loop; None while it goes on, and once its reason, or the claim, was changed."""
    stops, changed = store.events("stopped"), store.events("changed")
    if not stops or (changed and changed[-1].position > stops[-1].position):
        return None
    return in_force(stops[-1].body, settings)


def plan_of(store: Store) -> LookPlan:
    """The sizes of the looks, counted from the first test item that may still be used."""
    found = changes(store)
    plan = LookPlan.of(store.events("imported")[0].body)
    return plan.starting(found[-1][1].first) if found else plan


def settled_since(store: Store) -> int:
    """The version of the settings since which the model is the same kind of model."""
    return max((version for version, change in changes(store) if change.settles), default=0)


def look_asked(store: Store) -> bool:
    """Whether a person asked for a look that has not been made."""
    found = changes(store)
    scored = any(r.ranked_at and r.number != COLD_START for r in store.rounds())
    return bool(scored and found and found[-1][1].look and len(store.looks()) == found[-1][1].looks)


def moved_end(before: Settings, now: Settings) -> bool:
    """Whether the end is another one than it was."""
    return any(_within(key, _ENDS) for key in differences(before, now))


def _within(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(section + ".") for section in sections)
