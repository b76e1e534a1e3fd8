"""In how many bits a model's mini-batches are computed. Used by LocalTrainer alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fljob_api.compute import Precision
from fljob_runtime.models.base import Batch, RecommenderModel

Loss = tuple[Tensor, Tensor, Tensor]


class PrecisionError(ValueError):
    """A model cannot be trained in the precision of the job (exit code BAD_CONFIG)."""


@dataclass(frozen=True)
class Compute:
    """How the loss of a mini-batch is made. What comes out, and all gradients, are float32 (torch.autocast)."""

    precision: Precision = Precision.FLOAT32

    def loss(self, model: RecommenderModel, batch: Batch, labels: Tensor) -> Loss:
        """Return the mean loss, and the outputs and targets that it is of."""
        if self.precision is Precision.FLOAT32:
            return model.loss(batch, labels)
        with torch.autocast("cpu", torch.bfloat16):
            loss, outputs, targets = model.loss(batch, labels)
        return loss.float(), outputs.float(), targets

    def check(self, model: RecommenderModel, batch: Batch, labels: Tensor) -> None:
        """Raise PrecisionError for a model that gives no loss or no gradients in this precision. No value changes."""
        try:
            self.loss(model, batch, labels)[0].backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:  # all that torch has to say of types that do not fit
            words = str(error).partition("\n")[0]
            raise PrecisionError(
                f"spec.precision: {type(model).__name__} cannot be trained in {self.precision}: {words}; leave it at "
                f"{Precision.FLOAT32}, or let the model turn off torch.autocast around what needs float32"
            ) from error
        finally:
            model.zero_grad()
