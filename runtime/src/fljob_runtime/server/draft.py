"""What updates make of a keyed table on the way to its next version: who is let in, and rows that change meanwhile.

Made by `versions`: one for each commit (next_version) or for a whole round of exchanges (live). The table itself stays
as it is until the commit, so that a round that is begun again, or never ends, leaves nothing behind.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from fljob_runtime.parameters import Float32Array, Int32Array, Int64Array
from fljob_runtime.server.fold import FoldedRows, Unadmitted
from fljob_runtime.server.keyed import KeyedTable
from fljob_runtime.server.row_store import RowStore


class Draft:
    """Rows of a keyed table between two versions. Not thread-safe; reads the table under its lock."""

    def __init__(self, table: KeyedTable, lock: threading.Lock) -> None:
        self._table, self._lock = table, lock
        self._rows = RowStore(table.empty_parts())
        self._waiting = RowStore([np.empty(0, np.int32)])  # touches of who waits, where they have changed
        self._new_waiting = 0
        self._made = 0
        self._left_out = 0
        self._refused = 0

    @property
    def parts(self) -> list[Float32Array]:
        """Return the values [N, D] of the rows that were entered, and the optimizer's state of them, by position."""
        return self._rows.columns

    def admit(self, touching: Sequence[Int64Array]) -> Int64Array:
        """Count what some updates touch at once, and return the sorted ids of it that have a row or get one now.

        touching: sorted, unique ids of each update. An id gets a row with the touch that makes enough of them; then all
        updates of this call count. Where there is not room for all, the lowest ids get it.
        """
        ids, touches = np.unique(np.concatenate([np.empty(0, np.int64), *touching]), return_counts=True)
        admitted = self._rows.find(ids) >= 0
        others = np.flatnonzero(~admitted)
        with self._lock:
            admitted[others] = self._table.has(ids[others])
            new = np.flatnonzero(~admitted)
            if new.size:
                so_far = self._touches(ids[new]) + touches[new].astype(np.int32)
                ready = so_far >= self._table.rules.admit_after
                room = self._room(len(self._table) + self._made, int(ready.sum()))
                admitted[new[ready][:room]] = True
                self._made += min(room, int(ready.sum()))
                self._left_out += int(touches[new[~ready]].sum())
                self._refused += int(touches[new[ready][room:]].sum())
                rest = ~admitted[new]
                self._wait(ids[new[rest]], so_far[rest])
        return ids[admitted]

    def enter(self, touching: Sequence[Int64Array]) -> list[tuple[Int64Array, Int64Array]]:
        """Admit as `admit` does and enter the rows, to be changed in `parts`.

        Returns for each update which of its ids are let in, as indices, and the positions of their rows, sorted.
        """
        ids = self.admit(touching)
        new = ids[self._rows.find(ids) < 0]
        with self._lock:
            parts = self._table.take_all(new)
        self._rows.add(new, parts)
        return [self._placed(update) for update in touching]

    def take(self, ids: Int64Array) -> Float32Array:
        """Return the values [n, D] of rows as they are now."""
        with self._lock:
            values = self._table.take(0, ids)
        positions = self._rows.find(ids)
        changed = np.flatnonzero(positions >= 0)
        values[changed] = self._rows.columns[0].take(positions[changed], axis=0)
        return values

    def unadmitted(self) -> Unadmitted:
        """Return whom the table has to note as waiting."""
        ids = np.sort(self._waiting.ids[self._rows.find(self._waiting.ids) < 0])
        touches: Int32Array = self._waiting.columns[0].take(self._waiting.find(ids))
        return Unadmitted(ids, touches, self._left_out, self._refused)

    def folded(self) -> FoldedRows:
        """Return the rows that were entered, as they are now."""
        ids = np.sort(self._rows.ids)
        positions = self._rows.find(ids)
        values, *state = [column.take(positions, axis=0) for column in self._rows.columns]
        return FoldedRows(ids, values, tuple(state), self.unadmitted())

    def _placed(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        positions = self._rows.find(ids)
        order = np.argsort(positions, kind="stable")[int((positions < 0).sum()) :]
        return order, positions[order]

    def _room(self, taken: int, wanted: int) -> int:
        limit = self._table.rules.max_rows
        return max(0, limit - taken) if limit else wanted

    def _touches(self, ids: Int64Array) -> Int32Array:
        """Return by how many updates ids that have no row were touched so far."""
        touches = np.zeros(ids.size, np.int32)
        for waiting in (self._table.waiting, self._waiting):  # the later counts, where it has an opinion
            positions = waiting.find(ids)
            known = positions >= 0
            touches[known] = waiting.columns[0].take(positions[known])
        return touches

    def _wait(self, ids: Int64Array, touches: Int32Array) -> None:
        """Note who waits and for how long; who finds no room to wait is forgotten."""
        admit_after = self._table.rules.admit_after
        if admit_after == 1:
            return
        waits = self._table.waiting
        known = (waits.find(ids) >= 0) | (self._waiting.find(ids) >= 0)
        strangers = np.flatnonzero(~known)
        room = self._room(len(waits) + self._new_waiting, strangers.size)
        known[strangers[:room]] = True
        self._new_waiting += min(room, strangers.size)
        self._waiting.put(ids[known], [np.minimum(touches[known], admit_after)])
