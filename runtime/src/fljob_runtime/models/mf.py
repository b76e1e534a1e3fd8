"""Matrix factorization (Koren et al., Computer 2009): the product of a user's and an item's vector, and biases.

With `user_embedding` Private it is the model of federated collaborative filtering (Ammad-ud-din et al. 2019,
https://arxiv.org/abs/1901.09888): a user's vector never leaves its site.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import embedding
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema

_STD = 0.1


class MfParameters(ParametersModel):
    """Parameters of `mf`."""

    factors: int = Field(16, ge=1, le=4096, description="Width of the vectors.")


@register(RegistryKind.MODEL, "mf", MfParameters)
class Mf(RecommenderModel):
    """Score a (user, item) pair by bias + user bias + item bias + product of the vectors."""

    by_row = True
    TABLES: ClassVar = {
        "user_embedding.weight": "user",
        "user_bias.weight": "user",
        "item_embedding.weight": "item",
        "item_bias.weight": "item",
    }

    def __init__(self, parameters: MfParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        users, items = schema.num_ids("user"), schema.num_ids("item")
        self.bias = nn.Parameter(torch.zeros(1))
        self.user_embedding = embedding(users, parameters.factors, generator, _STD)  # [U, K]
        self.user_bias = embedding(users, 1, generator, 0.0)
        self.item_embedding = embedding(items, parameters.factors, generator, _STD)  # [I, K]
        self.item_bias = embedding(items, 1, generator, 0.0)

    def logits(self, batch: Batch) -> Tensor:
        """Score pairs: user [B], item [B] -> [B]."""
        users, items = batch["user"], batch["item"]
        product: Tensor = (self.user_embedding(users) * self.item_embedding(items)).sum(1)
        biases: Tensor = self.user_bias(users) + self.item_bias(items)
        return self.bias + biases.squeeze(1) + product
