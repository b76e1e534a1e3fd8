"""`fljob run`: one FLJob on this machine, the three real programs as processes on loopback.

Called by the command line. The parent starts and supervises; it must not import torch or open a gRPC channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fljob_api.fljob import FLJob
from fljob_api.job_config import JobConfig
from fljob_api.progress import Finish, Progress
from fljob_runtime.backends.folder import LocalRunError, RunFolder, check_data, prepare
from fljob_runtime.backends.supervisor import Supervisor
from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.errors import TransportError

__all__ = ["LocalRunError", "RunResult", "RunState", "run_local"]


class RunState(StrEnum):
    """How a local run ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    PAUSED = "Paused"


@dataclass(frozen=True)
class RunResult:
    """What a local run left behind: committed rounds, the finished model (None unless it succeeded)."""

    state: RunState
    rounds: int
    model: Path | None
    finish: Finish


def run_local(
    job: FLJob,
    *,
    data: Mapping[str, Path],
    run_dir: Path,
    on_progress: Callable[[Progress], None],
) -> RunResult:
    """Run the job to its end in `run_dir`, or go on with the run that lies there.

    data: folder per trainer name, for the trainers that need one. on_progress is called in the caller's
    thread with each new Progress. Ctrl-C (KeyboardInterrupt) or SIGTERM (where the caller turns it into one)
    stops every process within 10 s and raises KeyboardInterrupt again; the same run_dir can be continued.
    Raises LocalRunError when the folder belongs to another job or a trainer's folder is missing.
    """
    folder = RunFolder(run_dir.resolve())
    config = prepare(job, folder)
    where = {name: path.resolve() for name, path in data.items()}
    check_data(config, where)
    supervisor = Supervisor(config, folder, where, on_progress)
    finish = supervisor.run()
    progress = supervisor.progress
    model = progress.training.model_uri if progress else None
    return RunResult(
        state=RunState(finish.outcome.value),
        rounds=progress.training.round if progress else 0,
        model=_model(config, folder, model) if model else None,
        finish=finish,
    )


def _model(config: JobConfig, folder: RunFolder, path: str) -> Path:
    """Return where the model lies in the run folder; from a URI it is fetched to where it always is."""
    uri = config.spec.checkpoint.uri if config.spec.checkpoint else None
    if uri is None:
        return folder.checkpoint / path
    try:
        return Remote(uri, folder.checkpoint).fetch(path)
    except TransportError as error:
        raise LocalRunError(f"the job has succeeded, but its model is not here: {error}") from error
