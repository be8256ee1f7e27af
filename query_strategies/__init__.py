"""Query strategies: which items of a pool to ask about next. Numbers in, choices out.

>>> import numpy as np
>>> from query_strategies import Margin, PoolView
>>> proba = np.array([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8]])
>>> selection = Margin().query(PoolView.from_predictions([7, 8, 9], proba), 2, np.random.default_rng(0))
>>> selection.rows.tolist()
[1, 2]

Every strategy is also a modAL query strategy: `ActiveLearner(estimator, query_strategy=Margin(seed=0))`.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from query_strategies.base import (
    MissingNeedError,
    PoolStrategy,
    PoolTooSmallError,
    PoolView,
    PredictionError,
    Random,
    ScoreStrategy,
    Selection,
    Strategy,
    StrategyError,
    tie_keys,
    top_n,
)
from query_strategies.coldstart import KMeans
from query_strategies.committee import ConsensusEntropy, KLMax, KLMean, VoteEntropy
from query_strategies.uncertainty import Entropy, LeastConfidence, Margin

__all__ = [
    "STRATEGIES",
    "ConsensusEntropy",
    "Entropy",
    "KLMax",
    "KLMean",
    "KMeans",
    "LeastConfidence",
    "Margin",
    "MissingNeedError",
    "PoolStrategy",
    "PoolTooSmallError",
    "PoolView",
    "PredictionError",
    "Random",
    "ScoreStrategy",
    "Selection",
    "Strategy",
    "StrategyError",
    "VoteEntropy",
    "make",
    "tie_keys",
    "top_n",
]

STRATEGIES: dict[str, type[PoolStrategy]] = {
    strategy.name: strategy
    for strategy in (
        Random,
        LeastConfidence,
        Margin,
        Entropy,
        VoteEntropy,
        ConsensusEntropy,
        KLMax,
        KLMean,
        KMeans,
    )
}
"""Every strategy by its name."""


def make(name: str, **options: Any) -> PoolStrategy:
    """The strategy of this name, made with these options.

    Raises `StrategyError` for an unknown name or option; it lists the known ones, and the closest.
    """
    if name not in STRATEGIES:
        raise StrategyError(_unknown("strategy", name, STRATEGIES))
    known = inspect.signature(STRATEGIES[name]).parameters
    for option in options:
        if option not in known:
            raise StrategyError(_unknown(f"option of {name}", option, known))
    return STRATEGIES[name](**options)


def _unknown(kind: str, name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    return f'unknown {kind} "{name}".{hint} Known: {", ".join(known)}.'
