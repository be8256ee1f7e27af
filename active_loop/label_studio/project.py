"""A project with its surroundings: made once, found again, its images served, its webhook set, all of it looked over.

A project that somebody else made is never changed. What a server refuses without harm is a finding, not an error.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from ..errors import ConfigError, LabelingError, TokenError
from ..instructions import as_html
from ..settings import Settings
from .connection import Connection, MissingError, PassingError
from .page import CONTROL, differences, label_config, same_config

SECRET_HEADER: Final = "X-Active-Loop-Secret"
"""Header of our webhooks: their only credential, and the mark by which our own stale ones are known."""

ML_PATH: Final = "/ml/"
"""Part of the address at which our own server is attached as an ML backend: it predicts nothing, and orders nothing."""

EVENTS: Final = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
"""What our webhook asks to be told: annotations, and nothing else."""

_SEQUENTIAL: Final = "Sequential sampling"
_MADE_BY: Final = "Made by active-loop"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` looked at: whether it is well, and what to do where it is not."""

    ok: bool
    text: str


class Project:
    """A project of a Label Studio server; number 0 means that `create_project` or `find_project` comes first.

    `image_root` is the folder of the images when the server is ours and may serve it.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        project: int,
        image_root: Path | None,
        timeout_s: float,
        sleep: Callable[[float], None],
    ) -> None:
        self.project = project
        self._fields_as_they_are = False  # a page of somebody else's knows the fields by their own names
        self._server = Connection(url, token, timeout_s, sleep)
        self._image_root = image_root

    @property
    def url(self) -> str:
        """Address of the server, without a slash at its end."""
        return self._server.url

    @property
    def project_url(self) -> str:
        """Where a person opens the project in a browser."""
        return f"{self.url}/projects/{self.project}"

    # made and found

    def create_project(self, settings: Settings, *, marker: str) -> int:
        """The id of this loop's project: the remembered one if it exists, else the one with our marker, else a new one.

        `marker` names the loop (it stands in the project's description), so that a crash between creating and
        remembering makes no second project. A project with our marker is brought up to date with the settings; one
        that somebody else made is never touched. `LabelingError` if a remembered project is gone.
        """
        wanted = _project_fields(settings, marker)
        self._fields_as_they_are = bool(settings.labeling.page)
        project = self._project() if self.project else self._marked(marker)
        if project is None:
            project = self._server.write("create a project", lambda sdk: sdk.projects.create(**wanted))
        elif marker in (project.description or "") and not _is_current(project, wanted):
            found = project.id
            self._server.write(f"update project {found}", lambda sdk: sdk.projects.update(found, **wanted))
        self.project = int(project.id)
        self._serve_images()
        return self.project

    def find_project(self, *, marker: str) -> int:
        """The id of the project with our marker, which is used from now on; 0 if there is none."""
        found = self._marked(marker)
        self.project = int(found.id) if found is not None else 0
        return self.project

    def _project(self) -> Any:
        number = self._existing_project()
        return self._server.read(f"open project {number}", lambda sdk: sdk.projects.get(number))

    def _marked(self, marker: str) -> Any | None:
        projects = self._server.read("list the projects", lambda sdk: list(sdk.projects.list(page_size=100)))
        return next((project for project in projects if marker in (project.description or "")), None)

    def _serve_images(self) -> None:
        """Let the server show the files below the image folder: one storage row, never synchronised."""
        if self._image_root is None:
            return
        path = str(self._image_root.resolve())
        rows = self._server.read("list storages", lambda sdk: sdk.import_storage.local.list(project=self.project))
        if not any(row.path == path for row in rows):
            row = {"project": self.project, "path": path, "title": "images", "use_blob_urls": True}
            self._server.write(f"serve the images in {path}", lambda sdk: sdk.import_storage.local.create(**row))

    def _existing_project(self) -> int:
        if not self.project:
            raise LabelingError(f"no project at {self.url} yet: labeling.project is 0; create one first.")
        return self.project

    # people and webhooks

    def invite_link(self) -> str:
        """The address at which a second person makes a login for themselves."""
        invite: Any = self._server.read("invite people", lambda sdk: sdk.organizations.invites.get_invite_link())
        return urljoin(f"{self.url}/", str(invite.invite_url))

    def webhook(self, url: str, secret: str) -> Finding:
        """Have every change of an annotation announced at `url`, with `secret` in our header; replaces our old hooks.

        A server that refuses such an address (it guards against calls to its own network) is a finding, not an error:
        the loop then works by polling alone.
        """
        self.forget_webhooks()
        hook = {
            "url": url,
            "project": self._existing_project(),
            "send_payload": True,
            "send_for_all_actions": False,
            "actions": list(EVENTS),
            "headers": {SECRET_HEADER: secret},
        }
        try:
            self._server.write(f"register the webhook {url}", lambda sdk: sdk.webhooks.create(**hook))
        except TokenError:
            raise
        except LabelingError as error:
            if isinstance(error, PassingError | MissingError):
                raise
            return Finding(False, _blocked(url, str(error)))
        return Finding(True, f"webhook: {url} is told of every answer")

    def forget_webhooks(self) -> None:
        """Delete our own hooks in this project: a stale one costs the annotator up to a second at every answer."""
        number = self._existing_project()
        for hook in self._server.read("list the webhooks", lambda sdk: sdk.webhooks.list(project=str(number))):
            if SECRET_HEADER in (hook.headers or {}) and not hook.send_for_all_actions and hook.project == number:
                self._delete_hook(hook.id)

    def _delete_hook(self, hook: int) -> None:
        with contextlib.suppress(MissingError):
            self._server.write(f"delete webhook {hook}", lambda sdk: sdk.webhooks.delete(hook))

    # doctor

    def check(self, settings: Settings) -> list[Finding]:
        """What is well and what is not, from the server to the order of tasks; stops at what makes the rest moot."""
        findings: list[Finding] = []
        steps = (self._check_server, self._check_token, lambda: self._check_project(settings))
        for step in steps:
            try:
                findings += step()
            except TokenError as error:
                return [*findings, Finding(False, f"token not valid ({self._token_kind}): {error}")]
            except LabelingError as error:
                return [*findings, Finding(False, str(error))]
        return findings

    def _check_server(self) -> list[Finding]:
        start = time.perf_counter()
        version = self._server.read("ask for the version", lambda sdk: sdk.versions.get())
        took_ms = (time.perf_counter() - start) * 1000
        return [Finding(True, f"Label Studio {version.release} answers in {took_ms:.0f} ms")]

    def _check_token(self) -> list[Finding]:
        user = self._server.read("ask who we are", lambda sdk: sdk.users.whoami())
        return [Finding(True, f"token valid ({user.email}; {self._token_kind})")]

    @property
    def _token_kind(self) -> str:
        return "personal, renewed by itself" if self._server.token_is_personal else "legacy"

    def _check_project(self, settings: Settings) -> list[Finding]:
        project = self._project()
        return [
            *_check_config(project, settings),
            *self._check_order(project),
            *self._check_images(),
            *self._check_webhook(),
        ]

    def _check_order(self, project: Any) -> list[Finding]:
        attached = self._server.read("list the ML backends", lambda sdk: sdk.ml.list(project=self.project))
        backends = [each for each in attached if ML_PATH not in (each.url or "")]
        ours = {
            "sampling": (project.sampling, _SEQUENTIAL),
            "skip_queue": (project.skip_queue, "IGNORE_SKIPPED"),
            "maximum_annotations": (project.maximum_annotations, 1),
            "show_collab_predictions": (project.show_collab_predictions, False),
            "model_version": (project.model_version or "", ""),
            "ML backends": (len(backends), 0),
        }
        wrong = [f"{name} is {found!r}, not {good!r}" for name, (found, good) in ours.items() if found != good]
        if wrong:
            return [Finding(False, f"order: {'; '.join(wrong)}. Tasks may come in another order, or not bare.")]
        return [Finding(True, "order: tasks are handed out as they were asked, without predictions")]

    def _check_images(self) -> list[Finding]:
        if self._image_root is None:
            return []
        path = str(self._image_root.resolve())
        rows = self._server.read("list storages", lambda sdk: sdk.import_storage.local.list(project=self.project))
        served = Path(path).is_dir() and any(row.path == path for row in rows)
        return [Finding(served, f"images: {path} is {'served' if served else 'not served; start the loop again'}")]

    def _check_webhook(self) -> list[Finding]:
        hooks = self._server.read("list the webhooks", lambda sdk: sdk.webhooks.list(project=str(self.project)))
        ours = [hook for hook in hooks if SECRET_HEADER in (hook.headers or {}) and hook.is_active]
        if len(ours) > 1:
            return [Finding(False, f"webhook: {len(ours)} of ours are registered; start the loop again to clear them.")]
        return [Finding(True, f"webhook: {ours[0].url}" if ours else "webhook: none now; the running loop makes one")]


def _check_config(project: Any, settings: Settings) -> list[Finding]:
    """That people are shown our labels, or each edit by its kind."""
    edits = differences(project.label_config or "", _page(settings))
    if not edits:
        return [Finding(True, f'project "{project.title}" has our label config')]
    ours = _MADE_BY in (project.description or "")
    mend = "Start the loop again to put it back." if ours else "Put it back there, or change task.classes."
    return [Finding(False, f'label config of project "{project.title}": {edit}. {mend}') for edit in edits]


def _page(settings: Settings) -> str:
    """The label config that people are to see; `ConfigError` for one in which our control has another name."""
    page = settings.labeling.page
    if page and not re.search(rf"""\bname=["']{CONTROL}["']""", page):
        raise ConfigError(f'labeling.page has no control with name="{CONTROL}": call the one so that is answered with.')
    return page or label_config(settings)


def _is_current(project: Any, wanted: dict[str, Any]) -> bool:
    """Whether a project shows the page, and the instructions, that are wanted."""
    told = (project.expert_instruction or "", bool(project.show_instruction))
    same = told == (wanted["expert_instruction"], wanted["show_instruction"])
    return same and same_config(project.label_config, wanted["label_config"])


def _project_fields(settings: Settings, marker: str) -> dict[str, Any]:
    """A new project as we want it: our page, our order, no predictions shown, a skip is an answer."""
    return {
        "title": settings.name[:50].ljust(3, "."),
        "description": f"{_MADE_BY}; {marker}",
        "label_config": _page(settings),
        "expert_instruction": as_html(settings.task.instructions),
        "show_instruction": bool(settings.task.instructions),
        "show_collab_predictions": False,
        "skip_queue": "IGNORE_SKIPPED",
        "maximum_annotations": 1,
        "sampling": _SEQUENTIAL,
    }


def _blocked(url: str, reason: str) -> str:
    return (
        f"webhook: Label Studio refuses to call {url} ({reason}) The loop works by polling; for instant updates start "
        "Label Studio with LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false, or set server.public_url."
    )
