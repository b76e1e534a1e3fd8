"""Runs model.onnx by onnxruntime, on the CPU. No torch here. Used by `exported` and by the scorer program."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fljob_runtime.parameters import Float32Array
from fljob_runtime.serving.served import ExportError, Run


def open_session(path: Path, told: Mapping[str, Any], *, threads: int = 0) -> Run:
    """Return what runs the graph; raises ExportError without onnxruntime. threads: of one run; 0: as many as cores."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _faults(runtime) as error:
        raise ExportError(f"{path}: onnxruntime cannot open it: {error}"[:500]) from error
    names = [feed["name"] for feed in told["feeds"]]

    def run(columns: list[np.ndarray]) -> Float32Array:
        outputs: Float32Array = session.run(None, dict(zip(names, columns, strict=True)))[0]
        return outputs

    return run


def needed(module: str) -> Any:  # noqa: ANN401 - a module without types
    """Return a module of the extra `onnx`; raises ExportError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"format onnx needs {module}: pip install 'fljob-runtime[onnx]'") from error


def _faults(runtime: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401 - a module without types
    """Return what onnxruntime raises for a file that it cannot read: exceptions of its own, of no common base."""
    state = runtime.capi.onnxruntime_pybind11_state
    return state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NotImplemented
