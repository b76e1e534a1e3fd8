"""Calls to one shard. Used by server_client, which knows about all of them.

Every call has a deadline and is safe to repeat; a stream that breaks is started again from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fljob_api import names
from fljob_api.wire import server_pb2 as pb
from fljob_api.wire import server_pb2_grpc as pb_grpc
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import MalformedError, UnreachableError
from fljob_runtime.messages import AcceptedUpdate, CommitResult, Receipt, ShardState
from fljob_runtime.parameters import Int64Array
from fljob_runtime.server.staging import PushHeader
from fljob_runtime.transport.conversion import state_from_proto
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.exchange import Asked, Learned, exchange_chunks, read_answer
from fljob_runtime.transport.framing import blocks_to_proto, data_chunks, identity, push_header_to_proto, unpack
from fljob_runtime.transport.retry import call_until
from fljob_runtime.transport.row_ids import ids_to_proto

_T = TypeVar("_T")
SERVICE = "fljob.v1.ParameterServer"


class ShardClient:
    """A channel to one shard, and its calls. Thread-safe."""

    def __init__(self, address: str, credentials: Credentials, shard: int, *, patience_s: float | None = None) -> None:
        self.shard = shard
        self._patience_s = patience_s
        self._what = f"shard {shard} at {address}"
        self._metadata = credentials.metadata()
        self._channel = credentials.channel(address, names.ROLE_SERVER, str(shard))
        self._stub = pb_grpc.ParameterServerStub(self._channel)
        self._push = self._channel.stream_unary(
            f"/{SERVICE}/Push", request_serializer=identity, response_deserializer=pb.PushAck.FromString
        )
        self._exchange = self._channel.stream_stream(
            f"/{SERVICE}/Exchange", request_serializer=identity, response_deserializer=identity
        )
        self._pull = self._channel.unary_stream(
            f"/{SERVICE}/Pull",
            request_serializer=pb.PullRequest.SerializeToString,
            response_deserializer=identity,
        )

    def pull(
        self, version: int, ids: Mapping[str, Int64Array], into: Sequence[NDArray[np.generic]], *, deadline_s: float
    ) -> int:
        """Receive the blocks of a pull into arrays made for them; returns the bytes received.

        `into` is [dense range] + one [n, D] array per table of `ids`, in layout order; the dense one is empty
        when it is not wanted. Raises TransportError.
        """
        request = pb.PullRequest(
            version=version,
            rows=ids_to_proto(ids),
            without_dense=into[0].size == 0,
        )

        def once(left_s: float) -> int:
            stream = self._pull(request, timeout=left_s, metadata=self._metadata)
            try:
                return receive(stream, into)
            finally:
                stream.cancel()

        return call_until(once, f"pull of version {version} from {self._what}", deadline_s, patience_s=self._patience_s)

    def push(self, header: PushHeader, arrays: Sequence[NDArray[np.generic]], *, deadline_s: float) -> Receipt:
        """Send an update; returns the shard's receipt. Raises TransportError."""
        first = pb.Chunk(push=push_header_to_proto(header), blocks=blocks_to_proto(header.blocks)).SerializeToString()

        def chunks() -> Iterator[bytes]:
            yield first
            yield from data_chunks(arrays)

        def once(left_s: float) -> Receipt:
            ack = self._push(chunks(), timeout=left_s, metadata=self._metadata)
            return Receipt(ack.shard, ack.digest, ack.num_bytes)

        return call_until(
            once, f"push of round {header.round} to {self._what}", deadline_s, patience_s=self._patience_s
        )

    def exchange(
        self,
        header: PushHeader,
        asked: Asked,
        arrays: Sequence[NDArray[np.generic]],
        into: Sequence[NDArray[np.generic]],
        *,
        deadline_s: float,
    ) -> Learned:
        """Send one contribution and receive values into arrays made for them, as in `pull`. Raises TransportError."""

        def once(left_s: float) -> Learned:
            stream = self._exchange(exchange_chunks(header, asked, arrays), timeout=left_s, metadata=self._metadata)
            try:
                learned = read_answer(next(stream, b""))
                receive(stream, into)
                return learned
            finally:
                stream.cancel()

        what = f"exchange {asked.sequence} of round {header.round} with {self._what}"
        return call_until(once, what, deadline_s, patience_s=self._patience_s)

    def commit(
        self,
        round_: int,
        accepted: Sequence[AcceptedUpdate],
        *,
        checkpoint: bool,
        release: Sequence[int],
        deadline_s: float,
    ) -> CommitResult:
        """Fold exactly the accepted updates into version `round_`. Raises TransportError."""
        request = pb.CommitRequest(
            round=round_,
            accepted=[
                pb.AcceptedUpdate(trainer=u.trainer, attempt=u.attempt, digest=self._digest(u), round=u.round)
                for u in accepted
            ],
            checkpoint=checkpoint,
            release=release,
        )
        ack: pb.CommitAck = self._command(self._stub.Commit, request, f"commit of round {round_}", deadline_s)
        return CommitResult(
            self.shard,
            ack.version,
            ack.digest,
            tuple(ack.missing),
        )

    def state(self, *, deadline_s: float) -> ShardState:
        """Ask what the shard holds. Raises TransportError."""
        ack: pb.ShardState = self._command(self._stub.State, pb.StateRequest(), "state", deadline_s)
        return state_from_proto(ack)

    def restore(self, version: int, files: Sequence[ShardFileName], *, deadline_s: float) -> ShardState:
        """Make a version the newest, from memory or else from its checkpoint files. -1: forget all."""
        named = [pb.CheckpointFile(path=file.path, digest=file.digest) for file in files]
        request = pb.StateRequest(restore=version, files=named)
        ack: pb.ShardState = self._command(self._stub.State, request, f"restore of version {version}", deadline_s)
        return state_from_proto(ack)

    def shutdown(self, reason: str, *, deadline_s: float) -> None:
        """Tell the shard that the job is over. Raises TransportError."""
        self._command(self._stub.Shutdown, pb.ShutdownRequest(reason=reason), "shutdown", deadline_s)

    def close(self) -> None:
        """Close the channel; running calls fail."""
        self._channel.close()

    def _digest(self, update: AcceptedUpdate) -> str:
        """Return the digest of this shard's part of an update; "" (which no shard holds) without a receipt."""
        return next((r.digest for r in update.receipts if r.shard == self.shard), "")

    def _command(self, call: Callable[..., _T], request: object, what: str, deadline_s: float) -> _T:
        return call_until(
            lambda left_s: call(request, timeout=left_s, metadata=self._metadata),
            f"{what} at {self._what}",
            deadline_s,
            transient=(UnreachableError,),
        )


def receive(stream: Iterator[bytes], into: Sequence[NDArray[np.generic]]) -> int:
    """Copy a pull's payload into the arrays, in order; raises MalformedError when it does not fill them."""
    targets = [array.reshape(-1).view(np.uint8) for array in into if array.size]
    received, block, filled = 0, 0, 0
    for message in stream:
        source = np.frombuffer(unpack(message).data, np.uint8)
        received += source.size
        while source.size:
            if block == len(targets):
                raise MalformedError(f"a pull brought more than the {received} bytes asked for")
            count = min(source.size, targets[block].size - filled)
            targets[block][filled : filled + count] = source[:count]
            source, filled = source[count:], filled + count
            if filled == targets[block].size:
                block, filled = block + 1, 0
    if block != len(targets):
        raise MalformedError(f"a pull ended after {received} bytes, {sum(t.size for t in targets)} were asked for")
    return received
