"""Commands that change FLJobs: submit, suspend, resume, delete. Called by `commands.cluster`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fljob_cli import manifests
from fljob_cli.cluster.api import Cluster
from fljob_cli.errors import CliError


def submit(cluster: Cluster, path: Path, settings: Sequence[str], *, namespace_given: bool) -> tuple[str, Cluster]:
    """Check a manifest, apply it, and return the job's name and the cluster in the job's namespace.

    The namespace is that of the command line, else the manifest's, else the context's.
    """
    manifest = manifests.load_value(path, settings, in_cluster=True)
    metadata = manifest["metadata"]
    if "namespace" in metadata:
        if namespace_given and metadata["namespace"] != cluster.namespace:
            raise CliError(
                f"{path}: metadata.namespace is {metadata['namespace']}, --namespace {cluster.namespace}",
                hint="give the same in both, or leave one out",
            )
        cluster = cluster.within(metadata["namespace"])
    manifest.pop("status", None)
    cluster.apply(manifest)
    _say(cluster, metadata["name"], "applied")
    return str(metadata["name"]), cluster


def set_suspend(cluster: Cluster, name: str, *, suspended: bool) -> None:
    """Suspend a job or let it go on."""
    job = cluster.get(name)
    ended = [c["type"] for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"]
    if {"Succeeded", "Failed"} & set(ended):
        raise CliError(f"FLJob {cluster.namespace}/{name} has ended; `fljob status {name}` says how")
    cluster.merge(name, {"spec": {"suspend": suspended}})
    _say(cluster, name, "will stop at its next round border" if suspended else "goes on")


def delete(cluster: Cluster, name: str) -> None:
    """Delete a job."""
    cluster.delete(name)
    _say(cluster, name, "deleted; its checkpoints stay")


def _say(cluster: Cluster, name: str, what: str) -> None:
    sys.stdout.write(f"fljob.fljob.dev/{name} in {cluster.namespace}: {what}\n")
