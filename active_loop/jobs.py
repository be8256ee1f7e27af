"""What a loop has computed: its jobs, made of what was committed, and what came of them.

A job is sent when the runner is free, after the features that it needs. Features and predictions are kept, and made
again where they are gone. This reads the store, and commits nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .domain import COLD_START, Progressed, Round, RoundState, Split
from .errors import ActiveLoopError
from .portrait import PortraitJob, Portraits, Portrayed
from .predictions import Predictions
from .records import Source
from .runner import Runner
from .scoring import Codes, EncodeJob, RoundJob, RoundResult, Sides, SidesJob, Suspects, SuspectsJob
from .search import Found
from .settings import METRICS, Settings
from .sources import check_unchanged
from .standing import Standing
from .tasks import make_task

if TYPE_CHECKING:
    from .features import FeatureFile

_LOG = logging.getLogger(__name__)


class Jobs:
    """The jobs of a loop. `folder` is the loop's own; in its `cache` is what can be computed again."""

    def __init__(self, standing: Standing, source: Source, runner: Runner, folder: Path) -> None:
        self.standing = standing
        self.source = source
        self.runner = runner
        self.folder = folder
        self.cache = folder / "cache"
        self._features: FeatureFile | None = None
        self._predicted = Predictions(self.cache / "rounds")
        self._portraits = Portraits(self.cache)
        self._portraying: int | None = None  # the round that the runner was last given to portray
        self._unportrayed: set[int] = set()

    def result(
        self, make: Callable[[], RoundJob | SidesJob | SuspectsJob]
    ) -> RoundResult | Sides | Suspects | Progressed | None:
        """What came of the job under way, once; None until it is there. If none is under way, what `make` returns is.

        Features are encoded first: that they are there is progress. What is under way may be an earlier job, which is
        seen from its result.
        """
        if not self.runner.busy:
            self._portraying = None
            self.runner.submit(make() if self._features else self.encode())
        found: Any = self.runner.poll()
        if found is None or isinstance(found, RoundResult | Sides | Suspects):
            return found
        self._features = found
        return Progressed("features encoded")

    def portray(self, round_: Round) -> bool:
        """Have a ranked round portrayed while nothing else is under way; whether it is, or cannot be.

        What keeps it from being portrayed is logged, once.
        """
        if round_.number in self._unportrayed or self._portraits.stamp(round_):
            return True
        try:
            found = self._portrayed(round_)
        except ActiveLoopError as error:
            found = Portrayed(round_.number, str(error))
        if found is None or found.gave_way:
            return False
        if found.problem:
            self._unportrayed.add(round_.number)
            _LOG.warning("cannot draw round %d for the dashboard: %s", found.round, found.problem)
        return True

    def _portrayed(self, round_: Round) -> Portrayed | None:
        """What came of a portrait, once; None until it is there. The features are encoded first."""
        if self._features is None:
            self.result(lambda: self.of(round_, rank=False))  # without features it sends for them, and takes them
            return None
        if self.runner.busy:
            return None
        if self._portraying != round_.number:
            self.runner.submit(self._portrait(round_))
            self._portraying = round_.number
        found = self.runner.poll()
        if not isinstance(found, Portrayed):
            return None
        self._portraying = None
        return found

    def _portrait(self, round_: Round) -> PortraitJob:
        return PortraitJob(self.of(round_, rank=False), self.standing.pool, self._portraits.path(round_), self.cache)

    def predictions(self, round_: Round) -> tuple[NDArray[np.float64], Codes]:
        """What a round's model predicted: of the test order the mean of its members, of the sample codes.

        It is fitted again if that is gone.
        """
        kept = self._predicted.find(round_.number)
        return self.keep(self.of(round_, rank=False).run()) if kept is None else kept

    def keep(self, result: RoundResult) -> tuple[NDArray[np.float64], Codes]:
        """Keep what a round's model predicted, for the rounds and looks that come after it; returns it."""
        self._predicted.keep(result.number, result.test_mean, result.sample_codes)
        return result.test_mean, result.sample_codes

    def forget(self) -> None:
        """Drop the features of the items: they have changed."""
        self._features = None

    def encode(self) -> EncodeJob:
        """The features of all items. Raises `DataError` if the items are not what they were at the import."""
        items, settings = self.standing.items, self.standing.settings
        rows = tuple(item.row for item in items)
        check_unchanged(self.source, rows, [item.id for item in items])
        first = self.standing.facts["items"]
        fitted = np.array([item.split == Split.POOL and item.position < first for item in items])
        return EncodeJob(settings.data, settings.features, self.folder, self.cache, rows, fitted)

    def of(self, round_: Round, *, rank: bool = True) -> RoundJob:
        """All that the round may see: a function of what was committed when it was opened.

        Features that are not there are encoded here and now.
        """
        if self._features is None:
            self._features = self.encode().run()
        settings, items = self.standing.settings_of(round_), self.standing.items
        merged = self.standing.merge(round_.annotation_position)
        pool = {item: m.label for item, m in merged.items() if m.label and items[item].split == Split.POOL}
        labelled = np.array(sorted(pool), dtype=np.int64)
        asked = self.standing.store.asked_items(round_.ask_position)
        taken, known = asked | set(pool), self.standing.pool[self.standing.pool < round_.items]
        candidates = np.array([position for position in known.tolist() if position not in taken], dtype=np.int64)
        pending = sorted(item for item in asked if items[item].split == Split.POOL and item not in merged)
        cold = round_.number == COLD_START
        n = self.standing.first_round_at if cold else settings.query.queue_high + settings.query.retrain_every
        searched, trials = self._searched(round_, again=rank)
        return RoundJob(
            number=round_.number,
            features=self._features,
            labelled=labelled,
            codes=make_task(settings.task).encode([pool[int(item)] for item in labelled]),
            candidates=candidates,
            ids=self.standing.ids[candidates],
            pending=np.array(pending, dtype=np.int64),
            sample=self.standing.sample,
            test=np.array(self.standing.test_order, dtype=np.int64),
            task=settings.task,
            model=settings.model,
            strategy=settings.query.cold_start if cold else settings.strategy,
            n=n if rank else 0,
            seed=round_.seed,
            random_share=0.0 if cold else settings.query.random_share,
            votes=self.standing.votes(round_.annotation_position) if rank and _doubts(settings) else {},
            groups=np.unique([items[item].group or f"\0{item}" for item in labelled], return_inverse=True)[1],
            searched=searched,
            trials=trials,
            even=METRICS[settings.target.metric].even,
        )

    def _searched(self, round_: Round, *, again: bool) -> tuple[Found | None, Mapping[str, int] | None]:
        """What a round's search for the model goes on from, and what it may try: nothing, where it found one already.

        With `again` it searches once more as it did then: as many folds of each candidate as its clock let through.
        """
        settings, ranked = self.standing.settings_of(round_), round_.state == RoundState.RANKED
        if ranked and not again:
            return Found.of_record(round_.record), {}
        alike = [
            earlier.record
            for earlier in self.standing.rounds()
            if earlier.number < round_.number and _same_model(self.standing.settings_of(earlier), settings)
        ]
        found = next(filter(None, map(Found.of_record, reversed(alike))), None)
        return found, Found.folds_of(round_.record) if ranked else None

    def fits(self, labels: Sequence[Mapping[int, str]], test: Sequence[int]) -> list[RoundJob]:
        """Fits after the last round, each on labels of its own; they choose nothing, and predict these reserved items.

        Their number is that of the round that would have come next.
        """
        last, nothing = self.standing.store.rounds()[-1], np.empty(0, dtype=np.int64)
        job = replace(
            self.of(last, rank=False),
            number=last.number + 1,
            candidates=nothing,
            ids=self.standing.ids[nothing],
            pending=nothing,
            sample=nothing,
            test=np.array(test, dtype=np.int64),
        )
        return [self._taught(job, each) for each in labels]

    def _taught(self, job: RoundJob, labels: Mapping[int, str]) -> RoundJob:
        """The job with these labels, by position, instead of its own."""
        labelled = np.array(sorted(labels), dtype=np.int64)
        codes = self.standing.task.encode([labels[int(item)] for item in labelled])
        return replace(job, labelled=labelled, codes=codes, groups=None)


def _same_model(one: Settings, other: Settings) -> bool:
    """Whether a model that was found under one of these settings is one for the other."""
    return (one.model, one.features, one.task.classes) == (other.model, other.features, other.task.classes)


def _doubts(settings: Settings) -> bool:
    """Whether a round is to say which labels are doubtful, or what is to be thought of votes that differ."""
    return bool(settings.people.relabel_share) or settings.people.merge == "crowdlab"
