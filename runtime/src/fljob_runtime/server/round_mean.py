"""The values that a round's updates make together, by the job's algorithm and averaging. Pure, numpy.

Made by `shard` for each commit. `fold` takes the means, `algorithms` says with which weights, and how far to go towards
them; where that is all the way, as always in FedAvg, the mean is the next value bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fljob_api.strategy import RowAveraging, Weighting
from fljob_runtime.algorithms.algorithm import Averaging
from fljob_runtime.algorithms.fednova import stretch, stretch_rows
from fljob_runtime.parameters import Float32Array, ModelLayout
from fljob_runtime.server.fold import FoldedRows, fold_dense, fold_rows
from fljob_runtime.server.placement import dense_range
from fljob_runtime.server.staging import Staged, StagedRows

_NEAR = 1e-9  # a row's way that differs from all the way by rounding only


class RoundMean:
    """What becomes of some updates; their order is the order of sums."""

    def __init__(
        self,
        updates: Sequence[Staged],
        weighting: Weighting,
        row_averaging: RowAveraging,
        averaging: Averaging,
        *,
        share: float = 1.0,
    ) -> None:
        """share: part of all clients that the updates are of; the others' rows count as they are in `All`."""
        self._share = share
        samples = [update.header.num_samples for update in updates]
        self._updates, self._averaging = updates, averaging
        self._touched = row_averaging is RowAveraging.TOUCHED
        self._weights = [1.0 if weighting is Weighting.UNIFORM else float(n) for n in samples]
        self._norms = averaging.norms(samples)
        self._alike = len(set(self._norms)) == 1
        # As multiples of the least weight of a norm: 1 for all if they are alike, so that whole weights stay whole.
        self._factors = [max(self._norms) / norm for norm in self._norms]
        self._stretch = 1.0 if self._alike else stretch(self._weights, self._norms)
        self._folded = [w * factor for w, factor in zip(self._weights, self._factors, strict=True)]

    def dense(self, old: Float32Array | None, layout: ModelLayout, shard: tuple[int, int]) -> Float32Array:
        """Return the next dense range, float32 [K]. old: the present one, None in round 0; shard: number, count."""
        mean = fold_dense([update.dense for update in self._updates], self._folded)
        if old is not None:
            for name, piece in _pieces(layout, shard):
                _go(mean[piece], old[piece], self._stretch * self._averaging.part(name, len(self._updates)))
        return mean

    def table(self, name: str, old: Float32Array, touching: Sequence[tuple[int, StagedRows]]) -> FoldedRows:
        """Return the next values of the rows of a table that were touched.

        old: the present ones [N, D]; touching: the rows of each update that has some, by position in `old`, and which
        of the updates it is.
        """
        if self._touched:
            counted = [r if self._alike else replace(r, weights=r.weights * self._factors[i]) for i, r in touching]
            folded = fold_rows(counted, old)
        else:
            by_client = [replace(r, weights=np.full(len(r.positions), self._folded[i])) for i, r in touching]
            folded = fold_rows(by_client, old, over_all=sum(self._folded) / self._share)
        part = self._averaging.part(name, len(self._updates))
        if self._touched and not self._alike:
            far = part * stretch_rows(folded.positions, [(r.positions, r.weights, self._norms[i]) for i, r in touching])
        elif abs(part * self._stretch - 1.0) <= _NEAR:
            return folded
        else:
            far = np.full(len(folded.positions), part * self._stretch)
        some = np.flatnonzero(np.abs(far - 1.0) > _NEAR)
        if some.size:
            folded = folded.owned()
            values = folded.values[some]
            _go(values, old[folded.positions[some]], far[some, None].astype(np.float32))
            folded.values[some] = values
        return folded


def _go(mean: Float32Array, old: Float32Array, far: float | Float32Array) -> None:
    """Replace the mean by old + far (mean - old), in place."""
    if isinstance(far, float) and far == 1.0:
        return
    mean -= old
    mean *= far
    mean += old


def _pieces(layout: ModelLayout, shard: tuple[int, int]) -> Iterator[tuple[str, slice]]:
    """Yield each shared dense parameter that has elements in the shard's range, and where in the range they are."""
    start, stop = dense_range(layout.dense_size, *shard)
    offset = 0
    for spec in layout.shared_dense:
        first, last = max(offset, start), min(offset + spec.size, stop)
        if first < last:
            yield spec.name, slice(first - start, last - start)
        offset += spec.size
