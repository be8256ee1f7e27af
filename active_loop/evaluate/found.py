"""What a random sample of the rest proves about a search: that enough of a class was found.

A search reads items one after the other, likeliest first, to find all that are of a class. What is left unread is
finite, and a sample of it drawn without replacement says how much of the class is left there at most. The rule of
Callaghan & Müller-Hansen 2020, "Statistical stopping criteria for automated screening in systematic reviews", section
"Random sampling", with the exact (hypergeometric) bound. Pure functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from .reading import Claim


@dataclass(frozen=True, slots=True)
class Search:
    """`found` items of the class are known; of the `rest` that nobody was asked about, `drawn` were read at random.

    Of those `hits` were of the class, and `lost` had no answer in time: they count as of the class and not found. So
    do the `waiting`, which were asked about outside the sample and have no answer. `found` is without the hits.
    """

    found: int
    rest: int
    drawn: int = 0
    hits: int = 0
    lost: int = 0
    waiting: int = 0

    def value(self) -> float:
        """The likeliest share found; 0 before anything was found, or drawn of what is left."""
        known, bad = self.found + self.hits, self.hits + self.lost
        if not known or (self.rest and not self.drawn):
            return 0.0
        likeliest = bad * (self.rest + 1) // self.drawn if self.drawn else 0  # of a hypergeometric number
        return known / (self.found + self.waiting + min(likeliest, self.rest - self.drawn + bad))

    def bound(self, level: float) -> float:
        """Lower confidence bound of the share found, error `level`: exact, whatever was read before the sample."""
        most = most_left(self.rest, self.drawn, self.hits + self.lost, level)
        known = self.found + self.hits
        return known / (self.found + self.waiting + most) if known else 0.0

    def upper(self, level: float) -> float:
        """Upper confidence bound, as `bound`."""
        least = least_left(self.rest, self.drawn, self.hits + self.lost, level)
        known = self.found + self.hits
        return min(1.0, known / (self.found + self.waiting + max(least, self.hits))) if known else 1.0

    def chance(self, target: float) -> float:
        """Probability that the share found is at least `target`, by Jeffreys' prior of the share of the rest."""
        known, bad = self.found + self.hits, self.hits + self.lost
        allowed = math.floor(known / target - self.found - self.waiting + 1e-9) - bad if known else -1
        unread = self.rest - self.drawn
        if allowed < 0 or not unread:
            return float(allowed >= 0)
        return float(stats.betabinom.cdf(min(allowed, unread), unread, bad + 0.5, self.drawn - bad + 0.5))

    def claim(self, target: float, level: float) -> Claim:
        """The test of the target with a one-sided error of `level`; `correct` are the found ones, `n` the drawn."""
        return Claim(self.value(), self.found + self.hits, self.drawn, self.bound(level), self.chance(target))


def most_left(rest: int, drawn: int, hits: int, level: float) -> int:
    """The largest number of the class in the rest that is not refuted by so many hits among the drawn.

    >>> most_left(1000, 0, 0, 0.05), most_left(1000, 500, 0, 0.05), most_left(1000, 1000, 3, 0.05)
    (1000, 4, 3)
    """
    low, high = hits, rest - drawn + hits
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _at_most(hits, rest, middle, drawn) > level else (low, middle - 1)
    return low


def least_left(rest: int, drawn: int, hits: int, level: float) -> int:
    """The smallest number of the class in the rest that is not refuted by so many hits among the drawn."""
    low, high = hits, rest - drawn + hits
    while low < high:
        middle = (low + high) // 2
        refuted = hits > 0 and 1 - _at_most(hits - 1, rest, middle, drawn) <= level
        low, high = (middle + 1, high) if refuted else (low, middle)
    return low


def draws_needed(search: Search, target: float, level: float) -> int | None:
    """How many of the rest must be drawn to prove the target if none of them is of the class; None before a find.

    >>> draws_needed(Search(found=39, rest=1900), 0.95, 0.025), draws_needed(Search(found=39, rest=1900), 0.8, 0.025)
    (1344, 585)
    """
    allowed = math.floor(search.found / target - search.found - search.waiting + 1e-9)
    if not search.found or allowed < 0:
        return None
    low, high = 0, search.rest
    while low < high:
        middle = (low + high) // 2
        enough = most_left(search.rest, middle, 0, level) <= allowed
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def _at_most(hits: int, rest: int, of_class: int, drawn: int) -> float:
    """Chance of at most so many hits."""
    return float(stats.hypergeom.cdf(hits, rest, of_class, drawn))
