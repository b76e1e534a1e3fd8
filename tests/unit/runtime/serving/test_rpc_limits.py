"""The scorer's gRPC port under pressure: what is bounded, what holds up nobody, how it stops, and TLS."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from unit.runtime.serving.faces import FEEDS, LIMIT_S, OWN, Faces, faces_of, numbers, request, scored

from fljob_api.wire import scorer_pb2 as pb
from fljob_api.wire import scorer_pb2_grpc as stubs
from fljob_runtime.serving import answers as answers_module
from fljob_runtime.serving import rpc as rpc_module
from fljob_runtime.serving.answers import BUSY, MAX_VALUES, Answers
from fljob_runtime.serving.feeds import Feed
from fljob_runtime.serving.rpc import MAX_CALLS, MAX_CONNECTIONS, RpcServer
from fljob_runtime.serving.served import Exported
from support.certificates import Authority


@pytest.fixture(scope="module")
def faces() -> Iterator[Faces]:
    with faces_of(Exported({"job": "movies"}, FEEDS, "probability", scored)) as made:
        yield made


def test_noise_on_the_port_changes_nothing(faces: Faces) -> None:
    host, _, port = faces.rpc.url.removeprefix("grpc://").partition(":")
    for sent in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    ):
        with socket.create_connection((host, int(port)), LIMIT_S) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    assert len(faces.scorer.Score(request(), timeout=LIMIT_S).values) == 2


def test_senders_that_stop_in_the_middle_hold_up_nobody(faces: Faces) -> None:
    gone = threading.Event()

    def never() -> Iterator[bytes]:
        gone.wait(LIMIT_S)
        yield from ()

    call = faces.channel.stream_unary("/fljob.v1.Scorer/Score")
    slow = [call.future(never(), timeout=LIMIT_S) for _ in range(2 * BUSY)]
    try:
        assert len(faces.scorer.Score(request(), timeout=LIMIT_S).values) == 2
    finally:
        gone.set()
    assert {one.code() for one in slow} == {grpc.StatusCode.INVALID_ARGUMENT}


def test_a_request_that_does_not_come_whole_in_time_is_given_up(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "DEADLINE_S", 0.1)
    gone = threading.Event()
    try:
        with pytest.raises(grpc.RpcError) as error:
            faces.channel.stream_unary("/fljob.v1.Scorer/Score")(
                iter(lambda: gone.wait(LIMIT_S), True), timeout=LIMIT_S
            )
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no whole request" in error.value.details()
    finally:
        gone.set()


def test_connections_too_many_are_closed() -> None:
    with faces_of(Exported({}, FEEDS, "probability", scored)) as made:
        host, _, port = made.rpc.url.removeprefix("grpc://").partition(":")
        with ExitStack() as opened:
            taken = [
                opened.enter_context(socket.create_connection((host, int(port)), LIMIT_S))
                for _ in range(MAX_CONNECTIONS)
            ]
            assert all(connection.recv(9) for connection in taken)  # each got the server's settings
            with socket.create_connection((host, int(port)), LIMIT_S) as more:
                assert more.recv(9) == b""
        assert json.loads(made.scorer.Signature(pb.SignatureRequest(), wait_for_ready=True, timeout=LIMIT_S).json) == {}


def test_an_answer_too_large_is_refused() -> None:
    width = MAX_VALUES // 2 + 1
    wide = Exported({}, (Feed("x"),), "scores", lambda c: np.zeros((len(c[0]), width), np.float32), width=width)
    with faces_of(wide) as made:
        with pytest.raises(grpc.RpcError) as error:
            made.scorer.Score(pb.ScoreRequest(columns=[numbers("x", 1, 2)]), timeout=LIMIT_S)
        status, told = made.post("/v1/score", {"inputs": {"x": [1, 2]}})
    assert (error.value.code(), status) == (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert error.value.details() == told["error"]
    assert "send fewer rows" in told["error"]


def test_an_output_that_is_not_finite_is_the_fault_of_the_numbers_sent() -> None:
    model = Exported({}, (Feed("x"),), "probability", lambda c: np.where(c[0] > 9, np.nan, c[0]))
    with faces_of(model) as made:
        with pytest.raises(grpc.RpcError) as error:
            made.scorer.Score(pb.ScoreRequest(columns=[numbers("x", 1, 10)]), timeout=LIMIT_S)
        status, told = made.post("/v1/score", {"inputs": {"x": [1, 10]}})
    assert (error.value.code(), status) == (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert error.value.details() == told["error"] == "row 1: the model's output is not finite for these numbers"


@contextmanager
def held() -> Iterator[tuple[Faces, threading.Event, threading.Semaphore]]:
    """Yield faces of a model that computes until the event is set; the semaphore counts computations begun."""
    go, began = threading.Event(), threading.Semaphore(0)

    def run(columns: list[np.ndarray]) -> np.ndarray:
        began.release()
        go.wait(LIMIT_S)
        return columns[0]

    with faces_of(Exported({}, (Feed("x"),), "probability", run)) as made:
        try:
            yield made, go, began
        finally:
            go.set()


def test_calls_too_many_at_a_time_are_refused_and_the_others_answered() -> None:
    one = pb.ScoreRequest(columns=[numbers("x", 5)])
    with held() as (made, go, began):
        calls = [made.scorer.Score.future(one, timeout=LIMIT_S) for _ in range(MAX_CALLS)]
        for _ in range(BUSY):
            assert began.acquire(timeout=LIMIT_S)
        with grpc.insecure_channel(made.rpc.url.removeprefix("grpc://"), OWN) as other:
            refused = [stubs.ScorerStub(other).Score.future(one, timeout=LIMIT_S) for _ in range(MAX_CALLS)]
            codes = [call.code() for call in refused[:1]]
        go.set()
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert {call.result().values[0] for call in calls} == {5}


def test_both_faces_take_turns_at_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "DEADLINE_S", 0.05)
    with held() as (made, go, began):
        calls = [made.scorer.Score.future(pb.ScoreRequest(columns=[numbers("x", 5)])) for _ in range(BUSY)]
        for _ in range(BUSY):
            assert began.acquire(timeout=LIMIT_S)
        assert made.post("/v1/score", {"inputs": {"x": [1]}}) == (503, {"error": "too many requests at a time"})
        go.set()
        assert {call.result().values[0] for call in calls} == {5}


def test_a_health_check_waits_for_nobody_who_computes() -> None:
    with held() as (made, go, began):
        calls = [made.scorer.Score.future(pb.ScoreRequest(columns=[numbers("x", 5)])) for _ in range(BUSY)]
        for _ in range(BUSY):
            assert began.acquire(timeout=LIMIT_S)
        assert made.raw(b"", "/grpc.health.v1.Health/Check") == b"\x08\x01"
        go.set()
        assert {call.result().values[0] for call in calls} == {5}


def test_a_call_that_runs_is_answered_while_the_server_stops() -> None:
    with held() as (made, go, began):
        call = made.scorer.Score.future(pb.ScoreRequest(columns=[numbers("x", 5)]), timeout=LIMIT_S)
        assert began.acquire(timeout=LIMIT_S)
        threading.Timer(0.2, go.set).start()
        made.rpc.stop(LIMIT_S)
        assert call.result().values[0] == 5
        with pytest.raises(grpc.RpcError) as error:
            made.scorer.Signature(pb.SignatureRequest(), timeout=LIMIT_S)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_it_shows_its_certificate(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    pair = authority.issue("scorer", "scorer", hosts=("127.0.0.1",))
    rpc = RpcServer(Answers(Exported({"job": "movies"}, FEEDS, "probability", scored)), "127.0.0.1", 0, pair)
    rpc.start()
    try:
        address = rpc.url.removeprefix("grpcs://")
        trust = grpc.ssl_channel_credentials(authority.ca.read_bytes())
        with grpc.secure_channel(address, trust) as channel, grpc.insecure_channel(address) as plain:
            assert len(stubs.ScorerStub(channel).Score(request(), timeout=LIMIT_S).values) == 2
            with pytest.raises(grpc.RpcError) as error:
                stubs.ScorerStub(plain).Score(request(), timeout=LIMIT_S)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        rpc.stop(LIMIT_S)


def test_a_port_in_use_is_told(faces: Faces) -> None:
    port = int(faces.rpc.url.rpartition(":")[2])
    with pytest.raises(OSError, match="bind"):
        RpcServer(Answers(Exported({}, FEEDS, "probability", scored)), "127.0.0.1", port).start()
