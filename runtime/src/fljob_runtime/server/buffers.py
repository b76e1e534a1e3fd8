"""Where the bytes of updates lie until a commit: memory up to a budget that all share, and a file for what is over.

Used by `staging` and `shard`. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.errors import BusyError

_ALIGN = 64
_UINT8 = NDArray[np.uint8]


class Budget:
    """Memory that staged updates may take together; thread-safe.

    Keeps what was given back for the next update of about the same size: fresh memory costs a page fault per 4 KiB,
    more than the copy into it. Updates of rows are never equally long, so sizes are rounded up, by an eighth at most,
    and a somewhat larger piece serves too; what fitted no other one would be kept for nothing.
    """

    def __init__(self, limit_bytes: int, scratch: Path) -> None:
        self.scratch = scratch
        self._limit = limit_bytes
        self._used = 0
        self._spilled = 0
        self._idle: list[_UINT8] = []
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Return the memory taken and not given back."""
        with self._lock:
            return self._used

    @property
    def spilled_bytes(self) -> int:
        """Return the bytes that went to files since the start."""
        with self._lock:
            return self._spilled

    def spill(self, num_bytes: int) -> None:
        """Count bytes that go to a file."""
        with self._lock:
            self._spilled += num_bytes

    def take(self, num_bytes: int) -> _UINT8 | None:
        """Return memory of at least this size; None when the update must go to a file."""
        size = _rounded(num_bytes)
        with self._lock:
            if self._used + size > self._limit:
                size = num_bytes
            if self._used + size > self._limit:
                return None
            fitting = [(array.size, at) for at, array in enumerate(self._idle) if size <= array.size <= 1.25 * size]
            if fitting and self._used + min(fitting)[0] <= self._limit:
                found = self._idle.pop(min(fitting)[1])
                self._used += found.size
                return found
            self._used += size
            while self._idle and self._used + sum(array.size for array in self._idle) > self._limit:
                self._idle.pop(0)
        return np.empty(size, np.uint8)

    def give(self, memory: _UINT8, *, reusable: bool) -> None:
        """Return memory; not reusable while someone may still read it."""
        with self._lock:
            self._used -= memory.size
            if reusable and memory.size:
                self._idle.append(memory)


def _rounded(num_bytes: int) -> int:
    """Return the next multiple of an eighth of the size's highest power of two."""
    step = 1 << max(0, num_bytes.bit_length() - 4)
    return -(-num_bytes // step) * step


class Buffers:
    """The bytes of one payload, one aligned array per block, in memory or in an unlinked file."""

    def __init__(self, sizes: Sequence[int], budget: Budget) -> None:
        """Allocate blocks of these sizes in bytes; raises BusyError when neither memory nor scratch has room."""
        offsets, total = [], 0
        for size in sizes:
            offsets.append(total)
            total += -(-size // _ALIGN) * _ALIGN
        self._budget = budget
        self._memory = budget.take(total)
        self.spilled = self._memory is None
        memory = self._spill(total) if self._memory is None else self._memory
        self.arrays = [memory[start : start + size] for start, size in zip(offsets, sizes, strict=True)]

    def _spill(self, total: int) -> _UINT8:
        try:
            with tempfile.TemporaryFile(dir=self._budget.scratch, prefix="fljob-staged-") as file:
                # Reserve the blocks now: a full disk under a memory map would kill the process.
                os.posix_fallocate(file.fileno(), 0, total)
                self._budget.spill(total)
                return np.memmap(file, np.uint8, "r+", shape=(total,))
        except OSError as error:
            raise BusyError(
                f"no room for {total} bytes of an update: memory budget is used up and "
                f"{self._budget.scratch}: {error.strerror}; raise the server's memory limit or scratch size"
            ) from error

    def free(self, *, reusable: bool = True) -> None:
        """Give the memory back, once; not `reusable` while a reader may still hold the arrays."""
        memory, self._memory, self.arrays = self._memory, None, []
        if memory is not None:
            self._budget.give(memory, reusable=reusable)
