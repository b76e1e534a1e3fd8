"""What an export tells of its job is what reading it needs: rows begin by the job's seed of initial values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.serving.test_rows import KNOWN, PLAIN, of_training, trained
from unit.runtime.training.keyed import ITEM_IDS, HashedData, keyed_model

from fljob_api.exit_codes import ExitCode
from fljob_api.fljob import FLJob
from fljob_cli.errors import CliError
from fljob_cli.export import about, predict
from fljob_runtime.checkpoints.model import signature
from fljob_runtime.parameters import ModelState, RowSet
from fljob_runtime.serving.exported import read, write
from fljob_runtime.serving.served import Format
from fljob_runtime.training import pooled_state
from fljob_runtime.training.local import LocalTrainer

NAME = "item_embedding.gmf.weight"


def job() -> FLJob:
    return FLJob.from_dict(
        {
            "metadata": {"name": "hashed"},
            "spec": {
                "model": {"name": "ncf", "parameters": PLAIN},
                "dataset": {"name": "synthetic"},
                "optimizer": {"name": "SGD", "learningRate": "0.1"},
                "rounds": 1,
                "seed": 3,
                "seeds": {"initialValues": 7},
                "trainers": [{"name": "site-0"}],
            },
        }
    )


def without_a_row(local: LocalTrainer) -> ModelState:
    """Return all values but the row of one id in one of its column's two tables."""
    state = pooled_state.values(local)
    rows = state.rows[NAME]
    kept = np.flatnonzero(rows.ids != ITEM_IDS[1])
    return ModelState(state.dense, {**state.rows, NAME: RowSet(rows.ids[kept], rows.values[kept])})


def test_rows_that_no_site_trained_begin_by_the_seed_of_initial_values(tmp_path: Path) -> None:
    local = trained()
    state, told = without_a_row(local), signature(local.layout, 1, about(job()))
    write(tmp_path, Format.SAFETENSORS, local.model, local.data.schema, told, state)
    fresh = LocalTrainer(keyed_model(), local.layout, HashedData(), replace(local.plan, seed=3, initial_seed=7))
    fresh.load(state)
    assert np.abs(read(tmp_path).score(KNOWN) - of_training(fresh, KNOWN)).max() < 1e-5


def test_a_file_that_cannot_be_written_is_not_told_of_the_one_that_is_read(tmp_path: Path) -> None:
    local = trained()
    told = signature(local.layout, 1, about(job()))
    write(tmp_path / "model", Format.SAFETENSORS, local.model, local.data.schema, told, pooled_state.values(local))
    source, out = tmp_path / "in.jsonl", tmp_path / "folder.jsonl"
    rows = zip(*(values.tolist() for values in KNOWN.values()), strict=True)
    source.write_text("".join(json.dumps(dict(zip(KNOWN, row, strict=True))) + "\n" for row in rows))
    out.mkdir()
    with pytest.raises(CliError, match=rf"^{out} cannot be written: .*Is a directory") as caught:
        predict(tmp_path / "model", source, out, top=1)
    assert caught.value.code == ExitCode.BAD_DATA
