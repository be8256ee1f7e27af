"""The service layer: the one place that knows the order of a round.

`step()` is the only way forward. Each call makes at most one durable effect and can be repeated at any time, by
whoever: `run`, the server's worker, a simulation, and the first call after a crash are the same. What to do next
is read from the store alone; nothing that matters is remembered between two calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from . import intake, looks, screening
from .afterwards import Afterwards
from .changes import change_of, ended
from .domain import (
    COLD_START,
    Ask,
    AskKind,
    AskState,
    Decision,
    Look,
    LookItem,
    Paused,
    Progressed,
    Purpose,
    Round,
    RoundState,
    Score,
    StepResult,
    Stopped,
    WaitingForPeople,
    WaitingForTraining,
)
from .jobs import Jobs
from .labeling import LabelingBackend, Publication
from .records import Source
from .reserve import Prefix
from .runner import Runner
from .scoring import RoundResult
from .settings import Settings, check, to_json
from .standing import Standing
from .stopping import decide, earlier_round, limits
from .store import Store
from .tasks import make_task

_WAITS = 60
"""Waits for people after which it is looked whether all that is open is still there: five minutes, at one in 5 s."""


class Loop:
    """One loop: its store, its source of items, the place where people label, and the runner of fits.

    Nothing is written before the first `step`; the settings are checked against what the store knows at once
    (`ConfigError`). With `portraits` the newest round is drawn for people to look at, whenever there is nothing else to
    compute.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        source: Source,
        backend: LabelingBackend,
        runner: Runner,
        *,
        folder: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        uid: str = "",
        portraits: bool = False,
    ) -> None:
        check(settings)
        self.settings = settings
        self.standing = Standing(settings, store, now)
        self.store = store
        self.source = source
        self.backend = backend
        self.jobs = Jobs(self.standing, source, runner, folder)
        self.afterwards = Afterwards(self.standing, self.jobs)
        self._now = now
        self._uid = uid
        self._portraits = portraits
        self._republished = self._retired = False
        self._waits = 0
        change_of(store, settings)

    # the only way forward

    def step(self, *, collect: bool = True) -> StepResult:
        """Make at most one durable effect and say what it was, or what the loop waits for.

        Without `collect` the labelling place is not asked for answers this time.

        Raises `LabelingError` when the place where people label cannot be reached (nothing is lost: call again
        later), `TrainingError` when no model can be fitted, `DataError` when the items changed under the loop.
        """
        for effect in (self._settle, self._import, self._publish):
            if done := effect():
                return done
        decision = self.decision()
        # Answers are fetched last: a stream of them must not keep what they call for from being done.
        after = self.afterwards
        at_the_end = (self._retire, after.refit, after.compare, after.suspect)
        effects = at_the_end if decision else () if self._held else (self._train, self._look, self._decide, self._send)
        for effect in effects:
            if done := effect():
                return done
        if self._portraits and (waits := self._portray(at_the_end=bool(decision))):
            return waits
        if collect and (done := self._collect()):
            return done
        return Stopped(decision) if decision else self._wait()

    @property
    def _held(self) -> str:
        """Why nothing is asked, trained or tested now; a stop by hand comes before a pause."""
        stop = self.settings.stop
        return "" if stop.by_hand else stop.paused

    def prepare(self) -> StepResult | None:
        """Make one of the effects that need no labelling place, while that is still starting; None: nothing to do now.

        It reads the items and sets the cold start going. `step` does the same things in the same way.
        """
        effects = (self._settle, self._import) if self._held else (self._settle, self._import, self._train)
        for effect in effects:
            if done := effect():
                return done
        return None

    # 1. what was told

    def _settle(self) -> StepResult | None:
        """Give the loop its name once, and append the settings to the store if they are new."""
        if not self.store.events("created"):
            self.store.uid(self._uid)
            return Progressed("loop created")
        body, known = self._settings_text, self.store.setting()
        if known and known[1] == body:
            return None
        change = change_of(self.store, self.settings)
        version = self.store.add_setting(body, change.as_dict() if change else None)
        return Progressed(change.sentence if change else f"settings version {version}")

    @cached_property
    def _settings_text(self) -> str:
        return to_json(self.settings)

    # 2. items

    def _import(self) -> StepResult | None:
        """Read the items once, draw the test order from all of them, keep the answers that came with them."""
        if self.store.n_items():
            return None
        taken = intake.first(self.source, self.settings, self.standing.task, self._now())
        self.store.import_items(taken.items, taken.answers, taken.facts)
        return Progressed(f"{len(taken.items)} items imported, {taken.facts['reserved']} of them reserved for testing")

    def import_items(self) -> None:
        """Do what `step` would do first: settle the settings and import the items."""
        while self._settle() or self._import():
            pass

    def add_items(self) -> int:
        """Import what the source holds and the store does not; returns how many items were added.

        They join the pool, and the same share of them is set aside and never trained on (none where a test file was
        brought); the claim stays about the first import, and answers that came with later rows are not used.
        """
        taken = intake.later(self.source, self.standing.items, self.standing.facts, self.settings.seed)
        if taken.items:
            self.store.import_items(taken.items, taken.answers, taken.facts)
            self.forget()
        return len(taken.items)

    def forget(self) -> None:
        """Drop what was kept in memory of the items: they have changed."""
        self.standing.forget()
        self.jobs.forget()

    # 3. publishing

    def _publish(self) -> StepResult | None:
        """Publish the batch that is under way; at first, and now and then, also what should be there already.

        Somebody may have deleted a task by hand: its ask would wait for ever.
        """
        if not self._republished:
            open_asks = [ask for ask in self.store.incomplete() if ask.state == AskState.OPEN]
            if open_asks:
                self.backend.publish(self._publications(open_asks))
            self._republished = True
        batch = self.store.sending_batch()
        if batch is None:
            return None
        self.backend.publish(self._publications(batch.asks))
        self.store.mark_open(batch.id, self.backend.tasks())
        return Progressed(f"{len(batch.asks)} asked")

    def _publications(self, asks: Sequence[Ask]) -> list[Publication]:
        rows = [self.standing.items[ask.item].row for ask in asks]
        shown = self.source.shown(rows)
        return [Publication(ask, fields, row) for ask, fields, row in zip(asks, shown, rows, strict=True)]

    # 4. rounds

    def _train(self) -> StepResult | None:
        """Bring the opened round one step further, or open the next one when its answers are there."""
        rounds = self.store.rounds()
        if rounds and rounds[-1].state == RoundState.OPENED:
            return self._advance(rounds[-1])
        next_round = self._next_round(rounds)
        if next_round is None:
            return None
        self.store.open_round(next_round)
        return Progressed(f"round {next_round.number} opened")

    def _next_round(self, rounds: Sequence[Round]) -> Round | None:
        """The round that the answers so far call for; the final one when budget or pool has ended."""
        position = self.store.annotation_position()
        if not rounds:
            return self._round(COLD_START, position)
        number, counting = rounds[-1].number + 1, self.standing.rounds()
        answered = self.store.answered_positions(Purpose.POOL)
        needed = self.standing.next_round_at()
        if len(answered) >= needed:
            prefix_end = answered[needed - 1] if needed else self.standing.imported_position
            return self._round(number, prefix_end)
        if self.standing.ending() and not self.standing.learned(counting[-1]):
            return replace(self._round(number, position), final=True, entitled=self.standing.entitled())
        made = sum(round_.by_hand for round_ in rounds)
        if self.settings.query.rounds_by_hand > made and not self.standing.not_by_hand():
            return replace(self._round(number, position), by_hand=True)
        return None

    def _round(self, number: int, annotation_position: int) -> Round:
        setting = self.store.setting()
        return Round(
            number=number,
            state=RoundState.OPENED,
            annotation_position=annotation_position,
            ask_position=self.store.ask_position(),
            setting=setting[0] if setting else 1,
            seed=self.settings.seed,
            items=len(self.standing.items),
        )

    def _advance(self, round_: Round) -> StepResult | None:
        """Encode the features, then fit and rank; commit when the result is there."""
        result = self.jobs.result(lambda: self.jobs.of(round_))
        if isinstance(result, RoundResult) and result.number == round_.number:
            return self._rank(round_, result)
        return result if isinstance(result, Progressed) else None

    def _rank(self, round_: Round, result: RoundResult) -> StepResult:
        """Commit what the round found: its ranking, agreement and score."""
        if round_.number != COLD_START:
            self.jobs.keep(result)
        strategy = self._strategy(round_)
        ids = [self._ask_id(round_.number, rank, int(item)) for rank, item in enumerate(result.chosen)]
        asks = [
            Ask(
                id=ids[rank],
                item=int(item),
                purpose=Purpose.POOL,
                state=AskState.RANKED,
                round=round_.number,
                rank=rank,
                utility=float(utility),
                why=why,
                probability=why.get("probability"),
                strategy=strategy,
                wanted=self._wanted(ids[rank], round_),
            )
            for rank, (item, utility, why) in enumerate(zip(result.chosen, result.utilities, result.why, strict=True))
        ]
        agreement = self.standing.dryness(round_) if self.settings.is_search else self._agreement(result)
        record = {**result.record, "agreement": agreement}
        self.store.rank_round(round_.number, asks, record, self._score(round_, result))
        return Progressed(f"round {round_.number} ranked" if round_.number >= 0 else "first items chosen")

    def _strategy(self, round_: Round) -> str:
        settings = self.standing.settings_of(round_)
        query = replace(settings.query, strategy=settings.strategy)
        return query.cold_start if round_.number == COLD_START else query.asks_by

    def _agreement(self, result: RoundResult) -> float | None:
        """How far it predicts the same as the latest round that had clearly fewer labels."""
        if result.number == COLD_START:
            return None
        earlier = [r for r in self.standing.scored_rounds() if r.number < result.number]
        index = earlier_round([*(r.record["n_labels"] for r in earlier), result.record["n_labels"]])
        if index is None:
            return None
        return self.standing.task.alike(self.jobs.predictions(earlier[index])[1], result.sample_codes)

    def _score(self, round_: Round, result: RoundResult) -> list[Score]:
        """A reading on the test answers that the round's prefix holds."""
        if round_.number == COLD_START:
            return []
        settings = self.standing.settings_of(round_)
        return looks.read(
            round_.number,
            settings.target,
            make_task(settings.task),
            self.standing.test_order,
            result.test_mean,
            self.standing.readable(self.standing.merge(round_.annotation_position)),
            np.random.default_rng([round_.seed, 4, round_.number]),
        )

    # 5. looks

    def _look(self) -> StepResult | None:
        """Test the claim if a look is due and its test items are resolved."""
        if not self.standing.gate_open():
            return None
        spending, found = self.standing.spending(), self.standing.test_prefix()
        waits = bool(found.outstanding or (found.fresh and spending.tests_left))
        test = self._test_search if self.settings.is_search else self._test_model
        tested = test(spending.look, found, waits)
        if tested is None:
            return None
        look, seen = tested
        self.store.add_look(look, seen)
        return Progressed(f"look {look.number}: {look.verdict}")

    def _test_model(self, number: int, found: Prefix, waits: bool) -> tuple[Look, list[LookItem]] | None:
        """Test the model of the judged round; None while items that are needed wait for their answers."""
        settings, task = self.settings, self.standing.task
        anytime = settings.target.proof == "anytime"
        items = found.judged[: found.settled] if waits else found.judged
        if not items or (waits and not anytime):
            return None
        judged, place = self.standing.judged(), {item: rank for rank, item in enumerate(self.standing.test_order)}
        predicted = self.jobs.predictions(judged)[0][[place[item] for item in items]]
        merged = self.standing.merged()
        if anytime:
            n = looks.enough(number, settings.target, task, items, predicted, merged)
            if n is None and waits:
                return None
            items, predicted = items[:n], predicted[:n]
        return looks.judge(
            number=number,
            round_=judged.number,
            first=self.standing.plan.first,
            m=self.standing.plan.m(number),
            target=settings.target,
            certifiable=not settings.data.group,  # items of one group are not independent
            task=task,
            items=items,
            predicted=predicted,
            merged=merged,
            rng=np.random.default_rng([settings.seed, 5, number]),
        )

    def _test_search(self, number: int, found: Prefix, waits: bool) -> tuple[Look, list[LookItem]] | None:
        """Test whether enough was found, on a random sample of all that nobody chose; None while some of it waits."""
        if waits:
            return None
        newest, search = self.standing.scored_rounds()[-1].number, self.standing.search()
        return screening.judge(number, newest, self.settings, search, found, self.standing.merged())

    # 6. the decision

    def _decide(self) -> StepResult | None:
        decision = decide(self.standing.history())
        if not decision.stop:
            return None
        stop = {"reason": decision.reason, "because": decision.because, "verdict": decision.verdict}
        self.store.add_event("stopped", {**stop, "limits": limits(self.settings)})
        return Progressed("stopped")

    def decision(self) -> Decision | None:
        """The decision that ended the loop; None while it goes on, and again after its reason was taken back."""
        return ended(self.store, self.settings)

    # 7. asking

    def _send(self) -> StepResult | None:
        """Top the queue up, or ask for more on a person's word: what people differ on, the ranking, the test order."""
        query, queue = self.settings.query, len(self.store.unanswered())
        by_hand = query.batches_by_hand > self.store.n_batches_by_hand()
        if queue >= max(query.queue_low, 1) and not by_hand:
            return None
        room, number = query.queue_high - (0 if by_hand else queue), self.store.n_batches() + 1
        spending, found = self.standing.spending(), self.standing.test_prefix()
        disputed = self.standing.differing(Purpose.TEST)[: min(room, spending.test_left)]
        spending = replace(spending, test=spending.test + len(disputed))
        again = [] if spending.gate_open else self.standing.again(room - len(disputed), number)
        ranked = self.store.ranked_asks(query.queue_high)
        costs = [1] * len(again) + [ask.wanted for ask in ranked]
        n_pool, n_test = spending.batch(room - len(disputed), costs, len(found.fresh))
        fresh = [
            *(self._ask_again(item, Purpose.TEST, AskKind.ADJUDICATION, number) for item in disputed),
            *(self._ask_again(item, Purpose.POOL, kind, number) for item, kind in again[:n_pool]),
            *(self._test_ask(item, number) for item in found.fresh[:n_test]),
        ]
        pool = _within(ranked[: max(0, n_pool - len(again))], spending.pool_left - len(again))
        ids = [ask.id for ask in (*pool, *fresh)]
        if not ids:
            return None
        order = np.random.default_rng([self.settings.seed, 2, number]).permutation(len(ids))
        self.store.create_batch(pool, fresh, [ids[index] for index in order], by_hand=by_hand)
        return Progressed(f"batch {number} of {len(ids)} asks")

    def _test_ask(self, item: int, batch: int) -> Ask:
        return Ask(
            id=self._ask_id("test", batch, item),
            item=item,
            purpose=Purpose.TEST,
            state=AskState.SENDING,
            probability=self.standing.test_share(),
            wanted=self.standing.plan.people,
        )

    def _ask_again(self, item: int, purpose: Purpose, kind: AskKind, batch: int) -> Ask:
        return Ask(self._ask_id(kind, batch, item), item, purpose, AskState.SENDING, kind=kind)

    def _wanted(self, ask_id: str, round_: Round) -> int:
        """People who are asked about an item to learn from: drawn by its ask, so that a crash changes nothing."""
        people = self.standing.settings_of(round_).people
        chance = int(ask_id[:8], 16) / 16**8
        return people.overlap if chance < people.overlap_share else 1

    def _ask_id(self, *parts: object) -> str:
        """Opaque: a hash with a secret key, which says nothing to whoever sees it; the same again after a crash."""
        return hashlib.blake2b(":".join(map(str, parts)).encode(), key=self._key, digest_size=12).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        return self.store.key()

    def _portray(self, *, at_the_end: bool) -> StepResult | None:
        """Have the newest round portrayed. Nothing durable comes of it, and it is waited for at the end alone."""
        rounds = self.store.rounds()
        if not rounds or rounds[-1].state == RoundState.OPENED or rounds[-1].number == COLD_START:
            return None
        there = self.jobs.portray(rounds[-1])
        return WaitingForTraining(rounds[-1].number) if at_the_end and not there else None

    # 8. collecting

    def _collect(self) -> StepResult | None:
        new = self.store.new_among(list(self.backend.collect()))
        if not new:
            return None
        n = self.store.append(new)
        return Progressed(f"{n} answers", collected=n)

    def _wait(self) -> StepResult:
        self._waits += 1
        if self._waits % _WAITS == 0:
            self._republished = False
        if self._held:
            return Paused(self._held)
        rounds = self.store.rounds()
        n_open = len(self.store.incomplete())
        if not n_open and rounds and rounds[-1].state == RoundState.OPENED:
            return WaitingForTraining(rounds[-1].number)
        return WaitingForPeople(max(n_open, self.standing.test_prefix().outstanding))

    # after the end

    def _retire(self) -> StepResult | None:
        """Withdraw what nobody answered, once in a process: the loop has stopped."""
        left = [ask for ask in self.store.incomplete() if ask.state == AskState.OPEN]
        if not left and self._retired:
            return None
        self.backend.retire(left)  # also with none left: the place may hold spare tasks of answered asks
        self._retired = True
        if not left:
            return None
        self.store.retire(left)
        return Progressed(f"{len(left)} open asks withdrawn")


def _within(asks: Sequence[Ask], answers: int) -> list[Ask]:
    """These asks, the last of them wanting no more answers than are left."""
    taken = []
    for ask in asks:
        taken.append(replace(ask, wanted=min(ask.wanted, answers)))
        answers -= ask.wanted
    return taken
