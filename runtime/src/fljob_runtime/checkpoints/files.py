"""Writing files so that a crash leaves the old one or the new one, and saying plainly why it did not work.

Safetensors files are written here tensor by tensor (https://github.com/huggingface/safetensors#format), since
the library's `save` needs the whole model in memory twice; they are read with the library.

Used by the other modules here. Every OSError becomes a CheckpointError that names the path and the cause.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, Int64Array

F32, I64 = "F32", "I64"
_DTYPES = {F32: "<f4", I64: "<i8"}
Array = Float32Array | Int64Array


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


@dataclass(frozen=True)
class Tensor:
    """One tensor to write: its values are made when their turn comes, whole or in pieces in their order."""

    name: str
    shape: tuple[int, ...]
    values: Callable[[], Array | Iterable[Array]]
    dtype: str = F32

    @property
    def num_bytes(self) -> int:
        """Return the size of the values."""
        return np.dtype(_DTYPES[self.dtype]).itemsize * math.prod(self.shape)

    def pieces(self) -> Iterable[memoryview]:
        """Yield the values' bytes; raises ValueError when there are not as many as the shape says."""
        made, left = self.values(), self.num_bytes
        for piece in (made,) if isinstance(made, np.ndarray) else made:
            data = np.ascontiguousarray(piece, _DTYPES[self.dtype]).reshape(-1).view(np.uint8).data
            left -= len(data)
            yield data
        if left:
            raise ValueError(f"tensor {self.name}: {left} bytes less than shape {self.shape} needs")


def write_safetensors(path: Path, tensors: Sequence[Tensor], metadata: Mapping[str, str]) -> str:
    """Write a safetensors file atomically and return its sha256; raises CheckpointError."""
    digest = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        header = _header(tensors, metadata)
        for piece in (len(header).to_bytes(8, "little"), header):
            digest.update(piece)
            file.write(piece)
        for tensor in tensors:
            for data in tensor.pieces():
                digest.update(data)
                file.write(data)

    write_atomically(path, write)
    return digest.hexdigest()


def _header(tensors: Sequence[Tensor], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for tensor in tensors:
        stop = start + tensor.num_bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


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
    """Return root / relative; raises CheckpointError for a path that leaves the root or that no system can hold."""
    try:
        path = (root / relative).resolve()
    except ValueError as error:  # a zero byte, half a surrogate pair
        raise CheckpointError(f"{relative!r} is no path: {error}") from error
    if not path.is_relative_to(root.resolve()):
        raise CheckpointError(f"{relative!r} leaves the checkpoint folder {root}")
    return path
