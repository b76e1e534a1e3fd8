"""What a real Prometheus sees of a real job on a real cluster, by the chart's own scrape configuration and queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.jobs import Jobs, manifest
from support.prometheus import Prometheus, prometheus_in
from support.prometheus_queries import dashboard_queries

pytestmark = [pytest.mark.cluster, pytest.mark.promtool, pytest.mark.timeout(420)]
NAME = "observed"


def discover(prometheus: Prometheus, jobs: Jobs, system: str) -> None:
    """Tell Prometheus the pods of now, as its own discovery would."""
    namespaces = (system, jobs.namespace)
    prometheus.discover([pod for name in namespaces for pod in jobs.cluster.items("pods", name)])


def test_every_dashboard_query_has_series_and_no_alert_fires_while_a_job_learns(
    jobs: Jobs, operator: str, tmp_path: Path
) -> None:
    wanted = dashboard_queries(namespace=jobs.namespace, job=NAME, window="15s")
    wanted = [query for query in wanted if query.has_series_when_all_is_well]
    assert wanted
    with prometheus_in(tmp_path) as prometheus:
        name = jobs.apply(jobs.with_checkpoint(manifest(NAME, rounds=60)))
        missing = [query.source for query in wanted]

        def all_there() -> bool:
            discover(prometheus, jobs, operator)
            missing[:] = [query.source for query in wanted if not prometheus.ask(query.expr)]
            assert jobs.state(name) not in {"Succeeded", "Failed"}, f"the job ended, still without series: {missing}"
            return not missing

        jobs.cluster.wait_for(f"series for every query of {name}", all_there, 150, every_s=1.0)
        assert prometheus.alerts() == set()


def test_loss_and_auc_of_the_status_are_what_prometheus_stores(jobs: Jobs, operator: str, tmp_path: Path) -> None:
    with prometheus_in(tmp_path) as prometheus:
        name = jobs.apply(manifest(NAME, rounds=3))
        jobs.wait_state(name, "Succeeded", "Failed")
        shown = jobs.metrics(name)[3]
        labels = f'namespace="{jobs.namespace}",job="{name}"'

        def stored() -> tuple[float | None, float | None]:
            discover(prometheus, jobs, operator)
            return prometheus.value(f"fljob_job_loss{{{labels}}}"), prometheus.value(f"fljob_job_auc{{{labels}}}")

        jobs.cluster.wait_for("loss and AUC in Prometheus", lambda: None not in stored(), 60)
        assert stored() == pytest.approx(shown, abs=1e-9)
