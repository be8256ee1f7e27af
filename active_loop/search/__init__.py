"""Which model learns, where the settings leave that to the loop: a search among candidates, on the labels so far.

Three parts can be replaced, each by its name in `loop.toml`: the space of candidates, the course in which they are
tried, and the evaluation that compares them. What was tried, and what came of it, is in the round's record. Reserved
items are never seen here, and the losses choose a model: they are not its quality.

Inside, imports point down only: verdict > mixture > race > course > space > ranges; evaluation; trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError, TrainingError
from .evaluation import Lessons
from .ranges import Between, OneOf
from .trials import Found, Trial

if TYPE_CHECKING:
    from ..learner import Learner
    from ..settings import ModelSettings
    from .space import Candidate

__all__ = [
    "Between",
    "Candidate",
    "Found",
    "Lessons",
    "OneOf",
    "Trial",
    "candidates",
    "check_candidates",
    "fitted",
    "search",
    "seconds",
    "warm_up",
]

_TRYING: Final = 0.95
"""Part of a search's time in which candidates are tried: the rest is for what is made of them."""

_GROWTH: Final = 1.25
"""Times as many labels as at the last search that call for another one."""


def search(
    lessons: Lessons,
    model: ModelSettings,
    before: Found | None = None,
    folds: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Found:
    """The model for these labels. What was found `before` is kept until there are 25 % more labels.

    `folds` says how many folds of each candidate are tried, instead of the clock; given empty, nothing is tried, and
    what was found before is kept. Raises `TrainingError` if no candidate can be fitted, `ConfigError` for parts or
    candidates that do not exist.
    """
    from .course import make_course
    from .evaluation import make_evaluation
    from .mixture import Mixture
    from .race import Limit, tried
    from .space import admitted, variation
    from .verdict import verdict

    listed, n = candidates(lessons, model), len(lessons)
    before = before if before and Mixture.of(before.chosen).candidate(listed, lessons.kind) else None
    parts = {"space": model.space, "strategy": model.search, "evaluation": model.evaluation}
    if before and (folds == {} or (before.at and n < _GROWTH * before.at)):
        return replace(before, trials=(), parts=parts, tamed=None)
    incumbent = before.chosen if before and before.at else ""
    old = Mixture.of(incumbent).parts
    limit = Limit(_TRYING * seconds(model, n), clock, folds)
    course, evaluation = make_course(model.search), make_evaluation(model.evaluation)
    entered = [each for each in admitted(listed, n) if each.name not in old]
    entered += [replace(each, tamer=False) for name in old if (each := variation(listed, name))]
    tallies, tamed = tried(entered, lessons, evaluation, course, limit, old)
    if all(tally.problem for tally in tallies):
        reasons = "; ".join(f"{tally.candidate.name}: {tally.problem}" for tally in tallies) or "there are none"
        raise TrainingError(f"cannot train: no candidate can be fitted to {n} labels ({reasons}).")
    found = verdict(tallies, lessons, evaluation, incumbent, bool(before and before.challenger), model.mixed)
    at = n if any(tally.repeats for tally in tallies) else 0
    if tamed:
        tamed = replace(tamed, took=" + ".join(name for name in Mixture.of(found.chosen).parts if name in tamed.tried))
    told = {**parts, "limit": round(seconds(model, n), 3)}
    return Found(found.chosen, found.near, at, found.challenger, found.trials, told, tamed)


def fitted(lessons: Lessons, found: Found, model: ModelSettings, members: int = 1) -> Learner:
    """A learner of the model that was found, fitted to these labels.

    Of more than one member they are those near it, at most five in all; with `model.committee` they are bootstrap
    samples of the model itself. Labels that it was not compared on may be such that it cannot be fitted (a class with a
    single item, for instance): then it is the first of its parts that can, or else the first candidate. Raises
    `TrainingError` if none can.
    """
    from ..learner import make_learner
    from .mixture import Mixture
    from .race import teach
    from .space import variation

    listed, mixture = candidates(lessons, model), Mixture.of(found.chosen)
    alone = model.committee > 1 or members < 2 or len(found.near) < 2
    whole = mixture.candidate(listed, lessons.kind)
    near = [each for name in found.near if (each := variation(listed, name))]
    parts = [each for name in mixture.parts if (each := variation(listed, name))]
    problems = []
    for together in ([whole] if alone and whole else near, *([each] for each in (*parts, *listed))):
        if not together:
            continue
        use = [each.estimator for each in together]
        learner = make_learner(
            use[0] if len(use) == 1 else use,
            classes=lessons.classes,
            seed=lessons.seed,
            committee=max(model.committee, members) if len(use) == 1 else 1,
            kind=lessons.kind,
        )
        try:
            teach(learner, lessons.X, lessons.codes)
        except TrainingError as error:
            problems.append(str(error))
        else:
            return learner
    raise TrainingError(problems[0])


def warm_up() -> None:
    """Import all that a search may need, before its time begins."""
    from . import verdict

    del verdict


def candidates(lessons: Lessons, model: ModelSettings) -> Sequence[Candidate]:
    """All candidates of these settings for labels of this kind, those that need more labels too."""
    from scipy.sparse import issparse

    from .space import make_space, named

    every = make_space(model.space).candidates(lessons.kind, len(lessons), issparse(lessons.X))
    listed = named(every, model.candidates)
    if len({each.name for each in listed}) < len(listed):
        raise ConfigError(f"model.space: {model.space} has two candidates of one name; give each its own.")
    return listed


def check_candidates(names: Sequence[str], kind: str) -> None:
    """Raises `ConfigError` for names of candidates that this project's own space lacks for a kind of label."""
    from .space import Growing, named

    named(Growing().candidates(kind, 1, sparse=False), names)


def __getattr__(name: str) -> Any:
    if name == "Candidate":  # with it comes all of scikit-learn
        from .space import Candidate

        return Candidate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def seconds(model: ModelSettings, n_labels: int) -> float:
    """The longest that a search should take: `model.seconds` up to 200 labels, six times that from 2,000 on."""
    return model.seconds * (1 + 5 * min(1.0, max(0, n_labels - 200) / 1800))
