"""Where a loop stands: everything that its steps read, worked out from the store.

Nothing is remembered here that the store does not say; what is kept is kept because it is asked for often. It is told
the time, reads, and never writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import again, looks, pace, screening
from .answers import heard, held_out
from .answers import merging as new_merging
from .changes import changes, look_asked, moved_end, plan_of, settled_since
from .consensus import Votes
from .domain import (
    COLD_START,
    IMPORTED,
    AnswerKind,
    AskKind,
    History,
    Item,
    Merged,
    Progress,
    Purpose,
    Round,
    RoundState,
    Split,
)
from .evaluate import Search
from .forecast import curves_for
from .merge import Merging, Together
from .reserve import Prefix, Spending, TestState, prefix, states
from .settings import LookPlan, Settings, deadline, from_json, positive_class
from .stopping import gate, opened
from .store import Store
from .tasks import Task, make_task

_SAMPLE = 10_000
"""Pool items on which rounds are compared."""

FEWEST_ANSWERS = 5
"""Answers between a round that a person asked for and any other one."""


class Standing:
    """What is known of a loop with these settings. `now` is asked for the time, nothing else is."""

    def __init__(self, settings: Settings, store: Store, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self.store = store
        self._now = now
        self._merges: list[tuple[int, Merging, int]] = []  # up to where, what, and which round it heeds
        self._versions: dict[int, Settings] = {}

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The facts of the first import, which never change: plan of the looks, number of items, key of the ask ids."""
        return self.store.events("imported")[0].body

    @property
    def plan(self) -> LookPlan:
        """The sizes of the looks at the claim as it is now."""
        return plan_of(self.store)

    @cached_property
    def items(self) -> list[Item]:
        return self.store.items()

    @cached_property
    def ids(self) -> NDArray[np.uint64]:
        return np.array([item.id64 for item in self.items], dtype=np.uint64)

    @cached_property
    def pool(self) -> NDArray[np.int64]:
        return np.array([item.position for item in self.items if item.split == Split.POOL], dtype=np.int64)

    @cached_property
    def test_order(self) -> list[int]:
        """Positions of the reserved items of the first import, in the order in which they are asked."""
        reserved = [item for item in self.items if item.test_rank is not None]
        return [item.position for item in sorted(reserved, key=_rank_of)][: LookPlan.of(self.facts).reserved]

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        """The pool items on which rounds are compared: drawn once from the first import."""
        first = self.pool[self.pool < self.facts["items"]]
        rng = np.random.default_rng([self.settings.seed, 1])
        return np.sort(rng.choice(first, size=min(_SAMPLE, len(first)), replace=False))

    @cached_property
    def task(self) -> Task:
        return make_task(self.settings.task)

    def forget(self) -> None:
        """Drop what was kept in memory of the items: they have changed."""
        for name in ("items", "ids", "pool", "test_order", "sample", "_sample_order"):
            self.__dict__.pop(name, None)

    @cached_property
    def imported_position(self) -> int:
        return int(self.facts["answers"])

    @cached_property
    def first_round_at(self) -> int:
        """Answered pool asks that open round 0: n0 less the pool labels that came with the items."""
        imported = self.store.annotations(self.imported_position)
        given = {a.item for a in imported if a.item is not None and a.kind == AnswerKind.SUBMITTED}
        return max(0, int(self.facts["n0"]) - sum(map(self.is_learned, given)))

    def settings_of(self, round_: Round) -> Settings:
        if round_.setting not in self._versions:
            found = self.store.setting(round_.setting)
            self._versions[round_.setting] = from_json(found[1]) if found else self.settings
        return self._versions[round_.setting]

    def merged(self) -> Mapping[int, Merged]:
        """All that was said about each item so far."""
        return self.merge(self.store.annotation_position())

    def merge(self, upto: int) -> Mapping[int, Merged]:
        """All that was said about each item up to this place; worth nothing after the next call."""
        return self._merging(upto).merged

    def _merging(self, upto: int) -> Merging:
        known = [each for each in self._merges if each[0] <= upto]
        at, merging, heeded = max(known, key=lambda each: each[0], default=(0, None, COLD_START))
        if merging is None or at != upto:
            # Two are kept: rounds lag behind the newest answer, and both only ever grow.
            kept = [each for each in self._merges if each[1] is not merging]
            if merging is None:
                merging = new_merging(self.settings, self.is_learned)
            merging.add(self.store.annotations(upto, after=at))
            self._merges = [*kept, (upto, merging, heeded)][-2:]
        if self.settings.people.merge == "crowdlab":
            self._heed(upto, merging)
        return merging

    def _heed(self, upto: int, merging: Merging) -> None:
        """Have the votes weighed by what the newest round before this place predicted."""
        heeded = heard(self.store.rounds(), upto)
        if heeded and (upto, merging, heeded.number) not in self._merges:
            merging.trust(Together.of(self.settings, self.is_learned, held_out(heeded)))
            self._merges = [each for each in self._merges if each[1] is not merging] + [(upto, merging, heeded.number)]

    def votes(self, upto: int) -> Votes:
        """The votes on each item to learn from, up to this place."""
        votes = self._merging(upto).votes
        return {item: dict(given) for item, given in votes.items() if self.is_learned(item)}

    def is_learned(self, item: int) -> bool:
        """Whether an item is one to learn from."""
        return self.items[item].split == Split.POOL

    def readable(self, merged: Mapping[int, Merged]) -> Mapping[int, Merged]:
        """Without test items that were answered when there were other classes."""
        stale = max((change.stale for _, change in changes(self.store)), default=0)
        gone = set(self.test_order[:stale])
        return {item: each for item, each in merged.items() if item not in gone} if gone else merged

    def progress(self) -> list[Progress]:
        """What the gate sees: one entry per ranked round of this kind of model."""
        looked = {look.round for look in self.store.looks()}
        return [
            Progress(r.number, r.record["n_labels"], r.record["agreement"], r.number in looked, r.final and r.entitled)
            for r in self.scored_rounds()
        ]

    def rounds(self) -> list[Round]:
        """The rounds that count: one that a person asked for is theirs to look at, and moves nothing."""
        return [r for r in self.store.rounds() if not r.by_hand]

    def scored_rounds(self) -> list[Round]:
        """The ranked rounds that count, since the model became of this kind."""
        since = settled_since(self.store)
        ranked = [r for r in self.rounds() if r.state == RoundState.RANKED and r.number != COLD_START]
        return [r for r in ranked if r.setting >= since]

    def not_by_hand(self) -> str:
        """Why the model does not learn on a person's word now, as one word; empty if it may.

        At least five answers, of either kind, lie between such a round and the ones before and after it: the figures of
        two rounds that are closer would tell on which side single items are.
        """
        rounds = self.store.rounds()
        if not any(r.state == RoundState.RANKED and r.number != COLD_START for r in rounds):
            return "first"
        if rounds[-1].state == RoundState.OPENED:
            return "learning"
        if self.ending():
            return "end"
        if len({a.ask for a in self.store.annotations(after=rounds[-1].annotation_position) if a.ask}) < FEWEST_ANSWERS:
            return "few"
        missing = self.next_round_at() - len(self.store.answered_positions(Purpose.POOL))
        return "soon" if missing < FEWEST_ANSWERS else ""

    def next_round_at(self) -> int:
        """Answered pool asks that open the next round that counts; the first of those was the cold start."""
        return self.first_round_at + (len(self.rounds()) - 1) * self.settings.query.retrain_every

    def learned(self, last: Round) -> bool:
        """Whether there is no label that the last round has not learned from."""
        if last.number == COLD_START:
            return not any(m.label and self.items[item].split == Split.POOL for item, m in self.merged().items())
        answered = self.store.answered_positions(Purpose.POOL)
        return last.final and (not answered or answered[-1] <= last.annotation_position)

    def judged(self) -> Round:
        """The round that a look is about: the newest; if it may end at any time, the one at which the gate opened."""
        frozen = opened(self.progress()) if self.settings.target.proof == "anytime" else None
        return self.scored_rounds()[-1 if frozen is None else frozen]

    def history(self) -> History:
        """What the decision to stop rests on."""
        progress, last = tuple(self.progress()), self.rounds()[-1:]
        finished = bool(last) and self.learned(last[0]) and last[0].state == RoundState.RANKED
        counting = {each.number for each in self.rounds()}
        return History(
            progress=progress,
            scores=tuple(score for score in self.store.scores() if score.round in counting),
            looks=tuple(self.store.looks()[self._looks_before :]),
            stop_on=self.settings.stop_on,
            look_is_due=self.gate_open() and self._can_look(),
            over=self.ending() if finished else "",
            by_hand=self.settings.stop.by_hand,
            stable_rounds=self.settings.stop.stable_rounds,
            out_of_reach=self._out_of_reach(progress),
            unreachable=self.settings.stop.unreachable,
        )

    @property
    def _looks_before(self) -> int:
        """Looks at claims that were changed since."""
        return max((change.looks for _, change in changes(self.store)), default=0)

    def _can_look(self) -> bool:
        """Whether there are test answers to look at, or some may come; a search may have nothing left to draw from."""
        if self.settings.is_search:
            return True
        found = self.test_prefix()
        return bool(found.judged or found.outstanding or (found.fresh and self.spending().test_left))

    def _out_of_reach(self, progress: Sequence[Progress]) -> float:
        """The chance that the target is out of reach, where that may end the loop; 0 before there are enough scores."""
        if not self.settings.stop.unreachable:
            return 0.0
        n_labels = {each.round: each.n_labels for each in progress}
        scores = [score for score in self.store.scores() if score.metric == self.settings.target.metric]
        readings = tuple((n_labels[score.round], score) for score in scores if score.round in n_labels)
        found = curves_for(self.settings, len(self.pool), readings)
        return 1 - found.chance(self.settings.target.value) if found else 0.0

    def spending(self) -> Spending:
        pool, test = self.store.n_sent(Purpose.POOL), self.store.n_sent(Purpose.TEST)
        return Spending(
            plan=self.plan,
            budget=pool + test if self.is_late() else self.affordable()[0],
            look=len(self.store.looks()) + 1,
            pool=pool,
            test=test,
            gate_open=self.gate_open(),
            search=self.settings.is_search,
        )

    def gate_open(self) -> bool:
        """Whether a look is due. That of a search begins if the budget pays for its sample, and then stays open."""
        is_open = bool(self.scored_rounds()) and (gate(self.progress()) or look_asked(self.store))
        if not is_open or not self.settings.is_search:
            return is_open
        if any(state != TestState.EXCLUDED for state in self._drawn().values()):
            return True
        size = self.sample_size()
        spent = self.store.n_sent(Purpose.POOL) + self.store.n_sent(Purpose.TEST)
        return size is not None and size <= (0 if self.is_late() else self.affordable()[0] - spent)

    def affordable(self) -> tuple[int, str]:
        """Answers that may be asked for, and which limit that is."""
        budget = self.settings.budget
        if not budget.hours and not budget.money:
            return budget.answers, "budget"
        asks = {ask.id for ask in self.store.asks() if ask.purpose == Purpose.POOL}
        seconds = pace.measured(self.store.annotations(), asks)
        return pace.affordable(budget, pace.seconds_per_answer(seconds, budget.seconds_per_label))

    def is_late(self) -> bool:
        """Whether nothing may be asked any more."""
        until = deadline(self.settings)
        return until is not None and self._now() >= until

    def test_prefix(self) -> Prefix:
        """How far the items of the coming look are resolved; none of a search while no look is due."""
        plan = self.plan
        order, m = self.test_order[plan.first :], plan.m(len(self.store.looks()) + 1)
        if self.settings.is_search:
            order, m = self.rest(), (self.sample_size() or 0) if self.gate_open() else 0
        return prefix(order, self._states(order), m)

    def test_share(self) -> float:
        """The chance with which an item came to be one that tests."""
        if self.settings.is_search:
            return (self.sample_size() or 0) / max(1, len(self.rest()))
        return float(self.plan.reserved / self.facts["items"])

    def _states(self, order: Sequence[int]) -> Callable[[int], TestState]:
        """What is known of each test item."""
        merged, over = self.merged(), self.is_late()
        late = self._now() - timedelta(days=self.settings.query.test_timeout_days)
        asked = {item: over or at < late for item, at in self.store.sent_at().items()}
        waiting = self._waiting() if merged else set()
        settled = {item: merged[item] for item in order if item in merged and (item not in waiting or asked.get(item))}
        return states(looks.resolved(settled), asked)

    def _waiting(self) -> set[int]:
        """Test items about which somebody else is still to be asked, or to answer."""
        items = {ask.item for ask in self.store.incomplete() if ask.purpose == Purpose.TEST}
        due = self.differing(Purpose.TEST)
        return items | set(due) if due and self.spending().test_left else items

    def ending(self) -> str:
        """Why there is nothing more to learn from: a limit by its name, "deadline", "pool", or "" while there is."""
        if self.is_late():
            return "deadline"
        open_pool = [ask for ask in self.store.incomplete() if ask.purpose == Purpose.POOL]
        if open_pool:
            return ""
        if self.spending().pool_left == 0:
            return self.affordable()[1]
        taken = self.store.asked_items() | {item for item, m in self.merged().items() if m.label}
        return "" if any(position not in taken for position in self.pool.tolist()) else "pool"

    def entitled(self) -> bool:
        """Whether the end may open the gate: not when budget or deadline were changed after scores were shown."""
        scores = self.store.scores()
        if not scores or self.ending() == "pool":
            return True
        first = next(r for r in self.store.rounds() if r.number == scores[0].round)
        return not moved_end(self.settings_of(first), self.settings)

    # asking again

    def differing(self, purpose: Purpose) -> list[int]:
        """Items on which people differ, and which are to be put to them again; none of a search, which asks once."""
        disputed = {item: m for item, m in self.merged().items() if m.disputed}
        if self.settings.is_search or not disputed:
            return []
        found = again.differing(self.store.asks(), self._incomplete(), disputed)
        tested = set() if purpose == Purpose.POOL else self._needed_to_test()
        return [item for item in found if (self.is_learned(item) if purpose == Purpose.POOL else item in tested)]

    def _needed_to_test(self) -> set[int]:
        """Test items that the coming look uses if none is replaced any more; answers to others may have come along."""
        plan, merged = self.plan, self.merged()
        order = self.test_order[plan.first :]
        usable = [item for item in order if item not in merged or looks.counts(merged[item])]
        return set(usable[: plan.m(len(self.store.looks()) + 1)])

    def again(self, room: int, batch: int) -> list[tuple[int, AskKind]]:
        """Items to learn from that this batch asks about again, at most `room`, and why; the first ones first."""
        told = self.settings.people
        # Differences come first; but answers that came with the data may differ on more than a budget can settle.
        found = dict.fromkeys(self.differing(Purpose.POOL)[: (room + 1) // 2], AskKind.ADJUDICATION)
        if told.relabel_share and self._may_doubt():
            for item in self._doubted()[: round(told.relabel_share * room)]:
                found.setdefault(item, AskKind.RELABEL)
        if told.repeat_share:
            rng, answered = np.random.default_rng([self.settings.seed, 8, batch]), self.store.first_answers()
            for item in again.repeatable(self.store.asks(), answered, self.merged(), told.repeat_share, rng):
                found.setdefault(item, AskKind.REPEAT)
        return list(found.items())[:room]

    def _doubted(self) -> list[int]:
        """Items whose label the newest round doubts, and which nobody was asked about since."""
        for newest in self.scored_rounds()[-1:]:
            doubtful: list[int] = newest.record["doubtful"]
            return again.doubted(self.store.asks(), doubtful, self._incomplete(), newest.ask_position)
        return []

    def _incomplete(self) -> set[str]:
        return {ask.id for ask in self.store.incomplete()}

    def _may_doubt(self) -> bool:
        merging = self._merging(self.store.annotation_position())
        people = {person for votes in merging.votes.values() for person in votes} - {IMPORTED}
        same = [self.task.consensus(pair).agreement == 1 for of in merging.repeated.values() for pair in of.values()]
        return again.may_doubt(len(people), same)

    # of a search

    @cached_property
    def _sample_order(self) -> NDArray[np.int64]:
        return screening.sample_order(self.items, self.settings.seed)

    @property
    def positive(self) -> str:
        """The class that the target is about."""
        return positive_class(self.settings.target, self.settings.task.classes)

    def rest(self) -> list[int]:
        """Items that nobody chose and no earlier look used, in the order in which the coming look samples them."""
        used = {seen.item for look in self.store.looks() for seen in self.store.look_items(look.number)}
        first = {a.item for a in self.store.annotations(self.imported_position) if a.item is not None}
        taken = used | first | self.store.asked_items(purpose=Purpose.POOL)
        return [item for item in self._sample_order.tolist() if item not in taken]

    def search(self) -> Search:
        """What is known of the search, its running sample not counted."""
        rest = set(self.rest())
        asked = self.store.asked_items(purpose=Purpose.POOL)
        return screening.searched(self.positive, self.merged(), rest, asked, self._drawn())

    def sample_size(self) -> int | None:
        """Items to draw for the coming look; None if none would do."""
        return screening.sample_size(self.search(), self.settings, len(self.store.looks()) + 1)

    def _drawn(self) -> dict[int, TestState]:
        """Items of the running sample, with what is known of each."""
        rest = self.rest()
        state, asked = self._states(rest), self.store.asked_items(purpose=Purpose.TEST)
        return {item: state(item) for item in rest if item in asked}

    def dryness(self, round_: Round) -> float | None:
        """Share of the newest answers to chosen items that were not of the class, as far as the round knows them."""
        if round_.number == COLD_START:
            return None
        merged = self.merge(round_.annotation_position)
        chosen = [ask.item for ask in self.store.asks() if ask.purpose == Purpose.POOL and ask.item in merged]
        labels = [label for item in chosen if (label := merged[item].label)]
        known = any(each.label == self.positive for each in merged.values())
        return screening.dryness(labels, self.positive) if known else None


def _rank_of(item: Item) -> int:
    return -1 if item.test_rank is None else item.test_rank
