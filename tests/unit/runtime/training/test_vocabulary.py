"""Tables with keys Any: rows by any id, made as ids come, and nothing else differs from keys Range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn
from unit.runtime.training.keyed import (
    ITEM_IDS,
    USER_IDS,
    HashedData,
    assert_same,
    by_id,
    keyed_layout,
    keyed_model,
    pair,
)
from unit.runtime.training.tiny import TinyData, plan

from fljob_api.strategy import StrategySpec
from fljob_runtime.data.examples import Examples, pairs
from fljob_runtime.initial_values import initial_rows
from fljob_runtime.parameters import LayoutError, ModelState, RowSet, Scope
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.optimizers import make_optimizer
from fljob_runtime.training.pooled import train_pooled
from fljob_runtime.training.stepwise import stepwise_round
from fljob_runtime.training.vocabulary import KeyedTables, Vocabulary

TABLE = "user_embedding.gmf.weight"
ITEMS = "item_embedding.gmf.weight"
SERVER_SGD = {"name": "SGD", "learningRate": "0.1"}
GEO = StrategySpec.model_validate({"mode": "Geo", "geoStep": 1})
GRADIENTS = StrategySpec.model_validate({"mode": "Async", "serverOptimizer": SERVER_SGD})


class GrowingData(TinyData):
    """One pair more each time: the first epoch has four, so ids come in later ones too."""

    def __init__(self) -> None:
        self._told = 3

    def epoch(self, rng: np.random.Generator) -> Examples:  # noqa: ARG002 - the order stays
        self._told += 1
        return self.train.take(slice(self._told))


class HashedGrowingData(HashedData, GrowingData):
    """The same with other ids."""


def tables() -> KeyedTables:
    model = keyed_model()
    return KeyedTables(model, keyed_layout(model), 0)


def users(*ids: int) -> Examples:
    return pairs(np.array(ids), np.zeros(len(ids), np.int64), np.zeros(len(ids), np.float32))


def test_places_are_given_in_ascending_order_of_what_is_new() -> None:
    vocabulary = Vocabulary()
    assert vocabulary.take(np.array([9, 2**63 - 1, 9, -(2**63)])).tolist() == [1, 2, 1, 0]
    assert vocabulary.take(np.array([4, 9])).tolist() == [3, 1]
    assert vocabulary.ids.tolist() == [-(2**63), 9, 2**63 - 1, 4]


def test_a_row_begins_with_what_the_seed_and_its_id_say() -> None:
    model = keyed_model()
    layout = keyed_layout(model)
    keyed = KeyedTables(model, layout, 7)
    keyed.mapped(users(40))
    keyed.mapped(users(-3, 2**63 - 1))
    found = model.get_parameter(TABLE).detach().numpy()
    assert np.array_equal(found[:3], initial_rows(layout[TABLE], 7, np.array([40, -3, 2**63 - 1])))


def test_rows_stay_as_they_are_when_others_come() -> None:
    model = keyed_model()
    keyed = KeyedTables(model, keyed_layout(model), 0)
    keyed.mapped(users(1, 2))
    model.get_parameter(TABLE).data[:2] = 5.0
    keyed.mapped(users(*range(100, 200)))
    assert (model.get_parameter(TABLE)[:2] == 5.0).all()


def test_a_table_has_blocks_of_rows_for_its_ids_and_later_on_a_quarter_more() -> None:
    model = keyed_model()
    keyed = KeyedTables(model, keyed_layout(model), 0)
    keyed.mapped(users(*range(8 * 64 - 3)))
    assert model.get_parameter(TABLE).shape == (8 * 64, 2)
    keyed.mapped(users(*range(8 * 64 + 1)))
    assert model.get_parameter(TABLE).shape == (10 * 64, 2)
    assert model.get_submodule("user_embedding.gmf").num_embeddings == 10 * 64


def test_all_tables_of_a_column_have_an_id_at_the_same_place() -> None:
    keyed = tables()
    keyed.mapped(users(8, 3, 5))
    assert keyed.places("user_embedding.mlp.weight", np.array([5, 8])).tolist() == [1, 2]
    assert keyed.places(TABLE, np.array([5, 8])).tolist() == [1, 2]


def test_rows_leave_by_id_in_ascending_order() -> None:
    keyed = tables()
    keyed.mapped(users(8))
    keyed.mapped(users(3))
    rows = keyed.row_set(TABLE, np.array([0, 1]), np.array([[0.8, 0], [0.3, 0]], np.float32), np.array([80.0, 30.0]))
    assert rows.ids.tolist() == [3, 8]
    assert rows.values[:, 0].tolist() == pytest.approx([0.3, 0.8])
    assert rows.weights.tolist() == [30.0, 80.0]


def test_rows_of_a_scope_begin_again_with_their_first_values() -> None:
    model = keyed_model()
    layout = keyed_layout(model).with_scopes({"user_embedding": Scope.PRIVATE})
    keyed = KeyedTables(model, layout, 0)
    keyed.mapped(users(8, 3))
    for name in (TABLE, ITEMS):
        model.get_parameter(name).data[:] = 5.0
    keyed.begin_again(Scope.PRIVATE)
    assert np.array_equal(model.get_parameter(TABLE).data[:2].numpy(), initial_rows(layout[TABLE], 0, np.array([3, 8])))
    assert (model.get_parameter(ITEMS) == 5.0).all()


def test_needed_rows_are_those_of_the_round_and_the_evaluation_by_id() -> None:
    _, local = pair()
    needed = local.needed_rows(1, evaluation=True)
    assert needed[TABLE].tolist() == sorted(USER_IDS[[1, 2]].tolist())
    assert needed[ITEMS].tolist() == sorted(ITEM_IDS.tolist())
    assert local.needed_rows(1)[ITEMS].tolist() == sorted(ITEM_IDS[:5].tolist())


def test_nothing_of_a_keyed_table_is_in_the_update_of_round_0() -> None:
    _, local = pair()
    local.needed_rows(1)
    assert local.initial_state().rows == {}


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_rounds_are_those_of_keys_range_bit_for_bit(optimizer: str) -> None:
    range_keys, any_keys = pair(optimizer=optimizer)
    for number in (1, 2, 3):
        plain, keyed = range_keys.train(number), any_keys.train(number)
        assert_same(by_id(range_keys, plain.state), keyed.state)
        assert keyed.metrics.to_bytes() == plain.metrics.to_bytes()
        for local in (range_keys, any_keys):
            local.needed_rows(number, evaluation=True)
        assert any_keys.evaluate().auc == range_keys.evaluate().auc


@pytest.mark.parametrize("strategy", [GEO, GRADIENTS], ids=["Geo", "Async"])
def test_windows_are_those_of_keys_range_bit_for_bit(strategy: StrategySpec) -> None:
    range_keys, any_keys = pair()
    plain, keyed = (stepwise_round(local, strategy, 1) for local in (range_keys, any_keys))
    for window in range(plain.num_windows):
        asked = plain.rows(window)
        values = range_keys.values(asked)
        plain.renew(values)
        keyed.renew(by_id(range_keys, values))
        assert {n: ids.tolist() for n, ids in keyed.rows(window).items()} == {
            n: part.ids.tolist() for n, part in by_id(range_keys, values).rows.items()
        }
        assert_same(by_id(range_keys, plain.train(window).state), keyed.train(window).state)


def test_a_trainer_that_was_started_anew_repeats_a_round_with_its_rows_at_other_places() -> None:
    (_, first), (_, anew) = pair(optimizer="Adam"), pair(optimizer="Adam")
    first.train(1)
    anew.needed_rows(evaluation=True)
    anew.load(first.values(first.needed_rows(2)))
    item = [ITEM_IDS[:1]]
    assert first.keyed.places(ITEMS, *item) != anew.keyed.places(ITEMS, *item)
    assert_same(first.train(2).state, anew.train(2).state)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_pooled_training_is_that_of_keys_range_while_ids_come(optimizer: str) -> None:
    parameters = {"initialAccumulator": "0.5"} if optimizer == "Adagrad" else {}
    range_keys, any_keys = pair(GrowingData, HashedGrowingData, optimizer=optimizer)
    aucs = []
    for local in (range_keys, any_keys):
        object.__setattr__(local.plan, "optimizer", make_optimizer(optimizer, parameters))
        aucs.append([(m.loss, m.auc) for m in train_pooled(local, 5)])
    assert aucs[0] == aucs[1]


def test_a_padding_row_is_refused() -> None:
    model: Any = keyed_model()
    model.user_embedding["gmf"] = nn.Embedding(1, 2, padding_idx=0)
    with pytest.raises(LayoutError, match="padding_idx"):
        KeyedTables(model, keyed_layout(model), 0)


def test_a_table_that_is_no_embedding_is_refused() -> None:
    model: Any = keyed_model()
    model.user_embedding["gmf"] = nn.Linear(2, 1, bias=False)
    with pytest.raises(LayoutError, match="no weight of a torch"):
        KeyedTables(model, keyed_layout(model), 0)


def test_values_by_id_are_loaded_and_told() -> None:
    _, local = pair()
    rows = RowSet(np.array([-9, 12]), np.array([[1, 2], [3, 4]], np.float32))
    local.load(ModelState({}, {TABLE: rows}))
    assert local.values({TABLE: np.array([12])}).rows[TABLE].values.tolist() == [[3.0, 4.0]]


def test_a_gradient_after_a_table_grew_has_its_shape() -> None:
    model = keyed_model()
    model.by_row = False  # whole tables, whose gradients stay after a round
    local = LocalTrainer(model, keyed_layout(model), HashedData(), plan())
    local.train(1)
    local.load(ModelState({}, {TABLE: RowSet(np.arange(999), np.zeros((999, 2), np.float32))}))
    local.train(2)
    gradient = model.get_parameter(TABLE).grad
    assert gradient is not None
    assert len(gradient) == len(model.get_parameter(TABLE)) >= 999
