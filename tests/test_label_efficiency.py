"""The benchmark of label efficiency: one fair loop, right statistics, a run that can be resumed, and an honest page."""

from __future__ import annotations

import importlib
import io
import json
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from query_strategies import STRATEGIES

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The benchmark's modules."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("efficiency", "loop", "models", "page", "peers", "report", "sets")
    return SimpleNamespace(**{name: importlib.import_module(f"label_{name}") for name in names})


def blobs(folder: Path) -> Any:
    """120 rows in three clouds, one per class."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    return rng.normal(size=(120, 4)) + 3 * np.eye(4)[y], y, None


def several(folder: Path) -> Any:
    """60 rows with three labels; the last one is never given."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    return X, np.column_stack([X[:, :2] > 0, np.zeros(60)]).astype(np.int64), None


@pytest.fixture
def small(bench: SimpleNamespace) -> Any:
    """A small set: batches of 7 up to 40 labels."""
    return bench.sets.DataSet("small", "", blobs, batch=7, budget=40)


def curve(bench: SimpleNamespace, data_set: Any, name: str, seed: int = 0) -> dict[str, list[float]]:
    split = bench.sets.split(data_set, bench.sets.load(data_set, Path()), seed)
    steps: dict[str, list[float]] = bench.loop.curve(data_set, split, seed, bench.loop.of_ours(name))
    return steps


@pytest.fixture
def record(bench: SimpleNamespace, small: Any) -> Callable[..., Any]:
    """Makes a record of a curve on the small set with these accuracies at 10, 20, … labels."""

    def make(by: str, strategy: str, seed: int, *accuracy: float) -> Any:
        steps = {"labels": [10 * (i + 1) for i in range(len(accuracy))], "accuracy": list(accuracy)}
        return bench.report.Record("small", small.protocol, by, strategy, seed, steps, 0.1, "code")

    return make


def test_a_curve_goes_from_the_start_in_batches_to_exactly_the_budget(bench: SimpleNamespace, small: Any) -> None:
    steps = curve(bench, small, "margin")
    assert steps["labels"] == [10, 17, 24, 31, 38, 40]
    assert set(steps) == {"labels", "accuracy", "macro_f1"}
    assert all(0 <= value <= 1 for value in steps["accuracy"])


def test_strategies_with_the_same_start_are_equal_until_they_choose(bench: SimpleNamespace, small: Any) -> None:
    first = {name: curve(bench, small, name)["accuracy"][0] for name in ("random", "random+margin", "margin", "kmeans")}
    assert first["random"] == first["random+margin"]
    assert first["margin"] == first["kmeans"] == curve(bench, small, "kmeans+random")["accuracy"][0]
    assert first["random"] != first["margin"]


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(bench: SimpleNamespace, small: Any) -> None:
    assert curve(bench, small, "vote_entropy") == curve(bench, small, "vote_entropy")
    assert curve(bench, small, "random", 0) != curve(bench, small, "random", 1)


@pytest.mark.parametrize(("chosen", "wanted"), [(lambda n: np.zeros(n, dtype=int), 10), (np.arange, 7)])
def test_a_chooser_that_repeats_a_row_is_refused(
    bench: SimpleNamespace, small: Any, chosen: Callable[[int], Any], wanted: int
) -> None:
    split = bench.sets.split(small, bench.sets.load(small, Path()), 0)
    with pytest.raises(ValueError, match=f"{wanted} different unlabelled rows were wanted"):
        bench.loop.curve(small, split, 0, lambda state, number, n: chosen(n))


def test_no_test_row_is_in_the_pool_and_both_sides_are_cut(bench: SimpleNamespace) -> None:
    numbers = np.arange(9000, dtype=float)[:, None]
    table = bench.sets.Table(numbers, np.arange(9000) % 2, np.arange(9000) % 3 == 0)
    split = bench.sets.split(bench.sets.DataSet("n", "", blobs, pool=700), table, 0)
    assert (len(split.X), len(split.X_test)) == (700, bench.sets.TESTED)
    assert not set(split.X.ravel()) & set(split.X_test.ravel())
    assert np.all(split.X_test.ravel() % 3 == 0)


def test_a_label_that_nobody_has_yet_is_predicted_as_absent(bench: SimpleNamespace) -> None:
    data_set = bench.sets.DataSet("l", "", several, "one_vs_rest", "multi_label", "micro_f1", budget=30)
    X, y, _ = several(Path())
    predicted = bench.models.fitted(data_set, X[:20], y[:20], 3, seed=0)(X)
    assert predicted.shape == (1, 60, 3)
    assert np.all(predicted[0, :, 2] == 0)
    assert curve(bench, data_set, "random")["micro_f1"][-1] > 0.5


def test_a_committee_has_members_that_know_every_class(bench: SimpleNamespace, small: Any) -> None:
    X, y, _ = blobs(Path())
    rare = np.concatenate([np.flatnonzero(y != 2)[:20], np.flatnonzero(y == 2)[:1]])
    members = bench.models.fitted(small, X[rare], y[rare], 3, seed=0, members=4)(X)
    assert members.shape == (4, 120, 3)
    assert np.all(members[:, :, 2].max(axis=1) > 0)
    assert not np.allclose(members[0], members[1])


def test_with_one_known_class_the_model_is_taken_to_predict_it(bench: SimpleNamespace, small: Any) -> None:
    split = bench.sets.split(small, bench.sets.load(small, Path()), 0)
    open_minded = np.full((len(split.y_test), 3), 1 / 3)
    found = bench.models.measured(small, split, open_minded, np.array([2, 2]))
    assert found["accuracy"] == pytest.approx(np.mean(split.y_test == 2))


def test_every_registered_strategy_is_compared_on_some_set_or_left_out_by_name(bench: SimpleNamespace) -> None:
    compared = {
        name.rpartition("+")[2]
        for data_set in bench.sets.DATA_SETS.values()
        for name in bench.efficiency.contenders(data_set)
    }
    assert compared | set(bench.efficiency.LEFT_OUT) >= set(STRATEGIES)


def test_areas_and_labels_to_a_target_are_by_straight_lines(bench: SimpleNamespace) -> None:
    assert bench.report.area({"labels": [10, 20, 40], "f": [0.0, 1.0, 1.0]}, "f") == pytest.approx(25 / 30)
    assert bench.report.labels_to([10, 20, 30], [0.5, 0.8, 0.9], 0.85) == pytest.approx(25)
    assert bench.report.labels_to([10, 20], [0.5, 0.8], 0.4) == 10
    assert bench.report.labels_to([10, 20], [0.5, 0.8], 0.9) == float("inf")


def test_holm_multiplies_by_what_is_left_and_never_falls(bench: SimpleNamespace) -> None:
    assert bench.report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert bench.report.holm([0.9, 0.5]) == [1.0, 1.0]
    assert bench.report.holm([]) == []


def test_differences_are_paired_by_seed(bench: SimpleNamespace) -> None:
    ours, theirs = {0: 0.9, 1: 0.7, 2: 0.8, 9: 0.1}, {2: 0.6, 1: 0.6, 0: 0.5}
    difference = bench.report.Difference.of(ours, theirs)
    expected = stats.ttest_rel([0.9, 0.7, 0.8], [0.5, 0.6, 0.6])
    interval = expected.confidence_interval(0.95)
    assert (difference.n, difference.p) == (3, pytest.approx(expected.pvalue))
    assert (difference.low, difference.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert bench.report.Difference.of(ours, ours).p == 1


def test_what_is_done_is_not_planned_again_and_what_failed_is(
    bench: SimpleNamespace, small: Any, tmp_path: Path
) -> None:
    arguments = Namespace(seeds=2, strategies=["random", "margin"], peers=[], choosing_seeds=0, data=tmp_path)
    arguments.environments = tmp_path
    done = [
        {"strategy": name, "seed": seed, "steps": {"labels": [1]}}
        for name in ("random", "margin")
        for seed in (2000, 2001)
    ]
    lines = [
        *done,
        {"strategy": "random", "seed": 1000, "steps": {"labels": [1]}},
        {"strategy": "margin", "seed": 1000, "error": "ValueError: no"},
        {"strategy": "random", "seed": 1001, "error": "ValueError: no"},
        {"strategy": "random", "seed": 1001, "steps": {"labels": [2]}},
    ]
    common = {"set": "small", "protocol": small.protocol, "by": "active-loop", "seconds": 1, "code": ""}
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(common | line) + "\n" for line in lines) + '{"set": "sma')
    jobs = bench.efficiency.planned(arguments, [small], bench.report.read(results))
    assert {job.seed: [name for _, name in job.contenders] for job in jobs} == {1000: ["margin"], 1001: ["margin"]}


def test_a_job_reports_a_strategy_that_fails_and_goes_on(bench: SimpleNamespace, small: Any) -> None:
    job = bench.loop.Job(small, Path(), 0, (("active-loop", "greedy_nonsense"), ("active-loop", "random")))
    failed, done = job.run()
    assert "greedy_nonsense" in failed["error"]
    assert done["steps"]["labels"][-1] == 40


def test_a_peers_best_is_chosen_on_other_seeds_than_it_is_compared_on(
    bench: SimpleNamespace, small: Any, record: Callable[..., Any]
) -> None:
    records = [record("modAL", "lucky", seed, 0.9, 0.9) for seed in (0, 1)]
    records += [record("modAL", "lucky", 100, 0.5, 0.5), record("modAL", "good", 100, 0.6, 0.6)]
    curves = bench.report.Curves(records, {"small": small})
    assert bench.report.best_of_peers(curves, range(100, 101)) == {("small", "modAL"): "good"}


@pytest.fixture
def page(bench: SimpleNamespace, small: Any, record: Callable[..., Any]) -> Callable[..., str]:
    """The page of a run in which `auto` and a peer end so much above random."""

    def write(ours: float, peer: float) -> str:
        records = [record("modAL", "margin", 100, 0.5, 0.6, 0.7)]
        for seed in range(5):
            records.append(record("active-loop", "random", seed, 0.5, 0.6, 0.7))
            records.append(record("active-loop", "auto", seed, 0.5, 0.6 + ours + 0.001 * seed, 0.7))
            records.append(record("modAL", "margin", seed, 0.5, 0.6 + peer - 0.001 * seed, 0.7))
        curves = bench.report.Curves(records, {"small": small})
        text: str = bench.page.Page(curves, "auto", range(5), range(100, 101), range(5)).text()
        return text

    return write


def test_the_page_says_yes_where_a_figure_is_reached(page: Callable[..., str]) -> None:
    text = page(ours=0.2, peer=0.1)
    assert "| `auto` significantly below random | on no set | no set | yes |" in text
    assert "| against the best of modAL: sets ahead, behind | at least half, none | 1 of 1, 0 | yes |" in text
    assert "Nowhere in this run." in text


def test_the_page_shows_where_we_lose(page: Callable[..., str]) -> None:
    text = page(ours=-0.2, peer=0.1)
    assert "| `auto` significantly below random | on no set | small | **no** |" in text
    assert "1 of 1, 0 | yes" not in text
    assert "* small, random: -9.90" in text
    assert "* small, modAL: -14.80" in text


def test_curves_of_an_older_protocol_are_not_mixed_in(
    bench: SimpleNamespace, small: Any, record: Callable[..., Any]
) -> None:
    old = record("active-loop", "random", 0, 0.5, 0.6)
    other = bench.sets.DataSet("small", "", blobs, batch=8, budget=40)
    assert bench.report.Curves([old], {"small": small}).seeds() == {0}
    assert bench.report.Curves([old], {"small": other}).seeds() == set()


def test_a_peer_is_told_the_pool_once_and_its_own_error_comes_back_as_a_line(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(ask: Any) -> Any:
        ask.kept["calls"] = ask.kept.get("calls", 0) + 1
        return ask.unlabelled[: ask.n] if ask.n < 3 else 1 / 0

    monkeypatch.setitem(bench.peers.STRATEGIES, "modAL", {"first": bench.peers.PeerStrategy(first)})
    ask = {"strategy": "first", "labelled": np.array([0]), "y": np.array([1]), "predictions": None}
    asks = [{"X": np.zeros((5, 2))}, *({**ask, "n_outputs": 2, "n": n, "seed": 0} for n in (2, 3))]
    incoming, outgoing = io.BytesIO(b"".join(pickle.dumps(message) for message in asks)), io.BytesIO()
    bench.peers.serve("modAL", incoming, outgoing)
    outgoing.seek(0)
    assert pickle.load(outgoing).tolist() == [1, 2]
    assert pickle.load(outgoing) == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("name", ["margin", "entropy", "uncertainty", "vote_entropy", "consensus_entropy", "kl_max"])
def test_modal_is_asked_about_unlabelled_rows_only(bench: SimpleNamespace, name: str) -> None:
    rng = np.random.default_rng(0)
    members = rng.dirichlet(np.ones(3), size=(4, 30))
    strategy = bench.peers.STRATEGIES["modAL"][name]
    predictions = members if strategy.predictions == "members" else members[:1]
    labelled = np.array([3, 4, 5])
    ask = bench.peers.Ask(rng.normal(size=(30, 2)), labelled, np.array([0, 1, 2]), predictions, 3, 5, 0)
    rows = strategy.choose(ask)
    assert len(set(rows.tolist())) == 5
    assert not set(rows.tolist()) & set(labelled.tolist())
    if name == "margin":
        ordered = np.sort(predictions[0], axis=1)
        margins = ordered[:, -1] - ordered[:, -2]
        margins[labelled] = np.inf
        assert set(rows.tolist()) == set(np.argsort(margins)[:5].tolist())


def test_a_table_of_ones_own_is_a_choice_or_a_number_by_its_labels(bench: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    rows = [f"{i % 7},{'abc'[i % 3]},{'yes' if i % 2 else 'no'},{i * 1.5}" for i in range(60)]
    path.write_text("\n".join(["size,kind,answer,price", *rows]))
    choice, number = (bench.sets.table_set(path, column) for column in ("answer", "price"))
    assert (choice.task, choice.measure, number.task) == ("choice", "accuracy", "number")
    X, y, is_test = choice.load(path)
    assert (len(X), set(y.tolist()), is_test) == (60, {0, 1}, None)
    assert number.load(path)[1].tolist()[:3] == [0.0, 1.5, 3.0]


def test_encoded_rows_are_kept_and_found_again(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").write_bytes(b"1")
    calls: list[Path] = []

    def load(path: Path) -> Any:
        calls.append(path)
        return np.eye(3), np.array([0, 1, 1]), None

    data_set = bench.sets.DataSet("kept", "file", load)
    tables = [bench.sets.load(data_set, tmp_path) for _ in range(2)]
    assert len(calls) == 1
    assert tables[0].X.tolist() == tables[1].X.tolist() == np.eye(3).tolist()
    assert tables[1].is_test is None
    (tmp_path / "file").write_bytes(b"2")
    bench.sets.load(data_set, tmp_path)
    assert len(calls) == 2


def test_the_picture_has_a_line_per_strategy_and_is_well_formed(bench: SimpleNamespace) -> None:
    plot = importlib.import_module("label_plot")
    lines = {"random": ([20, 40], [0.61, 0.7]), "a < b": ([20, 40], [0.8, 1.0])}
    root = ElementTree.fromstring(plot.svg({"one": lines, "two": lines}))
    drawn = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(drawn) == 4
    assert drawn[1].attrib["points"].split()[-1].endswith(f",{plot.TOP}.0")
