"""The model that is taken away: it predicts what the loop's model predicted, and a hostile file does no harm."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import carried
import loops
import numpy as np
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from active_loop import load_model
from active_loop.bulk import blocks_of
from active_loop.cli import main
from active_loop.errors import ConfigError, DataError
from active_loop.evaluate import lower_bound
from active_loop.features import content_of
from active_loop.learner import make_learner, put_together, taken_apart
from active_loop.model import MODEL, TRUSTED, About, about_model
from active_loop.predictions import Predictions
from active_loop.search.mixture import Mixture
from active_loop.search.space import Growing, misfit
from active_loop.server import write_report
from active_loop.store import Store
from active_loop.takeaway import Taken, least_confidence, opened, ranked, take_away


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Taken]]:
    """The folder of a loop of a kind, with its model in it; each is made once."""
    made: dict[str, tuple[Path, Taken]] = {}

    def of(kind: str) -> tuple[Path, Taken]:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            carried.run(folder, kind)
            with closing(Store(folder / "loop.db", readonly=True)) as store:
                made[kind] = folder, take_away(store, folder, folder / MODEL)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", carried.KINDS)
def test_the_file_predicts_bit_for_bit_what_the_round_predicted(
    kind: str, taken: Callable[[str], tuple[Path, Taken]]
) -> None:
    folder, found = taken(kind)
    assert found.about.what in ("newest", "judged")
    model = load_model(folder / MODEL)
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        round_ = next(each for each in ranked(store) if each.number == found.about.round)
        jobs = opened(store, folder, round_)
        order = jobs.standing.test_order
        rows = [jobs.standing.items[item].row for item in order]
        content = content_of(jobs.source, found.about.extractor)(rows)
        kept = Predictions(folder / "cache" / "rounds").find(found.about.round)
        sample = content_of(jobs.source, found.about.extractor)(
            [jobs.standing.items[item].row for item in jobs.standing.sample.tolist()]
        )
    assert kept is not None
    assert np.array_equal(model.said(content).table, kept[0])
    assert list(model.said(sample).labels) == model.task.decode(kept[1])


@pytest.mark.parametrize("kind", ["table", "text", "image", "multi_label", "embeddings"])
def test_a_file_of_rows_says_the_same_as_the_loop_s_own_source(
    kind: str, taken: Callable[[str], tuple[Path, Taken]]
) -> None:
    folder, found = taken(kind)
    model = load_model(folder / MODEL)
    block = next(blocks_of(model, carried.rows_of(folder))[1])
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        jobs = opened(store, folder, ranked(store)[-1])
        rows = [str(n) for n in range(len(block.numbers))] if kind != "image" else list(map(str, block.numbers))
        content = content_of(jobs.source, found.about.extractor)(rows)
    assert np.array_equal(model.said(block.rows).table, model.said(content).table)


def test_numbers_are_predicted_without_a_confidence_and_nobody_is_asked(
    taken: Callable[[str], tuple[Path, Taken]],
) -> None:
    folder, found = taken("number")
    frame = pd.read_csv(folder / "points.csv", dtype=str)
    said = load_model(folder / MODEL).predict(frame)
    assert list(said) == ["prediction"]
    truth = [2 * float(x) + float(y) for x, y in zip(frame["x"], frame["y"], strict=True)]
    assert np.abs(said["prediction"].astype(float) - truth).mean() < 1
    assert "no confidence" in found.about.threshold.why


def test_what_is_said_of_a_model_survives_its_file(taken: Callable[[str], tuple[Path, Taken]]) -> None:
    folder, found = taken("multi_label")
    read = about_model(folder / MODEL)
    assert read is not None
    assert json.loads(read.as_json()) == json.loads(found.about.as_json())
    assert About.of(read.as_json()) == read
    assert read.columns == ("x", "y")
    assert read.task_made().classes == ("left", "low", "far")


# the threshold


def test_the_threshold_is_the_least_confidence_whose_bound_is_at_the_goal() -> None:
    sure = np.linspace(1.0, 0.5, 100)
    right = np.array([True] * 80 + [False] * 20)
    found = least_confidence(sure, right, 0.9)
    assert found.least == sure[found.n - 1]
    assert lower_bound(found.right, found.n, 0.1) >= 0.9
    more = slice(None, found.n + 1)
    assert lower_bound(int(right[more].sum()), found.n + 1, 0.1) < 0.9


def test_equally_sure_predictions_stand_or_fall_together() -> None:
    sure = np.array([0.9] * 30 + [0.8] * 30)
    right = np.array([True] * 30 + [True] * 15 + [False] * 15)
    assert least_confidence(sure, right, 0.9) == least_confidence(sure[::-1], right[::-1], 0.9)
    assert least_confidence(sure, right, 0.9).n == 30


def test_where_no_confidence_is_enough_there_is_no_threshold() -> None:
    found = least_confidence(np.full(20, 0.9), np.array([True] * 19 + [False]), 0.95)
    assert found.least is None
    assert found.why


def test_another_goal_may_be_set_and_must_be_a_share(taken: Callable[[str], tuple[Path, Taken]]) -> None:
    folder, found = taken("table")
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        strict = take_away(store, folder, folder / "strict.skops", 0.9).about.threshold
        with pytest.raises(ConfigError, match="between 0 and 1"):
            take_away(store, folder, folder / "strict.skops", 1.5)
    assert found.about.threshold.goal == 0.8
    assert strict.goal == 0.9
    assert strict.least is None or strict.least >= (found.about.threshold.least or 0)


# which model


def test_before_a_certificate_it_is_the_model_of_the_newest_round(tmp_path: Path) -> None:
    labels = loops.write_points(tmp_path)
    loop = loops.open_loop(tmp_path, loops.oracle(labels))
    while len(ranked(loop.store)) < 2:
        loop.step()
    found = take_away(loop.store, tmp_path, tmp_path / MODEL, source=loop.source)
    loop.store.close()
    assert (found.about.what, found.about.round) == ("newest", 1)
    assert found.about.tested is None, "test answers are nobody's business before the end"
    assert "seed" not in found.about.model


def test_a_loop_without_a_model_has_none_to_take_away(tmp_path: Path) -> None:
    loop = loops.open_loop(tmp_path, loops.oracle(loops.write_points(tmp_path)))
    loop.import_items()
    with pytest.raises(DataError, match="no model to take away yet"):
        take_away(loop.store, tmp_path, tmp_path / MODEL)
    loop.store.close()
    assert not (tmp_path / MODEL).exists()


def test_after_a_certificate_it_is_the_model_of_all_answers_if_that_is_certified_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = loops.write_points(tmp_path, 600, spread=0.3)
    told = loops.settings(target={"value": 0.7}, budget={"answers": 100})
    loop = loops.open_loop(tmp_path, loops.oracle(labels), told)
    loops.run_to_end(loop)
    loop.store.close()
    with closing(Store(tmp_path / "loop.db", readonly=True)) as store:
        refitted = store.events("refitted")[-1].body
        found = take_away(store, tmp_path, tmp_path / MODEL)
    assert refitted["bound"] >= 0.7, "the second model should be certified here"
    assert (found.about.what, found.about.n_labels) == ("all", refitted["n_labels"])
    assert found.about.tested is not None


# the card


def test_the_card_stands_beside_the_model_and_in_the_report(
    tmp_path: Path, taken: Callable[[str], tuple[Path, Taken]]
) -> None:
    folder, found = taken("committee")
    done = CliRunner().invoke(main, ["model", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    card = (folder / "model-card.md").read_text(encoding="utf-8")
    assert f"round {found.about.round}" in card
    assert "chosen on those labels" in card
    assert 'active_loop.load_model("model.skops")' in card
    assert "| red |" in card
    with closing(Store(folder / "loop.db", readonly=True)) as store:
        write_report(store, tmp_path / "report.html")
        assert "Model card" in (tmp_path / "report.html").read_text(encoding="utf-8")
        (folder / MODEL).rename(folder / "away.skops")
        write_report(store, tmp_path / "report.html")
        (folder / "away.skops").rename(folder / MODEL)
    assert "Model card" not in (tmp_path / "report.html").read_text(encoding="utf-8")


# files of somebody else's


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "was-run"
    yield path
    assert not path.exists(), "something in the file was run"


class Touch:
    """What a hostile pickle holds: unpickled, it runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path, marker: Path) -> None:
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Touch(marker)))
    with pytest.raises(DataError, match="is no model of active-loop"):
        load_model(tmp_path / "model.skops")


def test_a_type_that_is_not_known_is_refused_by_its_name_before_anything_is_made(
    tmp_path: Path, marker: Path, taken: Callable[[str], tuple[Path, Taken]]
) -> None:
    folder, _ = taken("table")
    hostile = skops.io.dumps({"format": 1, "learner": os.system, "state": "{}"})
    path = tmp_path / "model.skops"
    path.write_bytes(hostile)
    with zipfile.ZipFile(folder / MODEL) as good, zipfile.ZipFile(path, "a") as bad:
        bad.writestr("about.json", good.read("about.json"))
    with pytest.raises(DataError, match=r'it holds the type "posix\.system"'):
        load_model(path)


def test_a_file_cannot_name_features_that_would_be_imported(
    tmp_path: Path, marker: Path, taken: Callable[[str], tuple[Path, Taken]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = taken("table")
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nMade = dict\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    told = json.loads(found.about.as_json()) | {"extractor": "evil:Made"}
    _with_about(folder / MODEL, tmp_path / MODEL, json.dumps(told))
    with pytest.raises(DataError, match="says nothing of the features"):
        load_model(tmp_path / MODEL)


@pytest.mark.parametrize("body", [b"", b"PK\x05\x06" + bytes(18), b"half a file"])
def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "model.skops").write_bytes(body)
    with pytest.raises(DataError, match=r"model\.skops"):
        load_model(tmp_path / "model.skops")


def test_a_file_of_other_versions_is_opened_with_a_warning(
    tmp_path: Path, taken: Callable[[str], tuple[Path, Taken]]
) -> None:
    folder, found = taken("table")
    other = replace(found.about, libraries={**found.about.libraries, "scikit-learn": "0.1"})
    _with_about(folder / MODEL, tmp_path / MODEL, other.as_json())
    with pytest.warns(UserWarning, match=r"written with scikit-learn 0\.1 \(here"):
        load_model(tmp_path / MODEL)


def _with_about(model: Path, path: Path, about: str) -> None:
    """Another file of the same model, of which this is said."""
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, about if name == "about.json" else old.read(name))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["choice", "multi_label", "number"])
@pytest.mark.parametrize("sparse", [False, True])
def test_every_model_that_a_search_may_find_can_be_written_and_opened(kind: str, sparse: bool, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    sides = (X[:, :3] > 0).astype(int)
    y = {"choice": sides.sum(axis=1), "multi_label": sides, "number": X.sum(axis=1)}[kind]
    rows = csr_matrix(X) if sparse else X
    classes = tuple("abcd" if kind == "choice" else "abc")
    listed = Growing().candidates(kind, 3000, sparse=sparse)
    names = {"choice": "0.6 svm + 0.4 nearest, T=0.8", "number": "0.6 svm + 0.4 nearest", "multi_label": "svm"}
    mixture = Mixture.of(names[kind]).candidate(listed, kind)
    assert mixture is not None
    for candidate in (each for each in (*listed, mixture) if not misfit(each, kind, rows)):
        learner = make_learner(candidate.estimator, classes=classes, seed=0, kind=kind)
        learner.fit(rows, y)
        body = skops.io.dumps(taken_apart(learner))
        names = skops.io.get_untrusted_types(data=body)
        assert set(names) <= TRUSTED, candidate.name
        again = put_together(skops.io.loads(body, trusted=names))
        assert np.array_equal(again.member_predictions(rows), learner.member_predictions(rows)), candidate.name


class Mine(LogisticRegression):
    """Somebody's own model."""


def test_a_class_of_one_s_own_has_to_be_named(tmp_path: Path) -> None:
    labels = loops.write_points(tmp_path)
    own = f"{Mine.__module__}:Mine"
    loop = loops.open_loop(tmp_path, loops.oracle(labels), loops.settings(model={"use": own}))
    loops.run_to_end(loop)
    found = take_away(loop.store, tmp_path, tmp_path / MODEL, source=loop.source)
    loop.store.close()
    name = own.replace(":", ".")
    assert found.trusts == (name,)
    with pytest.raises(DataError, match="--trust"):
        load_model(tmp_path / MODEL)
    assert load_model(tmp_path / MODEL, trust=[name]).about.trusts == (name,)


def test_no_row_that_was_learned_from_is_in_the_file(taken: Callable[[str], tuple[Path, Taken]]) -> None:
    folder, found = taken("committee")
    with zipfile.ZipFile(folder / MODEL) as opened_file:
        shapes = [np.load(opened_file.open(name)).shape for name in opened_file.namelist() if name.endswith(".npy")]
    assert (found.about.n_labels, 2) not in shapes
