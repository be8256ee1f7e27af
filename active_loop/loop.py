"""The service layer: the one place that knows the order of a round.

`step()` is the only way forward. Each call makes at most one durable effect and can be repeated at any time, by
whoever: `run`, the server's worker, a simulation, and the first call after a crash are the same. What to do next
is read from the store alone; nothing that matters is remembered between two calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import intake, looks, screening
from .changes import refuse_changes
from .control import Arms, Comparison, Control, Items, arms, compare, drawn, named
from .control import obstacle as no_comparison
from .domain import (
    COLD_START,
    Ask,
    AskState,
    Decision,
    History,
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
from .evaluate import truth_codes
from .forecast import curves_for
from .labeling import LabelingBackend, Publication
from .predictions import Predictions
from .records import Source
from .refit import obstacle, refit
from .reserve import Prefix
from .runner import Runner
from .scoring import EncodeJob, RoundJob, RoundResult, Sides, SidesJob
from .settings import Settings, check, to_json
from .sources import check_unchanged
from .standing import Standing
from .stopping import decide, earlier_round, in_force, limits, opened
from .store import Store
from .tasks import make_task

if TYPE_CHECKING:
    from .features import FeatureFile


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
        self.standing = Standing(settings, store, now)
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
        at_the_end = (self._retire, self._refit, self._control)
        effects = at_the_end if decision else (self._train, self._look, self._decide, self._send)
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
        rows = [self.standing.items[ask.item].row for ask in asks]
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
        needed = self.standing.first_round_at + number * self.settings.query.retrain_every
        if len(answered) >= needed:
            prefix_end = answered[needed - 1] if needed else self.standing.imported_position
            return self._round(number, prefix_end)
        if not self.standing.ending() or self._learned(rounds[-1], answered):
            return None
        return replace(self._round(number, position), final=True, entitled=self.standing.entitled())

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

    def _learned(self, last: Round, answered: Sequence[int]) -> bool:
        """Whether there is no label that the last round has not learned from."""
        if last.number == COLD_START:
            pool = (item for item, merged in self.standing.merged().items() if merged.label)
            return not any(self.standing.items[item].split == Split.POOL for item in pool)
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
        rows = tuple(item.row for item in self.standing.items)
        check_unchanged(self.source, rows, [item.id for item in self.standing.items])
        first = self.standing.facts["items"]
        fitted = np.array([item.split == Split.POOL and item.position < first for item in self.standing.items])
        settings = self.settings
        return EncodeJob(settings.data, settings.features, self.folder, self.cache, rows, fitted)

    def _job(self, round_: Round, *, rank: bool = True) -> RoundJob:
        """All that the round may see: a function of what was committed when it was opened."""
        if self._features is None:
            raise RuntimeError("features come first")
        settings, items = self.standing.settings_of(round_), self.standing.items
        merged = self.standing.merge(round_.annotation_position)
        pool = {item: m.label for item, m in merged.items() if m.label and items[item].split == Split.POOL}
        labelled = np.array(sorted(pool), dtype=np.int64)
        asked = self.store.asked_items(round_.ask_position)
        taken, known = asked | set(pool), self.standing.pool[self.standing.pool < round_.items]
        candidates = np.array([position for position in known.tolist() if position not in taken], dtype=np.int64)
        pending = sorted(item for item in asked if items[item].split == Split.POOL and item not in merged)
        cold = round_.number == COLD_START
        n = self.standing.first_round_at if cold else settings.query.queue_high + settings.query.retrain_every
        return RoundJob(
            number=round_.number,
            features=self._features,
            labelled=labelled,
            codes=np.asarray(make_task(settings.task).encode([pool[int(item)] for item in labelled]), dtype=np.int64),
            candidates=candidates,
            ids=self.standing.ids[candidates],
            pending=np.array(pending, dtype=np.int64),
            sample=self.standing.sample,
            test=np.array(self.standing.test_order, dtype=np.int64),
            classes=settings.task.classes,
            model=settings.model,
            strategy=settings.query.cold_start if cold else settings.strategy,
            n=n if rank else 0,
            seed=round_.seed,
            random_share=0.0 if cold else settings.query.random_share,
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
        agreement = self._dryness(round_) if self.settings.is_search else self._agreement(result)
        record = {**result.record, "agreement": agreement}
        self.store.rank_round(round_.number, asks, record, self._score(round_, result))
        return Progressed(f"round {round_.number} ranked" if round_.number >= 0 else "first items chosen")

    def _job_strategy(self, round_: Round) -> str:
        settings = self.standing.settings_of(round_)
        query = replace(settings.query, strategy=settings.strategy)
        return query.cold_start if round_.number == COLD_START else query.asks_by

    def _agreement(self, result: RoundResult) -> float | None:
        """Share of equal predictions with the latest round that had clearly fewer labels."""
        if result.number == COLD_START:
            return None
        earlier = [r for r in self.standing.scored_rounds() if r.number < result.number]
        index = earlier_round([*(r.record["n_labels"] for r in earlier), result.record["n_labels"]])
        if index is None:
            return None
        return float(np.mean(self._predictions(earlier[index])[1] == result.sample_codes))

    def _dryness(self, round_: Round) -> float | None:
        """Share of the newest answers to chosen items that were not of the class that is searched for."""
        if round_.number == COLD_START:
            return None
        merged, positive = self.standing.merge(round_.annotation_position), self.standing.positive
        known = [each.label for each in merged.values()]
        chosen = [
            merged[ask.item].label for ask in self.store.asks() if ask.purpose == Purpose.POOL and ask.item in merged
        ]
        return screening.dryness([label for label in chosen if label], positive) if positive in known else None

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
            self.standing.merge(round_.annotation_position),
            np.random.default_rng([round_.seed, 4, round_.number]),
        )

    # 6. looks

    def _look(self) -> StepResult | None:
        """Test the claim if a look is due and its test items are resolved."""
        if not self.standing.gate_open():
            return None
        spending, found = self.standing.spending(), self.standing.test_prefix()
        waits = bool(found.outstanding or (found.fresh and spending.test_left))
        anytime, number = self.settings.target.proof == "anytime", spending.look
        if self.settings.is_search:
            return None if waits else self._look_of_search(spending.look, found)
        items = found.judged[: found.settled] if waits else found.judged
        if not items or (waits and not anytime):
            return None
        judged, place = self._judged(anytime), {item: rank for rank, item in enumerate(self.standing.test_order)}
        predicted, merged = self._predictions(judged)[0][[place[item] for item in items]], self.standing.merged()
        if anytime:
            n = looks.enough(number, self.settings.target, self.standing.task, items, predicted, merged)
            if n is None and waits:
                return None
            items, predicted = items[:n], predicted[:n]
        look, seen = looks.judge(
            number=number,
            round_=judged.number,
            m=self.standing.plan.m(number),
            target=self.settings.target,
            certifiable=not self.settings.data.group,  # items of one group are not independent
            task=self.standing.task,
            items=items,
            predicted=predicted,
            merged=merged,
            rng=np.random.default_rng([self.settings.seed, 5, number]),
        )
        self.store.add_look(look, seen)
        return Progressed(f"look {number}: {look.verdict}")

    def _look_of_search(self, number: int, found: Prefix) -> StepResult:
        """Test whether enough was found, on a random sample of all that nobody chose."""
        newest, search = self.standing.scored_rounds()[-1].number, self.standing.search()
        look, seen = screening.judge(number, newest, self.settings, search, found, self.standing.merged())
        self.store.add_look(look, seen)
        return Progressed(f"look {number}: {look.verdict}")

    def _judged(self, anytime: bool) -> Round:
        """The round that a look is about: the newest; if it may end at any time, the one at which the gate opened."""
        frozen = opened(self.standing.progress()) if anytime else None
        return self.standing.scored_rounds()[-1 if frozen is None else frozen]

    def _can_look(self) -> bool:
        """Whether there are test answers to look at, or some may come; a search may have nothing left to draw from."""
        if self.settings.is_search:
            return True
        found = self.standing.test_prefix()
        return bool(found.judged or found.outstanding or (found.fresh and self.standing.spending().test_left))

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
        progress = tuple(self.standing.progress())
        last = self.store.rounds()[-1:]
        finished = bool(last) and self._learned(last[0], self.store.answered_positions(Purpose.POOL))
        return History(
            progress=progress,
            scores=tuple(self.store.scores()),
            looks=tuple(self.store.looks()),
            stop_on=self.settings.stop_on,
            look_is_due=self.standing.gate_open() and self._can_look(),
            over=self.standing.ending() if finished and last[0].state == RoundState.RANKED else "",
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
        found = curves_for(self.settings, len(self.standing.pool), readings)
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
        """After a certificate: learn from every answer, and record what the certificate is worth for that model.

        Brought test items all have an answer: nothing is left on which that model could be compared, and none is made.
        """
        looks = [] if self.standing.plan.brought else self.store.looks()
        if not looks or looks[-1].verdict != Verdict.CERTIFIED or self.store.events("refitted"):
            return None
        look, last = looks[-1], self.store.rounds()[-1]
        merged = self.standing.merged()
        unseen = [place for place, item in enumerate(self.standing.test_order) if item not in merged]
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
            judged = next(each for each in self.standing.scored_rounds() if each.number == look.round)
            before, now = self._predictions(judged)[0][unseen], result.test_mean
            differing = int(np.sum(self.standing.task.decide(before) != self.standing.task.decide(now)))
            found = refit(look, result.record["n_labels"], differing, len(unseen))
            self.store.add_event("refitted", found.as_dict())
            return Progressed("a model learned from all answers")
        return Progressed("ready to learn from all answers")

    def _refit_job(self, last: Round, unseen: Sequence[int]) -> RoundJob:
        """A fit on every label there is; `unseen` are places of the test order that nobody answered."""
        labels = {item: merged.label for item, merged in self.standing.merged().items() if merged.label}
        test = [self.standing.test_order[place] for place in unseen]
        return self._fit_job(self._job(last, rank=False), labels, test)

    def _control(self) -> StepResult | None:
        """After the end: what the random share of the batches shows, where there was one."""
        stop, target = self.store.events("stopped")[-1].position, self.settings.target
        known = any(event.position > stop for event in self.store.events("control"))
        if known or not self.settings.query.has_control_arm:
            return None
        labels = {item: merged.label for item, merged in self.standing.merged().items() if merged.label}
        pool = {item: label for item, label in labels.items() if self.standing.items[item].split == Split.POOL}
        asks, order, task = self.store.asks(), self.standing.test_order, self.standing.task
        found, tested = arms(asks, pool), [place for place, item in enumerate(order) if item in labels]
        shown = named(target, task.classes)
        compared: Comparison | str = no_comparison(found.k, len(tested), bool(self.settings.data.group))
        if not compared:
            sides = self._sides(found, pool)
            if not isinstance(sides, Sides):
                return sides
            truth = truth_codes(task, [labels[order[place]] for place in tested])
            rng = np.random.default_rng([self.settings.seed, 6, stop])
            compared = compare(task, target, truth, sides.chosen[:, tested], sides.random[:, tested], rng)
        control = Control.made(shown, found, len(tested), drawn(asks, pool), compared)
        self.store.add_event("control", control.as_dict())
        return Progressed("chosen items were compared with random ones")

    def _sides(self, found: Arms, labels: Mapping[int, str]) -> Sides | StepResult:
        """What the models predict of the reserved items; until all are fitted, the step that was made towards it."""
        last = self.store.rounds()[-1]
        if not self.runner.busy:
            self.runner.submit(self._sides_job(last, found, labels) if self._features else self._encode_job())
        result = self.runner.poll()
        if result is None:
            return WaitingForTraining(last.number + 1)
        if isinstance(result, Sides):
            return result
        if not isinstance(result, RoundResult):
            self._features = result
        return Progressed("ready to compare chosen items with random ones")

    def _sides_job(self, last: Round, found: Arms, labels: Mapping[int, str]) -> SidesJob:
        """Pairs of fits that differ in what they learned from; no reserved item is among it."""
        rng, order = np.random.default_rng([self.settings.seed, 7]), self.standing.test_order
        job = self._job(last, rank=False)

        def fit(side: Items) -> RoundJob:
            return self._fit_job(job, {item: labels[item] for item in side}, order)

        return SidesJob(tuple((fit(chosen), fit(random)) for chosen, random in found.sides(rng)))

    def _fit_job(self, job: RoundJob, labels: Mapping[int, str], test: Sequence[int]) -> RoundJob:
        """A round's fit on these labels instead, that chooses nothing and predicts these reserved items."""
        labelled, nothing = np.array(sorted(labels), dtype=np.int64), np.empty(0, dtype=np.int64)
        return replace(
            job,
            number=job.number + 1,
            labelled=labelled,
            codes=np.asarray(self.standing.task.encode([labels[int(item)] for item in labelled]), dtype=np.int64),
            candidates=nothing,
            ids=self.standing.ids[nothing],
            pending=nothing,
            sample=nothing,
            test=np.array(test, dtype=np.int64),
        )

    # 8. asking

    def _send(self) -> StepResult | None:
        """Top the queue up, from the ranking and from the test order."""
        query, queue = self.settings.query, len(self.store.unanswered())
        if queue >= max(query.queue_low, 1):
            return None
        spending, found = self.standing.spending(), self.standing.test_prefix()
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
            probability=self._test_share(),
        )

    def _test_share(self) -> float:
        """The chance with which an item came to be one that tests."""
        if self.settings.is_search:
            return (self.standing.sample_size() or 0) / max(1, len(self.standing.rest()))
        return float(self.standing.plan.reserved / self.standing.facts["items"])

    def _ask_id(self, *parts: object) -> str:
        """Opaque: a keyed hash that says nothing to whoever sees it, and the same again after a crash."""
        return hashlib.blake2b(":".join(map(str, parts)).encode(), key=self._key, digest_size=12).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        return bytes.fromhex(self.store.uid())

    def _wait(self) -> StepResult:
        rounds = self.store.rounds()
        n_open = len(self.store.unanswered())
        if not n_open and rounds and rounds[-1].state == RoundState.OPENED:
            return WaitingForTraining(rounds[-1].number)
        return WaitingForPeople(max(n_open, self.standing.test_prefix().outstanding))

    # what the steps read

    @property
    def cache(self) -> Path:
        """Folder of all that can be computed again."""
        return self.folder / "cache"

    @cached_property
    def _settings_text(self) -> str:
        return to_json(self.settings)

    def forget(self) -> None:
        """Drop what was kept in memory of the items: they have changed."""
        self.standing.forget()
        self._features = None

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
