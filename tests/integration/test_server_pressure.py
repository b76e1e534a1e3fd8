"""Back-pressure and bounds, on real shard processes: who is slow or sends rubbish costs nobody else anything."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.messages import AcceptedUpdate
from fljob_runtime.parameters import ModelState
from fljob_runtime.transport.credentials import CHUNK_BYTES
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.server_client import ServerClient
from fljob_runtime.transport.shard_client import SERVICE, ShardClient
from support.malformed import malformed
from support.processes import wait_until
from support.server_program import Program, serving
from support.shards import DEADLINE_S, LAYOUT, NUM_ITEMS, UID, credentials, header, initial, update

PER_SECOND = 10
ROUNDS, STREAMS_PER_ROUND = 20, 4  # eight seconds
MIB = 1 << 20


@dataclass
class Rubbish:
    """Ten malformed pushes a second, of every kind in turn, by a trainer whose certificate is good."""

    program: Program
    round: int = 1
    answers: Counter[grpc.StatusCode] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Rubbish:
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)

    def wait_for(self, count: int) -> None:
        wait_until(f"{count} malformed streams", lambda: self.answers.total() >= count, DEADLINE_S)

    def _send_all(self) -> None:
        began, number = time.monotonic(), 0
        with credentials("trainer", "c").channel(self.program.address, "server", "0") as channel:
            push = channel.stream_unary(f"/{SERVICE}/Push")
            while not self._stop.wait(max(0.0, began + number / PER_SECOND - time.monotonic())):
                kinds = list(malformed("c", self.round).values())
                failure = push.future(iter(kinds[number % len(kinds)]), timeout=DEADLINE_S).exception()
                self.answers[failure.code() if failure else grpc.StatusCode.OK] += 1
                number += 1


@dataclass
class Job:
    """An honest job's clients."""

    programs: Sequence[Program]
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        addresses = [program.address for program in self.programs]
        self.trainers = {n: ServerClient(addresses, credentials("trainer", n), layout=LAYOUT) for n in ("a", "b")}
        self.coordinator = ServerClient(addresses, credentials("coordinator", "coordinator"), layout=LAYOUT)
        self._commit(0, {"a": initial()})

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        for client in (*self.trainers.values(), self.coordinator):
            client.close()

    def round(self, number: int) -> bytes:
        """Pull, push and commit one round; return what was pulled."""
        pulled = self.trainers["a"].pull(number - 1, {"items": np.arange(NUM_ITEMS)}, deadline_s=DEADLINE_S)
        rows = {item: float(number + item) for item in range(0, NUM_ITEMS, 3)}
        self._commit(number, {"a": update(float(number), rows), "b": update(0.5, rows, weight=2.0)})
        return b"".join(a.tobytes() for a in (*pulled.dense.values(), pulled.rows["items"].values))

    def _commit(self, number: int, updates: Mapping[str, ModelState]) -> None:
        accepted = [
            AcceptedUpdate(name, 0, self.trainers[name].push(number, 0, state, 1, deadline_s=DEADLINE_S))
            for name, state in updates.items()
        ]
        results = self.coordinator.commit(
            number, accepted, release=[number - 2] if number > 1 else [], deadline_s=DEADLINE_S
        )
        self.digests += [result.digest for result in results]


def counted(program: Program, name: str) -> float:
    """Return a metric of a shard, summed over its labels."""
    return sum(map(float, re.findall(rf"^{name}{{.*}} (\S+)$", program.get("/metrics")[1], re.MULTILINE)))


def resident(program: Program) -> int:
    """Return the resident bytes of a shard."""
    status = Path(f"/proc/{program.process.popen.pid}/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


def payload_bytes(program: Program) -> list[float]:
    return [counted(program, f"fljob_server_{way}_bytes_total") for way in ("received", "sent")]


def test_ten_malformed_streams_a_second_change_nothing_for_the_honest(tmp_path: Path) -> None:
    with serving(tmp_path / "quiet", 1) as programs, Job(programs) as job:
        pulled = [job.round(number) for number in range(1, ROUNDS + 1)]
        quiet = (pulled, job.digests, payload_bytes(programs[0]))
    with serving(tmp_path / "disturbed", 1) as (program,), Job([program]) as job, Rubbish(program) as rubbish:
        pulled, sizes = [], []
        for number in range(1, ROUNDS + 1):
            rubbish.round = number
            pulled.append(job.round(number))
            rubbish.round = number + 1
            rubbish.wait_for(number * STREAMS_PER_ROUND)
            sizes.append(resident(program))
        disturbed = (pulled, job.digests, payload_bytes(program))
        staged = counted(program, "fljob_server_staged_bytes")
    assert disturbed == quiet
    late = rubbish.answers.pop(grpc.StatusCode.FAILED_PRECONDITION, 0)  # the round was committed meanwhile
    assert (staged, list(rubbish.answers)) == (0.0, [grpc.StatusCode.INVALID_ARGUMENT])
    assert late <= ROUNDS
    assert max(sizes[ROUNDS // 2 :]) - max(sizes[: ROUNDS // 2]) < 4 * MIB  # every kind was sent in the first half


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[list[Program]]:
    """Two shards with version 0; a test that stops one lets it go on here."""
    with serving(tmp_path, 2) as started, Job(started):
        try:
            yield started
        finally:
            for program in started:
                program.process.popen.send_signal(signal.SIGCONT)


def test_a_shard_that_stands_still_delays_its_own_pushers_only(programs: list[Program]) -> None:
    lively, still = programs
    payloads = encode_update(LAYOUT, update(1.0, {3: 1.0, 9: 1.0}), 2)

    def push(client: ShardClient, name: str, attempt: int) -> int:
        payload = payloads[client.shard]
        what = header(payload, 1, name, attempt=attempt)
        return client.push(what, payload.arrays, deadline_s=DEADLINE_S).num_bytes

    with ExitStack() as stack:
        clients = [ShardClient(p.address, credentials("trainer", "a"), shard) for shard, p in enumerate(programs)]
        clients.append(ShardClient(lively.address, credentials("trainer", "b"), 0))
        for client in clients:
            stack.callback(client.close)
        push(clients[1], "a", 0)  # the connection is there
        pool = stack.enter_context(ThreadPoolExecutor(1))
        still.process.popen.send_signal(signal.SIGSTOP)
        held = pool.submit(push, clients[1], "a", 1)
        taken = [push(clients[0], "a", 1), push(clients[2], "b", 1)]
        assert (taken, held.done()) == ([payloads[0].num_bytes] * 2, False)
        still.process.popen.send_signal(signal.SIGCONT)
        assert held.result(DEADLINE_S) == payloads[1].num_bytes


def test_a_pusher_sends_no_more_than_a_shard_that_stands_still_can_hold(programs: list[Program]) -> None:
    """Back-pressure: what is not sent is not even encoded, so a slow shard costs its pusher time and not memory."""
    taken: list[int] = []
    first = pb.Chunk(push=pb.PushHeader(job_uid=UID, round=1, trainer="a", num_samples=1)).SerializeToString()

    def chunks() -> Iterator[bytes]:
        yield first
        for number in range(256):
            taken.append(number)
            yield pb.Chunk(data=bytes(CHUNK_BYTES)).SerializeToString()

    with credentials("trainer", "a").channel(programs[1].address, "server", "1") as channel:
        grpc.channel_ready_future(channel).result(DEADLINE_S)
        programs[1].process.popen.send_signal(signal.SIGSTOP)
        call = channel.stream_unary(f"/{SERVICE}/Push").future(chunks(), timeout=DEADLINE_S)
        wait_until("the sender to stand still", lambda: len(taken) > 0 and _unchanged(taken), DEADLINE_S)
        held = len(taken)
        call.cancel()
        programs[1].process.popen.send_signal(signal.SIGCONT)  # else the channel closes only at the call's deadline
    assert held < 32


def _unchanged(growing: list[int], for_s: float = 1.0) -> bool:
    """Return whether a list stays as long as it is for a while."""
    length = len(growing)
    threading.Event().wait(for_s)
    return len(growing) == length
