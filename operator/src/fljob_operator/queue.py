"""A queue of keys: each waits at most once, later adds with a delay, failures back off. asyncio, one loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 60.0


class WorkQueue:
    """Deduplicated keys for several workers; a key is never worked on twice at once."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock, self._jitter = clock, jitter
        self._waiting: dict[str, float] = {}  # key -> since
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[str, int] = {}
        self._ready = asyncio.Condition()
        self._notify_tasks: set[asyncio.Task[None]] = set()

    def add(self, key: str) -> None:
        """Make a key wait for a worker; while it is being worked on it is noted to be done again."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = self._clock()
            task = asyncio.ensure_future(self._notify())
            self._notify_tasks.add(task)
            task.add_done_callback(self._notify_tasks.discard)

    def add_after(self, key: str, delay_s: float) -> None:
        """Add a key after a delay; of several delays the shortest counts."""
        due = self._clock() + delay_s
        present = self._timers.get(key)
        if present:
            if present[0] <= due:
                return
            present[1].cancel()
        self._timers[key] = (due, asyncio.get_running_loop().call_later(delay_s, self._fire, key))

    async def get(self) -> str:
        """Return the key that has waited longest, and mark it as worked on."""
        async with self._ready:
            await self._ready.wait_for(lambda: bool(self._waiting))
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._working.add(key)
            return key

    def done(self, key: str, *, failed: bool = False) -> None:
        """End the work on a key; after a failure it comes back, later each time."""
        self._working.discard(key)
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
            backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self._failures[key] - 1))
            self.add_after(key, backoff * (0.75 + 0.5 * self._jitter()))
        else:
            self._failures.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def depth(self) -> int:
        """Return how many keys wait."""
        return len(self._waiting)

    def age_s(self) -> float:
        """Return how long the oldest key has waited."""
        return self._clock() - min(self._waiting.values()) if self._waiting else 0.0

    def _fire(self, key: str) -> None:
        del self._timers[key]
        self.add(key)

    async def _notify(self) -> None:
        async with self._ready:
            self._ready.notify()
