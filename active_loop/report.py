"""The record of a run for people: where it stands.

Everything here is read from the store in one snapshot and needs no lock, no model and no labelling place. Until
the loop has stopped, nothing here tells anybody about a single test item: totals only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from . import pace
from .agreement import FEWEST, Agreement, Constancy, agreement, constancy
from .answers import heard, held_out
from .answers import merging as new_merging
from .chances import ceiling
from .changes import changes, current_settings, ended, plan_of
from .consensus import Votes, too_few
from .control import Control
from .domain import COLD_START, Annotation, Ask, Look, Merged, Purpose, Round, Score, Split, Verdict
from .forecast import Forecast, Pace, curves_for, forecast
from .hindrance import hindrance, more_test_labels
from .instructions import Instructions, versions
from .language import say
from .merge import Merging
from .refit import Refit
from .settings import METRICS, BudgetSettings, LookPlan, Settings, in_words, positive_class, time_zone
from .stopping import at_least
from .store import Store
from .tasks import make_task

if TYPE_CHECKING:
    from .quality import Chances


def ending(reason: str) -> str:
    """Why a loop ended without what it was to reach, in words; what a person ended says so itself."""
    known = {
        "budget": say("the budget is spent"),
        "hours": say("the hours are spent"),
        "money": say("the money is spent"),
        "deadline": say("the deadline has come"),
        "pool": say("every item was asked about"),
        "stable": say("its predictions no longer change"),
        "unreachable": say("the target is probably out of reach"),
    }
    return known.get(reason, reason)


def called(verdict: Verdict) -> str:
    """A verdict in a word or two."""
    return {
        Verdict.NOT_REACHED: say("not reached"),
        Verdict.REACHED: say("reached"),
        Verdict.LIKELY: say("likely"),
        Verdict.CERTIFIED: say("certified"),
    }[verdict]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One round of the learning curve; `value`, `low`, `high` are None before there are test answers."""

    round: int
    n_labels: int
    answers: int
    value: float | None
    low: float | None
    high: float | None
    n_test: int


@dataclass(frozen=True, slots=True)
class Status:
    """Where a loop stands, in totals.

    `refit` is a model that learned from all answers after a certificate, and what that is worth for it; `control` is
    what a random share of the batches has shown. Both are there once the loop has stopped only.
    `answers` = `pool_answers` + `test_answers` of `budget`; `doing` is one phrase of what happens next;
    `verdict` is that of the last look; `stopped` says why the loop ended ("" while it goes on). `forecast` is what is
    left, by completed rounds alone; None before there are enough of them, and once the loop has got to its end.
    `found` counts the items of the class that is searched for (None where nothing is). `agreement` is how far people
    agree, and `constancy` how often one person says the same again: while the loop runs, by the answers that the newest
    completed round knew; by the same ones `unweighed` says why people are not weighed where they are to be (empty: they
    are, or are not to be).
    `instructions` are what people are told now; None before the settings are in the store.
    `suspects` are labels that look wrong, the worst first, once the loop has stopped: see `quality.Suspect`.
    `allowed` is what may be spent, and `fit_s` how many seconds the newest round took to learn and to choose.
    `hindrance` ends the sentence "the target cannot be certified …"; empty where nothing stands in the way.
    """

    name: str
    metric: str
    positive: str
    target: float
    alpha: float
    stop_on: Verdict
    budget: int
    n_items: int
    n_reserved: int
    round: int | None
    n_labels: int
    pool_answers: int
    test_answers: int
    open_asks: int
    oldest_open_at: datetime | None
    outcomes: Mapping[str, int]
    disputed: int
    people: Mapping[str, int]
    lead_time_s: float
    curve: tuple[CurvePoint, ...]
    looks: tuple[Look, ...]
    verdict: Verdict
    more_to_certify: int | None
    hindrance: str
    forecast: Forecast | None
    refit: Refit | None
    control: Control | None
    stopped: str
    doing: str
    found: int | None
    agreement: Agreement
    constancy: Constancy
    suspects: tuple[Mapping[str, Any], ...]
    unweighed: str
    instructions: Instructions | None
    allowed: BudgetSettings
    fit_s: float

    @property
    def answers(self) -> int:
        return self.pool_answers + self.test_answers

    @property
    def named(self) -> str:
        """The metric, as people call it: "accuracy", "recall of sick"."""
        return in_words(METRICS[self.metric].words, self.positive)

    @property
    def is_error(self) -> bool:
        """Whether less is better, so that the target is the most that will do."""
        return METRICS[self.metric].error

    @property
    def wanted(self) -> str:
        """The claim: "accuracy ≥ 0.9"."""
        return f"{self.named} {'≤' if self.is_error else '≥'} {self.target:g}"

    @property
    def spent(self) -> float:
        """The chance of a false certificate that the looks so far have used up, of alpha."""
        return sum(look.level for look in self.looks)

    @property
    def score(self) -> CurvePoint | None:
        """The newest reading."""
        scored = [point for point in self.curve if point.value is not None]
        return scored[-1] if scored else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. While the loop runs without the split of the answers, which moves with each one."""
        values = {**asdict(self), "answers": self.answers}
        hidden = () if self.stopped else ("pool_answers", "test_answers")
        return {name: value for name, value in values.items() if name not in hidden}


def status(store: Store, now: datetime | None = None) -> Status:
    """Where the loop stands now. Raises nothing for a loop that has just begun: then most of it is zero."""
    return Reader().status(store, now)


class Reader:
    """Reads one loop again and again: answers that were read and merged before are kept, since they only grow."""

    def __init__(self) -> None:
        self._answers: list[Annotation] = []
        self._settings: Settings | None = None
        self._merges: list[tuple[int, Merging]] = []

    def status(self, store: Store, now: datetime | None = None) -> Status:
        """Where the loop stands now, as `status` says it."""
        with store.snapshot():
            self._answers += store.annotations(after=self._answers[-1].position or 0 if self._answers else 0)
            return _status(store, now or datetime.now(UTC), self._answers, self._merged)

    def _merged(self, settings: Settings, n: int) -> Merging:
        """What the first `n` answers come to, each item settled by itself; worth nothing after the next call."""
        if settings != self._settings:
            self._settings, self._merges = settings, []
        known = [each for each in self._merges if each[0] <= n]
        at, merging = max(known, key=lambda each: each[0], default=(0, new_merging(settings, lambda item: False)))
        merging.add(self._answers[at:n])
        # Two are kept: what the newest round knew lags behind what there is, and both only ever grow.
        self._merges = [*(each for each in self._merges if each[1] is not merging), (n, merging)][-2:]
        return merging


def _status(
    store: Store, now: datetime, annotations: Sequence[Annotation], merge: Callable[[Settings, int], Merging]
) -> Status:
    settings = current_settings(store)
    imported = store.events("imported")
    facts, classes = imported[0].body if imported else {}, settings.task.classes
    task = make_task(settings.task)
    learned = is_learned(store)
    believed = held_out(heard(store.rounds(), store.annotation_position()))
    rounds = [r for r in store.rounds() if r.number != COLD_START]
    ranked = [r for r in rounds if r.ranked_at]
    asks, waiting, looks = store.asks(), store.incomplete(), tuple(store.looks())
    given = _given(asks, annotations)
    sent_at = store.sent_at()
    plan, changed = plan_of(store) if facts else None, changes(store)
    current = looks[changed[-1][1].looks :] if changed else looks
    stop = ended(store, settings)
    stopped = f"{stop.reason}: {stop.because}" if stop and stop.because else stop.reason if stop else ""
    scores, upto = _readings(store, settings.target.metric, ranked, looks)
    curve = tuple(_curve(ranked, scores, upto, annotations))
    paused = "" if settings.stop.by_hand else settings.stop.paused
    goes_on = not stopped and not (current and at_least(current[-1].verdict, settings.stop_on))
    known = [a for a in annotations if ranked and (a.position or 0) <= upto[ranked[-1].number]]
    merging = merge(settings, len(known))
    best = _best(settings, {ask.item for ask in asks if ask.purpose == Purpose.POOL}, merging.votes)
    votes, repeated = {**merging.votes}, {**merging.repeated}
    merging = merge(settings, len(annotations))
    if stopped:
        votes, repeated = merging.votes, merging.repeated
        # Only now: before, an item that is settled with others would be known to be none that tests.
        merging = new_merging(settings, learned, believed)
        merging.add(annotations)
    merged = merging.merged
    return Status(
        name=settings.name,
        metric=settings.target.metric,
        positive=positive_class(settings.target, classes) if METRICS[settings.target.metric].of_one_class else "",
        target=settings.target.value,
        alpha=settings.target.alpha,
        stop_on=settings.stop_on,
        budget=settings.budget.answers,
        n_items=store.n_items(),
        n_reserved=facts.get("reserved", 0),
        round=ranked[-1].number if ranked else None,
        n_labels=ranked[-1].record["n_labels"] if ranked else 0,
        pool_answers=given[Purpose.POOL],
        test_answers=given[Purpose.TEST],
        open_asks=len(waiting),
        oldest_open_at=min((sent_at[ask.item] for ask in waiting), default=None),
        outcomes=dict(Counter(m.outcome.value for m in merged.values())),
        disputed=sum(m.disputed for m in merged.values()),
        people=dict(Counter(person for m in merged.values() for person in m.people)),
        lead_time_s=sum(a.lead_time_s or 0.0 for a in _newest(annotations)),
        curve=curve,
        looks=looks,
        verdict=current[-1].verdict if current else Verdict.NOT_REACHED,
        more_to_certify=more_test_labels(settings, len(looks), _newest_score(settings, curve)),
        hindrance=_hindrance(settings, plan, current, len(looks), curve, best),
        forecast=_forecast(settings, facts, plan, curve, len(looks), asks, known, best, now) if goes_on else None,
        refit=_refit(store),
        control=_control(store) if stopped else None,
        stopped=stopped,
        found=_found(settings, merged.values()),
        agreement=agreement(votes, task),
        constancy=constancy(repeated, task),
        suspects=_suspects(store) if stopped else (),
        unweighed=_unweighed(settings, votes, learned, believed),
        instructions=next(reversed(versions(store.settings_history())), None),
        allowed=settings.budget,
        fit_s=sum(ranked[-1].record.get(part, 0.0) for part in ("fit_s", "query_s")) if ranked else 0.0,
        doing=_doing(stopped, paused, len(waiting), bool(rounds) and not rounds[-1].ranked_at, bool(facts)),
    )


def _readings(
    store: Store, metric: str, ranked: Sequence[Round], looks: Sequence[Look]
) -> tuple[dict[int, Score], dict[int, int]]:
    """The newest reading of each round, and up to where in the answers it rests on them."""
    scores = {score.round: score for score in store.scores() if score.metric == metric}
    upto = {r.number: r.annotation_position for r in ranked}
    for look in (each for each in looks if each.metric == metric):
        seen = store.look_items(look.number)
        scores[look.round] = Score(look.round, look.metric, look.value, look.low, look.high, look.n)
        upto[look.round] = max([upto[look.round], *(item.annotation or 0 for item in seen)])
    return scores, upto


def _forecast(
    settings: Settings,
    facts: Mapping[str, Any],
    plan: LookPlan | None,
    curve: Sequence[CurvePoint],
    looked: int,
    asks: Sequence[Ask],
    known: Sequence[Annotation],
    best: float,
    now: datetime,
) -> Forecast | None:
    """What is left after the newest completed round, of which `known` are the answers; None if it cannot be said yet.

    Answers that came later must not move it: they would tell on which side of the split their items are.
    """
    readings = _scores(settings, curve)
    found = readings and curves_for(settings, facts["items"] - facts["reserved"], readings, best)
    if not found or plan is None:
        return None
    given = _given(asks, known)
    answered = given[Purpose.POOL], given[Purpose.TEST]
    return forecast(found, settings, plan, looked, answered, _pace(settings, asks, known, now))


def _given(asks: Sequence[Ask], annotations: Iterable[Annotation]) -> dict[Purpose, int]:
    """Answers given by purpose: as many as people who answered an ask, at most as many as it wanted."""
    people = Counter(ask for ask, _ in {(a.ask, a.person) for a in annotations})
    found = dict.fromkeys(Purpose, 0)
    for ask in asks:
        found[ask.purpose] += min(people[ask.id], ask.wanted)
    return found


def _hindrance(
    settings: Settings,
    plan: LookPlan | None,
    looks: Sequence[Look],
    looked: int,
    curve: Sequence[CurvePoint],
    best: float,
) -> str:
    """Why the target cannot be certified; empty if it is, or may be."""
    if plan is None or (looks and looks[-1].verdict == Verdict.CERTIFIED):
        return ""
    return hindrance(settings, plan, looked, _newest_score(settings, curve), best)


def _newest_score(settings: Settings, curve: Sequence[CurvePoint]) -> Score | None:
    scored = _scores(settings, curve)
    return scored[-1][1] if scored else None


def _scores(settings: Settings, curve: Sequence[CurvePoint]) -> tuple[tuple[int, Score], ...]:
    """The readings of a curve, each with the labels that its model had."""
    return tuple(
        (each.n_labels, Score(each.round, settings.target.metric, each.value, each.low, each.high, each.n_test))
        for each in curve
        if each.value is not None and each.low is not None and each.high is not None
    )


def _pace(settings: Settings, asks: Sequence[Ask], known: Sequence[Annotation], now: datetime) -> Pace:
    """The pace of these answers."""
    budget = settings.budget
    seconds = pace.measured(known, {ask.id for ask in asks if ask.purpose == Purpose.POOL})
    first = {(a.ask, a.person): a.updated_at for a in reversed(known) if a.ask}
    return Pace(
        seconds=pace.seconds_per_answer(seconds, budget.seconds_per_label),
        price_per_hour=budget.price_per_hour,
        per_day=budget.per_day or pace.answers_per_day(list(first.values())),
        today=now.astimezone(time_zone(budget)).date(),
    )


def _best(settings: Settings, asked: Collection[int], said: Votes) -> float:
    """The highest value that can be measured: below 1 where people answered the same items, and differ.

    Only accuracy has such a bound, and only while most labels are one person's answer. `asked` are the items to learn
    from that people were asked about.
    """
    if settings.target.metric != "accuracy":
        return 1.0
    votes = [[*Counter(given.values()).values()] for item, given in said.items() if item in asked]
    several = [each for each in votes if sum(each) > 1]
    if len(several) < FEWEST or 2 * len(several) > len(votes):
        return 1.0
    agreed = [sum(n * (n - 1) for n in each) / (sum(each) * (sum(each) - 1)) for each in several]
    n_classes = len(settings.task.classes)
    return ceiling(max(1 / n_classes, sum(agreed) / len(agreed)), n_classes)


def is_learned(store: Store) -> Callable[[int], bool]:
    """Whether an item is one to learn from; the items are read when that is asked for the first time."""

    @cache
    def pool() -> set[int]:
        return {item.position for item in store.items() if item.split == Split.POOL}

    return lambda item: item in pool()


def _unweighed(settings: Settings, votes: Votes, learned: Callable[[int], bool], believed: Chances) -> str:
    if settings.people.merge == "majority":
        return ""
    known, classes = {item: each for item, each in votes.items() if learned(item)}, settings.task.classes
    match settings.people.merge:
        case "dawid_skene":
            return too_few(known, classes)
        case "crowdlab":
            from . import quality  # it imports scikit-learn

            return quality.too_few(known, believed, classes)
    return ""


def _found(settings: Settings, merged: Iterable[Merged]) -> int | None:
    if not settings.is_search:
        return None
    positive = positive_class(settings.target, settings.task.classes)
    return sum(each.label == positive for each in merged)


def counted(look: Look) -> str:
    """What a look counted, in words."""
    if METRICS[look.metric].of_search:
        return say("{found} found, {n} of the rest drawn at random", found=look.correct, n=look.n)
    if look.metric in ("accuracy", "subset_accuracy"):
        return say("{right} of {n} right", right=look.correct, n=look.n)
    return say("{value} on {n} items", value=f"{look.value:.3f}", n=look.n)


def _refit(store: Store) -> Refit | None:
    found = store.events("refitted")
    return Refit.of(found[-1].body) if found else None


def _suspects(store: Store) -> tuple[Mapping[str, Any], ...]:
    """Labels that look wrong, as they were listed after the newest stop."""
    stop, found = store.events("stopped")[-1].position, store.events("suspects")
    return tuple(found[-1].body["found"]) if found and found[-1].position > stop else ()


def _control(store: Store) -> Control | None:
    """What was measured after the newest stop; one that was taken back has nothing to say any more."""
    stop, found = store.events("stopped")[-1].position, store.events("control")
    return Control.of(found[-1].body) if found and found[-1].position > stop else None


def _newest(annotations: Iterable[Annotation]) -> list[Annotation]:
    return list({(a.source, a.id): a for a in annotations}.values())


def _curve(
    ranked: Sequence[Round], scores: Mapping[int, Score], upto: Mapping[int, int], annotations: Sequence[Annotation]
) -> Iterable[CurvePoint]:
    """One point a round: its newest reading, and the answers that reading rests on (`upto` a place in their order)."""
    first_of: dict[tuple[str, str], int] = {}
    for a in annotations:
        if a.ask and a.position:
            first_of.setdefault((a.ask, a.person), a.position)
    positions = sorted(first_of.values())
    for round_ in ranked:
        score = scores.get(round_.number)
        yield CurvePoint(
            round=round_.number,
            n_labels=round_.record["n_labels"],
            answers=bisect_right(positions, upto[round_.number]),
            value=score.value if score else None,
            low=score.low if score else None,
            high=score.high if score else None,
            n_test=score.n if score else 0,
        )


def _doing(stopped: str, paused: str, n_open: int, training: bool, imported: bool) -> str:
    if stopped:
        return "stopped"
    if not imported:
        return "not started"
    if paused:
        return f"paused: {paused}"
    if training:
        return "training"
    return f"waiting for people ({n_open} open)" if n_open else "choosing what to ask"


def sentence(status: Status) -> str:
    """The state of the loop in one plain sentence."""
    if status.n_items == 0:
        return f"{status.name}: not started yet."
    score = status.score
    if status.found is not None:
        end = f"stopped ({ending(status.stopped)})" if status.stopped else status.doing
        of_all = f"{status.answers} of {status.budget} answers"
        so_far = f"{status.found} of {status.positive} found with {of_all}"
        return f"{status.name}: {so_far}; {status.wanted}: {status.verdict}; {end}."
    if score is None or score.value is None:
        return f"{status.name}: {status.answers} of {status.budget} answers, no score yet; {status.doing}."
    reading = f"{status.named} {score.value:.3f} [{score.low:.3f} – {score.high:.3f}]"
    if status.stopped:
        why = ending(status.stopped)
        return f"{status.name}: stopped ({why}); {reading}, target {status.target:g}: {status.verdict}."
    return (
        f"{status.name}: {reading}, target {status.target:g}: {status.verdict}; "
        f"{status.answers} of {status.budget} answers; {status.doing}."
    )
