"""Models that were kept: a round of a job by its checkpoint, or a file of `model`, read back as values.

Called by the command line, which evaluates and exports them. One model is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fljob_runtime.checkpoints.files import Array, Tensor
from fljob_runtime.checkpoints.manifest import Manifest
from fljob_runtime.checkpoints.model import FORMAT, MODEL, version_tensors
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout, ModelState, RowSet, Scope

_IDS = ".ids"


@dataclass(frozen=True)
class SavedModel:
    """A model's values by name, those of private parameters perhaps not among them. told: its signature, if any."""

    where: str
    round: int
    layout: ModelLayout
    values: Mapping[str, Array]
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Return the parameters whose values stayed elsewhere."""
        return [spec.name for spec in self.layout.specs if spec.name not in self.values]

    def state(self) -> ModelState:
        """Return the values; raises CheckpointError where ids and rows of a keyed table are not as many."""
        dense, rows = {}, {}
        for spec in self.layout.specs:
            if spec.name not in self.values:
                continue
            values = self.values[spec.name].astype(np.float32, copy=False)
            if spec.kind is Kind.DENSE:
                dense[spec.name] = values
                continue
            keyed = spec.kind is Kind.KEYED
            ids = self.values[spec.name + _IDS] if keyed else np.arange(len(values), dtype=np.int64)
            if len(ids) != len(values):
                raise CheckpointError(f"{self.where}: table {spec.name} has {len(values)} rows and {len(ids)} ids")
            rows[spec.name] = RowSet(ids.astype(np.int64, copy=False), values)
        return ModelState(dense, rows)

    def check_fits(self, wanted: ModelLayout) -> None:
        """Raise LayoutError unless a model of this layout can take the values; scopes may differ."""
        ours, theirs = ({s.name: (s.kind, s.shape) for s in layout.specs} for layout in (self.layout, wanted))
        for name in (*ours, *theirs):
            if ours.get(name) != theirs.get(name):
                raise LayoutError(
                    f"{self.where}: parameter {name} is {_words(ours.get(name))} there, and {_words(theirs.get(name))} "
                    "by spec.model and the data; evaluate it with the manifest and the data that it was trained with"
                )


def read_version(root: Path, manifest: Manifest) -> SavedModel:
    """Return a round of a job; raises CheckpointError."""
    layout, tensors = version_tensors(root, manifest)
    where = f"{root / manifest.job_uid / str(manifest.version)}"
    return SavedModel(where, manifest.version, layout, {tensor.name: _whole(tensor) for tensor in tensors})


def read_model(folder: Path) -> SavedModel:
    """Return the model in a folder, or of a file; raises CheckpointError for what is no model of ours."""
    path = folder / MODEL if folder.is_dir() else folder
    try:
        with safe_open(path, framework="np") as file:
            notes = file.metadata() or {}
            if notes.get("format") != FORMAT:
                raise CheckpointError(f"{path}: format {notes.get('format')!r}, wanted {FORMAT}")
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        told = json.loads(notes["signature"])
        layout = ModelLayout.from_json(json.dumps(told["layout"]).encode())
        _check_values(path, layout, values)
        return SavedModel(str(path), int(told["round"]), layout, values, told)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not a model: {error}") from error


def _check_values(path: Path, layout: ModelLayout, values: Mapping[str, Array]) -> None:
    for spec in layout.specs:
        value = values.get(spec.name)
        if value is None and spec.scope is Scope.PRIVATE:
            continue
        shape = None if value is None else value.shape[1:] if spec.kind is Kind.KEYED else value.shape
        if shape != spec.shape:
            raise CheckpointError(f"{path}: {spec.name} has shape {shape}, its signature says {spec.shape}")


def _whole(tensor: Tensor) -> Array:
    made = tensor.values()
    return made if isinstance(made, np.ndarray) else np.concatenate(list(made))


def _words(spec: tuple[Kind, tuple[int, ...]] | None) -> str:
    return "absent" if spec is None else f"{spec[0]} {list(spec[1])}"
