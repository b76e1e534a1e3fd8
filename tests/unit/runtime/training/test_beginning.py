"""What a model begins with: values of kept models by name, weighted and side by side; and all that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.runtime.training.every_model import CASES, PRIVATE, Case

from fljob_api.initial import InitialValues
from fljob_api.job_config import JobConfig, KubernetesTarget
from fljob_runtime.checkpoints.model import signature, state_tensors, write_model
from fljob_runtime.data.errors import DataError
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout, ModelState, ParamSpec, RowSet, Scope, TableRules
from fljob_runtime.roles.trainer_setup import make_local
from fljob_runtime.training.beginning import initial_values

USERS = ParamSpec("users", (3, 2), Kind.ROWS)
OUTPUT, BIAS = ParamSpec("output.weight", (1, 3)), ParamSpec("output.bias", (1,))
WHOLE = ModelLayout((USERS, OUTPUT, BIAS))


def kept(folder: Path, layout: ModelLayout, values: Mapping[str, Any]) -> Path:
    dense = {s.name: np.array(values[s.name], np.float32) for s in layout.specs if s.kind is Kind.DENSE}
    rows = {
        s.name: RowSet(np.arange(len(values[s.name])), np.array(values[s.name], np.float32))
        for s in layout.specs
        if s.kind is not Kind.DENSE
    }
    write_model(folder, state_tensors(layout, ModelState(dense, rows)), signature(layout, 1, {}))
    return folder


def output(folder: Path, weights: list[float], bias: float) -> Path:
    """Keep the output layer of a model with so many inputs."""
    layout = ModelLayout((ParamSpec("output.weight", (1, len(weights))), BIAS))
    return kept(folder, layout, {"output.weight": [weights], "output.bias": [bias]})


def begin(layout: ModelLayout, *given: tuple[Path, list[dict[str, str]]]) -> ModelState:
    entries = [InitialValues.from_dict({"path": str(path), "parameters": taken}) for path, taken in given]
    return initial_values(entries, [path for path, _ in given], layout)


def test_all_that_is_kept_is_taken_by_its_own_names(tmp_path: Path) -> None:
    layout = ModelLayout((USERS, BIAS))
    found = begin(WHOLE, (kept(tmp_path, layout, {"users": [[1, 2], [3, 4], [5, 6]], "output.bias": [7]}), []))
    assert found.rows["users"].values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.rows["users"].ids.tolist() == [0, 1, 2]
    assert {name: value.tolist() for name, value in found.dense.items()} == {"output.bias": [7.0]}


def test_pieces_are_weighted_put_side_by_side_or_added_up(tmp_path: Path) -> None:
    gmf, mlp = output(tmp_path / "gmf", [8.0], 1.0), output(tmp_path / "mlp", [2.0, 4.0], 3.0)
    taken = [{"name": "output", "weight": "0.25"}], [{"name": "output", "weight": "0.75"}]
    found = begin(WHOLE, (gmf, taken[0]), (mlp, taken[1]))
    assert found.dense["output.weight"].tolist() == [[2.0, 1.5, 3.0]]
    assert found.dense["output.bias"].tolist() == [2.5]


def test_a_parameter_may_have_had_another_name(tmp_path: Path) -> None:
    layout = ModelLayout((ParamSpec("last.bias", (1,)), ParamSpec("other", (4,))))
    folder = kept(tmp_path, layout, {"last.bias": [2], "other": [0, 0, 0, 0]})
    assert begin(WHOLE, (folder, [{"name": "output", "keptName": "last"}])).dense["output.bias"].tolist() == [2.0]


@pytest.mark.parametrize(
    "place",
    ["model", "run/epochs/10", "run/checkpoint/uid/model", "run/uid/model"],
    ids=["folder", "train", "run", "claim"],
)
def test_a_model_is_found_in_its_folder_and_in_that_of_a_run(tmp_path: Path, place: str) -> None:
    output(tmp_path / place, [1.0, 2.0, 3.0], 5.0)
    if "epochs" in place:
        output(tmp_path / "run/epochs/9", [0.0, 0.0, 0.0], 0.0)
    found = begin(WHOLE, (tmp_path / place.split("/", maxsplit=1)[0], []))
    assert found.dense["output.bias"].tolist() == [5.0]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no models there; name the file"):
        begin(WHOLE, (tmp_path, []))


def test_a_name_that_the_kept_model_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"initialValues\[0\]: .* has no user; it has output.bias, output.weight"):
        begin(WHOLE, (output(tmp_path, [1, 2, 3], 0), [{"name": "user"}]))


def test_a_name_that_the_model_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    folder = kept(tmp_path, ModelLayout((ParamSpec("tower", (2,)),)), {"tower": [1, 2]})
    with pytest.raises(LayoutError, match=r"no parameter tower, .* the model has users, output.weight, output.bias"):
        begin(WHOLE, (folder, []))


def test_values_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"output.weight is \[1, 3\] .* what is given is \[1, 2\]"):
        begin(WHOLE, (output(tmp_path, [1, 2], 0), []))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"output.bias has values that are not finite"):
        begin(WHOLE, (output(tmp_path, [1, 2, 3], float("nan")), []))


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = output(tmp_path, [1, 2, 3], 0) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="not a model"):
        begin(WHOLE, (path, []))


def test_values_that_stayed_at_sites_are_named(tmp_path: Path) -> None:
    private = ModelLayout((ParamSpec("users", (3, 2), Kind.ROWS, Scope.PRIVATE), BIAS))
    tensors = state_tensors(ModelLayout((BIAS,)), ModelState({"output.bias": np.zeros(1, np.float32)}, {}))
    write_model(tmp_path, tensors, signature(private, 1, {}))
    with pytest.raises(LayoutError, match="users stayed at their sites"):
        begin(WHOLE, (tmp_path, [{"name": "users"}]))


def test_tables_of_any_keys_are_refused(tmp_path: Path) -> None:
    keyed = ModelLayout((ParamSpec("users", (2,), Kind.KEYED, rules=TableRules()),))
    folder = kept(tmp_path, ModelLayout((USERS,)), {"users": [[1, 2], [3, 4], [5, 6]]})
    with pytest.raises(LayoutError, match="keys: Any cannot begin with kept values yet"):
        begin(keyed, (folder, []))


def job_from(folder: Path, **changes: Any) -> JobConfig:
    case = Case("mf", CASES["mf"].parameters, spec={**PRIVATE, "initialValues": [{"path": str(folder)}]})
    return case.config().model_copy(update=changes)


def test_a_trainer_pushes_and_keeps_the_values_of_the_model_that_it_begins_with(tmp_path: Path) -> None:
    case = CASES["mf, private users"]
    former = make_local(case.config(), "a", case.sites()["a"])
    former.train(1)
    state = former.initial_state()
    write_model(tmp_path, state_tensors(former.layout, state), signature(former.layout, 1, {}))
    begun = make_local(job_from(tmp_path), "b", case.sites()["b"]).initial_state()
    assert begun.dense["bias"].tolist() == state.dense["bias"].tolist()
    for name, rows in state.rows.items():
        assert begun.rows[name].values.tolist() == rows.values.tolist(), name


def test_in_a_cluster_the_path_is_one_in_the_mounted_claim() -> None:
    cluster = KubernetesTarget(namespace="n", name="j", progress_config_map="p")
    with pytest.raises(DataError, match=r"spec.initialValues: /initial/0/runs/gmf: no models there"):
        make_local(job_from(Path("runs/gmf"), kubernetes=cluster), "a", CASES["mf"].sites()["a"])
