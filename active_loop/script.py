"""The same loop for scripts: from a data frame or a folder, run in this process, results as data frames."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .domain import Decision, Verdict
from .errors import ConfigError
from .labeling import LabelingBackend
from .report import CurvePoint, Status
from .settings import (
    BudgetSettings,
    DataSettings,
    LabelingSettings,
    ModelSettings,
    QuerySettings,
    Settings,
    TargetSettings,
    TaskSettings,
)
from .simulate import run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Target:
    """The metric and the value to reach."""

    metric: str = "accuracy"
    value: float = 0.9


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to: the decision, the newest score, what it cost, and the whole curve."""

    decision: Decision
    status: Status

    @property
    def verdict(self) -> Verdict:
        return self.decision.verdict

    @property
    def score(self) -> CurvePoint | None:
        return self.status.score

    @property
    def labels_used(self) -> int:
        """Answers asked for: to learn and to test."""
        return self.status.answers

    @property
    def learning_curve(self) -> pd.DataFrame:
        """One row per round: labels, answers, value and its interval."""
        import pandas as pd

        columns = list(CurvePoint.__slots__)
        return pd.DataFrame([[getattr(p, c) for c in columns] for p in self.status.curve], columns=columns)


class Loop:
    """A loop in a script. Everything it does lies in `folder` and goes on from there when it is opened again."""

    def __init__(self, settings: Settings, folder: Path | str | None = None) -> None:
        if folder is None:
            folder = tempfile.mkdtemp(prefix="active-loop-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.settings = settings
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        classes: Sequence[str],
        text: str = "",
        columns: Sequence[str] = (),
        test: pd.DataFrame | None = None,
        answer: str = "",
        target: Target = Target(),
        budget: int = 400,
        strategy: str = "auto",
        model: str = "auto",
        seed: int = 0,
        folder: Path | str | None = None,
    ) -> Loop:
        """A loop over the rows of a data frame: one column of `text`, or a table of `columns`.

        `test` has rows of the same kind that alone test, with their answers in its column `answer`. All rows are
        written into the loop's folder (a temporary one by default), so that the loop can go on later.
        """
        if bool(text) == bool(columns):
            raise ConfigError("name either one column of text (text=...) or the columns of a table (columns=[...]).")
        if (test is None) != (not answer):
            raise ConfigError("a test frame and the name of its column of answers go together (test=..., answer=...).")
        shown = (text,) if text else tuple(columns)
        data = DataSettings(path="data.parquet", kind="text" if text else "table", show=shown)
        settings = Settings(
            seed=seed,
            data=data if test is None else replace(data, test="test.parquet", answer=answer),
            task=TaskSettings(classes=tuple(classes)),
            target=TargetSettings(metric=target.metric, value=target.value),
            budget=BudgetSettings(answers=budget),
            query=QuerySettings(strategy=strategy),
            model=ModelSettings(use=model),
            labeling=LabelingSettings(backend="oracle"),
        )
        made = cls(settings, folder)
        frame[list(shown)].to_parquet(made.folder / "data.parquet", index=False)
        if test is not None:
            test[[*shown, answer]].to_parquet(made.folder / "test.parquet", index=False)
        return made

    def run(self, backend: LabelingBackend) -> Result:
        """Run until the loop has stopped, with answers from `backend`; goes on where an earlier run ended."""
        ended = run(self.settings, self.folder, backend)
        return Result(ended.decision, ended.status)
