"""A project that somebody else made: it is read, all of it, and nothing there is ever written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from .connection import Connection
from .listing import Listing, moment


class Elsewhere:
    """A project with people's work in it, as it is now. Every method raises `LabelingError` as the backend does."""

    def __init__(
        self,
        url: str,
        *,
        token: str,
        project: int,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self.project = url.rstrip("/"), project
        self._server = Connection(url, token, timeout_s, sleep)

    @property
    def title(self) -> str:
        return str(self._found.title or f"project {self.project}")

    @property
    def label_config(self) -> str:
        return str(self._found.label_config or "")

    @property
    def instructions(self) -> str:
        """What people are told there before they start."""
        return str(self._found.expert_instruction or "") if self._found.show_instruction else ""

    @property
    def n_tasks(self) -> int:
        return int(self._found.task_number or 0)

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks by number, with their answers and skips, in the form of Label Studio's own export.

        Drafts and predictions are left out.
        """
        return [self._exported(task) for task in Listing(self._server, self.project).everything()]

    @cached_property
    def _found(self) -> Any:
        return self._server.read(f"open project {self.project}", lambda sdk: sdk.projects.get(self.project))

    @cached_property
    def _people(self) -> dict[int, str]:
        users = self._server.read("list the people", lambda sdk: sdk.users.list())
        return {user.id: user.email for user in users if user.email}

    def _exported(self, task: Any) -> dict[str, Any]:
        answers = [self._answer(dict(raw)) for raw in task.annotations or []]
        return {"id": int(task.id), "created_at": _text(task.created_at), "data": task.data, "annotations": answers}

    def _answer(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: raw.get(name) for name in ("id", "result", "was_cancelled", "ground_truth", "lead_time")}
        times = {name: _text(raw.get(name)) for name in ("created_at", "updated_at")}
        who = raw.get("completed_by")
        number = who.get("id") if isinstance(who, Mapping) else who
        email = who.get("email") if isinstance(who, Mapping) else self._people.get(who) if isinstance(who, int) else ""
        return {**kept, **times, "completed_by": {"id": number, "email": email} if email else number}


def _text(at: object) -> str | None:
    return None if at is None else moment(at).isoformat() if isinstance(at, datetime | str) else None
