"""How much better one model is than another on the same held-out examples, with an interval. numpy.

A paired bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 16): examples are drawn anew
with replacement, the same ones for both models, and the difference of their AUCs is taken each time. With several seeds
a draw's difference is the mean over them. What the examples leave open is in the interval, what seeds do is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000
Scores = NDArray[np.float32]  # [E, 2]: a score of any scale, and the label


@dataclass(frozen=True)
class Difference:
    """Of AUCs: as measured, and the 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        worse = " worse" if self.high < 0.0 else ""
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]{worse}"


def difference(pairs: Sequence[tuple[Scores, Scores]], draws: int = DRAWS) -> Difference:
    """Return by how much the AUC of each first one is above that of the second, over all pairs (one for each seed).

    All have the same examples in the same order; raises ValueError where labels differ.
    """
    labels = pairs[0][0][:, 1]
    if any(not np.array_equal(labels, scores[:, 1]) for pair in pairs for scores in pair):
        raise ValueError("scores of other examples: seeds must have the same held-out data")
    curves = [(_Auc(one), _Auc(other)) for one, other in pairs]
    rng = np.random.default_rng(0)

    def of(counts: NDArray[np.int64]) -> float:
        return float(np.mean([one.of(counts) - other.of(counts) for one, other in curves]))

    size = len(labels)
    drawn = [of(np.bincount(rng.integers(0, size, size), minlength=size)) for _ in range(draws)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Difference(of(np.ones(size, np.int64)), float(low), float(high))


class _Auc:
    """The area under the ROC curve of some scores, with each example counted as often as it is drawn."""

    def __init__(self, scores: Scores) -> None:
        self._order = np.argsort(scores[:, 0], kind="stable")
        ordered = scores[self._order]
        self._positive = ordered[:, 1] > 0.5
        self._starts = np.flatnonzero(np.append(True, ordered[1:, 0] != ordered[:-1, 0]))  # of each tie

    def of(self, counts: NDArray[np.int64]) -> float:
        weights = counts[self._order]
        right = np.add.reduceat(np.where(self._positive, weights, 0), self._starts)
        wrong = np.add.reduceat(np.where(self._positive, 0, weights), self._starts)
        below = np.cumsum(wrong) - wrong
        return float((right * (below + 0.5 * wrong)).sum() / (right.sum() * wrong.sum()))
