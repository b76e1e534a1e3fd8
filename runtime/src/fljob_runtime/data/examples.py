"""Examples in memory: the one shape in which every dataset hands its data to training.

Datasets implement `SiteData`; `training` asks it for the examples of an epoch and for held-out pairs. All randomness is
a function of (seed, client, epoch), so a restarted trainer repeats exactly.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Labels = NDArray[np.float32]

MAX_TABLE_PAIRS = 1 << 25


@dataclass(frozen=True)
class Examples:
    """users, items: int64 [N]; labels: float32 [N] in {0, 1}."""

    users: Ids
    items: Ids
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class HeldOut:
    """Pairs to evaluate on.

    examples: all pairs; groups: int64 [G + 1], pairs groups[g]:groups[g + 1] belong to one user of a leave-one-out
    test, its positive first; None where pairs are not ranked.
    """

    examples: Examples
    groups: Ids | None = None


class SiteData(ABC):
    """One client's data. num_users and num_items are those of the whole dataset, as ids are global.

    needs_folder: whether there is no data without a volume, so that a manifest without trainers[].data is refused.
    """

    needs_folder: ClassVar[bool] = False

    num_users: int
    num_items: int

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Examples in one epoch."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return the examples of one epoch in training order."""

    @abstractmethod
    def held_out(self) -> HeldOut:
        """Return the pairs to evaluate on."""


def epoch_rng(seed: int, client: str, epoch: int) -> np.random.Generator:
    """Return the generator for one epoch of one client (counter-based, so no state travels between epochs)."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(client.encode()), epoch])
    return np.random.Generator(np.random.Philox(entropy))


def shuffled(examples: Examples, rng: np.random.Generator) -> Examples:
    """Return the examples in an order drawn from `rng`."""
    order = rng.permutation(len(examples))
    return Examples(examples.users[order], examples.items[order], examples.labels[order])


class Positives:
    """Which (user, item) pairs are positive, for drawing negatives; made once per client.

    A table of bits per pair where it fits (four times faster, the same answers), else sorted keys.
    """

    def __init__(self, users: Ids, items: Ids, num_items: int) -> None:
        """Take positives, int64 [P] each. Raises ValueError when some user has a positive with every item."""
        self.num_items = num_items
        self._ids, self._rows = np.unique(users, return_inverse=True)  # rows: int64 [P], the user's place in ids
        self._keys = np.unique(self._rows * num_items + items)
        if len(self._keys) and np.bincount(self._keys // num_items).max() >= num_items:
            raise ValueError("a user has a positive with every item: there is nothing to draw negatives from")
        self._table: NDArray[np.bool_] | None = None
        if len(self._ids) * num_items <= MAX_TABLE_PAIRS:
            self._table = np.zeros(len(self._ids) * num_items, np.bool_)
            self._table[self._keys] = True

    def draw_negatives(self, per_positive: int, rng: np.random.Generator) -> Ids:
        """Draw items that the user of each positive has no positive with, uniformly (as in He et al. 2017).

        Returns int64 [P * per_positive], those of the first positive first.
        """
        base = (self._rows * self.num_items).repeat(per_positive)
        drawn = rng.integers(0, self.num_items, len(base))
        wrong = np.flatnonzero(self._contains(base + drawn))
        while len(wrong):
            drawn[wrong] = rng.integers(0, self.num_items, len(wrong))
            wrong = wrong[self._contains(base[wrong] + drawn[wrong])]
        return drawn

    def _contains(self, keys: Ids) -> NDArray[np.bool_]:
        if self._table is not None:
            return self._table[keys]
        where = np.searchsorted(self._keys, keys)
        where[where == len(self._keys)] = 0
        found: NDArray[np.bool_] = self._keys[where] == keys
        return found
