"""FedProx (Li et al. 2020, "Federated Optimization in Heterogeneous Networks", https://arxiv.org/abs/1812.06127).

Client k minimises hₖ(w; wᵗ) = Fₖ(w) + μ/2 ‖w - wᵗ‖² (equation 2 of the paper), wᵗ being the values that it pulled: each
step goes along ∇Fₖ(w) + μ (w - wᵗ). The server averages as FedAvg does, and with μ = 0 it is FedAvg.

Of tables, the second term is added to the rows that the mini-batch reads, as its gradient is; a row does not move back
while nothing trains it. Private parameters have no wᵗ and no such term.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fljob_runtime.algorithms.algorithm import Algorithm, LocalStart, Rows
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import ParametersModel, RegistryKind, register


class FedProxParameters(ParametersModel):
    """Parameters of `FedProx`."""

    mu: float = Field(ge=0.0, description="Weight of the proximal term; 0 is FedAvg. The paper tries 0.001 to 1.")


@register(RegistryKind.STRATEGY, "FedProx", FedProxParameters)
class FedProx(Algorithm):
    """Holds a client's values near those that it began with."""

    def __init__(self, parameters: FedProxParameters) -> None:
        self._mu = np.float32(parameters.mu)

    def begin(self, start: LocalStart) -> Proximal:
        """Return the round's proximal term."""
        return Proximal(self._mu, start)


class Proximal:
    """The gradient of μ/2 ‖w - wᵗ‖², in one round of one client."""

    def __init__(self, mu: np.float32, start: LocalStart) -> None:
        self._mu = mu
        self._now = {name: start.values[name] for name in start.touched}
        self._global = {name: values.copy() for name, values in self._now.items()}

    def correct(self, name: str, gradient: Float32Array, rows: Rows) -> None:
        """Add μ (w - wᵗ); an id that is in `rows` twice counts once."""
        gradient[rows] += self._mu * (self._now[name][rows] - self._global[name][rows])

    def end(self, num_steps: int) -> None:
        """Keep nothing."""
