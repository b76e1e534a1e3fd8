"""Rows by id: against a dict, whatever comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fljob_runtime.server.row_store import IdIndex, RowStore, grown

FEW = st.integers(-6, 6)
ANY = st.integers(-(2**63), 2**63 - 1)


def ints(values: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def store(limit: int = 0) -> RowStore:
    return RowStore([np.empty((0, 2), np.float32), np.empty(0, np.int32)], limit)


def columns(numbers: list[int]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return [np.repeat(np.array(numbers, np.float32)[:, None], 2, axis=1), np.array(numbers, np.int32)]


class Against(RuleBasedStateMachine):
    """The same done to a store and to a dict."""

    @initialize()
    def begin(self) -> None:
        self.store, self.model = store(), dict[int, int]()

    @rule(ids=st.lists(st.one_of(FEW, ANY), unique=True), number=st.integers(0, 1000))
    def put(self, ids: list[int], number: int) -> None:
        numbers = [number + at for at in range(len(ids))]
        self.store.put(ints(ids), columns(numbers))
        self.model |= dict(zip(ids, numbers, strict=True))

    @rule(ids=st.lists(FEW, unique=True))
    def remove_few(self, ids: list[int]) -> None:
        self.remove([i for i in ids if i in self.model])

    @rule(data=st.data())
    def remove_some(self, data: st.DataObject) -> None:
        self.remove([i for i in list(self.model) if data.draw(st.booleans())])

    def remove(self, ids: list[int]) -> None:
        self.store.remove(ints(ids))
        for i in ids:
            del self.model[i]

    @invariant()
    def the_same(self) -> None:
        ids = ints([*self.model, *range(-6, 7)])
        positions = self.store.find(ids)
        assert len(self.store) == len(self.model)
        assert (positions >= 0).tolist() == [int(i) in self.model for i in ids]
        there = positions[positions >= 0]
        expected = [self.model[int(i)] for i in ids if int(i) in self.model]
        assert self.store.columns[0].take(there, axis=0)[:, 1].tolist() == expected
        assert self.store.columns[1].take(there).tolist() == expected


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=40, stateful_step_count=20)


@given(count=st.integers(0, 3000), step=st.sampled_from([1, -7, 2**32, 2**48 + 1]))
@settings(max_examples=30)
def test_regular_ids_are_all_found_and_no_others(count: int, step: int) -> None:
    index = IdIndex()
    ids = np.arange(count, dtype=np.int64) * step
    assert index.add(ids).tolist() == list(range(count))
    assert index.find(ids).tolist() == list(range(count))
    assert (index.find(ids + 2**62 + 3) == -1).all()


def test_cells_that_rows_have_left_are_used_again() -> None:
    """Else an index whose rows come and go would fill up with what is gone."""
    index = IdIndex()
    for turn in range(200):
        ids = np.arange(10, dtype=np.int64) + 1000 * turn
        index.add(ids)
        index.remove(ids)
    assert (index.size, index._cells.size) == (0, 64)


def test_many_ids_are_found_in_few_steps() -> None:
    """Linear probing at a load of at most a half: an expected 2.5 cells of a miss, and 1.5 of a hit."""
    index = IdIndex()
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1 << 16)
    index.add(ids)
    distance = (index._search(ids)[0] - index._home(ids)) % index._cells.size
    assert (float(distance.mean()) < 1.0, int(distance.max()) < 100) == (True, True)


def test_capacity_doubles() -> None:
    assert len(grown(np.zeros((8, 2)), 8, 9)) == 16


def test_capacity_stops_at_the_limit() -> None:
    assert len(grown(np.zeros((8, 2)), 8, 9, 10)) == 10


@pytest.mark.parametrize("needed", [0, 8])
def test_what_fits_is_not_copied(needed: int) -> None:
    array = np.zeros((8, 2))
    assert grown(array, 8, needed) is array
