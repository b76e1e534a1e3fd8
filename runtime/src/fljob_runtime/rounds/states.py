"""The states of a job's rounds: which may follow which, and what is waited for in them. Read by `machine`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fljob_api.progress import RoundState

S = RoundState
TRANSITIONS: Mapping[RoundState, frozenset[RoundState]] = {
    S.WAITING: frozenset({S.SELECTING, S.FINISHING, S.FAILED}),
    S.SELECTING: frozenset({S.TRAINING, S.COMMITTING, S.EVALUATING, S.FINISHING, S.FAILED}),
    S.TRAINING: frozenset({S.COMMITTING, S.SELECTING, S.FINISHING, S.FAILED}),
    S.COMMITTING: frozenset({S.EVALUATING, S.SELECTING, S.TRAINING, S.FAILED}),
    S.EVALUATING: frozenset({S.SELECTING, S.FINISHING, S.FAILED}),
    S.FINISHING: frozenset({S.DONE, S.PAUSED, S.SELECTING, S.FAILED}),
    S.PAUSED: frozenset(),
    S.DONE: frozenset(),
    S.FAILED: frozenset(),
}
TERMINAL = frozenset({S.PAUSED, S.DONE, S.FAILED})


@dataclass(frozen=True)
class Wait:
    """What the job is waiting for, since when and until when (Unix seconds)."""

    name: str
    since: float
    deadline: float


class TransitionError(AssertionError):
    """The machine was asked for a step that its table does not have: a bug."""
