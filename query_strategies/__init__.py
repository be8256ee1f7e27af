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

from query_strategies.base import (
    STRATEGIES,
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
    make,
    tie_keys,
    top_n,
)
from query_strategies.coldstart import KMeans, TypiClust
from query_strategies.committee import ConsensusEntropy, KLMax, KLMean, VariationRatio, VoteEntropy
from query_strategies.diversity import ClusterMargin, Density, KCenter, RankedBatch
from query_strategies.gradients import Badge
from query_strategies.herding import MaxHerding, ProbCover, UncertaintyHerding
from query_strategies.multilabel import CVIRS, BinaryMinimum, LabelEntropyMax, LabelEntropyMean, MaxLossReduction
from query_strategies.numbers import GreedyX, GreedyXY, GreedyY, ModelChange, Spread
from query_strategies.phased import Auto, Phased
from query_strategies.rare import MostLikelyPositive, RareFloor, Seals
from query_strategies.refit import ExpectedErrorReduction
from query_strategies.uncertainty import Entropy, LeastConfidence, Margin, Ratio
from query_strategies.wrappers import CostAware, Mixture, Power, SubSample

__all__ = [
    "CVIRS",
    "STRATEGIES",
    "Auto",
    "Badge",
    "BinaryMinimum",
    "ClusterMargin",
    "ConsensusEntropy",
    "CostAware",
    "Density",
    "Entropy",
    "ExpectedErrorReduction",
    "GreedyX",
    "GreedyXY",
    "GreedyY",
    "KCenter",
    "KLMax",
    "KLMean",
    "KMeans",
    "LabelEntropyMax",
    "LabelEntropyMean",
    "LeastConfidence",
    "Margin",
    "MaxHerding",
    "MaxLossReduction",
    "MissingNeedError",
    "Mixture",
    "ModelChange",
    "MostLikelyPositive",
    "Phased",
    "PoolStrategy",
    "PoolTooSmallError",
    "PoolView",
    "Power",
    "PredictionError",
    "ProbCover",
    "Random",
    "RankedBatch",
    "RareFloor",
    "Ratio",
    "ScoreStrategy",
    "Seals",
    "Selection",
    "Spread",
    "Strategy",
    "StrategyError",
    "SubSample",
    "TypiClust",
    "UncertaintyHerding",
    "VariationRatio",
    "VoteEntropy",
    "make",
    "tie_keys",
    "top_n",
]

STRATEGIES.update(
    (strategy.name, strategy)
    for strategy in (
        Random,
        LeastConfidence,
        Margin,
        Ratio,
        Entropy,
        VoteEntropy,
        VariationRatio,
        ConsensusEntropy,
        KLMax,
        KLMean,
        KMeans,
        TypiClust,
        MaxHerding,
        UncertaintyHerding,
        ProbCover,
        KCenter,
        ClusterMargin,
        Badge,
        RankedBatch,
        Density,
        Power,
        CostAware,
        SubSample,
        Mixture,
        MostLikelyPositive,
        RareFloor,
        Seals,
        Spread,
        GreedyX,
        GreedyY,
        GreedyXY,
        ModelChange,
        BinaryMinimum,
        LabelEntropyMean,
        LabelEntropyMax,
        MaxLossReduction,
        CVIRS,
        ExpectedErrorReduction,
        Phased,
        Auto,
    )
)
