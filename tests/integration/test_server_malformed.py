"""A malformed message costs its sender the call, and nothing else: raw streams against a real shard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.framing import blocks_to_proto
from fljob_runtime.transport.row_ids import ids_to_proto
from support.shards import DEADLINE_S, LAYOUT, UID, Servers, credentials, initial, update

(PAYLOAD,) = encode_update(LAYOUT, update(1.0, {3: 1.0, 9: 1.0}), 1)
DATA = b"".join(array.tobytes() for array in PAYLOAD.arrays)  # 36 bytes, ids [head 16, 2], values [16], weights [2]
ONE = np.zeros(1, np.int64)


def first(**changes: object) -> bytes:
    """Return the first chunk of a good push, with some of its header changed."""
    push: dict[str, Any] = {"job_uid": UID, "round": 1, "trainer": "a", "num_samples": 1, **changes}
    return pb.Chunk(push=pb.PushHeader(**push), blocks=blocks_to_proto(PAYLOAD.blocks)).SerializeToString()


def data(content: bytes) -> bytes:
    return pb.Chunk(data=content).SerializeToString()


def announcing(*blocks: pb.Block) -> bytes:
    push = pb.PushHeader(job_uid=UID, round=1, trainer="a", num_samples=1)
    return pb.Chunk(push=push, blocks=blocks).SerializeToString()


NAN = b"\x00\x00\xc0\x7f"
MALFORMED = {
    "nothing at all": [],
    "garbage": [b"\xff\xff\xff\xff"],
    "data before the header": [data(DATA), first()],
    "data in the header": [pb.Chunk(push=pb.PushHeader(job_uid=UID), data=b"x").SerializeToString()],
    "garbage after the header": [first(), b"\xff\xff\xff"],
    "too short": [first(), data(DATA[:-1])],
    "too long": [first(), data(DATA + b"x")],
    "much too long": [first(), data(DATA), *[data(bytes(1 << 20))] * 3],
    "a chunk over a mebibyte": [first(), data(bytes((1 << 20) + 1))],
    "not finite": [first(), data(NAN + DATA[4:])],
    "ids beyond their head": [first(), data(DATA[:44] + b"\x04" + DATA[45:])],
    "another number of ids": [first(), data(DATA[:52] + b"\x07" + DATA[53:])],
    "an id out of range": [first(), data(DATA[:36] + (34).to_bytes(8, "little") + DATA[44:])],
    "a negative id": [first(), data(DATA[:36] + b"\xff" * 8 + DATA[44:])],
    "a weight of zero": [first(), data(DATA[:-1] + bytes(1))],
    "blocks of another size": [announcing(pb.Block(kind=pb.Block.DENSE, num_bytes=40)), data(bytes(40))],
    "an enormous block": [announcing(pb.Block(kind=pb.Block.DENSE, num_bytes=1 << 62))],
    "a private table": [
        announcing(
            pb.Block(kind=pb.Block.DENSE, num_bytes=36),
            pb.Block(name="users", kind=pb.Block.PACKED_IDS, num_bytes=8, num_rows=1),
        )
    ],
    "a kind of block that is not known": [announcing(pb.Block.FromString(b"\x10\x63"))],
    "another job": [first(job_uid="other"), data(DATA)],
    "no samples": [first(num_samples=0), data(DATA)],
}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """One shard with version 0, into which trainer a has pushed round 1."""
    with Servers.start(tmp_path) as started:
        started.round(0, {"a": initial()})
        started.trainer("a").push(1, 0, update(1.0), 1, deadline_s=DEADLINE_S)
        yield started


def send(servers: Servers, messages: list[bytes]) -> grpc.StatusCode:
    """Push raw messages as trainer a and return the status."""
    with credentials("trainer", "a").channel(servers.addresses[0], "server", "0") as channel:
        push = channel.stream_unary("/fljob.v1.ParameterServer/Push")
        call = push.future(iter(messages), timeout=DEADLINE_S)
        failure = call.exception()
        return failure.code() if failure is not None else grpc.StatusCode.OK


@pytest.mark.parametrize("messages", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_push_is_refused_and_what_was_staged_stays(servers: Servers, messages: list[bytes]) -> None:
    before = servers.shards[0].state()
    assert send(servers, messages) is grpc.StatusCode.INVALID_ARGUMENT
    assert servers.shards[0].state() == before


def test_the_good_form_of_those_messages_is_taken(servers: Servers) -> None:
    assert send(servers, [first(attempt=1), data(DATA)]) is grpc.StatusCode.OK


def test_an_aborted_push_changes_nothing(servers: Servers) -> None:
    before = servers.shards[0].state()
    with credentials("trainer", "a").channel(servers.addresses[0], "server", "0") as channel:
        call = channel.stream_unary("/fljob.v1.ParameterServer/Push").future(
            hanging([first(attempt=1), data(DATA[:50])]), timeout=DEADLINE_S
        )
        servers.wait_for_open_calls(1)
        call.cancel()
        servers.wait_for_open_calls(0)
    assert servers.shards[0].state() == before


def hanging(messages: list[bytes]) -> Iterator[bytes]:
    """Yield the messages, then keep the stream open until the call has ended."""
    yield from messages
    never = threading.Event()
    never.wait(DEADLINE_S)


PULLS = {
    "unknown table": pb.PullRequest(rows=ids_to_proto({"genres": ONE})),
    "private table": pb.PullRequest(rows=ids_to_proto({"users": ONE})),
    "half an id": pb.PullRequest(rows=[pb.RowIds(table="items", ids=bytes(12), count=1)]),
    "a table twice": pb.PullRequest(rows=2 * ids_to_proto({"items": ONE})),
    "an id out of range": pb.PullRequest(rows=ids_to_proto({"items": ONE + 40})),
    "more ids than a message may have": pb.PullRequest(rows=[pb.RowIds(table="items", count=1 << 31)]),
}


@pytest.mark.parametrize("request_", PULLS.values(), ids=PULLS.keys())
def test_a_malformed_pull_is_refused(servers: Servers, request_: pb.PullRequest) -> None:
    with credentials("trainer", "a").channel(servers.addresses[0], "server", "0") as channel:
        pull = channel.unary_stream("/fljob.v1.ParameterServer/Pull", pb.PullRequest.SerializeToString)
        with pytest.raises(grpc.RpcError) as refused:
            list(pull(request_, timeout=DEADLINE_S))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_refusals_are_counted_by_kind(servers: Servers) -> None:
    send(servers, [])
    assert 'reason="MalformedError",shard="0"} 1.0' in servers.metrics[0].text().decode()
