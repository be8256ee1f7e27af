"""Everything that runs while a loop runs, started together and ended together.

The lock of the folder, the store, a Label Studio of our own where none is named, the training process, the
dashboard, and the driver that steps the loop. What takes long starts first: the model's imports and the first
features are ready by the time Label Studio answers.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .afterwards import Afterwards
from .chances import Proof, proof_of
from .changes import change_of, foreseen
from .domain import Progressed, StepResult, Stopped
from .driver import Driver, Report, Unreachable
from .errand import Errand, errand
from .errors import ActiveLoopError, ConfigError, DataError, FolderError, LabelingError, TokenError
from .evaluate import doubt, shares_of
from .exported import joined, tasks_of
from .intake import refuse_unusable
from .jobs import Jobs
from .label_studio import Elsewhere, Finding, LabelStudio
from .labeling import LabelingBackend, Queues, Terminal
from .local_studio import LocalStudio
from .loop import Loop
from .model import MODEL, own_types
from .notice import Notices, notices, program
from .orders import Orders, Resting, Running
from .planning import hopeless
from .records import Source
from .runner import InlineRunner, ProcessRunner, Runner
from .settings import LabelingSettings, Settings
from .sources import open_source
from .standing import Standing
from .store import FolderLock, Store
from .tasks import make_task

if TYPE_CHECKING:
    from active_loop.server import Server

DATABASE = "loop.db"
TOKEN_VARIABLE = "ACTIVE_LOOP_TOKEN"
"""Environment variable with the owner's token: without a token, the dashboard then shows nothing."""

ML_KEY = "ml-backend.key"
"""File with the key in the address of the loop's ML backend: Label Studio keeps that address."""

VIEWER_VARIABLE = "ACTIVE_LOOP_VIEWER_TOKEN"
"""Environment variable with the token of those who may read, and neither change anything nor see single people."""

_CALM_S = 0.5
"""Seconds between two looks for answers in Label Studio, which answers one call at a time and serves people, too."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where people go: known at once, before anything answers there. Empty where there is no such place."""

    label_studio: str
    user: str
    password: str
    dashboard: str


@dataclass(frozen=True, slots=True)
class Starting:
    """Something is on its way up: what, and since how many seconds."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people should know and that does not keep the loop from running."""

    text: str


@dataclass(frozen=True, slots=True)
class Working:
    """How far the training process is with something that takes long."""

    text: str


Tell = Callable[[Addresses | Starting | Notice | Working | StepResult | Unreachable], None]


class Session:
    """A loop with all that it needs; made by `session`. `adjudication` is the queue of the adjudicators, if named."""

    def __init__(
        self,
        driver: Driver,
        orders: Running,
        studio: LocalStudio | None,
        labeling: LabelStudio | None,
        adjudication: LabelStudio | None,
    ) -> None:
        self.driver = driver
        self.orders = orders
        self.studio = studio
        self.labeling = labeling
        self.adjudication = adjudication
        self.webhook: Finding | None = None
        self.notices: Notices | None = None
        self.errand: Errand | None = None

    @property
    def loop(self) -> Loop:
        """The loop as it is now: a change of the settings puts another one in its place."""
        return self.driver.loop

    def change(self, settings: Settings) -> None:
        """Go on with these settings from the next step on, and write them to `loop.toml`; from any thread.

        Raises `ConfigError` for what cannot be, and for what a session takes only when it starts; then nothing is
        changed.
        """
        self.orders.change(settings)

    def run(self, report: Report) -> Stopped | None:
        """Run the loop until it has stopped (returned), or was told to pause (None).

        A Label Studio of our own that dies on the way is started again.
        """

        def hear(news: StepResult | Unreachable) -> None:
            report(news)
            if self.notices:
                self.notices.hear(news)
            if self.errand:
                self.errand.hear()
            if isinstance(news, Unreachable) and self.studio and self.studio.revive():
                report(Progressed("Label Studio had died and was started again"))

        return self.driver.run(hear)


@contextmanager
def session(
    folder: Path,
    settings: Settings,
    tell: Tell,
    *,
    backend: LabelingBackend | None = None,
    dashboard: bool = True,
    inline: bool = False,
) -> Iterator[Session]:
    """Start everything for the loop in `folder`; at the end, however it comes, nothing is left running.

    `tell` hears the addresses at once, then what is being waited for. With a `backend` that one is used instead of
    the one that the settings name. With `inline` the model is fitted in this process.
    """
    # What cannot work is refused before anything is made.
    source = open_source(settings.data, folder)
    if backend is None:
        _refuse_place(settings)
    with ExitStack() as stack:
        stack.enter_context(FolderLock(folder))
        store = Store(folder / DATABASE)
        stack.callback(store.close)
        heard = notices(settings, folder, store, lambda text: tell(Notice(text)), hidden(settings))
        told = stack.enter_context(heard)
        sent = stack.enter_context(errand(settings, folder, store, lambda text: tell(Notice(text)), hidden(settings)))
        change = change_of(store, settings)
        if change:
            tell(Notice(change.sentence))
        own_studio = backend is None and settings.labeling.backend == "label-studio" and not settings.labeling.url
        images = image_root(source, folder) if own_studio else None
        studio = LocalStudio.begin(folder, images) if own_studio else None
        if studio:
            stack.callback(studio.stop)
        live = _Live()
        runner: Runner = InlineRunner() if inline else ProcessRunner(live.wake, lambda text: tell(Working(text)))
        stack.callback(runner.close)
        secret = secrets.token_urlsafe(24)
        labeling_url = studio.url if studio else settings.labeling.url
        orders = Running(folder, DATABASE, settings)
        server = _serve(folder, settings, live, orders, secret, labeling_url, lambda: source) if dashboard else None
        if server:
            stack.callback(server.close)
        user, password = (studio.user, studio.password) if studio else ("", "")
        tell(Addresses(labeling_url, user, password, server.url if server else ""))
        place, adjudication = backend or _place(settings, studio, images), None
        if isinstance(place, LabelStudio) and settings.people.adjudicators:
            adjudication = _label_studio(settings, studio, images)
        queues = Queues(place, adjudication) if adjudication else place

        def loop_of(told: Settings) -> Loop:
            return Loop(told, store, source, queues, runner, folder=folder, portraits=server is not None)

        loop = loop_of(settings)
        if studio:
            _prepare(loop, studio, tell)
        calm_s = _CALM_S if isinstance(place, LabelStudio) else 0.0
        driver = Driver(loop, poll_s=settings.labeling.poll_every_s, calm_s=calm_s)
        live.wakes(driver)
        orders.follows(driver, loop_of)
        made = Session(driver, orders, studio, place if isinstance(place, LabelStudio) else None, adjudication)
        made.notices, made.errand = told, sent
        if made.labeling:
            _introduce(made, store, settings, server.url if server else "", secret, stack)
            if made.webhook and not made.webhook.ok:
                tell(Notice(made.webhook.text))
        yield made


class _Live:
    """What the dashboard and the runner may touch of a driver that does not exist yet when they start."""

    def __init__(self) -> None:
        self._driver: Driver | None = None

    def wakes(self, driver: Driver) -> None:
        self._driver = driver

    def wake(self) -> None:
        if self._driver:
            self._driver.wake()

    def notice(self) -> str:
        return self._driver.notice if self._driver else ""


def hidden(settings: Settings) -> frozenset[str]:
    """The environment variables that hold secrets."""
    return frozenset({settings.labeling.token_env, TOKEN_VARIABLE, VIEWER_VARIABLE})


def image_root(source: Source, folder: Path) -> Path | None:
    """The folder that holds all images that people see and none of the loop's own files; None if there is none."""
    rows = [record.row for record in source.records() if not record.test]
    paths = [value for shown in source.shown(rows) for value in shown.values()]
    parents = {str(path.parent.resolve()) for path in paths if isinstance(path, Path)}
    if not parents:
        return None
    root = Path(os.path.commonpath(parents))
    return None if folder.resolve().is_relative_to(root) else root


def _place(settings: Settings, studio: LocalStudio | None, images: Path | None) -> LabelingBackend:
    """The labelling place that the settings name."""
    match settings.labeling.backend:
        case "label-studio":
            return _label_studio(settings, studio, images, settings.labeling.project)
        case "terminal":
            return Terminal(task=make_task(settings.task), question=settings.task.question, read=_typed, write=_tell)
    raise ConfigError(f'unknown labeling.backend "{settings.labeling.backend}".')


def _label_studio(settings: Settings, studio: LocalStudio | None, images: Path | None, project: int = 0) -> LabelStudio:
    """A project of Label Studio; number 0 is found or made when it is introduced."""
    if studio:
        return LabelStudio(studio.url, token=studio.token, image_root=images)
    return LabelStudio(settings.labeling.url, token=token(settings.labeling), project=project)


def _refuse_place(settings: Settings) -> None:
    """`ConfigError` for a labelling place that people cannot answer in, or for which no token is known."""
    labeling = settings.labeling
    if labeling.backend == "oracle":
        raise ConfigError(
            f'labeling.backend is "{labeling.backend}", which answers from known labels: '
            "use `active-loop simulate`, or name label-studio or terminal."
        )
    if labeling.backend == "label-studio" and labeling.url:
        token(labeling)


def _tell(line: str) -> None:
    """What the person at the keyboard sees goes to standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def _typed(prompt: str) -> str:
    print(prompt, end="", file=sys.stderr, flush=True)
    return input()


def token(labeling: LabelingSettings) -> str:
    """The token for Label Studio, from the file or the environment variable that the settings name."""
    if labeling.token_file:
        path = Path(labeling.token_file).expanduser()
        try:
            mode = path.stat().st_mode
            value = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"cannot read the token file {path}: {error.strerror}.") from error
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"the token file {path} can be read by others: run `chmod 600 {path}`.")
    else:
        value = os.environ.get(labeling.token_env, "").strip()
    if not value:
        where = labeling.token_file or f"the environment variable {labeling.token_env}"
        raise ConfigError(f"no token for Label Studio: {where} is empty; copy it from Account & Settings there.")
    return value


def _serve(
    folder: Path,
    settings: Settings,
    live: _Live,
    orders: Orders,
    secret: str,
    labeling_url: str,
    source: Callable[[], Source],
) -> Server:
    from active_loop.server import serve

    app = _app(folder, settings, live, orders, secret, labeling_url, source)
    return serve(app, settings.server.host, settings.server.port)


def _app(
    folder: Path,
    settings: Settings,
    live: _Live,
    orders: Orders,
    secret: str,
    labeling_url: str,
    source: Callable[[], Source],
) -> Any:
    from active_loop.server import create_app

    return create_app(
        lambda: Store(folder / DATABASE, readonly=True),
        wake=live.wake,
        secret=secret,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        viewer=os.environ.get(VIEWER_VARIABLE) or None,
        key=secret_in(folder / "dashboard.key"),
        live=live.notice,
        public_url=settings.server.public_url,
        labeling_url=labeling_url,
        source=source,
        ml_key=secret_in(folder / ML_KEY),
        language=settings.server.language,
        orders=orders,
        model=folder / MODEL,
        trust=lambda: own_types(settings),
    )


def secret_in(path: Path) -> str:
    """A secret of the loop's that outlives its runs, which only its owner may read: made once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        new.replace(path)
    return path.read_text(encoding="utf-8").strip()


def _prepare(loop: Loop, studio: LocalStudio, tell: Tell) -> None:
    """Import the items and choose the first ones while Label Studio starts."""

    def meanwhile(what: str, seconds: float) -> None:
        tell(Starting(f"Label Studio is {what}", seconds))
        while loop.prepare():
            pass

    meanwhile("starting", 0.0)
    studio.wait(meanwhile)


def _introduce(made: Session, store: Store, settings: Settings, dashboard: str, secret: str, stack: ExitStack) -> None:
    """Make the project, tell the backend what was recorded, and have Label Studio call when something happens."""
    place = made.labeling
    if place is None:
        return
    place.create_project(settings, marker=_marker(store))
    if made.adjudication:
        made.adjudication.create_project(_adjudicating(settings), marker=_marker(store, "-adjudication"))
    address = settings.server.public_url or dashboard
    for each in filter(None, (made.adjudication, place)):
        each.resume(store.annotations(), store.tasks())
        if address:
            stack.callback(_forget, each)
            made.webhook = _webhook(each, f"{address.rstrip('/')}/webhook", secret)


def _webhook(place: LabelStudio, url: str, secret: str) -> Finding:
    """Have Label Studio call; where it cannot be told to now, the loop looks for answers by itself."""
    try:
        return place.webhook(url, secret)
    except TokenError:
        raise
    except LabelingError as error:
        return Finding(False, f"{error} The loop goes on, and looks for answers every few seconds instead.")


def _forget(place: LabelStudio) -> None:
    with suppress(LabelingError):  # a server that is gone calls nobody
        place.forget_webhooks()


# one verb each, without a run


def import_items(folder: Path, settings: Settings) -> tuple[int, int]:
    """Read the data into the loop: everything at first, later what is new. Returns items added, and items in all.

    Where the data were read from a project of Label Studio, that is read again.
    """
    source = open_source(settings.data, folder)
    with FolderLock(folder):
        if settings.data.project:
            source = _read_again(folder, settings)
        store = Store(folder / DATABASE)
        try:
            before = store.n_items()
            loop = Loop(settings, store, source, Terminal(task=make_task(settings.task)), InlineRunner(), folder=folder)
            if before:
                loop.add_items()
            else:
                loop.import_items()
            return store.n_items() - before, store.n_items()
        finally:
            store.close()


def _read_again(folder: Path, settings: Settings) -> Source:
    """The data, with the new tasks of the project that they came from behind those that were known."""
    path = folder / settings.data.path
    write_tasks(path, joined(_tasks_in(path, settings), _elsewhere(settings).tasks()))
    return open_source(settings.data, folder)


def _elsewhere(settings: Settings) -> Elsewhere:
    place = settings.labeling
    return Elsewhere(place.url, token=token(place), project=settings.data.project)


def _tasks_in(path: Path, settings: Settings) -> list[dict[str, Any]]:
    try:
        return tasks_of(path.read_bytes(), settings.data.path)
    except OSError as error:
        raise DataError(f"cannot read {settings.data.path}: {error.strerror or error}.") from error


def write_tasks(path: Path, tasks: Sequence[Mapping[str, Any]]) -> None:
    """Write tasks as Label Studio exports them, one a line, so that a crash leaves the old file or the new one."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(task, ensure_ascii=False) for task in tasks)
        new.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise FolderError(f"cannot write {path}: {error.strerror or error}.") from error


@contextmanager
def dashboard(folder: Path, settings: Settings) -> Iterator[Server]:
    """The dashboard alone, for a loop that is not running or that another process runs."""
    server = _serve(folder, settings, _Live(), Resting(folder, DATABASE), *_resting(folder, settings))
    try:
        yield server
    finally:
        server.close()


@contextmanager
def dashboards(directory: Path, host: str, port: int) -> Iterator[Server]:
    """The dashboards of all loop folders in a directory, with a page that lists them."""
    from active_loop.server import Access, create_front, serve

    from .config import read_settings

    def make(folder: Path) -> Any:
        settings = read_settings(folder / "loop.toml")
        return _app(folder, settings, _Live(), Resting(folder, DATABASE), *_resting(folder, settings))

    token, viewer = (os.environ.get(name) or None for name in (TOKEN_VARIABLE, VIEWER_VARIABLE))
    access = Access(secrets.token_urlsafe(24), token, viewer=viewer)
    server = serve(create_front(directory, make, access), host, port)
    try:
        yield server
    finally:
        server.close()


def _resting(folder: Path, settings: Settings) -> tuple[str, str, Callable[[], Source]]:
    """What the dashboard of a loop that does not run here is made of: a secret, where people label, and the data."""
    return secrets.token_urlsafe(24), settings.labeling.url, cache(lambda: open_source(settings.data, folder))


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that looks wrong: what people saw, the label, what the model suggests and by how much, and neighbours."""

    item: str
    row: str
    shown: str
    given: str
    suggested: str
    margin: float
    neighbours: int


def suspects(folder: Path, settings: Settings) -> list[Doubt]:
    """Labels to learn from that look wrong by now, the worst first; `DataError` if none can be said to.

    It reads only, and may be asked for while the loop runs; test items are never among them.
    """
    source = open_source(settings.data, folder)
    with closing(Store(folder / DATABASE, readonly=True)) as store:
        standing = Standing(settings, store, lambda: datetime.now(UTC))
        if not standing.scored_rounds():
            raise DataError("no label can look wrong yet: no model was trained; come back after the first round.")
        after = Afterwards(standing, Jobs(standing, source, InlineRunner(), folder))
        if why := after.unsuspicious():
            raise DataError(f"no label can be said to look wrong: {why}.")
        found = after.suspects_job().run().found
        items = [standing.items[each.item] for each in found]
    shown = source.shown([item.row for item in items])
    return [
        Doubt(item.id, item.row, _glance(fields), each.given, each.suggested, each.margin, each.neighbours)
        for each, item, fields in zip(found, items, shown, strict=True)
    ]


def _glance(fields: Mapping[str, object]) -> str:
    """What is shown of an item, on one line of a terminal."""
    line = " ".join(str(value.name if isinstance(value, Path) else value) for value in fields.values())
    line = " ".join(line.split())
    return f"{line[:59]}…" if len(line) > 60 else line


def running_studio(folder: Path, settings: Settings) -> LabelStudio:
    """The Label Studio that the loop uses, if it is running now; `LabelingError` if it is not."""
    if settings.labeling.backend != "label-studio":
        raise ConfigError(f'the loop in {folder} uses "{settings.labeling.backend}", not Label Studio.')
    if settings.labeling.url:
        place = LabelStudio(settings.labeling.url, token=token(settings.labeling), project=settings.labeling.project)
    else:
        studio = LocalStudio.running(folder)
        if studio is None:
            raise LabelingError(f"Label Studio is not running: start the loop with `active-loop run {folder}` first.")
        place = LabelStudio(studio.url, token=studio.token)
    if not place.project and (folder / DATABASE).is_file():
        with closing(Store(folder / DATABASE, readonly=True)) as store:
            if store.events("created"):  # a loop that has no name yet has no project either
                place.find_project(marker=_marker(store))
    return place


def examine(folder: Path, read: Callable[[], Settings]) -> list[Finding]:
    """What is well with a set-up and what is not, from the settings to the order of tasks."""
    try:
        settings = read()
    except ActiveLoopError as error:
        return [Finding(False, str(error))]
    findings = [Finding(True, "loop.toml can be read, and says nothing impossible")]
    try:
        source = open_source(settings.data, folder)
        records = source.records()
        n_test = sum(record.test for record in records)
        n = len(records) - n_test
        tests = f" and {n_test} of {settings.data.test} that test" if n_test else ""
        findings.append(
            Finding(True, f"{settings.data.path}: {n} items{tests}, {source.n_duplicates} exact duplicates merged")
        )
        findings += [Finding(True, notice) for notice in source.notices]
        refuse_unusable(records, settings, make_task(settings.task))
        known = Counter(record.answer for record in records if record.answer)
        proof = None if settings.is_search else proof_of(settings, n, n_test=n_test)
        findings += _examine_target(settings, proof, known)
    except ActiveLoopError as error:
        findings.append(Finding(False, str(error)))
    findings += _examine_folder(folder, settings)
    findings += _examine_command(folder, settings.notify.command)
    if settings.labeling.backend == "label-studio":
        findings += _examine_place(folder, settings)
    return findings


def _examine_target(settings: Settings, proof: Proof | None, known: Mapping[str, int]) -> list[Finding]:
    """A target that no model can be proven to reach, and one that can be reached without learning anything.

    `known` counts the answers that came with the items; a search has no `proof` that could be planned.
    """
    problems = (
        hopeless(settings, proof) if proof else "",
        doubt(make_task(settings.task), settings.target, shares_of(known)),
    )
    return [Finding(False, problem) for problem in problems if problem]


def _examine_folder(folder: Path, settings: Settings) -> list[Finding]:
    """Whether the loop's state can be read, and what settings that are new would do to its claim."""
    try:
        store = Store(folder / DATABASE, readonly=True)
    except FolderError as error:
        started = (folder / DATABASE).exists()
        return [Finding(not started, str(error) if started else "the loop has not started yet")]
    readable = Finding(True, "the loop's database can be read")
    with closing(store):
        try:
            change = foreseen(store, settings)
        except ConfigError as error:
            return [readable, Finding(False, str(error))]
    return [readable, *([Finding(True, change.sentence)] if change else [])]


def _examine_command(folder: Path, command: str) -> list[Finding]:
    """Whether what is to be run can be; `active-loop notify` runs it."""
    if not command:
        return []
    try:
        found = program(command, folder)[0]
    except ConfigError as error:
        return [Finding(False, str(error))]
    return [Finding(True, f"notify.command: {found} can be run; `active-loop notify {folder}` tries it")]


def _examine_place(folder: Path, settings: Settings) -> list[Finding]:
    if not settings.labeling.url and LocalStudio.running(folder) is None:
        return [Finding(True, "Label Studio is started by `active-loop run` on this machine, and is not running now")]
    try:
        source = _examine_source(folder, settings) if settings.data.project else []
        return [*source, *running_studio(folder, settings).check(settings)]
    except ActiveLoopError as error:
        return [Finding(False, str(error))]


def _examine_source(folder: Path, settings: Settings) -> list[Finding]:
    """How the project that the data came from stands beside what was read of it."""
    theirs, n = _elsewhere(settings), len(_tasks_in(folder / settings.data.path, settings))
    name = f'project {settings.data.project}, "{theirs.title}"'
    more = theirs.n_tasks - n
    told = f"; `active-loop import` adds what is new there ({more} more than were read)" if more > 0 else ""
    return [Finding(True, f"{name}: {n} tasks were read from it, and it is never written to{told}")]


def _marker(store: Store, queue: str = "") -> str:
    return f"active-loop{queue} {store.uid()}"


def _adjudicating(settings: Settings) -> Settings:
    """The settings under which the adjudicators' project is made."""
    return replace(settings, name=f"{settings.name[:35]}: differences")
