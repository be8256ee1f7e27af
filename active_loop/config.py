"""`loop.toml` → frozen settings → a wired loop: the composition root, and the only reader and writer of the file.

What may stand in the file is said once, by the dataclasses of `settings`: their fields are its sections and keys,
their types and `doc` metadata the rest. A wrong file is refused with the line it is wrong in, because people who
edit it do not read tracebacks; a file is written only if `read_settings` would take it. This module must not hold
defaults of its own, and must not import strategies or models before they are asked for: `--help` waits for it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import re
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_type_hints

from . import components, sources
from .errors import ConfigError, unknown_name
from .settings import Settings, check, to_json
from .tasks import TASKS, make_task

MODELS: Final = ("logistic", "svm", "forest")
BACKENDS: Final = ("label-studio", "terminal", "oracle")
PROOFS: Final = ("looks", "anytime")
STOP_ON: Final = ("auto", "likely", "certified")

Keys = tuple[str, ...]
Where = Callable[[Keys], str]
"""Says where a key stands, for the front of a message: `loop.toml, line 9`."""

_T = TypeVar("_T")


def read_settings(path: Path) -> Settings:
    """The settings that a `loop.toml` holds; keys that it leaves out have their defaults.

    A component named as `module:Class` is imported, to see that it is there (see `component`).

    Raises `ConfigError`, with the line, for whatever the file may not hold; without one if there is no such file.
    """
    text = _text(path)
    table = _parsed(text, path.name)

    def where(keys: Keys) -> str:
        line = _line_of(text, keys)
        return path.name if line is None else f"{path.name}, line {line}"

    settings = _told(_built(Settings, table, (), where), path.parent, where)
    _validate(settings, path.parent, where)
    return settings


def write_settings(settings: Settings, path: Path) -> None:
    """Write a `loop.toml` with every key below its documentation, at once or not at all.

    What `read_settings` would refuse is refused here, before the file is touched. Comments that people added to an
    older file are not kept.
    """
    refuse_settings(settings, path)
    try:
        content = to_toml(settings).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"cannot write {path}: a setting holds {error.object[error.start : error.end]!r}, which is half a "
            "character; give the text (often the name of a file) in UTF-8."
        ) from error
    _replace(path.resolve(), content)


def refuse_settings(settings: Settings, path: Path) -> None:
    """`ConfigError` for settings that this file may not hold."""
    _built(Settings, json.loads(to_json(settings)), (), lambda keys: path.name)
    _validate(settings, path.parent, lambda keys: path.name)


def rewrite_settings(settings: Settings, path: Path) -> None:
    """Write other settings over a `loop.toml` that is there; instructions that stand in a file of their own stay there.

    Raises `ConfigError` as `write_settings` does, and for a file that cannot be read.
    """
    task, before = settings.task, read_settings(path)
    name = _parsed(_text(path), path.name).get("task", {}).get("instructions_file", "")
    if name and task.instructions == before.task.instructions:
        task = dataclasses.replace(task, instructions="", instructions_file=name)
    write_settings(dataclasses.replace(settings, task=task), path)


def strategies_for(settings: Settings) -> list[str]:
    """Names of the strategies that can choose in this loop, without options, in alphabetical order."""
    from query_strategies import STRATEGIES

    return [name for name in sorted(STRATEGIES) if _chooses(name, settings)]


def _chooses(name: str, settings: Settings) -> bool:
    try:
        _check_strategy("query.strategy", name, settings)
        check(dataclasses.replace(settings, query=dataclasses.replace(settings.query, strategy=name)))
    except ConfigError:
        return False
    return True


def to_toml(settings: Settings) -> str:
    """The text of a `loop.toml`: every section and key once, each below its documentation."""
    lines = _comment(
        "What this loop was told. A change made from the dashboard writes the file anew, without your comments."
    )
    lines.append("")
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            lines += ["", *_comment(type(value).__doc__ or ""), f"[{field.name}]"]
            for key in dataclasses.fields(value):
                lines += _documented(key, getattr(value, key.name))
        else:
            lines += _documented(field, value)
    return "\n".join(lines) + "\n"


def component(name: str, folder: Path) -> Callable[..., Any]:
    """The class (or function) that `module:Class` names.

    `folder`, where `loop.toml` lies, is searched after all that is installed. It stays at the end of `sys.path`,
    because what is made with the class must be importable in the runner's process too.

    Raises `ConfigError` when the module cannot be imported, whatever goes wrong in it, or does not have the name.
    """
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))
    return cast(Callable[..., Any], components.load(name, place=str(folder)))


# From the file to the settings.


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}: `active-loop init` writes one.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path.name}, line {line}: this is not UTF-8; save the file as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; it must be a file that you may read.") from error


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        place = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        line = int(place[1]) if place else _first_unfinished_line(text)
        what = re.sub(r" \(at .*\)$", "", str(error))
        wrong = textwrap.shorten(text.split("\n")[line - 1], 60, placeholder=" …")
        raise ConfigError(
            f"{name}, line {line}: this is not TOML: `{wrong}` "
            f"({what[:1].lower()}{what[1:]}). Texts need quotes, decimals a point, and a key may stand only once."
        ) from error


def _built(cls: type[_T], mapping: Mapping[str, Any], path: Keys, where: Where) -> _T:
    """An instance of the dataclass, from a table with its fields as keys; `path` is the table's own place."""
    kinds = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        keys = (*path, key)
        if key not in kinds:
            raise ConfigError(f"{where(keys)}: {_unknown_key(keys, value)}")
        if not dataclasses.is_dataclass(kinds[key]):
            values[key] = _converted(kinds[key], value, keys, where)
        elif isinstance(value, Mapping):
            values[key] = _built(cast(type[Any], kinds[key]), value, keys, where)
        else:
            raise ConfigError(f"{where(keys)}: {key} is a section: write [{key}], and its keys below it.")
    return cls(**values)


def _told(settings: Settings, folder: Path, where: Where) -> Settings:
    """The settings with the instructions that stand in a file: what people are told is part of the settings."""
    name = settings.task.instructions_file
    if not name:
        return settings
    place = f"{where(('task', 'instructions_file'))}: task.instructions_file"
    if settings.task.instructions:
        raise ConfigError(f'{place} is "{name}", and task.instructions is there as well: keep one of them.')
    try:
        text = (folder / name).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{place}: cannot read {folder / name}: {reason}.") from error
    return dataclasses.replace(
        settings, task=dataclasses.replace(settings.task, instructions=text, instructions_file="")
    )


def _unknown_key(keys: Keys, value: object) -> str:
    """What is wrong with a key that no section has, and what was probably meant."""
    defaults = dataclasses.asdict(Settings())
    sections = {key: list(part) for key, part in defaults.items() if isinstance(part, dict)}
    name = keys[-1]
    if len(keys) == 1 and isinstance(value, Mapping):
        return f"unknown section [{name}]{_closest(name, sections, '[{}]')} Known sections: {', '.join(sections)}."
    top = [key for key in defaults if key not in sections]
    known = sections[keys[0]] if len(keys) > 1 else top
    place = f"in [{keys[0]}]" if len(keys) > 1 else "above the first section"
    homes = [f"in [{section}]" for section, part in sections.items() if name in part]
    homes += ["above the first section"] if name in top else []
    hint = f"; it belongs {' or '.join(homes)}." if homes else _closest(name, known, '"{}"')
    return f'unknown key "{name}" {place}{hint} Known keys: {", ".join(known)}.'


def _closest(name: str, known: Collection[str], form: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {form.format(close[0])}?" if close else "."


_EXPECTED: Final[Mapping[Any, str]] = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    tuple[str, ...]: "a list of texts in quotes",
    tuple[float, ...]: "a list of numbers",
}


def _converted(kind: Any, value: object, keys: Keys, where: Where) -> object:
    """The value as the field holds it, or a refusal that names both kinds."""
    if not _fits(kind, value):
        raise ConfigError(
            f"{where(keys)}: {'.'.join(keys)} is {_shown(value)}, {_kind_of(value)}; {_EXPECTED[kind]} is expected."
        )
    if kind is float:
        return float(cast(float, value))
    if kind == tuple[float, ...]:
        return tuple(map(float, cast(list[float], value)))
    return tuple(value) if isinstance(value, list) else value


def _fits(kind: Any, value: object) -> bool:
    largest = sys.float_info.max
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest
    if kind == tuple[float, ...]:  # of which one may be infinite: an end that is open
        return isinstance(value, list) and all(_fits(float, part) or part in (math.inf, -math.inf) for part in value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (str, bool):
        return isinstance(value, kind)
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _shown(value: object) -> str:
    return textwrap.shorten(json.dumps(value, ensure_ascii=False, default=str), 60, placeholder=" …")


def _kind_of(value: object) -> str:
    names = {bool: "a truth value", str: "a text", int: "a whole number", float: "a number", list: "a list"}
    return names.get(type(value), "a section" if isinstance(value, Mapping) else "a date or time")


def _line_of(text: str, keys: Keys) -> int | None:
    """The line, from 1, on which the statement starts that gives `keys` a value; None if none does.

    Only whole statements parse: the key's own one ends where it first appears, and starts after the last line up
    to which the text parsed without it.
    """
    lines = text.split("\n")
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _holds(table, keys):
            return start + 1
        start = end
    return None


def _holds(table: object, keys: Keys) -> bool:
    return not keys or (isinstance(table, Mapping) and keys[0] in table and _holds(table[keys[0]], keys[1:]))


def _first_unfinished_line(text: str) -> int:
    """The first line of the statement that the end of the text cuts off."""
    lines = text.split("\n")
    for end in range(len(lines) - 1, 0, -1):
        try:
            tomllib.loads("\n".join(lines[:end]))
        except ValueError:
            continue
        return end + 1
    return 1


# What may not stand in a file although its type is right.


def _validate(settings: Settings, folder: Path, where: Where) -> None:
    """Refuse unknown names and what `settings.check` refuses, with the line of the key that the message names."""
    try:
        _check_names(settings, folder)
        make_task(settings.task)
        check(settings)
    except ConfigError as error:
        known = _values(settings)
        named = next((key for key in re.findall(r"\w+\.\w+", str(error)) if key in known), "")
        raise ConfigError(f"{where(tuple(named.split('.')))}: {error}") from error


def _check_names(settings: Settings, folder: Path) -> None:
    """Component by component, as `loop.toml` orders them."""
    values = _values(settings)
    for key, known in _fixed_names(settings).items():
        if values[key] not in known:
            raise ConfigError(f"{key}: {unknown_name('name', values[key], [name for name in known if name])}")
    for key, known in _component_names().items():
        for name in settings.model.names if key == "model.use" else (values[key],):
            if ":" in name:
                _import_for(key, name, folder)
            elif name.partition("(")[0] not in known:
                raise ConfigError(f"{key}: {unknown_name('name', name, known)[:-1]}, or your own as module:Class.")
    _check_search(settings)
    for key in ("query.strategy", "query.cold_start"):
        if ":" not in values[key]:
            _check_strategy(key, values[key], settings)


def _check_search(settings: Settings) -> None:
    """What a search for the model cannot work with."""
    model = settings.model
    if "auto" in model.names and not model.searches:
        raise ConfigError(f'model.use is "{model.use}": auto finds the members of a committee itself; name it alone.')
    if model.seconds <= 0:
        raise ConfigError(f"model.seconds is {model.seconds:g}: a search needs some time; give 5, for instance.")
    if model.candidates and ":" not in model.space:
        from .search import check_candidates

        check_candidates(model.candidates, settings.task.learned)


def _check_strategy(key: str, name: str, settings: Settings) -> None:
    """What a strategy cannot do in this loop is said now, not after the first labels."""
    from query_strategies import StrategyError, make

    try:
        strategy = make(name)
    except StrategyError as error:
        raise ConfigError(f"{key}: {error}") from error
    if settings.task.learned not in strategy.tasks:
        kinds = ", ".join(sorted(strategy.tasks))
        raise ConfigError(f'{key}: "{name}" chooses for tasks of kind {kinds}, and this one is {settings.task.kind}.')
    if settings.model.members < strategy.needs_members:
        raise ConfigError(
            f'{key}: "{name}" compares the members of a committee, at least {strategy.needs_members}, and there is '
            f'{settings.model.members}; set model.committee to 5, for instance, or model.use to "logistic, svm".'
        )
    if "cost" in strategy.needs:
        raise ConfigError(f'{key}: "{name}" needs expected seconds per item, and a loop has none; use margin.')
    if key == "query.cold_start" and strategy.needs & {"proba", "votes", "refit"}:
        raise ConfigError(
            f'{key}: "{name}" needs a model, and there is none at the beginning; use "kmeans" or "random".'
        )


def _import_for(key: str, name: str, folder: Path) -> None:
    try:
        component(name, folder)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def _fixed_names(settings: Settings) -> dict[str, Collection[str]]:
    metrics = TASKS[settings.task.kind].metrics if settings.task.kind in TASKS else ()
    return {
        "data.kind": ("", *sources.KINDS),
        "task.kind": TASKS,
        "target.metric": metrics,
        "target.proof": PROOFS,
        "target.stop_on": STOP_ON,
        "labeling.backend": BACKENDS,
    }


def _component_names() -> dict[str, Collection[str]]:
    from query_strategies import STRATEGIES

    from .extractors import EXTRACTORS

    extractors = ("auto", *EXTRACTORS)
    return {
        "query.strategy": STRATEGIES,
        "query.cold_start": STRATEGIES,
        "model.use": (*MODELS, "auto"),
        "model.space": ("growing",),
        "model.search": ("halving",),
        "model.evaluation": ("folds",),
        "features.use": extractors,
    }


def _values(settings: Settings) -> dict[str, Any]:
    """The values of all sections by dotted key."""
    sections = {key: part for key, part in dataclasses.asdict(settings).items() if isinstance(part, dict)}
    return {f"{section}.{key}": value for section, part in sections.items() for key, value in part.items()}


# From the settings to the file.


def _documented(field: dataclasses.Field[Any], value: object) -> list[str]:
    return [*_comment(field.metadata["doc"]), f"{field.name} = {to_toml_value(value)}"]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def to_toml_value(value: object) -> str:
    """The value of one setting as TOML; a text of several lines is written as several lines."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() if "\n" in value:
            # Only quotes that would end the text early are escaped.
            return '"""\n' + re.sub(r'"(?="|\Z)', r"\"", _escaped(value)) + '"""'
        case str():
            return '"' + _escaped(value).replace('"', r"\"") + '"'
        case tuple():
            return "[" + ", ".join(map(to_toml_value, value)) + "]"
    raise TypeError(f"a setting cannot be a {type(value).__name__}")


def _escaped(text: str) -> str:
    """With the backslashes and the control characters escaped that TOML forbids; line feeds and tabs stay."""
    forbidden = r"[\x00-\x08\x0b-\x1f\x7f]"
    return re.sub(forbidden, lambda found: f"\\u{ord(found[0]):04x}", text.replace("\\", "\\\\"))


def _replace(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a crash leaves either the old file or the new one."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}; the folder must exist and be writable.") from error
