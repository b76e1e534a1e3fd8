"""FLJobs of the cluster tests: small manifests that show what differs, and waiting for what a test is about."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cluster import Cluster

# Long enough to be disturbed in mid-round, short enough for a test: about a second per round of two passes.
DATASET = {
    "name": "synthetic",
    "parameters": {"usersPerSite": 200, "items": 400, "samplesPerUser": 300, "testPerUser": 20},
}
# Just enough to train on, where a test is not about what happens meanwhile.
SMALL = {"name": "synthetic", "parameters": {"usersPerSite": 50, "items": 50, "samplesPerUser": 50}}
SITES, ROUNDS = 3, 8
DEADLINE_S = 180


def manifest(name: str, *, sites: int = SITES, rounds: int = ROUNDS, **spec: Any) -> dict[str, Any]:
    """Return an FLJob on generated data; keyword arguments replace fields of its spec."""
    base: dict[str, Any] = {
        "model": {"name": "ncf", "parameters": {"mode": "MLP", "layers": "32,16,8"}},
        "optimizer": {"name": "Adam", "learningRate": "0.01"},
        "rounds": rounds,
        "dataset": DATASET,
        "strategy": {"batchSize": 256, "localEpochs": 2},
        "trainers": [{"name": f"site-{index}"} for index in range(sites)],
    }
    return {
        "apiVersion": "fljob.dev/v1alpha1",
        "kind": "FLJob",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def run_locally(job: dict[str, Any], folder: Path, *arguments: str) -> dict[str, Any]:
    """Run the same manifest as processes of this machine; returns the last line of its JSON output."""
    path = folder / "fljob.json"
    path.write_text(json.dumps(job))
    fljob = Path(sys.executable).parent / "fljob"
    command = [str(fljob), "run", str(path), "--run-dir", str(folder / "run"), "--output", "json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"fljob run ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


@dataclass(frozen=True)
class Numbers:
    """What a job came to: loss and AUC per round, and the digest of the model."""

    metrics: dict[int, tuple[float, float]]
    model_digest: str

    @classmethod
    def of(cls, training: dict[str, Any]) -> Numbers:
        """Return those of a job's `training`, from a status or a progress object."""
        return cls(metrics_by_round(training["recentRounds"]), training["modelDigest"])

    @classmethod
    def of_local_run(cls, answer: dict[str, Any]) -> Numbers:
        """Return those of `run_locally`; the digest is that of the file which is there."""
        with Path(answer["model"]).open("rb") as model:
            return cls(metrics_by_round(answer["rounds"]), f"sha256:{hashlib.file_digest(model, 'sha256').hexdigest()}")

    def assert_same(self, wanted: Numbers) -> None:
        """Fail unless the rounds are the same with the same numbers, and the model has the same bytes."""
        assert self.metrics.keys() == wanted.metrics.keys()
        for number, (loss, auc) in wanted.metrics.items():
            found = self.metrics[number]
            assert max(abs(found[0] - loss), abs(found[1] - auc)) <= 1e-6, f"round {number}: {found}, {(loss, auc)}"
        assert self.model_digest == wanted.model_digest


def metrics_by_round(rounds: list[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """Return round -> (loss, AUC) of evaluated rounds, from a status or a local run's output."""
    return {int(r["round"]): (float(r["loss"]), float(r["auc"])) for r in rounds if r.get("auc") not in (None, "")}


@dataclass
class Jobs:
    """FLJobs of one namespace."""

    cluster: Cluster
    namespace: str

    def apply(self, job: dict[str, Any]) -> str:
        """Apply a manifest; returns its name."""
        self.cluster.apply(json.dumps(job), self.namespace)
        return str(job["metadata"]["name"])

    def with_checkpoint(self, job: dict[str, Any]) -> dict[str, Any]:
        """Give the job a claim of its own for checkpoints."""
        claim = f"ckpt-{job['metadata']['name']}"
        self.cluster.claim(self.namespace, claim)
        job["spec"]["checkpoint"] = {"persistentVolumeClaim": {"claimName": claim}}
        return job

    def status(self, name: str) -> dict[str, Any]:
        """Return the status, empty before there is one."""
        found = self.cluster.get("flj", name, self.namespace)
        return dict((found or {}).get("status", {}))

    def state(self, name: str) -> str:
        """Return the State column."""
        return str(self.status(name).get("state", ""))

    def round(self, name: str) -> int:
        """Return the last committed round."""
        return int(self.status(name).get("training", {}).get("round", 0))

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """Return a condition, empty before there is one."""
        return next((c for c in self.status(name).get("conditions", []) if c["type"] == kind), {})

    def wait_round(self, name: str, number: int) -> None:
        """Wait until a round is committed."""
        self.cluster.wait_for(f"{name} to commit round {number}", lambda: self.round(name) >= number, DEADLINE_S)

    def wait_state(self, name: str, *states: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait for a state; returns the status."""
        what = f"{name} to be {' or '.join(states)}"
        self.cluster.wait_for(what, lambda: self.state(name) in states, deadline_s)
        return self.status(name)

    def wait_condition(self, name: str, kind: str, reason: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until a condition has a reason; returns it."""
        what = f"{name}: {kind} with reason {reason}"
        self.cluster.wait_for(what, lambda: self.condition(name, kind).get("reason") == reason, deadline_s)
        return self.condition(name, kind)

    def succeeded(self, name: str) -> Numbers:
        """Wait until a job has succeeded; returns its numbers as the status shows them."""
        status = self.wait_state(name, "Succeeded", "Failed")
        assert status["state"] == "Succeeded", status
        return Numbers.of(status["training"])

    def patch(self, name: str, spec: dict[str, Any]) -> None:
        """Change fields of the job's spec."""
        change = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "flj", name, "-n", self.namespace, "--type=merge", "-p", change)

    def delete(self, name: str) -> None:
        """Delete an FLJob and wait until it is gone."""
        self.cluster.kubectl("delete", "flj", name, "-n", self.namespace, "--timeout=60s")

    def leftovers(self, name: str) -> list[str]:
        """Return what still carries the job's label."""
        kinds = "jobs,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies"
        selector = f"fljob.dev/job={name}"
        return self.cluster.kubectl("get", kinds, "-n", self.namespace, "-l", selector, "-o", "name").split()

    def pods(self, name: str, role: str) -> list[dict[str, Any]]:
        """Return the pods of a role that are not ended."""
        selector = f"fljob.dev/job={name},fljob.dev/role={role}"
        found = self.cluster.items("pods", self.namespace, selector)
        return [pod for pod in found if pod["status"]["phase"] == "Running"]

    def kill(self, name: str, role: str) -> None:
        """SIGKILL the process of one pod of a role, as a crash or the kernel would."""
        pod = self.pods(name, role)[0]
        kill_process(pod["metadata"]["uid"])


def kill_process(pod_uid: str) -> None:
    """SIGKILL the main process of a pod's container on this machine; raises LookupError if there is none."""
    uid = str(uuid.UUID(pod_uid))
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            cgroup = (entry / "cgroup").read_text()
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if uid in cgroup and any(b"fljob-" in part for part in command):
            os.kill(int(entry.name), signal.SIGKILL)
            return
    raise LookupError(f"no process of pod {uid}")
