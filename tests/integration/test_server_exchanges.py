"""Exchanges over real gRPC with mutual TLS: values, identities, and messages that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fljob_api.strategy import CompressorSpec
from fljob_api.wire import server_pb2 as pb
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.compression import chain
from fljob_runtime.errors import IdentityError, LayoutMismatchError, MalformedError, PrivateParameterError, StaleError
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.parameters import Int64Array, ModelState, RowSet
from fljob_runtime.transport import server_client
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.exchange import Asked, Exchanged, Numbered
from fljob_runtime.transport.framing import blocks_to_proto
from fljob_runtime.transport.row_ids import ids_to_proto
from fljob_runtime.transport.server_client import ServerClient
from fljob_runtime.transport.shard_client import SERVICE, ShardClient
from support.shards import DEADLINE_S, LAYOUT, NUM_ITEMS, UID, Servers, credentials, header, initial, update

NUMBER = Numbered(round=1, sequence=0, num_samples=1, members=1, share=1.0)
ITEMS: dict[str, Int64Array] = {"items": np.arange(NUM_ITEMS, dtype=np.int64)}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Two shards with version 0, all values 0, in a mode that exchanges."""
    with Servers.start(tmp_path, 2, exchange=Geo()) as started:
        started.round(0, {"a": initial()})
        yield started


def exchange(servers: Servers, sequence: int, state: ModelState | None, **changes: Any) -> Exchanged:
    number = replace(NUMBER, sequence=sequence, **changes)
    return servers.trainer("a").exchange(number, state, ITEMS, deadline_s=DEADLINE_S)


def column(exchanged: Exchanged) -> list[float]:
    return [float(value) for value in exchanged.values.rows["items"].values[:, 0]]


def test_values_come_back_from_all_shards_in_the_order_of_ids(servers: Servers) -> None:
    wanted = [float(item) for item in range(NUM_ITEMS)]
    answer = exchange(servers, 1, update(3.0, dict(enumerate(wanted))))
    assert (answer.applied, column(answer)) == (1, wanted)
    assert {float(value) for array in answer.values.dense.values() for value in array.reshape(-1)} == {3.0}


def test_the_cut_is_what_is_pulled(servers: Servers) -> None:
    exchange(servers, 1, update(3.0, {5: 2.0}), last=True)
    accepted = [AcceptedUpdate("a", 1, ())]
    results = servers.coordinator().commit(1, accepted, deadline_s=DEADLINE_S)
    pulled = servers.trainer("b").pull(1, ITEMS, deadline_s=DEADLINE_S)
    assert [result.missing for result in results] == [(), ()]
    assert (pulled.rows["items"].values[5, 0], pulled.dense["bias"][0]) == (2.0, 3.0)


def test_more_ids_than_fit_one_message_are_read_in_several(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_client, "MOST_IDS", 7)
    answer = exchange(servers, 1, update(3.0, {item: float(item) for item in range(NUM_ITEMS)}))
    assert column(answer) == [float(item) for item in range(NUM_ITEMS)]


def test_a_shard_that_went_back_has_the_round_begun_again(servers: Servers) -> None:
    exchange(servers, 1, update(3.0))
    servers.shards[1].restore(0)
    with pytest.raises(StaleError, match="begin the round again"):
        exchange(servers, 2, update(3.0))


def test_one_trainers_certificate_does_not_exchange_for_another(servers: Servers) -> None:
    client = ShardClient(servers.addresses[0], credentials("trainer", "a"), 0)
    payload = encode_update(LAYOUT, update(1.0), 2)[0]
    asked = Asked(1, 1, 1.0, last=False, wanted={}, dense=False)
    with pytest.raises(IdentityError, match="trainer/a may not speak for trainer 'b'"):
        client.exchange(header(payload, 1, "b", attempt=1), asked, payload.arrays, [], deadline_s=DEADLINE_S)
    client.close()


def test_the_coordinator_may_not_exchange(servers: Servers) -> None:
    with pytest.raises(IdentityError, match="only the trainer may"):
        servers.coordinator().exchange(NUMBER, None, ITEMS, deadline_s=DEADLINE_S)


def test_nothing_of_a_private_parameter_is_exchanged(servers: Servers) -> None:
    rows = RowSet(np.array([1], np.int64), np.ones((1, 2), np.float32), np.ones(1))
    with pytest.raises(PrivateParameterError):
        exchange(servers, 1, ModelState(update(1.0).dense, {"users": rows}))
    assert exchange(servers, 0, None).applied == 0


PAYLOAD = encode_update(LAYOUT, update(1.0, {3: 1.0, 9: 1.0}), 1)[0]
ONE = np.zeros(1, np.int64)
DATA = pb.Chunk(data=b"".join(array.tobytes() for array in PAYLOAD.arrays)).SerializeToString()


def first(**changes: Any) -> bytes:
    asked: dict[str, Any] = {"sequence": 1, "members": 1, "share": 1.0, **changes}
    push = pb.PushHeader(job_uid=UID, round=1, trainer="a", attempt=1, num_samples=1)
    blocks = blocks_to_proto(PAYLOAD.blocks)
    return pb.Chunk(push=push, blocks=blocks, exchange=pb.ExchangeHeader(**asked)).SerializeToString()


MALFORMED = {
    "nothing at all": [],
    "garbage": [b"\xff\xff\xff"],
    "a push": [pb.Chunk(push=pb.PushHeader(job_uid=UID, round=1, trainer="a", num_samples=1)).SerializeToString()],
    "too short": [first()],
    "too long": [first(), DATA, DATA],
    "data where none was announced": [first(sequence=0), DATA],
    "no share": [first(share=0.0), DATA],
    "a share that is no number": [first(share=float("nan")), DATA],
    "no members": [first(members=0), DATA],
    "rows of no table": [first(wanted=ids_to_proto({"none": ONE})), DATA],
    "half an id": [first(wanted=[pb.RowIds(table="items", ids=bytes(7), count=1)]), DATA],
    "an id out of range": [first(wanted=ids_to_proto({"items": ONE + 40})), DATA],
    "rows of a private table": [first(wanted=ids_to_proto({"users": ONE})), DATA],
}


@pytest.mark.parametrize("messages", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_exchange_costs_its_sender_the_call_and_changes_nothing(
    tmp_path: Path, messages: list[bytes]
) -> None:
    with Servers.start(tmp_path, exchange=Geo(), memory_bytes=4096) as servers:
        servers.round(0, {"a": initial()})
        channel = credentials("trainer", "a").channel(servers.addresses[0], "server", "0")
        call = channel.stream_stream(f"/{SERVICE}/Exchange")
        for _ in range(12):  # more often than its memory would allow
            with pytest.raises(grpc.RpcError, match=r"INVALID_ARGUMENT"):
                list(call(iter(messages), timeout=DEADLINE_S))
        channel.close()
        answer = exchange(servers, 1, update(2.0))
        assert (answer.applied, answer.values.dense["bias"][0]) == (1, 2.0)


def test_an_exchange_is_refused_where_the_mode_has_none(tmp_path: Path) -> None:
    with Servers.start(tmp_path) as servers:
        servers.round(0, {"a": initial()})
        with pytest.raises(MalformedError, match="the job's mode is Sync"):
            exchange(servers, 0, None)


# Compressed.


@pytest.mark.parametrize(
    "names", [("fp16",), ("bf16",), ("int8",), ("int4",), ("topK",), ("sketch",), ("topK", "int8")]
)
@pytest.mark.parametrize("shards", [1, 2])
def test_what_shards_receive_of_a_compressed_contribution_is_what_the_trainer_thinks(
    tmp_path: Path, names: tuple[str, ...], shards: int
) -> None:
    codecs = chain.make([CompressorSpec(name=name) for name in names], 0)
    state = update(3.0, {item: 0.1 * item for item in range(NUM_ITEMS)})
    with Servers.start(tmp_path, shards, exchange=Geo(), compression=codecs) as servers:
        servers.round(0, {"a": initial()})
        client = ServerClient(servers.addresses, credentials("trainer", "a"), layout=LAYOUT, chain=codecs)
        servers.clients.append(client)
        answer = client.exchange(replace(NUMBER, sequence=1), state, ITEMS, deadline_s=DEADLINE_S)
        repeated = client.exchange(replace(NUMBER, sequence=1), state, ITEMS, deadline_s=DEADLINE_S)
        received = client.as_received(1, 1, state)
    assert np.array_equal(answer.values.rows["items"].values, received.rows["items"].values)
    assert all(np.array_equal(answer.values.dense[name], value) for name, value in received.dense.items())
    assert column(repeated) == column(answer)


def test_a_contribution_in_another_coding_than_the_jobs_is_refused(tmp_path: Path) -> None:
    codecs = chain.make([CompressorSpec(name="int8")], 0)
    with Servers.start(tmp_path, 1, exchange=Geo(), compression=codecs) as servers:
        servers.round(0, {"a": initial()})
        with pytest.raises(LayoutMismatchError, match=r"coded by nothing, this job's strategy\.compression is int8"):
            exchange(servers, 1, update(3.0))


def test_random_bits_of_two_exchanges_of_a_round_differ(tmp_path: Path) -> None:
    codecs = chain.make([CompressorSpec(name="int4")], 0)
    client = ServerClient(["127.0.0.1:1"], credentials("trainer", "a"), layout=LAYOUT, chain=codecs)
    state = update(3.0, {item: 0.1 * item for item in range(NUM_ITEMS)})
    one, other = (client.as_received(1, sequence, state).rows["items"].values for sequence in (1, 2))
    client.close()
    assert not np.array_equal(one, other)
