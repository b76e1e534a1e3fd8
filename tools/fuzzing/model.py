"""The small model that the targets decode, its updates, and a shard of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.compression.chain import Chain
from fljob_runtime.errors import TransportError
from fljob_runtime.metrics.sums import MetricSums
from fljob_runtime.packed import unpack_ids
from fljob_runtime.parameters import Int64Array, Kind, ModelLayout, ModelState, ParamSpec, RowSet, Scope
from fljob_runtime.server.shard import Named, Shard, ShardConfig
from fljob_runtime.transport.encode import Coding, encode_update
from fljob_runtime.transport.framing import blocks_to_proto, data_chunks
from fljob_runtime.transport.shard_service import receive_push

UID = "11111111-2222-3333-4444-555555555555"
TRAINER = "a"
ROWS, DIM, SHARDS = 40, 2, 2
LAYOUT = ModelLayout(
    (
        ParamSpec("weight", (2, 3)),
        ParamSpec("items", (ROWS, DIM), Kind.ROWS),
        ParamSpec("bias", (3,)),
        ParamSpec("users", (4, DIM), Kind.ROWS, Scope.PRIVATE),
    )
)


def update(rows: int) -> ModelState:
    """Return an update of all dense values and of the first rows."""
    ids = np.arange(rows, dtype=np.int64)
    dense = {spec.name: np.full(spec.shape, 0.5, np.float32) for spec in LAYOUT.shared_dense}
    return ModelState(dense, {"items": RowSet(ids, np.full((rows, DIM), 0.25, np.float32), np.ones(rows))})


def owned() -> Int64Array:
    """Return the ids of the rows of shard 0."""
    payload = encode_update(LAYOUT, update(ROWS), SHARDS)[0]
    return unpack_ids(np.asarray(payload.arrays[1], np.uint8), payload.blocks[1].num_rows)


def metrics() -> bytes:
    """Return metric sums as a trainer reports them."""
    logits = np.linspace(-2.0, 2.0, 9, dtype=np.float32)
    return MetricSums.of(logits, (logits > 0.3).astype(np.float32)).to_bytes()


def push(
    round_: int,
    *,
    attempt: int = 0,
    chain: Chain | None = None,
    exchange: pb.ExchangeHeader | None = None,
    shard: int = 0,
) -> list[bytes]:
    """Return the messages of a valid push, or exchange, to a shard of two."""
    coding = Coding(chain, round_, attempt, TRAINER) if chain and round_ else None
    payload = encode_update(LAYOUT, update(ROWS if round_ == 0 else 12), SHARDS, coding)[shard]
    header = pb.PushHeader(
        job_uid=UID,
        round=round_,
        trainer=TRAINER,
        attempt=attempt,
        num_samples=3,
        layout=LAYOUT.to_json() if round_ == 0 else b"",
        codecs=coding.chain.names if coding else (),
    )
    first = pb.Chunk(push=header, exchange=exchange, blocks=blocks_to_proto(payload.blocks))
    return [first.SerializeToString(), *data_chunks(payload.arrays)]


def make_shard(root: Path, *, begun: bool = True, **changes: object) -> Shard:
    """Return a shard, 0 of two, with 4 KiB for updates; begun: with version 0, and a checkpoint of it below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    config = ShardConfig(
        job_uid=UID,
        incarnation=0,
        shard=0,
        num_shards=SHARDS,
        boot_id="boot",
        scratch=root,
        memory_bytes=4096,
        checkpoint=root,
    )
    shard = Shard(replace(config, **changes))  # type: ignore[arg-type]
    if begun:
        staged = receive_push(shard, iter(push(0, shard=shard.config.shard)), only_trainer)
        shard.commit(0, [Named(TRAINER, 0, staged.digest)], checkpoint=True)
        written(shard)
    return shard


def written(shard: Shard) -> None:
    """Wait until the last commit's version is on disk."""
    if shard.saver is None or shard.saver.wait(60.0) is None:
        raise AssertionError("the shard wrote nothing")


def only_trainer(trainer: str) -> None:
    """Let one trainer in alone, as its certificate does: what one trainer may stage is what is bounded."""
    if trainer != TRAINER:
        raise TransportError(f"{trainer!r} is not {TRAINER}")
