"""The trail of a loop: everything that happened is an entry, and nothing tells what is not to be known yet."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from loops import open_loop, oracle, run_to_end, settings, write_points

from active_loop.changes import change_of
from active_loop.domain import Stopped
from active_loop.history import KINDS, History, history, tables
from active_loop.loop import Loop
from active_loop.settings import Settings, to_json
from active_loop.store import Store


def loop_of(folder: Path, answers: int | None = None, **changes: Any) -> Loop:
    """A loop that runs and has so many answers at least, or one that has ended."""
    labels = write_points(folder)
    loop = open_loop(folder, oracle(labels), settings(**{"target": {"value": 0.999}, **changes}))
    if answers is None:
        assert isinstance(run_to_end(loop), Stopped)
    while answers and loop.store.annotation_position() < answers:
        loop.step()
    return loop


def change(store: Store, told: Settings) -> None:
    effect = change_of(store, told)
    store.add_setting(to_json(told), effect.as_dict() if effect else None)


def facts_of(found: History, what: str) -> dict[str, str]:
    """The facts of the newest entry that begins so."""
    return dict(next(entry.facts for entry in found.entries if entry.what.startswith(what)))


@pytest.fixture
def bare() -> Iterator[Store]:
    store = Store(":memory:", now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
    yield store
    store.close()


def test_a_store_that_knows_nothing_has_no_trail(bare: Store) -> None:
    assert history(bare) == History((), (), ())


def test_every_round_look_setting_import_and_event_is_one_entry_newest_first(tmp_path: Path) -> None:
    store = loop_of(tmp_path).store
    found = history(store)
    counts = Counter(entry.kind for entry in found.entries)
    assert counts["rounds"] == len(store.rounds()) == len(found.rounds)
    assert counts["looks"] == len(store.looks()) > 0
    assert counts["settings"] == 1
    assert counts["data"] == 1
    assert counts["data"] + counts["events"] == len(store.events())
    assert set(counts) <= set(KINDS)
    times = [entry.at for entry in found.entries]
    assert times == sorted(times, reverse=True)
    assert found.entries[-1].what in (
        "150 items came in.",
        "The loop was created.",
        "The loop began with its settings.",
    )


def test_a_round_tells_all_that_was_measured_of_it(tmp_path: Path) -> None:
    store = loop_of(tmp_path).store
    newest = store.rounds()[-1]
    facts = facts_of(history(store), f"Round {newest.number} learned from {newest.record['n_labels']} labels")
    assert facts["Model"] == newest.record["model"]
    assert facts["Features"] == newest.record["features"]
    assert facts["Predicts as an earlier round did"] == f"{100 * newest.record['agreement']:.1f} %"
    assert f"numpy {newest.record['libraries']['numpy']}" in facts["Libraries"]
    assert facts["Seed"] == "0"
    assert sum(int(part.split()[-1]) for part in facts["Labels by class"].split(", ")) == newest.record["n_labels"]


def test_while_the_loop_runs_nothing_names_an_item_or_what_the_test_order_follows_from(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, 70, seed=77)
    found = history(loop.store)
    text = json.dumps([[entry.what, entry.note, entry.facts] for entry in found.entries])
    assert len(found.rounds) > 2
    assert not any(entry.items for entry in found.entries)
    assert not re.search(r"seed\W*77", text)
    assert not any(name in ("Seed", "seed", "Labels by class") for entry in found.entries for name, _ in entry.facts)
    assert {line.seed for line in found.rounds} == {None}
    assert "seed" not in " ".join(line.model or "" for line in found.rounds)
    assert isinstance(run_to_end(loop), Stopped)
    assert facts_of(history(loop.store), "The loop began")["seed"] == "0 → 77"


def test_what_was_found_after_a_stop_is_hidden_once_the_loop_goes_on_again(bare: Store) -> None:
    bare.add_setting(to_json(settings(budget={"answers": 90})))
    limits = {"budget": 90}
    bare.add_event("stopped", {"reason": "budget", "because": "", "verdict": "not reached", "limits": limits})
    bare.add_event("suspects", {"n_labels": 90, "found": [{"item": 7, "given": "red", "suggested": "blue"}]})
    assert [entry.items for entry in history(bare).entries if entry.items] == [(7,)]
    bare.add_setting(to_json(settings(budget={"answers": 120})))
    found = history(bare)
    assert not any(entry.items for entry in found.entries)
    assert "1 label looks wrong." in [entry.what for entry in found.entries]


def test_a_change_of_settings_says_from_what_to_what_and_what_it_did_to_the_claim(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, 70)
    easier = replace(loop.settings, target=replace(loop.settings.target, value=0.9), name="other")
    change(loop.store, easier)
    entry = next(entry for entry in history(loop.store).entries if entry.kind == "settings")
    assert entry.what == "Settings changed: name, target.value."
    assert dict(entry.facts) == {"target.value": "0.999 → 0.9", "name": "points → other"}
    assert entry.note.startswith("target.value changed after scores were shown: the next look uses test items")


def test_secrets_are_never_told(bare: Store) -> None:
    bare.uid()
    bare.add_setting(to_json(settings()))
    hidden = {"command": "curl https://hooks.example/T0KEN"}
    named = {"url": "https://ann:pass@studio.example", "token_file": "/home/ann/token"}
    bare.add_setting(to_json(settings(notify=hidden, labeling=named)))
    found = history(bare)
    text = repr(found) + repr(tables(found))
    assert not any(secret in text for secret in ("T0KEN", "pass@", "/home/ann", bare.key().hex()))
    assert facts_of(found, "Settings changed")["notify.command"] == "changed; not shown here"


def test_a_kind_of_event_that_is_not_known_is_told_by_its_name_alone(bare: Store) -> None:
    bare.add_event("moved", {"item": 3, "split": "test"})
    (entry,) = history(bare).entries
    assert (entry.what, entry.facts) == ("moved", ())


def test_the_stop_says_why(tmp_path: Path) -> None:
    found = history(loop_of(tmp_path).store)
    assert "The loop stopped: the budget is spent." in [entry.what for entry in found.entries]
    assert facts_of(found, "The loop stopped")["budget"] == "90"


def test_tables_hold_every_round_look_and_other_entry_once(tmp_path: Path) -> None:
    found = history(loop_of(tmp_path).store)
    rows = tables(found)
    assert [row["round"] for row in rows["rounds"]] == [line.round for line in found.rounds]
    assert [row["number"] for row in rows["looks"]] == [look.number for look in found.looks]
    assert len(rows["rounds"]) + len(rows["looks"]) + len(rows["events"]) == len(found.entries)


def test_times_among_the_facts_are_in_the_time_zone_of_the_budget(tmp_path: Path) -> None:
    store = loop_of(tmp_path, 40, budget={"time_zone": "Asia/Seoul"}).store
    assert facts_of(history(store), "Round 0")["Began"].startswith("2026-01-01 09:")
    assert facts_of(history(store), "Round 0")["Began"].endswith("KST")
