"""Trainers without training: the load generator's half of `load`. Speaks the wire, imports no torch.

    python bench/load_trainers.py RUN_FOLDER FIRST LAST SECONDS

Hosts the trainers FIRST to LAST (exclusive) of the job in RUN_FOLDER, a thread and a stream each. Each pulls all dense
values and some rows, changes them, pushes, and reports; it evaluates by reporting fixed scores. After SECONDS it ends,
and prints when each pull and push began and what it took as one JSON line.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fljob_api import names
from fljob_api.job_config import JobConfig
from fljob_runtime.backends.folder import RunFolder
from fljob_runtime.errors import TransportError
from fljob_runtime.messages import (
    Evaluate,
    EvaluateReport,
    Hello,
    Initialize,
    Instruction,
    Repush,
    Train,
    TrainReport,
)
from fljob_runtime.metrics.sums import MetricSums
from fljob_runtime.parameters import Kind, ModelLayout, ModelState, ParamSpec, RowSet
from fljob_runtime.transport.coordinator_stream import CoordinatorStream
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.heap import keep_freed_pieces
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.server_client import ServerClient

DENSE, ROWS, DIM, TOUCHED = 100_000, 200_000, 32, 2_000
LAYOUT = ModelLayout((ParamSpec("dense", (DENSE,)), ParamSpec("table", (ROWS, DIM), Kind.ROWS)))
_CALL_S, _CONNECT_S = 60.0, 30.0
_SAMPLES = 1000


@dataclass
class Seen:
    """Each call of all trainers here, (when it began by the machine's monotonic clock, its seconds), and faults."""

    pulls: list[tuple[float, float]] = field(default_factory=list)
    pushes: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class LoadTrainer(threading.Thread):
    """One trainer."""

    def __init__(self, config: JobConfig, credentials: Credentials, seen: Seen) -> None:
        super().__init__(name=credentials.identity.name, daemon=True)
        self._config, self._credentials, self._seen = config, credentials, seen
        self._servers = ServerClient(config.servers, credentials, incarnation=config.incarnation, layout=LAYOUT)
        self._dice = np.random.default_rng(list(self.name.encode()))
        scores = self._dice.normal(size=_SAMPLES).astype(np.float32)
        self._metrics = MetricSums.of(scores, (scores > 0).astype(np.float32)).to_bytes()
        self._stream: CoordinatorStream | None = None
        self.stopping = False

    def run(self) -> None:
        """Follow instructions until `stop`."""
        hello = Hello(self._config.uid, self._config.incarnation, self.name, LAYOUT.digest, LAYOUT.to_json(), _SAMPLES)
        try:
            self._stream = CoordinatorStream.connect(
                self._config.coordinator, self._credentials, hello, deadline_s=_CONNECT_S
            )
            for instruction in self._stream:
                self._follow(self._stream, instruction)
        except TransportError as error:
            if not self.stopping:
                self._seen.faults.append(f"{self.name}: {error}")

    def stop(self) -> None:
        """End the stream, and with it the thread."""
        self.stopping = True
        if self._stream is not None:
            self._stream.close()

    def _follow(self, stream: CoordinatorStream, instruction: Instruction) -> None:
        match instruction:
            case Initialize():
                every = np.arange(ROWS)
                rows = RowSet(every, np.zeros((ROWS, DIM), np.float32), np.ones(ROWS))
                self._push(stream, 0, ModelState({"dense": np.zeros(DENSE, np.float32)}, {"table": rows}))
            case Train() | Repush():
                state = self._pull(instruction.round - 1)
                rows = state.rows["table"]
                changed = RowSet(rows.ids, rows.values + 0.01, np.ones(len(rows)))
                self._push(stream, instruction.round, ModelState(state.dense, {"table": changed}))
            case Evaluate():
                self._pull(instruction.version)
                stream.report(EvaluateReport(instruction.version, self._metrics))
            case _:
                pass

    def _pull(self, version: int) -> ModelState:
        ids = np.unique(self._dice.integers(0, ROWS, TOUCHED))
        began = time.monotonic()
        state = self._servers.pull(version, {"table": ids}, deadline_s=_CALL_S)
        self._seen.pulls.append((began, time.monotonic() - began))
        return state

    def _push(self, stream: CoordinatorStream, round_: int, state: ModelState) -> None:
        began, before = time.monotonic(), self._servers.bytes_sent
        receipts = self._servers.push(round_, 1, state, _SAMPLES, deadline_s=_CALL_S)
        self._seen.pushes.append((began, time.monotonic() - began))
        sent = self._servers.bytes_sent - before
        stream.report(TrainReport(round_, 1, receipts, _SAMPLES, self._metrics, bytes_sent=sent))


def main(root: str, first: str, last: str, seconds: str) -> None:
    """Host the trainers for so long."""
    keep_freed_pieces()
    folder = RunFolder(Path(root))
    config = JobConfig.read(folder.config)
    seen = Seen()
    chosen = [trainer.name for trainer in config.spec.trainers[int(first) : int(last)]]
    made = []
    for name in chosen:
        identity = Identity(config.uid, names.ROLE_TRAINER, name)
        made.append(LoadTrainer(config, Credentials.load(folder.tls(f"trainer-{name}"), identity), seen))
    for trainer in made:
        trainer.start()
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end and not seen.faults:
        time.sleep(0.2)
    for trainer in made:
        trainer.stop()
    sys.stdout.write(json.dumps({"pulls": seen.pulls, "pushes": seen.pushes, "faults": seen.faults}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
