"""What the coordinator tells the operator (and `fljob run` tells its user) about a running job.

The coordinator writes one `Progress` as JSON into its progress ConfigMap (key `progress.json`) or file; the
operator folds `training` into the FLJob's status. Named with uid and incarnation, so that a stale coordinator
cannot write into a re-created job.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from fljob_api.base import ApiModel

PROGRESS_KEY = "progress.json"
Text = Annotated[str, StringConstraints(max_length=1024)]
Number = Annotated[str, StringConstraints(max_length=32)]


class RoundState(StrEnum):
    """States of the round machine (design: runtime, "Round state machine")."""

    WAITING = "Waiting"
    SELECTING = "Selecting"
    TRAINING = "Training"
    COMMITTING = "Committing"
    EVALUATING = "Evaluating"
    FINISHING = "Finishing"
    PAUSED = "Paused"
    DONE = "Done"
    FAILED = "Failed"


class Metric(ApiModel):
    """One number of one round, as decimal text (no floats in the Kubernetes API); empty when undefined."""

    name: Annotated[str, StringConstraints(max_length=63)]
    value: Number
    round: int = Field(ge=0)


class RoundSummary(ApiModel):
    """One committed round."""

    round: int = Field(ge=0)
    loss: Number = ""
    auc: Number = ""
    score: Number = Field("", description="The headline metric of the model's task: AUC, Recall@20 or Accuracy.")
    train_loss: Number = ""
    participants: int = Field(ge=0)
    dropped: int = Field(0, ge=0)
    seconds: Number = ""
    bytes: int = Field(0, ge=0, description="Bytes of model data received and sent by the server for this round.")


class Waiting(ApiModel):
    """What the job is waiting for, since when and until when."""

    name: Text
    since: Annotated[str, StringConstraints(max_length=40)]
    deadline: Annotated[str, StringConstraints(max_length=40)] | None = None


class Training(ApiModel):
    """The learning side of the status: `status.training`."""

    state: RoundState = RoundState.WAITING
    round: int = Field(0, ge=0, description="Last committed round.")
    total: int = Field(0, ge=0)
    participants: int = Field(0, ge=0, description="Trainers whose update is in the last committed round.")
    dropped: int = Field(0, ge=0, description="Updates of the last round that came too late or not at all.")
    connected: int = Field(0, ge=0)
    headline: Annotated[str, StringConstraints(max_length=63)] = Field(
        "", description="Name of the metric that recentRounds[].score is, by which the best round is chosen."
    )
    metrics: list[Metric] = Field(default_factory=list, max_length=32)
    best: Metric | None = None
    recent_rounds: list[RoundSummary] = Field(default_factory=list, max_length=10)
    checkpoint: Text | None = Field(None, description="Newest durable checkpoint.")
    model_uri: Text | None = Field(None, description="The final model, relative to the checkpoint volume or uri.")
    model_digest: Text | None = Field(None, description="Digest of the final model's file: `sha256:<hex>`.")
    waiting_for: Waiting | None = None


class TrainerProgress(ApiModel):
    """One trainer as the coordinator sees it."""

    name: Annotated[str, StringConstraints(max_length=63)]
    state: Annotated[str, StringConstraints(max_length=32)] = Field(
        "", description="Idle, Training, Evaluating, Lost or Failed."
    )
    round: int = Field(0, ge=0)
    samples: int = Field(0, ge=0)
    loss: Number = ""
    auc: Number = ""
    seconds: Number = ""
    exit_code: int | None = Field(None, ge=0, le=255, description="What it said it would end with, once Failed.")
    message: Text = ""


class Outcome(StrEnum):
    """How the coordinator ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    PAUSED = "Paused"


class Finish(ApiModel):
    """The coordinator's last word; absent while it runs."""

    outcome: Outcome
    reason: Annotated[str, StringConstraints(max_length=63)]
    message: Text = ""
    exit_code: int = Field(0, ge=0, le=255)


class Progress(ApiModel):
    """The whole progress object."""

    uid: Annotated[str, StringConstraints(max_length=64)]
    incarnation: int = Field(ge=0)
    sequence: int = Field(0, ge=0, description="Grows with every write of one coordinator process.")
    training: Training = Field(default_factory=Training)
    trainers: list[TrainerProgress] = Field(default_factory=list, max_length=128)
    finish: Finish | None = None
