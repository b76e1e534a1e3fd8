"""A small model, its updates, and real shards behind real mutual TLS on loopback, for the tests of the server."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fljob_api import names, pki
from fljob_api.wire import server_pb2 as pb
from fljob_runtime.checkpoints.files import Tensor
from fljob_runtime.checkpoints.shard_file import ShardFileName, ShardPart, TablePart, write_tensors
from fljob_runtime.errors import CheckpointError
from fljob_runtime.messages import AcceptedUpdate, CommitResult, SavedVersion
from fljob_runtime.parameters import Kind, ModelLayout, ModelState, ParamSpec, RowSet, Scope
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import PushHeader, Staged
from fljob_runtime.transport.credentials import Credentials
from fljob_runtime.transport.encode import Payload, encode_update
from fljob_runtime.transport.framing import blocks_to_proto
from fljob_runtime.transport.identity import Identity
from fljob_runtime.transport.server_client import ServerClient
from fljob_runtime.transport.shard_client import SERVICE
from fljob_runtime.transport.shard_metrics import ShardMetrics
from fljob_runtime.transport.shard_service import ShardService
from support.processes import wait_until

UID = "11111111-2222-3333-4444-555555555555"
DEADLINE_S = 20.0
NUM_ITEMS, DIM = 40, 2
LAYOUT = ModelLayout(
    (
        ParamSpec("weight", (2, 3)),
        ParamSpec("items", (NUM_ITEMS, DIM), Kind.ROWS),
        ParamSpec("bias", (3,)),
        ParamSpec("users", (4, DIM), Kind.ROWS, Scope.PRIVATE),
    )
)


PART = ShardPart(
    job_uid=UID,
    version=3,
    shard=0,
    num_shards=1,
    digest="d3",
    layout=LAYOUT,
    dense=np.arange(9, dtype=np.float32),
    tables={"items": TablePart(np.arange(NUM_ITEMS * DIM, dtype=np.float32).reshape(NUM_ITEMS, DIM))},
)


def update(value: float, rows: Mapping[int, float] | None = None, *, weight: float = 1.0) -> ModelState:
    """Return an update whose dense values are all `value`, and whose rows by id are filled with theirs."""
    touched = dict(sorted((rows or {}).items()))
    ids = np.array(list(touched), np.int64)
    values = np.repeat(np.array(list(touched.values()), np.float32)[:, None], DIM, axis=1)
    dense = {spec.name: np.full(spec.shape, value, np.float32) for spec in LAYOUT.shared_dense}
    return ModelState(dense, {"items": RowSet(ids, values, np.full(len(ids), weight))} if touched else {})


def initial(value: float = 0.0) -> ModelState:
    """Return the update of round 0: every row, all values alike."""
    return update(value, dict.fromkeys(range(NUM_ITEMS), value))


def config(tmp_path: Path, **changes: object) -> ShardConfig:
    """Return a shard's configuration: alone, with checkpoints and scratch under tmp_path."""
    base = ShardConfig(
        job_uid=UID,
        incarnation=0,
        shard=0,
        num_shards=1,
        boot_id="boot",
        scratch=tmp_path,
        memory_bytes=1 << 20,
        checkpoint=tmp_path,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def header(payload: Payload, round_: int, trainer: str, *, of: ModelLayout = LAYOUT, **changes: Any) -> PushHeader:
    """Return the header of an update's payload."""
    base = PushHeader(
        job_uid=UID,
        incarnation=0,
        round=round_,
        trainer=trainer,
        attempt=0,
        num_samples=1,
        blocks=payload.blocks,
        layout=of.to_json() if round_ == 0 else b"",
    )
    return replace(base, **changes)


def push(shard: Shard, state: ModelState, round_: int, trainer: str, **changes: Any) -> Staged:
    """Stage an update at a shard, as the service would."""
    payload = encode_update(LAYOUT, state, shard.config.num_shards)[shard.config.shard]
    intake = shard.open_push(header(payload, round_, trainer, **changes))
    for array in payload.arrays:
        intake.write(np.ascontiguousarray(array).tobytes())
    return shard.close_push(intake)


def named(*staged: Staged) -> list[Named]:
    """Return the list that a commit names these updates by."""
    return [Named(s.header.trainer, s.header.attempt, s.digest) for s in staged]


def begun(tmp_path: Path, value: float = 0.0, **changes: object) -> Shard:
    """Return a shard with version 0 committed, all values alike."""
    shard = Shard(config(tmp_path, **changes))
    shard.commit(0, named(push(shard, initial(value), 0, "a")), checkpoint=False)
    return shard


def commit(shard: Shard, round_: int, *staged: Staged) -> CommitResult:
    """Commit these updates."""
    return shard.commit(round_, named(*staged), checkpoint=False)


def save(shard: Shard, round_: int, *staged: Staged) -> SavedVersion:
    """Commit these updates and return the version on disk; raises CheckpointError as the coordinator would."""
    return save_named(shard, round_, named(*staged))


def save_named(shard: Shard, round_: int, accepted: Sequence[Named]) -> SavedVersion:
    """Commit what is named and return the version on disk; raises CheckpointError as the coordinator would."""
    shard.commit(round_, accepted, checkpoint=True)
    assert shard.saver is not None
    saved = shard.saver.wait(DEADLINE_S)
    assert saved is not None
    if saved.error:
        raise CheckpointError(saved.error)
    return saved


@functools.cache
def authority(uid: str) -> pki.Authority:
    """Return the job's authority, made once."""
    return pki.make_authority(uid)


@functools.cache
def credentials(role: str, name: str, uid: str = UID) -> Credentials:
    """Return the credentials of one process of a job."""
    leaf = pki.issue(authority(uid), role, name)
    return Credentials(Identity(uid, role, name), leaf.authority_certificate, leaf.certificate, leaf.key)


class SlowDisk:
    """Shards' files are written only once it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

        def held(root: Path, header: ShardPart, tensors: Sequence[Tensor]) -> ShardFileName:
            self.reached.set()
            assert self.go_on.wait(DEADLINE_S)
            return write_tensors(root, header, tensors)

        monkeypatch.setattr("fljob_runtime.server.saver.write_tensors", held)


@dataclass
class Servers:
    """Shards that listen on loopback; use as a context manager."""

    services: list[ShardService]
    shards: list[Shard]
    metrics: list[ShardMetrics]
    addresses: list[str]
    shutdowns: list[str]
    make: Callable[[str, str], Credentials]
    clients: list[ServerClient]

    @classmethod
    def start(
        cls,
        tmp_path: Path,
        num_shards: int = 1,
        *,
        secure: bool = True,
        make: Callable[[str, str], Credentials] | None = None,
        num_trainers: int = 4,
        address: str = "127.0.0.1:0",
        **changes: object,
    ) -> Servers:
        """Start the shards, each with a certificate of its own."""
        make = make or (credentials if secure else _insecure)
        made = cls([], [], [], [], [], make, [])
        for number in range(num_shards):
            shard = Shard(config(tmp_path, shard=number, num_shards=num_shards, **changes))
            labels = {"namespace": "test", "job": "job", "shard": str(number), "mode": "Sync"}
            metrics = ShardMetrics(shard, labels)
            service = ShardService(
                shard,
                make(names.ROLE_SERVER, str(number)),
                metrics,
                num_trainers=num_trainers,
                on_shutdown=made.shutdowns.append,
            )
            made.addresses.append(f"127.0.0.1:{service.start(address)}")
            made.services.append(service)
            made.shards.append(shard)
            made.metrics.append(metrics)
        return made

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()
        for service in self.services:
            service.stop(0.0)

    def trainer(self, name: str = "a") -> ServerClient:
        """Return a trainer's client."""
        return self.client(names.ROLE_TRAINER, name)

    def coordinator(self) -> ServerClient:
        """Return the coordinator's client."""
        return self.client(names.ROLE_COORDINATOR, "coordinator")

    def client(self, role: str, name: str) -> ServerClient:
        """Return a client with the certificate of this role and name."""
        client = ServerClient(self.addresses, self.make(role, name), layout=LAYOUT)
        self.clients.append(client)
        return client

    def round(
        self,
        round_: int,
        updates: Mapping[str, ModelState],
        *,
        checkpoint: bool = False,
        release: Sequence[int] = (),
    ) -> Sequence[CommitResult]:
        """Push the trainers' updates and commit them."""
        accepted = [
            AcceptedUpdate(name, 0, self.trainer(name).push(round_, 0, state, 1, deadline_s=DEADLINE_S))
            for name, state in updates.items()
        ]
        return self.coordinator().commit(
            round_, accepted, checkpoint=checkpoint, release=release, deadline_s=DEADLINE_S
        )

    def written(self) -> list[SavedVersion]:
        """Wait until what the last commit asked for is on disk and return what the shards tell of it."""
        for shard in self.shards:
            assert shard.saver is not None
            shard.saver.wait(DEADLINE_S)
        return [state.saved for state in self.coordinator().state(deadline_s=DEADLINE_S) if state.saved is not None]

    def wait_for_open_calls(self, count: int) -> None:
        """Wait until the first shard serves this many calls of trainers."""
        wait_until(f"{count} open calls", lambda: self.services[0].open_calls == count, DEADLINE_S)

    @contextmanager
    def hanging_pushes(self, trainers: Sequence[str]) -> Iterator[None]:
        """Hold one push open for each name given, which has sent its header and no more."""
        (payload,) = encode_update(LAYOUT, update(1.0), 1)
        done = threading.Event()
        with ExitStack() as stack:
            channels = {
                name: stack.enter_context(self.make("trainer", name).channel(self.addresses[0], "server", "0"))
                for name in set(trainers)
            }
            for name in trainers:
                push = channels[name].stream_unary(f"/{SERVICE}/Push")
                call = push.future(_unfinished(header(payload, 1, name), done), timeout=DEADLINE_S)
                stack.callback(call.cancel)
            stack.callback(done.set)
            self.wait_for_open_calls(len(trainers))
            yield


def _unfinished(of: PushHeader, done: threading.Event) -> Iterator[bytes]:
    push = pb.PushHeader(job_uid=of.job_uid, round=of.round, trainer=of.trainer, num_samples=of.num_samples)
    yield pb.Chunk(push=push, blocks=blocks_to_proto(of.blocks)).SerializeToString()
    done.wait(DEADLINE_S)


def _insecure(role: str, name: str) -> Credentials:
    return Credentials.insecure(Identity(UID, role, name))
