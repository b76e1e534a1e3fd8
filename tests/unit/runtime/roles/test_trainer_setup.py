"""A trainer's model from the job's file: which of its tables are keyed, and what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from unit.runtime.training.keyed import ANY, keyed_layout, keyed_model

from fljob_api.fljob import FLJob
from fljob_api.spec import FLJobSpec
from fljob_runtime import registry
from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.parameters import Kind, LayoutError, Scope
from fljob_runtime.roles.trainer_setup import local_trainer, with_tables
from fljob_runtime.training.local import LocalTrainer, TrainPlan

SMALL = {"usersPerSite": 4, "items": 6, "samplesPerUser": 5}
BOTH = [{"name": "user_embedding", "keys": "Any"}, {"name": "item_embedding", "keys": "Any"}]


def made(site: int = 0, **spec: Any) -> LocalTrainer:
    base = {
        "model": {"name": "ncf"},
        "dataset": {"name": "synthetic", "parameters": SMALL},
        "trainers": [{"name": "a"}, {"name": "b"}],
        "rounds": 1,
    }
    job = {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": "j"}, "spec": {**base, **spec}}
    parsed: FLJobSpec = FLJob.from_dict(job).spec
    registry.load()
    request = OpenRequest("ab"[site], site, 2, parsed.data_seed, None)
    data = open_dataset(parsed.dataset.name, parsed.dataset.parameters, request)
    return local_trainer(parsed, TrainPlan.of(parsed, request.site), data)


def test_a_table_is_keyed_by_the_beginning_of_its_name() -> None:
    layout = keyed_layout(keyed_model())
    assert {s.name: s.shape for s in layout.specs if s.rules} == {
        "user_embedding.gmf.weight": (2,),
        "item_embedding.gmf.weight": (2,),
        "user_embedding.mlp.weight": (4,),
        "item_embedding.mlp.weight": (4,),
    }


def test_tables_of_one_column_have_the_same_keys() -> None:
    model = keyed_model()
    half = [ANY[0].model_copy(update={"name": "user_embedding.gmf"})]
    with pytest.raises(LayoutError, match=r"user_embedding\.mlp\.weight \(user\) has Range"):
        with_tables(model.layout(), half, model)


def test_a_table_that_the_model_has_not_is_refused() -> None:
    model = keyed_model()
    for name in ("users", "output"):
        with pytest.raises(LayoutError, match="no table"):
            with_tables(model.layout(), [ANY[0].model_copy(update={"name": name})], model)


def test_what_a_server_does_with_rows_is_not_said_of_private_ones() -> None:
    model = keyed_model()
    layout = model.layout().with_scopes({"user_embedding": Scope.PRIVATE})
    with pytest.raises(LayoutError, match="is Private"):
        with_tables(layout, [ANY[0].model_copy(update={"admit_after": 2})], model)


def test_sites_agree_on_layout_and_dense_values_whatever_ids_they_have() -> None:
    one, other = (made(site, tables=BOTH) for site in (0, 1))
    one.needed_rows(1)
    assert one.layout == other.layout
    for name, value in one.initial_state().dense.items():
        assert np.array_equal(value, other.initial_state().dense[name])


def test_the_rules_of_a_table_are_those_of_the_first_entry_that_names_it() -> None:
    limits = {"admitAfter": 3, "expireAfterRounds": 9, "maxRows": 50}
    tables = [{"name": "user_embedding.gmf", "keys": "Any", **limits}, *BOTH]
    layout = made(tables=tables).layout
    first, rest = layout["user_embedding.gmf.weight"].rules, layout["user_embedding.mlp.weight"].rules
    assert first is not None
    assert rest is not None
    assert (first.initial_std, first.admit_after, first.expire_after_rounds, first.max_rows) == (0.01, 3, 9, 50)
    assert (rest.initial_std, rest.admit_after, rest.expire_after_rounds, rest.max_rows) == (0.01, 1, 0, 10_000_000)


@pytest.mark.parametrize(
    ("model", "tables", "stds"),
    [
        ("mf", ["user_embedding", "user_bias"], {"user_embedding.weight": 0.1, "user_bias.weight": 0.0}),
        ("deepfm", ["factors.user", "weights.user"], {"factors.user.weight": 0.01, "weights.user.weight": 0.0}),
    ],
)
def test_rows_begin_as_the_model_s_others_do(model: str, tables: list[str], stds: dict[str, float]) -> None:
    local = made(model={"name": model}, tables=[{"name": name, "keys": "Any"} for name in tables])
    keyed = {spec.name: spec.rules.initial_std for spec in local.layout.specs if spec.rules}
    assert keyed == stds
    assert local.train(1).num_samples == 20


def test_one_column_alone_may_be_keyed() -> None:
    layout = made(tables=BOTH[:1]).layout
    assert layout["user_embedding.mlp.weight"].kind is Kind.KEYED
    assert layout["item_embedding.mlp.weight"].shape == (6, 32)


@pytest.mark.parametrize("name", ["gru4rec", "youtube-dnn"])
def test_items_that_are_outputs_keep_their_numbers(name: str) -> None:
    chosen: dict[str, Any] = {"model": {"name": name}, "dataset": {"name": "synthetic-sessions"}}
    (table,) = made(**chosen).model.tables()
    with pytest.raises(LayoutError, match=f"{table} cannot have keys: Any: the model's outputs are items 0 to n - 1"):
        made(**chosen, tables=[{"name": table, "keys": "Any"}])


def test_a_keyed_table_does_not_narrow_dlrms_others() -> None:
    parameters = {"embeddings": "MixedDimension", "threshold": 1, "temperature": "0.5", "embeddingDim": 8}
    layout = made(
        model={"name": "dlrm", "parameters": parameters}, tables=[{"name": "embeddings.user", "keys": "Any"}]
    ).layout
    assert (layout["embeddings.user.weight"].kind, layout["embeddings.item.weight"].shape) == (Kind.KEYED, (6, 8))


def test_ids_that_are_hashes_need_keys_any() -> None:
    dataset = {"name": "synthetic", "parameters": {**SMALL, "hashedIds": "true"}}
    with pytest.raises(LayoutError, match=r"any numbers; give item_embedding\.gmf\.weight.* keys: Any"):
        made(dataset=dataset, tables=BOTH[:1])
    assert len(made(dataset=dataset, tables=BOTH).needed_rows(1)["user_embedding.mlp.weight"]) == 4


DROPPING = {"name": "ncf", "parameters": {"mode": "MLP", "layers": "8,4", "dropout": "0.5"}}


def drawn(**spec: Any) -> tuple[bytes, bytes, bytes]:
    """Return the examples of a round, the first values, and what a round makes of them."""
    local = made(model=DROPPING, **spec)
    examples = local.round_examples(1)
    first = b"".join(value.tobytes() for value in local.initial_state().dense.values())
    trained = b"".join(value.tobytes() for value in local.train(1).state.dense.values())
    return examples.columns["item"].tobytes() + examples.labels.tobytes(), first, trained


@pytest.mark.parametrize(
    ("seeds", "same"),
    [
        ({"data": 1}, (False, True, False)),
        ({"initialValues": 1}, (True, False, False)),
        ({"model": 1}, (True, True, False)),
        ({"data": 7, "initialValues": 7, "model": 7}, (True, True, True)),
        ({}, (True, True, True)),
    ],
)
def test_each_seed_changes_its_own_part_alone(seeds: dict[str, int], same: tuple[bool, bool, bool]) -> None:
    pairs = zip(drawn(seed=7), drawn(seed=7, seeds=seeds), strict=True)
    assert tuple(one == other for one, other in pairs) == same


def test_first_values_of_keyed_rows_follow_from_their_own_seed() -> None:
    one, other, again = (
        made(tables=BOTH, seed=seed, seeds={"initialValues": own}) for seed, own in ((0, 1), (0, 2), (5, 1))
    )
    name, ids = "item_embedding.gmf.weight", np.array([3, 4])
    first, second, third = (local.values({name: ids}).rows[name].values for local in (one, other, again))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, third)
