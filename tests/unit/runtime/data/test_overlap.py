"""Ids that several sites have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.data import overlap as module
from fljob_runtime.data.overlap import Overlap, overlap


def of(*sites: list[int]) -> Overlap:
    return overlap("item", [np.array(ids, np.int64) for ids in sites])


def test_ids_are_counted_by_how_many_sites_have_them() -> None:
    assert of([1, 2, 3], [2, 3], [3, 9]).seen_by == (2, 1, 1)


def test_what_two_sites_share_is_counted() -> None:
    assert of([1, 2, 3], [2, 3], [3, 9]).shared == ((3, 2, 1), (2, 2, 1), (1, 1, 2))


def test_a_share_is_of_the_first_sites_ids() -> None:
    found = of([1, 2, 3, 4], [2])
    assert (found.share(0, 1), found.share(1, 0)) == (0.25, 1.0)


def test_a_site_without_ids_shares_nothing() -> None:
    found = of([], [2])
    assert (found.share(0, 1), found.share(0, 0), found.num_ids) == (0.0, 0.0, 1)


def test_ids_may_be_any_64_bit_numbers() -> None:
    assert of([-(2**63), 2**63 - 1], [2**63 - 1]).seen_by == (1, 1)


def test_sites_without_any_id_are_no_fault() -> None:
    assert of([], []) == Overlap("item", (0, 0), ((0, 0), (0, 0)))


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=5))
def test_counts_are_those_of_sets_however_many_are_taken_at_once(sites: list[set[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_IDS_AT_ONCE", 4)
        found = of(*(sorted(ids) for ids in sites))
    assert found.shared == tuple(tuple(len(a & b) for b in sites) for a in sites)
    assert found.num_ids == len(set().union(*sites))
