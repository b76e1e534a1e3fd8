"""Layers whose initial values come from a generator, dropout, and how a manifest writes widths and rates.

Used by the other models. What dropout leaves out is drawn by torch's own generator, which training sets before each
mini-batch (`LocalTrainer.backward`), so that a batch that is trained again leaves out the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn import functional

from fljob_runtime.schema import SchemaError


def _split(value: object) -> object:
    return tuple(part.strip() for part in str(value).split(",")) if isinstance(value, (str, int)) else value


Widths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65_536)], ...],
    BeforeValidator(_split),
    Field(min_length=1, max_length=16, json_schema_extra={"type": ["string", "integer"]}),
]

DropoutRate = Annotated[float, Field(ge=0.0, lt=1.0)]


class Embedding(nn.Embedding):
    """A table that tells the standard deviation of its initial values, which rows that come later have too."""

    initial_std = 0.0


def embedding(rows: int, width: int, generator: torch.Generator, std: float) -> Embedding:
    """Make a table [rows, width] of normal values; std 0 makes it of zeros."""
    table = Embedding(rows, width, device="meta").to_empty(device="cpu")
    table.initial_std = std
    nn.init.normal_(table.weight, 0.0, std, generator=generator)
    return table


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Make a layer with truncated normal weights of deviation 1/√inputs, and no bias at first."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.trunc_normal_(layer.weight, 0.0, 1.0 / math.sqrt(inputs), generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def by_column(modules: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Return the modules of columns under the columns' names, which are then parts of parameters' names.

    Raises SchemaError for a name that no part of a torch module can have.
    """
    for name in modules:
        if not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise SchemaError(
                f"column {name!r} cannot name a table, as torch keeps this name to itself or it has a dot in it; "
                "rename the column in the data"
            )
    return nn.ModuleDict(modules)


class Tower(nn.Module):
    """Layers of the given widths, a ReLU and dropout behind each: [B, inputs] -> [B, last width]."""

    def __init__(
        self, inputs: int, widths: tuple[int, ...], generator: torch.Generator, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        pairs = zip((inputs, *widths[:-1]), widths, strict=True)
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in pairs)

    def forward(self, hidden: Tensor) -> Tensor:
        """Pass [B, inputs] through all layers."""
        for layer in self.layers:
            hidden = dropped(torch.relu(layer(hidden)), self.dropout, training=self.training)
        return hidden


def dropped(values: Tensor, rate: float, *, training: bool) -> Tensor:
    """Return the values without a share `rate` of them, the others greater by 1 / (1 - rate); all as they are outside
    training (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html).
    """
    return functional.dropout(values, rate) if training and rate else values
