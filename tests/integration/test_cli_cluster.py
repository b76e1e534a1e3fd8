"""The cluster side of `fljob` against a real API server: what is stored, refused, shown and found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from fljob_cli.cluster.api import connect
from fljob_cli.cluster.reader import Volume, pod_manifest
from fljob_cli.model import find

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds/fljob.dev_fljobs.yaml"
MINIMAL = ROOT / "examples/minimal/fljob.yaml"
NAMESPACE = "cli"
TIME = "2026-01-01T12:00:00Z"


@dataclass(frozen=True)
class Fljob:
    """Runs the program against one API server and namespace."""

    kubeconfig: Path
    api: Any

    def __call__(self, *arguments: str, namespace: str = NAMESPACE) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, namespace=namespace), capture_output=True, text=True, timeout=60, check=False
        )

    def command(self, *arguments: str, namespace: str = NAMESPACE) -> list[str]:
        where = ["--kubeconfig", str(self.kubeconfig), "--namespace", namespace]
        return [sys.executable, "-m", "fljob_cli", *arguments, *where]

    def stored(self, name: str) -> dict[str, Any]:
        custom = client.CustomObjectsApi(self.api)
        found: dict[str, Any] = custom.get_namespaced_custom_object(
            "fljob.dev", "v1alpha1", NAMESPACE, "fljobs", name, _request_timeout=10
        )
        return found

    def set_status(self, name: str, status: dict[str, Any]) -> None:
        """Write a status as the operator would."""
        client.CustomObjectsApi(self.api).patch_namespaced_custom_object_status(
            "fljob.dev",
            "v1alpha1",
            NAMESPACE,
            "fljobs",
            name,
            {"status": status},
            _content_type="application/merge-patch+json",
            _request_timeout=10,
        )


def _install_crd(api: Any) -> None:
    extensions = client.ApiextensionsV1Api(api)
    definition = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    try:
        extensions.create_custom_resource_definition(definition)
    except ApiException as error:
        if error.status != 409:
            raise
    selector = f"metadata.name={definition['metadata']['name']}"
    events = watch.Watch().stream(
        extensions.list_custom_resource_definition, field_selector=selector, timeout_seconds=20
    )
    for event in events:
        conditions = event["object"].status.conditions or [] if event["object"].status else []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            return
    raise TimeoutError("the CRD was not established in 20 s")


@pytest.fixture(scope="module")
def fljob(apiserver: Any) -> Iterator[Fljob]:
    with config.new_client_from_config(str(apiserver.kubeconfig)) as api:
        _install_crd(api)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        client.CoreV1Api(api).create_namespace({"metadata": {"name": NAMESPACE, "labels": labels}})
        yield Fljob(apiserver.kubeconfig, api)


@pytest.fixture
def submit(fljob: Fljob) -> Callable[..., str]:
    """Submit the minimal job under a name of the test's own."""

    def run(name: str, *settings: str) -> str:
        flags = [part for setting in (f"metadata.name={name}", *settings) for part in ("--set", setting)]
        result = fljob("submit", str(MINIMAL), *flags)
        assert result.returncode == 0, result.stderr
        return name

    return run


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME}


def test_submit_stores_the_manifest_with_its_overrides(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("stored", "spec.rounds=7")
    assert fljob.stored("stored")["spec"]["rounds"] == 7


def test_submit_again_changes_the_job(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("again", "spec.rounds=7")
    submit("again", "spec.rounds=9")
    assert fljob.stored("again")["spec"]["rounds"] == 9


def test_submit_of_a_change_that_is_not_allowed_shows_the_servers_words(
    fljob: Fljob, submit: Callable[..., str]
) -> None:
    submit("frozen", "spec.seed=1")
    result = fljob("submit", str(MINIMAL), "--set", "metadata.name=frozen", "--set", "spec.seed=2")
    assert (result.returncode, "seed cannot be changed" in result.stderr) == (10, True)


def test_submit_of_a_wrong_manifest_never_reaches_the_server(fljob: Fljob) -> None:
    result = fljob("submit", str(MINIMAL), "--set", "metadata.name=wrong", "--set", "spec.model.name=nfc")
    assert (result.returncode, "Did you mean `ncf`?" in result.stderr) == (10, True)


def test_suspend_and_resume_set_the_field(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("paused", "spec.checkpoint.volumeClaimTemplate.storage=1Gi")
    fljob("suspend", "paused")
    suspended = fljob.stored("paused")["spec"]["suspend"]
    fljob("resume", "paused")
    assert (suspended, fljob.stored("paused")["spec"]["suspend"]) == (True, False)


def test_suspend_without_a_checkpoint_is_refused_with_the_reason(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("no-checkpoint")
    result = fljob("suspend", "no-checkpoint")
    assert (result.returncode, "set spec.checkpoint" in result.stderr) == (10, True)


def test_delete_removes_the_job(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("deleted")
    fljob("delete", "deleted")
    with pytest.raises(ApiException, match="not found"):
        fljob.stored("deleted")


def test_a_job_that_is_not_there_is_said_so(fljob: Fljob) -> None:
    result = fljob("status", "nobody")
    assert (result.returncode, '"nobody" not found' in result.stderr) == (10, True)


def test_list_shows_a_line_per_job(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("listed")
    fljob.set_status("listed", {"state": "Running", "display": {"round": "2/3", "auc": "0.7500"}})
    (line,) = [line for line in fljob("list").stdout.splitlines() if line.startswith("listed")]
    assert line.split()[:5] == ["listed", "Running", "2/3", "AUC", "0.7500"]


def test_status_says_what_the_job_waits_for(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("waits")
    fljob.set_status("waits", {"state": "Running", "training": {"waitingFor": {"name": "quorum", "since": TIME}}})
    assert "waiting for quorum" in fljob("status", "waits").stdout


def test_status_of_a_failed_job_says_why_and_what_to_do(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("failed")
    failure = {"role": "trainer", "trainer": "site-1", "exitCode": 12, "reason": "BadData", "message": "row 3"}
    fljob.set_status("failed", {"state": "Failed", "failure": failure})
    text = fljob("status", "failed").stdout
    assert "site-1 failed: BadData (exit code 12)\n  row 3\n  Repair the file" in text


def test_status_as_json_is_the_object(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("as-json")
    assert json.loads(fljob("status", "as-json", "--output", "json").stdout) == fljob.stored("as-json")


def test_watching_ends_with_the_job(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("watched")
    fljob.set_status("watched", {"state": "Running", "display": {"round": "1/3"}})
    with subprocess.Popen(fljob.command("status", "watched", "--watch"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        done = {"state": "Succeeded", "conditions": [condition("Succeeded", "True", "Completed")]}
        fljob.set_status("watched", done)
        rest, _ = process.communicate(timeout=30)
    assert (first, rest, process.returncode) == ("Running  round 1/3\n", "Succeeded  round 1/3\n", 0)


def test_submit_wait_prints_rounds_and_ends_with_the_failures_code(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("awaited")
    recent = [{"round": 1, "loss": "0.5", "auc": "0.75", "participants": 2, "seconds": "1.5", "bytes": 1000}]
    fljob.set_status(
        "awaited",
        {
            "training": {"recentRounds": recent},
            "conditions": [condition("Failed", "True", "Diverged", "loss is nan")],
            "failure": {"reason": "Diverged", "exitCode": 22},
        },
    )
    result = fljob("submit", str(MINIMAL), "--set", "metadata.name=awaited", "--wait")
    assert result.returncode == 22
    assert [line.split() for line in result.stdout.splitlines()[2:4]] == [
        ["1/3", "0.5000", "0.7500", "2/2", "0", "1.5", "1.0", "kB"],
        ["Failed:", "Diverged:", "loss", "is", "nan"],
    ]


def test_logs_of_a_job_without_pods_point_to_the_status(fljob: Fljob, submit: Callable[..., str]) -> None:
    submit("silent")
    result = fljob("logs", "silent")
    assert (result.returncode, "`fljob status silent` keeps the reason" in result.stderr) == (10, True)


def claim(api: Any, name: str, annotations: dict[str, str]) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    client.CoreV1Api(api).create_namespaced_persistent_volume_claim(
        NAMESPACE, {"metadata": {"name": name, "annotations": annotations}, "spec": spec}
    )


def test_the_model_of_a_deleted_job_is_found_by_the_claims_annotation(fljob: Fljob) -> None:

    stored = {"uid": "u", "path": "models/gone.safetensors", "round": 3, "digest": "ab"}
    claim(fljob.api, "kept", {"model.fljob.dev/gone": json.dumps(stored)})
    found = find(connect(NAMESPACE, context=None, kubeconfig=fljob.kubeconfig), "gone")
    assert (found.claim, found.path, found.digest) == ("kept", "models/gone.safetensors", "ab")


def test_the_model_of_the_job_that_is_there_comes_before_a_newer_one_of_its_name(
    fljob: Fljob, submit: Callable[..., str]
) -> None:

    submit("twice")
    uid = fljob.stored("twice")["metadata"]["uid"]
    stored = {"path": "m", "round": 1, "digest": "ab"}
    claim(fljob.api, "mine", {"model.fljob.dev/twice": json.dumps(stored | {"uid": uid})})
    claim(fljob.api, "other", {"model.fljob.dev/twice": json.dumps(stored | {"uid": "other"})})
    assert find(connect(NAMESPACE, context=None, kubeconfig=fljob.kubeconfig), "twice").claim == "mine"


def test_without_a_model_the_answer_says_where_one_would_be(fljob: Fljob) -> None:
    result = fljob("model", "get", "nobody")
    assert (result.returncode, "on the volume of spec.checkpoint" in result.stderr) == (12, True)


def test_the_reader_pod_is_accepted_under_restricted_pod_security(fljob: Fljob) -> None:

    manifest = pod_manifest("reader", volume=Volume("kept", "folder"), image="runtime")
    client.CoreV1Api(fljob.api).create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "default"}})
    made = client.CoreV1Api(fljob.api).create_namespaced_pod(NAMESPACE, manifest, dry_run="All")
    assert made.spec.volumes[0].persistent_volume_claim.read_only is True


def test_without_a_cluster_the_answer_names_the_local_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fljob_cli", "list", "--kubeconfig", str(tmp_path / "none")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, "`fljob run FILE` needs no cluster" in result.stderr) == (10, True)
