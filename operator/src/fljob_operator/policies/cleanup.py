"""What goes when a job has ended, and when the FLJob itself does."""

from __future__ import annotations

from datetime import datetime

from fljob_api.fljob import FLJob
from fljob_api.spec import CleanPodPolicy
from fljob_operator.decision import Delete
from fljob_operator.observed import Observed
from fljob_operator.times import seconds_since

FAREWELL_S = 15.0  # time for trainers and servers to end by themselves when they were told that the job is over


def to_delete(job: FLJob, observed: Observed, now: datetime) -> tuple[tuple[Delete, ...], float | None]:
    """Return the Jobs to delete now, and the seconds until there may be more."""
    policy = job.spec.clean_pod_policy
    if policy is CleanPodPolicy.NONE:
        return (), None
    present = [view for view in observed.jobs.values() if not view.deleting]
    running = [view for view in present if not (view.complete or view.failed)]
    left = FAREWELL_S - seconds_since(job.status.completion_time, now)
    if running and left > 0:
        return (), left
    doomed = present if policy is CleanPodPolicy.ALL else running
    return tuple(Delete("Job", view.name, view.uid) for view in sorted(doomed, key=lambda view: view.name)), None


def time_to_live_s(job: FLJob, now: datetime) -> float | None:
    """Return the seconds until the FLJob is to be deleted (0: now), None for never."""
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is None or not job.status.completion_time:
        return None
    return max(0.0, ttl - seconds_since(job.status.completion_time, now))
