"""What training tells of itself: progress, a sample of its predictions, and that it has diverged.

Used by every way of training; one record per round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.training.measures import Known, Measure, joined

SAMPLED_PREDICTIONS = 65_536
PROGRESS_EVERY_BATCHES = 64


class DivergedError(ArithmeticError):
    """Loss or parameters are not finite (exit code DIVERGED)."""


@dataclass(frozen=True)
class TrainProgress:
    """How far a round is.

    loss: mean over the batches since the last report; auc: of a sample of their predictions, NaN without both labels.
    """

    samples_done: int
    samples_total: int
    loss: float
    auc: float


def silent(_: TrainProgress) -> None:
    """Tell nobody."""


class TrainRecord:
    """Loss and a sample of the predictions of a round's batches."""

    def __init__(self, client: str, measure: Measure, total: int, on_progress: Callable[[TrainProgress], None]) -> None:
        self._client, self._measure = client, measure
        self._total = total
        self._on_progress = on_progress
        self._every = max(1, math.ceil(total / SAMPLED_PREDICTIONS))
        self._sampled: list[Known] = []  # what is kept of some batches
        self._told = self._steps = self._done = 0
        self._window = torch.zeros(())  # sum of the losses since the last report

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor, samples: int) -> None:
        """Take in one batch. Raises DivergedError when the losses since the last report are not finite."""
        self._window += loss.detach()
        if self._steps % self._every == 0:
            self._sampled.append(self._measure.known(outputs, targets, trained=True))
        self._steps += 1
        self._done += samples
        if self._steps % PROGRESS_EVERY_BATCHES == 0:
            mean = self._finite() / PROGRESS_EVERY_BATCHES
            recent = self._sampled[self._told :]
            auc = self._measure.auc(joined(recent)) if recent else math.nan
            self._on_progress(TrainProgress(self._done, self._total, mean, auc))
            self._told = len(self._sampled)
            self._window.zero_()

    def skip(self, samples: int) -> None:
        """Count samples that were trained before this record began."""
        self._done += samples

    def sums(self) -> MetricSums:
        """Return metrics over the sampled predictions. Raises DivergedError when a loss or score is not finite."""
        self._finite()
        if not self._sampled:
            return MetricSums()
        try:
            return self._measure.sums(joined(self._sampled))
        except MetricsError as error:
            raise DivergedError(f"training: {error}; lower spec.optimizer.learningRate") from error

    def _finite(self) -> float:
        value = float(self._window)
        if not math.isfinite(value):
            raise DivergedError(
                f"client {self._client}: the training loss is {value}; lower spec.optimizer.learningRate"
            )
        return value
