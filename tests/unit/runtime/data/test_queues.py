"""A thread that reads ahead: order, back-pressure, errors, and no hang at either end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.data.queues import queued

WAIT_S = 20.0


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fljob-reader"]


@given(items=st.lists(st.integers(), max_size=20), depth=st.integers(1, 4))
def test_all_items_come_in_their_order(items: list[int], depth: int) -> None:
    with queued(items, depth) as ready:
        assert list(ready) == items


def test_what_is_raised_while_reading_is_raised_where_the_next_item_would_be() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("line 2")

    with queued(broken(), 1) as ready:
        assert next(ready) == 1
        with pytest.raises(ValueError, match="line 2"):
            next(ready)


def test_no_more_is_read_ahead_than_asked_for() -> None:
    begun: list[int] = []
    full = threading.Event()

    def counted() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            if number == 3:
                full.set()  # 0 is taken, 1 and 2 lie in the queue, 3 waits for room
            yield number

    with queued(counted(), 2) as ready:
        assert next(ready) == 0
        assert full.wait(WAIT_S)
        assert begun == [0, 1, 2, 3]


def test_a_reader_whose_items_nobody_wants_any_more_ends() -> None:
    with queued(range(1000), 1) as ready:
        assert next(ready) == 0
    for thread in readers():
        thread.join(WAIT_S)
    assert not readers()
