"""Examples in memory: the one shape in which every dataset hands its data to training.

Datasets implement `SiteData`; `training` asks it for the examples of an epoch and for held-out ones. An example is a
value in each of some named columns and a label; which columns there are is the dataset's schema, and a model names
those that it reads. All randomness is a function of (seed, client, epoch), so a restarted trainer repeats exactly.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.schema import PADDING, Schema

Ids = NDArray[np.int64]
Labels = NDArray[np.float32]
Column = NDArray[Any]  # int64 ids or float32 features, one entry per example

MAX_TABLE_PAIRS = 1 << 25


@dataclass(frozen=True)
class Examples:
    """columns: name -> [N, ...], ids int64 or features float32; labels: float32 [N], the number of a class.

    Sequences of ids are [N, longest], padded. Where sequences say what comes next, labels are zeros that nobody reads.
    """

    columns: Mapping[str, Column]
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def ids(self, column: str) -> Ids:
        """Return the ids in a column, one after another: int64 [M], without padding."""
        values: Ids = self.columns[column]
        return values if values.ndim == 1 else values[values != PADDING]

    def take(self, which: Ids | slice) -> Examples:
        """Return some of the examples, in the order given."""
        return Examples({name: values[which] for name, values in self.columns.items()}, self.labels[which])

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """Return all parts' examples, one after another; at least one part, all with the same columns."""
        if len(parts) == 1:
            return parts[0]
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        return cls(columns, np.concatenate([part.labels for part in parts]))


@dataclass(frozen=True)
class HeldOut:
    """Examples to evaluate on.

    groups: int64 [G + 1], examples groups[g]:groups[g + 1] belong to one user of a leave-one-out test, its positive
    first; None where nothing is ranked.
    """

    examples: Examples
    groups: Ids | None = None


class SiteData(ABC):
    """One client's data. schema: that of the whole dataset, as ids are global.

    needs_folder: whether there is no data without a volume, so that a manifest without trainers[].data is refused.
    """

    needs_folder: ClassVar[bool] = False

    schema: Schema

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Examples in one epoch."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return the examples of one epoch in training order."""

    @abstractmethod
    def held_out(self) -> HeldOut:
        """Return the examples to evaluate on."""


class LabelledRows(SiteData):
    """Data whose training rows are the same in each epoch, shuffled."""

    _train: Examples
    _held_out: HeldOut

    @property
    def num_samples(self) -> int:
        """Rows for training."""
        return len(self._train)

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return all rows, shuffled."""
        return shuffled(self._train, rng)

    def held_out(self) -> HeldOut:
        """Return the rows that were split off."""
        return self._held_out


def epoch_rng(seed: int, client: str, epoch: int) -> np.random.Generator:
    """Return the generator for one epoch of one client (counter-based, so no state travels between epochs)."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(client.encode()), epoch])
    return np.random.Generator(np.random.Philox(entropy))


def shuffled(examples: Examples, rng: np.random.Generator) -> Examples:
    """Return the examples in an order drawn from `rng`."""
    return examples.take(rng.permutation(len(examples)))


def pairs(users: Ids, items: Ids, labels: Labels) -> Examples:
    """Return labelled (user, item) pairs, [N] each."""
    return Examples({"user": users, "item": items}, labels)


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
