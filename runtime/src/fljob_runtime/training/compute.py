"""Where a model's mini-batches are computed, and in how many bits. Used by LocalTrainer and pooled training.

A model lives on the CPU, where its values come and go as numpy arrays; it is on an accelerator only while it trains or
is evaluated. No CUDA is asked for unless the job does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fljob_api.compute import Precision
from fljob_api.spec import FLJobSpec
from fljob_runtime.models.base import Batch, RecommenderModel

CPU = torch.device("cpu")
Loss = tuple[Tensor, Tensor, Tensor]
_log = logging.getLogger(__name__)


class ComputeError(ValueError):
    """A model cannot be trained in the job's precision or on its device (exit code BAD_CONFIG)."""


@dataclass(frozen=True)
class Compute:
    """How the loss of a mini-batch is made. What comes out, and all gradients, are float32 (torch.autocast)."""

    precision: Precision = Precision.FLOAT32
    device: torch.device = CPU

    @classmethod
    def of(cls, spec: FLJobSpec, client: str) -> Compute:
        """Read it from a job's spec, for a trainer or for what is no trainer's; raises ComputeError."""
        index = next((i for i, site in enumerate(spec.trainers) if site.name == client), None)
        own = None if index is None else spec.trainers[index].device
        where = "spec.device" if own is None else f"spec.trainers[{index}].device"
        return cls(spec.precision, _device(own or spec.device, where, client))

    def seed(self, number: int) -> None:
        """Let what a model draws by torch's generator of the device follow from a number."""
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(number)

    def loss(self, model: RecommenderModel, batch: Batch, labels: Tensor) -> Loss:
        """Return the mean loss, and the outputs and targets that it is of."""
        if self.precision is Precision.FLOAT32:
            return model.loss(batch, labels)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, outputs, targets = model.loss(batch, labels)
        return loss.float(), outputs.float(), targets

    def check(self, model: RecommenderModel, batch: Batch, labels: Tensor) -> None:
        """Raise ComputeError for a model that gives no loss or no gradients in this precision. No value changes."""
        try:
            self.loss(model, batch, labels)[0].backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:  # all that torch has to say of types that do not fit
            words = str(error).partition("\n")[0]
            raise ComputeError(
                f"spec.precision: {type(model).__name__} cannot be trained in {self.precision}: {words}; leave it at "
                f"{Precision.FLOAT32}, or let the model turn off torch.autocast around what needs float32"
            ) from error
        finally:
            model.zero_grad()

    @contextmanager
    def placed(self, model: RecommenderModel, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
        """Let the model, and an optimizer's state, be on the device within, and on the CPU again afterwards."""
        if self.device == CPU:
            yield
            return
        _move(model, optimizer, self.device)
        try:
            yield
        finally:
            _move(model, optimizer, CPU)


def _device(wanted: str, where: str, client: str) -> torch.device:
    """Return the device that is meant: the CPU, with a line in the log, where there is no accelerator at all."""
    if wanted == "cpu":
        return CPU
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        words = "torch finds no accelerator, so training is on the CPU"
        _log.warning("event=device trainer=%s wanted=%s used=cpu message=%s: %s", client, wanted, where, words)
        return CPU
    device = torch.device("cuda" if wanted == "auto" else wanted)
    if (device.index or 0) >= there:
        raise ComputeError(f"{where}: {wanted} is not there; this machine has cuda:0 to cuda:{there - 1}")
    _log.info("event=device trainer=%s wanted=%s used=%s", client, wanted, device)
    return device


def _move(model: RecommenderModel, optimizer: torch.optim.Optimizer | None, device: torch.device) -> None:
    model.to(device)
    for group in [] if optimizer is None else optimizer.param_groups:
        if isinstance(optimizer, torch.optim.Adagrad):
            group["fused"] = device == CPU  # not every torch has this form for CUDA
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {}) if optimizer else {}
            for name, value in state.items():
                if isinstance(value, Tensor):
                    fits = value.dim() or group.get("fused")  # a count of steps stays, but in fused forms
                    state[name] = value.to(device if fits else CPU)
