"""Small jobs on real processes: builders that show only what differs, and hooks on a running job."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fljob_api.fljob import FLJob
from fljob_api.progress import Finish, Progress, RoundState
from fljob_runtime.backends.folder import RunFolder, prepare
from fljob_runtime.backends.supervisor import Supervisor

UID = "00000000-0000-4000-8000-000000000001"
DEADLINE_S = 60
SUSPEND_SEEN_S = 2.0  # the coordinator looks for changes every 0.3 s
MODES: dict[str, dict[str, Any]] = {
    "Geo": {"mode": "Geo", "geoStep": 4},
    "Async": {"mode": "Async", "serverOptimizer": {"name": "SGD", "learningRate": "0.02"}},
    "StepSync": {"mode": "StepSync", "serverOptimizer": {"name": "SGD", "learningRate": "0.1"}},
    "Buffered": {"mode": "Buffered"},
}


def job(sites: int = 3, rounds: int = 3, **spec: Any) -> FLJob:
    """Return a job whose rounds take about a third of a second, most of it training."""
    parameters = {"usersPerSite": 20, "items": 60, "samplesPerUser": 40}
    base = {
        "model": {"name": "ncf", "parameters": {"mode": "MLP", "layers": "16,8"}},
        "dataset": {"name": "synthetic", "parameters": parameters},
        "optimizer": {"learningRate": "0.0005"},
        "strategy": {"localEpochs": 4, "batchSize": 20},
        "trainers": [{"name": f"site-{i}"} for i in range(sites)],
        "rounds": rounds,
        "roundTimeoutSeconds": DEADLINE_S,
        "startupDeadlineSeconds": DEADLINE_S,
        "activeDeadlineSeconds": 2 * DEADLINE_S,
    }
    return FLJob.from_dict(
        {
            "apiVersion": "fljob.dev/v1alpha1",
            "kind": "FLJob",
            "metadata": {"name": "small", "uid": UID},
            "spec": {**base, **spec},
        }
    )


@dataclass
class LocalJob:
    """One start of a job in a folder, with what it said."""

    spec: FLJob
    root: Path
    data: Mapping[str, Path] = field(default_factory=dict)
    seen: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = RunFolder(self.root)
        self.config = prepare(self.spec, self.folder)
        self.hooks: list[Callable[[Progress], bool]] = []
        self.supervisor = Supervisor(self.config, self.folder, self.data, self._progress)

    def run(self) -> Finish:
        """Run to the end."""
        return self.supervisor.run()

    def once(self, state: RoundState, round_number: int, act: Callable[[], object], *, durable: bool = False) -> None:
        """Act once when the job is first seen in a state with so many rounds committed (or in a later round).

        durable: and that last version is on disk.
        """

        def hook(progress: Progress) -> bool:
            training = progress.training
            if durable and training.checkpoint != f"version {training.round}":
                return False
            if training.round < round_number or (training.round == round_number and training.state is not state):
                return False
            act()
            return True

        self.hooks.append(hook)

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process."""
        self.supervisor.fleet.kill(process, number)

    def suspend(self) -> None:
        """Suspend the job, and hold a trainer up until the coordinator has seen that: no round ends before."""
        trainer = f"trainer-{self.spec.spec.trainers[0].name}"
        self.kill(trainer, signal.SIGSTOP)
        self.folder.control.write_text('{"suspend": true}')
        threading.Timer(SUSPEND_SEEN_S, self.kill, (trainer, signal.SIGCONT)).start()

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the journal's records of one kind."""
        lines = (self.folder.checkpoint / self.config.uid / "journal.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def metrics(self, name: str = "AUC") -> list[tuple[int, float, float]]:
        """Return (round, loss, AUC or another metric) of each round's evaluation, in full precision.

        Of a round that was repeated it is the last one.
        """
        last = {record["round"]: record["metrics"] for record in self.records("RoundEvaluated")}
        return [(round_, metrics["Loss"], metrics[name]) for round_, metrics in sorted(last.items())]

    def model(self) -> bytes:
        """Return the finished model's file."""
        return (self.folder.checkpoint / self.config.uid / "model" / "model.safetensors").read_bytes()

    def log(self, process: str) -> str:
        """Return what a process wrote."""
        return self.folder.log(process).read_text()

    def _progress(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.hooks = [hook for hook in self.hooks if not hook(progress)]
