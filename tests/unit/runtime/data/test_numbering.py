"""Numbers for ids, held against numpy's sorting ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.data.numbering import first_of_each, grouped, latest_of_each, num_distinct, numbered, twice

IDS = st.lists(st.one_of(st.integers(0, 9), st.integers(-(2**62), 2**62)), max_size=30)


@given(ids=IDS)
def test_numbered_is_numpys_unique_with_its_inverse(ids: list[int]) -> None:
    array = np.array(ids, np.int64)
    values, places = numbered(array)
    expected_values, expected_places = np.unique(array, return_inverse=True)
    assert np.array_equal(values, expected_values)
    assert np.array_equal(places, expected_places)


def test_different_ids_are_counted() -> None:
    assert num_distinct(np.array([3, 0, 3]), 5) == 2


def test_the_first_place_of_each_number() -> None:
    assert first_of_each(np.array([1, 0, 1, 2, 0]), 3).tolist() == [1, 0, 3]


def test_the_latest_of_each_is_the_later_one_of_equal_times() -> None:
    assert latest_of_each(np.array([0, 1, 0, 0, 1]), np.array([7, -2, 7, 5, -9]), 2).tolist() == [2, 1]


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), max_size=30), in_order=st.booleans())
def test_the_latest_of_each_is_the_last_of_its_greatest_times(rows: list[tuple[int, int]], in_order: bool) -> None:
    every = [*rows, *((place, -6) for place in range(4))]  # each is there
    places, times = np.array(sorted(every) if in_order else every, np.int64).T
    expected = [max(np.flatnonzero(places == place), key=lambda row: (times[row], row)) for place in range(4)]
    assert latest_of_each(places, times, 4).tolist() == expected


@pytest.mark.parametrize("count", [7, 300, 70_000])
def test_groups_of_any_count_are_where_each_number_stands(count: int) -> None:
    numbers = np.arange(1000) * 7919 % count
    assert all(np.array_equal(at, np.flatnonzero(numbers == n)) for n, at in enumerate(grouped(numbers, count)))


@given(numbers=st.lists(st.integers(0, 6), max_size=30))
def test_groups_are_where_each_number_stands(numbers: list[int]) -> None:
    array = np.array(numbers, np.int64)
    for number, places in enumerate(grouped(array, 7)):
        assert places.tolist() == np.flatnonzero(array == number).tolist()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], None),
        ([1, 1, 2], [5, 6, 5], None),
        ([1, 2, 1], [5, 5, 5], (1, 5)),
        ([3, 0, 0, 3], [0, 2, 2, 0], (0, 2)),
    ],
)
def test_a_pair_that_is_there_twice_is_told(
    first: list[int], second: list[int], expected: tuple[int, int] | None
) -> None:
    assert twice(np.array(first, np.int64), np.array(second, np.int64)) == expected
