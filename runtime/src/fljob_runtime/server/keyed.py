"""A keyed table's part at one shard: its rows by id, who waits for admission, what expires. numpy only.

Used by `versions`, under its lock, in place of a plain `RowTable`; a row's key is its id. An id without a row has the
initial values of `initial_values`, which are stored nowhere. What a commit may give rows to is decided by a Draft, of
which the table knows nothing until the commit brings it what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.errors import MalformedError
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.parameters import Float32Array, Int32Array, Int64Array, LayoutError, ParamSpec
from fljob_runtime.server.fold import FoldedRows, Unadmitted
from fljob_runtime.server.placement import shards_of
from fljob_runtime.server.row_store import RowStore
from fljob_runtime.server.staging import check_sorted
from fljob_runtime.server.tables import NO_IDS, Overwritten, Waiting


@dataclass(frozen=True)
class KeyedState:
    """All that a shard holds of a keyed table at one version, in order of the ids [n].

    parts: values [n, D], then the optimizer's state; versions [n]: which changed each row last; waiting: ids that have
    no row yet.
    """

    ids: Int64Array
    parts: tuple[Float32Array, ...]
    versions: Int32Array
    waiting: Waiting

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return all that it is made of."""
        return (self.ids, *self.parts, self.versions, self.waiting.ids, self.waiting.touches, self.waiting.versions)


@dataclass
class TableCounts:
    """Of one table, since the process began: rows made and expired, and touches of ids by updates that were left out.

    unadmitted: for want of earlier touches; refused: for want of room.
    """

    made: int = 0
    expired: int = 0
    unadmitted: int = 0
    refused: int = 0


class KeyedTable:
    """The rows of a keyed table that a shard holds."""

    def __init__(
        self, spec: ParamSpec, shard: int, num_shards: int, slots: Sequence[float] = (), *, seed: int = 0
    ) -> None:
        if spec.rules is None:
            raise LayoutError(f"parameter {spec.name}: is no keyed table")
        self.spec, self.rules = spec, spec.rules
        self._place = (shard, num_shards)
        self._slots, self._seed = tuple(slots), seed
        self.counts = TableCounts()
        self.clear()

    def clear(self) -> None:
        """Drop all rows."""
        limit = self.rules.max_rows
        self._rows = RowStore([*self.empty_parts(), np.empty(0, np.int32)], limit)
        self.waiting = RowStore([np.empty(0, np.int32), np.empty(0, np.int32)], limit)  # touches, version of the last

    def empty_parts(self) -> list[Float32Array]:
        """Return arrays of no rows: of values, and of the optimizer's state."""
        return [np.empty((0, self.spec.dim), np.float32) for _ in range(1 + len(self._slots))]

    def __len__(self) -> int:
        return len(self._rows)

    # What can be read.

    def locate(self, ids: Int64Array) -> Int64Array:
        """Return the ids; raises MalformedError where they are out of order or another shard's."""
        check_sorted(self.spec.name, ids)
        shard, num_shards = self._place
        if num_shards > 1 and (shards_of(self.spec.name, ids, num_shards) != shard).any():
            name = self.spec.name
            raise MalformedError(f"table {name}: ids of another shard; place rows by the hash of (table, id)")
        return ids

    def ids(self, keys: Int64Array) -> Int64Array:
        """Return the ids of rows by their keys: themselves."""
        return keys

    def has(self, ids: Int64Array) -> NDArray[np.bool_]:
        """Return which ids have a row, bool [n]."""
        return self._rows.find(ids) >= 0

    def take(self, part: int, keys: Int64Array) -> Float32Array:
        """Return one part of some rows [n, D]: 0 the values, k the k-th of the optimizer's state."""
        return self._take(self._rows.find(keys), keys, part)

    def take_all(self, keys: Int64Array) -> list[Float32Array]:
        """Return all parts of some rows."""
        positions = self._rows.find(keys)
        return [self._take(positions, keys, part) for part in range(1 + len(self._slots))]

    def fresh(self, part: int, keys: Int64Array) -> Float32Array:
        """Return one part of rows that are not there."""
        if part:
            return np.full((keys.size, self.spec.dim), self._slots[part - 1], np.float32)
        return initial_rows(self.spec, self._seed, keys)

    def _take(self, positions: Int64Array, keys: Int64Array, part: int) -> Float32Array:
        missing = np.flatnonzero(positions < 0)
        if missing.size == keys.size:
            return self.fresh(part, keys)
        values = self._rows.columns[part].take(positions, axis=0, mode="clip")
        if missing.size:
            values[missing] = self.fresh(part, keys[missing])
        return values

    def keys(self) -> Int64Array:
        """Return the ids that have rows, sorted."""
        return np.sort(self._rows.ids)

    def row_versions(self, keys: Int64Array) -> Int32Array:
        """Return which version changed each row last, int32 [n]; all must be there."""
        return self._rows.columns[-1].take(self._rows.find(keys))

    def changed_since(self, version: int) -> Int64Array:
        """Return the ids of the rows that a later version has made or changed, sorted."""
        return np.sort(self._rows.ids[self._versions > version])

    def waits(self) -> Waiting:
        """Return who waits for admission, in order of the ids."""
        ids = np.sort(self.waiting.ids)
        return Waiting(ids, *(column.take(self.waiting.find(ids)) for column in self.waiting.columns))

    @property
    def _versions(self) -> Int32Array:
        return self._rows.columns[-1][: len(self._rows)]

    # What changes.

    def install(self, state: KeyedState) -> None:
        """Take over what was held at a version; the optimizer's state begins afresh if it is not given."""
        self.clear()
        self._add(state.ids, state.parts, state.versions)
        waiting = state.waiting
        self.waiting.add(waiting.ids, [waiting.touches, waiting.versions])

    def swap(self, rows: FoldedRows, version: int) -> Overwritten:
        """Write rows, as of this version, make those that are not there, drop those whose time is over.

        Returns what they were. To be called for every version, also with no rows.
        """
        keys, given = rows.positions, (rows.values, *rows.state)
        positions = self._rows.find(keys)
        held = positions >= 0
        there, made = positions[held], keys[~held]
        old = self._old(there)
        for column, values in zip(self._rows.columns, given, strict=False):
            column[there] = values if not made.size else values[held]
        self._rows.columns[-1][there] = version
        if made.size:
            self._add(made, [values[~held] for values in given], np.full(made.size, version, np.int32))
        waiting = self._swap_waiting(rows.unadmitted, made, version)
        expired = self._expire(version)
        self._count(rows.unadmitted, made.size, expired.keys.size)
        return Overwritten(*_joined(old, expired), made, waiting)

    def forget(self, old: Overwritten) -> None:
        """Do nothing: a plain table would use the memory again."""

    def put_back(self, old: Overwritten) -> None:
        """Undo a swap."""
        self._rows.remove(old.made)
        there = self.has(old.keys)
        self._rows.put(old.keys[there], [*(part[there] for part in old.parts), old.versions[there]])
        self._add(old.keys[~there], [part[~there] for part in old.parts], old.versions[~there])
        if old.waiting is not None:
            self.waiting.remove(old.waiting.ids[self.waiting.find(old.waiting.ids) >= 0])
            kept = old.waiting.touches > 0
            self.waiting.add(old.waiting.ids[kept], [old.waiting.touches[kept], old.waiting.versions[kept]])

    def _add(self, ids: Int64Array, parts: Sequence[Float32Array], versions: Int32Array) -> None:
        missing = [self.fresh(part, ids) for part in range(len(parts), 1 + len(self._slots))]
        self._rows.add(ids, [*parts, *missing, versions])

    def _old(self, positions: Int64Array) -> Overwritten:
        *parts, versions = [column.take(positions, axis=0) for column in self._rows.columns]
        return Overwritten(self._rows.ids.take(positions), tuple(parts), versions)

    def _expire(self, version: int) -> Overwritten:
        """Drop the rows that no update has touched for too long; return what they were."""
        if not self.rules.expire_after_rounds:
            return self._old(NO_IDS)
        gone = self._old(np.flatnonzero(self._versions <= version - self.rules.expire_after_rounds))
        self._rows.remove(gone.keys)
        return gone

    def _swap_waiting(self, unadmitted: Unadmitted | None, made: Int64Array, version: int) -> Waiting | None:
        """Note who waits now; return what is changed of that, as it was: 0 touches for who did not wait."""
        if self.rules.admit_after == 1:
            return None
        ids, touches = (NO_IDS, np.empty(0, np.int32)) if unadmitted is None else (unadmitted.ids, unadmitted.touches)
        gone = made[self.waiting.find(made) >= 0]
        if self.rules.expire_after_rounds:
            late = self.waiting.columns[1][: len(self.waiting)] <= version - self.rules.expire_after_rounds
            gone = np.union1d(gone, np.setdiff1d(self.waiting.ids[late], ids, assume_unique=True))
        changed = np.concatenate([ids, gone])
        positions = self.waiting.find(changed)
        known = positions >= 0
        old = [np.zeros(changed.size, np.int32), np.zeros(changed.size, np.int32)]
        for column, before in zip(self.waiting.columns, old, strict=True):
            before[known] = column.take(positions[known])
        self.waiting.remove(gone)
        self.waiting.put(ids, [touches, np.full(ids.size, version, np.int32)])
        return Waiting(changed, *old)

    def _count(self, unadmitted: Unadmitted | None, made: int, expired: int) -> None:
        self.counts.made += made
        self.counts.expired += expired
        if unadmitted is not None:
            self.counts.unadmitted += unadmitted.left_out
            self.counts.refused += unadmitted.refused


def _joined(one: Overwritten, other: Overwritten) -> tuple[Int64Array, tuple[Float32Array, ...], Int32Array]:
    """Return the keys, parts and versions of both, by key."""
    if not other.keys.size:
        return one.keys, one.parts, one.versions
    keys = np.concatenate([one.keys, other.keys])
    order = np.argsort(keys)
    parts = [np.concatenate(both)[order] for both in zip(one.parts, other.parts, strict=True)]
    return keys[order], tuple(parts), np.concatenate([one.versions, other.versions])[order]
