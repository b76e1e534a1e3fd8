"""Chunks of the tensor streams as bytes: protobuf's encoding of `Chunk`, with one copy per end.

Used by shard_service, shard_client and exchange in place of the generated serializers, which copy a chunk's data
three times. A chunk that holds only data is the tag of field 3, its length and the data; all else is a plain Chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.errors import MalformedError
from fljob_runtime.server.staging import Block, BlockKind, Intake, PushHeader
from fljob_runtime.transport.conversion import MAX_LAYOUT_BYTES
from fljob_runtime.transport.credentials import CHUNK_BYTES

_DATA_TAG = (pb.Chunk.DESCRIPTOR.fields_by_name["data"].number << 3) | 2
_MAX_VARINT_BYTES = 5
_KINDS = {
    BlockKind.DENSE: pb.Block.DENSE,
    BlockKind.PACKED_IDS: pb.Block.PACKED_IDS,
    BlockKind.ROW_VALUES: pb.Block.ROW_VALUES,
    BlockKind.PACKED_WEIGHTS: pb.Block.PACKED_WEIGHTS,
    BlockKind.CODED: pb.Block.CODED,
}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}


@dataclass(frozen=True)
class Frame:
    """One received chunk: its header, if it has one, and its data."""

    header: pb.Chunk | None
    data: memoryview


def pack_data(*pieces: memoryview) -> bytes:
    """Return the encoding of a Chunk that holds only data: these pieces, one behind the other."""
    length, prefix = sum(len(piece) for piece in pieces), bytearray((_DATA_TAG,))
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return b"".join((prefix, *pieces))


def unpack(message: bytes) -> Frame:
    """Decode a Chunk without copying its data; raises MalformedError."""
    if message[:1] == bytes((_DATA_TAG,)):
        length, used = _varint(message, 1)
        if used + length == len(message):
            return _bounded(Frame(None, memoryview(message)[used:]))
    try:
        chunk = pb.Chunk.FromString(message)
    except DecodeError as error:
        raise MalformedError(f"not a Chunk: {error}") from error
    return _bounded(Frame(chunk, memoryview(chunk.data)))


def identity(message: bytes) -> bytes:
    """Pass bytes through grpc; decoding happens in the handler, where a fault can be answered."""
    return message


def data_chunks(arrays: Iterable[NDArray[np.generic]]) -> Iterator[bytes]:
    """Yield the encoded chunks of a payload: all arrays in a row, in full chunks but for the last."""
    pieces: list[memoryview] = []
    room = CHUNK_BYTES
    for array in arrays:
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while view:
            pieces.append(view[:room])
            view, room = view[room:], room - len(pieces[-1])
            if room == 0:
                yield pack_data(*pieces)
                pieces, room = [], CHUNK_BYTES
    if pieces:
        yield pack_data(*pieces)


def blocks_to_proto(blocks: Iterable[Block]) -> list[pb.Block]:
    """Encode block headers."""
    return [pb.Block(name=b.name, kind=_KINDS[b.kind], num_bytes=b.num_bytes, num_rows=b.num_rows) for b in blocks]


def blocks_from_proto(blocks: Iterable[pb.Block]) -> tuple[Block, ...]:
    """Decode block headers; raises MalformedError."""
    try:
        return tuple(Block(b.name, _KINDS_BACK[b.kind], b.num_bytes, b.num_rows) for b in blocks)
    except KeyError as error:
        raise MalformedError(f"unknown kind of block {error}; the peer speaks another version") from None


def push_header_to_proto(header: PushHeader) -> pb.PushHeader:
    """Encode an update's identity; its blocks travel beside it."""
    return pb.PushHeader(
        job_uid=header.job_uid,
        incarnation=header.incarnation,
        round=header.round,
        trainer=header.trainer,
        attempt=header.attempt,
        num_samples=header.num_samples,
        layout=header.layout,
        codecs=header.codecs,
    )


def push_header_from_proto(chunk: pb.Chunk) -> PushHeader:
    """Decode the identity and the blocks of an update; raises MalformedError."""
    p = chunk.push
    if len(p.layout) > MAX_LAYOUT_BYTES:
        raise MalformedError(f"layout of {len(p.layout)} bytes; at most {MAX_LAYOUT_BYTES} are allowed")
    return PushHeader(
        job_uid=p.job_uid,
        incarnation=p.incarnation,
        round=p.round,
        trainer=p.trainer,
        attempt=p.attempt,
        num_samples=p.num_samples,
        blocks=blocks_from_proto(chunk.blocks),
        layout=p.layout,
        codecs=tuple(p.codecs),
    )


def take_in(messages: Iterable[bytes], intake: Intake) -> None:
    """Write all chunks of a payload; the intake is aborted when that, or the stream, fails."""
    try:
        for message in messages:
            intake.write(unpack(message).data)
    except BaseException:
        intake.abort()
        raise


def _bounded(frame: Frame) -> Frame:
    if len(frame.data) > CHUNK_BYTES:
        raise MalformedError(f"a chunk of {len(frame.data)} bytes; at most {CHUNK_BYTES} are allowed")
    return frame


def _varint(message: bytes, start: int) -> tuple[int, int]:
    """Return (value, position behind it)."""
    value = 0
    for index, byte in enumerate(message[start : start + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    raise MalformedError("not a Chunk: its length does not end")
