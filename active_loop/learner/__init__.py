"""The model: fitted on labels, asked for the predictions of each of its members.

A single model is a committee of one, so that nothing after this module has two cases. Columns follow the configured
classes, whichever of them have been seen; before there is anything to fit, predictions are equal everywhere. The same
labels and seed give the same model, bit for bit, on one machine and set of libraries. A fit starts from nothing every
time: a warm start would favour the early labels and make rounds look more stable than they are.

This is the only importer of modAL, whose classes are mended in `modal`. Nothing here knows items, files, rounds, or
what the classes are called by people.

Inside, imports point down only: parts, epochs > committee > labelled, modal > estimators, temperature, bounded >
machines.
"""

from __future__ import annotations

from .bounded import Bounded
from .committee import CommitteeLearner, Learner, make_learner
from .epochs import by_iteration, is_iterative
from .estimators import estimator_of
from .machines import RBFMachines, RBFRegression
from .modal import ActiveLearner, Committee
from .parts import Carried, put_together, taken_apart
from .temperature import Tempered, tempered

__all__ = [
    "ActiveLearner",
    "Bounded",
    "Carried",
    "Committee",
    "CommitteeLearner",
    "Learner",
    "RBFMachines",
    "RBFRegression",
    "Tempered",
    "by_iteration",
    "estimator_of",
    "is_iterative",
    "make_learner",
    "put_together",
    "taken_apart",
    "tempered",
]
