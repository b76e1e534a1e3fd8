"""What lies on which shard."""

from __future__ import annotations

import numpy as np
import pytest

from fljob_runtime.server.placement import dense_range, owned_ids, shards_of


@pytest.mark.parametrize("num_shards", [1, 2, 3, 4, 16])
def test_dense_ranges_follow_each_other_without_gap(num_shards: int) -> None:
    cuts = [dense_range(10, shard, num_shards) for shard in range(num_shards)]
    assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
    assert cuts[-1][1] == 10


def test_dense_ranges_differ_by_one_element_at_most() -> None:
    assert [dense_range(10, shard, 3) for shard in range(3)] == [(0, 3), (3, 6), (6, 10)]


@pytest.mark.parametrize("num_shards", [1, 2, 3, 16])
def test_every_row_has_one_owner(num_shards: int) -> None:
    parts = [owned_ids("items", 1000, shard, num_shards) for shard in range(num_shards)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1000))


def test_rows_spread_evenly() -> None:
    counts = np.bincount(shards_of("items", np.arange(10_000), 4))
    assert counts.min() > 2_350
    assert counts.max() < 2_650


def test_placement_depends_on_the_table() -> None:
    ids = np.arange(1000)
    assert not np.array_equal(shards_of("items", ids, 4), shards_of("users", ids, 4))


def test_placement_is_the_one_that_checkpoints_were_written_with() -> None:
    assert owned_ids("items", 20, 0, 4).tolist() == [2, 7, 12, 13]
