"""Writes a shard's versions to its checkpoint files, and decides what of them: everything, or what changed.

Used by `shard`, from its commits; the writing is done on a thread. Rows are read from the model a piece at a time, at
the version that is written and that is pinned as long, so a table is never in memory twice: it costs the rows that
later commits overwrite meanwhile. Knows nothing of manifests: a file counts when the coordinator has named it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fljob_runtime.checkpoints import keyed_rows
from fljob_runtime.checkpoints.chain import MAX_FILES
from fljob_runtime.checkpoints.files import I64, Tensor
from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.checkpoints.shard_file import (
    ShardFileName,
    ShardPart,
    dense_names,
    ids_name,
    table_name,
    with_slots,
    write_tensors,
)
from fljob_runtime.errors import CheckpointError, TransportError
from fljob_runtime.messages import SavedVersion
from fljob_runtime.parameters import Float32Array, Int64Array, Kind, ParamSpec
from fljob_runtime.server.versions import ShardModel

MAX_CHANGED = 0.5  # of all rows: more than that is written as a full file
MAX_CHAIN_CHANGED = 1.0  # of all rows, in the increments of a chain together: so it is at most twice a full file
PIECE_BYTES = 4 << 20
WAIT_S = 120.0  # for the write before: the coordinator has waited for it already, unless it was started anew
_log = logging.getLogger(__name__)
Positions = Mapping[str, Int64Array]


class _CancelledError(Exception):
    """What was being written is of no use any more."""


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
    changed: int = 0
    num_bytes: int = 0
    seconds: float = 0.0
    unix_time: float = 0.0

    @property
    def full(self) -> bool:
        """Return whether the file builds upon no other."""
        return len(self.files) == 1


class Saver:
    """Writes one shard's versions, one at a time, each on a thread of its own while the shard goes on."""

    def __init__(
        self, root: Path, place: Place, *, remote: Remote | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Write below `root`; with a store behind a URI each file goes there, from its spool `root`."""
        self._root = root
        self._remote = remote
        self._place = place
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._last: Saved | None = None
        self._told: SavedVersion | None = None
        self.num_full = 0
        self.num_increments = 0

    @property
    def last(self) -> Saved | None:
        """Return the newest version on disk that the next may build upon."""
        return self._last

    @property
    def busy(self) -> bool:
        """Return whether a version is being written."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def told(self) -> SavedVersion | None:
        """Return what the coordinator is to know: the version that was written last, or why it could not be."""
        return self._told

    def begin_anew(self) -> None:
        """Stop writing, and build upon nothing that was written so far: what is in memory next may not come from it."""
        self._cancelled.set()
        self.wait(WAIT_S)
        self._cancelled.clear()
        self._last = self._told = None

    def wait(self, limit_s: float) -> SavedVersion | None:
        """Wait until nothing is being written and return what was last; raises CheckpointError."""
        thread = self._thread
        if thread is not None:
            thread.join(limit_s)
            if thread.is_alive():
                raise CheckpointError(f"{thread.name} did not end within {limit_s:g} s; is the volume too slow?")
        return self._told

    def save(self, model: ShardModel) -> None:
        """Begin to write the newest version, if it is not written; waits for the one before. Raises CheckpointError."""
        self.wait(WAIT_S)
        version = model.newest
        if self._last is not None and self._last.version == version:
            return
        changed = self._changed(model)
        bases = () if changed is None or self._last is None else self._last.files
        header, tensors = self._header(model, bases), self._tensors(model, changed)
        total = _elements(model, changed) + self._last.changed if changed is not None and self._last else 0
        self._told = None
        model.pin(version)
        self._thread = threading.Thread(
            target=self._write,
            args=(model, header, tensors, Saved(version, bases, changed=total)),
            name=f"the write of version {version}",
            daemon=True,
        )
        self._thread.start()

    def _write(self, model: ShardModel, header: ShardPart, tensors: list[Tensor], plan: Saved) -> None:
        start = time.monotonic()
        try:
            file = write_tensors(self._root, header, tensors)
            if self._remote is not None:
                self._remote.put(file.path)
        except _CancelledError:
            return
        except Exception as error:
            if not isinstance(error, TransportError):
                _log.exception("event=checkpoint_failed version=%d", plan.version)
            self._told = SavedVersion(plan.version, header.digest, error=f"shard {header.shard}: {error}")
            return
        finally:
            model.pin(None)
        self._last = replace(
            plan,
            files=(file, *plan.files),
            num_bytes=sum(tensor.num_bytes for tensor in tensors),
            seconds=time.monotonic() - start,
            unix_time=self._clock(),
        )
        self.num_full += self._last.full
        self.num_increments += not self._last.full
        bases = tuple((base.path, base.digest) for base in plan.files)
        self._told = SavedVersion(plan.version, header.digest, file.path, file.digest, bases)

    def _changed(self, model: ShardModel) -> Positions | None:
        """Return the rows that an increment to the last file has, by table; None when a full file is due."""
        if self._last is None or len(self._last.files) == MAX_FILES:
            return None
        changed = model.changed_since(self._last.version)
        much, whole = _elements(model, changed), _elements_of_all(model)
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
            if spec.kind is Kind.KEYED:
                tensors += keyed_rows.tensors(model, spec, self._place.num_slots, where, self._pieces)
                continue
            if where is not None:
                ids = model.ids(spec.name, where)
                tensors.append(Tensor(ids_name(spec.name), ids.shape, partial(np.asarray, ids), I64))
            tensors += self._rows(model, spec, where)
        return tensors

    def _rows(self, model: ShardModel, spec: ParamSpec, where: Int64Array | None) -> list[Tensor]:
        rows = len(model.table(spec.name)) if where is None else where
        count = rows if isinstance(rows, int) else rows.size
        read = partial(self._pieces, rows, spec.dim)
        keys = with_slots(spec.name, self._place.num_slots)
        version = model.newest
        return [
            Tensor(table_name(key), (count, spec.dim), partial(read, partial(model.rows, version, key))) for key in keys
        ]

    def _pieces(
        self, rows: Int64Array | int, dim: int, read: Callable[[Int64Array], Float32Array]
    ) -> Iterator[Float32Array]:
        """Yield rows of a length, some at a time: those with these keys, or the first so many."""
        step = max(1, PIECE_BYTES // (4 * dim))
        count = rows if isinstance(rows, int) else rows.size
        for start in range(0, count, step):
            if self._cancelled.is_set():
                raise _CancelledError
            stop = min(start + step, count)
            yield read(np.arange(start, stop) if isinstance(rows, int) else rows[start:stop])


def _elements(model: ShardModel, changed: Positions) -> int:
    return sum(changed[spec.name].size * spec.dim for spec in model.layout.shared_tables)


def _elements_of_all(model: ShardModel) -> int:
    return sum(model.num_rows(spec.name) * spec.dim for spec in model.layout.shared_tables)
