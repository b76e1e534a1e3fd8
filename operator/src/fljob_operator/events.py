"""Events for `kubectl describe`, from the difference of two statuses: said once, on change only. Pure."""

from __future__ import annotations

from fljob_api.conditions import ConditionType
from fljob_api.status import Condition, ConditionStatus, FLJobStatus
from fljob_operator.conditions import find
from fljob_operator.decision import Event, EventType

_QUIET_WHEN = {
    ConditionType.ACCEPTED: ConditionStatus.TRUE,
    ConditionType.QUORUM_AVAILABLE: ConditionStatus.FALSE,
    ConditionType.CHECKPOINT_READY: ConditionStatus.TRUE,
    ConditionType.DEGRADED: ConditionStatus.FALSE,
    ConditionType.SUCCEEDED: ConditionStatus.FALSE,
    ConditionType.FAILED: ConditionStatus.FALSE,
    ConditionType.RUNNING: ConditionStatus.FALSE,
}
_WARNINGS = {
    (ConditionType.ACCEPTED, ConditionStatus.FALSE),
    (ConditionType.DEGRADED, ConditionStatus.TRUE),
    (ConditionType.FAILED, ConditionStatus.TRUE),
}
_HARMLESS = ("Suspended", "FormerChildTerminating")


def between(old: FLJobStatus, new: FLJobStatus) -> tuple[Event, ...]:
    """Return one event for each condition whose status or reason changed, where that is worth a line."""
    events = [_event(condition) for condition in new.conditions if _worth_saying(old, condition)]
    if new.restarts > old.restarts:
        events.append(
            Event(EventType.WARNING, "Restarted", f"pods were restarted after a crash: {new.restarts} in all")
        )
    return tuple(events)


def _worth_saying(old: FLJobStatus, condition: Condition) -> bool:
    before = find(old.conditions, condition.type)
    if before and (before.status, before.reason) == (condition.status, condition.reason):
        return False
    if _QUIET_WHEN.get(condition.type) is condition.status:
        return False
    if condition.reason == "PodPending":
        return False
    if condition.type is ConditionType.SUSPENDED:
        return before is not None or condition.status is ConditionStatus.TRUE
    return True


def _event(condition: Condition) -> Event:
    bad = (condition.type, condition.status) in _WARNINGS
    if condition.type is ConditionType.RESOURCES_READY and condition.status is ConditionStatus.FALSE:
        bad = condition.reason not in _HARMLESS
    message = condition.message or f"{condition.type.value} is {condition.status.value}"
    return Event(EventType.WARNING if bad else EventType.NORMAL, condition.reason, message)
