"""The command line against a job on a real cluster: submit and wait, logs, and the model after the job is gone.

One job is run once for all tests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster
from support.jobs import SMALL, Jobs, manifest, metrics_by_round, run_locally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]
NAME, ROUNDS = "kept", 2
Done = subprocess.CompletedProcess[str]


@dataclass
class Session:
    """What a person typed and saw, beside the same manifest run locally."""

    local: dict[str, Any]
    submitted: Done
    logs: Done
    fetched: Done
    readers: list[dict[str, Any]]
    model: Path


@pytest.fixture(scope="module")
def session(cluster: Cluster, operator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("cli")
    local = run_locally(manifest(NAME, sites=2, rounds=ROUNDS, dataset=SMALL), folder)
    with cluster.namespace("cli") as namespace:
        jobs = Jobs(cluster, namespace)

        def fljob(*arguments: str | Path) -> Done:
            where = ["--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace]
            command = [sys.executable, "-m", "fljob_cli", *map(str, arguments), *where]
            return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

        cluster.claim(namespace, "models")
        claim = "spec.checkpoint.persistentVolumeClaim.claimName=models"
        submitted = fljob("submit", folder / "fljob.json", "--set", claim, "--wait", "--timeout", "200")
        logs = fljob("logs", NAME, "--role", "coordinator")
        jobs.delete(NAME)
        fetched = fljob("model", "get", NAME, "--out", folder / "model")
        readers = cluster.items("pods", namespace, "app.kubernetes.io/name=fljob-model-reader")
        yield Session(local, submitted, logs, fetched, readers, folder / "model/model.safetensors")


def test_submit_and_wait_prints_the_rounds_that_a_local_run_has(session: Session) -> None:
    assert session.submitted.returncode == 0, session.submitted.stderr
    local = metrics_by_round(session.local["rounds"])
    assert local.keys() == {1, 2}
    for number, (loss, auc) in local.items():
        assert f"{number:>4}/{ROUNDS}     {loss:7.4f}  {auc:7.4f}" in session.submitted.stdout


def test_logs_of_an_ended_job_are_those_of_its_coordinator(session: Session) -> None:
    assert "event=finished outcome=Succeeded" in session.logs.stdout


def test_the_model_is_fetched_after_the_job_is_deleted_and_is_that_of_a_local_run(session: Session) -> None:
    assert session.fetched.returncode == 0, session.fetched.stderr
    assert session.model.read_bytes() == Path(session.local["model"]).read_bytes()


def test_no_pod_is_left_of_fetching_the_model(session: Session) -> None:
    assert session.readers == []
