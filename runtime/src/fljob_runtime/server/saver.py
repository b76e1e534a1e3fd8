"""Writes a shard's versions to its checkpoint files, and decides what of them: everything, or what changed.

Used by `shard`. Rows are read from the model a piece at a time, at the version that is written, so that a table is
never in memory twice. Knows nothing of manifests: a file counts when the coordinator has named it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fljob_runtime.checkpoints.chain import MAX_FILES
from fljob_runtime.checkpoints.files import I64, Tensor
from fljob_runtime.checkpoints.shard_file import (
    ShardFileName,
    ShardPart,
    dense_names,
    ids_name,
    table_name,
    with_slots,
    write_tensors,
)
from fljob_runtime.parameters import Float32Array, Int64Array, ParamSpec
from fljob_runtime.server.versions import ShardModel

MAX_CHANGED = 0.5  # of all rows: more than that is written as a full file
MAX_CHAIN_CHANGED = 1.0  # of all rows, in the increments of a chain together: so it is at most twice a full file
PIECE_BYTES = 4 << 20
Positions = Mapping[str, Int64Array]


@dataclass(frozen=True)
class Place:
    """Whose part is written; num_slots: arrays of the server optimizer's state per parameter."""

    job_uid: str
    shard: int
    num_shards: int
    num_slots: int


@dataclass(frozen=True)
class Saved:
    """A version on disk: its file, then those that it builds upon, down to a full one; what writing it took.

    changed: elements in the rows of the increments among the files.
    """

    version: int
    files: tuple[ShardFileName, ...]
    num_bytes: int
    seconds: float
    unix_time: float
    changed: int = 0

    @property
    def full(self) -> bool:
        """Return whether the file builds upon no other."""
        return len(self.files) == 1


class Saver:
    """Writes one shard's versions, each once. Not thread-safe: the shard's commits take turns."""

    def __init__(self, root: Path, place: Place, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._place = place
        self._clock = clock
        self._last: Saved | None = None
        self.num_full = 0
        self.num_increments = 0

    @property
    def last(self) -> Saved | None:
        """Return the newest version on disk that the next may build upon."""
        return self._last

    def begin_anew(self) -> None:
        """Build upon nothing that was written so far: what is in memory now may not come from it."""
        self._last = None

    def save(self, model: ShardModel) -> Saved:
        """Write the newest version, if it is not written; raises CheckpointError (full, read-only)."""
        if self._last is not None and self._last.version == model.newest:
            return self._last
        start = time.monotonic()
        changed = self._changed(model)
        bases = () if changed is None or self._last is None else self._last.files
        tensors = self._tensors(model, changed)
        file = write_tensors(self._root, self._header(model, bases), tensors)
        size = sum(tensor.num_bytes for tensor in tensors)
        total = _elements(model, changed) + self._last.changed if changed is not None and self._last else 0
        self._last = Saved(model.newest, (file, *bases), size, time.monotonic() - start, self._clock(), total)
        self.num_full += self._last.full
        self.num_increments += not self._last.full
        return self._last

    def _changed(self, model: ShardModel) -> Positions | None:
        """Return the rows that an increment to the last file has, by table; None when a full file is due."""
        if self._last is None or len(self._last.files) == MAX_FILES:
            return None
        changed = model.changed_since(self._last.version)
        much, whole = _elements(model, changed), sum(model.table(spec.name).size for spec in model.layout.shared_tables)
        fits = much <= MAX_CHANGED * whole and self._last.changed + much <= MAX_CHAIN_CHANGED * whole
        return changed if fits else None

    def _header(self, model: ShardModel, bases: tuple[ShardFileName, ...]) -> ShardPart:
        return ShardPart(
            job_uid=self._place.job_uid,
            version=model.newest,
            shard=self._place.shard,
            num_shards=self._place.num_shards,
            digest=model.digest(model.newest),
            layout=model.layout,
            dense=np.empty(0, np.float32),
            tables={},
            num_slots=self._place.num_slots,
            base=bases[0] if bases else None,
        )

    def _tensors(self, model: ShardModel, changed: Positions | None) -> list[Tensor]:
        version = model.newest
        vectors = (model.dense(version), *model.slots(version))
        names = dense_names(self._place.num_slots)
        tensors = [Tensor(n, v.shape, partial(np.asarray, v)) for n, v in zip(names, vectors, strict=True)]
        for spec in model.layout.shared_tables:
            where = None if changed is None else changed[spec.name]
            if where is not None:
                ids = partial(model.ids, spec.name, where)
                tensors.append(Tensor(ids_name(spec.name), where.shape, ids, I64))
            tensors += self._rows(model, spec, where)
        return tensors

    def _rows(self, model: ShardModel, spec: ParamSpec, where: Int64Array | None) -> list[Tensor]:
        rows = len(model.table(spec.name)) if where is None else where
        count = rows if isinstance(rows, int) else rows.size
        keys = with_slots(spec.name, self._place.num_slots)
        return [
            Tensor(table_name(key), (count, spec.dim), partial(_pieces, model, model.newest, key, rows)) for key in keys
        ]


def _elements(model: ShardModel, changed: Positions) -> int:
    return sum(changed[spec.name].size * spec.dim for spec in model.layout.shared_tables)


def _pieces(model: ShardModel, version: int, key: str, where: Int64Array | int) -> Iterator[Float32Array]:
    """Yield rows of a table as they are in a version: those at these positions, or the first so many."""
    count = where if isinstance(where, int) else where.size
    step = max(1, PIECE_BYTES // (4 * model.table(key).shape[1]))
    for start in range(0, count, step):
        stop = min(start + step, count)
        positions = np.arange(start, stop) if isinstance(where, int) else where[start:stop]
        yield model.rows(version, key, positions)
