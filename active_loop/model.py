"""A model to take away: one file that makes predictions of raw rows, wherever it is opened.

The file is a skops archive, not a pickle: it names the types that it holds, and nothing of it is made before all of
them are known to be harmless. In it lie the fitted features and estimators in plain parts, and what was known of the
model when it was written. Opened, it predicts what the loop's own model predicted.

No heavy library is imported before it is used: this module names what the commands show.
"""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .alone import Alone
from .errors import DataError, FolderError
from .extractors import EXTRACTORS, FeatureExtractor, Portable, make_extractor
from .files import one_line, plain_text
from .settings import Settings, TaskSettings
from .tasks import Task, make_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .learner import Carried, CommitteeLearner

MODEL: Final = "model.skops"
"""The file of a loop's model, in the loop's folder."""

_METRICS: Final = ("Euclidean", "Manhattan", "Chebyshev", "Minkowski")

TRUSTED: Final = frozenset(
    {
        "active_loop.learner.bounded.Bounded",
        "active_loop.learner.machines.RBFMachines",
        "active_loop.learner.machines.RBFRegression",
        "active_loop.learner.temperature.Tempered",
        *(f"scipy.sparse._{form}.{form}_{kind}" for form in ("csr", "csc") for kind in ("matrix", "array")),
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        *(f"sklearn.gaussian_process.kernels.{name}" for name in ("ConstantKernel", "Product", "Sum", "RBF", "Matern")),
        "sklearn.gaussian_process.kernels.WhiteKernel",
        *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _METRICS for bits in ("", 32, 64)),
        *(f"sklearn.neighbors._{tree}" for tree in ("kd_tree.KDTree", "ball_tree.BallTree")),
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)
"""Types that a model file may hold, besides those of scikit-learn, numpy and scipy that skops itself trusts."""

_FORMAT: Final = 1
_ABOUT: Final = "about.json"


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which confidence on the model answers alone; below, a person is asked.

    `least` was chosen so that of `n` items out of fold that reach it `right` were predicted rightly, a share that is
    `goal` or more by a lower bound of 90 % (Clopper-Pearson). It is chosen; what is proven of it is in `About.alone`.
    Where there is none, `why` says so.
    """

    least: float | None = None
    goal: float | None = None
    right: int = 0
    n: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far `n` chances lie from what was so: on average over items in bins of a tenth, and as a Brier score."""

    error: float
    brier: float
    n: int


@dataclass(frozen=True, slots=True)
class About:
    """What was known of a model when it was written.

    It learned in `round` of the loop called `loop`, from `n_labels` labels; `what` is "newest" (of the newest round),
    "judged" (of the round that a certificate is about) or "all" (it learned from every answer after a certificate, and
    is certified as well). `columns` are those that it predicts from, of data of this `kind`; `id` names an item.
    `of_classes` holds for each class its name, and right and n of precision and recall, out of fold; `held_out` right
    and n of all. `tested` is the calibration on the test items of the judged round, once the loop has stopped. Of the
    items that reach the threshold `alone` says what is proven, or `unread`, in one word, why nothing is
    (`alone.why_not`).
    `features`, `data` and `model` are fingerprints; `settings` and `instructions` versions.
    """

    loop: str
    kind: str
    columns: tuple[str, ...]
    id: str
    task: Mapping[str, Any]
    extractor: str
    what: str
    round: int
    n_labels: int
    labels: Mapping[str, float]
    model: str
    features: str
    data: str
    settings: int
    instructions: int
    made_at: str
    libraries: Mapping[str, str]
    threshold: Threshold = field(default_factory=Threshold)
    held_out: tuple[int, int] | None = None
    of_classes: tuple[tuple[str, int, int, int, int], ...] = ()
    calibration: Calibration | None = None
    tested: Calibration | None = None
    alone: Alone | None = None
    unread: str = ""
    trusts: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> About:
        """What `as_json` wrote."""
        told = json.loads(text)
        known = {name: told[name] for name in (part.name for part in fields(cls)) if name in told}
        for name in ("calibration", "tested"):
            known[name] = Calibration(**known[name]) if known.get(name) else None
        known["alone"] = Alone.of(known["alone"]) if known.get("alone") else None
        for name in ("columns", "held_out", "trusts"):
            known[name] = tuple(known[name]) if known.get(name) is not None else known.get(name)
        known["of_classes"] = tuple(tuple(each) for each in known["of_classes"])
        return cls(**{**known, "threshold": Threshold(**known["threshold"])})

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def task_made(self) -> Task:
        """The kind of label that it predicts."""
        told = {**self.task, **{name: tuple(self.task[name]) for name in ("classes", "bounds")}}
        return make_task(TaskSettings(**told))


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model says of n rows: a label each, how sure it is (n,), whether a person should be asked (n,), and the
    mean of its members' predictions (n, …). Of numbers there is no confidence, and nothing is asked."""

    labels: tuple[str, ...]
    confidence: NDArray[np.float64] | None
    ask: NDArray[np.bool_] | None
    table: NDArray[np.float64]


class Model:
    """A model that was opened: see `load_model`."""

    def __init__(self, about: About, extractor: FeatureExtractor, learner: Carried) -> None:
        self.about = about
        self.task = about.task_made()
        self._extractor, self._learner = extractor, learner

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.classes

    def predict(self, rows: Any, names: Sequence[object] | None = None) -> pd.DataFrame:
        """A row for each one given: `prediction`, `confidence`, `ask`, and the probability of each class.

        `rows` is a data frame with the model's columns; of texts also a list of them, of images a list of paths, of a
        user's own features an array (n, d). `names` stand in messages for the rows' numbers. Raises `DataError` for
        what cannot be read as such rows.
        """
        import pandas as pd

        said = self.said(rows, names)
        frame = pd.DataFrame({"prediction": list(said.labels)})
        if said.confidence is not None:
            frame["confidence"] = said.confidence
        if said.ask is not None:
            frame["ask"] = said.ask
        for place, name in enumerate(self.classes):
            frame[f"p({name})"] = said.table[:, place]
        return frame

    def said(self, rows: Any, names: Sequence[object] | None = None) -> Predicted:
        """The same as arrays."""
        from .features import encoded

        content = self._content(rows)
        n = len(content)
        if not n:
            return Predicted((), None, None, self._empty())
        X = encoded(self._extractor, content, range(n) if names is None else names)
        table = self._learner.member_predictions(X).mean(axis=0)
        sure, least = confidence(self.task, table), self.about.threshold.least
        ask = None if sure is None or least is None else sure < least
        return Predicted(tuple(self.task.decode(self.task.decide(table))), sure, ask, table)

    def _empty(self) -> NDArray[np.float64]:
        import numpy as np

        return np.empty((0, len(self.classes)) if self.classes else 0)

    def _content(self, rows: Any) -> Any:
        """What the extractor is given of these rows."""
        if self.about.extractor == "embeddings":
            return self._own(rows)
        if not hasattr(rows, "columns"):
            if self.about.kind == "text":
                return [plain_text(row) for row in rows]
            if self.about.kind == "image":
                return [Path(row) for row in rows]
            raise DataError("rows of a table must come as a data frame, with the names of its columns.")
        missing = [name for name in self.about.columns if name not in rows.columns]
        if missing:
            raise DataError(missing_columns(missing, [str(name) for name in rows.columns]))
        if self.about.kind == "table":
            return rows[list(self.about.columns)]
        columns = [[plain_text(value) for value in rows[name].tolist()] for name in self.about.columns]
        if self.about.kind == "image":
            return [Path(name) for name in columns[0]]
        return ["\n".join(parts) for parts in zip(*columns, strict=True)]

    def _own(self, rows: Any) -> Any:
        import numpy as np

        array = np.asarray(rows)
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise DataError(
                f"this model predicts from your own features: give numbers of the shape (rows, numbers), not "
                f"{array.shape} of {array.dtype}."
            )
        return array


def missing_columns(missing: Iterable[str], there: Iterable[str]) -> str:
    """What is wrong with rows that lack columns, in a sentence."""
    lacks = ", ".join(f'"{name}"' for name in missing)
    return f"the model predicts from the columns {lacks}, which are missing; there are: {', '.join(there) or 'none'}."


def confidence(task: Task, table: NDArray[np.floating[Any]]) -> NDArray[np.float64] | None:
    """How sure a model is of what it predicts (n,): the probability of the class; of several labels that of the label
    of which it is least sure. None for numbers."""
    import numpy as np

    if task.kind == "number":
        return None
    sides = np.maximum(table, 1 - table) if task.kind == "multi_label" else table
    best: NDArray[np.float64] = sides.min(axis=1) if task.kind == "multi_label" else sides.max(axis=1)
    return best


def libraries() -> dict[str, str]:
    """The versions that a model file depends on, as they are here."""
    names = ("active-loop", "numpy", "scipy", "scikit-learn", "pandas", "skops")
    return {name: metadata.version(name) for name in names}


def own_types(settings: Settings) -> tuple[str, ...]:
    """The classes of the user's own that the settings of a loop name, as a model file names them."""
    return tuple(name.replace(":", ".") for name in (*settings.model.names, settings.features.use) if ":" in name)


# the file


def write_model(path: Path, about: About, extractor: FeatureExtractor, learner: CommitteeLearner) -> tuple[str, ...]:
    """Write a model, whole or not at all; returns the types in it that `load_model` has to be told to trust.

    These are the user's own: a model or features that the settings name as `module:Class`. Raises `FolderError` where
    nothing can be written, and `DataError` for a model of the user's that no such file can hold.
    """
    import skops.io

    from .learner import taken_apart

    arrays: list[Any] = []
    kept = {"format": _FORMAT, "learner": taken_apart(learner)}
    try:
        if isinstance(extractor, Portable) and about.extractor in EXTRACTORS:
            kept |= {
                "state": json.dumps(extractor.state(), default=lambda array: _put(arrays, array)),
                "arrays": arrays,
            }
        else:
            kept["extractor"] = extractor
        body = skops.io.dumps(kept, compression=zipfile.ZIP_DEFLATED)
        trusts = tuple(name for name in skops.io.get_untrusted_types(data=body) if name not in TRUSTED)
    except Exception as error:  # it is the user's own object that is asked here, and whatever it raises is said
        raise DataError(f"cannot write the model to a file: {type(error).__name__}: {one_line(error)}.") from error
    _write(path, _with_about(body, about))
    return trusts


def _with_about(body: bytes, about: About) -> bytes:
    """The archive with what is said of the model in a file of its own, which can be read without making anything."""
    archive = io.BytesIO(body)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(_ABOUT, about.as_json())
    return archive.getvalue()


def _put(arrays: list[Any], array: Any) -> dict[str, int]:
    arrays.append(array)
    return {"array": len(arrays) - 1}


def _write(path: Path, body: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(body)
        draft.replace(path)
    except OSError as error:
        raise FolderError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def load_model(path: Path | str, trust: Iterable[str] = ()) -> Model:
    """The model in a file that `active-loop model` wrote.

    A file that holds any other type than those of `TRUSTED`, those of skops, and those in `trust` ("module.Class") is
    refused, and nothing of it is made or run. Raises `DataError` for such a file, and for one that is none or that the
    libraries here cannot read; warns where it was written by others, but could be read.
    """
    path = Path(path)
    body = _checked(path, frozenset(trust))
    try:
        kept, about = _loaded(body), _about(body)
    except Exception as error:  # what is wrong with a damaged or foreign file shows in any of many ways
        raise DataError(
            f"cannot read the model {path} with scikit-learn {metadata.version('scikit-learn')}: "
            f"{type(error).__name__}: {one_line(error)}; make it again with `active-loop model`."
        ) from error
    _warn(path, about)
    return _opened(path, kept, about)


def about_model(path: Path) -> About | None:
    """What is said of the model in a file; None if there is none, or it cannot be read. Nothing else is opened."""
    with suppress(OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError):
        return _about(path.read_bytes())
    return None


def _about(body: bytes) -> About:
    with zipfile.ZipFile(io.BytesIO(body)) as opened:
        return About.of(opened.read(_ABOUT).decode())


def _checked(path: Path, trust: frozenset[str]) -> bytes:
    """The file's bytes, if all types that it names are known."""
    import skops.io

    try:
        body = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the model {path}: {error.strerror or error}.") from error
    try:
        names = skops.io.get_untrusted_types(data=body)
    except Exception as error:  # see above; a pickle ends here, too: it is no archive
        raise DataError(
            f"{path} is no model of active-loop: it is not a skops file; make one with `active-loop model`."
        ) from error
    strange = [name for name in names if name not in TRUSTED | trust]
    if strange:
        raise DataError(
            f'{path} was not opened: it holds the type "{strange[0]}", which is not known to be harmless. If it is '
            "your own class, and the file comes from you, name it with --trust (in Python: trust=[…])."
        )
    return body


def _loaded(body: bytes) -> dict[str, Any]:
    import skops.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, one for each estimator; ours says it once
        kept = skops.io.loads(body, trusted=skops.io.get_untrusted_types(data=body))
    if not isinstance(kept, dict) or kept.get("format") != _FORMAT:
        raise ValueError("it is no model of active-loop, or one of another version")
    return kept


def _warn(path: Path, about: About) -> None:
    """Say once that other libraries wrote the file: the same model may then predict a little differently."""
    here = libraries()
    other = [
        f"{name} {version} (here {here[name]})"
        for name, version in about.libraries.items()
        if name in here and here[name] != version
    ]
    if other:
        warnings.warn(f"{path} was written with {', '.join(other)}: predictions may differ.", stacklevel=3)


def _opened(path: Path, kept: Mapping[str, Any], about: About) -> Model:
    from .learner import put_together

    try:
        extractor = kept.get("extractor") or _extractor(kept, about)
        return Model(about, extractor, put_together(kept["learner"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the model {path} is damaged: {type(error).__name__}: {one_line(error)}; make it again."
        ) from error


def _extractor(kept: Mapping[str, Any], about: About) -> FeatureExtractor:
    arrays = kept["arrays"]

    def taken(found: dict[str, Any]) -> Any:
        return arrays[found["array"]] if found.keys() == {"array"} else found

    if about.extractor not in EXTRACTORS:  # any other name would be imported
        raise ValueError(f'it says nothing of the features "{about.extractor}"')
    made: Any = make_extractor(about.extractor, about.kind)
    restored: FeatureExtractor = made.restore(json.loads(kept["state"], object_hook=taken))
    return restored
