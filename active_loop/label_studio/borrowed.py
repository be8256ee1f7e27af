"""A label config that somebody else made: what people answer with there, what they see, and a copy for our own project.

The copy is the same page with one control alone, the one whose answers the loop reads, under the name that ours has.
Nothing here calls a server.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from ..errors import ConfigError
from ..tasks import BELOW, BROKEN, NONE, UNSURE
from .page import CONTROL, OUTCOME

_MEDIA: Final = ("Image", "Audio", "AudioPlus", "Video", "Pdf", "TimeSeries")
"""Tags whose fields hold addresses: people see what is there, and nothing can be learned from the address."""

_CONDITIONS: Final = ("perRegion", "whenTagName", "visibleWhen")


@dataclass(frozen=True, slots=True)
class Control:
    """What people answer with: its name, and the kind of its labels with their classes, or bounds and step."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    step: float = 0.0
    unsure: bool = False
    broken: bool = False


def control_of(config: str, wanted: str | None, title: str) -> Control:
    """The control that answers are read from: the one of this name, else the only one that can be used.

    Raises `ConfigError` that names what is there if none can be used, or several and none is `wanted`.
    """
    root = _parsed(config, title)
    found = {each.name: each for each in _usable(root)}
    there = ", ".join(f'{tag} "{name}"' for tag, name in _named(root)) or "nothing"
    if not found:
        raise ConfigError(
            f'project "{title}" has no control that a loop can ask with: there is {there}, and it takes Choices, '
            "Taxonomy, Number or Rating that everybody answers about each task."
        )
    if wanted and wanted not in found:
        raise ConfigError(f'--answer: project "{title}" has no control "{wanted}" to use; it has {", ".join(found)}.')
    if len(found) > 1 and not wanted:
        raise ConfigError(
            f'project "{title}" has several controls to ask with, {", ".join(found)}: name one by --answer.'
        )
    return found[wanted or next(iter(found))]


def copied(config: str, control: str) -> str:
    """The label config with this control alone, which is called as ours is; what refers to it goes with it."""
    root = ElementTree.fromstring(config)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("toName") and control not in (child.get("name"), child.get("toName")):
                parent.remove(child)
    names = {name for _, name in _all_named(root)}
    renamed = {control: CONTROL}
    for taken in {CONTROL, OUTCOME} & names - {control}:
        renamed[taken] = next(f"{taken}_{n}" for n in range(2, len(names) + 3) if f"{taken}_{n}" not in names)
    for element in root.iter():
        for attribute in ("name", "toName", "whenTagName"):
            if (name := element.get(attribute)) in renamed:
                element.set(attribute, renamed[name or ""])
    return ElementTree.tostring(root, encoding="unicode")


def left_out(config: str, control: str) -> tuple[str, ...]:
    """The other controls of a label config, which the copy does not have."""
    return tuple(name for tag, name in _named(ElementTree.fromstring(config)) if name != control)


def fields(config: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of a task that are shown, in the order of the page, and those of them that can be learned from."""
    shown: dict[str, bool] = {}
    for element in ElementTree.fromstring(config).iter():
        for name in re.findall(r"\$(\w+)", " ".join(element.attrib.values())):
            shown[name] = shown.get(name, False) or element.tag not in _MEDIA
    return tuple(shown), tuple(name for name, readable in shown.items() if readable)


def _parsed(config: str, title: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(config or "<View/>")
    except ElementTree.ParseError as problem:
        raise ConfigError(f'the label config of project "{title}" is no XML: {problem}.') from problem


def _all_named(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    return ((element.tag, element.get("name") or "") for element in root.iter() if element.get("name"))


def _named(root: ElementTree.Element) -> list[tuple[str, str]]:
    """Tag and name of each control."""
    return [(each.tag, each.get("name") or "") for each in root.iter() if each.get("name") and each.get("toName")]


def _usable(above: ElementTree.Element) -> Iterator[Control]:
    """The controls below an element that can be read, and that nothing hides from people."""
    for element in above:
        if any(element.get(condition, "false") != "false" for condition in _CONDITIONS):
            continue
        if element.get("name") and element.get("toName"):
            found = _control(element)
            if found is not None:
                yield found
        else:
            yield from _usable(element)


def _control(element: ElementTree.Element) -> Control | None:
    name = element.get("name") or ""
    if element.tag == "Number":
        limits = [_number(element.get(end), default) for end, default in (("min", -math.inf), ("max", math.inf))]
        bounds = tuple(limits) if any(map(math.isfinite, limits)) else ()
        return Control(name, "number", bounds=bounds, step=_number(element.get("step"), 0.0))
    if element.tag == "Rating":
        return Control(name, "number", bounds=(1.0, _number(element.get("maxRating"), 5.0)), step=1.0)
    if element.tag == "Choices":
        texts = [choice.get("alias") or choice.get("value") or "" for choice in element.iter("Choice")]
        several = element.get("choice") == "multiple"
    elif element.tag == "Taxonomy":
        texts = list(_paths(element, leaves=element.get("leafsOnly") == "true"))
        several = element.get("maxUsages") != "1"
    else:
        return None
    classes = tuple(text for text in dict.fromkeys(texts) if text not in (UNSURE, BROKEN, NONE))
    kind = "multi_label" if several else "choice"
    known = len(classes) >= (1 if several else 2)
    return Control(name, kind, classes, unsure=UNSURE in texts, broken=BROKEN in texts) if known else None


def _paths(above: ElementTree.Element, *, leaves: bool, path: Sequence[str] = ()) -> Iterator[str]:
    """What can be chosen in a tree, as `exported.said` writes it: every branch, or the leaves alone."""
    for choice in above.findall("Choice"):
        here = (*path, choice.get("alias") or choice.get("value") or "")
        if not leaves or choice.find("Choice") is None:
            yield BELOW.join(here)
        yield from _paths(choice, leaves=leaves, path=here)


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
