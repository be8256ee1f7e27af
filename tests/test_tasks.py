"""What people send back is read once, strictly, and labels survive the way into a learner and out of it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_loop.domain import Outcome
from active_loop.errors import ConfigError, DataError, TrainingError
from active_loop.settings import TaskSettings
from active_loop.tasks import TASKS, SingleChoice, make_task, normalise

TASK = SingleChoice(("cat", "dog", "한글", "café"))

names = st.text(min_size=1, max_size=12).map(normalise).filter(lambda s: s and s not in ("(unsure)", "(broken item)"))
class_lists = st.lists(names, min_size=2, max_size=6, unique=True).map(tuple)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize("given_", ["dog", " dog\n", ["dog"], ("dog",), ["dog", "dog"], ["dog ", "dog"], ["", "dog"]])
def test_one_class_is_a_label_however_it_is_wrapped(given_: object) -> None:
    answer = TASK.read(given_)
    assert (answer.outcome, answer.label, answer.problem) == (Outcome.LABEL, "dog", "")


@pytest.mark.parametrize("nothing", [None, [], "", "  ", [""], ()])
def test_nothing_chosen_is_invalid_and_not_a_skip(nothing: object) -> None:
    answer = TASK.read(nothing)
    assert (answer.outcome, answer.problem) == (Outcome.INVALID, "empty answer")


def test_unsure_and_broken_are_outcomes_and_never_labels() -> None:
    assert TASK.read([SingleChoice.UNSURE]).outcome is Outcome.UNSURE
    assert TASK.read(SingleChoice.BROKEN).outcome is Outcome.BROKEN
    assert TASK.read(SingleChoice.UNSURE).label is None
    for reserved in (SingleChoice.UNSURE, SingleChoice.BROKEN):
        with pytest.raises(ConfigError, match="cannot be a class"):
            SingleChoice(("a", reserved))


def test_two_choices_are_invalid_and_both_are_named() -> None:
    answer = TASK.read(["cat", "dog"])
    assert answer.outcome is Outcome.INVALID
    assert "cat" in answer.problem
    assert "dog" in answer.problem
    assert TASK.read(["cat", SingleChoice.UNSURE]).outcome is Outcome.INVALID


def test_an_unknown_label_is_named_beside_the_known_ones() -> None:
    answer = TASK.read("dgo")
    assert answer.outcome is Outcome.INVALID
    assert answer.label is None
    assert '"dgo"' in answer.problem
    assert 'did you mean "dog"' in answer.problem
    assert all(name in answer.problem for name in TASK.classes)


@pytest.mark.parametrize(("odd", "named"), [(3, "int"), (True, "bool"), ({"a": 1}, "dict"), (["dog", 2.5], "float")])
def test_what_is_no_text_is_invalid_with_its_type(odd: object, named: str) -> None:
    answer = TASK.read(odd)
    assert answer.outcome is Outcome.INVALID
    assert named in answer.problem


@given(anything)
def test_reading_never_raises_and_a_label_is_always_a_class(odd: object) -> None:
    answer = TASK.read(odd)
    assert (answer.label in TASK.classes) == (answer.outcome is Outcome.LABEL)
    assert bool(answer.problem) == (answer.outcome is Outcome.INVALID)


@given(class_lists, st.data())
def test_composed_and_decomposed_letters_are_the_same_label(classes: tuple[str, ...], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(classes))
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    assert SingleChoice(classes).read(f"  {unicodedata.normalize(form, name)} ").label == name  # type: ignore[arg-type]


def test_a_class_keeps_its_configured_spelling() -> None:
    decomposed = unicodedata.normalize("NFD", "한글")
    assert SingleChoice(("x", decomposed)).read("한글").label == decomposed


@given(class_lists, st.data())
def test_encoding_and_decoding_give_the_labels_back(classes: tuple[str, ...], data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from(classes), max_size=20))
    task = SingleChoice(classes)
    codes = task.encode(labels)
    assert codes.dtype == np.int64
    assert codes.shape == (len(labels),)
    assert task.decode(codes) == labels
    counts = task.summarise(labels)
    assert list(counts) == list(classes)
    assert counts == {name: labels.count(name) for name in classes}


def test_labels_and_codes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(DataError, match='"cow"'):
        TASK.encode(["cat", "cow"])
    with pytest.raises(DataError, match='"cow"'):
        TASK.summarise(["cow"])
    with pytest.raises(DataError, match="code 4"):
        TASK.decode([0, 4])
    with pytest.raises(DataError, match="code -1"):
        TASK.decode([-1])


def test_the_most_probable_class_is_decided_and_a_tie_goes_to_the_first() -> None:
    proba = np.array([[0.1, 0.6, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.0, 0.2, 0.4, 0.4]])
    assert TASK.decide(proba).tolist() == [1, 0, 2]
    assert TASK.decide(np.empty((0, 4))).tolist() == []


def test_predictions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"\(2, 3\).*4 classes"):
        TASK.decide(np.zeros((2, 3)))
    with pytest.raises(TrainingError, match="row 1"):
        TASK.decide(np.array([[0.1, 0.2, 0.3, 0.4], [0.1, np.nan, 0.3, 0.4]]))


@pytest.mark.parametrize("classes", [("a", " a"), ("é", "e\u0301"), ("a", " ")])
def test_classes_that_nobody_could_tell_apart_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"task\.classes"):
        SingleChoice(classes)


def test_settings_name_the_kind_of_task() -> None:
    task = make_task(TaskSettings(classes=("a", "b")))
    assert task.classes == ("a", "b")
    assert task.metrics == ("accuracy", "macro_f1")
    with pytest.raises(ConfigError, match=r'"choise".*did you mean "choice"'):
        make_task(TaskSettings(kind="choise", classes=("a", "b")))


@pytest.mark.parametrize("kind", list(TASKS))
def test_every_kind_of_task_travels_to_another_process(kind: str) -> None:
    task = make_task(TaskSettings(kind=kind, classes=("a", "b")))
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert again.read("b") == task.read("b")


def test_importing_tasks_does_not_import_numpy() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None; from active_loop.tasks import SingleChoice; SingleChoice(('a', 'b'))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
