"""A scripted expert: answers through Label Studio's own API, as a second user, one task at a time.

It stands in for a person in the demonstration and in tests, so it knows no more than a person would: it sees the
shown fields of the task that Label Studio hands to it, and looks the answer up by them. It never learns which ask,
item or split a task belongs to. It signs up by the same invitation link that a person gets.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from .errors import DataError, LabelingError, TokenError
from .label_studio import Annotator, OpenTask, sign_up

EMAIL: Final = "expert@loop.local"
"""Login of the scripted expert."""

_IDLE_S: Final = 0.25
_AWAY_S: Final = (0.5, 1.0, 2.0, 5.0)


def read_answers(path: Path, shown: str, answer: str) -> dict[str, str]:
    """Answers by what is shown, from two columns of a CSV file; for images, `shown` holds the file name.

    Raises `DataError` for a file that cannot be read, or lacks one of the columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = {shown, answer} - set(rows.fieldnames or ())
            if missing:
                raise DataError(f"{path} has no column {', '.join(sorted(missing))}; it has {rows.fieldnames}.")
            return {row[shown]: row[answer] for row in rows}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the answers in {path}: {error}") from error


def name_of(shown: Mapping[str, Any]) -> str:
    """What a person could call the thing shown: the file name of an image, the text, or the row as JSON.

    >>> name_of({"image": "/data/local-files/?d=digits/0007.png"})
    '0007.png'
    >>> name_of({"text": "good morning"})
    'good morning'
    """
    values = list(shown.values())
    if len(values) == 1 and isinstance(values[0], Mapping):
        return json.dumps(values[0], sort_keys=True, ensure_ascii=False)
    if len(values) == 1 and str(values[0]).startswith(("/", "http://", "https://")):
        parts = urlsplit(str(values[0]))
        return PurePosixPath(parse_qs(parts.query).get("d", [parts.path])[0]).name
    return "\n".join(str(value) for value in values)


def account(file: Path, invite_link: str, *, url: str, email: str = EMAIL) -> str:
    """The expert's token: the one kept in `file` (mode 600), else from a sign-up by the invitation link.

    The password is written down before the sign-up, so that a crash in between leaves an account that opens.
    """
    kept = json.loads(file.read_text()) if file.exists() else {}
    if not kept:
        kept = {"email": email, "password": secrets.token_urlsafe(12)}
        _keep(file, kept)
    if "token" not in kept:
        kept["token"] = sign_up(invite_link, kept["email"], kept["password"], url=url)
        _keep(file, kept)
    return str(kept["token"])


def _keep(file: Path, kept: Mapping[str, str]) -> None:
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(kept, out)
    draft.replace(file)


class Expert:
    """Answers every task that comes, in a thread, until it is stopped.

    `answers` maps what is shown (see `name_of`) to a choice; what it does not hold is skipped. `pace_s` is how long
    an answer takes beyond the calls themselves. A server that is away is waited for. `error` holds what ended the
    thread otherwise, None while all is well.
    """

    def __init__(self, url: str, *, token: str, project: int, answers: Mapping[str, str], pace_s: float = 0.0) -> None:
        self.answered = 0
        self.error: LabelingError | None = None
        self._seat = Annotator(url, token=token, project=project)
        self._answers = answers
        self._pace_s = pace_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="expert", daemon=True)

    def start(self) -> Expert:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Finish the answer under way, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Expert:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer_next(self) -> bool:
        """Answer the next task; False if there is none now."""
        began = time.monotonic()
        task = self._seat.next()
        if task is None:
            return False
        self._stopping.wait(self._pace_s)
        self._answer(task, time.monotonic() - began)
        self.answered += 1
        return True

    def _answer(self, task: OpenTask, lead_time_s: float) -> None:
        choice = self._answers.get(name_of(task.shown))
        if choice is None:
            self._seat.skip(task, lead_time_s=lead_time_s)
        else:
            self._seat.answer(task, choice, lead_time_s=lead_time_s)

    def _work(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                busy = self.answer_next()
                failures = 0
            except TokenError as error:
                self.error = error
                return
            except LabelingError as error:
                self.error = error
                self._stopping.wait(_AWAY_S[min(failures, len(_AWAY_S) - 1)])
                failures += 1
                continue
            self.error = None
            if not busy:
                self._stopping.wait(_IDLE_S)
