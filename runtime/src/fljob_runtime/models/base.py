"""What every model offers to training: a torch module whose tables are known by name.

A model is an `nn.Module` of one kind of example (user, item, label). It names its tables; everything else in its
state is dense. Made by `make_model`; used by `training` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fljob_runtime.parameters import BESIDE, Kind, LayoutError, ModelLayout, ParamSpec
from fljob_runtime.registry import RegistryKind, find, parse_parameters


@runtime_checkable
class DatasetShape(Protocol):
    """What a model must know of the data before it can be made."""

    num_users: int
    num_items: int


class RecommenderModel(nn.Module, ABC):
    """Base of models over (user, item) pairs.

    TABLES: parameter name -> "user" or "item", the column whose ids address its rows.
    """

    TABLES: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Score pairs: users [B], items [B] int64 -> logits [B] float32."""

    def tables(self) -> dict[str, str]:
        """Return the tables that this instance has: parameter name -> id column."""
        names = {name for name, _ in self.named_parameters()}
        return {name: column for name, column in self.TABLES.items() if name in names}

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


def make_model(name: str, parameters: Mapping[str, Any], shape: DatasetShape, seed: int) -> RecommenderModel:
    """Make a registered model with initial values that are a function of the seed alone.

    Raises RegistryError for an unknown name or parameter. Source of the rule: design, "Determinism".
    """
    cls, schema = find(RegistryKind.MODEL, name)
    values = parse_parameters("spec.model.parameters", schema, parameters)
    generator = torch.Generator().manual_seed(seed)
    model = cls(values, shape, generator)
    if not isinstance(model, RecommenderModel):
        raise TypeError(f"model {name!r}: {cls.__name__} must derive from RecommenderModel")
    return model
