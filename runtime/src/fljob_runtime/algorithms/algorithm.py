"""What `spec.strategy.name` chooses: a term in the local steps, and how updates are averaged. numpy only.

The trainer's local loop calls the first half, the shards the second; FedAvg, registered here, adds nothing to either.
Each other algorithm is one file beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol

from fljob_runtime.parameters import Float32Array, Int64Array, ModelLayout
from fljob_runtime.registry import NoParameters, ParametersModel, RegistryKind, register

if TYPE_CHECKING:
    from fljob_api.spec import FLJobSpec

Rows = Int64Array | EllipsisType  # which rows of a table; `...` is all of a dense parameter


@dataclass(frozen=True)
class LocalStart:
    """What a client has when a round begins; the arrays are the model's own and change as it trains.

    values: every parameter by name, float32; touched: what the round trains of each shared parameter of the model.
    """

    values: Mapping[str, Float32Array]
    touched: Mapping[str, Rows]
    learning_rate: float


class LocalRound(Protocol):
    """One client's round of an algorithm that changes its steps."""

    def correct(self, name: str, gradient: Float32Array, rows: Rows) -> None:
        """Change the gradient of a shared parameter in place; rows: those of its table that this mini-batch read."""

    def end(self, num_steps: int) -> None:
        """Settle what the algorithm keeps, after so many steps."""


class Averaging:
    """How the server averages a round's updates; as it is here: FedAvg."""

    def norms(self, num_samples: Sequence[int]) -> list[float]:
        """Return what each update's change is divided by; only their ratios count. num_samples: those of the round."""
        return [1.0] * len(num_samples)

    def part(self, name: str, num_updates: int) -> float:  # noqa: ARG002 - others look at them
        """Return which part of the way from a parameter's value to the mean is gone."""
        return 1.0


FEDAVG = Averaging()


class Algorithm:
    """Base of all; alone it is FedAvg."""

    def __init__(self, parameters: ParametersModel) -> None:
        """Take the checked parameters."""

    def layout(self, model: ModelLayout) -> ModelLayout:
        """Return the layout with what the algorithm keeps beside the model's parameters."""
        return model

    def begin(self, start: LocalStart) -> LocalRound | None:  # noqa: ARG002 - others look at it
        """Return what changes the steps of a round that begins, None for nothing."""
        return None

    def averaging(self, spec: FLJobSpec) -> Averaging:  # noqa: ARG002 - others look at it
        """Return the server's half for a job."""
        return Averaging()


@register(RegistryKind.STRATEGY, "FedAvg", NoParameters)
class FedAvg(Algorithm):
    """Federated averaging (McMahan et al. 2017, https://arxiv.org/abs/1602.05629)."""
