"""Pushing and pulling a model through a shard against a bare gRPC stream of the same bytes, in the same run.

    python bench/server_stream.py [--megabytes 64] [--trainers 4] [--repeats 7] [--plain]

Server and client are two processes on loopback, as in a job. Each repeat is a round of some trainers, one call after
the other: for each a bare stream of 1 MiB chunks into a counter and its push (checked, digested, staged), then the
commit (the mean of all updates, and its digest), then for each a bare stream again and its pull. "A round" is all
pushes, the commit and all pulls of a repeat beside its bare streams, which carry the same bytes.
Then the fold of four updates alone beside torch's float64 accumulator, one thread each. Prints medians with their
spread, CPU seconds of both ends, and one JSON line. Asserts nothing.
"""

from __future__ import annotations

import argparse
import functools
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
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.fold import fold_dense
from fljob_runtime.server.shard import Shard
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
WARM = 3
_T = TypeVar("_T")


def serve(pipe: Connection, ours: Credentials, scratch: Path, trainers: int) -> None:
    """Serve a shard and a bare stream until the pipe closes; answers its own CPU seconds when asked."""
    keep_freed_pieces()  # as the programs of a job do, both ends
    shard = Shard(ShardConfig(UID, 0, 0, 1, "boot", scratch, 4 << 30))
    labels = {"namespace": "bench", "job": "bench", "shard": "0", "mode": "Sync"}
    service = ShardService(shard, ours, ShardMetrics(shard, labels), num_trainers=trainers, on_shutdown=print)
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

    def __init__(
        self, pipe: Connection, make: Callable[[str, str], Credentials], megabytes: int, trainers: int
    ) -> None:
        self._pipe = pipe
        shard_port, bare_port = pipe.recv()
        size = megabytes * MIB // 4
        layout = ModelLayout((ParamSpec("w", (size,)),))
        self._values = np.random.default_rng(0).normal(size=size).astype(np.float32)
        address = f"127.0.0.1:{shard_port}"
        self._trainers = {
            name: ServerClient([address], make(names.ROLE_TRAINER, name), layout=layout)
            for name in (f"t{number}" for number in range(trainers))
        }
        self._coordinator = ServerClient([address], make(names.ROLE_COORDINATOR, "coordinator"))
        channel = make(names.ROLE_TRAINER, "bare").channel(f"127.0.0.1:{bare_port}", names.ROLE_SERVER, "0")
        self._bare = channel.stream_unary("/bare/Push")
        self._round = -1
        self.rounds: list[float] = []
        self.seconds: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def repeat(self) -> None:
        """Measure a round: what a bare stream takes for all its bytes, by what the round takes."""
        self._round += 1
        state = ModelState({"w": self._values}, {})
        number, before = self._round, {name: sum(values) for name, values in self.seconds.items()}
        accepted = []
        for name, trainer in self._trainers.items() if number else list(self._trainers.items())[:1]:
            self._timed("bare stream", self._stream)
            push = functools.partial(trainer.push, number, 0, state, 1, deadline_s=DEADLINE_S)
            accepted.append(AcceptedUpdate(name, 0, self._timed("push", push)))
        release = [number - 1] if number else []
        commit = functools.partial(self._coordinator.commit, number, accepted, release=release, deadline_s=DEADLINE_S)
        self._timed("commit", commit)
        for trainer in self._trainers.values():
            self._timed("bare stream", self._stream)
            self._timed("pull", functools.partial(trainer.pull, number, {}, deadline_s=DEADLINE_S))
        if number < WARM:  # initial values are of one trainer; until two versions are there, memory is made
            self.seconds, self.cpu = {}, {}
            return
        took = {name: sum(values) - before.get(name, 0.0) for name, values in self.seconds.items()}
        self.rounds.append(took.pop("bare stream") / sum(took.values()))

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
    flags.add_argument("--trainers", type=int, default=4)
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
            target=serve, args=(there, make(names.ROLE_SERVER, "0"), Path(scratch), options.trainers), daemon=True
        )
        server.start()
        bench = Bench(here, make, options.megabytes, options.trainers)
        for _ in range(WARM + options.repeats):
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
    print(f"{megabytes} MiB, {'plain' if plain else 'mTLS'}, {len(bench.rounds)} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'step':12} {'MiB/s':>7} {'min..max s':>15} {'CPU ms/MiB':>11} {'of bare':>8}")
    for name, seconds in bench.seconds.items():
        cpu = 1000 * statistics.median(bench.cpu[name]) / megabytes
        spread = f"{min(seconds):.3f}..{max(seconds):.3f}"
        print(f"{name:12} {megabytes / medians[name]:7.0f} {spread:>15} {cpu:11.2f} {bare / medians[name]:8.2f}")
    ratio = statistics.median(bench.rounds)
    trainers = len(bench.seconds["push"]) // len(bench.rounds)
    print(
        f"a round of {trainers} trainers, all of it: {ratio:.2f} ({min(bench.rounds):.2f}-{max(bench.rounds):.2f}) "
        "of the bare streams' speed"
    )
    fold = statistics.median(theirs / ours for ours, theirs in folds)
    speed = FOLDED * megabytes / statistics.median(ours for ours, _ in folds)
    print(f"fold of {FOLDED} updates: {speed:.0f} MiB/s of CPU, {fold:.2f} of torch's float64 accumulator")
    line = {"bench": "server_stream", "megabytes": megabytes, "plain": plain, "seconds": medians, "trainers": trainers}
    line |= {"round_ratio": ratio, "round_ratios": bench.rounds}
    line |= {"cpu_s": {name: statistics.median(values) for name, values in bench.cpu.items()}, "fold_ratio": fold}
    json.dump(line, sys.stdout)
    print()


if __name__ == "__main__":
    main()
