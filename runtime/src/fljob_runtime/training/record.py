"""What training tells of itself: progress, a sample of its predictions, and that it has diverged.

Used by every way of training; one record per round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from fljob_runtime.metrics.sums import MetricsError, MetricSums
from fljob_runtime.training.measures import Known, Measure, joined

_MEASURED_AT_A_TIME = 1 << 16  # numbers of outputs: few calls for small batches, and all of them in the cache
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

    def __init__(
        self, client: str, measure: Measure, total: int, on_progress: Callable[[TrainProgress], None], *, seed: int = 0
    ) -> None:
        """total: samples. seed: of what a model draws in this round."""
        self._client, self._measure, self._seed = client, measure, seed
        self._total = total
        self._on_progress = on_progress
        self._every = max(1, math.ceil(total / measure.sampled))
        self._waiting: list[Known] = []  # outputs and targets of some batches, not measured yet
        self._size = 0  # of those outputs
        self._sampled: list[Known] = []  # what is kept of the others
        self._told = self._steps = self._done = 0
        self._losses: list[Tensor] = []  # since the last report, on whichever device they are

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor, samples: int) -> None:
        """Take in one batch, detached. Raises DivergedError when the losses since the last report are not finite."""
        self._losses.append(loss)
        if self._steps % self._every == 0:
            self._waiting.append((outputs, targets))
            self._size += outputs.numel()
            if self._size >= _MEASURED_AT_A_TIME:
                self._measured()
        self._steps += 1
        self._done += samples
        if self._steps % PROGRESS_EVERY_BATCHES == 0:
            mean = self._finite() / PROGRESS_EVERY_BATCHES
            self._measured()
            recent = self._sampled[self._told :]
            auc = self._measure.auc(joined(recent)) if recent else math.nan
            self._on_progress(TrainProgress(self._done, self._total, mean, auc))
            self._told = len(self._sampled)
            self._losses = []

    @property
    def batch_seed(self) -> int:
        """Return the seed of what a model draws in the next batch: it follows from the place in the round."""
        return (self._seed + self._done) % 2**32

    def skip(self, samples: int) -> None:
        """Count samples that were trained before this record began."""
        self._done += samples

    def sums(self) -> MetricSums:
        """Return metrics over the sampled predictions. Raises DivergedError when a loss or score is not finite."""
        self._finite()
        self._measured()
        if not self._sampled:
            return MetricSums()
        try:
            return self._measure.sums(joined(self._sampled))
        except MetricsError as error:
            raise DivergedError(f"training: {error}; lower spec.optimizer.learningRate") from error

    def _measured(self) -> None:
        """Keep what the measure keeps of the batches that wait; of drawn candidates each may have its own number."""
        for _, alike in groupby(self._waiting, key=lambda known: known[0].shape[1:]):
            outputs, targets = (
                parts[0] if len(parts) == 1 else torch.cat(parts)  # of all items one batch alone is large
                for parts in zip(*alike, strict=True)
            )
            self._sampled.append(self._measure.known(outputs, targets, trained=True))
        self._waiting, self._size = [], 0

    def _finite(self) -> float:
        value = float(torch.stack(self._losses).sum()) if self._losses else 0.0
        if not math.isfinite(value):
            raise DivergedError(
                f"client {self._client}: the training loss is {value}; lower spec.optimizer.learningRate"
            )
        return value
