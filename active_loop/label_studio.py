"""Label Studio as a backend, both directions of its JSON; the only place with its field names.

Polling is the truth here: a webhook of Label Studio is sent once, within a second, and never again, so it only
says "look now". Its task ids are used again after a deletion, so everything is found by the opaque `ask` in a
task's data. Its interface checks nothing of an answer, so an answer is passed on as it was written, and read by
`read_result` and `tasks`. A task carries the shown fields and its ask, never a prediction, a split or a reason.

One `LabelStudio` belongs to one thread. Nothing here keeps state beyond the process: what was recorded before a
restart is told to it by `resume`. The SDK takes more than a second to import, so it is imported on first use.
"""

from __future__ import annotations

import base64
import contextlib
import io
import ipaddress
import json
import math
import mimetypes
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urljoin, urlsplit
from xml.etree import ElementTree

from .domain import Annotation, AnswerKind, Ask, TaskRef
from .errors import ConfigError, LabelingError, TokenError
from .labeling import Publication
from .settings import Settings
from .tasks import BROKEN, UNSURE

SOURCE: Final = "label-studio:"
"""How the source of every annotation from here begins; the number of the project follows."""

CONTROL: Final = "label"
"""Name of the control that people choose with; results of any other control are not ours."""

SECRET_HEADER: Final = "X-Active-Loop-Secret"
"""Header of our webhooks: their only credential, and the mark by which our own stale ones are known."""

EVENTS: Final = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
"""What our webhook asks to be told: annotations, and nothing else."""

_FIELD: Final = r"\$(?=\w)"
_ASK: Final = "ask"
_ROW: Final = "row"
_IMAGE: Final = "image"
_PAGE: Final = 200
_OVERLAP: Final = timedelta(seconds=2)
_TICK: Final = timedelta(microseconds=1)
_START: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SEQUENTIAL: Final = "Sequential sampling"
_READ_PAUSES_S: Final = (0.2, 1.0)
_READ_BACK_PAUSES_S: Final = (0.5, 1.0, 2.0)
_INLINE_BYTES: Final = 200_000
_INLINE_PIXELS: Final = 1024

T = TypeVar("T")


# What people see: the label config, and the data of a task.


def label_config(settings: Settings) -> str:
    """The labelling page as Label Studio's XML: question, shown fields, one choice per class with its key.

    Raises `ConfigError` for a class that Label Studio would take for a field: "$" and a letter or digit.
    """
    for name in settings.task.classes:
        if re.search(_FIELD, name):
            raise ConfigError(f'task.classes: Label Studio takes the "$" in "{name}" for a field; write it otherwise.')
    view = ElementTree.Element("View")
    question = re.sub(_FIELD, "\N{FULLWIDTH DOLLAR SIGN}", settings.task.question or "Which one is it?")
    ElementTree.SubElement(view, "Header", value=question)
    for name, tag, value in _objects(settings):
        # An image takes the whole width otherwise, and pushes the choices below the edge of the window.
        size = {"maxWidth": "640px", "maxHeight": "55vh"} if tag == "Image" else {}
        ElementTree.SubElement(view, tag, {"name": name, "value": value} | size)
    shown = view[1].get("name", "")
    choices = ElementTree.SubElement(
        view, "Choices", name=CONTROL, toName=shown, choice="single", showInline="true", required="true"
    )
    for choice, key in hotkeys(_choices(settings)).items():
        ElementTree.SubElement(choices, "Choice", {"value": choice} | ({"hotkey": key} if key else {}))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def hotkeys(choices: Sequence[str]) -> dict[str, str]:
    """The key that picks each choice, in the order of the choices; "" when the keys are used up.

    A choice that is one letter or digit has itself as its key, "(unsure)" has u and "(broken item)" b where no
    class took them; the others get 1 … 9, 0, then letters. No key is given twice.

    >>> hotkeys(["0", "3", "(unsure)"])
    {'0': '0', '3': '3', '(unsure)': 'u'}
    >>> hotkeys(["ham", "spam"])
    {'ham': '1', 'spam': '2'}
    """
    wishes = {choice: choice.lower() for choice in choices if re.fullmatch(r"[0-9A-Za-z]", choice)}
    wishes |= {choice: key for choice, key in ((UNSURE, "u"), (BROKEN, "b")) if choice in choices}
    keys: dict[str, str] = {}
    for choice, key in wishes.items():
        if key not in keys.values():
            keys[choice] = key
    free = iter([key for key in "1234567890qwertyasdfghjklzxcvnmuiopb" if key not in keys.values()])
    return {choice: keys.get(choice) or next(free, "") for choice in choices}


def _choices(settings: Settings) -> list[str]:
    extras = [(settings.task.unsure, UNSURE), (settings.task.broken, BROKEN)]
    return [*settings.task.classes, *(choice for offered, choice in extras if offered)]


def _objects(settings: Settings) -> list[tuple[str, str, str]]:
    """(name, tag, value) of what is shown, by the kind of data."""
    if settings.data.kind == "table":
        return [(_ROW, "Table", f"${_ROW}")]
    if settings.data.kind == "image":
        return [(_IMAGE, "Image", f"${_IMAGE}")]
    texts = settings.data.show or settings.data.use or ("text",)
    names = _variables(texts)
    return [(names[column], "Text", f"${names[column]}") for column in texts]


def _variables(columns: Iterable[str]) -> dict[str, str]:
    """A name that Label Studio accepts for each text column: the column itself where it is one already."""
    names: dict[str, str] = {}
    for column in sorted(columns):
        plain = re.sub(r"\W", "_", column, flags=re.ASCII)
        plain = plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"
        taken = {_ASK, _ROW, _IMAGE, CONTROL, *names.values()}
        candidates = [plain, *(f"{plain}_{n}" for n in range(2, len(taken) + 3))]
        names[column] = next(name for name in candidates if name not in taken)
    return names


def _same_config(one: str, other: str) -> bool:
    """Whether two label configs mean the same XML."""
    with contextlib.suppress(ElementTree.ParseError):
        return ElementTree.canonicalize(one, strip_text=True) == ElementTree.canonicalize(other, strip_text=True)
    return one == other


def _fields(shown: Mapping[str, Any], address: Callable[[Path], str]) -> dict[str, Any]:
    """The shown fields under the names that the label config gives them; `address` makes one of an image's path."""
    names = _variables(name for name, value in shown.items() if not isinstance(value, Path | Mapping))
    data: dict[str, Any] = {}
    for name, value in shown.items():
        if isinstance(value, Path):
            data[_IMAGE] = address(value)
        elif isinstance(value, Mapping):
            data[_ROW] = {str(column): _plain(cell) for column, cell in value.items()}
        else:
            data[names[name]] = str(_plain(value))
    return data


def export_tasks(
    rows: Sequence[Any], shown: Sequence[Mapping[str, Any]], image_root: Path | None = None
) -> list[dict[str, Any]]:
    """Labels as tasks that Label Studio imports: shown fields, the label as an annotation, the rest as `meta`.

    `rows` are dataclass values with a `label` (None: a task without annotation), `shown` the fields of each. Images
    are named by their path, or by the address that a server with this `image_root` gives them.
    """
    tasks = []
    for row, fields in zip(rows, shown, strict=True):
        data = _fields(fields, lambda path: _served(path, image_root) or str(path))
        results = [choice_result(row.label, next(iter(data), ""))] if row.label is not None else []
        tasks.append({"data": data, "meta": asdict(row), "annotations": [{"result": result} for result in results]})
    return tasks


def _plain(value: object) -> str | int | float | bool:
    """A cell as JSON can hold it; nothing (None, not a number) is the empty string."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value if isinstance(value, str | int | float | bool) else str(value)


def _served(path: Path, image_root: Path | None) -> str:
    """Address of an image that our own server serves; "" if it lies outside the folder that it may serve."""
    absolute = path.resolve()
    if image_root is None or image_root.resolve() not in absolute.parents:
        return ""
    return f"/data/local-files/?d={quote(absolute.relative_to(image_root.resolve().parent).as_posix())}"


def _data_uri(path: Path) -> str:
    """The image itself as an address; one of more than 200 kB is made smaller first (1024 pixels, JPEG)."""
    try:
        content, kind = path.read_bytes(), mimetypes.guess_type(path.name)[0] or "image/png"
        if len(content) > _INLINE_BYTES:
            content, kind = _smaller(content), "image/jpeg"
    except OSError as error:
        raise LabelingError(f"cannot show {path}: {error.strerror or error}; is the image still there?") from error
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _smaller(content: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        image.thumbnail((_INLINE_PIXELS, _INLINE_PIXELS))
        out = io.BytesIO()
        image.convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


# What people answered.


def choice_result(choice: str, shown: str) -> list[dict[str, Any]]:
    """The result of choosing `choice` for the shown object `shown`, as the labelling page would write it."""
    return [{"from_name": CONTROL, "to_name": shown, "type": "choices", "value": {"choices": [choice]}}]


def read_result(raw: str) -> list[str]:
    """The chosen strings in a result (JSON text), for `tasks.Task.read`; [] when nothing was chosen.

    Label Studio stores whatever it is sent. Where our control cannot have written it (broken JSON, another control,
    another type) the one string says so in brackets: it is no class, so it reads as invalid, and nothing is guessed.

    >>> read_result('[{"from_name": "label", "type": "choices", "value": {"choices": ["3"]}}]')
    ['3']
    >>> read_result('[{"from_name": "note", "type": "textarea", "value": {"text": ["3"]}}]')
    ['[not our control: a textarea of "note"]']
    """
    try:
        regions = json.loads(raw)
    except (ValueError, RecursionError):
        return ["[no JSON]"]
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        return ["[no list of regions]"]
    chosen: list[str] = []
    for region in regions:
        if region.get("from_name") != CONTROL or region.get("type") != "choices":
            return [f'[not our control: a {region.get("type")} of "{region.get("from_name")}"]']
        value = region.get("value")
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
            return ["[no list of choices]"]
        chosen += choices
    return chosen


def _moment(value: object) -> datetime:
    """A point in time of Label Studio's as an aware one in UTC."""
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


# The way there and back.


class _Connection:
    """One server and one token: calls through the SDK, with its errors in plain words."""

    def __init__(self, url: str, token: str, timeout_s: float, sleep: Callable[[float], None]) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self.sleep = sleep

    @cached_property
    def _sdk(self) -> Any:
        import label_studio_sdk

        if not self._token:
            raise TokenError(f"no token for Label Studio at {self.url}; take one from Account & Settings there.")
        make: Any = label_studio_sdk.LabelStudio
        http = _http(self.url, self._timeout_s)
        return make(base_url=self.url, api_key=self._token, httpx_client=http, max_retries=0)

    def read(self, doing: str, call: Callable[[Any], T]) -> T:
        """What `call` returns; repeated twice with a pause while the server is only passingly away."""
        for pause_s in _READ_PAUSES_S:
            with contextlib.suppress(_PassingError):
                return self.write(doing, call)
            self.sleep(pause_s)
        return self.write(doing, call)

    def write(self, doing: str, call: Callable[[Any], T]) -> T:
        """What `call` returns; never repeated, because it may have worked although no reply came."""
        import httpx
        from label_studio_sdk.core.api_error import ApiError
        from label_studio_sdk.core.parse_error import ParsingError

        try:
            return call(self._sdk)
        except (ApiError, ParsingError) as error:
            raise refusal(self.url, doing, error.status_code, error.body) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unreachable(self.url, error, self._timeout_s) from error


class _PassingError(LabelingError):
    """The server is away or overloaded: the same call may work in a moment."""


class _MissingError(LabelingError):
    """What was asked for does not exist there."""


def unreachable(url: str, error: Exception, timeout_s: float) -> LabelingError:
    """The error for a server that did not answer, from what the HTTP client raised."""
    import httpx

    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return LabelingError(f'"{url}" is no address of a Label Studio: {error}. Give one like http://localhost:8080.')
    hint = "Is it running? `active-loop doctor` checks the whole set-up."
    if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return LabelingError(f"cannot reach Label Studio at {url}: no answer within {timeout_s:g} s. {hint}")
    refused = isinstance(error, httpx.ConnectError) and "refused" in str(error).lower()
    return _PassingError(f"cannot reach Label Studio at {url}: {'connection refused' if refused else error}. {hint}")


def refusal(url: str, doing: str, status: int | None, body: object) -> LabelingError:
    """The error for a server that answered with something else than what was asked for."""
    what = f"cannot {doing} at {url}: Label Studio answers {status}, {_detail(body)}"
    if status == 401:
        return TokenError(
            f"Label Studio at {url} refuses our token: {_detail(body)} Take a new one from Account & Settings there; "
            "a legacy token works only where the organisation allows them."
        )
    if status == 404:
        return _MissingError(f"{what} Was it deleted there?")
    return _PassingError(what) if status is not None and (status == 429 or status >= 500) else LabelingError(what)


def _detail(body: object) -> str:
    """What a reply says, in one line of at most 300 characters; an HTML page is only named."""
    if isinstance(body, Mapping):
        errors = body.get("validation_errors")
        text = f"{body.get('detail', '')} {json.dumps(errors, ensure_ascii=False) if errors else ''}".strip()
    else:
        text = str(body or "").strip()
    if text.startswith("<"):
        return "with an HTML page; is this the address of a Label Studio?"
    text = " ".join(text.split())
    return f"{text[:300] or 'without a word'}{'' if text.endswith('.') else '.'}"


def _http(url: str, timeout_s: float) -> Any:
    """An HTTP client without keep-alive (41 ms a call faster against its server), past proxies for this machine."""
    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=timeout_s, limits=limits, follow_redirects=True, trust_env=not _is_loopback(url))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` looked at: whether it is well, and what to do where it is not."""

    ok: bool
    text: str


class LabelStudio:
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
        self.project = project
        self._server = _Connection(url, token, timeout_s, sleep)
        self._image_root = image_root
        self._reconcile_every_s = reconcile_every_s
        self._clock = clock
        self._reconciled_at: float | None = None
        self._since = _START
        self._tasks: dict[str, dict[tuple[int, datetime], TaskRef]] = {}
        self._known: dict[str, dict[str, Annotation]] = {}
        self._lies_on: dict[str, TaskRef] = {}
        self._withdrawn: dict[str, Annotation] = {}
        self._people: dict[int, str] = {}

    @property
    def url(self) -> str:
        """Address of the server, without a slash at its end."""
        return self._server.url

    @property
    def source(self) -> str:
        """The source of every annotation that comes from here."""
        return f"{SOURCE}{self.project}"

    @property
    def project_url(self) -> str:
        """Where a person opens the project in a browser."""
        return f"{self.url}/projects/{self.project}"

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

    # publish, retire

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `LabelingBackend`. One import at most, never blindly repeated: after an error only what is there counts.

        If an earlier import made a duplicate after all, answers to either task count for the ask.
        """
        wanted = {publication.ask.id: publication for publication in publications}
        there = self._live(wanted)
        missing = [publication for ask, publication in wanted.items() if ask not in there]
        if not missing:
            return
        rows = [{"data": self._task_data(publication)} for publication in missing]
        doing = f"add {len(rows)} tasks to project {self.project}"
        try:
            self._server.write(doing, lambda sdk: sdk.projects.import_tasks(self.project, request=rows))
        except LabelingError as error:
            self._read_back(wanted, error)
            return
        there = self._live(wanted)
        if len(there) < len(wanted):
            raise LabelingError(f"cannot {doing}: {len(there)} of {len(wanted)} asks are there afterwards; try again.")

    def _task_data(self, publication: Publication) -> dict[str, Any]:
        """What a task carries: the shown fields and the ask, nothing else."""
        fields = _fields(publication.shown, lambda path: _served(path, self._image_root) or _data_uri(path))
        return fields | {_ASK: publication.ask.id}

    def _read_back(self, wanted: Iterable[str], error: LabelingError) -> None:
        """Raise `error` unless every ask turns out to be there: the reply was lost, not the work."""
        asks = set(wanted)
        if isinstance(error, _PassingError):
            pauses_s: tuple[float, ...] = _READ_BACK_PAUSES_S
        else:
            pauses_s = (0.0,)
        for pause_s in pauses_s:
            self._server.sleep(pause_s)
            with contextlib.suppress(_PassingError):
                if asks <= self._live(asks).keys():
                    return
        raise error

    def retire(self, asks: Sequence[Ask]) -> None:
        """See `LabelingBackend`. Deletes tasks without an annotation or a draft: of `asks`, and spare duplicates."""
        retired = {ask.id for ask in asks}
        twice = {ask for ask, refs in self._tasks.items() if len(refs) > 1}
        there = self._live(retired | twice)
        answered = {ask for ask, tasks in there.items() if any(task.annotations for task in tasks)}
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

    def _live(self, asks: Iterable[str]) -> dict[str, list[Any]]:
        """The tasks that are there now, by ask, for those of `asks` that have any."""
        wanted = sorted(set(asks))
        found: dict[str, list[Any]] = {}
        for first in range(0, len(wanted), 100):
            part = wanted[first : first + 100]
            among = {"filter": f"filter:tasks:data.{_ASK}", "operator": "in_list", "type": "List", "value": part}
            for task in self._by_id([among]):
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
        if self._reconciled_at is None or now - self._reconciled_at >= self._reconcile_every_s:
            versions = self._everything()
            self._reconciled_at = now
        else:
            versions = self._changes()
        once = {(version.updated_at, version.id): version for version in versions}
        return [once[key] for key in sorted(once)]

    def _everything(self) -> list[Annotation]:
        since = self._newest_change()
        versions = [version for task in self._by_id([]) for version in self._versions(task)]
        versions += [gone for gone in self._withdrawn.values() if gone not in versions]
        self._since = since
        return versions

    def _changes(self) -> list[Annotation]:
        tasks = list(self._by_change(self._since - _OVERLAP))
        versions = [version for task in tasks for version in self._versions(task)]
        self._since = max([self._since, *(_moment(task.updated_at) for task in tasks)])
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
        at = max(_moment(task.updated_at), old.updated_at + _TICK)
        gone = replace(old, kind=AnswerKind.RETRACTED, updated_at=at, raw="[]", lead_time_s=None, position=None)
        self._withdrawn[gone.id] = gone
        self._remember(gone)
        return gone

    def _annotation(self, raw: Mapping[str, Any], ref: TaskRef) -> Annotation:
        lead_time = raw.get("lead_time")
        return Annotation(
            source=self.source,
            id=str(raw["id"]),
            updated_at=_moment(raw["updated_at"]),
            kind=AnswerKind.SKIPPED if raw.get("was_cancelled") else AnswerKind.SUBMITTED,
            raw=json.dumps(raw.get("result"), ensure_ascii=False),
            person=self._person(raw.get("completed_by")),
            ask=ref.ask,
            created_at=_moment(raw["created_at"]),
            lead_time_s=None if lead_time is None else float(lead_time),
        )

    def _remember(self, annotation: Annotation) -> None:
        of_ask = self._known.setdefault(annotation.ask or "", {})
        known = of_ask.get(annotation.id)
        if known is None or known.updated_at <= annotation.updated_at:
            of_ask[annotation.id] = annotation

    def _note(self, task: Any) -> TaskRef | None:
        """Remember which ask a task stands for; None for a task that is not ours."""
        ask = task.data.get(_ASK) if isinstance(task.data, dict) else None
        if not isinstance(ask, str) or not ask:
            return None
        ref = TaskRef(self.source, int(task.id), _moment(task.created_at), ask)
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

    # listing

    def _by_id(self, filters: list[dict[str, Any]]) -> Iterator[Any]:
        """Tasks by id; the next page starts after the last id, so that a deletion meanwhile hides nothing."""
        after = 0
        while True:
            beyond = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            tasks = self._page([*filters, beyond], "tasks:id")
            yield from tasks
            if len(tasks) < _PAGE:
                return
            after = int(tasks[-1].id)

    def _by_change(self, since: datetime) -> Iterator[Any]:
        """Tasks changed after `since`, oldest change first.

        A task that changes meanwhile moves to the end, so the next page starts at the last change seen; only
        where a whole page shares one time are pages counted.
        """
        page = 1
        while True:
            tasks = self._page([_changed_after(since)], "tasks:updated_at", page)
            yield from tasks
            if len(tasks) < _PAGE:
                return
            last = _moment(tasks[-1].updated_at) - _TICK
            since, page = (last, 1) if last > since else (since, page + 1)

    def _newest_change(self) -> datetime:
        newest = self._page([], "-tasks:updated_at", size=1)
        return _moment(newest[0].updated_at) if newest else _START

    def _page(self, filters: list[dict[str, Any]], order: str, page: int = 1, size: int = _PAGE) -> list[Any]:
        """One page of tasks with their annotations; a page past the end (404) is empty."""
        query = json.dumps({"filters": {"conjunction": "and", "items": filters}, "ordering": [order]})
        doing = f"list the tasks of project {self._existing_project()}"
        try:
            reply = self._server.read(
                doing,
                lambda sdk: sdk.tasks.list(project=self.project, page=page, page_size=size, query=query),
            )
        except _MissingError as error:
            if page > 1 and "Invalid page" in str(error):
                return []
            raise
        return list(reply.items or [])

    def _existing_project(self) -> int:
        if not self.project:
            raise LabelingError(f"no project at {self.url} yet: labeling.project is 0; create one first.")
        return self.project

    # the project and its surroundings

    def create_project(self, settings: Settings, *, marker: str) -> int:
        """The id of this loop's project: the remembered one if it exists, else the one with our marker, else a new one.

        `marker` names the loop (it stands in the project's description), so that a crash between creating and
        remembering makes no second project. A project with our marker is brought up to date with the settings; one
        that somebody else made is never touched. `LabelingError` if a remembered project is gone.
        """
        wanted = _project_fields(settings, marker)
        project = self._project() if self.project else self._marked(marker)
        if project is None:
            project = self._server.write("create a project", lambda sdk: sdk.projects.create(**wanted))
        elif marker in (project.description or "") and not _same_config(project.label_config, wanted["label_config"]):
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
            if isinstance(error, _PassingError | _MissingError):
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
        with contextlib.suppress(_MissingError):
            self._server.write(f"delete webhook {hook}", lambda sdk: sdk.webhooks.delete(hook))

    # doctor

    def check(self, settings: Settings) -> list[Finding]:
        """What is well and what is not, from the server to the order of tasks; stops at what makes the rest moot."""
        findings: list[Finding] = []
        steps = (self._check_server, self._check_token, lambda: self._check_project(settings))
        for step in steps:
            try:
                findings += step()
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
        return [Finding(True, f"token valid ({user.email})")]

    def _check_project(self, settings: Settings) -> list[Finding]:
        project = self._project()
        same = _same_config(project.label_config or "", label_config(settings))
        config = f'project "{project.title}" has our label config'
        differs = (
            f'project "{project.title}": its label config is not the one of loop.toml; answers that our classes do not '
            "know will be set aside. Put back the config, or the classes."
        )
        return [
            Finding(same, config if same else differs),
            *self._check_order(project),
            *self._check_images(),
            *self._check_webhook(),
        ]

    def _check_order(self, project: Any) -> list[Finding]:
        backends = self._server.read("list the ML backends", lambda sdk: sdk.ml.list(project=self.project))
        ours = {
            "sampling": (project.sampling, _SEQUENTIAL),
            "skip_queue": (project.skip_queue, "IGNORE_SKIPPED"),
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


def _changed_after(since: datetime) -> dict[str, Any]:
    # Label Studio fails (500) on any other form of a time than this one.
    value = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": value}


def _project_fields(settings: Settings, marker: str) -> dict[str, Any]:
    """A new project as we want it: our page, our order, no predictions shown, a skip is an answer."""
    return {
        "title": settings.name[:50].ljust(3, "."),
        "description": f"Made by active-loop; {marker}",
        "label_config": label_config(settings),
        "expert_instruction": settings.task.instructions,
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


# One person's seat.


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that Label Studio hands to a person: its id, and the fields that the person is shown."""

    id: int
    shown: Mapping[str, Any]


def sign_up(invite_link: str, email: str, password: str, *, url: str, timeout_s: float = 30.0) -> str:
    """The token of a person who signs up by an invitation, or logs in where the address is known already.

    The link's host may be one that only browsers know; the server is reached at `url`. Raises `LabelingError` with
    the form's own complaint when both are refused.
    """
    import httpx

    url = url.rstrip("/")
    parts = urlsplit(invite_link)
    try:
        with _http(url, timeout_s) as client:
            forms = (f"{url}{parts.path}?{parts.query}", f"{url}/user/login/")
            if not any(_submit(client, form, email, password) for form in forms):
                raise LabelingError(
                    f"cannot sign up {email} at {url}: neither the invitation nor the password is taken."
                )
            reply = client.get(f"{url}/api/current-user/token")
            return str(_body(reply, url, f"fetch the token of {email}")["token"])
    except httpx.HTTPError as error:
        raise unreachable(url, error, timeout_s) from error


def _submit(client: Any, form: str, email: str, password: str) -> bool:
    """Whether a sign-up or login form was accepted: it then sends the browser elsewhere."""
    page = client.get(form)
    fields = {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies.get("csrftoken", "")}
    headers = {"Referer": form}
    if page.status_code != 200:
        return False
    return bool(client.post(form, data=fields, headers=headers, follow_redirects=False).is_redirect)


def _body(reply: Any, url: str, doing: str) -> Any:
    """The JSON of a reply, or the error that it stands for."""
    try:
        body = reply.json()
    except ValueError:
        body = reply.text
    if reply.is_success and not isinstance(body, str):
        return body
    raise refusal(url, doing, reply.status_code, body)


class Annotator:
    """A person's seat at a project: takes the next task and answers it, by the same calls as the labelling page.

    Nothing is repeated by itself. Raises `LabelingError` as the backend does.
    """

    def __init__(self, url: str, *, token: str, project: int, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Token {token}"}
        self._project = project
        self._timeout_s = timeout_s
        self._client = _http(url, timeout_s)

    def next(self) -> OpenTask | None:
        """The task that Label Studio hands out next, or None when there is none now."""
        try:
            task = self._call("GET", f"/api/projects/{self._project}/next", "take the next task")
        except _MissingError as error:
            if "no tasks" in str(error).lower():
                return None
            raise
        return OpenTask(int(task["id"]), {name: value for name, value in task["data"].items() if name != _ASK})

    def answer(self, task: OpenTask, choice: str, *, lead_time_s: float) -> None:
        """Submit `choice` for a task."""
        self._submit(task, {"result": choice_result(choice, self._shown), "lead_time": lead_time_s})

    def skip(self, task: OpenTask, *, lead_time_s: float) -> None:
        """Skip a task."""
        self._submit(task, {"result": [], "was_cancelled": True, "lead_time": lead_time_s})

    def _submit(self, task: OpenTask, annotation: Mapping[str, Any]) -> None:
        self._call("POST", f"/api/tasks/{task.id}/annotations/", f"answer task {task.id}", annotation)

    @cached_property
    def _shown(self) -> str:
        """Name of what the choices are about, as the project's label config has it."""
        project = self._call("GET", f"/api/projects/{self._project}/", f"open project {self._project}")
        return str(project["parsed_label_config"][CONTROL]["to_name"][0])

    def _call(self, method: str, path: str, doing: str, json: Mapping[str, Any] | None = None) -> Any:
        import httpx

        try:
            reply = self._client.request(method, self.url + path, json=json, headers=self._headers)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error, self._timeout_s) from error
        return _body(reply, self.url, doing)
