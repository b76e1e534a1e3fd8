from __future__ import annotations

import pytest

from fljob_api.strategy import Mode, StrategySpec


@pytest.mark.parametrize(("trainers", "size"), [(1, 1), (2, 1), (3, 2), (10, 5), (19, 10), (128, 10)])
def test_a_buffer_takes_half_of_the_trainers_and_ten_at_most(trainers: int, size: int) -> None:
    assert StrategySpec(mode=Mode.BUFFERED).buffered(trainers) == size


def test_a_buffer_takes_as_many_updates_as_it_is_told() -> None:
    assert StrategySpec(mode=Mode.BUFFERED, buffer_size=7).buffered(10) == 7


@pytest.mark.parametrize(("given", "bound"), [(None, 10), (0, 0), (3, 3)])
def test_an_update_may_be_ten_versions_behind_unless_told_otherwise(given: int | None, bound: int) -> None:
    assert StrategySpec(mode=Mode.BUFFERED, max_staleness=given).stalest == bound


def test_values_are_exchanged_within_a_round_in_three_modes() -> None:
    assert {mode for mode in Mode if StrategySpec(mode=mode).exchanges} == {Mode.STEP_SYNC, Mode.ASYNC, Mode.GEO}
