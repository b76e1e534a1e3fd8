"""Async: the server applies each trainer's mini-batch gradient when it comes.

Downpour SGD of Dean et al. 2012, "Large Scale Distributed Deep Networks", section 4.1, with a fetch after every push: a
gradient may have been made from values that other trainers have changed since (its staleness, counted by the shard).
"""

from __future__ import annotations

from collections.abc import Sequence

from fljob_runtime.algorithms.exchange import Contribution, LiveState
from fljob_runtime.algorithms.server_optimizers import ServerOptimizer, step_rows


class Async:
    """Steps against each gradient, one trainer at a time."""

    lockstep = False

    def __init__(self, optimizer: ServerOptimizer) -> None:
        self._optimizer = optimizer

    def apply(self, state: LiveState, contributions: Sequence[Contribution]) -> None:
        """Step once per contribution: all dense values, and the rows it touched."""
        for gradient in contributions:
            self._optimizer.step(state.dense, -gradient.dense, state.dense_slots)
            for name, rows in gradient.rows.items():
                step_rows(self._optimizer, state.tables[name], state.slots_of(name), rows.ids, -rows.values)
