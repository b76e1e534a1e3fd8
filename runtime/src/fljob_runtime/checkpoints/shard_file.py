"""One shard's part of one version as a safetensors file, <root>/<uid>/<version>/shard-<i>-of-<n>.safetensors.

Written and read by the shard itself, read by `model` to assemble the whole. A file is only as good as the
sha256 that the manifest names for it: a torn or foreign one raises CheckpointError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fljob_runtime.checkpoints.files import inside, sha256_of, write_atomically
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, LayoutError, ModelLayout
from fljob_runtime.server.placement import dense_range, owned_ids

FORMAT = "fljob-shard-1"
_DENSE = "dense"
_TABLE = "table."


@dataclass(frozen=True)
class ShardPart:
    """What one shard holds of one version: its dense range [k], and its rows [n, D] of each table in id order."""

    job_uid: str
    version: int
    shard: int
    num_shards: int
    digest: str
    layout: ModelLayout
    dense: Float32Array
    tables: Mapping[str, Float32Array]


@dataclass(frozen=True)
class Written:
    """A file made: its path relative to the root, and its sha256."""

    path: str
    digest: str


def write_shard(root: Path, part: ShardPart) -> Written:
    """Write the part's file durably; raises CheckpointError (full, read-only)."""
    name = f"shard-{part.shard}-of-{part.num_shards}.safetensors"
    relative = f"{part.job_uid}/{part.version}/{name}"
    path = inside(root, relative)
    tensors = {_DENSE: part.dense, **{_TABLE + table: values for table, values in part.tables.items()}}
    metadata = {
        "format": FORMAT,
        "job_uid": part.job_uid,
        "version": str(part.version),
        "shard": str(part.shard),
        "num_shards": str(part.num_shards),
        "digest": part.digest,
        "layout": part.layout.to_json().decode(),
    }
    content = save(tensors, metadata)
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(path, lambda file: file.write(content))
    return Written(relative, digest)


def read_shard(root: Path, relative: str, digest: str) -> ShardPart:
    """Read a part and check its sha256, its format and its shapes; raises CheckpointError."""
    path = inside(root, relative)
    found = sha256_of(path)
    if found != digest:
        raise CheckpointError(f"{path}: sha256 is {found}, the manifest says {digest}: torn or replaced")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format {metadata.get('format')!r}, {FORMAT!r} is needed")
        part = ShardPart(
            job_uid=metadata["job_uid"],
            version=int(metadata["version"]),
            shard=int(metadata["shard"]),
            num_shards=int(metadata["num_shards"]),
            digest=metadata["digest"],
            layout=ModelLayout.from_json(metadata["layout"].encode()),
            dense=tensors.pop(_DENSE),
            tables={name.removeprefix(_TABLE): values for name, values in tensors.items()},
        )
    except (SafetensorError, LayoutError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a shard's checkpoint: {error}") from error
    _check_shapes(path, part)
    return part


def _check_shapes(path: Path, part: ShardPart) -> None:
    start, stop = dense_range(part.layout.dense_size, part.shard, part.num_shards)
    wanted: dict[str, tuple[int, ...]] = {_DENSE: (stop - start,)}
    for spec in part.layout.shared_tables:
        owned = owned_ids(spec.name, spec.shape[0], part.shard, part.num_shards)
        wanted[_TABLE + spec.name] = (owned.size, spec.shape[1])
    arrays = {_DENSE: part.dense, **{_TABLE + name: values for name, values in part.tables.items()}}
    found = {name: values.shape for name, values in arrays.items() if values.dtype == np.float32}
    if found != wanted:
        raise CheckpointError(f"{path}: holds {found}, its layout needs {wanted}")
