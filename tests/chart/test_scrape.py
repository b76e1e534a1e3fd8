"""The chart's scrape configuration, dashboards and alerts with a real Prometheus over a real API server's pods.

There is no kubelet: pods are objects whose address is this machine, where the programs' own exporters answer.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from prometheus_client import generate_latest

from fljob_api import metric_names, names
from fljob_api.fljob import FLJob
from fljob_api.metric_names import MetricName
from fljob_operator.metrics import OperatorMetrics
from fljob_runtime.transport.metrics import Metrics
from support.controlplane import ControlPlane
from support.processes import wait_until
from support.prometheus import Prometheus, prometheus_in
from support.prometheus_queries import NamedQuery, alert_queries, dashboard_queries

pytestmark = [pytest.mark.apiserver, pytest.mark.promtool]

NAMESPACE, JOB = "chart-scrape", "movies"
VALUES = {
    "wait": "updates",
    "reason": "DigestError",
    "trainer": "site-0",
    "shard": "0",
    "table": "item_embedding",
    "call": "push",
    "mode": "Async",
    "kind": "full",
    "event": "made",
}
# Of a job that is well; all other metrics are 1.
WELL = {
    "fljob_server_staged_updates": 0.0,
    "fljob_server_waiting_contributions": 0.0,
    "fljob_server_memory_limit_bytes": 100.0,
}
RUNNING_JOB = {
    "apiVersion": "fljob.dev/v1alpha1",
    "kind": "FLJob",
    "metadata": {"name": JOB, "namespace": NAMESPACE, "uid": "1"},
    "spec": {
        "model": {"name": "ncf"},
        "rounds": 9,
        "dataset": {"name": "synthetic"},
        "trainers": [{"name": "site-0"}],
    },
    "status": {
        "state": "Running",
        "training": {
            "round": 3,
            "metrics": [{"name": "Loss", "value": "0.4", "round": 3}, {"name": "AUC", "value": "0.8", "round": 3}],
        },
    },
}
WINDOW = "10s"
QUERIES = dashboard_queries(namespace=NAMESPACE, job=JOB, window=WINDOW)


_POD_LABELS = {
    "coordinator": {names.LABEL_JOB: JOB, names.LABEL_ROLE: names.ROLE_COORDINATOR},
    "server": {names.LABEL_JOB: JOB, names.LABEL_ROLE: names.ROLE_SERVER},
    "trainer": {names.LABEL_JOB: JOB, names.LABEL_ROLE: names.ROLE_TRAINER},
    "operator": {"app.kubernetes.io/name": "fljob", "app.kubernetes.io/component": "operator"},
}
_TABLES = {
    "coordinator": (metric_names.COORDINATOR, {"namespace": "kube-system", "job": "another-job"}),  # it lies
    "server": (metric_names.SERVER, {"namespace": NAMESPACE, "job": JOB, "shard": "0"}),
    "trainer": (metric_names.TRAINER, {"namespace": NAMESPACE, "job": JOB, "trainer": "site-0"}),
}


@pytest.fixture(scope="module")
def prometheus(apiserver: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the chart's configuration and rules over four exporters."""
    folder = tmp_path_factory.mktemp("prometheus")
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(_serve(text)) for name, text in _exporters().items()}
        for name, port in ports.items():
            _make_pod(apiserver, name, port)
            stack.callback(apiserver.kubectl, "delete", "pod", name, "-n", NAMESPACE, "--force", "--grace-period=0")
        pods = json.loads(apiserver.kubectl("get", "pods", "-A", "-o", "json"))["items"]
        prometheus = stack.enter_context(prometheus_in(folder))
        prometheus.discover(pods)
        wait_until("every pod to be scraped three times", lambda: _scraped(prometheus), 60)
        yield prometheus


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.source)
def test_every_query_of_the_dashboards_has_series(prometheus: Prometheus, query: NamedQuery) -> None:
    assert prometheus.ask(query.expr)


@pytest.mark.parametrize("query", alert_queries(), ids=lambda q: q.source)
def test_every_metric_of_the_alerts_has_series(prometheus: Prometheus, query: NamedQuery) -> None:
    assert [metric for metric in query.metrics if not prometheus.ask(metric)] == []


def test_a_job_that_is_well_raises_no_alert(prometheus: Prometheus) -> None:
    assert prometheus.alerts() == set()


def test_a_pod_cannot_write_series_of_another_job(prometheus: Prometheus) -> None:
    (series,) = prometheus.ask("fljob_round")
    assert (series["metric"]["namespace"], series["metric"]["job"]) == (NAMESPACE, JOB)
    assert not [label for label in series["metric"] if label.startswith("exported_")]


def test_the_operators_series_name_the_job_that_they_are_about(prometheus: Prometheus) -> None:
    (series,) = prometheus.ask("fljob_job_round")
    assert (series["metric"]["namespace"], series["metric"]["job"]) == (NAMESPACE, JOB)


def _scraped(prometheus: Prometheus) -> bool:
    """Whether each pod was scraped three times, so that rates have a value."""
    expr = f'count_over_time(up{{job=~"{JOB}|fljob-operator"}}[1m]) >= 3'
    return len(prometheus.ask(expr)) == len(_POD_LABELS)


def _make_pod(apiserver: ControlPlane, name: str, port: int) -> None:
    apiserver.kubectl("create", "namespace", NAMESPACE, check=False)
    container = {"name": names.CONTAINER, "image": "none", "ports": [{"name": "http", "containerPort": port}]}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": _POD_LABELS[name]}
    spec = {"containers": [container], "automountServiceAccountToken": False, "serviceAccountName": "default"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    apiserver.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([account, pod]))
    status = {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
    apiserver.kubectl("patch", "pod", name, "-n", NAMESPACE, *patch)


def _exporters() -> dict[str, Callable[[], bytes]]:
    """Return the exposition of each program, by the programs' own exporters."""
    texts = {program: _filled(*table).text for program, table in _TABLES.items()}
    operator = _operator_metrics()
    return {**texts, "operator": lambda: generate_latest(operator.registry)}


def _filled(table: Sequence[MetricName], constant: dict[str, str]) -> Metrics:
    """Set every metric of a program once."""
    metrics = Metrics(table, constant)
    for row in table:
        labels = {label: VALUES[label] for label in row.labels if label not in constant}
        if row.kind == "histogram":
            metrics.observe(row.name, 1.0, **labels)
        elif row.kind == "counter":
            metrics.add(row.name, 1.0, **labels)
        else:
            now = time.time() if row.name.endswith("_timestamp_seconds") else 1.0
            metrics.set(row.name, WELL.get(row.name, now), **labels)
    return metrics


def _operator_metrics() -> OperatorMetrics:
    metrics = OperatorMetrics()
    metrics.leads(True)
    metrics.reconciled("changed", 0.1)
    metrics.applied("Job")
    metrics.requested("get", 200)
    metrics.saw(FLJob.model_validate(RUNNING_JOB))
    return metrics


@contextlib.contextmanager
def _serve(text: Callable[[], bytes]) -> Iterator[int]:
    """Serve /metrics on a free port, which is yielded."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(text())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
