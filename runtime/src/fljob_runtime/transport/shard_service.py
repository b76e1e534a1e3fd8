"""The gRPC face of one shard: who is calling, bytes in and out, faults to status codes. Decides nothing else.

Used by programs.server. A thread pool that has room for every call that the job's trainers may have open at
once: one trainer's calls are bounded, so that none can keep the others or the coordinator out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import NoReturn, TypeVar

import grpc

from fljob_api import names
from fljob_api.wire import server_pb2 as pb
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import BusyError, MalformedError, TransportError
from fljob_runtime.messages import Receipt
from fljob_runtime.parameters import Float32Array, Int64Array
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import Block, BlockKind, PushHeader
from fljob_runtime.server.versions import ShardModel
from fljob_runtime.transport.conversion import state_to_proto
from fljob_runtime.transport.credentials import CHUNK_BYTES, SERVER_OPTIONS, Credentials
from fljob_runtime.transport.errors import fault_metadata, fault_of
from fljob_runtime.transport.exchange import answer_exchange, located
from fljob_runtime.transport.framing import (
    blocks_to_proto,
    data_chunks,
    identity,
    push_header_from_proto,
    take_in,
    unpack,
)
from fljob_runtime.transport.shard_client import SERVICE
from fljob_runtime.transport.shard_metrics import ShardMetrics

CALLS_PER_TRAINER = 3
COORDINATOR_CALLS = 8
_ALLOWED_NAMES = (names.ROLE_TRAINER, names.ROLE_COORDINATOR)
_R = TypeVar("_R")
_A = TypeVar("_A")


class ShardService:
    """Serves one shard. `on_shutdown(reason)` is called when the coordinator says that the job is over."""

    def __init__(
        self,
        shard: Shard,
        credentials: Credentials,
        metrics: ShardMetrics,
        *,
        num_trainers: int,
        on_shutdown: Callable[[str], None],
    ) -> None:
        self._shard = shard
        self._credentials = credentials
        self._gate = credentials.gate()
        self._metrics = metrics
        self._on_shutdown = on_shutdown
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()
        workers = CALLS_PER_TRAINER * num_trainers + COORDINATOR_CALLS
        self._server = grpc.server(ThreadPoolExecutor(workers, "shard-call"), options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((self._handlers(),))

    def start(self, address: str) -> int:
        """Listen on host:port (port 0: any) and return the port; raises OSError when it cannot be bound."""
        port = self._credentials.listen(self._server, address)
        self._server.start()
        return port

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, let running ones end for at most `grace_s`; idempotent."""
        self._server.stop(grace_s).wait(grace_s + 5.0)

    @property
    def open_calls(self) -> int:
        """Return how many pushes and pulls are under way."""
        with self._lock:
            return self._open.total()

    def _handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Push": grpc.stream_unary_rpc_method_handler(
                    self._answering(self._push), identity, pb.PushAck.SerializeToString
                ),
                "Pull": grpc.unary_stream_rpc_method_handler(
                    self._streaming(self._pull), pb.PullRequest.FromString, identity
                ),
                "Exchange": grpc.stream_stream_rpc_method_handler(self._streaming(self._exchange), identity, identity),
                "Commit": grpc.unary_unary_rpc_method_handler(
                    self._answering(self._commit), pb.CommitRequest.FromString, pb.CommitAck.SerializeToString
                ),
                "State": grpc.unary_unary_rpc_method_handler(
                    self._answering(self._state), pb.StateRequest.FromString, pb.ShardState.SerializeToString
                ),
                "Shutdown": grpc.unary_unary_rpc_method_handler(
                    self._answering(self._shutdown),
                    pb.ShutdownRequest.FromString,
                    pb.ShutdownAck.SerializeToString,
                ),
            },
        )

    # What each call does; faults are raised as TransportError.

    def _push(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> pb.PushAck:
        caller = self._gate.require(context, names.ROLE_TRAINER)
        with self._admitted(str(caller)), self._metrics.calling("push"):
            receipt = receive_push(self._shard, messages, self._speaks_for(context))
        self._metrics.received(receipt.num_bytes)
        return pb.PushAck(shard=receipt.shard, digest=receipt.digest, num_bytes=receipt.num_bytes)

    def _pull(self, request: pb.PullRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        caller = self._gate.caller(context)
        if caller.role not in _ALLOWED_NAMES:
            self._gate.require(context, names.ROLE_TRAINER)
        with self._admitted(str(caller)), self._metrics.calling("pull"):
            model = self._shard.model()
            dense = [] if request.without_dense else [model.dense(request.version)]
            wanted = located(model, request.rows)
            dims = {spec.name: spec.dim for spec in model.layout.shared_tables}
            blocks = [Block("", BlockKind.DENSE, array.nbytes) for array in dense]
            blocks += [Block(t, BlockKind.ROW_VALUES, 4 * dims[t] * len(p)) for t, p in wanted.items()]
            yield pb.Chunk(blocks=blocks_to_proto(blocks)).SerializeToString()
            yield from data_chunks(chain(dense, _row_values(model, request.version, wanted, dims)))
        num_bytes = sum(block.num_bytes for block in blocks)
        self._metrics.sent(num_bytes, {table: len(where) for table, where in wanted.items()})

    def _exchange(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        caller = self._gate.require(context, names.ROLE_TRAINER)
        with self._admitted(str(caller)), self._metrics.calling("exchange"):
            answered = answer_exchange(self._shard, messages, self._speaks_for(context))
            yield from answered.chunks()
        self._metrics.received(answered.received)
        self._metrics.sent(answered.sent, answered.sent_rows)
        if answered.contributed:
            self._metrics.contributed(answered.answer)

    def _commit(self, request: pb.CommitRequest, context: grpc.ServicerContext) -> pb.CommitAck:
        self._gate.require(context, names.ROLE_COORDINATOR)
        accepted = [Named(u.trainer, u.attempt, u.digest, u.round) for u in request.accepted]
        with self._metrics.calling("commit"):
            result = self._shard.commit(request.round, accepted, checkpoint=request.checkpoint, release=request.release)
        self._metrics.committed(result)
        return pb.CommitAck(
            version=result.version,
            digest=result.digest,
            missing=result.missing,
        )

    def _state(self, request: pb.StateRequest, context: grpc.ServicerContext) -> pb.ShardState:
        self._gate.require(context, names.ROLE_COORDINATOR)
        if request.HasField("restore"):
            self._shard.restore(request.restore, [ShardFileName(file.path, file.digest) for file in request.files])
            self._metrics.at(request.restore)
        received, sent = self._metrics.bytes_of("received"), self._metrics.bytes_of("sent")
        return state_to_proto(self._shard.state(bytes_received=received, bytes_sent=sent))

    def _shutdown(self, request: pb.ShutdownRequest, context: grpc.ServicerContext) -> pb.ShutdownAck:
        self._gate.require(context, names.ROLE_COORDINATOR)
        self._on_shutdown(request.reason)
        return pb.ShutdownAck()

    # What all calls share.

    def _speaks_for(self, context: grpc.ServicerContext) -> Callable[[str], object]:
        """Return what raises IdentityError unless the caller is the trainer of this name."""
        return lambda trainer: self._gate.require(context, names.ROLE_TRAINER, trainer)

    def _answering(self, method: Callable[[_A, grpc.ServicerContext], _R]) -> Callable[[_A, grpc.ServicerContext], _R]:
        def handle(request: _A, context: grpc.ServicerContext) -> _R:
            try:
                return method(request, context)
            except TransportError as error:
                self._refuse(error, context)

        return handle

    def _streaming(
        self, method: Callable[[_A, grpc.ServicerContext], Iterator[_R]]
    ) -> Callable[[_A, grpc.ServicerContext], Iterator[_R]]:
        def handle(request: _A, context: grpc.ServicerContext) -> Iterator[_R]:
            try:
                yield from method(request, context)
            except TransportError as error:
                self._refuse(error, context)

        return handle

    def _refuse(self, error: TransportError, context: grpc.ServicerContext) -> NoReturn:
        fault = fault_of(error)
        self._metrics.refused(fault.error.__name__)
        context.set_trailing_metadata(fault_metadata(error))
        context.abort(fault.status, str(error))
        raise error

    @contextmanager
    def _admitted(self, caller: str) -> Iterator[None]:
        """Hold one of the caller's places; raises BusyError when it has none left."""
        with self._lock:
            if self._open[caller] >= CALLS_PER_TRAINER:
                raise BusyError(f"{caller} has {CALLS_PER_TRAINER} calls open already")
            self._open[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[caller] -= 1


def receive_push(shard: Shard, messages: Iterator[bytes], require: Callable[[str], object]) -> Receipt:
    """Receive one update and stage it whole, or nothing of it. require: raises for a trainer that may not push.

    What the newest version has already is not read again. Raises TransportError.
    """
    header = _push_header(next(messages, b""))
    require(header.trainer)
    if digest := shard.folded(header):
        return Receipt(shard.config.shard, digest, 0)
    intake = shard.open_push(header)
    take_in(messages, intake)
    staged = shard.close_push(intake)
    return Receipt(shard.config.shard, staged.digest, staged.num_bytes)


def _push_header(message: bytes) -> PushHeader:
    """Decode the first message of a push; raises MalformedError."""
    chunk = unpack(message).header
    if chunk is None or not chunk.HasField("push"):
        raise MalformedError("the first chunk of a push must hold its header")
    if chunk.data:
        raise MalformedError("the first chunk of a push holds no data")
    return push_header_from_proto(chunk)


def _row_values(
    model: ShardModel, version: int, wanted: Mapping[str, Int64Array], dims: Mapping[str, int]
) -> Iterator[Float32Array]:
    """Yield the rows' values, gathered a chunk at a time."""
    for table, positions in wanted.items():
        step = max(1, CHUNK_BYTES // (4 * dims[table]))
        for start in range(0, len(positions), step):
            yield model.rows(version, table, positions[start : start + step])
