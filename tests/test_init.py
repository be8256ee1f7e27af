"""`init` writes a loop.toml that works, by asking or from flags, or it writes nothing at all."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from active_loop.config import read_settings
from active_loop.errors import ActiveLoopError, ConfigError, DataError
from active_loop.init import Given, write_loop
from active_loop.outlook import outlook
from active_loop.settings import BudgetSettings, DataSettings, Settings, TargetSettings
from active_loop.sources import open_source

WORDS = ["the", "film", "was", "and", "with", "a", "story", "about", "people", "made", "me", "feel", "rather", "very"]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def reviews(folder: Path, n: int = 120, *, known: int = 40, negative: int = 8) -> Path:
    """n different reviews with a title; the first `known` have an answer, the first `negative` of them a bad one."""
    chance = random.Random(0)
    rows = [
        [
            f"title {place}",
            f"{' '.join(chance.choices(WORDS, k=14))} {place}",
            "" if place >= known else "negative" if place < negative else "positive",
        ]
        for place in range(n)
    ]
    return write_csv(folder / "reviews.csv", ["title", "review", "sentiment"], rows)


def points(folder: Path, n: int = 120) -> Path:
    chance = random.Random(0)
    rows = [
        [place, f"{chance.random():.6f}", f"{chance.random():.6f}", "red" if place % 2 else "blue"]
        for place in range(n)
    ]
    return write_csv(folder / "points.csv", ["id", "x", "y", "label"], rows)


class Person:
    """Answers questions in their order; None takes the default. Remembers what was asked and what was said to it."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []
        self.heard: list[str] = []

    def ask(self, question: str, default: str) -> str:
        self.asked.append((question, default))
        answer = self.answers.pop(0) if self.answers else None
        return default if answer is None else answer

    def say(self, line: str) -> None:
        self.heard.append(line)


def made(folder: Path, data: Path, **given: Any) -> tuple[Settings, list[str]]:
    """What is written without asking, read back from the file, and what was said."""
    person = Person()
    written = write_loop(folder, data, Given(**given), None, person.say)
    assert read_settings(folder / "loop.toml") == written
    return written, person.heard


def test_without_questions_the_data_gives_every_default(tmp_path: Path) -> None:
    told, heard = made(tmp_path / "loop", reviews(tmp_path))
    assert told.name == "loop"
    assert told.data == DataSettings(path="../reviews.csv", kind="text", show=("review",), answer="sentiment")
    assert told.task.classes == ("positive", "negative")
    assert told.labeling.backend == "label-studio"
    assert told.labeling.url == ""
    assert told.budget.answers == 120, "there are no 400 items"
    assert "120 rows, UTF-8" in heard[0]
    assert heard[-1].endswith(f"Next: active-loop run {tmp_path / 'loop'}")


def test_a_large_majority_suggests_macro_f1_and_says_how_large_it_is(tmp_path: Path) -> None:
    told, heard = made(tmp_path / "loop", reviews(tmp_path, known=40, negative=8))
    assert (told.target.metric, told.target.value) == ("macro_f1", 0.8)
    assert any("80 % are positive" in line for line in heard)


@pytest.mark.parametrize(("known", "negative"), [(40, 20), (10, 1)])
def test_an_even_or_a_hardly_known_share_leaves_accuracy(tmp_path: Path, known: int, negative: int) -> None:
    told, _ = made(tmp_path / "loop", reviews(tmp_path, known=known, negative=negative))
    assert (told.target.metric, told.target.value) == ("accuracy", 0.9)


def test_flags_win_over_what_the_data_suggests(tmp_path: Path) -> None:
    told, _ = made(
        tmp_path / "loop",
        reviews(tmp_path),
        show=("title", "review"),
        answer="",
        classes='good,"bad, or worse"',
        metric="macro_f1",
        target=0.7,
        budget=80,
        question="Well?",
        group="sentiment",
    )
    assert told.data.show == ("title", "review")
    assert (told.data.answer, told.data.group) == ("", "sentiment")
    assert told.task.classes == ("good", "bad, or worse")
    assert told.task.question == "Well?"
    assert (told.target.metric, told.target.value, told.budget.answers) == ("macro_f1", 0.7, 80)


def test_every_question_shows_a_default_and_enter_takes_it(tmp_path: Path) -> None:
    person = Person()
    asked = write_loop(tmp_path / "asked", reviews(tmp_path), Given(), person.ask, person.say)
    silent, _ = made(tmp_path / "silent", tmp_path / "reviews.csv")
    assert (asked.data, asked.task, asked.target, asked.budget) == (
        silent.data,
        silent.task,
        silent.target,
        silent.budget,
    )
    assert len(person.asked) == 6
    assert all(default for _, default in person.asked)
    assert any("also: title, sentiment" in question for question, _ in person.asked)
    assert any('"sentiment" (40 of 120)' in question for question, _ in person.asked)


def test_an_answer_that_cannot_be_used_is_explained_and_asked_again(tmp_path: Path) -> None:
    person = Person(
        "revew", "title, review", "perhaps", "no", "one", "a, b, c", "wer 0.1", "macro-f1 85 %", "many", "90", "Hm?"
    )
    told = write_loop(tmp_path / "loop", reviews(tmp_path), Given(), person.ask, person.say)
    assert told.data.show == ("title", "review")
    assert told.data.answer == ""
    assert told.task.classes == ("a", "b", "c")
    assert (told.target.metric, told.target.value) == ("macro_f1", 0.85)
    assert (told.budget.answers, told.task.question) == (90, "Hm?")
    complaints = [line for line in person.heard if line.startswith("   ")]
    assert len(complaints) == 5
    assert 'did you mean "review"?' in complaints[0]


def test_a_table_shows_neither_its_answers_nor_its_row_numbers(tmp_path: Path) -> None:
    told, heard = made(tmp_path / "loop", points(tmp_path), answer="label")
    assert told.data.show == ("x", "y")
    assert told.data.answer == "", "a column without gaps would leave nothing to ask"
    assert told.task.classes == ("blue", "red")
    assert any("simulate" in line and "--answers label" in line for line in heard)


def test_a_column_that_holds_the_given_classes_is_not_shown(tmp_path: Path) -> None:
    rows = [[f"{place / 7:.4f}", place % 3, "red" if place % 2 else "blue"] for place in range(120)]
    data = write_csv(tmp_path / "t.csv", ["x", "k", "colour"], rows)
    assert made(tmp_path / "loop", data, classes="red,blue,green")[0].data.show == ("x", "k")


def test_numbers_as_classes_stand_in_their_order(tmp_path: Path) -> None:
    rows = [[f"{' '.join(WORDS)} {place}", (place * 7) % 11 if place < 60 else ""] for place in range(120)]
    data = write_csv(tmp_path / "t.csv", ["text", "digit"], rows)
    assert made(tmp_path / "loop", data)[0].task.classes == tuple(map(str, range(11)))


def test_a_folder_of_images_needs_only_the_classes(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for number in range(60):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    told, heard = made(tmp_path / "loop", tmp_path / "pictures", classes="cat,dog")
    assert told.data == DataSettings(path="../pictures", kind="image")
    assert "60 images" in heard[0]


@pytest.mark.parametrize("place", ["loop", ".", "deep/er/loop"])
def test_data_is_found_from_the_loop_folder_wherever_both_lie(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reviews(Path())
    told, _ = made(Path(place), Path("reviews.csv"))
    assert not Path(told.data.path).is_absolute()
    assert len(open_source(told.data, Path(place)).records()) == 120


def test_a_loop_folder_behind_a_link_finds_its_data(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    told, _ = made(tmp_path / "link", reviews(tmp_path))
    assert open_source(told.data, tmp_path / "link").n_rows == 120


def test_data_behind_a_link_is_found(tmp_path: Path) -> None:
    reviews(tmp_path / "far" / "away")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "away")
    told, _ = made(tmp_path / "near" / "loop", tmp_path / "near" / "link" / ".." / "away" / "reviews.csv")
    assert open_source(told.data, tmp_path / "near" / "loop").n_rows == 120


def test_nobody_is_asked_for_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    person, data = Person(), reviews(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        write_loop(data, data, Given(), person.ask, person.say)
    assert person.asked == []


def test_a_loop_toml_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "loop.toml").write_text("mine")
    with pytest.raises(ConfigError, match="never overwritten"):
        made(tmp_path, reviews(tmp_path))
    assert (tmp_path / "loop.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"answer": ""}, ConfigError, "--classes"),
        ({"classes": "one"}, ConfigError, "at least two"),
        ({"classes": "a,(unsure)"}, ConfigError, "cannot be a class"),
        ({"classes": "a,b,a"}, ConfigError, "drop one"),
        ({"classes": "good,bad", "answer": "sentiment"}, ConfigError, '"positive" (32 rows)'),
        ({"show": ("reviw",)}, ConfigError, 'did you mean "review"'),
        ({"show": ("sentiment",), "answer": "sentiment"}, ConfigError, "would be told"),
        ({"answer": "sentment"}, ConfigError, 'did you mean "sentiment"'),
        ({"group": "titel"}, ConfigError, 'did you mean "title"'),
        ({"id_column": "titel"}, ConfigError, 'did you mean "title"'),
        ({"id_column": "sentiment"}, DataError, "needs an id"),
        ({"target": 90.0}, ConfigError, "between 0 and 1"),
        ({"budget": 20}, ConfigError, "raise the budget"),
        ({"kind": "image"}, ConfigError, "--show"),
        ({"question": "\udcff"}, ConfigError, "half a character"),
    ],
)
def test_what_the_loop_would_refuse_is_refused_before_anything_is_written(
    tmp_path: Path, given: dict[str, Any], kind: type[ActiveLoopError], message: str
) -> None:
    data = reviews(tmp_path)
    with pytest.raises(kind) as refused:
        made(tmp_path / "new" / "loop", data, **given)
    assert message in str(refused.value)
    assert not str(refused.value).startswith("loop.toml"), "there is none yet"
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.csv"]


def test_too_few_items_are_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 30 different items, and a loop needs at least 50"):
        made(tmp_path / "loop", reviews(tmp_path, n=30, known=20))


def test_a_folder_that_cannot_be_made_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    data = reviews(tmp_path)
    with pytest.raises(ConfigError, match="cannot make the folder"):
        made(tmp_path / "reviews.csv" / "loop", data)
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.csv"]


def test_a_metric_of_one_class_is_about_the_rarest_known_one(tmp_path: Path) -> None:
    written, _ = made(tmp_path / "loop", reviews(tmp_path), metric="f1")
    assert (written.target.metric, written.target.value, written.target.positive) == ("f1", 0.8, "negative")
    written, _ = made(tmp_path / "other", reviews(tmp_path), metric="f0.5", positive="positive")
    assert (written.target.metric, written.target.positive) == ("f0.5", "positive")
    with pytest.raises(ConfigError, match=r'unknown target.positive "neutral"'):
        made(tmp_path / "third", reviews(tmp_path), metric="recall", positive="neutral")


def test_a_target_that_needs_no_learning_is_doubted(tmp_path: Path) -> None:
    _, heard = made(tmp_path / "loop", reviews(tmp_path), metric="accuracy", target=0.75)
    assert any('Always answering "positive" would reach accuracy 0.80 already' in line for line in heard)
    _, heard = made(tmp_path / "other", reviews(tmp_path), metric="accuracy", target=0.85)
    assert not any("already" in line for line in heard)


def told(*, metric: str = "accuracy", value: float = 0.9, budget: int = 400, group: str = "") -> Settings:
    return Settings(
        target=TargetSettings(metric=metric, value=value),
        budget=BudgetSettings(answers=budget),
        data=DataSettings(group=group),
    )


def test_the_outlook_names_what_can_be_proven_and_what_it_takes() -> None:
    assert "can be certified with 500 answers: 189 of 200" in outlook(told(budget=500), 2000)
    assert "300 are left to learn" in outlook(told(budget=500), 2000)
    assert '"likely"' in outlook(told(budget=200), 2000)
    assert "78 of 80" in outlook(told(budget=200), 2000)
    assert "not certified" in outlook(told(metric="macro_f1", value=0.8), 2000)
    assert "about 0.84 on 160" in outlook(told(metric="macro_f1", value=0.8), 2000)
    assert "not certified" in outlook(told(group="person"), 2000)
    assert "even 160 of 160 right would prove only 0.977" in outlook(told(value=0.98), 2000)
    assert "nothing can be proven" in outlook(told(), 1)


@for_all(st.floats(0.01, 0.99), st.integers(46, 3000), st.integers(0, 3000), st.sampled_from(["accuracy", "macro_f1"]))
def test_there_is_an_outlook_for_every_set_up(value: float, budget: int, n_items: int, metric: str) -> None:
    assert outlook(told(metric=metric, value=value, budget=budget), n_items).startswith("→ ")
