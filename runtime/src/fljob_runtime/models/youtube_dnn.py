"""Candidate generation of YouTube's recommender (Covington, Adams and Sargin, RecSys 2016): two towers.

A user is the mean of the embeddings of the items so far, passed through layers with ReLU; an item is a vector; a
softmax of their products over all items says what comes next.

B batch, T items of the longest sequence, E places that have a next item, F width of embeddings, H last width, V items.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from fljob_runtime.models.layers import DropoutRate, Tower, Widths, embedding
from fljob_runtime.models.sequences import SequenceModel
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import PADDING, Schema

INITIAL_STD = 0.05


class YoutubeDnnParameters(ParametersModel):
    """Parameters of `youtube-dnn`. layers: widths of the user's tower, the last that of the items' vectors."""

    embedding_dim: int = Field(64, ge=1, le=4096)
    layers: Widths = (128, 64)
    dropout: DropoutRate = Field(0.0, description="Share of the hidden values that a training batch leaves out.")


@register(RegistryKind.MODEL, "youtube-dnn", YoutubeDnnParameters)
class YoutubeDnn(SequenceModel):
    """The mean of what came, a tower, a product with a vector of each item."""

    by_row = True
    TABLES: ClassVar = {"embedding.weight": SequenceModel.COLUMN}

    def __init__(self, parameters: YoutubeDnnParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(schema)
        self.embedding = embedding(self.num_items, parameters.embedding_dim, generator, INITIAL_STD)  # [V, F]
        self.tower = Tower(parameters.embedding_dim, parameters.layers, generator, dropout=parameters.dropout)
        self.output = nn.Parameter(torch.empty(self.num_items, parameters.layers[-1]))  # [V, H]
        nn.init.normal_(self.output, 0.0, INITIAL_STD, generator=generator)
        self.bias = nn.Parameter(torch.zeros(self.num_items))

    def states(self, items: Tensor) -> Tensor:
        """Return the user after each item: [B, T] -> [B, T, H]."""
        users: Tensor = self.tower(self._means(items))
        return users

    def known(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the users before each next item and those items: [B, T] -> [E, H], [E]. The tower sees no padding."""
        before, after = items[:, :-1], items[:, 1:]
        there = after != PADDING
        return self.tower(self._means(before.clamp(min=0))[there]), after[there]

    def scores(self, states: Tensor) -> Tensor:
        """Return the score of each item as the next one: [E, H] -> [E, V]."""
        return linear(states, self.output, self.bias)

    def _means(self, items: Tensor) -> Tensor:
        """Return the mean of the embeddings up to each place: [B, T] -> [B, T, F]."""
        counts = torch.arange(1, items.shape[1] + 1, dtype=torch.float32, device=items.device)
        sums: Tensor = self.embedding(items).cumsum(1)
        return sums / counts[:, None]
