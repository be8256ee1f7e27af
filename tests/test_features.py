"""Features are made once, of pool items' statistics only, and found again exactly when nothing has changed."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from active_loop import features
from active_loop.errors import ConfigError, DataError
from active_loop.extractors import EXTRACTORS, Columns, Pixels, Tfidf, make_extractor
from active_loop.features import FeatureFile, encode
from active_loop.records import Source
from active_loop.settings import DataSettings, FeatureSettings
from active_loop.sources import open_source

TEXTS = [
    f"{word} film, {tone} it {'very' * (i % 3)} much {i}"
    for i, (word, tone) in enumerate(
        [("good", "loved"), ("bad", "hated"), ("dull", "left"), ("bright", "saw"), ("long", "slept through")] * 8
    )
]


def text_data(folder: Path, texts: Sequence[str] = TEXTS) -> tuple[Source, DataSettings]:
    with (folder / "d.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["review"], *([text] for text in texts)])
    data = DataSettings(path="d.csv", kind="text", show=("review",))
    return open_source(data, folder), data


def rows_of(source: Source) -> list[str]:
    return [record.row for record in source.records()]


def everything(source: Source, data: DataSettings, cache: Path, use: str = "auto", **more: Any) -> FeatureFile:
    rows = rows_of(source)
    return encode(source, rows, np.ones(len(rows), dtype=bool), FeatureSettings(use), data, cache, **more)


def dense(file: FeatureFile) -> NDArray[np.float32]:
    matrix = file.open()
    return np.asarray(matrix.toarray() if file.kind == "csr" else matrix)


class Lengths:
    """A user's own extractor: the length of a text, over the longest one of the fit."""

    fingerprint = "lengths 1"
    seen: list[str] = []  # noqa: RUF012 - shared on purpose, to look into
    n_transformed = 0

    def fit(self, content: Sequence[str]) -> Self:
        type(self).seen = list(content)
        self.longest = max(map(len, content))
        return self

    def transform(self, content: Sequence[str]) -> NDArray[np.float64]:
        type(self).n_transformed += len(content)
        return np.array([[len(text) / self.longest] for text in content])


class Broken(Lengths):
    fingerprint = "broken 1"

    def transform(self, content: Sequence[str]) -> NDArray[np.float64]:
        rows = super().transform(content)
        rows[2:3] = np.nan
        return rows


class Late(Lengths):
    fingerprint = "late 1"

    def transform(self, content: Sequence[str]) -> NDArray[np.float64]:
        rows = super().transform(content)
        return rows * np.nan if TEXTS[20] in content else rows


class Short(Lengths):
    fingerprint = "short 1"

    def transform(self, content: Sequence[str]) -> NDArray[np.float64]:
        return super().transform(content)[1:]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    module = type(sys)("own_features")
    for made in (Lengths, Broken, Late, Short):
        setattr(module, made.__name__, made)
    module.nothing = object()  # type: ignore[attr-defined]
    module.lacking = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_features", module)
    Lengths.n_transformed = 0
    return "own_features:Lengths"


# The wall between pool and test


def test_an_extractor_is_fitted_on_pool_items_only(tmp_path: Path, own: str) -> None:
    source, data = text_data(tmp_path)
    rows = rows_of(source)
    pool = np.arange(len(rows)) % 3 > 0
    encode(source, rows, pool, FeatureSettings(own), data, tmp_path / "cache")
    assert sorted(Lengths.seen) == sorted(text for text, is_pool in zip(TEXTS, pool, strict=True) if is_pool)


def test_a_test_item_to_fit_on_is_refused(tmp_path: Path) -> None:
    source, data = text_data(tmp_path)
    rows = rows_of(source)
    pool = np.arange(len(rows)) > 0
    with pytest.raises(RuntimeError, match="pool items only: row 0"):
        encode(source, rows, pool, FeatureSettings(), data, tmp_path, fit_rows=rows)
    with pytest.raises(RuntimeError, match="pool items only: row 99"):
        encode(source, rows, pool, FeatureSettings(), data, tmp_path, fit_rows=["99"])
    with pytest.raises(DataError, match="no pool item"):
        encode(source, rows, ~pool & False, FeatureSettings(), data, tmp_path)


def test_what_test_items_say_changes_no_column(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, data = text_data(tmp_path / "a", [*TEXTS, "zebra zebra"])
    two, _ = text_data(tmp_path / "b", [*TEXTS, "quagga, quite other words"])
    pool = np.arange(len(TEXTS) + 1) < len(TEXTS)
    files = [encode(s, rows_of(s), pool, FeatureSettings(), data, tmp_path / "cache") for s in (one, two)]
    assert np.array_equal(dense(files[0])[:-1], dense(files[1])[:-1])
    assert files[0].fingerprint != files[1].fingerprint


def test_later_items_are_only_transformed_and_the_old_rows_stay_as_they_were(tmp_path: Path) -> None:
    source, data = text_data(tmp_path)
    before = dense(everything(source, data, tmp_path / "cache"))
    first = rows_of(source)
    grown, _ = text_data(tmp_path, [*TEXTS, "a zebra that nobody saw", "good"])
    after = everything(grown, data, tmp_path / "cache", fit_rows=first)
    assert after.n_fit == len(first)
    assert np.array_equal(dense(after)[: len(first)], before)
    refitted = everything(grown, data, tmp_path / "cache")
    assert refitted.shape[1] > after.shape[1]


# The cache


@pytest.mark.parametrize("use", ["auto", "own"])
def test_a_second_call_finds_the_same_file_and_encodes_nothing(tmp_path: Path, own: str, use: str) -> None:
    source, data = text_data(tmp_path)
    name = own if use == "own" else use
    made = everything(source, data, tmp_path / "cache", name)
    n_transformed = Lengths.n_transformed
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    again = everything(text_data(tmp_path)[0], data, tmp_path / "cache", name)
    assert again == made
    assert Lengths.n_transformed == n_transformed
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == stamps


def test_changed_content_is_never_answered_from_the_cache(tmp_path: Path, own: str) -> None:
    source, data = text_data(tmp_path)
    made = everything(source, data, tmp_path / "cache", own)
    changed, _ = text_data(tmp_path, ["another first text, long", *TEXTS[1:]])
    other = everything(changed, data, tmp_path / "cache", own)
    assert other.fingerprint != made.fingerprint
    assert dense(other)[0, 0] != dense(made)[0, 0]


@pytest.mark.parametrize("damage", ["cut", "gone", "note"])
def test_damaged_features_are_made_again(tmp_path: Path, damage: str) -> None:
    source, data = text_data(tmp_path)
    cache = tmp_path / "cache"
    made = everything(source, data, cache)
    whole = dense(made).copy()
    victim = next(cache.glob("*.json")) if damage == "note" else made.path("data")
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:40])
    if damage != "note":
        with pytest.raises(DataError, match="encode them again"):
            made.open()
    assert np.array_equal(dense(everything(source, data, cache)), whole)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, data = text_data(tmp_path)
    with pytest.raises(DataError, match="row 2 hold NaN"):
        everything(source, data, tmp_path / "cache", "own_features:Broken")
    with pytest.raises(DataError, match=r"40 items have the shape \(39, 1\)"):
        everything(source, data, tmp_path / "cache", "own_features:Short")
    monkeypatch.setattr(features, "_BLOCK", 7)
    with pytest.raises(DataError, match="row 14 hold NaN"):
        everything(source, data, tmp_path / "cache", "own_features:Late")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("use", ["tfidf", "own"])
def test_the_size_of_blocks_changes_nothing(
    tmp_path: Path, own: str, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = text_data(tmp_path, [*TEXTS, "", "!"])
    name = own if use == "own" else use
    whole = dense(everything(source, data, tmp_path / "one", name))
    monkeypatch.setattr(features, "_BLOCK", 7)
    assert np.array_equal(dense(everything(source, data, tmp_path / "many", name)), whole)


@pytest.mark.parametrize("use", ["tfidf", "own"])
def test_the_order_of_rows_changes_only_the_order_of_features(tmp_path: Path, own: str, use: str) -> None:
    source, data = text_data(tmp_path)
    rows = rows_of(source)
    pool = np.arange(len(rows)) % 2 == 0
    order = np.random.default_rng(1).permutation(len(rows))
    setting = FeatureSettings(own if use == "own" else use)
    straight = encode(source, rows, pool, setting, data, tmp_path / "one")
    fitted_on = Lengths.seen
    mixed = encode(source, [rows[i] for i in order], pool[order], setting, data, tmp_path / "two")
    assert np.array_equal(dense(straight)[order], dense(mixed))
    assert Lengths.seen == fitted_on


def test_features_are_mapped_read_only_and_travel_to_another_process(tmp_path: Path, own: str) -> None:
    source, data = text_data(tmp_path)
    sparse, plain = (everything(source, data, tmp_path / "cache", use) for use in ("tfidf", own))
    for made in (sparse, plain):
        assert pickle.loads(pickle.dumps(made)) == made
        assert made.shape == made.open().shape
    assert isinstance(plain.open(), np.memmap)
    assert plain.open().dtype == np.float32
    matrix = sparse.open()
    assert matrix.dtype == np.float32
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    for array in (plain.open(), matrix.data, matrix.indices, matrix.indptr):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert matrix[[3, 1]].toarray().shape == (2, sparse.shape[1])


def test_importing_features_imports_no_heavy_library() -> None:
    heavy = "numpy pandas sklearn PIL scipy pyarrow"
    code = (
        "import sys\n"
        f"for name in '{heavy}'.split(): sys.modules[name] = None\n"
        "import active_loop.features, active_loop.sources"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Names


def test_wrong_names_and_wrong_kinds_are_refused(own: str) -> None:
    with pytest.raises(ConfigError, match='"tfdif"; did you mean "tfidf"'):
        make_extractor("tfdif", "text")
    with pytest.raises(ConfigError, match='"pixels", which is made for image data, not for "text"'):
        make_extractor("pixels", "text")
    with pytest.raises(ConfigError, match='cannot import "no_such_module" for "no_such_module:X": ModuleNotFoundError'):
        make_extractor("no_such_module:X", "text")
    for name in ("Nothing", "nothing"):
        with pytest.raises(ConfigError, match=f'in "own_features:{name}": unknown class "{name}"'):
            make_extractor(f"own_features:{name}", "text")
    with pytest.raises(ConfigError, match="lack fit, transform, fingerprint"):
        make_extractor("own_features:lacking", "text")
    assert isinstance(make_extractor(own, "text"), Lengths)


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_a_fingerprint_names_the_extractor_and_the_libraries(name: str) -> None:
    kind = EXTRACTORS[name][0][0]
    fingerprint = make_extractor(name, kind).fingerprint
    assert fingerprint == make_extractor(name, kind).fingerprint
    assert fingerprint.startswith(name)
    assert f"numpy={np.__version__}" in fingerprint


# Pixels


def picture(path: Path, array: NDArray[Any], mode: str | None = None) -> Path:
    Image.fromarray(array).convert(mode).save(path) if mode else Image.fromarray(array).save(path)
    return path


def test_pixels_are_means_of_areas(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (48, 80)).astype(np.uint8)
    rows = Pixels().fit([]).transform([picture(tmp_path / "p.png", array)])
    means = array.reshape(16, 3, 16, 5).mean(axis=(1, 3))
    assert np.allclose(rows.reshape(16, 16), means / 255, atol=1 / 255)


def test_pixels_are_kept_in_colour_only_where_there_is_colour(tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png", np.full((8, 8, 3), (255, 0, 0), np.uint8))
    grey = picture(tmp_path / "grey.png", np.full((8, 8, 3), 51, np.uint8))
    plain = Pixels().fit([grey])
    assert plain.transform([grey]).shape == (1, plain.SIDE**2)
    assert np.allclose(plain.transform([grey]), 0.2)
    coloured = Pixels().fit([grey, red])
    assert coloured.transform([red]).reshape(-1, 3).tolist() == [[1, 0, 0]] * coloured.SIDE**2


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "RGB"])
def test_every_kind_of_png_reads_as_the_same_picture(tmp_path: Path, mode: str) -> None:
    grey = np.zeros((16, 16), np.uint8)
    grey[:, 8:] = 255
    path = tmp_path / "p.png"
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert(mode).save(path)
    rows = Pixels().fit([path]).transform([path])
    assert rows.dtype == np.float32
    side = int(rows.size**0.5)
    assert np.allclose(rows.reshape(side, side)[:, : side // 2], 0, atol=0.01)
    assert np.allclose(rows.reshape(side, side)[:, side // 2 :], 1, atol=0.01)


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    path = picture(tmp_path / "deep.png", np.full((8, 8), 0x8000, np.uint16))
    assert np.allclose(Pixels().fit([path]).transform([path]), 0.5, atol=0.01)


def test_transparent_pixels_are_white_whatever_colour_hides_in_them(tmp_path: Path) -> None:
    hidden = picture(tmp_path / "t.png", np.zeros((8, 8, 4), np.uint8))
    assert np.allclose(Pixels().fit([hidden]).transform([hidden]), 1)


def test_an_image_that_cannot_be_opened_is_named_when_encoding(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for grey in range(5):
        picture(tmp_path / "img" / f"{grey}.png", np.full((8, 8), grey, np.uint8))
    (tmp_path / "img" / "bad.png").write_bytes(b"nothing")
    data = DataSettings(path="img", kind="image")
    with pytest.raises(DataError, match=r"cannot open the image .*bad\.png"):
        everything(open_source(data, tmp_path), data, tmp_path / "cache")


# Tf-idf


def test_both_parts_of_a_text_weigh_the_same_and_an_unknown_text_is_zero() -> None:
    fitted = Tfidf().fit(TEXTS)
    lengths = np.sqrt(np.asarray(fitted.transform([*TEXTS, "", "日本"]).power(2).sum(axis=1)).ravel())
    assert np.allclose(lengths[:-2], 2**0.5, atol=1e-5)
    assert lengths[-2:].tolist() == [0, 0]


def test_composed_and_decomposed_text_has_the_same_features() -> None:
    fitted = Tfidf().fit(["한글 영화", "나쁜 영화"])
    one, two = (fitted.transform([text]).toarray() for text in ("한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"))
    assert one.any()
    assert np.array_equal(one, two)


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    fitted = Tfidf().fit(["この映画は良い", "この本は悪い", "良い本"])
    likeness = (fitted.transform(["この映画は悪い"]) @ fitted.transform(["映画", "音楽"]).T).toarray()[0]
    assert likeness[0] > 0.1
    assert likeness[1] == 0
    assert fitted.transform(["画"]).nnz == 1
    assert Tfidf().fit(["이 영화는 좋다", "저 영화가 나쁘다"]).transform(["화"]).nnz == 1
    assert Tfidf().fit(["this film is good"]).transform(["h"]).nnz == 0


@pytest.mark.parametrize("texts", [["a"], ["!?", "a b"], ["one"] * 250, [f"w{i}" for i in range(300)]])
def test_tiny_and_odd_pools_can_be_fitted(texts: list[str]) -> None:
    assert Tfidf().fit(texts).transform(texts).shape[0] == len(texts)


def test_texts_without_a_letter_are_refused() -> None:
    with pytest.raises(DataError, match="2 texts: none of them holds a word"):
        Tfidf().fit(["", " "])


# Columns


def test_numbers_are_imputed_flagged_and_scaled() -> None:
    fitted = Columns().fit(pd.DataFrame({"n": [1.0, 2.0, 3.0, np.nan, np.inf]}))
    rows = fitted.transform(pd.DataFrame({"n": [2.0, np.nan, 1e9]}))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0], [0, 1], [10, 0]]


def test_numbers_written_as_text_are_the_same_as_numbers() -> None:
    typed = pd.DataFrame({"n": [1, 2, 30, 4], "b": [True, False, True, True]})
    text = pd.DataFrame({"n": ["1", " 2", "30.0", "4"], "b": ["True", "false", "TRUE", "true"]})
    assert np.array_equal(Columns().fit(typed).transform(typed), Columns().fit(text).transform(text))


def test_few_levels_are_one_column_each_and_an_unknown_one_is_all_zeros() -> None:
    fitted = Columns().fit(pd.DataFrame({"c": ["x", "y", "", "x"]}))
    assert fitted.transform(pd.DataFrame({"c": ["", "x", "y", "z"]})).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_many_levels_are_hashed_and_tell_values_apart() -> None:
    frame = pd.DataFrame({"city": [f"city{i} name" for i in range(60)]})
    rows = Columns().fit(frame).transform(frame)
    assert rows.shape == (60, 33)
    assert len(np.unique(rows, axis=0)) > 15
    assert np.isfinite(Columns().fit(frame).transform(pd.DataFrame({"city": ["new", ""]}))).all()


def test_dates_are_numbers_in_the_order_of_time() -> None:
    text = pd.DataFrame({"d": ["2024-01-01", "2024-01-02T12:00", "2024-03-01 00:00", ""]})
    rows = Columns().fit(text).transform(text)
    assert rows.shape == (4, 2)
    assert rows[0, 0] < rows[1, 0] < rows[2, 0]
    times = np.array(["2024-01-01", "2024-01-02T12:00", "2024-03-01", "NaT"], dtype="datetime64[s]")
    typed = pd.DataFrame({"d": times})
    assert np.allclose(Columns().fit(typed).transform(typed), rows, atol=1e-5)


def test_a_column_without_a_filled_cell_is_left_out() -> None:
    frame = pd.DataFrame({"empty": [None, None], "blank": ["", "NA"], "n": [1, 2]})
    assert Columns().fit(frame).transform(frame).shape == (2, 1)
    with pytest.raises(DataError, match="all cells of empty, blank are empty"):
        Columns().fit(frame[["empty", "blank"]])


cells = st.none() | st.integers(-(10**12), 10**12) | st.floats() | st.booleans() | st.text(max_size=5) | st.dates()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(cells, min_size=1, max_size=25), st.lists(cells, min_size=1, max_size=5))
def test_whatever_a_column_holds_its_features_are_numbers(fitted_on: list[Any], later: list[Any]) -> None:
    frame = pd.DataFrame({"n": range(len(fitted_on)), "c": pd.Series(fitted_on, dtype=object)})
    fitted = Columns().fit(frame)
    width = fitted.transform(frame).shape[1]
    rows = fitted.transform(pd.DataFrame({"n": range(len(later)), "c": pd.Series(later, dtype=object)}))
    assert rows.shape == (len(later), width)
    assert np.isfinite(rows).all()


def test_a_table_is_encoded_from_its_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, None, 3], "c": ["a", "b", None], "y": ["p", "q", "p"]})
    shapes = []
    for name in ("d.csv", "d.parquet"):
        frame.to_csv(tmp_path / name, index=False) if name.endswith("csv") else frame.to_parquet(tmp_path / name)
        data = DataSettings(path=name, kind="table", answer="y")
        shapes.append(dense(everything(open_source(data, tmp_path), data, tmp_path / "cache")))
    assert shapes[0].shape == (3, 5)
    assert np.array_equal(shapes[0], shapes[1])


# Embeddings


def test_own_embeddings_are_taken_by_row_of_the_data(tmp_path: Path) -> None:
    source, _ = text_data(tmp_path, ["a", "b", "a", "c"])
    array = np.arange(12, dtype=np.float64).reshape(4, 3)
    np.save(tmp_path / "e.npy", array)
    data = DataSettings(path="d.csv", kind="text", show=("review",), embeddings="e.npy")
    source = open_source(data, tmp_path)
    made = everything(source, data, tmp_path / "cache")
    assert made.extractor == "embeddings"
    assert np.array_equal(dense(made), array[[0, 1, 3]])
    np.save(tmp_path / "e.npy", array + 1)
    changed = everything(open_source(data, tmp_path), data, tmp_path / "cache")
    assert np.array_equal(dense(changed), array[[0, 1, 3]] + 1)


def test_embeddings_with_a_gap_are_refused_with_the_row(tmp_path: Path) -> None:
    text_data(tmp_path, ["a", "b", "c"])
    array = np.ones((3, 2))
    array[1, 1] = np.nan
    np.save(tmp_path / "e.npy", array)
    data = DataSettings(path="d.csv", kind="text", show=("review",), embeddings="e.npy")
    with pytest.raises(DataError, match="row 1 hold NaN"):
        everything(open_source(data, tmp_path), data, tmp_path / "cache")
    source, plain = text_data(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.embeddings names no file"):
        everything(source, plain, tmp_path / "cache", "embeddings")
