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
from fljob_runtime.errors import NotReadyError, StaleError
from fljob_runtime.parameters import Float32Array, Int32Array, Int64Array, ModelLayout
from fljob_runtime.server.fold import FoldedRows
from fljob_runtime.server.placement import dense_range
from fljob_runtime.server.tables import Overwritten, RowTable


@dataclass(frozen=True)
class Version:
    """One version: its dense range, its digest, the rows that the next version overwrote, and the optimizer's state."""

    dense: Float32Array
    digest: str
    overwritten: Mapping[str, Overwritten]
    slots: tuple[Float32Array, ...] = ()


class ShardModel:
    """One shard's part of a model of this layout, at one or more versions.

    slots: first values of the server optimizer's state, of which each parameter has so many arrays of its own shape;
    those of a table go by the name `slot_name`.
    """

    def __init__(self, layout: ModelLayout, shard: int, num_shards: int, slots: Sequence[float] = ()) -> None:
        self.layout = layout
        self._slots = tuple(slots)
        self.newest = -1
        self.dense_size = int(np.subtract(*dense_range(layout.dense_size, shard, num_shards)[::-1]))
        self._lock = threading.Lock()
        self._versions: dict[int, Version] = {}
        self._pinned: int | None = None
        self._deferred = -1
        self._tables = {spec.name: RowTable(spec, shard, num_shards, slots) for spec in layout.shared_tables}

    def locate(self, table: str, ids: Int64Array) -> Int64Array:
        """Return the positions of row ids in this shard's part; raises MalformedError for others' rows."""
        return self._tables[table].locate(ids)

    @staticmethod
    def slot_name(table: str, slot: int) -> str:
        """Return the name of one part of the optimizer's state of a table; no parameter's name has a `#`."""
        return f"{table}#{slot}"

    def live_state(self) -> LiveState:
        """Return a copy of the newest values and of the optimizer's state, to be changed in place."""
        with self._lock:
            newest = self._versions[self.newest]
            copies = {name: [part.copy() for part in table.parts] for name, table in self._tables.items()}
        values = {name: parts[0] for name, parts in copies.items()}
        slots = {name: parts[1:] for name, parts in copies.items()}
        return LiveState(newest.dense.copy(), values, [slot.copy() for slot in newest.slots], slots)

    def state_tables(self) -> dict[str, Float32Array]:
        """Return the newest values of all tables and of the optimizer's state of them, by name; not to be changed."""
        return {
            name if part == 0 else self.slot_name(name, part - 1): values
            for name, table in self._tables.items()
            for part, values in enumerate(table.parts)
        }

    def table(self, name: str) -> Float32Array:
        """Return the newest values [N, D] of a table's part, or by `slot_name` the optimizer's state of it.

        Only the committing thread may use them.
        """
        table, part = self._part(name)
        return table.parts[part]

    def ids(self, name: str, positions: Int64Array) -> Int64Array:
        """Return the ids of the rows at these positions."""
        return self._tables[name].ids(positions)

    def state(self, name: str, positions: Int64Array) -> list[Float32Array]:
        """Return copies of the newest values [n, D] of rows of a table and of the optimizer's state of them."""
        with self._lock:
            table = self._tables[name]
            return [table.take(part, positions) for part in range(len(table.parts))]

    def row_versions(self, name: str) -> Int32Array:
        """Return the last version that changed each row of a table's part, int32 [N]; not to be changed."""
        return self._tables[name].versions

    def changed_since(self, version: int) -> dict[str, Int64Array]:
        """Return the sorted positions of the rows, by table, that differ in the newest version from this older one.

        All of a table where the older one is from before what this shard was installed with.
        """
        with self._lock:
            return {name: table.changed_since(version) for name, table in self._tables.items()}

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

    def rows(self, version: int, name: str, positions: Int64Array) -> Float32Array:
        """Return rows of a table, or by `slot_name` the optimizer's state of them, as in a version. float32 [n, D]."""
        base = name.partition("#")[0]
        with self._lock:
            self._get(version)
            table, part = self._part(name)
            values = table.take(part, positions)
            for later in range(self.newest - 1, version - 1, -1):
                old = self._versions[later].overwritten.get(base)
                if old is not None:
                    _overlay(values, positions, old, part)
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
            for name, table in self._tables.items():
                names = [name, *(self.slot_name(name, slot) for slot in range(len(self._slots)))]
                table.install(version, [tables[part] for part in names if part in tables])
            self._versions = {version: Version(dense, digest, {}, tuple(slots) or fresh)}
            self.newest = version

    def advance(
        self, dense: Float32Array, rows: Mapping[str, FoldedRows], digest: str, slots: Sequence[Float32Array] = ()
    ) -> None:
        """Make the next version from the newest one; the rows' arrays are taken over, not copied."""
        with self._lock:
            current = self._versions[self.newest]
            old = {name: self._tables[name].swap(folded, self.newest + 1) for name, folded in rows.items()}
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
                    self._tables[name].put_back(old)
                self._versions[self.newest] = Version(current.dense, current.digest, {}, current.slots)

    def release(self, version: int) -> None:
        """Forget this version and all before it, but never the newest; what is pinned, when it no longer is."""
        with self._lock:
            if self._pinned is not None:
                self._deferred = max(self._deferred, version)
            self._forget(version)

    def pin(self, version: int | None) -> None:
        """Keep a version, whatever is released meanwhile, until None is pinned."""
        with self._lock:
            self._pinned = version
            if version is None:
                self._forget(self._deferred)
                self._deferred = -1

    def _forget(self, version: int) -> None:
        last = version if self._pinned is None else min(version, self._pinned - 1)
        for held in [v for v in self._versions if v <= last and v != self.newest]:
            del self._versions[held]

    def _part(self, name: str) -> tuple[RowTable, int]:
        """Return a table and which part of it goes by this name."""
        base, _, slot = name.partition("#")
        return self._tables[base], int(slot) + 1 if slot else 0

    def _get(self, version: int) -> Version:
        found = self._versions.get(version)
        if found is not None:
            return found
        if version > self.newest:
            raise NotReadyError(f"version {version} is not committed yet; the newest is {self.newest}")
        raise StaleError(f"version {version} is gone; held are {sorted(self._versions)}")


def _overlay(values: Float32Array, positions: Int64Array, old: Overwritten, part: int) -> None:
    """Write the old values of those positions that are in `old`."""
    if old.keys.size == 0:
        return
    found = np.searchsorted(old.keys, positions)
    found[found == old.keys.size] = 0
    hit = old.keys[found] == positions
    values[hit] = old.parts[part][found[hit]]
