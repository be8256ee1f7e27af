"""How MLflow opens a model that `active-loop mlflow --model` registered: as any pyfunc model.

What is registered is the file itself, with the name of this module: no pickle, and no code beside it. So whoever opens
it needs active-loop installed, and nothing here imports MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model import Model, load_model

if TYPE_CHECKING:
    import pandas as pd


class Registered:
    """A model as MLflow calls it."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, rows: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """What `Model.predict` says of these rows; there are no `params`."""
        return self._model.predict(rows)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Registered:
    """The model in a file; `model_config["trust"]` names the user's own types in it, as `load_model` wants them."""
    return Registered(load_model(Path(path), (model_config or {}).get("trust", ())))
