"""Labels weighed by people and model: by hand, beside cleanlab, on simulated people, and whatever the votes are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cleanlab import multiannotator
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from active_loop import quality
from active_loop.consensus import Votes
from active_loop.domain import Consensus
from active_loop.quality import Chances, crowdlab, doubtful, settle, suspects, temper, too_few
from active_loop.tasks import majority


@dataclass(frozen=True)
class World:
    """Items whose true class is known, votes of people, and a model's held-out probabilities."""

    truth: dict[int, str]
    votes: Votes
    proba: Chances
    classes: tuple[str, ...]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Votes (n, n_people) as numbers with NaN, as cleanlab takes them, and the probabilities (n, C)."""
        people = sorted({person for given in self.votes.values() for person in given})
        code = {name: float(place) for place, name in enumerate(self.classes)}
        items = sorted(self.votes)
        rows = [[code.get(self.votes[item].get(person, ""), np.nan) for person in people] for item in items]
        return np.array(rows), np.array([self.proba[item] for item in items])


def world(
    right: Sequence[float], n: int, seed: int, n_classes: int = 3, answers: float = 2.0, model: float = 2.0
) -> World:
    """`n` items; people right with these chances; `answers` votes per item on average; a model of this strength."""
    rng = np.random.default_rng(seed)
    classes = tuple("abcdefgh"[:n_classes])
    truth = rng.integers(n_classes, size=n)
    votes = {}
    for item in range(n):
        number = min(len(right), int(answers) + int(rng.random() < answers % 1))
        votes[item] = {
            f"p{who}": classes[truth[item] if rng.random() < right[who] else rng.integers(n_classes)]
            for who in rng.permutation(len(right))[:number]
        }
    logits = rng.normal(size=(n, n_classes)) + model * np.eye(n_classes)[truth]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return World({item: classes[code] for item, code in enumerate(truth)}, votes, dict(enumerate(chances)), classes)


def by_cleanlab(seen: World, method: str = "best_quality") -> dict[str, Any]:
    table, proba = seen.table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Any] = multiannotator.get_label_quality_multiannotator(
            table, proba, consensus_method=method, return_weights=True, return_annotator_stats=False, verbose=False
        )
    return found


WORLDS = {
    "good people": world((0.95, 0.9, 0.9, 0.85), 200, 1),
    "one who guesses": world((0.95, 0.9, 0.0, 0.9), 300, 2),
    "seldom a second vote": world((0.9, 0.85, 0.8), 400, 3, answers=1.2),
    "two classes": world((0.9, 0.8, 0.85), 150, 4, n_classes=2),
    "five classes, poor model": world((0.8, 0.7, 0.75, 0.6, 0.9), 250, 5, n_classes=5, answers=3, model=0.5),
    "everybody guesses": world((0.0, 0.0, 0.0), 200, 6),
}


@pytest.mark.parametrize("name", WORLDS)
def test_labels_weights_and_quality_are_cleanlabs(name: str) -> None:
    seen = WORLDS[name]
    ours, theirs = crowdlab(seen.votes, seen.proba, seen.classes), by_cleanlab(seen)
    items = sorted(seen.votes)
    assert [seen.classes.index(ours.labels[item]) for item in items] == [*theirs["label_quality"]["consensus_label"]]
    wanted = theirs["label_quality"]["consensus_quality_score"].to_numpy()
    assert [ours.quality(seen.classes)[item] for item in items] == pytest.approx(wanted, abs=1e-12)
    assert [ours.people[person] for person in sorted(ours.people)] == pytest.approx(theirs["annotator_weight"])
    assert ours.model == pytest.approx(theirs["model_weight"])


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_asked_again_is_what_cleanlab_would_ask(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our temperature in place of the one of cleanlab's grid: see the next test for that."""
    seen = WORLDS[name]
    table, proba = seen.table
    heat = quality._evened(seen.votes, seen.proba, seen.classes)[1]
    monkeypatch.setattr(multiannotator, "find_best_temp_scaler", lambda *_: heat)
    chosen = np.random.default_rng(9).dirichlet(np.ones(len(seen.classes)), size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known, new = multiannotator.get_active_learning_scores(table, proba, chosen)
    for n in (1, 20, 50, 200):
        lowest = np.argsort(np.concatenate([new, known]), kind="stable")[:n]
        wanted = [place - len(new) for place in lowest if place >= len(new)]
        assert doubtful(seen.votes, seen.proba, chosen, n, seen.classes) == wanted


@pytest.mark.parametrize("name", WORLDS)
def test_no_other_temperature_explains_the_votes_better(name: str) -> None:
    seen = WORLDS[name]
    chances, heat = quality._evened(seen.votes, seen.proba, seen.classes)

    def loss(each: float) -> float:
        table, proba = seen.table
        logs = np.log(proba) / each
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        said = [np.mean([logs[row, int(code)] for code in votes if code == code]) for row, votes in enumerate(table)]
        return -float(np.mean(said))

    others = [each for each in (0.1, 0.5, heat / 1.02, heat * 1.02, 2.0, 10.0) if each <= 10]
    assert loss(heat) <= min(map(loss, others)) + 1e-6
    assert all(np.argmax(chances[item]) == np.argmax(seen.proba[item]) for item in chances)


def test_of_one_person_the_model_alone_says_what_is_doubtful_as_cleanlab_has_it() -> None:
    seen = world((0.9,), 80, 7, answers=1)
    table, proba = seen.table
    chosen = np.random.default_rng(1).dirichlet(np.ones(3), size=30)
    known, new = multiannotator.get_active_learning_scores(table, proba, chosen)
    lowest = np.argsort(np.concatenate([new, known]), kind="stable")[:25]
    assert doubtful(seen.votes, seen.proba, chosen, 25, seen.classes) == [at - 30 for at in lowest if at >= 30]


def two_people() -> tuple[Votes, Chances]:
    """Both say x of 15 items and y of 12, and differ on 3, where the model finds x likelier: x of 18, y of 12.

    The model says x of 24 items (0.8), and y of 6, which are y: it is wrong on 6 of 30.
    """
    said = [("x", "x")] * 15 + [("x", "y")] * 3 + [("y", "y")] * 12
    votes = {item: {"ann": one, "bob": other} for item, (one, other) in enumerate(said)}
    return votes, {item: np.array([0.8, 0.2] if item < 24 else [0.2, 0.8]) for item in votes}


def test_weights_and_quality_by_hand() -> None:
    """Commonest class 18 / 30 = 0.6. People agree on 27 / 30 = 0.9: 1 - 0.1 / 0.4 = 0.75 each. Model right on 24 / 30:
    (1 - 0.2 / 0.4) √2 = 0.707107. Votes for the label (27 + 3 / 2) / 30 = 0.95. In all 2.207107."""
    votes, proba = two_people()
    found = crowdlab(votes, proba, ("x", "y"))
    assert found.people == pytest.approx({"ann": 0.75, "bob": 0.75})
    assert found.model == pytest.approx(0.5 * 2**0.5)
    assert [found.labels[item] for item in (0, 15, 18, 29)] == ["x", "x", "y", "y"]
    assert found.quality(("x", "y"))[0] == pytest.approx((0.707107 * 0.8 + 1.5 * 0.95) / 2.207107, abs=1e-6)
    assert found.quality(("x", "y"))[15] == pytest.approx((0.707107 * 0.8 + 0.75) / 2.207107, abs=1e-6)
    assert found.quality(("x", "y"))[18] == pytest.approx((0.707107 * 0.2 + 1.5 * 0.95) / 2.207107, abs=1e-6)


def test_a_tie_of_the_model_is_right_in_part_whatever_the_order_of_the_classes() -> None:
    """Right on 18 of 30, and on half of the other 12: 0.8, so it weighs what it does above."""
    votes, _ = two_people()
    proba = {item: np.array([0.8, 0.2] if item < 18 else [0.5, 0.5]) for item in votes}
    turned = {item: chances[::-1] for item, chances in proba.items()}
    for chances, classes in ((proba, ("x", "y")), (turned, ("y", "x"))):
        assert crowdlab(votes, chances, classes).model == pytest.approx(0.5 * 2**0.5)


def test_scores_of_one_person_by_hand() -> None:
    """All weigh 1, two classes: known (2 p + 0.5) / 3, new (p + 0.5) / 2. 0.367, 0.9 against 0.525, 0.75."""
    votes = {4: {"ann": "x"}, 7: {"ann": "y"}}
    held_out = {4: np.array([0.3, 0.7]), 7: np.array([0.0, 1.0])}
    chosen = np.array([[0.45, 0.55], [1.0, 0.0]])
    assert [doubtful(votes, held_out, chosen, n, ("x", "y")) for n in range(5)] == [[], [4], [4], [4], [4, 7]]
    assert doubtful(votes, held_out, np.empty((0, 2)), 1, ("x", "y")) == [4]
    assert doubtful(votes, {}, chosen, 2, ("x", "y")) == doubtful({}, {}, chosen, 2, ("x", "y")) == []


def test_before_thirty_shared_items_nobody_is_weighed() -> None:
    votes, proba = two_people()
    fewer = {item: given for item, given in votes.items() if item}
    assert too_few(votes, proba, ("x", "y")) == ""
    assert too_few(fewer, proba, ("x", "y")) == "29 items with predictions have two answers or more, and 30 must have"
    assert too_few({**fewer, 0: {"ann": "x"}}, proba, ("x", "y")).startswith("29 items")
    assert too_few(votes, {0: proba[0]}, ("x", "y")).startswith("1 item with predictions has")
    found = crowdlab(fewer, proba, ("x", "y"))
    assert found.people == {"ann": 1.0, "bob": 1.0}
    assert found.model == 1
    assert (found.posterior[20] == proba[20]).all()
    assert settle(fewer, proba, ("x", "y")) == {item: majority([*given.values()]) for item, given in fewer.items()}


def test_nobody_is_weighed_while_all_answers_come_to_one_class() -> None:
    votes = {item: {"ann": "x", "bob": "x", "cyd": "y" if item < 5 else "x"} for item in range(40)}
    proba = {item: np.array([0.9, 0.1]) for item in votes}
    assert too_few(votes, proba, ("x", "y")) == (
        "the answers to all 40 items that several people answered come to one class"
    )
    assert settle(votes, proba, ("x", "y")) == {item: majority([*given.values()]) for item, given in votes.items()}


def test_who_is_no_better_than_naming_the_commonest_class_weighs_next_to_nothing() -> None:
    seen = WORLDS["one who guesses"]
    found = crowdlab(seen.votes, seen.proba, seen.classes).people
    assert found["p2"] < 0.1
    assert min(found["p0"], found["p1"], found["p3"]) > 0.3
    votes, proba = two_people()
    contrary = {item: {**said, "zoe": "y" if said["ann"] == "x" else "x"} for item, said in votes.items()}
    assert crowdlab(contrary, proba, ("x", "y")).people["zoe"] == 1e-6


def test_who_shared_no_item_weighs_what_people_do_on_average() -> None:
    votes, proba = two_people()
    found = crowdlab({**votes, 99: {"zoe": "x"}}, {**proba, 99: proba[0]}, ("x", "y"))
    assert found.people["zoe"] == pytest.approx(0.75)


def test_ties_go_to_the_likelier_class_then_to_the_rarer_one_then_to_the_first_name() -> None:
    tied = {0: {"ann": "x", "bob": "y"}}
    assert crowdlab(tied, {0: np.array([0.4, 0.6])}, ("x", "y")).labels == {0: "y"}
    even = {0: np.array([0.5, 0.5]), 1: np.array([0.5, 0.5])}
    assert crowdlab({**tied, 1: {"ann": "x"}}, even, ("x", "y")).labels[0] == "y"
    assert crowdlab(tied, even, ("x", "y")).labels == crowdlab(tied, even, ("y", "x")).labels == {0: "x"}


@pytest.mark.parametrize("seed", range(3))
def test_where_two_people_differ_the_model_says_who_is_right(seed: int) -> None:
    """A tie is no label of the majority; of these labels two thirds at least are right, and most are labels."""
    seen = world((0.85, 0.8, 0.85), 400, seed)
    found, simple = settle(seen.votes, seen.proba, seen.classes), settle(seen.votes, {}, seen.classes)
    tied = [item for item in simple if simple[item].label is None]
    labels = [item for item in tied if found[item].label]
    assert len(tied) > 60
    assert len(labels) > 0.7 * len(tied)
    assert np.mean([found[item].label == seen.truth[item] for item in labels]) > 2 / 3
    right, before = ([each[item].label == label for item, label in seen.truth.items()] for each in (found, simple))
    assert np.mean(right) > np.mean(before) + 0.1


def test_a_label_needs_a_lead_and_its_agreement_is_the_share_of_votes_for_it() -> None:
    seen = WORLDS["five classes, poor model"]
    found = settle(seen.votes, seen.proba, seen.classes)
    chances = quality._evened(seen.votes, seen.proba, seen.classes)[0]
    posterior = crowdlab(seen.votes, chances, seen.classes).posterior
    leads = {item: np.diff(np.sort(posterior[item])[-2:])[0] for item in found}
    assert {item for item in found if found[item] == Consensus()} == {item for item in found if leads[item] < 0.05}
    assert 5 < sum(found[item].label is None for item in found) < 100
    for item, each in found.items():
        if each.label:
            assert each.agreement == [*seen.votes[item].values()].count(each.label) / len(seen.votes[item])


@pytest.mark.parametrize("seed", range(3))
def test_a_model_does_not_outvote_people_where_one_class_is_common(seed: int) -> None:
    """Three people, each right on 80 %, agree less often than the class of 75 % occurs, and would weigh nothing."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(400) < 0.25).astype(int)
    right = rng.random((3, 400)) < 0.8
    votes = {item: {f"p{who}": "xy"[truth[item] ^ (not right[who, item])] for who in range(3)} for item in range(400)}
    chances = np.clip(0.5 + 0.3 * rng.normal(size=400) + 0.35 * (2 * truth - 1), 0.05, 0.95)
    proba = {item: np.array([1 - chance, chance]) for item, chance in enumerate(chances)}
    found = settle(votes, proba, ("x", "y"))
    one_voice = [item for item, said in votes.items() if len(set(said.values())) == 1]
    assert max(crowdlab(votes, proba, ("x", "y")).people.values()) < 0.2
    assert np.mean([found[item].label == votes[item]["p0"] for item in one_voice]) > 0.95
    simple = {item: majority([*said.values()]) for item, said in votes.items()}
    share, before = (np.mean([each[item].label == "xy"[truth[item]] for item in votes]) for each in (found, simple))
    assert share > before - 0.05


def test_items_without_probabilities_are_settled_by_the_majority() -> None:
    seen = WORLDS["good people"]
    known = {item: proba for item, proba in seen.proba.items() if item % 2}
    found = settle(seen.votes, known, seen.classes)
    assert sorted(found) == sorted(seen.votes)
    assert all(found[item] == majority([*seen.votes[item].values()]) for item in seen.votes if not item % 2)
    assert {item: found[item] for item in known} == settle(
        {item: seen.votes[item] for item in known}, known, seen.classes
    )


def arbitrary(seed: int, n: int, n_people: int, n_classes: int) -> World:
    """Any votes of anybody, and any probabilities, some of them 0."""
    rng = np.random.default_rng(seed)
    classes = tuple("abcdef"[:n_classes])
    votes = {
        int(item): {
            f"p{who}": classes[rng.integers(n_classes)]
            for who in rng.permutation(n_people)[: rng.integers(1, n_people + 1)]
        }
        for item in rng.permutation(3 * n)[:n]
    }
    rows = rng.dirichlet(np.full(n_classes, 0.3), size=n) * (rng.random((n, n_classes)) < 0.9)
    rows = np.where(rows.sum(axis=1, keepdims=True) > 0, rows, 1.0)
    rows /= rows.sum(axis=1, keepdims=True)
    return World({}, votes, {item: row for item, row in zip(votes, rows, strict=True) if rng.random() < 0.95}, classes)


worlds = st.builds(arbitrary, st.integers(0, 10**6), st.integers(0, 80), st.integers(1, 5), st.integers(1, 5))


@settings(deadline=None, max_examples=40)
@given(seen=worlds, n=st.integers(0, 60))
def test_any_votes_are_weighed(seen: World, n: int) -> None:
    found = crowdlab(seen.votes, seen.proba, seen.classes)
    assert set(found.labels) == set(found.posterior) == seen.votes.keys() & seen.proba.keys()
    for chances in found.posterior.values():
        assert chances.min() >= 0
        assert chances.sum() == pytest.approx(1)
    assert all(weight > 0 for weight in (found.model, *found.people.values()))
    assert set(settle(seen.votes, seen.proba, seen.classes)) == set(seen.votes)
    asked = doubtful(seen.votes, seen.proba, np.full((10, len(seen.classes)), 1 / len(seen.classes)), n, seen.classes)
    assert len(asked) == len(set(asked)) <= n
    assert set(asked) <= set(found.labels)


@settings(deadline=None, max_examples=40)
@given(seen=worlds, seed=st.integers(0, 1000))
def test_the_order_of_items_people_and_classes_does_not_matter(seen: World, seed: int) -> None:
    turned = {item: dict(reversed(given.items())) for item, given in reversed(seen.votes.items())}
    order = np.random.default_rng(seed).permutation(len(seen.classes))
    classes = tuple(seen.classes[place] for place in order)
    proba = {item: row[order] for item, row in reversed(seen.proba.items())}
    one, other = crowdlab(seen.votes, seen.proba, seen.classes), crowdlab(turned, proba, classes)
    assert other.people == pytest.approx(one.people)
    assert other.model == pytest.approx(one.model)
    for item in one.labels:
        assert other.posterior[item] == pytest.approx(one.posterior[item][order], abs=1e-9)
    same = crowdlab(turned, dict(reversed(seen.proba.items())), seen.classes)
    assert same.labels == one.labels
    assert all((same.posterior[item] == one.posterior[item]).all() for item in one.posterior)
    chosen = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), size=20)
    asked = doubtful(seen.votes, seen.proba, chosen, 15, seen.classes)
    assert doubtful(turned, dict(reversed(seen.proba.items())), chosen, 15, seen.classes) == asked


def drawn(heat: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities that were then made as much surer as the temperature takes away."""
    rng = np.random.default_rng(seed)
    right = rng.dirichlet(np.ones(3), size=n)
    codes = (rng.random((n, 1)) > right.cumsum(axis=1)).sum(axis=1)
    sure = right**heat
    return sure / sure.sum(axis=1, keepdims=True), codes


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_tempered_probabilities_are_as_sure_as_they_are_right(heat: float) -> None:
    """Within 4 standard errors of a share of 5000 labels."""
    proba, codes = drawn(heat, 5000, 3)
    found = temper(proba, codes)
    assert found.sum(axis=1) == pytest.approx(1)
    assert np.mean(found.argmax(axis=1) == codes) == pytest.approx(found.max(axis=1).mean(), abs=4 * 0.5 / 5000**0.5)
    clear = proba.min(axis=1) > 1e-5
    before, after = (np.log(each[clear, 0] / each[clear, 1]) for each in (proba, found))
    assert before == pytest.approx(heat * after, rel=0.1)


def test_temperatures_are_bounded_and_nothing_is_nothing() -> None:
    proba = np.array([[0.6, 0.4], [0.4, 0.6]])
    surest = temper(proba, np.array([0, 1]))
    assert surest[0, 0] == pytest.approx(0.6**10 / (0.6**10 + 0.4**10), abs=1e-4)
    assert temper(proba, np.array([1, 0]))[0] == pytest.approx([0.5101, 0.4899], abs=1e-3)
    assert temper(np.empty((0, 3)), np.empty(0, dtype=np.int64)).shape == (0, 3)
    assert np.isfinite(temper(np.array([[1.0, 0.0]]), np.array([1]))).all()


@dataclass(frozen=True)
class Blobs:
    X: np.ndarray
    truth: np.ndarray
    labels: dict[int, str]
    proba: Chances
    classes: tuple[str, ...] = ("a", "b", "c")

    @property
    def wrong(self) -> set[int]:
        return {item for item, label in self.labels.items() if label != self.classes[self.truth[item]]}


def blobs(seed: int, flipped: float, margin: bool, n: int = 400) -> Blobs:
    """Three overlapping clouds; `n` items with labels, chosen at random, or all but 40 by margin."""
    X, truth = make_blobs(1500, centers=np.array([[0, 0], [3, 0], [0, 3]]), random_state=seed)
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(truth)) < flipped, (truth + rng.integers(1, 3, size=len(truth))) % 3, truth)
    known = rng.permutation(len(truth))[: 40 if margin else n]
    while len(known) < n:
        model = LogisticRegression().fit(X[known], said[known])
        rest = np.setdiff1d(np.arange(len(truth)), known)
        two = np.sort(model.predict_proba(X[rest]), axis=1)
        known = np.concatenate([known, rest[np.argsort(two[:, -1] - two[:, -2])[:20]]])
    proba = cross_val_predict(LogisticRegression(), X[known], said[known], cv=5, method="predict_proba")
    labels = {int(item): "abc"[said[item]] for item in known}
    return Blobs(X, truth, labels, dict(zip(labels, proba, strict=True)))


@pytest.mark.parametrize("margin", [False, True])
def test_most_suspects_among_random_labels_are_wrong_and_fewer_where_hard_items_were_chosen(margin: bool) -> None:
    """At random 9 of 10 are wrong, by margin 2 of 5 at least; a tenth of all labels is. Five seeds of 20 suspects."""
    seen = [blobs(seed, 0.1, margin) for seed in range(5)]
    found = [suspects(each.labels, each.proba, each.X, each.classes) for each in seen]
    assert all(len(each) <= 20 for each in found)
    hits = [suspect.item in each.wrong for each, some in zip(seen, found, strict=True) for suspect in some]
    assert np.mean(hits) > (0.4 if margin else 0.9)


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_without_the_neighbours_they_are_cleanlabs_issues_in_its_order(seed: int, margin: bool) -> None:
    seen = blobs(seed, 0.15, margin)
    items = sorted(seen.labels)
    given = np.array([seen.classes.index(seen.labels[item]) for item in items])
    proba = np.array([seen.proba[item] for item in items])
    suggested, _ = quality._off_diagonal(given, proba)
    wanted = find_label_issues(given, proba, filter_by="confident_learning", n_jobs=1)
    assert set(np.flatnonzero(suggested != given)) == set(np.flatnonzero(wanted))
    found = suspects(seen.labels, seen.proba, seen.X, seen.classes, most=1)
    by_theirs = get_label_quality_scores(given, proba, method="normalized_margin")
    scores = [by_theirs[items.index(suspect.item)] for suspect in found]
    assert scores == sorted(scores)
    assert [suspect.margin for suspect in found] == pytest.approx([2 * score - 1 for score in scores])


def test_a_suspect_says_what_is_suggested_and_how_many_neighbours_have_it() -> None:
    """Item 0 lies among the b; item 1, which the model finds as wrong, among the a, as its label says."""
    X = np.array([[0.0], [10.0], *[[0.01 * i] for i in range(20)], *[[10 + 0.01 * i] for i in range(20)]])
    labels = {0: "a", 1: "a"} | {item: "b" if item < 22 else "a" for item in range(2, 42)}
    proba = {item: np.array([0.9, 0.1] if label == "a" else [0.2, 0.8]) for item, label in labels.items()}
    proba |= {0: np.array([0.05, 0.95]), 1: np.array([0.02, 0.98])}
    (found,) = suspects(labels, proba, X, ("a", "b"))
    assert (found.item, found.given, found.suggested, found.neighbours) == (0, "a", "b", 10)
    assert found.margin == pytest.approx(-0.9)
    assert suspects(labels, proba, sparse.csr_matrix(X), ("a", "b")) == (found,)
    assert suspects(labels, proba, X.astype(np.float32), ("a", "b"), most=0.02) == ()


def test_no_more_than_the_share_is_ever_listed_and_the_order_of_labels_does_not_matter() -> None:
    seen = blobs(1, 0.4, margin=False)
    found = suspects(seen.labels, seen.proba, seen.X, seen.classes)
    assert len(found) == 20
    turned = dict(reversed(seen.labels.items()))
    assert suspects(turned, dict(reversed(seen.proba.items())), seen.X, seen.classes) == found
    assert [each.margin for each in found] == sorted(each.margin for each in found)
    assert len(suspects(seen.labels, seen.proba, seen.X, seen.classes, most=0.01)) == 4


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_of_a_few_labels_there_are_few_suspects_or_none(n: int) -> None:
    labels = dict.fromkeys(range(n), "a")
    assert suspects(labels, {item: np.array([0.1, 0.9]) for item in labels}, np.zeros((n, 2)), ("a", "b")) == ()
