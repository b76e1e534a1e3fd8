"""The pods of a job: who may do what, restart by exit code, data read-only."""

from __future__ import annotations

from typing import Any

import pytest

from fljob_api.fljob import FLJob
from fljob_operator.desired.jobs import failure_rules, job_manifest
from fljob_operator.desired.roles import Member, members
from support.operator_values import DEFAULTS, fljob


def member_of(job: FLJob, role: str) -> Member:
    return next(m for m in members(job) if m.role == role)


def pod_spec(job: FLJob, role: str) -> dict[str, Any]:
    spec: dict[str, Any] = job_manifest(job, member_of(job, role), 1, DEFAULTS)["spec"]["template"]["spec"]
    return spec


def container(job: FLJob, role: str) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(job, role)["containers"][0]
    return found


@pytest.mark.parametrize("role", ["coordinator", "server", "trainer"])
def test_every_pod_meets_the_restricted_standard(role: str) -> None:
    spec, box = pod_spec(fljob(), role), container(fljob(), role)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert box["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_only_the_coordinator_has_a_token() -> None:
    tokens = {
        role: pod_spec(fljob(), role)["automountServiceAccountToken"] for role in ("coordinator", "server", "trainer")
    }
    assert tokens == {"coordinator": True, "server": False, "trainer": False}


def test_kept_models_are_mounted_read_only_at_every_trainer_and_nowhere_else() -> None:
    kept = {"path": "gmf", "persistentVolumeClaim": {"claimName": "models", "subPath": "old"}}
    job = fljob(initialValues=[kept])
    volume = next(v for v in pod_spec(job, "trainer")["volumes"] if v["name"] == "initial-0")
    mount = next(m for m in container(job, "trainer")["volumeMounts"] if m["name"] == "initial-0")
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert mount == {"name": "initial-0", "mountPath": "/initial/0", "readOnly": True, "subPath": "old"}
    for role in ("coordinator", "server"):
        assert "initial-0" not in {v["name"] for v in pod_spec(job, role)["volumes"]}


def test_a_trainers_claim_is_mounted_read_only_at_that_trainer_alone() -> None:
    trainers: list[dict[str, Any]] = [
        {"name": "a", "data": {"persistentVolumeClaim": {"claimName": "ratings", "subPath": "x"}}},
        {"name": "b"},
    ]
    first, second = (m for m in members(_with(trainers)) if m.role == "trainer")
    spec = job_manifest(_with(trainers), first, 1, DEFAULTS)["spec"]["template"]["spec"]
    volume = next(v for v in spec["volumes"] if v["name"] == "data")
    mount = next(m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "data")
    assert volume["persistentVolumeClaim"] == {"claimName": "ratings", "readOnly": True}
    assert mount == {"name": "data", "mountPath": "/data", "readOnly": True, "subPath": "x"}
    other = job_manifest(_with(trainers), second, 1, DEFAULTS)["spec"]["template"]["spec"]
    assert "data" not in {v["name"] for v in other["volumes"]}


def _with(trainers: list[dict[str, Any]], **spec: Any) -> FLJob:
    job = fljob(**spec)
    return FLJob.from_dict({**job.to_dict(), "spec": {**job.spec.to_dict(), "trainers": trainers}})


@pytest.mark.parametrize(
    ("data", "volume"),
    [
        ({"configMap": {"name": "small"}}, {"configMap": {"name": "small"}}),
        (
            {"csi": {"driver": "d.io", "volumeAttributes": {"a": "b"}}},
            {"csi": {"driver": "d.io", "readOnly": True, "volumeAttributes": {"a": "b"}}},
        ),
    ],
)
def test_other_sources_become_their_volume(data: dict[str, Any], volume: dict[str, Any]) -> None:
    job = _with([{"name": "a", "data": data}])
    spec = pod_spec(job, "trainer")
    assert {"name": "data", **volume} in spec["volumes"]


def test_storage_and_checkpoint_go_to_those_who_write_them() -> None:
    storage = {"persistentVolumeClaim": {"claimName": "private"}}
    job = _with([{"name": "a", "storage": storage}], checkpoint={"persistentVolumeClaim": {"claimName": "ckpt"}})
    mounts = {
        role: {m["name"]: m["mountPath"] for m in container(job, role)["volumeMounts"]}
        for role in ("server", "trainer", "coordinator")
    }
    assert mounts["trainer"]["storage"] == "/storage"
    assert "checkpoint" not in mounts["trainer"]
    assert mounts["server"]["checkpoint"] == mounts["coordinator"]["checkpoint"] == "/checkpoint"


def test_without_tls_no_certificate_is_mounted() -> None:
    job = fljob(security={"tls": "Disabled"})
    assert "tls" not in {v["name"] for v in pod_spec(job, "trainer")["volumes"]}


def test_the_users_template_reaches_the_pod() -> None:
    template = {
        "image": "mine:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": ["key"],
        "env": [{"name": "A", "value": "b"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "high",
        "labels": {"team": "x"},
        "annotations": {"note": "y"},
    }
    job = fljob(trainerTemplate=template)
    manifest = job_manifest(job, member_of(job, "trainer"), 1, DEFAULTS)
    pod = manifest["spec"]["template"]
    box = pod["spec"]["containers"][0]
    assert (box["image"], box["imagePullPolicy"]) == ("mine:1", "Always")
    assert {"name": "A", "value": "b"} in box["env"]
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["spec"]["priorityClassName"] == "high"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "key"}]
    assert pod["metadata"]["labels"]["team"] == "x"
    assert pod["metadata"]["annotations"] == {"note": "y"}


def test_a_limit_below_the_default_request_lowers_the_request() -> None:
    job = fljob(trainerTemplate={"resources": {"limits": {"memory": "64Mi"}}})
    assert container(job, "trainer")["resources"] == {
        "requests": {"cpu": "100m", "memory": "64Mi"},
        "limits": {"memory": "64Mi"},
    }


@pytest.mark.parametrize(
    ("limit", "budget"),
    [("1Gi", 503316480), ("256Mi", 100663296), ("64Mi", 0), ("1k", 0)],  # half of what is over 64 MiB
)
def test_a_server_s_memory_limit_bounds_the_updates_that_it_holds(limit: str, budget: int) -> None:
    flags = container(fljob(server={"resources": {"limits": {"memory": limit}}}), "server")["args"]
    assert flags[flags.index("--memory-bytes") + 1] == str(budget)


@pytest.mark.parametrize("resources", [{}, {"requests": {"memory": "1Gi"}}, {"limits": {"cpu": "1"}}])
def test_without_a_memory_limit_a_server_has_its_own_default(resources: dict[str, Any]) -> None:
    assert "--memory-bytes" not in container(fljob(server={"resources": resources}), "server")["args"]


@pytest.mark.parametrize("role", ["coordinator", "trainer"])
def test_the_limit_of_another_role_is_no_budget_of_updates(role: str) -> None:
    template = {"resources": {"limits": {"memory": "1Gi"}}}
    job = fljob(coordinator=template, trainerTemplate=template)
    assert [flag for r in (role, "server") for flag in container(job, r)["args"] if flag == "--memory-bytes"] == []


def test_a_trainers_own_resources_and_node_win() -> None:
    own = {"name": "a", "resources": {"requests": {"memory": "2Gi"}}, "nodeSelector": {"site": "a"}}
    job = _with([own], trainerTemplate={"resources": {"requests": {"memory": "1Gi"}}, "nodeSelector": {"disk": "ssd"}})
    assert container(job, "trainer")["resources"]["requests"]["memory"] == "2Gi"
    assert pod_spec(job, "trainer")["nodeSelector"] == {"disk": "ssd", "site": "a"}


def test_exit_codes_become_the_pod_failure_policy() -> None:
    disruption, fail, ignore = failure_rules()
    assert disruption == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert fail["action"] == "FailJob"
    assert {10, 12, 20, 21} <= set(fail["onExitCodes"]["values"])
    assert 0 not in fail["onExitCodes"]["values"]
    assert (ignore["action"], ignore["onExitCodes"]["values"]) == ("Ignore", [143])


def test_replacements_wait_until_the_former_pod_is_gone() -> None:
    job = fljob()
    assert job_manifest(job, member_of(job, "server"), 1, DEFAULTS)["spec"]["podReplacementPolicy"] == "Failed"


def test_credentials_of_a_store_go_to_those_who_write_it_and_no_volume_is_mounted() -> None:
    job = fljob(checkpoint={"uri": "s3://bucket/folder", "secretRef": {"name": "keys"}})
    for role in ("coordinator", "server"):
        assert container(job, role)["envFrom"] == [{"secretRef": {"name": "keys"}}]
        assert "--checkpoint-dir" not in container(job, role)["args"]
        assert {volume["name"] for volume in pod_spec(job, role)["volumes"]} == {"config", "tmp", "tls"}
    assert "envFrom" not in container(job, "trainer")
