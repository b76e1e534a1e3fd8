"""What is kept of predictions, and the metrics that are made of it, for each task that a model may have.

Used by LocalTrainer and its record. E predictions, C classes or items.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fljob_runtime.metrics.histogram import exact_auc
from fljob_runtime.metrics.ranks import RankCounts
from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.models.tasks import Clicks, NextItem, Task
from fljob_runtime.parameters import Float32Array

RANKED_WHILE_TRAINING = 1024  # answers; with more, ranks are for evaluations only


class Measure(ABC):
    """Of each prediction two numbers are kept, of which the sums are made."""

    @abstractmethod
    def known(self, outputs: Tensor, targets: Tensor, *, trained: bool) -> Tensor:
        """Return what is kept of predictions: [E, 2]. trained: of a batch of training, where it must be cheap."""

    @abstractmethod
    def sums(self, known: Float32Array) -> MetricSums:
        """Return the metrics of predictions by what is kept of them: [E, 2]. Raises MetricsError if not finite."""

    @abstractmethod
    def auc(self, known: Float32Array) -> float:
        """Return the exact area under the ROC curve; NaN where it means nothing."""


class _Clicks(Measure):
    """Logits and labels."""

    def known(self, outputs: Tensor, targets: Tensor, *, trained: bool) -> Tensor:  # noqa: ARG002 - cheap either way
        return torch.stack([outputs.detach(), targets], 1)

    def sums(self, known: Float32Array) -> MetricSums:
        return MetricSums.of(known[:, 0], known[:, 1])

    def auc(self, known: Float32Array) -> float:
        return exact_auc(known[:, 0], known[:, 1])


class _Choices(Measure):
    """Each target's loss and its rank among all answers, a tie counting half; -1 where it was too dear."""

    def __init__(self, *, items: bool) -> None:
        self._items = items

    def known(self, outputs: Tensor, targets: Tensor, *, trained: bool) -> Tensor:
        targets = targets.long()
        with torch.no_grad():
            losses = cross_entropy(outputs.detach(), targets, reduction="none")
            if trained and outputs.shape[1] > RANKED_WHILE_TRAINING:
                return torch.stack([losses, torch.full_like(losses, -1.0)], 1)
            own = outputs.gather(1, targets[:, None])
            ranks = (outputs > own).sum(1) + 0.5 * ((outputs == own).sum(1) - 1)
            return torch.stack([losses, ranks], 1)

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


def measure_of(task: Task) -> Measure:
    """Return how predictions of a task are measured."""
    return _Clicks() if isinstance(task, Clicks) else _Choices(items=isinstance(task, NextItem))
