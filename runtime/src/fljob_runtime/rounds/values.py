"""Events that reach the round machine, actions that it asks for, and what it remembers of each round.

The coordinator's shell makes the events and carries out the actions; the journal stores the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate, EvaluateReport, Instruction, Outcome, TrainReport

NO_VERSION = -1  # nothing committed yet; version 0 is the initial model


@dataclass(frozen=True)
class Commit:
    """One committed round. `metrics` is None while it is not evaluated; `durable`: a manifest names it.

    trainers: whose updates it is made of, in the order of their sums; accepted: these updates, of the newest rounds
    only, which may have to be named to the shards again.
    """

    round: int
    trainers: tuple[str, ...]
    accepted: tuple[AcceptedUpdate, ...] = ()
    dropped: tuple[str, ...] = ()
    num_samples: int = 0
    seconds: float = 0.0
    durable: bool = False
    train_metrics: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] | None = None
    num_bytes: int = 0


# Events.


@dataclass(frozen=True)
class Joined:
    """A trainer opened its stream and said who it is, and how many samples it has."""

    trainer: str
    layout_digest: str
    num_samples: int = 0


@dataclass(frozen=True)
class Lost:
    """A trainer's stream ended or fell silent; it may come back."""

    trainer: str


@dataclass(frozen=True)
class Trained:
    """A trainer's update is staged at every shard."""

    trainer: str
    report: TrainReport


@dataclass(frozen=True)
class Evaluated:
    """A trainer evaluated a version."""

    trainer: str
    report: EvaluateReport


@dataclass(frozen=True)
class GaveUp:
    """A trainer ended for good or says why it must."""

    trainer: str
    exit_code: ExitCode
    message: str


@dataclass(frozen=True)
class Restored:
    """Every shard holds `version` (NO_VERSION: none holds anything to go on from)."""

    version: int


@dataclass(frozen=True)
class ShardLost:
    """A shard ended, was started anew or cannot be reached: what it held in memory may be gone."""

    reason: str


@dataclass(frozen=True)
class CommitDone:
    """Every shard folded the round; `durable`: it is also on disk and in a manifest."""

    round: int
    durable: bool


@dataclass(frozen=True)
class Durable:
    """A version that was committed is on disk now, and in a manifest."""

    round: int


@dataclass(frozen=True)
class CommitMissing:
    """Some shards lost updates that were named; `folded`: others did fold the list, so it may not change."""

    round: int
    trainers: frozenset[str]
    folded: bool


@dataclass(frozen=True)
class Saved:
    """The end is written; `model` is the path of the finished model ("" when none was asked for or possible)."""

    durable: bool = False
    model: str = ""
    digest: str = ""


@dataclass(frozen=True)
class ControlChanged:
    """A person changed a mutable field."""

    control: object


@dataclass(frozen=True)
class Unrecoverable:
    """The shell cannot go on (volume unusable, shard not reachable in time)."""

    exit_code: ExitCode
    message: str


@dataclass(frozen=True)
class Tick:
    """Time passed."""


Event = (
    Joined
    | Lost
    | Trained
    | Evaluated
    | GaveUp
    | Restored
    | ShardLost
    | CommitDone
    | Durable
    | CommitMissing
    | Saved
    | ControlChanged
    | Unrecoverable
    | Tick
)


# Records: journalled, in order, before the actions that follow them.


@dataclass(frozen=True)
class CohortChosen:
    """The cohort of a round, the candidates it was drawn from, and how many samples each of the cohort has."""

    round: int
    cohort: tuple[str, ...]
    candidates: tuple[str, ...]
    layout_digest: str
    samples: tuple[int, ...] = ()


@dataclass(frozen=True)
class ListAccepted:
    """The updates that a round is made of, and the bytes that its trainers moved; shards hear of it only afterwards."""

    round: int
    accepted: tuple[AcceptedUpdate, ...]
    dropped: tuple[str, ...]
    num_samples: int
    train_metrics: Mapping[str, float]
    num_bytes: int = 0


@dataclass(frozen=True)
class RoundCommitted:
    """Every shard has the version."""

    round: int
    seconds: float
    durable: bool


@dataclass(frozen=True)
class RoundDurable:
    """A committed version is on disk and in a manifest."""

    round: int


@dataclass(frozen=True)
class RoundEvaluated:
    """Global metrics of a version."""

    round: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Rewound:
    """Server state newer than `version` is lost; its rounds are repeated."""

    version: int


@dataclass(frozen=True)
class TrainerFailed:
    """A trainer will not come back by itself; until it does, a restarted coordinator does not wait for it."""

    trainer: str
    exit_code: ExitCode
    message: str


@dataclass(frozen=True)
class TrainerMended:
    """A trainer that had failed for good is there again."""

    trainer: str


@dataclass(frozen=True)
class Finished:
    """The last word of one start of the job, its incarnation; -1 where the journal is older than the field."""

    outcome: Outcome
    reason: str
    message: str
    exit_code: ExitCode
    round: int
    incarnation: int = -1


Record = (
    CohortChosen
    | ListAccepted
    | RoundCommitted
    | RoundDurable
    | RoundEvaluated
    | Rewound
    | TrainerFailed
    | TrainerMended
    | Finished
)


# Actions.


@dataclass(frozen=True)
class Tell:
    """Send an instruction to a trainer."""

    trainer: str
    instruction: Instruction


@dataclass(frozen=True)
class Note:
    """Append a record to the journal, durably, before anything that follows."""

    record: Record


@dataclass(frozen=True)
class Restore:
    """Bring all shards to `version` if they hold it, else to the newest durable one. Answer: Restored.

    anew: also those that hold it drop what came after it.
    """

    version: int
    anew: bool = False


@dataclass(frozen=True)
class DoCommit:
    """Name the accepted list to all shards. Answer: CommitDone or CommitMissing; with `checkpoint` later Durable."""

    round: int
    accepted: tuple[AcceptedUpdate, ...]
    checkpoint: bool
    release: tuple[int, ...]


@dataclass(frozen=True)
class Save:
    """Make the last commit durable if it is not, assemble the model if `assemble`. Answer: Saved."""

    commit: Commit | None
    assemble: bool


@dataclass(frozen=True)
class Stop:
    """The job, or this stretch of it, is over: tell everyone and end with the exit code."""

    finish: Finished


Action = Tell | Note | Restore | DoCommit | Save | Stop
