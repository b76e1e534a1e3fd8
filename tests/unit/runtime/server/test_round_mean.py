"""How far a commit goes towards the mean, parameter by parameter, however the dense vector is cut over shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.algorithms.algorithm import Averaging
from fljob_runtime.server.shard import Shard
from support.shards import begun, commit, config, initial, named, push, update


class Partly(Averaging):
    """Goes half of the way for `bias`, a quarter for `items`, all of it for `weight`."""

    def part(self, name: str, num_updates: int) -> float:  # noqa: ARG002 - the averaging's signature
        return {"weight": 1.0, "bias": 0.5, "items": 0.25}[name]


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_each_dense_parameter_goes_its_part_of_the_way(tmp_path: Path, num_shards: int) -> None:
    ranges = []
    for number in range(num_shards):
        shard = begun(tmp_path, 1.0, shard=number, num_shards=num_shards, averaging=Partly())
        commit(shard, 1, push(shard, update(3.0), 1, "a"), push(shard, update(7.0), 1, "b"))
        ranges.append(shard.model().dense(1))
    # the mean is 5; six elements of weight, then three of bias: 1 + (5 - 1) / 2
    assert np.concatenate(ranges).tolist() == [5.0] * 6 + [3.0] * 3


def test_touched_rows_go_their_part_of_the_way_and_others_stay(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1.0, averaging=Partly())
    commit(shard, 1, push(shard, update(1.0, {4: 9.0, 6: 5.0}), 1, "a"))
    assert shard.model().rows(1, "items", np.array([3, 4, 6]))[:, 0].tolist() == [1.0, 3.0, 2.0]


def test_round_0_goes_all_the_way(tmp_path: Path) -> None:
    shard = Shard(config(tmp_path, averaging=Partly()))
    shard.commit(0, named(push(shard, initial(8.0), 0, "a")), checkpoint=False)
    assert shard.model().dense(0).tolist() == [8.0] * 9
    assert shard.model().rows(0, "items", np.array([5]))[0, 0] == 8.0
