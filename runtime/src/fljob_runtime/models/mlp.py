"""A tower over everything that an example has, as click models commonly are; with a wide part beside it, if asked.

PaddleFL's `ctr_demo` has such a tower of 256 and 128; the wide part is that of Wide & Deep (Cheng et al. 2016,
https://arxiv.org/abs/1606.07792). B batch, I columns of ids, X numbers of all columns of numbers, D width of the
embeddings.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import DropoutRate, Tower, Widths, by_column, embedding, linear
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema, SchemaError

_STD = 0.01


class MlpParameters(ParametersModel):
    """Parameters of `mlp`. layers: widths of the hidden layers over embeddings and numbers side by side."""

    embedding_dim: int = Field(16, ge=1, le=4096)
    layers: Widths = (256, 128)
    wide: bool = Field(default=False, description="Whether a weight of each id and number is added to the score.")
    dropout: DropoutRate = Field(0.0, description="Share of the hidden values that a training batch leaves out.")


@register(RegistryKind.MODEL, "mlp", MlpParameters)
class Mlp(RecommenderModel):
    """Score by a tower over the embeddings of all ids and all numbers, and by weights of their own."""

    by_row = True

    def __init__(self, parameters: MlpParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        self.ids, self.features, self.wide = tuple(schema.ids), tuple(schema.features), parameters.wide
        if not (self.ids or self.features):
            raise SchemaError("model 'mlp' reads ids and numbers; the dataset has neither: choose another spec.model")
        numbers = sum(math.prod(shape) for shape in schema.features.values())  # X
        dim = parameters.embedding_dim
        self.embeddings = by_column({name: embedding(n, dim, generator, _STD) for name, n in schema.ids.items()})
        if self.wide:
            self.weights = by_column({name: embedding(n, 1, generator, 0.0) for name, n in schema.ids.items()})
            if numbers:
                self.number_weights = nn.Parameter(torch.zeros(numbers))
        self.tower = Tower(len(self.ids) * dim + numbers, parameters.layers, generator, dropout=parameters.dropout)
        self.output = linear(parameters.layers[-1], 1, generator)

    def tables(self) -> dict[str, str]:
        """Return the table of each column of ids, and that of its wide weights."""
        parts = ("embeddings", "weights") if self.wide else ("embeddings",)
        return {f"{part}.{name}.weight": name for part in parts for name in self.ids}

    def logits(self, batch: Batch) -> Tensor:
        """Score examples: ids [B] and numbers [B, ...] -> [B]."""
        numbers = [batch[name].reshape(len(batch[name]), -1) for name in self.features]  # [B, X] in all
        embeddings = [self.embeddings[name](batch[name]) for name in self.ids]  # I of [B, D]
        deep: Tensor = self.output(self.tower(torch.cat([*embeddings, *numbers], 1))).squeeze(1)
        if not self.wide:
            return deep
        weights = [self.weights[name](batch[name]).squeeze(1) for name in self.ids]  # I of [B]
        if numbers:
            weights.append(torch.cat(numbers, 1) @ self.number_weights)
        return deep + torch.stack(weights).sum(0)
