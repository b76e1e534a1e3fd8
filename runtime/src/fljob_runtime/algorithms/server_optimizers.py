"""Server optimizers: what the server makes of a direction, be it the mean of a round's updates or a gradient.

Adagrad, Adam and Yogi are FedAdagrad, FedAdam and FedYogi of Reddi et al. 2021, "Adaptive Federated Optimization"
(https://arxiv.org/abs/2003.00295), algorithm 2: no bias correction, and `tau`, the degree of adaptivity, added outside
the square root. Momentum is FedAvgM of Hsu et al. 2019 (https://arxiv.org/abs/1909.06335). Used by the shards; numpy
only.

Each works element by element, so that stepping a vector in slices, or rows of a table alone, gives the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from fljob_runtime.parameters import Float32Array, Int64Array
from fljob_runtime.registry import NoParameters, ParametersModel, RegistryKind, find, parse_parameters, register

WHERE = "spec.strategy.serverOptimizer.parameters"
_BLOCK = 1 << 15  # elements; keeps what is made on the way in the cache


class ServerOptimizer(Protocol):
    """Steps values in a direction."""

    @property
    def initial(self) -> tuple[float, ...]:
        """Return the first value of each state array; a parameter has one of its own shape per entry."""

    def step(self, values: Float32Array, delta: Float32Array, state: Sequence[Float32Array]) -> None:
        """Step in place. values, delta and each state array: float32 of one shape.

        delta is the way to go: the mean update minus the values, or a gradient with its sign turned.
        """


class Base(ABC):
    """Made of a learning rate and parameters; steps block by block."""

    initial: tuple[float, ...] = ()

    def __init__(self, learning_rate: float) -> None:
        self.rate = np.float32(learning_rate)

    def step(self, values: Float32Array, delta: Float32Array, state: Sequence[Float32Array]) -> None:
        """Step in place; see `ServerOptimizer`. All arrays must be contiguous."""
        flat, way, slots = values.reshape(-1), delta.reshape(-1), [slot.reshape(-1) for slot in state]
        for start in range(0, flat.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            flat[block] += self.rate * self.direction(way[block], *(slot[block] for slot in slots))

    @abstractmethod
    def direction(self, delta: Float32Array, *state: Float32Array) -> Float32Array:
        """Return what to add, before the learning rate; brings the state up to date in place."""


@register(RegistryKind.SERVER_OPTIMIZER, "SGD", NoParameters)
class Sgd(Base):
    """values += rate * delta; with rate 1 and the mean update that is FedAvg."""

    def __init__(self, learning_rate: float, parameters: NoParameters) -> None:  # noqa: ARG002 - one signature for all
        super().__init__(learning_rate)

    def direction(self, delta: Float32Array, *_: Float32Array) -> Float32Array:
        """Return the delta itself."""
        return delta


class MomentumParameters(ParametersModel):
    """Parameters of `Momentum`."""

    momentum: float = Field(0.9, ge=0.0, lt=1.0)


@register(RegistryKind.SERVER_OPTIMIZER, "Momentum", MomentumParameters)
class Momentum(Base):
    """m = momentum * m + delta; values += rate * m."""

    initial = (0.0,)

    def __init__(self, learning_rate: float, parameters: MomentumParameters) -> None:
        super().__init__(learning_rate)
        self._momentum = np.float32(parameters.momentum)

    def direction(self, delta: Float32Array, *state: Float32Array) -> Float32Array:
        """Return the momentum."""
        (m,) = state
        m *= self._momentum
        m += delta
        return m


class AdagradParameters(ParametersModel):
    """Parameters of `Adagrad`."""

    tau: float = Field(1e-3, gt=0.0, description="Degree of adaptivity: larger is closer to SGD.")


@register(RegistryKind.SERVER_OPTIMIZER, "Adagrad", AdagradParameters)
class Adagrad(Base):
    """v += delta²; values += rate * delta / (√v + tau)."""

    initial = (0.0,)

    def __init__(self, learning_rate: float, parameters: AdagradParameters) -> None:
        super().__init__(learning_rate)
        self._tau = np.float32(parameters.tau)

    def direction(self, delta: Float32Array, *state: Float32Array) -> Float32Array:
        """Return the delta, scaled."""
        (v,) = state
        v += delta * delta
        return _over(delta, v, self._tau)


class AdaptiveParameters(ParametersModel):
    """Parameters of `Adam` and `Yogi`."""

    beta1: float = Field(0.9, ge=0.0, lt=1.0)
    beta2: float = Field(0.99, ge=0.0, lt=1.0)
    tau: float = Field(1e-3, gt=0.0, description="Degree of adaptivity: larger is closer to SGD.")


class Adaptive(Base):
    """m = β₁m + (1 - β₁) delta; values += rate * m / (√v + tau)."""

    initial = (0.0, 0.0)

    def __init__(self, learning_rate: float, parameters: AdaptiveParameters) -> None:
        super().__init__(learning_rate)
        self._beta1, self._beta2 = np.float32(parameters.beta1), np.float32(parameters.beta2)
        self._tau = np.float32(parameters.tau)

    def direction(self, delta: Float32Array, *state: Float32Array) -> Float32Array:
        """Return the momentum, scaled."""
        m, v = state
        m *= self._beta1
        m += (1 - self._beta1) * delta
        self.second_moment(v, delta * delta)
        return _over(m, v, self._tau)

    @abstractmethod
    def second_moment(self, v: Float32Array, square: Float32Array) -> None:
        """Bring v up to date with delta², in place."""


@register(RegistryKind.SERVER_OPTIMIZER, "Adam", AdaptiveParameters)
class Adam(Adaptive):
    """v = β₂v + (1 - β₂) delta²."""

    def second_moment(self, v: Float32Array, square: Float32Array) -> None:
        """Move v towards delta² by a part of their difference."""
        v *= self._beta2
        v += (1 - self._beta2) * square


@register(RegistryKind.SERVER_OPTIMIZER, "Yogi", AdaptiveParameters)
class Yogi(Adaptive):
    """v = v - (1 - β₂) delta² sign(v - delta²)."""

    def second_moment(self, v: Float32Array, square: Float32Array) -> None:
        """Move v towards delta² by a part of delta² alone, so that it falls slowly."""
        v -= (1 - self._beta2) * square * np.sign(v - square)


def step_rows(
    optimizer: ServerOptimizer,
    table: Float32Array,
    state: Sequence[Float32Array],
    positions: Int64Array,
    delta: Float32Array,
) -> None:
    """Step some rows of a table [N, D], and of its state, in place; positions [n] are unique, delta is [n, D]."""
    values, slots = table.take(positions, axis=0), [slot.take(positions, axis=0) for slot in state]
    optimizer.step(values, delta, slots)
    for whole, part in zip((table, *state), (values, *slots), strict=True):
        whole[positions] = part


def make(name: str, learning_rate: float, parameters: Mapping[str, Any]) -> ServerOptimizer:
    """Return the optimizer of that name; raises RegistryError for an unknown name or parameter."""
    cls, schema = find(RegistryKind.SERVER_OPTIMIZER, name)
    made: ServerOptimizer = cls(learning_rate, parse_parameters(WHERE, schema, parameters))
    return made


def _over(numerator: Float32Array, v: Float32Array, tau: np.float32) -> Float32Array:
    """Return numerator / (√v + tau)."""
    scale: Float32Array = np.sqrt(v)
    scale += tau
    return np.divide(numerator, scale, out=scale)
