"""What a scorer answers: scores of rows, and the best items of one example. Used by its HTTP and its gRPC face.

Columns come as lists of rows that nobody has checked; FeedError tells what is wrong with them. No torch here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fljob_runtime.parameters import Float32Array, Int64Array
from fljob_runtime.serving.feeds import FeedError, arrays
from fljob_runtime.serving.served import Exported

MAX_BYTES = 1 << 20  # of a request
MAX_ROWS = 4096
MAX_K = 1000
USUAL_K = 10
DEADLINE_S = 10.0  # of each read of a request, and of the wait for its turn
BUSY = 16  # requests that are scored at a time


class BusyError(Exception):
    """Too many requests at a time."""


@dataclass(frozen=True)
class Answers:
    """Answers of one model, BUSY at a time over all faces. items: the column that top-k ranks."""

    model: Exported
    items: str = "item"
    slots: threading.BoundedSemaphore = field(default_factory=partial(threading.BoundedSemaphore, BUSY), compare=False)

    def score(self, inputs: object) -> Float32Array:
        """Return the model's output [B, ...] of column -> rows; raises FeedError, BusyError."""
        with self._turn():
            return self.model.score(arrays(self.model.feeds, inputs, max_rows=MAX_ROWS))

    def top_k(self, inputs: object, k: object = USUAL_K) -> tuple[Int64Array, Float32Array]:
        """Return the best k of all items (or classes) for one example, and their scores; raises as `score`."""
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise FeedError(f"k must be an integer from 1 to {MAX_K}")
        with self._turn():
            ids, scores = (self._of_items if self.model.target == "probability" else self._of_one)(inputs)
        best = np.argsort(-scores, kind="stable")[:k]
        return ids[best], scores[best]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self.slots.acquire(timeout=DEADLINE_S):
            raise BusyError("too many requests at a time")
        try:
            yield
        finally:
            self.slots.release()

    def _of_one(self, inputs: object) -> tuple[Int64Array, Float32Array]:
        scores = np.asarray(self.model.score(arrays(self.model.feeds, inputs, max_rows=1))[0])
        return np.arange(len(scores)), scores

    def _of_items(self, inputs: object) -> tuple[Int64Array, Float32Array]:
        item = next((feed for feed in self.model.feeds if feed.name == self.items and feed.is_ids), None)
        if item is None or item.sequence or not len(ids := self.model.ids_of(item)):
            raise FeedError(f"the model has no column {self.items!r} of ids to rank; start with --items COLUMN")
        others = tuple(feed for feed in self.model.feeds if feed is not item)
        one = arrays(others, inputs, max_rows=1)
        columns = {name: np.repeat(value, len(ids), axis=0) for name, value in one.items()}
        return ids, np.asarray(self.model.score({**columns, item.name: ids}))
