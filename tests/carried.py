"""Small loops of every kind of item and label, run to their end, for tests of the model that is taken from them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import loops
import numpy as np
from PIL import Image

from active_loop.config import write_settings
from active_loop.labeling import Oracle
from active_loop.settings import Settings

CLASSES: Final = ("red", "green", "blue")

KINDS: Final = ("table", "text", "image", "multi_label", "number", "committee", "embeddings")


def run(folder: Path, kind: str) -> Settings:
    """A loop of this kind in the folder, run to its end; its settings are in `loop.toml`."""
    labels, told = globals()[f"_{kind}"](folder)
    write_settings(told, folder / "loop.toml")
    loop = loops.open_loop(folder, Oracle(labels), told)
    loops.run_to_end(loop)
    loop.store.close()
    return told


def rows_of(folder: Path) -> Path:
    """The file or folder of a loop's data."""
    names = ("points.csv", "texts.csv", "pictures", "features.npy")
    return next(folder / name for name in names[::-1] if (folder / name).exists())


def _table(folder: Path) -> tuple[list[str], Settings]:
    """Numbers with gaps, dates, a few levels, and many values."""
    labels = loops.write_points(folder, 160)
    rng = np.random.default_rng(3)
    with (folder / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "x", "y", "day", "place", "words"])
        for n, row in enumerate(rows):
            x = "" if n % 17 == 0 else row["x"]
            day = f"2024-0{rng.integers(1, 9)}-11"
            writer.writerow([f"n{n}", x, row["y"], day, f"at {n % 3}", f"word{rng.integers(90)} und é"])
    shown = ("x", "y", "day", "place", "words")
    return labels, loops.settings(data={"show": shown, "id": "name"}, model={"use": "svm"})


def _text(folder: Path) -> tuple[list[str], Settings]:
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 3, size=220)
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["title", "body"])
        for n, code in enumerate(codes):
            writer.writerow([f"Über {CLASSES[code]} things", f"number {n}, said {CLASSES[code]}\nand more"])
    data = {"path": "texts.csv", "kind": "text", "show": ("title", "body")}
    said = np.where(rng.random(220) < 0.06, rng.integers(0, 3, size=220), codes)  # people may differ from the words
    return [CLASSES[code] for code in said], loops.settings(data=data)


def _image(folder: Path) -> tuple[dict[str, str], Settings]:
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 3, size=140)
    (folder / "pictures").mkdir()
    for n, code in enumerate(codes):
        pixels = rng.integers(0, 90, size=(20, 20, 3), dtype=np.uint8)
        pixels[..., code] += 40
        Image.fromarray(pixels).save(folder / "pictures" / f"{n:03}.png")
    told = loops.settings(data={"path": "pictures", "kind": "image", "show": ()}, model={"use": "svm"})
    return {f"{n:03}.png": CLASSES[code] for n, code in enumerate(codes)}, told


def _multi_label(folder: Path) -> tuple[list[str], Settings]:
    names = ("left", "low", "far")
    sides = [(x < 2, y < 2, x + y > 3) for x, y in _points(folder)]
    labels = [json.dumps([name for name, there in zip(names, side, strict=True) if there]) for side in sides]
    task = {"kind": "multi_label", "classes": names}
    return labels, loops.settings(task=task, target={"metric": "subset_accuracy", "value": 0.7})


def _number(folder: Path) -> tuple[list[str], Settings]:
    task: dict[str, Any] = {"kind": "number", "classes": (), "bounds": (-30.0, 30.0)}
    told = loops.settings(task=task, target={"metric": "mae", "value": 2.0}, model={"use": "svm"})
    return [f"{2 * x + y:.3f}" for x, y in _points(folder)], told


def _committee(folder: Path) -> tuple[list[str], Settings]:
    labels = loops.write_points(folder)
    return labels, loops.settings(model={"use": "forest", "committee": 3})


def _embeddings(folder: Path) -> tuple[list[str], Settings]:
    labels = loops.write_points(folder)
    points = _read(folder)
    np.save(folder / "features.npy", np.column_stack([points, points**2]))
    return labels, loops.settings(data={"embeddings": "features.npy"}, model={"use": "svm, logistic"})


def _points(folder: Path) -> list[tuple[float, float]]:
    loops.write_points(folder)
    return [(float(x), float(y)) for x, y in _read(folder)]


def _read(folder: Path) -> Any:
    return np.loadtxt(folder / "points.csv", delimiter=",", skiprows=1)
