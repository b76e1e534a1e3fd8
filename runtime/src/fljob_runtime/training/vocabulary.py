"""Which row of a module's embedding stands for which id, where a table's ids are any numbers (`keys: Any`).

Used by training alone. Models see places 0 to n - 1 of tables that grow; everything that leaves `training` has ids.
A place says when an id first came, so it differs from trainer to trainer and from start to start: nothing may depend
on it, and a row's first value follows from the seed and its id.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fljob_runtime.data.examples import Examples
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.models.base import RecommenderModel
from fljob_runtime.parameters import (
    BESIDE,
    Float32Array,
    Float64Array,
    Int64Array,
    Kind,
    LayoutError,
    ModelLayout,
    ParamSpec,
    RowSet,
    Scope,
)
from fljob_runtime.schema import PADDING

# Arrays of whole blocks fill the processor's vectors. What is left of others goes through other instructions in torch's
# fused optimizers, which round otherwise in the last bit, so that a row's place would show.
_BLOCK_ROWS = 64
_NO_WEIGHTS: Float64Array = np.empty(0, np.float64)


class Vocabulary:
    """The ids of one column, each at a place of its own; places are given as ids come, and stay."""

    def __init__(self) -> None:
        self._sorted: Int64Array = np.empty(0, np.int64)
        self._places: Int64Array = np.empty(0, np.int64)  # of the sorted ids
        self._ids: Int64Array = np.empty(0, np.int64)  # by place

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Int64Array:
        """Return all ids, by place."""
        return self._ids

    def take(self, ids: Int64Array) -> Int64Array:
        """Return the places of ids [...], each where its id is; those that have none get the next ones, ascending."""
        at, known = self._find(ids)
        if not known.all():
            fresh = np.unique(ids[~known])
            before = np.searchsorted(self._sorted, fresh)
            self._sorted = np.insert(self._sorted, before, fresh)
            self._places = np.insert(self._places, before, np.arange(len(self._ids), len(self._ids) + len(fresh)))
            self._ids = np.concatenate([self._ids, fresh])
            at, _ = self._find(ids)
        return self._places[at]

    def _find(self, ids: Int64Array) -> tuple[Int64Array, np.ndarray]:
        if not len(self._sorted):
            return np.zeros(ids.shape, np.int64), np.zeros(ids.shape, np.bool_)
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return at, self._sorted[at] == ids


class KeyedTables:
    """The keyed tables of one model, and the vocabularies of their columns; without any, ids are places.

    Takes charge of the embeddings' weights: they become empty, and grow as ids come. An optimizer that was made
    before must be told by `stretch`.
    """

    def __init__(self, model: RecommenderModel, layout: ModelLayout, seed: int) -> None:
        """Raises LayoutError for a keyed table that is no plain embedding or has something kept beside it."""
        self._seed, self._derived = seed, model.derived
        self._column_of = model.tables()
        self._specs = tuple(spec for spec in layout.specs if spec.kind is Kind.KEYED)
        self._weights = {spec.name: _weight(model, spec) for spec in self._specs}
        self._modules = {name: model.get_submodule(name.rpartition(".")[0]) for name in self._weights}
        self._vocabularies = {self._column_of[spec.name]: Vocabulary() for spec in self._specs}
        self._rows = {spec.name: spec.shape[0] for spec in layout.specs if spec.kind is Kind.ROWS}
        for weight in self._weights.values():
            weight.data = weight.data[:0]

    def mapped(self, examples: Examples) -> Examples:
        """Return the examples with the model's own columns and places for ids, making room for ids that are new."""
        examples = Examples({**examples.columns, **self._derived(examples.columns)}, examples.labels)
        places = {column: self._mapped(column, examples) for column in self._vocabularies}
        return Examples({**examples.columns, **places}, examples.labels)

    def places(self, table: str, ids: Int64Array) -> Int64Array:
        """Return the places of a table's ids, in their order, making room for those that are new."""
        return self._take(self._column_of[table], ids) if table in self._weights else ids

    def ids(self, table: str, places: Int64Array) -> Int64Array:
        """Return the ids at places of a table, ascending."""
        if table not in self._weights:
            return places
        return np.sort(self._vocabularies[self._column_of[table]].ids[places])

    def held(self, table: str) -> Int64Array:
        """Return all places of a table that have rows."""
        keyed = table in self._weights
        count = len(self._vocabularies[self._column_of[table]]) if keyed else self._rows[table]
        return np.arange(count, dtype=np.int64)

    def row_set(
        self, table: str, places: Int64Array, values: Float32Array, weights: Float64Array = _NO_WEIGHTS
    ) -> RowSet:
        """Return rows by their ids, ascending, from rows by their places, ascending. values: [n, D]."""
        if table not in self._weights:
            return RowSet(places, values, weights)
        ids = self._vocabularies[self._column_of[table]].ids[places]
        order = np.argsort(ids)
        return RowSet(ids[order], values[order], weights[order] if len(weights) else weights)

    def begin_again(self, scope: Scope) -> None:
        """Give all rows of this scope the values that they begin with."""
        for spec in self._specs:
            if spec.scope is scope:
                self._fill(spec, self._vocabularies[self._column_of[spec.name]].ids, 0)

    def _mapped(self, column: str, examples: Examples) -> Int64Array:
        ids: Int64Array = examples.columns[column]
        if ids.ndim == 1:
            return self._take(column, ids)
        places = np.full(ids.shape, PADDING, np.int64)
        places[ids != PADDING] = self._take(column, examples.ids(column))
        return places

    def _take(self, column: str, ids: Int64Array) -> Int64Array:
        vocabulary = self._vocabularies[column]
        before = len(vocabulary)
        places = vocabulary.take(ids)
        if len(vocabulary) > before:
            for spec in self._specs:
                if self._column_of[spec.name] == column:
                    self._make_room(spec.name, len(vocabulary))
                    self._fill(spec, vocabulary.ids[before:], before)
        return places

    def _fill(self, spec: ParamSpec, ids: Int64Array, first: int) -> None:
        values = torch.from_numpy(initial_rows(spec, self._seed, ids))
        self._weights[spec.name].data[first : first + len(ids)] = values

    def _make_room(self, table: str, rows: int) -> None:
        """Let a table have this many rows at least. Later on a quarter more each time: optimizers step all of them."""
        weight = self._weights[table]
        had, width = weight.shape
        if rows <= had:
            return
        wider = torch.zeros(whole_blocks(max(rows, had + had // 4)), width)
        wider[:had] = weight.data
        weight.data, weight.grad = wider, None
        self._modules[table].num_embeddings = len(wider)  # type: ignore[assignment]  # not a module, whatever nn says


def _weight(model: RecommenderModel, spec: ParamSpec) -> nn.Parameter:
    """Return the weight of the embedding that a keyed table is."""
    if BESIDE in spec.name:
        raise LayoutError(f"{spec.name}: nothing can be kept beside the rows of a table with keys: Any")
    module = model.get_submodule(spec.name.rpartition(".")[0])
    if not isinstance(module, nn.Embedding) or spec.name.rpartition(".")[2] != "weight":
        raise LayoutError(f"spec.tables: {spec.name} is no weight of a torch.nn.Embedding; leave its keys at Range")
    if module.padding_idx is not None:
        raise LayoutError(f"spec.tables: {spec.name} has a padding_idx, which keys: Any gives no row to")
    return model.get_parameter(spec.name)


def whole_blocks(rows: int) -> int:
    """Return how many rows a table has that has room for these, in whole blocks."""
    return -(-rows // _BLOCK_ROWS) * _BLOCK_ROWS


def stretch(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer's state the rows that parameters got since, as fresh state has them."""
    for group in optimizer.param_groups:
        fill = group.get("initial_accumulator_value", 0.0)  # Adagrad's; all else begins at 0
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for name, value in list(state.items()):
                if value.dim() == parameter.dim() and len(value) < len(parameter):
                    wider = torch.full_like(parameter.data, fill)
                    wider[: len(value)] = value
                    state[name] = wider
