"""What people see and what they choose, as Label Studio's XML and JSON.

The labelling page, the data of a task and the result of an answer hang together by names: what a task's data calls
a field the page shows, and the page's control is the one whose results are read. So they stand together, and
nothing here calls a server or imports what does.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeGuard
from urllib.parse import quote
from xml.etree import ElementTree

from ..errors import ConfigError, LabelingError
from ..settings import Settings, TaskSettings
from ..tasks import BELOW, BROKEN, NONE, UNSURE, path_of

CONTROL: Final = "label"
"""Name of the control that people answer with; results of any other control but `OUTCOME` are not ours."""

OUTCOME: Final = "outcome"
"""Name of the control beside a number or a tree, for "(unsure)" and "(broken item)"."""

ASK: Final = "ask"
"""Name of the field of a task's data that says which ask it stands for; people never see it."""

_FIELD: Final = r"\$(?=\w)"
_ROW: Final = "row"
_IMAGE: Final = "image"
_QUESTIONS: Final = {
    "choice": "Which one is it?",
    "taxonomy": "Which one is it?",
    "multi_label": "Which of these are there?",
    "number": "How much is it?",
}
_ONE_LEAF: Final = {
    "leafsOnly": "true",
    "maxUsages": "1",
    "showFullPath": "true",
    "pathSeparator": BELOW,
    "placeholder": "Choose here",
    "minWidth": "420px",
}
_INLINE_BYTES: Final = 200_000
_INLINE_PIXELS: Final = 1024


# What people see.


def label_config(settings: Settings) -> str:
    """The labelling page as Label Studio's XML: question, shown fields, and what people answer with.

    That is one choice per class with its key, of several labels any number of them or "(none)", a tree whose leaves
    can be chosen, or a number's field.
    Raises `ConfigError` for a class that Label Studio would take for a field: "$" and a letter or digit.
    """
    for name in settings.task.classes:
        if re.search(_FIELD, name):
            raise ConfigError(f'task.classes: Label Studio takes the "$" in "{name}" for a field; write it otherwise.')
    view = ElementTree.Element("View")
    question = re.sub(_FIELD, "\N{FULLWIDTH DOLLAR SIGN}", settings.task.question or _QUESTIONS[settings.task.kind])
    unit = f" ({settings.task.unit})" if settings.task.unit else ""
    ElementTree.SubElement(view, "Header", value=question + unit)
    for name, tag, value in _objects(settings):
        # An image takes the whole width otherwise, and pushes the choices below the edge of the window.
        size = {"maxWidth": "640px", "maxHeight": "55vh"} if tag == "Image" else {}
        ElementTree.SubElement(view, tag, {"name": name, "value": value} | size)
    shown = view[1].get("name", "")
    if settings.task.kind in ("number", "taxonomy"):
        _field_of(view, shown, settings.task)
    else:
        several = settings.task.kind == "multi_label"
        own = [*settings.task.classes, NONE] if several else [*settings.task.classes]
        _choices(view, CONTROL, shown, "multiple" if several else "single", [*own, *_outcomes(settings.task)], True)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def _field_of(view: ElementTree.Element, shown: str, task: TaskSettings) -> None:
    """A number's field or a tree, and choices for what is neither; the field cannot be required beside those."""
    outcomes = _outcomes(task)
    told = {"name": CONTROL, "toName": shown} | ({} if outcomes else {"required": "true"})
    if task.kind == "taxonomy":
        _tree(ElementTree.SubElement(view, "Taxonomy", told | _ONE_LEAF), task.classes)
    else:
        ElementTree.SubElement(view, "Number", told | _limits(task))
    if outcomes:
        _choices(view, OUTCOME, shown, "single", outcomes, False)


def _limits(task: TaskSettings) -> dict[str, str]:
    limits = dict(zip(("min", "max"), task.bounds, strict=False)) | ({"step": task.step} if task.step else {})
    return {name: f"{value:.15g}" for name, value in limits.items() if math.isfinite(value)}


def _tree(tree: ElementTree.Element, classes: Sequence[str]) -> None:
    """The branches and leaves below `tree`, in the order in which the classes name them."""
    known: dict[tuple[str, ...], ElementTree.Element] = {(): tree}
    for name in classes:
        path = path_of(name)
        for depth, part in enumerate(path):
            above, here = tuple(path[:depth]), tuple(path[: depth + 1])
            if here not in known:
                known[here] = ElementTree.SubElement(known[above], "Choice", {"value": part})


def _choices(
    view: ElementTree.Element, name: str, shown: str, how: str, choices: Sequence[str], required: bool
) -> None:
    told = {"name": name, "toName": shown, "choice": how, "showInline": "true"}
    parent = ElementTree.SubElement(view, "Choices", told | ({"required": "true"} if required else {}))
    for choice, key in hotkeys(choices).items():
        ElementTree.SubElement(parent, "Choice", {"value": choice} | ({"hotkey": key} if key else {}))


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


def _outcomes(task: TaskSettings) -> list[str]:
    """What people may say instead of an answer."""
    return [choice for offered, choice in ((task.unsure, UNSURE), (task.broken, BROKEN)) if offered]


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
        taken = {ASK, _ROW, _IMAGE, CONTROL, *names.values()}
        candidates = [plain, *(f"{plain}_{n}" for n in range(2, len(taken) + 3))]
        names[column] = next(name for name in candidates if name not in taken)
    return names


def same_config(one: str, other: str) -> bool:
    """Whether two label configs mean the same XML."""
    with contextlib.suppress(ElementTree.ParseError):
        return ElementTree.canonicalize(one, strip_text=True) == ElementTree.canonicalize(other, strip_text=True)
    return one == other


def differences(there: str, ours: str) -> list[str]:
    """What a label config says otherwise than ours, and what follows: one sentence each, none if they mean the same.

    A label that another one stands in the place of was renamed, if there are as many of both.
    """
    if same_config(there, ours):
        return []
    found, wanted = _labels(there), _labels(ours)
    if found is None or wanted is None:
        return [f'no control named "{CONTROL}" is there any more: no answer is usable until it is back']
    gone, new = [x for x in wanted if x not in found], [x for x in found if x not in wanted]
    pairs = list(zip(wanted, found, strict=True)) if len(wanted) == len(found) else []
    renamed = {old: name for old, name in pairs if old in gone and name in new}
    said = [
        f'"{old}" was renamed to "{name}": answers that say "{name}" are not usable, those that say "{old}" still count'
        for old, name in renamed.items()
    ]
    said += [
        f'"{name}" was removed: nobody can give it any more, and answers that say it still count'
        for name in gone
        if name not in renamed
    ]
    said += [
        f'"{name}" was added: answers that say it are not usable, as no class of loop.toml has this name'
        for name in new
        if name not in renamed.values()
    ]
    return said or [
        "the labels are the same, and something else differs: question, order, keys, limits or shown fields"
    ]


def _labels(config: str) -> list[str] | None:
    """What a label config lets people choose, in its order; None if our control is not in it."""
    with contextlib.suppress(ElementTree.ParseError):
        root = ElementTree.fromstring(config)
        if any(control.get("name") == CONTROL for control in root.iter()):
            return list(_leaves(root))
    return None


def _leaves(above: ElementTree.Element, path: tuple[str, ...] = ()) -> Iterator[str]:
    """What can be chosen below an element: of nested choices the path to each that has none below it."""
    for part in above:
        here = (*path, part.get("alias") or part.get("value") or "") if part.tag == "Choice" else path
        if part.tag == "Choice" and part.find("Choice") is None:
            yield BELOW.join(here)
        yield from _leaves(part, here)


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


def task_data(shown: Mapping[str, Any], ask: str, image_root: Path | None) -> dict[str, Any]:
    """What a task carries: the shown fields and the ask, nothing else.

    Images below `image_root` are served by our own server; others travel in the task. Raises `LabelingError` for an
    image that cannot be read.
    """
    return _fields(shown, lambda path: _served(path, image_root) or _data_uri(path)) | {ASK: ask}


def ask_of(data: object) -> str | None:
    """The ask that a task with this data stands for; None for a task that is not ours."""
    ask = data.get(ASK) if isinstance(data, dict) else None
    return ask if isinstance(ask, str) and ask else None


def export_tasks(
    rows: Sequence[Any], shown: Sequence[Mapping[str, Any]], image_root: Path | None = None, kind: str = "choice"
) -> list[dict[str, Any]]:
    """Labels as tasks that Label Studio imports: shown fields, the label as an annotation, the rest as `meta`.

    `rows` are dataclass values with a `label` of this `kind` (None: a task without annotation), `shown` the fields of
    each. Images are named by their path, or by the address that a server with this `image_root` gives them.
    """
    tasks = []
    for row, fields in zip(rows, shown, strict=True):
        data = _fields(fields, lambda path: _served(path, image_root) or str(path))
        results = [label_result(row.label, next(iter(data), ""), kind)] if row.label is not None else []
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


# What people chose.


def choice_result(choice: str, shown: str) -> list[dict[str, Any]]:
    """The result of choosing `choice` for the shown object `shown`, as the labelling page would write it."""
    return _chosen([choice], shown)


def label_result(label: str, shown: str, kind: str) -> list[dict[str, Any]]:
    """The result that stands for a label, in its normal form, of a kind of task."""
    if kind == "multi_label":
        return _chosen(json.loads(label) or [NONE], shown)
    if kind == "number":
        return [{"from_name": CONTROL, "to_name": shown, "type": "number", "value": {"number": float(label)}}]
    if kind == "taxonomy":
        value = {"taxonomy": [path_of(label)]}
        return [{"from_name": CONTROL, "to_name": shown, "type": "taxonomy", "value": value}]
    return choice_result(label, shown)


def _chosen(choices: list[str], shown: str) -> list[dict[str, Any]]:
    return [{"from_name": CONTROL, "to_name": shown, "type": "choices", "value": {"choices": choices}}]


def read_result(raw: str) -> list[str]:
    """The answers in a result (JSON text), for `tasks.Task.read`: chosen strings, paths of a tree, or a number; [] for
    no answer.

    Label Studio stores whatever it is sent. Where our control cannot have written it (broken JSON, another control,
    another type) the one string says so in brackets: it is no class, so it reads as invalid, and nothing is guessed.

    >>> read_result('[{"from_name": "label", "type": "choices", "value": {"choices": ["3"]}}]')
    ['3']
    >>> read_result('[{"from_name": "note", "type": "textarea", "value": {"text": ["3"]}}]')
    ['[not our control: a textarea of "note"]']
    >>> read_result('[{"from_name": "label", "type": "number", "value": {"number": 3.5}}]')
    ['3.5']
    >>> read_result('[{"from_name": "label", "type": "taxonomy", "value": {"taxonomy": [["animal", "cat"]]}}]')
    ['animal > cat']
    """
    try:
        regions = json.loads(raw)
    except (ValueError, RecursionError):
        return ["[no JSON]"]
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        return ["[no list of regions]"]
    chosen: list[str] = []
    for region in regions:
        if (region.get("from_name"), region.get("type")) not in _OURS:
            return [f'[not our control: a {region.get("type")} of "{region.get("from_name")}"]']
        value = region.get("value")
        given = _strings(region["type"], value.get(region["type"]) if isinstance(value, dict) else None)
        if given is None:
            return [f"[no {_GIVEN[region['type']]}]"]
        chosen += given
    return chosen


def _strings(kind: str, given: object) -> list[str] | None:
    """What a result of this type holds as strings; None for what our page cannot have written."""
    if kind in ("number", "rating"):
        return [repr(given)] if isinstance(given, int | float) and not isinstance(given, bool) else None
    if kind == "taxonomy" and isinstance(given, list):
        given = [BELOW.join(path) if _are_strings(path) else None for path in given]
    return given if _are_strings(given) else None


def _are_strings(parts: object) -> TypeGuard[list[str]]:
    return isinstance(parts, list) and all(isinstance(part, str) for part in parts)


_GIVEN: Final = {"choices": "list of choices", "number": "number", "rating": "number", "taxonomy": "list of paths"}
"""What the results of each type must hold."""

_OURS: Final = (*((CONTROL, kind) for kind in ("choices", "number", "rating", "taxonomy")), (OUTCOME, "choices"))
"""(control, type) of the results that our own pages write."""
