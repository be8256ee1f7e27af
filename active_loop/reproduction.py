"""A round fitted again from its row, beside what was kept and recorded of it.

A round is a function of its row, so that whoever has the folder and the data can have it again, years later, and see
whether it comes out the same. Nothing is committed, and nothing that was kept is written over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .domain import Round, RoundState
from .errors import ConfigError
from .predictions import Predictions
from .records import Source
from .scoring import RoundJob, RoundResult
from .store import Store
from .takeaway import opened


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came of fitting a round again. `differences` are sentences, none if all is the same.

    `compared` says what was: what it predicted, where that was still kept, and what it chose. `libraries` are those
    that were recorded with other versions: name, then, now.
    """

    round: int
    compared: tuple[str, ...]
    differences: tuple[str, ...]
    libraries: tuple[tuple[str, str, str], ...]

    @property
    def same(self) -> bool:
        return not self.differences


def reproduce(store: Store, folder: Path, number: int, *, source: Source | None = None) -> Reproduced:
    """Fit a ranked round of the loop in `folder` again, in this process, and compare. `ConfigError` if there is none.

    Predictions, and the utilities of what was chosen, are the same only if they are so bit for bit.
    """
    round_ = _round(store, number)
    jobs = opened(store, folder, round_, source)
    kept = Predictions(folder / "cache" / "rounds").find(number)
    result = _as_it_was(store, round_, jobs.of(round_)).run()
    found = [*_predictions(kept, result), *_ranking(store, round_, result), *_record(round_, result)]
    compared = (*(("what it predicted",) if kept else ()), "what it chose")
    return Reproduced(number, compared, tuple(found), _libraries(round_, result))


def _round(store: Store, number: int) -> Round:
    ranked = {each.number: each for each in store.rounds() if each.state == RoundState.RANKED}
    if number not in ranked:
        known = f"{min(ranked)} to {max(ranked)}" if ranked else "none yet"
        raise ConfigError(f"there is no ranked round {number}: there are {known} (-1 chose the first items).")
    return ranked[number]


def _as_it_was(store: Store, round_: Round, job: RoundJob) -> RoundJob:
    """The job without items that it could not choose then: asked about, and withdrawn unanswered only later.

    Asks are withdrawn when a loop stops; a loop may have gone on after that, and then they could be chosen again.
    """
    stops = [event.at for event in store.events("stopped") if round_.opened_at and event.at <= round_.opened_at]
    open_then = {
        item for item, at in store.withdrawn(round_.ask_position).items() if not any(at <= stop for stop in stops)
    }
    waited = np.array(sorted(open_then.intersection(job.candidates.tolist())), dtype=np.int64)
    stays = ~np.isin(job.candidates, waited)
    pending = np.union1d(job.pending, waited)
    return replace(job, candidates=job.candidates[stays], ids=job.ids[stays], pending=pending)


def _predictions(kept: tuple[NDArray[np.float64], NDArray[Any]] | None, result: RoundResult) -> list[str]:
    """How what is predicted of the test order and of the sample differs from what was kept."""
    if kept is None:
        return []
    pairs = zip(("test items", "sample"), kept, (result.test_mean, result.sample_codes), strict=True)
    return [said for name, then, now in pairs if (said := _apart(name, then, now))]


def _apart(name: str, then: NDArray[Any], now: NDArray[Any]) -> str:
    """In how many rows two predictions of the same items differ, in a sentence; empty where they are the same."""
    if then.shape != now.shape:
        return f"of the {name}, predictions of the shape {then.shape} were kept, and {now.shape} came now."
    differ = (then != now).reshape(len(then), -1).any(axis=1)
    if not differ.any():
        return ""
    widest = float(np.abs(then.astype(float) - now.astype(float)).max())
    return f"predictions differ in {int(differ.sum())} of {len(then)} rows of the {name}, by {widest:.3g} at most."


def _ranking(store: Store, round_: Round, result: RoundResult) -> list[str]:
    """How what is chosen differs from the recorded ranking."""
    then = [(ask.item, ask.utility) for ask in store.ranking(round_.number)]
    now = [(int(item), float(utility)) for item, utility in zip(result.chosen, result.utilities, strict=True)]
    if then == now:
        return []
    if [item for item, _ in then] == [item for item, _ in now]:
        widest = max(abs((was or 0.0) - now_is) for (_, was), (_, now_is) in zip(then, now, strict=True))
        return [f"the same {len(now)} items are chosen, with utilities that differ by {widest:.3g} at most."]
    place = next((at for at, (one, other) in enumerate(zip(then, now, strict=False)) if one[0] != other[0]), len(now))
    return [f"other items are chosen, from place {place + 1} of {len(then)} on."]


def _record(round_: Round, result: RoundResult) -> list[str]:
    """What was recorded of the round's data, features and model, and is otherwise now."""
    names = {"data_version": "the data it learned from", "features": "its features", "model": "its model"}
    then, now = round_.record, result.record
    return [
        f"{said} was {then[name]} and is {now[name]} now."
        for name, said in names.items()
        if name in then and then[name] != now[name]
    ]


def _libraries(round_: Round, result: RoundResult) -> tuple[tuple[str, str, str], ...]:
    then: Mapping[str, str] = round_.record.get("libraries", {})
    now: Mapping[str, str] = result.record["libraries"]
    return tuple((name, was, now.get(name, "none")) for name, was in then.items() if now.get(name) != was)
