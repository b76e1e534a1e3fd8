"""Dashboards and alerts read only metrics that the programs have, by labels that these have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fljob_api import metric_names
from support.pod_discovery import with_files
from support.prometheus_queries import (
    CHART,
    NamedQuery,
    alert_queries,
    alert_rules,
    dashboard_queries,
    dashboards,
    scrape_config,
)

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"
CASES = Path(__file__).with_name("alerts_test.yaml")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
LABELS = {m.name + suffix: set(m.labels) for m in metric_names.ALL for suffix in SUFFIXES[m.kind]}
QUERIES = [*dashboard_queries(), *alert_queries()]
every_query = pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.source)
every_alert = pytest.mark.parametrize("rule", alert_rules(), ids=lambda r: r["alert"])


@every_query
def test_query_reads_metrics_that_exist(query: NamedQuery) -> None:
    assert query.metrics
    assert query.metrics <= LABELS.keys()


@every_query
def test_query_selects_by_labels_of_the_metric(query: NamedQuery) -> None:
    assert [(name, labels - LABELS[name]) for name, labels in query.selectors() if labels - LABELS[name]] == []


@every_query
def test_query_groups_by_labels_of_its_metrics(query: NamedQuery) -> None:
    known = set.intersection(*(LABELS[name] for name in query.metrics)) | {"le"}
    optional = set.union(*(LABELS[name] for name in query.metrics))
    groups = [set(group.split(", ")) for group in GROUPING.findall(query.expr)]
    assert [g for g in groups if not g <= (known if len(query.metrics) == 1 else optional | {"le"})] == []


def test_every_metric_is_on_a_dashboard() -> None:
    families = {re.sub("_(bucket|sum|count)$", "", name) for q in dashboard_queries() for name in q.metrics}
    assert {m.name for m in metric_names.ALL} - families == set()


@pytest.mark.promtool
def test_alerts_fire_and_keep_silent_as_their_cases_say() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", CASES.name],
        cwd=CASES.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
def test_prometheus_takes_every_query_of_the_dashboards(tmp_path: Path) -> None:
    rules = [{"record": f"query:{i}", "expr": q.expr} for i, q in enumerate(dashboard_queries(namespace="a", job="b"))]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    command = ["promtool", "check", "rules", "--lint=none", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_alert
def test_alert_has_a_case(rule: dict[str, Any]) -> None:
    assert f"name: {rule['alert']}" in CASES.read_text()


@every_alert
def test_alert_says_what_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}


@every_alert
def test_alert_links_to_a_section_of_the_runbook(rule: dict[str, Any]) -> None:
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert page == "docs/runbook.md"
    assert f"### {rule['alert']}\n" in RUNBOOK.read_text()
    assert anchor == rule["alert"].lower()


@every_alert
def test_alert_text_names_only_labels_that_the_alert_has(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    grouped = {label for group in GROUPING.findall(rule["expr"]) for label in group.split(", ")}
    of_the_pod = {"pod"} if "by (" not in rule["expr"] else set()
    assert named <= grouped | of_the_pod


@pytest.mark.parametrize("dashboard", dashboards().values(), ids=lambda d: d["uid"])
def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for g in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(g["x"], g["x"] + g["w"])
        for y in range(g["y"], g["y"] + g["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_chart_ships_both_dashboards() -> None:
    assert sorted(p.stem for p in (CHART / "files/dashboards").iterdir()) == ["fljob-job", "fljob-jobs"]


@pytest.mark.promtool
def test_prometheus_takes_the_scrape_configuration(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(with_files(scrape_config(), tmp_path)))
    command = ["promtool", "check", "config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
