"""The files that hold one shard's part of one version: the newest, and its bases down to a full one.

Called by `rebalance` when a shard loads and by `model`. Every file is checked (sha256, format, shapes) before one
value is read; one array is in memory at a time. Raises CheckpointError with the path and what is wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.checkpoints import keyed_rows
from fljob_runtime.checkpoints.files import inside
from fljob_runtime.checkpoints.shard_file import (
    ShardFileName,
    ShardPart,
    TablePart,
    dense_names,
    ids_name,
    read_floats,
    read_integers,
    read_shard_header,
    read_tensor,
    table_name,
    versions_name,
    with_slots,
)
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, Int64Array, Kind, ParamSpec, Scope
from fljob_runtime.server.keyed import KeyedState
from fljob_runtime.server.placement import owned_ids

MAX_FILES = 8  # of a chain: so many files at most are read to load a part


@dataclass(frozen=True)
class PartChain:
    """A shard's part of a version. headers and paths: of its files, the newest first, the full one last."""

    headers: tuple[ShardPart, ...]
    paths: tuple[Path, ...]

    @property
    def header(self) -> ShardPart:
        """Return what the part is, without its tensors."""
        return self.headers[0]

    def dense(self, name: str) -> Float32Array:
        """Return the dense range [k], or one array of the optimizer's state of it."""
        return read_floats(self.paths[0], name)

    def ids(self, spec: ParamSpec) -> Int64Array:
        """Return the ids of all rows that the part has of a table, sorted. int64 [n]."""
        if spec.kind is Kind.KEYED:
            return keyed_rows.ids([partial(read_integers, path) for path in self.paths], spec)
        return owned_ids(spec.name, spec.shape[0], self.header.shard, self.header.num_shards)

    def table(self, spec: ParamSpec, name: str) -> Float32Array:
        """Return the rows of a table, or of one array of the optimizer's state of it, in order of `ids`. [n, D]."""
        key = table_name(name)
        if len(self.paths) == 1:
            return read_floats(self.paths[0], key)
        if spec.kind is Kind.KEYED:
            return self._newest(spec, key, np.empty((self.ids(spec).size, spec.dim), np.float32))
        ids = self.ids(spec)
        values = read_floats(self.paths[-1], key)
        for path in self.paths[-2::-1]:
            values[_positions(path, spec, ids)] = read_floats(path, key)
        return values

    def keyed(self, spec: ParamSpec) -> KeyedState:
        """Return all that the part holds of a keyed table."""
        ids, path = self.ids(spec), self.paths[0]
        parts = tuple(self.table(spec, name) for name in with_slots(spec.name, self.header.num_slots))
        versions = self._newest(spec, versions_name(spec.name), np.empty(ids.size, np.int64))
        waiting = read_integers(path, keyed_rows.waiting_name(spec.name))
        place = (self.header.version, self.header.shard, self.header.num_shards)
        return keyed_rows.checked(path, spec, place, (ids, parts, versions, waiting))

    def _newest(self, spec: ParamSpec, key: str, out: NDArray[Any]) -> NDArray[Any]:
        """Fill in for each row of a keyed table what the newest file that has the row says of it under this key."""
        ids, missing = self.ids(spec), np.ones(len(out), np.bool_)
        for path in self.paths[::-1]:
            mine = _read_ids(path, spec)
            where = np.searchsorted(ids, mine)
            where[where == ids.size] = 0
            there = np.flatnonzero(ids[where] == mine) if ids.size else where[:0]  # the others are gone since
            out[where[there]] = read_tensor(path, key)[there]
            missing[where[there]] = False
        if missing.any():
            raise CheckpointError(f"{self.paths[0]}: table {spec.name}: no file of its chain has row {ids[missing][0]}")
        return out

    def part(self) -> ShardPart:
        """Return the whole part, as a full file holds it."""
        count = self.header.num_slots
        dense, *slots = [self.dense(name) for name in dense_names(count)]
        plain, keyed = (self.header.layout.select(kind, Scope.SHARED) for kind in (Kind.ROWS, Kind.KEYED))
        tables = {spec.name: self._rows(spec) for spec in plain}
        states = {spec.name: self.keyed(spec) for spec in keyed}
        return replace(self.header, dense=dense, slots=tuple(slots), tables=tables, base=None, keyed=states)

    def _rows(self, spec: ParamSpec) -> TablePart:
        values, *slots = [self.table(spec, name) for name in with_slots(spec.name, self.header.num_slots)]
        return TablePart(values, tuple(slots))


def open_chain(root: Path, file: ShardFileName) -> PartChain:
    """Check a file and all that it builds upon; raises CheckpointError for what is torn, missing or foreign."""
    headers = [read_shard_header(root, file)]
    paths = [inside(root, file.path)]
    while (base := headers[-1].base) is not None:
        if len(headers) == MAX_FILES:
            raise CheckpointError(f"{paths[0]}: builds upon more than {MAX_FILES - 1} files, {base.path} is one more")
        try:
            header = read_shard_header(root, base)
        except CheckpointError as error:
            raise CheckpointError(f"{paths[-1]}: its base cannot be used: {error}") from error
        _check_base(paths[-1], headers[-1], base, header)
        headers.append(header)
        paths.append(inside(root, base.path))
    return PartChain(tuple(headers), tuple(paths))


def _check_base(path: Path, part: ShardPart, file: ShardFileName, base: ShardPart) -> None:
    fixed = [(p.job_uid, p.shard, p.num_shards, p.num_slots, p.layout.digest) for p in (part, base)]
    if fixed[0] != fixed[1]:
        raise CheckpointError(
            f"{path}: its base {file.path} is another's: (job, shard, shards, optimizer state, layout) "
            f"{fixed[1]}, wanted {fixed[0]}"
        )
    if base.version >= part.version:
        raise CheckpointError(f"{path}: is of version {part.version}, its base {file.path} of {base.version}")


def _positions(path: Path, spec: ParamSpec, ids: Int64Array) -> Int64Array:
    """Return where the rows of a file stand among those of the part; raises CheckpointError for others' rows."""
    mine = _read_ids(path, spec)
    positions = np.searchsorted(ids, mine)
    if (positions == ids.size).any() or (ids[positions] != mine).any():
        raise CheckpointError(f"{path}: has rows of table {spec.name} that are another shard's")
    return positions.astype(np.int64)


def _read_ids(path: Path, spec: ParamSpec) -> Int64Array:
    ids = read_integers(path, ids_name(spec.name))
    if (ids[1:] <= ids[:-1]).any():
        raise CheckpointError(f"{path}: the ids of table {spec.name} are not in order")
    return ids
