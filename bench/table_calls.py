"""What `tables` measures in one process: Zipf batches of rows, and shards that hold a table, a push taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fljob_runtime.algorithms.exchange import ExchangeRule
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.parameters import Float32Array, Int64Array, Kind, ModelLayout, ModelState, ParamSpec, RowSet
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.live import Exchange
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import Intake, PushHeader, Staged
from fljob_runtime.transport.credentials import CHUNK_BYTES
from fljob_runtime.transport.encode import Payload, encode_update, split_rows
from fljob_runtime.transport.framing import data_chunks, take_in

UID, TABLE, DIM = "bench", "items", 32
_STEP = CHUNK_BYTES // (4 * DIM)


@dataclass(frozen=True)
class Batch:
    """Rows of one call: ids int64 [n], sorted, unique; values float32 [n, D]."""

    ids: Int64Array
    values: Float32Array

    @property
    def state(self) -> ModelState:
        """Return the batch as an update of one client."""
        return ModelState({}, {TABLE: RowSet(self.ids, self.values, np.ones(len(self.ids)))})


def layout_of(num_rows: int) -> ModelLayout:
    """Return a model of one table."""
    return ModelLayout((ParamSpec(TABLE, (num_rows, DIM), Kind.ROWS),))


def initial(num_rows: int) -> Batch:
    """Return values of all rows."""
    values = np.random.default_rng(1).standard_normal((num_rows, DIM), dtype=np.float32)
    return Batch(np.arange(num_rows, dtype=np.int64), values)


class Zipf:
    """Draws batches of ids as users touch items: rank k with probability ~ 1/k, hot ids spread over the table."""

    def __init__(self, num_rows: int, seed: int = 0) -> None:
        self._num_rows = num_rows
        self._random = np.random.default_rng(seed)
        self._below = np.cumsum(1.0 / np.arange(1, num_rows + 1))
        self._spread = next(p for p in (7_368_787, 7_368_791) if num_rows % p)

    def batch(self, num_rows: int) -> Batch:
        """Return a batch of exactly so many rows."""
        ids = np.empty(0, np.int64)
        while len(ids) < num_rows:
            drawn = self._random.random(2 * num_rows) * self._below[-1]
            ranks = np.minimum(np.searchsorted(self._below, drawn), self._num_rows - 1)
            ids = np.unique(np.concatenate([ids, ranks * self._spread % self._num_rows]))
        kept = np.sort(self._random.permutation(ids)[:num_rows])
        return Batch(kept, self._random.standard_normal((num_rows, DIM), dtype=np.float32))


Sent = list[tuple[Payload, list[bytes]]]


class Shards:
    """All shards of a table in this process, called as their service calls them. geo: exchanges, not commits."""

    def __init__(self, num_rows: int, num_shards: int, scratch: Path, *, geo: bool = False) -> None:
        rule: ExchangeRule | None = Geo() if geo else None
        self._layout, self._num = layout_of(num_rows), num_shards
        self._shards = [
            Shard(ShardConfig(UID, 0, i, num_shards, "boot", scratch, 8 << 30, exchange=rule))
            for i in range(num_shards)
        ]
        self._round, self._sequence = -1, 0
        self.commit(self.stage(self.sent(initial(num_rows))))
        if geo:
            self._round = 1
            self.add(self.take(self.sent(Zipf(num_rows).batch(100))))  # makes the round's copy of the table

    def sent(self, batch: Batch) -> Sent:
        """Return what a client sends of a batch to each shard: its own work, not the server's."""
        payloads = encode_update(self._layout, batch.state, self._num)
        return [(payload, list(data_chunks(payload.arrays))) for payload in payloads]

    def asked(self, ids: Int64Array) -> list[Int64Array]:
        """Return the ids that each shard is asked for."""
        return [ids[index] for index in split_rows(TABLE, ids, self._num)]

    def pull(self, asked: list[Int64Array]) -> Float32Array:
        """Gather rows at the newest version; returns the last piece."""
        piece = np.empty((0, DIM), np.float32)
        for shard, ids in zip(self._shards, asked, strict=True):
            model = shard.model()
            positions = model.locate(TABLE, ids)
            for start in range(0, len(positions), _STEP):
                piece = model.rows(model.newest, TABLE, positions[start : start + _STEP])
        return piece

    def stage(self, sent: Sent) -> list[Staged]:
        """Receive, check and keep one trainer's push of the next round."""
        self._round += 1
        received = zip(self._shards, self.receive(sent), strict=True)
        return [shard.close_push(intake) for shard, intake in received]

    def commit(self, staged: list[Staged]) -> None:
        """Fold the push into the next version and forget the one before."""
        for shard, update in zip(self._shards, staged, strict=True):
            named = [Named("a", 0, update.digest)]
            shard.commit(self._round, named, checkpoint=False, release=[self._round - 1])

    def receive(self, sent: Sent) -> list[Intake]:
        """Take in the bytes of a push."""
        intakes = []
        for shard, (payload, chunks) in zip(self._shards, sent, strict=True):
            layout = self._layout.to_json() if self._round == 0 else b""
            intakes.append(shard.open_push(PushHeader(UID, 0, self._round, "a", 0, 1, payload.blocks, layout)))
            take_in(chunks, intakes[-1])
        return intakes

    def take(self, sent: Sent) -> list[Staged]:
        """Receive and check one trainer's contribution to the round."""
        received = zip(self._shards, self.receive(sent), strict=True)
        return [shard.close_exchange(intake) for shard, intake in received]

    def add(self, received: list[Staged]) -> None:
        """Apply a contribution to the round's values, as Geo does at once; nothing is asked for."""
        self._sequence += 1
        asked = Exchange("a", self._sequence, 1, 1.0, last=False, wanted={}, dense=False)
        for shard, staged in zip(self._shards, received, strict=True):
            shard.exchange(asked, self._round, staged)
