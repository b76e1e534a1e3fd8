"""What a model is trained for, and the loss of its outputs. E predictions, C classes or items.

Each model names one of these; how they are measured is `training.measures`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss


class Task(ABC):
    """What outputs [E, ...] and targets [E] mean."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, of which gradients are taken: scalar."""


@dataclass(frozen=True)
class Clicks(Task):
    """A logit [E] for a label 0 or 1 [E]. positive_weight: of the loss of a positive; squared: of the probability."""

    positive_weight: float = 1.0
    squared: bool = False

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, or the mean squared error of the probabilities."""
        weights = None if self.positive_weight == 1.0 else 1.0 + (self.positive_weight - 1.0) * targets
        if not self.squared:
            return binary_cross_entropy_with_logits(outputs, targets, weights)
        errors = mse_loss(torch.sigmoid(outputs), targets, reduction="none")
        return (errors if weights is None else errors * weights).mean()


class Choice(Task):
    """A logit for each of C answers [E, C], and which one is right [E]: cross-entropy of the softmax."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log-likelihood."""
        if not len(targets):
            return outputs.sum()  # of nothing: 0, where the mean would be no number
        return cross_entropy(outputs, targets.long())


class Classes(Choice):
    """One of C classes."""


@dataclass(frozen=True)
class NextItem(Choice):
    """Which of all items comes next. sampled: in training the outputs are those of some items, which tell no rank."""

    sampled: bool = False
