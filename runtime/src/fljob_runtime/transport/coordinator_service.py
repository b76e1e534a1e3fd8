"""The coordinator's end of the trainers' streams: who is connected, reports in, instructions out.

Used by roles.coordinator. An asyncio server on a thread of its own, so a waiting trainer costs no thread.
Decides nothing about rounds: it checks who speaks and passes frozen values on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

from fljob_api import names
from fljob_api.wire import coordinator_pb2 as pb
from fljob_api.wire import coordinator_pb2_grpc as pb_grpc
from fljob_runtime.messages import Hello, Instruction, Report
from fljob_runtime.transport.conversion import instruction_to_proto, report_from_proto
from fljob_runtime.transport.credentials import SERVER_OPTIONS, Credentials
from fljob_runtime.transport.errors import (
    BusyError,
    IdentityError,
    MalformedError,
    StaleError,
    TransportError,
    fault_metadata,
    fault_of,
)

_CONTROL_DEADLINE_S = 10.0
MAX_QUEUED = 256
_T = TypeVar("_T")

OnReport = Callable[[str, Report], None]
OnGone = Callable[[str], None]
_Join = Callable[[AsyncIterator[pb.ClientReport], grpc.aio.ServicerContext], Coroutine[Any, Any, None]]


class _Stream:
    """One live stream; only touched on the loop's thread. None in the queue ends it."""

    def __init__(self) -> None:
        self.outbox: asyncio.Queue[pb.Instruction | None] = asyncio.Queue(MAX_QUEUED)
        self.replaced = False

    def put(self, item: pb.Instruction | None) -> None:
        """Queue an item; a peer that reads nothing for so long is dropped."""
        try:
            self.outbox.put_nowait(item)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Drop what is queued and end the stream."""
        while not self.outbox.empty():
            self.outbox.get_nowait()
        self.outbox.put_nowait(None)


class CoordinatorService:
    """Serves Coordinator.Join for one job at one incarnation.

    `on_report(trainer, report)` and `on_gone(trainer)` are called on the service's own thread, in stream order,
    and must return at once (put it into a queue). The first report of each stream is a Hello; a newer stream of
    the same trainer replaces the older one without on_gone. Reports of a trainer end with on_gone.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        incarnation: int,
        trainers: frozenset[str],
        on_report: OnReport,
        on_gone: OnGone,
    ) -> None:
        self._credentials = credentials
        self._gate = credentials.gate()
        self._incarnation = incarnation
        self._trainers = trainers
        self._on_report = on_report
        self._on_gone = on_gone
        self._streams: dict[str, _Stream] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="coordinator-grpc", daemon=True)
        self._server: grpc.aio.Server | None = None

    def start(self, address: str) -> int:
        """Listen on host:port (port 0: any) and return the port; raises OSError when it cannot be bound."""
        self._thread.start()
        return self._call(self._start(address))

    def send(self, trainer: str, instruction: Instruction) -> None:
        """Queue an instruction for a trainer, from any thread; dropped if the trainer is not connected.

        A trainer that reconnects sends Hello again, upon which the caller repeats what still holds.
        """
        proto = instruction_to_proto(instruction)
        self._loop.call_soon_threadsafe(self._put, trainer, proto)

    def close(self, trainer: str) -> None:
        """End a trainer's stream after what is already queued for it, from any thread."""
        self._loop.call_soon_threadsafe(self._put, trainer, None)

    def stop(self, grace_s: float = 1.0) -> None:
        """Let streams send what is queued for at most `grace_s`, then end all; idempotent."""
        if not self._thread.is_alive():
            return
        self._call(self._stop(grace_s), _CONTROL_DEADLINE_S + grace_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONTROL_DEADLINE_S)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float = _CONTROL_DEADLINE_S) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    async def _start(self, address: str) -> int:
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        pb_grpc.add_CoordinatorServicer_to_server(_Servicer(self._join), self._server)
        port = self._credentials.listen(self._server, address)
        await self._server.start()
        return port

    async def _stop(self, grace_s: float) -> None:
        for stream in self._streams.values():
            stream.put(None)
        if self._server is not None:
            await self._server.stop(grace_s)

    def _put(self, trainer: str, item: pb.Instruction | None) -> None:
        stream = self._streams.get(trainer)
        if stream is not None:
            stream.put(item)

    async def _join(self, reports: AsyncIterator[pb.ClientReport], context: grpc.aio.ServicerContext) -> None:
        stream = _Stream()
        trainer, reader = "", None
        try:
            hello = await self._first(reports, context)
            trainer = hello.trainer
            self._admit(trainer, stream)
            self._on_report(trainer, hello)
            reader = asyncio.create_task(self._read(trainer, reports, stream))
            while (item := await stream.outbox.get()) is not None:
                await context.write(item)
            if reader.done():
                reader.result()
        except TransportError as error:
            await context.abort(fault_of(error).status, str(error), fault_metadata(error))
        finally:
            if reader is not None:
                reader.cancel()
            if self._streams.get(trainer) is stream:
                del self._streams[trainer]
                self._on_gone(trainer)

    async def _first(self, reports: AsyncIterator[pb.ClientReport], context: grpc.aio.ServicerContext) -> Hello:
        """Return the Hello that opens a stream, of a trainer that is who it says; raises TransportError."""
        caller = self._gate.require(context, names.ROLE_TRAINER)
        first = await anext(reports, None)
        hello = report_from_proto(first) if first is not None else None
        if not isinstance(hello, Hello):
            raise MalformedError("the first report of a stream must be a Hello")
        if hello.trainer != caller.name or hello.job_uid != caller.uid:
            raise IdentityError(f"{caller} may not speak for trainer {hello.trainer!r} of {hello.job_uid!r}")
        if hello.trainer not in self._trainers:
            raise IdentityError(f"trainer {hello.trainer!r} is not in spec.trainers")
        if hello.incarnation != self._incarnation:
            raise StaleError(
                f"trainer {hello.trainer!r} is of incarnation {hello.incarnation}, the job of {self._incarnation}"
            )
        return hello

    def _admit(self, trainer: str, stream: _Stream) -> None:
        older = self._streams.pop(trainer, None)
        self._streams[trainer] = stream
        if older is not None:
            older.end()

    async def _read(self, trainer: str, reports: AsyncIterator[pb.ClientReport], stream: _Stream) -> None:
        """Pass reports on until the stream ends, then end its other half too."""
        try:
            async for proto in reports:
                report = report_from_proto(proto)
                if isinstance(report, Hello):
                    raise MalformedError("a second Hello in one stream")
                if self._streams.get(trainer) is not stream:
                    raise BusyError(f"trainer {trainer!r} has a newer stream")
                self._on_report(trainer, report)
        finally:
            stream.put(None)


class _Servicer(pb_grpc.CoordinatorServicer):
    """Binds Join as a coroutine: its cleanup runs at once when a call is cancelled, a generator's only later."""

    def __init__(self, join: _Join) -> None:
        self._join = join

    async def Join(  # noqa: N802 - generated name
        self, request_iterator: AsyncIterator[pb.ClientReport], context: grpc.aio.ServicerContext
    ) -> None:
        """Serve one stream."""
        await self._join(request_iterator, context)
