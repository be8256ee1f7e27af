"""A loop.toml for the data it sees, by asking or from flags.

Every question has a default that the data suggests, so that pressing Enter gives a loop that works; whoever cannot
be asked gets the same defaults. Nothing is written before the data was read the way the loop will read it, and what
the loop would refuse later is refused here. How questions reach a person is the caller's business.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .config import write_settings
from .errors import ActiveLoopError, ConfigError, DataError, unknown_name
from .evaluate import ENOUGH, doubt, shares_of
from .inspection import Column, Inspection, inspect
from .intake import refuse_unusable
from .outlook import outlook
from .questions import Ask, Questions, Say, listed, number, shortened, split, text_of, whole, yes
from .settings import (
    METRICS,
    BudgetSettings,
    DataSettings,
    Settings,
    TargetSettings,
    TaskSettings,
    check,
    learned_as,
    measure,
    positive_class,
)
from .sources import IMAGE_SUFFIXES, open_source
from .tasks import BELOW, make_task, normalise

_BUDGET = 400
_QUESTIONS = {
    "text": "Which of these fits the text?",
    "image": "What does the picture show?",
    "table": "Which of these fits the row?",
}
_USUAL_METRICS = {"multi_label": "micro_f1", "number": "r2"}

_MAJORITY = 2 / 3
"""Share of the largest class from which on accuracy says little about the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was said by flags; None or empty means: not said. An empty `answer` means: use no column.

    `test` is a file of labelled rows that test; its answers are in the column `answer`, or in the one that looks so.
    `label` is the kind of label; `bounds`, `step` and `unit` are those of a number. Of tasks of Label Studio `answer`
    is a control, and what is not said is found out from the answers there. `use` is what the model learns from.
    """

    kind: str | None = None
    label: str | None = None
    bounds: str = ""
    step: float = 0.0
    unit: str = ""
    show: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    test: Path | None = None
    answer: str | None = None
    group: str = ""
    id_column: str = ""
    classes: str = ""
    metric: str | None = None
    positive: str = ""
    target: float | None = None
    budget: int | None = None
    question: str = ""


def write_loop(
    folder: Path,
    data: Path,
    given: Given,
    ask: Ask | None,
    say: Say,
    finish: Callable[[Settings], Settings] = lambda settings: settings,
) -> Settings:
    """Write `folder`/loop.toml for `data` (a file, or a folder of images) and return what it says.

    `finish` has the last word on the settings. Without `ask` the flags and the defaults are taken. Raises `ConfigError`
    if there is a loop.toml already, if something that has no default was not given, or for settings that cannot work;
    `DataError` for data that cannot be used. Then nothing was written.
    """
    path = folder / "loop.toml"
    refuse_taken(folder)
    if given.test and given.test.is_dir():
        raise ConfigError(f"--test: {given.test} is a folder, which has no answers: give a CSV that names the images.")
    seen = inspect(data)
    for line in _found(seen):
        say(line)
    settings = finish(_settings(folder, data, seen, _heard(seen, given), Questions(ask, say)))
    say(outlook(settings, *_proved(settings, data, given.test)))
    _write(settings, path)
    say(f"Wrote {path}. Next: active-loop run {shlex.quote(str(folder))}")
    return settings


def refuse_taken(folder: Path) -> None:
    """`ConfigError` if there is a loop in `folder` already, or if that is a file."""
    path = folder / "loop.toml"
    if path.exists():
        raise ConfigError(f"{path} is there already, and is never overwritten: edit it, or name another folder.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder for the loop.")


def _heard(seen: Inspection, given: Given) -> Given:
    """The flags, with the control that people answered with in Label Studio, and the kind of label that it gives."""
    if seen.controls and given.answer is None and given.test is None:
        if len(seen.controls) > 1:
            raise ConfigError(
                f"{seen.path.name}: people answered with several controls, {listed([*seen.controls])}: name the one "
                'to go on with by --answer, or use no answers by --answer "".'
            )
        given = replace(given, answer=next(iter(seen.controls)))
    return replace(given, label=given.label or seen.controls.get(given.answer or "", "choice"))


def _settings(folder: Path, data: Path, seen: Inspection, given: Given, questions: Questions) -> Settings:
    """All answers, in the order in which people are asked."""
    kind = _kind(seen, given.kind)
    shown = _shown(seen, kind, given, questions)
    if learned_as(given.label or "choice") != "choice":
        return _of_other_labels(folder, data, seen, kind, shown, given, questions)
    known = _known(seen, shown, given, questions) if given.test is None else _tested(seen, shown, given, given.test)
    partly = known is not None and (known.n_missing > 0 or given.test is not None)
    classes = _classes(seen, shown, known if partly or given.answer else None, given, questions)
    if known is not None and partly:
        _refuse_unknown(known, classes)
    if given.label == "choice" and all(BELOW in name for name in classes):
        questions.say("These answers look like paths of a tree: --label taxonomy lets people choose in it.")
    target = _target(known, classes, given, questions)
    budget = _budget(seen, len(classes), given, questions)
    question = given.question or questions.answered("Question above the choices", _QUESTIONS[kind], text_of, "")
    full = [column for column in seen.columns if known and column.name == known.name and not column.n_missing]
    if full:
        questions.say(_complete(full[0], folder))
    settings = Settings(
        name=Path(os.path.realpath(folder)).name or "loop",
        data=_data(folder, data, kind, shown, given, known.name if known is not None and partly else ""),
        task=TaskSettings(kind=given.label or "choice", classes=classes, question=question),
        target=target,
        budget=BudgetSettings(answers=budget),
    )
    check(settings)
    return settings


def _of_other_labels(
    folder: Path,
    data: Path,
    seen: Inspection,
    kind: str,
    shown: tuple[str, ...],
    given: Given,
    questions: Questions,
) -> Settings:
    """Settings for several labels or a number: less is guessed from the data, and answers are checked at the import."""
    label = given.label or "choice"
    task = TaskSettings(kind=label, bounds=_bounds(given.bounds), step=given.step, unit=given.unit)
    answers = _column(seen, given.answer or "", "--answer") if given.test is None else None
    if label == "multi_label":
        known = answers if answers is not None and answers.name in seen.controls else None
        task = replace(task, classes=_classes(seen, shown, known, given, questions))
    metric = given.metric or _USUAL_METRICS[label]
    value = measure(label, metric).usual if given.target is None else given.target
    if unused := answers is not None and not answers.n_missing:
        questions.say(_complete(answers, folder))
    settings = Settings(
        name=Path(os.path.realpath(folder)).name or "loop",
        data=_data(folder, data, kind, shown, given, "" if unused else given.answer or ""),
        task=replace(task, question=given.question),
        target=TargetSettings(metric=metric, value=value),
        budget=BudgetSettings(answers=_budget(seen, len(task.classes), given, questions)),
    )
    check(settings)
    make_task(settings.task)
    return settings


def _data(folder: Path, data: Path, kind: str, shown: tuple[str, ...], given: Given, answer: str) -> DataSettings:
    return DataSettings(
        path=_relative(data, folder),
        kind=kind,
        show=shown,
        use=given.use,
        id=given.id_column,
        group=given.group,
        test=_relative(given.test, folder) if given.test else "",
        answer=answer,
    )


def _bounds(text: str) -> tuple[float, ...]:
    """
    >>> _bounds("0,10"), _bounds("0,inf"), _bounds("")
    ((0.0, 10.0), (0.0, inf), ())
    """
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise ConfigError(f'--bounds "{text}": give the least and the largest number as 0,10, or inf.') from error


def _complete(column: Column, folder: Path) -> str:
    """What a column of answers without gaps is good for."""
    command = f"active-loop simulate {shlex.quote(str(folder))} --answers {shlex.quote(column.name)}"
    return (
        f'Column "{column.name}" has an answer in every row: used as it is, it would leave nothing to ask. '
        f"`{command}` tries the loop on it."
    )


def _found(seen: Inspection) -> list[str]:
    """What the data is, as a person would say it."""
    what = "images" if not seen.columns else "rows"
    encoding = f", {_encoding(seen.encoding)}" if seen.encoding and seen.path.suffix != ".parquet" else ""
    twice = f"; {seen.n_duplicates:,} exact duplicates will be asked once" if seen.n_duplicates else ""
    return [f"{seen.path.name}: {seen.n_rows:,} {what}{encoding}{twice}.", *seen.notices]


def _encoding(name: str) -> str:
    return {"utf-8-sig": "UTF-8", "utf-8": "UTF-8", "utf-16": "UTF-16", "latin-1": "Latin-1"}.get(name, name)


def _kind(seen: Inspection, wanted: str | None) -> str:
    if wanted and wanted != "image" and not seen.columns:
        raise ConfigError(f'{seen.path} is a folder of images: --kind "{wanted}" needs a file with columns.')
    return wanted or seen.kind


def _shown(seen: Inspection, kind: str, given: Given, questions: Questions) -> tuple[str, ...]:
    """The columns that people see and the model learns from; of a folder of images none, or the test file's."""
    for flag, name in (("--id", given.id_column), ("--group", given.group), ("--answer", given.answer)):
        if not (given.test and flag == "--answer"):  # then its place is the test file
            _column(seen, name or "", flag)
    if not seen.columns and given.test:
        return given.show or inspect(given.test).show  # where the test file names its images
    if not seen.columns:
        if given.show:
            raise ConfigError(f"--show: {seen.path} is a folder of images, without columns.")
        return ()
    if given.show:
        return tuple(_named(seen, name, "--show").name for name in given.show)
    default = _worth_showing(seen, kind, given)
    others = [column.name for column in seen.columns if column.name not in (*default, *seen.controls)]
    also = f" (also: {shortened(others)})" if others else ""
    return questions.answered(
        f"What is shown to people? {kind}{also}",
        listed(default),
        lambda text: tuple(_named(seen, name, "What is shown").name for name in split(text)),
        f"name the columns to show by --show, for data of the kind {kind}.",
    )


def _worth_showing(seen: Inspection, kind: str, given: Given) -> tuple[str, ...]:
    """What the data suggests to show: never a column of answers, of ids or of groups."""
    if kind == seen.kind:
        shown = seen.show
    elif kind == "table":
        shown = tuple(column.name for column in seen.columns)
    elif kind == "text":
        shown = (max(seen.columns, key=lambda column: column.n_letters).name,)
    else:
        shown = tuple(column.name for column in seen.columns if column.example.lower().endswith(IMAGE_SUFFIXES))[:1]
    classes = set(split(given.classes))
    hidden = {given.answer, given.group, given.id_column, *seen.controls}
    hidden |= {
        column.name for column in seen.columns if classes and set(column.values) and set(column.values) <= classes
    }
    if kind == "table":
        hidden |= {column.name for column in seen.columns if _is_a_name(column)}
    return tuple(name for name in shown if name not in hidden)


def _is_a_name(column: Column) -> bool:
    """Whether a column only numbers the rows: different in each, and called an id."""
    words = re.split(r"[^a-z]+", column.name.lower())
    return column.n_missing == 0 and column.n_distinct == column.n_filled and bool({"id", "uuid", "index"} & set(words))


def _known(seen: Inspection, shown: Sequence[str], given: Given, questions: Questions) -> Column | None:
    """The column of answers that are known already: the one that was named, or a part-filled one that was found."""
    if given.answer is not None:
        column = _column(seen, given.answer, "--answer")
        if column is not None and column.name in shown:
            raise ConfigError(f'"{column.name}" is shown and holds the answers: people and model would be told them.')
        return column
    classes = set(split(given.classes))
    for column in seen.answers:
        usable = column.n_missing > 0 and column.name not in shown and column.name not in seen.show
        if usable and (not classes or set(column.values) <= classes):
            n = f"{column.n_filled:,} of {column.n_filled + column.n_missing:,}"
            question = f'Answers are known already in the part-filled column "{column.name}" ({n}): use them?'
            if questions.ask is None:
                questions.say(f'Known answers: column "{column.name}" ({n}); --answer "" leaves them out.')
            return column if questions.answered(question, "yes", yes, "") else None
    return None


def _tested(seen: Inspection, shown: Sequence[str], given: Given, test: Path) -> Column:
    """The column of the test file's answers, with what the data itself holds in it."""
    tests = inspect(test)
    if given.answer:
        column = _named(tests, given.answer, "--answer")
    else:
        likely = [each for each in tests.answers if each.name not in (*shown, given.group, given.id_column)]
        if not likely:
            raise ConfigError(f"--test: no column of {tests.path.name} looks like answers: name it by --answer.")
        column = likely[0]
    if column.name in shown:
        raise ConfigError(f'"{column.name}" is shown and holds the answers: people and model would be told them.')
    values = Counter(column.values)
    for each in seen.columns:
        values.update(each.values if each.name == column.name else {})
    return replace(column, values=dict(values.most_common()), n_filled=values.total())


def _classes(
    seen: Inspection, shown: Sequence[str], known: Column | None, given: Given, questions: Questions
) -> tuple[str, ...]:
    """The possible answers: given, from the column of known ones, or asked for."""

    def read(text: str) -> tuple[str, ...]:
        kind = "taxonomy" if given.label == "taxonomy" else "choice"
        task = TaskSettings(kind=kind, classes=tuple(normalise(name) for name in split(text)))
        make_task(task)
        if len(task.classes) < (1 if given.label == "multi_label" else 2):
            raise ConfigError("name at least two possible answers, with commas between them.")
        return task.classes

    if given.classes:
        return read(given.classes)
    likely = [column for column in seen.answers if column.name not in shown] or seen.answers
    hint = f' or a column that holds them by --answer, perhaps "{likely[0].name}"' if likely else ""
    source = known or (likely[0] if likely and likely[0].name not in shown and questions.ask else None)
    return questions.answered(
        f'The possible answers (from column "{source.name}")' if source else "The possible answers",
        listed(_in_order(source.values)) if source else "",
        read,
        f'name them by --classes, for instance --classes "yes,no"{"," * bool(hint)}{hint}.',
    )


def _in_order(values: Mapping[str, int]) -> list[str]:
    """Numbers by size, other answers by how often they occur."""
    names = list(values)
    return sorted(names, key=int) if all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names) else names


def _refuse_unknown(known: Column, classes: Sequence[str]) -> None:
    unknown = [value for value in known.values if value not in classes]
    if unknown or not known.values:
        odd = (
            f'"{" ".join(unknown[0].split())}" ({known.values[unknown[0]]} rows)'
            if unknown
            else f"{known.n_distinct} different values"
        )
        raise ConfigError(
            f'column "{known.name}" holds {odd}, and the possible answers are {", ".join(classes)}: '
            'add what is missing to --classes, correct the file, or leave the column out by --answer "".'
        )


def _target(known: Column | None, classes: Sequence[str], given: Given, questions: Questions) -> TargetSettings:
    """Metric and value: accuracy 0.9, or macro-F1 0.8 where one class has a large majority."""
    metric, why = given.metric or "accuracy", ""
    if given.metric is None and known is not None and known.n_filled >= ENOUGH:
        name, n = max(known.values.items(), key=lambda pair: pair[1], default=("", 0))
        if n / known.n_filled >= _MAJORITY:
            metric, why = "macro_f1", f" (accuracy would be misleading: {100 * n / known.n_filled:.0f} % are {name})"
            if questions.ask is None:
                questions.say(f"Target: macro-F1{why}.")
    value = METRICS[metric].usual if given.target is None else given.target

    def read(text: str) -> TargetSettings:
        told = TargetSettings(*_metric_and_value(text, metric, value))
        if not 0 < told.value < 1:
            raise ConfigError(f"{told.value:g} cannot be reached: give a number between 0 and 1, for instance 0.9.")
        return told

    default = f"{METRICS[metric].words} {value:g}"
    if given.target is not None and (given.metric is not None or questions.ask is None):
        target = read(default)
    else:
        target = questions.answered(f"Target{why}", default, read, "")
    target = replace(target, positive=_positive(target, known, classes, given, questions))
    if problem := doubt(
        make_task(TaskSettings(classes=tuple(classes))), target, shares_of(known.values if known else {})
    ):
        questions.say(problem)
    return target


def _positive(
    target: TargetSettings, known: Column | None, classes: Sequence[str], given: Given, questions: Questions
) -> str:
    """The class that the metric is about: the rarest known one, or the second of two, unless it is said."""
    if not METRICS[target.metric].of_one_class:
        return given.positive

    def read(text: str) -> str:
        return positive_class(replace(target, positive=normalise(text)), classes)

    if given.positive:
        return read(given.positive)
    shares = shares_of(known.values if known else {})
    usual = min(classes, key=lambda name: shares.get(name, 0.0)) if shares else classes[1] if len(classes) == 2 else ""
    return questions.answered(
        f"Which class is the {METRICS[target.metric].words} of", usual, read, "--positive names it."
    )


def _metric_and_value(text: str, metric: str, value: float) -> tuple[str, float]:
    """What "accuracy 0.9", "macro-F1", "0.85" or "85 %" says; what is not said stays as it was, or has its default."""
    match = re.fullmatch(r"\s*([A-Za-z][\w. -]*?)?[\s≥≤<>=]*(?:(?<![\w.-])([0-9.]+)\s*(%)?)?\s*", text)
    if not match:
        raise ConfigError(f'"{text}" is no target: give a metric and a value, for instance "accuracy 0.9".')
    if match[1]:
        words = {each.words.lower(): name for name, each in METRICS.items() if "choice" in each.kinds}
        told = re.sub(r"[\s_]+", " ", match[1].lower()).strip()
        name = words.get(told, told.replace(" ", "_").replace("-", "_"))
        metric, value = name, value if name == metric else measure("choice", name).usual
    if match[2]:
        value = number(match[2], float) / (100 if match[3] else 1)
    return metric, value


def _budget(seen: Inspection, n_classes: int, given: Given, questions: Questions) -> int:
    """Answers that may be asked for: 400, or as many as there are items if they are fewer."""
    if given.budget is not None:
        return given.budget
    n_items = seen.n_rows - seen.n_duplicates
    least = Settings(task=TaskSettings(classes=("",) * n_classes)).n0 + 40
    if n_items < least:
        raise DataError(
            f"{seen.path.name} has {n_items} different items, and a loop needs at least {least}: "
            f"{least - 40} answers start the first model, and 40 more improve and test it. Bring more items."
        )
    return questions.answered("Budget (answers, in all)", str(min(_BUDGET, n_items)), whole, "")


# columns


def _column(seen: Inspection, name: str, flag: str) -> Column | None:
    return _named(seen, name, flag) if name else None


def _named(seen: Inspection, name: str, flag: str) -> Column:
    columns = {column.name: column for column in seen.columns}
    if name not in columns:
        raise ConfigError(f"{flag}: {seen.path.name}: {unknown_name('column', name, columns)}")
    return columns[name]


# to the file


def _relative(data: Path, folder: Path) -> str:
    """The path of the data as the loop folder sees it; absolute only where no relative one exists (another drive)."""
    named = data.name not in ("", "..")  # then a link to the data stays a link
    place = Path(os.path.realpath(data.parent)) / data.name if named else Path(os.path.realpath(data))
    try:
        return Path(os.path.relpath(place, os.path.realpath(folder))).as_posix()
    except ValueError:
        return place.as_posix()


def _proved(settings: Settings, data: Path, test: Path | None) -> tuple[int, int]:
    """Read the data as the loop will, before its folder is there; returns how many items it has, and its test file."""
    tests = os.path.relpath(test, data.parent) if test else ""
    records = open_source(replace(settings.data, path=data.name or str(data), test=tests), data.parent).records()
    refuse_unusable(records, settings, make_task(settings.task))
    n_test = sum(record.test for record in records)
    return len(records) - n_test, n_test


def _write(settings: Settings, path: Path) -> None:
    """Make the folder and write the file, or leave no trace of either."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_settings(settings, path)
    except (OSError, ActiveLoopError) as error:
        for folder in made:
            if folder.exists():
                folder.rmdir()
        if isinstance(error, OSError):
            raise ConfigError(f"cannot make the folder {path.parent}: {error.strerror}.") from error
        raise
