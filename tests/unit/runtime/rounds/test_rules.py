from __future__ import annotations

from dataclasses import replace

import pytest
from unit.runtime.rounds.driver import RULES

from fljob_runtime.rounds.rules import portion

TEN = replace(RULES, trainers=tuple(f"site-{n}" for n in range(10)))


@pytest.mark.parametrize(
    ("value", "total", "wanted"), [("50%", 5, 3), ("100%", 7, 7), ("1%", 10, 1), (4, 10, 4), ("67%", 3, 3)]
)
def test_percent_is_rounded_up(value: int | str, total: int, wanted: int) -> None:
    assert portion(value, total) == wanted


def test_a_cohort_is_everyone_unless_participation_says_less() -> None:
    assert (TEN.cohort_size, replace(TEN, percent=25).cohort_size, replace(TEN, count=4).cohort_size) == (10, 3, 4)


def test_the_required_number_is_of_a_full_cohort() -> None:
    assert replace(TEN, percent=50, min_trainers="60%").required == 3


def test_the_quorum_of_a_small_cohort_is_never_more_than_the_cohort() -> None:
    assert replace(TEN, min_trainers=5).quorum(3) == 3
