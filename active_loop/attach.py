"""A loop for a project of Label Studio in which people have labelled already.

The project is read and left as it is. Its tasks and answers are kept in the loop folder, as the file that its own
export would give; people go on in a project of the loop's own, on the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import ConfigError, DataError
from .init import Given, refuse_taken, write_loop
from .label_studio import Control, Elsewhere, control_of, copied, fields, left_out
from .questions import Ask, Say, listed
from .session import token, write_tasks
from .settings import LabelingSettings, Settings

TASKS = "data/tasks.json"
"""Where the loop folder keeps what was read."""


def attach(folder: Path, place: LabelingSettings, project: int, given: Given, ask: Ask | None, say: Say) -> Settings:
    """Write `folder`/loop.toml, and beside it the tasks and answers of a project at `place`; returns what it says.

    Raises `LabelingError` if the project cannot be read, `ConfigError` if its page has no control that a loop can ask
    with, `DataError` if there is nothing to label, and what `write_loop` raises. Then nothing was written.
    """
    refuse_taken(folder)
    _refuse_said(given)
    theirs = Elsewhere(place.url, token=token(place), project=project)
    control = control_of(theirs.label_config, given.answer, theirs.title)
    say(f'Reading {theirs.n_tasks:,} tasks of project {project}, "{theirs.title}", at {theirs.url}.')
    tasks = theirs.tasks()
    if not tasks:
        raise DataError(f'project {project}, "{theirs.title}", at {theirs.url} has no tasks: nothing to start from.')
    if dropped := left_out(theirs.label_config, control.name):
        say(f"People will answer with {control.name}; {', '.join(dropped)} will not be on their page.")
    made = [path for path in (folder / "data", folder, *folder.parents) if not path.exists()]
    path = folder / TASKS
    write_tasks(path, tasks)
    try:
        told = _given(given, control, theirs, tasks)
        return write_loop(folder, path, told, ask, say, lambda settings: _attached(settings, place, control, theirs))
    except BaseException:
        path.unlink()
        for each in made:
            each.rmdir()
        raise


def _refuse_said(given: Given) -> None:
    """`ConfigError` for what the project says itself."""
    told = {"--kind": given.kind, "--label": given.label, "--show": given.show, "--test": given.test}
    told |= {"--bounds": given.bounds, "--question": given.question}
    for flag in (flag for flag, value in told.items() if value):
        raise ConfigError(f"{flag} cannot be given with --attach: people see the project's own page.")


def _given(given: Given, control: Control, theirs: Elsewhere, tasks: Sequence[Mapping[str, Any]]) -> Given:
    """The flags, with what the project's page says."""
    answered = any(
        isinstance(region, dict) and region.get("from_name") == control.name
        for task in tasks
        for answer in task["annotations"]
        for region in answer["result"] or ()
    )
    given = replace(
        given,
        label=control.kind,
        classes=given.classes or listed(control.classes),
        bounds=",".join(f"{end:.15g}" for end in control.bounds),
        step=control.step,
        answer=control.name if answered else "",
    )
    shown, readable = fields(copied(theirs.label_config, control.name))
    if shown == ("row",):  # a row of a table, as our own projects show it
        columns = dict.fromkeys(column for task in tasks for column in task["data"].get("row") or ())
        return replace(given, kind="table", show=tuple(columns))
    there = {field for task in tasks for field in task["data"]}
    use = tuple(name for name in readable if name in there)
    if not use:
        raise ConfigError(
            f'the page of project "{theirs.title}" shows {", ".join(shown) or "no field"}, and nothing there can be '
            "learned from: a loop needs texts, or the images themselves. Start from a file or folder by --data."
        )
    show = tuple(name for name in shown if name in there)
    return replace(given, kind="text", show=show, use=() if use == show else use)


def _attached(settings: Settings, place: LabelingSettings, control: Control, theirs: Elsewhere) -> Settings:
    return replace(
        settings,
        name=f"{theirs.title[:35]}: active loop",
        data=replace(settings.data, project=theirs.project),
        task=replace(
            settings.task,
            question="",
            instructions=theirs.instructions,
            unsure=control.unsure,
            broken=control.broken,
        ),
        labeling=replace(place, page=copied(theirs.label_config, control.name)),
    )
