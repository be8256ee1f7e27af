"""The same data gives the same items, however it is stored; what cannot be read is refused in one sentence."""

from __future__ import annotations

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from active_loop.errors import ConfigError, DataError
from active_loop.extractors import open_image
from active_loop.files import open_embeddings, plain_text
from active_loop.inspection import inspect
from active_loop.records import Source
from active_loop.settings import DataSettings
from active_loop.sources import check_unchanged, open_source

REVIEWS = ["good, really", 'she said "no"', "two\nlines", "한글 리뷰"]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)


def write_csv(path: Path, columns: dict[str, list[str]], encoding: str = "utf-8", delimiter: str = ",") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def text_source(path: Path, **more: Any) -> Source:
    return open_source(DataSettings(path=path.name, kind="text", **{"show": ("review",), **more}), path.parent)


def write_image(path: Path, grey: int, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)
    return path


# The same items from every format


def written(folder: Path, suffix: str, columns: dict[str, list[str]]) -> Path:
    path = folder / f"data{suffix}"
    if suffix in (".csv", ".tsv"):
        return write_csv(path, columns, delimiter="\t" if suffix == ".tsv" else ",")
    frame = pd.DataFrame(columns)
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_every_format_gives_the_same_items_and_the_same_content(tmp_path: Path, suffix: str) -> None:
    columns = {"review": REVIEWS, "title": ["a", "", "c", "d"]}
    source = text_source(written(tmp_path, suffix, columns))
    reference = text_source(write_csv(tmp_path / "reference.csv", columns))
    rows = [record.row for record in source.records()]
    assert rows == ["0", "1", "2", "3"]
    assert [record.id for record in source.records()] == [record.id for record in reference.records()]
    assert source.content(rows) == REVIEWS
    assert source.shown(["2", "0"]) == [{"review": REVIEWS[2]}, {"review": REVIEWS[0]}]


@in_tmp
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=8), data=st.data())
def test_ids_follow_the_content_and_not_the_order_of_rows(
    tmp_path: Path, rows: list[tuple[str, str]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))

    def found(some: list[tuple[str, str]]) -> list[str]:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in some))
        source = open_source(DataSettings(path="data.jsonl", kind="text", show=("a",), use=("b",)), tmp_path)
        assert len(source.records()) + source.n_duplicates == len(some)
        return [record.id for record in source.records()]

    assert sorted(found(rows)) == sorted(found(shuffled))
    plain = {tuple(unicodedata.normalize("NFC", cell) for cell in row) for row in rows}
    assert len(set(found(rows))) == len(found(rows)) == len(plain)


@in_tmp
@given(text=texts.filter(str.strip))
def test_composed_and_decomposed_text_is_one_item(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.jsonl"
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    path.write_text("".join(json.dumps({"review": form}) + "\n" for form in forms))
    source = text_source(path)
    assert len(source.records()) == 1
    assert source.n_duplicates == 1


def test_cells_cannot_run_into_each_other(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"a": ["xy", "x"], "b": ["z", "yz"]})
    source = open_source(DataSettings(path="d.csv", kind="table"), path.parent)
    assert len({record.id for record in source.records()}) == 2


def test_a_row_keeps_its_id_whatever_the_other_rows_hold(tmp_path: Path) -> None:
    alone = write_csv(tmp_path / "alone.csv", {"code": ["007", "8"], "n": ["1", "2"]})
    mixed = write_csv(tmp_path / "mixed.csv", {"code": ["007", "x"], "n": ["1", ""]})
    ids = [open_source(DataSettings(path=path.name, kind="table"), tmp_path).records()[0].id for path in (alone, mixed)]
    assert ids[0] == ids[1]


def test_the_same_number_has_one_text_in_every_type() -> None:
    assert plain_text(3) == plain_text(3.0) == plain_text("3") == "3"
    assert plain_text(None) == plain_text(float("nan")) == ""
    assert plain_text(float("inf")) == "inf"


# Duplicates, ids, groups, answers


def test_exact_duplicates_are_one_item_and_the_first_row_wins(tmp_path: Path) -> None:
    columns = {"review": ["a", "b", "a", "a"], "label": ["", "x", "y", "z"]}
    source = text_source(write_csv(tmp_path / "d.csv", columns), answer="label")
    assert [(record.row, record.answer) for record in source.records()] == [("0", "y"), ("1", "x")]
    assert source.n_duplicates == 2
    assert any("1 duplicate rows carry another answer" in notice for notice in source.notices)


def test_an_id_column_names_the_items(tmp_path: Path) -> None:
    source = text_source(write_csv(tmp_path / "d.csv", {"review": ["a", "a", "b"], "k": ["p", "q", " r "]}), id="k")
    assert [record.id for record in source.records()] == ["p", "q", "r"]
    assert source.n_duplicates == 0


def test_one_id_for_two_contents_is_refused_with_both_rows(tmp_path: Path) -> None:
    same = write_csv(tmp_path / "same.csv", {"review": ["a", "b", "a"], "k": ["p", "q", "p"]})
    assert [record.id for record in text_source(same, id="k").records()] == ["p", "q"]
    differs = write_csv(tmp_path / "differs.csv", {"review": ["a", "b", "c"], "k": ["p", "q", "p"]})
    with pytest.raises(DataError, match='rows 0 and 2 are both called "p"'):
        text_source(differs, id="k").records()


def test_an_empty_id_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"review": ["a", "b"], "k": ["p", " "]})
    with pytest.raises(DataError, match=r'd\.csv, row 1: column "k" is empty'):
        text_source(path, id="k").records()


def test_rows_without_a_group_stand_alone(tmp_path: Path) -> None:
    source = text_source(write_csv(tmp_path / "d.csv", {"review": ["a", "b", "c"], "g": ["7", "", "7 "]}), group="g")
    assert [record.group for record in source.records()] == ["7", None, "7"]


def test_a_part_filled_answer_column_is_read_in_normal_form(tmp_path: Path) -> None:
    answers = [" caf\u0065\u0301", "", "NaN", "no such class"]
    source = text_source(write_csv(tmp_path / "d.csv", {"review": list("abcd"), "y": answers}), answer="y")
    assert [record.answer for record in source.records()] == ["café", None, None, "no such class"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_whole_numbers_that_a_data_frame_wrote_with_a_point_are_whole_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"d{suffix}"
    frame = pd.DataFrame({"review": list("abc"), "y": [3.0, None, 0.0]})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    assert [record.answer for record in text_source(path, answer="y").records()] == ["3", None, "0"]


def test_answers_with_real_fractions_stay_as_they_are(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"review": list("ab"), "y": ["1.0", "1.5"]})
    assert [record.answer for record in text_source(path, answer="y").records()] == ["1.0", "1.5"]


def test_the_answer_may_not_be_shown_or_learned_from(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"review": ["a"], "y": ["x"]})
    with pytest.raises(ConfigError, match=r'data\.answer is "y"'):
        text_source(path, show=("review", "y"), answer="y")
    source = open_source(DataSettings(path="d.csv", kind="table", answer="y"), tmp_path)
    assert source.shown(["0"]) == [{"row": {"review": "a"}}]


# Shown and learned from


def test_a_table_shows_its_rows_with_numbers_as_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"n": [1, 2], "x": [0.5, None], "s": ["a", None], "b": [True, False]}).to_parquet(tmp_path / "d.pq")
    source = open_source(DataSettings(path="d.pq", kind="table"), tmp_path)
    assert source.shown(["1", "0"]) == [
        {"row": {"n": 2, "x": "", "s": "", "b": "False"}},
        {"row": {"n": 1, "x": 0.5, "s": "a", "b": "True"}},
    ]
    frame = source.content(["1", "0"])
    assert list(frame.columns) == ["n", "x", "s", "b"]
    assert frame["n"].tolist() == [2, 1]


def test_several_learned_columns_make_one_text(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"title": ["T", "U"], "review": ["a", ""]})
    source = text_source(path, use=("title", "review"))
    assert source.content(["1", "0"]) == ["U\n", "T\na"]
    assert source.shown(["0"]) == [{"review": "a"}]


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    source = text_source(write_csv(tmp_path / "d.csv", {"review": ["a"]}))
    for row in ("1", "-1", "x"):
        with pytest.raises(DataError, match=f"no row {row}"):
            source.shown([row])


def test_data_changed_after_the_import_is_noticed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"review": ["a", "b"]})
    before = text_source(path).records()
    rows, ids = [r.row for r in before], [r.id for r in before]
    write_csv(path, {"review": ["a", "b", "c"]})
    check_unchanged(text_source(path), rows, ids)
    write_csv(path, {"review": ["new", "a", "b"]})
    with pytest.raises(DataError, match="row 0 was item"):
        check_unchanged(text_source(path), rows, ids)


# CSV in the wild


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters_are_found(tmp_path: Path, encoding: str, delimiter: str) -> None:
    columns = {"review": ["좋은, 영화; 그래", "나쁜\t영화"], "n": ["1", "2"]}
    source = text_source(write_csv(tmp_path / "d.csv", columns, encoding, delimiter))
    assert source.content(["0", "1"]) == columns["review"]
    assert bool(source.notices) == (encoding == "cp949")


def test_latin_letters_are_read_with_a_notice(tmp_path: Path) -> None:
    source = text_source(write_csv(tmp_path / "d.csv", {"review": ["été", "naïve"]}, "latin-1"))
    assert source.content(["0", "1"]) == ["été", "naïve"]
    assert "latin-1" in source.notices[0]


def test_texts_of_many_lines_survive_the_blocks_of_a_large_file(tmp_path: Path) -> None:
    long = ["line, one\nline two\n" * 60_000 + str(number) for number in range(17)]
    source = text_source(write_csv(tmp_path / "d.csv", {"review": long}))
    assert source.content([str(number) for number in range(17)]) == long


def test_words_that_look_like_missing_values_are_text(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", ""]
    assert text_source(write_csv(tmp_path / "d.csv", {"review": words})).content(list("01234")) == words


def test_a_comma_in_a_single_column_does_not_cut_the_text(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("review\nhello, world\n")
    with pytest.raises(DataError, match=r"Row #2: Expected 1 columns, got 2"):
        text_source(path).records()


# Refusals


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot find nothing\.csv"):
        text_source(tmp_path / "nothing.csv")
    with pytest.raises(ConfigError, match=r"data\.path is empty"):
        open_source(DataSettings(kind="text"), tmp_path)
    with pytest.raises(ConfigError, match=r'data\.kind is empty: .*"table" or "text"'):
        open_source(DataSettings(path="data.csv"), tmp_path)
    with pytest.raises(ConfigError, match='"texts"; did you mean "text"'):
        open_source(DataSettings(path="x", kind="texts"), tmp_path)


def test_a_missing_column_lists_the_columns_and_the_closest(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"review": ["a"], "title": ["b"]})
    with pytest.raises(DataError, match=r'"revew" \(data\.show\); did you mean "review"\? It has: review, title'):
        text_source(path, show=("revew",))
    with pytest.raises(DataError, match=r'"g" \(data\.group\)'):
        text_source(path, group="g")
    with pytest.raises(ConfigError, match=r"review, title"):
        text_source(path, show=())


def test_a_column_name_used_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("review,review\na,b\n")
    with pytest.raises(DataError, match='2 columns called "review"'):
        text_source(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", b"", "d.csv is empty"),
        ("d.csv", b"\n\n", "d.csv is empty"),
        ("d.csv", b"review\n", "d.csv has no rows"),
        ("d.csv", b"review,n\na,1,2\n", "Row #2: Expected 2 columns, got 3"),
        ("d.parquet", b"PAR1 this is not parquet PAR1", "cannot read d.parquet as Parquet"),
        ("d.jsonl", b'{"review": "a"}\n\n{"review": \n', "d.jsonl, line 3 is not JSON"),
        ("d.jsonl", b'{"review": "a"}\n["b"]\n', "line 2 is not a JSON object"),
        ("d.jsonl", b'{"review": "\xff"}\n', "line 1 is not JSON"),
        ("d.jsonl", b'{"review": "\\ud800"}\n', "half a character"),
        ("d.jsonl", b"\n", "d.jsonl has no columns"),
        ("d.xlsx", b"PK", "cannot read d.xlsx"),
    ],
)
def test_files_that_cannot_be_read_are_refused_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refusal:
        text_source(tmp_path / name).records()
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_json_fields_of_mixed_and_nested_types_are_text(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"review": 1}\n{"review": "b"}\n{"other": 2}\n{"review": {"b": 1, "a": [2]}}\n')
    assert text_source(path).content(list("0123")) == ["1", "b", "", '{"a": [2], "b": 1}']


# Images


def image_source(folder: Path, path: str, **more: Any) -> Source:
    return open_source(DataSettings(path=path, kind="image", **more), folder)


def test_a_folder_of_images_is_read_in_order_of_names(tmp_path: Path) -> None:
    for grey, name in enumerate(["b.png", "a/z.JPG", "a/c.bmp", ".hidden.png", ".git/x.png"]):
        write_image(tmp_path / "img" / name, grey * 50)
    (tmp_path / "img" / "notes.txt").write_text("no image")
    source = image_source(tmp_path, "img")
    assert [record.row for record in source.records()] == ["a/c.bmp", "a/z.JPG", "b.png"]
    assert source.shown(["b.png"]) == [{"image": tmp_path / "img" / "b.png"}]
    assert source.numbers(["b.png", "a/c.bmp"]).tolist() == [2, 0]


def test_equal_image_files_are_one_item_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        write_image(tmp_path / "one" / name, 7)
        write_image(tmp_path / "two" / f"x{name.replace('/', '')}", 7)
    one, two = image_source(tmp_path, "one"), image_source(tmp_path, "two")
    assert [record.row for record in one.records()] == ["a.png"]
    assert one.n_duplicates == 2
    assert [record.id for record in one.records()] == [record.id for record in two.records()]


def test_a_file_may_name_the_images_and_their_answers(tmp_path: Path) -> None:
    write_image(tmp_path / "img/0.png", 0)
    write_image(tmp_path / "img/1.png", 9)
    write_csv(tmp_path / "d.csv", {"image": ["img/1.png", "img/0.png"], "y": ["one", ""]})
    source = image_source(tmp_path, "d.csv", show=("image",), answer="y")
    assert [(record.row, record.answer) for record in source.records()] == [("0", "one"), ("1", None)]
    assert source.content(["1", "0"]) == [tmp_path / "img/0.png", tmp_path / "img/1.png"]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "..\\secret.png", ""])
def test_image_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "secret.png", 1)
    write_csv(tmp_path / "in/d.csv", {"image": [name]})
    with pytest.raises(DataError, match=r"row 0: .* is no file name"):
        image_source(tmp_path / "in", "d.csv").records()


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 1)
    write_csv(tmp_path / "d.csv", {"image": ["a.png", "b.png", "c.png"]})
    with pytest.raises(DataError, match=r"2 of the 3 images .* first b\.png in row 1"):
        image_source(tmp_path, "d.csv").records()


def test_a_folder_without_images_or_with_columns_asked_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    with pytest.raises(DataError, match=r"img holds no image \(\.bmp"):
        image_source(tmp_path, "img").records()
    with pytest.raises(ConfigError, match=r'data\.answer is "y", but img is a folder'):
        image_source(tmp_path, "img", answer="y")
    with pytest.raises(DataError, match="cannot read img"):
        open_source(DataSettings(path="img", kind="text", show=("a",)), tmp_path)


def test_an_image_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "whole.png", 3, (200, 200)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.png").write_bytes(b"no image at all")
    for name in ("cut.png", "none.png", "gone.png"):
        with pytest.raises(DataError, match=f"cannot open the image .*{name}"):
            open_image(tmp_path / name)
    assert open_image(tmp_path / "whole.png").size == (200, 200)


# Embeddings


def test_embeddings_must_have_a_row_per_row_of_the_data(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "d.csv", {"review": ["a", "b", "a"]})
    np.save(tmp_path / "e.npy", np.zeros((2, 4)))
    with pytest.raises(DataError, match=r"have 2 rows and d\.csv has 3"):
        text_source(path, embeddings="e.npy").records()
    np.save(tmp_path / "e.npy", np.zeros((3, 4)))
    assert len(text_source(path, embeddings="e.npy").records()) == 2


def test_embeddings_that_are_no_table_of_numbers_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    np.save(path, np.array([["a"], ["b"]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read the embeddings"):
        open_embeddings(path, 2, "d.csv")
    np.save(path, np.zeros(2))
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        open_embeddings(path, 2, "d.csv")
    for content in (b"", b"PK\x03\x04zip", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot read the embeddings"):
            open_embeddings(path, 2, "d.csv")
    with pytest.raises(DataError, match="cannot read the embeddings"):
        open_embeddings(tmp_path / "gone.npy", 2, "d.csv")


# Inspection


def test_inspection_finds_text_and_the_part_filled_answers(tmp_path: Path) -> None:
    n = 40
    columns = {
        "id": [str(i) for i in range(n)],
        "review": [f"this is the long review number {i % 38} of a film" for i in range(n)],
        "sentiment": [("positive", "negative", "", "")[i % 4] for i in range(n)],
    }
    found = inspect(write_csv(tmp_path / "reviews.csv", columns))
    assert (found.kind, found.show, found.n_rows, found.n_duplicates) == ("text", ("review",), 40, 2)
    assert found.encoding == "utf-8-sig"
    assert [column.name for column in found.answers][:1] == ["sentiment"]
    sentiment = found.answers[0]
    assert dict(sentiment.values) == {"positive": 10, "negative": 10}
    assert (sentiment.n_distinct, sentiment.n_missing, sentiment.n_filled) == (2, 20, 20)


def test_inspection_finds_tables_and_keeps_the_answer_out_of_what_is_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(0, 90, 60), "height": rng.normal(size=60), "class": ["x", "y", "z"] * 20})
    frame.to_parquet(tmp_path / "d.parquet")
    found = inspect(tmp_path / "d.parquet")
    assert (found.kind, found.show) == ("table", ("age", "height"))
    assert found.answers[0].name == "class"


def test_inspection_finds_images_in_folders_and_files(tmp_path: Path) -> None:
    for grey in range(4):
        write_image(tmp_path / "img" / f"{grey}.png", grey // 2)
    found = inspect(tmp_path / "img")
    assert (found.kind, found.n_rows, found.n_duplicates, found.columns) == ("image", 4, 2, ())
    write_csv(tmp_path / "d.csv", {"file": [f"img/{i}.png" for i in range(4)], "digit": ["0", "1", "0", "1"]})
    named = inspect(tmp_path / "d.csv")
    assert (named.kind, named.show, [column.name for column in named.answers]) == ("image", ("file",), ["digit"])
