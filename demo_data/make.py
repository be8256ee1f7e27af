"""Makes the demo data: handwritten digits as pictures that a person can read, and a file of the known answers.

Run as ``python demo_data/make.py``; writes `images/` and `answers.csv` beside itself, the same bytes every time
(with the same Pillow). The digits come with scikit-learn as 8 x 8 grey levels, which nobody can read without
smoothing: here they get a margin and are enlarged smoothly, as dark strokes on light ground, in 16 grey levels.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

CELL = 12  # pixels of the picture per pixel of the original
MARGIN = 1  # pixels of the original
N_GREYS = 16


def picture(strokes: NDArray[np.floating]) -> Image.Image:
    """The readable form of one original (8, 8), from 0 (paper) to 16 (ink): a grey image, 120 x 120."""
    grey = np.pad(strokes, MARGIN) * (255 / 16)
    small = Image.fromarray(grey.round().astype(np.uint8))
    large = np.asarray(small.resize((small.width * CELL, small.height * CELL), Image.Resampling.BICUBIC))
    step = 255 // (N_GREYS - 1)
    ink = np.round(large / step).astype(np.uint8) * step
    return Image.fromarray((255 - ink).astype(np.uint8))


def make(folder: Path) -> None:
    """Write `images/0000.png` … and `answers.csv` below `folder`; what is there already is replaced."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    names = [f"images/{number:04}.png" for number in range(len(digits.images))]
    for name, strokes in zip(names, digits.images, strict=True):
        picture(strokes).save(folder / name, "PNG", optimize=True)
    with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "digit"])
        writer.writerows(zip(names, digits.target.tolist(), strict=True))


if __name__ == "__main__":
    make(Path(__file__).parent)
