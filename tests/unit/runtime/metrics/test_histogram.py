"""The dyadic histogram: exact merging, and an AUC within its published bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fljob_runtime.metrics.histogram import (
    MAX_CELLS,
    MAX_EXPONENT,
    MAX_MERGED_CELLS,
    WANTED_BOUND,
    DyadicHistogram,
    exact_auc,
)


def predictions(seed: int, size: int, spread: float, rate: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(size) < rate).astype(np.float32)
    labels[0], labels[1] = 1.0, 0.0
    logits = (rng.normal(size=size) * spread + labels * spread - 1.4).astype(np.float32)
    return logits, labels


def test_auc_by_hand_counts_wins_and_half_ties() -> None:
    logits = np.array([0.0, 1.0, 1.0, 2.0], np.float32)
    labels = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    # pairs: (1.0+, 0.0-) wins, (1.0+, 1.0-) half, (2.0+, both) win: 3.5 of 4
    assert exact_auc(logits, labels) == pytest.approx(0.875)
    assert DyadicHistogram.of(logits, labels).auc() == pytest.approx(0.875)


def test_scores_below_zero_and_both_zeros_are_in_order() -> None:
    scores = np.array([-2.0, -1.0, -0.0, 0.0, 1.0], np.float32)
    labels = np.array([0.0, 1.0, 0.0, 1.0, 1.0], np.float32)
    # pairs: -1 wins over -2; 0 wins over -2 and ties with -0; 1 wins over both: 4.5 of 6, and -1 loses against -0
    assert exact_auc(scores, labels) == pytest.approx(4.5 / 6)
    assert exact_auc(scores.astype(np.float64), labels) == pytest.approx(4.5 / 6)


@given(
    cells=st.sets(st.one_of(st.integers(-300, 300), st.integers(-(1 << 29), 1 << 29)), min_size=1, max_size=60),
    most=st.integers(1, 40),
)
def test_bounded_takes_the_finest_grid_that_fits(cells: set[int], most: int) -> None:
    ones = np.ones(len(cells), np.int64)
    bounded = DyadicHistogram(MAX_EXPONENT, np.array(sorted(cells)), ones, ones).bounded(most)
    shift = next(s for s in range(29) if s == 28 or len({cell >> s for cell in cells}) <= most)
    assert bounded.exponent == MAX_EXPONENT - shift
    assert bounded.cells.tolist() == sorted({cell >> shift for cell in cells})
    assert int(bounded.positives.sum()) == len(cells)


def test_auc_without_both_classes_is_not_a_number() -> None:
    assert np.isnan(exact_auc(np.array([1.0, 2.0]), np.array([1.0, 1.0])))


@given(
    seed=st.integers(0, 1000),
    size=st.integers(2, 20_000),
    spread=st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 8.0]),
    rate=st.sampled_from([0.001, 0.2, 0.5]),
)
def test_auc_lies_within_its_bound_of_the_exact_one(seed: int, size: int, spread: float, rate: float) -> None:
    logits, labels = predictions(seed, size, spread, rate)
    histogram = DyadicHistogram.of(logits, labels)
    assert abs(histogram.auc() - exact_auc(logits, labels)) <= histogram.auc_bound() + 1e-12
    assert len(histogram.cells) <= MAX_MERGED_CELLS


@given(seed=st.integers(0, 1000), cut=st.integers(1, 4999))
def test_merged_auc_is_within_its_bound_of_the_pooled_predictions(seed: int, cut: int) -> None:
    logits, labels = predictions(seed, 5000, 1.0, 0.2)
    merged = DyadicHistogram.of(logits[:cut], labels[:cut]).merge(DyadicHistogram.of(logits[cut:] * 1, labels[cut:]))
    assert abs(merged.auc() - exact_auc(logits, labels)) <= merged.auc_bound() + 1e-12


@given(seed=st.integers(0, 1000))
def test_merging_does_not_depend_on_order_or_grouping(seed: int) -> None:
    parts = [DyadicHistogram.of(*predictions(seed + i, 3000, 10.0**-i, 0.3)) for i in range(3)]
    left = parts[0].merge(parts[1]).merge(parts[2])
    right = parts[2].merge(parts[1].merge(parts[0]))
    assert left.exponent == right.exponent
    for a, b in zip(left._columns(), right._columns(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_merging_with_nothing_changes_nothing() -> None:
    histogram = DyadicHistogram.of(*predictions(1, 100, 1.0, 0.5))
    merged = DyadicHistogram.empty().merge(histogram)
    assert merged.exponent == histogram.exponent
    np.testing.assert_array_equal(merged.cells, histogram.cells)


def test_outliers_that_spoil_the_bound_get_more_cells() -> None:
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(0.0, 0.05, 40_000), rng.uniform(-30.0, 30.0, 6_000)])
    labels = (rng.random(46_000) < 0.5).astype(np.float32)
    histogram = DyadicHistogram.of(logits, labels)
    assert histogram.bounded().auc_bound() > WANTED_BOUND >= histogram.auc_bound()
    assert MAX_CELLS < len(histogram.cells) <= MAX_MERGED_CELLS


def test_collapsed_scores_have_a_bound_below_a_thousandth() -> None:
    logits, labels = predictions(7, 60_000, 1e-3, 0.01)
    assert DyadicHistogram.of(logits, labels).auc_bound() < 1e-3


def test_a_click_rate_of_one_in_ten_thousand_has_a_bound_below_a_thousandth() -> None:
    logits, labels = predictions(8, 200_000, 1.0, 1e-4)
    assert DyadicHistogram.of(logits, labels).auc_bound() < 1e-3


def test_a_merged_histogram_stays_within_its_cap_and_its_bound() -> None:
    cells = np.arange(MAX_MERGED_CELLS, dtype=np.int64)
    ones = np.ones(MAX_MERGED_CELLS, np.int64)
    low = DyadicHistogram(20, cells, ones, 0 * ones)
    high = DyadicHistogram(20, cells + MAX_MERGED_CELLS, 0 * ones, ones)
    merged = low.merge(high)
    assert merged.exponent == 19  # twice the cap fits when two cells become one
    assert len(merged.cells) == MAX_MERGED_CELLS
    assert merged.auc() == 0.0


def test_capped_merging_does_not_depend_on_grouping() -> None:
    cells = np.arange(MAX_MERGED_CELLS // 2, dtype=np.int64)
    parts = [DyadicHistogram(20, cells * (i + 1), cells % 3, cells % 2) for i in range(4)]
    left = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    right = parts[3].merge(parts[1]).merge(parts[2].merge(parts[0]))
    assert left.exponent == right.exponent < 20
    for a, b in zip(left._columns(), right._columns(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_auc_of_very_many_samples_does_not_overflow() -> None:
    many = np.array([1 << 40, 1 << 40], np.int64)
    histogram = DyadicHistogram(0, np.array([0, 1], np.int64), many, many)
    # of 4 pairs of cells: one wins, one loses, two tie
    assert histogram.auc() == pytest.approx(0.5)


def test_decisions_at_logit_zero_by_hand() -> None:
    logits, labels = np.array([2.0, 0.0, -1.0, 1.0, -2.0]), np.array([1.0, 1.0, 1.0, 0.0, 0.0])
    counted = DyadicHistogram.of(logits, labels)
    assert counted.precision() == pytest.approx(2 / 3)
    assert counted.recall() == pytest.approx(2 / 3)
    assert counted.num_right() == 3


@pytest.mark.parametrize(
    ("logits", "labels", "f1"),
    [([1, 1, -1], [0, 0, 1], 0.0), ([-1, -1], [1, 1], 0.0), ([1, 1, -1], [1, 0, 1], 0.5), ([-1], [0], np.nan)],
)
def test_f1_is_0_where_no_decision_is_right_and_undefined_where_there_is_none(
    logits: list[int], labels: list[int], f1: float
) -> None:
    histogram = DyadicHistogram.of(np.array(logits, np.float32), np.array(labels, np.float32))
    assert histogram.f1() == pytest.approx(f1, nan_ok=True)


def test_average_precision_by_hand() -> None:
    logits, labels = np.array([3.0, 2.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert DyadicHistogram.of(logits, labels).average_precision() == pytest.approx((1.0 + 2 / 3) / 2)
