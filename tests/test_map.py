"""The map over real loops: who is a point while the loop runs, and what is said of a point."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from loops import CLASSES, open_loop, oracle, run_to_end, settings, write_points
from PIL import Image

from active_loop.domain import COLD_START, AskState, Purpose, RoundState, Split
from active_loop.loop import Loop
from active_loop.points import COLOURS, points, sight
from active_loop.portrait import Portraits
from active_loop.reasons import Reasons
from active_loop.server import create_app
from active_loop.settings import Settings
from active_loop.sources import open_source
from active_loop.store import Store


def portrayed(folder: Path, told: Settings | None = None, *, rounds: int | None = None) -> Loop:
    """A loop with portraits, run to its end or until it has portrayed so many rounds."""
    loop = open_loop(folder, oracle(write_points(folder, 300)), told, portraits=True)
    if rounds is None:
        run_to_end(loop)
        return loop
    for _ in range(2000):
        known = loop.store.rounds()
        ranked = [r for r in known if r.state == RoundState.RANKED and r.number != COLD_START]
        if len(ranked) >= rounds and known[-1] is ranked[-1] and Portraits(loop.jobs.cache).stamp(ranked[-1]):
            return loop
        loop.step()
    raise RuntimeError("no portrait was made")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Loop]:
    loop = portrayed(tmp_path, rounds=3)
    with closing(loop.store):
        yield loop


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Loop]:
    loop = portrayed(tmp_path)
    with closing(loop.store):
        yield loop


def app_of(folder: Path) -> Flask:
    found = open_source(settings().data, folder)
    opened = partial(Store, folder / "loop.db", readonly=True)
    made: Flask = create_app(opened, wake=lambda: None, secret="s", source=lambda: found)
    return made


def get(loop: Loop, path: str, **options: Any) -> Any:
    return app_of(loop.jobs.folder).test_client().get(path, buffered=True, **options)


def sent(loop: Loop) -> dict[int, tuple[int, bool]]:
    """The points as the browser reads them: item → (group, whether it was labelled)."""
    body = get(loop, "/map/points.bin").data
    n = int(np.frombuffer(body, "<u4", 1)[0])
    assert len(body) == 4 + 10 * n
    items = np.frombuffer(body, "<i4", n, 4)
    groups, labelled = (np.frombuffer(body, np.uint8, n, 4 + at * n) for at in (8, 9))
    return {int(i): (int(g), bool(k)) for i, g, k in zip(items, groups, labelled, strict=True)}


def test_no_point_is_an_item_that_tests_is_asked_or_comes_next(running: Loop) -> None:
    while not running.store.unanswered():
        running.step(collect=False)
    store, shown = running.store, sent(running)
    assert all(running.standing.items[item].split == Split.POOL for item in shown)
    coming = {ask.item for ask in store.ranked_asks(1000)}
    waiting = {ask.item for ask in store.asks() if ask.state in (AskState.SENDING, AskState.OPEN)}
    unanswered = {ask.item for ask in store.unanswered()}
    assert coming
    assert unanswered
    assert not coming & shown.keys()
    assert not {item for item in waiting & shown.keys() if not shown[item][1]}
    assert not unanswered & shown.keys()


def test_a_labelled_point_has_a_page_that_says_why_it_was_asked(running: Loop) -> None:
    reasons = Reasons.of(running.store)
    labelled = {item for item, (_, known) in sent(running).items() if known}
    held = {a.item for a in running.store.asks() if a.purpose == Purpose.POOL} - labelled
    assert labelled
    assert held
    assert all(reasons.is_told(item) for item in labelled)


def test_all_other_pool_items_are_points(running: Loop) -> None:
    shown = sent(running)
    taken = {ask.item for ask in running.store.asks()} | {ask.item for ask in running.store.ranked_asks(1000)}
    assert {i for i, (_, known) in shown.items() if not known} == set(running.standing.pool.tolist()) - taken


def test_an_answer_moves_nothing_on_the_map(running: Loop) -> None:
    before = get(running, "/map").text, get(running, "/map/points.bin").data
    ranked = running.store.rounds()[-1]
    steps = 0
    while ranked == [r for r in running.store.rounds() if r.state == RoundState.RANKED][-1]:
        assert (get(running, "/map").text, get(running, "/map/points.bin").data) == before
        running.step()
        steps += 1
    assert steps > 1


def test_after_the_stop_every_pool_item_is_a_point(ended: Loop) -> None:
    assert sent(ended).keys() == set(ended.standing.pool.tolist())
    assert "left out while the loop runs" not in get(ended, "/map").text


def test_what_is_said_of_a_point(running: Loop) -> None:
    shown = sent(running)
    labelled = next(item for item, (_, known) in shown.items() if known)
    other = next(item for item, (_, known) in shown.items() if not known)
    merged = running.standing.merge(running.store.rounds()[-1].annotation_position)
    said = get(running, f"/map/item/{labelled}").text
    assert f"People said {merged[labelled].label}." in said
    assert f"/items/{labelled}" in said
    said = get(running, f"/map/item/{other}").text
    assert "Nobody has labelled it." in said
    assert any(f"The model says {name} (chance" in said for name in CLASSES)
    assert f"/items/{other}" not in said


def test_what_is_no_point_has_no_address(running: Loop) -> None:
    shown = sent(running)
    others = [item.position for item in running.standing.items if item.position not in shown]
    assert others
    app = app_of(running.jobs.folder).test_client()
    assert {app.get(f"/map/item/{item}", buffered=True).status_code for item in (*others, 10**6)} == {404}
    assert app.get(f"/map/item/{others[0]}/picture", buffered=True).status_code == 404


def test_the_points_are_sent_once(running: Loop) -> None:
    first = get(running, "/map/points.bin")
    again = get(running, "/map/points.bin", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_without_a_script_there_is_a_picture_with_all_points(running: Loop) -> None:
    assert '<img class="density" src="/map/density.png"' in get(running, "/map").text
    with Image.open(io.BytesIO(get(running, "/map/density.png").data)) as image:
        seen = np.asarray(image)
    assert seen.shape[2] == 4
    assert 0 < (seen[::5, ::5, 3] > 0).sum() <= len(sent(running))


def test_the_legend_counts_the_points(running: Loop) -> None:
    seen = sight(running.store)
    portrait = Portraits(running.jobs.cache).find(seen.rounds[0])
    assert portrait is not None
    found, shown = points(seen, portrait, seen.settings[0]), sent(running)
    for place, group in enumerate(found.groups):
        mine = [known for code, known in shown.values() if code == place]
        assert (mine.count(False), mine.count(True)) == (group.n, group.n_labelled)
    assert sum(group.n + group.n_labelled for group in found.groups) == len(shown)


def test_many_classes_share_the_last_colour(tmp_path: Path) -> None:
    names = tuple(f"class {n}" for n in range(COLOURS + 4))
    truth = np.random.default_rng(0).choice(names, 300).tolist()
    write_points(tmp_path, 300)
    told = settings(task={"classes": names}, budget={"answers": 120})
    loop = open_loop(tmp_path, oracle(truth), told, portraits=True)
    run_to_end(loop)
    assert {group for group, _ in sent(loop).values()} <= set(range(COLOURS + 1))
    text = get(loop, "/map").text
    loop.store.close()
    assert text.count('<li data-group="') == COLOURS + 1
    assert "all others" in text


def test_before_the_first_round_the_page_says_what_will_stand_there(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)))
    loop.step()
    loop.step()
    assert "There is no map yet." in get(loop, "/map").text
    assert "There is no model yet." in get(loop, "/model").text
    assert get(loop, "/map/points.bin").status_code == 404
    loop.store.close()


def test_a_deleted_cache_is_said_and_not_an_error(ended: Loop) -> None:
    for path in Portraits(ended.jobs.cache).folder.iterdir():
        path.unlink()
    for page, words in (("/map", "is not drawn yet"), ("/model", "is not looked at yet")):
        response = get(ended, page)
        assert response.status_code == 200
        assert words in response.text


def test_a_portrait_that_comes_without_a_commit_is_shown(ended: Loop) -> None:
    app = app_of(ended.jobs.folder).test_client()
    path = next(Portraits(ended.jobs.cache).folder.iterdir())
    body = path.read_bytes()
    path.unlink()
    assert "is not drawn yet" in app.get("/map", buffered=True).text
    path.write_bytes(body)
    assert "is not drawn yet" not in app.get("/map", buffered=True).text


def test_nothing_on_the_page_needs_a_looser_policy(running: Loop) -> None:
    for path in ("/map", "/model", f"/map/item/{next(iter(sent(running)))}"):
        text = get(running, path).text
        assert " style=" not in text
        assert "<style" not in text
        assert "<script>" not in text
        assert " onclick=" not in text
