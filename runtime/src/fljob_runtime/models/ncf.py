"""Neural collaborative filtering (He et al., WWW 2017, https://arxiv.org/abs/1708.05031): GMF, MLP and NeuMF.

B batch, U users, I items, F width of GMF embeddings, H half the first layer of the tower.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, ClassVar

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema

EMBEDDING_STD = 0.01


class Mode(StrEnum):
    """The three forms of the paper."""

    GMF = "GMF"
    MLP = "MLP"
    NEU_MF = "NeuMF"


def _split(value: object) -> object:
    return tuple(part.strip() for part in str(value).split(",")) if isinstance(value, (str, int)) else value


class NcfParameters(ParametersModel):
    """Parameters of `ncf`. layers: widths of the tower, from the concatenated embeddings to the last hidden layer."""

    mode: Mode = Mode.NEU_MF
    layers: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], BeforeValidator(_split)] = Field(
        (64, 32, 16, 8), min_length=1, max_length=16, json_schema_extra={"type": ["string", "integer"]}
    )
    factors: int = Field(8, ge=1, le=4096, description="Width of the GMF embeddings.")

    @model_validator(mode="after")
    def _even(self) -> NcfParameters:
        if self.layers[0] % 2:
            raise ValueError(
                f"layers must begin with an even width (two embeddings side by side), not {self.layers[0]}"
            )
        return self


@register(RegistryKind.MODEL, "ncf", NcfParameters)
class Ncf(RecommenderModel):
    """Score a (user, item) pair by a product of embeddings (GMF), a tower over them (MLP), or both (NeuMF)."""

    TABLES: ClassVar = {
        "user_embedding.gmf.weight": "user",
        "item_embedding.gmf.weight": "item",
        "user_embedding.mlp.weight": "user",
        "item_embedding.mlp.weight": "item",
    }

    def __init__(self, parameters: NcfParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()
        widths = {}  # form -> width of its embeddings
        if parameters.mode in (Mode.GMF, Mode.NEU_MF):
            widths["gmf"] = parameters.factors
        if parameters.mode in (Mode.MLP, Mode.NEU_MF):
            widths["mlp"] = parameters.layers[0] // 2
        users, items = schema.num_ids("user"), schema.num_ids("item")
        self.user_embedding = nn.ModuleDict({f: _embedding(users, w, generator) for f, w in widths.items()})  # [U, F|H]
        self.item_embedding = nn.ModuleDict({f: _embedding(items, w, generator) for f, w in widths.items()})  # [I, F|H]
        last = 0
        if "mlp" in widths:
            pairs = zip(parameters.layers[:-1], parameters.layers[1:], strict=True)
            self.tower = nn.ModuleList(_linear(a, b, generator) for a, b in pairs)
            last = parameters.layers[-1]
        self.output = _linear(widths.get("gmf", 0) + last, 1, generator)

    def logits(self, batch: Batch) -> Tensor:
        """Score pairs: user [B], item [B] -> [B]."""
        users, items = batch["user"], batch["item"]
        parts = []
        if "gmf" in self.user_embedding:
            parts.append(self.user_embedding["gmf"](users) * self.item_embedding["gmf"](items))  # [B, F]
        if "mlp" in self.user_embedding:
            hidden = torch.cat([self.user_embedding["mlp"](users), self.item_embedding["mlp"](items)], 1)  # [B, 2H]
            for layer in self.tower:
                hidden = torch.relu(layer(hidden))
            parts.append(hidden)  # [B, last layer]
        features = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return self.output(features).squeeze(1)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def _embedding(rows: int, width: int, generator: torch.Generator) -> nn.Embedding:
    table = nn.Embedding(rows, width, device="meta").to_empty(device="cpu")
    nn.init.normal_(table.weight, 0.0, EMBEDDING_STD, generator=generator)
    return table


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.trunc_normal_(layer.weight, 0.0, 1.0 / math.sqrt(inputs), generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
