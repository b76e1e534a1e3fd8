"""The small model that the targets decode, its updates, and a shard of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.compression.chain import Chain
from fljob_runtime.errors import TransportError
from fljob_runtime.metrics.sums import MetricSums
from fljob_runtime.parameters import (
    Int64Array,
    Kind,
    ModelLayout,
    ModelState,
    ParamSpec,
    RowSet,
    Scope,
    TableRules,
)
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.placement import shards_of
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.transport.encode import Coding, encode_update
from fljob_runtime.transport.framing import blocks_to_proto, data_chunks
from fljob_runtime.transport.shard_service import receive_push

UID = "11111111-2222-3333-4444-555555555555"
TRAINER = "a"
ROWS, DIM, SHARDS = 40, 2, 2
NUM_WORDS = 32
LAYOUT = ModelLayout(
    (
        ParamSpec("weight", (2, 3)),
        ParamSpec("items", (ROWS, DIM), Kind.ROWS),
        ParamSpec("bias", (3,)),
        ParamSpec("users", (4, DIM), Kind.ROWS, Scope.PRIVATE),
        ParamSpec(
            "words", (DIM,), Kind.KEYED, rules=TableRules(admit_after=2, expire_after_rounds=9, max_rows=NUM_WORDS)
        ),
        ParamSpec("tags", (DIM,), Kind.KEYED, Scope.PRIVATE, TableRules()),
    )
)


def words(round_: int) -> Int64Array:
    """Return the ids of the keyed table that a round touches: any numbers, fewer every round, so that some wait."""
    every = [k * ((1 << 64) - 1) // (NUM_WORDS - 1) - (1 << 63) for k in range(NUM_WORDS)]
    return np.array(every[4 * round_ :], np.int64)


def update(round_: int) -> ModelState:
    """Return an update of all dense values, and of some rows; in round 0 of all that exist from the start."""
    dense = {spec.name: np.full(spec.shape, 0.5, np.float32) for spec in LAYOUT.shared_dense}
    touched = {"items": np.arange(12 if round_ else ROWS, dtype=np.int64)}
    if round_:
        touched["words"] = words(round_)
    rows = {n: RowSet(i, np.full((i.size, DIM), 0.25, np.float32), np.ones(i.size)) for n, i in touched.items()}
    return ModelState(dense, rows)


def owned() -> dict[str, Int64Array]:
    """Return the ids of some rows of each table of shard 0."""
    every = {"items": np.arange(ROWS, dtype=np.int64), "words": words(1)}
    return {name: ids[shards_of(name, ids, SHARDS) == 0][:3] for name, ids in every.items()}


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
    payload = encode_update(LAYOUT, update(round_), SHARDS, coding)[shard]
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
    """Return a shard, 0 of two, with 4 KiB for updates; begun: with version 0."""
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
        commit(shard, 0)
    return shard


def commit(shard: Shard, round_: int, *, checkpoint: bool = False) -> None:
    """Make the version of a round; checkpoint: and wait until it is on disk."""
    staged = receive_push(shard, iter(push(round_, shard=shard.config.shard)), only_trainer)
    shard.commit(round_, [Named(TRAINER, 0, staged.digest)], checkpoint=checkpoint)
    if checkpoint and (shard.saver is None or shard.saver.wait(60.0) is None):
        raise AssertionError("the shard wrote nothing")


def only_trainer(trainer: str) -> None:
    """Let one trainer in alone, as its certificate does: what one trainer may stage is what is bounded."""
    if trainer != TRAINER:
        raise TransportError(f"{trainer!r} is not {TRAINER}")
