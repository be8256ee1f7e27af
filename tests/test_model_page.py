"""The page of the model: its figures by hand, and its words over real loops of each kind."""

from __future__ import annotations

import csv
import itertools
import re
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import open_loop, oracle, run_to_end, settings, write_points
from sklearn.ensemble import HistGradientBoostingClassifier

from active_loop.domain import Round, RoundState
from active_loop.evaluate import lower_bound, metric_for, upper_bound
from active_loop.figures import Figures, Fit, Share, figures, guess, is_better
from active_loop.loop import Loop
from active_loop.points import Sight, sight
from active_loop.portrait import Portrait, Portraits
from active_loop.reasons import Reasons
from active_loop.report import CurvePoint, status
from active_loop.server import create_app, plot
from active_loop.server.model import course, learned, memory, taming
from active_loop.settings import Settings, TargetSettings, TaskSettings
from active_loop.store import Store
from active_loop.tasks import MultiLabel, Number, make_task

NONE = np.empty(0)


def seen(
    told: Settings, told_of: frozenset[int] = frozenset(), *, runs: bool = True, searched: Any = None, **record: Any
) -> Sight:
    round_ = Round(3, RoundState.RANKED, 0, 0, 1, 0, record=record)
    found = Round(2, RoundState.RANKED, 0, 0, 1, 0, record={"trials": [], "search": searched}) if searched else None
    return Sight(Path(), "leaves", 100, (round_,), (told,), runs, told_of, frozenset(), found)


def portrait(codes: Any, held_out: Any, history: Any = (), course: Any = ()) -> Portrait:
    """A portrait of labelled items 0, 2, 4 … whose predictions out of fold are these."""
    items = 2 * np.arange(len(codes))
    place = np.zeros((len(codes), 2), np.float32)
    rows, steps = np.array(history, dtype=float).reshape(-1, 4), np.array(course, dtype=float).reshape(-1, 4)
    codes, held = np.asarray(codes), np.asarray(held_out, float)
    return Portrait(3, items, place, NONE, NONE, items, codes, held, rows, bool(len(steps)), steps)


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


# learning and memorising

HEARD = (0, 30, 0.99, 0.6)
"""A round that knows its 30 labels by heart and foretells three of five others."""


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([(0, 30, 0.90, 0.80)], "it does not memorise."),
        ([(0, 30, 0.99, 0.50)], "whether it learns as well shows when there are more labels."),
        ([HEARD, (1, 40, 1.0, 0.80)], "whether it learns as well shows when there are more labels."),
        ([HEARD, (1, 60, 1.0, 0.75)], "0.60 with 30 labels, 0.75 with 60. More labels still help."),
        ([HEARD, (1, 60, 1.0, 0.61)], "0.60 with 30 labels, 0.61 with 60. By now it memorises more than it learns."),
        ([HEARD, (1, 60, 0.9, 0.55)], "0.60 with 30 labels, 0.55 with 60. By now it memorises more than it learns."),
        ([HEARD, (1, 60, 0.9, 0.76)], "it does not memorise."),
    ],
)
def test_a_gap_is_weighed_by_whether_other_labels_are_foretold_better_than_before(history: Any, said: str) -> None:
    found = of(found=replace(FOUND, history=np.array(history, dtype=float)))
    assert learned(found.fits, 0.4).endswith(said)


def test_a_model_that_is_no_better_than_a_guess_does_not_learn() -> None:
    fits = (Fit(0, 30, 1.0, 0.30), Fit(1, 60, 1.0, 0.44))
    assert "(0.44) no better than always saying the same would (0.40): it memorises, and does not" in learned(fits, 0.4)
    assert learned(fits, 0.37).endswith("More labels still help.")


def test_what_chance_moves_is_no_better() -> None:
    assert not is_better(Fit(1, 100, 1.0, 0.649), 0.60)
    assert is_better(Fit(1, 100, 1.0, 0.651), 0.60)


def test_a_guess_is_the_commonest_label() -> None:
    assert of().guess == 0.7
    several = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    assert guess(MultiLabel(("a", "b")), several) == 0.5
    assert guess(Number(), np.array([1.0, 2.0])) == 0.0


TAMED = {"inside": 0.991, "outside": 0.62, "tried": ["forest(depth=3)", "logistic(C=0.01)"], "took": ""}


def test_what_a_search_did_about_it_is_said() -> None:
    assert "(0.99) much better than others (0.62), 2 tamer models were tried" in taming(TAMED)
    assert "none of them did better on labels that it had not seen. What helps is more labels" in taming(TAMED)
    assert taming({**TAMED, "took": "forest(depth=3)"}).endswith("as well; forest(depth=3) took over.")
    assert "1 tamer model was tried as well" in taming({**TAMED, "tried": ["x"]})


def test_what_was_done_is_read_from_the_round_that_searched() -> None:
    memorises = replace(FOUND, history=np.array([HEARD, (3, 90, 1.0, 0.6)], dtype=float))
    auto = replace(TWO, model=replace(TWO.model, use="auto"))
    assert memory(of(auto, memorises, searched={"tamed": TAMED}))[1] == taming(TAMED)
    assert len(memory(of(auto, memorises, searched={"near": []}))) == 1, "nothing was to be done"
    assert len(memory(of(auto, memorises))) == 1
    assert 'model.use = "auto"' in memory(of(TWO, memorises, searched={"tamed": TAMED}))[1]
    assert len(memory(of(TWO, replace(FOUND, history=np.array([[3, 90, 0.9, 0.85]]))))) == 1
    assert memory(of()) == []


def test_a_course_is_worse_in_the_end_only_by_more_than_a_standard_error() -> None:
    steps = [(1, 0.9, 1.0, 0.1), (2, 0.5, 0.7, 0.04), (3, 0.1, 0.75, 0.0)]
    found = of(found=replace(FOUND, learns_in_steps=True, course=np.array(steps))).course
    assert found is not None
    assert found.best.iteration == 2
    assert course(found) == "It is best after 2 of 3 iterations, and gets worse from there: it memorises."
    steps[1] = (2, 0.5, 0.7, 0.06)
    found = of(found=replace(FOUND, learns_in_steps=True, course=np.array(steps))).course
    assert found is not None
    assert course(found) == "More iterations do not make it worse."
    assert of().course is None


def heights(drawn: plot.Plot) -> list[float]:
    return [line.y for line in drawn.lines if line.name]


@pytest.mark.parametrize("width", [350, 700])
@pytest.mark.parametrize(
    "ends", [(1.0, 0.8, 0.8), (0.9, 0.9, 0.9), (0.3, 0.2, 0.25), (1.0, 0.0, 0.05), (1.0, 0.97, 0.94)]
)
def test_names_of_lines_are_apart_from_each_other_and_from_the_lines(
    ends: tuple[float, float, float], width: int
) -> None:
    inside, outside, test = ends
    rounds = [Fit(n, 10 * n + 10, inside, outside) for n in range(6)]
    points = [CurvePoint(n, 10 * n + 10, 10, test, test - 0.1, test + 0.1, 20) for n in range(6)]
    drawn = plot.fits(rounds, points, width)
    at = sorted(heights(drawn))
    assert len(at) == 3
    assert all(high - low > 15 for low, high in itertools.pairwise(at))
    for line in drawn.lines:
        if not line.look.startswith("band"):
            height = float(line.path.rpartition(" ")[2])
            assert not any(y - 12 < height < y + 4 for y in at), (line, at)


def test_the_lowest_loss_is_marked_and_its_words_stay_inside() -> None:
    for best in (1, 5, 10):
        steps = [(n, 1 / n, 0.5 + abs(n - best) / 10, 0.01) for n in range(1, 11)]
        found = of(found=replace(FOUND, learns_in_steps=True, course=np.array(steps))).course
        assert found is not None
        drawn = plot.course(found, 350)
        mark = next(line for line in drawn.lines if line.name == f"lowest after {best}")
        room = drawn.right - mark.x if mark.anchor == "start" else mark.x - drawn.left
        assert room > 7 * len(mark.name)
        assert len(set(heights(drawn))) == 3


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
        said = plain(page(loop))
    assert "it memorises, and does not learn." in said
    assert "What can be done: more labels, or model.use = &#34;auto&#34;" in said


def boosting() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=4)


def test_the_page_shows_the_iterations_of_a_model_that_has_some(tmp_path: Path) -> None:
    told = settings(model={"use": "test_model_page:boosting"}, budget={"answers": 50}, target={"metric": "macro_f1"})
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), told, portraits=True)
    run_to_end(loop)
    with closing(loop.store):
        text = page(loop)
    assert "<h2>By iteration</h2>" in text
    assert "lowest after" in text
    assert re.search("It is best after [1-8] of 9 iterations|More iterations do not make it worse", text)
    assert "The overview shows macro-F1 on the test items; that is another quantity" in text
    assert "on the test items</text>" not in text


def test_what_the_overview_reads_on_the_test_items_is_drawn_beside(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), portraits=True)
    run_to_end(loop)
    with closing(loop.store):
        text, curve = page(loop), status(loop.store).curve
    assert "By iteration" not in text
    assert text.count(">on the test items</text>") == 2
    readings = [f"<title>{each.n_labels} labels: {each.value:.2f}</title>" for each in curve if each.value is not None]
    assert readings
    assert all(text.count(each) >= 2 for each in readings)


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
