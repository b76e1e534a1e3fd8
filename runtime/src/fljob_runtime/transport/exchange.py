"""One exchange on the wire: a contribution up, values down, in one call. Both ends, each the other's mirror.

Used by shard_service (answer) and shard_client (ask). The first chunk each way says what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Int64Array, ModelState
from fljob_runtime.server.live import Answer, Exchange
from fljob_runtime.server.shard import Shard
from fljob_runtime.server.staging import Block, BlockKind, PushHeader
from fljob_runtime.server.versions import ShardModel
from fljob_runtime.transport.framing import (
    blocks_to_proto,
    data_chunks,
    push_header_from_proto,
    push_header_to_proto,
    take_in,
    unpack,
)
from fljob_runtime.transport.row_ids import ids_from_proto, ids_to_proto


@dataclass(frozen=True)
class Numbered:
    """One exchange of a round: its number (0: nothing is sent), and what `Train` said of the cohort."""

    round: int
    sequence: int
    num_samples: int
    members: int
    share: float
    last: bool = False


@dataclass(frozen=True)
class Exchanged:
    """What the shards answered: exchanges applied at all of them, values, staleness (the most of any shard)."""

    applied: int
    values: ModelState
    staleness: int = 0
    dropped: bool = False


@dataclass(frozen=True)
class Asked:
    """What a trainer says of one exchange with one shard. wanted: table -> row ids, sorted, unique."""

    sequence: int
    members: int
    share: float
    last: bool
    wanted: Mapping[str, Int64Array]
    dense: bool


@dataclass(frozen=True)
class Learned:
    """What a shard said: exchanges of the round that are applied, staleness of this one, whether it was left out."""

    applied: int
    staleness: int
    dropped: bool


# The shard's side.


@dataclass(frozen=True)
class Answered:
    """An answer on its way out, and what is counted of the exchange."""

    answer: Answer
    tables: tuple[str, ...]
    contributed: bool
    received: int

    @property
    def sent_rows(self) -> dict[str, int]:
        """Return the rows of the answer, by table."""
        values = self.answer.values[len(self.answer.values) - len(self.tables) :]
        return {table: len(array) for table, array in zip(self.tables, values, strict=True)}

    @property
    def sent(self) -> int:
        """Return the payload bytes of the answer."""
        return sum(array.nbytes for array in self.answer.values)

    def chunks(self) -> Iterator[bytes]:
        """Yield the answer's chunks."""
        answer, arrays = self.answer, self.answer.values
        dense = len(arrays) > len(self.tables)
        blocks = [Block("", BlockKind.DENSE, arrays[0].nbytes)] if dense else []
        blocks += [Block(t, BlockKind.ROW_VALUES, a.nbytes) for t, a in zip(self.tables, arrays[dense:], strict=True)]
        told = pb.ExchangeAnswer(applied=answer.applied, staleness=answer.staleness, dropped=answer.dropped)
        yield pb.Chunk(answer=told, blocks=blocks_to_proto(blocks)).SerializeToString()
        yield from data_chunks(arrays)


def answer_exchange(shard: Shard, messages: Iterator[bytes], require: Callable[[str], object]) -> Answered:
    """Receive a contribution and apply it. require: raises for a trainer that may not. Raises TransportError."""
    chunk = unpack(next(messages, b"")).header
    if chunk is None or not chunk.HasField("push") or not chunk.HasField("exchange"):
        raise MalformedError("the first chunk of an exchange must hold both its headers")
    header = push_header_from_proto(chunk)
    require(header.trainer)
    wanted = located(shard.model(), chunk.exchange.wanted)
    asked = _exchange(header, chunk.exchange, wanted)  # before there is anything to give back
    staged = None
    if chunk.exchange.sequence:
        intake = shard.open_exchange(header)
        take_in(messages, intake)
        staged = shard.close_exchange(intake)
    elif next(messages, None) is not None:
        raise MalformedError("an exchange with number 0 holds no data")
    answer = shard.exchange(asked, header.round, staged)
    num_bytes = sum(block.num_bytes for block in header.blocks)
    return Answered(answer, tuple(wanted), staged is not None, num_bytes)


def _exchange(header: PushHeader, asked: pb.ExchangeHeader, wanted: Mapping[str, Int64Array]) -> Exchange:
    if not 0.0 < asked.share <= 1.0 or asked.members < 1:
        raise MalformedError(f"exchange of {header.trainer!r}: share {asked.share} of {asked.members} members")
    return Exchange(
        trainer=header.trainer,
        sequence=asked.sequence,
        members=asked.members,
        share=asked.share,
        last=asked.last,
        wanted=wanted,
        dense=not asked.without_dense,
    )


def located(model: ShardModel, rows: Sequence[pb.RowIds]) -> dict[str, Int64Array]:
    """Return where the rows asked for lie in the shard's part, by table; raises MalformedError."""
    wanted = ids_from_proto(rows, (spec.name for spec in model.layout.shared_tables))
    return {table: model.locate(table, ids) for table, ids in wanted.items()}


# The trainer's side.


def exchange_chunks(header: PushHeader, asked: Asked, arrays: Sequence[NDArray[np.generic]]) -> Iterator[bytes]:
    """Yield the chunks of one contribution and what is asked for."""
    yield pb.Chunk(
        push=push_header_to_proto(header),
        exchange=pb.ExchangeHeader(
            sequence=asked.sequence,
            members=asked.members,
            share=asked.share,
            last=asked.last,
            wanted=ids_to_proto(asked.wanted),
            without_dense=not asked.dense,
        ),
        blocks=blocks_to_proto(header.blocks),
    ).SerializeToString()
    yield from data_chunks(arrays)


def read_answer(message: bytes) -> Learned:
    """Decode the first chunk of an answer; raises MalformedError."""
    chunk = unpack(message).header
    if chunk is None or not chunk.HasField("answer"):
        raise MalformedError("the answer to an exchange has no header; the peer speaks another version")
    return Learned(chunk.answer.applied, chunk.answer.staleness, chunk.answer.dropped)
