"""Secrets with certificates. Making a key is not pure, so reconcile only says which are missing; this makes them."""

from __future__ import annotations

import base64

from fljob_api import names
from fljob_api.fljob import FLJob
from fljob_api.pki import Authority, issue
from fljob_operator.desired import Manifest
from fljob_operator.desired.common import metadata
from fljob_operator.desired.roles import Member


def authority_manifest(job: FLJob, authority: Authority) -> Manifest:
    """Return the Secret with the authority's key, which no pod mounts."""
    data = {"tls.crt": authority.certificate, "tls.key": authority.key}
    return _secret(job, names.authority_secret(job.metadata.name), data)


def read_authority(job: FLJob, secret: Manifest) -> Authority:
    """Read the authority back from its Secret."""
    data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
    return Authority(job.metadata.uid, data["tls.crt"], data["tls.key"])


def certificate_manifest(job: FLJob, member: Member, incarnation: int, authority: Authority) -> Manifest:
    """Return the immutable Secret with one process's certificate for one incarnation."""
    host = names.host(member.child, job.metadata.name, job.metadata.namespace)
    leaf = issue(authority, member.role, member.identity, [host, f"{host}.cluster.local"])
    return _secret(job, names.tls_secret(member.child, job.metadata.uid, incarnation), leaf.files(), incarnation)


def _secret(job: FLJob, name: str, data: dict[str, bytes], incarnation: int = 0) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(job, name, incarnation),
        "type": "Opaque",
        "immutable": True,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
