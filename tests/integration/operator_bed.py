"""The real operator process against the real control plane, under its own ServiceAccount with the chart's rules.

A bed is a namespace of a test's own: account, Role from fljob_operator.rbac, operators that watch only it. There is no
kubelet: pods stay pending, and a test writes what a coordinator would.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client

from fljob_api import names
from fljob_operator.rbac import OWN, WATCHED, Rule
from support.controlplane import ControlPlane
from support.processes import Process, free_port, wait_until

DEADLINE_S = 60.0
ACCOUNT = "operator"
MERGE = "application/merge-patch+json"
PLURALS = {
    "FLJob": "/apis/fljob.dev/v1alpha1/namespaces/{}/fljobs",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Event": "/api/v1/namespaces/{}/events",
}
CHILD_KINDS = ("Job", "Service", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "Secret")
Object = dict[str, Any]


@dataclass
class Operator:
    """One operator process and its HTTP port."""

    process: Process
    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its pages; 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        return sum(
            float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        )

    def wait(self, what: str, ready: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait for something, as long as the operator lives; its log is in the error."""
        wait_until(what, ready, deadline_s, self.process)

    def leads(self) -> Operator:
        """Wait until it holds the lease."""
        self.wait("the lease", lambda: self.metric("fljob_operator_leader") == 1.0)
        return self

    def log(self) -> str:
        """Return all that it has logged."""
        return self.process.log.read_text(errors="replace")


@dataclass
class Bed:
    """A namespace with the operator's account; `operators` are those started, for the fixture to stop."""

    plane: ControlPlane
    api: client.ApiClient
    namespace: str
    folder: Path
    kubeconfig: Path = Path()
    operators: list[Operator] = field(default_factory=list)

    def prepare(self, rules: Sequence[Rule] = (*WATCHED, *OWN)) -> Bed:
        """Make namespace, account and rights."""
        self.plane.kubectl("create", "namespace", self.namespace)
        self.kubeconfig = self.plane.service_account(self.namespace, ACCOUNT)
        meta = {"name": ACCOUNT, "namespace": self.namespace}
        group = "rbac.authorization.k8s.io"
        self.create("Role", {"metadata": meta, "rules": [rule.manifest() for rule in rules]})
        subject = {"kind": "ServiceAccount", **meta}
        role = {"apiGroup": group, "kind": "Role", "name": ACCOUNT}
        self.create("RoleBinding", {"metadata": meta, "roleRef": role, "subjects": [subject]})
        return self

    def start(self, identity: str = "one", **env: str) -> Operator:
        """Start an operator; progress is folded each second and everything looked at anew every two."""
        port = free_port()
        settings = {
            "FLJOB_RUNTIME_IMAGE": "registry.example/fljob-runtime:1",
            "FLJOB_WATCH_NAMESPACES": self.namespace,
            "FLJOB_HTTP_PORT": str(port),
            "FLJOB_PROGRESS_INTERVAL_SECONDS": "1",
            "FLJOB_RESYNC_SECONDS": "2",
            "POD_NAMESPACE": self.namespace,
            "POD_NAME": identity,
        }
        command = [sys.executable, "-m", "fljob_operator.main", "--kubeconfig", str(self.kubeconfig)]
        environment = {"PATH": os.environ["PATH"], **settings, **env}
        name = f"operator-{self.namespace}-{len(self.operators)}"
        operator = Operator(Process.start(name, command, self.folder, environment), port)
        self.operators.append(operator)
        return operator

    def stop(self) -> None:
        """End all operators."""
        for operator in self.operators:
            operator.process.stop()

    # -- objects, as the administrator

    def call(self, method: str, path: str, body: object = None, content: str = "application/json") -> Object:
        """Call the API server; an empty answer for what is not there, RuntimeError with its words otherwise."""
        headers = {"Accept": "application/json", "Content-Type": content}
        request = self.api.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = self.api.call_api(*request, _request_timeout=20)
        answer: Object = json.loads(response.read())
        if response.status == 404:
            return {}
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer['message']}")
        return answer

    def path(self, kind: str, name: str = "") -> str:
        """Return where objects of a kind lie, or one of them."""
        return PLURALS[kind].format(self.namespace) + (f"/{name}" if name else "")

    def create(self, kind: str, manifest: Object) -> Object:
        """Create an object."""
        return self.call("POST", self.path(kind), manifest)

    def get(self, kind: str, name: str) -> Object:
        """Return an object, empty when it is not there."""
        return self.call("GET", self.path(kind, name))

    def patch(self, kind: str, name: str, change: Object) -> Object:
        """Merge a change in."""
        return self.call("PATCH", self.path(kind, name), change, MERGE)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, what it owns after it."""
        self.call("DELETE", self.path(kind, name), {"propagationPolicy": "Background"})

    def children(self, job: str) -> dict[tuple[str, str], Object]:
        """Return the FLJob's children by kind and name."""
        selector = f"?labelSelector={names.LABEL_JOB}%3D{job}"
        found = {kind: self.call("GET", self.path(kind) + selector)["items"] for kind in CHILD_KINDS}
        return {(kind, item["metadata"]["name"]): item for kind, items in found.items() for item in items}

    # -- FLJobs

    def submit(self, name: str, **spec: Any) -> Object:
        """Create an FLJob of two sites and return it."""
        base = {"model": {"name": "ncf"}, "rounds": 5, "dataset": {"name": "synthetic"}}
        sites = [{"name": "site-0"}, {"name": "site-1"}]
        kind = {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": name}}
        return self.create("FLJob", {**kind, "spec": {**base, "trainers": sites, **spec}})

    def status(self, name: str) -> Object:
        """Return an FLJob's status, empty before the first."""
        status: Object = self.get("FLJob", name).get("status", {})
        return status

    def condition(self, name: str, kind: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition, empty before it is there."""
        found = [c for c in self.status(name).get("conditions", ()) if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"], found[0].get("message", "")) if found else ("", "", "")

    def num_jobs(self, name: str, incarnation: int = 1) -> int:
        """Count the child Jobs of an incarnation that are not being deleted."""
        jobs = [item for (kind, _), item in self.children(name).items() if kind == "Job"]
        wanted = [j for j in jobs if j["metadata"]["labels"][names.LABEL_INCARNATION] == str(incarnation)]
        return sum("deletionTimestamp" not in j["metadata"] for j in wanted)

    def tell_progress(self, job: Object, incarnation: int, **told: Any) -> None:
        """Write what the coordinator of an incarnation would."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        progress = {"uid": uid, "incarnation": incarnation, "sequence": 1, **told}
        change = {"data": {"progress.json": json.dumps(progress)}}
        self.patch("ConfigMap", names.progress(name, uid, incarnation), change)
