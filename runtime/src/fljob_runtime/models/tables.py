"""The embeddings of one column of ids: a plain table, or less memory for many ids. Used by DLRM.

B batch, T ids of the longest sequence, R ids in a column, D width of its embeddings, k collisions. Which parameter is
addressed by which column of ids is told by each table; a column that the data does not have is derived from one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fljob_runtime.models.base import Batch
from fljob_runtime.schema import PADDING

Ids = NDArray[np.int64]
A = TypeVar("A", Ids, Tensor)


class Operation(StrEnum):
    """How a quotient's and a remainder's vector make one."""

    MULT = "Mult"
    ADD = "Add"
    CONCAT = "Concat"


class ColumnTable(nn.Module, ABC):
    """The embeddings of one column, of single ids [B] or of padded sequences [B, T]."""

    @abstractmethod
    def addressed(self, column: str) -> dict[str, str]:
        """Return the parameters that are tables -> the column whose ids address their rows."""

    def derived(self, column: str, ids: A) -> dict[str, A]:  # noqa: ARG002 - most need none
        """Return the columns that `addressed` names beside the data's own. ids: [N] or [N, T], padded.

        Arrays in training, tensors in a graph for serving: operators that both have.
        """
        return {}

    @abstractmethod
    def rows(self, batch: Batch, column: str) -> Tensor:
        """Return a vector for each id, anything for padding: [B] -> [B, D], [B, T] -> [B, T, D]."""


class PlainTable(nn.Embedding, ColumnTable):
    """A row for each id."""

    def addressed(self, column: str) -> dict[str, str]:
        """Return the table."""
        return {"weight": column}

    def rows(self, batch: Batch, column: str) -> Tensor:
        """Return each id's row."""
        return self(places(batch[column]))  # type: ignore[no-any-return]  # nn.Module calls are untyped


class QuotientRemainder(ColumnTable):
    """A row for each quotient id // k and one for each remainder id % k: R / k + k rows, and still a vector per id.

    Source: Shi et al. 2019, https://arxiv.org/abs/1909.02107. With Concat each has half of the width.
    """

    def __init__(self, rows: int, dim: int, collisions: int, operation: Operation, generator: torch.Generator) -> None:
        super().__init__()
        self.collisions, self.operation = collisions, operation
        bound, width = 1.0 / math.sqrt(rows), dim // 2 if operation is Operation.CONCAT else dim
        self.quotient = uniform_table(-(-rows // collisions), width, bound, generator)  # [R / k, D]
        self.remainder = uniform_table(min(rows, collisions), width, bound, generator)  # [k, D]
        if operation is Operation.MULT:
            with torch.no_grad():
                self.remainder.weight += 1.0  # so that products are not too small to learn from

    def addressed(self, column: str) -> dict[str, str]:
        """Return both tables."""
        return {"quotient.weight": self._quotients(column), "remainder.weight": self._remainders(column)}

    def derived(self, column: str, ids: A) -> dict[str, A]:
        """Return quotients and remainders of ids."""
        remainders = (ids % self.collisions - PADDING) * (ids != PADDING) + PADDING  # what is padding stays
        return {self._quotients(column): ids // self.collisions, self._remainders(column): remainders}  # -1 // k is -1

    def rows(self, batch: Batch, column: str) -> Tensor:
        """Return what the operation makes of each id's two rows."""
        quotient: Tensor = self.quotient(places(batch[self._quotients(column)]))
        remainder: Tensor = self.remainder(places(batch[self._remainders(column)]))
        if self.operation is Operation.CONCAT:
            return torch.cat([quotient, remainder], -1)
        return quotient * remainder if self.operation is Operation.MULT else quotient + remainder

    def _quotients(self, column: str) -> str:
        return f"{column}//{self.collisions}"

    def _remainders(self, column: str) -> str:
        return f"{column}%{self.collisions}"


class Projected(ColumnTable):
    """A narrow row for each id, brought to the common width by a matrix that all of them share."""

    def __init__(self, rows: int, width: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.table = uniform_table(rows, width, 1.0 / math.sqrt(rows), generator)
        self.projection = nn.Linear(width, dim, bias=False, device="meta").to_empty(device="cpu")
        nn.init.xavier_uniform_(self.projection.weight, generator=generator)

    def addressed(self, column: str) -> dict[str, str]:
        """Return the narrow table; the matrix is dense."""
        return {"table.weight": column}

    def rows(self, batch: Batch, column: str) -> Tensor:
        """Return each id's projected row."""
        return self.projection(self.table(places(batch[column])))  # type: ignore[no-any-return]  # as above


def mixed_width(rows: int, fewest: int, dim: int, temperature: float, *, powers_of_two: bool) -> int:
    """Return the width of a table with so many rows: D (fewest / rows)^temperature, at least 1.

    fewest: rows of the smallest table, which has width D. Source: Ginart et al. 2019, https://arxiv.org/abs/1909.11810,
    algorithm 2 with the popularity of a row taken as 1 / rows, as the authors' code for DLRM has it.
    """
    width = max(1.0, dim * (fewest / rows) ** temperature)
    rounded = int(2 ** round(math.log2(width))) if powers_of_two else round(width)
    return min(dim, rounded)


def plain_table(rows: int, dim: int, generator: torch.Generator) -> PlainTable:
    """Make a table of uniform values in ±1/√rows, as DLRM's authors' code has it."""
    table = PlainTable(rows, dim, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(rows)
    nn.init.uniform_(table.weight, -bound, bound, generator=generator)
    return table


def uniform_table(rows: int, dim: int, bound: float, generator: torch.Generator) -> nn.Embedding:
    """Make a table of uniform values in ±bound."""
    table = nn.Embedding(rows, dim, device="meta").to_empty(device="cpu")
    nn.init.uniform_(table.weight, -bound, bound, generator=generator)
    return table


def places(ids: Tensor) -> Tensor:
    """Return ids that a table can be asked for: of sequences, 0 in place of padding."""
    return ids.clamp(min=0) if ids.dim() > 1 else ids


def derived_columns(tables: Mapping[str, ColumnTable], columns: Mapping[str, NDArray[Any]]) -> dict[str, Ids]:
    """Return what all tables derive from the columns that they are of."""
    found: dict[str, Ids] = {}
    for name, table in tables.items():
        found |= table.derived(name, columns[name])
    return found
