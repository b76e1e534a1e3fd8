"""Rows by id, as many as come: arrays that grow, and an index from id to position. numpy only, no thread safety.

Used by `keyed`. Ids are any int64, unique; all that takes some of them works on arrays, with no step per id. Rows lie
without gaps, so that what is not needed is not touched; where a row lies depends on what came and went before it, so
that a position means nothing outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.parameters import Int32Array, Int64Array

_EMPTY, _GONE = -1, -2
_LEAST_BITS = 5
_MIX = np.uint64(0xD6E8FEB86659FD93)
_Column = NDArray[Any]


class IdIndex:
    """id → position, by open addressing with linear probing. At most half of the cells are in use.

    A cell holds a position, or that it is empty, or that what it held is gone. The ids themselves lie by position.
    """

    def __init__(self) -> None:
        self.size = 0
        self._ids: Int64Array = np.zeros(1, np.int64)
        self._used = 0  # cells that are not empty, or more
        self._clear(_LEAST_BITS)

    @property
    def ids(self) -> Int64Array:
        """Return the ids in order of their positions, int64 [size]; a view, until the next change."""
        return self._ids[: self.size]

    def find(self, ids: Int64Array) -> Int64Array:
        """Return the position of each id, -1 where it has none."""
        return self._search(ids)[1]

    def add(self, ids: Int64Array) -> Int64Array:
        """Give ids that have none the next positions, and return these."""
        positions = np.arange(self.size, self.size + ids.size)
        self._ids = grown(self._ids, self.size, self.size + ids.size)
        self._ids[positions] = ids
        self.size += ids.size
        self._used += ids.size
        if 2 * self._used > self._cells.size:
            self._clear(max(_LEAST_BITS, (4 * self.size - 1).bit_length()))
            self._used = self.size
            self._place(self.ids, np.arange(self.size))
        else:
            self._place(ids, positions)
        return positions

    def remove(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Forget ids that have a position. Returns (to, from): which rows to move, so that they lie without gaps."""
        cells, positions = self._search(ids)
        self._cells[cells] = _GONE
        left = self.size - ids.size
        holes = positions[positions < left]
        stay = np.ones(ids.size, np.bool_)
        stay[positions[positions >= left] - left] = False
        movers = np.flatnonzero(stay) + left
        moved = self._ids.take(movers)
        self._cells[self._search(moved)[0]] = holes
        self._ids[holes] = moved
        self.size = left
        return holes, movers

    def _clear(self, bits: int) -> None:
        self._cells: Int32Array = np.full(1 << bits, _EMPTY, np.int32)
        self._shift = np.uint64(64 - bits)

    def _home(self, ids: Int64Array) -> Int64Array:
        """Return the cell of each id from which it is looked for: the highest bits of a mix of all of its bits."""
        z = ids.view(np.uint64) * _MIX
        z ^= z >> np.uint64(32)
        z *= _MIX
        return (z >> self._shift).view(np.int64)

    def _search(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the cell and the position of each id, both -1 where it has none."""
        ids = np.ascontiguousarray(ids, np.int64)
        cells, positions = np.full(ids.size, -1), np.full(ids.size, -1)
        left, at = np.arange(ids.size), self._home(ids)
        last = self._cells.size - 1
        while left.size:
            found = self._cells.take(at)
            hit = self._ids.take(found, mode="clip") == ids.take(left)
            hit &= found >= 0
            where = left[hit]
            cells[where], positions[where] = at[hit], found[hit]
            go = ~hit & (found != _EMPTY)
            left, at = left[go], (at[go] + 1) & last
        return cells, positions

    def _place(self, ids: Int64Array, positions: Int64Array) -> None:
        left, at = positions.astype(np.int32), self._home(np.ascontiguousarray(ids))
        last = self._cells.size - 1
        while left.size:
            free = self._cells.take(at) < 0
            self._cells[at[free]] = left[free]  # one of those that want the same cell gets it
            go = self._cells.take(at) != left
            left, at = left[go], (at[go] + 1) & last


class RowStore:
    """Columns of rows by id. `columns`: arrays [capacity, ...], of which the first `len(store)` rows count."""

    def __init__(self, columns: Sequence[_Column], limit: int = 0) -> None:
        """columns: empty arrays [0, ...] of the types and shapes; limit: rows that will never be more, 0: none."""
        self.columns = list(columns)
        self._limit = limit
        self._index = IdIndex()

    def __len__(self) -> int:
        return self._index.size

    @property
    def ids(self) -> Int64Array:
        """Return the ids in order of their positions; a view, until the next change."""
        return self._index.ids

    def find(self, ids: Int64Array) -> Int64Array:
        """Return the position of each id, -1 where it has no row."""
        return self._index.find(ids)

    def add(self, ids: Int64Array, values: Sequence[_Column]) -> Int64Array:
        """Make rows of ids that have none, from one array per column; returns their positions."""
        size = len(self)
        positions = self._index.add(ids)
        self.columns = [grown(column, size, len(self), self._limit) for column in self.columns]
        for column, given in zip(self.columns, values, strict=True):
            column[size : len(self)] = given
        return positions

    def put(self, ids: Int64Array, values: Sequence[_Column]) -> None:
        """Write rows; those that are not there are made."""
        positions = self.find(ids)
        held = positions >= 0
        for column, given in zip(self.columns, values, strict=True):
            column[positions[held]] = given[held]
        self.add(ids[~held], [given[~held] for given in values])

    def remove(self, ids: Int64Array) -> None:
        """Drop the rows of ids that have one."""
        holes, movers = self._index.remove(ids)
        for column in self.columns:
            column[holes] = column.take(movers, axis=0)


def grown(array: _Column, used: int, needed: int, limit: int = 0) -> _Column:
    """Return the array, or one of twice the length or more with the same first rows, so that `needed` rows fit."""
    if needed <= len(array):
        return array
    length = max(needed, 2 * len(array))
    larger = np.empty((min(length, max(needed, limit)) if limit else length, *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger
