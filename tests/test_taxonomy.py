"""One leaf of a tree: read strictly, shown as a tree, learned as a choice."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from loops import CLASSES, open_loop, oracle, run_to_end, settings, write_points
from studios import seat, texts

from active_loop.cli import main
from active_loop.config import read_settings
from active_loop.domain import Outcome, Stopped
from active_loop.errors import ConfigError
from active_loop.export import export_rows, write_export
from active_loop.label_studio import LabelStudio, label_config, label_result, read_result
from active_loop.label_studio.page import differences
from active_loop.labeling import Publication, Terminal
from active_loop.local_studio import LocalStudio
from active_loop.report import status
from active_loop.settings import DataSettings, Settings, TaskSettings, check
from active_loop.sources import open_source
from active_loop.tasks import BROKEN, UNSURE, SingleChoice, Taxonomy, make_task

LIVING = ("animal > cat", "animal > dog", "plant > tree > oak", "plant > tree > elm", "plant > moss")
TASK = Taxonomy(LIVING)
TOLD = Settings(
    name="living",
    data=DataSettings(kind="text", show=("text",)),
    task=TaskSettings(kind="taxonomy", classes=LIVING, question="What is it?"),
)


def tree(*paths: list[Any]) -> dict[str, Any]:
    return {"from_name": "label", "to_name": "text", "type": "taxonomy", "value": {"taxonomy": [*paths]}}


SAID_UNSURE = {"from_name": "outcome", "type": "choices", "value": {"choices": [UNSURE]}}


@pytest.mark.parametrize(
    ("result", "outcome", "said"),
    [
        ([tree(["animal", "cat"])], Outcome.LABEL, "animal > cat"),
        ([tree(["plant", "tree", "elm"])], Outcome.LABEL, "plant > tree > elm"),
        ([tree(["animal", "cat"], ["animal", "cat"])], Outcome.LABEL, "animal > cat"),
        ([SAID_UNSURE], Outcome.UNSURE, ""),
        ([tree(), SAID_UNSURE], Outcome.UNSURE, ""),
        ([tree(["animal", "cat"]), SAID_UNSURE], Outcome.INVALID, "2 choices where one is allowed"),
        ([tree(["animal", "cat"], ["animal", "dog"])], Outcome.INVALID, "2 choices where one is allowed"),
        ([tree(["plant", "tree"])], Outcome.INVALID, '"plant > tree" is a branch and no leaf: choose one of oak, elm'),
        ([tree(["animal", "owl"])], Outcome.INVALID, 'unknown label "animal > owl"'),
        ([tree(["cat"])], Outcome.INVALID, 'unknown label "cat"'),
        ([tree(["animal", 3])], Outcome.INVALID, "no list of paths"),
        ([{"from_name": "label", "type": "taxonomy", "value": {}}], Outcome.INVALID, "no list of paths"),
        ([tree()], Outcome.INVALID, "empty answer"),
        ([], Outcome.INVALID, "empty answer"),
    ],
)
def test_one_leaf_is_a_label_and_nothing_else_is(result: object, outcome: Outcome, said: str) -> None:
    answer = TASK.read(read_result(json.dumps(result)))
    assert answer.outcome is outcome
    assert said in (answer.label or answer.problem)


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (("animal", "animal > cat"), '"animal" is a leaf and a branch'),
        (("cat", "dog"), "none of task.classes is below another"),
        (("animal > ", "plant > oak"), 'has a part ""'),
        (("animal >  > cat", "plant > oak"), 'has a part ""'),
        (("animal  > cat", "plant > oak"), 'has a part "animal "'),
        (("animal > cat", "animal > cat"), "both"),
        ((UNSURE, "animal > cat"), "cannot be a class"),
    ],
)
def test_classes_that_are_no_tree_are_refused(classes: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Taxonomy(classes)
    assert problem in str(refused.value)


def test_a_leaf_is_learned_as_the_class_of_a_choice_is() -> None:
    choice = SingleChoice(LIVING)
    assert (TASK.kind, TASK.metrics, TASK.classes) == (choice.kind, choice.metrics, choice.classes)
    assert TASK.encode(["plant > moss"]).tolist() == choice.encode(["plant > moss"]).tolist() == [4]
    assert TASK.consensus(["animal > cat", "animal > cat", "animal > dog"]).label == "animal > cat"
    told = settings(task=TOLD.task, people={"merge": "dawid_skene", "relabel_share": 0.1})
    check(told)
    with pytest.raises(ConfigError, match='"mae", which labels of the kind "choice" do not have'):
        check(settings(task=TOLD.task, target={"metric": "mae"}))


def test_people_are_shown_a_tree_whose_leaves_alone_can_be_chosen_and_one_at_most() -> None:
    page = ElementTree.fromstring(label_config(TOLD))
    (shown,) = page.iter("Taxonomy")
    told = {name: shown.get(name) for name in ("name", "toName", "leafsOnly", "maxUsages", "required")}
    assert told == {"name": "label", "toName": "text", "leafsOnly": "true", "maxUsages": "1", "required": None}
    assert [branch.get("value") for branch in shown] == ["animal", "plant"]
    assert [below.get("value") for below in shown[1]] == ["tree", "moss"]
    (beside,) = page.iter("Choices")
    assert [choice.get("value") for choice in beside] == [UNSURE, BROKEN]
    alone = dataclasses.replace(TOLD, task=dataclasses.replace(TOLD.task, unsure=False, broken=False))
    (required,) = ElementTree.fromstring(label_config(alone)).iter("Taxonomy")
    assert required.get("required") == "true"


@pytest.mark.parametrize("label", LIVING)
def test_a_leaf_that_is_written_as_a_result_is_read_as_the_same_leaf(label: str) -> None:
    (result,) = label_result(label, "text", "taxonomy")
    assert result["value"] == {"taxonomy": [label.split(" > ")]}
    assert TASK.read(read_result(json.dumps([result]))).label == label


def test_an_edit_of_the_tree_is_said_with_the_whole_path() -> None:
    config = label_config(TOLD)
    assert differences(config, config) == []
    (renamed,) = differences(config.replace('value="elm"', 'value="ash"'), config)
    assert '"plant > tree > elm" was renamed to "plant > tree > ash"' in renamed


def test_at_the_keyboard_a_leaf_has_a_number_and_is_found_by_its_own_name() -> None:
    said: list[str] = []
    typed = iter(["tree", "3", "mo", "animal > d"])
    place = Terminal(task=TASK, read=lambda prompt: next(typed), write=said.append)
    place.publish([Publication(each.ask, each.shown) for each in texts(1, 2, 3)])
    for _ in range(3):
        answers = list(place.collect())
    assert [TASK.read(json.loads(answer.raw)).label for answer in answers] == [LIVING[2], LIVING[4], LIVING[1]]
    first = said[2 : said.index("", 1)]
    assert first[:8] == [
        *("  animal", "    1 cat", "    2 dog", "  plant", "    tree", "      3 oak", "      4 elm", "    5 moss")
    ]
    assert '"tree" is not one of the answers: type a number from 1 to 5.' in first[8]


BRANCH = {"red": "warm > red", "green": "cold > green", "blue": "cold > blue"}
COLOURS = TaskSettings(kind="taxonomy", classes=tuple(BRANCH[name] for name in CLASSES))


def test_a_loop_learns_leaves_and_exports_their_paths(tmp_path: Path) -> None:
    labels = [BRANCH[label] for label in write_points(tmp_path)]
    loop = open_loop(tmp_path, oracle(labels), settings(task=COLOURS))
    assert isinstance(run_to_end(loop), Stopped)
    now = status(loop.store)
    assert now.score is not None
    assert now.score.value is not None
    assert now.score.value > 0.8
    rows = export_rows(loop.store)
    assert {row.label for row in rows} == set(COLOURS.classes)
    source = open_source(loop.settings.data, tmp_path)
    write_export(rows, tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == set(COLOURS.classes)
    write_export(rows, tmp_path / "labels.json", source, "taxonomy")
    written = json.loads((tmp_path / "labels.json").read_text())[0]
    (result,) = written["annotations"][0]["result"]
    assert result["value"] == {"taxonomy": [written["meta"]["label"].split(" > ")]}


def test_init_writes_a_tree_that_simulates_and_hints_at_one_that_looks_so(tmp_path: Path) -> None:
    labels = [BRANCH[label] for label in write_points(tmp_path)]
    rows = (tmp_path / "points.csv").read_text().splitlines()
    told = [f"{row},{label}" for row, label in zip(rows, ["colour", *labels], strict=True)]
    (tmp_path / "points.csv").write_text("\n".join(told) + "\n")
    flags = ["--data", str(tmp_path / "points.csv"), "--kind", "table", "--show", "x", "--show", "y", "--yes"]
    flags += ["--classes", ",".join(COLOURS.classes), "--budget", "90", "--answer", ""]
    plain = CliRunner().invoke(main, ["init", str(tmp_path / "plain"), *flags], catch_exceptions=False)
    assert "--label taxonomy lets people choose in it" in plain.output
    loop = str(tmp_path / "loop")
    made = CliRunner().invoke(main, ["init", loop, *flags, "--label", "taxonomy"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    assert "look like paths" not in made.output
    assert read_settings(tmp_path / "loop" / "loop.toml").task.kind == "taxonomy"
    done = CliRunner().invoke(main, ["simulate", loop, "--answers", "colour", "--json"], catch_exceptions=False)
    assert done.exit_code in (0, 3), done.output
    assert json.loads(done.stdout)["answers"] >= 60


# In a real Label Studio.


@pytest.mark.studio
def test_a_seat_gives_leaves_and_the_backend_reads_them(studio: LocalStudio, second: str) -> None:
    backend = LabelStudio(studio.url, token=studio.token)
    backend.create_project(TOLD, marker=f"taxonomy {time.time_ns()}")
    assert all(finding.ok for finding in backend.check(TOLD) if "label config" in finding.text)
    backend.publish(texts(1, 2))
    person = seat(backend, second)
    for label in ("plant > tree > oak", "animal > dog"):
        task = person.next()
        assert task is not None
        person.answer(task, label, lead_time_s=1.0, kind="taxonomy")
    read = {answer.ask: make_task(TOLD.task).read(read_result(answer.raw)).label for answer in backend.collect()}
    assert read == {"ask-1": "plant > tree > oak", "ask-2": "animal > dog"}


@pytest.mark.studio
@pytest.mark.browser
def test_a_person_opens_the_tree_in_the_labelling_page_and_chooses_a_leaf(
    studio: LocalStudio, browser: Any, tmp_path: Path
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.ui import WebDriverWait
    from test_local_studio import log_in

    def see(selector: str, by: str = By.CSS_SELECTOR) -> Any:
        return WebDriverWait(browser, 30).until(expected.element_to_be_clickable((by, selector)))

    log_in(browser, studio)
    backend = LabelStudio(studio.url, token=studio.token)
    backend.create_project(TOLD, marker=f"taxonomy {time.time_ns()}")
    backend.publish(texts(1))
    browser.get(f"{backend.project_url}/data")
    see("//button[contains(., 'Label All Tasks')]", By.XPATH).click()
    see(".lsf-taxonomy .ant-select-selector").click()
    for branch in ("plant", "tree"):
        see(f"{tree_row(branch)}//span[contains(@class, 'tree-switcher')]", By.XPATH).click()
    see(f"{tree_row('oak')}//span[contains(@class, 'tree-title')]", By.XPATH).click()
    WebDriverWait(browser, 30).until(
        expected.text_to_be_present_in_element((By.CSS_SELECTOR, ".lsf-taxonomy"), "plant > tree > oak")
    )
    disabled = "//span[contains(@class, 'tree-checkbox-disabled')]"
    for closed in ("plant", "elm"):
        assert browser.find_elements(By.XPATH, f"{tree_row(closed)}{disabled}"), f"{closed} can be chosen as well"
    see("h3").click()
    see("button[data-testid=bottombar-submit-button]").click()
    (answer,) = WebDriverWait(browser, 30, 0.05).until(lambda _: list(backend.collect()))
    assert make_task(TOLD.task).read(read_result(answer.raw)).label == "plant > tree > oak"


def tree_row(name: str) -> str:
    """Where the row of a branch or leaf is in the open tree."""
    return f"//div[contains(@class, 'tree-treenode')][.//span[@title='{name}']]"
