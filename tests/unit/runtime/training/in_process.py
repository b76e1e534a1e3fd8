"""A whole Sync job without processes: trainers with their private stores, and a shard that writes checkpoints.

What a stopped job leaves is in its folder alone, so that a second one made there begins as after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from unit.runtime.roles.test_trainer import END, FAR, PatientInbox
from unit.runtime.training.every_model import SITES, Case

from fljob_api.exit_codes import ExitCode
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.messages import (
    Committed,
    Evaluate,
    EvaluateReport,
    Initialize,
    Instruction,
    Receipt,
    Report,
    SavedVersion,
    Train,
)
from fljob_runtime.parameters import Int64Array, ModelLayout, ModelState, RowSet, unpack_dense
from fljob_runtime.roles.heartbeat import Pulse
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.roles.trainer import Surroundings, Trainer
from fljob_runtime.roles.trainer_metrics import TrainerMetrics
from fljob_runtime.roles.trainer_setup import make_local
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import PushHeader
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.exchange import Exchanged, Numbered
from support.shards import UID, config, save_named


@dataclass
class Client:
    """What a trainer sees of the shard: the calls, without a wire."""

    shard: Shard
    layout: ModelLayout
    trainer: str
    staged: list[Named] = field(default_factory=list)
    bytes_sent: int = 0
    bytes_received: int = 0

    def pull(self, version: int, rows: Mapping[str, Int64Array]) -> ModelState:
        model = self.shard.model()
        wanted = {name: RowSet(ids, model.rows(version, name, model.locate(name, ids))) for name, ids in rows.items()}
        return ModelState(unpack_dense(self.layout.shared_dense, model.dense(version)), wanted)

    def push(self, round_number: int, attempt: int, num_samples: int, state: ModelState) -> tuple[Receipt, ...]:
        (payload,) = encode_update(self.layout, state, 1)
        layout = self.layout.to_json() if round_number == 0 else b""
        header = PushHeader(UID, 0, round_number, self.trainer, attempt, num_samples, payload.blocks, layout)
        intake = self.shard.open_push(header)
        for array in payload.arrays:
            intake.write(np.ascontiguousarray(array).tobytes())
        staged = self.shard.close_push(intake)
        self.staged = [Named(self.trainer, attempt, staged.digest)]
        return (Receipt(0, staged.digest, 1),)

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:  # noqa: ARG002 - unused
        raise AssertionError("nothing is compressed")

    def exchange(
        self,
        number: Numbered,  # noqa: ARG002
        state: ModelState | None,  # noqa: ARG002
        wanted: Mapping[str, Int64Array],  # noqa: ARG002
    ) -> Exchanged:
        raise AssertionError("rounds are Sync")


@dataclass
class Member:
    """One trainer, its client and what it reported."""

    trainer: Trainer
    client: Client
    inbox: PatientInbox
    reports: list[Report]
    store: PrivateStore

    def follow(self, instruction: Instruction) -> None:
        for one in (instruction, END):
            self.inbox.put(one)
        assert self.trainer.run() is ExitCode.DONE, self.reports


class InProcess:
    """The job of a case in a folder; `saved`: goes on with a version that is on disk."""

    def __init__(self, case: Case, folder: Path, saved: SavedVersion | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.shard = Shard(config(folder))
        self.members = [self._member(case, folder, name) for name in SITES]
        self.saved = saved
        if saved is None:
            self.members[0].follow(Initialize())
            self.saved = save_named(self.shard, 0, self.members[0].client.staged)
        else:
            self.shard.restore(saved.version, [ShardFileName(saved.checkpoint, saved.checkpoint_digest)])

    def round(self, number: int) -> list[bytes]:
        """Train, commit, write and evaluate a round; return what each trainer measured."""
        for member in self.members:
            member.follow(Train(number, FAR))
        accepted = [named for member in self.members for named in member.client.staged]
        self.saved = save_named(self.shard, number, accepted)
        for member in self.members:
            member.follow(Committed(number, accepted=True))
            member.follow(Evaluate(number, next_round=number + 1))
        reports = [member.reports[-1] for member in self.members]
        return [report.metrics for report in reports if isinstance(report, EvaluateReport)]

    def values(self, number: int) -> dict[str, bytes]:
        """Return all shared values of a version and all private ones after a round, as bytes."""
        model, layout = self.shard.model(), self.members[0].client.layout
        found = {"dense": model.dense(number).tobytes()}
        for spec in layout.shared_tables:
            ids = np.arange(spec.shape[0]) if spec.rules is None else model.keys(number, spec.name)
            found[spec.name] = ids.tobytes() + model.rows(number, spec.name, model.locate(spec.name, ids)).tobytes()
        for member in self.members:
            own = member.store.load(number)
            found |= {f"{member.client.trainer}/{name}": value.tobytes() for name, value in own.dense.items()}
            for name, rows in own.rows.items():
                found[f"{member.client.trainer}/{name}"] = rows.ids.tobytes() + rows.values.tobytes()
        return found

    def _member(self, case: Case, folder: Path, name: str) -> Member:
        job, data = case.config(), case.sites()[name]

        def fresh() -> LocalTrainer:
            return make_local(job, name, data)

        local, reports, inbox = fresh(), list[Report](), PatientInbox()
        client = Client(self.shard, local.layout, name)
        store = PrivateStore(folder / name, local.layout, job_uid="u")
        around = Surroundings(
            make_local=fresh,
            strategy=job.spec.strategy,
            servers=client,
            inbox=inbox,
            report=reports.append,
            store=store,
            pulse=Pulse(reports.append),
            metrics=TrainerMetrics(namespace="n", job="job", trainer=name),
            reach_s=5.0,
        )
        return Member(Trainer(local, around), client, inbox, reports, store)


def rounds(job: InProcess, numbers: Sequence[int]) -> list[list[bytes]]:
    """Train these rounds; return what was measured after each."""
    return [job.round(number) for number in numbers]
