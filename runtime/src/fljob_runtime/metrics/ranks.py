"""How high targets are ranked: counts from which hit rate, NDCG and reciprocal rank at any k follow.

Part of MetricSums. Rank 0 is the best; a tie counts half, so ranks are multiples of a half, and counts of them add up
exactly in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_K = 100


@dataclass(frozen=True)
class RankCounts:
    """counts: int64 [2 · MAX_K], of the ranks 0, 0.5, 1, …; total: of all targets, also of those ranked below."""

    total: int
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls) -> RankCounts:
        """Return the counts of nothing: the neutral element of `merge`."""
        return cls(0, np.zeros(2 * MAX_K, np.int64))

    @classmethod
    def of(cls, ranks: NDArray[np.floating] | NDArray[np.integer]) -> RankCounts:
        """Count ranks [n], multiples of a half from 0 on."""
        halves = np.rint(2.0 * np.asarray(ranks, np.float64)).astype(np.int64)
        return cls(len(halves), np.bincount(halves[halves < 2 * MAX_K], minlength=2 * MAX_K))

    def merge(self, other: RankCounts) -> RankCounts:
        """Return the counts of both."""
        return RankCounts(self.total + other.total, self.counts + other.counts)

    def hit_rate(self, k: int) -> float:
        """Return the share of targets among the first k; NaN of nothing. With one target per list it is the recall."""
        return self._mean(np.ones(2 * k), k)

    def ndcg(self, k: int) -> float:
        """Return the mean of 1 / log2(rank + 2), 0 from rank k on (Järvelin and Kekäläinen 2002; one target a list)."""
        return self._mean(1.0 / np.log2(0.5 * np.arange(2 * k) + 2.0), k)

    def mrr(self, k: int) -> float:
        """Return the mean of 1 / (rank + 1), 0 from rank k on."""
        return self._mean(1.0 / (0.5 * np.arange(2 * k) + 1.0), k)

    def _mean(self, gains: NDArray[np.floating], k: int) -> float:
        return float(self.counts[: 2 * k] @ gains) / self.total if self.total else math.nan
