"""Rank counts: hand-worked rates at any k, ties, and merging."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fljob_runtime.metrics.ranks import RankCounts

RANKS = np.array([0.0, 2.0, 0.5, 250.0])  # one first, one third, one tied for the first place, one far below


def test_rates_by_hand() -> None:
    counts = RankCounts.of(RANKS)
    assert (counts.hit_rate(1), counts.hit_rate(2), counts.hit_rate(3)) == (0.5, 0.5, 0.75)
    assert counts.ndcg(3) == pytest.approx((1.0 + 0.5 + 1.0 / math.log2(2.5)) / 4)
    assert counts.mrr(3) == pytest.approx((1.0 + 1.0 / 3.0 + 1.0 / 1.5) / 4)


def test_merging_equals_counting_all() -> None:
    merged, whole = RankCounts.of(RANKS[:1]).merge(RankCounts.of(RANKS[1:])), RankCounts.of(RANKS)
    assert (merged.total, merged.counts.tolist()) == (whole.total, whole.counts.tolist())


def test_nothing_has_no_rate() -> None:
    assert math.isnan(RankCounts.empty().hit_rate(10))
