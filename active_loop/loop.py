"""The service layer: the one place that knows the order of a round.

`step()` is the only way forward. Each call makes at most one durable effect and can be repeated at any time, by
whoever: `run`, the server's worker, a simulation, and the first call after a crash are the same. What to do next
is read from the store alone; nothing that matters is remembered between two calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import intake, looks, pace
from .answers import reader
from .domain import (
    COLD_START,
    Ask,
    AskState,
    Decision,
    History,
    Item,
    Merged,
    Progress,
    Progressed,
    Purpose,
    Round,
    RoundState,
    Score,
    Split,
    StepResult,
    Stopped,
    Verdict,
    WaitingForPeople,
    WaitingForTraining,
)
from .errors import ConfigError
from .forecast import curves_for
from .labeling import LabelingBackend, Publication
from .merge import Merging
from .predictions import Predictions
from .refit import obstacle, refit
from .reserve import Prefix, Spending, prefix, states
from .runner import Runner
from .scoring import EncodeJob, RoundJob, RoundResult
from .settings import LookPlan, Settings, check, deadline, differences, from_json, to_json
from .sources import Source, check_unchanged
from .stopping import decide, earlier_round, gate, in_force, limits, opened
from .store import Store
from .tasks import Task, make_task

if TYPE_CHECKING:
    from .features import FeatureFile

_SAMPLE = 10_000
"""Pool items on which rounds are compared."""

_FIXED = ("seed", "data", "query.n0", "query.retrain_every")
"""What the items, their order and the numbering of rounds rest on: never changed once items are there."""

_ENDS = ("budget.answers", "budget.hours", "budget.money", "budget.price_per_hour", "stop.deadline")
"""What the end rests on: one that was moved after a score was shown is a choice, and opens no gate."""

_CLAIMED = ("task.kind", "task.classes", "target", "features", "model", "query.strategy", "query.cold_start")
"""What the claim is about: not changed once a score was shown."""


class Loop:
    """One loop: its store, its source of items, the place where people label, and the runner of fits.

    `cache` is a folder for what can be computed again. Nothing is written before the first `step`; the settings
    are checked against what the store knows at once (`ConfigError`).
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
    ) -> None:
        check(settings)
        self.settings = settings
        self.store = store
        self.source = source
        self.backend = backend
        self.runner = runner
        self.folder = folder
        self._now = now
        self._uid = uid
        self._predicted = Predictions(self.cache / "rounds")
        self._features: FeatureFile | None = None
        self._republished = self._retired = False
        self._merges: list[tuple[int, Merging]] = []
        refuse_changes(store, settings)

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
        effects = (self._retire, self._refit) if decision else (self._train, self._look, self._decide, self._send)
        for effect in effects:
            if done := effect():
                return done
        if collect and (done := self._collect()):
            return done
        return Stopped(decision) if decision else self._wait()

    def prepare(self) -> StepResult | None:
        """Make one of the effects that need no labelling place, while that is still starting; None: nothing to do now.

        It reads the items and sets the cold start going. `step` does the same things in the same way.
        """
        for effect in (self._settle, self._import, self._train):
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
        version = self.store.add_setting(body)
        return Progressed(f"settings version {version}")

    # 2. items

    def _import(self) -> StepResult | None:
        """Read the items once, draw the test order from all of them, keep the answers that came with them."""
        if self.store.n_items():
            return None
        taken = intake.first(self.source, self.settings, self.task, self._now())
        self.store.import_items(taken.items, taken.answers, taken.facts)
        return Progressed(f"{len(taken.items)} items imported, {taken.facts['reserved']} of them reserved for testing")

    def import_items(self) -> None:
        """Do what `step` would do first: settle the settings and import the items."""
        while self._settle() or self._import():
            pass

    def add_items(self) -> int:
        """Import what the source holds and the store does not; returns how many items were added.

        They join the pool, and the same share of them is set aside and never trained on; the claim stays about
        the first import, and answers that came with later rows are not used.
        """
        taken = intake.later(self.source, self.items, self._facts, self.settings.seed)
        if taken.items:
            self.store.import_items(taken.items, taken.answers, taken.facts)
            self.forget()
        return len(taken.items)

    # 3. publishing

    def _publish(self) -> StepResult | None:
        """Publish the batch that is under way; in the first step of a process, also what should be there already."""
        if not self._republished:
            open_asks = [ask for ask in self.store.unanswered() if ask.state == AskState.OPEN]
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
        rows = [self.items[ask.item].row for ask in asks]
        shown = self.source.shown(rows)
        return [Publication(ask, fields, row) for ask, fields, row in zip(asks, shown, rows, strict=True)]

    # 4. collecting

    def _collect(self) -> StepResult | None:
        new = self.store.new_among(list(self.backend.collect()))
        if not new:
            return None
        n = self.store.append(new)
        return Progressed(f"{n} answers", collected=n)

    # 5. rounds

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
        number, answered = rounds[-1].number + 1, self.store.answered_positions(Purpose.POOL)
        needed = self._first_round_at + number * self.settings.query.retrain_every
        if len(answered) >= needed:
            prefix_end = answered[needed - 1] if needed else self._imported_position
            return self._round(number, prefix_end)
        if not self._ending() or self._learned(rounds[-1], answered):
            return None
        return replace(self._round(number, position), final=True, entitled=self._entitled())

    def _round(self, number: int, annotation_position: int) -> Round:
        setting = self.store.setting()
        return Round(
            number=number,
            state=RoundState.OPENED,
            annotation_position=annotation_position,
            ask_position=self.store.ask_position(),
            setting=setting[0] if setting else 1,
            seed=self.settings.seed,
            items=len(self.items),
        )

    def _learned(self, last: Round, answered: Sequence[int]) -> bool:
        """Whether there is no label that the last round has not learned from."""
        if last.number == COLD_START:
            pool = (item for item, merged in self.merged().items() if merged.label)
            return not any(self.items[item].split == Split.POOL for item in pool)
        return last.final and (not answered or answered[-1] <= last.annotation_position)

    def _advance(self, round_: Round) -> StepResult | None:
        """Encode the features, then fit and rank; commit when the result is there."""
        if not self.runner.busy:
            self.runner.submit(self._job(round_) if self._features else self._encode_job())
        result = self.runner.poll()
        if result is None:
            return None
        if not isinstance(result, RoundResult):
            self._features = result
            return Progressed("features encoded")
        if result.number != round_.number:
            return None
        return self._rank(round_, result)

    def _encode_job(self) -> EncodeJob:
        rows = tuple(item.row for item in self.items)
        check_unchanged(self.source, rows, [item.id for item in self.items])
        first = self._facts["items"]
        fitted = np.array([item.split == Split.POOL and item.position < first for item in self.items])
        settings = self.settings
        return EncodeJob(settings.data, settings.features, self.folder, self.cache, rows, fitted)

    def _job(self, round_: Round, *, rank: bool = True) -> RoundJob:
        """All that the round may see: a function of what was committed when it was opened."""
        if self._features is None:
            raise RuntimeError("features come first")
        settings = self._settings_of(round_)
        merged = self._merge(round_.annotation_position)
        pool = {item: m.label for item, m in merged.items() if m.label and self.items[item].split == Split.POOL}
        labelled = np.array(sorted(pool), dtype=np.int64)
        asked = self.store.asked_items(round_.ask_position)
        taken = asked | set(pool)
        candidates = np.array([p for p in self._pool.tolist() if p < round_.items and p not in taken], dtype=np.int64)
        pending = sorted(item for item in asked if self.items[item].split == Split.POOL and item not in merged)
        cold = round_.number == COLD_START
        n = self._first_round_at if cold else settings.query.queue_high + settings.query.retrain_every
        return RoundJob(
            number=round_.number,
            features=self._features,
            labelled=labelled,
            codes=np.asarray(make_task(settings.task).encode([pool[int(item)] for item in labelled]), dtype=np.int64),
            candidates=candidates,
            ids=self._ids[candidates],
            pending=np.array(pending, dtype=np.int64),
            sample=self._sample,
            test=np.array(self.test_order, dtype=np.int64),
            classes=settings.task.classes,
            model=settings.model,
            strategy=settings.query.cold_start if cold else settings.query.strategy,
            n=n if rank else 0,
            seed=round_.seed,
        )

    def _rank(self, round_: Round, result: RoundResult) -> StepResult:
        """Commit what the round found: its ranking, agreement and score."""
        if round_.number != COLD_START:
            self._predicted.keep(result.number, result.test_mean, result.sample_codes)
        strategy = self._job_strategy(round_)
        asks = [
            Ask(
                id=self._ask_id(round_.number, rank, int(item)),
                item=int(item),
                purpose=Purpose.POOL,
                state=AskState.RANKED,
                round=round_.number,
                rank=rank,
                utility=float(utility),
                why=why,
                probability=why.get("probability"),
                strategy=strategy,
            )
            for rank, (item, utility, why) in enumerate(zip(result.chosen, result.utilities, result.why, strict=True))
        ]
        record = {**result.record, "agreement": self._agreement(result)}
        self.store.rank_round(round_.number, asks, record, self._score(round_, result))
        return Progressed(f"round {round_.number} ranked" if round_.number >= 0 else "first items chosen")

    def _job_strategy(self, round_: Round) -> str:
        query = self._settings_of(round_).query
        return query.cold_start if round_.number == COLD_START else query.strategy

    def _agreement(self, result: RoundResult) -> float | None:
        """Share of equal predictions with the latest round that had clearly fewer labels."""
        if result.number == COLD_START:
            return None
        earlier = [r for r in self._scored_rounds() if r.number < result.number]
        index = earlier_round([*(r.record["n_labels"] for r in earlier), result.record["n_labels"]])
        if index is None:
            return None
        return float(np.mean(self._predictions(earlier[index])[1] == result.sample_codes))

    def _score(self, round_: Round, result: RoundResult) -> list[Score]:
        """A reading on the test answers that the round's prefix holds."""
        if round_.number == COLD_START:
            return []
        settings = self._settings_of(round_)
        return looks.read(
            round_.number,
            settings.target,
            make_task(settings.task),
            self.test_order,
            result.test_mean,
            self._merge(round_.annotation_position),
            np.random.default_rng([round_.seed, 4, round_.number]),
        )

    # 6. looks

    def _look(self) -> StepResult | None:
        """Test the claim if a look is due and its test items are resolved."""
        if not gate(self.progress()):
            return None
        spending, found = self._spending(), self._test_prefix()
        waits = bool(found.outstanding or (found.fresh and spending.test_left))
        anytime, number = self.settings.target.proof == "anytime", spending.look
        items = found.judged[: found.settled] if waits else found.judged
        if not items or (waits and not anytime):
            return None
        judged, place = self._judged(anytime), {item: rank for rank, item in enumerate(self.test_order)}
        predicted, merged = self._predictions(judged)[0][[place[item] for item in items]], self.merged()
        if anytime:
            n = looks.enough(number, self.settings.target, self.task, items, predicted, merged)
            if n is None and waits:
                return None
            items, predicted = items[:n], predicted[:n]
        look, seen = looks.judge(
            number=number,
            round_=judged.number,
            m=self.plan.m(number),
            target=self.settings.target,
            certifiable=not self.settings.data.group,  # items of one group are not independent
            task=self.task,
            items=items,
            predicted=predicted,
            merged=merged,
            rng=np.random.default_rng([self.settings.seed, 5, number]),
        )
        self.store.add_look(look, seen)
        return Progressed(f"look {number}: {look.verdict}")

    def _judged(self, anytime: bool) -> Round:
        """The round that a look is about: the newest; if it may end at any time, the one at which the gate opened."""
        frozen = opened(self.progress()) if anytime else None
        return self._scored_rounds()[-1 if frozen is None else frozen]

    def _can_look(self) -> bool:
        """Whether there are test answers to look at, or some may come."""
        found = self._test_prefix()
        return bool(found.judged or found.outstanding or (found.fresh and self._spending().test_left))

    # 7. the decision

    def _decide(self) -> StepResult | None:
        decision = decide(self._history())
        if not decision.stop:
            return None
        self.store.add_event(
            "stopped",
            {
                "reason": decision.reason,
                "because": decision.because,
                "verdict": decision.verdict,
                "limits": limits(self.settings),
            },
        )
        return Progressed("stopped")

    def _history(self) -> History:
        progress = tuple(self.progress())
        last = self.store.rounds()[-1:]
        finished = bool(last) and self._learned(last[0], self.store.answered_positions(Purpose.POOL))
        return History(
            progress=progress,
            scores=tuple(self.store.scores()),
            looks=tuple(self.store.looks()),
            stop_on=self.settings.stop_on,
            look_is_due=gate(progress) and self._can_look(),
            over=self._ending() if finished and last[0].state == RoundState.RANKED else "",
            by_hand=self.settings.stop.by_hand,
            stable_rounds=self.settings.stop.stable_rounds,
            out_of_reach=self._out_of_reach(progress),
            unreachable=self.settings.stop.unreachable,
        )

    def _out_of_reach(self, progress: Sequence[Progress]) -> float:
        """The chance that the target is out of reach, where that may end the loop; 0 before there are enough scores."""
        if not self.settings.stop.unreachable:
            return 0.0
        n_labels = {each.round: each.n_labels for each in progress}
        readings = tuple((n_labels[score.round], score) for score in self.store.scores() if score.round in n_labels)
        found = curves_for(self.settings, len(self._pool), readings)
        return 1 - found.chance(self.settings.target.value) if found else 0.0

    def decision(self) -> Decision | None:
        """The decision that ended the loop; None while it goes on, and again after its reason was taken back."""
        stops = self.store.events("stopped")
        return in_force(stops[-1].body, self.settings) if stops else None

    def _retire(self) -> StepResult | None:
        """Withdraw what nobody answered, once in a process: the loop has stopped."""
        left = [ask for ask in self.store.unanswered() if ask.state == AskState.OPEN]
        if not left and self._retired:
            return None
        self.backend.retire(left)  # also with none left: the place may hold spare tasks of answered asks
        self._retired = True
        if not left:
            return None
        self.store.retire(left)
        return Progressed(f"{len(left)} open asks withdrawn")

    def _refit(self) -> StepResult | None:
        """After a certificate: learn from every answer, and record what the certificate is worth for that model."""
        looks = self.store.looks()
        if not looks or looks[-1].verdict != Verdict.CERTIFIED or self.store.events("refitted"):
            return None
        look, last = looks[-1], self.store.rounds()[-1]
        merged = self.merged()
        unseen = [place for place, item in enumerate(self.test_order) if item not in merged]
        if problem := obstacle(look, len(unseen)):
            found = replace(refit(look, 0, 0, 1), n=0, obstacle=problem)
            self.store.add_event("refitted", found.as_dict())
            return Progressed("nothing to be said of a model that learned from all answers")
        if not self.runner.busy:
            self.runner.submit(self._refit_job(last, unseen) if self._features else self._encode_job())
        result = self.runner.poll()
        if result is None:
            return WaitingForTraining(last.number + 1)
        if not isinstance(result, RoundResult):
            self._features = result
        elif result.number == last.number + 1:
            judged = next(each for each in self._scored_rounds() if each.number == look.round)
            before, now = self._predictions(judged)[0][unseen], result.test_mean
            differing = int(np.sum(self.task.decide(before) != self.task.decide(now)))
            found = refit(look, result.record["n_labels"], differing, len(unseen))
            self.store.add_event("refitted", found.as_dict())
            return Progressed("a model learned from all answers")
        return Progressed("ready to learn from all answers")

    def _refit_job(self, last: Round, unseen: Sequence[int]) -> RoundJob:
        """A fit on every label there is; `unseen` are places of the test order that nobody answered."""
        labels = {item: merged.label for item, merged in self.merged().items() if merged.label}
        labelled, nothing = np.array(sorted(labels), dtype=np.int64), np.empty(0, dtype=np.int64)
        return replace(
            self._job(last, rank=False),
            number=last.number + 1,
            labelled=labelled,
            codes=np.asarray(self.task.encode([labels[int(item)] for item in labelled]), dtype=np.int64),
            candidates=nothing,
            ids=self._ids[nothing],
            pending=nothing,
            sample=nothing,
            test=np.array([self.test_order[place] for place in unseen], dtype=np.int64),
        )

    # 8. asking

    def _send(self) -> StepResult | None:
        """Top the queue up, from the ranking and from the test order."""
        query, queue = self.settings.query, len(self.store.unanswered())
        if queue >= max(query.queue_low, 1):
            return None
        spending, found = self._spending(), self._test_prefix()
        ranked = self.store.ranked_asks(query.queue_high)
        n_pool, n_test = spending.batch(query.queue_high - queue, len(ranked), len(found.fresh))
        if n_pool + n_test == 0:
            return None
        number = self.store.n_batches() + 1
        pool, test = ranked[:n_pool], [self._test_ask(item, number) for item in found.fresh[:n_test]]
        ids = [ask.id for ask in (*pool, *test)]
        order = np.random.default_rng([self.settings.seed, 2, number]).permutation(len(ids))
        self.store.create_batch(pool, test, [ids[index] for index in order])
        return Progressed(f"batch {number} of {len(ids)} asks")

    def _test_ask(self, item: int, batch: int) -> Ask:
        return Ask(
            id=self._ask_id("test", batch, item),
            item=item,
            purpose=Purpose.TEST,
            state=AskState.SENDING,
            probability=self.plan.reserved / self._facts["items"],
        )

    def _ask_id(self, *parts: object) -> str:
        """Opaque: a keyed hash that says nothing to whoever sees it, and the same again after a crash."""
        key = bytes.fromhex(self.store.uid())
        return hashlib.blake2b(":".join(map(str, parts)).encode(), key=key, digest_size=12).hexdigest()

    def _wait(self) -> StepResult:
        rounds = self.store.rounds()
        n_open = len(self.store.unanswered())
        if not n_open and rounds and rounds[-1].state == RoundState.OPENED:
            return WaitingForTraining(rounds[-1].number)
        return WaitingForPeople(max(n_open, self._test_prefix().outstanding))

    # what the steps read

    @property
    def cache(self) -> Path:
        """Folder of all that can be computed again."""
        return self.folder / "cache"

    @cached_property
    def _facts(self) -> Mapping[str, Any]:
        """The facts of the first import, which never change: plan of the looks, number of items, key of the ask ids."""
        return self.store.events("imported")[0].body

    @cached_property
    def plan(self) -> LookPlan:
        return LookPlan(self._facts["budget"], self._facts["m0"], self._facts["reserved"])

    @cached_property
    def items(self) -> list[Item]:
        return self.store.items()

    @cached_property
    def _ids(self) -> NDArray[np.uint64]:
        return np.array([item.id64 for item in self.items], dtype=np.uint64)

    @cached_property
    def _pool(self) -> NDArray[np.int64]:
        return np.array([item.position for item in self.items if item.split == Split.POOL], dtype=np.int64)

    @cached_property
    def test_order(self) -> list[int]:
        """Positions of the reserved items of the first import, in the order in which they are asked."""
        reserved = [item for item in self.items if item.test_rank is not None]
        return [item.position for item in sorted(reserved, key=_rank_of)][: self.plan.reserved]

    @cached_property
    def _sample(self) -> NDArray[np.int64]:
        """The pool items on which rounds are compared: drawn once from the first import."""
        first = self._pool[self._pool < self._facts["items"]]
        rng = np.random.default_rng([self.settings.seed, 1])
        return np.sort(rng.choice(first, size=min(_SAMPLE, len(first)), replace=False))

    @cached_property
    def _settings_text(self) -> str:
        return to_json(self.settings)

    @cached_property
    def task(self) -> Task:
        return make_task(self.settings.task)

    def forget(self) -> None:
        """Drop what was kept in memory of the items: they have changed."""
        for name in ("items", "_ids", "_pool", "test_order", "_sample"):
            self.__dict__.pop(name, None)
        self._features = None

    @cached_property
    def _imported_position(self) -> int:
        return int(self._facts["answers"])

    @cached_property
    def _first_round_at(self) -> int:
        """Answered pool asks that open round 0: n0 less the pool labels that came with the items."""
        imported = self.store.annotations(self._imported_position)
        known = sum(self.items[a.item].split == Split.POOL for a in imported if a.item is not None)
        return max(0, int(self._facts["n0"]) - known)

    def _settings_of(self, round_: Round) -> Settings:
        found = self.store.setting(round_.setting)
        return from_json(found[1]) if found else self.settings

    def merged(self) -> Mapping[int, Merged]:
        """All that was said about each item so far."""
        return self._merge(self.store.annotation_position())

    def _merge(self, upto: int) -> Mapping[int, Merged]:
        """All that was said about each item up to this place; worth nothing after the next call."""
        known = [pair for pair in self._merges if pair[0] <= upto]
        at, merging = max(known, key=lambda pair: pair[0], default=(0, None))
        if merging is None or at != upto:
            # Two are kept: rounds lag behind the newest answer, and both only ever grow.
            kept = [pair for pair in self._merges if pair[1] is not merging]
            if merging is None:
                merging = Merging(reader(self.task))
            merging.add(self.store.annotations(upto, after=at))
            self._merges = [*kept, (upto, merging)][-2:]
        return merging.merged

    def progress(self) -> list[Progress]:
        """What the gate sees: one entry per ranked round."""
        looked = {look.round for look in self.store.looks()}
        return [
            Progress(r.number, r.record["n_labels"], r.record["agreement"], r.number in looked, r.final and r.entitled)
            for r in self._scored_rounds()
        ]

    def _scored_rounds(self) -> list[Round]:
        return [r for r in self.store.rounds() if r.state == RoundState.RANKED and r.number != COLD_START]

    def _spending(self) -> Spending:
        pool, test = self.store.n_sent(Purpose.POOL), self.store.n_sent(Purpose.TEST)
        return Spending(
            plan=self.plan,
            budget=pool + test if self._is_late() else self._affordable()[0],
            look=len(self.store.looks()) + 1,
            pool=pool,
            test=test,
            gate_open=gate(self.progress()),
        )

    def _affordable(self) -> tuple[int, str]:
        """Answers that may be asked for, and which limit that is."""
        budget = self.settings.budget
        if not budget.hours and not budget.money:
            return budget.answers, "budget"
        asks = {ask.id for ask in self.store.asks() if ask.purpose == Purpose.POOL}
        seconds = pace.measured(self.store.annotations(), asks)
        return pace.affordable(budget, pace.seconds_per_answer(seconds, budget.seconds_per_label))

    def _is_late(self) -> bool:
        """Whether nothing may be asked any more."""
        until = deadline(self.settings)
        return until is not None and self._now() >= until

    def _test_prefix(self) -> Prefix:
        merged, late = self.merged(), self._now() - timedelta(days=self.settings.query.test_timeout_days)
        asked = {item: self._is_late() or at < late for item, at in self.store.sent_at().items()}
        return prefix(self.test_order, states(looks.resolved(merged), asked), self.plan.m(len(self.store.looks()) + 1))

    def _ending(self) -> str:
        """Why there is nothing more to learn from: a limit by its name, "deadline", "pool", or "" while there is."""
        if self._is_late():
            return "deadline"
        open_pool = [ask for ask in self.store.unanswered() if ask.purpose == Purpose.POOL]
        if open_pool:
            return ""
        if self._spending().pool_left == 0:
            return self._affordable()[1]
        taken = self.store.asked_items() | {item for item, m in self.merged().items() if m.label}
        return "" if any(position not in taken for position in self._pool.tolist()) else "pool"

    def _entitled(self) -> bool:
        """Whether the end may open the gate: not when budget or deadline were changed after scores were shown."""
        scores = self.store.scores()
        if not scores or self._ending() == "pool":
            return True
        first = next(r for r in self.store.rounds() if r.number == scores[0].round)
        return not any(_within(key, _ENDS) for key in differences(self._settings_of(first), self.settings))

    def _predictions(self, round_: Round) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """What a round's model predicted: of the test order the mean of its members, of the sample codes.

        It is fitted again if that is gone.
        """
        kept = self._predicted.find(round_.number)
        if kept is None:
            if self._features is None:
                self._features = self._encode_job().run()
            again = self._job(round_, rank=False).run()
            kept = again.test_mean, again.sample_codes
            self._predicted.keep(round_.number, *kept)
        return kept


def refuse_changes(store: Store, settings: Settings) -> None:
    """Refuse settings that would take the ground from under what the store holds: `ConfigError` names the keys."""
    known = store.setting()
    if not known or not store.n_items():
        return
    changed = differences(from_json(known[1]), settings)
    fixed = [key for key in changed if _within(key, _FIXED)]
    if fixed:
        raise ConfigError(
            f"cannot change {', '.join(fixed)}: the items and their test order rest on it since the import; "
            "start a new loop folder instead."
        )
    claimed = [key for key in changed if _within(key, _CLAIMED)]
    if claimed and store.scores():
        raise ConfigError(
            f"cannot change {', '.join(claimed)} now: scores on the test items were shown already, and a claim "
            "chosen after them would not be honest; put the old value back, or start a new loop folder."
        )


def _rank_of(item: Item) -> int:
    return -1 if item.test_rank is None else item.test_rank


def _within(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(section + ".") for section in sections)
