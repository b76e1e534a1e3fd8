"""Clients whose tables have keys Any, and the same ones with keys Range: what is equal of both is compared by id."""

from __future__ import annotations

from typing import Any

import numpy as np
from unit.runtime.training.tiny import NUM_ITEMS, NUM_USERS, TinyData, plan

from fljob_api.tables import TableSpec
from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, pairs
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.parameters import Kind, ModelLayout, ModelState, RowSet
from fljob_runtime.roles.trainer_setup import with_tables
from fljob_runtime.schema import Schema
from fljob_runtime.training.local import LocalTrainer

ANY = [TableSpec.from_dict({"name": name, "keys": "Any"}) for name in ("user_embedding", "item_embedding")]
# Ids of user 0, 1, … and of item 0, 1, …: neither ascending nor small, and both ends of 64 bits among them.
USER_IDS = np.array([5, 2**63 - 1, -7, 40, 41, 42])
ITEM_IDS = np.array([3, -(2**63), 10**18, 1, 0, -5, 2**62, 77])
IDS = {"user": USER_IDS, "item": ITEM_IDS}


class HashedData(TinyData):
    """The same pairs with other ids."""

    schema = Schema({"user": NUM_USERS, "item": NUM_ITEMS}, any_ids=frozenset(("user", "item")))

    def epoch(self, rng: np.random.Generator) -> Examples:
        return hashed(super().epoch(rng))

    def held_out(self) -> HeldOut:
        held_out = super().held_out()
        return HeldOut(hashed(held_out.examples), held_out.groups)


def hashed(examples: Examples) -> Examples:
    return pairs(USER_IDS[examples.columns["user"]], ITEM_IDS[examples.columns["item"]], examples.labels)


def model_for(size: int) -> RecommenderModel:
    """Return a model of 1 id, as those of keyed columns are, or of whole blocks of rows, as keyed tables have."""
    registry.load()
    schema = Schema({"user": size, "item": size})
    return make_model("ncf", {"mode": "NeuMF", "layers": "8,4", "factors": 2}, schema, 0)


def keyed_model() -> RecommenderModel:
    return model_for(1)


def keyed_layout(model: RecommenderModel) -> ModelLayout:
    return with_tables(model.layout(), ANY, model)


def pair(data: type[TinyData] = TinyData, keyed_data: type[TinyData] = HashedData, **changes: Any) -> Any:
    """Return two clients with the same pairs and values: keys Range, keys Any."""
    plain = model_for(64)
    range_keys = LocalTrainer(plain, plain.layout(), data(), plan(**changes))
    model = keyed_model()
    any_keys = LocalTrainer(model, keyed_layout(model), keyed_data(), plan(**changes))
    dense = any_keys.initial_state().dense
    rows = {}
    for spec in any_keys.layout.specs:
        if spec.kind is Kind.KEYED:
            ids = IDS[model.tables()[spec.name]]
            rows[spec.name] = RowSet(np.arange(len(ids)), initial_rows(spec, 0, ids))
    assert {len(part) for part in rows.values()} == {NUM_USERS, NUM_ITEMS}
    range_keys.load(ModelState(dense, rows))
    return range_keys, any_keys


def by_id(local: LocalTrainer, state: ModelState) -> ModelState:
    """Return a state of keys Range with the ids of keys Any."""
    rows = {}
    for name, part in state.rows.items():
        ids = IDS[local.model.tables()[name]][part.ids]
        order = np.argsort(ids)
        rows[name] = RowSet(ids[order], part.values[order], part.weights[order] if len(part.weights) else part.weights)
    return ModelState(state.dense, rows)


def assert_same(one: ModelState, other: ModelState) -> None:
    """Fail unless both have the same parameters and rows, bit for bit."""
    assert one.dense.keys() == other.dense.keys()
    for name, value in one.dense.items():
        assert np.array_equal(value, other.dense[name]), name
    assert one.rows.keys() == other.rows.keys()
    for name, part in one.rows.items():
        assert part.ids.tolist() == other.rows[name].ids.tolist(), name
        assert np.array_equal(part.values, other.rows[name].values), name
        assert part.weights.tolist() == other.rows[name].weights.tolist(), name
