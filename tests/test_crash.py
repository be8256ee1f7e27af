"""Killed before or after every durable effect, the loop ends exactly where an undisturbed one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from loops import open_loop, run_to_end, settings, trail, write_points

from active_loop.domain import Annotation, Ask, Stopped
from active_loop.labeling import Oracle, Publication
from active_loop.store import Store


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Fate:
    """Kills at every effect once: before it, when it is first tried, or right after it.

    An effect that is repeated after a restart (`repeats`) is let through every second time, or nothing would end.
    """

    def __init__(self, when: str, *, repeats: bool) -> None:
        self.when = when
        self.kills = 0
        self._repeats = repeats
        self._armed = True

    def before(self) -> None:
        if self.when == "before":
            self._strike()

    def after(self) -> None:
        if self.when == "after":
            self._strike()

    def _strike(self) -> None:
        self._armed = not (self._armed and self._repeats)
        if not self._armed or not self._repeats:
            self.kills += 1
            raise Killed


class MortalStore(Store):
    """A store whose process is killed around its commits."""

    fate: Fate | None = None

    def _commit(self) -> None:
        fate = self.fate
        if fate:
            try:
                fate.before()
            except Killed:
                self._db.execute("ROLLBACK")  # what the journal does for a process that is gone
                raise
        super()._commit()
        if fate:
            fate.after()


class MortalOracle(Oracle):
    """The labelling place outlives the loop's process, which is killed around publishing and collecting."""

    fate: Fate | None = None

    def publish(self, publications: Sequence[Publication]) -> None:
        self._around(lambda: Oracle.publish(self, publications))

    def collect(self) -> Iterable[Annotation]:
        return list(super().collect())

    def retire(self, asks: Sequence[Ask]) -> None:
        self._around(lambda: Oracle.retire(self, asks))

    def _around(self, effect: Any) -> None:
        if self.fate:
            self.fate.before()
        effect()
        if self.fate:
            self.fate.after()


TOLD = {
    "likely": settings(),
    "budget": settings(target={"value": 0.99}),
    "by hand": settings(target={"value": 0.99}, query={"batches_by_hand": 1, "rounds_by_hand": 3}),
}


def undisturbed(folder: Path, case: str) -> dict[str, Any]:
    loop = open_loop(folder, Oracle(write_points(folder, spread=1.0 if case == "likely" else 3.0)), TOLD[case])
    assert isinstance(run_to_end(loop), Stopped)
    return trail(loop.store)


@pytest.mark.parametrize("case", list(TOLD))
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["commit", "publish"])
def test_killed_around_every_effect_the_loop_ends_where_an_undisturbed_one_does(
    tmp_path: Path, what: str, when: str, case: str
) -> None:
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    calm.mkdir()
    stormy.mkdir()
    wanted = undisturbed(calm, case)
    place = MortalOracle(write_points(stormy, spread=1.0 if case == "likely" else 3.0))
    fate = Fate(when, repeats=what == "publish" or when == "before")
    if what == "publish":
        place.fate = fate

    def mortal(*args: Any, **options: Any) -> Store:
        store = MortalStore(*args, **options)
        if what == "commit":
            store.fate = fate
        return store

    for _ in range(2000):
        loop = None
        try:
            loop = open_loop(stormy, place, TOLD[case], store=mortal)
            if isinstance(run_to_end(loop), Stopped):
                break
        except Killed:
            pass
        finally:
            if loop:
                loop.store.close()
    else:
        pytest.fail("it never ended")
    assert fate.kills > (25 if what == "commit" else 4)
    assert trail(Store(stormy / "loop.db", readonly=True)) == wanted
