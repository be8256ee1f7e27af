"""What people send back is read once, strictly, and labels survive the way into a learner and out of it."""

from __future__ import annotations

import json
import math
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
from active_loop.tasks import (
    BROKEN,
    NONE,
    TASKS,
    UNSURE,
    MultiLabel,
    Number,
    SingleChoice,
    Task,
    make_task,
    normalise,
)

TASK = SingleChoice(("cat", "dog", "한글", "café"))
PETS = MultiLabel(("cat", "dog", "owl"))

names = st.text(min_size=1, max_size=12).map(normalise).filter(lambda s: s and s not in (UNSURE, BROKEN, NONE))
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
def test_reading_a_choice_never_raises_and_a_label_is_always_a_class(odd: object) -> None:
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
    assert task.metrics[:2] == ("accuracy", "balanced_accuracy")
    with pytest.raises(ConfigError, match=r'"choise".*did you mean "choice"'):
        make_task(TaskSettings(kind="choise", classes=("a", "b")))


@pytest.mark.parametrize("task", [TASK, PETS, Number(), Number(0, 10, step=0.5)])
@given(anything | st.text(alphabet='0123456789.,-+e"[]catdog|;') | st.floats() | st.just([10**5000, 1]))
def test_reading_never_raises_and_a_label_reads_as_itself(task: Task, odd: object) -> None:
    answer = task.read(odd)
    assert (answer.label is None) == (answer.outcome is not Outcome.LABEL)
    assert bool(answer.problem) == (answer.outcome is Outcome.INVALID)
    if answer.label is not None:
        assert task.read(answer.label) == answer
        assert task.decode(task.encode([answer.label])) == [answer.label]


@pytest.mark.parametrize("kind", list(TASKS))
def test_every_kind_of_task_travels_to_another_process(kind: str) -> None:
    task = make_task(TaskSettings(kind=kind, classes=("x > a", "b")))
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert again.read("b") == task.read("b")


def test_importing_tasks_does_not_import_numpy() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None; from active_loop.tasks import SingleChoice; SingleChoice(('a', 'b'))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Any number of the classes.


@pytest.mark.parametrize(
    "given_",
    [
        ["owl", "cat"],
        ("cat", " owl "),
        ["cat", "", "owl"],
        '["owl", "cat"]',
        ' [ "cat","owl" ]\n',
        "cat|owl",
        "owl; cat",
        "cat,owl",
        "|cat|owl|",
    ],
)
def test_several_classes_are_one_label_however_they_are_given(given_: object) -> None:
    answer = PETS.read(given_)
    assert (answer.outcome, answer.label, answer.problem) == (Outcome.LABEL, '["cat", "owl"]', "")


@pytest.mark.parametrize("given_", ["dog", ["dog"], '["dog"]', "dog|", " dog "])
def test_one_class_is_a_label_where_several_may_be(given_: object) -> None:
    assert PETS.read(given_).label == '["dog"]'


@pytest.mark.parametrize("given_", [[], (), "[]", NONE, [NONE], f'["{NONE}"]'])
def test_none_of_the_classes_is_a_label(given_: object) -> None:
    assert PETS.read(given_).label == "[]"


@pytest.mark.parametrize("nothing", [None, "", "  ", [""], [" ", ""], "|", ",,", '[""]'])
def test_a_blank_answer_is_not_none_of_the_classes(nothing: object) -> None:
    answer = PETS.read(nothing)
    assert (answer.outcome, answer.problem) == (Outcome.INVALID, "empty answer")


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        (["cat", "horse"], 'unknown label "horse"; known: cat, dog, owl.'),
        ("cat|horse", 'unknown label "horse"; known: cat, dog, owl.'),
        ("cat|dog;owl", 'unknown label "dog;owl"; did you mean "owl"? Known: cat, dog, owl.'),
        ("[cat", 'unknown label "[cat"; did you mean "cat"? Known: cat, dog, owl.'),
        ("['cat']", 'unknown label "[\'cat\']"; did you mean "cat"? Known: cat, dog, owl.'),
        ("[" * 100_000, None),
        (["cat", "dog", "cat"], '"cat" is given 2 times'),
        ("owl,owl,owl", '"owl" is given 3 times'),
        (["cat", UNSURE], '"(unsure)" cannot stand beside other choices: cat, (unsure)'),
        (["cat", BROKEN], '"(broken item)" cannot stand beside other choices: cat, (broken item)'),
        ([NONE, "cat"], '"(none)" cannot stand beside other choices: (none), cat'),
        ([UNSURE, BROKEN], '"(unsure)" cannot stand beside other choices: (unsure), (broken item)'),
        (7, "a label must be text, and this is int"),
        (True, "a label must be text, and this is bool"),
        ({"cat": 1}, "a label must be text, and this is dict"),
        (["cat", 2.5], "a label must be text, and this is float"),
        ('["cat", null]', "a label must be text, and this is NoneType"),
    ],
)
def test_what_cannot_be_a_set_of_classes_is_invalid_with_the_reason(given_: object, problem: str | None) -> None:
    answer = PETS.read(given_)
    assert answer.outcome is Outcome.INVALID
    assert answer.label is None
    assert problem is None or answer.problem == problem


def test_unsure_and_broken_are_outcomes_where_several_may_be() -> None:
    assert PETS.read([UNSURE]).outcome is PETS.read(UNSURE).outcome is Outcome.UNSURE
    assert PETS.read([BROKEN]).outcome is PETS.read(f'["{BROKEN}"]').outcome is Outcome.BROKEN


def test_a_sign_that_a_class_holds_separates_nothing() -> None:
    task = MultiLabel(("good", "bad, or worse"))
    assert task.read("bad, or worse").label == '["bad, or worse"]'
    assert task.read("good; bad, or worse").label == '["good", "bad, or worse"]'
    assert task.read("good, bad, or worse").outcome is Outcome.INVALID


@pytest.mark.parametrize("reserved", [UNSURE, BROKEN, NONE])
def test_what_excludes_all_classes_cannot_be_one(reserved: str) -> None:
    with pytest.raises(ConfigError, match=r"task\.classes: .* cannot be a class; blank names, \(unsure\), .* are not"):
        MultiLabel(("a", reserved))


@given(class_lists, st.data())
def test_every_set_of_classes_survives_each_of_its_forms(classes: tuple[str, ...], data: st.DataObject) -> None:
    task = MultiLabel(classes)
    chosen = data.draw(st.lists(st.sampled_from(classes), unique=True))
    label = task.read(chosen).label
    assert label is not None
    assert json.loads(label) == [name for name in classes if name in chosen]
    assert task.read(label).label == task.read(json.dumps(chosen)).label == task.read(tuple(chosen)).label == label
    assert task.decode(task.encode([label])) == [label]


@given(st.lists(st.sets(st.sampled_from(PETS.classes))))
def test_codes_of_several_classes_are_rows_of_zeros_and_ones(sets: list[set[str]]) -> None:
    labels = [json.dumps(sorted(each)) for each in sets]  # the classes are in alphabetical order
    codes = PETS.encode(labels)
    assert (codes.shape, codes.dtype) == ((len(sets), 3), np.int64)
    assert codes.tolist() == [[int(name in each) for name in PETS.classes] for each in sets]
    assert PETS.decode(codes) == labels
    counts = {name: sum(name in each for each in sets) for name in PETS.classes}
    assert PETS.summarise(labels) == {**counts, NONE: sum(not each for each in sets)}


def test_a_label_or_a_row_of_codes_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="'cat\\|cow' is no label: unknown label \"cow\""):
        PETS.encode(["cat", "cat|cow"])
    with pytest.raises(DataError, match=r"is no label: unsure"):
        PETS.summarise([UNSURE])
    for row in ([1, 0], [1, 0, 2], [1, 0, 0.5], [1, 0, -1]):
        with pytest.raises(DataError, match="3 classes need as many, each 0 or 1"):
            PETS.decode([[0, 0, 1], row])


def test_each_class_is_decided_for_itself_and_half_is_not_enough() -> None:
    mean = np.array([[0.9, 0.51, 0.5], [0.2, 0.4999, 0.0], [1.0, 1.0, 1.0]])
    assert PETS.decide(mean).tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert PETS.decide(np.empty((0, 3))).shape == (0, 3)
    with pytest.raises(TrainingError, match=r"\(1, 2\); 3 classes need \(n, 3\)"):
        PETS.decide(np.zeros((1, 2)))
    with pytest.raises(TrainingError, match="row 0 is not a number"):
        PETS.decide(np.array([[np.nan, 0, 0]]))


# A number.


@pytest.mark.parametrize(
    ("given_", "label"),
    [
        (3, "3"),
        (3.0, "3"),
        ("3", "3"),
        ("3.50", "3.5"),
        (" +3.5\n", "3.5"),
        ("1e3", "1000"),
        (-0.0, "0"),
        ("-0", "0"),
        (0.1 + 0.2, "0.30000000000000004"),
        ([4], "4"),
        (["4.5"], "4.5"),
        ([None, "4.5", ""], "4.5"),
        (10**20, "1e+20"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        ("7 kg", "7"),
        ("7.5kg", "7.5"),
    ],
)
def test_a_number_is_a_label_however_it_is_written(given_: object, label: str) -> None:
    answer = Number(unit="kg").read(given_)
    assert (answer.outcome, answer.label, answer.problem) == (Outcome.LABEL, label, "")


@pytest.mark.parametrize("nothing", [None, [], (), "", " ", [""], [None]])
def test_no_number_at_all_is_an_empty_answer(nothing: object) -> None:
    assert Number().read(nothing).problem == "empty answer"


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        ("3,5", '"3,5" is no number; write it with a point, for instance 3.5'),
        ("1,234", '"1,234" is no number; write it with a point, for instance 3.5'),
        ("1_000", '"1_000" is no number; write it with a point, for instance 3.5'),
        ("0x10", '"0x10" is no number; write it with a point, for instance 3.5'),
        ("3 kg", '"3 kg" is no number; write it with a point, for instance 3.5'),
        ("about 3", '"about 3" is no number; write it with a point, for instance 3.5'),
        ("nan", "nan is not a finite number"),
        (math.inf, "inf is not a finite number"),
        ("-Infinity", "-inf is not a finite number"),
        ("1e999", "inf is not a finite number"),
        (10**400, "inf is not a finite number"),
        (True, "a number is expected, and this is bool"),
        ([False], "a number is expected, and this is bool"),
        ({"number": 3}, "a number is expected, and this is dict"),
        ([[3]], "a number is expected, and this is list"),
        (3 + 0j, "a number is expected, and this is complex"),
        ([3, 3], "2 answers where one number is allowed"),
        ([3, UNSURE], "2 answers where one number is allowed"),
        (-0.5, "-0.5 is below 0, the least number that is allowed"),
        ("10.5", "10.5 is above 10, the largest number that is allowed"),
        (0.7, "0.7 lies between two steps of 0.25 from 0"),
    ],
)
def test_what_cannot_be_the_number_is_invalid_with_the_reason(given_: object, problem: str) -> None:
    answer = Number(0, 10, step=0.25).read(given_)
    assert (answer.outcome, answer.label, answer.problem) == (Outcome.INVALID, None, problem)


def test_unsure_and_broken_are_outcomes_where_a_number_is_asked() -> None:
    assert Number().read(UNSURE).outcome is Number().read([UNSURE]).outcome is Outcome.UNSURE
    assert Number().read(BROKEN).outcome is Outcome.BROKEN


def test_steps_are_counted_from_the_lower_bound_and_decimals_are_forgiven() -> None:
    odd = Number(0.5, 9.5, step=1.0)
    assert odd.read(3.5).label == "3.5"
    assert odd.read(3).problem == "3 lies between two steps of 1 from 0.5"
    tenths = Number(-math.inf, 100, step=0.1)
    assert all(tenths.read(f"{n / 10}").outcome is Outcome.LABEL for n in range(-1000, 1001))
    assert tenths.read(0.05).outcome is Outcome.INVALID
    assert Number(step=0.1).read("1e15").label == "1000000000000000"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_number_survives_each_of_its_forms(value: float) -> None:
    task = Number()
    label = task.read(value).label
    assert label is not None
    assert float(label) == value
    assert task.read(label).label == task.read(repr(value)).label == label
    codes = task.encode([label])
    assert codes.dtype == np.float64
    assert codes.tolist() == [value]
    assert task.decode(codes) == [label]


def test_what_is_no_number_of_this_task_is_refused() -> None:
    task = Number(0, 10)
    with pytest.raises(DataError, match="'ten' is no number: it is no label"):
        task.encode(["1", "ten"])
    with pytest.raises(DataError, match="11 is above 10"):
        task.encode(["11"])
    with pytest.raises(DataError, match="nan is not a finite number: it is no label"):
        task.decode([math.nan])
    assert task.encode([]).shape == (0,)


def test_a_predicted_number_is_moved_into_the_bounds() -> None:
    decided = Number(0, 10, step=1).decide(np.array([-3.0, 4.25, 12.0]))
    assert (decided.tolist(), decided.dtype) == ([0.0, 4.25, 10.0], np.float64)
    assert Number().decide(np.array([-3e300])).tolist() == [-3e300]
    with pytest.raises(TrainingError, match=r"\(1, 1\); numbers need \(n,\)"):
        Number().decide(np.zeros((1, 1)))
    with pytest.raises(TrainingError, match="row 1 is not a finite number"):
        Number().decide(np.array([0.0, np.inf]))


def test_numbers_are_summarised_by_how_many_and_where_they_lie() -> None:
    assert Number().summarise(["4", "1", "9", "2"]) == {"numbers": 4, "least": 1, "median": 3, "largest": 9}
    assert Number().summarise([]) == {"numbers": 0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bounds": (1.0,)}, "task.bounds has 1 entries: give the least and the largest number, or none"),
        ({"bounds": (1.0, 1.0)}, "task.bounds are 1 and 1: give the least number and a larger one"),
        ({"bounds": (math.inf, math.inf)}, "task.bounds are inf and inf"),
        ({"step": -1.0}, "task.step is -1: give 0 for any number"),
        ({"step": math.inf}, "task.step is inf"),
        ({"step": 11.0, "bounds": (0.0, 10.0)}, "task.step is 11: give 0 for any number, or at most what lies between"),
        ({"tolerance": -0.1}, "task.tolerance is -0.1: give a finite number of at least 0"),
        ({"tolerance": math.nan}, "task.tolerance is nan"),
    ],
)
def test_a_number_that_nobody_could_give_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        make_task(TaskSettings(kind="number", **settings))  # type: ignore[arg-type]


def test_settings_say_all_that_a_number_must_be() -> None:
    told = TaskSettings(kind="number", bounds=(0.0, math.inf), step=0.5, unit="kg", tolerance=1.0)
    assert make_task(told) == Number(0, math.inf, 0.5, "kg", 1.0)
    assert make_task(TaskSettings(kind="number")) == Number()
    assert make_task(told).classes == ()


def test_rounds_are_alike_by_the_share_of_items_that_did_not_change() -> None:
    codes = np.array([0, 1, 1, 0])
    assert SingleChoice(("a", "b")).alike(codes, np.array([0, 1, 0, 0])) == 0.75
    sets = np.array([[1, 0], [0, 0], [1, 1]])
    assert MultiLabel(("a", "b")).alike(sets, np.array([[1, 0], [0, 1], [0, 0]])) == pytest.approx(1 / 3)
    assert SingleChoice(("a", "b")).alike(codes[:0], codes[:0]) == MultiLabel(("a", "b")).alike(sets[:0], sets[:0]) == 1


def test_numbers_are_alike_where_they_changed_by_little_of_their_spread() -> None:
    old, new = np.array([0.0, 2.0, 4.0]), np.array([0.3, 2.0, 4.0])
    assert Number().alike(old, new) == pytest.approx(1 - 0.1 / np.std(new))
    assert Number().alike(old, 100 * new) == 0
    same = np.full(3, 7.0)
    assert (Number().alike(same, same), Number().alike(old, same)) == (1, 0)
    assert Number().alike(old[:0], old[:0]) == 1
