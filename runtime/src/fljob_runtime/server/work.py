"""What one shard has done since its start, in totals that only rise.

Written by `shard` and `live`, read by transport.shard_metrics at each scrape. Decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fljob_runtime.server.staging import Staged


@dataclass(frozen=True)
class Totals:
    """Rows taken in by table, bytes that what was taken in has without compression; what was folded, in how long.

    folded_updates counts updates and contributions, folded_bytes their values as float32.
    """

    taken_rows: Mapping[str, int]
    plain_bytes: int
    folded_updates: int
    folded_bytes: int
    fold_seconds: float


class Work:
    """Counts; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken_rows = Counter[str]()
        self._plain_bytes = 0
        self._folded_updates = 0
        self._folded_bytes = 0
        self._fold_seconds = 0.0

    @property
    def totals(self) -> Totals:
        """Return the totals so far."""
        with self._lock:
            return Totals(
                taken_rows=dict(self._taken_rows),
                plain_bytes=self._plain_bytes,
                folded_updates=self._folded_updates,
                folded_bytes=self._folded_bytes,
                fold_seconds=self._fold_seconds,
            )

    def took(self, staged: Staged) -> None:
        """Count an update or contribution that came in whole."""
        with self._lock:
            self._plain_bytes += staged.plain_bytes
            for table, part in staged.rows.items():
                self._taken_rows[table] += len(part.positions)

    @contextmanager
    def folding(self, updates: Sequence[Staged]) -> Iterator[None]:
        """Count these as folded, and the time that it takes; a fold that raises counts for nothing."""
        num_bytes = sum(update.value_bytes for update in updates)
        start = time.perf_counter()
        yield
        with self._lock:
            self._fold_seconds += time.perf_counter() - start
            self._folded_updates += len(updates)
            self._folded_bytes += num_bytes
