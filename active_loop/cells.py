"""The cells of one column of a table as numbers: what they are taken for, and how the next ones are read the same way.

What a column was found to be can be written down in plain values, and taken up again. What the columns are called, and
which of them there are, is not known here.

No heavy library is imported before it is used.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias

from .files import plain_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MISSING: Final = frozenset({"", "?", "na", "n/a", "nan", "<na>", "null", "none", "nat", "inf", "-inf"})
_TRUTH: Final = {"true": 1.0, "false": 0.0}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


def fitted_column(column: Any) -> Encoder | None:
    """How the cells of a column become numbers, by what these look like; None if all of them are empty."""
    texts = _texts(column)
    filled = [text for text in texts if text.lower() not in _MISSING]
    if not filled:
        return None
    for name, read in _READERS.items():
        values = read(column)
        if _n_numbers(values) >= 0.95 * len(filled):
            return _Number.fitted(name, values)
    levels = sorted(set(texts))
    return _Levels(levels) if len(levels) <= 20 else _Words.fitted(texts)


def _n_numbers(values: NDArray[np.float64]) -> int:
    import numpy as np

    return int(np.isfinite(values).sum())


def _texts(column: Any) -> list[str]:
    """Cells as texts, missing ones ""; equal values give equal texts, were they stored as numbers or as text."""
    cells = column.astype(object).where(column.notna(), None)
    return [plain_text(cell).strip() for cell in cells]


def _read_number(column: Any) -> NDArray[np.float64]:
    """Cells as numbers (n,), NaN for what is none; true and false are 1 and 0; infinity counts as missing."""
    import numpy as np
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        texts = pd.Series([_TRUTH.get(text.lower(), text) for text in _texts(column)], dtype=object)
        values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    return np.where(np.abs(values) < 1e100, values, np.nan)  # beyond that nothing was measured, and squares overflow


def _read_date(column: Any) -> NDArray[np.float64]:
    """Cells as days since 1970 (n,), NaN for what is no date in the form 2024-05-31, with or without a time."""
    import numpy as np

    texts = _texts(column)
    known = {text: _days(text) for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.float64)


def _days(text: str) -> float:
    if not _DATE.fullmatch(text):
        return math.nan
    try:
        at = datetime.fromisoformat(text)
    except ValueError:  # like 2024-02-31
        return math.nan
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) / timedelta(days=1)


_READERS: Final[Mapping[str, Callable[[Any], NDArray[np.float64]]]] = {"number": _read_number, "date": _read_date}


@dataclass(frozen=True, slots=True)
class _Number:
    read: str
    median: float
    flag: bool
    mean: float
    spread: float

    KIND: ClassVar[str] = "number"

    @classmethod
    def fitted(cls, read: str, values: NDArray[np.float64]) -> Self:
        import numpy as np

        median = float(np.nanmedian(values))
        whole = np.where(np.isnan(values), median, values)
        return cls(read, median, bool(np.isnan(values).any()), float(whole.mean()), float(whole.std()) or 1.0)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["read"], state["median"], state["flag"], state["mean"], state["spread"])

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def transform(self, column: Any) -> NDArray[np.float32]:
        import numpy as np

        values = _READERS[self.read](column)
        missing = np.isnan(values)
        scaled = (np.where(missing, self.median, values) - self.mean) / self.spread
        parts = [np.clip(scaled, -10, 10), missing] if self.flag else [np.clip(scaled, -10, 10)]
        return np.column_stack(parts).astype(np.float32)


class _Levels:
    KIND: ClassVar[str] = "levels"

    def __init__(self, levels: Sequence[str]) -> None:
        self._place = {level: place for place, level in enumerate(levels)}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["levels"])

    def state(self) -> dict[str, Any]:
        return {"levels": list(self._place)}

    def transform(self, column: Any) -> NDArray[np.float32]:
        import numpy as np

        places = np.array([self._place.get(text, -1) for text in _texts(column)], dtype=np.int64)
        ones: NDArray[np.float32] = (places[:, None] == np.arange(len(self._place))).astype(np.float32)
        return ones


@dataclass(frozen=True, slots=True)
class _Words:
    mean: float
    spread: float
    log: Mapping[str, float]

    KIND: ClassVar[str] = "words"
    N_BUCKETS: ClassVar[int] = 32

    @classmethod
    def fitted(cls, texts: Sequence[str]) -> Self:
        import numpy as np

        levels, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
        logs = np.log1p(counts)
        mean = float(np.average(logs, weights=counts))
        spread = float(np.sqrt(np.average((logs - mean) ** 2, weights=counts))) or 1.0
        return cls(mean, spread, dict(zip(levels.tolist(), logs.tolist(), strict=True)))

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["mean"], state["spread"], dict(zip(state["levels"], state["logs"], strict=True)))

    def state(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "spread": self.spread,
            "levels": list(self.log),
            "logs": list(self.log.values()),
        }

    def transform(self, column: Any) -> NDArray[np.float32]:
        import numpy as np

        texts = _texts(column)
        known = {text: self._row(text) for text in set(texts)}
        rows = [known[text] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.N_BUCKETS + 1)

    def _row(self, text: str) -> NDArray[np.float32]:
        import numpy as np

        row = np.zeros(self.N_BUCKETS + 1, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            row[hashlib.blake2b(word.encode(), digest_size=4).digest()[0] % self.N_BUCKETS] += 1
        row /= max(float(np.linalg.norm(row)), 1e-9)
        row[-1] = np.clip((self.log.get(text, 0.0) - self.mean) / self.spread, -10, 10)
        return row


ENCODERS: Final[Mapping[str, type[_Number] | type[_Levels] | type[_Words]]] = {
    kind.KIND: kind for kind in (_Number, _Levels, _Words)
}
"""Kinds of column by the name that a written extractor has for them."""

Encoder: TypeAlias = _Number | _Levels | _Words
