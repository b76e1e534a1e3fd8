"""The click tower: its inputs side by side, the wide part beside it, and data of ids or of numbers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fljob_runtime import registry
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.parameters import Kind
from fljob_runtime.schema import IdSequence, Schema, SchemaError

registry.load()
SMALL = Schema({"user": 2, "item": 3}, {"price": (), "slot": (2,)})
BATCH = {
    "user": torch.tensor([1]),
    "item": torch.tensor([2]),
    "price": torch.tensor([3.0]),
    "slot": torch.tensor([[5.0, 7.0]]),
}


def made(schema: Schema, **parameters: Any) -> RecommenderModel:
    return make_model("mlp", {"embeddingDim": "1", "layers": "1", **parameters}, schema, 0)


def fill(model: RecommenderModel, values: dict[str, Any]) -> None:
    """Set parameters by name, all others to zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.as_tensor(values.get(name, 0.0)))


def test_the_tower_reads_embeddings_and_numbers_side_by_side() -> None:
    model = made(SMALL)
    values = {
        "embeddings.user.weight": [[0.0], [1.0]],
        "embeddings.item.weight": [[0.0], [0.0], [2.0]],
        "tower.layers.0.weight": [[1.0, 10.0, 100.0, 1000.0, 10_000.0]],
        "output.weight": [[2.0]],
        "output.bias": [0.5],
    }
    fill(model, values)
    assert model.logits(BATCH).tolist() == [2.0 * 75_321.0 + 0.5]


def test_the_wide_part_adds_a_weight_of_each_id_and_number() -> None:
    model = made(SMALL, wide="true")
    values = {
        "weights.user.weight": [[9.0], [1.0]],
        "weights.item.weight": [[9.0], [9.0], [2.0]],
        "number_weights": [10.0, 100.0, 1000.0],
        "output.bias": [0.5],
    }
    fill(model, values)
    assert model.logits(BATCH).tolist() == [1.0 + 2.0 + 30.0 + 500.0 + 7000.0 + 0.5]


def test_each_column_of_ids_has_a_table_and_a_second_one_with_the_wide_part() -> None:
    rows = [{s.name for s in made(SMALL, wide=wide).layout().specs if s.kind is Kind.ROWS} for wide in ("no", "yes")]
    assert rows[0] == {"embeddings.user.weight", "embeddings.item.weight"}
    assert rows[1] - rows[0] == {"weights.user.weight", "weights.item.weight"}


def test_paddlefls_demo_of_three_dense_slots_can_be_built() -> None:
    model = make_model("mlp", {}, Schema({}, {f"slot{n}": (5,) for n in range(3)}), 0)
    assert [tuple(value.shape) for value in model.parameters()] == [
        (256, 15),
        (256,),
        (128, 256),
        (128,),
        (1, 128),
        (1,),
    ]
    assert model.logits({f"slot{n}": torch.zeros(4, 5) for n in range(3)}).shape == (4,)


@pytest.mark.parametrize("wide", ["true", "false"])
def test_data_of_ids_alone_are_read(wide: str) -> None:
    model = made(Schema({"user": 2, "item": 3}), wide=wide)
    assert all(min(spec.shape) > 0 for spec in model.layout().specs)
    assert model.logits({"user": torch.tensor([0, 1]), "item": torch.tensor([2, 2])}).shape == (2,)


def test_data_of_sequences_alone_are_refused() -> None:
    with pytest.raises(SchemaError, match="'mlp' reads ids and numbers; the dataset has neither"):
        made(Schema({}, sequences={"items": IdSequence(3, 2)}))
