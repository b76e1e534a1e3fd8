"""Updates on their way in: checked against the layout before a byte is kept, held whole until a commit.

Used by `shard`; where the bytes lie is `buffers`. Decides nothing about rounds or who may push.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.compression.chain import Chain, Key
from fljob_runtime.errors import LayoutMismatchError, MalformedError
from fljob_runtime.packed import most_bytes, unpack_ids, unpack_weights
from fljob_runtime.parameters import Float32Array, Float64Array, Int64Array, Kind, ModelLayout, ParamSpec
from fljob_runtime.server.buffers import Budget, Buffers
from fljob_runtime.server.digest import Digest
from fljob_runtime.server.placement import dense_range

_ADD_ELEMENTS = 1 << 15
MOST_KEYED_ROWS = 1 << 24  # of a keyed table in one update to one shard: nothing else bounds what it may announce
_UINT8 = NDArray[np.uint8]


class BlockKind(StrEnum):
    """What the bytes of a block are; see server.proto. ROW_IDS and ROW_WEIGHTS, unpacked, are in memory only."""

    DENSE = "dense"
    PACKED_IDS = "packed_ids"
    ROW_VALUES = "row_values"
    PACKED_WEIGHTS = "packed_weights"
    CODED = "coded"
    ROW_IDS = "row_ids"
    ROW_WEIGHTS = "row_weights"


_FLOATS = (BlockKind.DENSE, BlockKind.ROW_VALUES)


@dataclass(frozen=True)
class Block:
    """One run of bytes in a payload. num_rows: of PACKED_IDS, whose size does not tell."""

    name: str
    kind: BlockKind
    num_bytes: int
    num_rows: int = 0


@dataclass(frozen=True)
class PushHeader:
    """Identity and content of one update to one shard. `layout` is given for round 0 only.

    codecs: names of the codecs of its CODED blocks.
    """

    job_uid: str
    incarnation: int
    round: int
    trainer: str
    attempt: int
    num_samples: int
    blocks: tuple[Block, ...]
    layout: bytes = b""
    codecs: tuple[str, ...] = ()


@dataclass(frozen=True)
class StagedRows:
    """Rows of one table: positions within the shard's part [n], values [n, D], weights [n].

    The positions of a keyed table's rows are their ids: which of them have rows is known at the commit.
    """

    positions: Int64Array
    values: Float32Array
    weights: Float64Array


@dataclass(frozen=True)
class Staged:
    """A whole, checked update."""

    header: PushHeader
    layout: ModelLayout
    digest: str
    num_bytes: int
    dense: Float32Array
    rows: Mapping[str, StagedRows]
    buffers: Buffers = field(repr=False)

    @property
    def value_bytes(self) -> int:
        """Return the bytes of its values as float32."""
        return self.dense.nbytes + sum(part.values.nbytes for part in self.rows.values())

    @property
    def plain_bytes(self) -> int:
        """Return the bytes that its payload has without compression."""
        return self.value_bytes + sum(part.positions.nbytes + part.weights.nbytes for part in self.rows.values())


class Locator(Protocol):
    """Turns row ids of a table into positions within the shard's part."""

    def __call__(self, table: str, ids: Int64Array) -> Int64Array:
        """Return positions; raises MalformedError for ids out of order or range, or of another shard."""
        ...


class Base(Protocol):
    """The version that coded values are differences to; a ShardModel."""

    def dense(self, version: int) -> Float32Array:
        """Return the shard's range of the dense vector."""
        ...

    def rows(self, version: int, table: str, positions: Int64Array) -> Float32Array:
        """Return rows of a table."""
        ...


class Intake:
    """Receives one payload. `write` in order, then `finish`; or `abort`."""

    def __init__(
        self,
        header: PushHeader,
        layout: ModelLayout,
        budget: Budget,
        part: tuple[int, int],
        chain: Chain | None = None,
    ) -> None:
        """Check the header's sizes against the layout, then allocate. `part` is (shard, num_shards).

        chain: the job's compression, which the updates of all rounds but round 0 must have.
        """
        self._chain = chain if header.round > 0 else None
        self._shard = part[0]
        _check_codecs(header, self._chain)
        self._decoded = _check_blocks(header, layout, part, self._chain)
        self.header = header
        self.layout = layout
        self.num_bytes = sum(block.num_bytes for block in header.blocks)
        self._buffers = Buffers([block.num_bytes for block in (*header.blocks, *self._decoded)], budget)
        self._digest = Digest(previous=repr(header.blocks))
        self._block = 0
        self._filled = 0
        self._received = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append payload bytes; raises MalformedError past the announced size."""
        self._received += len(data)
        if self._received > self.num_bytes:
            raise MalformedError(f"more bytes than the {self.num_bytes} that the header announced")
        source = memoryview(data)
        while source:
            target = self._buffers.arrays[self._block]
            piece = source[: target.size - self._filled]
            target[self._filled : self._filled + len(piece)] = np.frombuffer(piece, np.uint8)
            self._take_in(target, len(piece))
            source = source[len(piece) :]

    def _take_in(self, target: _UINT8, count: int) -> None:
        """Digest and check the bytes just copied, while they are in the cache."""
        start, self._filled = self._filled, self._filled + count
        self._digest.update(target[start : self._filled].data)
        block = self.header.blocks[self._block]
        if block.kind in _FLOATS:
            values = target[start - start % 4 : self._filled - self._filled % 4].view(np.float32)
            if not np.isfinite(values).all():
                what = f"table {block.name}" if block.name else "dense"
                raise MalformedError(f"{what}: values are not finite; lower spec.optimizer.learningRate")
        if self._filled == target.size:
            self._digest.end_array()
            self._block, self._filled = self._block + 1, 0

    def finish(self, locate: Locator, base: Base | None = None) -> Staged:
        """Check the content and return the whole update; raises MalformedError. Aborts when it raises.

        base: holds the version before the header's round, which coded values are added to.
        """
        if self._received != self.num_bytes:
            raise MalformedError(
                f"payload ends after {self._received} of {self.num_bytes} bytes that the header announced"
            )
        blocks = (*self.header.blocks, *self._decoded)
        by_name = {(b.name, b.kind): array for b, array in zip(blocks, self._buffers.arrays, strict=True)}
        self._unpack(by_name)
        dense = by_name.get(("", BlockKind.DENSE), np.empty(0, np.uint8)).view(np.float32)
        rows = {
            spec.name: self._rows(spec, by_name, locate)
            for spec in self.layout.shared_tables
            if (spec.name, BlockKind.ROW_IDS) in by_name
        }
        if self._chain is not None and base is not None:
            self._add(base, dense, rows)
        digest = self._digest.hexdigest()
        return Staged(self.header, self.layout, digest, self.num_bytes, dense, rows, self._buffers)

    def abort(self) -> None:
        """Drop what was received."""
        self._buffers.free()

    def _unpack(self, by_name: Mapping[tuple[str, BlockKind], _UINT8]) -> None:
        """Fill the blocks that packed and coded ones stand for."""
        for block in self._decoded:
            out, name = by_name[block.name, block.kind], block.name
            if block.kind is BlockKind.ROW_IDS:
                unpack_ids(by_name[name, BlockKind.PACKED_IDS], block.num_rows, out.view(np.int64))
            elif block.kind is BlockKind.ROW_WEIGHTS:
                unpack_weights(by_name[name, BlockKind.PACKED_WEIGHTS], block.num_rows, out.view(np.float64))
            elif self._chain is not None:
                self._chain.decode(by_name[name, BlockKind.CODED], out.view(np.float32), self._key(name))

    def _key(self, name: str) -> Key:
        header = self.header
        return Key(header.round, header.attempt, header.trainer, self._shard, name)

    def _add(self, base: Base, dense: Float32Array, rows: Mapping[str, StagedRows]) -> None:
        """Make values of differences; raises MalformedError where a sum is not finite."""
        with np.errstate(over="ignore"):
            self._sum(base, dense, rows)
        if not all(np.isfinite(values).all() for values in (dense, *(part.values for part in rows.values()))):
            raise MalformedError("values are not finite; lower spec.optimizer.learningRate")

    def _sum(self, base: Base, dense: Float32Array, rows: Mapping[str, StagedRows]) -> None:
        version = self.header.round - 1
        if dense.size:
            dense += base.dense(version)
        for name, part in rows.items():
            step = max(1, _ADD_ELEMENTS // part.values.shape[1])
            for start in range(0, len(part.positions), step):
                piece = slice(start, start + step)
                part.values[piece] += base.rows(version, name, part.positions[piece])

    def _rows(self, spec: ParamSpec, by_name: Mapping[tuple[str, BlockKind], _UINT8], locate: Locator) -> StagedRows:
        name = spec.name
        ids = by_name[name, BlockKind.ROW_IDS].view(np.int64)  # sorted and unique: unpack_ids returns no others
        values = by_name[name, BlockKind.ROW_VALUES].view(np.float32).reshape(-1, spec.dim)
        weights = by_name[name, BlockKind.ROW_WEIGHTS].view(np.float64)
        if not (weights.min() > 0.0 and weights.max() < np.inf):  # neither holds where one is not a number
            raise MalformedError(f"table {name}: row weights must be finite and above 0")
        if spec.kind is not Kind.KEYED and not (ids[0] >= 0 and ids[-1] < spec.shape[0]):
            raise MalformedError(_out_of_order(name, spec.shape[0]))
        return StagedRows(locate(name, ids), values, weights)


def check_sorted(table: str, ids: Int64Array, num_rows: int | None = None) -> None:
    """Raise MalformedError unless ids are sorted, unique and in [0, num_rows); None: of a keyed table."""
    if ids.size == 0 or _fits(ids, num_rows):
        return
    raise MalformedError(_out_of_order(table, num_rows))


def _out_of_order(table: str, num_rows: int | None) -> str:
    of = "" if num_rows is None else f" and in [0, {num_rows})"
    return f"table {table}: ids must be sorted, unique{of}"


def _fits(ids: Int64Array, num_rows: int | None) -> bool:
    inside = num_rows is None or bool(ids[0] >= 0 and ids[-1] < num_rows)
    return inside and bool((ids[1:] > ids[:-1]).all())


def _check_codecs(header: PushHeader, chain: Chain | None) -> None:
    """Refuse an update in another coding than the job's."""
    wanted = chain.names if chain else ()
    if header.codecs != wanted:
        raise LayoutMismatchError(
            f"update of {header.trainer!r} for round {header.round} is coded by {_listed(header.codecs)}, this job's "
            f"strategy.compression is {_listed(wanted)}; start trainers and servers from one job file"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"


def _check_blocks(
    header: PushHeader, layout: ModelLayout, part: tuple[int, int], chain: Chain | None
) -> tuple[Block, ...]:
    """Hold the announced blocks against the layout: order, names, sizes. Returns what packed and coded ones mean."""
    given = list(header.blocks)
    decoded: list[Block] = []

    def sent(plain: Block) -> Block:
        """Return the block in which these numbers come."""
        if chain is None:
            return plain
        decoded.append(plain)
        return Block(plain.name, BlockKind.CODED, chain.num_bytes(plain.num_bytes // 4))

    start, stop = dense_range(layout.dense_size, *part)
    if stop > start:
        expected = sent(Block("", BlockKind.DENSE, 4 * (stop - start)))
        if not given or given.pop(0) != expected:
            raise LayoutMismatchError(f"the first block must be {expected}, found {header.blocks[:1]}")
    for spec in layout.shared_tables:
        if not given or given[0].name != spec.name:
            continue
        count, found = given[0].num_rows, given[:3]
        values = sent(Block(spec.name, BlockKind.ROW_VALUES, 4 * spec.dim * count))
        most = [most_bytes(count), values.num_bytes, 8 * count]
        kinds = [(spec.name, kind) for kind in (BlockKind.PACKED_IDS, values.kind, BlockKind.PACKED_WEIGHTS)]
        fits = [(b.name, b.kind) for b in found] == kinds and all(
            b.num_bytes <= m for b, m in zip(found, most, strict=True)
        )
        room = MOST_KEYED_ROWS if spec.kind is Kind.KEYED else spec.shape[0]
        if not 0 < count <= room or not fits or found[1] != values:
            raise LayoutMismatchError(f"table {spec.name}: blocks {found} do not fit {count} of {spec.shape}")
        decoded.append(Block(spec.name, BlockKind.ROW_IDS, 8 * count, count))
        decoded.append(Block(spec.name, BlockKind.ROW_WEIGHTS, 8 * count, count))
        del given[:3]
    if given:
        raise LayoutMismatchError(f"unexpected block {given[0]}; tables go in the order of the layout")
    return tuple(decoded)
