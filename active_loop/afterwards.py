"""What the answers of a loop are worth besides, found out once it has stopped and everything open is withdrawn.

Two models may be fitted then: one that learns from every answer, and pairs that show what choosing was worth. Nothing
here asks, or moves what was decided. Like every step, each makes one durable effect and can be repeated at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from . import control, refit
from .domain import Progressed, Split, StepResult, Verdict, WaitingForTraining
from .evaluate import truth_codes
from .jobs import Jobs
from .scoring import RoundResult, Sides, SidesJob, Suspects, SuspectsJob
from .standing import Standing

_FEWEST = 40
"""Labels below which none is doubted: a fifth of them would be too few to predict the others by."""


class Afterwards:
    """The last steps of a loop; each says what it did or waits for, or None if it has nothing to do."""

    def __init__(self, standing: Standing, jobs: Jobs) -> None:
        self.standing = standing
        self.store = standing.store
        self.jobs = jobs

    def refit(self) -> StepResult | None:
        """After a certificate: learn from every answer, and record what the certificate is worth for that model.

        Brought test items all have an answer: nothing is left on which that model could be compared, and none is made.
        """
        looks = [] if self.standing.plan.brought else self.store.looks()
        stop = self.store.events("stopped")[-1].position
        known = any(event.position > stop for event in self.store.events("refitted"))
        if not looks or looks[-1].verdict != Verdict.CERTIFIED or known:
            return None
        look, order, merged = looks[-1], self.standing.test_order, self.standing.merged()
        unseen = [place for place, item in enumerate(order) if item not in merged]
        if problem := refit.obstacle(look, len(unseen)):
            found = replace(refit.refit(look, 0, 0, 1), n=0, obstacle=problem)
            self.store.add_event("refitted", found.as_dict())
            return Progressed("nothing to be said of a model that learned from all answers")
        result = self.jobs.result(lambda: self.jobs.fits([self._labels()], [order[place] for place in unseen])[0])
        if not isinstance(result, RoundResult) or result.number != self._next_round:
            return self._meanwhile(result, "ready to learn from all answers")
        judged = next(each for each in self.standing.scored_rounds() if each.number == look.round)
        before, now = self.jobs.predictions(judged)[0][unseen], result.test_mean
        differing = int(np.sum(self.standing.task.decide(before) != self.standing.task.decide(now)))
        found = refit.refit(look, result.record["n_labels"], differing, len(unseen))
        self.store.add_event("refitted", found.as_dict())
        return Progressed("a model learned from all answers")

    def compare(self) -> StepResult | None:
        """Record what the random share of the batches shows, where there was one."""
        stop, settings = self.store.events("stopped")[-1].position, self.standing.settings
        known = any(event.position > stop for event in self.store.events("control"))
        if known or not settings.query.has_control_arm:
            return None
        labels, asks = self._labels(), self.store.asks()
        pool = {item: label for item, label in labels.items() if self.standing.items[item].split == Split.POOL}
        arms = control.arms(asks, pool)
        tested = [place for place, item in enumerate(self.standing.test_order) if item in labels]
        problem = control.obstacle(arms.k, len(tested), bool(settings.data.group))
        compared = problem or self._comparison(arms, labels, tested, stop)
        if not isinstance(compared, str | control.Comparison):
            return compared
        shown = control.named(settings.target, self.standing.task.classes)
        found = control.Control.made(shown, arms, len(tested), control.drawn(asks, pool), compared)
        self.store.add_event("control", found.as_dict())
        return Progressed("chosen items were compared with random ones")

    def suspect(self) -> StepResult | None:
        """Record which labels look wrong, of those to learn from: for people to look at, none is changed."""
        stop = self.store.events("stopped")[-1].position
        known = any(event.position > stop for event in self.store.events("suspects"))
        if known or self.unsuspicious():
            return None
        found = self.jobs.result(self.suspects_job)
        if not isinstance(found, Suspects):
            return self._meanwhile(found, "ready to look for labels that look wrong")
        listed = [asdict(each) for each in found.found]
        self.store.add_event("suspects", {"n_labels": found.n_labels, "found": listed})
        return Progressed(f"{len(listed)} labels look wrong")

    def unsuspicious(self) -> str:
        """Why no label can be said to look wrong; empty if some may be."""
        settings, n = self.standing.settings, len(self._learned())
        if settings.is_search or settings.task.learned != "choice":
            return "only labels of one class per item, which a model learns from, can look wrong"
        return "" if n >= _FEWEST else f"{n} labels are there to learn from, and {_FEWEST} are the fewest"

    def suspects_job(self) -> SuspectsJob:
        """The search for labels that look wrong."""
        return SuspectsJob(self.jobs.fits([self._learned()], [])[0])

    def _learned(self) -> dict[int, str]:
        return {item: label for item, label in self._labels().items() if self.standing.is_learned(item)}

    def _comparison(
        self, arms: control.Arms, labels: Mapping[int, str], tested: Sequence[int], stop: int
    ) -> control.Comparison | StepResult:
        """Both arms read at these places of the test order; until all models are fitted, the step made towards it."""
        sides = self.jobs.result(lambda: self._sides(arms, labels))
        if not isinstance(sides, Sides):
            return self._meanwhile(sides, "ready to compare chosen items with random ones")
        settings, task, order = self.standing.settings, self.standing.task, self.standing.test_order
        truth = truth_codes(task, [labels[order[place]] for place in tested])
        rng = np.random.default_rng([settings.seed, 6, stop])
        return control.compare(task, settings.target, truth, sides.chosen[:, tested], sides.random[:, tested], rng)

    def _sides(self, arms: control.Arms, labels: Mapping[int, str]) -> SidesJob:
        """Pairs of fits that differ in what they learned from; no reserved item is among it."""
        rng = np.random.default_rng([self.standing.settings.seed, 7])
        learned = [{item: labels[item] for item in side} for pair in arms.sides(rng) for side in pair]
        fits = self.jobs.fits(learned, self.standing.test_order)
        return SidesJob(tuple(zip(fits[::2], fits[1::2], strict=True)))

    def _labels(self) -> dict[int, str]:
        return {item: merged.label for item, merged in self.standing.merged().items() if merged.label}

    @property
    def _next_round(self) -> int:
        """The number that fits after the last round have."""
        return self.store.rounds()[-1].number + 1

    def _meanwhile(self, came: object, what: str) -> StepResult:
        """What to say as long as a fit is not there: nothing came, or what it needs did."""
        return WaitingForTraining(self._next_round) if came is None else Progressed(what)
