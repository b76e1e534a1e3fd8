"""Carries out decisions: takes a key, reads, reconciles, writes. Several workers, one FLJob each at a time.

Order of writes makes a killed reconcile safe to repeat: children first, then one status patch, then events.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import ValidationError

from fljob_api import names
from fljob_api.conditions import ConditionType, Reason
from fljob_api.fljob import FLJob
from fljob_api.pki import Authority, make_authority
from fljob_api.status import FLJobStatus
from fljob_api.validation import validate
from fljob_operator.cluster import ClusterClient, ClusterError, NameTakenError
from fljob_operator.conditions import updated, word
from fljob_operator.decision import Decision, Event, EventType
from fljob_operator.desired import Defaults, Manifest
from fljob_operator.desired.secrets import authority_manifest, certificate_manifest, read_authority
from fljob_operator.events import between
from fljob_operator.metrics import OperatorMetrics
from fljob_operator.observe import observe
from fljob_operator.observed import Observed
from fljob_operator.queue import WorkQueue
from fljob_operator.reconcile import reconcile
from fljob_operator.times import stamp

log = logging.getLogger(__name__)


class Controller:
    """Workers over the queue."""

    def __init__(
        self,
        cluster: ClusterClient,
        queue: WorkQueue,
        defaults: Defaults,
        metrics: OperatorMetrics,
        *,
        progress_interval_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster, self._queue, self._defaults, self._metrics = cluster, queue, defaults, metrics
        self._interval_s, self._now = progress_interval_s, now
        self._folded: dict[str, float] = {}
        self._resync: set[str] = set()

    def resync(self, key: str) -> None:
        """Look at a key with fresh eyes: applied again even if nothing seems to differ."""
        self._resync.add(key)
        self._queue.add(key)

    async def work(self) -> None:
        """Work on keys until cancelled."""
        while True:
            key = await self._queue.get()
            began = time.monotonic()
            failed = False
            try:
                result = "changed" if await self._handle(key) else "unchanged"
            except ClusterError as error:
                failed, result = True, "error"
                log.warning("key=%s code=%d retriable=%s error=%s", key, error.code, error.retriable, error)
            except Exception:
                failed, result = True, "error"
                log.exception("key=%s this is a bug", key)
            self._queue.done(key, failed=failed)
            self._metrics.reconciled(result, time.monotonic() - began)

    async def _handle(self, key: str) -> bool:
        """Reconcile one key; returns whether anything was written."""
        namespace, name = key.split("/", 1)
        raw = await self._cluster.get("FLJob", namespace, name)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self._metrics.forget(key)
            self._folded.pop(key, None)
            self._resync.discard(key)
            return False
        job, problems = _parse(raw)
        if job is None:
            return await self._refuse(raw, problems)
        now, resync = self._now(), key in self._resync
        fold = time.monotonic() - self._folded.get(key, -self._interval_s) >= self._interval_s
        observed = await observe(self._cluster, job, now, resync=resync, fold_progress=fold)
        self._resync.discard(key)
        decision = reconcile(job, observed, now, self._defaults, problems)
        if fold and observed.progress is not None:
            self._folded[key] = time.monotonic()
        elif observed.progress is not None:
            self._queue.add_after(key, self._interval_s)
        changed = await self._carry_out(job, raw, observed, decision)
        self._metrics.saw(job.model_copy(update={"status": decision.status}))
        if decision.requeue_after_s is not None:
            self._queue.add_after(key, decision.requeue_after_s)
        return changed

    async def _carry_out(self, job: FLJob, raw: Manifest, observed: Observed, decision: Decision) -> bool:
        namespace, status = job.metadata.namespace, decision.status
        extra: tuple[Event, ...] = ()
        try:
            await self._write_children(job, observed, decision)
        except ClusterError as error:
            if error.retriable or error.code == 404:
                raise
            # The user's to mend (forbidden, quota, a schema error): said where they look, in the API server's words.
            reason = Reason.NAME_TAKEN if isinstance(error, NameTakenError) else Reason.APPLY_FAILED
            bad = word(ConditionType.RESOURCES_READY, False, reason, str(error))
            conditions = updated(status.conditions, [bad], stamp(self._now()), job.metadata.generation)
            fresh = status.model_copy(update={"conditions": conditions})
            extra, status = between(status, fresh), fresh
            self._queue.add_after(job.key, 30.0)
        changed = status != job.status
        if changed:
            await self._cluster.patch_status(
                namespace, job.metadata.name, raw["metadata"]["resourceVersion"], status.to_dict()
            )
            for event in (*decision.events, *extra):
                await self._emit(job, event)
        if decision.delete_self:
            await self._cluster.delete("FLJob", namespace, job.metadata.name, job.metadata.uid)
        return changed or bool(decision.delete or decision.apply or decision.create or decision.certificates)

    async def _write_children(self, job: FLJob, observed: Observed, decision: Decision) -> None:
        for doomed in decision.delete:
            await self._cluster.delete(doomed.kind, job.metadata.namespace, doomed.name, doomed.uid)
        if decision.certificates:
            authority, incarnation = await self._authority(job), decision.status.incarnation
            for member in decision.certificates:
                await self._cluster.create(certificate_manifest(job, member, incarnation, authority))
        for manifest in decision.apply:
            if (manifest["kind"], manifest["metadata"]["name"]) not in observed.hashes:
                await self._refuse_taken(job, manifest)  # an apply would take over whatever has the name
            await self._cluster.apply(manifest)
        for manifest in decision.create:
            if not await self._cluster.create(manifest) and "ownerReferences" in manifest["metadata"]:
                await self._refuse_taken(job, manifest)
        if decision.annotate:
            await self._cluster.apply(decision.annotate, manager=names.fit("fljob-model", job.metadata.name))

    async def _refuse_taken(self, job: FLJob, manifest: Manifest) -> None:
        """Raise NameTakenError where an object of the name is not this FLJob's nor a former one's of its name."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        for present in await self._cluster.find(kind, job.metadata.namespace, fields=f"metadata.name={name}"):
            if present["metadata"].get("labels", {}).get(names.LABEL_JOB) != job.metadata.name:
                raise NameTakenError(kind, name)

    async def _authority(self, job: FLJob) -> Authority:
        """Return the job's authority, making it the first time. Two operators at once: the first one's counts."""
        namespace, name = job.metadata.namespace, names.authority_secret(job.metadata.name)
        secret = await self._cluster.get("Secret", namespace, name)
        if secret is None:
            await self._cluster.create(authority_manifest(job, make_authority(job.metadata.uid)))
            secret = await self._cluster.get("Secret", namespace, name)
        labels = secret["metadata"].get("labels", {}) if secret else {}
        if secret and labels.get(names.LABEL_JOB) != job.metadata.name:
            raise NameTakenError("Secret", name)
        if secret is None or labels[names.LABEL_UID] != job.metadata.uid:
            raise ClusterError(409, f"Secret {name} is a former FLJob's and not gone yet")
        return read_authority(job, secret)

    async def _refuse(self, raw: Manifest, problems: list[str]) -> bool:
        """Say that a spec cannot even be read: an object from before a schema change."""
        meta = raw["metadata"]
        old = FLJobStatus()
        bad = word(ConditionType.ACCEPTED, False, Reason.INVALID_SPEC, "; ".join(problems))
        conditions = updated(old.conditions, [bad], stamp(self._now()), meta.get("generation", 0))
        status = {**raw.get("status", {}), "state": "Invalid", "conditions": [c.to_dict() for c in conditions]}
        told = raw.get("status", {}).get("conditions", [{}])[0].get("message")
        if told == bad.message:
            return False
        await self._cluster.patch_status(meta["namespace"], meta["name"], meta["resourceVersion"], status)
        return True

    async def _emit(self, job: FLJob, event: Event) -> None:
        """Post an event; it is a courtesy, so a failure is only logged."""
        now = stamp(self._now())
        reference = {
            "apiVersion": job.api_version,
            "kind": job.kind,
            "namespace": job.metadata.namespace,
            "name": job.metadata.name,
            "uid": job.metadata.uid,
        }
        manifest: Manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{job.metadata.name}.", "namespace": job.metadata.namespace},
            "involvedObject": reference,
            "type": event.type.value,
            "reason": event.reason,
            "message": event.message,
            "source": {"component": names.MANAGED_BY},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        log.info("job=%s event=%s type=%s message=%s", job.key, event.reason, event.type.value, event.message)
        try:
            await self._cluster.create(manifest)
        except ClusterError as error:
            level = logging.WARNING if event.type is EventType.WARNING else logging.DEBUG
            log.log(level, "job=%s event=%s not posted: %s", job.key, event.reason, error)


def _parse(raw: Manifest) -> tuple[FLJob | None, list[str]]:
    """Return the typed object, and what validation says against it in words."""
    problems = [f"{p.path}: {p.message}" for p in validate(_plain(raw), in_cluster=True)]
    try:
        return FLJob.from_dict(raw), problems
    except ValidationError as error:
        words = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        return None, problems or words


def _plain(raw: Manifest) -> Manifest:
    """Leave out what the API server added to the metadata."""
    kept = {
        key: raw["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if key in raw["metadata"]
    }
    return {**{key: raw[key] for key in ("apiVersion", "kind", "spec")}, "metadata": kept}


async def run_workers(controller: Controller, count: int) -> None:
    """Run workers until one fails or the task is cancelled."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(controller.work())
