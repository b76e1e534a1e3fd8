"""Mergeable score histograms on nested dyadic grids, and the AUC they bound.

A cell is [i * h, (i + 1) * h) on the logit axis with h = 2^-k. Cells are aligned at multiples of h, so the grid of k
nests in that of every smaller k and merging to the coarser grid loses nothing else. Only occupied cells are kept.
See docs/decisions/003. Used by MetricSums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CELLS = 4096
MAX_MERGED_CELLS = 65_536
WANTED_BOUND = 5e-4
MIN_EXPONENT = -4
MAX_EXPONENT = 24
LOGIT_LIMIT = 32.0
_BITS = 63  # of a cell


@dataclass(frozen=True)
class DyadicHistogram:
    """Counts of positives and negatives per occupied cell.

    exponent: k of the cell width 2^-k; cells: int64 [C], sorted, unique; positives, negatives: int64 [C].
    """

    exponent: int
    cells: NDArray[np.int64]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    @classmethod
    def empty(cls) -> DyadicHistogram:
        """Return the histogram of nothing: the neutral element of `merge`."""
        none = np.empty(0, np.int64)
        return cls(MAX_EXPONENT, none, none, none)

    @classmethod
    def of(cls, logits: NDArray[np.floating], labels: NDArray[np.floating]) -> DyadicHistogram:
        """Count scores (any shape [n], logits; labels 0 or 1) on the finest grid within MAX_CELLS cells.

        Where that bounds the AUC worse than WANTED_BOUND, up to MAX_MERGED_CELLS cells are taken.
        """
        if len(logits) == 0:
            return cls.empty()
        clipped = np.clip(logits.astype(np.float64), -LOGIT_LIMIT, LOGIT_LIMIT)
        fine = np.floor(np.ldexp(clipped, MAX_EXPONENT)).astype(np.int64)
        counted = cls(MAX_EXPONENT, *_count(fine, labels))
        made, allowed = counted.bounded(), MAX_CELLS
        while made.auc_bound() > WANTED_BOUND and allowed < MAX_MERGED_CELLS:
            allowed *= 4
            made = counted.bounded(allowed)
        return made

    def coarsened(self, exponent: int) -> DyadicHistogram:
        """Return the same counts on the grid of a smaller exponent."""
        if exponent >= self.exponent or len(self.cells) == 0:
            return self if exponent >= self.exponent else DyadicHistogram(exponent, *self._columns())
        return _grouped(exponent, self.cells >> (self.exponent - exponent), self.positives, self.negatives)

    def bounded(self, max_cells: int = MAX_CELLS) -> DyadicHistogram:
        """Return the finest coarsening with at most `max_cells` occupied cells."""
        if len(self.cells) <= max_cells:
            return self
        # Two neighbours are one cell when all bits in which they differ are shifted away.
        apart = np.frexp((self.cells[1:] ^ self.cells[:-1]).astype(np.float64))[1]
        apart[(self.cells[1:] >= 0) & (self.cells[:-1] < 0)] = _BITS  # the sign never is
        num_below = np.cumsum(np.bincount(apart, minlength=_BITS + 1))
        shift = int(np.searchsorted(num_below, len(self.cells) - max_cells))
        return self.coarsened(max(self.exponent - shift, MIN_EXPONENT))

    def merge(self, other: DyadicHistogram) -> DyadicHistogram:
        """Return the sum of both on the coarser of the two grids, or coarser still to stay in MAX_MERGED_CELLS.

        Order and grouping of merges do not matter: a part never occupies more cells than the whole, so no part is
        made coarser than the whole will be.
        """
        exponent = min(
            self.exponent if len(self.cells) else other.exponent,
            other.exponent if len(other.cells) else self.exponent,
        )
        a, b = self.coarsened(exponent), other.coarsened(exponent)
        cells, positives, negatives = (np.concatenate(both) for both in zip(a._columns(), b._columns(), strict=True))
        order = np.argsort(cells, kind="stable")  # two runs in order: one pass
        merged = _grouped(exponent, cells[order], positives[order], negatives[order])
        return merged.bounded(MAX_MERGED_CELLS)

    def auc(self) -> float:
        """Return the area under the ROC curve, pairs within a cell counting half; NaN without both classes."""
        num_positives, num_negatives = int(self.positives.sum()), int(self.negatives.sum())
        if num_positives == 0 or num_negatives == 0:
            return float("nan")
        below = np.cumsum(self.negatives) - self.negatives
        twice_wins = (self.positives.astype(np.float64) * (2 * below + self.negatives)).sum()  # int64 could overflow
        return float(twice_wins) / (2.0 * num_positives * num_negatives)

    def auc_bound(self) -> float:
        """Return the bound on |auc - exact AUC|: sum of p_i n_i / (2 P N); NaN without both classes."""
        pairs = float(self.positives.sum()) * float(self.negatives.sum())
        if pairs == 0.0:
            return float("nan")
        return float((self.positives.astype(np.float64) * self.negatives).sum()) / (2.0 * pairs)

    def num_right(self) -> int:
        """Return how many are on the right side of logit 0, where every grid has an edge."""
        above = self.cells >= 0
        return int(self.positives[above].sum() + self.negatives[~above].sum())

    def precision(self) -> float:
        """Return the share of positives among the scores of logit 0 and more; NaN where there are none."""
        above = self.cells >= 0
        return _share(self.positives[above].sum(), (self.positives + self.negatives)[above].sum())

    def recall(self) -> float:
        """Return the share of positives that score logit 0 or more; NaN without positives."""
        return _share(self.positives[self.cells >= 0].sum(), self.positives.sum())

    def f1(self) -> float:
        """Return 2 TP / (2 TP + FP + FN), logits of 0 and more being called positive; NaN where nothing is either.

        The harmonic mean of precision and recall where both are above 0 (van Rijsbergen 1979).
        """
        above = self.cells >= 0
        called = (self.positives + self.negatives)[above].sum()
        return _share(2 * self.positives[above].sum(), called + self.positives.sum())

    def average_precision(self) -> float:
        """Return the mean, over positives, of the precision at each one's score; those within a cell count as equal."""
        positives = self.positives[::-1].astype(np.float64)
        found, seen = np.cumsum(positives), np.cumsum((self.positives + self.negatives)[::-1])
        return _share(float((positives * found / np.maximum(seen, 1)).sum()), self.positives.sum())

    def _columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        return self.cells, self.positives, self.negatives


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _grouped(
    exponent: int, cells: NDArray[np.int64], positives: NDArray[np.int64], negatives: NDArray[np.int64]
) -> DyadicHistogram:
    """Return the histogram of sorted cells, of which some may be given more than once."""
    if len(cells) == 0:
        return DyadicHistogram(exponent, cells, positives, negatives)
    first = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
    return DyadicHistogram(exponent, cells[first], np.add.reduceat(positives, first), np.add.reduceat(negatives, first))


def _count(keys: NDArray[np.int64], labels: NDArray[np.floating]) -> tuple[NDArray[np.int64], ...]:
    """Return the distinct keys [C], sorted, and how many positives and negatives have each; keys [n], n > 0."""
    marked = keys << 1  # with the label in the lowest bit, numbers alone are sorted, in half the time
    marked |= np.asarray(labels) > 0.5
    marked.sort()
    ordered, ones = marked >> 1, marked & 1
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    positives = np.add.reduceat(ones, first)
    return ordered[first], positives, np.diff(first, append=len(keys)) - positives


def exact_auc(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Return the exact AUC of scores [n] with labels [n] in {0, 1}; ties count half; NaN without both classes."""
    if len(scores) == 0:
        return float("nan")
    cells, positives, negatives = _count(_in_order(scores), labels)
    return DyadicHistogram(MAX_EXPONENT, cells, positives, negatives).auc()


def _in_order(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return numbers far from the ends of int64 that compare as the scores do."""
    if scores.dtype != np.float32:
        ranks: NDArray[np.int64] = np.unique(scores, return_inverse=True)[1].astype(np.int64, copy=False)
        return ranks
    bits: NDArray[np.int32] = (scores + np.float32(0.0)).view(np.int32)  # the sum makes a 0 of -0
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)  # negative numbers grow with their other bits
    return bits.astype(np.int64)
