"""Models that were kept are read back as they were written; what is no model, or another one, is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.checkpoints.model import MODEL, signature, state_tensors, write_model
from fljob_runtime.checkpoints.saved_model import SavedModel, read_model
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import (
    Kind,
    LayoutError,
    ModelLayout,
    ModelState,
    ParamSpec,
    RowSet,
    Scope,
    TableRules,
)

LAYOUT = ModelLayout(
    (
        ParamSpec("bias", (2,)),
        ParamSpec("item", (3, 2), Kind.ROWS),
        ParamSpec("user", (2,), Kind.KEYED, rules=TableRules()),
    )
)
STATE = ModelState(
    {"bias": np.array([1, 2], np.float32)},
    {
        "item": RowSet(np.arange(3), np.arange(6, dtype=np.float32).reshape(3, 2)),
        "user": RowSet(np.array([-5, 2**62]), np.ones((2, 2), np.float32)),
    },
)


def written(folder: Path, layout: ModelLayout = LAYOUT) -> SavedModel:
    write_model(folder, state_tensors(LAYOUT, STATE), signature(layout, 7, {"job": "movies"}))
    return read_model(folder)


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    model = written(tmp_path)
    state = model.state()
    assert (model.round, model.told["job"], model.layout) == (7, "movies", LAYOUT)
    assert state.dense["bias"].tolist() == [1, 2]
    for name, rows in STATE.rows.items():
        assert np.array_equal(state.rows[name].ids, rows.ids)
        assert np.array_equal(state.rows[name].values, rows.values)


def test_private_parameters_may_be_missing() -> None:
    private = ModelLayout((replace(LAYOUT.specs[0], scope=Scope.PRIVATE), LAYOUT.specs[1]))
    model = SavedModel("m", 1, private, {"item": np.zeros((3, 2), np.float32)})
    assert (model.missing, list(model.state().rows), model.state().dense) == (["bias"], ["item"], {})


def test_scopes_do_not_make_another_model(tmp_path: Path) -> None:
    private = ModelLayout(tuple(replace(spec, scope=Scope.PRIVATE) for spec in LAYOUT.specs))
    written(tmp_path).check_fits(private)


def test_a_table_of_other_data_is_named(tmp_path: Path) -> None:
    other = ModelLayout((LAYOUT.specs[0], replace(LAYOUT.specs[1], shape=(4, 2)), LAYOUT.specs[2]))
    with pytest.raises(LayoutError, match=r"parameter item is rows \[3, 2\] there, and rows \[4, 2\]"):
        written(tmp_path).check_fits(other)


def test_a_parameter_of_another_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"parameter extra is absent there, and dense \[1\]"):
        written(tmp_path).check_fits(ModelLayout((*LAYOUT.specs, ParamSpec("extra", (1,)))))


def test_values_of_another_shape_than_the_signature_says_are_refused(tmp_path: Path) -> None:
    other = ModelLayout((replace(LAYOUT.specs[0], shape=(3,)), *LAYOUT.specs[1:]))
    with pytest.raises(CheckpointError, match=r"bias has shape \(2,\), its signature says \(3,\)"):
        written(tmp_path, other)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MODEL).write_bytes(content)
    with pytest.raises(CheckpointError):
        read_model(tmp_path)
