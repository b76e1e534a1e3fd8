"""Conditions as a list in a fixed order; the time of a transition changes only when the status does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fljob_api.conditions import ConditionType, Reason
from fljob_api.status import Condition, ConditionStatus

TERMINAL = (ConditionType.SUCCEEDED, ConditionType.FAILED)


@dataclass(frozen=True)
class Word:
    """What is to be said of one condition."""

    type: ConditionType
    true: bool
    reason: str
    message: str = ""


def word(kind: ConditionType, true: bool, reason: Reason | str, message: str = "") -> Word:
    """Make a word; the message is cut to what the schema allows."""
    return Word(kind, true, str(reason), message[:1024])


def find(conditions: Sequence[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of a type, if it is there."""
    return next((c for c in conditions if c.type is kind), None)


def is_true(conditions: Sequence[Condition], kind: ConditionType) -> bool:
    """Whether the condition is there and True."""
    found = find(conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def updated(old: Sequence[Condition], words: Sequence[Word], now: str, generation: int) -> list[Condition]:
    """Return the list with the words put in; conditions nothing is said of stay."""
    said = {w.type: w for w in words}
    result = []
    for kind in ConditionType:
        before, fresh = find(old, kind), said.get(kind)
        if fresh is None:
            if before:
                result.append(before)
            continue
        status = ConditionStatus.TRUE if fresh.true else ConditionStatus.FALSE
        # Suspending and Suspended have the same status side by side; the grace time counts from the reason's change.
        same = (
            before is not None
            and before.status is status
            and (kind is not ConditionType.SUSPENDED or before.reason == fresh.reason)
        )
        result.append(
            Condition(
                type=kind,
                status=status,
                reason=fresh.reason,
                message=fresh.message,
                last_transition_time=before.last_transition_time if before and same else now,
                observed_generation=generation,
            )
        )
    return result
