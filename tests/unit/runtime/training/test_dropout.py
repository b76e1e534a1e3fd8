"""Dropout of every model that has it: in training alone, by the seed, the round and the place in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from unit.runtime.training.every_model import CASES, DROPOUT, SITES, Case

from fljob_api.catalog import built_in
from fljob_runtime import registry
from fljob_runtime.models.base import make_model
from fljob_runtime.models.layers import Tower, dropped
from fljob_runtime.parameters import Int64Array, ModelState, RowSet
from fljob_runtime.registry import RegistryError
from fljob_runtime.roles.trainer_setup import make_local
from fljob_runtime.schema import Schema
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.stepwise import GradientRound


def client(case: Case, site: str = SITES[0], **spec: Any) -> LocalTrainer:
    config = replace(case, spec={**case.spec, **spec}).config()
    return make_local(config, site, case.sites()[site])


def without(case: Case) -> Case:
    return replace(case, parameters={k: v for k, v in case.parameters.items() if k != "dropout"})


def values(local: LocalTrainer) -> list[torch.Tensor]:
    return [value.detach().clone() for value in local.model.parameters()]


def equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def after_a_round(local: LocalTrainer, number: int = 1) -> list[torch.Tensor]:
    local.train(number)
    return values(local)


def test_a_share_of_the_values_is_left_out_and_the_others_make_up_for_it() -> None:
    torch.manual_seed(0)
    found = dropped(torch.ones(10_000), 0.2, training=True)
    assert set(found.tolist()) == {0.0, 1.25}
    assert float((found == 0).float().mean()) == pytest.approx(0.2, abs=0.02)


def test_outside_training_and_at_rate_0_the_values_are_as_they_are() -> None:
    ones = torch.ones(8)
    assert dropped(ones, 0.5, training=False) is ones
    assert dropped(ones, 0.0, training=True) is ones


def test_a_tower_leaves_out_values_behind_every_layer() -> None:
    tower = Tower(1, (64, 64), torch.Generator().manual_seed(0), dropout=0.5)
    with torch.no_grad():
        for name, value in tower.named_parameters():
            value.fill_(1.0 if name.endswith("weight") else 0.0)
    torch.manual_seed(0)
    nothing, greatest = sorted(set(tower(torch.ones(1, 1)).flatten().tolist()))
    assert nothing == 0.0  # behind the second layer
    assert 0.0 < greatest / 4 < 64  # so many of 64 were left behind the first: each is 1 · 2, and their sum · 2
    assert set(tower.eval()(torch.ones(1, 1)).flatten().tolist()) == {64.0}


def test_the_models_with_a_rate_are_those_tested_here() -> None:
    models = built_in().kinds["models"]
    assert {name for name, entry in models.items() if "dropout" in entry.parameters} == {
        case.model for case in DROPOUT.values()
    }


@pytest.mark.parametrize("name", DROPOUT)
def test_it_is_off_in_evaluation(name: str) -> None:
    case = DROPOUT[name]
    ours, plain = client(case), client(without(case))
    after_a_round(ours)  # so that the model was in training before
    assert ours.evaluate().sums.to_bytes() == ours.evaluate().sums.to_bytes()
    plain.load(ours.values({table: ours.keyed.held(table) for table in ours.model.tables()}))
    assert plain.evaluate().sums.to_bytes() == ours.evaluate().sums.to_bytes()


@pytest.mark.parametrize("name", DROPOUT)
def test_it_changes_what_is_trained(name: str) -> None:
    assert not equal(after_a_round(client(DROPOUT[name])), after_a_round(client(without(DROPOUT[name]))))


@pytest.mark.parametrize("other", [{"seed": 1}, {"number": 2}, {"site": SITES[1]}], ids=["seed", "round", "client"])
def test_what_is_left_out_follows_from_seed_client_and_round(other: dict[str, Any]) -> None:
    def masks(seed: int = 0, number: int = 1, site: str = SITES[0]) -> torch.Tensor:
        local = client(DROPOUT["mlp"], site, seed=seed)
        torch.default_generator.manual_seed(local.record(number, 4).batch_seed)
        return dropped(torch.ones(64), 0.5, training=True)

    assert torch.equal(masks(), masks())
    assert not torch.equal(masks(), masks(**other))


@pytest.mark.parametrize("name", ["mlp", "gru4rec"])
def test_a_round_gone_on_with_at_a_mini_batch_leaves_out_the_same(name: str) -> None:
    whole, late = (GradientRound(client(DROPOUT[name]), 1) for _ in range(2))
    wanted = [whole.train(window).state for window in range(3)][2]
    late.skip(2)
    torch.rand(5)
    assert_equal(late.train(2).state, wanted)


def assert_equal(ours: ModelState, theirs: ModelState) -> None:
    def flat(state: ModelState) -> dict[str, list[Any]]:
        def one(rows: RowSet) -> tuple[Int64Array, np.ndarray]:
            return rows.ids, rows.values

        rows = {name: [part.tolist() for part in one(found)] for name, found in state.rows.items()}
        return {**{name: value.tolist() for name, value in state.dense.items()}, **rows}

    assert flat(ours) == flat(theirs)


@pytest.mark.parametrize("rate", ["1", "-0.1", "nan", "much"])
def test_a_rate_that_is_no_share_is_refused(rate: str) -> None:
    registry.load()
    with pytest.raises(RegistryError, match=r"spec\.model\.parameters\.dropout"):
        make_model("mlp", {"dropout": rate}, Schema({"user": 2}), 0)
    assert built_in().check("models", "mlp", {"dropout": rate}, path="spec.model", others=None)


def test_gmf_has_no_tower_to_leave_out_of() -> None:
    with pytest.raises(RegistryError, match="GMF has not"):
        client(replace(CASES["ncf, GMF"], parameters={"mode": "GMF", "dropout": "0.1"}))
