"""A malformed message costs its sender the call, and nothing else: raw streams against a real shard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.transport.row_ids import ids_to_proto
from support.malformed import DATA, data, first, malformed
from support.shards import DEADLINE_S, Servers, credentials, initial, update

ONE = np.zeros(1, np.int64)


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


@pytest.mark.parametrize("messages", malformed().values(), ids=malformed().keys())
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
