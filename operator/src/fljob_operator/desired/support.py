"""All but Jobs and Secrets: Service, ConfigMaps, accounts and roles, network policies, the claim of the checkpoint."""

from __future__ import annotations

from typing import Any

from fljob_api import GROUP, PLURAL, names
from fljob_api.fljob import FLJob
from fljob_api.job_config import JobConfig, KubernetesTarget
from fljob_operator.desired import Manifest
from fljob_operator.desired.common import metadata, pod_selector, with_hash

ROLES = (names.ROLE_COORDINATOR, names.ROLE_SERVER, names.ROLE_TRAINER)


def job_config(job: FLJob, incarnation: int) -> JobConfig:
    """Return what the containers of one incarnation read."""
    name, namespace = job.metadata.name, job.metadata.namespace

    def address(child: str) -> str:
        return f"{names.host(child, name, namespace)}:{names.GRPC_PORT}"

    return JobConfig(
        name=name,
        namespace=namespace,
        uid=job.metadata.uid,
        incarnation=incarnation,
        spec=job.spec,
        coordinator=address(names.coordinator(name)),
        servers=[address(names.server(name, i)) for i in range(job.spec.server.replicas)],
        kubernetes=KubernetesTarget(
            namespace=namespace,
            name=name,
            progress_config_map=names.progress(name, job.metadata.uid, incarnation),
        ),
    )


def support_manifests(job: FLJob, incarnation: int) -> tuple[Manifest, ...]:
    """Return the children that the Jobs stand on, in the order of creation."""
    return (
        _service(job),
        _progress(job, incarnation),
        *(_account(job, role) for role in ROLES),
        _role(job, incarnation),
        _role_binding(job),
        *_network_policies(job),
    )


def config_manifest(job: FLJob, incarnation: int) -> Manifest:
    """Return the immutable ConfigMap with the JobConfig; made once per incarnation, never changed."""
    data = {names.CONFIG_PATH.rsplit("/", 1)[1]: job_config(job, incarnation).to_json()}
    base = metadata(job, names.config(job.metadata.name, job.metadata.uid, incarnation), incarnation)
    return with_hash({"apiVersion": "v1", "kind": "ConfigMap", "metadata": base, "immutable": True, "data": data})


def claim_manifest(job: FLJob) -> Manifest | None:
    """Return the checkpoint's claim where the FLJob asks for one to be made. It has no owner: the model outlives it."""
    checkpoint = job.spec.checkpoint
    if checkpoint is None or checkpoint.volume_claim_template is None:
        return None
    template = checkpoint.volume_claim_template
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(template.storage)}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    base = {
        "name": names.checkpoint_claim(job.metadata.name),
        "namespace": job.metadata.namespace,
        "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY, "app.kubernetes.io/name": "fljob"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": base, "spec": spec}


def _service(job: FLJob) -> Manifest:
    base = metadata(job, names.service(job.metadata.name), 0)
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": base,
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": pod_selector(job)["matchLabels"],
                "ports": [{"name": "grpc", "port": names.GRPC_PORT, "targetPort": "grpc", "protocol": "TCP"}],
            },
        }
    )


def _progress(job: FLJob, incarnation: int) -> Manifest:
    """The coordinator fills in `data`; leaving it out here keeps the operator from owning it."""
    name = names.progress(job.metadata.name, job.metadata.uid, incarnation)
    base = metadata(job, name, incarnation, role="progress")
    return with_hash({"apiVersion": "v1", "kind": "ConfigMap", "metadata": base})


def _account(job: FLJob, role: str) -> Manifest:
    base = metadata(job, names.service_account(job.metadata.name, role), 0, role=role)
    return with_hash(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": base, "automountServiceAccountToken": False}
    )


def _role(job: FLJob, incarnation: int) -> Manifest:
    """The coordinator may read its own FLJob and write its own progress, both by name."""
    name = job.metadata.name
    progress = names.progress(name, job.metadata.uid, incarnation)
    rules = [
        {"apiGroups": [GROUP], "resources": [PLURAL], "resourceNames": [name], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [progress], "verbs": ["get", "patch"]},
    ]
    base = metadata(job, names.service_account(name, names.ROLE_COORDINATOR), 0)
    return with_hash({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": base, "rules": rules})


def _role_binding(job: FLJob) -> Manifest:
    name = names.service_account(job.metadata.name, names.ROLE_COORDINATOR)
    return with_hash(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata(job, name, 0),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": job.metadata.namespace}],
        }
    )


def _network_policies(job: FLJob) -> tuple[Manifest, ...]:
    """Default deny, then only what the wire needs. Scraping and probing of the http port stay open to the cluster."""
    coordinator, server, trainer = ROLES

    def policy(suffix: str, selector: dict[str, Any], rules: dict[str, Any]) -> Manifest:
        base = metadata(job, names.fit(job.metadata.name, suffix), 0)
        spec = {"podSelector": selector, **rules}
        manifest = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": base, "spec": spec}
        return with_hash(manifest)

    def ports(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
        return [{"port": number, "protocol": protocol} for number in numbers]

    def peers(*roles: str) -> list[dict[str, Any]]:
        return [{"podSelector": pod_selector(job, role)} for role in roles]

    # Where a store is, only its driver and the credentials know: an endpoint in the cluster, any port.
    checkpoint = job.spec.checkpoint
    store = [{"ports": [{"protocol": "TCP"}]}] if checkpoint and checkpoint.uri else []
    to_store = {"policyTypes": ["Ingress", "Egress"], "egress": store} if store else {"policyTypes": ["Ingress"]}
    dns = {"ports": [*ports(53), *ports(53, protocol="UDP")]}
    grpc = names.GRPC_PORT
    return (
        policy(
            "deny",
            pod_selector(job),
            {
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"ports": ports(names.HTTP_PORT)}],
                "egress": [dns],
            },
        ),
        policy(
            "coordinator",
            pod_selector(job, coordinator),
            {
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": peers(trainer), "ports": ports(grpc)}],
                "egress": [{"to": peers(server), "ports": ports(grpc)}, {"ports": ports(443, 6443)}, *store],
            },
        ),
        policy(
            "server",
            pod_selector(job, server),
            {**to_store, "ingress": [{"from": peers(coordinator, trainer), "ports": ports(grpc)}]},
        ),
        policy(
            "trainer",
            pod_selector(job, trainer),
            {"policyTypes": ["Egress"], "egress": [{"to": peers(coordinator, server), "ports": ports(grpc)}]},
        ),
    )


def model_annotation(job: FLJob, value: str) -> Manifest | None:
    """Return the apply that notes the model on the checkpoint's claim, for `fljob model get` after the job is gone."""
    checkpoint = job.spec.checkpoint
    if checkpoint is None or checkpoint.uri is not None:
        return None
    claim = checkpoint.persistent_volume_claim
    name = claim.claim_name if claim else names.checkpoint_claim(job.metadata.name)
    key = names.ANNOTATION_MODEL.format(job=job.metadata.name)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": job.metadata.namespace, "annotations": {key: value}},
    }
