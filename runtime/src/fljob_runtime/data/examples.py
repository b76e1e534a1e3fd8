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


def sample_negatives(users: Ids, items: Ids, num_items: int, per_positive: int, rng: np.random.Generator) -> Ids:
    """Draw items that the user of each positive has no positive with, uniformly (as in He et al. 2017).

    users, items: int64 [P], the positives. Returns int64 [P * per_positive], for users.repeat(per_positive).
    Raises ValueError when some user has a positive with every item.
    """
    known = np.unique(users * num_items + items)
    if len(known) and np.bincount(known // num_items).max() >= num_items:
        raise ValueError("a user has a positive with every item: there is nothing to draw negatives from")
    base = users.repeat(per_positive) * num_items
    drawn = rng.integers(0, num_items, len(base))
    wrong = np.flatnonzero(_contains(known, base + drawn))
    while len(wrong):
        drawn[wrong] = rng.integers(0, num_items, len(wrong))
        wrong = wrong[_contains(known, base[wrong] + drawn[wrong])]
    return drawn


def _contains(sorted_keys: Ids, keys: Ids) -> NDArray[np.bool_]:
    where = np.searchsorted(sorted_keys, keys)
    where[where == len(sorted_keys)] = 0
    found: NDArray[np.bool_] = sorted_keys[where] == keys
    return found
