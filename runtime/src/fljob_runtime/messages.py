"""What the processes of a job say to each other, as frozen values.

The roles and the round state machine use these; `transport` alone turns them into protobuf and back, so
nothing else needs to know the wire. No tensor is in here: see `transport.values`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fljob_api.exit_codes import ExitCode


@dataclass(frozen=True)
class Receipt:
    """A shard's word that it holds an update: digest of the staged payload, and its size in bytes."""

    shard: int
    digest: str
    num_bytes: int


# Reports: trainer to coordinator.


@dataclass(frozen=True)
class Hello:
    """First report of a stream: who hosts what, and the canonical layout JSON of the trainer's model."""

    job_uid: str
    incarnation: int
    trainer: str
    layout_digest: str
    layout: bytes
    num_samples: int
    num_test_pairs: int = 0
    num_clients: int = 1
    device: str = "cpu"
    num_cpus: int = 1
    memory_bytes: int = 0
    private_version: int = 0


@dataclass(frozen=True)
class Heartbeat:
    """The trainer lives; `loss` and `auc` are means over the round so far, NaN where not known."""

    round: int
    activity: str
    samples_done: int = 0
    samples_total: int = 0
    loss: float = float("nan")
    auc: float = float("nan")


@dataclass(frozen=True)
class TrainReport:
    """The update of a round is staged at every shard. `metrics` is a MetricSums over training."""

    round: int
    attempt: int
    receipts: tuple[Receipt, ...]
    num_samples: int
    metrics: bytes = b"{}"
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True)
class EvaluateReport:
    """`version` was evaluated. `metrics` is a MetricSums over the held-out pairs."""

    version: int
    metrics: bytes
    seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """The trainer gives up and will end with this code."""

    exit_code: ExitCode
    message: str


Report = Hello | Heartbeat | TrainReport | EvaluateReport | Failure


# Instructions: coordinator to trainer.


@dataclass(frozen=True)
class Initialize:
    """Push the model's initial values as the update of round 0."""


@dataclass(frozen=True)
class Train:
    """Train from version `round` - 1 and push the update of `round`; waited for until `deadline` (Unix s).

    members: trainers in the cohort; share: this one's part of their samples, in (0, 1]. Mode Buffered: task numbers the
    trainer's updates and says which data it trains on, 0 for that of the round; attempt grows when servers went back.
    """

    round: int
    deadline: float
    members: int = 1
    share: float = 1.0
    task: int = 0
    attempt: int = 1


@dataclass(frozen=True)
class Evaluate:
    """Evaluate `version`; `next_round` > 0 lets the trainer fetch the rows of that round along with it.

    next_task: the trainer's first task that is not in the version, 0 for that of the round after it.
    """

    version: int
    next_round: int = 0
    next_task: int = 0


@dataclass(frozen=True)
class Repush:
    """A shard lost the update of `round` before it was committed: push the kept one again."""

    round: int


@dataclass(frozen=True)
class Committed:
    """The round is durable: the kept update may go. `accepted`: this trainer's update is part of it."""

    round: int
    accepted: bool


class Outcome(StrEnum):
    """How a job, or one trainer's part in it, ends."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    PAUSED = "Paused"
    REFUSED = "Refused"


@dataclass(frozen=True)
class Finish:
    """The last instruction. `exit_code` is what the trainer's process ends with."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    exit_code: ExitCode = ExitCode.DONE


Instruction = Initialize | Train | Evaluate | Repush | Committed | Finish


# Coordinator to shards.


@dataclass(frozen=True)
class AcceptedUpdate:
    """One update that a round is made of, with its receipts in shard order.

    round: the one that it was trained for, so that it was made from the version before; 0: that of the commit.
    """

    trainer: str
    attempt: int
    receipts: tuple[Receipt, ...]
    round: int = 0


@dataclass(frozen=True)
class CommitResult:
    """One shard's answer to a commit.

    `digest` is that of the shard's part of the version (equal whenever the commit is repeated). `missing` names the
    trainers whose update is not staged here: then nothing was folded.
    `staleness`, mode Buffered: how many versions each update was behind, known to the shard alone and told once.
    """

    shard: int
    version: int
    digest: str
    missing: tuple[str, ...] = ()
    staleness: tuple[int, ...] = ()


@dataclass(frozen=True)
class SavedVersion:
    """A version that a shard has written, or why it could not.

    digest: of the shard's part, as in CommitResult; checkpoint, checkpoint_digest: path of its file relative to the
    checkpoint root, and sha256 of it; checkpoint_bases: the same of the files that it builds upon, the newest first.
    """

    version: int
    digest: str
    checkpoint: str = ""
    checkpoint_digest: str = ""
    checkpoint_bases: tuple[tuple[str, str], ...] = ()
    error: str = ""


@dataclass(frozen=True)
class StagedUpdate:
    """An update that a shard holds and has not folded."""

    round: int
    trainer: str
    attempt: int
    digest: str


@dataclass(frozen=True)
class ShardState:
    """What one shard holds. `boot_id` changes with each start of its process; versions are those in memory.

    saved: what was written to the checkpoint last.
    """

    shard: int
    num_shards: int
    boot_id: str
    versions: tuple[int, ...]
    staged: tuple[StagedUpdate, ...]
    bytes_received: int
    bytes_sent: int
    saved: SavedVersion | None = None
