"""The routes of an ML backend, as Label Studio calls them: attached, it gives people a button that wakes the loop.

Label Studio calls a backend at its address with /health, /setup, /predict, /webhook and /versions behind it, and sends
credentials with the first three alone. So the key stands in the address: /ml/KEY/setup and so on, which all five carry.
Whoever knows the key can do no more than wake the loop, which then looks for answers as it does anyway.

Predictions are always empty. A prediction that is shown before the answer pulls the answer its way, and a test item
answered so proves nothing. What is sent is not read: tasks come with their answers, and set-up with a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, abort, jsonify, request

from .access import Access

MODEL_VERSION: Final = ""
"""No model of ours writes predictions, so none has a version that a project could order its tasks by."""


def routes(access: Access, wake: Callable[[], None], name: Callable[[], str | None]) -> Blueprint:
    """The five routes below /ml/KEY; a wrong key is an unknown address. `name` gives that of the loop."""
    ml = Blueprint("ml", __name__, url_prefix="/ml/<key>")

    @ml.url_value_preprocessor
    def check(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if not access.attached((values or {}).pop("key", "")):
            abort(404)

    def health() -> Any:
        return jsonify(status="UP", loop=name())

    def setup() -> Any:
        return jsonify(model_version=MODEL_VERSION)

    def predict() -> Any:
        sent = request.get_json(silent=True)
        tasks = sent.get("tasks") if isinstance(sent, dict) else None
        # One list of predictions for each task: Label Studio would store a prediction whose result is empty.
        return jsonify(results=[[] for _ in tasks] if isinstance(tasks, list) else [])

    def webhook() -> Any:
        wake()
        return jsonify({})

    def versions() -> Any:
        return jsonify(versions=[])

    ml.add_url_rule("/health", view_func=health)
    ml.add_url_rule("/setup", view_func=setup, methods=["POST"])
    ml.add_url_rule("/predict", view_func=predict, methods=["POST"])
    ml.add_url_rule("/webhook", view_func=webhook, methods=["POST"])
    ml.add_url_rule("/versions", view_func=versions)
    return ml
