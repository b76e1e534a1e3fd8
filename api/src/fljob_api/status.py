"""The FLJob status, written by the operator alone.

`training` is the coordinator's, folded in; everything else follows from the children.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel
from fljob_api.conditions import ConditionType, State
from fljob_api.progress import Training
from fljob_api.rules import list_map

Time = Annotated[str, StringConstraints(max_length=40), Field(json_schema_extra={"format": "date-time"})]
Message = Annotated[str, StringConstraints(max_length=1024)]
ReasonText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=128)]
Name = Annotated[str, StringConstraints(max_length=253)]
MAX_TRAINERS_SHOWN = 32


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """A metav1.Condition."""

    type: ConditionType
    status: ConditionStatus
    reason: ReasonText
    message: Message = ""
    last_transition_time: Time
    observed_generation: int = Field(0, ge=0)


class RoleStatus(ApiModel):
    """Pods of one role, counted."""

    name: Name
    desired: int = Field(0, ge=0)
    ready: int = Field(0, ge=0)
    failed: int = Field(0, ge=0)


class TrainerStatus(ApiModel):
    """One trainer; those in trouble come first and at most 32 are shown."""

    name: Name
    state: Name = ""
    round: int = Field(0, ge=0)
    loss: Name = ""
    auc: Name = ""
    samples: int = Field(0, ge=0)
    restarts: int = Field(0, ge=0)
    message: Message = ""


class TrainerCounts(ApiModel):
    """Counts over all trainers, shown or not."""

    desired: int = Field(0, ge=0)
    connected: int = Field(0, ge=0)
    failed: int = Field(0, ge=0)


class Failure(ApiModel):
    """Why the job failed, in words a person can act on."""

    role: Name = ""
    trainer: Name = ""
    exit_code: int | None = Field(None, ge=0, le=255)
    reason: ReasonText
    message: Message = ""


class Display(ApiModel):
    """Derived strings for columns only."""

    round: Name = ""
    trainers: Name = ""
    loss: Name = ""
    auc: Name = ""
    score: Name = ""
    reason: Name = ""


class FLJobStatus(ApiModel):
    """Everything `kubectl get flj -o yaml` shows under status."""

    observed_generation: int = Field(0, ge=0)
    state: State | None = None
    display: Display | None = None
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=list_map("type"),
    )
    incarnation: int = Field(0, ge=0, description="Grows each time the children are made anew.")
    start_time: Time | None = None
    resume_time: Time | None = Field(None, description="Start of the present stretch of active time.")
    completion_time: Time | None = None
    active_seconds: int = Field(0, ge=0, description="Active time before resumeTime.")
    roles: list[RoleStatus] = Field(default_factory=list, max_length=8)
    trainers: list[TrainerStatus] = Field(default_factory=list, max_length=MAX_TRAINERS_SHOWN)
    trainer_counts: TrainerCounts | None = None
    restarts: int = Field(0, ge=0, description="Restarts of pods after a crash, all roles together.")
    failure: Failure | None = None
    training: Training | None = None
