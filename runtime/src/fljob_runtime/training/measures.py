"""What is kept of predictions, and the metrics that are made of it, for each task that a model may have.

Used by LocalTrainer and its record. E predictions, C classes or items.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fljob_runtime.metrics.histogram import exact_auc
from fljob_runtime.metrics.ranks import RankCounts
from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.models.tasks import Clicks, NextItem, Task
from fljob_runtime.parameters import Float32Array, Int64Array

RANKED_WHILE_TRAINING = 1024  # answers; with more, ranks are for evaluations only
DEAR_SHARE = 8  # and while training only each 8th prediction is looked at, or that would take a sixth of the time


Known = tuple[Tensor, Tensor]


class Measure(ABC):
    """Of each prediction two numbers are kept, of which the sums are made.

    sampled: how many of a round's training predictions at most; with more, the metrics would take a twentieth of a
    small model's training.
    """

    sampled = 32_768

    @abstractmethod
    def known(self, outputs: Tensor, targets: Tensor, *, trained: bool) -> Known:
        """Return what is kept of predictions: [E] each. trained: of a batch of training, where it must be cheap."""

    @abstractmethod
    def sums(self, known: Float32Array) -> MetricSums:
        """Return the metrics of predictions by what is kept of them: [E, 2]. Raises MetricsError if not finite."""

    @abstractmethod
    def auc(self, known: Float32Array) -> float:
        """Return the exact area under the ROC curve; NaN where it means nothing."""


class _Clicks(Measure):
    """Logits and labels."""

    def known(self, outputs: Tensor, targets: Tensor, *, trained: bool) -> Known:  # noqa: ARG002 - cheap either way
        return outputs.detach(), targets

    def sums(self, known: Float32Array) -> MetricSums:
        return MetricSums.of(known[:, 0], known[:, 1])

    def auc(self, known: Float32Array) -> float:
        return exact_auc(known[:, 0], known[:, 1])


class _Choices(Measure):
    """Each target's loss and its rank among all answers, a tie counting half; -1 where it was too dear."""

    def __init__(self, *, items: bool, ranked_while_training: int = RANKED_WHILE_TRAINING) -> None:
        self._items, self._most = items, ranked_while_training
        if not items:
            self.sampled = 2048  # each costs as many numbers as there are classes

    def known(self, outputs: Tensor, targets: Tensor, *, trained: bool) -> Known:
        targets = targets.long()
        dear = trained and outputs.shape[1] > self._most
        if dear:
            outputs, targets = outputs[::DEAR_SHARE], targets[::DEAR_SHARE]
        with torch.no_grad():
            losses = cross_entropy(outputs.detach(), targets, reduction="none")
            if dear:
                return losses, torch.full_like(losses, -1.0)
            # The signs add up to how many are above less how many are below: four times as fast as counting both.
            signs = torch.sign(outputs - outputs.gather(1, targets[:, None]))
            return losses, 0.5 * (signs.sum(1) + (outputs.shape[1] - 1))

    def sums(self, known: Float32Array) -> MetricSums:
        if not np.isfinite(known).all():
            raise MetricsError("predictions are not finite")
        sums = MetricSums(len(known), float(known[:, 0].sum(dtype=np.float64)))
        ranks = known[known[:, 1] >= 0.0, 1]
        if self._items:
            return replace(sums, items=RankCounts.of(ranks))
        return replace(sums, num_classified=len(ranks), num_correct=int((ranks < 0.5).sum()))

    def auc(self, known: Float32Array) -> float:  # noqa: ARG002 - there are more than two answers
        return math.nan


def joined(parts: Sequence[Known]) -> Float32Array:
    """Return what was kept of several batches as one: [E, 2]."""
    first, second = [part[0].cpu() for part in parts], [part[1].cpu() for part in parts]
    known: Float32Array = torch.stack([torch.cat(first), torch.cat(second)], 1).numpy()
    return known


def first_ranks(logits: Float32Array, groups: Int64Array) -> np.ndarray:  # float64 [G]
    """Return the rank of each group's first score among its others, 0 = best; a tie counts half."""
    sizes = np.diff(groups)
    own = logits[groups[:-1]].repeat(sizes)
    above = (logits > own).astype(np.float64) + 0.5 * (logits == own)
    return np.add.reduceat(above, groups[:-1]) - 0.5  # the positive ties with itself


def measure_of(task: Task) -> Measure:
    """Return how predictions of a task are measured."""
    if isinstance(task, NextItem):
        return _Choices(items=True, ranked_while_training=0 if task.sampled else RANKED_WHILE_TRAINING)
    return _Clicks() if isinstance(task, Clicks) else _Choices(items=False)
