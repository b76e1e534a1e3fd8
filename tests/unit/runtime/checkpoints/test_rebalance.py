"""A version written by N shards and loaded by M keeps every value and the optimizer's state of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fljob_runtime.checkpoints.rebalance import Wanted, load_part
from fljob_runtime.checkpoints.shard_file import ShardFileName, TablePart, write_shard
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Kind, ModelLayout, ParamSpec
from support.shards import DIM, NUM_ITEMS, PART, UID

NUM_SLOTS = 2
DENSE, ITEMS = PART.dense, PART.tables["items"].values
WHOLE = replace(
    PART,
    tables={"items": TablePart(ITEMS, (ITEMS + 100, ITEMS + 200))},
    num_slots=NUM_SLOTS,
    slots=(DENSE + 100, DENSE + 200),
)


def wanted(shard: int, num_shards: int) -> Wanted:
    return Wanted(UID, 3, shard, num_shards, NUM_SLOTS)


def spread(root: Path, files: list[ShardFileName], num_shards: int) -> list[ShardFileName]:
    """Load a version with this many shards and write their parts."""
    return [write_shard(root, load_part(root, files, wanted(shard, num_shards))) for shard in range(num_shards)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(1, 16), min_size=1, max_size=3))
def test_every_value_and_slot_comes_back_over_any_numbers_of_shards(tmp_path: Path, numbers: list[int]) -> None:
    files = [write_shard(tmp_path, WHOLE)]
    for num_shards in numbers:
        files = spread(tmp_path, files, num_shards)
    back = load_part(tmp_path, files, wanted(0, 1))
    assert back.dense.tobytes() == DENSE.tobytes()
    assert [slot.tobytes() for slot in back.slots] == [slot.tobytes() for slot in WHOLE.slots]
    rows = back.tables["items"]
    assert [array.tobytes() for array in (rows.values, *rows.slots)] == [
        (ITEMS + more).tobytes() for more in (0, 100, 200)
    ]


def test_a_shard_holds_its_range_and_its_rows(tmp_path: Path) -> None:
    part = load_part(tmp_path, [write_shard(tmp_path, WHOLE)], wanted(1, 4))
    assert part.dense.tolist() == [2.0, 3.0]
    assert part.slots[1].tolist() == [202.0, 203.0]
    assert (part.shard, part.num_shards) == (1, 4)


def test_rows_go_where_the_placement_says(tmp_path: Path) -> None:
    part = load_part(tmp_path, [write_shard(tmp_path, WHOLE)], wanted(0, 4))
    assert part.tables["items"].values[:4, 0].tolist() == [4.0, 14.0, 24.0, 26.0]  # rows 2, 7, 12, 13


def test_two_loads_of_a_version_have_one_digest(tmp_path: Path) -> None:
    files = [write_shard(tmp_path, WHOLE)]
    one, two, other = (load_part(tmp_path, files, wanted(shard, 3)).digest for shard in (1, 1, 2))
    assert one == two != other


def test_one_torn_file_of_many_is_refused(tmp_path: Path) -> None:
    files = spread(tmp_path, [write_shard(tmp_path, WHOLE)], 3)
    path = tmp_path / files[2].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"shard-2-of-3.safetensors: sha256 is .* torn or replaced"):
        load_part(tmp_path, files, wanted(0, 2))


def test_one_missing_file_of_many_is_named(tmp_path: Path) -> None:
    files = spread(tmp_path, [write_shard(tmp_path, WHOLE)], 3)
    (tmp_path / files[1].path).unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*shard-1-of-3.safetensors: No such file"):
        load_part(tmp_path, files, wanted(0, 2))


def test_files_in_another_order_are_refused(tmp_path: Path) -> None:
    files = spread(tmp_path, [write_shard(tmp_path, WHOLE)], 3)
    with pytest.raises(CheckpointError, match=r"holds \(job, version, shard, shards\)"):
        load_part(tmp_path, files[::-1], wanted(0, 2))


@pytest.mark.parametrize("changed", [{"job_uid": "another"}, {"version": 4}, {"num_slots": 1}])
def test_the_version_of_another_job_round_or_optimizer_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    files = spread(tmp_path, [write_shard(tmp_path, WHOLE)], 3)
    with pytest.raises(CheckpointError, match=r"holds \(job, version, shard, shards\), optimizer state .* wanted"):
        load_part(tmp_path, files, replace(wanted(0, 2), **changed))  # type: ignore[arg-type]


def test_files_of_different_models_are_refused(tmp_path: Path) -> None:
    layout = ModelLayout((ParamSpec("other", (9,)), ParamSpec("items", (NUM_ITEMS, DIM), Kind.ROWS)))
    files = spread(tmp_path, [write_shard(tmp_path, WHOLE)], 2)
    part = load_part(tmp_path, files, wanted(1, 2))
    files[1] = write_shard(tmp_path, replace(part, layout=layout))
    with pytest.raises(CheckpointError, match="another layout"):
        load_part(tmp_path, files, wanted(0, 3))
