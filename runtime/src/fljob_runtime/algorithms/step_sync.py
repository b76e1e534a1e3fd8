"""StepSync: one step of the server per mini-batch of every trainer, the classic synchronous parameter server.

Li et al. 2014, "Scaling Distributed Machine Learning with the Parameter Server" (OSDI), with sequential consistency:
no trainer starts a mini-batch before the gradients of the one before are applied. With weights by samples and rows
averaged over all, a step is that of one batch made of all trainers' batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fljob_api.strategy import RowAveraging, Weighting
from fljob_runtime.algorithms.exchange import Contribution, LiveState
from fljob_runtime.algorithms.fedavg import DenseMean, average_rows, union
from fljob_runtime.algorithms.server_optimizers import ServerOptimizer, step_rows
from fljob_runtime.parameters import RowSet


class StepSync:
    """Steps against the mean gradient of all trainers."""

    lockstep = True

    def __init__(self, optimizer: ServerOptimizer, *, weighting: Weighting, row_averaging: RowAveraging) -> None:
        self._optimizer = optimizer
        self._weighting = weighting
        self._row_averaging = row_averaging

    def apply(self, state: LiveState, contributions: Sequence[Contribution]) -> None:
        """Average, then step once: all dense values, and the rows that any trainer touched."""
        mean = DenseMean(state.dense.size)
        for gradient in contributions:
            mean.add(gradient.dense, self._weight(gradient))
        self._optimizer.step(state.dense, -mean.result(), state.dense_slots)
        for name, table in state.tables.items():
            rows = self._average(name, contributions)
            if len(rows):
                step_rows(self._optimizer, table, state.slots_of(name), rows.ids, -rows.values)

    def _weight(self, gradient: Contribution) -> float:
        return 1.0 if self._weighting is Weighting.UNIFORM else float(gradient.num_samples)

    def _average(self, name: str, contributions: Sequence[Contribution]) -> RowSet:
        """Return one gradient per row that anyone touched."""
        touching = [(g.rows[name], self._weight(g)) for g in contributions if name in g.rows]
        if not touching:
            return RowSet(np.empty(0, np.int64), np.empty((0, 0), np.float32))
        ids = union(rows.ids for rows, _ in touching)
        none = RowSet(ids, np.zeros((ids.size, touching[0][0].values.shape[1]), np.float32))
        if self._row_averaging is RowAveraging.TOUCHED:
            return average_rows([rows for rows, _ in touching], none)
        by_client = [replace(rows, weights=np.full(len(rows), weight)) for rows, weight in touching]
        return average_rows(by_client, none, over_all=sum(self._weight(g) for g in contributions))
