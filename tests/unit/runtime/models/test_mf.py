"""Matrix factorization: numbers by hand, and which table belongs to whom."""

from __future__ import annotations

import torch

from fljob_runtime import registry
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.parameters import Kind, Scope
from fljob_runtime.schema import Schema

registry.load()


def made() -> RecommenderModel:
    return make_model("mf", {"factors": "2"}, Schema({"user": 2, "item": 3}), 0)


def test_the_score_is_biases_and_the_product_of_the_vectors() -> None:
    model = made()
    values = {
        "bias": torch.tensor([1.0]),
        "user_embedding.weight": torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        "user_bias.weight": torch.tensor([[10.0], [0.0]]),
        "item_embedding.weight": torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]),
        "item_bias.weight": torch.tensor([[0.0], [100.0], [0.0]]),
    }
    model.load_state_dict(values)
    scores = model.logits({"user": torch.tensor([0, 1]), "item": torch.tensor([1, 0])})
    assert scores.tolist() == [1.0 + 10.0 + 100.0 + 11.0, 1.0]


def test_a_users_vector_and_bias_can_stay_private() -> None:
    layout = made().layout().with_scopes({"user_embedding": Scope.PRIVATE, "user_bias": Scope.PRIVATE})
    assert {s.name for s in layout.select(Kind.ROWS, Scope.PRIVATE)} == {"user_embedding.weight", "user_bias.weight"}
    assert {s.name for s in layout.shared_tables} == {"item_embedding.weight", "item_bias.weight"}
