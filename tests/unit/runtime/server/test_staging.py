"""What a shard accepts into its staging, and that nothing of the rest stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.errors import BusyError, LayoutMismatchError, MalformedError
from fljob_runtime.parameters import Int64Array, ModelState, RowSet
from fljob_runtime.server.buffers import Budget
from fljob_runtime.server.staging import Block, BlockKind, Intake, Staged
from fljob_runtime.transport.encode import encode_update
from support.shards import LAYOUT, header, update

STATE = update(1.5, {3: 4.0, 9: 5.0}, weight=2.0)


def locate(table: str, ids: Int64Array) -> Int64Array:
    return ids


def payload_bytes(state: ModelState) -> bytes:
    (payload,) = encode_update(LAYOUT, state, 1)
    return b"".join(array.tobytes() for array in payload.arrays)


def intake(state: ModelState, budget: Budget) -> Intake:
    (payload,) = encode_update(LAYOUT, state, 1)
    return Intake(header(payload, 1, "a"), LAYOUT, budget, (0, 1))


def stage(state: ModelState, budget: Budget, chunk_bytes: int = 1 << 20) -> Staged:
    taken = intake(state, budget)
    data = payload_bytes(state)
    for start in range(0, len(data), chunk_bytes):
        taken.write(data[start : start + chunk_bytes])
    return taken.finish(locate)


@pytest.fixture
def budget(tmp_path: Path) -> Budget:
    return Budget(1 << 20, tmp_path)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000])
def test_values_arrive_however_they_are_chunked(budget: Budget, chunk_bytes: int) -> None:
    staged = stage(STATE, budget, chunk_bytes)
    assert staged.dense.tolist() == [1.5] * 9
    assert staged.rows["items"].positions.tolist() == [3, 9]
    assert staged.rows["items"].values.tolist() == [[4.0, 4.0], [5.0, 5.0]]
    assert staged.rows["items"].weights.tolist() == [2.0, 2.0]


def test_digest_does_not_depend_on_chunks(budget: Budget) -> None:
    assert stage(STATE, budget, 3).digest == stage(STATE, budget).digest


def test_digest_tells_values_apart(budget: Budget) -> None:
    assert stage(update(1.0), budget).digest != stage(update(2.0), budget).digest


def test_a_payload_that_ends_early_is_refused(budget: Budget) -> None:
    taken = intake(STATE, budget)
    taken.write(payload_bytes(STATE)[:-1])
    with pytest.raises(MalformedError, match="ends after"):
        taken.finish(locate)


def test_a_payload_that_goes_on_is_refused_before_it_is_kept(budget: Budget) -> None:
    taken = intake(STATE, budget)
    with pytest.raises(MalformedError, match="more bytes"):
        taken.write(payload_bytes(STATE) + b"x")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_dense_values_must_be_finite(budget: Budget, bad: float) -> None:
    with pytest.raises(MalformedError, match="dense: values are not finite"):
        stage(update(bad), budget)


def test_row_values_must_be_finite(budget: Budget) -> None:
    with pytest.raises(MalformedError, match="table items: values are not finite"):
        stage(update(1.0, {3: float("nan")}), budget)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_row_weights_must_be_positive_and_finite(budget: Budget, weight: float) -> None:
    with pytest.raises(MalformedError, match="row weights"):
        stage(update(1.0, {3: 1.0}, weight=weight), budget)


@pytest.mark.parametrize("ids", [[-1, 3], [3, 40]])
def test_ids_must_be_in_range(budget: Budget, ids: list[int]) -> None:
    rows = RowSet(np.array(ids, np.int64), np.ones((2, 2), np.float32), np.ones(2))
    with pytest.raises(MalformedError, match="sorted, unique and in"):
        stage(replace(STATE, rows={"items": rows}), budget)


BLOCKS = {
    "dense of another size": [Block("", BlockKind.DENSE, 40)],
    "no dense": [Block("items", BlockKind.PACKED_IDS, 17, 1)],
    "ids as they are in memory": [Block("", BlockKind.DENSE, 36), Block("items", BlockKind.ROW_IDS, 8, 1)],
    "unknown table": [Block("", BlockKind.DENSE, 36), Block("genres", BlockKind.PACKED_IDS, 17, 1)],
    "private table": [Block("", BlockKind.DENSE, 36), Block("users", BlockKind.PACKED_IDS, 17, 1)],
    "rows without weights": [
        Block("", BlockKind.DENSE, 36),
        Block("items", BlockKind.PACKED_IDS, 17, 1),
        Block("items", BlockKind.ROW_VALUES, 8),
    ],
    "rows of another dimension": [
        Block("", BlockKind.DENSE, 36),
        Block("items", BlockKind.PACKED_IDS, 17, 1),
        Block("items", BlockKind.ROW_VALUES, 12),
        Block("items", BlockKind.PACKED_WEIGHTS, 1),
    ],
    "more rows than the table": [
        Block("", BlockKind.DENSE, 36),
        Block("items", BlockKind.PACKED_IDS, 22, 41),
        Block("items", BlockKind.ROW_VALUES, 8 * 41),
        Block("items", BlockKind.PACKED_WEIGHTS, 41),
    ],
    "no rows": [
        Block("", BlockKind.DENSE, 36),
        Block("items", BlockKind.PACKED_IDS, 0),
        Block("items", BlockKind.ROW_VALUES, 0),
        Block("items", BlockKind.PACKED_WEIGHTS, 0),
    ],
    "ids of more bytes than they can have": [
        Block("", BlockKind.DENSE, 36),
        Block("items", BlockKind.PACKED_IDS, 1 << 50, 1),
        Block("items", BlockKind.ROW_VALUES, 8),
        Block("items", BlockKind.PACKED_WEIGHTS, 1),
    ],
    "weights of more than eight bytes": [
        Block("", BlockKind.DENSE, 36),
        Block("items", BlockKind.PACKED_IDS, 17, 1),
        Block("items", BlockKind.ROW_VALUES, 8),
        Block("items", BlockKind.PACKED_WEIGHTS, 9),
    ],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
def test_announced_sizes_are_held_against_the_layout_first(tmp_path: Path, blocks: list[Block]) -> None:
    (payload,) = encode_update(LAYOUT, STATE, 1)
    nothing = Budget(0, tmp_path / "missing")  # any allocation would fail with BusyError
    with pytest.raises(LayoutMismatchError):
        Intake(header(payload, 1, "a", blocks=tuple(blocks)), LAYOUT, nothing, (0, 1))


def test_what_is_over_the_budget_goes_to_scratch(tmp_path: Path) -> None:
    budget = Budget(400, tmp_path)
    in_memory, spilled = stage(STATE, budget), stage(STATE, budget)
    assert (in_memory.buffers.spilled, spilled.buffers.spilled) == (False, True)


def test_a_spilled_update_is_the_same(tmp_path: Path) -> None:
    spilled = stage(STATE, Budget(0, tmp_path), 7)
    assert spilled.digest == stage(STATE, Budget(1 << 20, tmp_path)).digest
    assert spilled.rows["items"].values.tolist() == [[4.0, 4.0], [5.0, 5.0]]


def test_a_spill_leaves_no_file_behind(tmp_path: Path) -> None:
    stage(STATE, Budget(0, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_freed_memory_is_taken_again(tmp_path: Path) -> None:
    budget = Budget(400, tmp_path)
    stage(STATE, budget).buffers.free()
    assert not stage(STATE, budget).buffers.spilled


def test_an_aborted_intake_gives_its_memory_back(tmp_path: Path) -> None:
    budget = Budget(400, tmp_path)
    intake(STATE, budget).abort()
    assert not stage(STATE, budget).buffers.spilled


def test_no_room_anywhere_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BusyError, match=r"no room for .* raise the server's memory limit"):
        intake(STATE, Budget(0, tmp_path / "missing"))


def test_memory_of_a_folded_update_is_used_again(tmp_path: Path) -> None:
    budget = Budget(1 << 20, tmp_path)
    first = stage(STATE, budget)
    where = first.dense.ctypes.data
    first.buffers.free()
    assert stage(STATE, budget).dense.ctypes.data == where


def test_memory_that_a_commit_may_still_read_is_not_used_again(tmp_path: Path) -> None:
    budget = Budget(1 << 20, tmp_path)
    replaced = stage(STATE, budget)
    replaced.buffers.free(reusable=False)
    stage(update(9.0, {3: 9.0, 9: 9.0}), budget)
    assert replaced.dense.tolist() == [1.5] * 9


def test_memory_given_back_twice_counts_once(tmp_path: Path) -> None:
    budget = Budget(400, tmp_path)
    staged = stage(STATE, budget)
    staged.buffers.free()
    staged.buffers.free()
    assert [stage(STATE, budget).buffers.spilled for _ in range(2)] == [False, True]
