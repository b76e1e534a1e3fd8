"""The test cluster itself and the two images: what every other test of this folder takes for granted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.cluster import Cluster
from support.images import Images

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
DEADLINE_S = 60
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
FIRST = """
import socket
listener = socket.create_server(("", 5000))
connection, _ = listener.accept()
connection.sendall(b"the first Job answers")
connection.close()
"""
SECOND = """
import socket, time
end = time.monotonic() + 30
while True:
    try:
        connection = socket.create_connection(("first.talk", 5000), timeout=2)
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.2)
print(connection.makefile().read())
"""
API_SERVER = """
import ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
print(urllib.request.urlopen("https://kubernetes.default.svc/version", context=context, timeout=20).read().decode())
"""
IMPORTABLE = """
import importlib.util, json, os, pathlib
names = ("torch", "kopf", "kubernetes", "grpc", "fljob_api", "fljob_operator", "fljob_runtime")
try:
    pathlib.Path("/probe").touch()
    writable = True
except OSError:
    writable = False
found = [name for name in names if importlib.util.find_spec(name)]
print(json.dumps({"found": found, "uid": os.getuid(), "writable": writable}))
"""


def pod(name: str, image: str, code: str) -> dict[str, Any]:
    """Return a pod that runs Python once and that `restricted` allows; its user is the image's own."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": ["python3", "-c", code],
                    "securityContext": RESTRICTED_CONTAINER,
                }
            ],
        },
    }


def job(name: str, image: str, code: str) -> dict[str, Any]:
    """Return a Job of one such pod, reachable as <name>.talk."""
    template = pod(name, image, code)
    template["spec"] |= {"hostname": name, "subdomain": "talk"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": template["metadata"] | {"labels": {"talk": "yes"}}, "spec": template["spec"]},
        },
    }


def output(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> str:
    """Run a pod to its end and return what it printed; fails with its words."""
    name = manifest["metadata"]["name"]
    cluster.apply(json.dumps(manifest), namespace)

    def ended() -> bool:
        found = cluster.get("pod", name, namespace)
        return found is not None and found["status"]["phase"] in {"Succeeded", "Failed"}

    cluster.wait_for(f"pod {name} to end", ended, DEADLINE_S)
    text = cluster.kubectl("logs", name, "-n", namespace)
    found = cluster.get("pod", name, namespace)
    assert found is not None
    assert found["status"]["phase"] == "Succeeded", text
    return text


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("cluster-smoke") as name:
        yield name


def test_the_node_is_ready(cluster: Cluster) -> None:
    (node,) = cluster.items("nodes")
    (ready,) = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
    assert ready["status"] == "True"


def test_a_restricted_namespace_refuses_a_root_pod(cluster: Cluster, namespace: str, images: Images) -> None:
    rooted = pod("rooted", images.runtime, "print(1)")
    rooted["spec"]["securityContext"]["runAsNonRoot"] = False
    rooted["spec"]["securityContext"]["runAsUser"] = 0
    with pytest.raises(RuntimeError, match='violates PodSecurity "restricted'):
        cluster.apply(json.dumps(rooted), namespace)


def test_the_second_job_talks_to_the_first_by_its_dns_name(cluster: Cluster, namespace: str, images: Images) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "talk"},
        "spec": {"clusterIP": "None", "selector": {"talk": "yes"}, "publishNotReadyAddresses": True},
    }
    jobs = [job("first", images.runtime, FIRST), job("second", images.runtime, SECOND)]
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, *jobs]}), namespace)

    def both_complete() -> bool:
        return [item["status"].get("succeeded") for item in cluster.items("jobs", namespace)] == [1, 1]

    cluster.wait_for("both Jobs to complete", both_complete, DEADLINE_S)
    assert cluster.kubectl("logs", "job/second", "-n", namespace).strip() == "the first Job answers"


def test_a_pod_reaches_the_api_server_by_its_service(cluster: Cluster, namespace: str, images: Images) -> None:
    version = json.loads(output(cluster, namespace, pod("caller", images.runtime, API_SERVER)))
    assert version["major"] == "1"


def test_a_pod_reads_a_claim_that_the_administrator_filled(cluster: Cluster, namespace: str, images: Images) -> None:
    folder = cluster.claim(namespace, "words")
    (folder / "words.txt").write_text("from the claim")
    reader = pod("reader", images.runtime, "print(open('/data/words.txt').read())")
    reader["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "words", "readOnly": True}}]
    reader["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data", "readOnly": True}]
    assert output(cluster, namespace, reader).strip() == "from the claim"


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("operator", ["kopf", "kubernetes", "fljob_api", "fljob_operator"]),
        ("runtime", ["torch", "grpc", "fljob_api", "fljob_runtime"]),
    ],
)
def test_an_image_holds_its_own_room_only_and_needs_neither_root_nor_a_writable_root(
    cluster: Cluster, namespace: str, images: Images, name: str, packages: list[str]
) -> None:
    image = {"operator": images.operator, "runtime": images.runtime}[name]
    found = json.loads(output(cluster, namespace, pod(f"imports-{name}", image, IMPORTABLE)))
    assert found == {"found": packages, "uid": 65532, "writable": False}
