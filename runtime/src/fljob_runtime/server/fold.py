"""The mean of staged updates, block by block so that sums stay in the cache. Pure, numpy, one core.

Used by `shard` at commit; the arithmetic is `algorithms.fedavg`. Each element's sum has the same float64 terms
in the same order whatever the block, the number of shards or the order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.algorithms.fedavg import DenseMean, average_rows
from fljob_runtime.parameters import Float32Array, Int64Array, RowSet
from fljob_runtime.server.staging import StagedRows

_BLOCK_ELEMENTS = 1 << 15


@dataclass(frozen=True)
class FoldedRows:
    """Some rows of one table: positions [n] within the shard's part, sorted; values [n, D].

    state: arrays [n, D] of the server optimizer's state, where the rows were stepped.
    """

    positions: Int64Array
    values: Float32Array
    state: tuple[Float32Array, ...] = ()

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return all that it is made of."""
        return (self.positions, self.values, *self.state)


def fold_dense(vectors: Sequence[Float32Array], weights: Sequence[float]) -> Float32Array:
    """Return Σ wᵢxᵢ / Σ wᵢ of float32 vectors [K], added in the order given."""
    size = vectors[0].size
    mean = np.empty(size, np.float32)
    for start in range(0, size, _BLOCK_ELEMENTS):
        block = slice(start, min(start + _BLOCK_ELEMENTS, size))
        acc = DenseMean(block.stop - block.start)
        for vector, weight in zip(vectors, weights, strict=True):
            acc.add(vector[block], weight)
        acc.result(mean[block])
    return mean


def fold_rows(updates: Sequence[StagedRows], current: Float32Array, *, over_all: float = 0.0) -> FoldedRows:
    """Average each touched row of a table's part `current` [N, D]; the order of updates is the order of sums.

    over_all: 0 to average over the updates that touched the row; else the weight of all clients together,
    where weights are the clients' and who did not touch a row counts with its current value.
    """
    num_rows, dim = current.shape
    step = max(1, _BLOCK_ELEMENTS // dim)
    cuts = [np.searchsorted(update.positions, np.arange(0, num_rows + step, step)) for update in updates]
    positions, values = [np.empty(0, np.int64)], [np.empty((0, dim), np.float32)]
    seen = np.zeros(step, np.bool_)
    for block, start in enumerate(range(0, num_rows, step)):
        seen[:] = False
        parts = []
        for update, cut in zip(updates, cuts, strict=True):
            part = slice(cut[block], cut[block + 1])
            parts.append(RowSet(update.positions[part], update.values[part], update.weights[part]))
            seen[update.positions[part] - start] = True
        touched = np.flatnonzero(seen) + start
        if touched.size:
            previous = RowSet(touched, current[touched])
            positions.append(touched)
            values.append(average_rows([p for p in parts if len(p)], previous, over_all=over_all).values)
    return FoldedRows(np.concatenate(positions), np.concatenate(values))
