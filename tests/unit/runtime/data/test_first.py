"""Evaluating on the first held-out examples: whole groups of those that are ranked."""

from __future__ import annotations

import pytest
from unit.runtime.training.tiny import TinyData

from fljob_runtime.data.examples import HeldOut
from fljob_runtime.data.first import FirstHeldOut


class Unranked(TinyData):
    def held_out(self) -> HeldOut:
        return HeldOut(super().held_out().examples)


def test_the_first_examples_are_taken() -> None:
    held_out = FirstHeldOut(Unranked(), 2).held_out()
    assert (held_out.examples.columns["item"].tolist(), held_out.groups) == ([5, 6], None)


@pytest.mark.parametrize(("most", "groups"), [(2, [0, 3]), (4, [0, 3]), (5, [0, 3, 5]), (99, [0, 3, 5])])
def test_groups_stay_whole(most: int, groups: list[int]) -> None:
    held_out = FirstHeldOut(TinyData(), most).held_out()
    assert held_out.groups is not None
    assert (held_out.groups.tolist(), len(held_out.examples)) == (groups, groups[-1])
