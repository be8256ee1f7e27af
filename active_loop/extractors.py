"""How an item becomes numbers.

One extractor for each kind of data, which needs nothing but the content; the user's own features as they are; or a
class of the user's. An extractor is fitted once, on what it is given, and then frozen: it sees no labels, and does
not know which items are for testing (`features` never fits on one of those). What it gives depends on what it was
fitted on and on the content of one item at a time, so that rows can be made block by block, now or later.

No heavy library is imported before it is used: this module is loaded at every start.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

from . import components
from .cells import ENCODERS, Encoder, fitted_column
from .errors import ConfigError, DataError, unknown_name
from .files import one_line
from .settings import DataSettings, FeatureSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


@runtime_checkable
class Portable(Protocol):
    """An extractor whose fitted state can be written down in plain parts, and taken up by another one of its class."""

    def state(self) -> dict[str, Any]:
        """What `fit` found: texts, numbers, true or false, and lists and dicts of these; arrays of numbers."""
        ...

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Transforms from now on as the extractor did that gave this state."""
        ...


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
    made: FeatureExtractor = components.make(name)
    missing = [part for part in ("fit", "transform", "fingerprint") if not hasattr(made, part)]
    if missing:
        raise ConfigError(f'the features "{name}" lack {", ".join(missing)}: an extractor needs all three.')
    return made


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

    def state(self) -> dict[str, Any]:
        return {"mode": self._mode}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._mode = str(state["mode"])
        return self

    def _small(self, picture: Any) -> NDArray[np.uint8]:
        import numpy as np
        from PIL import Image

        return np.asarray(picture.convert(self._mode).resize((self.SIDE, self.SIDE), Image.Resampling.BOX))


def open_image(path: Path, at_least: int = 0) -> Any:
    """The decoded picture (a PIL image) in the file; `DataError` names the file if it cannot be opened.

    With `at_least`, a large JPEG may come back smaller, never with a side below that many pixels: it is much faster.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            return image.copy()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as problem:
        raise DataError(f"cannot open the image {path}: {one_line(problem)}; replace it or take it out.") from problem


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
    _CUTS: Final[Mapping[str, Mapping[str, Any]]] = {
        "char": {"analyzer": "char", "ngram_range": (1, 4)},
        "word": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
        "char_wb": {"analyzer": "char_wb", "ngram_range": (2, 5)},
    }

    def __init__(self) -> None:
        self._parts: list[Any] = []

    @property
    def fingerprint(self) -> str:
        return _fingerprint("tfidf", "scikit-learn", "scipy")

    def fit(self, content: Sequence[str]) -> Self:
        texts = [unicodedata.normalize("NFC", text) for text in content]
        cuts = ("char",) if _cut_by_character(texts) else ("word", "char_wb")
        self._parts = [part for cut in cuts if (part := self._fitted(texts, self._CUTS[cut])) is not None]
        if not self._parts:
            raise DataError(f"cannot make features of these {len(texts)} texts: none of them holds a word or letter.")
        return self

    def transform(self, content: Sequence[str]) -> Any:
        from scipy.sparse import hstack

        texts = [unicodedata.normalize("NFC", text) for text in content]
        return hstack([part.transform(texts) for part in self._parts], format="csr")

    def state(self) -> dict[str, Any]:
        """Of each part the cut, and its terms in the order of the columns with their weights."""
        return {
            "parts": [
                {"cut": part.analyzer, "terms": part.get_feature_names_out().tolist(), "idf": part.idf_}
                for part in self._parts
            ]
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._parts = [self._restored(part) for part in state["parts"]]
        return self

    def _restored(self, part: Mapping[str, Any]) -> Any:
        vectoriser = self._vectoriser(self._CUTS[part["cut"]], vocabulary=part["terms"])
        vectoriser.idf_ = part["idf"]
        return vectoriser

    def _vectoriser(self, cut: Mapping[str, Any], **options: Any) -> Any:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(**cut, sublinear_tf=True, dtype=np.float32, **options)

    def _fitted(self, texts: Sequence[str], cut: Mapping[str, Any]) -> Any:
        """A fitted vectoriser, or None if the texts have no such terms at all."""
        for min_df in (2, 1) if len(texts) >= 200 else (1,):
            try:
                return self._vectoriser(cut, min_df=min_df, max_features=self.MAX_TERMS).fit(texts)
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
        self._encoders: dict[str, Encoder] = {}

    @property
    def fingerprint(self) -> str:
        return _fingerprint("columns", "pandas")

    def fit(self, content: Any) -> Self:
        fitted = {str(name): fitted_column(content[name]) for name in content.columns}
        self._encoders = {name: encoder for name, encoder in fitted.items() if encoder is not None}
        if not self._encoders:
            raise DataError(f"cannot make features: all cells of {', '.join(fitted)} are empty.")
        return self

    def transform(self, content: Any) -> NDArray[np.float32]:
        import numpy as np

        blocks = [encoder.transform(content[name]) for name, encoder in self._encoders.items()]
        joined: NDArray[np.float32] = np.hstack(blocks).astype(np.float32, copy=False)
        return joined

    def state(self) -> dict[str, Any]:
        return {
            "columns": [
                {"name": name, "kind": encoder.KIND, **encoder.state()} for name, encoder in self._encoders.items()
            ]
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._encoders = {column["name"]: ENCODERS[column["kind"]].restored(column) for column in state["columns"]}
        return self


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

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> Self:
        return self


EXTRACTORS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[], FeatureExtractor]]]] = {
    "pixels": (("image",), Pixels),
    "tfidf": (("text",), Tfidf),
    "columns": (("table",), Columns),
    "embeddings": (("image", "table", "text"), Embeddings),
}
"""Extractors by name, with the kinds of data each is made for."""

_AUTO: Final = {"image": "pixels", "text": "tfidf", "table": "columns"}
