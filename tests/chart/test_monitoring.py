"""PodMonitors, PrometheusRule, dashboards and the plain scrape configuration agree with the contract and each other."""

from __future__ import annotations

import json

import pytest
from chart.rendering import MONITORED, Rendered, render

from fljob_api import names
from support import prometheus_queries as queries

MONITORING_KINDS = {"PodMonitor", "PrometheusRule", "ConfigMap"}


@pytest.fixture(scope="module")
def monitored() -> Rendered:
    return render(MONITORED)


@pytest.mark.helm
def test_monitoring_is_off_by_default() -> None:
    assert not MONITORING_KINDS & {o["kind"] for o in render().objects}


@pytest.mark.helm
def test_pods_of_jobs_are_found_by_their_role_label_everywhere(monitored: Rendered) -> None:
    spec = monitored.only("PodMonitor", "fljob-jobs")["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    assert spec["selector"] == {"matchExpressions": [{"key": names.LABEL_ROLE, "operator": "Exists"}]}


@pytest.mark.helm
def test_pods_of_jobs_are_sought_in_watched_namespaces_only() -> None:
    spec = render({**MONITORED, "watchNamespaces": ["a"]}).only("PodMonitor", "fljob-jobs")["spec"]
    assert spec["namespaceSelector"] == {"matchNames": ["a"]}


@pytest.mark.helm
def test_a_job_cannot_write_the_series_of_another(monitored: Rendered) -> None:
    (endpoint,) = monitored.only("PodMonitor", "fljob-jobs")["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is False
    assert {"sourceLabels": ["__meta_kubernetes_pod_label_fljob_dev_job"], "targetLabel": "job"} in endpoint[
        "relabelings"
    ]


@pytest.mark.helm
def test_the_operators_series_keep_their_job(monitored: Rendered) -> None:
    (endpoint,) = monitored.only("PodMonitor", "fljob-operator")["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True


@pytest.mark.helm
def test_pod_monitors_scrape_the_port_that_the_operator_has(monitored: Rendered) -> None:
    (port,) = monitored.operator["spec"]["containers"][0]["ports"]
    endpoints = [m["spec"]["podMetricsEndpoints"][0] for m in monitored.all("PodMonitor")]
    assert [e["port"] for e in endpoints] == [port["name"]] * 2


@pytest.mark.helm
def test_rule_holds_the_alerts_of_the_file(monitored: Rendered) -> None:
    groups = monitored.only("PrometheusRule")["spec"]["groups"]
    assert [rule for group in groups for rule in group["rules"]] == queries.alert_rules()


@pytest.mark.helm
def test_runbook_links_can_point_elsewhere() -> None:
    values = {"monitoring": {"prometheusRule": {"enabled": True, "runbookUrl": "https://wiki/fljob"}}}
    group = render(values).only("PrometheusRule")["spec"]["groups"][0]
    assert group["rules"][0]["annotations"]["runbook_url"] == "https://wiki/fljob#fljobfailed"


@pytest.mark.helm
def test_each_dashboard_is_a_config_map_for_the_sidecar(monitored: Rendered) -> None:
    maps = monitored.all("ConfigMap")
    assert {m["metadata"]["labels"]["grafana_dashboard"] for m in maps} == {"1"}
    held = [json.loads(text) for m in maps for text in m["data"].values()]
    assert {d["uid"]: d for d in held} == queries.dashboards()


def test_plain_scrape_config_drops_what_jobs_say_about_themselves() -> None:
    operator, jobs = queries.scrape_config()["scrape_configs"]
    assert operator["honor_labels"] is True
    assert "honor_labels" not in jobs
    assert jobs["metric_relabel_configs"] == [{"regex": "exported_(job|namespace)", "action": "labeldrop"}]
