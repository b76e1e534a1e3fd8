"""Committed versions: the newest in full, older ones from what was overwritten."""

from __future__ import annotations

import numpy as np
import pytest

from fljob_runtime.errors import MalformedError, NotReadyError, StaleError
from fljob_runtime.parameters import Kind, ModelLayout, ParamSpec
from fljob_runtime.server.fold import FoldedRows
from fljob_runtime.server.versions import ShardModel
from support.shards import DIM, LAYOUT, NUM_ITEMS

ALL = np.arange(NUM_ITEMS)


def dense(value: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(9, value, np.float32)


def folded(positions: list[int], value: float, *, borrowed: bool = False) -> dict[str, FoldedRows]:
    values = np.full((len(positions), DIM), value, np.float32)
    return {"items": FoldedRows(np.array(positions, np.int64), values, borrowed=borrowed)}


@pytest.fixture(params=[False, True], ids=["rows taken over", "rows borrowed"])
def model(request: pytest.FixtureRequest) -> ShardModel:
    """Version 0 all zero; 1 sets rows 1, 2 to 10; 2 sets rows 2, 3 to 20."""
    made = ShardModel(LAYOUT, 0, 1)
    made.install(0, dense(0), {"items": np.zeros((NUM_ITEMS, DIM), np.float32)}, "d0")
    for version, positions in enumerate([[1, 2], [2, 3]], 1):
        rows = folded(positions, 10.0 * version, borrowed=request.param)
        made.advance(dense(version), rows, f"d{version}")
        if request.param:  # what lent them uses them for something else
            rows["items"].positions[:], rows["items"].values[:] = 9, 99.0
    return made


def test_borrowed_rows_stay_as_they_were() -> None:
    made = ShardModel(LAYOUT, 0, 1)
    made.install(0, dense(0), {"items": np.zeros((NUM_ITEMS, DIM), np.float32)}, "d0")
    rows = folded([1, 2], 10.0, borrowed=True)
    made.advance(dense(1), rows, "d1")
    assert rows["items"].values.tolist() == [[10.0] * DIM] * 2


def test_memory_of_a_released_version_serves_the_next_one_only(model: ShardModel) -> None:
    model.release(0)
    model.advance(dense(3), folded([2, 4], 30.0, borrowed=True), "d3")
    assert [column(model, version, [1, 2, 3, 4]) for version in (1, 2, 3)] == [
        [10, 10, 0, 0],
        [10, 20, 20, 0],
        [10, 30, 20, 30],
    ]


def column(model: ShardModel, version: int, positions: list[int]) -> list[float]:
    values: list[float] = model.rows(version, "items", np.array(positions, np.int64))[:, 0].tolist()
    return values


@pytest.mark.parametrize(("version", "expected"), [(0, [0, 0, 0, 0]), (1, [0, 10, 10, 0]), (2, [0, 10, 20, 20])])
def test_every_held_version_can_be_read(model: ShardModel, version: int, expected: list[float]) -> None:
    assert column(model, version, [0, 1, 2, 3]) == expected


def test_dense_is_that_of_the_version(model: ShardModel) -> None:
    assert [float(model.dense(version)[0]) for version in (0, 1, 2)] == [0.0, 1.0, 2.0]


def test_rewinding_brings_the_old_values_back(model: ShardModel) -> None:
    model.rewind(0)
    assert (model.newest, model.versions) == (0, (0,))
    assert not model.rows(0, "items", ALL).any()


def test_after_rewinding_the_same_commit_gives_the_same_values(model: ShardModel) -> None:
    model.rewind(1)
    model.advance(dense(2), folded([2, 3], 20.0), "d2")
    assert column(model, 2, [1, 2, 3]) == [10, 20, 20]
    assert column(model, 1, [1, 2, 3]) == [10, 10, 0]


def test_releasing_forgets_a_version_and_those_before(model: ShardModel) -> None:
    model.release(1)
    assert model.versions == (2,)


def test_the_newest_version_is_never_released(model: ShardModel) -> None:
    model.release(7)
    assert model.versions == (2,)


def test_a_released_version_is_stale(model: ShardModel) -> None:
    model.release(0)
    with pytest.raises(StaleError, match="version 0 is gone; held are"):
        model.rows(0, "items", ALL)


def test_a_version_to_come_is_not_ready(model: ShardModel) -> None:
    with pytest.raises(NotReadyError, match="version 3 is not committed yet"):
        model.dense(3)


def test_rows_of_another_shard_are_refused() -> None:
    part = ShardModel(LAYOUT, 0, 2)
    with pytest.raises(MalformedError, match="ids of another shard"):
        part.locate("items", ALL)


def test_only_own_rows_are_stored() -> None:
    sizes = [len(ShardModel(LAYOUT, shard, 4).table("items")) for shard in range(4)]
    assert sum(sizes) == NUM_ITEMS
    assert max(sizes) < NUM_ITEMS


# Which version changed a row last.


def test_a_row_has_the_version_that_changed_it_last(model: ShardModel) -> None:
    assert model.row_versions("items", np.arange(5)).tolist() == [0, 1, 2, 2, 0]


@pytest.mark.parametrize(("version", "expected"), [(2, []), (1, [2, 3]), (0, [1, 2, 3]), (-1, list(range(NUM_ITEMS)))])
def test_the_rows_changed_since_a_version_are_known(model: ShardModel, version: int, expected: list[int]) -> None:
    assert model.changed_since(version)["items"].tolist() == expected


def test_rewinding_brings_back_which_version_changed_a_row(model: ShardModel) -> None:
    model.rewind(1)
    assert model.row_versions("items", np.arange(5)).tolist() == [0, 1, 1, 0, 0]
    model.advance(dense(2), folded([0], 20.0), "d2")
    assert model.changed_since(1)["items"].tolist() == [0]


def test_all_rows_are_of_the_version_that_was_installed() -> None:
    model = ShardModel(LAYOUT, 0, 1)
    model.install(7, dense(0), {"items": np.zeros((NUM_ITEMS, DIM), np.float32)}, "d7")
    assert (model.changed_since(7)["items"].size, model.changed_since(6)["items"].size) == (0, NUM_ITEMS)


# The optimizer's state of rows.


def stepped(positions: list[int], value: float, state: float) -> dict[str, FoldedRows]:
    rows = folded(positions, value)["items"]
    return {"items": FoldedRows(rows.positions, rows.values, (np.full_like(rows.values, state),))}


def test_the_optimizers_state_is_read_at_every_version_and_rewound_with_its_rows() -> None:
    model = ShardModel(LAYOUT, 0, 1, (0.5,))
    model.install(0, dense(0), {"items": np.zeros((NUM_ITEMS, DIM), np.float32)}, "d0")
    model.advance(dense(1), stepped([1, 2], 10.0, 7.0), "d1")
    where = np.array([1, 3])
    assert model.rows(0, "items#0", where)[:, 0].tolist() == [0.5, 0.5]
    assert model.rows(1, "items#0", where)[:, 0].tolist() == [7.0, 0.5]
    model.rewind(0)
    assert model.rows(0, "items#0", where)[:, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("num_shards", [1, 3])
def test_ids_are_the_inverse_of_positions(num_shards: int) -> None:
    parts = [ShardModel(LAYOUT, shard, num_shards) for shard in range(num_shards)]
    ids = [part.ids("items", np.arange(len(part.table("items")))) for part in parts]
    for part, owned in zip(parts, ids, strict=True):
        assert part.locate("items", owned).tolist() == list(range(owned.size))
    assert sorted(np.concatenate(ids).tolist()) == ALL.tolist()


def test_rows_of_a_table_of_many_words_are_found_by_rank_and_others_rows_are_refused() -> None:
    layout = ModelLayout((ParamSpec("many", (1_000, 2), Kind.ROWS),))
    parts = [ShardModel(layout, shard, 3) for shard in range(3)]
    ids = [part.ids("many", np.arange(part.num_rows("many"))) for part in parts]
    assert [part.locate("many", owned[1::7]).tolist() for part, owned in zip(parts, ids, strict=True)] == [
        list(range(owned.size))[1::7] for owned in ids
    ]
    with pytest.raises(MalformedError, match="ids of another shard"):
        parts[0].locate("many", np.sort(np.concatenate([ids[0][:9], ids[1][:1]])))
