"""The strategies of other libraries, asked over a pipe: a process per library, in a virtual environment of its own.

The benchmark keeps the loop, the split, the model and the seeds; a peer gets what a strategy of ours gets (the pool,
the labels, the predictions of the common model or of its committee) and answers with rows. So this file runs twice:
loaded by the benchmark, and as a program in the peer's interpreter, where it needs numpy and the peer, not us.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass(slots=True)
class Ask:
    """One question to a strategy: n rows of the pool.

    `X` (n_pool, d), `labelled` rows with their labels `y`, all other rows `unlabelled`, ascending. `predictions`
    (members, n_pool, ...) is None where the strategy asks for none. `kept` lives as long as the curve.
    """

    X: Any
    labelled: Any
    y: Any
    predictions: Any
    n_outputs: int
    n: int
    seed: int
    kept: dict[str, Any] = field(default_factory=dict)
    unlabelled: Any = None

    def __post_init__(self) -> None:
        self.unlabelled = np.setdiff1d(np.arange(len(self.X)), self.labelled)

    @property
    def y_or_nan(self) -> Any:
        """(n_pool,) labels as numbers, NaN where there is none."""
        labels = np.full(len(self.X), np.nan)
        labels[self.labelled] = self.y
        return labels

    @property
    def proba(self) -> Any:
        """(n_unlabelled, C): the single model's predictions of the unlabelled rows."""
        return self.predictions[0][self.unlabelled].copy()


@dataclass(frozen=True, slots=True)
class PeerStrategy:
    """A strategy of a peer: `choose(ask)` gives rows of the pool; `start` is "random", or the strategy (this one or
    another of the same peer) that chooses the first batch; `predictions` are "none", "single" or "members"."""

    choose: Callable[[Ask], Any]
    predictions: str = "single"
    start: str = "random"
    task: str = "choice"


class _Model:
    """The common model for libraries that want an object: answers for rows of the pool, found by their content."""

    def __init__(self, X: Any, predictions: Any) -> None:
        self._places = {row.tobytes(): place for place, row in enumerate(np.ascontiguousarray(X, dtype=np.float64))}
        self._predictions = predictions

    def of(self, X: Any) -> Any:
        return self._predictions[[self._places[row.tobytes()] for row in np.ascontiguousarray(X, dtype=np.float64)]]


def _skactiveml_model(ask: Ask, member: int = 0, number: bool = False) -> Any:
    from skactiveml.base import SkactivemlClassifier, SkactivemlRegressor

    model = _Model(ask.X, ask.predictions[member])

    class Classifier(SkactivemlClassifier):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any) -> Any:
            return model.of(X)

        def predict(self, X: Any) -> Any:
            return model.of(X).argmax(axis=1)

    class Regressor(SkactivemlRegressor):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict(self, X: Any) -> Any:
            return model.of(X)

    if number:
        return Regressor()
    made = Classifier(classes=list(range(ask.n_outputs)))
    made.classes_ = np.arange(ask.n_outputs)
    return made


def _skactiveml(name: str, model: str = "", **options: Any) -> Callable[[Ask], Any]:
    """`model` is the keyword by which the query takes the common model: none, or "clf", "estimator", "reg"."""

    def choose(ask: Ask) -> Any:
        import skactiveml.pool

        strategy = getattr(skactiveml.pool, name)(random_state=ask.seed, **options)
        given = {model: _skactiveml_model(ask, number=model == "reg"), f"fit_{model}": False} if model else {}
        return strategy.query(X=ask.X, y=ask.y_or_nan, batch_size=ask.n, **given)

    return choose


def _skactiveml_committee(method: str) -> Callable[[Ask], Any]:
    def choose(ask: Ask) -> Any:
        from skactiveml.pool import QueryByCommittee

        ensemble = [_skactiveml_model(ask, member) for member in range(len(ask.predictions))]
        strategy = QueryByCommittee(method=method, random_state=ask.seed)
        return strategy.query(ask.X, ask.y_or_nan, ensemble=ensemble, fit_ensemble=False, batch_size=ask.n)

    return choose


def _skactiveml_prob_cover(ask: Ask) -> Any:
    """One object for the whole curve, as its author means it: the radius is found in the first round."""
    from skactiveml.pool import ProbCover

    if "prob_cover" not in ask.kept:
        ask.kept["prob_cover"] = ProbCover(n_classes=ask.n_outputs, random_state=ask.seed)
    return ask.kept["prob_cover"].query(ask.X, ask.y_or_nan, batch_size=ask.n)


class _ModalLearner:
    """What modAL asks of a learner or of a committee, for the unlabelled rows only."""

    on_transformed = False

    def __init__(self, ask: Ask) -> None:
        self.classes_ = np.arange(ask.n_outputs)
        self.X_training = ask.X[ask.labelled]
        self._members = ask.predictions[:, ask.unlabelled]

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members)

    def predict_proba(self, X: Any) -> Any:
        return self._members.mean(axis=0)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        mean = self._members.mean(axis=0)
        return (mean, self._members.std(axis=0)) if return_std else (mean >= 0.5).astype(int)

    def vote(self, X: Any) -> Any:
        return self._members.argmax(axis=2).T

    def vote_proba(self, X: Any) -> Any:
        return self._members.swapaxes(0, 1)


def _modal(module: str, name: str) -> Callable[[Ask], Any]:
    def choose(ask: Ask) -> Any:
        import importlib

        strategy = getattr(importlib.import_module(f"modAL.{module}"), name)
        rows, _ = strategy(_ModalLearner(ask), ask.X[ask.unlabelled], n_instances=ask.n)
        return ask.unlabelled[np.asarray(rows, dtype=int)]

    return choose


class _SmallTextRows:
    """A data set of small-text that is nothing but the rows it stands for."""

    def __init__(self, rows: Any) -> None:
        self.rows = np.asarray(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> _SmallTextRows:
        return _SmallTextRows(self.rows[index])


def _small_text(name: str, embeddings: bool = False, several: bool = False, **options: Any) -> Callable[[Ask], Any]:
    def choose(ask: Ask) -> Any:
        import small_text.query_strategies
        from scipy.sparse import csr_matrix

        np.random.seed(ask.seed)
        known: Any = None if ask.predictions is None else ask.predictions[0]
        classifier = SimpleNamespace(predict_proba=lambda data: known[data.rows])
        extra = (
            {"embeddings": ask.X[np.concatenate([ask.unlabelled, ask.labelled])], "pbar": None} if embeddings else {}
        )
        y = csr_matrix(ask.y) if several else ask.y
        strategy = getattr(small_text.query_strategies, name)(**options)
        data = _SmallTextRows(np.arange(len(ask.X)))
        return strategy.query(classifier, data, ask.unlabelled, ask.labelled, y, n=ask.n, **extra)

    return choose


def _alipy(name: str, **options: Any) -> Callable[[Ask], Any]:
    def choose(ask: Ask) -> Any:
        import collections
        import collections.abc

        collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]  # ALiPy 1.2.5 is for Python < 3.10
        from alipy.query_strategy import query_labels

        np.random.seed(ask.seed)
        labelled, unlabelled = ask.labelled.tolist(), ask.unlabelled
        y = np.nan_to_num(ask.y_or_nan)  # it wants the labels of all rows, and reads those of the labelled ones
        if name == "QueryInstanceCoresetGreedy":
            strategy = query_labels.QueryInstanceCoresetGreedy(ask.X, y, np.arange(len(ask.X)))
            return strategy.select(labelled, unlabelled, batch_size=ask.n)
        strategy = getattr(query_labels, name)(ask.X, y, **options)
        if name == "QueryInstanceDensityWeighted":
            return strategy.select(labelled, unlabelled, batch_size=ask.n, proba_prediction=ask.proba)
        if name == "QueryInstanceQBC":
            votes = [member[unlabelled].argmax(axis=1) for member in ask.predictions]
            return strategy.select_by_prediction_mat(unlabelled, votes, batch_size=ask.n)
        return strategy.select_by_prediction_mat(unlabelled, ask.proba, batch_size=ask.n)

    return choose


def _uncertainty(method: str) -> PeerStrategy:
    return PeerStrategy(_skactiveml("UncertaintySampling", model="clf", method=method))


STRATEGIES: dict[str, dict[str, PeerStrategy]] = {
    "scikit-activeml": {
        "random": PeerStrategy(_skactiveml("RandomSampling"), "none"),
        "margin": _uncertainty("margin_sampling"),
        "entropy": _uncertainty("entropy"),
        "least_confident": _uncertainty("least_confident"),
        "core_set": PeerStrategy(_skactiveml("CoreSet"), "none"),
        "badge": PeerStrategy(_skactiveml("Badge", model="clf")),
        "typiclust": PeerStrategy(_skactiveml("TypiClust"), "none", start="typiclust"),
        "typiclust+margin": PeerStrategy(
            _skactiveml("UncertaintySampling", model="clf", method="margin_sampling"), start="typiclust"
        ),
        "qbc_vote": PeerStrategy(_skactiveml_committee("vote_entropy"), "members"),
        "qbc_kl": PeerStrategy(_skactiveml_committee("KL_divergence"), "members"),
        "clue": PeerStrategy(_skactiveml("Clue", model="estimator")),
        "falcun": PeerStrategy(_skactiveml("Falcun", model="clf")),
        "max_herding": PeerStrategy(_skactiveml("MaxHerding"), "none", start="max_herding"),
        "prob_cover": PeerStrategy(_skactiveml_prob_cover, "none", start="prob_cover"),
        "gs_x": PeerStrategy(_skactiveml("GreedySamplingX"), "none", start="gs_x", task="number"),
        "gs_y": PeerStrategy(
            _skactiveml("GreedySamplingTarget", model="reg", method="GSy"), start="gs_x", task="number"
        ),
        "i_gs": PeerStrategy(
            _skactiveml("GreedySamplingTarget", model="reg", method="GSi"), start="gs_x", task="number"
        ),
    },
    "modAL": {
        "margin": PeerStrategy(_modal("uncertainty", "margin_sampling")),
        "entropy": PeerStrategy(_modal("uncertainty", "entropy_sampling")),
        "uncertainty": PeerStrategy(_modal("uncertainty", "uncertainty_sampling")),
        "ranked_batch": PeerStrategy(_modal("batch", "uncertainty_batch_sampling")),
        "vote_entropy": PeerStrategy(_modal("disagreement", "vote_entropy_sampling"), "members"),
        "consensus_entropy": PeerStrategy(_modal("disagreement", "consensus_entropy_sampling"), "members"),
        "kl_max": PeerStrategy(_modal("disagreement", "max_disagreement_sampling"), "members"),
        "max_std": PeerStrategy(_modal("disagreement", "max_std_sampling"), "members", task="number"),
        **{
            name: PeerStrategy(_modal("multilabel", name), task="multi_label")
            for name in ("max_loss", "mean_max_loss", "min_confidence", "avg_confidence", "max_score", "avg_score")
        },
    },
    "small-text": {
        "breaking_ties": PeerStrategy(_small_text("BreakingTies")),
        "least_confidence": PeerStrategy(_small_text("LeastConfidence")),
        "embedding_kmeans": PeerStrategy(_small_text("EmbeddingKMeans", embeddings=True), "none"),
        "greedy_coreset": PeerStrategy(_small_text("GreedyCoreset", embeddings=True), "none"),
        "cvirs": PeerStrategy(
            _small_text("CategoryVectorInconsistencyAndRanking", several=True, pbar=None), task="multi_label"
        ),
    },
    "ALiPy": {
        "margin": PeerStrategy(_alipy("QueryInstanceUncertainty", measure="margin")),
        "entropy": PeerStrategy(_alipy("QueryInstanceUncertainty", measure="entropy")),
        "core_set": PeerStrategy(_alipy("QueryInstanceCoresetGreedy"), "none"),
        "density": PeerStrategy(_alipy("QueryInstanceDensityWeighted")),
        "qbc_vote": PeerStrategy(_alipy("QueryInstanceQBC"), "members"),
    },
}
"""The strategies of each peer, by the names used here."""

REQUIREMENTS = {
    "scikit-activeml": "scikit-activeml==1.0.1",
    "modAL": "",
    "small-text": "small-text==1.4.1",
    "ALiPy": "alipy==1.2.5",
}
"""What pip installs for each peer; modAL is installed with the project."""


def interpreter(peer: str, folder: Path) -> str:
    """The Python that has this peer; its virtual environment is made in `folder` if it is not there yet."""
    if not REQUIREMENTS[peer]:
        return sys.executable
    home = folder / REQUIREMENTS[peer]
    python, done = home / "bin" / "python", home / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", REQUIREMENTS[peer]], check=True)
        done.touch()
    return str(python)


class Peer:
    """A running peer. `start` begins a curve, `choose` asks; a strategy's own error is raised as `PeerError`."""

    def __init__(self, peer: str, folder: Path) -> None:
        command = [interpreter(peer, folder), "-W", "ignore", __file__, "--peer", peer]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self, X: Any) -> None:
        """A new curve on this pool."""
        self._say({"X": np.ascontiguousarray(X, dtype=np.float64)})

    def choose(self, strategy: str, **ask: Any) -> Any:
        """Rows of the pool; `ask` has the fields of `Ask` but X."""
        self._say({"strategy": strategy, **ask})
        stdout: Any = self._process.stdout
        try:
            answer = pickle.load(stdout)
        except EOFError as ended:
            raise PeerError(f"the process ended with code {self._process.wait()}.") from ended
        if isinstance(answer, str):
            raise PeerError(answer)
        return answer

    def _say(self, message: Any) -> None:
        stdin: Any = self._process.stdin
        pickle.dump(message, stdin)
        stdin.flush()


class PeerError(Exception):
    """A peer could not choose: its own error, in one line."""


def serve(peer: str, incoming: Any, outgoing: Any) -> None:
    """Answers until the input ends."""
    X: Any = None
    kept: dict[str, Any] = {}
    for message in _messages(incoming):
        if "X" in message:
            X, kept = message["X"], {}
            continue
        choose = STRATEGIES[peer][message.pop("strategy")].choose
        try:
            answer: Any = np.asarray(choose(Ask(X=X, kept=kept, **message))).astype(int).ravel()
        except Exception as problem:  # noqa: BLE001 - whatever a peer raises is what this benchmark reports
            answer = f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
        pickle.dump(answer, outgoing)
        outgoing.flush()


def _messages(incoming: Any) -> Iterator[dict[str, Any]]:
    while True:
        try:
            yield pickle.load(incoming)
        except EOFError:
            return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, choices=list(STRATEGIES))
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    serve(parser.parse_args().peer, sys.stdin.buffer, answers)
