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
                weight = 1.0 if self._sum_rows else change.share
                state.tables[name][rows.ids] += weight * rows.values  # ids are unique
