"""What `fuzz` feeds: each decoder with valid inputs, the errors that it documents, and a check that it still works.

An input is a list of messages; for files, a list of one. Must hold no decoding of its own.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from fljob_api.exit_codes import ExitCode
from fljob_api.wire import coordinator_pb2 as cpb
from fljob_api.wire import server_pb2 as pb
from fljob_runtime import messages as m
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.checkpoints.chain import open_chain
from fljob_runtime.checkpoints.manifest import Manifest, complete_versions, read_manifest, write_manifest
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError, TransportError
from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.packed import pack_ids, unpack_ids
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout, ModelState, ParamSpec, RowSet, Scope
from fljob_runtime.roles.journal import Journal, JournalError
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.rounds.values import (
    CohortChosen,
    Finished,
    ListAccepted,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    TrainerFailed,
)
from fljob_runtime.server.shard import Named, Shard, ShardConfig
from fljob_runtime.transport import conversion
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.exchange import answer_exchange
from fljob_runtime.transport.framing import blocks_to_proto, data_chunks, unpack
from fljob_runtime.transport.row_ids import ids_to_proto
from fljob_runtime.transport.shard_service import receive_push

Messages = list[bytes]
UID = "11111111-2222-3333-4444-555555555555"
ROWS, DIM = 40, 2
LAYOUT = ModelLayout(
    (
        ParamSpec("weight", (2, 3)),
        ParamSpec("items", (ROWS, DIM), Kind.ROWS),
        ParamSpec("bias", (3,)),
        ParamSpec("users", (4, DIM), Kind.ROWS, Scope.PRIVATE),
    )
)
_SHARDS = 2
_LAST_ATTEMPT = (1 << 32) - 1
_P = TypeVar("_P", bound=Message)


class PassedOverError(Exception):
    """The input was skipped as damaged, as it may be."""


@dataclass(frozen=True)
class Target:
    """One decoder: valid inputs, what it may raise, and a check that raises when the valid are no longer taken."""

    name: str
    valid: list[Messages]
    decode: Callable[[Messages], object]
    documented: tuple[type[Exception], ...]
    check: Callable[[], object]
    panics: type[BaseException] = MemoryError


def make_targets(folder: Path) -> list[Target]:
    """Return all targets; they write below `folder`."""
    return [
        _target("framing", [[message] for message in _push(1)], lambda m: unpack(m[0] if m else b""), TransportError),
        *_conversions(),
        _target("metrics", [[_metrics()]], lambda m: MetricSums.from_bytes(b"".join(m)), MetricsError),
        _target(
            "metrics, inflated",
            [[zlib.decompress(_metrics())]],
            lambda m: MetricSums.from_bytes(zlib.compress(b"".join(m), level=1)),
            MetricsError,
        ),
        _target("layout", [[LAYOUT.to_json()]], lambda m: ModelLayout.from_json(b"".join(m)), LayoutError),
        _target("row ids", [[_ids(40)], [_ids(1 << 50)]], lambda m: unpack_ids(_array(m), 12), TransportError),
        _pushes(folder, "push", 1),
        _pushes(folder, "first push", 0),
        _exchanges(folder),
        _manifests(folder, "manifest", signed=False),
        _manifests(folder, "manifest, signed", signed=True),
        _shard_files(folder, "shard file", 0),
        _shard_files(folder, "shard increment", 1),
        _journals(folder),
        _private(folder),
    ]


def _target(
    name: str, valid: list[Messages], decode: Callable[[Messages], object], *documented: type[Exception]
) -> Target:
    def check() -> None:
        for messages in valid:
            decode(list(messages))

    return Target(name, valid, decode, documented, check)


# The wire.


def _update(rows: int) -> ModelState:
    ids = np.arange(rows, dtype=np.int64)
    dense = {spec.name: np.full(spec.shape, 0.5, np.float32) for spec in LAYOUT.shared_dense}
    return ModelState(dense, {"items": RowSet(ids, np.full((rows, DIM), 0.25, np.float32), np.ones(rows))})


def _ids(below: int) -> bytes:
    return pack_ids(np.linspace(-7, below, 12).astype(np.int64)).tobytes()


def _array(messages: Messages) -> np.ndarray:
    return np.frombuffer(b"".join(messages), np.uint8)


def _push(round_: int, *, sequence: int = 0, attempt: int = 0) -> Messages:
    """Return a valid push, or exchange, to shard 0 of two."""
    payload = encode_update(LAYOUT, _update(ROWS if round_ == 0 else 12), _SHARDS)[0]
    layout = LAYOUT.to_json() if round_ == 0 else b""
    push = pb.PushHeader(job_uid=UID, round=round_, trainer="a", attempt=attempt, num_samples=3, layout=layout)
    exchange = None
    if sequence:
        wanted = ids_to_proto({"items": np.flatnonzero(_owned())[:3]})
        exchange = pb.ExchangeHeader(sequence=sequence, members=2, share=0.5, wanted=wanted)
    first = pb.Chunk(push=push, exchange=exchange, blocks=blocks_to_proto(payload.blocks))
    return [first.SerializeToString(), *(c for array in payload.arrays for c in data_chunks(array))]


def _owned() -> np.ndarray:
    payload = encode_update(LAYOUT, _update(ROWS), _SHARDS)[0]
    mask = np.zeros(ROWS, np.bool_)
    mask[unpack_ids(np.asarray(payload.arrays[1], np.uint8), payload.blocks[1].num_rows)] = True
    return mask


def _shard(folder: Path, name: str, *, begun: bool = True, exchanging: bool = False) -> Shard:
    root = folder / name.replace(" ", "-")
    root.mkdir()
    shard = Shard(
        ShardConfig(
            job_uid=UID,
            incarnation=0,
            shard=0,
            num_shards=_SHARDS,
            boot_id="boot",
            scratch=root,
            memory_bytes=4096,
            checkpoint=root,
            exchange=Geo() if exchanging else None,
        )
    )
    if begun:
        staged = receive_push(shard, iter(_push(0)), _same)
        shard.commit(0, [Named("a", 0, staged.digest)], checkpoint=True)
        _written(shard)
    return shard


def _written(shard: Shard) -> None:
    if shard.saver is None or shard.saver.wait(60.0) is None:
        raise AssertionError("the shard wrote nothing")


def _pushes(folder: Path, name: str, round_: int) -> Target:
    shard = _shard(folder, name, begun=round_ > 0)
    valid = _push(round_, attempt=_LAST_ATTEMPT)  # so that no mutant's attempt is later
    receive_push(shard, iter(valid), _same)
    reserved = shard.reserved_bytes

    def check() -> None:
        receive_push(shard, iter(valid), _same)
        if shard.reserved_bytes != reserved:
            raise AssertionError(f"{shard.reserved_bytes} bytes are reserved, {reserved} for the same at first")

    return Target(name, [valid], lambda m: receive_push(shard, iter(m), _same), (TransportError,), check)


def _same(trainer: str) -> None:
    """Let trainer a in alone, as its certificate does: what one trainer may stage is what is bounded."""
    if trainer != "a":
        raise TransportError(f"{trainer!r} is not a")


def _exchanges(folder: Path) -> Target:
    shard = _shard(folder, "exchange", exchanging=True)
    valid = [_push(1, sequence=1), _push(1, sequence=2)]
    at_rest = shard.reserved_bytes

    def decode(messages: Messages) -> Messages:
        return list(answer_exchange(shard, iter(messages), _same).chunks())

    def check() -> None:
        for messages in valid:
            decode(messages)
        if shard.reserved_bytes != at_rest:
            raise AssertionError(f"{shard.reserved_bytes} bytes stay reserved, {at_rest} before")

    return Target("exchange", valid, decode, (TransportError,), check)


def _conversions() -> Iterator[Target]:
    reports: list[m.Report] = [
        m.Hello(UID, 0, "a", LAYOUT.digest, LAYOUT.to_json(), 10),
        m.TrainReport(1, 0, (m.Receipt(0, "d", 9),), 10, _metrics()),
        m.Heartbeat(1, "Training", 5, 10, 0.5, 0.7),
        m.EvaluateReport(1, _metrics(), 0.5),
        m.Failure(ExitCode.BAD_DATA, "torn"),
    ]
    finish = m.Finish(m.Outcome.SUCCEEDED, "Completed", "", ExitCode.DONE)
    instructions: list[m.Instruction] = [m.Initialize(), m.Train(1, 5.0, 2, 0.5), m.Evaluate(1, 2), m.Repush(1), finish]
    saved = m.SavedVersion(1, "d", "a", "b", (("c", "d"),))
    state = m.ShardState(0, 1, "boot", (0, 1), (m.StagedUpdate(1, "a", 0, "d"),), 5, 5, saved)
    yield _protos("report", map(conversion.report_to_proto, reports), cpb.ClientReport, conversion.report_from_proto)
    told = map(conversion.instruction_to_proto, instructions)
    yield _protos("instruction", told, cpb.Instruction, conversion.instruction_from_proto)
    yield _protos("shard state", [conversion.state_to_proto(state)], pb.ShardState, conversion.state_from_proto)


def _protos(name: str, valid: Iterable[_P], kind: type[_P], read: Callable[[_P], object]) -> Target:
    """Return a target for messages that grpc decodes, whose DecodeError costs the call."""

    def decode(messages: Messages) -> object:
        return read(kind.FromString(b"".join(messages)))

    return _target(name, [[v.SerializeToString()] for v in valid], decode, TransportError, DecodeError)


def _metrics() -> bytes:
    logits = np.linspace(-2.0, 2.0, 9, dtype=np.float32)
    return MetricSums.of(logits, (logits > 0.3).astype(np.float32)).to_bytes()


# Files.


def _manifests(folder: Path, name: str, *, signed: bool) -> Target:
    """Return a target for manifests as they are read at start; signed: with the right digest whatever they say."""
    root = folder / name.replace(" ", "-")
    part = root / UID / "3" / "shard-0-of-1.safetensors"
    path = write_manifest(root, Manifest(UID, 3, (ShardFileName(str(part.relative_to(root)), "0" * 64),), ("d",)))
    part.write_bytes(b"")
    valid = [[path.read_bytes()]]

    def decode(messages: Messages) -> None:
        content = b"".join(messages)
        path.write_bytes(_signed(content) if signed else content)
        if signed:
            complete_versions(root, UID)  # looks behind the digest, and skips what read_manifest refuses
        read_manifest(path)

    return _target(name, valid, decode, CheckpointError)


def _signed(content: bytes) -> bytes:
    try:
        body = json.loads(content)
        body.pop("digest", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return content
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**body, "digest": hashlib.sha256(text).hexdigest()}).encode()


def _shard_files(folder: Path, name: str, version: int) -> Target:
    """Return a target for shards' files under the digest that they have: what lies behind the digest check.

    Version 0 is a full file, 1 an increment to it.
    """
    shard = _shard(folder, name)
    staged = receive_push(shard, iter(_push(1)), _same)
    shard.commit(1, [Named("a", 0, staged.digest)], checkpoint=True)
    _written(shard)
    root = folder / name.replace(" ", "-")
    path = next(root.glob(f"{UID}/{version}/*.safetensors"))
    relative = str(path.relative_to(root))

    def decode(messages: Messages) -> None:
        content = b"".join(messages)
        path.write_bytes(content)
        open_chain(root, ShardFileName(relative, hashlib.sha256(content).hexdigest())).part()

    return _target(name, [[path.read_bytes()]], decode, CheckpointError)


def _journals(folder: Path) -> Target:
    path = folder / "journal.jsonl"
    journal = Journal(path, uid=UID)
    update = m.AcceptedUpdate("a", 0, (m.Receipt(0, "d", 9),))
    for round_ in range(2):
        journal.append(CohortChosen(round_, ("a",), ("a", "b"), LAYOUT.digest, (10,)))
        journal.append(ListAccepted(round_, (update,), ("b",), 10, {"Loss": 0.5}, 100))
        journal.append(RoundCommitted(round_, 0.5, durable=False))
        journal.append(RoundDurable(round_))
        journal.append(RoundEvaluated(round_, {"Loss": 0.5, "AUC": 0.7}))
    journal.append(TrainerFailed("b", ExitCode.BAD_DATA, "torn"))
    journal.append(Rewound(0))
    journal.append(Finished(m.Outcome.FAILED, "Crashed", "", ExitCode.CRASH, 0))
    journal.close()

    def decode(messages: Messages) -> None:
        path.write_bytes(b"".join(messages))
        Journal(path, uid=UID).close()

    return _target("journal", [path.read_bytes().splitlines(keepends=True)], decode, JournalError)


def _private(folder: Path) -> Target:
    """Return a target for a trainer's private state, of which anything damaged is skipped."""
    store = PrivateStore(folder / "private", LAYOUT, job_uid=UID)
    rows = RowSet(np.arange(4, dtype=np.int64), np.ones((4, DIM), np.float32))
    store.save(1, ModelState({}, {"users": rows}))
    path = next((folder / "private").glob("*/*.safetensors"))

    def decode(messages: Messages) -> None:
        path.write_bytes(b"".join(messages))
        loaded = store.load(1)
        for name, found in loaded.rows.items():
            values = np.zeros(LAYOUT[name].shape, np.float32)
            values[found.ids] = found.values
        if not loaded.rows:
            raise PassedOverError

    return _target("private state", [[path.read_bytes()]], decode, PassedOverError)
