"""A project as a place where people label: which task stands for which ask, and which answers came, changed or went.

Label Studio keeps no versions and tells of no deletion, so what was seen is remembered here, and what is missing
from a task that is still there counts as withdrawn.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ..domain import Annotation, AnswerKind, Ask, TaskRef
from ..errors import LabelingError
from ..labeling import Publication
from .connection import PassingError
from .listing import START, TICK, Listing, moment
from .page import ASK, ask_of, task_data
from .project import Project

SOURCE: Final = "label-studio:"
"""How the source of every annotation from here begins; the number of the project follows."""

_OVERLAP: Final = timedelta(seconds=2)
_READ_BACK_PAUSES_S: Final = (0.5, 1.0, 2.0)

# A list of asks stands in the address of a call, which may not grow without end.
_ASKS_AT_ONCE: Final = 100


class LabelStudio(Project):
    """A project of a Label Studio server as a `LabelingBackend`.

    `project` 0 means that `create_project` comes first. `image_root` is the folder of the images when the server is
    ours and may serve it (its document root is the folder above); without it images travel inline, as small data
    URIs. `token` is a legacy token or a personal access token; it is never shown or logged.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        project: int = 0,
        image_root: Path | None = None,
        timeout_s: float = 60.0,
        reconcile_every_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(url, token=token, project=project, image_root=image_root, timeout_s=timeout_s, sleep=sleep)
        self._reconcile_every_s = reconcile_every_s
        self._clock = clock
        self._reconciled_at: float | None = None
        self._since = START
        self._tasks: dict[str, dict[tuple[int, datetime], TaskRef]] = {}
        self._known: dict[str, dict[str, Annotation]] = {}
        self._lies_on: dict[str, TaskRef] = {}
        self._withdrawn: dict[str, Annotation] = {}
        self._people: dict[int, str] = {}

    @property
    def source(self) -> str:
        """The source of every annotation that comes from here."""
        return f"{SOURCE}{self.project}"

    def resume(self, known: Iterable[Annotation], tasks: Iterable[TaskRef] = ()) -> None:
        """Tell what was recorded before a restart: annotations (any versions, any order) and tasks.

        Without it an answer that was deleted while nobody looked would not be noticed as retracted.
        """
        for annotation in known:
            if annotation.source == self.source and annotation.ask is not None:
                self._remember(annotation)
        for task in tasks:
            if task.source == self.source:
                self._tasks.setdefault(task.ask, {})[(task.task_id, task.created_at)] = task

    def tasks(self) -> tuple[TaskRef, ...]:
        """Every task of ours seen so far, by task id: for the record of which task stood for which ask."""
        refs = [ref for of_ask in self._tasks.values() for ref in of_ask.values()]
        return tuple(sorted(refs, key=lambda ref: (ref.task_id, ref.created_at)))

    # publish and retire

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `LabelingBackend`. One import at most, never blindly repeated: after an error only what is there counts.

        Each task is then handed to as many people as its ask wants. If an earlier import made a duplicate after all,
        answers to either task count for the ask.
        """
        wanted = {publication.ask.id: publication for publication in publications}
        there = self._live(wanted)
        missing = [publication for ask, publication in wanted.items() if ask not in there]
        if missing:
            there = self._add(missing, wanted)
        for ask, tasks in there.items():
            for task in tasks:
                self._hand_to(task, wanted[ask].ask.wanted)

    def _add(self, missing: Sequence[Publication], wanted: Iterable[str]) -> dict[str, list[Any]]:
        """Import what is missing; returns the tasks of all `wanted` asks, each of which is there then."""
        rows = [{"data": self._data(one)} for one in missing]
        doing, asks = f"add {len(rows)} tasks to project {self.project}", set(wanted)
        try:
            self._server.write(doing, lambda sdk: sdk.projects.import_tasks(self.project, request=rows))
        except LabelingError as error:
            return self._read_back(asks, error)
        there = self._live(asks)
        if len(there) < len(asks):
            raise LabelingError(f"cannot {doing}: {len(there)} of {len(asks)} asks are there afterwards; try again.")
        return there

    def _data(self, one: Publication) -> dict[str, Any]:
        if self._fields_as_they_are:
            return {**one.shown, ASK: one.ask.id}
        return task_data(one.shown, one.ask.id, self._image_root)

    def _hand_to(self, task: Any, people: int) -> None:
        """Have a task handed to so many different people, those who answered it counted.

        An import gives every task the number of its project, so this comes after it. Label Studio reckons whether a
        task is finished when it is answered, not when its number changes: that is told along with it. It hands a task
        out by the number of answers, so that a second one of the same person must not take the place of somebody else.
        """
        answered = self._answered_by(task)
        overlap = people + len(task.annotations or []) - len(answered)
        if task.overlap == overlap:
            return
        self._server.write(
            f"ask {people} people about task {task.id} of project {self.project}",
            lambda sdk: sdk.tasks.update(str(task.id), overlap=overlap, is_labeled=len(answered) >= people),
        )

    def _answered_by(self, task: Any) -> set[str]:
        return {self._person(dict(raw).get("completed_by")) for raw in task.annotations or []}

    def _read_back(self, asks: set[str], error: LabelingError) -> dict[str, list[Any]]:
        """The tasks of `asks` if they turn out to be there: the reply was lost, not the work. Else `error`."""
        if isinstance(error, PassingError):
            pauses_s: tuple[float, ...] = _READ_BACK_PAUSES_S
        else:
            pauses_s = (0.0,)
        for pause_s in pauses_s:
            self._server.sleep(pause_s)
            with contextlib.suppress(PassingError):
                there = self._live(asks)
                if asks <= there.keys():
                    return there
        raise error

    def retire(self, asks: Sequence[Ask]) -> None:
        """See `LabelingBackend`. Deletes tasks without an annotation or a draft: of `asks`, and spare duplicates.

        A task of `asks` that some of the wanted people answered stays, and is handed to nobody any more.
        """
        retired = {ask.id for ask in asks}
        if self._reconciled_at is None:  # spare tasks may have come while nobody looked
            for task in self._listing.everything():
                self._note(task)
        twice = {ask for ask, refs in self._tasks.items() if len(refs) > 1}
        there = self._live(retired | twice)
        answered = {ask for ask, tasks in there.items() if any(task.annotations for task in tasks)}
        for ask in retired & answered:
            for task in there[ask]:
                if task.annotations and not task.is_labeled:
                    self._hand_to(task, len(self._answered_by(task)))
        gone = [
            task.id
            for ask, tasks in there.items()
            for task in tasks
            if not task.annotations and not task.drafts and (ask in retired or ask in answered)
        ]
        if not gone:
            return
        doing = f"withdraw {len(gone)} unanswered tasks from project {self.project}"
        chosen = {"all": False, "included": gone}
        self._server.write(
            doing, lambda sdk: sdk.actions.create(id="delete_tasks", project=self.project, selected_items=chosen)
        )

    @property
    def _listing(self) -> Listing:
        return Listing(self._server, self._existing_project())

    def _live(self, asks: Iterable[str]) -> dict[str, list[Any]]:
        """The tasks that are there now, by ask, for those of `asks` that have any."""
        wanted = sorted(set(asks))
        found: dict[str, list[Any]] = {}
        for first in range(0, len(wanted), _ASKS_AT_ONCE):
            part = wanted[first : first + _ASKS_AT_ONCE]
            for task in self._listing.standing_for(part):
                ref = self._note(task)
                if ref is not None and ref.ask in part:
                    found.setdefault(ref.ask, []).append(task)
        return found

    # collect

    def collect(self) -> Iterable[Annotation]:
        """See `LabelingBackend`. What changed since the last call; everything, at first and every few minutes.

        Complete or an error: nothing is half reported. Repeats are normal. Sorted by (updated_at, id). An
        annotation that was known and is missing from its fully fetched task is reported as retracted, at the time
        at which its task last changed; a task or project that has vanished retracts nothing. Drafts and predictions
        are not answers.
        """
        now = self._clock()
        try:
            if self._reconciled_at is None or now - self._reconciled_at >= self._reconcile_every_s:
                versions = self._everything()
                self._reconciled_at = now
            else:
                versions = self._changes()
        except LabelingError:
            # A server that dies in the middle of an answer keeps it, but its task does not say that it changed.
            self._reconciled_at = None
            raise
        once = {(version.updated_at, version.id): version for version in versions}
        return [once[key] for key in sorted(once)]

    def _everything(self) -> list[Annotation]:
        since = self._listing.newest_change()
        versions = [version for task in self._listing.everything() for version in self._versions(task)]
        versions += [gone for gone in self._withdrawn.values() if gone not in versions]
        self._since = since
        return versions

    def _changes(self) -> list[Annotation]:
        tasks = list(self._listing.changed_after(self._since - _OVERLAP))
        versions = [version for task in tasks for version in self._versions(task)]
        self._since = max([self._since, *(moment(task.updated_at) for task in tasks)])
        return versions

    def _versions(self, task: Any) -> list[Annotation]:
        """The current version of every annotation of a task, and a retraction for each known one that is gone."""
        ref = self._note(task)
        if ref is None:
            return []
        present = [self._annotation(dict(raw), ref) for raw in task.annotations or []]
        for annotation in present:
            self._lies_on[annotation.id] = ref
            self._remember(annotation)
        there = {annotation.id for annotation in present}
        known = list(self._known.get(ref.ask, {}).values())
        gone = [old for old in known if old.id not in there and self._was_on(old, ref)]
        return present + [self._retraction(old, task) for old in gone if old.kind is not AnswerKind.RETRACTED]

    def _was_on(self, annotation: Annotation, ref: TaskRef) -> bool:
        """Whether this task held the annotation: seen there, or the only task that its ask ever had."""
        lay_on = self._lies_on.get(annotation.id)
        return lay_on == ref if lay_on is not None else list(self._tasks[ref.ask].values()) == [ref]

    def _retraction(self, old: Annotation, task: Any) -> Annotation:
        at = max(moment(task.updated_at), old.updated_at + TICK)
        gone = replace(old, kind=AnswerKind.RETRACTED, updated_at=at, raw="[]", lead_time_s=None, position=None)
        self._withdrawn[gone.id] = gone
        self._remember(gone)
        return gone

    def _annotation(self, raw: Mapping[str, Any], ref: TaskRef) -> Annotation:
        lead_time = raw.get("lead_time")
        return Annotation(
            source=self.source,
            id=str(raw["id"]),
            updated_at=moment(raw["updated_at"]),
            kind=AnswerKind.SKIPPED if raw.get("was_cancelled") else AnswerKind.SUBMITTED,
            raw=json.dumps(raw.get("result"), ensure_ascii=False),
            person=self._person(raw.get("completed_by")),
            ask=ref.ask,
            created_at=moment(raw["created_at"]),
            lead_time_s=None if lead_time is None else float(lead_time),
        )

    def _remember(self, annotation: Annotation) -> None:
        of_ask = self._known.setdefault(annotation.ask or "", {})
        known = of_ask.get(annotation.id)
        if known is None or known.updated_at <= annotation.updated_at:
            of_ask[annotation.id] = annotation

    def _note(self, task: Any) -> TaskRef | None:
        """Remember which ask a task stands for; None for a task that is not ours."""
        ask = ask_of(task.data)
        if ask is None:
            return None
        ref = TaskRef(self.source, int(task.id), moment(task.created_at), ask)
        self._tasks.setdefault(ask, {})[(ref.task_id, ref.created_at)] = ref
        return ref

    def _person(self, completed_by: object) -> str:
        """The e-mail address of whoever answered; it comes as a number in some replies and as an object in others."""
        if isinstance(completed_by, Mapping):
            return str(completed_by.get("email") or f"user {completed_by.get('id')}")
        if not isinstance(completed_by, int):
            return "unknown"
        if completed_by not in self._people:
            users = self._server.read("list the people", lambda sdk: sdk.users.list())
            self._people = {user.id: user.email or f"user {user.id}" for user in users}
        return self._people.setdefault(completed_by, f"user {completed_by}")
