"""What a loop was told: frozen values with their defaults, and the sizes that follow from them.

A field's metadata holds its documentation (`doc`), from which `loop.toml`, the docs and the error messages are
made. Reading and writing the file is `config`'s work; here is no I/O.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .domain import Verdict
from .errors import ConfigError, unknown_name
from .language import say, speaking


@dataclass(frozen=True, slots=True)
class Measure:
    """What is known of a metric before anything is measured.

    `kinds` of task have it; `usual` is a target to begin with. `certifiable`: it has a bound that holds whatever the
    data (mae between finite bounds only). `error`: less is better, and a target is the most that will do.
    `of_one_class`: it is about `target.positive`. `of_search`: it is about what people found, not about a model.
    `even`: what is right counts by class, so that a rare one counts as much as a common one.
    """

    words: str
    kinds: tuple[str, ...]
    usual: float
    certifiable: bool = False
    error: bool = False
    of_one_class: bool = False
    even: bool = False
    of_search: bool = False


METRICS: Final[Mapping[str, Measure]] = {
    "accuracy": Measure("accuracy", ("choice",), 0.9, certifiable=True),
    "balanced_accuracy": Measure("balanced accuracy", ("choice",), 0.85, certifiable=True, even=True),
    "precision": Measure("precision", ("choice",), 0.9, certifiable=True, of_one_class=True),
    "recall": Measure("recall", ("choice",), 0.9, certifiable=True, of_one_class=True, even=True),
    "f1": Measure("F1", ("choice",), 0.8, certifiable=True, of_one_class=True, even=True),
    "f2": Measure("F2", ("choice",), 0.8, certifiable=True, of_one_class=True, even=True),
    "f0.5": Measure("F0.5", ("choice",), 0.8, certifiable=True, of_one_class=True, even=True),
    "subset_accuracy": Measure("subset accuracy", ("multi_label",), 0.8, certifiable=True),
    "label_accuracy": Measure("label accuracy", ("multi_label",), 0.9, certifiable=True),
    "micro_f1": Measure("micro-F1", ("multi_label",), 0.8, certifiable=True),
    "macro_f1": Measure("macro-F1", ("choice", "multi_label"), 0.8, even=True),
    "auc": Measure("AUC", ("choice",), 0.9, of_one_class=True),
    "average_precision": Measure("average precision", ("choice",), 0.8, of_one_class=True),
    "wss95": Measure("work saved at 95 % recall", ("choice",), 0.5, of_one_class=True),
    "found": Measure("share found", ("choice",), 0.95, certifiable=True, of_one_class=True, of_search=True),
    "log_loss": Measure("log loss", ("choice",), 0.3, error=True),
    "brier": Measure("Brier score", ("choice",), 0.1, certifiable=True, error=True),
    "mae": Measure("mean absolute error", ("number",), 1.0, certifiable=True, error=True),
    "rmse": Measure("root mean squared error", ("number",), 1.0, error=True),
    "r2": Measure("R²", ("number",), 0.8),
    "spearman": Measure("rank correlation", ("number",), 0.8),
}
"""Every metric by its name in `target.metric`. Micro-F1 of one class per item would be its accuracy."""


def in_words(metric: str, positive: str = "") -> str:
    """The words of a metric, with the class that it is about, if it is about one: "recall of sick"."""
    return say("{metric} of {label}", metric=say(metric), label=positive) if positive else say(metric)


ERRORS: Final = tuple(name for name, metric in METRICS.items() if metric.error)
"""Metrics that count errors: less is better, and a target is the most that will do."""

LANGUAGES: Final = ("en", "ko")

MERGES: Final = ("majority", "dawid_skene", "crowdlab")
"""How the answers of several people become one label."""

_NUMBERS_ONLY: Final[Mapping[str, Any]] = {"bounds": (), "step": 0.0, "unit": "", "tolerance": 0.0}
"""Keys of a task that say something of numbers only, with the values that say nothing."""


def _key(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where the items are."""

    path: str = _key("", "A CSV, Parquet or JSONL file, or a folder of images; relative to the loop folder.")
    kind: str = _key("", 'What an item is: "text", "image" or "table".')
    show: tuple[str, ...] = _key((), "Columns shown to people; for images the column with the file name.")
    use: tuple[str, ...] = _key((), "Columns the model learns from; empty means the shown ones.")
    id: str = _key("", "Column that names an item for good; empty means: named by its content.")
    group: str = _key("", "Column whose equal values must stay together on one side of the test split.")
    answer: str = _key("", "Part-filled column of answers that are known already.")
    test: str = _key(
        "",
        "Your own test file: rows like those of path, all with an answer. They test, and nothing of path is reserved.",
    )
    project: int = _key(
        0,
        "Project at labeling.url that path was read from, and `active-loop import` reads again; 0 means: none was.",
    )
    embeddings: str = _key(
        "", "Your own features: a .npy file with one row per row of the data, those of the test file last."
    )


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What is asked."""

    kind: str = _key(
        "choice",
        'Kind of label: "choice" (one of the classes), "taxonomy" (one leaf of a tree of them), "multi_label" (any '
        'number of them, or none) or "number".',
    )
    classes: tuple[str, ...] = _key(
        (), 'The possible answers, at least two; of a taxonomy paths, as "animal > cat"; none of a number.'
    )
    question: str = _key("", "The question shown above the choices.")
    instructions: str = _key(
        "", "What people should know before they start, as text or HTML; shown in Label Studio, and kept by version."
    )
    instructions_file: str = _key(
        "", "A text, Markdown or HTML file that holds the instructions instead; relative to the loop folder."
    )
    unsure: bool = _key(True, 'Offer "(unsure)"; it is never a class.')
    broken: bool = _key(True, 'Offer "(broken item)"; it is never a class.')
    bounds: tuple[float, ...] = _key((), "Numbers only: the least and the largest; inf leaves an end open, [] both.")
    step: float = _key(
        0.0, "Numbers only: answers are whole steps from the lower bound, or from 0; 0 means any number."
    )
    unit: str = _key("", "Numbers only: what may be written behind the number.")
    tolerance: float = _key(0.0, "Numbers only: how far from the median of all answers one may be and still agree.")

    @property
    def learned(self) -> str:
        """What a model learns: the leaf of a taxonomy is one of several classes, as a choice is; else the kind."""
        return learned_as(self.kind)


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What is to be reached, and how surely."""

    metric: str = _key("accuracy", 'The metric: "accuracy", "f1" or another one of docs/honest-target.md.')
    value: float = _key(0.9, "The value to reach, between 0 and 1; of an error the most that will do.")
    positive: str = _key("", "The class that a metric of one class is about; empty means the second of two.")
    alpha: float = _key(0.05, "Chance of a false certificate, over all looks together.")
    proof: str = _key(
        "looks",
        'How accuracy is certified: "looks" test at sizes fixed beforehand; "anytime" tests a frozen model after every '
        "answer: fewer answers where it is far above the target, more where it is close.",
    )
    looks_by_hand: int = _key(
        0, "Raise it by one to have the claim tested now, on test items whose answers nobody has seen."
    )
    stop_on: str = _key(
        "auto", 'Stop when "certified" or "likely"; "auto": certified from a budget of 300 on, or with data.test.'
    )


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """What may be spent."""

    answers: int = _key(400, "Answers asked for, in all: to learn, to test, skips included.")
    hours: float = _key(0.0, "Hours of labelling, by the time that people took; 0 means no limit.")
    money: float = _key(0.0, "What the labelling may cost, at price_per_hour; 0 means no limit.")
    price_per_hour: float = _key(0.0, "What an hour of labelling costs, in any currency; 0 means nothing is said.")
    seconds_per_label: float = _key(10.0, "Seconds an answer takes, until enough of them were measured.")
    per_day: int = _key(0, "Answers a day, of all people together; 0 means nothing is said.")
    time_zone: str = _key("", 'Time zone of these days, for instance "Asia/Seoul"; empty means UTC.')


@dataclass(frozen=True, slots=True)
class StopSettings:
    """When to give up, beside the end of the budget. None of it says that the target was reached."""

    by_hand: str = _key("", "Stop now, for this reason; empty means go on.")
    paused: str = _key(
        "", "Ask nothing for now, for this reason: answers still come in, and nothing else happens; empty means go on."
    )
    deadline: str = _key("", "Ask no more from then on: 2026-12-24, or 2026-12-24T18:00:00+01:00; empty means never.")
    stable_rounds: int = _key(
        0, 'Stop as "no longer improving" once predictions were settled for so many rounds in a row; 0 means never.'
    )
    unreachable: float = _key(
        0.0, 'Stop as "unreachable" once the chance that the target is out of reach is above this; 0 means never.'
    )


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """What is asked next, and when."""

    strategy: str = _key(
        "auto", 'How items are chosen: a name, with options as in "mixture(margin, share=0.1)", or module:Class.'
    )
    random_share: float = _key(
        0.0,
        "Share of each batch that is drawn at random: a control arm that shows whether choosing pays; 0 means none.",
    )
    cold_start: str = _key("kmeans", "How the first items are chosen.")
    n0: int = _key(
        0, "Answers before the first round; 0 means 2 per class, at least 10, at most a fifth of the budget."
    )
    retrain_every: int = _key(10, "Answers from one round to the next.")
    queue_low: int = _key(10, "When fewer asks than this are open, more are sent.")
    queue_high: int = _key(20, "Open asks after a top-up.")
    batches_by_hand: int = _key(0, "Raise it by one to have queue_high more asks now, whatever is open.")
    rounds_by_hand: int = _key(
        0, "Raise it by one to have the model learn now from all that was answered: to be looked at, it moves nothing."
    )
    test_timeout_days: float = _key(3.0, "A test item unanswered for longer counts as wrong in the next look.")

    @property
    def asks_by(self) -> str:
        """The strategy with its share of random items, as it is recorded with every ask.

        >>> QuerySettings(strategy="margin", random_share=0.2).asks_by
        'mixture(margin, share=0.2)'
        """
        return f"mixture({self.strategy}, share={self.random_share:g})" if self.random_share else self.strategy

    @property
    def has_control_arm(self) -> bool:
        """Whether some items are asked about that nothing but chance chose."""
        return is_mixture(self.asks_by)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What learns."""

    use: str = _key(
        "auto",
        'The estimator: "auto" searches among candidates, again whenever there are 25 % more labels; else "logistic", '
        '"svm", "forest" or module:Class. Several with commas between them are a committee.',
    )
    committee: int = _key(
        1, "Members: 1 is a single model, more are fitted on bootstrap samples, or share the trees of a forest."
    )

    seconds: float = _key(
        5.0,
        "Seconds that a search for the model may take with up to 200 labels; six times as long from 2,000 labels on. "
        "This and what follows is for the model auto.",
    )
    candidates: tuple[str, ...] = _key(
        (), 'Candidates or families of the search, as "logistic" or "logistic(C=10)"; empty means: all of the space.'
    )
    space: str = _key(
        "growing",
        'Which candidates there are: "growing", more of them the more labels there are, or your own as module:Class.',
    )
    search: str = _key(
        "halving",
        'In which order candidates are tried and dropped: "halving"; "random" or "tpe" (by Optuna), which from 500 '
        "labels on try variations of them as well, for as long as there is time; or module:Class.",
    )
    evaluation: str = _key(
        "folds", 'How candidates are compared: "folds", a repeated cross-validation on labelled items, or module:Class.'
    )

    mixed: int = _key(
        4, "Candidates that may predict together, weighted, as the model that is found; 1: the best one alone."
    )

    @property
    def searches(self) -> bool:
        """Whether the model is searched for."""
        return self.use == "auto"

    @property
    def names(self) -> tuple[str, ...]:
        """The estimators that `use` names.

        >>> ModelSettings(use="logistic, svm").names
        ('logistic', 'svm')
        """
        return tuple(name.strip() for name in self.use.split(","))

    @property
    def members(self) -> int:
        """How many models vote, where a strategy asks for it; what a search found makes a committee of two at least."""
        if self.searches:
            return max(2, self.committee)
        return len(self.names) if len(self.names) > 1 else self.committee


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """What the answers of several people come to."""

    merge: str = _key(
        "majority",
        'The label of an item that several people answered: "majority"; "dawid_skene", which weighs people by how '
        'often they seem right; "crowdlab", which weighs people and model by how often they agree; both once enough '
        "items have several answers. Of test items always the majority.",
    )
    overlap: int = _key(1, "Different people who are asked about one item to learn from.")
    overlap_share: float = _key(
        1.0, "Share of these items, drawn at random, for which overlap holds; one person is asked about each other."
    )
    test_overlap: int = _key(1, "Different people who are asked about one test item.")
    annotators: tuple[str, ...] = _key(
        (), "E-mail addresses of those whose answers count, beside the adjudicators; empty means: everybody."
    )
    adjudicators: tuple[str, ...] = _key(
        (),
        "E-mail addresses of those who settle what others differ on, in a queue of their own; empty means: such an "
        "item is asked about once more, and anybody may answer.",
    )
    repeat_share: float = _key(
        0.0, "Share of the answers to learn from that ask a question again, to see how constant people are."
    )
    relabel_share: float = _key(
        0.0, "Largest share of a batch that asks again about labels which the model and the people make doubtful."
    )

    @property
    def per_label(self) -> float:
        """Answers that a label to learn from costs, as far as that is planned: what people differ on costs more.

        >>> PeopleSettings(overlap=3, overlap_share=0.5).per_label
        2.0
        """
        return (1 + self.overlap_share * (self.overlap - 1)) / (1 - self.repeat_share)


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """What the model sees of an item."""

    use: str = _key("auto", 'Features: "auto", "pixels", "tfidf", "columns", "embeddings" or module:Class.')


@dataclass(frozen=True, slots=True)
class LabelingSettings:
    """Where people label."""

    backend: str = _key("label-studio", 'The place: "label-studio", "terminal" or "oracle".')
    url: str = _key("", "Address of Label Studio; empty means: start one on this machine.")
    project: int = _key(0, "Its project; 0 means: create one.")
    page: str = _key(
        "", 'A label config of your own, whose control is called "label"; empty means: made from the task.'
    )
    token_env: str = _key("LABEL_STUDIO_API_KEY", "Environment variable that holds the token.")
    token_file: str = _key("", "File (mode 600) that holds the token, instead of the variable.")
    poll_every_s: float = _key(5.0, "Seconds between two looks for answers when no webhook calls.")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The dashboard."""

    host: str = _key("127.0.0.1", "Address to listen on; anything but loopback needs a token.")
    port: int = _key(8765, "Port to listen on; 0 means any free one.")
    public_url: str = _key("", "Address under which Label Studio reaches this server, for its webhook.")
    language: str = _key("en", 'Language in which is said why an item was asked about: "en" or "ko".')


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """What is run when people should know something."""

    command: str = _key(
        "", "A program with its arguments: run without a shell when the loop waits, gives a verdict, stops or is stuck."
    )
    after_minutes: float = _key(60.0, "Minutes without an answer, while tasks are open, after which the loop waits.")


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """A server of MLflow that is told of rounds and models."""

    uri: str = _key(
        "",
        "Its address, as http://mlflow.example.org:5000; empty means: none is told. A user name with its password, or "
        "a token, is taken from the environment alone.",
    )
    experiment: str = _key("", "Experiment in which each round is a run; empty means: the name of the loop.")
    register: str = _key("", "Registered model that `active-loop mlflow --model` adds versions to; empty means: none.")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a loop was told, by section of `loop.toml`."""

    name: str = _key("loop", "Name of the loop, as people see it.")
    seed: int = _key(0, "Seed of every random choice.")
    data: DataSettings = field(default_factory=DataSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    target: TargetSettings = field(default_factory=TargetSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    stop: StopSettings = field(default_factory=StopSettings)
    query: QuerySettings = field(default_factory=QuerySettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    labeling: LabelingSettings = field(default_factory=LabelingSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    mlflow: MlflowSettings = field(default_factory=MlflowSettings)

    @property
    def n0(self) -> int:
        """Answered pool asks before round 0: 2 per class, at least 10, at most a fifth of the budget."""
        if self.query.n0:
            return self.query.n0
        return int(min(max(2 * len(self.task.classes), 10), self.budget.answers / 5))

    @property
    def obstacle(self) -> str:
        """Why the claim can at most be likely; empty if it can be certified.

        Items of one group are not independent, and only shares and means of bounded values have a bound that holds.
        """
        metric, bounds = self.target.metric, self.task.bounds
        if self.data.group and not self.is_search:  # whose sample is of these items, and of no others
            return say("data.group is set")
        if metric == "mae" and not (bounds and all(map(math.isfinite, bounds))):
            return say("target.metric is mae without task.bounds that are finite")
        if metric in METRICS and METRICS[metric].certifiable:
            return ""
        return say("target.metric is {metric}", metric=metric)

    @property
    def is_search(self) -> bool:
        """Whether the loop is to find the items of a class, and not to train a model: nothing is reserved then."""
        return self.target.metric in METRICS and METRICS[self.target.metric].of_search

    @property
    def strategy(self) -> str:
        """How items are chosen: of a search that leaves it open, the likeliest ones of the class."""
        if not self.is_search or self.query.strategy != "auto":
            return self.query.strategy
        positive = json.dumps(positive_class(self.target, self.task.classes), ensure_ascii=False)
        return f"most_likely_positive(positive={positive})"

    @property
    def stop_on(self) -> Verdict:
        """The verdict that ends the loop."""
        if self.target.stop_on == "auto":
            enough = self.budget.answers >= 300 or bool(self.data.test)
            return Verdict.CERTIFIED if enough and not self.obstacle else Verdict.LIKELY
        return Verdict(self.target.stop_on)


@dataclass(frozen=True, slots=True)
class LookPlan:
    """Sizes of the looks, frozen at import whatever the budget becomes later.

    `m0` = min(clip(0.4·budget, 50, 200), budget/2) items for the first look, 1.5 times as many for each next one,
    at most 0.6·budget and at most the `reserved` ones. Where test items were `brought`, with their answers, these are
    the reserved ones, and every look uses them all. If several `people` are asked about each test item, the same budget
    pays for as many times fewer. Items before the `first` one of the test order are spent: their answers were seen
    before the claim became what it is.
    """

    budget: int
    m0: int
    reserved: int
    brought: bool = False
    people: int = 1
    first: int = 0

    @classmethod
    def at_import(cls, n_items: int, budget: int, n_test: int = 0, people: int = 1) -> LookPlan:
        """The plan for so many items, `n_test` brought test items not counted."""
        if n_test:
            return cls(budget, n_test, n_test, brought=True)
        m0 = int(min(max(0.4 * budget / people, 50), 200, budget / 2 / people))
        return cls(budget, m0, int(min(0.4 * n_items, m0 * 1.5**3)), people=people)

    def m(self, look: int) -> int:
        """Resolved test items that the `look`-th look (from 1) uses.

        >>> plan = LookPlan.at_import(n_items=1797, budget=500)
        >>> plan.reserved, [plan.m(look) for look in (1, 2, 3)]
        (675, [200, 300, 300])
        """
        if self.brought:
            return self.reserved
        planned = min(math.ceil(self.m0 * 1.5 ** (look - 1)), int(0.6 * self.budget / self.people))
        return min(planned, self.reserved - self.first)

    def asked(self, look: int) -> int:
        """The answers about these, and about spent ones, that the budget pays: none of those that were brought."""
        return 0 if self.brought else self.people * (self.first + self.m(look))

    def starting(self, first: int) -> LookPlan:
        """The same plan, counted from this place of the test order on."""
        return replace(self, first=first)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> LookPlan:
        """The plan that the facts of an import hold."""
        return cls(facts["budget"], facts["m0"], facts["reserved"], bool(facts.get("brought")), facts.get("people", 1))


def check(settings: Settings) -> None:
    """Refuse what cannot work, with both numbers, before anything is created."""
    _check_task(settings.task)
    _check_target(settings)
    query, budget = settings.query, settings.budget
    if budget.answers < settings.n0 + 40:
        raise ConfigError(
            f"budget.answers is {budget.answers}, and {settings.n0} answers start the first model: with fewer than "
            f"{settings.n0 + 40} there is nothing left to improve and to test it; raise the budget."
        )
    if not 0 <= query.queue_low <= query.queue_high or query.queue_high < 1:
        raise ConfigError(
            f"query.queue_low is {query.queue_low} and query.queue_high {query.queue_high}: "
            "the first may not be above the second, and the second must be at least 1."
        )
    if len(settings.model.names) > 1 and settings.model.committee > 1:
        raise ConfigError(
            f"model.committee is {settings.model.committee}, and model.use names {len(settings.model.names)} models: "
            "a committee is either bootstrap samples of one model or several models; set model.committee to 1."
        )
    if not 0 <= query.random_share <= 0.5:
        raise ConfigError(
            f"query.random_share is {query.random_share:g}: give a share of each batch from 0 (none) to 0.5, as 0.2."
        )
    if query.random_share and is_mixture(query.strategy):
        raise ConfigError(
            f'query.random_share is {query.random_share:g}, and query.strategy "{query.strategy}" draws a share at '
            "random already: set query.random_share to 0, or name the strategy inside the mixture alone."
        )
    for key in ("batches_by_hand", "rounds_by_hand"):
        if getattr(query, key) < 0:
            raise ConfigError(f"query.{key} is {getattr(query, key)}: give 0, or how many were asked for in all.")
    if query.retrain_every < 1:
        raise ConfigError(f"query.retrain_every is {query.retrain_every}: give at least 1.")
    _check_spending(budget)
    _check_stop(settings)
    _check_people(settings)
    if settings.notify.after_minutes <= 0:
        raise ConfigError(f"notify.after_minutes is {settings.notify.after_minutes:g}: give more than 0 minutes.")
    _check_mlflow(settings.mlflow)
    if settings.server.language not in LANGUAGES:
        raise ConfigError(unknown_name("server.language", settings.server.language, LANGUAGES))


def is_mixture(strategy: str) -> bool:
    """Whether a strategy, as it is written in `loop.toml`, draws a share of each batch at random.

    >>> is_mixture("mixture(margin, share=0.2)"), is_mixture("margin")
    (True, False)
    """
    return strategy.partition("(")[0].strip() == "mixture"


def _check_task(task: TaskSettings) -> None:
    n, n_different = len(task.classes), len(set(task.classes))
    if task.kind == "number":
        if n:
            raise ConfigError(f"task.classes has {n} entries, and a number has no classes: drop them.")
        return
    least = 1 if task.kind == "multi_label" else 2
    if n < least or n_different < n:
        raise ConfigError(
            f"task.classes has {n} entries, {n_different} of them different: "
            f"name at least {'one class' if least == 1 else 'two different classes'}."
        )
    given = [key for key, empty in _NUMBERS_ONLY.items() if getattr(task, key) != empty]
    if given:
        raise ConfigError(f'task.{given[0]} is for numbers, and task.kind is "{task.kind}": drop it.')


def learned_as(kind: str) -> str:
    """The kind of label, as metrics, models and strategies know it, that people give as this kind (`task.kind`).

    >>> learned_as("taxonomy"), learned_as("number")
    ('choice', 'number')
    """
    return "choice" if kind == "taxonomy" else kind


def measure(kind: str, name: str) -> Measure:
    """The metric of this name, for a kind of task that has it; else a `ConfigError` that lists those it has."""
    names = metrics_of(kind)
    if name in METRICS and name not in names:
        why = " (of one class per item it would be the accuracy)" if (kind, name) == ("choice", "micro_f1") else ""
        raise ConfigError(
            f'target.metric is "{name}", which labels of the kind "{kind}" do not have{why}; known: {", ".join(names)}.'
        )
    if name not in names:
        raise ConfigError(unknown_name("target.metric", name, names))
    return METRICS[name]


def metrics_of(kind: str) -> tuple[str, ...]:
    """Names of the metrics that a kind of task has."""
    return tuple(name for name, metric in METRICS.items() if kind in metric.kinds)


def positive_class(target: TargetSettings, classes: Sequence[str]) -> str:
    """The class that a metric of one class is about: of two the second, if nothing is said.

    Raises `ConfigError` for a class that there is not, and where one of more than two has to be named.
    """
    if target.positive and target.positive not in classes:
        raise ConfigError(unknown_name("target.positive", target.positive, classes))
    if not target.positive and len(classes) != 2:
        raise ConfigError(
            f"target.metric is {target.metric}, which is about one class, and there are {len(classes)}: "
            f"set target.positive to one of {', '.join(classes)}."
        )
    return target.positive or classes[1]


def _check_target(settings: Settings) -> None:
    target, worst = settings.target, _worst(settings)
    metric = measure(settings.task.learned, target.metric)
    if metric.of_one_class or target.positive:
        positive_class(target, settings.task.classes)
    if metric.error:
        if not 0 < target.value < worst:
            raise ConfigError(
                f"target.value is {target.value}: give the largest {target.metric} that will do, above 0"
                + (f" and below {worst:g}, which no prediction exceeds." if worst < math.inf else ".")
            )
    elif not 0 < target.value < 1:
        raise ConfigError(f"target.value is {target.value}: give a number between 0 and 1, for instance 0.9.")
    if not 0 < target.alpha < 0.5:
        raise ConfigError(f"target.alpha is {target.alpha}: give a chance between 0 and 0.5, for instance 0.05.")
    if settings.is_search and settings.data.test:
        raise ConfigError(
            f"target.metric is {target.metric}, and data.test {settings.data.test}: a search tests its own items; "
            "drop data.test, or choose recall for a model."
        )
    if target.proof == "anytime" and target.metric not in ("accuracy", "subset_accuracy"):
        raise ConfigError(
            f'target.proof is "anytime", and target.metric {target.metric}: only accuracy can be tested at any time; '
            'set target.proof to "looks".'
        )
    with speaking("en"):  # as all errors are
        obstacle = settings.obstacle
    if target.stop_on == "certified" and obstacle:
        raise ConfigError(
            f'target.stop_on is "certified", and {obstacle}: such a claim can at most be likely, and the loop '
            'would spend its whole budget in vain; set target.stop_on to "likely" or "auto".'
        )


def _worst(settings: Settings) -> float:
    """The largest error that there can be."""
    if settings.target.metric == "brier":
        return 1.0 if len(settings.task.classes) == 2 else 2.0
    bounds = settings.task.bounds
    return max(bounds) - min(bounds) if bounds and settings.target.metric in ("mae", "rmse") else math.inf


def _check_spending(budget: BudgetSettings) -> None:
    for key in ("hours", "money", "price_per_hour", "per_day"):
        if not 0 <= getattr(budget, key) < math.inf:
            raise ConfigError(f"budget.{key} is {getattr(budget, key)}: give 0 (no limit) or more.")
    if not 0 < budget.seconds_per_label < math.inf:
        raise ConfigError(f"budget.seconds_per_label is {budget.seconds_per_label}: give more than 0 seconds.")
    if budget.money and not budget.price_per_hour:
        raise ConfigError(f"budget.money is {budget.money:g}, and what an hour costs is not known: set price_per_hour.")
    time_zone(budget)


def time_zone(budget: BudgetSettings) -> tzinfo:
    """The time zone of the days of labelling; `ConfigError` for a name that is none."""
    try:
        return ZoneInfo(budget.time_zone) if budget.time_zone else UTC
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f'budget.time_zone is "{budget.time_zone}", which is no time zone: write it as "Asia/Seoul".'
        ) from error


def deadline(settings: Settings) -> datetime | None:
    """When nothing is asked any more: the end of a day that is named alone; None for never."""
    text = settings.stop.deadline
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f'stop.deadline is "{text}": write a date, or a date and a time, as in 2026-12-24T18:00:00+01:00.'
        ) from error
    if len(text) == len("2026-12-24"):
        at += timedelta(days=1)
    return at if at.tzinfo else at.replace(tzinfo=time_zone(settings.budget))


def _check_stop(settings: Settings) -> None:
    stop = settings.stop
    deadline(settings)
    if stop.stable_rounds < 0 or stop.stable_rounds == 1:
        raise ConfigError(f"stop.stable_rounds is {stop.stable_rounds}: give 0 (never) or at least 2 rounds.")
    if not 0 <= stop.unreachable < 1:
        raise ConfigError(f"stop.unreachable is {stop.unreachable}: give 0 (never) or a chance below 1, as 0.95.")


def _check_people(settings: Settings) -> None:
    people, merge = settings.people, settings.people.merge
    if merge not in MERGES:
        raise ConfigError(unknown_name("people.merge", merge, MERGES))
    for key in ("overlap", "test_overlap"):
        wanted = getattr(people, key)
        if wanted < 1:
            raise ConfigError(f"people.{key} is {wanted}: give the number of people who are asked, at least 1.")
        who = len({*people.annotators, *people.adjudicators})
        if people.annotators and wanted > who:
            raise ConfigError(
                f"people.{key} is {wanted}, and people.annotators and people.adjudicators name {who}: "
                "some items would wait for ever; name more people, or ask fewer of them."
            )
    for key, most in (("overlap_share", 1.0), ("repeat_share", 0.5), ("relabel_share", 0.5)):
        share = getattr(people, key)
        if not 0 <= share <= most:
            raise ConfigError(f"people.{key} is {share:g}: give a share from 0 to {most:g}.")
    again = [key for key in ("overlap", "test_overlap") if getattr(people, key) > 1]
    again += [key for key in ("repeat_share", "relabel_share") if getattr(people, key)]
    if again and settings.is_search:
        raise ConfigError(
            f"people.{again[0]} is {getattr(people, again[0]):g}, and target.metric is found: a search asks one person "
            "about each item, once; drop it."
        )
    if people.relabel_share and settings.task.learned != "choice":
        raise ConfigError(
            f"people.relabel_share is {people.relabel_share:g}, and task.kind is {settings.task.kind}: only labels of "
            "one class per item can be doubted; set it to 0."
        )
    if merge == "majority":
        return
    what = f"task.kind is {settings.task.kind}" if settings.task.learned != "choice" else ""
    if what or settings.is_search:
        raise ConfigError(
            f'people.merge is "{merge}", and {what or "target.metric is found"}: people are weighed only where one '
            'class is asked for and a model is trained; set people.merge to "majority".'
        )


def _check_mlflow(mlflow: MlflowSettings) -> None:
    """A secret in the address would be kept with the settings, and shown; so the address is not in the message."""
    try:
        parts = urlsplit(mlflow.uri)
    except ValueError:
        raise ConfigError("mlflow.uri is no address: write it as http://mlflow.example.org:5000.") from None
    if "@" in parts.netloc or parts.query:
        raise ConfigError(
            "mlflow.uri holds a user name, a password or a query: give the address alone, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment."
        )
    wrong = sorted({*mlflow.register} & {*"/:'\"%"})
    if wrong:
        raise ConfigError(
            f"mlflow.register is {json.dumps(mlflow.register, ensure_ascii=False)}: a registered model has no "
            f"{' and no '.join(wrong)} in its name."
        )


def to_json(settings: Settings) -> str:
    """The settings as JSON text, keys sorted: equal settings have equal texts."""
    return json.dumps(asdict(settings), ensure_ascii=False, sort_keys=True)


def from_json(text: str) -> Settings:
    """The settings that `to_json` wrote.

    >>> from_json(to_json(Settings(name="digits"))) == Settings(name="digits")
    True
    """
    made: Settings = _build(Settings, json.loads(text))
    return made


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    made = {}
    for part in fields(kind):
        if part.name not in values:  # written before there was this key
            continue
        value = values[part.name]
        if isinstance(value, dict):
            value = _build(part.default_factory, value)
        made[part.name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def differences(old: Settings, new: Settings) -> list[str]:
    """Dotted names of the keys whose values differ.

    >>> differences(Settings(), Settings(budget=BudgetSettings(answers=500)))
    ['budget.answers']
    """
    before, after = _flat(asdict(old)), _flat(asdict(new))
    return [key for key in after if before[key] != after[key]]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
