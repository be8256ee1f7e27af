"""Items → matrix rows: encoded once, cached by content and fingerprint, memory-mapped.

What a model sees of an item is worked out once, block by block, and written below `cache/`; whoever needs it maps
the file and shares its pages. The file's name is a hash of everything that went into it, so a stale one is never
read: it is simply no longer asked for. An extractor is fitted on pool items alone and never on a test item (a guard
refuses), in an order that depends on their content and not on the file. Because nothing pickled is ever read back,
a fitted extractor is not stored: fitting again on the same rows gives the same one.

No heavy library is imported before it is used: this module is loaded at every start.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from .errors import ConfigError, DataError
from .extractors import FeatureExtractor, extractor_name, make_extractor
from .files import open_embeddings
from .records import Source
from .settings import DataSettings, FeatureSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK: Final = 8192  # rows encoded at a time; for embeddings fewer, if they are wide
_BLOCK_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """Encoded features on disk; cheap to send to another process.

    Row i of `open()` is item position i. `kind` is "dense" or "csr"; `fingerprint` names content, extractor and the
    rows it was fitted on; `n_fit` is their number.
    """

    folder: Path
    fingerprint: str
    kind: str
    shape: tuple[int, int]
    extractor: str
    n_fit: int

    def open(self) -> Any:
        """The matrix, float32 and read-only, mapped and not loaded: a numpy array, or a CSR matrix of mapped arrays.

        Raises `DataError` if the files are gone or damaged; encoding again makes them again.
        """
        try:
            return self._dense() if self.kind == "dense" else self._csr()
        except (OSError, ValueError, EOFError) as problem:
            raise DataError(f"cannot open the features {self.path('')}: {problem}; encode them again.") from problem

    def path(self, part: str) -> Path:
        """The file of one part: "" for dense features; "data", "indices" or "indptr" of a CSR matrix."""
        return self.folder / f"features-{self.fingerprint}{f'.{part}' if part else ''}.npy"

    def _dense(self) -> NDArray[np.float32]:
        array = _mapped(self.path(""))
        if array.shape != self.shape:
            raise ValueError(f"its shape is {array.shape} and should be {self.shape}")
        return array

    def _csr(self) -> Any:
        from scipy.sparse import csr_matrix  # modAL knows matrices, not sparse arrays

        parts = (_mapped(self.path(part)) for part in ("data", "indices", "indptr"))
        data, indices, indptr = parts
        if len(indptr) != self.shape[0] + 1 or not len(data) == len(indices) == indptr[-1]:
            raise ValueError("its three parts do not fit together")
        matrix = csr_matrix((data, indices, indptr), shape=self.shape, copy=False)
        matrix.has_sorted_indices = True  # they were sorted when written; sorting in place would fail
        matrix.has_canonical_format = True
        return matrix


def encode(
    source: Source,
    rows: Sequence[str],
    pool: NDArray[np.bool_],
    settings_features: FeatureSettings,
    data: DataSettings,
    cache: Path,
    fit_rows: Sequence[str] | None = None,
) -> FeatureFile:
    """Features of all items: found in `cache`, or made and put there.

    `rows[i]` is the source row of item position i, `pool[i]` whether it is a pool item. The extractor is fitted on
    the pool items; when items were added later, `fit_rows` are the pool rows of the first import, so that it
    stays as it was and the new rows are only transformed. Raises `RuntimeError` if a row to fit on is no pool
    item (a mistake in the program, never in the data), `DataError` for content that cannot be encoded, and
    `ConfigError` for an extractor that does not exist or does not fit the kind of data.
    """
    name = extractor_name(settings_features, data)
    extractor = make_extractor(name, data.kind)
    digests = source.digests(rows)
    by_row = dict(zip(rows, digests, strict=True))
    fit_on = sorted(_fit_rows(rows, pool, fit_rows), key=lambda row: by_row[row])
    content = content_of(source, name)
    parts = [extractor.fingerprint.encode(), b"".join(digests), b"".join(by_row[row] for row in fit_on)]
    parts.append(_embedding_digest(source) if name == "embeddings" else b"")
    key = hashlib.blake2b(b"".join(b"%d:%b" % (len(part), part) for part in parts), digest_size=12).hexdigest()
    found = _find(cache, key)
    if found:
        return found
    _fit(extractor, content, fit_on)
    blocks = _blocks(extractor, content, rows, _block_rows(source, name))
    cache.mkdir(parents=True, exist_ok=True)
    return _write(blocks, cache, key, name, len(fit_on), len(rows))


def fitted(
    source: Source, rows: Sequence[str], pool: NDArray[np.bool_], settings_features: FeatureSettings, data: DataSettings
) -> FeatureExtractor:
    """The extractor itself, fitted as `encode` fits it for these items; the same errors."""
    name = extractor_name(settings_features, data)
    fit_on = _fit_rows(rows, pool, None)
    by_row = dict(zip(fit_on, source.digests(fit_on), strict=True))
    return _fit(make_extractor(name, data.kind), content_of(source, name), sorted(fit_on, key=lambda row: by_row[row]))


def encoded(extractor: FeatureExtractor, content: Any, rows: Sequence[object]) -> Any:
    """Features (n, d) of content, float32, an array or a CSR matrix, as a `FeatureFile` gives them; `rows` name it.

    Raises `DataError` for another number of rows than there are names, and for what is no number.
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    block: Any = extractor.transform(content)
    if _is_sparse(block):
        block = csr_matrix(block, dtype=np.float32)
        block.sum_duplicates()  # sorts the columns of each row too
    else:
        block = np.ascontiguousarray(block, dtype=np.float32)
    if block.ndim != 2 or block.shape[0] != len(rows):
        raise DataError(f"the features of {len(rows)} items have the shape {block.shape}; ({len(rows)}, d) is needed.")
    values = block.data if _is_sparse(block) else block
    if not np.isfinite(values).all():
        at = _first_bad(block)
        raise DataError(f"the features of row {rows[at]} hold NaN or infinity: every feature must be a number.")
    return block


# Encoding


def _fit(
    extractor: FeatureExtractor, content: Callable[[Sequence[str]], Any], fit_on: Sequence[str]
) -> FeatureExtractor:
    return extractor.fit(content(fit_on[: getattr(extractor, "max_fit", None)]))


def _fit_rows(rows: Sequence[str], pool: NDArray[np.bool_], fit_rows: Sequence[str] | None) -> list[str]:
    """The rows to fit on; refuses every row that is not one of a pool item."""
    if len(pool) != len(rows):
        raise ValueError(f"{len(rows)} rows, and pool or test is said of {len(pool)}")
    allowed = {row for row, is_pool in zip(rows, pool, strict=True) if is_pool}
    chosen = list(dict.fromkeys(rows if fit_rows is None else fit_rows))
    if fit_rows is None:
        chosen = [row for row in chosen if row in allowed]
    forbidden = [row for row in chosen if row not in allowed]
    if forbidden:
        raise RuntimeError(f"features may be fitted on pool items only: row {forbidden[0]} is none of them")
    if not chosen:
        raise DataError("cannot fit features: there is no pool item; import more data than is reserved for testing.")
    return chosen


def content_of(source: Source, name: str) -> Callable[[Sequence[str]], Any]:
    """What the extractor of this name is given of rows: the user's own features, or what the source holds."""
    if name != "embeddings":
        return source.content
    array = _embeddings(source)
    return lambda rows: array[source.numbers(rows)]


def _embeddings(source: Source) -> NDArray[Any]:
    if source.embeddings is None:
        raise ConfigError('features.use is "embeddings", and data.embeddings names no file.')
    return open_embeddings(source.embeddings, source.n_rows, source.name)


def _embedding_digest(source: Source) -> bytes:
    if source.embeddings is None:
        return b""
    with source.embeddings.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def _block_rows(source: Source, name: str) -> int:
    if name != "embeddings":
        return _BLOCK
    width = _embeddings(source).shape[1]
    return max(64, min(_BLOCK, _BLOCK_BYTES // (8 * width)))


def _blocks(
    extractor: FeatureExtractor, content: Callable[[Sequence[str]], Any], rows: Sequence[str], size: int
) -> Iterator[Any]:
    """Features of `size` rows at a time."""
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield encoded(extractor, content(some), some)


def _is_sparse(block: Any) -> bool:
    from scipy.sparse import issparse

    return bool(issparse(block))


def _first_bad(block: Any) -> int:
    import numpy as np

    if _is_sparse(block):
        place = int(np.flatnonzero(~np.isfinite(block.data))[0])
        return int(np.searchsorted(block.indptr, place, side="right")) - 1
    return int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])


# The cache


class _Growing:
    """A .npy file written block by block; its length is filled in at the end (numpy leaves room for it)."""

    def __init__(self, file: IO[bytes], dtype: Any, width: int | None = None) -> None:
        import numpy as np

        self.length = 0
        self._file, self._dtype, self._width = file, np.dtype(dtype), width
        self._start = self._header()

    def append(self, block: NDArray[Any]) -> None:
        import numpy as np

        if block.size:  # an empty one has no bytes to look at
            self._file.write(np.ascontiguousarray(block, dtype=self._dtype).data.cast("B"))
        self.length += len(block)

    def finish(self) -> None:
        self._file.seek(0)
        if self._header() != self._start:
            raise RuntimeError("the header of a .npy file has no room for its length")

    def _header(self) -> int:
        npy: Any = importlib.import_module("numpy.lib.format")
        shape = (self.length,) if self._width is None else (self.length, self._width)
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)
        return self._file.tell()


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when all went well, and otherwise leaves nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb+") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(blocks: Iterator[Any], cache: Path, key: str, name: str, n_fit: int, n_rows: int) -> FeatureFile:
    """The arrays first, then the note that makes them count."""
    first = next(blocks)
    kind = "csr" if _is_sparse(first) else "dense"
    made = FeatureFile(cache, key, kind, (n_rows, int(first.shape[1])), name, n_fit)
    write = _write_csr if kind == "csr" else _write_dense
    write(made, _same_width(first, blocks, kind))
    with _replacing(_note(cache, key)) as file:
        note = {"kind": kind, "shape": made.shape, "extractor": name, "n_fit": n_fit}
        file.write(json.dumps(note).encode())
    return made


def _same_width(first: Any, rest: Iterator[Any], kind: str) -> Iterator[Any]:
    yield first
    for block in rest:
        if block.shape[1] != first.shape[1] or _is_sparse(block) != (kind == "csr"):
            raise DataError(
                f"the features changed between two blocks, from {first.shape[1]} columns to {block.shape[1]}, "
                "or from dense to sparse: transform must always give the same columns."
            )
        yield block


def _write_dense(made: FeatureFile, blocks: Iterator[Any]) -> None:
    import numpy as np

    with _replacing(made.path("")) as file:
        array = _Growing(file, np.float32, made.shape[1])
        for block in blocks:
            array.append(block)
        array.finish()


def _write_csr(made: FeatureFile, blocks: Iterator[Any]) -> None:
    import numpy as np

    with (
        _replacing(made.path("data")) as data_file,
        _replacing(made.path("indices")) as indices_file,
        _replacing(made.path("indptr")) as indptr_file,
    ):
        data, indices = _Growing(data_file, np.float32), _Growing(indices_file, np.int32)
        ends = [np.zeros(1, dtype=np.int64)]
        for block in blocks:
            ends.append(block.indptr[1:].astype(np.int64) + data.length)
            data.append(block.data)
            indices.append(block.indices)
        # Many estimators take 32-bit indices only, and scipy copies what it has to convert.
        indptr = _Growing(indptr_file, np.int32 if data.length < 2**31 else np.int64)
        indptr.append(np.concatenate(ends))
        for array in (data, indices, indptr):
            array.finish()


def _note(cache: Path, key: str) -> Path:
    return cache / f"features-{key}.json"


def _find(cache: Path, key: str) -> FeatureFile | None:
    """What an earlier call left, unless it is incomplete or damaged."""
    try:
        note = json.loads(_note(cache, key).read_bytes())
        n_rows, width = note["shape"]
        found = FeatureFile(cache, key, note["kind"], (n_rows, width), note["extractor"], note["n_fit"])
        found.open()
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None
    return found


def _mapped(path: Path) -> NDArray[Any]:
    import numpy as np

    if not path.stat().st_size:
        raise ValueError("it is empty")
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
