"""What a model begins with in place of values by the seed: those of models that earlier runs kept (spec.initialValues).

Called where a client is made: by the trainer's setup, and by the command line for models that train in one place.
Values are read, joined and checked before any training; nothing here knows rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fljob_api.initial import InitialValues
from fljob_runtime.checkpoints.model import MODEL
from fljob_runtime.checkpoints.saved_model import SavedModel, read_model
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import (
    Float32Array,
    Kind,
    LayoutError,
    ModelLayout,
    ModelState,
    ParamSpec,
    RowSet,
    matches,
)

_Pieces = dict[str, list[Float32Array]]


def initial_values(given: Sequence[InitialValues], paths: Sequence[Path], layout: ModelLayout) -> ModelState:
    """Return the values that kept models give a model of this layout, those of some parameters perhaps.

    paths: of each model: a file, a folder with one, or the folder of a run. What several models, or one by several
    entries, give to a parameter is added up where each piece has its shape, and put side by side along the last axis
    where together they have. Raises CheckpointError for what is no model or not finite, LayoutError for what does not
    fit.
    """
    pieces: _Pieces = {}
    for index, (entry, path) in enumerate(zip(given, paths, strict=True)):
        _take(pieces, entry, read_model(find_model(path)), layout, f"spec.initialValues[{index}]")
    dense, rows = {}, {}
    for name, parts in pieces.items():
        value = _joined(layout[name], parts)
        if layout[name].kind is Kind.DENSE:
            dense[name] = value
        else:
            rows[name] = RowSet(np.arange(len(value), dtype=np.int64), value)
    return ModelState(dense, rows)


def find_model(path: Path) -> Path:
    """Return the model's file: itself, in a folder, or the newest of a run's folder. Raises CheckpointError."""
    if path.is_file() or (path / MODEL).is_file():
        return path
    epochs = [file for file in path.glob(f"epochs/*/{MODEL}") if file.parent.name.isdecimal()]
    if epochs:
        return max(epochs, key=lambda file: int(file.parent.name))
    finished = [*path.glob(f"checkpoint/*/model/{MODEL}"), *path.glob(f"*/model/{MODEL}")]
    if len(finished) != 1:
        raise CheckpointError(
            f"{path}: {len(finished) or 'no'} models there; name the file, a folder with {MODEL}, or the folder of a "
            "run that has kept one"
        )
    return finished[0]


def _take(pieces: _Pieces, entry: InitialValues, model: SavedModel, layout: ModelLayout, where: str) -> None:
    """Add what one entry takes of its model to the pieces, by the names that parameters have in the layout."""
    ours = {spec.name: spec for spec in layout.specs}
    for kept, name, weight in _chosen(entry, model, where):
        if name not in ours:
            raise LayoutError(
                f"{where}: the model has no parameter {name}, for which {model.where} has {kept}; the model has "
                f"{', '.join(ours)}; say in `parameters` which ones to take"
            )
        if Kind.KEYED in (model.layout[kept].kind, ours[name].kind):
            raise LayoutError(f"{where}: {name}: tables with keys: Any cannot begin with kept values yet")
        value = model.values[kept]
        if not np.isfinite(value).all():
            raise CheckpointError(f"{where}: {model.where}: {kept} has values that are not finite")
        pieces.setdefault(name, []).append((value * np.float64(weight)).astype(np.float32))


def _chosen(entry: InitialValues, model: SavedModel, where: str) -> Iterator[tuple[str, str, str]]:
    """Yield which parameters are taken: name in the kept model, name in ours, weight. Raises LayoutError for none."""
    names = [spec.name for spec in model.layout.specs if spec.name in model.values]
    if not entry.parameters:
        yield from ((name, name, "1") for name in names)
    for wanted in entry.parameters:
        found = [name for name in names if matches(name, wanted.there)]
        if not found:
            stayed = f"; {', '.join(model.missing)} stayed at their sites" if model.missing else ""
            raise LayoutError(
                f"{where}: {model.where} has no {wanted.there}; it has {', '.join(sorted(names))}{stayed}"
            )
        yield from ((name, wanted.name + name[len(wanted.there) :], wanted.weight) for name in found)


def _joined(spec: ParamSpec, parts: Sequence[Float32Array]) -> Float32Array:
    """Return the sum of pieces of the parameter's shape, or pieces side by side that have it together."""
    shapes = [part.shape for part in parts]
    if all(shape == spec.shape for shape in shapes):
        total: Float32Array = np.sum(parts, axis=0, dtype=np.float32)
        return total
    if spec.shape and all(len(s) == len(spec.shape) and s[:-1] == spec.shape[:-1] for s in shapes):
        whole: Float32Array = np.concatenate(parts, axis=-1)
        if whole.shape == spec.shape:
            return whole
    found = ", ".join(str(list(shape)) for shape in shapes)
    raise LayoutError(
        f"spec.initialValues: {spec.name} is {list(spec.shape)} by spec.model and the data; what is given is {found}, "
        "which is neither of that shape nor side by side"
    )
