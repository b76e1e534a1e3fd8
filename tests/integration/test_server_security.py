"""Who gets an answer from a shard: real gRPC on loopback with mutual TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from fljob_api import names, pki
from fljob_api.wire import server_pb2 as pb
from fljob_api.wire import server_pb2_grpc as pb_grpc
from fljob_runtime.errors import IdentityError, PrivateParameterError, UnreachableError
from fljob_runtime.parameters import ModelState, RowSet
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.server_client import ServerClient
from fljob_runtime.transport.shard_client import ShardClient
from support.shards import DEADLINE_S, LAYOUT, UID, Servers, authority, credentials, header, initial, update

SHORT_S = 1.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """One shard with version 0."""
    with Servers.start(tmp_path) as started:
        started.round(0, {"a": initial()})
        yield started


def ask(address: str, presented: Credentials) -> None:
    client = ServerClient([address], presented)
    try:
        client.state(deadline_s=SHORT_S)
    finally:
        client.close()


def test_plain_text_gets_no_answer(servers: Servers) -> None:
    with pytest.raises(UnreachableError):
        ask(servers.addresses[0], Credentials.insecure(Identity(UID, "coordinator", "coordinator")))


def test_tls_without_a_certificate_gets_no_answer(servers: Servers) -> None:
    channel = grpc.secure_channel(
        servers.addresses[0],
        grpc.ssl_channel_credentials(authority(UID).certificate),
        options=[("grpc.ssl_target_name_override", names.tls_host(UID, "server", "0"))],
    )
    with channel, pytest.raises(grpc.RpcError) as refused:
        pb_grpc.ParameterServerStub(channel).State(pb.StateRequest(), timeout=SHORT_S)
    assert refused.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_certificate_of_another_authority_gets_no_answer(servers: Servers) -> None:
    own = credentials("coordinator", "coordinator")
    foreign = pki.issue(pki.make_authority(UID), "coordinator", "coordinator")
    forged = Credentials(own.identity, own.authority, foreign.certificate, foreign.key)
    with pytest.raises(UnreachableError):
        ask(servers.addresses[0], forged)


def test_the_connection_is_tls_1_3(servers: Servers, tmp_path: Path) -> None:
    leaf = pki.issue(authority(UID), "trainer", "a")
    for name, content in leaf.files().items():
        (tmp_path / name).write_bytes(content)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = servers.addresses[0].partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname=names.tls_host(UID, "server", "0")) as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"


def test_a_trainer_may_not_commit(servers: Servers) -> None:
    with pytest.raises(IdentityError, match="trainer/a may not do this: only the coordinator may"):
        servers.trainer("a").commit(1, [], deadline_s=DEADLINE_S)


def test_a_trainer_may_not_ask_for_state(servers: Servers) -> None:
    with pytest.raises(IdentityError):
        servers.trainer("a").state(deadline_s=DEADLINE_S)


def test_a_trainer_may_not_restore(servers: Servers) -> None:
    with pytest.raises(IdentityError):
        servers.trainer("a").restore(-1, deadline_s=DEADLINE_S)
    assert servers.shards[0].state().versions == (0,)


def test_a_trainer_may_not_shut_the_server_down(servers: Servers) -> None:
    with pytest.raises(IdentityError):
        servers.trainer("a").shutdown("mine", deadline_s=DEADLINE_S)
    assert servers.shutdowns == []


def test_the_coordinator_may(servers: Servers) -> None:
    servers.coordinator().shutdown("done", deadline_s=DEADLINE_S)
    assert servers.shutdowns == ["done"]


def test_the_coordinator_may_not_push(servers: Servers) -> None:
    with pytest.raises(IdentityError, match="only the trainer may"):
        servers.coordinator().push(1, 0, update(1.0), 1, deadline_s=DEADLINE_S)


def test_another_shard_may_not_pull(servers: Servers) -> None:
    with pytest.raises(IdentityError):
        servers.client("server", "1").pull(0, {}, deadline_s=DEADLINE_S)


def test_one_trainer_s_certificate_does_not_speak_for_another(servers: Servers) -> None:
    client = ShardClient(servers.addresses[0], credentials("trainer", "a"), 0)
    (payload,) = encode_update(LAYOUT, update(1.0), 1)
    with pytest.raises(IdentityError, match="trainer/a may not speak for trainer 'b'"):
        client.push(header(payload, 1, "b"), payload.arrays, deadline_s=DEADLINE_S)
    client.close()
    assert servers.shards[0].state().staged == ()


def test_a_trainer_cannot_stand_in_for_a_shard(tmp_path: Path) -> None:
    posing = credentials("trainer", "a")
    with Servers.start(tmp_path, make=lambda *_: posing) as impostor, pytest.raises(UnreachableError):
        ask(impostor.addresses[0], credentials("coordinator", "coordinator"))


def test_one_shard_cannot_stand_in_for_another(servers: Servers) -> None:
    swapped = ServerClient([servers.addresses[0]] * 2, credentials("coordinator", "coordinator"))
    with pytest.raises(UnreachableError, match="shard 1"):
        swapped.state(deadline_s=SHORT_S)
    swapped.close()


def test_nothing_of_a_private_parameter_reaches_the_server(servers: Servers) -> None:
    rows = RowSet(np.array([1], np.int64), np.ones((1, 2), np.float32), np.ones(1))
    before = servers.coordinator().state(deadline_s=DEADLINE_S)[0].bytes_received
    with pytest.raises(PrivateParameterError):
        servers.trainer("a").push(1, 0, ModelState(update(1.0).dense, {"users": rows}), 1, deadline_s=DEADLINE_S)
    assert servers.coordinator().state(deadline_s=DEADLINE_S)[0].bytes_received == before


def test_with_tls_disabled_roles_are_still_told_apart(tmp_path: Path) -> None:
    with Servers.start(tmp_path, secure=False) as servers:
        servers.round(0, {"a": initial(2.0)})
        assert servers.trainer("a").pull(0, {}, deadline_s=DEADLINE_S).dense["bias"].tolist() == [2.0] * 3
        with pytest.raises(IdentityError):
            servers.trainer("a").shutdown("mine", deadline_s=DEADLINE_S)
