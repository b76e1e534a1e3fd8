"""The scorer over gRPC: service fljob.v1.Scorer, with the answers and the words for faults that HTTP has, and health.

Started by the command line and by the scorer program, where a port for it is given. Messages, rows, calls and
connections are bounded, and a call that is malformed gets a status of its own and changes nothing. TLS by a
certificate's files, if given. There is no authentication. No torch here.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError, Message

from fljob_api.wire import scorer_pb2 as pb
from fljob_runtime.serving import health
from fljob_runtime.serving.answers import BUSY, DEADLINE_S, MAX_BYTES, MAX_ROWS, USUAL_K, Answers, BusyError
from fljob_runtime.serving.feeds import Feed, FeedError

MAX_CALLS = 64
MAX_CONNECTIONS = 256
SERVICE = pb.DESCRIPTOR.services_by_name["Scorer"].full_name
_MAX_WORDS = 1000  # of a fault, which travels in a header
_START_S = 10.0
_END_S = 1.0  # until calls that have been cut off have ended
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what is small packed may be large
    ("grpc.max_concurrent_streams", MAX_CALLS),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)
_T = TypeVar("_T")
_Handle = Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext], Coroutine[Any, Any, bytes]]


class RpcServer:
    """Listens from `start` to `stop`, on a thread of its own: a call that waits for its sender holds up nobody."""

    def __init__(self, answers: Answers, host: str, port: int, tls: tuple[Path, Path] | None = None) -> None:
        """Prepare; port 0 is any, host :: every address of both families. tls: PEM files of certificate and key."""
        self._host, self._port, self._tls = host, port, tls
        self._calls = _Calls(answers)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scorer-grpc", daemon=True)
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        """Return the address as clients write it, but for its scheme, which says whether there is TLS."""
        return f"grpc{'s' if self._tls else ''}://{self._shown}:{self._port}"

    def start(self) -> None:
        """Listen and answer; raises OSError."""
        self._thread.start()
        try:
            self._call(self._start(), _START_S)
        except BaseException:
            self._end()
            raise

    def stop(self, grace_s: float) -> None:
        """Take no call any more, and let those that run end for at most `grace_s`; idempotent."""
        if self._loop.is_closed():
            return
        self._call(self._stop(grace_s), grace_s + _START_S)
        self._end()

    @property
    def _shown(self) -> str:
        return f"[{self._host}]" if ":" in self._host else self._host

    def _call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._server.add_generic_rpc_handlers(self._calls.handlers())
        address = f"{self._shown}:{self._port}"
        try:
            if self._tls:
                certificate, key = (path.read_bytes() for path in self._tls)
                self._port = self._server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
            else:
                self._port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"gRPC: {error}") from error
        await self._server.start()

    async def _stop(self, grace_s: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=_END_S)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()
        self._calls.close()


class _Calls:
    """The calls of both services. A request is read as a stream's first message: its bytes, and the wait, are ours."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._workers = ThreadPoolExecutor(BUSY, "scorer-call")
        self._prober = ThreadPoolExecutor(1, "scorer-health")  # which is not to wait behind those that compute

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        calls: dict[str, tuple[type[Any], Callable[[Any], Message]]] = {
            "Score": (pb.ScoreRequest, self._score),
            "TopK": (pb.TopKRequest, self._top_k),
            "Signature": (pb.SignatureRequest, self._signature),
        }
        check = health.Health(self._answers.draining, (SERVICE,)).check
        return (
            self._service(SERVICE, calls, self._workers),
            self._service(health.SERVICE, {"Check": (health.Request, check)}, self._prober),
        )

    def close(self) -> None:
        for workers in (self._workers, self._prober):
            workers.shutdown(wait=False, cancel_futures=True)

    def _service(
        self, name: str, calls: Mapping[str, tuple[type[Any], Callable[[Any], Message]]], workers: ThreadPoolExecutor
    ) -> grpc.GenericRpcHandler:
        made = {call: self._handle(f"/{name}/{call}", *calls[call], workers) for call in calls}
        return grpc.method_handlers_generic_handler(
            name, {call: grpc.stream_unary_rpc_method_handler(handle) for call, handle in made.items()}
        )

    def _handle(
        self, path: str, kind: type[Any], answer: Callable[[Any], Message], workers: ThreadPoolExecutor
    ) -> _Handle:
        def answered(data: bytes) -> bytes:
            reply: bytes = answer(kind.FromString(data)).SerializeToString()
            return reply

        async def handle(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
            code, words, reply, began = grpc.StatusCode.OK, "", b"", time.monotonic()
            try:
                data = await asyncio.wait_for(anext(messages), DEADLINE_S)
                reply = await asyncio.get_running_loop().run_in_executor(workers, answered, data)
            except FeedError as error:
                code, words = grpc.StatusCode.INVALID_ARGUMENT, str(error)
            except (DecodeError, StopAsyncIteration):
                code, words = grpc.StatusCode.INVALID_ARGUMENT, f"the request is not a {kind.DESCRIPTOR.full_name}"
            except health.UnknownServiceError as error:
                code, words = grpc.StatusCode.NOT_FOUND, str(error)
            except BusyError as error:
                code, words = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
            except TimeoutError:
                code, words = grpc.StatusCode.DEADLINE_EXCEEDED, f"no whole request within {DEADLINE_S:.0f} s"
            self._answers.counts.answered(path, code.name, time.monotonic() - began)
            if code is not grpc.StatusCode.OK:
                await context.abort(code, words[:_MAX_WORDS])
            return reply

        return handle

    def _score(self, request: pb.ScoreRequest) -> pb.ScoreReply:
        scores = self._answers.score(inputs_of(request.columns, self._answers.model.feeds))
        width = scores.shape[1] if scores.ndim > 1 else 0
        return pb.ScoreReply(target=self._answers.model.target, values=scores.reshape(-1).tolist(), width=width)

    def _top_k(self, request: pb.TopKRequest) -> pb.TopKReply:
        k = request.k if request.HasField("k") else USUAL_K
        items, scores = self._answers.top_k(inputs_of(request.columns, self._answers.model.feeds), k)
        return pb.TopKReply(items=items.tolist(), scores=scores.tolist())

    def _signature(self, _: pb.SignatureRequest) -> pb.SignatureReply:
        return pb.SignatureReply(json=json.dumps(dict(self._answers.model.told)))


def inputs_of(columns: Iterable[pb.Column], feeds: Sequence[Feed]) -> dict[str, list[object]]:
    """Return columns as `feeds.arrays` takes them; raises FeedError for what only a message can have wrong."""
    known = {feed.name: feed for feed in feeds}
    inputs: dict[str, list[object]] = {}
    for column in columns:
        if column.name in inputs:
            raise FeedError(f"column {column.name[:40]}: is there twice")
        inputs[column.name] = _rows(column, known.get(column.name))
    return inputs


def _rows(column: pb.Column, feed: Feed | None) -> list[object]:
    """Return the rows of a column, a list each where it has lengths, nested as the model's column is."""
    name = column.name[:40]
    if column.ids and column.numbers:
        raise FeedError(f"column {name}: has ids and numbers; a column has one of them")
    values: list[object] = list(column.ids or column.numbers)
    if not column.lengths:
        return values
    if len(column.lengths) > MAX_ROWS:
        raise FeedError(f"there must be 1 to {MAX_ROWS} rows, not {len(column.lengths)}")
    ends = np.cumsum(column.lengths, dtype=np.int64)
    if ends[-1] != len(values):
        raise FeedError(f"column {name}: lengths add up to {ends[-1]}, and there are {len(values)} values")
    rows = [values[end - length : end] for end, length in zip(ends.tolist(), column.lengths, strict=True)]
    if feed is None or len(feed.shape) < 2:
        return list(rows)
    return [_nested(row, feed.shape) for row in rows]


def _nested(row: list[object], shape: tuple[int, ...]) -> object:
    """Return a flat row as lists of a shape; as it is if it has another number of values, which is told elsewhere."""
    if len(row) != math.prod(shape):
        return row
    for size in reversed(shape[1:]):
        row = [row[at : at + size] for at in range(0, len(row), size)]
    return row
