"""Pushing and pulling a model through a shard against a bare gRPC stream of the same bytes, in the same run.

    python bench/server_stream.py [--megabytes 64] [--repeats 7] [--plain]

Server and client are two processes on loopback, as in a job. Each repeat measures, one after the other: a bare
stream of 1 MiB chunks into a counter, our push (checked, digested, staged), our commit (the fold), our pull.
Then the fold of four updates alone beside torch's float64 accumulator, one thread each. Prints medians with their
spread, CPU seconds of both ends, and one JSON line. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np
import torch

from fljob_api import names, pki
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.parameters import ModelLayout, ModelState, ParamSpec
from fljob_runtime.server.fold import fold_dense
from fljob_runtime.server.shard import Shard, ShardConfig
from fljob_runtime.transport.credentials import CHUNK_BYTES, SERVER_OPTIONS, Credentials
from fljob_runtime.transport.heap import keep_freed_pieces
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.server_client import ServerClient
from fljob_runtime.transport.shard_metrics import ShardMetrics
from fljob_runtime.transport.shard_service import ShardService

UID = "bench"
DEADLINE_S = 120.0
MIB = 1 << 20
FOLDED = 4
_T = TypeVar("_T")


def serve(pipe: Connection, ours: Credentials, scratch: Path) -> None:
    """Serve a shard and a bare stream until the pipe closes; answers its own CPU seconds when asked."""
    keep_freed_pieces()  # as the programs of a job do, both ends
    shard = Shard(ShardConfig(UID, 0, 0, 1, "boot", scratch, 4 << 30))
    labels = {"namespace": "bench", "job": "bench", "shard": "0", "mode": "Sync"}
    service = ShardService(shard, ours, ShardMetrics(shard, labels), num_trainers=2, on_shutdown=print)
    bare = grpc.server(ThreadPoolExecutor(4), options=SERVER_OPTIONS)
    handler = grpc.stream_unary_rpc_method_handler(_count)
    bare.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", {"Push": handler}),))
    ports = service.start("127.0.0.1:0"), ours.listen(bare, "127.0.0.1:0")
    bare.start()
    pipe.send(ports)
    while pipe.recv():
        pipe.send(time.process_time())


def _count(messages: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
    return str(sum(len(message) for message in messages)).encode()


class Bench:
    """The client end."""

    def __init__(self, pipe: Connection, make: Callable[[str, str], Credentials], megabytes: int) -> None:
        self._pipe = pipe
        shard_port, bare_port = pipe.recv()
        size = megabytes * MIB // 4
        self._layout = ModelLayout((ParamSpec("w", (size,)),))
        self._values = np.random.default_rng(0).normal(size=size).astype(np.float32)
        address = f"127.0.0.1:{shard_port}"
        self._trainer = ServerClient([address], make(names.ROLE_TRAINER, "a"), layout=self._layout)
        self._coordinator = ServerClient([address], make(names.ROLE_COORDINATOR, "coordinator"))
        channel = make(names.ROLE_TRAINER, "a").channel(f"127.0.0.1:{bare_port}", names.ROLE_SERVER, "0")
        self._bare = channel.stream_unary("/bare/Push")
        self._round = -1
        self.seconds: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def repeat(self) -> None:
        """Measure each step once."""
        self._round += 1
        state = ModelState({"w": self._values}, {})
        self._timed("bare stream", self._stream)
        receipts = self._timed("push", lambda: self._trainer.push(self._round, 0, state, 1, deadline_s=DEADLINE_S))
        accepted = [AcceptedUpdate("a", 0, receipts)]
        release = [self._round - 1] if self._round else []
        self._timed(
            "commit",
            lambda: self._coordinator.commit(self._round, accepted, release=release, deadline_s=DEADLINE_S),
        )
        self._timed("pull", lambda: self._trainer.pull(self._round, {}, deadline_s=DEADLINE_S))

    def _stream(self) -> None:
        view = self._values.view(np.uint8).data
        chunks = (bytes(view[start : start + CHUNK_BYTES]) for start in range(0, len(view), CHUNK_BYTES))
        self._bare(chunks, timeout=DEADLINE_S)

    def _timed(self, name: str, call: Callable[[], _T]) -> _T:
        cpu, start = self._cpu_s(), time.perf_counter()
        result = call()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        self.cpu.setdefault(name, []).append(self._cpu_s() - cpu)
        return result

    def _cpu_s(self) -> float:
        self._pipe.send(True)
        return float(self._pipe.recv()) + time.process_time()


def main() -> None:
    """Run and print."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--megabytes", type=int, default=64)
    flags.add_argument("--repeats", type=int, default=7)
    flags.add_argument("--plain", action="store_true", help="without TLS")
    options = flags.parse_args()
    keep_freed_pieces()
    authority = pki.make_authority(UID)

    def make(role: str, name: str) -> Credentials:
        identity = Identity(UID, role, name)
        if options.plain:
            return Credentials.insecure(identity)
        leaf = pki.issue(authority, role, name)
        return Credentials(identity, leaf.authority_certificate, leaf.certificate, leaf.key)

    here, there = multiprocessing.get_context("spawn").Pipe()
    with tempfile.TemporaryDirectory() as scratch:
        server = multiprocessing.get_context("spawn").Process(
            target=serve, args=(there, make(names.ROLE_SERVER, "0"), Path(scratch)), daemon=True
        )
        server.start()
        bench = Bench(here, make, options.megabytes)
        for _ in range(options.repeats):
            bench.repeat()
        here.send(False)
        server.join(10)
    report(bench, options.megabytes, options.plain, fold_beside_torch(options.megabytes, options.repeats))


def fold_beside_torch(megabytes: int, repeats: int) -> list[tuple[float, float]]:
    """Return CPU seconds of our fold of four updates and of torch's, the exact mean in float64 each, in turn."""
    random = np.random.default_rng(0)
    vectors = [random.standard_normal(megabytes * MIB // 4, dtype=np.float32) for _ in range(FOLDED)]
    weights = [1.0 + number for number in range(FOLDED)]
    torch.set_num_threads(1)
    figures = []
    for _ in range(repeats + 1):
        start = time.process_time()
        fold_dense(vectors, weights)
        between = time.process_time()
        total = torch.zeros(len(vectors[0]), dtype=torch.float64)
        for vector, weight in zip(vectors, weights, strict=True):
            total.add_(torch.from_numpy(vector), alpha=weight)
        total.div_(sum(weights)).float()
        figures.append((between - start, time.process_time() - between))
    return figures[1:]


def report(bench: Bench, megabytes: int, plain: bool, folds: list[tuple[float, float]]) -> None:
    """Print the table and the JSON line."""
    medians = {name: statistics.median(values) for name, values in bench.seconds.items()}
    bare = medians["bare stream"]
    repeats = len(bench.seconds["push"])
    print(f"{megabytes} MiB, {'plain' if plain else 'mTLS'}, {repeats} repeats, load {os.getloadavg()[0]:.1f}")
    print(f"{'step':12} {'MiB/s':>7} {'min..max s':>15} {'CPU ms/MiB':>11} {'of bare':>8}")
    for name, seconds in bench.seconds.items():
        cpu = 1000 * statistics.median(bench.cpu[name]) / megabytes
        spread = f"{min(seconds):.3f}..{max(seconds):.3f}"
        print(f"{name:12} {megabytes / medians[name]:7.0f} {spread:>15} {cpu:11.2f} {bare / medians[name]:8.2f}")
    both = bare / (medians["push"] + medians["commit"])
    print(f"push and commit together: {both:.2f} of the bare stream's speed")
    there_and_back = 2 * bare / (medians["push"] + medians["commit"] + medians["pull"])
    print(f"push, commit and pull together: {there_and_back:.2f} of two bare streams' speed")
    fold = statistics.median(theirs / ours for ours, theirs in folds)
    speed = FOLDED * megabytes / statistics.median(ours for ours, _ in folds)
    print(f"fold of {FOLDED} updates: {speed:.0f} MiB/s of CPU, {fold:.2f} of torch's float64 accumulator")
    line = {"bench": "server_stream", "megabytes": megabytes, "plain": plain, "seconds": medians, "ratio": both}
    line["there_and_back"] = there_and_back
    line |= {"cpu_s": {name: statistics.median(values) for name, values in bench.cpu.items()}, "fold_ratio": fold}
    json.dump(line, sys.stdout)
    print()


if __name__ == "__main__":
    main()
