"""Exit codes of the three programs: what a code means, who is at fault, whether it is tried again.

The runtime ends with these; the operator's failure policy and docs/exit-codes.md read the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Codes that our programs return, and those that the system returns for them."""

    DONE = 0
    CRASH = 1
    BAD_CONFIG = 10
    UNKNOWN_NAME = 11
    BAD_DATA = 12
    LAYOUT_MISMATCH = 13
    IDENTITY_REFUSED = 14
    QUORUM_IMPOSSIBLE = 20
    ROUND_TIMEOUT = 21
    DIVERGED = 22
    CHECKPOINT_UNUSABLE = 23
    STARTUP_TIMEOUT = 24
    TEMPORARY = 75
    ABORTED = 134
    OUT_OF_MEMORY = 137
    SEGMENTATION_FAULT = 139
    STOPPED = 143


class Retry(IntEnum):
    """What the operator does with a pod that ended so."""

    NEVER = 0
    ONCE = 1
    COUNTED = 2
    FREE = 3


@dataclass(frozen=True)
class Meaning:
    """Reason (for status and events), whether it is tried again, and what a person should do."""

    reason: str
    retry: Retry
    help: str


MEANINGS: dict[ExitCode, Meaning] = {
    ExitCode.DONE: Meaning("Completed", Retry.NEVER, "Nothing to do."),
    ExitCode.CRASH: Meaning("Crashed", Retry.COUNTED, "A bug or a broken image: read the end of the pod's log."),
    ExitCode.BAD_CONFIG: Meaning(
        "BadConfig", Retry.NEVER, "Correct the field that the message names and apply the FLJob again."
    ),
    ExitCode.UNKNOWN_NAME: Meaning(
        "UnknownName",
        Retry.NEVER,
        "Use a registered model, dataset or optimizer, or an image that registers it (spec.imports).",
    ),
    ExitCode.BAD_DATA: Meaning(
        "BadData",
        Retry.NEVER,
        "Repair the file, line and column that the message names; `fljob data describe DIR` checks a folder.",
    ),
    ExitCode.LAYOUT_MISMATCH: Meaning(
        "LayoutMismatch",
        Retry.NEVER,
        "The site's data makes a model of another shape than the other sites'; import all data together.",
    ),
    ExitCode.IDENTITY_REFUSED: Meaning(
        "IdentityRefused", Retry.NEVER, "The certificate is not this job's or not this trainer's."
    ),
    ExitCode.QUORUM_IMPOSSIBLE: Meaning(
        "QuorumImpossible", Retry.NEVER, "Too many trainers failed for good: mend them or lower spec.quorum."
    ),
    ExitCode.ROUND_TIMEOUT: Meaning(
        "RoundTimeout",
        Retry.NEVER,
        "The round was short of its quorum at spec.roundTimeoutSeconds: see waitingFor, "
        "raise the time or lower the quorum.",
    ),
    ExitCode.DIVERGED: Meaning(
        "Diverged", Retry.NEVER, "Loss or parameters are not finite: lower spec.optimizer.learningRate."
    ),
    ExitCode.CHECKPOINT_UNUSABLE: Meaning(
        "CheckpointUnusable",
        Retry.NEVER,
        "The checkpoint volume is full, read-only, or belongs to another job.",
    ),
    ExitCode.STARTUP_TIMEOUT: Meaning(
        "StartupTimeout",
        Retry.NEVER,
        "The quorum was not there within spec.startupDeadlineSeconds: see the trainers' pods.",
    ),
    ExitCode.TEMPORARY: Meaning(
        "Temporary", Retry.COUNTED, "A peer was not reachable in time; the pod is started again."
    ),
    ExitCode.ABORTED: Meaning("Aborted", Retry.COUNTED, "The process aborted: read the end of the pod's log."),
    ExitCode.OUT_OF_MEMORY: Meaning("OutOfMemory", Retry.ONCE, "Raise the role's memory limit."),
    ExitCode.SEGMENTATION_FAULT: Meaning(
        "Crashed", Retry.COUNTED, "The process crashed in native code: read the end of the pod's log."
    ),
    ExitCode.STOPPED: Meaning(
        "Stopped", Retry.FREE, "The pod was asked to stop (eviction, drain, suspend) and saved its state."
    ),
}


def meaning(code: int) -> Meaning:
    """Return what an exit code means; codes that nobody stated count as a crash."""
    try:
        return MEANINGS[ExitCode(code)]
    except ValueError:
        return Meaning("Crashed", Retry.COUNTED, f"The process ended with code {code}: read the end of the pod's log.")
