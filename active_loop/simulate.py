"""A loop that is answered by the oracle: the same code, no waiting.

For trying a set-up before anybody is asked, and for comparing strategies on data whose answers are known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .domain import Decision, StepResult
from .driver import Driver, Unreachable
from .errors import ConfigError, DataError
from .labeling import LabelingBackend, Oracle
from .loop import Loop
from .report import Status, status
from .runner import InlineRunner
from .settings import Settings
from .sources import TableSource, open_source
from .store import FolderLock, Store


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    decision: Decision
    status: Status


def known_answers(settings: Settings, folder: Path, column: str) -> dict[str, str]:
    """The answer of each row, from a column of the data itself. `DataError` names a row without one.

    Those of a test file are not among them: nobody is asked for these.
    """
    source = open_source(replace(settings.data, answer=column, test="", embeddings=""), folder)
    answers = {record.row: record.answer for record in source.records()}
    missing = [row for row, answer in answers.items() if not answer]
    if missing:
        raise DataError(
            f'cannot simulate: {len(missing)} of {len(answers)} rows have no answer in column "{column}" '
            f"(the first is row {missing[0]}); give data whose answers are all known."
        )
    return {row: answer for row, answer in answers.items() if answer}


def simulate(
    settings: Settings,
    folder: Path,
    answers: Mapping[str, str],
    report: Callable[[StepResult | Unreachable], None] = lambda result: None,
    *,
    keep: Path | None = None,
) -> Outcome:
    """Run a loop over the data of `folder` to its end, answered from `answers` (row → label).

    The loop's own files go into `keep`, or into a temporary folder that is removed.
    """
    settings = simulated(settings, folder, settings.data.answer)
    with tempfile.TemporaryDirectory(prefix="active-loop-") as temporary:
        return run(settings, keep or Path(temporary), Oracle(answers), report, known=False)


def simulated(settings: Settings, folder: Path, column: str) -> Settings:
    """The settings of `folder` for a simulation anywhere else: data found from there, answers by the oracle alone.

    The `column` that holds the answers is neither shown nor learned from. A test file keeps its answers, and so the
    name of their column.
    """
    data = settings.data
    source = open_source(replace(data, answer=column, test="", embeddings=""), folder)
    if isinstance(source, TableSource):  # where nothing is named, all columns but that of the answers
        data = replace(data, show=source.show, use=source.use)
    path, test, embeddings = (
        str((folder / name).resolve()) if name else "" for name in (data.path, data.test, data.embeddings)
    )
    data = replace(data, path=path, test=test, embeddings=embeddings, answer=data.answer if data.test else "")
    stop = replace(settings.stop, paused="")
    return replace(settings, data=data, stop=stop, labeling=replace(settings.labeling, backend="oracle"))


def run(
    settings: Settings,
    folder: Path,
    backend: LabelingBackend,
    report: Callable[[StepResult | Unreachable], None] = lambda result: None,
    *,
    known: bool = True,
) -> Outcome:
    """Run the loop in `folder` until it has stopped, in this process.

    Without `known`, answers that a pool beside a test file came with are not used: they are asked for.
    Raises `ConfigError` for a loop that is paused: nobody would ever wake it.
    """
    if settings.stop.paused and not settings.stop.by_hand:
        raise ConfigError(f'stop.paused is "{settings.stop.paused}": set it to "" to have the loop go on.')
    with FolderLock(folder):
        store = Store(folder / "loop.db")
        try:
            source = open_source(settings.data, folder, known=known)
            loop = Loop(settings, store, source, backend, InlineRunner(), folder=folder)
            stopped = Driver(loop, poll_s=0.0).run(report)
            if stopped is None:
                raise RuntimeError("nobody paused the driver, and yet it has not stopped")
            return Outcome(stopped.decision, status(store))
        finally:
            store.close()
