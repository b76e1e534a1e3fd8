"""One shard's part of one version as a safetensors file, <root>/<uid>/<version>/shard-<i>-of-<n>.safetensors.

Written by the shard itself, read by `rebalance` when a shard loads, and by `model`. A file is only as good as the
sha256 that the manifest names for it: a torn or foreign one raises CheckpointError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fljob_runtime.checkpoints.files import Tensor, inside, sha256_of, write_safetensors
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, LayoutError, ModelLayout
from fljob_runtime.server.placement import dense_range, owned_ids

FORMAT = "fljob-shard-1"
_DENSE = "dense"
_TABLE = "table."


@dataclass(frozen=True)
class ShardPart:
    """What one shard holds of one version: its dense range [k], and its rows [n, D] of each table in id order.

    num_slots: arrays of the server optimizer's state per parameter. `slots` are those of the dense range [k]; a
    table's are among the tables, under `<table>#<slot>`.
    """

    job_uid: str
    version: int
    shard: int
    num_shards: int
    digest: str
    layout: ModelLayout
    dense: Float32Array
    tables: Mapping[str, Float32Array]
    num_slots: int = 0
    slots: tuple[Float32Array, ...] = ()


@dataclass(frozen=True)
class ShardFileName:
    """A shard's checkpoint file: path relative to the checkpoint root, and sha256."""

    path: str
    digest: str


def write_shard(root: Path, part: ShardPart) -> ShardFileName:
    """Write the part's file durably; raises CheckpointError (full, read-only)."""
    name = f"shard-{part.shard}-of-{part.num_shards}.safetensors"
    relative = f"{part.job_uid}/{part.version}/{name}"
    path = inside(root, relative)
    metadata = {
        "format": FORMAT,
        "job_uid": part.job_uid,
        "version": str(part.version),
        "shard": str(part.shard),
        "num_shards": str(part.num_shards),
        "digest": part.digest,
        "layout": part.layout.to_json().decode(),
        "slots": str(part.num_slots),
    }
    arrays = {_DENSE: part.dense, **{f"{_DENSE}#{k}": slot for k, slot in enumerate(part.slots)}}
    arrays |= {_TABLE + table: values for table, values in part.tables.items()}
    tensors = [Tensor(name, array.shape, partial(np.asarray, array)) for name, array in arrays.items()]
    return ShardFileName(relative, write_safetensors(path, tensors, metadata))


def read_shard(root: Path, file: ShardFileName) -> ShardPart:
    """Read a whole part; checks its sha256, format and shapes. Raises CheckpointError."""
    header = read_shard_header(root, file)
    path = inside(root, file.path)
    names = [name for spec in header.layout.shared_tables for name in with_slots(spec.name, header.num_slots)]
    dense, *slots = [read_tensor(path, name) for name in dense_names(header.num_slots)]
    tables = {name: read_table(path, name) for name in names}
    return replace(header, dense=dense, tables=tables, slots=tuple(slots))


def read_shard_header(root: Path, file: ShardFileName) -> ShardPart:
    """Check a part's sha256, format and shapes and return it without its tensors. Raises CheckpointError."""
    path = inside(root, file.path)
    found = sha256_of(path)
    if found != file.digest:
        raise CheckpointError(f"{path}: sha256 is {found}, the manifest says {file.digest}: torn or replaced")
    with _opened(path) as tensors:
        metadata: dict[str, str] = tensors.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format {metadata.get('format')!r}, {FORMAT!r} is needed")
        part = ShardPart(
            job_uid=metadata["job_uid"],
            version=int(metadata["version"]),
            shard=int(metadata["shard"]),
            num_shards=int(metadata["num_shards"]),
            digest=metadata["digest"],
            layout=ModelLayout.from_json(metadata["layout"].encode()),
            dense=np.empty(0, np.float32),
            tables={},
            num_slots=int(metadata.get("slots", "0")),
        )
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    if not (0 <= part.shard < part.num_shards and 0 <= part.num_slots < len(shapes)):
        raise CheckpointError(f"{path}: cannot be shard {part.shard} of {part.num_shards}, slots {part.num_slots}")
    wanted = _shapes(part)
    if shapes != wanted:
        raise CheckpointError(f"{path}: holds {shapes}, its layout needs {wanted}")
    return part


def read_dense(path: Path) -> Float32Array:
    """Return a checked part's dense range."""
    return read_tensor(path, _DENSE)


def read_table(path: Path, name: str) -> Float32Array:
    """Return a checked part's rows of one table, in id order."""
    return read_tensor(path, _TABLE + name)


def read_tensor(path: Path, name: str) -> Float32Array:
    """Return one array of a checked part, by its name in the file."""
    with _opened(path) as tensors:
        values: Float32Array = tensors.get_tensor(name)
        return values


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; whatever is wrong with its content becomes a CheckpointError."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            yield tensors
    except (SafetensorError, LayoutError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a shard's checkpoint: {error}") from error


def _shapes(part: ShardPart) -> dict[str, tuple[int, ...]]:
    start, stop = dense_range(part.layout.dense_size, part.shard, part.num_shards)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(dense_names(part.num_slots), (stop - start,))
    for spec in part.layout.shared_tables:
        owned = owned_ids(spec.name, spec.shape[0], part.shard, part.num_shards)
        shapes |= dict.fromkeys(with_slots(_TABLE + spec.name, part.num_slots), (owned.size, spec.shape[1]))
    return shapes


def dense_names(num_slots: int) -> list[str]:
    """Return the names in the file of the dense range and of the optimizer's state of it."""
    return with_slots(_DENSE, num_slots)


def with_slots(name: str, num_slots: int) -> list[str]:
    """Return the names of an array and of the optimizer's state of it."""
    return [name, *(f"{name}#{slot}" for slot in range(num_slots))]
