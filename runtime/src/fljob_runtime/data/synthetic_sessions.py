"""The `synthetic-sessions` dataset: sites that make their own sessions, with a known best reachable recall.

Truth: a Markov chain. What follows an item is drawn by ranks of its own: the r-th of its successors, r = 1 … I, with a
probability proportional to r^-s. So the best recall at k is the same after each item. The chain is the same at all
sites; everything is a function of (seed, site).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import HeldOut, Ids, LabelledRows
from fljob_runtime.data.sessions import COLUMN, unlabelled
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import PADDING, IdSequence, Schema


class SyntheticSessionsParameters(ParametersModel):
    """Parameters of `synthetic-sessions`: sizes per site, and how much the last item tells of the next."""

    sessions_per_site: int = Field(500, ge=1, le=1_000_000)
    test_per_site: int = Field(100, ge=1, le=1_000_000)
    items: int = Field(100, ge=2, le=5000)
    longest: int = Field(8, ge=2, le=1000, description="Sessions have 2 to so many items.")
    exponent: float = Field(1.5, ge=0.0, le=10.0, description="s: how fast successors become rare.")


@register(RegistryKind.DATASET, "synthetic-sessions", SyntheticSessionsParameters)
class SyntheticSessions(LabelledRows):
    """One generated site."""

    def __init__(self, parameters: SyntheticSessionsParameters, request: OpenRequest) -> None:
        if request.folder is not None:
            raise DataError(
                request.folder, "synthetic-sessions makes its own data; read a folder with dataset sessions"
            )
        p = self._parameters = parameters
        self.schema = Schema({}, sequences={COLUMN: IdSequence(p.items, p.longest)}, num_classes=0)
        shared = np.random.Generator(np.random.Philox(np.random.SeedSequence([request.seed, 0])))
        own = np.random.Generator(np.random.Philox(np.random.SeedSequence([request.seed, 1, request.index])))
        successors = shared.permuted(np.tile(np.arange(p.items), (p.items, 1)), axis=1)  # [I, I], likeliest first
        self._train = unlabelled(_draw(p, successors, p.sessions_per_site, own))
        self._held_out = HeldOut(unlabelled(_draw(p, successors, p.test_per_site, own)))

    def best_recall(self, k: int) -> float:
        """Return the recall at k of the k likeliest successors: no ranking has a greater expectation."""
        return float(np.cumsum(_probabilities(self._parameters))[k - 1])


def _probabilities(p: SyntheticSessionsParameters) -> NDArray[np.float64]:  # [I]
    weights: NDArray[np.float64] = np.arange(1.0, p.items + 1) ** -p.exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _draw(p: SyntheticSessionsParameters, successors: Ids, count: int, rng: np.random.Generator) -> Ids:
    """Return sessions [count, longest], padded; their first items are drawn uniformly."""
    sessions = np.empty((count, p.longest), np.int64)
    sessions[:, 0] = rng.integers(0, p.items, count)
    ranks = rng.choice(p.items, (count, p.longest), p=_probabilities(p))
    for place in range(1, p.longest):
        sessions[:, place] = successors[sessions[:, place - 1], ranks[:, place]]
    lengths = rng.integers(2, p.longest + 1, count)
    sessions[np.arange(p.longest) >= lengths[:, None]] = PADDING
    return sessions
