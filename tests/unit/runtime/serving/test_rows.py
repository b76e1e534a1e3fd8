"""Exported models with tables that go by any ids, or by ids that the model derives, say what the trained ones say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from unit.runtime.training.keyed import IDS as IDS_OF
from unit.runtime.training.keyed import ITEM_IDS, USER_IDS, HashedData, keyed_layout, keyed_model
from unit.runtime.training.tiny import TinyData, make_model_of, plan

from fljob_runtime import registry
from fljob_runtime.checkpoints.model import SIGNATURE, signature
from fljob_runtime.data.examples import Examples
from fljob_runtime.models.base import make_model
from fljob_runtime.parameters import Kind, ModelState, RowSet
from fljob_runtime.schema import PADDING, IdSequence, Schema, SchemaError
from fljob_runtime.serving.answers import Answers
from fljob_runtime.serving.exported import read, write
from fljob_runtime.serving.feeds import FeedError, arrays
from fljob_runtime.serving.graph import ServingGraph
from fljob_runtime.serving.rows import RowMap
from fljob_runtime.serving.served import IDS, Exported, ExportError, Format
from fljob_runtime.training import pooled_state
from fljob_runtime.training.local import LocalTrainer

ALL = [Format.SAFETENSORS, Format.TORCH_EXPORT, pytest.param(Format.ONNX, marks=pytest.mark.onnx)]
PLAIN = {"mode": "NeuMF", "layers": "8,4", "factors": 2}
KNOWN = {"user": USER_IDS[[0, 1, 2, 5]], "item": ITEM_IDS[[1, 1, 0, 7]]}


def trained() -> LocalTrainer:
    """Return a client with rows for all ids, far from what they begin with."""
    model, rng = keyed_model(), np.random.default_rng(0)
    local = LocalTrainer(model, keyed_layout(model), HashedData(), plan())
    dense, rows = {}, {}
    for spec in local.layout.specs:
        if spec.kind is Kind.KEYED:
            ids = np.sort(IDS_OF[model.tables()[spec.name]])
            rows[spec.name] = RowSet(ids, rng.normal(0.0, 0.7, (len(ids), spec.dim)).astype(np.float32))
        else:
            dense[spec.name] = rng.normal(0.0, 0.7, spec.shape).astype(np.float32)
    local.load(ModelState(dense, rows))
    return local


def exported(folder: Path, form: Format, local: LocalTrainer) -> Exported:
    told = signature(local.layout, 1, {"model": {"name": "ncf", "parameters": PLAIN}, "seed": local.plan.seed})
    write(folder, form, local.model, local.data.schema, told, pooled_state.values(local))
    return read(folder)


def of_training(local: LocalTrainer, columns: dict[str, np.ndarray]) -> np.ndarray:
    mapped = local.keyed.mapped(Examples(columns, np.zeros(len(next(iter(columns.values()))), np.float32)))
    local.model.eval()
    with torch.inference_mode():
        logits = local.model.logits({name: torch.from_numpy(values) for name, values in mapped.columns.items()})
        probabilities: np.ndarray = torch.sigmoid(logits).numpy()
    return probabilities


@pytest.mark.parametrize("ids", [[], [7], [-(2**63), 0], [-(2**63), -5, -1, 0, 3, 2**40, 2**63 - 1]])
def test_a_row_map_has_a_row_for_each_id_and_one_for_all_others(ids: list[int]) -> None:
    others = [other for other in (-(2**63), -6, -1, 1, 7, 2**63 - 1) if other not in ids]
    rows = RowMap(np.array(ids, np.int64))(torch.tensor([*ids, *others], dtype=torch.int64))
    assert rows.tolist() == [*range(len(ids)), *[len(ids)] * len(others)]


def test_padding_of_a_sequence_stays_padding() -> None:
    assert RowMap(np.array([4, 9]))(torch.tensor([[9, PADDING], [5, 4]])).tolist() == [[1, PADDING], [2, 0]]


@pytest.mark.parametrize("form", ALL)
def test_any_ids_have_the_probability_of_the_training_graph(tmp_path: Path, form: Format) -> None:
    local = trained()
    served, wanted = exported(tmp_path, form, local), of_training(local, KNOWN)
    assert np.ptp(wanted) > 0.01
    assert np.abs(served.score(KNOWN) - wanted).max() < 1e-5
    assert local.keyed.held("user_embedding.gmf.weight").size == len(USER_IDS)  # the trainer's own table is as it was


@pytest.mark.parametrize("form", ALL)
def test_ids_without_a_row_have_one_of_zeros(tmp_path: Path, form: Format) -> None:
    local = trained()
    served = exported(tmp_path, form, local)
    tables = [name for name in local.model.tables() if name.startswith("item")]
    local.load(
        ModelState(
            {}, {name: RowSet(np.array([99]), np.zeros((1, local.layout[name].dim), np.float32)) for name in tables}
        )
    )
    wanted = of_training(local, {"user": USER_IDS[:1], "item": np.array([99])})
    found = served.score({"user": USER_IDS[[0, 0]], "item": np.array([99, -(2**62)])})
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("form", ALL)
def test_the_best_items_are_told_by_their_ids(tmp_path: Path, form: Format) -> None:
    local = trained()
    answers = Answers(exported(tmp_path, form, local))
    items, found = answers.top_k({"user": [int(USER_IDS[3])]}, 3)
    scores = of_training(local, {"user": USER_IDS[3].repeat(len(ITEM_IDS)), "item": ITEM_IDS})
    best = np.argsort(-scores)[:3]
    assert items.tolist() == ITEM_IDS[best].tolist()
    assert found.tolist() == pytest.approx(scores[best].tolist(), abs=1e-5)


def test_the_signature_says_how_ids_become_rows(tmp_path: Path) -> None:
    exported(tmp_path, Format.TORCH_EXPORT, trained())
    told = json.loads((tmp_path / SIGNATURE).read_text())
    assert sorted(told["rowMaps"], key=lambda row: row["column"]) == [
        {"column": "item", "rows": 8, "unknownIds": "zeros"},
        {"column": "user", "rows": 6, "unknownIds": "zeros"},
    ]
    assert told["feeds"][0] == {"name": "item", "dtype": "int64", "shape": ["batch"], "sequence": False, "anyIds": True}


def test_an_id_that_one_table_of_its_column_lacks_begins_there_as_training_does(tmp_path: Path) -> None:
    local = trained()
    state = pooled_state.values(local)
    name = "item_embedding.gmf.weight"
    kept = np.flatnonzero(state.rows[name].ids != ITEM_IDS[1])
    rows = {**state.rows, name: RowSet(state.rows[name].ids[kept], state.rows[name].values[kept])}
    told = signature(local.layout, 1, {"model": {"name": "ncf", "parameters": PLAIN}, "seed": local.plan.seed})
    write(tmp_path, Format.SAFETENSORS, local.model, local.data.schema, told, ModelState(state.dense, rows))
    fresh = LocalTrainer(keyed_model(), local.layout, HashedData(), local.plan)
    fresh.load(ModelState(state.dense, rows))
    assert np.abs(read(tmp_path).score(KNOWN) - of_training(fresh, KNOWN)).max() < 1e-5


def test_a_model_without_its_ids_is_refused(tmp_path: Path) -> None:
    exported(tmp_path, Format.TORCH_EXPORT, trained())
    (tmp_path / IDS).unlink()
    with pytest.raises(ExportError, match="not an exported model"):
        read(tmp_path)


@pytest.mark.parametrize(("sent", "words"), [([2**63], "64 bits"), ([1.5], "not an integer"), ([True], "integer")])
def test_what_is_no_id_of_64_bits_is_refused(tmp_path: Path, sent: list[Any], words: str) -> None:
    served = exported(tmp_path, Format.SAFETENSORS, trained())
    with pytest.raises(FeedError, match=words):
        arrays(served.feeds, {"user": [5], "item": sent})


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize("operation", ["Mult", "Concat"])
def test_derived_ids_are_a_part_of_the_graph(tmp_path: Path, form: Format, operation: str) -> None:
    registry.load()
    schema = Schema({"ad": 50}, sequences={"seen": IdSequence(40, 3)})
    parameters = {"embeddings": "QuotientRemainder", "threshold": 10, "collisions": 4, "operation": operation}
    model = make_model("dlrm", parameters, schema, 0)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(0.0, 0.4, generator=torch.Generator().manual_seed(value.numel()))
    values = {name: value.detach().numpy() for name, value in model.named_parameters()}
    tables = model.tables()
    rows = {name: RowSet(np.arange(len(values[name])), values[name]) for name in tables}
    dense = {name: value for name, value in values.items() if name not in tables}
    told = {"model": {"name": "dlrm", "parameters": parameters}, "seed": 0}
    write(tmp_path, form, model, schema, signature(model.layout(), 1, told), ModelState(dense, rows))
    columns = {
        "ad": np.array([0, 3, 49, 17]),
        "seen": np.array([[1, 2, 39], [4, PADDING, PADDING], [8, 8, PADDING], [PADDING] * 3]),
    }
    batch = {name: torch.from_numpy(c) for name, c in {**columns, **model.derived(columns)}.items()}
    with torch.no_grad():
        wanted = torch.sigmoid(model.logits(batch)).numpy()
    served = read(tmp_path)
    assert [feed.name for feed in served.feeds] == ["ad", "seen"]
    assert np.ptp(wanted) > 0.01
    assert np.abs(served.score(columns) - wanted).max() < 1e-5


def test_ids_derived_in_ways_of_numpy_alone_are_refused() -> None:
    model = make_model_of()
    model.derived = lambda columns: {"user%2": np.where(columns["user"] == 0, 0, 1)}  # type: ignore[method-assign]
    with pytest.raises(SchemaError, match="operators"):
        ServingGraph(model, TinyData.schema)
