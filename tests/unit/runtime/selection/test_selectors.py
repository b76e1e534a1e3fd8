from __future__ import annotations

from collections import Counter

import pytest

from fljob_runtime.registry import NoParameters, RegistryKind, UnknownNameError, find
from fljob_runtime.selection import All, Random

SITES = [f"site-{n}" for n in range(10)]


def draw(round_number: int, seed: int = 1, candidates: list[str] = SITES, size: int = 4) -> tuple[str, ...]:
    return Random(NoParameters()).select(seed, round_number, candidates, size)


def test_random_draws_as_many_as_asked() -> None:
    assert len(set(draw(1))) == 4


def test_random_does_not_depend_on_the_order_of_candidates() -> None:
    assert draw(1) == draw(1, candidates=SITES[::-1])


def test_random_changes_with_the_round() -> None:
    assert len({draw(n) for n in range(20)}) > 10


def test_random_changes_with_the_seed() -> None:
    assert [draw(n, seed=1) for n in range(5)] != [draw(n, seed=2) for n in range(5)]


def test_random_takes_all_when_there_are_too_few() -> None:
    assert draw(1, candidates=["b", "a"]) == ("a", "b")


def test_random_is_fair() -> None:
    counts = Counter(name for n in range(2000) for name in draw(n))
    assert all(700 < count < 900 for count in counts.values())  # 800 expected, 22 standard deviation


def test_a_candidate_that_leaves_changes_at_most_one_place() -> None:
    before, after = set(draw(3)), set(draw(3, candidates=SITES[1:]))
    assert len(before - after) <= 1


def test_all_takes_every_candidate() -> None:
    assert All(NoParameters()).select(1, 1, ["b", "a", "c"], 1) == ("a", "b", "c")


def test_an_unknown_selector_is_an_error_with_the_names_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"All, Random"):
        find(RegistryKind.SELECTOR, "Oort")
