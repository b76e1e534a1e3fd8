"""A training as TensorBoard shows it: loss, learning rate, norms of gradients, metrics, and histograms where asked for.

Used by the command line's `train`. The package `tensorboard` writes the events, and is needed for nothing else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fljob_runtime.training.pooled import PooledTraining

EVERY_BATCHES = 10  # from one point of loss and gradients to the next: a norm reads the whole gradient


class BoardError(RuntimeError):
    """Nothing can be written for TensorBoard."""


def check_installed() -> None:
    """Raise BoardError unless events can be written here."""
    if importlib.util.find_spec("tensorboard") is None:
        raise BoardError(
            "events for TensorBoard need the package tensorboard: pip install 'fljob-runtime[tensorboard]'"
        )


class Board:
    """Writes one training's events into a folder. x of all points: mini-batches since the training's beginning."""

    def __init__(self, folder: Path, training: PooledTraining, histograms: int = 0) -> None:
        """Go on after what was written up to the training's present step. Raises BoardError.

        histograms: epochs from one set to the next; 0: none.
        """
        check_installed()
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

        self._training, self._histograms = training, histograms
        self._sum, self._count = torch.zeros(()), 0  # of losses since the last point
        try:
            self._writer: Any = SummaryWriter(folder, purge_step=self._step + 1)
        except OSError as error:
            raise BoardError(f"{folder}: {error.strerror}; choose another folder") from error

    def step(self, loss: Tensor) -> None:
        """Take in a mini-batch, whose gradients are still there."""
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._step % EVERY_BATCHES == 0:
            self._point()

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Write an epoch's metrics, what is left of its losses, and its histograms if it is their turn."""
        if self._count:
            self._point()
        for name, value in metrics.items():
            self._writer.add_scalar(f"evaluation/{name}", value, self._step)
        if self._histograms and self._training.epoch % self._histograms == 0:
            self._write_histograms()
        self._writer.flush()

    def close(self) -> None:
        """Write what is left, of a training that was stopped within an epoch, and end."""
        if self._count:
            self._point()
        self._writer.close()

    @property
    def _step(self) -> int:
        return self._training.epoch * self._training.trainer.steps_per_epoch + self._training.batch

    def _point(self) -> None:
        self._writer.add_scalar("train/loss", float(self._sum) / self._count, self._step)
        self._writer.add_scalar("train/learning_rate", self._training.optimizer.param_groups[0]["lr"], self._step)
        norms = {name: float(torch.linalg.vector_norm(value)) for name, value in self._gradients().items()}
        for name, norm in norms.items():
            self._writer.add_scalar(f"gradient_norm/{name}", norm, self._step)
        self._writer.add_scalar("train/gradient_norm", sum(norm**2 for norm in norms.values()) ** 0.5, self._step)
        self._sum, self._count = torch.zeros(()), 0

    def _write_histograms(self) -> None:
        parameters = {name: value.detach() for name, value in self._training.trainer.model.named_parameters()}
        for kind, values in (("parameter", parameters), ("gradient", self._gradients())):
            for name, value in values.items():
                finite = value[torch.isfinite(value)]
                if finite.numel():
                    self._writer.add_histogram(f"{kind}/{name}", finite, self._step)

    def _gradients(self) -> dict[str, Tensor]:
        """Return the gradients of the last mini-batch; of sparse ones the rows that are there, each once."""
        found = self._training.trainer.model.named_parameters()
        return {name: _dense(parameter.grad) for name, parameter in found if parameter.grad is not None}


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient
