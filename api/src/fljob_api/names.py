"""Names, labels and ports of everything that an FLJob owns. Deterministic: no random part anywhere.

Used by the operator to make children and by the command line to find them.
"""

from __future__ import annotations

import hashlib
import re

MAX_LABEL = 63
_HASH_LENGTH = 8

LABEL_JOB = "fljob.dev/job"
LABEL_UID = "fljob.dev/uid"
LABEL_ROLE = "fljob.dev/role"
LABEL_TRAINER = "fljob.dev/trainer"
LABEL_INCARNATION = "fljob.dev/incarnation"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "fljob-operator"
FIELD_MANAGER = "fljob-operator"
ANNOTATION_HASH = "fljob.dev/applied-hash"
ANNOTATION_MODEL = "model.fljob.dev/{job}"

ROLE_COORDINATOR = "coordinator"
ROLE_SERVER = "server"
ROLE_TRAINER = "trainer"

GRPC_PORT = 50051
HTTP_PORT = 8080
CONTAINER = "fljob"

CONFIG_PATH = "/etc/fljob/job.json"
TLS_DIR = "/var/run/fljob/tls"
CA_CERT_FILE = "ca.crt"
CERT_FILE = "tls.crt"
KEY_FILE = "tls.key"
DATA_DIR = "/data"
STORAGE_DIR = "/storage"
INITIAL_DIR = "/initial"
CHECKPOINT_DIR = "/checkpoint"
SCRATCH_DIR = "/tmp"  # noqa: S108 - the pod's own emptyDir


def fit(*parts: str, limit: int = MAX_LABEL) -> str:
    """Join the parts with dashes; past `limit` characters cut and end in a hash of the whole."""
    name = "-".join(parts)
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{name[: limit - _HASH_LENGTH - 1].rstrip('-.')}-{digest}"


def coordinator(job: str) -> str:
    """Return the name of the coordinator's Job and host."""
    return fit(job, "coordinator", limit=MAX_LABEL - 6)


def server(job: str, shard: int) -> str:
    """Return the name of one shard's Job and host."""
    return fit(job, "server", str(shard), limit=MAX_LABEL - 6)


# Ends of "<job>-trainer-<name>" that make it a child's name of a longer job too: trainer "coordinator" of job "a".
_AMBIGUOUS = re.compile(r"-trainer-|-coordinator$|-server-[0-9]+$")


def trainer(job: str, name: str) -> str:
    """Return the name of one trainer's Job and host; it ends in a hash where it could be another job's child."""
    if _AMBIGUOUS.search(f"-{name}"):
        digest = hashlib.sha256(f"{job}/{name}".encode()).hexdigest()[:_HASH_LENGTH]
        return fit(job, "trainer", name, digest, limit=MAX_LABEL - 6)
    return fit(job, "trainer", name, limit=MAX_LABEL - 6)


def service(job: str) -> str:
    """Return the name of the headless Service that gives the hosts their DNS names."""
    return fit(job, "fl")


def config(job: str, uid: str, incarnation: int) -> str:
    """Return the name of the immutable ConfigMap with the JobConfig of one incarnation.

    The kubelet keeps an immutable object by its name while a pod uses it: a job made anew must not get the old one's.
    """
    return fit(job, "config", uid[:8], str(incarnation))


def progress(job: str, uid: str, incarnation: int) -> str:
    """Return the name of the progress ConfigMap: a stale coordinator writes to another one."""
    return fit(job, "progress", uid[:8], str(incarnation))


def authority_secret(job: str) -> str:
    """Return the name of the Secret with the CA's key, which no pod mounts."""
    return fit(job, "ca")


def tls_secret(child: str, uid: str, incarnation: int = 1) -> str:
    """Return the name of the immutable Secret with the certificate of one child (by its Job name).

    Each incarnation has its own: the kubelet keeps immutable ones by name, and an authority made anew issues new ones.
    """
    return fit(child, uid[:8], "tls") if incarnation <= 1 else fit(child, uid[:8], str(incarnation), "tls")


def service_account(job: str, role: str) -> str:
    """Return the name of the ServiceAccount of a role (only the coordinator's has a token)."""
    return fit(job, role)


def checkpoint_claim(job: str) -> str:
    """Return the name of the claim made from checkpoint.volumeClaimTemplate."""
    return fit(job, "checkpoint")


def host(child: str, job: str, namespace: str) -> str:
    """Return the DNS name of one child's pod."""
    return f"{child}.{service(job)}.{namespace}.svc"


def identity(uid: str, role: str, name: str) -> str:
    """Return the URI in a process's certificate. Names: "coordinator", a shard's number, a trainer's name."""
    return f"fljob://{uid}/{role}/{name}"


def tls_host(uid: str, role: str, name: str) -> str:
    """Return the name that clients expect in a server's certificate, whatever address they dial.

    No DNS knows it: so a trainer's certificate cannot stand in for a shard's, not even on one loopback.
    """
    return f"{name}.{role}.{uid}.fljob.internal"


def owned_labels(job: str, uid: str) -> dict[str, str]:
    """Return the labels that every child carries."""
    return {
        LABEL_JOB: job,
        LABEL_UID: uid,
        LABEL_MANAGED_BY: MANAGED_BY,
        "app.kubernetes.io/name": "fljob",
        "app.kubernetes.io/instance": job,
    }
