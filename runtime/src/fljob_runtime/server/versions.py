"""The committed versions of one shard's part of the model: the newest in full, older ones by what changed.

Used by `shard`. A table exists once; each commit keeps the old values of the rows that it overwrites, so an
older version costs its touched rows, and undoing a commit is writing them back. Thread-safe: a reader gathers
a chunk at a time under the lock that a commit takes to write.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fljob_runtime.algorithms.exchange import LiveState
from fljob_runtime.errors import MalformedError, NotReadyError, StaleError
from fljob_runtime.parameters import Float32Array, Int64Array, ModelLayout
from fljob_runtime.server.fold import FoldedRows
from fljob_runtime.server.placement import dense_range, owned_ids
from fljob_runtime.server.staging import check_sorted


@dataclass(frozen=True)
class Version:
    """One version: its dense range, its digest, the rows that the next version overwrote, and the optimizer's state."""

    dense: Float32Array
    digest: str
    overwritten: Mapping[str, FoldedRows]
    slots: tuple[Float32Array, ...] = ()


class ShardModel:
    """One shard's part of a model of this layout, at one or more versions.

    slots: first values of the server optimizer's state, of which each parameter has so many arrays of its own shape;
    those of a table are kept as tables too, under `slot_name`.
    """

    def __init__(self, layout: ModelLayout, shard: int, num_shards: int, slots: Sequence[float] = ()) -> None:
        self.layout = layout
        self._slots = tuple(slots)
        self.newest = -1
        self.dense_size = int(np.subtract(*dense_range(layout.dense_size, shard, num_shards)[::-1]))
        self._lock = threading.Lock()
        self._versions: dict[int, Version] = {}
        self._tables: dict[str, Float32Array] = {}
        self._index: dict[str, Int64Array | None] = {}
        for spec in layout.shared_tables:
            owned = owned_ids(spec.name, spec.shape[0], shard, num_shards)
            self._tables[spec.name] = np.zeros((owned.size, spec.shape[1]), np.float32)
            self._index[spec.name] = None if num_shards == 1 else _inverse(owned, spec.shape[0])

    def locate(self, table: str, ids: Int64Array) -> Int64Array:
        """Return the positions of row ids in this shard's part; raises MalformedError for others' rows."""
        spec = self.layout[table]
        check_sorted(table, ids, spec.shape[0])
        index = self._index[table]
        if index is None:
            return ids
        positions = index[ids]
        if (positions < 0).any():
            raise MalformedError(f"table {table}: ids of another shard; place rows by the hash of (table, id)")
        return positions

    @staticmethod
    def slot_name(table: str, slot: int) -> str:
        """Return the name of one part of the optimizer's state of a table; no parameter's name has a `#`."""
        return f"{table}#{slot}"

    def live_state(self) -> LiveState:
        """Return a copy of the newest values and of the optimizer's state, to be changed in place."""
        with self._lock:
            newest = self._versions[self.newest]
            tables = {name: values.copy() for name, values in self._tables.items()}
        names = [spec.name for spec in self.layout.shared_tables]
        slots = {name: [tables[self.slot_name(name, k)] for k in range(len(self._slots))] for name in names}
        values = {name: tables[name] for name in names}
        return LiveState(newest.dense.copy(), values, [slot.copy() for slot in newest.slots], slots)

    def state_tables(self) -> dict[str, Float32Array]:
        """Return the newest values of all tables and of the optimizer's state of them, by name; not to be changed."""
        return dict(self._tables)

    def table(self, name: str) -> Float32Array:
        """Return the newest values of a table's part [N, D]; only the committing thread may use them."""
        return self._tables[name]

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the versions held, oldest first."""
        with self._lock:
            return tuple(sorted(self._versions))

    def digest(self, version: int) -> str:
        """Return the digest of a version; raises StaleError or NotReadyError."""
        with self._lock:
            return self._get(version).digest

    def slots(self, version: int) -> tuple[Float32Array, ...]:
        """Return the optimizer's state of the dense range at a version, never written again."""
        with self._lock:
            return self._get(version).slots

    def dense(self, version: int) -> Float32Array:
        """Return the dense range of a version, never written again. Raises StaleError or NotReadyError."""
        with self._lock:
            return self._get(version).dense

    def rows(self, version: int, table: str, positions: Int64Array) -> Float32Array:
        """Return the rows at sorted positions as they are in a version. float32 [n, D]."""
        with self._lock:
            self._get(version)
            values = self._tables[table].take(positions, axis=0)
            for later in range(self.newest - 1, version - 1, -1):
                old = self._versions[later].overwritten.get(table)
                if old is not None:
                    _overlay(values, positions, old)
            return values

    def install(
        self,
        version: int,
        dense: Float32Array,
        tables: Mapping[str, Float32Array],
        digest: str,
        slots: Sequence[Float32Array] = (),
    ) -> None:
        """Set the first version held: whole tables, taken over, not copied; optimizer state fresh if not given."""
        fresh = tuple(np.full(dense.shape, fill, np.float32) for fill in self._slots)
        with self._lock:
            self._tables.update(tables)
            for spec in self.layout.shared_tables:
                for slot, fill in enumerate(self._slots):
                    name = self.slot_name(spec.name, slot)
                    if name not in tables:
                        self._tables[name] = np.full(self._tables[spec.name].shape, fill, np.float32)
            self._versions = {version: Version(dense, digest, {}, tuple(slots) or fresh)}
            self.newest = version

    def advance(
        self, dense: Float32Array, rows: Mapping[str, FoldedRows], digest: str, slots: Sequence[Float32Array] = ()
    ) -> None:
        """Make the next version from the newest one."""
        with self._lock:
            current = self._versions[self.newest]
            old = {name: self._swap(name, folded) for name, folded in rows.items()}
            self._versions[self.newest] = Version(current.dense, current.digest, old, current.slots)
            self.newest += 1
            self._versions[self.newest] = Version(dense, digest, {}, tuple(slots))

    def rewind(self, version: int) -> None:
        """Undo the commits after `version`; raises StaleError if it is not held."""
        with self._lock:
            self._get(version)
            while self.newest > version:
                del self._versions[self.newest]
                self.newest -= 1
                current = self._versions[self.newest]
                for name, old in current.overwritten.items():
                    self._tables[name][old.positions] = old.values
                self._versions[self.newest] = Version(current.dense, current.digest, {}, current.slots)

    def release(self, version: int) -> None:
        """Forget this version and all before it, but never the newest."""
        with self._lock:
            for held in [v for v in self._versions if v <= version and v != self.newest]:
                del self._versions[held]

    def _swap(self, name: str, folded: FoldedRows) -> FoldedRows:
        table = self._tables[name]
        old = FoldedRows(folded.positions, table.take(folded.positions, axis=0))
        table[folded.positions] = folded.values
        return old

    def _get(self, version: int) -> Version:
        found = self._versions.get(version)
        if found is not None:
            return found
        if version > self.newest:
            raise NotReadyError(f"version {version} is not committed yet; the newest is {self.newest}")
        raise StaleError(f"version {version} is gone; held are {sorted(self._versions)}")


def _inverse(owned: Int64Array, num_rows: int) -> Int64Array:
    """Return id → position, -1 where the row is another shard's."""
    index = np.full(num_rows, -1, np.int64)
    index[owned] = np.arange(owned.size)
    return index


def _overlay(values: Float32Array, positions: Int64Array, old: FoldedRows) -> None:
    """Write the old values of those positions that are in `old`."""
    if old.positions.size == 0:
        return
    found = np.searchsorted(old.positions, positions)
    found[found == old.positions.size] = 0
    hit = old.positions[found] == positions
    values[hit] = old.values[found[hit]]
