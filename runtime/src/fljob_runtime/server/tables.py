"""A plain table's part at one shard: where its rows lie, what they hold, which version changed each last. numpy.

Used by `versions`, under its lock. Holds the newest rows only; what a commit overwrites it hands back, and takes again
when the commit is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Float32Array, Int32Array, Int64Array, ParamSpec, whole_rows
from fljob_runtime.server.fold import FoldedRows
from fljob_runtime.server.placement import owned_ids
from fljob_runtime.server.staging import check_sorted

_SWAP_ELEMENTS = 1 << 15
_NOTED_AT_ONCE = 1 << 16  # rows
NO_IDS: Int64Array = np.empty(0, np.int64)
NO_VERSIONS: Int32Array = np.empty(0, np.int32)


@dataclass(frozen=True)
class Waiting:
    """Ids of a keyed table that have no row yet [n]: how many updates touched each, and the version of the last."""

    ids: Int64Array
    touches: Int32Array
    versions: Int32Array


@dataclass(frozen=True)
class Overwritten:
    """Rows of one table as they were before a commit.

    keys [n], sorted; parts: values [n, D], then the optimizer's state of them. Of a keyed table also which versions had
    changed each [n], the keys of rows that were not there, sorted, and what was changed of who waits, 0 touches
    standing for who did not.
    """

    keys: Int64Array
    parts: tuple[Float32Array, ...]
    versions: Int32Array = field(default_factory=lambda: NO_VERSIONS)
    made: Int64Array = field(default_factory=lambda: NO_IDS)
    waiting: Waiting | None = None


class RowTable:
    """The rows of a table of shape (num_rows, D) that a shard holds, in id order. A row's key is its position.

    parts: values [N, D], and once installed the arrays of the server optimizer's state.
    """

    def __init__(self, spec: ParamSpec, shard: int, num_shards: int, slots: Sequence[float] = ()) -> None:
        owned = owned_ids(spec.name, spec.shape[0], shard, num_shards)
        self.spec = spec
        self._slots = tuple(slots)
        self._owned = None if num_shards == 1 else owned
        self._ranks = None if num_shards == 1 else _Ranks(owned, spec.shape[0])
        self.parts: list[Float32Array] = [np.zeros((owned.size, spec.dim), np.float32)]
        self._changes = _Changes(owned.size, 0)
        self._idle: Float32Array | None = None

    def locate(self, ids: Int64Array) -> Int64Array:
        """Return the keys of row ids; raises MalformedError for ids out of order or range, or of another shard."""
        check_sorted(self.spec.name, ids, self.spec.shape[0])
        if self._ranks is None:
            return ids
        keys = self._ranks.of(ids)
        if keys is None:
            name = self.spec.name
            raise MalformedError(f"table {name}: ids of another shard; place rows by the hash of (table, id)")
        return keys

    def ids(self, keys: Int64Array) -> Int64Array:
        """Return the ids of rows by their keys."""
        return keys if self._owned is None else self._owned.take(keys)

    def install(self, version: int, parts: Sequence[Float32Array]) -> None:
        """Take over whole arrays, of values and of the optimizer's state; what is not given begins afresh."""
        given = [*parts] or self.parts[:1]  # a shard that holds no row of a table is given none
        fresh = (np.full(given[0].shape, fill, np.float32) for fill in self._slots[len(given) - 1 :])
        self.parts = [*given, *fresh]
        self._changes = _Changes(len(given[0]), version)

    def __len__(self) -> int:
        return len(self.parts[0])

    def keys(self) -> Int64Array:
        """Return the keys of all rows."""
        return np.arange(len(self))

    def take(self, part: int, keys: Int64Array) -> Float32Array:
        """Return a copy of one part of some rows [n, D]: 0 the values, k the k-th of the optimizer's state."""
        return self.parts[part].take(keys, axis=0)

    def swap(self, rows: FoldedRows, version: int) -> Overwritten:
        """Write rows, as of this version; return what they were, where it may be in the memory of what is written."""
        old: tuple[Float32Array, ...]
        if rows.borrowed:
            keys, old = rows.positions.copy(), (self._memory(len(rows.positions)),)
        else:
            keys, old = rows.positions, (rows.values, *rows.state)
        for part, values, kept in zip(self.parts, (rows.values, *rows.state), old, strict=False):
            _swap(part, keys, values, kept)
        self._changes.add(version, keys)
        return Overwritten(keys, old)

    def forget(self, old: Overwritten) -> None:
        """Take back what `swap` returned first; its memory serves again: fresh memory costs as much as the copy."""
        self._idle = old.parts[0]
        self._changes.settle()

    def _memory(self, num_rows: int) -> Float32Array:
        """Return room for rows: what was taken back last, if it is large enough and not much too large."""
        idle, self._idle = self._idle, None
        if idle is not None and num_rows <= len(idle) <= 2 * num_rows:
            return idle[:num_rows]
        return np.empty((num_rows, self.spec.dim), np.float32)

    def put_back(self, old: Overwritten) -> None:
        """Undo the last swap."""
        for part, values in zip(self.parts, old.parts, strict=False):
            part[old.keys] = values
        self._changes.undo()

    def row_versions(self, keys: Int64Array) -> Int32Array:
        """Return which version changed each row last, int32 [n]."""
        return self._changes.last(keys)

    def fresh(self, part: int, keys: Int64Array) -> Float32Array:
        """Return one part of rows that are not there: a plain table has all of its rows."""
        raise KeyError(f"table {self.spec.name}: part {part} of rows {keys[:3]} that are not there")

    def changed_since(self, version: int) -> Int64Array:
        """Return the keys of the rows that a later version has changed, sorted."""
        return self._changes.since(version)


class _Changes:
    """Which version changed each of N rows last: an array, and a log of what is not in it yet.

    What may be undone stays in the log, and what may not goes to the array many commits at a time: in the cache then.
    """

    def __init__(self, num_rows: int, version: int) -> None:
        self._versions: Int32Array = np.full(num_rows, version, np.int32)
        self._log: list[tuple[int, Int64Array]] = []
        self._num_settled = 0
        self._room = _NOTED_AT_ONCE

    def add(self, version: int, keys: Int64Array) -> None:
        """Note that a version, the newest, changed these rows."""
        self._log.append((version, keys))

    def undo(self) -> None:
        """Forget the newest change."""
        self._log.pop()

    def settle(self) -> None:
        """Say that the oldest of the changes that can be undone no longer can."""
        self._room -= self._log[self._num_settled][1].size
        self._num_settled += 1
        if self._room < 0:
            for version, keys in self._log[: self._num_settled]:
                self._versions[keys] = version
            del self._log[: self._num_settled]
            self._num_settled, self._room = 0, _NOTED_AT_ONCE

    def last(self, keys: Int64Array) -> Int32Array:
        """Return the version that changed each row last, int32 [n]."""
        versions = self._versions.take(keys)
        for version, changed in self._log:
            versions[np.isin(keys, changed)] = version
        return versions

    def since(self, version: int) -> Int64Array:
        """Return the rows that versions after this one changed, sorted."""
        later = [changed for number, changed in self._log if number > version]
        return np.unique(np.concatenate([np.flatnonzero(self._versions > version), *later]))


def _swap(table: Float32Array, keys: Int64Array, values: Float32Array, old: Float32Array) -> None:
    """Write rows [n, D] of a table [N, D] and put into `old`, which may be the same memory, what they were.

    Block by block: what is written is in the cache then. keys: all in [0, N), as `locate` has seen to.
    """
    step, written, given = max(1, _SWAP_ELEMENTS // table.shape[1]), whole_rows(table), whole_rows(values)
    for start in range(0, len(keys), step):
        block = keys[start : start + step]
        if old is values:
            kept = table.take(block, axis=0)
            written[block] = given[start : start + step]
            old[start : start + step] = kept
        else:
            table.take(block, axis=0, out=old[start : start + step], mode="clip")
            written[block] = given[start : start + step]


class _Ranks:
    """Where among the owned ids of [0, N) each stands: a bit an id, and how many come before each word of 64.

    A few bits an id, which stay in the cache where an array of positions would not.
    """

    def __init__(self, owned: Int64Array, num_rows: int) -> None:
        bits = np.zeros(-(-num_rows // 64) * 64, np.bool_)
        bits[owned] = True
        self._words = np.packbits(bits, bitorder="little").view("<u8")
        counts = np.bitwise_count(self._words)
        self._before = np.cumsum(counts, dtype=np.int64) - counts - 1

    def of(self, ids: Int64Array) -> Int64Array | None:
        """Return the rank of each id, all in [0, N); None where one is not owned."""
        at = ids >> 6
        words = self._words.take(at)
        past = ~ids
        past &= 63
        words <<= past.view(np.uint64)  # the id's own bit is the highest now, the sign, and those before it are below
        if words.size and words.view(np.int64).max() >= 0:
            return None
        ranks: Int64Array = self._before.take(at)
        ranks += np.bitwise_count(words)
        return ranks
