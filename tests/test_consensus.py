"""Dawid and Skene on simulated people, whose habits are known; and the majority where there is too little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from active_loop.consensus import Votes, dawid_skene, settle, too_few
from active_loop.domain import Consensus
from active_loop.tasks import majority


@dataclass(frozen=True)
class Simulated:
    truth: dict[int, str]
    votes: Votes
    classes: tuple[str, ...]

    def right(self, found: dict[int, Consensus]) -> float:
        """Share of all items whose label is the true one."""
        return float(np.mean([found[item].label == label for item, label in self.truth.items()]))

    def by_majority(self) -> dict[int, Consensus]:
        return {item: majority([*given.values()]) for item, given in self.votes.items()}


def habit(right: float, n_classes: int) -> np.ndarray:
    """Right with this chance whatever the class, else any other answer alike."""
    other = (1 - right) / (n_classes - 1)
    return np.full((n_classes, n_classes), other) + (right - other) * np.eye(n_classes)


def simulated(habits: list[np.ndarray], n: int, seed: int, answers: int | None = None) -> Simulated:
    """`n` items of even classes, each answered by all people, or by `answers` of them drawn at random."""
    rng, n_classes = np.random.default_rng(seed), len(habits[0])
    classes = tuple("abcdefghij"[:n_classes])
    truth = rng.integers(n_classes, size=n)
    votes = {}
    for item in range(n):
        who = rng.permutation(len(habits))[: answers or len(habits)]
        votes[item] = {f"p{each}": classes[rng.choice(n_classes, p=habits[each][truth[item]])] for each in who}
    return Simulated({item: classes[place] for item, place in enumerate(truth)}, votes, classes)


def of(*right: float, n_classes: int = 2) -> list[np.ndarray]:
    return [habit(each, n_classes) for each in right]


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_with_one_person_who_is_mostly_wrong_more_labels_are_right_than_by_majority(n_classes: int, seed: int) -> None:
    people = simulated(of(0.95, 0.9, 0.9, 0.02, n_classes=n_classes), 300, seed)
    found = settle(people.votes, people.classes)
    assert people.right(found) > people.right(people.by_majority()) + 0.04
    assert people.right(found) > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_with_two_careless_people_of_five_and_answers_missing_more_labels_are_right(seed: int) -> None:
    people = simulated(of(0.95, 0.95, 0.9, 0.4, 0.4), 400, seed, answers=3)
    assert people.right(settle(people.votes, people.classes)) > people.right(people.by_majority()) + 0.04


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_where_all_are_alike_it_is_the_majority(n_classes: int, seed: int) -> None:
    """Of four classes all three answers may differ, which is settled by what little is known."""
    people = simulated(of(0.85, 0.85, 0.85, n_classes=n_classes), 400, seed)
    found, wanted = settle(people.votes, people.classes), people.by_majority()
    clear = [item for item in wanted if wanted[item].label]
    assert np.mean([found[item] == wanted[item] for item in clear]) >= 0.99
    assert abs(people.right(found) - people.right(wanted)) <= 0.02


def test_habits_and_shares_are_found_again() -> None:
    """Bounds are 4 standard errors of a share of the about 1000 answers in a row, and 0.01 for what was assumed."""
    lazy = np.array([[0.95, 0.05, 0.0], [0.3, 0.7, 0.0], [0.1, 0.1, 0.8]])
    habits = [habit(0.9, 3), habit(0.8, 3), lazy, habit(0.85, 3)]
    people = simulated(habits, 3000, 1)
    found = dawid_skene(people.votes, people.classes)
    assert found.converged
    for place, known in enumerate(habits):
        assert found.confusion[f"p{place}"] == pytest.approx(known, abs=4 * (0.25 / 1000) ** 0.5 + 0.01)
    assert found.shares == pytest.approx(1 / 3, abs=4 * (2 / 9 / 3000) ** 0.5 + 0.01)


def test_chances_add_up_and_hold_what_they_promise() -> None:
    """Of items whose class has the chance p, a share p is right: within 4 standard errors, and 0.02 for the fit."""
    people = simulated(of(0.8, 0.7, 0.75, n_classes=3), 2000, 2)
    found = dawid_skene(people.votes, people.classes)
    chances = np.array([found.posterior[item] for item in sorted(people.votes)])
    assert chances.sum(axis=1) == pytest.approx(1)
    assert all(rows.sum(axis=1) == pytest.approx(1) for rows in found.confusion.values())
    right = [people.classes[place] == people.truth[item] for item, place in enumerate(chances.argmax(axis=1))]
    assert np.mean(right) == pytest.approx(chances.max(axis=1).mean(), abs=4 * (0.2 * 0.8 / 2000) ** 0.5 + 0.02)


def test_the_order_of_items_and_people_does_not_matter_to_the_last_digit() -> None:
    people = simulated(of(0.9, 0.8, 0.4, n_classes=3), 100, 3, answers=2)
    turned = {item: dict(reversed(given.items())) for item, given in reversed(people.votes.items())}
    one, other = dawid_skene(people.votes, people.classes), dawid_skene(turned, people.classes)
    assert all((one.posterior[item] == other.posterior[item]).all() for item in people.votes)
    assert all((one.confusion[person] == other.confusion[person]).all() for person in one.confusion)
    assert one.n_steps == other.n_steps
    assert settle(people.votes, people.classes) == settle(turned, people.classes)


def test_names_of_people_and_of_classes_do_not_matter() -> None:
    people = simulated(of(0.9, 0.8, 0.4), 100, 4)
    renamed = {
        item: {who.replace("p", "x"): {"a": "yes", "b": "no"}[label] for who, label in given.items()}
        for item, given in people.votes.items()
    }
    one, other = dawid_skene(people.votes, ("a", "b")), dawid_skene(renamed, ("no", "yes"))
    assert all(one.posterior[item] == pytest.approx(other.posterior[item][::-1], abs=1e-5) for item in people.votes)


def test_answers_of_people_without_a_fault_leave_no_doubt() -> None:
    people = simulated(of(1.0, 1.0, 1.0, n_classes=3), 90, 5)
    found = dawid_skene(people.votes, people.classes)
    assert found.converged
    assert min(chances.max() for chances in found.posterior.values()) > 0.999
    assert people.right(settle(people.votes, people.classes)) == 1


def test_two_people_who_differ_are_both_believed_or_neither() -> None:
    """Nobody can say which of two people is right: their ties stay ties, as by the majority."""
    people = simulated(of(0.95, 0.6), 300, 6)
    assert too_few(people.votes, people.classes) == (
        "2 people have answered 20 items or more that others answered too, and 3 must have"
    )
    assert settle(people.votes, people.classes) == people.by_majority()


def test_three_people_of_whom_one_has_seldom_answered_with_others_are_too_few() -> None:
    people = simulated(of(0.9, 0.9, 0.9, n_classes=4), 40, 7)
    assert too_few(people.votes, people.classes) == ""
    fewer = {item: given if item else {"p0": "a", "p1": "a"} for item, given in people.votes.items()}
    assert too_few(fewer, people.classes).startswith("2 people have answered 40 items")
    alone = {item: {"p0": given["p0"]} for item, given in people.votes.items()}
    assert too_few(alone, people.classes).startswith("0 people have")
    assert too_few({}, people.classes)


def test_an_item_on_which_nothing_is_likely_enough_is_disputed() -> None:
    people = simulated(of(0.9, 0.9, 0.9, n_classes=3), 200, 8)
    votes = {**people.votes, 1000: {"p0": "a", "p1": "b", "p2": "c"}, 1001: {"p0": "a", "p1": "b"}}
    found = settle(votes, people.classes)
    assert found[1000] == found[1001] == Consensus()


def test_the_agreement_of_a_label_is_the_share_of_votes_for_it() -> None:
    people = simulated(of(0.99, 0.95, 0.95, 0.02), 200, 9)
    for item, found in settle(people.votes, people.classes).items():
        if found.label:
            given = [*people.votes[item].values()]
            assert found.agreement == given.count(found.label) / len(given)


def test_it_says_when_it_has_not_converged_and_the_majority_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    people = simulated(of(0.9, 0.8, 0.4), 100, 10)
    monkeypatch.setattr("active_loop.consensus._MOST", 2)
    found = dawid_skene(people.votes, people.classes)
    assert (found.n_steps, found.converged) == (2, False)
    assert settle(people.votes, people.classes) == people.by_majority()
