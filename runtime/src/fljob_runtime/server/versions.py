"""The committed versions of one shard's part of the model: the newest in full, older ones by what changed.

Used by `shard`. A table exists once; each commit keeps the old values of the rows that it overwrites, so an
older version costs its touched rows, and undoing a commit is writing them back. Thread-safe: a reader gathers
a chunk at a time under the lock that a commit takes to write.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fljob_runtime.algorithms.exchange import LiveState
from fljob_runtime.errors import NotReadyError, StaleError
from fljob_runtime.parameters import Float32Array, Int32Array, Int64Array, Kind, ModelLayout
from fljob_runtime.server.draft import Draft
from fljob_runtime.server.fold import FoldedRows, Unadmitted
from fljob_runtime.server.keyed import KeyedState, KeyedTable, TableCounts
from fljob_runtime.server.placement import dense_range
from fljob_runtime.server.staging import StagedRows
from fljob_runtime.server.tables import NO_IDS, Overwritten, RowTable, Waiting


@dataclass(frozen=True)
class Version:
    """One version: its dense range, its digest, the rows that the next version overwrote, and the optimizer's state."""

    dense: Float32Array
    digest: str
    overwritten: Mapping[str, Overwritten]
    slots: tuple[Float32Array, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """What a fold of one table works on: rows as they are, and updates that say by position which they mean.

    parts: values [m, D], then the optimizer's state, not to be changed; keys [m]: whose they are, None where positions
    are keys.
    """

    parts: Sequence[Float32Array]
    updates: Sequence[StagedRows]
    keys: Int64Array | None = None
    unadmitted: Unadmitted | None = None


class ShardModel:
    """One shard's part of a model of this layout, at one or more versions.

    slots: first values of the server optimizer's state, of which each parameter has so many arrays of its own shape;
    those of a table go by the name `slot_name`. seed: of keyed tables' initial values. Rows go by keys: in a plain
    table their positions in this part, in a keyed one their ids.
    """

    def __init__(
        self, layout: ModelLayout, shard: int, num_shards: int, slots: Sequence[float] = (), *, seed: int = 0
    ) -> None:
        self.layout = layout
        self._slots = tuple(slots)
        self.newest = -1
        self.dense_size = int(np.subtract(*dense_range(layout.dense_size, shard, num_shards)[::-1]))
        self._lock = threading.Lock()
        self._versions: dict[int, Version] = {}
        self._pinned: int | None = None
        self._deferred = -1
        self._plain: dict[str, RowTable] = {}
        self._keyed: dict[str, KeyedTable] = {}
        for spec in layout.shared_tables:
            if spec.kind is Kind.KEYED:
                self._keyed[spec.name] = KeyedTable(spec, shard, num_shards, slots, seed=seed)
            else:
                self._plain[spec.name] = RowTable(spec, shard, num_shards, slots)
        self._tables: dict[str, RowTable | KeyedTable] = {**self._plain, **self._keyed}

    def locate(self, table: str, ids: Int64Array) -> Int64Array:
        """Return the keys of row ids; raises MalformedError for ids out of order and for others' rows."""
        return self._tables[table].locate(ids)

    @staticmethod
    def slot_name(table: str, slot: int) -> str:
        """Return the name of one part of the optimizer's state of a table; no parameter's name has a `#`."""
        return f"{table}#{slot}"

    def live_state(self) -> LiveState:
        """Return a copy of the newest values and of the optimizer's state, to be changed in place.

        Of keyed tables, which are changed in `drafts`, it has no rows.
        """
        with self._lock:
            newest = self._versions[self.newest]
            copies = {name: [part.copy() for part in table.parts] for name, table in self._plain.items()}
        copies |= {name: table.empty_parts() for name, table in self._keyed.items()}
        values = {name: parts[0] for name, parts in copies.items()}
        slots: dict[str, Sequence[Float32Array]] = {name: parts[1:] for name, parts in copies.items()}
        return LiveState(newest.dense.copy(), values, [slot.copy() for slot in newest.slots], slots)

    def drafts(self) -> dict[str, Draft]:
        """Return what changes of the keyed tables can be made in before the next version."""
        return {name: Draft(table, self._lock) for name, table in self._keyed.items()}

    def draw(self, name: str, updates: Sequence[StagedRows]) -> Drawn:
        """Return what a fold of updates of one table works on; only the committing thread may use it."""
        table = self._keyed.get(name)
        if table is None:
            return Drawn(self._plain[name].parts, updates)
        draft = Draft(table, self._lock)
        keys = draft.admit([update.positions for update in updates])
        with self._lock:
            parts = table.take_all(keys)
        return Drawn(parts, [_at(keys, update) for update in updates], keys, draft.unadmitted())

    def state_tables(self) -> dict[str, Float32Array]:
        """Return the newest values of plain tables and of the optimizer's state of them, by name; not to be changed."""
        return {
            name if part == 0 else self.slot_name(name, part - 1): values
            for name, table in self._plain.items()
            for part, values in enumerate(table.parts)
        }

    def waiting(self, name: str) -> Waiting:
        """Return which ids of a keyed table wait for admission in the newest version, sorted."""
        with self._lock:
            return self._keyed[name].waits()

    def counts(self) -> dict[str, tuple[int, TableCounts]]:
        """Return for each keyed table how many rows it holds, and what came and went since the process began."""
        with self._lock:
            return {name: (len(table), replace(table.counts)) for name, table in self._keyed.items()}

    def go_on_counting(self, other: ShardModel) -> None:
        """Count on from what another model of this process has counted of the keyed tables that both have."""
        for name in self._keyed.keys() & other._keyed.keys():
            self._keyed[name].counts = other._keyed[name].counts

    def num_rows(self, name: str) -> int:
        """Return how many rows of a table this shard holds in the newest version."""
        with self._lock:
            return len(self._tables[name])

    def row_bytes(self, name: str) -> int:
        """Return the bytes of a row of a table and of the optimizer's state of it."""
        return 4 * self.layout[name].dim * (1 + len(self._slots))

    def table(self, name: str) -> Float32Array:
        """Return the newest values [N, D] of a plain table's part, or by `slot_name` the optimizer's state of it.

        Only the committing thread may use them.
        """
        base, part = _part(name)
        return self._plain[base].parts[part]

    def ids(self, name: str, keys: Int64Array) -> Int64Array:
        """Return the ids of rows."""
        return self._tables[name].ids(keys)

    def keys(self, version: int, name: str) -> Int64Array:
        """Return the sorted keys of all rows that a table has in a version."""
        with self._lock:
            self._get(version)
            keys = self._tables[name].keys()
            for later in range(self.newest - 1, version - 1, -1):
                old = self._versions[later].overwritten.get(name)
                if old is not None:
                    keys = np.union1d(np.setdiff1d(keys, old.made, assume_unique=True), old.keys)
            return keys

    def row_versions(self, name: str, keys: Int64Array) -> Int32Array:
        """Return the last version that changed each of some rows that there are, int32 [n]."""
        with self._lock:
            return self._tables[name].row_versions(keys)

    def changed_since(self, version: int) -> dict[str, Int64Array]:
        """Return the sorted keys of the rows, by table, that the newest version has otherwise than this older one.

        All of a table where the older one is from before what this shard was installed with. Rows of a keyed table that
        are gone since are not among them.
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

    def rows(self, version: int, name: str, keys: Int64Array) -> Float32Array:
        """Return rows of a table, or by `slot_name` the optimizer's state of them, as in a version. float32 [n, D].

        Initial values for ids of a keyed table that have no row then.
        """
        base, part = _part(name)
        with self._lock:
            self._get(version)
            table = self._tables[base]
            values = table.take(part, keys)
            for later in range(self.newest - 1, version - 1, -1):
                old = self._versions[later].overwritten.get(base)
                if old is not None:
                    hit, where = _found(old.keys, keys)
                    values[hit] = old.parts[part][where]
                if old is not None and old.made.size:
                    hit, _ = _found(old.made, keys)
                    values[hit] = table.fresh(part, keys[hit])
            return values

    def install(
        self,
        version: int,
        dense: Float32Array,
        tables: Mapping[str, Float32Array],
        digest: str,
        slots: Sequence[Float32Array] = (),
        keyed: Mapping[str, KeyedState] | None = None,
    ) -> None:
        """Set the first version held: whole tables, taken over, not copied; optimizer state fresh if not given.

        tables: the plain ones, with their state; keyed: the others, empty if not given.
        """
        fresh = tuple(np.full(dense.shape, fill, np.float32) for fill in self._slots)
        with self._lock:
            for name, state in (keyed or {}).items():
                self._keyed[name].install(state)
            for name, table in self._plain.items():
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
            untouched = {name: _no_rows(table) for name, table in self._keyed.items()}
            old = {name: self._tables[name].swap(new, self.newest + 1) for name, new in {**untouched, **rows}.items()}
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
            for name, old in self._versions.pop(held).overwritten.items():
                self._tables[name].forget(old)

    def _get(self, version: int) -> Version:
        found = self._versions.get(version)
        if found is not None:
            return found
        if version > self.newest:
            raise NotReadyError(f"version {version} is not committed yet; the newest is {self.newest}")
        raise StaleError(f"version {version} is gone; held are {sorted(self._versions)}")


def _part(name: str) -> tuple[str, int]:
    """Return a table's name and which part of it goes by this name: 0 the values, k the k-th of its state."""
    base, _, slot = name.partition("#")
    return base, int(slot) + 1 if slot else 0


def _found(there: Int64Array, keys: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the indices of those keys that are in the sorted array `there`, and where they stand in it."""
    if not there.size:
        return NO_IDS, NO_IDS
    where = np.searchsorted(there, keys)
    where[where == there.size] = 0
    hit = np.flatnonzero(there[where] == keys)
    return hit, where[hit]


def _at(keys: Int64Array, rows: StagedRows) -> StagedRows:
    """Return the rows of an update whose ids are among the sorted keys, by position among these."""
    hit, where = _found(keys, rows.positions)
    if hit.size == rows.positions.size:
        return replace(rows, positions=where)
    return StagedRows(where, rows.values[hit], rows.weights[hit])


def _no_rows(table: KeyedTable) -> FoldedRows:
    return FoldedRows(NO_IDS, np.empty((0, table.spec.dim), np.float32))
