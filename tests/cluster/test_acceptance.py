"""The whole: ten sites with data on claims, watched by kubectl and Prometheus, beside the same job run locally.

One job is run once for all tests but the last. Its data is MovieLens-100K where FLJOB_TEST_DATA has it, else
generated.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster
from support.cluster_fixtures import install
from support.images import Images
from support.jobs import DEADLINE_S, Jobs, Numbers, manifest, metrics_by_round, run_locally
from support.processes import Process
from support.prometheus import Prometheus, prometheus_in
from support.prometheus_queries import NamedQuery, alert_queries, dashboard_queries

pytestmark = [pytest.mark.cluster, pytest.mark.promtool, pytest.mark.timeout(600)]
NAMESPACE, NAME = "ten-sites", "movies"
SITES, ROUNDS = 10, 6
HEADER = ["NAME", "STATE", "ROUND", "TRAINERS", "LOSS", "AUC", "SCORE", "AGE"]


@dataclass
class Watched:
    """What was seen of the job while it ran, and how it ended."""

    table: list[list[str]] = field(default_factory=list)
    without_series: list[str] = field(default_factory=list)
    alerts: set[str] = field(default_factory=set)
    seconds_watched_for_alerts: int = 0
    stored: tuple[float | None, float | None] = (None, None)
    status: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, str]]:
        """Return the rows with no empty cell: before the first metrics a row has fewer words than the header."""
        return [dict(zip(HEADER, row, strict=True)) for row in self.table[1:] if len(row) == len(HEADER)]

    def cells(self, column: str) -> list[str]:
        """Return what a column showed, each change once."""
        shown = [row[column] for row in self.rows if row.get(column)]
        return [cell for index, cell in enumerate(shown) if index == 0 or cell != shown[index - 1]]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """One folder a site of MovieLens-100K; None where it is not there."""
    data = os.environ.get("FLJOB_TEST_DATA")
    if not data:
        return None
    out = tmp_path_factory.mktemp("movielens") / "sites"
    source = ("--source", str(Path(data) / "ml-100k"), "--partition", "equal", "--sites", str(SITES))
    command = [sys.executable, "-m", "fljob_cli", "data", "import", "movielens", *source, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return out


@pytest.fixture(scope="module")
def watched(
    cluster: Cluster, operator: str, sites: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """The job, run to its end under the eyes of kubectl and Prometheus, and then locally."""
    folder = tmp_path_factory.mktemp("ten-sites")
    seen = Watched()
    with cluster.namespace(NAMESPACE), prometheus_in(folder) as prometheus:
        jobs = Jobs(cluster, NAMESPACE)
        job = ten_sites(jobs, sites)
        jobs.apply(jobs.with_checkpoint(job))
        with shown(jobs, folder, seen):
            follow(jobs, prometheus, operator, seen)
        job["spec"].pop("checkpoint")
        seen.local = run_locally(job, folder, *(("--data-root", str(sites)) if sites else ()))
        yield seen


def ten_sites(jobs: Jobs, sites: Path | None) -> dict[str, Any]:
    """Return the job; with real data each trainer has a claim that holds its site's folder."""
    job = manifest(NAME, sites=SITES, rounds=ROUNDS, strategy={"batchSize": 512, "localEpochs": 3}, seed=7)
    if sites is not None:
        job["spec"]["dataset"] = {"name": "movielens"}
        for trainer in job["spec"]["trainers"]:
            claim = f"ratings-{trainer['name']}"
            jobs.cluster.claim(jobs.namespace, claim, sites / trainer["name"])
            trainer["data"] = {"persistentVolumeClaim": {"claimName": claim}}
    return job


@contextlib.contextmanager
def shown(jobs: Jobs, folder: Path, seen: Watched) -> Iterator[None]:
    """Keep `kubectl get --watch` open meanwhile, and note all that it showed."""
    kubectl = ["kubectl", f"--kubeconfig={jobs.cluster.kubeconfig}"]
    command = [*kubectl, "get", "flj", "-n", jobs.namespace, "--watch"]
    process = Process.start("kubectl-watch", command, folder)
    try:
        yield
    finally:
        process.stop()
        seen.table = [line.split() for line in process.log.read_text().splitlines()]


def follow(jobs: Jobs, prometheus: Prometheus, system: str, seen: Watched) -> None:
    """Have Prometheus scrape all pods of the job until it has ended; ask only then: asking costs the job CPU."""
    began = time.time()
    of_job = f'{{namespace="{jobs.namespace}",job="{NAME}"}}'

    def discover() -> None:
        prometheus.discover([pod for name in (system, jobs.namespace) for pod in jobs.cluster.items("pods", name)])

    def ended() -> bool:
        discover()
        seen.status = jobs.status(NAME)
        return seen.status.get("state") in {"Succeeded", "Failed"}

    def stored() -> bool:
        discover()
        found = {name: prometheus.value(f"fljob_job_{name}{of_job}") for name in ("round", "loss", "auc")}
        seen.stored = found["loss"], found["auc"]
        return found["round"] == ROUNDS

    jobs.cluster.wait_for(f"{NAME} to end", ended, 2 * DEADLINE_S, every_s=1.0)
    jobs.cluster.wait_for(f"the last round of {NAME} in Prometheus", stored, 30)
    queries = dashboard_queries(namespace=jobs.namespace, job=NAME, window="15s")
    metrics = {metric for query in alert_queries() if query.has_series_when_all_is_well for metric in query.metrics}
    queries += [NamedQuery(f"alerts' {metric}", metric) for metric in sorted(metrics)]
    wanted = [query for query in queries if query.has_series_when_all_is_well]
    assert wanted
    seen.without_series = [query.source for query in wanted if not prometheus.ask_since(query.expr, began)]
    # Before round 1 and at the end there are alerts that would fire if it lasted: not started, trainers gone.
    learning = f"(fljob_job_round{of_job} >= 1 < {ROUNDS})"
    seen.seconds_watched_for_alerts = sum(len(series["values"]) for series in prometheus.ask_since(learning, began))
    alerts = prometheus.ask_since(f"ALERTS and on() {learning}", began)
    seen.alerts = {series["metric"]["alertname"] for series in alerts}


def test_the_job_succeeds_with_all_ten_sites(watched: Watched) -> None:
    assert watched.status["state"] == "Succeeded", watched.status
    assert watched.status["trainerCounts"]["failed"] == 0


def test_kubectl_get_shows_state_round_trainers_loss_and_auc(watched: Watched) -> None:
    assert watched.table[0] == HEADER
    last = watched.rows[-1]
    assert (last["STATE"], last["ROUND"]) == ("Succeeded", f"{ROUNDS}/{ROUNDS}")


def test_round_loss_and_auc_move_while_the_job_learns(watched: Watched) -> None:
    assert len(watched.cells("ROUND")) >= 3
    assert len(watched.cells("LOSS")) >= 3
    assert len(watched.cells("AUC")) >= 3


def test_the_trainers_column_reaches_ten_of_ten(watched: Watched) -> None:
    assert f"{SITES}/{SITES}" in watched.cells("TRAINERS")


def test_loss_and_auc_of_every_round_are_those_of_a_local_run(watched: Watched) -> None:
    here = Numbers.of_local_run(watched.local)
    assert here.metrics.keys() == set(range(1, ROUNDS + 1))
    Numbers.of(watched.status["training"]).assert_same(here)


def test_every_query_of_dashboards_and_every_metric_of_alerts_had_series(watched: Watched) -> None:
    assert watched.without_series == []


def test_loss_and_auc_of_the_status_are_what_prometheus_stores(watched: Watched) -> None:
    last = metrics_by_round(watched.status["training"]["recentRounds"])[ROUNDS]
    assert watched.stored == pytest.approx(last, abs=1e-9)


def test_no_alert_fires_or_is_about_to_while_the_job_learns(watched: Watched) -> None:
    assert watched.seconds_watched_for_alerts > 0
    assert watched.alerts == set()


def test_an_upgrade_in_mid_run_replaces_the_operator_and_changes_no_number(
    jobs: Jobs, operator: str, images: Images, tmp_path: Path
) -> None:
    job = manifest("upgraded", strategy={"batchSize": 256, "localEpochs": 10})  # several times as long as an upgrade
    undisturbed = Numbers.of_local_run(run_locally(job, tmp_path))
    name = jobs.apply(jobs.with_checkpoint(job))
    jobs.wait_state(name, "Running")
    (before,) = jobs.cluster.items("pods", operator)
    install(jobs.cluster, images, "--set", "resources.requests.memory=160Mi")
    after = [pod for pod in jobs.cluster.items("pods", operator) if "deletionTimestamp" not in pod["metadata"]]
    assert before["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in after}
    jobs.succeeded(name).assert_same(undisturbed)
    assert max(pod["metadata"]["creationTimestamp"] for pod in after) < jobs.status(name)["completionTime"]
