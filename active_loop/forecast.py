"""How much is left until the target, while a loop runs: answers, hours, money and a date, each with a band.

The readings of all completed rounds are taken for one learning curve q(n) = a - b·n^-c. Instead of one best curve every
curve of a grid gets a weight, and what is said of the future is said by all of them. Readings share their test items,
so they err together: ten rounds are not ten samples, and the covariance says so. Pure functions of what was recorded:
a forecast proves nothing, and no answer of an uncompleted round is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .chances import SURE, Proof
from .domain import Score, Verdict
from .language import say
from .settings import ERRORS, METRICS, LookPlan, Settings

FEWEST_ROUNDS: Final = 5
FEWEST_TESTED: Final = 50
"""Before there are so many readings, and so many test answers in the newest one, nothing is said."""

FURTHEST: Final = 10
"""Times the labels that there are: what takes more counts as out of reach, since no curve is known so far ahead."""

TAIL: Final = 0.03
"""Weight of the curves on either side of a band: with it bands held in 4 of 5 cases or more on every set that
`benchmarks/forecast.py` measured. A tail of 0.1 would do if real curves were power laws, and they are not."""

_PROBABLE: Final = 0.5
_MOST_READINGS: Final = 60

# What real loops are like, as benchmarks/forecast.py measures it: how alike two rounds are right or wrong on an item,
# (n / n')^0.8 for n < n' labels; how far a curve strays from a power law, as a share of what is missing to the best
# value, and for how long (in log labels) it strays the same way.
_FORGETTING: Final = 0.8
_STRAY: Final = 0.05
_STRAYS_FOR: Final = 0.3

Reals = NDArray[np.float64]
Readings = tuple[tuple[int, Score], ...]
"""For each completed round with a reading, in their order: labels it learned from, and the reading."""


@dataclass(frozen=True, slots=True)
class Band:
    """A number that is not known: it lies between `low` and `high` in 4 cases of 5 or more; `middle` is the median."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> Band:
        return Band(self.low * factor, self.middle * factor, self.high * factor)

    def plus(self, more: float) -> Band:
        return Band(self.low + more, self.middle + more, self.high + more)


@dataclass(frozen=True, slots=True)
class Curves:
    """Learning curves (k,) that may be the loop's, by their limit, their value now and their exponent, with weights.

    Values are `sign` times the metric's, so that more is better. `n` labels are there now; what takes more than `most`
    in all is out of reach.
    """

    limit: Reals
    now: Reals
    exponent: Reals
    weights: Reals
    n: int
    most: int
    sign: int = 1

    def labels(self, value: float) -> Reals:
        """More labels until each curve (k,) is at this value of the metric: 0 where it is, inf where it never is."""
        wanted = self.sign * value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            times = ((self.limit - self.now) / (self.limit - wanted)) ** (1 / self.exponent)
        more = np.where(self.limit > wanted, self.n * (times - 1), np.inf)
        return np.where(self.now >= wanted, 0.0, np.where(self.n + more > self.most, np.inf, more))

    def at(self, n: float, tail: float = TAIL) -> Band:
        """The value of the metric with so many labels in all, of which there are some already."""
        values = self.sign * (self.limit - (self.limit - self.now) * (n / self.n) ** -self.exponent)
        order = np.argsort(values)
        upto = np.cumsum(self.weights[order])
        places = np.searchsorted(upto, np.array([tail, 0.5, 1 - tail]) * upto[-1])
        low, middle, high = values[order[np.minimum(places, len(order) - 1)]]
        return Band(float(low), float(middle), float(high))

    def chance(self, value: float, within: float = math.inf) -> float:
        """The chance that this value of the metric is reached at all, or within so many more labels."""
        more = self.labels(value)
        return float(np.clip(self.weights[np.isfinite(more) & (more <= within)].sum(), 0, 1))

    def band(self, value: float, tail: float = TAIL) -> Band | None:
        """More labels until this value is reached, if it is reached; None if no curve reaches it."""
        more = self.labels(value)
        order = np.argsort(more)[: int(np.isfinite(more).sum())]
        upto = np.cumsum(self.weights[order])
        if not len(upto) or upto[-1] <= 0:
            return None
        places = np.searchsorted(upto, np.array([tail, 0.5, 1 - tail]) * upto[-1])
        low, middle, high = more[order[np.minimum(places, len(order) - 1)]]
        return Band(float(low), float(middle), float(high))


@lru_cache(maxsize=8)
def curves(readings: Readings, most: int, best: float = 1.0, lower_is_better: bool = False) -> Curves | None:
    """The curves that may have given these readings; None while there are too few.

    `best` is the best value that can be measured. Where they start from: any limit between the value now and `best` is
    as likely as any other, and so is any exponent between 0.05 and 3, in its logarithm.
    """
    kept = {n: score for n, score in readings if n > 0 and math.isfinite(score.high - score.low)}
    if len(kept) < FEWEST_ROUNDS or list(kept.values())[-1].n < FEWEST_TESTED:
        return None
    some = np.unique(np.linspace(0, len(kept) - 1, _MOST_READINGS).round().astype(int))
    n = np.array(list(kept), dtype=np.float64)[some]
    scores = [list(kept.values())[place] for place in some]
    sign = -1 if lower_is_better else 1
    values, highest = sign * np.array([score.value for score in scores]), sign * best
    errors = _errors(n, scores, max(1e-9, float(np.max(highest - values))))
    limit, now, exponent = _grid(min(float(values[-1]), highest), float(errors[-1]), highest)
    drawn = limit[:, None] - (limit - now)[:, None] * (n / n[-1]) ** -exponent[:, None]
    root = np.linalg.cholesky(_covariance(n, scores, errors, highest - values))
    off = np.linalg.solve(root, (values - drawn).T)
    fit = -0.5 * np.sum(off**2, axis=0)
    weights = np.exp(fit - fit.max())
    return Curves(limit, now, exponent, weights / weights.sum(), int(n[-1]), most, sign)


def curves_for(settings: Settings, n_pool: int, readings: Readings, best: float = 1.0) -> Curves | None:
    """The curves of a loop with so many items to learn from; None while there are too few readings.

    `best` is the best share that people's agreement lets anybody measure; an error can always be 0.
    """
    less = settings.target.metric in ERRORS
    most = min(n_pool, FURTHEST * readings[-1][0]) if readings else 0
    return curves(readings, most, 0.0 if less else best, less)


def _errors(n: Reals, scores: Sequence[Score], scale: float) -> Reals:
    """Standard errors (T,) of the readings, smoothed over the rounds.

    A reading that is high by luck has a short interval, and would count for more: the bias of a share that is weighted
    by itself. So the spread of a single item is taken from a line through all rounds.
    """
    n_test = np.array([max(1, score.n) for score in scores], dtype=np.float64)
    widths = np.array([max(score.high - score.low, 0.0) for score in scores])
    spread = np.maximum(widths / (2 * 1.96), 1e-4 * scale) * np.sqrt(n_test)
    slope, level = np.polyfit(np.log(n), spread, 1, w=np.sqrt(n_test))
    least = 0.3 * float(np.median(spread))
    return np.asarray(np.maximum(level + slope * np.log(n), least) / np.sqrt(n_test))


def _covariance(n: Reals, scores: Sequence[Score], errors: Reals, missing: Reals) -> Reals:
    """How readings err together (T, T): test items of an earlier one are among those of a later one, and models that
    learned from the same labels fail on the same items; and how a curve strays from a power law."""
    n_test = np.array([max(1, score.n) for score in scores], dtype=np.float64)
    apart = np.abs(np.subtract.outer(np.log(n), np.log(n)))
    shared = np.sqrt(np.minimum.outer(n_test, n_test) / np.maximum.outer(n_test, n_test))
    read = np.outer(errors, errors) * shared * np.exp(-_FORGETTING * apart)
    stray = _STRAY * max(float(missing[-1]), 0.0)
    return np.asarray(read + stray**2 * np.exp(-apart / _STRAYS_FOR) + np.diag(1e-4 * errors**2))


def _grid(value: float, error: float, highest: float) -> tuple[Reals, Reals, Reals]:
    """Limit, value now and exponent (k,) of all curves that are weighed."""
    now = np.minimum(value + np.linspace(-4, 4, 41) * error, highest)
    found = np.meshgrid(np.unique(now), np.linspace(0, 1, 21), np.geomspace(0.05, 3, 14), indexing="ij")
    start, share, exponent = (each.ravel() for each in found)
    return start + share * (highest - start), start, exponent


# what is left, in the units of people


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds an answer takes, what an hour costs (0: not said), answers a day (0: not known), and the day today."""

    seconds: float
    price_per_hour: float
    per_day: float
    today: date


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left after the newest reading, if the target can be reached; bands hold in 4 cases of 5 or more.

    `learn` more labels bring the model to the value `needed`, with which a look of `test` more answers gives the wanted
    verdict in 4 cases of 5. `hours`, `money` (None where no price is known) and `dates` (ISO, the earliest first; None
    where no pace is known) are for both together. `out_of_reach` is the chance that the model never gets to the target;
    `unproven` that it never gets to `needed`; `enough` that it gets there, and is tested, before the budget is spent.
    `best` is what people's agreement lets a model be measured at. `ahead` is the metric at numbers of labels to come,
    up to three times those that there are.
    """

    n_labels: int
    needed: float
    learn: Band | None
    test: int
    hours: Band | None
    money: Band | None
    dates: tuple[str, str, str] | None
    out_of_reach: float
    unproven: float
    enough: float
    best: float
    ahead: tuple[tuple[int, Band], ...] = ()


def forecast(
    found: Curves, settings: Settings, plan: LookPlan, looked: int, answered: tuple[int, int], pace: Pace
) -> Forecast:
    """The cheapest way to the target among the looks that are left.

    `looked` looks took place; `answered` asks to learn and to test when the newest round was completed.
    """
    tested = answered[1]
    steps = [(max(0, size - tested), value) for size, value in _steps(settings, plan, looked)]
    bands = [(found.band(value), test, value) for test, value in steps]
    reached = [each for each in bands if each[0] and found.chance(each[2]) > TAIL]
    if reached:
        learn, test, needed = min(reached, key=lambda each: (each[0].middle if each[0] else 0.0) + each[1])
    else:
        learn, (test, needed) = None, max(steps, key=lambda step: found.chance(step[1]))
    per_label = settings.people.per_label
    answers = learn.times(per_label).plus(test) if learn else None
    hours = answers.times(pace.seconds / 3600) if answers else None
    return Forecast(
        n_labels=found.n,
        needed=needed,
        learn=learn,
        test=test,
        hours=hours,
        money=hours.times(pace.price_per_hour) if hours and pace.price_per_hour else None,
        dates=_dates(answers, pace) if answers else None,
        out_of_reach=1 - found.chance(settings.target.value),
        unproven=1 - found.chance(needed),
        enough=found.chance(needed, int((settings.budget.answers - sum(answered) - test) / per_label)),
        best=found.sign * float(found.limit.max()),
        ahead=tuple((n, found.at(n)) for n in _ahead(found.n, found.most)),
    )


def _ahead(n: int, most: int) -> list[int]:
    """Numbers of labels, from those that there are to three times as many, at which the curve is foretold."""
    return sorted({min(most, round(n * (1 + 0.25 * step))) for step in range(9)} - set(range(n)))


def _steps(settings: Settings, plan: LookPlan, looked: int) -> Iterator[tuple[int, float]]:
    """What is asked for each look that is left, and the value with which it gives the wanted verdict in 4 cases of 5.

    Metrics that are no shares are taken for one; of errors, and where no look can come to the verdict, it is the target
    itself.
    """
    target = settings.target
    numbers = range(1, looked + 4)
    proof = Proof(tuple(map(plan.m, numbers)), target.value, target.alpha, not settings.obstacle, settings.stop_on)
    certify, found = settings.stop_on == Verdict.CERTIFIED, False
    if target.metric not in ERRORS and not METRICS[target.metric].of_one_class:
        for look in numbers[looked:]:
            right = proof.right(look) if certify else proof.right_to_be_likely(look)
            if right and right <= proof.n(look):
                found = True
                yield plan.asked(look), float(special.betaincinv(right, proof.n(look) - right + 1, SURE))
    if not found:
        yield plan.asked(looked + 1), target.value


def _dates(answers: Band, pace: Pace) -> tuple[str, str, str] | None:
    """The days on which so many answers are there; None without a pace, or beyond all calendars."""
    if not pace.per_day:
        return None
    days = [math.ceil(each / pace.per_day) for each in (answers.low, answers.middle, answers.high)]
    try:
        low, middle, high = ((pace.today + timedelta(days=each)).isoformat() for each in days)
    except OverflowError:
        return None
    return low, middle, high


# in words


def sentence(told: Forecast, target: float) -> str:
    """The forecast as people read it, without false precision."""
    if told.out_of_reach > _PROBABLE:
        return _out_of_reach(told, target)
    if told.learn is None or told.unproven > _PROBABLE:
        return say(
            "This target can probably not be proven by the looks that are left: that takes a model at {needed}, which "
            "is out of reach with a chance of {chance}.",
            needed=f"{told.needed:.3f}",
            chance=_percent(told.unproven),
        )
    test = rounded(told.test)
    if told.learn.high >= 1:
        needs = say(
            "About {learn} more answers to learn and {test} to test", learn=_band(told.learn, _count), test=test
        )
    else:
        needs = say("Probably no more answers to learn and {test} to test", test=test)
    chances = say(
        "{out} chance that the target is out of reach with these features, {enough} that the budget is enough.",
        out=_percent(told.out_of_reach),
        enough=_percent(told.enough),
    )
    return f"{', '.join([needs, *_cost(told)])}; {chances}"


def _out_of_reach(told: Forecast, target: float) -> str:
    chance = _percent(told.out_of_reach)
    if told.best < 1 and told.best < target:
        return say(
            "This target is probably out of reach with this much disagreement: no model can be measured above {best} "
            "(chance {chance}).",
            best=f"{told.best:.2f}",
            chance=chance,
        )
    return say("This target is probably out of reach with these features (chance {chance}).", chance=chance)


def _cost(told: Forecast) -> Iterator[str]:
    if told.hours:
        yield say("{hours} hours", hours=_band(told.hours, _figure))
    if told.money:
        yield say("{money} in money", money=_band(told.money, _figure))
    if told.dates:
        low, middle, high = told.dates
        year = low[:4] == middle[:4] == high[:4]
        ends = (low[5:], high[5:]) if year else (low, high)
        yield say("{day} at your pace", day=middle if low == high else _within(middle, *ends))


def _band(band: Band, words: Callable[[float], str]) -> str:
    low, middle, high = (words(each) for each in (band.low, band.middle, band.high))
    return middle if low == high else _within(middle, low, high)


def _within(middle: str, low: str, high: str) -> str:
    return say("{middle} ({low} to {high})", middle=middle, low=low, high=high)


def _count(number: float) -> str:
    return f"{rounded(number):,}"


def rounded(number: float) -> int:
    """A number of answers without false precision, rounded up.

    >>> rounded(7), rounded(63), rounded(1234)
    (7, 65, 1250)
    """
    step = 1 if number < 20 else 5 if number < 200 else 50
    return math.ceil(number / step) * step


def _figure(number: float) -> str:
    """Two figures, or whole numbers.

    >>> [_figure(each) for each in (0.0312, 0.684, 1.25, 31.4, 1234.5)]
    ['0.03', '0.68', '1.2', '31', '1,234']
    """
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:,.0f}"


def _percent(share: float) -> str:
    """
    >>> _percent(0.001), _percent(0.223), _percent(1.0)
    ('below 1 %', '22 %', 'above 99 %')
    """
    return say("below 1 %") if share < 0.01 else say("above 99 %") if share > 0.99 else f"{100 * share:.0f} %"
