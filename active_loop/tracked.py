"""What a tracking server is told of a loop: each ranked round as a run, and a model with the state of its certificate.

Everything is read from the store, and is what the dashboard shows: of test items readings and looks, of items and
people nothing at all, and the seed, from which the test order follows, only once the loop has stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from .changes import current_settings, ended
from .domain import COLD_START, Look, Round, RoundState
from .history import RoundLine, history
from .model import About
from .refit import Refit
from .report import CurvePoint, status
from .settings import from_json
from .store import Store

LOOP: Final = "active_loop.loop"
"""Tag with the loop's own name."""

ROUND: Final = "active_loop.round"
"""Tag with the number of a round, by which its run is found."""

FINGERPRINT: Final = "active_loop.fingerprint"
"""Tag by which a model is found."""

_LONGEST: Final = 500
"""Letters of a parameter: what every version of the server takes."""

_MEASURED: Final = ("n_labels", "n_candidates", "agreement", "search_s", "fit_s", "query_s")
_LOOK: Final = ("value", "low", "high", "bound", "posterior", "n", "level", "target")


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is told of one round. `step` counts labels; `record` is JSON text.

    `params` stay what they are for ever, though there may be more of them later; metrics and tags may change.
    """

    number: int
    name: str
    began: datetime
    ended: datetime
    step: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    record: str


def tracked(store: Store) -> list[Tracked]:
    """Every ranked round, the choice of the first items before them."""
    stop = ended(store, current_settings(store))
    lines = {line.round: line for line in history(store).rounds if line.ranked_at}
    curve = {point.round: point for point in status(store).curve}
    looks = {look.round: look for look in store.looks()}
    rounds = [each for each in store.rounds() if each.state == RoundState.RANKED and each.number in lines]
    told = [
        _tracked(store, each, lines[each.number], curve.get(each.number), looks.get(each.number)) for each in rounds
    ]
    if stop and told:
        told[-1] = replace(told[-1], tags={**told[-1].tags, "active_loop.stopped": stop.reason})
    return told


def _tracked(store: Store, round_: Round, line: RoundLine, point: CurvePoint | None, look: Look | None) -> Tracked:
    told = store.setting(round_.setting)
    settings = from_json(told[1]) if told else current_settings(store)
    cold, record = round_.number == COLD_START, _record(round_, line)
    params = {
        "metric": settings.target.metric,
        "target": f"{settings.target.value:g}",
        "strategy": settings.query.cold_start if cold else settings.query.asks_by,
        "model": (line.model or "").partition(";")[0],
        "seed": "" if line.seed is None else str(line.seed),
        **{name: str(record[name]) for name in ("chosen", "features", "data_version") if name in record},
        **{f"library.{name}": str(version) for name, version in record["libraries"].items()},
    }
    tags = {
        LOOP: store.uid(),
        ROUND: str(round_.number),
        "active_loop.settings": str(round_.setting),
        "mlflow.source.name": "active-loop",
        **{f"active_loop.{name}": "true" for name in ("final", "by_hand") if getattr(round_, name)},
        **({"active_loop.look": str(look.number), "active_loop.verdict": look.verdict.value} if look else {}),
    }
    began = line.opened_at or line.ranked_at or datetime.now(UTC)
    return Tracked(
        number=round_.number,
        name=f"{settings.name}: first items" if cold else f"{settings.name}: round {round_.number}",
        began=began,
        ended=line.ranked_at or began,
        step=line.labels or 0,
        params={name: value[:_LONGEST] for name, value in params.items() if value},
        metrics=_metrics(record, line.metric, point, look),
        tags=tags,
        record=json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True),
    )


def _record(round_: Round, line: RoundLine) -> dict[str, Any]:
    """The record of a round without what names an item, and without what the loop keeps to itself while it goes on."""
    record, over = round_.record, line.seed is not None
    known = (*_MEASURED, "chosen", "features", "data_version")
    return {
        **{name: record[name] for name in known if name in record},
        "libraries": record.get("libraries", {}),
        "model": line.model,
        "trials": [_plain(trial) for trial in record.get("trials", ())],
        "search": _plain(record.get("search", {})),
        **({"seed": line.seed, "labels": record.get("labels", {})} if over else {}),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are a text, a number, or texts: no list of numbers, which could be of items."""
    texts = {
        name
        for name, value in values.items()
        if isinstance(value, list) and all(isinstance(each, str) for each in value)
    }
    return {
        name: value for name, value in values.items() if name in texts or isinstance(value, str | int | float | None)
    }


def _metrics(
    record: Mapping[str, Any], metric: str | None, point: CurvePoint | None, look: Look | None
) -> dict[str, float]:
    """What was measured: of a reading and a look what the dashboard shows."""
    values = {name: record.get(name) for name in _MEASURED}
    values |= {_named(f"loss {trial['candidate']}"): trial.get("loss") for trial in record["trials"]}
    if point:
        values["answers"] = point.answers
    if point and metric and point.value is not None:
        values |= {metric: point.value, f"{metric}.low": point.low, f"{metric}.high": point.high}
        values["n_test"] = point.n_test
    if look:
        values |= {f"look.{name}": getattr(look, name) for name in _LOOK}
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def _named(text: str) -> str:
    """A text as the name of a metric, which may hold few signs.

    >>> _named("loss logistic(C=10)")
    'loss logistic C 10'
    """
    return " ".join(re.sub(r"[^\w\-. ]", " ", text).split())[:250]


def certificate(store: Store, about: About) -> dict[str, str]:
    """What a model is, and what was proven of it, as tags; two of the same fingerprint are the same model."""
    told: dict[str, Any] = {"loop": store.uid(), "round": about.round, "what": about.what, "labels": about.n_labels}
    known = (store.uid(), about.what == "all" or about.round, about.n_labels, about.features, about.data)
    same = repr((*known, about.model.partition(";")[0]))
    told |= {"fingerprint": hashlib.blake2b(same.encode(), digest_size=16).hexdigest(), "verdict": "not tested"}
    looks = {look.number: look for look in store.looks()}
    judged = [look for look in looks.values() if look.round == about.round]
    refits = [Refit.of(event.body) for event in store.events("refitted")] if about.what == "all" else []
    if refits:
        look, last = looks[refits[-1].look], refits[-1]
        # Its bound holds where neither the look nor the comparison with the judged model errs.
        told |= {"bound": last.bound, "level": look.level + last.level}
    elif judged:
        look = judged[-1]
        told |= {"bound": look.bound, "level": look.level}
    if refits or judged:
        told |= {"verdict": look.verdict, "metric": look.metric, "target": look.target}
    return {f"active_loop.{name}": str(value) for name, value in told.items()}
