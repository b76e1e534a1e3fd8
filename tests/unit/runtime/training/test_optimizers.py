"""Optimizers by name: parameters reach torch, each is fresh, wrong ones are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fljob_runtime import registry
from fljob_runtime.registry import ParametersModel, RegistryError, RegistryKind, UnknownNameError
from fljob_runtime.training.optimizers import make_optimizer


@pytest.fixture
def weights() -> list[nn.Parameter]:
    registry.load()
    return [nn.Parameter(torch.ones(2))]


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("SGD", {"momentum": "0.9", "weightDecay": "0.1"}, {"momentum": 0.9, "weight_decay": 0.1}),
        ("Adam", {"beta1": "0.8", "epsilon": "1e-6"}, {"betas": (0.8, 0.999), "eps": 1e-6, "fused": True}),
        ("Adagrad", {"initialAccumulator": "0.5"}, {"initial_accumulator_value": 0.5, "fused": True}),
    ],
)
def test_parameters_reach_torch(
    weights: list[nn.Parameter], name: str, parameters: dict[str, str], wanted: dict[str, object]
) -> None:
    made = make_optimizer(name, parameters).make(weights, 0.25)
    group = made.param_groups[0]
    assert group["lr"] == 0.25
    assert {key: group[key] for key in wanted} == wanted


def test_each_optimizer_begins_without_memory(weights: list[nn.Parameter]) -> None:
    factory = make_optimizer("Adam", {})
    worn = factory.make(weights, 0.1)
    weights[0].grad = torch.ones(2)
    worn.step()
    assert len(worn.state) == 1
    assert len(factory.make(weights, 0.1).state) == 0


def test_an_unknown_optimizer_is_met_with_a_suggestion() -> None:
    registry.load()
    with pytest.raises(UnknownNameError, match="did you mean 'Adam'"):
        make_optimizer("Adams", {})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"betta1": "0.9"}, "did you mean 'beta1'"), ({"beta1": "1"}, "less than 1"), ({"epsilon": "small"}, "number")],
)
def test_wrong_parameters_are_refused_with_their_path(parameters: dict[str, str], message: str) -> None:
    registry.load()
    with pytest.raises(RegistryError, match=rf"spec\.optimizer\.parameters\..*{message}"):
        make_optimizer("Adam", parameters)


def test_a_class_that_is_no_optimizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __init__(self, parameters: ParametersModel) -> None: ...

    monkeypatch.setitem(registry._TABLES[RegistryKind.OPTIMIZER], "odd", (Odd, ParametersModel))
    with pytest.raises(TypeError, match="Odd must derive from OptimizerFactory"):
        make_optimizer("odd", {})
