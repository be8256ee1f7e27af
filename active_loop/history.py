"""The whole trail of a loop as entries, newest first: rounds, looks, settings, data, and what else happened.

For people who want to know what was done when, and why: each entry is a sentence with its facts. Until the loop has
stopped nothing here names an item, since that alone can tell on which side it is; and nothing ever says a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from .alone import Alone, told
from .changes import changes, current_settings, ended
from .control import Control, sentence
from .domain import COLD_START, Event, Look, Round, Score, Verdict
from .language import say, say_n
from .refit import Refit
from .refit import obstacle as obstacle_of
from .report import called, counted, ending
from .settings import METRICS, Settings, differences, from_json, in_words, time_zone
from .store import Store

KINDS: Final = ("rounds", "looks", "settings", "data", "events")
"""What an entry can be."""

_SECRET: Final = (
    *("notify.command", "labeling.url", "labeling.token_env", "labeling.token_file", "server.public_url"),
    "mlflow.uri",
)
"""Settings that may hold a secret, or lead to one: that they changed is told, and not how."""

_WAITING: Final = ("seed",)
"""Settings from which the test order follows, with the data: told once the loop has stopped."""

_LONGEST: Final = 300
"""Letters of a value that are shown."""

_BEGINNING: Final = ("created", "imported")
"""Events that come before every round."""

_BEFORE: Final = datetime.min.replace(tzinfo=UTC)
"""When what carries no time was: before all that does."""

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: a sentence, its facts by name, and the items (positions) that it names.

    `note` is what it means for the claim, where it does.
    """

    at: datetime
    kind: str
    what: str
    note: str = ""
    facts: Facts = ()
    items: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundLine:
    """A round as one line of a table; times in UTC, fields without a value are None.

    `answers` counts versions of answers up to which it learned; `seed` is known once the loop has stopped.
    """

    round: int
    state: str
    opened_at: datetime | None
    ranked_at: datetime | None
    answers: int
    labels: int | None
    candidates: int | None
    metric: str | None
    value: float | None
    low: float | None
    high: float | None
    tested: int | None
    agreement: float | None
    final: bool
    settings: int
    seed: int | None
    model: str | None
    features: str | None
    data: str | None
    libraries: str | None
    fit_s: float | None
    query_s: float | None


@dataclass(frozen=True, slots=True)
class History:
    """The trail of a loop, its entries newest first; rounds and looks besides as lines of tables, oldest first."""

    entries: tuple[Entry, ...]
    rounds: tuple[RoundLine, ...]
    looks: tuple[Look, ...]


def history(store: Store) -> History:
    """All that happened, in the language that is spoken now."""
    with store.snapshot():
        settings = current_settings(store)
        over = ended(store, settings) is not None
        scores = {score.round: score for score in store.scores() if score.metric == settings.target.metric}
        rounds, looks = store.rounds(), store.looks()
        lines = tuple(_line(round_, scores.get(round_.number), over) for round_ in rounds)
        events = [event for event in store.events() if event.kind != "changed"]
        # Of what has the same time, the later here came later.
        entries = [
            *_settings(store, over),
            *(_event(event, over, looks) for event in events if event.kind in _BEGINNING),
            *(_round(round_, line, over, settings) for round_, line in zip(rounds, lines, strict=True)),
            *map(_look, looks),
            *(_event(event, over, looks) for event in events if event.kind not in _BEGINNING),
        ]
        in_order = sorted(entries, key=lambda entry: entry.at)[::-1]
        return History(tuple(in_order), lines, tuple(looks))


# rounds


def _line(round_: Round, score: Score | None, over: bool) -> RoundLine:
    record = round_.record
    libraries = record.get("libraries", {})
    return RoundLine(
        round=round_.number,
        state=round_.state.value,
        opened_at=round_.opened_at,
        ranked_at=round_.ranked_at,
        answers=round_.annotation_position,
        labels=record.get("n_labels"),
        candidates=record.get("n_candidates"),
        metric=score.metric if score else None,
        value=score.value if score else None,
        low=score.low if score else None,
        high=score.high if score else None,
        tested=score.n if score else None,
        agreement=record.get("agreement"),
        final=round_.final,
        settings=round_.setting,
        seed=round_.seed if over else None,
        model=_model(record.get("model"), over),
        features=record.get("features"),
        data=record.get("data_version"),
        libraries=", ".join(f"{name} {version}" for name, version in libraries.items()) or None,
        fit_s=record.get("fit_s"),
        query_s=record.get("query_s"),
    )


def _model(fingerprint: str | None, over: bool) -> str | None:
    """The model; its seed, which is that of the test order, only once the loop has stopped."""
    return fingerprint if over or fingerprint is None else fingerprint.partition(";")[0]


def _round(round_: Round, line: RoundLine, over: bool, settings: Settings) -> Entry:
    """A round with all that was measured of it and may be told."""
    searches, zone = settings.is_search, time_zone(settings.budget)
    alike = say("New answers without the class") if searches else say("Predicts as an earlier round did")
    labels: Mapping[str, Any] = round_.record.get("labels", {}) if over else {}
    scored = line.value is not None and line.low is not None and line.high is not None
    facts = (
        (say("Began"), _time(line.opened_at, zone)),
        (say("Answers recorded by then"), f"{line.answers}"),
        (say("Labels learned from"), _written(line.labels)),
        (say("Labels by class"), ", ".join(f"{name} {n}" for name, n in labels.items())),
        (say("Reading"), f"{line.value:.3f} [{line.low:.3f} – {line.high:.3f}]" if scored else ""),
        (say("Items it was read on"), _written(line.tested)),
        (alike, _share(line.agreement)),
        (say("Items to choose from"), _written(line.candidates)),
        (say("Model"), line.model or ""),
        (say("Features"), line.features or ""),
        (say("Data"), line.data or ""),
        (say("Libraries"), line.libraries or ""),
        (say("Seconds to learn"), _written(line.fit_s)),
        (say("Seconds to choose"), _written(line.query_s)),
        (say("Settings"), say("version {n}", n=line.settings)),
        (say("Seed"), _written(line.seed)),
    )
    return Entry(line.ranked_at or line.opened_at or _BEFORE, "rounds", _round_sentence(line), facts=_there(facts))


def _round_sentence(line: RoundLine) -> str:
    if line.round == COLD_START:
        return say("The first items were chosen, before there was a model.")
    if line.ranked_at is None:
        return say("Round {n} has begun.", n=line.round)
    labels = say_n("{n} label", "{n} labels", line.labels or 0)
    if line.value is None:
        return say("Round {n} learned from {labels}.", n=line.round, labels=labels)
    value = f"{line.value:.3f}"
    return say("Round {n} learned from {labels} and was read at {value}.", n=line.round, labels=labels, value=value)


# looks


def _look(look: Look) -> Entry:
    facts = (
        (say("Counted"), counted(look)),
        (say("Reading"), f"{look.value:.3f} [{look.low:.3f} – {look.high:.3f}]"),
        (say("Proven bound"), f"{look.bound:.4f}"),
        (say("Target"), f"{in_words(METRICS[look.metric].words)} {look.target:g}"),
        (say("Chance that the target holds"), _share(look.posterior)),
        (say("Error spent"), f"{100 * look.level:.3g} %"),
    )
    said = _verdict(look.verdict)
    what = say("Look {n} tested round {round}: {verdict}.", n=look.number, round=look.round, verdict=said)
    return Entry(look.at or _BEFORE, "looks", what, facts=facts)


def _verdict(verdict: Verdict) -> str:
    match verdict:
        case Verdict.CERTIFIED:
            return say("the target is certified")
        case Verdict.LIKELY:
            return say("the target is likely reached")
        case Verdict.REACHED:
            return say("the target was reached, which luck could explain")
    return say("the target was not reached")


# settings


def _settings(store: Store, over: bool) -> Iterator[Entry]:
    """Each version of the settings, with what it changed, and what that did to the claim."""
    effects = dict(changes(store))
    before = Settings()
    for version, (at, body) in enumerate(store.settings_history(), start=1):
        now = from_json(body)
        changed = [key for key in differences(before, now) if over or key not in _WAITING]
        yield Entry(
            at,
            "settings",
            _versioned(version, changed),
            effects[version].sentence if version in effects else "",
            _moved(before, now, changed),
        )
        before = now


def _versioned(version: int, changed: Sequence[str]) -> str:
    if version == 1:
        return say("The loop began with its settings.")
    names = ", ".join(changed[:3])
    more = len(changed) - 3
    if more > 0:
        return say_n(
            "Settings changed: {names}, and {n} more.", "Settings changed: {names}, and {n} more.", more, names=names
        )
    return say("Settings changed: {names}.", names=names) if names else say("Settings were written again.")


def _moved(before: Settings, now: Settings, changed: Sequence[str]) -> Facts:
    """From what to what each key went."""
    hidden = say("changed; not shown here")
    return tuple((key, hidden if key in _SECRET else f"{_value(before, key)} → {_value(now, key)}") for key in changed)


def _value(settings: Settings, key: str) -> str:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return _written(value) or say("(empty)")


# what else happened


def _event(event: Event, over: bool, looks: Sequence[Look]) -> Entry:
    if event.kind == "refitted":
        return _refitted(event, over, looks)
    known = _TOLD.get(event.kind)
    if known is None:
        return Entry(event.at, "events", event.kind)
    return known(event, over)


def _created(event: Event, over: bool) -> Entry:
    return Entry(event.at, "events", say("The loop was created."), facts=((say("Its own name"), event.body["uid"]),))


def _imported(event: Event, over: bool) -> Entry:
    body = event.body
    if "added" in body:
        added = ((say("Source"), _written(body.get("source"))), (say("Set aside to test"), f"{body['set_aside']}"))
        return Entry(
            event.at, "data", say_n("{n} item was added.", "{n} items were added.", body["added"]), facts=added
        )
    facts = (
        (say("Source"), _written(body.get("source"))),
        (say("Set aside to test"), _written(body.get("reserved"))),
        (say("Rows that repeat another"), _written(body.get("duplicates"))),
        (say("Answers that came with the data"), _written(body.get("answers"))),
        (say("Answers to begin with"), _written(body.get("n0"))),
        (say("Budget at that time"), _written(body.get("budget"))),
    )
    what = say_n("{n} item came in.", "{n} items came in.", body["items"])
    return Entry(event.at, "data", what, facts=_there(facts))


def _stopped(event: Event, over: bool) -> Entry:
    body = event.body
    known = {"target": say("the target was reached"), "by hand": say("by hand")}
    facts = (
        (say("Verdict"), called(Verdict(body["verdict"]))),
        (say("Said by a person"), str(body.get("because", ""))),
        *((_limit(name), _written(value)) for name, value in body.get("limits", {}).items() if value),
    )
    why = known.get(body["reason"]) or ending(body["reason"])
    return Entry(event.at, "events", say("The loop stopped: {why}.", why=why), facts=_there(facts))


def _limit(name: str) -> str:
    """What may end a loop, by the name that a stop keeps it under."""
    known = {
        "budget": say("budget"),
        "hours": say("hours"),
        "money": say("money"),
        "deadline": say("deadline"),
        "by hand": say("by hand"),
        "stable": say("stable"),
        "unreachable": say("unreachable"),
    }
    return known.get(name, name)


def _refitted(event: Event, over: bool, looks: Sequence[Look]) -> Entry:
    found = Refit.of(event.body)
    made = next((look for look in looks if look.number == found.look), None)
    facts = (
        (say("Labels learned from"), f"{found.n_labels}"),
        (say("Predictions that differ"), say("{differing} of {n}", differing=found.differing, n=found.n)),
        (say("Proven bound"), f"{found.bound:.4f}"),
        (say("Obstacle"), obstacle_of(made, found.n) if found.obstacle and made else found.obstacle),
    )
    what = say("A model learned from all answers.")
    return Entry(event.at, "events", what, facts=_there(facts) if over else ())


def _compared(event: Event, over: bool) -> Entry:
    note = sentence(Control.of(event.body)) if over else ""
    return Entry(event.at, "events", say("Chosen items were compared with random ones."), note)


def _suspected(event: Event, over: bool) -> Entry:
    """Labels that look wrong are of items to learn from: while the loop runs again, they are not named."""
    found = event.body["found"]
    what = say_n("{n} label looks wrong.", "{n} labels look wrong.", len(found))
    items = tuple(int(each["item"]) for each in found) if over else ()
    return Entry(event.at, "events", what, facts=((say("Labels searched"), f"{event.body['n_labels']}"),), items=items)


def _answered_alone(event: Event, over: bool) -> Entry:
    """What test items say of a threshold: only once the loop has stopped, and no more if it goes on again."""
    found = Alone.of(event.body)
    facts = (
        (say("Look"), f"{found.look}"),
        (say("Confidence"), f"{found.tried.least:.4g}"),
        (say("Counted"), say("{n} of {total}", n=found.right, total=found.n)),
        (say("Proven bound"), f"{found.bound:.4f}"),
        (say("Error spent"), f"{100 * found.level:.3g} %"),
        (say("Model"), found.tried.model),
    )
    what, note = say("What the model answers alone was tested."), " ".join(told(found, ""))
    return Entry(event.at, "events", what, note if over else "", facts if over else ())


_TOLD: Final[Mapping[str, Callable[[Event, bool], Entry]]] = {
    "created": _created,
    "imported": _imported,
    "stopped": _stopped,
    "control": _compared,
    "suspects": _suspected,
    "alone": _answered_alone,
}


def _there(facts: Facts) -> Facts:
    """Those that have a value."""
    return tuple((name, value) for name, value in facts if value)


def _written(value: object) -> str:
    """A value as people read it, cut off where it gets long; empty for none."""
    if value is None or value == ():
        return ""
    if isinstance(value, Mapping):
        return _written(", ".join(f"{name}: {_written(each)}" for name, each in value.items()))
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"{text[:_LONGEST].rstrip()} …" if len(text) > _LONGEST else text


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _time(at: datetime | None, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}" if at else ""


def tables(found: History) -> Mapping[str, list[dict[str, Any]]]:
    """The trail as rows of three tables: rounds, looks, and events, which are all the other entries, oldest first."""
    others = [entry for entry in reversed(found.entries) if entry.kind not in ("rounds", "looks")]
    return {
        "rounds": [asdict(line) for line in found.rounds],
        "looks": [asdict(look) for look in found.looks],
        "events": [
            {
                "at": entry.at,
                "kind": entry.kind,
                "what": entry.what,
                "note": entry.note,
                "facts": "; ".join(f"{name}: {value}" for name, value in entry.facts),
                "items": " ".join(str(item) for item in entry.items),
            }
            for entry in others
        ],
    }
