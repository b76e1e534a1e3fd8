"""Malformed pushes at a steady rate, by a trainer whose certificate is good: what `load --malformed` adds to the load.

Used by load. Every kind in turn, to each shard in turn; all must be refused.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import grpc
import load_trainers

from fljob_api import names
from fljob_api.wire import server_pb2 as pb
from fljob_runtime.server.placement import dense_range
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.shard_client import SERVICE

_CALL_S = 30.0
_NAN = b"\x00\x00\xc0\x7f"


def kinds(identity: Identity, round_: int, shard: int, num_shards: int) -> Iterator[list[bytes]]:
    """Yield streams that a shard must refuse, the last ones only after a mebibyte of them."""
    start, stop = dense_range(load_trainers.DENSE, shard, num_shards)
    size = 4 * (stop - start)

    def first(num_bytes: int) -> bytes:
        header = pb.PushHeader(job_uid=identity.uid, round=round_, trainer=identity.name, num_samples=1)
        return pb.Chunk(push=header, blocks=[pb.Block(kind=pb.Block.DENSE, num_bytes=num_bytes)]).SerializeToString()

    def data(content: bytes) -> bytes:
        return pb.Chunk(data=content).SerializeToString()

    yield []
    yield [b"\xff\xff\xff\xff"]
    yield [first(1 << 62)]
    yield [first(size), b"\xff\xff\xff"]
    yield [first(size), data(_NAN * (size // 4))]
    yield [first(size), data(bytes(size - 4))]
    yield [first(size), data(bytes((1 << 20) + 1))]


class Malformed(threading.Thread):
    """Sends while `on` is set, for the round that is set, until `stop`; `answers` counts the statuses."""

    def __init__(self, credentials: Credentials, addresses: Sequence[str], per_second: float) -> None:
        super().__init__(name="malformed", daemon=True)
        self.answers: Counter[str] = Counter()
        self.on = threading.Event()
        self.round = 1
        self._credentials, self._addresses, self._pause_s = credentials, addresses, 1.0 / per_second
        self._stopping = False

    def run(self) -> None:
        """Send at the rate, or one after the other where a refusal takes longer."""
        count = len(self._addresses)
        channels = [
            self._credentials.channel(a, names.ROLE_SERVER, str(shard)) for shard, a in enumerate(self._addresses)
        ]
        for number in itertools.count():
            began = time.monotonic()
            self.on.wait()
            if self._stopping:
                break
            shard = number % count
            streams = list(kinds(self._credentials.identity, self.round, shard, count))
            push = channels[shard].stream_unary(f"/{SERVICE}/Push")
            messages = iter(streams[number // count % len(streams)])
            failure = push.future(messages, timeout=_CALL_S, metadata=self._credentials.metadata()).exception()
            status = failure.code() if isinstance(failure, grpc.RpcError) else grpc.StatusCode.OK
            self.answers[status.name] += 1
            time.sleep(max(0.0, began + self._pause_s - time.monotonic()))
        for channel in channels:
            channel.close()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self.on.set()
        self.join(_CALL_S)
