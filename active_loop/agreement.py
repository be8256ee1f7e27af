"""How far people agree who answered the same items: Krippendorff's α, Cohen's κ, and the share of equal answers.

Each answer becomes a point: a class one 1 among zeros, several classes a row of 0 and 1, a number itself. α and κ are
then one minus the mean squared distance of two answers to the same item, over the one that chance alone would give.
So α is nominal for classes, interval for numbers, and pooled over the labels where an item may have several; κ is
Cohen's for classes, and the one with quadratic weights for numbers.

A figure is about the items that two people or more answered, and says how many these are. Below `FEWEST` of them there
is none, nor where everybody gave one and the same answer, since chance would have given it too. Nothing here orders
people by what it finds.

K. Krippendorff, *Computing Krippendorff's alpha-reliability* (2011); *Content analysis*, 4th ed. (2019), ch. 12.
J. Cohen, *A coefficient of agreement for nominal scales*, Educ. Psychol. Meas. 20 (1960); with weights: Psychol. Bull.
70 (1968).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .consensus import Votes
from .evaluate import lower_bound, upper_bound
from .tasks import Task

FEWEST: Final = 30
"""Items that two people or more answered, below which nothing is said."""

_CONFUSED: Final = 5
"""Items on which two classes, or answers about one label, stood against each other, before that is called hard."""

_DRAWS: Final = 1000
_SEED: Final = 20260101

Reals = NDArray[np.float64]

_NOBODY: Final[Reals] = np.array([0.0, 1.0])
"""An item on which nobody agrees, as a share and the 1 that it is a share of."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval, by a bootstrap over the `n` items that it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree, of all people together.

    `n_items` were answered by two of the `n_people` or more. `observed` is the share of pairs of answers to one item
    that agree (that the task's consensus would settle), each item counted once; `alpha` is what is left of it beyond
    chance. `by_class` is α of one class against the rest, in the order of the classes; empty for numbers. `hardest`
    names the two classes that stand against each other most often, or the one label; empty where that is rare.
    """

    n_items: int
    n_people: int
    observed: Figure | None
    alpha: Figure | None
    by_class: Mapping[str, Figure | None]
    hardest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people on the `n` items that both answered; no figures if these are too few."""

    people: tuple[str, str]
    n: int
    observed: Figure | None
    kappa: Figure | None


@dataclass(frozen=True, slots=True)
class People:
    """How far each person agrees with the others, by name and not by what was found.

    `against_others` is κ of a person and all others who answered the same items, taken together: each item counts once.
    """

    against_others: Mapping[str, Figure | None]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Constancy:
    """Of `n` questions that were put to the same person again, `same` got the same answer.

    `low` and `high` bound the share with 95 % confidence, exactly (Clopper & Pearson 1934).
    """

    n: int
    same: int
    low: float
    high: float


def constancy(repeated: Mapping[int, Mapping[str, tuple[str, str]]], task: Task) -> Constancy:
    """How often people say the same again; `repeated` is item → person → vote, and label at the repetition.

    Labels are the same where two votes for them would be unanimous: numbers within the task's tolerance.

    >>> from active_loop.tasks import SingleChoice
    >>> found = constancy({0: {"ann": ("cat", "cat")}, 1: {"ann": ("cat", "dog")}}, SingleChoice(("cat", "dog")))
    >>> found.n, found.same, round(found.low, 3), round(found.high, 3)
    (2, 1, 0.013, 0.987)
    """
    pairs = [pair for of_item in repeated.values() for pair in of_item.values()]
    same = sum(task.consensus(pair).agreement == 1 for pair in pairs)
    low, high = (lower_bound(same, len(pairs), 0.025), upper_bound(same, len(pairs), 0.025)) if pairs else (0.0, 1.0)
    return Constancy(len(pairs), same, low, high)


def sentence_of_constancy(found: Constancy) -> str:
    """How constant people are, in one line; empty before a question was repeated.

    >>> sentence_of_constancy(Constancy(40, 38, 0.831, 0.994))
    'people say the same again: 38 of 40 repeated questions [0.83 – 0.99]'
    """
    if not found.n:
        return ""
    return (
        f"people say the same again: {found.same} of {found.n} repeated questions [{found.low:.2f} – {found.high:.2f}]"
    )


def agreement(votes: Votes, task: Task, fewest: int = FEWEST) -> Agreement:
    """How far all people agree; no figure on fewer than `fewest` items. The order of items and people does not matter.

    Raises `DataError` for a vote that is no label of the task.
    """
    table = _Table.of(votes, task)
    names = task.classes if len(table.items) else ()
    return Agreement(
        n_items=len(table.items),
        n_people=len({person for item in table.items for person in votes[item]}),
        observed=_figure(table.agreed, _NOBODY, _share, fewest),
        alpha=_alpha(table.answers, table.starts, fewest),
        by_class={
            name: _alpha(table.answers[:, [place]], table.starts, fewest)
            for place, name in enumerate(names)
            if task.kind != "number"
        },
        hardest=_hardest(table, task),
    )


def people(votes: Votes, task: Task, fewest: int = FEWEST) -> People:
    """How far each person agrees with the others, and each two people; no figure on fewer than `fewest` items."""
    table = _Table.of(votes, task)
    named = sorted({person for item in table.items for person in votes[item]})
    answered = {person: {i for i, item in enumerate(table.items) if person in votes[item]} for person in named}
    return People(
        against_others={
            person: _kappa(*_against(table, votes, person, sorted(answered[person])), fewest) for person in named
        },
        pairs=tuple(
            _pair(table, votes, task, (a, b), sorted(answered[a] & answered[b]), fewest)
            for a, b in combinations(named, 2)
            if answered[a] & answered[b]
        ),
    )


def differences(votes: Votes, task: Task) -> list[tuple[tuple[str, ...], int]]:
    """The two classes, or the one label, on which people differ, and on how many items each; the most items first.

    Those with equally many are in the order of the task's classes. Empty for numbers.

    >>> from active_loop.tasks import SingleChoice
    >>> votes = {0: {"ann": "cat", "bob": "dog"}, 1: {"ann": "cat", "bob": "cat"}}
    >>> differences(votes, SingleChoice(("cat", "dog")))
    [(('cat', 'dog'), 1)]
    """
    return _differences(_Table.of(votes, task), task)


def sentence(found: Agreement) -> str:
    """How far people agree, in one line; empty before two people answered one item.

    >>> observed, alpha = Figure(0.9, 0.86, 0.94, 120), Figure(0.81, 0.74, 0.87, 120)
    >>> sentence(Agreement(120, 3, observed, alpha, {}, ("cat", "dog")))
    'people agree: α 0.81 [0.74 – 0.87] on 120 items with two answers or more; hardest: cat/dog'
    """
    if not found.n_items:
        return ""
    items = f"{found.n_items} item{'s' if found.n_items > 1 else ''} with two answers or more"
    if not found.observed:
        return f"people agree: not known yet, by {items}; it takes {FEWEST}"
    read, name = (found.alpha, "α") if found.alpha else (found.observed, "share of equal answers")
    hardest = f"; hardest: {'/'.join(found.hardest)}" if found.hardest else ""
    return f"people agree: {name} {read.value:.2f} [{read.low:.2f} – {read.high:.2f}] on {items}{hardest}"


@dataclass(frozen=True, slots=True)
class _Table:
    """The items with two answers or more, in order; the answers (n_answers, D) item by item, people in order of names.

    `starts` says where each item's answers begin; `agreed` (n_items, 2) is its share of agreeing pairs, and 1.
    """

    items: tuple[int, ...]
    answers: Reals
    starts: NDArray[np.int64]
    agreed: Reals

    @classmethod
    def of(cls, votes: Votes, task: Task) -> _Table:
        items = tuple(item for item in sorted(votes) if len(votes[item]) > 1)
        sizes = [len(votes[item]) for item in items]
        labels = [[votes[item][person] for person in sorted(votes[item])] for item in items]
        flat = [label for each in labels for label in each]
        settled = _settled(task)
        share = {each: np.mean([settled(*two) for two in combinations(each, 2)]) for each in map(_sorted, labels)}
        return cls(
            items=items,
            answers=_points(task, flat),
            starts=np.cumsum([0, *sizes[:-1]], dtype=np.int64) if sizes else np.empty(0, dtype=np.int64),
            agreed=np.array([[share[_sorted(each)], 1.0] for each in labels]).reshape(-1, 2),
        )

    def row(self, votes: Votes, place: int, person: str) -> int:
        """Where a person's answer to the item at `place` stands."""
        return int(self.starts[place]) + sorted(votes[self.items[place]]).index(person)


def _sorted(labels: list[str]) -> tuple[str, ...]:
    return tuple(sorted(labels))


def _settled(task: Task) -> Callable[[str, str], bool]:
    """Whether two answers agree: whether the task would make a label of them."""
    known: dict[tuple[str, str], bool] = {}

    def settled(a: str, b: str) -> bool:
        if (a, b) not in known:
            known[a, b] = task.consensus([a, b]).label is not None
        return known[a, b]

    return settled


def _points(task: Task, labels: list[str]) -> Reals:
    """Answers as points (n, D); numbers are moved and scaled, which changes no figure and saves digits."""
    codes: NDArray[Any] = np.asarray(task.encode(labels))
    if not labels:
        return np.empty((0, 1))
    one_each = np.eye(len(task.classes))
    points: Reals = one_each[codes] if task.kind == "choice" else codes.astype(np.float64).reshape(len(labels), -1)
    if task.kind == "number":
        points = points / (np.abs(points).max() or 1.0)
        points = points - points.mean()
    return points


def _alpha(answers: Reals, starts: NDArray[np.int64], fewest: int) -> Figure | None:
    """Krippendorff's α of answers (n_answers, D), by squared distance."""
    if not len(starts):
        return None
    sizes: NDArray[Any] = np.diff([*starts, len(answers)])
    sums = np.add.reduceat(answers, starts, axis=0)
    squares = np.add.reduceat((answers**2).sum(axis=1), starts)
    apart = 2 * (sizes * squares - (sums**2).sum(axis=1)) / (sizes - 1)
    parts = np.column_stack([sizes, squares, apart, sums])
    mean = parts.mean(axis=0)
    mean[2] = mean[0] * _spread(parts.sum(axis=0)) / (sizes.sum() * (sizes.sum() - 1))
    return _figure(parts, mean, _alpha_of, fewest)


def _spread(total: Reals) -> Any:
    """Squared distances between all ordered pairs of answers, whatever their items."""
    return 2 * (total[..., 0] * total[..., 1] - (total[..., 3:] ** 2).sum(axis=-1))


def _alpha_of(total: Reals) -> Reals:
    """α from sums over items of: answers, their squares, the distances within, the answers themselves."""
    return _beyond_chance((total[..., 0] - 1) * total[..., 2], _spread(total))


def _beyond_chance(found: Reals, by_chance: Reals) -> Reals:
    """One minus a ratio of distances; NaN where chance gives none."""
    none = by_chance <= 1e-12
    result: Reals = np.where(none, np.nan, 1 - found / np.where(none, 1.0, by_chance))
    return result


def _against(table: _Table, votes: Votes, person: str, places: list[int]) -> tuple[Reals, Reals, Reals]:
    """A person's answers, the mean of the others' on the same items, and the mean of their squares."""
    own, others, squares = [], [], []
    ends = [*table.starts[1:], len(table.answers)]
    for place in places:
        row = table.row(votes, place, person)
        rest = np.delete(table.answers[table.starts[place] : ends[place]], row - table.starts[place], axis=0)
        own.append(table.answers[row])
        others.append(rest.mean(axis=0))
        squares.append((rest**2).sum(axis=1).mean())
    return np.array(own), np.array(others), np.array(squares)


def _pair(table: _Table, votes: Votes, task: Task, two: tuple[str, str], places: list[int], fewest: int) -> Pair:
    rows = [[table.row(votes, place, person) for place in places] for person in two]
    a, b = (table.answers[each] for each in rows)
    settled = _settled(task)
    equal = [settled(*sorted(votes[table.items[place]][person] for person in two)) for place in places]
    agreed = np.array([[share, 1.0] for share in equal])
    observed = _figure(agreed, _NOBODY, _share, fewest)
    return Pair(two, len(places), observed, _kappa(a, b, (b**2).sum(axis=1), fewest))


def _kappa(a: Reals, b: Reals, squares: Reals, fewest: int) -> Figure | None:
    """Cohen's κ of two columns of answers (n, D), by squared distance; `squares` (n,) are those of the second."""
    width = a.shape[1]
    parts = np.column_stack([np.ones(len(a)), (a**2).sum(axis=1) + squares, (a * b).sum(axis=1), a, b])
    mean = parts.mean(axis=0)
    mean[2] = mean[3 : 3 + width] @ mean[3 + width :]

    def kappa(total: Reals) -> Reals:
        n, both = total[..., 0], total[..., 3 : 3 + width] * total[..., 3 + width :]
        squared = n * total[..., 1]
        return _beyond_chance(squared - 2 * n * total[..., 2], squared - 2 * both.sum(axis=-1))

    return _figure(parts, mean, kappa, fewest)


def _share(total: Reals) -> Reals:
    result: Reals = total[..., 0] / np.maximum(total[..., 1], 1e-12)
    return result


def _figure(parts: Reals, chance: Reals, read: Callable[[Reals], Reals], fewest: int) -> Figure | None:
    """What `read` makes of the sum of the items' parts (n, k), with its interval.

    Among the items drawn there is one more, answered as by `chance` (k,): otherwise people who never differed would
    be said to agree for sure. Draws that leave nothing to read are left out.
    """
    n = len(parts)
    value = float(read(parts.sum(axis=0))) if n >= fewest else np.nan
    if np.isnan(value):
        return None
    rows, counts = np.unique(parts, axis=0, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(n, np.append(counts, 1) / (n + 1), size=_DRAWS)
    found = read(drawn.astype(np.float64) @ np.vstack([rows, chance]))
    low, high = np.quantile(found[~np.isnan(found)], [0.025, 0.975])
    return Figure(value, float(min(low, value)), float(max(high, value)), n)


def _hardest(table: _Table, task: Task) -> tuple[str, ...]:
    """The classes, or the label, on which most items have answers against each other; the first of several."""
    most = _differences(table, task)[:1]
    return most[0][0] if most and most[0][1] >= _CONFUSED else ()


def _differences(table: _Table, task: Task) -> list[tuple[tuple[str, ...], int]]:
    if task.kind == "number" or not len(table.items):
        return []
    sizes = np.diff([*table.starts, len(table.answers)])
    named = np.add.reduceat(table.answers, table.starts, axis=0)
    if task.kind == "choice":
        against: NDArray[Any] = np.triu((named > 0).T.astype(np.int64) @ (named > 0), k=1)
    else:
        against = ((named > 0) & (named < sizes[:, None])).sum(axis=0)
    found = [
        (tuple(task.classes[place] for place in places), int(against[tuple(places)]))
        for places in np.argwhere(against).tolist()
    ]
    return sorted(found, key=lambda each: -each[1])
