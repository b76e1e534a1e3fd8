"""FM and DeepFM: numbers by hand, and fields from the dataset's columns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fljob_runtime import registry
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.models.fm import pairwise
from fljob_runtime.parameters import Kind
from fljob_runtime.registry import RegistryError
from fljob_runtime.schema import Schema, SchemaError

registry.load()
SCHEMA = Schema({"user": 2, "item": 3, "hour": 4})


def made(name: str, **parameters: Any) -> RecommenderModel:
    return make_model(name, parameters, SCHEMA, 0)


def fill(model: RecommenderModel, values: dict[str, Any]) -> None:
    """Set parameters by name, all others to zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.as_tensor(values.get(name, 0.0)))


def score(model: RecommenderModel, **ids: int) -> float:
    return model.logits({name: torch.tensor([number]) for name, number in ids.items()}).item()


def test_pairs_of_fields_are_multiplied_once_each() -> None:
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    # (1, 2)·(3, 4) + (1, 2)·(5, 6) + (3, 4)·(5, 6) = 11 + 17 + 39
    assert pairwise(embeddings).tolist() == [67.0]


def test_fm_adds_bias_weights_and_products() -> None:
    model = made("fm", factors="2")
    values = {
        "bias": [0.5],
        "weights.user.weight": [[0.0], [1.0]],
        "weights.item.weight": [[0.0], [0.0], [2.0]],
        "factors.user.weight": [[0, 0], [1.0, 2.0]],
        "factors.item.weight": [[0, 0], [0, 0], [3.0, 4.0]],
        "factors.hour.weight": [[5.0, 6.0], [0, 0], [0, 0], [0, 0]],
    }
    fill(model, values)
    assert score(model, user=1, item=2, hour=0) == 0.5 + 1.0 + 2.0 + 67.0
    assert score(model, user=0, item=0, hour=3) == 0.5


def test_a_number_is_a_field_whose_weight_and_embedding_it_multiplies() -> None:
    model = make_model("fm", {"factors": "2"}, Schema({"user": 1}, {"price": (), "image": (2, 2)}), 0)
    values = {
        "factors.user.weight": [[1.0, 2.0]],
        "number_weights": [10.0],
        "number_factors": [[3.0, 4.0]],
    }
    fill(model, values)
    # 10 · 0.5, and (1, 2)·(3, 4) · 0.5
    assert model.logits({"user": torch.tensor([0]), "price": torch.tensor([0.5])}).tolist() == [5.0 + 5.5]


def test_deepfm_adds_the_tower_over_the_same_embeddings() -> None:
    model = made("deepfm", factors="1", layers="2")
    values = {
        "factors.user.weight": [[0.0], [2.0]],
        "factors.item.weight": [[0.0], [3.0], [0.0]],
        "tower.layers.0.weight": [[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]],
        "output.weight": [[10.0, 100.0]],
    }
    fill(model, values)
    # the product of the pair, and ten times relu(2 + 3); the other unit is negative before its relu
    assert score(model, user=1, item=1, hour=0) == 6.0 + 50.0


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_each_field_has_tables_and_the_rest_is_dense(name: str) -> None:
    layout = made(name).layout()
    rows = {spec.name for spec in layout.specs if spec.kind is Kind.ROWS}
    assert rows == {f"{part}.{field}.weight" for part in ("weights", "factors") for field in SCHEMA.ids}


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_a_batch_scores_as_its_examples_do_one_by_one(name: str) -> None:
    model = made(name)
    batch: dict[str, Tensor] = {
        "user": torch.tensor([0, 1, 1]),
        "item": torch.tensor([2, 0, 1]),
        "hour": torch.tensor([3, 3, 0]),
    }
    alone = [model.logits({column: ids[n : n + 1] for column, ids in batch.items()}).item() for n in range(3)]
    assert model.logits(batch).tolist() == pytest.approx(alone, abs=1e-6)


def test_widths_that_are_none_are_refused() -> None:
    with pytest.raises(RegistryError, match=r"spec\.model\.parameters\.layers"):
        made("deepfm", layers="0")


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_data_without_ids_are_refused(name: str) -> None:
    with pytest.raises(SchemaError, match="the dataset has none"):
        make_model(name, {}, Schema({}, {"price": ()}), 0)
    with pytest.raises(SchemaError, match="10 classes"):
        make_model(name, {}, Schema({}, {"pixels": (28, 28)}, num_classes=10), 0)
