"""Which row of a table stands for which id, as a part of a served graph: for tables that go by any 64-bit ids.

Training gives ids places as they come (`training.vocabulary`); here all are known and in order. Used by `graph` and
`exported`. n ids that have rows, in each table of a column the same ones; row n, of zeros, is that of all others.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fljob_runtime.initial_values import initial_rows
from fljob_runtime.models.base import RecommenderModel
from fljob_runtime.parameters import Float32Array, Int64Array, Kind, ModelLayout, ModelState, ParamSpec, RowSet
from fljob_runtime.schema import PADDING

UNKNOWN = "zeros"  # what the signature says of the row of an id that has none: the mean of what rows begin with


class RowMap(nn.Module):
    """Ids -> rows, by a binary search of operations that every format has: Gather, compare, Where."""

    def __init__(self, ids: Int64Array) -> None:
        """Take ids [n], ascending."""
        super().__init__()
        self.register_buffer("ids", torch.from_numpy(np.ascontiguousarray(ids)))

    def forward(self, wanted: Tensor) -> Tensor:
        """Return the row of each id, n for one that has none; of sequences [B, T] padding stays padding."""
        ids, count = self.get_buffer("ids"), len(self.get_buffer("ids"))
        if count == 0:
            rows = torch.zeros_like(wanted)
        else:
            at = torch.zeros_like(wanted)  # the last id that is not above the wanted one, or the first
            for bit in reversed(range((count - 1).bit_length())):
                further = at + (1 << bit)
                there = (further < count) & (ids[further.clamp(max=count - 1)] <= wanted)
                at = torch.where(there, further, at)
            rows = torch.where(ids[at] == wanted, at, count)
        return torch.where(wanted == PADDING, PADDING, rows) if wanted.dim() > 1 else rows


def with_rows(
    model: RecommenderModel, layout: ModelLayout, state: ModelState, seed: int
) -> tuple[RecommenderModel, dict[str, Int64Array]]:
    """Return the model with whole tables in place of keyed ones, and column -> the ids that have rows [n].

    The model is copied if it has keyed tables. An id that has a row in one table of a column begins in its others, if
    they have none, with the values that training begins with.
    """
    keyed = [spec for spec in layout.specs if spec.kind is Kind.KEYED]
    if not keyed:
        return model, {}
    columns, ids = model.tables(), dict[str, Int64Array]()
    for spec in keyed:
        column = columns[spec.name]
        ids[column] = np.union1d(ids.get(column, np.empty(0, np.int64)), state.rows[spec.name].ids)
    made = copy.deepcopy(model)
    for spec in keyed:
        table = made.get_submodule(spec.name.rpartition(".")[0])
        values = _values(spec, seed, ids[columns[spec.name]], state.rows[spec.name])
        table.weight = nn.Parameter(torch.from_numpy(values), requires_grad=False)
        table.num_embeddings = len(values)  # type: ignore[assignment]  # not a module, whatever nn says
    return made, ids


def keyed_as(layout: ModelLayout, told: ModelLayout) -> ModelLayout:
    """Return the layout of a model whose tables are keyed where a saved model's are."""
    keyed: Mapping[str, ParamSpec] = {spec.name: spec for spec in told.specs if spec.kind is Kind.KEYED}
    return ModelLayout(tuple(keyed.get(spec.name, spec) for spec in layout.specs))


def _values(spec: ParamSpec, seed: int, ids: Int64Array, rows: RowSet) -> Float32Array:
    """Return a table's rows of ids, ascending, and the row of zeros: [n + 1, D]."""
    values = np.zeros((len(ids) + 1, spec.dim), np.float32)
    if len(rows) < len(ids):
        values[:-1] = initial_rows(spec, seed, ids)
    values[np.searchsorted(ids, rows.ids)] = rows.values
    return values
