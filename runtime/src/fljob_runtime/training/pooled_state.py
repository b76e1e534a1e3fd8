"""A training in one place as a file of safetensors, so that it goes on as if it had never stopped.

    generator                     U8, of torch
    value/<name>                  F32, of a parameter: whole, or the rows of a table in order of their ids
    ids/<name>                    I64 [n], whose rows those are
    state/<key>/<name>            what the optimizer keeps for a parameter, shaped alike or a number

Written and read by the command line's `train`. Raises CheckpointError.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Int64Array, Kind, ModelLayout, ModelState, RowSet, Scope
from fljob_runtime.training.local import LocalTrainer, TrainPlan
from fljob_runtime.training.pooled import PooledTraining
from fljob_runtime.training.vocabulary import stretch

_VALUE, _IDS, _STATE, _GENERATOR = "value/", "ids/", "state/", "generator"
_SAME = ("layout", "seed", "client", "samples")


def values(trainer: LocalTrainer) -> ModelState:
    """Return copies of all of the model's own values, private ones too."""
    specs = trainer.layout.model.specs
    ids = {s.name: trainer.keyed.ids(s.name, trainer.keyed.held(s.name)) for s in specs if s.kind is not Kind.DENSE}
    return trainer.values(ids)


def shared(layout: ModelLayout) -> ModelLayout:
    """Return the layout of a model that is whole in one place, where nothing is private."""
    return ModelLayout(tuple(replace(spec, scope=Scope.SHARED) for spec in layout.specs))


def save(training: PooledTraining, path: Path) -> None:
    """Replace the file whole; raises CheckpointError when it cannot be written."""
    state = values(training.trainer)
    stretch(training.optimizer)
    tensors = {f"{_VALUE}{name}": torch.from_numpy(value) for name, value in state.dense.items()}
    for name, rows in state.rows.items():
        tensors[f"{_VALUE}{name}"] = torch.from_numpy(rows.values)
        tensors[f"{_IDS}{name}"] = torch.from_numpy(rows.ids)
    for name, parameter in training.trainer.model.named_parameters():
        for key, kept in training.optimizer.state.get(parameter, {}).items():
            if isinstance(kept, Tensor):
                places = _places(training.trainer, state, name) if kept.dim() else None
                tensors[f"{_STATE}{key}/{name}"] = kept if places is None else kept[places]
    tensors[_GENERATOR] = torch.get_rng_state()
    draft = path.with_suffix(".tmp")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, _notes(training))
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}; free space or choose another folder") from error


def load(training: PooledTraining, path: Path) -> None:
    """Go on where the file says; raises CheckpointError for a file that is torn or of another training."""
    try:
        with safe_open(path, framework="pt") as file:
            notes, wanted = file.metadata() or {}, _notes(training)
            other = [key for key in _SAME if notes.get(key) != wanted[key]]
            if other:
                found = ", ".join(f"{key} {notes.get(key, 'unknown')}" for key in other)
                raise CheckpointError(f"{path}: is of another training ({found}); choose another --run-dir")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        _restore(training, tensors)
        training.epoch, training.batch = int(notes["epoch"]), int(notes["batch"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be gone on with: {error}") from error


def _notes(training: PooledTraining) -> dict[str, str]:
    plan, trainer = training.trainer.plan, training.trainer
    told = (trainer.layout.digest, _seeds(plan), plan.client, str(trainer.data.num_samples))
    reached = {"epoch": str(training.epoch), "batch": str(training.batch)}
    return dict(zip(_SAME, told, strict=True)) | reached


def _seeds(plan: TrainPlan) -> str:
    """Return the one seed, or all of those that are not the same."""
    return "/".join(map(str, plan.seeds)) if len(set(plan.seeds)) > 1 else str(plan.seed)


def _places(trainer: LocalTrainer, state: ModelState, name: str) -> Int64Array | None:
    """Return where the saved rows of a table stand, in their order; None for what is no table."""
    return trainer.keyed.places(name, state.rows[name].ids) if name in state.rows else None


def _restore(training: PooledTraining, tensors: dict[str, Tensor]) -> None:
    trainer = training.trainer
    arrays = {n.removeprefix(_VALUE): t.numpy().astype(np.float32) for n, t in tensors.items() if n.startswith(_VALUE)}
    rows = {n.removeprefix(_IDS): t.numpy() for n, t in tensors.items() if n.startswith(_IDS)}
    dense = {name: value for name, value in arrays.items() if name not in rows}
    state = ModelState(dense, {name: RowSet(ids, arrays[name]) for name, ids in rows.items()})
    trainer.load(state)
    stretch(training.optimizer)
    parameters = dict(trainer.model.named_parameters())
    for name, saved in tensors.items():
        if not name.startswith(_STATE):
            continue
        key, _, parameter_name = name.removeprefix(_STATE).partition("/")
        parameter = parameters[parameter_name]
        kept = training.optimizer.state[parameter]
        places = _places(trainer, state, parameter_name) if saved.dim() else None
        if places is None:
            kept[key] = saved
        else:
            kept[key] = kept[key] if key in kept else torch.zeros_like(parameter.data)
            kept[key][places] = saved
    torch.set_rng_state(tensors[_GENERATOR])
