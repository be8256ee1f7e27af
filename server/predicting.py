"""Predictions over HTTP: rows in, labels out, from the loop's own model file.

The file is opened once, by the first request that needs it, and again when it was written anew; a request never trains.
Whoever may read the pages may ask.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from active_loop.errors import ActiveLoopError
from active_loop.language import say
from active_loop.model import Model, load_model

from .overview import text

ROWS: Final = 1000
"""Rows of one request, at most."""

BYTES: Final = 1 << 20


class Opened:
    """The model in a file, opened when it is first asked for and when the file has changed."""

    def __init__(self, path: Path, trust: Callable[[], tuple[str, ...]]) -> None:
        self._path, self._trust = path, trust
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int], Model] | None = None

    def model(self) -> Model | None:
        """The model; None while there is no file. Raises what `load_model` raises."""
        with self._lock:
            try:
                found = self._path.stat()
            except OSError:
                self._known = None
                return None
            stamp = (found.st_mtime_ns, found.st_size)
            if self._known is None or self._known[0] != stamp:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that other libraries wrote it is said by the commands
                    self._known = (stamp, load_model(self._path, self._trust()))
            return self._known[1]


def routes(path: Path, trust: Callable[[], tuple[str, ...]] = tuple) -> Blueprint:
    """The one address. `trust` names the classes of the user's own that the file may hold."""
    opened, predicting = Opened(path, trust), Blueprint("predicting", __name__, url_prefix="/predict")

    def predict() -> Response:
        request.max_content_length = BYTES
        try:
            given: Any = request.get_json(silent=True, force=True)
        except RequestEntityTooLarge:
            return _refused(413, say("A request may hold {n} bytes at most: send fewer rows at a time.", n=BYTES))
        try:
            model = opened.model()
            problem = _problem(model, given)
            if model is None or problem:
                return _refused(409 if model is None else 400, problem)
            return _json({"predictions": _predictions(model, given["rows"])})
        except ActiveLoopError as error:
            return _refused(400, str(error))

    predicting.add_url_rule("", endpoint="predict", view_func=predict, methods=["POST"])
    return predicting


def _problem(model: Model | None, given: object) -> str:
    """Why this cannot be answered, in a sentence; empty if it can."""
    if model is None:
        return say("There is no model file yet: “active-loop model” writes it.")
    if model.about.kind == "image" or model.about.extractor == "embeddings":
        return say("This model predicts from pictures or from features of your own: use “active-loop predict”.")
    rows = given.get("rows") if isinstance(given, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return say("Send JSON like {example}.", example='{"rows": [{"column": "value"}]}')
    if len(rows) > ROWS:
        return say("A request may hold {n} rows at most, and this one has {given}.", n=ROWS, given=len(rows))
    return ""


def _predictions(model: Model, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Cells keep the types that they came with: a column of one kind is no other one because of its neighbours.
    frame = pd.DataFrame(rows, dtype=object)
    said = model.said(frame, range(1, len(rows) + 1))
    sure = [None] * len(rows) if said.confidence is None else said.confidence.tolist()
    ask = [None] * len(rows) if said.ask is None else said.ask.tolist()
    return [
        {"label": label, "confidence": confidence, "ask": asks}
        for label, confidence, asks in zip(said.labels, sure, ask, strict=True)
    ]


def _refused(code: int, sentence: str) -> Response:
    return _json({"error": sentence}, code)


def _json(values: Mapping[str, Any], code: int = 200) -> Response:
    return Response(text(values), code, mimetype="application/json")
