"""Neural collaborative filtering (He et al., WWW 2017, https://arxiv.org/abs/1708.05031): GMF, MLP and NeuMF.

B batch, U users, I items, F width of GMF embeddings, H half the first layer of the tower.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import DropoutRate, Widths, dropped, embedding, linear
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema

EMBEDDING_STD = 0.01


class Mode(StrEnum):
    """The three forms of the paper."""

    GMF = "GMF"
    MLP = "MLP"
    NEU_MF = "NeuMF"


class NcfParameters(ParametersModel):
    """Parameters of `ncf`. layers: widths of the tower, from the concatenated embeddings to the last hidden layer."""

    mode: Mode = Mode.NEU_MF
    layers: Widths = (64, 32, 16, 8)
    factors: int = Field(8, ge=1, le=4096, description="Width of the GMF embeddings.")
    dropout: DropoutRate = Field(0.0, description="Share of the tower's values that a training batch leaves out.")

    @model_validator(mode="after")
    def _fits(self) -> NcfParameters:
        if self.layers[0] % 2:
            raise ValueError(
                f"layers must begin with an even width (two embeddings side by side), not {self.layers[0]}"
            )
        if self.dropout and self.mode is Mode.GMF:
            raise ValueError("dropout is that of the tower, which GMF has not; remove it or choose another mode")
        return self


@register(RegistryKind.MODEL, "ncf", NcfParameters)
class Ncf(RecommenderModel):
    """Score a (user, item) pair by a product of embeddings (GMF), a tower over them (MLP), or both (NeuMF)."""

    by_row = True
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
        self.user_embedding = _tables(users, widths, generator)  # [U, F|H]
        self.item_embedding = _tables(items, widths, generator)  # [I, F|H]
        self.dropout = parameters.dropout
        last = 0
        if "mlp" in widths:
            pairs = zip(parameters.layers[:-1], parameters.layers[1:], strict=True)
            self.tower = nn.ModuleList(linear(a, b, generator) for a, b in pairs)
            last = parameters.layers[-1]
        self.output = linear(widths.get("gmf", 0) + last, 1, generator)

    def logits(self, batch: Batch) -> Tensor:
        """Score pairs: user [B], item [B] -> [B]."""
        users, items = batch["user"], batch["item"]
        parts = []
        if "gmf" in self.user_embedding:
            parts.append(self.user_embedding["gmf"](users) * self.item_embedding["gmf"](items))  # [B, F]
        if "mlp" in self.user_embedding:
            hidden = torch.cat([self.user_embedding["mlp"](users), self.item_embedding["mlp"](items)], 1)  # [B, 2H]
            for layer in self.tower:
                hidden = dropped(torch.relu(layer(hidden)), self.dropout, training=self.training)
            parts.append(hidden)  # [B, last layer]
        features = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return self.output(features).squeeze(1)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def _tables(rows: int, widths: dict[str, int], generator: torch.Generator) -> nn.ModuleDict:
    return nn.ModuleDict({form: embedding(rows, width, generator, EMBEDDING_STD) for form, width in widths.items()})
