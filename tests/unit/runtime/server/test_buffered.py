"""A shard in mode Buffered: updates from older versions, moved onto the newest; and Sync where none is older."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.runtime.server.test_fold_independence import TRAINERS, trained
from unit.runtime.server.test_shard import dense, row

from fljob_api.strategy import RowAveraging
from fljob_runtime.algorithms import server_optimizers
from fljob_runtime.errors import NotReadyError, StaleError
from fljob_runtime.server.placement import dense_range, owned_ids
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import Staged
from support.shards import DIM, LAYOUT, NUM_ITEMS, begun, commit, config, initial, named, push, update

HALF = 1 / sqrt(2)  # the weight of an update that is one version behind


def of(*staged: Staged) -> list[Named]:
    """Return the list that a commit names these updates by, with their rounds."""
    return [Named(s.header.trainer, s.header.attempt, s.digest, s.header.round) for s in staged]


def moved_on(tmp_path: Path, **changes: Any) -> tuple[Shard, Staged]:
    """Return a shard at version 1 (dense 2, row 3 at 4, others 0) and b's update from version 0."""
    shard = begun(tmp_path, buffered=True, **changes)
    stale = push(shard, update(3.0, {3: 6.0, 5: 1.0}), 1, "b")
    shard.commit(1, of(push(shard, update(2.0, {3: 4.0}), 1, "a")), checkpoint=False)
    return shard, stale


# What a stale update does.


def test_a_stale_update_adds_its_change_by_the_root_of_its_age(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path)
    shard.commit(2, of(stale), checkpoint=False)
    found = (dense(shard, 2), row(shard, 2, 3), row(shard, 2, 5))
    assert found == pytest.approx((2 + 3 * HALF, 4 + 6 * HALF, 1.0))  # row 5 is as it was: no staleness


def test_without_an_optimizer_the_dense_part_steps_by_the_buffer_s_share_of_the_trainers(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path, buffer_share=0.5)
    assert dense(shard, 1) == 1.0
    shard.commit(2, of(stale), checkpoint=False)
    assert (dense(shard, 2), row(shard, 2, 3)) == pytest.approx((1 + 3 * HALF / 2, 4 + 6 * HALF))


def test_rows_averaged_over_all_count_the_trainers_outside_the_buffer_too(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path, row_averaging=RowAveraging.ALL, buffer_share=0.5)
    assert row(shard, 1, 3) == 2.0
    shard.commit(2, of(stale), checkpoint=False)
    assert (row(shard, 2, 3), row(shard, 2, 5)) == pytest.approx((2 + 6 * HALF / 2, 0.5))


def test_fresh_and_stale_updates_are_averaged(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path)
    fresh = push(shard, update(4.0, {3: 5.0}), 2, "a")
    shard.commit(2, of(stale, fresh), checkpoint=False)
    assert (dense(shard, 2), row(shard, 2, 3)) == pytest.approx(((2 + 3 * HALF + 4) / 2, (4 + 6 * HALF + 5) / 2))


def test_samples_weigh_stale_updates_too(tmp_path: Path) -> None:
    shard = begun(tmp_path, buffered=True)
    stale = push(shard, update(3.0), 1, "b", num_samples=3)
    shard.commit(1, of(push(shard, update(2.0), 1, "a")), checkpoint=False)
    fresh = push(shard, update(4.0), 2, "a", num_samples=1)
    shard.commit(2, of(stale, fresh), checkpoint=False)
    assert dense(shard, 2) == pytest.approx((3 * (2 + 3 * HALF) + 4) / 4)


def test_rows_averaged_over_all_count_the_newest_value_for_who_did_not_touch_them(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path, row_averaging=RowAveraging.ALL)
    fresh = push(shard, update(4.0, {3: 5.0}), 2, "a")
    shard.commit(2, of(stale, fresh), checkpoint=False)
    assert row(shard, 2, 5) == 0.5


def test_the_server_s_optimizer_steps_towards_the_mean(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path, optimizer=server_optimizers.make("SGD", 0.5, {}))
    assert dense(shard, 1) == 1.0
    shard.commit(2, of(stale), checkpoint=False)
    assert dense(shard, 2) == pytest.approx(1 + 0.5 * 3 * HALF)


def test_two_versions_behind_weighs_less(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path)
    shard.commit(2, of(push(shard, update(2.0), 2, "a")), checkpoint=False)
    shard.commit(3, of(stale), checkpoint=False)
    assert dense(shard, 3) == pytest.approx(2 + 3 / sqrt(3))


# Which updates there are.


def test_a_commit_tells_once_how_stale_its_updates_were(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path)
    fresh = push(shard, update(4.0), 2, "a")
    first, again = (shard.commit(2, of(stale, fresh), checkpoint=False) for _ in range(2))
    assert (first.staleness, again.staleness, first.digest) == ((0, 1), (), again.digest)


def test_an_update_waits_for_the_commit_that_names_it(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path)
    assert [(u.trainer, u.digest) for u in shard.state().staged] == [("b", stale.digest)]


def test_an_update_from_a_version_that_is_gone_is_refused(tmp_path: Path) -> None:
    shard = begun(tmp_path, buffered=True)
    shard.commit(1, of(push(shard, update(2.0), 1, "a")), checkpoint=False, release=[0])
    with pytest.raises(StaleError, match="version 0 is gone"):
        push(shard, update(3.0), 1, "b")


def test_an_update_goes_with_the_version_that_it_was_made_from(tmp_path: Path) -> None:
    shard, _ = moved_on(tmp_path)
    shard.commit(2, of(push(shard, update(2.0), 2, "a")), checkpoint=False, release=[0])
    assert (shard.state().staged, shard.staged_bytes) == ((), 0)


def test_an_update_from_a_version_to_come_must_wait(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="cannot collect round 2"):
        push(begun(tmp_path, buffered=True), update(3.0), 2, "b")


def test_a_late_repeat_does_not_displace_a_newer_update(tmp_path: Path) -> None:
    shard, _ = moved_on(tmp_path)
    newer = push(shard, update(4.0), 2, "b")
    with pytest.raises(StaleError, match="staged already"):
        push(shard, update(3.0), 1, "b")
    assert shard.commit(2, of(newer), checkpoint=False).missing == ()


def test_an_update_named_for_another_round_counts_as_missing(tmp_path: Path) -> None:
    shard, stale = moved_on(tmp_path)
    asked = [Named("b", 0, stale.digest, 2)]
    assert shard.commit(2, asked, checkpoint=False).missing == ("b",)


def test_going_back_drops_updates_from_other_versions(tmp_path: Path) -> None:
    shard, _ = moved_on(tmp_path)
    shard.restore(1)
    assert shard.state().staged == ()


# Equalities.


def whole(shards: list[Shard], version: int) -> bytes:
    values = np.empty(LAYOUT.dense_size, np.float32)
    items = np.empty((NUM_ITEMS, DIM), np.float32)
    for number, shard in enumerate(shards):
        values[slice(*dense_range(values.size, number, len(shards)))] = shard.model().dense(version)
        items[owned_ids("items", NUM_ITEMS, number, len(shards))] = shard.model().table("items")
    return values.tobytes() + items.tobytes()


@pytest.mark.parametrize("rows", [RowAveraging.TOUCHED, RowAveraging.ALL])
def test_versions_of_fresh_updates_of_all_are_those_of_sync_bit_for_bit(tmp_path: Path, rows: RowAveraging) -> None:
    models = []
    for buffered in (False, True):
        shard = begun(tmp_path, buffered=buffered, row_averaging=rows)
        for number in (1, 2):
            updates = {trainer: trained(number, trainer) for trainer in TRAINERS}
            commit(shard, number, *(push(shard, s, number, t, num_samples=n) for t, (s, n) in updates.items()))
        models.append(whole([shard], 2))
    assert models[0] == models[1]


# Which updates make which version: (trainer, round that it was trained for).
PLAN = ((("a", 1), ("b", 1)), (("c", 1), ("a", 2)), (("b", 2), ("d", 1)), (("a", 3), ("c", 4)))


@dataclass(frozen=True)
class Disorder:
    """How many shards; for each version the updates that arrive before its commit, in order, repeats included."""

    num_shards: int
    arrivals: tuple[tuple[tuple[str, int], ...], ...]


@st.composite
def disorders(draw: st.DrawFn) -> Disorder:
    """Let each update arrive at any moment from its round on, but in the order of its trainer's rounds."""
    stages: list[list[tuple[str, int]]] = [[] for _ in PLAN]
    free = dict.fromkeys(TRAINERS, 1)  # the first version before which a trainer's next update can arrive
    for number, updates in enumerate(PLAN, start=1):
        for trainer, round_ in updates:
            at = draw(st.integers(max(round_, free[trainer]), number))
            stages[at - 1] += [(trainer, round_)] * draw(st.integers(1, 2))
            free[trainer] = number + 1
    return Disorder(draw(st.integers(1, 4)), tuple(tuple(draw(st.permutations(stage))) for stage in stages))


def run(tmp_path: Path, disorder: Disorder) -> bytes:
    """Return all shared values after the plan's versions."""
    count = disorder.num_shards
    shards = [Shard(config(tmp_path, shard=i, num_shards=count, buffered=True)) for i in range(count)]
    for shard in shards:
        shard.commit(0, named(push(shard, initial(), 0, "a")), checkpoint=False)
        staged = {}
        for number, (arrivals, listed) in enumerate(zip(disorder.arrivals, PLAN, strict=True), start=1):
            for trainer, round_ in arrivals:
                state, samples = trained(round_, trainer)
                staged[trainer, round_] = push(shard, state, round_, trainer, num_samples=samples)
            result = shard.commit(number, of(*(staged[key] for key in reversed(listed))), checkpoint=False)
            assert result.missing == ()
    return whole(shards, len(PLAN))


@pytest.fixture(scope="module")
def orderly(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The values of the plain run: one shard, each update just before its commit, in order of the plan."""
    return run(tmp_path_factory.mktemp("orderly"), Disorder(1, PLAN))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(disorder=disorders())
def test_any_arrival_gives_the_same_bytes(tmp_path: Path, orderly: bytes, disorder: Disorder) -> None:
    assert run(tmp_path, disorder) == orderly


def test_initial_values_are_whole_whatever_the_buffer_s_share(tmp_path: Path) -> None:
    shard = begun(tmp_path, 0.5, buffered=True, row_averaging=RowAveraging.ALL, buffer_share=0.5)
    assert (dense(shard, 0), row(shard, 0, 3)) == (0.5, 0.5)
