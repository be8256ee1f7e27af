"""Several candidates that predict together, weighted: with few labels a mixture is a safer bet than the best one.

A mixture's name says all of it, so that it is made again from its name alone: "0.6 svm + 0.4 lda, T=0.8".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.ensemble import VotingClassifier, VotingRegressor

from ..learner import Tempered, tempered
from .evaluation import Evaluation, Lessons, Reals
from .race import Tally
from .space import Candidate, variation

_STEPS: Final = 10
"""Draws of a mixture: weights are tenths."""

_FEWEST: Final = 10
"""Labels of each class below which chances are taken as they are."""

_PRIOR: Final = 5.0
"""How many labels' worth of evidence (nats) speak against a temperature of e."""

_PARTS: Final = 5
_TEMPERATURE: Final = ", T="


@dataclass(frozen=True, slots=True)
class Mixture:
    """The weights of candidates by name, the heaviest first, adding up to 1; and the temperature of their chances."""

    parts: Mapping[str, float]
    temperature: float = 1.0

    @property
    def name(self) -> str:
        """As it stands in the record. The name of a single candidate is its own."""
        alone = len(self.parts) == 1
        listed = " + ".join(name if alone else f"{weight:g} {name}" for name, weight in self.parts.items())
        return listed if self.temperature == 1 else f"{listed}{_TEMPERATURE}{self.temperature:g}"

    @classmethod
    def of(cls, name: str) -> Mixture:
        """The mixture of this name.

        >>> Mixture.of("0.6 svm + 0.4 logistic(C=1), T=0.8")
        Mixture(parts={'svm': 0.6, 'logistic(C=1)': 0.4}, temperature=0.8)
        >>> Mixture.of("lda").parts
        {'lda': 1.0}
        """
        listed, marked, temperature = name.rpartition(_TEMPERATURE)
        listed = listed if marked else name
        parts = [part.partition(" ") for part in listed.split(" + ")]
        weights = {each: float(weight) for weight, _, each in parts if each} if " + " in listed else {listed: 1.0}
        return cls(weights, float(temperature) if marked else 1.0)

    def candidate(self, listed: Sequence[Candidate], kind: str) -> Candidate | None:
        """What learns, of candidates of a kind of label; None if one of its parts is not among them."""
        found = [variation(listed, name) for name in self.parts]
        known = [each for each in found if each]
        if len(known) < len(found):
            return None
        estimator = known[0].estimator
        if len(known) > 1:
            named, weights = [(each.name, each.estimator) for each in known], list(self.parts.values())
            if kind == "number":
                estimator = VotingRegressor(named, weights=weights)
            else:
                estimator = VotingClassifier(named, voting="soft", weights=weights)
        if self.temperature != 1:
            estimator = Tempered(estimator, self.temperature)
        return Candidate(self.name, estimator)

    def is_of(self, names: Collection[str]) -> bool:
        """Whether all of its parts are among these."""
        return self.parts.keys() <= set(names)

    def tally(self, complete: Mapping[str, Tally], told: Told) -> Tally:
        """What comes of it, by what its parts predicted, all of which completed a repeat."""
        parts = [(complete[name], weight) for name, weight in self.parts.items()]
        n = min(len(tally.predicted) for tally, _ in parts)
        predicted = [np.sum([weight * tally.predicted[place] for tally, weight in parts], axis=0) for place in range(n)]
        if self.temperature != 1:
            predicted = [tempered(each, self.temperature) for each in predicted]
        return Tally(Candidate(self.name, None), [told.losses(each) for each in predicted], predicted)


@dataclass(frozen=True, slots=True)
class Told:
    """The labels that candidates were compared on, and how."""

    lessons: Lessons
    evaluation: Evaluation

    def losses(self, predicted: Reals) -> Reals:
        """The losses (n,) of what was predicted (n, …) of places that were held out; of others not a number."""
        held = np.flatnonzero(np.isfinite(predicted.reshape(len(predicted), -1)).all(axis=1))
        losses = np.full(len(predicted), np.nan)
        losses[held] = self.evaluation.losses(self.lessons, held, predicted[held])
        return losses


def best_mixture(complete: Mapping[str, Tally], told: Told, most: int) -> Mixture:
    """The mixture of at most so many candidates with the lowest loss, found step by step.

    Ten times the candidate is added, again or anew, with which the mean of all that were added has the lowest loss on
    the places that were held out (ensemble selection, Caruana et al. 2004, section 2), on the repeats that all of them
    completed. Weak candidates that differ from the others come in this way, which the best one alone would not show.
    """
    names = list(complete)
    n = min(len(tally.predicted) for tally in complete.values())
    counts, total = dict.fromkeys(names, 0), np.zeros_like(np.stack(complete[names[0]].predicted[:n]))
    most = 1 if told.lessons.kind == "multi_label" else max(1, most)
    for step in range(1, _STEPS + 1):
        drawn = {name for name in names if counts[name]}
        open_ = names if len(drawn) < most else [name for name in names if name in drawn]
        sums = {name: total + np.stack(complete[name].predicted[:n]) for name in open_}
        losses = {name: float(np.nanmean([told.losses(each / step) for each in sums[name]])) for name in open_}
        best = min(open_, key=lambda name: losses[name])
        counts[best] += 1
        total = sums[best]
    heaviest = sorted((name for name in names if counts[name]), key=lambda name: -counts[name])
    return Mixture({name: counts[name] / _STEPS for name in heaviest})


def calibrated(mixture: Mixture, complete: Mapping[str, Tally], told: Told) -> Mixture:
    """The mixture with the temperature of its chances (Guo et al. 2017, section 4.2), where one of them helps.

    It does if chances that were tempered by other items have a loss that is lower by more than one standard error.
    Only for one class per item, and with ten labels of each class or more. Chances are those of items as they are,
    also where classes are to count alike.
    """
    lessons = replace(told.lessons, even=False)
    told = replace(told, lessons=lessons)
    if lessons.kind != "choice" or _rarest(lessons) < _FEWEST:
        return mixture
    predicted = np.stack(mixture.tally(complete, told).predicted)
    groups, member = np.unique(lessons.groups, return_inverse=True)
    part = (np.random.default_rng([lessons.seed, 13]).permutation(len(groups)) % _PARTS)[member]
    gains = np.full(len(lessons), np.nan)
    for number in range(_PARTS):
        others, held = part != number, part == number
        changed = tempered(predicted, _temperature(predicted, told, others))
        gains[held] = np.mean([told.losses(b) - told.losses(a) for a, b in zip(changed, predicted, strict=True)], 0)[
            held
        ]
    gains = gains[np.isfinite(gains)]
    if gains.mean() <= gains.std(ddof=1) / np.sqrt(len(gains)):
        return mixture
    return Mixture(mixture.parts, float(f"{_temperature(predicted, told, np.full(len(lessons), True)):.3g}"))


def _rarest(lessons: Lessons) -> int:
    """How many labels the rarest class has."""
    return int(np.bincount(lessons.codes, minlength=len(lessons.classes)).min())


def _temperature(predicted: Reals, told: Told, places: Any) -> float:
    """The temperature with the lowest loss on these places, drawn a little towards 1."""

    def loss(logarithm: float) -> float:
        losses = [told.losses(each)[places] for each in tempered(predicted, float(np.exp(logarithm)))]
        return float(np.nanmean(losses)) + _PRIOR * logarithm**2 / len(told.lessons)

    found: Callable[..., Any] = minimize_scalar
    return float(np.exp(found(loss, bounds=(-2, 2), method="bounded", options={"xatol": 0.01}).x))
