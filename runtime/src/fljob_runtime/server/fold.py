"""The mean of staged updates, block by block so that sums stay in the cache. Pure, numpy.

Used by `shard` at commit; the arithmetic is `algorithms.fedavg`. Each element's sum has the same float64 terms in the
same order whatever the block, the thread, the number of shards or the order of arrival.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.algorithms.fedavg import DenseMean, average_rows, union
from fljob_runtime.parameters import Float32Array, Float64Array, Int32Array, Int64Array, RowSet
from fljob_runtime.server.staging import StagedRows

_BLOCK_ELEMENTS = 1 << 17
_PART_ELEMENTS = 1 << 21  # of a thread's own; memory is the limit of four together
_MOST_THREADS = 4
_FEW = 16  # fewer touched rows than one in so many are sorted, not marked in an array of all rows
_LEAST_WEIGHT = 1e-200


@dataclass(frozen=True)
class Unadmitted:
    """Ids of a keyed table that updates touched and that get no row: sorted [n], with how often, all in all.

    left_out: contributions to rows that were left out for want of earlier ones; refused: for want of room.
    """

    ids: Int64Array
    touches: Int32Array
    left_out: int = 0
    refused: int = 0


@dataclass(frozen=True)
class FoldedRows:
    """Some rows of one table: positions [n] within the shard's part, sorted; values [n, D].

    The positions of a keyed table's rows are their ids. state: arrays [n, D] of the server optimizer's state, where the
    rows were stepped. unadmitted: of a keyed table only. borrowed: positions and values are an update's own memory, to
    be read before that is given back and not to be kept or changed.
    """

    positions: Int64Array
    values: Float32Array
    state: tuple[Float32Array, ...] = ()
    unadmitted: Unadmitted | None = None
    borrowed: bool = False

    def owned(self) -> FoldedRows:
        """Return the same in memory of its own."""
        if not self.borrowed:
            return self
        return replace(self, positions=self.positions.copy(), values=self.values.copy(), borrowed=False)

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return all that it is made of."""
        waiting = (self.unadmitted.ids, self.unadmitted.touches) if self.unadmitted else ()
        return (self.positions, self.values, *self.state, *waiting)


def fold_dense(vectors: Sequence[Float32Array], weights: Sequence[float]) -> Float32Array:
    """Return Σ wᵢxᵢ / Σ wᵢ of float32 vectors [K], added in the order given; a long one by several threads.

    All trainers wait for a commit, so the cores that they trained on are free.
    """
    size = vectors[0].size
    mean = np.empty(size, np.float32)
    threads = max(1, min(_MOST_THREADS, os.cpu_count() or 1, size // _PART_ELEMENTS))
    cuts = [size * part // threads for part in range(threads + 1)]

    def fold(part: int) -> None:
        within = slice(cuts[part], cuts[part + 1])
        _fold_into(mean[within], [vector[within] for vector in vectors], weights)

    if threads == 1:
        fold(0)
        return mean
    with ThreadPoolExecutor(threads, "fold") as pool:
        list(pool.map(fold, range(threads)))
    return mean


def _fold_into(mean: Float32Array, vectors: Sequence[Float32Array], weights: Sequence[float]) -> None:
    if len(vectors) == 1 and _comes_back(np.array(weights)):
        mean[:] = vectors[0]
        return
    for start in range(0, mean.size, _BLOCK_ELEMENTS):
        block = slice(start, min(start + _BLOCK_ELEMENTS, mean.size))
        acc = DenseMean(block.stop - block.start)
        for vector, weight in zip(vectors, weights, strict=True):
            acc.add(vector[block], weight)
        acc.result(mean[block])


def fold_rows(updates: Sequence[StagedRows], current: Float32Array, *, over_all: float = 0.0) -> FoldedRows:
    """Average each touched row of a table's part `current` [N, D]; the order of updates is the order of sums.

    over_all: 0 to average over the updates that touched the row; else the weight of all clients together,
    where weights are the clients' and who did not touch a row counts with its current value.
    The rows of one update alone are its values, not copied; a 0 is made of each -0 among them, in place.
    """
    if len(updates) == 1 and over_all == 0.0 and _comes_back(updates[0].weights):
        values = updates[0].values
        values += np.float32(0.0)  # the sum begins with 0, which makes a 0 of -0
        return FoldedRows(updates[0].positions, values, borrowed=True)
    touched = _union([update.positions for update in updates], len(current))
    values = np.empty((touched.size, current.shape[1]), np.float32)
    step = max(1, _BLOCK_ELEMENTS // current.shape[1])
    cuts = [[*np.searchsorted(u.positions, touched[::step]).tolist(), len(u.positions)] for u in updates]
    for block, start in enumerate(range(0, touched.size, step)):
        positions = touched[start : start + step]
        parts = [
            RowSet(update.positions[first:stop], update.values[first:stop], update.weights[first:stop])
            for update, cut in zip(updates, cuts, strict=True)
            if (first := cut[block]) < (stop := cut[block + 1])
        ]
        part = values[start : start + step]
        if over_all > 0.0:
            current.take(positions, axis=0, out=part, mode="clip")
        average_rows(parts, RowSet(positions, part), over_all=over_all, out=part)
    return FoldedRows(touched, values)


def _union(positions: Sequence[Int64Array], num_rows: int) -> Int64Array:
    """Return the positions that any of these has, sorted; in time of what was touched where that is little."""
    if len(positions) == 1:
        return positions[0].copy()
    if sum(part.size for part in positions) < num_rows // _FEW:
        return union(positions)
    seen = np.zeros(num_rows, np.bool_)
    for part in positions:
        seen[part] = True
    return np.flatnonzero(seen)


def _comes_back(weights: Float64Array) -> bool:
    """Return whether (w x) / w, computed in float64 and rounded to float32, is x for every float32 x.

    Each of the two steps errs by 2^-53 of the value at most, and x is the only float32 so near; unless w is so far from
    1 that w x has no full precision or no room in float64. Of no weights nothing is said.
    """
    return bool(weights.size and weights.min() > _LEAST_WEIGHT and weights.max() < 1.0 / _LEAST_WEIGHT)
