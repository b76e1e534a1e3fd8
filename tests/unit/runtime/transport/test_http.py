"""The plain port."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from fljob_runtime.transport.http import HttpPort


@pytest.fixture
def reasons() -> dict[str, str]:
    return {"health": "", "ready": ""}


@pytest.fixture
def port(reasons: dict[str, str]) -> Iterator[int]:
    served = HttpPort(lambda: b"fljob_round 3\n", healthy=lambda: reasons["health"], ready=lambda: reasons["ready"])
    yield served.start("127.0.0.1", 0)
    served.stop()


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_all_is_well(port: int, path: str) -> None:
    assert get(port, path) == (200, b"ok\n")


def test_not_ready_says_why(port: int, reasons: dict[str, str]) -> None:
    reasons["ready"] = "waiting for trainers"
    assert get(port, "/readyz") == (503, b"waiting for trainers\n")
    assert get(port, "/healthz")[0] == 200


def test_unhealthy_says_why(port: int, reasons: dict[str, str]) -> None:
    reasons["health"] = "stuck"
    assert get(port, "/healthz") == (503, b"stuck\n")


def test_metrics_are_served(port: int) -> None:
    assert get(port, "/metrics") == (200, b"fljob_round 3\n")


@pytest.mark.parametrize("path", ["/", "/metrics/../secret", "/debug"])
def test_there_is_nothing_else(port: int, path: str) -> None:
    assert get(port, path)[0] == 404


def test_every_address_means_both_families() -> None:
    served = HttpPort(lambda: b"")
    port = served.start("[::]", 0)
    try:
        assert get(port, "/healthz", "127.0.0.1")[0] == 200
    finally:
        served.stop()


def test_a_port_in_use_is_an_oserror(port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpPort(lambda: b"").start("127.0.0.1", port)
