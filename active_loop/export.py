"""What people take away: every answered item, who said what, and how it was chosen; as a table, or for Label Studio.

Until the loop has stopped, nothing here tells anybody about a single test item.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .again import firsts
from .answers import heard, held_out
from .answers import merging as new_merging
from .changes import current_settings, ended
from .control import chances, is_random
from .domain import Ask, AskKind, Item, Merged, Purpose, Split
from .instructions import in_force, versions
from .reasons import Reasons
from .records import Source
from .report import is_learned
from .store import Store


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One labelled item, with who said so and how it was chosen.

    `chosen_by` is the strategy, "random" where nothing but chance chose, or "imported". `probability` is the chance
    with which chance chose it: of a test item among all items, of another one in its round, see `control.chances`.
    `instructions` are the versions of the instructions under which each of `people` answered, in their order.
    `why` says in words why it was asked, as far as that may be said now.
    """

    item: str
    row: str
    label: str | None
    outcome: str
    split: str
    people: str
    instructions: str
    agreement: float | None
    chosen_by: str
    round: int | None
    utility: float | None
    probability: float | None
    why: str


def export_rows(store: Store) -> list[ExportRow]:
    """Every item with an answer, in order of import.

    While the loop goes on, answers to test items are left out: nobody may see them before the last look.
    """
    with store.snapshot():
        settings = current_settings(store)
        merging = new_merging(settings, is_learned(store), held_out(heard(store.rounds(), store.annotation_position())))
        merging.add(store.annotations())
        merged, asked = merging.merged, store.asks()
        asks = firsts(asked)
        open_loop = ended(store, settings) is None
        facts = store.events("imported")[0].body if store.n_items() else {}
        n_tested = sum(ask.purpose == Purpose.TEST for ask in asks.values())
        chance = n_tested / facts["items"] if facts else None
        drawn = chances([*asks.values()], store.rounds(), merged)
        reasons = Reasons.of(store)
        told = _told(store, asked)
        return [
            _export_row(item, merged[item.position], asks.get(item.position), chance, drawn, reasons, told)
            for item in store.items()
            if item.position in merged and not (open_loop and item.split == Split.TEST)
        ]


def _told(store: Store, asks: Iterable[Ask]) -> Mapping[tuple[int, str], str]:
    """Under which version of the instructions each person's vote on an item was given; "" where its time is unknown."""
    known = versions(store.settings_history())
    items = {ask.id: ask.item for ask in asks}
    told: dict[tuple[int, str], str] = {}
    for answer in store.annotations():
        item = items[answer.ask] if answer.ask else answer.item
        version = in_force(known, answer.created_at)
        if item is not None and answer.asked != AskKind.REPEAT:
            told[item, answer.person] = str(version.number) if version else ""
    return told


def _export_row(
    item: Item,
    merged: Merged,
    ask: Ask | None,
    chance: float | None,
    drawn: Mapping[str, float],
    reasons: Reasons,
    told: Mapping[tuple[int, str], str],
) -> ExportRow:
    random = ask is not None and ask.strategy == "random"
    return ExportRow(
        item=item.id,
        row=item.row,
        label=merged.label,
        outcome=("disputed" if merged.disputed else merged.outcome.value),
        split=item.split.value,
        people=";".join(merged.people),
        instructions=";".join(told.get((item.position, person), "") for person in merged.people),
        agreement=merged.agreement,
        chosen_by="random" if ask and is_random(ask) else ask.strategy if ask else "imported",
        round=ask.round if ask else None,
        utility=ask.utility if ask else None,
        probability=(chance if item.split == Split.TEST and random else drawn.get(ask.id, ask.probability))
        if ask
        else None,
        why=reasons.why(item.position).text,
    )


def write_export(rows: Sequence[ExportRow], path: Path, source: Source | None = None, kind: str = "choice") -> None:
    """Write labels of a kind as CSV, Parquet or Label Studio JSON, by the ending of `path` (.csv, .parquet, .json)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    match path.suffix:
        case ".parquet":
            import pandas as pd

            pd.DataFrame([asdict(row) for row in rows], columns=list(ExportRow.__slots__)).to_parquet(temporary)
        case ".json":
            from .label_studio import export_tasks

            shown = source.shown([row.row for row in rows]) if source else [{} for _ in rows]
            temporary.write_text(
                json.dumps(export_tasks(rows, shown, kind=kind), ensure_ascii=False, indent=1), encoding="utf-8"
            )
        case _:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(ExportRow.__slots__))
                writer.writeheader()
                writer.writerows(asdict(row) for row in rows)
    temporary.replace(path)
