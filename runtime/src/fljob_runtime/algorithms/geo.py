"""Geo: each trainer trains a replica of its own and now and then sends how far it moved.

GEO-SGD of Paddle's parameter server (https://fleet-x.readthedocs.io, "GEO-SGD"), after Zhang, Choromanska and LeCun
2015, "Deep learning with Elastic Averaging SGD" (https://arxiv.org/abs/1412.6651), without the elastic term. The server
adds

    dense += share * (replica - base)        the trainers' changes, weighted, add up to a mean
    row   += (replica - base)                rows are rarely two trainers' at once: sums keep their whole step

and the replica goes on from server + own unsent change. With one trainer that sends each step it is plain SGD.
"""

from __future__ import annotations

from collections.abc import Sequence

from fljob_runtime.algorithms.exchange import Contribution, LiveState
from fljob_runtime.parameters import Float32Array, RowSet, whole_rows

_BLOCK_ELEMENTS = 1 << 15


class Geo:
    """Adds changes as they come."""

    lockstep = False

    def __init__(self, *, sum_rows: bool = True) -> None:
        """sum_rows: add rows' changes whole; else weighted by the trainer's share, as the dense ones."""
        self._sum_rows = sum_rows

    def apply(self, state: LiveState, contributions: Sequence[Contribution]) -> None:
        """Add each change."""
        for change in contributions:
            state.dense += change.share * change.dense
            for name, rows in change.rows.items():
                _add(state.tables[name], rows, 1.0 if self._sum_rows else change.share)


def _add(table: Float32Array, rows: RowSet, weight: float) -> None:
    """Add weighted rows, whose ids are unique, to a table in place; a block at a time, which stays in the cache."""
    step, written = max(1, _BLOCK_ELEMENTS // table.shape[1]), whole_rows(table)
    for start in range(0, len(rows), step):
        ids, change = rows.ids[start : start + step], rows.values[start : start + step]
        values = table.take(ids, axis=0)
        values += change if weight == 1.0 else weight * change
        written[ids] = whole_rows(values)
