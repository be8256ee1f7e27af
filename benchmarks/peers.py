"""One library at work: a process that prepares a job, lets the library choose, and says what that took.

    PYTHON benchmarks/peers.py modAL 12000     (the library, and the memory it may map, in MB)

It reads one JSON command a line: `{"prepare": {...}}` makes the input of a job, which is not timed, and
`{"choose": true}` lets the library choose once. Models are stubs that hand out arrays made beforehand, so that only the
library's own work is timed, from these arrays to the chosen rows. The process runs in the library's own environment:
besides the standard library it may import numpy, and what the one function of its library needs.
"""

from __future__ import annotations

import collections
import collections.abc
import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

LABELLED = 100
CLUSTERS = 50
MEMBERS = 5
OWN_PACKAGES = ("active-loop", "modAL-python", "scikit-activeml", "small-text", "alipy", "baal")
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", *OWN_PACKAGES)

Choose = Callable[[], Any]
"""Lets a library choose once: the rows of the pool, or (rows, utilities) where ours means the same by utilities."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for: `k` of `n` rows, by one strategy.

    `given` names what the library finds ready: "proba" (n, C), "map" (the same in a file), "members" (probabilities of
    5 members), "votes" (what the members voted for, and their probabilities), "X" (features (n, d) of pool and
    labelled rows), "X proba" (both).
    """

    strategy: str
    n: int
    given: str = "proba"
    classes: int = 10
    d: int = 0
    k: int = 100
    file: str = ""


@dataclass(slots=True)
class Data:
    """The arrays of a job; what the job has no use for is None."""

    proba: Any = None
    members: Any = None
    X: Any = None
    labelled: Any = None
    labels: Any = None

    def arrays(self) -> list[Any]:
        members = [] if self.members is None else list(self.members)
        return [array for array in (self.proba, *members, self.X, self.labelled) if array is not None]


def probabilities(n: int, classes: int, seed: int = 0) -> Any:
    """(n, classes) float64: squares of exponential draws, divided by their sum; some rows are sure, most are not."""
    proba = np.random.default_rng([1, seed]).standard_exponential((n, classes))
    np.square(proba, out=proba)
    proba /= proba.sum(axis=1, keepdims=True)
    return proba


def features(n: int, d: int) -> Any:
    """(n, d) float32: clusters of unit variance whose centres are drawn with a standard deviation of 2."""
    rng = np.random.default_rng(2)
    centres = rng.normal(scale=2, size=(CLUSTERS, d)).astype(np.float32)
    X = rng.standard_normal((n, d), dtype=np.float32)
    X += centres[rng.integers(CLUSTERS, size=n)]
    return X


def write_map(path: Path, n: int, classes: int) -> None:
    """Probabilities (n, classes) float64 as a file of numbers, a million rows at a time."""
    with path.open("wb") as file:
        for seed, start in enumerate(range(0, n, 1_000_000)):
            probabilities(min(1_000_000, n - start), classes, seed).tofile(file)


def make_data(job: Job) -> Data:
    """The input of a job: the same for every library."""
    data = Data(labels=np.arange(LABELLED) % job.classes)
    if job.given == "map":
        data.proba = np.memmap(job.file, dtype=np.float64, mode="r", shape=(job.n, job.classes))
    elif job.given in ("members", "votes"):
        data.members = np.stack([probabilities(job.n, job.classes, member) for member in range(MEMBERS)])
    elif "proba" in job.given:
        data.proba = probabilities(job.n, job.classes)
    if "X" in job.given:
        X = features(LABELLED + job.n, job.d)
        data.labelled, data.X = X[:LABELLED].copy(), X[LABELLED:]
    return data


def numbered(n: int) -> Any:
    """(n, 1) features for strategies that look at none: the number of the row."""
    return np.arange(n, dtype=np.float32)[:, None]


class Model:
    """A fitted classifier as modAL, small-text and our own modAL door see one; it predicts what it was given."""

    on_transformed = False

    def __init__(self, proba: Any, labelled_X: Any = None) -> None:
        self.proba = proba
        self.X_training = labelled_X
        self.classes_ = np.arange(proba.shape[1])

    def predict_proba(self, X: Any) -> Any:
        return self.proba


class Committee:
    """A fitted committee as modAL sees one: probabilities (n, members, C), and the votes (n, members)."""

    def __init__(self, members: Any, votes_ready: bool) -> None:
        self.by_row = np.ascontiguousarray(members.swapaxes(0, 1))
        self.votes = self.by_row.argmax(axis=2) if votes_ready else None
        self.classes_ = np.arange(members.shape[2])

    def __len__(self) -> int:
        return self.by_row.shape[1]

    def __iter__(self) -> Any:
        return iter(range(len(self)))

    def vote(self, X: Any) -> Any:
        return self.by_row.argmax(axis=2) if self.votes is None else self.votes

    def vote_proba(self, X: Any) -> Any:
        return self.by_row

    def predict_proba(self, X: Any) -> Any:
        return self.by_row.mean(axis=1)


# libraries: each takes a job and its data, and gives what is timed


def active_loop(job: Job, data: Data) -> Choose:
    """Ours: a new view and a query; for votes, through the door that modAL calls."""
    from query_strategies import PoolView, make

    strategy = make(job.strategy)
    if job.given == "votes":
        committee, rows = Committee(data.members, votes_ready=True), numbered(job.n)
        data.members = None
        return lambda: strategy(committee, rows, n_instances=job.k)[0]
    ids = np.arange(job.n, dtype=np.uint64)
    more = {} if data.X is None else {"labelled_X": data.labelled, "labelled_y": data.labels}
    proba = data.proba if data.members is None else data.members

    def choose() -> Any:
        view = (
            PoolView(ids, data.X, **more) if proba is None else PoolView.from_predictions(ids, proba, X=data.X, **more)
        )
        selection = strategy.query(view, job.k, np.random.default_rng(0))
        return selection.rows, selection.utilities

    return choose


def plain_numpy(job: Job, data: Data) -> Choose:
    """What the memory of the machine allows: one sum over the probabilities, or one product with X per pick."""
    vector = np.ones(job.d, dtype=np.float32)

    def read() -> Any:
        if data.X is None:
            data.proba.sum()
        else:
            for _ in range(job.k):
                data.X @ vector
        return []

    return read


def modal(job: Job, data: Data) -> Choose:
    from modAL import batch, density, disagreement, uncertainty
    from modAL.utils.selection import multi_argmax

    query = {
        "least_confidence": uncertainty.uncertainty_sampling,
        "margin": uncertainty.margin_sampling,
        "entropy": uncertainty.entropy_sampling,
        "vote_entropy": disagreement.vote_entropy_sampling,
        "consensus_entropy": disagreement.consensus_entropy_sampling,
        "kl_max": disagreement.max_disagreement_sampling,
        "ranked_batch": batch.uncertainty_batch_sampling,
    }
    if job.strategy == "density":

        def dense() -> Any:
            utilities = (1 - uncertainty._proba_margin(data.proba)) * density.information_density(data.X)
            return multi_argmax(utilities, job.k)

        return dense
    X = numbered(job.n) if data.X is None else data.X
    if data.members is None:
        learner: Any = Model(data.proba, data.labelled)
    else:
        learner = Committee(data.members, votes_ready=job.given == "votes")
        data.members = None
    return lambda: query[job.strategy](learner, X, n_instances=job.k)[0]


def scikit_activeml(job: Job, data: Data) -> Choose:
    from skactiveml import pool
    from skactiveml.base import SkactivemlClassifier

    class Fitted(SkactivemlClassifier):  # type: ignore[misc]
        """A fitted classifier; scikit-activeml takes no other class."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any) -> Any:
            return self.proba

        def predict(self, X: Any) -> Any:
            return self.proba.argmax(axis=1) if self.voted is None else self.voted

    def fitted(proba: Any) -> Any:
        model = Fitted(classes=list(range(job.classes)))
        model.proba, model.classes_ = proba, np.arange(job.classes)
        model.voted = proba.argmax(axis=1) if job.given == "votes" else None
        return model

    X = numbered(LABELLED + job.n) if data.X is None else np.concatenate([data.labelled, data.X])
    y = np.concatenate([data.labels, np.full(job.n, np.nan)])
    one = {} if data.proba is None else {"clf": fitted(data.proba), "fit_clf": False}
    several = {} if data.members is None else {"ensemble": [fitted(m) for m in data.members], "fit_ensemble": False}
    strategy, models = {
        "least_confidence": lambda: (pool.UncertaintySampling(method="least_confident", random_state=0), one),
        "margin": lambda: (pool.UncertaintySampling(method="margin_sampling", random_state=0), one),
        "entropy": lambda: (pool.UncertaintySampling(method="entropy", random_state=0), one),
        "vote_entropy": lambda: (pool.QueryByCommittee(method="vote_entropy", random_state=0), several),
        "kl_mean": lambda: (pool.GreedyBALD(random_state=0), several),
        "k_center": lambda: (pool.CoreSet(random_state=0), {}),
        "badge": lambda: (pool.Badge(random_state=0), one),
        "typiclust": lambda: (pool.TypiClust(random_state=0), {}),
        "max_herding": lambda: (pool.MaxHerding(random_state=0), {}),
    }[job.strategy]()
    return lambda: np.asarray(strategy.query(X=X, y=y, batch_size=job.k, **models)) - LABELLED


def small_text(job: Job, data: Data) -> Choose:
    """Its models predict labelled and unlabelled rows together, so it gets 100 rows more than the others."""
    from small_text import query_strategies as of

    class Texts:
        """As much of a data set as the strategies look at."""

        is_multi_label = False

        def __getitem__(self, rows: Any) -> Any:
            return self

    pool, labelled = np.arange(job.n), np.arange(job.n, job.n + LABELLED)
    if job.strategy == "k_center":
        embedded = {"embeddings": np.concatenate([data.X, data.labelled]), "pbar": None}
        greedy = of.GreedyCoreset(distance_metric="euclidean", normalize=False)
        return lambda: greedy.query(None, Texts(), pool, labelled, data.labels, n=job.k, **embedded)
    named = {"least_confidence": of.LeastConfidence, "margin": of.BreakingTies, "entropy": of.PredictionEntropy}
    strategy, model = named[job.strategy](), Model(np.concatenate([data.proba, data.proba[:LABELLED]]))
    return lambda: strategy.query(model, Texts(), pool, labelled, data.labels, n=job.k)


def alipy(job: Job, data: Data) -> Choose:
    """Without `collections.Iterable`, which Python dropped in 3.10, most of it raises."""
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
    from alipy import query_strategy as of

    if job.strategy == "k_center":
        X = np.concatenate([data.labelled, data.X])
        rows, y = np.arange(len(X)), np.zeros(len(X), dtype=np.int64)

        def choose() -> Any:
            greedy = of.QueryInstanceCoresetGreedy(X, y, rows)
            return np.asarray(greedy.select(rows[:LABELLED], rows[LABELLED:], batch_size=job.k)) - LABELLED

        return choose
    measure = {"least_confidence": "least_confident"}.get(job.strategy, job.strategy)
    strategy, rows = of.QueryInstanceUncertainty(measure=measure), np.arange(job.n)
    return lambda: strategy.select_by_prediction_mat(rows, data.proba, batch_size=job.k)


def baal(job: Job, data: Data) -> Choose:
    """It ranks the whole pool; members are the last axis, as its draws of a network are."""
    import torch
    from baal.active import heuristics as of

    torch.set_num_threads(1)
    named = {"least_confidence": of.Certainty, "margin": of.Margin, "entropy": of.Entropy, "kl_mean": of.BALD}
    predictions = data.proba if data.members is None else np.ascontiguousarray(data.members.transpose(1, 2, 0))
    data.members = None
    strategy = named[job.strategy]()
    return lambda: strategy(predictions)[: job.k]


LIBRARIES: dict[str, Callable[[Job, Data], Choose]] = {
    "active-loop": active_loop,
    "numpy": plain_numpy,
    "modAL": modal,
    "scikit-activeml": scikit_activeml,
    "small-text": small_text,
    "ALiPy": alipy,
    "Baal": baal,
}


# the process


def status_mb(name: str, process: int | str = "self") -> float:
    """A size from the status of a process (VmRSS, VmHWM, RssAnon), in millions of bytes; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name + ":")), 0.0)


def settle() -> None:
    """Gives freed memory back to the system and lets the peak start anew, so that it can be told what a call adds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def prepare(library: str, job: Job) -> tuple[Choose, dict[str, Any]]:
    """Makes the data of a job, after a small one of its kind was run once: imports and first calls are not timed."""
    small = replace(job, n=1000, k=min(5, job.k), given="proba" if job.given == "map" else job.given)
    LIBRARIES[library](small, make_data(small))()
    data = make_data(job)
    # How the libraries differ must not be the numbers: the checksum of every array is compared.
    checksums = [zlib.crc32(np.ascontiguousarray(array).data) for array in data.arrays()]
    read = [np.empty((job.n, MEMBERS), dtype=np.int64)] if job.given == "votes" else data.arrays()
    input_mb = sum(array.nbytes for array in read) / 1e6
    return LIBRARIES[library](job, data), {"input": checksums, "input_mb": input_mb}


def choose_once(choose: Choose, settled: bool) -> dict[str, Any]:
    """One timed call: seconds, MB that its peak lies above what was there before, and the rows.

    Its MB count only when it was `settled` before; its seconds only when not, since memory that was given back has to
    be fetched anew.
    """
    if settled:
        settle()
    before = status_mb("VmRSS")
    began = time.perf_counter()
    chosen = choose()
    seconds = time.perf_counter() - began
    extra = max(0.0, status_mb("VmHWM") - before)
    rows, utilities = chosen if isinstance(chosen, tuple) else (chosen, [])
    found = {"rows": np.asarray(rows).tolist(), "utilities": np.asarray(utilities).tolist()}
    return {"seconds": seconds, "extra_mb": extra, **found}


def versions() -> dict[str, str]:
    """The versions of Python and of what is installed of the packages that matter."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def said(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()).partition(" Known: ")[0] or "no message"
    kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    return f"{kind}: {text[:200]}"


def main() -> None:
    library, cap_mb = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (cap_mb * 1_000_000, cap_mb * 1_000_000))
    warnings.simplefilter("ignore")
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    choose: Choose | None = None
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any]
        try:
            if "prepare" in command:
                choose = None
                gc.collect()
                choose, answer = prepare(library, Job(**command["prepare"]))
            elif "versions" in command:
                answer = {"versions": versions()}
            elif choose is not None:
                answer = choose_once(choose, command["choose"] == "settled")
            else:
                answer = {"failed": "nothing is prepared"}
        except Exception as error:  # noqa: BLE001 - how a library fails is what was measured
            answer = {"failed": said(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
