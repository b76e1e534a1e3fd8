from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fljob_runtime.parameters import Kind, ModelLayout, ModelState, ParamSpec, RowSet, Scope, TableRules
from fljob_runtime.roles.private_state import PrivateStore, merge_rows

LAYOUT = ModelLayout(
    (
        ParamSpec("users", (10, 2), Kind.ROWS, Scope.PRIVATE),
        ParamSpec("bias", (1,), Kind.DENSE, Scope.PRIVATE),
        ParamSpec("items", (5, 2), Kind.ROWS),
    )
)


def rows(ids: list[int], value: float) -> RowSet:
    return RowSet(np.array(ids), np.full((len(ids), 2), value, np.float32))


def state(value: float) -> ModelState:
    bias = {"bias": np.array([value], np.float32)}
    return ModelState(bias, {"users": rows([1, 4], value), "items": rows([0], 9.0)})


@pytest.fixture
def store(tmp_path: Path) -> PrivateStore:
    return PrivateStore(tmp_path, LAYOUT, job_uid="u")


def test_what_was_saved_is_loaded(store: PrivateStore) -> None:
    store.save(3, state(0.5))
    loaded = store.load(3)
    assert loaded.rows["users"].ids.tolist() == [1, 4]
    assert loaded.rows["users"].values.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert loaded.dense["bias"].tolist() == [0.5]


def test_rows_of_a_keyed_table_are_kept_by_any_id(tmp_path: Path) -> None:
    layout = ModelLayout((ParamSpec("users", (2,), Kind.KEYED, Scope.PRIVATE, TableRules()),))
    store = PrivateStore(tmp_path, layout, job_uid="u")
    ids = [-(2**63), -1, 2**63 - 1]
    store.save(1, ModelState({}, {"users": rows(ids, 0.5)}))
    assert store.load(1).rows["users"].ids.tolist() == ids


def test_shared_parameters_are_not_stored(store: PrivateStore) -> None:
    store.save(1, state(0.5))
    assert "items" not in store.load(1).rows


def test_the_last_three_rounds_are_kept(store: PrivateStore) -> None:
    for number in (1, 2, 3, 5):
        store.save(number, state(number))
    assert (store.newest(1), store.newest(4), store.newest()) == (0, 3, 5)


def test_as_many_rounds_are_kept_as_servers_may_go_back(tmp_path: Path) -> None:
    store = PrivateStore(tmp_path, LAYOUT, job_uid="u", rounds_per_checkpoint=4)
    for number in range(1, 13):
        store.save(number, state(float(number)))
    assert [store.newest(number) for number in (3, 4, 12)] == [0, 4, 12]


def test_the_newest_not_after_a_round_is_loaded(store: PrivateStore) -> None:
    store.save(2, state(2.0))
    store.save(4, state(4.0))
    assert store.load(3).dense["bias"].tolist() == [2.0]


def test_what_is_newer_than_the_committed_round_is_discarded(store: PrivateStore) -> None:
    store.save(2, state(2.0))
    store.save(3, state(3.0))
    store.discard_after(2)
    assert store.newest() == 2


def test_a_damaged_file_is_passed_over(store: PrivateStore, tmp_path: Path) -> None:
    store.save(2, state(2.0))
    store.save(3, state(3.0))
    (tmp_path / "private-u" / "private-000003.safetensors").write_bytes(b"torn")
    assert store.load(3).dense["bias"].tolist() == [2.0]


@pytest.mark.parametrize(
    "users",
    [
        RowSet(np.array([1, 10]), np.ones((2, 2), np.float32)),
        RowSet(np.array([-1, 4]), np.ones((2, 2), np.float32)),
        RowSet(np.array([4, 1]), np.ones((2, 2), np.float32)),
        RowSet(np.array([2**62, -(2**62)]), np.ones((2, 2), np.float32)),
        RowSet(np.array([1, 4]), np.ones((2, 3), np.float32)),
        RowSet(np.array([1, 4]), np.ones((2, 2), np.float64)),
    ],
)
def test_rows_that_do_not_fit_the_layout_are_passed_over(store: PrivateStore, users: RowSet) -> None:
    store.save(2, state(2.0))
    store.save(3, ModelState({"bias": np.array([3.0], np.float32)}, {"users": users}))
    assert store.load(3).dense["bias"].tolist() == [2.0]


@pytest.mark.parametrize("bias", [np.ones(2, np.float32), np.ones(1, np.float64)])
def test_dense_values_that_do_not_fit_the_layout_are_passed_over(store: PrivateStore, bias: np.ndarray) -> None:
    store.save(2, state(2.0))
    store.save(3, ModelState({"bias": bias}, {}))
    assert store.load(3).dense["bias"].tolist() == [2.0]


def test_nothing_stored_is_an_empty_state(store: PrivateStore) -> None:
    assert store.load(7) == ModelState({}, {})


def test_a_model_without_private_parameters_makes_no_folder(tmp_path: Path) -> None:
    shared = ModelLayout((ParamSpec("bias", (1,)),))
    PrivateStore(tmp_path / "storage", shared, job_uid="u").save(1, ModelState({}, {}))
    assert not (tmp_path / "storage").exists()


def test_merged_rows_are_sorted_and_the_newer_value_wins() -> None:
    merged = merge_rows({"users": rows([1, 4, 6], 1.0)}, {"users": rows([0, 4], 2.0)})["users"]
    assert merged.ids.tolist() == [0, 1, 4, 6]
    assert merged.values[:, 0].tolist() == [2.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize("name", ["items", "unknown"], ids=["shared", "unknown"])
def test_a_table_that_is_not_private_is_passed_over(store: PrivateStore, tmp_path: Path, name: str) -> None:
    store.save(2, state(2.0))
    tensors = {f"ids/{name}": np.array([0]), f"rows/{name}": np.zeros((1, 2), np.float32)}
    save_file(tensors, tmp_path / "private-u" / "private-000003.safetensors")
    assert list(store.load(3).rows) == ["users"]
