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
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self

from .errors import ConfigError, DataError, unknown_name
from .settings import DataSettings, FeatureSettings
from .sources import Source, open_embeddings, open_image, plain_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK: Final = 8192  # rows encoded at a time; for embeddings fewer, if they are wide
_BLOCK_BYTES: Final = 64 << 20
_FORMAT: Final = 1  # goes up when the same settings begin to give other numbers


class FeatureExtractor(Protocol):
    """Makes matrix rows of content: texts, image paths, a data frame, or rows of embeddings (see `Source.content`).

    `fit` is called once, with content of pool items in an order that is random with respect to what they show;
    then `transform` with any items, row i being `content[i]`: float32, an array (n, d) or a scipy CSR matrix
    (n, d), with the same d and the same row for the same content whatever stands beside it.
    """

    @property
    def fingerprint(self) -> str:
        """Changes with everything but the data that can change a feature: name, parameters, libraries."""

    def fit(self, content: Any) -> Self: ...

    def transform(self, content: Any) -> Any: ...


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
    fit_on = _fit_rows(rows, pool, fit_rows)
    name = extractor_name(settings_features, data)
    extractor = make_extractor(name, data.kind)
    digests = source.digests(rows)
    by_row = dict(zip(rows, digests, strict=True))
    fit_on.sort(key=lambda row: by_row[row])
    content = _content(source, name)
    parts = [extractor.fingerprint.encode(), b"".join(digests), b"".join(by_row[row] for row in fit_on)]
    parts.append(_embedding_digest(source) if name == "embeddings" else b"")
    key = hashlib.blake2b(b"".join(b"%d:%b" % (len(part), part) for part in parts), digest_size=12).hexdigest()
    found = _find(cache, key)
    if found:
        return found
    extractor.fit(content(fit_on[: getattr(extractor, "max_fit", None)]))
    blocks = _blocks(extractor, content, rows, _block_rows(source, name))
    cache.mkdir(parents=True, exist_ok=True)
    return _write(blocks, cache, key, name, len(fit_on), len(rows))


def extractor_name(settings_features: FeatureSettings, data: DataSettings) -> str:
    """The extractor's name: as set, or for "auto" the user's embeddings if there are any, else by kind of data."""
    if settings_features.use != "auto":
        return settings_features.use
    return "embeddings" if data.embeddings else _AUTO[data.kind]


def make_extractor(name: str, kind: str) -> FeatureExtractor:
    """An unfitted extractor: one of `EXTRACTORS`, or the user's own as "module:Class" (made without arguments).

    Raises `ConfigError` for an unknown name, one that cannot be imported, and one made for another kind of data.
    """
    if ":" in name:
        return _own(name)
    if name not in EXTRACTORS:
        raise ConfigError(unknown_name("features.use", name, ["auto", *EXTRACTORS]))
    kinds, make = EXTRACTORS[name]
    if kind not in kinds:
        raise ConfigError(f'features.use is "{name}", which is made for {" and ".join(kinds)} data, not for "{kind}".')
    return make()


def _own(name: str) -> FeatureExtractor:
    module_name, _, attribute = name.partition(":")
    try:
        made: FeatureExtractor = getattr(importlib.import_module(module_name), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as problem:
        raise ConfigError(f'cannot use the features "{name}": {problem}.') from problem
    missing = [part for part in ("fit", "transform", "fingerprint") if not hasattr(made, part)]
    if missing:
        raise ConfigError(f'the features "{name}" lack {", ".join(missing)}: an extractor needs all three.')
    return made


# Encoding


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


def _content(source: Source, name: str) -> Callable[[Sequence[str]], Any]:
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
    """Features of `size` rows at a time, checked: as many rows as asked for, numbers only."""
    import numpy as np
    from scipy.sparse import csr_matrix

    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        block: Any = extractor.transform(content(some))
        block = csr_matrix(block, dtype=np.float32) if _is_sparse(block) else np.asarray(block, dtype=np.float32)
        if block.ndim != 2 or block.shape[0] != len(some):
            raise DataError(
                f"the features of {len(some)} items have the shape {block.shape}; ({len(some)}, d) is needed."
            )
        values = block.data if _is_sparse(block) else block
        if not np.isfinite(values).all():
            at = _first_bad(block)
            raise DataError(f"the features of row {some[at]} hold NaN or infinity: every feature must be a number.")
        yield block


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
            block.sum_duplicates()  # sorts the columns of each row too
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


# Extractors


def _fingerprint(name: str, *libraries: str) -> str:
    return " ".join([f"{name}/{_FORMAT}", *(f"{library}={version(library)}" for library in ("numpy", *libraries))])


class Pixels:
    """Small pictures as 16 x 16 pixels in [0, 1], averaged over areas; in colour if one of the fitted ones is.

    With few labels a coarse picture teaches more than a fine one: fitted on 200 digits, RBF-SVMs were no better
    with 32 x 32 pixels than with 16 x 16 (the demo's digits), or worse (MNIST). Transparency is laid on white. Good for
    digits, marks and textures; for photographs bring embeddings.
    """

    SIDE = 16
    max_fit = 64

    def __init__(self) -> None:
        self._mode = "L"

    @property
    def fingerprint(self) -> str:
        return _fingerprint("pixels", "pillow")

    def fit(self, content: Sequence[Path]) -> Self:
        coloured = any(_is_coloured(_opened(path)) for path in content)
        self._mode = "RGB" if coloured else "L"
        return self

    def transform(self, content: Sequence[Path]) -> NDArray[np.float32]:
        import numpy as np

        rows = np.empty((len(content), self.SIDE**2 * len(self._mode)), dtype=np.float32)
        for row, path in zip(rows, content, strict=True):
            row[:] = self._small(_opened(path)).ravel()
        rows /= 255
        return rows

    def _small(self, picture: Any) -> NDArray[np.uint8]:
        import numpy as np
        from PIL import Image

        return np.asarray(picture.convert(self._mode).resize((self.SIDE, self.SIDE), Image.Resampling.BOX))


def _opened(path: Path) -> Any:
    return _flat(open_image(path, at_least=2 * Pixels.SIDE))


def _flat(image: Any) -> Any:
    """The picture upright, without transparency, with 8 bits a channel."""
    import numpy as np
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        deep = np.asarray(image, dtype=np.float64)
        top = 65535 if deep.max(initial=0) > 255 else 255
        return Image.fromarray(np.clip(deep * (255 / top), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def _is_coloured(picture: Any) -> bool:
    import numpy as np

    if picture.mode == "L":
        return False
    channels = np.asarray(picture.resize((32, 32)), dtype=np.int16)
    return bool((channels.max(axis=2) - channels.min(axis=2)).mean() > 4)  # a scan's yellow tinge is no colour


class Tfidf:
    """Texts as weights of their words (one and two in a row) and of pieces of words (2 to 5 letters), tf-idf.

    Each of the two parts of a row has unit length. Texts in scripts that put no space between words, or whose words
    change their endings by the syllable (Chinese, Japanese, Korean, Thai, …), are cut into all pieces of 1 to 4
    characters instead. Terms of a single text are left out once there are 200 texts. A text without any known term is
    a row of zeros.
    """

    max_fit = 100_000
    MAX_TERMS = 1 << 18

    def __init__(self) -> None:
        self._parts: list[Any] = []

    @property
    def fingerprint(self) -> str:
        return _fingerprint("tfidf", "scikit-learn", "scipy")

    def fit(self, content: Sequence[str]) -> Self:
        texts = [unicodedata.normalize("NFC", text) for text in content]
        if _cut_by_character(texts):
            cuts: list[dict[str, Any]] = [{"analyzer": "char", "ngram_range": (1, 4)}]
        else:
            words = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
            cuts = [words, {"analyzer": "char_wb", "ngram_range": (2, 5)}]
        self._parts = [part for cut in cuts if (part := self._fitted(texts, cut)) is not None]
        if not self._parts:
            raise DataError(f"cannot make features of these {len(texts)} texts: none of them holds a word or letter.")
        return self

    def transform(self, content: Sequence[str]) -> Any:
        from scipy.sparse import hstack

        texts = [unicodedata.normalize("NFC", text) for text in content]
        return hstack([part.transform(texts) for part in self._parts], format="csr")

    def _fitted(self, texts: Sequence[str], cut: Mapping[str, Any]) -> Any:
        """A fitted vectoriser, or None if the texts have no such terms at all."""
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        for min_df in (2, 1) if len(texts) >= 200 else (1,):
            vectoriser = TfidfVectorizer(
                **cut, min_df=min_df, max_features=self.MAX_TERMS, sublinear_tf=True, dtype=np.float32
            )
            try:
                return vectoriser.fit(texts)
            except ValueError:  # its word for "no term is left"
                continue
        return None


_SYLLABLES: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]"
)


def _cut_by_character(texts: Sequence[str]) -> bool:
    """Whether a third of the letters are of a script for which pieces of words say more than words."""
    some = "".join(text[:200] for text in texts[:2000])
    return len(_SYLLABLES.findall(some)) > sum(map(str.isalpha, some)) / 3


class Columns:
    """Table rows as numbers: a column at a time, by what its fitted cells look like.

    * numbers, true/false and dates: the median for what is missing, with a 0/1 column that says so if anything was
      missing; then mean 0 and standard deviation 1, at most 10 of them away;
    * at most 20 different values: a 0/1 column for each; a value not seen in the fit is all zeros;
    * more: their words hashed into 32 columns, and how frequent the value is;
    * nothing but missing cells: left out.

    A column is one of numbers (or dates) if 95 % of its filled cells read as one; the rest count as missing then.
    """

    max_fit = 200_000

    def __init__(self) -> None:
        self._encoders: dict[str, _Number | _Levels | _Words] = {}

    @property
    def fingerprint(self) -> str:
        return _fingerprint("columns", "pandas")

    def fit(self, content: Any) -> Self:
        fitted = {str(name): _fitted_column(content[name]) for name in content.columns}
        self._encoders = {name: encoder for name, encoder in fitted.items() if encoder is not None}
        if not self._encoders:
            raise DataError(f"cannot make features: all cells of {', '.join(fitted)} are empty.")
        return self

    def transform(self, content: Any) -> NDArray[np.float32]:
        import numpy as np

        blocks = [encoder.transform(content[name]) for name, encoder in self._encoders.items()]
        joined: NDArray[np.float32] = np.hstack(blocks).astype(np.float32, copy=False)
        return joined


_MISSING: Final = frozenset({"", "?", "na", "n/a", "nan", "<na>", "null", "none", "nat", "inf", "-inf"})
_TRUTH: Final = {"true": 1.0, "false": 0.0}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


def _fitted_column(column: Any) -> _Number | _Levels | _Words | None:
    texts = _texts(column)
    filled = [text for text in texts if text.lower() not in _MISSING]
    if not filled:
        return None
    for read in (_read_number, _read_date):
        values = read(column)
        if _n_numbers(values) >= 0.95 * len(filled):
            return _Number(read, values)
    levels = sorted(set(texts))
    return _Levels(levels) if len(levels) <= 20 else _Words(texts)


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


class _Number:
    def __init__(self, read: Callable[[Any], NDArray[np.float64]], fitted: NDArray[np.float64]) -> None:
        import numpy as np

        self._read = read
        self._median = float(np.nanmedian(fitted))
        self._flag = bool(np.isnan(fitted).any())
        whole = np.where(np.isnan(fitted), self._median, fitted)
        self._mean, self._spread = float(whole.mean()), float(whole.std()) or 1.0

    def transform(self, column: Any) -> NDArray[np.float32]:
        import numpy as np

        values = self._read(column)
        missing = np.isnan(values)
        scaled = (np.where(missing, self._median, values) - self._mean) / self._spread
        parts = [np.clip(scaled, -10, 10), missing] if self._flag else [np.clip(scaled, -10, 10)]
        return np.column_stack(parts).astype(np.float32)


class _Levels:
    def __init__(self, levels: Sequence[str]) -> None:
        self._place = {level: place for place, level in enumerate(levels)}

    def transform(self, column: Any) -> NDArray[np.float32]:
        import numpy as np

        places = np.array([self._place.get(text, -1) for text in _texts(column)], dtype=np.int64)
        ones: NDArray[np.float32] = (places[:, None] == np.arange(len(self._place))).astype(np.float32)
        return ones


class _Words:
    N_BUCKETS = 32

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        levels, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
        logs = np.log1p(counts)
        self._mean = float(np.average(logs, weights=counts))
        self._spread = float(np.sqrt(np.average((logs - self._mean) ** 2, weights=counts))) or 1.0
        self._log = dict(zip(levels.tolist(), logs.tolist(), strict=True))

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
        row[-1] = np.clip((self._log.get(text, 0.0) - self._mean) / self._spread, -10, 10)
        return row


class Embeddings:
    """The user's own features as they are, in float32."""

    max_fit = 0

    @property
    def fingerprint(self) -> str:
        return _fingerprint("embeddings")

    def fit(self, content: NDArray[Any]) -> Self:
        return self

    def transform(self, content: NDArray[Any]) -> NDArray[np.float32]:
        import numpy as np

        return np.asarray(content, dtype=np.float32)


EXTRACTORS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[], FeatureExtractor]]]] = {
    "pixels": (("image",), Pixels),
    "tfidf": (("text",), Tfidf),
    "columns": (("table",), Columns),
    "embeddings": (("image", "table", "text"), Embeddings),
}
"""Extractors by name, with the kinds of data each is made for."""

_AUTO: Final = {"image": "pixels", "text": "tfidf", "table": "columns"}
