"""Federated averaging: numbers by hand, laws of a mean, and one client's identity bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.algorithms.fedavg import DenseMean, average_rows, positions
from fljob_runtime.parameters import Float32Array, RowSet

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
whole_weights = st.integers(1, (1 << 29) - 1)


def floats(*values: float) -> Float32Array:
    return np.array(values, np.float32)


def rows(ids: list[int], values: list[float], weights: list[float]) -> RowSet:
    return RowSet(np.array(ids, np.int64), floats(*values).reshape(-1, 1), np.array(weights, np.float64))


def mean(vectors: list[Float32Array], weights: list[float]) -> Float32Array:
    total = DenseMean(len(vectors[0]))
    for vector, weight in zip(vectors, weights, strict=True):
        total.add(vector, weight)
    return total.result()


def test_the_mean_is_weighted() -> None:
    assert mean([floats(1, 2), floats(4, 8)], [1.0, 2.0]).tolist() == [3.0, 6.0]


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no update"):
        DenseMean(3).result()


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        DenseMean(1).add(floats(1), weight)


@given(values=st.lists(finite, min_size=1, max_size=50), weight=whole_weights)
def test_one_client_comes_back_bit_for_bit(values: list[float], weight: int) -> None:
    vector = floats(*values)
    assert mean([vector], [float(weight)]).tobytes() == vector.tobytes()


@given(values=st.lists(finite, min_size=1, max_size=50), weight=whole_weights)
def test_rows_of_one_client_come_back_bit_for_bit(values: list[float], weight: int) -> None:
    ids = list(range(len(values)))
    update = rows(ids, values, [float(weight)] * len(values))
    averaged = average_rows([update], rows(ids, [9.0] * len(ids), []))
    assert averaged.values.tobytes() == (update.values + np.float32(0)).tobytes()


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.integers(1, 1_000_000)), min_size=1, max_size=20))
def test_the_mean_lies_between_the_least_and_the_greatest(clients: list[tuple[float, int]]) -> None:
    values = [value for value, _ in clients]
    averaged = mean([floats(value) for value in values], [float(weight) for _, weight in clients])[0]
    assert np.float32(min(values)) <= averaged <= np.float32(max(values))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.integers(1, 1000)), min_size=1, max_size=20))
def test_the_mean_agrees_with_a_sum_over_samples(clients: list[tuple[float, int]]) -> None:
    each = np.concatenate([np.full(weight, value, np.float64) for value, weight in clients])
    averaged = mean([floats(value) for value, _ in clients], [float(weight) for _, weight in clients])[0]
    assert averaged == pytest.approx(each.mean(), rel=1e-6, abs=1e-3)


def test_a_row_is_averaged_over_those_who_touched_it_by_how_often() -> None:
    updates = [rows([0, 2], [1, 10], [5, 1]), rows([2], [40], [2])]
    averaged = average_rows(updates, rows([0, 1, 2], [7, 8, 9], []))
    assert averaged.values[:, 0].tolist() == [1.0, 8.0, 30.0]


def test_a_row_averaged_over_all_counts_the_absent_with_its_previous_value() -> None:
    updates = [rows([2], [16], [1])]
    averaged = average_rows(updates, rows([0, 1, 2], [7, 8, 8], []), over_all=4.0)
    assert averaged.values[:, 0].tolist() == [7.0, 8.0, 10.0]


def test_rows_touched_by_all_are_the_same_under_both_rules() -> None:
    updates = [rows([0], [3], [1]), rows([0], [9], [2])]
    touched = average_rows(updates, rows([0], [5], []))
    over_all = average_rows(updates, rows([0], [5], []), over_all=3.0)
    assert touched.values.tolist() == over_all.values.tolist() == [[7.0]]


def test_previous_values_are_not_written_to() -> None:
    previous = rows([0], [5], [])
    average_rows([rows([0], [3], [1])], previous)
    assert previous.values.tolist() == [[5.0]]


def test_a_row_that_the_table_does_not_have_is_named() -> None:
    with pytest.raises(KeyError, match="3"):
        average_rows([rows([3], [1], [1])], rows([0, 1], [0, 0], []))


def test_a_row_of_an_empty_part_is_named() -> None:
    with pytest.raises(KeyError, match="5"):
        positions(np.empty(0, np.int64), np.array([5], np.int64))
