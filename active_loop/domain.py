"""The nouns of the loop, as frozen values.

One word per thing: an *item* is one thing that can be labelled; an *ask* is one published request for answers
about one item; an *annotation* is one answer by one person at one version; a *round* trains on a prefix of
the annotations; a *look* is one test of the claim on the test items. Nothing here reads, writes, or knows the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

COLD_START = -1
"""Number of the round that ranks items before anything has been learned."""

IMPORTED = "import"
"""Source, and person, of answers that came with the data."""


class Split(StrEnum):
    """Which side of the wall an item stands on, for ever."""

    POOL = "pool"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be labelled.

    `position` counts items in the order of import, from 0; it is the item's row in every feature matrix.
    `source` and `row` say where its content is read from when it is shown; `test_rank` is its place in the
    reserved test order (None for pool items).
    """

    position: int
    id: str
    split: Split
    source: str
    row: str
    test_rank: int | None = None
    group: str | None = None

    @property
    def id64(self) -> int:
        return id64(self.id)


def id64(item_id: str) -> int:
    """The 64-bit form of an item id: the same on every machine, for ties and canonical order."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=8).digest(), "big")


class AskState(StrEnum):
    """`ranked → sending → open → retired`, or `ranked → superseded`."""

    RANKED = "ranked"
    SENDING = "sending"
    OPEN = "open"
    RETIRED = "retired"
    SUPERSEDED = "superseded"


class Purpose(StrEnum):
    """Why an ask exists: to learn from the answer, or to test with it."""

    POOL = "pool"
    TEST = "test"


class AskKind(StrEnum):
    """Why an item is asked about: for the first time, or again, and then for what.

    `adjudication`: people differ. `relabel`: its label is doubtful. `repeat`: to see whether the same person says the
    same again; such an answer is no vote of somebody who has voted already.
    """

    FIRST = "first"
    ADJUDICATION = "adjudication"
    RELABEL = "relabel"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class Ask:
    """One published request for answers of `wanted` different people about one item.

    `id` is opaque and random: it is all that the published task carries beside the shown fields.
    `position` counts asks in the order in which they were put into batches (None while only ranked).
    `why` is what the strategy itself computed; `probability` is the chance with which a random choice took the
    item (None where the choice was not random).
    """

    id: str
    item: int
    purpose: Purpose
    state: AskState
    round: int | None = None
    rank: int | None = None
    utility: float | None = None
    why: Mapping[str, Any] = field(default_factory=dict)
    probability: float | None = None
    strategy: str = "random"
    kind: AskKind = AskKind.FIRST
    wanted: int = 1
    batch: int | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Asks that are published together. `sending` until every one was seen in the labelling place."""

    id: int
    state: AskState
    asks: tuple[Ask, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task that stands for an ask. Ids are used again after a deletion: only with `created_at` it names a task."""

    source: str
    task_id: int
    created_at: datetime
    ask: str


class AnswerKind(StrEnum):
    """What a version of an annotation is: something submitted, a skip, or the news that it was withdrawn."""

    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    RETRACTED = "retracted"


@dataclass(frozen=True, slots=True)
class Annotation:
    """One answer by one person, at one version; its key is (source, id, updated_at).

    `source` names the backend (and project) that holds it; `raw` is the answer as that backend wrote it (JSON
    text), the only fact: what it means is worked out again whenever it is read. `ask` is None for an imported
    answer, which names its item instead. `position` is its place in the store's sequence, from 1, and `asked` the kind
    of its ask; both are known once it is recorded.
    """

    source: str
    id: str
    updated_at: datetime
    kind: AnswerKind
    raw: str
    person: str
    ask: str | None = None
    item: int | None = None
    created_at: datetime | None = None
    lead_time_s: float | None = None
    position: int | None = None
    asked: AskKind = AskKind.FIRST


class Outcome(StrEnum):
    """What an answer says about its item."""

    LABEL = "label"
    SKIP = "skip"
    UNSURE = "unsure"
    BROKEN = "broken"
    INVALID = "invalid"
    RETRACTED = "retracted"


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed annotation: an outcome, the label where there is one, else what was wrong with it."""

    outcome: Outcome
    label: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the votes on one item come to: a label, and how far they agree with it (0 to 1); both None if disputed."""

    label: str | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """All that was said about one item: its label if the votes agree on one, and how far they agree.

    `votes` counts the votes for each label that somebody gave. `label` is None when nobody gave a valid answer, or
    when the votes settle nothing (then `disputed`); what settles them, and what `agreement` measures, is said by the
    task's `consensus`. `annotation` is the position of the newest version that counts.
    """

    item: int
    label: str | None
    outcome: Outcome
    votes: Mapping[str, int]
    people: tuple[str, ...]
    agreement: float | None
    disputed: bool
    annotation: int


class RoundState(StrEnum):
    """`opened` before the fit, `ranked` once its ranking and score are stored."""

    OPENED = "opened"
    RANKED = "ranked"


@dataclass(frozen=True, slots=True)
class Round:
    """One train → score → decide → ask turn.

    What it trains on, and what its ranking sees, is a function of `annotation_position` (the prefix of the
    annotations), `ask_position` (the asks put into batches before it), `items` (how many items there were),
    `setting` (the settings' version) and `seed` alone, all stored before the fit. `final` marks the one round that
    trains on everything at the end; `entitled` says that its end lets the gate open once more. One `by_hand` was
    asked for by a person: it ranks and is read, and neither the gate nor a look knows it. `record` is what was
    measured: labels, agreement, fingerprints, trials of the model search, library versions, seconds.
    """

    number: int
    state: RoundState
    annotation_position: int
    ask_position: int
    setting: int
    seed: int
    final: bool = False
    entitled: bool = False
    by_hand: bool = False
    items: int = 0
    opened_at: datetime | None = None
    ranked_at: datetime | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """A reading of the metric on the test items, for information: it proves nothing and spends nothing.

    `low` and `high` bound the metric with 95 % confidence, two-sided, for this one reading.
    """

    round: int
    metric: str
    value: float
    low: float
    high: float
    n: int


class Verdict(StrEnum):
    """How far the claim has been proven, from nothing to everything."""

    NOT_REACHED = "not reached"
    REACHED = "reached"
    LIKELY = "likely"
    CERTIFIED = "certified"


@dataclass(frozen=True, slots=True)
class Look:
    """One test of the claim: the only thing that spends error.

    The `number`-th look in the life of the loop has level alpha / 2**number. It judges the newest scored round on
    the test items from `first` (a place in the reserved order) up to its `m`-th resolved one; `correct` of `n`
    were right. `low` and `high` bound the `value` as those of a `Score` do. `bound` is the confidence bound at `level`
    that tests the claim, the upper one where less is better; `posterior` the probability that the target holds.
    """

    number: int
    round: int
    first: int
    m: int
    n: int
    level: float
    target: float
    metric: str
    value: float
    low: float
    high: float
    correct: int
    bound: float
    posterior: float
    verdict: Verdict
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LookItem:
    """One test item as a look saw it; `annotation` is None when its answer was overdue (it counts as wrong)."""

    look: int
    item: int
    annotation: int | None
    label: str | None
    predicted: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What the gate may know of a round: nothing that a test answer could have moved.

    `agreement` is the share of equal predictions with an earlier round (None when there is none to compare);
    `looked` says that a look judged this round; `ended` that budget or pool ended with it, and a last look is due.
    """

    round: int
    n_labels: int
    agreement: float | None
    looked: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """All that a decision may rest on, as it was recorded."""

    progress: tuple[Progress, ...]
    scores: tuple[Score, ...]
    looks: tuple[Look, ...]
    stop_on: Verdict
    look_is_due: bool
    over: str = ""
    """Why nothing is left to ask ("budget", "deadline", …), once the final round is ranked; else empty."""
    by_hand: str = ""
    """Why a person ends the loop; empty while nobody does."""
    stable_rounds: int = 0
    """Settled rounds in a row that end the loop; 0: no number of them does."""
    out_of_reach: float = 0.0
    """The chance that the target is out of reach, by the scores; 0 before there are enough of them."""
    unreachable: float = 0.0
    """The chance above which that ends the loop; 0: none does."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Stop or go on, and why: one word for the rule, and in `because` what a person gave as the reason."""

    stop: bool
    reason: str
    verdict: Verdict
    because: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth remembering that no other table holds."""

    position: int
    at: datetime
    kind: str
    body: Mapping[str, Any]


# What one call of `Loop.step` can report.


@dataclass(frozen=True, slots=True)
class Progressed:
    """One durable effect was made; there may be more to do at once. `collected` counts the answers that came in."""

    what: str
    collected: int = 0


@dataclass(frozen=True, slots=True)
class WaitingForPeople:
    """Nothing to do until somebody answers one of the open asks."""

    n_open: int


@dataclass(frozen=True, slots=True)
class WaitingForTraining:
    """Nothing left to ask until the fit under way has ended."""

    round: int


@dataclass(frozen=True, slots=True)
class Paused:
    """A person wants nothing asked for now, and there is no answer to collect."""

    why: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The loop is over."""

    decision: Decision


StepResult = Progressed | WaitingForPeople | WaitingForTraining | Paused | Stopped
