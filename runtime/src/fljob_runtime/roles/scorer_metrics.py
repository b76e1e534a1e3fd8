"""What a scorer exports to Prometheus; names and help are in fljob_api.metric_names. Called by both of its faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fljob_api.metric_names import SCORER
from fljob_runtime.transport.metrics import Metrics


class ScorerMetrics:
    """Counts what one model answers over HTTP and gRPC."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Take the model's signature."""
        self._metrics = Metrics(SCORER, {})
        self.text = self._metrics.text
        model = told.get("model")
        self._metrics.set(
            "fljob_scorer_model_info",
            1,
            fljob=str(told.get("job", "")),
            model=str(model.get("name", "")) if isinstance(model, dict) else "",
            round=str(told.get("round", "")),
        )

    def answered(self, path: str, code: str, seconds: float) -> None:
        """Count an answer."""
        self._metrics.add("fljob_scorer_requests_total", path=path, code=code)
        self._metrics.observe("fljob_scorer_request_seconds", seconds, path=path)

    def scored(self, call: str, rows: int) -> None:
        """Count what the model was asked for."""
        self._metrics.add("fljob_scorer_rows_total", rows, call=call)
