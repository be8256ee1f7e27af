"""What each round's model predicted, kept for the rounds and looks that come after it.

Files in a folder that may be deleted at any time: whoever asks for what is not there fits the round again.
"""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[Any]
Reals = NDArray[np.float64]


class Predictions:
    """Predictions by round: of the test order the mean of the members (n_test, …), and codes of the sample that rounds
    are compared on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, round_: int, test: Reals, sample: Codes) -> None:
        """Write a round's predictions, whole or not at all."""
        path = self._path(round_)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            np.savez(file, test_mean=test, sample=sample)
        draft.replace(path)

    def find(self, round_: int) -> tuple[Reals, Codes] | None:
        """A round's (test, sample); None if they are not there, or cannot be read."""
        unreadable = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
        with suppress(*unreadable), np.load(self._path(round_), allow_pickle=False) as kept:
            return kept["test_mean"], kept["sample"]
        return None

    def _path(self, round_: int) -> Path:
        return self._folder / f"{round_:05d}.npz"
