"""Suspend and resume: the coordinator ends at a round border, then all Jobs go; resume is the next incarnation."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from fljob_api.conditions import ConditionType, Reason
from fljob_api.fljob import FLJob
from fljob_api.progress import Outcome
from fljob_operator.conditions import find
from fljob_operator.observed import Observed
from fljob_operator.times import seconds_since

EXTRA_GRACE_S = 60.0  # beyond the coordinator's own grace: for its poll, its checkpoint, its last word


class Step(StrEnum):
    """Where a job stands between running and suspended."""

    ACTIVE = "Active"
    PAUSING = "Pausing"
    STOPPING = "Stopping"
    SUSPENDED = "Suspended"
    RESUMING = "Resuming"


def step(job: FLJob, observed: Observed, now: datetime) -> Step:
    """Return what is to be done about spec.suspend."""
    condition = find(job.status.conditions, ConditionType.SUSPENDED)
    reason = condition.reason if condition else ""
    if not job.spec.suspend:
        back = reason in (Reason.SUSPENDED.value, Reason.SUSPENDING.value) and (_ended(observed) or not observed.jobs)
        return Step.RESUMING if back or reason == Reason.SUSPENDED.value else Step.ACTIVE
    if not observed.jobs:
        return Step.SUSPENDED
    if _ended(observed) or reason == Reason.SUSPENDED.value:
        return Step.STOPPING
    waited = (
        seconds_since(condition.last_transition_time, now) if condition and reason == Reason.SUSPENDING.value else 0.0
    )
    if waited >= job.spec.suspend_grace_period_seconds + EXTRA_GRACE_S:
        return Step.STOPPING
    return Step.PAUSING


def _ended(observed: Observed) -> bool:
    finish = observed.progress.finish if observed.progress else None
    return finish is not None and finish.outcome is Outcome.PAUSED
