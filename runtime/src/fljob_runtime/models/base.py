"""What every model offers to training: a torch module whose tables are known by name.

A model is an `nn.Module` that reads named columns of examples. It names its tables; everything else in its state is
dense. Made by `make_model`; used by `training` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fljob_runtime.parameters import BESIDE, Kind, LayoutError, ModelLayout, ParamSpec
from fljob_runtime.registry import RegistryKind, find, parse_parameters
from fljob_runtime.schema import Schema

INITIAL_STD = 0.01  # of tables that do not tell
Batch = Mapping[str, Tensor]  # column -> values of B examples [B, ...]


class RecommenderModel(nn.Module, ABC):
    """Base of all models. TABLES: parameter name -> the column whose ids address its rows."""

    TABLES: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def logits(self, batch: Batch) -> Tensor:
        """Score examples: columns [B, ...] -> logits [B] float32."""

    def tables(self) -> dict[str, str]:
        """Return the tables that this instance has: parameter name -> id column."""
        names = {name for name, _ in self.named_parameters()}
        return {name: column for name, column in self.TABLES.items() if name in names}

    def initial_std(self, table: str) -> float:
        """Return the standard deviation, around 0, of the values that a row of a table with keys Any begins with."""
        return float(getattr(self.get_submodule(table.rpartition(".")[0]), "initial_std", INITIAL_STD))

    def layout(self) -> ModelLayout:
        """Return names, shapes and kinds of all parameters, in module order; all of them shared. Raises LayoutError."""
        tables = self.tables()
        if taken := [name for name, _ in self.named_parameters() if BESIDE in name]:
            raise LayoutError(f"parameters {taken}: a name may not have {BESIDE!r} in it; rename them in the model")
        return ModelLayout(
            tuple(
                ParamSpec(name, tuple(value.shape), Kind.ROWS if name in tables else Kind.DENSE)
                for name, value in self.named_parameters()
            )
        )


def make_model(name: str, parameters: Mapping[str, Any], schema: Schema, seed: int) -> RecommenderModel:
    """Make a registered model with initial values that are a function of the seed alone.

    Raises RegistryError for an unknown name or parameter, SchemaError for data that the model cannot read. Source of
    the rule: design, "Determinism".
    """
    cls, accepted = find(RegistryKind.MODEL, name)
    values = parse_parameters("spec.model.parameters", accepted, parameters)
    generator = torch.Generator().manual_seed(seed)
    model = cls(values, schema, generator)
    if not isinstance(model, RecommenderModel):
        raise TypeError(f"model {name!r}: {cls.__name__} must derive from RecommenderModel")
    return model
