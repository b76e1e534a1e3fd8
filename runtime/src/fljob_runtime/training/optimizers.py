"""Optimizers by name, with their parameters checked; torch's own, fused where torch has a fused form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import nn

from fljob_runtime.registry import ParametersModel, RegistryKind, find, parse_parameters, register


class OptimizerFactory(ABC):
    """Makes a fresh optimizer for each round."""

    @abstractmethod
    def make(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return an optimizer without state."""


class SgdParameters(ParametersModel):
    """Parameters of `SGD`."""

    momentum: float = Field(0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0)


@register(RegistryKind.OPTIMIZER, "SGD", SgdParameters)
class Sgd(OptimizerFactory):
    """Stochastic gradient descent (torch.optim.SGD)."""

    def __init__(self, parameters: SgdParameters) -> None:
        self._p = parameters

    def make(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return a fresh SGD."""
        return torch.optim.SGD(
            parameters, lr=learning_rate, momentum=self._p.momentum, weight_decay=self._p.weight_decay
        )


class AdamParameters(ParametersModel):
    """Parameters of `Adam`."""

    beta1: float = Field(0.9, ge=0.0, lt=1.0)
    beta2: float = Field(0.999, ge=0.0, lt=1.0)
    epsilon: float = Field(1e-8, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)


@register(RegistryKind.OPTIMIZER, "Adam", AdamParameters)
class Adam(OptimizerFactory):
    """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980), torch's fused form."""

    def __init__(self, parameters: AdamParameters) -> None:
        self._p = parameters

    def make(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return a fresh Adam."""
        p = self._p
        return torch.optim.Adam(
            parameters,
            lr=learning_rate,
            betas=(p.beta1, p.beta2),
            eps=p.epsilon,
            weight_decay=p.weight_decay,
            fused=True,
        )


class AdagradParameters(ParametersModel):
    """Parameters of `Adagrad`."""

    initial_accumulator: float = Field(0.0, ge=0.0)
    epsilon: float = Field(1e-10, gt=0.0)


@register(RegistryKind.OPTIMIZER, "Adagrad", AdagradParameters)
class Adagrad(OptimizerFactory):
    """Adagrad (Duchi et al. 2011), torch's fused form."""

    def __init__(self, parameters: AdagradParameters) -> None:
        self._p = parameters

    def make(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return a fresh Adagrad."""
        return torch.optim.Adagrad(
            parameters,
            lr=learning_rate,
            initial_accumulator_value=self._p.initial_accumulator,
            eps=self._p.epsilon,
            fused=True,
        )


def make_optimizer(name: str, parameters: Mapping[str, Any]) -> OptimizerFactory:
    """Return the factory of a registered optimizer; raises RegistryError."""
    cls, schema = find(RegistryKind.OPTIMIZER, name)
    factory = cls(parse_parameters("spec.optimizer.parameters", schema, parameters))
    if not isinstance(factory, OptimizerFactory):
        raise TypeError(f"optimizer {name!r}: {cls.__name__} must derive from OptimizerFactory")
    return factory
