"""An exported model says what the trained one says, in every format; what is no exported model is refused."""

from __future__ import annotations

import errno
import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from unit.runtime.training.tiny import TinyData, make_model_of

from fljob_runtime.checkpoints.model import SIGNATURE, signature
from fljob_runtime.errors import CheckpointError
from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.sequences import SequenceModel
from fljob_runtime.models.tasks import Classes
from fljob_runtime.parameters import ModelState, RowSet
from fljob_runtime.schema import PADDING, IdSequence, Schema
from fljob_runtime.serving.exported import read, write
from fljob_runtime.serving.served import FILES, Exported, ExportError, Format

ALL = [Format.SAFETENSORS, Format.TORCH_EXPORT, pytest.param(Format.ONNX, marks=pytest.mark.onnx)]
PROGRAMS = ALL[1:]
PAIRS = {"user": np.array([0, 1, 5, 2, 3]), "item": np.array([7, 0, 3, 3, 1])}


class Pictures(RecommenderModel):
    """Three classes of two by two pixels; another column is not read."""

    task = Classes()

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def predict(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(batch["pixels"].flatten(1)), labels


class Sums(SequenceModel):
    """A state is the sum of the embeddings so far."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.table = nn.Embedding(self.num_items, 4)

    def states(self, items: Tensor) -> Tensor:
        summed: Tensor = self.table(items).cumsum(1)
        return summed

    def scores(self, states: Tensor) -> Tensor:
        return states @ self.table.weight.T


def exported(folder: Path, form: Format, model: RecommenderModel, schema: Schema, about: dict[str, Any]) -> Exported:
    values = {name: value.detach().numpy() for name, value in model.named_parameters()}
    tables = model.tables()
    rows = {name: RowSet(np.arange(len(values[name])), values[name]) for name in tables}
    state = ModelState({name: value for name, value in values.items() if name not in tables}, rows)
    write(folder, form, model, schema, signature(model.layout(), 3, about), state)
    return read(folder)


def ncf(folder: Path, form: Format) -> tuple[RecommenderModel, Exported]:
    model = make_model_of()
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(value.numel()))
    parameters = {"mode": "NeuMF", "layers": "8,4", "factors": 2}
    told = {"model": {"name": "ncf", "parameters": parameters}, "seed": 0}
    return model, exported(folder, form, model, TinyData.schema, told)


@pytest.mark.parametrize("form", ALL)
def test_clicks_have_the_probability_of_the_training_graph(tmp_path: Path, form: Format) -> None:
    model, served = ncf(tmp_path, form)
    with torch.no_grad():
        wanted = torch.sigmoid(model.logits({name: torch.from_numpy(c) for name, c in PAIRS.items()})).numpy()
    assert np.ptp(wanted) > 0.1
    assert np.abs(served.score(PAIRS) - wanted).max() < 1e-5


@pytest.mark.parametrize("form", PROGRAMS)
def test_classes_have_their_probabilities(tmp_path: Path, form: Format) -> None:
    model = Pictures()
    schema = Schema({"user": 3}, features={"pixels": (2, 2)}, num_classes=3)
    pixels = np.random.default_rng(0).normal(size=(4, 2, 2)).astype(np.float32)
    served = exported(tmp_path, form, model, schema, {})
    with torch.no_grad():
        wanted = torch.softmax(model.layer(torch.from_numpy(pixels).flatten(1)), 1).numpy()
    assert [feed.name for feed in served.feeds] == ["pixels"]
    assert np.abs(served.score({"pixels": pixels}) - wanted).max() < 1e-5


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_next_item_is_scored_after_the_last_of_its_sequence(tmp_path: Path, form: Format) -> None:
    schema = Schema({}, sequences={"items": IdSequence(6, 4)}, num_classes=0)
    model = Sums(schema)
    served = exported(tmp_path, form, model, schema, {})
    items = np.array([[1, 2, PADDING, PADDING], [5, 0, 3, 3], [4, PADDING, PADDING, PADDING]])
    table = model.table.weight.detach().numpy()
    states = np.stack([table[[1, 2]].sum(0), table[[5, 0, 3, 3]].sum(0), table[4]])
    assert np.abs(served.score({"items": items}) - states @ table.T).max() < 1e-5
    assert served.width == 6


def test_the_signature_tells_what_goes_in_and_out(tmp_path: Path) -> None:
    _, served = ncf(tmp_path, Format.TORCH_EXPORT)
    told = json.loads((tmp_path / SIGNATURE).read_text())
    assert [(feed["name"], feed["dtype"], feed["shape"], feed["numIds"]) for feed in told["feeds"]] == [
        ("item", "int64", ["batch"], 8),
        ("user", "int64", ["batch"], 6),
    ]
    assert told["targets"] == [{"name": "probability", "dtype": "float32", "shape": ["batch"]}]
    assert (told["round"], served.target, served.width) == (3, "probability", 1)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"export": "pickle"}', '{"export": "safetensors", "feeds": [{}]}'])
def test_what_is_no_exported_model_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / SIGNATURE).write_text(text)
    with pytest.raises(ExportError, match="not an exported model"):
        read(tmp_path)


@pytest.mark.parametrize("damaged", [b"", b"text", b"half", b"PK\x05\x06" + bytes(18)])
def test_a_damaged_program_is_named_and_torch_does_not_log(
    tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ncf(tmp_path, Format.TORCH_EXPORT)
    path = tmp_path / FILES[Format.TORCH_EXPORT]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damaged == b"half" else damaged)
    caplog.clear()
    with pytest.raises(ExportError, match=r"model\.pt2: torch cannot open it \(.*\); export it anew"):
        read(tmp_path)
    assert caplog.records == []
    assert logging.getLogger("torch.export").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_program_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_program: object, place: Any, *_: Any, **__: Any) -> None:
        with open(place, "wb") if isinstance(place, Path) else nullcontext(place) as file:  # noqa: PTH123 - either
            file.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.export, "save", full)
    monkeypatch.setattr(torch.onnx, "export", lambda program, _, place, **__: full(program, place))
    with pytest.raises((ExportError, CheckpointError), match="No space left on device"):
        ncf(tmp_path, form)
    assert list(tmp_path.iterdir()) == []
