"""The main job on real data: handwritten digits, a real Label Studio, and an expert who answers.

Makes a loop folder that is like any other (a `loop.toml`, the data, the state), so that what is seen here is what a
loop of one's own looks like; only the expert is scripted, and even that one uses nothing but Label Studio's own API.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from .config import read_settings, write_settings
from .errors import FolderError
from .expert import Expert, account
from .session import Session
from .settings import (
    BudgetSettings,
    DataSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    TargetSettings,
    TaskSettings,
)
from .simulate import simulate
from .store import FolderLock

_DATA = "data"
_MARK = "This folder was made by `active-loop demo`; `active-loop demo --clean` removes it.\n"


def demo_settings() -> Settings:
    """The settings of the demo: accuracy 0.90, certified, with 500 answers."""
    return Settings(
        name="digits",
        data=DataSettings(path=f"{_DATA}/answers.csv", kind="image", show=("image",)),
        task=TaskSettings(
            classes=tuple("0123456789"),
            question="Which digit is this?",
            instructions="Press the key of the digit that you see. If you cannot tell, choose (unsure).",
        ),
        target=TargetSettings(metric="accuracy", value=0.9, stop_on="certified"),
        budget=BudgetSettings(answers=500),
        model=ModelSettings(use="svm"),
        server=ServerSettings(port=0),
    )


def simulated_settings() -> Settings:
    """The demo's settings for the data where they were shipped, answered by the oracle."""
    settings = demo_settings()
    return replace(
        settings,
        data=replace(settings.data, path="answers.csv"),
        labeling=replace(settings.labeling, backend="oracle"),
    )


def prepare(folder: Path) -> Settings:
    """Make the demo's loop folder if it is not there, and read its settings. `FolderError` if it holds other things."""
    if not (folder / "loop.toml").is_file():
        if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
            raise FolderError(f"{folder} is not empty and is no demo folder: give another one by --folder.")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "DEMO").write_text(_MARK, encoding="utf-8")
        _copy_data(folder / _DATA)
        write_settings(demo_settings(), folder / "loop.toml")
    return read_settings(folder / "loop.toml")


def _is_ours(folder: Path) -> bool:
    return (folder / "DEMO").is_file()


def _copy_data(target: Path) -> None:
    """Copy the pictures and the answers, at once or not at all."""
    from active_loop.demo_data import folder as shipped

    draft = target.with_name(target.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    with shipped() as source:
        shutil.copytree(source / "images", draft / "images")
        shutil.copy(source / "answers.csv", draft / "answers.csv")
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)


def clean(folder: Path) -> bool:
    """Remove the demo's folder; False if there is none. Refuses a folder that is no demo, or that is running."""
    if not folder.exists():
        return False
    if not _is_ours(folder):
        raise FolderError(f"{folder} was not made by `active-loop demo`: nothing was removed.")
    with FolderLock(folder):
        pass
    shutil.rmtree(folder)
    return True


def answers(folder: Path) -> dict[str, str]:
    """The known digit of each picture, by the name of its file."""
    with (folder / _DATA / "answers.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["image"]).name: row["digit"] for row in csv.DictReader(file)}


def expert(session: Session, folder: Path) -> Expert:
    """The scripted expert, signed up as a second person by the invitation link."""
    place = session.labeling
    if place is None:
        raise FolderError("the demo's expert needs Label Studio: set labeling.backend to label-studio.")
    token = account(folder / "label-studio" / "expert.json", place.invite_link(), url=place.url)
    return Expert(place.url, token=token, project=place.project, answers=answers(folder))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a random choice needed in the same set-up: labels to learn, answers to test and in all; did it get there?"""

    n_labels: int
    n_test: int
    answers: int
    reached: bool
    budget: int


@dataclass(frozen=True, slots=True)
class RandomJob:
    """The same loop with a random choice instead of the strategy, answered by the oracle."""

    settings: Settings
    folder: Path

    def run(self) -> Comparison:
        settings = replace(self.settings, query=replace(self.settings.query, strategy="random"))
        known = {str(number): digit for number, digit in enumerate(answers(self.folder).values())}
        ended = simulate(settings, self.folder, known)
        status = ended.status
        return Comparison(
            n_labels=status.n_labels,
            n_test=status.test_answers,
            answers=status.answers,
            reached=ended.decision.reason == "target",
            budget=status.budget,
        )
