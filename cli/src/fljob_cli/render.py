"""`fljob render`: the objects that the operator would create, without a cluster. Called by `commands.local`.

Asks the operator's own pure functions (docs/decisions/007), so that what is shown is what is made. Certificates are
made in the cluster only: their Secrets are shown with the names of their keys and no values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from fljob_api import names
from fljob_api.fljob import FLJob
from fljob_api.spec import TlsMode
from fljob_cli import manifests

_UID = "00000000-0000-0000-0000-000000000000"
_SECRET_KEYS = {
    "leaf": (names.CA_CERT_FILE, names.CERT_FILE, names.KEY_FILE),
    "authority": (names.CERT_FILE, names.KEY_FILE),
}
_MADE_THERE = "(made by the operator)"


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out each time: anchors are no help to a reader."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - pyyaml's signature
        return True


def print_children(path: Path, settings: Sequence[str], *, image: str) -> None:
    """Print the children of a checked manifest as YAML documents, in the order of their creation."""
    job = manifests.load(path, settings, in_cluster=True)
    job = job.model_copy(update={"metadata": job.metadata.model_copy(update={"uid": _UID})})
    for child in children(job, image=image):
        sys.stdout.write("---\n" + yaml.dump(child, Dumper=_Dumper, sort_keys=False, width=110))


def children(job: FLJob, *, image: str) -> Iterator[dict[str, Any]]:
    """Yield the children of a job's first incarnation."""
    from fljob_operator.desired import Defaults  # noqa: PLC0415 - another room, only here
    from fljob_operator.desired.jobs import job_manifest  # noqa: PLC0415 - another room, only here
    from fljob_operator.desired.roles import members  # noqa: PLC0415 - another room, only here
    from fljob_operator.desired.support import claim_manifest, config_manifest, support_manifests  # noqa: PLC0415

    claim = claim_manifest(job)
    if claim is not None:
        yield claim
    yield config_manifest(job, 0)
    yield from support_manifests(job, 0)
    processes = members(job)
    if job.spec.security.tls is TlsMode.ENABLED:
        yield _secret(job, names.authority_secret(job.metadata.name), "authority")
        for process in processes:
            yield _secret(job, names.tls_secret(process.child, job.metadata.uid), "leaf")
    for process in processes:
        yield job_manifest(job, process, 0, Defaults(image=image))


def _secret(job: FLJob, name: str, kind: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": job.metadata.namespace},
        "type": "Opaque",
        "immutable": True,
        "stringData": dict.fromkeys(_SECRET_KEYS[kind], _MADE_THERE),
    }
