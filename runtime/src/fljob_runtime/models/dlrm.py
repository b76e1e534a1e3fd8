"""Deep learning recommendation model (Naumov et al. 2019, https://arxiv.org/abs/1906.00091).

B batch, I columns of ids and of bags of ids, N of numbers, T ids of the largest bag, D width of the embeddings,
F = I + 1 vectors that interact (I without numbers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import Tower, Widths, by_column, embedding, linear
from fljob_runtime.models.tables import (
    ColumnTable,
    Ids,
    Operation,
    Projected,
    QuotientRemainder,
    derived_columns,
    mixed_width,
    places,
    plain_table,
)
from fljob_runtime.models.tasks import Clicks
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import PADDING, Schema, SchemaError


class Interaction(StrEnum):
    """How vectors meet: by the products of all pairs, or side by side."""

    DOT = "Dot"
    CAT = "Cat"


class Embeddings(StrEnum):
    """How tables beyond the threshold are kept."""

    PLAIN = "Plain"
    QUOTIENT_REMAINDER = "QuotientRemainder"
    MIXED_DIMENSION = "MixedDimension"


class Pooling(StrEnum):
    """What a bag of ids is: its vectors' sum, mean, or sum by a weight that each id learns, 1 at first."""

    SUM = "Sum"
    MEAN = "Mean"
    LEARNED = "Learned"


class DlrmParameters(ParametersModel):
    """Parameters of `dlrm`. bottom, top: hidden layers before and behind the interaction; `bottom` needs numbers."""

    embedding_dim: int = Field(16, ge=1, le=4096)
    bottom: Widths = (64, 32)
    top: Widths = (64, 32)
    interaction: Interaction = Interaction.DOT
    interact_itself: bool = Field(default=False, description="With Dot: each vector's product with itself, too.")
    embeddings: Embeddings = Field(Embeddings.PLAIN, description="How tables of more rows than `threshold` are kept.")
    threshold: int = Field(200, ge=0, description="Rows up to which a table is plain.")
    collisions: int = Field(4, ge=1, description="QuotientRemainder: ids of one quotient.")
    operation: Operation = Field(Operation.MULT, description="QuotientRemainder: how the two vectors make one.")
    temperature: float = Field(0.3, ge=0, le=1, description="MixedDimension: how fast widths fall with rows; 0: not.")
    powers_of_two: bool = Field(default=False, description="MixedDimension: whether widths are rounded to such.")
    pooling: Pooling = Field(Pooling.SUM, description="Of columns with several ids in each example.")
    positive_weight: float = Field(1.0, gt=0, le=1e6, description="Of the loss of a click, beside 1 of no click.")
    squared_error: bool = Field(default=False, description="Whether the loss is that of the probability, squared.")
    probability_limit: float = Field(0.0, ge=0, lt=0.5, description="p: probabilities stay within [p, 1 - p].")

    @model_validator(mode="after")
    def _even(self) -> DlrmParameters:
        concat = self.embeddings is Embeddings.QUOTIENT_REMAINDER and self.operation is Operation.CONCAT
        if concat and self.embedding_dim % 2:
            raise ValueError(f"operation Concat halves embeddingDim, which must be even, not {self.embedding_dim}")
        return self


@register(RegistryKind.MODEL, "dlrm", DlrmParameters)
class Dlrm(RecommenderModel):
    """Score by a tower over the interactions of the ids' embeddings and what another tower makes of the numbers."""

    by_row = True

    def __init__(self, parameters: DlrmParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        self.task = Clicks(parameters.positive_weight, parameters.squared_error)
        self.limit = math.log(1.0 / parameters.probability_limit - 1.0) if parameters.probability_limit else 0.0
        self.ids = (*schema.ids, *schema.sequences)
        self.numbers = schema.numbers
        self.pool = parameters.pooling
        dim = parameters.embedding_dim
        self.embeddings = by_column(_tables(parameters, schema, generator))
        if parameters.pooling is Pooling.LEARNED:
            beyond_one = {name: embedding(s.num_ids, 1, generator, 0.0) for name, s in schema.sequences.items()}
            self.pooling = by_column(beyond_one)
        if self.numbers:
            self.bottom = Tower(len(self.numbers), (*parameters.bottom, dim), generator)
        vectors = len(self.ids) + bool(self.numbers)
        if parameters.interaction is Interaction.DOT:
            first, second = torch.tril_indices(vectors, vectors, 0 if parameters.interact_itself else -1)
            self.register_buffer("pairs", first * vectors + second, persistent=False)  # [pairs], in [F · F]
            width = len(first) + (dim if self.numbers else 0)
        else:
            self.pairs = None
            width = vectors * dim
        if not width:
            problem = "nothing to interact" if vectors else "neither ids nor numbers"
            raise SchemaError(f"model 'dlrm': the data have {problem}; add columns, or interaction: Cat for one of ids")
        self.top = Tower(width, parameters.top, generator)
        self.output = linear(parameters.top[-1], 1, generator)

    def tables(self) -> dict[str, str]:
        """Return the tables of each column of ids, and the weights of bags."""
        tables: dict[str, str] = {}
        for name in self.ids:
            addressed = self._table(name).addressed(name)
            tables |= {f"embeddings.{name}.{part}": column for part, column in addressed.items()}
            if self._weighs(name):
                tables[f"pooling.{name}.weight"] = name
        return tables

    def derived(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, Ids]:
        """Return quotients and remainders of columns whose tables go by them."""
        return derived_columns({name: self._table(name) for name in self.ids}, columns)

    def logits(self, batch: Batch) -> Tensor:
        """Score examples: each column [B] -> [B]."""
        logits: Tensor = self.output(self.top(self.interactions(batch))).squeeze(1)
        return logits.clamp(-self.limit, self.limit) if self.limit else logits

    def interactions(self, batch: Batch) -> Tensor:
        """Return what the top tower reads: [B, pairs + D] or [B, F · D]."""
        tables = cast(Mapping[str, ColumnTable], self.embeddings)  # looked up once, not for each column
        vectors = [self._vector(name, tables[name].rows(batch, name), batch) for name in self.ids]  # I of [B, D]
        dense = []
        if self.numbers:
            dense = [self.bottom(torch.stack([batch[name] for name in self.numbers], 1))]  # [B, D]
        if self.pairs is None:
            return torch.cat([*dense, *vectors], 1)
        stacked = torch.stack([*dense, *vectors], 1)  # [B, F, D]
        products = (stacked @ stacked.transpose(1, 2)).flatten(1)  # [B, F · F]
        chosen = products.gather(1, self.pairs.expand(products.shape[0], -1))  # quicker backward than an index
        return torch.cat([*dense, chosen], 1)

    def _vector(self, name: str, rows: Tensor, batch: Batch) -> Tensor:
        """Return a column's vectors, those of a bag pooled: [B, D] or [B, T, D] -> [B, D]."""
        if rows.dim() == 2:
            return rows
        weights = (batch[name] != PADDING).to(rows.dtype)  # [B, T]
        if self._weighs(name):
            weights = weights * (1.0 + self.pooling[name](places(batch[name])).squeeze(2))
        pooled = (rows * weights[:, :, None]).sum(1)
        return pooled / weights.sum(1, keepdim=True).clamp(min=1.0) if self.pool is Pooling.MEAN else pooled

    def _table(self, name: str) -> ColumnTable:
        return cast(ColumnTable, self.embeddings[name])

    def _weighs(self, name: str) -> bool:
        return self.pool is Pooling.LEARNED and name in self.pooling


def _tables(parameters: DlrmParameters, schema: Schema, generator: torch.Generator) -> dict[str, ColumnTable]:
    """Make each column's embeddings; raises SchemaError for ids without an end where tables are to be compressed."""
    sizes = {**schema.ids, **{name: sequence.num_ids for name, sequence in schema.sequences.items()}}
    if parameters.embeddings is not Embeddings.PLAIN and (endless := sorted(schema.any_ids & sizes.keys())):
        raise SchemaError(f"model 'dlrm': ids of {endless[0]!r} are any numbers; set its parameter embeddings to Plain")
    fewest = min((rows for rows in sizes.values() if rows > 1), default=1)  # tables with keys Any are made for one id
    return {name: _table(parameters, rows, fewest, generator) for name, rows in sizes.items()}


def _table(parameters: DlrmParameters, rows: int, fewest: int, generator: torch.Generator) -> ColumnTable:
    p, dim = parameters, parameters.embedding_dim
    if rows > p.threshold and p.embeddings is Embeddings.QUOTIENT_REMAINDER:
        return QuotientRemainder(rows, dim, p.collisions, p.operation, generator)
    if rows > p.threshold and p.embeddings is Embeddings.MIXED_DIMENSION:
        width = mixed_width(rows, fewest, dim, p.temperature, powers_of_two=p.powers_of_two)
        if width < dim:
            return Projected(rows, width, dim, generator)
    return plain_table(rows, dim, generator)
