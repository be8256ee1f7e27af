"""In which order candidates are tried, which of them go on, and which variations of them come then: the strategy."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np

from .. import components
from ..errors import ConfigError, unknown_name
from .ranges import Between, Range
from .space import Candidate

_MANY: Final = 500
"""Labels from which on the worse half of the candidates is dropped after each repeat, and variations are tried."""

Variations = Generator[Candidate, float, None]


class Course(Protocol):
    """A search strategy: a `name` for the record, the order of the candidates, and which of them are tried further.

    It may have a method `variations(candidates, losses, n_labels, seed)` as well, a generator of more candidates to
    try for as long as there is time. `losses` are those of the candidates so far; it is sent the loss of each one that
    it gives, infinite where that cannot learn. The same arguments and losses must give the same candidates.
    """

    name: str

    def order(self, candidates: Sequence[Candidate], incumbents: Collection[str]) -> Sequence[Candidate]:
        """The order in which candidates are tried; `incumbents` are the parts of the model before."""
        ...

    def remaining(self, losses: Mapping[str, float], incumbents: Collection[str], n_labels: int) -> Collection[str]:
        """Which of these candidates are tried on one more repeat, by their mean losses so far."""
        ...


class Halving:
    """The parts of the model before first, then the cheap ones; all of them on all folds, and from 500 labels on the
    better half only after each repeat (successive halving, Jamieson & Talwalkar 2016, with folds as the resource)."""

    name = "halving"

    def order(self, candidates: Sequence[Candidate], incumbents: Collection[str]) -> Sequence[Candidate]:
        """See `Course.order`."""
        return sorted(candidates, key=lambda each: each.name not in incumbents)

    def remaining(self, losses: Mapping[str, float], incumbents: Collection[str], n_labels: int) -> Collection[str]:
        """See `Course.remaining`."""
        if n_labels < _MANY:
            return losses
        best = sorted(losses, key=lambda name: losses[name])[: -(-len(losses) // 2)]
        return {*best, *incumbents} & losses.keys()


class Random(Halving):
    """As `Halving`; then, from 500 labels on, variations of any family with all its ranges drawn at random."""

    name = "random"

    def variations(
        self, candidates: Sequence[Candidate], losses: Mapping[str, float], n_labels: int, seed: int
    ) -> Variations:
        """See `Course`."""
        templates, rng = _templates(candidates, n_labels), np.random.default_rng([seed, 12])
        while templates:
            template = templates[int(rng.integers(len(templates)))]
            yield template.varied({path: range_.drawn(rng) for path, range_ in template.ranges.items()})


class TPE(Halving):
    """As `Halving`; then, from 500 labels on, variations by a tree-structured Parzen estimator (Bergstra et al. 2011),
    which draws more of what did well: Optuna's, with the family as one of its choices."""

    name = "tpe"

    def variations(
        self, candidates: Sequence[Candidate], losses: Mapping[str, float], n_labels: int, seed: int
    ) -> Variations:
        """See `Course`. What is known of the candidates is what it goes on from."""
        templates = {each.family: each for each in _templates(candidates, n_labels)}
        if not templates:
            return
        optuna = _optuna()
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed % 2**32))
        for each in candidates:
            if np.isfinite(losses.get(each.name, np.inf)) and (known := _known(optuna, templates, each)):
                study.add_trial(optuna.trial.create_trial(**known, value=losses[each.name]))
        while True:
            trial = study.ask()
            template = templates[trial.suggest_categorical("family", list(templates))]
            values = {path: _suggested(trial, template, path, range_) for path, range_ in template.ranges.items()}
            loss = yield template.varied(values)
            if np.isfinite(loss):
                study.tell(trial, loss)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)


COURSES: Final = {each.name: each for each in (Halving, Random, TPE)}


def make_course(name: str) -> Course:
    """The search strategy of this name, or the one that `module:Class` names, made without arguments.

    Raises `ConfigError` for a name that is none, and for "tpe" where Optuna is not installed.
    """
    if ":" in name:
        made: Course = components.make(name)
        return made
    if name not in COURSES:
        raise ConfigError(f'model.search: {unknown_name("strategy", name, COURSES)} Or give "module:Class".')
    if name == TPE.name:
        _optuna()
    return COURSES[name]()


def _templates(candidates: Sequence[Candidate], n_labels: int) -> list[Candidate]:
    """One candidate for each family that has something to vary; none of few labels, where a search is all luck."""
    first: dict[str, Candidate] = {}
    for each in candidates:
        if each.ranges and n_labels >= _MANY:
            first.setdefault(each.family, each)
    return list(first.values())


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            'model.search is "tpe", and Optuna is not installed: pip install "active-loop[automl]", or set '
            'model.search to "random" or "halving".'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _suggested(trial: Any, template: Candidate, path: str, range_: Range) -> Any:
    name = f"{template.family}.{path}"
    if not isinstance(range_, Between):
        return range_.values[trial.suggest_categorical(name, list(range(len(range_.values))))]
    if range_.whole:
        return trial.suggest_int(name, int(range_.low), int(range_.high), log=range_.log)
    return range_.kept(trial.suggest_float(name, range_.low, range_.high, log=range_.log))


def _known(optuna: ModuleType, templates: Mapping[str, Candidate], each: Candidate) -> dict[str, Any] | None:
    """A listed candidate as a trial: its parameters with their distributions; None if it lies outside the ranges."""
    template = templates.get(each.family)
    if template is None:
        return None
    families = optuna.distributions.CategoricalDistribution(list(templates))
    params: dict[str, Any] = {"family": each.family}
    distributions: dict[str, Any] = {"family": families}
    own = each.estimator.get_params()
    for path, range_ in template.ranges.items():
        name, value = f"{each.family}.{path}", own.get(path)
        if isinstance(range_, Between):
            if not isinstance(value, int | float) or not range_.low <= value <= range_.high:
                return None
            make = optuna.distributions.IntDistribution if range_.whole else optuna.distributions.FloatDistribution
            ends = (int(range_.low), int(range_.high)) if range_.whole else (range_.low, range_.high)
            distributions[name] = make(*ends, log=range_.log)
            params[name] = value
        elif value in range_.values:
            distributions[name] = optuna.distributions.CategoricalDistribution(list(range(len(range_.values))))
            params[name] = range_.values.index(value)
        else:
            return None
    return {"params": params, "distributions": distributions}
