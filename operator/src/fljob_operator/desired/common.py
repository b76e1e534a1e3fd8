"""Metadata that all children share."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fljob_api import API_VERSION, KIND, names
from fljob_api.fljob import FLJob
from fljob_operator.desired import Manifest


def owner_reference(job: FLJob) -> dict[str, Any]:
    """Return the reference that lets the garbage collector remove a child with its FLJob."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def metadata(job: FLJob, name: str, incarnation: int, *, role: str = "") -> dict[str, Any]:
    """Return a child's metadata."""
    labels = names.owned_labels(job.metadata.name, job.metadata.uid) | {names.LABEL_INCARNATION: str(incarnation)}
    if role:
        labels[names.LABEL_ROLE] = role
    owners = [owner_reference(job)]
    return {"name": name, "namespace": job.metadata.namespace, "labels": labels, "ownerReferences": owners}


def with_hash(manifest: Manifest) -> Manifest:
    """Return the manifest with an annotation that tells whether it must be applied again."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    annotations = manifest["metadata"].get("annotations", {}) | {names.ANNOTATION_HASH: digest}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def pod_selector(job: FLJob, role: str = "") -> dict[str, Any]:
    """Return a selector of this job's pods, of one role or all."""
    labels = {names.LABEL_UID: job.metadata.uid}
    if role:
        labels[names.LABEL_ROLE] = role
    return {"matchLabels": labels}
