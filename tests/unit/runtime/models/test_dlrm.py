"""DLRM: the published widths, numbers by hand, and data without numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fljob_runtime import registry
from fljob_runtime.models.base import make_model
from fljob_runtime.models.dlrm import Dlrm
from fljob_runtime.parameters import Kind
from fljob_runtime.schema import Schema

registry.load()
KAGGLE = Schema({f"c{n}": 10 for n in range(26)}, {f"i{n}": () for n in range(13)})
SMALL = Schema({"user": 2, "item": 3}, {"price": ()})


def made(schema: Schema, **parameters: Any) -> Dlrm:
    model = make_model("dlrm", parameters, schema, 0)
    assert isinstance(model, Dlrm)
    return model


def fill(model: Dlrm, values: dict[str, Any]) -> None:
    """Set parameters by name, all others to zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.as_tensor(values.get(name, 0.0)))


def test_the_published_shape_has_351_products_and_367_inputs_of_the_top() -> None:
    model = made(KAGGLE, embeddingDim="16", bottom="512,256,64", top="512,256")
    assert model.pairs is not None
    assert model.pairs.shape == (2, 27 * 26 // 2)
    assert model.top.layers[0].weight.shape == (512, 367)


@pytest.mark.parametrize(
    ("parameters", "width"),
    [({"interaction": "Cat"}, 27 * 16), ({"interactItself": "true"}, 27 * 28 // 2 + 16)],
)
def test_other_interactions_have_their_width(parameters: dict[str, str], width: int) -> None:
    assert made(KAGGLE, **parameters).top.layers[0].weight.shape == (64, width)


def test_products_are_those_of_all_pairs_behind_the_numbers_vector() -> None:
    model = made(SMALL, embeddingDim="2", bottom="1", top="1")
    values = {
        "bottom.layers.0.weight": [[2.0]],
        "bottom.layers.1.weight": [[1.0], [0.5]],
        "embeddings.user.weight": [[0.0, 0.0], [3.0, 4.0]],
        "embeddings.item.weight": [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]],
    }
    fill(model, values)
    batch = {"user": torch.tensor([1]), "item": torch.tensor([0]), "price": torch.tensor([3.0])}
    # the numbers' vector is (6, 3); (3, 4)·(6, 3) = 30, (5, 6)·(6, 3) = 48, (5, 6)·(3, 4) = 39
    assert model.interactions(batch).tolist() == [[6.0, 3.0, 30.0, 48.0, 39.0]]


def test_the_score_is_what_the_top_makes_of_it() -> None:
    model = made(SMALL, embeddingDim="1", bottom="1", top="2", interaction="Cat")
    values = {
        "embeddings.user.weight": [[2.0], [0.0]],
        "embeddings.item.weight": [[0.0], [3.0], [0.0]],
        "top.layers.0.weight": [[0.0, 1.0, 1.0], [0.0, -1.0, 0.0]],
        "output.weight": [[10.0, 100.0]],
        "output.bias": [0.5],
    }
    fill(model, values)
    batch = {"user": torch.tensor([0]), "item": torch.tensor([1]), "price": torch.tensor([1.0])}
    assert model.logits(batch).tolist() == [50.5]


def test_data_without_numbers_have_no_bottom() -> None:
    model = made(Schema({"user": 2, "item": 3}), embeddingDim="4")
    assert not [name for name, _ in model.named_parameters() if name.startswith("bottom")]
    assert model.top.layers[0].weight.shape == (64, 1)
    assert model.logits({"user": torch.tensor([0, 1]), "item": torch.tensor([2, 2])}).shape == (2,)


def test_each_column_of_ids_has_a_table_and_the_rest_is_dense() -> None:
    rows = {spec.name for spec in made(SMALL).layout().specs if spec.kind is Kind.ROWS}
    assert rows == {"embeddings.user.weight", "embeddings.item.weight"}
