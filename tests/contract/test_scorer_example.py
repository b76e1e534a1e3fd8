"""A real API server takes the scorer's example in a namespace that enforces the restricted Pod Security standard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils

from fljob_runtime.programs.scorer import parse
from support.controlplane import ControlPlane

EXAMPLE = Path(__file__).parents[2] / "examples/scorer/scorer.yaml"
NAMESPACE = "scorer-example"


def objects() -> dict[str, dict[str, Any]]:
    return {value["kind"]: value for value in yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def api(apiserver: ControlPlane) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(apiserver.kubeconfig)) as made:
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        client.CoreV1Api(made).create_namespace({"metadata": {"name": NAMESPACE, "labels": enforced}})
        client.CoreV1Api(made).create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "default"}})
        yield made


@pytest.mark.apiserver
@pytest.mark.parametrize("kind", ["Deployment", "Service", "NetworkPolicy"])
def test_the_api_server_takes_each_object(api: client.ApiClient, kind: str) -> None:
    (created,) = utils.create_from_dict(api, objects()[kind], namespace=NAMESPACE)
    assert created.kind == kind


@pytest.mark.apiserver
def test_its_pods_are_let_into_a_restricted_namespace(api: client.ApiClient) -> None:
    pod = {"metadata": {"name": "scorer"}, "spec": objects()["Deployment"]["spec"]["template"]["spec"]}
    assert client.CoreV1Api(api).create_namespaced_pod(NAMESPACE, pod).metadata.name == "scorer"


@pytest.mark.apiserver
def test_without_its_security_context_they_are_not(api: client.ApiClient) -> None:
    spec = objects()["Deployment"]["spec"]["template"]["spec"]
    del spec["containers"][0]["securityContext"]
    with pytest.raises(client.ApiException, match="restricted"):
        client.CoreV1Api(api).create_namespaced_pod(NAMESPACE, {"metadata": {"name": "other"}, "spec": spec})


def test_the_program_knows_its_flags_and_ends_before_its_pod_is_killed() -> None:
    spec = objects()["Deployment"]["spec"]["template"]["spec"]
    program, *arguments = spec["containers"][0]["args"]
    options = parse(arguments)
    assert (program, options.model) == ("fljob-scorer", Path("/model"))
    ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
    assert {"http": options.port, "grpc": options.grpc_port} == ports
    assert spec["containers"][0]["readinessProbe"]["grpc"]["port"] == options.grpc_port
    assert objects()["Deployment"]["spec"]["template"]["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(options.port),
        "prometheus.io/path": "/metrics",
    }
    assert options.drain_s + 10 < spec["terminationGracePeriodSeconds"]
