"""Chunks by hand are protobuf's chunks."""

from __future__ import annotations

import numpy as np
import pytest

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.errors import MalformedError
from fljob_runtime.server.staging import Block, BlockKind
from fljob_runtime.transport.credentials import CHUNK_BYTES
from fljob_runtime.transport.framing import blocks_from_proto, blocks_to_proto, data_chunks, pack_data, unpack


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, CHUNK_BYTES])
def test_data_is_packed_as_protobuf_packs_it(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert pack_data(memoryview(data)[:size]) == pb.Chunk(data=data[:size]).SerializeToString()


@pytest.mark.parametrize("size", [1, 127, 128, 16_384, CHUNK_BYTES])
def test_packed_data_comes_back(size: int) -> None:
    frame = unpack(pb.Chunk(data=b"x" * size).SerializeToString())
    assert (frame.header, bytes(frame.data)) == (None, b"x" * size)


def test_a_header_comes_back_with_its_data() -> None:
    chunk = pb.Chunk(push=pb.PushHeader(trainer="a", round=3), data=b"12")
    frame = unpack(chunk.SerializeToString())
    assert (frame.header, bytes(frame.data)) == (chunk, b"12")


@pytest.mark.parametrize("message", [b"\x1a", b"\x1a\x05ab", b"\x1a" + b"\xff" * 6, b"\xff\xff\xff", b"\x1a\x80"])
def test_what_is_no_chunk_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedError, match="not a Chunk"):
        unpack(message)


def test_a_chunk_over_the_limit_is_refused() -> None:
    with pytest.raises(MalformedError, match="at most 1048576"):
        unpack(pb.Chunk(data=bytes(CHUNK_BYTES + 1)).SerializeToString())


def test_an_array_is_cut_into_chunks_of_a_mebibyte() -> None:
    sizes = [len(unpack(message).data) for message in data_chunks([np.zeros(CHUNK_BYTES // 4 + 3, np.float32)])]
    assert sizes == [CHUNK_BYTES, 12]


def test_small_arrays_share_a_chunk() -> None:
    messages = list(data_chunks([np.array([1, 2], np.uint8), np.empty(0, np.int64), np.array([3], np.uint8)]))
    assert [bytes(unpack(message).data) for message in messages] == [b"\1\2\3"]


def test_an_array_begins_where_the_one_before_ended_within_a_chunk() -> None:
    arrays = [np.zeros(CHUNK_BYTES - 1, np.uint8), np.array([7, 8], np.uint8)]
    assert [bytes(unpack(message).data)[-1] for message in data_chunks(arrays)] == [7, 8]


def test_blocks_come_back() -> None:
    kinds = set(BlockKind) - {BlockKind.ROW_IDS, BlockKind.ROW_WEIGHTS}
    blocks = tuple(Block(kind.value, kind, 8, 3) for kind in sorted(kinds))
    assert blocks_from_proto(blocks_to_proto(blocks)) == blocks


def test_an_unknown_kind_of_block_is_refused() -> None:
    message = pb.Chunk.FromString(b"\x12\x02\x10\x63")  # one block of kind 99
    with pytest.raises(MalformedError, match="unknown kind of block 99"):
        blocks_from_proto(message.blocks)
