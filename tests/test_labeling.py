"""The person at the keyboard: what is typed, and which label that is, for each kind of task."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from active_loop.domain import AnswerKind, Ask, AskState, Purpose
from active_loop.labeling import Publication, Terminal
from active_loop.tasks import MultiLabel, Number, SingleChoice, Task

COLOURS = SingleChoice(("red", "green", "3"))
TOPICS = MultiLabel(("politics", "sports", "arts"))
WEIGHT = Number(0, 10, step=0.5, unit="kg")


def answered(task: Task, *typed: str) -> tuple[str | None, list[str]]:
    """The label that comes of what is typed, one line after the other, and what was said meanwhile."""
    lines: Iterator[str] = iter(typed)
    said: list[str] = []

    def read(prompt: str) -> str:
        said.append(prompt)
        return next(lines)

    terminal = Terminal(task=task, read=read, write=said.append)
    terminal.publish([Publication(Ask("ask-1", 0, Purpose.POOL, AskState.OPEN), {"text": "what is shown"})])
    (annotation,) = terminal.collect()
    assert next(lines, None) is None, "every line was read"
    label = json.loads(annotation.raw)
    assert (annotation.kind == AnswerKind.SKIPPED) == (label is None)
    return label, said


@pytest.mark.parametrize(
    ("task", "typed", "label"),
    [
        (COLOURS, "1", "red"),
        (COLOURS, "gr", "green"),
        (COLOURS, "3", "3"),
        (TOPICS, "1, 3", '["politics", "arts"]'),
        (TOPICS, "sp", '["sports"]'),
        (TOPICS, "0", "[]"),
        (WEIGHT, "3.5 kg", "3.5"),
        (WEIGHT, "10", "10"),
    ],
)
def test_what_is_typed_is_a_label(task: Task, typed: str, label: str) -> None:
    assert answered(task, typed)[0] == label


def test_an_empty_line_skips() -> None:
    assert answered(COLOURS, "")[0] is None


@pytest.mark.parametrize(
    ("task", "wrong", "says", "right"),
    [
        (COLOURS, "blue", '"blue" is not one of the answers: type a number from 1 to 3.', "1"),
        (TOPICS, "1,1", '"politics" is given 2 times: try again.', "1"),
        (TOPICS, "0,1", '"(none)" cannot stand beside other choices', "2"),
        (WEIGHT, "3,5", "write it with a point, for instance 3.5: try again.", "3.5"),
        (WEIGHT, "11", "11 is above 10, the largest number that is allowed: try again.", "1"),
    ],
)
def test_what_is_no_label_is_said_and_asked_again(task: Task, wrong: str, says: str, right: str) -> None:
    label, said = answered(task, wrong, right)
    assert any(says in line for line in said)
    assert task.read(label).label == label


def test_the_question_names_the_choices_with_their_numbers() -> None:
    assert "Which is it?  1 red  2 green  3 3  (Enter skips" in answered(COLOURS, "1")[1][-1]
    assert "Which are there?  0 (none)  1 politics" in answered(TOPICS, "1")[1][-1]
    assert "How much is it?  (Enter skips" in answered(WEIGHT, "1")[1][-1]


def test_the_person_may_leave() -> None:
    with pytest.raises(KeyboardInterrupt):
        answered(COLOURS, "q")
