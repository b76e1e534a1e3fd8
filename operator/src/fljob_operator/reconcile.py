"""reconcile(FLJob, Observed, now) -> Decision: the whole of what the operator decides. Pure.

Level-triggered: nothing here depends on which event woke it, and all memory is in the FLJob's status and its children.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from fljob_api import names
from fljob_api.conditions import ConditionType, Reason
from fljob_api.fljob import FLJob
from fljob_api.progress import Outcome
from fljob_api.spec import TlsMode
from fljob_api.status import ConditionStatus, Failure, FLJobStatus
from fljob_operator import display
from fljob_operator.conditions import TERMINAL, Word, find, is_true, updated, word
from fljob_operator.decision import Decision, Delete
from fljob_operator.desired import Defaults, Manifest
from fljob_operator.desired.jobs import job_manifest
from fljob_operator.desired.roles import Member, members
from fljob_operator.desired.support import claim_manifest, config_manifest, model_annotation, support_manifests
from fljob_operator.events import between
from fljob_operator.observed import JobView, Observed
from fljob_operator.policies import cleanup, deadlines, renewal, suspension
from fljob_operator.policies.failure import failed_trainers, failure
from fljob_operator.policies.suspension import Step
from fljob_operator.times import stamp

WAIT_FOR_FORMER_S = 2.0
_ANEW = {
    Reason.CERTIFICATES_LOST: "the Secret of the job's authority is gone",
    Reason.CERTIFICATES_RENEWED: "the certificates are past two thirds of their life",
}


def reconcile(
    job: FLJob, observed: Observed, now: datetime, defaults: Defaults, problems: Sequence[str] = ()
) -> Decision:
    """Decide what to do for one FLJob. problems: what validation said against its spec, in words."""
    if is_true(job.status.conditions, ConditionType.SUCCEEDED) or is_true(job.status.conditions, ConditionType.FAILED):
        decision = _ended(job, observed, now)
    elif problems:
        decision = _say(job, now, [word(ConditionType.ACCEPTED, False, Reason.INVALID_SPEC, "; ".join(problems))])
    elif observed.foreign:
        what = f"waiting for children of a former FLJob of this name to go: {', '.join(observed.foreign[:5])}"
        words = [_accepted(), word(ConditionType.RESOURCES_READY, False, Reason.FORMER_CHILD_TERMINATING, what)]
        decision = replace(_say(job, now, words), requeue_after_s=WAIT_FOR_FORMER_S)
    else:
        decision = _alive(job, observed, now, defaults)
    return replace(decision, events=between(job.status, decision.status))


def _accepted() -> Word:
    return word(ConditionType.ACCEPTED, True, Reason.VALID)


def _say(job: FLJob, now: datetime, words: Sequence[Word], **changes: object) -> Decision:
    """Return the decision that only changes the status."""
    generation = job.metadata.generation
    conditions = updated(job.status.conditions, words, stamp(now), generation)
    failed = changes.get("failure", job.status.failure)
    status = job.status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions,
            "state": display.state(conditions),
            **changes,
        }
    )
    counted = display.counts(job, Observed(), 0) if status.trainer_counts is None else status.trainer_counts
    reason = failed.reason if isinstance(failed, Failure) else _last_reason(status)
    shown = display.columns(status.training, job.spec.rounds, counted, reason)
    return Decision(status.model_copy(update={"trainer_counts": counted, "display": shown}))


def _last_reason(status: FLJobStatus) -> str:
    order = (*TERMINAL, ConditionType.DEGRADED, ConditionType.SUSPENDED, ConditionType.RUNNING)
    for kind in order:
        if is_true(status.conditions, kind):
            return next(c.reason for c in status.conditions if c.type is kind)
    for kind in (ConditionType.ACCEPTED, ConditionType.RESOURCES_READY, ConditionType.QUORUM_AVAILABLE):
        found = find(status.conditions, kind)
        if found and found.status is ConditionStatus.FALSE:
            return found.reason
    return ""


def _ended(job: FLJob, observed: Observed, now: datetime) -> Decision:
    """A terminal condition is final: only cleaning is left."""
    doomed, more_s = cleanup.to_delete(job, observed, now)
    ttl = cleanup.time_to_live_s(job, now)
    waits = [seconds for seconds in (more_s, ttl) if seconds is not None]
    return Decision(
        job.status.model_copy(update={"observed_generation": job.metadata.generation}),
        delete=doomed,
        delete_self=ttl == 0.0,
        requeue_after_s=min(waits) if waits else None,
    )


def _alive(job: FLJob, observed: Observed, now: datetime, defaults: Defaults) -> Decision:
    finish = observed.progress.finish if observed.progress else None
    if finish and finish.outcome is Outcome.SUCCEEDED:
        return _succeed(job, observed, now, defaults)
    what = suspension.step(job, observed, now)
    if what is Step.SUSPENDED or what is Step.STOPPING:
        return _suspend(job, observed, now, what)
    if what is Step.RESUMING:
        if observed.jobs:
            return replace(_progressed(job, observed, now, [_accepted()]), delete=_all_jobs(observed))
        job = _next_incarnation(job, now)
        observed = replace(observed, progress=None, authority_lost=False)
    job = _begun(job, now)
    failed = failure(job, observed) or deadlines.overdue(job, observed, _trouble(observed)[1], now)
    if failed:
        return _fail(job, observed, now, failed)
    reason = _certificates(job, observed, now, what)
    if reason is not None:
        return _renew(job, observed, now, reason)
    return _run(job, observed, now, defaults, pausing=what is Step.PAUSING)


def _begun(job: FLJob, now: datetime) -> FLJob:
    if job.status.incarnation:
        return job
    changes = {"incarnation": 1, "start_time": stamp(now), "resume_time": stamp(now)}
    return job.model_copy(update={"status": job.status.model_copy(update=changes)})


def _next_incarnation(job: FLJob, now: datetime) -> FLJob:
    changes = {"incarnation": job.status.incarnation + 1, "resume_time": stamp(now)}
    if not job.status.start_time:
        changes["start_time"] = stamp(now)
    return job.model_copy(update={"status": job.status.model_copy(update=changes)})


def _certificates(job: FLJob, observed: Observed, now: datetime, what: Step) -> Reason | None:
    """Return why all certificates must be made anew, if they must."""
    if observed.authority_lost:
        return Reason.CERTIFICATES_LOST
    old = what is Step.ACTIVE and renewal.due(job, observed, now)
    return Reason.CERTIFICATES_RENEWED if old else None


def _renew(job: FLJob, observed: Observed, now: datetime, reason: Reason) -> Decision:
    """Stop all pods and begin the next incarnation, whose certificates are all new: peers refuse another authority's.

    Only the status is written beside, so that a killed operator never issues one old certificate more.
    """
    what = f"{_ANEW[reason]}: all certificates are made anew and the pods start again"
    words = [
        _accepted(),
        word(ConditionType.RESOURCES_READY, False, reason, what),
        word(ConditionType.QUORUM_AVAILABLE, False, Reason.QUORUM_MISSING),
        word(ConditionType.RUNNING, False, Reason.STARTING),
    ]
    spent = int(deadlines.active_seconds(job, now))
    decision = _progressed(_next_incarnation(job, now), observed, now, words, active_seconds=spent)
    return replace(decision, delete=_all_jobs(observed), requeue_after_s=WAIT_FOR_FORMER_S)


def _run(job: FLJob, observed: Observed, now: datetime, defaults: Defaults, *, pausing: bool) -> Decision:
    """Make what is missing, and say how it stands."""
    incarnation = job.status.incarnation
    stale = tuple(
        Delete("Job", v.name, v.uid) for v in observed.jobs.values() if v.incarnation != incarnation and not v.deleting
    )
    certificates = _missing_certificates(job, observed)
    apply = tuple(m for m in support_manifests(job, incarnation) if _differs(m, observed))
    create = [m for m in (config_manifest(job, incarnation),) if _differs(m, observed)]
    claim = claim_manifest(job)
    if claim and not observed.claim_present:
        create.append(claim)
    not_now = _added_shards(job, observed) if pausing else []
    create += [
        job_manifest(job, member, incarnation, defaults)
        for member in members(job)
        if member.child not in (*observed.jobs, *not_now) and not _over(job, member)
    ]
    words = [_accepted(), *_running_words(job, observed, pausing=pausing)]
    decision = _progressed(job, observed, now, words)
    deadline = deadlines.next_deadline_s(job, observed, now)
    return replace(
        decision,
        delete=stale,
        certificates=certificates,
        apply=apply,
        create=tuple(create),
        requeue_after_s=min(5.0, deadline or 5.0) if pausing else deadline,
    )


def _added_shards(job: FLJob, observed: Observed) -> list[str]:
    """Return the shards that were added while the job is being suspended: this incarnation never had them.

    They stand behind the last shard that is there; what is missing before it was deleted by somebody.
    """
    shards = [member.child for member in members(job) if member.role == names.ROLE_SERVER]
    there = [index for index, child in enumerate(shards) if child in observed.jobs]
    return shards[max(there) + 1 :] if there else []


def _over(job: FLJob, member: Member) -> bool:
    """Whether a Job that is not there must not be made: its trainer failed for good and somebody removed the rest."""
    rows = {row.name: row for row in job.status.trainers}
    row = rows.get(member.identity) if member.role == names.ROLE_TRAINER else None
    return row is not None and row.state == "Failed"


def _differs(manifest: Manifest, observed: Observed) -> bool:
    key = (manifest["kind"], manifest["metadata"]["name"])
    wanted = manifest["metadata"]["annotations"][names.ANNOTATION_HASH]
    if key not in observed.hashes:
        return True
    if manifest.get("immutable"):
        return False
    return observed.resync or observed.hashes[key] != wanted


def _missing_certificates(job: FLJob, observed: Observed) -> tuple[Member, ...]:
    if job.spec.security.tls is TlsMode.DISABLED or observed.secrets is None:
        return ()
    return tuple(m for m in members(job) if _tls_secret(job, m) not in observed.secrets)


def _tls_secret(job: FLJob, member: Member) -> str:
    return names.tls_secret(member.child, job.metadata.uid, job.status.incarnation)


def _trouble(observed: Observed) -> tuple[str, str]:
    """Return reason and words of the first thing that keeps a pod from running."""
    views: list[JobView] = sorted(observed.jobs.values(), key=lambda view: view.name)
    for view in views:
        if view.trouble:
            return view.trouble_reason, f"{view.name}: {view.trouble}"
    for pod in sorted(observed.pods, key=lambda pod: pod.child):
        if pod.trouble:
            return pod.trouble_reason, f"{pod.child}: {pod.trouble}"
    return "", ""


def _running_words(job: FLJob, observed: Observed, *, pausing: bool) -> list[Word]:
    reason, trouble = _trouble(observed)
    wanted = members(job)
    ready = sum(any(pod.ready for pod in observed.pods_of(m.child)) for m in wanted)
    going = deadlines.started(job, observed)
    waiting = observed.progress.training.waiting_for if observed.progress else None
    failed = failed_trainers(observed)
    words = [
        word(ConditionType.RESOURCES_READY, False, reason, trouble)
        if trouble
        else word(ConditionType.RESOURCES_READY, True, Reason.CREATED, f"{ready} of {len(wanted)} pods are ready")
        if ready == len(wanted) or going
        else word(ConditionType.RESOURCES_READY, False, Reason.POD_PENDING, f"{ready} of {len(wanted)} pods are ready"),
        word(ConditionType.QUORUM_AVAILABLE, True, Reason.QUORUM_PRESENT)
        if going
        else word(ConditionType.QUORUM_AVAILABLE, False, Reason.QUORUM_MISSING, waiting.name if waiting else ""),
        word(ConditionType.RUNNING, going, Reason.TRAINING if going else Reason.STARTING),
        _checkpoint_word(job, observed),
        word(ConditionType.DEGRADED, True, Reason.TRAINER_FAILED, f"{failed[0].trainer}: {failed[0].message}")
        if failed
        else word(ConditionType.DEGRADED, False, Reason.HEALTHY),
    ]
    if pausing:
        words.append(word(ConditionType.SUSPENDED, False, Reason.SUSPENDING, "waiting for the round border"))
    else:
        words.append(word(ConditionType.SUSPENDED, False, Reason.NOT_SUSPENDED))
    return words


def _checkpoint_word(job: FLJob, observed: Observed) -> Word:
    if job.spec.checkpoint is None:
        what = "spec.checkpoint is not set: a lost server or coordinator starts the job again from its first round"
        return word(ConditionType.CHECKPOINT_READY, False, Reason.NOT_CONFIGURED, what)
    durable = observed.progress.training.checkpoint if observed.progress else None
    uri = job.spec.checkpoint.uri
    where = f" at {uri}" if uri else ""
    if durable:
        return word(ConditionType.CHECKPOINT_READY, True, Reason.CHECKPOINTED, durable + where)
    return word(ConditionType.CHECKPOINT_READY, False, Reason.PENDING, "no round is committed yet" + where)


def _progressed(job: FLJob, observed: Observed, now: datetime, words: Sequence[Word], **changes: object) -> Decision:
    """Return the status with what was observed folded in."""
    failed = failed_trainers(observed)
    restarts = max(job.status.restarts, sum(view.failed_pods for view in observed.jobs.values()))
    told = observed.progress
    fold = told is not None and (observed.fold_progress or told.finish is not None)
    folded: dict[str, object] = {
        "incarnation": job.status.incarnation,
        "start_time": job.status.start_time,
        "resume_time": job.status.resume_time,
        "roles": display.roles(job, observed),
        "restarts": restarts,
    }
    if told is not None and fold:
        folded["training"] = told.training
    if fold or not job.status.trainers or failed or _trouble(observed)[1]:
        folded["trainers"] = display.trainers(job, observed, failed)
        folded["trainer_counts"] = display.counts(job, observed, len(failed))
    return _say(job, now, words, **{**folded, **changes})


def _succeed(job: FLJob, observed: Observed, now: datetime, defaults: Defaults) -> Decision:
    finish = observed.progress.finish if observed.progress else None
    reason = finish.reason if finish else Reason.COMPLETED.value
    message = finish.message if finish else ""
    words = [
        _accepted(),
        word(ConditionType.RUNNING, False, Reason.FINISHED),
        word(ConditionType.SUSPENDED, False, Reason.NOT_SUSPENDED),
        _checkpoint_word(job, observed),
        word(ConditionType.SUCCEEDED, True, reason, message),
        word(ConditionType.FAILED, False, Reason.COMPLETED),
    ]
    decision = _progressed(_begun(job, now), observed, now, words, **_closing(job, now))
    return replace(decision, annotate=_annotation(job, observed, defaults), requeue_after_s=cleanup.FAREWELL_S)


def _fail(job: FLJob, observed: Observed, now: datetime, failed: Failure) -> Decision:
    who = f"{failed.role} {failed.trainer}".strip()
    message = f"{who}: {failed.message}" if who else failed.message
    words = [
        _accepted(),
        word(ConditionType.RUNNING, False, Reason.FINISHED),
        _checkpoint_word(job, observed),
        word(ConditionType.SUCCEEDED, False, failed.reason),
        word(ConditionType.FAILED, True, failed.reason, message),
    ]
    decision = _progressed(job, observed, now, words, failure=failed, **_closing(job, now))
    return replace(decision, requeue_after_s=cleanup.FAREWELL_S)


def _closing(job: FLJob, now: datetime) -> dict[str, object]:
    return {
        "completion_time": stamp(now),
        "active_seconds": int(deadlines.active_seconds(job, now)),
        "resume_time": None,
    }


def _annotation(job: FLJob, observed: Observed, defaults: Defaults) -> Manifest | None:
    """The image and the folder in the volume are noted too: `fljob model get` needs them when the FLJob is gone."""
    training = observed.progress.training if observed.progress else None
    if training is None or not training.model_uri:
        return None
    value = {
        "uid": job.metadata.uid,
        "path": training.model_uri,
        "round": training.round,
        "digest": training.model_digest or "",
        "image": job.spec.server.image or defaults.image,
    }
    claim = job.spec.checkpoint.persistent_volume_claim if job.spec.checkpoint else None
    if claim and claim.sub_path:
        value["subPath"] = claim.sub_path
    return model_annotation(job, json.dumps(value, sort_keys=True))


def _all_jobs(observed: Observed) -> tuple[Delete, ...]:
    return tuple(Delete("Job", view.name, view.uid) for view in observed.jobs.values() if not view.deleting)


def _suspend(job: FLJob, observed: Observed, now: datetime, what: Step) -> Decision:
    if what is Step.STOPPING:
        message = "stopping the pods"
        words = [_accepted(), word(ConditionType.SUSPENDED, False, Reason.SUSPENDING, message)]
        decision = _progressed(job, observed, now, words)
        return replace(decision, delete=_all_jobs(observed), requeue_after_s=2.0)
    words = [
        _accepted(),
        word(ConditionType.SUSPENDED, True, Reason.SUSPENDED, "set spec.suspend to false to go on"),
        word(ConditionType.RUNNING, False, Reason.SUSPENDED),
        word(ConditionType.QUORUM_AVAILABLE, False, Reason.SUSPENDED),
        word(ConditionType.RESOURCES_READY, False, Reason.SUSPENDED),
    ]
    closing: dict[str, object] = {}
    if job.status.resume_time:
        closing = {"active_seconds": int(deadlines.active_seconds(job, now)), "resume_time": None}
    return _progressed(job, observed, now, words, **closing)
