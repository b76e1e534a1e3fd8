"""The queue: a key waits once, is worked on once at a time, and failures come back later each time."""

from __future__ import annotations

import asyncio

import pytest

from fljob_operator.queue import WorkQueue


async def test_a_key_waits_once() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert queue.depth() == 1


async def test_a_key_that_changes_while_worked_on_is_done_again() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert queue.depth() == 0
    queue.done("a")
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_of_several_delays_the_shortest_counts() -> None:
    queue = WorkQueue()
    queue.add_after("a", 30.0)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60.0)
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_failures_back_off_and_success_forgets_them() -> None:
    delays: list[float] = []
    queue = WorkQueue(jitter=lambda: 0.5)
    queue.add_after = lambda _, delay_s: delays.append(delay_s)  # type: ignore[method-assign,assignment]
    for _ in range(3):
        queue.done("a", failed=True)
    queue.done("a")
    queue.done("a", failed=True)
    assert delays == pytest.approx([0.5, 1.0, 2.0, 0.5])


async def test_backoff_is_bounded() -> None:
    delays: list[float] = []
    queue = WorkQueue(jitter=lambda: 0.5)
    queue.add_after = lambda _, delay_s: delays.append(delay_s)  # type: ignore[method-assign,assignment]
    for _ in range(20):
        queue.done("a", failed=True)
    assert max(delays) == 60.0


async def test_the_age_is_that_of_the_oldest_key() -> None:
    now = 100.0
    queue = WorkQueue(clock=lambda: now)
    assert queue.age_s() == 0.0
    queue.add("a")
    now = 103.0
    assert queue.age_s() == 3.0
