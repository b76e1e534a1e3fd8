"""Which shard holds what: equal ranges of the dense vector, rows by hash of (table, id). Pure.

Used by the server (what is mine), the clients (whom to ask) and the assembly of the finished model.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.parameters import Int64Array


def dense_range(size: int, shard: int, num_shards: int) -> tuple[int, int]:
    """Return [start, stop) of a dense vector of `size` elements that a shard holds."""
    return size * shard // num_shards, size * (shard + 1) // num_shards


def shards_of(table: str, ids: Int64Array, num_shards: int) -> Int64Array:
    """Return the shard of each row id (splitmix64 of the id and the table's name). Shape as `ids`."""
    if num_shards == 1:
        return np.zeros(ids.shape, np.int64)
    salt = np.uint64(int.from_bytes(hashlib.sha256(table.encode()).digest()[:8], "little"))
    z: NDArray[np.uint64] = ids.astype(np.uint64) ^ salt
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    shards: Int64Array = (z % np.uint64(num_shards)).astype(np.int64)
    return shards


def owned_ids(table: str, num_rows: int, shard: int, num_shards: int) -> Int64Array:
    """Return the sorted ids of a table's rows that a shard holds. int64 [n]."""
    ids = np.arange(num_rows, dtype=np.int64)
    if num_shards == 1:
        return ids
    owned: Int64Array = ids[shards_of(table, ids, num_shards) == shard]
    return owned
