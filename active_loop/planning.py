"""What a proof will cost in answers, hours, money and days, before anybody labels.

A plan is for people, above all for whoever pays: sentences, one table, and notes on what cannot work. Its numbers are
those of `chances`, for the loop's own budget and for others that it could have. Pure functions: nothing here is
recorded, and no loop ever acts on it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from .chances import Chance, Proof, ceiling, chance, impossible, labels_for_a_proof, proof_of, quality_needed
from .domain import Verdict
from .errors import ConfigError
from .pace import affordable
from .settings import ERRORS, METRICS, BudgetSettings, LookPlan, Settings, TaskSettings, check, deadline, time_zone
from .stopping import FEWEST_LABELS

_BUDGETS: Final = (200, 300, 400, 500, 1000)
_EXACT: Final = ("accuracy", "subset_accuracy")

_BUDGET_OPTIONS: Final = (
    *(("answers", "budget"), ("seconds_per_label", "seconds"), ("price_per_hour", "price")),
    *(("per_day", "per_day"), ("time_zone", "time_zone")),
)
"""Keys of `[budget]`, and the options that say the same for a plan alone."""


@dataclass(frozen=True, slots=True)
class Premises:
    """What a plan starts from: a loop's settings, the first day of labelling, and what is known of the items.

    `n_items` None means plenty. Without `qualities` (shares of right answers that the model may really have) three
    above the target are taken. `positive_share` is the share of items that count, for metrics of one class;
    `agreement` the share of items on which two people give the same answer. `n_test` is the number of items in the test
    file, which are not among the `n_items`; 0 without one.
    """

    settings: Settings
    start: date
    n_items: int | None = None
    qualities: tuple[float, ...] = ()
    positive_share: float | None = None
    agreement: float | None = None
    n_test: int = 0

    @property
    def proof(self) -> Proof:
        counted = 1.0 if self.positive_share is None else self.positive_share
        return proof_of(self.settings, self.n_items or sys.maxsize, counted, self.n_test)

    @property
    def asked(self) -> tuple[int, ...]:
        """Test answers that the looks ask for: none where a test file brings them."""
        people = self.settings.people.test_overlap
        return () if self.n_test else tuple(people * size for size in self.proof.sizes)

    @property
    def ceiling(self) -> float:
        """The highest quality that can be measured."""
        return 1.0 if self.agreement is None else ceiling(self.agreement, len(self.settings.task.classes))

    @property
    def answers(self) -> int:
        """Answers that can be asked for in all: the budget, or what the items give."""
        labels = math.ceil(self.learn(0) * self.settings.people.per_label)
        return min(self.settings.budget.answers, labels + max(self.asked, default=0))

    def learn(self, test: int) -> int:
        """Items to learn from, at most, beside so many answers to test."""
        items, answers, people = self.n_items or sys.maxsize, self.settings.budget.answers, self.settings.people
        reserved = 0 if self.n_test else LookPlan.at_import(items, answers, people=people.test_overlap).reserved
        return min(int((answers - test) / people.per_label), items - reserved)

    def with_budget(self, answers: int) -> Premises:
        budget = replace(self.settings.budget, answers=answers)
        return replace(self, settings=replace(self.settings, budget=budget))


@dataclass(frozen=True, slots=True)
class Split:
    """What a budget does: at most `learn` answers to learn from, and `test` of them used by each look.

    `right` is how many of the first look's items must be right to certify, None if even all are too few or nothing
    can be certified. `sure_at` is the quality from which on the wanted verdict comes at the first look with a chance
    of 80 %, None if there is none. `chances`: for each quality of the plan, by the first look and by the last.
    """

    budget: int
    learn: int
    test: tuple[int, ...]
    stop_on: Verdict
    right: int | None
    sure_at: float | None
    chances: tuple[tuple[Chance, Chance], ...]


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days in the time zone of the budget. The first look comes then at the earliest, at the latest with the end."""

    start: date
    first_model: date
    first_look: date
    budget_spent: date


@dataclass(frozen=True, slots=True)
class Plan:
    """All that can be said beforehand.

    `splits` has the loop's own budget, `own`, among others. `proofs` are the test answers of a first look that
    certifies with a chance of 80 %, by true quality. Hours and money are for the whole budget. `notes` are what
    cannot work, and what is approximate.
    """

    premises: Premises
    own: Split
    splits: tuple[Split, ...]
    proofs: dict[float, int | None]
    hours: float
    money: float
    calendar: Calendar | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        target = self.premises.settings.target
        return {
            "metric": target.metric,
            "target": target.value,
            "alpha": target.alpha,
            "budget": self.own.budget,
            "items": self.premises.n_items,
            "brought": self.premises.n_test,
            "stop_on": self.own.stop_on,
            "sure_at": self.own.sure_at,
            "ceiling": self.premises.ceiling if self.premises.agreement is not None else None,
            "hours": self.hours,
            "money": self.money,
            "calendar": asdict(self.calendar) if self.calendar else None,
            "proofs": [{"quality": quality, "test_answers": n} for quality, n in self.proofs.items()],
            "budgets": [self._split(split) for split in self.splits],
            "sentences": sentences(self),
            "notes": list(self.notes),
        }

    def _split(self, split: Split) -> dict[str, Any]:
        chances = [
            {"quality": quality, "first_look": asdict(first), "last_look": asdict(last)}
            for quality, (first, last) in zip(self.premises.qualities, split.chances, strict=True)
        ]
        return {**asdict(split), "chances": chances}


def with_options(settings: Settings | None, **told: Any) -> Settings:
    """The settings, or those of a loop that says nothing, with what was told beside them; None means: not told.

    Options: target, alpha, budget, classes (how many), seconds, price, per_day, time_zone.
    """
    known = {name: value for name, value in told.items() if value is not None}
    made = settings or replace(Settings(), task=TaskSettings(classes=("yes", "no")))
    if "classes" in known:
        made = replace(made, task=replace(made.task, classes=tuple(map(str, range(known["classes"])))))
    target = {key: known[name] for key, name in (("value", "target"), ("alpha", "alpha")) if name in known}
    budget = {key: known[name] for key, name in _BUDGET_OPTIONS if name in known}
    return replace(made, target=replace(made.target, **target), budget=replace(made.budget, **budget))


def first_day(text: str, budget: BudgetSettings, now: datetime | None = None) -> date:
    """The day that was named, or today where the labelling takes place; `ConfigError` for what is no day.

    >>> late = datetime(2026, 10, 19, 16, tzinfo=UTC)
    >>> print(first_day("", BudgetSettings(time_zone="Asia/Seoul"), late))
    2026-10-20
    """
    today = (now or datetime.now(UTC)).astimezone(time_zone(budget)).date()
    try:
        return date.fromisoformat(text) if text else today
    except ValueError as error:
        raise ConfigError(f'--start is "{text}": write a day as 2026-10-20.') from error


def make_plan(premises: Premises) -> Plan:
    """The plan of a loop; `ConfigError` for settings that no loop accepts, and for what cannot be planned."""
    _check(premises)
    target, budget = premises.settings.target.value, premises.settings.budget
    premises = replace(premises, qualities=tuple(sorted(set(premises.qualities))) or _above(target))
    splits = {n: _split(premises.with_budget(n)) for n in _budgets(premises)}
    hours = premises.answers * budget.seconds_per_label / 3600
    calendar = _calendar(premises) if budget.per_day else None
    return Plan(
        premises=premises,
        own=splits[budget.answers],
        splits=tuple(splits.values()),
        proofs=_proofs(premises),
        hours=hours,
        money=hours * budget.price_per_hour,
        calendar=calendar,
        notes=tuple(_notes(premises, calendar)),
    )


def _check(premises: Premises) -> None:
    """Refuse what no loop accepts, and what cannot be planned."""
    target, n_classes = premises.settings.target, len(premises.settings.task.classes)
    if target.metric in ERRORS:
        raise ConfigError(f"cannot plan for {target.metric}: a plan is about shares of right answers, as accuracy is.")
    if target.value == 1:
        raise ConfigError(
            "a target of 1 cannot be proven: however many answers are right, the next one may be wrong; "
            "give a target below 1, for instance 0.99."
        )
    check(premises.settings)
    if target.positive and premises.positive_share is None:
        raise ConfigError(
            f'cannot plan for {target.metric} of "{target.positive}" without the share of its items: only they count; '
            "give it by --positive-share, for instance 0.1."
        )
    if premises.n_items is not None and premises.n_items < 1:
        raise ConfigError(f"--items is {premises.n_items}: give how many items there are, at least 1.")
    shares = [*(("--quality", each) for each in premises.qualities), ("--positive-share", premises.proof.counted)]
    for name, share in shares:
        if not 0 < share <= 1:
            raise ConfigError(f"{name} is {share:g}: give a share above 0 and up to 1.")
    if premises.agreement is not None and not 1 / n_classes <= premises.agreement <= 1:
        raise ConfigError(
            f"--agreement is {premises.agreement:g}: give a share up to 1, and not below {1 / n_classes:.2f}, "
            f"which people who guess among {n_classes} classes reach."
        )


def _above(target: float) -> tuple[float, ...]:
    """Three qualities above the target: 2, 4 and 6 points, or quarters of the way to 1 where that is less."""
    step = 0.02 if target + 0.06 < 1 else (1 - target) / 4
    return tuple(round(target + step * number, 6) for number in (1, 2, 3))


def _budgets(premises: Premises) -> list[int]:
    """The loop's own budget, and round ones that it could have instead."""
    most = premises.n_items or sys.maxsize
    others = [n for n in _BUDGETS if premises.with_budget(n).settings.n0 + 40 <= n <= most]
    return sorted({premises.settings.budget.answers, *others})


def _split(premises: Premises) -> Split:
    proof = premises.proof
    return Split(
        budget=premises.settings.budget.answers,
        learn=premises.learn(sum(premises.asked[:1])),
        test=proof.sizes,
        stop_on=proof.stop_on,
        right=proof.right(1) if proof.sizes else None,
        sure_at=quality_needed(proof.first) if proof.sizes else None,
        chances=tuple((chance(proof.first, quality), chance(proof, quality)) for quality in premises.qualities),
    )


def _proofs(premises: Premises) -> dict[float, int | None]:
    """Test answers of a first look that certifies with a chance of 80 %: 1 to 8 points above the target, and more."""
    proof = premises.proof
    if not proof.certifiable:
        return {}
    points = {round(proof.target + step / 100, 6) for step in range(1, 9)}
    wanted = sorted(quality for quality in points | set(premises.qualities) if quality <= 1)
    shares = [proof.share(quality) for quality in wanted]
    found = labels_for_a_proof(proof.share(proof.target), proof.level(1), shares)
    needed = {quality: found[share] for quality, share in zip(wanted, shares, strict=True)}
    return {quality: n if n is None else math.ceil(n / proof.counted) for quality, n in needed.items()}


def _calendar(premises: Premises) -> Calendar:
    """When answers come in at `per_day`, on every day from the start on; test answers are mixed in by their share."""
    settings, answers, test = premises.settings, premises.answers, sum(premises.asked[:1])
    budget, start = settings.budget, premises.start
    per_label = settings.people.per_label
    first_model = per_label * settings.n0 * budget.answers / (budget.answers - test)
    first_look = test + per_label * min(max(FEWEST_LABELS, settings.n0), premises.learn(test))

    def day(n: float) -> date:
        return start + timedelta(days=math.ceil(min(n, answers) / budget.per_day) - 1)

    try:
        return Calendar(start, day(first_model), day(first_look), day(answers))
    except OverflowError as error:
        raise ConfigError(
            f"{answers} answers at {budget.per_day} a day from {start} on end after the last date that there is: "
            "give a smaller budget, or more answers a day."
        ) from error


# in words


def named(settings: Settings) -> str:
    """The claim as people read it.

    >>> named(Settings())
    'accuracy ≥ 0.9'
    """
    metric = METRICS[settings.target.metric]
    return f"{metric.words} {'≤' if metric.error else '≥'} {settings.target.value:g}"


def hopeless(settings: Settings, proof: Proof) -> str:
    """One sentence if the wanted verdict cannot come about, however good the model is; empty if it can."""
    if not proof.sizes:
        return "With so few items nothing can be proven: none is left for testing."
    why = impossible(proof)
    if proof.brought:
        means, help_ = f"this test file of {proof.sizes[0]} items", "A larger test file"
    else:
        means, help_ = f"{settings.budget.answers} answers", "A larger budget, more items"
    return (
        why
        and f"{named(settings)} can never be {proof.stop_on} with {means}: {why}. {help_} or a lower target would help."
    )


def sentences(plan: Plan) -> list[str]:
    """What the plan says, the most important first; the notes are not among them."""
    told = [_headline(plan), _cost(plan)]
    sizes = [f"{plan.proofs[q]:,} for a model at {q:g}" for q in plan.premises.qualities if plan.proofs.get(q)]
    if sizes:
        told.append(f"Test answers that certify it at a first look in 4 cases of 5: {', '.join(sizes)}.")
    days, budget = plan.calendar, plan.premises.settings.budget
    if days:
        told.append(
            f"With {budget.per_day} answers a day from {days.start} on ({budget.time_zone or 'UTC'}): the first model "
            f"on {days.first_model}, the first look on {days.first_look} at the earliest, the budget spent on "
            f"{days.budget_spent}."
        )
    return told


def _headline(plan: Plan) -> str:
    """What the budget proves, of which model, and how surely."""
    own, claim = plan.own, named(plan.premises.settings)
    can = "certify" if own.stop_on == Verdict.CERTIFIED else "show as likely"
    if own.sure_at is None:
        return f"With {own.budget} answers you cannot count on the first look to {can} {claim}, whatever the model."
    chances = [
        f"at {quality:g} {_range(first, last, own.stop_on)} %"
        for quality, (first, last) in zip(plan.premises.qualities, own.chances, strict=True)
        if quality <= plan.premises.ceiling
    ]
    return (
        f"With {own.budget} answers you can {can} {claim} if the model is really at {own.sure_at:.3f} (chance 80 % at "
        "the first look)." + f" The chance at the first look – by the last: {', '.join(chances)}." * bool(chances)
    )


def _cost(plan: Plan) -> str:
    own, budget = plan.own, plan.premises.settings.budget
    test = " or ".join(str(size) for size in dict.fromkeys((*own.test[:1], *own.test[-1:]))) or "none"
    if plan.premises.n_test:
        test = f"none to test: each look uses the {plan.premises.n_test} items of the test file"
    else:
        test += " to test"
    right = f" ({own.right} of {plan.premises.proof.n(1)} right certify it)" if own.right is not None else ""
    price = f", {plan.money:,.2f} at {budget.price_per_hour:g} an hour" if budget.price_per_hour else ""
    return (
        f"At most {own.learn} answers are to learn from, {test}{right}: {plan.hours:.1f} hours in all, at "
        f"{budget.seconds_per_label:g} s an answer{price}."
    )


LEGEND: Final = (
    "Per cent: the chance of each verdict, at the first look – by the last, if the model has that quality by the first "
    'look and keeps it. "sure at": the quality at which the verdict that ends the loop has a chance of 80 % at the '
    "first look."
)


def table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Head and rows: for each budget the chance of each verdict by true quality; `LEGEND` goes with it."""
    qualities, ceiling = plan.premises.qualities, plan.premises.ceiling
    head = ["answers", "to learn", "to test", "verdict", "sure at", *(f"{quality:g}" for quality in qualities)]
    verdicts = [Verdict.LIKELY] if plan.premises.settings.obstacle else [Verdict.CERTIFIED, Verdict.LIKELY]
    rows = []
    for split in plan.splits:
        for verdict in verdicts:
            size = [str(split.budget), str(split.learn), ", ".join(map(str, split.test))]
            sure = f"{split.sure_at:.3f}" if split.sure_at is not None and verdict == split.stop_on else ""
            cells = [
                _range(*pair, verdict) if quality <= ceiling else "–"
                for quality, pair in zip(qualities, split.chances, strict=True)
            ]
            rows.append([*(size if verdict == verdicts[0] else [""] * 3), verdict.value, sure, *cells])
    return head, rows


def _range(first: Chance, last: Chance, verdict: Verdict) -> str:
    """A chance in per cent, at the first look and by the last; one number where both read the same.

    >>> _range(Chance(0.4, 0.5, 100), Chance(0.6, 0.7, 140), Verdict.CERTIFIED)
    '40 – 60'
    """
    told = [_percent(each.certified if verdict == Verdict.CERTIFIED else each.likely) for each in (first, last)]
    return " – ".join(dict.fromkeys(told))


def _percent(share: float) -> str:
    """Never rounded to 0 or 100, which would say that something is impossible or sure.

    >>> [_percent(share) for share in (0.003, 0.25, 0.999, 0.0)]
    ['<1', '25', '>99', '0']
    """
    if 0 < share < 0.01:
        return "<1"
    return ">99" if 0.99 < share < 1 else f"{100 * share:.0f}"


def _notes(premises: Premises, days: Calendar | None) -> Iterator[str]:
    """What cannot work, and what is approximate."""
    settings, proof = premises.settings, premises.proof
    never = hopeless(settings, proof)
    if never:
        yield never
    elif proof.certifiable and proof.earliest is None:
        means = "this test file" if proof.brought else f"{settings.budget.answers} answers"
        yield f"It can never be certified with {means}, only shown as likely."
    elif proof.certifiable and proof.earliest != 1:
        yield f"Only look {proof.earliest} can certify it: at the first even {proof.n(1)} of {proof.n(1)} are too few."
    yield from _about_metric(premises)
    low = [f"{quality:g}" for quality in premises.qualities if quality <= proof.target]
    if low:
        yield (
            f"A model at {', '.join(low)} is not above the target of {proof.target:g}: the chance that it is certified "
            f"stays below {proof.alpha:g}, whatever the budget."
        )
    if premises.agreement is not None and proof.sizes:
        yield _about_people(premises, premises.agreement)
    yield from _about_limits(premises, days)


def _about_metric(premises: Premises) -> Iterator[str]:
    settings, metric = premises.settings, premises.settings.target.metric
    if settings.obstacle:
        yield f"It can at most be shown as likely, not certified: {settings.obstacle}."
    if settings.target.proof == "anytime":
        yield "Approximate: the plan is for looks of fixed sizes; a test that may end at any time takes other ones."
    if premises.positive_share is not None:
        yield (
            f"Approximate: {premises.positive_share:g} of the test items are taken to count, and the target as a share "
            "of right answers among them."
        )
    elif metric not in _EXACT:
        yield f"Approximate: {metric} is planned as if it were accuracy; with rare classes it takes more test answers."


def _about_people(premises: Premises, agreement: float) -> str:
    proof, best = premises.proof, premises.ceiling
    told = f"If two people agree on {100 * agreement:g} %, no model can be measured above about {best:.3f}"
    if best <= proof.target:
        return f"{told}: a target of {proof.target:g} cannot be proven by their answers."
    found = chance(proof, best)
    wanted = found.certified if proof.stop_on == Verdict.CERTIFIED else found.likely
    return f"{told}; such a model is {proof.stop_on} by the last look with a chance of {_percent(wanted)} %."


def _about_limits(premises: Premises, days: Calendar | None) -> Iterator[str]:
    """What ends the loop before its budget does: items, hours, money, the deadline."""
    budget, possible, until = premises.settings.budget, premises.answers, deadline(premises.settings)
    if possible < budget.answers:
        yield f"{premises.n_items} items give at most {possible} answers: a budget of {budget.answers} cannot be spent."
    paid, limit = affordable(budget, budget.seconds_per_label)
    if paid < possible:
        yield (
            f"budget.{limit} pays for {paid} answers, fewer than {possible}: set budget.answers to {paid}, so that the "
            "looks are sized for it."
        )
    if until and days and days.budget_spent >= until.astimezone(time_zone(budget)).date():
        yield f"The deadline, {until:%Y-%m-%d %H:%M}, comes before the budget is spent."
