"""Algorithms that change the local steps, on a real model: equalities bit for bit, and what they must not touch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from unit.runtime.training.tiny import TinyData, make_model_of, plan

from fljob_api.strategy import StrategySpec
from fljob_runtime.algorithms.modes import algorithm
from fljob_runtime.parameters import ModelState, Scope
from fljob_runtime.training.local import LocalTrainer, LocalUpdate

USERS = "user_embedding.gmf.weight"


def local(name: str, *, private: str = "", optimizer: str = "SGD", **parameters: Any) -> LocalTrainer:
    made = algorithm(StrategySpec.model_validate({"name": name, "parameters": parameters}))
    model = make_model_of("GMF")
    layout = model.layout().with_scopes({private: Scope.PRIVATE} if private else {})
    return LocalTrainer(model, made.layout(layout), TinyData(), plan(optimizer, algorithm=made, local_epochs=2))


def numbers(update: LocalUpdate, names: set[str]) -> dict[str, bytes]:
    dense = {n: v.tobytes() for n, v in update.state.dense.items() if n in names}
    return dense | {n: r.ids.tobytes() + r.values.tobytes() for n, r in update.state.rows.items() if n in names}


def models(trainer: LocalTrainer) -> set[str]:
    return {spec.name for spec in trainer.layout.model.specs}


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_fedprox_with_mu_0_is_fedavg_bit_for_bit(optimizer: str) -> None:
    plain, prox = local("FedAvg", optimizer=optimizer), local("FedProx", mu="0", optimizer=optimizer)
    assert numbers(prox.train(1), models(prox)) == numbers(plain.train(1), models(plain))


def test_fedprox_with_a_large_mu_stays_nearer_to_where_it_began() -> None:
    ways = []
    for mu in ("0", "5"):
        trainer = local("FedProx", mu=mu)
        start = trainer.initial_state()
        ends = trainer.train(1).state
        ways.append(float(np.abs(ends.dense["output.weight"] - start.dense["output.weight"]).sum()))
    assert ways[1] < 0.7 * ways[0]


def test_scaffold_without_control_variates_takes_the_steps_of_fedavg() -> None:
    plain, controlled = local("FedAvg"), local("Scaffold")
    assert numbers(controlled.train(1), models(controlled)) == numbers(plain.train(1), models(plain))


def test_scaffold_has_a_control_variate_for_every_row_it_trained() -> None:
    rows = local("Scaffold").train(1).state.rows
    assert rows[f"{USERS}@c"].ids.tolist() == rows[f"{USERS}@ci"].ids.tolist() == rows[USERS].ids.tolist() == [1, 2]


def test_the_control_variate_is_the_mean_gradient_of_the_round() -> None:
    trainer = local("Scaffold")
    start = trainer.initial_state().dense["output.weight"]
    state = trainer.train(1).state.dense
    # two epochs of ten samples in batches of four are five steps, of rate 0.1
    mean = (start - state["output.weight"]) / (5 * 0.1)
    assert np.allclose(state["output.weight@ci"], mean, rtol=1e-5)


def test_one_client_of_scaffold_goes_on_as_plain_sgd_bit_for_bit() -> None:
    plain, controlled = local("FedAvg"), local("Scaffold")
    for number in (1, 2, 3):  # each goes on from its own values, which is what a job of one trainer does
        expected, found = plain.train(number), controlled.train(number)
        assert numbers(found, models(controlled)) == numbers(expected, models(plain))


def test_a_control_variate_changes_the_steps() -> None:
    plain, controlled = local("Scaffold"), local("Scaffold")
    c = {"output.weight@c": np.ones((1, 2), np.float32)}
    controlled.load(ModelState(c, {}))
    found = controlled.train(1).state.dense["output.weight"]
    assert not np.allclose(found, plain.train(1).state.dense["output.weight"], atol=0.1)


def test_private_parameters_have_no_control_variate() -> None:
    trainer = local("Scaffold", private="user_embedding")
    assert not [spec.name for spec in trainer.layout.specs if spec.name.startswith(f"{USERS}@")]


def test_private_parameters_have_no_proximal_term() -> None:
    # mu = 10 with a rate of 0.1 takes shared values back to where they began at every step
    shared, private = (local("FedProx", private=private, mu="10") for private in ("", "user_embedding"))
    moved = [
        float(np.abs(t.train(1).state.rows[USERS].values - make_model_of("GMF").state_dict()[USERS].numpy()[1:3]).max())
        for t in (shared, private)
    ]
    assert moved[1] > 2 * moved[0] > 0


def test_evaluation_asks_for_no_control_variates() -> None:
    needed = local("Scaffold").needed_rows(evaluation=True)
    assert needed[USERS].tolist() == [1, 2]
    assert needed[f"{USERS}@c"].tolist() == []


def test_a_round_asks_for_the_control_variates_of_its_rows() -> None:
    needed = local("Scaffold").needed_rows(1)
    assert needed[f"{USERS}@c"].tolist() == [1, 2]
