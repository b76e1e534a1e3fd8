"""One shard's part of a durable version, whatever the number of shards it was written by.

Called by the shard when it loads. With its own number of shards it reads its own file; else it gathers its dense
range and its rows, and the server optimizer's state of both, from all files of the version. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fljob_runtime.checkpoints.chain import PartChain, open_chain
from fljob_runtime.checkpoints.keyed_rows import gathered
from fljob_runtime.checkpoints.shard_file import ShardFileName, ShardPart, TablePart, dense_names, with_slots
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, Kind, ParamSpec, Scope
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
        chain = open_chain(root, files[wanted.shard])
        _check(root, files, wanted.shard, chain.header, wanted)
        return chain.part()
    chains = [open_chain(root, file) for file in files]
    for shard, chain in enumerate(chains):
        _check(root, files, shard, chain.header, wanted)
        if chain.header.layout != chains[0].header.layout:
            raise CheckpointError(f"{root / files[shard].path}: has another layout than {files[0].path}")
    return _gathered(chains, wanted)


def _check(root: Path, files: Sequence[ShardFileName], shard: int, part: ShardPart, wanted: Wanted) -> None:
    found = (part.job_uid, part.version, part.shard, part.num_shards, part.num_slots)
    right = (wanted.job_uid, wanted.version, shard, len(files), wanted.num_slots)
    if found != right:
        raise CheckpointError(
            f"{root / files[shard].path}: holds (job, version, shard, shards), optimizer state {found}, wanted {right}"
        )


def _gathered(chains: list[PartChain], wanted: Wanted) -> ShardPart:
    header = chains[0].header
    dense, *slots = [_dense(chains, name, header.layout.dense_size, wanted) for name in dense_names(wanted.num_slots)]
    plain, keyed = (header.layout.select(kind, Scope.SHARED) for kind in (Kind.ROWS, Kind.KEYED))
    tables = {spec.name: _table(chains, spec, wanted) for spec in plain}
    place = (wanted.shard, wanted.num_shards)
    states = {spec.name: gathered(spec, [chain.keyed(spec) for chain in chains], *place) for spec in keyed}
    rows = [array for table in tables.values() for array in (table.values, *table.slots)]
    rows_by_id = [array for state in states.values() for array in state.arrays]
    # A chain of digests ends where the parts are cut anew: the next one begins with what was read and from whom.
    digest = digest_of([dense, *rows, *rows_by_id], previous=" ".join(chain.header.digest for chain in chains))
    return replace(
        header,
        shard=wanted.shard,
        num_shards=wanted.num_shards,
        digest=digest,
        dense=dense,
        tables=tables,
        slots=tuple(slots),
        base=None,
        keyed=states,
    )


def _dense(chains: list[PartChain], name: str, size: int, wanted: Wanted) -> Float32Array:
    """Return the wanted range of one dense array, from the files whose ranges reach into it."""
    start, stop = dense_range(size, wanted.shard, wanted.num_shards)
    values = np.empty(stop - start, np.float32)
    for shard, chain in enumerate(chains):
        first, last = dense_range(size, shard, len(chains))
        low, high = max(start, first), min(stop, last)
        if low < high:
            values[low - start : high - start] = chain.dense(name)[low - first : high - first]
    return values


def _table(chains: list[PartChain], spec: ParamSpec, wanted: Wanted) -> TablePart:
    """Return the wanted rows of one table and of the optimizer's state of it."""
    ids = owned_ids(spec.name, spec.shape[0], wanted.shard, wanted.num_shards)
    holders = shards_of(spec.name, ids, len(chains))
    names = with_slots(spec.name, wanted.num_slots)
    gathered = {name: np.empty((ids.size, spec.dim), np.float32) for name in names}
    for shard, chain in enumerate(chains):
        mine = np.flatnonzero(holders == shard)
        if not mine.size:
            continue
        positions = np.searchsorted(chain.ids(spec), ids[mine])
        for name in names:
            gathered[name][mine] = chain.table(spec, name)[positions]
    values, *slots = gathered.values()
    return TablePart(values, tuple(slots))
