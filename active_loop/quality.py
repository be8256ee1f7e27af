"""How far each label can be trusted, by what people and the model say of it.

People are weighed by how often they agree with each other, the model by how often it agrees with what they come to; a
label's quality is then the weighted mean of what all of them make of it (CROWDLAB). From this follow a rule to merge
votes (`settle`), which labels are worth a second answer more than a new item is worth a first (ActiveLab: `doubtful`),
and from the model alone which labels look wrong (confident learning: `suspects`). Everything is about one class per
item, and about probabilities of models that did not learn from the item's own label. No label is changed or left out
here because a model says so, except that `settle` may lean to the model where people differ.

Where the papers leave a case open:

* Only items that have both votes and probabilities count. Nobody can be weighed (`too_few` says why) before 30 of them
  have two votes or more, nor while all of those come to one class, since agreement is measured by how far it exceeds
  naming the commonest class. Then the majority is the label, everybody weighs 1, and the quality of a label is the
  probability that the model gives it, as ActiveLab has it for a single annotator.
* Who is no better than naming the commonest class weighs 10⁻⁶ and not less; who shared no item is taken to agree with
  others as often as people do on average.
* A tie of votes goes to the class that the model finds likelier, then to the one with fewer votes in all, then to the
  first by name; a tie of the model counts as right in part.
* Weights are found twice, by the majority and again by the labels that follow, as the authors' own library does.

That library, cleanlab 2.9, differs: it weighs people from one shared item on, and lets whoever errs weigh 10⁻⁶ where
all come to one class; it breaks the last ties at random; and its temperature, of a grid, is not that of the votes,
since it counts those of an item for the first classes, whichever they were for.

H. W. Goh, U. Tkachenko, J. Mueller, *CROWDLAB* (2022), section 4. H. W. Goh, J. Mueller, *ActiveLab* (2023), section 3.
C. Guo and others, *On calibration of modern neural networks* (2017), section 4.2. C. Northcutt, L. Jiang, I. Chuang,
*Confident learning*, JAIR 70 (2021), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.neighbors import NearestNeighbors

from .consensus import Places, Reals, Votes
from .domain import Consensus
from .tasks import majority

Chances = Mapping[int, Reals]
"""item → how likely each class is (C,), by a model that did not learn from this item's label."""

_LEAST: Final = 1e-6
"""Least weight of anybody, and least probability of anything."""

_SHARED: Final = 30
"""Items with two votes or more and probabilities, below which nobody is weighed."""

_LEAD: Final = 0.05
"""How far the quality of a label must exceed that of any other class. What it is itself says little: with several
classes labels of quality 0.3 are mostly right, with two none is below 0.5. Of labels with less of a lead half to two
thirds were right in simulations (see docs/people.md)."""

_COLDEST: Final = 0.1
_HOTTEST: Final = 10.0


@dataclass(frozen=True, slots=True)
class Trust:
    """What people and model come to, for the items that have both votes and probabilities.

    `labels` are the likeliest classes, `posterior` how likely each class is (C,), in the order of the classes; the
    quality of any label of an item is its entry there. `people` and `model` are the weights, all 1 if nobody could be
    weighed.
    """

    labels: Mapping[int, str]
    posterior: Mapping[int, Reals]
    people: Mapping[str, float]
    model: float

    def quality(self, classes: Sequence[str]) -> dict[int, float]:
        """How likely each item's label is."""
        return {item: float(self.posterior[item][classes.index(label)]) for item, label in self.labels.items()}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that looks wrong: what was `given`, and what is `suggested` instead.

    `margin` is the probability of the given class less that of the likeliest other one, the lower the worse;
    `neighbours` of the nearest labelled items carry the suggested class.
    """

    item: int
    given: str
    suggested: str
    margin: float
    neighbours: int


def temper(proba: Reals, codes: Places) -> Reals:
    """Held-out probabilities (n, C) made as sure as they are right, by one temperature from 0.1 to 10; also (n, C).

    The temperature is that under which the labels (n,), as places of classes, are likeliest; 1 without any labels.
    Probabilities below 10⁻⁶ count as that: a class of which a model has seen nothing is not impossible.
    """
    return _tempered(proba, _temperature(proba, np.eye(proba.shape[1])[codes]))


def too_few(votes: Votes, proba: Chances, classes: Sequence[str]) -> str:
    """Why these votes and probabilities do not say how far to trust anybody; empty if they may."""
    table = _Table.of(votes, proba, classes)
    n = int(table.shared.sum())
    if n < _SHARED:
        return (
            f"{n} item{'' if n == 1 else 's'} with predictions {'has' if n == 1 else 'have'} two answers or more, "
            f"and {_SHARED} must have"
        )
    if table.accuracy(table.majority())[0] == 1:
        return f"the answers to all {n} items that several people answered come to one class"
    return ""


def crowdlab(votes: Votes, proba: Chances, classes: Sequence[str]) -> Trust:
    """Labels with their quality, from one vote or more per item and the model's probabilities.

    The order of items, people and classes does not matter.
    """
    table = _Table.of(votes, proba, classes)
    label, (posterior, people, model) = _weighed(table)
    return Trust(
        labels={item: classes[code] for item, code in zip(table.items, label, strict=True)},
        posterior=dict(zip(table.items, posterior, strict=True)),
        people=dict(zip(table.people, people.tolist(), strict=True)),
        model=model,
    )


def settle(votes: Votes, proba: Chances, classes: Sequence[str]) -> dict[int, Consensus]:
    """What the votes on each item come to, two or more of them; `agreement` is the share that is for the label.

    The label of `crowdlab` on tempered probabilities, whether or not anybody gave it, if its quality exceeds that of
    any other class by 0.05 or more; else the votes are disputed. But the model counts for no more than people do on
    average (times the square root of the answers per item): where one class is common, people who are often right still
    seldom agree more often than that class occurs, and the model alone would make the labels that it learns from. By
    the majority for items without probabilities, and for all if there are `too_few`.
    """
    found = {item: majority([*given.values()]) for item, given in votes.items()}
    if too_few(votes, proba, classes):
        return found
    table = _Table.of(votes, _evened(votes, proba, classes)[0], classes)
    label, (posterior, _, _) = _weighed(table, capped=True)
    for item, code, qualities in zip(table.items, label, posterior, strict=True):
        given, name = [*votes[item].values()], classes[code]
        sure = qualities[code] >= np.delete(qualities, code).max() + _LEAD
        found[item] = Consensus(name, given.count(name) / len(given)) if sure else Consensus()
    return found


def doubtful(votes: Votes, held_out: Chances, chosen: Reals, n: int, classes: Sequence[str]) -> list[int]:
    """Labelled items of which another answer is worth more than a first one of an unlabelled item; most wanted first.

    `chosen` (m, C) are the model's probabilities of the unlabelled items that a strategy chose. Of these and of the
    items with votes and probabilities the `n` with the lowest ActiveLab score are taken, and the labelled ones among
    them are named. Equal scores: unlabelled ones first, then by number.
    """
    weighed = not too_few(votes, held_out, classes)
    proba, heat = _evened(votes, held_out, classes) if weighed else (held_out, 1.0)
    table = _Table.of(votes, proba, classes)
    label, (posterior, people, model) = _weighed(table)
    mean = float(people.mean()) if len(people) else 1.0
    heard = np.bincount(table.item, weights=people[table.person], minlength=len(table.items)) + model
    quality = posterior[np.arange(len(label)), label]
    known = (heard * quality + mean / len(classes)) / (heard + mean)
    new = (model * _tempered(chosen, heat).max(axis=1) + mean / len(classes)) / (model + mean)
    first = np.argsort(np.concatenate([new, known]), kind="stable")[: max(0, n)]
    return [table.items[place - len(new)] for place in first if place >= len(new)]


def suspects(
    labels: Mapping[int, str],
    proba: Chances,
    X: Any,
    classes: Sequence[str],
    *,
    most: float = 0.05,
    neighbours: int = 10,
) -> tuple[Suspect, ...]:
    """Labels that look wrong, the worst first: at most a share `most` of those that have probabilities.

    The model must find another class likelier than the label, and at least as likely as that class is on average where
    it is the label. And most of the nearest labelled items (euclidean) must carry another label than this one: models
    are least to be trusted on items that were chosen because they are hard. `X` has one row per item, dense or sparse:
    row i belongs to item i. Equal margins: by number of the item.
    """
    items = np.array(sorted(labels.keys() & proba.keys()), dtype=np.int64)
    if len(items) < 2:
        return ()
    code = {name: place for place, name in enumerate(classes)}
    given = np.array([code[labels[item]] for item in items], dtype=np.int64)
    chances = np.array([proba[item] for item in items], dtype=np.float64)
    suggested, margin = _off_diagonal(given, chances)
    at = np.flatnonzero(suggested != given)
    near = given[_nearest(X[items], at, min(neighbours, len(items) - 1))]
    other = 2 * (near != given[at, None]).sum(axis=1) > near.shape[1]
    alike = (near == suggested[at, None]).sum(axis=1)
    order = [place for place in np.lexsort((items[at], margin[at])) if other[place]]
    return tuple(
        Suspect(
            item=int(items[at[place]]),
            given=classes[given[at[place]]],
            suggested=classes[suggested[at[place]]],
            margin=float(margin[at[place]]),
            neighbours=int(alike[place]),
        )
        for place in order[: int(most * len(items))]
    )


def _off_diagonal(given: Places, chances: Reals) -> tuple[Places, Reals]:
    """Which class each item counts for in the confident joint, its own if that is the likeliest, and its margin."""
    rows, n_classes = np.arange(len(given)), chances.shape[1]
    there = np.bincount(given, minlength=n_classes)
    wanted = np.bincount(given, weights=chances[rows, given], minlength=n_classes) / np.maximum(there, 1)
    enough = (chances >= wanted) & (there > 0)
    suggested = np.where(enough, chances, -1.0).argmax(axis=1)
    others = chances.copy()
    others[rows, given] = -1.0
    margin = chances[rows, given] - others.max(axis=1)
    return np.where(enough.any(axis=1) & (margin < 0), suggested, given), margin


def _nearest(X: Any, at: Places, n: int) -> Places:
    """The `n` rows (len(at), n) that are nearest to each of the rows `at`, themselves left out."""
    if not len(at):
        return np.empty((0, n), dtype=np.int64)
    found = NearestNeighbors(n_neighbors=n + 1, algorithm="brute").fit(X).kneighbors(X[at], return_distance=False)
    kept = np.argsort(found == at[:, None], axis=1, kind="stable")[:, :n]
    near: Places = np.take_along_axis(found, kept, axis=1)
    return near


@dataclass(frozen=True, slots=True)
class _Table:
    """Items with votes and probabilities, in order, and all their votes; people in order of names.

    `item`, `person` and `code` are the places of each vote; `counts` the votes (n, C) for each class.
    """

    items: tuple[int, ...]
    people: tuple[str, ...]
    item: Places
    person: Places
    code: Places
    counts: Reals
    proba: Reals
    names: tuple[str, ...]

    @classmethod
    def of(cls, votes: Votes, proba: Chances, classes: Sequence[str]) -> _Table:
        items = tuple(sorted(item for item, given in votes.items() if given and item in proba))
        people = tuple(sorted({person for item in items for person in votes[item]}))
        code, who = ({name: place for place, name in enumerate(names)} for names in (classes, people))
        rows = [
            (place, who[person], code[label])
            for place, item in enumerate(items)
            for person, label in sorted(votes[item].items())
        ]
        item, person, label = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        counts = np.zeros((len(items), len(classes)))
        np.add.at(counts, (item, label), 1.0)
        chances = np.array([proba[item] for item in items], dtype=np.float64).reshape(counts.shape)
        return cls(items, people, item, person, label, counts, chances, tuple(classes))

    @property
    def n_votes(self) -> Reals:
        """(n,) votes per item."""
        total: Reals = self.counts.sum(axis=1)
        return total

    @property
    def shared(self) -> Any:
        """(n,) which items have two votes or more."""
        return self.n_votes > 1

    def majority(self) -> Places:
        """(n,) the class with most votes; ties as the module says."""
        total = self.counts.sum(axis=0)
        by_name = np.argsort(np.argsort(np.array(self.names)))
        keys = (np.broadcast_to(by_name, self.counts.shape), np.broadcast_to(total, self.counts.shape))
        order: Places = np.lexsort((*keys, -self.proba, -self.counts), axis=-1)
        return order[:, 0]

    def accuracy(self, label: Places) -> tuple[float, float]:
        """On items with two votes or more: the share of the commonest of the labels, and that the model names."""
        rows = np.flatnonzero(self.shared)
        if not len(rows):
            return 1.0, 1.0
        best = self.proba[rows] == self.proba[rows].max(axis=1, keepdims=True)
        named = best[np.arange(len(rows)), label[rows]] / best.sum(axis=1)
        return float(np.bincount(label[rows]).max() / len(rows)), float(named.mean())


_Weighed = tuple[Reals, Reals, float]
"""Posterior (n, C), weights of people (P,), weight of the model."""


def _weighed(table: _Table, capped: bool = False) -> tuple[Places, _Weighed]:
    """Labels (n,), and what makes them: weighed by the majority, then by the labels that followed from it."""
    label = table.majority()
    found = _posterior(table, label, capped)
    if found is None:
        return label, (table.proba, np.ones(len(table.people)), 1.0)
    rows, best = np.arange(len(label)), found[0].argmax(axis=1)
    label = np.where(found[0][rows, label] >= found[0][rows, best], label, best)
    return label, _posterior(table, label, capped) or found


def _posterior(table: _Table, label: Places, capped: bool) -> _Weighed | None:
    """What people and model make of each class, weighed by these labels; None where nobody can be weighed.

    Capped, the model is taken to be no better than people are on average.
    """
    shared, n_votes, n_classes = table.shared, table.n_votes, table.counts.shape[1]
    commonest, right = table.accuracy(label)
    if shared.sum() < _SHARED or commonest == 1:
        return None
    people = np.maximum(_LEAST, 1 - (1 - _agreement(table)) / (1 - commonest))
    better = max(_LEAST, 1 - (1 - right) / (1 - commonest))
    model = (min(better, float(people.mean())) if capped else better) * float(np.sqrt(n_votes.mean()))
    agreed = float((table.counts[np.arange(len(label)), label] / n_votes)[shared].mean())
    place = table.item * n_classes + table.code
    said = np.bincount(place, weights=people[table.person], minlength=table.counts.size).reshape(table.counts.shape)
    heard = said.sum(axis=1, keepdims=True)
    spoken = said * agreed + (heard - said) * (1 - agreed) / (n_classes - 1)
    return (table.proba * model + spoken) / (heard + model), people, model


def _agreement(table: _Table) -> Reals:
    """(P,) how often each person's votes equal those of others on the same items; the mean for who shared none."""
    others = table.n_votes[table.item] - 1
    same = table.counts[table.item, table.code] - 1
    pairs = np.bincount(table.person, weights=others, minlength=len(table.people))
    equal = np.bincount(table.person, weights=same, minlength=len(table.people))
    known = pairs > 0
    share = equal / np.maximum(pairs, 1)
    return np.where(known, share, share[known].mean())


def _evened(votes: Votes, proba: Chances, classes: Sequence[str]) -> tuple[dict[int, Reals], float]:
    """Probabilities of the items with votes, tempered by all their votes, and the temperature."""
    table = _Table.of(votes, proba, classes)
    heat = _temperature(table.proba, table.counts / table.n_votes[:, None])
    return dict(zip(table.items, _tempered(table.proba, heat), strict=True)), heat


def _temperature(proba: Reals, shares: Reals) -> float:
    """The temperature under which labels are likeliest, of which each item has these shares (n, C)."""
    if not len(proba):
        return 1.0

    def loss(log_heat: float) -> float:
        return -float((shares * np.log(np.maximum(_tempered(proba, np.exp(log_heat)), 1e-300))).sum() / len(proba))

    found = minimize_scalar(loss, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def _tempered(proba: Reals, heat: float) -> Reals:
    logs = np.log(np.maximum(proba, _LEAST)) / heat
    even = np.exp(logs - logs.max(axis=1, keepdims=True)) if logs.size else logs
    tempered: Reals = even / even.sum(axis=1, keepdims=True)
    return tempered
