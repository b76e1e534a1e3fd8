"""Keyed tables in checkpoint files: what a shard writes of one, and how it is read back by any number of shards.

Used by `shard_file`, `chain`, `rebalance`, `model` and server.saver. Beside its rows a file has of a table

    ids.<name>        I64 [n]      sorted, of the rows of table.<name> and table.<name>#<slot>
    versions.<name>   I64 [n]      the version that changed each row last
    waiting.<name>    I64 [m, 3]   all ids that wait for admission, sorted: id, touches, version of the last
    held.<name>       I64 [h]      in an increment, where rows expire: the ids of all rows that are held, sorted
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fljob_runtime.checkpoints.files import F32, I64, Tensor
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, Int32Array, Int64Array, ParamSpec
from fljob_runtime.server.keyed import KeyedState
from fljob_runtime.server.placement import shards_of
from fljob_runtime.server.tables import Waiting

if TYPE_CHECKING:
    from fljob_runtime.server.versions import ShardModel

Read = Callable[[Int64Array], Float32Array]  # rows by key
Pieces = Callable[[Int64Array, int, Read], Iterator[Float32Array]]  # keys, length of a row, how to read some
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def tensors(
    model: ShardModel, spec: ParamSpec, num_slots: int, changed: Int64Array | None, pieces: Pieces
) -> list[Tensor]:
    """Return what a shard writes of a table at its newest version, also when later versions come while it is written.

    changed: the ids whose rows an increment has; None: all. pieces: reads them some at a time.
    """
    version = model.newest
    held, waiting = model.keys(version, spec.name), model.waiting(spec.name)
    keys = held if changed is None else changed
    row_versions = model.row_versions(spec.name, keys)
    columns = np.stack([waiting.ids, waiting.touches, waiting.versions], axis=1).astype(np.int64)
    names = [spec.name, *(model.slot_name(spec.name, slot) for slot in range(num_slots))]
    shape = (keys.size, spec.dim)
    reads = {f"table.{name}": partial(model.rows, version, name) for name in names}
    made = [Tensor(key, shape, partial(pieces, keys, spec.dim, read)) for key, read in reads.items()]
    made += [
        Tensor(f"ids.{spec.name}", keys.shape, partial(np.asarray, keys), I64),
        Tensor(f"versions.{spec.name}", keys.shape, partial(np.asarray, row_versions), I64),
        Tensor(waiting_name(spec.name), columns.shape, partial(np.asarray, columns), I64),
    ]
    if changed is not None and _expires(spec):
        made.append(Tensor(f"held.{spec.name}", held.shape, partial(np.asarray, held), I64))
    return made


def shapes(spec: ParamSpec, num_slots: int, found: Shapes, *, increment: bool) -> Shapes:
    """Return the types and shapes that a table's tensors must have; how many rows it has, its ids say."""
    count, waiting, held = (found.get(f"{kind}.{spec.name}", (I64, (0,)))[1][:1] for kind in ("ids", "waiting", "held"))
    rows = [f"table.{spec.name}", *(f"table.{spec.name}#{slot}" for slot in range(num_slots))]
    wanted: Shapes = dict.fromkeys(rows, (F32, (*count, spec.dim)))
    wanted |= {f"ids.{spec.name}": (I64, count), f"versions.{spec.name}": (I64, count)}
    wanted[waiting_name(spec.name)] = (I64, (*waiting, 3))
    return wanted | ({f"held.{spec.name}": (I64, held)} if increment and _expires(spec) else {})


def ids(files: Sequence[Callable[[str], Int64Array]], spec: ParamSpec) -> Int64Array:
    """Return the ids of all rows that a chain of files has, sorted. files: read a tensor of each, the newest first."""
    if len(files) > 1 and _expires(spec):
        return files[0](f"held.{spec.name}")
    every = [file(f"ids.{spec.name}") for file in files]
    return every[0] if len(every) == 1 else np.unique(np.concatenate(every))


def checked(
    path: Path,
    spec: ParamSpec,
    place: tuple[int, int, int],
    given: tuple[Int64Array, tuple[Float32Array, ...], Int64Array, Int64Array],
) -> KeyedState:
    """Return what was read of a table; place: (version, shard, num_shards); given: ids, rows, versions, waiting.

    Raises CheckpointError for ids that are out of order or another shard's, and for impossible numbers.
    """
    rows, parts, versions, columns = given
    waiting, touches, last = np.ascontiguousarray(columns.T)
    version, shard, num_shards = place
    for some in (rows, waiting):
        if (some[1:] <= some[:-1]).any() or (shards_of(spec.name, some, num_shards) != shard).any():
            raise CheckpointError(f"{path}: table {spec.name}: ids out of order, or another shard's")
    for numbers, least, most in ((versions, 0, version), (last, 0, version), (touches, 1, np.iinfo(np.int32).max)):
        if numbers.size and not least <= numbers.min() <= numbers.max() <= most:
            raise CheckpointError(f"{path}: table {spec.name}: versions or touches that cannot be")
    if np.intersect1d(rows, waiting, assume_unique=True).size:
        raise CheckpointError(f"{path}: table {spec.name}: ids that have a row wait for one")
    return KeyedState(rows, parts, _small(versions), Waiting(waiting, _small(touches), _small(last)))


def waiting_name(table: str) -> str:
    """Return the name in the file of who waits for admission to a table."""
    return f"waiting.{table}"


def _expires(spec: ParamSpec) -> bool:
    return spec.rules is not None and spec.rules.expire_after_rounds > 0


def gathered(spec: ParamSpec, parts: Sequence[KeyedState], shard: int, num_shards: int) -> KeyedState:
    """Return what a shard holds of a table that is spread over parts of other shards."""
    ids, order = _mine(spec, [part.ids for part in parts], shard, num_shards)
    rows = tuple(np.concatenate(some)[order] for some in zip(*(part.parts for part in parts), strict=True))
    versions = np.concatenate([part.versions for part in parts])[order]
    waiting, waits = _mine(spec, [part.waiting.ids for part in parts], shard, num_shards)
    touches = np.concatenate([part.waiting.touches for part in parts])[waits]
    last = np.concatenate([part.waiting.versions for part in parts])[waits]
    return KeyedState(ids, rows, versions, Waiting(waiting, touches, last))


def _mine(spec: ParamSpec, parts: Sequence[Int64Array], shard: int, num_shards: int) -> tuple[Int64Array, Int64Array]:
    """Return the sorted ids that are a shard's, and where each stands among all."""
    ids = np.concatenate(parts)
    mine = np.flatnonzero(shards_of(spec.name, ids, num_shards) == shard)
    order = mine[np.argsort(ids[mine])]
    return ids[order], order


def _small(numbers: Int64Array) -> Int32Array:
    return numbers.astype(np.int32)
