"""Drives a RoundMachine by hand or as a whole job: trainers and shards that answer at once. No mocks of logic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fljob_runtime.messages import (
    Evaluate,
    EvaluateReport,
    Initialize,
    Instruction,
    Receipt,
    Repush,
    Train,
    TrainReport,
)
from fljob_runtime.registry import NoParameters
from fljob_runtime.rounds.buffered import make_machine
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.rules import Control, Rules
from fljob_runtime.rounds.values import (
    Action,
    CommitDone,
    DoCommit,
    Evaluated,
    Event,
    Finished,
    Joined,
    Note,
    Record,
    Restore,
    Restored,
    Save,
    Saved,
    Stop,
    Tell,
    Trained,
)
from fljob_runtime.selection.selectors import Random

RULES = Rules(
    trainers=("a", "b", "c"),
    seed=7,
    selector=Random(NoParameters()),
    round_timeout_s=100.0,
    startup_deadline_s=50.0,
    suspend_grace_s=5.0,
    absence_grace_s=10.0,
)


def mean_of(sums: Sequence[bytes]) -> Mapping[str, float]:
    """Read each trainer's sums as one number and call their mean AUC."""
    values = [float(text) for text in sums]
    return {"AUC": sum(values) / len(values)} if values else {}


class Driver:
    """A machine with what it asked for so far."""

    def __init__(self, rules: Rules = RULES, rounds: int = 2, history: History | None = None, **control: Any) -> None:
        self.now = 1000.0
        self.machine = make_machine(
            rules,
            replace(Control(rounds=rounds), **control),
            history=history or History(),
            summarise=mean_of,
            now=self.now,
        )
        self.actions: list[Action] = self.machine.start()

    @property
    def state(self) -> str:
        return self.machine.state.value

    @property
    def records(self) -> list[Record]:
        return [action.record for action in self.actions if isinstance(action, Note)]

    def told(self, trainer: str) -> list[Instruction]:
        return [a.instruction for a in self.actions if isinstance(a, Tell) and a.trainer == trainer]

    def of(self, kind: type[Action]) -> list[Action]:
        return [action for action in self.actions if isinstance(action, kind)]

    @property
    def ending(self) -> Finished:
        return next(action.finish for action in self.actions if isinstance(action, Stop))

    def on(self, event: Event, after_s: float = 0.0) -> list[Action]:
        self.now += after_s
        actions = self.machine.handle(event, self.now)
        self.actions += actions
        return actions

    def join(self, *trainers: str) -> None:
        for trainer in trainers:
            self.on(Joined(trainer, "layout"))

    def restored(self, version: int = -1) -> None:
        self.on(Restored(version))

    def trained(self, *trainers: str, round_number: int | None = None) -> None:
        for trainer in trainers:
            self.on(Trained(trainer, train_report(self.machine.round if round_number is None else round_number)))

    def committed(self, *, durable: bool = True) -> None:
        self.on(CommitDone(self.machine.round, durable))

    def evaluated(self, *trainers: str, auc: float = 0.6) -> None:
        for trainer in trainers:
            self.on(Evaluated(trainer, EvaluateReport(self.machine.history.committed, str(auc).encode())))

    def to_round(self, wanted: int, trainers: Iterable[str] = ("a", "b", "c")) -> None:
        """Bring the job to Training of a round, everyone taking part at once."""
        members = tuple(trainers)
        if self.state == "Waiting":
            self.restored()
            self.join(*members)
            self.trained(*self.machine.cohort)
            self.committed()
        while self.machine.round < wanted or self.state != "Training":
            self.trained(*self.machine.cohort)
            self.committed()
            self.evaluated(*members)


def train_report(round_number: int, digest: str = "d", attempt: int = 1) -> TrainReport:
    return TrainReport(round_number, attempt, (Receipt(0, digest, 8),), num_samples=10, metrics=b"0.5")


def answers(action: Action) -> Event | None:
    """Return what a healthy trainer or shard would say to an action, if anything."""
    answer: Event | None = None
    match action:
        case Restore():
            answer = Restored(action.version)
        case DoCommit():
            answer = CommitDone(action.round, durable=action.checkpoint)
        case Save():
            answer = Saved(durable=True, model="model")
        case Tell(trainer, Train() as work):
            answer = Trained(trainer, train_report(work.round, attempt=work.attempt))
        case Tell(trainer, Repush() as work):
            answer = Trained(trainer, train_report(work.round))
        case Tell(trainer, Initialize()):
            answer = Trained(trainer, train_report(0))
        case Tell(trainer, Evaluate() as work):
            answer = Evaluated(trainer, EvaluateReport(work.version, b"0.6"))
    return answer
