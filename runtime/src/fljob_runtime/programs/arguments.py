"""Flags of the three programs, in one place, and what they have in common at start: logging and the job's file.

    fljob-coordinator [--checkpoint-dir DIR] [--scratch-dir DIR] [--progress-file F] [--control-file F]
    fljob-server      --shard N [--checkpoint-dir DIR] [--scratch-dir DIR] [--memory-bytes N]
    fljob-trainer     --trainer NAME [--data-dir DIR] [--storage-dir DIR] [--threads N]
    all: [--config FILE] [--tls-dir DIR] [--listen HOST] [--http-port PORT] [--log-level LEVEL]

In a pod no flag but --shard and --trainer is needed: the defaults are the mount points of fljob_api.names, and
addresses come from the job's file. No torch and no grpc in here.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fljob_api import names
from fljob_api.exit_codes import ExitCode
from fljob_api.job_config import JobConfig
from fljob_runtime.checkpoints.remote import Remote, folder_of
from fljob_runtime.errors import CheckpointError


class UsageError(Exception):
    """The program cannot start as it was told to; `code` is what it ends with."""

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_CONFIG) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Common:
    """Flags of every program."""

    config: Path
    tls_dir: Path
    listen: str
    http_port: int
    log_level: str

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> Common:
        """Read the common flags."""
        return cls(parsed.config, parsed.tls_dir, parsed.listen, parsed.http_port, parsed.log_level)


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the common flags."""
    made = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    made.add_argument("--config", type=Path, default=Path(names.CONFIG_PATH), help="the job's file (JobConfig)")
    made.add_argument("--tls-dir", type=Path, default=Path(names.TLS_DIR), help="ca.crt, tls.crt and tls.key")
    made.add_argument("--listen", default="0.0.0.0", help="host to listen on")  # noqa: S104 - a pod
    made.add_argument("--http-port", type=int, default=names.HTTP_PORT, help="/healthz, /readyz, /metrics; 0: none")
    made.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return made


def set_up_logging(level: str, role: str) -> None:
    """Log to standard error: UTC time, level, role, key=value."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s role={role} %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def read_config(path: Path) -> JobConfig:
    """Read the job's file; raises UsageError that names the file and the field."""
    try:
        return JobConfig.read(path)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"--config {path}: not JSON: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise UsageError(f"--config {path}: {faults}") from error


@dataclass(frozen=True)
class Checkpoints:
    """Where a job's checkpoints are. remote: the store behind spec.checkpoint.uri, whose spool is `root`."""

    root: Path
    remote: Remote | None = None


def checkpoints_of(config: JobConfig, given: Path | None, scratch: Path) -> Checkpoints | None:
    """Return where checkpoints go: the folder that a flag names, else what spec.checkpoint says, None without it.

    A file:// URI is a folder as any. Raises UsageError for a URI that no driver here can serve.
    """
    checkpoint = config.spec.checkpoint
    if given is not None or checkpoint is None:
        return Checkpoints(given) if given is not None else None
    if checkpoint.uri is None:
        return Checkpoints(Path(names.CHECKPOINT_DIR))
    folder = folder_of(checkpoint.uri)
    try:
        if folder is None:
            remote = Remote(checkpoint.uri, scratch / "checkpoint")
            return Checkpoints(remote.spool, remote)
        folder.mkdir(parents=True, exist_ok=True)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        words = f"spec.checkpoint.uri: cannot make {folder}: {error.strerror}; is it a folder that this process shares?"
        raise UsageError(words, ExitCode.CHECKPOINT_UNUSABLE) from error
    return Checkpoints(folder)


def port_of(address: str) -> int:
    """Return the port of host:port."""
    return int(address.rpartition(":")[2])
