"""SCAFFOLD (Karimireddy et al. 2020, https://arxiv.org/abs/1910.06378), algorithm 1 with option II; global rate 1.

Control variates take the clients' drift out of their steps: cᵢ is the mean gradient of client i over its last round,
c that of all clients.

    client i, K times:  y ← y - η (gᵢ(y) - cᵢ + c), from y = x
    client i, then:     cᵢ⁺ = cᵢ - c + (x - y) / (K η)
    server:             x ← x + 1/|S| Σ (yᵢ - x),   c ← c + |S|/N · 1/|S| Σ (cᵢ⁺ - cᵢ)

c is a shared parameter beside each shared one of the model and takes the same way: pulled with it, pushed, averaged by
the same fold. cᵢ is private: it stays on the trainer's storage, named by round; without storage a trainer that is
started anew begins with cᵢ = 0. With weighting Samples both means are weighted, and c = Σ pᵢ cᵢ while all take part.

Of tables, a client steps, corrects and answers for the rows that its round trains; a row's means are over the clients
that the fold takes for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fljob_runtime.algorithms.algorithm import Algorithm, Averaging, LocalStart, Rows
from fljob_runtime.parameters import BESIDE, Float32Array, ModelLayout, Scope
from fljob_runtime.registry import NoParameters, RegistryKind, register

if TYPE_CHECKING:
    from fljob_api.spec import FLJobSpec

C, C_I = f"{BESIDE}c", f"{BESIDE}ci"  # suffixes of the names


@register(RegistryKind.STRATEGY, "Scaffold", NoParameters)
class Scaffold(Algorithm):
    """Keeps c and cᵢ beside the shared parameters."""

    def layout(self, model: ModelLayout) -> ModelLayout:
        """Return the layout with c, shared, and cᵢ, private."""
        shared = [spec for spec in model.specs if spec.scope is Scope.SHARED]
        c = (replace(spec, name=spec.name + C) for spec in shared)
        c_i = (replace(spec, name=spec.name + C_I, scope=Scope.PRIVATE) for spec in shared)
        return ModelLayout((*model.specs, *c, *c_i))

    def begin(self, start: LocalStart) -> ControlVariates:
        """Return the round's correction."""
        return ControlVariates(start)

    def averaging(self, spec: FLJobSpec) -> ControlledAveraging:
        """Return the server's half; N is the number of trainers."""
        return ControlledAveraging(len(spec.trainers))


class ControlVariates:
    """c and cᵢ in one round of one client."""

    def __init__(self, start: LocalStart) -> None:
        self._start = start
        values, touched = start.values, start.touched
        self._x = {name: np.array(values[name][rows]) for name, rows in touched.items()}
        self._c_less_c_i = {name: values[name + C][rows] - values[name + C_I][rows] for name, rows in touched.items()}

    def correct(self, name: str, gradient: Float32Array, rows: Rows) -> None:  # noqa: ARG002 - the round's, not the batch's
        """Add c - cᵢ, in every step to all that the round trains."""
        gradient[self._start.touched[name]] += self._c_less_c_i[name]

    def end(self, num_steps: int) -> None:
        """Replace cᵢ by cᵢ⁺, and c by c + cᵢ⁺ - cᵢ, which is this client's part of the server's mean."""
        values = self._start.values
        if not self._start.learning_rate:
            return  # nothing moved, which says nothing of the gradients
        scale = np.float32(1.0 / (num_steps * self._start.learning_rate))
        for name, rows in self._start.touched.items():
            way = self._x[name] - values[name][rows]
            c_i = way * scale - self._c_less_c_i[name]
            values[name + C_I][rows] = c_i
            values[name + C][rows] = self._c_less_c_i[name] + c_i  # one client alone has c = cᵢ, bit for bit


class ControlledAveraging(Averaging):
    """The mean of the values; of c, |S|/N of the way to the mean."""

    def __init__(self, num_clients: int) -> None:
        self._num_clients = num_clients

    def part(self, name: str, num_updates: int) -> float:
        """Return |S|/N for c, 1 for all else."""
        return num_updates / self._num_clients if name.endswith(C) else 1.0
