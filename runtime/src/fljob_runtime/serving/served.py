"""A folder with an exported model, opened: what it is fed, what it says, and which ids it has rows for. No torch here.

    signature.json      what goes in and out, and what the model is
    model.*             the model in one of three formats
    ids.safetensors     of models with tables that go by any ids: column -> its ids, ascending, int64 [n]. The row of an
                        id is its place there; an id that is not there has row n, of zeros. The graph has the same map.

Used by `exported`, which reads all formats, and by the scorer program, which has onnxruntime alone. Raises ExportError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fljob_runtime.parameters import Float32Array, Int64Array
from fljob_runtime.serving.feeds import Columns, Feed, FeedError

SIGNATURE = "signature.json"  # as in checkpoints.model, which needs packages that a scorer has not
IDS = "ids.safetensors"
_BATCH = 16_384  # examples scored at a time, or fewer, so that what goes in and comes out is bounded
_BATCH_VALUES = 1 << 22
Run = Callable[[list[np.ndarray]], Float32Array]


class Format(StrEnum):
    """How a model is written."""

    SAFETENSORS = "safetensors"
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"


FILES = {Format.SAFETENSORS: "model.safetensors", Format.TORCH_EXPORT: "model.pt2", Format.ONNX: "model.onnx"}


class ExportError(Exception):
    """A model that cannot be exported, or a folder that holds none; the message says what to do."""


@dataclass(frozen=True)
class Exported:
    """A model that is served. target: what its output is; run: columns in the order of feeds -> the output [B, ...].

    ids: columns of any ids -> those that have rows, ascending; width: values of the output for each row.
    """

    told: Mapping[str, Any]
    feeds: tuple[Feed, ...]
    target: str
    run: Run
    ids: Mapping[str, Int64Array] = field(default_factory=dict)
    width: int = 1

    @property
    def step(self) -> int:
        """Return how many rows are scored at a time."""
        values = self.width + sum(math.prod(feed.shape) for feed in self.feeds)
        return min(_BATCH, max(1, _BATCH_VALUES // values))

    def parts(self, columns: Columns) -> Iterator[tuple[int, Float32Array]]:
        """Yield the output of checked columns [B, ...] in parts, each with the number of its first row."""
        ordered = [columns[feed.name] for feed in self.feeds]
        for at in range(0, len(ordered[0]), self.step):
            yield at, self.run([column[at : at + self.step] for column in ordered])

    def score(self, columns: Columns) -> Float32Array:
        """Return the output of checked columns [B, ...]; raises FeedError where it is not finite."""
        return np.concatenate([finite(scores, at) for at, scores in self.parts(columns)])

    def ids_of(self, feed: Feed) -> Int64Array:
        """Return all ids of a column that the model has rows for, ascending; of none, if it cannot tell."""
        return self.ids.get(feed.name, np.arange(feed.num_ids, dtype=np.int64))


def finite(scores: Float32Array, first: int) -> Float32Array:
    """Return scores [B, ...] of rows from number `first` on; raises FeedError that names one that is not finite.

    Numbers that are finite need not stay so in a model: 1e25 squared is beyond float32.
    """
    wrong = ~np.isfinite(scores).reshape(len(scores), -1).all(axis=1)
    if wrong.any():
        raise FeedError(f"row {first + int(wrong.argmax())}: the model's output is not finite for these numbers")
    return scores


def best(scores: Float32Array, count: int) -> Int64Array:
    """Return the places of each row's best, of equal ones the first one first: [B, V] -> [B, min(count, V)]."""
    losses = -scores
    if count >= losses.shape[1]:
        return np.argsort(losses, axis=1, kind="stable")
    last = np.partition(losses, count - 1, axis=1)[:, count - 1]
    places = np.empty((len(losses), count), np.int64)
    for row, bound, found in zip(losses, last, places, strict=True):
        near = np.flatnonzero(row <= bound)  # ascending, and with all that are equal to the last of the best
        found[:] = near[np.argsort(row[near], kind="stable")[:count]]
    return places


def open_folder(folder: Path, runners: Mapping[Format, Callable[[Path, Mapping[str, Any]], Run]]) -> Exported:
    """Return the model in a folder. runners: the formats that can be read, by the model's path and its signature.

    Raises ExportError for what is none of ours or of another format, and what a runner raises.
    """
    try:
        told = json.loads((folder / SIGNATURE).read_bytes())
        form = Format(told["export"])
        feeds = tuple(Feed.from_json(value) for value in told["feeds"])
        ((target, width),) = ((str(v["name"]), math.prod(map(int, v["shape"][1:]))) for v in told["targets"])
        path = folder / FILES[form]
        if not path.is_file():
            raise ExportError(f"{path}: the model is not there; export it anew")
        if form not in runners:
            raise ExportError(f"{folder}: is in format {form}; export it by --format {' or '.join(runners)}")
        mapped = {str(value["column"]) for value in told.get("rowMaps", ())}
        ids = load_file(folder / IDS) if mapped else {}
        if missing := sorted(mapped - ids.keys()):
            raise ExportError(f"{folder / IDS}: has no ids of {', '.join(missing)}; export the model anew")
        return Exported(told, feeds, target, runners[form](path, told), ids, width)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ExportError(
            f"{folder}: not an exported model ({error}); make one by `fljob model export RUN --out DIR`"
        ) from error
