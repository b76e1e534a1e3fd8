"""The scorer over a real socket: what it answers, and that a malformed request gets a 4xx and nothing else."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_runtime.serving.answers import MAX_BYTES, Answers
from fljob_runtime.serving.feeds import Feed
from fljob_runtime.serving.http import ScoringServer, tls_context
from fljob_runtime.serving.served import Exported
from support.certificates import Authority

LIMIT_S = 30.0
FEEDS = (Feed("item", (), 4), Feed("price"), Feed("tags", (2,), 9, sequence=True))


def scored(columns: list[np.ndarray]) -> np.ndarray:
    """Score item / 4 + price, so that every answer is known."""
    scores: np.ndarray = (columns[0] / 4 + columns[1]).astype(np.float32)
    return scores


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ScoringServer(Answers(Exported({"job": "movies"}, FEEDS, "probability", scored)), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join(LIMIT_S)


def call(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def raw(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def inputs(**changes: Any) -> dict[str, Any]:
    return {"inputs": {"item": [1, 3], "price": [0.5, 0], "tags": [[1], [8, 0, 2]], **changes}}


def post(body: bytes, *, path: str = "/v1/score", length: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body


def told(**changes: Any) -> bytes:
    return post(json.dumps(inputs(**changes)).encode())


MALFORMED = {
    "no such path": post(b"{}", path="/v2/score"),
    "a GET of what is posted": b"GET /v1/score HTTP/1.1\r\nHost: x\r\n\r\n",
    "a POST of what is got": post(b"{}", path="/healthz"),
    "no length": b"POST /v1/score HTTP/1.1\r\nHost: x\r\n\r\n{}",
    "a length in words": post(b"{}", length="two"),
    "a negative length": post(b"{}", length="-1"),
    "a length beyond the limit": post(b"{}", length=str(MAX_BYTES + 1)),
    "a length of a thousand digits": post(b"{}", length="9" * 1000),
    "a body in pieces": b"POST /v1/score HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a body that ends early": post(b"{", length="500"),
    "no JSON": post(b"item=1"),
    "text that is not UTF-8": post(b"\xff\xfe{}"),
    "lists without end": post(b"[" * 100_000),
    "a list": post(b"[1, 2]"),
    "an unknown key": post(b'{"inputs": {}, "model": "x"}'),
    "no inputs": post(b"{}"),
    "a column too few": post(b'{"inputs": {"item": [1]}}'),
    "rows of unequal number": told(item=[1]),
    "no rows": told(item=[], price=[], tags=[]),
    "an id beyond the table": told(item=[1, 4]),
    "an id of a hundred digits": told(item=[1, 10**100]),
    "a truth value": told(item=[1, True]),
    "a fraction for an id": told(item=[1, 1.5]),
    "text for a number": told(price=["1", "2"]),
    "no number": told(price=[0.5, float("nan")]),
    "a number beyond float32": told(price=[0.5, 1e300]),
    "a list for a number": told(price=[[1], [2]]),
    "an empty sequence": told(tags=[[1], []]),
    "a sequence of text": told(tags=[[1], ["a"]]),
    "k of none": post(b'{"inputs": {"price": [1], "tags": [[1]]}, "k": 0}', path="/v1/top-k"),
    "two examples to rank": post(b'{"inputs": {"price": [1, 2], "tags": [[1], [1]]}}', path="/v1/top-k"),
    "a request line without end": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a header without end": b"GET /healthz HTTP/1.1\r\nHost: " + b"a" * 70_000 + b"\r\n\r\n",
    "too many headers": b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    "a PUT": b"PUT /v1/score HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "a DELETE": b"DELETE /v1/signature HTTP/1.1\r\n\r\n",
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\n\r\n",
    "no method": b"FOO / HTTP/1.1\r\n\r\n",
    "a later version of HTTP": b"GET /healthz HTTP/2.0\r\n\r\n",
    "a version in words": b"GET /healthz HTTP/two\r\n\r\n",
    "a POST of the first HTTP": b"POST /v1/score\r\n\r\n",
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "text in place of a request": b"what do you score\r\n\r\n",
}


def test_rows_are_scored(port: int) -> None:
    assert call(port, "POST", "/v1/score", inputs()) == (200, {"probability": [0.75, 0.75]})


def test_the_best_items_of_one_example_are_ranked(port: int) -> None:
    status, answer = call(port, "POST", "/v1/top-k", {"inputs": {"price": [0.5], "tags": [[1]]}, "k": 2})
    assert (status, answer) == (200, {"items": [3, 2], "scores": [1.25, 1.0]})


def test_the_signature_is_told(port: int) -> None:
    assert call(port, "GET", "/v1/signature") == (200, {"job": "movies"})


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_gets_an_answer_of_its_own(port: int, name: str) -> None:
    head, _, body = raw(port, MALFORMED[name]).partition(b"\r\n\r\n")
    version, code, *_ = head.split()
    assert (version[:5], code[:1]) == (b"HTTP/", b"4")
    assert 0 < len(json.loads(body)["error"]) <= 300
    assert call(port, "GET", "/healthz") == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("HEAD", "/healthz", 405, "GET"),
        ("PUT", "/v1/score", 405, "POST"),
        ("GET", "/v1/top-k", 405, "POST"),
        ("POST", "/healthz", 405, "GET"),
        ("DELETE", "/v2", 404, None),
    ],
)
def test_another_method_is_refused_with_the_one_that_is_allowed(
    port: int, method: str, path: str, status: int, allow: str | None
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    connection.request(method, path)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Allow")) == (status, allow)
    assert bool(answer.read()) is (method != "HEAD")
    connection.close()


@pytest.mark.parametrize(
    ("path", "chunked", "status"),
    [
        ("/v1/score", False, 413),
        ("/v1/score", True, 411),
        ("/healthz", False, 405),
        ("/no/such/path", False, 404),
    ],
)
def test_a_body_too_large_is_refused_in_an_answer_that_its_sender_reads(
    port: int, path: str, chunked: bool, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    body = iter([b"x" * MAX_BYTES] * 6) if chunked else b"x" * (6 * MAX_BYTES)
    connection.request("POST", path, body, encode_chunked=chunked)
    answer = connection.getresponse()
    assert (answer.status, list(json.loads(answer.read()))) == (status, ["error"])
    connection.close()


def test_a_body_too_large_is_refused_over_tls_too(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    context = tls_context(*authority.issue("scorer", "scorer", hosts=("127.0.0.1",)))
    with ScoringServer(Answers(Exported({}, FEEDS, "probability", scored)), "127.0.0.1", 0, context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        trusted = ssl.create_default_context(cafile=str(authority.ca))
        connection = http.client.HTTPSConnection(server.url.rpartition("/")[2], timeout=LIMIT_S, context=trusted)
        try:
            connection.request("POST", "/v1/score", b"x" * (6 * MAX_BYTES))
            assert connection.getresponse().status == 413
        finally:
            connection.close()
            server.shutdown()
            thread.join(LIMIT_S)


def test_a_body_without_end_is_not_read_for_ever(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.sendall(bytes(64 << 20))  # of which eight MiB are taken


def test_a_sender_that_stops_in_the_middle_holds_up_nobody(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as slow:
        slow.sendall(b"POST /v1/score HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert call(port, "POST", "/v1/score", inputs())[0] == 200


def test_a_connection_too_many_is_closed_and_one_that_lasts_too_long_is_cut_off() -> None:
    server = ScoringServer(Answers(Exported({}, FEEDS, "probability", scored)), "127.0.0.1", 0)
    server.max_connections, server.life_s = 1, 0.3
    number = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", number), LIMIT_S) as slow:
            slow.sendall(b"GET /healthz HTTP/1.1\r\n")
            assert raw(number, b"") == b""
            assert slow.recv(1000) == b""  # in spite of the ten seconds that each read may take
            assert server.finish(LIMIT_S)
        assert call(number, "GET", "/healthz")[0] == 200
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


def test_a_server_that_drains_is_not_ready_and_still_answers() -> None:
    with ScoringServer(Answers(Exported({}, FEEDS, "probability", scored)), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        number = int(server.server_address[1])
        try:
            assert call(number, "GET", "/readyz")[0] == 200
            server.draining.set()
            assert call(number, "GET", "/readyz") == (503, {"status": "stopping"})
            assert call(number, "GET", "/healthz")[0] == 200
            assert call(number, "POST", "/v1/score", inputs())[0] == 200
        finally:
            server.shutdown()
            thread.join(LIMIT_S)
