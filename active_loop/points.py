"""Which pool items people may see as points of a map, and what is said of each.

As long as a loop runs nobody may learn what is asked or tested next. So a point is an item that was labelled and whose
page says why it was asked, or one that nobody was asked about and that is not on the list of what comes next. All
others are in the counts alone, which stand as they were after the newest round.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .changes import current_settings
from .domain import COLD_START, Round, RoundState
from .portrait import Portrait, Portraits
from .reasons import Reasons, readable
from .settings import Settings, from_json
from .store import Store
from .tasks import make_task

COLOURS: Final = 8
"""Groups that a map tells apart by colour; the rarer ones have one colour together."""

_STEPS: Final = 6
"""Groups into which predicted numbers are put."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a store says of who may be seen.

    `rounds` are the two newest ranked ones that learned something, the newest first; `told` are items whose page says
    why they were asked, `taken` those that somebody was asked about or that come next. While the loop `runs` these
    count; then nothing is hidden. `searched` is the newest round that searched for its model.
    """

    folder: Path
    name: str
    n_items: int
    rounds: tuple[Round, ...]
    settings: tuple[Settings, ...] = field(repr=False)
    runs: bool
    told: frozenset[int] = field(repr=False)
    taken: frozenset[int] = field(repr=False)
    searched: Round | None = None

    @property
    def portraits(self) -> Portraits:
        return Portraits(self.folder / "cache")

    @property
    def stamp(self) -> tuple[int, tuple[str, int]] | None:
        """Which of the rounds is shown, the newest that has a portrait, and which portrait that is; None: none is."""
        stamps = ((place, self.portraits.stamp(round_)) for place, round_ in enumerate(self.rounds))
        return next(((place, stamp) for place, stamp in stamps if stamp), None)

    def may_be_labelled(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of labelled items: which may be shown with their labels."""
        return np.array([not self.runs or item in self.told for item in items.tolist()], dtype=bool)


@dataclass(frozen=True, slots=True)
class Group:
    """What points of one colour have in common; `n` of the points are predicted so, `n_labelled` were labelled so."""

    name: str
    n: int
    n_labelled: int


@dataclass(frozen=True, slots=True)
class Points:
    """The points of a map: pool `items`, each with its `place` (n, 2), its `group`, and whether it was `labelled`.

    The group of a labelled item is that of its label, of another one that of the prediction. `n_pool` and `n_test`
    items there are in all, points or not.
    """

    round: int
    groups: tuple[Group, ...]
    items: NDArray[np.int64]
    place: NDArray[np.float32]
    group: NDArray[np.uint8]
    labelled: NDArray[np.bool_]
    n_pool: int
    n_test: int
    runs: bool
    _said: Mapping[int, str] = field(repr=False)
    _predicted: Mapping[int, tuple[str, float | None]] = field(repr=False)

    @property
    def n_labelled(self) -> int:
        return int(self.labelled.sum())

    def label(self, item: int) -> str:
        """What people said of a point, as of the round; empty if nothing."""
        return self._said.get(item, "")

    def predicted(self, item: int) -> tuple[str, float | None] | None:
        """What is predicted of a point, with the chance where there is one; None for what is no point."""
        return self._predicted.get(item)


def sight(store: Store) -> Sight:
    """Who may be seen, as the store has it now."""
    with store.snapshot():
        ranked = [r for r in store.rounds() if r.state == RoundState.RANKED and r.number != COLD_START]
        rounds = tuple(reversed(ranked[-2:]))
        reasons, now = Reasons.of(store), current_settings(store)
        asked = {ask.item for ask in store.asks()}
        coming = {ask.item for ask in store.ranked_asks(store.n_items())}
        versions = (store.setting(round_.setting) for round_ in rounds)
        return Sight(
            folder=Path(store.path).parent,
            name=now.name,
            n_items=store.n_items(),
            rounds=rounds,
            settings=tuple(from_json(found[1]) if found else now for found in versions),
            runs=reasons.runs,
            told=frozenset(filter(reasons.is_told, asked)),
            taken=frozenset(asked | coming),
            searched=next((r for r in reversed(ranked) if r.record.get("trials")), None),
        )


def points(seen: Sight, portrait: Portrait, settings: Settings) -> Points:
    """The points of a portrait that may be seen; `settings` are those of its round."""
    task = make_task(settings.task)
    labels = dict(zip(portrait.labelled.tolist(), task.decode(portrait.codes), strict=True))
    names, predicted = _grouped(portrait, settings)
    may = dict(zip(portrait.labelled.tolist(), seen.may_be_labelled(portrait.labelled).tolist(), strict=True))
    items = portrait.items.tolist()
    shown = np.array([may.get(i, not seen.runs or i not in seen.taken) for i in items], dtype=bool)
    labelled = np.array([item in may for item in items], dtype=bool)
    group = predicted.copy()
    place_of = {item: row for row, item in enumerate(items)}
    for item, code in zip(portrait.labelled.tolist(), _label_groups(portrait, settings), strict=True):
        group[place_of[item]] = code
    kept, counts = portrait.items[shown], np.bincount(predicted[shown & ~labelled], minlength=len(names))
    of_labels = np.bincount(group[shown & labelled], minlength=len(names))
    order = sorted(range(len(names)), key=lambda code: -(counts[code] + of_labels[code]))
    if task.kind == "number":
        order.sort()
    colour = {code: min(place, COLOURS) for place, code in enumerate(order)}
    return Points(
        round=portrait.round,
        groups=_groups(names, order, counts, of_labels),
        items=kept,
        place=portrait.place[shown],
        group=np.array([colour[code] for code in group[shown].tolist()], dtype=np.uint8),
        labelled=labelled[shown],
        n_pool=len(items),
        n_test=seen.n_items - len(items),
        runs=seen.runs,
        _said={item: readable(label) for item, label in labels.items() if may[item]},
        _predicted=_predictions(portrait, settings, kept.tolist(), shown),
    )


def _grouped(portrait: Portrait, settings: Settings) -> tuple[list[str], NDArray[np.int64]]:
    """Names of all groups, and the group of each pool item by what is predicted of it."""
    if settings.task.learned != "number":
        names = [*settings.task.classes, *([readable("[]")] if settings.task.learned == "multi_label" else [])]
        return names, portrait.predicted.astype(np.int64)
    edges = _edges(portrait)
    ends = [f"{edge:.4g}" for edge in edges]
    names = [f"< {ends[0]}", *(f"{low} – {high}" for low, high in itertools.pairwise(ends)), f"≥ {ends[-1]}"]
    return names, np.searchsorted(edges, portrait.predicted, side="right")


def _label_groups(portrait: Portrait, settings: Settings) -> list[int]:
    """The group of each labelled item by its label; of several labels the first counts."""
    match settings.task.learned:
        case "number":
            return [int(code) for code in np.searchsorted(_edges(portrait), portrait.codes, side="right")]
        case "multi_label":
            n = len(settings.task.classes)
            return [int(row.argmax()) if row.any() else n for row in portrait.codes]
    return [int(code) for code in portrait.codes]


def _edges(portrait: Portrait) -> NDArray[np.float64]:
    """Where one group of predicted numbers ends and the next begins: as many items in each, as far as that goes."""
    shares = np.arange(1, _STEPS) / _STEPS
    edges: NDArray[np.float64] = np.unique(np.quantile(portrait.predicted, shares))
    return edges


def _groups(names: list[str], order: list[int], counts: Any, labelled: Any) -> tuple[Group, ...]:
    """The groups that have a colour, in this order; the last one holds the rest and has no name."""
    all_of = [Group(names[code], int(counts[code]), int(labelled[code])) for code in order]
    first, rest = all_of[:COLOURS], all_of[COLOURS:]
    if not rest:
        return tuple(first)
    return (*first, Group("", sum(group.n for group in rest), sum(group.n_labelled for group in rest)))


def _predictions(
    portrait: Portrait, settings: Settings, kept: list[int], shown: NDArray[np.bool_]
) -> dict[int, tuple[str, float | None]]:
    if settings.task.learned == "number":
        return {item: (f"{value:.4g}", None) for item, value in zip(kept, portrait.predicted[shown], strict=True)}
    names, codes = _grouped(portrait, settings)
    said = zip(kept, codes[shown].tolist(), portrait.chance[shown].tolist(), strict=True)
    return {item: (names[code], chance) for item, code, chance in said}
