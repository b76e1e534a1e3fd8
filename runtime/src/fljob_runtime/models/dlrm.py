"""Deep learning recommendation model (Naumov et al. 2019, https://arxiv.org/abs/1906.00091).

B batch, I columns of ids, N of numbers, D width of the embeddings, F = I + 1 vectors that interact (I without numbers).
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from pydantic import Field
from torch import Tensor, nn

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import Tower, Widths, linear
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema


class Interaction(StrEnum):
    """How vectors meet: by the products of all pairs, or side by side."""

    DOT = "Dot"
    CAT = "Cat"


class DlrmParameters(ParametersModel):
    """Parameters of `dlrm`. bottom, top: hidden layers before and behind the interaction; `bottom` needs numbers."""

    embedding_dim: int = Field(16, ge=1, le=4096)
    bottom: Widths = (64, 32)
    top: Widths = (64, 32)
    interaction: Interaction = Interaction.DOT
    interact_itself: bool = Field(default=False, description="With Dot: each vector's product with itself, too.")


@register(RegistryKind.MODEL, "dlrm", DlrmParameters)
class Dlrm(RecommenderModel):
    """Score by a tower over the interactions of the ids' embeddings and what another tower makes of the numbers."""

    def __init__(self, parameters: DlrmParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        self.ids = tuple(schema.ids)
        self.numbers = schema.numbers
        dim = parameters.embedding_dim
        self.embeddings = nn.ModuleDict({name: _table(n, dim, generator) for name, n in schema.ids.items()})
        if self.numbers:
            self.bottom = Tower(len(self.numbers), (*parameters.bottom, dim), generator)
        vectors = len(self.ids) + bool(self.numbers)
        if parameters.interaction is Interaction.DOT:
            pairs = torch.tril_indices(vectors, vectors, 0 if parameters.interact_itself else -1)
            self.register_buffer("pairs", pairs, persistent=False)  # [2, number of pairs]
            width = pairs.shape[1] + (dim if self.numbers else 0)
        else:
            self.pairs = None
            width = vectors * dim
        self.top = Tower(width, parameters.top, generator)
        self.output = linear(parameters.top[-1], 1, generator)

    def tables(self) -> dict[str, str]:
        """Return the table of each column of ids."""
        return {f"embeddings.{name}.weight": name for name in self.ids}

    def logits(self, batch: Batch) -> Tensor:
        """Score examples: each column [B] -> [B]."""
        return self.output(self.top(self.interactions(batch))).squeeze(1)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def interactions(self, batch: Batch) -> Tensor:
        """Return what the top tower reads: [B, pairs + D] or [B, F · D]."""
        vectors = [self.embeddings[name](batch[name]) for name in self.ids]  # I of [B, D]
        dense = []
        if self.numbers:
            dense = [self.bottom(torch.stack([batch[name] for name in self.numbers], 1))]  # [B, D]
        stacked = torch.stack([*dense, *vectors], 1)  # [B, F, D]
        if self.pairs is None:
            return stacked.flatten(1)
        products = stacked @ stacked.transpose(1, 2)  # [B, F, F]
        return torch.cat([*dense, products[:, self.pairs[0], self.pairs[1]]], 1)


def _table(rows: int, width: int, generator: torch.Generator) -> nn.Embedding:
    """Make a table of uniform values in ±1/√rows, as the authors' code has it."""
    table = nn.Embedding(rows, width, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(rows)
    nn.init.uniform_(table.weight, -bound, bound, generator=generator)
    return table
