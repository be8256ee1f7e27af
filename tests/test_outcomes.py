"""What counts as what: each row of the table in docs/label-studio.md, done to a real loop at a real Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from studios import Host, Scene, chosen

from active_loop.domain import Outcome, Purpose
from active_loop.errors import LabelingError
from active_loop.label_studio import OpenTask
from active_loop.local_studio import LocalStudio
from active_loop.tasks import BROKEN, UNSURE

DOCS = Path(__file__).parent.parent / "docs" / "label-studio.md"
ROWS: set[str] = set()

pytestmark = [
    pytest.mark.studio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*"),
]


def row(of_the_table: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The row of the table that a test is about, by its first cell."""

    def remember(test: Callable[..., None]) -> Callable[..., None]:
        ROWS.add(of_the_table)
        return test

    return remember


@pytest.fixture
def scene(tmp_path: Path, studio: LocalStudio, host: Host, second: str) -> Iterator[Scene]:
    made = Scene(tmp_path, studio, host, second)
    yield made
    made.close()


# Answers.


@row("a label was chosen and submitted")
def test_a_label_is_one_vote_and_costs_the_answer_that_was_asked_for(scene: Scene) -> None:
    ask = scene.asks()[0]
    spent = scene.spent
    scene.answer(ask, "spam")
    assert scene.said(ask) == ("spam", Outcome.LABEL, (scene.studio.user,))
    assert (scene.spent, scene.times_asked(ask), scene.status().outcomes) == (spent, 1, {"label": 1})


@row("the task was skipped")
def test_a_skip_is_no_class_and_a_test_item_is_replaced(scene: Scene) -> None:
    ask, test = scene.asks()[0], scene.asks(Purpose.TEST)[0]
    needed = scene.loop.standing.test_prefix()
    for skipped in (ask, test):
        scene.person().skip(scene.task(skipped), lead_time_s=1.0)
    assert scene.said(ask) == (None, Outcome.SKIP, (scene.studio.user,))
    assert scene.status().outcomes == {"skip": 2}
    assert (scene.times_asked(ask), scene.times_asked(test)) == (1, 1)
    found = scene.loop.standing.test_prefix()
    assert (found.excluded, found.outstanding + len(found.fresh)) == (1, needed.outstanding + len(needed.fresh))


@row("*(unsure)* was chosen")
def test_unsure_is_no_class_and_a_test_item_is_replaced(scene: Scene) -> None:
    ask, test = scene.asks()[0], scene.asks(Purpose.TEST)[0]
    for one in (ask, test):
        scene.answer(one, UNSURE)
    assert scene.said(ask)[:2] == (None, Outcome.UNSURE)
    assert (scene.status().outcomes, scene.loop.standing.test_prefix().excluded) == ({"unsure": 2}, 1)


@row("*(broken item)* was chosen")
def test_broken_is_no_class_and_a_test_item_is_replaced(scene: Scene) -> None:
    ask, test = scene.asks()[0], scene.asks(Purpose.TEST)[0]
    for one in (ask, test):
        scene.answer(one, BROKEN)
    assert scene.said(ask)[:2] == (None, Outcome.BROKEN)
    assert (scene.status().outcomes, scene.loop.standing.test_prefix().excluded) == ({"broken": 2}, 1)


@row("a draft was saved")
def test_a_draft_is_nothing_and_its_task_is_not_withdrawn_at_the_stop(scene: Scene) -> None:
    drafted, untouched = scene.asks()[:2]
    draft = {"result": chosen("ham"), "lead_time": 1}
    scene.host("POST", f"/api/tasks/{scene.task(drafted).id}/drafts", draft)
    assert scene.merged(drafted) is None
    assert (scene.versions, scene.status().open_asks) == ([], 6)
    scene.stop()
    assert {task["data"]["ask"] for task in scene.host.tasks(scene.backend.project)} == {drafted.id}
    assert untouched.id != drafted.id


@row("nothing was chosen")
def test_an_empty_answer_is_not_usable_and_a_test_item_waits_until_it_is_mended(scene: Scene) -> None:
    ask, test = scene.asks()[0], scene.asks(Purpose.TEST)[0]
    outstanding = scene.loop.standing.test_prefix().outstanding
    for one in (ask, test):
        scene.submit(one, [])
    assert scene.said(ask)[:2] == (None, Outcome.INVALID)
    found = scene.loop.standing.test_prefix()
    assert (found.outstanding, found.excluded) == (outstanding, 0)
    assert (scene.status().outcomes, scene.times_asked(ask)) == ({"invalid": 2}, 1)
    scene.edit(test, result=chosen("ham"))
    assert scene.said(test)[:2] == ("ham", Outcome.LABEL)
    assert scene.loop.standing.test_prefix().outstanding == outstanding - 1


@row("a label was given that is no class")
def test_a_label_that_is_no_class_is_not_usable(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.submit(ask, chosen("eggs"))
    assert scene.said(ask)[:2] == (None, Outcome.INVALID)
    assert (scene.status().outcomes, scene.times_asked(ask)) == ({"invalid": 1}, 1)


@row("two labels were given where one is asked for")
def test_two_choices_of_one_are_not_usable(scene: Scene) -> None:
    together, apart = scene.asks()[:2]
    scene.submit(together, chosen("ham", "spam"))
    scene.submit(apart, [*chosen("ham"), *chosen("spam")])
    assert scene.said(together)[:2] == scene.said(apart)[:2] == (None, Outcome.INVALID)
    assert scene.status().outcomes == {"invalid": 2}


@row("another control than ours was used")
def test_what_another_control_says_is_not_usable(scene: Scene) -> None:
    ask = scene.asks()[0]
    note = {"from_name": "note", "to_name": "text", "type": "textarea", "value": {"text": ["ham"]}}
    scene.submit(ask, [*chosen("ham"), note])
    assert scene.said(ask)[:2] == (None, Outcome.INVALID)


# Changes of answers.


@row("the same person changed the answer")
def test_an_edit_by_the_same_person_is_a_new_version_of_one_vote(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.answer(ask, "ham")
    scene.settle()
    before = scene.loop.store.annotation_position()
    scene.edit(ask, result=chosen("spam"))
    assert scene.said(ask) == ("spam", Outcome.LABEL, (scene.studio.user,))
    assert scene.versions == ["submitted", "submitted"]
    assert scene.loop.standing.merge(before)[ask.item].label == "ham"


@row("somebody else changed the answer")
def test_an_edit_by_somebody_else_stays_the_vote_of_whose_answer_it_is(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.answer(ask, "ham", by=scene.second)
    scene.settle()
    scene.edit(ask, result=chosen("spam"))
    assert scene.said(ask) == ("spam", Outcome.LABEL, ("expert@loop.local",))
    assert scene.status().people == {"expert@loop.local": 1}


@row("the same person answered twice")
def test_the_newest_answer_of_a_person_is_the_one_vote(scene: Scene) -> None:
    ask = scene.asks()[0]
    spent = scene.spent
    for label in ("ham", "spam"):
        scene.answer(ask, label)
    found = scene.merged(ask)
    assert found is not None
    assert (found.label, found.votes, found.people) == ("spam", {"spam": 1}, (scene.studio.user,))
    assert scene.spent == spent


@row("two people answered differently")
def test_two_people_who_differ_leave_no_label_and_the_item_is_asked_about_again(scene: Scene) -> None:
    ask = scene.asks()[0]
    spent = scene.spent
    scene.answer(ask, "ham")
    scene.answer(ask, "spam", by=scene.second)
    found = scene.merged(ask)
    assert found is not None
    assert (found.label, found.disputed, found.votes) == (None, True, {"ham": 1, "spam": 1})
    assert (scene.status().disputed, scene.spent) == (1, spent)
    for other in scene.loop.store.unanswered():
        scene.answer(other, "ham")
    assert scene.merged(ask) == found
    assert scene.times_asked(ask) == 2


@row("the answer was deleted")
def test_a_deleted_answer_is_withdrawn_and_a_new_one_counts(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.answer(ask, "ham")
    assert scene.said(ask)[0] == "ham"
    spent = scene.spent
    scene.host("DELETE", scene.annotation(ask))
    assert scene.said(ask) == (None, Outcome.RETRACTED, ())
    assert (scene.status().outcomes, scene.spent, scene.times_asked(ask)) == ({"retracted": 1}, spent, 1)
    scene.answer(ask, "spam")
    assert scene.said(ask)[:2] == ("spam", Outcome.LABEL)


@row("the answer was marked as ground truth")
def test_a_ground_truth_mark_changes_no_vote(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.answer(ask, "ham")
    before = scene.said(ask)
    scene.edit(ask, by=scene.second, ground_truth=True)
    assert scene.said(ask) == before
    assert scene.status().outcomes == {"label": 1}
    handed = []
    while (task := scene.person(scene.second).next()) is not None:
        handed.append(task.id)
        scene.person(scene.second).skip(task, lead_time_s=1.0)
    assert scene.task(ask).id not in handed


@row("a prediction was added")
def test_a_prediction_is_nothing(scene: Scene) -> None:
    ask = scene.asks()[0]
    guess = {"task": scene.task(ask).id, "result": chosen("ham"), "score": 0.9, "model_version": "theirs"}
    scene.host("POST", "/api/predictions/", guess)
    assert scene.merged(ask) is None
    assert (scene.versions, scene.status().open_asks) == ([], 6)


@row("an answer came after the stop")
def test_an_answer_after_the_stop_is_recorded_and_changes_no_end(scene: Scene) -> None:
    half, drafted = scene.asks()[:2]
    scene.host("POST", f"/api/tasks/{scene.task(drafted).id}/drafts", {"result": chosen("ham"), "lead_time": 1})
    scene.answer(half, "ham")
    scene.settle()
    scene.stop()
    scene.answer(drafted, "spam")
    scene.restart()
    assert scene.said(drafted)[:2] == ("spam", Outcome.LABEL)
    assert scene.status().stopped.startswith("by hand")


# Tasks.


@row("the `ask` of an answered task was changed or removed")
def test_a_task_that_is_no_longer_ours_keeps_what_was_recorded_and_says_no_more(scene: Scene) -> None:
    ask, waiting = scene.asks()[:2]
    scene.answer(ask, "ham")
    assert scene.said(ask)[0] == "ham"
    where, changed = scene.annotation(ask), scene.task(waiting)
    for one, data in ((ask, {"text": "theirs now"}), (waiting, {"text": "theirs", "ask": "no-ask-of-ours"})):
        scene.host("PATCH", f"/api/tasks/{scene.task(one).id}/", {"data": data})
    scene.host("PATCH", where, {"result": chosen("spam")})
    scene.person().answer(changed, "spam", lead_time_s=1.0)
    assert (scene.said(ask)[0], scene.merged(waiting)) == ("ham", None)
    scene.restart()
    assert (scene.said(ask)[0], scene.merged(waiting)) == ("ham", None)
    scene.answer(waiting, "ham")
    assert scene.said(waiting)[0] == "ham"


@row("a task that is not ours was answered")
def test_an_answer_to_a_foreign_task_is_nothing(scene: Scene) -> None:
    foreign = [{"data": {"text": "theirs"}, "annotations": [{"result": chosen("ham")}]}]
    scene.host("POST", f"/api/projects/{scene.backend.project}/import", foreign)
    scene.settle()
    assert (scene.versions, scene.status().open_asks) == ([], 6)


@row("an answered task was deleted")
def test_an_answer_outlives_its_task(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.answer(ask, "ham")
    assert scene.said(ask)[0] == "ham"
    scene.host("DELETE", f"/api/tasks/{scene.task(ask).id}/")
    assert scene.said(ask)[:2] == ("ham", Outcome.LABEL)
    scene.restart()
    assert (scene.said(ask)[0], scene.times_asked(ask)) == ("ham", 1)
    assert ask.id not in scene.there()


@row("a task without an answer was deleted")
@pytest.mark.parametrize("restarted", [False, True])
def test_a_deleted_task_is_put_back_after_a_while_or_at_the_next_start(scene: Scene, restarted: bool) -> None:
    ask = scene.asks()[0]
    spent = scene.spent
    scene.host("DELETE", f"/api/tasks/{scene.task(ask).id}/")
    assert scene.merged(ask) is None
    assert (ask.id in scene.there(), scene.status().open_asks) == (False, 6)
    if restarted:
        scene.restart()
    for _ in range(0 if restarted else 60):
        scene.settle()
    assert (ask.id in scene.there(), scene.spent) == (True, spent)
    scene.answer(ask, "ham")
    assert scene.said(ask)[0] == "ham"


@row("a task was duplicated")
def test_answers_to_either_copy_of_a_task_count_and_the_spare_one_goes_at_the_stop(scene: Scene) -> None:
    ask, other = scene.asks()[:2]
    copies = [{"data": {"text": "again", "ask": one.id}} for one in (ask, other)]
    scene.host("POST", f"/api/projects/{scene.backend.project}/import", copies)
    spare, second_spare = sorted(task["id"] for task in scene.host.tasks(scene.backend.project))[-2:]
    scene.person().answer(OpenTask(spare, {}), "ham", lead_time_s=1.0)
    assert scene.said(ask)[0] == "ham"
    for task, label in ((scene.task(other), "spam"), (OpenTask(second_spare, {}), "ham")):
        scene.person().answer(task, label, lead_time_s=1.0)
    found = scene.merged(other)
    assert found is not None
    assert found.votes == {"ham": 1}
    scene.stop()
    assert scene.there() == sorted([ask.id, other.id, other.id])


@row("a deleted task's id was used again")
def test_a_task_with_a_used_id_speaks_for_its_own_ask_only(scene: Scene) -> None:
    last = max((*scene.asks(), *scene.asks(Purpose.TEST)), key=lambda one: scene.task(one).id)
    number = scene.task(last).id
    scene.answer(last, "ham")
    assert scene.said(last)[0] == "ham"
    scene.host("DELETE", f"/api/tasks/{number}/")
    scene.host("POST", f"/api/projects/{scene.backend.project}/import", [{"data": {"text": "theirs"}}])
    assert max(task["id"] for task in scene.host.tasks(scene.backend.project)) == number
    scene.person().answer(OpenTask(number, {}), "spam", lead_time_s=1.0)
    assert scene.said(last)[0] == "ham"
    assert scene.versions == ["submitted"]


# The project.


@row("a label was added to the label config")
def test_answers_with_an_added_label_are_not_usable(scene: Scene) -> None:
    ask = scene.asks()[0]
    assert scene.edited_config("</Choices>", '<Choice value="eggs"/></Choices>') == [
        '"eggs" was added: answers that say it are not usable, as no class of loop.toml has this name'
    ]
    scene.answer(ask, "eggs")
    assert scene.said(ask)[:2] == (None, Outcome.INVALID)
    scene.restart()
    assert scene.config_findings() == []
    assert scene.said(ask)[:2] == (None, Outcome.INVALID)


@row("a label was removed from it")
def test_answers_that_a_removed_label_was_given_in_still_count(scene: Scene) -> None:
    ask = scene.asks()[0]
    scene.answer(ask, "spam")
    assert scene.said(ask)[0] == "spam"
    assert scene.edited_config('<Choice value="spam" hotkey="2" />', "") == [
        '"spam" was removed: nobody can give it any more, and answers that say it still count'
    ]
    assert scene.said(ask)[0] == "spam"
    scene.restart()
    assert (scene.config_findings(), scene.said(ask)[0]) == ([], "spam")


@row("a label was renamed in it")
def test_a_renamed_label_is_unknown_and_its_old_name_still_counts(scene: Scene) -> None:
    old, new = scene.asks()[:2]
    scene.answer(old, "spam")
    assert scene.said(old)[0] == "spam"
    assert scene.edited_config('value="spam"', 'value="junk"') == [
        '"spam" was renamed to "junk": answers that say "junk" are not usable, those that say "spam" still count'
    ]
    scene.answer(new, "junk")
    assert (scene.said(old)[0], scene.said(new)[:2]) == ("spam", (None, Outcome.INVALID))
    scene.restart()
    assert (scene.config_findings(), scene.said(old)[0]) == ([], "spam")


@row("the project was deleted")
def test_answers_outlive_their_project_and_the_next_start_makes_a_new_one(scene: Scene) -> None:
    ask, waiting = scene.asks()[:2]
    scene.answer(ask, "ham")
    assert scene.said(ask)[0] == "ham"
    old, spent = scene.backend.project, scene.spent
    scene.host("DELETE", f"/api/projects/{old}/")
    for _ in range(2):
        with pytest.raises(LabelingError, match=f"project {old}.*Was it deleted there"):
            scene.settle()
    scene.restart()
    assert scene.backend.project != old
    assert (scene.said(ask)[0], scene.spent) == ("ham", spent)
    assert waiting.id in scene.there()
    assert ask.id not in scene.there()
    scene.answer(waiting, "spam")
    assert scene.said(waiting)[0] == "spam"


# The table.


def test_every_row_of_the_table_has_its_test() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## What counts as what\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert {len(row) for row in cells} == {5}
    assert {row[0] for row in cells[2:]} == ROWS
