"""The page of the model: its figures by hand, and its words over real loops of each kind."""

from __future__ import annotations

import csv
import re
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import open_loop, oracle, run_to_end, settings, write_points

from active_loop.domain import Round, RoundState
from active_loop.evaluate import lower_bound, metric_for, upper_bound
from active_loop.figures import Figures, Share, figures
from active_loop.loop import Loop
from active_loop.points import Sight, sight
from active_loop.portrait import Portrait, Portraits
from active_loop.reasons import Reasons
from active_loop.server import create_app
from active_loop.settings import Settings, TargetSettings, TaskSettings
from active_loop.store import Store
from active_loop.tasks import MultiLabel, make_task

NONE = np.empty(0)


def seen(told: Settings, told_of: frozenset[int] = frozenset(), *, runs: bool = True, **record: Any) -> Sight:
    round_ = Round(3, RoundState.RANKED, 0, 0, 1, 0, record=record)
    return Sight(Path(), "leaves", 100, (round_,), (told,), runs, told_of, frozenset())


def portrait(codes: Any, held_out: Any, history: Any = ()) -> Portrait:
    """A portrait of labelled items 0, 2, 4 … whose predictions out of fold are these."""
    items = 2 * np.arange(len(codes))
    place = np.zeros((len(codes), 2), np.float32)
    rows = np.array(history, dtype=float).reshape(-1, 4)
    return Portrait(3, items, place, NONE, NONE, items, np.asarray(codes), np.asarray(held_out, float), rows)


TWO = settings(task={"classes": ("oak", "elm")})
CODES = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
CHANCE_OF_OAK = np.array([0.95, 0.85, 0.25, 0.65, 0.05, 0.15, 0.25, 0.35, 0.08, 0.02])
FOUND = portrait(CODES, np.column_stack([CHANCE_OF_OAK, 1 - CHANCE_OF_OAK]))


def of(told: Settings = TWO, found: Portrait = FOUND, groups: Any = None, **options: Any) -> Figures:
    return figures(seen(told, **options), 0, found, groups or {})


def test_what_is_taken_for_what_by_hand() -> None:
    found = of()
    assert found.counts == ((2, 1), (1, 6))
    assert found.overall == Share(8, 10)
    oak, elm = found.of_classes
    assert (oak.precision, oak.recall) == (Share(2, 3), Share(2, 3))
    assert (elm.precision, elm.recall) == (Share(6, 7), Share(6, 7))
    assert oak.f1 == pytest.approx(2 / 3)


def test_intervals_are_those_of_the_looks() -> None:
    share = Share(6, 7)
    assert (share.low, share.high) == (lower_bound(6, 7, 0.025), upper_bound(6, 7, 0.025))
    assert (Share(0, 0).value, Share(0, 0).low, Share(0, 0).high) == (None, 0.0, 1.0)


def test_a_class_that_nothing_is_of_and_nothing_is_taken_for_has_no_f1() -> None:
    told = settings(task={"classes": ("oak", "elm", "ash")})
    held = np.column_stack([FOUND.held_out, np.zeros(10)])
    assert of(told, replace(FOUND, held_out=held)).of_classes[2].f1 is None


def test_errors_of_the_chances_by_hand() -> None:
    found = of()
    sure = np.maximum(CHANCE_OF_OAK, 1 - CHANCE_OF_OAK)
    assert sum(each.share.n for each in found.calibration) == 10
    right = np.array([True, True, False, False, True, True, True, True, True, True])
    by_hand = sum(
        abs(right[bins].mean() - sure[bins].mean()) * bins.mean()
        for low in range(10)
        if (bins := (np.minimum((sure * 10).astype(int), 9) == low)).any()
    )
    assert found.calibration_error == pytest.approx(by_hand)


def test_the_brier_score_is_the_metric_of_that_name() -> None:
    for told, held in (
        (TWO, FOUND.held_out),
        (settings(task={"classes": ("oak", "elm", "ash")}), np.column_stack([FOUND.held_out * 0.9, np.full(10, 0.1)])),
    ):
        metric = metric_for(make_task(told.task), TargetSettings("brier", 0.1))
        found = of(told, replace(FOUND, held_out=held)).brier
        assert found == pytest.approx(metric.read(CODES, held, np.random.default_rng(0)).value)


def test_groups_are_listed_by_size_with_their_shares() -> None:
    groups = {item: "yard" if item < 14 else "forest" for item in FOUND.labelled.tolist()}
    assert of(groups=groups).of_groups == (("yard", Share(5, 7)), ("forest", Share(3, 3)))


def test_mistakes_are_of_items_whose_page_says_why_until_the_stop() -> None:
    assert of().mistakes == ()
    assert [each.item for each in of(told_of=frozenset({6})).mistakes] == [6]
    found = of(runs=False).mistakes
    assert [(each.item, each.label, each.predicted) for each in found] == [(4, "oak", "elm"), (6, "elm", "oak")]
    assert found[0].chance == pytest.approx(0.75)


def test_figures_of_several_labels_are_label_by_label() -> None:
    told = settings(task={"kind": "multi_label", "classes": ("sun", "rain")}, target={"metric": "subset_accuracy"})
    codes = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    held = np.array([[0.9, 0.2], [0.8, 0.1], [0.6, 0.4], [0.3, 0.9]])
    found = of(told, portrait(codes, held), runs=False)
    assert found.overall == Share(2, 4)
    sun, rain = found.of_classes
    assert (sun.precision, sun.recall) == (Share(2, 3), Share(2, 2))
    assert (rain.precision, rain.recall) == (Share(1, 1), Share(1, 2))
    assert [(each.item, each.label, each.predicted) for each in found.mistakes] == [
        (2, "sun + rain", "sun"),
        (4, "(none)", "sun"),
    ]
    assert found.counts == found.calibration == ()


def test_figures_of_numbers_are_errors() -> None:
    told = settings(task=TaskSettings(kind="number", classes=()), target={"metric": "mae", "value": 1.0})
    found = of(told, portrait(np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 1.0])), runs=False)
    assert found.numbers is not None
    assert found.numbers.mean_error == pytest.approx(2.5 / 3)
    assert found.numbers.bias == pytest.approx(-0.5)
    assert found.numbers.r2 == pytest.approx(1 - 4.25 / 2)
    assert [each.item for each in found.mistakes] == [4, 0]
    assert found.overall is None


# the page


def page(loop: Loop) -> str:
    opened = partial(Store, loop.jobs.folder / "loop.db", readonly=True)
    app = create_app(opened, wake=lambda: None, secret="s", source=lambda: loop.source)
    response = app.test_client().get("/model", buffered=True)
    assert response.status_code == 200
    return response.text


def plain(text: str) -> str:
    text = re.sub(r"<(title|head|svg)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_the_page_of_a_loop_says_what_its_figures_say_and_that_they_prove_nothing(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), portraits=True)
    run_to_end(loop)
    with closing(loop.store):
        now = sight(loop.store)
        kept = Portraits(loop.jobs.cache).find(now.rounds[0])
        assert kept is not None
        found = figures(now, 0, kept, {})
        said = plain(page(loop))
    assert found.overall is not None
    assert f"Of {found.overall.n} labels that it had not seen, the model foretells {found.overall.right}." in said
    assert "prove nothing" in said
    assert said.count("The proof is on the overview.") == 1
    assert "it does not memorise" in said
    assert "the settings name logistic" in said


def test_a_model_that_knows_its_labels_by_heart_is_told(tmp_path: Path) -> None:
    senseless = np.random.default_rng(3).choice(["red", "green", "blue"], 150).tolist()
    write_points(tmp_path)
    loop = open_loop(tmp_path, oracle(senseless), settings(model={"use": "forest"}), portraits=True)
    run_to_end(loop)
    with closing(loop.store):
        assert "it memorises more than it learns" in plain(page(loop))


def test_no_mistake_is_linked_while_the_loop_runs_unless_its_page_says_why(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    labels = [name if rng.random() < 0.7 else "red" for name in write_points(tmp_path, 300)]
    loop = open_loop(tmp_path, oracle(labels), portraits=True)
    linked: set[int] = set()
    for _ in range(400):
        loop.step()
        rounds = loop.store.rounds()
        if loop.decision() or not rounds or rounds[-1].number < 2 or rounds[-1].state == RoundState.OPENED:
            continue
        here = {int(found) for found in re.findall(r'href="/items/(\d+)"', page(loop))}
        reasons = Reasons.of(loop.store)
        assert all(reasons.is_told(item) for item in here)
        linked |= here
        if len(linked) > 3:
            break
    loop.store.close()
    assert linked


@pytest.mark.parametrize("kind", ["number", "multi_label"])
def test_the_pages_of_other_kinds_have_words_and_a_drawing(tmp_path: Path, kind: str) -> None:
    write_points(tmp_path)
    with (tmp_path / "points.csv").open() as file:
        rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    if kind == "number":
        told = settings(
            task=TaskSettings(kind="number", classes=()),
            target={"metric": "mae", "value": 0.5},
            model={"use": "forest"},
        )
        labels = [f"{2 * x + y:.3f}" for x, y in rows]
    else:
        told = settings(task={"kind": "multi_label", "classes": ("far", "high")}, target={"metric": "subset_accuracy"})
        labels = MultiLabel(("far", "high")).decode(np.array([[x > 2, y > 2] for x, y in rows], dtype=int))
    loop = open_loop(tmp_path, oracle(labels), told, portraits=True)
    run_to_end(loop)
    with closing(loop.store):
        text = page(loop)
        opened = partial(Store, tmp_path / "loop.db", readonly=True)
        app = create_app(opened, wake=lambda: None, secret="s", source=lambda: loop.source).test_client()
        map_ = app.get("/map", buffered=True).text
        drawn = app.get("/map/density.png", buffered=True).status_code
    assert drawn == 200
    assert map_.count('<li data-group="') == (6 if kind == "number" else 3)
    assert ("the model is off by" if kind == "number" else "Label by label") in plain(text)
    assert "<svg" in text


def test_a_model_with_few_labels_says_so() -> None:
    few = replace(FOUND, held_out=FOUND.held_out[:0], codes=CODES[:4], labelled=FOUND.labelled[:4])
    found = of(TWO, few)
    assert (found.overall, found.counts, found.mistakes, found.n_labels) == (None, ((0, 0), (0, 0)), (), 4)


def test_a_model_that_was_searched_for_is_named_with_all_that_were_tried(tmp_path: Path) -> None:
    labels = write_points(tmp_path)
    told = settings(model={"use": "auto", "candidates": ("logistic", "nearest")}, target={"value": 0.99})
    loop = open_loop(tmp_path, oracle(labels), told, portraits=True)
    run_to_end(loop)
    tried = next(r.record for r in reversed(loop.store.rounds()) if r.record.get("trials"))
    client = create_app(
        partial(Store, tmp_path / "loop.db", readonly=True), wake=lambda: None, secret="x"
    ).test_client()
    page = client.get("/model").text
    assert f"· {loop.store.rounds()[-1].record['chosen']}" in page
    for trial in tried["trials"]:
        assert f"<td>{trial['candidate']}</td>" in page
    assert re.search(r"<td>(won|kept: it was the model before)</td>", page)
    assert "선택" in client.get("/model?language=ko").text
    loop.store.close()
