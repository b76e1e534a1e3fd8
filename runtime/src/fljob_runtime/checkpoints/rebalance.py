"""One shard's part of a durable version, whatever the number of shards it was written by.

Called by the shard when it loads. With its own number of shards it reads its own file; else it gathers its dense
range and its rows, and the server optimizer's state of both, from all files of the version. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fljob_runtime.checkpoints.files import inside
from fljob_runtime.checkpoints.shard_file import (
    ShardFileName,
    ShardPart,
    dense_names,
    read_shard,
    read_shard_header,
    read_table,
    read_tensor,
    with_slots,
)
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, ParamSpec
from fljob_runtime.server.digest import digest_of
from fljob_runtime.server.placement import dense_range, owned_ids, shards_of


@dataclass(frozen=True)
class Wanted:
    """Whose part of what is to be loaded; num_slots: arrays of the server optimizer's state per parameter."""

    job_uid: str
    version: int
    shard: int
    num_shards: int
    num_slots: int


def load_part(root: Path, files: Sequence[ShardFileName], wanted: Wanted) -> ShardPart:
    """Return the wanted part of a version that lies in `files`, in shard order, one for each shard that wrote it.

    Raises CheckpointError for a file that is torn, missing, of another job, version or shard, or of another
    optimizer.
    """
    if len(files) == wanted.num_shards:
        part = read_shard(root, files[wanted.shard])
        _check(root, files, wanted.shard, part, wanted)
        return part
    headers = [read_shard_header(root, file) for file in files]
    for shard, header in enumerate(headers):
        _check(root, files, shard, header, wanted)
        if header.layout != headers[0].layout:
            raise CheckpointError(f"{root / files[shard].path}: has another layout than {files[0].path}")
    return _gathered([inside(root, file.path) for file in files], headers, wanted)


def _check(root: Path, files: Sequence[ShardFileName], shard: int, part: ShardPart, wanted: Wanted) -> None:
    found = (part.job_uid, part.version, part.shard, part.num_shards, part.num_slots)
    right = (wanted.job_uid, wanted.version, shard, len(files), wanted.num_slots)
    if found != right:
        raise CheckpointError(
            f"{root / files[shard].path}: holds (job, version, shard, shards), optimizer state {found}, wanted {right}"
        )


def _gathered(paths: list[Path], headers: list[ShardPart], wanted: Wanted) -> ShardPart:
    layout = headers[0].layout
    dense, *slots = [_dense(paths, name, layout.dense_size, wanted) for name in dense_names(wanted.num_slots)]
    tables = {name: values for spec in layout.shared_tables for name, values in _table(paths, spec, wanted).items()}
    # A chain of digests ends where the parts are cut anew: the next one begins with what was read and from whom.
    digest = digest_of([dense, *tables.values()], previous=" ".join(header.digest for header in headers))
    return replace(
        headers[0],
        shard=wanted.shard,
        num_shards=wanted.num_shards,
        digest=digest,
        dense=dense,
        tables=tables,
        slots=tuple(slots),
    )


def _dense(paths: list[Path], name: str, size: int, wanted: Wanted) -> Float32Array:
    """Return the wanted range of one dense array, from the files whose ranges reach into it."""
    start, stop = dense_range(size, wanted.shard, wanted.num_shards)
    values = np.empty(stop - start, np.float32)
    for shard, path in enumerate(paths):
        first, last = dense_range(size, shard, len(paths))
        low, high = max(start, first), min(stop, last)
        if low < high:
            values[low - start : high - start] = read_tensor(path, name)[low - first : high - first]
    return values


def _table(paths: list[Path], spec: ParamSpec, wanted: Wanted) -> dict[str, Float32Array]:
    """Return the wanted rows of one table and of the optimizer's state of it, by name."""
    ids = owned_ids(spec.name, spec.shape[0], wanted.shard, wanted.num_shards)
    holders = shards_of(spec.name, ids, len(paths))
    names = with_slots(spec.name, wanted.num_slots)
    gathered = {name: np.empty((ids.size, spec.shape[1]), np.float32) for name in names}
    for shard, path in enumerate(paths):
        mine = np.flatnonzero(holders == shard)
        if not mine.size:
            continue
        positions = np.searchsorted(owned_ids(spec.name, spec.shape[0], shard, len(paths)), ids[mine])
        for name in names:
            gathered[name][mine] = read_table(path, name)[positions]
    return gathered
