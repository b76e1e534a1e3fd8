"""Every PromQL expression that the chart ships: of dashboards and of alert rules, ready to be evaluated.

Used by the chart's tests (names and labels) and by the tests on a real cluster, which evaluate each against a real
Prometheus. Reads the chart's files and does nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts/fljob"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_METRIC = re.compile(r"\bfljob_\w+")
_SELECTOR = re.compile(r"\b(?P<name>fljob_\w+)(?:\{(?P<matchers>[^}]*)\})?")
_LABEL = re.compile(r"(?P<label>\w+)\s*(?:=~|!~|!=|=)")

# Counters with a label of their own: no series before the first straggler, or without a table with keys Any.
NOT_IN_EVERY_JOB = frozenset({"fljob_stragglers_total", "fljob_server_keyed_rows_total"})


@dataclass(frozen=True)
class NamedQuery:
    """One expression and where it is from, such as `fljob-job / AUC per site` or `alert FLJobStuck`."""

    source: str
    expr: str

    @property
    def metrics(self) -> frozenset[str]:
        """The names of the metrics that the expression reads, as they are scraped."""
        return frozenset(_METRIC.findall(_STRING.sub('""', self.expr)))

    @property
    def has_series_when_all_is_well(self) -> bool:
        """Whether any job that is well has series for it."""
        return not self.metrics & NOT_IN_EVERY_JOB

    def selectors(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield each metric with the labels that its matchers name."""
        for match in _SELECTOR.finditer(_STRING.sub('""', self.expr)):
            yield match["name"], frozenset(_LABEL.findall(match["matchers"] or ""))


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards as Grafana reads them, by uid."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((CHART / "files/dashboards").glob("*.json")))
    return {dashboard["uid"]: dashboard for dashboard in map(json.loads, texts)}


def dashboard_queries(*, namespace: str = "$namespace", job: str = "$job", window: str = "1m") -> list[NamedQuery]:
    """Return each panel's queries with the variables filled in as Grafana would for one job."""
    values = {"$__rate_interval": window, "$namespace": namespace, "$job": job}
    return [
        NamedQuery(f"{uid} / {panel['title']}", _filled(target["expr"], values))
        for uid, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def alert_rules() -> list[dict[str, Any]]:
    """Return the alert rules of all groups, as Prometheus reads them."""
    document = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def alert_queries() -> list[NamedQuery]:
    """Return each alert's expression; on a healthy job it must be valid and have no series."""
    return [NamedQuery(f"alert {rule['alert']}", rule["expr"]) for rule in alert_rules()]


def scrape_config() -> dict[str, Any]:
    """Return the chart's scrape configuration for a plain Prometheus."""
    loaded: dict[str, Any] = yaml.safe_load((CHART / "files/prometheus-scrape.yaml").read_text(encoding="utf-8"))
    return loaded


def _filled(expr: str, values: dict[str, str]) -> str:
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    return expr
