"""A trainer's end of its stream to the coordinator: instructions in, reports out.

Used by roles.trainer, which also decides when to connect again. One stream is used by at most one reading
thread and any number of reporting ones.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc

from fljob_api import names
from fljob_api.wire import coordinator_pb2 as pb
from fljob_api.wire import coordinator_pb2_grpc as pb_grpc
from fljob_runtime.messages import Hello, Instruction, Report
from fljob_runtime.transport.conversion import instruction_from_proto, report_to_proto
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.errors import UnreachableError, from_rpc

COORDINATOR_NAME = "coordinator"


class CoordinatorStream:
    """One open Join stream. Iterate for instructions; `report` from any thread; `close` when done."""

    def __init__(self, channel: grpc.Channel, credentials: Credentials, address: str) -> None:
        self._channel = channel
        self._address = address
        self._outbox: queue.SimpleQueue[pb.ClientReport | None] = queue.SimpleQueue()
        stub = pb_grpc.CoordinatorStub(channel)
        # No deadline on the call: it lives as long as the job. Keepalive notices a dead peer within 50 s.
        self._call = stub.Join(iter(self._outbox.get, None), metadata=credentials.metadata())

    @classmethod
    def connect(cls, address: str, credentials: Credentials, hello: Hello, *, deadline_s: float) -> CoordinatorStream:
        """Connect within `deadline_s` and say hello.

        Raises UnreachableError; a refusal (IdentityError, StaleError, ...) comes with the first iteration.
        """
        channel = credentials.channel(address, names.ROLE_COORDINATOR, COORDINATOR_NAME)
        try:
            grpc.channel_ready_future(channel).result(timeout=deadline_s)
        except grpc.FutureTimeoutError:
            channel.close()
            raise UnreachableError(f"coordinator {address} did not answer within {deadline_s:g} s") from None
        stream = cls(channel, credentials, address)
        stream.report(hello)
        return stream

    def report(self, report: Report) -> None:
        """Queue a report; lost if the stream breaks, which the iteration then raises."""
        self._outbox.put(report_to_proto(report))

    def __iter__(self) -> Iterator[Instruction]:
        """Yield instructions until the coordinator ends the stream; raises TransportError when it breaks."""
        try:
            for proto in self._call:
                yield instruction_from_proto(proto)
        except grpc.RpcError as failure:
            raise from_rpc(failure, f"stream to coordinator {self._address}") from None

    def close(self) -> None:
        """End the stream; a blocked iteration in another thread ends with UnreachableError."""
        self._outbox.put(None)
        self._call.cancel()
        self._channel.close()
