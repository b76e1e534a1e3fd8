"""A model's values as blocks for each shard, and back. The only way that parameters become bytes on the wire.

Used by server_client. Private parameters cannot be encoded: a state that holds one raises before anything of
it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.compression.chain import Chain, Key
from fljob_runtime.errors import PrivateParameterError
from fljob_runtime.packed import pack_ids, pack_weights
from fljob_runtime.parameters import (
    Float32Array,
    Int64Array,
    ModelLayout,
    ModelState,
    RowSet,
    Scope,
    flat_dense,
    pack_dense,
    unpack_dense,
)
from fljob_runtime.server.placement import dense_range, shards_of
from fljob_runtime.server.staging import Block, BlockKind

_Block = tuple[Block, tuple[NDArray[np.generic], ...]]


@dataclass(frozen=True)
class Payload:
    """What one shard gets of an update: block headers, and arrays that together hold their bytes in the wire's order.

    The dense block's arrays are views of the parameters' own, so that a large model is not copied before it is sent.
    """

    blocks: tuple[Block, ...]
    arrays: tuple[NDArray[np.generic], ...]

    @property
    def num_bytes(self) -> int:
        """Return the size of the payload."""
        return sum(block.num_bytes for block in self.blocks)


@dataclass(frozen=True)
class Coding:
    """The codecs of an update, and which update it is: its random bits follow from that."""

    chain: Chain
    round: int
    attempt: int
    trainer: str

    def key(self, shard: int, name: str) -> Key:
        """Return the key of one piece: a table's rows at a shard, or ("") its dense range."""
        return Key(self.round, self.attempt, self.trainer, shard, name)

    def encode(self, shard: int, name: str, values: Float32Array) -> _Block:
        """Return the block of some values; raises MalformedError where they are not finite."""
        data = self.chain.encode(np.ascontiguousarray(values).reshape(-1), self.key(shard, name))
        return _block(name, BlockKind.CODED, data)

    def received(self, shard: int, name: str, values: Float32Array) -> Float32Array:
        """Return what a shard makes of these values."""
        _, (data,) = self.encode(shard, name, values)
        out = np.empty(values.shape, np.float32)
        self.chain.decode(data.view(np.uint8), out.reshape(-1), self.key(shard, name))
        return out


def encode_update(
    layout: ModelLayout, state: ModelState, num_shards: int, coding: Coding | None = None
) -> list[Payload]:
    """Split an update over the shards. With a coding `state` holds differences, which are compressed per shard.

    `state` has every shared dense parameter and any rows with ids sorted, unique, and weights [n]. Raises
    PrivateParameterError for a private parameter, LayoutError for a shape or name that the layout has not.
    """
    refuse_private(layout, state)
    dense = flat_dense(layout.shared_dense, state.dense)
    parts: list[list[_Block]] = [[] for _ in range(num_shards)]
    for shard, part in enumerate(parts):
        start, stop = dense_range(layout.dense_size, shard, num_shards)
        if stop > start:
            pieces = _cut(dense, start, stop)
            plain: _Block = (Block("", BlockKind.DENSE, 4 * (stop - start)), pieces)
            part.append(coding.encode(shard, "", np.concatenate(pieces)) if coding else plain)
    for spec in layout.shared_tables:
        if spec.name not in state.rows:
            continue
        rows = state.rows[spec.name]
        for shard, index in enumerate(split_rows(spec.name, rows.ids, num_shards)):
            part = parts[shard]
            ids = rows.ids[index]
            if ids.size:
                part.append(_block(spec.name, BlockKind.PACKED_IDS, pack_ids(ids), ids.size))
                values = rows.values[index]
                plain = _block(spec.name, BlockKind.ROW_VALUES, values)
                part.append(coding.encode(shard, spec.name, values) if coding else plain)
                part.append(_block(spec.name, BlockKind.PACKED_WEIGHTS, pack_weights(rows.weights[index])))
    return [Payload(tuple(b for b, _ in part), tuple(a for _, arrays in part for a in arrays)) for part in parts]


def received_update(layout: ModelLayout, state: ModelState, num_shards: int, coding: Coding) -> ModelState:
    """Return what the shards together make of an update: same names, shapes and ids. Raises as `encode_update`."""
    refuse_private(layout, state)
    vector = pack_dense(layout.shared_dense, state.dense)
    for shard in range(num_shards):
        start, stop = dense_range(layout.dense_size, shard, num_shards)
        if stop > start:
            vector[start:stop] = coding.received(shard, "", vector[start:stop])
    tables = {}
    for name, rows in state.rows.items():
        values = np.empty_like(rows.values)
        for shard, index in enumerate(split_rows(name, rows.ids, num_shards)):
            if rows.ids[index].size:
                values[index] = coding.received(shard, name, rows.values[index])
        tables[name] = RowSet(rows.ids, values)
    return ModelState(unpack_dense(layout.shared_dense, vector), tables)


def refuse_private(layout: ModelLayout, state: ModelState) -> None:
    """Raise PrivateParameterError if the state holds a parameter that must not leave the trainer."""
    private = [name for name in (*state.dense, *state.rows) if layout[name].scope is not Scope.SHARED]
    if private:
        raise PrivateParameterError(f"private parameters may not leave the trainer: {sorted(private)}")


def split_rows(table: str, ids: Int64Array, num_shards: int) -> list[slice | Int64Array]:
    """Return for each shard the index of its rows within `ids`, in order."""
    if num_shards == 1:
        return [slice(None)]
    owner = shards_of(table, ids, num_shards)
    return [np.flatnonzero(owner == shard) for shard in range(num_shards)]


def _block(name: str, kind: BlockKind, array: NDArray[np.generic], num_rows: int = 0) -> _Block:
    return Block(name, kind, array.nbytes, num_rows), (array,)


def _cut(arrays: Sequence[Float32Array], start: int, stop: int) -> tuple[Float32Array, ...]:
    """Return views of the elements start to stop of all arrays in a row."""
    ends = np.cumsum([array.size for array in arrays])
    pieces = (a[max(start - e + a.size, 0) : max(stop - e + a.size, 0)] for a, e in zip(arrays, ends, strict=True))
    return tuple(piece for piece in pieces if piece.size)
