"""Memory that updates share: what is kept for the next one, and how much more than asked for is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.server.buffers import Budget


@pytest.fixture
def budget(tmp_path: Path) -> Budget:
    return Budget(1 << 20, tmp_path)


def test_memory_of_an_update_serves_the_next_of_about_its_size(budget: Budget) -> None:
    first = budget.take(1000)
    assert first is not None
    budget.give(first, reusable=True)
    assert budget.take(1010) is first


@pytest.mark.parametrize("num_bytes", [1, 17, 1000, 4097, 130_000])
def test_an_update_takes_at_most_an_eighth_more_than_its_size(budget: Budget, num_bytes: int) -> None:
    taken = budget.take(num_bytes)
    assert taken is not None
    assert num_bytes <= taken.size <= num_bytes * 9 / 8 + 1


def test_updates_of_ever_other_sizes_keep_no_more_than_twice_what_they_take_at_once(budget: Budget) -> None:
    dice = np.random.default_rng(0)
    for _ in range(500):
        taken = [budget.take(int(size)) for size in dice.integers(9_000, 11_000, 4)]
        for memory in taken:
            assert memory is not None
            budget.give(memory, reusable=True)
    assert sum(memory.size for memory in budget._idle) <= 2 * 4 * 11_000


def test_what_fits_without_the_rounding_is_kept_in_memory(tmp_path: Path) -> None:
    taken = Budget(1001, tmp_path).take(1001)
    assert taken is not None
    assert taken.size == 1001
