"""What reconcile wants done, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fljob_api.status import FLJobStatus
from fljob_operator.desired import Manifest
from fljob_operator.desired.roles import Member


class EventType(StrEnum):
    """Types of a Kubernetes event."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class Event:
    """One event for `kubectl describe`."""

    type: EventType
    reason: str
    message: str


@dataclass(frozen=True)
class Delete:
    """One child to delete, its pods with it; uid: this very one, not another of its name made since."""

    kind: str
    name: str
    uid: str = ""


@dataclass(frozen=True)
class Decision:
    """Carried out in this order: delete, create (only if absent), certificates, apply, annotate, status, events.

    create: made once and never applied again (immutable ones, and the unowned claim); certificates: members whose
    Secret is missing; requeue_after_s: when to look again even if nothing happens.
    """

    status: FLJobStatus
    delete: tuple[Delete, ...] = ()
    create: tuple[Manifest, ...] = ()
    certificates: tuple[Member, ...] = ()
    apply: tuple[Manifest, ...] = ()
    annotate: Manifest | None = None
    events: tuple[Event, ...] = field(default=())
    delete_self: bool = False
    requeue_after_s: float | None = None
