"""Condition types of an FLJob and their reasons, each owned by the operator alone.

Reasons are part of the API: alerts and scripts match on them, so they are constants here.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Condition types, in the order in which they are shown."""

    ACCEPTED = "Accepted"
    SUSPENDED = "Suspended"
    RESOURCES_READY = "ResourcesReady"
    QUORUM_AVAILABLE = "QuorumAvailable"
    RUNNING = "Running"
    CHECKPOINT_READY = "CheckpointReady"
    DEGRADED = "Degraded"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Reason(StrEnum):
    """Stable reasons; those of failures beside these are the exit codes' (fljob_api.exit_codes)."""

    VALID = "Valid"
    INVALID_SPEC = "InvalidSpec"
    SUSPENDED = "Suspended"
    SUSPENDING = "Suspending"
    NOT_SUSPENDED = "NotSuspended"
    CREATED = "Created"
    CREATING = "Creating"
    APPLY_FAILED = "ApplyFailed"
    FORMER_CHILD_TERMINATING = "FormerChildTerminating"
    NAME_TAKEN = "NameTaken"
    CERTIFICATES_LOST = "CertificatesLost"
    CERTIFICATES_RENEWED = "CertificatesRenewed"
    QUORUM_PRESENT = "QuorumPresent"
    QUORUM_MISSING = "QuorumMissing"
    TRAINING = "Training"
    STARTING = "Starting"
    FINISHED = "Finished"
    CHECKPOINTED = "Checkpointed"
    NOT_CONFIGURED = "NotConfigured"
    PENDING = "Pending"
    HEALTHY = "Healthy"
    TRAINER_FAILED = "TrainerFailed"
    POD_PENDING = "PodPending"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    VOLUME_MISSING = "VolumeMissing"
    FORBIDDEN = "Forbidden"
    RESTARTED = "Restarted"
    COMPLETED = "Completed"
    STOP_CRITERION_MET = "StopCriterionMet"
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    STARTUP_TIMEOUT = "StartupTimeout"
    QUORUM_IMPOSSIBLE = "QuorumImpossible"


class State(StrEnum):
    """The derived word of the State column; no logic reads it."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    DEGRADED = "Degraded"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID = "Invalid"
