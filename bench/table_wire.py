"""What `tables` measures over gRPC: real shards, a process each, mutual TLS on loopback, calls one after the other."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from table_calls import TABLE, UID, Batch, Zipf, initial, layout_of

from fljob_api import names, pki
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.shard import Shard
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.heap import keep_freed_pieces
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.server_client import ServerClient
from fljob_runtime.transport.shard_metrics import ShardMetrics
from fljob_runtime.transport.shard_service import ShardService

_DEADLINE_S = 300.0
_START_S = 60.0
_T = TypeVar("_T")


def serve(pipe: Connection, ours: Credentials, scratch: Path, shard: int, num_shards: int) -> None:
    """Serve one shard until the pipe closes; answers its own CPU seconds when asked."""
    keep_freed_pieces()
    held = Shard(ShardConfig(UID, 0, shard, num_shards, "boot", scratch, 8 << 30))
    labels = {"namespace": "bench", "job": "bench", "shard": str(shard), "mode": "Sync"}
    service = ShardService(held, ours, ShardMetrics(held, labels), num_trainers=2, on_shutdown=print)
    pipe.send(service.start("127.0.0.1:0"))
    while pipe.recv():
        pipe.send(time.process_time())
    service.stop(1.0)


class Wire:
    """One trainer and the coordinator of a job whose model is one table."""

    def __init__(self, pipes: list[Connection], make: Callable[[str, str], Credentials], num_rows: int) -> None:
        addresses = [f"127.0.0.1:{_answer(pipe)}" for pipe in pipes]
        self._pipes = pipes
        self._zipf = Zipf(num_rows)
        self._trainer = ServerClient(addresses, make(names.ROLE_TRAINER, "a"), layout=layout_of(num_rows))
        self._coordinator = ServerClient(addresses, make(names.ROLE_COORDINATOR, "coordinator"))
        self._round = -1
        self.push(initial(num_rows))

    def measure(self, num_rows: int, calls: int) -> tuple[dict[str, list[float]], float]:
        """Return the seconds of each call by name, and the CPU seconds of both ends per pull, push and commit."""
        seconds: dict[str, list[float]] = {"pull": [], "push": [], "commit": []}
        cpu = 0.0
        for number in range(calls + 1):
            batch = self._zipf.batch(num_rows)
            before = self._cpu_s()
            start = time.perf_counter()
            self._trainer.pull(self._round, {TABLE: batch.ids}, deadline_s=_DEADLINE_S)
            pulled = time.perf_counter() - start
            pushed, committed = self.push(batch)
            if number:  # the first call of a size makes what later ones use again
                for name, value in zip(seconds, (pulled, pushed, committed), strict=True):
                    seconds[name].append(value)
                cpu += self._cpu_s() - before
        return seconds, cpu / calls

    def push(self, batch: Batch) -> tuple[float, float]:
        """Push and commit a batch; returns the seconds of each."""
        self._round += 1
        start = time.perf_counter()
        receipts = self._trainer.push(self._round, 0, batch.state, 1, deadline_s=_DEADLINE_S)
        pushed = time.perf_counter()
        accepted, release = [AcceptedUpdate("a", 0, receipts)], [self._round - 1] * (self._round > 0)
        self._coordinator.commit(self._round, accepted, release=release, deadline_s=_DEADLINE_S)
        return pushed - start, time.perf_counter() - pushed

    def close(self) -> None:
        """Close all channels."""
        self._trainer.close()
        self._coordinator.close()

    def _cpu_s(self) -> float:
        for pipe in self._pipes:
            pipe.send(True)
        return time.process_time() + sum(float(_answer(pipe)) for pipe in self._pipes)


def _answer(pipe: Connection) -> float | int:
    if not pipe.poll(_START_S):
        raise TimeoutError(f"a shard did not answer within {_START_S:.0f} s")
    answer: float | int = pipe.recv()
    return answer


@contextmanager
def wired(num_rows: int, num_shards: int, scratch: Path) -> Iterator[Wire]:
    """Start the shards, hold the table's first values, and stop them."""
    authority = pki.make_authority(UID)

    def make(role: str, name: str) -> Credentials:
        leaf = pki.issue(authority, role, name)
        return Credentials(Identity(UID, role, name), leaf.authority_certificate, leaf.certificate, leaf.key)

    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for shard in range(num_shards):
        here, there = context.Pipe()
        ours = make(names.ROLE_SERVER, str(shard))
        process = context.Process(target=serve, args=(there, ours, scratch, shard, num_shards), daemon=True)
        process.start()
        pipes.append(here)
        processes.append(process)
    wire = Wire(pipes, make, num_rows)
    try:
        yield wire
    finally:
        wire.close()
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(False)
            process.join(10)
