"""The model of a loop, fitted again from what was recorded and written to one file.

A round is a function of its row, so no lock is needed for that. From which confidence on the model answers alone is
decided here too, by labels that it had not seen; no test answer is used for it. Once the loop has stopped, the share
that is right among the test items that reach it is read once: that is recorded in the loop, under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import alone
from .alone import Alone, Tried
from .changes import changes, current_settings, ended
from .domain import COLD_START, Look, Round, RoundState, Split, Verdict
from .errors import ConfigError, DataError, FolderError, TrainingError
from .evaluate import lower_bound, truth_codes
from .features import content_of, fitted
from .figures import brier, calibration, calibration_error, of_classes
from .instructions import versions
from .jobs import Jobs
from .learner import CommitteeLearner
from .model import About, Calibration, Model, Threshold, confidence, libraries, load_model, write_model
from .portrait import FEWEST
from .records import Source
from .refit import Refit
from .runner import InlineRunner
from .scoring import RoundJob, fit_model, guard, held_out
from .settings import Settings, from_json
from .sources import ImageSource, open_source
from .standing import Standing
from .store import FolderLock, Store
from .tasks import Task, make_task

Reals = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

SHARES: Final = ("accuracy", "subset_accuracy")
"""Metrics whose target is a share of items that are predicted rightly."""

_LEVEL: Final = 0.1
_CHECKED: Final = 500
"""Items on which a written file is tried."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A written model: what is said of it, and the user's own types that it holds."""

    path: Path
    about: About
    trusts: tuple[str, ...]


def take_away(
    store: Store, folder: Path, path: Path, goal: float | None = None, *, source: Source | None = None
) -> Taken:
    """Write the model of the loop in `folder` to `path`, and try it.

    Which one: after a certificate the model that learned from all answers, if it is certified as well, or else that of
    the judged round; before one that of the newest round. `goal` is the share of what it answers alone that is to be
    right; without one the target, where that is such a share. Raises `DataError` for a loop without a model, and
    `TrainingError` if the file does not predict what the model does.
    """
    if goal is not None and not 0 < goal < 1:
        raise ConfigError(f"--right is {goal:g}: give a share between 0 and 1, for instance 0.95.")
    what, round_ = _chosen(store)
    jobs = opened(store, folder, round_, source)
    of_round = jobs.of(round_, rank=False)
    job = _of_all(jobs) if what == "all" else of_round
    guard(job)
    X = job.features.open()
    learner, encoding = fit_model(job, X), jobs.encode()
    if not isinstance(learner, CommitteeLearner):
        raise DataError("there is no model to take away: the loop has only chosen its first items.")
    extractor = fitted(jobs.source, encoding.rows, encoding.pool, encoding.features, encoding.data)
    about = _about(store, jobs, what, round_, job, learner.fingerprint)
    about = _judged(store, jobs, round_, of_round, about, goal)
    about = _answers_alone(store, folder, jobs, job, learner, about)
    trusts = write_model(path, about, extractor, learner)
    if trusts:
        about = replace(about, trusts=trusts)
        write_model(path, about, extractor, learner)
    _try(load_model(path, trusts), jobs, job, learner)
    return Taken(path, about, trusts)


def opened(store: Store, folder: Path, round_: Round, source: Source | None = None) -> Jobs:
    """The jobs of a loop under the settings of this round."""
    found = store.setting(round_.setting)
    settings = from_json(found[1]) if found else current_settings(store)
    standing = Standing(settings, store, lambda: datetime.now(UTC))
    return Jobs(standing, source or open_source(settings.data, folder), InlineRunner(), folder)


def ranked(store: Store) -> list[Round]:
    """The rounds that have a model, the oldest first."""
    return [each for each in store.rounds() if each.state == RoundState.RANKED and each.number != COLD_START]


# which model


def _chosen(store: Store) -> tuple[str, Round]:
    """Which model is meant, and its round: see `About.what`."""
    rounds, settings = ranked(store), current_settings(store)
    if settings.is_search:
        raise DataError("a search has no model to take away: what it proves is what people found.")
    if not rounds:
        raise DataError("there is no model to take away yet: none was trained; come back after the first round.")
    looks = store.looks()
    if ended(store, settings) is None or not looks or looks[-1].verdict != Verdict.CERTIFIED:
        return "newest", rounds[-1]
    judged = next(each for each in rounds if each.number == looks[-1].round)
    stop = store.events("stopped")[-1].position
    refits = [Refit.of(event.body) for event in store.events("refitted") if event.position > stop]
    if not refits or not refits[-1].certified:
        return "judged", judged
    last = opened(store, Path(store.path).parent, rounds[-1]).standing
    labels = [item for item, merged in last.merged().items() if merged.label]
    return ("all" if len(labels) == refits[-1].n_labels else "judged"), judged


def _of_all(jobs: Jobs) -> RoundJob:
    """The fit of the model that learned from all answers, as it was made after the certificate."""
    merged = jobs.standing.merged()
    labels = {item: each.label for item, each in merged.items() if each.label}
    return jobs.fits([labels], [item for item in jobs.standing.test_order if item not in merged])[0]


# what is said of it


def _about(store: Store, jobs: Jobs, what: str, round_: Round, job: RoundJob, fingerprint: str) -> About:
    settings, task = jobs.standing.settings, make_task(job.task)
    told = [each for each in versions(store.settings_history()) if each.text]
    over = ended(store, current_settings(store)) is not None
    return About(
        loop=settings.name,
        kind=settings.data.kind,
        columns=_columns(settings, jobs.source, jobs.encode().rows[:1]),
        id=settings.data.id,
        task=asdict(settings.task),
        extractor=job.features.extractor,
        what=what,
        round=round_.number,
        n_labels=len(job.codes),
        labels=dict(task.summarise(task.decode(job.codes))),
        # The seed is that of the test order, which nobody may know before the end.
        model=fingerprint if over else fingerprint.partition(";")[0],
        features=job.features.fingerprint,
        data=str(round_.record.get("data_version", "")),
        settings=round_.setting,
        instructions=told[-1].number if told else 0,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        libraries=libraries(),
    )


def _columns(settings: Settings, source: Source, row: Sequence[str]) -> tuple[str, ...]:
    """The columns of a file of such rows that the model predicts from."""
    if settings.data.kind == "table":
        return tuple(str(name) for name in source.content(row).columns)
    if isinstance(source, ImageSource) or settings.data.kind == "image":
        return (settings.data.show or ("image",))[:1]
    return settings.data.use or settings.data.show


def _judged(store: Store, jobs: Jobs, round_: Round, job: RoundJob, about: About, goal: float | None) -> About:
    """What labels say of it that it had not seen: those to learn from, out of fold; of test items once all is over."""
    task = make_task(job.task)
    tested = _tested(store, jobs, round_, task)
    if len(job.labelled) < FEWEST:
        few = f"{len(job.labelled)} labels are too few to say how sure is sure enough"
        return replace(about, threshold=Threshold(why=few), tested=tested)
    held = held_out(job, job.features.open())
    table = np.stack([held[item] for item in job.labelled.tolist()])
    right = _right(task, job.codes, table)
    each = () if task.kind == "number" else of_classes(task, job.codes, task.decide(table))
    return replace(
        about,
        threshold=_threshold(task, table, right, _goal(jobs.standing.settings, goal)),
        held_out=None if task.kind == "number" else (int(right.sum()), len(right)),
        of_classes=tuple((c.name, c.precision.right, c.precision.n, c.recall.right, c.recall.n) for c in each),
        calibration=_calibrated(task, job.codes, table),
        tested=tested,
    )


def _right(task: Task, codes: NDArray[Any], table: Reals) -> Flags:
    """(n,) whether all of it is predicted rightly."""
    return np.asarray((task.decide(table) == codes).reshape(len(codes), -1).all(axis=1), dtype=bool)


def _goal(settings: Settings, goal: float | None) -> float | None:
    return settings.target.value if goal is None and settings.target.metric in SHARES else goal


def _threshold(task: Task, table: Reals, right: Flags, goal: float | None) -> Threshold:
    """The least confidence from which on enough is right, by the bound: see `Threshold`."""
    sure = confidence(task, table)
    if sure is None:
        return Threshold(why="a predicted number has no confidence")
    if goal is None:
        return Threshold(why="the target is no share of right predictions: say by --right how many are to be right")
    return least_confidence(sure, right, goal)


def least_confidence(sure: Reals, right: Flags, goal: float) -> Threshold:
    """The least of the confidences (n,) from which on the share that is `right` is `goal` by a lower bound of 90 %."""
    order = np.argsort(-sure, kind="stable")
    n_right = np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(sure[order]) != 0, True))  # equals stand or fall together
    for place in last[::-1].tolist():
        k, n = int(n_right[place]), place + 1
        if lower_bound(k, n, _LEVEL) >= goal:
            return Threshold(float(sure[order][place]), goal, k, n)
    return Threshold(None, goal, int(right.sum()), len(right), f"of no part of {len(right)} labels enough are right")


def _calibrated(task: Task, codes: NDArray[Any], table: Reals) -> Calibration | None:
    """How well the chances of one class per item hold; None for other kinds of label, and for no item."""
    if task.kind != "choice" or not len(codes):
        return None
    bins = calibration(table.max(axis=1), _right(task, codes, table))
    return Calibration(calibration_error(bins), brier(codes, table), len(codes))


def _tested(store: Store, jobs: Jobs, round_: Round, task: Task) -> Calibration | None:
    """The calibration on the test items that have a label; None as long as the loop runs."""
    if ended(store, current_settings(store)) is None:
        return None
    merged, order = jobs.standing.merged(), jobs.standing.test_order
    known = [(place, label) for place, item in enumerate(order) if item in merged and (label := merged[item].label)]
    if not known:
        return None
    table = jobs.predictions(round_)[0][[place for place, _ in known]]
    return _calibrated(task, task.encode([label for _, label in known]), table)


# what is proven of it where it answers alone


def _answers_alone(
    store: Store, folder: Path, jobs: Jobs, job: RoundJob, learner: CommitteeLearner, about: About
) -> About:
    """With what test items say of those that it answers alone, as it is recorded; or else with why nothing is."""
    least, goal = about.threshold.least, about.threshold.goal
    if least is None or goal is None:
        return about
    if unread := _unread(store, about):
        return replace(about, unread=unread)
    tried = Tried(about.model, about.features, about.data, least)
    try:
        with FolderLock(folder), closing(Store(store.path)) as own:
            # Meanwhile the loop may go on, or somebody else have read: who holds the lock sees all that is recorded.
            seen = partial(_seen, own, jobs, job, learner, least)
            found = _unread(own, about) or _recorded(own, tried, goal, seen)
    except FolderError:
        found = "busy"
    return replace(about, unread=found) if isinstance(found, str) else replace(about, alone=found)


def _unread(store: Store, about: About) -> str:
    """Why no test item may be read for this model, as one word (`alone.why_not`); empty if they may.

    They may be those of the newest look, if it was at this model. That look fixed model and items before anybody could
    know what they show: any other model, or more answers, a person might have chosen after seeing scores.
    """
    settings, looks = current_settings(store), store.looks()
    if ended(store, settings) is None:
        return "running"
    if about.what == "all":
        return "all"
    if settings.data.group:
        return "groups"
    before = max((change.looks for _, change in changes(store)), default=0)
    return "" if looks[before:] and looks[-1].round == about.round else "unlooked"


def _recorded(store: Store, tried: Tried, goal: float, seen: Callable[[Look], tuple[Flags, Flags]]) -> Alone | str:
    """What was read of this model and threshold, or is read now and recorded; "none" if no test item reaches it.

    Where nothing is read nothing is spent: which items reach it, no test answer tells.
    """
    look, known = store.looks()[-1], [Alone.of(event.body) for event in store.events("alone")]
    for each in known:
        if (each.look, each.tried) == (look.number, tried):
            return replace(each, goal=goal)  # the same claim, whatever it is wanted for
    right, reach = seen(look)
    if not reach.any():
        return "none"
    is_target = look.metric in SHARES and goal == look.target
    anytime = current_settings(store).target.proof == "anytime"
    found = alone.judge(len(known) + 1, look, tried, goal, right, reach, is_target=is_target, anytime=anytime)
    store.add_event("alone", found.as_dict())
    return found


def _seen(
    store: Store, jobs: Jobs, job: RoundJob, learner: CommitteeLearner, least: float, look: Look
) -> tuple[Flags, Flags]:
    """Whether each item of a look, in the test order, is predicted rightly (n,), and surely enough (n,)."""
    task, place = make_task(job.task), {item: rank for rank, item in enumerate(jobs.standing.test_order)}
    items = sorted(store.look_items(look.number), key=lambda each: place[each.item])
    table = learner.member_predictions(job.features.open()[[each.item for each in items]]).mean(axis=0)
    right, sure = _right(task, truth_codes(task, [each.label for each in items]), table), confidence(task, table)
    return right, np.zeros_like(right) if sure is None else sure >= least


# whether it works


def _try(model: Model, jobs: Jobs, job: RoundJob, learner: CommitteeLearner) -> None:
    """Refuse a file that does not predict of pool items, from what they hold, exactly what the model does."""
    items = [item for item in jobs.standing.items if item.split == Split.POOL][:_CHECKED]
    rows = [item.row for item in items]
    content = content_of(jobs.source, job.features.extractor)(rows)
    expected = learner.member_predictions(job.features.open()[[item.position for item in items]]).mean(axis=0)
    # What a text holds was put together from its columns already.
    if not np.array_equal(model.said(content, rows).table, expected):
        raise TrainingError(
            f"the model was written, and opened again it predicts otherwise of some of {len(items)} items: "
            "do not use the file, and tell us which model and features it has."
        )
