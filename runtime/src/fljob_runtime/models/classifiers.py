"""Models of classes: softmax regression and FEMNIST's small convolutional network.

`cnn` is that of LEAF (Caldas et al. 2018, https://arxiv.org/abs/1812.01097) by default; PaddleFL's has
`channels: 20,50`, `dense: 0` and `padding: false`. B batch, C classes, M channels, H and W rows and columns.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.layers import DropoutRate, Widths, dropped, linear
from fljob_runtime.models.tasks import Classes, Task
from fljob_runtime.registry import NoParameters, ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema, SchemaError

_EVALUATED_VALUES = 1 << 24  # of the widest layer in one batch of an evaluation: 64 MiB


class Classifier(RecommenderModel):
    """A model that names one of the dataset's classes."""

    task: Task = Classes()

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        if schema.num_classes < 2:
            raise SchemaError("the model learns classes; the dataset has no labels: choose another spec.model")

    def predict(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of all classes [B, C], and the labels [B]."""
        return self.scores(batch), labels

    @abstractmethod
    def scores(self, batch: Batch) -> Tensor:
        """Return the score of each class: columns [B, ...] -> [B, C]."""


@register(RegistryKind.MODEL, "softmax", NoParameters)
class Softmax(Classifier):
    """Score each class by a weight of every number: of pictures all pixels, and columns of single numbers."""

    def __init__(self, parameters: NoParameters, schema: Schema, generator: torch.Generator) -> None:  # noqa: ARG002 - one signature for all
        super().__init__(schema)
        if not schema.features:
            raise SchemaError("model 'softmax' reads numbers or pictures; the dataset has neither")
        self.columns = tuple(schema.features)
        inputs = sum(math.prod(shape) for shape in schema.features.values())
        self.output = nn.Linear(inputs, schema.num_classes)
        nn.init.zeros_(self.output.weight)  # the loss is convex: any start will do
        nn.init.zeros_(self.output.bias)

    def scores(self, batch: Batch) -> Tensor:
        """Return the score of each class: columns [B, ...] -> [B, C]."""
        numbers = [batch[name].reshape(len(batch[name]), -1) for name in self.columns]
        return self.output(numbers[0] if len(numbers) == 1 else torch.cat(numbers, 1))  # type: ignore[no-any-return]  # nn.Module calls are untyped


class CnnParameters(ParametersModel):
    """Parameters of `cnn`. channels: of each convolution, behind which pictures are halved."""

    channels: Widths = (32, 64)
    kernel: int = Field(5, ge=1, le=64, description="Rows and columns of a convolution.")
    padding: bool = Field(default=True, description="Whether a convolution keeps the size of a picture.")
    dense: int = Field(2048, ge=0, le=65_536, description="Width of the layer before the classes; 0: no such layer.")
    dropout: DropoutRate = Field(
        0.0, description="Share of what the last layer reads that a training batch leaves out."
    )


@register(RegistryKind.MODEL, "cnn", CnnParameters)
class Cnn(Classifier):
    """Score classes of pictures: convolutions with ReLU and pooling, a dense layer, the classes."""

    def __init__(self, parameters: CnnParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(schema)
        self.dropout = parameters.dropout
        self.column, (maps, *size) = _pictures(schema)
        self.convolutions = nn.ModuleList()
        self.evaluation_batch = max(1, _EVALUATED_VALUES // (max(maps, *parameters.channels) * math.prod(size)))
        for channels in parameters.channels:
            layer = _convolution(maps, channels, parameters, generator)
            self.convolutions.append(layer)
            maps, size = channels, [_halved(length, parameters) for length in size]
        if min(size) < 1:
            shape = "x".join(map(str, schema.features[self.column]))
            raise SchemaError(
                f"model 'cnn': nothing is left of pictures {shape}; name fewer channels, or padding: true"
            )
        width = maps * math.prod(size)
        if parameters.dense:
            self.dense = linear(width, parameters.dense, generator)
        self.output = linear(parameters.dense or width, schema.num_classes, generator)

    def scores(self, batch: Batch) -> Tensor:
        """Return the score of each class: pictures [B, H, W] or [B, M, H, W] -> [B, C]."""
        hidden = batch[self.column]
        if hidden.dim() == 3:
            hidden = hidden[:, None]  # [B, 1, H, W]
        for layer in self.convolutions:
            hidden = max_pool2d(torch.relu(layer(hidden)), 2)
        hidden = hidden.flatten(1)
        if hasattr(self, "dense"):
            hidden = torch.relu(self.dense(hidden))
        return self.output(dropped(hidden, self.dropout, training=self.training))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def _pictures(schema: Schema) -> tuple[str, tuple[int, ...]]:
    """Return the one column of pictures, and their channels, rows and columns."""
    found = {name: shape for name, shape in schema.features.items() if len(shape) in {2, 3}}
    if len(found) != 1:
        there = ", ".join(sorted(found)) or "none"
        raise SchemaError(f"model 'cnn' reads one column of pictures, [H, W] or [M, H, W]; the dataset has {there}")
    name, shape = next(iter(found.items()))
    return name, (1, *shape) if len(shape) == 2 else shape


def _convolution(inputs: int, outputs: int, parameters: CnnParameters, generator: torch.Generator) -> nn.Conv2d:
    """Make a layer with truncated normal weights of deviation 1/√(values that one output reads), and no bias."""
    padding = "same" if parameters.padding else "valid"
    layer = nn.Conv2d(inputs, outputs, parameters.kernel, padding=padding, device="meta").to_empty(device="cpu")
    deviation = 1.0 / math.sqrt(inputs * parameters.kernel**2)
    nn.init.trunc_normal_(layer.weight, 0.0, deviation, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _halved(length: int, parameters: CnnParameters) -> int:
    return (length if parameters.padding else length - parameters.kernel + 1) // 2
