"""Work on several things at once: order of results, and the first fault."""

from __future__ import annotations

import threading

import pytest

from fljob_runtime.data.threads import in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_threads(lambda value: value * value, range(40))) == [value * value for value in range(40)]


def test_no_more_are_under_way_than_asked_for() -> None:
    under_way: list[int] = []
    seen = []

    def work(value: int) -> None:
        under_way.append(value)
        seen.append(len(under_way))
        under_way.remove(value)

    list(in_threads(work, range(200), most=1))
    assert seen == [1] * 200


def test_the_first_fault_in_order_is_raised_after_all_threads_have_ended() -> None:
    def fail(value: int) -> None:
        raise ValueError(str(value))

    with pytest.raises(ValueError, match="0"):
        list(in_threads(fail, range(3)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fljob-import")]
