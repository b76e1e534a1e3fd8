"""Install, upgrade and uninstall by the real helm against a real API server, and the operator with the chart's rights.

There is no kubelet: Deployments make no pods here. tests/cluster runs the whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.rendering import CHART, MONITORED, NAMESPACE, RELEASE, HelmError, Values, helm, render

from fljob_api.validation import validate
from support import assets
from support.controlplane import ControlPlane
from support.processes import Process, free_port, wait_until

pytestmark = [pytest.mark.helm, pytest.mark.apiserver]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
JOB: dict[str, Any] = {
    "apiVersion": "fljob.dev/v1alpha1",
    "kind": "FLJob",
    "metadata": {"name": "movies", "namespace": "team-a"},
    "spec": {
        "model": {"name": "ncf"},
        "rounds": 1,
        "dataset": {"name": "synthetic"},
        "trainers": [{"name": "site-0"}],
        "checkpoint": {"volumeClaimTemplate": {"storage": "1Gi"}},
    },
}


@dataclass(frozen=True)
class Site:
    """An API server with the namespaces and the CRDs that an installation finds."""

    plane: ControlPlane

    def helm(self, *arguments: str, values: Values | None = None) -> str:
        return helm(
            *arguments,
            "--namespace",
            NAMESPACE,
            "--kubeconfig",
            str(self.plane.kubeconfig),
            stdin=yaml.safe_dump(values or {}),
        )

    def install(
        self, *arguments: str, release: str = RELEASE, chart: Path = CHART, values: Values | None = None
    ) -> str:
        return self.helm("upgrade", "--install", release, str(chart), "--values", "-", *arguments, values=values)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.plane.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def names(self, kinds: str, namespace: str) -> set[str]:
        return set(self.plane.kubectl("get", kinds, "-n", namespace, "-o", "name").split())

    def apply(self, *objects: dict[str, Any], dry_run: bool = False) -> str:
        arguments = ("apply", "--server-side", "-f", "-", *(("--dry-run=server",) if dry_run else ()))
        return self.plane.kubectl(*arguments, stdin=yaml.safe_dump_all(objects))


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of this module's own: elsewhere the CRD is not Helm's."""
    plane = ControlPlane.start()
    try:
        for kind in ("podmonitors", "prometheusrules"):
            plane.kubectl("create", "-f", str(assets.manifest(f"monitoring.coreos.com_{kind}.yaml")))
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def site(plane: ControlPlane) -> Iterator[Site]:
    """The API server without an installation."""
    site = Site(plane)
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": RESTRICTED}}
        for n in (NAMESPACE, "team-a", "team-b")
    ]
    site.apply(*namespaces)
    yield site
    for release in site.helm("list", "--short").split():
        site.helm("uninstall", release)
    plane.kubectl("delete", "crd", "fljobs.fljob.dev", "--ignore-not-found")


@pytest.mark.parametrize("values", [{}, {**MONITORED, "replicas": 2}, {"watchNamespaces": ["team-a", "team-b"]}])
def test_the_api_server_takes_every_object_as_it_is_written(site: Site, values: Values) -> None:
    objects = render(values).objects
    assert len(site.apply(*objects, dry_run=True).splitlines()) == len(objects)


def test_pod_security_admits_the_operators_pod(site: Site) -> None:
    site.install()
    pod = {**render().operator, "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "name": "operator", "namespace": NAMESPACE}
    assert "serverside-applied" in site.apply(pod, dry_run=True)


def test_the_notes_give_a_job_that_the_api_server_takes(site: Site) -> None:
    notes = site.install().partition("NOTES:")[2]
    wait_until("the CRD to be served", lambda: _served(site), 20)
    manifest = yaml.safe_load(notes.partition("<<EOF\n")[2].partition("\nEOF\n")[0])
    assert list(validate(manifest, in_cluster=True)) == []
    assert "serverside-applied" in site.apply(manifest, dry_run=True)


def test_the_notes_say_what_is_left_after_an_uninstall(site: Site) -> None:
    assert "keeps the CRD on purpose" in site.install()
    assert "kubectl delete crd fljobs.fljob.dev" in site.helm("get", "notes", RELEASE)


def test_an_upgrade_brings_the_new_crd_and_leaves_jobs_alone(site: Site, tmp_path: Path) -> None:
    site.install(chart=_older(tmp_path / "old"))
    wait_until("the old CRD to be served", lambda: _served(site), 20)
    site.apply({**JOB, "spec": {k: v for k, v in JOB["spec"].items() if k != "checkpoint"}})
    before = site.get("fljob", "movies", "team-a")["metadata"]
    site.install()
    crd = site.get("crd", "fljobs.fljob.dev")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "checkpoint" in crd["properties"]["spec"]["properties"]
    after = site.get("fljob", "movies", "team-a")["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])


def test_uninstall_leaves_the_crd_and_the_jobs_and_nothing_else(site: Site) -> None:
    site.install(values={**MONITORED, "replicas": 2})
    wait_until("the CRD to be served", lambda: _served(site), 20)
    site.apply(JOB)
    kinds = sorted({_resource(o) for o in render({**MONITORED, "replicas": 2}).objects})
    site.helm("uninstall", RELEASE)
    selector = ("-l", f"app.kubernetes.io/instance={RELEASE}", "-A", "-o", "name")
    assert site.plane.kubectl("get", ",".join(kinds), *selector) == ""
    assert site.names("fljob", "team-a") == {"fljob.fljob.dev/movies"}


def test_a_kept_crd_is_taken_up_by_the_same_release(site: Site) -> None:
    site.install()
    site.helm("uninstall", RELEASE)
    assert "STATUS: deployed" in site.install()


def test_another_release_takes_a_kept_crd_only_when_told_to(site: Site) -> None:
    site.install()
    site.helm("uninstall", RELEASE)
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        site.install(release="other")
    assert "STATUS: deployed" in site.install("--take-ownership", release="other")


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}], ids=["whole cluster", "one namespace"])
def test_the_operator_needs_no_right_that_the_chart_does_not_give(site: Site, values: Values, tmp_path: Path) -> None:
    site.install(values=values)
    wait_until("the CRD to be served", lambda: _served(site), 20)
    port = free_port()
    operator = _operator(site, port, render(values).env, tmp_path)
    try:
        site.apply(JOB)
        wanted = {f"job.batch/movies-{child}" for child in ("coordinator", "server-0", "trainer-site-0")}
        wait_until("the job's children", lambda: wanted <= site.names("jobs", "team-a"), 40, operator)
        wait_until("the operator to settle", lambda: _settled(site), 20, operator)
        codes = _request_codes(port)
    finally:
        operator.stop()
    assert "200" in codes
    assert "403" not in codes, operator.log.read_text()
    assert "orbidden" not in operator.log.read_text()
    assert site.names("lease", NAMESPACE) == {"lease.coordination.k8s.io/fljob-operator"}


def _older(folder: Path) -> Path:
    """The chart of a former version: its CRD lacks a field that today's has."""
    shutil.copytree(CHART, folder)
    chart = yaml.safe_load((folder / "Chart.yaml").read_text())
    (folder / "Chart.yaml").write_text(yaml.safe_dump({**chart, "version": "0.0.9", "appVersion": "0.0.9"}))
    crd = yaml.safe_load((folder / "files/crd.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["checkpoint"]
    spec["x-kubernetes-validations"] = [r for r in spec["x-kubernetes-validations"] if "checkpoint" not in r["rule"]]
    (folder / "files/crd.yaml").write_text(yaml.safe_dump(crd))
    return folder


def _served(site: Site) -> bool:
    return "fljobs" in site.plane.kubectl("api-resources", "--api-group=fljob.dev", "-o", "name", check=False)


def _resource(manifest: dict[str, Any]) -> str:
    group = manifest["apiVersion"].rpartition("/")[0]
    return f"{manifest['kind'].lower()}.{group}".rstrip(".")


def _settled(site: Site) -> bool:
    status = site.get("fljob", "movies", "team-a").get("status", {})
    return "Accepted" in [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]


def _operator(site: Site, port: int, env: dict[str, str], folder: Path) -> Process:
    """Run the operator as the chart's ServiceAccount."""
    token = site.plane.kubectl("create", "token", "fljob-operator", "-n", NAMESPACE).strip()
    config = yaml.safe_load(site.plane.kubeconfig.read_text())
    config["users"] = [{"name": "test", "user": {"token": token}}]
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    own = {
        "FLJOB_HTTP_PORT": str(port),
        "FLJOB_KUBECONFIG": str(path),
        "POD_NAMESPACE": NAMESPACE,
        "POD_NAME": "operator",
    }
    return Process.start(
        "operator", [sys.executable, "-m", "fljob_operator.main"], folder, env={**os.environ, **env, **own}
    )


def _request_codes(port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return set(re.findall(r'fljob_operator_api_requests_total\{code="(\d+)"', text))
