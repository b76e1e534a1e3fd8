"""Full files and increments: when which is written, and that loading either gives what was in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fljob_runtime.algorithms.server_optimizers import make
from fljob_runtime.checkpoints.chain import MAX_FILES, open_chain
from fljob_runtime.checkpoints.rebalance import Wanted, load_part
from fljob_runtime.checkpoints.shard_file import (
    ShardFileName,
    ShardPart,
    TablePart,
    ids_name,
    read_integers,
    write_shard,
)
from fljob_runtime.messages import SavedVersion
from fljob_runtime.server.shard import Shard
from support import keyed
from support.shards import DEADLINE_S, NUM_ITEMS, UID, SlowDisk, begun, commit, named, push, save, update

FEW, MANY = dict.fromkeys(range(20), 1.0), dict.fromkeys(range(21), 1.0)  # of 40 rows


def saved(shard: Shard, round_: int, rows: dict[int, float] | None = None) -> SavedVersion:
    return save(shard, round_, push(shard, update(float(round_), rows), round_, "a"))


def test_the_first_file_is_full_and_the_next_builds_upon_it(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    first, second = saved(shard, 1), saved(shard, 2, {3: 5.0})
    assert (first.checkpoint_bases, second.checkpoint_bases) == ((), ((first.checkpoint, first.checkpoint_digest),))


def test_an_increment_has_the_rows_changed_since_the_last_file(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    saved(shard, 1, {1: 1.0})
    commit(shard, 2, push(shard, update(2.0, {2: 2.0}), 2, "a"))
    written = saved(shard, 3, {3: 3.0})
    assert read_integers(tmp_path / written.checkpoint, ids_name("items")).tolist() == [2, 3]


@pytest.mark.parametrize(("rows", "num_bases"), [(FEW, 1), (MANY, 0)])
def test_more_than_half_of_the_rows_make_a_full_file(tmp_path: Path, rows: dict[int, float], num_bases: int) -> None:
    shard = begun(tmp_path)
    saved(shard, 1)
    assert len(saved(shard, 2, rows).checkpoint_bases) == num_bases


def test_the_increments_of_a_chain_have_no_more_rows_than_a_full_file(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    lengths = [1 + len(saved(shard, round_, FEW).checkpoint_bases) for round_ in range(1, 6)]
    assert lengths == [1, 2, 3, 1, 2]


def test_a_chain_ends_with_its_eighth_file(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    lengths = [1 + len(saved(shard, round_, {round_: 1.0}).checkpoint_bases) for round_ in range(1, MAX_FILES + 3)]
    assert lengths == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


def begin(shard: Shard, round_: int, value: float, *, release: Sequence[int] = ()) -> None:
    staged = push(shard, update(value, {1: value}), round_, "a")
    shard.commit(round_, named(staged), checkpoint=round_ == 1, release=release)


def test_a_commit_does_not_wait_for_the_disk(tmp_path: Path, disk: SlowDisk) -> None:
    shard = begun(tmp_path)
    begin(shard, 1, 1.0)
    assert disk.reached.wait(DEADLINE_S)
    assert (shard.model().newest, shard.state().saved) == (1, None)
    disk.go_on.set()
    assert shard.saver is not None
    assert shard.saver.wait(DEADLINE_S) == shard.state().saved


def test_what_is_written_is_the_version_though_later_ones_change_and_release_it(tmp_path: Path, disk: SlowDisk) -> None:
    shard = begun(tmp_path)
    begin(shard, 1, 1.0)
    begin(shard, 2, 2.0)
    begin(shard, 3, 3.0, release=[1, 2])
    assert shard.state().versions == (1, 2, 3)
    disk.go_on.set()
    assert shard.saver is not None
    written = shard.saver.wait(DEADLINE_S)
    assert written is not None
    part = open_chain(tmp_path, ShardFileName(written.checkpoint, written.checkpoint_digest)).part()
    assert (part.version, part.dense[0], part.tables["items"].values[1, 0]) == (1, 1.0, 1.0)
    assert shard.state().versions == (3,)


def test_a_keyed_table_is_written_as_it_was_though_its_rows_change_come_and_go(tmp_path: Path, disk: SlowDisk) -> None:
    layout = keyed.layout(expire_after_rounds=2)
    shard = keyed.begun(layout, tmp_path)
    first = keyed.push(layout, shard, keyed.rows({2: 1.0, 5: 1.0}), 1, "a")
    shard.commit(1, named(first), checkpoint=True)
    for round_, rows in ((2, {5: 2.0}), (3, {7: 3.0}), (4, {7: 4.0})):
        keyed.commit(shard, round_, keyed.push(layout, shard, keyed.rows(rows), round_, "a"), release=(round_ - 1,))
    disk.go_on.set()
    assert shard.saver is not None
    written = shard.saver.wait(10.0)
    assert written is not None
    part = open_chain(tmp_path, ShardFileName(written.checkpoint, written.checkpoint_digest)).part()
    state = part.keyed["items"]
    assert (state.ids.tolist(), state.versions.tolist()) == ([2, 5], [1, 1])
    assert state.parts[0][:, 0].tolist() == [1.0, 1.0]
    assert shard.model().keys(4, "items").tolist() == [7]


def test_going_back_ends_what_is_being_written(tmp_path: Path, disk: SlowDisk) -> None:
    shard = begun(tmp_path)
    begin(shard, 1, 1.0)
    threading.Timer(0.05, disk.go_on.set).start()
    shard.restore(0)
    assert (shard.state().saved, shard.state().versions) == (None, (0,))
    assert not list(tmp_path.glob(f"{UID}/1/*"))


def test_after_going_back_a_full_file_is_written(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    saved(shard, 1)
    saved(shard, 2, {3: 5.0})
    shard.restore(1)
    assert saved(shard, 2, {4: 5.0}).checkpoint_bases == ()


@dataclass(frozen=True)
class Step:
    """One round of a history: the rows it changes, and whether it is written."""

    rows: frozenset[int]
    written: bool


steps = st.builds(Step, rows=st.frozensets(st.integers(0, NUM_ITEMS - 1), max_size=24), written=st.booleans())


def contents(part: ShardPart) -> list[bytes]:
    rows = part.tables["items"]
    return [array.tobytes() for array in (part.dense, *part.slots, rows.values, *rows.slots)]


def in_memory(shard: Shard) -> ShardPart:
    """Return the newest version as the shard has it."""
    model, config = shard.model(), shard.config
    tables = model.state_tables()
    rows = TablePart(tables["items"], (tables["items#0"], tables["items#1"]))
    return ShardPart(
        *(UID, model.newest, config.shard, config.num_shards, model.digest(model.newest), model.layout),
        dense=model.dense(model.newest),
        tables={"items": rows},
        num_slots=2,
        slots=model.slots(model.newest),
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, min_size=1, max_size=12), num_shards=st.integers(1, 3), seed=st.integers(0, 99))
def test_what_is_loaded_is_what_was_in_memory(tmp_path: Path, history: list[Step], num_shards: int, seed: int) -> None:
    adam = make("Adam", 0.1, {})
    shards = [begun(tmp_path, shard=k, num_shards=num_shards, optimizer=adam) for k in range(num_shards)]
    random = np.random.default_rng(seed)
    for round_, step in enumerate(history, start=1):
        state = update(float(random.normal()), {row: float(random.normal()) for row in step.rows})
        write = save if step.written or round_ == len(history) else commit
        results = [write(shard, round_, push(shard, state, round_, "a")) for shard in shards]
    written = [result for result in results if isinstance(result, SavedVersion)]
    chains = [ShardFileName(result.checkpoint, result.checkpoint_digest) for result in written]
    parts = [in_memory(shard) for shard in shards]
    full = [write_shard(tmp_path / "full", part) for part in parts]
    for part, file in zip(parts, chains, strict=True):
        assert contents(open_chain(tmp_path, file).part()) == contents(part)
    other = Wanted(UID, len(history), 0, num_shards + 1, 2)
    assert contents(load_part(tmp_path, chains, other)) == contents(load_part(tmp_path / "full", full, other))
