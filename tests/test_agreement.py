"""Agreement: figures that were published, figures of scikit-learn, and what is said where there is too little."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from active_loop.agreement import FEWEST, Agreement, agreement, people, sentence
from active_loop.consensus import Votes
from active_loop.tasks import MultiLabel, Number, SingleChoice

LETTERS = SingleChoice(tuple("abcde"))

FOUR_OBSERVERS = {
    "A": "1 2 3 3 2 1 4 1 2 . . .",
    "B": "1 2 3 3 2 2 4 1 2 5 . 3",
    "C": ". 3 3 3 2 3 4 2 2 5 1 .",
    "D": "1 2 3 3 2 4 4 1 2 5 1 .",
}


def said(columns: dict[str, str]) -> dict[int, dict[str, str]]:
    """Votes of people whose answers stand in columns, a point where there is none."""
    votes: dict[int, dict[str, str]] = {}
    for person, answers in columns.items():
        for item, answer in enumerate(answers.split()):
            if answer != ".":
                votes.setdefault(item, {})[person] = answer
    return votes


def spread(answers: str) -> str:
    return " ".join(answers)


def drawn(n: int, right: float, seed: int, classes: str = "abc", who: tuple[str, ...] = ("p", "q", "r")) -> Votes:
    """Two or three people a item, each right with this chance and else at random."""
    rng = np.random.default_rng(seed)
    votes = {}
    for item in range(n):
        truth, several = rng.choice([*classes]), rng.choice(who, size=rng.integers(2, 4), replace=False)
        votes[item] = {
            str(person): str(truth if rng.random() < right else rng.choice([*classes])) for person in several
        }
    return votes


def value(found: Agreement) -> float:
    assert found.alpha is not None
    return found.alpha.value


@pytest.mark.parametrize(
    ("columns", "task", "alpha"),
    [
        (FOUR_OBSERVERS, SingleChoice(tuple("12345")), 0.743),
        (FOUR_OBSERVERS, Number(), 0.849),
        ({"A": spread("0100000010"), "B": spread("1110010000")}, SingleChoice(("0", "1")), 0.095),
        ({"A": spread("aabbdcccedda"), "B": spread("babbbccceddd")}, LETTERS, 0.692),
    ],
)
def test_alpha_is_that_of_krippendorffs_worked_examples(
    columns: dict[str, str], task: SingleChoice | Number, alpha: float
) -> None:
    assert value(agreement(said(columns), task, fewest=2)) == pytest.approx(alpha, abs=5e-4)


def test_kappa_is_that_of_scikit_learn_for_classes_and_with_squared_weights_for_numbers() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 4, 80)
    b = np.where(rng.random(80) < 0.6, a, rng.integers(0, 4, 80))
    votes = {item: {"ann": str(x), "bob": str(y)} for item, (x, y) in enumerate(zip(a, b, strict=True))}
    for task, weights in [(SingleChoice(tuple("0123")), None), (Number(), "quadratic")]:
        pair = people(votes, task).pairs[0]
        assert pair.kappa is not None
        assert pair.observed is not None
        assert (pair.people, pair.n) == (("ann", "bob"), 80)
        assert pair.kappa.value == pytest.approx(cohen_kappa_score(a, b, weights=weights))
        assert pair.observed.value == pytest.approx(np.mean(a == b))
        assert pair.kappa.low < pair.kappa.value < pair.kappa.high


def test_kappa_of_twenty_and_fifteen_agreements_among_fifty_is_four_tenths() -> None:
    columns = {
        "A": spread("y" * 20 + "y" * 5 + "n" * 10 + "n" * 15),
        "B": spread("y" * 20 + "n" * 5 + "y" * 10 + "n" * 15),
    }
    found = people(said(columns), SingleChoice(("y", "n")))
    assert found.pairs[0].kappa is not None
    assert found.pairs[0].kappa.value == pytest.approx(0.4)
    of_a, of_b = found.against_others["A"], found.against_others["B"]
    assert of_a is not None
    assert of_b is not None
    assert of_a.value == of_b.value == pytest.approx(0.4)


def test_of_several_people_each_is_compared_with_what_the_others_said_of_the_same_items() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 200)
    wild = rng.integers(0, 3, 200)
    votes = {
        i: {"ann": str(t), "bob": str(t), "wild": str(w)} for i, (t, w) in enumerate(zip(truth, wild, strict=True))
    }
    found = people(votes, SingleChoice(tuple("012")))
    assert list(found.against_others) == ["ann", "bob", "wild"]
    ann, lost = found.against_others["ann"], found.against_others["wild"]
    assert ann is not None
    assert lost is not None
    assert lost.high < ann.low
    assert lost.low < 0 < lost.high
    assert [pair.people for pair in found.pairs] == [("ann", "bob"), ("ann", "wild"), ("bob", "wild")]


def test_of_several_labels_each_has_its_own_figure_and_the_whole_pools_their_distances() -> None:
    task, rng = MultiLabel(("cat", "dog")), np.random.default_rng(3)
    cat, dog, other = rng.random(60) < 0.5, rng.random(60) < 0.5, rng.random(60) < 0.5

    def held(*there: bool) -> str:
        return json.dumps([name for name, yes in zip(task.classes, there, strict=True) if yes])

    votes = {i: {"ann": held(c, d), "bob": held(c, o)} for i, (c, d, o) in enumerate(zip(cat, dog, other, strict=True))}
    found = agreement(votes, task)
    yes_no = SingleChoice(("False", "True"))
    alone = agreement(
        {i: {"ann": str(d), "bob": str(o)} for i, (d, o) in enumerate(zip(dog, other, strict=True))}, yes_no
    )
    of_cat, of_dog = found.by_class["cat"], found.by_class["dog"]
    assert of_cat is not None
    assert of_dog is not None
    assert of_cat.value == 1
    assert of_dog.value == pytest.approx(value(alone))
    assert of_dog.value < value(found) < 1
    assert found.hardest == ("dog",)
    assert found.observed is not None
    assert found.observed.value == pytest.approx(np.mean(dog == other))


def test_one_class_against_the_rest_is_alpha_of_two_classes() -> None:
    votes = drawn(60, 0.7, 4)
    merged = {
        item: {who: "a" if label == "a" else "b" for who, label in given.items()} for item, given in votes.items()
    }
    one = agreement(votes, SingleChoice(("a", "b", "c"))).by_class["a"]
    assert one is not None
    assert one.value == pytest.approx(value(agreement(merged, SingleChoice(("a", "b")))))


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_below_the_fewest_common_items_their_number_is_said_and_nothing_else(n: int) -> None:
    votes = {**drawn(n, 0.7, 5), **{1000 + item: {"alone": "a"} for item in range(500)}}
    found = agreement(votes, SingleChoice(("a", "b", "c")))
    assert (found.n_items, found.observed, found.alpha) == (n, None, None)
    assert set(found.by_class.values()) <= {None}
    assert all(pair.kappa is None and pair.observed is None for pair in people(votes, LETTERS).pairs)
    assert "α" not in sentence(found)
    assert (sentence(found) == "") == (n == 0)


def test_where_everybody_gave_one_answer_there_is_no_alpha_but_a_share() -> None:
    found = agreement({item: {"ann": "a", "bob": "a"} for item in range(FEWEST)}, LETTERS)
    assert found.alpha is None
    assert found.observed is not None
    assert found.observed.value == 1
    assert "share of equal answers 1.00" in sentence(found)


def test_people_who_never_differed_are_not_said_to_agree_for_sure() -> None:
    for n in (FEWEST, 300):
        found = agreement({item: {"ann": "abc"[item % 3], "bob": "abc"[item % 3]} for item in range(n)}, LETTERS)
        for figure in (found.alpha, found.observed):
            assert figure is not None
            assert figure.low < figure.value == figure.high == 1
        assert found.hardest == ()


def test_the_order_of_items_and_people_does_not_matter() -> None:
    votes = drawn(50, 0.7, 6)
    turned = {item: dict(reversed(given.items())) for item, given in reversed(votes.items())}
    task = SingleChoice(("a", "b", "c"))
    assert agreement(votes, task) == agreement(turned, task)
    assert people(votes, task) == people(turned, task)


def test_numbers_may_be_moved_and_scaled_and_agree_within_the_tolerance() -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=40)
    votes = {
        i: {"ann": str(t), "bob": str(t + e)}
        for i, (t, e) in enumerate(zip(truth, rng.normal(size=40) / 3, strict=True))
    }
    moved = {i: {who: str(1e6 + 1e3 * float(label)) for who, label in given.items()} for i, given in votes.items()}
    assert value(agreement(votes, Number())) == pytest.approx(value(agreement(moved, Number())), rel=1e-6)
    strict, loose = (agreement(votes, Number(tolerance=tolerance)).observed for tolerance in (0.0, 100.0))
    assert strict is not None
    assert loose is not None
    assert (strict.value, loose.value) == (0, 1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """The bound is 3.5 standard errors of 100 draws below 95 %; items are independent, three people alike."""
    task = SingleChoice(("a", "b", "c"))
    truth = value(agreement(drawn(10_000, 0.8, 8), task))
    held = 0
    for seed in range(100):
        found = agreement(drawn(100, 0.8, 100 + seed), task).alpha
        assert found is not None
        held += found.low <= truth <= found.high
    assert held / 100 >= 0.95 - 3.5 * (0.95 * 0.05 / 100) ** 0.5


def test_the_two_classes_that_stand_against_each_other_most_are_named() -> None:
    votes = {i: {"ann": "a", "bob": "c" if i < 6 else "b" if i < 9 else "a"} for i in range(40)}
    found = agreement(votes, LETTERS)
    assert found.hardest == ("a", "c")
    assert sentence(found).endswith("on 40 items with two answers or more; hardest: a/c")
