"""The data sets of the label-efficiency benchmark: rows as numbers, with the model and the measure pinned to each.

Three sets come with scikit-learn, the others are files of a folder that is given, or any table by its path. Rows are
encoded as the loop encodes them, once, by what the rows for learning look like; what comes out is kept as .npz. A
split belongs to a seed: every strategy, ours or a peer's, sees the same pool and is scored on the same test rows.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, normalize

from active_loop.extractors import Columns, Tfidf
from active_loop.files import survey
from active_loop.inspection import inspect

TESTED = 2_000
"""Rows that a model is scored on, at most."""

KEPT = 6_000
"""Rows for learning that are encoded at most; each seed cuts its pool from them."""

DIMENSIONS = {"text": 100, "pixels": 64}
"""Columns that are left of a text and of a picture."""

MANY_VALUES = 20
"""A column of numbers with more different values than this is a number to predict, not a choice."""

Reals = NDArray[np.float64]
Rows = NDArray[np.int64]
Content = tuple[Any, Any, "NDArray[np.bool_] | None"]
"""What a set holds: matrix (n, d), labels (n,) or (n, L), and which rows are for testing (None: no such column)."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A set and everything that is pinned for it.

    `model` is a name of `label_models.MODELS`; `measure` the one that is compared. Labels go from `start` (0: two per
    class, at least 10 and at most 40) in steps of `batch` to `budget` (0: the whole pool). `targets` are values of the
    measure for which labels are counted. `known` rows of the second class are labelled before anything is chosen. At
    most `pool` rows can be chosen from.
    """

    name: str
    file: str
    load: Callable[[Path], Content]
    model: str = "logistic"
    task: str = "choice"
    measure: str = "accuracy"
    batch: int = 10
    budget: int = 200
    start: int = 0
    targets: tuple[float, ...] = ()
    test_share: float = 0.3
    scaled: bool = False
    known: int = 0
    pool: int = 1_000

    @property
    def protocol(self) -> str:
        """Changes with everything but the data that can change a curve."""
        pinned = {key: value for key, value in asdict(self).items() if key not in ("load", "file", "targets")}
        return hashlib.blake2b(repr((pinned, TESTED, KEPT, DIMENSIONS)).encode(), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class Table:
    """A set as numbers: X (n, d) float64; y (n,) class codes or numbers, or (n, L) 0/1; `is_test` (n,) or None."""

    X: Reals
    y: NDArray[Any]
    is_test: NDArray[np.bool_] | None

    @property
    def n_outputs(self) -> int:
        """Classes of a choice, labels of a multi-label set, 1 for numbers."""
        if self.y.ndim == 2:
            return int(self.y.shape[1])
        return int(self.y.max()) + 1 if self.y.dtype.kind in "iu" else 1


@dataclass(frozen=True, slots=True)
class Split:
    """A pool to learn from and the rows that a model is scored on, for one seed.

    `starts` holds the first batches that were worked out already, by the strategy that chose them.
    """

    X: Reals
    y: NDArray[Any]
    X_test: Reals
    y_test: NDArray[Any]
    n_outputs: int
    starts: dict[str, Rows] = field(default_factory=dict)


def split(data_set: DataSet, table: Table, seed: int) -> Split:
    """The split of this seed: the set's own test rows, or a stratified share; both sides cut."""
    stratify = table.y if data_set.task == "choice" else None
    if table.is_test is None:
        pool, test = train_test_split(
            np.arange(len(table.X)), test_size=data_set.test_share, random_state=seed, stratify=stratify
        )
    else:
        rng = np.random.default_rng([seed, 2])
        pool, test = (rng.permutation(np.flatnonzero(side)) for side in (~table.is_test, table.is_test))
    pool, test = pool[: data_set.pool], test[:TESTED]
    X, X_test = table.X[pool], table.X[test]
    if data_set.scaled:
        scaler = StandardScaler().fit(X)
        X, X_test = scaler.transform(X), scaler.transform(X_test)
    return Split(X, table.y[pool], X_test, table.y[test], table.n_outputs)


def n_start(data_set: DataSet, n_outputs: int) -> int:
    """Labels of the first batch."""
    return data_set.start or int(np.clip(2 * n_outputs, 10, 40))


def load(data_set: DataSet, folder: Path) -> Table:
    """The set as numbers; worked out once and kept in the cache, where it is found again by the file's content."""
    if not data_set.file:
        X, y, is_test = data_set.load(folder)
        return Table(X, y, is_test)
    path = folder / data_set.file
    digest = hashlib.blake2b(path.read_bytes(), digest_size=6)
    digest.update(Path(__file__).read_bytes())
    kept = cache() / "features" / f"{data_set.name}-{digest.hexdigest()}.npz"
    if not kept.exists():
        X, y, is_test = data_set.load(path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"{kept.stem}.{os.getpid()}.npz")
        np.savez(draft, X=X, y=y, is_test=[] if is_test is None else is_test)
        draft.replace(kept)
    with np.load(kept) as arrays:
        return Table(arrays["X"], arrays["y"], arrays["is_test"].astype(bool) if arrays["is_test"].size else None)


def cache() -> Path:
    """Where this benchmark keeps what it worked out."""
    default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "active-loop" / "label-efficiency"


def _digits(_: Path) -> Content:
    X, y = load_digits(return_X_y=True)
    return X / 16, y, None


def _breast_cancer(_: Path) -> Content:
    return *load_breast_cancer(return_X_y=True), None


def _wine(_: Path) -> Content:
    return *load_wine(return_X_y=True), None


def _kept(is_test: NDArray[np.bool_]) -> Rows:
    """At most `KEPT` rows for learning and `TESTED` for testing, in the file's order."""
    rng = np.random.default_rng(1)
    sides = ((np.flatnonzero(~is_test), KEPT), (np.flatnonzero(is_test), TESTED))
    return np.sort(np.concatenate([rng.permutation(rows)[:most] for rows, most in sides]))


def _frame(path: Path) -> tuple[Any, NDArray[np.bool_] | None]:
    """The rows that are used, and which of them are for testing by the column `split`."""
    frame = pd.read_parquet(path)
    if "split" not in frame:
        return frame, None
    is_test = (frame["split"] == "test").to_numpy(dtype=bool)
    kept = _kept(is_test)
    return frame.iloc[kept].drop(columns="split").reset_index(drop=True), is_test[kept]


def _learning(is_test: NDArray[np.bool_] | None, n: int) -> Rows:
    return np.arange(n) if is_test is None else np.flatnonzero(~is_test)


def _encoded_texts(texts: list[str], is_test: NDArray[np.bool_] | None) -> Reals:
    """TF-IDF as in the loop, then its `DIMENSIONS` strongest directions, at unit length."""
    learning = _learning(is_test, len(texts))
    tfidf = Tfidf().fit([texts[row] for row in learning])
    sparse = tfidf.transform(texts)
    svd = TruncatedSVD(min(DIMENSIONS["text"], sparse.shape[1] - 1), random_state=0).fit(sparse[learning])
    unit: Reals = normalize(svd.transform(sparse).astype(np.float64))
    return unit


def _encoded_columns(frame: Any, is_test: NDArray[np.bool_] | None) -> Reals:
    columns = Columns().fit(frame.iloc[_learning(is_test, len(frame))])
    numbers: Reals = columns.transform(frame).astype(np.float64)
    return numbers


def _codes(labels: Any) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = np.unique(np.asarray(labels).astype(str), return_inverse=True)[1].astype(np.int64)
    return codes


def _texts(path: Path) -> Content:
    frame, is_test = _frame(path)
    return _encoded_texts(frame["text"].tolist(), is_test), _codes(frame["label"]), is_test


def _columns(path: Path) -> Content:
    frame, is_test = _frame(path)
    return _encoded_columns(frame.drop(columns="label"), is_test), _codes(frame["label"]), is_test


def _number(path: Path) -> Content:
    frame, is_test = _frame(path)
    return _encoded_columns(frame.drop(columns="target"), is_test), frame["target"].to_numpy(np.float64), is_test


def _several(path: Path) -> Content:
    frame, is_test = _frame(path)
    labels = [column for column in frame.columns if column.startswith("label_")]
    return _encoded_columns(frame.drop(columns=labels), is_test), frame[labels].to_numpy(np.int64), is_test


def _abstracts(path: Path) -> Content:
    frame, _ = _frame(path)
    texts = (frame["title"].fillna("") + ". " + frame["abstract"].fillna("")).tolist()
    return _encoded_texts(texts, None), (frame["label"] == "include").to_numpy(np.int64), None


def _pictures(path: Path) -> Content:
    with np.load(path) as arrays:
        images, labels, is_test = arrays["images"], arrays["labels"], arrays["is_test"].astype(bool)
    kept = _kept(is_test)
    X, is_test = images[kept].reshape(len(kept), -1) / 255, is_test[kept]
    pca = PCA(DIMENSIONS["pixels"], random_state=0).fit(X[~is_test])
    return pca.transform(X), labels[kept].astype(np.int64), is_test


def table_set(path: Path, label: str) -> DataSet:
    """A set of one's own: a CSV, Parquet or JSONL file and the column that holds the labels.

    A column of prose makes it a set of texts, anything else one of columns; many different numbers in the label's
    column make it a number to predict. Classes are compared by accuracy, or by macro F1 where the rarest one has less
    than a tenth of the rows.
    """
    labels = pd.Series(_survey(path, label).read([label]).column(label).to_pylist())
    if are_numbers(labels):
        return DataSet(path.stem, path.name, partial(_own, label, True), "kernel_ridge", "number", "r2")
    rare = labels.value_counts(normalize=True).min() < 0.1
    return DataSet(path.stem, path.name, partial(_own, label, False), measure="macro_f1" if rare else "accuracy")


def _survey(path: Path, label: str) -> Any:
    file = survey(path, path.name)
    if label not in file.columns:
        raise SystemExit(
            f"{path.name} has no column {label!r}; it has: {', '.join(file.columns)}. Name one with --label."
        )
    return file


def own_rows(path: Path, label: str) -> tuple[Any, Any]:
    """What people would be shown of a file of one's own (a frame; of prose a column of texts), and its labels."""
    seen = inspect(path)
    shown = [column for column in seen.show if column != label]
    frame = _survey(path, label).read([*shown, label]).to_pandas()
    return frame[shown[0]].fillna("").astype(str) if seen.kind == "text" else frame[shown], frame[label]


def are_numbers(labels: Any) -> bool:
    """Whether labels are so many different numbers that they are to be predicted as numbers."""
    numbers = pd.to_numeric(labels, errors="coerce")
    return bool(numbers.notna().all() and numbers.nunique() > MANY_VALUES)


def _own(label: str, number: bool, path: Path) -> Content:
    shown, labels = own_rows(path, label)
    kept = _kept(np.zeros(len(labels), dtype=bool))
    shown, labels = shown.iloc[kept], labels.iloc[kept]
    y = labels.to_numpy(np.float64) if number else _codes(labels)
    if shown.ndim == 1:
        return _encoded_texts(shown.tolist(), None), y, None
    return _encoded_columns(shown, None), y, None


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("digits-lr", "", _digits, pool=2_000, targets=(0.90, 0.93)),
        DataSet("digits-svm", "", _digits, "svm", pool=2_000, targets=(0.95, 0.98)),
        DataSet("breast_cancer", "", _breast_cancer, batch=5, budget=100, scaled=True),
        DataSet("wine", "", _wine, batch=3, budget=60, scaled=True),
        DataSet("sms_spam", "text_sms_spam.parquet", _texts, measure="macro_f1"),
        DataSet("trec6", "text_trec6.parquet", _texts),
        DataSet("ko_nsmc", "text_ko_nsmc20k.parquet", _texts),
        DataSet("adult", "tab_adult.parquet", _columns),
        DataSet("letter", "tab_letter.parquet", _columns, "svm", batch=20, pool=1_500),
        DataSet("sick", "tab_sick.parquet", _columns, measure="macro_f1"),
        DataSet("mnist10k", "image_mnist10k.npz", _pictures, "svm", batch=20, pool=1_500),
        DataSet(
            "screening_ace",
            "screening_ace.parquet",
            _abstracts,
            "balanced",
            measure="recall",
            test_share=1 / 3,
            known=1,
            pool=2_000,
        ),
        DataSet("concrete", "reg_concrete.parquet", _number, "kernel_ridge", "number", "r2"),
        DataSet("emotions", "multi_emotions.parquet", _several, "one_vs_rest", "multi_label", "micro_f1"),
    )
}
"""The common sets, in the order of the page."""

LU = replace(
    DATA_SETS["breast_cancer"], name="breast_cancer-lu", model="svc", start=20, batch=1, budget=0, test_share=0.4
)
"""The protocol of Lu et al. 2023, section 4: one label at a time from 20 until the pool is exhausted."""
