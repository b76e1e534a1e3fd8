"""NCF in its three forms: shapes, scores worked out by hand, initial values, and refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fljob_runtime import registry
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.registry import RegistryError
from fljob_runtime.schema import Schema

registry.load()


SCHEMA = Schema({"user": 5, "item": 7})


def ncf(mode: str, *, layers: str = "8,4,2", schema: Schema = SCHEMA, **parameters: Any) -> RecommenderModel:
    return make_model("ncf", {"mode": mode, "layers": layers, **parameters}, schema, seed=0)


def fill(model: RecommenderModel, **values: float | list[Any]) -> None:
    """Set parameters by name (dots as double underscores); all others to zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.as_tensor(values.get(name.replace(".", "__"), 0.0)))


def score(model: RecommenderModel, user: int, item: int) -> float:
    return model.logits({"user": torch.tensor([user]), "item": torch.tensor([item])}).item()


@pytest.mark.parametrize(
    ("mode", "shapes"),
    [
        ("GMF", {"user_embedding.gmf.weight": (5, 3), "item_embedding.gmf.weight": (7, 3), "output.weight": (1, 3)}),
        ("MLP", {"user_embedding.mlp.weight": (5, 4), "tower.0.weight": (4, 8), "output.weight": (1, 2)}),
        ("NeuMF", {"user_embedding.gmf.weight": (5, 3), "tower.1.weight": (2, 4), "output.weight": (1, 5)}),
    ],
)
def test_shapes_follow_from_mode_layers_and_factors(mode: str, shapes: dict[str, tuple[int, ...]]) -> None:
    layout = ncf(mode, factors=3).layout()
    assert {name: layout[name].shape for name in shapes} == shapes


@pytest.mark.parametrize(("mode", "num_tables"), [("GMF", 2), ("MLP", 2), ("NeuMF", 4)])
def test_every_embedding_is_a_table_and_nothing_else_is(mode: str, num_tables: int) -> None:
    layout = ncf(mode).layout()
    assert sum("embedding" in spec.name for spec in layout.shared_tables) == num_tables == len(layout.shared_tables)


def test_gmf_by_hand() -> None:
    model = ncf("GMF", factors=2)
    users, items = [[0, 0], [1, 2], [0, 0], [0, 0], [0, 0]], [[3, 5], *[[0, 0]] * 6]
    fill(model, user_embedding__gmf__weight=users, item_embedding__gmf__weight=items)
    fill_output(model, [[10.0, 100.0]], 7.0)
    # 10 * (1 * 3) + 100 * (2 * 5) + 7
    assert score(model, 1, 0) == 1037.0


def fill_output(model: RecommenderModel, weight: list[list[float]], bias: float) -> None:
    with torch.no_grad():
        parameters = dict(model.named_parameters())
        parameters["output.weight"].copy_(torch.tensor(weight))
        parameters["output.bias"].copy_(torch.tensor([bias]))


def test_mlp_by_hand() -> None:
    model = ncf("MLP", layers="2,2")
    fill(
        model,
        user_embedding__mlp__weight=[[0.0], [2.0], [0.0], [0.0], [0.0]],
        item_embedding__mlp__weight=[[3.0], *[[0.0]] * 6],
        tower__0__weight=[[1.0, 1.0], [-1.0, 0.0]],
        tower__0__bias=[0.5, 1.0],
    )
    fill_output(model, [[10.0, 100.0]], 1.0)
    # hidden: relu(2 + 3 + 0.5) = 5.5 and relu(-2 + 1) = 0; out: 55 + 0 + 1
    assert score(model, 1, 0) == 56.0


def test_neumf_puts_the_product_before_the_tower() -> None:
    model = ncf("NeuMF", layers="2,1", factors=1)
    ones = {"user": [[1.0]] * 5, "item": [[1.0]] * 7}
    fill(
        model,
        user_embedding__gmf__weight=[[2.0]] * 5,
        item_embedding__gmf__weight=[[3.0]] * 7,
        user_embedding__mlp__weight=ones["user"],
        item_embedding__mlp__weight=ones["item"],
        tower__0__weight=[[4.0, 5.0]],
    )
    fill_output(model, [[10.0, 100.0]], 0.0)
    # 10 * (2 * 3) + 100 * relu(4 + 5)
    assert score(model, 0, 0) == 960.0


def test_embeddings_begin_with_a_deviation_of_a_hundredth() -> None:
    weight = dict(ncf("GMF", schema=Schema({"user": 20_000, "item": 2})).named_parameters())[
        "user_embedding.gmf.weight"
    ]
    assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert float(weight.detach().mean()) == pytest.approx(0.0, abs=1e-4)


def test_linear_layers_begin_truncated_at_two_with_a_scale_of_one_over_root_inputs() -> None:
    parameters = dict(ncf("MLP", layers="400,300").named_parameters())
    weight: Tensor = parameters["tower.0.weight"].detach()
    # torch truncates at -2 and 2, far beyond a scale of 1/20, so the deviation is that of the normal
    assert float(weight.std()) == pytest.approx(1 / math.sqrt(400), rel=0.02)
    assert parameters["tower.0.bias"].abs().sum().item() == 0.0


@pytest.mark.parametrize("layers", ["8,4", [8, 4], (8, 4), "8, 4"])
def test_layers_may_be_text_or_a_list(layers: Any) -> None:
    assert ncf("MLP", layers=layers).layout()["tower.0.weight"].shape == (4, 8)


def test_a_single_layer_may_be_a_number() -> None:
    assert ncf("MLP", layers=8).layout()["output.weight"].shape == (1, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": "7,4"}, "even width"),
        ({"layers": "8,x"}, r"spec\.model\.parameters\.layers\.1: .*integer"),
        ({"layers": "8,0"}, r"layers\.1: .*greater than or equal to 1"),
        ({"layers": ""}, "layers"),
        ({"mode": "gmf"}, r"spec\.model\.parameters\.mode: .*'GMF', 'MLP' or 'NeuMF'"),
        ({"factors": 0}, "factors"),
    ],
)
def test_impossible_parameters_are_refused_with_their_path(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        make_model("ncf", parameters, SCHEMA, 0)
