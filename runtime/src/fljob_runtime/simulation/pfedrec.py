"""PFedRec (Zhang et al., IJCAI 2023, https://arxiv.org/abs/2301.08143), a client per user, all of them in one process.

A user's score function, a linear one, never leaves the user; the item table is averaged over all users. In each batch a
client steps its score function first, and then its copy of the item table by a rate of its own. A user is scored with
the own copy of the table, as trained in the round. All clients' batches are stepped together: what a client touches of
its copy are rows of one array. U users, I items, D width, N samples of a round, T pairs of a user and an item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fljob_runtime.data.examples import Ids
from fljob_runtime.metrics.ranks import RankCounts
from fljob_runtime.simulation.one_user import Split, drawer, rivals
from fljob_runtime.training.record import DivergedError


@dataclass(frozen=True)
class Rule:
    """How PFedRec trains.

    item_rate: times the score function's rate and the number of items, for the item table. initial_std: of that table.
    """

    leaky: bool
    dim: int = 32
    rate: float = 0.1
    item_rate: float = 80.0
    batch: int = 256
    negatives: int = 4
    initial_std: float = 1.0


@dataclass(frozen=True)
class Evaluated:
    """Ranks of a round: of the validation and test items among 99, and of the test item among all unrated ones."""

    valid: RankCounts
    test: RankCounts
    full: RankCounts


@dataclass(frozen=True)
class _Work:
    """The samples of a round. user, pair, label: [N], ascending by user; pair: the row of a user's copy of an item.

    pairs: [T, 2], which user and item a row is of. place: [N], the sample's number among its user's.
    """

    user: Tensor
    pair: Tensor
    label: Tensor
    pairs: Ids
    place: Tensor


class Population:
    """All users' score functions, and the item table."""

    def __init__(self, split: Split, rule: Rule, seed: int) -> None:
        self._split, self._rule = split, rule
        self._rng = np.random.Generator(np.random.Philox(seed))
        generator = torch.Generator().manual_seed(seed)
        bound = 1.0 / rule.dim**0.5
        weight = (2.0 * torch.rand(rule.dim, generator=generator) - 1.0) * bound
        self.weights = weight.repeat(split.num_users, 1)  # [U, D], all the same at first
        self.biases = ((2.0 * torch.rand(1, generator=generator) - 1.0) * bound).repeat(split.num_users)  # [U]
        self.items = rule.initial_std * torch.randn(split.num_items, rule.dim, generator=generator)  # [I, D]
        self._positives = drawer(split, leaky=rule.leaky)
        self._rivals = rivals(split, self._rng)
        self._candidates = _unrated(split)

    def rounds(self, count: int) -> Iterator[Evaluated]:
        """Train and evaluate so many rounds, each with all users. Raises DivergedError."""
        for _ in range(count):
            work = self._draw()
            own = self.items[torch.from_numpy(work.pairs[:, 1])]  # [T, D]
            self._train(work, own)
            yield self._evaluate(work, own)
            self._average(work, own)

    def _draw(self) -> _Work:
        """Return each user's positives and fresh negatives, in an order of their own."""
        split, k = self._split, self._rule.negatives
        negatives = self._positives.draw_negatives(k, self._rng)[: k * len(split.users)]  # of training pairs: the first
        users = np.concatenate([split.users, split.users.repeat(k)])
        items = np.concatenate([split.items, negatives])
        labels = np.zeros(len(users), np.float32)
        labels[: len(split.users)] = 1.0
        order = np.lexsort((self._rng.random(len(users)), users))
        users, items, labels = users[order], items[order], labels[order]
        keys, pair = np.unique(users * split.num_items + items, return_inverse=True)
        first = np.searchsorted(users, np.arange(split.num_users))
        return _Work(
            user=torch.from_numpy(users),
            pair=torch.from_numpy(pair),
            label=torch.from_numpy(labels),
            pairs=np.stack(np.divmod(keys, split.num_items), 1),
            place=torch.from_numpy(np.arange(len(users)) - first[users]),
        )

    def _train(self, work: _Work, own: Tensor) -> None:
        """Step every user through its samples once; changes the score functions and the copies of items."""
        rule, rate = self._rule, self._rule.rate
        item_rate = rate * rule.item_rate * self._split.num_items
        step = work.place // rule.batch
        for number in range(int(step.max()) + 1):
            chosen = step == number
            user, pair, label = work.user[chosen], work.pair[chosen], work.label[chosen]
            share = 1.0 / torch.bincount(user, minlength=self._split.num_users)[user]  # of the mean over its batch
            rows = own[pair]
            error = (self._probability(user, rows) - label) * share
            self.weights.index_add_(0, user, rows * error[:, None], alpha=-rate)
            self.biases.index_add_(0, user, error, alpha=-rate)
            error = (self._probability(user, rows) - label) * share
            own.index_add_(0, pair, self.weights[user] * error[:, None], alpha=-item_rate)

    def _probability(self, user: Tensor, rows: Tensor) -> Tensor:
        return torch.sigmoid((self.weights[user] * rows).sum(1) + self.biases[user])

    def _average(self, work: _Work, own: Tensor) -> None:
        """Make the item table the mean of all users' copies; rows that a user did not touch are as they were."""
        items = torch.from_numpy(work.pairs[:, 1])
        moved = own - self.items[items]
        self.items.index_add_(0, items, moved, alpha=1.0 / self._split.num_users)

    def _evaluate(self, work: _Work, own: Tensor) -> Evaluated:
        """Rank each user's held-out items with the user's own copy of the table."""
        scores = self.weights @ self.items.T  # [U, I]
        user, item = torch.from_numpy(work.pairs[:, 0]), torch.from_numpy(work.pairs[:, 1])
        scores[user, item] = (self.weights[user] * own).sum(1)
        if not bool(torch.isfinite(scores).all()):  # nothing is above what is no number: every rank would be the best
            raise DivergedError("PFedRec: a score is not finite; lower the rates")
        table, everyone = scores.numpy(), np.arange(self._split.num_users)[:, None]
        valid_rivals, test_rivals = (table[everyone, drawn] for drawn in self._rivals)
        valid, test = table[everyone, self._split.valid[:, None]], table[everyone, self._split.test[:, None]]
        return Evaluated(
            valid=RankCounts.of(_ranks(valid, valid_rivals)),
            test=RankCounts.of(_ranks(test, test_rivals)),
            full=RankCounts.of(_ranks(test, np.where(self._candidates, table, -np.inf))),
        )


def _ranks(own: np.ndarray, rivals_: np.ndarray) -> np.ndarray:
    """Return how many rivals [U, R] are above each own score [U, 1], a tie counting half: float64 [U]."""
    above: np.ndarray = (rivals_ > own).sum(1) + 0.5 * (rivals_ == own).sum(1)
    return above


def _unrated(split: Split) -> np.ndarray:
    """Return which items a user has no rating of: bool [U, I]."""
    users, items = split.positives(with_held_out=True)
    unrated = np.ones((split.num_users, split.num_items), np.bool_)
    unrated[users, items] = False
    return unrated


def best(evaluated: list[Evaluated]) -> int:
    """Return the round, from 0, with the highest HR@10 on validation, the first of equals."""
    rates = [one.valid.hit_rate(10) for one in evaluated]
    return rates.index(max(rates))
