"""What a server does that no real one does on demand: silence, rubbish, refusal. The rest: tests/conformance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fljob_operator.cluster import ClusterError, NameTakenError, RealCluster
from fljob_operator.metrics import OperatorMetrics
from support.processes import free_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client_of(port: int, folder: Path, timeout_s: float = 5.0) -> AsyncIterator[RealCluster]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "x", "user": {}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    cluster = await RealCluster.connect(path, timeout_s, OperatorMetrics())
    try:
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def answering(handler: Handler, folder: Path, timeout_s: float = 5.0) -> AsyncIterator[RealCluster]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server, client_of(server.sockets[0].getsockname()[1], folder, timeout_s) as cluster:
        yield cluster


def saying(status: str, body: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    return handler


async def failure(cluster: RealCluster) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await cluster.get("ConfigMap", "lab", "a")
    return caught.value


async def test_a_server_that_never_answers_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    done = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with answering(silent, tmp_path, timeout_s=0.2) as cluster:
        async with asyncio.timeout(5.0):
            error = await failure(cluster)
        done.set()
    assert (error.code, error.retriable) == (0, True)
    assert "TimeoutError" in str(error)


async def test_a_server_that_is_not_there_is_an_error_that_says_which_call(tmp_path: Path) -> None:
    async with client_of(free_port(), tmp_path) as cluster:
        error = await failure(cluster)
        counted = cluster.metrics.registry.get_sample_value(
            "fljob_operator_api_requests_total", {"verb": "GET", "code": "0"}
        )
    assert (error.code, error.retriable) == (0, True)
    assert str(error).startswith("GET /api/v1/namespaces/lab/configmaps/a: ")
    assert counted == 1.0


async def test_a_connection_that_breaks_off_may_be_tried_again(tmp_path: Path) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with answering(rude, tmp_path) as cluster:
        error = await failure(cluster)
    assert (error.code, error.retriable) == (0, True)


@pytest.mark.parametrize(
    ("status", "body", "code", "retriable", "words"),
    [
        ("502 Bad Gateway", b"<html>no upstream</html>", 502, True, "<html>no upstream</html>"),
        ("429 Too Many Requests", b'{"message": "slow down"}', 429, True, "slow down"),
        ("500 Internal", b'{"message": "etcd is away"}', 500, True, "etcd is away"),
        ("410 Gone", b'{"message": "the continue token is too old"}', 410, False, "the continue token is too old"),
        ("400 Bad Request", b"{}", 400, False, ""),
    ],
)
async def test_an_answer_becomes_its_code_and_words(
    tmp_path: Path, status: str, body: bytes, code: int, retriable: bool, words: str
) -> None:
    async with answering(saying(status, body), tmp_path) as cluster:
        error = await failure(cluster)
    assert (error.code, error.retriable, str(error)) == (code, retriable, words)


async def test_words_are_cut_to_what_a_condition_takes(tmp_path: Path) -> None:
    async with answering(saying("502 Bad Gateway", b"x" * 5000), tmp_path) as cluster:
        error = await failure(cluster)
    assert len(str(error)) == 1024


async def test_what_is_written_is_counted_by_kind(tmp_path: Path) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "lab"}}
    async with answering(saying("200 OK", b"{}"), tmp_path) as cluster:
        await cluster.apply(manifest)
        await cluster.create(manifest)
        counted = cluster.metrics.registry.get_sample_value(
            "fljob_operator_children_applied_total", {"kind": "ConfigMap"}
        )
    assert counted == 2.0


def test_a_taken_name_is_the_users_to_mend() -> None:
    error = NameTakenError("Service", "movies-fl")
    assert (error.code, error.retriable) == (409, False)
