"""The folder of one local run: what lies where, and whether a job may use it. Called by `local`.

job.json  the JobConfig            tls/<process>/   certificates of this start
checkpoint/  versions, journal, model    storage/<trainer>/  private state    scratch/  nothing of worth
logs/<process>.log                 progress.json    what the coordinator says
control.json  (written by a person or `fljob`) suspend, rounds, stopCriteria
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fljob_api import names, pki
from fljob_api.fljob import FLJob
from fljob_api.job_config import JobConfig
from fljob_api.spec import FLJobSpec
from fljob_runtime.checkpoints.remote import check_driver
from fljob_runtime.errors import CheckpointError

_HOST = "127.0.0.1"
_MUTABLE = {"suspend", "rounds", "stopCriteria", "backoffLimit"}


class LocalRunError(Exception):
    """The run could not start; the message says which path or argument to change."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The JobConfig that the three programs read."""
        return self.root / "job.json"

    @property
    def checkpoint(self) -> Path:
        """Root of checkpoints, journal and model."""
        return self.root / "checkpoint"

    @property
    def progress(self) -> Path:
        """The coordinator's Progress."""
        return self.root / "progress.json"

    @property
    def control(self) -> Path:
        """Changes of mutable fields while the job runs."""
        return self.root / "control.json"

    def tls(self, process: str) -> Path:
        """Certificates of one process."""
        return self.root / "tls" / process

    def log(self, process: str) -> Path:
        """Standard error of one process, over all its starts."""
        return self.root / "logs" / f"{process}.log"

    def storage(self, trainer: str) -> Path:
        """Private state of one trainer."""
        return self.root / "storage" / trainer

    def scratch(self, process: str) -> Path:
        """Folder for what need not outlive the process."""
        return self.root / "scratch" / process


def prepare(job: FLJob, folder: RunFolder) -> JobConfig:
    """Make the folder ready for one start of the job and return its configuration.

    A folder that holds a run of the same job is continued: same uid, next incarnation. Raises LocalRunError
    when it holds another job or cannot be written.
    """
    before = _former(folder)
    if before is not None:
        _check_same(job, before, folder)
    _check_store(job)
    shards = job.spec.server.replicas
    ports = _free_ports(shards + 1)
    config = JobConfig(
        name=job.metadata.name,
        namespace=job.metadata.namespace,
        uid=before.uid if before else job.metadata.uid or str(uuid.uuid4()),
        incarnation=before.incarnation + 1 if before else 0,
        spec=job.spec,
        coordinator=f"{_HOST}:{ports[0]}",
        servers=[f"{_HOST}:{port}" for port in ports[1:]],
    )
    try:
        for path in (folder.root / "logs", folder.checkpoint, *(folder.scratch(p) for p in processes(config))):
            path.mkdir(parents=True, exist_ok=True)
        folder.progress.unlink(missing_ok=True)
        _write_certificates(config, folder)
        draft = folder.config.with_suffix(".tmp")
        draft.write_text(config.to_json(), encoding="utf-8")
        draft.replace(folder.config)
    except OSError as error:
        raise LocalRunError(f"{folder.root}: {error.strerror}; choose another --run-dir") from error
    return config


def processes(config: JobConfig) -> dict[str, tuple[str, str]]:
    """Return process name -> (role, name in its certificate)."""
    shards = {f"server-{i}": (names.ROLE_SERVER, str(i)) for i in range(len(config.servers))}
    trainers = {f"trainer-{t.name}": (names.ROLE_TRAINER, t.name) for t in config.spec.trainers}
    return {"coordinator": (names.ROLE_COORDINATOR, names.ROLE_COORDINATOR), **shards, **trainers}


def check_data(config: JobConfig, data: Mapping[str, Path]) -> None:
    """Check the folders given for trainers; raises LocalRunError for a missing or superfluous one."""
    known = {trainer.name for trainer in config.spec.trainers}
    unknown = sorted(set(data) - known)
    if unknown:
        raise LocalRunError(f"data for {', '.join(unknown)}: the job's trainers are {', '.join(sorted(known))}")
    for name, path in data.items():
        if not path.is_dir():
            raise LocalRunError(f"data of trainer {name}: {path} is not a folder")
    missing = sorted(t.name for t in config.spec.trainers if t.data is not None and t.name not in data)
    if missing:
        raise LocalRunError(f"no data folder for {', '.join(missing)}; give --data NAME=DIR or --data-root DIR")


def _former(folder: RunFolder) -> JobConfig | None:
    if not folder.config.exists():
        if folder.root.is_dir() and any(folder.root.iterdir()):
            raise LocalRunError(f"{folder.root}: not empty and not a run folder; choose another --run-dir")
        return None
    try:
        return JobConfig.read(folder.config)
    except (OSError, json.JSONDecodeError, ValidationError) as error:
        raise LocalRunError(f"{folder.config}: cannot be read ({error}); choose another --run-dir") from error


def _check_store(job: FLJob) -> None:
    uri = job.spec.checkpoint.uri if job.spec.checkpoint else None
    try:
        if uri is not None:
            check_driver(uri)
    except CheckpointError as error:
        raise LocalRunError(f"spec.{error}") from error


def _check_same(job: FLJob, before: JobConfig, folder: RunFolder) -> None:
    changed = sorted(_differing(job.spec, before.spec))
    if job.metadata.name != before.name:
        raise LocalRunError(f"{folder.root}: holds a run of job {before.name}; choose another --run-dir")
    if changed:
        raise LocalRunError(
            f"{folder.root}: holds a run with another spec.{', spec.'.join(changed)}; choose another --run-dir"
        )


def _differing(now: FLJobSpec, before: FLJobSpec) -> set[str]:
    # The number of shards may change: a checkpoint is loaded by any.
    server = before.server.model_copy(update={"replicas": now.server.replicas})
    return now.differing(before.model_copy(update={"server": server})) - _MUTABLE


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((_HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _write_certificates(config: JobConfig, folder: RunFolder) -> None:
    """Issue certificates from an authority made for this start; its key is written nowhere."""
    if not config.tls_enabled:
        return
    authority = pki.make_authority(config.uid)
    for process, (role, name) in processes(config).items():
        target = folder.tls(process)
        target.mkdir(parents=True, exist_ok=True)
        for file, content in pki.issue(authority, role, name).files().items():
            descriptor = os.open(target / file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
