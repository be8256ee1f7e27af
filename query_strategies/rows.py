"""Rows of any form that a learner takes: as something that an integer array can pick from, and named by content.

Equal rows have equal names, whether they are dense or sparse, so a pool can be walked through in an order that does not
depend on how it is stored.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Ids: TypeAlias = NDArray[np.uint64]
Matrix: TypeAlias = Any
"""(n, d): a dense array (a memory map, too), or a scipy csr matrix or array."""


def as_rows(X: Matrix) -> Matrix:
    """X in a form whose rows can be picked by an integer array: a dense array or csr; None stays None.

    Data frames and lists of rows become arrays, a list of texts an array of objects; other sparse forms become
    csr (a copy).
    """
    if X is None or isinstance(X, np.ndarray):
        return X
    if is_sparse(X):
        return X.tocsr()
    texts = isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], str)
    return np.asarray(X, dtype=object) if texts else np.asarray(X)


def is_sparse(X: Matrix) -> bool:
    """Whether X is a scipy sparse matrix or array."""
    return bool(sparse.issparse(X))


def content_ids(X: Matrix) -> Ids:
    """One 64-bit id per row, from its content: equal rows get equal ids, whether dense or sparse, float32 or float64.

    Numbers count by their value as float64, zeros not at all; rows of anything else by what they print as.
    """
    if is_sparse(X):
        entries = X.tocsr()
        rows = np.repeat(np.arange(X.shape[0]), np.diff(entries.indptr))
        return _sum_by_row(rows, entries.indices, entries.data, X.shape[0])
    dense = X.reshape(len(X), -1)
    if dense.dtype.kind not in "biuf":
        return np.array([_text_id(row) for row in dense], dtype=np.uint64)
    ids = np.empty(len(dense), dtype=np.uint64)
    step = max(1, 2**20 // max(1, dense.shape[1]))
    for start in range(0, len(dense), step):
        part = dense[start : start + step]
        columns = np.broadcast_to(np.arange(part.shape[1]), part.shape)
        ids[start : start + step] = mix(np.where(part == 0, 0, _entry_keys(columns, part)).sum(axis=1, dtype=np.uint64))
    return ids


def _sum_by_row(rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[Any], n: int) -> Ids:
    sums = np.zeros(n, dtype=np.uint64)
    kept = values != 0
    np.add.at(sums, rows[kept], _entry_keys(columns[kept], values[kept]))
    return mix(sums)


def _entry_keys(columns: NDArray[np.int64], values: NDArray[Any]) -> Ids:
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    return mix(bits ^ mix(columns.astype(np.uint64)))


def _text_id(row: NDArray[Any]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(row.tolist()).encode(), digest_size=8).digest(), "big")


def mix(x: Ids) -> Ids:
    """Scramble 64-bit numbers, one to one: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
