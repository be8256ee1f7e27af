"""What a person orders while a loop is there: other settings, written to `loop.toml` and taken by whoever runs it.

There is no order that is not a change of settings: so their versions are the record of all that was ordered, a crash
between the file and the store is made good by the next start, and what a change does to the claim is said by `changes`
alone. What cannot be is refused before anything is written.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from .changes import Change, current_settings, ended, foreseen, look_asked
from .config import read_settings, refuse_settings, rewrite_settings
from .domain import Decision
from .driver import Driver
from .errors import ConfigError, FolderBusyError
from .loop import Loop
from .settings import Settings, differences, to_json
from .standing import Standing
from .store import FolderLock, Store

_STARTED: Final = ("name", "data", "task", "labeling", "notify", "mlflow", "people.adjudicators")
"""What a session is made of when it starts: a running one cannot take it."""


class Orders(Protocol):
    """How the settings of one loop are changed; each verb may be called from any thread."""

    @property
    def is_running(self) -> bool:
        """Whether a change is taken at once, and not by the next run."""
        ...

    def told(self) -> Settings:
        """What `loop.toml` says now. `ConfigError` for a file that cannot be read."""
        ...

    def in_force(self) -> Settings:
        """What the loop goes by."""
        ...

    def effect(self, settings: Settings) -> Change | None:
        """What these settings would do to the claim; an error that says why they cannot be. Nothing is written."""
        ...

    def change(self, settings: Settings) -> None:
        """Have these settings instead; the same errors, and then nothing was changed."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that is not to stay as it is, with both values as text."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings that were not told yet: how they differ from those in force, and what they do to the claim."""

    settings: Settings
    differences: tuple[Difference, ...]
    change: Change | None

    @property
    def mark(self) -> str:
        """Another one for other settings, and for another kind of effect: whoever confirms it has seen this one."""
        change = self.change
        kind = (change.keys, change.settles, change.look, bool(change.first)) if change else ()
        seen = f"{to_json(self.settings)}{kind}"
        return hashlib.blake2b(seen.encode(), digest_size=12).hexdigest()


def propose(orders: Orders, settings: Settings) -> Proposal:
    """These settings beside those in force. Raises what `Orders.effect` raises."""
    change, before = orders.effect(settings), orders.in_force()
    return Proposal(settings, differing(before, settings), change)


def differing(before: Settings, after: Settings) -> tuple[Difference, ...]:
    """The keys whose values differ. What the dashboard itself was started with is no setting of the loop."""
    keys = [key for key in differences(before, after) if not key.startswith("server.")]
    return tuple(Difference(key, _text(before, key), _text(after, key)) for key in keys)


def _text(settings: Settings, key: str) -> str:
    value: Any = asdict(settings)
    for part in key.split("."):
        value = value[part]
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


class Resting:
    """Orders to a loop that does not run in this process: `loop.toml` is changed, and the next run takes it."""

    is_running = False

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = folder / database
        self._lock = threading.Lock()

    def told(self) -> Settings:
        return read_settings(self._folder / "loop.toml")

    def in_force(self) -> Settings:
        if self._database.is_file():
            with closing(Store(self._database, readonly=True)) as store:
                if store.setting():
                    return current_settings(store)
        return self.told()

    def effect(self, settings: Settings) -> Change | None:
        return _effect(self._folder, self._database, settings)

    def change(self, settings: Settings) -> None:
        try:
            with self._lock, FolderLock(self._folder):
                self.effect(settings)
                rewrite_settings(settings, self._folder / "loop.toml")
        except FolderBusyError as error:
            raise FolderBusyError(
                "This loop is run by another process just now: change it on the dashboard of that one."
            ) from error


class Running:
    """Orders to the loop of a session: `loop.toml` is changed, and the loop goes on with it at its next step.

    `settings` are those that the session started with. Until `follows` was called, all is refused.
    """

    def __init__(self, folder: Path, database: str, settings: Settings) -> None:
        self._folder = folder
        self._database = folder / database
        self._settings = settings
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._make: Callable[[Settings], Loop] | None = None

    def follows(self, driver: Driver, make: Callable[[Settings], Loop]) -> None:
        """From now on, have this driver go on with the loops that `make` gives."""
        self._driver, self._make = driver, make

    @property
    def is_running(self) -> bool:
        return self._driver is not None and not self._driver.has_ended

    def told(self) -> Settings:
        return read_settings(self._folder / "loop.toml")

    def in_force(self) -> Settings:
        return self._settings

    def effect(self, settings: Settings) -> Change | None:
        self._refuse_started(settings)
        return _effect(self._folder, self._database, settings)

    def change(self, settings: Settings) -> None:
        with self._lock:
            driver, make = self._driver, self._make
            if driver is None or make is None:
                raise ConfigError("The loop is still starting: try it again in a moment.")
            self.effect(settings)
            rewrite_settings(settings, self._folder / "loop.toml")
            # A run may have been started with another port than the file's; its dashboard stays where it is.
            self._settings = taken = replace(settings, server=self._settings.server)
            driver.change(lambda: make(taken))

    def _refuse_started(self, settings: Settings) -> None:
        fixed = [key for key in differences(self._settings, settings) if _within(key, _STARTED)]
        fixed += [key for key in differences(self.told(), settings) if key.startswith("server.")]
        if fixed:
            raise ConfigError(
                f"A loop that runs cannot take another {', '.join(fixed)}: end the run with Ctrl-C, edit loop.toml, "
                "and start it again."
            )


def _effect(folder: Path, database: Path, settings: Settings) -> Change | None:
    refuse_settings(settings, folder / "loop.toml")
    if not database.is_file():
        return None
    with closing(Store(database, readonly=True)) as store, store.snapshot():
        return foreseen(store, settings)


def _within(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


@dataclass(frozen=True, slots=True)
class Board:
    """What may be ordered of a loop now, as the store has it.

    `n_batches` and `n_rounds` were made by hand so far. Why there can be no further batch, round or look now is one
    word each; empty if there can.
    """

    settings: Settings
    stopped: Decision | None
    n_batches: int
    n_rounds: int
    no_batch: str
    no_round: str
    no_look: str


def board(store: Store) -> Board:
    """The board of a loop; of one that has hardly begun nothing can be ordered but its settings."""
    with store.snapshot():
        settings = current_settings(store)
        n_batches, n_rounds = store.n_batches_by_hand(), sum(round_.by_hand for round_ in store.rounds())
        if not store.n_items() or not store.rounds():
            return Board(settings, None, n_batches, n_rounds, "start", "start", "start")
        standing, stop = Standing(settings, store, lambda: datetime.now(UTC)), ended(store, settings)
        held = "stopped" if stop else "paused" if settings.stop.paused else ""
        return Board(
            settings,
            stop,
            n_batches,
            n_rounds,
            no_batch=held or _no_batch(standing, settings.query.batches_by_hand > n_batches),
            no_round=held or ("asked" if settings.query.rounds_by_hand > n_rounds else standing.not_by_hand()),
            no_look="first" if not standing.scored_rounds() else "asked" if look_asked(store) else "",
        )


def _no_batch(standing: Standing, asked: bool) -> str:
    if standing.is_late() or not standing.spending().left:
        return "end"
    return "asked" if asked else ""
