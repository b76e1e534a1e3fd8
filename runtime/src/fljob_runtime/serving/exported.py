"""Exported models: a folder with the model in one of three formats and signature.json, which says what goes in and out.

    safetensors     model.safetensors: values; the model itself is made by its name in the registry
    torch-export    model.pt2: a program of torch.export, which needs torch alone
    onnx            model.onnx, which needs onnxruntime alone; to write it, onnx and onnxscript

Called by the command line. Raises ExportError.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fljob_runtime import registry
from fljob_runtime.checkpoints.files import write_atomically
from fljob_runtime.checkpoints.model import MODEL, SIGNATURE, state_tensors, write_model
from fljob_runtime.checkpoints.saved_model import read_model
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.parameters import Float32Array, Kind, ModelLayout, ModelState
from fljob_runtime.schema import IdSequence, Schema
from fljob_runtime.serving.feeds import Columns, Feed
from fljob_runtime.serving.graph import ServingGraph, examples

_BATCH = 16_384  # examples scored at a time


class Format(StrEnum):
    """How a model is written."""

    SAFETENSORS = "safetensors"
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"


FILES = {Format.SAFETENSORS: MODEL, Format.TORCH_EXPORT: "model.pt2", Format.ONNX: "model.onnx"}


class ExportError(Exception):
    """A model that cannot be exported, or a folder that holds none; the message says what to do."""


@dataclass(frozen=True)
class Exported:
    """A model that is served. target: what its output is; run: columns in the order of feeds -> the output [B, ...]."""

    told: Mapping[str, Any]
    feeds: tuple[Feed, ...]
    target: str
    run: Callable[[list[np.ndarray]], Float32Array]

    def score(self, columns: Columns) -> Float32Array:
        """Return the output of checked columns [B, ...], a part after the other."""
        ordered = [columns[feed.name] for feed in self.feeds]
        parts = [self.run([c[at : at + _BATCH] for c in ordered]) for at in range(0, len(ordered[0]), _BATCH)]
        return np.concatenate(parts)


def write(
    folder: Path, form: Format, model: RecommenderModel, schema: Schema, told: Mapping[str, Any], state: ModelState
) -> None:
    """Write a model, whose values are `state`, and its signature; raises ExportError or CheckpointError."""
    layout = ModelLayout.from_json(json.dumps(told["layout"]).encode())
    if any(spec.kind is Kind.KEYED for spec in layout.specs):
        raise ExportError("tables with keys: Any cannot be exported yet: ids that come later have no rows in a graph")
    graph = ServingGraph(model, schema)
    shape = list(graph(*examples(graph.feeds)).shape[1:])
    signature = {
        **told,
        "export": form.value,
        "schema": _schema_json(schema),
        "feeds": [feed.to_json() for feed in graph.feeds],
        "targets": [{"name": graph.target, "dtype": "float32", "shape": ["batch", *shape]}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    if form is Format.SAFETENSORS:
        write_model(folder, state_tensors(layout, state), signature)
        return
    _write_program(folder / FILES[form], form, graph)
    write_atomically(folder / SIGNATURE, lambda file: file.write(json.dumps(signature, sort_keys=True).encode()))


def _write_program(path: Path, form: Format, graph: ServingGraph) -> None:
    batch = torch.export.Dim("batch")
    if form is Format.ONNX:
        for module in ("onnx", "onnxscript"):
            _needed(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what it does itself
        program = torch.export.export(
            graph, examples(graph.feeds), dynamic_shapes={"columns": tuple({0: batch} for _ in graph.feeds)}
        )
        if form is Format.TORCH_EXPORT:
            torch.export.save(program, path)
            return
        torch.onnx.export(
            program,
            (),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[feed.name for feed in graph.feeds],
            output_names=[graph.target],
        )


def read(folder: Path) -> Exported:
    """Return the model in a folder; raises ExportError or CheckpointError for what is none of ours."""
    try:
        told = json.loads((folder / SIGNATURE).read_bytes())
        form = Format(told["export"])
        feeds = tuple(Feed.from_json(value) for value in told["feeds"])
        (target,) = (str(value["name"]) for value in told["targets"])
        path = folder / FILES[form]
        if not path.is_file():
            raise ExportError(f"{path}: the model is not there; export it anew")
        run = {Format.SAFETENSORS: _made, Format.TORCH_EXPORT: _program, Format.ONNX: _session}[form](path, told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{folder}: not an exported model ({error}); make one by `fljob model export RUN --out DIR`"
        ) from error
    return Exported(told, feeds, target, run)


def _made(path: Path, told: Mapping[str, Any]) -> Callable[[list[np.ndarray]], Float32Array]:
    registry.load(told.get("imports", ()))
    schema, spec = _schema(told["schema"]), told["model"]
    model = make_model(spec["name"], spec.get("parameters", {}), schema, int(told["seed"]))
    saved = read_model(path)
    saved.check_fits(model.layout())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(saved.values[name]))
    return _of_module(ServingGraph(model, schema))


def _program(path: Path, _told: Mapping[str, Any]) -> Callable[[list[np.ndarray]], Float32Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what it does itself
        return _of_module(torch.export.load(path).module())


def _of_module(module: torch.nn.Module) -> Callable[[list[np.ndarray]], Float32Array]:
    def run(columns: list[np.ndarray]) -> Float32Array:
        with torch.inference_mode():
            outputs: Float32Array = module(*(torch.from_numpy(np.ascontiguousarray(c)) for c in columns)).numpy()
        return outputs

    return run


def _session(path: Path, told: Mapping[str, Any]) -> Callable[[list[np.ndarray]], Float32Array]:
    session = _needed("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [feed["name"] for feed in told["feeds"]]

    def run(columns: list[np.ndarray]) -> Float32Array:
        outputs: Float32Array = session.run(None, dict(zip(names, columns, strict=True)))[0]
        return outputs

    return run


def _needed(module: str) -> Any:  # noqa: ANN401 - a module without types
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"format onnx needs {module}: pip install 'fljob-runtime[onnx]'") from error


def _schema_json(schema: Schema) -> dict[str, Any]:
    return {
        "ids": dict(schema.ids),
        "features": {name: list(shape) for name, shape in schema.features.items()},
        "sequences": {name: asdict(sequence) for name, sequence in schema.sequences.items()},
        "numClasses": schema.num_classes,
    }


def _schema(value: Mapping[str, Any]) -> Schema:
    return Schema(
        ids={str(name): int(count) for name, count in value["ids"].items()},
        features={str(name): tuple(int(n) for n in shape) for name, shape in value["features"].items()},
        sequences={str(n): IdSequence(int(s["num_ids"]), int(s["longest"])) for n, s in value["sequences"].items()},
        num_classes=int(value["numClasses"]),
    )
