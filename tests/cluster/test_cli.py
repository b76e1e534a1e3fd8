"""The command line against a job on a real cluster: submit and wait, logs, and the model after the job is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from support.jobs import Jobs, manifest, metrics_by_round, run_locally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]
SMALL = {"name": "synthetic", "parameters": {"usersPerSite": 50, "items": 50, "samplesPerUser": 50}}


def fljob(jobs: Jobs, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    where = ["--kubeconfig", str(jobs.cluster.kubeconfig), "--namespace", jobs.namespace]
    command = [sys.executable, "-m", "fljob_cli", *map(str, arguments), *where]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_the_model_is_fetched_after_the_job_is_deleted_and_no_pod_is_left(jobs: Jobs, tmp_path: Path) -> None:
    job = manifest("kept", sites=2, rounds=2, dataset=SMALL)
    name = jobs.apply(jobs.with_checkpoint(job))
    status = jobs.wait_state(name, "Succeeded", "Failed")
    assert status["state"] == "Succeeded", status
    jobs.delete(name)
    fetched = fljob(jobs, "model", "get", name, "--out", tmp_path / "model")
    assert fetched.returncode == 0, fetched.stderr
    assert jobs.cluster.items("pods", jobs.namespace, "app.kubernetes.io/name=fljob-model-reader") == []
    (tmp_path / "local").mkdir()
    job["spec"].pop("checkpoint")
    local = run_locally(job, tmp_path / "local")
    here, there = load_file(local["model"]), load_file(tmp_path / "model/model.safetensors")
    assert {k: v.tobytes() for k, v in here.items()} == {k: v.tobytes() for k, v in there.items()}


def test_submit_and_wait_prints_the_rounds_that_a_local_run_has(jobs: Jobs, tmp_path: Path) -> None:
    job = manifest("waited", sites=2, rounds=2, dataset=SMALL)
    local = metrics_by_round(run_locally(job, tmp_path)["rounds"])
    done = fljob(jobs, "submit", tmp_path / "fljob.json", "--wait", "--timeout", "200")
    assert done.returncode == 0, done.stderr
    for number, (loss, auc) in local.items():
        assert f"{number:>4}/2     {loss:7.4f}  {auc:7.4f}" in done.stdout
    logs = fljob(jobs, "logs", "waited", "--role", "coordinator")
    assert "event=finished outcome=Succeeded" in logs.stdout
