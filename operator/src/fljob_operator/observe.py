"""Reads what there is into `Observed`: one listing per kind, then plain projections."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from fljob_api import names
from fljob_api.conditions import Reason
from fljob_api.fljob import FLJob
from fljob_api.progress import PROGRESS_KEY, Progress
from fljob_api.spec import TlsMode
from fljob_operator.cluster import ClusterClient
from fljob_operator.desired import Manifest
from fljob_operator.desired.roles import members
from fljob_operator.observed import JobView, Observed, PodView
from fljob_operator.times import seconds_since

SUPPORT_KINDS = ("Service", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")
QUIET_S = 4.0  # a pod or Job without word for longer is asked about: its events say why
_PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


async def observe(
    cluster: ClusterClient, job: FLJob, now: datetime, *, resync: bool = False, fold_progress: bool = True
) -> Observed:
    """List the FLJob's children once and return them as values; raises ClusterError."""
    namespace = job.metadata.namespace
    selector = f"{names.LABEL_JOB}={job.metadata.name}"
    listed = await asyncio.gather(*(cluster.find(kind, namespace, selector) for kind in ("Job", "Pod", *SUPPORT_KINDS)))
    by_kind = dict(zip(("Job", "Pod", *SUPPORT_KINDS), listed, strict=True))
    own, foreign = _split(job, by_kind)
    pods = [p for p in by_kind["Pod"] if p["metadata"]["labels"].get(names.LABEL_UID) == job.metadata.uid]
    pod_views = tuple([_pod(p, await _pod_events(cluster, p, now)) for p in pods])
    jobs = [_job(j, await _job_events(cluster, j, pods, now)) for j in own.get("Job", [])]
    settled = len(jobs) == len(members(job)) and all(p.ready or p.exit_code == 0 for p in pod_views) and pod_views
    secrets: frozenset[str] | None = None
    lost = False
    if resync or not settled:
        secrets, lost = await _secrets(
            cluster, job, has_jobs=any(j.incarnation == job.status.incarnation for j in jobs)
        )
    if settled and lost:  # pods that run hold their certificates: they are not stopped before one must start again
        secrets, lost = None, False
    return Observed(
        hashes={
            (kind, o["metadata"]["name"]): o["metadata"].get("annotations", {}).get(names.ANNOTATION_HASH, "")
            for kind, objects in own.items()
            for o in objects
        },
        foreign=tuple(foreign),
        jobs={view.name: view for view in jobs},
        pods=pod_views,
        secrets=secrets,
        authority_lost=lost,
        claim_present=await _claim_present(cluster, job),
        progress=_progress(job, own.get("ConfigMap", [])),
        fold_progress=fold_progress,
        resync=resync,
    )


def _split(job: FLJob, by_kind: dict[str, list[Manifest]]) -> tuple[dict[str, list[Manifest]], list[str]]:
    """Part the children of this FLJob from those of a former one of the same name, by uid."""
    own: dict[str, list[Manifest]] = {}
    foreign = []
    for kind, objects in by_kind.items():
        if kind == "Pod":
            continue
        for item in objects:
            if item["metadata"].get("labels", {}).get(names.LABEL_UID) == job.metadata.uid:
                own.setdefault(kind, []).append({**item, "kind": kind})
            else:
                foreign.append(f"{kind}/{item['metadata']['name']}")
    return own, foreign


async def _secrets(cluster: ClusterClient, job: FLJob, *, has_jobs: bool) -> tuple[frozenset[str], bool]:
    """Look up the certificates by name (the operator may not list Secrets), and whether their authority is lost."""
    if job.spec.security.tls is TlsMode.DISABLED:
        return frozenset(), False
    uid = job.metadata.uid
    wanted = [names.tls_secret(m.child, uid, job.status.incarnation) for m in members(job)]
    looked_up = (names.authority_secret(job.metadata.name), *wanted)
    found = await asyncio.gather(*(cluster.get("Secret", job.metadata.namespace, name) for name in looked_up))
    authority, *leaves = (
        s if s and s["metadata"].get("labels", {}).get(names.LABEL_UID) == uid else None for s in found
    )
    present = {name: leaf["data"] for name, leaf in zip(wanted, leaves, strict=True) if leaf}
    if authority is None:
        lost = len(present) < len(wanted) and (bool(present) or has_jobs)
    else:
        issuer = authority["data"][names.CERT_FILE]
        lost = any(data[names.CA_CERT_FILE] != issuer for data in present.values())
    return frozenset(present), lost


async def _claim_present(cluster: ClusterClient, job: FLJob) -> bool | None:
    checkpoint = job.spec.checkpoint
    if checkpoint is None or checkpoint.uri is not None:
        return None
    claim = checkpoint.persistent_volume_claim
    name = claim.claim_name if claim else names.checkpoint_claim(job.metadata.name)
    return await cluster.get("PersistentVolumeClaim", job.metadata.namespace, name) is not None


def _progress(job: FLJob, config_maps: list[Manifest]) -> Progress | None:
    """Return what the coordinator of this very incarnation wrote; anything else is not its word."""
    wanted = names.progress(job.metadata.name, job.metadata.uid, job.status.incarnation)
    for item in config_maps:
        text = (item.get("data") or {}).get(PROGRESS_KEY)
        if item["metadata"]["name"] != wanted or not text:
            continue
        try:
            progress = Progress.from_dict(json.loads(text))
        except (ValueError, ValidationError):
            return None
        if (progress.uid, progress.incarnation) == (job.metadata.uid, job.status.incarnation):
            return progress
    return None


def _job(item: Manifest, trouble: tuple[str, str]) -> JobView:
    meta, status = item["metadata"], item.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    failed = conditions.get("Failed", {})
    return JobView(
        name=meta["name"],
        role=meta["labels"].get(names.LABEL_ROLE, ""),
        trainer=meta["labels"].get(names.LABEL_TRAINER, ""),
        uid=meta["uid"],
        incarnation=int(meta["labels"].get(names.LABEL_INCARNATION, "0")),
        complete="Complete" in conditions,
        failed=bool(failed),
        fail_reason=failed.get("reason", ""),
        fail_message=failed.get("message", ""),
        failed_pods=int(status.get("failed", 0)),
        deleting="deletionTimestamp" in meta,
        trouble_reason=trouble[0],
        trouble=trouble[1],
    )


def _pod(item: Manifest, event: tuple[str, str]) -> PodView:
    meta, status = item["metadata"], item.get("status", {})
    labels = meta["labels"]
    containers = status.get("containerStatuses", [])
    container = containers[0] if containers else {}
    ended = container.get("state", {}).get("terminated", {})
    spec = item["spec"]["containers"][0] if item.get("spec") else {}
    reason, words = _pod_trouble(status, container) or event
    deleting = "deletionTimestamp" in meta
    return PodView(
        child=labels.get("batch.kubernetes.io/job-name", labels.get("job-name", "")),
        role=labels.get(names.LABEL_ROLE, ""),
        trainer=labels.get(names.LABEL_TRAINER, ""),
        phase=status.get("phase", "Pending"),
        ready=bool(container.get("ready")) and not deleting,
        deleting=deleting,
        trouble_reason="" if deleting else reason,
        trouble="" if deleting else words[:1024],
        exit_code=ended.get("exitCode"),
        out_of_memory=ended.get("reason") == "OOMKilled",
        memory_limit=str(spec.get("resources", {}).get("limits", {}).get("memory", "")),
        message=str(ended.get("message", "")).strip()[-600:],
    )


def _pod_trouble(status: dict[str, Any], container: dict[str, Any]) -> tuple[str, str] | None:
    """Say what keeps a pod from running, from its own status: scheduling or the image."""
    if status.get("phase") != "Pending":
        return "", ""
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            words = condition.get("message", "")
            missing = "persistentvolumeclaim" in words
            return (Reason.VOLUME_MISSING if missing else Reason.UNSCHEDULABLE).value, words
    waiting = container.get("state", {}).get("waiting", {})
    if waiting.get("reason") in _PULL_REASONS:
        return Reason.IMAGE_PULL_FAILED.value, f"{waiting['reason']}: {waiting.get('message', '')}"
    if waiting.get("message"):
        return Reason.POD_PENDING.value, f"{waiting['reason']}: {waiting['message']}"
    return None


async def _pod_events(cluster: ClusterClient, pod: Manifest, now: datetime) -> tuple[str, str]:
    """Ask for the events of a pod that is pending without a word: a missing ConfigMap or Secret shows only there."""
    phase = pod.get("status", {}).get("phase", "Pending")
    if phase != "Pending" or seconds_since(pod["metadata"].get("creationTimestamp"), now) < QUIET_S:
        return "", ""
    words = await _last_warning(cluster, pod, ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"))
    return (Reason.VOLUME_MISSING.value, words) if words else ("", "")


async def _job_events(cluster: ClusterClient, job: Manifest, pods: list[Manifest], now: datetime) -> tuple[str, str]:
    """Ask for the events of a Job that has no pod: Pod Security and quotas refuse the pod, not the Job."""
    meta, status = job["metadata"], job.get("status", {})
    has_pod = any(p["metadata"]["labels"].get("job-name") == meta["name"] for p in pods)
    if has_pod or status.get("conditions") or seconds_since(meta.get("creationTimestamp"), now) < QUIET_S:
        return "", ""
    words = await _last_warning(cluster, {**job, "kind": "Job"}, ("FailedCreate",))
    return (Reason.FORBIDDEN.value, words) if words else ("", "")


async def _last_warning(cluster: ClusterClient, item: Manifest, reasons: tuple[str, ...]) -> str:
    meta = item["metadata"]
    fields = f"involvedObject.uid={meta['uid']},type=Warning"
    events = await cluster.find("Event", meta["namespace"], fields=fields)
    told = [e for e in events if e.get("reason") in reasons]
    told.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return str(told[-1].get("message", ""))[:1024] if told else ""
