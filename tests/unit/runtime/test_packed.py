"""Ids and weights in few bits: back as they were, as small as promised, and nothing else is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.errors import MalformedError
from fljob_runtime.packed import most_bytes, pack_ids, pack_weights, unpack_ids, unpack_weights
from fljob_runtime.parameters import Int64Array

ANY = st.integers(-(1 << 63), (1 << 63) - 1)
NEAR = st.integers(-300, 300)


def sorted_ids(values: set[int]) -> Int64Array:
    return np.array(sorted(values), np.int64)


@given(st.one_of(st.sets(ANY), st.sets(NEAR), st.sets(st.one_of(ANY, NEAR))))
def test_any_ids_come_back(values: set[int]) -> None:
    ids = sorted_ids(values)
    data = pack_ids(ids)
    assert unpack_ids(data, ids.size).tolist() == ids.tolist()
    assert data.size <= most_bytes(ids.size)


def test_ids_that_follow_each_other_take_a_bit_each() -> None:
    assert pack_ids(np.arange(800) - 5).size == 16 + 100


def test_ids_a_thousand_apart_take_twelve_bits_each() -> None:
    low, ones, zeros = 9 * 800, 800, 799_000 >> 9  # 799 gaps of 1000 without the ids in order, 998 an id
    assert pack_ids(1001 * np.arange(800)).size == 16 + low // 8 + (ones + zeros) // 8


def test_the_coding_by_hand() -> None:
    # 3 and 9: gap 9 - 3 - 1 = 5 of two ids, so one low bit; 0 and 5 are 0|0 and 10|1: ones at 0 and 2 + 1.
    assert pack_ids(np.array([3, 9])).tolist() == [3, *[0] * 7, 5, *[0] * 7, 0b1001, 0b10]


@pytest.mark.parametrize("ids", [[9, 3], [3, 3]])
def test_ids_out_of_order_are_not_packed(ids: list[int]) -> None:
    with pytest.raises(MalformedError, match="sorted and unique"):
        pack_ids(np.array(ids))


GOOD = [3, *[0] * 7, 5, *[0] * 7, 0b1001, 0b10]
BAD = {
    "nothing": [],
    "a head alone": GOOD[:16],
    "too short": GOOD[:-1],
    "too long": [*GOOD, 0],
    "a bit behind the last": [*GOOD[:16], 0b11001, 0b10],
    "a low bit behind the last": [*GOOD[:17], 0b110],
    "more ones than ids": [*GOOD[:16], 0b1011, 0b10],
    "fewer ones than ids": [*GOOD[:16], 0b1000, 0b10],
    "another last id than in the head": [*GOOD[:17], 0b00],
    "another first id than in the head": [*GOOD[:17], 0b11],
    "ids beyond 64 bits": [*[255] * 7, 127, *GOOD[8:]],
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_no_ids_are_packed_to_is_refused(data: list[int]) -> None:
    with pytest.raises(MalformedError, match="row ids"):
        unpack_ids(np.array(data, np.uint8), 2)


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 40])
def test_another_count_is_refused_before_memory_is_taken(count: int) -> None:
    with pytest.raises(MalformedError, match="row ids: 18 bytes"):
        unpack_ids(np.array(GOOD, np.uint8), count)


@given(st.binary(max_size=40), st.integers(0, 200))
def test_bytes_are_refused_or_are_the_one_coding_of_their_ids(data: bytes, count: int) -> None:
    given_bytes = np.frombuffer(data, np.uint8)
    try:
        ids = unpack_ids(given_bytes, count)
    except MalformedError:
        return
    assert pack_ids(ids).tobytes() == data


@given(st.lists(st.one_of(st.integers(0, 1 << 40).map(float), st.floats()), min_size=1))
def test_any_weights_come_back(values: list[float]) -> None:
    weights = np.array(values)
    assert np.array_equal(unpack_weights(pack_weights(weights), weights.size), weights, equal_nan=True)


@pytest.mark.parametrize(
    ("largest", "width"), [(255.0, 1), (256.0, 2), (65_536.0, 4), (2.0**32, 8), (0.5, 8), (-1.0, 8), (np.inf, 8)]
)
def test_weights_take_the_bytes_that_the_largest_needs(largest: float, width: int) -> None:
    assert pack_weights(np.array([1.0, largest, 2.0])).size == 3 * width


@pytest.mark.parametrize("size", [0, 1, 3, 6, 24])
def test_weights_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(MalformedError, match="row weights"):
        unpack_weights(np.zeros(size, np.uint8), 2)
