"""The demo data are real digits that a person can read and a model can learn, the same bytes every time."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from active_loop.demo_data import folder
from active_loop.features import encode
from active_loop.settings import DataSettings, FeatureSettings
from active_loop.sources import open_source

DATA = DataSettings(path="answers.csv", kind="image", show=("image",), answer="digit")


def test_the_installed_package_holds_every_picture_with_its_answer() -> None:
    with folder() as path:
        with (path / "answers.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        source = open_source(DATA, path)
        records = source.records()
    assert [int(row["digit"]) for row in rows] == load_digits().target.tolist()
    assert len(records) == len(rows) == 1797
    assert source.n_duplicates == 0
    assert [record.answer for record in records] == [row["digit"] for row in rows]


def test_the_pictures_are_small_files_of_a_readable_size() -> None:
    with folder() as path:
        files = sorted((path / "images").glob("*.png"))
        assert sum(file.stat().st_size for file in files) <= 3_000_000
        with Image.open(files[0]) as image:
            assert image.size == (120, 120)
            greys = np.asarray(image)
    assert len(np.unique(greys)) <= 16
    assert greys[0, 0] > 200  # dark strokes on light ground
    assert greys.min() < 50


def test_making_a_picture_again_gives_the_same_picture(tmp_path: Path) -> None:
    picture = runpy.run_path(str(Path(__file__).parents[1] / "demo_data" / "make.py"))["picture"]
    originals = load_digits().images
    with folder() as path:
        for number in (0, 1, 900, 1796):
            with Image.open(path / f"images/{number:04}.png") as kept:
                assert np.array_equal(np.asarray(picture(originals[number])), np.asarray(kept)), number


def test_a_model_learns_as_much_from_the_pictures_as_from_the_originals(tmp_path: Path) -> None:
    originals, answers = load_digits(return_X_y=True)
    with folder() as path:
        source = open_source(DATA, path)
        rows = [record.row for record in source.records()]
        pool = np.arange(len(rows)) % 4 != 0
        pictures = encode(source, rows, pool, FeatureSettings(), DATA, tmp_path).open()

    def accuracy(X: NDArray[np.floating], seed: int) -> float:
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = order[:200], order[200:]
        return float(SVC(C=10).fit(X[train], answers[train]).score(X[test], answers[test]))

    ours = np.mean([accuracy(pictures, seed) for seed in range(5)])
    theirs = np.mean([accuracy(originals / 16, seed) for seed in range(5)])
    assert ours >= theirs - 0.005
    assert ours >= 0.93
