"""Factorization machines: FM (Rendle, ICDM 2010) and DeepFM (Guo et al., IJCAI 2017, https://arxiv.org/abs/1703.04247).

Each column of ids of the dataset is a field, and so is each column of single numbers: its embedding times the number.
B batch, I columns of ids, N of numbers, F fields in all, K factors.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import DropoutRate, Tower, Widths, by_column, embedding, linear
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema, SchemaError

_STD = 0.01


class FmParameters(ParametersModel):
    """Parameters of `fm`."""

    factors: int = Field(16, ge=1, le=4096, description="Width of the embeddings whose products are the interactions.")


class DeepFmParameters(FmParameters):
    """Parameters of `deepfm`. layers: widths of the hidden layers over all embeddings side by side."""

    layers: Widths = (64, 32)
    dropout: DropoutRate = Field(0.0, description="Share of the hidden values that a training batch leaves out.")


@register(RegistryKind.MODEL, "fm", FmParameters)
class Fm(RecommenderModel):
    """Score by a bias, a weight for each id and number, and the products of all pairs of the fields' embeddings."""

    by_row = True

    def __init__(self, parameters: FmParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        if not schema.ids:
            raise SchemaError("models 'fm' and 'deepfm' read columns of ids; the dataset has none")
        self.ids = tuple(schema.ids)
        self.numbers = schema.numbers
        self.bias = nn.Parameter(torch.zeros(1))
        self.weights = by_column({name: embedding(n, 1, generator, 0.0) for name, n in schema.ids.items()})
        self.factors = by_column(
            {name: embedding(n, parameters.factors, generator, _STD) for name, n in schema.ids.items()}
        )
        if self.numbers:
            self.number_weights = nn.Parameter(torch.zeros(len(self.numbers)))  # [N]
            factors = torch.randn(len(self.numbers), parameters.factors, generator=generator)
            self.number_factors = nn.Parameter(_STD * factors)  # [N, K]

    def tables(self) -> dict[str, str]:
        """Return both tables of each column of ids."""
        return {f"{part}.{name}.weight": name for part in ("weights", "factors") for name in self.ids}

    def logits(self, batch: Batch) -> Tensor:
        """Score examples: each column [B] -> [B]."""
        return self.linear_part(batch) + pairwise(self.embeddings(batch))

    def linear_part(self, batch: Batch) -> Tensor:
        """Return bias and weights: [B]."""
        total: Tensor = self.bias + torch.stack([self.weights[name](batch[name]).squeeze(1) for name in self.ids]).sum(
            0
        )
        return total + self._values(batch) @ self.number_weights if self.numbers else total

    def embeddings(self, batch: Batch) -> Tensor:
        """Return the embeddings of all fields: [B, F, K]."""
        embeddings = torch.stack([self.factors[name](batch[name]) for name in self.ids], 1)
        if not self.numbers:
            return embeddings
        return torch.cat([embeddings, self._values(batch)[:, :, None] * self.number_factors], 1)

    @property
    def num_fields(self) -> int:
        """Return how many fields there are."""
        return len(self.ids) + len(self.numbers)

    def _values(self, batch: Batch) -> Tensor:
        return torch.stack([batch[name] for name in self.numbers], 1)  # [B, N]


@register(RegistryKind.MODEL, "deepfm", DeepFmParameters)
class DeepFm(Fm):
    """FM, and a tower over the same embeddings, added up."""

    def __init__(self, parameters: DeepFmParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(parameters, schema, generator)
        inputs = self.num_fields * parameters.factors
        self.tower = Tower(inputs, parameters.layers, generator, dropout=parameters.dropout)
        self.output = linear(parameters.layers[-1], 1, generator)

    def logits(self, batch: Batch) -> Tensor:
        """Score examples: each column [B] -> [B]."""
        embeddings = self.embeddings(batch)
        deep: Tensor = self.output(self.tower(embeddings.flatten(1))).squeeze(1)
        return self.linear_part(batch) + pairwise(embeddings) + deep


def pairwise(embeddings: Tensor) -> Tensor:
    """Return the sum over all pairs of fields of the product of their embeddings: [B, F, K] -> [B].

    Half of (square of the sum - sum of the squares), so in time F and not F² (Rendle, lemma 3.1).
    """
    return 0.5 * (embeddings.sum(1).square() - embeddings.square().sum(1)).sum(1)
