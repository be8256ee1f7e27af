"""What a sample proves: exact bounds of a share, and guaranteed bounds of the mean of bounded values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

_STAKES = np.arange(1, 41) / 40
"""What is bet, a share of the largest stake that cannot ruin: all of them at once, each with an equal part."""


def lower_bound(correct: int, n: int, level: float) -> float:
    """Exact one-sided lower confidence bound of a share: `correct` of `n`, error `level`.

    Clopper & Pearson 1934. With one-sided error 0.025, 36 of 36 bound 0.90 from above, and 35 of 35 do not:

    >>> lower_bound(36, 36, 0.025) >= 0.90, lower_bound(35, 35, 0.025) >= 0.90
    (True, False)
    """
    return 0.0 if correct == 0 else float(special.betaincinv(correct, n - correct + 1, level))


def upper_bound(correct: int, n: int, level: float) -> float:
    """Exact one-sided upper confidence bound of a share, as `lower_bound`."""
    return 1.0 if correct == n else float(special.betaincinv(correct + 1, n - correct, 1 - level))


def posterior(correct: float, n: float, target: float) -> float:
    """Probability that a share is at least `target`, by the Beta(½, ½) prior (Jeffreys)."""
    return float(special.betaincc(correct + 0.5, n - correct + 0.5, target))


def fewest_right(n: int, level: float, target: float) -> int | None:
    """How many of `n` must be right so that the lower bound reaches `target`; None if even all are too few.

    >>> [fewest_right(n, 0.025, 0.9) for n in (35, 36, 50, 80, 160, 200)]
    [None, 36, 50, 78, 152, 189]
    """
    if lower_bound(n, n, level) < target:
        return None
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if lower_bound(middle, n, level) >= target else (middle + 1, high)
    return low


def more_to_certify(value: float, n: int, level: float, target: float, limit: int = 100_000) -> int | None:
    """How many more test labels would prove the target if the share of right ones stays `value`.

    None if `value` does not exceed the target, or if more than `limit` would be needed.
    """
    if value <= target:
        return None

    def proves(size: int) -> bool:
        return lower_bound(math.floor(value * size), size, level) >= target

    size = max(n, 1)
    while not proves(size):
        if size > limit:
            return None
        size += max(1, size // 50)
    return size - n


def evidence(right: NDArray[np.bool_], target: float) -> NDArray[np.float64]:
    """(n,) logarithms of the evidence, after each of the items (n,), that the share of right ones is above `target`.

    The e-process of a mixture of bets: the likelihood of all shares above the target, each with the same weight, over
    that of the target (Robbins 1970, "Statistical methods related to the law of the iterated logarithm"). If the share
    is at most the target, it comes to 1 / level at any time with a chance of at most `level` (Ville 1939): one may look
    after every item. Items must come in an order that does not depend on what they show.

    >>> [float(evidence(np.ones(n, bool), 0.9)[-1]) >= math.log(1 / 0.025) for n in (50, 51)]
    [False, True]
    """
    n = np.arange(1, len(right) + 1)
    hits = np.cumsum(right)
    misses = n - hits
    of_shares = special.betaln(1 + hits, 1 + misses) + np.log(special.betaincc(1 + hits, 1 + misses, target))
    of_target = hits * math.log(target) + misses * math.log1p(-target)
    return np.asarray(of_shares - of_target - math.log1p(-target), dtype=np.float64)


def proven_after(right: NDArray[np.bool_], level: float, target: float) -> int | None:
    """How many of the items (n,), in their order, prove that the share of right ones is above `target`; None if not."""
    proven = np.flatnonzero(evidence(right, target) >= math.log(1 / level))
    return int(proven[0]) + 1 if len(proven) else None


def anytime_bound(right: NDArray[np.bool_], level: float) -> float:
    """Lower confidence bound of a share that holds at all times at once, error `level`, from all of the items (n,).

    The highest share that their `evidence` refutes; 0 where there is none.
    """
    aim, low, high = math.log(1 / level), 0.0, float(np.mean(right))
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if evidence(right, middle)[-1] >= aim else (low, middle)
    return low


def mean_upper_bound(values: NDArray[np.floating], level: float) -> float:
    """Upper confidence bound of the mean of values (n,) in [0, 1], error `level`, whatever their distribution and n.

    Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting": whoever bets on each value
    to lie below m multiplies a capital of 1 by 1 + stake·(m - value). If the mean is m or more, that is on average
    no gain, so a capital of 1 / level comes about with a chance of at most `level`, and refutes m. Here 40 fixed
    stakes share the capital, which then grows with m, so the bound is the least m that is refuted. The order of the
    values does not matter. 1 where nothing is refuted: no values, or too few.

    >>> round(mean_upper_bound(np.zeros(100), 0.025), 3), mean_upper_bound(np.zeros(3), 0.025)
    (0.054, 1.0)
    """
    aim = math.log(len(_STAKES) / level)

    def refuted(mean: float) -> bool:
        return bool(special.logsumexp(np.log1p(np.outer(_STAKES, mean - values)).sum(axis=1)) >= aim)

    if not refuted(1.0):
        return 1.0
    low, high = float(np.mean(values)), 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if refuted(middle) else (middle, high)
    return high


def mean_lower_bound(values: NDArray[np.floating], level: float) -> float:
    """Lower confidence bound of the mean of values in [0, 1], as `mean_upper_bound`."""
    return 1 - mean_upper_bound(1 - values, level)


def ratio_lower_bound(gains: NDArray[np.floating], losses: NDArray[np.floating], most: float, level: float) -> float:
    """Lower confidence bound of E[gain] / (E[gain] + E[loss]), error `level`, whatever their distribution and n.

    Gains (n,) are at least 0, losses (n,) between 0 and `most`. The ratio is τ or less just when (1/τ - 1)·gain - loss
    is 0 or less on average, so a capital that is multiplied by 1 + stake·that/most refutes τ as in `mean_upper_bound`.
    It falls with τ, so the bound is the largest τ that is refuted; 0 where none is.

    >>> round(ratio_lower_bound(np.ones(100), np.zeros(100), 1.0, 0.025), 2)
    0.95
    """
    aim, stakes = math.log(len(_STAKES) / level), _STAKES * (40 / 41) / most

    def refuted(ratio: float) -> bool:
        won = (1 / ratio - 1) * gains - losses
        return bool(special.logsumexp(np.log1p(np.outer(stakes, won)).sum(axis=1)) >= aim)

    if not gains.any():
        return 0.0
    low, high = 0.0, float(gains.sum() / (gains.sum() + losses.sum()))
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
