"""Means of staged updates, with numbers worked out by hand."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fljob_runtime.parameters import Float32Array
from fljob_runtime.server import fold
from fljob_runtime.server.fold import fold_dense, fold_rows
from fljob_runtime.server.staging import StagedRows


def floats(*values: float) -> Float32Array:
    return np.array(values, np.float32)


def rows(positions: list[int], values: list[float], weights: list[float]) -> StagedRows:
    return StagedRows(np.array(positions, np.int64), floats(*values).reshape(-1, 1), np.array(weights))


def test_dense_mean_is_weighted() -> None:
    assert fold_dense([floats(1, 2), floats(4, 8)], [1.0, 2.0]).tolist() == [3.0, 6.0]


def test_dense_mean_of_one_client_is_its_values_bit_for_bit() -> None:
    values = np.random.default_rng(0).normal(size=100_003).astype(np.float32)
    assert np.array_equal(fold_dense([values], [497_065.0]), values)


def test_dense_mean_is_the_same_however_the_vector_is_cut() -> None:
    random = np.random.default_rng(0)
    vectors = [random.normal(size=70_001).astype(np.float32) for _ in range(3)]
    weights = [3.0, 7.0, 11.0]
    parts = [fold_dense([v[cut] for v in vectors], weights) for cut in (slice(0, 12_345), slice(12_345, None))]
    assert np.array_equal(np.concatenate(parts), fold_dense(vectors, weights))


@pytest.mark.parametrize("count", [1, 3])
def test_dense_mean_is_the_same_by_several_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = [np.random.default_rng(seed).normal(size=200_003).astype(np.float32) for seed in range(count)]
    weights = [3.0, 7.0, 11.0][:count]
    alone = fold_dense(vectors, weights)
    monkeypatch.setattr(fold, "_PART_ELEMENTS", 50_000)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert np.array_equal(fold_dense(vectors, weights), alone)


def test_row_is_averaged_over_those_who_touched_it() -> None:
    folded = fold_rows([rows([0, 2], [1, 10], [1, 1]), rows([2], [40], [2])], np.zeros((4, 1), np.float32))
    assert folded.positions.tolist() == [0, 2]
    assert folded.values.tolist() == [[1.0], [30.0]]


def test_row_averaged_over_all_counts_the_absent_with_its_present_value() -> None:
    current = floats(0, 0, 8, 0).reshape(-1, 1)
    folded = fold_rows([rows([2], [16], [1])], current, over_all=4.0)
    assert folded.values.tolist() == [[10.0]]


def test_rows_of_many_blocks_are_all_folded() -> None:
    positions = list(range(0, 100_000, 7))
    update = rows(positions, [float(p) for p in positions], [3.0] * len(positions))
    folded = fold_rows([update], np.zeros((100_000, 1), np.float32))
    assert folded.positions.tolist() == positions
    assert folded.values[:, 0].tolist() == [float(p) for p in positions]


def test_no_row_touched_folds_to_nothing() -> None:
    assert fold_rows([], np.zeros((4, 3), np.float32)).values.shape == (0, 3)


def test_row_of_one_client_comes_back_bit_for_bit_whatever_its_weight() -> None:
    values = [1.1, 3.4e38, 1e-45, -0.0]
    for weight in (1.0, 0.1, 497_065.0, 1e-201, 1e201):
        folded = fold_rows([rows([0, 1, 2, 3], values, [weight] * 4)], np.zeros((4, 1), np.float32))
        assert folded.values.tobytes() == floats(1.1, 3.4e38, 1e-45, 0.0).tobytes()


def test_row_is_the_same_beside_another_clients_rows_or_alone() -> None:
    sent = rows([1, 5], [0.1, -0.0], [3.0, 7.0])
    alone = fold_rows([sent], np.zeros((9, 1), np.float32))
    beside = fold_rows([sent, rows([4], [9.0], [1.0])], np.zeros((9, 1), np.float32))
    assert beside.values[[0, 2]].tobytes() == alone.values.tobytes()


def test_few_rows_of_a_large_table_are_folded_as_many_are() -> None:
    first, second = rows([7, 70_000], [2.0, 4.0], [1.0, 1.0]), rows([70_000, 99_999], [8.0, 6.0], [3.0, 1.0])
    folded = fold_rows([first, second], np.zeros((100_000, 1), np.float32))
    assert folded.positions.tolist() == [7, 70_000, 99_999]
    assert folded.values[:, 0].tolist() == [2.0, 7.0, 6.0]


def test_rows_of_one_update_are_not_copied_and_say_so() -> None:
    sent = rows([0, 1], [1.0, 2.0], [1.0, 1.0])
    folded = fold_rows([sent], np.zeros((2, 1), np.float32))
    assert folded.borrowed
    assert np.shares_memory(folded.values, sent.values)


def test_owned_rows_keep_no_memory_of_an_update() -> None:
    sent = rows([0, 1], [1.0, 2.0], [1.0, 1.0])
    folded = fold_rows([sent], np.zeros((2, 1), np.float32)).owned()
    sent.positions[:], sent.values[:] = 9, 9.0
    assert (folded.positions.tolist(), folded.values[:, 0].tolist()) == ([0, 1], [1.0, 2.0])


def test_fold_of_several_updates_keeps_no_memory_of_them() -> None:
    first, second = rows([0], [1.0], [1.0]), rows([1], [2.0], [1.0])
    folded = fold_rows([first, second], np.zeros((2, 1), np.float32))
    assert not folded.borrowed
    assert not np.shares_memory(folded.values, first.values)
