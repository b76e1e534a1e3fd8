"""Exported models: a folder with the model in one of three formats and signature.json, which says what goes in and out.

    safetensors     model.safetensors: values; the model itself is made by its name in the registry
    torch-export    model.pt2: a program of torch.export, which needs torch alone
    onnx            model.onnx, which needs onnxruntime alone; to write it, onnx and onnxscript

Called by the command line. What a folder holds, without torch, is `served`. Raises ExportError.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from fljob_runtime import registry
from fljob_runtime.checkpoints.files import I64, Tensor, write_atomically, write_safetensors
from fljob_runtime.checkpoints.model import state_tensors, write_model
from fljob_runtime.checkpoints.saved_model import read_model
from fljob_runtime.models.base import RecommenderModel, make_model
from fljob_runtime.parameters import Float32Array, Kind, ModelLayout, ModelState
from fljob_runtime.schema import IdSequence, Schema
from fljob_runtime.serving.graph import ServingGraph, examples
from fljob_runtime.serving.onnx_session import needed, open_session
from fljob_runtime.serving.rows import UNKNOWN, keyed_as, with_rows
from fljob_runtime.serving.served import FILES, IDS, SIGNATURE, Exported, ExportError, Format, Run, open_folder


def write(
    folder: Path, form: Format, model: RecommenderModel, schema: Schema, told: Mapping[str, Any], state: ModelState
) -> None:
    """Write a model, whose values are `state`, and its signature; raises ExportError or CheckpointError."""
    layout = ModelLayout.from_json(json.dumps(told["layout"]).encode())
    whole, ids = with_rows(model, layout, state, _initial_seed(told))
    graph = ServingGraph(whole, schema, ids)
    shape = list(graph(*examples(graph.feeds)).shape[1:])
    signature = {
        **told,
        "export": form.value,
        "schema": _schema_json(schema),
        "feeds": [feed.to_json() for feed in graph.feeds],
        "targets": [{"name": graph.target, "dtype": "float32", "shape": ["batch", *shape]}],
        "rowMaps": [{"column": name, "rows": len(known), "unknownIds": UNKNOWN} for name, known in ids.items()],
    }
    folder.mkdir(parents=True, exist_ok=True)
    if form is not Format.SAFETENSORS:
        _write_program(folder / FILES[form], form, graph)
    if ids:
        write_safetensors(folder / IDS, [Tensor(n, k.shape, partial(np.asarray, k), I64) for n, k in ids.items()], {})
    if form is Format.SAFETENSORS:
        write_model(folder, state_tensors(layout, state), signature)
        return
    write_atomically(folder / SIGNATURE, lambda file: file.write(json.dumps(signature, sort_keys=True).encode()))


def _write_program(path: Path, form: Format, graph: ServingGraph) -> None:
    batch = torch.export.Dim("batch")
    if form is Format.ONNX:
        for module in ("onnx", "onnxscript"):
            needed(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what it does itself
        program = torch.export.export(
            graph, examples(graph.feeds), dynamic_shapes={"columns": tuple({0: batch} for _ in graph.feeds)}
        )
        if form is Format.TORCH_EXPORT:
            write_atomically(path, partial(torch.export.save, program))
            return
        _write_onnx(path, program, graph)


def _write_onnx(path: Path, program: torch.export.ExportedProgram, graph: ServingGraph) -> None:
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            torch.onnx.export(
                program,
                (),
                Path(scratch) / path.name,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=[feed.name for feed in graph.feeds],
                output_names=[graph.target],
            )
            # The values of a great model are in a file of their own, which goes first.
            for made in sorted(Path(scratch).iterdir(), reverse=True):
                made.replace(path.parent / made.name)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error


def read(folder: Path) -> Exported:
    """Return the model in a folder; raises ExportError or CheckpointError for what is none of ours."""
    return open_folder(folder, {Format.SAFETENSORS: _made, Format.TORCH_EXPORT: _program, Format.ONNX: open_session})


def _made(path: Path, told: Mapping[str, Any]) -> Run:
    registry.load(told.get("imports", ()))
    schema, spec, seed = _schema(told["schema"]), told["model"], _initial_seed(told)
    keyed = {str(value["column"]) for value in told.get("rowMaps", ())}
    smallest = replace(schema, ids={name: 1 if name in keyed else count for name, count in schema.ids.items()})
    model = make_model(spec["name"], spec.get("parameters", {}), smallest, seed)
    saved = read_model(path)
    saved.check_fits(keyed_as(model.layout(), saved.layout))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if saved.layout[name].kind is not Kind.KEYED:
                parameter.copy_(torch.from_numpy(saved.values[name]))
    whole, ids = with_rows(model, saved.layout, saved.state(), seed)
    return _of_module(ServingGraph(whole, schema, ids))


def _program(path: Path, _told: Mapping[str, Any]) -> Run:
    former = logging.root.manager.disable
    logging.disable(logging.WARNING)  # torch logs the traceback of what it raises
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what it does itself
            return _of_module(torch.export.load(path).module())
    except Exception as error:  # of any type, by what is damaged
        raise ExportError(f"{path}: torch cannot open it ({error}); export it anew") from error
    finally:
        logging.disable(former)


def _of_module(module: torch.nn.Module) -> Run:
    def run(columns: list[np.ndarray]) -> Float32Array:
        with torch.inference_mode():
            outputs: Float32Array = module(*(torch.from_numpy(np.ascontiguousarray(c)) for c in columns)).numpy()
        return outputs

    return run


def _initial_seed(told: Mapping[str, Any]) -> int:
    """Return the seed of initial values; signatures of before it had a name of its own have the job's alone."""
    return int(told.get("initialSeed", told.get("seed", 0)))


def _schema_json(schema: Schema) -> dict[str, Any]:
    return {
        "ids": dict(schema.ids),
        "features": {name: list(shape) for name, shape in schema.features.items()},
        "sequences": {name: asdict(sequence) for name, sequence in schema.sequences.items()},
        "anyIds": sorted(schema.any_ids),
        "numClasses": schema.num_classes,
    }


def _schema(value: Mapping[str, Any]) -> Schema:
    return Schema(
        ids={str(name): int(count) for name, count in value["ids"].items()},
        features={str(name): tuple(int(n) for n in shape) for name, shape in value["features"].items()},
        sequences={str(n): IdSequence(int(s["num_ids"]), int(s["longest"])) for n, s in value["sequences"].items()},
        any_ids=frozenset(str(name) for name in value.get("anyIds", ())),
        num_classes=int(value["numClasses"]),
    )
