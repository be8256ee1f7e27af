"""MLflow brought up to what the store holds: a run for each round, and the model to take away as a registered one.

A run is found by the loop's own name and the round's number, and only what it lacks is sent: so this may be done at any
time and as often as one likes, a kill anywhere leaves nothing wrong, and what one attempt could not do the next one
does. The loop is only read, and nobody but MLflow is called: its own reports of how it is used are switched off.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from .errors import ConfigError, FolderBusyError, TrackingError
from .files import one_line
from .model import MODEL, About, Model, load_model
from .settings import MlflowSettings, Settings
from .store import FolderLock, Store
from .tracked import FINGERPRINT, LOOP, ROUND, Tracked, certificate, tracked

_RECORD: Final = "active_loop.record"
"""Tag that says which record lies beside a run."""

_ALWAYS: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A request that is sent twice could make two runs; the next attempt looks first for what is there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
_UNLESS_SAID: Final[Mapping[str, str]] = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

_EXAMPLES: Final = 20
"""Rows by which is seen of which types a model's predictions are."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was sent: the rounds that are new there, and those of which more is known now; of `n_rounds` in all.

    `problem` says what the server did not take, "" where it took everything.
    """

    experiment: str
    made: tuple[int, ...]
    completed: tuple[int, ...]
    n_rounds: int
    problem: str = ""

    @property
    def sentence(self) -> str:
        """What was sent, for people."""
        sent = f"{len(self.made)} runs made and {len(self.completed)} completed, {self.n_rounds} in all"
        return f"{self.experiment}: {sent}. {self.problem}".rstrip()


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model; `new` if it was made now."""

    name: str
    number: str
    new: bool
    about: About

    @property
    def sentence(self) -> str:
        """Which version it is, for people."""
        made = "was registered" if self.new else "had been registered already; its tags are those of now"
        return f"{self.name}, version {self.number}: the model of round {self.about.round} {made}."


def bring_up_to_date(store: Store, settings: Settings, folder: Path) -> Told:
    """Have every ranked round in MLflow with all that is known of it; a run that was deleted there stays deleted.

    Raises `TrackingError` for a server that cannot be reached or refuses, and `FolderBusyError` while another process
    does the same for this loop.
    """
    rounds, name = tracked(store), _experiment_name(settings)
    made, completed, problem = [], [], ""
    with _alone(folder), _server(settings.mlflow) as client:
        experiment = _experiment(client, name)
        known = _known(client, experiment, store.uid())
        for each in rounds:
            run = known.get(each.number) or _made(client, experiment, each)
            if run.info.lifecycle_stage != "active":
                continue
            record, problem = _with_record(client, run, each, problem)
            sent = _completed(client, run, each, record)
            if run.info.status != "FINISHED":
                client.set_terminated(run.info.run_id, end_time=_ms(each.ended))
            if each.number not in known:
                made.append(each.number)
            elif sent:
                completed.append(each.number)
    return Told(name, tuple(made), tuple(completed), len(rounds), problem)


def _experiment_name(settings: Settings) -> str:
    return settings.mlflow.experiment or settings.name


def _experiment(client: Any, name: str) -> str:
    """The number of the experiment, made if there is none of this name."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f'the experiment "{name}" was deleted in MLflow: restore it there, or name another in mlflow.experiment.'
        )
    return str(found.experiment_id)


def _known(client: Any, experiment: str, uid: str) -> dict[int, Any]:
    """The runs of this loop by round, deleted ones too; of several the oldest."""
    from mlflow.entities import ViewType

    found: dict[int, Any] = {}
    these, order = f"tags.`{LOOP}` = '{uid}'", ["attributes.start_time ASC"]
    token = None
    while True:
        page = client.search_runs([experiment], these, ViewType.ALL, order_by=order, page_token=token)
        for run in page:
            found.setdefault(int(run.data.tags[ROUND]), run)
        token = page.token
        if not token:
            return found


def _made(client: Any, experiment: str, told: Tracked) -> Any:
    """A new run, which carries from its first moment what it is found by."""
    tags = {name: told.tags[name] for name in (LOOP, ROUND)}
    return client.create_run(experiment, start_time=_ms(told.began), tags=tags, run_name=told.name)


def _completed(client: Any, run: Any, told: Tracked, record: Mapping[str, str]) -> bool:
    """Send what the run lacks, the tag of its record too; whether there was anything."""
    from mlflow.entities import Metric, Param, RunTag

    data = run.data
    # A value that replaces another one has to come later.
    at = {name: time.time() if name in data.metrics else told.ended.timestamp() for name in told.metrics}
    metrics = [
        Metric(name, value, int(1000 * at[name]), told.step)
        for name, value in told.metrics.items()
        if not math.isclose(data.metrics.get(name, math.nan), value, rel_tol=1e-9, abs_tol=1e-12)
    ]
    params = [Param(name, value) for name, value in told.params.items() if name not in data.params]
    tags = [RunTag(name, value) for name, value in {**told.tags, **record}.items() if data.tags.get(name) != value]
    if not (metrics or params or tags):
        return False
    client.log_batch(run.info.run_id, metrics, params, tags)
    return True


def _with_record(client: Any, run: Any, told: Tracked, problem: str) -> tuple[dict[str, str], str]:
    """Put the round's record beside its run: the tag that says so, and what is wrong where the server takes no files.

    After one `problem` no other file is tried.
    """
    digest = hashlib.blake2b(told.record.encode(), digest_size=8).hexdigest()
    if problem or run.data.tags.get(_RECORD) == digest:
        return {}, problem
    try:
        client.log_text(run.info.run_id, told.record, "round.json")
    except Exception as error:  # noqa: BLE001  whatever stands between here and its files: the figures can be told
        return {}, f"It did not take the record of round {told.number} as a file: {one_line(error)}"
    return {_RECORD: digest}, ""


def _ms(at: datetime) -> int:
    return int(1000 * at.timestamp())


# the server


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two that look for the same run at the same time would both make it."""
    lock = FolderLock(folder, "mlflow.lock")
    try:
        lock.__enter__()
    except FolderBusyError as error:
        raise FolderBusyError(
            f"another process is telling MLflow of the loop in {folder}: try again in a moment."
        ) from error
    try:
        yield
    finally:
        lock.__exit__()


@contextmanager
def _server(told: MlflowSettings) -> Iterator[Any]:
    """A client of the server; what goes wrong there becomes one sentence."""
    if not told.uri:
        raise ConfigError("mlflow.uri is empty: set it to the address of an MLflow server, in [mlflow] of loop.toml.")
    os.environ.update(_ALWAYS)
    for name, value in _UNLESS_SAID.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
    except ImportError as error:
        raise ConfigError(
            'mlflow.uri is set, and MLflow is not installed: run `pip install "active-loop[mlflow]"`.'
        ) from error
    try:
        yield mlflow.MlflowClient(told.uri, told.uri)
    except (mlflow.MlflowException, OSError) as error:
        raise TrackingError(f"MLflow at {told.uri} cannot be told: {one_line(error)}") from error


# the model


def register(store: Store, settings: Settings, folder: Path) -> Version:
    """Have the model to take away among the versions of `mlflow.register`, once, its certificate's state as tags.

    Its round has to be in MLflow. Raises what `take_away` and `bring_up_to_date` raise.
    """
    from .takeaway import take_away  # with all that trains models: who tells of rounds does not wait for that

    name = settings.mlflow.register
    if not name:
        raise ConfigError(
            "mlflow.register is empty: set it to the name of a registered model, in [mlflow] of loop.toml."
        )
    with tempfile.TemporaryDirectory(prefix="active-loop-") as place:
        taken = take_away(store, folder, Path(place) / MODEL)
        tags = certificate(store, taken.about)
        with _alone(folder), _server(settings.mlflow) as client:
            number = _version(client, name, tags[FINGERPRINT])
            new = not number
            if new:
                _save(load_model(taken.path, taken.trusts), taken.path, settings, folder)
                number = _added(client, settings, Path(place) / _SAVED, tags)
            for key, value in tags.items():
                client.set_model_version_tag(name, number, key, value)
    return Version(name, number, new, taken.about)


_SAVED: Final = "saved"


def _version(client: Any, name: str, fingerprint: str) -> str:
    """The version that this model is; "" if it is none yet."""
    for version in client.search_model_versions(f"name='{name}'"):
        if version.tags.get(FINGERPRINT) == fingerprint:
            return str(version.version)
    return ""


def _save(model: Model, path: Path, settings: Settings, folder: Path) -> None:
    """Write the model beside `path` as MLflow keeps models, without an example of what it predicts from."""
    with warnings.catch_warnings():
        for said in _KNOWN:
            warnings.filterwarnings("ignore", f".*{said}", UserWarning)
        from mlflow.pyfunc import save_model

        save_model(
            str(path.parent / _SAVED),
            loader_module="active_loop.registered",
            data_path=str(path),
            pip_requirements=[f"{name}=={version}" for name, version in model.about.libraries.items()],
            signature=_signature(model, settings, folder),
            model_config={"trust": []},
        )


_KNOWN: Final = ("Any type hint is inferred as AnyType", "An input example was not provided")
"""What MLflow 3.17 warns of: its own type hints, when it is imported, and what is so on purpose."""


def _added(client: Any, settings: Settings, saved: Path, tags: Mapping[str, str]) -> str:
    """Put what was saved beside the run of the model's round, and make it a version; its number."""
    name = settings.mlflow.register
    experiment = _experiment(client, _experiment_name(settings))
    run = _known(client, experiment, tags[LOOP])[int(tags[ROUND])].info
    below = f"model-{tags[FINGERPRINT][:12]}"
    client.log_artifacts(run.run_id, str(saved), below)
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    return str(client.create_model_version(name, f"{run.artifact_uri}/{below}", run.run_id, dict(tags)).version)


def _signature(model: Model, settings: Settings, folder: Path) -> Any:
    """The columns that the model predicts from, whatever their types, and the types of what it gives; no row is kept.

    A cell means the same to the model as text and as a number, so a type would only refuse what can be read.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    from .features import content_of
    from .sources import open_source

    source = open_source(settings.data, folder)
    rows = [record.row for record in source.records() if not record.test][:_EXAMPLES]
    content = content_of(source, model.about.extractor)(rows)
    given = infer_signature(None, model.predict(content)).outputs
    if model.about.extractor == "embeddings":
        return ModelSignature(infer_signature(content).inputs, given)
    anything: Any = AnyType
    return ModelSignature(Schema([ColSpec(anything(), name) for name in model.about.columns]), given)
