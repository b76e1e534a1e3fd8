"""Grafana dashboards as values, and the JSON that Grafana reads. Knows no metric and does no I/O.

Used by tools/dashboards.py, which holds the contents, and by tools/generate_chart.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """One PromQL expression and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; `width` in the grid's 24 columns, `height` in its rows; `links` from a table's fields to addresses."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    note: str = ""
    links: tuple[tuple[str, str], ...] = ()
    decimals: int | None = None


@dataclass(frozen=True)
class Row:
    """Panels under one heading, flowing from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A drop-down filled by a query for label values."""

    name: str
    query: str
    several: bool = False


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; `uid` is its address in Grafana and never changes."""

    uid: str
    title: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


def to_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model (schemaVersion 39: Grafana 10 and later)."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["fljob"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(v) for v in dashboard.variables)]},
        "panels": list(_panels(dashboard.rows)),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": variable.several,
        "includeAll": variable.several,
        "allValue": ".*" if variable.several else None,
        "current": {"text": "All", "value": "$__all"} if variable.several else {},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            yield _panel(panel, number, left=left, top=top)
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, *, left: int, top: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    now = panel.kind != "timeseries"
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": source,
        "gridPos": {"h": panel.height, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": defaults, "overrides": [_link(*link) for link in panel.links]},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": source,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": now,
                "range": not now,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for i, query in enumerate(panel.queries)
        ],
        "transformations": _transformations(panel),
    }


def _link(field: str, url: str) -> dict[str, Any]:
    links = {"id": "links", "value": [{"title": "Open", "url": url}]}
    return {"matcher": {"id": "byName", "options": field}, "properties": [links]}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list"}}
    if panel.kind == "table":
        return {"showHeader": True}
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind != "table":
        return []
    return [{"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}]
