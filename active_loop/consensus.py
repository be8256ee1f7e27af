"""What the votes of several people come to, where some people are right more often than others.

Dawid and Skene's model: each item has one true class, and each person a habit, the chance of each answer given the
true class. Neither is known; expectation-maximisation finds the habits that explain the votes best, and with them how
likely each class is for each item. Every person begins with `_BEFORE` answers per class, of which `_RIGHT` are right,
and every class with one item: so a person of whom little is known weighs as much as any other, and nothing is
impossible because it was never seen.

The model is of no use where people seldom answer the same items: then `settle` takes the majority (`too_few` says why).

A. P. Dawid, A. M. Skene, *Maximum likelihood estimation of observer error-rates using the EM algorithm*, Applied
Statistics 28 (1979), with a Dirichlet prior on each row of a habit and on the shares of the classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .domain import Consensus
from .tasks import majority

Votes = Mapping[int, Mapping[str, str]]
"""item → person → label: one vote per person."""

Reals = NDArray[np.float64]
Places = NDArray[np.int64]

_BEFORE: Final = 10.0
_RIGHT: Final = 8.0

_PEOPLE: Final = 3
"""People without whom nobody can tell who is right: of two who differ, each could be."""

_PER_CLASS: Final = 10
"""Answers to items that others answered too, per class, that each of them must have given."""

_SURE: Final = 0.6
"""How likely a class must be to be the label."""

_MOST: Final = 1000
_CHANGE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Inferred:
    """What the votes say about items and people.

    `posterior` is how likely each class is, per item (C,); `confusion` each person's habit (C, C), a row per true class
    that adds up to 1; `shares` of the classes (C,). `converged` says whether the last of the `n_steps` changed nothing
    any more. All are in the order of the classes.
    """

    posterior: Mapping[int, Reals]
    confusion: Mapping[str, Reals]
    shares: Reals
    n_steps: int
    converged: bool


def settle(votes: Votes, classes: Sequence[str]) -> dict[int, Consensus]:
    """What the votes on each item come to, two or more of them; `agreement` is the share that is for the label.

    The likeliest class is the label, if its chance is 0.6 or more, whether or not anybody gave it; else the votes are
    disputed. All by the majority where the model cannot be fitted (see `too_few`), or did not converge.
    """
    found = None if too_few(votes, classes) else dawid_skene(votes, classes)
    if found is None or not found.converged:
        return {item: majority([*given.values()]) for item, given in votes.items()}
    return {item: _likeliest(found.posterior[item], [*given.values()], classes) for item, given in votes.items()}


def too_few(votes: Votes, classes: Sequence[str]) -> str:
    """Why these votes do not say who is right more often; empty if they may."""
    given = Counter(person for people in votes.values() if len(people) > 1 for person in people)
    wanted = _PER_CLASS * len(classes)
    known = sum(n >= wanted for n in given.values())
    if known >= _PEOPLE:
        return ""
    return (
        f"{known} {'person has' if known == 1 else 'people have'} answered {wanted} items or more that others answered "
        f"too, and {_PEOPLE} must have"
    )


def dawid_skene(votes: Votes, classes: Sequence[str]) -> Inferred:
    """The habits that explain these votes best, and what they say of each item; one vote or more per item.

    Starts from the share of votes for each class, and ends when no probability changes by more than 1e-6, or after
    1000 steps. The order of items and of people does not matter. Items with the same votes are fitted as one.
    """
    same = Counter(tuple(sorted(given.items())) for given in votes.values())
    rows, people = sorted(same), sorted({person for given in votes.values() for person in given})
    times = np.array([[float(same[row])] for row in rows])
    code, who = {name: place for place, name in enumerate(classes)}, {name: place for place, name in enumerate(people)}
    item, person, label = np.array(
        [(place, who[name], code[vote]) for place, row in enumerate(rows) for name, vote in row], dtype=np.int64
    ).T
    posterior = _summed(item, np.eye(len(classes))[label], len(rows))
    posterior /= posterior.sum(axis=1, keepdims=True)
    change, n_steps = 1.0, 0
    while change > _CHANGE and n_steps < _MOST:
        weighed = posterior * times
        shares = (weighed.sum(axis=0) + 1) / (len(votes) + len(classes))
        habits = _habits(weighed[item], person, label, len(people))
        logs = np.log(shares) + _summed(item, np.log(habits)[person, :, label], len(rows))
        likely = np.exp(logs - logs.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        change, posterior, n_steps = float(np.abs(likely - posterior).max()), likely, n_steps + 1
    place = {row: at for at, row in enumerate(rows)}
    return Inferred(
        posterior={item: posterior[place[tuple(sorted(given.items()))]] for item, given in votes.items()},
        confusion=dict(zip(people, habits, strict=True)),
        shares=shares,
        n_steps=n_steps,
        converged=change <= _CHANGE,
    )


def _habits(posterior: Reals, person: Places, label: Places, n_people: int) -> Reals:
    """Each person's habit (n_people, C, C); `posterior` (n_votes, C) is that of each vote's items, summed over them."""
    n_classes = posterior.shape[1]
    given = _summed(person * n_classes + label, posterior, n_people * n_classes)
    before = np.full((n_classes, n_classes), (_BEFORE - _RIGHT) / max(1, n_classes - 1))
    np.fill_diagonal(before, _RIGHT)
    counts: Reals = given.reshape(n_people, n_classes, n_classes).swapaxes(1, 2) + before
    counts /= counts.sum(axis=2, keepdims=True)
    return counts


def _summed(place: Places, rows: Reals, n: int) -> Reals:
    """Sums (n, C) of the rows that stand for the same place."""
    return np.column_stack([np.bincount(place, weights=column, minlength=n) for column in rows.T])


def _likeliest(posterior: Reals, votes: Sequence[str], classes: Sequence[str]) -> Consensus:
    place = int(posterior.argmax())
    if posterior[place] < _SURE:
        return Consensus()
    return Consensus(classes[place], votes.count(classes[place]) / len(votes))
