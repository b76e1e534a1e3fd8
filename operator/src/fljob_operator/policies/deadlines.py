"""Is a deadline over, and when is the next one."""

from __future__ import annotations

from datetime import datetime

from fljob_api.conditions import ConditionType, Reason
from fljob_api.fljob import FLJob
from fljob_api.progress import RoundState
from fljob_api.status import Failure
from fljob_operator.conditions import is_true
from fljob_operator.observed import Observed
from fljob_operator.times import seconds_since


def active_seconds(job: FLJob, now: datetime) -> float:
    """Return how long the job has been active, suspended time left out."""
    return job.status.active_seconds + seconds_since(job.status.resume_time, now)


def overdue(job: FLJob, observed: Observed, trouble: str, now: datetime) -> Failure | None:
    """Return the failure of a deadline that is over. trouble: why pods are not ready, for the message."""
    limit = job.spec.active_deadline_seconds
    if limit is not None and active_seconds(job, now) >= limit:
        message = f"the job was active for {limit} s (spec.activeDeadlineSeconds)"
        return Failure(reason=Reason.DEADLINE_EXCEEDED.value, message=message)
    if not started(job, observed) and seconds_since(job.status.resume_time, now) >= job.spec.startup_deadline_seconds:
        waited = f"no quorum within {job.spec.startup_deadline_seconds} s (spec.startupDeadlineSeconds)"
        message = f"{waited}: {trouble}" if trouble else waited
        return Failure(reason=Reason.STARTUP_TIMEOUT.value, message=message[:1024])
    return None


def started(job: FLJob, observed: Observed) -> bool:
    """Whether the coordinator has seen its quorum; once it has, a restarted coordinator does not undo it."""
    if is_true(job.status.conditions, ConditionType.QUORUM_AVAILABLE):
        return True
    progress = observed.progress
    return progress is not None and progress.training.state is not RoundState.WAITING


def next_deadline_s(job: FLJob, observed: Observed, now: datetime) -> float | None:
    """Return the seconds until a deadline must be looked at again."""
    left = []
    if job.spec.active_deadline_seconds is not None:
        left.append(job.spec.active_deadline_seconds - active_seconds(job, now))
    if not started(job, observed):
        left.append(job.spec.startup_deadline_seconds - seconds_since(job.status.resume_time, now))
    return max(0.5, min(left)) if left else None
