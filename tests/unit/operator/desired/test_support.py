"""Service, configuration, permissions and policies that the Jobs stand on."""

from __future__ import annotations

import json
from typing import Any

from fljob_api.fljob import FLJob
from fljob_api.job_config import JobConfig
from fljob_operator.desired.support import claim_manifest, config_manifest, model_annotation, support_manifests
from support.operator_values import UID, fljob


def of_kind(kind: str, **spec: Any) -> list[dict[str, Any]]:
    return [m for m in support_manifests(fljob(**spec), 2) if m["kind"] == kind]


def test_hosts_have_names_before_they_are_ready() -> None:
    (service,) = of_kind("Service")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True


def test_the_configuration_is_immutable_and_reads_back() -> None:
    manifest = config_manifest(fljob(server={"replicas": 2}), 3)
    config = JobConfig.from_dict(json.loads(manifest["data"]["job.json"]))
    assert manifest["immutable"] is True
    assert (config.uid, config.incarnation) == (UID, 3)
    assert config.coordinator == "movies-coordinator.movies-fl.lab.svc:50051"
    assert config.servers == ["movies-server-0.movies-fl.lab.svc:50051", "movies-server-1.movies-fl.lab.svc:50051"]


def test_the_coordinator_may_read_its_fljob_and_write_its_progress_and_nothing_else() -> None:
    (role,) = of_kind("Role")
    assert role["rules"] == [
        {"apiGroups": ["fljob.dev"], "resources": ["fljobs"], "resourceNames": ["movies"], "verbs": ["get"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["movies-progress-0a1b2c3d-2"],
            "verbs": ["get", "patch"],
        },
    ]


def ingress(role: str) -> set[tuple[str, int]]:
    """Evaluate the policies: which role may open which port of a role's pods."""
    allowed = set()
    for policy in of_kind("NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        if selector.get("fljob.dev/role", role) != role:
            continue
        for rule in policy["spec"].get("ingress", []):
            peers = [p["podSelector"]["matchLabels"]["fljob.dev/role"] for p in rule.get("from", [])] or ["anyone"]
            allowed |= {(peer, port["port"]) for peer in peers for port in rule["ports"]}
    return allowed


def test_only_the_wire_gets_through() -> None:
    assert ingress("trainer") == {("anyone", 8080)}
    assert ingress("coordinator") == {("anyone", 8080), ("trainer", 50051)}
    assert ingress("server") == {("anyone", 8080), ("coordinator", 50051), ("trainer", 50051)}


def test_all_policies_select_this_very_job() -> None:
    selectors = [p["spec"]["podSelector"]["matchLabels"]["fljob.dev/uid"] for p in of_kind("NetworkPolicy")]
    assert set(selectors) == {UID}


def test_the_checkpoints_claim_outlives_the_job() -> None:
    template = {"volumeClaimTemplate": {"storage": "1Gi", "storageClassName": "fast"}}
    claim = claim_manifest(fljob(checkpoint=template))
    assert claim is not None
    assert "ownerReferences" not in claim["metadata"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim_manifest(fljob()) is None
    assert claim_manifest(fljob(checkpoint={"persistentVolumeClaim": {"claimName": "mine"}})) is None


def test_the_model_is_noted_on_the_claim_that_holds_it() -> None:
    mine = model_annotation(fljob(checkpoint={"persistentVolumeClaim": {"claimName": "mine"}}), "{}")
    made = model_annotation(fljob(checkpoint={"volumeClaimTemplate": {"storage": "1Gi"}}), "{}")
    assert mine is not None
    assert made is not None
    assert mine["metadata"]["name"] == "mine"
    assert made["metadata"]["name"] == "movies-checkpoint"
    assert mine["metadata"]["annotations"] == {"model.fljob.dev/movies": "{}"}
    assert model_annotation(fljob(), "{}") is None


def test_a_store_needs_no_claim() -> None:
    job = fljob(checkpoint={"uri": "s3://bucket/folder"})
    assert claim_manifest(job) is None
    assert model_annotation(job, "{}") is None


def roles_that_reach_anywhere(job: FLJob) -> set[str]:
    rule = {"ports": [{"protocol": "TCP"}]}
    policies = [m["spec"] for m in support_manifests(job, 2) if m["kind"] == "NetworkPolicy"]
    return {
        spec["podSelector"]["matchLabels"]["fljob.dev/role"]
        for spec in policies
        if rule in spec.get("egress", []) and "Egress" in spec["policyTypes"]
    }


def test_only_those_who_write_a_store_reach_it() -> None:
    assert roles_that_reach_anywhere(fljob(checkpoint={"uri": "s3://bucket/folder"})) == {"coordinator", "server"}
    assert roles_that_reach_anywhere(fljob()) == set()
