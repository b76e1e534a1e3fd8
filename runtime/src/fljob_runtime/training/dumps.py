"""Dumps: chosen columns of held-out examples, what the model says of them, and chosen parameters, as a site's files.

Off unless spec.dump asks for them. Written by the trainer after an evaluation and by `fljob train` after an epoch, into
a folder of the site's own, from which nothing is sent. Read by `fljob data dump` (`data.dumped`).
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fljob_api.dump import LABEL, OUTPUT, PREDICTION, DumpSpec
from fljob_runtime.checkpoints.files import I64, Tensor, write_safetensors
from fljob_runtime.data.dumped import EXAMPLES, FOLDER, PARAMETERS, Dump, write_description
from fljob_runtime.data.store import arrow
from fljob_runtime.models.tasks import Clicks, NextItem
from fljob_runtime.parameters import Kind, ParamSpec, matches
from fljob_runtime.schema import SchemaError
from fljob_runtime.training.local import LocalTrainer

_SCRATCH = ".dump-"


def check(spec: DumpSpec, local: LocalTrainer) -> None:
    """Look whether there is what is to be dumped; raises SchemaError, as what the job says is wrong, not the data."""
    known = [*local.data.held_out().examples.columns, LABEL, PREDICTION, OUTPUT]
    absent = [name for name in spec.fields if name not in known]
    if absent:
        raise SchemaError(f"spec.dump.fields: no field {absent[0]!r}; there are {', '.join(known)}")
    if isinstance(local.model.task, NextItem) and {PREDICTION, OUTPUT} & set(spec.fields):
        raise SchemaError(
            "spec.dump.fields: a model of sequences predicts several items of each; leave prediction and output away"
        )
    for name in spec.parameters:
        found = [one for one in local.layout.model.specs if matches(one.name, name)]
        if not found:
            names = ", ".join(one.name for one in local.layout.model.specs)
            raise SchemaError(f"spec.dump.parameters: no parameter {name!r}; there are {names}")
        if keyed := [one.name for one in found if one.kind is Kind.KEYED]:
            raise SchemaError(f"spec.dump.parameters: {keyed[0]} has keys Any, whose rows are not dumped yet")
    size = sum(4 * int(np.prod(one.shape)) for one in _chosen(spec, local))
    if size > spec.max_mebibytes << 20:
        raise SchemaError(
            f"spec.dump.parameters: {size / (1 << 20):.0f} MiB, more than maxMebibytes ({spec.max_mebibytes})"
        )


class Dumps:
    """The dumps of one site."""

    def __init__(self, spec: DumpSpec, folder: Path, site: str, *, job_uid: str = "") -> None:
        """folder: of the site, in which `dumps` is made, and in it a folder of the job where it has a uid.

        Jobs share a site's storage, so without a uid of its own a job would delete the dumps of another.
        """
        self._spec, self._folder, self._site, self._job = spec, folder / FOLDER / job_uid, site, job_uid

    def write(self, number: int, local: LocalTrainer) -> None:
        """Write what the loaded values make of the held-out examples, whole or not at all, in place of what was there.

        number: of the round, or of the epoch where one model trains alone. The oldest dumps beyond `keep` are deleted,
        and those of higher numbers: of rounds that did not count, as the job went back before them.
        Raises OSError where the folder cannot be written.
        """
        if number % self._spec.every_rounds:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{_SCRATCH}*"):  # by one that was killed as it wrote
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._folder) as scratch:
            fresh = Path(scratch) / str(number)
            fresh.mkdir()
            count = self._write_examples(fresh, local) if self._spec.fields else 0
            names = self._write_parameters(fresh, local) if self._spec.parameters else ()
            write_description(fresh, Dump(self._site, number, tuple(self._spec.fields), count, names, self._job))
            shutil.rmtree(self._folder / str(number), ignore_errors=True)
            fresh.replace(self._folder / str(number))
        self._prune(number)

    def _prune(self, newest: int) -> None:
        there = sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())
        counted = [number for number in there if number <= newest]
        for number in set(there) - set(counted[-self._spec.keep :]):
            shutil.rmtree(self._folder / str(number))

    def _write_examples(self, folder: Path, local: LocalTrainer) -> int:
        examples = local.data.held_out().examples.take(slice(self._spec.max_examples))
        columns: dict[str, NDArray[Any]] = {**examples.columns, LABEL: examples.labels}
        if {PREDICTION, OUTPUT} & set(self._spec.fields):
            outputs = local.outputs(self._spec.max_examples)
            columns |= {OUTPUT: outputs, PREDICTION: _predictions(outputs, clicks=isinstance(local.model.task, Clicks))}
        table = pa.table({name: arrow(columns[name]) for name in dict.fromkeys(self._spec.fields)})
        pq.write_table(table, folder / EXAMPLES, compression="zstd")
        return len(examples)

    def _write_parameters(self, folder: Path, local: LocalTrainer) -> tuple[str, ...]:
        chosen = _chosen(self._spec, local)
        needed = local.needed_rows(evaluation=True)
        state = local.values({one.name: needed[one.name] for one in chosen if one.kind is Kind.ROWS})
        tensors: list[Tensor] = []
        for one in chosen:
            if one.kind is Kind.ROWS:
                rows = state.rows[one.name]
                tensors.append(Tensor(one.name, rows.values.shape, partial(np.asarray, rows.values)))
                tensors.append(Tensor(f"{one.name}.ids", rows.ids.shape, partial(np.asarray, rows.ids), I64))
            else:
                tensors.append(Tensor(one.name, one.shape, partial(np.asarray, state.dense[one.name])))
        write_safetensors(folder / PARAMETERS, tensors, {"format": "fljob-dump-1", "site": self._site})
        return tuple(one.name for one in chosen)


def _chosen(spec: DumpSpec, local: LocalTrainer) -> list[ParamSpec]:
    return [one for one in local.layout.model.specs if any(matches(one.name, name) for name in spec.parameters)]


def _predictions(outputs: NDArray[np.float32], *, clicks: bool) -> NDArray[Any]:
    """Return probabilities of clicks float32 [E], or the likeliest classes int64 [E]."""
    if not clicks:
        classes: NDArray[np.int64] = outputs.argmax(1).astype(np.int64)
        return classes
    probabilities: NDArray[np.float32] = (0.5 + 0.5 * np.tanh(0.5 * outputs.astype(np.float64))).astype(np.float32)
    return probabilities
