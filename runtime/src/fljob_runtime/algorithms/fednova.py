"""FedNova (Wang et al. 2020, "Tackling the Objective Inconsistency Problem", https://arxiv.org/abs/2007.07481).

Clients that take more steps pull FedAvg's mean towards their own optimum. Here each change is divided by ‖aᵢ‖₁, the sum
of what the client's gradients count in it, before the mean is taken (section 4 of the paper):

    w ← w + τ_eff Σ pᵢ Δᵢ / ‖aᵢ‖₁,   τ_eff = Σ pᵢ ‖aᵢ‖₁

For plain SGD ‖aᵢ‖₁ = τᵢ, the number of steps; with momentum ρ it is [τᵢ - ρ (1 - ρ^τᵢ) / (1 - ρ)] / (1 - ρ). Only these
local optimizers have such an a. τᵢ is the samples of the update by the batch size, rounded up: no client must tell it.

That is FedAvg with weights pᵢ / ‖aᵢ‖₁, then (Σ pᵢ ‖aᵢ‖₁) (Σ pᵢ / ‖aᵢ‖₁) of the way to its mean: never less than 1, and
1 where all ‖aᵢ‖₁ are equal. pᵢ of a row is, with row averaging, its share of the samples that trained the row, and the
sums are over the clients that did: a row that one client trained gets that client's value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fljob_runtime.algorithms.algorithm import Algorithm, Averaging
from fljob_runtime.parameters import Float64Array, Int64Array
from fljob_runtime.registry import NoParameters, RegistryKind, register

if TYPE_CHECKING:
    from fljob_api.spec import FLJobSpec


@register(RegistryKind.STRATEGY, "FedNova", NoParameters)
class FedNova(Algorithm):
    """Local training as in FedAvg; the server normalises."""

    def averaging(self, spec: FLJobSpec) -> NormalizedAveraging:
        """Return the server's half; spec.optimizer is SGD."""
        return NormalizedAveraging(spec.strategy.batch_size, float(spec.optimizer.parameters.get("momentum", 0)))


class NormalizedAveraging(Averaging):
    """Divides each change by how much its client's gradients count in it."""

    def __init__(self, batch_size: int, momentum: float) -> None:
        self._batch_size, self._momentum = batch_size, momentum

    def norms(self, num_samples: Sequence[int]) -> list[float]:
        """Return ‖aᵢ‖₁ of each client."""
        return [norm(math.ceil(samples / self._batch_size), self._momentum) for samples in num_samples]


def norm(num_steps: int, momentum: float = 0.0) -> float:
    """Return ‖a‖₁ of so many steps of SGD, whose state is fresh at the first."""
    rest = 1.0 - momentum
    return (num_steps - momentum * (1.0 - momentum**num_steps) / rest) / rest


def stretch(weights: Sequence[float], norms: Sequence[float]) -> float:
    """Return (Σ pᵢ ‖aᵢ‖₁) (Σ pᵢ / ‖aᵢ‖₁), p being the weights over their sum."""
    pairs = list(zip(weights, norms, strict=True))
    return sum(w * a for w, a in pairs) * sum(w / a for w, a in pairs) / sum(weights) ** 2


def stretch_rows(
    positions: Int64Array, touching: Iterable[tuple[Int64Array, Float64Array, float]]
) -> Float64Array:  # [R]
    """Return `stretch` of each row, over the clients that touched it.

    positions: sorted, of the rows [R]; touching: of each client the rows' positions, weights and ‖a‖₁.
    """
    sums = np.zeros((3, len(positions)))
    for where, weights, a in touching:
        at = np.searchsorted(positions, where)
        for total, term in zip(sums, (weights, weights * a, weights / a), strict=True):
            total[at] += term
    plain, times, over = sums
    result: Float64Array = times * over / plain**2
    return result
