"""One batch/v1 Job per process: restart by exit code, restricted Pod Security, read-only data.

A shard is a Job of its own, not an index of one: an Indexed Job has one template and its pods' host names change with
nothing but the index, while every process here has its own certificate. See docs/decisions/010.
"""

from __future__ import annotations

from typing import Any

from fljob_api import names
from fljob_api.exit_codes import MEANINGS, ExitCode, Retry
from fljob_api.fljob import FLJob
from fljob_api.roles import Resources
from fljob_api.spec import TlsMode
from fljob_api.storage import ClaimSource, DataSource
from fljob_operator.desired import Defaults, Manifest
from fljob_operator.desired.common import metadata, with_hash
from fljob_operator.desired.quantities import num_bytes
from fljob_operator.desired.roles import Member

USER = 65532
GRACE_S = 30
PROGRAMS = {
    names.ROLE_COORDINATOR: "fljob-coordinator",
    names.ROLE_SERVER: "fljob-server",
    names.ROLE_TRAINER: "fljob-trainer",
}
# Requests that small jobs fit into; no limits unless asked for, since a limit nobody chose kills runs.
REQUESTS = {
    names.ROLE_COORDINATOR: {"cpu": "50m", "memory": "128Mi"},
    names.ROLE_SERVER: {"cpu": "50m", "memory": "128Mi"},
    names.ROLE_TRAINER: {"cpu": "100m", "memory": "384Mi"},
}
# Of a server's memory limit: what the program takes with no model in it; the part of the rest that is for updates.
SERVER_OWN_BYTES, UPDATES_SHARE = 64 << 20, 0.5
# One thread per process: sums in another order would be other numbers than `fljob run` gives.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def job_manifest(job: FLJob, member: Member, incarnation: int, defaults: Defaults) -> Manifest:
    """Return the Job of one process."""
    base = metadata(job, member.child, incarnation, role=member.role)
    if member.trainer:
        base["labels"][names.LABEL_TRAINER] = member.identity
    extra = member.template
    labels = (extra.labels or {}) | base["labels"]
    pod: dict[str, Any] = {"metadata": {"labels": labels}, "spec": _pod_spec(job, member, incarnation, defaults)}
    if extra.annotations:
        pod["metadata"]["annotations"] = dict(extra.annotations)
    return with_hash(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": base,
            "spec": {
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": job.spec.backoff_limit,
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": failure_rules()},
                "template": pod,
            },
        }
    )


def failure_rules() -> list[dict[str, Any]]:
    """Return the exit-code table as a podFailurePolicy; what it does not name counts toward the backoff limit."""
    never = [int(code) for code, m in MEANINGS.items() if m.retry is Retry.NEVER and code is not ExitCode.DONE]
    free = [int(code) for code, m in MEANINGS.items() if m.retry is Retry.FREE]
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": names.CONTAINER, "operator": "In", "values": sorted(never)},
        },
        {
            "action": "Ignore",
            "onExitCodes": {"containerName": names.CONTAINER, "operator": "In", "values": sorted(free)},
        },
    ]


def _pod_spec(job: FLJob, member: Member, incarnation: int, defaults: Defaults) -> dict[str, Any]:
    extra, trainer = member.template, member.trainer
    volumes, mounts = _volumes(job, member, incarnation)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "hostname": member.child,
        "subdomain": names.service(job.metadata.name),
        "serviceAccountName": names.service_account(job.metadata.name, member.role),
        "automountServiceAccountToken": member.role == names.ROLE_COORDINATOR,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job, member, mounts, defaults)],
        "volumes": volumes,
    }
    selector = (extra.node_selector or {}) | ((trainer.node_selector or {}) if trainer else {})
    if selector:
        spec["nodeSelector"] = selector
    if extra.tolerations:
        spec["tolerations"] = [t.to_dict() for t in extra.tolerations]
    if extra.priority_class_name:
        spec["priorityClassName"] = extra.priority_class_name
    if extra.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in extra.image_pull_secrets]
    return spec


def _container(job: FLJob, member: Member, mounts: list[dict[str, Any]], defaults: Defaults) -> dict[str, Any]:
    extra = member.template
    own = member.trainer.resources if member.trainer and member.trainer.resources else extra.resources
    paths = {m["name"]: m["mountPath"] for m in mounts}
    flags = ["--config", names.CONFIG_PATH, *member.arguments, "--http-port", str(names.HTTP_PORT)]
    if member.role == names.ROLE_SERVER:
        flags += _memory_flags(own)
    for volume, flag in (
        ("tls", "--tls-dir"),
        ("data", "--data-dir"),
        ("storage", "--storage-dir"),
        ("checkpoint", "--checkpoint-dir"),
    ):
        if volume in paths:
            flags += [flag, paths[volume]]
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "timeoutSeconds": 5}
    container = {
        "name": names.CONTAINER,
        "image": extra.image or defaults.image,
        "imagePullPolicy": (extra.image_pull_policy.value if extra.image_pull_policy else defaults.pull_policy),
        "command": [PROGRAMS[member.role]],
        "args": flags,
        "env": [{"name": n, "value": v} for n, v in THREADS.items()] + [e.to_dict() for e in extra.env or []],
        "ports": [
            {"name": "grpc", "containerPort": names.GRPC_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(own, REQUESTS[member.role]),
        "startupProbe": probe | {"periodSeconds": 2, "failureThreshold": 150},
        "livenessProbe": probe | {"periodSeconds": 20, "failureThreshold": 6},
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    secret = job.spec.checkpoint.secret_ref if job.spec.checkpoint else None
    if secret and not member.trainer:  # a trainer never sees the store, so it gets no credentials for it
        container["envFrom"] = [{"secretRef": {"name": secret.name}}]
    return container


def _memory_flags(given: Resources | None) -> list[str]:
    """Return the budget of a server's updates, none without a limit: the program's default. What is over goes to files.

    The other half is for two versions of the model, the optimizer's state and a commit's work, of which nobody knows
    the size before the first trainer comes.
    """
    limit = ((given.limits or {}) if given else {}).get("memory")
    if limit is None:
        return []
    return ["--memory-bytes", str(int(UPDATES_SHARE * max(0, num_bytes(limit) - SERVER_OWN_BYTES)))]


def _resources(given: Resources | None, requests: dict[str, str]) -> dict[str, Any]:
    """Merge the defaults in; a request above a given limit would be refused, so such a default gives way."""
    limits = dict((given.limits or {}) if given else {})
    asked = dict((given.requests or {}) if given else {})
    merged = {name: asked.get(name, limits.get(name, default)) for name, default in requests.items()}
    value: dict[str, Any] = {"requests": {**asked, **merged}}
    if limits:
        value["limits"] = limits
    return value


def _volumes(job: FLJob, member: Member, incarnation: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    name = job.metadata.name
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": names.config(name, job.metadata.uid, incarnation)}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": names.CONFIG_PATH.rsplit("/", 1)[0], "readOnly": True},
        {"name": "tmp", "mountPath": names.SCRATCH_DIR},
    ]
    if job.spec.security.tls is TlsMode.ENABLED:
        secret = {"secretName": names.tls_secret(member.child, job.metadata.uid, incarnation), "defaultMode": 0o440}
        volumes.append({"name": "tls", "secret": secret})
        mounts.append({"name": "tls", "mountPath": names.TLS_DIR, "readOnly": True})
    if member.trainer:
        _add_trainer_volumes(member, volumes, mounts)
        _add_initial_values(job, volumes, mounts)
    else:
        _add_checkpoint(job, volumes, mounts)
    return volumes, mounts


def _add_trainer_volumes(member: Member, volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> None:
    trainer = member.trainer
    if trainer and trainer.data:
        volumes.append({"name": "data", **_data_volume(trainer.data)})
        mounts.append(_mount("data", names.DATA_DIR, trainer.data.persistent_volume_claim, read_only=True))
    if trainer and trainer.storage:
        claim = trainer.storage.persistent_volume_claim
        volumes.append({"name": "storage", "persistentVolumeClaim": {"claimName": claim.claim_name}})
        mounts.append(_mount("storage", names.STORAGE_DIR, claim))


def _add_initial_values(job: FLJob, volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> None:
    for index, given in enumerate(job.spec.initial_values):
        claim = given.persistent_volume_claim
        if claim:
            source = {"claimName": claim.claim_name, "readOnly": True}
            volumes.append({"name": f"initial-{index}", "persistentVolumeClaim": source})
            mounts.append(_mount(f"initial-{index}", f"{names.INITIAL_DIR}/{index}", claim, read_only=True))


def _data_volume(data: DataSource) -> dict[str, Any]:
    if data.persistent_volume_claim:
        return {"persistentVolumeClaim": {"claimName": data.persistent_volume_claim.claim_name, "readOnly": True}}
    if data.config_map:
        return {"configMap": {"name": data.config_map.name}}
    csi = data.csi
    if csi is None:
        raise ValueError("a data source without a volume passed validation")
    value: dict[str, Any] = {"driver": csi.driver, "readOnly": True}
    if csi.volume_attributes:
        value["volumeAttributes"] = dict(csi.volume_attributes)
    return {"csi": value}


def _add_checkpoint(job: FLJob, volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> None:
    checkpoint = job.spec.checkpoint
    if checkpoint is None or checkpoint.uri is not None:
        return
    claim = checkpoint.persistent_volume_claim
    claim_name = claim.claim_name if claim else names.checkpoint_claim(job.metadata.name)
    volumes.append({"name": "checkpoint", "persistentVolumeClaim": {"claimName": claim_name}})
    mounts.append(_mount("checkpoint", names.CHECKPOINT_DIR, claim))


def _mount(name: str, path: str, claim: ClaimSource | None, *, read_only: bool = False) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": name, "mountPath": path}
    if read_only:
        mount["readOnly"] = True
    if claim and claim.sub_path:
        mount["subPath"] = claim.sub_path
    return mount
