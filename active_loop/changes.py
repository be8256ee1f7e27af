"""What may be changed while a loop runs: what the items rest on never, what the claim is about not after a score."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ConfigError
from .settings import Settings, differences, from_json
from .store import Store

_FIXED = ("seed", "data", "query.n0", "query.retrain_every")
"""What the items, their order and the numbering of rounds rest on: never changed once items are there."""

_ENDS = (
    *("budget.answers", "budget.hours", "budget.money", "budget.price_per_hour", "budget.seconds_per_label"),
    *("stop.deadline", "budget.time_zone"),
)
"""What the end rests on: one that was moved after a score was shown is a choice, and opens no gate."""

_CLAIMED = (
    *("task.kind", "task.classes", "target", "features", "model"),
    *("query.strategy", "query.random_share", "query.cold_start", "people"),
)
"""What the claim is about: not changed once a score was shown."""


def refuse_changes(store: Store, settings: Settings) -> None:
    """Refuse settings that would take the ground from under what the store holds: `ConfigError` names the keys."""
    known = store.setting()
    if not known or not store.n_items():
        return
    changed = differences(from_json(known[1]), settings)
    fixed = [key for key in changed if _within(key, _FIXED)]
    if from_json(known[1]).is_search != settings.is_search:
        fixed.append("target.metric")  # a search has reserved nothing, and everything else has
    if fixed:
        raise ConfigError(
            f"cannot change {', '.join(fixed)}: the items and their test order rest on it since the import; "
            "start a new loop folder instead."
        )
    claimed = [key for key in changed if _within(key, _CLAIMED)]
    if claimed and store.scores():
        raise ConfigError(
            f"cannot change {', '.join(claimed)} now: scores on the test items were shown already, and a claim "
            "chosen after them would not be honest; put the old value back, or start a new loop folder."
        )


def moved_end(before: Settings, now: Settings) -> bool:
    """Whether the end is another one than it was."""
    return any(_within(key, _ENDS) for key in differences(before, now))


def _within(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(section + ".") for section in sections)
