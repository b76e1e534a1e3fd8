"""Writing files so that a crash leaves the old one or the new one, and saying plainly why it did not work.

Used by the other modules here. Every OSError becomes a CheckpointError that names the path and the cause.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fljob_runtime.errors import CheckpointError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Make `path` with what `write` puts into it: temporary file, fsync, rename, fsync of the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; free space on the checkpoint volume or make it writable"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file; raises CheckpointError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def inside(root: Path, relative: str) -> Path:
    """Return root / relative; raises CheckpointError for a path that leaves the root."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise CheckpointError(f"{relative!r} leaves the checkpoint folder {root}")
    return path
