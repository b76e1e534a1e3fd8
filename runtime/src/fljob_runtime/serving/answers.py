"""What a scorer answers: scores of rows, and the best items of one example. Used by its HTTP and its gRPC face.

Columns come as lists of rows that nobody has checked; FeedError tells what is wrong with them. No torch here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from fljob_runtime.parameters import Float32Array, Int64Array
from fljob_runtime.serving.feeds import Columns, FeedError, arrays
from fljob_runtime.serving.served import Exported, best, finite

MAX_BYTES = 1 << 20  # of a request
MAX_ROWS = 4096
MAX_VALUES = 1 << 20  # of an answer, 20 MB of JSON: rows of a model of the next item have a score of every item
MAX_K = 1000
USUAL_K = 10
DEADLINE_S = 10.0  # of each read of a request, and of the wait for its turn
BUSY = 16  # requests that are scored at a time


class BusyError(Exception):
    """Too many requests at a time."""


class Counts(Protocol):
    """Where both faces count what they answer, and what that is as Prometheus reads it (`roles.scorer_metrics`)."""

    def answered(self, path: str, code: str, seconds: float) -> None:
        """Count an answer."""

    def scored(self, call: str, rows: int) -> None:
        """Count rows that the model scored."""

    def text(self) -> bytes:
        """Return all counts."""


class NoCounts:
    """Counts nothing."""

    def answered(self, path: str, code: str, seconds: float) -> None:
        """Let it be."""

    def scored(self, call: str, rows: int) -> None:
        """Let it be."""

    def text(self) -> bytes:
        """Return nothing."""
        return b""


@dataclass(frozen=True)
class Answers:
    """Answers of one model, BUSY at a time over all faces. items: the column that top-k ranks.

    draining: set when it is to end, and both faces are to tell those who ask whether it is ready.
    """

    model: Exported
    items: str = "item"
    counts: Counts = field(default_factory=NoCounts, compare=False)
    slots: threading.BoundedSemaphore = field(default_factory=partial(threading.BoundedSemaphore, BUSY), compare=False)
    draining: threading.Event = field(default_factory=threading.Event, compare=False)

    def score(self, inputs: object) -> Float32Array:
        """Return the model's output [B, ...] of column -> rows; raises FeedError, BusyError."""
        with self._turn():
            columns = arrays(self.model.feeds, inputs, max_rows=MAX_ROWS)
            rows = len(next(iter(columns.values())))
            values = rows * self.model.width
            if values > MAX_VALUES:  # told before they are computed
                words = f"the answer would have {values} values, and may have {MAX_VALUES}"
                raise FeedError(f"{words}: send fewer rows, or ask for the best items of one")
            self.counts.scored("score", rows)
            return self.model.score(columns)

    def top_k(self, inputs: object, k: object = USUAL_K) -> tuple[Int64Array, Float32Array]:
        """Return the best k of all items (or classes) for one example, and their scores; raises as `score`."""
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise FeedError(f"k must be an integer from 1 to {MAX_K}")
        with self._turn():
            ids, found = (self._of_items if self.model.target == "probability" else self._of_one)(inputs)
        self.counts.scored("top-k", len(ids) if self.model.target == "probability" else 1)
        scores = finite(found[None], 0)
        places = best(scores, k)[0]
        return ids[places], found[places]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self.slots.acquire(timeout=DEADLINE_S):
            raise BusyError("too many requests at a time")
        try:
            yield
        finally:
            self.slots.release()

    def _of_one(self, inputs: object) -> tuple[Int64Array, Float32Array]:
        ((_, scores),) = self.model.parts(arrays(self.model.feeds, inputs, max_rows=1))
        return np.arange(scores.shape[1]), scores[0]

    def _of_items(self, inputs: object) -> tuple[Int64Array, Float32Array]:
        item = next((feed for feed in self.model.feeds if feed.name == self.items and feed.is_ids), None)
        if item is None or item.sequence or not len(ids := self.model.ids_of(item)):
            raise FeedError(f"the model has no column {self.items!r} of ids to rank; start with --items COLUMN")
        others = tuple(feed for feed in self.model.feeds if feed is not item)
        one, step = arrays(others, inputs, max_rows=1), self.model.step
        scores = [self._of_some(one, item.name, ids[at : at + step]) for at in range(0, len(ids), step)]
        return ids, np.concatenate(scores)

    def _of_some(self, one: Columns, item: str, ids: Int64Array) -> Float32Array:
        """Score ids beside one example, whose columns are repeated for these alone: there may be millions of others."""
        columns = {name: np.repeat(value, len(ids), axis=0) for name, value in one.items()}
        ((_, scores),) = self.model.parts({**columns, item: ids})
        return scores
