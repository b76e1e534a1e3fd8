"""One job on two backends, behind one interface: processes of this machine, and pods of a real cluster.

Used by test_backends. A case says what is done to a job after which round, and looks at how the job ended; how a
process is killed or a status is read on a backend is here.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from integration.local_jobs import UID, LocalJob

from fljob_api.fljob import FLJob
from fljob_api.progress import Outcome, RoundState, Training
from fljob_api.status import FLJobStatus
from support.jobs import Jobs, Numbers

Manifest = dict[str, Any]
STATES = {Outcome.SUCCEEDED: "Succeeded", Outcome.FAILED: "Failed", Outcome.PAUSED: "Suspended"}


@dataclass(frozen=True)
class Ended:
    """How a job ended or paused, in the words that both backends have."""

    state: str
    reason: str
    message: str
    training: Training

    @property
    def numbers(self) -> Numbers:
        """What a job that has succeeded came to."""
        assert self.state == "Succeeded", self
        return Numbers.of(self.training.to_dict())

    @property
    def participants(self) -> dict[int, int]:
        """Round -> trainers whose update is in it."""
        return {summary.round: summary.participants for summary in self.training.recent_rounds}


class Run(Protocol):
    """A job that runs."""

    def after_round(self, number: int, act: Callable[[], object]) -> None:
        """Act when this many rounds are committed and the next one has begun; acts in the order of their rounds."""

    def kill(self, role: str) -> None:
        """SIGKILL one process of a role."""

    def suspend(self) -> None:
        """Ask for a pause at the next border of a round."""

    def resume(self) -> None:
        """Let a paused job go on."""

    def end(self) -> Ended:
        """Wait until the job has ended or paused. Fails if it did so before every act was due."""

    def left(self) -> list[str]:
        """Return the processes that name its folder, or its pods that have not ended."""


class Backend(Protocol):
    """Where jobs run."""

    def start(self, manifest: Manifest, data: Mapping[str, Path] | None = None) -> Run:
        """Start a job with a place for checkpoints; `data` holds folders that stand for sites' volumes."""

    def refused(self, manifest: Manifest) -> subprocess.CompletedProcess[str]:
        """Hand the manifest to the command line that starts jobs here."""


@dataclass
class LocalRun:
    """Processes of this machine, in one folder."""

    manifest: Manifest
    root: Path
    data: Mapping[str, Path]
    acts: list[tuple[int, Callable[[], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._job = self._started()

    def _started(self) -> LocalJob:
        metadata = {**self.manifest["metadata"], "uid": UID}
        return LocalJob(FLJob.from_dict({**self.manifest, "metadata": metadata}), self.root, self.data)

    def after_round(self, number: int, act: Callable[[], object]) -> None:
        self._job.once(RoundState.TRAINING, number, act)

    def kill(self, role: str) -> None:
        process = {"trainer": f"trainer-{self._job.spec.spec.trainers[0].name}", "server": "server-0"}.get(role, role)
        self._job.kill(process)

    def suspend(self) -> None:
        self._job.suspend()

    def resume(self) -> None:
        self._job.folder.control.unlink()
        self._job = self._started()

    def end(self) -> Ended:
        finish = self._job.run()
        assert not self._job.hooks, f"{finish} came before every act"
        return Ended(STATES[finish.outcome], finish.reason, finish.message, self._job.seen[-1].training)

    def left(self) -> list[str]:
        return [line for line in _command_lines() if str(self.root) in line]


@dataclass
class LocalBackend:
    """`fljob run` and what is under it."""

    folder: Path

    def start(self, manifest: Manifest, data: Mapping[str, Path] | None = None) -> Run:
        return LocalRun(manifest, self.folder / "run", data or {})

    def refused(self, manifest: Manifest) -> subprocess.CompletedProcess[str]:
        return _fljob("run", _written(manifest, self.folder), "--run-dir", self.folder / "refused")


@dataclass
class ClusterRun:
    """Pods of one FLJob."""

    jobs: Jobs
    name: str
    acts: list[tuple[int, Callable[[], object]]] = field(default_factory=list)

    def after_round(self, number: int, act: Callable[[], object]) -> None:
        self.acts.append((number, act))

    def kill(self, role: str) -> None:
        self.jobs.kill(self.name, role)

    def suspend(self) -> None:
        self.jobs.patch(self.name, {"suspend": True})

    def resume(self) -> None:
        self.jobs.patch(self.name, {"suspend": False})
        self.jobs.wait_state(self.name, "Starting", "Running")

    def end(self) -> Ended:
        while self.acts:
            number, act = self.acts.pop(0)
            self.jobs.wait_round(self.name, number)
            act()
        status = FLJobStatus.from_dict(self.jobs.wait_state(self.name, *STATES.values()))
        assert status.state is not None
        said = next((c for c in status.conditions if c.type == status.state.value and c.status == "True"), None)
        reason, message = (said.reason, said.message) if said else ("", "")
        return Ended(status.state.value, reason, message, status.training or Training())

    def left(self) -> list[str]:
        pods = self.jobs.cluster.items("pods", self.jobs.namespace)
        return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] not in {"Succeeded", "Failed"}]


@dataclass
class ClusterBackend:
    """`fljob submit`, the operator and pods."""

    jobs: Jobs
    folder: Path

    def start(self, manifest: Manifest, data: Mapping[str, Path] | None = None) -> Run:
        for site, folder in (data or {}).items():
            self.jobs.cluster.claim(self.jobs.namespace, f"data-{site}", folder)
            (trainer,) = (t for t in manifest["spec"]["trainers"] if t["name"] == site)
            trainer["data"] = {"persistentVolumeClaim": {"claimName": f"data-{site}"}}
        return ClusterRun(self.jobs, self.jobs.apply(self.jobs.with_checkpoint(manifest)))

    def refused(self, manifest: Manifest) -> subprocess.CompletedProcess[str]:
        where = ("--kubeconfig", self.jobs.cluster.kubeconfig, "--namespace", self.jobs.namespace)
        return _fljob("submit", _written(manifest, self.folder), *where)


def _written(manifest: Manifest, folder: Path) -> Path:
    path = folder / "fljob.json"
    path.write_text(json.dumps(manifest))
    return path


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended meanwhile
            yield path.read_bytes().replace(b"\0", b" ").decode()


def _fljob(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fljob_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
